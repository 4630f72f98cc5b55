"""Chapter 2: what becomes of the two-stream VAE-GAN when one thing is changed.

Members that start from the main model go on for a few hundred updates; the others begin anew. Each
ships its results and its sheet. `PURE` is the paper's GAN, warm-started; `SCRATCH` the same without
a warm start. `ZEROS` is what a public port does at its last commit: its loader never writes the
frames into the batch.
"""

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from course_lib.models.videogan import VideoGAN, VideoGANConfig
from course_lib.recipes.chapter0 import ratio
from course_lib.recipes.scenes import held_out
from course_lib.recipes.videogan import SMALL, SceneGAN, draw, main_model, recipe
from course_lib.recipes.videogan_exam import (
    EXAMINED,
    code_gaussian,
    codes,
    evaluate,
    flicker_of,
    generate,
    of_reconstructions,
    plain_clips,
    prior,
)
from course_lib.training.recipe import Metric


def from_main(config: VideoGANConfig) -> VideoGAN:
    """The players of the main recipe, to go on from."""
    model = VideoGAN(config)
    model.load_state_dict(main_model().state_dict())
    return model


def evaluate_one_stream(model: VideoGAN, config: SceneGAN) -> dict[str, Metric]:
    """As all of them; and the flicker of the main model, over its own on the same clips."""
    scenes, strata = held_out(config.preset), torch.zeros(EXAMINED, dtype=torch.int64)
    flickers = {"reconstruction": [], "samples": []}
    for each in (main_model(), model):
        rebuilt = generate(each, codes(each, scenes.video))
        flickers["reconstruction"].append(flicker_of(rebuilt, scenes.mask).double())
        flickers["samples"].append(flicker_of(generate(each, prior(each, EXAMINED))).double())
    return {
        **evaluate(model, config),
        **{f"ratio_{name}": ratio(two, one, strata) for name, (two, one) in flickers.items()},
    }


ONE_STREAM = recipe(
    "videogan_one_stream",
    "The same VAE-GAN with one stream of equal size",
    replace(SMALL, model=replace(SMALL.model, streams=1, foreground_dims=(104, 52, 26))),
    evaluate=evaluate_one_stream,
    criterion="error",
    higher_is_better=False,
    exact_sheet=True,
)

LATER = replace(SMALL, steps=400, learning_rate=3e-4, kl_ramp=1, prior_from=0, every=100)
PENALTIES = {
    weight: recipe(
        f"videogan_penalty_{number}",
        f"The main model, going on with a mask penalty of weight {weight:g}",
        replace(LATER, mask_weight=weight),
        build=from_main,
    )
    for number, weight in enumerate((0.0, 0.1, 1.0, 10.0, 100.0))
}


def draw_codes(config: SceneGAN, generator: torch.Generator) -> dict[str, Tensor]:
    """Codes from the Gaussian of the main model's, whose encoder stays as it is."""
    batch = draw(config, generator)
    mean, root = _main_codes()
    return {**batch, "z": mean + batch["z"] @ root.T}


@cache
def _main_codes() -> tuple[Tensor, Tensor]:
    return code_gaussian(main_model(), plain_clips())


PURE = recipe(
    "videogan_pure",
    "The main model's generator, going on as a pure GAN",
    replace(
        LATER, steps=4000, reconstruction=0.0, adversary_from=80, discriminator_rate=4e-4, r1=0.1
    ),
    draw=draw_codes,
    build=from_main,
    criterion="iou_samples",
)

ALONE = replace(
    SMALL, model=replace(SMALL.model, encoder_dims=()), reconstruction=0.0, every=100, steps=1500
)
SCRATCH = recipe(
    "videogan_scratch",
    "The pure GAN without a warm start",
    replace(ALONE, discriminator_rate=4e-4, r1=0.1),
)
RUNAWAY = recipe(
    "videogan_runaway",
    "A pure GAN whose discriminator is fast and not held back",
    replace(ALONE, steps=300, every=25, discriminator_rate=2e-3, r1=0.0),
)


def draw_zeros(config: SceneGAN, generator: torch.Generator) -> dict[str, Tensor]:
    """A batch into which nobody wrote the frames."""
    batch = draw(config, generator)
    return {**batch, "video": torch.zeros_like(batch["video"])}


ZEROS = recipe(
    "videogan_zeros",
    "A pure GAN whose batches hold zeros, as in a public port",
    replace(ALONE, steps=300, every=25, discriminator_rate=4e-4, r1=0.1),
    draw=draw_zeros,
)
KL_AT_ONCE = recipe(
    "videogan_kl_at_once",
    "The VAE-GAN with the KL at ten times its weight from the first update on",
    replace(SMALL, steps=800, every=100, kl=0.1, kl_ramp=1),
)


def evaluate_hard(model: VideoGAN, config: SceneGAN) -> dict[str, Metric]:
    """Reconstructions alone: the detector knows plain scenes only."""
    measured = of_reconstructions(model, config.preset, EXAMINED)
    return {name: measured[name] for name in ("error", "iou_reconstruction", "iou_chance")}


NO_PENALTY = recipe(
    "videogan_no_penalty",
    "The VAE-GAN without a mask penalty from its first update on",
    replace(SMALL, steps=800, every=100, mask_weight=0.0),
)
HARD = recipe(
    "videogan_hard",
    "The two-stream VAE-GAN on digits before textures",
    replace(SMALL, preset="hard", steps=1600),
    evaluate=evaluate_hard,
    monitor=None,
    criterion="iou_reconstruction",
)

RECIPES = (
    ONE_STREAM,
    *PENALTIES.values(),
    PURE,
    SCRATCH,
    RUNAWAY,
    ZEROS,
    KL_AT_ONCE,
    NO_PENALTY,
    HARD,
)
