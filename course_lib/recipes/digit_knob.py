"""Chapter 6's table: one network, every eta and number of steps, the same noise at the start.

Distances are the digit-classifier Frechet distance to the held-out digits; it grows when N falls,
so only cells of one N are compared: `num_samples` for S up to 50, fewer for S = 100, and for all S
`num_samples_1000` of the same starts, named small_*. Names end in eta and S: 0, 02, 05, 1 are eta,
hat is sigma-hat; quadratic and trailing stand for eta = 0 on other subsequences. No clipping, as in
DDIM's own code. The network runs in bfloat16, samplers in float32.

    frechet, read, coverage    as in digit_diffusion
    seconds                    for one picture, by the clock on the wall of a busy machine
    diversity                  between pictures of one start, root mean square over pixels
    guided                     eta = 0 with guidance of some scale
"""

import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from course_lib.evaluation.distributions import coverage
from course_lib.interfaces import Frames
from course_lib.methods.ddim import (
    ddim_steps,
    last,
    quadratic_timesteps,
    trailing_timesteps,
    uniform_timesteps,
)
from course_lib.methods.diffusion import Denoiser, denoiser
from course_lib.methods.guidance import guided
from course_lib.models.dit import DiT
from course_lib.recipes.digit_diffusion import (
    DIGITS,
    NUM_CLASSES,
    SCHEDULE,
    SIZE,
    TARGET,
    classes,
    features,
    framed_digits,
    frechet,
    read,
)
from course_lib.training.measurement import Measurement
from course_lib.training.recipe import Metric

NUM_SAMPLES, NUM_SAMPLES_100, NUM_SAMPLES_1000 = 1000, 300, 100
BATCH = 100
STEPS = (10, 20, 50, 100, 1000)
ETAS: dict[str, dict[str, Any]] = {
    "0": {"eta": 0.0},
    "02": {"eta": 0.2},
    "05": {"eta": 0.5},
    "1": {"eta": 1.0},
    "hat": {"eta": 1.0, "larger_noise": True},
}
OTHERS = {"quadratic": quadratic_timesteps, "trailing": trailing_timesteps}
SCALES = (0.0, 1.0, 2.0, 4.0)
STARTS, DRAWS = 20, 5  # of the diversity
START_SEED, NOISE_SEED = 20267, 20268


@cache
def trained() -> DiT:
    """The network that draws digits."""
    return cast(DiT, DIGITS.load())


def network(model: DiT, label: Int64[Tensor, "B"]) -> Callable[[Tensor, Tensor], Tensor]:
    """The network for these classes, its matrix products in bfloat16."""

    def guess(x_t: Tensor, t: Tensor) -> Tensor:
        with torch.autocast(x_t.device.type, dtype=torch.bfloat16):
            return model(x_t, t, label).to(x_t.dtype)

    return guess


def conditional(model: DiT, label: Int64[Tensor, "B"]) -> Denoiser:
    """The estimate for pictures of these classes."""
    return denoiser(network(model, label), TARGET, SCHEDULE)


def starts(number: int) -> Float[Tensor, "{number} 1 32 32"]:
    """The noise that every cell starts from; fewer are the first of more."""
    generator = torch.Generator().manual_seed(START_SEED)
    return torch.randn(number, 1, SIZE, SIZE, generator=generator)


def walk(
    make: Callable[[Int64[Tensor, "B"]], Denoiser],
    x_T: Float[Tensor, "N 1 32 32"],
    label: Int64[Tensor, "N"],
    timesteps: list[int],
    **how: Any,
) -> Frames:
    """The pictures at the ends of all walks, batch by batch."""
    generator = torch.Generator().manual_seed(NOISE_SEED)
    parts = [
        last(ddim_steps(make(y), SCHEDULE, x, timesteps, generator=generator, **how))
        for x, y in zip(x_T.split(BATCH), label.split(BATCH), strict=True)
    ]
    return torch.cat(parts)


@cache
def held_out() -> Float[Tensor, "N D"]:
    """The classifier's features of the real digits that all is compared with."""
    return features(framed_digits("test")[0])


def compared(images: Frames, label: Int64[Tensor, "N"], ending: str) -> dict[str, Metric]:
    """Distance, share read and coverage of some pictures."""
    found, hits = features(images), read(images) == label
    return {
        f"frechet_{ending}": frechet(found, held_out()),
        f"read_{ending}": Metric.of_share(int(hits.sum()), len(hits)),
        f"coverage_{ending}": Metric.of_mean(coverage(held_out(), found).double()),
    }


