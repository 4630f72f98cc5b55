"""Chapter 1: the checker of sampling from SVG's learned prior.

Nobody can say which numbers a right answer draws, so the checker notes each z that reaches the
predictor. Given those, everything else is determined: it follows the same path with the same z.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from course_lib.checks import chapter1_nets as library
from course_lib.checks.chapter1_drawn import LATENT, SIZE, Step, draw_step, spares_the_states
from course_lib.checks.properties import close, numbers
from course_lib.checks.report import Fault, Verdict, examine

HORIZON = 4
MANY = 2000  # clips: a mean over them is known to .022, so .15 is seven standard errors
FAR = 0.15
Gaussians = list[tuple[Tensor, Tensor]]  # mean and logvar of each step


def sample_future(function) -> Verdict:
    """Check `function(nets, previous, states, horizon, generator)`: one future (B, H, 1, S, S).

    At each step z is drawn from the learned prior, with the generator, and the predicted frame is
    the next previous one.
    """
    return examine(
        "sample_future",
        function,
        library.sample_future,
        {
            "returns one future for each context, with one z for each frame": _returns_futures,
            "takes its noise from the generator": _uses_the_generator,
            "draws every z from the learned prior": _draws_from_the_prior,
            "feeds each predicted frame back, and the predictor's state": _follows_its_latents,
            "leaves the states it is given unchanged": spares_the_states(
                lambda function, step: function(
                    step.nets, step.previous, step.states, HORIZON, torch.Generator()
                )
            ),
        },
    )


def _sample(function, step: Step, *, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """The candidate's future, and each z that its predictor was given."""
    latents = []

    def predictor(h, z, state):
        latents.append(z)
        return step.nets.predictor(h, z, state)

    nets = replace(step.nets, predictor=predictor)
    generator = torch.Generator().manual_seed(seed)
    return function(nets, step.previous, dict(step.states), HORIZON, generator), latents


def _returns_futures(function) -> Fault | None:
    future, latents = _sample(function, draw_step(begun=False))
    shape = (3, HORIZON, 1, SIZE, SIZE)
    seen = [tuple(z.shape) if isinstance(z, Tensor) else repr(z) for z in latents]
    if isinstance(future, Tensor) and future.shape == shape and seen == [(3, LATENT)] * HORIZON:
        return None
    observed = str(tuple(future.shape)) if isinstance(future, Tensor) else repr(future)
    return Fault(
        given=f"3 clips at their start (every state None), horizon {HORIZON}",
        expected=f"a tensor of shape {shape} from {HORIZON} latents of shape {(3, LATENT)}",
        observed=f"{observed} from latents of shapes {seen}",
        hint="Call the predictor once for each frame, then stack the frames along dimension 1.",
    )


def _uses_the_generator(function) -> Fault | None:
    step = draw_step()
    before = torch.random.get_rng_state()
    first, again, other = (_sample(function, step, seed=seed)[0] for seed in (0, 0, 1))
    if not torch.equal(before, torch.random.get_rng_state()) or not torch.equal(first, again):
        hint = (
            "The noise is not the generator's, or not its alone: give randn `generator=generator`."
        )
    elif torch.equal(first, other):
        hint = "Nothing is drawn: the mean of the prior is one future, the same every time."
    else:
        return None
    return Fault(
        given="a generator of seed 0 twice, then one of seed 1",
        expected="the same future twice, then another; the global random numbers untouched",
        observed=", ".join(f"{sample.flatten()[-1]:.3f}" for sample in (first, again, other))
        + " in the last pixel",
        hint=hint,
    )


def _roll(step: Step, latents: list[Tensor], *, feed: bool = True, keep: bool = True) -> Tensor:
    """The future of these latents; without `feed` or `keep` the mistake of that name."""
    nets, previous, state, frames = step.nets, step.previous, step.states["predictor"], []
    for z in latents:
        g, after = nets.predictor(nets.encoder(previous), z, state)
        frames.append(nets.decoder(g))
        previous = frames[-1] if feed else previous
        state = after if keep else state
    return torch.stack(frames, 1)


def _follows_its_latents(function) -> Fault | None:
    step = draw_step()
    future, latents = _sample(function, step)
    expected = _roll(step, latents)
    if close(future, expected):
        return None
    restarted = step._replace(states=dict.fromkeys(step.states))
    mistakes = {
        FED_AGAIN: _roll(step, latents, feed=False),
        "The predictor's state is dropped: give each step the state that the last one left.": (
            _roll(step, latents, keep=False)
        ),
        "The predictor begins anew: give its first step states['predictor'].": (
            _roll(restarted, latents)
        ),
        "The predictor begins anew at every step: give it the state that the last one left.": (
            _roll(restarted, latents, keep=False)
        ),
    }
    made = [text for text, wrong in mistakes.items() if close(future, wrong)]
    return Fault(
        given=f"random networks, 3 clips, horizon {HORIZON}",
        expected=f"with the z you drew, last frames {numbers(expected[:, -1])}",
        observed=numbers(future[:, -1]),
        hint=made[0] if made else "Each frame is decoder(g), with g from h of the frame before.",
    )


