"""Chapter 6 at the crossroads: does eta change how often each future is drawn?

Every eta and number of steps draws the same contexts from the same starts, with the trained network
and with the exact denoiser. Names end in world, denoiser, eta and S: valid_base_network_1_30; eta
is 0, 05, 1, or hat for sigma-hat. A walk goes down from the last step of the chain, clipped.

    valid, forbidden, total_variation    as in course_lib/evaluation/futures.py
    floor                                the total variation expected of a perfect sampler
    gain                                 total variation of eta = 0 less that of another eta,
                                         context by context

`planted` asks what becomes of an error: futures that are drawn with equal chances are covered with
noise up to some step, and the exact walk goes down from there.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, cast

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from course_lib.data.crossroads import BASE, CUE_OF_DIGIT, TWICE, Preset
from course_lib.data.futures import Futures
from course_lib.evaluation import futures as judge
from course_lib.methods.ddim import ddim_steps, last, trailing_timesteps
from course_lib.methods.diffusion import X0, Denoiser, denoiser, exact_denoiser
from course_lib.methods.noise import add_noise
from course_lib.models.dit import VideoDiT
from course_lib.recipes.crossroads_diffusion import (
    DIFFUSION,
    DIFFUSION_TWICE,
    EXAM_SEED,
    SCHEDULE,
    world,
)
from course_lib.training.measurement import Measurement
from course_lib.training.recipe import Metric

WORLDS = {"base": (BASE, DIFFUSION), "twice": (TWICE, DIFFUSION_TWICE)}
PROTOCOLS = {"base": judge.Protocol(3, 32), "twice": judge.Protocol(2, 32)}
DENOISERS = ("network", "exact")
STEPS = (5, 10, 30)
ETAS: dict[str, dict[str, Any]] = {
    "0": {"eta": 0.0},
    "05": {"eta": 0.5},
    "1": {"eta": 1.0},
    "hat": {"eta": 1.0, "larger_noise": True},
}
PLANTED_STEPS, PLANTED_SAMPLES = 50, 10_000


@cache
def trained(name: str) -> VideoDiT:
    """The network of one world."""
    return cast(VideoDiT, WORLDS[name][1].load())


def of_network(model: VideoDiT, futures: Futures) -> Denoiser:
    """The network's estimate of this context's futures, its matrix products in bfloat16."""

    def guess(x_t: Tensor, t: Tensor) -> Tensor:
        context = futures.context.expand(len(x_t), -1, -1, -1, -1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x_t, t, context).to(x_t.dtype)

    return denoiser(guess, X0, SCHEDULE)


def of_truth(futures: Futures) -> Denoiser:
    """The exact posterior mean of this context's futures."""
    return exact_denoiser(futures.denoise, SCHEDULE)


