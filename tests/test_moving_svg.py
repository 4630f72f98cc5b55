"""SVG on Stochastic Moving MNIST: what is trained, and whether its scores mean what they say."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from course_lib import paths
from course_lib.data.digits import load_digits
from course_lib.data.moving_mnist import MovingMNIST
from course_lib.models.dcgan import DCGANConfig
from course_lib.models.svg import SVG, SVGConfig
from course_lib.recipes import moving_exam, moving_svg
from course_lib.recipes.moving_exam import CONTEXT, EXACT, HORIZON, make_exam
from course_lib.recipes.moving_svg import DETERMINISTIC, LEARNED_PRIOR, SMALL

TINY_MODEL = SVGConfig(
    image=DCGANConfig(channels=(8, 8, 8), feature_dim=8, hidden_dim=8),
    latent_dim=2,
    predictor_dim=8,
    inference_dim=8,
)
TINY = replace(SMALL, model=TINY_MODEL, batch_size=2, steps=100)


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def model():
    return LEARNED_PRIOR.start(TINY).model.eval()


@pytest.fixture(scope="module")
def exam():
    return make_exam(1, 32)


def results(recipe):
    content = json.loads((paths.RESULTS / f"{recipe.name}.json").read_text(encoding="utf-8"))
    return {name: metric["value"] for name, metric in content["metrics"].items()}


def test_a_frame_is_news_where_the_digit_has_just_left_a_wall(exam):
    world = MovingMNIST(load_digits("test"), stochastic=True, num_digits=1, num_frames=15, size=32)
    clips = world.sample(len(exam.context), generator=make_generator(moving_exam.EXAM_SEED))
    assert torch.equal(torch.cat([exam.context, exam.future], 1), clips.video)
    leaving = clips.velocities[:, :, 0]  # (B, T, 2)
    redrawn = (leaving[:, 1:] != leaving[:, :-1]).any(-1)  # in frames 1..14
    assert torch.equal(exam.news, redrawn[:, CONTEXT - 2 : -1])
    assert 0.05 < exam.news.double().mean() < 0.5


def test_fewer_clips_are_the_first_ones_of_the_exam(exam):
    few = exam.first(3)
    assert torch.equal(few.context, exam.context[:3])
    assert torch.equal(few.future, exam.future[:3])
    assert torch.equal(few.news, exam.news[:3])


@torch.no_grad()
def test_samples_are_the_models_own_futures(model, exam):
    context = exam.context[:2]
    samples = moving_exam.sample_futures(model, context, 3, generator=make_generator(1))
    assert samples.shape == (3, 2, HORIZON, 1, 32, 32)
    expected = model.predict(
        torch.cat([context, context, context]), HORIZON, generator=make_generator(1)
    )
    torch.testing.assert_close(samples.flatten(0, 1), expected)


@torch.no_grad()
@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_a_spread_multiplies_the_priors_sigma(model, exam, spread):
    context = exam.context[:2]
    drawn = moving_exam.sample_futures(
        model, context, 1, spread=spread, generator=make_generator(1)
    )
    state, generator = model.observe(context), make_generator(1)
    for step in range(3):
        eps = torch.randn(2, 2, generator=generator)
        z = state.prior.mean + spread * (state.prior.logvar / 2).exp() * eps
        frame, state = model.step(z, state)
        torch.testing.assert_close(drawn[0, :, step], frame)


def test_best_of_groups_averages_over_the_groups():
    scores = torch.tensor([1.0, 4, 2, 9, 3]).view(5, 1, 1)
    assert moving_exam.best_of_groups(scores, 1).item() == pytest.approx(19 / 5)
    assert moving_exam.best_of_groups(scores, 2).item() == pytest.approx((4 + 9) / 2)
    assert moving_exam.best_of_groups(scores, 5).item() == 9


def test_the_best_sample_hides_the_stray_ones_and_the_energy_score_does_not(monkeypatch, exam):
    few = exam.first(16)
    truth = {tuple(c.flatten().tolist()): f for c, f in zip(few.context, few.future, strict=True)}

    def clairvoyant(_model, context, num_samples, **_):
        futures = torch.stack([truth[tuple(c.flatten().tolist())] for c in context])
        return futures.expand(num_samples, -1, -1, -1, -1, -1)

    monkeypatch.setattr(moving_exam, "sample_futures", clairvoyant)
    measured = moving_exam.examine_sampler(SVG(TINY_MODEL), few)
    for k in moving_exam.BEST_OF:
        assert (measured[f"psnr_best_of_{k}"] == EXACT).all()
    assert (measured["psnr_best_of_100_stray"] == EXACT).all()
    assert (measured["energy"].abs() < 1e-6).all()
    # Three quarters at the distance d of another clip: (3/4) d - (1/2) (2 * 3/16 * 100/99) d.
    other = torch.cat([half.roll(1, 0) for half in few.future.split(moving_exam.CHUNK)])
    d = (other - few.future).double().square().mean((1, 2, 3, 4)).sqrt()
    torch.testing.assert_close(
        measured["energy_stray"], (0.75 - 0.1875 * 100 / 99) * d, rtol=1e-5, atol=1e-6
    )


def test_a_copied_frame_that_is_exact_counts_as_forty_decibels(exam):
    scores = moving_exam.finite_psnr(exam.future, exam.future)
    assert (scores == 40).all()
    noisy = exam.future + 0.2  # an error of 0.2 of a range of 2: 20 dB
    torch.testing.assert_close(
        moving_exam.finite_psnr(noisy, exam.future), torch.full_like(scores, 20), atol=1e-3, rtol=0
    )


def test_a_summary_holds_the_mean_of_a_curve_and_each_of_its_steps():
    found = moving_exam.summary(
        {"psnr": torch.tensor([[1.0, 2.0], [3.0, 6.0]]), "energy": torch.tensor([0.0, 1.0])}
    )
    assert {name: metric.value for name, metric in found.items()} == {
        "psnr": 3,
        "psnr_step_01": 2,
        "psnr_step_02": 4,
        "energy": 0.5,
    }
    assert 0 <= found["energy"].low < 0.5 < found["energy"].high <= 1


@torch.no_grad()
def test_the_nats_are_those_of_torch_in_both_kinds_of_frames(model, exam):
    few = exam.first(8)
    found = moving_exam.information(model, few)
    passed = model(torch.cat([few.context, few.future], 1), CONTEXT, torch.zeros(8, HORIZON, 2))
    q, p = (
        torch.distributions.Normal(g.mean, (g.logvar / 2).exp())
        for g in (passed.posterior, passed.prior)
    )
    kl = torch.distributions.kl_divergence(q, p).sum(-1)
    assert found["kl_news"].value == pytest.approx(float(kl[few.news].mean()), rel=1e-4)
    assert found["kl_elsewhere"].value == pytest.approx(float(kl[~few.news].mean()), rel=1e-4)


def test_beta_rests_rises_geometrically_and_rests():
    steps, low, high = SMALL.steps, SMALL.first_beta, SMALL.beta
    assert [SMALL.beta_at(step) for step in (0, steps // 5)] == [low, low]
    assert SMALL.beta_at(2 * steps // 5) == pytest.approx(math.sqrt(low * high))
    assert SMALL.beta_at(3 * steps // 5) == pytest.approx(high)
    assert SMALL.beta_at(steps - 1) == pytest.approx(high)


@torch.no_grad()
@pytest.mark.parametrize("step", [0, 99])
def test_the_loss_is_written_out_frame_by_frame(model, step):
    batch = moving_svg.draw(TINY, make_generator())
    loss, parts = moving_svg.svg_loss(TINY, model, batch, step)
    passed = model(batch["video"], CONTEXT, batch["eps"])
    squares = nats = 0.0
    for clip in range(2):
        for frame in range(HORIZON):
            target = batch["video"][clip, CONTEXT + frame]
            squares += float((passed.frames[clip, frame] - target).square().sum()) / 1024 / 2
            q, p = (
                torch.distributions.Normal(g.mean[clip, frame], (g.logvar[clip, frame] / 2).exp())
                for g in (passed.posterior, passed.prior)
            )
            nats += float(torch.distributions.kl_divergence(q, p).sum()) / 2
    assert float(loss) == pytest.approx(squares + TINY.beta_at(step) * nats, rel=1e-4)
    assert float(parts["kl"]) == pytest.approx(nats, rel=1e-3)
    assert float(parts["squared_error"]) == pytest.approx(squares, rel=1e-4)


def test_a_batch_holds_train_digits_and_the_noise_of_every_latent():
    batch = moving_svg.draw(TINY, make_generator(3))
    assert batch["eps"].shape == (2, HORIZON, 2)
    world = MovingMNIST(load_digits("train"), stochastic=True, num_digits=1, num_frames=15, size=32)
    assert torch.equal(batch["video"], world.sample(2, generator=make_generator(3)).video)
    assert moving_svg.draw(DETERMINISTIC.small, make_generator())["eps"].shape[-1] == 0


def test_the_two_networks_differ_in_the_latent_alone():
    assert replace(DETERMINISTIC.small.model, prior="learned", latent_dim=4) == SMALL.model
    assert replace(DETERMINISTIC.small, model=SMALL.model) == SMALL
    deterministic = replace(TINY, model=replace(TINY_MODEL, **moving_svg.WITHOUT_LATENT))
    model = DETERMINISTIC.start(deterministic).model
    assert model.prior is model.posterior is None


@pytest.mark.parametrize("recipe", moving_svg.RECIPES, ids=lambda recipe: recipe.name)
def test_a_few_steps_of_training_lower_the_loss(recipe):
    latent = {} if recipe is LEARNED_PRIOR else moving_svg.WITHOUT_LATENT
    smaller = replace(TINY_MODEL, **latent)
    config = replace(TINY, model=smaller, steps=8, learning_rate=1e-2)
    losses = [float(s.loss) for s in recipe.train_steps(recipe.start(config), config)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("recipe", "num_rows"), [(LEARNED_PRIOR, 6), (DETERMINISTIC, 2)])
def test_a_sheet_shows_the_truth_first_with_its_context_in_front(recipe, num_rows, exam):
    config = TINY
    if recipe is DETERMINISTIC:
        config = replace(TINY, model=replace(TINY_MODEL, **moving_svg.WITHOUT_LATENT))
    with torch.no_grad():
        pixels = np.asarray(recipe.sheet(recipe.start(config).model.eval(), config))
    tiles = pixels.reshape(moving_svg.SHOWN * num_rows, 34, 15, 34)
    assert (tiles[:, 0] == 128).all()
    tiles = tiles[:, 1:-1, :, 1:-1].transpose(0, 2, 1, 3)
    clips = torch.cat([exam.context, exam.future], 1)[:, :, 0].numpy()
    for clip in range(moving_svg.SHOWN):
        assert np.abs(tiles[clip * num_rows] / 127.5 - 1 - clips[clip]).max() < 0.005
        assert (tiles[clip * num_rows : (clip + 1) * num_rows, :CONTEXT].std(0) == 0).all()


@torch.no_grad()
def test_a_mixture_has_no_spread(exam):
    model = SVG(replace(TINY_MODEL, prior="mixture"))
    with pytest.raises(ValueError, match="prior is a GaussianMixture"):
        moving_exam.sample_futures(model, exam.context[:1], 1)


def test_no_weights_ship():
    assert not LEARNED_PRIOR.ships_weights
    assert not DETERMINISTIC.ships_weights


def test_published_more_samples_have_a_better_best_and_a_latent_a_better_energy_score():
    sampler, without = results(LEARNED_PRIOR), results(DETERMINISTIC)
    for measure in ("psnr", "ssim"):
        best = [sampler[f"{measure}_best_of_{k}"] for k in moving_exam.BEST_OF]
        assert best == sorted(best)
    assert sampler["energy"] < without["energy"]
    assert sampler["energy"] < sampler["energy_stray"]
    assert sampler["kl_news"] > sampler["kl_elsewhere"]


def test_published_the_narrow_sampler_wins_best_of_k_and_loses_the_energy_score():
    sampler = results(LEARNED_PRIOR)
    assert sampler["psnr_best_of_100_narrow_less_wide"] > 0
    assert sampler["energy_narrow_less_wide"] > 0
