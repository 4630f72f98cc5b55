"""Every checker of chapter 5 is checked: right answers pass, wrong ones get their message."""

import math
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from checked import CheckedChapter

from course_lib.checks import chapter5 as check


@pytest.fixture(autouse=True)
def reader(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))


# The table.


def cumulate(betas):
    return torch.cumprod(1 - betas, dim=0)


def cumulate_in_a_loop(betas):
    kept, table = 1.0, torch.empty_like(betas)
    for i, beta in enumerate(betas.tolist()):
        kept *= 1 - beta
        table[i] = kept
    return table


def cumulate_in_place(betas):
    return betas.neg_().add_(1).cumprod(0)


TABLES = {
    "Those are the alphas": lambda b: 1 - b,
    "You multiplied the betas": lambda b: b.cumprod(0),
    "1 minus the product of the betas": lambda b: 1 - b.cumprod(0),
    "You added up the betas": lambda b: b.cumsum(0),
    "You subtracted the sum": lambda b: 1 - torch.cumsum(b, 0),
    "You added up what the steps keep": lambda b: (1 - b).cumsum(0),
    "the share of the noise": lambda b: 1 - cumulate(b),
    "You took the square root": lambda b: (1 - b).sqrt().cumprod(0),
    "begins at 1": lambda b: torch.cat([b.new_ones(1), cumulate(b)[:-1]]),
    "from the last step on": lambda b: cumulate(b.flip(0)).flip(0),
    "runs backwards": lambda b: cumulate(b).flip(0),
    "the product of all": lambda b: (1 - b).prod().expand(b.shape),
    "the limit of ever smaller steps": lambda b: torch.exp(-b.cumsum(0)),
    "Multiply from the first step on": lambda b: cumulate(b) / 2,
    "do not clamp": lambda b: cumulate(b).clamp(min=1e-3),
    "Do not round": lambda b: cumulate(b.half()).to(b) if len(b) > 99 else cumulate(b),
    "As many as there are betas": lambda b: torch.cat([b.new_ones(1), cumulate(b)]),
    "write into their argument": cumulate_in_place,
}


# Adding noise.


def add_noise(x0, eps, alpha_bar):
    return math.sqrt(alpha_bar) * x0 + math.sqrt(1 - alpha_bar) * eps


def add_noise_by_ratio(x0, eps, alpha_bar):
    ratio = (1 / alpha_bar - 1) ** 0.5
    return (x0 + ratio * eps) / (1 + ratio**2) ** 0.5


def noise_in_place(x0, eps, alpha_bar):
    return x0.mul_(alpha_bar**0.5).add_(eps * (1 - alpha_bar) ** 0.5)


NOISINGS = {
    "Both roots are missing": lambda x, e, a: a * x + (1 - a) * e,
    "root of the noise's share": lambda x, e, a: a**0.5 * x + (1 - a) * e,
    "root of the picture's share": lambda x, e, a: a * x + (1 - a) ** 0.5 * e,
    "1 - sqrt(alpha_bar) is another": lambda x, e, a: a**0.5 * x + (1 - a**0.5) * e,
    "have changed places": lambda x, e, a: add_noise(x, e, 1 - a),
    "One root over the sum": lambda x, e, a: (a * x + (1 - a) * e) ** 0.5,
    "left the picture at full": lambda x, e, a: x + (1 - a) ** 0.5 * e,
    "left the noise at full": lambda x, e, a: a**0.5 * x + e,
    "subtracted the noise": lambda x, e, a: a**0.5 * x - (1 - a) ** 0.5 * e,
    "You squared the shares": lambda x, e, a: a**2 * x + (1 - a) ** 2 * e,
    "The noise is missing": lambda x, e, a: a**0.5 * x,
    "x_t = sqrt(alpha_bar) x0": lambda x, e, a: add_noise(x, e, a) / 2,
    "noise of your own": lambda x, e, a: add_noise(x, torch.randn_like(x), a),
    "want a tensor": lambda x, e, a: a.sqrt() * x + (1 - a).sqrt() * e,
    "A power serves both": lambda x, e, a: torch.sqrt(a) * x + torch.sqrt(1 - a) * e,
    "As many pixels": lambda x, e, a: add_noise(x, e, a).mean(1),
    "write into their argument": noise_in_place,
}


