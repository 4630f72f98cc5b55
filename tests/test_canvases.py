"""What a clip costs in pixels and in latents: counted without weights."""

from typing import cast

import pytest
import torch

from course_lib.evaluation.cost import multiply_accumulates
from course_lib.models.dit import VideoDiT
from course_lib.recipes import canvases
from course_lib.recipes.crossroads_diffusion import DIFFUSION, DIFFUSION_TWICE, predictor
from course_lib.recipes.latent_dit import LATENT, LATENT_TWICE


def test_a_drawn_clip_costs_its_steps_times_one_call():
    model = cast(VideoDiT, DIFFUSION_TWICE._build(DIFFUSION_TWICE.small).eval())
    drawn = predictor(model, num_steps=3).predict
    context = torch.zeros(1, 3, 1, 32, 32)
    once = canvases.one_call(DIFFUSION_TWICE.small.model)
    assert multiply_accumulates(lambda: drawn(context, 14)) == 3 * once
    assert canvases.drawing(32, 3)["pixels"] == 3 * once


def test_both_canvases_are_trained_at_equal_compute():
    for pixels, latents in ((DIFFUSION, LATENT), (DIFFUSION_TWICE, LATENT_TWICE)):
        assert canvases.training(latents) == pytest.approx(canvases.training(pixels), rel=0.03)


def test_convolutions_grow_with_the_pixels_and_attention_faster():
    small, large = canvases.drawing(32), canvases.drawing(64)
    assert large["autoencoder"] == 4 * small["autoencoder"]
    for walk in ("pixels", "latents"):
        assert 4 * small[walk] < large[walk] < 8 * small[walk]


def test_the_counts_are_named_and_in_millions(monkeypatch):
    monkeypatch.setattr(canvases, "SIZES", (32,))
    found = canvases.counted()
    assert found["draw_pixels_32"].value == canvases.drawing(32)["pixels"] / 1e6
    assert found["train_latent_dit"].value == canvases.training(LATENT) / 1e12
    assert len(found) == 3 + 4
