"""Chapter 2's trainings: who learns when, what is asked of the networks, and what ships."""

import json
import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from PIL import Image
from torch import nn

from course_lib import paths
from course_lib.data.crossroads import CUES
from course_lib.data.pedestrians import load_strip
from course_lib.data.scenes import Scenes, draw_scenes
from course_lib.data.video import to_panel
from course_lib.evaluation.futures import Protocol, draw_contexts
from course_lib.models.videogan import Composition, VideoGAN, VideoGANConfig
from course_lib.models.videogan_conditional import ConditionalConfig, ConditionalVideoGAN
from course_lib.nn.gaussian import DiagonalGaussian
from course_lib.recipes import (
    adversary,
    scenes,
    videogan,
    videogan_exam,
    videogan_roles,
    videogan_sweep,
)
from course_lib.recipes import videogan_crossroads as crossroads
from course_lib.recipes import videogan_street as street
from course_lib.training import checkpoint

TINY = VideoGANConfig(
    size=8,
    num_frames=4,
    latent_dim=3,
    foreground_dims=(4,),
    background_dims=(4,),
    discriminator_dims=(4,),
    discriminator_norm=False,
    encoder_dims=(4,),
)
CONFIG = videogan.SceneGAN(
    model=TINY, steps=10, batch_size=4, learning_rate=1e-3, kl_ramp=4, prior_from=3
)
PURE = replace(CONFIG, model=replace(TINY, encoder_dims=()), reconstruction=0.0)
OF_SCENES = VideoGANConfig(
    size=32,
    num_frames=8,
    latent_dim=2,
    foreground_dims=(2, 2, 2),
    background_dims=(2, 2, 2),
    discriminator_dims=(2, 2, 2),
    discriminator_norm=False,
    encoder_dims=(2, 2, 2),
)
CONDITIONAL = ConditionalConfig(
    size=8,
    num_frames=6,
    channels=1,
    latent_dim=2,
    start_frames=3,
    context=3,
    context_dims=(4,),
    foreground_dims=(4,),
    background_dims=(4,),
    discriminator_dims=(4,),
    discriminator_norm=False,
)
RECIPES = (
    *scenes.RECIPES,
    *videogan.RECIPES,
    *videogan_sweep.RECIPES,
    *street.RECIPES,
    *crossroads.RECIPES,
)
FEW = 8  # clips of the exam
STREET = street.STREET_GAN.small


