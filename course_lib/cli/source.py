"""A chapter's source: cells as a person writes them, and what a reader's notebook holds of them.

`notebooks/src/NN_name.py` is jupytext's py:percent format with three keys of ours:

    # %% [markdown] lang="en"                 in the English edition only; without lang in every one
    # %% tags=["exercise"] budget_s=2         a function with # SOLUTION ... # END SOLUTION inside
    # %% [markdown] tags=["hint"] lang="en"   right after an exercise, three of them

In markdown `{{table.key.key:.1f}}` is a number out of `data/results/table.json`, and
`{{build.seconds:.0f}}` what the chapter's cells took together when it was built.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from course_lib import paths

LANGUAGES = ("en", "zh")
SOLUTIONS = ("folded", "kept", "left out")
DEFAULT_BUDGET_S = 5.0  # what takes longer is a recipe's stored sheet, or says so with budget_s

FOLDED = {"en": ("Hint {}", "Solution"), "zh": ("提示 {}", "参考答案")}
PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.S)
KEYS = re.compile(r"\s*([A-Za-z]\w*(?:\.[\w-]+)+)\s*(?::([^{}]*))?")
BLOCK = re.compile(r"^([ \t]+)# SOLUTION\n(.*?)^[ \t]+# END SOLUTION\n", re.M | re.S)

# Generic, so that the notebook opens everywhere and does not change with the builder's Python.
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "pygments_lexer": "ipython3",
    },
}


@dataclass(frozen=True)
class Cell:
    """One cell of a source."""

    number: int  # as it stands in the source, from 1
    line: int  # of its `# %%` marker
    kind: str  # "code" or "markdown"
    text: str
    metadata: dict = field(default_factory=dict)

    @property
    def tags(self) -> list[str]:
        """Tags of the cell, empty where it has none."""
        return self.metadata.get("tags", [])

    @property
    def lang(self) -> str | None:
        """Language of a markdown cell; None stands in every edition."""
        return self.metadata.get("lang")

    @property
    def budget_s(self) -> float:
        """Seconds that the cell may take."""
        return float(self.metadata.get("budget_s", DEFAULT_BUDGET_S))

    @property
    def place(self) -> str:
        """How a message names the cell."""
        return f"cell {self.number}, line {self.line}"


def read(path: Path) -> list[Cell]:
    """The cells of a source, in order.

    Raises:
        ValueError: not UTF-8, tags that are no list, or a cell marker where no cell begins.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 ({error}); save it as UTF-8") from None
    lines = [n for n, line in enumerate(text.split("\n"), 1) if line.startswith("# %%")]
    try:
        nodes = jupytext.reads(text, fmt="py:percent").cells
    except nbformat.ValidationError as error:
        raise ValueError(f'{path.name}: {error.message}; write tags=["setup"]') from None
    if len(lines) != len(nodes):
        raise ValueError(
            f"{path.name}: {len(lines)} lines begin with '# %%' but there are {len(nodes)} cells; "
            "begin each cell with '# %%', and the file too, and write '# %%' nowhere else"
        )
    found = []
    for number, (line, node) in enumerate(zip(lines, nodes, strict=True), 1):
        # lines_to_next_cell and its like are jupytext's notes on blank lines.
        metadata = {k: v for k, v in node.metadata.items() if not k.startswith("lines_to_")}
        found.append(Cell(number, line, node.cell_type, node.source, metadata))
    return found


