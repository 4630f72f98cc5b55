"""The mask laboratory as a still picture, for pages where no widget can live."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap

from course_lib.plots import COLORS, STYLE, WIDTH, Picture
from course_lib.widgets.mask_lab_layers import AGAIN, Layer

# The colours of mask_lab.js.
FORBIDDEN, RANGE = "#34373b", 4.0  # decades of influence between the first colour and the last
# Few colours, so that the PNG's palette has room for the greys of the frames.
HEAT = LinearSegmentedColormap.from_list("heat", ["#1f4b73", "#c0561a", "#ffb000", "#fff6cf"], N=24)
MAY = ListedColormap([COLORS["sky"]])
QUERY, LEAK = "#ffffff", "#ff4f8b"


def draw_lab(
    frames: np.ndarray,
    allowed: np.ndarray,
    heat: np.ndarray,
    value: dict,
    answer: dict,
    layer: Layer,
) -> Picture:
    """Frames above maps (T, h, w), and below them the mask and what the frames depend on."""
    length = len(frames)
    verdict, number = answer["verdict"], value["block"]
    which = f"{layer.name}, {f'blocks 1 to {number}' if layer.time == AGAIN else f'block {number}'}"
    frame, row, column = value["query"]
    where = f"query: frame {frame}, row {row}, column {column}"
    alt = f"The mask laboratory. {which}; {where}. {verdict}"
    with mpl.rc_context(STYLE):
        tile = WIDTH / (length + 0.3)
        picture = Picture(WIDTH, 2 * tile + 3.1, alt)
        rows = picture.add_gridspec(2, 1, height_ratios=[2 * tile + 0.5, 2.6])
        above, below = picture.add_subfigure(rows[0]), picture.add_subfigure(rows[1])
        grid = above.subplots(2, length)
        for t, (top, bottom) in enumerate(grid.T):
            top.imshow(frames[t], cmap="gray", vmin=0, vmax=255)
            top.set_title(f"frame {t}", fontsize=9, loc="center")
            top.set_axis_off()
            _draw_map(bottom, allowed[t], heat[t], float(heat.max()))
            if t == frame and not layer.asks_context:
                for color, width in (("black", 4), (QUERY, 2)):
                    bottom.plot(column, row, "o", mfc="none", mec=color, mew=width, ms=9)
        above.suptitle(f"{which}; {where}", fontsize=11, x=0.01, ha="left")
        mask, found = below.subplots(1, 2)
        _draw_table(mask, np.array(value["mask"]), MAY, "the mask: row may look at column")
        strength = _strength(np.array(answer["frames"]))
        _draw_table(found, strength, HEAT, "measured: row depends on column")
        for i, j in answer["leaks"]:
            found.plot(j, i, "x", color=LEAK, mew=2.5, ms=8)
        below.supxlabel(verdict, fontsize=11, x=0.01, ha="left", fontweight="bold")
    return picture


def _strength(x: np.ndarray) -> np.ndarray:
    """Influence as a height of the colour scale, by its logarithm; exactly 0 stays 0."""
    relative = np.divide(x, x.max() or 1.0)
    height = 1 + np.log10(np.maximum(relative, 1e-30)) / RANGE
    return np.where(x > 0, np.clip(height, 0.08, 1), 0)


def _draw_map(axes: Axes, allowed: np.ndarray, heat: np.ndarray, most: float) -> None:
    """Colour where something flows, grey where nothing may; crosses where it does all the same."""
    relative = heat / (most or 1.0)
    height = np.clip(1 + np.log10(np.maximum(relative, 1e-30)) / RANGE, 0, 1)
    axes.imshow(np.where(allowed, height, np.nan), cmap=HEAT, vmin=0, vmax=1)
    axes.set_facecolor(FORBIDDEN)
    for y, x in np.argwhere(~allowed & (heat > 0)):
        axes.plot(x, y, "x", color=LEAK, mew=2)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)


def _draw_table(axes: Axes, table: np.ndarray, colors: Colormap, title: str) -> None:
    """Rows are queries, columns are frames that are looked at."""
    axes.imshow(np.where(table > 0, table, np.nan), cmap=colors, vmin=0, vmax=1)
    axes.set_facecolor(FORBIDDEN)
    axes.set(
        xticks=range(len(table)),
        yticks=range(len(table)),
        xlabel="frame looked at",
        ylabel="frame of the query",
    )
    axes.set_title(title, fontsize=10)
    axes.grid(visible=False)
