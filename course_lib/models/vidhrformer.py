"""VidHRFormer: the blocks that VPTR is made of, each a different answer to "who may look at whom".

Source: Ye & Bilodeau 2022 (arXiv 2203.15836 and 2212.06026), section 3.3, and their code; the
spatial half is HRFormer's (Yuan et al. 2021, arXiv 2110.09408). Joint attention among T h w tokens
costs (T h w)^2; a block takes it apart:

    x = x + attention among the K x K places of a window, frame by frame
    x = x + convolutional feed-forward, frame by frame: here alone windows hear of each other
    x = x + attention along time, place by place
    x = x + feed-forward, token by token

The norm inside the feed-forward's convolutions decides more than speed. BatchNorm shares its
statistics among all frames and clips of a batch: in training a frame learns of its future. "layer"
normalises each place by itself. "frame", the code's LayerNorm over (channels, h, w), is causal too,
but all places of a frame share its statistics, so windows hear of each other through it at once.

Departures. "layer" is ours. Windows must fill the map; the code pads it. Weights begin by Xavier's
rule, as in the code, whose loop also redraws the norms of "frame" because they are no vectors: ours
begin at 1 and 0.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.nn.attention import (
    KeyValues,
    Mask,
    MultiHeadAttention,
    sincos_2d,
    window_merge,
    window_partition,
)

Tokens = Float[Tensor, "B T h w D"]
NORMS = ("layer", "frame", "batch")


@dataclass(frozen=True)
class VidHRFormerConfig:
    """The size of a block, the same for all blocks of a network."""

    dim: int = 96  # of a token
    map_size: int = 8  # places along an edge of the features
    window_size: int = 4  # places along an edge of a window
    num_heads: int = 4
    mlp_ratio: int = 4
    norm: str = "layer"  # of the convolutions: "layer", "frame" or "batch"
    relative_bias: bool = False  # in windows, in place of sines and cosines
    dropout: float = 0.0  # of weights, hidden values, branches; the paper's is .1

    def __post_init__(self) -> None:
        size, heads = self.window_size, self.num_heads
        if min(self.dim, heads) < 1 or self.dim % 4 or self.dim % heads:
            raise ValueError(f"dim is {self.dim}; permitted: a multiple of 4 and of {heads} heads")
        if size < 1 or self.map_size % size:
            raise ValueError(f"window_size is {size}; permitted: a divisor of {self.map_size}")
        if self.norm not in NORMS:
            raise ValueError(f"norm is {self.norm!r}; permitted: {', '.join(map(repr, NORMS))}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; permitted: 0 and more, below 1")


@dataclass(frozen=True, eq=False)
class Masks:
    """Who may look at whom, where it is not as the paper has it; True: may look."""

    spatial: Mask = None  # K*K x K*K, the same in every window
    temporal: Mask = None  # frames x frames, among those of one stack
    memory: Mask = None  # predicted frames x context frames


AS_PUBLISHED = Masks()


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each place of (B, D, h, w)."""

    def forward(self, input: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D h w"]:
        """The norm."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class DropPath(nn.Module):
    """In training, leaves out a whole branch for some clips of the batch."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(self, branch: Tokens) -> Tokens:
        """The branch, or nothing; scaled so that its mean stays."""
        kept = branch.new_ones(len(branch), 1, 1, 1, 1)
        return branch * F.dropout(kept, self.dropout, self.training)


class WindowAttention(nn.Module):
    """Local spatial attention: every place looks at the places of its own window."""

    code: Tensor  # (K*K, D)

    def __init__(self, config: VidHRFormerConfig) -> None:
        super().__init__()
        self.window_size = size = config.window_size
        relative = size if config.relative_bias else None
        self.attention = MultiHeadAttention(
            config.dim, config.num_heads, dropout=config.dropout, window_size=relative
        )
        code = sincos_2d(size, size, config.dim).flatten(0, 1)
        self.register_buffer("code", 0 * code if relative else code, persistent=False)

    def forward(self, x: Tokens, queries: Tokens | None = None, *, mask: Mask = None) -> Tokens:
        """What each place gets; `queries` are added to whoever asks or is asked, not to values."""
        tokens = self._windows(x)  # (B*T*W, K*K, D)
        asking = tokens + self.code
        if queries is not None:
            asking = asking + self._windows(queries)
        got = self.attention(asking, self.attention.remember(asking, tokens), mask=mask)
        batch, frames, height, width, _ = x.shape
        return window_merge(got.unflatten(0, (batch, frames, -1)), height, width)

    def _windows(self, x: Tokens) -> Float[Tensor, "BTW N D"]:
        return window_partition(x, self.window_size).flatten(0, 2)


class TimeAttention(nn.Module):
    """Every place looks along time, at the same place of other frames."""

    def __init__(self, config: VidHRFormerConfig) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(config.dim, config.num_heads, dropout=config.dropout)

    def remember(self, x: Tokens, code: Float[Tensor, "T D"]) -> KeyValues:
        """What these frames offer; `code` says when they are, to keys alone."""
        tokens = rearrange(x, "b t h w d -> (b h w) t d")
        return self.attention.remember(tokens + code, tokens)

    def forward(
        self, x: Tokens, code: Float[Tensor, "T D"], memory: KeyValues, *, mask: Mask = None
    ) -> Tokens:
        """What each place of these frames gets."""
        _, _, height, width, _ = x.shape
        got = self.attention(rearrange(x, "b t h w d -> (b h w) t d") + code, memory, mask=mask)
        return rearrange(got, "(b h w) t d -> b t h w d", h=height, w=width)


class ConvFFN(nn.Module):
    """Feed-forward with a depthwise 3 x 3 convolution, which reaches into the next window."""

    def __init__(self, config: VidHRFormerConfig) -> None:
        super().__init__()
        hidden = config.mlp_ratio * config.dim
        dropout = nn.Dropout(config.dropout)
        self.layers = nn.Sequential(
            nn.Conv2d(config.dim, hidden, 1),
            _norm(config, hidden),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            _norm(config, hidden),
            nn.GELU(),
            dropout,
            nn.Conv2d(hidden, config.dim, 1),
            _norm(config, config.dim),
            nn.GELU(),  # after the last layer too, as in HRFormer
            dropout,
        )

    def forward(self, x: Tokens) -> Tokens:
        """Every frame for itself, unless the norm is BatchNorm."""
        maps = self.layers(x.flatten(0, 1).movedim(-1, 1))  # (B*T, D, h, w)
        return maps.movedim(1, -1).unflatten(0, x.shape[:2])


def _norm(config: VidHRFormerConfig, channels: int) -> nn.Module:
    if config.norm == "batch":
        return nn.BatchNorm2d(channels)
    if config.norm == "frame":
        return nn.LayerNorm([channels, config.map_size, config.map_size])
    return ChannelNorm(channels)


class VidHRFormerBlock(nn.Module):
    """The four sub-layers, each after a norm and beside a residual path."""

    def __init__(self, config: VidHRFormerConfig) -> None:
        super().__init__()
        dim, hidden = config.dim, config.mlp_ratio * config.dim
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(4))
        self.space, self.convolution = WindowAttention(config), ConvFFN(config)
        self.time = TimeAttention(config)
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(hidden, dim)
        )
        self.drop_path, self.dropout = DropPath(config.dropout), nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tokens,
        code: Float[Tensor, "T D"],
        *,
        queries: Tokens | None = None,
        past: KeyValues | None = None,
        masks: Masks = AS_PUBLISHED,
    ) -> tuple[Tokens, KeyValues]:
        """These frames after the block, and what they and the `past` offer to later frames."""
        space, convolution, time, mlp = self.norms
        x = x + self.drop_path(self.space(space(x), queries, mask=masks.spatial))
        x = x + self.drop_path(self.convolution(convolution(x)))
        h = time(x)  # (B, T, h, w, D)
        seen = self.time.remember(h, code)
        seen = seen if past is None else past.followed_by(seen)
        x = x + self.dropout(self.time(h, code, seen, mask=masks.temporal))
        return x + self.dropout(self.mlp(mlp(x))), seen


