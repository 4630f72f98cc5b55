"""The training loop: a Python generator that yields one small `Step` per update.

It knows no model and no data set. Everything random in update i (batch, noise, time steps) is drawn
beforehand by `draw`, on the CPU, from a generator that depends on (seed, i) alone: a resumed run,
several processes and another device see the same numbers, and no loader has a state to store.

    state = State(model, [Objective(loss, torch.optim.AdamW(model.parameters(), lr=1e-3))])
    for step in train_steps(state, draw, seed=0, steps=300):
        curve.append(float(step.loss))
    state.ema.model.predict(...)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from course_lib.training.ema import EMA

if TYPE_CHECKING:  # a notebook that trains on one device does not wait for Lightning's import
    from lightning.fabric import Fabric

Batch = Mapping[str, Tensor]  # named tensors, one row per example
Draw = Callable[[torch.Generator], Batch]
Loss = Callable[[nn.Module, Batch, int], Tensor | tuple[Tensor, Mapping[str, Tensor]]]
Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Step:
    """What one update did; `float(step.loss)` waits for the device."""

    step: int  # updates made so far, 1 after the first
    loss: Tensor  # of the first objective at work, before the update, mean over the whole batch
    parts: Mapping[str, Tensor]  # what the losses named beside, and named objectives' own
    learning_rate: float  # of the first optimiser's first group


@dataclass(frozen=True)
class Objective:
    """A loss and the optimiser that lowers it; a GAN has two.

    `loss(model, batch, step)` returns a scalar, the mean over the batch's rows, or (scalar, parts)
    with more scalars to show; `step` counts from 0, for weights that rise and terms that rest.
    """

    loss: Loss
    optimizer: Optimizer
    max_grad_norm: float | None = None  # None: gradients are not clipped
    name: str = ""  # of one of several: its loss and its gradient's norm are reported under it
    first_step: int = 0  # before it this objective rests


@dataclass
class State:
    """All that changes in a training; `step` counts the updates made."""

    model: nn.Module
    objectives: Sequence[Objective]
    ema_decay: float = 0.999
    step: int = 0
    ema: EMA = field(init=False)

    def __post_init__(self) -> None:
        first = min(objective.first_step for objective in self.objectives)
        if first > 0:
            raise ValueError(f"the first objective's first_step is {first}; permitted: one at 0")
        self.ema = EMA(self.model, self.ema_decay)
        for objective in self.objectives:
            for group in objective.optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])


def constant(_step: int) -> float:
    """The schedule that leaves every learning rate as its optimiser was given it."""
    return 1.0


def warmup_cosine(steps: int, warmup: int = 0) -> Schedule:
    """A factor of the learning rate: up to 1 in `warmup` updates, then half a cosine towards 0."""
    _check_schedule(steps, warmup)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    return factor


def warmup_linear(steps: int, warmup: int = 0) -> Schedule:
    """A factor of the learning rate: up to 1 in `warmup` updates, then straight towards 0."""
    _check_schedule(steps, warmup)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return (steps - step) / (steps - warmup)

    return factor


def _check_schedule(steps: int, warmup: int) -> None:
    if not 0 <= warmup < steps:
        raise ValueError(f"warmup is {warmup}; permitted for {steps} steps: 0..{steps - 1}")


def step_seed(seed: int, step: int) -> int:
    """The seed of one update; numpy's SeedSequence keeps neighbouring steps unrelated."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0])


def train_steps(
    state: State,
    draw: Draw,
    *,
    seed: int,
    steps: int,
    schedule: Schedule = constant,
    fabric: Fabric | None = None,
) -> Iterator[Step]:
    """Make the updates `state.step`..`steps - 1`, yielding after each; between two, all is at rest.

    Args:
        state: Where to begin; it is changed in place.
        draw: Makes one whole batch from a CPU generator; each process trains on its share of rows.
        seed: With the step's number it decides every draw.
        steps: The number of updates of the whole training.
        schedule: The factor of every group's learning rate, from the step's number, 0 the first.
        fabric: For autocast and several processes; None trains where the model's weights are.

    Raises:
        ValueError: `steps` is not positive, or the processes cannot share a batch evenly.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; permitted: 1 and more")
    device = next(state.model.parameters()).device
    rank, num_ranks = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    state.model.train()
    while state.step < steps:
        generator = torch.Generator().manual_seed(step_seed(seed, state.step))
        batch = {
            name: _share(name, rows, rank, num_ranks).to(device, non_blocking=True)
            for name, rows in draw(generator).items()
        }
        # Layers that draw by themselves (dropout) use torch's own generator: lent here, put back.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(step_seed(seed, state.step) ^ (rank + 1))
            acting = [each for each in state.objectives if state.step >= each.first_step]
            results = [_update(state, each, batch, schedule, fabric) for each in acting]
        state.step += 1
        state.ema.update(state.model, state.step)
        yield Step(
            step=state.step,
            loss=results[0][0],
            parts={name: value for _, parts in results for name, value in parts.items()},
            learning_rate=state.objectives[0].optimizer.param_groups[0]["lr"],
        )


def _share(name: str, rows: Tensor, rank: int, num_ranks: int) -> Tensor:
    if rows.shape[0] % num_ranks:
        raise ValueError(
            f"{name} has {rows.shape[0]} rows, which {num_ranks} processes cannot share evenly; "
            f"permitted: a batch size that {num_ranks} divides"
        )
    return rows.chunk(num_ranks)[rank]


def _update(
    state: State, objective: Objective, batch: Batch, schedule: Schedule, fabric: Fabric | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """One optimiser's step; returns the loss and its parts, averaged over all processes."""
    optimizer = objective.optimizer
    optimizer.zero_grad()
    with fabric.autocast() if fabric else nullcontext():
        returned = objective.loss(state.model, batch, state.step)
    loss, parts = returned if isinstance(returned, tuple) else (returned, {})
    loss.backward()
    reported = {name: value.detach().clone() for name, value in {"": loss, **parts}.items()}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    if fabric and fabric.world_size > 1:
        _average([*gradients, *reported.values()], fabric)
    if objective.name:
        reported[f"{objective.name}_loss"] = reported[""]
        reported[f"{objective.name}_gradient"] = nn.utils.get_total_norm(gradients)
    if objective.max_grad_norm is not None:
        nn.utils.clip_grad_norm_(weights, objective.max_grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * schedule(state.step)
    optimizer.step()
    return reported.pop(""), reported


def _average(tensors: Sequence[Tensor], fabric: Fabric) -> None:
    """Replace each tensor by its mean over the processes, in one message.

    Done here and not by DistributedDataParallel, so that a loss may call any method of any part of
    the model, twice or not at all.
    """
    message = torch.cat([tensor.reshape(-1) for tensor in tensors])
    fabric.all_reduce(message, reduce_op="mean")
    for tensor, mean in zip(tensors, message.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view(tensor.shape))
