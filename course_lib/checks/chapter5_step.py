"""Chapter 5: the checker of one step of DDPM's walk."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.properties import (
    Draw,
    agrees,
    explained,
    fresh_generator,
    given_plain_numbers,
    repeats,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Property, Verdict, examine

NUM_TIMESTEPS = 6
STEP = ("x_t", "x0_hat", "noise", "betas", "t")


def ddpm_step(function) -> Verdict:
    """Check `function(x_t, x0_hat, noise, betas, t)`: x_{t-1}, drawn around the posterior mean.

    The noise has the variance beta_t; at t = 0 there is none. `t` is an int, `betas` is (N,).
    """
    large, points = _draw_step(3, 2, 4, 5), _draw_step(4, 2)
    first = _draw_step(2, 1, 3, 3, first=True)
    properties: dict[str, Property] = {
        "returns pictures of the same shape": returns(
            large, (3, 2, 4, 5), STEP, "As many pixels as x_t has."
        ),
        "uses the noise that it is given": repeats(points, STEP, OWN_NOISE),
        "has the posterior's mean": agrees(
            lambda *inputs: _posterior(*inputs)[0],
            [_without_noise(_draw_step(1, 1)), _without_noise(points), _without_noise(large)],
            STEP,
            MEAN_MISTAKES,
            "(sqrt(alpha_bar_{t-1}) beta_t x0_hat + sqrt(alpha_t) (1 - alpha_bar_{t-1}) x_t) / "
            "(1 - alpha_bar_t).",
        ),
        "adds noise of variance beta_t": agrees(
            _truth, [points, large], STEP, NOISE_MISTAKES, "Add sqrt(beta_t) times the noise."
        ),
        "ends at x0_hat, without noise": explained(
            agrees(
                lambda x_t, x0_hat, *others: x0_hat.double(), [first], STEP, END_MISTAKES, AT_END
            ),
            AT_END,
            IndexError,
        ),
        "leaves its arguments unchanged": spares_its_arguments(large, STEP),
    }
    return examine(
        "ddpm_step",
        function,
        _step,
        {sentence: given_plain_numbers(check) for sentence, check in properties.items()},
    )


def _step(x_t: Tensor, x0_hat: Tensor, noise: Tensor, betas: Tensor, t: int) -> Tensor:
    """The library's answer."""
    alphas = 1 - betas
    alpha_bar, before = alphas[: t + 1].prod(), alphas[:t].prod()  # of no numbers: 1
    mean = before.sqrt() * betas[t] * x0_hat + alphas[t].sqrt() * (1 - before) * x_t
    return mean / (1 - alpha_bar) + (t > 0) * betas[t].sqrt() * noise


def _draw_step(*shape: int, first: bool = False) -> Draw:
    """Large betas, none one half or four times another; t has steps on either side, or is 0."""

    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        x_t, x0_hat, noise = torch.randn(3, *shape, generator=generator)
        betas = torch.linspace(0.1, 0.39, NUM_TIMESTEPS, dtype=torch.double)
        betas = betas[torch.randperm(NUM_TIMESTEPS, generator=generator)]
        t = torch.randint(2, NUM_TIMESTEPS - 1, (), generator=generator)
        return x_t, x0_hat, noise, betas, 0 * t if first else t

    return draw


def _without_noise(draw: Draw) -> Draw:
    def drawn() -> tuple[Tensor, ...]:
        x_t, x0_hat, noise, *others = draw()
        return x_t, x0_hat, 0 * noise, *others

    return drawn


