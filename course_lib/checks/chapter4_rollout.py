"""Chapter 4: the checker of the rollout, in which a model goes on from its own predictions."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from course_lib.checks.chapter4_models import (
    WEIGHTS,
    OneByOne,
    asked_with_model,
    draw_clips,
    returns_shape,
    with_model,
)
from course_lib.checks.properties import agrees, spares_its_arguments
from course_lib.checks.report import Verdict, examine

ROLLOUT = (WEIGHTS, "context", "horizon", "window")
# Context, predictions so far, window -> the frames that the model is shown next.
Show = Callable[[list[Tensor], list[Tensor], int], list[Tensor]]


def rollout(function) -> Verdict:
    """Check `function(model, context, horizon, window)`: frames (B, horizon, D, h, w).

    `context` is (B, T, D, h, w). `model` maps n frames to n predictions, output i of frame i + 1.
    Its last output is appended to what it sees next; it sees the last `window` frames at most.
    """
    asked, library = partial(asked_with_model, OneByOne), _last_outputs
    large = draw_clips(2, 2, 3, 3, 9)
    narrow = draw_clips(2, 2, 5, 4, 3)
    feeding = _wrong(FEEDINGS)
    return examine(
        "rollout",
        function,
        library,
        {
            "returns the predicted frames and nothing else": asked(
                returns_shape(
                    large,
                    (2, 3, 3, 1, 2),
                    ROLLOUT,
                    SHAPES,
                    "`horizon` frames of the model's, joined along the time axis, dim 1.",
                )
            ),
            "goes on from its own predictions": asked(
                agrees(
                    with_model(OneByOne, _rollout),
                    [draw_clips(2, 1, 1, 1, 9), draw_clips(2, 1, 2, 2, 9), large],
                    ROLLOUT,
                    feeding,
                    "Show the model all that is known, append its last output, and so on.",
                )
            ),
            "shows the model the last `window` frames at most": asked(
                agrees(
                    with_model(OneByOne, _rollout),
                    [draw_clips(2, 1, 2, 2, 1), draw_clips(2, 1, 2, 3, 3), narrow],
                    ROLLOUT,
                    _wrong(WINDOWS) | feeding,
                    "Before each call keep the newest frames, context or predicted: "
                    "`known[:, -window:]`.",
                )
            ),
            "leaves its arguments unchanged": asked(spares_its_arguments(narrow, ROLLOUT)),
        },
    )


def _last_outputs(model: Callable, context: Tensor, horizon: int, window: int) -> Tensor:
    """The library's answer."""
    known = context
    for _ in range(horizon):
        known = torch.cat([known, model(known[:, -window:])[:, -1:]], 1)
    return known[:, context.shape[1] :]


def _right(context: list[Tensor], predicted: list[Tensor], window: int) -> list[Tensor]:
    return [*context, *predicted][-window:]


def _rollout(
    model: OneByOne,
    context: Tensor,
    horizon: int,
    window: int,
    show: Show = _right,
    output: int = -1,
) -> Tensor:
    """As a list of frames."""
    predicted: list[Tensor] = []
    for _ in range(horizon):
        shown = show(list(context.unbind(1)), predicted, window)
        predicted.append(model(torch.stack(shown, 1))[:, output])
    return torch.stack(predicted, 1)


def _shown(show: Show) -> Callable[..., Tensor]:
    return partial(_rollout, show=show)


def _wrong(mistakes: dict[str, Callable[..., Tensor]]) -> dict[str, Callable[..., Tensor]]:
    return {text: with_model(OneByOne, mistake) for text, mistake in mistakes.items()}


def _all_outputs(model: OneByOne, context: Tensor, horizon: int, window: int) -> Tensor:
    """Every output takes its input's place."""
    known, predicted = context[:, -window:], []
    for _ in range(horizon):
        known = model(known)
        predicted.append(known[:, -1])
    return torch.stack(predicted, 1)


def _late(model: OneByOne, context: Tensor, horizon: int, window: int) -> Tensor:
    return _rollout(model, context, horizon + 1, window)[:, 1:]


