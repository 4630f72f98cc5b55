"""Chapters: `build` makes the notebooks out of their sources, `build --check` compares the two."""

import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_lib import paths
from course_lib.cli import prose
from course_lib.cli.copies import clean_for_saving, named, write
from course_lib.cli.execution import execute, output_faults
from course_lib.cli.source import (
    Cell,
    as_notebook,
    edition,
    fill,
    filled,
    fingerprint,
    read,
    result_table,
)

EDITIONS = paths.ROOT / "editions"
MAX_BYTES = 1_500_000
REBUILD = "run 'python3 -m course_lib build'"


def build(
    names: list[str],
    *,
    check: bool = False,
    solutions: bool = False,
    no_solutions: bool = False,
    language: str = "en",
) -> int:
    """Make chapters fresh and executed, or with `check` compare them with their sources.

    The student notebook goes to `notebooks/`, every other edition to `editions/`.

    Args:
        names: chapters by number or name; all of them where empty.
        check: execute and write nothing.
        solutions: keep the solutions in the code.
        no_solutions: leave them out altogether, for a class.
        language: of the markdown cells.

    Returns:
        The exit code: 0 where every chapter is right, else 1.

    Raises:
        ValueError: no or an unknown chapter, or both treatments of solutions.
    """
    if solutions and no_solutions:
        raise ValueError("--solutions and --no-solutions exclude each other; give one of them")
    treatment = "kept" if solutions else "left out" if no_solutions else "folded"
    make = _check if check else _build
    results = [_made(source, make, treatment, language) for source in _chosen(names)]
    if check and not names:
        results.append(not _orphans())
    return 0 if all(results) else 1


def _made(
    source: Path, make: Callable[[list[Cell], Path], str], solutions: str, language: str
) -> bool:
    """Build or check one chapter and print what came of it."""
    try:
        cells = read(source)
        if faults := prose.faults(cells):
            raise ValueError("\n".join(faults))
        cells = edition(cells, language=language, solutions=solutions)
        said, stream = make(cells, _target(source.stem, solutions, language)), sys.stdout
    except (ValueError, OSError) as error:
        said, stream = str(error), sys.stderr
    for line in said.splitlines():
        print(f"{source.stem}: {line}", file=stream)
    return stream is sys.stdout


def _chosen(names: list[str]) -> list[Path]:
    sources = sorted(paths.SOURCES.glob("*.py"))
    if not sources:
        raise ValueError(f"there is no chapter in {paths.SOURCES}; write NN_name.py there")
    return [named(name, sources) for name in names] if names else sources


def _target(name: str, solutions: str, language: str) -> Path:
    parts = [] if language == "en" else [language]
    parts += {"folded": [], "kept": ["solutions"], "left out": ["class"]}[solutions]
    folder = EDITIONS / "-".join(parts) if parts else paths.NOTEBOOKS
    return folder / f"{name}.ipynb"


def _unexecuted(cells: list[Cell]) -> tuple[NotebookNode, str]:
    """The notebook before it is run, and its sha256; only the time it takes is not filled in."""
    for _ in fill(cells, {"build": {"seconds": 0.0}}.get):
        pass  # names a mistake with its cell before anything runs
    notebook = as_notebook(fill(cells, result_table))
    return notebook, fingerprint(notebook)


def _set_seconds(notebook: NotebookNode, seconds: float) -> None:
    for node in notebook.cells:
        if node.cell_type == "markdown":
            node.source = filled(node.source, {"build": {"seconds": seconds}}.get)


def _build(cells: list[Cell], target: Path) -> str:
    notebook, sha256 = _unexecuted(cells)
    seconds = execute(notebook, cells)
    total = round(sum(seconds), 1)
    _set_seconds(notebook, total)
    notebook.metadata = as_notebook([]).metadata
    notebook.metadata.course = {"source_sha256": sha256, "seconds": total}
    clean_for_saving(notebook)
    late, much_too_late = _over_budget(cells, seconds)
    faults = output_faults(notebook, cells) + much_too_late + _size_faults(notebook)
    if faults:
        raise ValueError("\n".join(faults))
    write(target, nbformat.writes(notebook) + "\n")
    return "\n".join([f"{len(notebook.cells)} cells, {total:.1f} s", *late])


def _over_budget(cells: list[Cell], seconds: list[float]) -> tuple[list[str], list[str]]:
    """What is to be reported, and what is to be refused: three times the budget."""
    late, much_too_late = [], []
    for cell, took in zip(cells, seconds, strict=True):
        if took > cell.budget_s:
            line = f"{cell.place}: took {took:.1f} s, its budget_s is {cell.budget_s:g}"
            if took > 3 * cell.budget_s:
                much_too_late.append(f"{line}; make it faster or a stored sheet")
            else:
                late.append(line)
    return late, much_too_late


def _size_faults(notebook: NotebookNode) -> list[str]:
    size = len(nbformat.writes(notebook).encode())
    if size <= MAX_BYTES:
        return []
    return [f"the notebook has {size / 1e6:.2f} MB of at most {MAX_BYTES / 1e6} MB; store less"]


def _check(cells: list[Cell], target: Path) -> str:
    expected, sha256 = _unexecuted(cells)
    try:
        notebook = nbformat.reads(target.read_text(encoding="utf-8"), as_version=4)
        recorded = notebook.metadata.course
        _set_seconds(expected, recorded.seconds)
    except FileNotFoundError:
        raise ValueError(f"there is no {target}; {REBUILD}") from None
    except (ValueError, AttributeError, KeyError) as error:
        raise ValueError(f"{target} is not a notebook made by build ({error}); {REBUILD}") from None
    faults = _differences(notebook, expected, cells) or output_faults(notebook, cells)
    if recorded.get("source_sha256") != sha256 and not faults:
        faults = [f"the recorded sha256 is not that of the source; {REBUILD}"]
    faults += _size_faults(notebook)
    if faults:
        raise ValueError("\n".join(faults))
    return f"{len(notebook.cells)} cells as in the source"


def _differences(notebook: NotebookNode, expected: NotebookNode, cells: list[Cell]) -> list[str]:
    faults = [
        f"{cell.place}: {key} of {wanted.id} is not the source's; {REBUILD}"
        for found, wanted, cell in zip(notebook.cells, expected.cells, cells, strict=False)
        for key in ("id", "cell_type", "source", "metadata")
        if found.get(key) != wanted[key]
    ]
    if len(notebook.cells) != len(cells):
        found, wanted = len(notebook.cells), len(cells)
        faults.append(f"the notebook has {found} cells, its source gives {wanted}; {REBUILD}")
    return faults


def _orphans() -> bool:
    """Whether a notebook has no source; each is named."""
    known = {path.stem for path in paths.SOURCES.glob("*.py")}
    names = sorted({path.stem for path in paths.NOTEBOOKS.glob("*.ipynb")} - known)
    for name in names:
        print(f"{name}: there is no notebooks/src/{name}.py; delete the notebook", file=sys.stderr)
    return bool(names)
