import itertools
import math
import statistics
import weakref
from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.data.toy import GaussianMixture
from course_lib.methods.ddim import (
    ddim_sigma,
    ddim_step,
    ddim_steps,
    invert,
    last,
    quadratic_timesteps,
    sigma_hat,
    slerp,
    trailing_timesteps,
    uniform_timesteps,
)
from course_lib.methods.diffusion import (
    EPS,
    Denoised,
    ddpm_steps,
    denoiser,
    exact_denoiser,
    posterior_mean_coefficients,
    posterior_variance,
)
from course_lib.methods.noise import NoiseSchedule, cosine, linear

SCHEDULE = linear()
SHORT = linear(60, 0.001, 0.3)
TABLE = SCHEDULE.alphas_cumprod.tolist()
NUM_STEPS = [2, 7, 10, 50, 100, 1000]


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def kept(schedule, t):
    return schedule.alphas_cumprod[t].item() if t >= 0 else 1.0


def tangle(x_t, t):
    """A made-up network: no two numbers or steps are treated alike."""
    steps = (t.to(x_t) / 1000).reshape(-1, *[1] * (x_t.ndim - 1))
    return torch.tanh(1.3 * x_t.flip(-1) - 0.4 * x_t + 0.5 - steps)


def standard_normal(schedule):
    """The exact denoiser of N(0, 1)."""

    def denoise(x_t, t):
        alpha_bar = schedule.alphas_cumprod[t].reshape(-1, *[1] * (x_t.ndim - 1))
        return Denoised(alpha_bar.sqrt() * x_t, (1 - alpha_bar).sqrt() * x_t)

    return denoise


LINE = GaussianMixture(
    weights=torch.tensor([0.3, 0.7], dtype=torch.float64),
    means=torch.tensor([[-1.5], [1.0]], dtype=torch.float64),
    sigmas=torch.tensor([0.3, 0.5], dtype=torch.float64),
)


# Against another library.


def of_diffusers(**options):
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    settled = {"steps_offset": 0, "set_alpha_to_one": True, "clip_sample": False}
    return DDIMScheduler(beta_schedule="linear", **settled | options)


@pytest.mark.parity
@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize(
    ("num_steps", "spacing"), [(1, "trailing"), *((num, "leading") for num in NUM_STEPS)]
)
def test_every_step_is_that_of_diffusers(num_steps, spacing, eta):
    scheduler = of_diffusers(timestep_spacing=spacing)
    scheduler.set_timesteps(num_steps)
    schedule = NoiseSchedule(scheduler.alphas_cumprod)
    assert schedule.alphas_cumprod.dtype == torch.float32
    steps = ddim_steps(
        denoiser(tangle, EPS, schedule),
        schedule,
        numbers(2, 5, dtype=torch.float32),
        scheduler.timesteps.tolist(),
        eta=eta,
        generator=seeded(1),
    )
    drawn, visited = seeded(1), []
    for step in steps:
        draws = eta > 0 and step.t_prev >= 0
        noise = torch.randn(2, 5, generator=drawn) if draws else torch.zeros(2, 5)
        output = tangle(step.x_t, torch.full((2,), step.t))
        theirs = scheduler.step(output, step.t, step.x_t, eta=eta, variance_noise=noise)
        if eta == 0:
            assert torch.equal(step.x_prev, theirs.prev_sample)
            assert torch.equal(step.x0_hat, theirs.pred_original_sample)
        else:
            bar = 2e-6 * step.x_t.abs().max().item()
            torch.testing.assert_close(step.x_prev, theirs.prev_sample, rtol=0, atol=bar)
        visited.append(step.t)
    assert visited == scheduler.timesteps.tolist()
    assert len(visited) == num_steps


