"""Members of a sweep: they ship no weights, but what their trainings stored can still be asked.

The states lie in `runs/`, on the machine that trained them. The sha256 in a member's results says
which of them is the network that the results are about.
"""

import json
from dataclasses import dataclass

from torch import nn

from course_lib.training import checkpoint
from course_lib.training.checkpoint import CheckpointError
from course_lib.training.measurement import Measurement
from course_lib.training.recipe import Recipe
from course_lib.training.run import run_folder


def results_of(recipe: Recipe | Measurement) -> dict:
    """What a training or a measurement published.

    Raises:
        CheckpointError: It has not been made yet.
    """
    if not recipe.results.exists():
        raise CheckpointError(
            f"{recipe.results} is missing; make it with 'python -m course_lib train {recipe.name}'"
        )
    return json.loads(recipe.results.read_text(encoding="utf-8"))


def load_member(recipe: Recipe) -> nn.Module:
    """The network that the member's results were measured on, in eval mode on the CPU.

    Raises:
        CheckpointError: The states of that training are not on this machine.
    """
    results = results_of(recipe)
    folder = run_folder(recipe, full=results["scale"] == "full")
    for path in sorted(folder.glob("state-*.safetensors"), reverse=True):
        tensors, manifest = checkpoint.read(path)
        averaged = checkpoint.half(
            {name[4:]: value for name, value in tensors.items() if name.startswith("ema.")}
        )
        if checkpoint.tensors_sha256(averaged) == results["sha256"]:
            model = recipe.start(recipe.config(full=results["scale"] == "full")).model
            recipe.check_manifest(manifest, path, model)
            checkpoint.load_weights(model, averaged, path)
            return model.eval()
    raise CheckpointError(
        f"{folder} has no state of the network in {recipe.results.name}; make it with "
        f"'python -m course_lib train {recipe.name} --fresh'"
    )


@dataclass(frozen=True)
class MemberMeasurement(Measurement):
    """A measurement that asks members of a sweep, which are known by their results."""

    def described(self, part: str | None = None) -> dict:
        """What decides whether a finished part still counts, as JSON gives it back."""
        asked = self.networks if part is None else self.asks.get(part, self.networks)
        made_with = {recipe.name: results_of(recipe)["sha256"] for recipe in asked}
        return json.loads(json.dumps({"networks": made_with, "config": dict(self.config)}))
