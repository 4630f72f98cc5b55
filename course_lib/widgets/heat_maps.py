"""Tables of numbers as pictures: who looks at whom, windows of a map, position codes.

White is 0. Where signs differ, blue is below it and orange above; on a logarithmic scale every
number above 0 has a colour, and what is exactly 0 is grey: "very little" and "nothing" must never
look alike.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from course_lib.plots import COLORS, STYLE, WIDTH, Picture

ABOVE = LinearSegmentedColormap.from_list("above", ["#ffffff", "#8ec3e6", "#0072b2", "#003556"])
SIGNED = LinearSegmentedColormap.from_list("signed", [COLORS["blue"], "#ffffff", COLORS["orange"]])
TINY = LinearSegmentedColormap.from_list("tiny", ["#fbe9a9", "#e69f00", "#a33c00", "#3b0f00"])
NOTHING = (0.82, 0.82, 0.82, 1.0)  # the grey of an exact 0
DECADES = 4  # of a logarithmic scale, down from the largest number of all panels

Table = Float[np.ndarray, "_ _"]


def heat_maps(
    panels: Mapping[str, Table],
    alt: str,
    *,
    texts: Mapping[str, Sequence[Sequence[str]]] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    log: bool = False,
    columns: int | None = None,
    every: int | None = None,
    mark: tuple[int, int] | None = None,
    height: float | None = None,
) -> Picture:
    """Tables side by side, on one common scale; nan is left white.

    Args:
        panels: title -> table of numbers, row 0 at the top.
        alt: what the picture shows, in a sentence.
        texts: title -> what is written into each field of that panel.
        xlabel: what columns are, of the panels at the bottom.
        ylabel: what rows are, of the panels at the left.
        log: a logarithmic scale of `DECADES` decades, and grey for 0.
        columns: panels in a row; all where None.
        every: a line after so many rows and columns, around each window.
        mark: (row, column) of a field with a blue frame, in every panel that has it.
        height: of the picture in inches; as large as square fields need where None.

    Raises:
        ValueError: there is no panel, or a text belongs to none.
    """
    if not panels or set(texts or {}) - set(panels):
        raise ValueError(f"panels are {list(panels)}, texts {list(texts or {})}; one panel or more")
    columns = min(columns or len(panels), len(panels))
    painted = dict(zip(panels, _paint(list(panels.values()), log=log), strict=True))
    shapes = [table.shape for table in painted.values()]
    # A single column is as wide as one and a half, for its title.
    widths = [max(1.5, *(shape[1] for shape in shapes[n::columns])) for n in range(columns)]
    num_rows = -(-len(panels) // columns)
    tall = max(shape[0] for shape in shapes) * (WIDTH - 0.4 * columns) / sum(widths)
    with mpl.rc_context(STYLE):
        picture = Picture(WIDTH, height or (tall + 0.35) * num_rows + 0.3, alt)
        grid = picture.subplots(
            num_rows, columns, squeeze=False, gridspec_kw={"width_ratios": widths}
        )
        for number, axes in enumerate(grid.flat):
            if number >= len(panels):
                axes.set_axis_off()
                continue
            title = list(panels)[number]
            _draw(axes, painted[title], square=height is None, every=every, mark=mark)
            _write(axes, painted[title], (texts or {}).get(title, ()))
            axes.set_title(title, loc="center", fontsize=9.5)
            below, wide = number + columns >= len(panels), painted[title].shape[1] > 1
            axes.set_xlabel(xlabel if below and wide else "", fontsize=9.5)
            axes.set_ylabel("" if number % columns else ylabel, fontsize=9.5)
    picture.set_layout_engine("constrained", h_pad=0.08)  # titles are cut otherwise
    return picture


def tiles(
    tables: Float[np.ndarray, "*grid H W"],
    *,
    scale: int = 20,
    every: int | None = None,
    mark: tuple[int, int] | None = None,
) -> UInt8[np.ndarray, "*grid H2 W2 3"]:
    """The tables as frames for the player, on one logarithmic scale, a field scale x scale pixels.

    `every` and `mark` are those of `heat_maps`.
    """
    (painted,) = _paint([tables], log=True)
    pixels = (painted[..., :3] * 255).round().astype(np.uint8)
    pixels = pixels.repeat(scale, -3).repeat(scale, -2)
    pixels[..., ::scale, :, :] = pixels[..., ::scale, :] = 255  # a thin line between fields
    if every:
        step = every * scale
        pixels[..., step::step, :, :] = pixels[..., step::step, :] = 60
    if mark:
        top, left = mark[0] * scale, mark[1] * scale
        inside = pixels[..., top + 5 : top + scale - 4, left + 5 : left + scale - 4, :].copy()
        pixels[..., top + 2 : top + scale - 1, left + 2 : left + scale - 1, :] = (0, 114, 178)
        pixels[..., top + 5 : top + scale - 4, left + 5 : left + scale - 4, :] = inside
    return pixels


def _paint(tables: Sequence[np.ndarray], *, log: bool) -> list[np.ndarray]:
    """Every number's colour, on the scale of them all."""
    known = np.concatenate([np.abs(table[~np.isnan(table)]).ravel() for table in tables])
    top = known.max(initial=0) or 1.0
    if log:
        return [_paint_log(np.asarray(table, dtype=float) / top) for table in tables]
    if any(np.nanmin(table, initial=0) < 0 for table in tables):
        return [SIGNED(np.nan_to_num((table / top + 1) / 2, nan=0.5)) for table in tables]
    return [ABOVE(np.nan_to_num(table / top)) for table in tables]


def _paint_log(shares: np.ndarray) -> np.ndarray:
    above = np.log10(np.clip(shares, 10.0**-DECADES, 1)) / DECADES + 1
    return np.where((shares == 0)[..., None], NOTHING, TINY(above))


def _draw(
    axes: Axes, painted: np.ndarray, *, square: bool, every: int | None, mark: tuple | None
) -> None:
    height, width = painted.shape[:2]
    axes.imshow(painted, aspect="equal" if square else "auto", interpolation="nearest")
    axes.set(xticks=_ticks(width, every), yticks=_ticks(height, every))
    axes.tick_params(length=0, labelsize=8)
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color="#555555", linewidth=0.8)
    for edge in range(every or width, width, every or width):
        axes.axvline(edge - 0.5, color="#555555", linewidth=1.2)
    for edge in range(every or height, height, every or height):
        axes.axhline(edge - 0.5, color="#555555", linewidth=1.2)
    if mark and mark[0] < height and mark[1] < width:
        place = (mark[1] - 0.45, mark[0] - 0.45)
        frame = Rectangle(place, 0.9, 0.9, fill=False, edgecolor=COLORS["blue"], linewidth=2)
        axes.add_patch(frame)


def _ticks(size: int, every: int | None) -> range:
    """None where a single row needs no number, or lines show the places well enough."""
    return range(0 if every or size == 1 else size)[:: 1 if size <= 16 else size // 8]


def _write(axes: Axes, painted: np.ndarray, words: Sequence[Sequence[str]]) -> None:
    for row, line in enumerate(words):
        for column, word in enumerate(line):
            dark = painted[row, column, :3] @ (0.299, 0.587, 0.114) < 0.5
            ink = "white" if dark else COLORS["black"]
            size = 10 if len(words) <= 5 else 7.5
            axes.text(column, row, word, color=ink, ha="center", va="center", fontsize=size)
