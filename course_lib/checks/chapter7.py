"""Chapter 7: adaptive layer norm's shift and scale; and, from the files beside this one, the rest.

Each checker draws its inputs afresh at every call and compares with a reference of its own.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks.chapter7_guided import guided
from course_lib.checks.chapter7_identity import start_as_identity
from course_lib.checks.chapter7_macs import block_macs
from course_lib.checks.chapter7_patches import patchify
from course_lib.checks.chapter7_scale import scale_factor
from course_lib.checks.chapter7_unpatchify import unpatchify
from course_lib.checks.properties import (
    Draw,
    agrees,
    describe,
    explained,
    fresh_generator,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Fault, Verdict, examine
from course_lib.models import dit

__all__ = [
    "block_macs",
    "guided",
    "modulate",
    "patchify",
    "scale_factor",
    "start_as_identity",
    "unpatchify",
]

MODULATED = ("x", "shift", "scale")
AXIS = (
    "`shift` and `scale` have no axis for the tokens: give them one, `[:, None]`, so that (B, 1, "
    "D) meets (B, N, D)."
)


def modulate(function) -> Verdict:
    """Check `function(x, shift, scale)`: x (B, N, D) is normalised; shift and scale are (B, D)."""
    alike, unlike = _draw_tokens(4, 4, 6), _draw_tokens(2, 5, 6)
    formula = "x * (1 + scale) + shift, one shift and one scale for all tokens of an example."
    return examine(
        "modulate",
        function,
        dit.modulate,
        {
            "returns tokens like x": explained(
                returns(alike, (4, 4, 6), MODULATED, "(B, N, D), as x."), AXIS, RuntimeError
            ),
            "is x (1 + scale) + shift, example by example": agrees(
                _modulated,
                [_draw_tokens(1, 1, 2), _draw_tokens(2, 2, 3), alike],
                MODULATED,
                MISTAKES
                | {AXIS + " With as many examples as tokens no error tells you.": _no_axis},
                formula,
            ),
            "serves any number of tokens": explained(
                agrees(
                    _modulated,
                    [_draw_tokens(1, 3, 2), _draw_tokens(3, 1, 2), unlike],
                    MODULATED,
                    MISTAKES,
                    AXIS,
                ),
                AXIS,
                RuntimeError,
            ),
            "passes gradients to all three": _passes_gradients,
            "leaves its arguments unchanged": spares_its_arguments(alike, MODULATED),
        },
    )


def _draw_tokens(batch: int, number: int, dim: int) -> Draw:
    """Tokens of any mean and a wide spread: normalising them shows, the eps in it does not."""

    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        x = 2 + 5 * torch.randn(batch, number, dim, generator=generator)
        return x, *torch.randn(2, batch, dim, generator=generator).unbind()

    return draw


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Number by number of the condition, for all tokens of an example."""
    rows = []
    for tokens, by, times in zip(x, shift, scale, strict=True):
        rows.append(torch.stack([tokens[:, d] * times[d] for d in range(len(by))], 1) + tokens + by)
    return torch.stack(rows)


def _passes_gradients(candidate: Callable) -> Fault | None:
    """Whether they arrive, not whether they are right: the values of the result say that."""
    leaves = [value.requires_grad_() for value in _draw_tokens(2, 2, 3)()]
    result = candidate(*leaves)
    reached = [None] * 3
    if result.requires_grad:
        reached = torch.autograd.grad(result.square().sum(), leaves, allow_unused=True)
    for name, slope in zip(MODULATED, reached, strict=True):
        if slope is None:
            return Fault(
                describe(tuple(leaves), MODULATED),
                f"a gradient of `{name}`",
                "none",
                f"Your result does not depend on `{name}`, or its gradient is cut: `detach`, "
                "`no_grad`, `.data` and `torch.tensor(...)` cut it.",
            )
    return None


def _no_axis(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """What is meant for an example goes to the tokens of its number."""
    return _modulated(x.transpose(0, 1), shift, scale).transpose(0, 1)


MISTAKES: dict[str, Callable[..., Tensor]] = {
    "The 1 is missing: multiply x with 1 + scale, so that a scale of 0 leaves it as it is.": (
        lambda x, shift, scale: _modulated(x, shift, scale - 1)
    ),
    "Shift and scale are swapped: (1 + scale) multiplies, shift is added.": (
        lambda x, shift, scale: _modulated(x, scale, shift)
    ),
    "You normalised again: x comes normalised.": (
        lambda x, shift, scale: _modulated(F.layer_norm(x, x.shape[-1:]), shift, scale)
    ),
    "You normalised again, with mean and deviation: x comes normalised.": (
        lambda x, shift, scale: _modulated(
            (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True), shift, scale
        )
    ),
    "You shifted before you scaled: the shift is added last, and is not multiplied.": (
        lambda x, shift, scale: _modulated(x, shift * (1 + scale), scale)
    ),
    "You left out the shift.": lambda x, shift, scale: _modulated(x, 0 * shift, scale),
    "You left out the scale.": lambda x, shift, scale: _modulated(x, shift, 0 * scale),
    "You added x once more: the block adds its branch to x, this function is inside the branch.": (
        lambda x, shift, scale: _modulated(x, shift, scale + 1)
    ),
    "The sign of the scale is wrong: 1 + scale.": (
        lambda x, shift, scale: _modulated(x, shift, -scale)
    ),
}
