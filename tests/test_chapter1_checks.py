"""Every checker of chapter 1 is checked, and its two loops are those of the chapter's model."""

import math
from typing import ClassVar

import pytest
import torch
from checked import CheckedChapter
from torch.distributions import Independent, Normal, kl_divergence

from course_lib.checks import chapter1 as check
from course_lib.checks import chapter1_nets as library
from course_lib.checks.properties import fresh_generator
from course_lib.models.dcgan import DCGANConfig
from course_lib.models.svg import SVG, SVGConfig


@pytest.fixture(autouse=True)
def reader(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))


# Reparameterisation.


def draw(mean, logvar, eps):
    return mean + torch.exp(logvar / 2) * eps


def draw_by_root(mean, logvar, eps):
    return torch.addcmul(mean, logvar.exp().sqrt(), eps)


DRAWS = {
    "logvar as sigma": lambda mean, logvar, eps: mean + logvar * eps,
    "logvar as the variance": lambda mean, logvar, eps: mean + logvar.sqrt() * eps,
    "one half is missing": lambda mean, logvar, eps: mean + logvar.exp() * eps,
    "sign of logvar": lambda mean, logvar, eps: mean + eps / (logvar / 2).exp(),
    "left out eps": lambda mean, logvar, eps: mean,
    "left out sigma": lambda mean, logvar, eps: mean + eps,
    "left out the mean": lambda mean, logvar, eps: (logvar / 2).exp() * eps,
    "noise of your own": lambda mean, logvar, eps: draw(mean, logvar, torch.randn_like(eps)),
    "gradient of `mean`": lambda mean, logvar, eps: draw(mean.detach(), logvar, eps),
    "gradient of `logvar`": lambda mean, logvar, eps: draw(mean, logvar.detach(), eps),
    "cut or wrong": lambda mean, logvar, eps: draw((mean + mean.detach()) / 2, logvar, eps),
    "Half of logvar": lambda mean, logvar, eps: 1.01 * draw(mean, logvar, eps),
    "write into their argument": lambda mean, logvar, eps: eps.mul_((logvar / 2).exp()) + mean,
    "every coordinate by itself": lambda mean, logvar, eps: draw(mean, logvar, eps).sum(-1),
}


# KL of two Gaussians.


def kl(qm, qv, pm, pv):
    return 0.5 * (pv - qv + (qv.exp() + (qm - pm) ** 2) / pv.exp() - 1).sum(-1)


def kl_by_torch(qm, qv, pm, pv):
    q, p = (Independent(Normal(m, (v / 2).exp()), 1) for m, v in ((qm, qv), (pm, pv)))
    return kl_divergence(q, p)


KLS = {
    "the reverse": lambda qm, qv, pm, pv: kl(pm, pv, qm, qv),
    "one half is missing": lambda *pair: 2 * kl(*pair),
    "averaged over the coordinates": lambda *pair: kl(*pair) / pair[0].shape[-1],
    "sum of all of them": lambda *pair: kl(*pair).sum().expand(pair[0].shape[:-1]),
    "Sum over the last dimension only": lambda *pair: kl(*pair).sum(),
    "took logvar as the variance": lambda qm, qv, pm, pv: (
        0.5 * ((pv / qv).log() + (qv + (qm - pm) ** 2) / pv - 1).sum(-1)
    ),
    "log of sigma": lambda qm, qv, pm, pv: (
        pv - qv + ((2 * qv).exp() + (qm - pm) ** 2) / (2 * (2 * pv).exp()) - 0.5
    ).sum(-1),
    "took p as N(0, I)": lambda qm, qv, pm, pv: 0.5 * (qm**2 + qv.exp() - qv - 1).sum(-1),
    "sign is wrong": lambda *pair: -kl(*pair),
    "-1 of every coordinate": lambda qm, qv, pm, pv: (
        0.5 * (pv - qv + (qv.exp() + (qm - pm) ** 2) / pv.exp()).sum(-1)
    ),
    "log2": lambda *pair: kl(*pair) / math.log(2),
    "Add up (log p_var": lambda *pair: kl(*pair) ** 2,
}


# The ELBO.


def squares(x, x_hat, sigma):
    return (((x - x_hat) / sigma) ** 2).sum((1, 2, 3))


def kl_to_standard(mean, logvar):
    return kl(mean, logvar, torch.zeros_like(mean), torch.zeros_like(mean))


