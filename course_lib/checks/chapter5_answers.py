"""Chapter 5: the checkers of what one answer says of another: x0 from eps, and both from v."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.chapter5_draws import draw_levels, with_plain_numbers
from course_lib.checks.properties import (
    Draw,
    agrees,
    describe,
    part,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Fault, Property, Verdict, examine

ONE_SHOT = ("x_t", "eps_hat", "alpha_bar")
V_NAMES = ("x_t", "v", "alpha_bar")


def predict_x0(function) -> Verdict:
    """Check `function(x_t, eps_hat, alpha_bar)`: the clean picture that a guessed noise implies."""
    large, points = draw_levels(3, 2, 4, 5, positive=True), draw_levels(4, 2)
    return examine(
        "predict_x0",
        function,
        lambda x_t, eps_hat, alpha_bar: (x_t - (1 - alpha_bar) ** 0.5 * eps_hat) / alpha_bar**0.5,
        {
            "returns pictures of the same shape": returns(
                large, (3, 2, 4, 5), ONE_SHOT, "As many pixels as x_t has."
            ),
            "solves x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps for x0": agrees(
                _solved,
                [draw_levels(1, 1), points, large],
                ONE_SHOT,
                X0_MISTAKES,
                "Take the guessed noise away, as much of it as x_t holds; then make up for the "
                "picture's fading.",
            ),
            "finds the clean picture again where the noise is known": agrees(
                lambda x_t, eps, alpha_bar: _solved(x_t, eps, alpha_bar),
                [_draw_noised(1, 1, 3, 3), _draw_noised(2, 1, 3, 3)],
                ONE_SHOT,
                {CLIPPED: lambda x_t, eps, a: _solved(x_t, eps, a).clamp(-1, 1)},
                "Noise that was added with `add_noise` comes off without a trace.",
            ),
            "takes alpha_bar as a plain number, too": with_plain_numbers(
                agrees(_solved, [points], ONE_SHOT, {}, "The same formula, with a float.")
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, ONE_SHOT),
        },
    )


def _solved(x_t: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """With the noise measured in units of the picture's factor."""
    odds = 1 / alpha_bar.double() - 1
    return x_t.double() * (1 + odds).sqrt() - eps.double() * odds.sqrt()


def _draw_noised(*shape: int) -> Draw:
    """A picture whose numbers lie on both sides of -1 and 1, and known noise."""

    def draw() -> tuple[Tensor, ...]:
        x0, eps, alpha_bar = draw_levels(*shape)()
        x0 = 3 * x0 / x0.abs().amax()
        x_t = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
        return x_t.float(), eps, alpha_bar

    return draw


CLIPPED = "You clipped: that is for the walk to decide. Here the equation is solved, no more."
X0_MISTAKES = {
    CLIPPED: lambda x_t, eps, a: _solved(x_t, eps, a).clamp(-1, 1),
    "All roots are missing: the factors are sqrt(alpha_bar) and sqrt(1 - alpha_bar).": (
        lambda x_t, eps, a: (x_t - (1 - a) * eps) / a
    ),
    "The root of the noise's share is missing: x_t holds sqrt(1 - alpha_bar) of eps.": (
        lambda x_t, eps, a: (x_t - (1 - a) * eps) / a.sqrt()
    ),
    "Divide by the root of alpha_bar: that is what the picture was multiplied with.": (
        lambda x_t, eps, a: (x_t - (1 - a).sqrt() * eps) / a
    ),
    "The division is missing: what is left is sqrt(alpha_bar) x0.": (
        lambda x_t, eps, a: x_t - (1 - a).sqrt() * eps
    ),
    "You multiplied with sqrt(alpha_bar): divide by it.": (
        lambda x_t, eps, a: (x_t - (1 - a).sqrt() * eps) * a.sqrt()
    ),
    "You divided x_t alone: the noise is divided, too.": (
        lambda x_t, eps, a: x_t / a.sqrt() - (1 - a).sqrt() * eps
    ),
    "You added the noise once more: take it away.": (
        lambda x_t, eps, a: (x_t + (1 - a).sqrt() * eps) / a.sqrt()
    ),
    "You took away all of eps: x_t holds sqrt(1 - alpha_bar) of it.": (
        lambda x_t, eps, a: (x_t - eps) / a.sqrt()
    ),
    "x_t minus eps is not the picture: both were multiplied with something first.": (
        lambda x_t, eps, a: x_t - eps
    ),
    "The two factors have changed places: alpha_bar is the picture's share.": (
        lambda x_t, eps, a: (x_t - a.sqrt() * eps) / (1 - a).sqrt()
    ),
    "The factor of the noise is sqrt(1 - alpha_bar): 1 - sqrt(alpha_bar) is another number.": (
        lambda x_t, eps, a: (x_t - (1 - a.sqrt()) * eps) / a.sqrt()
    ),
}