def _from_context(model: OneByOne, context: Tensor, horizon: int, window: int) -> Tensor:
    predicted = _rollout(model, context, horizon, window)
    return torch.cat([context, predicted], 1)[:, :horizon]


def _one_step_late(model: OneByOne, context: Tensor, horizon: int, window: int) -> Tensor:
    predicted = _rollout(model, context, horizon, window)
    return torch.cat([context[:, -1:], predicted], 1)[:, :horizon]


SHAPES = {
    "You returned the context, too: return the predicted frames alone.": (2, 6, 3, 1, 2),
    "One frame too many: `horizon` predictions, the model's first output after the context is the "
    "first.": (2, 4, 3, 1, 2),
    "One frame is missing: the prediction from the context alone is the first of `horizon`.": (
        (2, 2, 3, 1, 2)
    ),
    "You stacked along a new first axis: time is dim 1, `torch.stack(frames, dim=1)`.": (
        (3, 2, 3, 1, 2)
    ),
    "There is an axis of length 1 too many: `torch.cat(frames, dim=1)`, or drop it before you "
    "stack.": (2, 3, 1, 3, 1, 2),
    "You returned what the model saw last: collect its last output of every call.": (2, 5, 3, 1, 2),
}
FEEDINGS: dict[str, Callable[..., Tensor]] = {
    "You showed the model the context again at every step: append each prediction to it.": (
        _shown(lambda context, predicted, window: context[-window:])
    ),
    "You took the model's first output: the prediction of the next frame is the last one.": (
        partial(_rollout, output=0)
    ),
    "You showed the model the newest frame alone: it may look at all that is known.": (
        _shown(lambda context, predicted, window: [*context, *predicted][-1:])
    ),
    "You showed the model its predictions alone: the context is still known.": (
        _shown(lambda context, predicted, window: (predicted or context)[-window:])
    ),
    "You fed all outputs back: then known frames are replaced by predictions of them. Append the "
    "last output alone.": _all_outputs,
    "You put the new frame before the others: it comes after them.": (
        _shown(lambda context, predicted, window: [*predicted[::-1], *context][-window:])
    ),
    "You fed the last frame of the context again in place of the prediction.": (
        _shown(
            lambda context, predicted, window: [*context, *(context[-1] for _ in predicted)][
                -window:
            ]
        )
    ),
    "You fed the first frame of the context again in place of the prediction.": (
        _shown(
            lambda context, predicted, window: [*context, *(context[0] for _ in predicted)][
                -window:
            ]
        )
    ),
    "You dropped an old frame at every step: drop it only when there are more than `window`.": (
        _shown(lambda context, predicted, window: [*context, *predicted][-len(context) :][-window:])
    ),
    "Your first frame is the second: the prediction from the context alone comes first.": _late,
    "Your frames begin with the context's: return the predicted frames alone.": _from_context,
    "Your frames come a step late: the first is the context's last.": _one_step_late,
}
WINDOWS: dict[str, Callable[..., Tensor]] = {
    "You kept the oldest frames: the window moves on, `known[:, -window:]`.": (
        _shown(lambda context, predicted, window: [*context, *predicted][:window])
    ),
    "You never dropped a frame: the model may see the last `window` frames at most.": (
        _shown(lambda context, predicted, window: [*context, *predicted])
    ),
    "You cut the context once and let it grow again: keep the last `window` frames before every "
    "call.": _shown(lambda context, predicted, window: [*context[-window:], *predicted]),
    "Your first look is at the whole context: cut it to `window` frames, too.": (
        _shown(
            lambda context, predicted, window: (
                [*context, *predicted][-window:] if predicted else context
            )
        )
    ),
    "Your window is a frame too long: cut after appending, or before the call.": (
        _shown(lambda context, predicted, window: [*context, *predicted][-window - 1 :])
    ),
    "Your window is a frame too short.": (
        _shown(lambda context, predicted, window: [*context, *predicted][-max(window - 1, 1) :])
    ),
}
