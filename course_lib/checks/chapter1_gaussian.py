"""Chapter 1: the checkers of reparameterisation and of the KL of two Gaussians."""

import math

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from course_lib.checks.properties import (
    Draw,
    agrees,
    fresh_generator,
    numbers,
    passes_gradients,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Fault, Verdict, examine
from course_lib.nn import gaussian
from course_lib.nn.gaussian import DiagonalGaussian

DRAW = ("mean", "logvar", "eps")


def reparameterise(function) -> Verdict:
    """Check `function(mean, logvar, eps)`: a draw of N(mean, exp(logvar)) made from eps."""
    large = _draw_gaussian(4, 3, positive=True)
    return examine(
        "reparameterise",
        function,
        lambda mean, logvar, eps: mean + (0.5 * logvar).exp() * eps,
        {
            "returns one number for each coordinate": returns(
                _draw_gaussian(2, 4, 3), (2, 4, 3), DRAW, "Work on every coordinate by itself."
            ),
            "gives the same z for the same eps": _uses_the_given_noise,
            "gives z = mean + sigma eps": agrees(
                _draw_from,
                [_draw_gaussian(1), _draw_gaussian(2, 4, 3), large],
                DRAW,
                DRAW_MISTAKES,
                "Half of logvar is the log of sigma: z = mean + exp(logvar / 2) * eps.",
            ),
            "lets gradients through to mean and logvar": passes_gradients(
                _draw_from, _draw_gaussian(2, 3), DRAW, ("mean", "logvar")
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, DRAW),
        },
    )


def _draw_gaussian(*shape: int, positive: bool = False) -> Draw:
    """Mean, logvar, eps; `positive` logvars also give a number where they pass for variances."""

    def draw() -> tuple[Tensor, ...]:
        mean, logvar, eps = torch.randn(3, *shape, generator=fresh_generator())
        return mean, logvar.abs() + 0.1 if positive else logvar, eps

    return draw


def _draw_from(mean: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    return mean.double() + logvar.double().exp().sqrt() * eps.double()


DRAW_MISTAKES = {
    "You used logvar as sigma: it is the log of the variance.": (
        lambda mean, logvar, eps: mean + logvar * eps
    ),
    "You used logvar as the variance: it is the logarithm of it.": (
        lambda mean, logvar, eps: mean + logvar.sqrt() * eps
    ),
    "exp(logvar) is the variance. Its square root is sigma: the one half is missing.": (
        lambda mean, logvar, eps: mean + logvar.exp() * eps
    ),
    "The sign of logvar is wrong: a large logvar means a wide Gaussian.": (
        lambda mean, logvar, eps: mean + (-0.5 * logvar).exp() * eps
    ),
    "You left out eps: the mean is one point, not a draw.": lambda mean, logvar, eps: mean,
    "You left out sigma: eps alone has the standard deviation 1.": (
        lambda mean, logvar, eps: mean + eps
    ),
    "You left out the mean.": lambda mean, logvar, eps: (0.5 * logvar).exp() * eps,
}


def _uses_the_given_noise(function) -> Fault | None:
    inputs = _draw_gaussian(2, 4)()
    first, second = (function(*(value.clone() for value in inputs)) for _ in range(2))
    if torch.equal(first, second):
        return None
    return Fault(
        given="the same mean, logvar and eps, twice",
        expected=f"the same z twice, {numbers(first)}",
        observed=f"then {numbers(second)}",
        hint="You drew noise of your own. All the noise is in the eps that is given.",
    )


PAIR = ("q_mean", "q_logvar", "p_mean", "p_logvar")


def kl(function) -> Verdict:
    """Check `function(q_mean, q_logvar, p_mean, p_logvar)`: KL(q || p) in nats, summed over Z."""
    large = _draw_pair(4, 3, positive=True)
    return examine(
        "kl",
        function,
        lambda q_mean, q_logvar, p_mean, p_logvar: gaussian.kl_divergence(
            DiagonalGaussian(q_mean, q_logvar), DiagonalGaussian(p_mean, p_logvar)
        ),
        {
            "returns one number for each place of the batch": returns(
                _draw_pair(2, 4, 3), (2, 4), PAIR, "Sum over the last dimension only."
            ),
            "gives what the definition says": agrees(
                _kl,
                [_draw_pair(1, 1), _draw_pair(2, 4, 3), large],
                PAIR,
                KL_MISTAKES,
                "Add up (log p_var - log q_var + (q_var + (q_mean - p_mean)^2) / p_var - 1) / 2.",
            ),
            "is zero where the two are equal": agrees(
                lambda q_mean, *others: torch.zeros(q_mean.shape[:-1]),
                [_draw_equal_pair],
                PAIR,
                {},
                "Equal variances give 1 for their quotient: the -1 takes it away.",
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, PAIR),
        },
    )


def _draw_pair(*shape: int, positive: bool = False) -> Draw:
    def draw() -> tuple[Tensor, ...]:
        q, p = (_draw_gaussian(*shape, positive=positive)() for _ in range(2))
        return *q[:2], *p[:2]

    return draw


def _draw_equal_pair() -> tuple[Tensor, ...]:
    mean, logvar, _ = _draw_gaussian(2, 3)()
    return mean, logvar, mean.clone(), logvar.clone()


def _kl(q_mean: Tensor, q_logvar: Tensor, p_mean: Tensor, p_logvar: Tensor) -> Tensor:
    q = Normal(q_mean.double(), q_logvar.double().exp().sqrt())
    return kl_divergence(q, Normal(p_mean.double(), p_logvar.double().exp().sqrt())).sum(-1)


KL_MISTAKES = {
    "That is KL(p || q), the reverse: the average must be taken under q.": (
        lambda qm, qv, pm, pv: _kl(pm, pv, qm, qv)
    ),
    "The one half is missing.": lambda *pair: 2 * _kl(*pair),
    "You averaged over the coordinates of z: independent coordinates add up.": (
        lambda *pair: _kl(*pair) / pair[0].shape[-1]
    ),
    "You took logvar as the variance: its exponential is.": (
        lambda qm, qv, pm, pv: _kl(qm, qv.log(), pm, pv.log())
    ),
    "You took logvar as the log of sigma: it is the log of the variance.": (
        lambda qm, qv, pm, pv: _kl(qm, 2 * qv, pm, 2 * pv)
    ),
    "You took p as N(0, I): this p has a mean and a variance of its own.": (
        lambda qm, qv, pm, pv: _kl(qm, qv, 0 * pm, 0 * pv)
    ),
    "The sign is wrong: KL is never negative.": lambda *pair: -_kl(*pair),
    "The -1 of every coordinate is missing: KL is 0 where q equals p.": (
        lambda *pair: _kl(*pair) + pair[0].shape[-1] / 2
    ),
    "You used log2: nats need the natural logarithm.": lambda *pair: _kl(*pair) / math.log(2),
    "You gave every place of the batch the sum of all of them.": (
        lambda *pair: _kl(*pair).sum().expand(pair[0].shape[:-1])
    ),
}
