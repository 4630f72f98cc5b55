"""Chapter 4: what a look at old tokens and a new one gives, and what mistakes make of it.

Every function takes the new token's query, key and value (B, 1, d), and the keys and values of the
old tokens (B, M, d).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def weigh(query: Tensor, keys: Tensor, values: Tensor, scale: float, axis: int = 2) -> Tensor:
    """Shares of exponentials; in 64 bits, whose exponentials do not overflow here."""
    powers = (torch.einsum("bnd,bmd->bnm", query.double(), keys.double()) * scale).exp()
    shares = powers / powers.sum(axis, keepdim=True)
    return torch.einsum("bnm,bmd->bnd", shares, values.double())


def output(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, scale: float | None = None
) -> Tensor:
    """What the new token gets."""
    scale = 1 / math.sqrt(q.shape[2]) if scale is None else scale
    return weigh(q, torch.cat([k, keys], 1), torch.cat([v, values], 1), scale)  # in any order


def longer(_q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Keys and values (2, B, M + 1, d) afterwards."""
    batch, old, dim = keys.shape
    both = torch.empty(2, batch, old + 1, dim)
    both[0, :, :old], both[1, :, :old] = keys, values
    both[0, :, old], both[1, :, old] = k[:, 0], v[:, 0]
    return both


def causal(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What each token (B, T, d) gets of those before it and itself."""
    scores = (queries.double() @ keys.double().mT) / math.sqrt(queries.shape[2])
    powers = scores.exp().tril()
    return powers / powers.sum(2, keepdim=True) @ values.double()


def _turned(axis: int) -> Callable[..., Tensor]:
    def mistake(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        new = longer(q, k, v, keys, values)
        return weigh(q, new[0], new[1], q.shape[2] ** -0.5, axis)

    return mistake


def _rooted(x: Tensor) -> float:
    return x.shape[2] ** -0.5


LOOK_MISTAKES: dict[str, Callable[..., Tensor]] = {
    "The new token is left out of its own look: append its key and value first, then look.": (
        lambda q, k, v, keys, values: weigh(q, keys, values, _rooted(q))
    ),
    "The new token sees itself alone: the old ones are in the cache.": (
        lambda q, k, v, keys, values: v
    ),
    "The division by sqrt(d) is missing.": lambda *inputs: output(*inputs, scale=1.0),
    "You divided by d: divide by its square root.": (
        lambda q, *others: output(q, *others, scale=1 / q.shape[2])
    ),
    "You divided by the root of the number of keys: d is the length of each vector.": (
        lambda q, k, v, keys, values: output(
            q, k, v, keys, values, scale=(keys.shape[1] + 1) ** -0.5
        )
    ),
    "Your softmax runs over the queries, of which there is one: every weight becomes 1. It runs "
    "over the keys.": _turned(1),
    "Your softmax runs over the batch: it runs over the keys.": _turned(0),
    "Keys and values are swapped: the scores are made with the keys.": (
        lambda q, k, v, keys, values: output(q, v, k, values, keys)
    ),
    "You mixed the keys: the weights belong to the values.": (
        lambda q, k, v, keys, values: output(q, k, k, keys, keys)
    ),
    "You made scores between the new key and the old ones: the query asks.": (
        lambda q, k, v, keys, values: output(k, k, v, keys, values)
    ),
    "You left out the softmax.": lambda q, k, v, keys, values: (
        _rooted(q) * (q @ k.mT @ v + q @ keys.mT @ values)
    ),
    "Two tokens were appended in place of one, or one was appended twice.": (
        lambda q, k, v, keys, values: output(
            q, k, v, torch.cat([keys, k], 1), torch.cat([values, v], 1)
        )
    ),
}
CACHE_MISTAKES: dict[str, Callable[..., Tensor]] = {
    "The new token is missing from the cache: return what you appended to, not the old pair.": (
        lambda q, k, v, keys, values: torch.stack([keys, values])
    ),
    "The old tokens are missing from the cache: it grows by one at every call.": (
        lambda q, k, v, keys, values: torch.stack([k, v])
    ),
    "You put the new token before the old ones: it comes last.": (
        lambda *inputs: longer(*inputs).roll(1, 2)
    ),
    "Keys and values are swapped: the keys come first.": lambda *inputs: longer(*inputs).flip(0),
    "You kept the query: keep the key.": (
        lambda q, k, v, keys, values: longer(q, q, v, keys, values)
    ),
    "You kept the output: keep the value.": (
        lambda q, k, v, keys, values: longer(
            q, k, output(q, k, v, keys, values).float(), keys, values
        )
    ),
    "You appended it twice: once is enough.": lambda q, k, v, keys, values: torch.stack(
        [torch.cat([keys, k, k], 1), torch.cat([values, v, v], 1)]
    ),
    "You dropped the oldest token: nothing is dropped here.": (
        lambda *inputs: longer(*inputs)[:, :, 1:]
    ),
}
