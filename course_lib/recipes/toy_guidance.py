"""Chapter 7: latents of four numbers with a class, whose best noise guess is known exactly.

Two classes lie on either side of the origin, along a direction that all four channels share alike.
So the difference that a class makes has three quarters of its square in three of the four channels,
and what guidance does to each channel can be read off.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from course_lib.data.toy import GaussianMixture
from course_lib.methods import noise
from course_lib.methods.ddim import ddim_steps, last, trailing_timesteps
from course_lib.methods.diffusion import EPS, Network, denoiser

CHANNELS, CLASSES = 4, 2
NO_CLASS = CLASSES
DISTANCE, SPREAD = 2.0, 1.0  # from the origin to a class; of the latents of one class
SCHEDULE = noise.cosine()

Maps = Float[Tensor, "B 4 1 1"]
_MEANS = DISTANCE * torch.tensor([[0.5], [-0.5]], dtype=torch.float64).expand(-1, CHANNELS)


def mixture(label: int) -> GaussianMixture:
    """The latents of one class; of both alike for `NO_CLASS`."""
    means = _MEANS if label == NO_CLASS else _MEANS[label : label + 1]
    number = len(means)
    return GaussianMixture(
        weights=torch.full((number,), 1 / number, dtype=torch.float64),
        means=means,
        sigmas=torch.full((number,), SPREAD, dtype=torch.float64),
    )


def network(x: Maps, t: Int64[Tensor, "B"], label: Int64[Tensor, "B"]) -> Float[Tensor, "B 8 1 1"]:
    """As a DiT with classes answers: the best noise guess, then logits of a variance, here 0.

    Raises:
        ValueError: A label is neither a class nor `NO_CLASS`.
    """
    if not ((label >= 0) & (label <= NO_CLASS)).all():
        raise ValueError(f"label is {label.tolist()}; permitted: 0..{NO_CLASS}")
    alpha_bar = SCHEDULE.alpha_bar(t)
    points, x0_hat = x.double().flatten(1), torch.zeros(x.shape[:2], dtype=torch.float64)
    for each in label.unique().tolist():
        asked = label == each
        x0_hat[asked] = mixture(each).denoise(points[asked], alpha_bar[asked])
    signal, rest = alpha_bar.sqrt()[:, None], (1 - alpha_bar).sqrt()[:, None]
    eps_hat = ((points - signal * x0_hat) / rest).to(x.dtype)[..., None, None]
    return torch.cat([eps_hat, torch.zeros_like(eps_hat)], 1)


def starts(number: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "B 4 1 1"]:
    """Noise to begin walks from."""
    return torch.randn(number, CHANNELS, 1, 1, generator=generator, dtype=torch.float64)


def walk(answer: Network, x_T: Maps, num_steps: int = 40) -> Float[Tensor, "B 4"]:
    """Where walks with eta = 0 end; `answer(x_t, t)` holds its noise guess in the first half."""
    guess = denoiser(lambda x_t, t: answer(x_t, t)[:, :CHANNELS], EPS, SCHEDULE)
    timesteps = trailing_timesteps(SCHEDULE.num_timesteps, num_steps)
    return last(ddim_steps(guess, SCHEDULE, x_T, timesteps)).flatten(1)
