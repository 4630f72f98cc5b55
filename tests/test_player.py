"""The player's Python half: what it sends, what it refuses, what stands where no widget can."""

import base64
import io
import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from course_lib.widgets import sprites
from course_lib.widgets.player import Player

CLIP = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(4, 6, 5)
VIEW = "application/vnd.jupyter.widget-view+json"


def noise(*shape, seed=0, levels=256):
    return np.random.default_rng(seed).integers(0, levels, shape, dtype=np.uint8)


def frame_on_screen(player, name, *state):
    """The frame that a browser cuts out of the sheets for a state, as (H, W, 3)."""
    panel = next(panel for panel in player.panels if panel["title"] == name)
    sizes = [len(slider["labels"]) for slider in player.sliders] + [player.num_frames]
    number = 0
    for k, size in zip(state, sizes, strict=True):
        number = number * size + k
    tile = panel["index"][number]
    sheet, place = divmod(tile, panel["columns"] * panel["rows"])
    row, column = divmod(place, panel["columns"])
    picture = np.asarray(Image.open(io.BytesIO(panel["sheets"][sheet])).convert("RGB"))
    height, width = panel["height"], panel["width"]
    return picture[row * height :, column * width :][:height, :width]


@st.composite
def grids(draw):
    """Labels of up to two sliders, and frames that broadcast to them."""
    sizes = draw(st.lists(st.integers(1, 3), max_size=2))
    length = draw(st.integers(1, 5))
    own = [draw(st.sampled_from([1, size])) for size in [*sizes, length]]
    picture = [draw(st.integers(1, 7)), draw(st.integers(1, 7)), *draw(st.sampled_from([[], [3]]))]
    levels = draw(st.sampled_from([2, 256]))  # few levels: equal frames are likely
    return sizes, length, noise(*own, *picture, seed=draw(st.integers(0, 99)), levels=levels)


@given(grids())
@settings(max_examples=40, deadline=None)
def test_every_state_shows_exactly_its_frame(grid):
    sizes, length, frames = grid
    full = noise(*sizes, length, 3, 3)
    sliders = {f"s{k}": [str(i) for i in range(size)] for k, size in enumerate(sizes)}
    player = Player({"a": frames, "b": full}, sliders)
    states = (*sizes, length)
    shown = np.broadcast_to(frames, (*states, *frames.shape[len(states) :]))
    for state in np.ndindex(states):
        wanted = shown[state] if shown[state].ndim == 3 else shown[state][..., None]
        got = frame_on_screen(player, "a", *state)
        np.testing.assert_array_equal(got, np.broadcast_to(wanted, got.shape))


def test_frames_that_fill_more_than_one_sheet_come_back(monkeypatch):
    monkeypatch.setattr(sprites, "MAX_SIDE", 16)
    clip = noise(11, 6, 5)
    player = Player({"a": clip})
    assert len(player.panels[0]["sheets"]) == 2
    for t, frame in enumerate(clip):
        np.testing.assert_array_equal(frame_on_screen(player, "a", t)[..., 1], frame)


def test_no_sheet_is_larger_than_phones_can_draw():
    player = Player({"a": noise(40, 1, 1).repeat(700, 1).repeat(1000, 2)})
    for sheet in player.panels[0]["sheets"]:
        assert max(Image.open(io.BytesIO(sheet)).size) <= 4096


def test_equal_frames_are_sent_once():
    still = Player({"a": noise(1, 32, 32)}).num_bytes
    parked = noise(1, 32, 32).repeat(50, 0)
    assert Player({"a": parked}).num_bytes == still


def test_a_hundred_clips_of_flat_pictures_stay_small():
    """Twelve frames of a 320 x 320 mosaic, with edges where a digit would have them."""
    mosaic = (noise(12, 40, 40) > 200).astype(np.uint8).repeat(8, 1).repeat(8, 2) * 255
    assert Player({"a": mosaic}).num_bytes < 20_000


def test_captions_belong_to_their_state():
    texts = [[f"{i} {t}" for t in range(4)] for i in range(3)]
    player = Player({"a": CLIP[None]}, {"s": ["x", "y", "z"]}, captions=texts)
    sent = player.captions
    assert [sent["texts"][k] for k in sent["index"]] == [text for row in texts for text in row]


