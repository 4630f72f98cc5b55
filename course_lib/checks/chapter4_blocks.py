"""Chapter 4: the checker of prediction in blocks, past the horizon that a model was trained for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from course_lib.checks.chapter4_models import (
    NUM_AT_ONCE,
    WEIGHTS,
    AtOnce,
    asked_with_model,
    draw_clips,
    returns_shape,
    with_model,
)
from course_lib.checks.properties import agrees, spares_its_arguments
from course_lib.checks.report import Verdict, examine

BLOCKS = (WEIGHTS, "context", "horizon", "block", "overlap")


@dataclass(frozen=True)
class Known:
    """Frames, one by one, before a prediction is made."""

    context: list[Tensor]
    predicted: list[Tensor]  # all blocks so far
    newest: list[Tensor]  # the last of these blocks
    whole: list[Tensor]  # the prediction that it is the beginning of


Show = Callable[[Known, int], list[Tensor]]  # with the overlap, what the model is shown next


def predict_in_blocks(function) -> Verdict:
    """Check `function(model, context, horizon, block, overlap)`: frames (B, horizon, D, h, w).

    `context` is (B, T, D, h, w). `model` maps some frames to N at once, of which the first `block`
    are kept. Every prediction, the first too, is made from the last `overlap` frames known.
    """
    asked = partial(asked_with_model, AtOnce)
    uneven = draw_clips(3, 2, 6, 7, 3, 2)  # three blocks, the last cut to one frame
    large = draw_clips(3, 2, 7, 6, 2, 5)  # with looks across more than one block
    mistakes = {text: with_model(AtOnce, mistake) for text, mistake in MISTAKES.items()}
    return examine(
        "predict_in_blocks",
        function,
        _in_blocks,
        {
            "returns `horizon` frames": asked(
                returns_shape(
                    uneven,
                    (2, 7, 3, 1, 2),
                    BLOCKS,
                    SHAPES,
                    "`horizon` predicted frames, joined along the time axis, dim 1.",
                )
            ),
            "keeps the first `block` frames, and goes on from the last `overlap`": asked(
                agrees(
                    with_model(AtOnce, _blocks),
                    [
                        draw_clips(3, 1, 1, 1, 1, 1),
                        draw_clips(3, 1, 3, 2, 2, 1),
                        draw_clips(3, 1, 3, 4, 2, 2),
                        large,
                    ],
                    BLOCKS,
                    mistakes,
                    "Until there are enough: show the model the last `overlap` frames of all that "
                    "is known, and append the first `block` of its prediction.",
                )
            ),
            "cuts the last block where the horizon ends": asked(
                agrees(
                    with_model(AtOnce, _blocks),
                    [uneven, draw_clips(3, 2, 2, 5, 4, 6)],
                    BLOCKS,
                    {},
                    "The horizon need not be a multiple of `block`: join the blocks, then "
                    "`[:, :horizon]`. A context may be shorter than `overlap`: then all of it is "
                    "shown.",
                )
            ),
            "leaves its arguments unchanged": asked(spares_its_arguments(uneven, BLOCKS)),
        },
    )


def _in_blocks(model: Callable, context: Tensor, horizon: int, block: int, overlap: int) -> Tensor:
    """The library's answer."""
    known, start = context, context.shape[1]
    while known.shape[1] < start + horizon:
        known = torch.cat([known, model(known[:, -overlap:])[:, :block]], 1)
    return known[:, start : start + horizon]


