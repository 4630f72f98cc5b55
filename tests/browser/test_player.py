"""The player as a reader uses it: in JupyterLab, with mouse and keys, light and dark."""

import base64
import io
import time

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser

# Every state has a colour of its own, so that a single pixel tells what is shown.
CELLS = [
    """
import numpy as np
from course_lib.widgets.player import Player
digit, frame = np.mgrid[:3, :41].astype(np.uint8)
ones = np.ones((32, 32), np.uint8)
grey = np.multiply.outer(80 * digit + 2 * frame, ones)
colour = np.stack([80 * digit, 6 * frame, 77 + 0 * frame], -1)[:, :, None, None] * ones[..., None]
captions = [[f"digit {i}, frame {t}" + ", at last" * 40 * (t == 40) for t in range(41)]
            for i in range(3)]
player = Player({"grey": grey, "colour": colour, "first": grey[:1]}, {"digit": ["zero", "1", "2"]},
                captions=captions, title="A test", fps=20)
player
""",
    "player",
    "'the last cell'",
]
PIXEL = """([canvas]) => {
    const { width, height } = canvas;
    return [...canvas.getContext("2d").getImageData(width / 2, height / 2, 1, 1).data];
}"""
LUMINANCES = """(node) => {
    const luminance = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number)
        .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
    const paper = getComputedStyle(document.body).getPropertyValue("--jp-layout-color0");
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = paper;
    const both = [getComputedStyle(node).color, getComputedStyle(probe).color].map(luminance);
    probe.remove();
    return both;
}"""
# What stands on the canvas each time that the screen is drawn.
WATCH = """([canvas]) => {
    const context = canvas.getContext("2d");
    window.shown = new Set();
    const look = () => {
        window.shown.add(context.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[1]);
        window.watching = requestAnimationFrame(look);
    };
    look();
}"""


@pytest.fixture(scope="module")
def notebook(open_notebook):
    return open_notebook(CELLS, "player")


@pytest.fixture
def player(notebook):
    """The first of the two views, at digit 0 and frame 0."""
    view = notebook.page.locator(".mf-player").first
    view.scroll_into_view_if_needed()

    def start():  # again, while a late report of the test before comes in between
        notebook.ask("player.set_trait('value', {'digit': 0, 'frame': 0})")
        return state(view)

    wait_for(start, (0, 0))
    return view


def state(view):
    """(digit, frame) as the colour panel shows them."""
    red, green, blue, alpha = view.locator("canvas").nth(1).evaluate_all(PIXEL)
    assert (red % 80, green % 6, blue, alpha) == (0, 0, 77, 255)
    return red // 80, green // 6


def wait_for(question, wanted):
    end = time.monotonic() + 10
    while (answer := question()) != wanted:
        assert time.monotonic() < end, f"the answer is {answer}, not {wanted}"
        time.sleep(0.02)


def slider(view, name):
    return view.get_by_role("slider", name=name)


def test_arrow_keys_move_the_focused_slider_and_nothing_else(notebook, player):
    active = "window.jupyterapp.shell.currentWidget.content.activeCellIndex"
    slider(player, "frame").focus()
    before = notebook.page.evaluate(active)
    for key, wanted in [("ArrowRight", 1), ("ArrowUp", 2), ("ArrowLeft", 1), ("End", 40)]:
        notebook.page.keyboard.press(key)
        assert state(player) == (0, wanted)
    slider(player, "digit").focus()
    notebook.page.keyboard.press("ArrowRight")
    assert state(player) == (1, 40)
    assert notebook.page.evaluate(active) == before


def test_letters_typed_on_the_player_reach_no_shortcut_of_the_notebook(notebook, player):
    slider(player, "frame").focus()
    for key in "ddab":
        notebook.page.keyboard.press(key)
    assert notebook.page.locator(".jp-Notebook .jp-Cell").count() == len(CELLS)


def test_the_focused_player_steps_and_plays_by_keys(notebook, player):
    player.focus()
    for key, wanted in [("ArrowRight", 1), ("ArrowLeft", 0), ("ArrowLeft", 0), ("End", 40)]:
        notebook.page.keyboard.press(key)
        assert state(player) == (0, wanted)
    notebook.page.keyboard.press("Home")
    notebook.page.keyboard.press("Space")
    player.get_by_role("button", name="Pause").wait_for()
    notebook.page.keyboard.press("Space")
    player.get_by_role("button", name="Play").wait_for()
    assert state(player)[1] > 0


def test_the_mouse_moves_the_picture_and_the_kernel_hears_of_it_on_release(notebook, player):
    box = slider(player, "frame").bounding_box()
    mouse, y = notebook.page.mouse, box["y"] + box["height"] / 2
    mouse.move(box["x"] + 8, y)
    mouse.down()
    mouse.move(box["x"] + box["width"] / 2, y)
    wait_for(lambda: state(player), (0, 20))
    assert notebook.ask("player.value['frame']") == "0"
    mouse.up()
    wait_for(lambda: notebook.ask("player.value['frame']"), "20")


def test_every_frame_of_a_drag_is_shown(notebook, player):
    canvas, frame = player.locator("canvas").nth(1), slider(player, "frame")
    box = frame.bounding_box()
    mouse, y = notebook.page.mouse, box["y"] + box["height"] / 2
    mouse.move(box["x"] + 8, y)
    mouse.down()
    canvas.evaluate_all(WATCH)
    for k in range(1, 41):
        mouse.move(box["x"] + 8 + (box["width"] - 16) * k / 40, y)
        notebook.page.evaluate("() => new Promise(requestAnimationFrame)")
    mouse.up()
    shown = notebook.page.evaluate("() => (cancelAnimationFrame(watching), [...shown])")
    assert sorted(shown) == [6 * k for k in range(41)]


