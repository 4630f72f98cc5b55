# %% [markdown] lang="en"
# # Guess the noise
#
# Chapter 1 drew futures from a latent, chapter 2 from an adversary, chapter 4 from a network that goes
# on by itself. This chapter draws them out of noise. It destroys pictures on purpose, slowly, until
# nothing is left, and trains a network on one small job. Done a hundred times in a row, that job turns
# pure noise into a picture that never existed.
#
# **After this chapter you can**
# - destroy a picture to any degree in one line, and say what is left of it;
# - train a diffusion model, and compare it with the best that any network could do;
# - say why one does not jump to the clean picture at once, and when the picture is decided;
# - turn a guess of the noise into a guess of the picture, and say when either is the better question;
# - predict futures by diffusion, and judge them against the exact ones.
#
# **You need** chapters 0 and 1. **Study time** 90 minutes. **Computing time**
# {{build.seconds:.0f}} seconds for all cells, without a GPU.

# %% tags=["setup"] budget_s=15
import numpy as np
import torch

from course_lib import plots
from course_lib.checks import chapter5 as check
from course_lib.data.video import mosaic, to_panel
from course_lib.methods import noise
from course_lib.widgets.course_map import course_map
from course_lib.widgets.player import Player
from course_lib.widgets.prediction import Choice, Slider

torch.set_num_threads(1)  # a second thread gains little, and costs much on a busy machine
course_map()

# %% [markdown] lang="en"
# Ten patches of noise, and one network. It is told which digit each is to become. Press play: the left
# panel is what there is, the right one is the network's guess of where it will end. When do you know
# what each will be, and when does the network?

# %% budget_s=12
from course_lib.methods.ddim import ddim_steps, uniform_timesteps
from course_lib.recipes.digit_diffusion import DIGITS, SCHEDULE, digit_denoiser, framed_digits

digits, schedule = DIGITS.load(), SCHEDULE
denoise = digit_denoiser(digits, torch.arange(10))
x_T = torch.randn(10, 1, 32, 32, generator=torch.Generator().manual_seed(3))
walk = list(ddim_steps(denoise, schedule, x_T, uniform_timesteps(1000, 25), clip=1.0))

# %% [markdown] lang="en"
# A step makes the noise a little weaker, twenty-five times. It uses nothing but the guess on the right.

# %%
Player(
    {
        "what there is": to_panel(mosaic(torch.stack([s.x_t for s in walk], 1), columns=5)),
        "the guess": to_panel(mosaic(torch.stack([s.x0_hat for s in walk], 1), columns=5)),
    },
    captions=[f"step {i} of 25, noise level {s.t} of 999" for i, s in enumerate(walk, 1)],
    title="Ten digits out of noise",
    alt="Ten patches of noise turn into the digits zero to nine; beside them the network's guess.",
)

# %% [markdown] lang="en"
# ## 1. Destroy
#
# A **diffusion model** (扩散模型) has two halves. One destroys a picture little by little until only
# noise is left. The other learns to undo that. The first half is the easy one: nothing in it is
# learned, and you can write it down in two lines. This section does so, because everything later stands
# on these two lines.
#
# Begin with a clean picture $x_0$. At every step $t$ fade it a little, and add a little Gaussian noise
# of your own making:
#
# $$x_t = \sqrt{1-\beta_t}\;x_{t-1} + \sqrt{\beta_t}\;\varepsilon_t,\qquad
#   \varepsilon_t \sim \mathcal{N}(0, I).$$
#
# The number $\beta_t$ is the variance that step $t$ adds. Why fade at all? If the pixels had variance 1
# before, they have $(1-\beta_t)\cdot 1 + \beta_t = 1$ after. What you take from the picture you put
# back as noise, so the values never run away.
#
# DDPM [Ho, Jain & Abbeel 2020] takes a thousand steps, and lets $\beta_t$ rise on a line from 0.0001
# to 0.02. A plan of this kind is a **noise schedule** (噪声调度). We count $t$ from 0 to 999, and $t = -1$
# means clean.
#
# ### All steps at once
#
# A step keeps the share $\alpha_t = 1 - \beta_t$ of the picture's *power*, that is of its square. Now
# do two steps, and put the first into the second:
#
# $$x_1 = \sqrt{\alpha_1\alpha_0}\;x_0 + \underbrace{\sqrt{\alpha_1(1-\alpha_0)}\;\varepsilon_0
#   + \sqrt{1-\alpha_1}\;\varepsilon_1}_{\text{variance } \alpha_1-\alpha_1\alpha_0 + 1-\alpha_1
#   \;=\; 1-\alpha_1\alpha_0}.$$
#
# The two noises are independent Gaussians, so their sum is a Gaussian whose variance is the sum of the
# variances, and $\alpha_1$ drops out. Two steps look exactly like one step that keeps
# $\alpha_0\alpha_1$. So do a hundred. All that matters at $t$ is the product of what the steps up to $t$
# have kept:
#
# $$\bar\alpha_t = \alpha_0\,\alpha_1 \cdots \alpha_t .$$
#
# (The DDIM paper of the next chapter writes $\alpha_t$ for this product. Many a bug comes from there.)
#
# ### Your turn: what is left


# %% tags=["exercise"]
def cumulate(betas: torch.Tensor) -> torch.Tensor:
    """alpha_bar (N,) after each step, from the variance that each step adds (N,)."""
    # SOLUTION
    return torch.cumprod(1 - betas, dim=0)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# First turn what each step adds into what it keeps. Then think of a chain of three steps: what is left
# after the third?

# %% [markdown] lang="en" tags=["hint"]
# The result has as many numbers as there are steps. Number $t$ is the product of the first $t + 1$
# shares. PyTorch has a running product.

# %% [markdown] lang="en" tags=["hint"]
# `1 - betas` are the shares, and `torch.cumprod(..., dim=0)` is the running product.

# %% [markdown] lang="en"
# *Difficulty: easy, 3 minutes.*

# %%
table = check.cumulate(cumulate)
table

# %% [markdown] lang="en"
# Here is your table for DDPM's betas. Before you read it: a step takes at most two hundredths of the
# power. What can a thousand of them do?

# %%
betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
kept = table.function(betas)
for t in (0, 99, 499, 999):
    print(f"t = {t:3d}: the step adds {betas[t]:.4f}, alpha_bar is {kept[t]:.2e}")
print(f"({table.whose})")

# %% [markdown] lang="en"
# Small steps multiply. At the end less than a ten-thousandth of the picture's power is left. It is
# small, and it is not zero: remember both.
#
# ### Your turn: one stroke
#
# With $\bar\alpha_t$ you reach any $t$ in one stroke. Draw one noise $\varepsilon \sim
# \mathcal{N}(0, I)$ for the whole picture, and mix:
#
# $$x_t = \sqrt{\bar\alpha_t}\;x_0 + \sqrt{1-\bar\alpha_t}\;\varepsilon .$$
#
# The noise is given, so that everybody gets the same $x_t$. The result is not clipped: a noisy picture
# may leave the range from $-1$ to $1$.


# %% tags=["exercise"]
def add_noise(x0: torch.Tensor, eps: torch.Tensor, alpha_bar: float) -> torch.Tensor:
    """The noisy picture x_t (B, ...); alpha_bar is a number between 0 and 1."""
    # SOLUTION
    return alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * eps
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# There are two factors, one for the picture and one for the noise. The *squares* of the two add up
# to 1.

# %% [markdown] lang="en" tags=["hint"]
# `alpha_bar` may be a Python number or a tensor without dimensions. A power of one half is a square
# root that works for both.

# %% [markdown] lang="en" tags=["hint"]
# Add `alpha_bar**0.5 * x0` and `(1 - alpha_bar) ** 0.5 * eps`. Do not draw noise yourself.

# %% [markdown] lang="en"
# *Difficulty: easy, 4 minutes.*

# %%
added = check.add_noise(add_noise)
added

# %% [markdown] lang="en"
# ### Is it the same?
#
# We try both on a single pixel that begins at 0.8. Ten thousand chains go step by step through all
# thousand steps. Beside them your function makes ten thousand draws at some $t$ in one stroke each, with
# your table.

# %%
dice = torch.Generator().manual_seed(1)
start, at = torch.full((10_000,), 0.8, dtype=torch.float64), range(0, 1000, 37)
draw = lambda: torch.randn(len(start), generator=dice, dtype=torch.float64)
x, chains, strokes = start, [], []
for t, beta in enumerate(betas):
    x = (1 - beta).sqrt() * x + beta.sqrt() * draw()
    if t in at:
        chains.append(x)
        strokes.append(added.function(start, draw(), float(kept[t])))
chains, strokes = torch.stack(chains), torch.stack(strokes)

# %% [markdown] lang="en"
# Each line is a mean over draws, and the band around it reaches one standard deviation to either side.

# %%
band = lambda x: (x.mean(1), x.mean(1) - x.std(1), x.mean(1) + x.std(1))
plots.curves(
    at,
    {
        "step by step": band(chains),
        "in one stroke": band(strokes),
        "a single chain": chains[:, 0],
    },
    "Mean and spread of a pixel over t, both ways: the bands lie on each other; one chain wanders.",
    xlabel="t",
    ylabel="value of the pixel",
)

# %% [markdown] lang="en"
# The two bands are one. Two Gaussians with the same mean and the same variance are the same
# distribution, so nothing can tell the two ways apart, from a single $t$. Where they differ is *between*
# two times: along a chain $x_{100}$ and $x_{101}$ share nearly all of their noise, and two strokes share
# none. Training looks at one $t$ at a time, so it takes the stroke: one line of code instead of up to a
# thousand.

# %%
print(f"largest difference of means {(chains.mean(1) - strokes.mean(1)).abs().max():.3f}")
print(f"largest difference of spreads {(chains.std(1) - strokes.std(1)).abs().max():.3f}")
print(f"by chance a difference of means is about {(2 / len(start)) ** 0.5:.3f}")
print(f"({added.whose})")

# %% [markdown] lang="en"
# ### Alpha-bar on a slider
#
# Now pictures. The digits of this chapter are 32 pixels wide, with values from $-1$ (paper) to $1$ (ink).
# Your function destroys two of them, which no network has been trained on. Three schedules stand side
# by side:
#
# - **linear**, DDPM's own;
# - **cosine**, whose $\bar\alpha_t$ falls like a squared cosine [Nichol & Dhariwal 2021];
# - **scaled linear**, where the square roots of the betas lie on a line, from latent diffusion
#   [Rombach et al. 2022], whose code calls it "linear".

# %%
two = framed_digits("test")[0][4:6]
eps = torch.randn(two.shape, generator=dice)
schedules = {
    "linear": noise.linear(),
    "cosine": noise.cosine(),
    "scaled linear": noise.scaled_linear(),
}
moments = [-1, *range(49, 1000, 50)]
noisy = lambda s: torch.stack([added.function(two, eps, float(s.alpha_bar(t))) for t in moments])
destroyed = {name: mosaic(noisy(s).movedim(0, 1), columns=2) for name, s in schedules.items()}
share = lambda t: ", ".join(f"{name} {float(s.alpha_bar(t)):.1e}" for name, s in schedules.items())

# %% [markdown] lang="en"
# The noise is the same in all panels and at all times. What changes is how much of it you see.

# %%
Player(
    {name: to_panel(clip) for name, clip in destroyed.items()},
    captions=[f"t = {t}; alpha_bar: {share(t)}" if t >= 0 else "clean" for t in moments],
    width=200,
    title="Two digits on their way to noise",
    alt="Two digits drown in noise over t; by the linear schedule first, by the cosine last.",
)

# %% [markdown] lang="en"
# Stop at $t = 499$, half-way. The linear schedule has all but finished, while the cosine still shows
# the strokes.
#
# ### When is it gone?
#
# Chapter 0 has a classifier that reads digits, in any hand. It has never seen noise. We show it three
# hundred held-out digits, made noisy by DDPM's linear schedule, at the contrast that you see above.

# %%
readable = Slider(
    "5.readable",
    "Until which t does the classifier still read half of the noisy digits right?",
    0,
    1000,
    10,
)
readable

# %% [markdown] lang="en"
# The next cell destroys, with your function, and reads.

# %% budget_s=10
from course_lib.recipes.digit_diffusion import read

many, labels = (x[:300] for x in framed_digits("test"))
fresh = torch.randn(many.shape, generator=dice)
asked = list(range(0, 525, 25))
with torch.no_grad():
    shown = [added.function(many, fresh, float(schedule.alpha_bar(t))) for t in asked]
    right = [(read(x.clamp(-1, 1)) == labels).float().mean().item() for x in shown]
until = float(np.interp(-0.5, -np.minimum.accumulate(right), asked))
at_half = float(schedule.snr(round(until)).log())
elsewhere = {
    name: int((s.snr(torch.arange(1000)).log() > at_half).sum()) for name, s in schedules.items()
}

# %% [markdown] lang="en"
# The answer draws the share of digits that it reads right, and beside it $\bar\alpha_t$, the share of the
# picture's power that is left.

# %%
readable.reveal(
    until,
    explanation="It is a classifier that never saw noise. Where it reads half, the other schedules "
    f"stand at t = {elsewhere['cosine']} (cosine) and {elsewhere['scaled linear']} (scaled linear).",
    picture=plots.curves(
        asked,
        {"digits read right": right, "alpha_bar": schedule.alpha_bar(torch.tensor(asked))},
        "The share of digits read right falls as alpha_bar falls, over t of the linear schedule.",
        xlabel="t (linear schedule)",
        ylabel="share",
        ylim=(0, 1.02),
        levels={"one half": 0.5, "guessing": 0.1},
    ),
)

