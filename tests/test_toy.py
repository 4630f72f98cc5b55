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


@pytest.mark.parametrize(
    ("call", "named"),
    [
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
