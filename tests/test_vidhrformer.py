"""VidHRFormer's blocks against sums by hand and torch's attention; who hears of whom."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.models.vidhrformer import (
    ConvFFN,
    DecoderBlock,
    DropPath,
    Masks,
    VidHRFormerBlock,
    VidHRFormerConfig,
    WindowAttention,
)
from course_lib.nn.attention import causal_mask, sincos_1d, sincos_2d

TINY = VidHRFormerConfig(dim=8, map_size=4, window_size=2, num_heads=2, mlp_ratio=2)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def randomise(module):
    """Every weight drawn, so that no term hides behind a zero or a one."""
    with torch.no_grad():
        for number, weight in enumerate(module.parameters()):
            weight.copy_(0.5 * draw(*weight.shape, seed=100 + number))
    return module.double().eval()


def torch_attention(attention, query, key, value, allowed=None):
    """nn.MultiheadAttention with the same weights, on (B, N, D)."""
    dim = query.shape[-1]
    twin = nn.MultiheadAttention(dim, attention.num_heads, batch_first=True).double()
    parts = [attention.to_queries, attention.to_keys, attention.to_values]
    with torch.no_grad():
        twin.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        twin.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        twin.out_proj.weight.copy_(attention.to_output.weight)
        twin.out_proj.bias.copy_(attention.to_output.bias)
    return twin(query, key, value, attn_mask=None if allowed is None else ~allowed)[0]


def norm(x, layer):
    return F.layer_norm(x, (x.shape[-1],), layer.weight, layer.bias)


def space_by_hand(attention, x, queries=None):
    """Window after window, cut out by indexing."""
    code = sincos_2d(2, 2, 8).double().view(4, 8)
    output = torch.zeros_like(x)
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            for top in (0, 2):
                for left in (0, 2):
                    place = (b, t, slice(top, top + 2), slice(left, left + 2))
                    tokens = x[place].reshape(1, 4, 8)
                    asking = tokens + code
                    if queries is not None:
                        asking = asking + queries[place].reshape(1, 4, 8)
                    got = torch_attention(attention, asking, asking, tokens)
                    output[place] = got.view(2, 2, 8)
    return output


def time_by_hand(attention, x, code, context=None, context_code=None, allowed=None):
    """Place after place; `context` is what is looked at, x itself without it."""
    context, context_code = (x, code) if context is None else (context, context_code)
    output = torch.zeros_like(x)
    for y in range(4):
        for column in range(4):
            asked = context[:, :, y, column]
            got = torch_attention(
                attention, x[:, :, y, column] + code, asked + context_code, asked, allowed
            )
            output[:, :, y, column] = got
    return output


def convolution_by_hand(module, x):
    """HRFormer's feed-forward on one frame after the other, every norm over channels alone."""
    first, norm1, _, depthwise, norm2, _, _, last, norm3, _, _ = module.layers
    output = torch.zeros_like(x)
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            h = x[b, t] @ first.weight[:, :, 0, 0].T + first.bias
            h = F.gelu(norm(h, norm1))
            around = F.pad(h, (0, 0, 1, 1, 1, 1))
            h = depthwise.bias.expand(4, 4, -1).clone()
            for down in range(3):
                for right in range(3):
                    taps = depthwise.weight[:, 0, down, right]
                    h += around[down : down + 4, right : right + 4] * taps
            h = F.gelu(norm(h, norm2))
            h = h @ last.weight[:, :, 0, 0].T + last.bias
            output[b, t] = F.gelu(norm(h, norm3))
    return output


def block_by_hand(block, x, code, allowed=None, queries=None):
    space, convolution, time, mlp = block.norms
    x = x + space_by_hand(block.space.attention, norm(x, space), queries)
    x = x + convolution_by_hand(block.convolution, norm(x, convolution))
    x = x + time_by_hand(block.time.attention, norm(x, time), code, allowed=allowed)
    first, _, _, last = block.mlp
    h = norm(x, mlp) @ first.weight.T + first.bias
    return x + F.gelu(h) @ last.weight.T + last.bias


@pytest.mark.parity
@pytest.mark.parametrize("causal", [False, True])
def test_a_block_is_its_four_sub_layers_in_the_paper_s_order(causal):
    block, x, code = randomise(VidHRFormerBlock(TINY)), draw(2, 3, 4, 4, 8), draw(3, 8, seed=1)
    allowed = causal_mask(3) if causal else None
    output, _ = block(x, code, masks=Masks(temporal=allowed))
    expected = block_by_hand(block, x, code, allowed)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-10)


@pytest.mark.parity
def test_a_decoder_block_adds_a_look_at_the_context_and_a_second_convolution():
    block, x, queries = randomise(DecoderBlock(TINY)), draw(2, 3, 4, 4, 8), draw(2, 3, 4, 4, 8)
    memory, allowed = draw(2, 5, 4, 4, 8, seed=2), draw(3, 5, seed=4) > -0.5
    code, memory_code = draw(3, 8, seed=1), draw(5, 8, seed=3)
    remembered = block.witness.remember(memory, memory_code)
    output, _ = block(x, code, remembered, queries=queries, masks=Masks(memory=allowed))
    witness, convolution = block.norms
    h = block_by_hand(block.own, x, code, queries=queries)
    h = h + time_by_hand(
        block.witness.attention, norm(h, witness) + queries, code, memory, memory_code, allowed
    )
    h = h + convolution_by_hand(block.convolution, norm(h, convolution))
    torch.testing.assert_close(output, h, rtol=0, atol=1e-10)


