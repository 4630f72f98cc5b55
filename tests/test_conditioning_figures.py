"""The conditionings in figures: every number that is given is drawn, and what is amiss refused."""

import numpy as np
import pytest
import torch

from course_lib.widgets.conditionings import clouds, compared, differences

NAMES = ("in-context", "adaLN-Zero")


def test_clouds_share_their_scale_and_show_every_point():
    before = torch.arange(10.0).view(5, 2)
    picture = clouds({"before": before, "after": 3 * before}, "Two clouds.")
    first, second = picture.axes
    assert first.get_xlim() == second.get_xlim()
    drawn = np.concatenate([line.get_xydata() for line in second.lines[:3]])  # then the two axes
    assert {tuple(p) for p in drawn} == {tuple(p) for p in (3 * before).tolist()}
    with pytest.raises(ValueError, match="permitted: one cloud and more"):
        clouds({}, "Nothing.")


def test_curves_dots_and_bars_of_one_conditioning_have_one_colour_and_their_numbers():
    picture = compared(
        [150, 300],
        {"in-context": [[0.4, 0.3], [0.5, 0.2]], "adaLN-Zero": [[0.3, 0.1]]},
        {"in-context": [(0.3, 0.2, 0.4), (0.2, 0.1, 0.3)], "adaLN-Zero": [(0.1, 0.05, 0.15)]},
        {"in-context": 35.24, "adaLN-Zero": 19.47},
        "Two conditionings.",
    )
    over, end, paper = picture.axes
    assert [list(line.get_ydata()) for line in over.lines] == [[0.4, 0.3], [0.5, 0.2], [0.3, 0.1]]
    assert [line.get_xdata()[0] for line in end.lines[1::2]] == [0.1, 0.3, 0.2]  # from below
    assert [tick.get_text() for tick in end.get_yticklabels()] == [*reversed(NAMES)]
    assert [bar.get_width() for bar in paper.patches] == [19.47, 35.24]
    assert over.lines[2].get_color() == end.lines[0].get_color() != over.lines[0].get_color()
    with pytest.raises(ValueError, match="permitted: in-context"):
        compared([1], {"in-context": [[0.1]]}, {}, {}, "Nothing.")


def test_differences_are_listed_from_above_in_their_order():
    picture = differences(
        {
            "a": {"first": (1.0, 0.5, 1.5)},
            "b": {"second": (2.0, 1.0, 3.0), "third": (0.0, 0.0, 0.0)},
        },
        "Three differences.",
        xlabel="difference",
    )
    (axes,) = picture.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["third", "second", "first"]
    heights = {
        line.get_xdata()[0]: line.get_ydata()[0]
        for line in axes.lines
        if line.get_marker() == "o" and len(line.get_xdata())
    }
    assert heights == {1.0: 2, 2.0: 1, 0.0: 0}
