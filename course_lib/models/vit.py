"""ViT: a transformer over the patches of a clean picture that answers with scores of classes.

Source: Dosovitskiy et al. 2021 (arXiv 2010.11929), section 3.1, with a linear head as in its
fine-tuning. It stands here to be compared with DiT. Departure: GELU in its tanh form, as in `dit`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Frames
from course_lib.models.dit import DiTConfig, patchify
from course_lib.models.dit_variants import PlainBlock


class ViT(nn.Module):
    """Picture to one score for each of the config's classes; its out_channels mean nothing here.

    Raises:
        ValueError: The config has no classes.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        if config.num_classes < 1:
            raise ValueError(f"num_classes is {config.num_classes}; permitted: 1 and more")
        self.config = config
        self.embed_patches = nn.Linear(config.patch_size**2 * config.in_channels, config.dim)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.positions = nn.Parameter(0.02 * torch.randn(config.num_tokens + 1, config.dim))
        self.blocks = nn.ModuleList(PlainBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.head = nn.Linear(config.dim, config.num_classes)

    def forward(self, x: Frames) -> Float[Tensor, "B K"]:
        """The scores; the class token alone is asked."""
        return self.head(self.transform(self.embed(x))[:, 0])

    def embed(self, x: Frames) -> Float[Tensor, "B N1 D"]:
        """The class token, then a token for each patch, each with its learned position."""
        patches = self.embed_patches(patchify(x, self.config.patch_size))  # (B, N, D)
        first = self.class_token.expand(len(x), -1, -1)
        return torch.cat([first, patches], 1) + self.positions

    def transform(self, tokens: Float[Tensor, "B N1 D"]) -> Float[Tensor, "B N1 D"]:
        """The tokens after all blocks and a last norm."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)