FED_AGAIN = (
    "You fed the last frame of the context at every step: feed the frame just predicted, "
    "later there is no other."
)


def _read(step: Step, frames: Tensor, name: str = "prior", *, keep: bool = True) -> Gaussians:
    """What the prior says after each of the frames; or another network, or one that forgets."""
    network, state, found = getattr(step.nets, name), step.states[name], []
    for frame in frames.unbind(1):
        mean, logvar, after = network(step.nets.encoder(frame), state)
        found.append((mean, logvar))
        state = after if keep else state
    return found


def _draws_from_the_prior(function) -> Fault | None:
    step = draw_step(MANY)
    future, latents = _sample(function, step)
    seen = torch.cat([step.previous[:, None], future[:, :-1]], dim=1)
    z = torch.stack(latents)  # (H, B, Z)
    eps = _noise(z, _read(step, seen))
    if _is_fresh_noise(eps):
        return None
    observed = (
        f"a mean of {float(eps.mean()):.3f} and a standard deviation of {float(eps.std()):.3f}"
    )
    if _is_standard(eps) or torch.equal(z[0], z[1]):
        observed = "the same number more than once"
    return Fault(
        given=f"{MANY} clips, horizon {HORIZON}",
        expected="(z - mean) / sigma is fresh noise: independent, mean 0, standard deviation 1",
        observed=observed,
        hint=_why_not_of_the_prior(step, seen, z),
    )


def _noise(z: Tensor, gaussians: Gaussians, scale: Callable[[Tensor], Tensor] | None = None):
    """The noise that made z, if sigma were `scale(logvar)`."""
    mean, logvar = (torch.stack(values) for values in zip(*gaussians, strict=True))
    return (z - mean) / (scale(logvar) if scale else (logvar / 2).exp())


def _is_standard(eps: Tensor) -> bool:
    """Whether all numbers together have mean 0 and standard deviation 1."""
    return abs(float(eps.mean())) < FAR and abs(float(eps.std()) - 1) < FAR


def _is_fresh_noise(eps: Tensor) -> bool:
    """Whether steps, clips and coordinates each have noise of their own."""
    each = all(_is_standard(eps[t, :, i]) for t in range(HORIZON) for i in range(LATENT))
    rows = eps.transpose(1, 2).flatten(0, 1)  # (H Z, B)
    together = (rows @ rows.T / rows.shape[1]).fill_diagonal_(0).abs().max()
    return each and float(together) < FAR


def _why_not_of_the_prior(step: Step, seen: Tensor, z: Tensor) -> str:
    prior = _read(step, seen)
    restarted = step._replace(states=dict.fromkeys(step.states))
    first = step.previous[:, None].expand_as(seen)
    if torch.equal(z[0], z[1]):
        return "One z serves all steps: draw another at each, from what the prior then says."
    if torch.allclose(z, torch.stack([mean for mean, _ in prior]), atol=1e-5):
        return "z is the mean of the prior: draw around it, mean + sigma eps."
    suspects: Mapping[str, Tensor] = {
        "You drew from N(0, I): this model's prior is learned, and depends on the frames.": z,
        "exp(logvar) is the variance: sigma is exp(logvar / 2).": _noise(z, prior, torch.exp),
        "You used logvar as sigma.": _noise(z, prior, lambda logvar: logvar),
        "You drew from the posterior network, which has to see the target: use the prior.": (
            _noise(z, _read(step, seen, "posterior"))
        ),
        "The prior's state is dropped: give each step the state that the last one left.": (
            _noise(z, _read(step, seen, keep=False))
        ),
        "The prior begins anew: give its first step states['prior'].": (
            _noise(z, _read(restarted, seen))
        ),
        "The prior begins anew at every step: give it the state that the last one left.": (
            _noise(z, _read(restarted, seen, keep=False))
        ),
        FED_AGAIN: _noise(z, _read(step, first)),
    }
    for text, eps in suspects.items():
        if _is_fresh_noise(eps):
            return text
    eps = _noise(z, prior)
    if torch.allclose(eps[0], eps[1], atol=1e-3):
        return "One eps serves all steps: draw another at each."
    if float((eps - eps[:, :1]).abs().max()) < 1e-3:
        return "One eps serves all clips: draw one for each, `torch.randn(mean.shape, ...)`."
    return "At each step: mean, logvar and state from the prior, then mean + sigma eps."
