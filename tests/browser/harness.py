"""JupyterLab in headless Chromium: the server a reader has, and notebooks opened in it."""

import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from playwright.sync_api import APIResponse, BrowserContext, Locator, Page, sync_playwright

from course_lib import paths
from course_lib.cli import lab

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ERROR = "application/vnd.jupyter.error"
PATIENCE_MS = 120_000
KERNEL_IS_IDLE = """() => {
    const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
    const kernel = context?.isReady && context.session?.kernel;
    return kernel && kernel.connectionStatus === "connected" && kernel.status === "idle";
}"""


def find_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


COMMAND = """([name, args, patience]) => Promise.race([
    window.jupyterapp.commands.execute(name, args).then(() => null),
    new Promise((_, fail) => setTimeout(() => fail(new Error(name + " does not end")), patience)),
])"""
ASK = """async (expression) => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const request = { code: "", user_expressions: { answer: expression }, store_history: false };
    return (await kernel.requestExecute(request).done).content.user_expressions.answer;
}"""


@dataclass(frozen=True)
class Server:
    """A running JupyterLab: its address, its token and the folder it shows."""

    url: str
    token: str
    root: Path


@contextmanager
def run_lab(folder: Path) -> Iterator[Server]:
    """JupyterLab as `python3 -m course_lib lab` starts it; it writes below `folder` only."""
    root, own, token = folder / "root", folder / "own", secrets.token_urlsafe(16)
    root.mkdir()
    own.mkdir()
    variables = lab.lab_environment(own, token) | {
        "COURSE_HOME": str(folder / "course_home"),
        "PYTHONPATH": str(paths.ROOT),
        "OMP_NUM_THREADS": "1",
    }
    log = folder / "lab.log"
    with log.open("w", encoding="utf-8") as file:
        server = subprocess.Popen(
            [*lab.command(root), "--LabApp.expose_app_in_browser=True"],
            env=variables,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
        )
        try:
            port = lab.wait_until_it_answers(server, own / "runtime", token, log)
            yield Server(f"http://127.0.0.1:{port}", token, root)
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:  # a busy machine; nothing of it is worth waiting for
                server.kill()
                server.wait()


@contextmanager
def run_chromium(profile: Path, executable: str) -> Iterator[BrowserContext]:
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=executable,
            headless=True,
            args=CHROMIUM_ARGUMENTS,
            viewport={"width": 1400, "height": 1000},
        )
        context.set_default_timeout(PATIENCE_MS / 4)
        yield context
        context.close()


def make_notebook(cells: Sequence[str]) -> nbformat.NotebookNode:
    """A notebook of these code cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    return notebook


@dataclass
class OpenNotebook:
    """A notebook on the screen, the errors of its page, and what it asked of other machines."""

    page: Page
    path: Path
    server: Server
    errors: list[str] = field(default_factory=list)
    external: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        local = (self.server.url, self.server.url.replace("http", "ws", 1), "data:", "blob:")
        if not url.startswith(local):
            self.external.append(url)

    def load(self) -> None:
        """Open the page and wait until the kernel is connected and idle."""
        self.page.goto(
            f"{self.server.url}/lab/tree/{self.path.name}?reset&token={self.server.token}"
        )
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        # The sign of idleness in the toolbar shows before there is a kernel, and a command given
        # then opens the dialog "Select Kernel".
        self.page.wait_for_function(KERNEL_IS_IDLE, timeout=PATIENCE_MS)

    def command(self, name: str, **arguments: object) -> None:
        """Run a command of JupyterLab, for example "docmanager:save", and wait until it is done."""
        self.page.evaluate(COMMAND, [name, arguments, PATIENCE_MS])

    def ask(self, expression: str) -> str:
        """The repr of a Python expression in the notebook's kernel."""
        reply = self.page.evaluate(ASK, expression)
        assert reply["status"] == "ok", reply
        return reply["data"]["text/plain"]

    def run_all(self) -> None:
        """Run all cells; a cell that raises fails the test."""
        self.command("notebook:run-all-cells")
        self.wait_until_idle()
        raised = self.page.locator(f"[data-mime-type='{ERROR}']").all_inner_texts()
        assert raised == []

    def save(self) -> nbformat.NotebookNode:
        """Save as a reader does, and return what stands in the file."""
        self.command("docmanager:save")
        return nbformat.read(self.path, as_version=4)

    def restart_kernel(self) -> None:
        """A fresh kernel behind the same page, without the question JupyterLab would ask."""
        session = self._session()
        self._api("post", f"kernels/{session['kernel']['id']}/restart")
        self.wait_until_idle()

    def close(self) -> None:
        """Close the page and end its kernel."""
        self._api("delete", f"sessions/{self._session()['id']}")
        self.page.close()

    def _session(self) -> dict:
        sessions = self._api("get", "sessions").json()
        return next(session for session in sessions if session["path"] == self.path.name)

    def _api(self, verb: str, path: str) -> APIResponse:
        headers = {"Authorization": f"token {self.server.token}"}
        return getattr(self.page.request, verb)(f"{self.server.url}/api/{path}", headers=headers)


def open_notebook(
    chromium: BrowserContext, lab: Server, notebook: nbformat.NotebookNode, name: str
) -> OpenNotebook:
    """Write a notebook into the server's folder, open it, and wait for its kernel."""
    number = len(list(lab.root.glob("*.ipynb")))
    path = lab.root / f"{number}_{name}.ipynb"
    nbformat.write(notebook, path)
    opened = OpenNotebook(chromium.new_page(), path, lab)
    opened.load()
    return opened


def which_change(view: Locator, slider: str, key: str = "ArrowRight") -> list[bool]:
    """For each picture of a player, whether a key on one of its sliders changes it."""
    canvases = view.locator("canvas").all()
    before = [canvas.screenshot() for canvas in canvases]
    view.get_by_role("slider", name=slider, exact=True).focus()
    view.page.keyboard.press(key)
    view.page.wait_for_timeout(300)
    return [now.screenshot() != old for now, old in zip(canvases, before, strict=True)]


def player(opened: OpenNotebook, title: str) -> Locator:
    """The first player of that title, in view and drawn."""
    view = opened.page.locator(".mf-player", has_text=title).first
    view.scroll_into_view_if_needed()
    view.locator("canvas").first.wait_for()
    return view
