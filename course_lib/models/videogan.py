"""VideoGAN: a still background and a moving foreground, put together by a mask.

Source: Vondrick, Pirsiavash & Torralba 2016 (arXiv 1609.02612); layer table and initialisation are
those of the official code. `VideoGANConfig()` has the published sizes.

    video = mask * foreground + (1 - mask) * background

The background has no time axis: one picture, repeated. Whatever moves must come from the
foreground, and the mask says where. Departures, all by config: fewer levels for small clips, whose
time grows only until it has `num_frames`; a background drawn coarsely and enlarged, so that a small
still picture cannot swallow the sprite. The discriminator stands in `clip_readers.py`, beside an
encoder that is not the paper's: it makes the generator the decoder of a two-stream VAE-GAN.
"""

from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Frames, Video
from course_lib.models.clip_readers import (
    START,
    ClipEncoder,
    Discriminator,
    Shape,
    check_shape,
    initialise,
)
from course_lib.nn.gaussian import DiagonalGaussian


@dataclass(frozen=True)
class VideoGANConfig:
    """Sizes of the generator, the discriminator and the encoder."""

    size: int = 64  # pixels a side
    num_frames: int = 32
    channels: int = 3
    latent_dim: int = 100
    streams: int = 2  # 1: neither mask nor background
    start_frames: int = 2  # of the foreground's first feature map
    foreground_dims: tuple[int, ...] = (512, 256, 128, 64)  # at 4 pixels, 8, 16 ...
    background_dims: tuple[int, ...] = (512, 256, 128, 64)
    background_upsample: int = 1  # the background is drawn so many times smaller, then enlarged
    mask_bias: float = 0.0  # of the mask's last layer; below 0 the mask begins nearly empty
    discriminator_dims: tuple[int, ...] = (64, 128, 256, 512)
    discriminator_norm: bool = True  # BatchNorm
    encoder_dims: tuple[int, ...] = ()  # of a VAE-GAN; the paper has no encoder

    def __post_init__(self) -> None:
        factors = {"background_dims": self.background_upsample}
        for name in ("foreground_dims", "background_dims", "discriminator_dims", "encoder_dims"):
            levels = len(getattr(self, name))
            reached = START * 2**levels * factors.get(name, 1)
            if reached != self.size and (levels or name != "encoder_dims"):
                raise ValueError(
                    f"{name} has {levels} levels and reaches {reached} pixels; permitted: as many "
                    f"levels as size = {self.size} needs"
                )
        levels = len(self.foreground_dims)
        lengths = [self.start_frames * 2**level for level in range(levels + 1)]
        lengths = [length for length in lengths if length >= 2**levels]  # D halves as many times
        if self.num_frames not in lengths:
            raise ValueError(
                f"num_frames is {self.num_frames}; permitted for {levels} levels from start_frames "
                f"= {self.start_frames}: {', '.join(map(str, lengths)) or 'none'}"
            )
        if self.streams not in (1, 2):
            raise ValueError(f"streams is {self.streams}; permitted: 1 or 2")

    @property
    def clip(self) -> Shape:
        """The shape of one clip, (T, C, S, S)."""
        return self.num_frames, self.channels, self.size, self.size


@dataclass(frozen=True, eq=False)
class Composition:
    """A generated clip and what it is made of; with one stream, mask and background are None."""

    video: Video
    foreground: Video
    mask: Float[Tensor, "B T 1 H W"] | None  # in [0, 1]
    background: Frames | None


def compose(
    foreground: Video, background: Frames, mask: Float[Tensor, "B T 1 H W"]
) -> Float[Tensor, "B T C H W"]:
    """One clip of two streams: where the mask is 1 the foreground, where it is 0 the background."""
    return mask * foreground + (1 - mask) * background[:, None]  # VideoGAN: G(z)


class Background(nn.Sequential):
    """Two-dimensional transposed convolutions: a code (B, D, h, h) to one picture."""

    def __init__(self, config: VideoGANConfig, in_dim: int, *, from_map: bool) -> None:
        before, *rest = config.background_dims
        layers: list[nn.Module] = []
        if from_map:
            before = in_dim
        else:
            layers += [nn.ConvTranspose2d(in_dim, before, START)]
            layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
        for after in rest:
            layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1))
            layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            before = after
        layers.append(nn.ConvTranspose2d(before, config.channels, 4, stride=2, padding=1))
        if config.background_upsample > 1:
            layers.append(nn.Upsample(scale_factor=config.background_upsample, mode="bilinear"))
        super().__init__(*layers, nn.Tanh())


