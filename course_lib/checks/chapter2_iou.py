"""Chapter 2: the checker of intersection over union."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.properties import (
    Draw,
    agrees,
    fresh_generator,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Verdict, examine
from course_lib.evaluation import masks

PAIR = ("predicted", "truth")


def iou(function) -> Verdict:
    """Check `function(predicted, truth)`: intersection over union of bool masks, (B,).

    Both are (B, T, 1, H, W); a clip is measured at once, and is 1 where both masks are empty.
    """
    large = _draw_masks(3, 4, 4)
    return examine(
        "iou",
        function,
        masks.iou,
        {
            "returns one number for each clip": returns(
                large, (3,), PAIR, "Count over time and pixels, not over the batch."
            ),
            "gives what the definition says": agrees(
                _iou,
                [_draw_masks(1, 1, 2), _draw_masks(2, 3, 3), large],
                PAIR,
                IOU_MISTAKES,
                "Count the pixels in both masks, and divide by the number in at least one.",
            ),
            "is 1 for equal masks, and 0 for masks that share nothing": agrees(
                lambda predicted, truth: (predicted & truth).flatten(1).any(1).float(),
                [_draw_equal_and_opposite],
                PAIR,
                {},
                "Equal masks: both counts are the same. Apart: the first count is 0.",
            ),
            "is 1 where both masks are empty": agrees(
                _iou,
                [_draw_empty],
                PAIR,
                EMPTY_MISTAKES,
                "0 / 0 is nan, and one nan makes every mean a nan. Both masks agree, so say 1: "
                "`torch.where`, or `.where(...)`.",
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, PAIR),
        },
    )


def _draw_masks(batch: int, frames: int, size: int) -> Draw:
    """A random mask in every clip, and a guess with faults of both kinds."""

    def draw() -> tuple[Tensor, Tensor]:
        shape = (batch, frames, 1, size, size)
        at_truth, at_fault = torch.rand(2, *shape, generator=fresh_generator())
        truth = at_truth < 0.4
        truth[..., 0, 0] = True
        return truth ^ (at_fault < 0.3), truth

    return draw


def _draw_equal_and_opposite() -> tuple[Tensor, Tensor]:
    _, truth = _draw_masks(2, 3, 3)()
    predicted = truth.clone()
    predicted[1] = ~truth[1]
    return predicted, truth


def _draw_empty() -> tuple[Tensor, Tensor]:
    predicted, truth = _draw_masks(3, 2, 3)()
    predicted[0], truth[0], predicted[1] = False, False, False
    return predicted, truth


def _pixels(mask: Tensor) -> list[set[tuple[int, ...]]]:
    """The places of each clip's pixels, as sets."""
    return [set(map(tuple, clip.nonzero().tolist())) for clip in mask]


def _iou(predicted: Tensor, truth: Tensor, empty: float = 1.0) -> Tensor:
    pairs = zip(_pixels(predicted), _pixels(truth), strict=True)
    return torch.tensor([len(p & t) / len(p | t) if p | t else empty for p, t in pairs])


def _overlap_over(size: Callable[[set, set], float]) -> Callable[[Tensor, Tensor], Tensor]:
    """The intersection divided by something else than the union."""
    return lambda predicted, truth: torch.tensor(
        [
            len(p & t) / max(size(p, t), 1)
            for p, t in zip(_pixels(predicted), _pixels(truth), strict=True)
        ]
    )


def _frame_by_frame(predicted: Tensor, truth: Tensor) -> Tensor:
    return _iou(predicted.flatten(0, 1), truth.flatten(0, 1)).unflatten(0, truth.shape[:2]).mean(1)


EMPTY_MISTAKES = {
    "You gave 0 where both are empty: to find nothing where nothing is, is right.": (
        lambda p, t: _iou(p, t, empty=0.0)
    ),
}
IOU_MISTAKES = {
    "You averaged the IoU of the frames: count over the whole clip, then divide once.": (
        _frame_by_frame
    ),
    "That is Dice, 2 * intersection over the sum of both sizes: divide by the union.": (
        _overlap_over(lambda p, t: (len(p) + len(t)) / 2)
    ),
    "That is the share of right pixels. Where little moves, an empty mask scores high by it.": (
        lambda p, t: (p == t).flatten(1).float().mean(1)
    ),
    "You divided by the truth alone, the recall: a mask that covers everything gets 1.": (
        _overlap_over(lambda p, t: len(t))
    ),
    "You divided by the prediction alone, the precision: one right pixel gets 1.": (
        _overlap_over(lambda p, t: len(p))
    ),
    "You added up both sizes, but the intersection is in both: the union counts it once.": (
        _overlap_over(lambda p, t: len(p) + len(t))
    ),
    "You divided by the number of all pixels: divide by the union.": (
        lambda p, t: (p & t).flatten(1).float().mean(1)
    ),
    "That is the IoU of the background: do not negate the masks.": lambda p, t: _iou(~p, ~t),
    "You gave every clip the IoU of the whole batch.": (
        lambda p, t: _iou(p.flatten()[None], t.flatten()[None]).expand(len(p))
    ),
}
