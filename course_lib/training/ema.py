"""The exponential moving average of a network's weights: smoother than the last, it ships."""

import copy

import torch
from torch import nn


class EMA:
    """A shadow of `model`, in eval mode, that follows it slowly.

    Args:
        model: The network that is trained; it is copied, not kept.
        decay: The share of the old average that a late update keeps, in [0, 1); 0 copies the model.

    Raises:
        ValueError: `decay` lies outside [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; permitted: 0 <= decay < 1")
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards `model` after its update number `step`, 1 the first.

        The average of a young model looks back a short way: the decay rises as (1 + step) /
        (10 + step) until it reaches its own value. Buffers (BatchNorm's statistics) are copied.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        for shadow, weight in zip(self.model.parameters(), model.parameters(), strict=True):
            shadow.lerp_(weight, 1 - decay)
        for shadow, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            shadow.copy_(buffer)
