"""Chapter 6: the checker of where a walk goes from each step that it visits."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.chapter6_timesteps import CHAIN, is_step
from course_lib.checks.properties import Draw, agrees, explained, fresh_generator
from course_lib.checks.report import Fault, Property, Verdict, examine

WALK = ("timesteps",)


def previous(function) -> Verdict:
    """Check `function(t, timesteps)`: the step that a walk goes to from t, -1 at the end."""
    return examine(
        "previous",
        function,
        lambda t, timesteps: max((s for s in timesteps if s < t), default=-1),
        {
            "returns a whole number": _returns_a_step,
            "goes to the next step of the list": _before_the_end(
                agrees(
                    lambda walk: walk[1:],
                    [_evenly(4), _evenly(7), _draw_walk],
                    WALK,
                    WRONG_WAYS,
                    "Find t in the list: the next one of the list is where the walk goes.",
                )
            ),
            "goes to -1 from the last": explained(
                _at_the_end(
                    agrees(
                        lambda walk: torch.tensor(-1),
                        [_evenly(1), _draw_walk],
                        WALK,
                        WRONG_ENDS,
                        LAST,
                    )
                ),
                LAST,
                IndexError,
                ValueError,
                StopIteration,
                TypeError,
                RuntimeError,
            ),
            "leaves the list unchanged": _spares_the_list,
        },
    )


def _evenly(num_steps: int) -> Draw:
    """From the last step of the chain to its first."""
    return lambda: (torch.linspace(CHAIN - 1, 0, num_steps).round().long(),)


def _draw_walk() -> tuple[Tensor]:
    """Uneven steps; only from the last, which is not 0, would an even stride lead below 0."""
    generator = fresh_generator()
    last = torch.randint(2, 100, (1,), generator=generator)
    others = torch.randperm(CHAIN - 150, generator=generator)[:8] + 150
    return (torch.cat([others, last]).sort(descending=True).values,)


def _before_the_end(check: Property) -> Property:
    """The same property of where a walk goes from each step but the last."""
    return lambda function: check(
        lambda walk: torch.tensor([function(t, walk.tolist()) for t in walk.tolist()[:-1]])
    )


def _at_the_end(check: Property) -> Property:
    """The same property of where a walk goes from its last step."""
    return lambda function: check(lambda walk: torch.tensor(function(int(walk[-1]), walk.tolist())))


def _returns_a_step(candidate: Callable) -> Fault | None:
    result = candidate(500, [750, 500, 250, 0])
    if is_step(result):
        return None
    hint = "One step alone: from t the walk goes to a single other one."
    return Fault("t = 500, timesteps = [750, 500, 250, 0]", "an int", repr(result), hint)


def _spares_the_list(candidate: Callable) -> Fault | None:
    walk = [750, 500, 250]
    for t in (750, 500, 250):
        candidate(t, walk)
    if walk == [750, 500, 250]:
        return None
    return Fault(
        given="timesteps = [750, 500, 250]",
        expected="the same list after the calls",
        observed=repr(walk),
        hint="`append`, `pop` and `reverse` change the list that you were given: work on another, "
        "`[*timesteps, -1]`.",
    )


LAST = "There is no step after the last of the list: from there the walk goes to -1, clean."
STRIDE = (
    "You subtracted T // S. So does a famous library, and it is right only where all strides are "
    "equal: look into the list."
)
WRONG_WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    STRIDE: lambda walk: walk[:-1] - CHAIN // len(walk),
    "You subtracted the first stride: others may be longer or shorter.": (
        lambda walk: walk[:-1] - (walk[0] - walk[1])
    ),
    "You went the wrong way: the list falls, the next step stands behind t.": (
        lambda walk: walk.roll(1)[:-1]
    ),
    "You went to t - 1, as DDPM does: this walk leaves steps out.": lambda walk: walk[:-1] - 1,
    "You returned a place in the list: return the step that stands there.": (
        lambda walk: torch.arange(1, len(walk))
    ),
    "You returned t itself: the walk never moves.": lambda walk: walk[:-1],
    "You went to the end of the list at once.": lambda walk: walk[-1:].expand(len(walk) - 1),
}
WRONG_ENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "You went to 0: step 0 is still noisy. The clean picture is -1.": lambda walk: 0 * walk[0],
    "You stayed at the last step: from there the walk goes to -1.": lambda walk: walk[-1],
    "You went back to the first step: the list does not begin again.": lambda walk: walk[0],
    "You went to t - 1: from the last step the walk ends at -1, the clean picture.": (
        lambda walk: walk[-1] - 1
    ),
    "You subtracted T // S here, too: from the last step the walk ends at -1.": (
        lambda walk: walk[-1] - CHAIN // len(walk)
    ),
}