# %% [markdown] lang="en"
# ### Signal to noise
#
# The step's number $t$ says little: which $t$ is "half gone" depends on the schedule. What the picture
# itself knows is the ratio of the two powers, the **signal-to-noise ratio** (SNR, 信噪比):
#
# $$\text{SNR}(t) = \frac{\bar\alpha_t}{1-\bar\alpha_t}.$$
#
# (It counts as if clean pixels had power 1.) Two schedules with the same SNR make the same noisy
# picture, whatever the number of the step. So a schedule is nothing but a timetable: when to be at which
# SNR. We draw its logarithm, for it runs over many powers of ten.

# %%
steps = np.arange(0, 1000, 3)
log_snr = {name: s.snr(torch.from_numpy(steps)).log() for name, s in schedules.items()}
plots.curves(
    steps,
    log_snr,
    "Log SNR over t for three schedules: all fall from high to low, the cosine later, then steeply.",
    xlabel="t",
    ylabel="log SNR",
    ylim=(-12, 10),
    levels={"as much noise as signal": 0.0},
)

# %% [markdown] lang="en"
# When is half of the power noise?

# %%
for name, s in schedules.items():
    print(f"{name:>13}: at t = {int((s.snr(torch.arange(1000)) > 1).sum())}")

# %% [markdown] lang="en"
# The linear schedule spends most of its steps where there is hardly anything left to see. That was the
# complaint from which the cosine came [Nichol & Dhariwal 2021]. Later in this chapter you meet the
# opposite case: a clip of many frames says the same thing so often that it is still readable where
# a single digit is long gone, and there a schedule must be *noisier*.
#
# ### The end of the chain
#
# Why go on to a thousand? Because the second half of the model has to begin somewhere. It will
# begin at a draw from $\mathcal{N}(0, I)$: pure noise, which everybody can make. That is only right if the
# destroyed picture *is* such a draw. How far is $x_{999}$ from one? Given $x_0$ it is a Gaussian, so
# its KL to pure noise is a formula, with $D$ pixels:
#
# $$\text{KL} = \tfrac12\left[\bar\alpha\,\lVert x_0\rVert^2 - D\,\bigl(\bar\alpha +
#   \log(1-\bar\alpha)\bigr)\right].$$
#
# If it is zero, nothing of the picture is left. A second, cruder witness: the mean of all pixels. Digits
# are mostly paper, so their mean is far below zero. The mean of pure noise is zero.

# %%
power = many.square().sum((1, 2, 3)).mean().double()
for name, s in schedules.items():
    end = s.alpha_bar(999)
    kl = 0.5 * (end * power - many[0].numel() * (end + torch.log1p(-end)))
    grey = added.function(many, fresh, float(end)).mean((1, 2, 3))
    print(f"{name:>13}: alpha_bar {end:.2e}, KL {kl:.4f} nats, mean pixel {grey.mean():+.4f}")
print(f"the mean pixel of a picture of pure noise is 0, give or take {1024**-0.5:.3f}")

# %% [markdown] lang="en"
# Two of the chains end so near to pure noise that hardly any test of a single picture could tell. The scaled
# linear one does not. Its $\bar\alpha_{999}$ is a hundred times DDPM's, and what is left shows in the
# coarsest thing there is, the brightness. In training the network always sees that hint. In sampling
# it starts from pure noise, whose hint says "medium grey", whatever is to be drawn. Stable Diffusion
# trained with this schedule; that it draws neither very dark nor very bright pictures has been traced
# to this end [Lin et al. 2023].
#
# The opposite end, $\bar\alpha_{999} = 0$ exactly, has a trap of its own: then $x_{999}$ is the noise, and
# guessing the noise from it teaches nothing. Section 4 comes back to this.

# %% [markdown] lang="en"
# ## 2. One job
#
# The second half of the model has to undo a thousand small steps. It gets a single job, the same at
# every step: *here is a noisy picture, and this is how noisy it is; which noise has been added?* To take
# noise away is called **denoising** (去噪), and a network that does it is a **denoiser**.
#
# For training we need pairs of question and answer, and section 1 makes as many as we like. Take a
# clean $x_0$, draw a step $t$ and a noise $\varepsilon$, mix them to $x_t$. The question is $(x_t, t)$,
# the right answer is the $\varepsilon$ that you have just drawn. The network says
# $\hat\varepsilon = \varepsilon_\theta(x_t, t)$, and pays the squared difference:
#
# $$L_{\text{simple}} = \mathbb{E}_{x_0,\,t,\,\varepsilon}\,
#   \bigl\lVert \varepsilon - \varepsilon_\theta\bigl(\sqrt{\bar\alpha_t}\,x_0
#   + \sqrt{1-\bar\alpha_t}\,\varepsilon,\; t\bigr) \bigr\rVert^2 .$$
#
# That is the whole training of DDPM [Ho, Jain & Abbeel 2020, equation 14]. There is no second player as
# in chapter 2, no code $z$ as in chapter 1, and nothing is ever walked step by step. Why the noise
# and not the picture? Section 4 asks that; for now take it as given.
#
# ### Your turn: the loss
#
# A batch has many examples, and each has its own $t$. Take the mean over examples *and* numbers, as the
# authors' code does: then the loss does not grow with the size of the picture.


# %% tags=["exercise"]
def training_loss(network, x0, eps, t, alphas_cumprod) -> torch.Tensor:
    """L_simple of a batch: x0, eps (B, ...); t (B,) steps; network(x_t, t) guesses eps."""
    # SOLUTION
    alpha_bar = alphas_cumprod[t].reshape(-1, *[1] * (x0.ndim - 1))
    x_t = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
    return (network(x_t, t) - eps).square().mean()
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Three lines: look up each example's $\bar\alpha$, mix, compare. Nothing is drawn here; t and eps are
# given.

# %% [markdown] lang="en" tags=["hint"]
# `alphas_cumprod[t]` has the shape (B,). To be multiplied with x0, it needs an axis of length 1 for each
# further axis of x0. Points are (B, 2), pictures (B, C, H, W), and your function should serve both.

# %% [markdown] lang="en" tags=["hint"]
# `alphas_cumprod[t].reshape(-1, *[1] * (x0.ndim - 1))` fits. Then `network(x_t, t) - eps`, squared,
# `.mean()`.

# %% [markdown] lang="en"
# *Difficulty: medium, 8 minutes.*

# %%
simple = check.training_loss(training_loss)
simple

# %% [markdown] lang="en"
# ### Learn it in a plane
#
# You know the **ring** from chapter 2: eight equal lumps, on which an impatient GAN lost modes. Here it
# has a new task, because for a mixture of Gaussians the *best possible* denoiser is a formula.
# So we can say of a network not only that its loss falls, but how far it is from the end.
#
# The network is small: a noisy point and its noise level go in, two hidden layers follow, a guess of two
# numbers comes out. Your loss trains it now.

# %% budget_s=10
from course_lib.data.toy import ring
from course_lib.recipes import toy_diffusion
from course_lib.recipes.toy_diffusion import learn

plane = toy_diffusion.SCHEDULE
moments = list(learn(ring(), simple.function, updates=2000, every=50))
network = moments[-1].network
print(f"{moments[-1].step} updates; the loss is {moments[-1].loss:.3f} ({simple.whose})")

# %% [markdown] lang="en"
# Is that good? The best network would pay the least possible. How much is that?

# %%
least = Choice(
    "5.least",
    "The best network that there can be guesses the noise. Its mean squared error is...",
    [
        "zero at every t",
        "one half at every t",
        "largest where there is little noise",
        "largest where there is much noise",
    ],
)
least

# %% [markdown] lang="en"
# A denoiser is something that takes $(x_t, t)$ and says what $x_t$ is made of. We make one of your network
# and one of the formula, and ask both about the same forty thousand noisy points.

# %%
from course_lib.methods.diffusion import EPS, denoiser, exact_denoiser

exact = exact_denoiser(ring().denoise, plane)
denoisers = {"exact": exact, "network": denoiser(network, EPS, plane)}
levels = torch.tensor([0, 10, 20, 40, 60, 80, 100, 130, 160, 200, 250, 300, 400, 500, 700, 999])
t = levels.repeat_interleave(2500)
x0 = ring().sample(len(t), generator=dice).float()
eps = torch.randn(x0.shape, generator=dice)
x_t = noise.add_noise(x0, eps, plane.alpha_bar(t))
with torch.no_grad():
    guesses = {name: denoise(x_t, t).eps_hat for name, denoise in denoisers.items()}
by_level = lambda x: x.square().mean(1).view(len(levels), -1).mean(1)
errors = {name: by_level(guess - eps) for name, guess in guesses.items()}

# %% [markdown] lang="en"
# The answer draws the error of both at each level.

# %%
quiet, middle, loud = (errors["exact"][levels == t].item() for t in (0, 200, 999))
kind = 0 if max(quiet, loud) < 0.01 else 1 if abs(quiet - loud) < 0.1 else 2 if quiet > loud else 3
least.reveal(
    least.options[kind],
    explanation=f"The best error is {quiet:.2f} at t = 0, {middle:.2f} at t = 200, {loud:.3f} at the "
    "end.",
    picture=plots.curves(
        levels.numpy(),
        errors,
        "Error of exact denoiser and network over t: near one at first, a second hill, then near zero.",
        xlabel="t",
        ylabel="squared error of the noise",
        ylim=(0, None),
    ),
)

# %% [markdown] lang="en"
# The job has no perfect solution. The same $x_t$ can come from many pairs of $x_0$ and $\varepsilon$. All
# that a denoiser can do is to say the *mean* of the noises that are possible, as in chapter 0, and what it
# pays is their variance. Read the exact curve from right to left:
#
# - *Much noise*: $x_t$ is nearly $\varepsilon$ itself. Copy the question, and you are right.
# - *The hill in the middle*: the noise is as wide as the gaps of the ring. Which lump did the point come
#   from? Each answer gives another $\varepsilon$.
# - *The valley*: the lump is clear, and the noise is wider than the lump. What is off the middle is noise.
# - *Little noise*: now the noise is narrower than the lump, and hides in it. Whether the point lies where
#   it lies by nature or by noise, nobody can tell. The error of $\varepsilon$, which always has variance
#   1, goes to one. It does not matter: so little noise hardly moves a point.
#
# For a single Gaussian of variance $s^2$ this is a formula: the least error is
# $\bar\alpha s^2 / (\bar\alpha s^2 + 1 - \bar\alpha)$.
#
# ### What is left to learn
#
# So do not ask whether a diffusion loss is near zero; ask how far it is above its floor. There is an exact
# answer. The error of *any* guess is the floor plus its squared distance from the exact guess, because
# what is left over, $\varepsilon - \mathbb{E}[\varepsilon \mid x_t]$, has nothing to do with $x_t$.

# %%
distance = by_level(guesses["network"] - guesses["exact"])
print(f"mean over these levels: network {errors['network'].mean():.4f}")
print(f"floor {errors['exact'].mean():.4f} + distance {distance.mean():.4f}", end=" ")
print(f"= {errors['exact'].mean() + distance.mean():.4f}")
print(f"worst at t = {levels[distance.argmax()]}, distance {distance.max():.3f}")

# %% [markdown] lang="en"
# (The two sides differ a little, because we have drawn a finite number of points.) Below, the loss in
# training beside the floor. For it the levels are drawn as in training, all $t$ alike.

# %%
t = torch.randint(1000, (20_000,), generator=dice)
x0 = ring().sample(len(t), generator=dice).float()
eps = torch.randn(x0.shape, generator=dice)
x_t = noise.add_noise(x0, eps, plane.alpha_bar(t))
floor = (exact(x_t, t).eps_hat - eps).square().mean().item()
plots.curves(
    [moment.step for moment in moments],
    {"loss, mean of 50 updates": [moment.loss for moment in moments]},
    "The training loss falls fast at first, then slowly, towards a floor far above zero.",
    xlabel="update",
    ylabel="L_simple",
    levels={"the least possible": floor},
    ylim=(0, None),
)

# %% [markdown] lang="en"
# If you had only the curve, and no floor, you would call it flat after a third of the training, and would
# not know whether that is good. What the network learns late is small beside a floor that never moves.
# This is why people who train diffusion models look at samples, and hardly at the loss.
#
# ### A field of arrows
#
# What has it learned? At every place of the plane we draw the guess with its sign turned: the way back.
# Grey is where $x_t$ can be found at that level.

# %% budget_s=8
from course_lib.recipes.toy_diffusion import field

field(
    denoisers,
    ring(),
    [20, 100, 999],
    "Arrows against the guessed noise at three levels: to the lumps, to the ring, to the centre.",
)

# %% [markdown] lang="en"
# With little noise the arrows point at the nearest lump, with more at the ring, at the end at the
# centre, which is the mean of all data. It is one network, and the level tells it how far to look.
#
# Compare the rows. Where there is grey, they agree. In the middle of the ring, at the first level, the
# network's arrows are too short, and some point to the wrong lump. Nobody ever asked it there: with so
# little noise no point lies there.
#
# ### Samples
#
# Begin with pure noise and follow the arrows, step by step from $t = 999$ to 0. Section 5 derives the
# rule; here we use it. Both denoisers begin at the same points and get the same dice.

# %% budget_s=8
from course_lib.methods.diffusion import ddpm_steps

x_T = torch.randn(400, 2, generator=dice)
dice_again = lambda: torch.Generator().manual_seed(3)
with torch.no_grad():
    walks = {
        name: list(ddpm_steps(denoise, plane, x_T, generator=dice_again()))
        for name, denoise in denoisers.items()
    }

# %% [markdown] lang="en"
# Black: the walkers. Grey: real points. The film shows more and more of the steps towards the end, where
# more happens; the captions count.

# %%
from course_lib.recipes.toy_diffusion import dots

