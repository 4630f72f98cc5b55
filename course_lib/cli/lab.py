"""Open JupyterLab on the reader's copy of a chapter. The standard library alone.

Everything that Jupyter, IPython and matplotlib would write into the user's own folders goes to
`.jupyter` in the reader's folder, and what stands in the user's own configuration is not read: the
course looks the same for everyone.
"""

import getpass
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote

from course_lib.cli import copies, environment
from course_lib.cli.environment import CommandError
from course_lib.paths import ROOT, course_home

SETTINGS = Path(__file__).parent / "jupyter"
FIRST_PORT = 8888
PATIENCE_S = 120.0


def open_lab(chapter: str | None, *, browser: bool) -> int:
    """Start JupyterLab, say where it answers, and stay until it ends.

    Raises:
        CommandError: there is no such chapter, or JupyterLab does not start.
    """
    own = course_home().absolute() / ".jupyter"
    try:
        notebook = copies.open_copy(chapter).absolute()
        own.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    if "JUPYTERHUB_SERVICE_PREFIX" in os.environ:
        print(f"A hub shows one JupyterLab only, the one you came by: open {notebook} there.")
        return 0
    # A read-only clone with COURSE_HOME elsewhere still shows the reader's notebooks.
    root = ROOT if notebook.is_relative_to(ROOT) else own.parent
    token = secrets.token_urlsafe(16)
    log = own / "lab.log"
    with log.open("w", encoding="utf-8") as file:
        server = subprocess.Popen(
            command(root),
            env=lab_environment(own, token),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=root,
        )
    try:
        port = wait_until_it_answers(server, own / "runtime", token, log)
        place = quote(notebook.relative_to(root).as_posix())
        address = f"http://127.0.0.1:{port}/lab/tree/{place}?token={token}"
        announce(address, port, browser=browser)
        while server.poll() is None:
            time.sleep(0.2)  # Windows lets Ctrl-C through here, not while waiting for a process
        return server.returncode
    except KeyboardInterrupt:
        return 0
    finally:
        stop(server)


def stop(server: subprocess.Popen) -> None:
    """End a server and its kernels, if it still runs."""
    server.terminate()
    try:
        server.wait(15)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def command(root: Path) -> list[str]:
    """JupyterLab rooted at a folder; it takes the next free port by itself."""
    options = {
        "ip": "127.0.0.1",
        "port": FIRST_PORT,
        "port_retries": 100,
        "root_dir": root,
        "open_browser": False,
        "allow_root": True,  # in a container the reader is root
        "answer_yes": True,  # Ctrl-C stops it without a question
    }
    given = [f"--ServerApp.{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "jupyterlab", *given]


def lab_environment(own: Path, token: str) -> dict[str, str]:
    """Environment variables that keep Jupyter within the reader's folder `own`."""
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
        "MPLCONFIGDIR": "matplotlib",
    }
    return environment.child_environment(
        COURSE_HOME=str(own.parent),
        JUPYTER_CONFIG_PATH=str(SETTINGS),
        JUPYTER_PREFER_ENV_PATH="1",  # a kernel of the user's that is also named python3 loses
        JUPYTER_TOKEN=token,
        **{variable: str(own / name) for variable, name in folders.items()},
    )


def wait_until_it_answers(
    server: subprocess.Popen, runtime: Path, token: str, log: Path, patience_s: float = PATIENCE_S
) -> int:
    """The port of the server with this token, once it answers.

    Raises:
        CommandError: it ended, or took longer than `patience_s` seconds.
    """
    end = time.monotonic() + patience_s
    while server.poll() is None and time.monotonic() < end:
        port = find_port(runtime, token)
        if port is not None and answers(port):
            return port
        time.sleep(0.05)
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise CommandError(
        "JupyterLab did not start; 'python3 -m course_lib doctor' may say why. "
        f"The end of {log}:\n" + "\n".join(last)
    )


def find_port(runtime: Path, token: str) -> int | None:
    """The port noted by the server with this token; older servers may have left notes too."""
    for note in runtime.glob("jpserver-*.json"):
        try:
            server = json.loads(note.read_text(encoding="utf-8"))
        except (ValueError, OSError):  # being written, or just removed
            continue
        if server.get("token") == token:
            return server["port"]
    return None


def answers(port: int) -> bool:
    """Whether a server speaks HTTP on this port; a proxy has no say in it."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/api", timeout=5):
            return True
    except (URLError, OSError):
        return False


def announce(address: str, port: int, *, browser: bool) -> None:
    """One line with the address, and the browser where there is one."""
    print(f"Many Futures: {address}  (Ctrl-C stops it)", flush=True)
    if browser and can_show_browser(sys.platform, os.environ):
        webbrowser.open(address)
    elif "SSH_CONNECTION" in os.environ:
        host = os.environ["SSH_CONNECTION"].split()[2]
        print(
            f"From your own computer first: ssh -N -L {port}:127.0.0.1:{port} "
            f"{getpass.getuser()}@{host}",
            flush=True,
        )


def can_show_browser(system: str, variables: Mapping[str, str]) -> bool:
    """Whether a browser would come up before the reader's eyes, not in the terminal or far away."""
    if "BROWSER" in variables:  # VS Code sets it on remote machines too
        return True
    if "SSH_CONNECTION" in variables:
        return False
    return system != "linux" or "DISPLAY" in variables or "WAYLAND_DISPLAY" in variables
