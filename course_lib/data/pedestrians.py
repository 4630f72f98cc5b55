"""A real fixed camera: pedestrians on a campus road, 10 frames a second, grey.

The footage is PETS 2009 of the University of Reading (free for academic and industrial research
with acknowledgement), as distributed with OpenCV; see data/README.md. It is one scene of 80
seconds: the split is by time, a model will overfit, and its numbers speak for this scene alone.
"""

from functools import cache
from itertools import product

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from course_lib.data.video import to_float
from course_lib.paths import DATA

PEDESTRIANS_FILE = DATA / "pedestrians.npz"
SPLITS = {"train": slice(0, 600), "test": slice(600, 795)}  # frames, in time
NUM_FRAMES = 795
STRIP_SHAPE = (64, 192)  # rows, columns
CROP = 64  # pixels a side
LEFT_EDGES = (0, 64, 128)  # of three crops that do not overlap
WALKING_DIFFERENCE = 0.2  # from the background, of pixels in [-1, 1]
WALKING_SHARE = 0.01  # of a clip's pixels: about half a person


def load_strip(split: str) -> UInt8[Tensor, "N 1 64 192"]:
    """All frames of `train` (0..599) or `test` (600..794): the whole strip of road, in time order.

    Raises:
        ValueError: `split` is neither.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; permitted: {', '.join(SPLITS)}")
    return _all_frames()[SPLITS[split]].clone()


def median_background(frames: UInt8[Tensor, "N C H W"]) -> UInt8[Tensor, "C H W"]:
    """The empty scene: each pixel's median over time."""
    return frames.median(0).values


def cut_clip(
    strip: UInt8[Tensor, "N 1 64 192"], start: int, left: int, num_frames: int = 20
) -> Float[Tensor, "{num_frames} 1 64 64"]:
    """One clip of 64 x 64 pixels from frame `start` and column `left` on, in [-1, 1].

    Raises:
        ValueError: the clip would leave the strip, in time or in space.
    """
    last_start, last_left = len(strip) - num_frames, strip.shape[-1] - CROP
    if num_frames < 1 or last_start < 0:
        raise ValueError(f"num_frames is {num_frames}; these frames allow 1..{len(strip)}")
    if not 0 <= start <= last_start:
        raise ValueError(f"start is {start}; {num_frames} frames allow 0..{last_start}")
    if not 0 <= left <= last_left:
        raise ValueError(f"left is {left}; permitted: 0..{last_left}")
    return to_float(strip[start : start + num_frames, :, :, left : left + CROP])


def load_pedestrians(split: str, num_frames: int = 20) -> Float[Tensor, "N {num_frames} 1 64 64"]:
    """The clips of a split in which somebody walks, in [-1, 1]; no two share a pixel.

    The empty scene that motion is told by is that of the training frames, for both splits.

    Raises:
        ValueError: the split is unknown, or has fewer than `num_frames` frames.
    """
    strip, empty = load_strip(split), to_float(_training_background())
    if not 1 <= num_frames <= len(strip):
        raise ValueError(f"num_frames is {num_frames}; {split} allows 1..{len(strip)}")
    starts = range(0, len(strip) - num_frames + 1, num_frames)
    clips = []
    for start, left in product(starts, LEFT_EDGES):
        clip = cut_clip(strip, start, left, num_frames)
        differs = (clip - empty[..., left : left + CROP]).abs() > WALKING_DIFFERENCE
        if differs.float().mean() > WALKING_SHARE:
            clips.append(clip)
    return torch.stack(clips)


@cache
def _all_frames() -> UInt8[Tensor, "795 1 64 192"]:
    with np.load(PEDESTRIANS_FILE) as stored:
        changes = stored["changes"]
    # The file holds differences in time of 7-bit frames; a byte that overflows wraps back here.
    frames = 2 * np.cumsum(changes, axis=0, dtype=np.uint8)
    return torch.from_numpy(frames).unsqueeze(1)


@cache
def _training_background() -> UInt8[Tensor, "1 64 192"]:
    return median_background(load_strip("train"))
