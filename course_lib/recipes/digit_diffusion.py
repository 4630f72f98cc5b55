"""Chapters 5 and 6: digits from noise, class by class.

Source: DDPM (arXiv 2006.11239), its linear schedule; v: Salimans & Ho 2022 (arXiv 2202.00512); the
network is a small DiT (arXiv 2212.09748). The main network answers v, from which its guess of the
noise follows: in so short a training that is far ahead of answering eps. A tenth of the labels is
hidden in training, so that guidance is possible.

Measured on samples by DDIM, with clipping, without guidance:

    read        the share that chapter 0's classifier reads as the class that was asked for
    read_ratio  that share over the share of held-out real digits it reads right
    coverage    the share of held-out digits that have a sample among their nearest neighbours
    frechet     digit-classifier Frechet distance to the held-out digits
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor

from course_lib.evaluation.distributions import coverage, frechet_distance
from course_lib.interfaces import Frames
from course_lib.methods import noise
from course_lib.methods.ddim import ddim_steps, last, uniform_timesteps
from course_lib.methods.diffusion import (
    EPS,
    POSTERIOR_MEAN,
    X0,
    Denoiser,
    Target,
    V,
    denoiser,
    denoising_loss,
)
from course_lib.models.classifier import DigitClassifier
from course_lib.models.dit import DiT, DiTConfig
from course_lib.recipes.classifier import CLASSIFIER, digits
from course_lib.recipes.film import film
from course_lib.training.loop import Batch, Objective, Schedule
from course_lib.training.recipe import Config, Metric, Recipe

SIZE, BORDER = 32, 2  # pixels: the digits' own 28, and paper around them
NUM_CLASSES = 10
SCHEDULE = noise.linear()
TARGET = V  # of the main network; eps would need several times as many updates, see its member
NUM_STEPS = 50  # of the samples that are measured
EXAM_SEED = 20265
BOOTSTRAP_ROUNDS = 100
NUM_LEVELS = 20  # steps of the chain at which errors are measured


@dataclass(frozen=True)
class DigitTraining(Config):
    """The numbers of one training."""

    hidden_labels: float = 0.1  # share of the labels that are replaced by "no class"
    flat: int = 2500  # updates before the learning rate falls, in a straight line to 0
    num_samples: int = 1500  # that are measured


@cache
def framed_digits(split: str) -> tuple[Float[Tensor, "N 1 32 32"], Int64[Tensor, "N"]]:
    """Images in [-1, 1] and labels of one split."""
    images, labels = digits(split)
    return F.pad(images, (BORDER,) * 4, value=-1.0), labels


def draw(config: DigitTraining, generator: torch.Generator) -> dict[str, Tensor]:
    """Digits of the train split, steps, noise."""
    images, labels = framed_digits("train")
    chosen = torch.randint(len(images), (config.batch_size,), generator=generator)
    x0, label = images[chosen], labels[chosen]
    hidden = torch.rand(config.batch_size, generator=generator) < config.hidden_labels
    return {
        "x0": x0,
        "label": label.masked_fill(hidden, NUM_CLASSES),
        "t": torch.randint(SCHEDULE.num_timesteps, (config.batch_size,), generator=generator),
        "eps": torch.randn(x0.shape, generator=generator),
    }


def objectives(target: Target, model: DiT, config: DigitTraining) -> list[Objective]:
    """The plain squared error of the target, L_simple; AdamW."""

    def loss(model: torch.nn.Module, batch: Batch, _step: int) -> Tensor:
        network = partial(model, label=batch["label"])
        each = denoising_loss(network, target, SCHEDULE, batch["x0"], batch["eps"], batch["t"])
        return each.mean()

    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    return [Objective(loss, optimizer, max_grad_norm=1.0)]


def flat_then_linear(config: DigitTraining) -> Schedule:
    """A factor of the learning rate: up to 1 in 100 updates, flat, in a straight line to 0."""

    def factor(step: int) -> float:
        fall = max(step - config.flat, 0) / max(config.steps - config.flat, 1)
        return min(1, (step + 1) / 100) * (1 - fall)

    return factor


def digit_denoiser(
    model: DiT, label: Int64[Tensor, "B"], target: Target = TARGET, schedule=SCHEDULE
) -> Denoiser:
    """The network's estimate for pictures of these classes; 10 is "no class"."""
    return denoiser(partial(model, label=label), target, schedule)