def cell(name: str, timesteps: list[int], number: int, **how: Any) -> dict[str, Metric]:
    """One cell of the table; its first pictures also as a cell of the small one."""
    model, label = trained(), classes(number)
    begin = time.perf_counter()
    images = walk(partial(conditional, model), starts(number), label, timesteps, **how)
    each = (time.perf_counter() - begin) / number
    small = slice(NUM_SAMPLES_1000)
    metrics = {
        f"small_{key}": metric
        for key, metric in compared(images[small], label[small], name).items()
    }
    if number > NUM_SAMPLES_1000:
        metrics |= compared(images, label, name)
    return {**metrics, f"seconds_{name}": Metric(each, each, each)}


def real() -> dict[str, Metric]:
    """What as many real digits score that no network has drawn."""
    images, labels = framed_digits("train")
    order = torch.cat([(labels == digit).nonzero()[:, 0][:100] for digit in range(NUM_CLASSES)])
    few = order.view(NUM_CLASSES, -1)[:, : NUM_SAMPLES_1000 // NUM_CLASSES].flatten()
    return {
        **compared(images[order], labels[order], "real"),
        **{f"small_{k}": m for k, m in compared(images[few], labels[few], "real").items()},
    }


def diversity(name: str) -> dict[str, Metric]:
    """How far apart pictures of one start end, and how many are read, with 50 steps."""
    x_T = starts(STARTS).repeat_interleave(DRAWS, 0)
    label = classes(STARTS).repeat_interleave(DRAWS)
    timesteps = uniform_timesteps(SCHEDULE.num_timesteps, 50)
    images = walk(partial(conditional, trained()), x_T, label, timesteps, **ETAS[name])
    groups = images.flatten(1).unflatten(0, (STARTS, DRAWS))
    apart = torch.cdist(groups, groups).sum((1, 2)) / (DRAWS * (DRAWS - 1)) / SIZE
    hits = read(images) == label
    return {
        f"diversity_{name}": Metric.of_mean(apart),
        f"diversity_read_{name}": Metric.of_share(int(hits.sum()), len(hits)),
    }


def guidance(scale: float) -> dict[str, Metric]:
    """Guided pictures with 50 steps, clipped: guidance leaves the range of real pixels."""
    model, label = trained(), classes(NUM_SAMPLES // 4)

    def make(y: Int64[Tensor, "B"]) -> Denoiser:
        free = torch.full_like(y, NUM_CLASSES)
        return guided(conditional(model, y), conditional(model, free), scale)

    timesteps = uniform_timesteps(SCHEDULE.num_timesteps, 50)
    images = walk(make, starts(len(label)), label, timesteps, clip=1.0)
    return compared(images, label, f"guided_{scale:.0f}")


def table() -> dict[str, Callable[[], dict[str, Metric]]]:
    """Every part, the quick ones first."""
    parts: dict[str, Callable[[], dict[str, Metric]]] = {"real": real}
    chain = SCHEDULE.num_timesteps
    for steps in STEPS:
        number = {100: NUM_SAMPLES_100, 1000: NUM_SAMPLES_1000}.get(steps, NUM_SAMPLES)
        for name, how in ETAS.items():
            visited = uniform_timesteps(chain, steps)
            ending = f"{name}_{steps}"
            parts[ending] = partial(cell, ending, visited, number, **how)
        for name, choose in OTHERS.items():
            if steps <= 50:
                visited, ending = choose(chain, steps), f"{name}_{steps}"
                parts[ending] = partial(cell, ending, visited, number)
    parts |= {f"diversity_{name}": partial(diversity, name) for name in ETAS}
    parts |= {f"guided_{scale:.0f}": partial(guidance, scale) for scale in SCALES}
    return parts


KNOB = Measurement(
    name="digit_knob",
    sentence="The table of eta and steps, for the network that draws digits",
    networks=(DIGITS,),
    config={
        "num_samples": NUM_SAMPLES,
        "num_samples_100": NUM_SAMPLES_100,
        "num_samples_1000": NUM_SAMPLES_1000,
        "batch": BATCH,
    },
    parts=table(),
)

RECIPES = (KNOB,)
