import math

import pytest
import torch
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from course_lib.data.crossroads import TWICE, Crossroads
from course_lib.data.digits import load_digits
from course_lib.data.pedestrians import load_pedestrians
from course_lib.evaluation import futures as exact
from course_lib.evaluation.frames import (
    best_of_k,
    energy_score,
    mean_of_k,
    mse,
    over_samples,
    psnr,
    sharpness,
    ssim,
)


def pair(*shape, seed=0):
    """Two clips that resemble each other, in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    scale = torch.linspace(0.05, 0.6, shape[1], dtype=torch.float64).view(1, -1, 1, 1, 1)
    return (truth + scale * noise).clamp(-1, 1), truth


SHAPES = [(2, 3, 1, 16, 16), (1, 2, 3, 12, 20), (2, 2, 1, 6, 9)]


@pytest.fixture
def torchmetrics_in_double():
    """Its PSNR takes 10 and 2 at the default precision: in single it errs by 1.4e-6 dB itself."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parity
@pytest.mark.usefixtures("torchmetrics_in_double")
@pytest.mark.parametrize("shape", SHAPES)
def test_psnr_of_every_frame_is_that_of_torchmetrics(shape):
    predicted, truth = pair(*shape)
    ours = psnr(predicted, truth)
    for b in range(shape[0]):
        for t in range(shape[1]):
            theirs = peak_signal_noise_ratio(predicted[b, t], truth[b, t], data_range=2.0)
            torch.testing.assert_close(ours[b, t], theirs, rtol=0, atol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_of_every_frame_is_that_of_torchmetrics(shape):
    predicted, truth = pair(*shape)
    theirs = structural_similarity_index_measure(
        predicted.flatten(0, 1), truth.flatten(0, 1), data_range=2.0, reduction="none"
    )
    torch.testing.assert_close(
        ssim(predicted, truth).flatten(), theirs, rtol=0, atol=1e-6, check_dtype=True
    )


@pytest.mark.parity
def test_another_data_range_means_what_it_means_to_torchmetrics():
    predicted, truth = (127.5 * (x + 1) for x in pair(1, 2, 1, 12, 12))
    theirs = structural_similarity_index_measure(
        predicted[0], truth[0], data_range=255.0, reduction="none"
    )
    torch.testing.assert_close(ssim(predicted, truth, data_range=255.0)[0], theirs)
    torch.testing.assert_close(
        psnr(predicted, truth, data_range=255.0)[0, 1],
        peak_signal_noise_ratio(predicted[0, 1], truth[0, 1], data_range=255.0),
    )


def test_an_error_of_a_tenth_everywhere_has_mse_a_hundredth_and_26_decibels():
    truth = torch.zeros(2, 3, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(mse(truth + 0.1, truth), torch.full((2, 3), 0.01).double())
    decibels = torch.full((2, 3), 20 * math.log10(2 / 0.1)).double()
    torch.testing.assert_close(psnr(truth + 0.1, truth), decibels)


def test_each_frame_is_scored_by_itself():
    truth = torch.zeros(2, 3, 1, 8, 8)
    predicted = truth.clone()
    predicted[1, 2] = 0.5
    for scores, untouched in (
        (mse(predicted, truth), 0.0),
        (psnr(predicted, truth), math.inf),
        (ssim(predicted, truth), 1.0),
    ):
        assert scores.shape == (2, 3)
        changed = scores != untouched
        assert changed.nonzero().tolist() == [[1, 2]]


def test_the_mean_of_psnr_is_above_the_psnr_of_the_mean_error():
    predicted, truth = pair(2, 3, 1, 8, 8)
    of_mean = 10 * torch.log10(4 / mse(predicted, truth).mean())
    assert psnr(predicted, truth).mean() > of_mean + 0.5


def test_psnr_with_half_the_range_is_six_decibels_lower():
    predicted, truth = pair(1, 2, 1, 8, 8)
    drop = psnr(predicted, truth) - psnr(predicted, truth, data_range=1.0)
    torch.testing.assert_close(drop, torch.full((1, 2), 20 * math.log10(2)).double())


def test_ssim_of_opposite_patterns_is_negative():
    board = torch.ones(16, 16)
    board[::2] *= -1
    clip = board.expand(1, 1, 1, 16, 16)
    assert ssim(-clip, clip) < -0.9


def test_sharpness_of_a_ramp_is_its_slope_in_any_direction():
    rows = torch.arange(8.0).view(-1, 1).expand(8, 8)
    clip = torch.stack([0.1 * rows, 0.1 * rows.T, 0.03 * rows + 0.04 * rows.T])
    torch.testing.assert_close(
        sharpness(clip.view(1, 3, 1, 8, 8))[0], torch.tensor([0.1, 0.1, 0.05])
    )


def test_best_of_k_keeps_one_sample_per_clip_for_all_its_steps():
    scores = torch.tensor([[[1.0, 9.0], [5.0, 5.0]], [[6.0, 6.0], [7.0, 1.0]]])  # (K, B, T)
    smallest = best_of_k(scores, larger_is_better=False)
    assert smallest.tolist() == [[1.0, 9.0], [7.0, 1.0]]
    largest = best_of_k(scores, larger_is_better=True)
    assert largest.tolist() == [[6.0, 6.0], [5.0, 5.0]]
    assert mean_of_k(scores).tolist() == [[3.5, 7.5], [6.0, 3.0]]


def test_every_sample_is_scored_against_the_one_truth():
    first, truth = pair(2, 3, 1, 8, 8)
    second, _ = pair(2, 3, 1, 8, 8, seed=1)
    scores = over_samples(torch.stack([first, second, truth]), truth, mse)
    assert scores.shape == (3, 2, 3)
    torch.testing.assert_close(scores[1], (second - truth).square().flatten(2).mean(-1))
    assert (best_of_k(scores, larger_is_better=False) == 0).all()


def test_the_energy_score_is_its_definition_over_all_pairs_of_different_samples():
    generator = torch.Generator().manual_seed(0)
    samples = torch.rand(4, 3, 2, 1, 5, 6, generator=generator, dtype=torch.float64)
    truth = torch.rand(3, 2, 1, 5, 6, generator=generator, dtype=torch.float64)
    found = energy_score(samples, truth)
    assert found.shape == (3,)
    for clip in range(3):
        drawn, happened = samples[:, clip], truth[clip]
        near = [math.sqrt(float(((x - happened) ** 2).sum()) / 60) for x in drawn]
        between = [
            math.sqrt(float(((drawn[i] - drawn[j]) ** 2).sum()) / 60)
            for i in range(4)
            for j in range(4)
            if i != j
        ]
        expected = sum(near) / len(near) - sum(between) / len(between) / 2
        assert float(found[clip]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("num_samples", [2, 20])
def test_the_energy_score_of_gaussians_is_the_closed_form_and_least_for_the_true_width(num_samples):
    # y ~ N(0, 1), X ~ N(0, s^2): E|X - y| = sqrt(2 (1 + s^2) / pi), E|X - X'| = 2 s / sqrt(pi).
    generator = torch.Generator().manual_seed(num_samples)
    clips, widths = 5_000, (0.5, 1.0, 2.0)
    y = torch.randn(clips, 1, 1, 1, 1, generator=generator, dtype=torch.float64)
    x = torch.randn(num_samples, *y.shape, generator=generator, dtype=torch.float64)
    scores = {s: energy_score(s * x, y) for s in widths}
    for s, found in scores.items():
        expected = math.sqrt(2 * (1 + s**2) / math.pi) - s / math.sqrt(math.pi)
        error = float(found.std()) / math.sqrt(clips)
        assert abs(float(found.mean()) - expected) < 4 * error
    assert min(widths, key=lambda s: float(scores[s].mean())) == 1


def test_a_sampler_that_repeats_one_clip_pays_its_whole_distance():
    predicted, truth = pair(2, 3, 1, 8, 8)
    found = energy_score(predicted.expand(5, -1, -1, -1, -1, -1), truth)
    distance = (predicted - truth).square().mean((1, 2, 3, 4)).sqrt()
    torch.testing.assert_close(found, distance, rtol=0, atol=1e-7)


def test_averaged_over_the_truth_the_energy_score_is_the_exact_one_of_the_crossroads():
    futures = Crossroads(load_digits("test"), TWICE).futures(0, 4)
    samples = futures.sample(6, generator=torch.Generator().manual_seed(1))
    per_truth = energy_score(
        samples[:, None].expand(-1, len(futures), -1, -1, -1, -1), futures.clips
    )
    expected = exact.energy_score(samples, futures)
    assert float(futures.probs @ per_truth) == pytest.approx(expected, rel=1e-6)


def test_on_real_pixels_a_shift_of_one_pixel_costs_more_than_a_blur_that_is_less_sharp():
    clips = load_pedestrians("test")[:6]
    shifted = torch.cat([clips[..., :1], clips[..., :-1]], -1)
    blurred = avg_pool2d(clips.flatten(0, 1), 3, 1, 1, count_include_pad=False).view_as(clips)
    assert mse(shifted, clips).mean() > 1.3 * mse(blurred, clips).mean()
    assert (sharpness(shifted) / sharpness(clips)).mean() > 0.97
    assert (sharpness(blurred) / sharpness(clips)).mean() < 0.75


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda x: psnr(x, x, data_range=0.0), "data_range is 0.0; it must be above 0"),
        (lambda x: ssim(x, x, data_range=-2.0), "data_range is -2.0; it must be above 0"),
        (lambda x: ssim(x[..., :5], x[..., :5]), r"\(8, 5\); SSIM needs at least 6"),
        (lambda x: sharpness(x[..., :1, :]), r"\(1, 8\); a gradient needs 2"),
        (lambda x: best_of_k(x.view(0, 2, 3), larger_is_better=True), "0 samples"),
        (lambda x: energy_score(x[None], x), "1 sample; the energy score needs at least 2"),
    ],
)
def test_errors_name_what_was_given_and_what_is_permitted(call, named):
    shape = (0, 2, 3) if named == "0 samples" else (1, 2, 1, 8, 8)
    with pytest.raises(ValueError, match=named):
        call(torch.zeros(shape))