def test_some_indices_may_be_set_and_the_others_stay():
    player = Player({"a": CLIP[None]}, {"s": ["x", "y", "z"]})
    player.value = {"s": 2}
    player.value = {"frame": 3}
    assert player.value == {"s": 2, "frame": 3}


def test_a_replaced_panel_shows_its_new_frames_and_the_others_their_old():
    player = Player({"a": CLIP, "b": CLIP}, captions="old")
    player.value = {"frame": 2}
    player.update({"b": 255 - CLIP}, captions="new")
    np.testing.assert_array_equal(frame_on_screen(player, "a", 2)[..., 0], CLIP[2])
    np.testing.assert_array_equal(frame_on_screen(player, "b", 2)[..., 0], 255 - CLIP[2])
    assert [panel["title"] for panel in player.panels] == ["a", "b"]
    assert player.captions["texts"] == ["new"]
    assert player.value == {"frame": 2}


@pytest.mark.parametrize(
    ("panels", "options", "message"),
    [
        ({}, {}, "panels is empty"),
        ({"a": CLIP.astype(float)}, {}, "'a' holds float64; uint8"),
        ({"a": CLIP[0]}, {}, "'a' has 2 axes; 3 .* or 4"),
        ({"a": CLIP, "b": CLIP[:3]}, {}, r"'b' has shape \(3, 6, 5\); \(4, H, W\)"),
        ({"a": CLIP[None, ..., None]}, {"sliders": {"s": "xy"}}, r"\(2, 4, H, W, 3\)"),
        ({"a": CLIP[None]}, {"sliders": {"frame": "xy"}}, "named 'frame'"),
        ({"a": CLIP[None]}, {"sliders": {"s": []}}, "'s' has 0 labels"),
        ({"a": CLIP}, {"fps": 0}, "fps is 0; 1..60"),
        ({"a": CLIP}, {"width": 5000}, "'a' is 5000; 16..2048"),
        ({"a": CLIP}, {"width": {"b": 100}}, "'a' is None; 16..2048"),
        ({"a": CLIP}, {"captions": ["x", "y"]}, r"shape \(2,\).*\(4,\)"),
        ({"a": np.zeros((1, 2, 5000), np.uint8)}, {}, "2 x 5000 pixels; up to 4096"),
        ({"a": np.zeros((1, 0, 5), np.uint8)}, {}, r"\(1, 0, 5\); \(1, H, W\).*none is 0"),
        ({"a": np.zeros((0, 5, 5), np.uint8)}, {}, r"\(0, 5, 5\).*none is 0"),
    ],
)
def test_what_does_not_fit_is_named_beside_what_would(panels, options, message):
    with pytest.raises(ValueError, match=message):
        Player(panels, **options)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"s": 3}, r"s is 3; 0\.\.2"),
        ({"frame": -1}, r"frame is -1; 0\.\.3"),
        ({"eta": 0}, "no slider 'eta'; this player has s, frame"),
        ({"s": "x"}, r"s is 'x'; 0\.\.2"),
    ],
)
def test_a_value_outside_the_grid_is_refused_and_nothing_changes(value, message):
    player = Player({"a": CLIP[None]}, {"s": ["x", "y", "z"]})
    with pytest.raises(ValueError, match=message):
        player.value = value
    assert player.value == {"s": 0, "frame": 0}


@pytest.mark.parametrize(
    ("panels", "captions", "message"),
    [
        ({"c": CLIP}, None, "no panel 'c'; this player has a, b"),
        ({"a": 255 - CLIP, "b": CLIP[:2]}, None, r"'b' has shape \(2, 6, 5\)"),
        ({"a": 255 - CLIP}, ["x", "y"], r"shape \(2,\)"),
        ({"a": 255 - CLIP, "b": np.zeros((4, 0, 5), np.uint8)}, None, r"\(4, 0, 5\).*none is 0"),
    ],
)
def test_a_refused_update_changes_nothing(panels, captions, message):
    player = Player({"a": CLIP, "b": CLIP}, captions="old")
    before = player.get_state()
    picture = player.contact_sheet()
    with pytest.raises(ValueError, match=message):
        player.update(panels, captions)
    assert player.get_state() == before
    assert player.contact_sheet() == picture


