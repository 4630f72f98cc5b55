"""Chapter 5 as a student meets it: run all, and scrub through noise."""

import pytest

from browser.harness import player, which_change
from course_lib import paths

pytestmark = pytest.mark.browser
CHAPTER = paths.NOTEBOOKS / "05_guess_the_noise.ipynb"


@pytest.fixture(scope="module")
def chapter(open_notebook):
    return open_notebook(CHAPTER, "chapter5")


def test_run_all_shows_live_players_and_asks_no_other_machine(chapter):
    chapter.page.locator(".mf-player canvas").first.wait_for()
    assert chapter.errors == []
    assert chapter.external == []


def test_another_noise_level_changes_every_way_from_there(chapter):
    view = player(chapter, "Crossroads: jump now, or walk on")
    assert which_change(view, "log SNR")[:3] == [True] * 3