real = ring().sample(300, generator=dice)
seen = [999, 800, 600, 500, 400, 350, *range(300, 0, -20), 0]
film = lambda walk: np.stack([dots(walk[999 - t].x_prev, real) for t in seen])
Player(
    {name: film(walk) for name, walk in walks.items()},
    captions=[f"after the step at t = {t}" for t in seen],
    width=240,
    fps=5,
    title="From noise to the ring",
    alt="Four hundred points begin as one cloud and gather, late, into eight lumps on a ring.",
)

# %% [markdown] lang="en"
# Nothing seems to happen for half of the walk, then the cloud becomes a ring, then the ring breaks into
# lumps. It is the hill of the curve above: *which lump* is decided in a short stretch of time.
#
# All eight lumps are there. No player had to be patient. We count as in chapter 2, with the same radius,
# three standard deviations of a lump.

# %%
centres = ring().means.float()
ends = {"real": real} | {name: walk[-1].x_prev for name, walk in walks.items()}
for name, points in ends.items():
    distance, lump = torch.cdist(points.float(), centres).min(1)
    near = distance <= 0.45
    counts = lump[near].bincount(minlength=8)
    width = (points.float() - centres[lump])[near].std()
    share = near.float().mean()
    print(f"{name:>8}: share near a lump {share:.2f}, standard deviation there {width:.3f}")
    print(f"{'':>8}  in each lump {counts.tolist()}")

# %% [markdown] lang="en"
# *What it does not get right.* A few of its points lie between the lumps, where no data are; look for them in
# the last frame. At the levels where the field must change sharply from lump to lump, a small smooth
# network rounds the corners, and a walker who passes there at that moment is led astray. More
# updates or a larger network mend it. The exact denoiser's few strays are those of the data: also
# real points fall outside now and then.

# %% [markdown] lang="en"
# ### The same job on pictures
#
# Nothing above knew that data are points. `digits` is a small transformer that does the same job on
# pictures of 32 by 32 pixels, and is told one thing more, the class. (DDPM used a U-Net of 35.7 million
# parameters, which you find in `models/unet.py`; for two cores it is too slow.) One departure: its answer
# is a mixture of noise and picture, from which $\hat\varepsilon$ follows without any more learning.
# Section 4 shows how, and what that is good for; `digit_denoiser` does it for you.
#
# A held-out digit, more and more noisy, and what the network says. Its $\hat x_0$ is what remains when
# $\hat\varepsilon$ is taken away.

# %%
shown = torch.tensor([50, 200, 350, 500, 700])
held_out, classes = (x[2:3] for x in framed_digits("test"))
x0, label = held_out.expand(len(shown), -1, -1, -1), classes.expand(len(shown))
x_t = noise.add_noise(x0, torch.randn(x0.shape, generator=dice), schedule.alpha_bar(shown))
with torch.no_grad():
    said = digit_denoiser(digits, label)(x_t, shown)
plots.contact_sheet(
    torch.cat([x_t, said.eps_hat / 3, said.x0_hat]),
    "A digit at five noise levels; the guessed noise; the picture that remains, less and less its own.",
    columns=len(shown),
    titles=[f"t = {t}" for t in shown] + ["guessed noise"] * 5 + ["what remains"] * 5,
)

# %% [markdown] lang="en"
# The guessed noise is drawn a third as strong, so that it fits the screen. The stronger the noise, the less the answer is *this* digit, and the more it is what digits of its class
# look like on average. That is chapter 0's mean again, and section 3 takes it apart.
#
# The error of its $\hat\varepsilon$ at each level, on fifty held-out digits:

# %% budget_s=8
levels = torch.tensor([0, 20, 50, 100, 200, 300, 450, 600, 800, 999])
held_out, classes = (x[:50] for x in framed_digits("test"))
paid = []
ask = lambda x_t, t: digit_denoiser(digits, classes)(x_t, t).eps_hat
with torch.no_grad():
    for t in levels.tolist():
        eps, each = torch.randn(held_out.shape, generator=dice), torch.full((50,), t)
        loss = simple.function(ask, held_out, eps, each, schedule.alphas_cumprod.float())
        paid.append(loss.item())

# %% [markdown] lang="en"
# Your `training_loss` has just measured it.

# %%
plots.curves(
    levels.numpy(),
    {"digits": paid},
    "The error of the digits' guessed noise at each level: high with little noise, then ever lower.",
    xlabel="t",
    ylabel="L_simple at this t",
    log=True,
)

# %% [markdown] lang="en"
# The same shape: hard where there is little noise, easy where there is much. Where is its floor? Nobody
# knows. For digits there is no formula, so its loss cannot say how good this network is. Look at what it
# makes, in fifty steps of the next chapter's walk:

# %% budget_s=8
from course_lib.recipes.digit_diffusion import sample

made = sample(digits, torch.arange(10), num_steps=50, generator=dice)
plots.contact_sheet(made, "A drawn digit of each class, 0 to 9.", columns=10)

# %% [markdown] lang="en"
# Asked for: 0 to 9, from left to right. Look at each: is it what was asked for? In the recipe's exam the
# classifier of chapter 0 reads a share of {{digit_diffusion.metrics.read.value:.2f}} of its samples as asked. Of
# real held-out digits it reads {{digit_diffusion.metrics.read_real.value:.2f}}.

# %% [markdown] lang="en"
# ### Break it: alpha for alpha-bar
#
# The DDIM paper's $\alpha_t$ is DDPM's $\bar\alpha_t$. So it is easy to take the wrong table. Your loss
# takes whatever table it is given: we give it the $\alpha_t$ of single steps. Everything else stays.

# %% budget_s=8
wrong = list(learn(ring(), simple.function, table=plane.alphas, updates=1000, every=50))
print(f"the loss falls from {wrong[0].loss:.2f} to {wrong[-1].loss:.2f}")

# %% [markdown] lang="en"
# No error message, and a loss that falls. Here is the field of the wrong network, at two levels.

# %% budget_s=8
broken = denoiser(wrong[-1].network, EPS, plane)
field(
    {"trained with alpha": broken},
    ring(),
    [20, 999],
    "The wrong network's arrows: faint at the first level, and at single lumps still at the last.",
)

# %% [markdown] lang="en"
# Each single step keeps nearly all of the picture. So the network has never seen much noise, at any $t$.
# At $t = 999$ it still believes that the point is almost clean, and points to the next lump instead of
# the centre. Where you need *all* of the noise, it finds little of it.

# %% budget_s=8
with torch.no_grad():
    walk = list(ddpm_steps(broken, plane, x_T, generator=dice_again()))
gone = [(walk[999 - t].x_prev.abs() > 3.2).any(1).float().mean() for t in seen]
Player(
    {"trained with alpha": film(walk), "trained with alpha-bar": film(walks["network"])},
    captions=[
        f"t = {t}; left, out of the picture: {share:.2f}"
        for t, share in zip(seen, gone, strict=True)
    ],
    width=240,
    fps=5,
    title="Alpha for alpha-bar",
    alt="Left, the points fly out of the picture; right, they gather on the ring.",
)

# %% [markdown] lang="en"
# A noise that is not found is not taken away, but every step still divides by
# $\sqrt{\alpha_t} < 1$, to bring the faded picture back to its strength. So nearly all points grow, step
# by step, out of the picture. If you see samples that explode, look at the table first.
#
# ### Break it: off by one
#
# Steps count from 0, papers count from 1. So sooner or later you tell a network $t + 1$ where you mean $t$.

# %%
off = Choice(
    "5.off_by_one",
    "In a walk of a thousand steps the network is told t + 1 instead of t, every time. The samples...",
    ["collapse to a point", "miss most of the lumps", "look as before"],
)
off

# %% [markdown] lang="en"
# We break three walks: this one; a walk of ten long strides in which the network is told the level of the
# stride before; and one in which only the very last step is wrong. It looks up the level it goes *to* as
# `alphas_cumprod[t - 1]`, with $t = 0$.

# %% budget_s=12
from course_lib.methods.ddim import ddim_step, ddim_steps, last, uniform_timesteps

told = lambda shift: denoiser(lambda x, t: network(x, (t + shift).clamp(max=999)), EPS, plane)
ten = uniform_timesteps(1000, 10)
with torch.no_grad():
    ends = {"t + 1, 1000 steps": last(ddpm_steps(told(1), plane, x_T, generator=dice_again()))}
    ends["right, 10 strides"] = last(ddim_steps(told(0), plane, x_T, ten))
    ends["one stride off, 10"] = last(ddim_steps(told(100), plane, x_T, ten))
    *_, final = ddim_steps(told(0), plane, x_T, uniform_timesteps(1000, 50))
wraps = plane.alphas_cumprod[final.t - 1]
ends["table[-1] at the end"] = ddim_step(final.x0_hat, final.eps_hat, wraps, torch.zeros(()))
near = {
    name: (torch.cdist(x.float(), centres).min(1).values <= 0.45).float().mean().item()
    for name, x in ({"as it should be": walks["network"][-1].x_prev} | ends).items()
}

# %% [markdown] lang="en"
# The answer says which share of the points ends near a lump.

# %%
pictures = [torch.from_numpy(dots(x, real)).movedim(-1, 0) / 127.5 - 1 for x in ends.values()]
kept_share = near["t + 1, 1000 steps"] / near["as it should be"]
off.reveal(
    off.options[0 if kept_share < 0.1 else 1 if kept_share < 0.5 else 2],
    explanation="; ".join(f"{name}: {share:.2f}" for name, share in near.items()),
    picture=plots.contact_sheet(
        torch.stack(pictures),
        "Where four walks end: on the ring, on the ring, mostly inside of it, in one blot at the centre.",
        titles=list(ends),
    ),
)

# %% [markdown] lang="en"
# With a thousand steps, neighbours are so alike that one too many is invisible. That is bad news, for
# nothing will ever tell you about this bug. The same slip in a *list* of ten visited steps, the neighbour's
# entry instead of one's own, is a hundred steps wide: told of too much noise, the network points too far
# inwards, and the points end inside the ring.
#
# The last one needs a single wrong step. Python reads index $-1$ as the *last* entry of the table, which
# is pure noise. So the walk, all but finished, goes to a level where nearly nothing of $\hat x_0$ is left.
# That is why in this course $t = -1$ is a level of its own, clean, and `schedule.alpha_bar(-1)` is 1.

# %% [markdown] lang="en"
# ## 3. Why not jump?
#
# The network guesses the noise. Whoever knows the noise knows the picture: $x_t$ is a sum of two parts,
# so take one away and the other is left. Then why do diffusion models walk for hundreds of steps? This
# section jumps, and looks at where it lands.
#
# ### Your turn: the picture behind the guess
#
# Section 1 made $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,\varepsilon$. Put the
# network's guess $\hat\varepsilon$ in the place of $\varepsilon$ and solve for the picture. The answer
# is the **one-shot estimate** (一步估计) $\hat x_0$. Do not clip it: we want to see what it says.


# %% tags=["exercise"]
def predict_x0(x_t: torch.Tensor, eps_hat: torch.Tensor, alpha_bar: float) -> torch.Tensor:
    """The clean picture that a guess of the noise implies; alpha_bar is a number in (0, 1)."""
    # SOLUTION
    return (x_t - (1 - alpha_bar) ** 0.5 * eps_hat) / alpha_bar**0.5
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# One equation, one unknown. Bring the noise to the other side, then divide.

# %% [markdown] lang="en" tags=["hint"]
# The noise in $x_t$ is not $\hat\varepsilon$ but $\sqrt{1 - \bar\alpha_t}\,\hat\varepsilon$, and what
# is left when it is gone is not $x_0$ but $\sqrt{\bar\alpha_t}\,x_0$.

# %% [markdown] lang="en" tags=["hint"]
# Subtract `(1 - alpha_bar) ** 0.5 * eps_hat` from `x_t`, and divide by `alpha_bar ** 0.5`. A power of
# one half serves Python floats and tensors alike.

# %% [markdown] lang="en"
# *Difficulty: easy, 4 minutes.*

# %%
jump = check.predict_x0(predict_x0)
jump

# %% [markdown] lang="en"
# `jump.function` makes every $\hat x_0$ of this section.
#
# ### Where the jump lands
#
# The loss is a squared error. You know from chapter 0 what a squared error asks for: a mean. Here it
# is the mean of all clean pictures that could hide behind this $x_t$, each weighted with its
# probability given $x_t$. This is the **posterior mean** (后验均值) $\mathbb{E}[x_0 \mid x_t]$. A
# perfect network returns it, and no network returns anything better.
#
# At the crossroads we need no network: the possible futures and their probabilities are known, so the
# posterior is a softmax of three numbers. A digit that turns left, goes straight or turns right with
# probabilities .6, .3 and .1 has been seen for three frames. Its nine future frames are replaced by
# pure noise, at the last step of the noisy chain, and the exact denoiser is asked.

# %%
from course_lib.data.crossroads import BASE
from course_lib.methods.diffusion import exact_denoiser
from course_lib.recipes import crossroads_diffusion

held_out, crossing = crossroads_diffusion.world(BASE, "test"), crossroads_diffusion.SCHEDULE
futures = held_out.futures(held_out.digits.labels.tolist().index(4), arrival=4)
exact = exact_denoiser(futures.denoise, crossing)
dice = torch.Generator().manual_seed(5)
x_T = torch.randn(2, *futures.clips.shape[1:], generator=dice)
guess = exact(x_T, torch.tensor([999, 999]))
landed = jump.function(x_T.double(), guess.eps_hat.double(), float(crossing.alpha_bar(999)))

# %% [markdown] lang="en"
# Two noises, two jumps, and below them the conditional mean of chapter 0.

