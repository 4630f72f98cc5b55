"""Chapter 7: the first updates of a small DiT, and which of its parts they reach.

Data, noise and objective are those of `dit_conditioning`; batches are small and the learning rate
is constant, so that a notebook can watch every update.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from course_lib.methods.diffusion import EPS, denoising_loss
from course_lib.models.dit import AdaLNZeroBlock, DiT
from course_lib.models.dit_variants import ConditionedDiT, ConditionedDiTConfig
from course_lib.recipes.digit_diffusion import NUM_CLASSES, SCHEDULE, draw
from course_lib.recipes.dit_conditioning import SMALL, gate_sizes
from course_lib.training.loop import step_seed

NETWORK = ConditionedDiTConfig(dim=64, depth=4, patch_size=8, num_classes=NUM_CLASSES)
LEARNING_RATE = 1.5e-3
PARTS = (
    "last layer",
    "patch embedding",
    "gates",
    "shift, scale",
    "attention, MLP",
    "time, class",
)


@dataclass(frozen=True)
class Update:
    """What one update saw, and what it left."""

    loss: float  # of the batch, before the update
    gradients: dict[str, float]  # size for each of `PARTS`
    gates: float  # their mean size after it, over blocks, classes and steps


def untrained(seed: int = 0, **changes: object) -> ConditionedDiT:
    """A small network before its first update."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return ConditionedDiT(replace(NETWORK, **changes))


def rows_of(name: str, gradient: Tensor) -> dict[str, Tensor]:
    """A gradient by the parts that it belongs to."""
    if name.startswith("blocks") and "modulation" in name:
        shift1, scale1, gate1, shift2, scale2, gate2 = gradient.chunk(6)
        others = torch.cat([shift1, scale1, shift2, scale2])
        return {"gates": torch.cat([gate1, gate2]), "shift, scale": others}
    places = {
        "final": "last layer",
        "embed_patches": "patch embedding",
        "embed": "time, class",
        "blocks": "attention, MLP",
    }
    return {next(part for start, part in places.items() if name.startswith(start)): gradient}


def gradient_sizes(model: DiT) -> dict[str, float]:
    """The length of the gradient of each of `PARTS`.

    Raises:
        ValueError: The blocks have no gates.
    """
    if not all(isinstance(block, AdaLNZeroBlock) for block in model.blocks):
        raise ValueError("a block has no gates; permitted: the blocks of adaLN-Zero")
    squares: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            for part, rows in rows_of(name, weight.grad).items():
                squares[part] += rows.square().sum().item()
    return {part: square**0.5 for part, square in squares.items()}


def first_updates(model: DiT, number: int, *, batch_size: int = 16) -> Iterator[Update]:
    """Train in place, AdamW with clipping, and tell of each update; every network sees the same."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    config = replace(SMALL, batch_size=batch_size)
    for step in range(number):
        batch = draw(config, torch.Generator().manual_seed(step_seed(config.seed, step)))
        network = partial(model, label=batch["label"])
        each = denoising_loss(network, EPS, SCHEDULE, batch["x0"], batch["eps"], batch["t"])
        optimizer.zero_grad()
        each.mean().backward()
        sizes = gradient_sizes(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        gates = [*gate_sizes(model).values()]
        yield Update(each.mean().item(), sizes, sum(gates) / len(gates))
