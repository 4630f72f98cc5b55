"""One JupyterLab and one Chromium for all browser tests."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import BrowserContext

from browser import harness
from browser.harness import OpenNotebook, Server


@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    executable = harness.find_chromium()
    if executable is None:
        missing = "Chromium is not on the PATH (Debian: apt install chromium)"
        if os.environ.get("COURSE_REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    with harness.run_chromium(tmp_path_factory.mktemp("profile"), executable) as context:
        yield context


@pytest.fixture(scope="package")
def lab(chromium: BrowserContext, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with harness.run_lab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="module")
def open_notebook(chromium: BrowserContext, lab: Server) -> Iterator[Callable[..., OpenNotebook]]:
    """Open a notebook, given as a file or as a list of code cells, and run all its cells.

    The pages of a module stay open until its end.
    """
    with ExitStack() as stack:

        def _open(
            source: Path | Sequence[str], name: str = "", *, run: bool = True
        ) -> OpenNotebook:
            if isinstance(source, Path):
                notebook = nbformat.read(source, as_version=4)
            else:
                notebook = harness.make_notebook(source)
            opened = harness.open_notebook(chromium, lab, notebook, name or "notebook")
            stack.callback(opened.close)
            if run:
                opened.run_all()
            return opened

        yield _open
