import io

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import plots


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture.png())).convert("RGBA"))


def clip(value, length=5):
    return torch.full((length, 1, 8, 8), value)


def pictures():
    x = np.arange(4)
    return {
        "film_strip": plots.film_strip({"dark": clip(-1.0), "light": clip(1.0)}, "two clips"),
        "contact_sheet": plots.contact_sheet(torch.zeros(7, 3, 8, 8), "seven", columns=3),
        "curves": plots.curves(
            x, {"y": (x, x - 1, x + 1)}, "a line", xlabel="x", ylabel="y", levels={"floor": 0.5}
        ),
        "bundles": plots.bundles(x, {"a": torch.eye(4)}, "lines", xlabel="x", ylabel="y"),
        "bars": plots.bars(
            {"a": {"p": 0.2, "q": 0.8}, "b": {"p": 1.0, "q": 0.0}}, "bars", ylabel="p"
        ),
        "scatter": plots.scatter(
            {"one": torch.eye(2), "two": -torch.eye(2)},
            torch.tensor([3, 8]),
            "points",
            xlabel="x",
            ylabel="y",
        ),
    }


def test_a_heat_table_is_darker_where_larger_and_bold_where_a_column_is_least():
    table = {"low": {"10": 1.0, "20": 500.0}, "high": {"10": 100.0, "20": 10.0}}
    picture = plots.heat_tables({"t": table}, "a table", xlabel="S", ylabel="eta")
    (axes,) = picture.axes
    weights = {text.get_text(): text.get_weight() for text in axes.texts}
    assert weights == {"1": "bold", "500": "normal", "100": "normal", "10": "bold"}
    shades = np.asarray(axes.images[0].get_array())
    assert np.argsort(shades.ravel()).tolist() == [0, 3, 2, 1]
    assert shades[1, 1] == pytest.approx(np.log(10) / np.log(500))


def test_bars_draw_an_interval_where_one_is_given():
    picture = plots.bars({"a": {"p": (0.5, 0.2, 0.6), "q": 0.3}}, "bars", ylabel="p")
    (axes,) = picture.axes
    assert [bar.get_height() for bar in axes.patches] == [0.5, 0.3]
    lines = [np.array(drawn.get_segments()[0])[:, 1] for drawn in axes.collections]
    assert lines[0] == pytest.approx([0.2, 0.6])
    assert lines[1] == pytest.approx([0.3, 0.3])


def test_every_picture_is_opaque_and_as_wide_as_a_notebook():
    for name, picture in pictures().items():
        image = pixels(picture)
        assert (image[..., 3] == 255).all(), name
        assert image.shape[1] == plots.WIDTH * plots.DPI, name
        assert image[..., :3].std() > 0, name


def test_a_picture_shows_itself_with_a_text_for_those_who_cannot_see_it():
    data, metadata = pictures()["curves"]._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == data["text/plain"] == "a line"
    with pytest.raises(ValueError, match="say in a sentence"):
        plots.Picture(4.0, 3.0, " ")


def test_no_figure_stays_open():
    import matplotlib.pyplot as plt

    pictures()
    assert plt.get_fignums() == []


def test_a_film_strip_draws_black_as_black_and_white_as_white():
    image = pixels(plots.film_strip({"dark": clip(-1.0), "light": clip(1.0)}, "two clips"))
    top, bottom = np.array_split(image[..., 0], 2)
    assert (top == 0).sum() > 10 * (bottom == 0).sum()


def test_titles_stand_above_the_frames_in_place_of_numbers():
    strip = plots.film_strip(
        {"": clip(0.0)}, "x", frames=[0, 2], titles="abcdefgh"[: len(clip(0.0))]
    )
    assert [axes.get_title() for axes in strip.axes] == ["a", "c"]
    with pytest.raises(ValueError, match=r"2 titles; permitted: one for each of"):
        plots.film_strip({"": clip(0.0)}, "x", titles="ab")


def test_a_film_strip_shows_the_frames_that_were_asked_for():
    shades = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 1, 8, 8)
    image = pixels(plots.film_strip({"": shades}, "shades", frames=[0, 4]))[..., 0]
    assert (image == 0).sum() > 10_000
    assert not ((image > 100) & (image < 150)).sum() > 10_000


def test_bad_clips_are_named():
    with pytest.raises(ValueError, match="'b': 4"):
        plots.film_strip({"a": clip(0.0), "b": clip(0.0, length=4)}, "x")
    with pytest.raises(ValueError, match=r"frame 5 .* 0\.\.4"):
        plots.film_strip({"a": clip(0.0)}, "x", frames=[0, 5])
    with pytest.raises(ValueError, match="at least one"):
        plots.film_strip({}, "x")
    with pytest.raises(ValueError, match="at least one"):
        plots.contact_sheet(torch.zeros(0, 1, 8, 8), "x")


def test_a_picture_becomes_a_frame_of_the_width_that_was_asked_for():
    picture = pictures()["curves"]
    frame = picture.pixels(360)
    assert frame.shape[1:] == (360, 3)
    assert frame.dtype == np.uint8
    small = Image.open(io.BytesIO(picture.png())).convert("RGB").resize(frame.shape[1::-1])
    assert np.abs(np.asarray(small).astype(float) - frame).mean() < 12


def test_a_scatter_draws_every_point_at_its_place_in_the_colour_of_its_label():
    places, labels = torch.tensor([[0.0, 1], [2, 3], [4, 7]]), torch.tensor([1, 0, 1])
    picture = plots.scatter({"a": places, "b": -places}, labels, "x", xlabel="x", ylabel="y")
    for sign, axes in zip((1, -1), picture.axes, strict=True):
        drawn = {line.get_marker(): line for line in axes.lines}
        for number in (0, 1):
            expected = sign * places[labels == number].numpy()
            assert np.array_equal(drawn[f"${number}$"].get_xydata(), expected)
        assert drawn["$0$"].get_color() != drawn["$1$"].get_color()


def test_bundles_draw_a_line_for_each_row_and_name_a_group_once():
    groups = {"a": torch.tensor([[0.0, 1], [2, 3]]), "b": torch.tensor([[4.0, 5]])}
    (axes,) = plots.bundles(
        [7.0, 8.0], groups, "lines", xlabel="x", ylabel="y", ylim=(0.0, 6.0)
    ).axes
    drawn = [line for line in axes.lines if len(line.get_xdata())]
    assert [line.get_ydata().tolist() for line in drawn] == [[0, 1], [2, 3], [4, 5]]
    one, same, other = (line.get_color() for line in drawn)
    assert one == same != other
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_arrows_end_where_they_should_and_every_one_is_named():
    ends = {"one": (0.6, 0.8), "two": (-1.0, 0.0)}
    (axes,) = plots.arrows(ends, "arrows", xlabel="x", ylabel="y").axes
    assert [note.xy for note in axes.texts] == list(ends.values())
    assert all(note.xyann == (0, 0) for note in axes.texts)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(ends)
    assert axes.get_aspect() == 1
