"""A latent pad as a still picture, for pages where no widget can live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from course_lib.plots import COLORS, STYLE, WIDTH, Picture

PALETTE = [*(color for name, color in COLORS.items() if name != "black"), "#888888"]
SHADE = 0.55  # opacity of a region, the same as in latent_pad.css
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
    rows, side = -(-num_axes // columns), min(WIDTH / columns, WIDTH / 2)
    with mpl.rc_context(STYLE):
        named = len(pad["names"]["regions"]) + len(pad["names"]["points"])
        below = 0.12 * named if has_map else 0  # the legend has two columns
        picture = Picture(side * columns, (side + below) * rows + 0.5, alt)
        grid = list(picture.subplots(rows, columns, squeeze=False).flat)
        for axes in grid[num_axes:]:
            axes.set_axis_off()
        if has_map:
            _draw_map(grid[0], pad)
        for axes, (name, frames) in zip(grid[has_map:], tiles.items(), strict=False):
            _draw_tiles(axes, frames, x, y)
            axes.set_title(name)
        picture.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return picture


def are_signs(names: Sequence[str]) -> bool:
    """Whether the names can be drawn at their places, and no legend is needed."""
    return bool(names) and all(len(name) == 1 for name in names)


def _draw_map(axes: Axes, pad: dict) -> None:
    """Regions and points with matplotlib, as latent_pad.js draws them on the live pad."""
    regions, points = pad.get("regions"), pad.get("points", ())
    legend = []
    if regions is not None:
        edges = (pad[side]["edges"] for side in "xy")
        shades = {"cmap": ListedColormap(PALETTE), "vmin": 0, "vmax": len(PALETTE) - 1}
        axes.pcolormesh(*edges, regions, **shades, alpha=SHADE, linewidth=0)
        legend += _legend(pad["names"]["regions"], SHADE)
    classes = pad.get("classes") or [None] * len(points)
    names = pad["names"]["points"]
    signs = are_signs(names)
    for (x, y), k in zip(points, classes, strict=True):
        marker, color = "o", COLORS["black"]
        if k is not None:
            marker, color = f"${names[k]}$" if signs else "o", PALETTE[k % len(PALETTE)]
        axes.plot(x, y, marker=marker, color=color, markersize=5 if signs else 3, linewidth=0)
    legend += [] if signs else _legend(names, 1)
    ends = {f"{side}lim": (pad[side]["edges"][0], pad[side]["edges"][-1]) for side in "xy"}
    axes.set(**ends, xlabel=pad["x"]["name"], ylabel=pad["y"]["name"], box_aspect=1)
    axes.grid(visible=False)
    if legend:
        axes.legend(handles=legend, loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)


def _legend(names: Sequence[str], alpha: float | int) -> list[Patch]:
    return [
        Patch(color=color, alpha=alpha, label=name)
        for name, color in zip(names, PALETTE, strict=False)
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
            [f"{axis.values[k]:.3g}".replace("-", "−") for k in some[every]],
        )
    axes.set(xlabel=x.name, ylabel=y.name)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
