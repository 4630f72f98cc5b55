"""Figures of chapter 7: what adaptive layer norm does to tokens, four conditionings compared."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from course_lib.plots import COLORS, STYLE, WIDTH, Picture

Interval = tuple[float, float, float]  # value, low, high


def clouds(panels: Mapping[str, Float[Tensor, "N 2"]], alt: str) -> Picture:
    """The same points in each panel, moved; one scale for all, and the first two points marked.

    Raises:
        ValueError: There is no panel.
    """
    if not panels:
        raise ValueError("panels is empty; permitted: one cloud and more")
    with mpl.rc_context(STYLE):
        tile = WIDTH / len(panels)
        picture = Picture(WIDTH, tile + 0.35, alt)
        grid = picture.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (title, points) in zip(grid, panels.items(), strict=True):
            axes.plot(*points[2:].T.numpy(), ls="", marker="o", ms=3, color="#999999")
            for point, color in zip(points[:2].tolist(), ("blue", "orange"), strict=True):
                axes.plot(*point, marker="o", ms=7, color=COLORS[color])
            axes.axhline(0, color="#555555", linewidth=0.8)
            axes.axvline(0, color="#555555", linewidth=0.8)
            axes.set(title=title, xlabel="first number", box_aspect=1)
        grid[0].set_ylabel("second number")
    return picture


def compared(
    steps: Sequence[int],
    curves: Mapping[str, Sequence[Sequence[float]]],
    finals: Mapping[str, Sequence[Interval]],
    published: Mapping[str, float],
    alt: str,
) -> Picture:
    """Losses over updates, losses at the end, and what the paper measured, one colour for each.

    Args:
        steps: updates of the curves' points.
        curves: conditioning -> a line for each seed.
        finals: conditioning -> the loss at the end and its interval, for each seed.
        published: conditioning -> the paper's FID.
        alt: what the picture shows, in a sentence.

    Raises:
        ValueError: The three do not name the same conditionings.
    """
    names = list(curves)
    if set(finals) != set(names) or set(published) != set(names):
        raise ValueError(f"finals or published lack a name; permitted: {', '.join(names)}")
    colors = dict(zip(names, COLORS.values(), strict=False))
    with mpl.rc_context(STYLE):
        picture = Picture(WIDTH, 3.3, alt)
        over, end, paper = picture.subplots(1, 3, width_ratios=(1.3, 1, 0.75))
        for name, lines in curves.items():
            for line in lines:
                over.plot(steps, line, color=colors[name], linewidth=1.1)
        over.set(xlabel="updates", ylabel="held-out loss", yscale="log")
        over.yaxis.set_major_formatter("{x:.2f}")
        over.yaxis.set_minor_formatter("{x:.2f}")
        over.set_title("ours, on the way", fontsize=10)
        for row, name in enumerate(reversed(names)):
            _dots(end, row, finals[name], colors[name])
            paper.barh(row, published[name], height=0.55, color=colors[name])
            paper.annotate(f"{published[name]:g}", (published[name], row), ha="right", va="center")
            paper.texts[-1].set(color="white", fontsize=9, position=(-4, 0))
            paper.texts[-1].set_anncoords("offset points")
        end.set(xlabel="held-out loss", yticks=range(len(names)), ylim=(-0.6, len(names) - 0.4))
        for tick, name in zip(end.set_yticklabels(names[::-1]), reversed(names), strict=True):
            tick.set(color=colors[name], fontweight="bold", fontsize=9)
        end.set_title("ours, at the end", fontsize=10)
        paper.set(xlabel="FID", yticks=[], ylim=(-0.6, len(names) - 0.4))
        paper.set_title("the paper", fontsize=10)
    return picture


def _dots(axes: Axes, row: int, intervals: Sequence[Interval], color: str) -> None:
    """The intervals of one name, one below the other around its row."""
    for n, (value, low, high) in enumerate(intervals):
        y = row + 0.22 * ((len(intervals) - 1) / 2 - n)
        axes.plot([low, high], [y, y], color=color, linewidth=1.4)
        axes.plot(value, y, marker="o", ms=5, color=color)


def differences(groups: Mapping[str, Mapping[str, Interval]], alt: str, *, xlabel: str) -> Picture:
    """Differences with their intervals, one below the other, beside a line at 0.

    Args:
        groups: group -> (label -> difference); a group has one colour.
        alt: what the picture shows, in a sentence.
        xlabel: what is measured.
    """
    labels = [label for rows in groups.values() for label in rows]
    with mpl.rc_context(STYLE):
        picture = Picture(WIDTH, 0.75 + 0.26 * len(labels), alt)
        axes, row = picture.subplots(), len(labels)
        for (group, rows), color in zip(groups.items(), COLORS.values(), strict=False):
            for interval in rows.values():
                row -= 1
                _dots(axes, row, [interval], color)
            axes.plot([], [], color=color, marker="o", label=group)
        axes.axvline(0, color="#555555", linewidth=1)
        axes.set(xlabel=xlabel, yticks=range(len(labels)), ylim=(-0.6, len(labels) - 0.4))
        axes.set_yticklabels(labels[::-1])
        axes.grid(axis="y", visible=False)
        axes.legend(loc="best", fontsize=9)
    return picture
