"""Small distributions whose every property is a formula: mixtures of round Gaussians."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class GaussianMixture:
    """K Gaussians in D dimensions, each with one standard deviation for all directions.

    Raises:
        ValueError: weights below 0 or not of sum 1, or a sigma that is not positive.
    """

    weights: Float[Tensor, "K"]
    means: Float[Tensor, "K D"]
    sigmas: Float[Tensor, "K"]  # standard deviations

    def __post_init__(self) -> None:
        total = self.weights.sum().item()
        if not (self.weights >= 0).all() or abs(total - 1) > 1e-5:
            raise ValueError(
                f"weights are {self.weights.tolist()}; they must be 0 or above and sum to 1"
            )
        if not (self.sigmas > 0).all():
            raise ValueError(f"sigmas are {self.sigmas.tolist()}; each must be above 0")

    def log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """Log density in nats."""
        squares = (x.unsqueeze(-2) - self.means).square().sum(-1)  # (*batch, K)
        log_norm = x.shape[-1] * (self.sigmas.log() + 0.5 * math.log(2 * math.pi))
        each = self.weights.log() - squares / (2 * self.sigmas**2) - log_norm
        return each.logsumexp(-1)

    def sample(
        self, num_samples: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "{num_samples} D"]:
        """Independent draws: first a bump by its weight, then a point of it.

        Raises:
            ValueError: `num_samples` is below 1.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples is {num_samples}; it must be at least 1")
        bump = torch.multinomial(self.weights, num_samples, replacement=True, generator=generator)
        shape = (num_samples, self.means.shape[1])
        noise = torch.randn(shape, dtype=self.means.dtype, generator=generator)
        return self.means[bump] + self.sigmas[bump, None] * noise.to(self.means.device)


def two_bumps(distance: float, *, sigma: float = 1.0, left_weight: float = 0.5) -> GaussianMixture:
    """Two bumps on a line, `distance` apart around 0, both of standard deviation `sigma`.

    Raises:
        ValueError: `distance` is negative, `sigma` not positive, or `left_weight` outside [0, 1].
    """
    if not distance >= 0:
        raise ValueError(f"distance is {distance}; it must be 0 or above")
    return GaussianMixture(
        weights=torch.tensor([left_weight, 1 - left_weight], dtype=torch.float64),
        means=torch.tensor([[-distance / 2], [distance / 2]], dtype=torch.float64),
        sigmas=torch.tensor([sigma, sigma], dtype=torch.float64),
    )


def ring(num_modes: int = 8, *, radius: float = 2.0, sigma: float = 0.15) -> GaussianMixture:
    """Equally likely bumps at equal angles on a circle around 0, the first one at (radius, 0).

    Raises:
        ValueError: `num_modes` is below 1, or `radius` or `sigma` is not positive.
    """
    if num_modes < 1:
        raise ValueError(f"num_modes is {num_modes}; it must be at least 1")
    if not radius > 0:
        raise ValueError(f"radius is {radius}; it must be above 0")
    angles = 2 * math.pi * torch.arange(num_modes, dtype=torch.float64) / num_modes
    return GaussianMixture(
        weights=torch.full((num_modes,), 1 / num_modes, dtype=torch.float64),
        means=radius * torch.stack([angles.cos(), angles.sin()], 1),
        sigmas=torch.full((num_modes,), sigma, dtype=torch.float64),
    )
