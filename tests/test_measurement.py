"""What is measured on shipped networks: resumed part by part, published as a whole."""

import json
from dataclasses import replace

import pytest
import test_train_command as commands
import torch
from lightning.fabric import Fabric
from PIL import Image
from tiny_recipe import LINE

from course_lib import paths
from course_lib.training.checkpoint import CheckpointError
from course_lib.training.measurement import Measurement, measure
from course_lib.training.recipe import Metric
from course_lib.training.run import train

home, run = commands.home, commands.run


@pytest.fixture
def line(home):
    """The trained line."""
    for _ in train(LINE, fabric=Fabric(accelerator="cpu", devices=1)):
        pass
    return LINE


def counted(line, calls, *, config=None, broken=None):
    """A measurement that notes its parts as they are made."""

    def part(name):
        def make():
            if name == broken:
                raise KeyboardInterrupt
            calls.append(name)
            assert not torch.is_grad_enabled()
            return {f"weight_{name}": Metric(*[float(len(calls))] * 3)}

        return make

    def draw():
        calls.append("picture")
        return Image.new("L", (4, 4), 200)

    return Measurement(
        name="weighed",
        sentence="What a line weighs",
        networks=(line,),
        config=config or {"number": 3},
        parts={"first": part("first"), "second": part("second")},
        sheets={"picture": draw},
        exact_sheets=True,
    )


def test_all_parts_ship_together_and_name_the_network(line):
    measurement = counted(line, calls := [])
    assert list(measure(measurement)) == ["first", "second", "picture"] == calls
    results = json.loads(measurement.results.read_text(encoding="utf-8"))
    assert results["metrics"]["weight_second"] == {"value": 2.0, "low": 2.0, "high": 2.0}
    sha256 = json.loads(line.results.read_text(encoding="utf-8"))["sha256"]
    assert results["networks"] == {"line": sha256}
    assert results["config"] == {"number": 3}
    with Image.open(paths.SHEETS / "weighed_picture.webp") as sheet:
        assert json.loads(sheet.getexif()[0x010E]) == {"checkpoint_sha256": {"line": sha256}}
        assert sheet.convert("L").getpixel((0, 0)) == 200


def test_a_stopped_measurement_goes_on_where_it_was(line):
    with pytest.raises(KeyboardInterrupt):
        list(measure(counted(line, calls := [], broken="second")))
    measurement = counted(line, calls)
    assert not measurement.results.exists()
    list(measure(measurement))
    assert calls == ["first", "second", "picture"]


def test_other_numbers_or_another_network_begin_anew(line):
    list(measure(counted(line, calls := [])))
    list(measure(counted(line, calls, config={"number": 4})))
    assert calls == ["first", "second", "picture"] * 2
    list(measure(counted(line, calls, config={"number": 4}), fresh=True))
    assert calls == ["first", "second", "picture"] * 3


def test_a_network_that_is_not_there_is_named(home):
    with pytest.raises(CheckpointError, match="make it with 'python -m course_lib train line'"):
        list(measure(counted(LINE, [])))


def test_a_part_that_asks_other_networks_does_not_wait_for_those_that_are_not_there(line):
    missing = replace(LINE, name="missing")
    measurement = replace(
        counted(line, calls := []),
        networks=(line, missing),
        asks={"first": (line,), "picture": (line,)},
    )
    with pytest.raises(CheckpointError, match="train missing'"):
        list(measure(measurement))
    assert calls == ["first"]
    assert not measurement.results.exists()
    complete = replace(measurement, networks=(line,), notes={"read": "this"})
    list(measure(complete))
    assert calls == ["first", "second", "picture"]
    results = json.loads(complete.results.read_text(encoding="utf-8"))
    assert set(results["networks"]) == {"line"}
    assert results["notes"] == {"read": "this"}


def test_what_is_noted_for_readers_makes_no_part_anew(line):
    list(measure(counted(line, calls := [])))
    list(measure(replace(counted(line, calls), notes={"read": "this"})))
    assert calls == ["first", "second", "picture"]


def test_the_command_lists_measures_and_refuses_a_size(line, run):
    measurement = counted(line, calls := [])
    assert "What a line weighs (not made yet)" in run("--list", recipe=measurement)[1]
    code, _, error = run("weighed", "--full", recipe=measurement)
    assert code == 2
    assert "weighed trains nothing; permitted: without --full" in error
    assert run("weighed", recipe=measurement)[0] == 0
    assert calls == ["first", "second", "picture"]
    assert "What a line weighs (shipped)" in run("--list", recipe=measurement)[1]