# The loss.


def training_loss(network, x0, eps, t, alphas_cumprod):
    alpha_bar = alphas_cumprod[t].reshape(-1, *[1] * (x0.ndim - 1))
    x_t = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
    return F.mse_loss(network(x_t, t), eps)


def loss_one_by_one(network, x0, eps, t, alphas_cumprod):
    losses = []
    for i in range(len(x0)):
        x_t = add_noise(x0[i : i + 1], eps[i : i + 1], alphas_cumprod[t[i]])
        losses.append((eps[i : i + 1] - network(x_t, t[i : i + 1])).pow(2).mean())
    return sum(losses) / len(losses)


def loss_by_transposing(network, x0, eps, t, alphas_cumprod):
    a = alphas_cumprod.gather(0, t)
    x_t = (x0.movedim(0, -1) * a**0.5 + eps.movedim(0, -1) * (1 - a) ** 0.5).movedim(-1, 0)
    misses = (network(x_t, t) - eps).flatten()
    return misses @ misses / len(misses)


def lossy(mix=add_noise, target=lambda x, e, x_t, a: e, reduce=torch.mean, level=None, told=None):
    """A loss with one thing changed."""

    def wrong(network, x0, eps, t, alphas_cumprod):
        a = alphas_cumprod[t if level is None else level(t)]
        a = a.reshape(-1, *[1] * (x0.ndim - 1))
        x_t = mix(x0, eps, a)
        guess = network(x_t, t if told is None else told(t, a.flatten()))
        return reduce((guess - target(x0, eps, x_t, a)) ** 2)

    return wrong


def roots(x, e, a):
    return a.sqrt() * x + (1 - a).sqrt() * e


def broadcast_by(index):
    def wrong(network, x0, eps, t, alphas_cumprod):
        x_t = roots(x0, eps, alphas_cumprod[t][index])
        return ((network(x_t, t) - eps) ** 2).mean()

    return wrong


def own_noise(network, x0, eps, t, alphas_cumprod):
    return training_loss(network, x0, torch.randn_like(x0), t, alphas_cumprod)


def own_steps(network, x0, eps, t, alphas_cumprod):
    return training_loss(network, x0, eps, torch.randint(8, t.shape), alphas_cumprod)


def one_step_for_all(network, x0, eps, t, alphas_cumprod):
    x_t = roots(x0, eps, alphas_cumprod[t[0]])
    return F.mse_loss(network(x_t, t), eps)


def loss_in_place(network, x0, eps, t, alphas_cumprod):
    loss = training_loss(network, x0, eps, t, alphas_cumprod)
    x0 -= eps
    return loss


def index_from_1(network, x0, eps, t, alphas_cumprod):
    return training_loss(network, x0, eps, t.clamp(min=1), alphas_cumprod)


def table_too_short(network, x0, eps, t, alphas_cumprod):
    return training_loss(network, x0, eps, t, alphas_cumprod[:-1])


