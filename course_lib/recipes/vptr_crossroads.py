"""Chapter 4: FAR at the crossroads, and a NAR that goes on in blocks where digits may come back.

Source: Ye & Bilodeau 2022 (arXiv 2212.06026). Both networks are deterministic and lower a squared
error, so the best they can do is known exactly, and stands beside what they do. Errors are squared,
mean over pixels in [0, 1]; steps count from the frame that shows the turn, the first being 0.

    open_error, open_floor          all frames after the context, predicted from it alone
    teacher_error, teacher_floor    each frame from all true frames before it
    error_overlap_k, bayes_overlap_k    five frames of `twice` after the k frames before them

The floors are variances of what is possible given what was seen: exact sums over all futures.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float, Float64
from PIL import Image
from torch import Tensor

from course_lib.data.crossroads import BASE, TWICE
from course_lib.data.futures import Futures
from course_lib.evaluation.futures import Protocol, draw_contexts
from course_lib.models.vptr import (
    PUBLISHED_FAR,
    PUBLISHED_NAR,
    AutoregressiveVPTR,
    Rollout,
    VPTRConfig,
)
from course_lib.models.vptr_decoders import NonAutoregressiveVPTR
from course_lib.models.vptr_video import VPTR
from course_lib.recipes import svg_exam
from course_lib.recipes.chapter0 import EXAM_SEED, Exam, is_valid, make_exam, measured_excess, world
from course_lib.recipes.frame_autoencoder import CROSSROADS
from course_lib.recipes.vptr import BLOCK, SMALL, VPTRTraining, build, context_lengths
from course_lib.recipes.vptr import FAR as MOVING_FAR
from course_lib.recipes.vptr_exam import film
from course_lib.training.recipe import Metric

EXAMINED = 25  # contexts of each cue
DIGITS = 4  # of each cue, in blocks
STEPS = 6  # after the turn that every clip has
OVERLAPS = (1, 2, 5)  # frames

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


# Blocks in `twice`.


@dataclass(frozen=True, eq=False)
class Windows:
    """All stretches of one digit's clips, each with its probability."""

    context: Float[Tensor, "W L 1 S S"]
    future: Float[Tensor, "W N 1 S S"]
    probs: Float64[Tensor, "W"]

    def mean_after(self, overlap: int) -> Float[Tensor, "W N 1 S S"]:
        """The best prediction for each when only the last `overlap` frames are seen."""
        seen = self.context[:, -overlap:].flatten(1)
        group = torch.unique(seen, dim=0, return_inverse=True)[1]
        member = torch.nn.functional.one_hot(group).double().T * self.probs  # (groups, W)
        shares = member / member.sum(1, keepdim=True)
        return torch.tensordot(shares, self.future.double(), dims=1)[group].float()

    def error(self, prediction: Float[Tensor, "W N 1 S S"]) -> Float64[Tensor, "N"]:
        """Expected squared error of every frame, pixels in [0, 1]."""
        return self.probs @ (prediction - self.future).double().square().mean((2, 3, 4)) / 4


@cache
def windows(index: int, context: int, horizon: int) -> Windows:
    """Those of a held-out digit; every arrival and every first frame is equally likely."""
    held_out, length = svg_exam.world("test"), context + horizon
    starts = TWICE.num_frames - length + 1
    clips, probs = [], []
    for arrival in TWICE.arrivals:
        futures = held_out.futures(index, arrival)
        whole = torch.cat(
            [futures.context.expand(len(futures), -1, -1, -1, -1), futures.clips], dim=1
        )
        for start in range(starts):
            clips.append(whole[:, start : start + length])
            probs.append(futures.probs / (len(TWICE.arrivals) * starts))
    stretches = torch.cat(clips)
    return Windows(stretches[:, :context], stretches[:, context:], torch.cat(probs))


def draw_windows(config: VPTRTraining, generator: torch.Generator) -> dict[str, Tensor]:
    """Stretches of new clips of `twice`, all beginning at the same frame."""
    video = svg_exam.world("train").sample(config.batch_size, generator=generator).video
    length = config.model.context + config.model.horizon
    start = torch.randint(TWICE.num_frames - length + 1, (1,), generator=generator).item()
    video = video[:, start : start + length]
    return {"video": video, "seen": context_lengths(config, generator)}


