import math

import pytest
import torch

from course_lib.evaluation.distributions import (
    coverage,
    frechet_distance,
    frechet_distance_of_gaussians,
    mode_coverage,
)


def draws(num, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return torch.randn(num, dim, generator=generator, dtype=torch.float64) @ mix + seed


def gaussian(mean, cov):
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(cov, dtype=torch.float64)


def test_on_a_line_it_is_the_squares_of_the_differences_of_mean_and_spread():
    distance = frechet_distance_of_gaussians(*gaussian([1.0], [[4.0]]), *gaussian([4.0], [[0.25]]))
    assert distance == pytest.approx(3**2 + (2 - 0.5) ** 2)


def test_it_adds_over_the_axes_of_diagonal_gaussians():
    first = gaussian([0.0, 1.0, 2.0], [[1.0, 0, 0], [0, 9.0, 0], [0, 0, 4.0]])
    second = gaussian([1.0, 1.0, 0.0], [[4.0, 0, 0], [0, 1.0, 0], [0, 0, 4.0]])
    expected = (1 + 1) + (0 + 4) + (4 + 0)
    assert frechet_distance_of_gaussians(*first, *second) == pytest.approx(expected)


def test_commuting_covariances_differ_by_the_spreads_along_their_common_axes():
    angle = 0.7
    axes = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    ).double()
    mean = torch.zeros(2, dtype=torch.float64)
    first = axes @ torch.diag(torch.tensor([25.0, 1.0]).double()) @ axes.T
    second = axes @ torch.diag(torch.tensor([4.0, 16.0]).double()) @ axes.T
    distance = frechet_distance_of_gaussians(mean, first, mean, second)
    assert distance == pytest.approx((5 - 2) ** 2 + (1 - 4) ** 2)


