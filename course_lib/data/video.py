"""Bytes and floats: the one place that knows uint8.

Inside the course a pixel is a float32 in [-1, 1]; files and screens hold bytes 0..255.
"""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import pad


def to_float(pixels: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Bytes 0..255 to float32 in [-1, 1]."""
    return pixels.to(torch.float32) / 127.5 - 1


def to_bytes(pixels: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Floats to bytes, rounded to the nearest; values outside [-1, 1] are clipped for display."""
    return ((pixels.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()


def to_panel(video: Float[Tensor, "*grid T C H W"]) -> UInt8[np.ndarray, "*panel"]:
    """Clips as the player takes them: bytes (*grid, T, H, W), in colour (*grid, T, H, W, 3)."""
    pixels = to_bytes(video).movedim(-3, -1).numpy()
    return pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels


def mosaic(videos: Float[Tensor, "N T C H W"], columns: int) -> Float[Tensor, "T C H2 W2"]:
    """Clips of the same length as tiles of one clip, row by row, a grey line between them.

    Raises:
        ValueError: the tiles do not fill a rectangle of so many columns.
    """
    if columns < 1 or len(videos) % columns:
        raise ValueError(f"{len(videos)} clips do not fill rows of columns = {columns}")
    framed = pad(videos, (0, 1, 0, 1), value=0)
    return rearrange(framed, "(r c) t ch h w -> t ch (r h) (c w)", c=columns)[..., :-1, :-1]


def split(
    video: Float[Tensor, "B T C H W"], context: int
) -> tuple[Float[Tensor, "B context C H W"], Float[Tensor, "B horizon C H W"]]:
    """A clip as (context, future): the observed frames and those to be predicted.

    Raises:
        ValueError: `context` leaves no frame on one of the sides.
    """
    num_frames = video.shape[1]
    if not 0 < context < num_frames:
        raise ValueError(
            f"context is {context}; a clip of {num_frames} frames allows 1..{num_frames - 1}"
        )
    return video[:, :context], video[:, context:]
