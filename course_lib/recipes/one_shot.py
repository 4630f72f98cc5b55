"""Chapter 5, sections 3 to 5: jumping to the clean picture at once, and the small print of a step.

Everything about the crossroads and about Gaussians is exact or drawn from what is exact. The one
measurement asks the digit network what clipping does: for walks of 10 and 100 steps, from t = 999,
ancestral (eta = 1), x0_hat held within +-1 ("clipped") or not ("free"):

    read_10_free      as `read` of the digit recipe; so are coverage and frechet
    outside_10_free   the share of the walk's x0_hat numbers at +-1 or beyond
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from course_lib import plots
from course_lib.data.futures import Futures
from course_lib.data.toy import GaussianMixture
from course_lib.methods.ddim import ddim_steps, last, trailing_timesteps
from course_lib.methods.diffusion import (
    TARGETS,
    Denoiser,
    ReverseStep,
    Target,
    ddpm_steps,
    estimate,
    exact_denoiser,
    from_x0,
    noise_like,
)
from course_lib.methods.noise import NoiseSchedule
from course_lib.models.dit import DiT
from course_lib.recipes.digit_diffusion import (
    DIGITS,
    EXAM_SEED,
    SCHEDULE,
    SIZE,
    classes,
    digit_denoiser,
    of_samples,
)
from course_lib.training.measurement import Measurement
from course_lib.training.recipe import Metric

CERTAINTY = 0.9  # from which probability on a future counts as decided
CLIPPED_SAMPLES = 300
STEP_COUNTS = (10, 100)

Step = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]  # (x_t, x0_hat, noise, betas, t)


def coordinates(futures: Futures) -> Futures:
    """The same futures as K numbers instead of pixels: where they lie in the space they span.

    Noise outside that space tells no future from another, so posteriors, and walks of the exact
    denoiser, are the same as with pixels, and cost next to nothing.
    """
    clips = futures.clips.double().flatten(1)  # (K, pixels)
    basis = torch.linalg.qr(clips.T).Q  # (pixels, K)
    places = (clips @ basis)[:, :, None, None, None]
    return replace(
        futures,
        clips=places,
        context=places.new_zeros(1, 1, 1, 1),
        background=places.new_zeros(1, 1, 1),
    )


@dataclass(frozen=True, eq=False)
class Decisions:
    """Walks of the exact denoiser, and what each step still leaves open."""

    log_snr: Float64[Tensor, "S"]  # rising: a walk goes from noise to clean
    probs: Float64[Tensor, "S N K"]  # P(future | x_t)

    def decided(self) -> Float64[Tensor, "N"]:
        """Per walk the log SNR from which on one future keeps at least CERTAINTY."""
        unsure = self.probs.amax(-1) < CERTAINTY  # (S, N)
        steps = torch.arange(len(unsure))[:, None]
        last_unsure = torch.where(unsure, steps, -1).amax(0)
        return self.log_snr[(last_unsure + 1).clamp(max=len(unsure) - 1)]

    def entropy(self) -> Float64[Tensor, "S"]:
        """Nats that are open at each step, mean over walks."""
        return -torch.special.xlogy(self.probs, self.probs).sum(-1).mean(-1)


def decisions(
    futures: Futures,
    schedule: NoiseSchedule,
    *,
    num_walks: int,
    num_steps: int,
    generator: torch.Generator | None = None,
) -> Decisions:
    """Ancestral walks of the exact denoiser from pure noise."""
    known = coordinates(futures)
    x_T = torch.randn(num_walks, *known.clips.shape[1:], generator=generator, dtype=torch.float64)
    timesteps = trailing_timesteps(schedule.num_timesteps, num_steps)
    denoise = exact_denoiser(known.denoise, schedule)
    walked = ddim_steps(denoise, schedule, x_T, timesteps, eta=1.0, generator=generator)
    probs = [known.posterior(step.x_t, schedule.alpha_bar(step.t).item()) for step in walked]
    return Decisions(schedule.snr(torch.tensor(timesteps)).log(), torch.stack(probs))


def log_odds_spread(futures: Futures, alpha_bar: float) -> Float64[Tensor, "K K"]:
    """How far pure noise moves the log odds of each pair of futures: standard deviation in nats."""
    places = coordinates(futures).clips.flatten(1)
    return alpha_bar**0.5 / (1 - alpha_bar) * torch.cdist(places, places)


def drawn_from_pure_noise(
    futures: Futures,
    alpha_bar: float,
    *,
    num_samples: int,
    generator: torch.Generator | None = None,
) -> Float64[Tensor, "K"]:
    """With which probabilities a perfect walk from N(0, I) ends in each future.

    A perfect walk ends in a future with its posterior probability given x_T. Were x_T what noising
    the data to `alpha_bar` makes, the mean of these posteriors would be the true probabilities.
    """
    known = coordinates(futures)
    shape = (num_samples, *known.clips.shape[1:])
    x_T = torch.randn(shape, generator=generator, dtype=torch.float64)
    return known.posterior(x_T, alpha_bar).mean(0)


@dataclass(frozen=True, eq=False)
class Branches:
    """A walk, and where other walks end that leave it on the way."""

    steps: tuple[ReverseStep, ...]  # S of the walk's steps
    ends: Float[Tensor, "S dice B *dims"]  # from x_t of each step on, with new noise


@torch.no_grad()
def branching(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "B *dims"],
    timesteps: Sequence[int],
    *,
    every: int,
    num_dice: int,
    clip: float | None = None,
    generator: torch.Generator | None = None,
) -> Branches:
    """An ancestral walk; from every so many of its steps on, `num_dice` walks with noise anew."""
    walk = partial(ddim_steps, denoise, schedule, eta=1.0, clip=clip, generator=generator)
    trunk = list(walk(x_T, timesteps))
    chosen = range(0, len(timesteps), every)
    ends = [
        torch.stack([last(walk(trunk[k].x_t, timesteps[k:])) for _ in range(num_dice)])
        for k in chosen
    ]
    return Branches(tuple(trunk[k] for k in chosen), torch.stack(ends))


def loss_weight(
    target: Target, schedule: NoiseSchedule, t: Int64[Tensor, "L"]
) -> Float64[Tensor, "L"]:
    """The squared error of a target's answer over that of the x0_hat it implies, by autograd."""
    x_t = torch.zeros(len(t), dtype=torch.float64)
    x0_hat = torch.zeros_like(x_t, requires_grad=True)
    found = from_x0(x_t, x0_hat, schedule.alpha_bar(t))  # x_t is held fixed
    answer = target.mix(schedule, found.x0_hat, found.eps_hat, t)
    (slope,) = torch.autograd.grad(answer.sum(), x0_hat)
    return slope.square()


