"""A recipe small enough for tests: a line fitted to noisy points, with every kind of state."""

from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import nn

from course_lib.training.loop import Objective, warmup_cosine
from course_lib.training.recipe import Config, Metric, Recipe


@dataclass(frozen=True)
class LineConfig:
    dim: int = 4
    dropout: float = 0.1


class Line(nn.Module):
    """Two layers with dropout and a buffer, so that a forgotten piece of state shows."""

    def __init__(self, config: LineConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(config.dim, 8), nn.Tanh(), nn.Dropout(config.dropout), nn.Linear(8, 1)
        )
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        return self.layers(x)


def objectives(model, config):
    return [
        Objective(
            line_loss,
            torch.optim.AdamW(model.parameters(), lr=config.learning_rate),
            max_grad_norm=1.0,
        )
    ]


def line_loss(model, batch, _step):
    model.seen += 1
    error = model(batch["x"]) - batch["y"]
    return error.square().mean(), {"absolute": error.abs().mean()}


def draw(config, generator):
    x = torch.randn(config.batch_size, config.model.dim, generator=generator)
    noise = torch.randn(config.batch_size, 1, generator=generator)
    return {"x": x, "y": x.sum(1, keepdim=True) + 0.1 * noise}


def evaluate(model, config):
    x = torch.randn(256, config.model.dim, generator=torch.Generator().manual_seed(99))
    errors = (model(x) - x.sum(1, keepdim=True)).square()
    mean, half = float(errors.mean()), float(1.96 * errors.std() / 16)
    return {"mse": Metric(mean, mean - half, mean + half)}


def sheet(model, _config):
    weights = model.layers[0].weight.detach()
    return Image.fromarray(((weights.clamp(-1, 1) + 1) * 127).to(torch.uint8).numpy(), "L")


def monitor(model, config):
    return {"mse": evaluate(model, config)["mse"].value}


SMALL = Config(
    model=LineConfig(), steps=12, batch_size=8, learning_rate=0.01, ema_decay=0.9, every=5
)

LINE = Recipe(
    name="line",
    sentence="A line through noisy points",
    data="standard normal points",
    small=SMALL,
    full=replace(SMALL, model=LineConfig(dim=6)),
    build=Line,
    objectives=objectives,
    draw=draw,
    evaluate=evaluate,
    sheet=sheet,
    criterion="mse",
    schedule=lambda config: warmup_cosine(config.steps, warmup=3),
    monitor=monitor,
)

RECIPES = (LINE,)
