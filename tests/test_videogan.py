import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.models.videogan import VideoGAN, VideoGANConfig, compose

TINY = VideoGANConfig(
    size=8,
    num_frames=4,
    latent_dim=5,
    foreground_dims=(6,),
    background_dims=(7,),
    discriminator_dims=(3,),
    encoder_dims=(4,),
)
RECIPE = VideoGANConfig(  # sizes of the course's small trainings
    size=32,
    num_frames=8,
    latent_dim=48,
    foreground_dims=(96, 48, 24),
    background_dims=(96,),
    background_upsample=4,
    discriminator_dims=(24, 48, 96),
    discriminator_norm=False,
    encoder_dims=(24, 48, 96),
)


def tiny(config=TINY):
    """In float64 and eval mode, with weights large enough to matter."""
    generator, model = torch.Generator().manual_seed(0), VideoGAN(config).double()
    with torch.no_grad():
        for weight in model.parameters():
            drawn = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            weight.copy_(0.5 * drawn)
    return model.eval()


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def on_paper(make):
    """What `make` makes, without numbers."""
    with torch.device("meta"):
        return make()


def num_weights(module):
    return sum(weight.numel() for weight in module.parameters())


# The published sizes.


def up2(before, after, kernel=4, stride=2, padding=1):
    return ("ConvTranspose2d", before, after, (kernel,) * 2, (stride,) * 2, (padding,) * 2)


def up3(before, after, kernel=(4, 4, 4), stride=2, padding=1):
    return ("ConvTranspose3d", before, after, kernel, (stride,) * 3, (padding,) * 3)


def down(before, after, kernel=(4, 4, 4), stride=2, padding=1):
    return ("Conv3d", before, after, kernel, (stride,) * 3, (padding,) * 3)


def norm(layer, channels, eps=1e-5):
    return (layer, channels, eps)


def read(module):
    """The layers of a network in words, in their order."""
    for layer in module.modules():
        name = type(layer).__name__
        if name.startswith("Conv"):
            yield (
                *(name, layer.in_channels, layer.out_channels),
                *(layer.kernel_size, layer.stride, layer.padding),
            )
            assert layer.bias is not None
            assert set(layer.dilation) == {1}
        elif name.startswith("BatchNorm"):
            yield (name, layer.num_features, layer.eps)
        elif isinstance(layer, nn.LeakyReLU):
            yield (name, layer.negative_slope)
        elif not list(layer.children()):
            yield (name,)


BACKGROUND = [
    *(up2(100, 512, stride=1, padding=0), norm("BatchNorm2d", 512), ("ReLU",)),
    *(up2(512, 256), norm("BatchNorm2d", 256), ("ReLU",)),
    *(up2(256, 128), norm("BatchNorm2d", 128), ("ReLU",)),
    *(up2(128, 64), norm("BatchNorm2d", 64), ("ReLU",)),
    *(up2(64, 3), ("Tanh",)),
]
TRUNK = [
    *(up3(100, 512, (2, 4, 4), 1, 0), norm("BatchNorm3d", 512), ("ReLU",)),
    *(up3(512, 256), norm("BatchNorm3d", 256), ("ReLU",)),
    *(up3(256, 128), norm("BatchNorm3d", 128), ("ReLU",)),
    *(up3(128, 64), norm("BatchNorm3d", 64), ("ReLU",)),
]
DISCRIMINATOR = [
    *(down(3, 64), ("LeakyReLU", 0.2)),
    *(down(64, 128), norm("BatchNorm3d", 128, 1e-3), ("LeakyReLU", 0.2)),
    *(down(128, 256), norm("BatchNorm3d", 256, 1e-3), ("LeakyReLU", 0.2)),
    *(down(256, 512), norm("BatchNorm3d", 512, 1e-3), ("LeakyReLU", 0.2)),
    down(512, 2, (2, 4, 4), 1, 0),
]


def test_the_published_network_layer_by_layer():
    model = on_paper(lambda: VideoGAN(VideoGANConfig()))
    foreground = model.generator.foreground
    assert list(read(model.generator.background)) == BACKGROUND
    assert list(read(foreground.trunk)) == TRUNK
    assert list(read(foreground.to_pixels)) == [up3(64, 3)]
    assert list(read(foreground.to_mask)) == [up3(64, 1)]
    assert list(read(model.discriminator)) == DISCRIMINATOR
    assert model.encoder is None


