"""Chapter 1: SVG with a learned prior, and without latent, on Stochastic Moving MNIST.

A digit moves straight on until it meets a wall; there its direction is drawn anew. How the two are
judged stands in moving_exam.py.

Source: Denton & Fergus 2018 (arXiv 1802.07687), section 4. Departures: one digit in 32 pixels,
where the paper has two in 64; a network of 0.8 million parameters; beta rises during training. The
network without latent is trained as SVG is, one step ahead of true frames.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from course_lib.evaluation.frames import energy_score, over_samples
from course_lib.models.svg import PUBLISHED, SVG, SVGConfig
from course_lib.recipes import moving_exam
from course_lib.recipes.film import film
from course_lib.recipes.moving_exam import CONTEXT, EXAM_SEED, HORIZON, SAMPLES, MovingExam
from course_lib.recipes.svg import FIRST_BETA, flat_then_cosine, rising
from course_lib.training.loop import Batch, Objective
from course_lib.training.recipe import Config, Metric, Recipe

SHOWN = 6  # clips of the sheet

Rows = Float[Tensor, "B R H 1 S S"]  # clips to show for each context


@dataclass(frozen=True)
class MovingConfig(Config):
    """A training whose beta rises from `first_beta` to `beta`."""

    beta: float = 1e-3
    first_beta: float = FIRST_BETA
    num_digits: int = 1

    def beta_at(self, step: int) -> float:
        """The weight of a nat in an update."""
        return rising(self.first_beta, self.beta, step / self.steps)


def exam_of(config: MovingConfig) -> MovingExam:
    """The exam in the config's world."""
    return moving_exam.make_exam(config.num_digits, config.model.image.size)


def draw(config: MovingConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """New clips of train digits, and the noise of every z."""
    clips = moving_exam.world("train", config.num_digits, config.model.image.size)
    video = clips.sample(config.batch_size, generator=generator).video
    shape = (config.batch_size, HORIZON, config.model.latent_dim)
    return {"video": video, "eps": torch.randn(shape, generator=generator)}


def objectives(model: SVG, config: MovingConfig) -> list[Objective]:
    """SVG's loss, Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    return [Objective(partial(svg_loss, config), optimizer, max_grad_norm=1.0)]


def svg_loss(
    config: MovingConfig, model: nn.Module, batch: Batch, step: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Summed over the predicted frames of a clip; KL and squared error beside it."""
    passed = model(batch["video"], CONTEXT, batch["eps"])
    squares = (passed.frames - batch["video"][:, CONTEXT:]).square().mean((2, 3, 4))  # (B, H)
    kl = passed.kl()  # (B, H)
    loss = squares + config.beta_at(step) * kl
    return loss.sum(1).mean(), {"kl": kl.sum(1).mean(), "squared_error": squares.sum(1).mean()}


def evaluate_sampler(model: SVG, config: MovingConfig) -> dict[str, Metric]:
    """SVG-LP on held-out digits, and the predictors that learn nothing."""
    exam = exam_of(config)
    still = {
        "copy_last": exam.context[:, -1:].expand_as(exam.future),
        "mean_image": exam.mean_image.expand_as(exam.future),
    }
    measured = moving_exam.examine_sampler(model, exam)
    for name, prediction in still.items():
        measured |= moving_exam.frame_scores(prediction, exam.future, name)
    return moving_exam.summary(measured) | moving_exam.information(model, exam)


def evaluate_deterministic(model: SVG, config: MovingConfig) -> dict[str, Metric]:
    """The one prediction, and the energy score of the sampler that repeats it."""
    exam = exam_of(config)
    prediction = one_future(model, exam)
    measured = moving_exam.frame_scores(prediction, exam.future, "deterministic")
    measured["energy"] = energy_score(torch.stack([prediction] * 2), exam.future)
    return moving_exam.summary(measured)


def monitor(model: SVG, config: MovingConfig) -> dict[str, float]:
    """One point of the history: PSNR of one sample, and the nats of its frames."""
    exam = exam_of(config)
    scores = moving_exam.finite_psnr(one_future(model, exam), exam.future)
    found = {"psnr_one": float(scores.mean())}
    if config.model.prior is not None:
        of_latents = moving_exam.information(model, exam)
        found |= {name: metric.value for name, metric in of_latents.items()}
    return found


def one_future(model: SVG, exam: MovingExam) -> moving_exam.Continuations:
    """One sample for each context; without latent it is the prediction."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    return moving_exam.sample_futures(model, exam.context, 1, generator=generator)[0]


def sampler_rows(model: SVG, exam: MovingExam) -> Rows:
    """Of each clip: the truth, the best of 100 samples, three samples, the mean of the 100."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    samples = moving_exam.sample_futures(model, exam.context, SAMPLES, generator=generator)
    scores = over_samples(samples, exam.future, moving_exam.finite_psnr).mean(2)  # (K, B)
    best = samples[scores.argmax(0), torch.arange(len(exam.future))]
    return torch.stack([exam.future, best, *samples[:3], samples.mean(0)], 1)


def deterministic_rows(model: SVG, exam: MovingExam) -> Rows:
    """Of each clip: the truth, and the one prediction."""
    return torch.stack([exam.future, one_future(model, exam)], 1)


def sheet(
    model: SVG, config: MovingConfig, *, rows: Callable[[SVG, MovingExam], Rows]
) -> Image.Image:
    """The rows of the first clips, the context in front; every frame has a grey border."""
    exam = exam_of(config).first(SHOWN)
    futures = rows(model, exam)
    seen = exam.context[:, None].expand(-1, futures.shape[1], -1, -1, -1, -1)
    return film(torch.cat([seen, futures], 2).flatten(0, 1))


SMALL = MovingConfig(
    model=SVGConfig(),
    steps=3600,
    batch_size=16,
    learning_rate=1.5e-3,
    ema_decay=0.998,
    every=600,
)
FULL = replace(SMALL, model=PUBLISHED, steps=30_000, batch_size=64, every=3000, num_digits=2)
WITHOUT_LATENT = {"prior": None, "latent_dim": 0}

LEARNED_PRIOR = Recipe(
    name="moving_svg_lp",
    sentence="SVG with a learned prior on Stochastic Moving MNIST",
    data="Stochastic Moving MNIST, digits of the train split",
    small=SMALL,
    full=FULL,
    build=SVG,
    objectives=objectives,
    draw=draw,
    evaluate=evaluate_sampler,
    sheet=partial(sheet, rows=sampler_rows),
    criterion="energy",
    ships_weights=False,
    schedule=flat_then_cosine,
    monitor=monitor,
)
DETERMINISTIC = replace(
    LEARNED_PRIOR,
    name="moving_svg_deterministic",
    sentence="The same network without latent on Stochastic Moving MNIST",
    small=replace(SMALL, model=replace(SMALL.model, **WITHOUT_LATENT)),
    full=replace(FULL, model=replace(FULL.model, **WITHOUT_LATENT)),
    evaluate=evaluate_deterministic,
    sheet=partial(sheet, rows=deterministic_rows),
)

RECIPES = (LEARNED_PRIOR, DETERMINISTIC)
