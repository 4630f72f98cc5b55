"""The eta laboratory's Python half: what its panels show, what a redrawn cell changes."""

import base64
import io
from typing import cast

import numpy as np
import pytest
from PIL import Image
from test_player import frame_on_screen

from course_lib.models.dit import DiT
from course_lib.recipes import eta_sheets
from course_lib.recipes.digit_diffusion import DIGITS
from course_lib.recipes.eta_sheets import GRID, KNOB, STEPS, cell_steps, ddim_step, draw_cell
from course_lib.widgets.eta_lab import WALK, EtaLab

FINAL, WALKS = eta_sheets.stored_final(), eta_sheets.stored_walks()
PLACES = [(0, 0, 0, 0), (3, 1, 2, 3), (6, 5, 3, 1)]


@pytest.fixture(scope="module")
def fresh():
    """One in which nothing is drawn again."""
    return make()


def make(step=ddim_step, whose="yours, 5 of 5 properties hold"):
    """With an untrained network: whatever it draws differs from what is stored."""
    return EtaLab(stranger(), step, whose)


def caption(lab, *state):
    number = np.ravel_multi_index(state, GRID)
    return lab.captions["texts"][lab.captions["index"][number]]


@pytest.mark.parametrize("place", PLACES)
def test_every_panel_shows_what_its_title_says(fresh, place):
    eta, steps, kind, seed = place

    def shown(name):
        return frame_on_screen(fresh, name, *place, 0).astype(int)

    picture, base = (FINAL[i, steps, kind, seed].astype(int) for i in (eta, 0))
    np.testing.assert_array_equal(shown("the picture")[..., 0], picture)
    np.testing.assert_array_equal(shown("with eta = 0")[..., 0], base)
    np.testing.assert_array_equal(shown(WALK)[..., 0], WALKS[place])
    noise = eta_sheets.starts()[seed, 0].clamp(-1, 1)
    assert np.abs(shown("x_T")[..., 0] - (noise.numpy() + 1) * 127.5).max() <= 0.51
    red, _, blue = np.moveaxis(shown("difference"), -1, 0)
    np.testing.assert_array_equal(red > blue, picture > base)
    np.testing.assert_array_equal(red < blue, picture < base)
    tile = shown("all classes and seeds")[33 * kind :, 33 * seed :][:32, :32, 0]
    np.testing.assert_array_equal(tile, picture)


def test_the_walks_travel_as_the_stored_file(fresh):
    panel = next(panel for panel in fresh.panels if panel["title"] == WALK)
    assert panel["sheets"] == [eta_sheets.ETA_SHEETS.sheet("walk").read_bytes()]


def test_the_caption_gives_the_distance_and_whose_step_it_was(fresh):
    eta, steps, kind, seed = 3, 1, 2, 3
    away = (FINAL[3, 1, 2, 3].astype(float) - FINAL[0, 1, 2, 3]) / 127.5
    apart = [
        np.sqrt((((FINAL[0, 1, 2, i].astype(float) - FINAL[0, 1, 2, j]) / 127.5) ** 2).mean())
        for i in range(4)
        for j in range(i)
    ]
    text = caption(fresh, eta, steps, kind, seed)
    assert f"Distance to eta = 0: {np.sqrt((away**2).mean()):.2f} " in text
    assert f"two seeds of this class at eta = 0: {np.mean(apart):.2f})" in text
    assert text.endswith("ddim_step: the library's, from the stored sheet.")
    assert caption(fresh, 0, 4, 1, 1).startswith("Distance to eta = 0: 0.00 ")


