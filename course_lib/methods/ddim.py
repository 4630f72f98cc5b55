"""DDIM: the same network, another walk, with as many steps and as much noise as one likes.

Source: Song, Meng & Ermon 2020 (arXiv 2010.02502, ICLR 2021), sections 4 and 5, appendix D.
Departures in notation: their alpha_t is DDPM's alpha_bar, and so is ours; steps are numbered by the
descending subsequence `timesteps` that is visited, and t = -1 is clean. Their code does not clip
x0_hat; here clipping is an argument.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from course_lib.methods.diffusion import (
    Denoiser,
    ReverseStep,
    estimate,
    noise_like,
)
from course_lib.methods.noise import NoiseSchedule


def uniform_timesteps(num_timesteps: int, num_steps: int) -> list[int]:
    """Equal strides from 0 up, visited downwards: floor(c i) with c = num_timesteps / num_steps.

    The walk begins one stride below the end of the chain, not at its last step.

    Raises:
        ValueError: num_steps lies outside 1..num_timesteps.
    """
    _check_steps(num_timesteps, num_steps)
    return [i * num_timesteps // num_steps for i in reversed(range(num_steps))]  # DDIM app. D.2


def quadratic_timesteps(num_timesteps: int, num_steps: int) -> list[int]:
    """Strides that grow with the noise: floor(c i^2), with most steps near the clean picture.

    The last visited step is that of `uniform_timesteps`. Where two would be equal, the later ones
    move up.

    Raises:
        ValueError: num_steps lies outside 1..num_timesteps.
    """
    _check_steps(num_timesteps, num_steps)
    top = uniform_timesteps(num_timesteps, num_steps)[0]
    scale = top / max(num_steps - 1, 1) ** 2
    rising: list[int] = []
    for i in range(num_steps):
        rising.append(max(int(scale * i**2 + 1e-9), rising[-1] + 1 if rising else 0))
    return rising[::-1]


def trailing_timesteps(num_timesteps: int, num_steps: int) -> list[int]:
    """Equal strides from the last step of the chain down: the walk begins at pure noise.

    Raises:
        ValueError: num_steps lies outside 1..num_timesteps.
    """
    _check_steps(num_timesteps, num_steps)
    return [(i * num_timesteps) // num_steps - 1 for i in range(num_steps, 0, -1)]


def _check_steps(num_timesteps: int, num_steps: int) -> None:
    if not 1 <= num_steps <= num_timesteps:
        raise ValueError(f"num_steps is {num_steps}; permitted: 1..{num_timesteps}")


def ddim_sigma(
    alpha_bar: Float[Tensor, ""], alpha_bar_prev: Float[Tensor, ""], eta: float
) -> Float[Tensor, ""]:
    """The standard deviation of the noise that one step adds; eta = 1 is the DDPM posterior's."""
    variance = (1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)
    return eta * variance.sqrt()  # DDIM eq. 16


def sigma_hat(alpha_bar: Float[Tensor, ""], alpha_bar_prev: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The larger standard deviation, DDPM's beta carried over to longer strides."""
    return (1 - alpha_bar / alpha_bar_prev).sqrt()  # DDIM app. D.3


def ddim_step(
    x0_hat: Float[Tensor, "B *dims"],
    eps_hat: Float[Tensor, "B *dims"],
    alpha_bar_prev: Float[Tensor, ""],
    sigma: Float[Tensor, ""],
) -> Float[Tensor, "B *dims"]:
    """x_prev before its noise: the clean guess, and as much of the guessed noise as still fits."""
    direction = (1 - alpha_bar_prev - sigma**2).sqrt() * eps_hat
    return alpha_bar_prev.sqrt() * x0_hat + direction  # DDIM eq. 12


def ddim_steps(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "B *dims"],
    timesteps: Sequence[int],
    *,
    eta: float = 0.0,
    larger_noise: bool = False,
    clip: float | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[ReverseStep]:
    """DDIM's walk over a descending subsequence, ending at the clean picture.

    Args:
        denoise: The denoiser.
        schedule: Its schedule.
        x_T: Where the walk begins.
        timesteps: The steps to visit, falling.
        eta: How random the walk is: 0 draws nothing, 1 is the ancestral walk.
        larger_noise: Add noise of sigma-hat instead, as DDPM's larger variance does, and none on
            the last step; the direction is that of eta = 1, which must be given.
        clip: Holds every x0_hat within +-clip; None leaves it alone.
        generator: Of the added noise; at eta = 0 it is not touched.

    Raises:
        ValueError: eta lies outside [0, 1], larger_noise goes with another eta than 1, or the
            timesteps do not fall within the chain.
    """
    _check_walk(schedule, timesteps, eta, larger_noise)
    x_t = x_T
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
        alpha_bar, before = schedule.alpha_bar(t), schedule.alpha_bar(t_prev)
        found = estimate(denoise, schedule, x_t, t, clip)
        sigma = ddim_sigma(alpha_bar, before, eta)
        x_prev = ddim_step(found.x0_hat, found.eps_hat, before, sigma)
        if larger_noise:
            sigma = sigma_hat(alpha_bar, before) if t_prev >= 0 else torch.zeros_like(sigma)
        if sigma > 0:
            x_prev = x_prev + sigma * noise_like(x_t, generator)
        yield ReverseStep(t, t_prev, x_t, found.x0_hat, found.eps_hat, x_prev)
        x_t = x_prev


def _check_walk(
    schedule: NoiseSchedule, timesteps: Sequence[int], eta: float, larger_noise: bool
) -> None:
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta}; permitted: 0 to 1")
    if larger_noise and eta != 1:
        raise ValueError(f"larger_noise goes with eta {eta}; permitted: 1")
    falls = all(a > b for a, b in zip(timesteps, [*timesteps[1:], -1], strict=True))
    if not timesteps or not falls or timesteps[0] >= schedule.num_timesteps:
        raise ValueError(
            f"timesteps are {list(timesteps)[:5]}...; permitted: falling within "
            f"{schedule.num_timesteps - 1}..0, at least one"
        )


def last(steps: Iterator[ReverseStep]) -> Float[Tensor, "B *dims"]:
    """Where a walk ends."""
    *_, final = steps
    return final.x_prev
