"""Predictions, the map, which one is real, and the pad, used as a reader does: mouse and keys."""

import json

import pytest

pytestmark = pytest.mark.browser

PREDICT = """
from course_lib.widgets.prediction import Choice, Slider
often = Slider("0.often", "How often does a 4 turn left?", 0, 100, 5, unit="%")
often
"""
WHERE = 'where = Choice("0.where", "Where does a 6 go?", ["left", "straight", "right"]); where'
REVEAL = 'often.reveal(60, explanation="The cue of 4 and 9 says so.")'
REVEAL_WHERE = 'where.reveal("straight", distribution={"left": 0, "straight": 1, "right": 0})'
MAP = "from course_lib.widgets.course_map import course_map; course_map()"

CURVES = """
from course_lib.widgets.curve import Curve
drawn = Curve(
    "6.drawn", "How far?", [10, 20, 50], ["eta = 0", "eta = 1"], 1, 1000,
    xlabel="steps", ylabel="distance", log=True,
)
drawn
"""
REVEAL_CURVES = 'drawn.reveal({"eta = 0": [10, 10, 10], "eta = 1": [100, 100, 1000]})'

GAME = """
import torch
from course_lib.data.crossroads import BASE, Crossroads
from course_lib.data.digits import load_digits
from course_lib.data.video import to_panel
from course_lib.widgets.which_is_real import WhichIsReal
world = Crossroads(load_digits("test"), BASE, size=32)
real = to_panel(world.sample(6, generator=torch.Generator().manual_seed(0)).video)
fake = real[:, ::-1].copy()
game = WhichIsReal("0.game", real, fake, 3, others={"discriminator": 0.93})
game
"""

PAD = """
from course_lib.data.video import to_float
from course_lib.recipes.classifier import CLASSIFIER
from course_lib.widgets.draw_digit import DrawDigit
classifier = CLASSIFIER.load()
read = lambda images: classifier(to_float(images)[:, None]).softmax(-1)
pad = DrawDigit(read, done="Walk to the crossroads")
pad
"""
WALK = """
from course_lib.widgets.player import Player
from course_lib.data.crossroads import BASE, Crossroads
from course_lib.data.video import to_panel
def panels(digits):
    futures = Crossroads(digits, BASE, size=32).futures(0, arrival=4)
    return {"the likeliest future": to_panel(futures.clips[futures.probs.argmax()])}
player = Player(panels(pad.digits()))
pad.on_done(lambda digits: player.update(panels=panels(digits)))
player
"""


def test_keys_alone_commit_predictions_and_unfold_the_waiting_answers(open_notebook):
    notebook = open_notebook([PREDICT, WHERE, REVEAL, REVEAL_WHERE, MAP], "predictions")
    page = notebook.page
    number, answer = page.locator(".mf-reader").nth(0), page.locator(".mf-reader").nth(2)
    choice, turn = page.locator(".mf-reader").nth(1), page.locator(".mf-reader").nth(3)
    assert "Show me anyway" in answer.inner_text()
    assert "60" not in answer.inner_text()
    assert choice.get_by_role("button").is_disabled()
    folded = json.dumps([cell.get("outputs") for cell in notebook.save().cells])
    assert "The answer is folded" in folded
    assert "60 %" not in folded

    number.get_by_role("slider").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    answer.get_by_text("You predicted 55 %, measured: 60 %.").wait_for()

    choice.get_by_role("radio").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    turn.get_by_text("You predicted “right”, which is not it.").wait_for()
    assert "0. One past, many futures" in page.locator(".jp-Notebook table").last.inner_text()
    assert notebook.errors == []
    assert notebook.external == []

    notebook.save()  # the day after: the file is opened again, the kernel is another
    notebook.restart_kernel()
    notebook.load()
    page.get_by_text("The answer is folded").first.wait_for()
    assert page.get_by_text("Error displaying widget").count() == 0
    notebook.run_all()
    answer.get_by_text("You predicted 55 %, measured: 60 %.").wait_for()
    number.get_by_text("You predicted 55 % on 20").wait_for()


