"""Chapter 1 as a student meets it: run all, walk on the pads, play the samples."""

import pytest

from course_lib import paths

pytestmark = pytest.mark.browser
CHAPTER = paths.NOTEBOOKS / "01_sampling_a_latent.ipynb"


@pytest.fixture(scope="module")
def chapter(open_notebook):
    return open_notebook(CHAPTER, "chapter1")


def test_run_all_shows_live_players_and_asks_no_other_machine(chapter):
    heading = chapter.page.get_by_role("heading", name="1. One past, and dice").first
    heading.scroll_into_view_if_needed()
    chapter.page.locator(".mf-player canvas").first.wait_for()
    assert chapter.errors == []
    assert chapter.external == []


def test_the_clip_at_the_junction_changes_when_the_cross_is_moved(chapter):
    chapter.page.get_by_role(
        "heading", name="The future as a function of z"
    ).first.scroll_into_view_if_needed()
    pad = chapter.page.locator(".mf-player", has_text="A 2 at the junction")
    pad.scroll_into_view_if_needed()
    for _ in range(6):
        pad.get_by_role("button", name="Step forward").click()
    clip = pad.locator("canvas").last
    before = clip.screenshot()
    cross = pad.locator(".mf-plane")
    cross.focus()
    for _ in range(5):
        chapter.page.keyboard.press("Shift+ArrowRight")
    chapter.page.wait_for_timeout(300)
    assert clip.screenshot() != before
