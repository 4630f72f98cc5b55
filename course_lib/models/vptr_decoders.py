"""NAR and PAR: VPTR's transformers with an encoder of the context and a decoder that asks it.

Source: Ye & Bilodeau 2022 (arXiv 2203.15836; journal 2212.06026, sections 3.4 and 3.5) and their
code, which has NAR alone. Attention from decoder to encoder is in time, at the same place.

Departures. PAR's mask is on the self-attention in time, as section 3.5 says (the caption of its
figure has it elsewhere), and a frame's code says when it is itself, not when the frame that it
predicts: both are our reading. NAR's context ends at position L however short it is. Frame queries
begin at N(0, .02); the code's loop redraws them by Xavier's rule, which makes them smaller still.
The option to ask the memories of a whole window and the contrastive loss's projector are left out.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.models.vidhrformer import (
    AS_PUBLISHED,
    DecoderBlock,
    Masks,
    Tokens,
    VidHRFormerBlock,
    initialise,
)
from course_lib.models.vptr import (
    DEFAULT,
    Features,
    Past,
    Rollout,
    VPTRConfig,
    VPTRState,
    add_causal,
    check_features,
    refuse_blocks,
    to_features,
    to_tokens,
)
from course_lib.nn.attention import sincos_1d

Predicted = Float[Tensor, "B N D h w"]  # 0 or more


class EncoderDecoder(nn.Module):
    """What NAR and PAR share: an encoder of the context, and a decoder that asks it."""

    time_code: Tensor  # (L + N, D); zeros make it blind to order

    def __init__(self, config: VPTRConfig) -> None:
        super().__init__()
        if not config.decoder_depth:
            raise ValueError("decoder_depth is 0; permitted for NAR and PAR: 1 and more")
        self.config = config
        asking = replace(config.block, norm=config.decoder_norm)
        self.encoder = nn.ModuleList(VidHRFormerBlock(config.block) for _ in range(config.depth))
        self.decoder = nn.ModuleList(DecoderBlock(asking) for _ in range(config.decoder_depth))
        self.encoder_norm, self.norm = (nn.LayerNorm(config.block.dim) for _ in range(2))
        code = sincos_1d(config.context + config.horizon, config.block.dim)
        self.register_buffer("time_code", code, persistent=False)
        self.apply(initialise)

    def encode(self, features: Features, *, masks: Masks = AS_PUBLISHED) -> Past:
        """The context's memories, for every block of the decoder; of `masks`, the spatial one.

        Raises:
            ValueError: The features are not the config's, or too many.
        """
        length = self.config.context
        check_features(features, self.config, 1, length)
        code = self.time_code[length - features.shape[1] : length]
        x = to_tokens(features)
        for block in self.encoder:
            x, _ = block(x, code, masks=Masks(spatial=masks.spatial))
        memory = self.encoder_norm(x)  # (B, T, h, w, D)
        return tuple(
            block.witness.remember(memory, code)
            for block in cast(Iterable[DecoderBlock], self.decoder)
        )

    def decode(
        self,
        x: Tokens,
        memory: Past,
        first: int,
        *,
        queries: Tokens | None = None,
        past: Past = (),
        masks: Masks = AS_PUBLISHED,
    ) -> tuple[Predicted, Past]:
        """Predicted features; `first` is the number of the first frame of x, from 0."""
        code, longer = self.time_code[first : first + x.shape[1]], []
        for number, block in enumerate(self.decoder):
            before = past[number] if past else None
            x, seen = block(x, code, memory[number], queries=queries, past=before, masks=masks)
            longer.append(seen)
        return to_features(self.norm(x)), tuple(longer)


class NonAutoregressiveVPTR(EncoderDecoder):
    """NAR: all future frames at once; they begin blank, and `frame_queries` ask in their stead."""

    def __init__(self, config: VPTRConfig) -> None:
        super().__init__(config)
        _, height, width = config.feature_shape
        queries = torch.randn(config.horizon, height, width, config.block.dim)
        self.frame_queries = nn.Parameter(0.02 * queries)

    def forward(self, features: Features, *, masks: Masks = AS_PUBLISHED) -> Predicted:
        """The N frames after a context of L frames or fewer.

        Raises:
            ValueError: The features are not the config's, or too many.
        """
        memory = self.encode(features, masks=masks)
        queries = self.frame_queries.expand(len(features), -1, -1, -1, -1)
        blank = torch.zeros_like(queries)  # so that only queries and memories speak at first
        first = self.config.context
        return self.decode(blank, memory, first, queries=queries, masks=masks)[0]

    def begin(self, features: Features, rollout: Rollout = DEFAULT) -> tuple[Predicted, VPTRState]:
        """A block of frames after a context, of which the last `overlap` frames are looked at.

        Raises:
            ValueError: The features are not the config's, or the rollout is out of range.
        """
        limits = (("block", self.config.horizon), ("overlap", self.config.context))
        for name, most in limits:
            given = getattr(rollout, name)
            if given is not None and not 1 <= given <= most:
                raise ValueError(f"{name} is {given}; permitted: 1..{most}, or None for {most}")
        features = features[:, -(rollout.overlap or self.config.context) :]
        return self(features)[:, : rollout.block], VPTRState(features, rollout)

    def proceed(self, fed: Features, state: VPTRState) -> tuple[Predicted, VPTRState]:
        """The next block: the frames that were fed become the end of the context.

        Raises:
            ValueError: What is fed is not of the config's shape.
        """
        check_features(fed, self.config, 1, fed.shape[1])
        return self.begin(torch.cat([state.features, fed], 1), state.rollout)


class PartiallyAutoregressiveVPTR(EncoderDecoder):
    """PAR: the context is encoded once; then one frame after the other, each asking the context."""

    def forward(self, features: Features, *, masks: Masks = AS_PUBLISHED) -> Predicted:
        """From z_1 .. z_{L+n-1} the n frames after the context, all at once: teacher forcing.

        Raises:
            ValueError: The features are not the config's, too few or too many.
        """
        length = self.config.context
        check_features(features, self.config, length, self.config.window)
        memory = self.encode(features[:, :length], masks=masks)
        return self.extend(features[:, length - 1 :], memory, masks=masks)[0]

    def extend(
        self, features: Features, memory: Past, past: Past = (), *, masks: Masks = AS_PUBLISHED
    ) -> tuple[Predicted, Past]:
        """The frame after each of these, which follow those of `past`, the first of them z_L."""
        start = len(past[0]) if past else 0
        masks = add_causal(masks, start, start + features.shape[1], features.device)
        first = self.config.context - 1 + start
        return self.decode(to_tokens(features), memory, first, past=past, masks=masks)

    def begin(
        self, features: Features, rollout: Rollout = DEFAULT
    ) -> tuple[Float[Tensor, "B 1 D h w"], VPTRState]:
        """The frame after a context of L frames or more; the last `window` are looked at.

        Raises:
            ValueError: The features are not the config's, too few, or blocks are asked for.
        """
        refuse_blocks(rollout)
        features, length = features[:, -self.config.window :], self.config.context
        check_features(features, self.config, length, self.config.window)
        memory = self.encode(features[:, :length])
        predicted, past = self.extend(features[:, length - 1 :], memory)
        state = VPTRState(features, rollout, memory, past if rollout.cached else ())
        return predicted[:, -1:], state

    def proceed(
        self, fed: Features, state: VPTRState
    ) -> tuple[Float[Tensor, "B 1 D h w"], VPTRState]:
        """As FAR's; past the window the context moves on by a frame and is encoded again.

        Raises:
            ValueError: What is fed is not of the config's shape.
        """
        check_features(fed, self.config, 1, self.config.window)
        features = torch.cat([state.features, fed], 1)
        if features.shape[1] > self.config.window:
            return self.begin(features, state.rollout)
        asking = fed if state.past else features[:, self.config.context - 1 :]
        predicted, past = self.extend(asking, state.memory, state.past)
        past = past if state.rollout.cached else ()
        return predicted[:, -1:], replace(state, features=features, past=past)
