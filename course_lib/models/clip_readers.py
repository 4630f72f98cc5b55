"""Networks that read a whole clip with three-dimensional convolutions: a discriminator, an encoder.

Source: Vondrick, Pirsiavash & Torralba 2016 (arXiv 1609.02612), layer table and initialisation of
the official code. Departures: a discriminator may go without BatchNorm, for R1 asks for the
gradient of one example alone; its two classes come back as the difference of their logits, which is
all that their softmax uses. `ClipEncoder` is not the paper's.
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Video
from course_lib.nn.gaussian import DiagonalGaussian

START = 4  # pixels a side of a generator's first feature map, and of the last one here

Shape = tuple[int, int, int, int]  # (T, C, S, S) of a clip


def check_shape(name: str, value: Tensor, *shape: int) -> None:
    """Refuse a batch whose examples have another shape than (*shape,)."""
    if value.shape[1:] != shape:
        permitted = ", ".join(map(str, ("B", *shape)))
        raise ValueError(f"{name} has shape {tuple(value.shape)}; permitted: ({permitted})")


def halving(shape: Shape, dims: tuple[int, ...], *, norm: bool) -> list[nn.Module]:
    """Layers from (B, C, T, S, S) to (B, dims[-1], T / 2^levels, 4, 4)."""
    layers: list[nn.Module] = []
    for before, after in pairwise((shape[1], *dims)):
        layers.append(nn.Conv3d(before, after, 4, stride=2, padding=1))
        if norm and len(layers) > 1:
            layers.append(nn.BatchNorm3d(after, eps=1e-3))
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return layers


class Discriminator(nn.Module):
    """Reads a whole clip; one logit, above 0 for a real one."""

    def __init__(self, shape: Shape, dims: tuple[int, ...], *, norm: bool) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.Sequential(
            *halving(shape, dims, norm=norm),
            nn.Conv3d(dims[-1], 2, (shape[0] >> len(dims), START, START)),
        )
        if norm:  # without it, weights of .01 would silence the logits
            self.apply(initialise)

    def forward(self, video: Video) -> Float[Tensor, "B"]:
        """The logit of "real" minus that of "fake".

        Raises:
            ValueError: The clips have another shape.
        """
        check_shape("video", video, *self.shape)
        classes = self.layers(video.transpose(1, 2)).flatten(1)  # (B, 2)
        return classes[:, 0] - classes[:, 1]


class ClipEncoder(nn.Module):
    """Reads a whole clip; the posterior of its code."""

    def __init__(self, shape: Shape, dims: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.Sequential(
            *halving(shape, dims, norm=True),
            nn.Flatten(),
            nn.Linear(dims[-1] * (shape[0] >> len(dims)) * START**2, 2 * latent_dim),
        )

    def forward(self, video: Video) -> DiagonalGaussian:
        """Mean and log variance, (B, Z) each.

        Raises:
            ValueError: The clips have another shape.
        """
        check_shape("video", video, *self.shape)
        return DiagonalGaussian(*self.layers(video.transpose(1, 2)).chunk(2, -1))


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
