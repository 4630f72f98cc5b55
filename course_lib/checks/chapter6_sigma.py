"""Chapter 6: the checker of sigma, the noise of one DDIM step; and levels to draw for a step."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.chapter5_draws import with_plain_numbers
from course_lib.checks.properties import (
    Draw,
    agrees,
    describe,
    fresh_generator,
    spares_its_arguments,
)
from course_lib.checks.report import Fault, Property, Verdict, examine

LEVELS = ("alpha_bar", "alpha_bar_prev", "eta")
RIGHT = "eta * sqrt((1 - alpha_bar_prev) / (1 - alpha_bar)) * sqrt(1 - alpha_bar / alpha_bar_prev)."
ROOTS = (
    "The square root of a negative number. alpha_bar_prev is the level that the step goes to, the "
    "cleaner one, so it is larger than alpha_bar: where did you swap them?"
)


def sigma(function) -> Verdict:
    """Check `function(alpha_bar, alpha_bar_prev, eta)`: what one step's noise is multiplied with.

    The levels are numbers or tensors of no dimensions, eta is a number.
    """
    return examine(
        "sigma",
        function,
        lambda alpha_bar, alpha_bar_prev, eta: eta * of_ddpm(alpha_bar, alpha_bar_prev) ** 0.5,
        {
            "returns one number": _returns_a_number,
            "is eta times the standard deviation of DDPM's posterior": _as_tensor(
                agrees(
                    true_sigma,
                    [draw_levels(eta=1.0), draw_any, draw_levels()],
                    LEVELS,
                    SIGMA_MISTAKES,
                    RIGHT,
                )
            ),
            "is 0 at eta = 0, and on the step that ends at the clean picture": _as_tensor(
                agrees(
                    lambda *levels: torch.zeros(()),
                    [draw_levels(eta=0.0), draw_levels(prev=1.0)],
                    LEVELS,
                    {},
                    "At eta = 0 no noise is left, nor where alpha_bar_prev is 1: 1 - "
                    "alpha_bar_prev is a factor under the root.",
                )
            ),
            "takes plain numbers as well": _as_tensor(
                with_plain_numbers(
                    agrees(true_sigma, [draw_levels()], LEVELS, SIGMA_MISTAKES, RIGHT)
                )
            ),
            "leaves its arguments unchanged": _as_tensor(
                spares_its_arguments(draw_any, LEVELS),
            ),
        },
    )


def given_eta(check: Property) -> Property:
    """The same property of a function whose last argument is a number."""
    return lambda function: check(lambda *inputs: function(*inputs[:-1], float(inputs[-1])))


def _as_tensor(check: Property) -> Property:
    """The same property of a function that returns a number or a tensor of no dimensions."""
    given = given_eta(check)
    return lambda function: given(lambda *inputs: torch.as_tensor(function(*inputs)).double())


def draw_levels(*, prev: float | None = None, eta: float | None = None) -> Draw:
    """Levels between which every usual mistake still has a root."""

    def draw() -> tuple[Tensor, ...]:
        a, b, c = torch.rand(3, generator=fresh_generator(), dtype=torch.float64)
        to = 0.5 + 0.1 * b if prev is None else torch.full_like(b, prev)
        return 0.25 + 0.1 * a, to, 0.3 + 0.3 * c if eta is None else torch.full_like(c, eta)

    return draw


def draw_any() -> tuple[Tensor, ...]:
    """Any two levels, any eta."""
    low, high = torch.rand(2, generator=fresh_generator(), dtype=torch.float64).sort().values
    eta = torch.rand((), generator=fresh_generator(), dtype=torch.float64)
    return 0.01 + 0.9 * low, 0.06 + 0.9 * high, eta


def _returns_a_number(candidate: Callable) -> Fault | None:
    *levels, eta = draw_levels()()
    result = candidate(*(level.clone() for level in levels), eta.item())
    single = isinstance(result, Tensor) and result.ndim == 0
    is_number = single or (isinstance(result, int | float) and not isinstance(result, bool))
    if is_number and math.isfinite(result):
        return None
    return Fault(
        describe((*levels, eta), LEVELS),
        "a number, or a tensor of no dimensions",
        repr(result),
        ROOTS if is_number else "All pictures of a batch are equally noisy: one sigma serves them.",
    )


def of_ddpm(alpha_bar, alpha_bar_prev):
    """The library's variance at eta = 1."""
    return (1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)


def true_sigma(alpha_bar: Tensor, alpha_bar_prev: Tensor, eta: Tensor) -> Tensor:
    """By precisions: what is known of x_prev from x0, and what from x_t."""
    kept = alpha_bar / alpha_bar_prev
    return eta * (1 / (1 - alpha_bar_prev) + kept / (1 - kept)).rsqrt()


def _ratio(alpha_bar: Tensor, alpha_bar_prev: Tensor) -> Tensor:
    return (1 - alpha_bar_prev) / (1 - alpha_bar)


def lost(alpha_bar: Tensor, alpha_bar_prev: Tensor) -> Tensor:
    """The share of the signal's power that the step to alpha_bar loses."""
    return 1 - alpha_bar / alpha_bar_prev


TIMES_VARIANCE = (
    "eta multiplies the variance in your answer; it multiplies sigma: outside the root, or squared "
    "inside."
)
SIGMA_HAT = (
    "You left out (1 - alpha_bar_prev) / (1 - alpha_bar): that is eta times sigma-hat, the larger "
    "noise."
)
SIGMA_MISTAKES: dict[str, Callable[..., Tensor]] = {
    TIMES_VARIANCE: lambda a, p, eta: eta.sqrt() * true_sigma(a, p, torch.ones(())),
    "You left out eta.": lambda a, p, eta: true_sigma(a, p, torch.ones(())),
    "You squared eta, and no root takes the square away: eta stands before the root.": (
        lambda a, p, eta: eta * true_sigma(a, p, eta)
    ),
    "That is the variance: sigma is its root.": lambda a, p, eta: true_sigma(a, p, eta) ** 2,
    "The root is missing: that is eta times the variance.": (
        lambda a, p, eta: true_sigma(a, p, eta) ** 2 / eta
    ),
    SIGMA_HAT: lambda a, p, eta: eta * lost(a, p).sqrt(),
    "You left out 1 - alpha_bar / alpha_bar_prev, the share of the signal that the step loses.": (
        lambda a, p, eta: eta * _ratio(a, p).sqrt()
    ),
    "The first fraction is upside down: 1 - alpha_bar_prev, the smaller, is above.": (
        lambda a, p, eta: eta * (lost(a, p) / _ratio(a, p)).sqrt()
    ),
    "You used 1 - alpha_bar in place of 1 - alpha_bar / alpha_bar_prev: DDPM's alpha of one step "
    "is the quotient of two alpha_bars.": lambda a, p, eta: eta * (1 - p).sqrt(),
    "You took roots of alpha_bar: under the two roots stand the alpha_bars themselves.": (
        lambda a, p, eta: eta * (_ratio(a.sqrt(), p.sqrt()) * lost(a.sqrt(), p.sqrt())).sqrt()
    ),
    "The root of the second factor is missing.": (
        lambda a, p, eta: eta * _ratio(a, p).sqrt() * lost(a, p)
    ),
    "The root of the first factor is missing.": (
        lambda a, p, eta: eta * _ratio(a, p) * lost(a, p).sqrt()
    ),
}
