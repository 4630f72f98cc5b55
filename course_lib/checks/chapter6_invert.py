"""Chapter 6: the checker of inversion, the walk at eta = 0 from a picture up to its noise."""

import operator
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

from course_lib.checks.properties import (
    Draw,
    agrees,
    explained,
    fresh_generator,
    returns,
)
from course_lib.checks.report import Fault, Property, Verdict, examine

INVERSION = ("network.weights", "x0", "timesteps", "alphas_cumprod")
CHAIN = 24
SHAPE = (2, 1, 2, 3)


class Guesser:
    """Guesses noise; the answer depends on every pixel, on their order, and on t."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights  # (2, W)

    def __call__(self, x: Tensor, t: int) -> Tensor:
        """(B, C, H, W) at step t; at -1, which no network knows, the answer is of -1."""
        step = operator.index(t)
        if not -1 <= step < CHAIN:
            raise ValueError(f"the network got t = {step}; permitted: 0 to {CHAIN - 1}")
        scale, shift = self.weights
        return (x * scale + x.flip(-1) + shift * (step + 2) / 8).tanh()


def invert(function) -> Verdict:
    """Check `function(x0, eps_network, timesteps, alphas_cumprod)`: the noise that x0 comes from.

    `eps_network(x, t)` guesses the noise, t an int. `timesteps` rises: the steps to visit, up;
    `alphas_cumprod` is the table of the whole chain. The move from level s up to t takes its guess
    at s: `eps_network(x, max(s, 0))`, where s = -1 is clean.
    """
    large = _draw(5)
    return examine(
        "invert",
        function,
        _climb,
        {
            "returns noise like x0": explained(
                _with_network(
                    returns(large, SHAPE, INVERSION, "The picture that the last move arrives at.")
                ),
                "The network knows the steps of the chain alone, as whole numbers. For a clean "
                "picture ask it at step 0.",
                ValueError,
                TypeError,
            ),
            "gives what walking the other way gives": _with_network(
                agrees(
                    _with_guesser(_drift),
                    [_draw(1), _draw(2), large],
                    INVERSION,
                    {text: _with_guesser(partial(_climb, **slip)) for text, slip in SLIPS.items()}
                    | {text: _with_guesser(wrong) for text, wrong in OTHERS.items()},
                    "From s = -1 (alpha_bar 1) to each of `timesteps` in turn: guess the "
                    "noise at s, take x0_hat from it, and mix both again with the next alpha_bar.",
                )
            ),
            "draws nothing": _with_network(_draws_nothing),
            "leaves its arguments unchanged": _spares,
        },
    )


def _draw(num_steps: int) -> Draw:
    """The network's weights, a picture, rising steps, and a table that leaves numbers moderate."""

    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        weights, x0 = (
            torch.randn(2, 3, generator=generator),
            torch.randn(SHAPE, generator=generator),
        )
        steps = torch.randperm(CHAIN - 1, generator=generator)[:num_steps] + 1
        falls = torch.rand(CHAIN, generator=generator, dtype=torch.float64) * 0.06 + 0.06
        return weights, x0, steps.sort().values, (-falls.cumsum(0)).exp()

    return draw


def _with_guesser(function: Callable) -> Callable:
    """A function of picture, network, list and table as one of weights and tensors alone."""
    return lambda weights, x0, steps, table: function(x0, Guesser(weights), steps.tolist(), table)


def _with_network(check: Property) -> Property:
    """The same property of a function that is given a network."""
    return lambda function: check(_with_guesser(function))


def _drift(x0: Tensor, network: Callable, timesteps: list[int], table: Tensor) -> Tensor:
    """As DDIM's eq. 13: x / sqrt(alpha_bar) moves along the guess as noise over signal grows."""
    over = dict(enumerate(((1 - table) / table).sqrt().tolist())) | {-1: 0.0}
    scaled, s = x0.double(), -1
    for t in timesteps:
        x = scaled / (1 + over[s] ** 2) ** 0.5
        scaled = scaled + (over[t] - over[s]) * network(x, max(s, 0)).double()
        s = t
    return scaled / (1 + over[s] ** 2) ** 0.5


