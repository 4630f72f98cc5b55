"""Chapter 6: classifier-free guidance; and, from the files beside this one, the rest.

Each checker draws its inputs afresh at every call and compares with a reference of its own.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.chapter6_invert import invert
from course_lib.checks.chapter6_previous import previous
from course_lib.checks.chapter6_sigma import sigma
from course_lib.checks.chapter6_slerp import slerp
from course_lib.checks.chapter6_step import ddim_step
from course_lib.checks.chapter6_timesteps import timesteps
from course_lib.checks.properties import (
    Draw,
    agrees,
    fresh_generator,
    given_plain_numbers,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Verdict, examine

__all__ = ["ddim_step", "guide", "invert", "previous", "sigma", "slerp", "timesteps"]

GUIDED = ("eps_conditional", "eps_unconditional", "guidance_scale")
SHAPE = (2, 1, 3, 2)


def guide(function) -> Verdict:
    """Check `function(eps_conditional, eps_unconditional, guidance_scale)`: 1 is no guidance."""
    large = _draw_guesses(*SHAPE)
    return examine(
        "guide",
        function,
        lambda eps_conditional, eps_unconditional, guidance_scale: (
            eps_unconditional + guidance_scale * (eps_conditional - eps_unconditional)
        ),
        {
            "returns noise like the two guesses": given_plain_numbers(
                returns(large, SHAPE, GUIDED, "Work on every pixel by itself.")
            ),
            "goes from one guess through the other": given_plain_numbers(
                agrees(
                    _guided,
                    [_draw_guesses(1), large],
                    GUIDED,
                    MISTAKES,
                    "eps_unconditional + guidance_scale * (eps_conditional - eps_unconditional).",
                )
            ),
            "is the conditional guess at 1, the unconditional one at 0": given_plain_numbers(
                agrees(
                    lambda conditional, unconditional, scale: (
                        conditional if scale else unconditional
                    ),
                    [_draw_guesses(2, scale=1.0), _draw_guesses(2, scale=0.0)],
                    GUIDED,
                    {},
                    "A scale of 1 is no guidance: the conditional guess as it is. At 0 the class "
                    "is not heard at all.",
                )
            ),
            "leaves its arguments unchanged": given_plain_numbers(
                spares_its_arguments(large, GUIDED)
            ),
        },
    )


def _draw_guesses(*shape: int, scale: float | None = None) -> Draw:
    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        guesses = torch.randn(2, *shape, generator=generator)
        drawn = 1.5 + 4 * torch.rand((), generator=generator, dtype=torch.float64)
        return *guesses.unbind(), drawn if scale is None else torch.full_like(drawn, scale)

    return draw


def _guided(conditional: Tensor, unconditional: Tensor, scale: Tensor) -> Tensor:
    """As weights of sum 1."""
    return scale * conditional.double() + (1 - scale) * unconditional.double()


MISTAKES: dict[str, Callable[..., Tensor]] = {
    "Your scale is off by one: you began at the conditional guess. That is the guidance paper's w, "
    "which is 0 without guidance; here 1 is no guidance.": (
        lambda c, u, scale: _guided(c, u, 1 + scale)
    ),
    "Your scale is one too small: the whole difference is multiplied with guidance_scale.": (
        lambda c, u, scale: _guided(c, u, scale - 1)
    ),
    "The two guesses are swapped: guidance leads away from the unconditional one.": (
        lambda c, u, scale: _guided(u, c, scale)
    ),
    "The sign is wrong: the difference is conditional minus unconditional.": (
        lambda c, u, scale: u - scale * (c - u).double()
    ),
    "You went from the conditional guess towards the unconditional one.": (
        lambda c, u, scale: c - scale * (c - u).double()
    ),
    "The starting point is missing: add the scaled difference to the unconditional guess.": (
        lambda c, u, scale: scale * (c - u).double()
    ),
    "You multiplied the conditional guess alone: the scale belongs to the difference.": (
        lambda c, u, scale: scale * c.double()
    ),
    "That is the conditional guess: the unconditional one and the scale are not used.": (
        lambda c, u, scale: c.double()
    ),
    "You added the scaled conditional guess to the unconditional one: the weights have to sum to "
    "1.": lambda c, u, scale: u + scale * c.double(),
    "You took the mean of both guesses: guidance goes past the conditional one.": (
        lambda c, u, scale: (c + u).double() / 2
    ),
}
