"""Chapter 6's instrument: the same noises walked with every eta and every number of steps.

A cell is one eta with one number of steps. In every cell the walks begin at the same x_T, one for
each seed, and add the same draws of noise, so that whatever differs is eta's or the steps' doing.
Pictures are those of the DDIM walk without clipping and without guidance. Measured on them:

    from_eta0_<eta>_<steps>    root mean square distance to the eta = 0 picture of the same x_T and
                                steps, over pixels in [-1, 1]
    ten_or_thousand_<eta>      the same distance, between the pictures of 10 and of 1000 steps
    seeds_apart                the same distance, between two seeds of a class, at eta = 0
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import cast

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from course_lib.data.video import to_bytes
from course_lib.methods import ddim
from course_lib.methods.ddim import ddim_steps, uniform_timesteps
from course_lib.methods.diffusion import Denoiser, ReverseStep, estimate, noise_like
from course_lib.methods.noise import NoiseSchedule
from course_lib.models.dit import DiT
from course_lib.recipes.digit_diffusion import DIGITS, SCHEDULE, SIZE, digit_denoiser
from course_lib.training.measurement import Measurement
from course_lib.training.recipe import Metric

ETAS = {"0": 0.0, "0.2": 0.2, "0.4": 0.4, "0.6": 0.6, "0.8": 0.8, "1": 1.0}
SIGMA_HAT = "σ̂"  # the knob's last place: DDPM's larger noise, which no eta gives
KNOB = (*ETAS, SIGMA_HAT)
STEPS = (5, 10, 20, 50, 100, 1000)
CLASSES = (2, 4, 7, 8)
NUM_SEEDS = 4
SHOWN = (800, 600, 400, 200, 0)  # levels at which every one of these walks comes by
X_T_SEED, NOISE_SEED = 2024, 7
GREYS = {"x_t": 8, "x0_hat": 32}  # of a walk's pictures: noise costs many bytes
LINE = 1  # pixels between a walk's pictures
HEIGHT, WIDTH = (n * (SIZE + LINE) - LINE for n in (2, len(SHOWN)))  # pixels of a drawn walk
WALK_COLUMNS = 24  # of the stored sheet
GRID = (len(KNOB), len(STEPS), len(CLASSES), NUM_SEEDS)

# (x_t, eps_hat, noise, alpha_bar, alpha_bar_prev, eta) to x_prev
Step = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]


def ddim_step(
    x_t: Float[Tensor, "B *dims"],
    eps_hat: Float[Tensor, "B *dims"],
    noise: Float[Tensor, "B *dims"],
    alpha_bar: Float[Tensor, ""],
    alpha_bar_prev: Float[Tensor, ""],
    eta: float,
) -> Float[Tensor, "B *dims"]:
    """One step as chapter 6 asks for it: the library's, with the noise handed in."""
    x0_hat = (x_t - (1 - alpha_bar).sqrt() * eps_hat) / alpha_bar.sqrt()
    sigma = ddim.ddim_sigma(alpha_bar, alpha_bar_prev, eta)
    return ddim.ddim_step(x0_hat, eps_hat, alpha_bar_prev, sigma) + sigma * noise


def walk(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "B *dims"],
    timesteps: Sequence[int],
    step: Step,
    *,
    eta: float = 0.0,
    clip: float | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[ReverseStep]:
    """`ddim_steps` with another's step; it gets noise at eta = 0, too, and may not use it.

    Raises:
        ValueError: `step` gave pictures of another shape, or numbers that are not finite.
    """
    x_t = x_T
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
        alpha_bar, before = schedule.alpha_bar(t), schedule.alpha_bar(t_prev)
        found = estimate(denoise, schedule, x_t, t, clip)
        noise = noise_like(x_t, generator)
        x_prev = step(x_t, found.eps_hat, noise, alpha_bar, before, eta).to(x_t)
        if x_prev.shape != x_t.shape:
            shapes = f"{tuple(x_prev.shape)}; permitted: {tuple(x_t.shape)}"
            raise ValueError(f"the step from t = {t} gave shape {shapes}")
        if not x_prev.isfinite().all():
            raise ValueError(f"the step from t = {t} gave numbers that are not finite")
        yield ReverseStep(t, t_prev, x_t, found.x0_hat, found.eps_hat, x_prev)
        x_t = x_prev


def starts() -> Float[Tensor, "N 1 S S"]:
    """The x_T of each picture: one for each seed, the same for all classes."""
    generator = torch.Generator().manual_seed(X_T_SEED)
    each = torch.randn(NUM_SEEDS, 1, SIZE, SIZE, generator=generator)
    return repeat(each, "s c h w -> (k s) c h w", k=len(CLASSES))


def labels() -> Int64[Tensor, "N"]:
    """The class of each picture."""
    return torch.tensor(CLASSES).repeat_interleave(NUM_SEEDS)


def cell_steps(
    model: DiT, place: str, num_steps: int, step: Step | None = None
) -> Iterator[ReverseStep]:
    """The walk of all pictures of a cell, with the library's step or with another's.

    Raises:
        ValueError: `place` is not on the knob, or is sigma-hat with a step that knows eta alone.
    """
    if place not in KNOB or (step is not None and place not in ETAS):
        permitted = ", ".join(KNOB if step is None else ETAS)
        raise ValueError(f"eta is {place}; permitted: {permitted}")
    x_T, timesteps = starts(), uniform_timesteps(SCHEDULE.num_timesteps, num_steps)
    denoise = digit_denoiser(model, labels())
    generator = torch.Generator().manual_seed(NOISE_SEED)
    eta = ETAS.get(place, 1.0)
    if step is not None:
        return walk(denoise, SCHEDULE, x_T, timesteps, step, eta=eta, generator=generator)
    return ddim_steps(
        denoise,
        SCHEDULE,
        x_T,
        timesteps,
        eta=eta,
        larger_noise=place == SIGMA_HAT,
        generator=generator,
    )


