"""A small variational autoencoder of 28 x 28 digits: two numbers each, a plane to walk through.

Source: Kingma & Welling 2013 (arXiv 1312.6114), section 3. Departures: convolutions instead of one
hidden layer, and real-valued pixels in [-1, 1]. Called with eps = 0 and trained without the KL it
is a plain autoencoder: the code of an image is then the mean, and nothing reads the variance.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Frames
from course_lib.nn.gaussian import DiagonalGaussian

SIZE = 28  # pixels along an edge: 28, 14, 7, 4 from level to level


@dataclass(frozen=True)
class DigitVAEConfig:
    """The size of a `DigitVAE`."""

    latent_dim: int = 2  # of z
    channels: tuple[int, int, int] = (8, 16, 24)  # of the maps of 14, 7 and 4 pixels
    hidden_dim: int = 36  # of the decoder's two layers between z and its first map

    def __post_init__(self) -> None:
        if len(self.channels) != 3 or min(self.channels) < 1:
            raise ValueError(f"channels is {self.channels}; permitted: three positive numbers")
        for name in ("latent_dim", "hidden_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; permitted: 1 and more")


class DigitVAE(nn.Module):
    """Three convolutions down to a Gaussian, and three up from a draw. Called, it does both."""

    def __init__(self, config: DigitVAEConfig) -> None:
        super().__init__()
        self.config = config
        c14, c7, c4 = config.channels
        hidden, num_coarse = config.hidden_dim, c4 * 4 * 4
        self.to_gaussian = nn.Sequential(
            *(nn.Conv2d(1, c14, 4, stride=2, padding=1), nn.SiLU()),
            *(nn.Conv2d(c14, c7, 4, stride=2, padding=1), nn.SiLU()),
            *(nn.Conv2d(c7, c4, 3, stride=2, padding=1), nn.SiLU()),
            *(nn.Flatten(), nn.Linear(num_coarse, 2 * config.latent_dim)),
        )
        self.from_latent = nn.Sequential(
            *(nn.Linear(config.latent_dim, hidden), nn.SiLU()),
            *(nn.Linear(hidden, hidden), nn.SiLU()),
            *(nn.Linear(hidden, num_coarse), nn.SiLU(), nn.Unflatten(1, (c4, 4, 4))),
            *(nn.ConvTranspose2d(c4, c7, 3, stride=2, padding=1), nn.SiLU()),
            *(nn.ConvTranspose2d(c7, c14, 4, stride=2, padding=1), nn.SiLU()),
            *(nn.ConvTranspose2d(c14, 1, 4, stride=2, padding=1), nn.Tanh()),
        )

    def forward(self, images: Frames, eps: Float[Tensor, "B Z"]) -> tuple[Frames, DiagonalGaussian]:
        """Images drawn again from z = mean + sigma eps, and the posterior of z.

        Raises:
            ValueError: The images or the noise have another shape than the config says.
        """
        posterior = self.encode(images)
        if eps.shape != posterior.mean.shape:
            raise ValueError(
                f"eps has shape {tuple(eps.shape)}; permitted: {tuple(posterior.mean.shape)}"
            )
        return self.decode(posterior.mean + posterior.sigma * eps), posterior  # section 2.4

    def encode(self, images: Frames) -> DiagonalGaussian:
        """The posterior of z of each image; `images` in [-1, 1], -1 is paper.

        Raises:
            ValueError: The images are not (B, 1, 28, 28).
        """
        if tuple(images.shape[1:]) != (1, SIZE, SIZE):
            raise ValueError(
                f"images have shape {tuple(images.shape)}; permitted: (B, 1, {SIZE}, {SIZE})"
            )
        return DiagonalGaussian(*self.to_gaussian(images).chunk(2, -1))  # (B, Z) each

    def decode(self, z: Float[Tensor, "B Z"]) -> Frames:
        """The mean of the pixels given z, (B, 1, 28, 28)."""
        return self.from_latent(z)
