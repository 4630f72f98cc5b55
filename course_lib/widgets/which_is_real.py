"""Which one is real? Two clips side by side; the reader's score stands beside a network's.

Python decides which side is real and says so only after the reader has picked.
"""

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import anywidget
import numpy as np
import torch
import traitlets

from course_lib.widgets.contact_sheet import Row, contact_sheet
from course_lib.widgets.reader import bar_row, beside, keep, percent, script, split_key
from course_lib.widgets.sprites import pack

HERE = Path(__file__).parent
SIDES = ("left", "right")
ASK = "Press ← or → for the clip that you believe is real."
NO_KERNEL = "Run this notebook in JupyterLab to play."
Scores = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]  # of real, of generated


class WhichIsReal(anywidget.AnyWidget):
    """Rounds of two clips each, one real and one generated; the score is kept in the record.

    Args:
        key: the chapter's number and a name of its own, "0.generated".
        real: clips of bytes (N, T, H, W) or (N, T, H, W, 3).
        fake: generated clips whose frames are like the real ones'.
        rounds: how many pairs; no clip comes twice.
        others: who -> the share told apart, for example {"discriminator": 0.93}.
        judges: who -> a score for each real and for each generated clip, high for a real one; their
            share is counted on the reader's own pairs, a tie as half.
        fps: frames per second.
        width: of a clip on the screen, in pixels.
        generator: what the pairs and sides are drawn from.

    Raises:
        ValueError: shapes that do not fit together, too few clips or scores, a share outside 0..1.
    """

    _esm = script("which_is_real.js")
    _css = HERE / "reader.css"

    clips = traitlets.List().tag(sync=True, echo_update=False)  # left and right
    answer = traitlets.Unicode().tag(sync=True)  # the real side, once the reader has picked
    said = traitlets.Unicode().tag(sync=True)  # HTML
    over = traitlets.Bool(False).tag(sync=True)
    fps = traitlets.Int().tag(sync=True)
    width = traitlets.Int().tag(sync=True)
    alt = traitlets.Unicode("Which one is real? Two clips, left and right.").tag(sync=True)

    def __init__(
        self,
        key: str,
        real: np.ndarray,
        fake: np.ndarray,
        rounds: int = 10,
        *,
        others: Mapping[str, float | int] | None = None,
        judges: Mapping[str, Scores] | None = None,
        fps: int = 6,
        width: int = 224,
        generator: torch.Generator | None = None,
    ):
        self._place = split_key(key)
        _check(real, fake, rounds, dict(others or {}), fps)
        self._real, self._fake, self.rounds = real, fake, rounds
        self._others = {name: float(share) for name, share in (others or {}).items()}
        self._judges = {
            name: (_scores(name, of_real, real), _scores(name, of_fake, fake))
            for name, (of_real, of_fake) in (judges or {}).items()
        }
        self._generator = generator
        super().__init__(fps=fps, width=width)
        self._start()
        self.on_msg(self._on_message)

    def pick(self, side: str) -> None:
        """The reader believes that the clip on this side is real.

        Raises:
            ValueError: `side` is neither "left" nor "right".
        """
        if side not in SIDES:
            raise ValueError(f"side is {side!r}; {' or '.join(SIDES)} is allowed")
        if self.answer:  # this round is decided
            return
        truth = SIDES[self._sides[self._round]]
        self.right += side == truth
        played = self._round + 1
        verdict = "Correct" if side == truth else "No"
        said = f"{verdict}: the {truth} one is real. Score: {self.right} of {played}."
        if played == self.rounds:
            said += self._finish()
        with self.hold_sync():
            self.said, self.over, self.answer = said, played == self.rounds, truth

    def go_on(self) -> None:
        """The next round, or a new game after the last; nothing before the reader has picked."""
        if self.over:
            self._start()
        elif self.answer:
            self._show(self._round + 1)

    def _start(self) -> None:
        """Draw the pairs and sides of a game."""
        draw = self._generator
        self._chosen = [
            torch.randperm(len(clips), generator=draw)[: self.rounds].tolist()
            for clips in (self._real, self._fake)
        ]
        self._sides = torch.randint(2, (self.rounds,), generator=draw).tolist()
        self.right = 0
        self._show(0)

    def _show(self, number: int) -> None:
        self._round = number
        pair = [self._real[self._chosen[0][number]], self._fake[self._chosen[1][number]]]
        self._pair = pair[::-1] if self._sides[number] else pair  # side 1: the right one is real
        with self.hold_sync():
            self.clips = [pack(clip).to_dict() for clip in self._pair]
            self.said = f"Round {number + 1} of {self.rounds}. {ASK}"
            self.answer, self.over = "", False

    def _finish(self) -> str:
        """Keep the score; what the game says in the end, as HTML."""
        others = self._others | self._judged()
        fields = {"right": self.right, "rounds": self.rounds, "others": others}
        note = keep("which_is_real", **self._place, **fields)
        low, high = wilson_interval(self.right, self.rounds)
        share = self.right / self.rounds
        words = (
            f"You told {self.right} of {self.rounds} apart; the 95 % interval of your share "
            f"reaches from {percent(low)} to {percent(high)}"
        )
        words += ", so you may have guessed." if low <= 0.5 <= high else "; guessing gives 50 %."
        rows = {"you": share} | others | {"guessing": 0.5}
        table = "".join(bar_row(name, part) for name, part in rows.items())
        return f"<p><b>{html.escape(words)}</b> {html.escape(note)}</p><table>{table}</table>"

    def _judged(self) -> dict[str, float]:
        """The share of this game's pairs that each judge tells apart."""
        real, fake = self._chosen
        return {
            name: float((np.sign(of_real[real] - of_fake[fake]).mean() + 1) / 2)
            for name, (of_real, of_fake) in self._judges.items()
        }

    def _on_message(self, _: object, content: object, __: object) -> None:
        if content == "next":
            self.go_on()
        elif isinstance(content, dict) and content.get("pick") in SIDES:
            self.pick(content["pick"])

    def _repr_mimebundle_(self, **kwargs: dict) -> tuple[dict, dict] | None:
        """The live view, and beside it the pair as a picture, without the answer."""
        times = np.unique(np.linspace(0, len(self._pair[0]) - 1, 6).round().astype(int))
        picture = contact_sheet(
            [
                Row(f"{side.capitalize()} clip", "", list(clip[times]))
                for side, clip in zip(SIDES, self._pair, strict=True)
            ],
            [f"frame {t}" for t in times],
            title="Which one is real?",
            caption=NO_KERNEL,
        )
        text = f"{self.alt} {NO_KERNEL}"
        return beside(super()._repr_mimebundle_(**kwargs), text, png=picture)