@dataclass(frozen=True, eq=False)
class Cell:
    """What is kept of a cell's walk."""

    final: UInt8[Tensor, "N S S"]
    strip: UInt8[Tensor, "N H W"]  # x_t above x0_hat, at the levels SHOWN


@torch.no_grad()
def draw_cell(steps: Iterator[ReverseStep]) -> Cell:
    """Walk to the end, and keep what the instrument shows."""
    kept, final = [], None
    for step in steps:
        if step.t in SHOWN:
            kept.append(torch.stack([step.x_t, step.x0_hat])[:, :, 0])
        final = step.x_prev
    x_t, x0_hat = torch.stack(kept, -2).clamp(-1, 1)  # (N, S, moments, S) each
    rows = [_few_greys(x_t, GREYS["x_t"]), _few_greys(x0_hat, GREYS["x0_hat"])]
    framed = torch.nn.functional.pad(torch.stack(rows, 1), (0, LINE, 0, 0, 0, LINE))
    strip = rearrange(framed, "n r h m w -> n (r h) (m w)")[:, :-LINE, :-LINE]
    return Cell(to_bytes(cast(Tensor, final)[:, 0]), to_bytes(strip))


def _few_greys(x: Tensor, number: int) -> Tensor:
    """The nearest of so many greys from black to white."""
    return ((x + 1) / 2 * (number - 1)).round() / (number - 1) * 2 - 1


@cache
def cells() -> dict[tuple[str, int], Cell]:
    """Every cell, walked by the library."""
    model = cast(DiT, DIGITS.load())
    return {
        (place, num_steps): draw_cell(cell_steps(model, place, num_steps))
        for num_steps in STEPS
        for place in KNOB
    }


def distance(first: UInt8[Tensor, "N S S"], second: UInt8[Tensor, "N S S"]) -> Float[Tensor, "N"]:
    """Root mean square difference over pixels in [-1, 1]."""
    return ((first.float() - second.float()) / 127.5).square().mean((1, 2)).sqrt()


def distances() -> dict[str, Metric]:
    """How far pictures of one x_T lie apart, and pictures of two."""
    final = {key: cell.final for key, cell in cells().items()}
    metrics = {}
    for num_steps in STEPS:
        for place in KNOB[1:]:
            away = distance(final[place, num_steps], final["0", num_steps])
            metrics[f"from_eta0_{_key(place)}_{num_steps}"] = Metric.of_mean(away)
    for place in KNOB:
        away = distance(final[place, 10], final[place, 1000])
        metrics[f"ten_or_thousand_{_key(place)}"] = Metric.of_mean(away)
    by_seed = final["0", 1000].unflatten(0, (len(CLASSES), NUM_SEEDS))
    pairs = [distance(by_seed[:, i], by_seed[:, j]) for i, j in combinations(range(NUM_SEEDS), 2)]
    return {**metrics, "seeds_apart": Metric.of_mean(torch.cat(pairs))}


def _key(place: str) -> str:
    return "hat" if place == SIGMA_HAT else place.replace(".", "")


def final_sheet() -> Image.Image:
    """A cell a row, a picture a column."""
    rows = [cells()[place, num_steps].final for place in KNOB for num_steps in STEPS]
    return Image.fromarray(rearrange(torch.stack(rows), "k n h w -> (k h) (n w)").numpy())


def walk_sheet() -> Image.Image:
    """Every walk, cell by cell, row by row."""
    cell_by_cell = [cells()[place, num_steps].strip for place in KNOB for num_steps in STEPS]
    strips = torch.cat(cell_by_cell)
    return Image.fromarray(rearrange(strips, "(r c) h w -> (r h) (c w)", c=WALK_COLUMNS).numpy())


def stored_final() -> UInt8[np.ndarray, "eta steps classes seeds S S"]:
    """The final pictures of the stored sheet."""
    with Image.open(ETA_SHEETS.sheet("final")) as image:
        pixels = np.asarray(image.convert("L"))
    pictures = rearrange(pixels, "(k h) (n w) -> (k n) h w", h=SIZE, w=SIZE)
    return pictures.reshape(*GRID, SIZE, SIZE)


def stored_walks() -> UInt8[np.ndarray, "eta steps classes seeds H W"]:
    """The walks of the stored sheet."""
    with Image.open(ETA_SHEETS.sheet("walk")) as image:
        pixels = np.asarray(image.convert("L"))
    strips = rearrange(pixels, "(r h) (c w) -> (r c) h w", h=HEIGHT, w=WIDTH)
    return strips.reshape(*GRID, HEIGHT, WIDTH)


ETA_SHEETS = Measurement(
    name="eta_sheets",
    sentence="The same noises walked with every eta and number of steps",
    networks=(DIGITS,),
    config={
        "knob": KNOB,
        "steps": STEPS,
        "classes": CLASSES,
        "num_seeds": NUM_SEEDS,
        "seeds": (X_T_SEED, NOISE_SEED),
        "shown": SHOWN,
        "greys": GREYS,
    },
    parts={"distances": distances},
    sheets={"final": final_sheet, "walk": walk_sheet},
    exact_sheets=True,
)
RECIPES = (ETA_SHEETS,)
