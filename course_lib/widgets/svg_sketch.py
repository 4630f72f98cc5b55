"""The drawing behind svg_diagram.py: frames, networks, arrows and curves of one step of SVG."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

from course_lib.plots import COLORS

WIDE, HIGH = 160, 98  # the drawing's own unit; 20 of them are an inch
BLUE, ORANGE, GREEN, PINK = (COLORS[name] for name in ("blue", "orange", "green", "pink"))
INK, GREY, PALE = "#222222", "#a6a6a6", "#e4e4e4"


class Sketch:
    """The parts of one step; what belongs to `stage` is lit, what comes later is pale."""

    def __init__(self, axes: Axes, stage: int, context: int, *, training: bool):
        self.axes, self.stage, self.context, self.training = axes, stage, context, training

    def _color(self, color: str, begins: int) -> str:
        return PALE if self.stage < begins else color

    def _lit(self, begins: int) -> bool:
        return self.stage in (begins, 5)

    def text(
        self, x: float | int, y: float | int, words: str, color: str = INK, **options: Any
    ) -> None:
        """Words on white paper, so that no line runs through them."""
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        style = {"ha": "center", "va": "center", "fontsize": 9.5, "bbox": paper} | options
        self.axes.text(x, y, words, color=color, **style)

    def box(
        self, x: float | int, y: float | int, words: str, color: str, begins: int, wide: float | int
    ) -> None:
        """A network, its centre at (x, y)."""
        lit, seen = self._lit(begins), self.stage >= begins
        self.axes.add_patch(
            FancyBboxPatch(
                (x - wide / 2, y - 6), wide, 12, boxstyle="round,pad=0,rounding_size=2",
                facecolor=color if lit else "white", edgecolor=color if seen else GREY,
                linewidth=1.8 if seen else 1, linestyle="-" if seen else "--",
            )
        )  # fmt: skip
        ink = "white" if lit else color if seen else GREY
        self.axes.text(x, y, words, color=ink, ha="center", va="center", fontsize=10)

    def arrow(
        self, path: Sequence[tuple[float | int, float | int]], color: str, begins: int
    ) -> None:
        """A line through some points with a head at its end."""
        shade = self._color(color, begins)
        heavy = 2.4 if self._lit(begins) else 1.4
        if len(path) > 2:
            self.axes.plot(*zip(*path[:-1], strict=True), color=shade, linewidth=heavy)
        style = {
            "arrowstyle": "-|>",
            "color": shade,
            "linewidth": heavy,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        self.axes.annotate("", path[-1], path[-2], arrowprops=style | {"mutation_scale": 13})

    def frame(
        self,
        frame: np.ndarray | None,
        x: float | int,
        y: float | int,
        side: float | int,
        color: str,
        heavy: float | int = 2.5,
    ) -> None:
        """A frame with its lower left corner at (x, y), or a question mark."""
        if frame is None:
            self.axes.add_patch(Rectangle((x, y), side, side, facecolor="#f2f2f2"))
            self.axes.text(
                x + side / 2,
                y + side / 2,
                "?",
                ha="center",
                va="center",
                fontsize=side * 0.9,
                color=GREY,
            )
        else:
            self.axes.imshow(
                frame,
                cmap="gray",
                vmin=0,
                vmax=255,
                extent=(x, x + side, y, y + side),
                aspect="auto",
            )
        self.axes.add_patch(
            Rectangle((x, y), side, side, fill=False, edgecolor=color, linewidth=heavy)
        )

    def strip(self, clip: np.ndarray, t: int, mode: str) -> None:
        """The clip as it is known now, above the step."""
        drawn = t + (self.stage >= 3)  # frames that exist in testing
        for k in range(len(clip)):
            known = self.training or k < drawn
            color = {t: ORANGE if self.training else GREEN, t - 1: BLUE}.get(k, GREY)
            self.frame(
                clip[k] if known else None, 30 + 17 * k, 81, 14, color, 2.5 if color != GREY else 1
            )
            self.text(37 + 17 * k, 78, f"${self._name(k)}$", fontsize=9)
        self.text(2, 91, mode, ha="left", fontsize=14, fontweight="bold")
        self.text(2, 85, f"predicts frame {t}", ha="left", fontsize=9)
        self.axes.set(xlim=(0, WIDE), ylim=(0, HIGH))

    def inference(self, clip: np.ndarray, t: int) -> None:
        """Frames, encoders, and the two LSTMs that say something about z."""
        seen = self.training
        missed = PINK if self.stage == 1 else GREY  # in testing
        edge = self._color(ORANGE, 1) if seen else missed
        self.frame(clip[t] if seen else None, 4, 48, 20, edge)
        words = f"target $x_{t}$" if seen else "no target yet"
        self.text(14, 70.5, words, ORANGE if seen else missed)
        self.frame(clip[t - 1], 4, 9, 20, BLUE)
        self.text(14, 31.5, f"last frame ${self._name(t - 1)}$", BLUE)
        never = 1 if seen else 9
        self.arrow([(24, 58), (30, 58)], ORANGE, never)
        self.box(38, 58, "encoder", ORANGE, never, 16)
        self.arrow([(46, 58), (53, 58)], ORANGE, never)
        self.box(63, 58, "posterior\nLSTM", ORANGE, never, 20)
        self.arrow([(24, 18), (30, 18)], BLUE, 0)
        self.box(38, 18, "encoder", BLUE, 0, 16)
        self.arrow([(46, 18), (49, 18), (49, 38), (53, 38)], BLUE, 0)
        self.box(63, 38, "prior\nLSTM", BLUE, 0, 20)
        self.arrow([(73, 58), (81, 58)], ORANGE, never)
        self.arrow([(73, 38), (81, 38)], BLUE, 0)

    def _name(self, k: int) -> str:
        return f"x_{k}" if self.training or k < self.context else rf"\hat{{x}}_{k}"

    def latent(self, event: bool) -> None:
        """The two Gaussians, and z from one of them."""
        wide = 3.6 if event else 1.6
        middle, z = (-2.6 if event else 0), 0.4
        if event:
            z = -2.9 if self.training else 2.6
        if self.training:
            self._bell(58, middle, 1.3, ORANGE, 1)
        self._bell(38, 0, wide, BLUE, 0)
        y, color = (58, ORANGE) if self.training else (38, BLUE)
        shade = GREY
        if self.stage >= 1 and self.training:
            shade = ORANGE
        elif self.stage == 1:
            shade = PINK
        words = "q: has seen the target" if self.training else "q: cannot be asked"
        self.text(91, 68, words, shade, fontsize=9.5)
        self.text(91, 29, "p: has seen the past", BLUE, fontsize=9.5)
        if self.stage >= 2:
            self.axes.plot([91 + z], [y - 4.6], marker="o", color=INK, markersize=6, zorder=5)
        self.arrow([(101, y), (111, 51 if self.training else 45)], color, 2)
        color = self._color(color, 2)
        self.axes.add_patch(
            Circle(
                (116, 48),
                5.5,
                facecolor=color if self._lit(2) else "white",
                edgecolor=color,
                linewidth=2,
            )
        )
        ink = "white" if self._lit(2) else GREY if self.stage < 2 else INK
        self.axes.text(116, 48, "$z$", ha="center", va="center", fontsize=13, color=ink)

    def _bell(
        self, y: float | int, middle: float | int, sigma: float, color: str, begins: int
    ) -> None:
        x = np.linspace(-9, 9, 80)
        bell = 10 * np.exp(-(((x - middle) / sigma) ** 2) / 2) * min(1, 1.6 / sigma)
        shade = self._color(color, begins)
        self.axes.fill_between(91 + x, y - 5, y - 5 + bell, color=shade, alpha=0.35, linewidth=0)
        self.axes.plot(91 + x, y - 5 + bell, color=shade, linewidth=1.6)

    def generation(self, clip: np.ndarray, t: int) -> None:
        """From the last frame and z to the prediction."""
        self.arrow([(49, 18), (105, 18)], BLUE, 3)
        self.arrow([(116, 42.5), (116, 24)], INK, 3)
        self.box(116, 18, "predictor\nLSTM", GREEN, 3, 22)
        self.arrow([(127, 18), (132, 18)], GREEN, 3)
        self.box(141, 18, "decoder", GREEN, 3, 18)
        self.arrow([(141, 24), (141, 36)], GREEN, 3)
        self.frame(clip[t] if self.stage >= 3 else None, 131, 36, 20, self._color(GREEN, 3))
        self.text(141, 58.5, rf"prediction $\hat{{x}}_{t}$", GREEN if self.stage >= 3 else GREY)
        self.axes.set(xlim=(0, WIDE), ylim=(0, HIGH))

    def ending(self, t: int) -> None:
        """The loss and the true frame handed on, or the prediction fed back."""
        if self.stage < 4:
            return
        if self.training:
            self.arrow([(141, 61), (141, 73.5), (28, 73.5), (28, 65), (24.5, 65)], PINK, 4)
            self.text(91, 73.5, "squared error", PINK, fontsize=10)
            style = {"arrowstyle": "<|-|>", "color": PINK, "linewidth": 2.4, "mutation_scale": 12}
            self.axes.annotate(
                "", (80, 51.5), (80, 44.5), arrowprops=style | {"shrinkA": 0, "shrinkB": 0}
            )
            self.text(91, 48, "KL(q || p)", PINK, fontsize=10)
            self.arrow([(14, 48), (14, 34)], INK, 4)
            self.text(27, 40.5, "next step", INK, fontsize=9)
        else:
            self.arrow([(151, 46), (156, 46), (156, 4), (14, 4), (14, 9)], GREEN, 4)
            self.text(85, 4, f"fed back: the last frame of step {t + 1}", GREEN, fontsize=9.5)
