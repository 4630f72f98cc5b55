"""Chapter 1: the checker of one training step of SVG."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from course_lib.checks import chapter1_nets as library
from course_lib.checks.chapter1_drawn import NAMES, SIZE, Step, draw_step, spares_the_states
from course_lib.checks.chapter1_nets import States
from course_lib.checks.properties import close, numbers
from course_lib.checks.report import Fault, Verdict, examine

Outcome = tuple[Tensor, Tensor, States]  # of svg_step


def svg_step(function) -> Verdict:
    """Check `function(nets, previous, target, states, eps)`: one training step of SVG-LP.

    It returns the predicted target (B, 1, S, S), KL(posterior || prior) in nats (B,), and the
    states after the step. The posterior reads the target's features, the prior the previous
    frame's, and so does the predictor, beside z = mean + sigma eps of the posterior.
    """
    return examine(
        "svg_step",
        function,
        library.svg_step,
        {
            "returns a frame, one KL for each clip, and the states": _returns_a_step,
            "predicts the frame with a z of the posterior, which has seen it": _gives(0),
            "takes the KL of the posterior from the prior, which has not": _gives(1),
            "hands back the state of every network": _gives(2),
            "lets the frame's error reach the posterior, through z": _teaches_the_posterior,
            "leaves the states it is given unchanged": spares_the_states(
                lambda function, step: function(*step)
            ),
        },
    )


def _returns_a_step(function) -> Fault | None:
    result = function(*draw_step())
    expected = f"x_hat of shape {(3, 1, SIZE, SIZE)}, kl of shape (3,), states: {', '.join(NAMES)}"
    if not isinstance(result, tuple) or len(result) != 3:
        observed, hint = repr(result), "End with `return x_hat, kl, states`."
    else:
        x_hat, kl, states = result
        shapes = [getattr(value, "shape", None) for value in (x_hat, kl)]
        keys = list(states) if isinstance(states, Mapping) else repr(states)
        if shapes == [(3, 1, SIZE, SIZE), (3,)] and set(keys) == set(NAMES):
            return None
        observed = " and ".join(str(shape and tuple(shape)) for shape in shapes) + f"; {keys}"
        hint = "Sum the KL over the coordinates of z only; states is a dict with three keys."
    return Fault("random networks, 3 clips", expected, observed, hint)


def _gives(part: int) -> Callable[[Callable], Fault | None]:
    """The property that one part of the result is right, at the start of a clip and within."""

    def check(function: Callable) -> Fault | None:
        for begun in (False, True):
            step = draw_step(begun=begun)
            result, expected = function(*step.copy())[part], library.svg_step(*step)[part]
            if not _equal(result, expected):
                break
        else:
            return None
        large = draw_step()
        outcome = function(*large.copy())[part]
        made = [
            text for text, wrong in STEP_MISTAKES.items() if _equal(outcome, wrong(large)[part])
        ]
        states = "random states" if begun else "every state None: the start of a clip"
        return Fault(
            given=f"random networks, 3 clips, {states}",
            expected=_describe(expected),
            observed=_describe(result),
            hint=made[0] if made else OTHERWISE[part],
        )

    return check


def _equal(result: object, expected: Tensor | States) -> bool:
    if isinstance(expected, Tensor):
        return close(result, expected)
    return isinstance(result, Mapping) and all(close(result[n], expected[n]) for n in NAMES)


def _describe(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_describe(value[name])}" for name in NAMES)
    return numbers(value) if isinstance(value, Tensor) else repr(value)


OTHERWISE = (
    "The predictor reads the previous frame's features and z; the decoder paints its output g.",
    "KL(posterior || prior): mean and logvar as the two networks give them, summed over z.",
    "Each network returns its new state last: put all three into a new dict.",
)


def _rewired(step: Step, **networks: Callable) -> Outcome:
    return library.svg_step(*step._replace(nets=replace(step.nets, **networks)))


def _restarted(step: Step, *names: str) -> Outcome:
    states = {name: None if name in names else step.states[name] for name in NAMES}
    return library.svg_step(*step._replace(states=states))


def _latent_of_prior(step: Step) -> Outcome:
    mean, logvar, _ = step.nets.prior(step.nets.encoder(step.previous), step.states["prior"])
    z = mean + (logvar / 2).exp() * step.eps
    return _rewired(step, predictor=lambda h, _, state: step.nets.predictor(h, z, state))


def _reverse_kl(step: Step) -> Outcome:
    swapped = Step(
        replace(step.nets, posterior=step.nets.prior, prior=step.nets.posterior),
        step.target,
        step.previous,
        {"posterior": step.states["prior"], "prior": step.states["posterior"], "predictor": None},
        step.eps,
    )
    return library.svg_step(*swapped)


def _standard_prior(step: Step) -> Outcome:
    zeros = torch.zeros_like(step.eps)
    return _rewired(step, prior=lambda h, state: (zeros, zeros, state))


def _one_state(step: Step) -> Outcome:
    """Every network takes the state that the one before it left."""
    nets, previous, target, states, _ = step
    shared = nets.posterior(nets.encoder(target), states["posterior"])[2]
    x_hat, kl, after = library.svg_step(
        *step._replace(
            states={
                "posterior": states["posterior"],
                "prior": shared,
                "predictor": nets.prior(nets.encoder(previous), shared)[2],
            }
        )
    )
    return x_hat, kl, dict.fromkeys(NAMES, after["predictor"])


def _scaled_logvar(step: Step) -> Outcome:
    def doubled(h: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        mean, logvar, state = step.nets.posterior(h, state)
        return mean, 2 * logvar, state

    return _rewired(step, posterior=doubled)


STEP_MISTAKES: Mapping[str, Callable[[Step], Outcome]] = {
    "The posterior reads the previous frame. Then z cannot know what the target shows.": (
        lambda s: library.svg_step(*s._replace(target=s.previous))
    ),
    "The prior reads the target. That is cheating: at test time there is no target.": (
        lambda s: _rewired(s, prior=lambda h, state: s.nets.prior(s.nets.encoder(s.target), state))
    ),
    "The predictor reads the target's features. That is cheating: it reads the previous frame's, "
    "and learns about the target through z alone.": lambda s: _rewired(
        s, predictor=lambda h, z, state: s.nets.predictor(s.nets.encoder(s.target), z, state)
    ),
    "z comes from the prior. In training it comes from the posterior, which has seen the target.": (
        _latent_of_prior
    ),
    "z is the mean of the posterior, without noise: add sigma eps.": (
        lambda s: library.svg_step(*s._replace(eps=torch.zeros_like(s.eps)))
    ),
    "exp(logvar) is the variance: sigma is exp(logvar / 2).": _scaled_logvar,
    "The decoder reads h, the features of the previous frame: it must read g, the predicted.": (
        lambda s: _rewired(s, predictor=lambda h, z, state: (h, s.nets.predictor(h, z, state)[1]))
    ),
    "KL is the wrong way round: it is that of the posterior from the prior, KL(q || p).": (
        _reverse_kl
    ),
    "You took N(0, I) as the prior. This prior is learned: it has a mean and a logvar.": (
        _standard_prior
    ),
    "The networks share one state. Each needs its own, from its own key.": _one_state,
    "You handed back the states that were given: each network returns a new one.": (
        lambda s: (*library.svg_step(*s)[:2], s.states)
    ),
    "Every network begins anew: give each its own entry of `states`.": (
        lambda s: _restarted(s, *NAMES)
    ),
    "The predictor begins anew: give it states['predictor'].": (
        lambda s: _restarted(s, "predictor")
    ),
    "The posterior begins anew: give it states['posterior'].": (
        lambda s: _restarted(s, "posterior")
    ),
    "The prior begins anew: give it states['prior'].": lambda s: _restarted(s, "prior"),
    "The posterior's state and the prior's are in each other's place.": lambda s: library.svg_step(
        *s._replace(
            states={**s.states, "posterior": s.states["prior"], "prior": s.states["posterior"]}
        )
    ),
}


def _teaches_the_posterior(function) -> Fault | None:
    """Only through the posterior can the target move the prediction."""
    step = draw_step()
    slopes = []
    for run in (library.svg_step, function):
        target = step.target.clone().requires_grad_()
        x_hat = run(*step._replace(target=target))[0]
        slope = torch.zeros_like(target)
        if x_hat.requires_grad:
            (slope,) = torch.autograd.grad(x_hat.sum(), target, materialize_grads=True)
        slopes.append(slope)
    if close(slopes[1], slopes[0]):
        return None
    return Fault(
        given="random networks, 3 clips",
        expected=f"derivative of the predicted pixels by the target's: {numbers(slopes[0])}",
        observed=numbers(slopes[1]),
        hint="Where all are 0, the posterior has not read the target, or `detach`, `no_grad` or "
        "`torch.normal` cut what it learns from.",
    )