def batch_of(config, seed=0):
    generator = torch.Generator().manual_seed(seed)
    num, clip = config.batch_size, config.model.clip
    return {
        "video": torch.rand(num, *clip, generator=generator) * 2 - 1,
        "eps": torch.randn(num, config.model.latent_dim, generator=generator),
        "z": torch.randn(num // 2, config.model.latent_dim, generator=generator),
    }


def model_of(kind, config):
    torch.manual_seed(0)
    return kind(config).eval()


def weights_of(module):
    return torch.cat([weight.detach().flatten() for weight in module.parameters()])


def who_moved(monkeypatch, config, head_start):
    """For each update: whether discriminator and generator moved, and whether it had to fool."""
    monkeypatch.setattr(adversary, "HEAD_START", head_start)
    recipe = videogan.recipe(
        "tiny",
        "",
        config,
        draw=lambda config, generator: batch_of(config, generator.initial_seed()),
    )
    state = recipe.start(config)
    players = state.model.discriminator, state.model.generator
    rows, before = [], [weights_of(player) for player in players]
    for step in recipe.train_steps(state, config):
        after = [weights_of(player) for player in players]
        moved = [bool((a != b).any()) for a, b in zip(after, before, strict=True)]
        rows.append((*moved, "fooling" in step.parts))
        before = after
    return rows


# Who learns when.


def test_a_pure_gans_discriminator_learns_alone_before_the_generator_must_fool(monkeypatch):
    rows = who_moved(monkeypatch, replace(PURE, steps=5, adversary_from=3), head_start=3)
    assert rows == [(True, False, False)] * 3 + [(True, True, True)] * 2


def test_a_vae_gan_redraws_clips_until_the_adversary_comes(monkeypatch):
    rows = who_moved(monkeypatch, replace(CONFIG, steps=5, adversary_from=3), head_start=2)
    assert rows[0] == (False, True, False)
    assert rows[1:3] == [(True, True, False)] * 2
    assert rows[3:] == [(True, True, True)] * 2


def test_the_learning_rate_rests_and_falls_to_zero():
    factor = adversary.flat_then_linear(replace(CONFIG, steps=1000))
    assert [factor(step) for step in (0, 300, 600)] == [1, 1, 1]
    assert factor(800) == pytest.approx(0.5)
    assert 0 < factor(999) < 0.01


class Line(nn.Module):
    """A discriminator whose slope is the same everywhere."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-0.2, 0.3, 4 * 3 * 8 * 8))

    def forward(self, video):
        return video.flatten(1) @ self.weight


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.discriminator, self.generator = Line(), nn.Linear(1, 1)


def test_the_slope_is_charged_in_every_so_many_updates_and_then_as_many_times():
    config, pair = replace(CONFIG, r1=0.7, r1_every=3), Pair()
    judged, drawing = adversary.objectives(
        config,
        pair.discriminator,
        [pair.generator],
        lambda _config, model, batch, _step: batch["video"] * model.generator.weight,
        lambda *_: (torch.zeros(()), {}),
        draws_alone=True,
    )
    batch, charged = batch_of(config), []
    with torch.no_grad():
        real = pair.discriminator(batch["video"])
        fake = pair.discriminator(batch["video"] * pair.generator.weight)
    for step in range(7):
        loss, parts = judged.loss(pair, batch, step)
        game = -(real.sigmoid().log() + (1 - fake.sigmoid()).log()).mean()
        slope = pair.discriminator.weight.square().sum()  # of a line, the same everywhere
        expected = game + (0.7 / 2 * 3 * slope if step % 3 == 0 else 0)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
        charged.append("r1" in parts)
        loss.backward()
    assert charged == [step % 3 == 0 for step in range(7)]
    assert pair.generator.weight.grad is None  # it does not learn from the other's loss
    assert drawing.optimizer.param_groups[0]["lr"] == config.learning_rate
    assert judged.optimizer.param_groups[0]["lr"] == config.discriminator_rate


# The two-stream VAE-GAN.


@pytest.mark.parametrize(("step", "num"), [(0, 4), (2, 4), (3, 6), (9, 6)])
def test_reconstructions_come_first_and_samples_later(step, num):
    model, batch = model_of(VideoGAN, TINY), batch_of(CONFIG)
    with torch.no_grad():
        drawn, posterior = videogan.play(CONFIG, model, batch, step)
        assert posterior is not None
        z = posterior.mean + (posterior.logvar / 2).exp() * batch["eps"]
        rebuilt, sampled = (model.generate(each).video for each in (z, batch["z"]))
    assert len(drawn.video) == num
    assert torch.allclose(drawn.video[:4], rebuilt, atol=1e-6)
    assert torch.allclose(drawn.video[4:], sampled[: num - 4], atol=1e-6)


def test_a_pure_gan_draws_samples_alone_and_as_many_as_there_are_clips():
    batch = videogan.draw(replace(PURE, batch_size=6), torch.Generator().manual_seed(0))
    assert batch["z"].shape == (6, 3)
    drawn, posterior = videogan.play(PURE, model_of(VideoGAN, PURE.model), batch, 0)
    assert posterior is None
    assert len(drawn.video) == 6


def test_a_vae_gans_batch_has_half_as_many_codes_of_the_prior():
    batch = videogan.draw(replace(CONFIG, batch_size=6), torch.Generator().manual_seed(0))
    assert {name: len(rows) for name, rows in batch.items()} == {"video": 6, "eps": 6, "z": 3}
    again = videogan.draw(replace(CONFIG, batch_size=6), torch.Generator().manual_seed(0))
    assert all(torch.equal(batch[name], again[name]) for name in batch)


@pytest.mark.parametrize("step", [0, 2, 5])
def test_the_drawing_loss_is_the_sum_of_what_is_asked(step):
    config = replace(CONFIG, adversary_from=2, kl=0.3, mask_weight=0.7, reconstruction=11.0)
    model, batch = model_of(VideoGAN, TINY), batch_of(config)
    with torch.no_grad():
        loss, parts = videogan.drawing_loss(config, model, batch, step)
        q = model.encode(batch["video"])
        z = q.mean + q.sigma * batch["eps"]
        drawn = model.generate(torch.cat([z, batch["z"]]) if step >= 3 else z)
        assert drawn.mask is not None
        off = drawn.video[:4] - batch["video"]
        kl = (q.mean**2 + q.logvar.exp() - 1 - q.logvar).sum(1).mean() / 2
        expected = 11 * ((off**2).mean() + 0.3 * off.abs().mean())
        expected += {0: 0.25, 2: 0.75, 5: 1.0}[step] * 0.3 * kl + 0.7 * drawn.mask.mean()
        if step >= 2:
            expected -= model.discriminator(drawn.video).sigmoid().log().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert parts["kl"].item() == pytest.approx(kl.item(), rel=1e-5)


def test_a_pure_gan_is_asked_for_no_reconstruction():
    model, batch = model_of(VideoGAN, PURE.model), batch_of(PURE)
    with torch.no_grad():
        loss, parts = videogan.drawing_loss(PURE, model, batch, 0)
        drawn = model.generate(batch["z"])
        assert drawn.mask is not None
        fooling = -model.discriminator(drawn.video).sigmoid().log().mean()
    assert set(parts) == {"fooling", "mask"}
    assert loss.item() == pytest.approx((fooling + drawn.mask.mean()).item(), rel=1e-5)


# The exam.


class Redrawing(VideoGAN):
    """Draws the exam's clips as they are, with their true masks; its backgrounds may flicker."""

    def __init__(self, flicker=0.0):
        super().__init__(OF_SCENES)
        self.exam, sign = scenes.held_out("plain", FEW), torch.tensor([1.0, -1.0]).repeat(4)
        self.video = self.exam.video + flicker / 255 * sign[:, None, None, None]

    def encode(self, video):
        far = (video[:, None] - self.exam.video).flatten(2).abs().amax(2)  # (B, FEW)
        which = (far.argmin(1)[:, None].expand(-1, 2) + 0.5) / 1000
        return DiagonalGaussian(which, torch.zeros_like(which))

    def generate(self, z, still=None):
        n = (z[:, 0].abs() * 1000).long() % FEW
        background = self.exam.background[n if still is None else (still[:, 0] * 1000).long() % FEW]
        return Composition(self.video[n], self.video[n], self.exam.mask[n].float(), background)


@pytest.fixture
def few(monkeypatch):
    for module in (videogan_exam, videogan_sweep, videogan_roles):
        monkeypatch.setattr(module, "EXAMINED", FEW)
    monkeypatch.setattr(videogan_exam, "MONITORED", FEW)
    monkeypatch.setattr(videogan_exam, "plain_clips", lambda: draw_scenes(40).video)
    clips = scenes.held_out("plain", FEW)
    for module in (videogan_sweep, videogan_roles):
        monkeypatch.setattr(module, "held_out", lambda _preset, _num=FEW: clips)
    return clips


def test_the_exam_finds_perfect_masks_and_a_still_background(few):
    measured = videogan_exam.evaluate(Redrawing(), videogan.SMALL)
    value = {name: metric.value for name, metric in measured.items()}
    assert value["error"] == 0
    assert value["iou_reconstruction"] == 1
    assert value["detection"] == 1
    assert value["iou_samples"] > 0.9
    assert value["flicker_samples"] < 0.2
    assert value["flicker_reconstruction"] < 0.2
    chance = []
    for n in range(FEW):
        one, other = ({tuple(p) for p in few.mask[k].nonzero().tolist()} for k in (n, n - 1))
        chance.append(len(one & other) / len(one | other))
    assert value["iou_chance"] == pytest.approx(sum(chance) / FEW, rel=1e-5)


def test_flicker_of_so_many_grey_levels_is_measured_as_such(few):
    measured = videogan_exam.evaluate(Redrawing(flicker=3.0), videogan.SMALL)
    assert measured["flicker_reconstruction"].value == pytest.approx(3, rel=0.02)
    assert measured["flicker_samples"].value == pytest.approx(3, rel=0.05)


def test_the_ratio_of_two_streams_to_one_is_that_of_their_flickers(few, monkeypatch):
    monkeypatch.setattr(videogan_sweep, "main_model", lambda: Redrawing(flicker=2.0))
    measured = videogan_sweep.evaluate_one_stream(Redrawing(flicker=5.0), videogan.SMALL)
    for name in ("ratio_reconstruction", "ratio_samples"):
        assert measured[name].value == pytest.approx(0.4, rel=0.05)
        assert measured[name].low <= 0.4 * 1.05
        assert measured[name].high >= 0.4 * 0.95


class Reading(VideoGAN):
    """Its posterior of a clip depends on the clip's brightness alone."""

    def encode(self, video):
        bright = video.mean((1, 2, 3, 4))[:, None]
        mean = torch.cat([5 + 2 * bright, -3 * bright], 1)
        return DiagonalGaussian(mean, torch.full_like(mean, math.log(0.25)))


def test_codes_of_samples_are_spread_like_those_of_real_clips():
    video = torch.randn(3000, 1, 1, 1, 1, generator=torch.Generator().manual_seed(3))
    drawn = videogan_exam.prior(Reading(OF_SCENES), 4000, video=video).double()
    assert drawn.mean(0).tolist() == pytest.approx([5, 0], abs=0.25)
    covariance = drawn.T.cov().flatten().tolist()
    assert covariance == pytest.approx([4.25, -6, -6, 9.25], rel=0.12)


def test_without_an_encoder_codes_are_standard_normal():
    model = VideoGAN(replace(OF_SCENES, encoder_dims=()))
    drawn = videogan_exam.prior(model, 4000)
    assert drawn.mean(0).tolist() == pytest.approx([0, 0], abs=0.07)
    assert drawn.T.cov().flatten().tolist() == pytest.approx([1, 0, 0, 1], abs=0.07)


SAMPLED = {"detection", "flicker_samples"}
REDRAWN = {"error", "flicker_reconstruction"}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, SAMPLED | REDRAWN | {"iou_samples", "iou_reconstruction", "iou_chance"}),
        ({"encoder_dims": ()}, SAMPLED | {"iou_samples"}),
        ({"streams": 1}, SAMPLED | REDRAWN),
    ],
    ids=["both", "no encoder", "one stream"],
)
def test_a_network_is_asked_only_what_it_can_answer(few, changes, names):
    model = model_of(VideoGAN, replace(OF_SCENES, **changes))
    assert set(videogan_exam.evaluate(model, videogan.SMALL)) == names
    assert set(videogan_exam.monitor(model, videogan.SMALL)) == names
    if changes.get("streams") == 1:
        drawn = videogan_exam.generate(model, videogan_exam.prior(model, 2))
        with pytest.raises(ValueError, match="no mask; permitted: two streams"):
            videogan_exam.masks_of(drawn)