LOSSES = {
    "level of the first one": one_step_for_all,
    "the first example's t": lossy(roots, told=lambda t, a: t[0].expand(len(t))),
    "was told alpha_bar": lossy(roots, told=lambda t, a: a),
    "was told the t after": lossy(roots, told=lambda t, a: t + 1),
    "the step before": lossy(roots, level=lambda t: t - 1),
    "the step after": lossy(roots, level=lambda t: (t + 1).clamp(max=7)),
    "Both roots are missing": lossy(lambda x, e, a: a * x + (1 - a) * e),
    "the noise's share is missing": lossy(lambda x, e, a: a.sqrt() * x + (1 - a) * e),
    "the picture's share is missing": lossy(lambda x, e, a: a * x + (1 - a).sqrt() * e),
    "have changed places in x_t": lossy(lambda x, e, a: roots(x, e, 1 - a)),
    "showed the network the clean": lossy(lambda x, e, a: x),
    "showed the network the noise": lossy(lambda x, e, a: e),
    "added at full strength": lossy(lambda x, e, a: x + e),
    "compared with the clean": lossy(roots, lambda x, e, x_t, a: x),
    "compared with x_t:": lossy(roots, lambda x, e, x_t, a: x_t),
    "compared with x_t - x0": lossy(roots, lambda x, e, x_t, a: x_t - x),
    "as it stands in x_t": lossy(roots, lambda x, e, x_t, a: (1 - a).sqrt() * e),
    "sign of the target": lossy(roots, lambda x, e, x_t, a: -e),
    "You summed the squares": lossy(roots, reduce=torch.sum),
    "You summed over the pixels": lossy(roots, reduce=lambda e: e.flatten(1).sum(1).mean()),
    "summed over the examples": lossy(roots, reduce=lambda e: e.flatten(1).mean(1).sum()),
    "absolute values": lossy(roots, reduce=lambda e: e.sqrt().mean()),
    "square root of the mean": lossy(roots, reduce=lambda e: e.mean().sqrt()),
    "You halved the mean": lossy(roots, reduce=lambda e: 0.5 * e.mean()),
    "then the mean of the squared": lossy(roots, reduce=lambda e: e.max()),
    "If the sizes do not fit": broadcast_by(slice(None)),
    "Append an axis of length 1": broadcast_by((slice(None), None)),
    "fits pictures alone": broadcast_by((slice(None), None, None, None)),
    "one t for each example": lambda network, x0, eps, t, table: (
        (network(x0, t[0]) - eps).square().mean()
    ),
    "noise or steps of your own": own_noise,
    "Both are given": own_steps,
    "One mean over examples and pixels": lossy(roots, reduce=lambda e: e.flatten(1).mean(1)),
    "at the ends, too": index_from_1,
    "t counts from 0 to N - 1": table_too_short,
    "The gradient of `network.weights`": lambda *given: training_loss(*given).detach(),
    "write into their argument": loss_in_place,
}


# Back to the clean picture.


def predict_x0(x_t, eps_hat, alpha_bar):
    return (x_t - math.sqrt(1 - alpha_bar) * eps_hat) / math.sqrt(alpha_bar)


def predict_x0_by_ratio(x_t, eps_hat, alpha_bar):
    return x_t / alpha_bar**0.5 - (1 / alpha_bar - 1) ** 0.5 * eps_hat


def x0_in_place(x_t, eps_hat, alpha_bar):
    eps_hat *= (1 - alpha_bar) ** 0.5
    return (x_t - eps_hat) / alpha_bar**0.5


ONE_SHOTS = {
    "You clipped": lambda x, e, a: predict_x0(x, e, a).clamp(-1, 1),
    "All roots are missing": lambda x, e, a: (x - (1 - a) * e) / a,
    "root of the noise's share": lambda x, e, a: (x - (1 - a) * e) / a**0.5,
    "Divide by the root": lambda x, e, a: (x - (1 - a) ** 0.5 * e) / a,
    "The division is missing": lambda x, e, a: x - (1 - a) ** 0.5 * e,
    "You multiplied with": lambda x, e, a: (x - (1 - a) ** 0.5 * e) * a**0.5,
    "You divided x_t alone": lambda x, e, a: x / a**0.5 - (1 - a) ** 0.5 * e,
    "added the noise once more": lambda x, e, a: predict_x0(x, -e, a),
    "You took away all of eps": lambda x, e, a: (x - e) / a**0.5,
    "x_t minus eps is not": lambda x, e, a: x - e,
    "have changed places": lambda x, e, a: predict_x0(x, e, 1 - a),
    "1 - sqrt(alpha_bar) is another": lambda x, e, a: (x - (1 - a**0.5) * e) / a**0.5,
    "make up for the picture's fading": lambda x, e, a: 1.01 * predict_x0(x, e, a),
    "comes off without a trace": lambda x, e, a: predict_x0(x, e, a) * (x.ndim < 4 or len(x) > 2),
    "want a tensor": lambda x, e, a: (x - (1 - a).sqrt() * e) / a.sqrt(),
    "As many pixels": lambda x, e, a: predict_x0(x, e, a)[None],
    "write into their argument": x0_in_place,
}


