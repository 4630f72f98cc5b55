"""What the widgets for readers share: names in the record, and a view without a kernel."""

import base64
import html
import re
from pathlib import Path

from course_lib import progress
from course_lib.plots import COLORS
from course_lib.widgets.contact_sheet import screen_width

HERE = Path(__file__).parent
KEY = re.compile(r"(\d+)\.([a-z]\w*)")


def script(*names: str) -> str:
    """The browser's half of a widget: what all of them share, then its own files."""
    return "\n".join((HERE / file).read_text(encoding="utf-8") for file in ("reader.js", *names))


def split_key(key: str) -> dict:
    """The chapter's number and the name in a key such as "0.turn", as fields of an event.

    Raises:
        ValueError: the key is of another form.
    """
    match = KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"key is {key!r}; the chapter's number, a dot and a name: '0.turn'")
    return {"chapter": int(match[1]), "id": match[2]}


def events_of(kind: str, place: dict) -> list[dict]:
    """The events of one kind at one place of the course, oldest first."""
    return [event for event in progress.events(kind) if place.items() <= event.items()]


def keep(kind: str, **fields: object) -> str:
    """Put an event into the record; what to tell the reader where that fails, else nothing."""
    try:
        progress.record(kind, **fields)
    except OSError as error:  # a full disk must not keep the reader from going on
        return f"It could not be stored: {error}."
    return ""


def percent(share: float | int) -> str:
    """A share in 0..1 as the reader sees it."""
    return f"{100 * share:.0f} %"


def bar_row(name: str, share: float | int | None = None, mark: str = "") -> str:
    """A row of an HTML table: a name, a bar where there is a share, and a mark behind it."""
    left = 'style="text-align:left"'
    cells = [html.escape(name)]
    if share is not None:
        bar = f"height:12px;width:{160 * share:.0f}px;background:{COLORS['blue']}"
        cells.append(f'<span style="display:inline-block;{bar}"></span> {percent(share)}')
    cells.append(f"<b>{html.escape(mark)}</b>")
    return f"<tr>{''.join(f'<td {left}>{cell}</td>' for cell in cells)}</tr>"


def beside(
    bundle: tuple[dict, dict] | None,
    text: str,
    *,
    html: str | None = None,
    png: bytes | None = None,
) -> tuple[dict, dict] | None:
    """A widget's view with what is seen where no widget can live: `text`, and HTML or a sheet."""
    if bundle is None:
        return None
    data, metadata = bundle[0] | {"text/plain": text}, bundle[1]
    if html is not None:
        data |= {"text/html": html}
    if png is not None:
        data |= {"image/png": base64.b64encode(png).decode("ascii")}
        metadata = metadata | {"image/png": {"alt": text, "width": screen_width(png)}}
    return data, metadata
