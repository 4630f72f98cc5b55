"""Chapter 4 as a student meets it: run all, play three predictions, change the overlap."""

import pytest

from browser.harness import player, which_change
from course_lib import paths

pytestmark = pytest.mark.browser
CHAPTER = paths.NOTEBOOKS / "04_one_by_one_or_all_at_once.ipynb"


@pytest.fixture(scope="module")
def chapter(open_notebook):
    return open_notebook(CHAPTER, "chapter4")


def test_run_all_shows_live_players_and_asks_no_other_machine(chapter):
    chapter.page.locator(".mf-player canvas").first.wait_for()
    assert chapter.errors == []
    assert chapter.external == []


def test_another_clip_changes_the_truth_and_all_three_predictions(chapter):
    view = player(chapter, "Ten frames seen, ten predicted")
    assert which_change(view, "clip") == [True] * 4


def test_a_shorter_overlap_changes_what_nar_draws_and_not_the_truth(chapter):
    truth, nar, far, _ = which_change(player(chapter, "Forty frames ahead"), "overlap", "ArrowLeft")
    assert (truth, nar, far) == (False, True, False)
