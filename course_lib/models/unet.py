"""DDPM's U-Net: down to a coarse view of a noisy picture and up again, told the time everywhere.

Source: Ho, Jain & Abbeel 2020 (arXiv 2006.11239), appendix B, and the official code's layers
(GroupNorm's eps and the zeros at the start are not in the paper). A picture gets coarser level by
level and its channels more; on the way up each block also sees what a block of the same level saw
on the way down, a skip. Departures: weights that the code starts at 1e-10 start at 0.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn


@dataclass(frozen=True)
class UNetConfig:
    """The size of a `UNet`; defaults are a small one for grey pictures."""

    size: int = 32  # pixels along an edge, halved between levels
    in_channels: int = 1
    out_channels: int = 1
    dim: int = 32  # channels of the first level
    multipliers: tuple[int, ...] = (1, 2, 2)  # of dim, for each level
    num_blocks: int = 1  # per level on the way down; on the way up one more
    attention_sizes: tuple[int, ...] = (8,)  # edges of the maps on which places look at each other
    num_groups: int = 8  # of every GroupNorm
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("size", "in_channels", "out_channels", "num_blocks", "num_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; permitted: 1 and more")
        halvings = len(self.multipliers) - 1
        if min(self.multipliers, default=0) < 1 or self.size % 2**halvings:
            raise ValueError(
                f"multipliers are {self.multipliers} for a size of {self.size}; permitted: 1 and "
                f"more, at least one, so few that the size can be halved between them"
            )
        if self.dim < 4 or self.dim % 2 or self.dim % self.num_groups:
            raise ValueError(
                f"dim is {self.dim} with {self.num_groups} groups; permitted: an even number from "
                f"4 that the groups divide"
            )
        if not set(self.attention_sizes) <= set(self.sizes):
            raise ValueError(
                f"attention_sizes are {self.attention_sizes}; permitted: some of {self.sizes}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; permitted: 0 up to, not including, 1")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The edge of the maps of each level, in pixels."""
        return tuple(self.size >> level for level in range(len(self.multipliers)))

    @property
    def dims(self) -> tuple[int, ...]:
        """The channels of each level."""
        return tuple(self.dim * multiplier for multiplier in self.multipliers)


# The paper's network for CIFAR-10.
PUBLISHED_CIFAR10 = UNetConfig(
    in_channels=3,
    out_channels=3,
    dim=128,
    multipliers=(1, 2, 2, 2),
    num_blocks=2,
    attention_sizes=(16,),
    num_groups=32,
)


def code_of_time(t: Int64[Tensor, "B"], dim: int) -> Float[Tensor, "B {dim}"]:
    """Sines, then cosines, of t at ever lower frequencies, from 1 to 1 / 10000."""
    half = dim // 2
    exponents = torch.arange(half, device=t.device) / (half - 1)
    angles = t[:, None] * 10000**-exponents  # (B, dim / 2)
    return torch.cat([angles.sin(), angles.cos()], 1)


class TimeEmbedding(nn.Module):
    """From a step's number to a vector."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.SiLU(), nn.Linear(4 * dim, 4 * dim))

    def forward(self, t: Int64[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """The vector of each example's time."""
        return self.mlp(code_of_time(t, self.dim))


def group_norm(dim: int, config: UNetConfig) -> nn.GroupNorm:
    """The one norm of this network: over pixels and a group of channels of one picture."""
    return nn.GroupNorm(config.num_groups, dim, eps=1e-6)


def conv3(in_dim: int, out_dim: int) -> nn.Conv2d:
    """A convolution of 3 x 3 that keeps the size."""
    return nn.Conv2d(in_dim, out_dim, 3, padding=1)


