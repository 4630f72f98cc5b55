"""Chapter 3 as a student meets it: run all, and ask what a place depends on."""

import pytest

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
    view = chapter.page.locator(".mf-player", has_text="orange place of the prediction").first
    view.scroll_into_view_if_needed()
    view.locator("canvas").first.wait_for()
    before = [view.locator("canvas").nth(n).screenshot() for n in (0, 1)]
    view.get_by_role("slider", name="the orange place is").focus()
    chapter.page.keyboard.press("ArrowRight")
    chapter.page.wait_for_timeout(300)
    after = [view.locator("canvas").nth(n).screenshot() for n in (0, 1)]
    assert all(old != new for old, new in zip(before, after, strict=True))
