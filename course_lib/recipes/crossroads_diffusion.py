"""Chapter 5: futures at the crossroads by diffusion, all frames at once.

Source: DDPM (arXiv 2006.11239) conditioned on frames as in MCVD (arXiv 2205.09853), a DiT (arXiv
2212.09748) as the network. The network guesses the clean future (x0), for at this schedule's noisy
end a guess of the noise says nothing of the picture; the loss weighs a step by its SNR, held within
1 and 4. The schedule is a cosine moved by -4 in log SNR: the turn is decided while the frames
are nearly all noise, and a plain cosine spends under a tenth of its steps there.

The network of `twice` begins with what that of `base` has learned: how a digit is carried along.

Measured on samples for held-out digits: see course_lib/evaluation/futures.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from course_lib.data.crossroads import BASE, CUE_OF_DIGIT, TWICE, Crossroads, Preset
from course_lib.data.digits import load_digits
from course_lib.evaluation import futures as judge
from course_lib.interfaces import VideoPredictor
from course_lib.methods import noise
from course_lib.methods.diffusion import X0, denoising_loss
from course_lib.methods.predictor import DiffusionPredictor
from course_lib.models.dit import DiT, DiTConfig, VideoDiT, VideoDiTConfig
from course_lib.recipes.film import film
from course_lib.recipes.svg_exam import of_samples
from course_lib.training.loop import Batch, Objective, Schedule, warmup_linear
from course_lib.training.recipe import Config, Metric, Recipe

SCHEDULE = noise.cosine(shift=-4.0)
EXAM_SEED = 20266
MONITORED = judge.Protocol(contexts_per_cue=4, num_samples=16)
MAX_WEIGHT = 4.0


Maker = Callable[[Any], VideoPredictor]  # what draws with a network


@dataclass(frozen=True)
class CrossroadsTraining(Config):
    """A training at one of the crossroads."""

    protocol: judge.Protocol = judge.QUICK
    cycles: int = 1  # times that the learning rate falls from its height to 0


@cache
def world(preset: Preset, split_name: str) -> Crossroads:
    """The crossroads at 32 pixels with the digits of one split."""
    return Crossroads(load_digits(split_name), preset)


def predictor(model: VideoDiT, *, num_steps: int = 20, eta: float = 1.0) -> DiffusionPredictor:
    """The network as a predictor of futures."""
    horizon = model.config.horizon
    return DiffusionPredictor(model, X0, SCHEDULE, horizon, num_steps=num_steps, eta=eta)


def build(preset: Preset, config: VideoDiTConfig) -> VideoDiT:
    """An untrained network whose first answer is the mean of training clips."""
    clips = world(preset, "train").sample(1000, generator=torch.Generator().manual_seed(EXAM_SEED))
    return VideoDiT(config, clips.video[:, preset.context :, 0].mean(0))


def lengthen(short: DiT, long: DiT) -> DiT:
    """Give a network of more frames what one of fewer has learned.

    Patches hold rows, columns, frames; the frames that the first lacks come last and start at 0.

    Raises:
        ValueError: The networks differ in more than their frames.
    """
    if replace(short.config, in_channels=1, out_channels=1) != replace(
        long.config, in_channels=1, out_channels=1
    ):
        raise ValueError(f"base has {short.config}; permitted: the size of {long.config}")
    target, places = long.state_dict(), long.config.patch_size**2
    for name, learned in short.state_dict().items():
        # Numbers of a patch are columns of the first layer's weight, rows of the last layer's.
        dim = 1 if name == "embed_patches.weight" else 0
        if learned.shape == target[name].shape:
            target[name].copy_(learned)
        else:
            fewer = learned.unflatten(dim, (places, -1))
            more = target[name].unflatten(dim, (places, -1)).zero_()
            more.narrow(dim + 1, 0, fewer.shape[dim + 1]).copy_(fewer)
    return long


def build_longer(config: VideoDiTConfig) -> VideoDiT:
    """An untrained network of `twice` that knows what the network of `base` has learned.

    Raises:
        ValueError: The network of `base` is not of this size.
    """
    model = build(TWICE, config)
    lengthen(cast(VideoDiT, DIFFUSION.load()).dit, model.dit)
    return model


def falling(config: CrossroadsTraining) -> Schedule:
    """A factor of the learning rate: in each cycle up to 1, then straight towards 0."""
    length = config.steps // config.cycles
    once = warmup_linear(length, min(100, length // 10))
    return lambda step: once(step % length)


def draw(preset: Preset, config: CrossroadsTraining, generator: torch.Generator) -> Batch:
    """New clips, steps, noise."""
    video = world(preset, "train").sample(config.batch_size, generator=generator).video
    context, x0 = video[:, : preset.context], video[:, preset.context :]
    return {
        "context": context,
        "x0": x0,
        "t": torch.randint(SCHEDULE.num_timesteps, (config.batch_size,), generator=generator),
        "eps": torch.randn(x0.shape, generator=generator),
    }


def objectives(model: VideoDiT, config: CrossroadsTraining) -> list[Objective]:
    """Weighted squared error of the clean future; AdamW."""

    def loss(model: torch.nn.Module, batch: Batch, _step: int) -> Tensor:
        network = partial(model, context=batch["context"])
        each = denoising_loss(network, X0, SCHEDULE, batch["x0"], batch["eps"], batch["t"])
        weight = SCHEDULE.snr(batch["t"]).clamp(1, MAX_WEIGHT).to(each)
        return (weight * each).mean()

    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    return [Objective(loss, optimizer, max_grad_norm=1.0)]


def judged(preset: Preset, predict: VideoPredictor, protocol: judge.Protocol) -> dict[str, Metric]:
    """Its samples on held-out digits."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    found = judge.judge(predict, world(preset, "test"), protocol, generator=generator)
    return of_samples(found)


