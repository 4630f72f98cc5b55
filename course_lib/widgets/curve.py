"""A prediction that is drawn: the reader drags curves, the measured ones appear over them."""

import html
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import cast

import traitlets

from course_lib.plots import Picture
from course_lib.widgets.curve_plane import EDGES, PALETTE, SIZE, Line, Plane, drawing
from course_lib.widgets.prediction import Answer, Number, Prediction
from course_lib.widgets.reader import script
from course_lib.widgets.reveal import UNPREDICTED, Judgement, Reveal


class Curve(Prediction):
    """A prediction of one or more curves: a height for each name at each of a few places.

    Points are dragged, or moved with the arrow keys. On a logarithmic axis the error is a factor,
    else a difference; both are means over all points.

    Raises:
        ValueError: a malformed key, an empty question, names or places that are not distinct, or
            ends that make no axis.
    """

    plane = traitlets.Dict().tag(sync=True)

    _esm = script("curve.js", "prediction.js")

    def __init__(
        self,
        key: str,
        question: str,
        places: Sequence[str | Number],
        names: Sequence[str],
        low: Number,
        high: Number,
        *,
        xlabel: str,
        ylabel: str,
        log: bool = False,
    ):
        marks = [str(place) for place in places]
        if not 2 <= len(set(marks)) == len(marks):
            raise ValueError(f"places are {marks}; at least 2, all different, are needed")
        if not 1 <= len(set(names)) == len(names) <= len(PALETTE):
            raise ValueError(
                f"names are {list(names)}; 1..{len(PALETTE)}, all different, are needed"
            )
        if not (math.isfinite(low) and math.isfinite(high) and low < high and (low > 0 or not log)):
            raise ValueError(
                f"low {low}, high {high}, log {log}; low < high is needed, above 0 where log"
            )
        self.names, self.places, self._log = list(names), marks, log
        self._labels = (xlabel, ylabel)
        drawn = Plane(marks, low, high, log)
        self._heights = drawn.heights()
        self.permitted = (
            f"{ylabel} from {low:g} to {high:g} at {xlabel} {', '.join(marks)}: "
            f"{' / '.join(self.names)}"
        )
        super().__init__(
            key,
            question,
            plane={
                "names": self.names,
                "places": [f"{xlabel} {mark}" for mark in marks],
                "heights": self._heights,
                "frame": drawn.frame(xlabel, ylabel),
                "size": SIZE,
                "edges": EDGES,
                "x": [drawn.across(curve, len(names)) for curve in range(len(names))],
                "colors": PALETTE[: len(names)],
            },
        )

    def reveal(
        self,
        measured: Mapping[str, Sequence[Number] | Line],
        *,
        explanation: str = "",
        picture: Picture | None = None,
    ) -> Reveal:
        """The measured curves over the drawn ones, folded until there are any.

        `measured` has a line for each name, or (line, low, high) to draw intervals; it may leave
        the axis, which then grows. `explanation` stands below as plain text, where an empty line
        begins a paragraph, then `picture`.

        Raises:
            ValueError: another name, another number of points, or a point that the axis cannot
                show.
        """
        if set(measured) != set(self.names):
            raise ValueError(f"measured has {list(measured)}; permitted: {self.names}")
        lines = {name: _as_line(measured[name]) for name in self.names}
        self._check(lines)
        truth = {name: [float(value) for value in lines[name][0]] for name in self.names}

        def judge(value: dict[str, list[Number]] | None) -> Judgement:
            fields: dict = {"predicted": value, "measured": truth}
            if value is not None:
                fields |= self._error(value, truth)
            sentence = self._sentence(value, truth)
            return Judgement(sentence, self._drawing(value, lines), fields)

        return self._fold(judge, explanation, picture)

    def label(self, value: Answer) -> str:  # noqa: D102
        lines = cast(dict, value)
        return "; ".join(
            f"{name}: {', '.join(f'{height:g}' for height in lines[name])}" for name in self.names
        )

    def _permits(self, value: object) -> bool:
        if not isinstance(value, dict) or set(value) != set(self.names):
            return False
        return all(
            isinstance(line, list)
            and len(line) == len(self.places)
            and all(not isinstance(h, bool) and h in self._heights for h in line)
            for line in value.values()
        )

    def _check(self, lines: Mapping[str, Line]) -> None:
        above = " above 0" if self._log else ""
        for name, part in ((name, part) for name, line in lines.items() for part in line):
            drawable = all(math.isfinite(v) and (v > 0 or not self._log) for v in part)
            if len(part) != len(self.places) or not drawable:
                raise ValueError(
                    f"{name} is {list(part)}; {len(self.places)} finite numbers{above} are needed"
                )

    def _error(self, value: Mapping, truth: Mapping) -> dict[str, float | str]:
        """How far off the points are on average, as a field of the record."""
        pairs = [pair for name in self.names for pair in zip(value[name], truth[name], strict=True)]
        if self._log:
            return {"factor": math.exp(fmean(abs(math.log(a / b)) for a, b in pairs))}
        return {"error": fmean(abs(a - b) for a, b in pairs), "unit": ""}

    def _sentence(self, value: Mapping | None, truth: Mapping) -> str:
        if value is None:
            return f"{UNPREDICTED} The measured curves are below."
        (size,) = (x for x in self._error(value, truth).values() if isinstance(x, float))
        far = f"a factor of {size:.1f}" if self._log else f"{size:.3g}"
        said = f"Your points are off by {far} on average."
        if len(self.names) > 1:
            places = range(len(self.places))
            right = sum(self._order(value, n) == self._order(truth, n) for n in places)
            said += f" The order of the curves is right at {right} of {len(places)} places."
        return said

    def _order(self, lines: Mapping, place: int) -> list[int]:
        """Of each two curves: -1, 0 or 1, whether the first is lower at a place."""
        heights = [lines[name][place] for name in self.names]
        return [(a > b) - (a < b) for a, b in combinations(heights, 2)]

    def _drawing(self, value: Mapping | None, lines: Mapping[str, Line]) -> str:
        shown = [*self._heights, *(v for line in lines.values() for part in line for v in part)]
        plane = Plane(self.places, min(shown), max(shown), self._log)
        said = [
            f"{name} measured: {', '.join(f'{v:.3g}' for v in line[0])}"
            for name, line in lines.items()
        ]
        alt = "; ".join(said if value is None else [f"drawn: {self.label(dict(value))}", *said])
        return drawing(plane, self._labels, value, lines, alt) + self._key(value)

    def _key(self, value: Mapping | None) -> str:
        """What the colours and the dashes mean."""
        entries = [
            f'<span style="color:{color}">&#9632;</span> {html.escape(name)}'
            for name, color in zip(self.names, PALETTE, strict=False)
        ]
        how = "solid: measured" + ("" if value is None else "; dashed: yours; pale: the error")
        return f"<p>{' &ensp; '.join([*entries, how])}</p>"


def _as_line(line: Sequence[Number] | Line) -> Line:
    """A line with its interval, which is the line itself where none is given."""
    return cast(Line, line) if isinstance(line, tuple) else (line, line, line)
