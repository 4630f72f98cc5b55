"""Chapters 3 and 4: FAR, NAR and PAR on Moving MNIST, and a ConvLSTM beside them.

Source: Ye & Bilodeau 2022 (arXiv 2203.15836; journal 2212.06026), sections 3.4 to 3.6: squared
error and gradient difference of the decoded frames, AdamW, gradients clipped at 1, the autoencoder
frozen. Departures. The error is divided by the pixels' variance, and a squared error of the
features is added. The gradient difference comes late: from the first update on it held NAR
at the black frame (its best answer to a doubtful edge is no edge). NAR's contrastive loss is left
out. In every tenth of NAR's updates the context is shorter, so that one frame may be asked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from course_lib.data.video import split
from course_lib.methods.reconstruction import gradient_difference_loss
from course_lib.models.convlstm import ConvLSTM, ConvLSTMConfig
from course_lib.models.vidhrformer import VidHRFormerConfig
from course_lib.models.vptr import (
    PUBLISHED_FAR,
    PUBLISHED_NAR,
    AutoregressiveVPTR,
    Rollout,
    VPTRConfig,
)
from course_lib.models.vptr_decoders import NonAutoregressiveVPTR, PartiallyAutoregressiveVPTR
from course_lib.models.vptr_video import VPTR
from course_lib.recipes.film import film
from course_lib.recipes.frame_autoencoder import MOVING, MOVING_8, FramePlayers
from course_lib.recipes.vptr_exam import (
    CONTEXT,
    HORIZON,
    LONG,
    examine,
    make_exam,
    predict,
    quick_look,
    world,
)
from course_lib.recipes.vptr_long import (
    BLOCKS,
    EXAMINED_LONG,
    RECURSIONS,
    long_film,
    over_time,
)
from course_lib.training.loop import Batch, Objective, warmup_cosine
from course_lib.training.recipe import Config, Metric, Recipe

SHOWN = 8  # clips of the sheet


@dataclass(frozen=True)
class VPTRTraining(Config):
    """A training of a transformer between the halves of a frozen autoencoder."""

    size: int = 32  # pixels
    feature_weight: float = 0.3  # of the features' error over their variance
    edges: float = 0.3  # weight of the gradient difference loss ...
    edges_from: float = 0.5  # ... from this share of the updates on
    shorter: float = 0.0  # share of the updates with a shorter context; NAR's only


def build(kind: type, frames: Recipe = MOVING) -> Callable[[Any], VPTR]:
    """What makes a `VPTR` of a transformer's config, around the autoencoder of a recipe."""
    return lambda config: VPTR(cast(FramePlayers, frames.load()).autoencoder, kind(config))


def objectives(model: VPTR, config: VPTRTraining) -> list[Objective]:
    """AdamW for the transformer alone."""
    weights = model.transformer.parameters()
    optimizer = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=0.01)
    return [Objective(partial(vptr_loss, config), optimizer, max_grad_norm=1.0)]