def test_play_advances_at_its_speed_and_pause_stops(notebook, player):
    def play(speed):
        """Frames per second while it plays; the kernel hears of them at the end only."""
        player.get_by_role("combobox", name="Speed").select_option(speed)
        player.get_by_role("button", name="Play").click()
        start = time.monotonic()
        notebook.page.wait_for_timeout(600)
        assert notebook.ask("player.value['frame']") == "0"
        player.get_by_role("button", name="Pause").click()
        frame = state(player)[1]
        wait_for(lambda: notebook.ask("player.value['frame']"), str(frame))
        assert frame > 0
        return frame / (time.monotonic() - start)

    slow = play("0.25")
    slider(player, "frame").focus()
    notebook.page.keyboard.press("Home")
    wait_for(lambda: notebook.ask("player.value['frame']"), "0")
    assert play("1") > 1.5 * slow
    frame = state(player)[1]
    notebook.page.wait_for_timeout(200)
    assert state(player) == (0, frame)
    player.get_by_role("button", name="Step back").click()
    assert state(player) == (0, frame - 1)


def test_with_reduced_motion_a_clip_stops_at_its_end(notebook, player):
    notebook.page.emulate_media(reduced_motion="reduce")
    slider(player, "frame").focus()
    notebook.page.keyboard.press("End")
    notebook.page.keyboard.press("ArrowLeft")
    notebook.page.keyboard.press("Space")
    player.get_by_role("button", name="Play").wait_for()
    notebook.page.emulate_media(reduced_motion=None)
    assert state(player) == (0, 40)


def test_captions_follow_and_nothing_below_them_jumps(notebook, player):
    play = player.get_by_role("button", name="Play")
    before = play.bounding_box()
    assert player.locator(".mf-caption").inner_text() == "digit 0, frame 0"
    slider(player, "digit").focus()
    notebook.page.keyboard.press("ArrowRight")
    assert player.locator(".mf-caption").inner_text() == "digit 1, frame 0"
    assert slider(player, "digit").get_attribute("aria-valuetext") == "1"
    slider(player, "frame").focus()
    notebook.page.keyboard.press("End")
    assert "at last" in player.locator(".mf-caption").inner_text()
    assert play.bounding_box() == before


def test_two_views_of_one_player_stay_in_step(notebook, player):
    second = notebook.page.locator(".mf-player").nth(1)
    slider(player, "digit").focus()
    notebook.page.keyboard.press("End")
    assert state(second) == (2, 0)
    assert slider(second, "digit").input_value() == "2"
    second.get_by_role("button", name="Step forward").click()
    assert state(player) == (2, 1)


def test_python_moves_the_sliders_and_replaces_frames(notebook, player):
    notebook.ask("player.set_trait('value', {'digit': 2})")
    wait_for(lambda: state(player), (2, 0))
    slider(player, "digit").focus()
    notebook.page.keyboard.press("Home")
    notebook.ask("player.update({'colour': colour[::-1]})")
    wait_for(lambda: state(player), (2, 0))
    notebook.ask("player.update({'colour': colour})")
    wait_for(lambda: state(player), (0, 0))


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
@pytest.mark.parametrize("width", [1400, 900])
def test_text_is_readable_and_nothing_overflows(notebook, player, theme, width, tmp_path):
    page = notebook.page
    page.set_viewport_size({"width": width, "height": 1000})
    notebook.command("apputils:change-theme", theme=theme)
    page.wait_for_function(
        "(dark) => (document.body.dataset.jpThemeLight === 'false') === dark",
        arg="Dark" in theme,
    )
    player.screenshot(path=tmp_path / "player.png")
    outer = page.locator(".jp-OutputArea").first.bounding_box()
    inside = [player, *player.locator("canvas, input, button, select, output").all()]
    for part in inside:
        box = part.bounding_box()
        assert box["x"] >= outer["x"]
        assert box["x"] + box["width"] <= outer["x"] + outer["width"]
    tops = [canvas.bounding_box()["y"] for canvas in player.locator("canvas").all()]
    assert len(set(tops)) == 1, "the panels stand side by side"
    for text in player.locator(".mf-title, figcaption, .mf-caption > span, output").all():
        dark, bright = sorted(text.evaluate(LUMINANCES))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5


def test_the_page_had_no_error_and_asked_no_other_machine(notebook):
    assert notebook.errors == []
    assert notebook.external == []


def test_on_the_day_after_the_picture_stands_where_the_player_was(notebook, tmp_path):
    saved = notebook.save()
    outputs = [output for cell in saved.cells for output in cell.outputs]
    assert all("application/vnd.jupyter.widget-view+json" not in o.data for o in outputs)
    picture = Image.open(io.BytesIO(base64.b64decode(outputs[0].data["image/png"])))
    assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    notebook.restart_kernel()
    notebook.load()
    page = notebook.page
    shown = page.locator(".jp-RenderedImage img")
    shown.first.wait_for()
    page.screenshot(path=tmp_path / "day_after.png")
    assert shown.count() == 2
    assert "Error displaying widget" not in page.locator(".jp-Notebook").inner_text()
    assert page.get_by_role("dialog").count() == 0
