"""Chapter 7: a small model of what a DiT with classes promises, and what it is asked."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.properties import Draw, fresh_generator


class Guesser:
    """As a DiT with classes: (B, C, H, W) to (B, 2C, H, W), noise first, example by example."""

    def __init__(self, weights: Tensor, no_class: int) -> None:
        self.weights = weights  # (2C, 4)
        self.no_class = no_class

    def __call__(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """Every channel of the answer depends on the picture, on t and on the label."""
        if not len(x) == len(t) == len(label):
            raise ValueError(
                f"the network got {len(x)} pictures, {len(t)} times and {len(label)} labels"
            )
        if label.dtype != torch.int64 or label.min() < 0 or label.max() > self.no_class:
            raise ValueError(
                f"the network got labels {label.tolist()} of {label.dtype}; permitted: whole "
                f"numbers from 0 to {self.no_class}"
            )
        turn, of_time, of_label, shift = self.weights.T[:, None, :, None, None]  # (1, 2C, 1, 1)
        time, kind = (v[:, None, None, None] for v in (t / 500, label.sqrt()))
        return (turn * torch.cat([x, x.flip(1)], 1) + of_time * time + shift).sin() + (
            of_label * kind + turn * x.mean(1, keepdim=True)
        ).cos()


def draw_question(batch: int, channels: int, *, scale: float | None = None) -> Draw:
    """Weights of a `Guesser`, noisy pictures, times, labels, the label for none, and a scale."""

    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        no_class = torch.randint(6, 12, (), generator=generator)
        drawn = 2 + 3 * torch.rand((), generator=generator, dtype=torch.float64)
        return (
            0.5 + torch.rand(2 * channels, 4, generator=generator),
            torch.randn(batch, channels, 2, 3, generator=generator),
            torch.randint(0, 1000, (batch,), generator=generator),
            torch.randint(1, int(no_class), (batch,), generator=generator),
            no_class,
            drawn if scale is None else torch.full_like(drawn, scale),
        )

    return draw


def with_guesser(function: Callable) -> Callable:
    """A function of a network, tensors and numbers as one of weights and tensors alone."""
    return lambda weights, x_t, t, label, no_class, scale: function(
        Guesser(weights, int(no_class)), x_t, t, label, int(no_class), float(scale)
    )
