"""The frame autoencoder against the paper's layer table, and what a feature can see."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from course_lib.models.autoencoder import (
    PUBLISHED,
    Autoencoder,
    AutoencoderConfig,
    PatchDiscriminator,
)

TINY = AutoencoderConfig(size=8, dims=(3, 4), feature_dim=5, num_blocks=1)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def make_tiny(config=TINY):
    """Weights drawn larger than the published start, so that nothing is too faint to see."""
    model = Autoencoder(config).double().eval()
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.copy_(0.3 * draw(*weight.shape, seed=number))
    return model


def count(*modules):
    return sum(weight.numel() for module in modules for weight in module.parameters())


def describe(model, x):
    """Every convolution that x passes: its kernel, stride, whether it has a bias, what it gives."""
    rows = []

    def note(conv, _, output):
        kind = "up" if isinstance(conv, nn.ConvTranspose2d) else "conv"
        bias = conv.bias is not None
        rows.append((kind, conv.kernel_size[0], conv.stride[0], bias, *output.shape[1:3]))

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(note)
    return rows, model(x)


def test_the_published_layers_are_those_of_the_paper():
    with torch.device("meta"):
        model = Autoencoder(PUBLISHED)
        encoded, features = describe(model.encoder, torch.zeros(1, 1, 64, 64))
        decoded, frames = describe(model.decoder, features)
    expected = [("conv", 7, 1, False, 64, 64), ("conv", 3, 2, False, 128, 32)]
    expected += [("conv", 3, 2, False, 256, 16), ("conv", 3, 2, False, 528, 8)]
    assert encoded == expected + 18 * [("conv", 3, 1, False, 528, 8)]
    assert features.shape == (1, 528, 8, 8)
    assert decoded == [
        ("up", 3, 2, False, 256, 16),
        ("up", 3, 2, False, 128, 32),
        ("up", 3, 2, False, 64, 64),
        ("conv", 7, 1, True, 1, 64),
    ]
    assert frames.shape == (1, 1, 64, 64)


def test_the_published_sizes_are_those_that_were_counted():
    with torch.device("meta"):
        model, judge = Autoencoder(PUBLISHED), PatchDiscriminator()
        patches = judge(torch.zeros(2, 1, 64, 64))
    assert count(model.encoder) == pytest.approx(46.77e6, abs=5e3)
    assert count(model.decoder) == pytest.approx(1.59e6, abs=5e3)
    assert count(model) == pytest.approx(48.36e6, abs=5e3)
    assert count(judge) == pytest.approx(2.76e6, abs=5e3)
    assert patches.shape == (2, 6, 6)


def test_a_patch_of_the_published_discriminator_is_70_pixels_wide():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        judge = PatchDiscriminator(dims=(4, 8, 16, 32)).double().eval()
    frames = draw(1, 1, 128, 128).requires_grad_()
    (slope,) = torch.autograd.grad(judge(frames)[0, 7, 7], frames)
    touched = slope[0, 0].abs().sum(0).nonzero().flatten()
    assert touched.max() - touched.min() + 1 == 70


def test_batch_norm_follows_each_convolution_but_the_last():
    for module in make_tiny().modules():
        if isinstance(module, nn.Sequential):
            layers = [layer for layer in module if not isinstance(layer, nn.Tanh)]
            for layer, after in pairwise(layers):
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                    assert isinstance(after, nn.BatchNorm2d)


def test_features_are_never_negative_and_frames_stay_inside_their_range():
    model = make_tiny()
    video = draw(2, 3, 1, 8, 8)
    features = model.encode(video)
    assert features.shape == (2, 3, 5, 2, 2)
    assert (features >= 0).all()
    assert (features > 0).any()
    frames = model.decode(1e3 * features)
    assert frames.abs().max() <= 1
    assert frames.min() < -0.5 < 0.5 < frames.max()


def test_every_frame_is_coded_for_itself():
    model, video = make_tiny(), draw(2, 3, 1, 8, 8)
    one_by_one = [model(video[b : b + 1, t : t + 1]) for b in range(2) for t in range(3)]
    torch.testing.assert_close(model(video).flatten(0, 1), torch.cat(one_by_one)[:, 0])


def test_a_residual_block_adds_to_what_it_gets():
    block = make_tiny().encoder[-2]
    x = draw(1, 5, 4, 4)
    with torch.no_grad():
        for norm in (block.layers[1], block.layers[4]):
            norm.weight.zero_()
            norm.bias.zero_()
    torch.testing.assert_close(block(x), x)


def test_reflecting_blocks_see_no_black_border():
    """On a flat map a convolution gives a flat map, unless it meets zeros at the border."""
    flat = torch.ones(1, 5, 4, 4).double()
    spread = {}
    for reflect in (True, False):
        output = make_tiny(replace(TINY, reflect=reflect)).encoder[-2](flat)
        spread[reflect] = (output - output[..., :1, :1]).abs().max().item()
    assert spread[True] < 1e-12
    assert spread[False] > 1e-3


def test_weights_begin_as_the_official_code_draws_them():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model, judge = Autoencoder(AutoencoderConfig()), PatchDiscriminator(1, (16, 32, 64, 64))
    for module in [*model.modules(), *judge.modules()]:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.weight.numel() > 2000:
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.02)
            assert 0 < module.weight.std().item() < 0.04
        if getattr(module, "bias", None) is not None:
            assert (module.bias == 0).all()


def test_every_weight_is_used():
    model = make_tiny().train()
    model(draw(2, 3, 1, 8, 8)).square().sum().backward()
    unused = [n for n, w in model.named_parameters() if w.grad is None or not w.grad.abs().sum()]
    assert unused == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: make_tiny().encode(draw(1, 2, 1, 8, 4)),
            r"video has shape \(1, 2, 1, 8, 4\); permitted: \(B, T, \*\(1, 8, 8\)\), T >= 1",
        ),
        (lambda: make_tiny().encode(draw(1, 0, 1, 8, 8)), "T >= 1"),
        (
            lambda: make_tiny().decode(draw(1, 2, 4, 2, 2)),
            r"features has shape \(1, 2, 4, 2, 2\); permitted: \(B, T, \*\(5, 2, 2\)\)",
        ),
        (lambda: AutoencoderConfig(size=20), "size is 20; permitted for 3 halvings: .* 8, 16"),
        (lambda: AutoencoderConfig(size=8), "size is 8; permitted for 3 halvings"),
        (lambda: AutoencoderConfig(dims=()), r"dims is \(\); permitted"),
    ],
)
def test_a_wrong_call_is_told_what_is_permitted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
