"""VPTR: transformers that continue a video's features, one by one (FAR, PAR) or all at once (NAR).

Source: Ye & Bilodeau 2022 (arXiv 2203.15836; journal 2212.06026, section 3) and their code, which
has FAR and NAR. With L frames of context and N to predict:

    FAR  z_1 .. z_{L+N-1} -> z_2 .. z_{L+N}, under a causal mask in time
    NAR  z_1 .. z_L -> z_{L+1} .. z_{L+N}: N blank frames with learned queries ask the context
    PAR  NAR's networks without queries: z_L .. z_{L+N-1} ask, under a causal mask among themselves

FAR stands here, beside what all three share; NAR and PAR stand in `vptr_decoders.py`, and
`vptr_video.py` puts an autoencoder around them. Departure: keys and values of past frames are kept;
the code computes them again for every frame.
"""

from dataclasses import dataclass, field, replace

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.models.vidhrformer import (
    AS_PUBLISHED,
    NORMS,
    Masks,
    Tokens,
    VidHRFormerBlock,
    VidHRFormerConfig,
    initialise,
)
from course_lib.nn.attention import KeyValues, causal_mask, sincos_1d

Features = Float[Tensor, "B T D h w"]  # 0 or more
Past = tuple[KeyValues, ...]  # of every block; empty: nothing is kept


