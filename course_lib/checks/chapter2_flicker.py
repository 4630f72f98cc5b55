"""Chapter 2: the checker of flicker."""

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

CHANGES = ("video", "busy")
GREY = 127.5  # grey levels in one unit of a pixel in [-1, 1]


def flicker(function) -> Verdict:
    """Check `function(video, busy)`: how much the still part of each clip changes, (B,).

    `video` is (B, T, C, H, W) in [-1, 1], `busy` bool (B, T, 1, H, W). The result is in grey
    levels, 0 to 255: the mean of |change| over the pixels that are busy in neither frame.
    """
    large = _draw_changes(3, 4)
    return examine(
        "flicker",
        function,
        masks.flicker,
        {
            "returns one number for each clip": returns(
                large, (3,), CHANGES, "Average over time, channels and pixels, not over the batch."
            ),
            "gives what the definition says": agrees(
                _flicker,
                [_draw_changes(1, 2, 1), _draw_changes(2, 3), large],
                CHANGES,
                FLICKER_MISTAKES,
                "Add |change| up over the pixels that are busy in neither frame, divide by their "
                "number, times 127.5.",
            ),
            "is 10 where the whole picture goes up and down by 10 grey levels": agrees(
                lambda video, busy: torch.full((len(video),), 10.0),
                [_draw_swing],
                CHANGES,
                {},
                "Ups and downs must not cancel, and the mean is over the still pixels alone.",
            ),
            "is 0 where only busy pixels change": agrees(
                lambda video, busy: torch.zeros(len(video)),
                [_draw_sprite],
                CHANGES,
                {},
                "A pixel that a sprite enters or leaves is busy in one of the two frames.",
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, CHANGES),
        },
    )


def _draw_busy(batch: int, frames: int, generator: torch.Generator) -> Tensor:
    """About a third of the pixels; the first stays free, so that there is something to measure."""
    busy = torch.rand(batch, frames, 1, 4, 5, generator=generator) < 0.3
    busy[..., 0, 0] = False
    return busy


def _draw_changes(batch: int, frames: int, channels: int = 3) -> Draw:
    def draw() -> tuple[Tensor, Tensor]:
        generator = fresh_generator()
        light = torch.linspace(0, 1, frames)[:, None, None, None]  # fades: the signed mean is < 0
        video = torch.rand(batch, frames, channels, 4, 5, generator=generator) - light
        return video, _draw_busy(batch, frames, generator)

    return draw


def _draw_swing() -> tuple[Tensor, Tensor]:
    video, busy = _draw_changes(2, 5)()
    swing = torch.arange(5).remainder(2) * 10 / GREY  # as often up as down
    return video[:, :1] / 2 + swing[:, None, None, None], busy


def _draw_sprite() -> tuple[Tensor, Tensor]:
    video, busy = _draw_changes(2, 5)()
    return torch.where(busy, video, video[:, :1]), busy


def _flicker(
    video: Tensor,
    busy: Tensor,
    change: Callable[[Tensor], Tensor] = torch.abs,
    still: Callable[[Tensor, Tensor], Tensor] = lambda before, after: ~before & ~after,
) -> Tensor:
    """Clip by clip, and every value that counts picked out by itself."""
    found = []
    for clip, covered in zip(video.double(), busy, strict=True):
        counted = still(covered[:-1], covered[1:])
        found.append(change(clip.diff(dim=0)[counted.expand_as(clip[1:])]).mean())
    return GREY * torch.stack(found)


def _still(busy: Tensor) -> Tensor:
    return ~busy[:, :-1] & ~busy[:, 1:]


def _pair_by_pair(video: Tensor, busy: Tensor) -> Tensor:
    pairs = [_flicker(video[:, t : t + 2], busy[:, t : t + 2]) for t in range(video.shape[1] - 1)]
    return torch.stack(pairs).mean(0)


def _blanked(video: Tensor, busy: Tensor) -> Tensor:
    return (video * ~busy).diff(dim=1).abs().flatten(1).mean(1) * GREY


FLICKER_MISTAKES = {
    "You took the mean of the signed changes: up and down cancel. Take absolute values first.": (
        lambda v, b: _flicker(v, b, change=lambda change: change)
    ),
    "You took the absolute value of the mean: up and down have cancelled by then.": (
        lambda v, b: _flicker(v, b, change=lambda change: change).abs()
    ),
    "You squared the changes: take their absolute value.": (
        lambda v, b: _flicker(v, b, change=torch.square)
    ),
    "You squared the changes, in grey levels: take their absolute value.": (
        lambda v, b: _flicker(v, b, change=torch.square) * GREY
    ),
    "You looked at the first frame's busy pixels alone: what a sprite enters is then counted.": (
        lambda v, b: _flicker(v, b, still=lambda before, after: ~before)
    ),
    "You looked at the second frame's busy pixels alone: what a sprite leaves is then counted.": (
        lambda v, b: _flicker(v, b, still=lambda before, after: ~after)
    ),
    "You left out what is busy in both frames. Leave out what is busy in either.": (
        lambda v, b: _flicker(v, b, still=lambda before, after: ~(before & after))
    ),
    "You measured the busy pixels: flicker is what changes where nothing moves.": (
        lambda v, b: _flicker(v, b, still=lambda before, after: before | after)
    ),
    "You measured all pixels: what moves may change.": (
        lambda v, b: _flicker(v, b, still=lambda before, after: torch.ones_like(before))
    ),
    "You divided by the number of all pixels: divide by that of the still ones.": (
        lambda v, b: _flicker(v, b) * _still(b).flatten(1).double().mean(1)
    ),
    "You blanked the busy pixels before the difference: their edges flicker, and they count.": (
        _blanked
    ),
    "These are units of a pixel in [-1, 1]: one of them is 127.5 grey levels.": (
        lambda v, b: _flicker(v, b) / GREY
    ),
    "You multiplied by 255: pixels in [-1, 1] have the range 2, so one unit is 127.5 of them.": (
        lambda v, b: 2 * _flicker(v, b)
    ),
    "You averaged each pair of frames, then the pairs: add up all pairs, then divide once.": (
        _pair_by_pair
    ),
    "You added up the channels of a pixel: average over them.": (
        lambda v, b: v.shape[2] * _flicker(v, b)
    ),
}
