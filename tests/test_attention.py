"""Attention against torch's own, windows there and back, and who influences whom."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.nn.attention import (
    MultiHeadAttention,
    causal_mask,
    sincos_1d,
    sincos_2d,
    watch_attention,
    window_merge,
    window_partition,
)

SIZES = st.integers(1, 4)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def make_attention(dim=6, num_heads=2, **options):
    """Every weight drawn, biases and tables too, so that no term hides behind a zero."""
    attention = MultiHeadAttention(dim, num_heads, **options).double()
    with torch.no_grad():
        for number, weight in enumerate(attention.parameters()):
            weight.copy_(draw(*weight.shape, seed=100 + number))
    return attention


def torch_twin(attention, dim, num_heads):
    """nn.MultiheadAttention with the same weights."""
    twin = nn.MultiheadAttention(dim, num_heads, batch_first=True).double()
    parts = [attention.to_queries, attention.to_keys, attention.to_values]
    with torch.no_grad():
        twin.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        twin.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        twin.out_proj.weight.copy_(attention.to_output.weight)
        twin.out_proj.bias.copy_(attention.to_output.bias)
    return twin


def attend(attention, query, key, value, mask=None):
    return attention(query, attention.remember(key, value), mask=mask)


@pytest.mark.parity
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("num_heads", [1, 2, 3])
def test_it_is_torch_s_multi_head_attention(num_heads, masked):
    attention = make_attention(6, num_heads)
    twin = torch_twin(attention, 6, num_heads)
    query, key, value = draw(3, 4, 6), draw(3, 5, 6, seed=1), draw(3, 5, 6, seed=2)
    mask = torch.ones(4, 5, dtype=torch.bool).tril(1) if masked else None
    forbidden = None if mask is None else ~mask
    expected, weights = twin(query, key, value, attn_mask=forbidden, average_attn_weights=False)
    memory = attention.remember(key, value)
    torch.testing.assert_close(attention(query, memory, mask=mask), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        attention.weights(query, memory, mask=mask), weights, rtol=0, atol=1e-12
    )


@pytest.mark.parity
def test_with_plain_weights_it_is_torch_s_scaled_dot_product():
    attention = MultiHeadAttention(4, 1).double()
    with torch.no_grad():
        for layer in attention.children():
            layer.weight.copy_(torch.eye(4))
            layer.bias.zero_()
    query, key, value = draw(2, 3, 4), draw(2, 5, 4, seed=1), draw(2, 5, 4, seed=2)
    expected = F.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(attend(attention, query, key, value), expected)


@pytest.mark.parametrize("masked", [False, True])
def test_weights_mix_the_values_and_respect_the_relative_bias(masked):
    attention = make_attention(window_size=2)
    x = draw(3, 4, 6)
    mask = causal_mask(4) if masked else None
    weights = attention.weights(x, attention.remember(x, x), mask=mask)
    values = attention.to_values(x).view(3, 4, 2, 3)
    mixed = torch.einsum("banm,bmad->bnad", weights, values).reshape(3, 4, 6)
    expected = attention.to_output(mixed)
    torch.testing.assert_close(attend(attention, x, x, x, mask), expected)


def test_the_relative_bias_depends_on_the_offset_alone_and_on_every_offset():
    attention = make_attention(window_size=3)
    bias, found = attention.bias(), {}
    for query in range(9):
        for key in range(9):
            offset = query // 3 - key // 3, query % 3 - key % 3
            found.setdefault(offset, set()).add(tuple(bias[:, query, key].tolist()))
    assert {len(values) for values in found.values()} == {1}
    assert len(set.union(*found.values())) == len(attention.bias.table) == 25
    # As in Swin's table, an offset of (-2, -2) comes first and rows of offsets follow each other.
    table = attention.bias.table.tolist()
    assert found[-2, -2] == {tuple(table[0])}
    assert found[-2, 1] == {tuple(table[3])}
    assert found[1, -2] == {tuple(table[15])}


def test_a_query_that_may_look_nowhere_gets_nothing():
    for options in ({}, {"window_size": 2}):
        attention = make_attention(**options)
        x = draw(1, 4, 6).requires_grad_()
        mask = causal_mask(4).clone()
        mask[2] = False
        memory = attention.remember(x, x)
        output = attention(x, memory, mask=mask)
        torch.testing.assert_close(output[0, 2], attention.to_output.bias)
        sums = attention.weights(x, memory, mask=mask).sum(-1)
        torch.testing.assert_close(sums[0, 0], torch.tensor([1.0, 1, 0, 1]).double())
        output.square().sum().backward()
        assert x.grad.isfinite().all()


def test_a_causal_mask_lets_a_frame_see_itself_and_the_past():
    expected = [[j <= i for j in range(4)] for i in range(4)]
    assert causal_mask(4).tolist() == expected
    assert causal_mask(4).dtype is torch.bool


def influence(function, x):
    """Norm of the gradient of output i by input j, for tokens in the last axis but one."""
    x = x.clone().requires_grad_()
    output = function(x)
    rows = []
    for i in range(output.shape[-2]):
        random = draw(*output[..., i, :].shape, seed=7)
        (slope,) = torch.autograd.grad((output[..., i, :] * random).sum(), x, retain_graph=True)
        rows.append(slope.movedim(-2, 0).flatten(1).norm(dim=1))
    return torch.stack(rows)


@pytest.mark.parametrize("options", [{}, {"window_size": 2}])
def test_under_a_mask_exactly_what_is_allowed_has_influence(options):
    attention = make_attention(**options)
    # Through its own query a token influences itself, so the diagonal is allowed in every row.
    mask = (draw(4, 4, seed=3) > 0) | torch.eye(4, dtype=torch.bool)
    assert 5 < mask.sum() < 16
    for allowed in (mask, causal_mask(4), causal_mask(4).T.contiguous()):
        found = influence(lambda x, m=allowed: attend(attention, x, x, x, m), draw(2, 4, 6))
        assert (found[~allowed] == 0).all()
        assert (found[allowed] > 1e-6).all()
    found = influence(lambda x: attend(attention, x, x, x), draw(2, 4, 6))
    assert (found > 1e-6).all()


def test_tokens_remembered_one_by_one_are_the_same_memory():
    attention, x = make_attention(), draw(2, 5, 6)
    memory = attention.remember(x[:, :2], x[:, :2])
    for token in x[:, 2:].split(1, dim=1):
        memory = memory.followed_by(attention.remember(token, token))
    assert len(memory) == 5
    torch.testing.assert_close(attention(x, memory), attend(attention, x, x, x))


def test_the_batch_may_have_any_number_of_axes_and_its_members_do_not_meet():
    attention, x = make_attention(), draw(2, 3, 4, 6)
    together = attend(attention, x, x, x)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(together[i, j], attend(attention, *[x[i, j]] * 3))


def test_dropout_acts_in_training_alone():
    attention, x = make_attention(dropout=0.5), draw(2, 8, 6)
    plain = make_attention()
    plain.load_state_dict(attention.state_dict())
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        assert (attend(attention, x, x, x) - attend(plain, x, x, x)).abs().max() > 0.01
    attention.eval()
    torch.testing.assert_close(attend(attention, x, x, x), attend(plain, x, x, x))


@settings(max_examples=40, deadline=None)
@given(st.lists(SIZES, max_size=2), SIZES, SIZES, SIZES, SIZES)
def test_windows_come_apart_and_together_again(batch, down, across, window_size, dim):
    height, width = down * window_size, across * window_size
    x = draw(*batch, height, width, dim)
    windows = window_partition(x, window_size)
    assert windows.shape == (*batch, down * across, window_size**2, dim)
    assert torch.equal(window_merge(windows, height, width), x)
    assert torch.equal(window_partition(window_merge(windows, height, width), window_size), windows)


def test_a_window_holds_neighbours_row_by_row():
    x = torch.arange(4 * 6.0).view(4, 6, 1)
    windows = window_partition(x, 2)[..., 0]
    assert windows[0].tolist() == [0, 1, 6, 7]
    assert windows[1].tolist() == [2, 3, 8, 9]
    assert windows[3].tolist() == [12, 13, 18, 19]


def test_codes_are_sines_and_cosines_of_positions_from_1():
    code = sincos_1d(3, 6)
    for t in range(3):
        for i in range(3):
            angle = (t + 1) / 10000 ** (2 * i / 6)
            assert code[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert code[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_a_place_s_code_is_its_row_s_and_then_its_column_s():
    code, line = sincos_2d(3, 5, 8), sincos_1d(5, 4)
    for y in range(3):
        for x in range(5):
            torch.testing.assert_close(code[y, x], torch.cat([line[y], line[x]]))


def test_without_codes_attention_cannot_tell_the_order():
    attention, x, order = make_attention(), draw(1, 5, 6), torch.tensor([3, 0, 4, 1, 2])
    code = sincos_1d(5, 6).double()

    def coded(x):
        return attend(attention, x + code, x + code, x)

    plain = attend(attention, *[x[:, order]] * 3)
    torch.testing.assert_close(plain, attend(attention, x, x, x)[:, order])
    assert (coded(x[:, order]) - coded(x)[:, order]).abs().max() > 0.01


def test_attention_can_be_watched_without_being_changed():
    model = nn.ModuleDict({"first": make_attention(), "second": make_attention()})
    x = draw(1, 4, 6)
    with watch_attention(model) as seen:
        watched = attend(model["first"], x, x, x, causal_mask(4))
        attend(model["first"], x, x, x)
    torch.testing.assert_close(watched, attend(model["first"], x, x, x, causal_mask(4)))
    assert list(seen) == ["first"]
    masked, free = seen["first"]
    assert masked.shape == (1, 2, 4, 4)
    assert (masked.triu(1) == 0).all()
    assert (free > 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MultiHeadAttention(6, 4), "num_heads is 4; permitted: a divisor of dim, 6"),
        (lambda: sincos_1d(3, 5), "dim is 5; permitted: even"),
        (lambda: sincos_2d(3, 3, 6), "dim is 6; permitted: a multiple of 4"),
        (lambda: window_partition(draw(4, 6, 1), 4), "window_size is 4; .* divides 4 and 6"),
        (lambda: window_merge(draw(2, 4, 1), 4, 4), "2 windows of 4 tokens; .* fill 4 x 4"),
        (lambda: window_merge(draw(2, 3, 1), 3, 2), "2 windows of 3 tokens; permitted"),
        (
            lambda: attend(make_attention(), *[draw(1, 4, 6)] * 3, causal_mask(3)),
            r"mask has shape \(3, 3\); permitted: \(4, 4\)",
        ),
    ],
)
def test_a_wrong_call_is_told_what_is_permitted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