def vptr_loss(
    config: VPTRTraining, model: Any, batch: Batch, step: int
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Of all frames that the transformer predicts from true ones."""
    video, context = batch["video"], config.model.context
    with torch.no_grad():
        features = model.autoencoder.encode(video)
    if isinstance(model.transformer, NonAutoregressiveVPTR):
        given = features[:, context - int(batch["seen"][0]) : context]
    else:
        given = features[:, :-1]
    predicted = model.transformer(given)
    target = video[:, -predicted.shape[1] :]
    frames = model.autoencoder.decode(predicted)
    error = F.mse_loss(frames, target) / video.var()
    drift = F.mse_loss(predicted, features[:, -predicted.shape[1] :]) / features.var()
    loss, parts = error + config.feature_weight * drift, {"error": error, "features": drift}
    if step < config.edges_from * config.steps:
        return loss, parts
    edges = gradient_difference_loss(frames, target)
    return loss + config.edges * edges, {**parts, "edges": edges}


def context_lengths(config: VPTRTraining, generator: torch.Generator) -> Tensor:
    """How many frames of context each clip of a batch shows: the same number for all."""
    chance, length = torch.rand(2, generator=generator)
    seen = config.model.context
    if chance < config.shorter:
        seen = 1 + int(length * (seen - 1))
    return torch.full((config.batch_size,), seen)


def draw_video(config: VPTRTraining, generator: torch.Generator) -> dict[str, Tensor]:
    """New clips of train digits."""
    clips = world("train", config.size).sample(config.batch_size, generator=generator)
    return {"video": clips.video}


def draw(config: VPTRTraining, generator: torch.Generator) -> dict[str, Tensor]:
    """New clips of train digits, and how many frames of context NAR is shown."""
    video = draw_video(config, generator)
    return {**video, "seen": context_lengths(config, generator)}


def evaluate(model: nn.Module, config: VPTRTraining) -> dict[str, Metric]:
    """The prediction and its opponents."""
    exam = make_exam(config.size)
    measured = examine(predict(model, exam), exam)
    for name, prediction in exam.opponents().items():
        measured |= examine(prediction, exam, f"{name}_")
    return measured


def monitor(model: nn.Module, config: VPTRTraining) -> dict[str, float]:
    """One point of the history."""
    return quick_look(model, config.size)


def sheet(model: nn.Module, config: VPTRTraining) -> Image.Image:
    """Held-out clips, twice each: the truth, and the prediction after the same context."""
    exam = make_exam(config.size, num_clips=SHOWN)
    rows = torch.stack([exam.future, predict(model, exam)], 1)  # (B, 2, H, 1, S, S)
    seen = exam.context[:, None].expand(-1, 2, -1, -1, -1, -1)
    return film(torch.cat([seen, rows], 2).flatten(0, 1))


def evaluate_far(model: VPTR, config: VPTRTraining) -> dict[str, Metric]:
    """As PAR; and far past the trained horizon."""
    far_ahead = make_exam(config.size, LONG, EXAMINED_LONG)
    slid = over_time(predict(model, far_ahead), far_ahead, "long")
    return {**evaluate_par(model, config), **slid}


def evaluate_par(model: VPTR, config: VPTRTraining) -> dict[str, Metric]:
    """As all of them; and with recursion in latents."""
    exam = make_exam(config.size)
    latents = predict(model, exam, rollout=Rollout(through_pixels=False))
    return {**evaluate(model, config), **examine(latents, exam, "latents_")}


def evaluate_nar(model: VPTR, config: VPTRTraining) -> dict[str, Metric]:
    """As all of them; and far past the trained horizon, in blocks."""
    exam = make_exam(config.size, LONG, EXAMINED_LONG)
    measured = evaluate(model, config)
    for name, rollout in BLOCKS.items():
        measured |= over_time(predict(model, exam, rollout=rollout), exam, name)
    return measured


def squared_error(model: nn.Module, batch: Batch, _step: int) -> Tensor:
    """The ConvLSTM's, over all predicted frames."""
    context, future = split(batch["video"], CONTEXT)
    return F.mse_loss(model(context, future.shape[1]), future)


def convlstm_objectives(model: ConvLSTM, config: Config) -> list[Objective]:
    """Squared error, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01)
    return [Objective(squared_error, optimizer, max_grad_norm=0.2)]


BLOCK = VidHRFormerConfig(dim=96, map_size=4, window_size=4, num_heads=4)
SMALL = VPTRTraining(
    model=VPTRConfig(CONTEXT, HORIZON, depth=4, block=BLOCK),
    steps=1400,
    batch_size=8,
    learning_rate=3e-3,
    ema_decay=0.99,
    every=200,
    channels_last=True,
)
FULL = replace(
    SMALL, model=PUBLISHED_FAR, size=64, steps=50_000, batch_size=16, learning_rate=1e-4, every=5000
)
ASKING = replace(SMALL, model=replace(SMALL.model, depth=2, decoder_depth=3))
ASKING_FULL = replace(FULL, model=PUBLISHED_NAR)
WORLD = "Moving MNIST with one digit, two in full size, digits of the train split"

FAR = Recipe(
    name="vptr_far",
    sentence="VPTR that predicts one frame after the other (FAR)",
    data=WORLD,
    small=SMALL,
    full=FULL,
    build=build(AutoregressiveVPTR),
    objectives=objectives,
    draw=draw,
    evaluate=evaluate_far,
    sheet=partial(long_film, rollouts=RECURSIONS),
    criterion="mse",
    exact_sheet=True,
    schedule=lambda config: warmup_cosine(config.steps, min(100, config.steps // 10)),
    monitor=monitor,
)
AT_8 = replace(BLOCK, dim=48, map_size=8, window_size=4)
FAR_8 = replace(
    FAR,
    name="vptr_far_8",
    sentence="FAR on maps of 8 x 8 places, to see windows of 4 x 4",
    small=replace(SMALL, model=replace(SMALL.model, block=AT_8), steps=900),
    build=build(AutoregressiveVPTR, MOVING_8),
    evaluate=evaluate,
    sheet=sheet,
    exact_sheet=False,
)
NAR = replace(
    FAR,
    name="vptr_nar",
    sentence="VPTR that predicts all frames at once (NAR)",
    small=replace(ASKING, steps=3000, learning_rate=1e-3, shorter=0.1),
    full=replace(ASKING_FULL, shorter=0.1),
    build=build(NonAutoregressiveVPTR),
    evaluate=evaluate_nar,
    sheet=partial(long_film, rollouts=BLOCKS),
)
PAR = replace(
    FAR,
    name="vptr_par",
    sentence="VPTR that predicts one frame after the other, asking an encoded context (PAR)",
    small=replace(ASKING, steps=2400, learning_rate=1.5e-3),
    full=ASKING_FULL,
    build=build(PartiallyAutoregressiveVPTR),
    evaluate=evaluate_par,
    sheet=sheet,
    exact_sheet=False,
)
CONVLSTM = replace(
    PAR,
    name="moving_convlstm",
    sentence="A ConvLSTM on the same clips, for comparison",
    small=replace(SMALL, model=ConvLSTMConfig(dims=(64,)), steps=1500),
    full=replace(FULL, model=ConvLSTMConfig(size=64, patch_size=4, dims=(128, 128))),
    build=ConvLSTM,
    objectives=convlstm_objectives,
    draw=draw_video,
    evaluate=evaluate,
)

RECIPES = (FAR, FAR_8, NAR, PAR, CONVLSTM)
