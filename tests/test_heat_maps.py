"""Heat maps: colours rank as the numbers do, and nothing looks like very little."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from course_lib.widgets.heat_maps import heat_maps, tiles

NAN = float("nan")


def fields(picture):
    """The colours of every panel's fields, 0 to 1, without the fourth number."""
    return [np.asarray(axes.images[0].get_array())[..., :3] for axes in picture.axes if axes.images]


def darkness(colours):
    return 1 - colours @ np.array([0.299, 0.587, 0.114])


def test_more_is_darker_and_zero_is_white():
    (colours,) = fields(heat_maps({"a": np.array([[0.0, 0.5, 1.0]])}, "x"))
    assert (colours[0, 0] == 1).all()
    assert 0 < darkness(colours)[0, 1] < darkness(colours)[0, 2]


def test_panels_share_one_scale():
    first, second = fields(heat_maps({"a": np.array([[1.0]]), "b": np.array([[1.0, 2.0]])}, "x"))
    assert np.allclose(first[0, 0], second[0, 0])
    assert darkness(second)[0, 1] > darkness(second)[0, 0]


def test_signs_have_their_own_colours():
    (colours,) = fields(heat_maps({"a": np.array([[-1.0, 0.0, 1.0]])}, "x"))
    below, zero, above = colours[0]
    assert below[2] > below[0]  # blue
    assert above[0] > above[2]  # orange
    assert zero.min() > 0.99


def test_on_a_logarithmic_scale_only_an_exact_zero_is_grey():
    (colours,) = fields(heat_maps({"a": np.array([[0.0, 1e-30, 1e-3, 1.0]])}, "x", log=True))
    zero, tiny, little, most = colours[0]
    assert np.ptp(zero) == 0
    assert all(np.ptp(colour) > 0.1 for colour in (tiny, little, most))
    assert np.all(np.diff(darkness(colours)[0, 1:]) > 0)


def test_what_is_no_number_is_left_white():
    (colours,) = fields(heat_maps({"a": np.array([[NAN, 2.0]])}, "x"))
    assert (colours[0, 0] == 1).all()


def test_a_table_of_zeros_can_be_drawn():
    for log in (False, True):
        assert heat_maps({"a": np.zeros((2, 2))}, "x", log=log).png()[:4] == b"\x89PNG"


def test_texts_titles_and_the_mark_stand_where_they_were_asked_for():
    table = np.arange(4.0).reshape(2, 2)
    picture = heat_maps(
        {"a": table, "b": table[:1]}, "x", texts={"a": [["p", "q"], ["r", "s"]]}, mark=(1, 0)
    )
    first, second = picture.axes
    places = {text.get_text(): text.get_position() for text in first.texts}
    assert places == {"p": (0, 0), "q": (1, 0), "r": (0, 1), "s": (1, 1)}
    assert [axes.get_title() for axes in (first, second)] == ["a", "b"]
    (frame,) = first.patches
    assert isinstance(frame, Rectangle)
    assert frame.get_x() < 0 < frame.get_x() + frame.get_width()
    assert frame.get_y() < 1 < frame.get_y() + frame.get_height()
    assert not second.patches  # it has no row 1


def test_ink_is_light_on_dark_fields():
    table = np.array([[0.0, 1.0]])
    (axes,) = heat_maps({"a": table}, "x", texts={"a": [["on white", "on blue"]]}).axes
    inks = {text.get_text(): text.get_color() for text in axes.texts}
    assert inks["on blue"] == "white"
    assert inks["on white"] != "white"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one panel or more"):
        heat_maps({}, "x")
    with pytest.raises(ValueError, match="'b'"):
        heat_maps({"a": np.zeros((1, 1))}, "x", texts={"b": [[""]]})


def test_tiles_enlarge_every_field_in_its_colour():
    tables = np.array([[[0.0, 1.0], [1e-2, 1e-9]]])
    pixels = tiles(tables, scale=10)
    assert pixels.shape == (1, 20, 20, 3)
    middles = pixels[0, 5::10, 5::10].astype(int)
    assert np.ptp(middles[0, 0]) == 0
    assert (
        darkness(middles / 255)[0, 1]
        > darkness(middles / 255)[1, 0]
        > darkness(middles / 255)[1, 1]
    )
    assert (pixels[0, 1:10, 1:10] == pixels[0, 5, 5]).all()


def test_tiles_share_one_scale_over_the_grid():
    pixels = tiles(np.array([[[1.0]], [[1e-2]]]), scale=10)
    assert darkness(pixels[0, 5, 5] / 255) > darkness(pixels[1, 5, 5] / 255)


def test_tiles_mark_a_field_without_hiding_its_colour():
    table = np.array([[1.0, 0.0], [0.0, 0.0]])
    plain, marked = tiles(table, scale=20), tiles(table, scale=20, mark=(0, 1), every=1)
    assert (marked[10, 30] == plain[10, 30]).all()  # the middle
    assert (marked[3, 30] != plain[3, 30]).any()  # the frame
    assert (marked[10, 10] == plain[10, 10]).all()
    assert (marked[20] == 60).all()  # the line between the windows