@pytest.mark.parity
def test_clipping_is_that_of_diffusers_where_the_noise_is_guessed_anew():
    scheduler = of_diffusers(clip_sample=True)
    scheduler.set_timesteps(10)
    schedule, x_T = NoiseSchedule(scheduler.alphas_cumprod), numbers(2, 5, dtype=torch.float32)
    denoise = denoiser(tangle, EPS, schedule)
    clipped = 0
    for step in ddim_steps(denoise, schedule, x_T, uniform_timesteps(1000, 10), clip=1.0):
        output = tangle(step.x_t, torch.full((2,), step.t))
        theirs = scheduler.step(output, step.t, step.x_t, use_clipped_model_output=True)
        bar = 2e-6 * max(1.0, step.x_t.abs().max().item())
        torch.testing.assert_close(step.x_prev, theirs.prev_sample, rtol=0, atol=bar)
        clipped += (step.x0_hat.abs() == 1).sum().item()
    assert clipped > 0


@pytest.mark.parity
@pytest.mark.parametrize("num_steps", [1, 2, 10, 50, 100, 1000])
def test_where_strides_are_whole_numbers_the_steps_are_those_of_diffusers(num_steps):
    for spacing, ours in (("leading", uniform_timesteps), ("trailing", trailing_timesteps)):
        scheduler = of_diffusers(timestep_spacing=spacing)
        scheduler.set_timesteps(num_steps)
        assert ours(1000, num_steps) == scheduler.timesteps.tolist()


# Closed forms along the path.


@pytest.mark.parametrize("num_steps", [1, 2, 7, 50, 60])
@pytest.mark.parametrize("spacing", [uniform_timesteps, quadratic_timesteps, trailing_timesteps])
def test_on_a_standard_normal_each_step_multiplies_by_the_cosine_of_a_turn(spacing, num_steps):
    walk = ddim_steps(standard_normal(SHORT), SHORT, numbers(3, 2), spacing(60, num_steps), eta=0.0)
    for step in walk:
        here, there = (math.acos(math.sqrt(kept(SHORT, t))) for t in (step.t, step.t_prev))
        expected = math.cos(here - there) * step.x_t
        torch.testing.assert_close(step.x_prev, expected, rtol=1e-12, atol=0)


def posterior(alpha_bar, before):
    """(c0, ct, variance) of x_prev given x0 and x_t, by adding up precisions."""
    alpha = alpha_bar / before
    from_clean, from_noisy = 1 / (1 - before), alpha / (1 - alpha)
    precision = from_clean + from_noisy
    half = type(alpha)(0.5)
    c0 = from_clean * before**half / precision
    return c0, alpha**half / (1 - alpha) / precision, 1 / precision


