"""Chapter 1: SVG at the crossroads, where its latent must act never, once or twice.

Source: Denton & Fergus 2018 (arXiv 1802.07687). The loss is theirs, mean squared error + beta KL of
every predicted frame, added over the frames. Departures: beta rises during the training, so that z
is taken up; and for its last part the long trainings feed the model its own frames, because errors
of a copy of a copy add up (teacher forcing never shows them). The short ones keep to the paper.

Measured on held-out digits, as the metrics of every recipe here:

    valid, forbidden, total_variation   samples from the prior, see course_lib/evaluation/futures.py
    valid_reconstructions, distortion   clips from the posterior's latents
    kl_turn, kl_return, kl_idle, rate   nats, while the true frames are fed
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from course_lib import paths
from course_lib.data.crossroads import CUES, TWICE
from course_lib.evaluation import futures as judge
from course_lib.models.dcgan import DCGANConfig
from course_lib.models.svg import SVG, SVGConfig
from course_lib.recipes.film import film
from course_lib.recipes.svg_exam import (
    EXAM_SEED,
    kl_per_frame,
    make_exam,
    mean_over_clips,
    of_latents,
    of_samples,
    reconstruct,
    shows_a_future,
    world,
)
from course_lib.training.loop import Batch, Objective, Schedule
from course_lib.training.recipe import Config, Metric, Recipe

FIRST_BETA = 1.5e-6  # so small that z is taken up
MONITORED = 200  # clips at each point of the history


@dataclass(frozen=True)
class SVGTraining(Config):
    """A training of SVG; `beta` weighs a nat against the mean squared error of one frame."""

    beta: float = 1.5e-3  # from three fifths of the steps on
    first_beta: float = FIRST_BETA  # in the first fifth; in between it grows geometrically
    own_frames_from: float = 1.0  # share of the steps after which the model is fed its own frames
    protocol: judge.Protocol = judge.FULL  # for the samples


def beta_at(config: SVGTraining, step: int) -> float:
    """The weight of a nat in an update."""
    return rising(config.first_beta, config.beta, step / config.steps)


def rising(first: float, last: float, progress: float) -> float:
    """`first` for a fifth of a training, then geometrically `last` at three fifths."""
    return first * (last / first) ** min(max((progress - 0.2) / 0.4, 0), 1)


def flat_then_cosine(config: Config) -> Schedule:
    """A factor of the learning rate: up to 1 in 100 updates, flat until 30 %, half a cosine."""

    def factor(step: int) -> float:
        decayed = max(step / config.steps - 0.3, 0) / 0.7
        return min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * decayed))

    return factor


def objectives(model: SVG, config: SVGTraining) -> list[Objective]:
    """SVG's loss, Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    return [Objective(partial(svg_loss, config), optimizer, max_grad_norm=1.0)]


