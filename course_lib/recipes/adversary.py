"""Chapter 2: what all of its trainings of two players share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.interfaces import Video
from course_lib.methods.gan import discriminator_loss, r1_penalty
from course_lib.training.loop import Batch, Loss, Objective, Schedule
from course_lib.training.recipe import Config

HEAD_START = 80  # updates that the discriminator learns alone


@dataclass(frozen=True)
class GANTraining(Config):
    """A training in which, from some update on, a generator must fool a discriminator."""

    adversary_from: int = 0  # the first update in which the generator must fool
    discriminator_rate: float = 3e-4  # learning rate
    r1: float = 0.1  # gamma
    r1_every: int = 8  # updates; the penalty then counts as many times


def objectives(
    config: GANTraining,
    discriminator: nn.Module,
    drawing: Iterable[nn.Module],
    fake: Callable[[Any, Any, Batch, int], Video],
    loss: Callable[[Any, Any, Batch, int], tuple[Tensor, Mapping[str, Tensor]]],
    *,
    draws_alone: bool,
) -> list[Objective]:
    """One step of the discriminator, then one of all that draw; Adam (.5, .99).

    Args:
        config: The numbers.
        discriminator: One player.
        drawing: The networks of the other.
        fake: (config, model, batch, step) to the clips that the discriminator must recognise.
        loss: Of those that draw.
        draws_alone: They have something to learn before the adversary comes.
    """
    adam = partial(torch.optim.Adam, betas=(0.5, 0.99))
    return [
        Objective(
            _judging(config, fake),
            adam(discriminator.parameters(), lr=config.discriminator_rate),
            name="discriminator",
            first_step=max(config.adversary_from - HEAD_START, 0),
        ),
        Objective(
            partial(loss, config),
            adam([w for network in drawing for w in network.parameters()], lr=config.learning_rate),
            name="generator",
            first_step=0 if draws_alone else config.adversary_from,
        ),
    ]


def _judging(config: GANTraining, fake: Callable[[Any, Any, Batch, int], Video]) -> Loss:
    """The discriminator's loss, with R1 in every so many updates."""

    def loss(model: Any, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        with torch.no_grad():
            drawn = fake(config, model, batch, step)
        real = model.discriminator(batch["video"])
        total = discriminator_loss(real, model.discriminator(drawn))
        if not config.r1 or step % config.r1_every:
            return total, {"real_logit": real.mean()}
        slope = r1_penalty(model.discriminator, batch["video"])
        weight = config.r1 / 2 * config.r1_every
        return total + weight * slope, {"real_logit": real.mean(), "r1": slope}

    return loss


def flat_then_linear(config: Config) -> Schedule:
    """A factor of the learning rates: 1 until 60 % of the updates, then straight towards 0."""
    return lambda step: min(1.0, (1 - step / config.steps) / 0.4)
