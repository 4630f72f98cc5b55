"""Chapter 2: the checker of mode coverage."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from course_lib.checks.properties import (
    Draw,
    agrees,
    both,
    fresh_generator,
    given_plain_numbers,
    part,
    returns_pair,
    spares_its_arguments,
)
from course_lib.checks.report import Verdict, examine
from course_lib.evaluation import distributions

CLOUD = ("samples", "modes", "radius", "minimum")
# How many samples each of ten modes has: within the radius, near it, far. With a minimum of 3 every
# mistake counts another number of modes.
INSIDE = (0, 0, 0, 1, 1, 2, 3, 3, 5, 12)
NEAR = (0, 2, 0, 1, 0, 1, 0, 1, 1, 5)
FAR = (0, 5, 3, 2, 2, 0, 1, 0, 1, 0)
NOBODY = (0,) * 10


def mode_coverage(function) -> Verdict:
    """Check `function(samples, modes, radius, minimum)`: the number of modes covered, and a share.

    `samples` is (N, 2), `modes` (K, 2). A mode is covered if at least `minimum` samples lie within
    `radius` of it; the share is that of the samples within `radius` of any mode.
    """
    properties = {
        "returns two numbers, the count of modes first": returns_pair(
            _draw_cloud,
            CLOUD,
            "End with `return num_covered, share`, two single numbers.",
            (int, float, Tensor),
        ),
        "counts the modes with enough samples around them": part(
            0,
            agrees(
                _num_covered,
                [_draw_one_mode, _draw_cloud],
                CLOUD,
                COUNT_MISTAKES,
                "For each mode count the samples within `radius`; then count the modes that have "
                "at least `minimum`.",
            ),
        ),
        "gives the share of samples near some mode": part(
            1,
            agrees(
                _share,
                [_draw_one_mode, _draw_cloud],
                CLOUD,
                SHARE_MISTAKES,
                "Count the samples that are within `radius` of any mode, and divide by N.",
            ),
        ),
        "counts a sample at exactly the radius": part(
            0,
            agrees(
                _num_covered,
                [_draw_on_the_circle],
                CLOUD,
                {},
                "Within the radius means `<=`; and the radius belongs beside the distance, not "
                "beside its square.",
            ),
        ),
        "sees a collapse that the share does not: one mode, and every sample good": part(
            0, agrees(_num_covered, [_draw_collapse], CLOUD, {}, "One mode has all the samples.")
        ),
        "gives 0 and 0 where every sample is astray": both(
            agrees(
                lambda *inputs: torch.zeros(2),
                [_draw_astray],
                CLOUD,
                {},
                "Every sample has a nearest mode, however far: ask for the radius.",
            )
        ),
        "leaves its arguments unchanged": spares_its_arguments(_draw_cloud, CLOUD),
    }
    return examine(
        "mode_coverage",
        function,
        distributions.mode_coverage,
        {sentence: given_plain_numbers(check) for sentence, check in properties.items()},
    )


def _draw_around(
    inside: Sequence[int], near: Sequence[int], far: Sequence[int], minimum: int
) -> Draw:
    """Modes on a ring, and so many samples around each: none of them is nearer to another mode.

    With a radius below 1 the square is below the radius, its root above: "inside" is beyond the
    square, "near" within the root, "far" beyond it.
    """

    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        radius = 0.3 + 0.1 * torch.rand((), generator=generator)
        angles = (torch.arange(len(inside)) + torch.rand((), generator=generator)) / len(inside)
        modes = 3.5 * _on_circle(angles)[torch.randperm(len(inside), generator=generator)]
        samples = []
        for counts, low, high in ((inside, 0.6, 0.9), (near, 1.1, 1.45), (far, 2.2, 2.5)):
            centres = modes.repeat_interleave(torch.tensor(counts), 0)
            away, angles = torch.rand(2, len(centres), generator=generator)
            distances = radius * (low + (high - low) * away)
            samples.append(centres + distances[:, None] * _on_circle(angles))
        return torch.cat(samples), modes, radius, torch.tensor(minimum)

    return draw


def _on_circle(turns: Tensor) -> Tensor:
    return torch.stack([torch.cos(2 * math.pi * turns), torch.sin(2 * math.pi * turns)], 1)


_draw_one_mode = _draw_around((1,), (0,), (1,), 1)
_draw_cloud = _draw_around(INSIDE, NEAR, FAR, 3)
_draw_collapse = _draw_around((*NOBODY, 20), (*NOBODY, 0), (*NOBODY, 0), 3)
_draw_astray = _draw_around(NOBODY, NOBODY, INSIDE, 3)


def _draw_on_the_circle() -> tuple[Tensor, ...]:
    """Numbers that 32 bits hold exactly."""
    modes = torch.randint(-3, 4, (1, 2), generator=fresh_generator()).float()
    return modes + torch.tensor([[0.25, 0], [0, -0.25]]), modes, torch.tensor(0.25), torch.tensor(2)


def _counts(
    samples: Tensor,
    modes: Tensor,
    radius: Tensor,
    measure: Callable[[float], float] = lambda distance: distance,
) -> list[int]:
    """How many samples each mode has, one distance after another."""
    points, limit = samples.tolist(), radius.item()
    return [sum(measure(math.dist(s, m)) <= limit for s in points) for m in modes.tolist()]


def _nearest_counts(samples: Tensor, modes: Tensor) -> list[int]:
    nearest = [min(modes.tolist(), key=lambda m: math.dist(s, m)) for s in samples.tolist()]
    return [nearest.count(m) for m in modes.tolist()]


def _at_least(counts: Sequence[int], minimum: Tensor | float) -> Tensor:
    return torch.tensor(float(sum(count >= minimum for count in counts)))


def _num_covered(samples: Tensor, modes: Tensor, radius: Tensor, minimum: Tensor) -> Tensor:
    return _at_least(_counts(samples, modes, radius), minimum)


def _share(samples: Tensor, modes: Tensor, radius: Tensor, _minimum: Tensor) -> Tensor:
    return torch.tensor(sum(_counts(samples, modes, radius)) / len(samples))  # circles are apart


def _share_of_covered(s: Tensor, m: Tensor, radius: Tensor, minimum: Tensor) -> Tensor:
    return torch.tensor(sum(c for c in _counts(s, m, radius) if c >= minimum) / len(s))


SQUARED = "You compared the squared distance with the radius: square both, or neither."
BEYOND = "You compared the distance with the squared radius: square both, or neither."
SWAPPED = "The two are in each other's place: `return num_covered, share`."

COUNT_MISTAKES = {
    "You gave each sample to its nearest mode, however far that is: ask for the radius.": (
        lambda s, m, r, least: _at_least(_nearest_counts(s, m), least)
    ),
    SQUARED: lambda s, m, r, least: _at_least(_counts(s, m, r, lambda d: d * d), least),
    BEYOND: lambda s, m, r, least: _num_covered(s, m, r * r, least),
    "One sample was enough for you: a mode needs at least `minimum`.": (
        lambda s, m, r, least: _num_covered(s, m, r, torch.tensor(1))
    ),
    "You asked for more than `minimum` samples: exactly `minimum` is enough.": (
        lambda s, m, r, least: _num_covered(s, m, r, least + 1)
    ),
    "You counted the modes that are missed.": (
        lambda s, m, r, least: len(m) - _num_covered(s, m, r, least)
    ),
    "You gave the share of the modes: return their number.": (
        lambda s, m, r, least: _num_covered(s, m, r, least) / len(m)
    ),
    "You counted samples: count the modes.": (
        lambda s, m, r, least: torch.tensor(float(sum(_counts(s, m, r))))
    ),
    SWAPPED: _share,
}
SHARE_MISTAKES = {
    "You gave each sample to its nearest mode, however far that is: ask for the radius.": (
        lambda s, m, r, least: torch.ones(())
    ),
    SQUARED: lambda s, m, r, least: _share(s, m, r.sqrt(), least),
    BEYOND: lambda s, m, r, least: _share(s, m, r * r, least),
    "You left out the samples of modes that are not covered: they are near a mode all the same.": (
        _share_of_covered
    ),
    "You divided by the samples that are near a mode: divide by N, all samples.": (
        lambda *inputs: _share_of_covered(*inputs) / _share(*inputs)
    ),
    "You divided by the number of modes: divide by N, the number of samples.": (
        lambda s, m, r, least: _share(s, m, r, least) * len(s) / len(m)
    ),
    "You divided by the number of covered modes: divide by N, the number of samples.": (
        lambda s, *others: _share(s, *others) * len(s) / _num_covered(s, *others)
    ),
    "You counted the samples: divide by N.": lambda s, *others: _share(s, *others) * len(s),
    "That is the share of stray samples: 1 minus it is wanted.": (
        lambda *inputs: 1 - _share(*inputs)
    ),
    "That is the share of modes that are covered: the share of samples is wanted.": (
        lambda s, m, *others: _num_covered(s, m, *others) / len(m)
    ),
    SWAPPED: _num_covered,
}
