"""The recipes of the DiT experiments: what is trained alike, what is measured, on what."""

from dataclasses import replace

import pytest
import torch

from course_lib.models.dit_variants import ConditionedDiT, ConditionedDiTConfig, num_parameters
from course_lib.recipes import dit_conditioning as conditioning
from course_lib.recipes import dit_grid as grid

TINY = ConditionedDiTConfig(patch_size=16, dim=16, depth=2, num_heads=2, num_classes=10)


def make(config=TINY):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return ConditionedDiT(config).eval()


def test_members_differ_in_what_they_compare_alone():
    small = {cell: member.small for cell, member in grid.MEMBERS.items()}
    for (dim, patch_size), config in small.items():
        assert (config.model.dim, config.model.patch_size) == (dim, patch_size)
        plain = replace(config.model, dim=128, patch_size=4)
        assert replace(config, model=plain, every=150) == small[128, 4]
    for (way, seed), member in conditioning.MEMBERS.items():
        plain = replace(member.small.model, conditioning="adaLN-Zero")
        assert replace(member.small, model=plain, seed=0) == small[128, 4]
        assert (member.small.model.conditioning, member.small.seed) == (way, seed)
    assert len(conditioning.RECIPES) == 8
    assert len(grid.RECIPES) == 9  # with the U-Net, and without the one of the conditionings


def test_untrained_the_loss_is_that_of_guessing_no_noise_on_the_same_noise_for_all():
    losses = conditioning.held_out_losses(make())
    assert losses.shape == (3000,)
    assert losses.mean().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(losses[:300], conditioning.held_out_losses(make(), 300))
    other = conditioning.held_out_losses(make(replace(TINY, conditioning="in-context")), 300)
    assert torch.equal(losses[:300], other)


def test_gates_are_0_at_first_and_then_what_the_modulation_says():
    model = make()
    assert conditioning.gate_sizes(model) == {"gate_0": 0, "gate_1": 0}
    with torch.no_grad():
        # shift, scale, gate, shift, scale, gate of 16 numbers each
        model.blocks[1].modulation.bias[32:48] = -0.5
        model.blocks[1].modulation.bias[80:96] = 0.1
        model.blocks[0].modulation.bias[0:32] = 9.0
    assert conditioning.gate_sizes(model) == pytest.approx({"gate_0": 0, "gate_1": 0.3})
    assert conditioning.gate_sizes(make(replace(TINY, conditioning="adaLN"))) == {}


def test_costs_are_counted_for_one_picture():
    model = make()
    tokens, dim = 4, 16
    blocks = 2 * (tokens * 12 * dim**2 + 2 * tokens**2 * dim + 6 * dim**2)
    around = tokens * 2 * 256 * dim + 2 * dim**2 + (256 * dim + dim**2)
    assert conditioning.mega_macs(model) == pytest.approx((blocks + around) / 1e6)
    assert num_parameters(model) == sum(w.numel() for w in model.parameters()) + tokens * dim


def test_gates_of_a_network_without_classes_are_refused():
    with pytest.raises(ValueError, match="the network has no classes; permitted: one of digits"):
        conditioning.gate_sizes(make(replace(TINY, num_classes=0)))
