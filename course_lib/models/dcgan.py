"""DCGAN's encoder and decoder, joined by skips: what turns frames into features and back in SVG.

Source: Radford et al. 2015 (arXiv 1511.06434), as in Denton & Fergus 2018 (arXiv 1802.07687) and
their models/dcgan_64.py. Departures: a frame ends in Tanh, because pixels are in [-1, 1], where the
paper's end in Sigmoid; and our small networks may have GroupNorm and a hidden layer.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Frames

Skips = list[Float[Tensor, "B _ _ _"]]  # fine to coarse


@dataclass(frozen=True)
class DCGANConfig:
    """The size of an `Encoder` and its `Decoder`."""

    channels: tuple[int, ...] = (16, 32, 64)  # of the skips, fine to coarse; the last is 4 x 4
    patch_size: int = 2  # pixels, even; the stride between the frame and its finest skip
    norm_groups: int | None = 8  # of GroupNorm; None: BatchNorm, as published
    feature_dim: int = 128  # of h
    hidden_dim: int | None = 256  # of a layer between h and the decoder's 4 x 4 map; None: no layer

    def __post_init__(self) -> None:
        if self.patch_size < 2 or self.patch_size % 2:
            raise ValueError(f"patch_size is {self.patch_size}; permitted: even, 2 and more")
        groups = self.norm_groups or 1
        if not self.channels or any(c < 1 or c % groups for c in self.channels):
            raise ValueError(
                f"channels is {self.channels}; permitted: one multiple of {groups} or more"
            )

    @property
    def size(self) -> int:
        """Pixels along an edge of a frame."""
        return self.patch_size * 4 * 2 ** (len(self.channels) - 1)


def _norm(channels: int, config: DCGANConfig) -> nn.Module:
    if config.norm_groups is None:
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(config.norm_groups, channels)


class Encoder(nn.Module):
    """A frame to its features h in (-1, 1), and the maps that the decoder may look at."""

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__()
        p, below = config.patch_size, (1, *config.channels)
        self.blocks = nn.ModuleList()
        for level, channels in enumerate(config.channels):
            stride = 2 if level else p
            conv = nn.Conv2d(below[level], channels, 2 * stride, stride, stride // 2)
            self.blocks.append(nn.Sequential(conv, _norm(channels, config), nn.LeakyReLU(0.2)))
        self.to_features = nn.Sequential(
            nn.Conv2d(config.channels[-1], config.feature_dim, 4),
            # Groups of a 1 x 1 map would be normalised over channels alone, losing their scale.
            nn.BatchNorm2d(config.feature_dim) if config.norm_groups is None else nn.Identity(),
            nn.Tanh(),
        )

    def forward(self, frames: Frames) -> tuple[Float[Tensor, "B D"], Skips]:
        """Features and skips of each frame."""
        x, skips = frames, []
        for block in self.blocks:
            x = block(x)  # (B, C, s, s), s halves
            skips.append(x)
        return self.to_features(x).flatten(1), skips  # (B, D)


class UpWithSkip(nn.Module):
    """A transposed convolution of features and skip stacked; several frames share one skip."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.ConvTranspose2d(2 * channels, out_channels, 2 * stride, stride, stride // 2)

    def forward(
        self, x: Float[Tensor, "BH C N N"], skip: Float[Tensor, "B C N N"]
    ) -> Float[Tensor, "BH O M M"]:
        """The convolution is linear: the skip's part is computed once for its clip, and added."""
        of_x, of_skip = self.conv.weight.split(x.shape[1])
        x = F.conv_transpose2d(x, of_x, self.conv.bias, self.stride, self.stride // 2)
        skip = F.conv_transpose2d(skip, of_skip, None, self.stride, self.stride // 2)
        return (x.unflatten(0, (len(skip), -1)) + skip[:, None]).flatten(0, 1)


class Decoder(nn.Module):
    """Predicted features and the skips of a context frame to frames."""

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__()
        self.hidden = nn.Identity()
        dim = config.hidden_dim or config.feature_dim
        if config.hidden_dim is not None:
            self.hidden = nn.Sequential(nn.Linear(config.feature_dim, dim), nn.LeakyReLU(0.2))
        coarse = config.channels[-1]
        self.from_features = nn.Sequential(
            nn.ConvTranspose2d(dim, coarse, 4), _norm(coarse, config), nn.LeakyReLU(0.2)
        )
        self.ups, self.activations = nn.ModuleList(), nn.ModuleList()
        for level in range(len(config.channels) - 1, 0, -1):
            above, channels = config.channels[level], config.channels[level - 1]
            self.ups.append(UpWithSkip(above, channels, stride=2))
            self.activations.append(nn.Sequential(_norm(channels, config), nn.LeakyReLU(0.2)))
        self.ups.append(UpWithSkip(config.channels[0], 1, stride=config.patch_size))
        self.activations.append(nn.Tanh())

    def forward(self, g: Float[Tensor, "B H D"], skips: Skips) -> Float[Tensor, "B H 1 S S"]:
        """H frames of each clip."""
        x = self.hidden(g).flatten(0, 1)  # (BH, D)
        x = self.from_features(x[..., None, None])  # (BH, C, 4, 4)
        for up, activation, skip in zip(self.ups, self.activations, reversed(skips), strict=True):
            x = activation(up(x, skip))  # (BH, C, s, s), s doubles
        return x.unflatten(0, g.shape[:2])
