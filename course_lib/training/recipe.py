"""A recipe: what is trained, on what, and what it must reach. `course_lib/recipes` holds them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from PIL.Image import Image
from torch import Tensor, nn

from course_lib import paths
from course_lib.training import checkpoint
from course_lib.training.checkpoint import CheckpointError
from course_lib.training.loop import (
    Batch,
    Objective,
    Schedule,
    State,
    Step,
    constant,
    train_steps,
)

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass(frozen=True)
class Metric:
    """A measured value and its 95 % interval."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"value is {self.value}; permitted: between low {self.low} and high {self.high}"
            )

    @classmethod
    def of_share(cls, count: int, total: int) -> Metric:
        """The share `count` of `total` with Wilson's interval, which says something at 0 of n too.

        Raises:
            ValueError: `count` lies outside 0..total, or `total` is 0.
        """
        if not 0 <= count <= total or not total:
            raise ValueError(f"count is {count} of {total}; permitted: 0..total of 1 and more")
        z, share = 1.96, count / total
        middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
        half = z / (1 + z**2 / total) * (share * (1 - share) / total + (z / 2 / total) ** 2) ** 0.5
        return cls(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))

    @classmethod
    def of_mean(cls, values: Tensor) -> Metric:
        """The mean over independent examples (N,), +- 1.96 standard errors."""
        values = values.double()
        mean, half = values.mean().item(), 1.96 * values.std().item() / len(values) ** 0.5
        return cls(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Config:
    """The numbers of one training; a recipe that needs more of them subclasses it."""

    model: Any  # the network's own frozen config
    steps: int  # updates
    batch_size: int  # clips per update, over all processes together
    learning_rate: float
    ema_decay: float = 0.999
    seed: int = 0
    every: int = 500  # updates between two states, sheets and points of the history
    precision: Literal["32-true", "bf16-mixed"] | None = (
        None  # None: "bf16-mixed" on CUDA, "32-true" elsewhere
    )
    channels_last: bool = False  # in memory, which makes two-dimensional convolutions faster
    compile: bool = False  # on CUDA only; a loss with second derivatives cannot be compiled

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; permitted: 1 and more")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; permitted: above 0")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; permitted: 0 <= ema_decay < 1")

    def described(self) -> dict:
        """The config as JSON gives it back, for manifests and comparisons."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Recipe:
    """One training from its data to its metrics; every callable gets the config it runs with."""

    name: str  # of its files: data/checkpoints/<name>.safetensors and so on
    sentence: str  # what it trains, for --list
    data: str  # what it trains on, for the manifest
    small: Config  # two CPU cores, minutes
    full: Config  # one modern GPU, minutes
    build: Callable[[Any], nn.Module]  # from config.model
    objectives: Callable[[Any, Any], Sequence[Objective]]  # of what `build` made
    draw: Callable[[Any, torch.Generator], Batch]  # one batch and its noise
    evaluate: Callable[[Any, Any], Mapping[str, Metric]]  # on held-out data
    sheet: Callable[[Any, Any], Image]  # what the model does, to look at
    criterion: str  # the metric that decides which checkpoint ships
    higher_is_better: bool = False
    ships_weights: bool = True  # False: a member of a sweep, of which results and sheet ship
    exact_sheet: bool = (
        False  # True: its sheet is stored losslessly, for something is measured on it
    )
    schedule: Callable[[Any], Schedule] = lambda _config: constant
    monitor: Callable[[Any, Any], Mapping[str, float]] | None = None  # each point of history

    @property
    def path(self) -> Path:
        """Where the shipped checkpoint lies."""
        return paths.CHECKPOINTS / f"{self.name}.safetensors"

    @property
    def results(self) -> Path:
        """Where its results lie."""
        return paths.RESULTS / f"{self.name}.json"

    def config(self, *, full: bool = False) -> Config:
        """The small config, or the full one."""
        return self.full if full else self.small

    def start(self, config: Config) -> State:
        """The untrained state; its weights depend on the config's model and seed alone."""
        model = self._build(config)
        return State(model, self.objectives(model, config), ema_decay=config.ema_decay)

    def train_steps(
        self, state: State, config: Config, *, fabric: Fabric | None = None
    ) -> Iterator[Step]:
        """Train `state` up to `config.steps` and yield every step; nothing is written."""
        return train_steps(
            state,
            partial(self.draw, config),
            seed=config.seed,
            steps=config.steps,
            schedule=self.schedule(config),
            fabric=fabric,
        )

    def load(self) -> nn.Module:
        """The shipped network, in eval mode on the CPU.

        Raises:
            CheckpointError: There is none, it is damaged, or it belongs to something else.
        """
        if not self.ships_weights:
            raise CheckpointError(f"{self.name} is a member of a sweep and ships no weights")
        if not self.path.exists():
            raise CheckpointError(
                f"{self.path} is missing; make it with 'python -m course_lib train {self.name}'"
            )
        tensors, manifest = checkpoint.read(self.path)
        config = self.config(full=manifest.get("scale") == "full")
        model = self._build(config)
        self.check_manifest(manifest, self.path, model)
        check_equal(manifest["config"]["model"], config.described()["model"], self.path)
        brought = checkpoint.frozen(model)
        if brought and checkpoint.tensors_sha256(brought) != manifest.get("frozen_sha256"):
            raise CheckpointError(
                f"{self.path} was trained around another network than is shipped now; make it "
                f"anew with 'python -m course_lib train {self.name} --fresh'"
            )
        checkpoint.load_weights(model, {**brought, **tensors}, self.path)
        return model.eval()

    def check_manifest(self, manifest: Mapping, source: Path, model: nn.Module) -> None:
        """Refuse a file that another recipe or another network wrote, naming both."""
        for key, permitted in (("recipe", self.name), ("model", type(model).__name__)):
            if manifest.get(key) != permitted:
                raise CheckpointError(
                    f"{source} belongs to {key} {manifest.get(key)!r}; permitted: {permitted!r}"
                )

    def _build(self, config: Config) -> nn.Module:
        # torch's initialisers know only the global generator: it is lent the seed and put back.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(config.seed)
            return self.build(config.model)


def check_equal(stored: Mapping, current: Mapping, source: Path) -> None:
    """Refuse a file whose config is not the recipe's, naming each value that differs."""
    differing = [
        f"{key} is {stored.get(key)!r}, the recipe says {current.get(key)!r}"
        for key in sorted({*stored, *current})
        if stored.get(key) != current.get(key)
    ]
    if differing:
        raise CheckpointError(f"{source} was made with another config: {'; '.join(differing)}")
