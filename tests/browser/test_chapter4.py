"""Chapter 4 as a student meets it: run all, play three predictions, change block and overlap."""

import pytest

from course_lib import paths

pytestmark = pytest.mark.browser
CHAPTER = paths.NOTEBOOKS / "04_one_by_one_or_all_at_once.ipynb"


@pytest.fixture(scope="module")
def chapter(open_notebook):
    return open_notebook(CHAPTER, "chapter4")


def player(chapter, title):
    view = chapter.page.locator(".mf-player", has_text=title).first
    view.scroll_into_view_if_needed()
    view.locator("canvas").first.wait_for()
    return view


def test_run_all_shows_live_players_and_asks_no_other_machine(chapter):
    chapter.page.locator(".mf-player canvas").first.wait_for()
    assert chapter.errors == []
    assert chapter.external == []


def test_another_clip_changes_the_truth_and_all_three_predictions(chapter):
    view = player(chapter, "Ten frames seen, ten predicted")
    before = [view.locator("canvas").nth(n).screenshot() for n in range(4)]
    view.get_by_role("slider", name="clip").focus()
    chapter.page.keyboard.press("ArrowRight")
    chapter.page.wait_for_timeout(300)
    after = [view.locator("canvas").nth(n).screenshot() for n in range(4)]
    assert all(old != new for old, new in zip(before, after, strict=True))