def _climb(
    x0: Tensor,
    network: Callable,
    timesteps: list[int],
    table: Tensor,
    *,
    order: Callable[[list[int]], Iterable[int]] = iter,
    ask: Callable[[int, int], int] = lambda s, t: max(s, 0),
    clean: Callable[[Tensor], Tensor] = lambda table: table.new_ones(()),
    root: Callable[[Tensor], Tensor] = torch.sqrt,
    looks_at_x0: bool = False,
    swaps: bool = False,
    asks_once: bool = False,
) -> Tensor:
    """The library's answer, and with an option changed a wrong one."""
    x, s, now = x0, -1, clean(table)
    eps_hat = x0
    for n, t in enumerate(order(timesteps)):
        if n == 0 or not asks_once:
            eps_hat = network(x0 if looks_at_x0 else x, ask(s, t))
        after = table[t]
        before, to = (after, now) if swaps else (now, after)
        x0_hat = (x - root(1 - before) * eps_hat) / root(before)
        x = root(to) * x0_hat + root(1 - to) * eps_hat
        s, now = t, after
    return x


def _sideways(x0: Tensor, network: Callable, timesteps: list[int], table: Tensor) -> Tensor:
    """DDIM's own steps, downwards, begun at the picture."""
    x, falling = x0, timesteps[::-1]
    for t, s in zip(falling, [*falling[1:], -1], strict=True):
        to = table[s] if s >= 0 else table.new_ones(())
        eps_hat = network(x, t)
        x0_hat = (x - (1 - table[t]).sqrt() * eps_hat) / table[t].sqrt()
        x = to.sqrt() * x0_hat + (1 - to).sqrt() * eps_hat
    return x


def _destroyed(x0: Tensor, network: Callable, timesteps: list[int], table: Tensor) -> Tensor:
    """In one stroke, with a single guess."""
    top = table[timesteps[-1]]
    return top.sqrt() * x0 + (1 - top).sqrt() * network(x0, timesteps[-1])


def _draws_nothing(candidate: Callable) -> Fault | None:
    inputs = _draw(3)()
    first, second = (candidate(*(value.clone() for value in inputs)) for _ in range(2))
    if torch.equal(first, second):
        return None
    return Fault(
        given="the same picture, twice",
        expected="the same noise twice",
        observed="two different ones",
        hint="You added noise that you drew. Inversion asks the network which noise the picture "
        "comes from: nothing is drawn.",
    )


def _spares(candidate: Callable) -> Fault | None:
    weights, x0, steps, table = _draw(3)()
    walk = steps.tolist()
    kept, levels = x0.clone(), table.clone()
    candidate(x0, Guesser(weights), walk, table)
    changed = [
        name
        for name, same in {
            "x0": torch.equal(x0, kept),
            "timesteps": walk == steps.tolist(),
            "alphas_cumprod": torch.equal(table, levels),
        }.items()
        if not same
    ]
    if not changed:
        return None
    return Fault(
        given="any arguments",
        expected=f"`{changed[0]}` has the same values after the call",
        observed="some of them have changed",
        hint="`*=`, `.reverse()` and `.sort()` write into their argument: make new ones.",
    )


SLIPS: dict[str, dict] = {
    "The guess is at the wrong level: x is still at s when you ask, so ask at s, not at t.": {
        "ask": lambda s, t: t
    },
    "You asked the network at -1: it knows the steps 0 to N - 1. Ask at max(s, 0).": {
        "ask": lambda s, t: s
    },
    "You asked the network at step 0 each time: ask at the level where x is.": {
        "ask": lambda s, t: 0
    },
    "That is DDIM's step down: on the way up x is at s, so x0_hat is made with alpha_bar of s, and "
    "mixed with that of t.": {"swaps": True},
    "DDIM's step down, asked at t: on the way up x is at s.": {
        "swaps": True,
        "ask": lambda s, t: t,
    },
    "alpha_bar stands where its root belongs.": {"root": lambda x: x},
    "The picture is clean: at s = -1 alpha_bar is 1, not `alphas_cumprod[0]`.": {
        "clean": lambda table: table[0]
    },
    "`alphas_cumprod[-1]` is the last of the table, the noisiest: at s = -1 alpha_bar is 1.": {
        "clean": lambda table: table[-1]
    },
    "You visited the steps from the noisiest down: `timesteps` rises already, take it as it is.": {
        "order": reversed
    },
    "The last move is missing: go up to the last of `timesteps`, the noisiest.": {
        "order": lambda steps: steps[:-1]
    },
    "The first move is missing: it goes from the clean picture to the first of `timesteps`.": {
        "order": lambda steps: steps[1:]
    },
    "You showed the network x0 each time: show it the picture where the last move arrived.": {
        "looks_at_x0": True
    },
    "You asked the network once: every level needs a guess of its own.": {"asks_once": True},
}
OTHERS: dict[str, Callable[..., Tensor]] = {
    "You walked down from x0: inversion goes from clean up to the noisiest step.": _sideways,
    "You destroyed x0 in one stroke: the guess has to follow x level by level.": _destroyed,
}