def exam_windows(config: VPTRTraining, num_digits: int) -> Iterator[Windows]:
    """The windows of a few held-out digits of each cue."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    protocol = Protocol(contexts_per_cue=num_digits, num_samples=1)
    for index, _ in draw_contexts(svg_exam.world("test"), protocol, generator=generator):
        yield windows(index, config.model.context, config.model.horizon)


def evaluate_blocks(model: VPTR, config: VPTRTraining) -> dict[str, Metric]:
    """The error after so many frames of overlap, of the network and of the exact best."""
    rows: dict[str, list[Tensor]] = {}
    for each in exam_windows(config, DIGITS):
        for overlap in OVERLAPS:
            drawn = predict(model, each.context[:, -overlap:], config.model.horizon)
            found = {"error": each.error(drawn), "bayes": each.error(each.mean_after(overlap))}
            for name, values in found.items():
                rows.setdefault(f"{name}_overlap_{overlap}", []).append(values)
    metrics = {}
    for name, values in rows.items():
        table = torch.stack(values)  # (digits, N)
        metrics[name] = Metric.of_mean(table.mean(1))
        for step, column in enumerate(table.unbind(1), start=1):
            metrics[f"{name}_step_{step}"] = Metric.of_mean(column)
    return metrics


def monitor_blocks(model: VPTR, config: VPTRTraining) -> dict[str, float]:
    """One point of the history."""
    each = next(exam_windows(config, 1))
    return {
        f"error_overlap_{overlap}": each.error(
            predict(model, each.context[:, -overlap:], config.model.horizon)
        )
        .mean()
        .item()
        for overlap in OVERLAPS
    }


def doubtful(config: VPTRTraining) -> Windows:
    """Stretches whose last frame shows a digit on an arm: is it on its way out or back?"""
    each = next(w for n, w in enumerate(exam_windows(config, 1)) if n == 1)  # a 4 or a 9
    blind, sighted = (each.mean_after(k) for k in (1, config.model.context))
    unsure = (blind - sighted).square().flatten(1).mean(1) > 1e-3
    return Windows(each.context[unsure], each.future[unsure], each.probs[unsure])


def sheet_blocks(model: VPTR, config: VPTRTraining) -> Image.Image:
    """Of a few doubtful stretches: the truth, the best after one frame, its prediction, after 5."""
    each, rows = doubtful(config), []
    last = config.model.context
    for row in torch.linspace(0, len(each.probs) - 1, 4).long().tolist():
        context = each.context[row : row + 1]
        best = each.mean_after(1)[row : row + 1]
        drawn = [predict(model, context[:, -k:], config.model.horizon) for k in (1, last)]
        rows += [torch.cat([context, f], 1) for f in (each.future[row : row + 1], best, *drawn)]
    return film(torch.cat(rows))


FAR = replace(
    MOVING_FAR,
    name="far_crossroads",
    sentence="FAR at the crossroads, where the best answers are known",
    data="crossroads base at 32 pixels, digits of the train split",
    small=replace(SMALL, model=VPTRConfig(BASE.context, BASE.horizon, depth=4, block=BLOCK)),
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
TWICE_MODEL = VPTRConfig(context=5, horizon=5, depth=2, decoder_depth=3, block=BLOCK)
NAR = replace(
    FAR,
    name="nar_twice",
    sentence="NAR in blocks of five at the crossroads where digits may come back",
    data="stretches of crossroads twice at 32 pixels, digits of the train split",
    small=replace(SMALL, model=TWICE_MODEL, shorter=0.6),
    full=replace(
        SMALL,
        model=replace(PUBLISHED_NAR, context=5, horizon=5),
        steps=20_000,
        batch_size=32,
        shorter=0.6,
    ),
    build=build(NonAutoregressiveVPTR, CROSSROADS),
    draw=draw_windows,
    evaluate=evaluate_blocks,
    sheet=sheet_blocks,
    criterion="error_overlap_5",
    monitor=monitor_blocks,
)

RECIPES = (FAR, NAR)
