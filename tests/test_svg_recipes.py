"""Chapter 1's crossroads trainings: the loss, the exam of events, and the pad of futures."""

import math
from dataclasses import replace

import pytest
import torch

from course_lib.data.crossroads import CUES, TWICE
from course_lib.models.dcgan import DCGANConfig
from course_lib.models.svg import SVG, SVGConfig
from course_lib.recipes import svg
from course_lib.recipes.svg_exam import (
    futures_on_a_pad,
    kl_per_frame,
    kl_slope,
    make_exam,
    of_latents,
    reconstruct,
    shows_a_future,
    world,
)

TINY = SVGConfig(
    image=DCGANConfig(channels=(8, 8, 8), feature_dim=8, hidden_dim=None),
    latent_dim=2,
    predictor_dim=8,
    inference_dim=8,
)
CONFIG = replace(svg.SMALL, model=TINY, steps=10, batch_size=2, own_frames_from=0.7)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SVG(TINY).eval()


@pytest.fixture(scope="module")
def exam():
    return make_exam(40)


def test_beta_rests_then_grows_geometrically_then_rests():
    config = replace(CONFIG, steps=1000, first_beta=1e-6, beta=1e-2)
    betas = [svg.beta_at(config, step) for step in range(1000)]
    assert betas[:201] == pytest.approx([1e-6] * 201)
    assert betas[400] == pytest.approx(1e-4)
    assert betas[301] / betas[300] == pytest.approx(betas[501] / betas[500])
    assert betas[600:] == pytest.approx([1e-2] * 400)


def test_the_learning_rate_warms_up_rests_and_falls_to_zero():
    factor = svg.flat_then_cosine(replace(CONFIG, steps=1000))
    assert factor(0) == pytest.approx(0.01)
    assert factor(99) == factor(300) == 1
    assert factor(650) == pytest.approx(0.5)
    assert 0 < factor(999) < 1e-4


def loss_by_hand(model, video, eps, beta, fed):
    """SVG's loss frame by frame, with the same networks called one step at a time."""
    posterior = model.infer(video, TWICE.context)
    state, total = model.observe(video[:, : TWICE.context]), 0.0
    for step in range(TWICE.horizon):
        mean, logvar = posterior.mean[:, step], posterior.logvar[:, step]
        sigma_p = state.prior.sigma
        kl = (state.prior.logvar - logvar) / 2 - 0.5
        kl = kl + (logvar.exp() + (mean - state.prior.mean) ** 2) / (2 * sigma_p**2)
        frame, state = model.step(mean + (logvar / 2).exp() * eps[:, step], state)
        if not fed:  # teacher forcing: what follows has read the true frames
            state = observe_with_latents(model, video, posterior, eps, step + 1)
        target = video[:, TWICE.context + step]
        total = total + ((frame - target) ** 2).mean((1, 2, 3)) + beta * kl.sum(-1)
    return total.mean()


def observe_with_latents(model, video, posterior, eps, num):
    """The state after `num` true frames behind the context."""
    state = model.observe(video[:, : TWICE.context])
    for step in range(num):
        z = posterior.mean[:, step] + posterior.sigma[:, step] * eps[:, step]
        _, predictor = model.predictor(state.features[:, None], z[:, None], state.predictor_state)
        h = model.encoder(video[:, TWICE.context + step])[0][:, None]
        state = model._await_latent(h, state.skips, predictor, state.prior_state)
    return state


@pytest.mark.parametrize(("step", "fed"), [(0, False), (6, False), (7, True), (9, True)])
def test_the_loss_is_svgs_on_true_frames_first_and_on_its_own_frames_last(model, step, fed):
    batch = svg.draw(CONFIG, torch.Generator().manual_seed(1))
    loss, parts = svg.svg_loss(CONFIG, model, batch, step)
    beta = svg.beta_at(CONFIG, step)
    expected = loss_by_hand(model, batch["video"], batch["eps"], beta, fed)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert parts["kl"] > 0


def test_news_comes_at_the_turn_and_at_the_return_and_is_the_entropy_of_each(exam):
    for n in range(len(exam.cue)):
        rule, arrival = CUES[exam.cue[n]], int(exam.clips.arrival[n])
        back = rule.return_probs[exam.clips.turn[n]]
        expected = torch.zeros(TWICE.horizon, dtype=torch.float64)
        expected[arrival + 1 - TWICE.context] = -sum(p * math.log(p) for p in rule.turn_probs if p)
        expected[arrival + 6 - TWICE.context] = -sum(p * math.log(p) for p in (back, 1 - back) if p)
        assert torch.allclose(exam.news[n], expected, atol=1e-9)
        assert exam.at("turn")[n].nonzero().flatten().tolist() == (
            [arrival - 2] if max(rule.turn_probs) < 1 else []
        )
        assert exam.at("return")[n].nonzero().flatten().tolist() == (
            [arrival + 3] if 0 < back < 1 else []
        )


