"""Every checker of chapter 7 is checked: right answers pass, wrong ones get their message."""

import math
import statistics
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checked import CheckedChapter
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib.checks import chapter7 as check
from course_lib.models.dit import AdaLNZeroBlock, DiTConfig


@pytest.fixture(autouse=True)
def reader(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))


# Patches.


def patchify(x, patch_size, order=(0, 2, 4, 3, 5, 1)):
    batch, channels, height, width = x.shape
    p = patch_size
    split = x.reshape(batch, channels, height // p, p, width // p, p)
    return split.permute(order).reshape(batch, height // p * (width // p), p * p * channels)


def patchify_by_unfold(x, patch_size):
    """`F.unfold` orders channels first."""
    columns = F.unfold(x, patch_size, stride=patch_size)  # (B, C * p * p, N)
    split = columns.unflatten(1, (x.shape[1], patch_size**2))
    return split.transpose(1, 2).flatten(1, 2).mT


def patchify_edges_swapped(x, patch_size):
    batch, channels, height, width = x.shape
    p = patch_size
    split = x.reshape(batch, channels, width // p, p, height // p, p)
    return split.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, p * p * channels)


def patchify_scattered(x, patch_size):
    rows, columns = x.shape[2] // patch_size, x.shape[3] // patch_size
    tokens = [
        x[:, :, i::rows, j::columns].movedim(1, -1).flatten(1)
        for i in range(rows)
        for j in range(columns)
    ]
    return torch.stack(tokens, 1)


def patchify_squares_alone(x, patch_size):
    if x.shape[2] != x.shape[3]:
        raise ValueError("not square")
    return patchify(x, patch_size)


def patchify_with_as_many_columns_as_rows(x, patch_size):
    batch, channels, side, _ = x.shape
    h, p = side // patch_size, patch_size
    split = x[..., :side].reshape(batch, channels, h, p, -1, p)
    return split.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, p * p * channels)


def patchify_on_a_grid(x, patch_size):
    return patchify(x, patch_size).unflatten(1, (x.shape[2] // patch_size, -1))


def patchify_in_place(x, patch_size):
    tokens = patchify(x, patch_size)
    x -= x.mean()
    return tokens


def reshaped(x, patch_size, channels_last=False):
    moved = x.movedim(1, -1) if channels_last else x
    return moved.reshape(len(x), -1, patch_size**2 * x.shape[1])


CUTS = {
    "numbered by columns first": partial(patchify, order=(0, 4, 2, 3, 5, 1)),
    "come channels first": lambda x, p: F.unfold(x, p, stride=p).mT,
    "Rows and columns inside a patch": partial(patchify, order=(0, 2, 4, 5, 3, 1)),
    "you cut a transposed picture": lambda x, p: patchify(x.mT, p),
    "scattered pixels": patchify_scattered,
    "You reshaped without another order": reshaped,
    "does not help": partial(reshaped, channels_last=True),
    "Height and width are mixed up": patchify_edges_swapped,
    "there are H / p rows": patchify_squares_alone,
    "each from its own axis": patchify_with_as_many_columns_as_rows,
    "The last two axes": lambda x, p: F.unfold(x, p, stride=p),
    "still lie on a grid": patchify_on_a_grid,
    "have an axis of their own": lambda x, p: (
        patchify(x, p).unflatten(2, (-1, x.shape[1])).movedim(3, 1)
    ),
    "have an axis each": lambda x, p: patchify(x, p).unflatten(2, (p, p, -1)),
    "a token for each channel": lambda x, p: reshaped(x, p).reshape(len(x), -1, p * p),
    "One token for each patch": lambda x, p: patchify(x, p).flatten(1),
    "A patch is a square": lambda x, p: patchify(x, p).flip(1),
    "write into their argument": patchify_in_place,
}


def unpatchify(tokens, patch_size, order=(0, 5, 1, 3, 2, 4)):
    side, p = math.isqrt(tokens.shape[1]), patch_size
    split = tokens.reshape(len(tokens), side, side, p, p, -1)
    return split.permute(order).reshape(len(tokens), -1, side * p, side * p)


def unpatchify_by_fold(tokens, patch_size):
    p = patch_size
    size = math.isqrt(tokens.shape[1]) * p
    channels_first = tokens.unflatten(2, (p * p, -1)).transpose(2, 3).flatten(2)
    return F.fold(channels_first.mT, (size, size), p, stride=p)


def pasted_channels_first(tokens, patch_size):
    side, p = math.isqrt(tokens.shape[1]), patch_size
    split = tokens.reshape(len(tokens), side, side, -1, p, p)
    return split.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, side * p, side * p)


def pasted_in_stripes(tokens, patch_size, channels_last=False):
    size = math.isqrt(tokens.shape[1]) * patch_size
    if channels_last:
        return tokens.reshape(len(tokens), size, size, -1).movedim(-1, 1)
    return tokens.reshape(len(tokens), -1, size, size)


def pasted_one_channel(tokens, patch_size, channel=False):
    """With one channel the numbers of a patch are a square."""
    side, p = math.isqrt(tokens.shape[1]), patch_size
    numbers = tokens[..., : p * p] if channel else tokens
    split = numbers.reshape(len(tokens), side, side, p, p).transpose(2, 3)
    return split.reshape(len(tokens), 1, side * p, side * p)


def pasted_in_place(tokens, patch_size):
    x = unpatchify(tokens, patch_size)
    tokens.zero_()
    return x


PASTES = {
    "of the grid are swapped": partial(unpatchify, order=(0, 5, 2, 3, 1, 4)),
    "inside a patch are swapped": partial(unpatchify, order=(0, 5, 1, 4, 2, 3)),
    "your picture is transposed": lambda tokens, p: unpatchify(tokens, p).mT,
    "along a stripe of the picture": pasted_in_stripes,
    "each token still lies": partial(pasted_in_stripes, channels_last=True),
    "You scattered each patch": partial(unpatchify, order=(0, 5, 3, 1, 4, 2)),
    "channels first": pasted_channels_first,
    "for one channel alone": pasted_one_channel,
    "that of a token's numbers over": partial(pasted_one_channel, channel=True),
    "The channels come last": lambda tokens, p: unpatchify(tokens, p).movedim(1, -1),
    "The axis of the channels": lambda tokens, p: unpatchify(tokens, p)[:, 0],
    "have an axis each": lambda tokens, p: (
        unpatchify(tokens, p).unflatten(3, (-1, p)).unflatten(2, (-1, p))
    ),
    "S is p times": lambda tokens, p: unpatchify(tokens, p)[..., :-1],
    "Split the tokens": lambda tokens, p: unpatchify(tokens, p).flip(2),
    "write into their argument": pasted_in_place,
}


# Modulation.


def modulate(x, shift, scale):
    return x * (1 + scale[:, None]) + shift[:, None]


def modulate_by_einsum(x, shift, scale):
    return x + torch.einsum("bnd,bd->bnd", x, scale) + shift.unsqueeze(1).expand_as(x)


def modulate_in_place(x, shift, scale):
    scale += 1
    return x * scale[:, None] + shift[:, None]


def modulate_where_it_must(x, shift, scale):
    """Right, but for as many tokens as numbers alone."""
    return modulate(x, shift, scale) if len(x) != 3 else x.clone()


MODULATIONS = {
    "The 1 is missing": lambda x, shift, scale: x * scale[:, None] + shift[:, None],
    "Shift and scale are swapped": lambda x, shift, scale: modulate(x, scale, shift),
    "no error tells you": lambda x, shift, scale: x * (1 + scale) + shift,
    "have no axis for the tokens": lambda x, shift, scale: x * (1 + scale) + shift,
    "You normalised again": lambda x, shift, scale: modulate(
        F.layer_norm(x, x.shape[-1:], eps=1e-6), shift, scale
    ),
    "again, with mean and deviation": lambda x, shift, scale: modulate(
        (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True), shift, scale
    ),
    "You shifted before": lambda x, shift, scale: (x + shift[:, None]) * (1 + scale[:, None]),
    "You left out the shift": lambda x, shift, scale: x * (1 + scale[:, None]),
    "You left out the scale": lambda x, shift, scale: x + shift[:, None],
    "You added x once more": lambda x, shift, scale: x + modulate(x, shift, scale),
    "The sign of the scale": lambda x, shift, scale: modulate(x, shift, -scale),
    "(B, N, D), as x": lambda x, shift, scale: modulate(x, shift, scale).mean(1),
    "one shift and one scale": lambda x, shift, scale: 1.1 * modulate(x, shift, scale),
    "meets (B, N, D)": modulate_where_it_must,
    "or its gradient is cut": lambda x, shift, scale: modulate(x, shift.detach(), scale),
    "write into their argument": modulate_in_place,
}


# The beginning of a block.


def start(block):
    nn.init.zeros_(block.modulation.weight)
    nn.init.zeros_(block.modulation.bias)


def start_without_gradients(block):
    with torch.no_grad():
        for weight in block.modulation.parameters():
            weight *= 0


def start_from_data(block):
    block.modulation.weight.data = torch.zeros_like(block.modulation.weight)
    block.modulation.bias.data.fill_(0)


def filled(**parts):
    """The six parts of weight or bias, each with a number, or None to leave it."""

    @torch.no_grad()
    def begin(block):
        for name, values in parts.items():
            chunks = block.modulation.get_parameter(name).chunk(6)
            for chunk, value in zip(chunks, values, strict=True):
                if value is not None:
                    chunk.fill_(value)

    return begin


ALL, GATES = [0] * 6, [None, None, 0] * 2


def stuck(block):
    start(block)
    for layer in (block.attention.out, block.mlp[2]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def last_layers_alone(block):
    for layer in (block.attention.out, block.mlp[2]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def last_weights_too(block):
    start(block)
    nn.init.zeros_(block.attention.out.weight)


def everything(block):
    for weight in block.parameters():
        nn.init.zeros_(weight)


def drawn_again(block):
    start(block)
    block.attention.qkv.weight.data *= 0.5


def another_layer(block):
    width = block.modulation.in_features
    block.modulation = nn.Linear(width, 6 * width)
    start(block)


def other_weights(block):
    for name, weight in list(block.modulation.named_parameters()):
        setattr(block.modulation, name, nn.Parameter(torch.zeros_like(weight)))


def another_block(block):
    width, heads = block.modulation.in_features, block.attention.num_heads
    with torch.random.fork_rng():
        new = AdaLNZeroBlock(DiTConfig(dim=width, num_heads=heads))
    start(new)
    return new


def frozen(block):
    start(block)
    block.modulation.requires_grad_(False)


def returning(block):
    start(block)
    return block


def without_no_grad(block):
    block.modulation.weight.zero_()


STARTS = {
    "You made another block": another_block,
    "Write into the block's weights": lambda block: torch.zeros_like(block.modulation.weight),
    "needs `torch.no_grad()`": without_no_grad,
    "weight of the modulation alone": filled(weight=ALL),
    "bias of the modulation alone": filled(bias=ALL),
    "Your gates begin at 1": filled(weight=ALL, bias=[0, 0, 1] * 2),
    "One of two gates": filled(weight=[0] * 3 + [None] * 3, bias=[0] * 3 + [None] * 3),
    "You zeroed the gates alone": filled(weight=GATES, bias=GATES),
    "You zeroed shift and scale": filled(weight=[0, 0, None] * 2, bias=[0, 0, None] * 2),
    "in place of the modulation": last_layers_alone,
    "Each branch is multiplied": filled(weight=[0.1] * 6, bias=[0.1] * 6),
    "nothing ever learns": stuck,
    "so both are 0": everything,
    "begin as they were drawn": drawn_again,
    "stay random": last_weights_too,
    "leave `requires_grad` alone": frozen,
    "a new layer": another_layer,
    "or a new weight": other_weights,
    "Return nothing": returning,
}


# Its cost.


def block_macs(
    num_tokens, dim, mlp_ratio, qkv=3, products=2, out=1, layers=2, modulation=6, operations=1
):
    linear = num_tokens * dim * dim * (qkv + out + layers * mlp_ratio)
    attention = products * num_tokens * num_tokens * dim
    return operations * (linear + attention + modulation * dim * dim)


def macs_as_pytorch_counts(num_tokens, dim, mlp_ratio):
    config = DiTConfig(dim=dim, num_heads=2, mlp_ratio=mlp_ratio)
    with torch.random.fork_rng():
        block = AdaLNZeroBlock(config)
    inputs = torch.zeros(1, num_tokens, dim), torch.zeros(1, dim)
    with FlopCounterMode(display=False) as counter:
        block(*inputs)
    return counter.get_total_flops() // 2


def macs_of_linear_layers(n, d, r):
    return n * 12 * d * d if r == 4 else n * (4 + 2 * r) * d * d


COUNTS = {
    "You counted two operations": partial(block_macs, operations=2),
    "forgot one of attention's two": partial(block_macs, products=1),
    "Nothing grows with the square": macs_of_linear_layers,
    "or hold num_tokens once": lambda n, d, r: block_macs(n, d, r, products=0) + 2 * n * d,
    "grow with the square of num_tokens": lambda n, d, r: (
        block_macs(n, d, r, products=0) + 2 * n * d
    ),
    "num_tokens twice and dim once": lambda n, d, r: block_macs(n, d, r, out=3, products=0),
    "Attention's products have dim once": lambda n, d, r: (
        block_macs(n, d, r, products=0) + 2 * n * n * d * d
    ),
    "Each pair of tokens costs": partial(block_macs, products=3),
    "you forgot the modulation": partial(block_macs, modulation=0),
    "for each token: the condition": lambda n, d, r: (
        block_macs(n, d, r, modulation=0) + n * 6 * d * d
    ),
    "three of six": partial(block_macs, modulation=3),
    "shifts and scales alone": partial(block_macs, modulation=4),
    "the modulation's outputs": lambda n, d, r: block_macs(n, d, r, modulation=0) + 6 * d,
    "It does not depend on num_tokens": partial(block_macs, modulation=7),
    "forgot the projection": partial(block_macs, out=0),
    "one of queries, keys and values": partial(block_macs, qkv=1),
    "You forgot queries": partial(block_macs, qkv=0),
    "forgot the layers of attention": partial(block_macs, qkv=0, out=0),
    "Each token goes through four": partial(block_macs, qkv=4),
    "one layer of the MLP": partial(block_macs, layers=1),
    "You forgot the MLP": partial(block_macs, layers=0),
    "You counted the MLP once": lambda n, d, r: block_macs(n, d, r, layers=0) + 2 * r * d * d,
    "not its square": lambda n, d, r: block_macs(n, d, r, layers=0) + 2 * n * (r * d) ** 2,
    "The MLP goes from dim": partial(block_macs, layers=3),
    "A count is a whole number": lambda n, d, r: block_macs(n, d, r) / 1,
    "You counted biases": lambda n, d, r: block_macs(n, d, r) + n * (4 + r + 1) * d + 6 * d,
    "norms, softmax": lambda n, d, r: block_macs(n, d, r) + n * n,
}


# The scale.


def scale_factor(latents):
    return 1 / latents.std()


def scale_as_numpy_has_it(latents):
    """Divided by the number of numbers, not one less."""
    return float(1 / np.std(latents.double().numpy()))


def scale_by_statistics(latents):
    return 1 / statistics.stdev(latents.flatten().tolist())


def scale_in_place(latents):
    latents -= latents.mean()
    return latents.square().mean().rsqrt()


def scale_of_pictures_alone(latents):
    return scale_factor(latents) if latents.ndim == 4 else scale_factor(latents[:, 0])


SCALES = {
    "one over the variance": lambda z: 1 / z.var(),
    "the deviation itself": torch.std,
    "That is the variance": torch.var,
    "You did not subtract the mean": lambda z: z.square().mean().rsqrt(),
    "one over the mean square": lambda z: 1 / z.square().mean(),
    "mean distance from 0": lambda z: 1 / z.abs().mean(),
    "mean distance from the mean": lambda z: 1 / (z - z.mean()).abs().mean(),
    "the largest number": lambda z: 1 / z.abs().max(),
    "You measured each channel and": lambda z: 1 / z.movedim(-3, 0).flatten(1).std(1).mean(),
    "not the mean of one over": lambda z: (1 / z.movedim(-3, 0).flatten(1).std(1)).mean(),
    "You measured each picture and": lambda z: 1 / z.flatten(1).std(1).mean(),
    "channels' means": lambda z: 1 / z.movedim(-3, 0).flatten(1).mean(1).std(),
    "pictures' means": lambda z: 1 / z.flatten(1).mean(1).std(),
    "the first picture alone": lambda z: 1 / z[0].std(),
    "each channel by itself": lambda z: 1 / z.std((0, 2, 3)),
    "each picture by itself": lambda z: 1 / z.std((1, 2, 3), keepdim=True),
    "Those are scaled latents": lambda z: z / z.std(),
    "One number for everything": lambda z: (1 / z.std())[None].expand(3),
    "of all numbers together": lambda z: 1.02 / z.std(),
    "`1 / latents.std()`": scale_of_pictures_alone,
    "write into their argument": scale_in_place,
}


# Guidance.


def joined(
    network,
    x_t,
    t,
    label,
    no_class,
    guidance_scale,
    free_label=torch.full_like,
    channels=None,
    rest="given",
    swapped=False,
):
    given, free = network(x_t, t, label), network(x_t, t, free_label(label, no_class))
    number = x_t.shape[1] if channels is None else channels
    others = {"given": given, "free": free}[rest][:, number:]
    if swapped:
        given, free = free, given
    noise = free[:, :number] + guidance_scale * (given - free)[:, :number]
    return torch.cat([noise, others], 1)


def guided(network, x_t, t, label, no_class, guidance_scale):
    given = network(x_t, t, label)
    free = network(x_t, t, torch.full_like(label, no_class))
    noise, variance = given.chunk(2, dim=1)
    without = free.chunk(2, dim=1)[0]
    return torch.cat([without + guidance_scale * (noise - without), variance], dim=1)


def guided_at_once(network, x_t, t, label, no_class, guidance_scale):
    """One call for a doubled batch, without a class first."""
    labels = torch.cat([torch.full_like(label, no_class), label])
    both = network(torch.cat([x_t, x_t]), torch.cat([t, t]), labels)
    free, answer = both.chunk(2)
    answer = answer.clone()
    channels = slice(0, x_t.shape[1])
    answer[:, channels] = torch.lerp(free[:, channels], answer[:, channels], guidance_scale)
    return answer


def half_doubled(network, x_t, t, label, no_class, guidance_scale):
    labels = torch.cat([label, torch.full_like(label, no_class)])
    return network(torch.cat([x_t, x_t]), t, labels)


def both_halves(*inputs):
    return torch.cat([guided(*inputs)] * 2)


def label_in_place(network, x_t, t, label, no_class, guidance_scale):
    given = network(x_t, t, label)
    label[:] = no_class
    free = network(x_t, t, label)
    noise = torch.lerp(free, given, guidance_scale)[:, : x_t.shape[1]]
    return torch.cat([noise, given[:, x_t.shape[1] :]], 1)


def noise_last(network, x_t, t, label, no_class, guidance_scale):
    answer = guided(network, x_t, t, label, no_class, guidance_scale)
    return torch.cat(answer.chunk(2, 1)[::-1], 1)


def variance_guided_alone(network, x_t, *others):
    answer = guided(lambda *x: torch.cat(network(*x).chunk(2, 1)[::-1], 1), x_t, *others)
    return torch.cat(answer.chunk(2, 1)[::-1], 1)


def without_start(network, x_t, t, label, no_class, guidance_scale):
    at = partial(guided, network, x_t, t, label, no_class)
    difference = at(guidance_scale) - at(0)
    return torch.cat([difference.chunk(2, 1)[0], at(1).chunk(2, 1)[1]], 1)


def moved_scale(change):
    return lambda network, x_t, t, label, no_class, guidance_scale: guided(
        network, x_t, t, label, no_class, change(guidance_scale)
    )


def first_alone(label, no_class):
    label = label.clone()
    label[0] = no_class
    return label


GUIDES = {
    "the first three channels alone. The official": partial(joined, channels=3),
    "the first three channels alone, and": partial(joined, channels=3, rest="free"),
    "channels of the variance, too": lambda *inputs: joined(
        *inputs, channels=2 * inputs[1].shape[1]
    ),
    "are those of the answer without": partial(joined, rest="free"),
    "in place of the noise": variance_guided_alone,
    "Noise and variance are swapped": noise_last,
    "leads away from that without": partial(joined, swapped=True),
    "in the noise and in the variance": partial(joined, swapped=True, rest="free"),
    "off by one": moved_scale(lambda s: s + 1),
    "one too small": moved_scale(lambda s: s - 1),
    "starting point is missing": without_start,
    "There is no guidance": lambda network, x_t, t, label, *others: network(x_t, t, label),
    "There is no class": lambda network, x_t, t, label, no_class, s: network(
        x_t, t, torch.full_like(label, no_class)
    ),
    "Label 0 is a class": partial(joined, free_label=lambda label, _: torch.zeros_like(label)),
    "label of the first picture alone": partial(joined, free_label=first_alone),
    "no_class - 1": partial(joined, free_label=lambda label, n: torch.full_like(label, n - 1)),
    "labels that are whole": partial(joined, free_label=lambda label, _: -torch.ones_like(label)),
    "A doubled batch doubles": half_doubled,
    "channels of the variance are missing": lambda *inputs: guided(*inputs).chunk(2, 1)[0],
    "both halves of a doubled batch: one": both_halves,
    "and no variance": lambda *inputs: both_halves(*inputs).chunk(2, 1)[0],
    "of its answer the second half": lambda *inputs: torch.cat(
        [guided(*inputs).chunk(2, 1)[0], guided(*inputs)], 1
    ),
    "As many channels as": lambda *inputs: guided(*inputs).mean(),
    "without class + guidance_scale": lambda *inputs: 1.1 * guided(*inputs),
    "is that of x_t": partial(joined, channels=4),
    "as it is. At 0": lambda *inputs: guided(*inputs) + 0.1 * (inputs[-1] in (0, 1)),
    "`label[:] = no_class`": label_in_place,
}


class TestTheCheckers(CheckedChapter):
    right: ClassVar = [
        (check.patchify, patchify),
        (check.patchify, patchify_by_unfold),
        (check.unpatchify, unpatchify),
        (check.unpatchify, unpatchify_by_fold),
        (check.modulate, modulate),
        (check.modulate, modulate_by_einsum),
        (check.start_as_identity, start),
        (check.start_as_identity, start_without_gradients),
        (check.start_as_identity, start_from_data),
        (check.block_macs, block_macs),
        (check.block_macs, macs_as_pytorch_counts),
        (check.scale_factor, scale_factor),
        (check.scale_factor, scale_as_numpy_has_it),
        (check.scale_factor, scale_by_statistics),
        (check.guided, guided),
        (check.guided, guided_at_once),
    ]
    wrong: ClassVar = {
        check.patchify: CUTS,
        check.unpatchify: PASTES,
        check.modulate: MODULATIONS,
        check.start_as_identity: STARTS,
        check.block_macs: COUNTS,
        check.scale_factor: SCALES,
        check.guided: GUIDES,
    }


def failing(verdict):
    return [finding.property for finding in verdict.findings if finding.fault]


def test_gates_of_zero_are_the_identity_and_learn_but_are_not_all_of_the_start():
    verdict = check.start_as_identity(STARTS["You zeroed the gates alone"])
    assert failing(verdict) == ["starts all of the modulation at 0"]


def test_a_block_with_any_gate_left_is_no_identity():
    for message in ("One of two gates", "You zeroed shift and scale", "Your gates begin at 1"):
        assert "makes it the identity" in failing(check.start_as_identity(STARTS[message]))


def test_a_part_of_the_cost_that_is_missing_fails_its_own_property_and_the_sum():
    sentences = {
        "You forgot the MLP": "counts both layers of the MLP",
        "forgot the projection": "counts queries, keys, values and the projection after attention",
        "forgot one of attention's two": (
            "counts both products of attention, which grow with the square of tokens"
        ),
        "you forgot the modulation": "counts the modulation, once for an example",
    }
    for message, sentence in sentences.items():
        failed = failing(check.block_macs(COUNTS[message]))
        assert failed == [sentence, "is the sum of all these, and of nothing else"]
