"""Remake requirements.lock and environment.yml: `python -m course_lib.cli.lock`, where uv is.

One resolution serves Linux, Windows and macOS, Python 3.11 to 3.14. torch and what only its CUDA
build needs are left out of the lock: which torch is right depends on the machine.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from course_lib.cli.environment import LOCK, TORCH
from course_lib.cli.install import CPU_INDEX
from course_lib.paths import ROOT

CONDA = ROOT / "environment.yml"
CHOSEN_PER_MACHINE = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)==")

LOCK_HEAD = """\
# Exact packages with hashes: Linux, Windows, macOS on Apple silicon; Python 3.11 to 3.14.
# Made by 'python -m course_lib.cli.lock'. torch is chosen by course_lib/cli/install.py.
"""
CONDA_HEAD = f"""\
# conda env create -f environment.yml; also for Binder, repo2docker and hubs.
# Made by 'python -m course_lib.cli.lock' from the same resolution as requirements.lock.
# Nobody has tried it with conda yet: conda's channels were out of reach.
# torch is the CPU build on Linux and Windows; for an NVIDIA GPU delete the line with {CPU_INDEX}
name: many-futures
channels:
  - conda-forge
dependencies:
  - python=3.13
  - pip
  - pip:
      - --extra-index-url {CPU_INDEX}
      - torch=={TORCH}
"""


def compile_all() -> str:
    """All packages with hashes, as uv resolves them from the floors of pyproject.toml."""
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text(f"torch=={TORCH}\n", encoding="utf-8")
        command = ["uv", "--no-config", "pip", "compile", "pyproject.toml", "--quiet"]
        command += ["--universal", "--python-version", "3.11", "--all-extras", "--generate-hashes"]
        command += ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header"]
        command += ["--constraint", str(constraints)]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def split(compiled: str) -> list[str]:
    """One entry per package, with its hashes; those that are chosen per machine left out."""
    entries = re.split(r"^(?=\S)", compiled, flags=re.MULTILINE)
    return [e for e in entries if e.strip() and not CHOSEN_PER_MACHINE.match(e)]


def main() -> int:
    """Write both files."""
    entries = split(compile_all())
    pins = [entry.partition("\\")[0].strip() for entry in entries]
    LOCK.write_text(LOCK_HEAD + "".join(entries), encoding="utf-8", newline="\n")
    lines = "".join(f'      - "{pin}"\n' for pin in pins)
    CONDA.write_text(CONDA_HEAD + lines + "      - -e .\n", encoding="utf-8", newline="\n")
    print(f"{len(pins)} packages in {LOCK.name} and {CONDA.name}, torch {TORCH} apart")
    return 0


if __name__ == "__main__":
    sys.exit(main())
