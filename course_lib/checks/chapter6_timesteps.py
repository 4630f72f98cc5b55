"""Chapter 6: the checker of which steps a walk visits."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from course_lib.checks.properties import fresh_generator
from course_lib.checks.report import Fault, Property, Verdict, examine

CHAIN = 1000
SMALL = ((4, 2), (5, 2), (7, 3), (10, 4), (1000, 50), (1000, 7))


def timesteps(function) -> Verdict:
    """Check `function(num_timesteps, num_steps)`: the list of floor(i T / S), falling to 0."""
    return examine(
        "timesteps",
        function,
        lambda num_timesteps, num_steps: [
            i * num_timesteps // num_steps for i in range(num_steps - 1, -1, -1)
        ],
        {
            "returns a list of whole numbers": _returns_steps,
            "visits as many steps as asked": _visits(
                lambda found, right: len(found) == len(right), SMALL
            ),
            "falls, ends at 0, and has equal strides but for rounding down": _visits(
                lambda found, right: found == right, SMALL
            ),
            "visits every step where there are as many as the chain has": _visits(
                lambda found, right: found == right, ((1, 1), (3, 3), (20, 20))
            ),
            "visits the step 0 alone where there is one": _visits(
                lambda found, right: found == right, ((3, 1), (1000, 1))
            ),
        },
    )


def is_step(value: object) -> bool:
    """Whether it is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def _returns_steps(candidate: Callable) -> Fault | None:
    result = candidate(12, 3)
    if isinstance(result, list) and all(map(is_step, result)):
        return None
    hint = "Put them into a list: `list(...)`, or `.tolist()` of a tensor or an array."
    if isinstance(result, list):
        hint = "Steps are numbered 0, 1, 2, ...: `//` divides whole numbers into a whole number."
    return Fault("num_timesteps = 12, num_steps = 3", "a list of ints", repr(result), hint)


def _right(num_timesteps: int, num_steps: int) -> list[int]:
    """The largest t with t S <= i T, found by counting."""
    found, t = [], 0
    for i in range(num_steps):
        while (t + 1) * num_steps <= i * num_timesteps:
            t += 1
        found.append(t)
    return found[::-1]


def _draw_sizes() -> tuple[int, int]:
    """A chain and a number of steps without a common divisor, so that strides are uneven."""
    generator = fresh_generator()
    while True:
        steps = int(torch.randint(3, 12, (), generator=generator)) * 2 + 1
        chain = int(torch.randint(5 * steps, CHAIN, (), generator=generator))
        # A float rounded below a whole number would decide otherwise: ask elsewhere.
        exact = all(int(i * (chain / steps)) == i * chain // steps for i in range(steps))
        if math.gcd(chain, steps) == 1 and exact:
            return chain, steps


Holds = Callable[[list[int], list[int]], bool]  # of what was found and what is right


def _visits(holds: Holds, sizes: Sequence[tuple[int, int]]) -> Property:
    """The property that `holds`, on fixed sizes and a drawn one; the hint is of drawn ones."""

    def check(candidate: Callable) -> Fault | None:
        for size in [*sizes, *([_draw_sizes()] if sizes is SMALL else [])]:
            found, right = candidate(*size), _right(*size)
            if not holds(found, right):
                given = f"num_timesteps = {size[0]}, num_steps = {size[1]}"
                return Fault(given, _listed(right), _listed(found), _diagnosis(candidate))
        return None

    return check


def _diagnosis(candidate: Callable) -> str:
    found = Counter[str]()
    for _ in range(5):
        size = _draw_sizes()
        visited = candidate(*size)
        found.update([next((m for m, seen in SLIPS.items() if seen(visited, *size)), STRIDES)])
    return found.most_common(1)[0][0]


def _listed(steps: list[int]) -> str:
    shown = ", ".join(map(str, steps[:8]))
    return f"[{shown}{', ...' if len(steps) > 8 else ''}] ({len(steps)} steps)"


def _falls(steps: list[int]) -> bool:
    return all(a > b for a, b in pairwise(steps))


STRIDES = (
    "Step i is floor(i * T / S), `i * num_timesteps // num_steps`, for i from S - 1 down to 0."
)
SLIPS: dict[str, Callable[[list[int], int, int], bool]] = {
    "There is none: give a step for each i from S - 1 down to 0.": lambda x, T, S: not x,
    "Your steps rise: the walk begins in the noise, so the largest comes first.": (
        lambda x, T, S: _falls(x[::-1]) and len(x) == S
    ),
    "T // S as the stride of a `range` gives more than S steps where S does not divide T. That is "
    "what DDIM's own code does. Round down after multiplying: i * T // S.": (
        lambda x, T, S: sorted(x) == list(range(0, T, T // S))
    ),
    "The chain has the steps 0 to T - 1: T is none of them.": lambda x, T, S: T in x,
    "-1 is the clean picture, where the walk ends: it is not a step to visit.": (
        lambda x, T, S: -1 in x
    ),
    "Your walk starts at the last step, T - 1. Uniform steps count from 0 up: the highest is a "
    "stride below the end.": lambda x, T, S: T - 1 in x,
    "You rounded the stride before multiplying, so the rounding adds up: i * T // S, not i * (T // "
    "S).": lambda x, T, S: x == [i * (T // S) for i in reversed(range(S))],
    "You rounded to the nearest: round down, with `//`.": (
        lambda x, T, S: x == [round(i * T / S) for i in reversed(range(S))]
    ),
    "You rounded up: round down, with `//`.": (
        lambda x, T, S: x == [-(-i * T // S) for i in reversed(range(S))]
    ),
    "Too many steps.": lambda x, T, S: len(x) > S,
    "Too few steps: i goes from S - 1 down to 0, and 0 is one of them.": lambda x, T, S: len(x) < S,
    "Those steps are quadratic: here all strides are equal.": (
        lambda x, T, S: _falls(x) and x[0] - x[1] > 2 * (x[-2] - x[-1])
    ),
}
