"""The reader's record: one append-only file of events, `progress.jsonl` in the reader's folder."""

import json
from datetime import UTC, datetime

from course_lib.paths import course_home


def record(kind: str, **fields: object) -> None:
    """Append one event, for example `record("opened", chapter="00_one_past_many_futures")`.

    `fields` must be JSON values; the time (UTC, ISO 8601) is added.
    """
    event = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "kind": kind, **fields}
    path = course_home() / "progress.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(event, ensure_ascii=False) + "\n"
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        line = "\n" + line  # a crash has cut the last line short: only that one is lost
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(line)


def events(kind: str) -> list[dict]:
    """All events of one kind, oldest first; a line that a crash has cut short is passed over."""
    path = course_home() / "progress.jsonl"
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(event, dict) and event.get("kind") == kind:
            found.append(event)
    return found
