"""Chapter 6: the checker of one DDIM step."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from course_lib.checks.chapter5_draws import with_plain_numbers
from course_lib.checks.chapter6_sigma import (
    LEVELS,
    ROOTS,
    SIGMA_HAT,
    TIMES_VARIANCE,
    draw_any,
    draw_levels,
    given_eta,
    lost,
    of_ddpm,
    true_sigma,
)
from course_lib.checks.properties import (
    Draw,
    agrees,
    describe,
    fresh_generator,
    numbers,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Fault, Verdict, examine

STEP = ("x_t", "eps_hat", "noise", *LEVELS)
SHAPE = (2, 1, 3, 2)
THREE_PARTS = (
    "Three parts: sqrt(alpha_bar_prev) * x0_hat, then sqrt(1 - alpha_bar_prev - sigma^2) * "
    "eps_hat, then sigma * noise."
)


def ddim_step(function) -> Verdict:
    """Check `function(x_t, eps_hat, noise, alpha_bar, alpha_bar_prev, eta)`: DDIM's eq. 12.

    The levels are numbers or tensors of no dimensions, eta is a number, `noise` is N(0, I).
    """
    large = _draw_step(*SHAPE)
    mistakes = {text: partial(_wrong_step, change) for text, change in STEP_MISTAKES.items()}
    return examine(
        "ddim_step",
        function,
        _in_one_line,
        {
            "returns a picture like x_t": given_eta(_returns_pictures),
            "is DDIM's equation 12": given_eta(
                agrees(
                    _step,
                    [_draw_step(1, eta=0.0), _draw_step(1), _draw_any_step, large],
                    STEP,
                    mistakes,
                    THREE_PARTS,
                )
            ),
            "uses the noise that is given, at eta = 0 none": given_eta(_uses_the_given_noise),
            "ends at x0_hat where alpha_bar_prev is 1": given_eta(
                agrees(
                    lambda x_t, eps_hat, noise, alpha_bar, *_: _x0_hat(x_t, eps_hat, alpha_bar),
                    [_draw_step(1, prev=1.0), _draw_step(*SHAPE, prev=1.0)],
                    STEP,
                    {},
                    "x0_hat is x_t without its noise: (x_t - sqrt(1 - alpha_bar) * eps_hat) / "
                    "sqrt(alpha_bar). Where alpha_bar_prev is 1, sigma is 0 and nothing is added.",
                )
            ),
            "takes plain numbers as well": given_eta(
                with_plain_numbers(agrees(_step, [large], STEP, mistakes, THREE_PARTS))
            ),
            "leaves its arguments unchanged": given_eta(spares_its_arguments(large, STEP)),
        },
    )


def _draw_step(*shape: int, prev: float | None = None, eta: float | None = None) -> Draw:
    def draw() -> tuple[Tensor, ...]:
        pictures = torch.randn(3, *shape, generator=fresh_generator())
        return *pictures.unbind(), *draw_levels(prev=prev, eta=eta)()

    return draw


def _draw_any_step() -> tuple[Tensor, ...]:
    return *torch.randn(3, 2, 2, generator=fresh_generator()).unbind(), *draw_any()


def _returns_pictures(candidate: Callable) -> Fault | None:
    draw = _draw_step(*SHAPE)
    fault = returns(draw, SHAPE, STEP, "Work on every pixel by itself.")(candidate)
    if fault:
        return fault
    inputs = draw()
    result = candidate(*inputs)
    if result.isfinite().all():
        return None
    return Fault(
        describe(inputs, STEP),
        "numbers",
        numbers(result),
        ROOTS + " Or did you subtract more from 1 - alpha_bar_prev than sigma's square?",
    )


def _uses_the_given_noise(candidate: Callable) -> Fault | None:
    inputs = _draw_step(1, 2)()
    first, second = (candidate(*(value.clone() for value in inputs)) for _ in range(2))
    if not torch.equal(first, second):
        return Fault(
            given="the same arguments, twice",
            expected=f"the same twice, {numbers(first)}",
            observed=f"then {numbers(second)}",
            hint="You drew noise of your own. All the noise is in the `noise` that is given.",
        )
    still = _draw_step(1, 2, eta=0.0)()
    first = candidate(*still)
    second = candidate(*still[:2], still[2] + 1, *still[3:])
    if torch.equal(first, second):
        return None
    return Fault(
        given="eta = 0, then the same with another `noise`",
        expected=f"the same twice, {numbers(first)}",
        observed=f"then {numbers(second)}",
        hint="`noise` enters multiplied with sigma, and sigma is 0 at eta = 0.",
    )


def _in_one_line(x_t, eps_hat, noise, alpha_bar, alpha_bar_prev, eta):
    """The library's step."""
    x0_hat = (x_t - (1 - alpha_bar) ** 0.5 * eps_hat) / alpha_bar**0.5
    variance = eta**2 * of_ddpm(alpha_bar, alpha_bar_prev)
    direction = (1 - alpha_bar_prev - variance) ** 0.5 * eps_hat
    return alpha_bar_prev**0.5 * x0_hat + direction + variance**0.5 * noise


