"""Denoising diffusion: learn one job, then walk back from noise step by step.

Source: Ho, Jain & Abbeel 2020 (arXiv 2006.11239, DDPM), sections 2 and 3; v: Salimans & Ho 2022
(arXiv 2202.00512). Notation as in `noise`. Names elsewhere: q_sample is `noise.add_noise`,
q_posterior_mean_variance is `posterior_mean_coefficients` and `posterior_variance`.

A network may be asked for the noise, the clean picture, their mixture v, or the mean of the step
before: each is a fixed mixture `a x0 + b eps`, a `Target`, and given x_t one yields all others.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from course_lib.methods.noise import NoiseSchedule, add_noise, like

Network = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) to an estimate of a target; t is (B,)


@dataclass(frozen=True)
class Target:
    """What a network is asked for: `a x0 + b eps`, with `coefficients(schedule, t) = (a, b)`."""

    name: str
    coefficients: Callable[[NoiseSchedule, Tensor], tuple[Tensor, Tensor]]

    def mix(
        self,
        schedule: NoiseSchedule,
        x0: Float[Tensor, "B *dims"],
        eps: Float[Tensor, "B *dims"],
        t: Int64[Tensor, "*batch"],
    ) -> Float[Tensor, "B *dims"]:
        """The right answer."""
        a, b = self.coefficients(schedule, t)
        return like(a, x0) * x0 + like(b, x0) * eps

    def separate(
        self,
        schedule: NoiseSchedule,
        x_t: Float[Tensor, "B *dims"],
        output: Float[Tensor, "B *dims"],
        t: Int64[Tensor, "*batch"],
    ) -> "Denoised":
        """What an answer says of clean picture and noise: two equations, two unknowns."""
        a, b = self.coefficients(schedule, t)
        alpha_bar = schedule.alpha_bar(t)
        signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        scale = signal * b - noise * a  # the determinant
        x0_hat = (like(b, x_t) * x_t - like(noise, x_t) * output) / like(scale, x_t)
        eps_hat = like(signal / scale, x_t) * output - like(a / scale, x_t) * x_t
        return Denoised(x0_hat, eps_hat)


@dataclass(frozen=True, eq=False)
class Denoised:
    """An estimate of what x_t is made of."""

    x0_hat: Float[Tensor, "B *dims"]
    eps_hat: Float[Tensor, "B *dims"]

    def clipped(self, x_t: Float[Tensor, "B *dims"], alpha_bar: Tensor, limit: float) -> "Denoised":
        """The clean picture held within +-limit, and the noise that then remains."""
        x0_hat = self.x0_hat.clamp(-limit, limit)
        return from_x0(x_t, x0_hat, alpha_bar)


Denoiser = Callable[[Tensor, Tensor], Denoised]  # (x_t, t), t is (B,)


def from_x0(
    x_t: Float[Tensor, "B *dims"],
    x0_hat: Float[Tensor, "B *dims"],
    alpha_bar: Float[Tensor, "*batch"],
) -> Denoised:
    """The noise that a guess of the clean picture implies."""
    signal, noise = like(alpha_bar.sqrt(), x_t), like((1 - alpha_bar).sqrt(), x_t)
    return Denoised(x0_hat, (x_t - signal * x0_hat) / noise)


def posterior_mean_coefficients(
    schedule: NoiseSchedule, t: int | Int64[Tensor, "*batch"]
) -> tuple[Tensor, Tensor]:
    """(c0, ct): the mean of x_{t-1} given both ends is c0 x0 + ct x_t."""
    t = torch.as_tensor(t)
    alpha_bar, before = schedule.alpha_bar(t), schedule.alpha_bar(t - 1)
    alpha = alpha_bar / before
    c0 = before.sqrt() * (1 - alpha) / (1 - alpha_bar)  # DDPM eq. 7
    ct = alpha.sqrt() * (1 - before) / (1 - alpha_bar)
    return c0, ct


def posterior_variance(
    schedule: NoiseSchedule, t: int | Int64[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Beta with a tilde: how much x_{t-1} varies given both ends; 0 at t = 0."""
    t = torch.as_tensor(t)
    alpha_bar, before = schedule.alpha_bar(t), schedule.alpha_bar(t - 1)
    return (1 - before) / (1 - alpha_bar) * (1 - alpha_bar / before)  # DDPM eq. 7


def _constant(a: float, b: float) -> Callable[[NoiseSchedule, Tensor], tuple[Tensor, Tensor]]:
    def coefficients(schedule: NoiseSchedule, t: Tensor) -> tuple[Tensor, Tensor]:
        ones = torch.ones_like(schedule.alpha_bar(t))
        return a * ones, b * ones

    return coefficients


def _v(schedule: NoiseSchedule, t: Tensor) -> tuple[Tensor, Tensor]:
    alpha_bar = schedule.alpha_bar(t)
    return -(1 - alpha_bar).sqrt(), alpha_bar.sqrt()


