"""Chapter 0: a deterministic predictor, trained with squared error on single drawn futures.

It never sees the conditional mean, yet that is where it goes. How far it has come is the excess:

    sum over frames after the turn of |f - m|^2, mean over contexts
    ---------------------------------------------------------------
    sum over frames after the turn of the MMSE,  mean over contexts

on held-out digits whose future is ambiguous; 0 is the exact mean m. Beside it stand predictors that
need no training: the likeliest future, the empty road, and the blur of one who cannot read the cue.

    state = PREDICTOR.start(LIVE)
    for step in PREDICTOR.train_steps(state, LIVE):
        ...
    measured_excess(state.ema.model.predict(exam.context, exam.horizon), exam)
"""

from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int64
from PIL import Image
from torch import Tensor

from course_lib.data.crossroads import CUE_OF_DIGIT, CUES, Crossroads, turn_probs
from course_lib.data.digits import load_digits
from course_lib.data.futures import Futures
from course_lib.data.video import split
from course_lib.evaluation import futures as judge
from course_lib.models.convlstm import ConvLSTM, ConvLSTMConfig
from course_lib.recipes.film import film
from course_lib.training.loop import Batch, Objective, warmup_cosine
from course_lib.training.recipe import Config, Metric, Recipe

Continuations = Float[Tensor, "N H 1 S S"]  # one for every context of an exam

EXAM_SEED = 20260
MONITORED = 25  # contexts per cue at each point of the history
EXAMINED = 100  # contexts per cue for the results
WARMUP = 50  # updates


@dataclass(frozen=True, eq=False)
class Exam:
    """Contexts of held-out digits with an ambiguous future, and what is known about each."""

    futures: tuple[Futures, ...]  # those of probability 0 included
    context: Float[Tensor, "N T 1 S S"]
    mean: Continuations  # the exact conditional mean
    mmse: Float64[Tensor, "N H"]
    after: Bool[Tensor, "N H"]  # frames that show the turn
    cue: Int64[Tensor, "N"]  # index into CUES

    @property
    def horizon(self) -> int:
        """Frames to predict."""
        return self.mean.shape[1]

    def errors(self, prediction: Continuations, target: Continuations) -> Float64[Tensor, "N"]:
        """|prediction - target|^2 of each context, mean over pixels, summed over frames after."""
        error = (prediction - target).double().square().mean((2, 3, 4))  # (N, H)
        return (error * self.after).sum(1)

    def least(self) -> Float64[Tensor, "N"]:
        """The least reachable error of each context, in the same unit."""
        return (self.mmse * self.after).sum(1)


@cache
def world(split_name: str) -> Crossroads:
    """The `base` crossroads at 32 pixels with the digits of one split."""
    return Crossroads(load_digits(split_name))


@cache
def make_exam(contexts_per_cue: int) -> Exam:
    """Equally many contexts of each ambiguous cue; equal numbers give equal contexts."""
    held_out = world("test")
    protocol = judge.Protocol(contexts_per_cue, num_samples=1)
    generator = torch.Generator().manual_seed(EXAM_SEED)
    drawn = [
        (index, arrival, cue)
        for index, arrival in judge.draw_contexts(held_out, protocol, generator=generator)
        if max(CUES[cue := int(CUE_OF_DIGIT[held_out.digits.labels[index]])].turn_probs) < 1
    ]
    futures = [held_out.futures(index, when, include_impossible=True) for index, when, _ in drawn]
    step = torch.arange(held_out.preset.horizon)
    return Exam(
        futures=tuple(futures),
        context=torch.stack([f.context for f in futures]),
        mean=torch.stack([f.mean() for f in futures]),
        mmse=torch.stack([f.mmse() for f in futures]),
        after=torch.stack([step >= f.turn_step for f in futures]),
        cue=torch.tensor([cue for _, _, cue in drawn]),
    )


def measured_excess(prediction: Continuations, exam: Exam) -> Metric:
    """The excess of a prediction for every context of `exam`, with its bootstrap interval."""
    return ratio(exam.errors(prediction, exam.mean), exam.least(), exam.cue)


def ratio(
    above: Float64[Tensor, "N"], below: Float64[Tensor, "N"], strata: Int64[Tensor, "N"]
) -> Metric:
    """sum(above) / sum(below) with its interval when contexts are redrawn within each stratum."""
    generator = torch.Generator().manual_seed(0)
    sums = torch.zeros(2, judge.BOOTSTRAP_ROUNDS, dtype=torch.float64)
    for stratum in strata.unique():
        members = torch.stack([above, below])[:, strata == stratum]
        redrawn = torch.randint(
            members.shape[1], (judge.BOOTSTRAP_ROUNDS, members.shape[1]), generator=generator
        )
        sums += members[:, redrawn].sum(-1)
    low, high = (sums[0] / sums[1]).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return Metric((above.sum() / below.sum()).item(), low, high)


def likeliest(exam: Exam) -> Continuations:
    """The most probable future of each context; of equal ones the first."""
    return torch.stack([f.clips[f.probs.argmax()] for f in exam.futures])


def empty_road(exam: Exam) -> Continuations:
    """The map without a digit."""
    return torch.stack([f.background.expand_as(f.clips[0]) for f in exam.futures])


