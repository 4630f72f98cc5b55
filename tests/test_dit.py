"""DiT: diffusers' network with the same weights, the identity it starts as, patches."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.models.dit import (
    AdaLNZeroBlock,
    DiT,
    DiTConfig,
    VideoDiT,
    VideoDiTConfig,
    code_of_time,
    modulate,
    patchify,
    position_table,
    unpatchify,
)

TINY = DiTConfig(
    size=8, in_channels=3, out_channels=6, patch_size=2, dim=32, depth=2, num_heads=4, num_classes=5
)
T, LABELS = torch.tensor([0, 999]), torch.tensor([3, 5])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(config=TINY, *, trained=False):
    """A network from a fixed seed; `trained`: no weight is what it began as."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = DiT(config)
    if trained:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return model.eval()


def copied(mine, names):
    """Weights of linear layers under the names that diffusers has for them."""
    return {
        f"{theirs}.{kind}": getattr(layer, kind)
        for theirs, layer in names.items()
        for kind in ("weight", "bias")
    }


def theirs_of(mine):
    """Diffusers' DiT with the weights of ours and its two deviations undone."""
    from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

    c = mine.config
    other = DiTTransformer2DModel(
        num_attention_heads=c.num_heads,
        attention_head_dim=c.dim // c.num_heads,
        in_channels=c.in_channels,
        out_channels=c.out_channels,
        num_layers=c.depth,
        sample_size=c.size,
        patch_size=c.patch_size,
        num_embeds_ada_norm=c.num_classes,
    ).eval()
    weights = copied(
        mine, {"proj_out_1": mine.final.modulation, "proj_out_2": mine.final.to_patches}
    )
    kernel = mine.embed_patches.weight.view(c.dim, c.patch_size, c.patch_size, c.in_channels)
    weights["pos_embed.proj.weight"] = kernel.permute(0, 3, 1, 2)
    weights["pos_embed.proj.bias"] = mine.embed_patches.bias
    for i, block in enumerate(mine.blocks):
        at = f"transformer_blocks.{i}"
        kinds = block.attention.qkv.weight.chunk(3), block.attention.qkv.bias.chunk(3)
        for name, weight, bias in zip("qkv", *kinds, strict=True):
            weights[f"{at}.attn1.to_{name}.weight"] = weight
            weights[f"{at}.attn1.to_{name}.bias"] = bias
        weights[f"{at}.norm1.emb.class_embedder.embedding_table.weight"] = mine.embed_label.weight
        weights |= copied(
            mine,
            {
                f"{at}.norm1.emb.timestep_embedder.linear_1": mine.embed_time.mlp[0],
                f"{at}.norm1.emb.timestep_embedder.linear_2": mine.embed_time.mlp[2],
                f"{at}.norm1.linear": block.modulation,
                f"{at}.attn1.to_out.0": block.attention.out,
                f"{at}.ff.net.0.proj": block.mlp[0],
                f"{at}.ff.net.2": block.mlp[2],
            },
        )
        other.transformer_blocks[i].norm1.emb.time_proj.downscale_freq_shift = 0
        other.transformer_blocks[i].norm3.eps = 1e-6
    found = other.load_state_dict(weights, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == ([], [])
    return other


@pytest.mark.parity
@pytest.mark.parametrize("patch_size", [2, 4])
def test_it_answers_as_the_network_of_diffusers(patch_size):
    """Noise and variance logits: the answer has twice the channels of the picture."""
    mine = make(replace(TINY, patch_size=patch_size), trained=True)
    other, x = theirs_of(mine), draw(2, 3, 8, 8)
    torch.testing.assert_close(mine.positions, other.pos_embed.pos_embed[0], atol=1e-6, rtol=0)
    with torch.no_grad():
        ours, expected = mine(x, T, LABELS), other(x, T, LABELS).sample
    assert expected.shape == (2, 6, 8, 8)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours, expected, atol=1e-6 * expected.abs().max().item(), rtol=0)


