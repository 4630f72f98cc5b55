"""Chapter 3: small models of known guilt, for the reader's leak test to judge.

Every model maps (B, T, D) to (B, T, D); output i is the prediction of frame i + 1, so it may depend
on the frames 0 to i. They begin with a LayerNorm, which hides a constant shift of a frame, and end
centred as a LayerNorm leaves it, which hides whatever sums over channels.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.properties import fresh_generator

NUM_FRAMES = 4
CHANNELS = 8
Model = Callable[[Tensor], Tensor]


class Centre(nn.Module):
    """Each frame less the mean of its channels: exactly 0 in sum, and so are its gradients."""

    def forward(self, x: Tensor) -> Tensor:
        """The frames, centred."""
        return x - x.mean(-1, keepdim=True)


class Norm(Centre):
    """LayerNorm with no weights, to which a frame shifted or doubled is exactly the same."""

    def forward(self, x: Tensor) -> Tensor:
        """The frames, centred and scaled."""
        centred = super().forward(x)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-30).sqrt()


class Look(nn.Module):
    """Attention whose scores are all equal: the mean of the values that the mask lets through."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask.double()
        self.to_values = nn.Linear(CHANNELS, CHANNELS, dtype=torch.double)

    def forward(self, x: Tensor) -> Tensor:
        """What each frame gets."""
        mask = self.mask[: x.shape[1], : x.shape[1]]
        return mask / mask.sum(1, keepdim=True).clamp(min=1) @ self.to_values(x)


class TimeConvolution(nn.Module):
    """Three frames wide, with so many frames of padding before and after the clip."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.padding = (before, after)
        self.layer = nn.Conv1d(CHANNELS, CHANNELS, 3, dtype=torch.double)

    def forward(self, x: Tensor) -> Tensor:
        """The frames, convolved."""
        return self.layer(F.pad(x.mT, self.padding)).mT


class TimeBatchNorm(nn.Module):
    """BatchNorm over clips and frames at once."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.BatchNorm1d(CHANNELS, dtype=torch.double)

    def forward(self, x: Tensor) -> Tensor:
        """The frames, normalised."""
        return self.layer(x.mT).mT


class Blind(nn.Module):
    """Gives the same whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        """Zeros."""
        return 0 * x


def draw_features() -> Tensor:
    """Two clips (B, T, D); all are multiples of 1/8, so that their means are exact."""
    shape = (2, NUM_FRAMES, CHANNELS)
    return torch.randint(-16, 17, shape, generator=fresh_generator()).double() / 8


def honest() -> dict[str, Model]:
    """What must be acquitted, with weights drawn afresh."""
    return {
        "causal attention and a causal convolution": _model(
            Look(_upto(0)), nn.GELU(), TimeConvolution(2, 0)
        ),
        "BatchNorm in eval mode, with the statistics it has stored": _model(
            Look(_upto(0)), TimeBatchNorm()
        ).eval(),
        "every frame by itself": _model(Look(torch.eye(NUM_FRAMES))),
        "every frame sees the previous ones alone": _model(Look(_upto(-1))),
        "the same output whatever it is given": Blind(),
    }


def guilty() -> dict[str, Model]:
    """What must be caught."""
    return {
        "attention whose mask is shifted by one": _model(Look(_upto(1))),
        "BatchNorm in train mode, which mixes time steps": _model(Look(_upto(0)), TimeBatchNorm()),
        "a convolution over the frames before and after": _model(TimeConvolution(1, 1)),
    }


def holes() -> dict[str, Model]:
    """What must be caught, too: one entry of a causal mask is wrong, each in its turn."""
    found: dict[str, Model] = {}
    for i in range(NUM_FRAMES):
        for j in range(i + 1, NUM_FRAMES):
            mask = _upto(0)
            mask[i, j] = True
            found[f"a causal mask but for one entry, query {i} and key {j}"] = _model(Look(mask))
    return found


def telling() -> dict[str, Model]:
    """Guilty ones, too, that tell one mistake of a leak test from another."""
    return {
        "nothing is hidden at the end": nn.Sequential(Norm(), Look(_upto(1))),
        "nothing is hidden at the beginning": nn.Sequential(Look(_upto(1)), Centre()),
        "the future alone": _model(Look(~_upto(0))),
    }


def _model(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(Norm(), *layers, Centre())


def _upto(ahead: int) -> Tensor:
    """Every frame sees those before it, and so many ahead."""
    return torch.ones(NUM_FRAMES, NUM_FRAMES, dtype=torch.bool).tril(ahead)
