"""The latent pad as a reader uses it: the cross is dragged, touched and moved by keys."""

import pytest

from browser.test_player import LUMINANCES, PIXEL, wait_for
from browser.test_reader_widgets import draw, touch

pytestmark = pytest.mark.browser

# Every place has a colour of its own, so that a single pixel tells what is shown.
CELLS = [
    """
import numpy as np
from course_lib.widgets.latent_pad import LatentPad
from course_lib.widgets.side_by_side import SideBySide
j, i, t = np.mgrid[:11, :11, :3].astype(np.uint8)
colour = np.stack([20 * i, 20 * j, 60 * t], -1)[..., None, None, :]
clips = np.broadcast_to(colour, (11, 11, 3, 16, 16, 3)).copy()
places = np.linspace(-2, 2, 11)
regions = (i[..., 0] + j[..., 0]) // 4
dots = np.random.default_rng(0).normal(size=(40, 2))
names = [f"future {k}" for k in range(6)]
pad = LatentPad(clips, places, places, regions=regions, region_names=names, points=dots,
                title="A plane", captions="Where does z lead?", alt="A test.")
digits = LatentPad(clips[:, :, :1], places, places, points=dots, title="Digits",
                   point_classes=np.arange(40) % 10, point_names="0123456789")
SideBySide(pad, digits)
""",
    "1\n" * 60,
]


@pytest.fixture(scope="module")
def notebook(open_notebook):
    return open_notebook(CELLS, "latent_pad")


@pytest.fixture
def pad(notebook):
    """The first pad, its cross in the middle."""
    view = notebook.page.locator(".mf-player").first
    view.scroll_into_view_if_needed()

    def start():
        notebook.ask("pad.set_trait('value', {'z1': 5, 'z2': 5, 'frame': 0})")
        return state(view)

    wait_for(start, (5, 5, 0))
    return view


def state(view):
    """(i, j, frame) as the canvas shows them."""
    red, green, blue, alpha = view.locator("canvas").evaluate_all(PIXEL)
    assert (red % 20, green % 20, blue % 60, alpha) == (0, 0, 0, 255)
    return red // 20, green // 20, blue // 60


def scrolled(page):
    """How far anything on the page has been scrolled."""
    return page.evaluate("[...document.querySelectorAll('*')].reduce((n, e) => n + e.scrollTop, 0)")


def on_plane(i, j):
    """The centre of a cell as a part of the drawing, whose plane is 224 of 280 x 262 pixels."""
    return (46 + 224 * (i + 0.5) / 11) / 280, 224 * (1 - (j + 0.5) / 11) / 262


def test_the_cross_follows_mouse_finger_and_keys_and_the_document_stays(notebook, pad):
    page, plane = notebook.page, pad.locator(".mf-plane")
    before, cross = scrolled(page), pad.locator(".mf-cross").get_attribute("d")
    draw(page, plane, [on_plane(5, 5), on_plane(8, 9)])
    wait_for(lambda: state(pad), (8, 9, 0))
    assert pad.locator(".mf-cross").get_attribute("d") != cross
    wait_for(lambda: notebook.ask("pad.value['z1'], pad.value['z2']"), "(8, 9)")
    draw(page, plane, [on_plane(8, 9), (0.99, 0.001)])
    wait_for(lambda: state(pad), (10, 10, 0))  # beyond the edge it stays at the edge
    touch(page, plane, [on_plane(3, 9), on_plane(3, 5), on_plane(2, 1)])
    wait_for(lambda: state(pad), (2, 1, 0))

    plane.focus()
    moves = [("ArrowRight", (3, 1)), ("ArrowUp", (3, 2)), ("ArrowLeft", (2, 2))]
    moves += [("ArrowDown", (2, 1)), ("ArrowDown", (2, 0)), ("ArrowDown", (2, 0))]
    moves += [("Shift+ArrowUp", (2, 5)), ("Shift+ArrowRight", (7, 5))]
    for key, place in moves:
        page.keyboard.press(key)
        assert state(pad) == (*place, 0)
    assert plane.get_attribute("aria-valuetext") == "z1 = 0.8, z2 = 0: future 3"
    wait_for(lambda: notebook.ask("pad.value['z1'], pad.value['z2']"), "(7, 5)")
    for key in "ddab":
        page.keyboard.press(key)
    assert page.locator(".jp-Notebook .jp-Cell").count() == len(CELLS)
    assert scrolled(page) == before
    assert notebook.errors == []
    assert notebook.external == []


def test_a_clip_plays_at_the_cross_and_a_still_picture_has_no_clock(notebook, pad):
    page = notebook.page
    pad.get_by_role("button", name="Step forward").click()
    assert state(pad) == (5, 5, 1)
    pad.locator(".mf-plane").focus()
    page.keyboard.press("ArrowLeft")
    assert state(pad) == (4, 5, 1)
    page.keyboard.press("Space")
    pad.get_by_role("button", name="Pause").wait_for()
    page.keyboard.press("Space")
    pad.get_by_role("button", name="Play").wait_for()
    still = page.locator(".mf-player").nth(1)
    assert still.locator("input, button").count() == 0
    assert still.locator(".mf-sign").count() > 20


def test_python_replaces_frames_and_map_while_the_cross_stays(notebook, pad):
    notebook.ask("pad.update(clips[:, ::-1], regions=regions * 0)")
    wait_for(lambda: state(pad)[:2], (5, 5))
    pad.locator(".mf-plane").focus()
    notebook.page.keyboard.press("ArrowRight")
    wait_for(lambda: state(pad)[:2], (4, 5))
    assert "future 0" in pad.locator(".mf-place").inner_text()
    notebook.ask("pad.update(clips, regions=regions)")
    wait_for(lambda: state(pad)[:2], (6, 5))


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
@pytest.mark.parametrize("width", [1400, 900])
def test_the_pad_is_readable_and_nothing_overflows(notebook, pad, theme, width, tmp_path):
    page = notebook.page
    page.set_viewport_size({"width": width, "height": 1000})
    notebook.command("apputils:change-theme", theme=theme)
    page.wait_for_function(
        "(dark) => (document.body.dataset.jpThemeLight === 'false') === dark", arg="Dark" in theme
    )
    page.screenshot(path=tmp_path / "pads.png")
    outer = page.locator(".jp-OutputArea").first.bounding_box()
    for part in page.locator(".mf-player, .mf-plane, .mf-player canvas").all():
        box = part.bounding_box()
        assert box["x"] >= outer["x"]
        assert box["x"] + box["width"] <= outer["x"] + outer["width"]
    for text in pad.locator(".mf-place, .mf-legend span, .mf-title").all():
        dark, bright = sorted(text.evaluate(LUMINANCES))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5
