"""What ships: the best checkpoint that was made, its results and its sheet.

A finished training replaces the shipped files only where the recipe's criterion improves; results
and sheet name the sha256 of the weights they were made with. Weights ship in half precision, and
what is measured is the network that a reader will load. A member of a sweep ships no weights, and
its last training counts.
"""

import functools
import io
import json
import logging
import math
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
from PIL.Image import Exif, Image

from course_lib import paths
from course_lib.training import checkpoint
from course_lib.training.checkpoint import CheckpointError
from course_lib.training.loop import State
from course_lib.training.recipe import Config, Recipe

log = logging.getLogger(__name__)

IMAGE_DESCRIPTION = 0x010E  # the EXIF tag that holds a sheet's manifest


def publish(
    recipe: Recipe, config: Config, state: State, history: list[dict], *, scale: str
) -> None:
    """Measure the finished network; ship it where it is the best so far."""
    tensors = checkpoint.half(state.ema.model.state_dict())
    checkpoint.load_weights(state.ema.model, tensors, recipe.path)
    brought = checkpoint.frozen(state.model)
    tensors = {name: value for name, value in tensors.items() if name not in brought}
    with torch.no_grad():
        measured = recipe.evaluate(state.ema.model, config)
    if recipe.criterion not in measured:
        raise ValueError(
            f"the criterion of {recipe.name} is {recipe.criterion!r}; measured were {[*measured]}"
        )
    metrics = {name: asdict(metric) for name, metric in measured.items()}
    shipped = _shipped(recipe)
    value = measured[recipe.criterion].value
    if shipped and shipped["sha256"] != checkpoint.tensors_sha256(tensors):
        best = shipped["metrics"].get(recipe.criterion, {}).get("value", math.nan)
        if value <= best if recipe.higher_is_better else value >= best:
            log.info(
                "kept the shipped checkpoint: its %s is %.4g, this training reached %.4g",
                recipe.criterion,
                best,
                value,
            )
            return
    manifest = {**describe(recipe, config, state), "scale": scale, "metrics": metrics}
    sha256 = checkpoint.tensors_sha256(tensors)
    if brought:
        manifest["frozen_sha256"] = checkpoint.tensors_sha256(brought)
    if recipe.ships_weights:
        checkpoint.write(recipe.path, tensors, manifest)
    results = {
        **manifest,
        "sha256": sha256,
        "parameters": sum(weight.numel() for weight in state.ema.model.parameters()),
        "seconds": history[-1]["seconds"],  # of training, by the clock on the wall
        "history": history,
    }
    content = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
    checkpoint.write_atomically(recipe.results, content.encode())
    with torch.no_grad():
        image = recipe.sheet(state.ema.model, config)
    manifest = {"checkpoint_sha256": sha256}
    write_sheet(paths.SHEETS / f"{recipe.name}.webp", image, manifest, exact=recipe.exact_sheet)
    log.info("published %s: %s is %.4g", recipe.name, recipe.criterion, value)


def _shipped(recipe: Recipe) -> dict | None:
    """The manifest of the shipped checkpoint, if there is one that still loads."""
    if not recipe.path.exists():
        return None
    try:
        recipe.load()
    except CheckpointError as error:
        log.warning("the shipped checkpoint will be replaced: %s", error)
        return None
    return checkpoint.read(recipe.path)[1]


def write_sheet(path: Path, image: Image, manifest: dict, *, exact: bool = False) -> None:
    """Store a sheet as WebP with its manifest inside, losslessly if it is to be measured."""
    exif, buffer = Exif(), io.BytesIO()
    exif[IMAGE_DESCRIPTION] = json.dumps(manifest)
    image.save(buffer, "WEBP", quality=90, lossless=exact, exif=exif)
    checkpoint.write_atomically(path, buffer.getvalue())


def describe(recipe: Recipe, config: Config, state: State) -> dict:
    """The manifest of a checkpoint: who made it, from what, where and when."""
    return {
        "recipe": recipe.name,
        "model": type(state.model).__name__,
        "config": config.described(),
        "step": state.step,
        "seed": config.seed,
        "data": recipe.data,
        "commit": commit(),
        "device": _device_name(next(state.model.parameters()).device),
        "torch": torch.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@functools.cache
def commit() -> str:
    """The commit that the code stands on, '-dirty' added where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(
            command, cwd=paths.ROOT, capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return result.stdout.strip()
