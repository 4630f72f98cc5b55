"""Chapter 2: the detector, and what a video GAN is asked about on scenes with a known truth."""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from course_lib.data.scenes import Scenes, draw_scenes
from course_lib.evaluation.masks import Mask, iou
from course_lib.interfaces import Video
from course_lib.models.detector import Detector, DetectorConfig
from course_lib.recipes.film import film
from course_lib.training.loop import Batch, Objective, warmup_cosine
from course_lib.training.recipe import Config, Metric, Recipe

EXAMINED = 400  # held-out clips, and as many samples
EXAM_SEED = 2016
SMALLEST = 16  # pixels of a frame from which a sprite counts as found: half the smallest diamond


@cache
def held_out(preset: str, num_clips: int = EXAMINED) -> Scenes:
    """The clips that every network of the chapter is asked about."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    return draw_scenes(num_clips, preset=preset, split="test", generator=generator)


# The detector.


@dataclass(frozen=True)
class SceneConfig(Config):
    """The numbers of a training, and which scenes."""

    preset: str = "plain"


def draw(config: SceneConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """Single frames with their true masks."""
    scenes = draw_scenes(config.batch_size, preset=config.preset, generator=generator)
    frame = torch.randint(scenes.video.shape[1], (config.batch_size,), generator=generator)
    rows = torch.arange(config.batch_size)
    return {"frames": scenes.video[rows, frame], "masks": scenes.mask[rows, frame].float()}


def objectives(model: Detector, config: SceneConfig) -> list[Objective]:
    """Cross-entropy of every pixel, AdamW."""

    def loss(model: torch.nn.Module, batch: Batch, _step: int) -> Tensor:
        return F.binary_cross_entropy_with_logits(model(batch["frames"]), batch["masks"])

    return [Objective(loss, torch.optim.AdamW(model.parameters(), lr=config.learning_rate))]


def evaluate(model: Detector, config: SceneConfig) -> dict[str, Metric]:
    """Intersection over union on held-out clips: the ceiling of what it can say about others."""
    scenes = held_out(config.preset)
    found = find(model, scenes.video)
    return {"iou": Metric.of_mean(iou(found, scenes.mask)), "detection": detection_rate(found)}


def find(model: Detector, video: Video) -> Mask:
    """Where the detector sees a sprite."""
    device = next(model.parameters()).device
    return torch.cat([model.find(part.to(device)).cpu() for part in video.split(50)])


def detection_rate(found: Mask) -> Metric:
    """The share of frames in which something of a sprite's size was found."""
    return Metric.of_mean((found.flatten(2).sum(2) >= SMALLEST).float().mean(1))


def sheet(model: Detector, config: SceneConfig) -> Image.Image:
    """Six held-out clips above what was found in them."""
    video = held_out(config.preset).video[:6]
    found = find(model, video).expand_as(video) * 2.0 - 1
    return film(torch.stack([video, found], 1).flatten(0, 1))


DETECTOR_CONFIG = SceneConfig(
    model=DetectorConfig(),
    steps=1000,
    batch_size=32,
    learning_rate=4e-3,
    ema_decay=0.99,
    every=250,
)
DETECTOR = Recipe(
    name="scene_detector",
    sentence="A network that finds the sprite in one frame, the witness for generated clips",
    data="plain scenes",
    small=DETECTOR_CONFIG,
    full=DETECTOR_CONFIG,
    build=Detector,
    objectives=objectives,
    draw=draw,
    evaluate=evaluate,
    sheet=sheet,
    criterion="iou",
    higher_is_better=True,
    schedule=lambda config: warmup_cosine(config.steps, min(50, config.steps // 10)),
)


@cache
def detector() -> Detector:
    """The shipped detector."""
    model = DETECTOR.load()
    if not isinstance(model, Detector):
        raise TypeError(f"{DETECTOR.path} holds a {type(model).__name__}; permitted: Detector")
    return model


RECIPES = (DETECTOR,)
