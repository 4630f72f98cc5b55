"""How a score goes with size, work or tokens over a handful of networks, and how sure that is.

Pearson's correlation comes with the interval of Fisher's z, a closed form: atanh of the correlation
of n points strays by about 1 / sqrt(n - 3). A bootstrap would draw nine points again out of nine,
often only five or six different ones, and its intervals are too narrow for so few. Fisher's assumes
points drawn at random from a plane with straight-line dependence; a grid that was laid out by hand
is not, so it says how little a few points can tell, and no more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Row = Sequence[int | float] | np.ndarray  # a number for each point


@dataclass(frozen=True)
class Network:
    """A trained network as a point: what it costs, and what it reached."""

    name: str
    size: str  # what its networks of other patch sizes share: "XL", "128 wide"
    patch: str  # what its networks of other sizes share: "/2"; of a U-Net neither is shared
    mega_parameters: float  # millions
    mega_macs: float  # millions of multiply-accumulates of one picture and step
    score: float  # lower is better
    num_tokens: int | None = None  # None: it has no tokens


@dataclass(frozen=True)
class Correlation:
    """Pearson's correlation with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Regression:
    """y fitted by least squares: a constant, and a slope for each predictor."""

    slopes: tuple[float, ...]
    constant: float
    r_squared: float  # the share of y's variance that the fit explains


def noise_floor(dim: int, patch_numbers: int) -> float:
    """The least mean square error of noise guessed patch by patch by a linear layer `dim` wide.

    White noise fills all directions of a patch alike; what the layer writes lies in `dim` of them,
    and the others are missed, however long the network is trained.

    Raises:
        ValueError: a number below 1.
    """
    if min(dim, patch_numbers) < 1:
        raise ValueError(f"dim is {dim}, patch_numbers {patch_numbers}; permitted: 1 and more")
    return max(0.0, 1 - dim / patch_numbers)


def pearson(x: Row, y: Row) -> Correlation:
    """The correlation of two rows of numbers.

    Raises:
        ValueError: fewer than four points, rows of different lengths, or a row that never changes.
    """
    if len(x) != len(y) or len(x) < 4:
        raise ValueError(f"there are {len(x)} x and {len(y)} y; permitted: as many, 4 or more")
    across, up = (np.asarray(row, dtype=float) - np.mean(row) for row in (x, y))
    spread = math.sqrt((across @ across) * (up @ up))
    if not spread:
        raise ValueError("x or y is the same everywhere; permitted: rows that change")
    value = min(1.0, max(-1.0, float(across @ up) / spread))
    if abs(value) == 1:
        return Correlation(value, value, value)
    half = 1.96 / math.sqrt(len(x) - 3)
    low, high = (math.tanh(math.atanh(value) + step) for step in (-half, half))
    return Correlation(value, low, high)


def regress(y: Row, *predictors: Row) -> Regression:
    """Least squares of y on one predictor or more.

    Raises:
        ValueError: no predictor, or so many that any y would be met, or predictors of which one
            follows from the others.
    """
    if not predictors or len(y) < len(predictors) + 2:
        raise ValueError(
            f"there are {len(predictors)} predictors for {len(y)} points; permitted: 1 predictor "
            "and more, and two points more than predictors"
        )
    target = np.asarray(y, dtype=float)
    columns = np.column_stack([np.ones(len(target)), *predictors])
    solution, _, rank, _ = np.linalg.lstsq(columns, target, rcond=None)
    if rank < columns.shape[1]:
        raise ValueError("a predictor follows from the others; permitted: independent ones")
    left, around = target - columns @ solution, target - target.mean()
    # Where y never changes, the constant explains it.
    r_squared = 1 - float(left @ left) / float(around @ around) if around.any() else 1.0
    return Regression(tuple(float(slope) for slope in solution[1:]), float(solution[0]), r_squared)


def left_out_error(y: Row, *predictors: Row) -> float:
    """Root mean square error of each point as guessed from a regression on all others.

    A predictor more never lowers r_squared, but it can raise this.

    Raises:
        ValueError: as `regress`, with a point less.
    """
    errors = []
    for k, true in enumerate(y):
        without = [[*row[:k], *row[k + 1 :]] for row in (y, *predictors)]
        fit = regress(without[0], *without[1:])
        guess = sum(slope * row[k] for slope, row in zip(fit.slopes, predictors, strict=True))
        errors.append(true - fit.constant - guess)
    return math.sqrt(sum(error**2 for error in errors) / len(errors))
