"""The house itself: formatting, lint, types and import floors are clean."""

import os
import subprocess
import sys

import pytest

from course_lib.paths import ROOT


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_ruff_finds_nothing():
    run("-m", "ruff", "check", "--no-cache", ".")


def test_everything_is_formatted():
    run("-m", "ruff", "format", "--no-cache", "--check", ".")


def test_imports_go_down_only():
    said = run("-c", "from importlinter.cli import lint_imports_command as lint; lint()")
    assert "1 kept, 0 broken" in said


def test_types_are_right():
    probe = subprocess.run(
        [sys.executable, "-m", "pyright", "--version"], capture_output=True, text=True, check=False
    )
    if probe.returncode != 0 and not os.environ.get("CI"):
        pytest.skip("pyright fetches its program at first use and could not: is there a network?")
    run("-m", "pyright", "--pythonpath", sys.executable)


def test_importing_the_package_takes_under_50_ms():
    times = []
    for _ in range(5):
        code = (
            "import time; start = time.perf_counter(); import course_lib;"
            " print(time.perf_counter() - start)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        times.append(float(done.stdout))
    assert min(times) < 0.05