def test_curves_are_drawn_with_the_mouse_and_mended_with_keys(open_notebook):
    notebook = open_notebook([CURVES, REVEAL_CURVES], "curves")
    page, question = notebook.page, notebook.page.locator(".mf-reader").first
    plane, commit = question.locator("svg.mf-draw"), question.get_by_role("button").last
    assert commit.is_disabled()  # an untouched plane is no prediction

    def point(name):
        return plane.get_by_role("slider", name=name, exact=True)

    def height(name):
        return float(point(name).get_attribute("aria-valuenow"))

    middle = height("eta = 0, steps 10")
    boxes = [point(f"eta = 0, steps {steps}").bounding_box() for steps in (10, 20, 50)]
    at = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]
    page.mouse.move(*at[0])
    page.mouse.down()
    for (x, y), down in zip(at, (0, 40, 80), strict=True):
        page.mouse.move(x, y + down, steps=6)
    page.mouse.up()
    low, lower, lowest = (height(f"eta = 0, steps {steps}") for steps in (10, 20, 50))
    assert low > lower > lowest
    assert height("eta = 1, steps 50") == middle  # the other curve has not moved

    page.keyboard.press("Tab")  # from the curve that was drawn to the other one
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")
    assert height("eta = 1, steps 10") == 1
    assert height("eta = 1, steps 20") == 891
    assert height("eta = 1, steps 50") == 56.2  # five levels above the middle
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "eta = 1, steps 50"
    assert question.get_by_text("eta = 1, steps 50: 56.2").is_visible()

    commit.click()
    page.get_by_text("The order of the curves is right at 2 of 3 places.").wait_for()
    assert notebook.ask("drawn.value['eta = 1']") == "[1, 891, 56.2]"
    assert notebook.errors == []
    assert notebook.external == []

    notebook.restart_kernel()
    notebook.run_all()
    question.get_by_text("You predicted eta = 0: ").wait_for()
    assert height("eta = 1, steps 20") == 891


def test_show_me_anyway_unfolds_without_a_prediction(open_notebook):
    cells = [PREDICT.replace("0.often", "0.anyway"), REVEAL]
    page = open_notebook(cells, "anyway").page
    page.get_by_role("button", name="Show me anyway").click()
    page.get_by_text("You look without a prediction. Measured: 60 %.").wait_for()


def test_a_game_is_played_with_arrow_keys_and_clicks(open_notebook):
    notebook = open_notebook([GAME], "game")
    page = notebook.page
    game = page.locator(".mf-reader")
    first = game.locator("canvas").first
    game.get_by_text("Round 1 of 3.").wait_for()
    before = first.screenshot()
    assert game.get_by_role("button", name="Play").is_visible()  # nothing moves by itself
    game.focus()
    page.keyboard.press("Space")
    page.wait_for_timeout(700)
    page.keyboard.press("Space")
    assert first.screenshot() != before

    page.keyboard.press("ArrowLeft")
    game.get_by_text("of 1.").wait_for()
    page.keyboard.press("Enter")
    game.get_by_text("Round 2 of 3.").wait_for()
    game.get_by_role("button", name="Right is real").click()
    game.get_by_text("of 2.").wait_for()
    page.keyboard.press("Enter")  # the focus has moved on to "Next round"
    game.get_by_text("Round 3 of 3.").wait_for()
    page.keyboard.press("ArrowRight")
    game.get_by_text("the 95 % interval of your share").wait_for()
    assert notebook.errors == []
    game.get_by_role("button", name="Play again").click()
    game.get_by_text("Round 1 of 3.").wait_for()


def on_screen(pad, points):
    """Points in 0..1 of the pad as places on the page."""
    box = pad.bounding_box()
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]


def touch(page, pad, points):
    """A stroke with a finger."""
    devtools = page.context.new_cdp_session(page)
    events = ["touchStart"] + ["touchMove"] * (len(points) - 1)
    for event, (x, y) in zip(events, on_screen(pad, points), strict=True):
        devtools.send(
            "Input.dispatchTouchEvent", {"type": event, "touchPoints": [{"x": x, "y": y}]}
        )
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def draw(page, pad, points):
    """A stroke with the mouse."""
    at = on_screen(pad, points)
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in at[1:]:
        page.mouse.move(x, y, steps=8)
    page.mouse.up()


def test_a_drawn_digit_is_read_and_walks_to_the_crossroads(open_notebook):
    notebook = open_notebook([PAD, WALK], "pad")
    page = notebook.page
    root, pad = page.locator(".mf-reader"), page.locator(".mf-pad")
    clip = page.locator(".mf-player canvas").first
    root.get_by_text("A 4 from MNIST.").wait_for()
    walks_four = clip.screenshot()

    draw(page, pad, [(0.2, 0.15), (0.8, 0.15), (0.4, 0.9)])
    root.get_by_text("Read as 7").wait_for()
    root.get_by_role("button", name="Walk to the crossroads").click()
    root.get_by_text("Handed on as a 7.").wait_for()
    page.wait_for_timeout(500)
    walks_seven = clip.screenshot()
    assert walks_seven != walks_four

    pad.focus()
    page.keyboard.press("Backspace")
    root.get_by_text("The pad is empty.").wait_for()
    page.keyboard.press("2")
    root.get_by_text("A 2 from MNIST.").wait_for()
    page.keyboard.press("Enter")
    root.get_by_text("Handed on as a 2.").wait_for()
    touch(page, pad, [(0.5, 0.1), (0.5, 0.3), (0.5, 0.5), (0.5, 0.7), (0.5, 0.9)])
    root.get_by_text("Read as 1").wait_for()
    page.wait_for_timeout(500)
    assert clip.screenshot() not in (walks_four, walks_seven)
    assert notebook.errors == []
    assert notebook.external == []
