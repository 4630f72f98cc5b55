"""Chapter 2: the conditional VideoGAN on scenes: which stream takes which role?

The paper holds the first frame alone. That frame is still, and so is the background: nothing keeps
the sprite out of it. `ALL_FRAMES` asks every frame back, of two given ones: that brings the motion,
and not the roles.
"""

from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from course_lib.data.scenes import Scenes
from course_lib.evaluation.masks import iou
from course_lib.models.videogan import Composition
from course_lib.models.videogan_conditional import ConditionalVideoGAN
from course_lib.recipes import videogan_crossroads as conditional
from course_lib.recipes.adversary import GANTraining, flat_then_linear
from course_lib.recipes.scenes import detection_rate, detector, find, held_out
from course_lib.recipes.videogan import SMALL, draw
from course_lib.recipes.videogan_exam import (
    EXAMINED,
    SHOWN_CLIPS,
    SHOWN_SAMPLES,
    masks_of,
    parts_sheet,
)
from course_lib.training.recipe import Metric, Recipe


def draw_clips(config: GANTraining, generator: torch.Generator) -> dict[str, Tensor]:
    """Plain scenes for a conditional generator, which has no z."""
    scenes = draw(replace(SMALL, batch_size=config.batch_size), generator)
    return {"video": scenes["video"], "z": torch.zeros(config.batch_size, 0)}


def continued(model: ConditionalVideoGAN, num: int) -> tuple[Scenes, Composition]:
    """Held-out clips, and what the network makes of their first frames."""
    scenes = held_out("plain", num)
    return scenes, model.generate(scenes.video[:, : model.config.context], torch.zeros(num, 0))


def evaluate_roles(model: ConditionalVideoGAN, _config: GANTraining) -> dict[str, Metric]:
    """Where the sprite is: in the clip, in the still background; and the first frame's mask."""
    scenes, drawn = continued(model, EXAMINED)
    if drawn.background is None:
        raise ValueError("a generator of one stream has no background; permitted: two streams")
    return {
        "detection": detection_rate(find(detector(), drawn.video)),
        "detection_background": detection_rate(find(detector(), drawn.background[:, None])),
        "iou_first": Metric.of_mean(iou(masks_of(drawn)[:, :1], scenes.mask[:, :1])),
        "iou": Metric.of_mean(iou(masks_of(drawn), scenes.mask)),
    }


def roles_sheet(model: ConditionalVideoGAN, _config: GANTraining) -> Image.Image:
    """Held-out clips, continued, in the layout of all sheets of the chapter."""
    scenes, drawn = continued(model, SHOWN_SAMPLES)
    first = Composition(**{name: part[:SHOWN_CLIPS] for name, part in vars(drawn).items()})
    return parts_sheet(scenes.video[:SHOWN_CLIPS], first, drawn)


def conditional_recipe(name: str, sentence: str, small: GANTraining) -> Recipe:
    """A conditional VideoGAN on scenes."""
    return Recipe(
        name=name,
        sentence=sentence,
        data="plain scenes",
        small=small,
        full=replace(small, steps=10 * small.steps, batch_size=64),
        build=ConditionalVideoGAN,
        objectives=conditional.players,
        draw=draw_clips,
        evaluate=evaluate_roles,
        sheet=roles_sheet,
        criterion="iou",
        higher_is_better=True,
        ships_weights=False,
        schedule=flat_then_linear,
    )


FIRST_FRAME_CONFIG = GANTraining(
    model=replace(
        conditional.SMALL.model,
        num_frames=8,
        channels=3,
        latent_dim=0,
        start_frames=2,
        context=1,
    ),
    steps=1000,
    batch_size=16,
    learning_rate=5e-4,
    ema_decay=0.99,
    every=250,
    discriminator_rate=4e-4,
)
FIRST_FRAME = conditional_recipe(
    "videogan_first_frame",
    "The conditional VideoGAN, held to the first frame alone: the streams may swap their roles",
    FIRST_FRAME_CONFIG,
)
ALL_FRAMES_CONFIG = replace(
    FIRST_FRAME_CONFIG,
    model=replace(FIRST_FRAME_CONFIG.model, context=2),
    adversary_from=2 * FIRST_FRAME_CONFIG.steps,  # it never comes
)
ALL_FRAMES = conditional_recipe(
    "videogan_all_frames",
    "The same with two frames given, and every frame of the clip asked back",
    ALL_FRAMES_CONFIG,
)

RECIPES = (FIRST_FRAME, ALL_FRAMES)
