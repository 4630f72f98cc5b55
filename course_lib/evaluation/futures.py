"""Judging sampled futures against those that are known exactly.

Three questions, never one number: is each clip a future at all (valid), does it show one that
cannot happen (forbidden), and do the samples of one context come with the true frequencies (total
variation)? The energy score is the proper score beside them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from course_lib.data.crossroads import CUE_OF_DIGIT, CUES, Crossroads
from course_lib.data.futures import Futures
from course_lib.interfaces import VideoPredictor

VALID_DISTANCE = 0.15  # of D; an empty road has 1, another arm about 2
VALID_FRAME = 0.40  # of D in the worst single frame
BOOTSTRAP_ROUNDS = 2000


@dataclass(frozen=True)
class Protocol:
    """How many contexts are judged, by how many samples each."""

    contexts_per_cue: int
    num_samples: int  # for each context


FULL = Protocol(contexts_per_cue=50, num_samples=200)
QUICK = Protocol(contexts_per_cue=20, num_samples=50)


@dataclass(frozen=True)
class Estimate:
    """A mean over contexts with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class ContextScore:
    """One context judged by its samples."""

    cue: int  # index into CUES
    can_be_forbidden: bool  # has this cue a future of probability 0?
    valid: float  # share of samples
    forbidden: float  # share of samples
    frequencies: tuple[float, ...]  # of the futures, those of probability 0 included
    total_variation: float  # between `frequencies` and the truth
    total_variation_floor: float  # expected of a perfect sampler
    energy_score: float  # root mean square of pixels in [-1, 1]
    energy_score_floor: float  # expected of a perfect sampler


@dataclass(frozen=True)
class Judgement:
    """All contexts judged; `dataclasses.asdict` makes JSON of it."""

    valid: Estimate
    forbidden: Estimate  # over the cues that can produce it
    total_variation: Estimate  # per context, then averaged
    total_variation_floor: float
    energy_score: Estimate
    energy_score_floor: float
    scores: tuple[ContextScore, ...]


def distances(
    samples: Float[Tensor, "N H 1 S S"], futures: Futures
) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N K"]]:
    """D from each sample to each future: over the frames from the turn on, and in the worst frame.

    0 is perfect, 1 an empty road, about 2 another arm. The worst frame is sought in the whole
    prediction, so that a digit lost on its way to the junction counts too.
    """
    # Relative to the map: products of small numbers keep their digits.
    x = (samples - futures.background).flatten(2)  # (N, H, pixels)
    f = (futures.clips - futures.background).flatten(2)  # (K, H, pixels)
    products = torch.einsum("nhp,khp->nkh", x, f)
    size = f.square().sum(-1)  # (K, H)
    error = (x.square().sum(-1)[:, None] - 2 * products + size).clamp_min(0)
    start = futures.turn_step
    whole = error[..., start:].sum(-1) / size[:, start:].sum(-1)
    return whole, (error / size).amax(-1)


def perfect_total_variation(probs: Float64[Tensor, "K"], num_samples: int) -> float:
    """The total variation expected of frequencies drawn from `probs` itself.

    De Moivre's closed form of the mean absolute deviation of a binomial, summed over the futures.
    """
    p, n = probs[(probs > 0) & (probs < 1)], num_samples
    m = (n * p).floor()  # as in E|X - np| = 2 (m+1) C(n, m+1) p^(m+1) (1-p)^(n-m)
    log_choose = (
        torch.lgamma(torch.tensor(n + 1.0).to(p)) - torch.lgamma(m + 2) - torch.lgamma(n - m)
    )
    log_terms = log_choose + (m + 1) * p.log() + (n - m) * (1 - p).log()
    return ((m + 1) * log_terms.exp()).sum().item() / n


def energy_score(samples: Float[Tensor, "N H 1 S S"], futures: Futures) -> float:
    """E|X - y| - E|X - X'| / 2 for samples X and true futures y, least for the true distribution.

    |.| is the root mean square over all pixels and frames; the second mean is over pairs of
    different samples, which makes it unbiased.

    Raises:
        ValueError: There are fewer than two samples.
    """
    num_samples = len(samples)
    if num_samples < 2:
        raise ValueError(f"there is {num_samples} sample; the energy score needs at least 2")
    x = (samples - futures.background).double().flatten(1)
    f = (futures.clips - futures.background).double().flatten(1)
    to_truth = (torch.cdist(x, f) @ futures.probs).mean()
    spread = torch.cdist(x, x).sum() / (num_samples * (num_samples - 1))
    return ((to_truth - spread / 2) / x.shape[1] ** 0.5).item()


def perfect_energy_score(futures: Futures) -> float:
    """The energy score expected of the true distribution."""
    clips = futures.clips.double().flatten(1)
    between = futures.probs @ torch.cdist(clips, clips) @ futures.probs
    return (between / 2 / clips.shape[1] ** 0.5).item()


def excess(prediction: Float[Tensor, "H 1 S S"], futures: Futures) -> float:
    """|f - m|^2 / MMSE of one prediction on the frames from the turn on; 0 is the exact mean.

    Raises:
        ValueError: The future is certain, so the least error is 0.
    """
    start = futures.turn_step
    least = futures.mmse()[start:].sum().item()
    if least == 0:
        raise ValueError("excess needs an ambiguous future; this one is certain")
    error = (prediction - futures.mean())[start:].double().square().flatten(1).mean(1).sum()
    return error.item() / least


