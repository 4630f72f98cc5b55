"""The recipes of chapters 3 and 4: what is trained on what, and floors that are exact."""

import itertools
from dataclasses import replace
from typing import cast

import pytest
import torch

from course_lib.data.crossroads import CUE_OF_DIGIT, TWICE
from course_lib.data.digits import load_digits
from course_lib.models.autoencoder import Autoencoder, AutoencoderConfig
from course_lib.models.vidhrformer import VidHRFormerConfig
from course_lib.models.vptr import AutoregressiveVPTR, VPTRConfig
from course_lib.models.vptr_decoders import NonAutoregressiveVPTR, PartiallyAutoregressiveVPTR
from course_lib.models.vptr_video import VPTR
from course_lib.recipes import frame_autoencoder, svg_exam, vptr, vptr_blocks, vptr_crossroads
from course_lib.recipes.chapter0 import make_exam
from course_lib.recipes.frame_autoencoder import FrameConfig, FramePlayers
from course_lib.recipes.vptr_blocks import windows
from course_lib.training import checkpoint
from course_lib.training.checkpoint import CheckpointError

BLOCK = VidHRFormerConfig(dim=8, map_size=4, window_size=4, num_heads=2, mlp_ratio=1)
FRAMES = AutoencoderConfig(dims=(4, 4, 4), feature_dim=8, num_blocks=1)
MODEL = VPTRConfig(context=3, horizon=2, depth=1, block=BLOCK)
CONFIG = replace(vptr.SMALL, model=MODEL, batch_size=2, steps=10)
ASKING = replace(CONFIG, model=replace(MODEL, decoder_depth=1))
KINDS = {
    "far": (AutoregressiveVPTR, CONFIG),
    "nar": (NonAutoregressiveVPTR, ASKING),
    "par": (PartiallyAutoregressiveVPTR, ASKING),
}


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(kind, config):
    torch.manual_seed(0)
    return VPTR(Autoencoder(FRAMES), kind(config.model))


def batch_of(config, seen=3):
    frames = config.model.context + config.model.horizon
    video = torch.rand(config.batch_size, frames, 1, 32, 32, generator=make_generator()) * 2 - 1
    return {"video": video, "seen": torch.full((config.batch_size,), seen)}


@pytest.mark.parametrize(("kind", "config"), KINDS.values(), ids=KINDS)
def test_the_loss_is_that_of_what_follows_the_frames_that_were_given(kind, config, monkeypatch):
    model, batch = make(kind, config), batch_of(config)
    true = model.autoencoder.encode(batch["video"]).detach()
    known = slice(3, None) if kind is not AutoregressiveVPTR else slice(1, None)
    monkeypatch.setattr(model.transformer, "forward", lambda given: true[:, known])
    loss, parts = vptr.vptr_loss(config, model, batch, step=0)
    assert parts["features"] == 0
    rebuilt = model.autoencoder(batch["video"])[:, known]
    error = (rebuilt - batch["video"][:, known]).square().mean() / batch["video"].var()
    assert loss.item() == pytest.approx(error.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"), [("far", [0, 1, 2, 3]), ("par", [0, 1, 2, 3]), ("nar", [1, 2])]
)
def test_each_network_is_given_the_frames_it_may_see(name, expected, monkeypatch):
    kind, config = KINDS[name]
    model, batch = make(kind, config), batch_of(config, seen=2)
    true, given = model.autoencoder.encode(batch["video"]), []
    answer = model.transformer.forward(true[:, :3] if name == "nar" else true[:, :-1])
    monkeypatch.setattr(model.transformer, "forward", lambda x: given.append(x) or answer)
    vptr.vptr_loss(config, model, batch, step=0)
    assert torch.equal(given[0], true[:, expected])


def test_edges_count_from_half_of_the_training_on():
    model, batch = make(*KINDS["far"]), batch_of(CONFIG)
    early, late = (vptr.vptr_loss(CONFIG, model, batch, step) for step in (4, 5))
    assert "edges" not in early[1]
    assert late[0].item() == pytest.approx(
        (early[0] + CONFIG.edges * late[1]["edges"]).item(), rel=1e-6
    )


@pytest.mark.parametrize(("kind", "config"), KINDS.values(), ids=KINDS)
def test_a_few_updates_lower_the_loss_and_leave_the_autoencoder_alone(kind, config):
    model, batch = make(kind, config), batch_of(config)
    before = torch.cat([weight.flatten() for weight in model.autoencoder.parameters()])
    objective = vptr.objectives(model, replace(config, learning_rate=1e-2))[0]
    losses = []
    for _ in range(12):
        objective.optimizer.zero_grad()
        loss = objective.loss(model, batch, 0)[0]
        loss.backward()
        objective.optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    after = torch.cat([weight.flatten() for weight in model.autoencoder.parameters()])
    assert torch.equal(before, after)


def test_shorter_contexts_come_as_often_as_said_and_in_all_lengths():
    config = replace(vptr.NAR.small, shorter=0.25)
    seen = [int(vptr.context_lengths(config, make_generator(seed))[0]) for seed in range(800)]
    assert set(seen) == set(range(1, 11))
    assert 0.2 < sum(length < 10 for length in seen) / len(seen) < 0.3
    assert set(vptr.context_lengths(vptr.FAR.small, make_generator()).tolist()) == {10}