def picture_of(player):
    data, _ = player._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert "transparency" not in picture.info
    return picture.convert("RGB")  # it is stored with a palette


def test_the_bundle_is_a_view_a_picture_and_its_text_but_no_state():
    player = Player({"a": CLIP}, alt="A clip of four frames.")
    data, metadata = player._repr_mimebundle_()
    assert set(data) == {VIEW, "image/png", "text/plain"}
    assert set(data[VIEW]) == {"version_major", "version_minor", "model_id"}
    assert data["text/plain"] == "A clip of four frames."
    # Drawn at twice the size, shown at half of it: sharp on dense screens.
    shown = picture_of(player).width // 2
    assert metadata == {"image/png": {"alt": "A clip of four frames.", "width": shown}}
    json.dumps([data, metadata])


def test_without_an_alternative_text_the_player_says_what_it_holds():
    player = Player({"a": CLIP[None], "b": CLIP[None]}, {"eta": "xyz"}, title="Noise")
    assert player.alt == "Noise: a, b; 4 frames; slider eta"


def test_the_contact_sheet_is_opaque_and_holds_the_frames_at_the_settings():
    frames = np.zeros((3, 4, 8, 8), np.uint8)
    frames += np.array([60, 120, 180], np.uint8)[:, None, None, None]  # one level per setting
    picture = picture_of(Player({"a": frames}, {"eta": "xyz"}, title="Noise", captions="words"))
    levels = dict(zip(*np.unique(np.asarray(picture)[..., 0], return_counts=True), strict=True))
    areas = [levels[level] for level in (60, 120, 180)]
    assert min(areas) > 0.05 * picture.width * picture.height
    assert max(areas) < 1.1 * min(areas)
    assert levels[255] > 0.2 * picture.width * picture.height


@pytest.mark.parametrize(
    ("panels", "options"),
    [
        ({"a": 255 - CLIP}, {}),
        ({"b": CLIP}, {}),
        ({"a": CLIP}, {"title": "T"}),
        ({"a": CLIP}, {"captions": "C"}),
        ({"a": CLIP, "b": CLIP}, {}),
        ({"a": CLIP[None]}, {"sliders": {"s": ["x"]}}),
    ],
)
def test_the_contact_sheet_changes_with_what_it_shows(panels, options):
    plain = Player({"a": CLIP}).contact_sheet()
    changed = Player(panels, **options).contact_sheet()
    if "sliders" in options:  # an axis of size 1 has nothing to tell apart
        assert changed == plain
    else:
        assert changed != plain


def test_a_panel_that_a_slider_leaves_alone_has_one_row():
    one = picture_of(Player({"a": CLIP[None]}, {"s": "xyz"})).height
    three = picture_of(Player({"a": CLIP[None].repeat(3, 0)}, {"s": "xyz"})).height
    assert three > 2 * one


def test_long_titles_and_captions_stay_within_the_sheet():
    words = "many long words that need more than a line " * 8
    picture = picture_of(Player({words: CLIP}, title=words, captions=words))
    edge = np.asarray(picture)
    for side in (edge[:4], edge[-4:], edge[:, :4], edge[:, -4:]):
        assert (side == 255).all()


def test_the_first_message_to_the_browser_holds_everything(monkeypatch):
    sent = []
    monkeypatch.setattr(Player, "open", lambda self: sent.append(self.get_state()))
    player = Player({"a": CLIP}, captions="words", title="T")
    assert sent == [player.get_state()]


def test_a_player_begins_where_it_is_told_to():
    sliders = {"a": ["1", "2"], "b": ["1", "2", "3"]}
    player = Player({"x": noise(2, 3, 4, 5, 5)}, sliders, start={"b": 2, "frame": 3})
    assert player.value == {"a": 0, "b": 2, "frame": 3}
    with pytest.raises(ValueError, match=r"b is 3; 0\.\.2 are allowed"):
        Player({"x": noise(2, 3, 4, 5, 5)}, sliders, start={"b": 3})
