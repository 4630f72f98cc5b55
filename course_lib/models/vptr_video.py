"""VPTR as a predictor of video: a frozen autoencoder around a transformer over its features.

Source: Ye & Bilodeau 2022 (arXiv 2203.15836; journal 2212.06026, sections 3.1 and 3.5). What has
been predicted is fed back either as it is (recursion in latents, RIL) or after it was decoded and
encoded again (recursion in pixels, RIP). Departure: the notebook of the official code feeds the
first predicted latent back raw even in RIP; here every one is decoded and encoded.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Video
from course_lib.models.autoencoder import Autoencoder
from course_lib.models.vptr import DEFAULT, AutoregressiveVPTR, Features, Rollout, VPTRState
from course_lib.models.vptr_decoders import NonAutoregressiveVPTR, PartiallyAutoregressiveVPTR

Transformer = AutoregressiveVPTR | NonAutoregressiveVPTR | PartiallyAutoregressiveVPTR


@dataclass(frozen=True, eq=False)
class VPTRStep:
    """One frame of FAR or PAR, or one block of NAR."""

    frames: Video
    features: Features  # as predicted
    state: VPTRState  # of the transformer, before it is fed these


class VPTR(nn.Module):
    """The autoencoder, frozen and never in training mode, and the transformer."""

    def __init__(self, autoencoder: Autoencoder, transformer: Transformer) -> None:
        super().__init__()
        c = autoencoder.config
        made, wanted = (c.feature_dim, c.map_size, c.map_size), transformer.config.feature_shape
        if made != wanted:
            raise ValueError(f"the autoencoder's features are {made}; permitted: {wanted}")
        self.autoencoder = autoencoder.requires_grad_(False)
        self.transformer = transformer
        self.train(self.training)

    def train(self, mode: bool = True) -> "VPTR":
        """Of the transformer alone: BatchNorm in training would let frames see each other."""
        super().train(mode)
        self.autoencoder.eval()
        return self

    def predict(
        self,
        context: Video,
        horizon: int,
        *,
        generator: torch.Generator | None = None,
        rollout: Rollout = DEFAULT,
    ) -> Float[Tensor, "B {horizon} C H W"]:
        """The `horizon` frames after `context`; nothing is drawn from `generator`.

        Raises:
            ValueError: A shape is not the config's, no frame is asked for, or the rollout does not
                suit the transformer.
        """
        del generator
        if horizon < 1:
            raise ValueError(f"horizon is {horizon}; permitted: 1 and more")
        frames, length = [], 0
        for step in self.stream(context, rollout):
            frames.append(step.frames)
            length += step.frames.shape[1]
            if length >= horizon:
                break
        return torch.cat(frames, 1)[:, :horizon]

    forward = predict

    def stream(self, context: Video, rollout: Rollout = DEFAULT) -> Iterator[VPTRStep]:
        """Frame after frame or block after block, without an end; nothing is computed ahead.

        Raises:
            ValueError: The context is not the config's, or the rollout does not suit the
                transformer.
        """
        features, state = self.transformer.begin(self.autoencoder.encode(context), rollout)
        while True:
            frames = self.autoencoder.decode(features)
            yield VPTRStep(frames, features, state)
            fed = self.autoencoder.encode(frames) if rollout.through_pixels else features
            features, state = self.transformer.proceed(fed, state)
