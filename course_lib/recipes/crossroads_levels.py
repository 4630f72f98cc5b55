"""Chapter 5, section 6: where walks at the crossroads stop, and what they decide there.

The network and the exact denoiser walk with the same number of steps, from the same starts, but
stop where another schedule would: `placed` finds the steps whose log SNR come nearest. All is asked
in contexts whose turns have the probabilities .6, .3 and .1. Names end in denoiser, placement and
number of steps: likeliest_network_cosine_10; `own` is the schedule that the network was trained
with.

    valid, total_variation    as in course_lib/evaluation/futures.py, ancestral walks
    floor                     the total variation expected of a perfect sampler
    likeliest                 the share of draws that are nearest to the likeliest turn
    settled_network_07        of the walks that end elsewhere than in the likeliest turn, the share
                              whose x0_hat is nearest to that end at step 7, and stays so
    level_network             mean log SNR from which it stays so
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from course_lib.data.crossroads import BASE, CUE_OF_DIGIT, CUES
from course_lib.data.futures import Futures
from course_lib.evaluation import futures as judge
from course_lib.methods import noise
from course_lib.methods.ddim import ddim_steps, last, trailing_timesteps
from course_lib.methods.diffusion import X0, Denoiser, ReverseStep, denoiser, exact_denoiser
from course_lib.methods.noise import NoiseSchedule
from course_lib.models.dit import VideoDiT
from course_lib.recipes.crossroads_diffusion import DIFFUSION, EXAM_SEED, SCHEDULE, world
from course_lib.recipes.one_shot import coordinates
from course_lib.training.measurement import Measurement
from course_lib.training.recipe import Metric

PLACEMENTS = {"own": SCHEDULE, "cosine": noise.cosine(), "linear": noise.linear()}
STEP_COUNTS = (5, 10, 20, 40)
UNEQUAL = (1, 2)  # the cues with one likeliest turn among three: indices into CUES
PROTOCOL = judge.Protocol(contexts_per_cue=4, num_samples=50)
WATCHED_STEPS, WATCHED_WALKS = 40, 30  # of each context


def placed(other: NoiseSchedule, num_steps: int, ours: NoiseSchedule = SCHEDULE) -> list[int]:
    """The steps of our schedule that lie nearest, in log SNR, to where `other` would stop.

    As many as `other` has; where two would be equal, the noisier one moves up.

    Raises:
        ValueError: num_steps lies outside 1..N.
    """
    stops = trailing_timesteps(other.num_timesteps, num_steps)
    wanted = other.snr(torch.tensor(stops)).log()
    levels = ours.snr(torch.arange(ours.num_timesteps)).log()
    rising: list[int] = []
    for t in (wanted[:, None] - levels).abs().argmin(1).flip(0).tolist():
        rising.append(max(t, rising[-1] + 1 if rising else 0))
    return rising[::-1]


def ends_of_exact_walks(
    futures: Futures,
    timesteps: Sequence[int],
    *,
    num_walks: int = 1000,
    generator: torch.Generator | None = None,
) -> Float64[Tensor, "K"]:
    """How often ancestral walks of the exact denoiser end nearest to each future."""
    known = coordinates(futures)
    x_T = torch.randn(num_walks, *known.clips.shape[1:], generator=generator, dtype=torch.float64)
    denoise = exact_denoiser(known.denoise, SCHEDULE)
    ends = last(ddim_steps(denoise, SCHEDULE, x_T, timesteps, eta=1.0, generator=generator))
    nearest = torch.cdist(ends.flatten(1), known.clips.flatten(1)).argmin(1)
    return torch.bincount(nearest, minlength=len(futures)).double() / num_walks


def walks(
    denoise: Denoiser, x_T: Float[Tensor, "N H 1 S S"], timesteps: Sequence[int], seed: int
) -> Iterator[ReverseStep]:
    """Ancestral walks, clipped."""
    generator = torch.Generator().manual_seed(EXAM_SEED + seed)  # not the start's
    return ddim_steps(denoise, SCHEDULE, x_T, timesteps, eta=1.0, clip=1.0, generator=generator)


def contexts(protocol: judge.Protocol) -> Iterator[tuple[int, Futures]]:
    """Cue and futures of held-out contexts with unequal turns, the same in every part."""
    held_out, generator = world(BASE, "test"), torch.Generator().manual_seed(EXAM_SEED)
    for index, arrival in judge.draw_contexts(held_out, protocol, generator=generator):
        cue = int(CUE_OF_DIGIT[held_out.digits.labels[index]])
        if cue in UNEQUAL:
            yield cue, held_out.futures(index, arrival)


Maker = Callable[[Futures], Denoiser]


def of_truth(futures: Futures) -> Denoiser:
    """The exact posterior mean of a context's futures."""
    return exact_denoiser(futures.denoise, SCHEDULE)


def of_network(model: VideoDiT, futures: Futures) -> Denoiser:
    """The network's estimate of a context's futures, its matrix products in bfloat16."""

    def guess(x_t: Tensor, t: Tensor) -> Tensor:
        context = futures.context.expand(len(x_t), -1, -1, -1, -1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x_t, t, context).to(x_t.dtype)

    return denoiser(guess, X0, SCHEDULE)


