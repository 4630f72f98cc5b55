"""Chapter 5: fresh arguments of functions that mix pictures and noise."""

import torch

from course_lib.checks.properties import Draw, explained, fresh_generator, given_plain_numbers
from course_lib.checks.report import Property


def draw_levels(*shape: int, positive: bool = False) -> Draw:
    """Two tensors of one shape, and an alpha_bar in which roots and shares lie far apart.

    It keeps away from 0 and 1, and from one half, where picture and noise weigh the same. Under
    `positive` tensors every mistake has a number, roots of sums too.
    """

    def draw() -> tuple[torch.Tensor, ...]:
        generator = fresh_generator()
        first, second = torch.randn(2, *shape, generator=generator)
        if positive:
            first, second = first.abs() + 0.1, second.abs() + 0.1
        share = 0.12 + 0.25 * torch.rand((), generator=generator, dtype=torch.double)
        upper = torch.rand((), generator=generator) < 0.5
        return first, second, 1 - share if upper else share

    return draw


def with_plain_numbers(check: Property) -> Property:
    """The property for a float in place of each tensor of no dimensions, with a hint."""
    return explained(
        given_plain_numbers(check),
        "`.sqrt()` and `torch.sqrt` want a tensor. A power serves both: `alpha_bar ** 0.5`.",
        AttributeError,
        TypeError,
    )
