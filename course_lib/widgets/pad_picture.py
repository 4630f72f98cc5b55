"""A latent pad as a still picture, for pages where no widget can live."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from course_lib.plots import COLORS, STYLE, WIDTH, Picture

PALETTE = [*(color for name, color in COLORS.items() if name != "black"), "#888888"]
SHADE = 0.55  # opacity of a region, the same as in latent_pad.css
LEFT, ABOVE, UNDER = 0.75, 0.28, 0.5  # inches around the square of a panel
LARGEST = 2.5  # inches, its side
TILES = 9  # places on an axis whose frames are shown, at most


@dataclass(frozen=True)
class Axis:
    """One side of the pad: a latent coordinate and its values on the grid."""

    name: str
    values: list[float]  # increasing
    edges: list[float]  # each value's cell ends halfway to the next
    ticks: list[float]  # round numbers to write beside it

    @classmethod
    def of(cls, name: str, values: Sequence[float | int] | np.ndarray) -> "Axis":
        """The axis of these values.

        Raises:
            ValueError: fewer than two values, or values that do not increase.
        """
        x = np.asarray(values, dtype=float)
        if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all() or (np.diff(x) <= 0).any():
            raise ValueError(f"{name} has values {x.tolist()}; 2 or more that increase are needed")
        half = np.diff(x) / 2
        edges = [x[0] - half[0], *(x[:-1] + half), x[-1] + half[-1]]
        ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(x[0], x[-1])
        inside = ticks[(ticks >= edges[0]) & (ticks <= edges[-1])].round(9) + 0.0  # no "-0"
        return cls(name, x.tolist(), np.array(edges).tolist(), inside.tolist())


def draw_pad(
    pad: dict, tiles: Mapping[str, np.ndarray], x: Axis, y: Axis, *, title: str, alt: str
) -> Picture:
    """The pad's regions and points, and beside them frames (len(y), len(x), H, W) by title."""
    has_map = "regions" in pad or "points" in pad
    num_axes = len(tiles) + has_map
    columns = num_axes if num_axes < 4 else -(-num_axes // 2)
    rows, side = -(-num_axes // columns), min(WIDTH / columns - LEFT, LARGEST)
    width, heading = columns * (side + LEFT) + 0.1, ABOVE if title else 0.05
    with mpl.rc_context(STYLE):
        legend = _legend(pad) if has_map else []
        longest = max((len(str(patch.get_label())) for patch in legend), default=0)
        across = max(1, int(width / (0.08 * longest + 0.6)))  # entries side by side
        below = 0.22 * -(-len(legend) // across) + 0.05
        height = heading + rows * (ABOVE + side + UNDER) + below
        picture = Picture(width, height, alt)
        picture.set_layout_engine("none")
        places = [
            (LEFT + n % columns * (side + LEFT), below + UNDER + row * (ABOVE + side + UNDER))
            for n in range(num_axes)
            for row in [rows - 1 - n // columns]
        ]
        size = np.array([width, height] * 2)
        grid = [picture.add_axes(tuple(np.array([*at, side, side]) / size)) for at in places]
        if has_map:
            _draw_map(grid[0], pad)
        for axes, (name, frames) in zip(grid[has_map:], tiles.items(), strict=True):
            _draw_tiles(axes, frames, x, y)
            axes.set_title(name)
        if legend:
            picture.legend(handles=legend, loc="lower left", ncols=across, borderaxespad=0.1)
        top = 1 - 0.06 / height
        picture.suptitle(title, fontsize=12, fontweight="bold", x=0.01, y=top, ha="left", va="top")
    return picture


def are_signs(names: Sequence[str]) -> bool:
    """Whether the names can be drawn at their places, and no legend is needed."""
    return bool(names) and all(len(name) == 1 for name in names)


def _draw_map(axes: Axes, pad: dict) -> None:
    """Regions and points with matplotlib, as latent_pad.js draws them on the live pad."""
    regions, points = pad.get("regions"), pad.get("points", ())
    if regions is not None:
        edges = (pad[side]["edges"] for side in "xy")
        shades = {"cmap": ListedColormap(PALETTE), "vmin": 0, "vmax": len(PALETTE) - 1}
        axes.pcolormesh(*edges, regions, **shades, alpha=SHADE, linewidth=0)
    classes = pad.get("classes") or [None] * len(points)
    names = pad["names"]["points"]
    halo = [withStroke(linewidth=2.5, foreground="white")]
    for (x, y), k in zip(points, classes, strict=True):
        color = COLORS["black"] if k is None else PALETTE[k % len(PALETTE)]
        if k is None or not are_signs(names):
            axes.plot(x, y, marker="o", color=color, markersize=3, linewidth=0)
        else:
            style = {"ha": "center", "va": "center", "fontsize": 8, "clip_on": True}
            axes.text(x, y, names[k], color=color, path_effects=halo, **style)
    ends = {f"{side}lim": (pad[side]["edges"][0], pad[side]["edges"][-1]) for side in "xy"}
    axes.set(**ends, xlabel=pad["x"]["name"], ylabel=pad["y"]["name"])
    axes.grid(visible=False)


def _legend(pad: dict) -> list[Patch]:
    """What the colours of the regions and of the points mean."""
    names = pad["names"]
    dots = [] if are_signs(names["points"]) else names["points"]
    return [
        Patch(color=color, alpha=alpha, label=name, linewidth=0)
        for some, alpha in ((names["regions"], SHADE), (dots, 1))
        for name, color in zip(some, PALETTE, strict=False)
    ]


def _draw_tiles(axes: Axes, frames: np.ndarray, x: Axis, y: Axis) -> None:
    """Some of the frames where they lie on the plane; y points upwards."""
    across, up = (
        np.unique(np.linspace(0, len(axis.values) - 1, TILES).round().astype(int))
        for axis in (x, y)
    )
    rows = [np.concatenate(list(frames[j, across]), axis=1) for j in up[::-1]]
    axes.imshow(
        np.concatenate(rows), cmap="gray", vmin=0, vmax=255, extent=(0, len(across), 0, len(up))
    )
    axes.vlines(range(len(across) + 1), 0, len(up), color="white", linewidth=1)
    axes.hlines(range(len(up) + 1), 0, len(across), color="white", linewidth=1)
    for some, axis, put in ((across, x, axes.set_xticks), (up, y, axes.set_yticks)):
        every = slice(None, None, 2 if len(some) > 5 else 1)
        put(
            (np.arange(len(some)) + 0.5)[every],
            [_short(axis.values[k], axis) for k in some[every]],
        )
    axes.set(xlabel=x.name, ylabel=y.name)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _short(value: float, axis: Axis) -> str:
    """The value with no more digits than the axis needs."""
    digits = max(0, 2 - math.ceil(math.log10(axis.values[-1] - axis.values[0])))
    return f"{round(value, digits) + 0.0:g}".replace("-", "−")
