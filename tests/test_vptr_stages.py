"""What the decoder's sub-layers add: all of it, in order, and nothing once nobody watches."""

import pytest
import torch

from course_lib.models.vidhrformer import VidHRFormerConfig
from course_lib.models.vptr import VPTRConfig, to_tokens
from course_lib.models.vptr_decoders import NonAutoregressiveVPTR, PartiallyAutoregressiveVPTR
from course_lib.models.vptr_stages import STAGES, watch_stages

BLOCK = VidHRFormerConfig(dim=8, map_size=4, window_size=2, num_heads=2, mlp_ratio=2)
CONFIG = VPTRConfig(context=3, horizon=2, depth=1, decoder_depth=2, block=BLOCK)


def make(kind):
    """Every weight drawn, so that no bias is 0."""
    generator = torch.Generator().manual_seed(0)
    model = kind(CONFIG).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, dtype=weight.dtype, generator=generator))
    return model


def features(frames):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, frames, 8, 4, 4, dtype=torch.float64, generator=generator).relu()


@pytest.mark.parametrize(
    ("kind", "frames"), [(NonAutoregressiveVPTR, 3), (PartiallyAutoregressiveVPTR, 4)]
)
def test_all_that_is_added_makes_the_prediction(kind, frames):
    model = make(kind)
    given = features(frames)
    with torch.no_grad(), watch_stages(model) as added:
        predicted = model(given)
    assert list(added) == [(number, stage) for number in (0, 1) for stage in STAGES]
    begun = 0 if kind is NonAutoregressiveVPTR else to_tokens(given[:, 2:])
    whole = model.norm(begun + sum(added.values())).relu()
    torch.testing.assert_close(whole, to_tokens(predicted))
    assert all(tokens.std() > 0 for tokens in list(added.values())[4:])


def test_before_the_first_interview_no_blank_frame_differs_from_another_nor_knows_the_clip():
    model = make(NonAutoregressiveVPTR)
    with torch.no_grad(), watch_stages(model) as added:
        model(features(3))
    stages = list(added.values())
    for tokens in stages[:4]:
        assert (tokens - tokens[:1, :1]).abs().max() < 1e-12
    interviewed = stages[4]
    assert (interviewed[:, 1] - interviewed[:, 0]).abs().amax((1, 2, 3)).min() > 0.01
    assert (interviewed[1] - interviewed[0]).abs().max() > 0.01


def test_nobody_is_watched_afterwards_and_a_second_call_replaces_the_first():
    model = make(NonAutoregressiveVPTR)
    with torch.no_grad(), watch_stages(model) as added:
        model(features(3))
        before = dict(added)
        model(2 * features(3))
        assert list(added) == list(before)
        assert not added[1, "second"].equal(before[1, "second"])
    kept = dict(added)
    with torch.no_grad():
        model(features(3))
    assert all(added[key] is kept[key] for key in kept)
