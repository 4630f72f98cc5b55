"""Chapter 4: small models of what FAR and NAR promise, and properties of functions that use one.

Their outputs depend on every frame that they are shown and on the order of the frames, so that a
function which shows them the wrong ones gives another result.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from course_lib.checks.properties import Draw, fresh_generator, returns
from course_lib.checks.report import Fault, Property

NUM_AT_ONCE = 8  # frames that `AtOnce` predicts
WEIGHTS = "model.weights"  # what a model is called where arguments are named


class OneByOne(nn.Module):
    """As FAR: output i, the prediction of frame i + 1, depends on the frames 0 to i."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights  # (2, D, D)
        self.lengths: list[int] = []  # of what it was shown, call by call

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, D, h, w) to the same shape."""
        self.lengths.append(_num_frames(features))
        newest, older = self.weights
        x = features.movedim(2, -1)
        return (x @ newest + _past(x, older)).tanh().movedim(-1, 2)


class AtOnce(nn.Module):
    """As NAR: all the frames that follow those it is shown, each a turn further than the last."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights  # (3, D, D)

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, D, h, w) to (B, NUM_AT_ONCE, D, h, w)."""
        _num_frames(features)
        newest, older, turn = self.weights
        x = features.movedim(2, -1)
        state = (x @ newest + _past(x, older))[:, -1]
        predicted = []
        for _ in range(NUM_AT_ONCE):
            state = state @ turn
            predicted.append(state.tanh())
        return torch.stack(predicted, 1).movedim(-1, 2)


def _num_frames(features: Tensor) -> int:
    if features.ndim != 5 or not features.shape[1]:
        raise ValueError(
            f"the model got features of shape {tuple(features.shape)}; permitted: (B, T, D, h, w), "
            "T from 1"
        )
    return features.shape[1]


def _past(x: Tensor, older: Tensor) -> Tensor:
    """For every frame a mean of those before it and itself, in which later ones weigh more."""
    places = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None, None, None]
    return (places * (x @ older).tanh()).cumsum(1) / places.cumsum(0)


def draw_clips(num_weights: int, batch: int, length: int, *sizes: int) -> Draw:
    """A model's weights, features (B, T, 3, 1, 2), and the sizes."""

    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        turns = [
            nn.init.orthogonal_(torch.empty(3, 3), 1.2, generator=generator)
            for _ in range(num_weights)
        ]
        features = torch.randn(batch, length, 3, 1, 2, generator=generator)
        return torch.stack(turns), features, *(torch.tensor(size) for size in sizes)

    return draw


def with_model(kind: type[nn.Module], function: Callable) -> Callable:
    """A function of a model, tensors and numbers as one of weights and tensors alone."""
    return lambda weights, *inputs: function(
        kind(weights), *(x.item() if x.ndim == 0 else x for x in inputs)
    )


def asked_with_model(kind: type[nn.Module], check: Property) -> Property:
    """The same property of a function whose first argument is a model."""
    return lambda function: check(with_model(kind, function))


def returns_shape(
    draw: Draw,
    shape: tuple[int, ...],
    names: tuple[str, ...],
    slips: Mapping[str, tuple[int, ...]],
    otherwise: str,
) -> Property:
    """As `returns`; `slips` are the messages for shapes that give a mistake away."""

    def check(candidate: Callable) -> Fault | None:
        fault = returns(draw, shape, names, otherwise)(candidate)
        for hint, wrong in slips.items():
            if fault and returns(draw, wrong, names, "")(candidate) is None:
                return replace(fault, hint=hint)
        return fault

    return check
