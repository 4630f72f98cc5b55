"""Run the environment's pip: progress while it works, advice when it fails."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from course_lib.cli.environment import ENV, PYTHON, CommandError

COMMAND = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input"]
NO_CONNECTION = (
    "NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError"
    "|Max retries exceeded|Network is unreachable|Connection (reset|refused|broken)"
)
UNITS = {"bytes": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}


def pip_environment() -> dict[str, str]:
    """The machine's own settings of pip stay, all but one."""
    # A machine-wide 'user = true' makes pip refuse inside an environment.
    return {**os.environ, "PIP_USER": "0", "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}


def install(*arguments: str, on_line: Callable[[str], None] | None = None) -> None:
    """Run `pip install`; its output goes to `on_line`, else to the terminal with pip's own bar.

    Raises:
        CommandError: pip failed; the likely cause, or pip's last lines.
    """
    command = [*COMMAND, "install", *arguments]
    out, err = (subprocess.PIPE, subprocess.STDOUT) if on_line else (None, subprocess.PIPE)
    said = []
    with subprocess.Popen(
        command, stdout=out, stderr=err, env=pip_environment(), encoding="utf-8", errors="replace"
    ) as process:
        try:
            for line in process.stdout or process.stderr or ():
                said.append(line.rstrip())
                if on_line:
                    on_line(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise CommandError(advice(said))


def offers_torch(version: str, source: list[str]) -> bool:
    """Whether pip finds this version of torch in its own sources, or in the one given."""
    command = [*COMMAND, "index", "versions", "torch", "--retries", "1", "--timeout", "15", *source]
    found = subprocess.run(
        command, capture_output=True, env=pip_environment(), encoding="utf-8", errors="replace"
    )
    offered = re.findall(r"Available versions: (.*)", found.stdout)
    return version in ", ".join(offered).split(", ")


def advice(said: list[str]) -> str:
    """What to tell the reader when pip has failed."""
    said = [line for line in said if not re.search("Location '.*' is ignored", line)]
    text = "\n".join(said)
    if re.search("No space left on device|Errno 28|not enough space", text, re.IGNORECASE):
        return (
            f"The disk is full. Packages pass through {tempfile.gettempdir()} into {ENV}: free "
            "some space, or let TMPDIR name a larger folder, and type the command again."
        )
    if re.search(NO_CONNECTION, text):
        return (
            "The packages could not be downloaded: no connection to the package index. Connect to "
            "the network (behind a proxy: set HTTPS_PROXY) and type the command again; it goes on "
            "from here, and once it is through the course needs no network."
        )
    last = [line for line in said if line and not line.startswith(("WARNING", "[notice]"))][-6:]
    return "pip could not install the packages. It said:\n" + "\n".join(last)


def clock(seconds: float) -> str:
    """Minutes and seconds, 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    """One line about many packages, from what pip says: how many, megabytes, time."""

    def __init__(self, title: str, total: int):
        self.title, self.total = title, total
        self.done, self.megabytes, self.start = 0, 0.0, time.monotonic()
        self.show("", end="\n" if not sys.stdout.isatty() else "")

    def read(self, line: str) -> None:
        """Count one line of pip's output."""
        line = line.strip()
        if line.startswith("Ignoring "):  # a package for another system
            self.total -= 1
        elif line.startswith(("Collecting ", "Requirement already satisfied")):
            self.done += 1
        elif size := re.match(
            r"(?:Downloading|Using cached) \S+\.(?:whl|gz) \(([\d.]+) (\w+)\)", line
        ):
            self.megabytes += float(size[1]) * UNITS.get(size[2], 0)
        if sys.stdout.isatty():
            self.show("unpacking " if line.startswith("Installing collected") else "")

    def finish(self) -> None:
        """Leave the last figures on the screen."""
        self.show("", end="\n")

    def show(self, note: str, end: str = "") -> None:
        """Write the line over itself."""
        figures = f"{self.done} of {self.total}, {self.megabytes:.0f} MB"
        time_taken = clock(time.monotonic() - self.start)
        back = "\r" if sys.stdout.isatty() else ""
        print(f"{back}{self.title}: {figures}, {note}{time_taken}   ", end=end, flush=True)