def test_the_published_numbers_of_weights():
    model = on_paper(lambda: VideoGAN(VideoGANConfig()))
    assert num_weights(model.generator) == 16_245_383
    assert num_weights(model.generator.background) == 3_577_667
    assert num_weights(model.generator.foreground) == 12_667_716
    assert num_weights(model.discriminator) == 11_057_858


def test_the_published_clip_is_64_by_64_with_32_frames():
    def drawn():
        model = VideoGAN(VideoGANConfig())
        clip = model.generate(torch.randn(2, 100))
        return clip, model.discriminator(clip.video)

    clip, logits = on_paper(drawn)
    assert clip.video.shape == clip.foreground.shape == (2, 32, 3, 64, 64)
    assert clip.mask.shape == (2, 32, 1, 64, 64)
    assert clip.background.shape == (2, 3, 64, 64)
    assert logits.shape == (2,)


def test_the_one_stream_twin_of_the_recipes_has_as_many_weights():
    two = on_paper(lambda: VideoGAN(RECIPE))
    one = on_paper(lambda: VideoGAN(replace(RECIPE, streams=1, foreground_dims=(104, 52, 26))))
    assert num_weights(one.generator) == pytest.approx(num_weights(two.generator), rel=0.01)
    assert num_weights(one.encoder) == num_weights(two.encoder)


@pytest.mark.parametrize(("start", "num_frames"), [(2, 8), (2, 16), (4, 8), (3, 12), (8, 8)])
def test_a_clip_grows_to_its_number_of_frames_and_no_further(start, num_frames):
    config = replace(RECIPE, start_frames=start, num_frames=num_frames)

    def drawn():
        model = VideoGAN(config)
        clip = model.generate(torch.randn(2, 48))
        return clip, model.discriminator(clip.video), model.encode(clip.video)

    clip, logits, posterior = on_paper(drawn)
    assert clip.video.shape == (2, num_frames, 3, 32, 32)
    assert clip.mask.shape == (2, num_frames, 1, 32, 32)
    assert clip.background.shape == (2, 3, 32, 32)
    assert logits.shape == (2,)
    assert posterior.mean.shape == posterior.logvar.shape == (2, 48)