def blind_blur(exam: Exam) -> Continuations:
    """The mean future where the digit is copied well and its class is not read at all."""
    probs = turn_probs(torch.arange(10)).mean(0).float()
    return torch.stack([torch.tensordot(probs, f.clips, dims=1) for f in exam.futures])


def is_valid(prediction: Continuations, exam: Exam) -> Bool[Tensor, "N"]:
    """Whether each prediction shows one of its possible futures."""
    judged = []
    for clip, futures in zip(prediction, exam.futures, strict=True):
        whole, worst = judge.distances(clip[None], futures)
        shows = (whole <= judge.VALID_DISTANCE) & (worst <= judge.VALID_FRAME) & (futures.probs > 0)
        judged.append(shows.any())
    return torch.stack(judged)


def pythagoras_gap(prediction: Continuations, exam: Exam) -> Metric:
    """E|f - x|^2 - MMSE - E|f - m|^2 with x drawn, in units of the MMSE, +- 2 standard errors."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    drawn = torch.cat([futures.sample(1, generator=generator) for futures in exam.futures])
    least = exam.least()
    gaps = exam.errors(prediction, drawn) - least - exam.errors(prediction, exam.mean)
    gaps = gaps / least.mean()
    mean, two_errors = gaps.mean().item(), 2 * gaps.std().item() / len(gaps) ** 0.5
    return Metric(mean, mean - two_errors, mean + two_errors)


def evaluate(model: ConvLSTM, _config: Config) -> dict[str, Metric]:
    """What the chapter says about the trained predictor, on held-out digits."""
    exam = make_exam(EXAMINED)
    prediction = _predict(model, exam)
    valid = is_valid(prediction, exam)
    return {
        "excess": measured_excess(prediction, exam),
        "excess_likeliest": measured_excess(likeliest(exam), exam),
        "excess_empty_road": measured_excess(empty_road(exam), exam),
        "excess_blind_blur": measured_excess(blind_blur(exam), exam),
        "valid": Metric.of_share(int(valid.sum()), len(valid)),
        "pythagoras_gap": pythagoras_gap(prediction, exam),
    }


def monitor(model: ConvLSTM, _config: Config) -> dict[str, float]:
    """One point of the curve that approaches the mean."""
    exam = make_exam(MONITORED)
    measured = measured_excess(_predict(model, exam), exam)
    return {"excess": measured.value, "excess_low": measured.low, "excess_high": measured.high}


def _predict(model: ConvLSTM, exam: Exam) -> Continuations:
    device = next(model.parameters()).device
    parts = exam.context.to(device).split(50)
    return torch.cat([model.predict(part, exam.horizon).float().cpu() for part in parts])


def objectives(model: ConvLSTM, config: Config) -> list[Objective]:
    """Squared error, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01)
    return [Objective(squared_error, optimizer, max_grad_norm=0.2)]


def squared_error(model: torch.nn.Module, batch: Batch, _step: int) -> Tensor:
    """Against the one future that happened, over all predicted frames."""
    return F.mse_loss(model(batch["context"], batch["future"].shape[1]), batch["future"])


def draw(config: Config, generator: torch.Generator) -> dict[str, Tensor]:
    """New clips from the world; every digit of the train split comes again and again."""
    train_world = world("train")
    clips = train_world.sample(config.batch_size, generator=generator)
    context, future = split(clips.video, train_world.preset.context)
    return {"context": context, "future": future}


def sheet(model: ConvLSTM, _config: Config) -> Image.Image:
    """For two contexts of each cue: the prediction above the exact mean, context in front."""
    exam = make_exam(MONITORED)
    chosen = torch.cat([(exam.cue == cue).nonzero()[:2, 0] for cue in exam.cue.unique()])
    rows = torch.stack([_predict(model, exam), exam.mean], dim=1)[chosen].flatten(0, 1)
    return film(torch.cat([exam.context[chosen].repeat_interleave(2, 0), rows], dim=1))


SMALL = Config(
    model=ConvLSTMConfig(dims=(96,)),
    steps=8000,
    batch_size=8,
    learning_rate=4e-3,
    ema_decay=0.998,
    every=250,
)
LIVE = replace(  # half a minute in a notebook: past the likeliest future, not yet at the mean
    SMALL, model=ConvLSTMConfig(dims=(32,)), steps=900, learning_rate=1e-2, ema_decay=0.98, every=50
)

PREDICTOR = Recipe(
    name="chapter0_predictor",
    sentence="A ConvLSTM that squared error drives to the mean of the futures at the crossroads",
    data="crossroads base at 32 pixels, digits of the train split",
    small=SMALL,
    full=replace(
        SMALL, model=ConvLSTMConfig(patch_size=2, dims=(64, 64)), steps=20000, batch_size=64
    ),
    build=ConvLSTM,
    objectives=objectives,
    draw=draw,
    evaluate=evaluate,
    sheet=sheet,
    criterion="excess",
    schedule=lambda config: warmup_cosine(config.steps, min(WARMUP, config.steps // 10)),
    monitor=monitor,
)

RECIPES = (PREDICTOR,)