@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("num_steps", [2, 7, 60])
def test_every_step_of_the_family_is_written_out(num_steps, eta):
    """Clean guess, direction with what sigma leaves of it, noise: each on its own."""
    drawn = seeded(4)
    walk = ddim_steps(
        denoiser(tangle, EPS, SHORT),
        SHORT,
        numbers(3, 2),
        uniform_timesteps(60, num_steps),
        eta=eta,
        generator=seeded(4),
    )
    for step in walk:
        here, there = kept(SHORT, step.t), kept(SHORT, step.t_prev)
        eps_hat = tangle(step.x_t, torch.full((3,), step.t))
        x0_hat = (step.x_t - math.sqrt(1 - here) * eps_hat) / math.sqrt(here)
        expected = math.sqrt(there) * x0_hat
        if step.t_prev >= 0:
            sigma = eta * math.sqrt(posterior(here, there)[2])
            noise = torch.randn(3, 2, generator=drawn, dtype=torch.float64)
            expected = expected + math.sqrt(1 - there - sigma**2) * eps_hat + sigma * noise
        torch.testing.assert_close(step.x_prev, expected, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(step.x0_hat, x0_hat)
        torch.testing.assert_close(step.eps_hat, eps_hat)


def test_with_eta_one_and_every_step_the_coefficients_are_those_of_ddpms_posterior():
    """As the library has them, and as fifty digits have them."""
    zero, one = torch.zeros(1, 1).double(), torch.ones(1, 1).double()
    with localcontext(prec=50):
        exact = [posterior(*map(Decimal, pair)) for pair in zip(TABLE[1:], TABLE, strict=False)]
    for t, known in enumerate(exact, start=1):
        alpha_bar, before = (SCHEDULE.alpha_bar(s) for s in (t, t - 1))
        sigma = ddim_sigma(alpha_bar, before, 1.0)
        # What x0 and x_t weigh in x_prev: one of them is 1, the other 0, and eps_hat follows.
        with_x0 = -alpha_bar.sqrt() / (1 - alpha_bar).sqrt() * one
        c0 = ddim_step(one, with_x0, before, sigma).item()
        ct = ddim_step(zero, one / (1 - alpha_bar).sqrt(), before, sigma).item()
        found = (c0, ct, sigma.item() ** 2)
        ddpm = (*posterior_mean_coefficients(SCHEDULE, t), posterior_variance(SCHEDULE, t))
        assert found == pytest.approx([x.item() for x in ddpm], rel=1e-12)
        assert found == pytest.approx([float(x) for x in known], rel=1e-11)


@pytest.mark.parametrize("larger_noise", [False, True])
def test_with_eta_one_and_every_step_the_walk_is_ddpms(larger_noise):
    """The posterior's variance, or with sigma-hat beta's, from the same noise."""
    schedule = linear(300, 3e-4, 0.06)
    denoise = denoiser(tangle, EPS, schedule)
    ours = ddim_steps(
        denoise,
        schedule,
        numbers(2, 3),
        range(299, -1, -1),
        eta=1.0,
        larger_noise=larger_noise,
        clip=1.0,
        generator=seeded(2),
    )
    theirs = ddpm_steps(
        denoise,
        schedule,
        numbers(2, 3),
        small_variance=not larger_noise,
        clip=1.0,
        generator=seeded(2),
    )
    for one, other in zip(ours, theirs, strict=True):
        assert (one.t, one.t_prev) == (other.t, other.t_prev)
        torch.testing.assert_close(one.x_prev, other.x_prev, rtol=0, atol=1e-10)


def test_many_quiet_steps_carry_every_quantile_of_noise_to_that_of_the_data():
    """On a line the eta = 0 walk of the exact denoiser is the monotone map between the two."""
    shares = [0.02, 0.1, 0.25, 0.4, 0.6, 0.9, 0.98]
    x_T = torch.tensor([[statistics.NormalDist().inv_cdf(share)] for share in shares]).double()
    found = last(
        ddim_steps(exact_denoiser(LINE.denoise, SCHEDULE), SCHEDULE, x_T, range(999, -1, -4))
    )
    bumps = [statistics.NormalDist(m, s) for m, s in ((-1.5, 0.3), (1.0, 0.5))]
    reached = [0.3 * bumps[0].cdf(x) + 0.7 * bumps[1].cdf(x) for x in found[:, 0].tolist()]
    assert reached == pytest.approx(shares, abs=0.01)


# Randomness.


def test_at_eta_zero_the_generator_is_not_touched():
    generator = seeded(0)
    state, everywhere = generator.get_state(), torch.get_rng_state()
    denoise, steps = denoiser(tangle, EPS, SHORT), uniform_timesteps(60, 10)
    ends = [
        last(ddim_steps(denoise, SHORT, numbers(2, 3), steps, generator=given))
        for given in (generator, seeded(1), None)
    ]
    assert torch.equal(generator.get_state(), state)
    assert torch.equal(torch.get_rng_state(), everywhere)
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("larger_noise", [False, True])
def test_a_seed_gives_the_same_walk_and_leaves_the_global_generator_alone(larger_noise):
    everywhere = torch.get_rng_state()
    denoise, steps = denoiser(tangle, EPS, SHORT), uniform_timesteps(60, 5)
    ends = [
        last(
            ddim_steps(
                denoise,
                SHORT,
                numbers(2, 3),
                steps,
                eta=1.0,
                larger_noise=larger_noise,
                generator=seeded(seed),
            )
        )
        for seed in (5, 5, 6)
    ]
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
    assert torch.equal(torch.get_rng_state(), everywhere)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 30])
