"""Walks of points in a plane: where each begins, which way it takes, where it ends."""

from collections.abc import Mapping

import matplotlib as mpl
from jaxtyping import Float
from torch import Tensor

from course_lib.plots import COLORS, STYLE, WIDTH, Picture


def trails(
    walks: Mapping[str, Float[Tensor, "S N 2"]],
    places: Float[Tensor, "M 2"],
    alt: str,
    *,
    columns: int | None = None,
    limit: float = 3.2,
) -> Picture:
    """N walks of S points in each panel: a ring at the start, a dot at the end.

    Args:
        walks: title -> the points of each walk, the start first.
        places: points of the data, grey, below the walks.
        alt: what the picture shows, in a sentence.
        columns: panels in a row; all where None.
        limit: both axes show -limit to limit.

    Raises:
        ValueError: There is no panel.
    """
    if not walks:
        raise ValueError("walks is empty; trails need at least one panel")
    with mpl.rc_context(STYLE):
        columns = min(columns or len(walks), len(walks))
        rows, tile = -(-len(walks) // columns), WIDTH / columns
        picture = Picture(WIDTH, (tile + 0.1) * rows, alt)
        grid = picture.subplots(rows, columns, squeeze=False).flat
        for axes in grid[len(walks) :]:
            axes.set_axis_off()
        for axes, (title, points) in zip(grid, walks.items(), strict=False):
            axes.plot(*places.T.numpy(), ls="", marker=".", ms=3, color="#bbbbbb", mew=0)
            for n, walk in enumerate(points.transpose(0, 1).numpy()):
                color = list(COLORS.values())[n % len(COLORS)]
                axes.plot(*walk.T, color=color, lw=1.1)
                axes.plot(*walk[0], marker="o", ms=7, mfc="white", mec="black", zorder=3)
                axes.plot(*walk[-1], marker="o", ms=7, mfc=color, mec="black", zorder=3)
            axes.set(title=title, xticks=[], yticks=[], box_aspect=1)
            axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
            axes.spines[:].set(visible=True, color="#cccccc")
    return picture
