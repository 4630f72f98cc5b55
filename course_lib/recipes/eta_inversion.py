"""Chapter 6: held-out digits turned into noise and back, without chance.

Both ways are the walk of eta = 0 without clipping, in the same steps. Measured:

    error_<steps>       squared error of what comes back, mean over pixels in [0, 1]
    error_mean_image    the same, if the mean of all training digits came back
"""

from functools import partial
from typing import cast

from course_lib.interfaces import Frames
from course_lib.methods.ddim import ddim_steps, invert, last, uniform_timesteps
from course_lib.models.dit import DiT
from course_lib.recipes.digit_diffusion import DIGITS, SCHEDULE, digit_denoiser, framed_digits
from course_lib.training.measurement import Measurement
from course_lib.training.recipe import Metric

NUM_DIGITS = 20
STEPS = (10, 20, 50, 100, 200, 1000)


def squared_error(pictures: Frames, truth: Frames) -> Metric:
    """Mean over pixels in [0, 1], and over pictures."""
    return Metric.of_mean(((pictures - truth) / 2).square().mean((1, 2, 3)))


def there_and_back(num_steps: int) -> dict[str, Metric]:
    """With so many steps each way."""
    images, label = (part[:NUM_DIGITS] for part in framed_digits("test"))
    denoise = digit_denoiser(cast(DiT, DIGITS.load()), label)
    timesteps = uniform_timesteps(SCHEDULE.num_timesteps, num_steps)
    x_T = invert(denoise, SCHEDULE, images, timesteps[::-1])
    back = last(ddim_steps(denoise, SCHEDULE, x_T, timesteps))
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
