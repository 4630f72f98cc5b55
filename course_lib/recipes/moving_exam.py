"""How predictors of Stochastic Moving MNIST are judged, each clip by the one future that happened.

Nobody lists the futures of this world, so a sampler is measured with PSNR and SSIM per step, with
the best of K samples, and with the energy score. Beside the model's own samples stand spoilt ones,
to see what each score notices: every z drawn with another multiple of the prior's sigma
(`spread_200` has twice the sigma), and samples most of which continue another clip (`stray`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from course_lib.data.digits import load_digits
from course_lib.data.moving_mnist import MovingMNIST
from course_lib.data.video import split
from course_lib.evaluation.frames import best_of_k, energy_score, over_samples, psnr, ssim
from course_lib.evaluation.futures import bootstrap
from course_lib.models.svg import SVG
from course_lib.nn.gaussian import DiagonalGaussian
from course_lib.training.recipe import Metric

CONTEXT, HORIZON = 5, 10  # frames
EXAM_SEED = 20261
EXAMINED = 96  # clips
SAMPLES = 100  # of each clip
BEST_OF = (1, 5, 20, SAMPLES)
SPREADS = (50, 150, 200, 300)  # per cent of the prior's sigma, beside the true 100
STRAY = 75  # of the samples continue another clip
NARROW, WIDE = "spread_050", "spread_300"  # which of the two is better? the scores disagree
EXACT = 40.0  # dB, the PSNR that a copied frame gets where nothing moved; else it were infinite
CHUNK = 8  # clips whose samples are in memory together

Samples = Float[Tensor, "K B H 1 S S"]
Continuations = Float[Tensor, "B H 1 S S"]
Measured = dict[str, Tensor]  # (B, H) each, or (B,)


@dataclass(frozen=True, eq=False)
class MovingExam:
    """Clips of held-out digits, each with the one future that happened."""

    context: Float[Tensor, "B T 1 S S"]
    future: Continuations
    news: Bool[Tensor, "B H"]  # does this frame show a direction drawn in the frame before?
    mean_image: Float[Tensor, "1 S S"]  # of training clips

    def first(self, num_clips: int) -> "MovingExam":
        """The exam with fewer clips."""
        few = {name: getattr(self, name)[:num_clips] for name in ("context", "future", "news")}
        return replace(self, **few)


@cache
def world(split_name: str, num_digits: int, size: int) -> MovingMNIST:
    """Stochastic Moving MNIST with the digits of one split, in clips of context and horizon."""
    return MovingMNIST(
        load_digits(split_name),
        stochastic=True,
        num_digits=num_digits,
        num_frames=CONTEXT + HORIZON,
        size=size,
    )


@cache
def make_exam(num_digits: int, size: int) -> MovingExam:
    """The exam of one world; it is the same each time."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    clips = world("test", num_digits, size).sample(EXAMINED, generator=generator)
    seen = world("train", num_digits, size).sample(200, generator=generator).video
    news = clips.bounced[:, CONTEXT - 1 : -1].any(-1)
    return MovingExam(*split(clips.video, CONTEXT), news, seen.mean((0, 1)))


def sample_futures(
    model: SVG,
    context: Float[Tensor, "B T 1 S S"],
    num_samples: int,
    *,
    spread: float = 1.0,
    generator: torch.Generator | None = None,
) -> Samples:
    """Futures of each context, every z drawn with `spread` times the prior's sigma.

    Raises:
        ValueError: The prior is not Gaussian: a mixture has no one sigma.
    """
    device = next(model.parameters()).device
    state = model.observe(context.to(device).repeat(num_samples, 1, 1, 1, 1))
    frames = []
    for _ in range(HORIZON):
        prior = state.prior
        if not isinstance(prior, DiagonalGaussian):
            raise ValueError(f"prior is a {type(prior).__name__}; permitted: a DiagonalGaussian")
        drawn_from = DiagonalGaussian(prior.mean, prior.logvar + 2 * math.log(spread))
        frame, state = model.step(drawn_from.sample(generator=generator), state)
        frames.append(frame)
    return torch.stack(frames, 1).unflatten(0, (num_samples, -1)).float().cpu()


def finite_psnr(prediction: Continuations, truth: Continuations) -> Float[Tensor, "B H"]:
    """PSNR of every frame, at most `EXACT`."""
    return psnr(prediction, truth).clamp(max=EXACT)


