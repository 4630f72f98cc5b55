"""Chapter 0: the conditional mean."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from course_lib.checks.report import (
    Fault,
    Verdict,
    close,
    examine,
    fresh_generator,
    name_mistake,
    numbers,
)


def conditional_mean(function) -> Verdict:
    """Check `function(futures, probs)`: the mean of K clips under their probabilities.

    `futures` has shape (K, H, 1, S, S), `probs` (K,) sums to one; the result is (H, 1, S, S).
    Inputs are drawn afresh at every call.
    """
    return examine(
        "conditional_mean",
        function,
        _weighted_mean,
        {
            "returns one clip of the same shape as each future": _returns_one_clip,
            "weighs every future with its probability": _weighs_with_probabilities,
            "gives the one future that is certain": _gives_the_certain_future,
            "no other clip has a smaller expected squared error": _has_least_squared_error,
            "leaves its arguments unchanged": _leaves_arguments_alone,
        },
    )


def _weighted_mean(
    futures: Float[Tensor, "K H C S S"], probs: Float[Tensor, " K"]
) -> Float[Tensor, "H C S S"]:
    return torch.einsum("k,khcij->hcij", probs, futures)


MISTAKES = {
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
        lambda futures, probs: _weighted_mean(futures, probs) / len(probs)
    ),
    "You added the futures without weights: multiply each by its probability.": (
        lambda futures, probs: futures.sum(0)
    ),
    "You weighed with the squared probabilities: use them as they are.": (
        lambda futures, probs: _weighted_mean(futures, probs.square() / probs.square().sum())
    ),
    "You weighed with a softmax of the probabilities: they are probabilities already.": (
        lambda futures, probs: _weighted_mean(futures, probs.softmax(0))
    ),
}


def _draw(num_futures: int, horizon: int, size: int) -> tuple[Tensor, Tensor]:
    """Random clips in [-1, 1] with random probabilities, no two of them equal."""
    generator = fresh_generator()
    futures = torch.rand(num_futures, horizon, 1, size, size, generator=generator) * 2 - 1
    probs = torch.arange(1, num_futures + 1) + 0.5 * torch.rand(num_futures, generator=generator)
    return futures, (probs / probs.sum())[torch.randperm(num_futures, generator=generator)]


def _draws() -> Iterator[tuple[Tensor, Tensor]]:
    """From the smallest input, one pixel of two futures, to clips of any shape."""
    yield _draw(2, 1, 1)
    for _ in range(4):
        num_futures, horizon, size = torch.randint(2, 7, (3,), generator=fresh_generator()).tolist()
        yield _draw(num_futures, horizon, size)


def _returns_one_clip(function) -> Fault | None:
    result = function(*_draw(3, 4, 5))
    if isinstance(result, Tensor):
        observed = f"a {result.dtype} tensor of shape {tuple(result.shape)}"
        if result.shape == (4, 1, 5, 5) and result.is_floating_point():
            return None
    else:
        observed = repr(result)
    return Fault(
        given="3 futures of 4 frames of 1x5x5 pixels",
        expected="a torch.float32 tensor of shape (4, 1, 5, 5)",
        observed=observed,
        hint="Sum over the futures (dimension 0) and over nothing else.",
    )


def _weighs_with_probabilities(function) -> Fault | None:
    for futures, probs in _draws():
        truth = (futures.double() * probs.double()[:, None, None, None, None]).sum(0)
        fault = _compare(function, futures, probs, truth)
        if fault:
            return fault
    return None


def _gives_the_certain_future(function) -> Fault | None:
    for futures, probs in _draws():
        certain = (probs == probs.min()).float()
        fault = _compare(function, futures, certain, futures[probs.argmin()])
        if fault:
            return fault
    return None


def _compare(function, futures: Tensor, probs: Tensor, truth: Tensor) -> Fault | None:
    result = function(futures.clone(), probs.clone())
    if close(result, truth):
        return None
    return Fault(
        given=_describe(futures, probs),
        expected=numbers(truth),
        observed=numbers(result),
        hint=name_mistake(
            function,
            _draw(5, 3, 4),
            MISTAKES,
            otherwise="Multiply each future by its own probability, then add them up.",
        ),
    )


def _has_least_squared_error(function) -> Fault | None:
    for futures, probs in _draws():
        result = function(futures.clone(), probs.clone()).double()
        here = _expected_error(result, futures, probs)
        for k, clip in enumerate(futures):
            there = _expected_error(result + 0.01 * (clip - result), futures, probs)
            if there < here - 1e-7:
                return Fault(
                    given=_describe(futures, probs),
                    expected=f"no cheaper clip near yours, which costs {here:.5f} on average",
                    observed=f"one step of 0.01 towards future {k} costs {there:.5f}",
                    hint="Where the derivative of the expected squared error is zero, "
                    "the futures are in balance.",
                )
    return None


def _expected_error(clip: Tensor, futures: Tensor, probs: Tensor) -> float:
    return float(probs.double() @ (futures.double() - clip).square().flatten(1).mean(1))


def _leaves_arguments_alone(function) -> Fault | None:
    arguments = _draw(3, 2, 4)
    kept = [value.clone() for value in arguments]
    function(*arguments)
    for name, now, before in zip(("futures", "probs"), arguments, kept, strict=True):
        if not torch.equal(now, before):
            return Fault(
                given="any futures and probabilities",
                expected=f"`{name}` has the same values after the call",
                observed="some of them have changed",
                hint="`*=` and operations that end in an underscore write into their argument.",
            )
    return None


def _describe(futures: Tensor, probs: Tensor) -> str:
    shape = "x".join(str(n) for n in futures.shape[1:])
    text = f"{len(futures)} futures of {shape} pixels, probabilities {numbers(probs)}"
    return f"{text}, pixels {numbers(futures)}" if futures.numel() <= 4 else text
