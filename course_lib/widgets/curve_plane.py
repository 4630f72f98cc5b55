"""The plane of a drawn prediction: where heights lie, and the picture of two kinds of curves."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from course_lib.plots import COLORS

SIZE = WIDTH, HEIGHT = 560, 290  # of the drawing, in pixels
LEFT, RIGHT, TOP, BOTTOM = 62, 550, 12, 236  # edges of its plane
EDGES = TOP, BOTTOM
NUM_LEVELS = 60  # between the lowest and the highest point
APART = 8  # pixels between the curves' points at one place, so that none hides another
PALETTE = [COLORS[name] for name in ("blue", "orange", "green", "pink")]

Number = int | float
Line = tuple[Sequence[Number], Sequence[Number], Sequence[Number]]  # values, low, high


@dataclass(frozen=True)
class Plane:
    """Where a height at one of the places lies in the drawing."""

    places: Sequence[str]
    low: Number
    high: Number
    log: bool

    def across(self, curve: int = 0, num_curves: int = 1) -> list[float]:
        """Pixels from the left of one curve's points."""
        stride = (RIGHT - LEFT) / len(self.places)
        aside = APART * (curve - (num_curves - 1) / 2)
        return [LEFT + stride * (place + 0.5) + aside for place in range(len(self.places))]

    def y(self, height: Number) -> float:
        """Pixels from the top."""
        low, high, height = map(self._scaled, (self.low, self.high, height))
        return BOTTOM - (BOTTOM - TOP) * (height - low) / (high - low)

    def heights(self) -> list[float]:
        """Those that a reader may choose, rising: equally far apart on the screen."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        rising = [low + (high - low) * n / NUM_LEVELS for n in range(NUM_LEVELS + 1)]
        return [float(f"{math.exp(h) if self.log else h:.3g}") for h in rising]

    def ticks(self) -> list[Number]:
        """The heights that are written at the left edge."""
        if not self.log:
            found = list(MaxNLocator(5).tick_values(self.low, self.high))
        else:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            parts = (1, 2, 5) if self.high / self.low < 300 else (1,)
            found = [part * 10.0**power for power in powers for part in parts]
        return [tick for tick in found if self.low <= tick <= self.high]

    def frame(self, xlabel: str, ylabel: str) -> str:
        """Axes with their numbers and names, as SVG."""
        parts = []
        for tick in self.ticks():
            y = self.y(tick)
            parts.append(f'<path d="M{LEFT} {y:.1f} H{RIGHT}" stroke="#999" opacity="0.4"/>')
            parts.append(_text(LEFT - 6, y + 4, f"{tick:g}", "end"))
        for x, place in zip(self.across(), self.places, strict=True):
            parts.append(_text(x, BOTTOM + 18, place, "middle"))
        parts.append(
            f'<path d="M{LEFT} {TOP} V{BOTTOM} H{RIGHT}" stroke="currentColor" fill="none"/>'
        )
        parts.append(_text((LEFT + RIGHT) / 2, BOTTOM + 42, xlabel, "middle"))
        turned = f"translate(14 {(TOP + BOTTOM) / 2}) rotate(-90)"
        parts.append(f'<g transform="{turned}">{_text(0, 0, ylabel, "middle")}</g>')
        return "".join(parts)

    def _scaled(self, height: Number) -> Number:
        return math.log(height) if self.log else height


def drawing(
    plane: Plane,
    labels: tuple[str, str],
    drawn: Mapping[str, Sequence[Number]] | None,
    measured: Mapping[str, Line],
    alt: str,
) -> str:
    """Measured curves solid, the reader's dashed, and the errors between them, as HTML."""
    parts = [plane.frame(*labels)]
    for c, (name, line) in enumerate(measured.items()):
        x, color = plane.across(c, len(measured)), PALETTE[c]
        middle, low, high = ([plane.y(v) for v in part] for part in line)
        if drawn is not None:
            y = [plane.y(v) for v in drawn[name]]
            parts.append(_stroke(_bars(x, y, middle), color, 'stroke-width="5" opacity="0.3"'))
            parts.append(_stroke(_path(x, y), color, 'stroke-dasharray="5 4"'))
        parts.append(_stroke(_bars(x, low, high), color, 'stroke-width="1.5"'))
        parts.append(_stroke(_path(x, middle), color, 'stroke-width="2.5"'))
        for a, m in zip(x, middle, strict=True):
            parts.append(f'<circle cx="{a:.1f}" cy="{m:.1f}" r="4" fill="{color}"/>')
    return (
        f'<svg role="img" aria-label="{html.escape(alt, quote=True)}" width="{WIDTH}" '
        f'style="max-width:100%;font-size:13px" viewBox="0 0 {WIDTH} {HEIGHT}" fill="currentColor">'
        f"{''.join(parts)}</svg>"
    )


def _bars(x: Sequence[Number], start: Sequence[Number], end: Sequence[Number]) -> str:
    return "".join(f"M{a:.1f} {b:.1f}V{c:.1f}" for a, b, c in zip(x, start, end, strict=True))


def _path(x: Sequence[Number], y: Sequence[Number]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def _stroke(path: str, color: str, more: str) -> str:
    return f'<path d="{path}" stroke="{color}" fill="none" {more}/>'


def _text(x: Number, y: Number, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'
