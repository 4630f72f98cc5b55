"""DiT's sizes and conditionings: the paper's tables, and what each way can and cannot carry."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from course_lib.evaluation.cost import multiply_accumulates
from course_lib.models.dit import DiT, DiTConfig
from course_lib.models.dit_variants import (
    ConditionedDiT,
    ConditionedDiTConfig,
    CrossAttention,
    num_parameters,
    published,
)

TABLE = {  # Gflops and millions of parameters: tables 1 and 4, parameters counted once more
    ("S", 8): (0.358, 33.15),  # 0.36 in print
    ("S", 4): (1.41, 32.95),
    ("S", 2): (6.06, 32.96),
    ("B", 8): (1.42, 131),
    ("B", 4): (5.56, 130.48),
    ("B", 2): (23.01, 130.51),
    ("L", 8): (5.01, 459),
    ("L", 4): (19.70, 458),
    ("L", 2): (80.71, 458.10),
    ("XL", 8): (7.39, 676),
    ("XL", 4): (29.05, 675),
    ("XL", 2): (118.64, 675.13),
}
ABLATION = {  # table 4: XL/2
    "in-context": (119.37, 449),
    "cross-attention": (137.62, 598),
    "adaLN": (118.56, 600),
    "adaLN-Zero": (118.64, 675),
}
WAYS = tuple(ABLATION)
TINY = ConditionedDiTConfig(
    size=8, patch_size=2, dim=16, depth=2, num_heads=2, num_classes=3, conditioning="in-context"
)
T, LABELS = torch.tensor([5, 800]), torch.tensor([0, 3])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(way, *, trained=False, **changes):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = ConditionedDiT(replace(TINY, conditioning=way, **changes))
        if trained:
            with torch.no_grad():
                for weight in model.parameters():
                    weight.add_(0.2 * torch.randn_like(weight))
    return model


def counted(config):
    """Gflops, as the paper says for multiply-accumulates, and millions of parameters."""
    with torch.device("meta"):
        model, x = ConditionedDiT(config), torch.zeros(1, 4, config.size, config.size)
        t = torch.zeros(1, dtype=torch.int64)
        gflops = multiply_accumulates(lambda: model(x, t, t)) / 1e9
    return gflops, num_parameters(model) / 1e6


@pytest.mark.parametrize("name", TABLE)
def test_sizes_cost_what_the_paper_prints(name):
    gflops, millions = counted(published(*name))
    assert gflops == pytest.approx(TABLE[name][0], rel=0.002)
    assert millions == pytest.approx(TABLE[name][1], rel=0.001 if TABLE[name][1] % 1 == 0 else 2e-4)


def test_larger_images_cost_more_tokens():
    assert counted(published("XL", 2, pixels=512))[0] == pytest.approx(524.5, rel=0.001)


@pytest.mark.parametrize("way", WAYS)
def test_conditionings_cost_what_the_paper_prints(way):
    gflops, millions = counted(published("XL", 2, conditioning=way))
    assert gflops == pytest.approx(ABLATION[way][0], rel=0.0005)
    assert millions == pytest.approx(ABLATION[way][1], rel=0.0015)


def test_adaln_zero_is_the_dit_of_the_course_bit_by_bit():
    """The same draws, names and answers: a checkpoint of one is one of the other."""
    mine, plain = make("adaLN-Zero"), DiTConfig(8, 1, 1, 2, 16, 2, 2, num_classes=3)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        other = DiT(plain)
    assert list(mine.state_dict()) == list(other.state_dict())
    for ours, theirs in zip(mine.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    trained = make("adaLN-Zero", trained=True)
    other.load_state_dict(trained.state_dict())
    x = draw(2, 1, 8, 8)
    assert torch.equal(trained(x, T, LABELS), other(x, T, LABELS))


@pytest.mark.parametrize("way", WAYS)
def test_every_answer_is_0_before_training_and_uses_every_weight_after(way):
    assert (make(way)(draw(2, 1, 8, 8), T, LABELS) == 0).all()
    model = make(way, trained=True)
    model(draw(2, 1, 8, 8), T, LABELS).square().sum().backward()
    unused = [n for n, w in model.named_parameters() if w.grad is None or not w.grad.abs().sum()]
    assert unused == []


def test_only_adaln_zero_begins_with_blocks_that_do_nothing():
    tokens, condition = draw(2, 16, 16), draw(2, 16, seed=1)
    moved = {}
    for way in WAYS:
        arguments = {"in-context": (), "cross-attention": (condition[:, None],)}
        block = make(way).blocks[0]
        moved[way] = (block(tokens, *arguments.get(way, (condition,))) - tokens).abs().max().item()
    assert moved.pop("adaLN-Zero") == 0
    assert min(moved.values()) > 0.1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["time", "class"])
def test_time_and_class_change_every_patch(way, what):
    model, x = make(way, trained=True), draw(1, 1, 8, 8).expand(2, -1, -1, -1)
    t = T if what == "time" else T[:1].expand(2)
    label = LABELS if what == "class" else LABELS[:1].expand(2)
    first, second = model(x, t, label)
    apart = (first - second).abs().unflatten(1, (4, 2)).unflatten(3, (4, 2)).amax((0, 2, 4))
    assert (apart > 1e-4).all()


def test_a_sequence_can_carry_what_a_sum_cannot():
    """AdaLN adds its conditions up; in context and cross-attention see a sequence of any length."""
    a, b, c = draw(3, 2, 16)
    tokens = draw(2, 16, 16)
    for way, sees in (("adaLN-Zero", 0), ("adaLN", 0), ("cross-attention", 1), ("in-context", 1)):
        model = make(way, trained=True)
        difference = model.transform(tokens, [a + c, b - c]) - model.transform(tokens, [a, b])
        assert (difference.abs().max() > 1e-3) == bool(sees)
        assert model.transform(tokens, [a, b, c]).shape == (2, 16, 4)


def test_without_classes_time_alone_is_told():
    for way in WAYS:
        model = make(way, num_classes=0, trained=True)
        assert model(draw(2, 1, 8, 8), T).shape == (2, 1, 8, 8)


@pytest.mark.parity
def test_cross_attention_is_that_of_torch():
    mine, x, sequence = CrossAttention(16, 4), draw(2, 5, 16), draw(2, 3, 16, seed=1)
    reference = nn.MultiheadAttention(16, 4, batch_first=True)
    reference.load_state_dict(
        {
            "in_proj_weight": torch.cat([mine.queries.weight, mine.keys_values.weight]),
            "in_proj_bias": torch.cat([mine.queries.bias, mine.keys_values.bias]),
            "out_proj.weight": mine.out.weight,
            "out_proj.bias": mine.out.bias,
        }
    )
    torch.testing.assert_close(mine(x, sequence), reference(x, sequence, sequence)[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replace(TINY, conditioning="film"), "conditioning is 'film'; permitted: adaLN-Z"),
        (lambda: published("M", 2), "size is 'M'; permitted: S, B, L, XL"),
        (lambda: published("S", 3), "patch_size is 3; permitted: what divides 32"),
    ],
)
def test_a_wrong_call_is_told_what_is_permitted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