def constant(x, sigma):
    return x[0].numel() * math.log(2 * math.pi * sigma**2)


def elbo(x, x_hat, mean, logvar, sigma):
    error = squares(x, x_hat, sigma)
    return -0.5 * (error + constant(x, sigma)) - kl_to_standard(mean, logvar)


def elbo_by_torch(x, x_hat, mean, logvar, sigma):
    pixels = Independent(Normal(x_hat, sigma), 3)
    posterior = Independent(Normal(mean, (logvar / 2).exp()), 1)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    return pixels.log_prob(x) - kl_divergence(posterior, prior)


ELBOS = {
    "averaged the log density": lambda x, y, m, v, s: (
        -0.5 * (squares(x, y, s) + constant(x, s)) / x[0].numel() - kl_to_standard(m, v)
    ),
    "averaged the squared error over": lambda x, y, m, v, s: (
        -0.5 * (((x - y) / s).square().mean((1, 2, 3)) + constant(x, s)) - kl_to_standard(m, v)
    ),
    "averaged the squared error, and": lambda x, y, m, v, s: (
        -((x - y) ** 2).mean((1, 2, 3)) / (2 * s**2) - kl_to_standard(m, v)
    ),
    "You added the KL": lambda x, y, m, v, s: elbo(x, y, m, v, s) + 2 * kl_to_standard(m, v),
    "no bound on log p(x)": lambda x, y, m, v, s: -squares(x, y, s) / 2 - kl_to_standard(m, v),
    "every pixel has its own": lambda x, y, m, v, s: (
        -(squares(x, y, s) + math.log(2 * math.pi * s**2)) / 2 - kl_to_standard(m, v)
    ),
    "sigma as the variance": lambda x, y, m, v, s: elbo(x, y, m, v, s**0.5),
    "one half of the squared error": lambda x, y, m, v, s: (
        elbo(x, y, m, v, s) - squares(x, y, s) / 2
    ),
    "left out the KL": lambda x, y, m, v, s: elbo(x, y, m, v, s) + kl_to_standard(m, v),
    "negative ELBO": lambda x, y, m, v, s: -elbo(x, y, m, v, s),
    "KL of the whole batch": lambda x, y, m, v, s: (
        -0.5 * (squares(x, y, s) + constant(x, s)) - kl_to_standard(m, v).sum()
    ),
    "KL over the coordinates": lambda x, y, m, v, s: (
        -0.5 * (squares(x, y, s) + constant(x, s)) - kl_to_standard(m, v) / m.shape[1]
    ),
    "not over the batch": lambda *inputs: elbo(*inputs).mean(),
    "Add log N(x; x_hat, sigma^2)": lambda *inputs: elbo(*inputs) - 1,
    "it is no lower bound": lambda *inputs: elbo(*inputs) + 1,
    "lies below log p(x)": lambda *inputs: elbo(*inputs) - 1,
}


def test_an_elbo_without_its_constant_is_shown_above_the_evidence():
    fault = check.elbo(ELBOS["no bound on log p(x)"]).findings[2].fault
    assert "it is no lower bound" in fault.hint


# Total variation.


def total_variation(f, p):
    return 0.5 * (f - p).abs().sum(1).mean()


def by_overlap(f, p):
    return sum(1 - torch.minimum(a, b).sum() for a, b in zip(f, p, strict=True)) / len(f)


VARIATIONS = {
    "pooled the contexts": lambda f, p: (f.mean(0) - p.mean(0)).abs().sum() / 2,
    "always takes one turn": lambda f, p: (f.mean(0) - p.mean(0)).abs().sum() / 2,
    "one half is missing": lambda f, p: (f - p).abs().sum(1).mean(),
    "largest difference": lambda f, p: (f - p).abs().amax(1).mean(),
    "then average over the contexts": lambda f, p: (f - p).abs().mean(),
    "then halve": lambda f, p: (f - p).abs().mean() / 2,
    "added up the contexts": lambda f, p: (f - p).abs().sum() / 2,
    "squared the differences": lambda f, p: (f - p).pow(2).sum(1).mean() / 2,
    "did not take absolute": lambda f, p: (f - p).sum(1).mean() / 2,
    "One number per context": lambda f, p: (f - p).abs().sum(1) / 2,
    "Half the sum of": lambda f, p: total_variation(f, p).sqrt(),
}