def test_flicker_forgives_the_soft_edge_one_pixel_around_what_is_found(monkeypatch):
    video = torch.zeros(2, 2, 3, 7, 7)
    video[0, 1, :, 2, 4] = 0.5  # beside the pixel that is found, diagonally
    video[1, 1, :, 1, 3] = 0.5  # two pixels away
    found = torch.zeros(2, 2, 1, 7, 7, dtype=torch.bool)
    found[:, :, :, 3, 3] = True
    monkeypatch.setattr(videogan_exam, "find", lambda _detector, _video: found)
    drawn = Composition(video, video, None, None)
    still = 7 * 7 - 3 * 3
    expected = [0, 0.5 * 127.5 / still]
    assert videogan_exam.flicker_of(drawn).tolist() == pytest.approx(expected)
    known = torch.zeros_like(found)
    known[1, :, :, 0, 3] = True
    assert videogan_exam.flicker_of(drawn, known).tolist() == [0, 0]


def test_a_sheet_is_read_as_the_clips_that_it_was_drawn_from(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "SHEETS", tmp_path)
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(4, 3, 3, 8, 8, generator=generator) * 2 - 1
    made = []
    for num in (4, 6):
        video, foreground = torch.rand(2, num, 3, 3, 8, 8, generator=generator) * 2 - 1
        mask = torch.rand(num, 3, 1, 8, 8, generator=generator)
        still = torch.rand(num, 3, 8, 8, generator=generator) * 2 - 1
        made.append(Composition(video, foreground, mask, still))
    videogan_exam.parts_sheet(truth, *made).save(tmp_path / "tiny.webp", lossless=True)
    read = torch.from_numpy(videogan_exam.read_sheet("tiny")).permute(0, 1, 2, 5, 3, 4) / 127.5 - 1
    assert read.shape == (10, 5, 3, 3, 8, 8)
    near = {"rtol": 0, "atol": 0.005}
    assert torch.allclose(read[:4, 0], truth, **near)
    assert (read[4:, 0].abs() < 0.01).all()  # a sample has no truth
    for rows, drawn in zip((read[:4], read[4:]), made, strict=True):
        assert torch.allclose(rows[:, 1], drawn.video, **near)
        assert torch.allclose(rows[:, 2], drawn.foreground, **near)
        assert torch.allclose(rows[:, 3, :, :1], 2 * drawn.mask - 1, **near)
        for t in range(3):
            assert torch.allclose(rows[:, 4, t], drawn.background, **near)


