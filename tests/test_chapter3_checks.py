"""Every checker of chapter 3 is checked: right answers pass, wrong ones get their message."""

import math
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from checked import CheckedChapter

from course_lib.checks import chapter3 as check


@pytest.fixture(autouse=True)
def reader(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))


# The causal mask.


def ones(num_frames):
    return torch.ones(num_frames, num_frames, dtype=torch.bool)


def causal_mask(num_frames):
    return ones(num_frames).tril()


def mask_by_comparison(num_frames):
    frames = torch.arange(num_frames)
    return frames[None] <= frames[:, None]


CAUSAL_MASKS = {
    "mask is transposed": lambda n: ones(n).triu(),
    "You wrote j < i": lambda n: ones(n).tril(-1),
    "True and False are swapped": lambda n: ~causal_mask(n),
    "shifted by one": lambda n: ones(n).tril(1),
    "sees itself alone": lambda n: torch.eye(n).bool(),
    "previous one and itself": lambda n: ones(n).tril() & ones(n).triu(-1),
    "Everybody may look": ones,
    "in the columns 0 to i": lambda n: causal_mask(n).flip(0),
    "0 and -inf": lambda n: torch.zeros(n, n).masked_fill(~causal_mask(n), -math.inf),
    "one row for each query": lambda n: causal_mask(n)[None],
}


# The position code.


def sincos_1d(length, dim):
    code = torch.empty(length, dim)
    positions = torch.arange(1, length + 1).float().unsqueeze(1)
    frequencies = torch.exp(-math.log(10000) * torch.arange(0, dim, 2) / dim)
    code[:, 0::2] = torch.sin(positions * frequencies)
    code[:, 1::2] = torch.cos(positions * frequencies)
    return code


def code_by_turning(length, dim):
    """Complex numbers: every position is the one before it, turned."""
    turn = torch.exp(1j / 10000 ** (torch.arange(0, dim, 2) / dim).double())
    turned = turn.expand(length, -1).cumprod(0)
    return torch.stack([turned.imag, turned.real], -1).flatten(1).float()


def code_with(frequencies, start=1):
    def wrong(length, dim):
        angles = torch.arange(start, start + length)[:, None] * frequencies(dim)
        return torch.stack([angles.sin(), angles.cos()], 2).reshape(length, dim)

    return wrong


