"""Chapter 7: the checker of the scale factor, one number for all latents."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.properties import (
    Draw,
    agrees,
    describe,
    fresh_generator,
    spares_its_arguments,
)
from course_lib.checks.report import Fault, Property, Verdict, examine
from course_lib.methods.latent import measured_scale

LATENTS = ("latents",)
# So many that a division by their number and by one less give the same.
SHAPE, CLIPS = (72, 4, 10, 12), (18, 4, 4, 10, 12)
CHANNELS = 4


def scale_factor(function) -> Verdict:
    """Check `function(latents)`: one over the standard deviation of all numbers together.

    Latents are (B, C, h, w), or (B, T, C, h, w). Both definitions of a deviation are right.
    """
    pictures, clips = _draw_latents(*SHAPE), _draw_latents(*CLIPS)
    formula = "One over the standard deviation, of all numbers together: `1 / latents.std()`."
    return examine(
        "scale_factor",
        function,
        measured_scale,
        {
            "returns a single number": _returns_a_number,
            "is one over the standard deviation of all numbers": _as_tensor(
                agrees(_one_over_deviation, [pictures], LATENTS, MISTAKES, formula)
            ),
            "serves clips of latents, too": _as_tensor(
                agrees(_one_over_deviation, [clips], LATENTS, MISTAKES, formula)
            ),
            "does not depend on where their mean is": _as_tensor(
                agrees(
                    _one_over_deviation,
                    [_draw_latents(*SHAPE, offset=-40.0)],
                    LATENTS,
                    MISTAKES,
                    formula,
                )
            ),
            "leaves its arguments unchanged": spares_its_arguments(pictures, LATENTS),
        },
    )


def _as_tensor(check: Property) -> Property:
    """The same property of a function that gives a float or a tensor of no dimensions."""
    return lambda function: check(lambda latents: torch.as_tensor(function(latents)))


def _draw_latents(*shape: int, offset: float = 0.0) -> Draw:
    """Each channel and each picture has a mean and a spread of its own; no mean is 0."""

    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        of_channels = 1 + 2 * torch.rand(2, CHANNELS, 1, 1, generator=generator)
        of_pictures = 0.5 + torch.rand(shape[0], *[1] * (len(shape) - 1), generator=generator)
        noise = torch.randn(shape, generator=generator)
        mean, spread = of_channels
        return (of_pictures * (1 + mean + 2 * spread * noise) + offset,)

    return draw


def _returns_a_number(candidate: Callable) -> Fault | None:
    inputs = _draw_latents(*SHAPE)()
    result = candidate(*inputs)
    if isinstance(result, Tensor):
        observed = f"a tensor of shape {tuple(result.shape)}"
    else:
        observed = repr(result)
    single = isinstance(result, float) or (isinstance(result, Tensor) and result.ndim == 0)
    if single and math.isfinite(result):
        return None
    hint = "One number for everything, a float or a tensor of no dimensions."
    if isinstance(result, Tensor) and result.numel() == CHANNELS:
        hint = "You measured each channel by itself: one number scales all four, all together."
    elif isinstance(result, Tensor) and result.numel() == SHAPE[0]:
        hint = "You measured each picture by itself: one number scales all latents."
    elif isinstance(result, Tensor) and result.shape == inputs[0].shape:
        hint = "Those are scaled latents: return the number alone."
    return Fault(describe(inputs, LATENTS), "one number", observed, hint)


def _spread(values: Tensor) -> float:
    """The root of the mean squared distance from the mean, number by number."""
    listed = values.flatten().tolist()
    mean = math.fsum(listed) / len(listed)
    return math.sqrt(math.fsum((x - mean) ** 2 for x in listed) / (len(listed) - 1))


def _one_over_deviation(latents: Tensor) -> Tensor:
    return torch.tensor(1 / _spread(latents), dtype=torch.float64)


def _each_channel(latents: Tensor) -> Tensor:
    """The deviation of each channel."""
    return latents.double().movedim(-3, 0).flatten(1).std(1)


def _each_picture(latents: Tensor) -> Tensor:
    return latents.double().flatten(1).std(1)


CHANNEL_MEAN = (
    "You measured each channel and took the mean: channels also differ in their means, and that "
    "is part of the spread of all numbers together."
)
PICTURE_MEAN = (
    "You measured each picture and took the mean: pictures also differ in their means, and that "
    "is part of the spread of all numbers together."
)
MISTAKES: dict[str, Callable[[Tensor], Tensor]] = {
    "That is one over the variance: the deviation is its root.": (
        lambda latents: 1 / latents.double().var()
    ),
    "That is the deviation itself: latents are multiplied with the factor, so it is one over "
    "it.": lambda latents: latents.double().std(),
    "That is the variance: the factor is one over its root.": lambda latents: (
        latents.double().var()
    ),
    "You did not subtract the mean: that is one over the root mean square. These latents have a "
    "mean that is not 0.": lambda latents: latents.double().square().mean().rsqrt(),
    "That is one over the mean square.": lambda latents: 1 / latents.double().square().mean(),
    "That is one over the mean distance from 0.": lambda latents: 1 / latents.double().abs().mean(),
    "That is one over the mean distance from the mean: the deviation squares the distances.": (
        lambda latents: 1 / (latents.double() - latents.double().mean()).abs().mean()
    ),
    "That is one over the largest number: a spread is asked, which outliers do not decide.": (
        lambda latents: 1 / latents.double().abs().max()
    ),
    CHANNEL_MEAN: lambda latents: 1 / _each_channel(latents).mean(),
    CHANNEL_MEAN + " (And one over a mean is not the mean of one over.)": (
        lambda latents: (1 / _each_channel(latents)).mean()
    ),
    PICTURE_MEAN: lambda latents: 1 / _each_picture(latents).mean(),
    PICTURE_MEAN + " (And one over a mean is not the mean of one over.)": (
        lambda latents: (1 / _each_picture(latents)).mean()
    ),
    "You took the deviation of the channels' means: take that of all numbers.": (
        lambda latents: 1 / latents.double().movedim(-3, 0).flatten(1).mean(1).std()
    ),
    "You took the deviation of the pictures' means: take that of all numbers.": (
        lambda latents: 1 / latents.double().flatten(1).mean(1).std()
    ),
    "You measured the first picture alone: take the deviation of all numbers.": (
        lambda latents: 1 / latents[0].double().std()
    ),
}
