"""Chapter 3 as a student meets it: run all, and ask what a place depends on."""

import pytest

from browser.harness import player, which_change
from course_lib import paths

pytestmark = pytest.mark.browser
CHAPTER = paths.NOTEBOOKS / "03_what_may_look_at_what.ipynb"


@pytest.fixture(scope="module")
def chapter(open_notebook):
    return open_notebook(CHAPTER, "chapter3")


def test_run_all_shows_live_players_and_asks_no_other_machine(chapter):
    chapter.page.locator(".mf-player canvas").first.wait_for()
    assert chapter.errors == []
    assert chapter.external == []


def test_another_place_of_the_prediction_depends_on_other_places(chapter):
    view = player(chapter, "orange place of the prediction")
    assert which_change(view, "the orange place is") == [True, True]
