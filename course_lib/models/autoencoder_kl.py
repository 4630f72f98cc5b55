"""The autoencoder of latent diffusion: a frame to a small map of Gaussians, and back from a draw.

Source: Rombach et al. 2022 (arXiv 2112.10752), appendix G, layer table of the official code
(`AutoencoderKL`). Unlike VPTR's autoencoder it has GroupNorm, residual blocks at every size, and a
posterior instead of a feature. It is convolutional: frames of any size that its factor divides.

Departures. `AutoencoderKLConfig()` is small and has no attention in the middle, so that what is
learned on 32 pixels holds on 256; `PUBLISHED` has the sizes of Stable Diffusion's, 83.65 M.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Frames
from course_lib.nn.gaussian import DiagonalGaussian

LOGVAR_LIMITS = (-30.0, 20.0)


@dataclass(frozen=True)
class AutoencoderKLConfig:
    """The size of an `AutoencoderKL`."""

    channels: int = 3  # of a frame
    latent_channels: int = 4
    dims: tuple[int, ...] = (16, 32, 64)  # of the maps, at full size, half of it ...
    num_blocks: int = 1  # residual ones at each size of the encoder; the decoder has one more
    num_groups: int = 8  # of each GroupNorm
    attention: bool = False  # between the two blocks in the middle

    def __post_init__(self) -> None:
        if not self.dims or min(self.dims) < 1 or any(d % self.num_groups for d in self.dims):
            raise ValueError(
                f"dims is {self.dims}; permitted: multiples of num_groups = {self.num_groups}"
            )
        for name in ("channels", "latent_channels", "num_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; permitted: 1 and more")

    @property
    def factor(self) -> int:
        """Pixels along an edge for each place of the latent: f."""
        return 2 ** (len(self.dims) - 1)


PUBLISHED = AutoencoderKLConfig(
    dims=(128, 256, 512, 512), num_blocks=2, num_groups=32, attention=True
)


class ResidualBlock(nn.Module):
    """x + two convolutions of it, each after GroupNorm and SiLU."""

    def __init__(self, before: int, after: int, num_groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(num_groups, before, eps=1e-6)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.norm2 = nn.GroupNorm(num_groups, after, eps=1e-6)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D h w"]:
        """The block."""
        inside = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(inside)))


class PlaceAttention(nn.Module):
    """Every place of the map looks at every other, with one head."""

    def __init__(self, dim: int, num_groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, dim, eps=1e-6)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D h w"]:
        """The map and what its places got from one another."""
        places = self.norm(x).flatten(2).mT  # (B, h w, D)
        queries, keys, values = self.qkv(places).chunk(3, -1)
        got = F.scaled_dot_product_attention(queries, keys, values)
        return x + self.out(got).mT.unflatten(2, x.shape[2:])


class Downsample(nn.Sequential):
    """Half the size; zeros are added on the right and at the bottom only."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(dim, dim, 3, stride=2))


class Upsample(nn.Sequential):
    """Twice the size: every place four times, then a convolution."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Upsample(scale_factor=2), nn.Conv2d(dim, dim, 3, padding=1))


def middle(config: AutoencoderKLConfig) -> Iterator[nn.Module]:
    """Two blocks at the smallest size, and what lies between."""
    dim, groups = config.dims[-1], config.num_groups
    yield ResidualBlock(dim, dim, groups)
    if config.attention:
        yield PlaceAttention(dim, groups)
    yield ResidualBlock(dim, dim, groups)


def last_layers(dim: int, out: int, num_groups: int) -> Iterator[nn.Module]:
    """What turns a map into its result."""
    yield nn.GroupNorm(num_groups, dim, eps=1e-6)
    yield nn.SiLU()
    yield nn.Conv2d(dim, out, 3, padding=1)


class Encoder(nn.Sequential):
    """Frames (B, C, H, W) to mean and log variance (B, 2 c, H / f, W / f)."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        layers: list[nn.Module] = [nn.Conv2d(config.channels, config.dims[0], 3, padding=1)]
        for level, (before, dim) in enumerate(pairwise((config.dims[0], *config.dims))):
            if level:
                layers.append(Downsample(before))
            for number in range(config.num_blocks):
                start = dim if number else before
                layers.append(ResidualBlock(start, dim, config.num_groups))
        layers += middle(config)
        layers += last_layers(config.dims[-1], 2 * config.latent_channels, config.num_groups)
        super().__init__(
            *layers, nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        )


class Decoder(nn.Sequential):
    """Latents (B, c, h, w) to frames (B, C, f h, f w); nothing holds them within [-1, 1]."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        last = config.dims[-1]
        layers: list[nn.Module] = [
            nn.Conv2d(config.latent_channels, config.latent_channels, 1),
            nn.Conv2d(config.latent_channels, last, 3, padding=1),
            *middle(config),
        ]
        for level, (before, dim) in enumerate(pairwise((last, *reversed(config.dims)))):
            if level:
                layers.append(Upsample(before))
            for number in range(config.num_blocks + 1):
                start = dim if number else before
                layers.append(ResidualBlock(start, dim, config.num_groups))
        layers += last_layers(config.dims[0], config.channels, config.num_groups)
        super().__init__(*layers)


class AutoencoderKL(nn.Module):
    """Frames to Gaussians and back; called with noise, it draws from them and reconstructs."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)

    def encode(self, frames: Frames) -> DiagonalGaussian:
        """The posterior of each frame's latent, (B, c, H / f, W / f).

        Raises:
            ValueError: The frames have other channels, or a side that f does not divide.
        """
        channels, height, width = frames.shape[1:]
        c = self.config
        if channels != c.channels or height % c.factor or width % c.factor:
            raise ValueError(
                f"frames are {tuple(frames.shape[1:])}; permitted: {c.channels} channels and sides "
                f"that {c.factor} divides"
            )
        mean, logvar = self.encoder(frames).chunk(2, 1)
        return DiagonalGaussian(mean, logvar.clamp(*LOGVAR_LIMITS))

    def decode(self, z: Float[Tensor, "B c h w"]) -> Frames:
        """The frame of each latent.

        Raises:
            ValueError: The latents have other channels.
        """
        if z.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"latents have {z.shape[1]} channels; permitted: {self.config.latent_channels}"
            )
        return self.decoder(z)

    def forward(
        self, frames: Frames, eps: Float[Tensor, "B c h w"] | None = None
    ) -> tuple[Frames, DiagonalGaussian]:
        """The frames as they come back from z = mean + sigma eps, and the posterior of z.

        Without `eps` from the mean itself.
        """
        posterior = self.encode(frames)
        z = posterior.mean if eps is None else posterior.mean + posterior.sigma * eps
        return self.decode(z), posterior
