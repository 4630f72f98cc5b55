"""Chapter 2: both losses of a GAN; and, from the files beside this one, every other exercise.

Each checker draws its inputs afresh at every call and compares with a reference of its own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks.chapter2_flicker import flicker
from course_lib.checks.chapter2_iou import iou
from course_lib.checks.chapter2_modes import mode_coverage
from course_lib.checks.chapter2_video import compose, mask_penalty
from course_lib.checks.properties import (
    Draw,
    agrees,
    both,
    fresh_generator,
    part,
    passes_gradients,
    returns_pair,
    spares_its_arguments,
)
from course_lib.checks.report import Verdict, examine
from course_lib.methods import gan

__all__ = ["compose", "flicker", "iou", "losses", "mask_penalty", "mode_coverage"]

LOGITS = ("real", "fake")


def losses(function) -> Verdict:
    """Check `function(real, fake)`: the discriminator's loss and the generator's, in nats.

    `real` (B,) and `fake` (N,) are logits of the discriminator; the generator's loss is the
    non-saturating one, and every loss is a mean.
    """
    large = _draw_logits(4, 6)
    return examine(
        "losses",
        function,
        lambda real, fake: (gan.discriminator_loss(real, fake), gan.generator_loss(fake)),
        {
            "returns two numbers, the discriminator's first": returns_pair(
                large, LOGITS, "End with `return discriminator_loss, generator_loss`, two means."
            ),
            "gives the discriminator's loss": part(
                0,
                agrees(
                    _discriminator_loss,
                    [_draw_logits(1, 1), large],
                    LOGITS,
                    DISCRIMINATOR_MISTAKES,
                    "The mean of -log sigmoid(real), plus the mean of -log(1 - sigmoid(fake)).",
                ),
            ),
            "gives the generator's loss": part(
                1,
                agrees(
                    _generator_loss,
                    [_draw_logits(1, 1), large],
                    LOGITS,
                    GENERATOR_MISTAKES,
                    "The mean of -log sigmoid(fake).",
                ),
            ),
            "is 2 ln 2 and ln 2 where all logits are 0": both(
                agrees(
                    _losses,
                    [lambda: (torch.zeros(3), torch.zeros(2))],
                    LOGITS,
                    {},
                    "A logit of 0 gives one half to each answer, and -log(1/2) is ln 2.",
                )
            ),
            "is exact where the discriminator is sure": both(
                agrees(
                    _losses,
                    [_draw_sure_logits],
                    LOGITS,
                    SURE_MISTAKES,
                    "sigmoid(-150) is 0 in 32 bits, and log(0) is -inf. A small number added to it "
                    "hides that. But -log sigmoid(x) is softplus(-x), exact for every x.",
                )
            ),
            "lets gradients through to the logits": both(
                passes_gradients(_losses, large, LOGITS, LOGITS)
            ),
            "leaves its arguments unchanged": spares_its_arguments(large, LOGITS),
        },
    )


def _draw_logits(num_real: int, num_fake: int) -> Draw:
    def draw() -> tuple[Tensor, Tensor]:
        logits = 2 * torch.randn(num_real + num_fake, generator=fresh_generator())
        return logits[:num_real], logits[num_real:]

    return draw


def _draw_sure_logits() -> tuple[Tensor, Tensor]:
    """Right and wrong certainties, far beyond what a sigmoid in 32 bits can tell from 0 and 1."""
    size = 150 + 50 * torch.rand(2, 2, generator=fresh_generator())
    real, fake = size * torch.tensor([1.0, -1.0])
    return real, fake


def _cost(logits: Tensor, label: int) -> Tensor:
    """-log of the probability of label 1 (real) or 0 (fake), one number for each logit."""
    x = logits.double()
    return F.binary_cross_entropy_with_logits(x, torch.full_like(x, label), reduction="none")


def _discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    return _cost(real, 1).mean() + _cost(fake, 0).mean()


def _generator_loss(_real: Tensor, fake: Tensor) -> Tensor:
    return _cost(fake, 1).mean()


def _losses(real: Tensor, fake: Tensor) -> Tensor:
    return torch.stack([_discriminator_loss(real, fake), _generator_loss(real, fake)])


def _clamped(logits: Tensor) -> Tensor:
    """-log sigmoid as `F.binary_cross_entropy` has it: the logarithm stops at -100."""
    return -logits.sigmoid().log().clamp(min=-100).mean()


SURE_MISTAKES = {
    "`F.binary_cross_entropy` stops at 100 and has no slope there. The one whose name ends in "
    "`_with_logits` is exact.": lambda real, fake: torch.stack(
        [_clamped(real) - (1 - fake.sigmoid()).log().clamp(min=-100).mean(), _clamped(fake)]
    ),
}


def _softmaxed(logits: Tensor) -> Tensor:
    return logits.double().softmax(0)


TWICE = "You applied the sigmoid twice: a loss that takes logits has it inside."
TWO_CLASSES = (
    "You gave a softmax the two classes x and -x: that is sigmoid(2x). Give it x and 0, or use the "
    "sigmoid of x."
)
BATCH_SOFTMAX = "You took a softmax over the batch. Every logit is judged by itself: sigmoid."

DISCRIMINATOR_MISTAKES = {
    "You returned the generator's loss first: the discriminator's is the first of the two.": (
        _generator_loss
    ),
    "Real and fake are swapped: the discriminator raises the logits of the real ones.": (
        lambda real, fake: _discriminator_loss(fake, real)
    ),
    "You summed over the examples: take the mean of the real ones plus the mean of the fake.": (
        lambda real, fake: _cost(real, 1).sum() + _cost(fake, 0).sum()
    ),
    "You averaged the two halves: the loss is their sum, 2 ln 2 at logits of 0.": (
        lambda real, fake: _discriminator_loss(real, fake) / 2
    ),
    "You took one mean over all logits: then the more numerous kind weighs more.": (
        lambda real, fake: torch.cat([_cost(real, 1), _cost(fake, 0)]).mean()
    ),
    "The fake half is missing.": lambda real, fake: _cost(real, 1).mean(),
    "The real half is missing.": lambda real, fake: _cost(fake, 0).mean(),
    "The sign is wrong: -log of a probability is never negative.": (
        lambda real, fake: -_discriminator_loss(real, fake)
    ),
    TWICE: lambda real, fake: _discriminator_loss(real.sigmoid(), fake.sigmoid()),
    TWO_CLASSES: lambda real, fake: _discriminator_loss(2 * real, 2 * fake),
    BATCH_SOFTMAX: lambda real, fake: (
        -_softmaxed(real).log().mean() - (1 - _softmaxed(fake)).log().mean()
    ),
    "That is the Wasserstein critic's loss: here the logits go through a sigmoid and a log.": (
        lambda real, fake: fake.mean() - real.mean()
    ),
}
GENERATOR_MISTAKES = {
    "You returned the discriminator's loss second: the generator's is the second of the two.": (
        _discriminator_loss
    ),
    "That is the minimax loss, log(1 - D(fake)): it saturates, its slope dies where the "
    "discriminator is sure. Take -log D(fake).": lambda real, fake: -_cost(fake, 0).mean(),
    "That is -log(1 - D(fake)), the discriminator's half. The generator wants D(fake) near 1.": (
        lambda real, fake: _cost(fake, 0).mean()
    ),
    "You used the logits of the real examples: the generator made the fake ones.": (
        lambda real, fake: _cost(real, 1).mean()
    ),
    "You added the real half: the generator has no part in it.": (
        lambda real, fake: _discriminator_loss(fake, real)
    ),
    "You summed over the examples: take the mean.": lambda real, fake: _cost(fake, 1).sum(),
    "The sign is wrong: -log of a probability is never negative.": (
        lambda real, fake: -_generator_loss(real, fake)
    ),
    TWICE: lambda real, fake: _generator_loss(real, fake.sigmoid()),
    TWO_CLASSES: lambda real, fake: _generator_loss(real, 2 * fake),
    BATCH_SOFTMAX: lambda real, fake: -_softmaxed(fake).log().mean(),
    "That is the Wasserstein generator's loss: here the logits go through a sigmoid and a log.": (
        lambda real, fake: -fake.mean()
    ),
}
