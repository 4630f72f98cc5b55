"""Chapter 0: the conditional mean, PSNR, the energy score, forward KL.

Each checker draws its inputs afresh at every call and compares with a reference of its own.
"""

import math

import torch
from torch import Tensor

from course_lib.checks.properties import (
    agrees,
    describe,
    fresh_generator,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Fault, Verdict, examine
from course_lib.evaluation import frames

FUTURES = ("futures", "probs")


def conditional_mean(function) -> Verdict:
    """Check `function(futures, probs)`: the mean of K clips under their probabilities.

    `futures` has shape (K, H, 1, S, S), `probs` (K,) sums to one; the result is (H, 1, S, S).
    """
    hint = "Multiply each future by its own probability, then add them up."
    large = _draw_futures(5, 3, 4)
    return examine(
        "conditional_mean",
        function,
        lambda futures, probs: torch.einsum("k,khcij->hcij", probs, futures),
        {
            "returns one clip of the same shape as each future": returns(
                _draw_futures(3, 4, 5), (4, 1, 5, 5), FUTURES, "Sum over dimension 0 only."
            ),
            "weighs every future with its probability": agrees(
                _mean, [_draw_futures(2, 1, 1), large], FUTURES, MEAN_MISTAKES, hint
            ),
            "gives the one future that is certain": agrees(
                _mean,
                [_draw_certain_future],
                FUTURES,
                {},
                "With probability one on a single future, the mean is that future.",
            ),
            "no other clip has a smaller expected squared error": _has_least_squared_error,
            "leaves its arguments unchanged": spares_its_arguments(large, FUTURES),
        },
    )


def _draw_futures(num_futures: int, horizon: int, size: int):
    """Random clips in [-1, 1] with random probabilities, no two of them equal."""

    def draw() -> tuple[Tensor, Tensor]:
        generator = fresh_generator()
        futures = torch.rand(num_futures, horizon, 1, size, size, generator=generator) * 2 - 1
        probs = torch.arange(1, num_futures + 1) + torch.rand(num_futures, generator=generator) / 2
        return futures, (probs / probs.sum())[torch.randperm(num_futures, generator=generator)]

    return draw


def _draw_certain_future() -> tuple[Tensor, Tensor]:
    futures, probs = _draw_futures(3, 2, 2)()
    return futures, (probs == probs.min()).float()


def _mean(futures: Tensor, probs: Tensor) -> Tensor:
    return (futures.double() * probs.double()[:, None, None, None, None]).sum(0)


MEAN_MISTAKES = {
    "You gave every future the same weight, but their probabilities differ.": (
        lambda futures, probs: futures.mean(0)
    ),
    "You took the likeliest future: that is the mode, not the mean.": (
        lambda futures, probs: futures[probs.argmax()]
    ),
    "You took the median: it minimises the absolute error, not the squared one.": (
        lambda futures, probs: futures.quantile(0.5, dim=0)
    ),
    "You divided by the number of futures as well; the probabilities already sum to one.": (
        lambda futures, probs: _mean(futures, probs) / len(probs)
    ),
    "You added the futures without weights: multiply each by its probability.": (
        lambda futures, probs: futures.sum(0)
    ),
    "You weighed with the squared probabilities: use them as they are.": (
        lambda futures, probs: _mean(futures, probs.square() / probs.square().sum())
    ),
    "You weighed with a softmax of the probabilities: they are probabilities already.": (
        lambda futures, probs: _mean(futures, probs.softmax(0))
    ),
}


def _has_least_squared_error(function) -> Fault | None:
    futures, probs = _draw_futures(4, 2, 3)()
    result = function(futures.clone(), probs.clone()).double()
    here = _expected_error(result, futures, probs)
    for k, clip in enumerate(futures):
        there = _expected_error(result + 0.01 * (clip - result), futures, probs)
        if there < here - 1e-7:
            return Fault(
                given=describe((futures, probs), FUTURES),
                expected=f"no cheaper clip near yours, which costs {here:.5f} on average",
                observed=f"one step of 0.01 towards future {k} costs {there:.5f}",
                hint="Where the derivative of the expected squared error is zero, "
                "the futures are in balance.",
            )
    return None


def _expected_error(clip: Tensor, futures: Tensor, probs: Tensor) -> float:
    return float(probs.double() @ (futures.double() - clip).square().flatten(1).mean(1))


CLIPS = ("prediction", "truth")


def psnr(function) -> Verdict:
    """Check `function(prediction, truth)`: PSNR in dB of two clips (H, 1, S, S) in [-1, 1].

    One number for the whole clip, from the mean squared error over all pixels and frames.
    """
    large = _draw_clips(3, 6)
    return examine(
        "psnr",
        function,
        lambda x, y: frames.psnr(x.reshape(1, 1, 1, 1, -1), y.reshape(1, 1, 1, 1, -1)).squeeze(),
        {
            "returns a single number": returns(
                large, (), CLIPS, "Take the mean over all pixels and frames at once."
            ),
            "gives what the definition says": agrees(
                lambda x, y: _psnr(x, y, 4.0),
                [_draw_clips(1, 1), large],
                CLIPS,
                PSNR_MISTAKES,
                "PSNR = 10 log10(range^2 / MSE), where the range is 2.",
            ),
            "gains 20 log10(2) where the error is halved": _gains_from_half_the_error,
            "is infinite where the clips are equal": agrees(
                lambda x, y: _psnr(x, y, 4.0),
                [lambda: _draw_clips(2, 3)()[:1] * 2],
                CLIPS,
                {},
                "Do not add a small number to the error: log10(4 / 0) is inf in PyTorch.",
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, CLIPS),
        },
    )


def _draw_clips(horizon: int, size: int):
    def draw() -> tuple[Tensor, Tensor]:
        clips = torch.rand(2, horizon, 1, size, size, generator=fresh_generator()) * 2 - 1
        return clips[0], clips[1]

    return draw


def _psnr(x: Tensor, y: Tensor, peak_power: float) -> Tensor:
    error = (x.double() - y.double()).pow(2)
    return 10 * (math.log10(peak_power) - torch.log10(error.sum() / error.numel()))


PSNR_MISTAKES = {
    "Your range is 1. Pixels in [-1, 1] have the range 2, and PSNR counts its square, 4.": (
        lambda x, y: _psnr(x, y, 1.0)
    ),
    "You forgot to square the range: 2 is the range, 4 belongs into the formula.": (
        lambda x, y: _psnr(x, y, 2.0)
    ),
    "Your range is 255: that is for bytes, these pixels lie in [-1, 1].": (
        lambda x, y: _psnr(x, y, 255.0**2)
    ),
    "You used the natural logarithm: decibels need log10.": (
        lambda x, y: _psnr(x, y, 4.0) * math.log(10)
    ),
    "You took the error without its square root but the factor 20: use 10 with the MSE.": (
        lambda x, y: 2 * _psnr(x, y, 4.0)
    ),
    "The factor 10 is missing: a decibel is a tenth of a bel.": (
        lambda x, y: _psnr(x, y, 4.0) / 10
    ),
    "The sign is wrong: a small error must give a large PSNR.": lambda x, y: -_psnr(x, y, 4.0),
    "You averaged the PSNR of the frames. Average the error first: the two differ.": (
        lambda x, y: torch.stack([_psnr(a, b, 4.0) for a, b in zip(x, y, strict=True)]).mean()
    ),
    "You summed the squared error: take its mean over pixels and frames.": (
        lambda x, y: _psnr(x, y, 4.0) - 10 * math.log10(x.numel())
    ),
}


def _gains_from_half_the_error(function) -> Fault | None:
    x, y = _draw_clips(2, 3)()
    gain = function((x + y) / 2, y) - function(x, y)
    if abs(float(gain) - 20 * math.log10(2)) < 1e-3:
        return None
    return Fault(
        given="a prediction, and one half as far from the truth",
        expected=f"a gain of {20 * math.log10(2):.3f}",
        observed=f"a gain of {float(gain):.3f}",
        hint="Half the error is a quarter of the squared error.",
    )


SAMPLES = ("samples", "truth")


def energy_score(function) -> Verdict:
    """Check `function(samples, truth)`: the energy score of samples (N, D) for a truth (D,).

    The mean of |X - y| minus half the mean of |X - X'| over pairs of different samples, where |.|
    is the Euclidean length.
    """
    large = _draw_samples(6, 4)
    return examine(
        "energy_score",
        function,
        _energy_score,
        {
            "returns a single number": returns(
                large, (), SAMPLES, "Average over all samples, and over all pairs of samples."
            ),
            "gives what the definition says": agrees(
                _energy_score,
                [_draw_samples(2, 1), large],
                SAMPLES,
                ENERGY_MISTAKES,
                "First the mean distance to the truth, then half the mean distance of the pairs.",
            ),
            "is the mean distance where all samples are the same": agrees(
                lambda x, y: torch.linalg.vector_norm(x[0] - y),
                [_draw_equal_samples],
                SAMPLES,
                {},
                "Equal samples have no distance from each other.",
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, SAMPLES),
        },
    )


def _draw_samples(num_samples: int, dim: int):
    def draw() -> tuple[Tensor, Tensor]:
        points = torch.randn(num_samples + 1, dim, generator=fresh_generator())
        return points[1:], points[0]

    return draw


def _draw_equal_samples() -> tuple[Tensor, Tensor]:
    samples, truth = _draw_samples(1, 3)()
    return samples.repeat(5, 1), truth


def _distances(samples: Tensor, truth: Tensor, power: int = 1) -> tuple[Tensor, Tensor]:
    """Mean distance to the truth, and summed distance of all ordered pairs."""
    x = samples.double()
    near = (x - truth.double()).square().sum(1).sqrt().pow(power).mean()
    return near, (x[:, None] - x[None]).square().sum(2).sqrt().pow(power).sum()


def _energy_score(samples: Tensor, truth: Tensor) -> Tensor:
    near, pairs = _distances(samples, truth)
    return (near - pairs / (2 * len(samples) * (len(samples) - 1))).float()


def _squared_energy_score(samples: Tensor, truth: Tensor) -> Tensor:
    near, pairs = _distances(samples, truth, power=2)
    return near - pairs / (2 * len(samples) * (len(samples) - 1))


def _with_pairs(weight):
    """The score with another weight of the pairs: a function of N."""
    return lambda x, y: _distances(x, y)[0] - weight(len(x)) * _distances(x, y)[1]


ENERGY_MISTAKES = {
    "The half is missing: subtract half the mean distance of the pairs.": _with_pairs(
        lambda n: 1 / (n * (n - 1))
    ),
    "You averaged over all N * N pairs, but N of them join a sample with itself.": _with_pairs(
        lambda n: 1 / (2 * n * n)
    ),
    "You only took the distance to the truth. That rewards samples that all sit in the middle.": (
        _with_pairs(lambda n: 0)
    ),
    "You added the distance of the pairs: spread is rewarded, so subtract it.": _with_pairs(
        lambda n: -1 / (2 * n * (n - 1))
    ),
    "You squared the distances. Then the score only sees the mean of the samples.": (
        _squared_energy_score
    ),
}


DENSITIES = ("p", "q", "dx")


def forward_kl(function) -> Verdict:
    """Check `function(p, q, dx)`: KL(p || q) in nats of two densities (G,) on a grid of step dx."""
    large = _draw_densities(60)
    return examine(
        "forward_kl",
        function,
        lambda p, q, dx: (torch.xlogy(p, p) - torch.xlogy(p, q)).sum() * dx,
        {
            "returns a single number": returns(
                large, (), DENSITIES, "Sum over the grid and multiply by dx."
            ),
            "gives what the definition says": agrees(
                _kl,
                [_draw_densities(2), large],
                DENSITIES,
                KL_MISTAKES,
                "Sum p * log(p / q) over the grid and multiply by dx.",
            ),
            "is zero where the densities are equal": agrees(
                lambda p, q, dx: torch.zeros(()),
                [_draw_equal_densities],
                DENSITIES,
                {},
                "log(p / p) is 0 everywhere.",
            ),
            "counts 0 log 0 as 0": agrees(
                _kl,
                [_draw_density_with_zeros],
                DENSITIES,
                {},
                "log(0) is -inf and 0 * -inf is nan. `torch.xlogy(p, p)` gives 0 there.",
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, DENSITIES),
        },
    )


def _draw_densities(num_points: int):
    def draw() -> tuple[Tensor, Tensor, Tensor]:
        generator = fresh_generator()
        dx = torch.rand((), generator=generator) / 4 + 0.1
        p, q = torch.rand(2, num_points, generator=generator) + 0.05
        return p / (p.sum() * dx), q / (q.sum() * dx), dx

    return draw


def _draw_equal_densities() -> tuple[Tensor, Tensor, Tensor]:
    p, _, dx = _draw_densities(20)()
    return p, p.clone(), dx


def _draw_density_with_zeros() -> tuple[Tensor, Tensor, Tensor]:
    p, q, dx = _draw_densities(20)()
    p[:10] = 0
    return p / (p.sum() * dx), q, dx


def _kl(p: Tensor, q: Tensor, dx: Tensor) -> Tensor:
    return torch.nn.functional.kl_div(q.double().log(), p.double(), reduction="sum") * dx


KL_MISTAKES = {
    "That is KL(q || p), the reverse: the average must be taken under p.": (
        lambda p, q, dx: _kl(q, p, dx)
    ),
    "You forgot the step of the grid: an integral is a sum times dx.": (
        lambda p, q, dx: _kl(p, q, torch.ones(()))
    ),
    "You used log2: nats need the natural logarithm.": (
        lambda p, q, dx: _kl(p, q, dx) / math.log(2)
    ),
    "The sign is wrong: KL is never negative.": lambda p, q, dx: -_kl(p, q, dx),
    "That is the cross-entropy: the entropy of p is still in it.": (
        lambda p, q, dx: -(p.double() * q.double().log()).sum() * dx
    ),
    "You averaged over the grid: the sum times dx is already an integral.": (
        lambda p, q, dx: _kl(p, q, dx) / len(p)
    ),
}
