import math

import pytest
import torch
import torch.nn.functional as F

from course_lib.methods.gan import (
    discriminator_loss,
    generator_loss,
    mask_penalty,
    minimax_generator_loss,
    optimal_discriminator,
    r1_penalty,
)

REAL = torch.tensor([0.3, -1.2, 2.5], dtype=torch.float64)
FAKE = torch.tensor([-0.7, 0.4], dtype=torch.float64)


def probability(logit):
    return 1 / (1 + math.exp(-logit))


def test_a_discriminator_that_knows_nothing_pays_two_ln_2():
    zeros = torch.zeros(5, dtype=torch.float64)
    assert discriminator_loss(zeros, zeros[:3]).item() == pytest.approx(2 * math.log(2), abs=1e-12)
    assert generator_loss(zeros).item() == pytest.approx(math.log(2), abs=1e-12)
    assert minimax_generator_loss(zeros).item() == pytest.approx(-math.log(2), abs=1e-12)


def test_the_losses_are_mean_logarithms_of_probabilities():
    real = -sum(math.log(probability(x)) for x in REAL.tolist()) / 3
    fake = -sum(math.log(1 - probability(x)) for x in FAKE.tolist()) / 2
    fooled = -sum(math.log(probability(x)) for x in FAKE.tolist()) / 2
    assert discriminator_loss(REAL, FAKE).item() == pytest.approx(real + fake, abs=1e-12)
    assert minimax_generator_loss(FAKE).item() == pytest.approx(-fake, abs=1e-12)
    assert generator_loss(FAKE).item() == pytest.approx(fooled, abs=1e-12)


def test_two_classes_and_a_softmax_are_the_sigmoid_of_the_difference():
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 6, 2, generator=generator, dtype=torch.float64)
    two_class = F.cross_entropy(real, torch.ones(6, dtype=torch.long))
    two_class = two_class + F.cross_entropy(fake, torch.zeros(6, dtype=torch.long))
    ours = discriminator_loss(real[:, 1] - real[:, 0], fake[:, 1] - fake[:, 0])
    torch.testing.assert_close(ours, two_class, rtol=0, atol=1e-12)


def test_the_minimax_game_is_zero_sum_and_the_non_saturating_game_is_not():
    certain = torch.full((1,), 1e9, dtype=torch.float64)  # leaves only the fake half
    slopes = {}
    for name, loss in (("minimax", minimax_generator_loss), ("own", generator_loss)):
        fake = FAKE.clone().requires_grad_()
        total = discriminator_loss(certain, fake) + loss(fake)
        (slopes[name],) = torch.autograd.grad(total, fake)
        slopes[f"{name} total"] = total.item()
    assert slopes["minimax total"] == pytest.approx(0, abs=1e-12)
    assert slopes["minimax"].abs().max() < 1e-12
    assert slopes["own total"] > 1
    assert slopes["own"].abs().min() > 0.01


def test_the_saturating_gradient_dies_where_the_other_is_largest():
    for logit in (-30.0, -8.0, -1.0, 0.0, 3.0):
        x = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
        (dying,) = torch.autograd.grad(minimax_generator_loss(x), x)
        (alive,) = torch.autograd.grad(generator_loss(x), x)
        assert dying.item() == pytest.approx(-probability(logit), rel=1e-9)
        assert alive.item() == pytest.approx(-probability(-logit), rel=1e-9)


def test_huge_logits_give_finite_losses_and_gradients():
    for size in (1e3, 1e30):
        real = torch.tensor([size, -size], requires_grad=True)
        fake = torch.tensor([-size, size], requires_grad=True)
        losses = (
            discriminator_loss(real, fake),
            generator_loss(fake),
            minimax_generator_loss(fake),
        )
        assert [abs(loss.item()) for loss in losses] == pytest.approx([size, size / 2, size / 2])
        sum(losses).backward()
        assert real.grad.tolist() == pytest.approx([0, -0.5])
        assert fake.grad.isfinite().all()


def test_no_other_probability_pays_less_than_p_over_p_plus_q():
    densities = torch.tensor([[0.3, 0.1], [0.02, 0.5], [0.4, 0.4]], dtype=torch.float64)
    for p, q in densities:
        best = optimal_discriminator(p, q).item()
        grid = [k / 2000 for k in range(1, 2000)]
        cost = {d: -p.item() * math.log(d) - q.item() * math.log(1 - d) for d in grid}
        assert best == pytest.approx(min(grid, key=cost.__getitem__), abs=1 / 2000)


def test_r1_of_a_plane_is_its_squared_slope_wherever_the_data_lie():
    slope = torch.tensor([3.0, -4.0], dtype=torch.float64)
    real = torch.randn(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert r1_penalty(lambda x: x @ slope + 5, real).item() == pytest.approx(25, abs=1e-12)


def test_r1_of_a_bowl_is_a_mean_over_examples_and_teaches_the_discriminator():
    steepness = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    real = torch.tensor([[[1.0, 2.0]], [[0.0, -3.0]]], dtype=torch.float64)
    penalty = r1_penalty(lambda x: steepness * x.square().flatten(1).sum(1), real)
    mean_square = (5 + 9) / 2  # of the distance from 0; the slope is 2 a x
    assert penalty.item() == pytest.approx(4 * 1.5**2 * mean_square, abs=1e-12)
    penalty.backward()
    assert steepness.grad.item() == pytest.approx(8 * 1.5 * mean_square, abs=1e-12)
    assert not real.requires_grad


def test_the_mask_penalty_is_a_mean_over_every_value():
    mask = torch.zeros(2, 3, 1, 4, 5, dtype=torch.float64)
    mask[0, 0, 0, 0] = 0.8
    assert mask_penalty(mask).item() == pytest.approx(0.8 * 5 / 120, abs=1e-12)
    assert mask_penalty(torch.ones(1, 2, 1, 3, 3)).item() == 1
