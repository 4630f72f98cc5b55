"""Chapter 7: futures at the crossroads by diffusion in latents.

Source: latent diffusion (arXiv 2112.10752) with a DiT (arXiv 2212.09748) that reads the context
frames as tokens. Objective, weights and schedule are those of `crossroads_diffusion`, whose network
costs 1.7 times as many multiply-accumulates a clip: 1.7 times as many updates are equal compute.
As there, the network of `twice` begins with what that of `base` has learned.

Latents are computed once. Every frame of this world is a digit at one of 21 places, so a table of
all of them, some minutes on one core, replaces the encoder in all updates; nothing is approximated.
"""

from dataclasses import replace
from functools import cache, partial
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from course_lib.data.crossroads import (
    ARM_LENGTH,
    BASE,
    TWICE,
    Clips,
    Crossroads,
    Preset,
)
from course_lib.interfaces import VideoPredictor
from course_lib.methods.diffusion import X0
from course_lib.methods.latent import LatentPredictor
from course_lib.methods.predictor import DiffusionPredictor
from course_lib.models.latent_dit import LatentDiT, LatentDiTConfig
from course_lib.recipes.crossroads_diffusion import (
    EXAM_SEED,
    SCHEDULE,
    WIDE,
    CrossroadsTraining,
    lengthen,
    recipe,
    world,
)
from course_lib.recipes.crossroads_latents import latent_space
from course_lib.training.loop import Batch

FOR_MEAN = 100  # clips
UP = 6  # places on the way up to the junction, which is the last
OUT = ARM_LENGTH // BASE.speed  # places on each arm


def predictor(model: LatentDiT, *, num_steps: int = 20, eta: float = 1.0) -> LatentPredictor:
    """The network as a predictor of pixels: no clipping in latents, which have no limits."""
    inner = DiffusionPredictor(
        model, X0, SCHEDULE, model.config.horizon, num_steps=num_steps, eta=eta, clip=None
    )
    return LatentPredictor(inner.predict, latent_space())


def places(clips: Clips, preset: Preset) -> Int64[Tensor, "B T"]:
    """Which of the 21 frames of its digit each frame is: up to the junction, then out on an arm."""
    walked = torch.arange(preset.num_frames) - clips.arrival[:, None]  # steps past the junction
    back = (walked - OUT).clamp(0, OUT) * clips.returned[:, None]
    along = UP - 1 + walked.clamp(1 - UP, OUT) - back
    return torch.where(along < UP, along, along + OUT * clips.turn[:, None])


def all_frames(world: Crossroads, index: Int64[Tensor, "N"]) -> Float[Tensor, "N 21 1 S S"]:
    """The frames of each digit at its 21 places, in the order of `places`."""
    latest = torch.full_like(index, UP - 1)
    stays = torch.zeros_like(index, dtype=torch.bool)
    clips = [
        world.render(index, latest, torch.full_like(index, turn), stays)[:, : UP + OUT]
        for turn in range(3)
    ]
    return torch.cat([clips[0][:, :UP], *(clip[:, UP:] for clip in clips)], 1)


@cache
def latent_table() -> Float[Tensor, "N 21 C S S"]:
    """The scaled latents of all frames of all train digits."""
    train, space = world(BASE, "train"), latent_space()
    parts = torch.arange(len(train.digits)).split(50)
    with torch.no_grad():
        return torch.cat([space.encode(all_frames(train, part)) for part in tqdm(parts)])


def draw(preset: Preset, config: CrossroadsTraining, generator: torch.Generator) -> Batch:
    """The latents of new clips, steps, noise."""
    clips = world(preset, "train").sample(config.batch_size, generator=generator)
    latents = latent_table()[clips.index[:, None], places(clips, preset)]  # (B, T, C, S, S)
    x0 = latents[:, preset.context :]
    return {
        "context": latents[:, : preset.context],
        "x0": x0,
        "t": torch.randint(SCHEDULE.num_timesteps, (config.batch_size,), generator=generator),
        "eps": torch.randn(x0.shape, generator=generator),
    }


def build(preset: Preset, config: LatentDiTConfig) -> LatentDiT:
    """An untrained network whose first answer is the mean of training latents."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    video = world(preset, "train").sample(FOR_MEAN, generator=generator).video
    with torch.no_grad():
        latents = latent_space().encode(video[:, preset.context :])
    return LatentDiT(config, latents.mean(0))


def build_longer(config: LatentDiTConfig) -> LatentDiT:
    """An untrained network of `twice` that knows what the network of `base` has learned.

    Raises:
        ValueError: The network of `base` is not of this size.
    """
    model, base = build(TWICE, config), cast(LatentDiT, LATENT.load())
    lengthen(base.dit, model.dit)
    model.embed_context.load_state_dict(base.embed_context.state_dict())
    return model


def in_latents(model: LatentDiT) -> VideoPredictor:
    """How its samples are drawn for the exam."""
    return predictor(model).predict


SMALL = CrossroadsTraining(
    model=LatentDiTConfig(dim=160, depth=5, num_heads=5, quick_start=True),
    steps=12_000,  # of 53 million multiply-accumulates a clip; 7,200 of 89 in pixels
    batch_size=32,
    learning_rate=1.5e-3,
    ema_decay=0.998,
    every=1500,
    precision="bf16-mixed",
)
SMALL_TWICE = replace(SMALL, model=replace(SMALL.model, horizon=14), steps=4000, every=1000)

LATENT = recipe(
    "latent_dit",
    "A latent DiT at the crossroads",
    BASE,
    SMALL,
    wide=replace(SMALL.model, **WIDE),
    maker=in_latents,
    build=partial(build, BASE),
    draw=partial(draw, BASE),
)
LATENT_TWICE = recipe(
    "latent_dit_twice",
    "A latent DiT at the crossroads where the digit may come back",
    TWICE,
    SMALL_TWICE,
    wide=replace(SMALL_TWICE.model, **WIDE),
    maker=in_latents,
    build=build_longer,
    draw=partial(draw, TWICE),
)

RECIPES = (LATENT, LATENT_TWICE)