def edition(cells: list[Cell], *, language: str = "en", solutions: str = "folded") -> list[Cell]:
    """The cells of one edition: one language, exercises as stubs or solved, hints folded.

    Args:
        cells: what `read` returned.
        language: markdown cells of another one are left out.
        solutions: "folded" behind a click, "kept" in the code, or "left out".

    Raises:
        ValueError: an unknown language or treatment of solutions, or a solution block that is not
            closed or stands outside a function.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language is {language!r}; permitted: {', '.join(LANGUAGES)}")
    if solutions not in SOLUTIONS:
        raise ValueError(f"solutions is {solutions!r}; permitted: {', '.join(SOLUTIONS)}")
    if language != "en" and all(cell.lang != language for cell in cells):
        raise ValueError(f'no cell has lang="{language}"; write the text of this edition first')
    left = [cell for cell in cells if cell.lang in (None, language)]
    result = []
    while left:
        cell = left.pop(0)
        if "hint" in cell.tags:
            raise ValueError(f"{cell.place}: a hint stands right after its exercise; move it there")
        hints = list(takewhile(lambda cell: "hint" in cell.tags, left))
        if "exercise" in cell.tags:
            result += _exercise(cell, hints, FOLDED[language], solutions)
            del left[: len(hints)]
        else:
            result.append(cell)
    return result


def _exercise(
    cell: Cell, hints: list[Cell], titles: tuple[str, str], solutions: str
) -> Iterator[Cell]:
    """The exercise, and one cell behind it with whatever is folded."""
    stub, solved = stub_and_solution(cell)
    yield replace(cell, text=solved if solutions == "kept" else stub)
    folded = [(titles[0].format(n), hint.text) for n, hint in enumerate(hints, 1)]
    if solutions == "folded":
        folded.append((titles[1], f"```python\n{solved}\n```"))
    if folded:
        # The blank lines make Markdown look inside.
        text = "\n\n".join(
            f"<details><summary>{title}</summary>\n\n{text}\n\n</details>" for title, text in folded
        )
        yield Cell(cell.number, cell.line, "markdown", text)


def stub_and_solution(cell: Cell) -> tuple[str, str]:
    """An exercise's code without its solution, and the code with it.

    Raises:
        ValueError: no solution block, one that is not closed, or one outside a function.
    """
    text = cell.text + "\n"
    blocks = [match[2] for match in BLOCK.finditer(text)]
    stub = BLOCK.sub(r"\1raise NotImplementedError\n", text)
    if not blocks or "# SOLUTION" in "".join(blocks) or re.search("# (END )?SOLUTION", stub):
        raise ValueError(
            f"{cell.place}: an exercise holds '# SOLUTION' ... '# END SOLUTION', each on a line of "
            "its own inside a function; one of them is missing, nested or not indented"
        )
    return stub.rstrip("\n"), re.sub(r"^[ \t]+# (END )?SOLUTION\n", "", text, flags=re.M).rstrip()


def fill(cells: Iterable[Cell], table: Callable[[str], dict | None]) -> Iterator[Cell]:
    """Replace the `{{...}}` of markdown; `table(name)` gives JSON data, or None to leave it.

    Raises:
        ValueError: a placeholder that is malformed, or a key that the table does not have.
    """
    for cell in cells:
        try:
            yield cell if cell.kind == "code" else replace(cell, text=filled(cell.text, table))
        except ValueError as error:
            raise ValueError(f"{cell.place}: {error}") from None


def filled(text: str, table: Callable[[str], dict | None]) -> str:
    """`fill` for the text of one cell."""
    return PLACEHOLDER.sub(lambda match: _number(match, table), text)


def result_table(name: str) -> dict | None:
    """`data/results/<name>.json`; None for "build", which is known after the cells have run.

    Raises:
        ValueError: there is no such file, or it holds no JSON object.
    """
    if name == "build":
        return None
    path = paths.RESULTS / f"{name}.json"
    if not path.is_file():
        permitted = ", ".join(sorted(file.stem for file in paths.RESULTS.glob("*.json")))
        raise ValueError(f"there is no data/results/{name}.json; permitted: {permitted or 'none'}")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"data/results/{name}.json is no JSON object: {error}") from None


def _number(match: re.Match[str], table: Callable[[str], dict | None]) -> str:
    parts = KEYS.fullmatch(match[1])
    if parts is None:
        raise ValueError(
            f"{match[0]} is no number; write {{{{table.key:.1f}}}}, and '{{ {{' in a formula"
        )
    name, *keys = parts[1].split(".")
    value = table(name)
    if value is None:
        return match[0]
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            has = ", ".join(map(str, value)) if isinstance(value, dict) else repr(value)
            raise ValueError(
                f"{match[0]}: no key {key!r} in data/results/{name}.json; it has {has}"
            )
        value = value[key]
    if type(value) not in (int, float, str) or str(value) in ("nan", "inf", "-inf"):
        raise ValueError(f"{match[0]} is {value!r}; name a number or a text in it")
    try:
        return format(value, parts[2] or "")
    except ValueError as error:
        raise ValueError(f"{match[0]}: {value!r} cannot be written so: {error}") from None


def as_notebook(cells: Iterable[Cell]) -> NotebookNode:
    """An unexecuted notebook with sequential cell ids and generic metadata."""
    nodes = []
    for index, cell in enumerate(cells):
        new = nbformat.v4.new_code_cell if cell.kind == "code" else nbformat.v4.new_markdown_cell
        nodes.append(new(cell.text, id=f"cell-{index:03}", metadata=deepcopy(cell.metadata)))
    return nbformat.v4.new_notebook(cells=nodes, metadata=deepcopy(METADATA))


def fingerprint(notebook: NotebookNode) -> str:
    """sha256 of what the source decides: ids, types, text and metadata of the cells."""
    cells = [[cell.id, cell.cell_type, cell.source, cell.metadata] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()
