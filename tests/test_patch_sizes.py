"""What a patch costs, by the formulas and the paper's table, and the widget that shows it."""

import numpy as np
import pytest
import torch
from test_player import frame_on_screen

from course_lib.data.video import to_bytes
from course_lib.evaluation.patches import published_cost
from course_lib.models.dit import patchify
from course_lib.models.dit_variants import (
    PATCH_SIZES,
    SIZES,
    ConditionedDiT,
    num_parameters,
    published,
)
from course_lib.widgets.patch_sizes import COST, CUT, PatchSizes


def photo():
    return torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8


@pytest.fixture(scope="module")
def player():
    return PatchSizes(photo(), patchify, "yours")


@pytest.mark.parametrize("key", [("S", 8), ("S", 4), ("B", 4), ("XL", 2)])
def test_costs_add_up_from_the_layers(key):
    dim, depth, _ = SIZES[key[0]]
    cost, patch = published_cost(*key), key[1] ** 2 * 4
    tokens = (32 // key[1]) ** 2
    once = dim * (6 * dim * depth + 2 * dim + 256 + dim)  # modulation, and the time's MLP
    each = depth * (12 * dim**2 + 2 * tokens * dim) + 3 * patch * dim
    assert (cost.tokens, cost.macs_once) == (tokens, once)
    assert cost.macs == once + tokens * each
    with torch.device("meta"):
        model = ConditionedDiT(published(*key))
    assert cost.parameters == num_parameters(model)


def test_halving_the_patch_adds_four_times_the_tokens_and_no_weights():
    for size in SIZES:
        large, small = published_cost(size, 4), published_cost(size, 2)
        assert small.tokens == 4 * large.tokens
        assert small.macs > 4 * large.macs
        assert small.parameters == pytest.approx(large.parameters, rel=0.001)


def test_the_function_it_is_given_cuts_the_photograph_and_white_parts_the_patches(player):
    for n, p in enumerate(PATCH_SIZES):
        pixels = frame_on_screen(player, CUT, 0, n, 0)
        inside = np.ones((256, 256), bool)
        for away in range(8 * p - 3, 8 * p):
            inside[away :: 8 * p] = inside[:, away :: 8 * p] = False
        expected = to_bytes(photo()).permute(1, 2, 0).numpy()
        assert (pixels[inside] == expected[inside]).all()
        assert (pixels[~inside] == 255).all()
    other = PatchSizes(photo(), lambda x, p: patchify(x, p).flip(1))
    assert not np.array_equal(
        frame_on_screen(other, CUT, 0, 0, 0), frame_on_screen(player, CUT, 0, 0, 0)
    )


def test_bars_are_as_tall_as_the_logarithms_say(player):
    colours = np.array([(0, 0x72, 0xB2), (0xD5, 0x5E, 0), (0, 0x9E, 0x73)])
    first = published_cost("S", 8)
    for a, size in enumerate(SIZES):
        for b, p in enumerate(PATCH_SIZES):
            cost, pixels = published_cost(size, p), frame_on_screen(player, COST, a, b, 0)
            tall = [int((pixels == colour).all(-1).any(1).sum()) for colour in colours]
            ratios = [cost.tokens / first.tokens, cost.macs / first.macs]
            ratios.append(cost.parameters / first.parameters)
            expected = 176 * np.log(np.array(ratios) / 0.7) / np.log(400 / 0.7)
            np.testing.assert_allclose(tall, expected, atol=2.1)


def test_it_begins_at_the_largest_network_and_says_its_numbers(player):
    assert player.value == {"network": 3, "patch size p": 0, "frame": 0}
    said = player.captions["texts"][player.captions["index"][-1]]
    assert said == (
        "DiT-XL/2: 256 tokens, each for 16 x 16 pixels; 118.62 G multiply-accumulates, "
        "675.1 M parameters\npatchify: yours"
    )
    assert player.num_bytes < 700_000  # noise, which nothing compresses
    assert len(player.contact_sheet()) < 400_000


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"permitted: \(3, 256, 256\)"):
        PatchSizes(torch.zeros(3, 64, 64), patchify)
