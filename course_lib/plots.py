"""Figures from arrays: one look for the whole course.

Every function takes arrays and returns a `Picture`; nothing is shown, nothing is kept open.
Colours are Okabe and Ito's, which readers with any colour vision can tell apart.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from PIL import Image
from torch import Tensor

from course_lib.data.video import to_bytes

COLORS = {
    "blue": "#0072B2",
    "orange": "#D55E00",
    "green": "#009E73",
    "yellow": "#E69F00",
    "pink": "#CC79A7",
    "sky": "#56B4E9",
    "black": "#222222",
}
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=list(COLORS.values())),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.facecolor": "white",
    "font.size": 10.5,
    "grid.color": "#e3e3e3",
    "legend.frameon": False,
    "lines.linewidth": 2,
    "savefig.facecolor": "white",
}
WIDTH = 7.5  # inches: the width of a notebook's output at 96 pixels per inch
DPI = 144  # one and a half times the screen's: sharp, at half the bytes of twice


class Picture(Figure):
    """A figure that draws itself in a notebook, opaque and with a text for those who cannot see it.

    It is not registered with pyplot: nothing has to be closed and no figure piles up.
    """

    def __init__(self, width: float, height: float, alt: str):
        """`width` and `height` in inches; `alt` says in a sentence what the picture shows."""
        if not alt.strip():
            raise ValueError(f"alt is {alt!r}; say in a sentence what the picture shows")
        super().__init__(figsize=(width, height), layout="constrained", facecolor="white")
        self.alt = alt

    def png(self) -> bytes:
        """The picture as a PNG file of at most 64 colours, in a third of the bytes."""
        buffer, file = io.BytesIO(), io.BytesIO()
        self.savefig(buffer, format="png", dpi=DPI)
        colours = Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE)
        colours.save(file, "PNG", optimize=True)
        return file.getvalue()

    def pixels(self, width: int) -> UInt8[np.ndarray, "H W 3"]:
        """The picture as bytes, `width` pixels wide: a frame for the player."""
        self.set_dpi(width / self.get_figwidth())
        canvas = FigureCanvasAgg(self)
        canvas.draw()  # savefig would draw everything twice
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def _repr_mimebundle_(self, **_: object) -> tuple[dict, dict]:
        data = {"image/png": base64.b64encode(self.png()).decode(), "text/plain": self.alt}
        width = round(self.get_figwidth() * 96)
        return data, {"image/png": {"alt": self.alt, "width": width}}


def film_strip(
    rows: Mapping[str, Float[Tensor, "T C H W"]],
    alt: str,
    *,
    frames: Sequence[int] | None = None,
    first: int = 0,
    titles: Sequence[object] = (),
) -> Picture:
    """Clips as rows, time from left to right.

    Args:
        rows: label -> clip with values in [-1, 1]; all clips have the same number of frames.
        alt: what the picture shows, in a sentence.
        frames: which frames to draw; all where None.
        first: the number written above frame 0.
        titles: written above all frames of a clip, in place of numbers.

    Raises:
        ValueError: the clips differ in length, a frame is out of range, or titles are missing.
    """
    if not rows:
        raise ValueError("rows is empty; a film strip needs at least one clip")
    lengths = {label: clip.shape[0] for label, clip in rows.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"the clips have {lengths} frames; a film strip needs one common length")
    length = next(iter(lengths.values()))
    frames = range(length) if frames is None else frames
    outside = [t for t in frames if not 0 <= t < length]
    if outside:
        raise ValueError(f"frame {outside[0]} is not in a clip of {length}: 0..{length - 1}")
    titles = titles or range(first, first + length)
    if len(titles) != length:
        raise ValueError(f"there are {len(titles)} titles; permitted: one for each of {length}")
    with mpl.rc_context(STYLE):
        tile = WIDTH / (len(frames) + 1.2)
        picture = Picture(WIDTH, tile * len(rows) * 1.06 + 0.25, alt)
        grid = picture.subplots(len(rows), len(frames), squeeze=False)
        for axes_row, (label, clip) in zip(grid, rows.items(), strict=True):
            for axes, t in zip(axes_row, frames, strict=True):
                show_frame(axes, clip[t])
            axes_row[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6)
        for axes, t in zip(grid[0], frames, strict=True):
            axes.set_title(str(titles[t]), loc="center", fontsize=9, color="#555555")
    picture.set_layout_engine("constrained", w_pad=0.04, h_pad=0.01, wspace=0, hspace=0)
    return picture


def contact_sheet(
    images: Float[Tensor, "N C H W"], alt: str, *, columns: int = 10, titles: Sequence[str] = ()
) -> Picture:
    """Images with values in [-1, 1] side by side, row by row, `titles` above them where given.

    Raises:
        ValueError: there is no image.
    """
    if not len(images):
        raise ValueError("images is empty; a contact sheet needs at least one image")
    columns = min(columns, len(images))
    num_rows = -(-len(images) // columns)
    with mpl.rc_context(STYLE):
        height = (WIDTH / columns * 1.02 + (0.25 if titles else 0)) * num_rows
        picture = Picture(WIDTH, height, alt)
        grid = picture.subplots(num_rows, columns, squeeze=False).flat
        for n, axes in enumerate(grid):
            if n < len(images):
                show_frame(axes, images[n])
            else:
                axes.set_axis_off()
            if n < len(titles):
                axes.set_title(titles[n], loc="center", fontsize=9)
    picture.set_layout_engine("constrained", w_pad=0.04, h_pad=0.01, wspace=0, hspace=0)
    return picture


def curves(
    x: Sequence[float] | np.ndarray,
    lines: Mapping[str, object],
    alt: str,
    *,
    xlabel: str,
    ylabel: str,
    log: bool = False,
    ylim: tuple[float, float] | None = None,
    levels: Mapping[str, float] | None = None,
    points: Mapping[str, tuple[float, float]] | None = None,
) -> Picture:
    """Lines over a common x, each with a band where one is given.

    Args:
        x: the common positions.
        lines: label -> y, or label -> (y, low, high) to draw a band from low to high.
        alt: what the picture shows, in a sentence.
        xlabel: what x is, with its unit.
        ylabel: what y is, with its unit.
        log: a logarithmic y axis.
        ylim: the ends of the y axis; fitted to the lines where None.
        levels: label -> height of a dashed horizontal line to compare with.
        points: label -> (x, y) of a single mark, with its label beside it.
    """
    with mpl.rc_context(STYLE):
        picture = Picture(WIDTH, 3.2, alt)
        axes = picture.subplots()
        for label, line in lines.items():
            y, *band = line if isinstance(line, tuple) else (line,)
            marker = "o" if len(x) <= 30 else None  # single points where they can be told apart
            (drawn,) = axes.plot(x, np.asarray(y), marker=marker, markersize=4, label=label)
            if band:
                low, high = (np.asarray(edge) for edge in band)
                axes.fill_between(x, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)
        for level, color in zip(
            (levels or {}).items(), ("#555555", "#999999", "#bbbbbb"), strict=False
        ):
            axes.axhline(level[1], color=color, linestyle="--", linewidth=1.4, label=level[0])
        for label, place in (points or {}).items():
            axes.plot(*place, marker="D", color=COLORS["orange"])
            axes.annotate(label, place, xytext=(7, 4), textcoords="offset points", fontsize=9)
        axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear", ylim=ylim)
        axes.legend(loc="best")
    return picture


def bars(
    groups: Mapping[str, Mapping[str, float | tuple[float, float, float]]], alt: str, *, ylabel: str
) -> Picture:
    """Grouped bars: group -> (label -> height). Every group has the same labels.

    A height is a number, or (value, low, high) to draw an interval as well.
    """
    labels = list(next(iter(groups.values())))
    with mpl.rc_context(STYLE):
        picture = Picture(WIDTH, 2.9, alt)
        axes = picture.subplots()
        width = 0.8 / len(labels)
        for n, label in enumerate(labels):
            x = np.arange(len(groups)) + (n - (len(labels) - 1) / 2) * width
            # A number alone is an interval of no width, which draws nothing.
            spans = np.array([np.resize(heights[label], 3) for heights in groups.values()])
            value, around = spans[:, 0], np.abs(spans[:, 1:] - spans[:, :1]).T
            axes.bar(x, value, width * 0.92, yerr=around, ecolor="#333333", label=label)
        axes.set(ylabel=ylabel)
        axes.set_xticks(range(len(groups)), list(groups))
        axes.grid(axis="x", visible=False)
        axes.legend(ncols=len(labels), loc="lower left", bbox_to_anchor=(0, 1.0))
    return picture


def scatter(
    panels: Mapping[str, Float[Tensor, "N 2"]],
    labels: Int[Tensor, "N"],
    alt: str,
    *,
    xlabel: str,
    ylabel: str,
) -> Picture:
    """Points of a plane, each drawn as the number that labels it; every panel has its own scale.

    Args:
        panels: title -> places of the same labelled points.
        labels: a number 0..9 for each point, drawn in its colour.
        alt: what the picture shows, in a sentence.
        xlabel: what x is.
        ylabel: what y is.
    """
    with mpl.rc_context(STYLE):
        tile = min(WIDTH / len(panels), 4.2)
        picture = Picture(tile * len(panels), tile + 0.15, alt)
        for axes, (title, places) in zip(
            picture.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True
        ):
            for number in labels.unique().tolist():
                x, y = places[labels == number].T.numpy()
                color = list(COLORS.values())[number % len(COLORS)]
                axes.plot(x, y, ls="", marker=f"${number}$", ms=4.5, mew=0.2, color=color)
            axes.set(title=title, xlabel=xlabel, box_aspect=1)
            axes.set_ylabel(ylabel, labelpad=0)
    return picture


def bundles(
    x: Sequence[float] | np.ndarray,
    groups: Mapping[str, Float[Tensor, "N X"]],
    alt: str,
    *,
    xlabel: str,
    ylabel: str,
    ylim: tuple[float, float] | None = None,
) -> Picture:
    """Many thin lines over a common x, one colour for each group.

    Args:
        x: the common positions.
        groups: label -> one line per row.
        alt: what the picture shows, in a sentence.
        xlabel: what x is, with its unit.
        ylabel: what y is, with its unit.
        ylim: the ends of the y axis; fitted to the lines where None.
    """
    with mpl.rc_context(STYLE):
        picture = Picture(WIDTH, 3.2, alt)
        axes = picture.subplots()
        for (label, lines), color in zip(groups.items(), COLORS.values(), strict=False):
            for line in lines.numpy():
                axes.plot(x, line, color=color, linewidth=0.9, alpha=0.6)
            axes.plot([], [], color=color, label=label)
        axes.set(xlabel=xlabel, ylabel=ylabel, ylim=ylim)
        axes.legend(loc="best")
    return picture


def arrows(
    ends: Mapping[str, tuple[float, float]], alt: str, *, xlabel: str, ylabel: str
) -> Picture:
    """Arrows from the origin of a plane, up to 1 long; the first lies below, broad and grey."""
    with mpl.rc_context(STYLE):
        picture = Picture(5.2, 2.5, alt)
        axes = picture.subplots()
        axes.axhline(0, color="#999999", linewidth=0.8)
        axes.axvline(0, color="#999999", linewidth=0.8)
        colors = ["#bbbbbb", *COLORS.values()]
        for n, ((label, end), color) in enumerate(zip(ends.items(), colors, strict=False)):
            style = {"arrowstyle": "-|>", "color": color, "lw": 2 if n else 7}
            axes.annotate("", end, (0, 0), arrowprops=style)
            axes.plot([], [], color=color, linewidth=style["lw"], label=label)
        axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-1.15, 1.15), ylim=(-0.15, 1.15))
        axes.set_aspect("equal")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return picture


def heat_tables(
    tables: Mapping[str, Mapping[str, Mapping[str, float]]],
    alt: str,
    *,
    xlabel: str,
    ylabel: str,
) -> Picture:
    """Tables of positive numbers, darker where larger, each on its own logarithmic scale.

    The least of each column is set in bold.

    Args:
        tables: title -> row -> column -> number; the tables share their rows.
        alt: what the picture shows, in a sentence.
        xlabel: what the columns are.
        ylabel: what the rows are.
    """
    rows = list(next(iter(tables.values())))
    widths = [len(table[rows[0]]) for table in tables.values()]
    with mpl.rc_context(STYLE):
        picture = Picture(WIDTH, 0.75 + 0.34 * len(rows), alt)
        grid = picture.subplots(1, len(tables), width_ratios=widths, squeeze=False)[0]
        for axes, (title, table) in zip(grid, tables.items(), strict=True):
            columns = list(table[rows[0]])
            numbers = np.array([[table[row][column] for column in columns] for row in rows])
            shades = np.log(numbers)
            shades = (shades - shades.min()) / max(float(np.ptp(shades)), 1e-9)
            axes.imshow(shades, cmap="Blues", vmin=-0.1, vmax=1.3, aspect="auto")
            for (r, c), number in np.ndenumerate(numbers):
                best = number == numbers[:, c].min()
                weight = "bold" if best else "normal"
                ink = "white" if shades[r, c] > 0.75 else "black"
                style = {"ha": "center", "va": "center", "fontsize": 8.5}
                said = f"{number:.3g}" if number < 100 else f"{number:.0f}"
                axes.text(c, r, said, color=ink, weight=weight, **style)
            axes.set(title=title, xlabel=xlabel, yticks=range(len(rows)), yticklabels=[])
            axes.set_xticks(range(len(columns)), columns)
            axes.grid(visible=False)
        grid[0].set(yticks=range(len(rows)), yticklabels=rows, ylabel=ylabel)
    return picture


def show_frame(axes: Axes, frame: Float[Tensor, "C H W"]) -> None:
    """One frame with values in [-1, 1], grey or colour, without ticks and without smoothing."""
    pixels = to_bytes(frame).permute(1, 2, 0).numpy()
    axes.imshow(
        pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=255
    )
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color="#cccccc", linewidth=0.6)  # a white frame has an edge
