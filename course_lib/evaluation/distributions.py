"""How far one set of features lies from another: the Frechet distance of two fitted Gaussians.

Source: Dowson and Landau 1982; Heusel et al. 2017 (arXiv 1706.08500). The number is named after
the network that made the features ("digit-classifier Frechet distance"): FID is Inception's alone.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def frechet_distance(first: Float[Tensor, "N D"], second: Float[Tensor, "M D"]) -> float:
    """Squared Frechet (2-Wasserstein) distance between Gaussians fitted to two sets of features.

    Biased upwards: two sets of N >> D draws of one round Gaussian of variance 1 score about
    D (D + 5) / (2 N), not 0.
    Compare only values made with equal N, and print what two halves of the real data score.

    Raises:
        ValueError: a set has fewer than two rows, or a feature is not finite.
    """
    return frechet_distance_of_gaussians(*_fit(first, "first"), *_fit(second, "second"))


def frechet_distance_of_gaussians(
    mean1: Float[Tensor, "D"],
    cov1: Float[Tensor, "D D"],
    mean2: Float[Tensor, "D"],
    cov2: Float[Tensor, "D D"],
) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), in float64.

    The product C1 C2 is not symmetric; its eigenvalues are those of C1^(1/2) C2 C1^(1/2), which
    is, so no complex square root is needed and a singular covariance does no harm.

    Raises:
        ValueError: a covariance has an eigenvalue clearly below zero.
    """
    mean1, cov1, mean2, cov2 = (x.double() for x in (mean1, cov1, mean2, cov2))
    values, vectors = torch.linalg.eigh(cov1)
    root1 = (vectors * _roots(values)) @ vectors.T
    cross = _roots(torch.linalg.eigvalsh(root1 @ cov2 @ root1)).sum()
    distance = (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross
    return max(distance.item(), 0.0)  # equal Gaussians end a rounding error below zero


def _fit(features: Float[Tensor, "N D"], name: str) -> tuple[Tensor, Tensor]:
    """Mean and unbiased covariance of the rows, in float64."""
    if len(features) < 2:
        raise ValueError(f"the {name} set has {len(features)} rows; a covariance needs at least 2")
    if not features.isfinite().all():
        broken = (~features.isfinite().all(1)).sum().item()
        raise ValueError(f"{broken} of {len(features)} rows of the {name} set are not finite")
    features = features.double()
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def _roots(eigenvalues: Float[Tensor, "D"]) -> Float[Tensor, "D"]:
    """Square roots of a covariance's eigenvalues; rounding errors below zero count as zero."""
    lowest, scale = eigenvalues.min().item(), eigenvalues.abs().max().item()
    if lowest < -1e-6 * scale:
        raise ValueError(f"a covariance has the eigenvalue {lowest:.3g}; none may be below 0")
    return eigenvalues.clamp(min=0).sqrt()
