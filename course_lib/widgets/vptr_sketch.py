"""The drawing behind vptr_diagram.py: a block's boxes, and maps of the frames beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch, Rectangle

from course_lib.plots import COLORS

WIDE, HIGH = 168, 104  # the drawing's own unit; 20 of them are an inch
INK, GREY, PALE, PINK = "#222222", "#9a9a9a", "#e9e9e9", "#f5dfeb"
LEFT, EDGE, GAP = 104, 18, 3  # of the maps: where the first begins, their side, between them
STREAM, BOX, RAIL = 5, (14, 84), 91  # where the residual stream, the boxes, the queries are
COLOR = {
    "space": COLORS["blue"],
    "convolution": COLORS["yellow"],
    "time": COLORS["green"],
    "mlp": "#444444",
    "witness": COLORS["orange"],
    "second": COLORS["yellow"],
}
Number = float | int
Point = tuple[Number, Number]


@dataclass(frozen=True)
class Box:
    """A sub-layer as it is drawn."""

    kind: str
    name: str
    recipe: str  # what it is made of, in a line
    color: str


class Sketch:
    """The parts of one step."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self._limits()

    def _limits(self) -> None:
        self.axes.set(xlim=(0, WIDE), ylim=(0, HIGH))
        self.axes.set_axis_off()

    def _text(self, x: Number, y: Number, words: str, color: str = INK, **options: Any) -> None:
        style = {"ha": "left", "va": "center", "fontsize": 9} | options
        self.axes.text(x, y, words, color=color, **style)

    def _arrow(self, path: Sequence[Point], color: str, heavy: Number = 1.4) -> None:
        if len(path) > 2:
            self.axes.plot(*zip(*path[:-1], strict=True), color=color, linewidth=heavy)
        style = {"arrowstyle": "-|>", "color": color, "linewidth": heavy}
        style |= {"shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
        self.axes.annotate("", path[-1], path[-2], arrowprops=style)

    def block(self, name: str, boxes: Sequence[Box], step: str, *, blank: bool) -> None:
        """The sub-layers from top to bottom, each beside the residual stream it adds to."""
        self._text(2, 100, name, fontsize=13, fontweight="bold")
        decoder = len(boxes) > 4
        pitch, high = (14.2, 10.2) if decoder else (20.5, 12)
        top = 93
        self._text(STREAM + 2.5, top, "zeros" if blank else "tokens x", fontsize=9.5)
        bottom = top - 2 - pitch * len(boxes)
        self._arrow([(STREAM, top + 1), (STREAM, bottom - 2)], INK, 1.8)
        places = {box.kind: top - 4 - pitch * (n + 0.5) for n, box in enumerate(boxes)}
        for box in boxes:
            lit, whole = step == box.kind, step not in places
            self._box(box, places[box.kind], high, lit=lit, whole=whole)
        if decoder:
            self._sources(places, step, blank=blank)

    def _box(self, box: Box, y: Number, high: Number, *, lit: bool, whole: bool) -> None:
        left, right = BOX
        face = box.color if lit else "white"
        edge = box.color if lit or whole else GREY
        self.axes.add_patch(
            FancyBboxPatch(
                (left, y - high / 2), right - left, high,
                boxstyle="round,pad=0,rounding_size=2", facecolor=face, edgecolor=edge,
                linewidth=1.8,
            )
        )  # fmt: skip
        ink = "white" if lit and box.color != COLORS["yellow"] else INK
        options = {"ha": "center"}
        self._text((left + right) / 2, y + 2, box.name, ink, fontsize=10.5, **options)
        self._text((left + right) / 2, y - 2.4, box.recipe, ink, fontsize=8, **options)
        shade, heavy = (box.color, 2.4) if lit else (GREY, 1.2)
        self._arrow([(STREAM, y + high / 4), (left, y + high / 4)], shade, heavy)
        self._arrow([(left, y - high / 4), (STREAM + 1.6, y - high / 4)], shade, heavy)
        self._plus(y - high / 4, shade)

    def _plus(self, y: Number, color: str) -> None:
        style = {"marker": "o", "markersize": 9, "markeredgecolor": color, "color": "white"}
        self.axes.plot([STREAM], [y], zorder=4, **style)
        self._text(STREAM, y - 0.1, "+", color, ha="center", fontsize=9, zorder=5)

    def _sources(self, places: dict[str, Number], step: str, *, blank: bool) -> None:
        """What enters from the side: queries, if there are any, and memories."""
        right, witness = BOX[1], places["witness"]
        asked = step in ("witness", "tokens")
        shade = COLORS["green"] if asked else GREY
        low = witness - 3
        path = [(RAIL, low - 9), (RAIL, low), (right, low)]
        self._arrow(path, shade, 2 if asked else 1.2)
        self._text(RAIL, low - 11.5, "memories", shade, ha="center")
        if not blank:
            return
        ends = {"space": places["space"], "witness": witness + 1.5}
        for kind in sorted(ends, key=step.__eq__):  # the lit one last, over the other
            asked = step in (kind, "tokens")
            path = [(RAIL, 89.5), (RAIL, ends[kind]), (right, ends[kind])]
            self._arrow(path, COLORS["pink"] if asked else GREY, 2 if asked else 1.2)
        asked = step in (*ends, "tokens")
        self._text(RAIL, 91.5, "queries", COLORS["pink"] if asked else GREY, ha="center")

    def row(
        self,
        number: int,
        seen: np.ndarray,
        words: str,
        first: int,
        color: str,
        *,
        blank: bool = False,
        missing: int = 0,
    ) -> None:
        """Maps (n, h, w) side by side, the seen places in `color`; `first` is a frame's number."""
        self._text(LEFT, 97.5 - 31 * number, words, fontsize=9.5)
        for n in range(len(seen) + missing):
            x, y = self._corner(number, n)
            extent = (x, x + EDGE, y, y + EDGE)
            if n < len(seen):
                pixels = np.empty((*seen.shape[1:], 3))
                pixels[:] = to_rgb(PINK if blank else PALE)
                pixels[seen[n]] = to_rgb(color)
                self.axes.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest")
                self._grid(x, y, seen.shape[-1])
            dashed = n >= len(seen)
            self.axes.add_patch(
                Rectangle(
                    (x, y), EDGE, EDGE, fill=False, edgecolor=GREY if dashed else INK,
                    linestyle="--" if dashed else "-", linewidth=1.2,
                )
            )  # fmt: skip
            name = f"{first + n}" + (", never comes in" if dashed else "")
            self._text(x + EDGE / 2, y - 2.2, name, "#555555", ha="center", fontsize=8.5)
        self._limits()

    def _corner(self, number: int, n: int) -> Point:
        return LEFT + n * (EDGE + GAP), 76.5 - 31 * number

    def _grid(self, x: Number, y: Number, side: int) -> None:
        """Thin lines between places, heavy ones between windows."""
        for color, heavy, cuts in (("white", 0.7, range(1, side)), (INK, 1.2, [side // 2])):
            places = np.repeat([k * EDGE / side for k in cuts], 3)
            ends = np.tile([0, EDGE, np.nan], len(cuts))  # one line in pieces draws fastest
            across, along = np.append(places, ends), np.append(ends, places)
            self.axes.plot(x + across, y + along, color=color, linewidth=heavy)

    def query(
        self, number: int, n: int, place: tuple[int, int], *, side: int = 8, predicts: bool = False
    ) -> None:
        """A frame around the place that asks; an arrow to the frame that it predicts."""
        x, y = self._corner(number, n)
        cell = EDGE / side
        corner = x + place[1] * cell, y + EDGE - (place[0] + 1) * cell
        for color, heavy in (("white", 4.2), (INK, 2.2)):
            self.axes.add_patch(
                Rectangle(
                    corner, cell, cell, fill=False, edgecolor=color, linewidth=heavy, zorder=6
                )
            )
        if predicts:
            start = corner[0] + cell, corner[1] + cell / 2
            self._arrow([start, (start[0] + EDGE + GAP - 0.5, start[1])], INK, 2)

    def costs(self, count: int, total: int, price: str, color: str) -> None:
        """What the colours mean, and what they cost."""
        self.axes.add_patch(
            Rectangle((LEFT, 31), 2.4, 2.4, fill=False, edgecolor=INK, linewidth=2.2)
        )
        self._text(LEFT + 4.5, 32.2, "the query: frame and place that ask")
        self.axes.add_patch(Rectangle((LEFT, 25), 2.4, 2.4, facecolor=color))
        self._text(LEFT + 4.5, 26.2, f"what it depends on: {count} of {total} places")
        if price:
            self._text(LEFT, 18, "multiply-accumulates per token", fontsize=9)
            self._text(LEFT, 12.5, price, fontsize=10)
