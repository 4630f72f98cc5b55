"""The parts of a block's work, against the work of the layers themselves."""

import pytest
import torch

from course_lib.evaluation.block_parts import block_parts
from course_lib.evaluation.cost import multiply_accumulates
from course_lib.models.dit import AdaLNZeroBlock, DiTConfig


def make(dim, ratio):
    with torch.device("meta"):
        return AdaLNZeroBlock(
            DiTConfig(size=8, patch_size=2, dim=dim, depth=1, num_heads=2, mlp_ratio=ratio)
        )


def counted(num_tokens, dim, mlp_ratio):
    block = make(dim, mlp_ratio)
    x, condition = (torch.zeros(1, *shape, device="meta") for shape in ((num_tokens, dim), (dim,)))
    return multiply_accumulates(lambda: block(x, condition))


@pytest.mark.parametrize("sizes", [(5, 8, 3), (64, 16, 4), (1, 4, 1)])
def test_parts_of_a_real_block_are_those_of_its_layers(sizes):
    num_tokens, dim, ratio = sizes
    block, x = make(dim, ratio), torch.zeros(1, num_tokens, dim, device="meta")
    parts = block_parts(counted, *sizes)
    assert parts["MLP"] == multiply_accumulates(lambda: block.mlp(x))
    assert parts["modulation"] == sum(w.numel() for w in block.modulation.parameters()) - 6 * dim
    whole = multiply_accumulates(lambda: block.attention(x))
    assert parts["projections"] + parts["products"] == whole
    assert parts["products"] == 2 * num_tokens**2 * dim
    assert sum(parts.values()) == counted(*sizes)


def test_a_wrong_count_still_adds_up():
    assert sum(block_parts(lambda n, d, r: 7 * n * d + r, 9, 4, 2).values()) == 7 * 36 + 2


def test_sizes_begin_at_one():
    with pytest.raises(ValueError, match="permitted: 1 and more"):
        block_parts(counted, 0, 4, 2)
