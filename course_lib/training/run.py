"""A whole training: resume, train, store every so often, publish what was reached.

Resume states lie in `runs/<recipe>/<scale>/`, the newest two of them, with a sample sheet for each.
"""

import logging
import math
import os
import time
from collections.abc import Generator
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor

from course_lib import paths
from course_lib.training import checkpoint
from course_lib.training.checkpoint import CheckpointError
from course_lib.training.loop import State, Step
from course_lib.training.publish import describe, publish, write_sheet
from course_lib.training.recipe import Config, Recipe, check_equal

log = logging.getLogger(__name__)


def run_folder(recipe: Recipe, *, full: bool = False) -> Path:
    """Where a training keeps its states and sample sheets."""
    return paths.ROOT / "runs" / recipe.name / ("full" if full else "small")


def make_fabric(config: Config) -> Fabric:
    """The best device here in the config's precision, or what `fabric run` or `torchrun` chose."""
    by_fabric = "LT_CLI_USED" in os.environ  # then Fabric reads its command line from LT_*
    accelerator = os.environ.get("LT_ACCELERATOR", "auto") if by_fabric else "auto"
    on_cuda = torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda")
    precision = config.precision or ("bf16-mixed" if on_cuda else "32-true")
    if by_fabric:
        return Fabric(precision=None if "LT_PRECISION" in os.environ else precision)
    fabric = Fabric(
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", 1)),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", 1)),
        precision=precision,
    )
    fabric.launch()
    return fabric


def train(
    recipe: Recipe, *, full: bool = False, fresh: bool = False, fabric: Fabric | None = None
) -> Generator[Step, None, None]:
    """Train `recipe` from its newest state to its end, yielding every step, and publish it.

    Closing the generator between two steps stores the state, so that the next call goes on there.

    Args:
        recipe: What to train.
        full: Use the config for a GPU.
        fresh: Forget the stored states and begin anew.
        fabric: Device, precision and processes; None asks `make_fabric`.

    Raises:
        CheckpointError: The stored states are unusable, or belong to another config.
        FloatingPointError: The loss is no longer finite; the states from before remain.
    """
    config, folder = recipe.config(full=full), run_folder(recipe, full=full)
    fabric = fabric or make_fabric(config)
    leader = fabric.is_global_zero
    state, history = _begin(recipe, config, folder, fabric, fresh=fresh)
    since, made = time.monotonic(), []
    for step in recipe.train_steps(state, config, fabric=fabric):
        made.append(step)
        if step.step % config.every == 0 or step.step == config.steps:
            history.append(_row(made, history, time.monotonic() - since))
            if leader:
                _report(recipe, config, state, history[-1], folder)
                _save(recipe, config, state, history, folder)
            since, made = time.monotonic(), []
        try:
            yield step
        except GeneratorExit:
            if leader and made and math.isfinite(float(step.loss)):
                _save(recipe, config, state, history, folder)
            raise
    if leader:
        publish(recipe, config, state, history, scale=folder.name)
    fabric.barrier()


def _begin(
    recipe: Recipe, config: Config, folder: Path, fabric: Fabric, *, fresh: bool
) -> tuple[State, list[dict]]:
    """The state to go on from, on its device, and the history until then."""
    if fresh and fabric.is_global_zero:
        for file in _states(folder):
            file.unlink()
    fabric.barrier()
    state = recipe.start(config)
    _place(state, config, fabric.device)
    return state, _resume(recipe, config, state, folder)


def _place(state: State, config: Config, device: torch.device) -> None:
    """Move the networks to the device, and give them what makes it fast."""
    state.model.to(device)
    state.ema.model.to(device)
    if config.channels_last:
        for weight in state.model.parameters():
            if weight.dim() == 4:  # the format exists for (B, C, H, W) only
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    if config.compile and device.type == "cuda":
        state.model.compile()


def _states(folder: Path) -> list[Path]:
    """The resume states, newest first; a half-written file has another ending."""
    return sorted(folder.glob("state-*.safetensors"), reverse=True)


def _row(made: list[Step], history: list[dict], seconds: float) -> dict:
    """A point of the history: mean loss and parts since the last one, and all seconds so far."""
    step, loss = made[-1].step, float(torch.stack([each.loss for each in made]).mean())
    if not math.isfinite(loss):
        last = history[-1]["step"] if history else 0
        raise FloatingPointError(
            f"the loss became {loss} between step {last} and step {step}; no state of these "
            f"steps is stored. A lower learning rate or max_grad_norm may help."
        )
    before = history[-1]["seconds"] if history else 0.0
    parts = {
        name: float(torch.stack([e.parts[name] for e in made if name in e.parts]).mean())
        for name in {name: None for each in made for name in each.parts}
    }
    return {"step": step, "loss": loss, "seconds": round(before + seconds, 1), **parts}


def _report(recipe: Recipe, config: Config, state: State, row: dict, folder: Path) -> None:
    """Measure the averaged network and draw its sheet."""
    with torch.no_grad():
        if recipe.monitor is not None:
            measured = recipe.monitor(state.ema.model, config)
            row.update({name: float(value) for name, value in measured.items()})
        image = recipe.sheet(state.ema.model, config)
    write_sheet(folder / f"sheet-{row['step']:08d}.webp", image, {"step": row["step"]})


def _save(recipe: Recipe, config: Config, state: State, history: list[dict], folder: Path) -> None:
    """Write the resume state, then drop all but it and the one before it."""
    tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in state.ema.model.state_dict().items()}
    optimizers = []
    for index, objective in enumerate(state.objectives):
        moments, values = checkpoint.split_optimizer(objective.optimizer)
        tensors |= {f"optimizer{index}.{name}": value for name, value in moments.items()}
        optimizers.append(values)
    manifest = {**describe(recipe, config, state), "history": history, "optimizers": optimizers}
    path = folder / f"state-{state.step:08d}.safetensors"
    checkpoint.write(path, tensors, manifest)
    before = [file for file in _states(folder) if file.name < path.name]
    for file in {*_states(folder)} - {path, *before[:1]}:
        file.unlink()


def _resume(recipe: Recipe, config: Config, state: State, folder: Path) -> list[dict]:
    """Fill `state` from the newest state that is whole; return the history until then."""
    damaged = []
    for path in _states(folder):
        try:
            tensors, manifest = checkpoint.read(path)
        except CheckpointError as error:
            damaged.append(str(error))
            log.warning("%s; trying the state before it", error)
            continue
        recipe.check_manifest(manifest, path, state.model)
        check_equal(manifest["config"], config.described(), path)
        _restore(state, tensors, manifest, path)
        log.info("resumed at step %d from %s", state.step, path)
        return manifest["history"]
    if damaged:
        raise CheckpointError(f"no state can be used; --fresh begins anew. {' '.join(damaged)}")
    return []


def _restore(state: State, tensors: dict[str, Tensor], manifest: dict, path: Path) -> None:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, key = name.split(".", 1)
        parts.setdefault(part, {})[key] = value
    checkpoint.load_weights(state.model, parts.get("model", {}), path)
    checkpoint.load_weights(state.ema.model, parts.get("ema", {}), path)
    for index, (objective, values) in enumerate(
        zip(state.objectives, manifest["optimizers"], strict=True)
    ):
        moments = parts.get(f"optimizer{index}", {})
        checkpoint.restore_optimizer(objective.optimizer, moments, values)
    state.step = manifest["step"]
