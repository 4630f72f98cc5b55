"""DiT: a transformer over the patches of a noisy picture, told the time by adaptive layer norm.

Source: Peebles & Xie 2022 (arXiv 2212.09748), section 3 and the official code's layer tables. The
network's output is whatever its method makes of it; guidance and label dropout happen outside.
Departures: labels and time are optional parts of one condition; where there are no classes there is
no label table. `VideoDiT` sees the frames of the context beside the noisy future, on channels (as
MCVD does, Voleti et al. 2022, arXiv 2205.09853), and its answer is added to a fixed mean. With
`quick_start` time and class are coded by numbers around 1 instead of .02: official training is
hundreds of thousands of updates long, ours has thousands.
"""

import math
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from course_lib.interfaces import Frames

NUM_FREQUENCIES = 256  # numbers that code the time before the MLP


@dataclass(frozen=True)
class DiTConfig:
    """The size of a `DiT`; defaults are the course's, for two CPU cores."""

    size: int = 32  # pixels along an edge
    in_channels: int = 1
    out_channels: int = 1
    patch_size: int = 4
    dim: int = 128
    depth: int = 4  # blocks
    num_heads: int = 4
    mlp_ratio: int = 4
    num_classes: int = 0  # 0: no labels
    quick_start: bool = False  # time and class begin loud; see the module's departures

    def __post_init__(self) -> None:
        if self.patch_size < 1 or self.size % self.patch_size:
            raise ValueError(
                f"patch_size is {self.patch_size}; permitted: what divides {self.size}"
            )
        if self.num_heads < 1 or self.dim % self.num_heads or self.dim % 4:
            raise ValueError(
                f"dim is {self.dim} with {self.num_heads} heads; permitted: a multiple of 4 that "
                f"the heads divide"
            )
        for name in ("in_channels", "out_channels", "depth", "mlp_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; permitted: 1 and more")
        if self.num_classes < 0:
            raise ValueError(f"num_classes is {self.num_classes}; permitted: 0 and more")

    @property
    def num_tokens(self) -> int:
        """Patches of a picture."""
        return (self.size // self.patch_size) ** 2


def patchify(x: Frames, patch_size: int) -> Float[Tensor, "B N D"]:
    """Cut pictures into square patches, row by row; a patch's numbers are rows, columns, channels.

    Raises:
        ValueError: The patches do not fill the picture.
    """
    height, width = x.shape[-2:]
    if patch_size < 1 or height % patch_size or width % patch_size:
        raise ValueError(
            f"patch_size is {patch_size}; permitted: what divides {height} and {width}"
        )
    return rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=patch_size, q=patch_size)


def unpatchify(tokens: Float[Tensor, "B N D"], patch_size: int) -> Frames:
    """Put square pictures together again: the inverse of `patchify`.

    Raises:
        ValueError: The patches make no square picture.
    """
    side = math.isqrt(tokens.shape[1])
    if side**2 != tokens.shape[1] or tokens.shape[2] % patch_size**2:
        raise ValueError(
            f"{tokens.shape[1]} tokens of {tokens.shape[2]} numbers; permitted: a square number of "
            f"tokens, each a multiple of {patch_size**2} numbers"
        )
    return rearrange(
        tokens, "b (h w) (p q c) -> b c (h p) (w q)", h=side, p=patch_size, q=patch_size
    )


def modulate(
    x: Float[Tensor, "B N D"], shift: Float[Tensor, "B D"], scale: Float[Tensor, "B D"]
) -> Float[Tensor, "B N D"]:
    """One shift and one scale for all tokens of an example."""
    return x * (1 + scale[:, None]) + shift[:, None]


def position_table(side: int, dim: int) -> Float[Tensor, "N D"]:
    """The fixed code of each patch: its column in the first half, its row in the second.

    Positions count from 0; each half holds all sines, then all cosines.
    """
    frequencies = 10000 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies  # (side, D / 4)
    line = torch.cat([angles.sin(), angles.cos()], 1)  # (side, D / 2)
    columns = line[None].expand(side, -1, -1)
    rows = line[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], -1).flatten(0, 1).float()


