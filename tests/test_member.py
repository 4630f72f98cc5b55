"""Members of a sweep ship no weights; the network that was measured is found among the states."""

import json
from dataclasses import replace

import pytest
import test_train_command as commands
import torch
from lightning.fabric import Fabric
from tiny_recipe import LINE

from course_lib import paths
from course_lib.training.checkpoint import CheckpointError
from course_lib.training.measurement import measure
from course_lib.training.member import MemberMeasurement, load_member
from course_lib.training.recipe import Metric
from course_lib.training.run import train

home = commands.home
MEMBER = replace(LINE, ships_weights=False)


def trained(**changes):
    member = replace(MEMBER, **changes)
    for _ in train(member, fresh=True, fabric=Fabric(accelerator="cpu", devices=1)):
        pass
    return member


def test_the_loaded_member_is_the_network_that_was_measured(home):
    member = trained()
    model = load_member(member)
    assert not model.training
    published = json.loads(member.results.read_text(encoding="utf-8"))["metrics"]["mse"]["value"]
    with torch.no_grad():
        assert member.evaluate(model, member.small)["mse"].value == published


def test_a_member_without_results_or_without_its_states_is_named(home):
    with pytest.raises(CheckpointError, match="make it with 'python -m course_lib train line'"):
        load_member(MEMBER)
    member = trained()
    for state in (paths.ROOT / "runs" / "line" / "small").glob("state-*12.safetensors"):
        state.unlink()
    with pytest.raises(CheckpointError, match=r"no state of the network in line\.json"):
        load_member(member)


def test_a_measurement_of_a_member_trained_anew_is_made_anew(home):
    calls = []

    def part():
        calls.append("part")
        return {"number": Metric(1.0, 1.0, 1.0)}

    for seed in (0, 0, 1):
        member = trained(small=replace(LINE.small, seed=seed))
        measurement = MemberMeasurement(
            name="asked", sentence="One", networks=(member,), config={}, parts={"part": part}
        )
        list(measure(measurement))
    assert calls == ["part"] * 2
    sha256 = json.loads(member.results.read_text(encoding="utf-8"))["sha256"]
    assert json.loads(measurement.results.read_text(encoding="utf-8"))["networks"] == {
        "line": sha256
    }