def test_a_cell_is_drawn_with_the_given_step_and_no_other_cell_changes():
    calls = []

    def step(x_t, *others):
        calls.append(others[-1])
        return ddim_step(x_t, *others)

    lab = make(step)
    lab.value = {"eta": KNOB.index("0.6"), "steps": STEPS.index(10)}
    lab.redraw()
    assert calls == [0.6] * 10
    wanted = draw_cell(cell_steps(stranger(), "0.6", 10))
    finals, walks = (x.numpy().reshape(4, 4, *x.shape[1:]) for x in (wanted.final, wanted.strip))
    for kind, seed in [(0, 0), (2, 1), (3, 3)]:
        state = (3, 1, kind, seed)
        np.testing.assert_array_equal(
            frame_on_screen(lab, "the picture", *state, 0)[..., 0], finals[kind, seed]
        )
        np.testing.assert_array_equal(
            frame_on_screen(lab, WALK, *state, 0)[..., 0], walks[kind, seed]
        )
    for state in [(2, 1, 0, 0), (3, 2, 0, 0)]:
        np.testing.assert_array_equal(
            frame_on_screen(lab, "the picture", *state, 0)[..., 0], FINAL[state]
        )
        np.testing.assert_array_equal(frame_on_screen(lab, WALK, *state, 0)[..., 0], WALKS[state])
    away = np.abs(finals.astype(int) - FINAL[3, 1]).max()
    assert lab.drawn_by("0.6", 10) == (
        f"yours, 5 of 5 properties hold; at most {away} of 255 greys from the stored picture"
    )
    assert lab.drawn_by("0.6", 10) in caption(lab, 3, 1, 0, 0)
    assert lab.drawn_by("0.6", 20) == "the library's, from the stored sheet"
    assert lab.note == "Drawn again with eta = 0.6, 10 steps."


def test_two_redrawn_cells_stand_beside_one_another():
    lab = make()
    lab.redraw(0, 0)
    first = frame_on_screen(lab, WALK, 0, 0, 1, 1, 0)
    lab.redraw(5, 0)
    np.testing.assert_array_equal(frame_on_screen(lab, WALK, 0, 0, 1, 1, 0), first)
    assert (frame_on_screen(lab, WALK, 5, 0, 1, 1, 0)[..., 0] != WALKS[5, 0, 1, 1]).any()
    # The new picture of eta = 0 is what the others of 5 steps are compared with.
    base = frame_on_screen(lab, "the picture", 0, 0, 1, 1, 0)
    np.testing.assert_array_equal(frame_on_screen(lab, "with eta = 0", 4, 0, 1, 1, 0), base)
    np.testing.assert_array_equal(
        frame_on_screen(lab, "with eta = 0", 4, 1, 1, 1, 0)[..., 0], FINAL[0, 1, 1, 1]
    )


def test_progress_grows_with_every_step_and_the_browser_may_ask():
    lab, seen = make(), []
    lab.observe(lambda change: seen.append(change["new"]), "progress")
    lab._on_message(lab, {"redraw": {"eta": 2, "steps": 0, "class": 1, "seed": 0, "frame": 0}}, [])
    assert seen == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert "yours" in lab.drawn_by("0.4", 5)


@pytest.mark.parametrize("place", [(KNOB.index("σ̂"), 0), (0, STEPS.index(100))])
def test_what_would_take_too_long_or_no_eta_gives_stays_stored(fresh, place):
    before = fresh.panels
    fresh.redraw(*place)
    assert "Choose an eta from 0 to 1, and at most 50 steps" in fresh.note
    assert fresh.panels == before
    assert fresh.progress == 1


def broken(*_):
    raise KeyError("x_t")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (broken, "ddim_step failed: KeyError: 'x_t'"),
        (lambda x_t, *_: x_t[:, 0], "ddim_step failed: ValueError: the step from t = 800 gave"),
        (lambda x_t, *_: None, "ddim_step failed: AttributeError"),
    ],
)
def test_a_step_that_fails_leaves_the_pictures_and_says_so(fresh, monkeypatch, step, message):
    lab = fresh
    monkeypatch.setattr(lab, "_step", step)
    before = lab.panels
    lab.redraw(1, 0)
    assert lab.note.startswith(message)
    assert lab.panels == before
    assert lab.progress == 1


def test_it_begins_where_eta_matters_and_has_a_picture_for_pages_without_widgets(fresh):
    assert fresh.value == {"eta": 2, "steps": 2, "class": 0, "seed": 0, "frame": 0}
    data, metadata = fresh._repr_mimebundle_()
    assert "sliders for eta" in metadata["image/png"]["alt"]
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.width > 1000
    assert len(data["image/png"]) < 150_000


def test_what_a_page_pays_for_it_is_under_three_megabytes(fresh):
    assert fresh.num_bytes < 3_000_000


def stranger():
    """An untrained network."""
    return cast(DiT, DIGITS._build(DIGITS.small)).eval()