class DecoderBlock(nn.Module):
    """A block among the predicted frames, a look at the context's, a second feed-forward."""

    def __init__(self, config: VidHRFormerConfig) -> None:
        super().__init__()
        self.own = VidHRFormerBlock(config)
        self.norms = nn.ModuleList(nn.LayerNorm(config.dim) for _ in range(2))
        self.witness, self.convolution = TimeAttention(config), ConvFFN(config)
        self.drop_path = DropPath(config.dropout)

    def forward(
        self,
        x: Tokens,
        code: Float[Tensor, "T D"],
        memory: KeyValues,
        *,
        queries: Tokens | None = None,
        past: KeyValues | None = None,
        masks: Masks = AS_PUBLISHED,
    ) -> tuple[Tokens, KeyValues]:
        """As a `VidHRFormerBlock`; `memory` is what `witness` remembers of the context."""
        x, seen = self.own(x, code, queries=queries, past=past, masks=masks)
        witness, convolution = self.norms
        asking = witness(x) if queries is None else witness(x) + queries
        x = x + self.drop_path(self.witness(asking, code, memory, mask=masks.memory))
        return x + self.drop_path(self.convolution(convolution(x))), seen


def initialise(module: nn.Module) -> None:
    """Xavier's rule for the weights of every linear layer and convolution."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
