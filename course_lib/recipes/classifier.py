"""The reader of digits: it must read what somebody draws with a mouse, not only MNIST.

So it is trained on digits that are turned, sheared, scaled, shifted, drawn thinner or thicker and
with harder edges.
"""

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor

from course_lib.data.digits import load_digits
from course_lib.data.video import to_bytes, to_float
from course_lib.interfaces import Frames
from course_lib.models.classifier import DigitClassifier, DigitClassifierConfig
from course_lib.training.loop import Batch, Objective, warmup_cosine
from course_lib.training.recipe import Config, Metric, Recipe

MAX_TURN = math.radians(20)
MAX_SHEAR = 0.25
SCALES = (0.7, 1.2)
MAX_SHIFT = 4 / 14  # of half an edge: four pixels
THINNEST = -0.5  # of the way to a stroke one pixel thinner on either side
THICKEST = 1.0
HARDEST = 4.0  # factor of the contrast around grey
AUGMENT_SEED = 28


@cache
def digits(split: str) -> tuple[Float[Tensor, "N 1 28 28"], Int64[Tensor, "N"]]:
    """Images in [-1, 1] and labels of one split."""
    loaded = load_digits(split)
    return to_float(loaded.images)[:, None], loaded.labels


def augment(images: Frames, *, generator: torch.Generator | None = None) -> Frames:
    """Each digit as another hand with another pen would have drawn it."""
    turn, shear, scale, right, down, width, edge = torch.rand(7, len(images), generator=generator)
    turn, shear = MAX_TURN * (2 * turn - 1), MAX_SHEAR * (2 * shear - 1)
    scale = 1 / (SCALES[0] + (SCALES[1] - SCALES[0]) * scale)  # the map goes from new to old pixels
    rows = [
        [scale * turn.cos(), scale * (shear - turn.sin()), MAX_SHIFT * (2 * right - 1)],
        [scale * turn.sin(), scale * turn.cos(), MAX_SHIFT * (2 * down - 1)],
    ]
    maps = torch.stack([torch.stack(row, -1) for row in rows], 1)  # (B, 2, 3)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    moved = F.grid_sample(images + 1, grid, align_corners=False) - 1  # outside is paper
    width = (THINNEST + (THICKEST - THINNEST) * width)[:, None, None, None]
    thick = F.max_pool2d(moved, 3, stride=1, padding=1)
    thin = -F.max_pool2d(-moved, 3, stride=1, padding=1)
    stroked = torch.where(width > 0, moved.lerp(thick, width), moved.lerp(thin, -width))
    return (stroked * (1 + (HARDEST - 1) * edge)[:, None, None, None]).clamp(-1, 1)


def draw(config: Config, generator: torch.Generator) -> dict[str, Tensor]:
    """Digits of the train split, each drawn anew."""
    images, labels = digits("train")
    chosen = torch.randint(len(labels), (config.batch_size,), generator=generator)
    return {"images": augment(images[chosen], generator=generator), "labels": labels[chosen]}


def cross_entropy(model: torch.nn.Module, batch: Batch, _step: int) -> Tensor:
    """The negative log likelihood of the true label."""
    return F.cross_entropy(model(batch["images"]), batch["labels"])


def objectives(model: DigitClassifier, config: Config) -> list[Objective]:
    """Cross-entropy, AdamW."""
    return [
        Objective(cross_entropy, torch.optim.AdamW(model.parameters(), lr=config.learning_rate))
    ]


def redrawn_test_digits() -> tuple[Float[Tensor, "N 1 28 28"], Int64[Tensor, "N"]]:
    """The held-out digits as others would have drawn them, always the same."""
    images, labels = digits("test")
    return augment(images, generator=torch.Generator().manual_seed(AUGMENT_SEED)), labels


def accuracy(model: DigitClassifier, images: Frames, labels: Int64[Tensor, "N"]) -> Metric:
    """The share of digits read correctly."""
    device = next(model.parameters()).device
    parts = images.to(device).split(500)
    read = torch.cat([model(part).argmax(1).cpu() for part in parts])
    return Metric.of_share(int((read == labels).sum()), len(labels))


def evaluate(model: DigitClassifier, _config: Config) -> dict[str, Metric]:
    """Accuracy on held-out digits, as they are and redrawn."""
    return {
        "accuracy": accuracy(model, *digits("test")),
        "accuracy_redrawn": accuracy(model, *redrawn_test_digits()),
    }


def monitor(model: DigitClassifier, config: Config) -> dict[str, float]:
    """One point of the history."""
    return {name: metric.value for name, metric in evaluate(model, config).items()}


def sheet(model: DigitClassifier, _config: Config) -> Image.Image:
    """Redrawn held-out digits in the columns of the class they were read as."""
    images, _ = redrawn_test_digits()
    read = model(images.to(next(model.parameters()).device)).argmax(1).cpu()
    columns = []
    for digit in range(10):
        column = images[read == digit][:10, 0]
        missing = column.new_full((10 - len(column), *column.shape[1:]), -1)
        columns.append(torch.cat([column, missing]).flatten(0, 1))
    return Image.fromarray(np.ascontiguousarray(to_bytes(torch.cat(columns, 1)).numpy()), "L")


SMALL = Config(
    model=DigitClassifierConfig(),
    steps=1500,
    batch_size=64,
    learning_rate=3e-3,
    ema_decay=0.995,
    every=250,
)

CLASSIFIER = Recipe(
    name="digit_classifier",
    sentence="A small network that reads digits, also those drawn with a mouse",
    data="MNIST selection, train split, redrawn at random",
    small=SMALL,
    full=SMALL,
    build=DigitClassifier,
    objectives=objectives,
    draw=draw,
    evaluate=evaluate,
    sheet=sheet,
    criterion="accuracy_redrawn",
    higher_is_better=True,
    schedule=lambda config: warmup_cosine(config.steps, warmup=50),
    monitor=monitor,
)

RECIPES = (CLASSIFIER,)
