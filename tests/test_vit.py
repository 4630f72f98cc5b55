"""The vision transformer: its published size, and what each of its parts can see."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from course_lib.models.dit import DiTConfig, unpatchify
from course_lib.models.vit import ViT

TINY = DiTConfig(size=8, patch_size=2, dim=16, depth=2, num_heads=2, num_classes=3)
BASE_16 = DiTConfig(224, 3, 3, 16, 768, 12, 12, num_classes=1000)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def vit():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return ViT(TINY)


def test_the_base_size_has_as_many_weights_as_the_published_one():
    with torch.device("meta"):
        model = ViT(BASE_16)
    assert sum(weight.numel() for weight in model.parameters()) == 86_567_656  # torchvision's


def test_a_score_for_each_class_is_read_from_the_class_token_alone(vit):
    tokens = draw(2, 17, 16).requires_grad_()
    scores = vit(draw(2, 1, 8, 8))
    assert scores.shape == (2, 3)
    seen = []
    hook = vit.head.register_forward_hook(lambda _m, inputs, _out: seen.append(inputs[0]))
    vit(draw(2, 1, 8, 8))
    hook.remove()
    expected = vit.transform(vit.embed(draw(2, 1, 8, 8)))[:, 0]
    assert torch.equal(seen[0], expected)
    (gradient,) = torch.autograd.grad(vit.transform(tokens)[:, 0].sum(), tokens)
    assert (gradient.abs().sum((0, 2)) > 0).all()  # but it has looked at all of them


def test_order_matters_by_the_learned_positions_only(vit):
    patches = draw(1, 16, 4)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    x, shuffled = unpatchify(patches, 2), unpatchify(patches[:, order], 2)
    with torch.no_grad():
        assert (vit(x) - vit(shuffled)).abs().max() > 1e-4
        vit.positions.zero_()
        torch.testing.assert_close(vit(x), vit(shuffled), atol=1e-6, rtol=1e-5)
    assert isinstance(vit.positions, nn.Parameter)
    assert vit.positions.shape == (17, 16)


def test_the_class_token_comes_first_and_has_a_position_too(vit):
    first = vit.embed(draw(2, 1, 8, 8))[:, 0]
    assert torch.equal(first, (vit.class_token[0] + vit.positions[:1]).expand(2, -1))


def test_it_learns_from_every_weight(vit):
    nn.init.normal_(vit.class_token)
    vit(draw(2, 1, 8, 8)).square().sum().backward()
    unused = [n for n, w in vit.named_parameters() if w.grad is None or not w.grad.abs().sum()]
    assert unused == []


def test_a_picture_without_classes_is_refused():
    with pytest.raises(ValueError, match="num_classes is 0; permitted: 1 and more"):
        ViT(replace(TINY, num_classes=0))
