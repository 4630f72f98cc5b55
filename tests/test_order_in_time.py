"""What FAR can know of the order of its frames: what chapter 3 says of codes, masks and leaks."""

from dataclasses import replace

import pytest
import torch

from course_lib.models.vidhrformer import Masks, VidHRFormerConfig
from course_lib.models.vptr import AutoregressiveVPTR, VPTRConfig

BLOCK = VidHRFormerConfig(dim=8, map_size=4, window_size=2, num_heads=2, mlp_ratio=2)
FAR = VPTRConfig(context=4, horizon=3, depth=3, block=BLOCK)
SHUFFLED = [2, 0, 3, 1, 4]  # the last frame stays last
EVERYBODY = Masks(temporal=torch.ones(5, 5, dtype=torch.bool))


def draw(*shape, seed=0):
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def make(depth, *, codes):
    model = AutoregressiveVPTR(replace(FAR, depth=depth)).double().eval()
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.copy_(0.4 * draw(*weight.shape, seed=100 + number))
        model.norm.bias.add_(2)  # so that the last ReLU silences little
        if not codes:
            model.time_code.zero_()
    return model


@torch.no_grad()
def change_by_shuffling(model, masks):
    frames = draw(1, 5, 8, 4, 4).relu()
    straight, mixed = (model(x, masks=masks)[:, -1] for x in (frames, frames[:, SHUFFLED]))
    return (straight - mixed).abs().max().item()


@pytest.mark.parametrize("depth", [1, 3])
def test_without_codes_and_mask_the_order_of_earlier_frames_is_lost(depth):
    assert change_by_shuffling(make(depth, codes=False), EVERYBODY) < 1e-12
    assert change_by_shuffling(make(depth, codes=True), EVERYBODY) > 1e-3


def test_a_causal_mask_alone_tells_the_order_from_the_second_block_on():
    assert change_by_shuffling(make(1, codes=False), Masks()) < 1e-12
    assert change_by_shuffling(make(2, codes=False), Masks()) > 1e-3


def test_equal_frames_give_equal_outputs_whatever_the_codes():
    still = draw(1, 1, 8, 4, 4).relu().expand(-1, 5, -1, -1, -1)
    with torch.no_grad():
        output = make(3, codes=True)(still)
    assert (output - output[:, :1]).abs().max() < 1e-12
    assert output.std() > 0.1


def test_a_mask_that_is_shifted_by_one_leaks_one_frame_further_with_every_block():
    frames, changed = draw(1, 6, 8, 4, 4).relu(), 5
    other = frames.clone()
    other[:, changed] = draw(1, 8, 4, 4, seed=1).relu()
    shifted = Masks(temporal=torch.ones(6, 6, dtype=torch.bool).tril(1))
    for depth in (1, 2, 3):
        model = make(depth, codes=True)
        with torch.no_grad():
            moved = (model(other, masks=shifted) - model(frames, masks=shifted)).abs()
        felt = moved.amax((0, 2, 3, 4)) > 0
        assert felt.tolist() == [t >= changed - depth for t in range(6)]
