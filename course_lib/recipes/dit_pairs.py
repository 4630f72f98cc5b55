"""Chapter 7: the four conditionings, compared picture by picture, and what a seed changes.

All networks see the same held-out digits with the same noise at the same steps, so that losses are
compared in pairs. Names end in conditioning and seed: minus_in_context_0.

    loss        squared error of the guessed noise; the mean of a digit's repeats is one number
    hidden      how much the loss rises when the network is told "no class"
    minus       the loss less that of adaLN-Zero from the same seed, and that in each quarter of the
                steps: minus_in_context_0_quarter_1 is the cleanest
    seeds       the loss of the second of two seeds less that of the first: seeds_in_context_01
    over_seeds  minus, its mean over the seeds, with Student's interval over seeds
    share       how large what block k adds is beside what it gets: share_in_context_0_block_0
"""

from functools import cache, partial
from itertools import combinations
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.methods.diffusion import EPS, denoising_loss
from course_lib.models.dit import DiT
from course_lib.recipes.digit_diffusion import EXAM_SEED, NUM_CLASSES, SCHEDULE, framed_digits
from course_lib.recipes.dit_conditioning import (
    MEMBERS,
    REPEATED,
    REPEATS,
    SEEDS,
    exactly,
    held_out_losses,
)
from course_lib.training.member import MemberMeasurement, load_member
from course_lib.training.recipe import Metric

BASELINE = "adaLN-Zero"
QUARTERS = 4
ASKED = 300  # digits whose class is hidden, and that share is measured on
STUDENT = 4.303  # 97.5 % of Student's t with two degrees of freedom: three seeds


def plain(conditioning: str) -> str:
    """The conditioning in a metric's name."""
    return conditioning.lower().replace("-", "_")


@cache
def losses(conditioning: str, seed: int) -> Float[Tensor, "R N"]:
    """Every repeat of every held-out digit."""
    found = held_out_losses(load_member(MEMBERS[conditioning, seed]))
    return found.unflatten(0, (REPEATS, -1))


@cache
def steps() -> Float[Tensor, "R N"]:
    """The step that each of `losses` was measured at: the first draw of the exam."""
    number = REPEATS * len(framed_digits("test")[0])
    generator = torch.Generator().manual_seed(EXAM_SEED)
    t = torch.randint(SCHEDULE.num_timesteps, (number,), generator=generator)
    return t.unflatten(0, (REPEATS, -1)).float()


def of_member(conditioning: str, seed: int) -> dict[str, Metric]:
    """What is asked of one network."""
    name = f"{plain(conditioning)}_{seed}"
    model = cast(DiT, load_member(MEMBERS[conditioning, seed]))
    metrics = {
        f"loss_{name}": Metric.of_mean(losses(conditioning, seed).mean(0)),
        f"hidden_{name}": Metric.of_mean(hidden(model)),
    }
    shares = {f"share_{name}_block_{k}": exactly(share) for k, share in enumerate(added(model))}
    return metrics | shares


def examples() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first digits, their labels, steps spread evenly, noise."""
    x0, label = (x[:ASKED] for x in framed_digits("test"))
    generator = torch.Generator().manual_seed(EXAM_SEED)
    t = torch.linspace(0, SCHEDULE.num_timesteps - 1, ASKED).long()
    return x0, label, t, torch.randn(x0.shape, generator=generator)


def hidden(model: DiT) -> Float[Tensor, "N"]:
    """How much more each picture loses when the network is not told its class."""
    x0, label, t, eps = examples()
    told, untold = (
        denoising_loss(partial(model, label=said), EPS, SCHEDULE, x0, eps, t)
        for said in (label, torch.full_like(label, NUM_CLASSES))
    )
    return untold - told


def added(model: DiT) -> list[float]:
    """Of each block, the size of what it adds to the tokens of the picture over their size."""
    x0, label, t, eps = examples()
    found, tokens = [], model.config.num_tokens

    def look(_block: nn.Module, given: tuple[Tensor, ...], after: Tensor) -> None:
        before = given[0][:, :tokens]  # without the tokens of time and class
        found.append(((after[:, :tokens] - before).norm() / before.norm()).item())

    hooks = [block.register_forward_hook(look) for block in model.blocks]
    denoising_loss(partial(model, label=label), EPS, SCHEDULE, x0, eps, t)
    for hook in hooks:
        hook.remove()
    return found


def against_baseline(conditioning: str, seed: int) -> dict[str, Metric]:
    """The loss less the baseline's, over all steps and by quarters."""
    less, name = losses(conditioning, seed) - losses(BASELINE, seed), plain(conditioning)
    quarter = (steps() * QUARTERS / SCHEDULE.num_timesteps).long()
    return {f"minus_{name}_{seed}": Metric.of_mean(less.mean(0))} | {
        f"minus_{name}_{seed}_quarter_{k + 1}": Metric.of_mean(less[quarter == k])
        for k in range(QUARTERS)
    }


def between_seeds(conditioning: str, first: int, second: int) -> dict[str, Metric]:
    """What another seed changes."""
    less = losses(conditioning, second) - losses(conditioning, first)
    return {f"seeds_{plain(conditioning)}_{first}{second}": Metric.of_mean(less.mean(0))}


def over_seeds(conditioning: str) -> dict[str, Metric]:
    """The difference to the baseline that may be expected of another seed."""
    less = torch.stack(
        [(losses(conditioning, s) - losses(BASELINE, s)).mean() for s in range(SEEDS)]
    ).double()
    mean, half = less.mean().item(), STUDENT * less.std().item() / SEEDS**0.5
    return {f"over_seeds_{plain(conditioning)}": Metric(mean, mean - half, mean + half)}


def named(kind: str, *cells: tuple[str, int]) -> str:
    """A part's name: what it measures, of which conditioning and seeds."""
    return f"{kind}_{plain(cells[0][0])}_{''.join(str(seed) for _, seed in cells)}"


SEEDED = {way: tuple((way, seed) for seed in range(SEEDS)) for way in REPEATED}
ASKS = (  # of each part: its name, the cells whose networks it asks, what it measures
    *((named("of", cell), (cell,), partial(of_member, *cell)) for cell in MEMBERS),
    *(
        (named("minus", (way, k)), ((way, k), (BASELINE, k)), partial(against_baseline, way, k))
        for way, k in MEMBERS
        if way != BASELINE
    ),
    *(
        (named("seeds", a, b), (a, b), partial(between_seeds, way, a[1], b[1]))
        for way, cells in SEEDED.items()
        for a, b in combinations(cells, 2)
    ),
    (
        "over_seeds",
        SEEDED["in-context"] + SEEDED[BASELINE],
        partial(over_seeds, "in-context"),
    ),
)
PAIRS = MemberMeasurement(
    name="dit_pairs",
    sentence="The four conditionings of a DiT, picture by picture",
    networks=tuple(MEMBERS.values()),
    config={"asked": ASKED, "repeats": REPEATS, "quarters": QUARTERS},
    parts={name: make for name, _, make in ASKS},
    asks={name: tuple(MEMBERS[cell] for cell in cells) for name, cells, _ in ASKS},
)

RECIPES = (PAIRS,)
