"""VPTR with its autoencoder: pixels in, pixels out, by way of pixels or of features."""

from dataclasses import replace
from functools import cache
from itertools import islice

import pytest
import torch

from course_lib.interfaces import VideoPredictor
from course_lib.models.autoencoder import Autoencoder, AutoencoderConfig
from course_lib.models.vidhrformer import VidHRFormerConfig
from course_lib.models.vptr import AutoregressiveVPTR, Rollout, VPTRConfig
from course_lib.models.vptr_decoders import NonAutoregressiveVPTR, PartiallyAutoregressiveVPTR
from course_lib.models.vptr_video import VPTR

FRAMES = AutoencoderConfig(size=16, dims=(3, 4), feature_dim=8, num_blocks=1)
BLOCK = VidHRFormerConfig(dim=8, map_size=4, window_size=2, num_heads=2, mlp_ratio=2)
FAR = VPTRConfig(context=3, horizon=3, depth=1, block=BLOCK)
NAR = replace(FAR, decoder_depth=1)
KINDS = [
    (AutoregressiveVPTR, FAR),
    (NonAutoregressiveVPTR, NAR),
    (PartiallyAutoregressiveVPTR, NAR),
]
LATENTS = Rollout(through_pixels=False)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


@cache
def make(kind, config):
    model = VPTR(Autoencoder(FRAMES), kind(config)).double().eval()
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.copy_(0.4 * draw(*weight.shape, seed=100 + number))
        model.transformer.norm.bias.add_(0.5)
    return model


def roll_by_hand(model, context, steps, rollout):
    """Everything predicted anew each time, from the list of all features so far."""
    known = model.autoencoder.encode(context)
    frames = []
    for _ in range(steps):
        predicted = model.transformer(known[:, -3 if rollout.block else -5 :])
        predicted = predicted[:, : rollout.block] if rollout.block else predicted[:, -1:]
        decoded = model.autoencoder.decode(predicted)
        again = model.autoencoder.encode(decoded) if rollout.through_pixels else predicted
        known = torch.cat([known, again], 1)
        frames.append(decoded)
    return torch.cat(frames, 1)


@pytest.mark.parametrize("through_pixels", [True, False])
@pytest.mark.parametrize(("kind", "config"), KINDS)
def test_what_was_predicted_is_fed_back_by_way_of_pixels_or_of_features(
    kind, config, through_pixels
):
    model, context = make(kind, config), draw(2, 3, 1, 16, 16)
    block = 2 if kind is NonAutoregressiveVPTR else None
    rollout = Rollout(through_pixels=through_pixels, block=block)
    expected = roll_by_hand(model, context, 5, rollout)[:, :5]
    found = model.predict(context, 5, rollout=rollout)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("kind", "config"), KINDS)
def test_the_two_ways_part_after_the_first_prediction(kind, config):
    model, context = make(kind, config), draw(1, 3, 1, 16, 16)
    pixels, latents = model.predict(context, 6), model.predict(context, 6, rollout=LATENTS)
    first = 3 if kind is NonAutoregressiveVPTR else 1
    torch.testing.assert_close(pixels[:, :first], latents[:, :first])
    assert (pixels[:, first:] - latents[:, first:]).abs().amax((0, 2, 3, 4)).min() > 1e-6


@pytest.mark.parametrize(("kind", "config"), [KINDS[0], KINDS[2]])
def test_kept_keys_and_values_change_no_frame(kind, config):
    model, context = make(kind, config), draw(1, 3, 1, 16, 16)
    for rollout in (Rollout(), LATENTS):
        again = model.predict(context, 5, rollout=replace(rollout, cached=False))
        found = model.predict(context, 5, rollout=rollout)
        torch.testing.assert_close(found, again, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("kind", "config"), KINDS)
