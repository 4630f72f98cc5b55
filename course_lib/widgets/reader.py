"""What the widgets for readers share: names in the record, and a view without a kernel."""

import re

from course_lib import progress

KEY = re.compile(r"(\d+)\.([a-z]\w*)")


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


def beside(bundle: tuple[dict, dict] | None, text: str, **others: str) -> tuple[dict, dict] | None:
    """A widget's view with what is seen where no widget can live: `text`, and html or png."""
    if bundle is None:
        return None
    kinds = {"html": "text/html", "png": "image/png"}
    data = bundle[0] | {"text/plain": text} | {kinds[kind]: body for kind, body in others.items()}
    metadata = bundle[1] | ({"image/png": {"alt": text}} if "png" in others else {})
    return data, metadata
