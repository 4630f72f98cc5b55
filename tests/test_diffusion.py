import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.methods.diffusion import (
    EPS,
    POSTERIOR_MEAN,
    TARGETS,
    X0,
    Denoised,
    V,
    bound_weights,
    ddpm_steps,
    denoiser,
    denoising_loss,
    exact_denoiser,
    from_x0,
    noise_like,
    posterior_mean_coefficients,
    posterior_variance,
)
from course_lib.methods.noise import add_noise, cosine, linear

SCHEDULE = linear()
SHORT = linear(30, 0.002, 0.5)
TABLE = SCHEDULE.alphas_cumprod.tolist()
STEPS = st.one_of(st.sampled_from([0, 1, 998, 999]), st.integers(0, 999))
each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def before(t):
    """Alpha_bar of the step before, from the table itself."""
    return TABLE[t - 1] if t else 1.0


def posterior(t):
    """Coefficients of x0 and x_t and the variance of x_{t-1}, by adding up precisions.

    It is the product of N(x_{t-1}; sqrt(before) x0, 1 - before) and of
    N(x_t; sqrt(alpha) x_{t-1}, beta) as a function of x_{t-1}.
    """
    alpha = TABLE[t] / before(t)
    from_clean, from_noisy = 1 / (1 - before(t)), alpha / (1 - alpha)
    precision = from_clean + from_noisy
    c0 = from_clean * math.sqrt(before(t)) / precision
    ct = math.sqrt(alpha) / (1 - alpha) / precision
    return c0, ct, 1 / precision


def test_the_posterior_is_the_product_of_what_both_ends_say():
    for t in range(1, 1000):
        found = (*posterior_mean_coefficients(SCHEDULE, t), posterior_variance(SCHEDULE, t))
        assert [x.item() for x in found] == pytest.approx(posterior(t), rel=1e-9)


def test_the_last_step_of_the_posterior_is_the_clean_picture_for_certain():
    c0, ct = posterior_mean_coefficients(SCHEDULE, 0)
    assert (c0.item(), ct.item()) == (pytest.approx(1, abs=1e-12), 0)
    assert posterior_variance(SCHEDULE, 0).item() == 0


def right_answers(t, x0, eps):
    """What each target asks for, written out."""
    signal, noise = math.sqrt(TABLE[t]), math.sqrt(1 - TABLE[t])
    c0, ct, _ = posterior(t) if t else (1.0, 0.0, 0.0)
    x_t = signal * x0 + noise * eps
    return {
        EPS: eps,
        X0: x0,
        V: signal * eps - noise * x0,
        POSTERIOR_MEAN: c0 * x0 + ct * x_t,
    }


@pytest.mark.parametrize("t", [0, 1, 10, 500, 999])
def test_each_target_asks_for_what_its_name_says(t):
    x0, eps = numbers(2, 3), numbers(2, 3, seed=1)
    for target, expected in right_answers(t, x0, eps).items():
        found = target.mix(SCHEDULE, x0, eps, torch.tensor(t))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@each_target
