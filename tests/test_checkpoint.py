import hashlib
import json
import os
import struct

import pytest
import safetensors.torch
import torch
from torch import nn

from course_lib.training import checkpoint
from course_lib.training.checkpoint import CheckpointError


def some_tensors():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 3, generator=generator)
    return {
        "weight": weight,
        "transposed": weight.T,
        "tied": weight,
        "half": torch.randn(3, generator=generator).to(torch.bfloat16),
        "count": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 2),
    }


def test_what_is_read_is_what_was_written_to_the_bit(tmp_path):
    path = tmp_path / "new" / "a.safetensors"
    tensors = some_tensors()
    sha256 = checkpoint.write(path, tensors, {"recipe": "línea", "step": 3, "lr": 0.1})
    found, manifest = checkpoint.read(path)
    assert manifest == {"recipe": "línea", "step": 3, "lr": 0.1, "sha256": sha256}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_the_hash_is_that_of_names_types_shapes_and_the_files_own_bytes(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, {"b": torch.arange(3), "a": torch.eye(2)}, {})
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header, payload = json.loads(content[8 : 8 + size]), content[8 + size :]
    manifest = json.loads(header["__metadata__"]["manifest"])
    words = hashlib.sha256()
    for name, kind, shape in (("a", "torch.float32", "(2, 2)"), ("b", "torch.int64", "(3,)")):
        begin, end = header[name]["data_offsets"]
        words.update(f"{name} {kind} {shape}\n".encode() + payload[begin:end])
    assert manifest["sha256"] == words.hexdigest()


def test_a_change_of_any_byte_is_recognised_and_the_file_named(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, {"w": torch.arange(4.0), "n": torch.tensor(1)}, {"step": 10})
    content = path.read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"a\.safetensors"):
            checkpoint.read(path)
    path.write_bytes(content)
    assert checkpoint.read(path)[1]["step"] == 10


def test_a_file_cut_short_or_grown_is_recognised(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, {"w": torch.arange(4.0)}, {})
    content = path.read_bytes()
    for wrong in [content[:length] for length in range(len(content))] + [content + b"\0"]:
        path.write_bytes(wrong)
        with pytest.raises(CheckpointError, match="is damaged"):
            checkpoint.read(path)


def test_a_foreign_file_is_refused_with_both_formats(tmp_path):
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"w": torch.ones(2)}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"format 'pt'; permitted: 'many-futures/1'"):
        checkpoint.read(path)
    safetensors.torch.save_file({"w": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="format None"):
        checkpoint.read(path)
    torch.save({"w": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"foreign\.safetensors is damaged"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"weight": torch.ones(1, 2)}, "bias"),
        ({"weight": torch.ones(1, 2), "bias": torch.ones(1), "scale": torch.ones(1)}, "scale"),
        ({"weight": torch.ones(2, 2), "bias": torch.ones(1)}, r"\[2, 2\]"),
    ],
)
def test_weights_that_do_not_fit_exactly_are_refused(tmp_path, wrong, named):
    with pytest.raises(CheckpointError, match=rf"x does not fit Linear(.|\n)*{named}"):
        checkpoint.load_weights(nn.Linear(2, 1), wrong, tmp_path / "x")


@pytest.mark.parametrize(
    "kind",
    [
        lambda groups: torch.optim.AdamW(groups, betas=(0.5, 0.99), weight_decay=0.1),
        lambda groups: torch.optim.Adam(groups, amsgrad=True),
        lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True),
        lambda groups: torch.optim.RMSprop(groups, centered=True),
    ],
)
def test_an_optimiser_goes_on_bit_for_bit_after_a_trip_through_a_file(tmp_path, kind):
    def weights():
        return [torch.tensor([1.0, -2.0], requires_grad=True), torch.ones(3, requires_grad=True)]

    def optimiser(pair):
        return kind([{"params": [pair[0]], "lr": 0.1}, {"params": [pair[1]], "lr": 0.03}])

    def advance(pair, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            (pair[0].square().sum() + (pair[1] ** 3).sum()).backward()
            optimizer.step()

    whole = weights()
    advance(whole, optimiser(whole), 7)

    first = weights()
    optimizer = optimiser(first)
    advance(first, optimizer, 4)
    tensors, values = checkpoint.split_optimizer(optimizer)
    checkpoint.write(tmp_path / "o", tensors, {"values": values})

    second = weights()
    for weight, stored in zip(second, first, strict=True):
        weight.data.copy_(stored.data)
    restored = optimiser(second)
    tensors, manifest = checkpoint.read(tmp_path / "o")
    checkpoint.restore_optimizer(restored, tensors, manifest["values"])
    advance(second, restored, 3)
    for weight, expected in zip(second, whole, strict=True):
        assert torch.equal(weight, expected)


def test_a_file_is_complete_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    path, calls = tmp_path / "a", []
    real_fsync, real_replace = os.fsync, os.replace
    path.write_bytes(b"old")

    def fsync(descriptor):
        calls.append("fsync")
        real_fsync(descriptor)

    def replace(source, target):
        assert path.read_bytes() == b"old"
        assert source.read_bytes() == b"new"
        calls.append("replace")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    checkpoint.write_atomically(path, b"new")
    assert calls == ["fsync", "replace"] + ["fsync"] * (os.name == "posix")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"new"


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, {"w": torch.ones(2)}, {"step": 1})

    def full_disk(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write(path, {"w": torch.zeros(2)}, {"step": 2})
    assert checkpoint.read(path)[1]["step"] == 1


def test_what_comes_frozen_is_told_from_what_learns():
    """A part with a buffer and no learning weight is frozen whole; one that half learns is not."""
    norm = torch.nn.BatchNorm1d(2).requires_grad_(False)
    half_frozen = torch.nn.Linear(2, 2)
    half_frozen.bias.requires_grad_(False)
    model = torch.nn.ModuleDict({"norm": norm, "linear": half_frozen})
    found = checkpoint.frozen(model)
    assert set(found) == {f"norm.{name}" for name in norm.state_dict()}
    assert found["norm.running_mean"].dtype == torch.float16
    assert found["norm.num_batches_tracked"].dtype == torch.int64
    assert checkpoint.frozen(half_frozen) == {}
