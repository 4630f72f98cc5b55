"""The answer to a prediction: folded at first, then the measured value beside the predicted one."""

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anywidget
import traitlets

from course_lib.plots import COLORS, Picture
from course_lib.widgets.reader import bar_row, beside, events_of, keep, script

HERE = Path(__file__).parent
FOLDED = "The answer is folded: commit a prediction above to see it."
UNPREDICTED = "You look without a prediction."
WIDTH, EDGE = 440, 30  # of a number line and of the room at its ends, in pixels


@dataclass(frozen=True)
class Judgement:
    """What the answer says to one prediction, or to None."""

    sentence: str
    drawing: str  # HTML
    fields: dict  # of the record's event: predicted, measured, and how far off


class Reveal(anywidget.AnyWidget):
    """An answer that stays folded until a prediction is committed or the reader asks for it.

    `judge` makes the answer for a prediction; until it is shown, nothing of it leaves Python.
    """

    _esm = script("prediction.js")
    _css = HERE / "reader.css"

    folded = traitlets.Unicode(FOLDED).tag(sync=True)
    answer = traitlets.Unicode().tag(sync=True)  # HTML; empty while folded

    def __init__(
        self,
        place: dict,
        judge: Callable[..., Judgement],
        explanation: str = "",
        picture: Picture | None = None,
    ):
        self._place, self._judge = place, judge
        self._explanation, self._picture = explanation, picture
        super().__init__()
        self.on_msg(self._on_message)

    def show(self, value: str | int | float | dict | None) -> None:
        """Unfold the answer to a prediction; None where there is none."""
        judgement = self._judge(value)
        event = self._place | judgement.fields
        shown = events_of("reveal", self._place)
        if not shown or not event.items() <= shown[-1].items():  # a second run adds nothing
            keep("reveal", **event)
        self.answer = "".join(
            [f"<p><b>{html.escape(judgement.sentence)}</b></p>", judgement.drawing, *self._below()]
        )

    def _below(self) -> list[str]:
        paragraphs = [f"<p>{html.escape(text)}</p>" for text in self._explanation.split("\n\n")]
        parts = paragraphs if self._explanation else []
        if self._picture is not None:
            png = base64.b64encode(self._picture.png()).decode("ascii")
            width = round(self._picture.get_figwidth() * 96)
            alt = html.escape(self._picture.alt, quote=True)
            parts.append(f'<img src="data:image/png;base64,{png}" width="{width}" alt="{alt}">')
        return parts

    def _on_message(self, _: object, content: object, __: object) -> None:
        if content == "show":
            self.show(None)

    def _repr_mimebundle_(self, **kwargs: dict) -> tuple[dict, dict] | None:
        """The live view, and beside it what the reader may see now where no widget can live."""
        seen = self.answer or f"<p>{html.escape(self.folded)}</p>"
        text = "The answer is shown above." if self.answer else self.folded
        return beside(super()._repr_mimebundle_(**kwargs), text, html=seen)


def number_line(
    ends: Sequence[tuple[int | float, str]], marks: Mapping[str, tuple[int | float, str]]
) -> str:
    """A line between two ends with marks, name -> value with its label: one above, one below."""
    places = [x for x, _ in (*ends, *marks.values())]
    low, high = min(places), max(places)
    at = {
        name: EDGE + (WIDTH - 2 * EDGE) * (x - low) / (high - low) for name, (x, _) in marks.items()
    }
    said = {name: f"{name}: {label}" for name, (_, label) in marks.items()}
    between = f"M{min(at.values()):.1f} 60 H{max(at.values()):.1f}"
    parts = [
        f'<path d="M{EDGE} 60 H{WIDTH - EDGE}" stroke="currentColor"/>',
        f'<path d="{between}" stroke="{COLORS["orange"]}" stroke-width="5"/>',
    ]
    for name, x in at.items():
        above = name != "measured"
        color, tip, y = (COLORS["orange"], 46, 38) if above else (COLORS["blue"], 74, 92)
        parts.append(
            f'<path d="M{x:.1f} 60 L{x - 7:.1f} {tip} H{x + 7:.1f} Z" fill="{color}" '
            f'stroke="currentColor" stroke-width="0.5"/>'
        )
        anchor = "start" if x < WIDTH / 4 else "end" if x > WIDTH * 3 / 4 else "middle"
        parts.append(_text(x, y, said[name], anchor))
    for (x, label), anchor in zip(ends, ("start", "end"), strict=True):
        place = EDGE + (WIDTH - 2 * EDGE) * (x - low) / (high - low)
        parts += [f'<path d="M{place:.1f} 54 V66" stroke="currentColor"/>']
        parts.append(_text(place, 14, label, anchor))
    alt = ", ".join([f"A line from {ends[0][1]} to {ends[1][1]}", *said.values()])
    return (
        f'<svg role="img" aria-label="{html.escape(alt, quote=True)}" width="{WIDTH}" '
        f'viewBox="0 0 {WIDTH} 100" style="max-width:100%;font-size:13px" fill="currentColor">'
        f"{''.join(parts)}</svg>"
    )


def option_bars(
    options: Sequence[str], distribution: Mapping[str, int | float], marks: Mapping[str, str]
) -> str:
    """The options as a table: a bar where a probability is known, and what each mark points at."""
    rows = []
    for option in options:
        said = ", ".join(name for name, marked in marks.items() if marked == option)
        share = distribution.get(option, 0) if distribution else None
        rows.append(bar_row(option, share, said))
    return f"<table>{''.join(rows)}</table>"


def _text(x: float, y: int, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{html.escape(text)}</text>'
