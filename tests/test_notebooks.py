"""From a chapter's source to its notebook and its editions, on a chapter of a few cells."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from course_lib import paths
from course_lib.cli import notebooks
from course_lib.cli.source import edition, fill, read, result_table

TINY = Path(__file__).parent / "chapters" / "00_tiny.py"
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with one chapter, and the folder where its notebook lies."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("a clone 副本")
        for name in ("SOURCES", "NOTEBOOKS", "RESULTS"):
            folder = {"SOURCES": "notebooks/src", "RESULTS": "data/results"}.get(name, "notebooks")
            patch.setattr(paths, name, root / folder)
            (root / folder).mkdir(parents=True, exist_ok=True)
        patch.setattr(notebooks, "EDITIONS", root / "editions")
        patch.setenv("COURSE_HOME", str(root / "my_course"))
        # A kernel that somebody once installed under the same name must not be taken.
        foreign = root / "jupyter/kernels/python3"
        foreign.mkdir(parents=True)
        (foreign / "kernel.json").write_text('{"argv": ["none"], "display_name": "Another"}')
        patch.setenv("JUPYTER_PATH", str(root / "jupyter"))
        (root / "data/results/tiny.json").write_text('{"eta0": {"S10": 3.14159}}')
        shutil.copy(TINY, root / "notebooks/src")
        yield root


@pytest.fixture(scope="module")
def built(clone):
    """What `build` writes, as text; one kernel serves all the tests of this file that read it."""
    assert notebooks.build([]) == 0
    return (clone / "notebooks/00_tiny.ipynb").read_text(encoding="utf-8")


@pytest.fixture
def chapter(clone, built):
    """The built chapter, restored for each test: its source, its notebook, its results."""
    shutil.copy(TINY, clone / "notebooks/src")
    (clone / "data/results/tiny.json").write_text('{"eta0": {"S10": 3.14159}}')
    (clone / "notebooks/00_tiny.ipynb").write_text(built, encoding="utf-8", newline="\n")
    shutil.rmtree(clone / "my_course", ignore_errors=True)
    return clone


def cells_of(text):
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"]]


def test_an_exercise_is_a_stub_with_hints_and_solution_folded_behind_it(built):
    texts = cells_of(built)
    stub = next(index for index, text in enumerate(texts) if text.startswith("def twice"))
    assert texts[stub].endswith('    """Two times x."""\n    raise NotImplementedError')
    titles = re.findall("<details><summary>(.*?)</summary>", texts[stub + 1])
    assert titles == ["Hint 1", "Hint 2", "Hint 3", "Solution"]
    code = re.search("```python\n(.*?)\n```", texts[stub + 1], re.S)[1]
    namespace = {}
    exec(code, namespace)
    assert namespace["twice"](21) == 42
    assert "SOLUTION" not in built


def test_the_other_language_is_left_out(built):
    assert "一章" not in built
    assert not any(cell["metadata"].get("lang") == "zh" for cell in json.loads(built)["cells"])


def test_numbers_come_from_the_results_and_the_time_from_the_build(built):
    seconds = json.loads(built)["metadata"]["course"]["seconds"]
    assert f"It took {seconds:.1f} seconds; the table says 3.1 dB." in cells_of(built)[0]
    assert 0 < seconds < 60


def test_cells_keep_their_tags_and_budgets_and_are_numbered(built):
    cells = json.loads(built)["cells"]
    assert [cell["id"] for cell in cells] == [f"cell-{n:03}" for n in range(len(cells))]
    setup = next(cell for cell in cells if "".join(cell["source"]).startswith("import os"))
    assert setup["metadata"] == {"tags": ["setup"], "budget_s": 20}


def test_what_is_saved_opens_everywhere(built):
    notebook = nbformat.reads(built, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "version" not in notebook.metadata.language_info
    assert "widgets" not in notebook.metadata
    picture = json.loads(built)["cells"][2]["outputs"][0]["data"]
    assert sorted(picture) == ["image/png", "text/plain"]
    assert not any("execution" in cell.metadata for cell in notebook.cells)
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == [
        1, 2, 3, 4, 5,
    ]  # fmt: skip


def test_cells_run_in_a_folder_that_is_not_the_readers(chapter, built):
    outputs = [cell["outputs"] for cell in json.loads(built)["cells"] if "outputs" in cell]
    assert outputs[-1][0]["data"]["text/plain"] == ["True"]
    assert not (chapter / "my_course").exists()


def test_the_source_reads_back_as_it_was_written(tmp_path):
    cells = read(TINY)
    assert [cell.lang for cell in cells[:3]] == ["en", "zh", None]
    assert (cells[2].tags, cells[2].budget_s) == (["setup"], 20)
    lines = TINY.read_text(encoding="utf-8").split("\n")
    assert all(lines[cell.line - 1].startswith("# %%") for cell in cells)
    crlf = tmp_path / "crlf.py"
    crlf.write_bytes(b"\xef\xbb\xbf" + TINY.read_bytes().replace(b"\n", b"\r\n"))
    assert read(crlf) == cells


def test_the_chinese_edition_has_the_same_code(clone):
    chinese, english = (edition(read(TINY), language=language) for language in ("zh", "en"))
    codes = [[c.text for c in cells if c.kind == "code"] for cells in (chinese, english)]
    assert codes[0] == codes[1]
    text = "".join(cell.text for cell in fill(chinese, result_table))
    assert "表中的值是 3.1 分贝" in text
    assert "提示 3" in text
    assert "tiny chapter" not in text


def test_a_class_gets_hints_but_no_solution():
    text = "".join(cell.text for cell in edition(read(TINY), solutions="left out"))
    assert "Hint 3" in text
    assert "Solution" not in text
    assert "answer" not in text


def test_the_solution_edition_runs_and_leaves_the_students_alone(chapter, built):
    (chapter / "notebooks/00_tiny.ipynb").unlink()
    assert notebooks.build(["0"], solutions=True) == 0
    solved = (chapter / "editions/solutions/00_tiny.ipynb").read_text(encoding="utf-8")
    assert "twice 3 is 6" in solved
    assert not (chapter / "notebooks/00_tiny.ipynb").exists()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"language": "fr"}, "language is 'fr'; permitted: en, zh"),
        ({"solutions": "hidden"}, "solutions is 'hidden'; permitted: folded, kept, left out"),
    ],
)
def test_an_unknown_edition_is_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        edition(read(TINY), **keywords)


def test_an_edition_without_its_text_is_refused():
    english = [cell for cell in read(TINY) if cell.lang != "zh"]
    with pytest.raises(ValueError, match='no cell has lang="zh"'):
        edition(english, language="zh")


def test_check_accepts_what_build_made_and_never_looks_at_outputs(chapter):
    path = chapter / "notebooks/00_tiny.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"][2]["outputs"][0]["data"]["image/png"] = "AAAA"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    before = path.read_bytes()
    assert notebooks.build([], check=True) == 0
    assert path.read_bytes() == before


def of_cell(index, **changes):
    return lambda notebook: notebook["cells"][index].update(changes)


WRONG = {
    "the text was edited": (of_cell(3, source="# Other"), "cell 5, line 22: source of cell-003"),
    "a tag is gone": (
        of_cell(1, metadata={"budget_s": 20}),
        "cell 3, line 11: metadata of cell-001",
    ),
    "another id": (of_cell(3, id="x"), "cell 5, line 22: id of cell-003"),
    "another type": (of_cell(3, cell_type="raw"), "cell 5, line 22: cell_type of cell-003"),
    "a cell is gone": (lambda notebook: notebook["cells"].pop(), "the notebook has 8 cells"),
    "the hash is wrong": (
        lambda notebook: notebook["metadata"]["course"].update(source_sha256="0"),
        "the recorded sha256",
    ),
    "not made by build": (
        lambda notebook: notebook["metadata"].pop("course"),
        "{path} is not a notebook made",
    ),
    "not executed": (
        of_cell(1, execution_count=None, outputs=[]),
        "cell 3, line 11: was not executed",
    ),
    "an error": (
        of_cell(
            1,
            outputs=[{"output_type": "error", "ename": "OSError", "evalue": "x", "traceback": []}],
        ),
        "cell 3, line 11: raises OSError: x",
    ),
    "a warning": (
        of_cell(1, outputs=[{"output_type": "stream", "name": "stderr", "text": "beware"}]),
        "cell 3, line 11: writes to stderr: 'beware'",
    ),
    "too large": (
        of_cell(1, outputs=[{"output_type": "stream", "name": "stdout", "text": "x" * 1_500_000}]),
        "the notebook has 1.50 MB",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_check_refuses_a_notebook_that_its_source_does_not_give(chapter, capsys, case):
    change, message = WRONG[case]
    path = chapter / "notebooks/00_tiny.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    change(notebook)
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert notebooks.build([], check=True) == 1
    assert f"00_tiny: {message.format(path=path)}" in capsys.readouterr().err


def test_check_names_a_number_that_moved(chapter, capsys):
    (chapter / "data/results/tiny.json").write_text('{"eta0": {"S10": 3.9}}')
    assert notebooks.build([], check=True) == 1
    assert "00_tiny: cell 1, line 1: source of cell-000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no .*00_tiny.ipynb; run 'python3 -m course_lib build'"),
        ("{", "not a notebook"),
    ],
)
def test_check_names_a_notebook_that_is_missing_or_broken(chapter, capsys, text, message):
    path = chapter / "notebooks/00_tiny.ipynb"
    path.unlink()
    if text:
        path.write_text(text)
    assert notebooks.build([], check=True) == 1
    assert re.search(message, capsys.readouterr().err)


def test_check_names_a_notebook_without_a_source(chapter, capsys):
    other = chapter / "notebooks/00_other.ipynb"
    other.touch()
    assert notebooks.build([], check=True) == 1
    other.unlink()
    assert "00_other: there is no notebooks/src/00_other.py" in capsys.readouterr().err


def test_a_folder_without_chapters_is_named(chapter):
    (chapter / "notebooks/src/00_tiny.py").unlink()
    with pytest.raises(ValueError, match="there is no chapter in"):
        notebooks.build([])


FAULTY = """# %% [markdown]
# # Faults
# All of them at once.

