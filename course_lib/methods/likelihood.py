"""One Gaussian fitted to a density: by likelihood, by forward KL and by reverse KL.

Maximum likelihood is minimum forward KL: KL(p || q) = E_p[log p] - E_p[log q], and the first term
does not know q. Reverse KL, E_q[log q - log p], is another question with another answer.
Densities are given by their logarithm on an even grid, where both integrals become sums.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

MAX_EDGE = 1e-3  # p at the ends of its grid, relative to its peak


@dataclass(frozen=True)
class GaussianFit:
    """A fitted Gaussian on the line."""

    mean: float
    sd: float  # standard deviation


def fit_by_likelihood(samples: Float[Tensor, "N"]) -> GaussianFit:
    """The Gaussian under which the samples are likeliest: their mean and their spread (over N).

    Raises:
        ValueError: fewer than two different samples.
    """
    samples = samples.double()
    if samples.unique().numel() < 2:
        raise ValueError(
            f"{samples.unique().numel()} different samples; a likelihood with a peak needs 2"
        )
    return GaussianFit(samples.mean().item(), samples.std(correction=0).item())


def forward_kl(
    log_p: Float[Tensor, "N"], grid: Float[Tensor, "N"], mean: Tensor, sd: Tensor
) -> Float[Tensor, ""]:
    """KL(p || q) in nats: the average is over p, so q must put mass wherever p does."""
    log_p = log_p.log_softmax(0)  # of each grid cell
    log_q = (grid[1] - grid[0]).log() - (sd * math.sqrt(2 * math.pi)).log()
    log_q = log_q - 0.5 * ((grid - mean) / sd) ** 2
    return (log_p.exp() * (log_p - log_q)).sum()


def reverse_kl(
    log_p: Float[Tensor, "N"], grid: Float[Tensor, "N"], mean: Tensor, sd: Tensor
) -> Float[Tensor, ""]:
    """KL(q || p) in nats: the average is over q, so q must avoid what p does not have."""
    log_p = log_p.log_softmax(0)
    # Normalised on the grid: a q that left it would have no mass, and so no KL, at all.
    log_q = (-0.5 * ((grid - mean) / sd) ** 2).log_softmax(0)
    return (log_q.exp() * (log_q - log_p)).sum()


def fit_forward_kl(log_p: Float[Tensor, "N"], grid: Float[Tensor, "N"]) -> GaussianFit:
    """The Gaussian of least KL(p || q), found by descent; it has one optimum.

    Raises:
        ValueError: the grid is uneven, or cuts off part of p.
    """
    log_p, grid = _checked(log_p, grid)
    start = GaussianFit(grid.mean().item(), (grid[-1] - grid[0]).item() / 8)
    return _descend(forward_kl, log_p, grid, start)[1]


def fit_reverse_kl(log_p: Float[Tensor, "N"], grid: Float[Tensor, "N"]) -> tuple[GaussianFit, ...]:
    """All Gaussians of locally least KL(q || p) that descent finds, the best first.

    It starts once at every peak of p. Far bumps give one optimum each (equal bumps: a tie), near
    bumps a single one that spans both.

    Raises:
        ValueError: the grid is uneven, or cuts off part of p.
    """
    log_p, grid = _checked(log_p, grid)
    inner = log_p[1:-1]
    peaks = grid[1:-1][(inner > log_p[:-2]) & (inner >= log_p[2:])]
    narrow = fit_forward_kl(log_p, grid).sd / 3
    found: list[tuple[float, GaussianFit]] = []
    for peak in peaks.tolist():
        kl, fit = _descend(reverse_kl, log_p, grid, GaussianFit(peak, narrow))
        # The same optimum from two starts: closer together than a twentieth of its width.
        if all(abs(fit.mean - other.mean) > other.sd / 20 for _, other in found):
            found.append((kl, fit))
    return tuple(fit for _, fit in sorted(found, key=lambda pair: pair[0]))


def _descend(
    divergence: Callable[..., Tensor],
    log_p: Float[Tensor, "N"],
    grid: Float[Tensor, "N"],
    start: GaussianFit,
) -> tuple[float, GaussianFit]:
    """The divergence and the Gaussian at the local minimum below `start`."""
    mean = torch.tensor(start.mean, dtype=torch.float64, requires_grad=True)
    log_sd = torch.tensor(math.log(start.sd), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [mean, log_sd], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = divergence(log_p, grid, mean, log_sd.exp())
        loss.backward()
        return loss

    optimiser.step(closure)
    return closure().item(), GaussianFit(mean.item(), log_sd.exp().item())


def _checked(
    log_p: Float[Tensor, "N"], grid: Float[Tensor, "N"]
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"]]:
    log_p, grid = log_p.detach().double(), grid.double()
    steps = grid.diff()
    if len(grid) < 3 or not (steps > 0).all() or (steps.max() - steps.min()) > 1e-3 * steps.mean():
        raise ValueError(
            f"grid has {len(grid)} points and steps from {steps.min():.3g} to {steps.max():.3g}; "
            f"it must rise in at least 2 equal steps"
        )
    edge = (log_p[[0, -1]].max() - log_p.max()).exp().item()
    if not edge <= MAX_EDGE:
        raise ValueError(
            f"at an end of the grid p is {edge:.2g} of its peak; "
            f"widen the grid until it is at most {MAX_EDGE}"
        )
    return log_p, grid