def _posterior_mean(schedule: NoiseSchedule, t: Tensor) -> tuple[Tensor, Tensor]:
    alpha_bar = schedule.alpha_bar(t)
    c0, ct = posterior_mean_coefficients(schedule, t)
    return c0 + ct * alpha_bar.sqrt(), ct * (1 - alpha_bar).sqrt()


EPS = Target("eps", _constant(0.0, 1.0))
X0 = Target("x0", _constant(1.0, 0.0))
V = Target("v", _v)  # Salimans & Ho 2022: v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0
POSTERIOR_MEAN = Target("posterior mean", _posterior_mean)
TARGETS = (EPS, X0, V, POSTERIOR_MEAN)


def denoiser(network: Network, target: Target, schedule: NoiseSchedule) -> Denoiser:
    """A network that was trained for `target`, as what samplers ask for."""

    def denoise(x_t: Tensor, t: Tensor) -> Denoised:
        return target.separate(schedule, x_t, network(x_t, t), t)

    return denoise


def exact_denoiser(
    optimal: Callable[[Tensor, Tensor], Tensor], schedule: NoiseSchedule
) -> Denoiser:
    """A known posterior mean, `optimal(x_t, alpha_bar)`, as what samplers ask for."""

    def denoise(x_t: Tensor, t: Tensor) -> Denoised:
        alpha_bar = schedule.alpha_bar(t)
        return from_x0(x_t, optimal(x_t, alpha_bar), alpha_bar)

    return denoise


def denoising_loss(
    network: Network,
    target: Target,
    schedule: NoiseSchedule,
    x0: Float[Tensor, "B *dims"],
    eps: Float[Tensor, "B *dims"],
    t: Int64[Tensor, "B"],
) -> Float[Tensor, "B"]:
    """Squared error of the network's answer, mean over pixels, for each example.

    With the target EPS and the plain mean over examples this is L_simple.
    """
    x_t = add_noise(x0, eps, schedule.alpha_bar(t))
    error = network(x_t, t) - target.mix(schedule, x0, eps, t)  # DDPM eq. 14
    return error.square().flatten(1).mean(1)


def bound_weights(schedule: NoiseSchedule) -> Float[Tensor, "N"]:
    """What the variational bound multiplies each step's squared error of eps with, in nats.

    DDPM's eq. 12 for the variance beta: relative to it L_simple, whose weights are all 1, plays
    down the steps near the clean picture.
    """
    betas, alphas = schedule.betas, schedule.alphas
    return betas / (2 * alphas * (1 - schedule.alphas_cumprod))  # beta^2 / (2 beta alpha (1 - ab))


@dataclass(frozen=True, eq=False)
class ReverseStep:
    """One step of a walk from noise to a picture."""

    t: int
    t_prev: int  # -1 is the clean picture
    x_t: Float[Tensor, "B *dims"]
    x0_hat: Float[Tensor, "B *dims"]
    eps_hat: Float[Tensor, "B *dims"]
    x_prev: Float[Tensor, "B *dims"]


def noise_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers for every pixel; a CPU generator serves every device."""
    device = generator.device if generator is not None else x.device
    return torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device)


@torch.no_grad()
def estimate(
    denoise: Denoiser, schedule: NoiseSchedule, x_t: Tensor, t: int, clip: float | None
) -> Denoised:
    """What a denoiser says of a batch that is equally noisy, held within +-clip where asked.

    No gradient is kept: over the steps of a walk they would fill the memory.
    """
    found = denoise(x_t, torch.full((len(x_t),), t, device=x_t.device))
    return found if clip is None else found.clipped(x_t, schedule.alpha_bar(t), clip)


def ddpm_steps(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "B *dims"],
    *,
    small_variance: bool = False,
    clip: float | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[ReverseStep]:
    """DDPM's walk, one step per step of the chain, noise added after each but the last.

    Args:
        denoise: The denoiser.
        schedule: Its schedule.
        x_T: Where the walk begins, drawn from N(0, I).
        small_variance: False: each step's noise has variance beta; True: the posterior's, beta
            with a tilde.
        clip: Holds every x0_hat within +-clip; None leaves it alone.
        generator: Of the added noise.
    """
    x_t = x_T
    for t in range(schedule.num_timesteps - 1, -1, -1):
        found = estimate(denoise, schedule, x_t, t, clip)
        c0, ct = (like(c, x_t) for c in posterior_mean_coefficients(schedule, t))
        x_prev = c0 * found.x0_hat + ct * x_t  # DDPM eq. 7
        if t > 0:
            variance = posterior_variance(schedule, t) if small_variance else schedule.betas[t]
            x_prev = x_prev + like(variance.sqrt(), x_t) * noise_like(x_t, generator)
        yield ReverseStep(t, t - 1, x_t, found.x0_hat, found.eps_hat, x_prev)
        x_t = x_prev