def test_without_an_encoder_a_sheet_has_the_truth_and_no_reconstruction():
    model = model_of(VideoGAN, replace(OF_SCENES, encoder_dims=()))
    image = videogan_exam.sheet(model, videogan.SMALL)
    assert image.size == (8 * 34, 10 * 5 * 34)
    grey = image.crop((0, 34, 8 * 34, 5 * 34))  # the first clip below its truth
    assert grey.getextrema() == ((128, 128),) * 3


# The detector.


def test_the_detector_learns_frames_with_their_own_masks():
    batch = scenes.draw(replace(scenes.DETECTOR_CONFIG, batch_size=20), torch.Generator())
    brightest = batch["frames"].amax(1, keepdim=True)
    mask = batch["masks"].bool()
    assert batch["frames"].shape == (20, 3, 32, 32)
    assert (brightest[mask] >= -1e-5).all()  # half a bright sprite, half the darkest ground
    assert mask[brightest > 0.41].all()  # less than half a sprite before the brightest ground


def test_a_sprite_counts_as_found_from_so_many_pixels_of_a_frame():
    found = torch.zeros(2, 4, 1, 8, 8, dtype=torch.bool)
    found[0, 0].view(-1)[: scenes.SMALLEST] = True
    found[0, 1].view(-1)[: scenes.SMALLEST - 1] = True
    found[1] = True
    assert scenes.detection_rate(found).value == pytest.approx((1 / 4 + 1) / 2)


