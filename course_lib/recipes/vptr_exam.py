"""How predictors of Moving MNIST, ten frames after ten, are judged in chapters 3 and 4.

Every error is the mean over pixels in [0, 1], per frame, on digits that no training has seen. The
opponents that learn nothing are the last frame, a black one, and the mean image, which is the best
of all constant frames. Beside the error stand

    read    the share of digits that the classifier of chapter 0 still reads at their true place
    unsteady    how much the picture changes from frame to frame beyond the best shift of it, as a
            share of its ink: 0 where one shape moves by whole pixels
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from course_lib.data.digits import load_digits
from course_lib.data.moving_mnist import SIDES, MovingMNIST
from course_lib.data.video import split
from course_lib.evaluation.frames import mse
from course_lib.recipes.chapter0 import ratio
from course_lib.recipes.classifier import CLASSIFIER
from course_lib.training.recipe import Metric

CONTEXT, HORIZON = 10, 10  # frames
LONG = 40  # frames, far past the trained horizon
EXAM_SEED = 20262
EXAMINED = 200  # clips
REACH = 4  # pixels, the largest shift between two frames
NUM_DIGITS = {32: 1, 64: 2}  # pixels of a frame's edge: digits of a clip

Continuations = Float[Tensor, "B H 1 S S"]


@dataclass(frozen=True, eq=False)
class Exam:
    """Clips of held-out digits with the one future that happens, and what is true of them."""

    context: Float[Tensor, "B T 1 S S"]
    future: Continuations
    corner: Int64[Tensor, "B H 2"]  # pixels, (x, y) of the digit's upper left corner
    label: Int64[Tensor, "B"]
    mean_image: Float[Tensor, "1 S S"]  # of training clips

    def opponents(self) -> dict[str, Continuations]:
        """The predictions of those who learn nothing."""
        return {
            "mean_image": self.mean_image.expand_as(self.future),
            "copy_last": self.context[:, -1:].expand_as(self.future),
            "black": torch.full_like(self.future, -1),
        }


@cache
def world(split_name: str, size: int = 32, num_frames: int = CONTEXT + HORIZON) -> MovingMNIST:
    """Moving MNIST with the digits of one split: one digit at 32 pixels, two at 64."""
    digits = load_digits(split_name)
    return MovingMNIST(digits, num_digits=NUM_DIGITS[size], num_frames=num_frames, size=size)


@cache
def make_exam(size: int = 32, horizon: int = HORIZON, num_clips: int = EXAMINED) -> Exam:
    """The exam; equal arguments give equal clips, and a longer one begins as a shorter."""
    held_out = world("test", size, CONTEXT + horizon)
    clips = held_out.sample(num_clips, generator=torch.Generator().manual_seed(EXAM_SEED))
    seen = world("train", size).sample(400, generator=torch.Generator().manual_seed(EXAM_SEED))
    return Exam(
        *split(clips.video, CONTEXT),
        corner=clips.positions[:, CONTEXT:, 0].round().long(),
        label=held_out.digits.labels[clips.index[:, 0]],
        mean_image=seen.video.mean((0, 1)),
    )


def predict(model: Any, exam: Exam, **how) -> Continuations:
    """The model's prediction of every clip, on the CPU."""
    device = next(model.parameters()).device
    horizon = exam.future.shape[1]
    parts = exam.context.to(device).split(25)
    return torch.cat([model.predict(part, horizon, **how).float().cpu() for part in parts])


def errors(prediction: Continuations, exam: Exam) -> Float64[Tensor, "B H"]:
    """Mean squared error of every frame, pixels in [0, 1]."""
    return mse(prediction.clamp(-1, 1), exam.future).double() / 4


def crops(prediction: Continuations, corner: Int64[Tensor, "B H 2"]) -> Float[Tensor, "B H 1 s s"]:
    """What is drawn where the digit truly is."""
    side = SIDES[prediction.shape[-1]]
    columns, rows = (corner[..., None] + torch.arange(side)).unbind(2)  # (B, H, side) each
    clip = torch.arange(len(prediction))[:, None, None, None]
    frame = torch.arange(prediction.shape[1])[:, None, None]
    return prediction[clip, frame, 0, rows[..., :, None], columns[..., None, :]][:, :, None]


@torch.no_grad()
def is_read(prediction: Continuations, exam: Exam) -> Bool[Tensor, "B H"]:
    """Whether the classifier reads the true digit at its true place."""
    digits = F.interpolate(crops(prediction, exam.corner).flatten(0, 1), size=28, mode="bilinear")
    read = CLASSIFIER.load()(digits).argmax(1).unflatten(0, prediction.shape[:2])
    return read == exam.label[:, None]


def unsteadiness(prediction: Continuations) -> Float[Tensor, "B _"]:
    """Of each pair of neighbouring frames: squared change beyond the best shift, over the ink."""
    ink = (prediction[:, :, 0].clamp(-1, 1) + 1) / 2  # (B, H, S, S)
    size = ink.shape[-1]
    before = F.pad(ink[:, :-1], (REACH,) * 4)
    shifts = [(x, y) for x in range(2 * REACH + 1) for y in range(2 * REACH + 1)]
    change = torch.stack(
        [
            (before[..., y : y + size, x : x + size] - ink[:, 1:]).square().sum((-2, -1))
            for x, y in shifts
        ]
    ).amin(0)
    return change / ink[:, :-1].square().sum((-2, -1)).clamp_min(1)


def examine(prediction: Continuations, exam: Exam, prefix: str = "") -> dict[str, Metric]:
    """Error, error over the mean image's, digits read, unsteadiness; of every step and of all."""
    found = errors(prediction, exam)
    least = errors(exam.opponents()["mean_image"], exam)
    read = is_read(prediction, exam)
    clips = torch.zeros(len(found), dtype=torch.int64)  # one stratum
    metrics = {
        "mse": Metric.of_mean(found.mean(1)),
        "over_mean_image": ratio(found.mean(1), least.mean(1), clips),
        "unsteady": Metric.of_mean(unsteadiness(prediction).mean(1)),
    }
    for step in range(found.shape[1]):
        here = f"step_{step + 1:02d}"
        metrics[f"mse_{here}"] = Metric.of_mean(found[:, step])
        metrics[f"over_mean_image_{here}"] = ratio(found[:, step], least[:, step], clips)
        metrics[f"read_{here}"] = Metric.of_share(int(read[:, step].sum()), len(read))
    return {prefix + name: metric for name, metric in metrics.items()}


def quick_look(model: Any, size: int) -> dict[str, float]:
    """A point of the history: error over the mean image's on a quarter of the clips."""
    exam = make_exam(size, num_clips=EXAMINED // 4)
    found = errors(predict(model, exam), exam).mean(0)
    least = errors(exam.opponents()["mean_image"], exam).mean(0)
    whole = float(found.mean() / least.mean())
    first, last = ((found / least)[step].item() for step in (0, -1))
    return {"over_mean_image": whole, "first": first, "last": last}