@pytest.mark.parametrize(
    ("recipe", "module"),
    [
        *((recipe, vptr) for recipe in vptr.RECIPES),
        (vptr_crossroads.FAR, vptr_crossroads),
        (vptr_blocks.NAR, vptr_blocks),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_batch_has_the_frames_that_the_network_is_trained_with(recipe, module):
    config = replace(recipe.small, batch_size=3)
    first, again = (recipe.draw(config, make_generator())["video"] for _ in range(2))
    frames = 20 if module is vptr else config.model.context + config.model.horizon
    assert first.shape == (3, frames, 1, 32, 32)
    assert torch.equal(first, again)


@pytest.mark.parametrize("recipe", frame_autoencoder.RECIPES, ids=lambda recipe: recipe.name)
def test_an_autoencoder_learns_to_rebuild_and_its_adversary_to_judge(recipe):
    tiny = FrameConfig(AutoencoderConfig(dims=(4, 4), feature_dim=8, num_blocks=1), (4, 4))
    config = replace(recipe.small, model=tiny, batch_size=1, steps=12, learning_rate=1e-2)
    steps = list(recipe.train_steps(recipe.start(config), config))
    assert steps[-1].parts["error"] < steps[0].parts["error"]
    assert steps[0].parts["discriminator_gradient"] > 0


def test_the_judge_takes_every_patch_of_every_frame():
    model = frame_autoencoder.FramePlayers(FrameConfig(FRAMES, (4, 4)))
    video = batch_of(CONFIG)["video"]
    logits = frame_autoencoder.logits(model, video)
    one = model.discriminator(video[1, 2][None]).flatten()
    assert len(logits) == video.shape[0] * video.shape[1] * len(one)


@torch.no_grad()
def test_the_published_autoencoder_is_the_full_one():
    full = frame_autoencoder.MOVING.full.model
    with torch.device("meta"):
        players = frame_autoencoder.FramePlayers(full)
    weights = sum(weight.numel() for weight in players.autoencoder.parameters())
    assert round(weights / 1e6, 2) == 48.36


# Floors.


def test_the_teacher_s_floor_is_the_open_one_until_the_turn_and_nothing_after_it():
    for futures in make_exam(2).futures:
        floor, open_loop = vptr_crossroads.teacher_floor(futures), futures.mmse() / 4
        turn = futures.turn_step
        assert floor[: turn + 1].tolist() == pytest.approx(open_loop[: turn + 1].tolist())
        assert floor[turn] > 1e-3
        assert floor[turn + 1 :].max() < 1e-12
        assert (open_loop[turn + 1 :] > 1e-3).all()


def a_digit_of(cue):
    labels = svg_exam.world("test").digits.labels
    return int((CUE_OF_DIGIT[labels] == cue).nonzero()[0])


def test_stretches_hold_all_that_can_happen_once():
    stretches = windows(a_digit_of(1), 5, 5)
    kinds = 4  # 4 and 9: left and back or not, straight, right and back
    assert len(stretches.probs) == kinds * len(TWICE.arrivals) * (TWICE.num_frames - 9)
    assert stretches.probs.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("overlap", [1, 2])
def test_the_best_after_an_overlap_is_the_mean_over_what_looks_the_same(overlap):
    stretches = windows(a_digit_of(1), 5, 5)
    best, seen = stretches.mean_after(overlap), stretches.context[:, 5 - overlap :]
    for row in (0, 17, 60):
        alike = [n for n in range(len(seen)) if torch.equal(seen[n], seen[row])]
        weights = stretches.probs[alike]
        mean = torch.tensordot(weights / weights.sum(), stretches.future[alike].double(), dims=1)
        assert torch.allclose(best[row], mean.float(), atol=1e-6)


def test_two_frames_tell_as_much_as_five_and_one_tells_less_where_digits_come_back():
    for cue, returns in ((1, True), (3, False)):
        stretches = windows(a_digit_of(cue), 5, 5)
        least = {k: stretches.error(stretches.mean_after(k)).mean().item() for k in (1, 2, 5)}
        assert least[2] == pytest.approx(least[5])
        assert (least[1] > 1.2 * least[2]) == returns


def test_no_prediction_from_one_frame_is_better_than_the_mean_of_what_may_follow_it():
    stretches = windows(a_digit_of(1), 5, 5)
    best = stretches.mean_after(1)
    least = stretches.error(best).mean()
    for other in (best * 0.98, best.roll(1, 1), stretches.context, torch.full_like(best, -1)):
        assert stretches.error(other).mean() > least


def test_a_doubtful_stretch_has_several_futures():
    doubt = vptr_blocks.doubtful(vptr_blocks.NAR.small)
    last = doubt.context[:, -1].flatten(1)
    pairs = itertools.combinations(range(len(last)), 2)
    assert any(
        torch.equal(last[a], last[b]) and not torch.equal(doubt.future[a], doubt.future[b])
        for a, b in pairs
    )
    assert len(load_digits("test")) > len(doubt.probs) > 4


def test_the_frozen_autoencoder_ships_once_and_must_be_the_one_it_was_trained_with():
    shipped = vptr.FAR_8
    stored, _ = checkpoint.read(shipped.path)
    assert stored
    assert not [name for name in stored if name.startswith("autoencoder")]
    expected = cast(FramePlayers, frame_autoencoder.MOVING_8.load()).autoencoder.state_dict()
    found = cast(VPTR, shipped.load()).autoencoder.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)

    def build_around_another(config):
        model = shipped.build(config)
        next(model.autoencoder.parameters()).add_(1)
        return model

    with pytest.raises(CheckpointError, match="was trained around another network"):
        replace(shipped, build=build_around_another).load()
