"""Every checker of chapter 6 is checked: right answers pass, wrong ones get their message."""

import bisect
import math
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checked import CheckedChapter

from course_lib.checks import chapter6 as check


@pytest.fixture(autouse=True)
def reader(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))


# Sigma.


def sigma(alpha_bar, alpha_bar_prev, eta):
    kept, left = 1 - alpha_bar_prev, 1 - alpha_bar
    return eta * (kept / left) ** 0.5 * (1 - alpha_bar / alpha_bar_prev) ** 0.5


def sigma_by_math(alpha_bar, alpha_bar_prev, eta):
    """The root of one quotient, as a float."""
    lost = alpha_bar_prev - alpha_bar
    return math.sqrt(eta**2 * (1 - alpha_bar_prev) * lost / (alpha_bar_prev * (1 - alpha_bar)))


def tensors_alone(alpha_bar, alpha_bar_prev, eta):
    variance = (1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)
    return eta * variance.sqrt()


def sigma_in_place(alpha_bar, alpha_bar_prev, eta):
    if isinstance(alpha_bar, float):
        return sigma(alpha_bar, alpha_bar_prev, eta)
    answer = sigma(alpha_bar, alpha_bar_prev, eta)
    alpha_bar /= alpha_bar_prev
    return answer


SIGMAS = {
    "eta multiplies the variance": lambda a, p, eta: sigma(a, p, eta**0.5),
    "You left out eta.": lambda a, p, eta: sigma(a, p, 1),
    "You squared eta": lambda a, p, eta: sigma(a, p, eta**2),
    "sigma is its root": lambda a, p, eta: sigma(a, p, eta) ** 2,
    "The root is missing": lambda a, p, eta: eta * (1 - p) / (1 - a) * (1 - a / p),
    "sigma-hat": lambda a, p, eta: eta * (1 - a / p) ** 0.5,
    "You left out 1 - alpha_bar / alpha_bar_prev": lambda a, p, eta: (
        eta * ((1 - p) / (1 - a)) ** 0.5
    ),
    "upside down": lambda a, p, eta: eta * ((1 - a) / (1 - p) * (1 - a / p)) ** 0.5,
    "quotient of two alpha_bars": lambda a, p, eta: eta * ((1 - p) / (1 - a) * (1 - a)) ** 0.5,
    "You took roots of alpha_bar": lambda a, p, eta: sigma(a**0.5, p**0.5, eta),
    "The root of the second": lambda a, p, eta: eta * ((1 - p) / (1 - a)) ** 0.5 * (1 - a / p),
    "The root of the first": lambda a, p, eta: eta * (1 - p) / (1 - a) * (1 - a / p) ** 0.5,
    "where did you swap them": lambda a, p, eta: sigma(p, a, eta),
    "one sigma serves them": lambda a, p, eta: torch.full((3,), float(sigma(a, p, eta))),
    "eta * sqrt(": lambda a, p, eta: 1.1 * sigma(a, p, eta),
    "1 - alpha_bar_prev is a factor": lambda a, p, eta: sigma(a, p, eta) + 0.1 * (p == 1),
    "A power serves both": tensors_alone,
    "write into their argument": sigma_in_place,
}


# A step.


def ddim_step(x_t, eps_hat, noise, alpha_bar, alpha_bar_prev, eta):
    x0_hat = (x_t - (1 - alpha_bar) ** 0.5 * eps_hat) / alpha_bar**0.5
    s = sigma(alpha_bar, alpha_bar_prev, eta)
    direction = (1 - alpha_bar_prev - s**2) ** 0.5 * eps_hat
    return alpha_bar_prev**0.5 * x0_hat + direction + s * noise


def step_by_coefficients(x_t, eps_hat, noise, alpha_bar, alpha_bar_prev, eta):
    """Two coefficients, the clean guess nowhere."""
    s = sigma_by_math(alpha_bar, alpha_bar_prev, eta)
    scale = math.sqrt(alpha_bar_prev / alpha_bar)
    of_eps = math.sqrt(max(1 - alpha_bar_prev - s * s, 0)) - scale * math.sqrt(1 - alpha_bar)
    return torch.add(scale * x_t + of_eps * eps_hat, noise, alpha=s)