@pytest.mark.parametrize("schedule", [linear(), cosine(), cosine(shift=-4.0)])
def test_sigma_hat_moves_in_the_direction_of_eta_one_and_ends_without_noise(schedule, num_steps):
    drawn = seeded(3)
    steps = ddim_steps(
        denoiser(tangle, EPS, schedule),
        schedule,
        numbers(2, 3),
        trailing_timesteps(1000, num_steps),
        eta=1.0,
        larger_noise=True,
        clip=1.0,
        generator=seeded(3),
    )
    for step in steps:
        here, there = kept(schedule, step.t), kept(schedule, step.t_prev)
        expected = math.sqrt(there) * step.x0_hat
        if step.t_prev >= 0:
            rest = 1 - there - posterior(here, there)[2]
            noise = torch.randn(2, 3, generator=drawn, dtype=torch.float64)
            beta = 1 - here / there  # of the whole stride
            expected = expected + math.sqrt(rest) * step.eps_hat + math.sqrt(beta) * noise
        assert step.x_prev.isfinite().all()
        torch.testing.assert_close(step.x_prev, expected, rtol=1e-9, atol=1e-9)


def test_sigma_hat_in_the_place_of_eta_would_need_the_root_of_a_negative_number():
    """So the test above can fail: of two uniform steps the first has no direction left."""
    here, there = (SCHEDULE.alpha_bar(t) for t in (500, 0))
    assert 1 - there - sigma_hat(here, there) ** 2 < 0
    assert 1 - there - ddim_sigma(here, there, 1.0) ** 2 > 0


