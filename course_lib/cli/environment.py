"""The Python that holds the course: found, or made in .venv. The standard library alone."""

import hashlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

from course_lib.paths import ROOT

TORCH = "2.13.0"
LOCK = ROOT / "requirements.lock"
ENV = ROOT / ".venv"
PYTHON = ENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
# Holds the last finished phase of an installation: "started", "venv", then the fingerprint.
STAMP = ENV / "many_futures.stamp"


class CommandError(Exception):
    """What the reader can mend: the message is printed without a traceback, the exit code is 1."""


def floors(*, tests: bool = False) -> dict[str, str]:
    """The least versions that pyproject.toml asks for, with those of the `test` extra if `tests`.

    Raises:
        ValueError: a requirement is not of the form `name>=version`.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"] * tests
    found = {}
    for requirement in wanted:
        parts = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement)
        if parts is None:
            raise ValueError(
                f"requirement {requirement!r} in pyproject.toml is not 'name>=version'"
            )
        found[parts[1]] = parts[2]
    return found


def installed(name: str, site: Path | None = None) -> str | None:
    """The version of a distribution in the running Python, or in another one's site-packages."""
    where = sys.path if site is None else [str(site)]
    for distribution in metadata.distributions(name=name, path=where):
        if version := distribution.metadata["Version"]:  # None where a removal left scraps
            return version
    return None


def is_at_least(version: str, floor: str) -> bool:
    """Compare release numbers; a local part such as `+cpu` does not count."""
    numbers = [[int(n) for n in re.findall(r"\d+", v.split("+")[0])] for v in (version, floor)]
    return numbers[0] >= numbers[1]


def missing(*, tests: bool = False, site: Path | None = None) -> list[str]:
    """What keeps a Python from satisfying the floors, one phrase for each package."""
    lacks = []
    for name, floor in floors(tests=tests).items():
        version = installed(name, site)
        if version is None:
            lacks.append(f"{name} is not installed")
        elif not is_at_least(version, floor):
            lacks.append(f"{name} is {version}, needs {floor}")
    return lacks


def site_packages() -> Path | None:
    """Where .venv keeps its packages, or None before it exists."""
    pattern = "Lib/site-packages" if os.name == "nt" else "lib/python3.*/site-packages"
    return next(ENV.glob(pattern), None)


def fingerprint() -> str:
    """What a finished .venv was made from; a checkout with CRLF counts as the same lock."""
    lock = LOCK.read_bytes().replace(b"\r\n", b"\n")
    return hashlib.sha256(lock + TORCH.encode()).hexdigest()


def stamp() -> str | None:
    """The last finished phase of the installation of .venv; None where it is not ours."""
    return STAMP.read_text(encoding="utf-8").strip() if STAMP.exists() else None


def is_inside() -> bool:
    """Whether the running Python is that of .venv."""
    return Path(sys.prefix).resolve() == ENV.resolve()


def problem(*, tests: bool = False) -> str | None:
    """Why .venv cannot be used as it is, or None when it can."""
    if not ENV.exists():
        return ".venv does not exist yet"
    if stamp() in ("started", "venv"):
        return ".venv is half-made: its installation was interrupted"
    if not PYTHON.exists() or not has_base_python():
        return ".venv has lost the Python that it was made from"
    if stamp() not in (None, fingerprint()):
        return ".venv was made from another requirements.lock"
    lacks = missing(tests=tests, site=site_packages())
    if len(lacks) > 3:
        lacks[3:] = [f"{len(lacks) - 3} more are missing or too old"]
    return f"in .venv {', '.join(lacks)}" if lacks else None


def has_base_python() -> bool:
    """Whether the Python named in pyvenv.cfg is still there; on Windows .venv's own is a stub."""
    config = ENV / "pyvenv.cfg"
    if not config.exists():
        return False
    home = re.search(r"^home *= *(.+)$", config.read_text(encoding="utf-8"), re.MULTILINE)
    return home is not None and Path(home[1].strip()).exists()


def find(*, tests: bool = False) -> Path | None:
    """The Python to use: the running one if it satisfies the floors, else .venv's, else None."""
    if not (is_inside() and stamp() is not None) and not missing(tests=tests):
        return Path(sys.executable)
    if problem(tests=tests):
        return None
    return Path(sys.executable) if is_inside() else PYTHON


def ensure(*, tests: bool = False) -> Path:
    """The Python to use, after making or mending .venv where that is needed.

    Raises:
        CommandError: the environment cannot be made here.
    """
    python = find(tests=tests)
    if python is None:
        from course_lib.cli import install  # a start that installs nothing does without it

        install.make(tests=tests)
        python = PYTHON
    return python


def child_environment(**changes: str) -> dict[str, str]:
    """The environment variables of a child: it finds course_lib wherever it runs, speaks UTF-8."""
    search = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    utf8 = {"PYTHONPATH": os.pathsep.join(search), "PYTHONIOENCODING": "utf-8"}
    return {**os.environ, **utf8, **changes}


def call(command: list[str], **options: Any) -> int:
    """Run a command to its end and return its exit code.

    os.execv would let go of the console on Windows, so the caller stays and waits.
    """
    return wait(subprocess.Popen(command, **options))


def wait(process: subprocess.Popen) -> int:
    """Wait for a child and return its exit code; Ctrl-C and termination reach it."""
    try:
        while True:
            try:
                code = process.wait()
                return code if code >= 0 else 128 - code
            except KeyboardInterrupt:
                # A terminal has sent its Ctrl-C to the child as well; a bare kill has not.
                if os.name != "nt" and not (sys.stdin and sys.stdin.isatty()):
                    process.send_signal(signal.SIGINT)
    except BaseException:
        process.terminate()
        process.wait()
        raise


def has_module(name: str) -> bool:
    """Whether a module could be imported, without importing it."""
    return importlib.util.find_spec(name) is not None
