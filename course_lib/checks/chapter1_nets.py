"""SVG taken apart: the five networks as functions, and the two loops that chapter 1 asks for.

The exercises and their checkers use `Nets`; `nets_of` makes one of a trained `SVG`, so that what
passes on the checker's small networks runs on the chapter's model too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib.models.svg import SVG, GaussianLSTM
from course_lib.nn.gaussian import DiagonalGaussian, kl_divergence

States = Mapping[str, Any]  # of "posterior", "prior" and "predictor"; None: nothing seen yet
GaussianNet = Callable[[Tensor, Any], tuple[Tensor, Tensor, Any]]


@dataclass(frozen=True)
class Nets:
    """The networks of SVG for one step: no clip and no state is kept in them."""

    encoder: Callable[[Tensor], Tensor]  # frame x (B, 1, S, S) -> features h (B, D)
    posterior: GaussianNet  # (h, state) -> mean (B, Z), logvar (B, Z), state
    prior: GaussianNet  # likewise
    predictor: Callable[[Tensor, Tensor, Any], tuple[Tensor, Any]]  # (h, z, state) -> g, state
    decoder: Callable[[Tensor], Tensor]  # g (B, D) -> x (B, 1, S, S)


def nets_of(svg: SVG, context: Tensor) -> tuple[Nets, States]:
    """The networks and states of a model that has observed a context (B, C, 1, S, S).

    The decoder's skips are those of the last context frame. The next `previous` is that frame: the
    posterior has read it, prior and predictor have not. A fixed prior gives N(0, I).

    Raises:
        ValueError: The frames have another shape than the config says, or there are none.
    """
    state = svg.observe(context)
    h = svg.encoder(context.flatten(0, 1))[0].unflatten(0, context.shape[:2])  # (B, C, D)
    nets = Nets(
        encoder=lambda x: svg.encoder(x)[0],
        posterior=_one_step(svg.posterior, svg.config.latent_dim),
        prior=_one_step(svg.prior, svg.config.latent_dim),
        predictor=lambda h, z, state: _drop_time(*svg.predictor(h[:, None], z[:, None], state)),
        decoder=lambda g: svg.decoder(g[:, None], state.skips)[:, 0],
    )
    states = {
        "posterior": None if svg.posterior is None else svg.posterior(h)[1],
        # The prior reads each frame when the next is due, so it has one less behind it.
        "prior": None if svg.prior is None or h.shape[1] == 1 else svg.prior(h[:, :-1])[1],
        "predictor": state.predictor_state,
    }
    return nets, states


def _drop_time(g: Tensor, state: Any) -> tuple[Tensor, Any]:
    return g[:, 0], state


def _one_step(network: GaussianLSTM | None, latent_dim: int) -> GaussianNet:
    def read(h: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        if network is None:
            zeros = h.new_zeros(len(h), latent_dim)
            return zeros, zeros, None
        gaussian, state = network(h[:, None], state)
        return gaussian.mean[:, 0], gaussian.logvar[:, 0], state

    return read


def svg_step(
    nets: Nets, previous: Tensor, target: Tensor, states: States, eps: Tensor
) -> tuple[Tensor, Tensor, States]:
    """One step of training: the predicted target, its KL in nats (B,), the states after it."""
    h = nets.encoder(previous)
    q_mean, q_logvar, posterior = nets.posterior(nets.encoder(target), states["posterior"])
    p_mean, p_logvar, prior = nets.prior(h, states["prior"])
    q = DiagonalGaussian(q_mean, q_logvar)
    g, predictor = nets.predictor(h, q.mean + q.sigma * eps, states["predictor"])
    after = {"posterior": posterior, "prior": prior, "predictor": predictor}
    return nets.decoder(g), kl_divergence(q, DiagonalGaussian(p_mean, p_logvar)), after


def sample_future(
    nets: Nets, previous: Tensor, states: States, horizon: int, generator: torch.Generator
) -> Tensor:
    """One future (B, H, 1, S, S) after the frame `previous`; each z is drawn from the prior."""
    prior, predictor, frames = states["prior"], states["predictor"], []
    for _ in range(horizon):
        h = nets.encoder(previous)
        mean, logvar, prior = nets.prior(h, prior)
        z = DiagonalGaussian(mean, logvar).sample(generator=generator)
        g, predictor = nets.predictor(h, z, predictor)
        previous = nets.decoder(g)
        frames.append(previous)
    return torch.stack(frames, dim=1)
