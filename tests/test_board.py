"""The scoreboard's picture and table: order, floors, marks."""

import numpy as np
import pytest

from course_lib.recipes.scoreboard import CONTESTANTS
from course_lib.widgets.board import PANELS, board, ranked, table


@pytest.fixture
def scores():
    """The n-th predictor scores n hundredths everywhere."""
    floor = (0.005, 0.005, 0.005)
    rows = {"floor": {"total_variation": floor, "excess": floor, "energy_score": floor}}
    for n, name in enumerate(CONTESTANTS, start=1):
        rows[name] = dict.fromkeys(PANELS, (n / 100, n / 200, n / 50))
    rows["svg_lp"] |= {"mega_macs": (1234.5, 1234.5, 1234.5), "ms_many": (6.78, 6.78, 6.78)}
    return rows


def test_the_order_follows_the_question(scores):
    assert ranked(scores) == list(CONTESTANTS)
    assert ranked(scores, "valid") == list(CONTESTANTS)[::-1]  # more is better
    del scores["mean"]["excess"]
    assert "mean" not in ranked(scores, "excess")


def test_the_table_has_a_row_for_each_and_marks_who_was_trained_elsewhere(scores):
    lines = table(scores).splitlines()
    assert len(lines) == 3 + len(CONTESTANTS)
    assert max(map(len, lines)) <= 84  # columns of a page of 900 pixels
    assert lines[2].split()[-7:] == ["-", "-", "0.005", "0.005", "0.005", "-", "-"]
    row = next(line for line in lines if "SVG-LP" in line)
    assert row.split()[-7:] == ["0.070"] * 5 + ["1,234", "6.8"]
    marked = {line[:20].strip(" *") for line in lines if " *" in line[:20]}
    assert marked == {c.title for c in CONTESTANTS.values() if c.trained_on == "base"}


def test_every_dot_stands_where_its_number_is(scores):
    picture = board(scores, "All predictors.", by="valid")
    names = ranked(scores, "valid")
    for axes, key in zip(picture.axes, PANELS, strict=True):
        dots = [np.ravel(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
        found = [float(dot[0]) for dot in dots if len(dot)]
        assert found == [scores[name][key][0] for name in names]
    labels = [label.get_text() for label in picture.axes[0].get_yticklabels()]
    assert labels == [CONTESTANTS[name].title for name in names]
    assert len(picture.png()) < 40_000
    with pytest.raises(ValueError, match="by is 'speed'; permitted: valid, forbidden"):
        board(scores, "All predictors.", by="speed")
