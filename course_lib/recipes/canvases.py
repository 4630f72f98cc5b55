"""Chapter 7: what a clip costs on the large canvas and on the small one, by counting alone.

Multiply-accumulates of the small networks of `crossroads_diffusion` and `latent_dit`, also for
frames larger than those they were trained on: nothing is computed, so no weights are needed.
"""

from dataclasses import replace
from typing import Any

import torch

from course_lib.evaluation.cost import multiply_accumulates
from course_lib.models.autoencoder_kl import AutoencoderKL
from course_lib.models.dit import VideoDiT, VideoDiTConfig
from course_lib.models.latent_dit import LatentDiT, LatentDiTConfig
from course_lib.recipes.crossroads_diffusion import DIFFUSION, DIFFUSION_TWICE
from course_lib.recipes.crossroads_latents import CROSSROADS_LATENTS
from course_lib.recipes.latent_dit import LATENT, LATENT_TWICE
from course_lib.training.recipe import Metric, Recipe

NUM_STEPS = 20  # of a walk
BACKWARD = 2  # times a forward pass
SIZES = (32, 64, 128, 256)  # pixels
TRAINED = (DIFFUSION, LATENT, DIFFUSION_TWICE, LATENT_TWICE)


def one_call(config: VideoDiTConfig | LatentDiTConfig) -> int:
    """Multiply-accumulates of a network's answer for one clip."""
    with torch.device("meta"):
        if isinstance(config, VideoDiTConfig):
            model, frame = VideoDiT(config), (1, config.dit.size, config.dit.size)
        else:
            model, frame = LatentDiT(config), (config.channels, config.size, config.size)
        x_t = torch.empty(1, config.horizon, *frame)
        context = torch.empty(1, config.context, *frame)
        t = torch.zeros(1, dtype=torch.int64)
    return multiply_accumulates(lambda: model(x_t, t, context))


def training(recipe: Recipe) -> int:
    """Of all updates of a recipe's small training, backward passes included."""
    config: Any = recipe.small
    return (1 + BACKWARD) * config.steps * config.batch_size * one_call(config.model)


def autoencoder(size: int) -> tuple[int, int]:
    """(encoder, decoder) for one frame of `size` pixels an edge."""
    config = CROSSROADS_LATENTS.small.model
    edge = size // config.factor
    with torch.device("meta"):
        model = AutoencoderKL(config)
        frame = torch.empty(1, config.channels, size, size)
        z = torch.empty(1, config.latent_channels, edge, edge)
    down, up = (lambda: model.encode(frame)), (lambda: model.decode(z))
    return multiply_accumulates(down), multiply_accumulates(up)


def drawing(size: int, num_steps: int = NUM_STEPS) -> dict[str, int]:
    """Of one drawn clip of `twice` with frames of `size` pixels, on either canvas."""
    pixels, latents = DIFFUSION_TWICE.small.model, LATENT_TWICE.small.model
    encoder, decoder = autoencoder(size)
    edge = size // CROSSROADS_LATENTS.small.model.factor
    return {
        "pixels": num_steps * one_call(replace(pixels, dit=replace(pixels.dit, size=size))),
        "latents": num_steps * one_call(replace(latents, size=edge)),
        "autoencoder": latents.context * encoder + latents.horizon * decoder,
    }


def counted() -> dict[str, Metric]:
    """`draw_<canvas>_<size>` in millions, `train_<recipe>` in millions of millions."""
    found = {
        f"draw_{canvas}_{size}": macs / 1e6
        for size in SIZES
        for canvas, macs in drawing(size).items()
    }
    found |= {f"train_{recipe.name}": training(recipe) / 1e12 for recipe in TRAINED}
    return {key: Metric(value, value, value) for key, value in found.items()}
