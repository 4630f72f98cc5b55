"""Chapter 0: the same ConvLSTM on the real street, where nobody knows the mean.

Five frames in, ten out, squared error. Its error is compared with that of repeating the last frame,
its sharpness with the truth's: the further ahead it looks, the less it draws.
"""

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from course_lib.data.pedestrians import cut_clip, load_pedestrians, load_strip
from course_lib.data.video import mosaic, split, to_panel
from course_lib.evaluation.frames import mse, sharpness
from course_lib.models.convlstm import ConvLSTM, ConvLSTMConfig
from course_lib.recipes.chapter0 import objectives, ratio
from course_lib.training.loop import warmup_cosine
from course_lib.training.recipe import Config, Metric, Recipe

CONTEXT, HORIZON = 5, 10  # frames, a tenth of a second each
CROP = 64  # pixels a side


def draw(config: Config, generator: torch.Generator) -> dict[str, Tensor]:
    """Clips from any time and place of the training frames, half of them mirrored."""
    strip = load_strip("train")
    last = torch.tensor([len(strip) - CONTEXT - HORIZON, strip.shape[-1] - CROP, 1])
    chance = torch.rand(config.batch_size, 3, generator=generator)
    clips = []
    for start, left, mirrored in (chance * (last + 1)).long().tolist():
        clip = cut_clip(strip, start, left, CONTEXT + HORIZON)
        clips.append(clip.flip(-1) if mirrored else clip)
    context, future = split(torch.stack(clips), CONTEXT)
    return {"context": context, "future": future}


def predict(
    model: ConvLSTM,
) -> tuple[Float[Tensor, "N T 1 S S"], Float[Tensor, "N H 1 S S"], Float[Tensor, "N H 1 S S"]]:
    """Context, truth and prediction of every held-out clip in which somebody walks."""
    context, truth = split(load_pedestrians("test", CONTEXT + HORIZON), CONTEXT)
    device = next(model.parameters()).device
    with torch.no_grad():
        return context, truth, model.predict(context.to(device), HORIZON).float().cpu()


def evaluate(model: ConvLSTM, _config: Config) -> dict[str, Metric]:
    """Error relative to repeating the last frame, sharpness relative to the truth."""
    context, truth, predicted = predict(model)
    repeated = context[:, -1:].expand_as(truth)
    error, still = mse(predicted, truth).double(), mse(repeated, truth).double()
    sharp, true_sharp = sharpness(predicted).double(), sharpness(truth).double()
    one_stratum = torch.zeros(len(truth), dtype=torch.int64)
    return {
        "error_to_repeating": ratio(error.mean(1), still.mean(1), one_stratum),
        "sharpness_first": ratio(sharp[:, 0], true_sharp[:, 0], one_stratum),
        "sharpness_last": ratio(sharp[:, -1], true_sharp[:, -1], one_stratum),
    }


def sheet(model: ConvLSTM, _config: Config) -> Image.Image:
    """Six held-out clips: the last seen frame, then truth above prediction for every second one."""
    context, truth, predicted = predict(model)
    rows = torch.stack([truth, predicted], 1)[:6, :, ::2].flatten(0, 1)  # (12, 5, 1, 64, 64)
    seen = context[:6, -1:].repeat_interleave(2, 0)
    frames = torch.cat([seen, rows], 1).flatten(0, 1)[:, None]  # (72, 1, 1, 64, 64)
    return Image.fromarray(to_panel(mosaic(frames, columns=6))[0])


SMALL = Config(
    model=ConvLSTMConfig(size=CROP, patch_size=4, dims=(32,)),
    steps=1500,
    batch_size=8,
    learning_rate=3e-3,
    ema_decay=0.99,
    every=250,
)

STREET = Recipe(
    name="street_predictor",
    sentence="The same ConvLSTM on real pedestrians, ten frames ahead",
    data="pedestrians, frames 0-599, random 64x64 crops",
    small=SMALL,
    full=Config(
        model=ConvLSTMConfig(size=CROP, patch_size=4, dims=(96, 96)),
        steps=10_000,
        batch_size=32,
        learning_rate=3e-3,
        every=1000,
    ),
    build=ConvLSTM,
    objectives=objectives,
    draw=draw,
    evaluate=evaluate,
    sheet=sheet,
    criterion="error_to_repeating",
    schedule=lambda config: warmup_cosine(config.steps, 50),
)

RECIPES = (STREET,)