def test_queries_decide_who_is_looked_at_but_are_not_what_is_seen():
    attention = randomise(WindowAttention(TINY))
    queries = draw(1, 1, 4, 4, 8, seed=1)
    same = draw(8).expand(1, 1, 4, 4, 8)  # whoever is looked at, the same is seen
    torch.testing.assert_close(attention(same, queries), attention(same))
    x = draw(1, 1, 4, 4, 8)
    assert (attention(x, queries) - attention(x)).abs().max() > 0.01


def test_a_relative_bias_takes_the_place_of_the_codes():
    attention = randomise(WindowAttention(replace(TINY, relative_bias=True)))
    x = draw(1, 1, 4, 4, 8)
    before = attention(x)
    assert (attention.code == 0).all()
    with torch.no_grad():
        attention.attention.bias.table.copy_(draw(9, 2, seed=9))
    assert (attention(x) - before).abs().max() > 0.01


def influence(function, x, place):
    """Norm of the gradient of one place (b, t, y, x) of the output by every place of the input."""
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad((function(x)[place] * draw(8, seed=7)).sum(), x)
    return slope.norm(dim=-1)


def silence_neighbours(module):
    """The depthwise convolution keeps its middle tap alone: it looks nowhere else."""
    with torch.no_grad():
        middle = module.layers[3].weight[:, :, 1, 1].clone()
        module.layers[3].weight.zero_()
        module.layers[3].weight[:, :, 1, 1] = middle


def window_of_the_corner():
    inside = torch.zeros(4, 4, dtype=torch.bool)
    inside[:2, :2] = True
    return inside


@pytest.mark.parametrize("convolves", [True, False])
def test_windows_hear_of_each_other_through_the_convolution_alone(convolves):
    block = randomise(VidHRFormerBlock(TINY))
    if not convolves:
        silence_neighbours(block.convolution)
    found = influence(lambda x: block(x, draw(1, 8))[0], draw(1, 1, 4, 4, 8), (0, 0, 1, 1))[0, 0]
    inside = window_of_the_corner()
    assert (found[inside] > 1e-9).all()
    if convolves:  # the place beside the border reaches a neighbour in each of the other windows
        assert (found > 1e-9).all()
    else:
        assert (found[~inside] == 0).all()


def test_the_norm_over_a_whole_frame_lets_windows_hear_of_each_other_too():
    block = randomise(VidHRFormerBlock(replace(TINY, norm="frame")))
    silence_neighbours(block.convolution)
    found = influence(lambda x: block(x, draw(1, 8))[0], draw(1, 1, 4, 4, 8), (0, 0, 0, 0))
    assert (found > 1e-9).all()


@pytest.mark.parametrize("norm", ["layer", "frame", "batch"])
@pytest.mark.parametrize("training", [False, True])
def test_only_batch_norm_in_training_lets_frames_meet_in_a_convolution(norm, training):
    module = randomise(ConvFFN(replace(TINY, norm=norm))).train(training)
    found = influence(module, draw(2, 3, 4, 4, 8), (0, 1, 2, 2))
    others = torch.ones(2, 3, dtype=torch.bool)
    others[0, 1] = False
    leaks = norm == "batch" and training
    assert ((found[others].sum((1, 2)) > 1e-9) == leaks).all()
    assert leaks or (found[others] == 0).all()
    assert found[0, 1, 2, 2] > 1e-6
    assert found[0, 1, 1:, 1:].min() > 1e-9
    if norm == "layer":
        assert (found[0, 1, 0] == 0).all()


def test_frames_remembered_before_are_the_same_as_frames_seen_together():
    block, x, code = randomise(VidHRFormerBlock(TINY)), draw(2, 5, 4, 4, 8), draw(5, 8)
    whole, _ = block(x, code, masks=Masks(temporal=causal_mask(5)))
    first, seen = block(x[:, :2], code[:2], masks=Masks(temporal=causal_mask(2)))
    rest = [first]
    for t in range(2, 5):
        frame, seen = block(x[:, t : t + 1], code[t : t + 1], past=seen)
        rest.append(frame)
    torch.testing.assert_close(torch.cat(rest, 1), whole, rtol=0, atol=1e-10)


def test_a_dropped_path_is_dropped_for_a_whole_clip():
    branch, path = torch.ones(400, 2, 3, 3, 4), DropPath(0.25)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        output = path(branch).flatten(1)
    assert (output == output[:, :1]).all()
    kept = output[output[:, 0] != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 4 / 3))
    error = (0.25 * 0.75 / 400) ** 0.5
    assert abs((output[:, 0] == 0).float().mean() - 0.25) < 4 * error
    assert torch.equal(path.eval()(branch), branch)


@pytest.mark.parametrize("kind", [VidHRFormerBlock, DecoderBlock])
def test_chance_acts_in_training_alone(kind):
    block = randomise(kind(replace(TINY, dropout=0.3)))
    plain = randomise(kind(TINY))
    x, code = draw(2, 3, 4, 4, 8), sincos_1d(3, 8).double()
    memory = [block.witness.remember(x, code)] if kind is DecoderBlock else []
    expected = plain(x, code, *memory)[0]
    torch.testing.assert_close(block(x, code, *memory)[0], expected)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        assert (block.train()(x, code, *memory)[0] - expected).abs().max() > 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 6}, "dim is 6; permitted: a multiple of 4 and of 4 heads"),
        ({"num_heads": 5}, "dim is 96; permitted: a multiple of 4 and of 5 heads"),
        ({"window_size": 3}, "window_size is 3; permitted: a divisor of 8"),
        ({"norm": "group"}, "norm is 'group'; permitted: 'layer', 'frame', 'batch'"),
        ({"dropout": 1.0}, "dropout is 1.0; permitted: 0 and more, below 1"),
    ],
)
def test_an_impossible_config_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        VidHRFormerConfig(**change)
