"""What JupyterLab does differently in this course; the folder is on JUPYTER_CONFIG_PATH."""

import signal
from typing import Any

from course_lib.cli.copies import clean_for_saving


def clean(model: dict, **_: Any) -> None:
    """Take widget views without a kernel out of a notebook that is being saved."""
    if model["type"] == "notebook" and model["content"] is not None:
        clean_for_saving(model["content"])


# Ctrl-C reaches the whole terminal. Without a terminal of its own Jupyter would leave its kernels
# and files where they are; `lab` ends it in order.
signal.signal(signal.SIGINT, lambda *_: None)

c = get_config()  # type: ignore[name-defined]  # Jupyter defines it
c.FileContentsManager.pre_save_hook = clean
c.LanguageServerManager.autodetect = False  # it would start npm to look for servers