def from_v(function) -> Verdict:
    """Check `function(x_t, v, alpha_bar)`: the pair (x0_hat, eps_hat) that v stands for.

    v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0.
    """
    large, points = draw_levels(3, 2, 4, 5, positive=True), draw_levels(4, 2)
    draws = [draw_levels(1, 1), points, large]
    return examine(
        "from_v",
        function,
        _turned_back,
        {
            "returns two tensors of the shape of x_t": _returns_two(large),
            "gives x0_hat first": part(
                0, agrees(_x0_of_v, draws, V_NAMES, V_X0_MISTAKES, SOLVE_V + X0_OF_V)
            ),
            "gives eps_hat second": part(
                1, agrees(_eps_of_v, draws, V_NAMES, V_EPS_MISTAKES, SOLVE_V + EPS_OF_V)
            ),
            "takes alpha_bar as a plain number, too": with_plain_numbers(
                part(0, agrees(_x0_of_v, [points], V_NAMES, {}, "The same formula, with a float."))
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, V_NAMES),
        },
    )


def _turned_back(x_t: Tensor, v: Tensor, alpha_bar: float | Tensor) -> tuple[Tensor, Tensor]:
    """The library's answer: (x_t, v) is (x0, eps) turned by an angle."""
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    return signal * x_t - noise * v, noise * x_t + signal * v


def _returns_two(draw: Draw) -> Property:
    def check(candidate: Callable) -> Fault | None:
        inputs = draw()
        result, shape = candidate(*inputs), inputs[0].shape
        if isinstance(result, tuple) and len(result) == 2:
            if all(isinstance(x, Tensor) and x.shape == shape for x in result):
                return None
            observed = f"a pair of {[getattr(x, 'shape', type(x)) for x in result]}"
        else:
            observed = f"a {type(result).__name__}"
        expected = f"a tuple of two tensors of shape {tuple(shape)}"
        hint = "End with `return x0_hat, eps_hat`."
        return Fault(describe(inputs, V_NAMES), expected, observed, hint)

    return check


def _solve(x_t: Tensor, v: Tensor, alpha_bar: Tensor) -> Tensor:
    """x0 and eps from the two equations, by elimination."""
    signal, noise = alpha_bar.double().sqrt().item(), (1 - alpha_bar.double()).sqrt().item()
    rows = torch.tensor([[signal, noise], [-noise, signal]], dtype=torch.double)
    known = torch.stack([x_t.double().flatten(), v.double().flatten()])
    return torch.linalg.solve(rows, known).reshape(2, *x_t.shape)


def _x0_of_v(x_t: Tensor, v: Tensor, alpha_bar: Tensor) -> Tensor:
    return _solve(x_t, v, alpha_bar)[0]


def _eps_of_v(x_t: Tensor, v: Tensor, alpha_bar: Tensor) -> Tensor:
    return _solve(x_t, v, alpha_bar)[1]


SOLVE_V = "Two equations, two unknowns: x_t = s x0 + n eps and v = s eps - n x0, s^2 + n^2 = 1. "
X0_OF_V = "s x_t - n v leaves x0 alone."
EPS_OF_V = "n x_t + s v leaves eps alone."
ORDER = "The two have changed places: x0_hat comes first, then eps_hat."
V_ROOTS = "The roots are missing: s = sqrt(alpha_bar), n = sqrt(1 - alpha_bar)."
V_FACTORS = "The factors have changed places: s = sqrt(alpha_bar) is the picture's."
V_AS_EPS = (
    "You took v for the noise: it holds the picture, too, v = sqrt(alpha_bar) eps - "
    "sqrt(1 - alpha_bar) x0."
)
V_X0_MISTAKES = {
    ORDER: _eps_of_v,
    V_ROOTS: lambda x_t, v, a: a * x_t - (1 - a) * v,
    V_FACTORS: lambda x_t, v, a: (1 - a).sqrt() * x_t - a.sqrt() * v,
    V_AS_EPS: lambda x_t, v, a: (x_t - (1 - a).sqrt() * v) / a.sqrt(),
    "The sign of v is wrong: v holds x0 with a minus, so it is subtracted here.": (
        lambda x_t, v, a: a.sqrt() * x_t + (1 - a).sqrt() * v
    ),
    "Your x0_hat has the wrong sign: sqrt(alpha_bar) x_t counts as plus, v as minus.": (
        lambda x_t, v, a: -_x0_of_v(x_t, v, a)
    ),
    "You divided where nothing is left to divide by: the squares of the two factors add up to 1.": (
        lambda x_t, v, a: _x0_of_v(x_t, v, a) / a.sqrt()
    ),
}
V_EPS_MISTAKES = {
    ORDER: _x0_of_v,
    V_ROOTS: lambda x_t, v, a: (1 - a) * x_t + a * v,
    V_FACTORS: lambda x_t, v, a: a.sqrt() * x_t + (1 - a).sqrt() * v,
    V_AS_EPS: lambda x_t, v, a: v,
    "The sign of v is wrong: v holds the noise with a plus, so it is added here.": (
        lambda x_t, v, a: (1 - a).sqrt() * x_t - a.sqrt() * v
    ),
    "The sign of x_t is wrong: x_t holds the noise with a plus.": (
        lambda x_t, v, a: a.sqrt() * v - (1 - a).sqrt() * x_t
    ),
    "You divided where nothing is left to divide by: the squares of the two factors add up to 1.": (
        lambda x_t, v, a: _eps_of_v(x_t, v, a) / (1 - a).sqrt()
    ),
}
