"""Chapter 2: what a discriminator makes of clips that happen, and of the mean that never does.

The clips are whole ones, context and future, at the `base` crossroads with 32 pixels.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from course_lib.data.crossroads import turn_probs
from course_lib.data.futures import Futures
from course_lib.evaluation.futures import distances
from course_lib.interfaces import Video
from course_lib.methods.gan import discriminator_loss
from course_lib.models.clip_readers import Discriminator
from course_lib.models.videogan_conditional import ConditionalVideoGAN
from course_lib.recipes.chapter0 import Exam, likeliest, world

BATCH = 16


def four_kinds(
    model: ConditionalVideoGAN, exam: Exam, *, generator: torch.Generator | None = None
) -> dict[str, Video]:
    """A clip of each kind for every context: what happened, the mean, the likeliest, a sample."""
    with torch.no_grad():
        drawn = model.predict(exam.context, exam.horizon, generator=generator)
    continuations = {
        "true future": torch.cat([f.sample(1, generator=generator) for f in exam.futures]),
        "exact mean": exam.mean,
        "likeliest future": likeliest(exam),
        "model's sample": drawn,
    }
    return {kind: torch.cat([exam.context, c], 1) for kind, c in continuations.items()}


def clips_and_means(batch: int, *, generator: torch.Generator | None = None) -> tuple[Video, Video]:
    """Clips of training digits, and of the same contexts the exact mean of all that can follow."""
    crossing = world("train")
    clips = crossing.sample(batch, generator=generator)
    index, arrival = (x.repeat_interleave(3) for x in (clips.index, clips.arrival))
    stays = torch.zeros(3 * batch, dtype=torch.bool)
    turns = crossing.render(index, arrival, torch.arange(3).repeat(batch), stays)
    probs = turn_probs(clips.label).float()
    return clips.video, torch.einsum("bk,bk...->b...", probs, turns.unflatten(0, (batch, 3)))


def learn_to_tell(
    steps: int, *, generator: torch.Generator | None = None
) -> Iterator[tuple[Discriminator, float]]:
    """Train a new discriminator on clips against means; after each update itself and its loss."""
    with torch.random.fork_rng(devices=[]):  # torch's initialisers know only the global generator
        torch.default_generator.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        critic = Discriminator((12, 1, 32, 32), (8, 16, 32), norm=False)
    optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.99))
    for _ in range(steps):
        clips, means = clips_and_means(BATCH, generator=generator)
        loss = discriminator_loss(critic(clips), critic(means))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield critic, loss.item()


def where_it_looks(
    discriminator: Callable[[Video], Float[Tensor, "B"]], video: Video, cell: int = 4
) -> Video:
    """How far the logit moves with each pixel: -1 where not at all, 1 where most in the clip.

    The gradient's size, averaged over square cells of so many pixels a side.

    Raises:
        ValueError: The cells do not fill a frame.
    """
    side = video.shape[-1]
    if cell < 1 or side % cell:
        raise ValueError(f"cell is {cell}; permitted: what divides {side}")
    pixels = video.detach().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(pixels).sum(), pixels)
    coarse = F.avg_pool2d(slope.abs().flatten(0, 1), cell)
    fine = (
        coarse.repeat_interleave(cell, -2).repeat_interleave(cell, -1).unflatten(0, slope.shape[:2])
    )
    return 2 * fine / fine.amax((1, 2, 3, 4), keepdim=True).clamp_min(1e-12) - 1


def future_shares(samples: Video, futures: Futures) -> Float[Tensor, "K"]:
    """How often each future is the nearest to a sample, as `score_context` counts."""
    nearest = distances(samples, futures)[0].argmin(1)
    return torch.bincount(nearest, minlength=len(futures)).double() / len(samples)
