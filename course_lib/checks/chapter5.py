"""Chapter 5: the table of alpha_bar and adding noise; from the files beside this one, the rest.

Each checker draws its inputs afresh at every call and compares with a reference of its own.
"""

import math

import torch
from torch import Tensor

from course_lib.checks.chapter5_answers import from_v, predict_x0
from course_lib.checks.chapter5_draws import draw_levels, with_plain_numbers
from course_lib.checks.chapter5_loss import training_loss
from course_lib.checks.chapter5_step import ddpm_step
from course_lib.checks.properties import (
    Draw,
    agrees,
    describe,
    fresh_generator,
    repeats,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Fault, Verdict, examine

__all__ = ["add_noise", "cumulate", "ddpm_step", "from_v", "predict_x0", "training_loss"]

TABLE = ("betas",)
NOISING = ("x0", "eps", "alpha_bar")
OWN_NOISE = "You drew noise of your own. All the noise is in the eps that is given."


def cumulate(function) -> Verdict:
    """Check `function(betas)`: alpha_bar (N,) after each step, from what each step adds (N,)."""
    large = _draw_betas(6)
    return examine(
        "cumulate",
        function,
        lambda betas: (1 - betas).cumprod(0),
        {
            "returns a number for each step": returns(
                large, (6,), TABLE, "As many as there are betas: what is left after each step."
            ),
            "multiplies what the steps keep": agrees(
                _product,
                [_draw_betas(1), _draw_betas(2), large],
                TABLE,
                TABLE_MISTAKES,
                "A step keeps 1 - beta of what it finds. Multiply from the first step on: "
                "`torch.cumprod(1 - betas, dim=0)`.",
            ),
            "holds for a chain of a thousand small steps": _holds_for_a_long_chain,
            "leaves its arguments unchanged": spares_its_arguments(large, TABLE),
        },
    )


def _draw_betas(num_steps: int) -> Draw:
    """Steps so large that sums, products and powers lie far apart."""
    return lambda: (0.1 + 0.3 * torch.rand(num_steps, generator=fresh_generator()),)


def _product(betas: Tensor) -> Tensor:
    """As a sum of logarithms."""
    return torch.log1p(-betas.double()).cumsum(0).exp()


def _holds_for_a_long_chain(candidate) -> Fault | None:
    last = 0.015 + 0.01 * torch.rand((), generator=fresh_generator(), dtype=torch.double)
    betas = torch.linspace(1, 200, 1000, dtype=torch.double) * last / 200
    result, expected = candidate(betas.clone()), _product(betas)
    ratio = torch.as_tensor(result).double() / expected
    if ratio.shape == expected.shape and (ratio - 1).abs().max() < 1e-3:
        return None
    return Fault(
        describe((betas,), TABLE),
        f"{expected[-1]:.3e} at the end",
        f"{torch.as_tensor(result).flatten()[-1].item():.3e}",
        "Small steps add up to much: nearly nothing is left at the end, but not nothing. Do not "
        "round, and do not clamp.",
    )


TABLE_MISTAKES = {
    "Those are the alphas, what each single step keeps: alpha_bar is their product up to each "
    "step.": lambda betas: 1 - betas.double(),
    "You multiplied the betas: a step keeps 1 - beta.": lambda betas: betas.double().cumprod(0),
    "That is 1 minus the product of the betas: take 1 - beta first, then the product.": (
        lambda betas: 1 - betas.double().cumprod(0)
    ),
    "You added up the betas: the shares that the steps keep multiply.": (
        lambda betas: betas.double().cumsum(0)
    ),
    "You subtracted the sum of the betas: it soon falls below 0. The shares that the steps keep "
    "multiply.": lambda betas: 1 - betas.double().cumsum(0),
    "You added up what the steps keep: multiply, `cumprod`.": (
        lambda betas: (1 - betas.double()).cumsum(0)
    ),
    "That is the share of the noise, 1 - alpha_bar.": lambda betas: 1 - _product(betas),
    "You took the square root: alpha_bar is the share of the power, its root comes later.": (
        lambda betas: _product(betas).sqrt()
    ),
    "Your table begins at 1, one step too early: after the first step 1 - beta is left.": (
        lambda betas: _product(betas) / (1 - betas.double())
    ),
    "You multiplied from the last step on: begin with the first.": (
        lambda betas: _product(betas.flip(0)).flip(0)
    ),
    "Your table runs backwards: its first number belongs to the first step.": (
        lambda betas: _product(betas).flip(0)
    ),
    "You gave every step the product of all.": lambda betas: _product(betas)[-1].expand(len(betas)),
    "exp(-sum of betas) is the limit of ever smaller steps: these steps are not that small.": (
        lambda betas: (-betas.double().cumsum(0)).exp()
    ),
}


def add_noise(function) -> Verdict:
    """Check `function(x0, eps, alpha_bar)`: the noisy x_t, of the shape of x0 (B, ...)."""
    large = draw_levels(3, 2, 4, 5, positive=True)
    points = draw_levels(4, 2)
    return examine(
        "add_noise",
        function,
        lambda x0, eps, alpha_bar: alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * eps,
        {
            "returns pictures of the same shape": returns(
                large, (3, 2, 4, 5), NOISING, "As many pixels as x0 has."
            ),
            "gives the same x_t for the same eps": repeats(points, NOISING, OWN_NOISE),
            "mixes picture and noise by the roots of their shares": agrees(
                _mix,
                [draw_levels(1, 1), points, large],
                NOISING,
                NOISING_MISTAKES,
                "x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.",
            ),
            "takes alpha_bar as a plain number, too": with_plain_numbers(
                agrees(_mix, [points], NOISING, {}, "The same formula, with a float.")
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, NOISING),
        },
    )


def _mix(x0: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """An angle's cosine and sine: their squares add up to 1."""
    angle = math.acos(math.sqrt(alpha_bar.item()))
    return math.cos(angle) * x0.double() + math.sin(angle) * eps.double()


NOISING_MISTAKES = {
    "Both roots are missing: alpha_bar and 1 - alpha_bar are shares of the power, the factors are "
    "their square roots.": lambda x0, eps, a: a * x0 + (1 - a) * eps,
    "The root of the noise's share is missing: the factor is sqrt(1 - alpha_bar).": (
        lambda x0, eps, a: a.sqrt() * x0 + (1 - a) * eps
    ),
    "The root of the picture's share is missing: the factor is sqrt(alpha_bar).": (
        lambda x0, eps, a: a * x0 + (1 - a).sqrt() * eps
    ),
    "The factor of the noise is sqrt(1 - alpha_bar): 1 - sqrt(alpha_bar) is another number.": (
        lambda x0, eps, a: a.sqrt() * x0 + (1 - a.sqrt()) * eps
    ),
    "Picture and noise have changed places: alpha_bar is the picture's share.": (
        lambda x0, eps, a: a.sqrt() * eps + (1 - a).sqrt() * x0
    ),
    "One root over the sum: each factor has a root of its own.": (
        lambda x0, eps, a: (a * x0 + (1 - a) * eps).sqrt()
    ),
    "You left the picture at full strength: it fades by sqrt(alpha_bar).": (
        lambda x0, eps, a: x0 + (1 - a).sqrt() * eps
    ),
    "You left the noise at full strength: its factor is sqrt(1 - alpha_bar).": (
        lambda x0, eps, a: a.sqrt() * x0 + eps
    ),
    "You subtracted the noise: add it.": lambda x0, eps, a: a.sqrt() * x0 - (1 - a).sqrt() * eps,
    "You squared the shares: take their roots.": lambda x0, eps, a: a**2 * x0 + (1 - a) ** 2 * eps,
    "The noise is missing.": lambda x0, eps, a: a.sqrt() * x0,
}
