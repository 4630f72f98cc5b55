"""The latent pad's Python half: what it sends, what it refuses, what stands where no widget can."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from test_player import frame_on_screen, noise

from course_lib.widgets.latent_pad import Frames, LatentPad
from course_lib.widgets.side_by_side import SideBySide

XS, YS = [-2.0, -0.5, 0.0, 1.0], [-1.0, 0.0, 3.0]
CLIPS = noise(3, 4, 2, 6, 5)
AREAS = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [2, 2, 2, 1]])
DOTS = np.array([[0.5, -0.25], [-1.0, 2.0], [9.0, 9.0]])
NAMES = ("left", "straight", "right")


def make(frames: Frames = CLIPS, **options):
    return LatentPad(frames, XS, YS, **options)


def picture_of(widget):
    data, metadata = widget._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert "transparency" not in picture.info
    assert picture.mode in ("P", "RGB"), "the paper is opaque"
    return picture.convert("RGB"), data, metadata["image/png"]


def test_every_place_of_the_plane_shows_exactly_its_frame():
    pad = make()
    for j, i, t in np.ndindex(3, 4, 2):
        np.testing.assert_array_equal(
            frame_on_screen(pad, "at the cross", j, i, t)[..., 0], CLIPS[j, i, t]
        )


def test_the_first_slider_of_the_grid_is_the_second_latent():
    pad = make(labels=("turn", "return"))
    assert [slider["name"] for slider in pad.sliders] == ["return", "turn"]
    assert [slider["labels"] for slider in pad.sliders] == [
        ["-1", "0", "3"],
        ["-2", "-0.5", "0", "1"],
    ]
    assert (pad.pad["x"]["name"], pad.pad["y"]["name"]) == ("turn", "return")


def test_the_cross_begins_in_the_middle():
    assert make().value == {"z1": 2, "z2": 1, "frame": 0}


def test_a_cell_ends_halfway_to_the_next_value():
    pad = make().pad
    assert pad["x"]["edges"] == [-2.75, -1.25, -0.25, 0.5, 1.5]
    assert pad["y"]["edges"] == [-1.5, -0.5, 1.5, 4.5]


@pytest.mark.parametrize("side", ["x", "y"])
def test_ticks_are_round_numbers_on_the_plane(side):
    axis = make().pad[side]
    assert 3 <= len(axis["ticks"]) <= 7
    assert min(axis["ticks"]) >= axis["edges"][0]
    assert max(axis["ticks"]) <= axis["edges"][-1]
    assert all(2 * tick == round(2 * tick) for tick in axis["ticks"])
    assert 0 in axis["ticks"]


def test_regions_points_and_classes_arrive_as_they_were_given():
    pad = make(
        regions=AREAS,
        region_names=NAMES,
        points=DOTS,
        point_classes=np.array([1, 0, 1]),
        point_names=("a code", "another"),
    ).pad
    assert pad["regions"] == AREAS.tolist()
    assert pad["points"] == DOTS.tolist()
    assert pad["classes"] == [1, 0, 1]
    assert pad["names"] == {"regions": list(NAMES), "points": ["a code", "another"]}


def test_no_two_regions_have_one_colour():
    palette = make().pad["palette"]
    assert len(set(palette)) == len(palette) == 7


def test_a_caption_for_each_place_holds_for_all_its_frames():
    texts = [[f"{j} {i}" for i in range(4)] for j in range(3)]
    sent = make(captions=texts).captions
    shown = [sent["texts"][k] for k in sent["index"]]
    assert shown == [f"{j} {i}" for j, i, t in np.ndindex(3, 4, 2)]
    assert make(captions="one").captions["texts"] == ["one"]


def test_an_update_replaces_what_is_given_and_the_cross_stays():
    pad = make(regions=AREAS, region_names=NAMES, points=DOTS, captions="old")
    pad.value = {"z1": 0, "z2": 2}
    pad.update(255 - CLIPS, points=DOTS[:1])
    np.testing.assert_array_equal(
        frame_on_screen(pad, "at the cross", 2, 0, 1)[..., 0], 255 - CLIPS[2, 0, 1]
    )
    assert pad.pad["points"] == DOTS[:1].tolist()
    assert pad.pad["regions"] == AREAS.tolist()
    assert pad.captions["texts"] == ["old"]
    assert pad.value == {"z1": 0, "z2": 2, "frame": 0}
    pad.update(regions=2 - AREAS, captions="new")
    assert pad.pad["regions"] == (2 - AREAS).tolist()
    assert pad.captions["texts"] == ["new"]


def test_new_points_without_classes_lose_the_old_ones():
    pad = make(points=DOTS, point_classes=np.array([1, 0, 1]), point_names="ab")
    pad.update(points=DOTS[:2])
    assert pad.pad["classes"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"panels": CLIPS[:2]}, r"shape \(2, 4, 2, 6, 5\)"),
        ({"regions": AREAS[:2]}, r"\(2, 4\); \(3, 4\)"),
        ({"captions": ["x", "y", "z"]}, r"shape \(3,\)"),
        ({"panels": 255 - CLIPS, "regions": AREAS + 1}, "hold 3; there are 3 names"),
        ({"regions": 2 - AREAS, "panels": {"b": CLIPS}}, "no panel 'b'"),
    ],
)
def test_a_refused_update_changes_nothing(change, message):
    pad = make(regions=AREAS, region_names=NAMES)
    before = pad.get_state()
    with pytest.raises(ValueError, match=message):
        pad.update(**change)
    assert pad.get_state() == before


@pytest.mark.parametrize(
    ("xs", "ys", "options", "message"),
    [
        ([0, 1, 2], YS, {}, r"\(3, 4, 2, 6, 5\).*\(3, 3, 2"),
        (YS, XS, {}, r"\(3, 4, 2, 6, 5\).*\(4, 3, 2"),
        (XS, [0.0], {}, r"z2 has values \[0.0\]; 2 or more that increase"),
        (XS, [0, 2, 1], {}, "that increase"),
        (XS, [0, 1, 1], {}, "that increase"),
        (XS, [0, 1, np.inf], {}, "that increase"),
        (XS, YS, {"labels": ("z", "z")}, "two different names"),
        (XS, YS, {"labels": ("frame", "z")}, "named 'frame'"),
        (XS, YS, {"regions": AREAS.T, "region_names": NAMES}, r"\(4, 3\); \(3, 4\)"),
        (XS, YS, {"regions": AREAS * 1.0, "region_names": NAMES}, "regions hold float64"),
        (XS, YS, {"regions": AREAS}, "regions hold 0; there are 0 names"),
        (XS, YS, {"regions": AREAS - 1, "region_names": NAMES}, "regions hold -1"),
        (XS, YS, {"regions": AREAS, "region_names": "abcdefgh"}, "8 names; up to 7 colours"),
        (XS, YS, {"points": DOTS[0]}, r"points have shape \(2,\); \(N, 2\)"),
        (XS, YS, {"points": DOTS * np.nan}, "finite"),
        (XS, YS, {"point_classes": np.array([0])}, "one for each of points"),
        (XS, YS, {"points": DOTS, "point_classes": np.array([0])}, r"\(1,\); one for each"),
        (XS, YS, {"points": DOTS, "point_classes": np.array([0, 1, 2])}, "there are 0 names"),
        (XS, YS, {"captions": [["a", "b"]] * 2}, r"shape \(2, 2, 1\)"),
    ],
)
def test_what_does_not_fit_is_named_beside_what_would(xs, ys, options, message):
    with pytest.raises(ValueError, match=message):
        LatentPad(CLIPS, xs, ys, **options)


@pytest.mark.parametrize("frames", [CLIPS[:1], CLIPS[:, :1], CLIPS.astype(float), CLIPS[:, :, 0]])
def test_frames_of_another_shape_or_kind_are_refused(frames):
    with pytest.raises(ValueError, match=r"is needed|are needed"):
        make(frames)


def test_ten_classes_are_told_apart_by_the_signs_of_their_names():
    classes = np.array([7, 8, 9])
    digits = make(points=DOTS, point_classes=classes, point_names="0123456789").pad
    assert digits["classes"] == [7, 8, 9]
    with pytest.raises(ValueError, match="up to 7 colours"):
        make(points=DOTS, point_classes=classes, point_names=[f"digit {k}" for k in range(10)])


def test_several_panels_share_the_cross():
    pad = make({"learned": CLIPS, "fixed": 255 - CLIPS})
    np.testing.assert_array_equal(
        frame_on_screen(pad, "fixed", 1, 3, 0)[..., 0], 255 - CLIPS[1, 3, 0]
    )


def test_a_plane_of_digits_is_small_enough_for_a_page():
    """441 pictures of 28 x 28 pixels with the ink that digits have, and their map."""
    ink = (noise(21, 21, 1, 7, 7) > 200).repeat(4, 3).repeat(4, 4).astype(np.uint8) * 255
    places = np.linspace(-2, 2, 21)
    points = np.random.default_rng(0).normal(size=(500, 2))
    pad = LatentPad(ink, places, places, points=points)
    assert pad.num_bytes < 60_000
    assert len(picture_of(pad)[1]["image/png"]) < 160_000  # base64 of 120 kB


def test_the_picture_is_opaque_and_holds_the_map_and_the_frames():
    flat = np.zeros((3, 4, 2, 8, 8), np.uint8)
    flat[:, :, 0], flat[:, :, 1] = 60, 120  # the last frame stands for a clip
    picture, data, metadata = picture_of(
        make(flat, regions=AREAS, region_names=NAMES, alt="Words.")
    )
    pixels = np.asarray(picture)
    share = {level: (pixels == level).all(-1).mean() for level in (60, 120)}
    assert share[60] < 0.001
    assert share[120] > 0.15
    colourful = (np.ptp(pixels.astype(int), axis=-1) > 60).mean()
    assert colourful > 0.15
    assert metadata == {"alt": "Words.", "width": picture.width // 2}
    assert data["text/plain"] == "Words."


def test_in_the_picture_the_second_latent_points_upwards():
    flat = np.zeros((3, 4, 1, 8, 8), np.uint8)
    flat[2], flat[:, 3] = 100, 180
    pixels = np.asarray(picture_of(make(flat))[0])
    levels = pixels.astype(int).mean(-1)
    high, right = (np.median(np.argwhere(abs(levels - k) <= 1), 0) for k in (100, 180))
    assert high[0] < 0.4 * len(pixels)
    assert right[1] > 0.7 * pixels.shape[1]


@pytest.mark.parametrize(
    "options",
    [
        {"regions": 2 - AREAS, "region_names": NAMES},
        {"regions": AREAS, "region_names": ("a", "b", "c")},
        {"regions": AREAS, "region_names": NAMES, "points": DOTS},
        {"regions": AREAS, "region_names": NAMES, "title": "A pad"},
        {"regions": AREAS, "region_names": NAMES, "frames": 255 - CLIPS},
    ],
)
def test_the_picture_changes_with_what_it_shows(options):
    plain = make(regions=AREAS, region_names=NAMES, alt="A").contact_sheet()
    assert make(**options, alt="A").contact_sheet() != plain


def test_pads_side_by_side_have_one_picture_of_all():
    pads = [make(alt="First."), make(255 - CLIPS, alt="Second.")]
    picture, data, metadata = picture_of(SideBySide(*pads))
    single = picture_of(pads[0])[0]
    assert picture.size == (single.width, 2 * single.height)
    assert metadata["alt"] == data["text/plain"] == "First. Second."
    assert "application/vnd.jupyter.widget-view+json" in data


def test_the_first_message_to_the_browser_holds_the_map(monkeypatch):
    sent = []
    monkeypatch.setattr(LatentPad, "open", lambda self: sent.append(self.get_state()))
    make(regions=AREAS, region_names=NAMES)
    assert sent[0]["pad"]["regions"] == AREAS.tolist()
