"""VideoGAN: a still background and a moving foreground, put together by a mask.

Source: Vondrick, Pirsiavash & Torralba 2016 (arXiv 1609.02612); layer table and initialisation are
those of the official code. `VideoGANConfig()` has the published sizes.

    video = mask * foreground + (1 - mask) * background

The background has no time axis: one picture, repeated. Whatever moves must come from the
foreground, and the mask says where. Departures, all by config: fewer levels for small clips, whose
time grows only until it has `num_frames`; a background drawn coarsely and enlarged, so that a small
still picture cannot swallow the sprite; a discriminator without BatchNorm, for R1 asks for the
gradient of one example alone. The two classes of the discriminator come back as the difference of
their logits, which is all that their softmax uses.

`ClipEncoder` is not the paper's: it makes the generator the decoder of a two-stream VAE-GAN.
"""

from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Frames, Video
from course_lib.nn.gaussian import DiagonalGaussian

START = 4  # pixels a side of a generator's first feature map, and of a discriminator's last


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
        for name, factor in (
            ("foreground_dims", 1),
            ("background_dims", self.background_upsample),
            ("discriminator_dims", 1),
            *([("encoder_dims", 1)] if self.encoder_dims else ()),
        ):
            reached = START * 2 ** len(getattr(self, name)) * factor
            if reached != self.size:
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} levels and reaches {reached} pixels; "
                    f"permitted: as many levels as size = {self.size} needs"
                )
        if self.num_frames not in [
            self.start_frames * 2**level for level in range(len(self.foreground_dims) + 1)
        ]:
            raise ValueError(
                f"num_frames is {self.num_frames}; permitted: start_frames = {self.start_frames} "
                f"doubled up to {len(self.foreground_dims)} times"
            )
        if self.streams not in (1, 2):
            raise ValueError(f"streams is {self.streams}; permitted: 1 or 2")


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


def clip_layers(
    dims: tuple[int, ...], channels: int, *, norm: bool
) -> list[nn.Module]:  # (B, C, T, S, S) -> (B, dims[-1], T / 2^levels, 4, 4)
    """The convolutions by which discriminator and encoder halve a clip, time included."""
    layers: list[nn.Module] = []
    for before, after in pairwise((channels, *dims)):
        layers.append(nn.Conv3d(before, after, 4, stride=2, padding=1))
        if norm and before != channels:
            layers.append(nn.BatchNorm3d(after, eps=1e-3))
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return layers


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
        trunk: list[nn.Module] = [nn.ConvTranspose3d(in_dim, dims[0], (frames, start, start))]
        up: dict[str, tuple[int, ...]] = {}
        for before, after in pairwise((*dims, 0)):
            trunk += [nn.BatchNorm3d(before), nn.ReLU(inplace=True)]
            doubles = frames < config.num_frames
            frames *= 2 if doubles else 1
            up = {
                "kernel_size": (4 if doubles else 3, 4, 4),
                "stride": (2 if doubles else 1, 2, 2),
                "padding": (1, 1, 1),
            }
            if after:
                trunk.append(nn.ConvTranspose3d(before, after, **up))
        self.trunk = nn.Sequential(*trunk)
        self.to_pixels = nn.ConvTranspose3d(dims[-1], config.channels, **up)
        self.to_mask = nn.ConvTranspose3d(dims[-1], 1, **up) if config.streams == 2 else None

    def forward(
        self, code: Float[Tensor, "B D h h"]
    ) -> tuple[Video, Float[Tensor, "B T 1 H W"] | None]:
        """A clip in [-1, 1], and its mask in [0, 1] if there are two streams."""
        features = self.trunk(code.unsqueeze(2))  # (B, dims[-1], T, S / 2, S / 2)
        pixels = self.to_pixels(features).tanh().transpose(1, 2)  # (B, T, C, S, S)
        if self.to_mask is None:
            return pixels, None
        return pixels, self.to_mask(features).sigmoid().transpose(1, 2)


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


class Discriminator(nn.Module):
    """Reads a whole clip; one logit, above 0 for a real one."""

    def __init__(self, config: VideoGANConfig) -> None:
        super().__init__()
        dims, frames = config.discriminator_dims, config.num_frames
        self.layers = nn.Sequential(
            *clip_layers(dims, config.channels, norm=config.discriminator_norm),
            nn.Conv3d(dims[-1], 2, (max(frames >> len(dims), 1), START, START)),
        )
        if config.discriminator_norm:  # without it, weights of .01 would silence the logits
            self.apply(initialise)

    def forward(self, video: Video) -> Float[Tensor, "B"]:
        """The logit of "real" minus that of "fake"."""
        classes = self.layers(video.transpose(1, 2)).flatten(1)  # (B, 2)
        return classes[:, 0] - classes[:, 1]


class ClipEncoder(nn.Module):
    """Reads a whole clip; the posterior of its code."""

    def __init__(self, config: VideoGANConfig) -> None:
        super().__init__()
        dims, frames = config.encoder_dims, max(config.num_frames >> len(config.encoder_dims), 1)
        self.layers = nn.Sequential(
            *clip_layers(dims, config.channels, norm=True),
            nn.Flatten(),
            nn.Linear(dims[-1] * frames * START**2, 2 * config.latent_dim),
        )

    def forward(self, video: Video) -> DiagonalGaussian:
        """Mean and log variance, (B, Z) each."""
        return DiagonalGaussian(*self.layers(video.transpose(1, 2)).chunk(2, -1))


class VideoGAN(nn.Module):
    """The players of the game: generator, discriminator, and a VAE-GAN's encoder."""

    def __init__(self, config: VideoGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config, config.latent_dim)
        self.discriminator = Discriminator(config)
        self.encoder = ClipEncoder(config) if config.encoder_dims else None

    def generate(
        self, z: Float[Tensor, "B Z"], still: Float[Tensor, "B Z"] | None = None
    ) -> Composition:
        """A clip of each z; `still` gives the background another one.

        Raises:
            ValueError: z has another width than `latent_dim`.
        """
        if z.shape[-1] != self.config.latent_dim:
            raise ValueError(
                f"z has shape {tuple(z.shape)}; permitted: (B, {self.config.latent_dim})"
            )
        as_map = (value if value is None else value[:, :, None, None] for value in (z, still))
        return self.generator(*as_map)

    def encode(self, video: Video) -> DiagonalGaussian:
        """The posterior of the code of each clip.

        Raises:
            ValueError: This VideoGAN has no encoder, or the clips have another shape.
        """
        c = self.config
        shape = (c.num_frames, c.channels, c.size, c.size)
        if self.encoder is None:
            raise ValueError("this VideoGAN has no encoder; permitted: encoder_dims of a VAE-GAN")
        if tuple(video.shape[1:]) != shape:
            raise ValueError(f"video has shape {tuple(video.shape)}; permitted: (B, {shape})")
        return self.encoder(video)


def initialise(module: nn.Module) -> None:
    """The official code's rule: convolutions N(0, .01), BatchNorm N(1, .02), biases 0."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.normal_(module.weight, std=0.01)
    elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
