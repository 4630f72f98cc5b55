"""Chapter 2's games on a line and in a plane: trained while the reader waits, nothing is stored.

    for moment in play(ring(), Game(dim=2), Rules(), places=square(3.2, 48), seed=0, rounds=400):
        moment.samples, moment.logits

A round is one move of the discriminator and `generator_moves` moves of the generator. On the ring,
one against one covers all eight modes at the end of 400 rounds, in five seeds of five. Five against
one collapses and hops (0 or 1 modes at the end, up to 4 for a moment): the generator's best answer
to a discriminator that stands still is the one place where its logit is highest. No R1 penalty
proved necessary for one against one, and gamma = 10 did not mend five against one.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from course_lib.data.toy import GaussianMixture
from course_lib.methods import gan
from course_lib.training.loop import Batch, Objective, State, train_steps

NUM_SAMPLES = 500  # shown after every step, from one fixed noise: what moves is the generator
DATA_DOT, SAMPLE_DOT = (150, 150, 150), (0, 0, 0)
FAKE, UNSURE, REAL = (86, 180, 233), (255, 255, 255), (230, 159, 0)  # colours of D = 0, 1/2, 1

Losses = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def non_saturating(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Both players' losses from logits, each player with a loss of its own."""
    return gan.discriminator_loss(real, fake), gan.generator_loss(fake)


