"""A DiT that denoises the latents of a whole future and reads those of the past in context.

Source: Peebles & Xie 2022 (arXiv 2212.09748, DiT): adaLN-Zero for the time, in-context tokens for
what has a place. Departures: the in-context tokens are not time and class but the context frames,
one token for each patch of places; all frames of the future share the patch's token, on channels,
because on two cores the number of tokens decides. The answer is added to a fixed mean.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from course_lib.models.dit import DiT, DiTConfig, patchify, unpatchify


@dataclass(frozen=True)
class LatentDiTConfig:
    """The size of a `LatentDiT`."""

    context: int = 3  # frames
    horizon: int = 9  # frames, all denoised at once
    channels: int = 4  # of a frame's latent
    size: int = 8  # places along an edge of a frame's latent
    patch_size: int = 2  # places along an edge of a token
    dim: int = 192
    depth: int = 6  # blocks
    num_heads: int = 6
    quick_start: bool = False  # as in `DiTConfig`

    @property
    def dit(self) -> DiTConfig:
        """Of the network that transforms the tokens; it refuses sizes that do not fit."""
        channels = self.horizon * self.channels
        return DiTConfig(
            size=self.size,
            in_channels=channels,
            out_channels=channels,
            patch_size=self.patch_size,
            dim=self.dim,
            depth=self.depth,
            num_heads=self.num_heads,
            quick_start=self.quick_start,
        )

    def __post_init__(self) -> None:
        for name in ("context", "horizon", "channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; permitted: 1 and more")


class LatentDiT(nn.Module):
    """Noisy latents of the future, time and clean latents of the context to an answer."""

    mean: Tensor  # (horizon, channels, size, size)

    def __init__(
        self, config: LatentDiTConfig, mean: Float[Tensor, "H C S S"] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.dit = DiT(config.dit)
        seen = config.patch_size**2 * config.context * config.channels
        self.embed_context = nn.Linear(seen, config.dim)
        nn.init.xavier_uniform_(self.embed_context.weight)
        # Not 0: the token of a past place must differ from that of its future.
        nn.init.normal_(self.embed_context.bias, std=0.02)
        start = torch.zeros(config.horizon, config.channels, config.size, config.size)
        self.register_buffer("mean", (start if mean is None else mean).clone())

    def forward(
        self,
        x_t: Float[Tensor, "B H C S S"],
        t: Int64[Tensor, "B"],
        context: Float[Tensor, "B T C S S"],
    ) -> Float[Tensor, "B H C S S"]:
        """Before training it answers `mean`, that of all training clips.

        Raises:
            ValueError: Context or future are not the config's.
        """
        c = self.config
        if tuple(context.shape[1:3]) != (c.context, c.channels) or x_t.shape[1] != c.horizon:
            raise ValueError(
                f"context is {tuple(context.shape)} and future {tuple(x_t.shape)}; permitted: "
                f"{c.context} and {c.horizon} frames of {c.channels} channels"
            )
        future, conditions = self.dit.embed(x_t.flatten(1, 2), t, None)  # (B, N, D)
        past = self.embed_context(patchify(context.flatten(1, 2), c.patch_size))
        tokens = torch.cat([future, past + self.dit.positions], 1)  # (B, 2 N, D)
        patches = self.dit.transform(tokens, conditions)[:, : future.shape[1]]
        answer = unpatchify(patches, c.patch_size).unflatten(1, (c.horizon, c.channels))
        return self.mean + answer
