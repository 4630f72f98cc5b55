from dataclasses import replace

import pytest
import torch
from torch import nn

from course_lib.interfaces import VideoPredictor
from course_lib.models.videogan_conditional import ConditionalConfig, ConditionalVideoGAN

TINY = ConditionalConfig(
    size=16,
    num_frames=4,
    channels=2,
    latent_dim=3,
    foreground_dims=(6, 5),
    background_dims=(6, 5),
    discriminator_dims=(3, 3),
    context=2,
    context_dims=(4, 6),
)


def tiny(config=TINY):
    generator, model = torch.Generator().manual_seed(0), ConditionalVideoGAN(config).double()
    with torch.no_grad():
        for weight in model.parameters():
            drawn = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            weight.copy_(0.3 * drawn)
    return model.eval()


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


CONTEXT = draw(3, 2, 2, 16, 16, seed=9)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_published_network_has_its_sizes():
    with torch.device("meta"):
        model = ConditionalVideoGAN(ConditionalConfig())
        drawn = model.generate(torch.randn(2, 1, 3, 64, 64), torch.randn(2, 0))
        logits = model.discriminator(drawn.video)
    counts = {
        name: sum(weight.numel() for weight in part.parameters())
        for name, part in model.named_children()
    }
    # The official code has 256 fewer: its first convolution goes without BatchNorm.
    assert counts["encoder"] + counts["generator"] == 68_216_455 + 256
    assert counts["discriminator"] == 44_135_810
    assert drawn.video.shape == (2, 32, 3, 64, 64)
    assert drawn.background.shape == (2, 3, 64, 64)
    assert logits.shape == (2,)


def test_the_published_layers_are_those_of_the_official_code():
    with torch.device("meta"):
        model = ConditionalVideoGAN(ConditionalConfig())
    shapes = {
        name: [tuple(layer.weight.shape) for layer in part.modules() if hasattr(layer, "stride")]
        for name, part in (
            ("encoder", model.encoder),
            ("background", model.generator.background),
            ("trunk", model.generator.foreground.trunk),
            ("discriminator", model.discriminator),
        )
    }
    assert shapes == {
        "encoder": [(128, 3, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4), (1024, 512, 4, 4)],
        "background": [(1024, 512, 4, 4), (512, 256, 4, 4), (256, 128, 4, 4), (128, 3, 4, 4)],
        "trunk": [
            *((1024, 1024, 2, 1, 1), (1024, 512, 4, 4, 4)),
            *((512, 256, 4, 4, 4), (256, 128, 4, 4, 4)),
        ],
        "discriminator": [
            *((128, 3, 4, 4, 4), (256, 128, 4, 4, 4), (512, 256, 4, 4, 4)),
            *((1024, 512, 4, 4, 4), (2, 1024, 2, 4, 4)),
        ],
    }


def test_the_whole_clip_is_drawn_the_given_frames_included():
    drawn = tiny().generate(CONTEXT, draw(3, 3))
    assert drawn.video.shape == (3, 4, 2, 16, 16)
    assert drawn.mask.shape == (3, 4, 1, 16, 16)
    assert drawn.background.shape == (3, 2, 16, 16)


def test_both_streams_start_from_the_encoded_frames_beside_the_noise():
    model, z = tiny(), draw(3, 3)
    h = model.encoder(torch.cat([CONTEXT[:, 0], CONTEXT[:, 1]], 1))
    assert h.shape == (3, 6, 4, 4)
    noise = torch.stack([torch.stack([z] * 4, -1)] * 4, -1)
    code = torch.cat([h, noise], 1)
    drawn = model.generate(CONTEXT, z)
    torch.testing.assert_close(drawn.background, model.generator.background(code))
    foreground, mask = model.generator.foreground(code)
    torch.testing.assert_close(drawn.foreground, foreground)
    torch.testing.assert_close(drawn.mask, mask)


def test_every_given_frame_and_every_number_of_z_reaches_every_frame_of_its_own_clip_alone():
    model = tiny()
    context, z = CONTEXT.clone().requires_grad_(), draw(3, 3).requires_grad_()
    video = model.generate(context, z).video
    for frame in video[1]:
        of_context, of_z = torch.autograd.grad(
            frame.square().sum(), (context, z), retain_graph=True
        )
        assert (of_context[1].abs().amax((1, 2, 3)) > 0).all()
        assert (of_z[1].abs() > 0).all()
        assert of_context[[0, 2]].abs().max() == 0
        assert of_z[[0, 2]].abs().max() == 0


def test_it_predicts_as_every_video_predictor_does():
    model = tiny()
    assert isinstance(model.predict, VideoPredictor)
    before = torch.get_rng_state()
    future = model.predict(CONTEXT, 2, generator=seeded())
    again, other = (model.predict(CONTEXT, 2, generator=seeded(seed)) for seed in (0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert future.shape == (3, 2, 2, 16, 16)
    assert torch.equal(future, again)
    assert not torch.equal(future, other)
    assert torch.equal(model.predict(CONTEXT, 1, generator=seeded()), future[:, :1])


def test_a_prediction_is_what_follows_the_given_frames_at_a_standard_normal_z():
    model = tiny()
    z = torch.randn(3, 3, generator=seeded(4)).double()
    drawn = model.generate(CONTEXT, z).video
    assert torch.equal(model.predict(CONTEXT, 2, generator=seeded(4)), drawn[:, 2:])


def test_without_z_there_is_one_future():
    model = tiny(replace(TINY, latent_dim=0))
    first, other = (model.predict(CONTEXT, 2, generator=seeded(seed)) for seed in (0, 1))
    assert torch.equal(first, other)


def test_the_streams_of_a_new_network_follow_the_official_rule():
    torch.manual_seed(0)
    model = ConditionalVideoGAN(replace(TINY, context_dims=(8, 64), mask_bias=-1.0))
    weight = model.generator.foreground.trunk[0].weight
    assert abs(weight.std().item() - 0.01) < 4 * 0.01 / (2 * weight.numel()) ** 0.5
    assert model.generator.foreground.to_mask.bias.item() == -1
    norms = [layer for layer in model.encoder if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 2
    assert 0 < norms[1].weight.std() < 0.04


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context_dims": (4,)}, "context_dims has 1 levels; permitted: as many .*, 2"),
        ({"context": 0}, r"context is 0; permitted: 1\.\.3"),
        ({"context": 4}, r"context is 4; permitted: 1\.\.3"),
        ({"num_frames": 5}, "num_frames is 5; permitted"),
    ],
)
def test_an_impossible_config_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: m.generate(CONTEXT[:, :1], draw(3, 3)),
            r"context has shape \(3, 1, 2, 16, 16\); permitted: \(B, 2, 2, 16, 16\)",
        ),
        (
            lambda m: m.generate(CONTEXT, draw(3, 4)),
            r"z has shape \(3, 4\); permitted: \(B, 3\)",
        ),
        (lambda m: m.predict(CONTEXT, 0), r"horizon is 0; permitted: 1\.\.2"),
        (lambda m: m.predict(CONTEXT, 3), r"horizon is 3; permitted: 1\.\.2"),
    ],
)
def test_inputs_of_another_shape_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny())