@dataclass(frozen=True)
class VPTRConfig:
    """The size of a transformer; FAR has no decoder, NAR and PAR have one."""

    context: int = 10  # frames, L
    horizon: int = 10  # frames that it is trained to predict, N
    depth: int = 4  # blocks of FAR, or of the encoder
    decoder_depth: int = 0  # blocks of the decoder
    block: VidHRFormerConfig = field(default_factory=VidHRFormerConfig)
    decoder_norm: str = "layer"  # of the decoder's convolutions, as `norm` of the block

    def __post_init__(self) -> None:
        for name, least in (("context", 1), ("horizon", 1), ("depth", 1), ("decoder_depth", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; permitted: {least} and more")
        if self.decoder_norm not in NORMS:
            permitted = ", ".join(map(repr, NORMS))
            raise ValueError(f"decoder_norm is {self.decoder_norm!r}; permitted: {permitted}")

    @property
    def window(self) -> int:
        """Frames that FAR and PAR look at, at most: those that they are trained with."""
        return self.context + self.horizon - 1

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """(D, h, w) of one frame."""
        return self.block.dim, self.block.map_size, self.block.map_size


_BLOCK = VidHRFormerConfig(dim=528, num_heads=8, dropout=0.1)
PUBLISHED_FAR = VPTRConfig(depth=12, block=replace(_BLOCK, norm="frame"))
# The released encoder has BatchNorm and the decoder LayerNorm: only so is the printed size reached.
PUBLISHED_NAR = VPTRConfig(
    depth=4, decoder_depth=8, block=replace(_BLOCK, norm="batch"), decoder_norm="frame"
)


@dataclass(frozen=True)
class Rollout:
    """How a network goes on from what it has predicted."""

    through_pixels: bool = True  # decode and encode again (RIP), or feed the features back (RIL)
    cached: bool = True  # FAR, PAR: keep keys and values, or compute them again for every frame
    block: int | None = None  # NAR: frames kept of each prediction; None: all N
    overlap: int | None = None  # NAR: last frames that a block is predicted from; None: L


DEFAULT = Rollout()


@dataclass(frozen=True, eq=False)
class VPTRState:
    """All that is known between two predictions; `proceed` takes one and returns the next."""

    features: Features  # of the frames that may still be looked at
    rollout: Rollout
    memory: Past = ()  # of the context, for every block of PAR's decoder
    past: Past = ()


def to_tokens(features: Features) -> Tokens:
    """Channels last, as the blocks have them."""
    return rearrange(features, "b t d h w -> b t h w d")


def to_features(x: Tokens) -> Features:
    """Channels first and 0 or more, as the autoencoder's."""
    return rearrange(x, "b t h w d -> b t d h w").relu()


def add_causal(masks: Masks, start: int, end: int, device: torch.device) -> Masks:
    """With the causal mask of the queries start..end - 1, unless another one was given."""
    if masks.temporal is not None:
        return masks
    return replace(masks, temporal=causal_mask(end, device=device)[start:])


def refuse_blocks(rollout: Rollout) -> None:
    """Frames that come one by one come in no blocks."""
    for name in ("block", "overlap"):
        if getattr(rollout, name) is not None:
            raise ValueError(f"{name} is {getattr(rollout, name)}; permitted for FAR and PAR: None")


def check_features(features: Tensor, config: VPTRConfig, least: int, most: int) -> None:
    """Refuse features of another shape than the config's, or of too few or too many frames."""
    expected = config.feature_shape
    if tuple(features.shape[2:]) != expected or not least <= features.shape[1] <= most:
        raise ValueError(
            f"the features have shape {tuple(features.shape)}; permitted: (B, T, *{expected}), "
            f"T from {least} to {most}"
        )


class AutoregressiveVPTR(nn.Module):
    """FAR: output i is frame i + 1, from the frames 1..i."""

    time_code: Tensor  # (window, D); zeros make it blind to order

    def __init__(self, config: VPTRConfig) -> None:
        super().__init__()
        if config.decoder_depth:
            raise ValueError(f"decoder_depth is {config.decoder_depth}; permitted for FAR: 0")
        self.config = config
        self.blocks = nn.ModuleList(VidHRFormerBlock(config.block) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.block.dim)
        code = sincos_1d(config.window, config.block.dim)
        self.register_buffer("time_code", code, persistent=False)
        self.apply(initialise)

    def forward(self, features: Features, *, masks: Masks = AS_PUBLISHED) -> Features:
        """The frame after each of these, all at once: teacher forcing.

        Raises:
            ValueError: The features are not the config's, or too many.
        """
        return self.extend(features, masks=masks)[0]

    def extend(
        self, features: Features, past: Past = (), *, masks: Masks = AS_PUBLISHED
    ) -> tuple[Features, Past]:
        """The frame after each of these, which follow those of `past`; and the longer past.

        Raises:
            ValueError: The features are not the config's, or too many.
        """
        start = len(past[0]) if past else 0
        check_features(features, self.config, 1, self.config.window - start)
        end = start + features.shape[1]
        masks = add_causal(masks, start, end, features.device)
        x, longer = to_tokens(features), []
        for number, block in enumerate(self.blocks):
            before = past[number] if past else None
            x, seen = block(x, self.time_code[start:end], past=before, masks=masks)
            longer.append(seen)
        return to_features(self.norm(x)), tuple(longer)

    def begin(
        self, features: Features, rollout: Rollout = DEFAULT
    ) -> tuple[Float[Tensor, "B 1 D h w"], VPTRState]:
        """The frame after a context, of which the last `window` frames are looked at.

        Raises:
            ValueError: The features are not the config's, or the rollout asks for blocks.
        """
        refuse_blocks(rollout)
        features = features[:, -self.config.window :]
        predicted, past = self.extend(features)
        state = VPTRState(features, rollout, past=past if rollout.cached else ())
        return predicted[:, -1:], state

    def proceed(
        self, fed: Features, state: VPTRState
    ) -> tuple[Float[Tensor, "B 1 D h w"], VPTRState]:
        """The frame after `fed`, which follows what the state knows.

        Past the window the oldest frame is dropped and all is computed again: what was kept has
        looked at the dropped frame, and positions move.

        Raises:
            ValueError: What is fed is not of the config's shape.
        """
        check_features(fed, self.config, 1, self.config.window)
        features = torch.cat([state.features, fed], 1)
        if not state.past or features.shape[1] > self.config.window:
            return self.begin(features, state.rollout)
        predicted, past = self.extend(fed, state.past)
        return predicted[:, -1:], replace(state, features=features, past=past)