def test_positions_are_the_codes_of_column_and_row():
    """MAE's table, number by number in plain Python: the column comes first."""
    side, dim = 3, 8
    expected = np.empty((side * side, dim))
    for row in range(side):
        for column in range(side):
            for half, place in enumerate((column, row)):
                for i in range(dim // 4):
                    angle = place / 10000 ** (4 * i / dim)
                    line = expected[row * side + column, half * dim // 2 :]
                    line[i], line[i + dim // 4] = math.sin(angle), math.cos(angle)
    torch.testing.assert_close(position_table(side, dim), torch.tensor(expected).float())


def test_time_is_coded_by_cosines_before_sines():
    code = code_of_time(torch.tensor([0, 7]), 6)
    frequencies = [1, 10000 ** (-1 / 3), 10000 ** (-2 / 3)]
    expected = [math.cos(7 * f) for f in frequencies] + [math.sin(7 * f) for f in frequencies]
    torch.testing.assert_close(code, torch.tensor([[1, 1, 1, 0, 0, 0], expected]))


def test_before_training_the_answer_is_exactly_0_and_every_block_the_identity():
    model = make()
    assert (model(draw(2, 3, 8, 8), T, LABELS) == 0).all()
    tokens, condition = draw(2, 16, 32), draw(2, 32, seed=1)
    for block in model.blocks:
        assert isinstance(block, AdaLNZeroBlock)
        assert torch.equal(block(tokens, condition), tokens)


def test_a_block_computes_what_the_paper_writes():
    """With torch's own attention and every gate, shift and scale in its place."""
    block, x, c = make(trained=True).blocks[0], draw(2, 4, 32), draw(2, 32, seed=1)
    shift1, scale1, gate1, shift2, scale2, gate2 = block.modulation(c * c.sigmoid()).split(32, 1)
    reference = nn.MultiheadAttention(32, 4, batch_first=True)
    reference.load_state_dict(
        {
            "in_proj_weight": block.attention.qkv.weight,
            "in_proj_bias": block.attention.qkv.bias,
            "out_proj.weight": block.attention.out.weight,
            "out_proj.bias": block.attention.out.bias,
        }
    )

    def normed(x, shift, scale):
        middle, spread = x.mean(-1, True), x.var(-1, unbiased=False, keepdim=True)
        return (x - middle) / (spread + 1e-6).sqrt() * (1 + scale[:, None]) + shift[:, None]

    inside = normed(x, shift1, scale1)
    y = x + gate1[:, None] * reference(inside, inside, inside)[0]
    inside = F.gelu(block.mlp[0](normed(y, shift2, scale2)), approximate="tanh")
    torch.testing.assert_close(block(x, c), y + gate2[:, None] * block.mlp[2](inside))


def test_weights_begin_as_the_official_code_draws_them():
    model = make(replace(TINY, dim=64, num_classes=200))
    for embedding in (model.embed_label, model.embed_time.mlp[0], model.embed_time.mlp[2]):
        assert embedding.weight.std().item() == pytest.approx(0.02, rel=0.1)
    for linear in (model.embed_patches, model.blocks[0].attention.qkv, model.blocks[1].mlp[0]):
        bound = (6 / sum(linear.weight.shape)) ** 0.5  # Xavier's, uniform
        assert 0.95 * bound < linear.weight.abs().max().item() <= bound
        assert (linear.bias == 0).all()


@pytest.mark.parametrize("num_classes", [0, 5])
def test_every_weight_learns_once_it_has_left_0(num_classes):
    model = make(replace(TINY, num_classes=num_classes), trained=True)
    model(draw(2, 3, 8, 8), T, LABELS if num_classes else None).square().sum().backward()
    unused = [n for n, w in model.named_parameters() if w.grad is None or not w.grad.abs().sum()]
    assert unused == []


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9))
def test_pictures_come_back_from_their_patches(patch_size, side, channels, seed):
    x = draw(2, channels, patch_size * side, patch_size * side, seed=seed)
    tokens = patchify(x, patch_size)
    assert tokens.shape == (2, side**2, patch_size**2 * channels)
    assert torch.equal(unpatchify(tokens, patch_size), x)


def test_a_patch_holds_rows_then_columns_then_channels():
    x = torch.arange(2 * 4 * 6).view(1, 2, 4, 6).float()
    token = patchify(x, 2)[0, 4]  # second row of patches, second of three
    expected = [x[0, c, 2 + row, 2 + column] for row in (0, 1) for column in (0, 1) for c in (0, 1)]
    assert token.tolist() == expected


def test_cutting_and_projecting_is_a_strided_convolution():
    model, x = make(trained=True), draw(2, 3, 8, 8)
    kernel = model.embed_patches.weight.view(32, 2, 2, 3).permute(0, 3, 1, 2)
    convolved = F.conv2d(x, kernel, model.embed_patches.bias, stride=2).flatten(2).mT
    torch.testing.assert_close(model.embed_patches(patchify(x, 2)), convolved, atol=1e-6, rtol=1e-5)


def test_modulation_scales_around_1_and_shifts_all_tokens_alike():
    x, shift, scale = draw(2, 3, 4), draw(2, 4, seed=1), draw(2, 4, seed=2)
    for b in range(2):
        for n in range(3):
            expected = x[b, n] + x[b, n] * scale[b] + shift[b]
            torch.testing.assert_close(modulate(x, shift, scale)[b, n], expected)


def test_a_future_begins_as_the_mean_and_sees_all_frames():
    config = VideoDiTConfig(2, 3, DiTConfig(8, 5, 3, 2, 16, 1, 2))
    mean = draw(3, 8, 8)
    model = VideoDiT(config, mean)
    x_t, context = draw(2, 3, 1, 8, 8, seed=1), draw(2, 2, 1, 8, 8, seed=2).requires_grad_()
    assert torch.equal(model(x_t, T, context)[:, :, 0], mean.expand(2, -1, -1, -1))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1)
            weight.mul_(1 + 0.3 * torch.rand(weight.shape, generator=torch.Generator()))
    model(x_t, T, context).square().sum().backward()
    assert (context.grad.abs().sum((2, 3, 4)) > 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DiTConfig(patch_size=5), "patch_size is 5; permitted: what divides 32"),
        (lambda: DiTConfig(dim=100, num_heads=3), "dim is 100 with 3 heads"),
        (lambda: DiTConfig(dim=6, num_heads=2), "permitted: a multiple of 4"),
        (lambda: DiTConfig(depth=0), "depth is 0; permitted: 1 and more"),
        (lambda: DiTConfig(num_classes=-1), "num_classes is -1; permitted: 0 and more"),
        (lambda: make()(draw(2, 3, 8, 4), T, LABELS), r"pictures are \(3, 8, 4\); permitted"),
        (lambda: make()(draw(2, 3, 8, 8), T), "label is None; permitted with 5 classes: one for"),
        (
            lambda: make(replace(TINY, num_classes=0))(draw(2, 3, 8, 8), T, LABELS),
            "permitted with 0 classes: None",
        ),
        (lambda: patchify(draw(1, 1, 8, 6), 4), "patch_size is 4; permitted: what divides 8 and 6"),
        (lambda: unpatchify(draw(1, 6, 4), 2), "6 tokens of 4 numbers; permitted: a square"),
        (lambda: unpatchify(draw(1, 4, 6), 2), "4 tokens of 6 numbers"),
        (
            lambda: VideoDiTConfig(horizon=8),
            r"dit has \(12, 9\) channels in and out; permitted: \(11, 8\)",
        ),
        (
            lambda: VideoDiT(VideoDiTConfig(2, 3, DiTConfig(8, 5, 3, 2, 16, 1, 2)))(
                draw(2, 3, 1, 8, 8), T, draw(2, 3, 1, 8, 8)
            ),
            "permitted: 2 and 3 frames of one channel",
        ),
    ],
)
def test_a_wrong_call_is_told_what_is_permitted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