@torch.no_grad()
def sample(
    model: DiT,
    label: Int64[Tensor, "B"],
    *,
    target: Target = TARGET,
    num_steps: int = NUM_STEPS,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Frames:
    """A picture of each class, on the CPU."""
    x_T = torch.randn(len(label), 1, SIZE, SIZE, generator=generator)
    timesteps = uniform_timesteps(SCHEDULE.num_timesteps, num_steps)
    device = next(model.parameters()).device
    parts = []
    for noise_part, label_part in zip(x_T.split(100), label.split(100), strict=True):
        denoise = digit_denoiser(model, label_part.to(device), target)
        steps = ddim_steps(
            denoise,
            SCHEDULE,
            noise_part.to(device),
            timesteps,
            eta=eta,
            clip=1.0,
            generator=generator,
        )
        parts.append(last(steps).float().cpu())
    return torch.cat(parts)


def crop(images: Frames) -> Float[Tensor, "B 1 28 28"]:
    """Without the border, as the classifier knows digits."""
    return images[..., BORDER:-BORDER, BORDER:-BORDER]


@torch.no_grad()
def read(images: Frames) -> Int64[Tensor, "B"]:
    """The class that the classifier reads."""
    reader = CLASSIFIER.load()
    return torch.cat([reader(part).argmax(1) for part in crop(images).split(500)])


@torch.no_grad()
def features(images: Frames) -> Float[Tensor, "B D"]:
    """What the classifier's last hidden layer says."""
    reader = cast(DigitClassifier, CLASSIFIER.load())
    return torch.cat([reader.features(part) for part in crop(images).split(500)])


def classes(number: int) -> Int64[Tensor, "{number}"]:
    """Equally many of each class, in turn."""
    return torch.arange(number) % NUM_CLASSES


def of_samples(images: Frames, label: Int64[Tensor, "B"]) -> dict[str, Metric]:
    """How the pictures compare with held-out digits."""
    real, real_label = framed_digits("test")
    hits, real_hits = (read(images) == label), (read(real) == real_label)
    share = Metric.of_share(int(hits.sum()), len(hits))
    real_share = real_hits.double().mean().item()
    found, seen = features(images), features(real)
    return {
        "read": share,
        "read_real": Metric.of_share(int(real_hits.sum()), len(real_hits)),
        "read_ratio": Metric(*(x / real_share for x in (share.value, share.low, share.high))),
        "coverage": Metric.of_mean(coverage(seen, found).double()),
        "frechet": frechet(found, seen),
    }


def frechet(found: Float[Tensor, "N D"], seen: Float[Tensor, "M D"]) -> Metric:
    """The distance, and the interval over redrawn samples."""
    generator = torch.Generator().manual_seed(0)
    value = frechet_distance(found, seen)
    redrawn = [
        frechet_distance(found[torch.randint(len(found), (len(found),), generator=generator)], seen)
        for _ in range(BOOTSTRAP_ROUNDS)
    ]
    spread = torch.tensor(redrawn)
    # Repeated examples move every redrawn distance up by the same bias: it is taken off.
    low, high = (spread - spread.mean()).quantile(torch.tensor([0.025, 0.975])).tolist()
    return Metric(value, value + low, value + high)


@torch.no_grad()
def errors_by_level(
    model: DiT, target: Target, levels: Int64[Tensor, "L"], per_level: int = 100
) -> Float[Tensor, "L M"]:
    """Squared error of x0_hat at each level, mean over pixels, on held-out digits; not clipped."""
    images, labels = (x[:per_level] for x in framed_digits("test"))
    generator = torch.Generator().manual_seed(EXAM_SEED)
    device = next(model.parameters()).device
    found = []
    for level in levels.tolist():
        eps = torch.randn(images.shape, generator=generator)
        t = torch.full((len(images),), level)
        x_t = noise.add_noise(images, eps, SCHEDULE.alpha_bar(t))
        denoise = digit_denoiser(model, labels.to(device), target)
        x0_hat = denoise(x_t.to(device), t.to(device)).x0_hat.cpu()
        found.append((x0_hat - images).square().mean((1, 2, 3)))
    return torch.stack(found)


LEVELS = torch.linspace(0, SCHEDULE.num_timesteps - 1, NUM_LEVELS).round().long()


def evaluate(target: Target, model: DiT, config: DigitTraining) -> dict[str, Metric]:
    """Samples against held-out digits, and the error of the one-shot guess at each level."""
    label = classes(config.num_samples)
    generator = torch.Generator().manual_seed(EXAM_SEED)
    images = sample(model, label, target=target, generator=generator)
    by_level = errors_by_level(model, target, LEVELS)
    return {
        **of_samples(images, label),
        **{
            f"x0_error_{level}": Metric.of_mean(errors)
            for level, errors in zip(LEVELS.tolist(), by_level, strict=True)
        },
    }


def sheet(target: Target, model: DiT, _config: DigitTraining) -> Image.Image:
    """Ten samples of each class, a class a row."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    label = torch.arange(NUM_CLASSES).repeat_interleave(10)
    images = sample(model, label, target=target, num_steps=50, generator=generator)
    return film(images.unflatten(0, (NUM_CLASSES, 10)))


def recipe(name: str, sentence: str, target: Target, small: DigitTraining, **changes) -> Recipe:
    """A recipe of one target."""
    return Recipe(
        name=name,
        sentence=sentence,
        data="MNIST selection at 32 pixels, train split",
        small=small,
        full=replace(
            small,
            model=replace(
                small.model, dim=384, depth=12, num_heads=6, patch_size=2, quick_start=False
            ),
            steps=40_000,
            flat=20_000,
            batch_size=256,
            learning_rate=2e-4,
            ema_decay=0.9999,
            precision=None,
        ),
        build=DiT,
        objectives=partial(objectives, target),
        draw=draw,
        evaluate=partial(evaluate, target),
        sheet=partial(sheet, target),
        criterion="frechet",
        schedule=flat_then_linear,
        **changes,
    )


SMALL = DigitTraining(
    model=DiTConfig(num_classes=NUM_CLASSES, quick_start=True),
    steps=5000,
    batch_size=32,
    learning_rate=1.5e-3,
    ema_decay=0.998,
    every=1000,
    precision="bf16-mixed",
)
DIGITS = recipe("digit_diffusion", "Digits from noise, class by class", TARGET, SMALL)

SHORT = replace(SMALL, steps=900, flat=450, every=900, num_samples=300)
MEMBERS = {
    target: recipe(
        f"digit_diffusion_{name}",
        f"A short training that guesses {target.name}",
        target,
        SHORT,
        ships_weights=False,
    )
    for name, target in (("eps", EPS), ("x0", X0), ("v", V), ("mean", POSTERIOR_MEAN))
}

RECIPES = (DIGITS, *MEMBERS.values())