def _x0_hat(x_t: Tensor, eps_hat: Tensor, alpha_bar: Tensor) -> Tensor:
    return (x_t.double() - (1 - alpha_bar).sqrt() * eps_hat.double()) / alpha_bar.sqrt()


def _step(
    x_t: Tensor,
    eps_hat: Tensor,
    noise: Tensor,
    alpha_bar: Tensor,
    alpha_bar_prev: Tensor,
    eta: Tensor,
) -> Tensor:
    """As DDIM's eq. 7 has it, with x0_hat in place of x0."""
    x0_hat = _x0_hat(x_t, eps_hat, alpha_bar)
    deviation = true_sigma(alpha_bar, alpha_bar_prev, eta)
    share = (1 - alpha_bar_prev - deviation**2) / (1 - alpha_bar)
    mean = alpha_bar_prev.sqrt() * x0_hat + share.sqrt() * (x_t - alpha_bar.sqrt() * x0_hat)
    return mean + deviation * noise


def _wrong_step(change: Callable[..., Sequence[Tensor]], *inputs: Tensor) -> Tensor:
    """A step whose parts a mistake has changed.

    The parts are the coefficients of x_t and eps_hat in x0_hat, then of x0_hat, eps_hat and noise.
    """
    x_t, eps_hat, noise, alpha_bar, alpha_bar_prev, eta = inputs
    of_x_t, of_eps, of_x0, direction, of_noise = change(alpha_bar, alpha_bar_prev, eta)
    x0_hat = of_x_t * x_t.double() - of_eps * eps_hat.double()
    return of_x0 * x0_hat + direction * eps_hat.double() + of_noise * noise.double()


def _parts(
    a: Tensor,
    p: Tensor,
    eta: Tensor,
    *,
    used: Tensor | None = None,  # the sigma of both terms
    added: Tensor | None = None,  # of the noise alone
    direction: Tensor | None = None,
) -> tuple[Tensor, ...]:
    used = true_sigma(a, p, eta) if used is None else used
    direction = (1 - p - used**2).sqrt() if direction is None else direction
    return (
        1 / a.sqrt(),
        ((1 - a) / a).sqrt(),
        p.sqrt(),
        direction,
        used if added is None else added,
    )


def _swapped(a: Tensor, p: Tensor, eta: Tensor) -> tuple[Tensor, ...]:
    used = true_sigma(a, p, eta)
    return *_parts(p, a, eta, used=used)[:3], (1 - a - used**2).sqrt(), used


def _of_one_step(a: Tensor, p: Tensor, eta: Tensor) -> tuple[Tensor, ...]:
    """x0_hat with DDPM's alpha of one step."""
    kept = a / p
    return 1 / kept.sqrt(), ((1 - kept) / kept).sqrt(), *_parts(a, p, eta)[2:]


