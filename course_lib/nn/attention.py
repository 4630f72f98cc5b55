"""Attention: who may look at whom, and how much each look counts.

Source: Vaswani et al. 2017 (arXiv 1706.03762), sections 3.2 and 3.5: scaled dot products, several
heads, sines and cosines of the position. Liu et al. 2021 (arXiv 2103.14030, Swin), section 3.2:
windows and the relative position bias. Departures: positions count from 1, as in VPTR's code
(arXiv 2203.15836), not from 0; a code is added to queries and keys only, which whoever calls does,
so that values carry what is there and not where it is.

A mask is boolean and True means "may look": SDPA's sense, the opposite of nn.MultiheadAttention's.
A query that may look nowhere gets zeros.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

Mask = Bool[Tensor, "_ _"] | None  # queries x keys; None: everybody may look everywhere


@dataclass(frozen=True, eq=False)
class KeyValues:
    """What M tokens offer to whoever looks, head by head; it can be kept and made longer."""

    keys: Float[Tensor, "*batch A M d"]
    values: Float[Tensor, "*batch A M d"]

    def __len__(self) -> int:
        return self.keys.shape[-2]

    def followed_by(self, newer: "KeyValues") -> "KeyValues":
        """These tokens, then the newer ones."""
        keys, values = [self.keys, newer.keys], [self.values, newer.values]
        return KeyValues(torch.cat(keys, -2), torch.cat(values, -2))


class RelativeBias(nn.Module):
    """A learned number for every offset inside a window, added to the scores of each head."""

    index: Tensor  # (K*K, K*K), the offset's row in the table

    def __init__(self, window_size: int, num_heads: int) -> None:
        super().__init__()
        places = torch.cartesian_prod(torch.arange(window_size), torch.arange(window_size))
        offsets = places[:, None] - places[None] + window_size - 1  # (K*K, K*K, 2), 0..2K-2
        reach = 2 * window_size - 1
        self.register_buffer("index", offsets[..., 0] * reach + offsets[..., 1], persistent=False)
        self.table = nn.Parameter(0.02 * torch.randn(reach**2, num_heads))

    def forward(self) -> Float[Tensor, "A N N"]:
        """The bias of each head, query and key."""
        return self.table[self.index].movedim(-1, 0)


class MultiHeadAttention(nn.Module):
    """`attention(query, attention.remember(key, value))`; with a window size, a relative bias."""

    def __init__(
        self, dim: int, num_heads: int, *, dropout: float = 0.0, window_size: int | None = None
    ) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f"num_heads is {num_heads}; permitted: a divisor of dim, {dim}")
        self.num_heads, self.dropout = num_heads, dropout
        self.to_queries, self.to_keys = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.to_values, self.to_output = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.bias = RelativeBias(window_size, num_heads) if window_size else None
        for layer in (self.to_queries, self.to_keys, self.to_values, self.to_output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def remember(
        self, key: Float[Tensor, "*batch M D"], value: Float[Tensor, "*batch M D"]
    ) -> KeyValues:
        """What these tokens offer; cost that need not be paid again when another query comes."""
        return KeyValues(self._split(self.to_keys(key)), self._split(self.to_values(value)))

    def forward(
        self, query: Float[Tensor, "*batch N D"], memory: KeyValues, *, mask: Mask = None
    ) -> Float[Tensor, "*batch N D"]:
        """What each query gets.

        Raises:
            ValueError: The mask is not of these queries and keys.
        """
        queries = self._split(self.to_queries(query))  # (*batch, A, N, d)
        _check_mask(mask, query.shape[-2], len(memory))
        added = mask  # to the scores: a boolean one is as good as -inf
        if self.bias is not None:
            added = self.bias() if mask is None else self.bias().masked_fill(~mask, -torch.inf)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(queries, memory.keys, memory.values, added, dropout)
        return self.to_output(mixed.transpose(-3, -2).flatten(-2))  # (*batch, N, D)

    def weights(
        self, query: Float[Tensor, "*batch N D"], memory: KeyValues, *, mask: Mask = None
    ) -> Float[Tensor, "*batch A N M"]:
        """How much each look counts, for pictures: rows sum to 1, or to 0 where all is forbidden.

        Raises:
            ValueError: The mask is not of these queries and keys.
        """
        queries = self._split(self.to_queries(query))
        _check_mask(mask, query.shape[-2], len(memory))
        scores = queries @ memory.keys.mT / math.sqrt(queries.shape[-1])  # section 3.2.1
        if self.bias is not None:
            scores = scores + self.bias()
        if mask is None:
            return scores.softmax(-1)
        return scores.masked_fill(~mask, -torch.inf).softmax(-1).masked_fill(~mask, 0.0)

    def _split(self, x: Float[Tensor, "*batch N D"]) -> Float[Tensor, "*batch A N d"]:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)


def _check_mask(mask: Mask, num_queries: int, num_keys: int) -> None:
    if mask is not None and mask.shape != (num_queries, num_keys):
        raise ValueError(
            f"the mask has shape {tuple(mask.shape)}; permitted: {(num_queries, num_keys)}"
        )


def causal_mask(length: int, *, device: torch.device | None = None) -> Bool[Tensor, "T T"]:
    """True where query i may look at key j: at itself and at what came before it, j <= i."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def window_partition(
    x: Float[Tensor, "*batch H W D"], window_size: int
) -> Float[Tensor, "*batch _ _ D"]:
    """The map's windows, row by row, each with its K * K tokens, row by row.

    Raises:
        ValueError: The windows do not fill the map.
    """
    height, width = x.shape[-3:-1]
    if window_size < 1 or height % window_size or width % window_size:
        raise ValueError(
            f"window_size is {window_size}; permitted: what divides {height} and {width}"
        )
    k = window_size
    return rearrange(x, "... (a k) (b l) d -> ... (a b) (k l) d", k=k, l=k)