def _blocks(
    model: AtOnce,
    context: Tensor,
    horizon: int,
    block: int,
    overlap: int,
    *,
    show: Show = lambda known, overlap: [*known.context, *known.predicted][-overlap:],
    first: int = 0,
) -> Tensor:
    """As lists of frames; `first` is the first frame of each prediction that is kept."""
    known = Known(list(context.unbind(1)), [], [], [])
    for _ in range(-(-horizon // block)):
        whole = list(model(torch.stack(show(known, overlap), 1)).unbind(1))
        newest = whole[first : first + block]
        known = Known(known.context, [*known.predicted, *newest], newest, whole)
    return torch.stack(known.predicted[:horizon], 1)


def _shown(show: Show) -> Callable[..., Tensor]:
    return partial(_blocks, show=show)


def _last_frames(model: AtOnce, *others: Any) -> Tensor:
    return _blocks(model, *others, first=NUM_AT_ONCE - others[2])


def _after_overlap(model: AtOnce, *others: Any) -> Tensor:
    return _blocks(model, *others, first=others[3])


SHAPES = {
    "The horizon is not cut: the last block may be longer than what is missing, `[:, :horizon]`.": (
        (2, 9, 3, 1, 2)
    ),
    "One block too few: where `block` does not divide the horizon, round up.": (2, 6, 3, 1, 2),
    "You kept the whole of every prediction: keep its first `block` frames.": (2, 24, 3, 1, 2),
    "There is one prediction alone, and all of it: keep its first `block` frames, and go on until "
    "there are `horizon`.": (2, 8, 3, 1, 2),
    "There is one block alone: go on until there are `horizon` frames.": (2, 3, 3, 1, 2),
    "You returned the context, too: return the predicted frames alone.": (2, 13, 3, 1, 2),
    "You returned the context, too, and more than `horizon` frames after it.": (2, 15, 3, 1, 2),
    "You stacked along a new first axis: time is dim 1, `torch.cat(blocks, dim=1)`.": (
        (7, 2, 3, 1, 2)
    ),
}
MISTAKES: dict[str, Callable[..., Tensor]] = {
    "You kept the last frames of each prediction: keep the first `block`.": _last_frames,
    "You kept the whole of every prediction: keep its first `block` frames, and go on from them.": (
        lambda model, context, horizon, block, overlap: _blocks(
            model, context, horizon, NUM_AT_ONCE, overlap
        )
    ),
    "Your overlap is counted from the wrong end: the last frames that are known, "
    "`known[:, -overlap:]`.": _shown(
        lambda known, overlap: [*known.context, *known.predicted][:overlap]
    ),
    "You fed the whole context at first: the first prediction, too, sees its last `overlap` frames "
    "alone.": _shown(
        lambda known, overlap: [*known.context, *known.predicted][
            -overlap if known.predicted else 0 :
        ]
    ),
    "You fed all that is known: the model sees the last `overlap` frames.": (
        _shown(lambda known, overlap: [*known.context, *known.predicted])
    ),
    "You fed the context again for every block: the last frames known are your own predictions.": (
        _shown(lambda known, overlap: known.context[-overlap:])
    ),
    "You went on from the newest block alone: where it is shorter than `overlap`, the frames "
    "before it are shown, too.": _shown(
        lambda known, overlap: (known.newest or known.context)[-overlap:]
    ),
    "You forgot the context after the first block: while the predictions are fewer than "
    "`overlap`, its last frames are shown, too.": _shown(
        lambda known, overlap: (known.predicted or known.context)[-overlap:]
    ),
    "You went on from the end of the whole prediction: its frames after the first `block` were not "
    "kept, and are not known.": _shown(
        lambda known, overlap: (known.whole or known.context)[-overlap:]
    ),
    "You threw away the first `overlap` frames of each prediction: the model does not repeat what "
    "it was shown, keep the first `block`.": _after_overlap,
    "`block` and `overlap` are swapped.": (
        lambda model, context, horizon, block, overlap: _blocks(
            model, context, horizon, overlap, block
        )
    ),
    "You went on from the last `block` frames: the last `overlap` are to be shown.": (
        lambda model, context, horizon, block, overlap: _blocks(
            model, context, horizon, block, block
        )
    ),
    "Your overlap is a frame too long.": (
        lambda model, context, horizon, block, overlap: _blocks(
            model, context, horizon, block, overlap + 1
        )
    ),
    "Your overlap is a frame too short.": (
        lambda model, context, horizon, block, overlap: _blocks(
            model, context, horizon, block, max(overlap - 1, 1)
        )
    ),
}
