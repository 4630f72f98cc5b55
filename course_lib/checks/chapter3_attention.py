"""Chapter 3: the checker of attention."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks.properties import (
    Draw,
    agrees,
    fresh_generator,
    passes_gradients,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Verdict, examine

LOOKS = ("q", "k", "v", "mask")


def attention(function) -> Verdict:
    """Check `function(q, k, v, mask)`: softmax(q k^T / sqrt(d)) v, float (B, N, E).

    `q` is (B, N, d), `k` (B, M, d), `v` (B, M, E), `mask` bool (N, M): True means may look. A query
    that may look nowhere gets zeros.
    """
    large = _draw_looks(2, 5, 4)
    return examine(
        "attention",
        function,
        lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, mask),
        {
            "returns one vector for every query": returns(
                large, (2, 5, 2), LOOKS, "(B, N, M) weights times (B, M, E) values: (B, N, E)."
            ),
            "gives what the definition says": agrees(
                _attention,
                [_draw_looks(1, 2, 2), large],
                LOOKS,
                MISTAKES,
                "Scores q k^T / sqrt(d); -inf where the mask is False; softmax over the keys; "
                "times v.",
            ),
            "gives zeros to a query that may look nowhere": agrees(
                _attention,
                [_draw_blindfold],
                LOOKS,
                BLINDFOLD_MISTAKES,
                "The softmax of a row of -inf is 0 / 0, nan: set the weights to 0 where the mask "
                "is False, after the softmax as well.",
            ),
            "is exact where the scores are large": agrees(
                _attention,
                [_draw_large_scores],
                LOOKS,
                {},
                "exp(100) is inf in 32 bits. `softmax` subtracts the row's largest score first.",
            ),
            "lets gradients through to queries, keys and values": passes_gradients(
                _attention, large, LOOKS, ("q", "k", "v")
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, LOOKS),
        },
    )


def _draw_looks(batch: int, num_queries: int, num_keys: int) -> Draw:
    """With d = 3 and E = 2. Every query may look somewhere and not everywhere; so for every key."""

    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        q, k = (
            1.5 * torch.randn(batch, n, 3, generator=generator) for n in (num_queries, num_keys)
        )
        v = torch.randn(batch, num_keys, 2, generator=generator)
        mask = torch.rand(num_queries, num_keys, generator=generator) < 0.5
        query = torch.arange(num_queries)
        mask[query, query % num_keys] = True
        mask[query, (query + 1) % num_keys] = False
        return q, k, v, mask

    return draw


def _draw_blindfold() -> tuple[Tensor, ...]:
    q, k, v, mask = _draw_looks(2, 5, 4)()
    mask[1] = False
    return q, k, v, mask


def _draw_large_scores() -> tuple[Tensor, ...]:
    """Every score is between 100 and 300: beyond what exp can bear in 32 bits, but not in 64."""
    q, k, v, mask = _draw_looks(2, 5, 4)()
    lengths = 100 + 200 * torch.rand(2, 4, 1, generator=fresh_generator())
    return torch.ones_like(q), torch.ones_like(k) * lengths / math.sqrt(3), v, mask


def _scores(q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("bnd,bmd->bnm", q.double(), k.double())


def _shares(scores: Tensor, mask: Tensor, axis: int = 2) -> Tensor:
    """The weights by their definition: exponentials of what is allowed, each over their sum."""
    powers = scores.exp() * mask
    total = powers.sum(axis, keepdim=True)
    return powers / total.where(total > 0, 1)


def _mix(weights: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bnm,bme->bne", weights, v.double())


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return _mix(_shares(_scores(q, k) / math.sqrt(q.shape[2]), mask), v)


def _scaled(q: Tensor, k: Tensor) -> Tensor:
    return _scores(q, k) / math.sqrt(q.shape[2])


def _everywhere(mask: Tensor) -> Tensor:
    return torch.ones_like(mask)


MISTAKES = {
    "The division by sqrt(d) is missing: without it long vectors make the softmax a hard choice.": (
        lambda q, k, v, mask: _mix(_shares(_scores(q, k), mask), v)
    ),
    "You divided by d: divide by its square root.": (
        lambda q, k, v, mask: _mix(_shares(_scores(q, k) / q.shape[2], mask), v)
    ),
    "You divided by the root of the number of keys: d is the length of each vector.": (
        lambda q, k, v, mask: _mix(_shares(_scores(q, k) / math.sqrt(k.shape[1]), mask), v)
    ),
    "Your softmax runs over the queries: each query shares its 1 among the keys, the last axis.": (
        lambda q, k, v, mask: _mix(_shares(_scaled(q, k), mask, axis=1), v)
    ),
    "Your softmax runs over the batch: each query shares its 1 among the keys, the last axis.": (
        lambda q, k, v, mask: _mix(_shares(_scaled(q, k), mask, axis=0), v)
    ),
    "You masked after the softmax, so the weights no longer sum to 1: put -inf where the mask is "
    "False, before the softmax.": (
        lambda q, k, v, mask: _mix(_shares(_scaled(q, k), _everywhere(mask)) * mask, v)
    ),
    "You multiplied the scores by the mask: a score of 0 still gets a weight. -inf gets none.": (
        lambda q, k, v, mask: _mix(_shares(_scaled(q, k) * mask, _everywhere(mask)), v)
    ),
    "You added the mask to the scores: True is then a bonus of 1. Put -inf where it is False.": (
        lambda q, k, v, mask: _mix(_shares(_scaled(q, k) + mask.double(), _everywhere(mask)), v)
    ),
    "True and False are swapped: True means `may look`. `masked_fill` fills where it is True, so "
    "give it `~mask`.": lambda q, k, v, mask: _attention(q, k, v, ~mask),
    "You left out the mask.": lambda q, k, v, mask: _attention(q, k, v, _everywhere(mask)),
    "You left out the softmax.": lambda q, k, v, mask: _mix(_scaled(q, k) * mask, v),
    "Your weights are the shares of the scores themselves: take their exponentials first.": (
        lambda q, k, v, mask: _mix(
            _scaled(q, k) * mask / (_scaled(q, k) * mask).sum(2, keepdim=True), v
        )
    ),
}
BLINDFOLD_MISTAKES = {
    "A large negative number in place of -inf: where all scores are equally low, everybody gets "
    "the same weight. Set the weights to 0 where the mask is False, after the softmax as well.": (
        lambda q, k, v, mask: torch.where(
            mask.any(1)[:, None], _attention(q, k, v, mask), v.double().mean(1, keepdim=True)
        )
    ),
}
