"""Still backgrounds and one moving sprite, with the true mask of every frame.

VideoGAN claims that a network finds out by itself what is foreground. Nobody can check that on
videos from the web; here the answer is known. Two presets:

    plain   discs, squares and diamonds in bright colours before dark gradients
    hard    handwritten digits before textures of all shades

A sprite walks straight on and stays in the picture. It is fast enough to uncover within a clip
whatever it stood on, so that the background can be told from one clip alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from course_lib.data.digits import SPLITS, load_digits
from course_lib.interfaces import Frames, Video

PRESETS = ("plain", "hard")
SPEEDS = (2.0, 3.0)  # pixels per frame of 32 pixels a side
RADII = {"plain": (4.0, 5.0), "hard": (6.0, 6.0)}  # pixels of 32 from a sprite's centre to its edge
DIGIT = 12  # pixels a side, of 32

Uniform = Callable[..., Tensor]  # (low, high, *shape) -> draws (B, *shape)


@dataclass(frozen=True, eq=False)
class Scenes:
    """Clips and what they were made of: video = mask * sprite + (1 - mask) * background."""

    video: Video  # (B, T, 3, S, S)
    mask: Bool[Tensor, "B T 1 S S"]  # where the sprite covers at least half a pixel
    background: Frames  # (B, 3, S, S)


def draw_scenes(
    num_clips: int,
    *,
    preset: str = "plain",
    split: str = "train",
    num_frames: int = 8,
    size: int = 32,
    generator: torch.Generator | None = None,
) -> Scenes:
    """New clips. `split` chooses the digits of the hard preset; plain scenes are new every time.

    Raises:
        ValueError: An unknown preset or split, no clips, or a walk that would leave the picture.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; permitted: {', '.join(PRESETS)}")
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; permitted: {', '.join(SPLITS)}")
    if num_clips < 1:
        raise ValueError(f"num_clips is {num_clips}; permitted: 1 and more")
    room = 32 - 1 - 2 * RADII[preset][1]  # pixels of 32 that a centre can walk
    if not 1 <= num_frames <= room / SPEEDS[0] + 1:
        raise ValueError(
            f"num_frames is {num_frames}; a sprite of preset {preset} stays in the picture for "
            f"1..{int(room / SPEEDS[0]) + 1}"
        )

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(num_clips, *shape, generator=generator)

    radius = uniform(*RADII[preset])
    centre = _walk(uniform, radius, num_frames)
    pixel = (torch.arange(size) + 0.5) * 32 / size - 0.5
    dx = (pixel - centre[..., 0, None])[:, :, None, :]  # (B, T, 1, S)
    dy = (pixel - centre[..., 1, None])[:, :, :, None]  # (B, T, S, 1)
    if preset == "plain":
        cover = _shapes(uniform(0.0, 3.0).long(), dx, dy, radius, 32 / size)[:, :, None]
        background = _gradient(uniform, size) * 0.4 - 0.6  # [-1, -0.2]
    else:
        cover = _digits(split, uniform(0.0, 1.0), dx, dy)
        background = _gradient(uniform, size) * 0.6 + _texture(uniform, size) * 0.4
    colour = _bright(uniform(0.0, 1.0))[:, None, :, None, None]
    video = cover * colour + (1 - cover) * background[:, None]
    return Scenes(video, cover >= 0.5, background)


def _walk(uniform: Uniform, radius: Tensor, num_frames: int) -> Float[Tensor, "B T 2"]:
    """Centres (x, y) in pixels of 32: a straight walk through a place where it fits."""
    angle = uniform(0.0, 2 * math.pi)
    direction = torch.stack([angle.cos(), angle.sin()], -1)  # (B, 2)
    room = 31 - 2 * radius
    longest = room / max(num_frames - 1, 1) / direction.abs().amax(-1)
    velocity = direction * torch.minimum(uniform(*SPEEDS), longest)[:, None]
    walked = velocity[:, None] * torch.arange(num_frames)[:, None]  # (B, T, 2)
    free = room[:, None] - (walked.amax(1) - walked.amin(1))
    return (
        radius[:, None, None]
        + walked
        - walked.amin(1, True)
        + (free * uniform(0.0, 1.0, 2))[:, None]
    )


def _shapes(kind: Tensor, dx: Tensor, dy: Tensor, radius: Tensor, pixel: float) -> Tensor:
    """How much of each pixel a disc (0), square (1) or diamond (2) covers, (B, T, S, S)."""
    distances = (
        (dx**2 + dy**2).sqrt(),
        torch.maximum(dx.abs(), dy.abs()),
        dx.abs() + dy.abs(),
    )
    inside = [radius[:, None, None, None] - distance for distance in distances]
    chosen = F.one_hot(kind, 3).to(dx.dtype)[:, :, None, None, None]  # (B, 3, 1, 1, 1)
    return ((torch.stack(inside, 1) * chosen).sum(1) / pixel + 0.5).clamp(0, 1)


def _digits(split: str, chance: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """The ink of a random digit at its place, (B, T, 1, S, S)."""
    images = _ink(split)[(chance * len(_ink(split))).long()]  # (B, 1, 12, 12)
    where = torch.stack(torch.broadcast_tensors(dx, dy), -1) / (DIGIT / 2)  # (B, T, S, S, 2)
    repeated = images.repeat_interleave(where.shape[1], 0)
    drawn = F.grid_sample(repeated, where.flatten(0, 1), align_corners=False)
    return drawn.unflatten(0, where.shape[:2])


@cache
def _ink(split: str) -> Float[Tensor, "N 1 12 12"]:
    images = load_digits(split).images[:, None].float() / 255
    return (F.interpolate(images, DIGIT, mode="bilinear", antialias=True) * 1.5).clamp(0, 1)


def _gradient(uniform: Uniform, size: int) -> Frames:
    """From one colour to another across the picture, in [-1, 1]."""
    angle = uniform(0.0, 2 * math.pi, 1, 1)
    place = torch.linspace(-0.5, 0.5, size)
    along = (place * angle.cos() + place[:, None] * angle.sin())[:, None] / 1.42 + 0.5
    return torch.lerp(uniform(-1.0, 1.0, 3, 1, 1), uniform(-1.0, 1.0, 3, 1, 1), along)


def _texture(uniform: Uniform, size: int) -> Frames:
    """Smooth random blots in colour, in [-1, 1]."""
    return F.interpolate(uniform(-1.0, 1.0, 3, 6, 6), size, mode="bilinear", align_corners=True)


def _bright(hue: Tensor) -> Float[Tensor, "B 3"]:
    """A saturated colour of the given hue in [0, 1): one channel is full, one low."""
    wheel = (hue[:, None] + torch.tensor([0.0, 1 / 3, 2 / 3])) * 2 * math.pi
    wave = wheel.cos()
    low, high = wave.amin(1, True), wave.amax(1, True)
    return (wave - low) / (high - low) * 1.4 - 0.4  # [-0.4, 1]
