"""The crossroads: a digit walks up a road and turns; its class decides with which probability.

A clip is a function of the digit, the frame of its arrival at the junction, the turn, and whether
it comes back. All positions are integers in units of size / 32 pixels, so nothing is interpolated
and every size shows the same world. What is known about the future stands in `futures.py`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor

from course_lib.data.digits import Digits
from course_lib.data.futures import Futures

TURNS = ("left", "straight", "right")
ARM_LENGTH = 10  # units from the centre of the junction to where a digit parks
SPRITE = 12  # units
HOUSE = 9  # units
HOUSE_SHADE = 0.25  # of full ink


@dataclass(frozen=True)
class Cue:
    """What a group of digits that are easily confused does at the junction."""

    digits: tuple[int, ...]
    turn_probs: tuple[float, float, float]  # left, straight, right
    return_probs: tuple[float, float, float]  # given the turn; counts where the preset returns


CUES = (
    Cue((0, 6), (0.0, 1.0, 0.0), (0.0, 0.5, 0.0)),
    Cue((4, 9), (0.6, 0.3, 0.1), (0.5, 0.0, 1.0)),
    Cue((3, 5), (0.1, 0.3, 0.6), (0.25, 0.25, 0.25)),
    Cue((1, 7), (1 / 3, 1 / 3, 1 / 3), (0.0, 0.0, 0.0)),
    Cue((2, 8), (0.5, 0.0, 0.5), (0.5, 0.0, 0.5)),
)
CUE_OF_DIGIT = torch.tensor(
    [next(g for g, cue in enumerate(CUES) if d in cue.digits) for d in range(10)]
)
_TURN_PROBS = torch.tensor([cue.turn_probs for cue in CUES], dtype=torch.float64)
_RETURN_PROBS = torch.tensor([cue.return_probs for cue in CUES], dtype=torch.float64)


def turn_probs(label: Int64[Tensor, "*batch"]) -> Float64[Tensor, "*batch 3"]:
    """P(left, straight, right) of digits with these labels."""
    return _TURN_PROBS[CUE_OF_DIGIT[label]]


def return_probs(label: Int64[Tensor, "*batch"]) -> Float64[Tensor, "*batch 3"]:
    """P(comes back) given each turn, in presets that return; 0 where the turn cannot occur."""
    return _RETURN_PROBS[CUE_OF_DIGIT[label]]


@dataclass(frozen=True)
class Preset:
    """The clock of a world. Frames are counted from 0."""

    name: str
    num_frames: int
    context: int  # observed frames
    arrivals: tuple[int, ...]  # equally likely frames at which the digit is at the centre
    speed: int  # units per frame
    returns: bool  # may the digit come back?

    @property
    def horizon(self) -> int:
        """Frames to be predicted."""
        return self.num_frames - self.context

    def tau1(self, arrival: int) -> int:
        """The first frame that shows the turn."""
        return arrival + 1

    def tau2(self, arrival: int) -> int:
        """The first frame that shows whether the digit comes back."""
        return arrival + ARM_LENGTH // self.speed + 1


BASE = Preset("base", num_frames=12, context=3, arrivals=(3, 4, 5), speed=2, returns=False)
TWICE = Preset("twice", num_frames=17, context=3, arrivals=(3, 4, 5), speed=2, returns=True)
LONG = Preset("long", num_frames=21, context=5, arrivals=(6, 7, 8, 9, 10), speed=1, returns=False)


@dataclass(frozen=True, eq=False)
class Clips:
    """A batch of clips and the four things that decided each."""

    video: Float[Tensor, "B T 1 S S"]
    index: Int64[Tensor, "B"]  # into the world's digits
    label: Int64[Tensor, "B"]
    arrival: Int64[Tensor, "B"]
    turn: Int64[Tensor, "B"]  # into TURNS
    returned: Bool[Tensor, "B"]


def sprites(images: UInt8[Tensor, "B 28 28"], unit: int) -> Float[Tensor, "B side side"]:
    """The 20 x 20 box that holds a digit, resized by area to 12 units; ink in [0, 1].

    Each pixel is repeated 3 * unit times, then five are averaged. The sums are of integers, so
    every machine gets the same bits.
    """
    box = images[:, 4:24, 4:24].float()
    for _ in range(2):  # columns, then rows
        box = box.repeat_interleave(3 * unit, -1).unflatten(-1, (-1, 5)).sum(-1).mT
    return box / (25 * 255)


class Crossroads:
    """The crossroads with given digits, at one size and preset.

    Raises:
        ValueError: `size` is not a positive multiple of 32.
    """

    def __init__(self, digits: Digits, preset: Preset = BASE, size: int = 32):
        if size < 32 or size % 32:
            raise ValueError(f"size is {size}; positive multiples of 32 are allowed")
        self.digits = digits
        self.preset = preset
        self.size = size
        self.unit = size // 32  # pixels
        self.map = 2 * self._houses() - 1

    def clip(
        self, index: int, arrival: int, turn: str, returns: bool = False
    ) -> Float[Tensor, "T 1 S S"]:
        """One clip; a turn that the digit would never take is shown as well.

        Raises:
            ValueError: An argument is not of this world, for example a return in `base`.
        """
        if turn not in TURNS:
            raise ValueError(f"turn is {turn!r}; {', '.join(map(repr, TURNS))} are allowed")
        if returns and not self.preset.returns:
            raise ValueError(f"returns is True; nobody comes back in preset {self.preset.name!r}")
        self._check_context(index, arrival)
        decisions = torch.tensor([[index], [arrival], [TURNS.index(turn)]])
        return self.render(decisions[0], decisions[1], decisions[2], torch.tensor([returns]))[0]

    def sample(self, batch: int, *, generator: torch.Generator | None = None) -> Clips:
        """Clips drawn from the world: digit, arrival, turn and return."""
        index = torch.randint(len(self.digits), (batch,), generator=generator)
        arrivals = torch.tensor(self.preset.arrivals)
        arrival = arrivals[torch.randint(len(arrivals), (batch,), generator=generator)]
        # The inverse of the distribution function: a turn of probability 0 is never drawn.
        chance = torch.rand(2, batch, dtype=torch.float64, generator=generator)
        label = self.digits.labels[index]
        turn = (chance[0, :, None] >= turn_probs(label).cumsum(-1)[:, :2]).sum(-1)
        returned = chance[1] < return_probs(label).gather(1, turn[:, None])[:, 0]
        returned &= self.preset.returns
        video = self.render(index, arrival, turn, returned)
        return Clips(video, index, label, arrival, turn, returned)

    def futures(self, index: int, arrival: int, include_impossible: bool = False) -> Futures:
        """All that can follow the context of digit `index` arriving at frame `arrival`.

        With `include_impossible`, the futures of probability 0 too, in an order that is the same
        for every digit.

        Raises:
            ValueError: The world has no such digit or arrival.
        """
        self._check_context(index, arrival)
        label = self.digits.labels[index]
        comes_back = return_probs(label) if self.preset.returns else torch.zeros(3).double()
        probs = turn_probs(label)[:, None] * torch.stack([1 - comes_back, comes_back], 1)  # (3, 2)
        kinds = 2 if self.preset.returns else 1
        turns = torch.arange(3).repeat_interleave(kinds)
        returns = torch.tensor([False, True][:kinds]).repeat(3)
        probs = probs[:, :kinds].flatten()
        if not include_impossible:
            turns, returns, probs = (x[probs > 0] for x in (turns, returns, probs))
        video = self.render(
            torch.full_like(turns, index), torch.full_like(turns, arrival), turns, returns
        )
        context = self.preset.context
        return Futures(
            context=video[0, :context],
            clips=video[:, context:],
            probs=probs,
            turns=turns,
            returns=returns,
            background=self.map,
            turn_step=self.preset.tau1(arrival) - context,
        )

    def render(
        self,
        index: Int64[Tensor, "B"],
        arrival: Int64[Tensor, "B"],
        turn: Int64[Tensor, "B"],
        returned: Bool[Tensor, "B"],
    ) -> Float[Tensor, "B T 1 S S"]:
        """The clips of whole batches of decisions; `clip` and `futures` check theirs first."""
        ink = sprites(self.digits.images[index], self.unit)  # (B, side, side)
        side = torch.arange(SPRITE * self.unit)
        corner = (self._centres(arrival, turn, returned) - SPRITE // 2) * self.unit  # (B, T, 2)
        columns, rows = (corner[..., None] + side).unbind(2)  # (B, T, side) each
        batch, frames = corner.shape[:2]
        canvas = torch.zeros(batch, frames, self.size, self.size)
        clip = torch.arange(batch)[:, None, None, None]
        frame = torch.arange(frames)[:, None, None]
        canvas[clip, frame, rows[..., None], columns[..., None, :]] = ink[:, None]
        return torch.maximum(2 * canvas - 1, self.map)[:, :, None]

    def _centres(
        self, arrival: Int64[Tensor, "B"], turn: Int64[Tensor, "B"], returned: Bool[Tensor, "B"]
    ) -> Int64[Tensor, "B T 2"]:
        """(x, y) of the digit's centre in every frame, in units; y grows downwards."""
        walked = self.preset.speed * (torch.arange(self.preset.num_frames) - arrival[:, None])
        back = (walked - ARM_LENGTH).clamp(0, ARM_LENGTH) * returned[:, None]
        radius = walked.clamp(0, ARM_LENGTH) - back  # (B, T)
        arm = torch.tensor([(-1, 0), (0, -1), (1, 0)])[turn]  # (B, 2)
        approach = torch.stack([torch.zeros_like(walked), (-walked).clamp_min(0)], -1)
        return 16 + approach + arm[:, None] * radius[..., None]

    def _houses(self) -> Float[Tensor, "1 S S"]:
        """The map's ink: a square in each corner."""
        near_edge = torch.zeros(self.size, dtype=torch.bool)
        near_edge[: HOUSE * self.unit] = near_edge[-HOUSE * self.unit :] = True
        return HOUSE_SHADE * (near_edge[:, None] & near_edge).float()[None]

    def _check_context(self, index: int, arrival: int) -> None:
        if not 0 <= index < len(self.digits):
            raise ValueError(f"index is {index}; 0..{len(self.digits) - 1} are allowed")
        if arrival not in self.preset.arrivals:
            raise ValueError(f"arrival is {arrival}; {self.preset.arrivals} are allowed")