@given(steps=st.sets(st.integers(0, 999), min_size=2, max_size=2), eta=st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_the_direction_never_needs_the_root_of_a_negative_number(steps, eta):
    one = torch.ones(1, 1, dtype=torch.float64)
    for schedule in (SCHEDULE, cosine(), cosine(shift=-4.0)):
        here, there = (schedule.alpha_bar(t) for t in (max(steps), min(steps)))
        assert ddim_step(one, one, there, ddim_sigma(here, there, eta)).isfinite().all()


# Which steps are visited.


@pytest.mark.parametrize("spacing", [uniform_timesteps, quadratic_timesteps, trailing_timesteps])
@given(num=st.integers(1, 1200), share=st.floats(0, 1))
@settings(deadline=None, max_examples=40)
def test_any_number_of_steps_falls_within_the_chain(spacing, num, share):
    num_steps = max(1, round(share * num))
    steps = spacing(num, num_steps)
    assert len(steps) == num_steps
    assert all(a > b for a, b in itertools.pairwise([num, *steps, -1]))
    strides = [a - b for a, b in itertools.pairwise(steps)]
    if spacing is not quadratic_timesteps:
        assert not strides or max(strides) - min(strides) <= 1
    assert spacing(num, num) == list(range(num - 1, -1, -1))


def test_uniform_and_trailing_steps_of_known_walks():
    assert uniform_timesteps(1000, 50)[::49] == [980, 0]
    assert uniform_timesteps(1000, 7) == [857, 714, 571, 428, 285, 142, 0]
    assert trailing_timesteps(1000, 7) == [999, 856, 713, 570, 427, 284, 141]
    assert trailing_timesteps(1000, 1) == [999]
    assert uniform_timesteps(1000, 1) == [0]  # a trap: pure noise is taken for a clean picture


@given(num_steps=st.integers(2, 30))
@settings(deadline=None, max_examples=29)
def test_quadratic_steps_are_those_of_the_paper_where_no_two_would_be_equal(num_steps):
    steps = quadratic_timesteps(1000, num_steps)[::-1]
    top = (num_steps - 1) * 1000 // num_steps
    wanted = [math.floor(top * i**2 / (num_steps - 1) ** 2 + 1e-9) for i in range(num_steps)]
    assert (steps[0], steps[-1]) == (0, top)
    assert len(set(wanted)) == num_steps
    assert steps == wanted
    assert steps != uniform_timesteps(1000, num_steps)[::-1] or num_steps == 2


def test_equal_quadratic_steps_move_up():
    assert quadratic_timesteps(10, 6) == [8, 5, 3, 2, 1, 0]  # of 8, 5.1, 2.9, 1.3, .3, 0
    assert quadratic_timesteps(10, 9) == [8, 7, 6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("spacing", [uniform_timesteps, quadratic_timesteps, trailing_timesteps])
@pytest.mark.parametrize("num_steps", [0, 11])
def test_more_steps_than_the_chain_has_are_refused(spacing, num_steps):
    with pytest.raises(ValueError, match=rf"num_steps is {num_steps}; permitted: 1\.\.10"):
        spacing(10, num_steps)


# The walk as a whole.


def test_a_walk_goes_where_it_is_told_and_ends_clean():
    x_T, denoise = numbers(2, 3), denoiser(tangle, EPS, SHORT)
    steps = list(ddim_steps(denoise, SHORT, x_T, [50, 7, 3]))
    assert [(step.t, step.t_prev) for step in steps] == [(50, 7), (7, 3), (3, -1)]
    assert steps[0].x_t is x_T
    assert all(b.x_t is a.x_prev for a, b in itertools.pairwise(steps))
    torch.testing.assert_close(steps[-1].x_prev, steps[-1].x0_hat)
    assert torch.equal(last(iter(steps)), steps[-1].x_prev)


def test_a_long_walk_does_not_fill_the_memory():
    seen, alive = [], []

    def watched():
        for step in ddim_steps(standard_normal(SHORT), SHORT, numbers(1, 1), range(9, -1, -1)):
            seen.append(weakref.ref(step))
            alive.append(sum(ref() is not None for ref in seen))
            yield step

    last(watched())
    assert len(alive) == 10
    assert max(alive) <= 3


@pytest.mark.parametrize(
    ("timesteps", "options", "named"),
    [
        ([], {}, r"timesteps are \[\]\.\.\.; permitted: falling within 0\.\.59, at least one"),
        ([3, 3], {}, r"timesteps are \[3, 3\]"),
        ([3, 5], {}, "permitted: falling"),
        ([60, 5], {}, r"timesteps are \[60, 5\]"),
        ([5, -1], {}, r"timesteps are \[5, -1\]"),
        ([5], {"eta": 1.01}, r"eta is 1\.01; permitted: 0 to 1"),
        ([5], {"eta": -0.1}, r"eta is -0\.1; permitted: 0 to 1"),
        ([5], {"eta": math.nan}, "eta is nan; permitted: 0 to 1"),
        ([5], {"eta": 0.5, "larger_noise": True}, r"larger_noise goes with eta 0\.5; permitted: 1"),
    ],
)
def test_a_walk_that_cannot_be_is_refused(timesteps, options, named):
    denoise = denoiser(tangle, EPS, SHORT)
    with pytest.raises(ValueError, match=named):
        last(ddim_steps(denoise, SHORT, numbers(1, 2), timesteps, **options))


# Upwards, and between two noises.


@pytest.mark.parametrize("num", [1, 2, 3, 5])
def test_on_a_standard_normal_every_move_up_is_a_turn_too(num):
    """The first guess, of a clean picture, is that of step 0: not quite a cosine."""
    rising = [0, 7, 20, 21, 59][:num]
    x0, angle = numbers(3, 2), [math.acos(math.sqrt(kept(SHORT, t))) for t in rising]
    first = kept(SHORT, rising[0]), kept(SHORT, 0)
    factor = math.sqrt(first[0]) + math.sqrt(1 - first[0]) * math.sqrt(1 - first[1])
    for here, there in itertools.pairwise(angle):
        factor *= math.cos(there - here)
    found = invert(standard_normal(SHORT), SHORT, x0, rising)
    torch.testing.assert_close(found, factor * x0, rtol=1e-12, atol=0)


def test_each_move_up_asks_at_the_level_that_it_leaves():
    asked = []

    def denoise(x_t, t):
        asked.append(t.tolist())
        return standard_normal(SHORT)(x_t, t)

    invert(denoise, SHORT, numbers(2, 3), [4, 30, 59])
    assert asked == [[0, 0], [4, 4], [30, 30]]


def test_up_and_down_again_comes_back_the_better_the_shorter_the_moves():
    denoise, x0 = exact_denoiser(LINE.denoise, SCHEDULE), torch.linspace(-2, 2, 9)[:, None].double()
    errors = []
    for num_steps in (10, 40, 160):
        falling = uniform_timesteps(1000, num_steps)
        x_T = invert(denoise, SCHEDULE, x0, falling[::-1])
        errors.append((last(ddim_steps(denoise, SCHEDULE, x_T, falling)) - x0).square().mean())
    assert errors[0] > 4 * errors[1] > 16 * errors[2]
    assert errors[2] < 0.01


@pytest.mark.parametrize("timesteps", [[], [3, 3], [5, 3], [5, 60], [-1, 5]])
def test_a_way_up_that_does_not_rise_is_refused(timesteps):
    with pytest.raises(ValueError, match=r"permitted: rising within 0\.\.59, at least one"):
        invert(standard_normal(SHORT), SHORT, numbers(1, 2), timesteps)


@given(seed=st.integers(0, 99), share=st.floats(0, 1), shape=st.sampled_from([(5,), (2, 3)]))
@settings(deadline=None, max_examples=40)
def test_slerp_turns_each_example_by_its_share_of_the_angle(seed, share, shape):
    first, second = numbers(3, *shape, seed=seed), 2 * numbers(3, *shape, seed=seed + 100)
    found = slerp(first, second, share)
    for a, b, x in zip(first.flatten(1), second.flatten(1), found.flatten(1), strict=True):
        # In the plane of both: an axis along a, and what of b stands upright on it.
        along, b1 = a / a.norm(), b / b.norm()
        upright = b1 - (b1 @ along) * along
        angle = math.atan2(upright.norm().item(), (b1 @ along).item())
        upright = upright / upright.norm()
        weight_b = math.sin(share * angle) / math.sin(angle)
        weight_a = math.cos(share * angle) - weight_b * math.cos(angle)
        torch.testing.assert_close(x, weight_a * a + weight_b * b, rtol=1e-9, atol=1e-9)
        on_circle = slerp(a[None] / a.norm(), b[None] / b.norm(), share)[0]
        turned = math.cos(share * angle) * along + math.sin(share * angle) * upright
        torch.testing.assert_close(on_circle, turned, rtol=0, atol=1e-9)


def test_slerp_begins_and_ends_at_its_ends_exactly_and_keeps_the_precision():
    first, second = (numbers(4, 1, 3, 3, seed=seed, dtype=torch.float32) for seed in (0, 1))
    assert torch.equal(slerp(first, second, 0.0), first)
    assert torch.equal(slerp(first, second, 1.0), second)
    assert slerp(first, second, 0.3).dtype == torch.float32


def test_between_two_noises_the_arc_keeps_their_length_and_the_line_does_not():
    first, second = (numbers(8, 1024, seed=seed, dtype=torch.float32) for seed in (0, 1))
    middle = slerp(first, second, 0.5)
    assert (middle.norm(dim=1) / 32 - 1).abs().max() < 0.15
    assert ((first + second) / 2).norm(dim=1).max() < 0.8 * 32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1.0, 2.5, -1.0])
def test_parallel_vectors_are_joined_by_a_line(factor, dtype):
    first = torch.cat([numbers(2, 6, dtype=dtype), torch.ones(1, 6, dtype=dtype)])
    found = slerp(first, factor * first, 0.3)
    torch.testing.assert_close(found, (0.7 + 0.3 * factor) * first)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_beyond_the_ends_is_refused(share):
    with pytest.raises(ValueError, match=rf"share is {share}; permitted: 0 to 1"):
        slerp(numbers(1, 2), numbers(1, 2, seed=1), share)
