"""FAR, NAR and PAR: published sizes, who may see whom, and one frame at a time."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from course_lib.models.vidhrformer import Masks, VidHRFormerConfig
from course_lib.models.vptr import (
    PUBLISHED_FAR,
    PUBLISHED_NAR,
    AutoregressiveVPTR,
    Rollout,
    VPTRConfig,
)
from course_lib.models.vptr_decoders import NonAutoregressiveVPTR, PartiallyAutoregressiveVPTR

BLOCK = VidHRFormerConfig(dim=8, map_size=4, window_size=2, num_heads=2, mlp_ratio=2)
FAR = VPTRConfig(context=3, horizon=3, depth=2, block=BLOCK)
NAR = replace(FAR, decoder_depth=2)
KINDS = [
    (AutoregressiveVPTR, FAR),
    (NonAutoregressiveVPTR, NAR),
    (PartiallyAutoregressiveVPTR, NAR),
]
ONE_BY_ONE = [KINDS[0], KINDS[2]]
RECOMPUTED = Rollout(cached=False)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def features(frames, *, batch=1, seed=0):
    return draw(batch, frames, 8, 4, 4, seed=seed).relu()


def make(kind, config):
    """Every weight drawn; the last bias is above 0, so that the relu silences no place."""
    model = kind(config)
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.copy_(0.4 * draw(*weight.shape, seed=100 + number))
        model.norm.bias.add_(0.5)
    return model.double().eval()


def with_norm(config, norm):
    return replace(config, block=replace(config.block, norm=norm), decoder_norm=norm)


def count(model):
    return sum(weight.numel() for weight in model.parameters())


def block_size(*, norms_of_maps, convolutions=1, attentions=2, norms=4):
    """Parameters of a published block, counted by hand."""
    dim, hidden = 528, 4 * 528
    attention = 4 * (dim * dim + dim)
    mlp = dim * hidden + hidden + hidden * dim + dim
    convolution = mlp + 9 * hidden + hidden + 2 * norms_of_maps * (2 * hidden + dim)
    return attentions * attention + mlp + convolutions * convolution + norms * 2 * dim


def test_the_published_far_has_88_million_parameters():
    with torch.device("meta"):
        size = count(AutoregressiveVPTR(PUBLISHED_FAR))
    assert size == 12 * block_size(norms_of_maps=64) + 2 * 528
    assert size == pytest.approx(88.01e6, abs=5e3)


def test_the_published_nar_has_117_million_without_its_queries():
    with torch.device("meta"):
        model, partial = (kind(PUBLISHED_NAR) for kind, _ in KINDS[1:])
    assert model.frame_queries.shape == (10, 8, 8, 528)
    size = count(model) - model.frame_queries.numel()
    encoder = 4 * block_size(norms_of_maps=1)
    decoder = 8 * block_size(norms_of_maps=64, convolutions=2, attentions=3, norms=6)
    assert size == encoder + decoder + 2 * 2 * 528
    assert size == pytest.approx(117.47e6, abs=5e3)
    assert count(partial) == size


def test_the_published_networks_give_frames_of_the_published_shape():
    with torch.device("meta"):
        known = torch.zeros(1, 19, 528, 8, 8)
        far = AutoregressiveVPTR(replace(PUBLISHED_FAR, depth=1))
        assert far(known).shape == (1, 19, 528, 8, 8)
        short = replace(PUBLISHED_NAR, depth=1, decoder_depth=1)
        for kind, frames in ((NonAutoregressiveVPTR, 10), (PartiallyAutoregressiveVPTR, 19)):
            assert kind(short)(known[:, :frames]).shape == (1, 10, 528, 8, 8)


@pytest.mark.parametrize(("kind", "config"), KINDS)
def test_features_stay_0_or_more_and_finite(kind, config):
    output = make(kind, config)(50 * features(3, batch=2))
    assert output.isfinite().all()
    assert (output >= 0).all()
    assert output.std() > 0.1


def near(y, x, side):
    """What a convolution of 3 x 3 looks at."""
    square = [(y + down, x + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return [(b, a) for b, a in square if 0 <= b < side and 0 <= a < side]


def spread(reach, whole_frame=False, side=4):
    """Backwards through a convolution, or a norm of the whole frame, and windows of 2 x 2."""
    seen = set()
    for t, y, x in reach:
        frame = [(b, a) for b in range(side) for a in range(side)]
        for b, a in frame if whole_frame else near(y, x, side):
            top, left = b - b % 2, a - a % 2
            seen |= {(t, top + down, left + right) for down in (0, 1) for right in (0, 1)}
    return seen


def reach_of_far(place, depth, whole_frame):
    """Every input (t, y, x) that the blocks' rules let this output see, from the last to the first.

    A block reads space before time, so going backwards time comes first.
    """
    reach = {place}
    for _ in range(depth):
        reach = {(past, y, x) for t, y, x in reach for past in range(t + 1)}
        reach = spread(reach, whole_frame)
    return reach


def influence(function, x, place):
    """Norm of the gradient of one place (t, y, x) of the first clip by every place (t, y, x)."""
    x = x.clone().requires_grad_()
    t, row, column = place
    output = function(x)[0, t, :, row, column]
    assert (output > 0).any()
    (slope,) = torch.autograd.grad((output * draw(len(output), seed=7)).sum(), x)
    return slope.norm(dim=2)  # (B, T, h, w)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm", ["layer", "frame"])
@pytest.mark.parametrize("depth", [1, 2])
def test_far_sees_exactly_what_its_layers_allow(depth, norm, training):
    model = make(AutoregressiveVPTR, replace(with_norm(FAR, norm), depth=depth)).train(training)
    for place in ((0, 0, 0), (2, 3, 0), (3, 1, 2)):
        found = influence(model, features(5), place)[0]
        allowed = torch.zeros(5, 4, 4, dtype=torch.bool)
        for seen in reach_of_far(place, depth, norm == "frame"):
            allowed[seen] = True
        assert 0 < allowed.sum() < allowed.numel()
        assert (found[~allowed] == 0).all()
        assert (found[allowed] > 1e-9).all()


def change_after(model, known, replaced):
    """How much the frames before frame 3 change when it is replaced, and those from it on."""
    other = known.clone()
    other[:, 3] = replaced
    change = (model(other) - model(known)).abs().amax((0, 2, 3, 4))
    return change[:3].max().item(), change[3:].max().item()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm", ["layer", "frame"])
def test_far_predicts_no_frame_from_its_own_future(norm, training):
    model = make(AutoregressiveVPTR, with_norm(FAR, norm)).train(training)
    before, after = change_after(model, features(5), features(1, seed=5)[:, 0])
    assert before == 0
    assert after > 0.01


def test_batch_norm_in_training_tells_far_of_its_future():
    model = make(AutoregressiveVPTR, with_norm(FAR, "batch"))
    assert change_after(model, features(5), features(1, seed=5)[:, 0])[0] == 0
    before, after = change_after(model.train(), features(5), features(1, seed=5)[:, 0])
    assert before > 0.01
    assert after > before


def test_a_constant_shift_would_not_even_find_that_leak():
    model = make(AutoregressiveVPTR, with_norm(FAR, "batch")).train()
    known = features(5)
    before, after = change_after(model, known, known[:, 3] + 1)
    assert before < 1e-9
    assert after < 1e-9


@pytest.mark.parametrize("norm", ["layer", "frame"])
def test_nar_s_frames_all_see_the_whole_context(norm):
    model = make(NonAutoregressiveVPTR, with_norm(NAR, norm)).train()
    for t in range(3):
        found = influence(model, features(3), (t, 1, 1))[0]
        assert (found.sum((1, 2)) > 1e-9).all()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", [NonAutoregressiveVPTR, PartiallyAutoregressiveVPTR])
def test_nar_and_par_see_exactly_what_their_layers_allow(kind, training):
    """One block each: at its own place a frame asks what the encoder brought there.

    The last convolution reaches one place further. NAR's targets are blank, so no more is seen;
    PAR's are frames, of which the past ones come through the block among them.
    """
    config = replace(NAR, depth=1, decoder_depth=1, block=replace(BLOCK, map_size=8))
    model = make(kind, config).train(training)
    frames = 3 if kind is NonAutoregressiveVPTR else 5
    known = draw(1, frames, 8, 8, 8).relu()
    for t, row, column in ((0, 0, 0), (1, 7, 4), (2, 3, 3)):
        asking = {(0, y, x) for y, x in near(row, column, 8)}
        last = 2 if kind is NonAutoregressiveVPTR else 2 + t
        allowed = torch.zeros(frames, 8, 8, dtype=torch.bool)
        for _, y, x in spread(asking, side=8):
            allowed[: last + 1, y, x] = True
        found = influence(model, known, (t, row, column))[0]
        assert not allowed.all()
        assert (found[~allowed] == 0).all()
        assert (found[allowed] > 1e-10).all()


@pytest.mark.parametrize("training", [False, True])
def test_par_sees_the_context_and_the_frames_before(training):
    model = make(PartiallyAutoregressiveVPTR, NAR).train(training)
    for t in range(3):
        found = influence(model, features(5), (t, 1, 1))[0].sum((1, 2))
        assert (found[: 3 + t] > 1e-9).all()
        assert (found[3 + t :] == 0).all()


@pytest.mark.parametrize(("kind", "config"), KINDS)
def test_the_clips_of_a_batch_do_not_see_each_other(kind, config):
    for model in (make(kind, config).train(), make(kind, with_norm(config, "batch"))):
        found = influence(model, features(3, batch=3), (0, 1, 1))
        assert found[0].sum() > 1e-6
        assert (found[1:] == 0).all()


def watch_time_attention(model, number):
    """What the self-attention in time of one decoder block gets and gives."""
    seen = {}

    def note(_, inputs, output):
        seen.update(given=inputs[0], got=output)

    hook = model.decoder[number].own.time.register_forward_hook(note)
    model(features(3))
    hook.remove()
    return seen


def test_in_nar_s_first_layer_nobody_can_agree_on_anything_yet():
    model = make(NonAutoregressiveVPTR, NAR)
    moved = []
    for number in range(2):
        before = watch_time_attention(model, number)
        with torch.no_grad():
            model.frame_queries[1].copy_(draw(4, 4, 8, seed=11))
        after = watch_time_attention(model, number)
        frames = before["got"]
        moved.append((after["got"] - before["got"])[:, [0, 2]].abs().max().item())
        differ = (frames - frames[:, :1]).abs().max().item()
        assert (differ < 1e-12) == (number == 0)
        with torch.no_grad():
            model.frame_queries[1].copy_(draw(4, 4, 8, seed=12))
    assert moved[0] < 1e-12
    assert moved[1] > 1e-3


@pytest.mark.parametrize(("depth", "agree"), [(1, False), (2, True)])
def test_nar_s_frames_tell_each_other_something_from_the_second_layer_on(depth, agree):
    model = make(NonAutoregressiveVPTR, replace(NAR, decoder_depth=depth))
    before = model(features(3))
    with torch.no_grad():
        model.frame_queries[1].copy_(draw(4, 4, 8, seed=11))
    change = (model(features(3)) - before).abs().amax((0, 2, 3, 4))
    assert change[1] > 1e-3
    assert (change[[0, 2]] > 1e-5).all() if agree else (change[[0, 2]] < 1e-12).all()


def test_another_mask_lets_far_see_its_future_and_hides_the_context_from_nar():
    far, everything = make(AutoregressiveVPTR, FAR), torch.ones(4, 4, dtype=torch.bool)
    found = influence(lambda x: far(x, masks=Masks(temporal=everything)), features(4), (0, 1, 1))
    assert (found[0].sum((1, 2)) > 1e-9).all()
    alone = Masks(spatial=torch.eye(4, dtype=torch.bool))
    found = influence(lambda x: far(x, masks=alone), features(4), (0, 0, 0))[0, 0]
    assert (found[:3, :3] > 1e-9).all()  # two convolutions on the way
    assert (found[3:] == 0).all()
    nar, nothing = make(NonAutoregressiveVPTR, NAR), torch.zeros(3, 3, dtype=torch.bool)
    found = influence(lambda x: nar(x, masks=Masks(memory=nothing)), features(3), (0, 1, 1))
    assert (found == 0).all()


@pytest.mark.parametrize("norm", ["layer", "frame", "batch"])
@pytest.mark.parametrize("relative", [False, True])
def test_far_frame_by_frame_is_far_all_at_once(norm, relative):
    config = with_norm(FAR, norm)
    config = replace(config, block=replace(config.block, relative_bias=relative))
    model, known = make(AutoregressiveVPTR, config), features(5, batch=2)
    for lengths in ([1, 1, 1, 1, 1], [3, 1, 1], [2, 3]):
        parts, past = [], ()
        for part in known.split(lengths, 1):
            output, past = model.extend(part, past)
            parts.append(output)
        torch.testing.assert_close(torch.cat(parts, 1), model(known), rtol=0, atol=1e-10)


def test_par_frame_by_frame_is_par_all_at_once():
    model, known = make(PartiallyAutoregressiveVPTR, NAR), features(5, batch=2)
    memory = model.encode(known[:, :3])
    parts, past = [], ()
    for part in known[:, 2:].split([1, 2], 1):
        output, past = model.extend(part, memory, past)
        parts.append(output)
    torch.testing.assert_close(torch.cat(parts, 1), model(known), rtol=0, atol=1e-10)


def roll(model, known, steps, rollout, feed=lambda predicted: predicted):
    """What a network predicts when it is fed its own predictions."""
    predicted, state = model.begin(known, rollout)
    parts = [predicted]
    for _ in range(steps - 1):
        predicted, state = model.proceed(feed(predicted), state)
        parts.append(predicted)
    return torch.cat(parts, 1)


@pytest.mark.parametrize(("kind", "config"), ONE_BY_ONE)
def test_a_rollout_is_teacher_forcing_on_its_own_frames_and_slides_past_the_window(kind, config):
    model, known = make(kind, config), features(3, batch=2)
    window, frames = 5, known
    for _ in range(6):  # the window is full after the third
        frames = torch.cat([frames, model(frames[:, -window:])[:, -1:]], 1)
    for rollout in (Rollout(), RECOMPUTED):
        found = roll(model, known, 6, rollout)
        torch.testing.assert_close(found, frames[:, 3:], rtol=0, atol=1e-10)


def test_a_memory_that_kept_dropped_frames_would_predict_something_else():
    """A longer model with the same weights: codes are no weights, so it may look further back."""
    model = make(AutoregressiveVPTR, FAR)
    longer = make(AutoregressiveVPTR, replace(FAR, horizon=9))
    longer.load_state_dict(model.state_dict())
    slid, kept = (roll(each, features(3), 6, Rollout()) for each in (model, longer))
    torch.testing.assert_close(slid[:, :3], kept[:, :3], rtol=0, atol=1e-10)
    assert (slid[:, 3:] - kept[:, 3:]).abs().amax((0, 2, 3, 4)).min() > 1e-3


@pytest.mark.parametrize(("kind", "config"), ONE_BY_ONE)
@pytest.mark.parametrize("cached", [True, False])
def test_one_frame_is_computed_where_it_is_kept_and_all_where_not(kind, config, cached):
    model = make(kind, config)
    stack = model.blocks if kind is AutoregressiveVPTR else model.decoder
    lengths = []
    hook = stack[0].register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    roll(model, features(3), 5, Rollout(cached=cached))
    hook.remove()
    first = 3 if kind is AutoregressiveVPTR else 1
    growing = [1, 1] if cached else [first + 1, first + 2]
    assert lengths == [first, *growing, first + 2, first + 2]


def test_par_encodes_its_context_once_inside_the_window():
    model = make(PartiallyAutoregressiveVPTR, NAR)
    for rollout in (Rollout(), RECOMPUTED):
        calls = []
        hook = model.encoder[0].register_forward_pre_hook(lambda *_, c=calls: c.append(1))
        roll(model, features(3), 4, rollout)
        hook.remove()
        assert len(calls) == 2  # at the start, and when the window has moved


@pytest.mark.parametrize(("block", "overlap"), [(None, None), (2, None), (1, 1), (3, 2)])
def test_nar_continues_in_blocks_from_the_last_frames(block, overlap):
    model, known = make(NonAutoregressiveVPTR, NAR), features(3, batch=2)
    expected = known
    for _ in range(3):
        context = expected[:, expected.shape[1] - (overlap or 3) :]
        expected = torch.cat([expected, model(context)[:, : block or 3]], 1)
    found = roll(model, known, 3, Rollout(block=block, overlap=overlap))
    torch.testing.assert_close(found, expected[:, 3:], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "frames", "stack", "expected"),
    [
        (AutoregressiveVPTR, 2, "blocks", (0, 2)),
        (NonAutoregressiveVPTR, 3, "encoder", (0, 3)),
        (NonAutoregressiveVPTR, 2, "encoder", (1, 3)),
        (NonAutoregressiveVPTR, 2, "decoder", (3, 6)),
        (PartiallyAutoregressiveVPTR, 4, "encoder", (0, 3)),
        (PartiallyAutoregressiveVPTR, 4, "decoder", (2, 4)),
    ],
)
def test_a_context_ends_where_the_future_begins(kind, frames, stack, expected):
    model = make(kind, FAR if kind is AutoregressiveVPTR else NAR)
    codes = []
    getattr(model, stack)[-1].register_forward_pre_hook(lambda _, inputs: codes.append(inputs[1]))
    model(features(frames))
    torch.testing.assert_close(codes[0], model.time_code[slice(*expected)])
    position = expected[0] + 1  # counted from 1
    assert model.time_code[expected[0], 0].item() == pytest.approx(torch.tensor(position).sin())


@pytest.mark.parametrize(("kind", "config"), KINDS)
def test_every_weight_is_used_but_those_that_cannot_matter(kind, config):
    """A key's bias moves all scores alike; on blank targets it is all the same who is looked at."""
    model = make(kind, config)
    loss = (model(features(4 if kind is PartiallyAutoregressiveVPTR else 3)) * draw(8, 1, 1)).sum()
    loss.backward()
    idle = {n for n, w in model.named_parameters() if w.grad is None or w.grad.abs().max() < 1e-12}
    expected = {name for name, _ in model.named_parameters() if name.endswith("to_keys.bias")}
    if kind is NonAutoregressiveVPTR:
        blank = [f"decoder.0.own.{axis}.attention.to_" for axis in ("space", "time")]
        expected |= {f"{name}{part}.weight" for name in blank for part in ("queries", "keys")}
        expected |= {f"{name}queries.bias" for name in blank}
        expected |= {"decoder.0.own.norms.0.weight"}  # of zeros
        expected |= {"decoder.0.own.space.attention.to_values.weight"} & idle
    assert idle == expected


