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
from collections.abc import Iterator
from functools import partial

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from course_lib.data.crossroads import CUE_OF_DIGIT, TWICE, Crossroads
from course_lib.data.futures import Futures
from course_lib.evaluation import cost
from course_lib.evaluation import futures as judge
from course_lib.recipes import canvases
from course_lib.recipes.chapter0 import ratio
from course_lib.recipes.contestants import CONTESTANTS, Contestant
from course_lib.recipes.crossroads_diffusion import EXAM_SEED, world
from course_lib.recipes.film import film, read_film
from course_lib.training.measurement import Measurement
from course_lib.training.recipe import Metric

PROTOCOL = judge.Protocol(contexts_per_cue=12, num_samples=50)
SHOWN = 4  # whose answers are drawn
JUDGED = ("valid", "forbidden", "total_variation", "energy_score")


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


def answers() -> Image.Image:
    """A true future of a 4, and one prediction by each network, context in front."""
    held_out = world(TWICE, "test")
    futures = held_out.futures(held_out.digits.labels.tolist().index(SHOWN), TWICE.arrivals[1])
    generator = torch.Generator().manual_seed(EXAM_SEED)
    rows = [futures.clips[0]] + [each.predict(futures, 1, generator)[0] for each in networks()]
    return film(torch.stack([torch.cat([futures.context, row]) for row in rows]))


def networks() -> list[Contestant]:
    """Those that were trained."""
    return [each for each in CONTESTANTS.values() if each.load is not None]


def read_answers() -> dict[str, Float[Tensor, "T 1 S S"]]:
    """The stored sheet, clip by clip."""
    with Image.open(SCOREBOARD.sheet("answers")) as image:
        clips = read_film(image, TWICE.num_frames)
    titles = ["a true future", *(each.title for each in networks())]
    return dict(zip(titles, clips, strict=True))


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
    sheets={"answers": answers},
    asks={"canvases": (), **{name: each.networks for name, each in CONTESTANTS.items()}},
    notes={
        key: {name: getattr(contestant, key) for name, contestant in CONTESTANTS.items()}
        for key in ("title", "trained_on", "how")
    },
)

RECIPES = (SCOREBOARD,)
