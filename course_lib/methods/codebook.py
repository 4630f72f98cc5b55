"""A codebook: a finite vocabulary of vectors, beside the best linear code of a few numbers.

Source: k-means, in Lloyd's order (Lloyd 1982, "Least squares quantization in PCM"), as vector
quantisation uses it; principal components for the linear code. Departure: codes begin at vectors
drawn without replacement, and a code that nothing is nearest to stays where it is.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

CHUNK = 4096  # vectors compared at once


def nearest_code(vectors: Float[Tensor, "N D"], codes: Float[Tensor, "K D"]) -> Int64[Tensor, "N"]:
    """The number of the code at the least distance from each vector."""
    lengths = codes.square().sum(1)  # |v - c|^2 without |v|^2, which decides nothing
    return torch.cat([(lengths - 2 * part @ codes.T).argmin(1) for part in vectors.split(CHUNK)])


def fit_codebook(
    vectors: Float[Tensor, "N D"],
    num_codes: int,
    *,
    num_steps: int = 5,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "{num_codes} D"]:
    """Codes that are each the mean of the vectors nearest to it, after some rounds.

    Raises:
        ValueError: num_codes is not 1..N, or num_steps is negative.
    """
    if not 1 <= num_codes <= len(vectors) or num_steps < 0:
        raise ValueError(
            f"num_codes is {num_codes}, num_steps {num_steps}; permitted: 1..{len(vectors)} codes, "
            f"0 and more steps"
        )
    codes = vectors[torch.randperm(len(vectors), generator=generator)[:num_codes]]
    for _ in range(num_steps):
        nearest = nearest_code(vectors, codes)
        sums = torch.zeros_like(codes).index_add(0, nearest, vectors)
        members = nearest.bincount(minlength=num_codes)[:, None]  # (K, 1)
        codes = torch.where(members > 0, sums / members.clamp(min=1), codes)
    return codes


def principal_axes(
    vectors: Float[Tensor, "N D"],
) -> tuple[Float[Tensor, "D"], Float[Tensor, "D D"]]:
    """The mean, and orthonormal columns by falling variance: the first d make the best linear code.

    Encode with `(v - mean) @ axes[:, :d]`, decode with `mean + code @ axes[:, :d].T`.
    """
    mean = vectors.mean(0)
    spread = (vectors - mean).double()
    axes = torch.linalg.eigh(spread.T @ spread).eigenvectors.flip(1)
    return mean, axes.to(vectors)