def test_without_common_axes_two_dimensions_have_a_formula_too():
    first = torch.tensor([[2.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    second = torch.tensor([[1.0, -0.6], [-0.6, 3.0]], dtype=torch.float64)
    assert not torch.allclose(first @ second, second @ first)
    # For 2 x 2: tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)), by Cayley and Hamilton.
    product = first @ second
    root_trace = (product.trace() + 2 * product.det().sqrt()).sqrt()
    expected = (first.trace() + second.trace() - 2 * root_trace).item()
    mean = torch.zeros(2, dtype=torch.float64)
    assert frechet_distance_of_gaussians(mean, first, mean, second) == pytest.approx(expected)


def test_two_points_on_a_line_are_fitted_with_the_unbiased_spread():
    first = torch.tensor([[0.0], [2.0]])  # mean 1, variance 2 over N - 1
    second = torch.tensor([[0.0], [4.0]])  # mean 2, variance 8
    assert frechet_distance(first, second) == pytest.approx(1 + (math.sqrt(8) - math.sqrt(2)) ** 2)


def test_equal_sets_are_at_zero_even_with_fewer_rows_than_features():
    for num in (200, 5):
        features = draws(num, 12)
        shuffled = features[torch.randperm(num, generator=torch.Generator().manual_seed(1))]
        distance = frechet_distance(features, shuffled)
        assert 0 <= distance < 1e-6 * features.var(0).sum()


def test_order_rotation_and_translation_of_all_change_nothing():
    first, second = draws(60, 5, seed=1), draws(50, 5, seed=2)
    distance = frechet_distance(first, second)
    assert distance > 1
    turn, _ = torch.linalg.qr(draws(5, 5, seed=3))
    assert frechet_distance(second, first) == pytest.approx(distance)
    assert frechet_distance(first @ turn + 7, second @ turn + 7) == pytest.approx(distance)
    assert frechet_distance(3 * first, 3 * second) == pytest.approx(9 * distance)


def test_single_precision_features_far_from_zero_lose_nothing():
    # Multiples of 1/64 below 1024: exact in single precision, before and after the move.
    first, second = ((draws(80, 4, seed) * 64).round() / 64 for seed in (1, 2))
    distant = frechet_distance((first + 512).float(), (second + 512).float())
    assert distant == pytest.approx(frechet_distance(first, second), rel=1e-9)


def test_finite_sets_of_one_distribution_are_apart_by_the_bias_that_is_documented():
    dim, num, repeats = 8, 200, 40
    generator = torch.Generator().manual_seed(0)
    sets = torch.randn(repeats, 2, num, dim, generator=generator, dtype=torch.float64)
    scores = torch.tensor([frechet_distance(first, second) for first, second in sets])
    standard_error = scores.std() / math.sqrt(repeats)
    expected = dim * (dim + 5) / (2 * num)
    assert abs(scores.mean() - expected) < 4 * standard_error + 0.05 * expected


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        (draws(1, 3), draws(9, 3), "first set has 1 rows; a covariance needs at least 2"),
        (draws(9, 3), draws(1, 3), "second set has 1 rows"),
        (draws(9, 3), draws(9, 3) / 0, "9 of 9 rows of the second set are not finite"),
    ],
)
def test_errors_name_what_was_given_and_what_is_permitted(first, second, named):
    with pytest.raises(ValueError, match=named):
        frechet_distance(first, second)


def test_a_matrix_that_is_no_covariance_is_refused():
    mean, good = gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    bad = torch.diag(torch.tensor([1.0, -0.5], dtype=torch.float64))
    for first, second in ((bad, good), (good, bad)):
        with pytest.raises(ValueError, match=r"eigenvalue -0\.5; none may be below 0"):
            frechet_distance_of_gaussians(mean, first, mean, second)


MODES = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def test_a_mode_is_covered_by_enough_samples_within_the_radius_its_edge_included():
    beside_first = [[3.0, 4.0], [0.0, -5.0], [4.0, 4.0]]  # at 5, at 5, beyond
    beside_second = [[10.0, 1.0], [9.0, 0.0], [13.0, 3.0]]  # all three within 5
    samples = torch.tensor([*beside_first, *beside_second, [50.0, 50.0], [-6.0, 0.0]])
    assert mode_coverage(samples, MODES, 5.0, 2) == (2, 5 / 8)
    assert mode_coverage(samples, MODES, 5.0, 3) == (1, 5 / 8)
    assert mode_coverage(samples, MODES, 4.0, 1) == (1, 2 / 8)


def test_samples_that_are_all_good_may_cover_one_mode_alone():
    assert mode_coverage(torch.zeros(100, 2), MODES, 1.0, 10) == (1, 1.0)


def test_a_sample_between_two_modes_counts_for_both_and_once_in_the_share():
    assert mode_coverage(torch.tensor([[5.0, 0.0]]), MODES, 6.0, 1) == (2, 1.0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((torch.zeros(0, 2), MODES, 1.0, 1), "samples has 0 rows"),
        ((MODES, MODES, 0.0, 1), r"radius is 0\.0 and minimum 1; both must be above 0"),
        ((MODES, MODES, 1.0, 0), r"radius is 1\.0 and minimum 0; both must be above 0"),
    ],
)
def test_a_coverage_without_samples_or_limits_is_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        mode_coverage(*arguments)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_a_real_point_is_covered_by_a_sample_nearer_than_its_kth_real_neighbour(neighbours):
    real, samples = (draws(n, 2, seed=1).float() for n in (12, 7))
    samples = samples + torch.tensor([0.3, -0.2])
    expected = []
    for i, point in enumerate(real):
        others = sorted(math.dist(point, other) for j, other in enumerate(real) if j != i)
        nearest = min(math.dist(point, sample) for sample in samples)
        expected.append(nearest <= others[neighbours - 1])
    assert coverage(real, samples, neighbours).tolist() == expected
    assert 0 < sum(expected) < 12


def test_a_region_that_is_left_out_is_not_made_up_for_elsewhere():
    corners = 100 * torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    real = (corners[:, None] + draws(10, 2).float()).flatten(0, 1)  # (40, 2)
    assert coverage(real, real).all()
    assert coverage(real, real[:10].repeat(9, 1)).tolist() == [True] * 10 + [False] * 30


def test_coverage_without_enough_real_points_is_refused():
    for neighbours in (0, 3):
        with pytest.raises(ValueError, match=rf"neighbours is {neighbours}; permitted: 1\.\.2"):
            coverage(MODES, MODES, neighbours)