# v.


def from_v(x_t, v, alpha_bar):
    signal, noise = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    return signal * x_t - noise * v, noise * x_t + signal * v


def from_v_in_turn(x_t, v, alpha_bar):
    x0_hat = alpha_bar**0.5 * x_t - (1 - alpha_bar) ** 0.5 * v
    return x0_hat, (x_t - alpha_bar**0.5 * x0_hat) / (1 - alpha_bar) ** 0.5


def v_in_place(x_t, v, alpha_bar):
    pair = from_v(x_t, v, alpha_bar)
    v.zero_()
    return pair


def with_x0(wrong):
    return lambda x, v, a: (wrong(x, v, a), from_v(x, v, a)[1])


def with_eps(wrong):
    return lambda x, v, a: (from_v(x, v, a)[0], wrong(x, v, a))


VS = {
    "x0_hat comes first": lambda x, v, a: from_v(x, v, a)[::-1],
    "The roots are missing": lambda x, v, a: (a * x - (1 - a) * v, (1 - a) * x + a * v),
    "factors have changed places": lambda x, v, a: from_v(x, v, 1 - a),
    "You took v for the noise": lambda x, v, a: (predict_x0(x, v, a), v),
    "so it is subtracted": with_x0(lambda x, v, a: from_v(x, -v, a)[0]),
    "Your x0_hat has the wrong sign": with_x0(lambda x, v, a: -from_v(x, v, a)[0]),
    "add up to 1": with_x0(lambda x, v, a: from_v(x, v, a)[0] / a**0.5),
    "leaves x0 alone": with_x0(lambda x, v, a: 2 * x),
    "so it is added": with_eps(lambda x, v, a: from_v(x, -v, a)[1]),
    "sign of x_t": with_eps(lambda x, v, a: from_v(-x, v, a)[1]),
    "where nothing is left": with_eps(lambda x, v, a: from_v(x, v, a)[1] / (1 - a) ** 0.5),
    "leaves eps alone": with_eps(lambda x, v, a: 2 * x),
    "A power serves both": lambda x, v, a: (
        a.sqrt() * x - (1 - a).sqrt() * v,
        (1 - a).sqrt() * x + a.sqrt() * v,
    ),
    "End with `return x0_hat, eps_hat`": lambda x, v, a: torch.stack(from_v(x, v, a)),
    "return x0_hat": lambda x, v, a: from_v(x, v, a)[0],
    "write into their argument": v_in_place,
}


# A step of the walk.


def ddpm_step(x_t, x0_hat, noise, betas, t):
    table = torch.cumprod(1 - betas, 0)
    before = table[t - 1] if t > 0 else torch.ones(())
    c0 = before**0.5 * betas[t] / (1 - table[t])
    ct = (1 - betas[t]) ** 0.5 * (1 - before) / (1 - table[t])
    mean = c0 * x0_hat + ct * x_t
    return mean + betas[t] ** 0.5 * noise if t > 0 else mean


