import re

import pytest

from course_lib import paths, progress
from course_lib.widgets import course_map as module
from course_lib.widgets.course_map import course_map

FIRST = """# %% [markdown]
# # One past, many futures
# %%
check.mean(mean)
# %%
check.mean(mean); check.energy(energy)
# %%
Slider(
    "0.often", "How often?", 0, 100, 5, unit="%"
)
# %%
Choice("0.arm", "Which?", ["left", "right"]); Choice("1.elsewhere", "Which?", ["a", "b"])
"""
SECOND = '# %% [markdown]\n# # Latents & <noise>\n# %%\nSlider("1.cost", "How much?", 0, 9, 1)\n'


@pytest.fixture(autouse=True)
def course(tmp_path, monkeypatch):
    """Two chapters and a reader without a record."""
    sources = tmp_path / "src"
    sources.mkdir()
    (sources / "00_futures.py").write_text(FIRST, encoding="utf-8")
    (sources / "01_latents.py").write_text(SECOND, encoding="utf-8")
    monkeypatch.setattr(paths, "SOURCES", sources)
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "home"))
    return tmp_path


def shown_cells():
    """The table as a page shows it: one list of texts per chapter."""
    body = course_map()._repr_html_().split("<tbody>")[1].split("</tbody>")[0]
    rows = re.findall("<tr>(.*?)</tr>", body)
    return [re.findall("<td[^>]*>(.*?)</td>", row) for row in rows]


def test_an_empty_record_gives_a_friendly_first_line_and_the_first_thing_to_do():
    said = course_map()
    assert said.headline == module.EMPTY
    assert module.EMPTY in repr(said)
    assert said.next_step == (
        "Go on in chapter 0, One past, many futures: "
        "2 exercises (mean, energy) and 2 predictions (often, arm)."
    )
    assert shown_cells()[0] == ["0. One past, many futures", "0 of 2 passed", "0 of 2 made", ""]


def test_what_was_passed_once_stays_passed():
    for name, passed in (("mean", True), ("mean", False), ("energy", False), ("other", True)):
        progress.record("check", exercise=name, attempted=True, passed=passed)
    assert shown_cells()[0][1] == "1 of 2 passed"
    assert "1 check passed" in course_map().headline
    assert "1 exercise (energy)" in course_map().next_step


def test_a_prediction_is_as_far_off_as_it_was_when_the_answer_was_first_seen():
    place = {"chapter": 0, "id": "often"}
    progress.record("prediction", **place, value=40)
    assert "often: answer still folded" in shown_cells()[0][2]
    for error in (-20.04, 0):
        fields = {"predicted": 60.04 + error, "measured": 60.04, "error": error, "unit": "%"}
        progress.record("reveal", **place, **fields)
    progress.record("reveal", chapter=0, id="arm", predicted="left", measured="x", correct=False)
    assert shown_cells()[0][2] == "2 of 2 made<br>often: 20 percentage points off<br>arm: not right"


def test_a_drawn_curve_is_asked_for_and_is_off_by_a_factor(course):
    source = '# %% [markdown]\n# # Knobs\n# %%\nCurve("6.steps", "How?", [1, 2], ["a"])\n'
    (course / "src" / "06_knobs.py").write_text(source, encoding="utf-8")
    assert "1 prediction (steps)" in repr(course_map().rows[-1].open_parts)
    progress.record("reveal", chapter=6, id="steps", predicted={"a": [1, 2]}, factor=2.06)
    assert shown_cells()[-1][2] == "1 of 1 made<br>steps: a factor of 2.1 off"


def test_a_prediction_after_the_answer_does_not_count():
    place = {"chapter": 1, "id": "cost", "measured": 3, "unit": ""}
    progress.record("reveal", **place, predicted=None)
    progress.record("reveal", **place, predicted=3, error=0)
    assert "cost: answer seen first" in shown_cells()[1][2]


def test_the_chapter_opened_last_comes_first_and_its_copy_is_linked(course):
    lines = [
        '{"time": "2026-11-22T09:00:00+00:00", "kind": "opened", "chapter": "00_futures"}',
        '{"time": "2026-11-22T10:00:00+00:00", "kind": "opened", "chapter": "01_latents"}',
    ]
    home = course / "home"
    home.mkdir()
    (home / "progress.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (home / "01_latents.ipynb").touch()
    assert course_map().next_step.startswith("Go on in chapter 1, Latents & <noise>: 1 prediction")
    assert shown_cells()[1][0] == '<a href="01_latents.ipynb">1. Latents &amp; &lt;noise&gt;</a>'
    assert shown_cells()[1][3] == "2026-11-22"
    progress.record("prediction", chapter=1, id="cost", value=3)
    assert course_map().next_step.startswith("Go on in chapter 0")


def test_a_finished_course_says_so_and_an_unopened_chapter_is_named_with_its_command(course):
    for name in ("mean", "energy"):
        progress.record("check", exercise=name, attempted=True, passed=True)
    for name in ("often", "arm"):
        progress.record("prediction", chapter=0, id=name, value=1)
    progress.record("opened", chapter="00_futures")
    (course / "src" / "01_latents.py").write_text("# %% [markdown]\n# # Latents\n")
    assert course_map().next_step == "Go on with chapter 1, Latents: python3 -m course_lib lab 1"
    progress.record("opened", chapter="01_latents")
    assert course_map().next_step == "You have done all that there is so far."


def test_the_last_score_of_which_one_is_real_stands_on_the_map():
    for right in (4, 9):
        progress.record("which_is_real", chapter=0, id="game", right=right, rounds=10)
    assert shown_cells()[0][2] == "0 of 2 made<br>game: 9 of 10 told apart"


def test_events_with_missing_fields_are_passed_over():
    for kind in ("check", "opened", "reveal", "prediction", "which_is_real"):
        progress.record(kind)
        progress.record(kind, chapter=0, id="often")
    assert "often" in repr(course_map())


def test_a_course_without_chapters_has_a_map(course):
    for path in (course / "src").iterdir():
        path.unlink()
    assert "You have done all that there is so far." in repr(course_map())
