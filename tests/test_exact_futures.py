import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_crossroads import TABLE

from course_lib.data.crossroads import BASE, TURNS, TWICE, Crossroads
from course_lib.data.digits import Digits, load_digits
from course_lib.data.futures import Futures
from course_lib.data.video import to_bytes, to_float

CUES = [0, 4, 3, 1, 2]  # one digit of each


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Digit n is a digit of class n."""
    test = load_digits("test")
    first = [int((test.labels == label).nonzero()[0]) for label in range(10)]
    return Digits(test.images[first], test.labels[first])


def enumerate_futures(world: Crossroads, label: int, arrival: int) -> list[tuple]:
    """(turn, returns, probability, clip) of all outcomes, by the table as described."""
    turn_probs, return_probs = TABLE[label]
    outcomes = []
    for turn, name in enumerate(TURNS):
        back = return_probs[turn] or 0
        for returns in (False, True) if world.preset.returns else (False,):
            chance = (back if returns else 1 - back) if world.preset.returns else 1
            clip = world.clip(label, arrival, name, returns)[world.preset.context :]
            outcomes.append((turn, returns, turn_probs[turn] * chance, clip.double().numpy()))
    return outcomes


def small_futures(num: int = 4, seed: int = 0, horizon: int = 2) -> Futures:
    """Random clips of a few pixels, small enough for brute force."""
    generator = torch.Generator().manual_seed(seed)
    probs = torch.rand(num, dtype=torch.float64, generator=generator) + 0.2
    return Futures(
        context=torch.zeros(1, 1, 3, 3),
        clips=torch.rand(num, horizon, 1, 3, 3, generator=generator) * 2 - 1,
        probs=probs / probs.sum(),
        turns=torch.zeros(num, dtype=torch.int64),
        returns=torch.zeros(num, dtype=torch.bool),
        background=torch.full((1, 3, 3), -1.0),
        turn_step=0,
    )


cases = pytest.mark.parametrize(
    ("preset", "size", "label", "arrival"),
    [
        *((BASE, 32, label, 4) for label in CUES),
        *((TWICE, 32, label, arrival) for label in CUES for arrival in (3, 5)),
        *((TWICE, 64, label, 4) for label in (9, 5)),
    ],
)


@cases
def test_futures_are_all_that_the_table_allows(digits, preset, size, label, arrival):
    world = Crossroads(digits, preset, size)
    truth = enumerate_futures(world, label, arrival)
    for include in (False, True):
        futures = world.futures(label, arrival, include_impossible=include)
        expected = [row for row in truth if include or row[2] > 0]
        assert list(zip(futures.turns.tolist(), futures.returns.tolist(), strict=True)) == [
            row[:2] for row in expected
        ]
        assert futures.probs.tolist() == pytest.approx([row[2] for row in expected])
        for clip, row in zip(futures.clips, expected, strict=True):
            assert np.array_equal(clip.numpy(), row[3].astype(np.float32))
        seen = world.clip(label, arrival, "left")[: preset.context]
        assert torch.equal(futures.context, seen)
        assert futures.turn_step == arrival + 1 - preset.context
        assert torch.equal(futures.background, world.map)


def test_the_table_of_entropies_and_numbers_of_futures_is_as_described(digits):
    world = Crossroads(digits, TWICE)
    described = {0: (0, 0.693, 2), 4: (0.898, 0.416, 4), 3: (0.898, 0.562, 6)}
    described |= {1: (1.099, 0, 3), 2: (0.693, 0.693, 4)}
    for label, (at_turn, at_return, num) in described.items():
        for arrival in TWICE.arrivals:
            futures = world.futures(label, arrival)
            entropy = futures.entropy()
            assert len(futures) == num
            assert entropy[arrival + 1 - 3].item() == pytest.approx(at_turn, abs=5e-4)
            assert entropy[arrival + 6 - 3].item() == pytest.approx(at_return, abs=5e-4)
            assert entropy.sum().item() == pytest.approx(at_turn + at_return, abs=1e-3)


@cases
def test_entropy_per_frame_counts_distinct_beginnings(digits, preset, size, label, arrival):
    world = Crossroads(digits, preset, size)
    truth = enumerate_futures(world, label, arrival)

    def of_prefixes(length):
        chances = defaultdict(float)
        for *_, probability, clip in truth:
            chances[clip[:length].tobytes()] += probability
        return -sum(p * math.log(p) for p in chances.values() if p > 0)

    gained = [of_prefixes(h + 1) - of_prefixes(h) for h in range(preset.horizon)]
    for include in (False, True):
        entropy = world.futures(label, arrival, include_impossible=include).entropy()
        assert entropy.tolist() == pytest.approx(gained, abs=1e-12)


@cases
def test_mean_and_least_error_are_those_of_the_enumeration(digits, preset, size, label, arrival):
    world = Crossroads(digits, preset, size)
    truth = enumerate_futures(world, label, arrival)
    mean = sum(p * clip for *_, p, clip in truth)
    variance = [
        sum(p * np.mean((clip[h] - mean[h]) ** 2) for *_, p, clip in truth)
        for h in range(preset.horizon)
    ]
    for include in (False, True):
        futures = world.futures(label, arrival, include_impossible=include)
        assert np.abs(futures.mean().numpy() - mean).max() < 1e-6
        assert futures.mmse().tolist() == pytest.approx(variance, rel=1e-9, abs=1e-15)


def test_any_predictor_pays_the_least_error_and_its_distance_to_the_mean():
    futures = small_futures(5)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        guess = torch.rand(2, 1, 3, 3, generator=generator) * 2 - 1
        paid = sum(
            p * (clip.double() - guess.double()).square().mean((1, 2, 3))
            for p, clip in zip(futures.probs, futures.clips, strict=True)
        )
        to_mean = (guess - futures.mean()).double().square().mean((1, 2, 3))
        torch.testing.assert_close(paid, futures.mmse() + to_mean, rtol=1e-6, atol=1e-7)


def test_a_true_sample_costs_exactly_twice_the_least_error(digits):
    futures = Crossroads(digits, TWICE).futures(4, 4)
    clips = futures.clips.double()
    between = (clips[:, None] - clips[None]).square().mean((3, 4, 5))  # (K, K, H)
    paid = torch.einsum("k,l,klh->h", futures.probs, futures.probs, between)
    torch.testing.assert_close(paid, 2 * futures.mmse())
    assert 10 * math.log10(2) == pytest.approx(3.01, abs=0.001)


@pytest.mark.parametrize(("label", "num", "factor"), [(2, 2, 4), (1, 3, 3)])
def test_a_certainly_wrong_turn_costs_as_described(digits, label, num, factor):
    futures = Crossroads(digits, BASE).futures(label, 4)
    assert len(futures) == num
    wrong = [
        (one - other).double().square().mean()
        for one, other in itertools.permutations(futures.clips, 2)
    ]
    ratio = sum(wrong) / len(wrong) / futures.mmse().mean()
    assert ratio.item() == pytest.approx(factor)
    assert factor == pytest.approx(2 / (1 - 1 / num))


@pytest.mark.parametrize("label", CUES)
def test_filtering_leaves_what_agrees_with_the_prefix(digits, label):
    world = Crossroads(digits, TWICE)
    futures, truth = world.futures(label, 4), enumerate_futures(world, label, 4)
    for k, length in itertools.product(range(len(futures)), (0, 1, 2, 4, 7, 8, 14)):
        prefix = futures.clips[k, :length]
        agree = [r for r in truth if r[2] > 0 and np.array_equal(r[3][:length], prefix.double())]
        total = sum(row[2] for row in agree)
        left = futures.filter(prefix)
        assert left.probs.tolist() == pytest.approx([row[2] / total for row in agree])
        assert left.turns.tolist() == [row[0] for row in agree]
        assert left.returns.tolist() == [row[1] for row in agree]
        assert np.array_equal(left.clips.double(), np.stack([row[3][length:] for row in agree]))
        assert torch.equal(left.context, torch.cat([futures.context, prefix]))
        assert left.turn_step == max(2 - length, 0)
        assert torch.equal(left.background, world.map)


def test_filtering_in_two_steps_equals_filtering_at_once(digits):
    futures = Crossroads(digits, TWICE).futures(3, 3)
    clip = futures.clips[5]
    at_once, in_two = futures.filter(clip[:8]), futures.filter(clip[:2]).filter(clip[2:8])
    assert torch.equal(at_once.clips, in_two.clips)
    torch.testing.assert_close(at_once.probs, in_two.probs)
    assert torch.equal(at_once.context, in_two.context)


def test_a_prefix_that_went_through_bytes_is_still_recognised(digits):
    futures = Crossroads(digits, TWICE).futures(3, 3)
    prefix = to_float(to_bytes(futures.clips[5, :8]))
    assert not torch.equal(prefix, futures.clips[5, :8])
    assert len(futures.filter(prefix)) == 1


def test_a_prefix_of_no_possible_future_is_refused(digits):
    world = Crossroads(digits, TWICE)
    futures = world.futures(0, 3, include_impossible=True)
    with pytest.raises(ValueError, match="begins none of the 6 futures"):
        futures.filter(futures.clips[0, :3])  # a 0 never turns left
    with pytest.raises(ValueError, match="prefix has 15 frames; a future has 14"):
        futures.filter(torch.zeros(15, 1, 32, 32))


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_eigenvalue_is_that_of_the_full_covariance(seed):
    futures = small_futures(5, seed)
    clips = futures.clips.double().flatten(1).numpy()
    covariance = np.cov(clips.T, aweights=futures.probs.numpy(), ddof=0)
    assert futures.lambda_max() == pytest.approx(np.linalg.eigvalsh(covariance)[-1], rel=1e-9)


def test_no_direction_varies_more_than_the_largest_eigenvalue(digits):
    futures = Crossroads(digits, TWICE).futures(4, 4)
    clips = futures.clips.double().flatten(1)
    centred = clips - futures.probs @ clips
    direction = centred[0]
    for _ in range(300):  # power iteration on the covariance, never written down
        direction = centred.T @ (futures.probs * (centred @ direction))
        size = direction.norm()
        direction = direction / size
    assert futures.lambda_max() == pytest.approx(size.item(), rel=1e-6)


def test_samples_come_with_the_true_probabilities():
    futures = small_futures(4)
    num = 20_000
    drawn = futures.sample(num, generator=torch.Generator().manual_seed(0))
    again = futures.sample(num, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)
    counts = [(drawn == clip).flatten(1).all(1).sum().item() for clip in futures.clips]
    assert sum(counts) == num
    for count, p in zip(counts, futures.probs.tolist(), strict=True):
        assert abs(count - num * p) <= 4 * (num * p * (1 - p)) ** 0.5


def test_a_future_of_probability_zero_is_never_drawn(digits):
    futures = Crossroads(digits, TWICE).futures(2, 4, include_impossible=True)
    drawn = futures.sample(400, generator=torch.Generator().manual_seed(0))
    for clip, p in zip(futures.clips, futures.probs, strict=True):
        assert (drawn == clip).flatten(1).all(1).any() == (p > 0)


# The optimal denoiser.


def bayes(futures: Futures, x_t: torch.Tensor, alpha_bar: float) -> list[float]:
    """P(future | x_t) by densities of torch.distributions."""
    joint = []
    for p, clip in zip(futures.probs, futures.clips.double(), strict=True):
        noise = torch.distributions.Normal(alpha_bar**0.5 * clip, (1 - alpha_bar) ** 0.5)
        joint.append(p.log() + noise.log_prob(x_t.double()).sum())
    evidence = torch.stack(joint).logsumexp(0)
    return [(j - evidence).exp().item() for j in joint]


@settings(max_examples=25, deadline=None)
@given(alpha_bar=st.floats(0, 0.99), seed=st.integers(0, 99), num=st.integers(1, 5))
def test_the_denoiser_is_the_posterior_mean_of_bayes_rule(alpha_bar, seed, num):
    futures = small_futures(num, seed)
    x_t = torch.randn(3, 2, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    posterior, denoised = futures.posterior(x_t, alpha_bar), futures.denoise(x_t, alpha_bar)
    for n in range(3):
        weights = bayes(futures, x_t[n], alpha_bar)
        assert posterior[n].tolist() == pytest.approx(weights, abs=1e-9)
        mean = sum(w * clip for w, clip in zip(weights, futures.clips, strict=True))
        torch.testing.assert_close(denoised[n], mean, rtol=0, atol=1e-5)


def test_every_clip_of_a_batch_may_have_its_own_noise_level():
    futures = small_futures()
    x_t = torch.randn(2, 3, 2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    levels = torch.tensor([[0.1, 0.5, 0.9], [0.0, 0.2, 0.7]])
    together = futures.denoise(x_t, levels)
    for i, j in itertools.product(range(2), range(3)):
        alone = futures.denoise(x_t[i, j], levels[i, j].item())
        torch.testing.assert_close(together[i, j], alone)


def test_the_denoiser_is_the_gradient_of_the_evidence():
    # Tweedie: E[x0 | x_t] = (x_t + (1 - alpha_bar) grad log p(x_t)) / sqrt(alpha_bar).
    futures, alpha_bar = small_futures(4), 0.6
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(2, 1, 3, 3, dtype=torch.float64, generator=generator).requires_grad_()
    noise = torch.distributions.Normal(
        alpha_bar**0.5 * futures.clips.double(), (1 - alpha_bar) ** 0.5
    )
    per_clip = noise.log_prob(x_t).flatten(1).sum(1)
    (score,) = torch.autograd.grad((futures.probs.log() + per_clip).logsumexp(0), x_t)
    tweedie = (x_t.detach() + (1 - alpha_bar) * score) / alpha_bar**0.5
    torch.testing.assert_close(futures.denoise(x_t.detach(), alpha_bar), tweedie)


def test_the_error_of_the_denoiser_is_orthogonal_to_what_it_saw():
    futures, alpha_bar, num = small_futures(4), 0.3, 20_000
    generator = torch.Generator().manual_seed(0)
    x0 = futures.sample(num, generator=generator)
    x_t = alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * torch.randn(x0.shape, generator=generator)
    error = x0 - futures.denoise(x_t, alpha_bar)
    for seen in (torch.ones_like(x_t), x_t, x_t.sign()):
        product = (error * seen).flatten(1).mean(1).double()
        assert abs(product.mean()) <= 4 * product.std() / num**0.5
    assert abs((error * x0).mean()) > 0.01  # the control: not orthogonal to what it did not see


def test_pure_noise_gives_the_mean_and_little_noise_the_clip(digits):
    futures = Crossroads(digits, TWICE).futures(4, 4, include_impossible=True)
    noise = torch.randn(futures.clips[0].shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(futures.denoise(noise, 0.0), futures.mean())
    for clip, p in zip(futures.clips, futures.probs, strict=True):
        if p > 0:
            denoised = futures.denoise(0.9**0.5 * clip + 0.1**0.5 * noise, 0.9)
            torch.testing.assert_close(denoised, clip)


@pytest.mark.parametrize("alpha_bar", [1.0, -0.1])
def test_a_noise_level_outside_its_range_is_refused(alpha_bar):
    futures = small_futures()
    with pytest.raises(ValueError, match=rf"alpha_bar is {alpha_bar}; values in \[0, 1\)"):
        futures.denoise(futures.clips, alpha_bar)


# The rate-distortion curve.


def two_futures(distance: float) -> Futures:
    """Two equally likely clips of two frames, each 2 x `distance` apart in one pixel."""
    clips = torch.zeros(2, 2, 1, 3, 3)
    clips[0, 1, 0, 1, 1], clips[1, 1, 0, 1, 1] = distance, -distance
    few = small_futures(2)
    return Futures(
        few.context,
        clips,
        torch.tensor([0.5, 0.5]).double(),
        few.turns,
        few.returns,
        few.background,
        0,
    )


def test_two_futures_follow_their_scalar_solution():
    # Reproductions +-b; the test channel is a logistic; b is its own posterior mean.
    a, frame = 0.8, 9
    for beta in (0.02, 0.06, 0.1, 0.13):  # it dies at .142
        slope = 1 / (beta * frame)
        b = a
        for _ in range(20_000):
            b = a * math.tanh(2 * slope * a * b)
        right = 1 / (1 + math.exp(-4 * slope * a * b))
        rate = math.log(2) + sum(p * math.log(p) for p in (right, 1 - right))
        distortion = (right * (a - b) ** 2 + (1 - right) * (a + b) ** 2) / (2 * frame)
        found = two_futures(a).rate_distortion(torch.tensor([beta]).double())
        assert found.rate.item() == pytest.approx(rate, abs=1e-6)
        assert found.distortion.item() == pytest.approx(distortion, abs=1e-8)


def test_a_symmetric_latent_dies_at_twice_lambda_max_over_the_pixels_of_a_frame():
    futures = two_futures(0.8)
    critical = 2 * futures.lambda_max() / 9
    assert futures.lambda_max() == pytest.approx(0.64)
    rate = futures.rate_distortion(critical * torch.tensor([0.9, 0.97, 1.03, 1.5]).double()).rate
    assert (rate[:2] > 1e-3).all()
    assert (rate[2:].abs() < 1e-6).all()


@pytest.mark.parametrize("label", [4, 3, 2])
def test_the_curve_runs_from_all_nats_to_the_least_error_and_is_convex(digits, label):
    futures = Crossroads(digits, TWICE).futures(label, 4, include_impossible=True)
    betas = torch.logspace(-2, 0.3, 24).double()
    curve = futures.rate_distortion(betas)
    assert torch.equal(curve.betas, betas)
    assert curve.rate[0].item() == pytest.approx(futures.entropy().sum().item(), abs=1e-3)
    assert curve.distortion[0].item() == pytest.approx(0, abs=1e-4)
    assert curve.rate[-1].item() == pytest.approx(0, abs=1e-6)
    assert curve.distortion[-1].item() == pytest.approx(futures.mmse().mean().item(), rel=1e-6)
    assert (curve.rate.diff() <= 1e-9).all()
    assert (curve.distortion.diff() >= -1e-9).all()
    # beta is the slope: between two points the chord's lies between theirs.
    steps = curve.distortion.diff() * TWICE.horizon
    for n in range(23):
        if steps[n] > 1e-6:
            slope = (-steps[n] / curve.rate[n : n + 2].diff()).item()
            assert betas[n] * (1 - 1e-3) <= slope <= betas[n + 1] * (1 + 1e-3)


def lagrangian_parts(futures: Futures, beta: float, points: torch.Tensor, weights: torch.Tensor):
    """For each clip the least of distortion / beta + nats that these points can give."""
    clips = futures.clips.double().flatten(1)
    distance = (clips[:, None] - points[None]).square().sum(-1)
    return -torch.logsumexp(weights.log() - distance / (beta * 9), dim=1)


@pytest.mark.parametrize("beta", [0.03, 0.15, 0.4])
def test_no_directly_optimised_channel_beats_the_curve(beta):
    futures = small_futures(3, seed=2)
    curve = futures.rate_distortion(torch.tensor([beta]).double())
    ours = (curve.distortion * 2 / beta + curve.rate).item()
    found = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(5, 3, dtype=torch.float64, generator=generator).softmax(1)
        mix = start.requires_grad_()
        logits = torch.zeros(5, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([mix, logits], 0.03)
        for _ in range(300):
            points = mix @ futures.clips.double().flatten(1)
            parts = lagrangian_parts(futures, beta, points, logits.softmax(0))
            loss = futures.probs @ parts
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found.append(loss.item())
    assert ours <= min(found) + 1e-6
    assert ours == pytest.approx(min(found), abs=2e-3)


@pytest.mark.parametrize("betas", [[0.0, 1.0], [-1.0]])
def test_a_weight_of_nats_that_is_not_positive_is_refused(betas):
    with pytest.raises(ValueError, match="positive values are allowed"):
        small_futures().rate_distortion(torch.tensor(betas).double())


def test_runs_are_the_past_followed_by_the_same_draws():
    futures = Crossroads(load_digits("test"), BASE).futures(0, 4)
    runs = futures.runs(7, generator=torch.Generator().manual_seed(5))
    drawn = futures.sample(7, generator=torch.Generator().manual_seed(5))
    assert all(torch.equal(run[:3], futures.context) for run in runs)
    assert torch.equal(runs[:, 3:], drawn)
