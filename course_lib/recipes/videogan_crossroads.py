"""Chapter 2: the conditional VideoGAN at the crossroads: one concrete future, or all of them?

Source: Vondrick et al. 2016 (arXiv 1609.02612): the adversary reads the whole clip, and an L1 loss
of weight 10 holds the given frame. Departures: three frames are given and z is added, so that the
network could draw several futures; and it first learns alone, by squared error on every frame,
which teaches it to copy a digit and to draw the mean of the futures. Then the future is the
adversary's alone, and only the given frames are held.

Measured on held-out digits, as in `course_lib/evaluation/futures.py`: valid, forbidden,
total_variation; and over the contexts whose future is open

    entropy         of the futures drawn over z, nats: 0 where every z gives the same one
    entropy_truth   of the true ones
    excess          squared error's, 0 for the exact mean: see `chapter0.py`
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from course_lib.data.crossroads import CUES
from course_lib.evaluation import futures as judge
from course_lib.interfaces import Video
from course_lib.methods.gan import generator_loss
from course_lib.models.videogan_conditional import ConditionalConfig, ConditionalVideoGAN
from course_lib.recipes.adversary import GANTraining, objectives
from course_lib.recipes.chapter0 import EXAM_SEED, make_exam, measured_excess, world
from course_lib.recipes.film import film
from course_lib.training.loop import Batch, Objective, Schedule
from course_lib.training.recipe import Config, Metric, Recipe

HELD = 10.0  # weight of the L1 loss of the given frames
ALONE = 30.0  # weight of the squared error
JUDGED = ("valid", "forbidden", "total_variation", "energy_score")


def players(model: ConditionalVideoGAN, config: GANTraining) -> list[Objective]:
    """The discriminator, and the generator with the network that reads the given frames."""
    drawing = (model.encoder, model.generator)
    return objectives(config, model.discriminator, drawing, fake, drawing_loss, draws_alone=True)


def fake(config: GANTraining, model: Any, batch: Batch, _step: int) -> Video:
    """Whole clips, from the first frames of real ones."""
    return model.generate(batch["video"][:, : config.model.context], batch["z"]).video


def drawing_loss(
    config: GANTraining, model: Any, batch: Batch, step: int
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Squared error while alone; then to be taken for real, and the given frames held."""
    drawn, video = fake(config, model, batch, step), batch["video"]
    if step < config.adversary_from:
        error = F.mse_loss(drawn, video)
        return ALONE * error, {"error": error}
    fooling = generator_loss(model.discriminator(drawn))
    given = slice(config.model.context)
    held = F.l1_loss(drawn[:, given], video[:, given])
    return fooling + HELD * held, {"fooling": fooling, "held": held}


def draw(config: GANTraining, generator: torch.Generator) -> dict[str, Tensor]:
    """New clips from the world, and a z for each."""
    video = world("train").sample(config.batch_size, generator=generator).video
    return {
        "video": video,
        "z": torch.randn(config.batch_size, config.model.latent_dim, generator=generator),
    }


def evaluate(model: ConditionalVideoGAN, _config: Config) -> dict[str, Metric]:
    """Its samples judged, and how many futures it draws of one past."""
    return measure(model, judge.FULL)


def monitor(model: ConditionalVideoGAN, _config: Config) -> dict[str, float]:
    """One point of the history: the mean at first, then one concrete future."""
    measured = measure(model, judge.Protocol(contexts_per_cue=8, num_samples=16))
    return {name: metric.value for name, metric in measured.items()}


def measure(model: ConditionalVideoGAN, protocol: judge.Protocol) -> dict[str, Metric]:
    """As `evaluate`, with so many contexts and samples."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    judgement = judge.judge(model.predict, world("test"), protocol, generator=generator)
    ambiguous = [score for score in judgement.scores if max(CUES[score.cue].turn_probs) < 1]
    drawn = torch.tensor([score.frequencies for score in ambiguous], dtype=torch.float64)
    truth = torch.tensor([CUES[s.cue].turn_probs for s in ambiguous], dtype=torch.float64)
    exam = make_exam(protocol.contexts_per_cue)
    single = model.predict(exam.context, exam.horizon, generator=generator)
    estimates = {name: getattr(judgement, name) for name in JUDGED}
    return {
        **{
            n: Metric(e.mean, min(e.low, e.mean), max(e.high, e.mean)) for n, e in estimates.items()
        },
        "total_variation_floor": Metric(*[judgement.total_variation_floor] * 3),
        "entropy": Metric.of_mean(torch.special.entr(drawn).sum(1)),
        "entropy_truth": Metric.of_mean(torch.special.entr(truth).sum(1)),
        "excess": measured_excess(single, exam),
    }


def sheet(model: ConditionalVideoGAN, _config: Config) -> Image.Image:
    """For two contexts of each cue: the truth, three samples, foreground, mask of the first."""
    held_out = world("test")
    contexts = judge.draw_contexts(
        held_out, judge.Protocol(2, 1), generator=torch.Generator().manual_seed(EXAM_SEED)
    )
    futures = [held_out.futures(index, arrival) for index, arrival in contexts]
    context = torch.stack([f.context for f in futures])
    truth = torch.stack([torch.cat([f.context, f.clips[f.probs.argmax()]]) for f in futures])
    generator = torch.Generator().manual_seed(EXAM_SEED)
    drawn = []
    for _ in range(3):
        z = torch.randn(len(context), model.config.latent_dim, generator=generator)
        drawn.append(model.generate(context, z))
    parts = [truth, *(d.video for d in drawn), drawn[0].foreground]
    if drawn[0].mask is not None:
        parts.append(drawn[0].mask * 2 - 1)
    return film(torch.stack(parts, 1).flatten(0, 1))


def alone_then_against(config: GANTraining) -> Schedule:
    """A factor of the learning rates: 1 while alone, then .3, at the end straight towards 0."""
    return lambda step: (
        1.0 if step < config.adversary_from else 0.3 * min(1.0, (1 - step / config.steps) / 0.2)
    )


SMALL = GANTraining(
    model=ConditionalConfig(
        size=32,
        num_frames=12,
        channels=1,
        latent_dim=8,
        start_frames=3,
        context=3,
        context_dims=(32, 64, 96),
        foreground_dims=(96, 48, 24),
        background_dims=(96, 48, 24),
        mask_bias=-2.0,
        discriminator_dims=(16, 32, 64),
        discriminator_norm=False,
    ),
    steps=4000,
    batch_size=16,
    learning_rate=1e-3,
    ema_decay=0.995,
    every=250,
    adversary_from=1600,
    discriminator_rate=1.3e-3,
)
CROSSROADS_GAN = Recipe(
    name="videogan_crossroads",
    sentence="The conditional VideoGAN at the crossroads: from the mean to one concrete future",
    data="crossroads base at 32 pixels, digits of the train split",
    small=SMALL,
    full=replace(SMALL, steps=40_000, batch_size=64, adversary_from=16_000),
    build=ConditionalVideoGAN,
    objectives=players,
    draw=draw,
    evaluate=evaluate,
    sheet=sheet,
    criterion="total_variation",
    schedule=alone_then_against,
    monitor=monitor,
)

RECIPES = (CROSSROADS_GAN,)
