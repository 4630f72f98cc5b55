"""Walks in a plane: each is drawn from its first point to its last."""

import numpy as np
import pytest
import torch

from course_lib.widgets.trails import trails

DATA = torch.zeros(1, 2)


def drawn(axes):
    """The points of every line, in the order of drawing."""
    return [np.stack(line.get_data(), 1).tolist() for line in axes.lines]


def test_a_walk_is_a_line_with_marks_at_both_ends():
    walk = torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]], [[2.0, -1.0]]])  # (S, N, 2)
    (axes,) = trails({"one": walk}, DATA, "x").axes
    data, line, start, end = drawn(axes)
    assert data == [[0, 0]]
    assert line == [[0, 1], [1, 1], [2, -1]]
    assert (start, end) == ([[0, 1]], [[2, -1]])
    assert axes.lines[2].get_markerfacecolor() != axes.lines[3].get_markerfacecolor()


def test_panels_stand_in_rows_of_so_many_columns():
    walks = {name: torch.zeros(2, 3, 2) for name in "abcde"}
    picture = trails(walks, DATA, "x", columns=3)
    shown = [axes.get_title(loc="left") for axes in picture.axes if axes.axison]
    assert shown == list("abcde")
    left = [axes.get_position().x0 for axes in picture.axes]
    assert left[:3] == left[3:] == sorted(set(left))
    assert len(drawn(picture.axes[0])) == 1 + 3 * 3  # the data, and three lines for each walk


def test_no_panel_is_refused():
    with pytest.raises(ValueError, match="at least one panel"):
        trails({}, DATA, "x")
