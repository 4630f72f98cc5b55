"""Chapter 7 as a student meets it: run all, and move what can be moved."""

import pytest

from browser.harness import player, which_change
from course_lib import paths

pytestmark = pytest.mark.browser
CHAPTER = paths.NOTEBOOKS / "07_smaller_canvas_bigger_brush.ipynb"


@pytest.fixture(scope="module")
def chapter(open_notebook):
    return open_notebook(CHAPTER, "chapter7")


def test_run_all_shows_live_players_and_asks_no_other_machine(chapter):
    chapter.page.locator(".mf-player canvas").first.wait_for()
    assert chapter.errors == []
    assert chapter.external == []


@pytest.mark.parametrize(
    ("title", "slider", "key", "changed"),
    [
        ("What comes back", "f, channels", "ArrowLeft", [False, True, True]),
        ("What comes back", "picture", "ArrowRight", [True, True, True]),
        ("Patches and their price", "network", "ArrowLeft", [False, True]),
        ("Patches and their price", "patch size p", "ArrowRight", [True, True]),
        ("What goes with a good score?", "x axis", "ArrowRight", [True]),
        ("What goes with a good score?", "lines", "ArrowRight", [True]),
        ("One past, six futures, drawn in latents", "digit", "ArrowRight", [True, True]),
    ],
)
def test_a_slider_changes_what_depends_on_it(chapter, title, slider, key, changed):
    assert which_change(player(chapter, title), slider, key) == changed
