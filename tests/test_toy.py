import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from course_lib.data.toy import GaussianMixture, ring, two_bumps


def mixture():
    return GaussianMixture(
        weights=torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64),
        means=torch.tensor([[0.0, 1.0], [3.0, -1.0], [-2.0, 0.5]], dtype=torch.float64),
        sigmas=torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64),
    )


@pytest.mark.parity
def test_the_log_density_is_that_of_torch_distributions():
    ours = mixture()
    theirs = MixtureSameFamily(
        Categorical(ours.weights),
        Independent(Normal(ours.means, ours.sigmas[:, None].expand(3, 2)), 1),
    )
    x = 3 * torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))


def test_the_density_integrates_to_one():
    grid = torch.linspace(-20, 20, 4001, dtype=torch.float64)
    density = two_bumps(5.0, sigma=0.7, left_weight=0.3).log_prob(grid[:, None]).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=1e-9)


def test_draws_have_the_mean_and_variance_of_the_mixture():
    num = 20_000
    x = mixture().sample(num, generator=torch.Generator().manual_seed(0))
    mean = torch.tensor([0.9, -0.15]).double()
    second = torch.tensor(
        [0.2 * 0.25 + 0.5 * 10 + 0.3 * 8, 0.2 * 1.25 + 0.5 * 2 + 0.3 * 4.25]
    ).double()
    for observed, expected in ((x, mean), (x**2, second)):
        standard_error = observed.std(0) / math.sqrt(num)
        assert ((observed.mean(0) - expected).abs() < 4 * standard_error).all()


def test_a_seed_gives_the_same_draws_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first = mixture().sample(7, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first, mixture().sample(7, generator=torch.Generator().manual_seed(3)))
    assert not torch.equal(first, mixture().sample(7, generator=torch.Generator().manual_seed(4)))
    assert torch.equal(before, torch.get_rng_state())


def test_two_bumps_stand_where_they_are_told():
    x = two_bumps(6.0, sigma=0.1, left_weight=0.25).sample(
        4000, generator=torch.Generator().manual_seed(0)
    )
    left = x < 0
    assert abs(left.double().mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 4000)
    assert (x[left] + 3).abs().max() < 0.6
    assert (x[~left] - 3).abs().max() < 0.6


def test_the_modes_of_a_ring_are_equally_likely_and_evenly_spaced_on_the_circle():
    modes = ring(5, radius=3.0, sigma=0.2)
    x, y = modes.means.T.tolist()
    turned = [math.degrees(math.atan2(*pair)) % 360 for pair in zip(y, x, strict=True)]
    assert turned == pytest.approx([0, 72, 144, 216, 288])
    assert [math.hypot(*pair) for pair in zip(x, y, strict=True)] == pytest.approx([3.0] * 5)
    assert modes.weights.tolist() == pytest.approx([0.2] * 5)
    assert modes.sigmas.tolist() == [0.2] * 5
    assert ring().means.shape == (8, 2)


def integrated(data, x_t, alpha_bar, span=12.0, points=1201):
    """P(bump | x_t), E[x0 | x_t] and p(x_t) of a mixture on a line, by a sum over all x0."""
    x0 = torch.linspace(-span, span, points, dtype=torch.float64)
    each = Normal(data.means[:, 0], data.sigmas).log_prob(x0[:, None]).exp() * data.weights
    signal, noise = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    likelihood = Normal(signal * x0, noise).log_prob(torch.tensor(x_t, dtype=torch.float64)).exp()
    joint = torch.trapezoid(each * likelihood[:, None], x0, dim=0)  # (K,)
    mean = torch.trapezoid(x0 * each.sum(1) * likelihood, x0) / joint.sum()
    return joint / joint.sum(), mean.item(), joint.sum().log().item()


LINE = GaussianMixture(
    weights=torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64),
    means=torch.tensor([[-3.0], [0.5], [2.0]], dtype=torch.float64),
    sigmas=torch.tensor([0.4, 1.0, 0.3], dtype=torch.float64),
)


@pytest.mark.parametrize("alpha_bar", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("x_t", [-3.1, 0.0, 1.2])
def test_the_optimal_denoiser_is_the_integral_over_all_clean_points(x_t, alpha_bar):
    bumps, mean, log_prob = integrated(LINE, x_t, alpha_bar)
    point = torch.tensor([x_t], dtype=torch.float64)
    torch.testing.assert_close(LINE.posterior(point, alpha_bar), bumps, rtol=0, atol=1e-9)
    assert LINE.denoise(point, alpha_bar).item() == pytest.approx(mean, abs=1e-9)
    assert LINE.noisy(alpha_bar).log_prob(point).item() == pytest.approx(log_prob, abs=1e-9)


def test_in_the_plane_it_is_the_integral_too():
    data, point, alpha_bar = mixture(), torch.tensor([0.7, -0.4]).double(), 0.3
    line = torch.linspace(-14, 14, 401, dtype=torch.float64)
    x0 = torch.cartesian_prod(line, line)
    likelihood = Normal(math.sqrt(alpha_bar) * x0, math.sqrt(1 - alpha_bar)).log_prob(point).sum(1)
    weight = (data.log_prob(x0) + likelihood).softmax(0)
    torch.testing.assert_close(data.denoise(point, alpha_bar), weight @ x0, rtol=0, atol=1e-9)


def test_the_denoiser_is_the_score_of_the_noisy_mixture_by_tweedies_formula():
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x.requires_grad_()
    (score,) = torch.autograd.grad(mixture().noisy(0.3).log_prob(x).sum(), x)
    expected = (x + 0.7 * score) / math.sqrt(0.3)
    torch.testing.assert_close(mixture().denoise(x, 0.3), expected)


def test_each_example_may_have_its_own_noise_level():
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    levels = torch.tensor([0.0, 0.1, 0.6, 1.0], dtype=torch.float64)
    for exact in (mixture().denoise, mixture().posterior):
        alone = torch.stack(
            [exact(row, level.item()) for row, level in zip(x, levels, strict=True)]
        )
        torch.testing.assert_close(exact(x, levels), alone)


def test_pure_noise_is_answered_with_the_mean_and_a_clean_point_with_itself():
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    assert mixture().denoise(x, 0.0).dtype == x.dtype
    torch.testing.assert_close(mixture().denoise(x, 0.0), torch.tensor([[0.9, -0.15]] * 4))
    torch.testing.assert_close(mixture().denoise(x, 1.0), x)
    bare = mixture().noisy(0.0)
    assert bare.means.abs().max() == 0
    assert bare.sigmas.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: ring().noisy(1.5), r"alpha_bar is 1\.5; it must be in \[0, 1\]"),
        (lambda: ring().denoise(torch.zeros(2), -0.1), r"alpha_bar is -0\.1; it must be in"),
        (lambda: ring().posterior(torch.zeros(2), math.nan), "alpha_bar is nan; it must be in"),
        (lambda: two_bumps(-1.0), r"distance is -1\.0; it must be 0 or above"),
        (lambda: two_bumps(1.0, sigma=0.0), "each must be above 0"),
        (lambda: two_bumps(1.0, left_weight=1.5), r"weights are \[1\.5, -0\.5\]"),
        (lambda: ring(0), "num_modes is 0; it must be at least 1"),
        (lambda: ring(radius=0.0), r"radius is 0\.0; it must be above 0"),
        (lambda: ring(sigma=-1.0), "each must be above 0"),
        (lambda: two_bumps(1.0).sample(0), "num_samples is 0; it must be at least 1"),
    ],
)
def test_errors_name_what_was_given_and_what_is_permitted(call, named):
    with pytest.raises(ValueError, match=named):
        call()