class ResBlock(nn.Module):
    """Two convolutions beside a shortcut; between them the time is added to every pixel."""

    def __init__(self, in_dim: int, out_dim: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(in_dim, config), conv3(in_dim, out_dim)
        self.time = nn.Linear(4 * config.dim, out_dim)
        self.norm2, self.conv2 = group_norm(out_dim, config), conv3(out_dim, out_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.shortcut = nn.Conv2d(in_dim, out_dim, 1) if in_dim != out_dim else nn.Identity()

    def forward(
        self, x: Float[Tensor, "B C H W"], time: Float[Tensor, "B E"]
    ) -> Float[Tensor, "B D H W"]:
        """The map after the block."""
        h = self.conv1(F.silu(self.norm1(x)))  # (B, D, H, W)
        h = h + self.time(F.silu(time))[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.shortcut(x) + h


class Attention(nn.Module):
    """Every place of a map looks at every other, with one head."""

    def __init__(self, dim: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm = group_norm(dim, config)
        self.queries, self.keys = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.values, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The map, and added to it what each place got."""
        places = rearrange(self.norm(x), "b c h w -> b (h w) c")
        q, k, v = self.queries(places), self.keys(places), self.values(places)
        got = self.out(F.scaled_dot_product_attention(q, k, v))  # (B, HW, C)
        return x + rearrange(got, "b (h w) c -> b c h w", h=x.shape[2])


class Downsample(nn.Module):
    """Half the size: a convolution at every second pixel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, stride=2)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        """The coarser map; zeros are added at the right and at the bottom only."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the size: every pixel four times, then a convolution."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = conv3(dim, dim)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        """The finer map."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.Sequential):
    """Layers in a row; the residual blocks among them are told the time."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Float[Tensor, "B C H W"], time: Float[Tensor, "B E"]
    ) -> Float[Tensor, "B D H2 W2"]:
        """The map after the last of them."""
        for layer in self:
            x = layer(x, time) if isinstance(layer, ResBlock) else layer(x)
        return x


class UNet(nn.Module):
    """Noisy picture and time to an answer of the same size; exactly 0 before training."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        levels = list(zip(config.dims, config.sizes, strict=True))
        self.embed_time = TimeEmbedding(config.dim)
        self.conv_in = conv3(config.in_channels, config.dim)

        down, up = [], []
        dim, skips = config.dim, [config.dim]  # channels now, and of each map that is kept
        for width, size in levels:
            for _ in range(config.num_blocks):
                down.append(self._block(dim, width, size))
                dim = width
                skips.append(dim)
            if size > config.sizes[-1]:
                down.append(Stage(Downsample(dim)))
                skips.append(dim)
        self.middle = Stage(
            ResBlock(dim, dim, config), Attention(dim, config), ResBlock(dim, dim, config)
        )
        for width, size in reversed(levels):
            for _ in range(config.num_blocks + 1):
                up.append(self._block(dim + skips.pop(), width, size))
                dim = width
            if size < config.size:
                up[-1].append(Upsample(dim))
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.norm_out, self.conv_out = group_norm(dim, config), conv3(dim, config.out_channels)
        self._initialise()

    def _block(self, in_dim: int, out_dim: int, size: int) -> Stage:
        looks = size in self.config.attention_sizes
        attention = [Attention(out_dim, self.config)] if looks else []
        return Stage(ResBlock(in_dim, out_dim, self.config), *attention)

    def _initialise(self) -> None:
        for name, weight in self.named_parameters():
            # Zero: every block begins as its shortcut, attention adds nothing, the answer is 0.
            if name.endswith(("bias", "conv2.weight", ".out.weight", "conv_out.weight")):
                nn.init.zeros_(weight)
            elif weight.ndim > 1:
                nn.init.xavier_uniform_(weight)

    def forward(
        self, x: Float[Tensor, "B C H W"], t: Int64[Tensor, "B"]
    ) -> Float[Tensor, "B D H W"]:
        """The answer for noisy pictures `x` at steps `t`.

        Raises:
            ValueError: The pictures are not the config's.
        """
        c = self.config
        if tuple(x.shape[1:]) != (c.in_channels, c.size, c.size):
            raise ValueError(
                f"pictures are {tuple(x.shape[1:])}; permitted: {(c.in_channels, c.size, c.size)}"
            )
        time = self.embed_time(t)  # (B, 4 dim)
        h = self.conv_in(x)
        skips = [h]
        for stage in self.down:
            h = stage(h, time)
            skips.append(h)
        h = self.middle(h, time)
        for stage in self.up:
            h = stage(torch.cat([h, skips.pop()], 1), time)
        return self.conv_out(F.silu(self.norm_out(h)))