def saturating(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Both players' losses from logits in the minimax game, which is zero-sum."""
    return gan.discriminator_loss(real, fake), gan.minimax_generator_loss(fake)


@dataclass(frozen=True)
class Rules:
    """How the two play; the standard rules are those that keep the ring whole."""

    generator_moves: int = 1  # per move of the discriminator; 0 holds the generator still
    r1: float = 0.0  # gamma of the R1 penalty
    learning_rate: float = 4e-3  # of both
    betas: tuple[float, float] = (0.5, 0.99)  # of both Adams
    batch_size: int = 128

    def __post_init__(self) -> None:
        if self.generator_moves < 0:
            raise ValueError(f"generator_moves is {self.generator_moves}; permitted: 0 and more")
        if self.r1 < 0:
            raise ValueError(f"r1 is {self.r1}; permitted: 0 and more")


STABLE = Rules()
UNSTABLE = Rules(generator_moves=5)


class Shift(nn.Module):
    """A generator on the line whose density is known: N(mean, sigma^2), and the mean can learn."""

    def __init__(self, mean: float, sigma: float = 1.0) -> None:
        super().__init__()
        self.mean, self.sigma = nn.Parameter(torch.tensor([mean])), sigma

    def forward(self, noise: Float[Tensor, "B 1"]) -> Float[Tensor, "B 1"]:
        """A point for every row of standard normal noise."""
        return self.mean + self.sigma * noise


class Game(nn.Module):
    """The two players; noise has as many dimensions as data. Weights come from `seed` alone."""

    def __init__(self, dim: int, generator: nn.Module | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.dim = dim
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.discriminator = _mlp(dim, 1)
            self.generator = generator or _mlp(dim, dim)

    def judge(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B"]:
        """The discriminator's logits."""
        return self.discriminator(x).squeeze(1)


def _mlp(num_inputs: int, num_outputs: int, width: int = 64) -> nn.Sequential:
    act = nn.Tanh()  # finds the gaps between the modes; LeakyReLU stops at the circle
    first, second, last = (num_inputs, width), (width, width), (width, num_outputs)
    return nn.Sequential(nn.Linear(*first), act, nn.Linear(*second), act, nn.Linear(*last))


@dataclass(frozen=True)
class GameStep:
    """The game after a round; losses and norms are those of the round's last moves."""

    step: int  # rounds played, 1 after the first
    samples: Float[Tensor, "S D"]
    logits: Float[Tensor, "P"]  # at the given places
    discriminator_loss: float
    discriminator_gradient: float  # Euclidean norm over all weights
    generator_loss: float  # nan where the generator does not move
    generator_gradient: float


def play(
    data: GaussianMixture,
    game: Game,
    rules: Rules = STABLE,
    *,
    places: Float[Tensor, "P D"],
    seed: int,
    rounds: int,
    every: int = 1,
    losses: Losses = non_saturating,
) -> Iterator[GameStep]:
    """Train both players in place, yielding after each round, or after each of `every`.

    Args:
        data: What the real points are drawn from.
        game: The two players.
        rules: How they play.
        places: Where the discriminator's logits are reported.
        seed: Of all draws.
        rounds: How many moves of the discriminator.
        every: Show the game after so many rounds.
        losses: The discriminator's loss and the generator's, from logits of real and fake points.
    """
    state = State(game, _objectives(game, rules, losses))
    shape = (rules.batch_size, game.dim)

    def draw(generator: torch.Generator) -> Batch:
        real = data.sample(rules.batch_size, generator=generator).float()
        moves = range(rules.generator_moves + 1)
        noise = {f"noise {move}": torch.randn(shape, generator=generator) for move in moves}
        return {"real": real, **noise}

    shown = torch.randn(NUM_SAMPLES, game.dim, generator=torch.Generator().manual_seed(seed))
    for step in train_steps(state, draw, seed=seed, steps=rounds):
        if step.step % every == 0:
            with torch.no_grad():
                samples, logits = game.generator(shown), game.judge(places)
            numbers = {name: float(value) for name, value in step.parts.items()}
            still = {"generator_loss": math.nan, "generator_gradient": 0.0}
            yield GameStep(step.step, samples, logits, **(still | numbers))


def _objectives(game: Game, rules: Rules, losses: Losses) -> list[Objective]:
    """The discriminator's move, then the generator's, each against the other as it now is."""

    def discriminator_loss(_game: nn.Module, batch: Batch, _step: int) -> Tensor:
        real, fake = batch["real"], game.generator(batch["noise 0"]).detach()
        loss, _ = losses(game.judge(real), game.judge(fake))
        return loss + rules.r1 / 2 * gan.r1_penalty(game.judge, real) if rules.r1 else loss

    def generator_loss(move: int) -> Callable[[nn.Module, Batch, int], Tensor]:
        def loss(_game: nn.Module, batch: Batch, _step: int) -> Tensor:
            fake = game.judge(game.generator(batch[f"noise {move}"]))
            return losses(fake.new_zeros(1), fake)[1]  # it has no part in the real ones

        return loss

    adams = [
        torch.optim.Adam(player.parameters(), rules.learning_rate, betas=rules.betas)
        for player in (game.discriminator, game.generator)
    ]
    moves = range(1, rules.generator_moves + 1)
    return [
        Objective(discriminator_loss, adams[0], name="discriminator"),
        *(Objective(generator_loss(move), adams[1], name="generator") for move in moves),
    ]


def square(reach: float, size: int) -> Float[Tensor, "P 2"]:
    """The middles of size x size fields between -reach and reach, row by row from the top."""
    axis = reach * ((2 * torch.arange(size) + 1) / size - 1)
    return torch.cartesian_prod(-axis, axis).flip(1)


def heat_map(
    moment: GameStep, real: Float[Tensor, "N 2"], reach: float, scale: int = 5
) -> UInt8[np.ndarray, "H W 3"]:
    """One frame for the player: D as colour, real points grey, samples black, x to the right.

    `moment.logits` are those of the places of `square(reach, size)`; every field becomes scale x
    scale pixels. Points outside the square are not drawn.
    """
    size = math.isqrt(len(moment.logits))
    # Sixteen shades: bands show the slope, and a frame stays small.
    shade = (moment.logits.sigmoid().reshape(size, size, 1) * 16).round().numpy() / 16
    ends = np.where(shade < 0.5, FAKE, REAL)
    field = UNSURE + np.abs(2 * shade - 1) * (ends - UNSURE)
    pixels = field.round().astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
    for points, color in ((real, DATA_DOT), (moment.samples, SAMPLE_DOT)):
        at = ((points / reach + 1) / 2 * size * scale).floor().long()
        column, row = at[:, 0], size * scale - 1 - at[:, 1]
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            y, x = row + down, column + right
            inside = (y >= 0) & (y < size * scale) & (x >= 0) & (x < size * scale)
            pixels[y[inside].numpy(), x[inside].numpy()] = color
    return pixels
