"""Correlations and regressions over a few points: known answers and the figures of the paper."""

import math
import statistics

import numpy as np
import pytest

from course_lib.data.dit_paper import TWELVE
from course_lib.evaluation.scaling import left_out_error, pearson, regress

FID = [point.fid for point in TWELVE]
GFLOPS = [point.gflops for point in TWELVE]
WORK, SIZE, TOKENS = (
    np.log10(row).tolist()
    for row in (
        GFLOPS,
        [point.mega_parameters for point in TWELVE],
        [point.num_tokens for point in TWELVE],
    )
)


def test_a_correlation_by_hand():
    """Deviations -3, -1, 1, 3 and -1, -3, 3, 1: products 3 + 3 + 3 + 3 over 20."""
    assert pearson([0, 2, 4, 6], [4, 2, 8, 6]).value == pytest.approx(12 / 20)


def test_the_interval_is_fishers():
    """tanh(atanh(r) + h) written without either."""
    found = pearson(WORK, FID)
    for edge, half in ((found.low, -1.96 / 3), (found.high, 1.96 / 3)):  # twelve points: root of 9
        grown = (1 + found.value) / (1 - found.value) * math.exp(2 * half)
        assert edge == pytest.approx((grown - 1) / (grown + 1))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    dice, truth, held, draws = np.random.default_rng(0), -0.8, 0, 2000
    for _ in range(draws):
        x, other = dice.standard_normal((2, 9))
        found = pearson(x.tolist(), (truth * x + 0.6 * other).tolist())
        held += found.low <= truth <= found.high
    assert abs(held / draws - 0.95) < 4 * (0.95 * 0.05 / draws) ** 0.5


@pytest.mark.parametrize("sign", [1, -1])
def test_points_on_a_line_leave_no_doubt(sign):
    found = pearson([1, 2, 3, 5], [sign * x for x in (2.5, 4.5, 6.5, 10.5)])
    assert (found.low, found.value, found.high) == pytest.approx((sign, sign, sign))
    assert abs(found.value) <= 1


def test_one_predictor_is_the_straight_line_of_the_standard_library():
    slope, constant = statistics.linear_regression(WORK, FID)
    fit = regress(FID, WORK)
    assert fit.slopes == (pytest.approx(slope),)
    assert fit.constant == pytest.approx(constant)
    assert fit.r_squared == pytest.approx(statistics.correlation(WORK, FID) ** 2)


def test_a_plane_is_found_and_explains_all():
    x, y = [0.0, 1, 2, 3, 4], [1.0, 0, 5, 2, 2]
    fit = regress([3 - 2 * a + 0.5 * b for a, b in zip(x, y, strict=True)], x, y)
    assert fit.slopes == pytest.approx((-2, 0.5))
    assert fit.constant == pytest.approx(3)
    assert fit.r_squared == pytest.approx(1)


def test_the_share_explained_by_hand():
    """0 0 3 3 lies 9 from its mean; the line of slope 1.2 takes 1.2 squared times 5 of it."""
    assert regress([0, 0, 3, 3], [0, 1, 2, 3]).r_squared == pytest.approx(7.2 / 9)


def test_a_point_left_out_is_guessed_from_the_others():
    assert left_out_error([1.0, 3, 5, 7, 9], [0, 1, 2, 3, 4]) == pytest.approx(0)
    x, y = [0, 1, 2, 3, 4], [0, 0, 0, 0, 4]
    errors = []
    for k in range(5):
        slope, constant = statistics.linear_regression([*x[:k], *x[k + 1 :]], [*y[:k], *y[k + 1 :]])
        errors.append(y[k] - slope * x[k] - constant)
    assert errors[-1] == pytest.approx(4)  # nothing tells of it
    by_hand = math.sqrt(statistics.fmean(error**2 for error in errors))
    assert left_out_error(y, x) == pytest.approx(by_hand)


def test_the_paper_has_the_figures_that_the_course_quotes():
    assert round(pearson(WORK, FID).value, 2) == -0.93
    assert round(pearson(GFLOPS, FID).value, 2) == -0.73
    assert round(pearson(SIZE, FID).value, 2) == -0.47
    assert round(pearson(TOKENS, FID).value, 2) == -0.85
    assert round(regress(FID, WORK).r_squared, 3) == 0.865
    assert round(regress(FID, SIZE, TOKENS).r_squared, 3) == 0.949


def test_work_is_parameters_times_tokens():
    fit = regress(WORK, SIZE, TOKENS)
    assert fit.slopes == pytest.approx((1, 1), abs=0.01)
    assert fit.r_squared > 0.9998


def test_what_says_nothing_is_refused():
    with pytest.raises(ValueError, match="4 or more"):
        pearson([1, 2, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="the same everywhere"):
        pearson([1, 1, 1, 1], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="0 predictors"):
        regress([1, 2, 3])
    with pytest.raises(ValueError, match="follows from the others"):
        regress([1, 2, 3, 5], [1, 2, 3, 4], [2, 4, 6, 8])
