import argparse
import ast
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from PIL import Image
from tiny_recipe import LINE, SMALL, Line, line_loss

from course_lib import paths
from course_lib.cli import train as command
from course_lib.training import checkpoint
from course_lib.training.checkpoint import CheckpointError
from course_lib.training.loop import Objective
from course_lib.training.recipe import Metric, Recipe
from course_lib.training.run import train

STATES = "runs/line/small/state-*.safetensors"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A clone of nothing: every file that a training writes lies in a temporary folder."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    for name in ("CHECKPOINTS", "RESULTS", "SHEETS"):
        monkeypatch.setattr(paths, name, tmp_path / "data" / name.lower())
    monkeypatch.setattr(torch, "set_num_threads", lambda _number: None)
    return tmp_path


@pytest.fixture
def run(home, monkeypatch, capsys):
    """Call the command as the shell does; returns (exit code, stdout, stderr)."""

    def call(*arguments, recipe=LINE):
        monkeypatch.setattr(command, "find_recipes", lambda: {recipe.name: recipe})
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        code = command.run(parser.parse_args(arguments))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def states(home):
    return sorted(home.glob(STATES))


def damage(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 0xFF
    path.write_bytes(content)


def test_a_training_leaves_a_checkpoint_results_and_a_sheet_that_name_each_other(run, home):
    code, _, printed = run("line")
    assert code == 0
    assert "published" in printed
    tensors, manifest = checkpoint.read(LINE.path)
    expected = {
        "recipe": "line",
        "model": "Line",
        "scale": "small",
        "step": 12,
        "seed": 0,
        "data": "standard normal points",
        "device": "cpu",
        "config": SMALL.described(),
    }
    assert expected.items() <= manifest.items()
    assert {"commit", "date", "torch", "metrics"} <= manifest.keys()
    assert manifest["metrics"]["mse"].keys() == {"value", "low", "high"}

    results = json.loads((home / "data/results/line.json").read_text(encoding="utf-8"))
    assert manifest.items() <= results.items()
    assert [row["step"] for row in results["history"]] == [5, 10, 12]
    assert all({"loss", "seconds", "mse"} <= row.keys() for row in results["history"])
    with Image.open(home / "data/sheets/line.webp") as sheet:
        assert json.loads(sheet.getexif()[0x010E]) == {"checkpoint_sha256": manifest["sha256"]}
    names = [path.name for path in sorted((home / "runs/line/small").glob("*.webp"))]
    assert names == ["sheet-00000005.webp", "sheet-00000010.webp", "sheet-00000012.webp"]

    model = LINE.load()
    assert not model.training
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())


def test_the_average_ships_and_the_newest_two_states_stay(run, home):
    run("line")
    assert [path.name[6:14] for path in states(home)] == ["00000010", "00000012"]
    shipped, _ = checkpoint.read(LINE.path)
    state, _ = checkpoint.read(states(home)[-1])
    for name, value in shipped.items():  # in half precision
        assert value.dtype == torch.float16
        assert torch.equal(value, state[f"ema.{name}"].half())
    assert not torch.equal(shipped["layers.0.weight"], state["model.layers.0.weight"])


def test_the_full_size_has_its_own_states_and_loads_by_its_own_config(run, home):
    code, _, _ = run("line", "--full")
    assert code == 0
    assert (home / "runs/line/full/state-00000012.safetensors").exists()
    assert not states(home)
    assert LINE.load().layers[0].in_features == 6


def test_recipes_are_listed_and_an_unknown_one_is_answered_with_the_known(run):
    code, out, _ = run("--list")
    assert code == 0
    assert "A line through noisy points (not made yet)" in out
    assert run("lime")[::2] == (2, "train: recipe is 'lime'; permitted: line\n")
    assert run()[::2] == (2, "train: recipe is None; permitted: line\n")
    assert run("line", "--threads", "0")[::2] == (
        2,
        "train: --threads is 0; permitted: 1 and more\n",
    )


