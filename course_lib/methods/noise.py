"""How noise grows: a table of alpha_bar over the steps of a chain, and pictures destroyed by it.

Source: Ho, Jain & Abbeel 2020 (arXiv 2006.11239, DDPM), section 2; cosine: Nichol & Dhariwal 2021
(arXiv 2102.09672), section 3.2; scaled linear: Rombach et al. 2022 (arXiv 2112.10752), its code
calls it "linear". Departures in notation: t runs from 0 to N - 1 (theirs from 1 to T), and t = -1
is clean; `alphas_cumprod` is their alpha with a bar, which the DDIM paper calls alpha.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """How much noise each of the N steps has added: alpha_bar falls from near 1 towards 0.

    Tables are float64; coefficients are computed in the table's own precision and only then meet
    pictures, because 1 - alpha_bar near a clean picture is a small difference of large numbers.

    Raises:
        ValueError: alphas_cumprod does not fall within (0, 1).
    """

    alphas_cumprod: Float[Tensor, "N"]

    def __post_init__(self) -> None:
        table = self.alphas_cumprod
        if len(table) < 1 or not (table.diff() < 0).all() or not 0 < table[-1] <= table[0] < 1:
            raise ValueError(
                f"alphas_cumprod has {len(table)} steps, {table.tolist()[:3]}...; permitted: at "
                f"least one, falling at each step, within (0, 1)"
            )

    @classmethod
    def from_betas(cls, betas: Float[Tensor, "N"]) -> "NoiseSchedule":
        """From the variance that each step adds."""
        return cls((1 - betas).cumprod(0))  # DDPM eq. 4: alpha_bar

    @property
    def num_timesteps(self) -> int:
        """The length of the chain."""
        return len(self.alphas_cumprod)

    @property
    def alphas(self) -> Float[Tensor, "N"]:
        """The share of the signal's power that each step keeps."""
        return self.alphas_cumprod / self.alpha_bar(torch.arange(self.num_timesteps) - 1)

    @property
    def betas(self) -> Float[Tensor, "N"]:
        """The variance that each step adds."""
        return 1 - self.alphas

    def alpha_bar(self, t: int | Int64[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The share of the signal's power left at t; 1 at t = -1.

        Raises:
            ValueError: t lies outside -1..N-1.
        """
        t = torch.as_tensor(t, device="cpu")
        if t.numel() and not -1 <= int(t.min()) <= int(t.max()) < self.num_timesteps:
            raise ValueError(
                f"t lies in {int(t.min())}..{int(t.max())}; permitted: -1..{self.num_timesteps - 1}"
            )
        clean = self.alphas_cumprod.new_ones(1)
        return torch.cat([clean, self.alphas_cumprod])[t + 1]

    def snr(self, t: int | Int64[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Signal to noise, in power: alpha_bar / (1 - alpha_bar)."""
        alpha_bar = self.alpha_bar(t)
        return alpha_bar / (1 - alpha_bar)


def linear(
    num_timesteps: int = 1000, first_beta: float = 1e-4, last_beta: float = 0.02
) -> NoiseSchedule:
    """DDPM's own: betas on a line."""
    betas = torch.linspace(first_beta, last_beta, num_timesteps, dtype=torch.float64)
    return NoiseSchedule.from_betas(betas)


def scaled_linear(
    num_timesteps: int = 1000, first_beta: float = 0.00085, last_beta: float = 0.012
) -> NoiseSchedule:
    """Latent diffusion's: the square roots of the betas on a line; defaults as Stable Diffusion."""
    roots = torch.linspace(first_beta**0.5, last_beta**0.5, num_timesteps, dtype=torch.float64)
    return NoiseSchedule.from_betas(roots**2)


def cosine(num_timesteps: int = 1000, *, shift: float = 0.0) -> NoiseSchedule:
    """Alpha_bar falls like a squared cosine; `shift` is added to every log SNR.

    A negative shift spends more of the steps on very noisy pictures: large pictures and whole clips
    say the same thing in many pixels, and are readable through more noise (Hoogeboom et al. 2023,
    arXiv 2301.11093). Each beta is at most .999.
    """
    time = torch.linspace(0, 1, num_timesteps + 1, dtype=torch.float64)
    curve = (0.5 * math.pi * (time + 0.008) / 1.008).cos() ** 2
    plain = (curve[1:] / curve[0]).clamp(1e-12, 1 - 1e-12)
    alpha_bar = torch.sigmoid(torch.logit(plain) + shift)
    before = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    return NoiseSchedule.from_betas((1 - alpha_bar / before).clamp(max=0.999))


def like(values: Tensor, x: Tensor) -> Tensor:
    """One number per example, to be multiplied with its pixels; a single one serves all."""
    if not values.ndim:
        return values.to(x.device)
    return values.to(x).reshape(-1, *[1] * (x.ndim - 1))


def add_noise(
    x0: Float[Tensor, "B *dims"],
    eps: Float[Tensor, "B *dims"],
    alpha_bar: Float[Tensor, "*batch"],
) -> Float[Tensor, "B *dims"]:
    """The noisy picture x_t, in one stroke; `alpha_bar` is one number, or one per example."""
    signal, noise = like(alpha_bar.sqrt(), x0), like((1 - alpha_bar).sqrt(), x0)
    return signal * x0 + noise * eps  # DDPM eq. 4