def test_the_shipped_detector_finds_sprites_and_nothing_where_there_is_none():
    held_out = scenes.held_out("plain", FEW)
    found = scenes.find(scenes.detector(), held_out.video)
    overlap = (found & held_out.mask).sum() / (found | held_out.mask).sum()
    assert overlap > 0.9
    empty = scenes.find(scenes.detector(), held_out.background[:, None])
    assert scenes.detection_rate(empty).value == 0


# The sweep.


@pytest.mark.skipif(not videogan.VIDEOGAN.path.exists(), reason="the main model is not trained yet")
@pytest.mark.parametrize("recipe", [*videogan_sweep.PENALTIES.values(), videogan_sweep.PURE])
def test_a_member_that_goes_on_begins_with_the_main_models_weights(recipe):
    shipped, _ = checkpoint.read(videogan.VIDEOGAN.path)
    begun = recipe.start(recipe.small).model.state_dict()
    assert set(begun) == set(shipped)
    for name, values in shipped.items():
        assert torch.equal(begun[name], values.to(begun[name].dtype)), name


def test_each_penalty_has_its_weight_and_no_other_difference():
    assert {0, 0.1, 1, 10} <= set(videogan_sweep.PENALTIES)
    for weight, recipe in videogan_sweep.PENALTIES.items():
        described = recipe.small.described()
        assert described.pop("mask_weight") == weight
        usual = videogan_sweep.LATER.described()
        assert described == {name: usual[name] for name in described}


def test_the_loader_that_writes_no_frames_gives_zeros_and_the_rest_as_ever():
    config = replace(PURE, batch_size=2)
    batch, usual = (
        draw(config, torch.Generator().manual_seed(5))
        for draw in (videogan_sweep.ZEROS.draw, videogan_sweep.SCRATCH.draw)
    )
    assert batch["video"].shape == usual["video"].shape
    assert (batch["video"] == 0).all()
    assert usual["video"].std() > 0.1
    assert torch.equal(batch["z"], usual["z"])


class Continuing(ConditionalVideoGAN):
    """Continues the exam's clips; the roles of the streams are right or swapped."""

    def __init__(self, *, swapped):
        super().__init__(replace(videogan_roles.FIRST_FRAME_CONFIG.model, context=2))
        self.exam, self.swapped = scenes.held_out("plain", FEW), swapped

    def generate(self, context, z):
        num, exam = len(context), self.exam
        assert torch.equal(context, exam.video[:num, :2])
        assert z.shape == (num, 0)
        video, mask = exam.video[:num], exam.mask[:num].float()
        mask[:, 0] = 0  # the first frame's is wrong
        if self.swapped:
            return Composition(video, video, 0 * mask, video[:, 0])
        return Composition(video, video, mask, exam.background[:num])


