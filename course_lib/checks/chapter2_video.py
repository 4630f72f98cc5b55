"""Chapter 2: the checkers of composition and of the mask penalty."""

import torch
from torch import Tensor

from course_lib.checks.properties import (
    Draw,
    agrees,
    fresh_generator,
    passes_gradients,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Verdict, examine
from course_lib.methods import gan
from course_lib.models import videogan

STREAMS = ("foreground", "background", "mask")


def compose(function) -> Verdict:
    """Check `function(foreground, background, mask)`: two streams put together, a video.

    `foreground` has shape (B, T, C, H, W), `background` (B, C, H, W), `mask` (B, T, 1, H, W).
    """
    large = _draw_streams(3, 3)  # as many clips as frames as channels: every wrong axis fits
    hint = "video = mask * foreground + (1 - mask) * background, the background in every frame."
    return examine(
        "compose",
        function,
        videogan.compose,
        {
            "returns a video of the foreground's shape": returns(
                large, (3, 3, 3, 4, 5), STREAMS, "The background has no time axis: give it one."
            ),
            "mixes the two streams, and repeats the background": agrees(
                _compose, [_draw_streams(1, 1, 1, 1, 1), large], STREAMS, COMPOSE_MISTAKES, hint
            ),
            "works whatever the number of clips and of frames": agrees(
                _compose,
                [_draw_streams(2, 4), _draw_streams(4, 2), _draw_streams(1, 3, 1)],
                STREAMS,
                {},
                "Say which axis of the background is new: `background[:, None]`, `unsqueeze(1)`.",
            ),
            "shows the background alone where the mask is 0": agrees(
                lambda f, b, m: torch.stack([b] * f.shape[1], 1),
                [_draw_streams(2, 3, mask=0.0)],
                STREAMS,
                {},
                "Where the mask is 0 the foreground must not be seen: the same frame T times.",
            ),
            "shows the foreground alone where the mask is 1": agrees(
                lambda f, b, m: f,
                [_draw_streams(2, 3, mask=1.0)],
                STREAMS,
                {},
                "Where the mask is 1 the background must not shine through.",
            ),
            "lets both streams and the mask learn": passes_gradients(
                _compose, _draw_streams(2, 3), STREAMS, STREAMS
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, STREAMS),
        },
    )


def _draw_streams(
    batch: int,
    frames: int,
    channels: int = 3,
    height: int = 4,
    width: int = 5,
    mask: float | None = None,
) -> Draw:
    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        size = (height, width)
        drawn = torch.rand(batch, frames, 1, *size, generator=generator)
        return (
            torch.rand(batch, frames, channels, *size, generator=generator) * 2 - 1,
            torch.rand(batch, channels, *size, generator=generator) * 2 - 1,
            drawn if mask is None else torch.full_like(drawn, mask),
        )

    return draw


def _compose(foreground: Tensor, background: Tensor, mask: Tensor) -> Tensor:
    """Frame by frame: from the background, `mask` of the way to the foreground."""
    frames = [
        torch.lerp(background, frame, share.expand_as(frame))
        for frame, share in zip(foreground.unbind(1), mask.unbind(1), strict=True)
    ]
    return torch.stack(frames, 1)


def _over_the_last(foreground: Tensor, background: Tensor, mask: Tensor) -> Tensor:
    frames = [background]
    for t in range(foreground.shape[1]):
        frames.append(_compose(foreground[:, t : t + 1], frames[-1], mask[:, t : t + 1])[:, 0])
    return torch.stack(frames[1:], 1)


COMPOSE_MISTAKES = {
    "The mask and 1 - mask are swapped: the mask says where the foreground is seen.": (
        lambda f, b, m: _compose(f, b, 1 - m)
    ),
    "The background is not still: its clips went along the time axis. `background[:, None]` gives "
    "every clip its own.": lambda f, b, m: m * f + (1 - m) * b,
    "The background is not still: its channels went along the time axis. The new axis is number 1, "
    "`background[:, None]`.": lambda f, b, m: m * f + (1 - m) * b[:, :, None],
    "The background is not still: you put each frame over the one before.": _over_the_last,
    "You added the foreground to the whole background: its share is 1 - mask.": (
        lambda f, b, m: _compose(f, b, m) + m * b[:, None]
    ),
    "You added the whole foreground: its share is the mask.": (
        lambda f, b, m: _compose(f, b, m) + (1 - m) * f
    ),
    "You added the two streams, but the mask has no say.": lambda f, b, m: f + b[:, None],
    "You left out the background.": lambda f, b, m: m * f,
    "You used the mask as a switch: it is a share between 0 and 1.": (
        lambda f, b, m: _compose(f, b, (m > 0.5).float())
    ),
}


MASK = ("mask",)


def mask_penalty(function) -> Verdict:
    """Check `function(mask)`: the mean of all values of a mask (B, T, 1, H, W) in [0, 1]."""
    large = _draw_mask(3, 2)
    return examine(
        "mask_penalty",
        function,
        gan.mask_penalty,
        {
            "returns a single number": returns(
                large, (), MASK, "Average over the batch, the frames and the pixels at once."
            ),
            "is the mean of all values": agrees(
                _mean,
                [_draw_mask(1, 1, 1), _draw_mask(1, 4), large],
                MASK,
                PENALTY_MISTAKES,
                "One mean over all values, the batch included: nothing else is weighed or squared.",
            ),
            "does not grow with the number of clips, of frames or of pixels": agrees(
                lambda mask: mask[0, 0, 0, 0, 0],
                [_draw_grey(1, 2), _draw_grey(5, 2), _draw_grey(1, 8), _draw_grey(1, 2, 7)],
                MASK,
                {},
                "Divide by the number of values: a mask of one grey costs that grey, at any size.",
            ),
            "is 0 for an empty mask and 1 for a full one": agrees(
                lambda mask: mask.amax(),
                [lambda: (torch.zeros(2, 3, 1, 4, 4),), lambda: (torch.ones(2, 3, 1, 4, 4),)],
                MASK,
                {},
                "What costs is showing the foreground: 0 where it is nowhere seen.",
            ),
            "pushes every value with the same strength": passes_gradients(
                _mean, _draw_mask(2, 2), MASK, MASK
            ),
            "leaves its argument unchanged": spares_its_arguments(large, MASK),
        },
    )


def _draw_mask(batch: int, frames: int, size: int = 4) -> Draw:
    return lambda: (torch.rand(batch, frames, 1, size, size, generator=fresh_generator()),)


def _draw_grey(batch: int, frames: int, size: int = 4) -> Draw:
    def draw() -> tuple[Tensor]:
        grey = torch.rand((), generator=fresh_generator())
        return (grey.expand(batch, frames, 1, size, size).clone(),)

    return draw


def _mean(mask: Tensor) -> Tensor:
    return mask.double().sum() / mask.numel()


PENALTY_MISTAKES = {
    "You summed all values. That is a far stronger push, and it grows with the size of the clip.": (
        lambda mask: mask.sum()
    ),
    "You summed each clip and averaged over the batch: average over its frames and pixels too.": (
        lambda mask: mask.sum() / len(mask)
    ),
    "You summed each frame and averaged the frames: average over the pixels too.": (
        lambda mask: mask.sum() / mask.shape[:2].numel()
    ),
    "You squared the mask. That hardly pushes where it is nearly 0: the penalty is linear.": (
        lambda mask: mask.square().mean()
    ),
    "That is the Euclidean length: the penalty is the mean of the values themselves.": (
        lambda mask: mask.norm()
    ),
    "You took the root of the mean square: the penalty is the mean of the values themselves.": (
        lambda mask: mask.square().mean().sqrt()
    ),
    "You penalised 1 - mask, the background's share: the foreground shall be small.": (
        lambda mask: 1 - _mean(mask)
    ),
    "The sign is wrong: a loss is lowered, so a large mask must cost more.": (
        lambda mask: -_mean(mask)
    ),
    "You counted the values above 0.5. A count has no slope, so nothing would be learned.": (
        lambda mask: (mask > 0.5).float().mean()
    ),
}
