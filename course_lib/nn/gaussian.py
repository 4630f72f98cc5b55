"""The diagonal Gaussian: what a latent variable is drawn from, before and after the next frame.

Source: Kingma & Welling 2013 (arXiv 1312.6114), section 2.4 and appendix B. A mixture of them is
there for a prior that has to leave out the middle.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class DiagonalGaussian:
    """One Gaussian for every place of the batch; its Z coordinates are independent.

    Raises:
        ValueError: mean and logvar have different shapes.
    """

    mean: Float[Tensor, "*batch Z"]
    logvar: Float[Tensor, "*batch Z"]  # log of the variance, so that any number is permitted

    def __post_init__(self) -> None:
        _check_shape("logvar", self.logvar, self.mean)

    @classmethod
    def standard(cls, like: Float[Tensor, "*batch Z"]) -> "DiagonalGaussian":
        """N(0, I) with the shape, device and number type of `like`."""
        return cls(torch.zeros_like(like), torch.zeros_like(like))

    def __getitem__(self, index: Any) -> "DiagonalGaussian":
        """Those of some places of the batch."""
        return DiagonalGaussian(self.mean[index], self.logvar[index])

    @property
    def sigma(self) -> Float[Tensor, "*batch Z"]:
        """Standard deviation of each coordinate."""
        return (0.5 * self.logvar).exp()

    def sample(self, *, generator: torch.Generator | None = None) -> Float[Tensor, "*batch Z"]:
        """One draw for every place of the batch, through which gradients reach mean and logvar.

        The noise is drawn on the generator's device, so that a CPU generator serves every device.
        """
        device = self.mean.device if generator is None else generator.device
        eps = torch.randn(
            self.mean.shape, dtype=self.mean.dtype, device=device, generator=generator
        )
        return self.mean + self.sigma * eps.to(self.mean.device)  # section 2.4: z = mu + sigma eps

    def log_prob(self, z: Float[Tensor, "*batch Z"]) -> Float[Tensor, "*batch"]:
        """Log density in nats.

        Raises:
            ValueError: z has another shape than the mean.
        """
        _check_shape("z", z, self.mean)
        squares = (z - self.mean).square() * (-self.logvar).exp()
        return -0.5 * (squares + self.logvar + math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Differential entropy in nats; below zero for a narrow Gaussian."""
        return 0.5 * (self.logvar + math.log(2 * math.pi) + 1).sum(-1)


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """One mixture of K diagonal Gaussians for every place of the batch."""

    logits: Float[Tensor, "*batch K"]  # of the weights, which their softmax is
    components: DiagonalGaussian  # (*batch, K, Z)

    def __getitem__(self, index: Any) -> "GaussianMixture":
        """Those of some places of the batch."""
        return GaussianMixture(self.logits[index], self.components[index])

    @property
    def mean(self) -> Float[Tensor, "*batch Z"]:
        """Of the whole mixture."""
        return (self.logits.softmax(-1)[..., None] * self.components.mean).sum(-2)

    def sample(self, *, generator: torch.Generator | None = None) -> Float[Tensor, "*batch Z"]:
        """One draw for every place of the batch; no gradient reaches the weights."""
        device = self.logits.device if generator is None else generator.device
        weights = self.logits.detach().softmax(-1).to(device)
        chosen = torch.multinomial(weights.flatten(0, -2), 1, generator=generator)
        chosen = chosen.view(*weights.shape[:-1], 1, 1).to(self.logits.device)
        drawn = self.components.sample(generator=generator)  # (*batch, K, Z)
        return drawn.take_along_dim(chosen, -2).squeeze(-2)

    def log_prob(self, z: Float[Tensor, "*batch Z"]) -> Float[Tensor, "*batch"]:
        """Log density in nats."""
        each = self.components.log_prob(z[..., None, :].expand_as(self.components.mean))
        return (self.logits.log_softmax(-1) + each).logsumexp(-1)


def kl_divergence(q: DiagonalGaussian, p: DiagonalGaussian) -> Float[Tensor, "*batch"]:
    """KL(q || p) = E_q[log q - log p] in nats, the sum over the Z coordinates.

    Raises:
        ValueError: q and p have different shapes.
    """
    _check_shape("p", p.mean, q.mean)
    log_ratio = q.logvar - p.logvar
    squares = (q.mean - p.mean).square() * (-p.logvar).exp()
    # expm1 keeps the digits of two variances that are almost equal; p = N(0, I) is appendix B.
    return 0.5 * (squares + log_ratio.expm1() - log_ratio).sum(-1)


def _check_shape(name: str, given: Tensor, expected: Tensor) -> None:
    # Broadcasting would quietly sum a coordinate Z times.
    if given.shape != expected.shape:
        raise ValueError(
            f"{name} has shape {tuple(given.shape)}; permitted: {tuple(expected.shape)}"
        )
