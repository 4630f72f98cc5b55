"""Seconds per image of our walk against diffusers': `python tests/measure_samplers.py [RUNS]`.

Both walk the same untrained network, 16 pictures in 50 steps at eta 0 and at eta 1, on one thread.
They go in turn, step by step, so that a busy machine is equally busy for both. Exit code 0 where
the median of our steps is no more than 2 % above theirs.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT)]

from course_lib.methods.ddim import ddim_steps  # noqa: E402  the path comes first
from course_lib.methods.diffusion import EPS, denoiser  # noqa: E402
from course_lib.methods.noise import NoiseSchedule  # noqa: E402
from course_lib.models.dit import DiT, DiTConfig  # noqa: E402

NUM_IMAGES, NUM_STEPS, TOLERANCE = 16, 50, 1.02


def make_network() -> Callable[[Tensor, Tensor], Tensor]:
    """An untrained DiT that knows its classes, with an answer other than 0."""
    torch.manual_seed(0)
    model = DiT(DiTConfig(num_classes=10)).eval()
    torch.nn.init.normal_(model.final.to_patches.weight, std=0.1)
    return partial(model, label=torch.arange(NUM_IMAGES) % 10)


def walk_ours(network: Callable, scheduler: DDIMScheduler, x_T: Tensor, eta: float) -> Iterator:
    """Our walk over the scheduler's own steps."""
    schedule = NoiseSchedule(scheduler.alphas_cumprod)
    denoise, timesteps = denoiser(network, EPS, schedule), scheduler.timesteps.tolist()
    generator = torch.Generator().manual_seed(0)
    for step in ddim_steps(denoise, schedule, x_T, timesteps, eta=eta, generator=generator):
        yield step.x_prev


def walk_theirs(network: Callable, scheduler: DDIMScheduler, x_T: Tensor, eta: float) -> Iterator:
    """The loop that diffusers' pipelines run."""
    x, generator = x_T, torch.Generator().manual_seed(0)
    for t in scheduler.timesteps:
        output = network(x, t.expand(len(x)))
        x = scheduler.step(output, t, x, eta=eta, generator=generator).prev_sample
        yield x


@torch.no_grad()
def measure(runs: int, eta: float) -> float:
    """Prints the medians of both; returns ours over theirs."""
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=True, steps_offset=0)
    scheduler.set_timesteps(NUM_STEPS)
    network = make_network()
    x_T = torch.randn(NUM_IMAGES, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    seconds: tuple[list[float], list[float]] = ([], [])
    apart = 0.0
    for _ in range(runs):
        walks = [walk(network, scheduler, x_T, eta) for walk in (walk_ours, walk_theirs)]
        for number in range(NUM_STEPS):
            x = [x_T, x_T]
            for side in (number % 2, 1 - number % 2):
                start = time.process_time()
                x[side] = next(walks[side])
                seconds[side].append(time.process_time() - start)
            apart = max(apart, (x[0] - x[1]).abs().max().item())
    ours, theirs = (statistics.median(each) * NUM_STEPS / NUM_IMAGES for each in seconds)
    print(
        f"eta {eta}: ours {1000 * ours:.1f} ms a picture, diffusers {1000 * theirs:.1f} ms, "
        f"ratio {ours / theirs:.3f}; medians of {runs * NUM_STEPS} steps each; "
        f"the pictures differ by {apart:.1g}; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return ours / theirs


def main(runs: int) -> int:
    torch.set_num_threads(1)
    ratios = [measure(runs, eta) for eta in (0.0, 1.0)]
    kept = max(ratios) <= TOLERANCE
    print(f"bar: ours over theirs at most {TOLERANCE}: {'kept' if kept else 'BROKEN'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 5))
