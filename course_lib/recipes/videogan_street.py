"""Chapter 2: the two-stream VAE-GAN on the real street, where the median knows the background.

Three crops of the fixed camera, halved to 32 pixels, eight frames three tenths of a second apart.
The background is drawn at full resolution: a railing is no gradient. Nobody has drawn true masks of
these people. The reference is what differs from the training frames' median, which is no truth
either: it misses whoever wears the colour of the road, and counts shadows.
"""

from dataclasses import replace
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from course_lib.data.pedestrians import LEFT_EDGES, cut_clip, load_strip, median_background
from course_lib.data.video import to_float
from course_lib.evaluation.masks import Mask, flicker, grow, iou
from course_lib.interfaces import Video
from course_lib.models.videogan import VideoGAN
from course_lib.recipes.videogan import SMALL, SceneGAN, recipe
from course_lib.recipes.videogan_exam import (
    SHOWN_CLIPS,
    SHOWN_SAMPLES,
    codes,
    generate,
    masks_of,
    parts_sheet,
    prior,
)
from course_lib.training.recipe import Metric

NUM_FRAMES, EVERY = 8, 3  # frames of a clip, and how many of the camera's lie between two
SPAN = (NUM_FRAMES - 1) * EVERY + 1
DIFFERS = 0.25  # from the median, of pixels in [-1, 1]
WALKING = 0.02  # share of a clip's pixels that differ, from which somebody walks


def clip_at(strip: Tensor, start: int, left: int) -> Float[Tensor, "T 1 32 32"]:
    """Every third frame, at half the resolution."""
    return F.avg_pool2d(cut_clip(strip, start, left, SPAN)[::EVERY], 2)


@cache
def empty_street() -> Float[Tensor, "edge 1 32 32"]:
    """The median of the training frames, for each crop."""
    median = to_float(median_background(load_strip("train")))
    return F.avg_pool2d(torch.stack([median[..., left : left + 64] for left in LEFT_EDGES]), 2)


@cache
def walks(split: str) -> tuple[Video, Mask]:
    """Clips in which somebody walks, none overlapping, and where they differ from the median."""
    strip, clips, masks = load_strip(split), [], []
    for edge, left in enumerate(LEFT_EDGES):
        for start in range(0, len(strip) - SPAN + 1, SPAN):
            clip = clip_at(strip, start, left)
            mask = (clip - empty_street()[edge]).abs() > DIFFERS
            if mask.float().mean() > WALKING:
                clips.append(clip)
                masks.append(mask)
    return torch.stack(clips), torch.stack(masks)


def draw(config: SceneGAN, generator: torch.Generator) -> dict[str, Tensor]:
    """Clips from any time of the training frames, half of them walked in the other direction."""
    strip, num = load_strip("train"), config.batch_size
    chance = torch.rand(num, 3, generator=generator)
    clips = []
    for start, edge, backwards in (chance * torch.tensor([len(strip) - SPAN, 3, 2])).long():
        clip = clip_at(strip, int(start), LEFT_EDGES[int(edge)])
        clips.append(clip.flip(0) if backwards else clip)
    return {
        "video": torch.stack(clips),
        "eps": torch.randn(num, config.model.latent_dim, generator=generator),
        "z": torch.randn(num // 2, config.model.latent_dim, generator=generator),
    }


def evaluate(model: VideoGAN, _config: SceneGAN) -> dict[str, Metric]:
    """On held-out time, against the median: one scene, and few clips."""
    video, reference = walks("test")
    rebuilt = generate(model, codes(model, video))
    masks = masks_of(rebuilt)
    return {
        "error": Metric.of_mean((rebuilt.video - video).square().mean((1, 2, 3, 4))),
        "iou": Metric.of_mean(iou(masks, reference)),
        "iou_chance": Metric.of_mean(iou(masks, reference.roll(1, 0))),
        "covered": Metric.of_mean(masks.float().mean((1, 2, 3, 4))),
        "differs": Metric.of_mean(reference.float().mean((1, 2, 3, 4))),
        "flicker": Metric.of_mean(flicker(rebuilt.video, grow(masks | reference))),
        "flicker_camera": Metric.of_mean(flicker(video, grow(reference))),
    }


def sheet(model: VideoGAN, _config: SceneGAN) -> Image.Image:
    """Held-out clips redrawn, then samples, as all sheets of the chapter."""
    video, _ = walks("test")
    chosen = video[:: len(video) // SHOWN_CLIPS][:SHOWN_CLIPS]
    rebuilt = generate(model, codes(model, chosen))
    samples = generate(model, prior(model, SHOWN_SAMPLES, video=walks("train")[0]))
    return parts_sheet(chosen, rebuilt, samples)


STREET_GAN = recipe(
    "videogan_street",
    "The two-stream VAE-GAN on real pedestrians",
    replace(
        SMALL,
        model=replace(SMALL.model, channels=1, background_dims=(96, 48, 24), background_upsample=1),
        mask_weight=0.3,
    ),
    data="pedestrians, frames 0-599, three crops at half resolution",
    draw=draw,
    evaluate=evaluate,
    sheet=sheet,
    monitor=None,
    criterion="iou",
)

RECIPES = (STREET_GAN,)
