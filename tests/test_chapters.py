"""The chapters: right by the rules, equal to their sources, running as a reader runs them."""

import os
import subprocess
import sys

import pytest

from course_lib import paths
from course_lib.cli import prose
from course_lib.cli.notebooks import build
from course_lib.cli.source import read

OFFLINE = paths.ROOT / "tests" / "offline"
SOURCES = sorted(paths.SOURCES.glob("*.py"))


def offline_environment(home):
    """A reader's folder of its own, and Python processes that reach no other machine."""
    return {
        **os.environ,
        "COURSE_HOME": str(home),
        "IPYTHONDIR": str(home),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(OFFLINE), str(paths.ROOT)]),
    }


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_chapter_keeps_the_rules_of_the_house(source):
    assert prose.faults(read(source)) == []


def test_every_notebook_is_what_its_source_and_the_results_say(capsys):
    assert build([], check=True) == 0, capsys.readouterr().err


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_chapter_runs_from_top_to_bottom_without_a_network(source, tmp_path):
    notebook = paths.NOTEBOOKS / f"{source.stem}.ipynb"
    options = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300"]
    options += ["-o", "addopts=", "-o", "filterwarnings=", "-p", "no:cacheprovider", "-q"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(notebook)],
        cwd=paths.ROOT,
        env=offline_environment(tmp_path),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
    )
    assert run.returncode == 0, run.stdout[-5000:]


@pytest.mark.parametrize(
    "address", ["http://example.org", "http://192.0.2.1", "http://127.0.0.1:9"]
)
def test_the_test_without_a_network_would_notice_one(address, tmp_path):
    code = f"import urllib.request; urllib.request.urlopen({address!r}, timeout=5)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=offline_environment(tmp_path),
        capture_output=True,
        text=True,
    )
    local = "127.0.0.1" in address
    assert ("there is no network in this test" in run.stderr) == (not local)
    assert ("Connection refused" in run.stderr) == local
