"""DDIM: the same network, another walk, with as many steps and as much noise as one likes.

Source: Song, Meng & Ermon 2020 (arXiv 2010.02502, ICLR 2021), sections 4 and 5, appendix D.
Departures in notation: their alpha_t is DDPM's alpha_bar, and so is ours; steps are numbered by the
descending subsequence `timesteps` that is visited, and t = -1 is clean. Their code does not clip
x0_hat; here clipping is an argument.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from course_lib.methods.diffusion import Denoiser, ReverseStep, estimate, noise_like
from course_lib.methods.noise import NoiseSchedule, like


def uniform_timesteps(num_timesteps: int, num_steps: int) -> list[int]:
    """Equal strides from 0 up, visited downwards: floor(c i) with c = num_timesteps / num_steps.

    The walk begins one stride below the end of the chain, not at its last step; a walk of one step
    visits t = 0 alone and leaves noise as it is: there, take `trailing_timesteps`.

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
    rising: list[int] = []
    for i in range(num_steps):
        step = top * i**2 // max(num_steps - 1, 1) ** 2
        rising.append(max(step, rising[-1] + 1 if rising else 0))
    return rising[::-1]  # DDIM app. D.2


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
    _check_order(schedule, timesteps, falling=True)


def _check_order(schedule: NoiseSchedule, timesteps: Sequence[int], *, falling: bool) -> None:
    rising = [*reversed(timesteps)] if falling else [*timesteps]
    top = schedule.num_timesteps
    if not rising or any(a >= b for a, b in pairwise([-1, *rising, top])):
        raise ValueError(
            f"timesteps are {list(timesteps)[:5]}...; permitted: "
            f"{'falling' if falling else 'rising'} within 0..{top - 1}, at least one"
        )


def invert(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x0: Float[Tensor, "B *dims"],
    timesteps: Sequence[int],
) -> Float[Tensor, "B *dims"]:
    """The noise that the walk of eta = 0 makes this picture of: the same walk, upwards.

    A move up needs the noise guess of the level it goes to; that of the level it comes from stands
    in, so the way back meets the picture only as closely as the moves are short. A clean picture
    is asked about as if at t = 0.

    Args:
        denoise: The denoiser.
        schedule: Its schedule.
        x0: Clean pictures.
        timesteps: The steps to visit, rising.

    Raises:
        ValueError: The timesteps do not rise within the chain.
    """
    _check_order(schedule, timesteps, falling=False)
    x = x0
    for t, t_next in zip([-1, *timesteps[:-1]], timesteps, strict=True):
        eps_hat = estimate(denoise, schedule, x, max(t, 0), None).eps_hat
        alpha_bar, after = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
        x0_hat = (x - (1 - alpha_bar).sqrt() * eps_hat) / alpha_bar.sqrt()
        x = ddim_step(x0_hat, eps_hat, after, torch.zeros_like(after))
    return x


def slerp(
    first: Float[Tensor, "B *dims"], second: Float[Tensor, "B *dims"], share: float
) -> Float[Tensor, "B *dims"]:
    """A point on the arc from `first` (share 0) to `second` (share 1), for each example.

    All numbers of an example are one vector. Between two noises the arc keeps the length that
    noise has; the straight line is shorter in its middle. Parallel vectors have no arc: there it
    is the line.

    Raises:
        ValueError: share lies outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; permitted: 0 to 1")
    one, other = first.double().flatten(1), second.double().flatten(1)
    cosine = torch.cosine_similarity(one, other)  # (B,)
    angle = cosine.clamp(-1, 1).acos()
    arc = torch.stack([((1 - share) * angle).sin(), (share * angle).sin()]) / angle.sin()
    line = arc.new_tensor([[1 - share], [share]])
    weights = torch.where(cosine.abs() > 1 - 1e-6, line, arc)  # DDIM app. D.5
    return like(weights[0], first) * first + like(weights[1], second) * second


def last(steps: Iterator[ReverseStep]) -> Float[Tensor, "B *dims"]:
    """Where a walk ends; no other step is kept."""
    return deque(steps, maxlen=1)[0].x_prev
