"""The table of eta and steps: equal starts in every cell, and what the cells measure."""

import torch

from course_lib.methods.ddim import uniform_timesteps
from course_lib.methods.diffusion import EPS, denoiser
from course_lib.recipes import digit_knob as knob
from course_lib.recipes.digit_diffusion import SCHEDULE


def shrinking(label):
    """A denoiser that sees noise everywhere, more of it in higher classes."""
    return denoiser(lambda x, t: x * (0.5 + label[:, None, None, None] / 20), EPS, SCHEDULE)


def test_fewer_starts_are_the_first_of_more():
    assert torch.equal(knob.starts(3), knob.starts(7)[:3])


def test_a_walk_in_batches_keeps_every_start_and_class():
    x_T, label = knob.starts(120), torch.arange(120) % 10
    timesteps = uniform_timesteps(1000, 4)
    whole = knob.walk(shrinking, x_T, label, timesteps)
    assert whole.shape == x_T.shape
    torch.testing.assert_close(
        knob.walk(shrinking, x_T[60:61], label[60:61], timesteps), whole[60:61]
    )


def test_the_same_noise_is_drawn_in_every_cell():
    x_T, label = knob.starts(5), torch.arange(5)
    first = knob.walk(shrinking, x_T, label, [600, 300], eta=1.0)
    again = knob.walk(shrinking, x_T, label, [600, 300], eta=1.0)
    calm = knob.walk(shrinking, x_T, label, [600, 300])
    assert torch.equal(first, again)
    assert (first - calm).abs().max() > 0.1


def test_the_table_has_every_cell_once():
    parts = knob.KNOB.parts
    assert {f"{eta}_{steps}" for eta in knob.ETAS for steps in knob.STEPS} <= {*parts}
    assert {"quadratic_10", "trailing_50", "real", "diversity_hat", "guided_4"} <= {*parts}
    assert "quadratic_100" not in parts


def test_real_digits_lie_near_the_held_out_ones():
    found = knob.real()
    assert found["read_real"].value > 0.99
    assert found["frechet_real"].value < found["small_frechet_real"].value
    assert found["coverage_real"].value > found["small_coverage_real"].value
