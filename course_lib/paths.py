"""Where files live. The package runs from its clone, beside notebooks, data and results."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if not (ROOT / "notebooks").is_dir() or not (ROOT / "data").is_dir():
    raise RuntimeError(
        f"course_lib runs from a clone of the course, beside notebooks/ and data/; "
        f"{ROOT} has neither. Clone the repository and install with 'pip install -e .'."
    )

DATA = ROOT / "data"
CHECKPOINTS = DATA / "checkpoints"
RESULTS = DATA / "results"
SHEETS = DATA / "sheets"
NOTEBOOKS = ROOT / "notebooks"
SOURCES = NOTEBOOKS / "src"


def course_home() -> Path:
    """The reader's own folder: `COURSE_HOME` where it is set, else `my_course/` in the clone."""
    return Path(os.environ.get("COURSE_HOME") or ROOT / "my_course")
