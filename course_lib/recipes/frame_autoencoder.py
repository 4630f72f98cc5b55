"""Chapters 3 and 4: the autoencoders in whose features VPTR predicts.

Source: Ye & Bilodeau 2022 (arXiv 2212.06026), section 3.2 and their code: squared error, gradient
difference loss with alpha 1, and .01 of the adversarial loss; Adam with betas (.5, .999).
Departure: 32 pixels become 4 x 4 places, where speed decides, or 8 x 8, where windows are to be
seen; the paper makes 8 x 8 of 64.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from course_lib.evaluation.frames import mse, psnr
from course_lib.interfaces import Video
from course_lib.methods.gan import discriminator_loss, generator_loss
from course_lib.methods.reconstruction import gradient_difference_loss
from course_lib.models.autoencoder import (
    PUBLISHED,
    Autoencoder,
    AutoencoderConfig,
    PatchDiscriminator,
)
from course_lib.recipes.chapter0 import world as crossroads
from course_lib.recipes.film import film
from course_lib.recipes.vptr_exam import EXAM_SEED, world
from course_lib.training.loop import Batch, Objective, warmup_cosine
from course_lib.training.recipe import Config, Metric, Recipe

ADVERSARIAL = 0.01  # weight of the adversarial loss
EXAMINED = 100  # clips
FRAMES = 8  # of a clip that one update looks at
SHOWN = 10  # frames of the sheet, each of another clip


@dataclass(frozen=True)
class FrameConfig:
    """The autoencoder, and the channels of the discriminator's layers."""

    autoencoder: AutoencoderConfig
    discriminator: tuple[int, ...]


class FramePlayers(nn.Module):
    """The autoencoder and who judges it; called, it reconstructs."""

    def __init__(self, config: FrameConfig) -> None:
        super().__init__()
        self.autoencoder = Autoencoder(config.autoencoder)
        channels = config.autoencoder.channels
        self.discriminator = PatchDiscriminator(channels, config.discriminator)

    def forward(self, video: Video) -> Video:
        """The clip as it comes back."""
        return self.autoencoder(video)


def logits(model: Any, video: Video) -> Tensor:
    """Of all patches of all frames."""
    return model.discriminator(video.flatten(0, 1)).flatten()


def judging_loss(model: Any, batch: Batch, _step: int) -> Tensor:
    """The discriminator's."""
    with torch.no_grad():
        rebuilt = model(batch["video"])
    return discriminator_loss(logits(model, batch["video"]), logits(model, rebuilt))


def rebuilding_loss(model: Any, batch: Batch, _step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
    """The autoencoder's: to be right, as steep as the truth, and to be taken for real."""
    video = batch["video"]
    rebuilt = model(video)
    error, edges = F.mse_loss(rebuilt, video), gradient_difference_loss(rebuilt, video)
    fooling = generator_loss(logits(model, rebuilt))
    return error + edges + ADVERSARIAL * fooling, {"error": error, "edges": edges}


def objectives(model: FramePlayers, config: Config) -> list[Objective]:
    """The autoencoder first, whose loss is the curve; then the discriminator."""

    def adam(network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=(0.5, 0.999))

    return [
        Objective(rebuilding_loss, adam(model.autoencoder), name="autoencoder"),
        Objective(judging_loss, adam(model.discriminator), name="discriminator"),
    ]


def some_frames(video: Video, generator: torch.Generator) -> dict[str, Tensor]:
    """A few frames of each clip, the same for all."""
    chosen = torch.randperm(video.shape[1], generator=generator)[:FRAMES]
    return {"video": video[:, chosen]}


def draw_moving(config: Config, generator: torch.Generator) -> dict[str, Tensor]:
    """Frames of Moving MNIST."""
    moving = world("train", config.model.autoencoder.size)
    return some_frames(moving.sample(config.batch_size, generator=generator).video, generator)


def draw_crossroads(config: Config, generator: torch.Generator) -> dict[str, Tensor]:
    """Frames of the crossroads."""
    clips = crossroads("train").sample(config.batch_size, generator=generator)
    return some_frames(clips.video, generator)


def held_out(draw_clips: Callable[[str], Any]) -> Video:
    """Clips of held-out digits."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    return draw_clips("test").sample(EXAMINED, generator=generator).video


def recipe(
    name: str, sentence: str, data: str, small: Config, full: Config, draw: Any, clips: Any
) -> Recipe:
    """A recipe of one world."""

    def evaluate(model: FramePlayers, config: Config) -> dict[str, Metric]:
        """Error of the reconstruction, per pixel in [0, 1], and PSNR: no prediction is better."""
        video = held_out(lambda split: clips(split, config)).to(next(model.parameters()).device)
        rebuilt = torch.cat([model(part) for part in video.split(25)])
        return {
            "mse": Metric.of_mean(mse(rebuilt, video).mean(1).cpu() / 4),
            "psnr": Metric.of_mean(psnr(rebuilt, video).mean(1).cpu()),
        }

    def sheet(model: FramePlayers, config: Config) -> Image.Image:
        """Held-out frames, what comes back, and the difference."""
        video = held_out(lambda split: clips(split, config))[:SHOWN, 0]
        rebuilt = model(video[None].to(next(model.parameters()).device))[0].float().cpu()
        return film(torch.stack([video, rebuilt, (rebuilt - video).abs() - 1]))

    return Recipe(
        name=name,
        sentence=sentence,
        data=data,
        small=small,
        full=full,
        build=FramePlayers,
        objectives=objectives,
        draw=draw,
        evaluate=evaluate,
        sheet=sheet,
        criterion="mse",
        schedule=lambda config: warmup_cosine(config.steps),
        monitor=lambda model, config: {k: m.value for k, m in evaluate(model, config).items()},
    )


SMALL = Config(
    model=FrameConfig(AutoencoderConfig(dims=(16, 32, 48), feature_dim=96), (16, 32, 64)),
    steps=2000,
    batch_size=4,
    learning_rate=2e-3,
    ema_decay=0.995,
    every=600,
)
FULL = replace(
    SMALL,
    model=FrameConfig(PUBLISHED, (64, 128, 256, 512)),
    steps=20_000,
    batch_size=8,
    learning_rate=2e-4,
    every=5000,
)
AT_8 = FrameConfig(AutoencoderConfig(dims=(16, 32), feature_dim=48), (16, 32, 64))
MOVING, MOVING_8 = (
    recipe(
        name,
        f"VPTR's frame autoencoder on Moving MNIST, {places} places along an edge",
        "Moving MNIST with one digit, two in full size, digits of the train split",
        small,
        FULL,
        draw_moving,
        lambda split, config: world(split, config.model.autoencoder.size),
    )
    for name, places, small in (
        ("moving_autoencoder", 4, SMALL),
        ("moving_autoencoder_8", 8, replace(SMALL, model=AT_8)),
    )
)
AT_64 = FrameConfig(AutoencoderConfig(dims=(16, 32, 48), feature_dim=64), (16, 32, 64))
CROSSROADS = recipe(
    "crossroads_autoencoder",
    "The same autoencoder at the crossroads",
    "crossroads base at 32 pixels, digits of the train split",
    replace(SMALL, model=AT_64, steps=1600),
    replace(SMALL, steps=10_000, batch_size=16),
    draw_crossroads,
    lambda split, _config: crossroads(split),
)

RECIPES = (MOVING, MOVING_8, CROSSROADS)
