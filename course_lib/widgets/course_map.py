"""The course map in each chapter's first cell: what is done, how good predictions were, what next.

It is computed from the reader's record and from the chapters' sources, and holds no state.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course_lib import paths, progress
from course_lib.widgets.reader import events_of

EMPTY = "Nothing is recorded yet: predict or solve something, run this cell again, and it is here."
TITLE = re.compile(r"^# # (.+)$", re.M)
EXERCISE = re.compile(r"\bcheck\.(\w+)\(")
PREDICTION = re.compile(r"\b(?:Choice|Slider|Curve)\(\s*[\"'](\d+)\.(\w+)[\"']")


@dataclass(frozen=True)
class Chapter:
    """What a chapter's source asks of the reader."""

    stem: str  # of its files: 00_one_past_many_futures
    title: str
    exercises: tuple[str, ...]
    predictions: tuple[str, ...]

    @property
    def number(self) -> int:
        """The number that its file name begins with."""
        return int(self.stem.partition("_")[0])


@dataclass(frozen=True)
class Row:
    """What the reader's record says of one chapter."""

    chapter: Chapter
    passed: tuple[str, ...]  # exercises
    outcomes: dict[str, str]  # prediction -> how far off it was
    games: tuple[str, ...]  # what "which one is real?" scored last
    opened: str  # the time in UTC, empty where never
    link: str  # to the reader's copy, empty where there is none

    @property
    def open_parts(self) -> list[str]:
        """What is left to do here, in words."""
        exercises = [name for name in self.chapter.exercises if name not in self.passed]
        predictions = [name for name in self.chapter.predictions if name not in self.outcomes]
        left = [("exercise", exercises), ("prediction", predictions)]
        return [f"{_count(len(names), word)} ({', '.join(names)})" for word, names in left if names]

    @property
    def cells(self) -> list[str]:
        """The row as texts: checks, predictions, last opened."""
        known = self.chapter.exercises
        checks = f"{len(self.passed)} of {len(known)} passed" if known else ""
        said = [f"{name}: {outcome}" for name, outcome in self.outcomes.items()]
        asked = len(self.chapter.predictions)
        made = [f"{len(self.outcomes)} of {asked} made"] if asked else []
        return [checks, "; ".join([*made, *said, *self.games]), self.opened[:10]]


@dataclass(frozen=True)
class CourseMap:
    """All chapters as the reader left them; a table in a notebook, plain text elsewhere."""

    rows: tuple[Row, ...]

    @property
    def headline(self) -> str:
        """What is done in one sentence."""
        passed = sum(len(row.passed) for row in self.rows)
        predicted = sum(len(row.outcomes) for row in self.rows)
        if not passed and not predicted:
            return EMPTY
        return f"So far: {_count(passed, 'check')} passed, {_count(predicted, 'prediction')} made."

    @property
    def next_step(self) -> str:
        """Where to go on, in one sentence; the chapter opened last comes first."""
        times = [row.opened for row in self.rows]
        start = times.index(max(times)) if times else 0
        for row in (*self.rows[start:], *self.rows[:start]):
            where = f"chapter {row.chapter.number}, {row.chapter.title}"
            if row.open_parts:
                return f"Go on in {where}: {' and '.join(row.open_parts)}."
            if not row.opened:
                return f"Go on with {where}: python3 -m course_lib lab {row.chapter.number}"
        return "You have done all that there is so far."

    def __repr__(self) -> str:
        lines = [self.headline]
        for row in self.rows:
            cells = [cell for cell in row.cells if cell]
            lines.append("  ".join([f"{row.chapter.number}  {row.chapter.title}", *cells]))
        return "\n".join([*lines, self.next_step])

    def _repr_html_(self) -> str:
        columns = ("Chapter", "Checks", "Predictions", "Last opened")
        left = 'style="text-align:left;vertical-align:top"'
        head = "".join(f"<th {left}>{name}</th>" for name in columns)
        body = ""
        for row in self.rows:
            title = html.escape(f"{row.chapter.number}. {row.chapter.title}")
            if row.link:
                title = f'<a href="{html.escape(row.link, quote=True)}">{title}</a>'
            cells = [title, *(html.escape(cell).replace("; ", "<br>") for cell in row.cells)]
            body += f"<tr>{''.join(f'<td {left}>{cell}</td>' for cell in cells)}</tr>"
        return (
            f"<p>{html.escape(self.headline)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p><b>{html.escape(self.next_step)}</b></p>"
        )


def course_map() -> CourseMap:
    """The map as the reader's record has it now."""
    return CourseMap(tuple(_row(chapter) for chapter in chapters(paths.SOURCES)))


def chapters(folder: Path) -> Iterator[Chapter]:
    """The chapters whose sources stand in a folder, in order."""
    for path in sorted(folder.glob("[0-9]*_*.py")):
        text = path.read_text(encoding="utf-8")
        title = TITLE.search(text)
        number = int(path.stem.partition("_")[0])
        asked = [name for chapter, name in PREDICTION.findall(text) if int(chapter) == number]
        yield Chapter(
            path.stem,
            title[1].strip() if title else path.stem,
            tuple(dict.fromkeys(EXERCISE.findall(text))),
            tuple(dict.fromkeys(asked)),
        )


def _row(chapter: Chapter) -> Row:
    solved = {event.get("exercise") for event in progress.events("check") if event.get("passed")}
    outcomes = {
        name: _outcome({"chapter": chapter.number, "id": name}) for name in chapter.predictions
    }
    opened = [event for event in progress.events("opened") if event.get("chapter") == chapter.stem]
    copy = paths.course_home() / f"{chapter.stem}.ipynb"
    return Row(
        chapter,
        tuple(name for name in chapter.exercises if name in solved),
        {name: outcome for name, outcome in outcomes.items() if outcome},
        tuple(_games(chapter.number)),
        str(opened[-1].get("time", "")) if opened else "",
        copy.name if copy.exists() else "",
    )


def _outcome(place: dict) -> str:
    """How far off a prediction was when its answer was first seen; empty where there is none."""
    shown = events_of("reveal", place)
    if not shown:
        return "answer still folded" if events_of("prediction", place) else ""
    first = shown[0]
    if first.get("predicted") is None:
        return "answer seen first"
    if isinstance(first.get("correct"), bool):
        return "right" if first["correct"] else "not right"
    if isinstance(first.get("factor"), (int, float)):
        return f"a factor of {first['factor']:.1f} off"
    if isinstance(first.get("error"), (int, float)):
        unit = first.get("unit") or ""
        unit = {"%": " percentage points", "": ""}.get(unit, f" {unit}")
        return f"{abs(first['error']):.3g}{unit} off"
    return ""


def _games(number: int) -> Iterator[str]:
    """The last score of each "which one is real?" of a chapter."""
    last = {event.get("id"): event for event in events_of("which_is_real", {"chapter": number})}
    for name, event in last.items():
        yield f"{name}: {event.get('right')} of {event.get('rounds')} told apart"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
