"""Checkpoints: safetensors with a JSON manifest, written whole or not at all, never pickled.

The manifest names the sha256 of the tensors, and its own sha256 stands beside it, so a damaged file
is recognised whichever of its bytes has changed.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

FORMAT = "many-futures/1"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used here; the message names the file and what is permitted."""


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The hash of names, types, shapes and bytes: equal for equal weights, whatever the file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write, fsync, rename: a crash leaves the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    if os.name == "posix":  # Windows cannot open a folder; there the rename itself is journalled
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write(path: Path, tensors: Mapping[str, Tensor], manifest: Mapping[str, object]) -> str:
    """Store `tensors` under `manifest`, JSON values, and return the tensors' sha256."""
    # Cloned, because safetensors refuses tensors that share memory or are not contiguous.
    stored = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    sha256 = tensors_sha256(stored)
    text = json.dumps({**manifest, "sha256": sha256}, ensure_ascii=False)
    metadata = {
        "format": FORMAT,
        "manifest": text,
        "manifest_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    write_atomically(path, safetensors.torch.save(stored, metadata))
    return sha256


def read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the manifest of a checkpoint, after both hashes have been compared.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, or no checkpoint of this course.
    """
    content = path.read_bytes()
    try:
        tensors = safetensors.torch.load(content)
        header_size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + header_size]).get("__metadata__", {})
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if metadata.get("format") != FORMAT or not {"manifest", "manifest_sha256"} <= metadata.keys():
        raise CheckpointError(
            f"{path} has format {metadata.get('format')!r}; permitted: {FORMAT!r}, "
            f"written by 'python -m course_lib train'"
        )
    text = metadata["manifest"]
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    _compare(path, "manifest", sha256, metadata["manifest_sha256"])
    manifest = json.loads(text)
    _compare(path, "tensors", tensors_sha256(tensors), manifest["sha256"])
    return tensors, manifest


def _compare(path: Path, part: str, found: str, recorded: str) -> None:
    if found != recorded:
        raise CheckpointError(
            f"{path} is damaged: its {part} hash to {found[:12]}, recorded is {recorded[:12]}"
        )


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Fill `module` from `tensors`; names and shapes must agree exactly.

    Raises:
        CheckpointError: A name is missing, unknown, or has another shape.
    """
    try:
        module.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{source} does not fit {type(module).__name__}: {error}") from error


def frozen(module: nn.Module) -> dict[str, Tensor]:
    """The tensors, in half precision, of all parts in which nothing learns: `build` brings them."""
    found = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        weights = [*part.parameters()]
        if prefix and weights and not any(weight.requires_grad for weight in weights):
            found |= {f"{prefix}.{name}": value for name, value in part.state_dict().items()}
    return half(found)


def half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As weights ship."""
    return {
        name: value.half() if value.is_floating_point() else value
        for name, value in tensors.items()
    }


def split_optimizer(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict]:
    """An optimiser's state as (tensors, JSON values): nothing is left for pickle."""
    state = optimizer.state_dict()
    tensors, scalars = {}, {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            target = tensors if isinstance(value, Tensor) else scalars
            target[f"{index}.{name}"] = value
    return tensors, {"scalars": scalars, "param_groups": state["param_groups"]}


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], values: dict) -> None:
    """Undo `split_optimizer` on an optimiser of the same kind over the same parameters.

    Raises:
        ValueError: The parameter groups differ.
    """
    state: dict[int, dict] = {}
    for key, value in {**tensors, **values["scalars"]}.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    # JSON has no tuples; Adam's betas are one.
    groups = [
        {
            key: tuple(v) if isinstance(v, list) and key != "params" else v
            for key, v in group.items()
        }
        for group in values["param_groups"]
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