def test_swapped_roles_show_in_the_background_and_in_the_mask(few):
    kept, swapped = (
        {
            name: metric.value
            for name, metric in videogan_roles.evaluate_roles(
                Continuing(swapped=swapped), videogan_roles.FIRST_FRAME_CONFIG
            ).items()
        }
        for swapped in (False, True)
    )
    assert kept["detection"] == swapped["detection"] == 1
    assert (kept["detection_background"], swapped["detection_background"]) == (0, 1)
    assert kept["iou_first"] == swapped["iou_first"] == swapped["iou"] == 0
    size = few.mask.flatten(2).sum(2).double()
    assert kept["iou"] == pytest.approx((size[:, 1:].sum(1) / size.sum(1)).mean().item(), rel=1e-5)


def test_the_sheet_of_a_conditional_member_is_read_like_all_others(few, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "SHEETS", tmp_path)
    monkeypatch.setattr(
        videogan_roles,
        "held_out",
        lambda _, num: Scenes(few.video[:num], few.mask[:num], few.background[:num]),
    )
    config = videogan_roles.FIRST_FRAME_CONFIG
    image = videogan_roles.roles_sheet(Continuing(swapped=True), config)
    image.save(tmp_path / "roles.webp", lossless=True)
    sheet = videogan_exam.read_sheet("roles")
    video = to_panel(few.video)
    for shown, clips in ((sheet[:4], video[:4]), (sheet[4:], video[:6])):
        assert (shown[:, 1] == clips).all()
        assert (shown[:, 4] == clips[:, :1]).all()
    assert (sheet[:4, 0] == video[:4]).all()


def test_the_cure_asks_every_frame_back_and_meets_no_adversary():
    config = videogan_roles.ALL_FRAMES.small
    assert config.described()["adversary_from"] > config.steps
    tiny = replace(config.model, **{f: (2, 2, 2) for f in config.model.__dict__ if "_dims" in f})
    model = ConditionalVideoGAN(tiny)
    first = [each.first_step for each in videogan_roles.ALL_FRAMES.objectives(model, config)]
    assert first[0] >= config.steps
    assert first[1] == 0


# The street.


@cache
def crops(split):
    """The three crops of the strip, at half the resolution by hand."""
    strip = load_strip(split)[:, 0].double() / 127.5 - 1
    half = strip[:, ::2, ::2] + strip[:, 1::2, ::2] + strip[:, ::2, 1::2] + strip[:, 1::2, 1::2]
    return (half / 4).float().split(32, -1)


def places(clip, split):
    """(edge, start) of each place in the strip where this clip could be cut."""
    found = []
    for edge, crop in enumerate(crops(split)):
        first = (crop[:-21] - clip[0, 0]).abs().amax((1, 2)) < 1e-5
        found += [
            (edge, start)
            for start in first.nonzero()[:, 0].tolist()
            if (crop[start : start + 22 : 3] - clip[:, 0]).abs().max() < 1e-5
        ]
    return found


@pytest.mark.parametrize("split", ["train", "test"])
def test_street_clips_of_the_exam_share_no_frame_and_come_from_their_split(split):
    clips, _ = street.walks(split)
    spans = {edge: set() for edge in range(3)}
    for clip in clips:
        [(edge, start)] = places(clip, split)
        span = set(range(start, start + 22))
        assert not span & spans[edge]
        spans[edge] |= span
    assert len(clips) > 10


def test_a_street_batch_is_cut_from_training_frames_and_some_walk_backwards():
    batch = street.STREET_GAN.draw(replace(STREET, batch_size=12), torch.Generator())
    forwards = [len(places(clip, "train")) for clip in batch["video"]]
    backwards = [len(places(clip.flip(0), "train")) for clip in batch["video"]]
    assert [f + b for f, b in zip(forwards, backwards, strict=True)] == [1] * 12
    assert 0 < sum(forwards) < 12
    assert batch["z"].shape == (6, STREET.model.latent_dim)


class Camera(VideoGAN):
    """Redraws the held-out street, with the median's masks."""

    def __init__(self):
        super().__init__(replace(OF_SCENES, channels=1))

    def encode(self, video):
        far = (video[:, None] - street.walks("test")[0]).flatten(2).abs().amax(2)
        which = far.argmin(1)[:, None].expand(-1, 2) + 0.5
        return DiagonalGaussian(which, torch.zeros_like(which))

    def generate(self, z, still=None):
        video, mask = (values[z[:, 0].long()] for values in street.walks("test"))
        return Composition(video, video, mask.float(), video[:, 0])


