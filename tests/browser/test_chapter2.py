"""Chapter 2 as a student meets it: run all, exchange a background, override a mask."""

import pytest

from course_lib import paths

pytestmark = pytest.mark.browser
CHAPTER = paths.NOTEBOOKS / "02_the_adversary.ipynb"


@pytest.fixture(scope="module")
def chapter(open_notebook):
    return open_notebook(CHAPTER, "chapter2")


def player(chapter, heading, title):
    chapter.page.get_by_role("heading", name=heading).first.scroll_into_view_if_needed()
    view = chapter.page.locator(".mf-player", has_text=title).first
    view.scroll_into_view_if_needed()
    view.locator("canvas").first.wait_for()
    return view


def test_run_all_shows_live_players_and_asks_no_other_machine(chapter):
    chapter.page.locator(".mf-player canvas").first.wait_for()
    assert chapter.errors == []
    assert chapter.external == []


def test_another_code_of_the_background_changes_the_clip(chapter):
    view = player(chapter, "Two codes", "Who walks, and where")
    before = view.locator("canvas").first.screenshot()
    view.get_by_role("slider", name="code of the background").focus()
    chapter.page.keyboard.press("ArrowRight")
    chapter.page.wait_for_timeout(300)
    assert view.locator("canvas").first.screenshot() != before


def test_an_overridden_mask_changes_clip_and_mask(chapter):
    view = player(chapter, "Override the mask", "The mask, overridden")
    before = [view.locator("canvas").nth(n).screenshot() for n in (0, 1)]
    view.get_by_role("slider", name="mask").focus()
    chapter.page.keyboard.press("ArrowRight")
    chapter.page.wait_for_timeout(300)
    after = [view.locator("canvas").nth(n).screenshot() for n in (0, 1)]
    assert all(old != new for old, new in zip(before, after, strict=True))
