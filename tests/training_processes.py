"""Trainings that are killed, and trainings on two processes; run by test_train_command.py.

A process of its own, because it forks: `python tests/training_processes.py FOLDER` prints JSON.
"""

import json
import os
import signal
import stat
import sys
from dataclasses import replace
from pathlib import Path

import torch
from lightning.fabric import Fabric
from PIL import Image
from tiny_recipe import LINE, SMALL

from course_lib import paths
from course_lib.training import checkpoint
from course_lib.training.run import train

SHORT = replace(LINE, small=replace(SMALL, steps=5, every=2))
QUIET = replace(LINE, small=replace(SMALL, model=replace(SMALL.model, dropout=0.0), batch_size=6))


def use(root: Path) -> None:
    paths.ROOT = root
    paths.CHECKPOINTS, paths.RESULTS, paths.SHEETS = root / "c", root / "r", root / "s"


def forked(action) -> int:
    """Run `action` in a child; how it ended, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Killer:
    """Counts what a training does to the disk and its draws; dies at the event number `fatal`."""

    def __init__(self, fatal: int | None) -> None:
        self.fatal, self.events = fatal, []
        for name in ("fsync", "replace", "unlink"):
            setattr(os, name, self.wrapped(name, getattr(os, name)))

    def wrapped(self, name, function):
        def call(*args, **options):
            self.event(name, *args)
            return function(*args, **options)

        return call

    def draw(self, config, generator):
        self.event("step")
        return LINE.draw(config, generator)

    def event(self, name, *args) -> None:
        if name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode):
            return
        self.events.append(name)
        if len(self.events) != self.fatal:
            return
        if name == "fsync":
            os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)  # the middle of a write
        os.kill(os.getpid(), signal.SIGKILL)


def run_until(root: Path, fatal: int | None) -> None:
    use(root)
    killer = Killer(fatal)
    for _ in train(replace(SHORT, draw=killer.draw)):
        pass
    (root / "events.json").write_text(json.dumps(killer.events))


def outcome(root: Path) -> list[str]:
    """The hashes of all that a finished training leaves; files that disagree show."""
    use(root)
    state, _ = checkpoint.read(root / "runs/line/small/state-00000005.safetensors")
    _, shipped = checkpoint.read(SHORT.path)
    results = json.loads((root / "r/line.json").read_text())
    sheet = (root / "s/line.webp").read_bytes()
    return [
        checkpoint.tensors_sha256(state),
        shipped["sha256"],
        results["sha256"],
        str(shipped["sha256"].encode() in sheet),
        json.dumps(shipped["metrics"]),
    ]


def warm_up() -> None:
    """What is imported at first use is imported once here instead of in every child."""
    Image.init()
    weight = torch.ones(1, requires_grad=True)
    weight.grad = torch.ones(1)
    torch.optim.AdamW([weight]).step()


def kills(root: Path) -> dict:
    warm_up()
    forked(lambda: run_until(root / "whole", None))
    events = json.loads((root / "whole/events.json").read_text())
    whole, wrong = outcome(root / "whole"), {}
    for fatal in range(1, len(events) + 1):
        folder = root / str(fatal)
        ends = [forked(lambda: run_until(folder, fatal)), forked(lambda: run_until(folder, None))]  # noqa: B023
        if ends != [-signal.SIGKILL, 0] or outcome(folder) != whole:
            wrong[f"{fatal} {events[fatal - 1]}"] = ends
    return {"events": events, "wrong": wrong}


def losses(root: Path, fabric: Fabric) -> list[float]:
    torch.set_num_threads(1)
    use(root)
    return [float(step.loss) for step in train(QUIET, fabric=fabric)]


def two_processes(root: Path) -> dict:
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    two = fabric.launch(lambda fabric: losses(root / "two", fabric))
    one = losses(root / "one", Fabric(accelerator="cpu", devices=1))
    weights = []
    for name in ("one", "two"):
        tensors, _ = checkpoint.read(root / name / "c/line.safetensors")
        weights.append([tensors[key].tolist() for key in sorted(tensors)])
    return {"losses": [one, two], "weights": weights}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    report = {"kills": kills(folder / "kills"), "processes": two_processes(folder / "processes")}
    print("REPORT " + json.dumps(report))
