"""How far one set of points lies from another: the Frechet distance, and modes that are covered.

Source: Dowson and Landau 1982; Heusel et al. 2017 (arXiv 1706.08500). The Frechet distance is that
of two fitted Gaussians, and is named after the network that made the features ("digit-classifier
Frechet distance"): FID is Inception's alone.
"""

import torch
from jaxtyping import Bool, Float
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


def mode_coverage(
    samples: Float[Tensor, "N D"], modes: Float[Tensor, "K D"], radius: float, minimum: int
) -> tuple[int, float]:
    """The number of modes with at least `minimum` samples within `radius`, and a share.

    The share is that of the samples within `radius` of any mode: it says how good the samples are
    one by one, the number says what is missing among them.

    Raises:
        ValueError: there is no sample, or `radius` or `minimum` is not positive.
    """
    if not len(samples):
        raise ValueError("samples has 0 rows; a coverage needs at least 1")
    if not (radius > 0 and minimum > 0):
        raise ValueError(f"radius is {radius} and minimum {minimum}; both must be above 0")
    near = (samples[:, None] - modes).norm(dim=-1) <= radius  # (N, K)
    num_covered = (near.sum(0) >= minimum).sum().item()
    return int(num_covered), near.any(1).double().mean().item()


def coverage(
    real: Float[Tensor, "N D"], samples: Float[Tensor, "M D"], neighbours: int = 5
) -> Bool[Tensor, "N"]:
    """Of each real point, whether a sample lies no farther than its k-th nearest real neighbour.

    Source: Naeem et al. 2020 (arXiv 2002.09797). The share of True is their coverage: a set that
    leaves a region out cannot make up for it elsewhere. Compare with what real points score.

    Raises:
        ValueError: there are not more real points than neighbours.
    """
    if not 1 <= neighbours < len(real):
        raise ValueError(f"neighbours is {neighbours}; permitted: 1..{len(real) - 1}")
    radius = torch.cdist(real, real).kthvalue(neighbours + 1, dim=1).values  # the first is itself
    return torch.cdist(real, samples).amin(1) <= radius


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
