"""Chapter 5's diffusion in the plane: trained while the reader waits, nothing is stored.

    for moment in learn(ring(), denoising_loss, updates=2000, every=100):
        moment.loss
    steps = ddpm_steps(denoiser(moment.network, EPS, SCHEDULE), SCHEDULE, x_T)

The data are chapter 2's ring of eight lumps, whose exact denoiser is known.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from matplotlib.axes import Axes
from torch import Tensor, nn

from course_lib.data.toy import GaussianMixture
from course_lib.methods import noise
from course_lib.methods.diffusion import Denoiser
from course_lib.plots import COLORS, STYLE, WIDTH, Picture
from course_lib.training.loop import Batch, Objective, State, train_steps, warmup_linear

SCHEDULE = noise.linear()
REACH = 3.2  # half an edge of what is drawn
BATCH_SIZE = 256

# (network, x0, eps, t, alphas_cumprod) to a number; network(x_t, t) guesses eps
Loss = Callable[[nn.Module, Tensor, Tensor, Tensor, Tensor], Tensor]


class PlaneNetwork(nn.Module):
    """Noisy points and their times to a guess of the noise. Weights come from `seed` alone."""

    levels: Tensor

    def __init__(self, width: int = 96, *, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Linear(2 + 2 * 8 + 5, width),
                nn.SiLU(),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Linear(width, 2),
            )
        table = SCHEDULE.alphas_cumprod
        self.register_buffer("levels", torch.logit(table).float() / 4, persistent=False)

    def forward(self, x_t: Float[Tensor, "B 2"], t: Int64[Tensor, "B"]) -> Float[Tensor, "B 2"]:
        """The guessed noise."""
        level = self.levels[t][:, None]  # log SNR: it tells the first steps apart, t hardly does
        # Waves over the plane: from coordinates alone a small network sees few lumps.
        waves = torch.cat([k * x_t for k in range(1, 5)], 1)
        code = [level, level.sin(), level.cos(), (2 * level).sin(), (2 * level).cos()]
        return self.layers(torch.cat([x_t, waves.sin(), waves.cos(), *code], 1))


@dataclass(frozen=True)
class Moment:
    """A training after some updates."""

    step: int
    loss: float  # mean since the moment before
    network: PlaneNetwork  # a copy


def learn(
    data: GaussianMixture,
    loss: Loss,
    *,
    table: Float[Tensor, "N"] = SCHEDULE.alphas_cumprod,
    seed: int = 0,
    updates: int = 2000,
    every: int = 100,
) -> Iterator[Moment]:
    """Train a new network, yielding after each `every` updates.

    Args:
        data: What the clean points are drawn from.
        loss: What is lowered.
        table: What `loss` is given as alphas_cumprod.
        seed: Of all draws.
        updates: Of the whole training; the learning rate falls to 0.
        every: Updates from moment to moment.
    """
    network = PlaneNetwork(seed=seed)
    table = table.float()

    def draw(generator: torch.Generator) -> Batch:
        return {
            "x0": data.sample(BATCH_SIZE, generator=generator).float(),
            "eps": torch.randn(BATCH_SIZE, 2, generator=generator),
            "t": torch.randint(len(table), (BATCH_SIZE,), generator=generator),
        }

    def objective(model: nn.Module, batch: Batch, _step: int) -> Tensor:
        return loss(model, batch["x0"], batch["eps"], batch["t"], table)

    adam = torch.optim.Adam(network.parameters(), 6e-3, fused=True)
    state = State(network, [Objective(objective, adam)])
    schedule, paid = warmup_linear(updates, min(50, updates // 10)), []
    for step in train_steps(state, draw, seed=seed, steps=updates, schedule=schedule):
        paid.append(float(step.loss))
        if step.step % every == 0:
            yield Moment(step.step, float(np.mean(paid)), copy.deepcopy(network).eval())
            paid.clear()


def field(
    denoisers: Mapping[str, Denoiser], data: GaussianMixture, levels: Sequence[int], alt: str
) -> Picture:
    """Minus the guessed noise as arrows, a row for each denoiser and a column for each level.

    The darker a place, the likelier x_t is there; an arrow's length is that of the guess, up to 2.
    """
    with mpl.rc_context(STYLE):
        tile = min(WIDTH / len(levels), 2.2)
        picture = Picture(tile * len(levels), tile * len(denoisers) + 0.2, alt)
        grid = picture.subplots(len(denoisers), len(levels), squeeze=False)
        for row, (name, denoise) in zip(grid, denoisers.items(), strict=True):
            row[0].set_ylabel(name)
            for axes, t in zip(row, levels, strict=True):
                _draw_density(axes, data.noisy(SCHEDULE.alpha_bar(t).item()))
                _draw_arrows(axes, denoise, t)
                axes.set(xticks=[], yticks=[], aspect="equal")
                axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH))
        for axes, t in zip(grid[0], levels, strict=True):
            axes.set_title(f"t = {t}", loc="center")
    return picture


def _draw_density(axes: Axes, data: GaussianMixture) -> None:
    axis = torch.linspace(-REACH, REACH, 80, dtype=torch.float64)
    column, row = torch.meshgrid(axis, axis, indexing="xy")
    density = data.log_prob(torch.stack([column, row], -1)).exp()
    # Few flat shades: they show the slope, and the file stays small.
    shades = ["white", "#e4e4e4", "#cccccc", "#b2b2b2"]
    edges = [0, 0.05, 0.25, 0.6, 1]
    axes.contourf(axis, axis, density / density.max(), edges, colors=shades, antialiased=False)


def _draw_arrows(axes: Axes, denoise: Denoiser, t: int) -> None:
    axis = torch.linspace(-REACH, REACH, 13)[1:-1]
    places = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        back = -denoise(places, torch.full((len(places),), t)).eps_hat.float()
    length = back.norm(dim=1, keepdim=True)
    shown = back * length.clamp(max=2) / length
    axes.quiver(*places.T, *shown.T, angles="xy", scale=26, width=0.009, color=COLORS["blue"])


def dots(
    points: Float[Tensor, "N 2"], real: Float[Tensor, "M 2"], size: int = 240
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """One frame for the player: real points grey, the others black, x to the right, y up.

    Points beyond REACH are not drawn.
    """
    pixels = np.full((size, size, 3), 255, np.uint8)
    for placed, shade in ((real, 175), (points, 0)):
        at = ((placed.double() / REACH + 1) / 2 * size).nan_to_num(-9).clamp(-9, size + 9)
        column, row = at.floor().long().T.numpy()
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            y, x = size - 1 - row + down, column + right
            inside = (y >= 0) & (y < size) & (x >= 0) & (x < size)
            pixels[y[inside], x[inside]] = shade
    return pixels
