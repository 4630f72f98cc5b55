"""Chapter 6: held-out digits turned into noise and back, without chance.

Both ways are the walk of eta = 0 without clipping, in the same steps. Measured:

    error_<steps>       squared error of what comes back, mean over pixels in [0, 1]
    error_mean_image    the same, if the mean of all training digits came back
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from torch import Tensor

from course_lib.data.video import to_float
from course_lib.interfaces import Frames
from course_lib.methods import ddim
from course_lib.methods.ddim import ddim_steps, last, uniform_timesteps
from course_lib.methods.diffusion import EPS, Denoised
from course_lib.methods.noise import NoiseSchedule
from course_lib.models.dit import DiT
from course_lib.recipes.digit_diffusion import (
    BORDER,
    DIGITS,
    SCHEDULE,
    digit_denoiser,
    framed_digits,
)
from course_lib.training.measurement import Measurement
from course_lib.training.recipe import Metric

NUM_DIGITS = 20
STEPS = (10, 20, 50, 100, 200, 1000)

# (x0, eps_network, timesteps, alphas_cumprod) to x_T; eps_network takes (x, t), t an int
Invert = Callable[[Tensor, Callable[[Tensor, int], Tensor], list[int], Tensor], Tensor]


def invert(
    x0: Frames,
    eps_network: Callable[[Tensor, int], Tensor],
    timesteps: list[int],
    alphas_cumprod: Tensor,
) -> Frames:
    """As chapter 6 asks for it: the library's, for a network that guesses noise."""
    schedule = NoiseSchedule(alphas_cumprod)

    def denoise(x_t: Tensor, t: Tensor) -> Denoised:
        return EPS.separate(schedule, x_t, eps_network(x_t, int(t[0])), t)

    return ddim.invert(denoise, schedule, x0, timesteps)


@torch.no_grad()
def round_trip(
    model: DiT,
    x0: Frames,
    label: Int64[Tensor, "B"],
    num_steps: int,
    invert: Invert = invert,
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[Frames, Frames]:
    """The noise that these pictures come from, and what comes back from it.

    Args:
        model: The digits' network.
        x0: Pictures.
        label: Their classes.
        num_steps: Of each way.
        invert: The way up.
        eta: Of the way down.
        generator: Of the noise that the way down adds.
    """
    denoise = digit_denoiser(model, label)

    def eps_network(x: Tensor, t: int) -> Tensor:
        return denoise(x, torch.full((len(x),), t)).eps_hat

    timesteps = uniform_timesteps(SCHEDULE.num_timesteps, num_steps)
    x_T = invert(x0, eps_network, timesteps[::-1], SCHEDULE.alphas_cumprod).to(x0)
    way_down = ddim_steps(denoise, SCHEDULE, x_T, timesteps, eta=eta, generator=generator)
    return x_T, last(way_down)


def frame(images: UInt8[Tensor, "N 28 28"]) -> Frames:
    """A pad's digits as the network knows digits: in [-1, 1], with paper around them."""
    return F.pad(to_float(images)[:, None], (BORDER,) * 4, value=-1.0)


def squared_error(pictures: Frames, truth: Frames) -> Metric:
    """Mean over pixels in [0, 1], and over pictures."""
    return Metric.of_mean(((pictures - truth) / 2).square().mean((1, 2, 3)))


def there_and_back(num_steps: int) -> dict[str, Metric]:
    """With so many steps each way."""
    images, label = (part[:NUM_DIGITS] for part in framed_digits("test"))
    _, back = round_trip(cast(DiT, DIGITS.load()), images, label, num_steps)
    return {f"error_{num_steps}": squared_error(back, images)}


def mean_image() -> dict[str, Metric]:
    """For comparison: one picture for all."""
    images = framed_digits("test")[0][:NUM_DIGITS]
    mean = framed_digits("train")[0].mean(0)
    return {"error_mean_image": squared_error(mean.expand_as(images), images)}


ETA_INVERSION = Measurement(
    name="eta_inversion",
    sentence="Held-out digits turned into noise and back, without chance",
    networks=(DIGITS,),
    config={"digits": NUM_DIGITS, "steps": STEPS},
    parts={
        "mean_image": mean_image,
        **{f"steps_{n}": partial(there_and_back, n) for n in STEPS},
    },
)

RECIPES = (ETA_INVERSION,)