def maker(who: str) -> Maker:
    """The network or the exact denoiser, for any context."""
    return of_truth if who == "exact" else partial(of_network, cast(VideoDiT, DIFFUSION.load()))


def start(futures: Futures, number: int, seed: int) -> Float[Tensor, "{number} H 1 S S"]:
    """The noise that the walks of one context start from."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, *futures.clips.shape[1:], generator=generator)


@torch.no_grad()
def judged(
    make: Maker, timesteps: Sequence[int], protocol: judge.Protocol
) -> list[judge.ContextScore]:
    """Where walks that stop at these steps end, context by context."""
    scores = []
    for seed, (cue, futures) in enumerate(contexts(protocol)):
        x_T = start(futures, protocol.num_samples, seed)
        samples = last(walks(make(futures), x_T, timesteps, seed))
        scores.append(judge.score_context(samples, futures, cue))
    return scores


def likeliest(score: judge.ContextScore) -> float:
    """The share of draws that are nearest to the likeliest turn."""
    chances = CUES[score.cue].turn_probs
    return score.frequencies[chances.index(max(chances))]


READINGS: dict[str, Callable[[judge.ContextScore], float]] = {
    "valid": lambda score: score.valid,
    "total_variation": lambda score: score.total_variation,
    "likeliest": likeliest,
}


def of_placement(who: str, placement: str) -> dict[str, Metric]:
    """All numbers of steps for one denoiser and placement."""
    metrics, make = {}, maker(who)
    for num_steps in STEP_COUNTS:
        scores = judged(make, placed(PLACEMENTS[placement], num_steps), PROTOCOL)
        cues = torch.tensor([score.cue for score in scores])
        for name, reading in READINGS.items():
            values = torch.tensor([reading(score) for score in scores], dtype=torch.float64)
            found = judge.bootstrap(values, cues)
            metrics[f"{name}_{who}_{placement}_{num_steps}"] = Metric(
                found.mean, found.low, found.high
            )
        floors = [score.total_variation_floor for score in scores]
        metrics["floor"] = Metric(*[sum(floors) / len(floors)] * 3)
    return metrics


@dataclass(frozen=True, eq=False)
class Settled:
    """Walks that end elsewhere than in the likeliest future: from which step on is it settled?"""

    log_snr: Float64[Tensor, "S"]  # rising
    there: Bool[Tensor, "S N"]  # x0_hat is nearest to where the walk will end, and stays so

    def levels(self) -> Float64[Tensor, "N"]:
        """Per walk the log SNR from which on it is settled."""
        return self.log_snr[self.there.int().argmax(0)]


def settled(make: Maker, several: Sequence[Futures], *, num_walks: int, num_steps: int) -> Settled:
    """Watch walks of some contexts; the guess of a walk begins nearest to the likeliest future."""
    timesteps, there = trailing_timesteps(SCHEDULE.num_timesteps, num_steps), []
    for seed, futures in enumerate(several):
        steps = list(walks(make(futures), start(futures, num_walks, seed), timesteps, seed))
        nearest = torch.stack([judge.distances(s.x0_hat, futures)[0].argmin(1) for s in steps])
        end = judge.distances(steps[-1].x_prev, futures)[0].argmin(1)
        stays = (nearest == end).int().flip(0).cummin(0).values.flip(0).bool()
        there.append(stays[:, end != futures.probs.argmax()])
    return Settled(SCHEDULE.snr(torch.tensor(timesteps)).log(), torch.cat(there, 1))


@torch.no_grad()
def of_watching(who: str) -> dict[str, Metric]:
    """When walks settle."""
    several = [futures for _, futures in contexts(PROTOCOL)]
    found = settled(maker(who), several, num_walks=WATCHED_WALKS, num_steps=WATCHED_STEPS)
    shares = {
        f"settled_{who}_{step:02d}": Metric.of_share(int(row.sum()), len(row))
        for step, row in enumerate(found.there)
    }
    return shares | {f"level_{who}": Metric.of_mean(found.levels())}


LEVELS = Measurement(
    name="crossroads_levels",
    sentence="Where walks at the crossroads stop, and what they decide there",
    networks=(DIFFUSION,),
    config={
        "step_counts": STEP_COUNTS,
        "contexts_per_cue": PROTOCOL.contexts_per_cue,
        "num_samples": PROTOCOL.num_samples,
        "watched_steps": WATCHED_STEPS,
        "watched_walks": WATCHED_WALKS,
        "seed": EXAM_SEED,
    },
    parts={
        **{f"watched_{who}": partial(of_watching, who) for who in ("exact", "network")},
        **{
            f"{who}_{placement}": partial(of_placement, who, placement)
            for who in ("exact", "network")
            for placement in ("own", "cosine")
        },
        "exact_linear": partial(of_placement, "exact", "linear"),
    },
)

RECIPES = (LEVELS,)
