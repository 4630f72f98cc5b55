"""Latent space: its scale, what is paid for it, and what forgetting it does."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from course_lib.methods import noise
from course_lib.methods.diffusion import X0
from course_lib.methods.latent import (
    LatentPredictor,
    LatentSpace,
    autoencoding_loss,
    closest_latent,
    measured_scale,
)
from course_lib.methods.predictor import DiffusionPredictor
from course_lib.nn.gaussian import DiagonalGaussian


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


# Each latent is five times one of the four pixels under it, moved by 2: a spread of 5.
LOSSY = LatentSpace(
    lambda x: 5 * x[..., ::2, ::2] + 2, lambda z: F.interpolate((z - 2) / 5, scale_factor=2)
)


def test_the_scale_is_one_over_the_deviation_of_all_numbers_together():
    latents = torch.cat([draw(50, 2, 8, 8) * 3, draw(50, 2, 8, 8, seed=1) + 7], 1)
    values = latents.flatten().tolist()
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    assert measured_scale(latents) == pytest.approx(variance**-0.5, rel=1e-12)


def test_a_measured_space_has_deviation_1_and_keeps_its_middle_where_it_was():
    video = draw(3, 5, 2, 8, 8)
    space = LOSSY.measured(video)
    assert space.scale == pytest.approx(0.2, rel=0.1)
    latents = space.encode(video)
    assert latents.shape == (3, 5, 2, 4, 4)
    assert latents.std().item() == pytest.approx(1, abs=1e-9)
    torch.testing.assert_close(latents / space.scale, LOSSY.encode(video))


def test_measuring_again_changes_nothing():
    video = draw(3, 5, 2, 8, 8)
    space = LOSSY.measured(video)
    assert space.measured(video).scale == pytest.approx(space.scale, rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 0.18215, 3.0])
def test_the_scale_is_taken_off_again_before_decoding(scale):
    blocky = draw(2, 3, 1, 4, 4).repeat_interleave(2, -1).repeat_interleave(2, -2)
    space = replace(LOSSY, scale=scale)
    torch.testing.assert_close(space.decode(space.encode(blocky)), blocky)


def test_frames_and_clips_are_coded_alike():
    video, space = draw(2, 3, 1, 8, 8), replace(LOSSY, scale=0.3)
    for b in range(2):
        for t in range(3):
            torch.testing.assert_close(space.encode(video[b, t]), space.encode(video)[b, t])
    torch.testing.assert_close(
        space.decode(space.encode(video[0])), space.decode(space.encode(video))[0]
    )


class LastAgain:
    """Repeats the last latent it was given, a little larger."""

    def __call__(self, context, horizon, *, generator=None):
        self.seen = context
        return context[:, -1:].expand(-1, horizon, -1, -1, -1) + 0.1


def test_the_predictor_lives_in_scaled_latents_and_answers_in_pixels():
    video, inner = draw(2, 3, 1, 8, 8), LastAgain()
    space = LOSSY.measured(video)
    future = LatentPredictor(inner, space).predict(video, 4)
    assert inner.seen.std().item() == pytest.approx(1, abs=1e-9)
    assert future.shape == (2, 4, 1, 8, 8)
    kept = video[:, -1:, :, ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(future, (kept + 0.1 / space.scale / 5).expand(-1, 4, -1, -1, -1))


def gaussian_futures(space, sd):
    """A diffusion predictor that is exact where a latent is N(0, sd^2), and its samples' spread."""
    schedule = noise.cosine(100)

    def network(x_t, t, context):
        alpha_bar = schedule.alpha_bar(t).view(-1, 1, 1, 1, 1)
        return alpha_bar.sqrt() * sd**2 / (alpha_bar * sd**2 + 1 - alpha_bar) * x_t

    inner = DiffusionPredictor(network, X0, schedule, 2, num_steps=100, eta=0.0, clip=None)
    predictor = LatentPredictor(inner.predict, space)
    drawn = predictor.predict(
        torch.zeros(200, 1, 1, 8, 8).double(), 2, generator=torch.Generator().manual_seed(0)
    )
    return drawn.std().item()


def test_diffusion_in_latents_without_clipping_and_what_forgetting_the_scale_does():
    """Pixels of deviation 1 have latents of deviation 5, and scaled ones of 1."""
    plain = replace(
        LOSSY,
        encoder=lambda x: 5 * x[..., ::2, ::2],
        decoder=lambda z: F.interpolate(z / 5, scale_factor=2),
    )
    space = replace(plain, scale=0.2)
    assert gaussian_futures(space, sd=1.0) == pytest.approx(1, abs=0.05)
    assert gaussian_futures(plain, sd=1.0) == pytest.approx(0.2, abs=0.01)  # not taken off


def test_the_loss_adds_squared_errors_and_nats_for_each_pixel_value():
    x, x_hat = draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1)
    q = DiagonalGaussian(draw(2, 2, 2, 2, seed=2), draw(2, 2, 2, 2, seed=3))
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(q.mean, q.logvar.exp().sqrt()),
        torch.distributions.Normal(0.0, 1.0),
    )
    for weight in (0.0, 1e-6, 0.5):
        expected = [
            F.mse_loss(x_hat[i], x[i]) + weight * theirs[i].sum() / (3 * 4 * 4) for i in range(2)
        ]
        found = autoencoding_loss(x_hat, x, q, kl_weight=weight)
        torch.testing.assert_close(found, torch.stack(expected))
    at_default = autoencoding_loss(x_hat, x, q)
    torch.testing.assert_close(at_default, autoencoding_loss(x_hat, x, q, kl_weight=1e-6))


def test_descent_finds_the_nearest_decoding_which_the_encoder_missed():
    """For a linear decoder the nearest is the mean of the four pixels; the encoder takes one."""
    frames = draw(3, 1, 4, 4)
    decoder = LOSSY.decoder
    start = LOSSY.encoder(frames)
    with torch.no_grad():  # descent has gradients of its own
        found = closest_latent(decoder, frames, start, num_steps=300, learning_rate=0.2)
    torch.testing.assert_close(
        decoder(found)[..., ::2, ::2], F.avg_pool2d(frames, 2), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(start, LOSSY.encoder(frames), atol=0, rtol=0)


def test_descent_is_never_worse_than_its_start():
    frames = draw(3, 1, 4, 4)
    start = 5 * F.avg_pool2d(frames, 2) + 2  # already the nearest
    found = closest_latent(LOSSY.decoder, frames, start, num_steps=3, learning_rate=10.0)
    torch.testing.assert_close(found, start)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: measured_scale(torch.ones(2, 1, 2, 2)),
            "standard deviation is 0.0; permitted: above 0",
        ),
        (lambda: replace(LOSSY, scale=0.0), "scale is 0.0; permitted: above 0"),
    ],
)
def test_a_wrong_call_is_told_what_is_permitted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
