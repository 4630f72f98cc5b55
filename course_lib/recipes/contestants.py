"""Chapter 7: who is judged on the scoreboard, and how each goes on to fourteen frames.

Whoever adds a predictor adds a row; `scoreboard.py` then measures what is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from course_lib.data.crossroads import BASE, TWICE
from course_lib.data.futures import Futures
from course_lib.interfaces import VideoPredictor
from course_lib.methods.predictor import in_blocks
from course_lib.recipes.chapter0 import PREDICTOR
from course_lib.recipes.crossroads_diffusion import DIFFUSION_TWICE, in_pixels
from course_lib.recipes.crossroads_latents import CROSSROADS_LATENTS
from course_lib.recipes.latent_dit import LATENT_TWICE, in_latents
from course_lib.recipes.svg import SVG_LP
from course_lib.recipes.videogan_crossroads import CROSSROADS_GAN
from course_lib.recipes.vptr_blocks import NAR
from course_lib.recipes.vptr_crossroads import FAR
from course_lib.training.recipe import Recipe

Clips = Float[Tensor, "N H 1 S S"]


@dataclass(frozen=True)
class Contestant:
    """Who predicts; a reference knows the futures, a network sees the context alone."""

    title: str
    trained_on: str  # the preset, or "nothing"
    how: str = "all frames at once"  # a clip comes about
    knows: Callable[[Futures, int, torch.Generator], Clips] | None = None
    load: Callable[[], VideoPredictor] | None = None
    networks: tuple[Recipe, ...] = ()
    draws: bool = True  # False: one prediction for each context

    def predict(self, futures: Futures, number: int, generator: torch.Generator) -> Clips:
        """`number` futures of one context; of one who does not draw all are the same.

        Raises:
            ValueError: It can neither know nor predict.
        """
        asked = number if self.draws else 1
        if self.knows is not None:
            clips = self.knows(futures, asked, generator)
        elif self.load is not None:
            context = futures.context.expand(asked, -1, -1, -1, -1)
            clips = self.load()(context, futures.clips.shape[1], generator=generator)
        else:
            raise ValueError(f"{self.title} has nothing to predict with; permitted: knows or load")
        return clips.expand(number, -1, -1, -1, -1)


def reference(title: str, know: Callable[[Futures], Tensor]) -> Contestant:
    """One prediction that needs no training."""
    return Contestant(title, "nothing", knows=lambda f, _n, _g: know(f)[None], draws=False)


def network(title: str, recipe: Recipe, trained_on: str, **more: Any) -> Contestant:
    """The shipped network of a recipe; `made` turns it into a predictor."""
    made = more.pop("made", lambda model: model.predict)
    needs = more.pop("needs", ())
    load = cache(lambda: made(recipe.load()))
    return Contestant(title, trained_on, load=load, networks=(recipe, *needs), **more)


CONTESTANTS = {
    "truth": Contestant("true futures", "nothing", knows=lambda f, n, g: f.sample(n, generator=g)),
    "mean": reference("exact mean", lambda f: f.mean()),
    "likeliest": reference("likeliest future", lambda f: f.clips[f.probs.argmax()]),
    "copy_last": reference("last frame, again", lambda f: f.context[-1].expand_as(f.clips[0])),
    "empty_road": reference("empty road", lambda f: f.background.expand_as(f.clips[0])),
    "convlstm": network(
        "ConvLSTM (0)", PREDICTOR, BASE.name, how="frame by frame, on past the last", draws=False
    ),
    "svg_lp": network("SVG-LP (1)", SVG_LP, TWICE.name, how="frame by frame"),
    "videogan": network(
        "VideoGAN (2)",
        CROSSROADS_GAN,
        BASE.name,
        how="9 frames at once, then 5 from its last 3",
        made=lambda model: in_blocks(model.predict, BASE.horizon),
    ),
    "far": network("FAR (4)", FAR, BASE.name, how="frame by frame, its window slides", draws=False),
    "nar": network("NAR (4)", NAR, TWICE.name, how="blocks of 5 from its last 5", draws=False),
    "diffusion": network(
        "pixel diffusion (5)",
        DIFFUSION_TWICE,
        TWICE.name,
        made=in_pixels,
    ),
    "latent_dit": network(
        "latent DiT (7)",
        LATENT_TWICE,
        TWICE.name,
        made=in_latents,
        needs=(CROSSROADS_LATENTS,),
    ),
}
