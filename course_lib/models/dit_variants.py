"""DiT's published sizes, and four ways of telling it time and class.

Source: Peebles & Xie 2022 (arXiv 2212.09748), section 3.2 and tables 1 and 4. Only adaLN-Zero is in
the official code; the other three are rebuilt from the text, so that parameters and costs meet
table 4. Departure: the paper does not say how the others begin; here the last layer, and so the
first answer, is 0 in all four, and adaLN's modulation starts like any other linear layer.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.models.dit import (
    MLP,
    DiT,
    DiTConfig,
    SelfAttention,
    modulate,
    plain_norm,
)

CONDITIONINGS = ("adaLN-Zero", "adaLN", "cross-attention", "in-context")

SIZES = {  # (dim, depth, num_heads)
    "S": (384, 12, 6),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "XL": (1152, 28, 16),
}
PATCH_SIZES = (8, 4, 2)


@dataclass(frozen=True)
class ConditionedDiTConfig(DiTConfig):
    """A `DiTConfig` that also says how time and class reach the blocks."""

    conditioning: str = "adaLN-Zero"  # one of CONDITIONINGS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conditioning not in CONDITIONINGS:
            raise ValueError(
                f"conditioning is {self.conditioning!r}; permitted: {', '.join(CONDITIONINGS)}"
            )


def published(
    size: str,
    patch_size: int,
    *,
    pixels: int = 256,
    conditioning: str = "adaLN-Zero",
) -> ConditionedDiTConfig:
    """The paper's DiT-`size`/`patch_size` for ImageNet, on latents 8 times smaller than the image.

    Its output is twice as wide as its input: noise, and the logits of the variance.

    Raises:
        ValueError: There is no such size, or the patches do not fill the latent.
    """
    if size not in SIZES:
        raise ValueError(f"size is {size!r}; permitted: {', '.join(SIZES)}")
    dim, depth, num_heads = SIZES[size]
    return ConditionedDiTConfig(
        size=pixels // 8,
        in_channels=4,
        out_channels=8,
        patch_size=patch_size,
        dim=dim,
        depth=depth,
        num_heads=num_heads,
        num_classes=1000,
        conditioning=conditioning,
    )


def num_parameters(model: DiT) -> int:
    """As the paper counts: with the fixed table of positions."""
    return sum(weight.numel() for weight in model.parameters()) + model.positions.numel()


class AdaLNBlock(nn.Module):
    """Adaptive layer norm without gates: the condition shifts and scales, nothing starts at 0."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        dim = config.dim
        self.norm1, self.norm2 = plain_norm(dim), plain_norm(dim)
        self.attention = SelfAttention(dim, config.num_heads)
        self.mlp = MLP(dim, config.mlp_ratio * dim)
        self.modulation = nn.Linear(dim, 4 * dim)

    def forward(
        self, x: Float[Tensor, "B N D"], condition: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B N D"]:
        """The tokens after attention and MLP."""
        shift1, scale1, shift2, scale2 = self.modulation(F.silu(condition)).chunk(4, -1)
        x = x + self.attention(modulate(self.norm1(x), shift1, scale1))
        return x + self.mlp(modulate(self.norm2(x), shift2, scale2))


class PlainBlock(nn.Module):
    """A block of the vision transformer: what it is told stands among its tokens."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        dim = config.dim
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attention = SelfAttention(dim, config.num_heads)
        self.mlp = MLP(dim, config.mlp_ratio * dim)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """The tokens after attention and MLP."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class CrossAttention(nn.Module):
    """Every token looks at every vector of a sequence."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.queries, self.keys_values = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "B N D"], sequence: Float[Tensor, "B K D"]
    ) -> Float[Tensor, "B N D"]:
        """What each token gets."""
        queries = rearrange(self.queries(x), "b n (a d) -> b a n d", a=self.num_heads)
        keys, values = rearrange(
            self.keys_values(sequence), "b k (two a d) -> two b a k d", two=2, a=self.num_heads
        )
        weights = (queries @ keys.mT * queries.shape[-1] ** -0.5).softmax(-1)  # (B, A, N, K)
        return self.out(rearrange(weights @ values, "b a n d -> b n (a d)"))


class CrossAttentionBlock(nn.Module):
    """Between attention and MLP the tokens look at the sequence of time and class."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        dim = config.dim
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim, eps=1e-6) for _ in range(3))
        self.attention = SelfAttention(dim, config.num_heads)
        self.cross_attention = CrossAttention(dim, config.num_heads)
        self.mlp = MLP(dim, config.mlp_ratio * dim)

    def forward(
        self, x: Float[Tensor, "B N D"], sequence: Float[Tensor, "B K D"]
    ) -> Float[Tensor, "B N D"]:
        """The tokens after both attentions and the MLP."""
        x = x + self.attention(self.norm1(x))
        x = x + self.cross_attention(self.norm2(x), sequence)
        return x + self.mlp(self.norm3(x))


class PlainFinalLayer(nn.Module):
    """From tokens to patches; the condition has no say."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.to_patches = nn.Linear(config.dim, config.patch_size**2 * config.out_channels)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N P"]:
        """The numbers of each patch."""
        return self.to_patches(self.norm(x))


BLOCKS = {  # adaLN-Zero's are those of `DiT`
    "adaLN": AdaLNBlock,
    "cross-attention": CrossAttentionBlock,
    "in-context": PlainBlock,
}


class ConditionedDiT(DiT):
    """A `DiT` told time and class in one of four ways; with adaLN-Zero it is `DiT` itself."""

    def __init__(self, config: ConditionedDiTConfig) -> None:
        super().__init__(config)
        self.conditioning = config.conditioning
        if self.conditioning == "adaLN-Zero":
            return
        block = BLOCKS[self.conditioning]
        self.blocks = nn.ModuleList(block(config) for _ in range(config.depth))
        if self.conditioning != "adaLN":
            self.final = PlainFinalLayer(config)
        self._initialise()

    def transform(
        self, tokens: Float[Tensor, "B N D"], conditions: list[Float[Tensor, "B D"]]
    ) -> Float[Tensor, "B N P"]:
        """From tokens to the numbers of each patch.

        AdaLN can use one vector, the sum of the conditions; the other two take any sequence.
        """
        if self.conditioning in ("adaLN-Zero", "adaLN"):
            return super().transform(tokens, conditions)
        num_tokens, sequence = tokens.shape[1], torch.stack(conditions, 1)  # (B, K, D)
        if self.conditioning == "cross-attention":
            for block in self.blocks:
                tokens = block(tokens, sequence)
            return self.final(tokens)
        tokens = torch.cat([tokens, sequence], 1)  # (B, N + K, D)
        for block in self.blocks:
            tokens = block(tokens)
        return self.final(tokens[:, :num_tokens])