class Foreground(nn.Module):
    """Three-dimensional transposed convolutions: a code (B, D, h, h) to a clip, and its mask."""

    def __init__(self, config: VideoGANConfig, in_dim: int, *, from_map: bool) -> None:
        super().__init__()
        dims, frames, start = config.foreground_dims, config.start_frames, 1 if from_map else START
        doubles = [frames << level < config.num_frames for level in range(len(dims))]
        trunk: list[nn.Module] = [nn.ConvTranspose3d(in_dim, dims[0], (frames, start, start))]
        for (before, after), longer in zip(pairwise(dims), doubles[:-1], strict=True):
            trunk += [nn.BatchNorm3d(before), nn.ReLU(inplace=True)]
            trunk.append(_enlarging(before, after, longer))
        self.trunk = nn.Sequential(*trunk, nn.BatchNorm3d(dims[-1]), nn.ReLU(inplace=True))
        self.to_pixels = _enlarging(dims[-1], config.channels, doubles[-1])
        self.to_mask = _enlarging(dims[-1], 1, doubles[-1]) if config.streams == 2 else None

    def forward(
        self, code: Float[Tensor, "B D h h"]
    ) -> tuple[Video, Float[Tensor, "B T 1 H W"] | None]:
        """A clip in [-1, 1], and its mask in [0, 1] if there are two streams."""
        features = self.trunk(code.unsqueeze(2))  # (B, dims[-1], T, S / 2, S / 2)
        pixels = self.to_pixels(features).tanh().transpose(1, 2)  # (B, T, C, S, S)
        if self.to_mask is None:
            return pixels, None
        return pixels, self.to_mask(features).sigmoid().transpose(1, 2)


def _enlarging(before: int, after: int, longer: bool) -> nn.ConvTranspose3d:
    """Twice as high and wide, and twice as long if so asked."""
    kernel, stride = (4, 2) if longer else (3, 1)  # of time
    return nn.ConvTranspose3d(before, after, (kernel, 4, 4), (stride, 2, 2), padding=1)


class Generator(nn.Module):
    """Both streams, or the foreground alone, from a code of one place or from a 4 x 4 map of it."""

    def __init__(self, config: VideoGANConfig, in_dim: int, *, from_map: bool = False) -> None:
        super().__init__()
        self.foreground = Foreground(config, in_dim, from_map=from_map)
        two = config.streams == 2
        self.background = Background(config, in_dim, from_map=from_map) if two else None
        self.apply(initialise)
        if self.foreground.to_mask is not None and self.foreground.to_mask.bias is not None:
            nn.init.constant_(self.foreground.to_mask.bias, config.mask_bias)

    def forward(
        self, code: Float[Tensor, "B D h h"], still: Float[Tensor, "B D h h"] | None = None
    ) -> Composition:
        """A clip from a code; `still` is the background's own code, None gives it the same."""
        foreground, mask = self.foreground(code)
        if mask is None or self.background is None:
            return Composition(foreground, foreground, None, None)
        background = self.background(code if still is None else still)  # (B, C, S, S)
        return Composition(compose(foreground, background, mask), foreground, mask, background)


class VideoGAN(nn.Module):
    """The players of the game: generator, discriminator, and a VAE-GAN's encoder."""

    def __init__(self, config: VideoGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config, config.latent_dim)
        c, dims = config, config.encoder_dims
        self.discriminator = Discriminator(c.clip, c.discriminator_dims, norm=c.discriminator_norm)
        self.encoder = ClipEncoder(c.clip, dims, c.latent_dim) if dims else None

    def generate(
        self, z: Float[Tensor, "B Z"], still: Float[Tensor, "B Z"] | None = None
    ) -> Composition:
        """A clip of each z; `still` gives the background another one.

        Raises:
            ValueError: A code has another width than `latent_dim`.
        """
        still = z if still is None else still
        check_shape("z", z, self.config.latent_dim)
        check_shape("still", still, self.config.latent_dim)
        return self.generator(z[:, :, None, None], still[:, :, None, None])

    def encode(self, video: Video) -> DiagonalGaussian:
        """The posterior of the code of each clip.

        Raises:
            ValueError: This VideoGAN has no encoder, or the clips have another shape.
        """
        if self.encoder is None:
            raise ValueError("this VideoGAN has no encoder; permitted: encoder_dims of a VAE-GAN")
        return self.encoder(video)
