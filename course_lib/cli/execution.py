"""Running a chapter's notebook as a reader's Run All does, and judging what came out."""

import os
import re
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from course_lib import paths
from course_lib.cli.copies import WIDGET_VIEW, has_picture
from course_lib.cli.source import Cell

CELL_TIMEOUT_S = 600
TCP = "Kernel is running over TCP without encryption"  # of no account on one machine


def execute(notebook: NotebookNode, cells: list[Cell]) -> list[float]:
    """Run the notebook in place, in this interpreter's environment and an empty reader's folder.

    Returns:
        Seconds that each cell took; 0 for markdown.

    Raises:
        ValueError: a cell raised or took too long, or the kernel died.
    """
    started = [0]
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        startup_timeout=120,
        coalesce_streams=True,
        on_cell_start=lambda cell_index, **_: started.append(cell_index),
    )
    # No folder of kernels: a "python3" that the user once installed may be another Python.
    manager = client.create_kernel_manager()
    manager.kernel_spec_manager = KernelSpecManager(kernel_dirs=[])
    with tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True) as home:
        # The kernel's own messages are no output of a cell; they are read when it dies.
        log = Path(home, "kernel.log")
        try:
            with log.open("wb") as stderr:
                client.execute(cwd=home, env=_environment(home), stderr=stderr)
        except CellExecutionError as error:
            fault = f"raises {error.ename}: {error.evalue}"
        except CellTimeoutError:
            fault = f"takes more than {CELL_TIMEOUT_S} s"
        except (DeadKernelError, RuntimeError) as error:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            fault = "\n".join([str(error), *(line for line in lines if TCP not in line)][-20:])
        else:
            return [_seconds(cell) for cell in notebook.cells]
    raise ValueError(f"{cells[started[-1]].place}: {fault}")


def _environment(home: str) -> dict[str, str]:
    return {
        **os.environ,
        "COURSE_HOME": home,
        "IPYTHONDIR": home,
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(paths.ROOT), os.getenv("PYTHONPATH")])),
    }


def _seconds(cell: NotebookNode) -> float:
    times = cell.metadata.get("execution")
    if not times:
        return 0.0
    begin, end = (times[f"iopub.status.{state}"] for state in ("busy", "idle"))
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def output_faults(notebook: NotebookNode, cells: list[Cell]) -> list[str]:
    """Why an executed notebook cannot be given to a reader, one line per fault."""
    return [
        f"{cell.place}: {fault}"
        for node, cell in zip(notebook.cells, cells, strict=True)
        if node.cell_type == "code"
        for fault in _cell_faults(node)
    ]


def _cell_faults(node: NotebookNode) -> list[str]:
    faults = [] if node.execution_count else ["was not executed"]
    for output in node.outputs:
        data = output.get("data", {})
        texts = [text for kind, text in data.items() if not kind.startswith("image/")]
        texts.append(output.get("text", ""))
        if output.output_type == "error":
            faults.append(f"raises {output.ename}: {output.evalue}")
        elif output.get("name") == "stderr":
            faults.append(f"writes to stderr: {output.text.strip()[:300]!r}; mend what warns")
        elif WIDGET_VIEW in data and not has_picture(data):
            faults.append(
                "shows a widget that nobody sees without a kernel; "
                "let its _repr_mimebundle_ hold an image/png or text/html"
            )
        elif path := _machine_path("\n".join(map(str, texts))):
            faults.append(f"shows {path}, a path of this machine; print it relative to the clone")
    return faults


def _machine_path(text: str) -> str | None:
    places = [paths.ROOT, Path.home(), sys.prefix, sys.base_prefix, tempfile.gettempdir()]
    places = [str(place) for place in places if len(Path(place).parts) > 1]
    either = "|".join(map(re.escape, places))
    found = re.search(rf"(?<![\w./])({either})(?![\w.-])", text.replace("\\\\", "\\"))
    return found[0] if found else None
