"""Chapter 7: the autoencoder that latent diffusion at the crossroads works in, f = 4, 4 channels.

Source: Rombach et al. 2022 (arXiv 2112.10752), who too train one autoencoder for each data set.
The sweep of `latent_autoencoder` serves photographs as well, and blurs the digits' strokes.

Measured on held-out digits, means instead of draws of the posterior:

    psnr         of the reconstruction
    distance     D of rebuilt futures to the true ones (evaluation/futures)
    separation   squared distance of two futures in scaled latents: what noise has to hide
    scale        one over the latents' deviation
"""

from dataclasses import replace
from functools import cache, partial
from typing import cast

import torch
from PIL import Image

from course_lib.interfaces import Frames
from course_lib.methods.latent import LatentSpace
from course_lib.models.autoencoder_kl import AutoencoderKL, AutoencoderKLConfig
from course_lib.recipes.film import film
from course_lib.recipes.latent_autoencoder import (
    AUTOENCODER,
    EXAM_SEED,
    EXAMINED,
    AutoencoderTraining,
    at_crossroads,
    draw,
    draw_frames,
    grey_space,
    of_frames,
    rebuilt,
)
from course_lib.training.recipe import Metric


def frames(number: int) -> Frames:
    """Grey frames of held-out digits."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    return draw_frames("crossroads", number, "test", generator)[:, :1]


def evaluate(model: AutoencoderKL, _config: AutoencoderTraining) -> dict[str, Metric]:
    """Everything the module's docstring names."""
    examined = frames(EXAMINED)
    return {"psnr": of_frames(rebuilt(model, examined), examined), **at_crossroads(model)}


def monitor(model: AutoencoderKL, config: AutoencoderTraining) -> dict[str, float]:
    """One point of the history."""
    return {name: metric.value for name, metric in evaluate(model, config).items()}


def sheet(model: AutoencoderKL, _config: AutoencoderTraining) -> Image.Image:
    """32 frames as they are and as they come back."""
    examined = frames(32)
    return film(torch.stack([examined, rebuilt(model, examined)], 1))


MODEL = AutoencoderKLConfig(channels=1)
CROSSROADS_LATENTS = replace(
    AUTOENCODER,
    name="crossroads_latents",
    sentence="Frames of the crossroads 4 times smaller, 4 channels",
    data="frames of crossroads base at 32 pixels, digits of the train split",
    small=replace(AUTOENCODER.small, model=MODEL),
    full=replace(AUTOENCODER.full, model=replace(AUTOENCODER.full.model, channels=1)),
    draw=partial(draw, {"crossroads": 1}),
    evaluate=evaluate,
    sheet=sheet,
    criterion="distance",
    higher_is_better=False,
    monitor=monitor,
)
RECIPES = (CROSSROADS_LATENTS,)


@cache
def latent_space() -> LatentSpace:
    """That of the shipped autoencoder."""
    return grey_space(cast(AutoencoderKL, CROSSROADS_LATENTS.load()))
