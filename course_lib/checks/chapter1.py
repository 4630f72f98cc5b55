"""Chapter 1: total variation; and, from the files beside this one, every other exercise.

Each checker draws its inputs afresh at every call and compares with a reference of its own.
"""

import torch
from torch import Tensor

from course_lib.checks.chapter1_elbo import elbo
from course_lib.checks.chapter1_gaussian import kl, reparameterise
from course_lib.checks.chapter1_nets import Nets, nets_of
from course_lib.checks.chapter1_sampling import sample_future
from course_lib.checks.chapter1_svg import svg_step
from course_lib.checks.properties import (
    Draw,
    agrees,
    fresh_generator,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Verdict, examine

__all__ = [
    "Nets",
    "elbo",
    "kl",
    "nets_of",
    "reparameterise",
    "sample_future",
    "svg_step",
    "total_variation",
]

COUNTS = ("frequencies", "probs")


def total_variation(function) -> Verdict:
    """Check `function(frequencies, probs)`: total variation of each context (N, K), averaged."""
    large = _draw_distributions(6, 5)
    return examine(
        "total_variation",
        function,
        lambda frequencies, probs: (frequencies - probs).abs().sum(1).mean() / 2,
        {
            "returns a single number": returns(
                large, (), COUNTS, "One number per context, then their mean."
            ),
            "gives what the definition says": agrees(
                _total_variation,
                [_draw_distributions(1, 3), large],
                COUNTS,
                VARIATION_MISTAKES,
                "Half the sum of |frequency - probability| in each context, then the mean.",
            ),
            "sees a model that is certain in every context, but right in the sum": agrees(
                _total_variation,
                [lambda: (torch.eye(3), torch.full((3, 3), 1 / 3))],
                COUNTS,
                {},
                "Here every context always takes one turn, and over all contexts the counts are "
                "right. Compare each context with its own probabilities, then average.",
            ),
            "is 1 where nothing is shared, and 0 where all is": agrees(
                _total_variation,
                [lambda: (torch.eye(2), torch.eye(2).flip(0)), lambda: (torch.eye(2),) * 2],
                COUNTS,
                {},
                "Two opposite certainties are at distance 1, in each context by itself.",
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, COUNTS),
        },
    )


def _draw_distributions(num_contexts: int, num_outcomes: int) -> Draw:
    def draw() -> tuple[Tensor, Tensor]:
        counts = torch.rand(2, num_contexts, num_outcomes, generator=fresh_generator()).square()
        frequencies, probs = counts / counts.sum(2, keepdim=True)
        return frequencies, probs

    return draw


def _total_variation(frequencies: Tensor, probs: Tensor) -> Tensor:
    return (frequencies.double() - probs.double()).clamp(min=0).sum(1).mean()


VARIATION_MISTAKES = {
    "You pooled the contexts before comparing. Then a model that always takes the same turn in "
    "each context passes, if the counts of all contexts together are right.": (
        lambda f, p: _total_variation(f.mean(0)[None], p.mean(0)[None])
    ),
    "The one half is missing: what one outcome has too much, another has too little.": (
        lambda f, p: 2 * _total_variation(f, p)
    ),
    "You took the largest difference: that is one outcome, and the distance adds all of them.": (
        lambda f, p: (f - p).abs().amax(1).mean()
    ),
    "You averaged over the outcomes: add them up, then average over the contexts.": (
        lambda f, p: (f - p).abs().mean()
    ),
    "You averaged over the outcomes: add them up, then halve.": (
        lambda f, p: (f - p).abs().mean() / 2
    ),
    "You added up the contexts: take their mean.": lambda f, p: len(f) * _total_variation(f, p),
    "You squared the differences: total variation takes their absolute value.": (
        lambda f, p: (f - p).square().sum(1).mean() / 2
    ),
    "You did not take absolute values: the differences of a context add up to zero.": (
        lambda f, p: (f - p).sum(1).mean() / 2
    ),
}
