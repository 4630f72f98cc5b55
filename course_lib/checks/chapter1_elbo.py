"""Chapter 1: the checker of the ELBO."""

import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from course_lib.checks.properties import (
    Draw,
    agrees,
    fresh_generator,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Fault, Verdict, examine
from course_lib.methods import vae
from course_lib.nn.gaussian import DiagonalGaussian

BOUND = ("x", "x_hat", "q_mean", "q_logvar", "sigma")


def elbo(function) -> Verdict:
    """Check `function(x, x_hat, q_mean, q_logvar, sigma)`: the ELBO in nats of each frame, (B,).

    Pixels are N(x_hat, sigma^2), the prior is N(0, I), and `x_hat` comes from one draw of q.
    `sigma` is a tensor of no dimensions.
    """
    large = _draw_frames(3, 2, 3)
    return examine(
        "elbo",
        function,
        lambda x, x_hat, q_mean, q_logvar, sigma: vae.elbo(
            x_hat,
            x,
            (q := DiagonalGaussian(q_mean, q_logvar)),
            DiagonalGaussian.standard(q.mean),
            sigma=float(sigma),
        ),
        {
            "returns one number for each frame": returns(
                _draw_frames(4, 1, 2), (4,), BOUND, "Sum over the pixels, not over the batch."
            ),
            "gives what the definition says": agrees(
                _elbo,
                [_draw_frames(1, 1, 1), large],
                BOUND,
                ELBO_MISTAKES,
                "Add log N(x; x_hat, sigma^2) over the pixels, and subtract KL(q || N(0, I)).",
            ),
            "is log p(x), on average, where q is the exact posterior": _is_tight,
            "leaves its arguments unchanged": spares_its_arguments(large, BOUND),
        },
    )


def _draw_frames(batch: int, channels: int, size: int) -> Draw:
    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        x, x_hat = torch.rand(2, batch, channels, size, size, generator=generator) * 2 - 1
        q_mean, q_logvar = torch.randn(2, batch, 3, generator=generator)
        # 2 pi sigma^2 above 1: without the constant the number is too large, never too small.
        return x, x_hat, q_mean, q_logvar, torch.rand((), generator=generator) / 2 + 0.45

    return draw


def _log_likelihood(x: Tensor, x_hat: Tensor, sigma: Tensor) -> Tensor:
    return Normal(x_hat.double(), sigma.double()).log_prob(x.double()).flatten(1).sum(1)


def _squares(x: Tensor, x_hat: Tensor, sigma: Tensor) -> Tensor:
    return (x.double() - x_hat.double()).div(sigma).square().flatten(1).sum(1)


def _kl_to_standard(mean: Tensor, logvar: Tensor) -> Tensor:
    mean, logvar = mean.double(), logvar.double()
    return -(1 + logvar - mean.square() - logvar.exp()).sum(1) / 2


def _elbo(x: Tensor, x_hat: Tensor, mean: Tensor, logvar: Tensor, sigma: Tensor) -> Tensor:
    return _log_likelihood(x, x_hat, sigma) - _kl_to_standard(mean, logvar)


def _constant(x: Tensor, sigma: Tensor) -> Tensor:
    return x[0].numel() * (2 * math.pi * sigma**2).log() / 2


ELBO_MISTAKES = {
    "You averaged the log density over the pixels: independent pixels add up.": (
        lambda x, y, m, v, s: _log_likelihood(x, y, s) / x[0].numel() - _kl_to_standard(m, v)
    ),
    "You averaged the squared error over the pixels: independent pixels add up.": (
        lambda x, y, m, v, s: _elbo(x, y, m, v, s) + _squares(x, y, s) * (1 - 1 / x[0].numel()) / 2
    ),
    "You averaged the squared error, and left out the constant as well.": (
        lambda x, y, m, v, s: -_squares(x, y, s) / x[0].numel() / 2 - _kl_to_standard(m, v)
    ),
    "You added the KL: what the posterior tells about x is a cost, so subtract it.": (
        lambda x, y, m, v, s: _log_likelihood(x, y, s) + _kl_to_standard(m, v)
    ),
    "You left out log(2 pi sigma^2) / 2 of every pixel. It is a constant, so training does not "
    "notice; but without it the number is no bound on log p(x).": (
        lambda x, y, m, v, s: _elbo(x, y, m, v, s) + _constant(x, s)
    ),
    "You counted log(2 pi sigma^2) / 2 once: every pixel has its own.": (
        lambda x, y, m, v, s: _elbo(x, y, m, v, s) + _constant(x, s) * (1 - 1 / x[0].numel())
    ),
    "You used sigma as the variance: the variance of a pixel is sigma^2.": (
        lambda x, y, m, v, s: _elbo(x, y, m, v, s.sqrt())
    ),
    "The one half of the squared error is missing.": (
        lambda x, y, m, v, s: _elbo(x, y, m, v, s) - _squares(x, y, s) / 2
    ),
    "You left out the KL: that is the reconstruction alone.": (
        lambda x, y, m, v, s: _log_likelihood(x, y, s)
    ),
    "That is the negative ELBO, a loss: turn the sign.": (
        lambda x, y, m, v, s: -_elbo(x, y, m, v, s)
    ),
    "You subtracted the KL of the whole batch from every frame.": (
        lambda x, y, m, v, s: _log_likelihood(x, y, s) - _kl_to_standard(m, v).sum()
    ),
    "You averaged the KL over the coordinates of z: they add up.": (
        lambda x, y, m, v, s: _log_likelihood(x, y, s) - _kl_to_standard(m, v) / m.shape[-1]
    ),
}


def _is_tight(function) -> Fault | None:
    """With x = w z + sigma noise and one z, evidence and posterior are closed forms.

    The ELBO is quadratic in z, so its mean over q is that of the two points mean +- q's sigma.
    """
    x, w, *_, sigma = _draw_frames(1, 1, 2)()
    flat, weights, variance = x.flatten().double(), w.flatten().double(), sigma.double() ** 2
    q_variance = 1 / (1 + weights.square().sum() / variance)
    q_mean = q_variance * (weights @ flat) / variance
    z = q_mean + q_variance.sqrt() * torch.tensor([[1.0], [-1.0]]).double()
    x_hat = (z * weights).float().reshape(2, *x.shape[1:])
    gaussian_of_two = (value.float().expand(2, 1) for value in (q_mean, q_variance.log()))
    result = function(x.repeat(2, 1, 1, 1), x_hat, *gaussian_of_two, sigma).double().mean()
    cov = torch.outer(weights, weights) + variance * torch.eye(len(flat)).double()
    evidence = MultivariateNormal(torch.zeros_like(flat), cov).log_prob(flat)
    if torch.allclose(result, evidence, atol=1e-3):
        return None
    hint = (
        "Your number lies above log p(x): it is no lower bound."
        if result > evidence
        else "Under the exact posterior nothing is lost, but your number lies below log p(x)."
    )
    return Fault(
        given=f"frames x = w z + sigma noise of 4 pixels, sigma = {sigma:.3f}; x_hat at q's "
        "mean plus and minus its standard deviation",
        expected=f"a mean of log p(x) = {evidence:.3f}",
        observed=f"{result:.3f}",
        hint=hint,
    )
