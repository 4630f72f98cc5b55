"""How close predicted clips are to the one true future: MSE, PSNR, SSIM, sharpness, energy score.

Every measure of frames takes (B, T, C, H, W) and returns (B, T): one number per clip and step,
averaged by whoever reads it. Pixels lie in [-1, 1], so the data range is 2: a PSNR computed with 1
on the same pixels is 6.02 dB too low. Samples are judged by their mean, by their best, and, as a
distribution, by the energy score.

Source: Wang et al. 2004 (SSIM); Gneiting & Raftery 2007, section 4.3 (energy score); torchmetrics
agrees with PSNR and SSIM.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

DATA_RANGE = 2.0  # the largest pixel minus the smallest: [-1, 1]
SSIM_WINDOW = 11  # pixels
SSIM_SIGMA = 1.5  # pixels, of the Gaussian window

FrameMetric = Callable[[Float[Tensor, "B T C H W"], Float[Tensor, "B T C H W"]], Tensor]


def mse(
    predicted: Float[Tensor, "B T C H W"], truth: Float[Tensor, "B T C H W"]
) -> Float[Tensor, "B T"]:
    """Mean squared error of each frame, over its channels and pixels."""
    return (predicted - truth).square().mean((2, 3, 4))


def psnr(
    predicted: Float[Tensor, "B T C H W"],
    truth: Float[Tensor, "B T C H W"],
    *,
    data_range: float = DATA_RANGE,
) -> Float[Tensor, "B T"]:
    """Peak signal-to-noise ratio of each frame in dB; infinite where the frames are equal.

    The mean of these numbers is never below the PSNR of the mean error (Jensen), so say which of
    the two is printed; one perfect frame makes the mean infinite.

    Raises:
        ValueError: `data_range` is not positive.
    """
    _check_range(data_range)
    return 10 * torch.log10(data_range**2 / mse(predicted, truth))


def ssim(
    predicted: Float[Tensor, "B T C H W"],
    truth: Float[Tensor, "B T C H W"],
    *,
    data_range: float = DATA_RANGE,
) -> Float[Tensor, "B T"]:
    """Structural similarity of each frame, at most 1, under a Gaussian window of 11 pixels.

    The frame is reflected at its borders and all pixels count. Frames smaller than the window
    (down to 6 pixels) work, but most of what they compare is reflection.

    Raises:
        ValueError: `data_range` is not positive, or a side is under 6 pixels.
    """
    _check_range(data_range)
    smallest = SSIM_WINDOW // 2 + 1
    if min(predicted.shape[-2:]) < smallest:
        raise ValueError(
            f"frames are {tuple(predicted.shape[-2:])}; "
            f"SSIM needs at least {smallest} pixels a side"
        )
    x, y = predicted.flatten(0, 1), truth.flatten(0, 1)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    # E[x^2] - E[x]^2 can fall a rounding error below zero on flat patches.
    var_x = (_window_mean(x * x) - mean_x**2).clamp(min=0)
    var_y = (_window_mean(y * y) - mean_y**2).clamp(min=0)
    cov = _window_mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * cov + c2)  # SSIM: numerator
    similarity = similarity / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return similarity.mean((1, 2, 3)).unflatten(0, predicted.shape[:2])


def sharpness(video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T"]:
    """Mean length of the pixel gradient (forward differences) in each frame, per pixel step.

    Not a similarity: noise is sharp too. Divide by the truth's value: under 1 is blurred.

    Raises:
        ValueError: a side is under 2 pixels.
    """
    if min(video.shape[-2:]) < 2:
        raise ValueError(f"frames are {tuple(video.shape[-2:])}; a gradient needs 2 pixels a side")
    down = video[..., 1:, :-1] - video[..., :-1, :-1]
    right = video[..., :-1, 1:] - video[..., :-1, :-1]
    return torch.hypot(down, right).mean((2, 3, 4))


def over_samples(
    samples: Float[Tensor, "K B T C H W"], truth: Float[Tensor, "B T C H W"], metric: FrameMetric
) -> Float[Tensor, "K B T"]:
    """`metric` of each of K sampled futures against the one that happened."""
    return torch.stack([metric(sample, truth) for sample in samples])


def mean_of_k(scores: Float[Tensor, "K B T"]) -> Float[Tensor, "B T"]:
    """What one sample scores on average: the number to compare with a deterministic model's."""
    return scores.mean(0)


def best_of_k(scores: Float[Tensor, "K B T"], *, larger_is_better: bool) -> Float[Tensor, "B T"]:
    """The scores of each clip's best sample, chosen by its mean over all steps.

    One sample is chosen per clip, never one per frame: a future must hold together. It can only
    improve with K and never punishes nonsense among the K: it measures coverage alone.

    Raises:
        ValueError: there is no sample.
    """
    if len(scores) == 0:
        raise ValueError("there are 0 samples; best of K needs at least 1")
    per_clip = scores.mean(2)  # (K, B)
    best = per_clip.argmax(0) if larger_is_better else per_clip.argmin(0)
    return scores[best, torch.arange(scores.shape[1], device=scores.device)]


def energy_score(
    samples: Float[Tensor, "K B T C H W"], truth: Float[Tensor, "B T C H W"]
) -> Float64[Tensor, "B"]:
    """E|X - y| - E|X - X'| / 2 of each clip, for samples X and the one future y that happened.

    A proper score: in the mean over many clips no sampler is below the one that draws from the true
    distribution. |.| is the root mean square over all pixels and frames; the second mean is over
    pairs of different samples, which makes it unbiased, and negative values possible.

    Raises:
        ValueError: There are fewer than two samples.
    """
    num_samples = len(samples)
    if num_samples < 2:
        raise ValueError(f"there is {num_samples} sample; the energy score needs at least 2")
    x = (samples - truth).double().flatten(2).transpose(0, 1)  # (B, K, pixels)
    to_truth = x.norm(dim=2).mean(1)
    between = torch.cdist(x, x).sum((1, 2)) / (num_samples * (num_samples - 1))
    return (to_truth - between / 2) / x.shape[2] ** 0.5


def _window_mean(frames: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """Weighted mean around each pixel; the Gaussian separates into a column and a row."""
    half = SSIM_WINDOW // 2
    offsets = torch.arange(-half, half + 1, dtype=frames.dtype, device=frames.device)
    weights = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    weights = weights / weights.sum()
    channels = frames.shape[1]
    column = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    row = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    padded = F.pad(frames, (half, half, half, half), mode="reflect")
    return F.conv2d(F.conv2d(padded, column, groups=channels), row, groups=channels)


def _check_range(data_range: float) -> None:
    if not data_range > 0:
        raise ValueError(f"data_range is {data_range}; it must be above 0 (pixels in [-1, 1]: 2)")