@given(t=st.lists(STEPS, min_size=1, max_size=4), seed=st.integers(0, 99), size=st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_from_the_right_answer_and_x_t_both_ends_come_back(target, t, seed, size):
    shape, t = (len(t), size, 2), torch.tensor(t)
    x0, eps = numbers(*shape, seed=seed), numbers(*shape, seed=seed + 100)
    x_t = add_noise(x0, eps, SCHEDULE.alpha_bar(t))
    found = target.separate(SCHEDULE, x_t, target.mix(SCHEDULE, x0, eps, t), t)
    # 1 / sqrt(alpha_bar) of the chain's end and 1 / sqrt(beta) of its beginning amplify rounding.
    torch.testing.assert_close(found.x0_hat, x0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.eps_hat, eps, rtol=1e-9, atol=1e-9)


@each_target
def test_any_answer_at_all_is_taken_apart_into_ends_that_make_x_t_and_that_answer(target):
    t = torch.tensor([0, 3, 400, 999])
    x_t, output = numbers(4, 5), numbers(4, 5, seed=1)
    found = denoiser(lambda x, steps: output, target, SCHEDULE)(x_t, t)
    rejoined = add_noise(found.x0_hat, found.eps_hat, SCHEDULE.alpha_bar(t))
    torch.testing.assert_close(rejoined, x_t, rtol=1e-9, atol=1e-8)
    answered = target.mix(SCHEDULE, found.x0_hat, found.eps_hat, t)
    torch.testing.assert_close(answered, output, rtol=1e-9, atol=1e-8)


@given(t=STEPS, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_one_error_weighs_by_snr_as_noise_and_by_one_plus_snr_as_v(t, seed):
    x_t, t = numbers(1, 6), torch.tensor([t])
    first, second = (numbers(1, 6, seed=seed + k) for k in (100, 200))
    snr = TABLE[t.item()] / (1 - TABLE[t.item()])
    found = [from_x0(x_t, guess, SCHEDULE.alpha_bar(t)) for guess in (first, second)]

    def apart(target):
        one, other = (target.mix(SCHEDULE, d.x0_hat, d.eps_hat, t) for d in found)
        return (one - other).square().sum().item()

    as_x0 = (first - second).square().sum().item()
    c0 = posterior(t.item())[0] if t.item() else 1
    assert apart(X0) == pytest.approx(as_x0)
    assert apart(EPS) == pytest.approx(snr * as_x0, rel=1e-6)
    assert apart(V) == pytest.approx((1 + snr) * as_x0, rel=1e-6)
    assert apart(POSTERIOR_MEAN) == pytest.approx(c0**2 * as_x0)


def test_the_bound_weighs_steps_as_in_the_paper():
    weights = bound_weights(SCHEDULE)
    for step, expected in ((1, 0.500), (10, 0.0737), (100, 0.0101), (500, 0.0055), (1000, 0.0102)):
        assert weights[step - 1].item() == pytest.approx(expected, abs=6e-5, rel=0)


@pytest.mark.parametrize("t", [1, 40, 999])
def test_the_bounds_weight_turns_errors_of_noise_into_nats_between_two_steps(t):
    """KL of two Gaussians of variance beta whose means differ: |difference|^2 / (2 beta)."""
    eps, eps_hat, x_t = numbers(1, 4), numbers(1, 4, seed=1), numbers(1, 4, seed=2)
    alpha = TABLE[t] / before(t)
    means = [
        (x_t - (1 - alpha) / math.sqrt(1 - TABLE[t]) * e) / math.sqrt(alpha) for e in (eps, eps_hat)
    ]
    nats = (means[0] - means[1]).square().sum() / (2 * (1 - alpha))
    weighted = bound_weights(SCHEDULE)[t] * (eps - eps_hat).square().sum()
    torch.testing.assert_close(weighted, nats)


MEAN, SPREAD = 0.8, 0.3


def optimal_eps(x_t, t):
    """Of x0 ~ N(MEAN, SPREAD^2), in closed form."""
    alpha_bar = torch.tensor([TABLE[i] for i in t.tolist()], dtype=torch.float64)[:, None]
    variance = alpha_bar * SPREAD**2 + 1 - alpha_bar
    return (1 - alpha_bar).sqrt() * (x_t - alpha_bar.sqrt() * MEAN) / variance


@pytest.mark.parametrize("t", [0, 5, 200, 999])
def test_the_best_loss_on_a_gaussian_is_its_closed_form(t):
    """Gauss and Hermite's nodes make the mean over all pictures and noises an exact sum."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    x0, eps = (
        torch.from_numpy(x.reshape(-1, 1)) for x in np.meshgrid(MEAN + SPREAD * nodes, nodes)
    )
    weight = torch.from_numpy(np.outer(weights, weights).reshape(-1) / weights.sum() ** 2)
    steps = torch.full((9,), t)
    each = denoising_loss(optimal_eps, EPS, SCHEDULE, x0, eps, steps)
    kept = TABLE[t] * SPREAD**2
    assert (weight @ each).item() == pytest.approx(kept / (kept + 1 - TABLE[t]), rel=1e-9)
    worse = denoising_loss(lambda x, s: 1.01 * optimal_eps(x, s), EPS, SCHEDULE, x0, eps, steps)
    assert weight @ worse > weight @ each


@pytest.mark.parametrize("level", [0, 5, 200, 999])
def test_the_exact_denoiser_of_a_gaussian_gives_its_optimal_noise(level):
    def optimal(x_t, alpha_bar):
        alpha_bar = alpha_bar[:, None]
        gain = alpha_bar.sqrt() * SPREAD**2 / (alpha_bar * SPREAD**2 + 1 - alpha_bar)
        return MEAN + gain * (x_t - alpha_bar.sqrt() * MEAN)

    x_t, t = numbers(6, 1), torch.full((6,), level)
    found = exact_denoiser(optimal, SCHEDULE)(x_t, t)
    torch.testing.assert_close(found.eps_hat, optimal_eps(x_t, t), rtol=1e-9, atol=1e-9)


@each_target
def test_the_loss_of_each_example_is_the_mean_over_its_numbers(target):
    x0, eps, t = numbers(3, 2, 4), numbers(3, 2, 4, seed=1), torch.tensor([0, 17, 800])
    seen = []

    def network(x_t, steps):
        seen.append((x_t, steps))
        return torch.zeros_like(x_t)

    each = denoising_loss(network, target, SCHEDULE, x0, eps, t)
    ((x_t, steps),) = seen
    assert torch.equal(steps, t)
    for i in range(3):
        level = TABLE[t[i]]
        torch.testing.assert_close(x_t[i], math.sqrt(level) * x0[i] + math.sqrt(1 - level) * eps[i])
        expected = right_answers(t[i].item(), x0[i], eps[i])[target].square().sum() / 8
        assert each[i].item() == pytest.approx(expected.item(), rel=1e-9)


def tangle(x_t, t):
    """A made-up network: no two numbers or steps are treated alike."""
    steps = (t.to(x_t) / 1000).reshape(-1, *[1] * (x_t.ndim - 1))
    return torch.tanh(1.3 * x_t.flip(-1) - 0.4 * x_t + 0.5 - steps)


@pytest.mark.parity
@pytest.mark.parametrize(("small_variance", "clip"), [(False, None), (True, 1.0)])
def test_every_step_of_ddpm_is_that_of_diffusers(small_variance, clip, monkeypatch):
    from diffusers.schedulers import scheduling_ddpm

    kind = "fixed_small" if small_variance else "fixed_large"
    scheduler = scheduling_ddpm.DDPMScheduler(variance_type=kind, clip_sample=clip is not None)
    for name, table in (
        ("betas", SCHEDULE.betas),
        ("alphas", 1 - SCHEDULE.betas),
        ("alphas_cumprod", SCHEDULE.alphas_cumprod),
        ("one", torch.ones((), dtype=torch.float64)),
    ):
        setattr(scheduler, name, table)
    steps = ddpm_steps(
        denoiser(tangle, EPS, SCHEDULE),
        SCHEDULE,
        numbers(2, 5),
        small_variance=small_variance,
        clip=clip,
        generator=torch.Generator().manual_seed(7),
    )
    theirs = torch.Generator().manual_seed(7)
    monkeypatch.setattr(
        scheduling_ddpm,
        "randn_tensor",
        lambda shape, **_: torch.randn(shape, generator=theirs, dtype=torch.float64),
    )
    for step in steps:
        output = tangle(step.x_t, torch.full((2,), step.t))
        expected = scheduler.step(output, step.t, step.x_t)
        largest = max(1.0, step.x_t.abs().max().item())
        torch.testing.assert_close(step.x_prev, expected.prev_sample, rtol=0, atol=1e-10 * largest)
        torch.testing.assert_close(step.x0_hat, expected.pred_original_sample, rtol=1e-9, atol=1e-9)


def keeps_its_width(x_t, t):
    """The exact denoiser of N(0, 1): x_t has the same distribution at every step."""
    signal = SHORT.alphas_cumprod[t].sqrt()[:, None]
    noise = (1 - SHORT.alphas_cumprod[t]).sqrt()[:, None]
    return Denoised(signal * x_t, noise * x_t)


@pytest.mark.parametrize("small_variance", [False, True])
def test_of_a_standard_normal_every_step_of_ddpm_is_known(small_variance):
    """The mean is sqrt(alpha) x_t: with noise of variance beta the variance stays exactly 1."""
    betas = torch.linspace(0.002, 0.5, 30, dtype=torch.float64)
    left = (1 - betas).cumprod(0)
    drawn = torch.Generator().manual_seed(3)
    steps = list(
        ddpm_steps(
            keeps_its_width,
            SHORT,
            numbers(4, 2),
            small_variance=small_variance,
            generator=torch.Generator().manual_seed(3),
        )
    )
    for step in steps[:-1]:
        variance = betas[step.t]
        if small_variance:
            variance = variance * (1 - left[step.t - 1]) / (1 - left[step.t])
        noise = torch.randn(4, 2, generator=drawn, dtype=torch.float64)
        expected = (1 - betas[step.t]).sqrt() * step.x_t + variance.sqrt() * noise
        torch.testing.assert_close(step.x_prev, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(steps[-1].x_prev, (1 - betas[0]).sqrt() * steps[-1].x_t)


def test_a_walk_visits_every_step_and_each_begins_where_the_last_ended():
    x_T = numbers(3, 2)
    denoise = denoiser(tangle, V, SHORT)
    steps = list(ddpm_steps(denoise, SHORT, x_T, generator=torch.Generator().manual_seed(0)))
    assert [(step.t, step.t_prev) for step in steps] == [(t, t - 1) for t in range(29, -1, -1)]
    assert steps[0].x_t is x_T
    for one, following in itertools.pairwise(steps):
        assert following.x_t is one.x_prev
        at_t = torch.full((3,), one.t)
        torch.testing.assert_close(one.eps_hat, denoise(one.x_t, at_t).eps_hat)
    torch.testing.assert_close(steps[-1].x_prev, steps[-1].x0_hat)  # nothing is added at the end


def test_clipping_holds_the_clean_guess_and_keeps_the_two_guesses_of_one_picture():
    x_T = 3 * numbers(3, 2)
    free, held = (
        next(ddpm_steps(denoiser(tangle, X0, cosine(30)), cosine(30), x_T, clip=clip))
        for clip in (None, 0.3)
    )
    assert free.x0_hat.abs().max() > 0.5
    torch.testing.assert_close(held.x0_hat, free.x0_hat.clamp(-0.3, 0.3))
    rejoined = add_noise(held.x0_hat, held.eps_hat, cosine(30).alphas_cumprod[29])
    torch.testing.assert_close(rejoined, x_T)


def test_a_seed_gives_the_same_walk_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    ends = [
        list(
            ddpm_steps(
                denoiser(tangle, EPS, SHORT),
                SHORT,
                numbers(2, 2),
                generator=torch.Generator().manual_seed(seed),
            )
        )[-1].x_prev
        for seed in (5, 5, 6)
    ]
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
    assert torch.equal(state, torch.get_rng_state())


def test_noise_is_standard_normal_in_the_pictures_own_precision():
    for dtype in (torch.float32, torch.float64):
        x = torch.zeros(100, 100, dtype=dtype)
        noise = noise_like(x, torch.Generator().manual_seed(0))
        assert (noise.dtype, noise.shape) == (dtype, x.shape)
        assert abs(noise.mean()) < 4 / 100
        assert abs(noise.var() - 1) < 4 * math.sqrt(2) / 100
    torch.manual_seed(1)
    first = noise_like(x, None)
    torch.manual_seed(1)
    assert torch.equal(first, noise_like(x, None))


def test_a_walk_keeps_no_gradients_of_the_network():
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    denoise = denoiser(lambda x_t, t: weight * x_t, EPS, SHORT)
    assert denoise(numbers(1, 2), torch.tensor([3])).x0_hat.requires_grad
    assert not any(s.x_prev.requires_grad for s in ddpm_steps(denoise, SHORT, numbers(1, 2)))
