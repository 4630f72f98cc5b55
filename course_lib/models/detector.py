"""A small network that finds the sprite in a single frame: a witness that has seen no mask of ours.

It is trained on true masks of real clips. A generated sprite has no true mask; the detector's is
the reference there, with its own error on held-out clips as the ceiling.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from course_lib.interfaces import Frames, Video


@dataclass(frozen=True)
class DetectorConfig:
    """Its width."""

    dim: int = 16  # channels at full resolution, twice as many at half


class Detector(nn.Module):
    """Convolutions at full and at half resolution; one logit a pixel."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        dim = config.dim
        self.fine = nn.Sequential(nn.Conv2d(3, dim, 3, padding=1), nn.ReLU())
        self.coarse = nn.Sequential(
            *(nn.Conv2d(dim, 2 * dim, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(2 * dim, 2 * dim, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(2 * dim, 2 * dim, 3, padding=2, dilation=2), nn.ReLU()),
        )
        self.head = nn.Sequential(
            nn.Conv2d(3 * dim, dim, 3, padding=1), nn.ReLU(), nn.Conv2d(dim, 1, 3, padding=1)
        )

    def forward(self, frames: Frames) -> Float[Tensor, "B 1 H W"]:
        """Logits, above 0 where the sprite is."""
        fine = self.fine(frames)  # (B, dim, H, W)
        coarse = F.interpolate(self.coarse(fine), scale_factor=2.0)  # (B, 2 dim, H, W)
        return self.head(torch.cat([fine, coarse], 1))

    @torch.no_grad()
    def find(self, video: Video) -> Bool[Tensor, "B T 1 H W"]:
        """Where the sprite is in each frame, every frame on its own."""
        return (self(video.flatten(0, 1)) > 0).unflatten(0, video.shape[:2])