# %%
rows = {"a true future": futures.clips[0], "noise A": x_T[0], "jump from A": landed[0]}
rows |= {"jump from B": landed[1], "chapter 0's\nmean": futures.mean()}
apart = (landed - futures.mean()).square().mean((1, 2, 3, 4))
print(f"squared distance of the two jumps from the mean: {apart[0]:.1e}, {apart[1]:.1e}")
print(f"of a true future from the mean: {futures.mmse().mean():.3f} on average ({jump.whose})")
plots.film_strip(
    rows,
    "A true future, noise, two jumps from different noises, and the conditional mean: equal ghosts.",
    frames=range(0, 9, 2),
    first=4,
)

# %% [markdown] lang="en"
# The jump from pure noise lands on the ghost of chapter 0: every turn at once, each as faint as it is
# unlikely. It lands there from *any* noise. Pure noise says nothing of the future, so the posterior is
# what was known before, and its mean is the conditional mean. The jump is not broken. It is the best
# answer to the wrong question.
#
# Digits do the same. Take a thousand training digits for the whole world: then the exact denoiser is
# a weighted mean of a thousand pictures. Beside it stands the course's network, which is asked without
# a class. (What it was trained to answer is section 4's subject. Its guess of the noise follows.)

# %% budget_s=8
from course_lib.data.toy import GaussianMixture

thousand = framed_digits("train")[0][:1000].flatten(1).double()
world_of_digits = GaussianMixture(
    torch.full((1000,), 0.001).double(), thousand, torch.full((1000,), 1e-3).double()
)
levels = [999, 800, 650, 500, 350, 200]
seven = framed_digits("test")[0][1].expand(len(levels), -1, -1, -1)
alpha_bars = schedule.alpha_bar(torch.tensor(levels))
seen = noise.add_noise(seven, torch.randn(seven.shape, generator=dice), alpha_bars)
flat = zip(seen.flatten(1).double(), alpha_bars.tolist(), strict=True)
exact_x0 = torch.stack([world_of_digits.denoise(x, a) for x, a in flat]).view(seven.shape)
with torch.no_grad():
    no_class = torch.full((len(levels),), 10)
    eps_hat = digit_denoiser(digits, no_class)(seen, torch.tensor(levels)).eps_hat

# %% [markdown] lang="en"
# From left to right the seven is less and less noisy. Your function turns the network's $\hat\varepsilon$
# into its $\hat x_0$.

# %%
pairs = zip(seen, eps_hat, alpha_bars.tolist(), strict=True)
rows = torch.cat([seen, exact_x0, torch.stack([jump.function(*pair) for pair in pairs])])
average = (exact_x0[0].flatten() - thousand.mean(0)).square().mean()
print(f"exact jump from t = 999: squared distance from the average digit {average:.1e}")
plots.contact_sheet(
    rows,
    "A seven at six noise levels; the exact jump, an average digit at first; the network's jump.",
    columns=len(levels),
    titles=[f"t = {t}" for t in levels] + ["exact jump"] * 6 + ["network's jump"] * 6,
)

# %% [markdown] lang="en"
# At $t = 999$ the exact jump is the average of all digits. Then it becomes some blurred digit, then a
# sharp one: a sharp *training* digit, for a thousand pictures are all it knows. The network has never seen
# this seven either. Its jumps go the same way, from something like an average digit to something like
# this seven.

# %% [markdown] lang="en"
# ### When is the turn decided?
#
# So a walk begins at the mean of everything and ends in one future. Somewhere on the way it must have
# decided. We can watch: at each step the posterior says how probable each turn still is.
#
# The scale for "somewhere" is not $t$, for another schedule would put the same noise at another $t$.
# It is the **signal-to-noise ratio** (信噪比) $\mathrm{SNR} = \bar\alpha_t / (1 - \bar\alpha_t)$, or
# its natural logarithm. At log SNR 0 picture and noise have equal weight. At -4.6 the noise has a
# hundred times the power. At -9.2 it has ten thousand times.
#
# We call a walk *decided* from the step on where one turn has probability .9 and never falls below it
# again.

# %%
decided = Slider(
    "5.decided",
    "At which log SNR have half of the walks decided where to turn?",
    -12,
    6,
    0.5,
)
decided

# %% [markdown] lang="en"
# A thousand walks of nine frames of 32 by 32 pixels would take minutes. But three clips span a space of
# three dimensions, and noise in all the other directions of the nine thousand tells nothing about the
# turn. `decisions` walks in these three numbers, with the exact denoiser, and the result is the same.

# %%
from course_lib.recipes.one_shot import decisions

walked = decisions(futures, crossing, num_walks=1000, num_steps=100, generator=dice)
at, log_snr = walked.decided(), walked.log_snr
middle = [n for n, level in enumerate(log_snr.tolist()) if -10 < level < 0]
ends = walked.probs[-1, :40].argmax(-1)
by_turn = {
    f"ends {name}": walked.probs[middle][:, :40][:, ends == turn, turn].T
    for turn, name in enumerate(("left", "straight", "right"))
}
shares = ", ".join(f"{share:.3f}" for share in walked.probs[-1].mean(0))
print(f"ends of the thousand walks: {shares}; known: {futures.probs.tolist()}")

# %% [markdown] lang="en"
# The walks end where they should, in the right shares. The answer draws forty of them: for each the
# probability of the turn in which it will end.

# %%
decided.reveal(
    at.median().item(),
    explanation=f"One walk in twenty has decided before log SNR {at.quantile(0.05):.1f}, "
    f"one in twenty decides after {at.quantile(0.95):.1f}.",
    picture=plots.bundles(
        log_snr[middle].numpy(),
        by_turn,
        "Forty walks: the probability of the turn that each will take rises from its prior to one.",
        xlabel="log SNR (noise on the left, clean on the right)",
        ylabel="P(the turn it will take)",
    ),
)

# %% [markdown] lang="en"
# Every walk begins at what is known beforehand, wavers, and then is sure. Some change their mind on the
# way. How much is open on average? That is the entropy of the posterior, in nats.

# %%
plots.curves(
    log_snr[middle].numpy(),
    {"mean over walks": walked.entropy()[middle]},
    "The entropy of the posterior falls from the entropy of the turn to zero.",
    xlabel="log SNR",
    ylabel="entropy of the turn, nats",
    levels={"before the walk": float(futures.entropy().sum())},
    ylim=(0, 1),
)

# %% [markdown] lang="en"
# Now the surprise. This is $x_t$ at the level where three of four walks have decided, and the exact
# jump from there:

# %%
true, chain_levels = futures.clips[0], crossing.snr(torch.arange(1000)).log()
t_late = int((chain_levels > at.quantile(0.75)).sum())
hidden = noise.add_noise(
    true[None], torch.randn(1, *true.shape, generator=dice), crossing.alpha_bar(t_late)
)
there = exact(hidden, torch.tensor([t_late]))
level = crossing.alpha_bar(t_late).item()
probs = futures.posterior(hidden, level)[0]
print("P(left), P(straight), P(right):", ", ".join(f"{p:.3f}" for p in probs))
strip = {"truth": true, f"x_t, t = {t_late}": hidden[0]}
strip["jump"] = jump.function(hidden, there.eps_hat, level)[0]
alt = "A true future, its noisy version without a visible trace, the jump from there."
plots.film_strip(strip, alt, frames=range(0, 9, 2), first=4)

# %% [markdown] lang="en"
# You see noise. The denoiser knows more, because it adds up small hints from thousands of pixels in
# nine frames that all say the same thing. The important decision of a future falls while there is
# nothing to see. Details (the strokes of the digit, here known from the context) come long after. A
# schedule that hurries past this level gives the walk no time to decide: section 6 pays for it.

# %% [markdown] lang="en"
# ### Jump now, or walk on?
#
# There are two ways from any $x_t$. **Jump**: take $\hat x_0$ and stop. Or **step**: go a little
# towards $\hat x_0$, add a little less noise than there was, and ask again. The next cells do both
# from several levels of one walk, twice with new noise on the way ("dice A" and "dice B"). First
# the digits, with the trained network.

# %% budget_s=15
from course_lib.methods.ddim import trailing_timesteps
from course_lib.recipes.one_shot import branching

label, start = torch.tensor([3]), torch.randn(1, 1, 32, 32, generator=dice)
rule = {"num_dice": 2, "clip": 1.0, "generator": dice}
thirty = trailing_timesteps(1000, 30)
drawn = branching(digit_denoiser(digits, label), schedule, start, thirty, every=5, **rule)
jumped = [jump.function(s.x_t, s.eps_hat, float(schedule.alpha_bar(s.t))) for s in drawn.steps]

# %% [markdown] lang="en"
# Scrub through the walk. Each frame shows $x_t$, the guess of the noise, the jump from here, and where
# two walks end that go on from here.

# %%
faint = lambda x: (2 * x).round() / 4  # noise at half its contrast, in a few greys
stacked = {
    "x_t": torch.cat([faint(step.x_t) for step in drawn.steps]),
    "eps_hat": torch.cat([faint(step.eps_hat) for step in drawn.steps]),
    "jump now": torch.cat(jumped),
    "walk on, dice A": drawn.ends[:, 0, 0],
    "walk on, dice B": drawn.ends[:, 1, 0],
}
titles = [f"t = {s.t}, log SNR {schedule.snr(s.t).log():.1f}" for s in drawn.steps]
alt = "A digit's walk: noisy picture, guessed noise, one-shot estimate, and two ends of the walk."

# %% [markdown] lang="en"
# Noise is drawn at half its contrast, and pictures are cut at black and white. For another digit change
# `label` above and run these cells again.

# %%
Player(
    {name: to_panel(clips) for name, clips in stacked.items()},
    captions=titles,
    width=128,
    fps=2,
    title="Digits: jump now, or walk on",
    alt=alt,
)

# %% [markdown] lang="en"
# The two dice part early and agree late: as long as $x_t$ leaves something open, the same $x_t$ has
# several ends. The jump shows their average, and it is blurred where they can differ. (How many steps it takes is
# a question for chapter 6.)
#
# The same at the crossroads, with the exact denoiser. Move the slider from noise to clean, and press
# play to see the nine frames.

# %% budget_s=8
stops = trailing_timesteps(1000, 24)
fork = branching(exact, crossing, x_T[:1], stops, every=2, num_dice=3, generator=dice)
alpha_bars = [float(crossing.alpha_bar(s.t)) for s in fork.steps]
shown = {
    "x_t": torch.cat([faint(s.x_t) for s in fork.steps]),
    "eps_hat": torch.cat([faint(s.eps_hat) for s in fork.steps]),
    "jump now": torch.cat(
        [jump.function(s.x_t, s.eps_hat, a) for s, a in zip(fork.steps, alpha_bars, strict=True)]
    ),
} | {f"walk on, dice {name}": fork.ends[:, n, 0] for n, name in enumerate("ABC")}

# %% [markdown] lang="en"
# The caption says what the posterior holds of each turn.

# %%
held = [futures.posterior(s.x_t, a)[0] for s, a in zip(fork.steps, alpha_bars, strict=True)]
said = [" / ".join(f"{p:.2f}" for p in probs) for probs in held]
log_levels = [f"{crossing.snr(s.t).log():.1f}" for s in fork.steps]
Player(
    {name: to_panel(clips) for name, clips in shown.items()},
    {"log SNR": log_levels},
    captions=[[f"left / straight / right: {text}"] for text in said],
    width=112,
    fps=4,
    title="Crossroads: jump now, or walk on",
    alt="Nine future frames: noisy, guessed noise, one-shot estimate, and three ends of the walk.",
)

# %% [markdown] lang="en"
# Once more in numbers. $D$ is chapter 1's distance to the nearest true future: 0 is perfect, 1 is an
# empty road, and up to .15 a clip counts as valid.

# %%
from course_lib.evaluation.futures import distances

nearest = lambda clips: distances(clips.float(), futures)[0].min(1).values
walks = fork.ends[:, :, 0].flatten(0, 1)
plots.curves(
    [float(level) for level in log_levels[1:]],
    {
        "jump now": nearest(shown["jump now"])[1:],
        "walk on, mean of three": nearest(walks).view(-1, 3).mean(1)[1:],
    },
    "Distance to the nearest future: the jump's is large until the turn is decided, the walk's zero.",
    xlabel="log SNR",
    ylabel="D to the nearest future",
    levels={"valid up to": 0.15},
)

# %% [markdown] lang="en"
# A walk always ends in a future that can happen. A jump does so once the turn is decided, and not
# before. And yet, if you are paid by squared error, jump: chapter 0 showed that a true sample costs
# twice what the mean costs. Walking is not a better way to the mean. It is the way to a *sample*:
# each step moves towards the mean of what is still possible, and the fresh noise decides, bit by bit,
# what remains possible.

# %% [markdown] lang="en"
# ## 4. Must training fit the previous image?
#
# A walk goes from $x_t$ to $x_{t-1}$. So, one would think, the network has to be trained to output
# $x_{t-1}$. It does not. Look at what is known and what is not: $x_t$ is a mixture of two things, the
# clean picture and the noise. $x_t$ itself is given. So *one* more piece of information about the two
# is enough, and it does not matter which.
#
# Any fixed mixture $a\,x_0 + b\,\varepsilon$ can be the **target** (回归目标) of the network. Four are
# in use:
#
# | target | is | from |
# |---|---|---|
# | `eps` | the noise | [Ho et al. 2020] |
# | `x0` | the clean picture | |
# | `v` | $\sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1 - \bar\alpha_t}\,x_0$ | [Salimans & Ho 2022] |
# | posterior mean | the mean of $x_{t-1}$ given $x_t$ and $x_0$ | [Ho et al. 2020, equation 7] |
#
# The last one is the answer to the question above. Even if the network is trained "to fit the previous
# image", its target is a *mean*, no noisy picture $x_{t-1}$ that was drawn. Drawing it would only
# add noise to the target, which a squared error averages away again.
#
# Draw the four in the plane of $x_0$ and $\varepsilon$. As $t$ grows, $x_t$ turns from the one axis to
# the other.