def halves(dim):
    return torch.arange(dim // 2)


def every_column(length, dim):
    angles = torch.arange(1, length + 1)[:, None] / 10000 ** (torch.arange(dim) / dim)
    return torch.where(torch.arange(dim) % 2 == 0, angles.sin(), angles.cos())


CODES = {
    "count from 0": code_with(lambda d: 10000 ** (-2 * halves(d) / d), start=0),
    "sines into the first half": lambda n, d: (
        sincos_1d(n, d).unflatten(1, (-1, 2)).transpose(1, 2).flatten(1)
    ),
    "sine comes first": lambda n, d: sincos_1d(n, d).unflatten(1, (-1, 2)).flip(2).flatten(1),
    "only sines": lambda n, d: sincos_1d(n, d)[:, ::2].repeat_interleave(2, 1),
    "exponent is i / dim": code_with(lambda d: 10000 ** (-halves(d) / d)),
    "grows with every column": every_column,
    "exponent runs to 1": code_with(lambda d: 10000 ** (-2 * halves(d) / max(d - 2, 1))),
    "all have the same length": code_with(lambda d: torch.ones(d // 2)),
    "base is 1000:": code_with(lambda d: 1000 ** (-2 * halves(d) / d)),
    "your base 100": code_with(lambda d: 100 ** (-2 * halves(d) / d)),
    "Angle i of position p": lambda n, d: sincos_1d(n, d) + 1,
    "One row for each position": lambda n, d: sincos_1d(n, d).T,
}


# Windows.


def window_partition(x, window_size):
    b, h, w, d = x.shape
    k = window_size
    split = x.reshape(b, h // k, k, w // k, k, d)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(b, -1, k * k, d)


def partition_by_slices(x, window_size):
    starts = [range(0, size, window_size) for size in x.shape[1:3]]
    windows = [
        x[:, i : i + window_size, j : j + window_size].flatten(1, 2)
        for i in starts[0]
        for j in starts[1]
    ]
    return torch.stack(windows, 1)


def partition_with(order, shape=lambda h, w, k: (h // k, k, w // k, k)):
    def wrong(x, k):
        b, h, w, d = x.shape
        split = x.reshape(b, *shape(h, w, k), d)
        return split.permute(*order).reshape(b, -1, k * k, d)

    return wrong


def partition_in_place(x, window_size):
    answer = window_partition(x, window_size)
    x.zero_()
    return answer


PARTITIONS = {
    "without `permute`": lambda x, k: x.reshape(len(x), -1, k * k, x.shape[3]),
    "pixels of a window go column": partition_with((0, 1, 3, 4, 2, 5)),
    "windows go column by column": partition_with((0, 3, 1, 2, 4, 5)),
    "of the windows and inside": partition_with((0, 3, 1, 4, 2, 5)),
    "grids of distant pixels": partition_with(
        (0, 2, 4, 1, 3, 5), lambda h, w, k: (k, h // k, k, w // k)
    ),
    "Height and width are swapped": partition_with(
        (0, 1, 3, 2, 4, 5), lambda h, w, k: (w // k, k, h // k, k)
    ),
    "batch are mixed": partition_with((1, 3, 0, 2, 4, 5)),
    "first two pixels of each row": lambda x, k: window_partition(x, k).flip(1),
    "bring both numbers": lambda x, k: window_partition(x, k).flip(2),
    "channels last": lambda x, k: window_partition(x, k).transpose(2, 3),
    "One axis for the map": lambda x, k: window_partition(x, k).flatten(0, 1),
    "gradient of `x`": lambda x, k: window_partition(x, k).detach(),
    "write into their argument": partition_in_place,
}


def window_merge(windows, height, width):
    b, _, tokens, d = windows.shape
    k = math.isqrt(tokens)
    split = windows.reshape(b, height // k, width // k, k, k, d)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(b, height, width, d)


def merge_by_slices(windows, height, width):
    k = math.isqrt(windows.shape[2])
    rows = windows.unflatten(2, (k, k)).split(width // k, dim=1)
    return torch.cat([torch.cat(row.unbind(1), 2) for row in rows], 1)


def merge_with(order, shape=lambda h, w, k: (h // k, w // k, k, k)):
    def wrong(windows, h, w):
        k = math.isqrt(windows.shape[2])
        b, d = len(windows), windows.shape[3]
        return windows.reshape(b, *shape(h, w, k), d).permute(*order).reshape(b, h, w, d)

    return wrong


def merge_in_place(windows, height, width):
    answer = window_merge(windows, height, width)
    windows += 1
    return answer


MERGES = {
    "without `permute`": lambda x, h, w: x.reshape(len(x), h, w, -1),
    "pixels of a window go column": merge_with((0, 1, 4, 2, 3, 5)),
    "windows go column by column": merge_with(
        (0, 2, 3, 1, 4, 5), lambda h, w, k: (w // k, h // k, k, k)
    ),
    "of the windows and inside": merge_with(
        (0, 2, 4, 1, 3, 5), lambda h, w, k: (w // k, h // k, k, k)
    ),
    "grids of distant pixels": merge_with((0, 3, 1, 4, 2, 5)),
    "Height and width are swapped": merge_with(
        (0, 1, 3, 2, 4, 5), lambda h, w, k: (w // k, h // k, k, k)
    ),
    "first two pixels of each window": lambda *a: window_merge(*a).flip(2),
    "Undo the partition": lambda *a: window_merge(*a).flip(1),
    "Back to (B, height": lambda x, h, w: window_merge(x, h, w).movedim(-1, 1),
    "gradient of `windows`": lambda *a: window_merge(*a).detach(),
    "write into their argument": merge_in_place,
}


# Attention.


def mixed(weights, v):
    return weights @ v


def scores(q, k):
    return q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])


def weights(q, k, mask):
    hidden = scores(q, k).masked_fill(~mask, -math.inf)
    return hidden.softmax(-1).masked_fill(~mask, 0)


def attention(q, k, v, mask):
    return weights(q, k, mask) @ v


def attention_by_hand(q, k, v, mask):
    raw = torch.where(mask, scores(q, k), torch.tensor(-math.inf))
    powers = torch.exp(raw - raw.amax(2, keepdim=True).clamp(min=-1e9))
    return powers @ v / powers.sum(2, keepdim=True).clamp(min=1e-9)


def softmax_with(score, axis=-1):
    def wrong(q, k, v, mask):
        weights = score(q, k).masked_fill(~mask, -math.inf).softmax(axis)
        return weights @ v

    return wrong


def by_plain_powers(q, k, v, mask):
    powers = scores(q, k).exp() * mask
    return powers @ v / powers.sum(-1, keepdim=True).clamp(min=1e-9)


def by_low_scores(q, k, v, mask):
    return scores(q, k).masked_fill(~mask, -1e9).softmax(-1) @ v


def attention_in_place(q, k, v, mask):
    answer = attention(q, k, v, mask)
    q /= math.sqrt(q.shape[-1])
    return answer


ATTENTIONS = {
    "division by sqrt(d) is missing": softmax_with(lambda q, k: q @ k.mT),
    "You divided by d": softmax_with(lambda q, k: q @ k.mT / q.shape[-1]),
    "root of the number of keys": softmax_with(lambda q, k: q @ k.mT / k.shape[1] ** 0.5),
    "softmax runs over the queries": lambda q, k, v, mask: (
        scores(q, k).masked_fill(~mask, -math.inf).softmax(1) @ v
    ),
    "softmax runs over the batch": lambda q, k, v, mask: (scores(q, k).softmax(0) * mask) @ v,
    "masked after the softmax": lambda q, k, v, mask: (scores(q, k).softmax(-1) * mask) @ v,
    "multiplied the scores": lambda q, k, v, mask: (scores(q, k) * mask).softmax(-1) @ v,
    "added the mask": lambda q, k, v, mask: (scores(q, k) + mask).softmax(-1) @ v,
    "`masked_fill` fills where": lambda q, k, v, mask: attention(q, k, v, ~mask),
    "left out the mask": lambda q, k, v, mask: scores(q, k).softmax(-1) @ v,
    "left out the softmax": lambda q, k, v, mask: (scores(q, k) * mask) @ v,
    "shares of the scores": lambda q, k, v, mask: (
        F.normalize(scores(q, k) * mask, p=1, dim=-1)
        @ v
        * (scores(q, k) * mask).abs().sum(-1, keepdim=True)
        / (scores(q, k) * mask).sum(-1, keepdim=True)
    ),
    "-inf where the mask is False; softmax": lambda *inputs: attention(*inputs) + 1,
    "0 / 0, nan": softmax_with(scores),
    "everybody gets the same weight": by_low_scores,
    "`softmax` subtracts": by_plain_powers,
    "gradient of `q`": lambda q, k, v, mask: attention(q.detach(), k, v, mask),
    "gradient of `k`": lambda q, k, v, mask: attention(q, k.detach(), v, mask),
    "gradient of `v`": lambda q, k, v, mask: attention(q, k, v.detach(), mask),
    "(B, M, E) values": lambda q, k, v, mask: weights(q, k, mask),
    "write into their argument": attention_in_place,
}


# The leak test.


def leak_test(change=lambda x: x + torch.randn_like(x), late=None, outputs=None, times=None):
    """A test that changes the frames `late(t)` and compares `outputs(t)`, for the times given."""

    def test(model, features):
        before = model(features)
        for t in times(features.shape[1]) if times else range(1, features.shape[1]):
            place = late(t) if late else slice(t, None)
            seen = outputs(t) if outputs else slice(t)
            changed = features.clone()
            changed[:, place] = change(changed[:, place])
            if not torch.allclose(model(changed)[:, seen], before[:, seen]):
                return True
        return False

    return test


leaks = leak_test()


def leaks_by_gradients(model, features):
    x = features.clone().requires_grad_()
    outputs = model(x)
    for t in range(features.shape[1] - 1):
        weighed = (outputs[:, t] * torch.randn_like(outputs[:, t])).sum()
        (slope,) = torch.autograd.grad(weighed, x, retain_graph=True)
        if (slope[:, t + 1 :] != 0).any():
            return True
    return False


def leaks_by_jacobian(model, features):
    influence = torch.autograd.functional.jacobian(model, features[:1]).abs()
    seen = influence.sum((0, 2, 3, 5))  # outputs' times x frames' times
    return seen.triu(1).max() > 0


def leaks_by_cutting(model, features):
    """The beginning of a clip by itself must get what it gets in the whole."""
    whole = model(features)
    ends = range(1, features.shape[1])
    return not all(torch.allclose(model(features[:, :t]), whole[:, :t]) for t in ends)


def leaks_by_sum(model, features):
    x = features.clone().requires_grad_()
    outputs = model(x)
    for t in range(1, features.shape[1]):
        (slope,) = torch.autograd.grad(outputs[:, :t].sum(), x, retain_graph=True)
        if (slope[:, t:] != 0).any():
            return True
    return False


def without_a_copy(model, features):
    changed = features
    changed[:, 2:] += torch.randn_like(changed[:, 2:])
    return not torch.allclose(model(changed)[:, :2], model(features)[:, :2])


def in_mode(training):
    def wrong(model, features):
        mode = model.training
        model.train(training)
        result = leaks(model, features)
        model.train(mode)
        return result

    return wrong


def forgets_the_mode(model, features):
    result = leaks(model, features)
    model.eval()
    return result


def spoils_the_features(model, features):
    result = leaks(model, features)
    features.zero_()
    return result


LEAK_TESTS = {
    "You acquit every model": without_a_copy,
    "You accuse every model": lambda model, features: True,
    "True means that the future": lambda model, features: not leaks(model, features),
    "You shifted or scaled": leak_test(lambda x: x + 1),
    "LayerNorm undoes that": leak_test(lambda x: 2 * x),
    "sum over the channels": leaks_by_sum,
    "You changed the past": leak_test(late=lambda t: slice(t), outputs=lambda t: slice(t, None)),
    "and compared later outputs": leak_test(
        late=lambda t: slice(t, t + 1),
        outputs=lambda t: slice(t + 1, None),
        times=lambda n: range(n - 1),
    ),
    "output of the changed frame": leak_test(outputs=lambda t: slice(t + 1)),
    "You compared all outputs": leak_test(outputs=lambda t: slice(None)),
    "You called `eval()`": in_mode(training=False),
    "You called `train()`": in_mode(training=True),
    "the last frame alone": leak_test(times=lambda n: [n - 1]),
    "the first output alone": leak_test(outputs=lambda t: slice(1)),
    "just before the changed": leak_test(
        late=lambda t: slice(t, t + 1), outputs=lambda t: slice(t - 1, t)
    ),
    "do it for every t": leak_test(times=lambda n: [n // 2]),
    "compare earlier outputs": leak_test(
        late=lambda t: slice(t - 1, t), outputs=lambda t: slice(t + 1, None), times=lambda n: [1]
    ),
    "one answer for the whole model": lambda model, features: model(features) != features,
    "Leave `train()`": forgets_the_mode,
    "Change a copy": spoils_the_features,
}


class TestTheCheckers(CheckedChapter):
    right: ClassVar = [
        (check.causal_mask, causal_mask),
        (check.causal_mask, mask_by_comparison),
        (check.sincos_1d, sincos_1d),
        (check.sincos_1d, code_by_turning),
        (check.window_partition, window_partition),
        (check.window_partition, partition_by_slices),
        (check.window_merge, window_merge),
        (check.window_merge, merge_by_slices),
        (check.attention, attention),
        (check.attention, attention_by_hand),
        (check.leaks, leaks),
        (check.leaks, leaks_by_gradients),
        (check.leaks, leaks_by_jacobian),
        (check.leaks, leaks_by_cutting),
    ]
    wrong: ClassVar = {
        check.causal_mask: CAUSAL_MASKS,
        check.sincos_1d: CODES,
        check.window_partition: PARTITIONS,
        check.window_merge: MERGES,
        check.attention: ATTENTIONS,
        check.leaks: LEAK_TESTS,
    }