def interrupted_at(step, number=signal.SIGINT):
    """The recipe whose loss receives a signal in the middle of the given step."""

    def loss(model, batch, now):
        if now + 1 == step:
            signal.raise_signal(number)
        return line_loss(model, batch, now)

    def objectives(model, config):
        return [replace(LINE.objectives(model, config)[0], loss=loss)]

    return replace(LINE, objectives=objectives)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stores_the_step_says_how_to_go_on_and_costs_no_bit(run, home, number):
    run("line")
    whole, _ = checkpoint.read(states(home)[-1])
    for path in states(home):
        path.unlink()

    code, _, printed = run("line", recipe=interrupted_at(7, number))
    assert code == 130
    assert "stopped at step 7; to go on: python -m course_lib train line" in printed
    assert [path.name[6:14] for path in states(home)] == ["00000005", "00000007"]
    code, _, printed = run("line")
    assert code == 0
    assert "resumed at step 7" in printed
    resumed, _ = checkpoint.read(states(home)[-1])
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_damaged_newest_state_is_named_and_the_one_before_it_used(run, home):
    run("line")
    before, newest = states(home)
    whole, _ = checkpoint.read(newest)
    damage(newest)
    code, _, printed = run("line")
    assert code == 0
    assert f"{newest} is damaged" in printed
    assert f"resumed at step 10 from {before}" in printed
    again, _ = checkpoint.read(newest)
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_states_that_are_all_damaged_stop_the_command_until_told_to_begin_anew(run, home):
    run("line")
    for path in states(home):
        damage(path)
    code, _, printed = run("line")
    assert code == 1
    assert "no state can be used; --fresh begins anew" in printed
    assert run("line", "--fresh")[0] == 0


def test_a_half_written_file_is_no_state(run, home):
    folder = home / "runs/line/small"
    folder.mkdir(parents=True)
    (folder / "state-00000099.safetensors.partial").write_bytes(b"half")
    code, _, printed = run("line")
    assert code == 0
    assert "resumed" not in printed


def test_the_state_of_another_config_is_refused_naming_both_values(run, home):
    run("line")
    faster = replace(LINE, small=replace(SMALL, learning_rate=0.5))
    code, _, printed = run("line", recipe=faster)
    assert code == 1
    assert "learning_rate is 0.01, the recipe says 0.5" in printed
    assert len(states(home)) == 2
    assert run("line", "--fresh", recipe=faster)[0] == 0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(LINE, name="curve"), "belongs to recipe 'line'; permitted: 'curve'"),
        (
            replace(LINE, build=type("Curve", (Line,), {})),
            "belongs to model 'Line'; permitted: 'Curve'",
        ),
        (
            replace(LINE, small=replace(SMALL, model=replace(SMALL.model, dim=5))),
            "dim is 4, the recipe says 5",
        ),
    ],
)
def test_a_foreign_checkpoint_is_refused_naming_both(run, other, message):
    run("line")
    if other.path != LINE.path:
        os.replace(LINE.path, other.path)
    with pytest.raises(CheckpointError, match=message):
        other.load()


def test_a_missing_or_damaged_checkpoint_is_named(run):
    with pytest.raises(CheckpointError, match=r"missing; make it with .* train line"):
        LINE.load()
    run("line")
    damage(LINE.path)
    with pytest.raises(CheckpointError, match=r"line\.safetensors is damaged: its tensors"):
        LINE.load()


def reaching(value, **changes):
    """The recipe with other weights (by its seed) and a metric that is told."""
    return replace(
        LINE,
        small=replace(SMALL, seed=int(value)),
        evaluate=lambda _model, _config: {"mse": Metric(value, value - 1, value + 1)},
        **changes,
    )


