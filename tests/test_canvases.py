"""What a clip costs in pixels and in latents: counted without weights."""

from typing import cast

import pytest
import torch

from course_lib.evaluation.cost import multiply_accumulates
from course_lib.methods.diffusion import X0
from course_lib.methods.latent import LatentPredictor, LatentSpace
from course_lib.methods.predictor import DiffusionPredictor
from course_lib.models.autoencoder_kl import AutoencoderKL
from course_lib.models.dit import VideoDiT
from course_lib.models.latent_dit import LatentDiT
from course_lib.recipes import canvases
from course_lib.recipes.crossroads_diffusion import DIFFUSION, DIFFUSION_TWICE, SCHEDULE, predictor
from course_lib.recipes.crossroads_latents import CROSSROADS_LATENTS
from course_lib.recipes.latent_dit import LATENT, LATENT_TWICE


def test_a_drawn_clip_costs_its_steps_times_one_call():
    model = cast(VideoDiT, DIFFUSION_TWICE._build(DIFFUSION_TWICE.small).eval())
    drawn = predictor(model, num_steps=3).predict
    context = torch.zeros(1, 3, 1, 32, 32)
    once = canvases.one_call(DIFFUSION_TWICE.small.model)
    assert multiply_accumulates(lambda: drawn(context, 14)) == 3 * once
    assert canvases.drawing(32, 3)["pixels"] == 3 * once


def test_in_latents_every_frame_also_goes_through_the_autoencoder_once():
    network = LatentDiT(LATENT_TWICE.small.model)
    autoencoder = AutoencoderKL(CROSSROADS_LATENTS.small.model)
    space = LatentSpace(lambda frames: autoencoder.encode(frames).mean, autoencoder.decode)
    walk = DiffusionPredictor(network, X0, SCHEDULE, 14, num_steps=3, clip=None)
    drawn = LatentPredictor(walk.predict, space).predict
    costs = canvases.drawing(32, 3)
    whole = multiply_accumulates(lambda: drawn(torch.zeros(1, 3, 1, 32, 32), 14))
    assert whole == costs["latents"] + costs["autoencoder"]


def test_an_update_costs_three_calls_for_each_clip():
    small = LATENT.small
    updates = 3 * small.steps * small.batch_size
    assert canvases.training(LATENT) == updates * canvases.one_call(small.model)


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
