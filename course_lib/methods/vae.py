"""The variational autoencoder: its bound, the loss SVG writes it as, what beta means in pixels.

Source: Kingma & Welling 2013 (arXiv 1312.6114): the bound, and gradients through a sample
(section 2.4). Denton & Fergus 2018 (arXiv 1802.07687, SVG): mean squared error + beta KL.
Departure: SVG adds the KL of a clip's steps and averages over the batch; here every frame keeps
its own number, and whoever trains adds. KL is in nats.

D is the number of values in a frame, C H W. Times 2 sigma^2 / D the negative ELBO is the mean
squared error + (2 sigma^2 / D) KL + a constant: SVG's loss with beta = 2 sigma^2 / D.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from course_lib.nn.gaussian import DiagonalGaussian, kl_divergence

PerFrame = Float[Tensor, "*batch"]
Gradients = tuple[Float[Tensor, "*batch Z"], Float[Tensor, "*batch Z"]]


def vae_loss(
    x_hat: Float[Tensor, "*batch C H W"],
    x: Float[Tensor, "*batch C H W"],
    posterior: DiagonalGaussian,
    prior: DiagonalGaussian,
    *,
    beta: float,
) -> PerFrame:
    """SVG's loss of every frame; the Gaussians are (*batch, Z).

    Raises:
        ValueError: shapes that do not belong together, or beta below 0.
    """
    if not beta >= 0:
        raise ValueError(f"beta is {beta}; permitted: 0 and more")
    _check_batch(x_hat, posterior)
    return _mean_square(x_hat, x) + beta * kl_divergence(posterior, prior)  # SVG: training loss


def elbo(
    x_hat: Float[Tensor, "*batch C H W"],
    x: Float[Tensor, "*batch C H W"],
    posterior: DiagonalGaussian,
    prior: DiagonalGaussian,
    *,
    sigma: float,
) -> PerFrame:
    """Lower bound on log p(x) in nats, where `x_hat` comes from one draw of the posterior.

    `sigma` is the standard deviation of a pixel; `pixel_sigma` tells which one a beta stands for.

    Raises:
        ValueError: shapes that do not belong together, or a sigma that is not positive.
    """
    _check_batch(x_hat, posterior)
    kl = kl_divergence(posterior, prior)
    return log_likelihood(x_hat, x, sigma=sigma) - kl  # E_q log p(x|z) - KL(q || p)


def log_likelihood(
    x_hat: Float[Tensor, "*batch C H W"], x: Float[Tensor, "*batch C H W"], *, sigma: float
) -> PerFrame:
    """Log p(x | z) in nats: every pixel of x is N(x_hat, sigma^2).

    Raises:
        ValueError: x has another shape than x_hat, or sigma is not positive.
    """
    _check_positive(sigma=sigma)
    num_pixels = x_hat.shape[-3:].numel()
    squares = _mean_square(x_hat, x) / sigma**2
    return -0.5 * num_pixels * (squares + math.log(2 * math.pi * sigma**2))


def pixel_sigma(beta: float, num_pixels: int) -> float:
    """The standard deviation of a pixel for which SVG's loss is the negative ELBO.

    `num_pixels` is D. A loss that adds the squares where SVG averages them has num_pixels = 1.

    Raises:
        ValueError: beta or num_pixels is not positive.
    """
    _check_positive(beta=beta, num_pixels=num_pixels)
    return math.sqrt(beta * num_pixels / 2)  # sigma^2 = beta D / 2


def pixel_beta(sigma: float, num_pixels: int) -> float:
    """The beta that stands for this standard deviation of a pixel: the inverse of `pixel_sigma`.

    Raises:
        ValueError: sigma or num_pixels is not positive.
    """
    _check_positive(sigma=sigma, num_pixels=num_pixels)
    return 2 * sigma**2 / num_pixels  # beta = 2 sigma^2 / D


def critical_beta(lambda_max: float, num_pixels: int) -> float:
    """The beta from which on the best linear decoder ignores z: there sigma^2 is lambda_max.

    `lambda_max` is the largest eigenvalue of the covariance of all that z can still tell, in
    squared pixel values; where z serves several frames it is theirs together, D that of one frame.
    For a decoder that is not linear this is a guide.

    Raises:
        ValueError: lambda_max or num_pixels is not positive.
    """
    _check_positive(lambda_max=lambda_max, num_pixels=num_pixels)
    return 2 * lambda_max / num_pixels


def reparameterised_gradients(
    f: Callable[[Tensor], Tensor],
    q: DiagonalGaussian,
    *,
    generator: torch.Generator | None = None,
) -> Gradients:
    """Gradients of E_q[f(z)] for q's mean and logvar, estimated from one draw, through the draw.

    `f` maps (*batch, Z) to (*batch), every row on its own: many rows of one q are many estimates.

    Raises:
        ValueError: f returns another shape than (*batch).
    """
    q = _leaf(q)
    values = _values(f, q.sample(generator=generator))
    # section 2.4: the gradient of f at mean + sigma eps
    by_mean, by_logvar = torch.autograd.grad(values.sum(), (q.mean, q.logvar))
    return by_mean, by_logvar


def score_function_gradients(
    f: Callable[[Tensor], Tensor],
    q: DiagonalGaussian,
    *,
    generator: torch.Generator | None = None,
) -> Gradients:
    """The same gradients from the same draw, but f is only evaluated (REINFORCE).

    Raises:
        ValueError: f returns another shape than (*batch).
    """
    q = _leaf(q)
    z = q.sample(generator=generator).detach()
    weighted = _values(f, z).detach() * q.log_prob(z)  # its gradient is f grad log q
    by_mean, by_logvar = torch.autograd.grad(weighted.sum(), (q.mean, q.logvar))
    return by_mean, by_logvar


def _mean_square(x_hat: Tensor, x: Tensor) -> Tensor:
    if x.shape != x_hat.shape:
        raise ValueError(f"x has shape {tuple(x.shape)}; permitted: {tuple(x_hat.shape)}")
    return (x_hat - x).square().mean((-3, -2, -1))


def _check_batch(x_hat: Tensor, posterior: DiagonalGaussian) -> None:
    given, expected = posterior.mean.shape, x_hat.shape[:-3]
    if given[:-1] != expected:
        raise ValueError(
            f"posterior has shape {tuple(given)}; permitted: (*{tuple(expected)}, Z) "
            f"beside frames of shape {tuple(x_hat.shape)}"
        )


def _check_positive(**values: float | int) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}; permitted: above 0")


def _leaf(q: DiagonalGaussian) -> DiagonalGaussian:
    """The same Gaussian, cut off from what made it."""
    return DiagonalGaussian(q.mean.detach().requires_grad_(), q.logvar.detach().requires_grad_())


def _values(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    values = f(z)
    if values.shape != z.shape[:-1]:
        raise ValueError(
            f"f returned shape {tuple(values.shape)}; permitted: {tuple(z.shape[:-1])}"
        )
    return values
