"""Chapter 1's exam: clips of held-out digits, where their news is, and what a model makes of them.

The news of a frame is its entropy given the frames before it, in nats: more than 0 at most twice in
a clip, where the turn is first seen and where the return is.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from course_lib.data.crossroads import CUE_OF_DIGIT, CUES, TWICE, Clips, Crossroads
from course_lib.data.digits import load_digits
from course_lib.data.futures import Futures
from course_lib.evaluation import futures as judge
from course_lib.interfaces import Video
from course_lib.models.svg import SVG
from course_lib.training.recipe import Metric

EXAM_SEED = 20261
EXAMINED = 1000  # clips for the results
NUM_EVENTS = (1, 2, 2, 1, 2)  # open ones of each cue
JUDGED = ("valid", "forbidden", "total_variation", "energy_score")


@cache
def world(split_name: str) -> Crossroads:
    """The `twice` crossroads at 32 pixels with the digits of one split."""
    return Crossroads(load_digits(split_name), TWICE)


@dataclass(frozen=True, eq=False)
class Exam:
    """Held-out clips, what may follow each of their contexts, and when there is news."""

    clips: Clips
    futures: tuple[Futures, ...]  # those of probability 0 included
    cue: Int64[Tensor, "N"]  # index into CUES
    news: Float64[Tensor, "N H"]  # nats that a frame adds, given the frames before it: exact

    @property
    def truth(self) -> Video:
        """The frames after the context."""
        return self.clips.video[:, TWICE.context :]

    def at(self, event: Literal["turn", "return"]) -> Bool[Tensor, "N H"]:
        """Where each clip's turn, or return, is first seen, if it was open until then."""
        tau = TWICE.tau1(0) if event == "turn" else TWICE.tau2(0)
        frame = torch.arange(TWICE.context, TWICE.num_frames)
        return (frame == tau + self.clips.arrival[:, None]) & (self.news > 0)


@cache
def make_exam(num_clips: int = EXAMINED) -> Exam:
    """Clips of held-out digits; equal numbers give equal clips."""
    held_out = world("test")
    clips = held_out.sample(num_clips, generator=torch.Generator().manual_seed(EXAM_SEED))
    cases = list(zip(clips.index.tolist(), clips.arrival.tolist(), strict=True))
    news = []
    for case, video in zip(cases, clips.video, strict=True):
        possible, after = held_out.futures(*case), video[TWICE.context :]
        first = TWICE.tau2(case[1]) - TWICE.context  # until here only the turn was open
        turned = possible.filter(after[:first])
        news.append(torch.cat([possible.entropy()[:first], turned.entropy()]))
    return Exam(
        clips=clips,
        futures=tuple(held_out.futures(*case, include_impossible=True) for case in cases),
        cue=CUE_OF_DIGIT[clips.label],
        news=torch.stack(news),
    )


def reconstruct(
    model: SVG, video: Video, *, generator: torch.Generator | None = None
) -> Float[Tensor, "B F C H W"]:
    """The frames after the context, from latents of the posterior, which has seen them.

    As in a prediction, the model is fed its own frames.
    """
    z = model.infer(video, TWICE.context).sample(generator=generator)
    return model.predict(video[:, : TWICE.context], TWICE.horizon, z=z)


