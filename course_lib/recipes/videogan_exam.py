"""Chapter 2: what a video GAN is asked about, on scenes whose masks are known."""

from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from course_lib import paths
from course_lib.data.scenes import draw_scenes
from course_lib.evaluation.masks import Mask, flicker, grow, iou
from course_lib.interfaces import Video
from course_lib.models.videogan import Composition, VideoGAN
from course_lib.recipes.film import film
from course_lib.recipes.scenes import (
    EXAM_SEED,
    EXAMINED,
    detection_rate,
    detector,
    find,
    held_out,
)
from course_lib.training.recipe import Metric

THRESHOLD = 0.5  # a pixel is foreground where the mask is above it
MONITORED = 100  # clips and samples at each point of the history
SHOWN_CLIPS, SHOWN_SAMPLES = 4, 6
ROWS = ("truth", "video", "foreground", "mask", "background")


@torch.no_grad()
def generate(
    model: VideoGAN, z: Float[Tensor, "N Z"], still: Float[Tensor, "N Z"] | None = None
) -> Composition:
    """Clips and their parts on the CPU, a hundred at a time; `still` is the background's z."""
    device = next(model.parameters()).device
    stills = z.split(100) if still is None else still.split(100)
    parts = [
        model.generate(moving.to(device), resting.to(device))
        for moving, resting in zip(z.split(100), stills, strict=True)
    ]

    def joined(name: str) -> Any:  # None where there is one stream
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values).float().cpu()

    return Composition(**{name: joined(name) for name in vars(parts[0])})


@torch.no_grad()
def codes(model: VideoGAN, video: Video) -> Float[Tensor, "N Z"]:
    """The mean of the posterior of each clip."""
    device = next(model.parameters()).device
    return torch.cat([model.encode(part.to(device)).mean.cpu() for part in video.split(100)])


@torch.no_grad()
def code_gaussian(model: VideoGAN, video: Video) -> tuple[Float[Tensor, "Z"], Float[Tensor, "Z Z"]]:
    """The Gaussian of the codes of real clips: its mean, and a root of its covariance.

    The KL pulls them towards N(0, I) and does not bring them there; samples of N(0, I) show it.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(EXAM_SEED)
    posteriors = [model.encode(part.to(device)) for part in video.split(100)]
    mean, sigma = (torch.cat([getattr(p, n) for p in posteriors]).cpu() for n in ("mean", "sigma"))
    z = mean + sigma * torch.randn(mean.shape, generator=generator)
    return z.mean(0), torch.linalg.cholesky(z.T.cov())


def prior(
    model: VideoGAN, num: int, *, seed: int = EXAM_SEED, video: Video | None = None
) -> Float[Tensor, "N Z"]:
    """Codes of samples: from the Gaussian of real clips' codes, without an encoder from N(0, I).

    `video` are the real clips; None draws plain scenes.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(num, model.config.latent_dim, generator=generator)
    if model.encoder is None:
        return noise
    mean, root = code_gaussian(model, plain_clips() if video is None else video)
    return mean + noise @ root.T


@cache
def plain_clips() -> Video:
    """A thousand plain scenes, none of them held out."""
    return draw_scenes(1000, generator=torch.Generator().manual_seed(EXAM_SEED + 1)).video


def masks_of(drawn: Composition) -> Mask:
    """Where a generator says that its foreground is.

    Raises:
        ValueError: It has one stream and says nothing.
    """
    if drawn.mask is None:
        raise ValueError("a generator of one stream has no mask; permitted: two streams")
    return drawn.mask > THRESHOLD


def flicker_of(drawn: Composition, known: Mask | None = None) -> Float[Tensor, "N"]:
    """Flicker outside what the detector finds and what is known to move, grown by a pixel.

    The pixel is for soft edges, which are less than half covered and still change.
    """
    found = find(detector(), drawn.video)
    return flicker(drawn.video, grow(found if known is None else found | known))


