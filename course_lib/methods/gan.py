"""Adversarial training: two losses, what keeps them stable, and the price of a mask.

Source: Goodfellow et al. 2014 (arXiv 1406.2661): the minimax game, the optimal discriminator
p / (p + q), and the non-saturating loss. Vondrick et al. 2016 (arXiv 1609.02612, VideoGAN): the
mask penalty. Mescheder et al. 2018 (arXiv 1801.04406): R1.

A discriminator returns one logit per example, above 0 for "real". VideoGAN's official code has two
classes and a softmax instead: the sigmoid of the difference of its two logits, the same loss.

The minimax game is zero-sum: the generator's loss is the fake half of the discriminator's with its
sign turned. The non-saturating loss is not: each network lowers a loss of its own, and what both
reach is a stationary point of a pair of losses, no saddle of one.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def discriminator_loss(real: Float[Tensor, "B"], fake: Float[Tensor, "N"]) -> Float[Tensor, ""]:
    """-log D(real) - log(1 - D(fake)) in nats, each a mean; 2 ln 2 where all logits are 0."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()  # GAN: algorithm 1, sign turned


def minimax_generator_loss(fake: Float[Tensor, "N"]) -> Float[Tensor, ""]:
    """log(1 - D(fake)) in nats: its gradient dies where the discriminator is sure."""
    return -F.softplus(fake).mean()  # GAN: algorithm 1


def generator_loss(fake: Float[Tensor, "N"]) -> Float[Tensor, ""]:
    """-log D(fake) in nats, the non-saturating loss: its gradient is largest where D is sure."""
    return F.softplus(-fake).mean()  # GAN: section 3


def optimal_discriminator(
    p: Float[Tensor, "*points"], q: Float[Tensor, "*points"]
) -> Float[Tensor, "*points"]:
    """The best answer to fixed densities, p of the data and q of the generator: p / (p + q)."""
    return p / (p + q)  # GAN: proposition 1


def r1_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Float[Tensor, "B *shape"]
) -> Float[Tensor, ""]:
    """The squared norm of the logit's gradient at real examples, mean over the batch.

    It is 0 where the discriminator is flat on the data, so that a game that has been won is left
    alone. Add gamma / 2 times this to the discriminator's loss.
    """
    real = real.detach().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return slope.flatten(1).square().sum(1).mean()  # R1: equation of the regulariser, psi = 1


def mask_penalty(mask: Float[Tensor, "B T 1 H W"]) -> Float[Tensor, ""]:
    """The L1 norm of a mask in [0, 1], averaged over all of its values, the batch included.

    So does the official code, which makes the paper's lambda = 0.1 very weak: the push on one value
    is lambda / (B T H W). A sum, as some ports have it, is that many times as strong.
    """
    return mask.abs().mean()
