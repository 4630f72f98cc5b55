"""A measurement: what shipped networks are asked, part by part, without training any.

Finished parts lie in `runs/<name>/`, so that a measurement that was stopped goes on where it was; a
part made with other networks or other numbers is made again. Results and sheets ship together, when
all parts are there, and name the sha256 of the networks they were made with.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from course_lib import paths
from course_lib.training import checkpoint
from course_lib.training.checkpoint import CheckpointError
from course_lib.training.publish import commit, write_sheet
from course_lib.training.recipe import Metric, Recipe


@dataclass(frozen=True)
class Measurement:
    """Named parts, each some metrics or one sheet; together `data/results/<name>.json`."""

    name: str
    sentence: str  # what it measures, for --list
    networks: tuple[Recipe, ...]  # whose shipped weights it asks
    config: Mapping[str, Any]  # the numbers it was made with, as JSON has them
    parts: Mapping[str, Callable[[], Mapping[str, Metric]]] = field(default_factory=dict)
    sheets: Mapping[str, Callable[[], Image]] = field(default_factory=dict)
    exact_sheets: bool = False  # True: stored losslessly, for something is measured on them
    asks: Mapping[str, tuple[Recipe, ...]] = field(default_factory=dict)  # of parts that ask fewer
    notes: Mapping[str, Any] = field(default_factory=dict)  # for readers; decides nothing

    @property
    def results(self) -> Path:
        """Where its results lie."""
        return paths.RESULTS / f"{self.name}.json"

    def sheet(self, part: str) -> Path:
        """Where one of its sheets lies."""
        return paths.SHEETS / f"{self.name}_{part}.webp"

    def described(self, part: str | None = None) -> dict:
        """What decides whether a finished part still counts, as JSON gives it back.

        None stands for all parts together.
        """
        made_with = {}
        for recipe in self.networks if part is None else self.asks.get(part, self.networks):
            if not recipe.path.exists():
                raise CheckpointError(
                    f"{recipe.path} is missing; make it with 'python -m course_lib train "
                    f"{recipe.name}'"
                )
            made_with[recipe.name] = checkpoint.read(recipe.path)[1]["sha256"]
        return json.loads(json.dumps({"networks": made_with, "config": dict(self.config)}))


def measure(measurement: Measurement, *, fresh: bool = False) -> Iterator[str]:
    """Make what is missing, yielding the name of each part that is there, and publish.

    Raises:
        CheckpointError: A network has not been trained yet, or its checkpoint is damaged.
    """
    folder = paths.ROOT / "runs" / measurement.name
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    for name, make in measurement.parts.items():
        described = measurement.described(name)
        if _stored(folder, name, described) is None:
            start = time.monotonic()
            with torch.no_grad():
                metrics = {key: asdict(metric) for key, metric in make().items()}
            part = {"metrics": metrics, "seconds": round(time.monotonic() - start, 1)}
            _store(folder, name, {**described, **part})
        yield name
    for name, draw in measurement.sheets.items():
        described = measurement.described(name)
        image = folder / f"{name}.webp"
        if _stored(folder, name, described) is None or not image.exists():
            with torch.no_grad():
                drawn = draw()
            manifest = {"checkpoint_sha256": described["networks"]}
            write_sheet(image, drawn, manifest, exact=measurement.exact_sheets)
            _store(folder, name, described)
        yield name
    _publish(measurement, folder)


def _stored(folder: Path, name: str, described: dict) -> dict | None:
    """A finished part, if it was made with the same networks and numbers."""
    file = folder / f"{name}.json"
    if not file.exists():
        return None
    part = json.loads(file.read_text(encoding="utf-8"))
    return part if described.items() <= part.items() else None


def _store(folder: Path, name: str, part: dict) -> None:
    checkpoint.write_atomically(folder / f"{name}.json", json.dumps(part).encode())


def _publish(measurement: Measurement, folder: Path) -> None:
    parts = [_stored(folder, name, measurement.described(name)) or {} for name in measurement.parts]
    notes = {"notes": dict(measurement.notes)} if measurement.notes else {}
    results = {
        "measurement": measurement.name,
        **measurement.described(),
        **notes,
        "commit": commit(),
        "device": "cpu",  # where networks load
        "torch": torch.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(sum(part["seconds"] for part in parts), 1),
        "metrics": {key: metric for part in parts for key, metric in part["metrics"].items()},
    }
    content = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
    for name in measurement.sheets:
        image = (folder / f"{name}.webp").read_bytes()
        checkpoint.write_atomically(measurement.sheet(name), image)
    checkpoint.write_atomically(measurement.results, content.encode())