def test_only_a_better_training_replaces_what_ships(run):
    def shipped():
        return checkpoint.read(LINE.path)[1]["seed"]

    run("line", recipe=reaching(5.0))
    code, _, printed = run("line", "--fresh", recipe=reaching(6.0))
    assert code == 0
    assert "kept the shipped checkpoint: its mse is 5, this training reached 6" in printed
    assert shipped() == 5
    run("line", "--fresh", recipe=reaching(4.0))
    assert shipped() == 4
    run("line", "--fresh", recipe=reaching(3.0, higher_is_better=True))
    assert shipped() == 4
    run("line", "--fresh", recipe=reaching(9.0, higher_is_better=True))
    assert shipped() == 9


def test_a_member_of_a_sweep_ships_results_and_sheet_of_its_last_training(run, home):
    for value in (5.0, 6.0):
        code, _, _ = run("line", "--fresh", recipe=reaching(value, ships_weights=False))
        assert code == 0
    member = reaching(6.0, ships_weights=False)
    results = json.loads(member.results.read_text(encoding="utf-8"))
    assert results["metrics"]["mse"]["value"] == 6
    with Image.open(home / "data/sheets/line.webp") as sheet:
        assert json.loads(sheet.getexif()[0x010E]) == {"checkpoint_sha256": results["sha256"]}
    assert not member.path.exists()
    with pytest.raises(CheckpointError, match="line is a member of a sweep and ships no weights"):
        member.load()


def test_what_is_measured_is_the_network_that_ships(run):
    def evaluate(model, _config):
        rounded = all(torch.equal(w, w.half().float()) for w in model.parameters())
        return {"mse": Metric(float(rounded), 0.0, 1.0)}

    run("line", recipe=replace(LINE, evaluate=evaluate))
    assert checkpoint.read(LINE.path)[1]["metrics"]["mse"]["value"] == 1


def test_a_shipped_checkpoint_that_no_longer_loads_is_named_and_replaced(run):
    run("line", recipe=reaching(1.0))
    damage(LINE.path)
    code, _, printed = run("line", "--fresh", recipe=reaching(8.0))
    assert code == 0
    assert "will be replaced" in printed
    assert "is damaged" in printed
    assert checkpoint.read(LINE.path)[1]["seed"] == 8


def test_a_criterion_that_is_not_measured_is_named(run):
    with pytest.raises(ValueError, match=r"of line is 'psnr'; measured were \['mse'\]"):
        run("line", recipe=replace(LINE, criterion="psnr"))


def test_a_loss_that_is_no_number_stops_before_it_is_stored(run, home):
    def loss(model, batch, step):
        return model(batch["x"]).mean() * (math.nan if step == 7 else 1)

    def objectives(model, _config):
        return [Objective(loss, torch.optim.SGD(model.parameters(), lr=0.1))]

    code, _, printed = run("line", recipe=replace(LINE, objectives=objectives))
    assert code == 1
    assert "the loss became nan between step 5 and step 10" in printed
    assert [path.name[6:14] for path in states(home)] == ["00000005"]
    assert not LINE.path.exists()


def test_a_point_of_the_history_is_the_mean_of_all_steps_since_the_last_one(home):
    def loss(model, batch, step):
        value = line_loss(model, batch, step)[0]
        return value, {"square": value * value, **({"rare": value} if step in (1, 3, 7) else {})}

    def objectives(model, _config):
        return [Objective(loss, torch.optim.SGD(model.parameters(), lr=0.1), name="player")]

    recipe = replace(LINE, objectives=objectives)
    losses = [float(step.loss) for step in train(recipe)]
    rows = json.loads((home / "data/results/line.json").read_text(encoding="utf-8"))["history"]
    assert [row["step"] for row in rows] == [5, 10, 12]
    for row, since in zip(rows, (losses[:5], losses[5:10], losses[10:]), strict=True):
        mean = sum(since) / len(since)
        assert row["loss"] == pytest.approx(mean)
        assert row["player_loss"] == pytest.approx(mean)
        assert row["square"] == pytest.approx(sum(value**2 for value in since) / len(since))
        assert row["player_gradient"] > 0
    assert rows[0]["rare"] == pytest.approx((losses[1] + losses[3]) / 2)
    assert rows[1]["rare"] == pytest.approx(losses[7])
    assert "rare" not in rows[2]