def evaluate(model: VideoGAN, config: Any) -> dict[str, Metric]:
    """Masks against the truth and the detector, and flicker; see the recipe's docstring."""
    measured = of_samples(model, EXAMINED)
    if model.encoder is not None:
        measured |= of_reconstructions(model, config.preset, EXAMINED)
    return measured


def monitor(model: VideoGAN, config: Any) -> dict[str, float]:
    """One point of the history."""
    measured = of_samples(model, MONITORED)
    if model.encoder is not None:
        measured |= of_reconstructions(model, config.preset, MONITORED)
    return {name: metric.value for name, metric in measured.items()}


def of_samples(model: VideoGAN, num: int) -> dict[str, Metric]:
    """What the detector finds in samples."""
    drawn = generate(model, prior(model, num))
    found = find(detector(), drawn.video)
    measured = {
        "detection": detection_rate(found),
        "flicker_samples": Metric.of_mean(flicker_of(drawn)),
    }
    if drawn.mask is not None:
        measured["iou_samples"] = Metric.of_mean(iou(masks_of(drawn), found))
    return measured


def of_reconstructions(model: VideoGAN, preset: str, num: int) -> dict[str, Metric]:
    """Held-out clips redrawn, against what is true of them."""
    scenes = held_out(preset, num)
    rebuilt = generate(model, codes(model, scenes.video))
    measured = {
        "error": Metric.of_mean((rebuilt.video - scenes.video).square().mean((1, 2, 3, 4))),
        "flicker_reconstruction": Metric.of_mean(flicker_of(rebuilt, scenes.mask)),
    }
    if rebuilt.mask is not None:
        masks = masks_of(rebuilt)
        measured["iou_reconstruction"] = Metric.of_mean(iou(masks, scenes.mask))
        measured["iou_chance"] = Metric.of_mean(iou(masks, scenes.mask.roll(1, 0)))
    return measured


def sheet(model: VideoGAN, config: Any) -> Image.Image:
    """Held-out clips redrawn, then samples; see `parts_sheet`."""
    truth = held_out(config.preset).video[:SHOWN_CLIPS]
    rebuilt = generate(model, codes(model, truth)) if model.encoder is not None else None
    return parts_sheet(truth, rebuilt, generate(model, prior(model, SHOWN_SAMPLES)))


def parts_sheet(truth: Video, rebuilt: Composition | None, samples: Composition) -> Image.Image:
    """Each clip as the `ROWS`, first the held-out ones, then samples; grey where there is none."""
    rows = torch.zeros(len(truth) + len(samples.video), len(ROWS), *truth.shape[1:])
    rows[: len(truth), 0] = truth
    if rebuilt is not None:
        _fill(rows[: len(truth)], rebuilt)
    _fill(rows[len(truth) :], samples)
    return film(rows.flatten(0, 1).expand(-1, -1, 3, -1, -1))


def _fill(rows: Float[Tensor, "N row T C S S"], drawn: Composition) -> None:
    rows[:, 1], rows[:, 2] = drawn.video, drawn.foreground
    if drawn.mask is not None and drawn.background is not None:
        rows[:, 3], rows[:, 4] = drawn.mask * 2 - 1, drawn.background[:, None]


def read_sheet(name: str) -> UInt8[np.ndarray, "N row T S S 3"]:
    """What `sheet` drew, as clips in colour; the order of the rows is `ROWS`."""
    with Image.open(paths.SHEETS / f"{name}.webp") as image:
        pixels = np.asarray(image.convert("RGB"))
    count = (SHOWN_CLIPS + SHOWN_SAMPLES) * len(ROWS)
    side = len(pixels) // count
    clips = pixels.reshape(count, side, -1, side, 3).swapaxes(1, 2)[:, :, 1:-1, 1:-1]
    return np.ascontiguousarray(clips).reshape(-1, len(ROWS), *clips.shape[1:])
