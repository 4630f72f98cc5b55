"""The reader's copies of the chapters: made once, never overwritten, fit to open again.

Standard library alone, because Jupyter's save hook and the start of `lab` import it.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from course_lib import paths, progress

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
REBUILD = "'python3 -m course_lib build' makes the chapters' notebooks"


def open_copy(chapter: str | None = None) -> Path:
    """The reader's copy of a chapter, made when there is none yet, and noted as opened.

    A copy whose cells the reader has not touched is replaced when the chapter has changed.

    Args:
        chapter: its number or name; None is the one opened last, at first the first.

    Raises:
        ValueError: there is no such chapter, or the copy is not a readable notebook.
    """
    source = _chosen(chapter)
    copy = paths.course_home() / source.name
    if not copy.exists() or _may_be_replaced(copy, source):
        notebook, sha256 = _read(source, REBUILD)
        notebook["metadata"].setdefault("course", {})["copied"] = sha256
        write(copy, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    progress.record("opened", chapter=source.stem)
    return copy


def _chosen(chapter: str | None) -> Path:
    found = {path.stem: path for path in sorted(paths.NOTEBOOKS.glob("*.ipynb"))}
    if not found:
        raise ValueError(
            f"no chapter in {paths.NOTEBOOKS}; 'python3 -m course_lib build' makes them"
        )
    if chapter is None:
        opened = [event.get("chapter") for event in progress.events("opened")]
        known = [name for name in opened if name in found]
        return found[known[-1]] if known else next(iter(found.values()))
    return named(chapter, found.values())


def named(chapter: str, files: Iterable[Path]) -> Path:
    """The file of a chapter given by number ("0" or "00"), name, or both as in its file's name.

    Raises:
        ValueError: none of the files is this chapter's.
    """
    found = {path.stem: path for path in files}
    for stem, path in found.items():
        number, _, name = stem.partition("_")
        if chapter in (stem, name) or chapter.zfill(len(number)) == number:
            return path
    raise ValueError(
        f"no chapter {chapter!r}; permitted: {', '.join(found) or 'none'}, or their numbers"
    )


def _may_be_replaced(copy: Path, source: Path) -> bool:
    """Whether the chapter has changed and the reader has not; says so where both have."""
    notebook, current = _read(copy, "Move it away and open the chapter again for a fresh copy")
    copied = notebook["metadata"].get("course", {}).get("copied")
    _, new = _read(source, REBUILD)
    if new in (copied, current):
        return False
    if copied == current:
        return True
    print(
        f"{copy.name} has your edits and stays, but the chapter has changed; the new one is "
        f"{source}. To work in it, rename yours and open the chapter again."
    )
    return False


def _read(path: Path, advice: str) -> tuple[dict, str]:
    """A notebook, and the sha256 of what a reader can edit in it.

    Empty cells do not count: Shift+Enter on the last cell adds one.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = [[cell["cell_type"], "".join(cell["source"])] for cell in notebook["cells"]]
        notebook["metadata"].get("course", {}).get("copied")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a readable notebook ({error!r}); it was left as it is. {advice}"
        ) from None
    written = [cell for cell in cells if cell[1].strip()]
    return notebook, hashlib.sha256(json.dumps(written).encode()).hexdigest()


def clean_for_saving(notebook: dict) -> None:
    """Take out, in place, what makes a saved notebook fail to open or change without reason.

    A widget's view without its kernel is shown as an error, so it goes where something to see
    stands beside it; the widget on the screen stays alive. Widget state and execution times go too.
    """
    notebook.get("metadata", {}).pop("widgets", None)
    for cell in notebook.get("cells", []):
        cell.get("metadata", {}).pop("execution", None)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if has_picture(data):
                data.pop(WIDGET_VIEW, None)
                output.get("metadata", {}).pop(WIDGET_VIEW, None)


def has_picture(data: dict) -> bool:
    """Whether an output can be seen without a kernel."""
    return any(kind.startswith("image/") or kind == "text/html" for kind in data)


def write(path: Path, notebook: str) -> None:
    """Write a notebook whole or not at all, with the same line ends on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(notebook, encoding="utf-8", newline="\n")
    os.replace(partial, path)