def test_no_file_of_a_training_is_pickled(run, monkeypatch):
    def forbidden(*_args, **_options):
        raise AssertionError("pickled")

    monkeypatch.setattr(torch, "save", forbidden)
    monkeypatch.setattr("pickle.dump", forbidden)
    monkeypatch.setattr("pickle.dumps", forbidden)
    assert run("line")[0] == 0


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    if not hasattr(os, "fork"):
        pytest.skip("the trainings that are killed need fork, which this system lacks")
    script = Path(__file__).with_name("training_processes.py")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(script.parent.parent), str(script.parent)]),
    }
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path_factory.mktemp("processes"))],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("REPORT ")]
    return json.loads(line.removeprefix("REPORT "))


def test_a_training_killed_at_any_step_or_in_any_write_resumes_bit_for_bit(report):
    kills = report["kills"]
    assert kills["events"].count("step") == 5
    assert kills["events"].count("fsync") == 9  # three states, three sheets, what is published
    assert kills["events"].count("replace") == 9
    assert "unlink" in kills["events"]
    assert kills["wrong"] == {}


def test_two_processes_train_as_one(report):
    for name in ("losses", "weights"):
        one, two = (
            torch.tensor(list(flat(values)), dtype=torch.float64)
            for values in report["processes"][name]
        )
        assert float((one - two).norm() / one.norm()) < 1e-5, name
    losses = report["processes"]["losses"][0]
    assert len(set(losses)) == len(losses) == 12


def flat(values):
    if not isinstance(values, list):
        yield values
        return
    for value in values:
        yield from flat(value)


ALLOWED = {"torch", "numpy", "einops", "jaxtyping", "safetensors", "lightning", "tqdm"}
ALLOWED |= {"PIL", "matplotlib"}


def imported_modules(path):
    """The full names that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_recipes_and_what_they_import_need_only_what_a_bare_gpu_machine_has():
    library = Path(command.__file__).parent.parent
    waiting = [
        *library.glob("recipes/*.py"),
        *library.glob("training/*.py"),
        library / "cli/train.py",
    ]
    seen, foreign = set(), set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imported_modules(path):
            top, *rest = name.split(".")
            if top == "course_lib":
                module = library.joinpath(*rest)
                waiting += [
                    file
                    for file in (module.with_suffix(".py"), module / "__init__.py")
                    if file.is_file()
                ]
            elif top not in ALLOWED | sys.stdlib_module_names:
                foreign.add(f"{path.relative_to(library)} imports {name}")
    assert len(seen) > 8
    assert foreign == set()


def shipped_small_recipes():
    """The recipes whose shipped checkpoint two cores can make again, the quickest first."""
    found = []
    for recipe in command.find_recipes().values():
        if isinstance(recipe, Recipe) and recipe.path.exists():
            results = json.loads((paths.RESULTS / f"{recipe.name}.json").read_text("utf-8"))
            if results["scale"] == "small":
                found.append((results["history"][-1]["seconds"], recipe, results["metrics"]))
    return sorted(found, key=lambda entry: entry[0])


@pytest.mark.slow
def test_the_smallest_recipe_trains_again_to_its_stored_metrics(request):
    found = shipped_small_recipes()
    if not found:
        pytest.skip("no recipe of the small size has a shipped checkpoint")
    _, recipe, stored = found[0]
    request.getfixturevalue("home")  # from here on, nothing is written beside what ships
    for _ in train(recipe, fabric=Fabric(accelerator="cpu", devices=1)):
        pass
    _, manifest = checkpoint.read(recipe.path)
    for name, metric in stored.items():
        assert metric["low"] <= manifest["metrics"][name]["value"] <= metric["high"], name