def ddpm_step_by_eps(x_t, x0_hat, noise, betas, t):
    """The paper's algorithm 2."""
    alpha_bar = (1 - betas[: t + 1]).prod()
    eps_hat = (x_t - alpha_bar**0.5 * x0_hat) / (1 - alpha_bar) ** 0.5
    mean = (x_t - betas[t] / (1 - alpha_bar) ** 0.5 * eps_hat) / (1 - betas[t]) ** 0.5
    return mean + (betas[t] ** 0.5 * noise if t else 0)


def stepping(mean=None, factor=lambda b, tilde: b**0.5, end=False):
    """A step with another mean, or another factor of the noise; `end` leaves t = 0 unguarded."""

    def wrong(x_t, x0_hat, noise, betas, t):
        table = torch.cumprod(1 - betas, 0)
        before = table[t - 1] if t > 0 or end else torch.ones(())
        b, a, bar = betas[t], 1 - betas[t], table[t]
        parts = (mean or posterior)(x_t, x0_hat, b, a, bar, before)
        return parts + (t > 0) * factor(b, b * (1 - before) / (1 - bar)) * noise

    return wrong


def posterior(x, x0, b, a, bar, before):
    return (before**0.5 * b * x0 + a**0.5 * (1 - before) * x) / (1 - bar)


def at(shift):
    return lambda x, x0, noise, betas, t: ddpm_step(x, x0, noise, betas, max(t + shift, 0))


def without_cumulating(x_t, x0_hat, noise, betas, t):
    alphas = 1 - betas
    before = alphas[t - 1] if t else torch.ones(())
    mean = posterior(x_t, x0_hat, betas[t], alphas[t], alphas[t], before)
    return mean + (t > 0) * betas[t] ** 0.5 * noise


def two_before(x_t, x0_hat, noise, betas, t):
    table = torch.cat([torch.ones(2), torch.cumprod(1 - betas, 0)])
    mean = posterior(x_t, x0_hat, betas[t], 1 - betas[t], table[t + 2], table[t])
    return mean + (t > 0) * betas[t] ** 0.5 * noise


def noise_at_the_end(x_t, x0_hat, noise, betas, t):
    return ddpm_step(x_t, x0_hat, 0 * noise, betas, t) + betas[t] ** 0.5 * noise


def own_noise_in_the_step(x_t, x0_hat, noise, betas, t):
    return ddpm_step(x_t, x0_hat, torch.randn_like(x_t), betas, t)


def table_from_1(x_t, x0_hat, noise, betas, t):
    before = (1 - betas).cumprod(0)[[t - 1 if t else len(betas)]]
    return ddpm_step(x_t, x0_hat, noise, betas, t) + 0 * before


def step_in_place(x_t, x0_hat, noise, betas, t):
    x_prev = ddpm_step(x_t, x0_hat, noise, betas, t)
    x_t.copy_(x_prev)
    return x_prev