def svg_loss(
    config: SVGTraining, model: Any, batch: Batch, step: int
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Of an `SVG`, over all frames after the context; beside it the KL, nats per clip."""
    video, eps, fed = batch["video"], batch["eps"], None
    if step >= config.own_frames_from * config.steps:
        with torch.no_grad():
            posterior = model.infer(video, TWICE.context)
            z = posterior.mean + posterior.sigma * eps
            context = video[:, : TWICE.context]
            fed = torch.cat([context, model.predict(context, TWICE.horizon, z=z)], dim=1)
    passed = model(video, TWICE.context, eps, fed)
    target = video[:, TWICE.context :]
    kl = passed.kl().sum(1).mean()
    error = (passed.frames - target).square().mean((2, 3, 4)).sum(1).mean()
    return error + beta_at(config, step) * kl, {"kl": kl}  # SVG: training loss


def draw(config: SVGTraining, generator: torch.Generator) -> dict[str, Tensor]:
    """New clips from the world, and the noise of their latents."""
    video = world("train").sample(config.batch_size, generator=generator).video
    shape = (config.batch_size, TWICE.horizon, config.model.latent_dim)
    return {"video": video, "eps": torch.randn(shape, generator=generator)}


def evaluate(model: SVG, config: SVGTraining) -> dict[str, Metric]:
    """Samples judged, reconstructions, and nats at the events and between them."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    judgement = judge.judge(model.predict, world("test"), config.protocol, generator=generator)
    exam = make_exam()
    rebuilt = reconstruct(model, exam.clips.video, generator=generator)
    valid = shows_a_future(rebuilt, exam)
    return {
        **of_samples(judgement),
        "valid_reconstructions": Metric.of_share(int(valid.sum()), len(valid)),
        "distortion": mean_over_clips((rebuilt - exam.truth).square().mean((1, 2, 3, 4)), exam.cue),
        **of_latents(kl_per_frame(model, exam), exam),
    }


def monitor(model: SVG, _config: SVGTraining) -> dict[str, float]:
    """How many nats z carries, and where, as the training goes on."""
    exam = make_exam(MONITORED)
    measured = of_latents(kl_per_frame(model, exam), exam)
    return {name: measured[name].value for name in ("rate", "kl_turn", "kl_return", "kl_idle")}


def sheet(model: SVG, _config: SVGTraining) -> Image.Image:
    """For one context of each cue: the truth, its reconstruction, three samples of the prior."""
    exam, generator = make_exam(MONITORED), torch.Generator().manual_seed(EXAM_SEED)
    device = next(model.parameters()).device
    chosen = torch.tensor([int((exam.cue == cue).nonzero()[0]) for cue in range(len(CUES))])
    video = exam.clips.video[chosen].to(device)
    context = video[:, : TWICE.context]
    futures = [
        video[:, TWICE.context :],
        reconstruct(model, video, generator=generator),
        *(model.predict(context, TWICE.horizon, generator=generator) for _ in range(3)),
    ]
    rows = torch.stack([torch.cat([context, f], dim=1) for f in futures], dim=1).cpu()
    return film(rows.flatten(0, 1))


def read_sheet(name: str) -> UInt8[np.ndarray, "cue row T S S"]:
    """What `sheet` drew, as clips; the five rows are truth, reconstruction and three samples."""
    with Image.open(paths.SHEETS / f"{name}.webp") as image:
        pixels = np.asarray(image.convert("L"))
    side = pixels.shape[1] // TWICE.num_frames
    clips = pixels.reshape(len(CUES), -1, side, TWICE.num_frames, side).swapaxes(2, 3)
    return np.ascontiguousarray(clips[..., 1:-1, 1:-1])  # without the grid


def recipe(name: str, sentence: str, small: SVGTraining, **changes: Any) -> Recipe:
    """A recipe of the crossroads; all but the main one are members of a sweep."""
    return Recipe(
        name=name,
        sentence=sentence,
        data="crossroads twice at 32 pixels, digits of the train split",
        small=small,
        full=replace(small, steps=2 * small.steps, batch_size=128, learning_rate=3e-3),
        build=SVG,
        objectives=objectives,
        draw=draw,
        evaluate=evaluate,
        sheet=sheet,
        criterion="total_variation",
        schedule=flat_then_cosine,
        monitor=monitor,
        **changes,
    )


SMALL = SVGTraining(
    model=SVGConfig(image=DCGANConfig(feature_dim=192), inference_dim=128),
    steps=14000,
    batch_size=16,
    learning_rate=1.5e-3,
    ema_decay=0.998,
    own_frames_from=0.7,
)
SVG_LP = recipe("svg_lp", "SVG with a learned prior at the crossroads", SMALL)

SVG_MIXTURE = recipe(
    "svg_mixture",
    "SVG with a mixture of four Gaussians as its prior",
    replace(SMALL, model=replace(SMALL.model, prior="mixture"), steps=10000),
    ships_weights=False,
)

SHORT = replace(
    SMALL,
    steps=3000,
    own_frames_from=1.0,
    protocol=judge.Protocol(contexts_per_cue=20, num_samples=100),
)
PRIORS: dict[str, SVGConfig] = {
    "lp": SMALL.model,
    "fp": replace(SMALL.model, prior="fixed"),
    "mixture": replace(SMALL.model, prior="mixture"),
}
SEEDS = {
    prior: [
        recipe(
            f"svg_short_{prior}_{seed}",
            f"A short training with prior {model.prior}, seed {seed}",
            replace(SHORT, model=model, seed=seed),
            ships_weights=False,
        )
        for seed in range(3)
    ]
    for prior, model in PRIORS.items()
}
SWEEP = {
    beta: SEEDS["lp"][0]
    if beta == SHORT.beta
    else recipe(
        f"svg_beta_{number}",
        f"A short training with beta {beta:g}",
        replace(SHORT, steps=2000, beta=beta, protocol=judge.QUICK),
        ships_weights=False,
    )
    for number, beta in enumerate((1e-5, SHORT.beta, 1e-2, 5e-2, 2e-1))
}
COLLAPSE_BETA = 1e-2  # with which z speaks if beta rises slowly
COLLAPSE = {
    (residual, first): recipe(
        f"svg_collapse_{'residual' if residual else 'plain'}_{first}",
        f"A short training {'with' if residual else 'without'} residual, first beta {first}",
        replace(
            SHORT,
            steps=1000,
            every=100,
            model=replace(SMALL.model, residual=residual),
            beta=COLLAPSE_BETA,
            first_beta=FIRST_BETA if first == "low" else COLLAPSE_BETA,
            protocol=judge.Protocol(contexts_per_cue=4, num_samples=20),
        ),
        ships_weights=False,
    )
    for residual in (True, False)
    for first in ("low", "full")
}

RECIPES = (SVG_LP, SVG_MIXTURE, *chain(*SEEDS.values()), *SWEEP.values(), *COLLAPSE.values())