def test_a_coarse_background_is_an_enlarged_picture():
    two = {"foreground_dims": (6, 5), "discriminator_dims": (3, 3)}
    config = replace(TINY, size=16, background_upsample=2, encoder_dims=(), **two)
    *coarse, enlarging, squash = tiny(config).generator.background
    z = draw(2, 5)
    picture = nn.Sequential(*coarse)(z[:, :, None, None])
    assert picture.shape == (2, 3, 8, 8)
    expected = F.interpolate(picture, (16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarging(picture), expected)
    drawn = tiny(config).generate(z).background
    torch.testing.assert_close(drawn, squash(expected))


# The composition.


@settings(max_examples=20, deadline=None)
@given(st.tuples(*(st.integers(1, 3) for _ in range(5))), st.integers(0, 99))
def test_a_composition_is_the_sum_of_both_streams_pixel_by_pixel(sizes, seed):
    b, t, c, h, w = sizes
    foreground, background = draw(b, t, c, h, w, seed=seed), draw(b, c, h, w, seed=seed + 100)
    mask = draw(b, t, 1, h, w, seed=seed + 200).sigmoid()
    video = compose(foreground, background, mask)
    assert video.shape == foreground.shape
    for i, k, j, y, x in torch.ones(sizes).nonzero().tolist():
        m = mask[i, k, 0, y, x].item()
        expected = m * foreground[i, k, j, y, x] + (1 - m) * background[i, j, y, x]
        assert video[i, k, j, y, x].item() == pytest.approx(expected.item(), abs=1e-12)


def test_a_composition_is_linear_in_its_mask():
    foreground, background = draw(2, 4, 3, 5, 6), draw(2, 3, 5, 6, seed=1)
    first, second = draw(2, 4, 1, 5, 6, seed=2).sigmoid(), draw(2, 4, 1, 5, 6, seed=3).sigmoid()
    mixed = compose(foreground, background, 0.3 * first + 0.7 * second)
    apart = [compose(foreground, background, mask) for mask in (first, second)]
    torch.testing.assert_close(mixed, 0.3 * apart[0] + 0.7 * apart[1])


def with_mask(logit):
    """A generator whose mask has one value everywhere."""
    model = tiny()
    to_mask = model.generator.foreground.to_mask
    nn.init.zeros_(to_mask.weight)
    nn.init.constant_(to_mask.bias, logit)
    return model


def test_with_mask_zero_every_frame_is_the_background():
    drawn = with_mask(-1e4).generate(draw(3, 5))
    assert drawn.mask.max() == 0
    for frame in drawn.video.unbind(1):
        assert torch.equal(frame, drawn.background)


def test_with_mask_one_the_clip_is_the_foreground():
    drawn = with_mask(1e4).generate(draw(3, 5))
    assert drawn.mask.min() == 1
    assert torch.equal(drawn.video, drawn.foreground)
    assert (drawn.video.diff(dim=1) != 0).any()


def test_a_clip_is_composed_of_what_comes_with_it():
    drawn = tiny().generate(draw(3, 5))
    torch.testing.assert_close(
        drawn.video,
        drawn.mask * drawn.foreground + (1 - drawn.mask) * drawn.background.unsqueeze(1),
    )
    assert 0 < drawn.mask.min() < drawn.mask.max() < 1
    for values in (drawn.foreground, drawn.background):
        assert -1 < values.min() < -0.1
        assert 0.1 < values.max() < 1


def test_the_background_answers_to_its_code_alike_in_every_frame():
    model, z = with_mask(0.0), draw(1, 5)
    slopes = []
    for k in range(4):
        still = z.clone().requires_grad_()
        model.generate(z, still).video[0, k].sum().backward()
        slopes.append(still.grad)
    assert slopes[0].abs().min() > 0
    for slope in slopes[1:]:
        assert torch.equal(slope, slopes[0])


def test_another_code_for_the_background_changes_nothing_else():
    model, z, still = tiny(), draw(2, 5), draw(2, 5, seed=1)
    same, other = model.generate(z), model.generate(z, still)
    assert torch.equal(same.foreground, other.foreground)
    assert torch.equal(same.mask, other.mask)
    assert torch.equal(other.background, model.generate(still).background)
    assert not torch.equal(same.background, other.background)
    assert torch.equal(model.generate(z, z).video, same.video)


def test_one_stream_has_neither_mask_nor_background():
    drawn = tiny(replace(TINY, streams=1)).generate(draw(2, 5))
    assert drawn.mask is None
    assert drawn.background is None
    assert drawn.video is drawn.foreground
    assert drawn.video.shape == (2, 4, 3, 8, 8)


# The readers.


def test_two_classes_and_their_softmax_are_one_logit_and_its_sigmoid():
    model, video = tiny(), draw(4, 4, 3, 8, 8)
    logit = model.discriminator(video)
    classes = model.discriminator.layers(video.transpose(1, 2)).flatten(1)
    assert classes.shape == (4, 2)
    for target, loss in ((0, F.softplus(-logit)), (1, F.softplus(logit))):  # real, fake
        label = torch.full((4,), target)
        torch.testing.assert_close(F.cross_entropy(classes, label, reduction="none"), loss)
    assert logit.abs().min() > 0


def test_every_frame_reaches_the_logit_and_the_code():
    model, video = tiny(), draw(1, 4, 3, 8, 8).requires_grad_()
    posterior = model.encode(video)
    for value in (model.discriminator(video), posterior.mean.sum(), posterior.logvar.sum()):
        (slope,) = torch.autograd.grad(value.sum(), video, retain_graph=True)
        assert (slope.abs().amax((0, 2, 3, 4)) > 0).all()


def test_the_code_has_its_mean_in_the_first_half_of_the_encoders_output():
    model, video = tiny(), draw(2, 4, 3, 8, 8)
    out = model.encoder.layers(video.transpose(1, 2))
    posterior = model.encode(video)
    assert torch.equal(posterior.mean, out[:, :5])
    assert torch.equal(posterior.logvar, out[:, 5:])


def test_in_eval_mode_an_example_does_not_depend_on_its_batch():
    model, z, video = tiny(), draw(3, 5), draw(3, 4, 3, 8, 8, seed=1)
    calls = (
        (lambda z: model.generate(z).video, z),
        (model.discriminator, video),
        (lambda video: model.encode(video).mean, video),
    )
    for call, batch in calls:
        torch.testing.assert_close(call(batch)[1], call(batch[1:2])[0])


def test_without_batchnorm_a_discriminator_judges_each_clip_alone_in_training_too():
    video = draw(3, 4, 3, 16, 16)
    alike = []
    for normed in (False, True):
        two = {"foreground_dims": (6, 5), "background_dims": (6, 5), "discriminator_dims": (3, 3)}
        config = replace(TINY, size=16, encoder_dims=(), discriminator_norm=normed, **two)
        judge = tiny(config).train().discriminator
        alike.append(torch.allclose(judge(video)[1], judge(video[1:2])[0]))
    assert alike == [True, False]


# Initial weights.


def test_initial_weights_follow_the_official_rule():
    torch.manual_seed(0)
    wide = dict.fromkeys(("foreground_dims", "background_dims", "discriminator_dims"), (64, 64))
    model = VideoGAN(replace(TINY, size=16, latent_dim=40, encoder_dims=(), mask_bias=-2.0, **wide))
    kinds = set()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            mean, std = 1.0, 0.02
        elif hasattr(layer, "kernel_size"):
            mean, std = 0.0, 0.01
        else:
            continue
        kinds.add(type(layer).__name__)
        weight, n = layer.weight, layer.weight.numel()
        assert abs(weight.mean().item() - mean) < 4 * std / math.sqrt(n)
        assert abs(weight.std().item() - std) < 4 * std / math.sqrt(2 * n)
        bias = -2.0 if layer is model.generator.foreground.to_mask else 0.0
        assert (layer.bias == bias).all()
    assert len(kinds) == 5


def test_a_discriminator_without_batchnorm_keeps_pytorchs_weights():
    torch.manual_seed(0)
    model = VideoGAN(replace(TINY, discriminator_dims=(64,), discriminator_norm=False))
    weight = model.discriminator.layers[0].weight
    bound = 1 / math.sqrt(3 * 64)
    assert 0.9 * bound < weight.abs().max() <= bound


# What is refused.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"foreground_dims": (6, 6)}, "foreground_dims has 2 levels and reaches 16 .* size = 8"),
        ({"background_dims": (6, 6)}, "background_dims has 2 levels and reaches 16 pixels"),
        ({"background_upsample": 2}, "background_dims has 1 levels and reaches 16 pixels"),
        ({"discriminator_dims": ()}, "discriminator_dims has 0 levels and reaches 4 pixels"),
        ({"encoder_dims": (4, 4)}, "encoder_dims has 2 levels and reaches 16 pixels"),
        ({"num_frames": 3}, r"num_frames is 3; permitted .* start_frames = 2: 2, 4$"),
        ({"num_frames": 8}, "num_frames is 8; permitted"),
        ({"num_frames": 1, "start_frames": 1}, "num_frames is 1; permitted .*: 2$"),
        ({"streams": 3}, "streams is 3; permitted: 1 or 2"),
    ],
)
def test_an_impossible_config_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.generate(draw(2, 4)), r"z has shape \(2, 4\); permitted: \(B, 5\)"),
        (
            lambda m: m.encode(draw(2, 8, 3, 8, 8)),
            r"video has shape \(2, 8, 3, 8, 8\); permitted: \(B, 4, 3, 8, 8\)",
        ),
        (
            lambda m: m.discriminator(draw(2, 8, 3, 8, 8)),
            r"video has shape \(2, 8, 3, 8, 8\); permitted: \(B, 4, 3, 8, 8\)",
        ),
    ],
)
def test_inputs_of_another_shape_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny())


def test_a_gan_without_an_encoder_says_so():
    with pytest.raises(ValueError, match="has no encoder; permitted: encoder_dims"):
        tiny(replace(TINY, encoder_dims=())).encode(draw(2, 4, 3, 8, 8))
