"""Chapter 4: a NAR that goes on in blocks, where the digits of `twice` may come back.

Source: Ye & Bilodeau 2022 (arXiv 2212.06026). Five frames are predicted after the k frames before
them, wherever in a clip they stand. One frame cannot tell a digit on its way out from one on its
way back; what that costs at least is an exact sum over all stretches with the same k last frames.

    error_overlap_k, bayes_overlap_k    squared, mean over pixels in [0, 1]
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float, Float64
from PIL import Image
from torch import Tensor

from course_lib.data.crossroads import TWICE
from course_lib.evaluation.futures import Protocol, draw_contexts
from course_lib.models.vptr import (
    PUBLISHED_NAR,
    VPTRConfig,
)
from course_lib.models.vptr_decoders import NonAutoregressiveVPTR
from course_lib.models.vptr_video import VPTR
from course_lib.recipes import svg_exam
from course_lib.recipes.chapter0 import EXAM_SEED
from course_lib.recipes.film import film
from course_lib.recipes.frame_autoencoder import CROSSROADS
from course_lib.recipes.vptr import SMALL, VPTRTraining, build, context_lengths
from course_lib.recipes.vptr_crossroads import BLOCK, FAR, predict
from course_lib.training.recipe import Metric

DIGITS = 4  # of each cue
OVERLAPS = (1, 2, 5)  # frames


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


TWICE_MODEL = VPTRConfig(context=5, horizon=5, depth=2, decoder_depth=3, block=BLOCK)
NAR = replace(
    FAR,
    name="nar_twice",
    sentence="NAR in blocks of five at the crossroads where digits may come back",
    data="stretches of crossroads twice at 32 pixels, digits of the train split",
    small=replace(SMALL, model=TWICE_MODEL, learning_rate=1e-3, steps=1600, shorter=0.6),
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

RECIPES = (NAR,)