def stepped(
    x0=lambda x, e, a, p: (x - (1 - a) ** 0.5 * e) / a**0.5,
    kept=lambda p: p**0.5,
    direction=lambda p, s: (1 - p - s**2) ** 0.5,
    noisy=lambda s, eta: s,
    deviation=sigma,
):
    """A step with one of its parts as it should not be."""

    def wrong(x_t, eps_hat, noise, alpha_bar, alpha_bar_prev, eta):
        s = deviation(alpha_bar, alpha_bar_prev, eta)
        clean = x0(x_t, eps_hat, alpha_bar, alpha_bar_prev)
        along = direction(alpha_bar_prev, s) * eps_hat
        return kept(alpha_bar_prev) * clean + along + noisy(s, eta) * noise

    return wrong


def swapped_but_for_sigma(x_t, eps_hat, noise, a, p, eta):
    s = sigma(a, p, eta)
    x0_hat = (x_t - (1 - p) ** 0.5 * eps_hat) / p**0.5
    return a**0.5 * x0_hat + (1 - a - s**2) ** 0.5 * eps_hat + s * noise


def noise_for_the_direction(x_t, eps_hat, noise, a, p, eta):
    s = sigma(a, p, eta)
    x0_hat = (x_t - (1 - a) ** 0.5 * eps_hat) / a**0.5
    return p**0.5 * x0_hat + (1 - p - s**2) ** 0.5 * noise + s * eps_hat


def own_noise(x_t, eps_hat, noise, *levels):
    generator = torch.Generator()
    generator.seed()
    return ddim_step(x_t, eps_hat, torch.randn(x_t.shape, generator=generator), *levels)


def always_noisy(x_t, eps_hat, noise, a, p, eta):
    return ddim_step(x_t, eps_hat, noise, a, p, eta) + (0.01 * noise if eta == 0 else 0)


def noisy_at_the_end(x_t, eps_hat, noise, a, p, eta):
    return ddim_step(x_t, eps_hat, noise, a, p, eta) + (0.01 * eps_hat if p == 1 else 0)


def step_of_tensors(x_t, eps_hat, noise, a, p, eta):
    x0_hat = (x_t - (1 - a).sqrt() * eps_hat) / a.sqrt()
    s = tensors_alone(a, p, eta)
    return p.sqrt() * x0_hat + (1 - p - s**2).sqrt() * eps_hat + s * noise


def step_in_place(x_t, eps_hat, noise, a, p, eta):
    answer = ddim_step(x_t, eps_hat, noise, a, p, eta)
    noise *= sigma(a, p, eta)
    return answer


STEPS = {
    "eta multiplies the variance": stepped(deviation=SIGMAS["eta multiplies the variance"]),
    "sigma^2 is missing": stepped(direction=lambda p, s: (1 - p) ** 0.5),
    "sigma is not squared": stepped(direction=lambda p, s: (1 - p - s) ** 0.5),
    "The root of the direction": stepped(direction=lambda p, s: 1 - p - s**2),
    "You left out the direction": stepped(direction=lambda p, s: 0),
    "multiplied with eta: multiply": stepped(noisy=lambda s, eta: eta),
    "Your noise has variance 1": stepped(noisy=lambda s, eta: 1),
    "multiplied with sigma^2": stepped(noisy=lambda s, eta: s**2),
    "You left out the noise": stepped(noisy=lambda s, eta: 0),
    "You left out eta": stepped(deviation=lambda a, p, eta: sigma(a, p, 1)),
    "sigma-hat": stepped(deviation=SIGMAS["sigma-hat"]),
    "You swapped the two levels": swapped_but_for_sigma,
    "where did you swap them": lambda x, e, n, a, p, eta: ddim_step(x, e, n, p, a, eta),
    "in x0_hat: divide by": stepped(x0=lambda x, e, a, p: (x - (1 - a) ** 0.5 * e) / a),
    "eps_hat is multiplied with sqrt": stepped(x0=lambda x, e, a, p: (x - (1 - a) * e) / a**0.5),
    "You did not divide x0_hat": stepped(x0=lambda x, e, a, p: x - (1 - a) ** 0.5 * e),
    "x0_hat is multiplied with": stepped(kept=lambda p: p),
    "You left out sqrt(alpha_bar_prev)": stepped(kept=lambda p: 1),
    "the DDIM paper's alpha is": stepped(
        x0=lambda x, e, a, p: (x - (1 - a / p) ** 0.5 * e) / (a / p) ** 0.5
    ),
    "eps_hat and the noise are swapped": noise_for_the_direction,
    "Three parts": stepped(kept=lambda p: p**0.5 + 0.01),
    "more from 1 - alpha_bar_prev": stepped(direction=lambda p, s: (1 - p - 9 * s) ** 0.5),
    "You drew noise of your own": own_noise,
    "`noise` enters multiplied": always_noisy,
    "Where alpha_bar_prev is 1": noisy_at_the_end,
    "Work on every pixel": lambda *inputs: ddim_step(*inputs).mean(0),
    "A power serves both": step_of_tensors,
    "write into their argument": step_in_place,
}