def code_of_time(t: Int64[Tensor, "B"], dim: int = NUM_FREQUENCIES) -> Float[Tensor, "B {dim}"]:
    """Cosines, then sines, of t at ever lower frequencies."""
    half = dim // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=t.device) / half)
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


class TimeEmbedding(nn.Module):
    """From a step's number to a vector."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(NUM_FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Int64[Tensor, "B"]) -> Float[Tensor, "B D"]:
        """The vector of each example's time."""
        return self.mlp(code_of_time(t))


class SelfAttention(nn.Module):
    """Every token looks at every token.

    Written out in matrix products: on a CPU, bfloat16 makes these faster, the fused one slower.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """What each token gets."""
        queries, keys, values = rearrange(
            self.qkv(x), "b n (three a d) -> three b a n d", three=3, a=self.num_heads
        )
        weights = (queries @ keys.mT * queries.shape[-1] ** -0.5).softmax(-1)  # (B, A, N, N)
        return self.out(rearrange(weights @ values, "b a n d -> b n (a d)"))


class MLP(nn.Sequential):
    """Two linear layers with a GELU between, its tanh form."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(nn.Linear(dim, hidden), nn.GELU("tanh"), nn.Linear(hidden, dim))


def plain_norm(dim: int) -> nn.LayerNorm:
    """LayerNorm whose shift and scale come from elsewhere."""
    return nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)


class AdaLNZeroBlock(nn.Module):
    """A transformer block that begins as the identity: its gates start at 0."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        dim = config.dim
        self.norm1, self.norm2 = plain_norm(dim), plain_norm(dim)
        self.attention = SelfAttention(dim, config.num_heads)
        self.mlp = MLP(dim, config.mlp_ratio * dim)
        self.modulation = nn.Linear(dim, 6 * dim)

    def forward(
        self, x: Float[Tensor, "B N D"], condition: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B N D"]:
        """The tokens after attention and MLP."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(condition)).chunk(
            6, -1
        )
        x = x + gate1[:, None] * self.attention(modulate(self.norm1(x), shift1, scale1))
        return x + gate2[:, None] * self.mlp(modulate(self.norm2(x), shift2, scale2))