@pytest.mark.parametrize(("kind", "config"), KINDS)
def test_it_learns_one_batch_by_heart(kind, config):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = kind(replace(config, depth=1, decoder_depth=min(config.decoder_depth, 1)))
    video = features(6).float()
    known = video[:, :3] if kind is NonAutoregressiveVPTR else video[:, :5]
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.03), []
    for _ in range(40):
        output = model(known)
        loss = (output - video[:, -output.shape[1] :]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.65 * losses[0]


@cache
def tiny(kind, config):
    return make(kind, config)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: VPTRConfig(context=0), "context is 0; permitted: 1 and more"),
        (lambda: VPTRConfig(decoder_norm="no"), "decoder_norm is 'no'; permitted: 'layer'"),
        (lambda: AutoregressiveVPTR(NAR), "decoder_depth is 2; permitted for FAR: 0"),
        (lambda: NonAutoregressiveVPTR(FAR), "decoder_depth is 0; permitted for NAR and PAR"),
        (
            lambda: tiny(*KINDS[0])(features(6)),
            r"\(1, 6, 8, 4, 4\); permitted: \(B, T, \*\(8, 4, 4\)\), T from 1 to 5",
        ),
        (lambda: tiny(*KINDS[0])(draw(1, 2, 8, 4, 2)), r"\(1, 2, 8, 4, 2\); permitted"),
        (lambda: tiny(*KINDS[1])(features(4)), r"\(1, 4, 8, 4, 4\); permitted: .* T from 1 to 3"),
        (lambda: tiny(*KINDS[2])(features(2)), r"\(1, 2, 8, 4, 4\); permitted: .* T from 3 to 5"),
        (
            lambda: tiny(*KINDS[0]).begin(features(3), Rollout(block=2)),
            "block is 2; permitted for FAR and PAR: None",
        ),
        (
            lambda: tiny(*KINDS[2]).begin(features(3), Rollout(overlap=2)),
            "overlap is 2; permitted for FAR and PAR: None",
        ),
        (lambda: tiny(*KINDS[2]).begin(features(2)), "permitted: .* T from 3 to 5"),
        (
            lambda: tiny(*KINDS[1]).begin(features(3), Rollout(block=4)),
            r"block is 4; permitted: 1\.\.3, or None for 3",
        ),
        (
            lambda: tiny(*KINDS[1]).begin(features(3), Rollout(overlap=0)),
            r"overlap is 0; permitted: 1\.\.3",
        ),
        (
            lambda: tiny(*KINDS[0]).proceed(
                draw(1, 1, 7, 4, 4), tiny(*KINDS[0]).begin(features(3))[1]
            ),
            r"\(1, 1, 7, 4, 4\); permitted",
        ),
    ],
)
def test_a_wrong_call_is_told_what_is_permitted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
