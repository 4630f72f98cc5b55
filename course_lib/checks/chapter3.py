"""Chapter 3: the causal mask and the position code; and, from the files beside this one, the rest.

Each checker draws its inputs afresh at every call and compares with a reference of its own.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.chapter3_attention import attention
from course_lib.checks.chapter3_leaks import leaks
from course_lib.checks.chapter3_windows import window_merge, window_partition
from course_lib.checks.properties import Draw, agrees, given_plain_numbers, returns
from course_lib.checks.report import Verdict, examine
from course_lib.nn import attention as library

__all__ = ["attention", "causal_mask", "leaks", "sincos_1d", "window_merge", "window_partition"]


def causal_mask(function) -> Verdict:
    """Check `function(num_frames)`: bool (T, T), True where query i may look at key j, j <= i.

    Row i is for the query, column j for the key. Output i is the prediction of frame i + 1.
    """
    names = ("num_frames",)
    properties = {
        "returns a bool for every query and key": returns(
            _draw(6),
            (6, 6),
            names,
            "A mask of bools, one row for each query: end with a comparison, or with `.bool()`. "
            "0 and -inf, to be added to the scores, are another kind.",
            boolean=True,
        ),
        "lets each frame look at itself and at what came before": agrees(
            _mask,
            [_draw(1), _draw(2), _draw(3), _draw(6)],
            names,
            MASK_MISTAKES,
            "Row i is True in the columns 0 to i, and False after them.",
        ),
    }
    return examine("causal_mask", function, library.causal_mask, _plain(properties))


def sincos_1d(function) -> Verdict:
    """Check `function(length, dim)`: the codes of the positions 1 to length, float (T, D).

    Column 2i is sin(position / 10000^(2i / dim)), column 2i + 1 the cosine of the same angle.
    """
    names = ("length", "dim")
    properties = {
        "returns one code for every position": returns(
            _draw(7, 8), (7, 8), names, "One row for each position, `dim` numbers in it."
        ),
        "gives what the definition says": agrees(
            _code,
            [_draw(1, 2), _draw(1, 4), _draw(2, 6), _draw(7, 8)],
            names,
            CODE_MISTAKES,
            "Angle i of position p is p / 10000^(2i / dim), for i from 0 to dim / 2 - 1: its sine "
            "goes to column 2i, its cosine to column 2i + 1.",
        ),
    }
    return examine("sincos_1d", function, library.sincos_1d, _plain(properties))


def _plain(properties: dict) -> dict:
    return {sentence: given_plain_numbers(check) for sentence, check in properties.items()}


def _draw(*sizes: int) -> Draw:
    """Nothing is left to chance here: the sizes are all that there is, and each is asked."""
    return lambda: tuple(torch.tensor(size) for size in sizes)


def _mask(num_frames: Tensor, may_look: Callable[[int, int], bool] = lambda i, j: j <= i) -> Tensor:
    frames = range(int(num_frames))
    return torch.tensor([[may_look(i, j) for j in frames] for i in frames])


MASK_MISTAKES = {
    "Your mask is transposed: row i belongs to the query, column j to the key.": (
        lambda frames: _mask(frames, lambda i, j: j >= i)
    ),
    "You wrote j < i: a frame may look at itself, for output i is the prediction of frame i + 1. "
    "And the first frame has nowhere else to look.": (
        lambda frames: _mask(frames, lambda i, j: j < i)
    ),
    "True and False are swapped: here True means `may look`, as in "
    "`F.scaled_dot_product_attention`. In `nn.MultiheadAttention` it means `may not`.": (
        lambda frames: _mask(frames, lambda i, j: j > i)
    ),
    "Your mask is shifted by one: query i sees frame i + 1, which is the very one to predict.": (
        lambda frames: _mask(frames, lambda i, j: j <= i + 1)
    ),
    "Each frame sees itself alone: let it look at all that came before, too.": (
        lambda frames: _mask(frames, lambda i, j: i == j)
    ),
    "Every frame sees the previous one and itself alone: let it look at all that came before.": (
        lambda frames: _mask(frames, lambda i, j: i - 1 <= j <= i)
    ),
    "Everybody may look everywhere: the future must be hidden.": (
        lambda frames: _mask(frames, lambda i, j: True)
    ),
}


def _code(
    length: Tensor,
    dim: Tensor,
    *,
    start: int = 1,
    turn: Callable[[int], float] = lambda column: math.pi / 2 * (column % 2),
    exponent: Callable[[int, int], float] = lambda column, dim: (column - column % 2) / dim,
    base: float = 10000.0,
) -> Tensor:
    """Number by number; a cosine is a sine that is a quarter turn ahead."""
    size = int(dim)
    return torch.tensor(
        [
            [math.sin(p / base ** exponent(k, size) + turn(k)) for k in range(size)]
            for p in range(start, start + int(length))
        ]
    )


def _halves(length: Tensor, dim: Tensor) -> Tensor:
    code = _code(length, dim)
    return torch.cat([code[:, ::2], code[:, 1::2]], 1)


def _other_base(base: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda length, dim: _code(length, dim, base=base)


CODE_MISTAKES = {
    "Your positions count from 0: here they count from 1, as in VPTR's code.": (
        lambda length, dim: _code(length, dim, start=0)
    ),
    "You put all sines into the first half and all cosines into the second: here they take "
    "turns, sine, cosine, sine, cosine.": _halves,
    "Sine and cosine are swapped: the sine comes first.": (
        lambda length, dim: _code(length, dim, turn=lambda k: math.pi / 2 * (1 - k % 2))
    ),
    "There are only sines: every second column is the cosine of the angle before it.": (
        lambda length, dim: _code(length, dim, turn=lambda k: 0.0)
    ),
    "Your exponent is i / dim for angle i, or your base 100, which is the same: take 10000 to "
    "the power of 2i / dim.": (
        lambda length, dim: _code(length, dim, exponent=lambda k, size: k // 2 / size)
    ),
    "Your exponent grows with every column: a sine and its cosine have the same angle.": (
        lambda length, dim: _code(length, dim, exponent=lambda k, size: k / size)
    ),
    "Your exponent runs to 1: divide 2i by dim, not by dim - 2.": (
        lambda length, dim: _code(length, dim, exponent=lambda k, size: (k - k % 2) / (size - 2))
    ),
    "Your waves all have the same length: divide by 10000^(2i / dim).": _other_base(1.0),
} | {f"Your base is {base:.0f}: it is 10000.": _other_base(base) for base in (10.0, 1e3, 1e5)}
