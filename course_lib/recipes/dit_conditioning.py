"""Chapter 7: four ways of telling a DiT time and class, trained alike on digits.

Source: Peebles & Xie 2022 (arXiv 2212.09748), section 3.2 and table 4. In-context and adaLN-Zero
are trained from three seeds: a difference smaller than what a seed changes is none. Objective, data
and schedule are those of `digit_diffusion`, the trainings shorter.

Measured on held-out digits:

    loss        squared error of the guessed noise: the same pictures, steps and noise for all
    read ...    of samples by 25 steps of DDIM, as in `digit_diffusion`
    gate_*      the mean size of the gates of each block (adaLN-Zero only), in the history too
    mega_macs   multiply-accumulates of one picture and step, in millions; `parameters` as in
                the paper, with the table of positions
"""

from dataclasses import replace
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from course_lib.evaluation.cost import multiply_accumulates
from course_lib.methods.diffusion import EPS, denoising_loss
from course_lib.models.dit import AdaLNZeroBlock, DiT
from course_lib.models.dit_variants import (
    CONDITIONINGS,
    ConditionedDiT,
    ConditionedDiTConfig,
    num_parameters,
)
from course_lib.recipes.digit_diffusion import (
    EXAM_SEED,
    NUM_CLASSES,
    SCHEDULE,
    SIZE,
    DigitTraining,
    classes,
    draw,
    flat_then_linear,
    framed_digits,
    objectives,
    of_samples,
    sample,
)
from course_lib.recipes.digit_diffusion import (
    SMALL as DIGITS_SMALL,
)
from course_lib.recipes.film import film
from course_lib.training.recipe import Metric, Recipe

SEEDS = 3  # of in-context and adaLN-Zero
REPEATS = 2  # of each held-out digit in the loss, with other noise
MONITORED = 300  # held-out digits in a point of the history
NUM_STEPS = 25  # of the samples that are measured


@torch.no_grad()
def held_out_losses(model: torch.nn.Module, number: int | None = None) -> Float[Tensor, "N"]:
    """Squared error of the guessed noise for held-out digits at steps drawn once and for all."""
    x0, label = (torch.cat([x] * REPEATS) for x in framed_digits("test"))
    generator = torch.Generator().manual_seed(EXAM_SEED)
    t = torch.randint(SCHEDULE.num_timesteps, (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    device = next(model.parameters()).device
    found = [
        denoising_loss(partial(model, label=part[3]), EPS, SCHEDULE, *part[:3]).cpu()
        for part in zip(
            *(x[:number].to(device).split(100) for x in (x0, eps, t, label)), strict=True
        )
    ]
    return torch.cat(found).float()


@torch.no_grad()
def gate_sizes(model: torch.nn.Module) -> dict[str, float]:
    """The mean size of each block's gates over all classes and a hundred steps; none, no entry.

    Raises:
        ValueError: A DiT without classes.
    """
    if not isinstance(model, DiT):
        return {}
    device = next(model.parameters()).device
    t = torch.arange(0, SCHEDULE.num_timesteps, 10, device=device).repeat(NUM_CLASSES)
    label = torch.arange(NUM_CLASSES, device=device).repeat_interleave(len(t) // NUM_CLASSES)
    if model.embed_label is None:
        raise ValueError("the network has no classes; permitted: one of digits")
    condition = F.silu(model.embed_time(t) + model.embed_label(label))
    sizes = {}
    for number, block in enumerate(model.blocks):
        if isinstance(block, AdaLNZeroBlock):
            gates = block.modulation(condition).chunk(6, -1)
            sizes[f"gate_{number}"] = torch.cat([gates[2], gates[5]]).abs().mean().item()
    return sizes


def exactly(value: float) -> Metric:
    """A number that was counted."""
    return Metric(value, value, value)


def mega_macs(model: torch.nn.Module) -> float:
    """Millions of multiply-accumulates of one picture and step."""
    device = next(model.parameters()).device
    x = torch.zeros(1, 1, SIZE, SIZE, device=device)
    t = torch.zeros(1, dtype=torch.int64, device=device)
    return multiply_accumulates(lambda: model(x, t, t)) / 1e6


def evaluate(model: torch.nn.Module, config: DigitTraining) -> dict[str, Metric]:
    """Everything the module's docstring names."""
    label = classes(config.num_samples)
    generator = torch.Generator().manual_seed(EXAM_SEED)
    images = sample(cast(DiT, model), label, num_steps=NUM_STEPS, generator=generator)
    weights = sum(weight.numel() for weight in model.parameters())
    parameters = num_parameters(model) if isinstance(model, DiT) else weights
    return {
        "loss": Metric.of_mean(held_out_losses(model)),
        **of_samples(images, label),
        **{name: exactly(size) for name, size in gate_sizes(model).items()},
        "mega_macs": exactly(mega_macs(model)),
        "parameters": exactly(parameters),
    }


def monitor(model: torch.nn.Module, _config: DigitTraining) -> dict[str, float]:
    """One point of the history."""
    return {"loss": held_out_losses(model, MONITORED).mean().item(), **gate_sizes(model)}


def sheet(model: DiT, _config: DigitTraining) -> Image.Image:
    """Five samples of each class, a class a column."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    images = sample(model, classes(5 * NUM_CLASSES), num_steps=NUM_STEPS, generator=generator)
    return film(images.unflatten(0, (5, NUM_CLASSES)))


SMALL = replace(
    DIGITS_SMALL,
    model=ConditionedDiTConfig(num_classes=NUM_CLASSES),
    steps=1500,
    flat=750,
    every=150,
    num_samples=300,
)


def recipe(name: str, sentence: str, model: ConditionedDiTConfig, **changes) -> Recipe:
    """A short training of one network."""
    small = replace(SMALL, model=model, **changes)
    return Recipe(
        name=name,
        sentence=sentence,
        data="MNIST selection at 32 pixels, train split",
        small=small,
        full=replace(
            small,
            model=replace(model, dim=3 * model.dim, depth=12, num_heads=6),
            steps=20_000,
            flat=10_000,
            batch_size=256,
            learning_rate=3e-4,
            ema_decay=0.999,
            every=2000,
            num_samples=1500,
            precision=None,
        ),
        build=ConditionedDiT,
        objectives=partial(objectives, EPS),
        draw=draw,
        evaluate=evaluate,
        sheet=sheet,
        criterion="loss",
        ships_weights=False,
        schedule=flat_then_linear,
        monitor=monitor,
    )


def member(conditioning: str, seed: int) -> Recipe:
    """One conditioning from one seed."""
    plain = conditioning.lower().replace("-", "_")
    return recipe(
        f"dit_{plain}_{seed}",
        f"A DiT on digits, told time and class by {conditioning}, seed {seed}",
        replace(SMALL.model, conditioning=conditioning),
        seed=seed,
    )


REPEATED = ("in-context", "adaLN-Zero")
MEMBERS = {
    (conditioning, seed): member(conditioning, seed)
    for conditioning in CONDITIONINGS
    for seed in range(SEEDS if conditioning in REPEATED else 1)
}
RECIPES = tuple(MEMBERS.values())