def frame_scores(prediction: Continuations, truth: Continuations, name: str) -> Measured:
    """PSNR and SSIM of one clip for each context, per step."""
    return {f"psnr_{name}": finite_psnr(prediction, truth), f"ssim_{name}": ssim(prediction, truth)}


def best_of_groups(scores: Float[Tensor, "N B H"], k: int) -> Float[Tensor, "B H"]:
    """The best of k samples, averaged over the N // k groups that the N samples make."""
    groups = scores[: len(scores) // k * k].unflatten(0, (-1, k))
    return torch.stack([best_of_k(group, larger_is_better=True) for group in groups]).mean(0)


def sampler_scores(samples: Samples, truth: Continuations) -> Measured:
    """What the samples of each context score against what happened."""
    measured = {"energy": energy_score(samples, truth)}
    for metric_name, metric in (("psnr", finite_psnr), ("ssim", ssim)):
        scores = over_samples(samples, truth, metric)
        for k in BEST_OF:
            measured[f"{metric_name}_best_of_{k}"] = best_of_groups(scores, k)
    return measured | frame_scores(samples.mean(0), truth, "average_of_100")


def spoilt_scores(samples: Samples, truth: Continuations, name: str) -> Measured:
    """PSNR and energy score of spoilt samples, one number per clip."""
    scores = over_samples(samples, truth, finite_psnr)
    return {
        f"psnr_one_{name}": scores.mean((0, 2)),
        f"psnr_best_of_100_{name}": best_of_groups(scores, len(samples)).mean(1),
        f"energy_{name}": energy_score(samples, truth),
    }


def examine_sampler(model: SVG, exam: MovingExam) -> Measured:
    """The model's samples and the spoilt ones for all clips of the exam."""
    parts: dict[str, list[Tensor]] = {}
    for number, (context, truth) in enumerate(
        zip(exam.context.split(CHUNK), exam.future.split(CHUNK), strict=True)
    ):
        for measured in _chunk_scores(model, context, truth, seed=number):
            for name, values in measured.items():
                parts.setdefault(name, []).append(values)
    measured = {name: torch.cat(values) for name, values in parts.items()}
    for score in ("psnr_best_of_100", "energy"):  # by how much the narrow sampler has more
        difference = measured[f"{score}_{NARROW}"] - measured[f"{score}_{WIDE}"]
        measured[f"{score}_narrow_less_wide"] = difference
    return measured


def _chunk_scores(
    model: SVG, context: Float[Tensor, "B T 1 S S"], truth: Continuations, seed: int
) -> Iterator[Measured]:
    """A few clips: memory does not hold the samples of all."""
    for spread in (100, *SPREADS):
        generator = torch.Generator().manual_seed(seed)  # the same noise for every spread
        samples = sample_futures(model, context, SAMPLES, spread=spread / 100, generator=generator)
        if spread != 100:
            yield spoilt_scores(samples, truth, f"spread_{spread:03d}")
            continue
        yield sampler_scores(samples, truth)
        stray = torch.cat([samples[:STRAY].roll(1, 1), samples[STRAY:]])
        yield spoilt_scores(stray, truth, "stray")


def information(model: SVG, exam: MovingExam) -> dict[str, Metric]:
    """KL in nats where the frame shows a direction just drawn, and everywhere else."""
    device = next(model.parameters()).device
    video = torch.cat([exam.context, exam.future], 1).to(device)
    eps = torch.zeros(len(video), HORIZON, model.config.latent_dim, device=device)
    kl = model(video, CONTEXT, eps).kl().float().cpu()
    return {"kl_news": mean_metric(kl[exam.news]), "kl_elsewhere": mean_metric(kl[~exam.news])}


def summary(measured: Measured) -> dict[str, Metric]:
    """The mean over clips with its bootstrap interval; of curves for every step as well."""
    metrics = {}
    for name, values in measured.items():
        if values.dim() == 1:
            metrics[name] = mean_metric(values)
            continue
        metrics[name] = mean_metric(values.mean(1))
        for step, column in enumerate(values.unbind(1), start=1):
            metrics[f"{name}_step_{step:02d}"] = mean_metric(column)
    return metrics


def mean_metric(values: Float[Tensor, "N"]) -> Metric:
    """The mean with its bootstrap interval."""
    estimate = bootstrap(values.double().cpu(), torch.zeros(len(values), dtype=torch.int64))
    return Metric(estimate.mean, estimate.low, estimate.high)
