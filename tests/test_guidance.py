import math

import pytest
import torch

from course_lib.data.toy import GaussianMixture
from course_lib.methods.ddim import ddim_steps, last, uniform_timesteps
from course_lib.methods.diffusion import Denoised, exact_denoiser
from course_lib.methods.guidance import guide, guided
from course_lib.methods.noise import linear

SCHEDULE = linear(200, 1e-3, 0.1)


def gaussian(mean):
    return GaussianMixture(
        weights=torch.ones(1, dtype=torch.float64),
        means=torch.tensor([mean], dtype=torch.float64),
        sigmas=torch.ones(1, dtype=torch.float64),
    )


def asked(mean):
    return exact_denoiser(gaussian(mean).denoise, SCHEDULE)


def points():
    return torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_scale_counts_from_no_class_to_the_class_and_beyond():
    with_class, without = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 2.0])
    assert guide(with_class, without, 0.0).tolist() == [1, 2]
    assert guide(with_class, without, 0.5).tolist() == [2, 1.5]
    assert guide(with_class, without, 1.0).tolist() == [3, 1]
    assert guide(with_class, without, 3.0).tolist() == [7, -1]


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.5])
def test_guiding_between_gaussians_of_one_width_asks_for_a_gaussian_farther_out(scale):
    """Their optimal noise is a straight line in the mean, so the guided one is known."""
    denoise = guided(asked([1.0, -0.5]), asked([0.0, 0.0]), scale)
    x_t = points()
    for level in (0, 60, 199):
        t = torch.full((5,), level)
        found, alpha_bar = denoise(x_t, t), SCHEDULE.alphas_cumprod[level].item()
        far = math.sqrt(alpha_bar) * scale * torch.tensor([1.0, -0.5], dtype=torch.float64)
        torch.testing.assert_close(found.eps_hat, math.sqrt(1 - alpha_bar) * (x_t - far))
        joined = math.sqrt(alpha_bar) * found.x0_hat + math.sqrt(1 - alpha_bar) * found.eps_hat
        torch.testing.assert_close(joined, x_t)


def test_a_guided_walk_ends_around_the_mean_that_was_pushed_outwards():
    walk = uniform_timesteps(200, 100)
    ends = [
        last(ddim_steps(guided(asked([1.0, 0.0]), asked([0.0, 0.0]), s), SCHEDULE, points(), walk))
        for s in (0.0, 3.0)
    ]
    for end, mean in zip(ends, (0, 3), strict=True):
        # The path moves every start by the same amount: the mean, less what x_T still holds of it.
        moved = (end - ends[0]).mean(0)
        assert moved[0].item() == pytest.approx(mean, abs=0.03 * mean + 1e-12)
        assert moved[1].item() == pytest.approx(0, abs=1e-12)


def test_without_guidance_the_network_is_asked_once():
    def never(x_t, t) -> Denoised:
        raise AssertionError

    conditional = asked([1.0, 0.0])
    assert guided(conditional, never, 1.0) is conditional


@pytest.mark.parametrize("scale", [-0.1, math.nan])
def test_a_scale_below_zero_is_refused(scale):
    conditional = asked([1.0, 0.0])
    with pytest.raises(ValueError, match=rf"guidance_scale is {scale}; permitted: 0 and more"):
        guided(conditional, conditional, scale)
