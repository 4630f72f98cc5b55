"""The autoencoder of latent diffusion: diffusers' with the same weights, sizes, posterior."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from course_lib.models.autoencoder_kl import (
    PUBLISHED,
    AutoencoderKL,
    AutoencoderKLConfig,
    PlaceAttention,
)

TINY = AutoencoderKLConfig(
    latent_channels=2, dims=(4, 8, 8), num_blocks=2, num_groups=2, attention=True
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(config=TINY):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return AutoencoderKL(config)


def names(config):
    """Diffusers' names of the convolutions, norms and blocks, in the order of our layers."""

    def mid(part):
        return [
            f"{part}.mid_block.resnets.0",
            f"{part}.mid_block.attentions.0",
            f"{part}.mid_block.resnets.1",
        ]

    last, encoder, decoder = len(config.dims) - 1, ["encoder.conv_in"], ["post_quant_conv"]
    for level in range(last + 1):
        at = f"encoder.down_blocks.{level}"
        encoder += [f"{at}.resnets.{i}" for i in range(config.num_blocks)]
        encoder += [f"{at}.downsamplers.0.conv"] * (level < last)
    encoder += [*mid("encoder"), "encoder.conv_norm_out", "encoder.conv_out", "quant_conv"]
    decoder += ["decoder.conv_in", *mid("decoder")]
    for level in range(last + 1):
        at = f"decoder.up_blocks.{level}"
        decoder += [f"{at}.resnets.{i}" for i in range(config.num_blocks + 1)]
        decoder += [f"{at}.upsamplers.0.conv"] * (level < last)
    return encoder, [*decoder, "decoder.conv_norm_out", "decoder.conv_out"]


def renamed(layers, names):
    """Our weights under those names."""
    with_weights = [layer for layer in layers if any(True for _ in layer.parameters())]
    weights = {}
    for layer, name in zip(with_weights, names, strict=True):
        for key, value in layer.state_dict().items():
            if isinstance(layer, PlaceAttention) and key.startswith("qkv"):
                kind = key.rpartition(".")[2]
                for letter, part in zip("qkv", value.chunk(3), strict=True):
                    weights[f"{name}.to_{letter}.{kind}"] = part
                continue
            key = key.replace("shortcut", "conv_shortcut").removeprefix("1.")
            if isinstance(layer, PlaceAttention):
                key = key.replace("norm", "group_norm").replace("out", "to_out.0")
            weights[f"{name}.{key}"] = value
    return weights


@pytest.mark.parity
def test_it_codes_and_decodes_as_the_network_of_diffusers():
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL as Theirs

    mine, c = make(), TINY
    levels = len(c.dims)
    other = Theirs(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=c.dims,
        layers_per_block=c.num_blocks,
        latent_channels=c.latent_channels,
        norm_num_groups=c.num_groups,
        sample_size=16,
    )
    down, up = names(c)
    weights = renamed(mine.encoder, down) | renamed(mine.decoder, up)
    other.load_state_dict(weights)
    frames, z = draw(2, 3, 16, 8), draw(2, 2, 4, 2, seed=1)
    with torch.no_grad():
        ours, theirs = mine.encode(frames), other.encode(frames).latent_dist
        torch.testing.assert_close(ours.mean, theirs.mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.logvar, theirs.logvar, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mine.decode(z), other.decode(z).sample, atol=1e-5, rtol=1e-5)


def test_the_published_size_is_that_of_stable_diffusion():
    with torch.device("meta"):
        model = AutoencoderKL(PUBLISHED)
        posterior = model.encode(torch.zeros(1, 3, 256, 256))
    assert posterior.mean.shape == (1, 4, 32, 32)  # 48 times fewer numbers
    assert sum(weight.numel() for weight in model.parameters()) == 83_653_863


@pytest.mark.parametrize(("levels", "factor"), [(2, 2), (3, 4), (4, 8)])
@pytest.mark.parametrize("latent_channels", [1, 16])
def test_factor_and_channels_decide_the_latent(levels, factor, latent_channels):
    config = AutoencoderKLConfig(
        latent_channels=latent_channels, dims=(8, 8, 16, 16)[:levels], num_groups=4
    )
    model, frames = make(config), draw(2, 3, 16, 32)
    assert config.factor == factor
    rebuilt, posterior = model(frames)
    assert posterior.mean.shape == (2, latent_channels, 16 // factor, 32 // factor)
    assert rebuilt.shape == frames.shape
    assert torch.equal(rebuilt, model.decode(posterior.mean))


def test_a_draw_is_mean_plus_sigma_times_noise():
    model, frames, eps = make(), draw(2, 3, 8, 8), draw(2, 2, 2, 2, seed=1)
    rebuilt, q = model(frames, eps)
    torch.testing.assert_close(rebuilt, model.decode(q.mean + eps * q.logvar.exp().sqrt()))


@pytest.mark.parametrize(("bias", "expected"), [(-1e4, -30.0), (1e4, 20.0)])
def test_the_log_variance_is_held_between_two_limits(bias, expected):
    model = make()
    with torch.no_grad():
        model.encoder[-1].bias.fill_(bias)
    q = model.encode(draw(1, 3, 8, 8))
    assert (q.logvar == expected).all()
    assert q.mean.abs().min() > 9000  # and the mean is not


def test_without_attention_nothing_far_away_is_seen():
    """Learned on small frames, it means the same on large ones: a place sees its surroundings."""
    frames = draw(1, 3, 4, 400).requires_grad_()
    for attention in (False, True):
        model = make(replace(TINY, attention=attention))
        for norm in model.modules():
            if isinstance(norm, nn.GroupNorm):
                norm.forward = lambda x: x  # a norm sees the whole frame
        frames.grad = None
        model(frames)[0][0, 0, 0, 0].backward()
        reach = frames.grad[0, :, :, 200:].abs().max().item()
        assert (reach > 0) == attention


def test_every_weight_is_used():
    model = make()
    rebuilt, q = model(draw(2, 3, 8, 8), draw(2, 2, 2, 2))
    (rebuilt.square().sum() + q.logvar.square().sum()).backward()
    unused = [n for n, w in model.named_parameters() if w.grad is None or not w.grad.abs().sum()]
    # Queries and keys differ by little at 2 x 2 places, but they do.
    assert unused == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make().encode(draw(1, 3, 8, 6)), r"frames are \(3, 8, 6\); permitted: 3 channels"),
        (lambda: make().encode(draw(1, 1, 8, 8)), r"sides that 4 divides"),
        (lambda: make().decode(draw(1, 3, 2, 2)), "latents have 3 channels; permitted: 2"),
        (
            lambda: AutoencoderKLConfig(dims=(12,)),
            r"dims is \(12,\); .* multiples of num_groups = 8",
        ),
        (lambda: AutoencoderKLConfig(dims=()), r"dims is \(\)"),
        (lambda: AutoencoderKLConfig(latent_channels=0), "latent_channels is 0; permitted: 1"),
    ],
)
def test_a_wrong_call_is_told_what_is_permitted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
