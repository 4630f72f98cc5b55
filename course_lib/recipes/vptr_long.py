"""Chapter 4: predictions far past the trained horizon, in blocks and with a window that slides."""

from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image

from course_lib import paths
from course_lib.models.vptr import Rollout
from course_lib.recipes.chapter0 import ratio
from course_lib.recipes.film import film, read_film
from course_lib.recipes.vptr_exam import (
    CONTEXT,
    HORIZON,
    LONG,
    Continuations,
    Exam,
    errors,
    make_exam,
    predict,
)
from course_lib.training.recipe import Metric, Recipe

EXAMINED_LONG = 48  # clips
SHOWN_LONG = 3
RECURSIONS = {"pixels": Rollout(), "latents": Rollout(through_pixels=False)}
BLOCKS = {
    f"block_{block:02d}_overlap_{overlap:02d}": Rollout(block=block, overlap=overlap)
    for block in (1, 5, HORIZON)
    for overlap in (1, 5, CONTEXT)
}


def over_time(prediction: Continuations, exam: Exam, name: str) -> dict[str, Metric]:
    """The error over the mean image's, of every step."""
    least = errors(exam.opponents()["mean_image"], exam)
    clips = torch.zeros(len(least), dtype=torch.int64)
    columns = zip(errors(prediction, exam).unbind(1), least.unbind(1), strict=True)
    return {
        f"{name}_step_{step:02d}": ratio(mine, theirs, clips)
        for step, (mine, theirs) in enumerate(columns, start=1)
    }


def long_film(model: Any, config: Any, *, rollouts: Mapping[str, Rollout]) -> Image.Image:
    """The truth, then each rollout's prediction, of a few clips far past the horizon."""
    exam = make_exam(config.size, LONG, SHOWN_LONG)
    rows = [predict(model, exam, rollout=rollout) for rollout in rollouts.values()]
    return film(torch.stack([exam.future, *rows]).flatten(0, 1))


def read_long_film(recipe: Recipe) -> dict[str, Continuations]:
    """What `long_film` drew: "truth" and each rollout's clips (B, H, 1, S, S)."""
    with Image.open(paths.SHEETS / f"{recipe.name}.webp") as image:
        clips = read_film(image, LONG).unflatten(0, (-1, SHOWN_LONG))
    names = BLOCKS if recipe.name == "vptr_nar" else RECURSIONS
    return dict(zip(("truth", *names), clips, strict=True))
