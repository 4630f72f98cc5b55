# %% [markdown] lang="en"
# # Turn the knob
#
# Chapter 5 trained a network to guess noise, and walked a thousand small steps with it. This chapter
# trains nothing. It takes the same network for other walks: with ten steps or a thousand, with fresh
# noise on the way or none. Two knobs, **eta** and the **number of steps**, decide what you get and what
# you pay.
#
# **After this chapter you can**
# - derive the family of walks that one trained network serves, and say what eta is;
# - say what stays the same when eta is 0, walk back from a picture to its noise, and mix two noises;
# - read the table of eta and steps, and say who wins where, and why the order turns round;
# - choose steps, eta and guidance for a purpose, with numbers;
# - find a step that lands in the wrong place, in your own code and in a famous library.
#
# **You need** chapter 5. **Study time** 90 minutes. **Computing time**
# {{build.seconds:.0f}} seconds for all cells, without a GPU.

# %% tags=["setup"] budget_s=15
from itertools import pairwise

import numpy as np
import torch

from course_lib import plots
from course_lib.checks import chapter6 as check
from course_lib.data.video import mosaic, to_panel
from course_lib.widgets.course_map import course_map
from course_lib.widgets.player import Player
from course_lib.widgets.prediction import Choice, Slider

torch.set_num_threads(1)  # a second thread gains little, and costs much on a busy machine
course_map()

# %% [markdown] lang="en"
# One network, one noise at the start, one class, three walks. The first draws no noise on the way, the
# second draws as much as chapter 5 did, the third takes only five steps. Press play.

# %% budget_s=12
from course_lib.methods.ddim import ddim_steps, uniform_timesteps
from course_lib.recipes.digit_diffusion import DIGITS, SCHEDULE, digit_denoiser, framed_digits

digits, schedule = DIGITS.load(), SCHEDULE
label = torch.tensor([2, 3, 5, 8])
x_T = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(6))
knobs = {"eta 0, 50 steps": (0.0, 50), "eta 1, 50 steps": (1.0, 50), "eta 0, 5 steps": (0.0, 5)}
walks = {}
for name, (eta, num_steps) in knobs.items():
    steps = uniform_timesteps(1000, num_steps)
    dice = torch.Generator().manual_seed(0)
    denoise = digit_denoiser(digits, label)
    walks[name] = list(ddim_steps(denoise, schedule, x_T, steps, eta=eta, generator=dice))

# %% [markdown] lang="en"
# All three pictures show what there is after each step; the third has ten times fewer steps, so each
# of its pictures stands for ten frames.

