"""Chapter 4: FAR at the crossroads, where the least error is known exactly.

Source: Ye & Bilodeau 2022 (arXiv 2212.06026). FAR is deterministic and lowers a squared error, so
it should draw the mean of the futures. Errors are squared, mean over pixels in [0, 1]; steps count
from the frame that shows the turn, which is 0.

    open_error, open_floor          all frames after the context, predicted from it alone
    teacher_error, teacher_floor    each frame from all true frames before it

The floors are variances of what is possible given what was seen: exact sums over all futures.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Float64
from PIL import Image
from torch import Tensor

from course_lib.data.crossroads import BASE
from course_lib.data.futures import Futures
from course_lib.models.vidhrformer import VidHRFormerConfig
from course_lib.models.vptr import (
    PUBLISHED_FAR,
    AutoregressiveVPTR,
    Rollout,
    VPTRConfig,
)
from course_lib.models.vptr_video import VPTR
from course_lib.recipes.chapter0 import Exam, is_valid, make_exam, measured_excess, world
from course_lib.recipes.film import film
from course_lib.recipes.frame_autoencoder import CROSSROADS
from course_lib.recipes.vptr import FAR as MOVING_FAR
from course_lib.recipes.vptr import SMALL, VPTRTraining, build, context_lengths
from course_lib.training.recipe import Metric

EXAMINED = 25  # contexts of each cue
STEPS = 6  # after the turn that every clip has
BLOCK = VidHRFormerConfig(dim=64, map_size=4, window_size=4, num_heads=4)

Continuations = Float[Tensor, "N H 1 S S"]


def draw(config: VPTRTraining, generator: torch.Generator) -> dict[str, Tensor]:
    """New clips of `base`."""
    video = world("train").sample(config.batch_size, generator=generator).video
    return {"video": video, "seen": context_lengths(config, generator)}


def predict(model: VPTR, context: Float[Tensor, "N T 1 S S"], horizon: int, **how) -> Continuations:
    """On the CPU, a few clips at a time."""
    device = next(model.parameters()).device
    parts = context.to(device).split(25)
    return torch.cat([model.predict(part, horizon, **how).float().cpu() for part in parts])


def teacher_forced(model: VPTR, video: Float[Tensor, "N T 1 S S"], context: int) -> Continuations:
    """Each frame after the context, predicted from the true frames before it."""
    device = next(model.parameters()).device
    frames = []
    for part in video.to(device).split(25):
        predicted = model.transformer(model.autoencoder.encode(part)[:, :-1])
        frames.append(model.autoencoder.decode(predicted[:, context - 1 :]).float().cpu())
    return torch.cat(frames)


def teacher_floor(futures: Futures) -> Float64[Tensor, "H"]:
    """The least error of each frame given all true frames before it, pixels in [0, 1]."""
    floor = torch.zeros(futures.clips.shape[1], dtype=torch.float64)
    for chance, clip in zip(futures.probs, futures.clips, strict=True):
        if chance > 0:
            for step in range(len(floor)):
                floor[step] += chance * futures.filter(clip[:step]).mmse()[0] / 4
    return floor


@torch.no_grad()
def against_floors(model: VPTR, exam: Exam) -> dict[str, Metric]:
    """Both errors and both floors, by steps from the turn."""
    columns: dict[str, list[Tensor]] = {}
    open_loop = predict(model, exam.context, exam.horizon)
    for drawn, futures, mmse in zip(open_loop, exam.futures, exam.mmse, strict=True):
        clips, probs = futures.clips, futures.probs
        past = futures.context.expand(len(clips), -1, -1, -1, -1)
        taught = teacher_forced(model, torch.cat([past, clips], 1), past.shape[1])
        after = slice(futures.turn_step, futures.turn_step + STEPS)
        found = {
            "open_error": probs @ (drawn - clips).double().square().mean((2, 3, 4)) / 4,
            "open_floor": mmse / 4,
            "teacher_error": probs @ (taught - clips).double().square().mean((2, 3, 4)) / 4,
            "teacher_floor": teacher_floor(futures),
        }
        for name, values in found.items():
            columns.setdefault(name, []).append(values[after])
    return {
        f"{name}_step_{step}": Metric.of_mean(torch.stack(rows)[:, step])
        for name, rows in columns.items()
        for step in range(STEPS)
    }


def evaluate_far(model: VPTR, _config: VPTRTraining) -> dict[str, Metric]:
    """How far from the exact mean it ends, what its clips show, and both floors."""
    exam = make_exam(EXAMINED)
    prediction = predict(model, exam.context, exam.horizon)
    latents = predict(model, exam.context, exam.horizon, rollout=Rollout(through_pixels=False))
    valid = is_valid(prediction, exam)
    return {
        "excess": measured_excess(prediction, exam),
        "excess_latents": measured_excess(latents, exam),
        "valid": Metric.of_share(int(valid.sum()), len(valid)),
        **against_floors(model, exam),
    }


def monitor_far(model: VPTR, _config: VPTRTraining) -> dict[str, float]:
    """One point of the history."""
    exam = make_exam(10)
    return {"excess": measured_excess(predict(model, exam.context, exam.horizon), exam).value}


def sheet_far(model: VPTR, _config: VPTRTraining) -> Image.Image:
    """For a context of each open cue: the exact mean above the prediction, context in front."""
    exam = make_exam(EXAMINED)
    chosen = torch.stack([(exam.cue == cue).nonzero()[0, 0] for cue in exam.cue.unique()])
    context = exam.context[chosen]
    rows = torch.stack([exam.mean[chosen], predict(model, context, exam.horizon)], 1)
    seen = context[:, None].expand(-1, 2, -1, -1, -1, -1)
    return film(torch.cat([seen, rows], 2).flatten(0, 1))


FAR = replace(
    MOVING_FAR,
    name="far_crossroads",
    sentence="FAR at the crossroads, where the best answers are known",
    data="crossroads base at 32 pixels, digits of the train split",
    small=replace(
        SMALL, model=VPTRConfig(BASE.context, BASE.horizon, depth=4, block=BLOCK), steps=1200
    ),
    full=replace(
        SMALL,
        model=replace(PUBLISHED_FAR, context=BASE.context, horizon=BASE.horizon),
        steps=20_000,
        batch_size=32,
    ),
    build=build(AutoregressiveVPTR, CROSSROADS),
    draw=draw,
    evaluate=evaluate_far,
    sheet=sheet_far,
    criterion="excess",
    exact_sheet=False,
    monitor=monitor_far,
)

RECIPES = (FAR,)
