"""Chapter 0 as a student meets it: run all, save, come back another day."""

import pytest

from course_lib import paths

pytestmark = pytest.mark.browser
CHAPTER = paths.NOTEBOOKS / "00_one_past_many_futures.ipynb"


@pytest.fixture(scope="module")
def chapter(open_notebook):
    return open_notebook(CHAPTER, "chapter0")


def scroll_to(opened, text):
    """Bring a heading into view; JupyterLab renders the cells around it."""
    heading = opened.page.get_by_role("heading", name=text).first
    heading.scroll_into_view_if_needed()
    return heading


def test_run_all_shows_live_players_and_asks_no_other_machine(chapter):
    scroll_to(chapter, "1. Where will it go?")
    chapter.page.locator(".mf-player canvas").first.wait_for()
    assert chapter.errors == []
    assert chapter.external == []


def test_the_digit_moves_when_the_reader_steps(chapter):
    scroll_to(chapter, "1. Where will it go?")
    player = chapter.page.locator(".mf-player").first
    canvas = player.locator("canvas").first
    before = canvas.screenshot()
    player.get_by_role("button", name="Step forward").click()
    chapter.page.wait_for_function(
        "player => player.innerText.includes('1 / 2')", arg=player.element_handle()
    )
    assert canvas.screenshot() != before


def test_a_committed_prediction_unfolds_its_answer(chapter):
    page = chapter.page
    page.get_by_text(
        "A hundred runs of the 4: how many turn left?"
    ).first.scroll_into_view_if_needed()
    page.get_by_role("button", name="Commit my prediction").first.click()
    page.get_by_text("You predicted 50 runs, measured:").wait_for()
    assert chapter.ask("lefts.value") == "50"


def test_another_day_shows_pictures_and_no_errors(chapter):
    saved = chapter.save()
    assert "widgets" not in saved.metadata
    chapter.restart_kernel()
    chapter.load()
    page = chapter.page
    scroll_to(chapter, "All hundred at once")
    page.locator(".jp-OutputArea-output img").first.wait_for()
    assert page.get_by_text("Error displaying widget").count() == 0
    assert page.get_by_text("model not found").count() == 0
    assert page.locator(".jp-Dialog").count() == 0
    assert chapter.errors == []