# One step of SVG.


def step(nets, previous, target, states, eps):
    states = dict(states)
    h = nets.encoder(previous)
    qm, qv, states["posterior"] = nets.posterior(nets.encoder(target), states["posterior"])
    pm, pv, states["prior"] = nets.prior(h, states["prior"])
    g, states["predictor"] = nets.predictor(h, draw(qm, qv, eps), states["predictor"])
    return nets.decoder(g), kl(qm, qv, pm, pv), states


def step_backwards(nets, previous, target, states, eps):
    """The same with the networks called in another order, and torch's own KL."""
    p = nets.prior(nets.encoder(previous), states["prior"])
    q = nets.posterior(nets.encoder(target), states["posterior"])
    z = draw_by_root(q[0], q[1], eps)
    g, predictor = nets.predictor(nets.encoder(previous), z, states["predictor"])
    after = {"predictor": predictor, "posterior": q[2], "prior": p[2]}
    return nets.decoder(g), kl_by_torch(*q[:2], *p[:2]), after


def make_wrong_step(
    *,
    posterior_reads="target",
    prior_reads="previous",
    predictor_reads="previous",
    noise=lambda logvar: (logvar / 2).exp(),
    latent_from="posterior",
    divergence=kl,
    painted="g",
    read=lambda name: name,
    write=lambda name: name,
):
    """`step` with one thing changed."""

    def wrong(nets, previous, target, states, eps):
        h = {"previous": nets.encoder(previous), "target": nets.encoder(target)}
        given = {name: states[read(name)] if read(name) else None for name in states}
        qm, qv, posterior = nets.posterior(h[posterior_reads], given["posterior"])
        pm, pv, prior = nets.prior(h[prior_reads], given["prior"])
        mean, logvar = (qm, qv) if latent_from == "posterior" else (pm, pv)
        z = mean + noise(logvar) * eps
        g, predictor = nets.predictor(h[predictor_reads], z, given["predictor"])
        after = {"posterior": posterior, "prior": prior, "predictor": predictor}
        after = {name: after[write(name)] for name in after}
        return (
            nets.decoder(g if painted == "g" else h["previous"]),
            divergence(qm, qv, pm, pv),
            after,
        )

    return wrong


def step_with_old_states(nets, previous, target, states, eps):
    return (*step(nets, previous, target, states, eps)[:2], states)


def step_with_one_state(nets, previous, target, states, eps):
    h = nets.encoder(previous)
    qm, qv, state = nets.posterior(nets.encoder(target), states["posterior"])
    pm, pv, state = nets.prior(h, state)
    g, state = nets.predictor(h, draw(qm, qv, eps), state)
    return nets.decoder(g), kl(qm, qv, pm, pv), dict.fromkeys(states, state)


def step_in_place(nets, previous, target, states, eps):
    x_hat, divergence, after = step(nets, previous, target, states, eps)
    states.update(after)
    return x_hat, divergence, states


def step_without_gradient(nets, previous, target, states, eps):
    with torch.no_grad():
        return step(nets, previous, target, states, eps)


SWAPPED = {"posterior": "prior", "prior": "posterior", "predictor": "predictor"}


def forget(name):
    return lambda other: None if other == name else other


STEPS = {
    "z cannot know": make_wrong_step(posterior_reads="previous"),
    "The prior reads the target": make_wrong_step(prior_reads="target"),
    "The predictor reads the target": make_wrong_step(predictor_reads="target"),
    "z comes from the prior": make_wrong_step(latent_from="prior"),
    "without noise": make_wrong_step(noise=lambda logvar: 0),
    "exp(logvar) is the variance": make_wrong_step(noise=torch.exp),
    "decoder reads h": make_wrong_step(painted="h"),
    "wrong way round": make_wrong_step(divergence=lambda qm, qv, pm, pv: kl(pm, pv, qm, qv)),
    "N(0, I) as the prior": make_wrong_step(divergence=lambda qm, qv, *p: kl_to_standard(qm, qv)),
    "share one state": step_with_one_state,
    "handed back the states": step_with_old_states,
    "Every network begins anew": make_wrong_step(read=lambda name: None),
    "The predictor begins anew": make_wrong_step(read=forget("predictor")),
    "The posterior begins anew": make_wrong_step(read=forget("posterior")),
    "The prior begins anew": make_wrong_step(read=forget("prior")),
    "in each other's place": make_wrong_step(read=SWAPPED.get),
    "cut what it learns from": step_without_gradient,
    "Do not write into": step_in_place,
    "features and z; the decoder": make_wrong_step(noise=lambda logvar: -(logvar / 2).exp()),
    "summed over z": make_wrong_step(divergence=lambda *pair: 2 * kl(*pair)),
    "all three into a new dict": make_wrong_step(write=SWAPPED.get),
    "return x_hat, kl, states": lambda *inputs: step(*inputs)[0],
    "dict with three keys": make_wrong_step(divergence=lambda *pair: kl(*pair).sum()),
}