STEPS = {
    "x_t and x0_hat have changed": lambda x, x0, *others: ddpm_step(x0, x, *others),
    "alpha_bar_t where alpha_bar_{t-1}": stepping(
        lambda x, x0, b, a, bar, before: posterior(x, x0, b, a, bar, bar)
    ),
    "alpha_bar_{t-1} and alpha_bar_t have": stepping(
        lambda x, x0, b, a, bar, before: posterior(x, x0, b, a, before, bar)
    ),
    "one step too early": two_before,
    "the step of t - 1": at(-1),
    "the step of t + 1": at(1),
    "You used alpha, what": stepping(
        lambda x, x0, b, a, bar, before: posterior(x, x0, b, a, a, before)
    ),
    "in both places": without_cumulating,
    "alpha_bar where alpha belongs": stepping(
        lambda x, x0, b, a, bar, before: posterior(x, x0, b, bar, bar, before)
    ),
    "The roots are missing": stepping(
        lambda x, x0, b, a, bar, before: (before * b * x0 + a * (1 - before) * x) / (1 - bar)
    ),
    "root of alpha_bar_{t-1} is missing": stepping(
        lambda x, x0, b, a, bar, before: (before * b * x0 + a**0.5 * (1 - before) * x) / (1 - bar)
    ),
    "root of alpha_t is missing": stepping(
        lambda x, x0, b, a, bar, before: (before**0.5 * b * x0 + a * (1 - before) * x) / (1 - bar)
    ),
    "divided by the root": stepping(
        lambda x, x0, b, a, bar, before: (
            (before**0.5 * b * x0 + a**0.5 * (1 - before) * x) / (1 - bar) ** 0.5
        )
    ),
    "The division by": stepping(
        lambda x, x0, b, a, bar, before: before**0.5 * b * x0 + a**0.5 * (1 - before) * x
    ),
    "You put beta-tilde": stepping(
        lambda x, x0, b, a, bar, before: (
            (before**0.5 * b * (1 - before) / (1 - bar) * x0 + a**0.5 * (1 - before) * x)
            / (1 - bar)
        )
    ),
    "You forgot x_t": stepping(lambda x, x0, b, a, bar, before: before**0.5 * x0),
    "you jumped to the end": lambda x, x0, *others: 1 * x0,
    "That is DDIM's step": stepping(
        lambda x, x0, b, a, bar, before: (
            before**0.5 * x0 + ((1 - before) / (1 - bar)) ** 0.5 * (x - bar**0.5 * x0)
        ),
        lambda b, tilde: 0,
    ),
    "No noise was added": stepping(factor=lambda b, tilde: 0),
    "square root of the variance": stepping(factor=lambda b, tilde: b),
    "the posterior's own variance": stepping(factor=lambda b, tilde: tilde**0.5),
    "beta-tilde, and without its root": stepping(factor=lambda b, tilde: tilde),
    "noise was added at full": stepping(factor=lambda b, tilde: 1),
    "The noise's factor is sqrt(alpha_t)": stepping(factor=lambda b, tilde: (1 - b) ** 0.5),
    "You subtracted the noise": stepping(factor=lambda b, tilde: -(b**0.5)),
    "the beta of another step": lambda x, x0, noise, betas, t: (
        ddpm_step(x, x0, 0 * noise, betas, t) + (t > 0) * betas[t - 1] ** 0.5 * noise
    ),
    "Add sqrt(beta_t) times": stepping(factor=lambda b, tilde: 2 * b**0.5),
    "(sqrt(alpha_bar_{t-1}) beta_t x0_hat": stepping(lambda x, x0, *table: x + x0),
    "You added noise at t = 0": noise_at_the_end,
    "the END of the table": stepping(end=True),
    "And no noise is added": lambda x, x0, noise, betas, t: (
        stepping(end=True)(x, x0, 0 * noise, betas, t) + betas[t] ** 0.5 * noise
    ),
    "At t = 0 alpha_bar_{t-1} is 1": table_from_1,
    "drew noise of your own": own_noise_in_the_step,
    "As many pixels": lambda x, *others: ddpm_step(x, *others).flatten(1),
    "write into their argument": step_in_place,
}


class TestTheCheckers(CheckedChapter):
    right: ClassVar = [
        (check.cumulate, cumulate),
        (check.cumulate, cumulate_in_a_loop),
        (check.add_noise, add_noise),
        (check.add_noise, add_noise_by_ratio),
        (check.training_loss, training_loss),
        (check.training_loss, loss_one_by_one),
        (check.training_loss, loss_by_transposing),
        (check.predict_x0, predict_x0),
        (check.predict_x0, predict_x0_by_ratio),
        (check.from_v, from_v),
        (check.from_v, from_v_in_turn),
        (check.ddpm_step, ddpm_step),
        (check.ddpm_step, ddpm_step_by_eps),
    ]
    wrong: ClassVar = {
        check.cumulate: TABLES,
        check.add_noise: NOISINGS,
        check.training_loss: LOSSES,
        check.predict_x0: ONE_SHOTS,
        check.from_v: VS,
        check.ddpm_step: STEPS,
    }
