"""Chapter 4: the loss of teacher forcing; and, from the files beside this one, the rest.

Each checker draws its inputs afresh at every call and compares with a reference of its own.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks.chapter4_blocks import predict_in_blocks
from course_lib.checks.chapter4_cache import attend_with_cache
from course_lib.checks.chapter4_models import (
    WEIGHTS,
    OneByOne,
    asked_with_model,
    draw_clips,
    with_model,
)
from course_lib.checks.chapter4_rollout import rollout
from course_lib.checks.chapter4_witness import ask_the_witness
from course_lib.checks.properties import (
    agrees,
    describe,
    explained,
    passes_gradients,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Fault, Verdict, examine

__all__ = [
    "ask_the_witness",
    "attend_with_cache",
    "predict_in_blocks",
    "rollout",
    "teacher_forced_loss",
]

CLIPS = (WEIGHTS, "features")
NUM_FRAMES = 4
UNDROPPED = (
    "You showed the model the last frame, too: its prediction is of a frame that is not there. "
    "Feed `features[:, :-1]`."
)


def teacher_forced_loss(function) -> Verdict:
    """Check `function(model, features)`: the mean squared error of all next frames, a number.

    `features` is (B, T, D, h, w). `model` maps n frames to n predictions, output i of frame i + 1;
    it is called once, with all frames but the last.
    """
    large = draw_clips(2, 2, NUM_FRAMES)
    asked = partial(asked_with_model, OneByOne)
    truth = with_model(OneByOne, _loss)
    return examine(
        "teacher_forced_loss",
        function,
        lambda model, features: F.mse_loss(model(features[:, :-1]), features[:, 1:]),
        {
            "returns one number": asked(
                explained(
                    returns(
                        large, (), CLIPS, "One mean over clips, frames, channels and places at once"
                    ),
                    "If these are two sizes that differ by one: T inputs give T predictions, but "
                    "only T - 1 frames come after another. " + UNDROPPED,
                    RuntimeError,
                    Warning,
                )
            ),
            "compares every prediction with the frame that comes after": asked(
                agrees(
                    truth,
                    [draw_clips(2, 1, 2), large],
                    CLIPS,
                    {text: with_model(OneByOne, wrong) for text, wrong in MISTAKES.items()},
                    "The mean of the squared difference between `model(features[:, :-1])` and "
                    "`features[:, 1:]`.",
                )
            ),
            "calls the model once, with all frames but the last": _calls_once,
            "lets gradients through to the model": asked(
                passes_gradients(truth, large, CLIPS, (WEIGHTS,))
            ),
            "leaves its arguments unchanged": asked(spares_its_arguments(large, CLIPS)),
        },
    )


def _calls_once(candidate: Callable) -> Fault | None:
    weights, features = inputs = draw_clips(2, 2, NUM_FRAMES)()
    model = OneByOne(weights)
    candidate(model, features)
    if model.lengths == [NUM_FRAMES - 1]:
        return None
    return Fault(
        given=describe(inputs, CLIPS),
        expected=f"one call of the model, with {NUM_FRAMES - 1} frames",
        observed=f"{len(model.lengths)} calls, with {model.lengths} frames",
        hint=UNDROPPED
        if model.lengths == [NUM_FRAMES]
        else "Teacher forcing needs no loop: the mask hides what comes later, so one call gives "
        "the prediction of every next frame.",
    )


def _loss(model: OneByOne, features: Tensor) -> Tensor:
    """Frame by frame, the model shown no more than what came before."""
    return torch.stack(
        [
            _error(model(features[:, :end])[:, -1], features[:, end])
            for end in range(1, features.shape[1])
        ]
    ).mean()


def _error(predicted: Tensor, target: Tensor) -> Tensor:
    return (predicted - target).double().square().mean()


def _difference(model: OneByOne, features: Tensor) -> Tensor:
    return (model(features[:, :-1]) - features[:, 1:]).double()


def _own_loss(model: OneByOne, features: Tensor) -> Tensor:
    """Of what the model makes of the first frame alone."""
    frames = features[:, :1]
    for _ in range(features.shape[1] - 1):
        frames = torch.cat([frames, model(frames)[:, -1:]], 1)
    return _error(frames[:, 1:], features[:, 1:])


SAME_FRAME = (
    "You compared each prediction with the frame that it was made from: output i is the prediction "
    "of frame i + 1, so the target is `features[:, 1:]`."
)
MISTAKES: dict[str, Callable[[OneByOne, Tensor], Tensor]] = {
    SAME_FRAME: lambda model, x: _error(model(x[:, :-1]), x[:, :-1]),
    "You compared all outputs with all inputs: output i is the prediction of frame i + 1. Leave "
    "out the last input and the first target.": lambda model, x: _error(model(x), x),
    "You shifted the wrong way: the inputs are all frames but the last, the targets all but the "
    "first.": lambda model, x: _error(model(x[:, 1:]), x[:, :-1]),
    "You dropped the first output: each prediction then meets the frame that it was made from. The "
    "one that has no target is the last.": lambda model, x: _error(model(x)[:, 1:], x[:, 1:]),
    "You took the last frame alone: every frame but the first is a target.": (
        lambda model, x: _error(model(x[:, :-1])[:, -1], x[:, -1])
    ),
    "You fed the model its own predictions: in teacher forcing every input is a true frame.": (
        _own_loss
    ),
    "You summed the squares: take their mean.": (
        lambda model, x: _difference(model, x).square().sum()
    ),
    "You summed over something and averaged over the clips alone: take one mean over everything.": (
        lambda model, x: _difference(model, x).square().sum() / len(x)
    ),
    "You summed over the frames: take one mean over everything.": (
        lambda model, x: _loss(model, x) * (x.shape[1] - 1)
    ),
    "You divided by T: there are T - 1 predictions.": (
        lambda model, x: _loss(model, x) * (x.shape[1] - 1) / x.shape[1]
    ),
    "You took absolute values: take squares.": lambda model, x: _difference(model, x).abs().mean(),
    "You took the square root of the mean: leave it as it is.": (
        lambda model, x: _loss(model, x).sqrt()
    ),
}
