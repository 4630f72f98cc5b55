"""Words for shapes: (B, T, C, H, W) for video and (B, C, H, W) for frames, float32 in [-1, 1]."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

Video = Float[Tensor, "B T C H W"]
Frames = Float[Tensor, "B C H W"]


@runtime_checkable  # the tests check it like any other type
class VideoPredictor(Protocol):
    """Whatever continues videos: `predict` of every model, or a function of the same arguments."""

    def __call__(
        self, context: Video, horizon: int, *, generator: torch.Generator | None = None
    ) -> Video:
        """One future of `horizon` frames for each context of the batch."""
        ...