# Samples of the learned prior.


def sample(nets, previous, states, horizon, generator):
    frames, states = [previous], dict(states)
    while len(frames) <= horizon:
        h = nets.encoder(frames[-1])
        mean, logvar, states["prior"] = nets.prior(h, states["prior"])
        z = draw(mean, logvar, torch.randn(mean.shape, generator=generator))
        g, states["predictor"] = nets.predictor(h, z, states["predictor"])
        frames.append(nets.decoder(g))
    return torch.stack(frames[1:], 1)


def sample_noise_first(nets, previous, states, horizon, generator):
    """All noise at once, and what the prior says is asked for one frame ahead."""
    h, future = nets.encoder(previous), []
    mean, logvar, prior = nets.prior(h, states["prior"])
    predictor = states["predictor"]
    for eps in torch.randn(horizon, *mean.shape, generator=generator):
        g, predictor = nets.predictor(h, draw(mean, logvar, eps), predictor)
        future.append(nets.decoder(g)[:, None])
        h = nets.encoder(future[-1][:, 0])
        mean, logvar, prior = nets.prior(h, prior)
    return torch.cat(future, 1)


def make_wrong_sample(
    *,
    latent=draw,
    network="prior",
    noise=lambda eps: eps,
    noise_per="step",
    feed=True,
    keep=("prior", "predictor"),
    start=lambda states: dict(states),
    own_generator=None,
):
    """`sample` with one thing changed."""

    def wrong(nets, previous, states, horizon, generator):
        states, frames = start(states), []
        generator = generator if own_generator is None else own_generator()
        z = eps = None
        for _ in range(horizon):
            h = nets.encoder(previous)
            mean, logvar, after = getattr(nets, network)(h, states[network])
            if eps is None or noise_per != "future":
                eps = noise(torch.randn(mean.shape, generator=generator))
            if z is None or noise_per != "latent":
                z = latent(mean, logvar, eps)
            g, predictor = nets.predictor(h, z, states["predictor"])
            frames.append(nets.decoder(g))
            after = {network: after, "predictor": predictor}
            states.update({name: after[name] for name in after if name in (*keep, "posterior")})
            previous = frames[-1] if feed else previous
        return torch.stack(frames, 1)

    return wrong


def global_generator():
    return torch.default_generator


def without(name):
    return lambda states: {**states, name: None}


def sample_first_frame(nets, previous, states, horizon, generator):
    return sample(nets, previous, states, 1, generator).expand(-1, horizon, -1, -1, -1)


def sample_along_time(nets, previous, states, horizon, generator):
    return sample(nets, previous, states, horizon, generator).transpose(0, 1)


def sample_after_seeding(nets, previous, states, horizon, generator):
    """Reproducible, but at the cost of everybody else's random numbers."""
    torch.manual_seed(generator.initial_seed())
    return sample(nets, previous, states, horizon, torch.default_generator)


