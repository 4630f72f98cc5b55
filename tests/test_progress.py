"""The reader's record: append-only, and readable whatever happened to its last line."""

import json

import pytest

from course_lib import progress


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "mine"))
    return tmp_path / "mine"


def test_events_come_back_in_order_and_by_kind():
    progress.record("opened", chapter="00")
    progress.record("check", exercise="度量", passed=True)
    progress.record("opened", chapter="01")
    assert [event["chapter"] for event in progress.events("opened")] == ["00", "01"]
    assert progress.events("check")[0]["exercise"] == "度量"


def test_nothing_recorded_is_no_error(home):
    assert progress.events("opened") == []
    assert not home.exists()


def test_earlier_lines_are_never_touched(home):
    progress.record("opened", chapter="00")
    before = (home / "progress.jsonl").read_bytes()
    progress.record("opened", chapter="01")
    assert (home / "progress.jsonl").read_bytes().startswith(before)


@pytest.mark.parametrize("scrap", ['{"kind": "ope', "null", "3", "[]", ""])
def test_a_line_that_holds_no_event_is_passed_over(home, scrap):
    progress.record("opened", chapter="00")
    with (home / "progress.jsonl").open("a", encoding="utf-8") as file:
        file.write(scrap + "\n")
    progress.record("opened", chapter="01")
    assert len(progress.events("opened")) == 2


def test_a_line_cut_short_takes_no_other_with_it(home):
    progress.record("opened", chapter="00")
    with (home / "progress.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"kind": "ope')
    progress.record("opened", chapter="01")
    assert [event["chapter"] for event in progress.events("opened")] == ["00", "01"]


def test_every_event_carries_its_time(home):
    progress.record("opened", chapter="00")
    event = json.loads((home / "progress.jsonl").read_text(encoding="utf-8"))
    assert event["time"].endswith("+00:00")
