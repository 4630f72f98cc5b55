"""Say what works on this machine, one line each. The standard library alone; installs nothing."""

import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from course_lib.cli import environment, machine
from course_lib.paths import DATA, ROOT

Finding = tuple[bool, str, str]  # is it well; what; the figure, or what is wrong and what to do

# Run by the environment's Python: a torch that crashes must not take doctor with it.
TORCH_PROBE = """
import json, torch
cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
device = "cuda" if cuda else "mps" if mps else "cpu"
name = f"cuda ({torch.cuda.get_device_name()})" if cuda else device
torch.ones(2, device=device).sum().item()
print(json.dumps({"version": torch.__version__, "device": name}))
"""
WIDGETS_PROBE = """
import json, os, anywidget, ipywidgets, jupyterlab
from importlib.metadata import requires, version
from jupyter_core.paths import jupyter_path
from packaging.requirements import Requirement
wanted = [Requirement(r) for r in requires("ipywidgets") if r.startswith("jupyterlab")][0]
there = version(wanted.name)
def has(name):
    return any(os.path.exists(f"{p}/{name}/package.json") for p in jupyter_path("labextensions"))
print(json.dumps({
    "jupyterlab": jupyterlab.__version__, "ipywidgets": ipywidgets.__version__,
    "anywidget": anywidget.__version__, "jupyterlab_widgets": there,
    "wanted": str(wanted.specifier), "fits": wanted.specifier.contains(there, prereleases=True),
    "absent": [n for n in ("@jupyter-widgets/jupyterlab-manager", "anywidget") if not has(n)],
}))
"""


def examine() -> int:
    """Print every finding; the exit code is 0 where all is well, else 1."""
    well = True
    for is_well, what, said in findings():
        well = well and is_well
        print(f"{'ok  ' if is_well else 'FAIL'}  {what:<12} {said}", flush=True)
    return 0 if well else 1


def findings() -> Iterator[Finding]:
    """All findings, in the order in which a reader can mend them."""
    python = environment.find()
    yield True, "python", f"{platform.python_version()}, {sys.executable}"
    yield check_environment(python)
    yield check_disk()
    if python is not None:
        yield check_torch(python)
        yield from check_widgets(python)
    yield from check_data(DATA)


def check_environment(python: Path | None) -> Finding:
    """Which Python holds the course."""
    if python is None:
        lab = "'python3 -m course_lib lab' sets it up"
        return False, "environment", f"{environment.problem()}; {lab}"
    kind = "this Python, as it is" if python == Path(sys.executable) else str(python.parent.parent)
    return True, "environment", f"{kind}: meets the floors of pyproject.toml"


def check_disk() -> Finding:
    """What is left for work; a full disk shows itself as many strange errors."""
    free = shutil.disk_usage(ROOT).free / 1e9
    return free >= 0.5, "disk", f"{free:.1f} GB free" + (", less than 0.5" if free < 0.5 else "")


def probe(python: Path, code: str) -> dict | str:
    """What a piece of code prints as JSON in the environment, or the last line of its error."""
    command = [str(python), "-c", code]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=120
        )
    except subprocess.TimeoutExpired:
        return "no answer within 120 seconds"
    if done.returncode == 0:
        return json.loads(done.stdout)
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"Python ended with exit code {done.returncode}"


def check_torch(python: Path) -> Finding:
    """Whether torch computes, and where."""
    torch = probe(python, TORCH_PROBE)
    if isinstance(torch, str):
        return False, "torch", f"{torch}; {advice(python)}"
    said = f"{torch['version']}, device {torch['device']}"
    if torch["device"] == "cpu" and machine.has_nvidia_gpu():
        said += " (an NVIDIA GPU is here, but this build or its driver does not reach it)"
    return True, "torch", said


def check_widgets(python: Path) -> Iterator[Finding]:
    """Whether JupyterLab will show widgets: both halves of ipywidgets must fit."""
    found = probe(python, WIDGETS_PROBE)
    if isinstance(found, str):
        yield False, "jupyterlab", f"{found}; {advice(python)}"
        return
    yield True, "jupyterlab", found["jupyterlab"]
    pair = f"{found['ipywidgets']} with jupyterlab_widgets {found['jupyterlab_widgets']}"
    wrong = "" if found["fits"] else f": it needs {found['wanted']}; {advice(python)}"
    yield found["fits"], "ipywidgets", pair + wrong
    absent = found["absent"]
    wrong = f"; not found by JupyterLab: {', '.join(absent)}; {advice(python)}" if absent else ""
    yield not absent, "anywidget", found["anywidget"] + wrong


def advice(python: Path) -> str:
    """How to mend packages: .venv is made anew, another environment is its owner's."""
    if python.is_relative_to(environment.ENV):
        return "delete the folder .venv and start again"
    return f"{python} -m pip install --force-reinstall it, or use another environment"


def check_data(folder: Path) -> Iterator[Finding]:
    """Whether each data file is the one that the table in data/README.md names by its sha256."""
    table = folder / "README.md"
    if not table.exists():
        yield False, "data", f"{table} is not there; clone again"
        return
    rows = table.read_text(encoding="utf-8").splitlines()
    listed = [(re.search("`([^`]+)`", row), re.search(r"\b[0-9a-f]{64}\b", row)) for row in rows]
    wrong = []
    for name, digest in listed:
        if name and digest and sha256(folder / name[1]) != digest[0]:
            wrong.append(name[1])
    count = sum(1 for name, digest in listed if name and digest)
    if wrong:
        yield False, "data", f"damaged or absent: {', '.join(wrong)}; 'git checkout data' mends it"
    else:
        yield True, "data", f"{count} files, all as in data/README.md"


def sha256(path: Path) -> str | None:
    """The digest of a file, or None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