def start(futures: Futures, number: int, seed: int) -> Float[Tensor, "{number} H 1 S S"]:
    """The noise that every walk of one context starts from."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, *futures.clips.shape[1:], generator=generator)


def walk(
    denoise: Denoiser, x_T: Float[Tensor, "N H 1 S S"], num_steps: int, seed: int, **how: Any
) -> Float[Tensor, "N H 1 S S"]:
    """Where the walks end."""
    generator = torch.Generator().manual_seed(seed)
    timesteps = trailing_timesteps(SCHEDULE.num_timesteps, num_steps)
    return last(ddim_steps(denoise, SCHEDULE, x_T, timesteps, clip=1.0, generator=generator, **how))


def score_cell(
    preset: Preset,
    protocol: judge.Protocol,
    make: Callable[[Futures], Denoiser],
    num_steps: int,
    **how: Any,
) -> list[judge.ContextScore]:
    """Every context of a cell; contexts and starts depend on the protocol alone."""
    held_out, generator = world(preset, "test"), torch.Generator().manual_seed(EXAM_SEED)
    scores = []
    for seed, (index, arrival) in enumerate(
        judge.draw_contexts(held_out, protocol, generator=generator)
    ):
        futures = held_out.futures(index, arrival, include_impossible=True)
        x_T = start(futures, protocol.num_samples, seed)
        # Another seed than the start's: a draw must not repeat it.
        samples = walk(make(futures), x_T, num_steps, EXAM_SEED + seed, **how)
        cue = int(CUE_OF_DIGIT[held_out.digits.labels[index]])
        scores.append(judge.score_context(samples, futures, cue))
    return scores


def of_world(name: str, who: str, num_steps: int) -> dict[str, Metric]:
    """All etas for one denoiser and number of steps."""
    preset, protocol = WORLDS[name][0], PROTOCOLS[name]
    make = partial(of_network, trained(name)) if who == "network" else of_truth
    metrics, found = {}, {}
    for eta, how in ETAS.items():
        found[eta] = score_cell(preset, protocol, make, num_steps, **how)
        judged, ending = judge.summarise(found[eta]), f"{name}_{who}_{eta}_{num_steps}"
        for metric in ("valid", "forbidden", "total_variation"):
            metrics[f"{metric}_{ending}"] = as_metric(getattr(judged, metric))
        metrics[f"floor_{name}"] = Metric(*[judged.total_variation_floor] * 3)
        if eta != "0":
            metrics[f"gain_{ending}"] = gain(found["0"], found[eta])
    return metrics


def gain(first: list[judge.ContextScore], second: list[judge.ContextScore]) -> Metric:
    """How much less total variation the second has, on the same contexts and starts."""
    less = [a.total_variation - b.total_variation for a, b in zip(first, second, strict=True)]
    cues = torch.tensor([score.cue for score in first])
    return as_metric(judge.bootstrap(torch.tensor(less, dtype=torch.float64), cues))


def as_metric(estimate: judge.Estimate) -> Metric:
    """An estimate for a results file; where all contexts are alike, rounding may move its ends."""
    mean = estimate.mean
    return Metric(mean, min(estimate.low, mean), max(estimate.high, mean))


def essence(futures: Futures) -> Futures:
    """The same futures in as few numbers as there are: their coordinates in their own span.

    Noise across the span says nothing of the future, so exact walks there are those of whole clips.
    """
    clips = futures.clips.double().flatten(1)
    basis = torch.linalg.qr(clips.T).Q  # (pixels, K)
    coordinates = (clips @ basis)[..., None, None, None]  # (K, K, 1, 1, 1)
    one = torch.zeros(1, 1, 1, dtype=torch.float64)
    return replace(futures, context=one[None], clips=coordinates, background=one, turn_step=0)


def planted(
    futures: Futures, chances: Float64[Tensor, "K"], t: int, **how: Any
) -> Float64[Tensor, "K"]:
    """How often each future comes out of exact walks that reached step `t` with `chances`."""
    small, generator = essence(futures), torch.Generator().manual_seed(EXAM_SEED)
    chosen = torch.multinomial(chances, PLANTED_SAMPLES, replacement=True, generator=generator)
    x0 = small.clips[chosen]
    eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    timesteps = trailing_timesteps(SCHEDULE.num_timesteps, PLANTED_STEPS)
    steps = ddim_steps(
        of_truth(small),
        SCHEDULE,
        add_noise(x0, eps, SCHEDULE.alpha_bar(t)),
        [step for step in timesteps if step <= t],
        generator=generator,
        **how,
    )
    ends = last(steps).flatten(1)
    drawn = torch.cdist(ends, small.clips.flatten(1)).argmin(1)
    return torch.bincount(drawn, minlength=len(futures)).double() / PLANTED_SAMPLES


ETA = Measurement(
    name="crossroads_eta",
    sentence="Futures at the crossroads: eta and steps, network and exact denoiser",
    networks=(DIFFUSION, DIFFUSION_TWICE),
    config={
        name: {"contexts": 5 * protocol.contexts_per_cue, "num_samples": protocol.num_samples}
        for name, protocol in PROTOCOLS.items()
    },
    parts={
        f"{name}_{who}_{num_steps}": partial(of_world, name, who, num_steps)
        for name in WORLDS
        for who in DENOISERS
        for num_steps in STEPS
    },
)

RECIPES = (ETA,)
