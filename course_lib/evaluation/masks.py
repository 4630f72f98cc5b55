"""Masks against the truth, and how still a picture stands where nothing moves."""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from course_lib.interfaces import Video

Mask = Bool[Tensor, "B T 1 H W"]


def iou(predicted: Mask, truth: Mask) -> Float[Tensor, "B"]:
    """Intersection over union of each clip, all frames at once; 1 where both are empty."""
    both = (predicted & truth).flatten(1).sum(1)
    either = (predicted | truth).flatten(1).sum(1)
    return (both / either.clamp(min=1)).where(either > 0, 1.0)


def flicker(video: Video, busy: Bool[Tensor, "*clip"]) -> Float[Tensor, "B"]:
    """Mean absolute change from frame to frame where nothing should move, grey levels 0..255.

    A pixel counts where it is busy in neither of the two frames; 0 if there is no such pixel.

    Raises:
        ValueError: `busy` does not belong to the video, or there is a single frame.
    """
    expected = (*video.shape[:2], 1, *video.shape[3:])
    if busy.shape != expected or len(video[0]) < 2:
        raise ValueError(
            f"busy has shape {tuple(busy.shape)}; permitted: {tuple(expected)}, with 2 frames or "
            f"more"
        )
    still = ~(busy[:, 1:] | busy[:, :-1])  # (B, T - 1, 1, H, W)
    change = (video[:, 1:] - video[:, :-1]).abs().mean(2, keepdim=True) * 127.5
    return (change * still).flatten(1).sum(1) / still.flatten(1).sum(1).clamp(min=1)


def grow(mask: Mask, pixels: int = 1) -> Mask:
    """The mask and all within so many pixels of it, diagonals included."""
    spread = F.max_pool2d(mask.flatten(0, 1).float(), 2 * pixels + 1, stride=1, padding=pixels)
    return spread.unflatten(0, mask.shape[:2]).bool()
