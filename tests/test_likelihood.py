import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from course_lib.data.toy import two_bumps
from course_lib.methods.likelihood import (
    fit_by_likelihood,
    fit_forward_kl,
    fit_reverse_kl,
    forward_kl,
    reverse_kl,
)

GRID = torch.linspace(-12, 12, 1201, dtype=torch.float64)


def log_density(distance, **bumps):
    return two_bumps(distance, **bumps).log_prob(GRID[:, None])


@pytest.mark.parametrize(("distance", "weight"), [(0.0, 0.5), (2.0, 0.5), (6.0, 0.5), (6.0, 0.2)])
def test_forward_kl_matches_the_moments_of_the_two_bumps(distance, weight):
    fit = fit_forward_kl(log_density(distance, left_weight=weight), GRID)
    assert fit.mean == pytest.approx(distance * (0.5 - weight), abs=1e-4)
    # Variance within a bump plus variance of the bumps' places.
    assert fit.sd == pytest.approx(math.sqrt(1 + weight * (1 - weight) * distance**2), abs=1e-4)


@pytest.mark.parametrize("distance", [2.05, 2.5, 3.0, 4.0])
def test_every_reverse_optimum_is_lower_than_its_neighbours(distance):
    log_p = log_density(distance, left_weight=0.45)
    for fit in fit_reverse_kl(log_p, GRID):
        here = reverse_kl(log_p, GRID, torch.tensor(fit.mean), torch.tensor(fit.sd))
        for mean, sd in ((0.03, 0), (-0.03, 0), (0, 0.03), (0, -0.03)):
            near = torch.tensor(fit.mean + mean), torch.tensor(fit.sd + sd)
            assert reverse_kl(log_p, GRID, *near) > here


def test_likelihood_lands_where_forward_kl_does():
    num = 40_000
    samples = two_bumps(6.0).sample(num, generator=torch.Generator().manual_seed(0))[:, 0]
    by_likelihood = fit_by_likelihood(samples)
    by_forward_kl = fit_forward_kl(log_density(6.0), GRID)
    assert abs(by_likelihood.mean - by_forward_kl.mean) < 4 * by_forward_kl.sd / math.sqrt(num)
    # The spread of sd: sqrt((m4 - sd^4) / N) / (2 sd) with fourth moment 81 + 54 + 3.
    error = math.sqrt((138 - 100) / num) / (2 * by_forward_kl.sd)
    assert abs(by_likelihood.sd - by_forward_kl.sd) < 4 * error


def test_no_gaussian_near_the_fit_makes_the_samples_likelier():
    samples = torch.tensor([0.0, 1.0, 5.0])
    fit = fit_by_likelihood(samples)
    best = Normal(fit.mean, fit.sd).log_prob(samples).sum()
    for mean, sd in ((0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05)):
        assert Normal(fit.mean + mean, fit.sd + sd).log_prob(samples).sum() < best


def test_the_sums_are_the_known_kl_of_two_gaussians_in_both_directions():
    p, mean, sd = Normal(0.5, 1.2), torch.tensor(-0.4), torch.tensor(0.8)
    log_p, q = p.log_prob(GRID), Normal(mean, sd)
    forward, reverse = forward_kl(log_p, GRID, mean, sd), reverse_kl(log_p, GRID, mean, sd)
    assert forward.item() == pytest.approx(kl_divergence(p, q).item(), rel=1e-5)
    assert reverse.item() == pytest.approx(kl_divergence(q, p).item(), rel=1e-5)
    assert forward.item() != pytest.approx(reverse.item(), rel=0.05)


def test_reverse_kl_has_one_optimum_at_each_of_two_far_bumps():
    optima = fit_reverse_kl(log_density(8.0), GRID)
    assert sorted(round(fit.mean, 2) for fit in optima) == [-4.0, 4.0]
    assert all(fit.sd == pytest.approx(1, abs=0.01) for fit in optima)


def test_reverse_kl_prefers_the_heavier_of_two_far_bumps():
    for weight, side in ((0.3, 1), (0.7, -1)):
        best, other = fit_reverse_kl(log_density(8.0, left_weight=weight), GRID)
        assert best.mean == pytest.approx(4 * side, abs=0.01)
        assert other.mean == pytest.approx(-4 * side, abs=0.01)


def test_reverse_kl_of_a_far_bump_is_minus_the_log_of_its_weight():
    log_p = log_density(10.0, left_weight=0.3)
    best, other = fit_reverse_kl(log_p, GRID)
    for fit, weight in ((best, 0.7), (other, 0.3)):
        kl = reverse_kl(log_p, GRID, torch.tensor(fit.mean), torch.tensor(fit.sd))
        assert kl.item() == pytest.approx(-math.log(weight), abs=1e-3)


def test_near_bumps_leave_reverse_kl_a_single_optimum_that_spans_both():
    [fit] = fit_reverse_kl(log_density(1.0), GRID)
    assert fit.mean == pytest.approx(0, abs=1e-4)
    assert fit.sd == pytest.approx(math.sqrt(1 + 0.25), abs=0.02)


def test_no_gaussian_on_a_lattice_beats_the_best_reverse_fit():
    log_p = log_density(3.5, left_weight=0.4)
    best = fit_reverse_kl(log_p, GRID)[0]
    least = reverse_kl(log_p, GRID, torch.tensor(best.mean), torch.tensor(best.sd))
    for mean in torch.linspace(-4, 4, 33).double():
        for sd in torch.linspace(0.3, 3, 19).double():
            assert reverse_kl(log_p, GRID, mean, sd) >= least - 1e-9


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: fit_by_likelihood(torch.ones(5)), "1 different samples"),
        (
            lambda: fit_forward_kl(log_density(24.0), GRID),
            "at an end of the grid p is 1 of its peak",
        ),
        (lambda: fit_reverse_kl(log_density(2.0), GRID**3), "grid has 1201 points and steps from"),
        (lambda: fit_forward_kl(torch.zeros(1201), GRID), "at an end of the grid p is 1 of"),
        (lambda: fit_reverse_kl(log_density(2.0), -GRID), "it must rise"),
    ],
)
def test_errors_name_what_was_given_and_what_is_permitted(call, named):
    with pytest.raises(ValueError, match=named):
        call()