def _posterior(
    x_t: Tensor, x0_hat: Tensor, _noise: Tensor, betas: Tensor, t: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and variance, by Bayes: what comes from x0 meets what x_t says, by their precisions."""
    alphas = 1 - betas.double()
    before = alphas[: int(t)].prod()
    from_x0, from_x_t = 1 / (1 - before), alphas[t] / betas[t]
    variance = 1 / (from_x0 + from_x_t)
    mean = from_x0 * before.sqrt() * x0_hat.double() + from_x_t * x_t.double() / alphas[t].sqrt()
    return variance * mean, variance


def _truth(x_t: Tensor, x0_hat: Tensor, noise: Tensor, betas: Tensor, t: Tensor) -> Tensor:
    return _noisy(lambda beta, tilde: beta.sqrt())(x_t, x0_hat, noise, betas, t)


def _noisy(factor: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """With the noise times a factor, made of beta and beta-tilde."""

    def step(x_t: Tensor, x0_hat: Tensor, noise: Tensor, betas: Tensor, t: Tensor) -> Tensor:
        mean, tilde = _posterior(x_t, x0_hat, noise, betas, t)
        return mean + factor(betas[t], tilde) * noise.double()

    return step


def _mean(formula: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A mean made of x_t, x0_hat, beta, alpha, alpha_bar and alpha_bar_{t-1}."""

    def step(x_t: Tensor, x0_hat: Tensor, _noise: Tensor, betas: Tensor, t: Tensor) -> Tensor:
        alphas = 1 - betas
        table = alphas.cumprod(0)
        return formula(x_t, x0_hat, betas[t], alphas[t], table[t], table[t - 1])

    return step


def _right(x: Tensor, x0: Tensor, b: Tensor, a: Tensor, bar: Tensor, before: Tensor) -> Tensor:
    return (before.sqrt() * b * x0 + a.sqrt() * (1 - before) * x) / (1 - bar)


def _at(shift: int) -> Callable[..., Tensor]:
    return lambda x_t, x0_hat, noise, betas, t: _posterior(x_t, x0_hat, noise, betas, t + shift)[0]


def _clock_off(x_t: Tensor, x0_hat: Tensor, _noise: Tensor, betas: Tensor, t: Tensor) -> Tensor:
    """alpha_bar_{t-1} read where alpha_bar_{t-2} stands."""
    table = (1 - betas).cumprod(0)
    return _right(x_t, x0_hat, betas[t], 1 - betas[t], table[t], table[t - 2])


OWN_NOISE = "You drew noise of your own. It is given: `noise`."
AT_END = (
    "At t = 0 alpha_bar_{t-1} is 1: nothing has been added yet. So the mean is x0_hat, and no "
    "noise is added."
)
MEAN_MISTAKES: dict[str, Callable[..., Tensor]] = {
    "x_t and x0_hat have changed places.": _mean(lambda x, x0, *table: _right(x0, x, *table)),
    "You read alpha_bar_t where alpha_bar_{t-1} belongs: the coefficients need the step before.": (
        _mean(lambda x, x0, b, a, bar, before: _right(x, x0, b, a, bar, bar))
    ),
    "alpha_bar_{t-1} and alpha_bar_t have changed places.": _mean(
        lambda x, x0, b, a, bar, before: _right(x, x0, b, a, before, bar)
    ),
    "Your alpha_bar_{t-1} is one step too early: t - 2.": _clock_off,
    "You computed the step of t - 1: here t counts from 0, and `betas[t]` is its beta.": _at(-1),
    "You computed the step of t + 1: here t counts from 0, and `betas[t]` is its beta.": _at(1),
    "You used alpha, what one step keeps, where alpha_bar belongs, the product of all: "
    "`(1 - betas).cumprod(0)`.": _mean(
        lambda x, x0, b, a, bar, before: _right(x, x0, b, a, a, before)
    ),
    "You used alpha where alpha_bar belongs, in both places: `(1 - betas).cumprod(0)`.": (
        lambda x_t, x0_hat, noise, betas, t: _right(
            x_t, x0_hat, betas[t], 1 - betas[t], 1 - betas[t], 1 - betas[t - 1]
        )
    ),
    "You used alpha_bar where alpha belongs: x_t's factor has the root of what this one step "
    "keeps, 1 - beta_t.": _mean(
        lambda x, x0, b, a, bar, before: _right(x, x0, b, bar, bar, before)
    ),
    "The roots are missing: x0_hat's factor has sqrt(alpha_bar_{t-1}), x_t's has sqrt(alpha_t).": (
        _mean(lambda x, x0, b, a, bar, before: (before * b * x0 + a * (1 - before) * x) / (1 - bar))
    ),
    "The root of alpha_bar_{t-1} is missing in x0_hat's factor.": _mean(
        lambda x, x0, b, a, bar, before: (before * b * x0 + a.sqrt() * (1 - before) * x) / (1 - bar)
    ),
    "The root of alpha_t is missing in x_t's factor.": _mean(
        lambda x, x0, b, a, bar, before: (before.sqrt() * b * x0 + a * (1 - before) * x) / (1 - bar)
    ),
    "You divided by the root of 1 - alpha_bar_t: divide by 1 - alpha_bar_t.": _mean(
        lambda x, x0, b, a, bar, before: _right(x, x0, b, a, bar, before) * (1 - bar).sqrt()
    ),
    "The division by 1 - alpha_bar_t is missing.": _mean(
        lambda x, x0, b, a, bar, before: _right(x, x0, b, a, bar, before) * (1 - bar)
    ),
    "You put beta-tilde, the posterior's variance, where beta_t belongs in x0_hat's factor.": _mean(
        lambda x, x0, b, a, bar, before: _right(x, x0 * (1 - before) / (1 - bar), b, a, bar, before)
    ),
    "You forgot x_t: this is x0_hat alone, as noisy as step t - 1. The mean holds both.": _mean(
        lambda x, x0, b, a, bar, before: before.sqrt() * x0
    ),
    "That is x0_hat: you jumped to the end. The mean holds both, x0_hat and x_t.": _mean(
        lambda x, x0, *table: x0
    ),
    "That is DDIM's step, which keeps the guessed noise: it comes in chapter 6. Here use the "
    "posterior's mean.": _mean(
        lambda x, x0, b, a, bar, before: (
            before.sqrt() * x0 + ((1 - before) / (1 - bar)).sqrt() * (x - bar.sqrt() * x0)
        )
    ),
}
NOISE_MISTAKES = {
    "No noise was added: it belongs to every step but t = 0.": _noisy(lambda beta, tilde: 0 * beta),
    "The noise's factor is the square root of the variance: sqrt(beta_t).": _noisy(
        lambda beta, tilde: beta
    ),
    "You used beta-tilde, the posterior's own variance: a good choice, too, but this exercise asks "
    "for beta_t.": _noisy(lambda beta, tilde: tilde.sqrt()),
    "You used beta-tilde, and without its root: this exercise asks for sqrt(beta_t).": _noisy(
        lambda beta, tilde: tilde
    ),
    "The noise was added at full strength: its factor is sqrt(beta_t).": _noisy(
        lambda beta, tilde: torch.ones_like(beta)
    ),
    "The noise's factor is sqrt(alpha_t): it is sqrt(beta_t).": _noisy(
        lambda beta, tilde: (1 - beta).sqrt()
    ),
    "You subtracted the noise: its sign makes no difference to chance, but add it here.": _noisy(
        lambda beta, tilde: -beta.sqrt()
    ),
    "You took the beta of another step: `betas[t]`.": (
        lambda x_t, x0_hat, noise, betas, t: (
            _posterior(x_t, x0_hat, noise, betas, t)[0] + betas[t - 1].sqrt() * noise.double()
        )
    ),
}
END_MISTAKES = {
    "You added noise at t = 0: the last step ends at x0_hat as it is.": (
        lambda x_t, x0_hat, noise, betas, t: x0_hat + betas[0].sqrt() * noise
    ),
    "At t = 0 the index t - 1 is -1, the END of the table: alpha_bar_{t-1} is 1 there.": (
        lambda x_t, x0_hat, noise, betas, t: _mean(_right)(x_t, x0_hat, noise, betas, t)
    ),
    "At t = 0 the index t - 1 is -1, the END of the table: alpha_bar_{t-1} is 1 there. And no "
    "noise is added.": (
        lambda x_t, x0_hat, noise, betas, t: (
            _mean(_right)(x_t, x0_hat, noise, betas, t) + betas[0].sqrt() * noise
        )
    ),
}