def evaluate(
    preset: Preset, maker: Maker, model: torch.nn.Module, config: CrossroadsTraining
) -> dict[str, Metric]:
    """Samples of the ancestral walk, judged in pixels."""
    found = judged(preset, maker(model), config.protocol)
    return {name: metric for name, metric in found.items() if "event" not in name}


def monitor(
    preset: Preset, maker: Maker, model: torch.nn.Module, _config: CrossroadsTraining
) -> dict[str, float]:
    """One point of the history."""
    found = judged(preset, maker(model), MONITORED)
    return {name: found[name].value for name in ("valid", "forbidden", "total_variation")}


def sheet(
    preset: Preset, maker: Maker, model: torch.nn.Module, _config: CrossroadsTraining
) -> Image.Image:
    """For one context of each cue four drawn futures."""
    held_out, generator = world(preset, "test"), torch.Generator().manual_seed(EXAM_SEED)
    cues = CUE_OF_DIGIT[held_out.digits.labels]
    rows = []
    for cue in cues.unique().tolist():
        index = int((cues == cue).nonzero()[0])
        context = held_out.futures(index, preset.arrivals[0]).context.expand(4, -1, -1, -1, -1)
        drawn = maker(model)(context, preset.horizon, generator=generator)
        rows.append(torch.cat([context, drawn], 1))
    return film(torch.cat(rows))


def recipe(
    name: str,
    sentence: str,
    preset: Preset,
    small: CrossroadsTraining,
    *,
    wide: Any,
    maker: Maker,
    **parts,
) -> Recipe:
    """A recipe of one preset; `wide` is the full network, `maker` draws with one."""
    return Recipe(
        name=name,
        sentence=sentence,
        data=f"crossroads {preset.name} at 32 pixels, digits of the train split",
        small=small,
        full=replace(
            small,
            model=wide,
            steps=20_000,
            batch_size=128,
            learning_rate=5e-4,
            ema_decay=0.9995,
            precision=None,
        ),
        objectives=objectives,
        evaluate=partial(evaluate, preset, maker),
        sheet=partial(sheet, preset, maker),
        criterion="total_variation",
        schedule=falling,
        monitor=partial(monitor, preset, maker),
        **parts,
    )


def network(preset: Preset) -> VideoDiTConfig:
    """The small network of a preset."""
    frames = preset.num_frames
    dit = DiTConfig(
        in_channels=frames, out_channels=preset.horizon, dim=144, depth=5, quick_start=True
    )
    return VideoDiTConfig(preset.context, preset.horizon, dit)


SMALL = CrossroadsTraining(
    model=network(BASE),
    steps=7200,
    batch_size=32,
    learning_rate=1.5e-3,
    ema_decay=0.998,
    every=900,
    precision="bf16-mixed",
    cycles=2,
)
SMALL_TWICE = replace(SMALL, model=network(TWICE), steps=2400, every=800, cycles=1)
WIDE = {"dim": 384, "depth": 12, "num_heads": 6, "quick_start": False}


def in_pixels(model: VideoDiT) -> VideoPredictor:
    """How its samples are drawn for the exam."""
    return predictor(model).predict


DIFFUSION = recipe(
    "crossroads_diffusion",
    "Diffusion at the crossroads",
    BASE,
    SMALL,
    wide=replace(SMALL.model, dit=replace(SMALL.model.dit, **WIDE)),
    maker=in_pixels,
    build=partial(build, BASE),
    draw=partial(draw, BASE),
)
DIFFUSION_TWICE = recipe(
    "crossroads_diffusion_twice",
    "Diffusion at the crossroads where the digit may come back",
    TWICE,
    SMALL_TWICE,
    wide=replace(SMALL_TWICE.model, dit=replace(SMALL_TWICE.model.dit, **WIDE)),
    maker=in_pixels,
    build=build_longer,
    draw=partial(draw, TWICE),
)

RECIPES = (DIFFUSION, DIFFUSION_TWICE)
