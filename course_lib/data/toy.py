"""Small distributions whose every property is a formula: mixtures of round Gaussians.

Noise keeps them what they are: with x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps every bump
stays a round Gaussian, so what a diffusion model should learn is a formula too.
"""

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

    def noisy(self, alpha_bar: float) -> "GaussianMixture":
        """The mixture that x_t is drawn from; the gradient of its log_prob is the score.

        Raises:
            ValueError: `alpha_bar` is not in [0, 1].
        """
        kept = self._share(alpha_bar)
        variances = kept * self.sigmas**2 + 1 - kept
        return GaussianMixture(self.weights, kept.sqrt() * self.means, variances.sqrt())

    def posterior(
        self, x_t: Float[Tensor, "*batch D"], alpha_bar: float | Float[Tensor, "*#batch"]
    ) -> Float[Tensor, "*batch K"]:
        """P(bump | x_t): how likely x_t was made of a point of each bump.

        Raises:
            ValueError: `alpha_bar` is not in [0, 1].
        """
        kept = self._share(alpha_bar)[..., None]  # (*batch, 1)
        variances = kept * self.sigmas**2 + 1 - kept  # (*batch, K)
        apart = x_t[..., None, :] - kept.sqrt()[..., None] * self.means  # (*batch, K, D)
        log_norm = 0.5 * x_t.shape[-1] * variances.log()
        each = self.weights.log() - apart.square().sum(-1) / (2 * variances) - log_norm
        return each.softmax(-1)

    def denoise(
        self, x_t: Float[Tensor, "*batch D"], alpha_bar: float | Float[Tensor, "*#batch"]
    ) -> Float[Tensor, "*batch D"]:
        """The optimal denoiser E[x0 | x_t]; alpha_bar is one number, or one per example.

        Raises:
            ValueError: `alpha_bar` is not in [0, 1].
        """
        kept = self._share(alpha_bar)[..., None, None]  # (*batch, 1, 1)
        variances = self.sigmas[:, None] ** 2  # (K, 1)
        apart = x_t[..., None, :] - kept.sqrt() * self.means  # (*batch, K, D)
        gain = kept.sqrt() * variances / (kept * variances + 1 - kept)
        means = self.means + gain * apart  # of x0 within each bump
        weights = self.posterior(x_t, alpha_bar)[..., None]
        return (weights * means).sum(-2).to(x_t.dtype)

    def _share(self, alpha_bar: float | Tensor) -> Tensor:
        kept = torch.as_tensor(alpha_bar, dtype=self.means.dtype, device=self.means.device)
        if not ((kept >= 0) & (kept <= 1)).all():
            raise ValueError(f"alpha_bar is {kept.tolist()}; it must be in [0, 1]")
        return kept


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