def test_a_street_redrawn_as_it_is_flickers_as_the_camera_does():
    measured = street.STREET_GAN.evaluate(Camera(), STREET)
    assert measured["error"].value == 0
    assert measured["iou"].value == 1
    assert measured["iou_chance"].value < 0.5
    assert measured["covered"] == measured["differs"]
    assert measured["flicker"] == measured["flicker_camera"]
    assert 0 < measured["flicker"].value < 10


def test_what_differs_from_the_median_is_small_and_walks_on():
    clips, masks = street.walks("test")
    assert (masks.float().mean((1, 2, 3, 4)) > street.WALKING).all()
    assert masks.float().mean() < 0.25
    inside = clips.diff(dim=1).abs()[masks[:, 1:] ^ masks[:, :-1]].mean()
    outside = clips.diff(dim=1).abs()[~(masks[:, 1:] | masks[:, :-1])].mean()
    assert inside > 5 * outside


# The crossroads.

AGAINST = adversary.GANTraining(
    model=CONDITIONAL, steps=10, batch_size=4, learning_rate=1e-3, adversary_from=2
)


def test_alone_every_frame_is_asked_back_and_against_it_only_the_given_ones():
    model, batch = model_of(ConditionalVideoGAN, CONDITIONAL), batch_of(AGAINST)
    batch = {"video": batch["video"], "z": batch_of(AGAINST, 1)["eps"]}
    other = batch["video"].clone()
    other[:, 3:] = 0  # another future of the same first frames
    changed = {**batch, "video": other}
    with torch.no_grad():
        alone, alone_changed, against, against_changed = (
            crossroads.drawing_loss(AGAINST, model, each, step)[0].item()
            for step in (1, 2)
            for each in (batch, changed)
        )
        drawn = model.generate(batch["video"][:, :3], batch["z"]).video
        fooling = -model.discriminator(drawn).sigmoid().log().mean()
    off = drawn - batch["video"]
    assert alone == pytest.approx(crossroads.ALONE * off.square().mean().item(), rel=1e-5)
    assert alone_changed != pytest.approx(alone, rel=1e-3)
    held = crossroads.HELD * off[:, :3].abs().mean()
    assert against == against_changed == pytest.approx((fooling + held).item(), rel=1e-5)


def test_the_crossroads_learning_rates_fall_when_the_adversary_comes_and_at_the_end():
    factor = crossroads.alone_then_against(replace(AGAINST, steps=1000, adversary_from=400))
    assert [factor(step) for step in (0, 399, 400, 799)] == pytest.approx([1, 1, 0.3, 0.3])
    assert factor(900) == pytest.approx(0.15)
    assert 0 < factor(999) < 0.01


class Knowing(ConditionalVideoGAN):
    """Recognises its context and answers by a rule on the true futures."""

    def __init__(self, rule, protocol):
        super().__init__(CONDITIONAL)
        held_out = crossroads.world("test")
        self.rule, self.known = rule, {}
        generator = torch.Generator().manual_seed(crossroads.EXAM_SEED)
        for index, arrival in draw_contexts(held_out, protocol, generator=generator):
            futures = held_out.futures(index, arrival, include_impossible=True)
            self.known[futures.context.numpy().tobytes()] = futures

    def predict(self, context, horizon, *, generator=None):
        clips = [self.rule(self.known[one.numpy().tobytes()], generator) for one in context]
        return torch.stack(clips)[:, :horizon]


def likeliest(futures, _generator):
    return futures.clips[futures.probs.argmax()]


def truly(futures, generator):
    return futures.clips[torch.multinomial(futures.probs, 1, generator=generator)[0]]


def test_always_the_likeliest_future_has_no_entropy_and_the_distance_of_its_odds():
    protocol = Protocol(contexts_per_cue=3, num_samples=5)
    measured = crossroads.measure(Knowing(likeliest, protocol), protocol)
    assert measured["entropy"].value == 0
    missed = [1 - max(cue.turn_probs) for cue in CUES]
    assert measured["total_variation"].value == pytest.approx(sum(missed) / 5, abs=1e-6)
    assert measured["valid"].value == 1
    assert measured["forbidden"].value == 0
    of_open = [
        -sum(p * math.log(p) for p in cue.turn_probs if p)
        for cue in CUES
        if max(cue.turn_probs) < 1
    ]
    assert len(of_open) == 4
    assert measured["entropy_truth"].value == pytest.approx(sum(of_open) / 4)


