"""Chapter 4: the checker of the attention with which NAR's frames ask the context."""

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks.chapter4_models import returns_shape
from course_lib.checks.properties import (
    Draw,
    agrees,
    explained,
    fresh_generator,
    passes_gradients,
    spares_its_arguments,
)
from course_lib.checks.report import Verdict, examine

INTERVIEW = ("queries", "keys", "values")


def ask_the_witness(function) -> Verdict:
    """Check `function(queries, keys, values)`: attention over time, place by place.

    `queries` is (B, N, h, w, d), `keys` and `values` are (B, L, h, w, d), the result has the shape
    of the queries: a place looks at the same place of all L frames, scale 1 / sqrt(d), no mask.
    """
    even = _draw_frames(2, 4, 4, 2, 3, 5)  # as many questions as memories: more mistakes run
    uneven = _draw_frames(2, 3, 4, 2, 3, 5)
    return examine(
        "ask_the_witness",
        function,
        _by_places,
        {
            "returns a vector for each place of each query": returns_shape(
                even,
                (2, 4, 2, 3, 5),
                INTERVIEW,
                SHAPES,
                "As many frames, places and numbers as the queries have: (B, N, h, w, d).",
            ),
            "asks the same place of every frame": agrees(
                _ask,
                [_draw_frames(1, 1, 1, 1, 1, 2), _draw_frames(1, 2, 2, 1, 2, 2), even],
                INTERVIEW,
                MISTAKES,
                "Put h and w beside the batch; there softmax(q k^T / sqrt(d)) v, with the softmax "
                "over the L frames; put them back.",
            ),
            "takes more questions than memories, and fewer": explained(
                agrees(
                    _ask,
                    [_draw_frames(2, 3, 1, 2, 2, 4), uneven],
                    INTERVIEW,
                    {},
                    "N questions, L memories: `einsum` needs two letters for them.",
                ),
                "Each of N questions meets each of L memories: their scores are N x L. `einsum` "
                "needs two letters for them.",
                RuntimeError,
            ),
            "lets gradients through to queries, keys and values": passes_gradients(
                _ask, uneven, INTERVIEW, INTERVIEW
            ),
            "leaves its arguments unchanged": spares_its_arguments(uneven, INTERVIEW),
        },
    )


def _by_places(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The library's answer."""
    q, k, v = (x.movedim(1, 3) for x in (queries, keys, values))  # (B, h, w, T, d)
    return F.scaled_dot_product_attention(q, k, v).movedim(3, 1)


def _draw_frames(batch: int, num: int, length: int, height: int, width: int, dim: int) -> Draw:
    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        lengths = (num, length, length)
        shapes = [(batch, n, height, width, dim) for n in lengths]
        queries, keys, values = (torch.randn(shape, generator=generator) for shape in shapes)
        return 1.5 * queries, keys, values

    return draw


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, axis: int = -1) -> Tensor:
    """(..., N, d) by (..., M, d): shares of exponentials, in 64 bits."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    powers = (q.double() @ k.double().mT * scale).exp()
    return powers / powers.sum(axis, keepdim=True) @ v.double()


def _ask(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, axis: int = -1) -> Tensor:
    """Place after place."""
    answers = torch.empty(q.shape, dtype=torch.double)
    for i, j in itertools.product(range(q.shape[2]), range(q.shape[3])):
        here = q[:, :, i, j], k[:, :, i, j], v[:, :, i, j]
        answers[:, :, i, j] = _attend(*here, scale, axis)
    return answers


def _ask_everywhere(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _attend(q.flatten(1, 3), k.flatten(1, 3), v.flatten(1, 3)).reshape(q.shape)


def _ask_places(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each frame asks the places of the frame with its own number."""
    return _attend(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3)).reshape(q.shape)


def _unpermuted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As if the places came before the frames."""
    batch, num, height, width, dim = q.shape
    places = batch * height * width
    asking = q.reshape(places, num, dim)
    return _attend(asking, k.reshape(places, -1, dim), v.reshape(places, -1, dim)).reshape(q.shape)


def _with_one_opinion(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One score for a whole frame, and so the same weights at every place."""
    scale = 1 / math.sqrt(q.shape[4])
    return _attend(q.flatten(2), k.flatten(2), v.flatten(2), scale).reshape(q.shape)


def _causally(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    later = [_ask(q[:, t : t + 1], k[:, : t + 1], v[:, : t + 1]) for t in range(q.shape[1])]
    return torch.cat(later, 1)


def _across_places(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The softmax shares among places what belongs to frames."""
    powers = (torch.einsum("bnhwd,blhwd->bnlhw", q, k).double() * q.shape[4] ** -0.5).exp()
    shares = powers / powers.sum((3, 4), keepdim=True)
    return torch.einsum("bnlhw,blhwd->bnhwd", shares, v.double())


def _unscaled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bnhwd,blhwd,blhwe->bnhwe", q, k, v) * q.shape[4] ** -0.5


SHAPES = {
    "The places come before the frames in your result: bring time back to dim 1.": (2, 2, 3, 4, 5),
    "The map is still in one piece of h * w places: bring h and w back.": (2, 4, 6, 5),
    "The places are still beside the batch: bring them back behind the frames.": (12, 4, 5),
}
MISTAKES: dict[str, Callable[..., Tensor]] = {
    "You asked all places of all frames: each place asks the same place alone, over time.": (
        _ask_everywhere
    ),
    "You asked the places of one frame: time is the axis to look along, at the same place.": (
        _ask_places
    ),
    "You reshaped without `permute`: frames and places are mixed. Bring h and w beside the batch "
    "first.": _unpermuted,
    "All places share one score: keep h and w in the scores.": _with_one_opinion,
    "The division by sqrt(d) is missing.": lambda q, k, v: _ask(q, k, v, 1.0),
    "You divided by d: divide by its square root.": lambda q, k, v: _ask(q, k, v, 1 / q.shape[4]),
    "You divided by the root of the number of frames: d is the length of each vector.": (
        lambda q, k, v: _ask(q, k, v, k.shape[1] ** -0.5)
    ),
    "Your softmax runs over the queries: each query shares its 1 among the L frames.": (
        lambda q, k, v: _ask(q, k, v, axis=-2)
    ),
    "Your softmax runs over the places: each query shares its 1 among the L frames.": (
        _across_places
    ),
    "You applied a causal mask: all of the context is past, every question may ask all of it.": (
        _causally
    ),
    "You left out the softmax.": _unscaled,
    "You mixed the keys: the weights belong to the values.": lambda q, k, v: _ask(q, k, k),
    "Keys and values are swapped: the scores are made with the keys.": (
        lambda q, k, v: _ask(q, v, k)
    ),
    "The mean of all memories: your weights are all equal, and the questions go unheard.": (
        lambda q, k, v: v.double().mean(1, keepdim=True).expand(q.shape)
    ),
}
