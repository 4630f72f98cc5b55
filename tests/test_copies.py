"""The reader's copy of a chapter: made once, refreshed while untouched, never overwritten."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest

from course_lib import paths, progress
from course_lib.cli import copies
from course_lib.cli.source import as_notebook, edition, read

TINY = Path(__file__).parent / "chapters" / "00_tiny.py"
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A clone with the notebook of one chapter."""
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "my_course"))
    notebook = as_notebook(edition(read(TINY)))
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks/00_tiny.ipynb")
    return tmp_path


def cells_of(text):
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"]]


def of_cell(index, **changes):
    return lambda notebook: notebook["cells"][index].update(changes)


def edit(path, change):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    change(notebook)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def change_chapter(chapter):
    edit(chapter / "notebooks/00_tiny.ipynb", of_cell(0, source="# A better chapter"))


@pytest.mark.parametrize("name", ["0", "00", "tiny", "00_tiny", None])
def test_a_chapter_is_copied_once_and_noted_as_opened(chapter, name):
    copy = copies.open_copy(name)
    assert copy == chapter / "my_course/00_tiny.ipynb"
    assert cells_of(copy.read_text(encoding="utf-8"))[0].startswith("# A tiny chapter")
    first = copy.stat().st_mtime_ns
    assert copies.open_copy(name) == copy
    assert copy.stat().st_mtime_ns == first
    assert [event["chapter"] for event in progress.events("opened")] == ["00_tiny", "00_tiny"]


def test_without_a_name_the_last_chapter_is_opened_again(chapter):
    second = chapter / "notebooks/01_more.ipynb"
    shutil.copy(chapter / "notebooks/00_tiny.ipynb", second)
    try:
        assert copies.open_copy().stem == "00_tiny"
        copies.open_copy("1")
        progress.record("opened", chapter="99_gone")
        assert copies.open_copy().stem == "01_more"
    finally:
        second.unlink()


def test_an_unknown_chapter_cannot_be_opened(chapter):
    with pytest.raises(ValueError, match="no chapter '5'; permitted: 00_tiny"):
        copies.open_copy("5")


def test_a_clone_without_notebooks_says_how_they_are_made(chapter):
    (chapter / "notebooks/00_tiny.ipynb").unlink()
    with pytest.raises(ValueError, match="course_lib build"):
        copies.open_copy()


def test_an_untouched_copy_follows_the_chapter(chapter, capsys):
    copy = copies.open_copy()
    # Running to the end saves outputs, times and an empty last cell: none of it is an edit.
    edit(copy, of_cell(1, outputs=[], execution_count=9, metadata={"execution": {}}))
    edit(copy, lambda n: n["cells"].append({**n["cells"][1], "id": "new", "source": []}))
    change_chapter(chapter)
    copies.open_copy()
    assert cells_of(copy.read_text(encoding="utf-8"))[0] == "# A better chapter"
    change_chapter(chapter)
    edit(chapter / "notebooks/00_tiny.ipynb", of_cell(0, source="# The best chapter"))
    copies.open_copy()
    assert cells_of(copy.read_text(encoding="utf-8"))[0] == "# The best chapter"
    assert capsys.readouterr().out == ""


def test_a_rebuilt_chapter_with_the_same_cells_leaves_the_readers_outputs(chapter):
    copy = copies.open_copy()
    edit(copy, of_cell(1, execution_count=77))
    edit(chapter / "notebooks/00_tiny.ipynb", of_cell(1, execution_count=5))
    copies.open_copy()
    assert json.loads(copy.read_text(encoding="utf-8"))["cells"][1]["execution_count"] == 77


@pytest.mark.parametrize(
    "own_work",
    [
        of_cell(5, source=["def twice(x):\n", "    return 2 * x"]),
        of_cell(0, source="my notes"),
        lambda notebook: notebook["cells"].pop(2),
        lambda notebook: notebook["cells"].append({**notebook["cells"][1], "source": "1 + 1"}),
        lambda notebook: notebook["metadata"].pop("course"),
        lambda notebook: notebook["cells"].insert(0, notebook["cells"].pop()),
    ],
)
def test_an_edited_copy_is_never_overwritten(chapter, capsys, own_work):
    copy = copies.open_copy()
    edit(copy, own_work)
    before = copy.read_bytes()
    copies.open_copy()
    assert capsys.readouterr().out == ""
    change_chapter(chapter)
    copies.open_copy()
    assert copy.read_bytes() == before
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert str(Path("notebooks/00_tiny.ipynb")) in said


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"cells": [{}], "metadata": {}}', '"\\ud800"', "\x00"]
)
def test_a_damaged_copy_is_named_and_left_as_it_is(chapter, text):
    copy = copies.open_copy()
    copy.write_text(text)
    with pytest.raises(ValueError, match=r"00_tiny\.ipynb is not a readable notebook"):
        copies.open_copy()
    assert copy.read_text() == text


def test_a_damaged_chapter_is_named_and_makes_no_copy(chapter):
    (chapter / "notebooks/00_tiny.ipynb").write_text("<<<<<<< HEAD")
    with pytest.raises(ValueError, match=r"notebooks/00_tiny\.ipynb is not a readable notebook"):
        copies.open_copy()
    assert not (chapter / "my_course").exists()


def test_a_copy_is_written_whole_or_not_at_all(chapter, monkeypatch):
    copy = copies.open_copy()
    before = copy.read_bytes()
    change_chapter(chapter)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(copies.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        copies.open_copy()
    assert copy.read_bytes() == before


def test_saving_takes_out_views_beside_a_picture_and_nothing_else():
    def output(**data):
        return {"output_type": "display_data", "data": data, "metadata": {}}

    notebook = {
        "metadata": {"widgets": {"state": {}}, "kernelspec": {"name": "python3"}},
        "cells": [
            {
                "cell_type": "code",
                "metadata": {"execution": {"iopub.status.busy": "now"}, "tags": ["setup"]},
                "outputs": [
                    output(**{VIEW: {}, "image/png": "A", "text/plain": "Player()"}),
                    output(**{VIEW: {}, "text/plain": "IntSlider()"}),
                    {"output_type": "stream", "name": "stdout", "text": "x"},
                ],
            },
            {"cell_type": "markdown", "metadata": {}, "source": ""},
        ],
    }
    copies.clean_for_saving(notebook)
    first, second, third = notebook["cells"][0]["outputs"]
    assert first["data"] == {"image/png": "A", "text/plain": "Player()"}
    assert VIEW in second["data"]
    assert third["text"] == "x"
    assert notebook["metadata"] == {"kernelspec": {"name": "python3"}}
    assert notebook["cells"][0]["metadata"] == {"tags": ["setup"]}


def test_an_empty_notebook_can_be_saved():
    notebook = as_notebook([])
    copies.clean_for_saving(notebook)
    nbformat.validate(notebook)
