"""The first updates of a DiT: which parts they reach, and that a dead start stays dead."""

import pytest
import torch

from course_lib.recipes import dit_start as start

TINY = {"patch_size": 16, "dim": 16, "depth": 2, "num_heads": 2}
INSIDE = ("shift, scale", "attention, MLP")


def reached(update):
    return {part for part, size in update.gradients.items() if size}


def test_the_gradient_arrives_in_three_updates_from_the_last_layer_inwards():
    first, second, third = start.first_updates(start.untrained(**TINY), 3, batch_size=4)
    assert reached(first) == {"last layer"}
    assert reached(second) == {"last layer", "patch embedding", "gates"}
    assert reached(third) == {*start.PARTS}
    assert first.gates == 0
    assert 0 < second.gates < third.gates


def test_where_gates_and_last_layers_are_zero_no_block_is_ever_reached():
    model = start.untrained(**TINY)
    for block in model.blocks:
        torch.nn.init.zeros_(block.attention.out.weight)
        torch.nn.init.zeros_(block.mlp[2].weight)
    for update in start.first_updates(model, 4, batch_size=4):
        assert not reached(update) & {"gates", *INSIDE}
        assert update.gates == 0


def test_parts_add_up_to_the_whole_gradient():
    model = start.untrained(**TINY)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    squares = sum(size**2 for size in start.gradient_sizes(model).values())
    assert squares == pytest.approx(sum(weight.numel() for weight in model.parameters()))
    gates = 2 * 2 * 16 * (16 + 1)  # blocks, gates, their channels, weights and bias
    assert start.gradient_sizes(model)["gates"] ** 2 == pytest.approx(gates)


def test_all_networks_see_the_same_batches():
    losses = [
        next(start.first_updates(start.untrained(seed, **TINY), 1, batch_size=4)).loss
        for seed in (0, 1)
    ]
    assert losses[0] == losses[1]  # both guess no noise


def test_blocks_without_gates_are_refused():
    with pytest.raises(ValueError, match="permitted: the blocks of adaLN-Zero"):
        start.gradient_sizes(start.untrained(**TINY, conditioning="adaLN"))
