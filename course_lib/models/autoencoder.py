"""VPTR's frame autoencoder, pix2pix's ResNet cut in two, and the discriminator that judges it.

Source: Ye & Bilodeau 2022 (arXiv 2203.15836 and 2212.06026), section 3.2, layer table and
initialisation of the official code, which took them from pix2pix (Isola et al. 2017, arXiv
1611.07004). No skips lead from encoder to decoder: a decoder that could look at a past frame would
copy it, and the two halves could not be trained before the predictor. Features are never negative.

Departures. Frames end in Tanh, because pixels are in [-1, 1]; the code has Sigmoid for Moving
MNIST. `AutoencoderConfig()` is a small one; `PUBLISHED` has the paper's sizes.
"""

from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Frames, Video


@dataclass(frozen=True)
class AutoencoderConfig:
    """The size of an `Autoencoder`."""

    size: int = 32  # pixels along an edge of a frame
    channels: int = 1
    dims: tuple[int, ...] = (16, 32, 48)  # of the feature maps, at full size, half of it ...
    feature_dim: int = 64  # of the features, at half the size of the last map
    num_blocks: int = 2  # residual ones, on the features
    reflect: bool = True  # at the borders of those blocks; the code takes zeros for BAIR

    def __post_init__(self) -> None:
        levels = len(self.dims)
        if not levels or min(*self.dims, self.feature_dim, self.channels) < 1:
            raise ValueError(f"dims is {self.dims}; permitted: one positive number or more")
        if self.size % 2**levels or self.size < 2 ** (levels + 1):
            raise ValueError(
                f"size is {self.size}; permitted for {levels} halvings: a multiple of "
                f"{2**levels}, {2 ** (levels + 1)} and more"
            )

    @property
    def map_size(self) -> int:
        """Places along an edge of the features."""
        return self.size // 2 ** len(self.dims)


PUBLISHED = AutoencoderConfig(size=64, dims=(64, 128, 256), feature_dim=528, num_blocks=9)


class ResidualBlock(nn.Module):
    """x + two convolutions of it; nothing follows the sum."""

    def __init__(self, dim: int, *, reflect: bool) -> None:
        super().__init__()
        padding = "reflect" if reflect else "zeros"
        self.layers = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, bias=False, padding_mode=padding),
            nn.BatchNorm2d(dim),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1, bias=False, padding_mode=padding),
            nn.BatchNorm2d(dim),
        )

    def forward(self, x: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D h w"]:
        """The block."""
        return x + self.layers(x)


class Encoder(nn.Sequential):
    """Frames (B, C, S, S) to features (B, D, s, s), each 0 or more."""

    def __init__(self, config: AutoencoderConfig) -> None:
        first = nn.Conv2d(
            config.channels, config.dims[0], 7, padding=3, bias=False, padding_mode="reflect"
        )
        layers = [first, nn.BatchNorm2d(config.dims[0]), nn.ReLU()]
        for before, after in pairwise((*config.dims, config.feature_dim)):
            layers.append(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        layers += [
            ResidualBlock(config.feature_dim, reflect=config.reflect)
            for _ in range(config.num_blocks)
        ]
        super().__init__(*layers, nn.ReLU())


class Decoder(nn.Sequential):
    """Features (B, D, s, s) to frames (B, C, S, S) in [-1, 1]."""

    def __init__(self, config: AutoencoderConfig) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise((config.feature_dim, *reversed(config.dims))):
            layers.append(
                nn.ConvTranspose2d(
                    before, after, 3, stride=2, padding=1, output_padding=1, bias=False
                )
            )
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        last = nn.Conv2d(config.dims[0], config.channels, 7, padding=3, padding_mode="reflect")
        super().__init__(*layers, last, nn.Tanh())


class Autoencoder(nn.Module):
    """Every frame for itself to a map of features and back; called, it reconstructs."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.apply(initialise)

    def encode(self, video: Video) -> Float[Tensor, "B T D h w"]:
        """The features of every frame, 0 or more.

        Raises:
            ValueError: The frames have another shape than the config says.
        """
        c = self.config
        _check_shape("the video", video, (c.channels, c.size, c.size))
        return self.encoder(video.flatten(0, 1)).unflatten(0, video.shape[:2])

    def decode(self, features: Float[Tensor, "B T D h w"]) -> Video:
        """The frame of every feature map.

        Raises:
            ValueError: The features have another shape than the config says.
        """
        c = self.config
        _check_shape("the features", features, (c.feature_dim, c.map_size, c.map_size))
        return self.decoder(features.flatten(0, 1)).unflatten(0, features.shape[:2])

    def forward(self, video: Video) -> Video:
        """The clip as it comes back; no prediction can be better than this."""
        return self.decode(self.encode(video))


class PatchDiscriminator(nn.Module):
    """PatchGAN: a logit for every patch of a frame, above 0 for a real one."""

    def __init__(self, channels: int = 1, dims: tuple[int, ...] = (64, 128, 256, 512)) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, dims[0], 4, stride=2, padding=1)]
        layers.append(nn.LeakyReLU(0.2))
        for level, (before, after) in enumerate(pairwise(dims), start=2):
            stride = 2 if level < len(dims) else 1
            layers.append(nn.Conv2d(before, after, 4, stride, padding=1, bias=False))
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(dims[-1], 1, 4, padding=1))
        self.apply(initialise)

    def forward(self, frames: Frames) -> Float[Tensor, "B _ _"]:
        """A map of logits; the losses of `methods.gan` take it flattened."""
        return self.layers(frames)[:, 0]


def initialise(module: nn.Module) -> None:
    """The official code's rule: convolutions N(0, .02), BatchNorm N(1, .02), biases 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _check_shape(name: str, given: Tensor, expected: tuple[int, int, int]) -> None:
    if tuple(given.shape[2:]) != expected or not given.shape[1]:
        raise ValueError(
            f"{name} has shape {tuple(given.shape)}; permitted: (B, T, *{expected}), T >= 1"
        )
