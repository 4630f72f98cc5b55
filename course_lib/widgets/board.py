"""The scoreboard as a picture and as a table, both of stored results."""

from collections.abc import Mapping

import matplotlib as mpl

from course_lib.plots import COLORS, STYLE, WIDTH, Picture
from course_lib.recipes.scoreboard import CONTESTANTS

Scores = Mapping[str, Mapping[str, tuple[float, float, float]]]  # of `scoreboard.read`

PANELS = {
    "valid": "valid",
    "forbidden": "forbidden",
    "total_variation": "total\nvariation",
    "excess": "excess",
    "energy_score": "energy\nscore",
}
COSTS = {"mega_macs": "million\nmacs", "ms_many": "milli-\nseconds"}
INKS = {"nothing": "#888888", "twice": COLORS["blue"], "base": COLORS["orange"]}
SAID = {
    "nothing": "reference, not trained",
    "twice": "trained on twice",
    "base": "trained on base",
}


def ranked(scores: Scores, by: str = "total_variation") -> list[str]:
    """The predictors, least of `by` first; `valid` falls."""
    sign = -1 if by == "valid" else 1
    names = [name for name in CONTESTANTS if by in scores[name]]
    return sorted(names, key=lambda name: sign * scores[name][by][0])


def board(scores: Scores, alt: str, *, by: str = "total_variation") -> Picture:
    """A row for each predictor, a panel for each question; a dot and its interval.

    Dashed lines: what a perfect sampler is expected to score.

    Raises:
        ValueError: `by` is no panel.
    """
    if by not in PANELS:
        raise ValueError(f"by is {by!r}; permitted: {', '.join(PANELS)}")
    names = ranked(scores, by)
    floors = {"valid": (1.0,), "forbidden": (0.0,), **scores["floor"]}
    with mpl.rc_context(STYLE):
        picture = Picture(WIDTH, 0.9 + 0.27 * len(names), alt)
        grid = picture.subplots(1, len(PANELS), sharey=True)
        for axes, (key, title) in zip(grid, PANELS.items(), strict=True):
            for row, name in enumerate(names):
                value, low, high = scores[name][key]
                ink = INKS[CONTESTANTS[name].trained_on]
                axes.plot([low, high], [row, row], color=ink, linewidth=1.6)
                axes.plot(value, row, "o", color=ink, markersize=5, clip_on=False)
            axes.axvline(floors[key][0], color="#555555", linestyle="--", linewidth=1.1)
            axes.set_title(title, loc="center", fontsize=9.5)
            axes.set_xlim(left=min(0, axes.get_xlim()[0]))
            axes.tick_params(labelsize=8)
        grid[0].set_yticks(range(len(names)), [CONTESTANTS[name].title for name in names])
        grid[0].invert_yaxis()
        for trained_on, ink in INKS.items():
            grid[0].plot([], [], "o", color=ink, label=SAID[trained_on])
        picture.legend(loc="outside lower center", ncols=len(INKS), fontsize=9)
    return picture


def table(scores: Scores, *, by: str = "total_variation") -> str:
    """The same numbers in words and figures, cost beside them; * was trained on `base`."""
    columns = {**PANELS, **COSTS}
    heads = [title.split("\n") for title in columns.values()]
    upper, lower = ([pair[n] if len(pair) > n else "" for pair in heads] for n in (0, 1))
    lines = [_line("", upper), _line("", lower)]
    for name in ["floor", *ranked(scores, by)]:
        title = "perfect sampler"
        if name != "floor":
            contestant = CONTESTANTS[name]
            title = contestant.title + " *" * (contestant.trained_on == "base")
        lines.append(_line(title, [_said(scores[name].get(key), key) for key in columns]))
    return "\n".join(lines)


def _line(title: str, cells: list[str]) -> str:
    return f"{title:<20}" + "".join(f"{cell:>9}" for cell in cells)


def _said(score: tuple[float, float, float] | None, key: str) -> str:
    if score is None:
        return "-"
    return f"{score[0]:,.0f}" if key == "mega_macs" else f"{score[0]:.{1 + 2 * (key in PANELS)}f}"