# %% budget_s=15
from course_lib.methods.diffusion import TARGETS
from course_lib.recipes.one_shot import plane_of_targets

turning = [0, 50, 150, 250, 350, 450, 600, 800, 999]
Player(
    {"four targets": np.stack([plane_of_targets(schedule, t).pixels(480) for t in turning])},
    captions=[f"t = {t}, log SNR {schedule.snr(t).log():.1f}" for t in turning],
    width=480,
    fps=2,
    title="One plane, four directions",
    alt="Arrows in a plane: x_t turns from the picture's axis to the noise's, v stays at right angles.",
)

# %% [markdown] lang="en"
# Two arrows that point in different directions span the plane: from $x_t$ and the other arrow you find
# both axes. Near the noisy end $x_t$ and `eps` are nearly the same arrow; near the clean end $x_t$ and
# `x0` are. There the answer repeats what the network was shown, and says little more. `v` always
# stands at a right angle to $x_t$. The posterior mean hides behind $x_t$ at *every* level: the previous
# image is nearly this image.
#
# ### Your turn: from v to both
#
# With $\cos\phi = \sqrt{\bar\alpha_t}$ and $\sin\phi = \sqrt{1 - \bar\alpha_t}$ we have
# $x_t = \cos\phi\;x_0 + \sin\phi\;\varepsilon$ and $v = \cos\phi\;\varepsilon - \sin\phi\;x_0$. This is
# a rotation by $\phi$. Undo it.