def score_context(samples: Float[Tensor, "N H 1 S S"], futures: Futures, cue: int) -> ContextScore:
    """Judge the samples of one context; `futures` should include the impossible ones.

    For the frequencies every sample counts for its nearest future, valid or not.
    """
    possible = futures.probs > 0
    whole, worst = distances(samples, futures)
    shows = (whole <= VALID_DISTANCE) & (worst <= VALID_FRAME)  # at most one future: .69 apart
    counts = torch.bincount(whole.argmin(1), minlength=len(futures))
    frequencies = counts.double() / len(samples)
    return ContextScore(
        cue=cue,
        can_be_forbidden=not possible.all(),
        valid=shows[:, possible].any(1).double().mean().item(),
        forbidden=shows[:, ~possible].any(1).double().mean().item(),
        frequencies=tuple(frequencies.tolist()),
        total_variation=(frequencies - futures.probs).abs().sum().item() / 2,
        total_variation_floor=perfect_total_variation(futures.probs, len(samples)),
        energy_score=energy_score(samples, futures),
        energy_score_floor=perfect_energy_score(futures),
    )


def draw_contexts(
    world: Crossroads, protocol: Protocol, *, generator: torch.Generator | None = None
) -> list[tuple[int, int]]:
    """(digit, arrival) of the contexts to judge: equally many of each cue, no digit twice.

    Raises:
        ValueError: The world has too few digits of a cue.
    """
    cues, arrivals = CUE_OF_DIGIT[world.digits.labels], torch.tensor(world.preset.arrivals)
    wanted, contexts = protocol.contexts_per_cue, []
    for number, cue in enumerate(CUES):
        members = (cues == number).nonzero()[:, 0]
        if len(members) < wanted:
            raise ValueError(
                f"the world has {len(members)} digits of cue {cue.digits}; "
                f"the protocol needs {wanted}"
            )
        chosen = members[torch.randperm(len(members), generator=generator)[:wanted]]
        when = arrivals[torch.randint(len(arrivals), (wanted,), generator=generator)]
        contexts += zip(chosen.tolist(), when.tolist(), strict=True)
    return contexts


def score(
    predict: VideoPredictor,
    world: Crossroads,
    protocol: Protocol,
    *,
    generator: torch.Generator | None = None,
) -> Iterator[ContextScore]:
    """Judge a predictor context by context, as `judge` does; wrap it in tqdm to see it run.

    Raises:
        ValueError: The predictor returns another shape than it was asked for, or no finite numbers.
    """
    for index, arrival in draw_contexts(world, protocol, generator=generator):
        futures = world.futures(index, arrival, include_impossible=True)
        asked = (protocol.num_samples, *futures.clips.shape[1:])
        context = futures.context.expand(protocol.num_samples, -1, -1, -1, -1)
        samples = predict(context, world.preset.horizon, generator=generator)
        if samples.shape != asked:
            raise ValueError(f"the prediction has shape {tuple(samples.shape)}; {asked} was asked")
        if not samples.isfinite().all():
            raise ValueError("the prediction holds NaN or infinite pixels; finite ones are needed")
        yield score_context(samples, futures, int(CUE_OF_DIGIT[world.digits.labels[index]]))


def judge(
    predict: VideoPredictor,
    world: Crossroads,
    protocol: Protocol = QUICK,
    *,
    generator: torch.Generator | None = None,
) -> Judgement:
    """Judge a predictor on contexts drawn from a world; give the world held-out digits.

    Equal seeds draw equal contexts for every predictor.

    Raises:
        ValueError: As `draw_contexts` and `score`.
    """
    return summarise(score(predict, world, protocol, generator=generator))


def summarise(scores: Iterable[ContextScore]) -> Judgement:
    """The judgement that follows from the scores of single contexts."""
    scores = tuple(scores)
    cues = torch.tensor([s.cue for s in scores])

    def values(name: str) -> Float64[Tensor, "N"]:
        return torch.tensor([getattr(s, name) for s in scores], dtype=torch.float64)

    at_risk = values("can_be_forbidden") > 0
    return Judgement(
        valid=bootstrap(values("valid"), cues),
        forbidden=bootstrap(values("forbidden")[at_risk], cues[at_risk]),
        total_variation=bootstrap(values("total_variation"), cues),
        total_variation_floor=values("total_variation_floor").mean().item(),
        energy_score=bootstrap(values("energy_score"), cues),
        energy_score_floor=values("energy_score_floor").mean().item(),
        scores=scores,
    )


def bootstrap(
    values: Float64[Tensor, "N"],
    strata: Int64[Tensor, "N"],
    *,
    generator: torch.Generator | None = None,
) -> Estimate:
    """The mean of `values` and its interval when contexts are redrawn within each stratum.

    Without a generator the redrawing is the same each time.
    """
    generator = generator or torch.Generator().manual_seed(0)
    sums = torch.zeros(BOOTSTRAP_ROUNDS, dtype=torch.float64)
    for stratum in strata.unique():
        members = values[strata == stratum]
        redrawn = torch.randint(len(members), (BOOTSTRAP_ROUNDS, len(members)), generator=generator)
        sums += members[redrawn].sum(1)
    low, high = (sums / len(values)).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    mean = values.mean().item()
    return Estimate(mean, min(low, mean), max(high, mean))  # equal values differ by rounding