def window_merge(
    windows: Float[Tensor, "*batch W N D"], height: int, width: int
) -> Float[Tensor, "*batch {height} {width} D"]:
    """The map that `window_partition` took apart.

    Raises:
        ValueError: These windows do not make such a map.
    """
    k = math.isqrt(windows.shape[-2])
    fits = k and k**2 == windows.shape[-2] and height % k == 0 and width % k == 0
    if not fits or windows.shape[-3] * k**2 != height * width:
        raise ValueError(
            f"{windows.shape[-3]} windows of {windows.shape[-2]} tokens; permitted: as many "
            f"square windows as fill {height} x {width}"
        )
    return rearrange(windows, "... (a b) (k l) d -> ... (a k) (b l) d", a=height // k, k=k)


def sincos_1d(length: int, dim: int) -> Float[Tensor, "{length} {dim}"]:
    """Codes of the positions 1..length: sines and cosines in turn, of ever longer waves.

    Raises:
        ValueError: dim is odd.
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim is {dim}; permitted: even, 2 and more")
    positions = torch.arange(1, length + 1)[:, None]
    angles = positions * 10000 ** (-torch.arange(0, dim, 2) / dim)  # section 3.5; (T, D / 2)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


def sincos_2d(height: int, width: int, dim: int) -> Float[Tensor, "{height} {width} {dim}"]:
    """Codes of the places of a map: the row's in the first half, the column's in the second.

    Raises:
        ValueError: dim is no multiple of 4.
    """
    if dim < 4 or dim % 4:
        raise ValueError(f"dim is {dim}; permitted: a multiple of 4")
    rows = sincos_1d(height, dim // 2)[:, None].expand(-1, width, -1)
    columns = sincos_1d(width, dim // 2)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], -1)


@contextmanager
def watch_attention(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """While the block runs, the weights of every attention of `model`: its name to its calls'."""
    seen: dict[str, list[Tensor]] = {}

    def note(name: str, attention: MultiHeadAttention, args: Any, kwargs: Any) -> None:
        seen.setdefault(name, []).append(attention.weights(*args, **kwargs).detach())

    hooks = [
        module.register_forward_pre_hook(partial(note, name), with_kwargs=True)
        for name, module in model.named_modules()
        if isinstance(module, MultiHeadAttention)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
