"""What chapters 3 and 4 ship: networks give the numbers and films that stand beside them."""

import json
from dataclasses import replace

import pytest
import torch

from course_lib.models.vptr import Rollout
from course_lib.recipes.vptr import FAR, FAR_8, NAR, PAR
from course_lib.recipes.vptr_exam import LONG, errors, make_exam, predict
from course_lib.recipes.vptr_long import BLOCKS, RECURSIONS, SHOWN_LONG, read_long_film


def metrics(recipe):
    return json.loads(recipe.results.read_text(encoding="utf-8"))["metrics"]


def first_frames(exam, number):
    return replace(exam, future=exam.future[:, :number], corner=exam.corner[:, :number])


@pytest.mark.parametrize("recipe", [FAR, FAR_8, PAR], ids=lambda recipe: recipe.name)
@torch.no_grad()
def test_a_network_gives_the_error_that_was_written_down(recipe):
    exam = first_frames(make_exam(), 2)
    found = errors(predict(recipe.load(), exam), exam).mean(0)
    written = [metrics(recipe)[f"mse_step_{step:02d}"]["value"] for step in (1, 2)]
    assert found.tolist() == pytest.approx(written, rel=1e-3)


@torch.no_grad()
def test_nar_gives_the_error_of_all_its_frames():
    exam = make_exam()
    found = errors(predict(NAR.load(), exam), exam).mean().item()
    assert found == pytest.approx(metrics(NAR)["mse"]["value"], rel=1e-3)


@pytest.mark.parametrize(("recipe", "names"), [(FAR, RECURSIONS), (NAR, BLOCKS)])
@torch.no_grad()
def test_a_film_far_past_the_horizon_is_the_network_s(recipe, names):
    film, exam = read_long_film(recipe), make_exam(horizon=LONG, num_clips=SHOWN_LONG)
    assert list(film) == ["truth", *names]
    assert torch.allclose(film["truth"], exam.future, atol=0.005)
    few, (name, rollout) = first_frames(exam, 3), next(iter(names.items()))
    drawn = predict(recipe.load(), few, rollout=rollout).clamp(-1, 1)
    assert torch.allclose(film[name][:, :3], drawn, atol=0.02)


@torch.no_grad()
def test_latents_and_pixels_begin_alike_and_part():
    exam, model = first_frames(make_exam(num_clips=4), 3), FAR.load()
    pixels, latents = (
        predict(model, exam, rollout=Rollout(through_pixels=p)) for p in (True, False)
    )
    assert torch.equal(pixels[:, 0], latents[:, 0])
    assert (pixels[:, 2] - latents[:, 2]).abs().max() > 0.01