# %% tags=["setup"] budget_s=0.01
import sys, tempfile, time

time.sleep(0.1)

# %% [markdown]
# On stderr.

# %%
print("beware", file=sys.stderr)

# %% [markdown]
# A path.

# %%
print("stored in", tempfile.gettempdir() + "/x")

# %% [markdown]
# A widget that is only a view.

# %%
display({"application/vnd.jupyter.widget-view+json": {"model_id": "0"}}, raw=True)
"""


def rewrite(chapter, text):
    (chapter / "notebooks/src/00_tiny.py").write_text(text, encoding="utf-8")


def test_build_names_every_fault_of_the_outputs_and_writes_nothing(chapter, capsys, built):
    rewrite(chapter, FAULTY)
    assert notebooks.build(["tiny"]) == 1
    err = capsys.readouterr().err
    assert re.search(r"00_tiny: cell 2, line 5: took \d\.\d s, its budget_s is 0\.01; make", err)
    assert "00_tiny: cell 4, line 13: writes to stderr: 'beware'" in err
    assert "00_tiny: cell 6, line 19: shows " in err
    assert "00_tiny: cell 8, line 25: shows a widget that nobody sees without a kernel" in err
    assert (chapter / "notebooks/00_tiny.ipynb").read_text(encoding="utf-8") == built


def test_a_cell_is_reported_beyond_its_budget_and_refused_beyond_three(
    chapter, capsys, monkeypatch
):
    def execute(notebook, cells):
        for node in notebook.cells:
            node.execution_count = 1
        seconds = {3: 6.0, 4: 5.0, 7: took}
        return [seconds.get(c.number, 0.0) if c.kind == "code" else 0.0 for c in cells]

    monkeypatch.setattr(notebooks, "execute", execute)
    took = 15.0
    assert notebooks.build([]) == 0
    said = capsys.readouterr().out
    assert "00_tiny: 9 cells, 26.0 s\n" in said
    assert "00_tiny: cell 7, line 33: took 15.0 s, its budget_s is 5\n" in said
    assert "cell 3" not in said  # six seconds of twenty
    assert "cell 4" not in said
    took = 15.1
    assert notebooks.build([]) == 1
    assert "cell 7, line 33: took 15.1 s, its budget_s is 5; make it" in capsys.readouterr().err


def test_build_names_the_cell_that_raises_and_writes_nothing(chapter, capsys, built):
    rewrite(chapter, '# %% [markdown]\n# # Title\n\n# %%\n{"a": 1}["b"]\n')
    assert notebooks.build(["00"]) == 1
    assert "00_tiny: cell 2, line 4: raises KeyError: 'b'" in capsys.readouterr().err
    assert (chapter / "notebooks/00_tiny.ipynb").read_text(encoding="utf-8") == built
    assert list((chapter / "notebooks").glob(".*")) == []


@pytest.mark.parametrize(
    ("placeholder", "message"),
    [
        ("{{tiny.eta0.S11:.1f}}", "no key 'S11' in data/results/tiny.json; it has S10"),
        ("{{tiny.eta1.S10}}", "no key 'eta1' in data/results/tiny.json; it has eta0, bad, flag"),
        ("{{tiny.eta0.S10.x}}", "no key 'x' in data/results/tiny.json; it has 3.14159"),
        ("{{tiny.eta0}}", "name a number or a text in it"),
        ("{{tiny.eta0.S10:d}}", "3.14159 cannot be written so"),
        ("{{tiny.bad}}", "{{tiny.bad}} is nan; name a number"),
        ("{{tiny.flag}}", "{{tiny.flag}} is True; name a number"),
        ("{{huge.x}}", "there is no data/results/huge.json; permitted: tiny"),
        ("x^{{a+b}}", "is no number; write {{table.key:.1f}}, and '{ {' in a formula"),
        ("{{build.minutes}}", "no key 'minutes'"),
    ],
)
def test_a_number_that_is_not_there_is_named_with_what_is(chapter, capsys, placeholder, message):
    results = '{"eta0": {"S10": 3.14159}, "bad": NaN, "flag": true}'
    (chapter / "data/results/tiny.json").write_text(results)
    rewrite(chapter, f"# %% [markdown]\n# # Title\n# It is {placeholder} long.\n")
    assert notebooks.build([]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert "00_tiny: cell 1, line 1: " in err


@pytest.mark.parametrize("text", ["{", "null", "[1]", "\xff"])
def test_results_that_are_not_json_are_named(chapter, capsys, text):
    (chapter / "data/results/tiny.json").write_text(text, encoding="latin-1")
    assert notebooks.build([]) == 1
    assert "data/results/tiny.json is no JSON object" in capsys.readouterr().err


def test_an_unknown_chapter_is_refused_with_the_permitted_ones(chapter):
    with pytest.raises(ValueError, match="no chapter '7'; permitted: 00_tiny"):
        notebooks.build(["7"])


def test_both_treatments_of_solutions_are_refused(chapter):
    with pytest.raises(ValueError, match="exclude each other"):
        notebooks.build([], solutions=True, no_solutions=True)