# %%
frames = {
    name: mosaic(torch.stack([walk[i * len(walk) // 50].x_prev for i in range(50)], 1), columns=2)
    for name, walk in walks.items()
}
Player(
    {name: to_panel(video) for name, video in frames.items()},
    captions=[f"{i} of 50 parts of the way" for i in range(1, 51)],
    title="One network, one start, three walks",
    alt="Four digits out of the same noise by three walks: eta 0, eta 1, and only five steps.",
)

# %% [markdown] lang="en"
# ## 1. Same network, another walk
#
# Chapter 5's walk back from noise takes every step of the chain, a thousand of them, and throws dice at
# each. Both seem to be the price of the method: the chain was destroyed in a thousand small steps, so it
# has to be mended in a thousand. Is that so?
#
# Look at what the network has been taught. A picture, a level of noise, the noisy picture made in one
# stroke, and the question: which noise is in it? Neighbouring steps never met in training. Song, Meng and
# Ermon noticed what follows from this [2020, DDIM]: the network does not know which walk it will be used
# for. Their **DDIM** (去噪扩散隐式模型) is a family of walks with a knob, $\eta$. At one end it is DDPM's
# walk, at the other nothing is random.

# %%
training = Choice(
    "6.training",
    "You have chapter 5's network and want DDIM's walk with eta = 0. What has to be trained?",
    [
        "nothing: the same weights will do",
        "the last layer, for the new steps",
        "all of it, with a loss that contains eta",
        "all of it, on a shorter chain",
    ],
)
training

# %% [markdown] lang="en"
# To find out, ask the loss what it wants to know. This is the function that trained our network.

# %%
import inspect

from course_lib.methods import ddim
from course_lib.methods.diffusion import denoising_loss

asked_for = list(inspect.signature(denoising_loss).parameters)
training.reveal(
    training.options[0],
    explanation=f"The loss takes {', '.join(asked_for)}, and nothing else. There is no eta in it, "
    "and no step before or after t: nobody has told the network how it will be walked.",
)

# %% [markdown] lang="en"
# ### A family with the same marginals
#
# Why may the walk be another one? The network's answers are right for pictures $x_t = \sqrt{\bar\alpha_t}\,
# x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon$, at every level by itself. These are the **marginals** (边缘分布)
# $q(x_t \mid x_0)$. How two levels of *one* picture belong together is not asked. So let us join them
# differently. From level $t$ go to any cleaner level $s$ by
#
# $$q_\sigma(x_s \mid x_t, x_0) = \mathcal N\Bigl(\sqrt{\bar\alpha_s}\,x_0 + \sqrt{1 - \bar\alpha_s -
# \sigma^2}\;\frac{x_t - \sqrt{\bar\alpha_t}\,x_0}{\sqrt{1 - \bar\alpha_t}},\; \sigma^2 I\Bigr)
# \qquad \text{[DDIM 2020, eq. 7]}$$
#
# (The DDIM paper writes $\alpha$ for DDPM's $\bar\alpha$. We keep the bar.) The fraction is the noise in
# $x_t$, of variance 1. It is kept with one weight, fresh noise is added with another, and the squares of the
# weights add up to $1 - \bar\alpha_s$, *whatever sigma is*. That is the whole proof.
#
# Try it on one number, $x_0 = 2$: from $t = 600$ to $s = 400$ in one stride, with three sigmas.

# %%
generator = torch.Generator().manual_seed(0)
draw = lambda: torch.randn(200_000, generator=generator, dtype=torch.float64)
x0, alpha_bar_t, alpha_bar_s = 2.0, schedule.alpha_bar(600), schedule.alpha_bar(400)
x_t = alpha_bar_t.sqrt() * x0 + (1 - alpha_bar_t).sqrt() * draw()
mean, deviation = alpha_bar_s.sqrt() * x0, (1 - alpha_bar_s).sqrt()
print(f"    must be: mean {mean:.3f}, standard deviation {deviation:.3f}")
for sigma in (0 * deviation, 0.5 * deviation, deviation):
    direction = (x_t - alpha_bar_t.sqrt() * x0) / (1 - alpha_bar_t).sqrt()
    x_s = mean + (1 - alpha_bar_s - sigma**2).sqrt() * direction + sigma * draw()  # DDIM eq. 7
    same = torch.corrcoef(torch.stack([x_t, x_s]))[0, 1]
    print(f"sigma {sigma:.2f}: mean {x_s.mean():.3f}, standard deviation {x_s.std():.3f}, ", end="")
    print(f"correlation with x_t {same:.2f}")

# %% [markdown] lang="en"
# Mean and spread are the same in each line. What sigma changes is the last number: how much $x_s$ still
# knows of $x_t$. At 0 it is the same noise, turned down. At the largest sigma there is, it is a new picture
# noise, and $x_t$ is forgotten.
#
# Read from clean to noisy, such a chain is no longer a Markov chain (马尔可夫链): $x_s$ does not tell
# $x_t$, one has to know $x_0$, too. The family is therefore called **non-Markovian** (非马尔可夫). Nobody
# ever has to walk it in that direction.
#
# > **A common belief:** "DDIM trains with eta, or on a shorter chain."
# >
# > It trains nothing. The loss of chapter 5 depends on the marginals alone, and all members of the family
# > share them. Eta enters when you sample; you may change it from one picture to the next.
#
# ### Your turn: sigma
#
# Any sigma from 0 to $\sqrt{1 - \bar\alpha_s}$ is allowed, another one at each step. DDIM takes a one-knob
# family of them,
#
# $$\sigma(\eta) = \eta\,\sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}}\,\sqrt{1 -
# \frac{\bar\alpha_t}{\bar\alpha_s}}. \qquad \text{[DDIM 2020, eq. 16]}$$
#
# In code $\bar\alpha_t$ is `alpha_bar`, where the step begins, and $\bar\alpha_s$ is `alpha_bar_prev`, where
# it goes: "previous" in the chain that destroys, so the *cleaner* of the two. Both may be tensors of no
# dimensions or plain numbers.


# %% tags=["exercise"]
def sigma(
    alpha_bar: torch.Tensor | float, alpha_bar_prev: torch.Tensor | float, eta: float
) -> torch.Tensor | float:
    """The standard deviation of the noise that one step from alpha_bar to alpha_bar_prev adds."""
    # SOLUTION
    remaining = (1 - alpha_bar_prev) / (1 - alpha_bar)
    lost = 1 - alpha_bar / alpha_bar_prev
    return eta * (remaining * lost) ** 0.5  # DDIM eq. 16
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Three factors: the knob, and two square roots. Which of the two levels is larger? Then each root has a
# number between 0 and 1 under it.

# %% [markdown] lang="en" tags=["hint"]
# The first fraction compares the noise after the step with the noise before it. The second one is
# $\alpha_t$, what DDPM's single step keeps of the signal: $1 - \alpha_t = \beta_t$.

# %% [markdown] lang="en" tags=["hint"]
# `eta * ((1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)) ** 0.5`. Eta stands
# before the root. `** 0.5` works for tensors and for numbers.

# %% [markdown] lang="en"
# *Difficulty: easy, 6 minutes.*

# %%
sigma_verdict = check.sigma(sigma)
sigma_verdict

# %% [markdown] lang="en"
# `sigma_verdict.function` is used from here on. First: is the end $\eta = 1$ really DDPM? Eq. 7 is a
# mixture of $x_0$ and $x_t$, and so is the posterior of chapter 5 [DDPM 2020, eq. 7]. Compare the
# coefficients and the variance at every step of the chain.

# %%
from course_lib.methods.diffusion import posterior_mean_coefficients, posterior_variance

t = torch.arange(1, schedule.num_timesteps)
before, now = schedule.alpha_bar(t - 1), schedule.alpha_bar(t)
pairs = zip(now, before, strict=True)
sigmas = torch.stack([torch.as_tensor(sigma_verdict.function(*pair, 1.0)) for pair in pairs])
of_x_t = ((1 - before - sigmas**2) / (1 - now)).sqrt()
of_x0 = before.sqrt() - now.sqrt() * of_x_t
c0, ct = posterior_mean_coefficients(schedule, t)
ours = {"of x0": of_x0 / c0, "of x_t": of_x_t / ct}
ours["variance"] = sigmas**2 / posterior_variance(schedule, t)
print(f"sigma: {sigma_verdict.whose}")
for name, ratio in ours.items():
    print(f"{name:>8}: over DDPM's, from {ratio.min():.9f} to {ratio.max():.9f}")

# %% [markdown] lang="en"
# All ratios are 1: with $\eta = 1$ and every step of the chain, DDIM's walk *is* DDPM's, the one whose
# variance is the posterior's.
#
# ### Sigma-hat
#
# DDPM's own samples mostly used the larger variance, $\beta_t$ (chapter 5). Carried over to longer
# strides it is
#
# $$\hat\sigma = \sqrt{1 - \bar\alpha_t / \bar\alpha_s}, \qquad \text{[DDIM 2020, app. D.3]}$$
#
# the same as $\sigma(1)$ without its first root, and therefore larger. Is there room for so much? All noise
# in $x_s$ has the standard deviation $\sqrt{1 - \bar\alpha_s}$, so no sigma of the family may exceed it. Here
# is a walk of ten steps.

# %%
path = torch.tensor([*ddim.uniform_timesteps(1000, 10), -1])
now, after = schedule.alpha_bar(path[:-1]), schedule.alpha_bar(path[1:])
pairs = zip(now, after, strict=True)
plots.curves(
    path[:-1],
    {
        "sigma, eta = 1": [float(sigma_verdict.function(*pair, 1.0)) for pair in pairs],
        "sigma-hat": (1 - now / after).sqrt(),
        "all the noise there is room for": (1 - after).sqrt(),
    },
    "Sigma of eta 1 stays below the room; sigma-hat lies above it in the last four steps.",
    xlabel="t, where the step begins",
    ylabel="standard deviation",
)

# %% [markdown] lang="en"
# Read it from right to left. For the last steps sigma-hat is above the room: $1 - \bar\alpha_s -
# \hat\sigma^2$ is negative, and eq. 7 asks for its root. At how many steps?

# %%
for steps in (10, 20, 50, 100, 1000):
    path = torch.tensor([*ddim.uniform_timesteps(1000, steps), -1])
    now, after = schedule.alpha_bar(path[:-1]), schedule.alpha_bar(path[1:])
    left = 1 - after - (1 - now / after)  # what stands under the root
    short = ", ".join(str(t) for t in path[:-1][left < 0].tolist())
    print(f"{steps:>4} steps: negative at t = {short}")

# %% [markdown] lang="en"
# So sigma-hat is no member of the family. DDPM's code never meets the root, and DDIM's does not either:
# both take the *mean* of $\eta = 1$, with $\sigma(1)$ under the root, and only the noise that they add is
# sigma-hat's (none at the last step). What comes out is a little noisier than the level says. That hardly
# matters with a thousand small steps. With ten it does, as you will see in section 4.
#
# ### Your turn: one step
#
# So far the walk knew $x_0$, and then there is nothing left to sample. In use there is a guess. The network
# says $\hat\epsilon$, and with it $\hat x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\,\hat\epsilon) /
# \sqrt{\bar\alpha_t}$. (One that answers $v$ says both as well, chapter 5.) Put the guess in the place of $x_0$ in
# eq. 7; then the fraction is $\hat\epsilon$ itself:
#
# $$x_s = \sqrt{\bar\alpha_s}\;\hat x_0 \;+\; \underbrace{\sqrt{1 - \bar\alpha_s -
# \sigma^2}\;\hat\epsilon}_{\text{direction to } x_t} \;+\; \underbrace{\sigma\,z}_{\text{fresh noise}}
# \qquad \text{[DDIM 2020, eq. 12]}$$
#
# with $z$ from N(0, I), given as `noise`. You may call your `sigma`.


# %% tags=["exercise"]
def ddim_step(
    x_t: torch.Tensor,
    eps_hat: torch.Tensor,
    noise: torch.Tensor,
    alpha_bar: torch.Tensor | float,
    alpha_bar_prev: torch.Tensor | float,
    eta: float,
) -> torch.Tensor:
    """x_t after one step from level alpha_bar to the cleaner level alpha_bar_prev."""
    # SOLUTION
    s = eta * ((1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)) ** 0.5
    x0_hat = (x_t - (1 - alpha_bar) ** 0.5 * eps_hat) / alpha_bar**0.5
    direction = (1 - alpha_bar_prev - s**2) ** 0.5 * eps_hat
    return alpha_bar_prev**0.5 * x0_hat + direction + s * noise  # DDIM eq. 12
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Four lines: sigma, the guess of the clean picture, the direction, the sum. Where does `alpha_bar` stand,
# and where `alpha_bar_prev`? One belongs to the picture you come from, the other to the one you make.

# %% [markdown] lang="en" tags=["hint"]
# `x0_hat` undoes $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon$. The direction has
# the variance that sigma leaves over: `1 - alpha_bar_prev - sigma**2`, and then its root.

# %% [markdown] lang="en" tags=["hint"]
# `x0_hat = (x_t - (1 - alpha_bar) ** 0.5 * eps_hat) / alpha_bar**0.5`, then
# `alpha_bar_prev**0.5 * x0_hat + (1 - alpha_bar_prev - s**2) ** 0.5 * eps_hat + s * noise`, with `s =
# sigma(alpha_bar, alpha_bar_prev, eta)`.

# %% [markdown] lang="en"
# *Difficulty: medium, 10 minutes.*

# %%
step_verdict = check.ddim_step(ddim_step)
step_verdict

# %% [markdown] lang="en"
# `step_verdict.function` walks from now on, here and in the instrument of section 2.
#
# ### What the guess costs
#
# Take data whose every answer is known: $x_0$ from N(0, 1), one number. Then $x_t$ is from N(0, 1) at every
# level, and the best possible guess of the noise is $\hat\epsilon = \sqrt{1 - \bar\alpha_t}\,x_t$. No
# network can do better. Write $\sqrt{\bar\alpha} = \cos\theta$. A step with $\eta = 0$ then only multiplies:
# $x_s = \cos(\theta_t - \theta_s)\,x_t$.
#
# The cosine is below 1! The walk loses a little spread at every step, though the guess is the best there
# is. Eq. 7 kept the spread because it knew $x_0$; eq. 12 has its mean instead, and a mean varies less than
# what it is the mean of. How much is lost depends on the length of the strides, and on eta.

# %%
spread = Slider(
    "6.spread",
    "The variance must be 1 at every level. A walk of ten steps with eta = 1 and the best possible "
    "guess: which variance do its ends have?",
    0,
    2,
    0.05,
)
spread

# %% [markdown] lang="en"
# A step of this world is linear: it multiplies $x_t$ with a number and adds sigma times noise. So your
# `ddim_step` gives the variance without any sampling. The first call has $x_t = 1$ and no noise: what comes
# back is the factor. The second call has $x_t = 0$ and noise 1: that is sigma.

# %%
variances, one, none = {}, torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
for steps, eta in [(n, eta) for n in (10, 100) for eta in (0.0, 0.5, 1.0)]:
    path, variance = [*ddim.uniform_timesteps(1000, steps), -1], [1.0]
    for t, t_prev in pairwise(path):
        level = schedule.alpha_bar(t), schedule.alpha_bar(t_prev), eta
        eps_hat = (1 - level[0]).sqrt() * one
        factor = step_verdict.function(one, eps_hat, none, *level).item()
        added = step_verdict.function(none, none, one, *level).item()
        variance.append(factor**2 * variance[-1] + added**2)
    variances[steps, eta] = path, variance

# %% [markdown] lang="en"
# The answer draws the walks of ten steps from noise, at the right, to clean, at the left; the printed
# numbers add those of a hundred.

# %%
picture = plots.curves(
    variances[10, 0.0][0],
    {f"eta = {eta:g}": variances[10, eta][1] for eta in (0.0, 0.5, 1.0)},
    "The variance along walks of ten steps falls from 1, least with eta 0 and most with eta 1.",
    xlabel="t",
    ylabel="variance of x_t",
    ylim=(0, 1.1),
    levels={"must be": 1.0},
)
ends = [f"{variances[100, eta][1][-1]:.2f} with eta {eta:g}" for eta in (0.0, 0.5, 1.0)]
spread.reveal(
    variances[10, 1.0][1][-1],
    explanation=f"After 100 steps: {', '.join(ends)} ({step_verdict.whose}).",
    picture=picture,
)

# %% [markdown] lang="en"
# Every stride costs spread, and long strides cost more. With many steps all of them come close to 1, and eta
# no longer matters for the spread. With few steps $\eta = 0$ loses least. Why? A noisy step throws away part
# of what $x_t$ knows and goes on from the guess; the more is thrown away, the more rests on the mean. This is
# the first reason for turning the knob down when there is little time.
#
# ### The walks, drawn
#
# A plane, and data on eight spots of a ring. The best guess is exact here, too (a mean of the spots, weighted
# with how likely each is). Three walks begin at the same three points of noise, whatever eta is.

# %%
from course_lib.data.toy import ring
from course_lib.methods.diffusion import exact_denoiser

spots = ring()
exact = exact_denoiser(spots.denoise, schedule)
starts = torch.tensor([[1.2, 0.9], [-1.3, 0.4], [0.3, -1.4]], dtype=torch.float64)
walks = {(steps, eta): [starts] for steps in (10, 100) for eta in (0.0, 0.5, 1.0)}
for (steps, eta), points in walks.items():
    generator, path = torch.Generator().manual_seed(1), [*ddim.uniform_timesteps(1000, steps), -1]
    for t, t_prev in pairwise(path):
        x, z = points[-1], torch.randn(3, 2, generator=generator, dtype=torch.float64)
        eps_hat = exact(x, torch.full((3,), t)).eps_hat
        level = schedule.alpha_bar(t), schedule.alpha_bar(t_prev), eta
        points.append(step_verdict.function(x, eps_hat, z, *level))

# %% [markdown] lang="en"
# An open circle is where a walk begins, a dot is where it ends, grey are the data.

# %%
from course_lib.widgets.trails import trails

print(f"ddim_step: {step_verdict.whose}")
trails(
    {f"{steps} steps, eta = {eta:g}": torch.stack(x) for (steps, eta), x in walks.items()},
    spots.sample(400, generator=torch.Generator().manual_seed(0)),
    "Three walks to a ring of eight spots: smooth with eta 0, staggering with eta 0.5 and 1.",
    columns=3,
)

# %% [markdown] lang="en"
# With $\eta = 0$ the ways are smooth curves, and they stay nearly the same when you add steps: there is a
# curve, and more steps follow it more closely. With $\eta = 1$ each walk staggers, and the same start ends
# on another spot with another number of steps: what decides is the dice on the way.
#
# ### Break it
#
# Five walks of digits with twenty steps and $\eta = 0.3$. The first is right. The others have slips that are
# often made:
#
# - *eta times variance*: eta stands under the root of eq. 16, and is not squared;
# - *no sigma²*: the direction has all the noise, and the fresh noise comes on top;
# - *noise times eta*: the fresh noise is multiplied with eta in place of sigma;
# - *alpha for alpha-bar*: $\hat x_0$ is made with $\alpha_t = \bar\alpha_t / \bar\alpha_s$, as if the DDIM
#   paper's $\alpha$ were DDPM's.
#
# Before you look: which of them will you see in the pictures?

# %%
step, s = step_verdict.function, sigma_verdict.function
slips = {
    "right": step,
    "eta times\nvariance": lambda x, e, z, a, b, eta: step(x, e, z, a, b, eta**0.5),
    "no sigma²": lambda x, e, z, a, b, eta: step(x, e, z, a, b, 0.0) + s(a, b, eta) * z,
    "noise\ntimes eta": lambda x, e, z, a, b, eta: step(x, e, 0 * z, a, b, eta) + eta * z,
    "alpha for\nalpha-bar": lambda x, e, z, a, b, eta: (
        b**0.5 * (x - (1 - a / b) ** 0.5 * e) / (a / b) ** 0.5
        + (1 - b - s(a, b, eta) ** 2) ** 0.5 * e
        + s(a, b, eta) * z
    ),
}

# %% [markdown] lang="en"
# All of them get the same noises in the same order.

# %% budget_s=8
path, label = [*ddim.uniform_timesteps(1000, 20), -1], torch.arange(5)
denoise, rows = digit_denoiser(digits, label), {}
for name, slip in slips.items():
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(5, 1, 32, 32, generator=generator)
    for t, t_prev in pairwise(path):
        with torch.no_grad():
            eps_hat = denoise(x, torch.full((5,), t)).eps_hat
        z = torch.randn(x.shape, generator=generator)
        x = slip(x, eps_hat, z, schedule.alpha_bar(t), schedule.alpha_bar(t_prev), 0.3)
    rows[name] = x.clamp(-1, 1)

# %% [markdown] lang="en"
# Above each column stands the class that was asked for.

# %%
plots.film_strip(rows, "Five digits from the right walk and from four broken ones.")

# %% [markdown] lang="en"
# *Alpha for alpha-bar* is gone after a glance. *Noise times eta* leaves grain, for the last step adds as much as
# all others. *No sigma²* is harder: a little more noise at each level than the label says, a little dust in the
# end, and the higher eta the more. And *eta times variance* cannot be seen at all. It is a right walk with another
# eta, the root of 0.3. Its digits are as good as those of the first row, and every table made with it is wrong.
# Pictures do not find this slip; a comparison with the formula does.
#
# (That a digit of the first row may be broken is no slip. It is a small network, and a low eta with few steps does not
# mend what it gets wrong. Sections 4 and 5 measure this.)

# %% [markdown] lang="en"
# ## 2. The instrument
#
# Now play. Every picture below was walked by the same network. Four sliders pick the walk: eta, the
# number of steps, the class that the network is told, and the seed. The last place of the eta slider
# is no eta. It is σ̂ (sigma-hat), the larger noise of DDPM.
#
# One thing stays. A seed is *one* $x_T$: the same noise for every eta, every number of steps and every
# class. Walks of equally many steps also add the same draws of noise, each times its own sigma. So if
# a slider changes the picture, the slider did it, and not luck.
#
# You see $x_T$, the picture at the end of the walk, and what eta = 0 makes of the same $x_T$. The
# difference is orange where your walk has more ink, and blue where it has less. The strip at the end
# is the walk itself: above $x_t$, below the guess $\hat x_0$ at the same moment. All walks come by
# these five levels, so strips can be compared column by column.

# %% budget_s=10
from course_lib.widgets.eta_lab import EtaLab

lab = EtaLab(digits, step_verdict.function, step_verdict.whose)
lab

# %% [markdown] lang="en"
# Try this, and say in a sentence what you see, before you read on:
# - eta at 0: move the steps from 5 to 1000. What changes, and what does not?
# - 20 steps: move eta from 0 to 1, slowly. Where in the strip do the walks part?
# - eta at σ̂: 5 steps, then 1000. In which column does the last speck of noise go?
#
# The button walks 16 pictures again with *your* `ddim_step`, at the eta and the steps that are set (up
# to 50 steps). They take the place of the stored ones, and the caption says whose function drew them.
# If your function is right, you see nothing happen. The next line is the same as a click:

# %% budget_s=10
lab.redraw()
print(lab.note)
print(f"ddim_step: {lab.drawn_by('0.4', 20)}")

# %% [markdown] lang="en"
# How far does eta carry a picture away? Each line is the mean over the 16 pictures of the instrument,
# as a distance to the eta = 0 picture of the same $x_T$ and as many steps. Compare it with the dashed
# line: two seeds of one class.

# %%
import json

from course_lib.recipes.eta_sheets import ETA_SHEETS, ETAS

measured = json.loads(ETA_SHEETS.results.read_text(encoding="utf-8"))["metrics"]
keys = [eta.replace(".", "") for eta in ETAS if eta != "0"]

# %% [markdown] lang="en"
# The number of steps is a line, eta runs along the axis.

# %%
plots.curves(
    [*ETAS.values()],
    {
        f"{n} steps": [0, *(measured[f"from_eta0_{k}_{n}"]["value"] for k in keys)]
        for n in (5, 20, 100, 1000)
    },
    "Distance to the eta = 0 picture: it grows with eta, and faster the more steps there are.",
    xlabel="eta",
    ylabel="distance to eta = 0",
    levels={"two seeds of a class": measured["seeds_apart"]["value"]},
)

# %% [markdown] lang="en"
# Eta is no small disturbance at the end. Every step takes away a part of the noise that was guessed and
# puts fresh noise in its place; then the network guesses anew. With many steps even a small eta has
# replaced most of $x_T$ on the way, and the picture is about as far from the one at eta = 0 as another
# seed's. With few steps less is exchanged, and more of $x_T$ survives.

# %% [markdown] lang="en"
# ## 3. What eta = 0 gives
#
# At eta = 0 the walk draws nothing. The network and the steps are fixed, so $x_T$ alone decides. First
# of all, that means **repeatability** (可重复性). One $x_T$, one class, six tries; each try has noise of
# its own to add:

# %%
from course_lib.methods.ddim import ddim_steps, last, uniform_timesteps

x_T = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(5)).expand(6, -1, -1, -1)
seven, few = digit_denoiser(digits, torch.full((6,), 7)), uniform_timesteps(1000, 20)
tries = {}
for eta in (0.0, 0.5, 1.0):
    draws = torch.Generator().manual_seed(0)
    tries[f"eta = {eta:g}"] = last(ddim_steps(seven, schedule, x_T, few, eta=eta, generator=draws))
for name, pictures in tries.items():
    print(f"{name}: tries differ by up to {(pictures - pictures[:1]).abs().max():.3g}")
plots.film_strip(tries, "Six tries: equal at eta = 0, different at 0.5 and at 1.", first=1)

# %% [markdown] lang="en"
# ### The same content, however many steps
#
# Now let $x_T$ stay, and change the number of steps. At eta = 0, is the picture of 10 steps a draft of
# the one of 1000 steps, or is it another one? Predict before you scroll back to the instrument.

# %%
content = Slider(
    "6.content",
    "Let the pictures of two seeds lie 100 apart. One seed, eta = 0: how far apart are the pictures "
    "of 10 and of 1000 steps?",
    0,
    120,
    5,
)
content

# %% [markdown] lang="en"
# The answer draws one $x_T$, a 7, for every number of steps: above with eta = 0, below with eta = 1.

# %%
from course_lib.data.video import to_float
from course_lib.recipes.eta_sheets import KNOB, STEPS, stored_final

final = to_float(torch.from_numpy(stored_final())).unsqueeze(-3)  # eta, steps, class, seed
rows = {f"eta = {eta}": final[KNOB.index(eta), :, 2, 0] for eta in ("0", "1")}
apart = {k: 100 * measured[f"ten_or_thousand_{k}"]["value"] for k in ("0", "1")}
seeds = measured["seeds_apart"]["value"]
content.reveal(
    round(apart["0"] / seeds),
    explanation=f"With eta = 1 it is {apart['1'] / seeds:.0f}. Means over the instrument's pictures.",
    picture=plots.film_strip(rows, "One x_T with 5, 10, 20, 50, 100 and 1000 steps.", titles=STEPS),
)

# %% [markdown] lang="en"
# Why? Divide the step of eta = 0 by $\sqrt{\bar\alpha}$. With $\bar x = x/\sqrt{\bar\alpha}$ and
# $s = \sqrt{(1-\bar\alpha)/\bar\alpha}$, the noise per signal, it reads
#
# $$\bar x_{t'} = \bar x_t + (s_{t'} - s_t)\,\hat\varepsilon(x_t, t).$$
#
# That is Euler's step for a differential equation (常微分方程), $d\bar x / ds = \hat\varepsilon$ [Song et
# al. 2021, section 4.3]. The network is a field of arrows, $x_T$ is where you start, and the steps only
# say how finely you draw the path. A coarse path ends near the fine one. So $x_T$ is more than a die: it
# is a code of the picture, like the latents of chapter 1. And a path can be followed in both directions.
#
# ### Your turn: walk up
#
# **Inversion** (反演) takes a clean picture and follows the path up to its $x_T$. Begin at level clean,
# where $\bar\alpha = 1$. From the level where you are, $s$, to the next one, $t$:
#
# $$\hat\varepsilon = \varepsilon_\theta(x_s, \max(s, 0)), \qquad
# \hat x_0 = \frac{x_s - \sqrt{1-\bar\alpha_s}\,\hat\varepsilon}{\sqrt{\bar\alpha_s}}, \qquad
# x_t = \sqrt{\bar\alpha_t}\,\hat x_0 + \sqrt{1-\bar\alpha_t}\,\hat\varepsilon.$$
#
# On the way down the guess at $t$ made the move. On the way up $x_t$ is not known yet, so the guess at
# $s$ stands in for it. Clean is $s = -1$; no network knows that level, so ask it about step 0.


# %% tags=["exercise"]
def invert(x0: torch.Tensor, eps_network, timesteps, alphas_cumprod) -> torch.Tensor:
    """The x_T that eta = 0 leads to x0; `timesteps` rises, `eps_network(x, t)` takes an int t."""
    # SOLUTION
    x, before, level = x0, alphas_cumprod.new_ones(()), 0
    for t in timesteps:
        eps_hat = eps_network(x, level)
        x0_hat = (x - (1 - before).sqrt() * eps_hat) / before.sqrt()
        before, level = alphas_cumprod[t], t
        x = before.sqrt() * x0_hat + (1 - before).sqrt() * eps_hat
    return x
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# A loop over `timesteps`. You carry two things from move to move: the picture, and the level at which
# it is. Which level is that before the first move?

# %% [markdown] lang="en" tags=["hint"]
# A move is half a step down and half a step up: find `x0_hat` with the alpha_bar of the level where you
# *are*, and mix it with the same `eps_hat` again at the level where you *go*. Nothing is drawn.

# %% [markdown] lang="en" tags=["hint"]
# Begin with `x, before, level = x0, torch.ones(()), 0`. In the loop call `eps_network(x, level)` first.
# After the move, `before = alphas_cumprod[t]` and `level = t`.

# %% [markdown] lang="en"
# *Difficulty: medium, 10 minutes.*

# %%
inverted = check.invert(invert)
inverted

# %% [markdown] lang="en"
# Five held-out digits go up with `inverted.function`, and come down again with eta = 0: with 10 steps
# each way, and with 50.

# %% budget_s=8
from course_lib.recipes.eta_inversion import round_trip

images, labels = (part[:5] for part in framed_digits("test"))
trip = lambda x, steps: round_trip(digits, x, labels, steps, inverted.function)
code, back = trip(images, 50)
rows = {"digit": images, "its x_T": code, "50 steps": back, "10 steps": trip(images, 10)[1]}
print(f"its x_T: mean {code.mean():.2f}, standard deviation {code.std():.2f} ({inverted.whose})")
plots.film_strip(rows, "Five digits, the noise they come from, and what comes back.", first=1)

# %% [markdown] lang="en"
# How much is lost depends on how finely the path is drawn. The middle column was measured on 20 held-out
# digits, with our network. The mean of all training digits has the error
# {{eta_inversion.metrics.error_mean_image.value:.3f}}. The last column is another network and other
# pictures, CIFAR-10 [Song et al. 2021, table 2]: compare how the columns fall, not their heights.
#
# | steps each way | squared error, ours | the paper's |
# |---|---|---|
# | 10 | {{eta_inversion.metrics.error_10.value:.4f}} | .014 |
# | 20 | {{eta_inversion.metrics.error_20.value:.4f}} | .0065 |
# | 50 | {{eta_inversion.metrics.error_50.value:.4f}} | .0023 |
# | 100 | {{eta_inversion.metrics.error_100.value:.4f}} | .0009 |
# | 200 | {{eta_inversion.metrics.error_200.value:.4f}} | .0004 |
# | 1000 | {{eta_inversion.metrics.error_1000.value:.4f}} | .0001 |
#
# But look at the second row. Is that noise? You can read the digits in it, and its standard deviation
# should be 1. Not every code is a draw from the noise that training began with.
#
# The trouble begins at the bottom. The paper of these digits is perfectly black, and a perfectly clean
# picture is something that the network was never asked about: in training even $x_0$ at step 0 had a
# little noise. It finds none, so it guesses little, and what was not put in at the bottom is missing all
# the way up. Then let us put it in: noise of standard deviation .01, about one of 255 greys.

# %% budget_s=8
pinch = images + 0.01 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
noisy, home = trip(pinch, 50)
print(f"its x_T: mean {noisy.mean():.2f}, standard deviation {noisy.std():.2f}")
rows = {"with a pinch": pinch, "its x_T": noisy, "50 steps": home}
plots.film_strip(rows, "The digits with invisible noise: now x_T looks like noise.", first=1)

# %% [markdown] lang="en"
# A pinch that you cannot see decides whether the code is noise. Photographs bring theirs from the camera;
# drawings do not.
#
# ### Break it: come down with eta = 1
#
# The code was found with the walk of eta = 0. Read it with another walk:

# %% budget_s=8
fifty, of_class = uniform_timesteps(1000, 50), digit_denoiser(digits, labels)
draws = torch.Generator().manual_seed(0)
lost = last(ddim_steps(of_class, schedule, noisy, fifty, eta=1.0, generator=draws))
rows = {"digit": images, "eta = 0": home, "eta = 1": lost}
plots.film_strip(rows, "What comes back of five digits: themselves at eta = 0, not at 1.", first=1)

# %% [markdown] lang="en"
# The network is told the class, so it still tries to draw it. The handwriting is gone: fresh noise has
# overwritten the code. Only the walk without chance has a way back.
#
# Your own handwriting has an $x_T$, too. Draw a digit and send it there and back. The classifier reads its
# class, for the network has to be told.

# %%
from course_lib.recipes.classifier import CLASSIFIER
from course_lib.recipes.eta_inversion import frame
from course_lib.widgets.draw_digit import DrawDigit

reader = CLASSIFIER.load()
pad = DrawDigit(
    lambda images: reader(to_float(images)[:, None]).softmax(-1),
    start=3,
    done="Into noise and back",
)
pad

# %% [markdown] lang="en"
# Left your digit, then the noise it comes from, then what comes back.

# %%
there = lambda d: round_trip(digits, frame(d.images), d.labels, 50, inverted.function)
names = ("your digit", "its x_T", "50 steps there, 50 back")
panels = lambda d: dict(zip(names, map(to_panel, (frame(d.images), *there(d))), strict=True))
walk = Player(panels(pad.digits()), width=160, title="There and back")
pad.on_done(lambda digits: walk.update(panels(digits)))
walk

# %% [markdown] lang="en"
# ### Your turn: between two codes
#
# If $x_T$ is a code, what lies between two of them? The straight line between $a$ and $b$,
# $(1-u)\,a + u\,b$, is **lerp** (线性插值). Before you use it: $x_T$ has 1,024 numbers from a standard
# normal, so it is about $\sqrt{1024} = 32$ long, and all of its kind are. How long is the middle of two?

# %%
lerp = Slider("6.lerp", "Two x_T, each about 32 long. How long is (a + b) / 2?", 0, 40, 1)
lerp

# %% [markdown] lang="en"
# The other way is **slerp** (球面插值): along the arc. Take each example as one long vector, and
# let $\theta$ be the angle between the two. Then
#
# $$\operatorname{slerp}(a, b; u) = \frac{\sin((1-u)\,\theta)}{\sin\theta}\,a +
# \frac{\sin(u\,\theta)}{\sin\theta}\,b.$$
#
# Where $a$ and $b$ are parallel, $\sin\theta$ is 0 and there is no arc: use the straight line there.


# %% tags=["exercise"]
def slerp(first: torch.Tensor, second: torch.Tensor, share: float) -> torch.Tensor:
    """Along the arc from `first` (share 0) to `second` (share 1), for each example (B, ...)."""
    # SOLUTION
    cosine = torch.cosine_similarity(first.flatten(1), second.flatten(1))  # (B,)
    angle = cosine.clamp(-1, 1).acos()
    arc = torch.stack([((1 - share) * angle).sin(), (share * angle).sin()]) / angle.sin()
    line = torch.tensor([[1 - share], [share]], dtype=arc.dtype)
    weights = torch.where(cosine.abs() > 1 - 1e-6, line, arc)  # (2, B)
    one, other = weights.reshape(2, -1, *[1] * (first.ndim - 1))
    return one * first + other * second
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Three things are needed for each example: the cosine of the angle, the angle, and the two weights. How do
# you make one vector of an example (C, H, W)?

# %% [markdown] lang="en" tags=["hint"]
# `torch.cosine_similarity(first.flatten(1), second.flatten(1))` is (B,). `acos` of a number a little above 1
# is not a number: `clamp` it. Weights (B,) need the shape (B, 1, 1, 1) before they meet pictures.

# %% [markdown] lang="en" tags=["hint"]
# `torch.where(cosine.abs() > 1 - 1e-6, 1 - share, ((1 - share) * angle).sin() / angle.sin())` is the weight
# of the first. The weight of the second is the same with `share` in the place of `1 - share`.

# %% [markdown] lang="en"
# *Difficulty: medium, 10 minutes.*

# %%
arc = check.slerp(slerp)
arc

# %% [markdown] lang="en"
# How long are the mixtures, on both ways? Beside the length the same $x_T$ are walked down, as a 0.

# %%
shares = [k / 8 for k in range(9)]
ends = torch.randn(2, 1, 1, 32, 32, generator=torch.Generator().manual_seed(3))
ways = {"lerp": torch.lerp, "slerp": arc.function}
mixed = {name: torch.cat([way(*ends, u) for u in shares]) for name, way in ways.items()}
zero = digit_denoiser(digits, torch.zeros(9, dtype=torch.long))
drawn = {name: last(ddim_steps(zero, schedule, x, few)) for name, x in mixed.items()}

# %% [markdown] lang="en"
# The answer draws the lengths.

# %%
length = {name: x.flatten(1).norm(dim=1).numpy() for name, x in mixed.items()}
lerp.reveal(
    round(float(length["lerp"][4])),
    explanation=f"On the arc the middle is {length['slerp'][4]:.1f} long ({arc.whose}).",
    picture=plots.curves(
        shares,
        length,
        "The length of the mixture: slerp keeps it, lerp loses most in the middle.",
        xlabel="share of the second",
        ylabel="length of the mixture",
        ylim=(0, 40),
    ),
)

# %% [markdown] lang="en"
# Two independent noises are nearly at right angles. So the squared lengths add up as in Pythagoras'
# theorem, and the middle of the line has $32/\sqrt 2$. Slerp keeps the length. Does the network care?

# %%
plots.film_strip(drawn, "A 0 on the way from one x_T to another, by lerp and by slerp.")

# %% [markdown] lang="en"
# Lerp's middle is no ruin: a 0 is a 0. Look at *what kind* of 0 it is. To see it alone, take one $x_T$ and
# change nothing but its length.
#
# ### Break it: an x_T of the wrong length

# %% budget_s=8
scales, classes = (0, 0.25, 0.5, 0.71, 1, 1.25, 1.5), (0, 3, 7)
lengths = torch.cat([scale * ends[0] for scale in scales])
told = {f"a {k}": digit_denoiser(digits, torch.full((len(scales),), k)) for k in classes}
strips = {k: last(ddim_steps(denoise, schedule, lengths, few)) for k, denoise in told.items()}
plots.film_strip(strips, "One x_T at seven lengths: plain digits when short.", titles=scales)

# %% [markdown] lang="en"
# At length 0 there is nothing left of $x_T$, and the network draws the plainest digit of the class. With
# the length comes what makes a digit a particular one; past 1 it is overdone, and the digit falls apart.
# So lerp does not crash. It makes its middle plainer than its ends, at .71 of the length: the pictures
# between two others lose their character on the way. Slerp keeps it.

# %% [markdown] lang="en"
# ## 4. The table
#
# So far you looked at single pictures. Which knob position draws the *best* pictures? The paper answers
# with a table: five positions of the knob, five numbers of steps, one distance in each cell. The same
# table is measured here for our network.
#
# The distance. Chapter 0's classifier turns a picture into features, the numbers of its last hidden
# layer. Features of many drawn pictures make a cloud, and those of real digits make another. Fit a
# Gaussian to each cloud: the **Frechet distance** (弗雷歇距离) is how far the two Gaussians lie apart, in
# place and in shape. With the features of another network, Inception, this number is known as FID. Ours
# are a digit classifier's, so ours is a *digit-classifier Frechet distance*, and the two must not be
# compared.
#
# The distance also depends on how many pictures are measured: fewer pictures, larger distance, even for
# real digits. So every cell draws {{digit_knob.config.num_samples:,}} pictures, from the *same* starts
# $x_T$. From $S = 100$ on that would take too long on a small machine. There we draw
# {{digit_knob.config.num_samples_100}}, with $S = 1000$ only {{digit_knob.config.num_samples_1000}}, and
# all other cells a second time with as few.

# %%
import json

from course_lib.recipes.digit_knob import ETAS, KNOB

knob = json.loads(KNOB.results.read_text(encoding="utf-8"))["metrics"]
named = dict(zip(ETAS, ("eta = 0", "eta = 0.2", "eta = 0.5", "eta = 1", "sigma-hat"), strict=True))
at = lambda metric, eta, steps, end="value": knob[f"{metric}_{eta}_{steps}"][end]
for prefix, drawn in (("", "num_samples"), ("small_", "num_samples_1000")):
    real = knob[f"{prefix}frechet_real"]["value"]
    print(f"real digits, as many as {KNOB.config[drawn]}: distance {real:.1f}")

# %% [markdown] lang="en"
# That is what a perfect network would score: the second number shows how much of a distance is due to few
# pictures alone. Now draw what you expect.

# %%
from course_lib.widgets.curve import Curve

few_steps = (10, 20, 50, 100)
quality = Curve(
    "6.quality",
    "How far from real digits are the pictures of each walk? (Low is good.)",
    few_steps,
    ["eta = 0", "eta = 1"],
    1,
    2000,
    xlabel="steps S",
    ylabel="Frechet distance",
    log=True,
)
quality

# %% [markdown] lang="en"
# The recipe has measured all five positions of the knob.

# %%
line = lambda metric, eta, steps: tuple(
    [at(metric, eta, s, end) for s in steps] for end in ("value", "low", "high")
)
curves = {named[eta]: line("frechet", eta, few_steps) for eta in ETAS}
ratio = at("frechet", "1", 10) / at("frechet", "0", 10)

# %% [markdown] lang="en"
# The answer draws your two curves, and below them all five. Their intervals come from pictures that are
# redrawn, a hundred times, from those that we have.

# %%
quality.reveal(
    {name: curves[name] for name in quality.names},
    explanation=f"With ten steps the distance of eta = 1 is {ratio:.1f} times that of eta = 0.",
    picture=plots.curves(
        few_steps,
        curves,
        "Distances of five positions of the knob against the number of steps, with their intervals.",
        xlabel="steps S",
        ylabel="Frechet distance",
        log=True,
    ),
)

# %% [markdown] lang="en"
# Here is the whole table, with the smaller N for its last column, and beside it the paper's, for colour photographs [Song et al. 2021, table 1,
# CIFAR-10]. In each column the best cell is bold.

# %%
paper = {
    "0": (13.36, 6.84, 4.67, 4.16, 4.04),
    "02": (14.04, 7.11, 4.77, 4.25, 4.09),
    "05": (16.66, 8.35, 5.25, 4.46, 4.29),
    "1": (41.07, 18.36, 8.01, 5.78, 4.73),
    "hat": (367.43, 133.37, 32.72, 9.99, 3.17),
}
all_steps = (*few_steps, 1000)
row = lambda metric, eta, steps: {str(s): at(metric, eta, s) for s in steps}
theirs = {eta: dict(zip(map(str, all_steps), line, strict=True)) for eta, line in paper.items()}

# %% [markdown] lang="en"
# Compare numbers within a table only: the three have different sizes of samples, or different features.

# %%
tables = {
    f"ours, N = {KNOB.config['num_samples']}, {KNOB.config['num_samples_100']}": {
        named[eta]: row("frechet", eta, few_steps) for eta in ETAS
    },
    f"ours, N = {KNOB.config['num_samples_1000']}": {
        named[eta]: row("small_frechet", eta, all_steps) for eta in ETAS
    },
    "DDIM's table 1 (FID)": {named[eta]: theirs[eta] for eta in ETAS},
}
plots.heat_tables(
    tables,
    "Three tables of distances, a row for each position of the knob, a column for each S.",
    xlabel="steps S",
    ylabel="",
)

# %% [markdown] lang="en"
# Read the paper's table at both ends. In the column of ten steps, the less noise is added, the better.
# In the column of a thousand steps, the *best* row is the one that was worst: sigma-hat, DDPM's own walk
# with the larger noise. So "DDIM is better than DDPM" is half of the finding. The other half is a
# **reversal** (反转) [Song et al. 2021, table 1].
#
# Do we find it? A cell says who wins a column, and who cannot be told from the winner, because their
# intervals overlap.

# %%
for steps, metric in ((10, "frechet"), (100, "frechet"), (1000, "small_frechet")):
    ranked = sorted(ETAS, key=lambda eta: at(metric, eta, steps))
    best, top = ranked[0], at(metric, ranked[0], steps, "high")
    ties = [named[eta] for eta in ranked[1:] if at(metric, eta, steps, "low") <= top]
    print(f"S = {steps}: {named[best]} has {at(metric, best, steps):.1f}", end="; ")
    print("no other is as near" if not ties else f"not to be told apart: {', '.join(ties)}")
    print(f"    last is {named[ranked[-1]]} with {at(metric, ranked[-1], steps):.1f}")

# %% [markdown] lang="en"
# At ten steps our order is not the paper's. Its best row, eta = 0, is behind eta = 1 here:
# {{digit_knob.metrics.frechet_0_10.value:.0f}} against {{digit_knob.metrics.frechet_1_10.value:.0f}}. And five
# times as many steps hardly help eta = 0: {{digit_knob.metrics.frechet_0_50.value:.0f}}. So long strides are
# not what ails our pictures. The network is: it is small, and was trained for minutes. Its errors come
# through unchanged when no noise is added, and fresh noise repairs some of them (section 7 shows how).
# The paper's network was trained far longer, so there the strides are the larger error, and noise makes
# *that* one worse. Two errors, and eta trades one for the other: which row wins says something about the
# network. What both tables share is the last row.
#
# The column of a thousand steps rests on {{digit_knob.config.num_samples_1000}} pictures a cell. It can
# show a large difference, not the one percent that separate the paper's better rows. Nor is it certain
# that a reversal *must* appear here. A thousand steps of sigma-hat help where a network makes errors
# that fresh noise can repair (section 7 shows how). Whether that outweighs the noise that is left
# depends on the network.
#
# What goes wrong with ten steps can be seen with the naked eye. The same starts, one row for each
# position of the knob:

# %%
starts = torch.randn(10, 1, 32, 32, generator=torch.Generator().manual_seed(6))
denoise, ten = digit_denoiser(digits, torch.arange(10)), uniform_timesteps(1000, 10)
rows = {}
for eta in ("0", "05", "1", "hat"):
    noises = torch.Generator().manual_seed(7)
    steps = ddim_steps(denoise, schedule, starts, ten, **ETAS[eta], generator=noises)
    rows[named[eta]] = last(steps)
plots.film_strip(
    rows,
    "Ten digits drawn with ten steps, a row for each position of the knob; the last row is noisy.",
)

# %% [markdown] lang="en"
# Between eta = 0 and eta = 1 the eye hardly finds a difference; it takes many pictures to measure one. The
# last row is another matter: it is covered with noise.
#
# ### Why: noise that nobody takes away
#
# Begin with the last row. Where does it come from? At the last stop before the clean picture
# the network is told: "here is a picture with *this much* noise", $\sqrt{1-\bar\alpha}$ at $t=0$. It
# takes away that much. But how much is there? The step before has kept
# $1-\bar\alpha_{\text{prev}}-\sigma^2$ of the old noise and added $\hat\sigma^2$ of new noise, while
# only $\sigma^2$, that of eta = 1, had been made room for.

# %%
from course_lib.methods.ddim import ddim_sigma, sigma_hat

print(f"the network expects a standard deviation of {(1 - schedule.alpha_bar(0)).sqrt():.3f}")
for steps in all_steps:
    t, t_prev = uniform_timesteps(1000, steps)[-2:]
    alpha_bar, before = schedule.alpha_bar(t), schedule.alpha_bar(t_prev)
    room, added = ddim_sigma(alpha_bar, before, 1.0), sigma_hat(alpha_bar, before)
    there = (1 - before - room**2 + added**2).sqrt()
    print(f"S = {steps:4}: coming from t = {t:3} with sigma-hat, it gets {there:.3f}")

# %% [markdown] lang="en"
# With few steps the stride is long, and sigma-hat is the noise of the whole stride: far too much for
# what comes next, and the network does not know. With a thousand steps the excess is small.
#
# ### Why: variance that gets lost
#
# And eta = 1, which leaves no noise behind? Take data for which everything is known: Gaussian numbers
# of variance 1. The perfect denoiser is a straight line, so a walk can be followed with pencil and paper:
# each step multiplies $x_t$ by a number and adds noise of variance $\sigma^2$. What variance has the
# result? It should be 1.

# %%
print("        " + "  ".join(f"{name:>7}" for name in named.values()))
for steps in few_steps:
    visited, ends = uniform_timesteps(1000, steps), []
    for how in ETAS.values():
        variance = torch.ones((), dtype=torch.float64)
        for t, t_prev in zip(visited, [*visited[1:], -1], strict=True):
            a, before = schedule.alpha_bar(t), schedule.alpha_bar(t_prev)
            sigma = ddim_sigma(a, before, how["eta"])  # x0_hat = sqrt(a) x, eps_hat = sqrt(1 - a) x
            kept = (a * before).sqrt() + ((1 - a) * (1 - before - sigma**2)).sqrt()
            larger = "larger_noise" in how and t_prev >= 0
            sigma = sigma_hat(a, before) if larger else sigma
            variance = kept**2 * variance + sigma**2
        ends.append(f"{variance:7.2f}")
    print(f"S = {steps:3} " + "  ".join(ends))

# %% [markdown] lang="en"
# Every walk with an eta of at most 1 loses variance, because a step treats the guess $\hat x_0$ as if it were
# the picture. It is only the mean of many pictures, and the spread of these is forgotten. Walks with
# much noise lose more: they renew more of the picture in each step, and what is renewed comes from the
# forgetful guess. All losses fade as $S$ grows.
#
# And look at sigma-hat: for these data it is *exact*, at every $S$. Its larger noise puts back what
# the guess forgets. It is right for data as wide as the noise, and too much for everything narrower,
# such as pictures, most of whose pixels are certain as soon as the digit is. That is why it pays to have
# both in the table.
#
# ### DDPM or DDIM?
#
# They are not two models. Both walk with one network. Every entry below was measured on ours.
#
# | | DDPM's walk (sigma-hat, every step) | DDIM's walk (eta = 0, few steps) |
# |---|---|---|
# | idea | each step forgets a little and draws anew: pictures of one $x_T$ differ by {{digit_knob.metrics.diversity_hat.value:.2f}}, root mean square | a start decides the picture: they differ by {{digit_knob.metrics.diversity_0.value:.2f}} |
# | speed | 1000 calls: {{digit_knob.metrics.seconds_hat_1000.value:.2f}} seconds for a picture | 20 calls: {{digit_knob.metrics.seconds_0_20.value:.3f}} seconds, 100 calls: {{digit_knob.metrics.seconds_0_100.value:.3f}} |
# | process | a Markov chain: all of its steps are needed. With ten, {{digit_knob.metrics.read_hat_10.value:.2f}} of the digits are read as what was asked for | any subsequence: with ten steps {{digit_knob.metrics.read_0_10.value:.2f}} are read |
# | compatibility | the training of chapter 5: {{digit_diffusion.step:,}} updates | the same weights, no update more |
# | quality, N = {{digit_knob.config.num_samples_1000}} | S = 1000: distance {{digit_knob.metrics.small_frechet_hat_1000.value:.0f}}, read {{digit_knob.metrics.small_read_hat_1000.value:.2f}}, coverage {{digit_knob.metrics.small_coverage_hat_1000.value:.2f}} | S = 20: distance {{digit_knob.metrics.small_frechet_0_20.value:.0f}}, read {{digit_knob.metrics.small_read_0_20.value:.2f}}, coverage {{digit_knob.metrics.small_coverage_0_20.value:.2f}}; S = 1000: distance {{digit_knob.metrics.small_frechet_0_1000.value:.0f}} |
#
# *Read* is the share that the classifier takes for the class that was asked for, *coverage* (覆盖率) the
# share of real digits that have a drawn one nearby. A hundred drawn digits cannot be near many real
# ones: as many real ones cover {{digit_knob.metrics.small_coverage_real.value:.2f}}.
#
# ### Claim panel
#
# | claim | measured here | label |
# |---|---|---|
# | With ten steps, less noise is better: eta = 0 is best, then .2, .5, 1, and sigma-hat is far off [Song et al. 2021, table 1] | distances {{digit_knob.metrics.frechet_0_10.value:.0f}}, {{digit_knob.metrics.frechet_02_10.value:.0f}}, {{digit_knob.metrics.frechet_05_10.value:.0f}}, {{digit_knob.metrics.frechet_1_10.value:.0f}}, {{digit_knob.metrics.frechet_hat_10.value:.0f}}; interval at eta = 0: {{digit_knob.metrics.frechet_0_10.low:.0f}} to {{digit_knob.metrics.frechet_0_10.high:.0f}}, at eta = 1: {{digit_knob.metrics.frechet_1_10.low:.0f}} to {{digit_knob.metrics.frechet_1_10.high:.0f}} | not at this scale: the first four rows stand in the opposite order; sigma-hat is far off, as in the paper |
# | With a thousand steps sigma-hat is best [Song et al. 2021, table 1] | N = {{digit_knob.config.num_samples_1000}}: sigma-hat {{digit_knob.metrics.small_frechet_hat_1000.value:.0f}} ({{digit_knob.metrics.small_frechet_hat_1000.low:.0f}} to {{digit_knob.metrics.small_frechet_hat_1000.high:.0f}}), eta = 0 {{digit_knob.metrics.small_frechet_0_1000.value:.0f}} ({{digit_knob.metrics.small_frechet_0_1000.low:.0f}} to {{digit_knob.metrics.small_frechet_0_1000.high:.0f}}) | not decided: from far behind, sigma-hat has caught up; who is ahead, so few pictures cannot say |
# | 20 to 100 steps of eta = 0 are as good as a thousand of DDPM [Song et al. 2021, section 5.1] | N = {{digit_knob.config.num_samples_1000}}: S = 20 {{digit_knob.metrics.small_frechet_0_20.value:.0f}}, S = 100 {{digit_knob.metrics.small_frechet_0_100.value:.0f}}, sigma-hat at S = 1000 {{digit_knob.metrics.small_frechet_hat_1000.value:.0f}} | same direction: with so few pictures no difference can be measured |
# | The walk is 10 to 50 times as fast [Song et al. 2021, abstract] | seconds for a picture: {{digit_knob.metrics.seconds_hat_1000.value:.2f}} with 1000 steps, {{digit_knob.metrics.seconds_0_100.value:.3f}} with 100, {{digit_knob.metrics.seconds_0_20.value:.3f}} with 20 | reproduced, and no surprise: a step costs what it costs |
#
# One network, one set of starts. Intervals are for pictures drawn again, not for trainings run again.

# %% [markdown] lang="en"
# ## 5. When to use which
#
# Three positions of the knob have a use of their own.
#
# - **eta = 0** for speed and for repeatability: few steps, and the same start gives the same picture,
#   today and tomorrow. Whoever wants to edit a picture, or blend two, needs this.
# - **eta = 1**: the ancestral walk. Its fresh noise repairs what earlier steps got wrong (section 7). For
#   a network with errors as large as ours it draws the best pictures of the table, with few steps too.
#   Sigma-hat needs many.
# - **Between** when you want *variations*: pictures that share their start and are not all the same.
#
# The last one can be measured. Take one $x_T$, draw several pictures from it with different noise on the
# way, and measure how far apart they are. At eta = 0 there is no noise on the way, so the distance is
# zero. How fast does it grow?

# %%
variety = Slider(
    "6.variety",
    "Let the variety of pictures of one start at eta = 1 be 100. What is it at eta = 0.2?",
    0,
    100,
    5,
)
variety

# %% [markdown] lang="en"
# The recipe walks from each start several times, with 50 steps, and takes the distance between pictures
# of one start (root mean square over pixels). Beside it stands fidelity: the share that is read as the
# class that was asked for.

# %%
spread = {eta: knob[f"diversity_{eta}"]["value"] for eta in ETAS}
fidelity = {eta: knob[f"diversity_read_{eta}"]["value"] for eta in ETAS}
variety.reveal(
    100 * spread["02"] / spread["1"],
    explanation=f"At eta = 0.5 it is {100 * spread['05'] / spread['1']:.0f}.",
    picture=plots.bars(
        {named[eta]: {"variety of one start": spread[eta], "read": fidelity[eta]} for eta in ETAS},
        "For five positions of the knob: how far pictures of one start lie apart, and the share read.",
        ylabel="root mean square, share",
    ),
)

# %% [markdown] lang="en"
# Look at it. One start, one class; a column for each walk, a row for each position of the knob.

# %%
one_start = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(3))
eight = digit_denoiser(digits, torch.full((8,), 3))
visited, shown = uniform_timesteps(1000, 20), {}
for eta in ("0", "02", "05", "1"):
    draws = torch.Generator().manual_seed(0)
    walks = ddim_steps(
        eight, schedule, one_start.expand(8, -1, -1, -1), visited, **ETAS[eta], generator=draws
    )
    shown[named[eta]] = last(walks)
plots.film_strip(
    shown, "Eight pictures from one start: equal at eta = 0, ever more different below.", first=1
)

# %% [markdown] lang="en"
# Where does the variety come from? Each step keeps a part of the noise and renews the rest. How much of
# $x_T$ is left in $x_t$? Walk without any network, and let the guess always be $\hat x_0 = 0$. Then all
# there is is noise, old and new, and its correlation with the start is a product of roots.

# %%
print("correlation of the noise with the start, at t = " + ", ".join(map(str, visited[4::5])))
for eta in (0.0, 0.2, 0.5, 1.0):
    share, left = torch.ones((), dtype=torch.float64), []
    for t, t_prev in pairwise(visited):
        alpha_bar, before = schedule.alpha_bar(t), schedule.alpha_bar(t_prev)
        sigma = ddim_sigma(alpha_bar, before, eta)
        share = share * ((1 - before - sigma**2) / (1 - before)).sqrt()
        left.append(f"{share:.2f}")
    print(f"eta = {eta:3}: {', '.join(left[3::5])}")

# %% [markdown] lang="en"
# At eta = 1 the start is soon forgotten: whatever the picture shows was decided on the way. Between the
# ends, the first steps still belong to the start, and the later ones more and more to chance.
#
# ### Another knob: guidance
#
# There is a second knob, and it is often turned at the same time. Our network knows two answers to each
# noisy picture: one for "a 3, please", and one for "any digit", which it learned from the pictures whose
# label was hidden. The difference between the two is what the class contributes. **Classifier-free
# guidance** (无分类器引导) takes more of it [Ho & Salimans 2022]:
#
# $$\hat\varepsilon = \hat\varepsilon_{\text{without}} + g\,(\hat\varepsilon_{\text{with}} -
#   \hat\varepsilon_{\text{without}}).$$
#
# $g$ is the **guidance scale**. At $g = 1$ nothing is added, at $g = 0$ the class is ignored, and above 1
# the answer is pushed beyond what the network believes. (The paper counts from 1: its $w$ is $g - 1$.)
#
# ### Your turn: guide the noise


# %% tags=["exercise"]
def guide(
    eps_conditional: torch.Tensor, eps_unconditional: torch.Tensor, guidance_scale: float
) -> torch.Tensor:
    """The guided guess of the noise; 1 is no guidance, 0 ignores the class."""
    # SOLUTION
    class_part = eps_conditional - eps_unconditional
    return eps_unconditional + guidance_scale * class_part
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Draw two points on paper, one for each guess, and a line through both. The guided guess lies on that
# line. Where is it for $g = 0$, for 1, for 2?

# %% [markdown] lang="en" tags=["hint"]
# Start at the guess without a class, and walk $g$ times the way to the guess with it.

# %% [markdown] lang="en" tags=["hint"]
# `eps_unconditional + guidance_scale * (eps_conditional - eps_unconditional)`.

# %% [markdown] lang="en"
# *Difficulty: easy, 4 minutes.*

# %%
guided = check.guide(guide)
guided

# %% [markdown] lang="en"
# `guided.function` draws the pictures below. What do you expect of a large scale?

# %%
trade = Choice(
    "6.guidance",
    "The guidance scale grows from 1 to 4. What happens to the share that is read as the wanted class, "
    "and to the share of real digits that have a drawn one nearby?",
    ["both rise", "read rises, coverage falls", "read falls, coverage rises", "both fall"],
)
trade

# %% [markdown] lang="en"
# Two walks in one: at every step the network is asked twice. Guesses are clipped, for a guided guess
# leaves the range of real pixels.

# %% budget_s=8
from course_lib.methods.diffusion import EPS, denoiser

wanted = torch.tensor([2, 3, 5, 8]).repeat_interleave(2)
pair = torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(11))
asked = digit_denoiser(digits, wanted), digit_denoiser(digits, torch.full((8,), 10))
by_scale = {}
for scale in (0.0, 1.0, 2.0, 4.0):
    answer = lambda x, t, g=scale: guided.function(*(ask(x, t).eps_hat for ask in asked), g)
    steps = ddim_steps(denoiser(answer, EPS, schedule), schedule, pair, visited, clip=1.0)
    by_scale[f"scale {scale:g}"] = last(steps)

# %% [markdown] lang="en"
# Two starts for each of four classes (2, 3, 5, 8).

# %%
plots.film_strip(
    by_scale, "Digits drawn with guidance scales 0, 1, 2 and 4 from the same starts.", first=1
)

# %% [markdown] lang="en"
# The numbers come from the recipe, which has drawn many more.

# %%
scales = (0, 1, 2, 4)
measured = {
    f"scale {g}": {m: knob[f"{m}_guided_{g}"]["value"] for m in ("read", "coverage")}
    for g in scales
}
rises = [measured["scale 4"][m] > measured["scale 1"][m] for m in ("read", "coverage")]
option = {(1, 1): 0, (1, 0): 1, (0, 1): 2, (0, 0): 3}[tuple(map(int, rises))]
trade.reveal(
    trade.options[option],
    explanation=f"guide: {guided.whose}.",
    picture=plots.bars(measured, "Share read and coverage for four scales.", ylabel="share"),
)

# %% [markdown] lang="en"
# From no guidance to scale 2 our network gains on both counts: guidance also mends digits that it would have
# drawn badly. From 2 to 4 it pays: coverage falls. In the end
# guidance buys recognisability with diversity. It moves every picture away from what all digits have in
# common, towards what only its class has. Typical pictures become more typical; unusual ones, which
# look a little like another class, are drawn no more. So a high share read says nothing about whether the
# network has learned the *distribution*: a network that draws one perfect 3 again and again is always
# read.
#
# For a prediction of the future this is a warning. A guided model shows the likely future more clearly,
# and more often than it happens.

# %% [markdown] lang="en"
# ## 6. Which steps to visit
#
# A walk of $S$ steps visits a **subsequence** (子序列) $\tau$ of the chain's $T$ steps. The family of section 1
# permits any. Which is good? Three are in use:
#
# - **uniform**: $\tau_i = \lfloor c\,i \rfloor$ with $c = T/S$, for $i = 0, \ldots, S - 1$ [DDIM 2020, app. D.2];
# - **quadratic**: $\tau_i = \lfloor c\,i^2 \rfloor$, which takes short strides near the clean picture and long ones
#   in the noise [the same place];
# - **trailing**: equal strides counted from the *last* step down.
#
# ### Your turn: timesteps
#
# Write the uniform one. It falls, as the walk visits it, and it works for any $S$ from 1 to $T$. Mind that
# $S$ need not divide $T$.


# %% tags=["exercise"]
def timesteps(num_timesteps: int, num_steps: int) -> list[int]:
    """The steps floor(i T / S) of a chain of T, from i = S - 1 down to i = 0."""
    # SOLUTION
    return [i * num_timesteps // num_steps for i in range(num_steps - 1, -1, -1)]
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# For $T = 10$ and $S = 4$ the numbers $c\,i$ are 0, 2.5, 5 and 7.5. What is the list?

# %% [markdown] lang="en" tags=["hint"]
# Multiply first, then round down: `i * num_timesteps // num_steps`. If you round the stride first, what you
# lost is lost again at each step.

# %% [markdown] lang="en" tags=["hint"]
# A list comprehension over `range(num_steps - 1, -1, -1)`, or over `range(num_steps)` and then `[::-1]`.

# %% [markdown] lang="en"
# *Difficulty: easy, 5 minutes.*

# %%
visits = check.timesteps(timesteps)
visits

# %% [markdown] lang="en"
# DDIM's own code has a `range` with the stride `T // S` [ermongroup/ddim, `runners/diffusion.py`]. Beside it is
# `visits.function`. How many steps does each take when you ask for $S$?

# %%
print(f"timesteps: {visits.whose}")
for num_steps in (10, 50, 7, 30, 300, 600):
    theirs, ours = range(0, 1000, 1000 // num_steps), visits.function(1000, num_steps)
    print(f"S = {num_steps:>3}: {len(theirs):>4} with the range, {len(ours):>3} with yours", end="")
    print(f", which begin at t = {ours[0]}")

# %% [markdown] lang="en"
# Where $S$ divides $T$ there is no difference. Where it does not, the range takes more steps than it was asked
# for, and who asks for 600 pays for 1000: mind that when you compare seconds.
#
# ### Where the walk starts, and where it lands
#
# The last column hides a second trap. A uniform walk of 50 steps starts at $t = 980$, not at 999, though
# it starts from pure noise. The network is told that some signal is in it. How much?

# %%
from course_lib.methods import ddim

kinds = {
    "uniform": visits.function,
    "quadratic": ddim.quadratic_timesteps,
    "trailing": ddim.trailing_timesteps,
}
for name, choose in kinds.items():
    for num_steps in (10, 50):
        path = choose(1000, num_steps)
        first, last = (schedule.alpha_bar(t) for t in (path[0], path[-1]))
        print(f"{name:>9}, S = {num_steps}: from {path[0]} (signal {first.sqrt():.3f}) ", end="")
        print(f"to {path[-1]:>2}, then clean (noise left for this jump {(1 - last).sqrt():.3f})")

# %% [markdown] lang="en"
# With the uniform and the quadratic one the last step lands at $t = 0$ before it jumps to the clean picture, and
# has next to nothing left to remove. The trailing one spends no step there. It starts where the noise is
# purest, and its last jump is a long one. Ten steps of each:

# %%
plots.curves(
    range(10),
    {name: choose(1000, 10) for name, choose in kinds.items()},
    "Ten steps: uniform and trailing fall in straight lines, quadratic falls fast, then slowly.",
    xlabel="step of the walk",
    ylabel="t",
)

# %% [markdown] lang="en"
# DDIM's authors took the quadratic one for CIFAR-10, the linear one for their other data sets [DDIM 2020,
# app. D.2]. (In their code the quadratic one stops at t = 800; ours goes as high as the uniform one.) It matters: who ran the published code on CIFAR-10 with the uniform one got an FID of 5.68 at
# $S = 100$, against 4.16 in the paper's table [ermongroup/ddim, issue 3]. And for our digits?

# %%
which = Choice(
    "6.subsequence",
    "Ten steps, eta = 0, our digits: which subsequence has the smallest distance to real digits?",
    ["uniform", "quadratic", "trailing"],
)
which

# %% [markdown] lang="en"
# Every cell of the measurement has {{digit_knob.config.num_samples}} pictures, the same noises at the start, and
# the distance of section 4.

# %%
import json

from course_lib.recipes.digit_knob import KNOB

found = json.loads(KNOB.results.read_text(encoding="utf-8"))["metrics"]
stored = {"uniform": "0", "quadratic": "quadratic", "trailing": "trailing"}
distance = {
    name: [found[f"frechet_{key}_{num_steps}"] for num_steps in (10, 20, 50)]
    for name, key in stored.items()
}
best = min(distance, key=lambda name: distance[name][0]["value"])
second = sorted(distance, key=lambda name: distance[name][0]["value"])[1]
apart = distance[best][0]["high"] < distance[second][0]["low"]

# %% [markdown] lang="en"
# The answer draws all three lengths, with intervals.

# %%
ends = ("value", "low", "high")
picture = plots.curves(
    (10, 20, 50),
    {name: tuple([cell[end] for cell in x] for end in ends) for name, x in distance.items()},
    "Distance to real digits against the number of steps, for three subsequences.",
    xlabel="steps",
    ylabel="distance to real digits",
)
lies = "lies below" if apart else "overlaps with"
which.reveal(
    best,
    explanation=f"At ten steps its interval {lies} that of the {second} one.",
    picture=picture,
)

# %% [markdown] lang="en"
# Short strides near the clean picture serve its detail, short strides in the noise its coarse shape, and with ten
# steps you cannot have both. Which counts more depends on the data, and on who measures: there is no subsequence
# for everything. With many steps it hardly matters.
#
# ### Your turn: previous
#
# At each step the walk has to know where it goes next. With a list in hand that is no question: to the next
# one of the list, and from the last to $-1$, the clean picture. Write it.


# %% tags=["exercise"]
def previous(t: int, timesteps: list[int]) -> int:
    """The step that a walk over the falling `timesteps` goes to from t; -1 from the last."""
    # SOLUTION
    return [*timesteps, -1][timesteps.index(t) + 1]
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Nothing has to be computed, only looked up. What would you do with a finger on the list?

# %% [markdown] lang="en" tags=["hint"]
# `timesteps.index(t)` is the place of t. One place further stands the answer, if there is a place.

# %% [markdown] lang="en" tags=["hint"]
# Put -1 behind the list before you look: `[*timesteps, -1]`. (`timesteps.append(-1)` would change the
# caller's list.)

# %% [markdown] lang="en"
# *Difficulty: easy, 4 minutes.*

# %%
goes = check.previous(previous)
goes

# %% [markdown] lang="en"
# ### A bug in a famous library
#
# Looking up is not what everybody does. The DDIM scheduler of a famous library computes the next level as
# `t - T // S`, whichever subsequence it has been given [diffusers 0.42.1, `scheduling_ddim.py`, line 445; issue
# 12633]. For uniform steps whose $S$ divides $T$ this is right. But it also offers `linspace`: $S$ steps at
# equal distances from 999 down to 0. Take $S = 7$: their distance is 166.5, and `1000 // 7` is 142.

# %%
path = [round(999 * i / 6) for i in range(6, -1, -1)]
print(f"previous: {goes.whose}\n")
print("   t   goes to   the library says   signal sqrt(alpha-bar) of both")
for t in path:
    right, theirs = goes.function(t, path), max(t - 1000 // 7, -1)
    signal = [schedule.alpha_bar(level).sqrt() for level in (right, theirs)]
    print(f"{t:>4}   {right:>7}   {theirs:>16}   {signal[0]:.3f} and {signal[1]:.3f}")

# %% [markdown] lang="en"
# From 999 the walk means to go to 832. The library mixes the picture of level 857, and in the next step it
# tells the network that it is one of level 832. Every picture is noisier than its label says. The network then
# removes as much noise as the label says, and some stays. Digits have a black border, where it would show.

# %%
grain = Slider(
    "6.library",
    "linspace with 7 steps, eta = 0, and t - T // S in place of the list: which standard deviation does "
    "the grain on the border have in the end? (Noise begins with 1; with the list nearly none is left.)",
    0,
    1,
    0.05,
)
grain

# %% [markdown] lang="en"
# Both walks begin with the same noise and take the same network. `goes.function` finds the way of the first,
# the bug that of the second.

# %%
lengths, ends = (3, 7, 20), {}
walk = lambda num_steps: [round(999 * i / (num_steps - 1)) for i in range(num_steps)][::-1]
ways = {"list": goes.function, "bug": lambda t, path: max(t - 1000 // len(path), -1)}

# %% [markdown] lang="en"
# With $\eta = 0$ a step is `ddim.ddim_step` with a sigma of zero.

# %% budget_s=10
denoise = digit_denoiser(digits, torch.arange(6))
for num_steps, (name, next_of) in [(n, way) for n in lengths for way in ways.items()]:
    x, path = torch.randn(6, 1, 32, 32, generator=torch.Generator().manual_seed(5)), walk(num_steps)
    for t in path:
        with torch.no_grad():
            guess = denoise(x, torch.full((6,), t))
        after = schedule.alpha_bar(next_of(t, path))
        x = ddim.ddim_step(guess.x0_hat, guess.eps_hat, after, torch.zeros(()))
    ends[num_steps, name] = x

# %% [markdown] lang="en"
# How much should stay? The last step is told $t = 0$, and removes next to nothing. What it gets is the picture of
# the level where the step before it has really gone. The noise of that level is what remains:

# %%
for num_steps in lengths:
    path = walk(num_steps)
    level = ways["bug"](path[-2], path)
    left = (1 - schedule.alpha_bar(level)).sqrt()
    seen = {name: ends[num_steps, name][..., :3].std() for name in ways}
    print(f"{num_steps:>2} steps: told 0, it gets level {level}, noise {left:.2f}; ", end="")
    print(f"on the border {seen['bug']:.2f}, with the list {seen['list']:.3f}")

# %% [markdown] lang="en"
# The answer shows the digits, two rows for each number of steps.

# %%
rows = {f"{n} steps, {name}": x.clamp(-1, 1) for (n, name), x in ends.items()}
grain.reveal(
    ends[7, "bug"][..., :3].std().item(),
    explanation=f"Of six digits, on the three columns at the left (previous: {goes.whose}).",
    picture=plots.film_strip(
        rows, "Six digits with 3, 7 and 20 steps, clean with the list and grainy with the bug."
    ),
)

# %% [markdown] lang="en"
# With three steps the digits drown in grain, with twenty nobody would see it, and nothing ever crashes. That is how
# such a bug survives: who only looks at pictures blames the network, and adds steps. A test that compares one step
# with the formula, from a level to the next one *of the list*, finds it at once. Your `previous` is one half of
# that test, and your `ddim_step` the other.

# %% [markdown] lang="en"
# ## 7. The same at the crossroads
#
# Digits from noise are a fine toy. This course is about futures. Chapter 5's predictor draws nine frames
# from noise, beside three frames that it has seen, and every walk of this chapter is open to it, with
# the weights that it has.
#
# For a picture we asked: is it good? For a future we have to ask once more: does it come *as often as it
# happens*? A digit that turns left with chance .6 should turn left in 60 of 100 samples. That is
# **calibration** (校准), and section 1 says what eta should do to it: nothing. All members of the family
# pass through the same distributions, so all of them should end with the same frequencies.
#
# "Should" holds for a perfect denoiser and short strides. What about the trained one?

# %%
calibration = Choice(
    "6.calibration",
    "Thirty steps, the trained network, the same starts: which walk comes nearer to the true "
    "frequencies of the turns?",
    ["eta = 0", "eta = 1", "no difference: the interval of the difference holds zero"],
)
calibration

# %% [markdown] lang="en"
# The recipe drew {{crossroads_eta.config.base.num_samples}} futures for each of
# {{crossroads_eta.config.base.contexts}} held-out contexts, at four positions of the knob and with
# three numbers of steps, from the same starts each time. It measures the total variation between
# frequencies and truth, as in chapter 0, and does the same with the *exact* denoiser, which knows all
# futures of a context.

# %%
from course_lib.recipes import crossroads_eta
from course_lib.recipes.crossroads_eta import ETA

turned = json.loads(ETA.results.read_text(encoding="utf-8"))["metrics"]
strides = (5, 10, 30)
of = lambda metric, place, who, eta, s: turned[f"{metric}_{place}_{who}_{eta}_{s}"]
gain = of("gain", "base", "network", "1", 30)
nearer = 1 if gain["low"] > 0 else 0 if gain["high"] < 0 else 2
both = {
    f"{who}, {named[eta]}": [of("total_variation", "base", who, eta, s)["value"] for s in strides]
    for who in ("network", "exact")
    for eta in ("0", "1")
}

# %% [markdown] lang="en"
# A perfect sampler does not score zero either: with so few samples, frequencies scatter. What it would
# score is the floor.

# %%
calibration.reveal(
    calibration.options[nearer],
    explanation="Total variation of eta = 0 less that of eta = 1, on the same contexts and starts: "
    f"{gain['value']:.3f} (interval {gain['low']:.3f} to {gain['high']:.3f}).",
    picture=plots.curves(
        strides,
        both,
        "Total variation against steps, network and exact denoiser, eta 0 and 1, and the floor.",
        xlabel="steps S",
        ylabel="total variation",
        levels={"floor": turned["floor_base"]["value"]},
        ylim=(0, None),
    ),
)

# %% [markdown] lang="en"
# All cells, also for the world `twice`, where the digit may come back. In bold: the best of a column.

# %%
plots.heat_tables(
    {
        f"{place}, {who}": {
            named[eta]: {
                str(s): of("total_variation", place, who, eta, s)["value"] for s in strides
            }
            for eta in crossroads_eta.ETAS
        }
        for place in ("base", "twice")
        for who in ("network", "exact")
    },
    "Total variation for four positions of the knob and three numbers of steps, in two worlds.",
    xlabel="steps S",
    ylabel="",
)

# %% [markdown] lang="en"
# The floors, and whether the clips are futures at all:

# %%
for place in ("base", "twice"):
    print(f"{place}: floor of the total variation {turned[f'floor_{place}']['value']:.3f}")
    for eta in crossroads_eta.ETAS:
        shares = [of("valid", place, "network", eta, s)["value"] for s in strides]
        wrong = of("forbidden", place, "network", eta, 30)["value"]
        print(
            f"    {named[eta]:>9}: valid at S = 5, 10, 30: {', '.join(f'{x:.2f}' for x in shares)};"
            f" forbidden at S = 30: {wrong:.3f}"
        )

# %% [markdown] lang="en"
# Read the exact columns first. There, the sampler is the only source of error: what is above the floor is
# the price of long strides, and chance. Every cell rests on few contexts, {{crossroads_eta.config.base.contexts}}
# and {{crossroads_eta.config.twice.contexts}}, so do not read much into a single one: at `twice`, even the exact
# denoiser's cells differ among each other. Whatever the network's columns have beyond that is the network's.
#
# ### Can noise repair a mistake?
#
# Why should the amount of *noise* matter for how *right* the frequencies are? Think of an error in the
# middle of a walk. Say that at some level, too many of the walks lean to the right. At eta = 0 the rest
# of each walk is a fixed path: whoever leans to the right ends there, and the error arrives unchanged. At
# eta = 1 every step blurs the lean with fresh noise, and then asks the denoiser again: "seeing this,
# where does it go?" An honest answer pulls towards the true frequencies.
#
# That can be tried out with everything exact. Take a 4, which turns left, goes straight, turns right with
# .6, .3, .1. Plant an error: draw the three futures *equally often*, cover them with noise up to some
# level, and let the exact denoiser walk down from there. How much of the error arrives?

# %%
from course_lib.data.crossroads import BASE
from course_lib.recipes import crossroads_diffusion
from course_lib.recipes.crossroads_diffusion import DIFFUSION, world

turns_schedule = crossroads_diffusion.SCHEDULE
held_out = world(BASE, "test")
four = held_out.futures(int((held_out.digits.labels == 4).nonzero()[0]), 4)
equal, levels = torch.full((3,), 1 / 3, dtype=torch.float64), (979, 939, 899, 799, 699, 499, 299)
arrives = {
    f"eta = {eta:g}": [
        (crossroads_eta.planted(four, equal, t, eta=eta) - four.probs).abs().sum() / 2
        for t in levels
    ]
    for eta in (0.0, 0.5, 1.0)
}

# %% [markdown] lang="en"
# To the right there is less and less noise at the level where the error is planted.

# %%
plots.curves(
    [turns_schedule.snr(t).log().item() for t in levels],
    arrives,
    "The error that arrives grows with the planted level's signal, and is smallest for eta = 1.",
    xlabel="log of signal to noise where the error is planted",
    ylabel="total variation that arrives",
    levels={"planted": (equal - four.probs).abs().sum().item() / 2},
    ylim=(0, None),
)

# %% [markdown] lang="en"
# At the left end nearly all is noise, and the planted error cannot be seen. At the right end the turn is
# decided, and no walk can undo it. In between, the curves part: of the same mistake, eta = 1 passes on
# less. That is no accident. Send two distributions, the right one and the wrong one, through the same
# step. A step that is fixed and can be undone keeps their distance. A step that adds noise can only bring
# them nearer together: the **data-processing inequality** (数据处理不等式).
#
# It needs a denoiser that is right *from there on*. Fresh noise cannot repair an error that a network makes
# at every level.
#
# Do our two networks gain by it? On the same starts, with 30 steps, eta = 1 has a total variation that is
# lower by {{crossroads_eta.metrics.gain_base_network_1_30.value:.3f}}
# ({{crossroads_eta.metrics.gain_base_network_1_30.low:.3f}} to
# {{crossroads_eta.metrics.gain_base_network_1_30.high:.3f}}) at `base`, and by
# {{crossroads_eta.metrics.gain_twice_network_1_30.value:.3f}}
# ({{crossroads_eta.metrics.gain_twice_network_1_30.low:.3f}} to
# {{crossroads_eta.metrics.gain_twice_network_1_30.high:.3f}}) at `twice`: both intervals hold zero. With so few
# contexts nothing can be said. For the digits of section 4 the difference was large enough to be seen.
#
# ### Watch two walks decide
#
# One past, four starts, ten steps. At each step the exact denoiser and the network say what they believe,
# $\hat x_0$. Each walk follows its own denoiser. Move eta, and watch when the turn is decided.

# %% budget_s=10
from course_lib.methods.ddim import trailing_timesteps

predictor_net, x_T = DIFFUSION.load(), crossroads_eta.start(four, 4, seed=1)
who = {
    "exact": crossroads_eta.of_truth(four),
    "network": crossroads_eta.of_network(predictor_net, four),
}
ten, trails = trailing_timesteps(1000, 10), {}
for name, denoiser_ in who.items():
    for eta in (0.0, 1.0):
        draws = torch.Generator().manual_seed(2)
        how = {"eta": eta, "clip": 1.0, "generator": draws}
        trails[name, eta] = list(ddim_steps(denoiser_, turns_schedule, x_T, ten, **how))

# %% [markdown] lang="en"
# Beliefs become pictures: future frames 3, 6 and 9 side by side, a picture for each step.

# %%
three = lambda step: step.x0_hat[:, [2, 5, 8]].clamp(-1, 1)  # starts, frames
beliefs = {}
for name in who:
    walks = [[three(step) for step in trails[name, eta]] for eta in (0.0, 1.0)]
    frames = torch.stack([torch.stack(walk, 2) for walk in walks])  # eta, start, frame, step, ...
    panels = [[to_panel(mosaic(clips, columns=3)) for clips in starts] for starts in frames]
    beliefs[f"{name}: x0_hat"] = np.array(panels)

# %% [markdown] lang="en"
# The captions: where the exact denoiser would send each $x_t$, as chances of left, straight and right.

# %%
captions = []
for eta in (0.0, 1.0):
    pairs = zip(trails["exact", eta], trails["network", eta], strict=True)
    texts = []  # of each step, those of all starts
    for a, b in pairs:
        of_both = [four.posterior(x, turns_schedule.alpha_bar(a.t)) for x in (a.x_t, b.x_t)]
        shares = (100 * torch.stack(of_both, 1)).round().int().tolist()  # start, walk, turn
        texts.append(
            [f"t = {a.t}: exact walk {e}, network's walk {n}, in percent" for e, n in shares]
        )
    captions.append(np.array(texts).T)

# %% [markdown] lang="en"
# Press play, or step.

# %%
Player(
    beliefs,
    {"eta": ("0", "1"), "start": range(1, 5)},
    captions=np.array(captions),
    width=300,
    fps=2,
    title="Two denoisers, one start",
    alt="x0_hat at each step: the exact denoiser's and the network's, from the same starts.",
)

# %% [markdown] lang="en"
# Both begin with the mean of all futures, a ghost in three arms, and both drop two of the arms within a
# few steps. At eta = 0 compare the two for each start: where they part, the network has put a border
# between "left" and "straight" in another place than the truth. A start near that border goes wrong, and
# at eta = 0 always in the same way.

# %% [markdown] lang="en"
# ## 8. Before you go
#
# Section 4 had the claims about its table. Here are the others.
#
# ### Claim panel
#
# | claim | measured here | label |
# |---|---|---|
# | The network is trained once: its loss knows neither eta nor the number of steps [Song et al. 2021, section 4.1] | every walk of this chapter used the weights of one training of {{digit_diffusion.step:,}} updates | exact: it follows from the loss (section 1) |
# | One start, eta = 0: the picture's content does not depend on the number of steps [Song et al. 2021, section 5.2] | distance between pictures of 10 and of 1000 steps {{eta_sheets.metrics.ten_or_thousand_0.value:.2f}}, between two starts {{eta_sheets.metrics.seeds_apart.value:.2f}} (root mean square) | reproduced: the same picture up to details |
# | A picture can be turned into its start and back, and the error falls with the number of steps [Song et al. 2021, table 2] | squared error {{eta_inversion.metrics.error_10.value:.4f}} with 10 steps, {{eta_inversion.metrics.error_100.value:.4f}} with 100, {{eta_inversion.metrics.error_1000.value:.4f}} with 1000 | reproduced: it falls at every step of the column |
# | Quadratic steps are better than uniform ones on CIFAR-10 [Song et al. 2021, appendix D.2: chosen for it] | ten steps: quadratic {{digit_knob.metrics.frechet_quadratic_10.value:.0f}} ({{digit_knob.metrics.frechet_quadratic_10.low:.0f}} to {{digit_knob.metrics.frechet_quadratic_10.high:.0f}}), uniform {{digit_knob.metrics.frechet_0_10.value:.0f}} ({{digit_knob.metrics.frechet_0_10.low:.0f}} to {{digit_knob.metrics.frechet_0_10.high:.0f}}) | not at this scale: no difference can be measured; our errors are the network's, not the steps' |
# | With guidance, samples become more typical and less varied [Ho & Salimans 2022, section 4] | scale 1: read {{digit_knob.metrics.read_guided_1.value:.2f}}, coverage {{digit_knob.metrics.coverage_guided_1.value:.2f}}; scale 4: {{digit_knob.metrics.read_guided_4.value:.2f}}, {{digit_knob.metrics.coverage_guided_4.value:.2f}} | same direction at scale 4; at 2 coverage still rises, for weak digits are mended |
# | With an exact denoiser, eta does not change the frequencies of futures (ours) | total variation, 30 steps: {{crossroads_eta.metrics.total_variation_base_exact_0_30.value:.3f}} at eta = 0, {{crossroads_eta.metrics.total_variation_base_exact_1_30.value:.3f}} at eta = 1; floor {{crossroads_eta.metrics.floor_base.value:.3f}} | no difference found at `base`; too few contexts at `twice` |
# | With a trained one, fresh noise repairs a part of its errors (ours) | {{crossroads_eta.metrics.total_variation_base_network_0_30.value:.3f}} at eta = 0, {{crossroads_eta.metrics.total_variation_base_network_1_30.value:.3f}} at eta = 1; difference on the same starts {{crossroads_eta.metrics.gain_base_network_1_30.value:.3f}} ({{crossroads_eta.metrics.gain_base_network_1_30.low:.3f}} to {{crossroads_eta.metrics.gain_base_network_1_30.high:.3f}}) | not decided: the interval holds zero |
#
# **In five lines**
# - The loss of chapter 5 looks at one noise level at a time. So a trained network serves every walk that
#   passes through the same noisy pictures, in as many steps as you like.
# - Eta says how much of the noise is renewed in a step: none at 0, as much as DDPM's posterior at 1. It
#   is chosen when you draw, never when you train.
# - At eta = 0 a start and its picture belong together: the walk can be repeated, cut short, turned round,
#   and two starts can be blended on the sphere.
# - Noise on the way makes long strides worse, and repairs a part of the network's errors: which eta wins
#   depends on which of the two is larger. Sigma-hat with few steps leaves noise behind, whatever the network.
# - A perfect denoiser draws futures with the right frequencies at every eta. A mistake made early in a walk
#   comes through unchanged at eta = 0, and only in part at eta = 1, if the rest of the walk is right.
#
# **Easily mistaken**
# - "DDIM is trained with eta." Nothing is trained for DDIM.
# - "DDIM is faster per step." A step is one call of the network, whoever takes it. DDIM takes fewer.
# - "DDIM is better than DDPM." In few steps. With all steps the paper's best row is DDPM's, with the
#   larger noise.
# - "eta = 1 is DDPM." With *all* steps, and DDPM's smaller variance. With fewer steps it is a walk of its
#   own, and sigma-hat is a third one.
# - "eta = 0 predicts one future." One for each start. Draw another start, and you may get another future.
# - "More eta, more variety." Between pictures of *one* start. Over all starts the variety is the data's, or
#   should be.
# - "alpha is alpha." DDIM's paper writes $\alpha_t$ for what DDPM writes as $\bar\alpha_t$.
#
# **Quiz**
#
# <details><summary>A colleague has a network trained with DDPM's loss on 1000 levels, and wants samples
# in 25 steps tomorrow. What has to be trained again?</summary>Nothing. He chooses 25 levels and walks
# with eta = 0.</details>
#
# <details><summary>At eta = 0 two samples of the same context are equal. The generator was seeded
# differently. What happened?</summary>The walk did not draw anything, as it should, and both began at the
# same x_T. Randomness is in the start alone.</details>
#
# <details><summary>Pictures of a 10-step walk are covered with fine grain. Which knob do you look at
# first?</summary>Whether sigma-hat is used. It adds the noise of a whole stride, and the last step takes
# away less than that.</details>
#
# <details><summary>Somebody shows a digit, its inverted x_T, and a perfect reconstruction, with ten steps
# each way. What do you ask?</summary>Whether the reconstruction came from that x_T with the network's own
# guesses on the way down. With so few steps, the guess on the way up belongs to another level than on the
# way down, and an error remains (section 3).</details>
#
# <details><summary>A predictor at the crossroads sends a 4 left in 70 of 100 samples at eta = 0, and in 62
# at eta = 1. The truth is 60. Is the sampler at fault?</summary>Not by itself: with the exact denoiser
# both walks are right. The network leans to the left, and at eta = 1 fresh noise has undone a part of
# that. (And look at the interval: 100 samples scatter.)</details>
#
# <details><summary>Guidance makes every predicted future clear and sharp. Why would you still not use it for
# a forecast?</summary>It draws the likely more often than it happens. What is unlikely and dangerous would
# be missing.</details>
#
# **Further reading**
# - Song, Meng and Ermon, *Denoising diffusion implicit models*, 2020, arXiv 2010.02502: sections 3 and 4,
#   table 1, appendices C.1 and D.
# - Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, arXiv 2006.11239: section 3.2,
#   the two variances.
# - Ho and Salimans, *Classifier-free diffusion guidance*, 2022, arXiv 2207.12598: section 3.2.
# - Karras et al., *Elucidating the design space of diffusion-based generative models*, 2022, arXiv
#   2206.00364: section 4, when fresh noise helps and when it hurts.
# - Song et al., *Score-based generative modeling through stochastic differential equations*, 2020, arXiv
#   2011.13456: section 4.3, the walk without noise as an ordinary differential equation.
# - Voleti et al., *MCVD: masked conditional video diffusion*, 2022, arXiv 2205.09853: futures, pasts and
#   what lies between, by such walks.
#
# **Where to go on.** Every step of every walk calls a network that looks at all pixels, and most pixels
# say little. Chapter 7 moves the walk onto a smaller canvas: first an autoencoder makes the picture
# small, then diffusion runs there, and the decoder makes it large again.