SAMPLES = {
    "Nothing is drawn": make_wrong_sample(latent=lambda mean, logvar, eps: mean),
    "z is the mean": make_wrong_sample(latent=lambda mean, logvar, eps: mean),
    "The noise is not the generator's": make_wrong_sample(own_generator=global_generator),
    "noise is not": make_wrong_sample(own_generator=fresh_generator),
    "or not its alone": sample_after_seeding,
    "drew from N(0, I)": make_wrong_sample(latent=lambda mean, logvar, eps: eps),
    "exp(logvar) is the variance": make_wrong_sample(latent=lambda m, v, eps: m + v.exp() * eps),
    "logvar as sigma": make_wrong_sample(latent=lambda m, v, eps: m + v * eps),
    "posterior network": make_wrong_sample(network="posterior"),
    "last frame of the context": make_wrong_sample(feed=False),
    "The prior's state is dropped": make_wrong_sample(keep=("predictor",)),
    "The predictor's state is dropped": make_wrong_sample(keep=("prior",)),
    "The prior begins anew: give its": make_wrong_sample(start=without("prior")),
    "The predictor begins anew: give its": make_wrong_sample(start=without("predictor")),
    "The prior begins anew at every": make_wrong_sample(
        start=without("prior"), keep=("predictor",)
    ),
    "The predictor begins anew at every": make_wrong_sample(
        start=without("predictor"), keep=("prior",)
    ),
    "One z serves all steps": make_wrong_sample(noise_per="latent"),
    "One eps serves all steps": make_wrong_sample(noise_per="future"),
    "One eps serves all clips": make_wrong_sample(noise=lambda eps: eps[:1].expand_as(eps)),
    "mean, logvar and state from": make_wrong_sample(noise=lambda eps: 0.8 * eps),
    "Do not write into": make_wrong_sample(start=lambda states: states),
    "Call the predictor once": sample_first_frame,
    "along dimension 1": sample_along_time,
    "g from h of the frame before": lambda *inputs: sample(*inputs) * 0.9,
}


class TestTheCheckers(CheckedChapter):
    right: ClassVar = [
        (check.reparameterise, draw),
        (check.reparameterise, draw_by_root),
        (check.kl, kl),
        (check.kl, kl_by_torch),
        (check.elbo, elbo),
        (check.elbo, elbo_by_torch),
        (check.total_variation, total_variation),
        (check.total_variation, by_overlap),
        (check.svg_step, step),
        (check.svg_step, step_backwards),
        (check.sample_future, sample),
        (check.sample_future, sample_noise_first),
    ]
    wrong: ClassVar = {
        check.reparameterise: DRAWS,
        check.kl: KLS,
        check.elbo: ELBOS,
        check.total_variation: VARIATIONS,
        check.svg_step: STEPS,
        check.sample_future: SAMPLES,
    }


def test_an_answer_that_pools_passes_nothing_but_the_distances_ends():
    failed = [f.property for f in check.total_variation(VARIATIONS["pooled the contexts"]).findings]
    assert "sees a model that is certain in every context, but right in the sum" in failed


# The same two loops on the chapter's model.

TINY = SVGConfig(
    image=DCGANConfig(channels=(4, 6), norm_groups=2, feature_dim=5, hidden_dim=7),
    latent_dim=3,
    predictor_dim=6,
    predictor_layers=2,
    inference_dim=4,
)


@pytest.fixture(params=["learned", "fixed"])
def svg(request):
    model = SVG(SVGConfig(**{**vars(TINY), "prior": request.param})).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=generator))
    return model


def draw_clip(frames=6):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, frames, 1, 16, 16, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("context", [1, 3])
@pytest.mark.parametrize("function", [step, library.svg_step])
def test_steps_on_a_trained_model_are_its_training_pass(svg, context, function):
    video = draw_clip()
    eps = torch.randn(2, 6 - context, 3, dtype=torch.float64)
    expected = svg(video, context, eps)
    nets, states = check.nets_of(svg, video[:, :context])
    for t in range(context, 6):
        x_hat, divergence, states = function(
            nets, video[:, t - 1], video[:, t], states, eps[:, t - context]
        )
        torch.testing.assert_close(x_hat, expected.frames[:, t - context])
        q, p = (
            Independent(Normal(g.mean[:, t - context], g.sigma[:, t - context]), 1)
            for g in (expected.posterior, expected.prior)
        )
        torch.testing.assert_close(divergence, kl_divergence(q, p))


@pytest.mark.parametrize("context", [1, 3])
def test_samples_of_a_trained_model_are_its_predictions_under_equal_noise(svg, context):
    video = draw_clip(context)
    nets, states = check.nets_of(svg, video)
    for seed in (0, 1):  # twice from the same states
        future = library.sample_future(
            nets, video[:, -1], states, 4, torch.Generator().manual_seed(seed)
        )
        expected = svg.predict(video, 4, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(future, expected)


def test_an_empty_context_gives_no_networks(svg):
    with pytest.raises(ValueError, match="T >= 1"):
        check.nets_of(svg, draw_clip()[:, :0])