def _placed(place: int, value: Callable[..., Tensor]) -> Callable[..., Sequence[Tensor]]:
    """The right parts but for one."""

    def change(a: Tensor, p: Tensor, eta: Tensor) -> Sequence[Tensor]:
        parts = list(_parts(a, p, eta))
        parts[place] = value(a, p, eta)
        return parts

    return change


STEP_MISTAKES: dict[str, Callable[..., Sequence[Tensor]]] = {
    TIMES_VARIANCE: lambda a, p, eta: _parts(a, p, eta, used=true_sigma(a, p, eta) / eta.sqrt()),
    "sigma^2 is missing from the direction: the noise that you add has to fit beside the guessed "
    "noise, so that 1 - alpha_bar_prev stays the whole.": _placed(
        3, lambda a, p, eta: (1 - p).sqrt()
    ),
    "sigma is not squared in the direction: 1 - alpha_bar_prev - sigma^2 is a difference of "
    "variances.": _placed(3, lambda a, p, eta: (1 - p - true_sigma(a, p, eta)).sqrt()),
    "The root of the direction is missing.": (
        _placed(3, lambda a, p, eta: 1 - p - true_sigma(a, p, eta) ** 2)
    ),
    "You left out the direction: part of the guessed noise belongs into x_prev.": (
        _placed(3, lambda a, p, eta: torch.zeros(()))
    ),
    "Your noise is multiplied with eta: multiply it with sigma.": _placed(4, lambda a, p, eta: eta),
    "Your noise has variance 1: multiply it with sigma.": (
        _placed(4, lambda a, p, eta: torch.ones(()))
    ),
    "Your noise is multiplied with sigma^2: sigma is the standard deviation.": (
        _placed(4, lambda a, p, eta: true_sigma(a, p, eta) ** 2)
    ),
    "You left out the noise.": _placed(4, lambda a, p, eta: torch.zeros(())),
    "You left out eta: sigma is that of eta = 1 whatever eta is.": (
        lambda a, p, eta: _parts(a, p, torch.ones(()))
    ),
    SIGMA_HAT: lambda a, p, eta: _parts(a, p, eta, used=eta * lost(a, p).sqrt()),
    "You swapped the two levels: x_t has alpha_bar, x_prev gets alpha_bar_prev.": _swapped,
    "alpha_bar stands where its root belongs, in x0_hat: divide by sqrt(alpha_bar).": (
        lambda a, p, eta: (1 / a, (1 - a).sqrt() / a, *_parts(a, p, eta)[2:])
    ),
    "A root is missing in x0_hat: eps_hat is multiplied with sqrt(1 - alpha_bar).": (
        _placed(1, lambda a, p, eta: (1 - a) / a.sqrt())
    ),
    "You did not divide x0_hat by sqrt(alpha_bar): what is left after subtracting the noise is "
    "sqrt(alpha_bar) x0.": lambda a, p, eta: (
        torch.ones(()),
        (1 - a).sqrt(),
        *_parts(a, p, eta)[2:],
    ),
    "alpha_bar_prev stands where its root belongs: x0_hat is multiplied with "
    "sqrt(alpha_bar_prev).": _placed(2, lambda a, p, eta: p),
    "You left out sqrt(alpha_bar_prev) before x0_hat.": (
        _placed(2, lambda a, p, eta: torch.ones(()))
    ),
    "You used DDPM's alpha of one step, alpha_bar / alpha_bar_prev, for alpha_bar in x0_hat: the "
    "DDIM paper's alpha is DDPM's alpha_bar.": _of_one_step,
    "eps_hat and the noise are swapped: the direction is eps_hat's, sigma the noise's.": (
        lambda a, p, eta: _parts(
            a,
            p,
            eta,
            direction=true_sigma(a, p, eta),
            added=(1 - p - true_sigma(a, p, eta) ** 2).sqrt(),
        )
    ),
}
