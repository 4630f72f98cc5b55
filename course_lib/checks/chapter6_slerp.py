"""Chapter 6: the checker of slerp, the way between two noises along a circle."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks.properties import (
    Draw,
    agrees,
    describe,
    explained,
    fresh_generator,
    numbers,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Fault, Property, Verdict, examine

WAY = ("first", "second", "share")
SHAPE = (3, 2, 2, 3)
ANGLE = (
    "Not numbers: `acos` knows -1 to 1 alone. The cosine is the sum of products over the product "
    "of the two lengths, once for each example, over all its numbers."
)
PARALLEL = (
    "Where two noises are parallel the angle is 0, and so is its sine: there take the straight "
    "line, for these examples alone (`torch.where`). Rounding may also push a cosine past "
    "1: `clamp`."
)


def slerp(function) -> Verdict:
    """Check `function(first, second, share)`: noises (B, ...), between them along a circle.

    The angle is that of an example's numbers taken as one vector; share is a number, 0 gives
    `first` and 1 `second`; parallel vectors are joined by a straight line.
    """
    large = _draw_pair(*SHAPE)
    return examine(
        "slerp",
        function,
        _library,
        {
            "returns noises like those it is given": _given_share(_returns_noises),
            "goes along a circle, example by example": _given_share(
                agrees(
                    _circle,
                    [_draw_pair(1, 2), _draw_pair(2, 3), large],
                    WAY,
                    MISTAKES,
                    "sin((1 - share) * angle) / sin(angle) * first + sin(share * angle) / "
                    "sin(angle) * second, with a single angle for each example.",
                )
            ),
            "begins at the first and ends at the second": _given_share(
                agrees(
                    lambda first, second, share: second if share else first,
                    [_draw_pair(2, 3, share=0.0), _draw_pair(*SHAPE, share=1.0)],
                    WAY,
                    {
                        "The shares are swapped: share 0 is the first, 1 the second.": (
                            lambda first, second, share: first if share else second
                        )
                    },
                    "At share 0 the second has the weight sin(0) = 0, and at share 1 the first.",
                )
            ),
            "takes the straight line between parallel vectors": explained(
                _given_share(
                    agrees(_circle, [_draw_parallel(2), _draw_parallel(4)], WAY, {}, PARALLEL)
                ),
                PARALLEL,
                ZeroDivisionError,
                ValueError,
            ),
            "leaves its arguments unchanged": _given_share(spares_its_arguments(large, WAY)),
        },
    )


def _given_share(check: Property) -> Property:
    """The same property of a function whose share is a number."""
    return lambda function: check(
        lambda first, second, share: function(first, second, float(share))
    )


def _draw_pair(*shape: int, share: float | None = None) -> Draw:
    """Vectors shorter than 1, not parallel, nor at right angles: every usual mistake shows."""

    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        part = 0.1 + 0.3 * torch.rand((), generator=generator, dtype=torch.float64)
        at = part if share is None else torch.full_like(part, share)
        while True:
            common, *both = torch.randn(3, *shape, generator=generator)
            first, second = (0.12 * (x + 0.7 * common) for x in both)
            if _cosine(first, second).abs().max() < 0.9:
                return first, 1.3 * second, at

    return draw


def _draw_parallel(batch: int) -> Draw:
    """Every other example has its second along the first, with a cosine of 1 and no rounding."""

    def draw() -> tuple[Tensor, ...]:
        first, second, share = _draw_pair(batch, 2, 2)()
        first[::2] = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        second[::2] = 2 * first[::2]
        return first, second, share

    return draw


def _returns_noises(candidate: Callable) -> Fault | None:
    draw = _draw_pair(*SHAPE)
    hint = "The weights need an axis for each of an example's: `[:, None, None, None]`, or reshape."
    fault = returns(draw, SHAPE, WAY, hint)(candidate)
    if fault:
        return fault
    inputs = draw()
    result = candidate(*inputs)
    if result.isfinite().all():
        return None
    return Fault(describe(inputs, WAY), "numbers", numbers(result), ANGLE)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _library(first: Tensor, second: Tensor, share: float) -> Tensor:
    """The library's answer."""
    cosine = F.cosine_similarity(first.flatten(1), second.flatten(1), dim=1).clamp(-1, 1)
    angle = _column(cosine.acos(), first)
    parallel = angle.sin() < 1e-4
    sine = angle.sin().where(~parallel, torch.ones_like(angle))
    mixed = (((1 - share) * angle).sin() * first + (share * angle).sin() * second) / sine
    return torch.where(parallel, torch.lerp(first, second, share), mixed)


def _circle(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Example by example, by a turn from the first towards what of the second is not along it."""
    way = []
    for one, other in zip(first.double(), second.double(), strict=True):
        unit = one / one.norm()
        along = (other * unit).sum()
        across = other - along * unit
        angle = torch.atan2(across.norm(), along)
        if angle < 1e-6:
            way.append(one + share * (other - one))
            continue
        turned = angle.cos() * unit + angle.sin() * across / across.norm()
        parts = ((1 - share) * angle).sin() * unit * one.norm(), (share * angle).sin() * turned
        way.append((parts[0] + parts[1] * other.norm()) / angle.sin())
    return torch.stack(way)


def _mixed(cosine: Tensor, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    angle = cosine.acos()
    weights = ((1 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin()
    return weights[0] * first + weights[1] * second


def _product(first: Tensor, second: Tensor) -> Tensor:
    return _column((first * second).flatten(1).sum(1), first)


def _length(x: Tensor) -> Tensor:
    return _product(x, x).sqrt()


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    return _product(first, second) / _length(first) / _length(second)


def _undivided(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    angle = _cosine(first, second).acos()
    return ((1 - share) * angle).sin() * first + (share * angle).sin() * second


def _without_acos(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    return _mixed(_cosine(first, second).cos(), first, second, share)


def _along(axis: int) -> Callable[..., Tensor]:
    """An angle for each row of numbers along one axis."""
    return lambda first, second, share: _mixed(
        F.cosine_similarity(first.double(), second.double(), dim=axis).unsqueeze(axis),
        first,
        second,
        share,
    )


MISTAKES: dict[str, Callable[..., Tensor]] = {
    "That is the straight line (lerp): it passes closer to 0 than both ends.": (
        lambda first, second, share: torch.lerp(first.double(), second.double(), share)
    ),
    "The shares are swapped: share 0 is the first, 1 the second.": (
        lambda first, second, share: _circle(first, second, 1 - share)
    ),
    "One angle serves the whole batch: each example has its own.": (
        lambda first, second, share: _circle(first[None], second[None], share)[0]
    ),
    "You took the angles along the last axis: one angle for each example, over all its numbers, "
    "`flatten(1)`.": _along(-1),
    "You took the angles along the channels, dim 1: one angle for each example, over all its "
    "numbers, `flatten(1)`.": _along(1),
    "The cosine is not divided by the two lengths.": (
        lambda first, second, share: _mixed(_product(first, second), first, second, share)
    ),
    "Your result has the length 1: the normalised vectors are for the angle alone, mix the vectors "
    "themselves.": lambda first, second, share: _circle(
        first / _length(first), second / _length(second), share
    ),
    "The division by the sine of the angle is missing.": _undivided,
    "You took the cosine for the angle: the angle is its `acos`.": _without_acos,
    "The roots of the shares keep the length only of vectors at a right angle: slerp works for any "
    "angle.": lambda first, second, share: (1 - share).sqrt() * first + share.sqrt() * second,
}