def test_a_longer_prediction_begins_with_the_shorter_one(kind, config):
    model, context = make(kind, config), draw(1, 3, 1, 16, 16)
    assert isinstance(model.predict, VideoPredictor)
    longer = model.predict(context, 4)
    assert longer.shape == (1, 4, 1, 16, 16)
    assert longer.abs().max() <= 1
    torch.testing.assert_close(longer[:, :2], model.predict(context, 2))


@pytest.mark.parametrize(("kind", "config"), KINDS)
def test_nothing_is_drawn_and_clips_do_not_meet(kind, config):
    model, generator = make(kind, config), torch.Generator().manual_seed(0)
    before = generator.get_state(), torch.get_rng_state()
    context = draw(3, 3, 1, 16, 16).requires_grad_()
    model.predict(context, 4, generator=generator)[1].square().sum().backward()
    assert torch.equal(generator.get_state(), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    influence = context.grad.flatten(2).norm(dim=2)
    assert (influence[1] > 1e-9).all()
    assert (influence[[0, 2]] == 0).all()


def test_the_autoencoder_is_frozen_and_never_trains():
    model = make(*KINDS[0])
    model.train()
    assert model.transformer.training
    assert model.transformer.blocks[0].training
    modules = list(model.autoencoder.modules())
    assert not any(module.training for module in modules)
    assert not any(weight.requires_grad for weight in model.autoencoder.parameters())
    before = {name: buffer.clone() for name, buffer in model.autoencoder.named_buffers()}
    model.predict(draw(1, 3, 1, 16, 16), 2).square().sum().backward()
    assert all(torch.equal(b, before[name]) for name, b in model.autoencoder.named_buffers())
    assert all(weight.grad is not None for weight in model.transformer.parameters())
    model.transformer.zero_grad(set_to_none=True)
    assert not model.eval().transformer.training


def test_a_stream_computes_nothing_ahead():
    model = make(*KINDS[0])
    calls = []
    hook = model.transformer.norm.register_forward_hook(lambda *_: calls.append(1))
    steps = list(islice(model.stream(draw(1, 3, 1, 16, 16)), 2))
    hook.remove()
    assert len(calls) == len(steps) == 2


def test_a_future_can_branch_at_any_step():
    model, context = make(*KINDS[0]), draw(1, 3, 1, 16, 16)
    *_, step = islice(model.stream(context), 2)
    plain = model.predict(context, 4)
    branches = []
    for edit in (step.frames, draw(1, 1, 1, 16, 16, seed=3)):
        fed = model.autoencoder.encode(edit)
        predicted, state = model.transformer.proceed(fed, step.state)
        branches.append(model.autoencoder.decode(predicted))
        assert state.features.shape[1] == step.state.features.shape[1] + 1
    torch.testing.assert_close(branches[0], plain[:, 2:3])
    assert (branches[1] - plain[:, 2:3]).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: VPTR(Autoencoder(replace(FRAMES, feature_dim=4)), AutoregressiveVPTR(FAR)),
            r"features are \(4, 4, 4\); permitted: \(8, 4, 4\)",
        ),
        (
            lambda: make(*KINDS[0]).predict(draw(1, 3, 1, 16, 16), 0),
            "horizon is 0; permitted: 1 and more",
        ),
        (
            lambda: make(*KINDS[0]).predict(draw(1, 3, 1, 16, 8), 1),
            r"\(1, 3, 1, 16, 8\); permitted: \(B, T, \*\(1, 16, 16\)\)",
        ),
        (
            lambda: make(*KINDS[2]).predict(draw(1, 2, 1, 16, 16), 1),
            r"\(1, 2, 8, 4, 4\); permitted: .* T from 3 to 5",
        ),
        (
            lambda: make(*KINDS[0]).predict(draw(1, 3, 1, 16, 16), 1, rollout=Rollout(block=1)),
            "block is 1; permitted for FAR and PAR: None",
        ),
    ],
)
def test_a_wrong_call_is_told_what_is_permitted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