def plane_of_targets(schedule: NoiseSchedule, t: int) -> plots.Picture:
    """The plane of clean picture and noise: x_t, and the direction of each target."""
    alpha_bar = schedule.alpha_bar(t).item()
    arrows = {"$x_t$": (math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))}
    for target in TARGETS:
        a, b = target.coefficients(schedule, torch.tensor(t))
        arrows[target.name] = (a.item(), b.item())
    return plots.arrows(
        arrows,
        f"Arrows in the plane of clean picture and noise at t = {t}: x_t and the four targets.",
        xlabel="share of the clean picture",
        ylabel="share of the noise",
    )


@torch.no_grad()
def chain(
    step: Step,
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "B *dims"],
    *,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[int, Float[Tensor, "B *dims"]]]:
    """DDPM's walk by somebody's own step; (t - 1, x_{t-1}) after each, so the last t is -1."""
    x_t, betas = x_T, schedule.betas
    for t in range(schedule.num_timesteps - 1, -1, -1):
        x0_hat = estimate(denoise, schedule, x_t, t, None).x0_hat
        x_t = step(x_t, x0_hat, noise_like(x_t, generator), betas.to(x_t), t)
        yield t - 1, x_t


def variance_ratio(
    data: GaussianMixture,
    schedule: NoiseSchedule,
    *,
    small_variance: bool,
    num_points: int = 20_000,
    generator: torch.Generator | None = None,
) -> Float64[Tensor, "N"]:
    """The variance of walks of the exact denoiser over the variance that x_t has: 1 is right.

    For data of one bump. Entry t is of x_t, t = 0..N-1; beyond that the walk is at data.
    """
    x_T = torch.randn(num_points, data.means.shape[1], generator=generator, dtype=torch.float64)
    denoise = exact_denoiser(data.denoise, schedule)
    walked = ddpm_steps(denoise, schedule, x_T, small_variance=small_variance, generator=generator)
    ratios = {}
    for step in walked:
        right = data.noisy(schedule.alpha_bar(step.t).item()).sigmas.square().item()
        ratios[step.t] = step.x_t.var().item() / right
    return torch.tensor([ratios[t] for t in sorted(ratios)], dtype=torch.float64)


@torch.no_grad()
def clipping(num_steps: int, clip: float | None) -> dict[str, Metric]:
    """Samples of the digit network by walks of so many steps, clipped or not."""
    name = f"{num_steps}_{'free' if clip is None else 'clipped'}"
    label = classes(CLIPPED_SAMPLES)
    generator = torch.Generator().manual_seed(EXAM_SEED)
    x_T = torch.randn(len(label), 1, SIZE, SIZE, generator=generator)
    model = cast(DiT, DIGITS.load())
    timesteps = trailing_timesteps(SCHEDULE.num_timesteps, num_steps)
    images, outside = [], []
    for noise_part, label_part in zip(x_T.split(100), label.split(100), strict=True):
        denoise = digit_denoiser(model, label_part)
        walked = list(
            ddim_steps(
                denoise, SCHEDULE, noise_part, timesteps, eta=1.0, clip=clip, generator=generator
            )
        )
        images.append(walked[-1].x_prev)
        # A held number lies on the limit itself.
        beyond = [(step.x0_hat.abs() >= 1).double().mean((1, 2, 3)) for step in walked]
        outside.append(torch.stack(beyond).mean(0))
    found = of_samples(torch.cat(images), label)
    kept = {key: found[key] for key in ("read", "coverage", "frechet")}
    measured = kept | {"outside": Metric.of_mean(torch.cat(outside))}
    return {f"{key}_{name}": metric for key, metric in measured.items()}


CLIPPING = Measurement(
    name="digit_clipping",
    sentence="What clipping x0_hat does to walks of the digit network",
    networks=(DIGITS,),
    config={"num_samples": CLIPPED_SAMPLES, "step_counts": STEP_COUNTS, "seed": EXAM_SEED},
    parts={
        f"{num_steps}_{kind}": partial(clipping, num_steps, clip)
        for num_steps in STEP_COUNTS
        for kind, clip in (("free", None), ("clipped", 1.0))
    },
)

RECIPES = (CLIPPING,)