def wilson_interval(right: int, rounds: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share: the p with |right/rounds - p| <= z sqrt(p (1-p) / rounds)."""
    share, square = right / rounds, z * z / rounds
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square * square / 4) / (1 + square)
    return max(0.0, centre - half), min(1.0, centre + half)


def _scores(name: str, scores: Sequence[float] | np.ndarray, clips: np.ndarray) -> np.ndarray:
    """One finite number for each clip."""
    numbers = np.asarray(scores, dtype=float)
    if numbers.shape != clips.shape[:1] or not np.isfinite(numbers).all():
        raise ValueError(
            f"{name!r} gives scores of shape {numbers.shape}; {len(clips)} finite ones are needed"
        )
    return numbers


def _check(
    real: np.ndarray, fake: np.ndarray, rounds: int, others: dict[str, float | int], fps: int
) -> None:
    for name, clips in (("real", real), ("fake", fake)):
        colour = clips.ndim == 5 and clips.shape[-1] == 3
        if clips.dtype != np.uint8 or not (clips.ndim == 4 or colour) or 0 in clips.shape:
            raise ValueError(
                f"{name} is {clips.dtype} of shape {clips.shape}; uint8 (N, T, H, W) or "
                f"(N, T, H, W, 3) is needed"
            )
        if not 1 <= rounds <= len(clips):
            raise ValueError(f"rounds is {rounds}; 1..{len(clips)}, as many as {name} has clips")
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(f"real clips are {real.shape[1:]}, fake ones {fake.shape[1:]}; equal only")
    if not 1 <= fps <= 60:
        raise ValueError(f"fps is {fps}; 1..60 are allowed")
    for name, share in others.items():
        if not 0 <= share <= 1:
            raise ValueError(f"the share of {name!r} is {share}; 0..1 is allowed")