def kl_per_frame(model: SVG, exam: Exam) -> Float[Tensor, "N H"]:
    """KL(posterior || prior) in nats, while the true frames are fed."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    eps = torch.randn(*exam.news.shape, model.config.latent_dim, generator=generator)
    return model(exam.clips.video, TWICE.context, eps).kl()


def shows_a_future(predicted: Video, exam: Exam) -> Bool[Tensor, "N"]:
    """Whether each clip shows a possible future of its context."""
    shows = []
    for clip, futures in zip(predicted, exam.futures, strict=True):
        whole, worst = judge.distances(clip[None], futures)
        valid = (whole <= judge.VALID_DISTANCE) & (worst <= judge.VALID_FRAME)
        shows.append((valid[0] & (futures.probs > 0)).any())
    return torch.stack(shows)


def of_samples(judgement: judge.Judgement) -> dict[str, Metric]:
    """A judgement; valid also apart for cues where one event is open, and where two are."""
    of_one = [s for s in judgement.scores if NUM_EVENTS[s.cue] == 1]
    of_two = [s for s in judgement.scores if NUM_EVENTS[s.cue] == 2]
    floors = ("total_variation_floor", "energy_score_floor")
    return {
        **{name: _metric(getattr(judgement, name)) for name in JUDGED},
        **{name: Metric(*[getattr(judgement, name)] * 3) for name in floors},
        "valid_one_event": _metric(judge.summarise(of_one).valid),
        "valid_two_events": _metric(judge.summarise(of_two).valid),
        **{
            f"total_variation_{rule.digits[0]}": _metric(
                judge.summarise(s for s in judgement.scores if s.cue == cue).total_variation
            )
            for cue, rule in enumerate(CUES)
        },
    }


def of_latents(kl: Float[Tensor, "N H"], exam: Exam) -> dict[str, Metric]:
    """Where the nats are: at the first open event, at the second, and in between."""
    turn, back = exam.at("turn"), exam.at("return")
    idle = ~(turn | back)
    turns = turn.any(1)
    largest = ((kl * idle).sum(0) / idle.sum(0).clamp_min(1)).max().item()
    return {
        "rate": mean_over_clips(kl.sum(1), exam.cue),
        "kl_turn": mean_over_clips(kl[turn], exam.cue[turns]),
        "kl_return": mean_over_clips(kl[back], exam.cue[back.any(1)]),
        "kl_idle": mean_over_clips((kl * idle).sum(1), exam.cue),  # nats per clip
        "kl_idle_largest": Metric(largest, largest, largest),  # of the frames, mean over clips
        "kl_slope": kl_slope(kl, exam),
    }


def kl_slope(kl: Float[Tensor, "N H"], exam: Exam) -> Metric:
    """Over the five cues, the slope of the line through (H(turn | cue), mean KL at the turn)."""
    tau1 = exam.clips.arrival + TWICE.tau1(0) - TWICE.context
    at_turn = kl.gather(1, tau1[:, None])[:, 0].double()
    generator = torch.Generator().manual_seed(0)
    entropy, means = [], []
    for cue, rule in enumerate(CUES):
        members = at_turn[exam.cue == cue]
        rounds = (judge.BOOTSTRAP_ROUNDS, len(members))
        redrawn = members[torch.randint(len(members), rounds, generator=generator)].mean(1)
        means.append(torch.cat([members.mean()[None], redrawn]))
        entropy.append(torch.special.entr(torch.tensor(rule.turn_probs)).sum())
    x, y = torch.stack(entropy).double(), torch.stack(means)  # (5,), (5, 1 + rounds)
    centred = x - x.mean()
    slopes = centred @ y / (centred @ centred)
    low, high = slopes[1:].quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return Metric(slopes[0].item(), min(low, slopes[0].item()), max(high, slopes[0].item()))


def mean_over_clips(values: Float[Tensor, "M"], cue: Int64[Tensor, "M"]) -> Metric:
    """With its interval when clips are redrawn within each cue."""
    return _metric(judge.bootstrap(values.double(), cue))


def _metric(estimate: judge.Estimate) -> Metric:
    return Metric(estimate.mean, estimate.low, estimate.high)


@dataclass(frozen=True, eq=False)
class Pad:
    """What becomes of one frame's latent: a plane of two of its coordinates, a future at each."""

    clips: Float[Tensor, "Y X T 1 S S"]  # with the context
    xs: Float[Tensor, "X"]
    ys: Float[Tensor, "Y"]
    regions: Int64[Tensor, "Y X"]  # the nearest future
    draws: Float[Tensor, "N 2"]  # of the prior

    def shares(self, num_futures: int) -> Float64[Tensor, "K"]:
        """Of the prior's draws, those in the region of each future."""
        x = torch.searchsorted((self.xs[1:] + self.xs[:-1]) / 2, self.draws[:, 0].contiguous())
        y = torch.searchsorted((self.ys[1:] + self.ys[:-1]) / 2, self.draws[:, 1].contiguous())
        counts = torch.bincount(self.regions[y, x], minlength=num_futures)
        return counts.double() / len(self.draws)


def futures_on_a_pad(
    model: SVG,
    futures: Futures,
    happened: int,
    step: int,
    plane: tuple[int, int],
    *,
    num_points: int = 21,
    generator: torch.Generator | None = None,
) -> Pad:
    """Vary the latent of frame `step` after the context over three sigmas of its prior.

    Until then future number `happened` takes place: its latents are the posterior's means. `plane`
    names the two coordinates that vary; the others, and all later latents, are means of draws.
    """
    context, horizon = futures.context, futures.clips.shape[1]
    whole = torch.cat([context, futures.clips[happened]])[None]
    before = model.infer(whole, len(context)).mean[0]  # (H, Z)
    reach = torch.linspace(-3, 3, num_points)
    offsets = torch.zeros(num_points, num_points, model.config.latent_dim)
    offsets[..., plane[0]], offsets[..., plane[1]] = reach, reach[:, None]
    offsets = offsets.flatten(0, 1)  # (Y X, Z)
    state = model.observe(context.expand(len(offsets), -1, -1, -1, -1))
    middle = spread = draws = before[0]
    frames = []
    for t in range(horizon):
        z = before[t].expand_as(offsets) if t < step else state.prior.mean
        if t == step:
            draws = torch.cat([state.prior.sample(generator=generator) for _ in range(5)])
            middle, spread = draws.mean(0), draws.std(0)
            z = middle + spread * offsets
        frame, state = model.step(z, state)
        frames.append(frame)
    clips = torch.stack(frames, 1)  # (Y X, H, 1, S, S)
    regions = judge.distances(clips, futures)[0].argmin(1)
    clips = torch.cat([context.expand(len(clips), -1, -1, -1, -1), clips], 1)
    size = (num_points, num_points)
    xs, ys = (middle[p] + spread[p] * reach for p in plane)
    return Pad(clips.unflatten(0, size), xs, ys, regions.unflatten(0, size), draws[:, plane])