class FinalLayer(nn.Module):
    """From tokens to patches."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.norm = plain_norm(config.dim)
        self.modulation = nn.Linear(config.dim, 2 * config.dim)
        self.to_patches = nn.Linear(config.dim, config.patch_size**2 * config.out_channels)

    def forward(
        self, x: Float[Tensor, "B N D"], condition: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B N P"]:
        """The numbers of each patch."""
        shift, scale = self.modulation(F.silu(condition)).chunk(2, -1)
        return self.to_patches(modulate(self.norm(x), shift, scale))


class DiT(nn.Module):
    """Noisy picture, time and class to an answer of its size; exactly 0 before training."""

    positions: Tensor

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        patch = config.patch_size**2 * config.in_channels
        self.embed_patches = nn.Linear(patch, config.dim)
        self.embed_time = TimeEmbedding(config.dim)
        # The last row stands for "no class", for guidance.
        rows = config.num_classes + 1
        self.embed_label = nn.Embedding(rows, config.dim) if config.num_classes else None
        self.blocks = nn.ModuleList(AdaLNZeroBlock(config) for _ in range(config.depth))
        self.final = FinalLayer(config)
        table = position_table(config.size // config.patch_size, config.dim)
        self.register_buffer("positions", table, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for name, weight in self.named_parameters():
            if name.startswith("embed_") and "patches" not in name and weight.ndim > 1:
                quick = 1.0 if "label" in name else math.sqrt(2 / weight.shape[1])
                nn.init.normal_(weight, std=quick if self.config.quick_start else 0.02)
        # Zero: every block is the identity, and the answer is 0.
        for module in self.modules():
            if isinstance(module, AdaLNZeroBlock | FinalLayer):
                nn.init.zeros_(module.modulation.weight)
        nn.init.zeros_(self.final.to_patches.weight)

    def forward(
        self,
        x: Frames,
        t: Int64[Tensor, "B"],
        label: Int64[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B K H W"]:
        """The answer for noisy pictures `x` at steps `t`; `label` num_classes is "no class".

        Raises:
            ValueError: The pictures are not the config's, or labels are missing or unexpected.
        """
        tokens, conditions = self.embed(x, t, label)
        return unpatchify(self.transform(tokens, conditions), self.config.patch_size)

    def embed(
        self, x: Frames, t: Int64[Tensor, "B"], label: Int64[Tensor, "B"] | None
    ) -> tuple[Float[Tensor, "B N D"], list[Float[Tensor, "B D"]]]:
        """The tokens of the pictures, and the vectors of time and, where there is one, class.

        Raises:
            ValueError: As `forward`.
        """
        c = self.config
        if tuple(x.shape[1:]) != (c.in_channels, c.size, c.size):
            raise ValueError(
                f"pictures are {tuple(x.shape[1:])}; permitted: {(c.in_channels, c.size, c.size)}"
            )
        if (label is None) != (self.embed_label is None):
            raise ValueError(
                f"label is {label}; permitted with {c.num_classes} classes: "
                f"{'one for each picture' if c.num_classes else None}"
            )
        tokens = self.embed_patches(patchify(x, c.patch_size)) + self.positions  # (B, N, D)
        conditions = [self.embed_time(t)]
        if self.embed_label is not None:
            conditions.append(self.embed_label(label))
        return tokens, conditions

    def transform(
        self, tokens: Float[Tensor, "B N D"], conditions: list[Float[Tensor, "B D"]]
    ) -> Float[Tensor, "B N P"]:
        """From tokens to the numbers of each patch; adaLN sees the sum of the conditions."""
        condition = reduce(torch.add, conditions)  # (B, D)
        for block in self.blocks:
            tokens = block(tokens, condition)
        return self.final(tokens, condition)


@dataclass(frozen=True)
class VideoDiTConfig:
    """The size of a `VideoDiT`."""

    context: int = 3  # frames
    horizon: int = 9  # frames, all denoised at once
    dit: DiTConfig = DiTConfig(in_channels=12, out_channels=9, dim=144, depth=5)

    def __post_init__(self) -> None:
        made = (self.dit.in_channels, self.dit.out_channels)
        wanted = (self.context + self.horizon, self.horizon)
        if made != wanted:
            raise ValueError(f"dit has {made} channels in and out; permitted: {wanted}")


class VideoDiT(nn.Module):
    """Noisy grey future, time and clean context to an answer for the future, frames on channels."""

    mean: Tensor  # (horizon, S, S)

    def __init__(self, config: VideoDiTConfig, mean: Float[Tensor, "H S S"] | None = None) -> None:
        super().__init__()
        self.config = config
        self.dit = DiT(config.dit)
        size = config.dit.size
        start = torch.zeros(config.horizon, size, size) if mean is None else mean
        self.register_buffer("mean", start.clone())

    def forward(
        self,
        x_t: Float[Tensor, "B H 1 S S"],
        t: Int64[Tensor, "B"],
        context: Float[Tensor, "B T 1 S S"],
    ) -> Float[Tensor, "B H 1 S S"]:
        """Before training it answers `mean`, that of all training clips.

        Raises:
            ValueError: Context or future are not the config's.
        """
        c = self.config
        if context.shape[1:3] != (c.context, 1) or x_t.shape[1:3] != (c.horizon, 1):
            raise ValueError(
                f"context is {tuple(context.shape)} and future {tuple(x_t.shape)}; permitted: "
                f"{c.context} and {c.horizon} frames of one channel"
            )
        seen = torch.cat([context, x_t], 1)[:, :, 0]  # (B, T, S, S)
        return (self.mean + self.dit(seen, t))[:, :, None]