# %% tags=["exercise"]
def from_v(
    x_t: torch.Tensor, v: torch.Tensor, alpha_bar: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The clean picture and the noise, (x0_hat, eps_hat), that a guess of v implies."""
    # SOLUTION
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    return signal * x_t - noise * v, noise * x_t + signal * v
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# A rotation is undone by the rotation back. No division is needed.

# %% [markdown] lang="en" tags=["hint"]
# Multiply the first equation by $\cos\phi$ and the second by $\sin\phi$. In which combination does
# $\varepsilon$ disappear? Remember that $\cos^2\phi + \sin^2\phi = 1$.

# %% [markdown] lang="en" tags=["hint"]
# $x_0 = \cos\phi\;x_t - \sin\phi\;v$ and $\varepsilon = \sin\phi\;x_t + \cos\phi\;v$.

# %% [markdown] lang="en"
# *Difficulty: medium, 7 minutes.*

# %%
rotated = check.from_v(from_v)
rotated

# %% [markdown] lang="en"
# If the four are images of one another, a perfect network for one is a perfect network for all. We take
# the exact denoiser of the crossroads, write its answer as each of the four targets, and go back to the
# picture. For `v` your function goes back.

# %%
level = torch.tensor([600])
seen = noise.add_noise(futures.clips[:1], x_T[:1], crossing.alpha_bar(level)).double()
best = exact(seen, level)
for target in TARGETS:
    answer = target.mix(crossing, best.x0_hat, best.eps_hat, level)
    back = target.separate(crossing, seen, answer, level).x0_hat
    if target.name == "v":
        back = rotated.function(seen, answer, float(crossing.alpha_bar(600)))[0]
    print(f"{target.name:>14}: x0_hat moves by at most {(back - best.x0_hat).abs().max():.0e}")

# %% [markdown] lang="en"
# ### What differs: the price of an error
#
# So is it all the same? For a perfect network it is. A real one makes errors, and training decides
# *where* it makes them. The same wrong $\hat x_0$ is a large error in one target and a small one in
# another. Autograd can tell: hold $x_t$ fixed, move $\hat x_0$ a little, and see how far each target
# moves. The square of that is the **loss weight** (损失权重) which the plain squared error of this
# target puts on the squared error of $\hat x_0$.

# %%
from course_lib.recipes.one_shot import loss_weight

axis = torch.linspace(0, 999, 40).round().long()
weights = {target.name: loss_weight(target, schedule, axis) for target in TARGETS}
plots.curves(
    axis.numpy(),
    weights,
    "Loss weights: eps falls by eight orders of magnitude, x0 is flat, v is flat where noise rules.",
    xlabel="t",
    ylabel="weight on the error of x0_hat",
    log=True,
)

# %% [markdown] lang="en"
# Two of the lines are old friends: SNR for `eps`, and 1 + SNR for `v`. Up to rounding:

# %%
snr = schedule.snr(axis)
for name, formula in {"eps": snr, "v": 1 + snr}.items():
    print(f"{name:>3}: off its formula by at most {(weights[name] / formula - 1).abs().max():.0e}")

# %% [markdown] lang="en"
# So the measured weights are these:
#
# | target | `eps` | `x0` | `v` | posterior mean |
# |---|---|---|---|---|
# | weight | SNR | 1 | 1 + SNR | $\bar\alpha_{t-1}\,\beta_t^2 / (1 - \bar\alpha_t)^2$ |
#
# A network that guesses noise is paid for the clean end. At the noisy end it may say nearly anything
# about the picture and pay nothing. `v` is `eps` and `x0` together: paid everywhere. And the posterior
# mean is a disaster: after a few steps its loss hardly notices the picture at all.
#
# "Guessing noise is easier" is therefore a sentence about weights. Is it true of pictures? We trained
# four networks that are alike: same architecture, same first weights, same digits and noises in the same
# order, {{digit_diffusion_eps.step:,}} updates each. They differ in their target alone. Each was then asked
# for $\hat x_0$ of held-out digits at twenty levels.

# %%
easier = Choice(
    "5.easier",
    "Where is the picture behind the guessed noise better than the picture guessed directly?",
    ["nowhere", "at the noisy end only", "at the clean end only", "at both ends"],
)
easier

# %% [markdown] lang="en"
# The clean end are the quarter of the twenty levels with the least noise, the noisy end the quarter with
# the most.

# %%
import json

from course_lib.recipes.digit_diffusion import MEMBERS

levels = [round(999 * k / 19) for k in range(20)]
table = {
    target.name: json.loads(recipe.results.read_text(encoding="utf-8"))["metrics"]
    for target, recipe in MEMBERS.items()
}
error = lambda name, end="value": np.array([table[name][f"x0_error_{t}"][end] for t in levels])
ahead = error("eps") < error("x0")
clean, noisy = ahead[:5].mean() > 0.5, ahead[-5:].mean() > 0.5

# %% [markdown] lang="en"
# The answer draws all four, with intervals over the digits. Mind the logarithmic axis.

# %%
picture = plots.curves(
    levels,
    {name: tuple(error(name, end) for end in ("value", "low", "high")) for name in table},
    "Squared error of x0_hat at twenty levels for four networks that guess different targets.",
    xlabel="t",
    ylabel="squared error of x0_hat",
    log=True,
)
easier.reveal(
    easier.options[2 * int(clean) + int(noisy)],
    explanation="One training each, of a few minutes.",
    picture=picture,
)

# %% [markdown] lang="en"
# Level by level, with the ratio of the two errors. It is marked only where the two intervals do not
# overlap.

# %%
for n in range(0, 20, 2):
    a, b = (table[name][f"x0_error_{levels[n]}"] for name in ("eps", "x0"))
    mark = (
        "eps is better" if a["high"] < b["low"] else "x0 is better" if b["high"] < a["low"] else ""
    )
    log_snr_here = schedule.snr(levels[n]).log().item()
    ratio = a["value"] / b["value"]
    print(f"t = {levels[n]:3d}, log SNR {log_snr_here:6.1f}: eps / x0 = {ratio:10.3g}  {mark}")

# %% [markdown] lang="en"
# Each network is good where it was paid to be. "Guessing noise is easier" holds where there is little
# noise, and turns round where there is much.
#
# ### Why the eps network cannot jump from noise
#
# Solve for the picture again: $\hat x_0 = (x_t - \sqrt{1-\bar\alpha_t}\,\hat\varepsilon) /
# \sqrt{\bar\alpha_t}$. An error of $\hat\varepsilon$ is divided by $\sqrt{\bar\alpha_t}$ and multiplied by
# $\sqrt{1-\bar\alpha_t}$; its square is multiplied by $(1 - \bar\alpha_t)/\bar\alpha_t$, which is one
# over the SNR. The eps network has been measured at all levels: here is its error of $\hat\varepsilon$,
# the factor, and what becomes of it.

# %%
twenty, labels = (x[:20] for x in framed_digits("test"))
eps_error = {}
for t in (999, 946, 841, 631, 315):
    measured = table["eps"][f"x0_error_{t}"]["value"]
    factor = 1 / schedule.snr(t).item()
    eps_error[t] = measured / factor
    print(f"t = {t}: error of eps {eps_error[t]:.5f} x {factor:9,.1f} = {measured:8.3f} of x0_hat")
average = framed_digits("train")[0].mean(0)
print(f"the average digit, for comparison: {(average - twenty).square().mean():.3f}")

# %% [markdown] lang="en"
# At $t = 999$ the noise is guessed all but perfectly, and it does not help: the error is multiplied
# 24,777 times. The average digit, which has not even looked, is a better answer.
#
# What does such an error look like? Take the course's main network, which answers `v`, and spoil its guess of
# the noise with random errors, as large as the eps network's. (The real errors are not random from pixel
# to pixel; their size is.) Nothing is clipped: every tile has its own scale, written above it.

# %%
tiles, titles = [], []
for t, size in eps_error.items():
    x_t = noise.add_noise(
        twenty[1:2], torch.randn(1, 1, 32, 32, generator=dice), schedule.alpha_bar(t)
    )
    with torch.no_grad():
        eps_hat = digit_denoiser(digits, labels[1:2])(x_t, torch.tensor([t])).eps_hat
    for slip in (0.0, size**0.5):
        spoilt = eps_hat + slip * torch.randn(eps_hat.shape, generator=dice)
        tiles.append(jump.function(x_t, spoilt, float(schedule.alpha_bar(t)))[0])
        titles.append(f"t = {t}{', spoilt' * bool(slip)}: ±{tiles[-1].abs().max():.1f}")

# %% [markdown] lang="en"
# Above as the network says it, below with the errors. (It was told the class: from pure noise it jumps to an
# average seven.)

# %%
order = [*range(0, 10, 2), *range(1, 10, 2)]
plots.contact_sheet(
    torch.stack([tiles[k] / tiles[k].abs().max().clamp_min(1) for k in order]),
    "One-shot estimates from five noise levels, and the same with small errors in the guessed noise.",
    columns=5,
    titles=[titles[k].replace(", spoilt", "") for k in order],
)

# %% [markdown] lang="en"
# At the noisy end the amplified error hides whatever the network may know. It is no fault of diffusion:
# a network for `x0` or `v` does not divide. The model of section 6 guesses the clean future. Ask it to jump
# from pure noise, and compare with the exact conditional mean.

# %% budget_s=8
from course_lib.recipes.crossroads_diffusion import DIFFUSION

guesser = DIFFUSION.load()
with torch.no_grad():
    seen_frames = futures.context[None].expand(2, -1, -1, -1, -1)
    blurred = guesser(x_T, torch.tensor([999, 999]), seen_frames)
off = (blurred[0] - futures.mean()).square().mean() / futures.mmse().mean()
print(f"distance from the exact mean, over that of a true future: {off:.3f}")
plots.film_strip(
    {"network's jump": blurred[0], "exact mean": futures.mean()},
    "The jump of a network that guesses the clean future, and the exact mean: nearly the same ghosts.",
    frames=range(0, 9, 2),
    first=4,
)

# %% [markdown] lang="en"
# So one kind of network can jump to the mean and the other cannot. For *walking* this matters less. The
# first steps use $\hat x_0$ with a tiny weight: an error that was multiplied by 157 in the guess (the root of
# 24,777) is nearly divided by it again when the guess is added to $x_{t-1}$.
#
# ### And the samples?
#
# Five samples of each of the four short trainings, of the odd classes, and three measures over all
# samples: how many are **read** as the class that was asked for, how many held-out digits have a sample
# among their neighbours (**coverage**, 覆盖率), and the **Fréchet distance** (弗雷歇距离) between
# features of samples and of digits, in the classifier's feature space. Lower is better there.

# %%
from PIL import Image

from course_lib import paths
from course_lib.recipes.film import read_film

sheets = {
    target.name.replace(" ", "\n"): read_film(
        Image.open(paths.SHEETS / f"{recipe.name}.webp"), num_frames=10
    )
    for target, recipe in MEMBERS.items()
}
alt = "Five samples each of networks that guess noise, picture, v and posterior mean."
rows = {name: sheet[:, 0] for name, sheet in sheets.items()}
plots.film_strip(rows, alt, frames=range(1, 10, 2))

# %% [markdown] lang="en"
# | target | read as asked | coverage | Fréchet distance |
# |---|---|---|---|
# | `eps` | {{digit_diffusion_eps.metrics.read.value:.3f}} ({{digit_diffusion_eps.metrics.read.low:.3f}} to {{digit_diffusion_eps.metrics.read.high:.3f}}) | {{digit_diffusion_eps.metrics.coverage.value:.2f}} | {{digit_diffusion_eps.metrics.frechet.value:.1f}} ({{digit_diffusion_eps.metrics.frechet.low:.1f}} to {{digit_diffusion_eps.metrics.frechet.high:.1f}}) |
# | `x0` | {{digit_diffusion_x0.metrics.read.value:.3f}} ({{digit_diffusion_x0.metrics.read.low:.3f}} to {{digit_diffusion_x0.metrics.read.high:.3f}}) | {{digit_diffusion_x0.metrics.coverage.value:.2f}} | {{digit_diffusion_x0.metrics.frechet.value:.1f}} ({{digit_diffusion_x0.metrics.frechet.low:.1f}} to {{digit_diffusion_x0.metrics.frechet.high:.1f}}) |
# | `v` | {{digit_diffusion_v.metrics.read.value:.3f}} ({{digit_diffusion_v.metrics.read.low:.3f}} to {{digit_diffusion_v.metrics.read.high:.3f}}) | {{digit_diffusion_v.metrics.coverage.value:.2f}} | {{digit_diffusion_v.metrics.frechet.value:.1f}} ({{digit_diffusion_v.metrics.frechet.low:.1f}} to {{digit_diffusion_v.metrics.frechet.high:.1f}}) |
# | posterior mean | {{digit_diffusion_mean.metrics.read.value:.3f}} ({{digit_diffusion_mean.metrics.read.low:.3f}} to {{digit_diffusion_mean.metrics.read.high:.3f}}) | {{digit_diffusion_mean.metrics.coverage.value:.2f}} | {{digit_diffusion_mean.metrics.frechet.value:.1f}} ({{digit_diffusion_mean.metrics.frechet.low:.1f}} to {{digit_diffusion_mean.metrics.frechet.high:.1f}}) |
#
# (Intervals are for other samples, not for other trainings. Walks of fifty steps, $\hat x_0$ held
# within black and white.)
#
# These are trainings of minutes, stopped long before any of them is good, and that is where the weights
# show most. `x0` is ahead, `v` is second. The network that guesses noise has spent its time on the clean
# end, and its digits are fragments. The main network of this chapter answers `v`; a longer training with
# `eps`, not shown here, was given up, because its digits stayed torn.
#
# ### Claim panel
#
# | claim | measured here | label |
# |---|---|---|
# | Guessing the noise gives the best samples: FID 3.17, against 13.22 for the posterior mean with the bound's weights; its unweighted squared error trains unstably [Ho et al. 2020, table 2] | Fréchet distance with plain squared errors: `eps` {{digit_diffusion_eps.metrics.frechet.value:.1f}}, posterior mean {{digit_diffusion_mean.metrics.frechet.value:.1f}}; `x0` {{digit_diffusion_x0.metrics.frechet.value:.1f}}, `v` {{digit_diffusion_v.metrics.frechet.value:.1f}} | not at this scale: `eps` is far behind `x0` and `v` in trainings as short as ours; the posterior mean is the worst of all, as in the paper |
# | Guessing noise is the easier task (a common belief) | error of $\hat x_0$, `eps` over `x0`, level by level above | holds at the clean end alone |
# | A network that guesses noise cannot jump from $t = 999$ (ours) | `eps` {{digit_diffusion_eps.metrics.x0_error_999.value:.1f}}, `x0` {{digit_diffusion_x0.metrics.x0_error_999.value:.3f}}, `v` {{digit_diffusion_v.metrics.x0_error_999.value:.3f}} | exact for the factor, measured for the rest |
#
# So the answer to the section's question is no, twice. One need not fit the previous image, for every
# target holds the same information. And one should not, for its plain squared error looks away from the
# picture.

# %% [markdown] lang="en"
# ## 5. The small print of a step
#
# You have the guess $\hat x_0$ and you do not jump. How exactly do you step? Were $x_0$ known, Bayes'
# rule would say what $x_{t-1}$ can be: a Gaussian, with a mean between $x_0$ and $x_t$
# [Ho et al. 2020, equation 7],
#
# $$\tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1 - \bar\alpha_t}\,x_0
#   + \frac{\sqrt{\alpha_t}\,(1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\,x_t,$$
#
# and the variance $\tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\,\beta_t$. DDPM puts
# $\hat x_0$ in the place of $x_0$, and adds fresh noise. Of which variance? The paper tries two:
# $\tilde\beta_t$, and the larger $\beta_t$ itself.
#
# ### Your turn: one step of DDPM
#
# Write it with $\beta_t$. Our steps count from 0: `betas[t]` belongs to step $t$, and before step 0 the
# picture is clean, so $\bar\alpha_{-1} = 1$. The last step, $t = 0$, adds no noise.


# %% tags=["exercise"]
def ddpm_step(
    x_t: torch.Tensor, x0_hat: torch.Tensor, noise: torch.Tensor, betas: torch.Tensor, t: int
) -> torch.Tensor:
    """x_{t-1}: the posterior mean, and beyond t = 0 noise of variance betas[t]."""
    # SOLUTION
    alphas_cumprod = (1 - betas).cumprod(0)
    alpha_bar, beta = alphas_cumprod[t], betas[t]
    before = alphas_cumprod[t - 1] if t > 0 else torch.ones_like(alpha_bar)
    mean = (before.sqrt() * beta * x0_hat + (1 - beta).sqrt() * (1 - before) * x_t) / (
        1 - alpha_bar
    )
    return mean + beta.sqrt() * noise if t > 0 else mean
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# You need three numbers: $\beta_t$, $\bar\alpha_t$ and $\bar\alpha_{t-1}$. All come from `betas`. Which
# of them is `alphas_cumprod[-1]` in Python when $t = 0$?

# %% [markdown] lang="en" tags=["hint"]
# `(1 - betas).cumprod(0)` is the table of $\bar\alpha$. At $t = 0$ use 1 for the one before. Then the
# formula gives $\hat x_0$ itself: check it by hand.

# %% [markdown] lang="en" tags=["hint"]
# The mean is `(before.sqrt() * beta * x0_hat + (1 - beta).sqrt() * (1 - before) * x_t) / (1 -
# alpha_bar)`. Add `beta.sqrt() * noise` if `t > 0`: a standard deviation is the root of a variance.

# %% [markdown] lang="en"
# *Difficulty: medium, 12 minutes.*

# %%
stepped = check.ddpm_step(ddpm_step)
stepped

# %% [markdown] lang="en"
# `stepped.function` walks the ring further down.
#
# ### beta or beta-tilde
#
# Neither variance is *the* right one. $\tilde\beta_t$ is right if $x_0$ is known for certain. But
# $\hat x_0$ is a mean of many possible pictures, and what is open about $x_0$ makes $x_{t-1}$ vary more.
# So there are two extremes. Data that are a single point: nothing is open, $\tilde\beta_t$ is exact. Data
# that are as wide as the noise, $x_0 \sim \mathcal{N}(0, 1)$: there $\beta_t$ is exact. All other data
# of that scale lie between [Ho et al. 2020, section 3.2].
#
# Take the linear schedule, but visit every hundredth step only: ten long steps. The exact denoiser walks
# twenty thousand numbers from $\mathcal{N}(0, 1)$ back to data that are $\mathcal{N}(0, 1)$.

# %%
variance = Choice(
    "5.variance",
    "Ten steps, data N(0, 1), each step adds the smaller variance, beta-tilde. Near the end the walk is",
    ["as wide as it should be", "too narrow", "too wide"],
)
variance

# %% [markdown] lang="en"
# The next cell lets both kinds of data walk with both variances. A point is drawn as a Gaussian that is a
# millionth wide.

# %% budget_s=8
from course_lib.recipes.one_shot import variance_ratio

ten = noise.NoiseSchedule(schedule.alphas_cumprod[99::100])
one, zero = torch.ones(1).double(), torch.zeros(1, 1).double()
kinds = {
    "N(0, 1)": GaussianMixture(one, zero, one),
    "a point": GaussianMixture(one, zero, one / 1e6),
}
ratios = {
    f"data {kind}, {name}": variance_ratio(data, ten, small_variance=small, generator=dice)
    for kind, data in kinds.items()
    for name, small in (("beta", False), ("beta-tilde", True))
}
last_ratio = ratios["data N(0, 1), beta-tilde"][0].item()
judged = 1 if last_ratio < 0.95 else 2 if last_ratio > 1.05 else 0

# %% [markdown] lang="en"
# The answer draws the walks' variance over the variance that $x_t$ has when real data are noised. One is
# right. The walk goes from the right to the left.

# %%
variance.reveal(
    variance.options[judged],
    explanation=f"With beta-tilde the variance ends at {last_ratio:.2f} of the right one.",
    picture=plots.curves(
        range(10),
        ratios,
        "Variance over the right one at ten steps: beta is right for N(0, 1), beta-tilde for a point.",
        xlabel="t of ten",
        ylabel="variance / right variance",
    ),
)

# %% [markdown] lang="en"
# Two lines stay at one, each variance for its own extreme. The other two drift away, and it is the long
# steps that make it visible. For real data the truth lies between: on the ring of chapter 2, whose lumps
# have a width of .15, your step adds $\beta_t$ and the library's adds $\tilde\beta_t$, in chains of
# ten to a thousand steps.

# %% budget_s=20
from course_lib.data.toy import ring
from course_lib.methods.ddim import last
from course_lib.methods.diffusion import ddpm_steps
from course_lib.recipes.one_shot import chain

begin, ends = torch.randn(800, 2, generator=dice).double(), {}
for count in (10, 20, 100, 1000):
    short = noise.NoiseSchedule(schedule.alphas_cumprod[1000 // count - 1 :: 1000 // count])
    on_ring = exact_denoiser(ring().denoise, short)
    *_, (_, wide) = chain(stepped.function, on_ring, short, begin, generator=dice)
    narrow = last(ddpm_steps(on_ring, short, begin, small_variance=True, generator=dice))
    ends[count] = {"beta (your step)": wide, "beta-tilde": narrow}

# %% [markdown] lang="en"
# How wide are the lumps? Each point counts for the lump that is nearest.

# %%
centres = ring().means
width = lambda x: (x - centres[torch.cdist(x, centres).argmin(1)]).std().item()
for count, walks in ends.items():
    widths = ", ".join(f"{name} {width(points):.3f}" for name, points in walks.items())
    print(f"{count:4d} steps: {widths}")
print(f"true points: {width(ring().sample(20_000, generator=dice)):.3f} ({stepped.whose})")

# %% [markdown] lang="en"
# And this is what twenty steps make of the ring:

# %%
panels = {name: points[:300] for name, points in ends[20].items()}
panels["data"] = ring().sample(300, generator=dice)
plots.scatter(
    panels,
    torch.zeros(300, dtype=torch.long),
    "Three rings of points: lumps a bit too wide with beta, too narrow with beta-tilde, and the data.",
    xlabel="",
    ylabel="",
)

# %% [markdown] lang="en"
# With ten steps the steps themselves are too coarse, and both chains are too wide. With twenty or a hundred,
# beta makes the lumps a little wide and beta-tilde makes them narrow. With a thousand no eye sees a
# difference. DDPM reports similar results for both [Ho et al. 2020, section 3.2]: it walked a thousand steps.
# Chapter 6 takes few, and there the choice comes back as the question how much noise a step should add.

# %% [markdown] lang="en"
# ### The loss against the bound
#
# Section 2's loss weighs all steps alike, and is called $L_{\text{simple}}$. It is not what theory
# asks for. Like chapter 1's VAE, a diffusion model has a **variational bound** (变分下界) on the log
# likelihood, and there the squared error of $\varepsilon$ at step $t$ has the weight
# $\beta_t / (2\,\alpha_t\,(1 - \bar\alpha_t))$ [Ho et al. 2020, equation 12, with variance beta]. The
# table counts steps from 1, as the paper does.

# %%
from course_lib.methods.diffusion import bound_weights

bound = bound_weights(schedule)
for t in (1, 10, 100, 500, 1000):
    print(
        f"t = {t:4d}: weight in the bound {bound[t - 1]:.4f}, {bound[t - 1] / bound[499]:5.1f} x t = 500"
    )
plots.curves(
    range(1, 1001),
    {"bound": (bound / bound.mean()).numpy(), "L_simple": np.ones(1000)},
    "The bound's weights are large in the first steps and lowest in the middle; L_simple's are equal.",
    xlabel="t, counted from 1",
    ylabel="weight / mean weight",
    log=True,
)

# %% [markdown] lang="en"
# Relative to the bound, $L_{\text{simple}}$ plays down the first steps, where almost no noise is left.
# There the network would have to predict the last grain of every pixel. That counts for likelihood and
# not for the eye. DDPM measured both: trained with the bound 3.70 bits per number and FID 13.51, with
# $L_{\text{simple}}$ at most 3.75 bits and FID 3.17 [Ho et al. 2020, tables 1 and 2]. A little worse as a
# likelihood, much better as a picture.

# %% [markdown] lang="en"
# ### What clipping does
#
# A pixel lies between -1 and 1, and $\hat x_0$ does not know it. DDPM's code holds every $\hat x_0$ within
# these limits before it steps. We walk ten digits in ten steps, with and without, from the same noise.

# %% budget_s=12
from course_lib.methods.ddim import ddim_steps

ten_steps, ten_classes = trailing_timesteps(1000, 10), torch.arange(10)
begin, finished = torch.randn(10, 1, 32, 32, generator=dice), {}
for name, limit in (("clipped", 1.0), ("free", None)):
    route = {"eta": 1.0, "clip": limit, "generator": torch.Generator().manual_seed(6)}
    with torch.no_grad():
        guesses = digit_denoiser(digits, ten_classes)
        steps = list(ddim_steps(guesses, schedule, begin, ten_steps, **route))
    finished[name] = steps[-1].x_prev
largest = ", ".join(f"{step.x0_hat.abs().max():.1f}" for step in steps)
print(f"largest |x0_hat| in the free walk, step by step: {largest}")
plots.film_strip(finished, "Ten digits from ten steps, with x0_hat clipped and left free.")

# %% [markdown] lang="en"
# The guesses of the free walk leave the limits, by how much the line above says. The digits tell whether it
# matters. Measured on {{digit_clipping.config.num_samples}} samples, with intervals where they are shares:
#
# | steps | $\hat x_0$ | read as asked | Fréchet distance | share of $\hat x_0$ at or beyond the limits |
# |---|---|---|---|---|
# | 10 | free | {{digit_clipping.metrics.read_10_free.value:.3f}} ({{digit_clipping.metrics.read_10_free.low:.3f}} to {{digit_clipping.metrics.read_10_free.high:.3f}}) | {{digit_clipping.metrics.frechet_10_free.value:.1f}} | {{digit_clipping.metrics.outside_10_free.value:.2f}} |
# | 10 | clipped | {{digit_clipping.metrics.read_10_clipped.value:.3f}} ({{digit_clipping.metrics.read_10_clipped.low:.3f}} to {{digit_clipping.metrics.read_10_clipped.high:.3f}}) | {{digit_clipping.metrics.frechet_10_clipped.value:.1f}} | {{digit_clipping.metrics.outside_10_clipped.value:.2f}} |
# | 100 | free | {{digit_clipping.metrics.read_100_free.value:.3f}} ({{digit_clipping.metrics.read_100_free.low:.3f}} to {{digit_clipping.metrics.read_100_free.high:.3f}}) | {{digit_clipping.metrics.frechet_100_free.value:.1f}} | {{digit_clipping.metrics.outside_100_free.value:.2f}} |
# | 100 | clipped | {{digit_clipping.metrics.read_100_clipped.value:.3f}} ({{digit_clipping.metrics.read_100_clipped.low:.3f}} to {{digit_clipping.metrics.read_100_clipped.high:.3f}}) | {{digit_clipping.metrics.frechet_100_clipped.value:.1f}} | {{digit_clipping.metrics.outside_100_clipped.value:.2f}} |
#
# For our network that makes no difference that could be measured: its guesses hardly leave the limits.
# In general, clipping is knowledge about the data that the network need not have learned. It acts where guesses leave
# the limits: in a network that guesses noise at the first steps, and with chapter 6's guidance at many. Where
# the knowledge does not hold, for example for latents that have no limits, one must not clip.

# %% [markdown] lang="en"
# ### What is left in the last noise?
#
# A walk starts from $\mathcal{N}(0, I)$. But the chain's last $x_T$ is not pure noise: it is
# $\sqrt{\bar\alpha_T}\,x_0$ plus noise. How much can be read from it? At the crossroads we can say it in
# nats. Draw $x_T$ from pure noise, and look how far the posterior's **log odds** (对数几率) of two turns
# spread around what they were before. If nothing can be read, the spread is zero.

# %%
from course_lib.recipes.one_shot import drawn_from_pure_noise, log_odds_spread

schedules = {
    "section 6's": crossing,
    "linear": schedule,
    "Stable Diffusion's": noise.scaled_linear(),
}
print(f"{'':>18}  alpha_bar_T   spread   left, straight, right from pure noise")
for name, used in schedules.items():
    end = used.alphas_cumprod[-1].item()
    spread = log_odds_spread(futures, end)[0, 1].item()
    shares = drawn_from_pure_noise(futures, end, num_samples=20_000, generator=dice)
    print(f"{name:>18}  {end:11.1e}  {spread:7.4f}   " + ", ".join(f"{p:.3f}" for p in shares))
print(f"{'the truth':>18}  {'':11}  {'':7}   " + ", ".join(f"{p:.3f}" for p in futures.probs))

# %% [markdown] lang="en"
# With the linear schedule a little can be read: a fifth of a nat for this digit. With Stable Diffusion's
# schedule, which stops while $\bar\alpha$ is a hundred times larger, two nats: there the last "noise"
# all but tells the turn.
#
# And whoever starts such a chain from pure noise starts from a slightly wrong distribution. The last three
# columns say what it costs: a perfect walk from $\mathcal{N}(0, I)$ ends in the turns with these
# probabilities. With the linear schedule the harm is small. With Stable Diffusion's, a perfect network
# with a perfect sampler would be miscalibrated, by its first step alone. It grows with the picture: more
# pixels say the same thing.

# %%
from course_lib.data.crossroads import CUE_OF_DIGIT, Crossroads
from course_lib.data.digits import load_digits

for size in (32, 64):
    larger = Crossroads(load_digits("test"), BASE, size)
    open_turns = [n for n in range(60) if CUE_OF_DIGIT[larger.digits.labels[n]] > 0]
    spreads = [
        log_odds_spread(larger.futures(n, 4), schedule.alphas_cumprod[-1].item()).max().item()
        for n in open_turns
    ]
    print(f"{size} pixels, linear: {np.mean(spreads):.2f} nats, mean of {len(spreads)} digits")

# %% [markdown] lang="en"
# The remedy is a schedule that ends at pure noise: a **zero terminal SNR**. Which brings us to the last
# trap.
#
# ### Break it: guess noise at zero SNR
#
# At $\bar\alpha = 0$ the noise *is* $x_t$. A network that guesses noise is right if it returns its input,
# and has said nothing. A network for `v` has to answer $-x_0$. Give both the exact answer with the same
# small error on top (a hundredth of the noise), go back to the picture with your two functions, and
# let $\bar\alpha$ go to zero.

# %%
powers = np.arange(0.5, 10, 0.5)
error_of = {"from eps": [], "from v": []}
slip = 0.01 * torch.randn(x_T[:1].shape, generator=dice).double()
for alpha_bar in 10.0**-powers:
    share = torch.tensor([alpha_bar], dtype=torch.float64)
    seen = noise.add_noise(futures.clips[:1].double(), x_T[:1].double(), share)
    best = futures.denoise(seen, share)
    eps_hat = (seen - share.sqrt() * best) / (1 - share).sqrt()
    v_hat = share.sqrt() * eps_hat - (1 - share).sqrt() * best
    found = jump.function(seen, eps_hat + slip, alpha_bar)
    error_of["from eps"].append((found - best).square().mean().item())
    found = rotated.function(seen, v_hat + slip, alpha_bar)[0]
    error_of["from v"].append((found - best).square().mean().item())

# %% [markdown] lang="en"
# The same slip, two targets:

# %%
plots.curves(
    -powers,
    error_of,
    "The error of the picture from eps grows without limit as alpha_bar falls; from v it stays.",
    xlabel="log10 of alpha_bar",
    ylabel="squared error of x0_hat",
    log=True,
)

# %% [markdown] lang="en"
# And at zero itself, without any slip:

# %%
at_zero = x_T[:1].double()
mean = futures.mean()[None].double()
from_eps = jump.function(at_zero, at_zero, 0.0)  # the right guess of eps is x_t
from_v_guess = rotated.function(at_zero, -mean, 0.0)[0]  # the right guess of v is minus the mean
print(f"from eps: {from_eps.isfinite().double().mean():.2f} of the pixels are numbers")
print(
    f"from v: squared distance from the conditional mean {(from_v_guess - mean).square().mean():.1e}"
)

# %% [markdown] lang="en"
# Zero over zero. With a schedule that ends at pure noise, guess `x0` or `v`. That is why section 6's
# network guesses the clean future.

# %% [markdown] lang="en"
# ## 6. A diffusion model that predicts
#
# So far the network drew digits from nothing. Now it predicts: three frames are seen, nine are to come.
# One change is enough. The network gets the three frames as they are, **clean**, beside the nine noisy ones
# [as in MCVD, Voleti et al. 2022]. All nine are denoised together: no frame is fed back, as in NAR of
# chapter 4. Unlike NAR it starts from noise, and other noise is another future.
#
# Two choices come from what you found. It guesses $x_0$, because near pure noise a guess of
# $\varepsilon$ says nothing of the picture. And its schedule spends many of its steps at the levels where
# the turn is decided. The network is the small transformer that draws your digits, with five blocks.

# %% budget_s=10
from course_lib.data.crossroads import BASE
from course_lib.recipes.crossroads_diffusion import DIFFUSION, predictor, world

street, held_out = DIFFUSION.load(), world(BASE, "test")
labels, drawer = held_out.digits.labels.tolist(), predictor(street, num_steps=20)
cases = {str(d): held_out.futures(labels.index(d), arrival=4) for d in (4, 3, 1, 2)}
contexts = torch.stack([case.context for case in cases.values()]).repeat_interleave(6, 0)
rng = torch.Generator().manual_seed(6)
drawn = drawer.predict(contexts, BASE.horizon, generator=rng).unflatten(0, (4, 6))

# %% [markdown] lang="en"
# Four held-out digits, six draws for each, twenty steps per draw. Beside them six true futures, drawn with
# their true probabilities. The slider picks the digit. (Greys are rounded to 33 shades.)

# %%
true = torch.stack([case.sample(6, generator=rng) for case in cases.values()])
seen = contexts.unflatten(0, (4, 6))
panels = {"six draws of the network": drawn, "six true futures": true}
rows = lambda clips: torch.stack([mosaic(six, columns=3) for six in torch.cat([seen, clips], 2)])
Player(
    {name: to_panel((16 * rows(clips)).round() / 16) for name, clips in panels.items()},
    {"digit": list(cases)},
    captions=[
        [f"frame {n}: {'seen' if n < 3 else 'predicted'}" for n in range(12)],
    ],
    width=240,
    title="One past, six futures",
    alt="Six futures drawn by the diffusion model beside six true ones, for four digits.",
)

# %% [markdown] lang="en"
# The 4 goes left mostly, the 3 right, the 1 anywhere, and the 2 should never go straight on.
# Nearly every draw has *one* digit on *one* arm, though the training loss was a squared error. Look again at
# chapter 0's ghost: that loss is the same. What differs is the question. Here the network is asked for the
# mean of what is *still possible given $x_t$*, and step by step less is possible.
#
# Draw a digit of your own, and send it there.

# %%
from course_lib.data.video import to_float
from course_lib.recipes.classifier import CLASSIFIER
from course_lib.widgets.draw_digit import DrawDigit

reader = CLASSIFIER.load()
pad = DrawDigit(
    lambda images: reader(to_float(images)[:, None]).softmax(-1),
    start=9,
    done="Walk to the crossroads",
)
pad

# %% [markdown] lang="en"
# Six futures of the digit on the pad, drawn by the network. (They take a second or two.)

# %%
from course_lib.data.crossroads import Crossroads

title = "six draws for your digit"
ask = lambda digits: Crossroads(digits).futures(0, arrival=4).context.expand(6, -1, -1, -1, -1)
film = lambda seen: torch.cat([seen, drawer.predict(seen, BASE.horizon)], 1)
panel = lambda digits: to_panel((16 * mosaic(film(ask(digits)), columns=3)).round() / 16)
walk = Player({title: panel(pad.digits())}, width=240, title="Your handwriting")
pad.on_done(lambda digits: walk.update({title: panel(digits)}))
walk

# %% [markdown] lang="en"
# ### Judged like chapter 1's
#
# The same three questions, the same held-out digits' contexts, never one number. Is a draw a future at all
# (**valid**)? Does it show one that cannot happen (**forbidden**)? How far are its frequencies from the true
# ones (**total variation**, per context)? A second network was trained at the crossroads `twice`, where the
# digit may come back, and stands beside SVG-LP of chapter 1, which was trained on the same world.

# %%
import json

from course_lib.recipes.crossroads_diffusion import DIFFUSION_TWICE
from course_lib.recipes.svg import SVG_LP

of = lambda recipe: json.loads(recipe.results.read_text(encoding="utf-8"))["metrics"]
found = {"diffusion, base": of(DIFFUSION), "diffusion, twice": of(DIFFUSION_TWICE)}
found["SVG-LP, twice"] = of(SVG_LP)
for name, metrics in found.items():
    floor = metrics["total_variation_floor"]["value"]
    print(
        f"{name:>17}: valid {metrics['valid']['value']:.3f}, floor of total variation {floor:.3f}"
    )

# %% [markdown] lang="en"
# The bars are errors, so low is good: not valid, forbidden, and total variation above what a perfect
# sampler has with as many draws. Intervals are for contexts drawn again.

# %%
three = lambda metric: np.array([metric[end] for end in ("value", "low", "high")])
errors = {
    "not valid": lambda m: 1 - three(m["valid"])[[0, 2, 1]],
    "forbidden": lambda m: three(m["forbidden"]),
    "total variation\nabove its floor": lambda m: (
        three(m["total_variation"]) - m["total_variation_floor"]["value"]
    ),
}
plots.bars(
    {kind: {name: tuple(error(m)) for name, m in found.items()} for kind, error in errors.items()},
    "Not valid, forbidden and total variation above its floor, of both diffusion models and SVG-LP.",
    ylabel="share of draws, distance",
)

# %% [markdown] lang="en"
# The draws that are not valid are mostly smudged digits, or digits that fade on their way; the arm they take
# is clear. At `base` {{crossroads_diffusion.metrics.valid.value:.2f}} of the draws are valid. At `twice` it is
# {{crossroads_diffusion_twice.metrics.valid.value:.2f}}, and SVG-LP, with
# {{svg_lp.metrics.valid.value:.2f}}, is ahead. The network for `twice` began with what the one for `base` had
# learned in {{crossroads_diffusion.step:,}} updates, and got {{crossroads_diffusion_twice.step:,}} of its own: too
# few. Its loss was still falling, and so was the share of smudged digits.
#
# ### When does the network decide?
#
# Section 3 watched the *exact* posterior settle. A network has no posterior to look at, but it has
# $\hat x_0$, and we can ask which future this guess is nearest to. It begins at the mean, and the mean is
# nearest to the likeliest turn. So a walk that ends in the likeliest turn tells nothing. We follow those that
# end *elsewhere*, and ask from which level on the guess is nearest to where they will end, and stays there.

# %%
settles = Choice(
    "5.settles",
    "Where are the network's walks settled, compared with those of the exact denoiser?",
    [
        "earlier, at a noisier level",
        "at the same level, within a fifth of a unit of log SNR",
        "later, at a cleaner level",
    ],
)
settles

# %% [markdown] lang="en"
# The recipe has followed {{crossroads_levels.config.watched_walks}} walks of
# {{crossroads_levels.config.watched_steps}} steps in each context: {{crossroads_levels.config.contexts_per_cue}}
# of digits that mostly go left, as many of digits that mostly go right (probabilities .6, .3 and .1).

# %%
from course_lib.methods.ddim import trailing_timesteps
from course_lib.recipes.crossroads_levels import LEVELS

measured = json.loads(LEVELS.results.read_text(encoding="utf-8"))["metrics"]
stops = trailing_timesteps(crossing.num_timesteps, LEVELS.config["watched_steps"])
level = crossing.snr(torch.tensor(stops)).log()
shown = [n for n, x in enumerate(level.tolist()) if -10 < x < 0]
band = lambda key: [[measured[f"{key}_{n:02d}"][end] for n in shown] for end in measured["floor"]]
lines = {who: tuple(band(f"settled_{who}")) for who in ("exact", "network")}
later = measured["level_network"]["value"] - measured["level_exact"]["value"]
answer = 0 if later < -0.2 else 2 if later > 0.2 else 1

# %% [markdown] lang="en"
# The answer draws the share of these walks that is settled at each level.

# %%
settles.reveal(
    settles.options[answer],
    explanation="Mean level: "
    + ", ".join(f"{who} {measured[f'level_{who}']['value']:.1f}" for who in lines)
    + ".",
    picture=plots.curves(
        level[shown].tolist(),
        lines,
        "Share of walks whose guess is nearest to where they will end: rises with log SNR.",
        xlabel="log SNR (noise on the left, clean on the right)",
        ylabel="settled walks that end elsewhere",
        ylim=(0, 1),
    ),
)

# %% [markdown] lang="en"
# The exact denoiser adds up hints from nine thousand pixels without a loss. The network finds fewer of them.
# As long as it has not found enough, the mean is its best answer, and its guess stays there while the exact
# one has moved: from {{crossroads_levels.metrics.level_exact.value:.1f}} the mean level moves to
# {{crossroads_levels.metrics.level_network.value:.1f}}. Nobody told either of them when to decide.
#
# ### What does it cost to hurry?
#
# The levels that matter lie between -8 and -3. Who spends how many steps there? Three schedules, each
# walked with the same number of steps: the network's own, the **plain cosine** that it was moved from (by
# -4 in log SNR), and DDPM's linear one.

# %%
from course_lib.recipes.crossroads_levels import PLACEMENTS, placed

counts = (5, 10, 20, 40, 80)
print(f"{'steps':>8}" + "".join(f"{count:6d}" for count in counts) + "   of these, from -8 to -3")
for name, other in PLACEMENTS.items():
    inside = [
        sum(-8 <= crossing.snr(t).log() <= -3 for t in placed(other, count)) for count in counts
    ]
    print(f"{name:>8}" + "".join(f"{number:6d}" for number in inside))
five = crossing.snr(torch.tensor(placed(PLACEMENTS["cosine"], 5))).log().tolist()
print("log SNR of the five stops of the plain cosine:", ", ".join(f"{x:.1f}" for x in five))

# %% [markdown] lang="en"
# `placed` takes the steps of *our* schedule that have the other one's levels. So network and denoiser stay
# the same, and only the stops differ.
#
# Let the exact denoiser walk, which makes no mistakes. The digit is a 4, and turns left with probability
# .6. Five steps, stops of the plain cosine: how often does it turn left?

# %%
hurry = Slider(
    "5.hurry",
    "A perfect denoiser, five steps of the plain cosine: the share that turns left (true: .6)?",
    0,
    1,
    0.01,
)
hurry

# %% [markdown] lang="en"
# Four thousand walks for each schedule and number of steps, in the three numbers that section 3 used.

# %%
from course_lib.recipes.crossroads_levels import ends_of_exact_walks

left = {
    name: [
        ends_of_exact_walks(cases["4"], placed(other, count), num_walks=4000, generator=rng)[0]
        for count in counts
    ]
    for name, other in PLACEMENTS.items()
}

# %% [markdown] lang="en"
# The answer draws all of them.

# %%
hurry.reveal(
    left["cosine"][0].item(),
    explanation=f"Five steps of its own schedule: {left['own'][0]:.2f}.",
    picture=plots.curves(
        counts,
        {name: torch.stack(shares).numpy() for name, shares in left.items()},
        "Share that turns left against the number of steps: far too large for few cosine steps.",
        xlabel="number of steps",
        ylabel="share that turns left",
        levels={"true": 0.6},
        ylim=(0.5, 1),
    ),
)

# %% [markdown] lang="en"
# A perfect denoiser, and nearly everybody goes left. Why? At the first stop nothing is known, and
# $\hat x_0$ is the mean. The second stop lies at log SNR -2.3. The step puts back as much noise as
# belongs there, around *the mean*. For a sum over thousands of pixels that is little noise: seen from
# there, the mean is closest to the likeliest turn, and the posterior is certain of it. The dice were
# thrown too late to matter. Had the walk stopped at -7 and -5, the same noise would have counted.
#
# No clip looks wrong. Each is a perfect future. Only their *frequencies* are: a fault that nobody finds by
# looking at samples.

# %% [markdown] lang="en"
# Does the trained network pay, too? The recipe has sent both through both placements, from the same
# noise, in the contexts from above: {{crossroads_levels.config.num_samples}} draws each.

# %%
few = LEVELS.config["step_counts"]
pick = lambda name, key: tuple(
    [measured[f"{name}_{key}_{n}"][end] for n in few] for end in ("value", "low", "high")
)
kinds = {"network, own": "network_own", "network, cosine": "network_cosine"}
kinds |= {"exact, own": "exact_own", "exact, cosine": "exact_cosine"}
plots.curves(
    few,
    {label: pick("likeliest", key) for label, key in kinds.items()},
    "Share that takes the likeliest turn against steps: with few cosine stops it is far too large.",
    xlabel="number of steps",
    ylabel="share on the likeliest arm",
    levels={"true": 0.6},
    ylim=(0.4, 1),
)

# %% [markdown] lang="en"
# As total variation, and with the share of draws that are valid, whatever turn they take:

# %%
row = lambda name, key: "   ".join(f"{value:.2f}" for value in pick(name, key)[0])
steps = "".join(f"{count:>7}" for count in few)
print(f"{'steps':>17}{steps}     valid:{steps[4:]}")
for label, key in kinds.items():
    print(f"{label:>17}   {row('total_variation', key)}            {row('valid', key)}")
print(f"total variation of a perfect sampler: {measured['floor']['value']:.2f}")

# %% [markdown] lang="en"
# The network pays as well. Five stops of the plain cosine send
# {{crossroads_levels.metrics.likeliest_network_cosine_5.value:.2f}} of its draws down the likeliest arm (the
# exact denoiser's: {{crossroads_levels.metrics.likeliest_exact_cosine_5.value:.2f}}), five of its own
# schedule {{crossroads_levels.metrics.likeliest_network_own_5.value:.2f}}. With more steps the two can no
# longer be told apart here: what is left of the network's distance is not the schedule's doing, but its own.
# Nor do few steps cost much sharpness: valid are
# {{crossroads_levels.metrics.valid_network_own_5.value:.2f}} of its draws after five steps of its own schedule
# and {{crossroads_levels.metrics.valid_network_own_40.value:.2f}} after forty, and the intervals overlap.

# %% [markdown] lang="en"
# ## 7. Before you go
#
# ### Claim panel
#
# One training of each network, minutes on one core, frames of 32 pixels; intervals are for contexts drawn
# again. Section 4 has the panel of the four targets.
#
# | claim | measured here | label |
# |---|---|---|
# | A diffusion model on stacked frames draws many futures of one past, without a latent and without an adversary [Voleti et al. 2022] | base: total variation {{crossroads_diffusion.metrics.total_variation.value:.3f}} ({{crossroads_diffusion.metrics.total_variation.low:.3f}} to {{crossroads_diffusion.metrics.total_variation.high:.3f}}), a perfect sampler's {{crossroads_diffusion.metrics.total_variation_floor.value:.3f}}; valid {{crossroads_diffusion.metrics.valid.value:.3f}} | same direction: all turns are drawn, in nearly the right shares; some of the draws are smudged |
# | Its samples are better calibrated than those of SVG-LP (ours) | twice: total variation above the floor, diffusion {{crossroads_diffusion_twice.metrics.total_variation.value:.3f}} less {{crossroads_diffusion_twice.metrics.total_variation_floor.value:.3f}}, SVG-LP {{svg_lp.metrics.total_variation.value:.3f}} less {{svg_lp.metrics.total_variation_floor.value:.3f}} | not found: both stand about as far above their floors, and more of SVG-LP's draws are valid; our network for `twice` is the less trained of the two |
# | A future is decided while nothing can be seen (ours) | mean log SNR of walks that end elsewhere than in the likeliest turn: exact {{crossroads_levels.metrics.level_exact.value:.1f}}, network {{crossroads_levels.metrics.level_network.value:.1f}} | exact for the denoiser, measured for the network: one training |
# | Where the steps are spent matters more than how many there are (ours) | share on the arm of probability .6, exact denoiser: five steps of its own schedule {{crossroads_levels.metrics.likeliest_exact_own_5.value:.2f}}, five of the plain cosine {{crossroads_levels.metrics.likeliest_exact_cosine_5.value:.2f}}, twenty of the plain cosine {{crossroads_levels.metrics.likeliest_exact_cosine_20.value:.2f}}; network: {{crossroads_levels.metrics.likeliest_network_own_5.value:.2f}}, {{crossroads_levels.metrics.likeliest_network_cosine_5.value:.2f}}, {{crossroads_levels.metrics.likeliest_network_cosine_20.value:.2f}} | exact for the denoiser; same direction for the network |
#
# **In five lines**
# - Noise destroys a picture in closed form: $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,
#   \varepsilon$. No chain has to be simulated in training.
# - The network has one job at every level: a squared error, whose best answer is the mean of all clean
#   pictures that $x_t$ allows.
# - Noise, clean picture, v and posterior mean are four ways to say that answer. They differ in the weight that
#   the loss gives to each level, and that decides what is learned well.
# - One jump lands on the mean. A walk takes a small step towards it, adds smaller noise, and asks again: so it
#   ends in *one* possible picture.
# - What is large is decided first, while there is nothing to see. A schedule must leave steps for that level,
#   or the likeliest future is drawn too often, sharp and wrong in its frequency.
#
# **Easily mistaken**
# - "The network removes a little noise at each step." It guesses *all* of it, at every step. That only a
#   little is removed is the sampler's doing, and so is the fresh noise.
# - "Training walks the chain." Each example gets one level and one draw of noise. Two steps of the chain never
#   meet in training.
# - "It must learn to fit the previous image." Its target may be the noise, the clean picture or a mixture; from
#   each of them the step follows by arithmetic.
# - "$\hat x_0$ shows what the picture will be." It shows the mean of what it can still become. Early in the
#   walk that is a ghost.
# - "More steps always help." Beyond some number a good placement gains nothing more, and a bad placement with
#   many steps may lose to a good one with few.
# - "A squared error makes blur, and diffusion avoids it by another loss." It is the same loss. The blur is in
#   $\hat x_0$, where you have seen it, and the walk does not stop there.
#
# **Quiz**
#
# <details><summary>A friend trains with one $t$ for the whole batch, drawn anew for each batch. Is the
# loss wrong?</summary>No: on average it is the same. But the levels' losses differ widely, so the gradient
# jumps about much more from batch to batch (section 2).</details>
#
# <details><summary>Your `predict_x0` gets `alphas[t]` where `alphas_cumprod[t]` belongs. What does it show at
# $t = 500$?</summary>Nearly $x_t$ as it is. A single step keeps nearly all of the picture, so the formula
# believes that there is almost no noise in $x_t$, and takes almost none away (sections 1 and 3).</details>
#
# <details><summary>A network guesses $\varepsilon$ with the same small error at all levels. At which end is
# its $\hat x_0$ bad, and why does the walk survive it?</summary>At the noisy end: the error is multiplied by
# $\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$. A step takes only a small share of $\hat x_0$ there, and later
# steps ask again (sections 4 and 5).</details>
#
# <details><summary>All samples of a model are valid, and none is forbidden. Is it right?</summary>Not yet.
# With five cosine steps all futures of the exact denoiser were perfect, and their frequencies were far off.
# Count (section 6).</details>
#
# <details><summary>Twice the resolution, the same schedule: at which level is the turn decided now?</summary>
# At a noisier one. Four times as many pixels say the same thing, so it can be read through four times as much
# noise power: about 1.4 lower in log SNR. The schedule should move with it.</details>
#
# **Further reading**
# - Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, arXiv 2006.11239: sections 2 and 3,
#   and table 2.
# - Nichol and Dhariwal, *Improved denoising diffusion probabilistic models*, 2021, arXiv 2102.09672: section 3,
#   the cosine schedule and learned variances.
# - Salimans and Ho, *Progressive distillation for fast sampling of diffusion models*, 2022, arXiv 2202.00512:
#   section 4 and appendix D, for v and the weights.
# - Voleti, Jolicoeur-Martineau and Pal, *MCVD: masked conditional video diffusion for prediction, generation,
#   and interpolation*, 2022, arXiv 2205.09853: the sections on conditional diffusion for video.
# - Hoogeboom, Heek and Salimans, *Simple diffusion: end-to-end diffusion for high resolution images*, 2023,
#   arXiv 2301.11093: section 3.1, why a schedule moves with the resolution.
#
# **Where to go on.** A thousand small steps for one digit, and fresh dice at each. Must it be so? Chapter 6
# keeps the network of this chapter as it is, trains nothing, and walks in twenty steps, with dice or without:
# there is a knob.
