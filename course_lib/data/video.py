"""Bytes and floats: the one place that knows uint8.

Inside the course a pixel is a float32 in [-1, 1]; files and screens hold bytes 0..255.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_float(pixels: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Bytes 0..255 to float32 in [-1, 1]."""
    return pixels.to(torch.float32) / 127.5 - 1


def to_bytes(pixels: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Floats to bytes, rounded to the nearest; values outside [-1, 1] are clipped for display."""
    return ((pixels.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()


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
