"""Chapter 1: small random networks whose states matter, and the arguments of one step of SVG."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib.checks.chapter1_nets import GaussianNet, Nets, States
from course_lib.checks.properties import close, fresh_generator
from course_lib.checks.report import Fault

SIZE, DIM, LATENT = 4, 6, 2  # of a frame, of features and states, of z
NAMES = ("posterior", "prior", "predictor")


class Step(NamedTuple):
    """The arguments of `svg_step`."""

    nets: Nets
    previous: Tensor
    target: Tensor
    states: States
    eps: Tensor

    def copy(self) -> "Step":
        """The same, with a dict of states that may be written into."""
        return self._replace(states=dict(self.states))


def _draw_nets(generator: torch.Generator) -> Nets:
    def matrix(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator) / columns**0.5

    def recurrent(inputs: int, outputs: int) -> Callable[[Tensor, Any], tuple[Tensor, Tensor]]:
        inward, onward, outward = matrix(DIM, inputs), matrix(DIM, DIM), matrix(outputs, DIM)

        def read(x: Tensor, state: Any) -> tuple[Tensor, Tensor]:
            state = torch.tanh(2 * x @ inward.T + (0 if state is None else 2 * state @ onward.T))
            return 2 * state @ outward.T, state

        return read

    def gaussian() -> GaussianNet:
        read = recurrent(DIM, 2 * LATENT)

        def of(h: Tensor, state: Any) -> tuple[Tensor, Tensor, Tensor]:
            out, state = read(h, state)
            # Below 0 everywhere, so that no mistake about sigma cancels over many clips.
            return out[:, :LATENT], torch.tanh(out[:, LATENT:]) - 1.5, state

        return of

    look, paint, predict = matrix(DIM, SIZE**2), matrix(SIZE**2, DIM), recurrent(DIM + LATENT, DIM)
    return Nets(
        encoder=lambda x: torch.tanh(2 * x.flatten(1) @ look.T),
        posterior=gaussian(),
        prior=gaussian(),
        predictor=lambda h, z, state: predict(torch.cat([h, z], 1), state),
        decoder=lambda g: torch.tanh(g @ paint.T).unflatten(1, (1, SIZE, SIZE)),
    )


def draw_step(batch: int = 3, *, begun: bool = True) -> Step:
    """Random arguments; where a clip has not `begun`, every state is None."""
    generator = fresh_generator()
    nets = _draw_nets(generator)
    previous, target = torch.rand(2, batch, 1, SIZE, SIZE, generator=generator) * 2 - 1
    states = {
        name: torch.rand(batch, DIM, generator=generator) * 2 - 1 if begun else None
        for name in NAMES
    }
    return Step(nets, previous, target, states, torch.randn(batch, LATENT, generator=generator))


def spares_the_states(run: Callable[[Callable, Step], object]) -> Callable:
    """The property that the dict of states is as before: two samples may begin at the same one."""

    def check(function: Callable) -> Fault | None:
        step = draw_step()
        kept = {name: state.clone() for name, state in step.states.items()}
        run(function, step)
        if all(close(step.states.get(name), state) for name, state in kept.items()):
            return None
        return Fault(
            given="random networks, 3 clips",
            expected="the same states after the call: another future may begin there",
            observed="some have changed",
            hint="Do not write into `states`: keep the new ones under names of your own.",
        )

    return check