# Which steps to visit.


def timesteps(num_timesteps, num_steps):
    return [i * num_timesteps // num_steps for i in range(num_steps)][::-1]


def timesteps_by_fractions(num_timesteps, num_steps):
    stride = Fraction(num_timesteps, num_steps)
    rising = [math.floor(stride * i) for i in range(num_steps)]
    return sorted(rising, reverse=True)


def quadratic(num_timesteps, num_steps):
    scale = 0.9 * num_timesteps / max(num_steps - 1, 1) ** 2
    return [int(scale * i * i) for i in range(num_steps)][::-1]


VISITS = {
    "Put them into a list": lambda T, S: range(T - T // S, -1, -(T // S)),
    "`//` divides whole": lambda T, S: [i * T / S for i in range(S)][::-1],
    "more than S steps where": lambda T, S: list(range(0, T, T // S))[::-1],
    "Your steps rise": lambda T, S: timesteps(T, S)[::-1],
    "T is none of them": lambda T, S: [i * T // S for i in range(S, 0, -1)],
    "-1 is the clean picture": lambda T, S: [*timesteps(T, S)[:-1], -1],
    "Your walk starts at the last step": lambda T, S: [i * T // S - 1 for i in range(S, 0, -1)],
    "a stride below the end": lambda T, S: np.linspace(T - 1, 0, S).round().astype(int).tolist(),
    "Uniform steps count from 0 up": lambda T, S: list(range(T - 1, -1, -T // S)),
    "before multiplying, so": lambda T, S: [i * (T // S) for i in range(S)][::-1],
    "You rounded to the nearest": lambda T, S: [round(i * T / S) for i in range(S)][::-1],
    "You rounded up": lambda T, S: [math.ceil(i * T / S) for i in range(S)][::-1],
    "Too many steps": lambda T, S: timesteps(T - 1, S + 2),
    "Too few steps": lambda T, S: timesteps(T, S)[:-1],
    "There is none": lambda T, S: [],
    "are quadratic": quadratic,
    "Step i is floor(i * T / S)": lambda T, S: [t + 2 * (t > 0) for t in timesteps(T, S)],
}


# Where the walk goes.


def previous(t, timesteps):
    place = timesteps.index(t) + 1
    return timesteps[place] if place < len(timesteps) else -1


def previous_by_bisection(t, timesteps):
    rising = [-1, *timesteps[::-1]]
    return rising[bisect.bisect_left(rising, t) - 1]


def moved(middle=previous, end=-1):
    """With another way before the end, or another end."""

    def wrong(t, timesteps):
        if t == timesteps[-1]:
            return end(timesteps) if callable(end) else end
        return middle(t, timesteps)

    return wrong


def popping(t, timesteps):
    return timesteps[timesteps.index(t) + 1]


def longer_list(t, timesteps):
    timesteps.append(-1)
    return timesteps[timesteps.index(t) + 1]


MOVES = {
    "One step alone": lambda t, steps: [previous(t, steps)],
    "So does a famous library": lambda t, steps: t - 1000 // len(steps),
    "right only where all strides are equal": lambda t, steps: max(t - 1000 // len(steps), -1),
    "You subtracted T // S": moved(lambda t, steps: t - 1000 // len(steps)),
    "You subtracted T // S here, too": moved(end=lambda steps: steps[-1] - 1000 // len(steps)),
    "You subtracted the first stride": moved(lambda t, steps: t - (steps[0] - steps[1])),
    "You went the wrong way": moved(lambda t, steps: steps[steps.index(t) - 1]),
    "You went to t - 1, as DDPM": lambda t, steps: t - 1,
    "from the last step the walk ends": moved(end=lambda steps: steps[-1] - 1),
    "You returned a place": moved(lambda t, steps: steps.index(t) + 1),
    "the walk never moves": lambda t, steps: t,
    "at once": moved(lambda t, steps: steps[-1]),
    "Find t in the list": moved(lambda t, steps: previous(t, steps) + 1),
    "You went to 0": moved(end=0),
    "You stayed at the last": moved(end=lambda steps: steps[-1]),
    "You went back to the first": lambda t, steps: steps[(steps.index(t) + 1) % len(steps)],
    "There is no step after the last": popping,
    "from there the walk goes to -1, clean": moved(end=-2),
    "work on another": longer_list,
}


# Inversion.


def invert(x0, eps_network, timesteps, alphas_cumprod):
    x, s, alpha_bar = x0, -1, torch.ones((), dtype=alphas_cumprod.dtype)
    for t in timesteps:
        eps_hat = eps_network(x, max(s, 0))
        x0_hat = (x - (1 - alpha_bar).sqrt() * eps_hat) / alpha_bar.sqrt()
        alpha_bar = alphas_cumprod[t]
        x = alpha_bar.sqrt() * x0_hat + (1 - alpha_bar).sqrt() * eps_hat
        s = t
    return x


def invert_by_angles(x0, eps_network, timesteps, alphas_cumprod):
    """Each move turns x towards its guess: a level is an angle, sqrt(alpha_bar) its cosine."""
    levels = [0.0, *(math.acos(math.sqrt(alphas_cumprod[t])) for t in timesteps)]
    asked = [0, *timesteps]
    x = x0
    for old, new, s in zip(levels, levels[1:], asked, strict=False):
        eps_hat = eps_network(x, s)
        x = (x * math.cos(new) + eps_hat * math.sin(new - old)) / math.cos(old)
    return x


def inverted(
    order=list,
    ask=lambda s, t: max(s, 0),
    clean=lambda table: 1.0,
    down=False,
    root=lambda x: x**0.5,
    seen=lambda x, x0: x,
):
    """An inversion with one of its parts as it should not be."""

    def wrong(x0, eps_network, timesteps, alphas_cumprod):
        x, s, level = x0, -1, clean(alphas_cumprod)
        for t in order(timesteps):
            above = alphas_cumprod[t]
            a, b = (above, level) if down else (level, above)
            eps_hat = eps_network(seen(x, x0), ask(s, t))
            x = root(b) * (x - root(1 - a) * eps_hat) / root(a) + root(1 - b) * eps_hat
            s, level = t, above
        return x

    return wrong


def walked_down(x0, eps_network, timesteps, alphas_cumprod):
    x, falling = x0, timesteps[::-1]
    for t, s in zip(falling, [*falling[1:], -1], strict=True):
        a, p = alphas_cumprod[t], alphas_cumprod[s] if s >= 0 else torch.tensor(1.0)
        x = ddim_step(x, eps_network(x, t), 0 * x, a, p, 0.0)
    return x


def in_one_stroke(x0, eps_network, timesteps, alphas_cumprod):
    a = alphas_cumprod[timesteps[-1]]
    return a.sqrt() * x0 + (1 - a).sqrt() * eps_network(x0, timesteps[-1])


def with_drawn_noise(x0, eps_network, timesteps, alphas_cumprod):
    generator = torch.Generator()
    generator.seed()
    a = alphas_cumprod[timesteps[-1]]
    return a.sqrt() * x0 + (1 - a).sqrt() * torch.randn(x0.shape, generator=generator)


def asking_once(x0, eps_network, timesteps, alphas_cumprod):
    guess = eps_network(x0, 0)
    return invert(x0, lambda x, t: guess, timesteps, alphas_cumprod)


def inversion_in_place(x0, eps_network, timesteps, alphas_cumprod):
    answer = invert(x0, eps_network, timesteps, alphas_cumprod)
    timesteps.reverse()
    return answer


def asked_past_the_end(x0, eps_network, timesteps, alphas_cumprod):
    eps_network(x0, len(alphas_cumprod))
    return invert(x0, eps_network, timesteps, alphas_cumprod)


INVERSIONS = {
    "at the wrong level": inverted(ask=lambda s, t: t),
    "You asked the network at -1": inverted(ask=lambda s, t: s),
    "at step 0 each time": inverted(ask=lambda s, t: 0),
    "That is DDIM's step down": inverted(down=True),
    "asked at t: on the way up": inverted(down=True, ask=lambda s, t: t),
    "alpha_bar stands where its root": inverted(root=lambda x: x),
    "not `alphas_cumprod[0]`": inverted(clean=lambda table: table[0]),
    "the noisiest: at s = -1": inverted(clean=lambda table: table[-1]),
    "You visited the steps from the noisiest": inverted(order=reversed),
    "The last move is missing": inverted(order=lambda steps: steps[:-1]),
    "The first move is missing": inverted(order=lambda steps: steps[1:]),
    "You showed the network x0": inverted(seen=lambda x, x0: x0),
    "You asked the network once": asking_once,
    "You walked down from x0": walked_down,
    "in one stroke": in_one_stroke,
    "You added noise that you drew": with_drawn_noise,
    "The picture that the last move": lambda *inputs: invert(*inputs)[0],
    "From s = -1 (alpha_bar 1)": lambda *inputs: 1.01 * invert(*inputs),
    "knows the steps of the chain alone": asked_past_the_end,
    "write into their argument": inversion_in_place,
}


# Slerp.


def slerp(first, second, share):
    a, b = first.flatten(1), second.flatten(1)
    cosine = (a * b).sum(1, keepdim=True) / (a.norm(dim=1) * b.norm(dim=1))[:, None]
    angle = cosine.clamp(-1, 1).acos()
    near = angle.sin() < 1e-3
    sine = torch.where(near, torch.ones_like(angle), angle.sin())
    mixed = (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / sine
    return torch.where(near, (1 - share) * a + share * b, mixed).view_as(first)


def slerp_one_by_one(first, second, share):
    return torch.stack([_between(a, b, share) for a, b in zip(first, second, strict=True)])


def _between(a, b, share):
    cosine = float(a.flatten() @ b.flatten() / (a.norm() * b.norm()))
    if cosine > 1 - 1e-6:
        return a + share * (b - a)
    angle = math.acos(cosine)
    near, far = math.sin((1 - share) * angle), math.sin(share * angle)
    return (near * a + far * b) / math.sin(angle)


def slerped(cosine, weights=lambda angle, share: ((1 - share) * angle).sin() / angle.sin()):
    """With another cosine, of whatever shape broadcasts, or other weights."""

    def wrong(first, second, share):
        angle = cosine(first, second).acos()
        return weights(angle, share) * first + weights(angle, 1 - share) * second

    return wrong


def cosine_of(axes):
    """Over these axes."""

    def cosine(first, second):
        sums = [
            (x * y).sum(axes(first), keepdim=True)
            for x, y in ((first, second), (first, first), (second, second))
        ]
        return sums[0] / (sums[1] * sums[2]).sqrt()

    return cosine


def each(x):
    return tuple(range(1, x.ndim))


def unit(x):
    return F.normalize(x.flatten(1), dim=1).view_as(x)


def joined_at_once(first, second, share):
    """A single parallel pair makes all ways straight."""
    cosine = cosine_of(each)(first, second)
    if (cosine > 0.9999).any():
        return torch.lerp(first, second, share)
    return slerp(first, second, share)


def slerp_in_place(first, second, share):
    answer = slerp(first, second, share)
    first /= first.norm()
    return answer


INTERPOLATIONS = {
    "straight line (lerp)": torch.lerp,
    "The shares are swapped: share 0": lambda first, second, share: slerp(second, first, share),
    "One angle serves the whole batch": slerped(cosine_of(lambda x: tuple(range(x.ndim)))),
    "along the last axis": slerped(cosine_of(lambda x: (-1,))),
    "along the channels, dim 1": slerped(cosine_of(lambda x: (1,))),
    "`acos` knows -1 to 1 alone": lambda first, second, share: slerped(
        lambda x, y: x * y / (x.abs() * y.abs())
    )(first, second, share),
    "not divided by the two lengths": slerped(
        lambda x, y: (x * y).sum(each(x), keepdim=True),
    ),
    "Your result has the length 1": lambda first, second, share: slerp(
        unit(first), unit(second), share
    ),
    "division by the sine": slerped(
        cosine_of(each), lambda angle, share: ((1 - share) * angle).sin()
    ),
    "You took the cosine for the angle": slerped(lambda x, y: cosine_of(each)(x, y).cos()),
    "The roots of the shares": lambda first, second, share: (
        (1 - share) ** 0.5 * first + share**0.5 * second
    ),
    "sin((1 - share) * angle)": lambda first, second, share: slerp(first, second, share) * 1.01,
    "for these examples alone": joined_at_once,
    "so is its sine": slerped(cosine_of(each)),
    "At share 0 the second": lambda first, second, share: slerp(
        first, second, share if 0 < share < 1 else 0.5
    ),
    "The weights need an axis": lambda first, second, share: slerp(first, second, share).flatten(1),
    "write into their argument": slerp_in_place,
}


# Guidance.


def guide(eps_conditional, eps_unconditional, guidance_scale):
    return eps_unconditional + guidance_scale * (eps_conditional - eps_unconditional)


def guide_beyond(eps_conditional, eps_unconditional, guidance_scale):
    """From the conditional guess, by one less."""
    return torch.lerp(eps_conditional, eps_unconditional, 1 - guidance_scale)


def guide_in_place(c, u, scale):
    c -= u
    return u + scale * c


GUIDES = {
    "off by one": lambda c, u, s: c + s * (c - u),
    "one too small": lambda c, u, s: u + (s - 1) * (c - u),
    "The two guesses are swapped": lambda c, u, s: c + s * (u - c) if s < 0 else guide(u, c, s),
    "The sign is wrong": lambda c, u, s: u + s * (u - c),
    "starting point is missing": lambda c, u, s: s * (c - u),
    "multiplied the conditional guess alone": lambda c, u, s: s * c,
    "That is the conditional guess": lambda c, u, s: c,
    "weights have to sum": lambda c, u, s: u + s * c,
    "the mean of both": lambda c, u, s: (c + u) / 2,
    "eps_unconditional + guidance_scale": lambda c, u, s: guide(c, u, s) * 1.01,
    "Work on every pixel": lambda c, u, s: guide(c, u, s).mean(),
    "A scale of 1 is no guidance": lambda c, u, s: guide(c, u, s) if s > 1 else u,
    "write into their argument": guide_in_place,
}


class TestTheCheckers(CheckedChapter):
    right: ClassVar = [
        (check.sigma, sigma),
        (check.sigma, sigma_by_math),
        (check.ddim_step, ddim_step),
        (check.ddim_step, step_by_coefficients),
        (check.timesteps, timesteps),
        (check.timesteps, timesteps_by_fractions),
        (check.previous, previous),
        (check.previous, previous_by_bisection),
        (check.invert, invert),
        (check.invert, invert_by_angles),
        (check.slerp, slerp),
        (check.slerp, slerp_one_by_one),
        (check.guide, guide),
        (check.guide, guide_beyond),
    ]
    wrong: ClassVar = {
        check.sigma: SIGMAS,
        check.ddim_step: STEPS,
        check.timesteps: VISITS,
        check.previous: MOVES,
        check.invert: INVERSIONS,
        check.slerp: INTERPOLATIONS,
        check.guide: GUIDES,
    }