def test_true_draws_have_nearly_the_true_entropy_and_twice_the_least_error():
    protocol = Protocol(contexts_per_cue=8, num_samples=60)
    measured = crossroads.measure(Knowing(truly, protocol), protocol)
    assert measured["entropy"].value == pytest.approx(measured["entropy_truth"].value, abs=0.05)
    assert measured["total_variation"].value == pytest.approx(
        measured["total_variation_floor"].value, abs=0.02
    )
    assert measured["excess"].low <= 1 <= measured["excess"].high


def test_the_mean_of_the_futures_has_no_excess_and_is_never_valid_where_the_future_is_open():
    protocol = Protocol(contexts_per_cue=3, num_samples=5)
    measured = crossroads.measure(Knowing(lambda futures, _: futures.mean(), protocol), protocol)
    assert measured["excess"].value == pytest.approx(0, abs=1e-6)
    assert measured["valid"].value == pytest.approx(1 / 5)  # the cue that is certain


def test_a_crossroads_batch_holds_train_digits_and_a_code_for_each():
    config = replace(crossroads.SMALL, batch_size=3)
    batch = crossroads.draw(config, torch.Generator().manual_seed(1))
    expected = crossroads.world("train").sample(3, generator=torch.Generator().manual_seed(1)).video
    assert torch.equal(batch["video"], expected)
    assert batch["z"].shape == (3, config.model.latent_dim)


def test_a_crossroads_sheet_has_six_rows_for_each_of_ten_contexts():
    small = crossroads.SMALL.model
    tiny = replace(small, **{name: (2, 2, 2) for name in small.__dict__ if name.endswith("_dims")})
    with torch.no_grad():
        image = crossroads.sheet(model_of(ConditionalVideoGAN, tiny), crossroads.SMALL)
    assert image.mode == "L"
    assert image.size == (12 * 34, 10 * 6 * 34)


# What ships.

ROLES = {"detection", "detection_background", "iou_first", "iou"}
SHARES = ("iou", "detection", "valid", "forbidden", "total_variation", "covered", "differs")


def shipped(recipe):
    if not recipe.results.exists():
        pytest.skip(f"{recipe.name} is not trained yet")
    return json.loads(recipe.results.read_text(encoding="utf-8"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_shipped_results_are_of_this_recipe_and_lie_in_their_range(recipe):
    results = shipped(recipe)
    config = recipe.config(full=results["scale"] == "full")
    assert results["config"] == config.described()
    assert recipe.criterion in results["metrics"]
    assert results["history"][-1]["step"] == results["step"] == config.steps
    for name, metric in results["metrics"].items():
        assert metric["low"] <= metric["value"] <= metric["high"], name
        assert metric["value"] >= 0, name
        if name.startswith(SHARES):
            assert metric["value"] <= 1, name
    with Image.open(paths.SHEETS / f"{recipe.name}.webp") as image:
        assert image.width % 34 == image.height % 34 == 0


@pytest.mark.parametrize("recipe", [videogan_roles.FIRST_FRAME, videogan_roles.ALL_FRAMES])
def test_a_conditional_members_results_say_where_the_sprite_is(recipe):
    assert set(shipped(recipe)["metrics"]) == ROLES


def test_a_game_is_logged_with_both_losses_and_both_gradients():
    history = shipped(videogan.VIDEOGAN)["history"]
    for player in ("discriminator", "generator"):
        assert all(math.isfinite(point[f"{player}_loss"]) for point in history)
        assert all(point[f"{player}_gradient"] > 0 for point in history)
    assert {"real_logit", "r1", "fooling", "mask", "error", "kl", "detection"} <= set(history[-1])


def test_all_of_the_chapters_weights_and_sheets_are_small():
    weights = [recipe.path for recipe in RECIPES if recipe.path.exists()]
    sheets = [paths.SHEETS / f"{recipe.name}.webp" for recipe in RECIPES]
    assert sum(path.stat().st_size for path in weights) < 4 * 2**20
    assert sum(path.stat().st_size for path in sheets if path.exists()) < 3 * 2**20
