"""Chapter 7: every predictor of the course at the crossroads where the digit may come back.

All see the same contexts of held-out digits and draw as often. Names of metrics end in the
predictor's:

    valid, forbidden, total_variation, energy_score    as in course_lib/evaluation/futures.py
    excess            of the mean of its draws: |mean - m|^2 / MMSE on the frames from the turn on,
                      both summed over the contexts, as in chapter 0; m is the exact mean
    mega_macs         millions of multiply-accumulates for one clip, all steps of a walk together
    ms_one, ms_many   milliseconds for one clip, alone and as one of many contexts: one thread, one
                      run for all

    floor_*           what a perfect sampler is expected to score, for it draws only so many
    draw_*, train_*   what clips and trainings cost in pixels and in latents: see canvases.py

Who was trained where the digit never comes back has never seen frames as late as those that are
asked for: `notes` in the results says so, and how such a predictor goes on.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from course_lib.data.crossroads import BASE, CUE_OF_DIGIT, TWICE, Crossroads
from course_lib.data.futures import Futures
from course_lib.evaluation import cost
from course_lib.evaluation import futures as judge
from course_lib.interfaces import VideoPredictor
from course_lib.methods.predictor import in_blocks
from course_lib.recipes import canvases
from course_lib.recipes.chapter0 import PREDICTOR, ratio
from course_lib.recipes.crossroads_diffusion import DIFFUSION_TWICE, EXAM_SEED, in_pixels, world
from course_lib.recipes.crossroads_latents import CROSSROADS_LATENTS
from course_lib.recipes.latent_dit import LATENT_TWICE, in_latents
from course_lib.recipes.svg import SVG_LP
from course_lib.recipes.videogan_crossroads import CROSSROADS_GAN
from course_lib.recipes.vptr_blocks import NAR
from course_lib.recipes.vptr_crossroads import FAR
from course_lib.training.measurement import Measurement
from course_lib.training.recipe import Metric, Recipe

PROTOCOL = judge.Protocol(contexts_per_cue=12, num_samples=50)
JUDGED = ("valid", "forbidden", "total_variation", "energy_score")

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


def contexts(world: Crossroads, protocol: judge.Protocol) -> Iterator[tuple[Futures, int]]:
    """What may follow each context, and its cue; the same for all predictors."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    for index, arrival in judge.draw_contexts(world, protocol, generator=generator):
        futures = world.futures(index, arrival, include_impossible=True)
        yield futures, int(CUE_OF_DIGIT[world.digits.labels[index]])


def score(
    contestant: Contestant, world: Crossroads, protocol: judge.Protocol
) -> tuple[judge.Judgement, Metric]:
    """All its draws judged, and the excess of their means."""
    generator = torch.Generator().manual_seed(EXAM_SEED + 1)
    scores, above, below, cues = [], [], [], []
    for futures, cue in contexts(world, protocol):
        clips = contestant.predict(futures, protocol.num_samples, generator)
        scores.append(judge.score_context(clips, futures, cue))
        least = futures.mmse()[futures.turn_step :].sum()
        below.append(least)
        above.append(judge.excess(clips.mean(0), futures) * least)
        cues.append(cue)
    return judge.summarise(scores), ratio(
        torch.stack(above), torch.stack(below), torch.tensor(cues)
    )


def part(name: str, protocol: judge.Protocol = PROTOCOL) -> dict[str, Metric]:
    """Everything but the cost of one predictor."""
    judgement, excess = score(CONTESTANTS[name], world(TWICE, "test"), protocol)
    estimates = {key: getattr(judgement, key) for key in JUDGED}
    found = {f"{key}_{name}": Metric(e.mean, e.low, e.high) for key, e in estimates.items()}
    found[f"excess_{name}"] = excess
    if name == "truth":
        floors = {
            "total_variation": judgement.total_variation_floor,
            "energy_score": judgement.energy_score_floor,
            # The mean of n independent draws scatters around m with an n-th of their variance.
            "excess": 1 / protocol.num_samples,
        }
        found |= {f"floor_{key}": Metric(value, value, value) for key, value in floors.items()}
    return found


def costs(many: int = PROTOCOL.num_samples) -> dict[str, Metric]:
    """Of a clip from each network, one after the other."""
    futures, _ = next(contexts(world(TWICE, "test"), judge.Protocol(1, 1)))
    generator = torch.Generator().manual_seed(EXAM_SEED)
    found = {}
    for name, contestant in CONTESTANTS.items():
        if contestant.load is not None:
            one, all_ = (
                partial(contestant.load(), seen, TWICE.horizon, generator=generator)
                for seen in (futures.context.expand(n, -1, -1, -1, -1) for n in (1, many))
            )
            values = {
                "mega_macs": cost.multiply_accumulates(one) / 1e6,
                "ms_one": 1000 * cost.seconds(one, repeats=5),
                "ms_many": 1000 * cost.seconds(all_, repeats=1) / many,
            }
            found |= {f"{key}_{name}": Metric(v, v, v) for key, v in values.items()}
    return found


def read() -> dict[str, dict[str, tuple[float, float, float]]]:
    """The results: predictor -> metric -> value and interval; the first row are the floors."""
    metrics = json.loads(SCOREBOARD.results.read_text(encoding="utf-8"))["metrics"]
    keys = (*JUDGED, "excess", "mega_macs", "ms_one", "ms_many")
    ends = ("value", "low", "high")
    return {
        name: {
            key: tuple(metrics[full][end] for end in ends)
            for key in keys
            if (full := f"floor_{key}" if name == "floor" else f"{key}_{name}") in metrics
        }
        for name in ("floor", *CONTESTANTS)
    }


ALL = tuple(dict.fromkeys(recipe for c in CONTESTANTS.values() for recipe in c.networks))
SCOREBOARD = Measurement(
    name="scoreboard",
    sentence="Every predictor of the course so far, judged where the digit may come back",
    networks=ALL,
    config={
        "preset": TWICE.name,
        "contexts": 5 * PROTOCOL.contexts_per_cue,
        "num_samples": PROTOCOL.num_samples,
    },
    parts={
        "canvases": canvases.counted,
        **{name: partial(part, name) for name in CONTESTANTS},
        "costs": costs,
    },
    asks={"canvases": (), **{name: each.networks for name, each in CONTESTANTS.items()}},
    notes={
        key: {name: getattr(contestant, key) for name, contestant in CONTESTANTS.items()}
        for key in ("title", "trained_on", "how")
    },
)

RECIPES = (SCOREBOARD,)