def test_nats_are_sorted_into_turn_return_and_idle(exam):
    kl = torch.full(exam.news.shape, 0.01)
    kl[exam.at("turn")], kl[exam.at("return")] = 2.0, 1.0
    measured = of_latents(kl, exam)
    assert measured["kl_turn"].value == pytest.approx(2)
    assert measured["kl_return"].value == pytest.approx(1)
    assert measured["kl_idle_largest"].value == pytest.approx(0.01)
    assert 0.12 <= measured["kl_idle"].value <= 0.14
    assert measured["rate"].value == pytest.approx(kl.sum(1).mean().item(), rel=1e-5)


def test_the_slope_of_nats_over_entropy_is_found(exam):
    entropy = torch.zeros(len(exam.cue))
    for n, cue in enumerate(exam.cue.tolist()):
        entropy[n] = -sum(p * math.log(p) for p in CUES[cue].turn_probs if p)
    kl = torch.zeros(exam.news.shape)
    kl[torch.arange(len(kl)), exam.clips.arrival - 2] = 0.3 + 1.7 * entropy
    slope = kl_slope(kl, exam)
    assert slope.value == pytest.approx(1.7, rel=1e-4)
    assert slope.high - slope.low < 1e-3


def test_a_true_future_is_one_and_the_empty_road_is_not(exam):
    assert shows_a_future(exam.truth, exam).all()
    empty = torch.stack([f.background.expand_as(f.clips[0]) for f in exam.futures])
    assert not shows_a_future(empty, exam).any()
    least_likely = torch.stack([f.clips[f.probs.argmin()] for f in exam.futures])
    possible = torch.tensor([bool(f.probs.min() > 0) for f in exam.futures])
    assert torch.equal(shows_a_future(least_likely, exam), possible)
    assert possible.any()
    assert not possible.all()


def test_a_reconstruction_runs_on_its_own_frames_with_the_posteriors_latents(model, exam):
    video = exam.clips.video[:3]
    with torch.no_grad():
        rebuilt = reconstruct(model, video, generator=torch.Generator().manual_seed(4))
        q = model.infer(video, TWICE.context)
        eps = torch.randn(q.mean.shape, generator=torch.Generator().manual_seed(4))
        z = q.mean + (q.logvar / 2).exp() * eps
        expected = model.predict(video[:, : TWICE.context], TWICE.horizon, z=z)
    assert torch.equal(rebuilt, expected)


def test_the_kl_of_each_frame_is_that_of_the_training_pass(model, exam):
    with torch.no_grad():
        kl = kl_per_frame(model, exam)
        eps = torch.zeros(len(exam.cue), TWICE.horizon, 2)
        passed = model(exam.clips.video, TWICE.context, eps)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(passed.posterior.mean, passed.posterior.sigma),
        normal(passed.prior.mean, passed.prior.sigma),
    ).sum(-1)
    assert torch.allclose(kl, expected, atol=1e-5)


def test_a_pad_varies_one_latent_and_knows_where_the_prior_puts_its_draws(model):
    futures = world("test").futures(0, 4, include_impossible=True)
    with torch.no_grad():
        pad = futures_on_a_pad(
            model, futures, 1, 2, (1, 0), num_points=5, generator=torch.Generator().manual_seed(0)
        )
    assert pad.clips.shape == (5, 5, TWICE.num_frames, 1, 32, 32)
    before = TWICE.context + 2
    clips = pad.clips.flatten(0, 1)
    assert torch.allclose(
        clips[:, :before], clips[:1, :before].expand(25, -1, -1, -1, -1), atol=1e-5
    )
    apart = torch.cdist(clips[:, before].flatten(1), clips[:, before].flatten(1))
    assert apart.fill_diagonal_(1).min() > 1e-4
    assert (pad.xs.diff() > 0).all()
    assert pad.xs[2].item() == pytest.approx(pad.draws[:, 0].mean().item(), abs=1e-5)
    assert (pad.xs[4] - pad.xs[2]).item() == pytest.approx(
        3 * pad.draws[:, 0].std().item(), rel=1e-4
    )
    state = model.observe(futures.context[None])
    happened = torch.cat([futures.context, futures.clips[1]])[None]
    told = model.infer(happened, TWICE.context).mean
    for step in range(TWICE.horizon):
        z = told[:, step] if step < 2 else state.prior.mean
        if step == 2:
            z = torch.tensor([[pad.ys[4], pad.xs[0]]])  # the plane is (1, 0)
        with torch.no_grad():
            frame, state = model.step(z, state)
        expected = pad.clips[4, 0, TWICE.context + step]
        assert torch.allclose(frame[0], expected, atol=1e-4), step
    shares = pad.shares(len(futures))
    nearest = [
        pad.regions[(pad.ys - y).abs().argmin(), (pad.xs - x).abs().argmin()].item()
        for x, y in pad.draws
    ]
    assert shares.tolist() == pytest.approx(
        [nearest.count(k) / len(nearest) for k in range(len(futures))]
    )
