"""Digits from noise: what is drawn for training, how samples are measured, and what shipped."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from course_lib import paths
from course_lib.evaluation.distributions import coverage
from course_lib.methods import noise
from course_lib.methods.diffusion import EPS, TARGETS, V
from course_lib.models.dit import DiT, DiTConfig
from course_lib.recipes import digit_diffusion as recipe
from course_lib.recipes.digit_diffusion import DIGITS, MEMBERS, SMALL, framed_digits

TINY = replace(
    SMALL,
    model=DiTConfig(num_classes=10, dim=16, depth=1, num_heads=2, patch_size=8, quick_start=True),
    batch_size=8,
    num_samples=30,
)


def tiny(seed=0):
    """An untrained network, a little off the zero that it starts with."""
    torch.manual_seed(seed)
    model = DiT(TINY.model).eval()
    with torch.no_grad():
        model.final.to_patches.weight.normal_(std=0.1)
        model.final.modulation.weight.normal_(std=0.1)
    return model


def test_a_frame_of_paper_is_put_around_each_digit_and_taken_off_again():
    images, labels = framed_digits("test")
    assert images.shape == (1500, 1, 32, 32)
    assert len(labels) == 1500
    edge = torch.ones(32, 32, dtype=torch.bool)
    edge[2:-2, 2:-2] = False
    assert (images[:, 0, edge] == -1).all()
    assert recipe.crop(images).shape[-2:] == (28, 28)
    assert recipe.crop(images).max() > 0.9


def test_a_batch_depends_on_its_generator_and_hides_a_tenth_of_the_labels():
    config = replace(TINY, batch_size=4000)
    batch = recipe.draw(config, torch.Generator().manual_seed(1))
    again = recipe.draw(config, torch.Generator().manual_seed(1))
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    hidden = (batch["label"] == 10).double().mean().item()
    assert abs(hidden - 0.1) < 4 * (0.09 / 4000) ** 0.5
    assert batch["t"].min() < 5
    assert batch["t"].max() > 994
    assert abs(batch["eps"].std().item() - 1) < 0.01


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_loss_of_a_silent_network_is_the_power_of_its_target(target):
    batch = recipe.draw(TINY, torch.Generator().manual_seed(2))
    model = DiT(TINY.model)  # answers 0
    (objective,) = recipe.objectives(target, model, TINY)
    expected = target.mix(recipe.SCHEDULE, batch["x0"], batch["eps"], batch["t"]).square().mean()
    found = objective.loss(model, batch, 0)
    assert isinstance(found, torch.Tensor)
    torch.testing.assert_close(found, expected)


def test_the_learning_rate_rises_stays_and_falls_in_a_line():
    factor = recipe.flat_then_linear(replace(TINY, steps=1000, flat=400))
    assert factor(0) == pytest.approx(0.01)
    assert factor(100) == factor(400) == 1
    assert factor(700) == pytest.approx(0.5)
    assert factor(999) == pytest.approx(1 / 600)


def test_real_digits_measure_as_real_and_noise_does_not():
    images, labels = framed_digits("train")
    found = recipe.of_samples(images[:600], labels[:600])
    assert found["read"].value > 0.99
    assert found["coverage"].value > 0.7
    drawn = torch.randn(600, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    bad = recipe.of_samples(drawn, labels[:600])
    assert bad["coverage"].value < 0.01
    assert bad["frechet"].low > 20 * found["frechet"].high
    assert bad["read_ratio"].value < 0.2


def test_errors_by_level_are_those_of_the_formula():
    model, level = tiny(), 300
    (errors,) = recipe.errors_by_level(model, V, torch.tensor([level]), per_level=20)
    images, labels = (x[:20] for x in framed_digits("test"))
    eps = torch.randn(images.shape, generator=torch.Generator().manual_seed(recipe.EXAM_SEED))
    alpha_bar = noise.linear().alphas_cumprod[level].float()
    x_t = alpha_bar.sqrt() * images + (1 - alpha_bar).sqrt() * eps
    with torch.no_grad():
        v = model(x_t, torch.full((20,), level), labels)
    x0_hat = alpha_bar.sqrt() * x_t - (1 - alpha_bar).sqrt() * v
    torch.testing.assert_close(errors, (x0_hat - images).square().mean((1, 2, 3)))


def test_samples_repeat_with_their_generator_and_follow_their_class():
    model = tiny()
    draw = partial(recipe.sample, model, num_steps=3)
    label = recipe.classes(12)
    assert label.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    first = draw(label, generator=torch.Generator().manual_seed(5))
    again = draw(label, generator=torch.Generator().manual_seed(5))
    other = draw(label.flip(0), generator=torch.Generator().manual_seed(5))
    assert torch.equal(first, again)
    assert first.abs().max() <= 1
    assert (first - other).abs().max() > 1e-3


def test_a_training_is_measured_and_drawn():
    metrics = recipe.evaluate(EPS, tiny(), TINY)
    assert {"read", "read_ratio", "coverage", "frechet", "x0_error_0", "x0_error_999"} <= {*metrics}
    assert recipe.sheet(EPS, tiny(), TINY).size == (340, 340)


def test_the_full_network_is_plain_dit_s_2():
    model = DIGITS.full.model
    assert (model.dim, model.depth, model.num_heads, model.patch_size) == (384, 12, 6, 2)
    assert not model.quick_start


def metrics(name):
    """What a recipe wrote."""
    file = paths.RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8"))["metrics"]


def test_the_shipped_digits_are_read_and_cover_the_real_ones():
    found = metrics("digit_diffusion")
    assert found["read_ratio"]["value"] >= 0.95
    images, _ = framed_digits("train")
    real, held_out = (recipe.features(x) for x in (images[:1500], framed_digits("test")[0]))
    assert found["coverage"]["value"] >= 0.8 * coverage(held_out, real).double().mean().item()


def test_the_four_members_were_trained_alike():
    configs = [
        json.loads(member.results.read_text(encoding="utf-8"))["config"]
        for member in MEMBERS.values()
    ]
    assert len(configs) == 4
    assert all(config == configs[0] for config in configs)
