# %% [markdown] lang="en"
# # Sampling a latent
#
# Chapter 0 ended with a dilemma: a model that outputs one clip and pays squared error draws a blur.
# The way out is one idea: give the model a number that it may *throw dice for*. This chapter
# shows exactly how that number is drawn: from what, when, and why it helps.
#
# **After this chapter you can**
# - explain what a latent variable is, and why an autoencoder is not enough to draw one;
# - send a gradient through a random draw, and say why that beats the alternative;
# - say who sees which frame in SVG: posterior, prior, predictor;
# - read from the KL of every frame *when* something was decided, and how many nats it was worth;
# - choose beta knowing what it means in pixels, and recognise a latent that is ignored.
#
# **You need** chapter 0, and what an LSTM is. **Study time** 90 minutes. **Computing time**
# {{build.seconds:.0f}} seconds for all cells, without a GPU.

# %% tags=["setup"] budget_s=15
import numpy as np
import torch

from course_lib import plots
from course_lib.checks import chapter1 as check
from course_lib.data.crossroads import CUES, TURNS, TWICE, Crossroads
from course_lib.data.digits import load_digits
from course_lib.data.video import mosaic, to_panel
from course_lib.widgets.course_map import course_map
from course_lib.widgets.player import Player
from course_lib.widgets.prediction import Choice, Slider

torch.set_num_threads(1)  # a second thread gains little, and costs much on a busy machine
course_map()

# %% [markdown] lang="en"
# ## 1. One past, and dice
#
# We stay at the crossroads, in its richer form. A digit walks up the road and turns, as before.
# At the end of its arm it may now also **come back** to the centre. How likely the turn is, and how
# likely the return, still depends on the digit alone.

# %%
from course_lib.recipes.svg import SVG_LP

world = Crossroads(load_digits("test"), TWICE)
labels = world.digits.labels.tolist()
walkers = [0, 4, 3, 1, 2]
cases = {str(digit): world.futures(labels.index(digit), arrival=4) for digit in walkers}
svg = SVG_LP.load()
with torch.no_grad():
    contexts = torch.stack([case.context for case in cases.values()])
    drawn = svg.predict(
        contexts.repeat_interleave(25, 0),
        TWICE.horizon,
        generator=torch.Generator().manual_seed(0),
    ).unflatten(0, (5, 25))

# %% [markdown] lang="en"
# Left: what squared error asks for, the mean that you met in chapter 0. In the middle and on the
# right: the model of this chapter. It has seen the same three frames. It throws its dice again
# and again, and each throw is a concrete clip. Press play.

# %%
runs = torch.cat([contexts[:, None].expand(-1, 25, -1, -1, -1, -1), drawn], dim=2)
means = torch.stack([torch.cat([case.context, case.mean()]) for case in cases.values()])
when = ["observed"] * TWICE.context + ["future"] * TWICE.horizon
Player(
    {
        "squared error's answer": to_panel(means),
        "one throw": to_panel(runs[:, 0]),
        "twenty-five throws": to_panel(torch.stack([mosaic(r, columns=5) for r in runs])),
    },
    {"digit": list(cases)},
    captions=[f"frame {t}: {word}" for t, word in enumerate(when)],
    width={"squared error's answer": 160, "one throw": 160, "twenty-five throws": 325},
    title="The same past, twenty-five throws",
    alt="The mean of the futures, one sample of SVG and twenty-five samples, for five digits.",
)

# %% [markdown] lang="en"
# Some clips are odd: look for a digit that has lost its shape. We shall count them. But first: where
# does a model get its dice from, and how does it learn to read them?

# %% [markdown] lang="en"
# ## 2. From autoencoder to VAE
#
# Before a model can throw a dice for every frame, it needs a machine that turns a dice into a
# picture. We leave the crossroads for a moment and build one for single digits.
#
# An **autoencoder** (自编码器) is two networks. The **encoder** squeezes a picture into a few
# numbers, its **code** (编码) $z$. The **decoder** has only the code and draws the picture again. Both
# learn from the squared error between the two pictures. Ours keeps two numbers of 784 pixels.

# %%
from course_lib.recipes.digit_vae import AUTOENCODER, VAE, codes, decode, decode_plane, digits

autoencoder, vae = AUTOENCODER.load(), VAE.load()
images, classes = digits("test")
plain = codes(autoencoder, "test").mean  # (N, 2): the code of every held-out digit
plain.shape

# %% [markdown] lang="en"
# Ten digits that the network has never seen, and what it draws from their two numbers:

# %%
ten = torch.stack([(classes == c).nonzero()[1, 0] for c in range(10)])
plots.contact_sheet(
    torch.cat([images[ten], decode(autoencoder, plain[ten])]),
    "Ten held-out digits in a row; below, the same ten drawn again from two numbers each.",
)

# %% [markdown] lang="en"
# Not all of them survive, but two numbers carry a lot. Now look at the codes themselves. Each
# held-out digit is one point of the plane, drawn as its label.

# %%
plots.scatter(
    {"codes of the autoencoder": plain[:250]},
    classes[:250],
    "The autoencoder's codes: arms of equal digits, with empty stretches between and around them.",
    xlabel="first number",
    ylabel="second number",
)

# %% [markdown] lang="en"
# Digits of a class lie together, although nobody told the network the labels. But the cloud has no
# shape you could name, and it has **holes** (空洞): places to which no digit is sent. The decoder
# has never been asked what to draw there.
#
# A dice has to land somewhere. Fit a Gaussian to the cloud, throw a thousand darts with it, and
# decode. Chapter 0's reader of digits judges the pictures: it is *sure* where it gives one class a
# probability of at least 0.9. How often is it?

# %%
holes = Slider(
    "1.holes",
    "A thousand darts at the autoencoder's plane: how many become a digit the reader is sure of?",
    0,
    1000,
    20,
    unit="darts",
)
holes

# %% [markdown] lang="en"
# For comparison: of the real held-out digits it is sure of a share of
# {{digit_autoencoder.metrics.read_real.value:.3f}}.

# %%
from course_lib.recipes.digit_vae import SURE, confidence, random_places

generator = torch.Generator().manual_seed(0)
darts = random_places(autoencoder, 1000, variational=False, generator=generator)
thrown = decode(autoencoder, darts)
holes.reveal(
    int((confidence(thrown) >= SURE).sum()),
    explanation="Below, the first thirty. Some are digits, some are between two, some are nothing.",
    picture=plots.contact_sheet(thrown[:30], "Thirty pictures decoded at random places."),
)

# %% [markdown] lang="en"
# Walk there yourself. Drag the cross, or move it with the arrow keys: the picture beside it is what
# the decoder draws at that place. The figures are codes of held-out digits, the colour beneath them
# says where the reader is sure. Look for a hole.

# %%
from course_lib.widgets.latent_pad import LatentPad

low, high = plain.quantile(torch.tensor([0.01, 0.99]), dim=0)
xs, ys = (torch.linspace(*ends, 19) for ends in zip(low.tolist(), high.tolist(), strict=True))
plane = decode_plane(autoencoder, xs, ys)  # (19, 19, 1, 28, 28)
sure = (confidence(plane.flatten(0, 1)) >= SURE).reshape(19, 19).int()
figures = {"point_classes": classes[:80].numpy(), "point_names": list("0123456789")}

# %% [markdown] lang="en"
# Every picture was computed beforehand, so the walk needs no waiting.

# %%
LatentPad(
    {"decoded at the cross": to_panel(plane[:, :, None])},
    xs.numpy(),
    ys.numpy(),
    regions=sure.numpy(),
    region_names=["the reader is unsure", "the reader is sure"],
    points=plain[:80].numpy(),
    **figures,
    title="The autoencoder's plane",
    alt="A plane of codes with a cross, and the digit that is decoded at the cross.",
)

# %% [markdown] lang="en"
# ### Three changes make it variational
#
# 1. The encoder answers with a *distribution*: a Gaussian with a mean and a variance for each
#    number. This is the **posterior** (后验) $q(z\mid x)$: what $z$ may be, once the picture $x$ has
#    been seen. The code is a draw from it, so a digit owns a small cloud instead of a point.
# 2. We choose in advance where codes shall lie when nothing has been seen: the **prior** (先验)
#    $p(z) = \mathcal{N}(0, I)$. From it we will sample.
# 3. A price ties the two together: the KL divergence from chapter 0.
#
# $$\text{loss} = \underbrace{\mathbb{E}_{q(z\mid x)}\bigl[-\log p(x\mid z)\bigr]}_{\text{reconstruction}}
#   + \underbrace{\mathrm{KL}\bigl(q(z\mid x)\,\Vert\,p(z)\bigr)}_{\text{what the code costs}}$$
#
# With pixels $\mathcal{N}(\hat x, \sigma^2)$ the first term is the squared error, divided by
# $2\sigma^2$, plus a constant. This is a **variational autoencoder** (VAE, 变分自编码器) [Kingma and
# Welling 2013].
#
# What does each term want when it is alone? The autoencoder above is the first one alone. The second
# one needs no training: it is zero, its least, where every posterior *is* the prior, whatever the
# picture shows. We draw one code for each digit under the three losses. *Which panel will keep the
# classes apart, and which will be a round cloud?*

# %%
posterior = codes(vae, "test")
clouds = {
    "reconstruction alone": plain,
    "KL alone": torch.randn(plain.shape, generator=generator),
    "both": posterior.sample(generator=generator),
}
plots.scatter(
    {title: places[:200] for title, places in clouds.items()},
    classes[:200],
    "Codes under three losses: spread far; one round mixture of classes; and a patch per class.",
    xlabel="first number",
    ylabel="second number",
)

# %% [markdown] lang="en"
# Read the axes first. *Reconstruction alone* spreads the codes as far as it likes, for distance is
# free. With *the KL alone* all classes share one round cloud, and a draw says nothing about the
# digit. *Both* is a bargain: each class keeps a place of its own, and the places crowd around the
# middle, where the prior is. In numbers:

# %%
from course_lib.nn.gaussian import DiagonalGaussian, kl_divergence

paid = kl_divergence(posterior, DiagonalGaussian.standard(posterior.mean)).mean()
print(f"the VAE pays {paid:.2f} nats per digit")
print(f"standard deviation of one posterior: {posterior.sigma.mean():.3f}")
for title, places in clouds.items():
    across, up = places.std(0).tolist()
    print(f"standard deviation of the cloud, {title}: {across:.2f} and {up:.2f}")

# %% [markdown] lang="en"
# The last line is worth a second look. The prior's own standard deviation is one. The cloud of the
# VAE's codes is much closer to it than the autoencoder's, but it is wider, and it is not round: the
# posteriors of all digits *together* are not quite the prior. Remember this when you sample.
#
# ### A plane to walk through
#
# The prior says where to walk: nearly all of $\mathcal{N}(0, I)$ lies within three units of the
# middle. Walk from one class to another, and watch what lies between.

# %%
steps = torch.arange(-10, 11) * 0.3  # -3 to 3
plane = decode_plane(vae, steps, steps)
sure = (confidence(plane.flatten(0, 1)) >= SURE).reshape(21, 21).int()
LatentPad(
    {"decoded at the cross": to_panel(plane[:, :, None])},
    steps.numpy(),
    steps.numpy(),
    regions=sure.numpy(),
    region_names=["the reader is unsure", "the reader is sure"],
    points=posterior.mean[:80].numpy(),
    **figures,
    title="The VAE's plane",
    alt="The VAE's plane of codes with a cross, and the digit that is decoded at the cross.",
)

# %% [markdown] lang="en"
# Did it pay off? Both networks have the same size and saw the same digits.
#
# | on held-out digits, and at places drawn at random | autoencoder | VAE |
# |---|---|---|
# | squared error of a redrawn digit, per pixel | {{digit_autoencoder.metrics.error.value:.3f}} | {{digit_vae.metrics.error.value:.3f}} |
# | share whose nearest neighbour in the plane has the same label | {{digit_autoencoder.metrics.separation.value:.2f}} | {{digit_vae.metrics.separation.value:.2f}} |
# | share of random places that decode to a digit the reader is sure of | {{digit_autoencoder.metrics.read_random.value:.2f}} | {{digit_vae.metrics.read_random.value:.2f}} |
#
# The VAE's random places are read more often, although they come from a Gaussian that was chosen
# before training, while the autoencoder's come from one that was fitted to its cloud afterwards. Its
# digits are not redrawn worse, either: here the noise and the price did no harm. (One training each,
# so do not build on the second decimal.)
#
# Two things are not solved. Between two classes the picture still melts from one into the other, and
# no training forbids it. And draws of the prior favour the crowded middle of the plane, because the
# codes reach further out than the prior does. What you generate from and what you trained on differ:
# in section 4 this difference gets a name, and a network of its own.

# %% [markdown] lang="en"
# ## 3. Sampling that lets gradients through
#
# The VAE's encoder has to learn from a code that was *drawn*. The loss is an average over the draw,
# $\mathbb{E}_{q}[f(z)]$, and $q$'s mean and variance are what we want to change. But how do you
# differentiate a dice?
#
# The way out: draw the noise from a dice that has no parameters, and let the parameters only move
# and stretch it.
#
# $$z = \mu + \sigma\,\varepsilon,\qquad \varepsilon \sim \mathcal{N}(0, I).$$
#
# For a fixed $\varepsilon$ this is an ordinary function of $\mu$ and $\sigma$, and autograd does the
# rest. It is called **reparameterisation** (重参数化) [Kingma and Welling 2013, section 2.4]. Our
# networks output the logarithm of the variance, `logvar`: any number is permitted, and the variance
# is always positive.
#
# ### Your turn: reparameterise


# %% tags=["exercise"]
def reparameterise(mean: torch.Tensor, logvar: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
    """A draw of N(mean, exp(logvar)) from standard normal noise; all are (*batch, Z)."""
    # SOLUTION
    return mean + (0.5 * logvar).exp() * eps
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# The formula needs $\sigma$, the standard deviation. You have the logarithm of its square.

# %% [markdown] lang="en" tags=["hint"]
# $\log \sigma^2 = 2 \log \sigma$. So which exponential is $\sigma$?

# %% [markdown] lang="en" tags=["hint"]
# `(0.5 * logvar).exp()` is $\sigma$. Nothing may be detached: the gradient must get through.

# %% [markdown] lang="en"
# *Difficulty: easy, 5 minutes.*

# %%
draw_verdict = check.reparameterise(reparameterise)
draw_verdict

# %% [markdown] lang="en"
# Your function is now the dice of section 2's VAE. Above, it draws ten times from the posterior
# of *one* held-out digit; below, from the prior, where mean and logvar are zero.

# %%
eps = torch.randn(30, 2, generator=generator)
one = posterior.mean[ten[5]].expand(10, 2), posterior.logvar[ten[5]].expand(10, 2)
drawn = draw_verdict.function(*one, eps[:10])
sampled = draw_verdict.function(torch.zeros(20, 2), torch.zeros(20, 2), eps[10:])
print(f"the draws are {draw_verdict.whose}")
plots.contact_sheet(
    decode(vae, torch.cat([drawn, sampled]).detach()),
    "Ten draws from one digit's posterior look alike; twenty from the prior show many digits.",
)

# %% [markdown] lang="en"
# The posterior is a narrow cloud: one digit, ten times almost the same. The prior reaches over many
# classes. In training, the decoder sees draws of the first kind; when you generate, of the second.
# Section 4 is about this difference.
#
# ### The other way, and what it costs
#
# There is an older way that never differentiates $f$. Since $\nabla q = q\,\nabla \log q$,
#
# $$\nabla\,\mathbb{E}_q[f(z)] = \mathbb{E}_q\bigl[f(z)\,\nabla \log q(z)\bigr].$$
#
# Draw $z$, evaluate $f$, and weigh the direction that makes this $z$ more probable. This is the
# **score-function estimator** (得分函数估计), also called REINFORCE. It works where $f$ is a game or a
# person. Both estimators have the right mean. Let us see one case: $q = \mathcal{N}(0, 1)$ and
# $f(z) = (z-1)^2$, whose gradient for the mean is $-2$ exactly.

# %%
from course_lib.methods.vae import reparameterised_gradients, score_function_gradients

draws = 100_000
f = lambda z: (z - 1).square().sum(-1)  # every coordinate wants to be 1
q = DiagonalGaussian.standard(torch.zeros(draws, 1))
through, _ = reparameterised_gradients(f, q, generator=generator)
scored, _ = score_function_gradients(f, q, generator=generator)
for name, estimates in {"reparameterised": through, "score function": scored}.items():
    error = estimates.std() / draws**0.5
    print(f"{name:>15}: mean {estimates.mean():.3f} +- {error:.3f}, variance {estimates.var():.1f}")

# %% [markdown] lang="en"
# Each number is the mean of many estimates, with its standard error. The means agree; the
# variances do not. Here are the single estimates, one for each draw, on a logarithmic scale.

# %%
edges = np.linspace(-40, 16, 57)
density = {
    name: np.histogram(estimates.numpy(), edges, density=True)[0]
    for name, estimates in {"reparameterised": through, "score function": scored}.items()
}
plots.curves(
    (edges[:-1] + edges[1:]) / 2,
    density,
    "Densities of single estimates: a bell around -2; a peak at 0 with long tails, above all left.",
    xlabel="estimate of the gradient from one draw (exact: -2)",
    ylabel="density",
    log=True,
)

# %% [markdown] lang="en"
# The score function mostly answers "about zero" and now and then something large. This was one
# coordinate. A latent variable has several, and $f$ adds up what all of them do. Take ten
# coordinates that each want to be 1, and look at the gradient for the first one.

# %%
noisier = Slider(
    "1.variance",
    "With ten coordinates: the score function's variance is how many times the other's?",
    0,
    300,
    5,
    unit="times",
)
noisier

# %% [markdown] lang="en"
# We measure it for one to sixteen coordinates. The third line is the score function with a
# **baseline** (基线): it subtracts the mean of $f$, a number that does not depend on the draw, which
# changes nothing in the mean of the estimate.

# %%
dims = [1, 2, 4, 7, 10, 13, 16]
ratios = {"score function": [], "with a baseline": []}
for dim in dims:
    q = DiagonalGaussian.standard(torch.zeros(40_000, dim))
    other = reparameterised_gradients(f, q, generator=generator)[0][:, 0].var()
    for name, baseline in {"score function": 0, "with a baseline": 2 * dim}.items():
        shifted = lambda z, b=baseline: f(z) - b
        estimates = score_function_gradients(shifted, q, generator=generator)[0][:, 0]
        ratios[name].append((estimates.var() / other).item())

# %% [markdown] lang="en"
# Your prediction against the measurement:

# %%
noisier.reveal(
    ratios["score function"][dims.index(10)],
    explanation="The other nine coordinates are pure noise for the first one's gradient. For this f "
    "and Z coordinates the ratio is (4 Z^2 + 14 Z + 12) / 4, and (6 Z + 12) / 4 with the baseline: "
    f"{(400 + 140 + 12) / 4:.0f} and {(60 + 12) / 4:.0f} for ten.",
    picture=plots.curves(
        dims,
        ratios,
        "The ratio of variances grows with the square of the dimension, with a baseline linearly.",
        xlabel="coordinates",
        ylabel="variance / reparameterised",
        log=True,
    ),
)

# %% [markdown] lang="en"
# The score function multiplies *everything* that $f$ did with the score of one coordinate. The
# reparameterised gradient asks $f$ for its slope in each coordinate and never sees the rest. This is
# why a VAE wants a decoder that can be differentiated, and why it trains with one draw per picture.
#
# ### Your turn: the KL divergence of two Gaussians
#
# For Gaussians with independent coordinates the KL has a closed form. With $q = \mathcal{N}(\mu_q,
# \sigma_q^2)$ and $p = \mathcal{N}(\mu_p, \sigma_p^2)$, every coordinate costs
#
# $$\tfrac12\left[\log\frac{\sigma_p^2}{\sigma_q^2} - 1 + \frac{\sigma_q^2}{\sigma_p^2}
#   + \frac{(\mu_q-\mu_p)^2}{\sigma_p^2}\right],$$
#
# and the coordinates add. In a VAE $p$ is $\mathcal{N}(0, I)$. Write it for any $p$: in section 4 the
# prior will be learned.


# %% tags=["exercise"]
def kl(
    q_mean: torch.Tensor, q_logvar: torch.Tensor, p_mean: torch.Tensor, p_logvar: torch.Tensor
) -> torch.Tensor:
    """KL(q || p) in nats of Gaussians (*batch, Z), summed over Z: (*batch)."""
    # SOLUTION
    squares = (q_mean - p_mean).square() / p_logvar.exp()
    ratio = q_logvar - p_logvar
    return 0.5 * (squares + ratio.exp() - 1 - ratio).sum(-1)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# The logarithm of the ratio of the variances is a difference of two arguments.

# %% [markdown] lang="en" tags=["hint"]
# $\sigma_q^2 / \sigma_p^2$ is the exponential of `q_logvar - p_logvar`.

# %% [markdown] lang="en" tags=["hint"]
# Add the four terms, take half, and sum over the last dimension only: `.sum(-1)`.

# %% [markdown] lang="en"
# *Difficulty: medium, 10 minutes.*

# %%
cost_verdict = check.kl(kl)
cost_verdict

# %% [markdown] lang="en"
# A closed form can be tested by its definition: $\mathrm{KL}(q\,\Vert\,p) = \mathbb{E}_q[\log q(z) -
# \log p(z)]$. So draw from $q$, the posterior of one digit, and average the difference. The more
# draws, the nearer:

# %%
q = DiagonalGaussian(posterior.mean[ten[5]], posterior.logvar[ten[5]])  # (Z,)
p = DiagonalGaussian.standard(q.mean)
closed = cost_verdict.function(q.mean, q.logvar, p.mean, p.logvar).item()
many = DiagonalGaussian(q.mean.expand(65_536, 2), q.logvar.expand(65_536, 2))
z = many.sample(generator=generator)
terms = many.log_prob(z) - DiagonalGaussian.standard(z).log_prob(z)
print(f"closed form {closed:.3f} nats ({cost_verdict.whose})")
for count in (16, 256, 4096, 65_536):
    error = terms[:count].std() / count**0.5
    print(f"{count:>6} draws: {terms[:count].mean():.3f} +- {error:.3f}")

# %% [markdown] lang="en"
# The number after +- is the standard error. It halves when the draws are four times as many. The
# closed form has no such error, so training uses it wherever there is one. What do the classes pay?

# %%
zeros = torch.zeros_like(posterior.mean)
paid = cost_verdict.function(posterior.mean, posterior.logvar, zeros, zeros)
plots.bars(
    {str(c): {"mean KL": paid[classes == c].mean().item()} for c in range(10)},
    "The mean KL of each class of digits, in nats; all classes pay several nats.",
    ylabel="KL (nats)",
)

# %% [markdown] lang="en"
# ### The bound, and when it is tight
#
# Reconstruction and KL together are no arbitrary mixture. For *any* distribution $q$,
#
# $$\log p(x) = \underbrace{\mathbb{E}_q[\log p(x\mid z)] - \mathrm{KL}\bigl(q(z)\,\Vert\,p(z)\bigr)}_{\text{ELBO}}
#   + \mathrm{KL}\bigl(q(z)\,\Vert\,p(z\mid x)\bigr).$$
#
# The last term is never negative. So the **ELBO** (evidence lower bound, 证据下界) is a lower bound
# of the **evidence** (证据) $\log p(x)$, and the gap is the KL from $q$ to the true posterior
# $p(z\mid x)$. The VAE's loss is the negative ELBO.
#
# For a network nobody can compute $\log p(x)$. For a *linear* decoder everybody can. Take three
# pixels and one latent: $x = w z + \text{noise}$. Then the exact posterior is a Gaussian:

# %%
from torch.distributions import MultivariateNormal, Normal

w, sigma = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64), 0.7
x = torch.tensor([0.3, -1.2, 0.8], dtype=torch.float64)
precision = 1 + w @ w / sigma**2
exact = Normal(w @ x / sigma**2 / precision, precision**-0.5)
covariance = torch.outer(w, w) + sigma**2 * torch.eye(3)
evidence = MultivariateNormal(torch.zeros_like(x), covariance).log_prob(x)
print(f"log p(x) = {evidence:.4f} nats")

# %% [markdown] lang="en"
# Before averaging, the ELBO is a function of a single $z$: $\log p(x\mid z) + \log p(z) - \log q(z)$.
# By Bayes' rule this is $\log p(x)$ for *every* $z$ if $q$ is the exact posterior. With another $q$ it
# depends on $z$, and only its mean under $q$ is the ELBO.

# %%
wrong = Normal(exact.mean + 0.3, exact.stddev * 1.5)
prior = Normal(torch.zeros_like(exact.mean), 1.0)
bounds = {}
for name, q in {"exact posterior": exact, "wrong posterior": wrong}.items():
    z = q.mean + q.stddev * torch.linspace(-3, 3, 25, dtype=torch.float64)
    likelihood = Normal(z[:, None] * w, sigma).log_prob(x).sum(-1)
    bounds[name] = likelihood + prior.log_prob(z) - q.log_prob(z)
    print(f"{name}: spread over z {bounds[name].max() - bounds[name].min():.1e} nats")

# %% [markdown] lang="en"
# Zero up to rounding, at twenty-five different $z$. And for the wrong posterior, is the gap really
# the KL?
#
# ### Your turn: the ELBO
#
# Now with pictures. Every pixel of `x` is $\mathcal{N}(\hat x, \sigma^2)$, where `x_hat` was decoded
# from one draw of $q$; the prior is $\mathcal{N}(0, I)$. Do not leave out the constant:
#
# $$\log \mathcal{N}(x;\,\hat x, \sigma^2) = -\frac{(x-\hat x)^2}{2\sigma^2} - \tfrac12\log(2\pi\sigma^2).$$


# %% tags=["exercise"]
def elbo(
    x: torch.Tensor, x_hat: torch.Tensor, q_mean: torch.Tensor, q_logvar: torch.Tensor, sigma: float
) -> torch.Tensor:
    """The ELBO in nats of pictures (B, C, H, W) with codes (B, Z): (B,)."""
    # SOLUTION
    pixels = torch.distributions.Normal(x_hat, sigma).log_prob(x).sum((1, 2, 3))
    cost = 0.5 * (q_mean.square() + q_logvar.exp() - 1 - q_logvar).sum(-1)
    return pixels - cost
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Two terms: the log likelihood of all pixels, and the KL from `q` to $\mathcal{N}(0, I)$.

# %% [markdown] lang="en" tags=["hint"]
# Pixels are independent given $z$, so their log likelihoods *add*: sum over channel, row and column,
# not over the batch.

# %% [markdown] lang="en" tags=["hint"]
# `torch.distributions.Normal(x_hat, sigma).log_prob(x)` gives every pixel. The KL is the function of
# the last exercise, with zeros for the prior's mean and logvar. Subtract it.

# %% [markdown] lang="en"
# *Difficulty: medium, 10 minutes.*

# %%
bound_verdict = check.elbo(elbo)
bound_verdict

# %% [markdown] lang="en"
# It measures the gap: we move $q$'s mean away from the exact posterior's and average the ELBO over
# many draws. Beside it, the evidence minus the exact KL to the posterior.

# %%
draws, shifts, measured, formula = 500, np.linspace(-1, 1, 21), [], []
for shift in shifts:
    q = Normal(exact.mean + shift, exact.stddev)
    eps = torch.randn(draws, 1, dtype=torch.float64, generator=generator)
    x_hat = ((q.mean + q.stddev * eps) * w).reshape(draws, 1, 1, 3)
    mean, logvar = (v.expand(draws, 1) for v in (q.mean, q.variance.log()))
    each = bound_verdict.function(x.expand(draws, 1, 1, 3), x_hat, mean, logvar, sigma)
    measured.append((each.mean().item(), 2 * each.std().item() / draws**0.5))
    formula.append((evidence - torch.distributions.kl_divergence(q, exact)).item())

# %% [markdown] lang="en"
# The band around the second line is two standard errors wide on either side; the first line is the
# evidence minus the exact KL.

# %%
middle, width = np.array(measured).T
plots.curves(
    shifts,
    {"evidence - KL": formula, "ELBO of the draws": (middle, middle - width, middle + width)},
    "The ELBO is a hill that touches the evidence where q is the exact posterior.",
    xlabel="mean of q, minus the exact posterior's",
    ylabel="nats",
    levels={"log p(x), the evidence": evidence.item()},
)

# %% [markdown] lang="en"
# The hill touches the line at one place only: where $q$ *is* the posterior. Training the encoder
# climbs the hill; training the decoder lifts the line.
#
# And the digits? The decoder's $\sigma$ was chosen before training. With your `elbo` we can ask
# which $\sigma$ would have fitted the held-out digits best.

# %%
drawn = posterior.sample(generator=generator)
redrawn = decode(vae, drawn)
sigmas = np.linspace(0.25, 0.7, 19)
nats = [
    bound_verdict.function(images, redrawn, posterior.mean, posterior.logvar, s).mean().item()
    for s in sigmas
]
best = sigmas[int(np.argmax(nats))]
root = (redrawn - images).square().mean().sqrt()
print(f"best sigma {best:.3f}, root of the mean squared error {root:.3f}, ours {VAE.small.sigma}")

# %% [markdown] lang="en"
# The best $\sigma$ is the size of the error that is left. A $\sigma$ is not a free knob, then, but
# a statement about pixels. In section 6 you will meet it again under the name $\beta$.

# %% [markdown] lang="en"
# ## 4. Prior and posterior
#
# Back to video. The idea behind this chapter, in one sentence: *a VAE predicts the next frame
# together with a random variable; then, having seen the next frame, it learns what distribution
# that variable should have given the frames so far.*
#
# Two distributions of $z_t$ are hidden in it. They differ in one thing: which frames they have seen.
# - The **posterior** (后验) $q(z_t \mid x_0 \dots x_t)$ has seen frame $t$: it knows what happened.
# - The **prior** (先验) $p(z_t \mid x_0 \dots x_{t-1})$ has not: it says what may happen.
#
# SVG, *stochastic video generation* [Denton and Fergus 2018], gives each of them an LSTM, a network
# with a memory. A third LSTM, the **predictor**, takes the features of the last frame and $z_t$, and
# a decoder draws frame $t$.

# %%
from course_lib.widgets.svg_diagram import draw_step, svg_diagram

street = Crossroads(load_digits("test"), TWICE)
four = street.futures(street.digits.labels.tolist().index(4), arrival=3)
first, last = four.clips[four.turns.argmin()], four.clips[four.turns.argmax()]
went_left, went_right = (torch.cat([four.context, clip]) for clip in (first, last))
draw_step(
    went_left, TWICE.context, 4, "training", "SVG in training: posterior and prior; z is from q."
)

# %% [markdown] lang="en"
# The same diagram, one computation at a time. Step through three frames of *training*; then move the
# slider to *testing* and go through them again. Watch which box ever touches frame $t$. The digit
# turns in frame 4. The frames come from the world and the two curves are sketches: the next
# section measures them.

# %% budget_s=15
svg_diagram(went_left, went_right, TWICE.context)

# %% [markdown] lang="en"
# **Training draws z from the posterior**, so the predictor is told what happened and can be right.
# **Testing draws z from the prior**, because there is no frame $t$ to look at. In training the last
# frame is always the true one (**teacher forcing**, 教师强制); in testing it is the frame that the
# model itself has drawn.
#
# Who may see what? Commit yourself.

# %%
sight = Choice(
    "1.prior_sees",
    "Suppose the prior were shown frame t too, in training and in testing. What would go wrong?",
    ["nothing", "training: the KL explodes", "testing: frame t does not exist", "z gets too wide"],
)
sight

# %% [markdown] lang="en"
# Think of the step in which the digit turns, and of the moment when you need the prior.

# %%
sight.reveal(
    "testing: frame t does not exist",
    explanation="In training everything would look perfect: prior and posterior see the same, and "
    "the KL can be zero. But the prior is needed when the future has not happened yet.",
)

# %% [markdown] lang="en"
# ### The loss ties the two
#
# If training draws from $q$ and testing from $p$, why does testing work at all? Because of the KL
# in the loss, which pulls the two together [Denton and Fergus 2018, section 3]:
#
# $$\mathcal{L} = \sum_t \Big( \operatorname{mean}\,(\hat{x}_t - x_t)^2
#   + \beta\; \mathrm{KL}\big(q(z_t \mid x_0 \dots x_t)\,\Vert\,p(z_t \mid x_0 \dots x_{t-1})\big)
#   \Big).$$
#
# The KL pulls on both. It makes the posterior say no more than it has to: every nat costs $\beta$.
# And it teaches the prior: given the frames so far, be the distribution that posteriors turned out
# to have. This is the second half of the sentence above. The first term is a mean over pixels, the
# KL a sum over the dimensions of $z$; this convention belongs to the value of $\beta$.
#
# In code, with a small untrained network:

# %%
from course_lib.methods.vae import vae_loss
from course_lib.models.svg import SVG, SVGConfig

config = SVGConfig(latent_dim=2)
clip = went_left[None]  # (1, T, 1, S, S)
generator = torch.Generator().manual_seed(0)
eps = torch.randn(1, TWICE.horizon, config.latent_dim, generator=generator)
passed = SVG(config)(clip, TWICE.context, eps)  # teacher forcing, z from the posterior

# %% [markdown] lang="en"
# `passed` holds the predicted frames and, for each of them, the two Gaussians. The loss of a frame
# is the formula, and the loss of the clip is the sum over its frames.

# %%
target = clip[:, TWICE.context :]
loss = vae_loss(passed.frames, target, passed.posterior, passed.prior, beta=1e-4)
print(tuple(loss.shape), "one number per clip and frame")
print(f"loss of the clip: {loss.sum(1).item():.3f}")

# %% [markdown] lang="en"
# One model comes in three versions, which differ in the prior only:
#
# | version | prior of $z_t$ | what it can say before frame $t$ |
# |---|---|---|
# | **SVG-LP**, learned prior | an LSTM over $x_0 \dots x_{t-1}$ | *when* chance matters, and which way it leans |
# | **SVG-FP**, fixed prior | $\mathcal{N}(0, I)$, always | nothing: the same at every frame |
# | deterministic | there is no $z_t$ | it predicts one future |
#
# Our version departs from the published code in a few points. Inside the context it takes $z = 0$
# and predicts nothing; the authors' code draws $z_t$ from the posterior there, in testing too, and
# counts those frames in the loss.

# %%
for prior, latent_dim in (("learned", 2), ("fixed", 2), (None, 0)):
    model = SVG(SVGConfig(prior=prior, latent_dim=latent_dim))
    inner = [name for name, part in model.named_children() if part is not None]
    print(f"{prior!s:>8}: {', '.join(inner)}")

# %% [markdown] lang="en"
# ### Your turn: one step of SVG
#
# `nets` holds the five networks as functions: `encoder(x)` gives features, `posterior(h, state)` and
# `prior(h, state)` give `(mean, logvar, state)`, `predictor(h, z, state)` gives `(g, state)` and
# `decoder(g)` gives a frame. The memories travel in the dictionary `states`.


# %% tags=["exercise"]
def svg_step(nets, previous, target, states, eps):
    """Predict target from previous, z drawn from q: the frame, KL (B,) in nats, new states."""
    # SOLUTION
    h = nets.encoder(previous)
    q_mean, q_logvar, q_state = nets.posterior(nets.encoder(target), states["posterior"])
    p_mean, p_logvar, p_state = nets.prior(h, states["prior"])
    z = q_mean + (q_logvar / 2).exp() * eps
    g, state = nets.predictor(h, z, states["predictor"])
    squares = (q_logvar.exp() + (q_mean - p_mean).square()) / p_logvar.exp()
    kl = 0.5 * (p_logvar - q_logvar + squares - 1).sum(-1)
    states = {"posterior": q_state, "prior": p_state, "predictor": state}
    return nets.decoder(g), kl, states
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Look at the diagram. Both frames go through the encoder. Which features does the posterior read,
# which does the prior read, and which does the predictor read?

# %% [markdown] lang="en" tags=["hint"]
# The posterior reads the target's features; prior and predictor read those of the previous frame.
# You have written the draw and the KL before: `reparameterise` and `kl`.

# %% [markdown] lang="en" tags=["hint"]
# Each of the three LSTMs takes its own state and returns a new one. Return a new dictionary with the
# keys "posterior", "prior" and "predictor"; leave the old one as it is.

# %% [markdown] lang="en"
# *Difficulty: hard, 20 minutes.*

# %%
step_verdict = check.svg_step(svg_step)
step_verdict

# %% [markdown] lang="en"
# With `step_verdict.function` (yours, if it runs) we walk through the clip frame by frame, as
# training does, and compare with the KL of the library's pass over the whole clip.

# %%
from course_lib.checks.chapter1 import nets_of

model = SVG(config)
nets, states = nets_of(model, clip[:, : TWICE.context])
kls = []
for t in range(TWICE.context, TWICE.num_frames):
    noise = eps[:, t - TWICE.context]
    _, kl_t, states = step_verdict.function(nets, clip[:, t - 1], clip[:, t], states, noise)
    kls.append(kl_t.item())
whole = model(clip, TWICE.context, eps)
loss_kl = vae_loss(target, target, whole.posterior, whole.prior, beta=1.0)[0]
print(f"largest difference: {(torch.tensor(kls) - loss_kl).abs().max():.1e}")

# %% [markdown] lang="en"
# (The loss of a perfect prediction under $\beta = 1$ is the KL alone: that is how the last cell
# reads it.)
#
# ### Your turn: sample the future
#
# Now the other half: no target, no posterior. Draw each $z_t$ from the prior, and feed every
# predicted frame back.


# %% tags=["exercise"]
def sample_future(nets, previous, states, horizon, generator):
    """One future (B, H, 1, S, S) after the frame previous; each z is drawn from the prior."""
    # SOLUTION
    prior, predictor, frames = states["prior"], states["predictor"], []
    for _ in range(horizon):
        h = nets.encoder(previous)
        mean, logvar, prior = nets.prior(h, prior)
        eps = torch.randn(mean.shape, generator=generator)
        g, predictor = nets.predictor(h, mean + (logvar / 2).exp() * eps, predictor)
        previous = nets.decoder(g)
        frames.append(previous)
    return torch.stack(frames, dim=1)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# In testing mode of the diagram, go through one step and write down what is computed, in order.

# %% [markdown] lang="en" tags=["hint"]
# The noise is new at every step: `torch.randn(mean.shape, generator=generator)`.

# %% [markdown] lang="en" tags=["hint"]
# At the end of a step `previous` becomes the frame you have just decoded, and both states are the
# new ones. Stack the frames over dimension 1.

# %% [markdown] lang="en"
# *Difficulty: medium, 15 minutes.*

# %%
future_verdict = check.sample_future(sample_future)
future_verdict

# %% [markdown] lang="en"
# The next section lets `future_verdict.function` loose on a network that has been trained.

# %% [markdown] lang="en"
# ## 5. SVG at the crossroads
#
# Now the real test. The network of the first player was trained with a learned prior on clips of
# the crossroads, and nobody told it what a turn is. In this world a frame is *news* at most twice:
# when the turn is first seen, and when it is first seen whether the digit comes back. Every other
# frame follows from those before it.
#
# ### When does z speak?
#
# We feed the true frames of held-out clips and look at the KL of every frame: the nats by which the
# posterior, which has seen the frame, differs from the prior, which has not.

# %%
news_frame = Slider(
    "1.news_frame",
    "A digit reaches the centre in frame 4. In which frame is the KL largest?",
    3,
    16,
    1,
)
news_frame

# %% [markdown] lang="en"
# The measurement takes one pass through the network, the same as in training.

# %% budget_s=15
from course_lib.recipes.svg import kl_per_frame, make_exam

exam = make_exam(300)
with torch.no_grad():
    kl = kl_per_frame(svg, exam)  # (clips, frames), nats
frames = torch.arange(TWICE.context, TWICE.num_frames)
by_arrival = torch.stack([kl[exam.clips.arrival == j].mean(0) for j in TWICE.arrivals])

# %% [markdown] lang="en"
# One line for each frame of arrival:

# %%
news_frame.reveal(
    int(frames[by_arrival[1].argmax()]),
    picture=plots.curves(
        frames,
        {f"arrives in frame {j}": line for j, line in zip(TWICE.arrivals, by_arrival, strict=True)},
        "The KL of each frame for three frames of arrival: two peaks, which move with the arrival.",
        xlabel="frame",
        ylabel="KL(posterior || prior), nats",
    ),
    explanation="The first frame that shows the turn is the one after the arrival.",
)

# %% [markdown] lang="en"
# Two peaks, and they move with the arrival: one in the first frame that shows the turn, one five
# frames later, in the first frame that shows the return. In between, z is silent. No label, no
# clock, no loss term asked for this. It is the cheapest way to pay for the squared error: nats are
# spent where they buy something.
#
# How many nats? The **entropy** of the turn is what there is to say. A posterior that says it to a
# prior that knows the right odds needs at least that much. Compare, cue by cue:

# %%
turn_entropy = [torch.special.entr(torch.tensor(cue.turn_probs)).sum().item() for cue in CUES]
first = exam.clips.arrival + 1 - TWICE.context
at_turn = kl.gather(1, first[:, None])[:, 0]
names = ["/".join(str(d) for d in cue.digits) for cue in CUES]
plots.bars(
    {
        name: {"KL at the turn": at_turn[exam.cue == c].mean().item(), "entropy of the turn": h}
        for c, (name, h) in enumerate(zip(names, turn_entropy, strict=True))
    },
    "KL at the turn beside the entropy of the turn, for the five cues.",
    ylabel="nats",
)

# %% [markdown] lang="en"
# For 0 and 6, which always go straight on, there is nothing to say, and z says nothing. For the
# others the KL follows the entropy and lies above it: over all cues the slope is
# {{svg_lp.metrics.kl_slope.value:.2f}}. What is paid on top is the price of a Gaussian: the
# prior is one bell, the turns are separate regions, and a bell fits them badly. The worst case is
# the 2, which has to say left or right and never straight on. We come back to this at the end.
#
# On {{svg_lp.metrics.rate.value:.2f}} nats for a whole clip, the frames without news take
# {{svg_lp.metrics.kl_idle.value:.3f}}.
#
# ### The prior opens and closes
#
# The prior has not seen the frame, but it has seen the road. Its standard deviation shows when it
# *expects* news. We draw it in units of the posterior's: 1 means that the prior is as sure as the
# one who has seen the frame. The line is for the dimension of z that is used most.

# %%
with torch.no_grad():
    noise = torch.zeros(*exam.news.shape, svg.config.latent_dim)
    passed = svg(exam.clips.video, TWICE.context, noise)
width = passed.prior.sigma / passed.posterior.sigma  # (clips, frames, Z)
used = int(width.mean((0, 1)).argmax())
at_four = exam.clips.arrival == 4

# %% [markdown] lang="en"
# Again one line for each cue, now for the clips that arrive in frame 4:

# %%
plots.curves(
    frames,
    {
        name: width[at_four & (exam.cue == c)][..., used].mean(0).numpy()
        for c, name in enumerate(names)
    },
    "The prior's width per frame for five cues: it opens at the turn and at the return.",
    xlabel="frame",
    ylabel="sigma of prior / sigma of posterior",
)

# %% [markdown] lang="en"
# The prior is narrow, opens for one frame at the junction, closes again, and opens a second time
# where the return is decided, each time only for the cues that have a choice there. That is what
# "learned prior" means in the name SVG-LP: *the model knows when it does not know*. A fixed prior
# N(0, 1) is equally wide in every frame.
#
# ### The future as a function of z
#
# We stop the film at the junction and move z by hand. The pad below is a plane of two dimensions of
# z: the one that is used most, and the next one. Its middle is the prior's mean, its edges are
# three standard deviations away, and the dots are draws from the prior. Drag the cross and play the
# clip: every point is a future. The colour says which one, by the measure that judges every model
# here. First the 2, whose prior has to say: left or right, never straight on.

# %% budget_s=15
from course_lib.recipes.svg_exam import futures_on_a_pad
from course_lib.widgets.latent_pad import LatentPad

order = width[exam.at("turn")].mean(0).argsort(descending=True)
plane = (int(order[0]), int(order[1]))
every = {d: world.futures(labels.index(int(d)), 4, include_impossible=True) for d in cases}
future_names = [
    f"{TURNS[a]}, {'back' if b else 'parks'}"
    for a, b in zip(every["2"].turns.tolist(), every["2"].returns.tolist(), strict=True)
]
with torch.no_grad():
    turn_pad = futures_on_a_pad(svg, every["2"], 0, every["2"].turn_step, plane)

# %% [markdown] lang="en"
# The regions are those of the first event; what happens at the second one is left to the prior's
# mean.

# %%
turns = every["2"].turns[turn_pad.regions]
LatentPad(
    to_panel(turn_pad.clips[::2, ::2].flatten(0, 1)).reshape(11, 11, TWICE.num_frames, 32, 32),
    turn_pad.xs[::2].tolist(),
    turn_pad.ys[::2].tolist(),
    labels=(f"z{plane[0]}", f"z{plane[1]}"),
    regions=turns[::2, ::2].numpy(),
    region_names=TURNS,
    points=turn_pad.draws[:200].numpy(),
    title="A 2 at the junction: every z is a future",
    alt="A plane of z, coloured by the turn that each point leads to, beside the clip at the cross.",
)

# %% [markdown] lang="en"
# How much of the prior lies in each region? For five digits, the share of its draws that turn left,
# go straight on or turn right, beside the truth:

# %% budget_s=20
for digit, futures in every.items():
    with torch.no_grad():
        pad = futures_on_a_pad(
            svg, futures, 0, futures.turn_step, plane, generator=torch.Generator().manual_seed(0)
        )
    shares = pad.shares(len(futures))
    by_turn = [shares[futures.turns == turn].sum().item() for turn in range(3)]
    true = [futures.probs[futures.turns == turn].sum().item() for turn in range(3)]
    cells = [f"{TURNS[t]} {by_turn[t]:.2f} ({true[t]:.2f})" for t in range(3)]
    print(f"digit {digit}: {', '.join(cells)}")

# %% [markdown] lang="en"
# The odds are nearly right for all but the 2. Look at its pad again: right, straight on and left
# lie in a row, and one bell over a row of three must cover the middle one. So some draws fall
# where the 2 would go straight on, which no 2 ever did in training. And what does the network draw
# there? Look at the frames in the middle of the pad. It has met many clips that go straight on, and
# their walkers were zeros and sixes. **The 2 turns into a 0.**
#
# The second event has its own z, five frames later. Here is its pad, for a 2 that has gone left:

# %%
second = every["2"].turn_step + TWICE.tau2(0) - TWICE.tau1(0)
gone_left = int(((every["2"].turns == 0) & ~every["2"].returns).nonzero())
with torch.no_grad():
    return_pad = futures_on_a_pad(svg, every["2"], gone_left, second, plane, num_points=11)

# %% [markdown] lang="en"
# The same plane, another question: does it come back?

# %%
LatentPad(
    to_panel(return_pad.clips.flatten(0, 1)).reshape(11, 11, TWICE.num_frames, 32, 32),
    return_pad.xs.tolist(),
    return_pad.ys.tolist(),
    labels=(f"z{plane[0]}", f"z{plane[1]}"),
    regions=every["2"].returns[return_pad.regions].long().numpy(),
    region_names=["parks", "comes back"],
    points=return_pad.draws[:200].numpy(),
    title="The same 2 at the end of its arm",
    alt="A plane of the second latent, coloured by whether the digit comes back, and the clip.",
)

# %% [markdown] lang="en"
# ### A hundred samples
#
# Nothing is moved by hand now. The function that you wrote (or the library's) draws a hundred
# futures of each digit. Beside them: a hundred *true* futures.

# %% budget_s=12
hundreds = {}
for digit, future in cases.items():
    with torch.no_grad():
        nets, states = nets_of(svg, future.context.expand(100, -1, -1, -1, -1))
        hundreds[digit] = future_verdict.function(
            nets,
            future.context[-1].expand(100, -1, -1, -1),
            states,
            TWICE.horizon,
            torch.Generator().manual_seed(1),
        )

# %% [markdown] lang="en"
# The hardest case is the 2. We put its three frames of context in front, and draw as many true
# futures.

# %%
past = cases["2"].context.expand(100, -1, -1, -1, -1)
hundred = {
    "SVG-LP": torch.cat([past, hundreds["2"]], 1),
    "the truth": cases["2"].runs(100, generator=torch.Generator().manual_seed(2)),
}

# %% [markdown] lang="en"
# Play it to its end, and count the zeros.

# %%
Player(
    {name: to_panel(mosaic(clips, columns=10)) for name, clips in hundred.items()},
    captions=[f"frame {t}: {word}" for t, word in enumerate(when)],
    width=329,
    title=f"A hundred futures, drawn by {future_verdict.whose}",
    alt="A hundred samples of SVG-LP beside a hundred true futures of a 2.",
)

# %% [markdown] lang="en"
# ### Is it the right distribution?
#
# Three questions, never one number. Is each clip a future at all (**valid**)? Of held-out digits'
# samples a share of {{svg_lp.metrics.valid.value:.3f}} is; {{svg_lp.metrics.valid_one_event.value:.3f}}
# where one event is open and {{svg_lp.metrics.valid_two_events.value:.3f}} where two are. With
# latents from the posterior, which has seen the film, it is
# {{svg_lp.metrics.valid_reconstructions.value:.3f}}. Does it show a future that cannot happen
# (**forbidden**)? A share of {{svg_lp.metrics.forbidden.value:.3f}}. And do the futures come with
# the right frequencies? That is the **total variation** (全变差距离) between the model's frequencies
# and the true ones, *per context*, then averaged.
#
# ### Your turn: total variation per context
#
# Two models may have the same frequencies over all clips together, and yet one of them may do the
# same thing with every 4. So compare context by context.


# %% tags=["exercise"]
def total_variation(frequencies: torch.Tensor, probs: torch.Tensor) -> torch.Tensor:
    """Mean over N contexts of the total variation between rows of two (N, K) tables."""
    # SOLUTION
    return (frequencies - probs).abs().sum(1).mean() / 2
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# For one context: how much probability has to be moved to turn one row into the other? What one
# future has too much, others have too little.

# %% [markdown] lang="en" tags=["hint"]
# Add up the absolute differences of a row. Every misplaced bit of probability is counted twice.

# %% [markdown] lang="en" tags=["hint"]
# `.abs().sum(1)` gives one number per context; halve it, and average over contexts last.

# %% [markdown] lang="en"
# *Difficulty: easy, 5 minutes.*

# %%
verdict = check.total_variation(total_variation)
verdict

# %% [markdown] lang="en"
# Your function judges the hundred samples above. The frequencies count each sample for its nearest
# future; impossible futures count too.

# %%
from course_lib.evaluation.futures import distances, perfect_total_variation

frequencies = torch.stack(
    [
        torch.bincount(distances(hundreds[d], every[d])[0].argmin(1), minlength=6) / 100
        for d in cases
    ]
)
truth = torch.stack([every[d].probs.float() for d in cases])
for d, row, odds in zip(cases, frequencies, truth, strict=True):
    floor = perfect_total_variation(odds.double(), 100)
    print(
        f"digit {d}: total variation {verdict.function(row[None], odds[None]):.3f}, "
        f"a perfect sampler's {floor:.3f}"
    )

# %% [markdown] lang="en"
# The 2 is far off, because of its middle. A perfect sampler does not reach zero with a hundred
# throws either; its **floor** stands beside every figure. Over all held-out contexts of the recipe SVG-LP reaches
# {{svg_lp.metrics.total_variation.value:.3f}}, where the floor is
# {{svg_lp.metrics.total_variation_floor.value:.3f}}.

# %% [markdown] lang="en"
# ## 6. Beta is a pixel variance
#
# SVG's loss has one knob, beta: mean squared error + beta KL. It looks like a matter of taste. It
# is not. Say that every pixel of a frame is Gaussian around its prediction, with standard deviation
# $\sigma$. Then
#
# $$-\log p(x \mid z) = \frac{D}{2\sigma^2}\,\mathrm{MSE} + \text{const}, \qquad\text{so}\qquad
# -\mathrm{ELBO} = \frac{D}{2\sigma^2}\Big(\mathrm{MSE} + \frac{2\sigma^2}{D}\,\mathrm{KL}\Big) +
# \text{const},$$
#
# where $D$ is the number of pixels. SVG's loss *is* a negative ELBO (in other units) with
# $\beta = 2\sigma^2/D$. Choosing beta is choosing how exact a pixel has to be.

# %%
from course_lib.methods.vae import critical_beta, pixel_sigma

num_pixels = 32 * 32
for beta in (1e-5, 1e-4, 1.5e-3, 1e-2, 1e-1):
    sigma = pixel_sigma(beta, num_pixels)
    print(f"beta {beta:.5f}: a pixel is right to within {sigma:.2f} (black to white is 2)")

# %% [markdown] lang="en"
# ### Where does z fall silent?
#
# The coarser the pixels may be, the less there is to say. Take the best *linear* coder: a latent
# pays as long as it removes more squared error than its nats cost, and that ends where
# $\sigma^2$ passes $\lambda_{\max}$, the largest eigenvalue of the covariance of what z can still
# tell. In beta this is $\beta_c = 2\lambda_{\max}/D$.
#
# But the covariance of *what*? SVG is trained frame by frame, and the true frame is fed afterwards.
# So a latent at the turn helps to draw one frame only: in the next one the turn is seen anyway. Or
# does it serve the whole future, as it does when the model runs on its own frames? The two answers
# differ by a factor of ten:

# %%
from dataclasses import replace

ambiguous = [cases[digit] for digit in ("4", "3", "1", "2")]
first_frame = [
    replace(f, clips=f.clips[:, f.turn_step : f.turn_step + 1]).lambda_max() for f in ambiguous
]
whole_future = [f.lambda_max() for f in ambiguous]
for name, values in {"one frame": first_frame, "the whole future": whole_future}.items():
    low, high = (critical_beta(v, num_pixels) for v in (min(values), max(values)))
    print(f"{name}: beta_c from {low:.3f} to {high:.3f}")

# %% [markdown] lang="en"
# Decide before you see the sweep. It has five trainings that differ in the final beta, each a
# fraction of the main training's length.

# %%
silent = Slider(
    "1.silent_beta",
    "From which beta on is z ignored? (The exponent: -2 means 0.01.)",
    -5,
    0,
    0.25,
)
silent

# %% [markdown] lang="en"
# Here is what the five networks say. For each beta: the KL that z carries over a whole clip.

# %%
import json

from course_lib.recipes.svg import SWEEP

sweep = {beta: json.loads(r.results.read_text(encoding="utf-8")) for beta, r in SWEEP.items()}
table = {beta: {k: m["value"] for k, m in r["metrics"].items()} for beta, r in sweep.items()}
for beta, row in table.items():
    print(
        f"beta {beta:.5f}: {row['rate']:6.2f} nats in all, {row['kl_turn']:5.2f} at the turn, "
        f"valid {row['valid']:.2f} from the prior, {row['valid_reconstructions']:.2f} from the "
        f"posterior"
    )

# %% [markdown] lang="en"
# The answer, as the first of the five betas at which less than a tenth of a nat is left:

# %%
first_silent = min(beta for beta, row in table.items() if row["rate"] < 0.1)
parts = {"kl_turn": "at the turn", "kl_return": "at the return", "kl_idle": "all other frames"}
silent.reveal(
    round(float(np.log10(first_silent)), 2),
    picture=plots.curves(
        np.log10(list(table)),
        {name: [row[key] for row in table.values()] for key, name in parts.items()},
        "Nats that z carries over beta: fewer and fewer, and none at the end.",
        xlabel="log10 of beta",
        ylabel="KL, nats",
    ),
    explanation="Between this beta and the one before it in the sweep z falls silent.",
)

# %% [markdown] lang="en"
# At beta 0.05, within the range computed for *one frame*, {{svg_beta_3.metrics.rate.value:.2f}} nats
# are left, where the turns alone are worth more than that: the latent is dying. At 0.2, above that range
# but below the one of the whole future, nothing is left ({{svg_beta_4.metrics.rate.value:.3f}} nats).
# So the covariance that counts is that of one frame. Under teacher forcing the next true frame tells
# the turn for free, and z is paid only for the frame before. (Both ranges are for a linear coder,
# and the network is not one; the factor of ten between them leaves no doubt.)
#
# ### The same five, to look at
#
# A clip of a held-out 2: the truth, each network's reconstruction from the posterior's latents, and
# two samples from its prior. Move beta.

# %%
from course_lib.recipes.svg import read_sheet

sheets = np.stack([read_sheet(r.name)[4] for r in SWEEP.values()])  # (beta, row, T, 32, 32)
rows = ("truth", "reconstruction", "a sample", "another")
Player(
    {name: sheets[:, k] for k, name in enumerate(rows)},
    {"beta": [f"{beta:g}" for beta in SWEEP]},
    captions=[f"frame {t}: {word}" for t, word in enumerate(when)],
    width=150,
    title="From too much said to nothing said",
    alt="Truth, reconstruction and two samples for five values of beta.",
)

# %% [markdown] lang="en"
# With a tiny beta the reconstruction follows the truth and the samples are worse: the posterior says
# so much that the prior cannot learn what it says, so at test time the predictor gets numbers that
# it has not met. With a large beta there is nothing to say: the network falls back to the blur of
# chapter 0. The useful range lies in between. (The trainings are short, so that shapes suffer
# everywhere.)
#
# In numbers, the shares of clips that show no possible future:

# %%
plots.curves(
    np.log10(list(table)),
    {
        "samples from the prior": [1 - row["valid"] for row in table.values()],
        "reconstructions from the posterior": [
            1 - row["valid_reconstructions"] for row in table.values()
        ],
    },
    "Shares of invalid clips over beta: at small betas only the samples, at large ones both.",
    xlabel="log10 of beta",
    ylabel="share of invalid clips",
)

# %% [markdown] lang="en"
# And the frequencies: total variation per context beside a perfect sampler's.

# %%
for beta, row in table.items():
    print(
        f"beta {beta:.5f}: total variation {row['total_variation']:.3f}, "
        f"floor {row['total_variation_floor']:.3f}"
    )

# %% [markdown] lang="en"
# ### On the exact curve
#
# How much squared error *must* remain when z may carry so many nats? For a world whose futures are
# known this is a number, not an opinion: the **rate-distortion curve** (率失真曲线), computed here by
# the Blahut-Arimoto algorithm. No model can be below it.

# %%
slopes = torch.logspace(-1.7, 0.3, 15, dtype=torch.float64)
exact = [case.rate_distortion(slopes) for case in cases.values()]
bound_rate = torch.stack([e.rate for e in exact]).mean(0)
bound_error = torch.stack([e.distortion for e in exact]).mean(0)

# %% [markdown] lang="en"
# And the measured networks beside it, with their own frames fed back:

# %%
plots.curves(
    bound_error.numpy(),
    {"the least possible": bound_rate.numpy()},
    "The exact rate-distortion curve, and the five networks to its right.",
    xlabel="squared error of the reconstruction, mean over pixels",
    ylabel="nats per clip",
    points={
        f"beta {beta:g}": (row["distortion"], row["rate"])
        for beta, row in table.items()
        if row["rate"] < 5
    },
)

# %% [markdown] lang="en"
# No network comes near the curve. (The smallest beta would lie far above the picture.) Two things
# keep them away. They redraw the digit a little wrong in every frame and then read their own
# drawing: error that no nat can buy back. And they were trained frame by frame, where a nat is worth
# less than it is to the whole future. The curve says what *could* be had for the same nats.

# %% [markdown] lang="en"
# ## 7. Stochastic Moving MNIST
#
# The crossroads is ours. SVG's authors tested it on **Stochastic Moving MNIST** [Denton and Fergus
# 2018, section 4]: digits fly straight on until they meet a wall, and there the direction is drawn
# anew. The paper has two digits in frames of 64 x 64 pixels. We take one digit in 32 x 32, which a
# small network can learn on a laptop.
#
# We draw three clips, and the same three in plain Moving MNIST, where a wall is a mirror.

# %%
from course_lib.data.moving_mnist import MovingMNIST

flights = {}
for name, stochastic in {"wall = mirror": False, "wall = dice": True}.items():
    flying = MovingMNIST(
        load_digits("test"), stochastic=stochastic, num_digits=1, num_frames=15, size=32
    )
    flights[name] = flying.sample(3, generator=torch.Generator().manual_seed(4))
walls = flights["wall = dice"].bounced[:, :, 0].tolist()

# %% [markdown] lang="en"
# Until the first wall the two are equal. Play them, and try to say where the digit goes next.

# %%
Player(
    {name: to_panel(clips.video) for name, clips in flights.items()},
    {"clip": [1, 2, 3]},
    captions=[
        [f"frame {t}{', the dice are thrown' * at}" for t, at in enumerate(row)] for row in walls
    ],
    width=200,
    title="Mirror or dice",
    alt="A digit flies through the frame; at a wall it is reflected, or leaves in any direction.",
)

# %% [markdown] lang="en"
# The left film has one future, and the right one has infinitely many. Nobody can list them, so
# nothing here is exact any more: each test clip comes with the *one* future that happened. This is
# the situation of every real video.
#
# Two networks were trained on the film with the dice: SVG with a learned prior, and the same
# network without $z$. Both see five frames and continue with ten. Here is what became of three clips
# of held-out digits; the recipes stored these pictures and the scores below.

# %%
import json

from PIL import Image

from course_lib.data.video import to_float
from course_lib.paths import RESULTS, SHEETS

films, scores = {}, {}
for name in ("moving_svg_lp", "moving_svg_deterministic"):
    sheet = np.asarray(Image.open(SHEETS / f"{name}.webp").convert("L"))
    tiles = sheet.reshape(6, -1, 34, 15, 34)[:, :, 1:-1, :, 1:-1]  # clip, row, y, frame, x
    films[name] = to_float(torch.tensor(tiles)).movedim(3, 2)[:, :, :, None]
    stored = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    scores |= {f"{name[11:]}_{key}": metric for key, metric in stored["metrics"].items()}

# %% [markdown] lang="en"
# The best sample is the one among a hundred that comes nearest to the truth. The average is taken
# pixel by pixel over the hundred.

# %%
truth, nearest, sample, *_, average = films["moving_svg_lp"][:3].unbind(1)
panels = {
    "the truth": truth,
    "without z": films["moving_svg_deterministic"][:3, 1],
    "one sample": sample,
    "best of 100": nearest,
    "average of 100": average,
}

# %% [markdown] lang="en"
# The first five frames are given, and the same in every film.

# %%
Player(
    {name: to_panel(clips) for name, clips in panels.items()},
    {"clip": [1, 2, 3]},
    captions=[f"frame {t}: {'given' if t < 5 else 'predicted'}" for t in range(15)],
    width=120,
    title="One future happened",
    alt="The true clip, the network without latent, one sample, the best and the average of 100.",
)

# %% [markdown] lang="en"
# Be fair to this small network, and honest. It keeps one compact shape in motion, it sends it back
# from the walls, and its samples go their own ways. But it forgets *which* digit it was: from the
# first predicted frames on, the strokes melt into something of about the right size and slant. A
# likely reason: all that is known about a digit in motion must pass through the features $h$. The
# skips, which carry the houses at the crossroads, show this digit where it *was*. And without $z$
# the shape follows one path that it cannot know to be the right one. The average of the samples
# admits what is unknown, and dissolves.
#
# ### Ten frames ahead
#
# Now the scores. Three predictions for the tenth frame:

# %%
far = Choice(
    "1.far_ahead",
    "Ten frames ahead, which of these has the highest PSNR?",
    ["one sample of SVG", "the last frame seen", "the mean of training frames, a grey fog"],
)
far

# %% [markdown] lang="en"
# PSNR of every step, averaged over the held-out clips:

# %%
shown = {
    "best of 100": "lp_psnr_best_of_100",
    "average of 100": "lp_psnr_average_of_100",
    "without z": "deterministic_psnr_deterministic",
    "one sample": "lp_psnr_best_of_1",
    "grey fog": "lp_psnr_mean_image",
    "last frame": "lp_psnr_copy_last",
}
ahead = [f"step_{t:02d}" for t in range(1, 11)]
psnr_of = {name: [scores[f"{key}_{t}"]["value"] for t in ahead] for name, key in shown.items()}

# %% [markdown] lang="en"
# Commit first.

# %%
options = {"one sample": far.options[0], "last frame": far.options[1], "grey fog": far.options[2]}
far.reveal(
    options[max(options, key=lambda name: psnr_of[name][-1])],
    picture=plots.curves(
        range(1, 11),
        psnr_of,
        "PSNR per step: all fall except the grey fog, which ends above the single sample.",
        xlabel="frames ahead",
        ylabel="PSNR (dB)",
    ),
    explanation="A sample that went another way pays twice: where it is, and where it is not.",
)

# %% [markdown] lang="en"
# The grey fog knows nothing about the clip, and yet it beats a sample that is sharp and plausible.
# You know why from chapter 0: a sample pays the squared error for its own choice *and* for the
# truth's, a mean pays once. For the same reason the average of a hundred samples scores well above
# each of them.
#
# The **structural similarity** (SSIM, 结构相似性) compares small windows of the two frames instead
# of single pixels, and is 1 where they are equal. Does it judge better?

# %%
for name, key in shown.items():
    of_steps = [scores[f"{key.replace('psnr', 'ssim')}_{t}"]["value"] for t in ahead[::3]]
    print(f"{name:>15}: SSIM 1, 4, 7, 10 frames ahead:", *(f"{value:.2f}" for value in of_steps))

# %% [markdown] lang="en"
# On average over the ten frames, SSIM puts one sample
# ({{moving_svg_lp.metrics.ssim_best_of_1.value:.2f}}) above the fog
# ({{moving_svg_lp.metrics.ssim_mean_image.value:.2f}}), where PSNR has it hardly above:
# {{moving_svg_lp.metrics.psnr_best_of_1.value:.1f}} against
# {{moving_svg_lp.metrics.psnr_mean_image.value:.1f}} dB. Ten frames ahead the fog wins here too. No
# measure of one guess against one truth can reward a model for *not knowing* in the right way.
#
# ### Best of K
#
# This is how SVG's authors, and many after them, score a sampler: draw $K$ samples, keep the one
# nearest to the truth, and report its PSNR [Denton and Fergus 2018, section 4: the best of 100].
# Beside it stands the mean over the samples, which does not depend on $K$.

# %%
tries = (1, 5, 20, 100)
best = [scores[f"lp_psnr_best_of_{k}"] for k in tries]
plots.curves(
    np.log10(tries),
    {
        "best of K": tuple([b[end] for b in best] for end in ("value", "low", "high")),
        "mean of K": [best[0]["value"]] * len(tries),
    },
    "The PSNR of the best of K rises with the logarithm of K; the mean of K stays.",
    xlabel="K = 1, 5, 20, 100 (logarithm to base 10)",
    ylabel="PSNR (dB)",
    levels={"without z": scores["deterministic_psnr_deterministic"]["value"]},
)

# %% [markdown] lang="en"
# The same samples, the same network. Only the number of tries grew, and the score with it. A best of
# a hundred beside a deterministic model's single try compares a hundred lottery tickets with one.
#
# ### A proper score
#
# The energy score of chapter 0 needs no list of futures. One truth per clip is enough, if there are
# many clips: with samples $X, X'$ and the truth $y$ it is
# $\mathbb{E}\lvert X-y\rvert - \tfrac12\mathbb{E}\lvert X-X'\rvert$, and nobody has a better
# expectation than the true distribution. We now spoil the sampler on purpose and see what each
# score notices. Every $z$ is drawn with half, twice, or three times the prior's sigma. And one
# sampler is absurd: three of four of its samples continue *another* clip (**stray**).

# %%
samplers = {"half sigma": "_spread_050", "the model": "", "twice sigma": "_spread_200"}
samplers |= {"three times sigma": "_spread_300", "stray": "_stray"}
print(f"{'':>18} best of 100 (dB)   energy score (interval)")
for name, suffix in samplers.items():
    top, energy = scores[f"lp_psnr_best_of_100{suffix}"], scores[f"lp_energy{suffix}"]
    print(
        f"{name:>18} {top['value']:12.2f} {energy['value']:14.4f}"
        f"   ({energy['low']:.4f} to {energy['high']:.4f})"
    )
alone = scores["deterministic_energy"]["value"]
print(
    f"{'without z':>18} {scores['deterministic_psnr_deterministic']['value']:12.2f} {alone:14.4f}"
)

# %% [markdown] lang="en"
# Compare **half sigma** with **three times sigma**. Best of a hundred puts the narrow sampler first,
# by {{moving_svg_lp.metrics.psnr_best_of_100_narrow_less_wide.value:.2f}} dB
# ({{moving_svg_lp.metrics.psnr_best_of_100_narrow_less_wide.low:.2f}} to
# {{moving_svg_lp.metrics.psnr_best_of_100_narrow_less_wide.high:.2f}}, clip by clip). The energy
# score puts it last, by {{moving_svg_lp.metrics.energy_narrow_less_wide.value:.3f}}
# ({{moving_svg_lp.metrics.energy_narrow_less_wide.low:.3f}} to
# {{moving_svg_lp.metrics.energy_narrow_less_wide.high:.3f}}): its samples crowd together and are far
# too sure. And **stray**, of which three quarters are nonsense, beats three times sigma and leaves
# the network without $z$ well behind, as long as only the best of a hundred counts. The energy score
# sends it behind every other sampler.
#
# One thing speaks against the model itself: drawn with twice its own sigma, it scores no worse in
# energy. It is rather too sure than too unsure.
#
# ### Coverage is not calibration
#
# On the film with the dice, all directions away from the wall are equally likely. No sampler can be
# broader than that, and so more sigma does not win best of K here. Where some futures are likelier
# than others it is different, and at the crossroads you can compute how much, without drawing
# anything. Take the 3. It has six futures, from rare to frequent. The **true sampler** draws them
# with their probabilities; the **equal sampler** draws each with the same probability.

# %%
world = Crossroads(load_digits("test"), TWICE)
three = world.futures(world.digits.labels.tolist().index(3), arrival=4)
clips, p = three.clips.double().flatten(1), three.probs
distance = torch.cdist(clips, clips) / clips.shape[1] ** 0.5  # root mean square
equal = torch.full_like(p, 1 / len(p))
rivals = {"true sampler": p, "equal sampler": equal}
print("probabilities:", [round(prob, 3) for prob in p.tolist()])

# %% [markdown] lang="en"
# For each true future we sort all futures by their distance to it. All $K$ samples are farther than
# the $j$ nearest ones with probability $(1 - q_1 - \dots - q_j)^K$. That gives the exact expectation
# of the least squared error among $K$ samples.

# %%
near, order = distance.square().sort(1)
for name, q in rivals.items():
    missed = 1 - torch.nn.functional.pad(q[order].cumsum(1), (1, 0)).clamp(max=1)  # by one sample
    errors = [
        p @ ((missed[:, :-1] ** k - missed[:, 1:] ** k) * near).sum(1) for k in (1, 5, 20, 100)
    ]
    print(f"{name}: best of 1, 5, 20, 100:", *(f"{error:.6f}" for error in errors))

# %% [markdown] lang="en"
# With one try and with five, the true sampler is better. With twenty tries the equal sampler wins,
# and with a hundred by a large factor: the true sampler now and then misses a rare future, and pays
# for it. The two other scores:

# %%
for name, q in rivals.items():
    energy = p @ distance @ q - q @ distance @ q / 2
    variation = (q - p).abs().sum() / 2
    print(f"{name}: energy score {energy:.4f}, total variation {variation:.3f}")

# %% [markdown] lang="en"
# Best of K asks *is the truth among the samples?* It never asks *how often?*, and it does not mind
# what the other samples show. It measures **coverage** and not **calibration** (校准). Use it to
# find out whether a model can produce the truth at all; use a proper score, or the total variation
# where the truth is known, to find out whether it believes in the right odds.
#
# A word on the nats: in the film with the dice the KL is
# {{moving_svg_lp.metrics.kl_news.value:.1f}} nats in a frame that shows a new direction, and
# {{moving_svg_lp.metrics.kl_elsewhere.value:.1f}} nats in the others. The event stands out, but the
# latent is never silent as at the crossroads: it also carries what this network cannot predict by
# itself, such as the exact pixel on which a digit lands.

# %% [markdown] lang="en"
# ## 8. Break it
#
# You have seen SVG work. Here are five ways in which it does not, four of them known from real
# code. None stops with an error. Each still draws clips, and the clips often look reasonable. Only
# a measurement tells.
#
# ### A latent that falls silent
#
# The commonest failure: the model trains, the loss falls, and z says nothing. Posterior and prior
# are the same in every frame, the KL is zero, and all samples are one clip. This is **posterior
# collapse** (后验坍塌).
#
# It is a trap with two doors. At the start of training the predictor does not know how to read z,
# so saying something there buys nothing, but it *costs* KL from the first step. The cheapest move
# is to make the posterior equal to the prior. Then z carries nothing, and the predictor has no
# reason ever to learn to read it.
#
# Our recipe tries two things against it:
# - **a small first beta.** Talking is almost free at the start, so that the posterior speaks until
#   the predictor listens. Then beta grows to its final value;
# - **a residual predictor.** It outputs what *changes* in the features. A plain one, as published,
#   must output all features anew: it has to learn to copy, too, before z can matter.
#
# We trained all four combinations, each once, {{svg_collapse_plain_full.config.steps}} updates long,
# to a final beta of {{svg_collapse_plain_full.config.beta}}, which in the sweep above left z alive. *How many end with a silent z*, which means here: with less than a tenth
# of a nat in a whole clip?

# %%
silent_runs = Slider(
    "1.silent",
    "In how many of the four trainings does z fall silent?",
    0,
    4,
    1,
    unit="trainings",
)
silent_runs

# %% [markdown] lang="en"
# We load what was stored during the four trainings. The exact worth of the news at the crossroads
# is there to compare with: the entropy of the future, on average over our five digits.

# %%
import json

from course_lib.paths import RESULTS

combinations = {
    "residual, small first beta": "residual_low",
    "residual, full beta at once": "residual_full",
    "plain, small first beta": "plain_low",
    "plain, full beta at once": "plain_full",
}
ablation = {
    label: json.loads((RESULTS / f"svg_collapse_{name}.json").read_text(encoding="utf-8"))
    for label, name in combinations.items()
}
news = np.mean([case.entropy().sum().item() for case in cases.values()])

# %% [markdown] lang="en"
# From each we take the nats per clip: at the end, and on the way there.

# %%
silent = {label: run["metrics"]["rate"]["value"] < 0.1 for label, run in ablation.items()}
steps = [point["step"] for point in next(iter(ablation.values()))["history"]]
rates = {label: [point["rate"] for point in run["history"]] for label, run in ablation.items()}
those = "; ".join(label for label in silent if silent[label]) or "none"

# %% [markdown] lang="en"
# The whole course of the four trainings, on a logarithmic scale:

# %%
silent_runs.reveal(
    sum(silent.values()),
    explanation=f"Silent: {those}.",
    picture=plots.curves(
        steps,
        rates,
        "Nats per clip during training, for two predictors and two ways to begin with beta.",
        xlabel="training step",
        ylabel="KL, nats per clip",
        log=True,
        levels={"entropy of the future": news, "silent below": 0.1},
    ),
)

# %% [markdown] lang="en"
# Where beta begins small, the rate may first lie far above the entropy: while nats are almost free,
# nobody saves them. A line that lies on the floor is a model without a latent, whatever its loss
# says. What did each model become?

# %%
columns = {"rate": "nats per clip", "kl_turn": "nats at the turn", "valid": "valid samples"}
for label, run in ablation.items():
    shown = [
        f"{title} {m['value']:.2f} ({m['low']:.2f} to {m['high']:.2f})"
        for title, m in ((title, run["metrics"][key]) for key, title in columns.items())
    ]
    error = run["metrics"]["distortion"]["value"]
    print(f"{label}, after {run['step']} steps:")
    print(f"    {', '.join(shown)}, error of reconstructions {error:.4f}")

# %% [markdown] lang="en"
# And the verdict, computed from the four rates: each line asks what one change does while the other
# is held fixed.

# %%
residual, residual_full, plain_beta, plain_full = silent.values()
verdicts = {
    (True, False): "cures the silence",
    (True, True): "does not help: silent with and without it",
    (False, False): "is not needed: z speaks with and without it",
    (False, True): "does harm: z speaks only without it",
}
print("a small first beta, predictor residual:", verdicts[residual_full, residual])
print("a small first beta, predictor plain:   ", verdicts[plain_full, plain_beta])
print("a residual predictor, beta small first:", verdicts[plain_beta, residual])
print("a residual predictor, beta full:       ", verdicts[plain_full, residual_full])

# %% [markdown] lang="en"
# So in this world the first beta decides alone; the residual predictor, which we had expected to
# matter, is not needed. This is one training each, at one final beta: it shows what *can* happen,
# and it does not prove the story of the two doors. But the check is the same for every VAE that you
# will ever train: **look at the KL, not at the loss.** Raising beta slowly is common practice
# [Bowman et al. 2016]; another way is to charge nothing for the first nats, called *free bits*
# [Kingma et al. 2016].
#
# ### BatchNorm in train mode at generation
#
# The published networks use **BatchNorm** (批归一化). In train mode it subtracts the mean over the
# *batch* and divides by the batch's standard deviation; in eval mode it uses averages stored during
# training. The official script generates with its networks in train mode [edenton/svg,
# generate_svg_lp.py, 2018]. Then a clip's future depends on the strangers that happen to share its
# batch.
#
# Our own networks have GroupNorm, which never looks across clips. So we train a tiny BatchNorm
# network now, without latent, to draw just the next frame. It takes a few seconds.

# %% budget_s=8
from course_lib.models.dcgan import DCGANConfig
from course_lib.models.svg import SVG, SVGConfig

torch.manual_seed(0)
image = DCGANConfig(channels=(8, 16, 32), norm_groups=None, feature_dim=64, hidden_dim=128)
batchnorm = SVG(SVGConfig(image, prior=None, latent_dim=0, predictor_dim=64))
lessons = Crossroads(load_digits("train"), TWICE)
optimizer = torch.optim.Adam(batchnorm.parameters(), lr=3e-3)
for _ in range(120):
    video = lessons.sample(16).video[:, :4]
    frame = batchnorm(video, 3, torch.zeros(16, 1, 0)).frames
    optimizer.zero_grad()
    (frame - video[:, 3:]).square().mean().backward()
    optimizer.step()

# %% [markdown] lang="en"
# Now the same 4, with the same three frames of context, in two batches of sixteen: once among
# fifteen other walkers, once among fifteen clips of an empty road. There is no latent, so nothing
# is random. In each mode the two pictures of the 4 should be equal.

# %%
walker = cases["4"].context
company = {
    "walkers": torch.stack([world.clip(n, 5, "straight")[:3] for n in range(15)]),
    "roads": world.map.expand(15, 3, 1, -1, -1),
}
pictures = {}
for mode in ("eval", "train"):
    batchnorm.train(mode == "train")
    for name, others in company.items():
        with torch.no_grad():
            drawn_frame = batchnorm.predict(torch.cat([walker[None], others]), 1)
        pictures[f"{mode}, with {name}"] = drawn_frame[0, 0]

# %% [markdown] lang="en"
# The last picture of each row is the difference of the two before it, five times as strong; grey
# is no difference.

# %%
batchnorm.eval()
rows = torch.stack(list(pictures.values())).unflatten(0, (2, 2))  # mode, company
difference = rows[:, 1] - rows[:, 0]
plots.contact_sheet(
    torch.cat([rows, (5 * difference).clamp(-1, 1)[:, None]], dim=1).flatten(0, 1),
    "The same 4 drawn in two batches, and the difference: none in eval mode, some in train mode.",
    columns=3,
    titles=[*list(pictures)[:2], "difference x 5", *list(pictures)[2:], "difference x 5"],
)

# %% [markdown] lang="en"
# As numbers: the largest difference of a pixel, where black is -1 and white 1. For comparison the
# same test with our trained SVG in *train* mode, its z held at zero.

# %%
svg.train()
z = torch.zeros(16, 1, svg.config.latent_dim)
with torch.no_grad():
    ours = [
        svg.predict(torch.cat([walker[None], others]), 1, z=z)[0] for others in company.values()
    ]
    again = batchnorm.predict(torch.cat([walker[None], company["walkers"]]), 1)[0, 0]
svg.eval()
print(f"BatchNorm, eval mode:  {difference[0].abs().max():.6f}")
print(f"BatchNorm, train mode: {difference[1].abs().max():.6f}")
print(f"GroupNorm, train mode: {(ours[1] - ours[0]).abs().max():.6f}")
print(f"eval mode before and after: {(again - pictures['eval, with walkers']).abs().max():.6f}")

# %% [markdown] lang="en"
# The last line is the nastier half. Drawing in train mode also *updates the stored averages*. Back
# in eval mode, the same network draws the same 4 differently than before: looking at it has changed
# it. The cure is one line, `model.eval()`, before anything is generated.
#
# ### The skip that is one frame late
#
# The decoder draws with the help of **skips** (跳跃连接): maps of a context frame that the encoder
# hands over directly. The paper takes them from the last context frame. The official code takes
# them from the last but one, by an index that is off by one; W. Peebles found it [edenton/svg,
# issue 1]. We do the same to our trained model. For scale, we also give it the skips of an empty
# road, with no digit in them at all.

# %%
from dataclasses import replace

clips = world.sample(100, generator=torch.Generator().manual_seed(7)).video
empty = world.map.expand(100, 1, 1, -1, -1)
with torch.no_grad():
    state = svg.observe(clips[:, :3])
    skips = {"frame 2": state.skips}
    skips |= {"frame 1": svg.observe(clips[:, :2]).skips, "an empty road": svg.observe(empty).skips}
    first_frame = {
        name: svg.step(state.prior.mean, replace(state, skips=maps))[0]
        for name, maps in skips.items()
    }

# %% [markdown] lang="en"
# Everything else is the same: features, state, and z at the mean of its prior. Frame 3 holds no
# news: whatever happens later, the digit is still on its way up or just arrived. So there is one
# right answer, and the error has no excuse.

# %%
truth = clips[:, 3]
costs = {name: (frame - truth).square().mean().item() for name, frame in first_frame.items()}
for name, cost in costs.items():
    factor = cost / costs["frame 2"]
    print(f"skips of {name}: squared error {cost:.5f}, {factor:.2f} times that of frame 2")
print(f"frame 2, shown once more: {(clips[:, 2] - truth).square().mean():.5f}")

# %% [markdown] lang="en"
# Where is the error? Eight clips, one in each column. The lower two rows show what the wrong skips
# add (white) and take away (black), five times as strong; grey is no difference.

# %%
right = first_frame["frame 2"]
plots.film_strip(
    {
        "the truth": truth[:8],
        "skips of frame 2": right[:8],
        "skips of frame 1": first_frame["frame 1"][:8],
        "frame 1 - frame 2": (5 * (first_frame["frame 1"] - right)[:8]).clamp(-1, 1),
        "road - frame 2": (5 * (first_frame["an empty road"] - right)[:8]).clamp(-1, 1),
    },
    "Frame 3 of eight clips, drawn with the right skips and with wrong ones, and the differences.",
    frames=range(8),
)

# %% [markdown] lang="en"
# The pictures alone hardly betray the fault; the differences do. That is how such a fault lives on
# unseen. A caution: our network was trained with the right skips and then given wrong ones. The
# official networks were *trained* with the late ones and learned to live with them. What their
# decoder misses is whatever only the last frame shows.
#
# ### A state carried over
#
# In the official code the hidden state lives inside the network, and `init_hidden()` must be called
# before every clip. Forget it, and a clip begins with what the one before it left behind. Our `SVG`
# keeps no state: `observe` starts from zeros, `step` takes a state and returns the next. To make
# the mistake we have to work for it. First, twelve clips for each of our five digits, as they
# should be:

# %%
past = torch.stack([case.context for case in cases.values()]).repeat_interleave(12, 0)
generator = torch.Generator().manual_seed(0)
state, frames_so_far = svg.observe(past), []
with torch.no_grad():
    for _ in range(TWICE.horizon):
        frame, state = svg.step(state.prior.sample(generator=generator), state)
        frames_so_far.append(frame)
reset = torch.stack(frames_so_far, 1)  # (60, 14, 1, 32, 32)

# %% [markdown] lang="en"
# Then the same contexts again. This time predictor and prior read them starting from the state that
# *another digit's* finished clip has left.

# %%
from course_lib.nn.gaussian import DiagonalGaussian

other = torch.arange(len(past)).roll(12)
with torch.no_grad():
    h = svg.encoder(past.flatten(0, 1))[0].unflatten(0, past.shape[:2])  # (60, 3, D)
    no_latent = torch.zeros(len(h), 2, svg.config.latent_dim)
    old = [tuple(x[:, other] for x in s) for s in (state.predictor_state, state.prior_state)]
    _, predictor_state = svg.predictor(h[:, :-1], no_latent, old[0])
    prior, prior_state = svg.prior(h, old[1])
    prior = DiagonalGaussian(prior.mean[:, -1], prior.logvar[:, -1])
    carried = replace(svg.observe(past), prior=prior, prior_state=prior_state)
state = replace(carried, predictor_state=predictor_state)

# %% [markdown] lang="en"
# The dice fall exactly as before, because the generator gets the same seed. What differs comes from
# the state alone.

# %%
generator, frames_so_far = torch.Generator().manual_seed(0), []
with torch.no_grad():
    for _ in range(TWICE.horizon):
        frame, state = svg.step(state.prior.sample(generator=generator), state)
        frames_so_far.append(frame)
leaked = torch.stack(frames_so_far, 1)

# %% [markdown] lang="en"
# We count the valid clips, and measure the squared error of frame 3, which holds no news.

# %%
from course_lib.evaluation.futures import VALID_DISTANCE, VALID_FRAME, distances

first = torch.stack([case.clips[0, 0] for case in cases.values()]).repeat_interleave(12, 0)
measured = {}
for name, futures in {"reset": reset, "carried over": leaked}.items():
    far = [distances(*pair) for pair in zip(futures.split(12), cases.values(), strict=True)]
    shows = [((d <= VALID_DISTANCE) & (worst <= VALID_FRAME)).any(1) for d, worst in far]
    measured[name] = (futures[:, 0] - first).square().mean().item()
    print(f"state {name}: {int(torch.cat(shows).sum())} of {len(past)} clips valid,")
    print(f"    squared error of frame 3: {measured[name]:.5f}")
factor = measured["carried over"] / measured["reset"]
print(f"the carried state multiplies the error of frame 3 by {factor:.2f}")

# %% [markdown] lang="en"
# Below is the clip whose first three predicted frames change most, under the same dice.

# %%
changed = int((leaked - reset)[:, :3].square().flatten(1).mean(1).argmax())
plots.film_strip(
    {
        "the clip before": reset[other[changed]],
        "state reset": reset[changed],
        "state carried": leaked[changed],
    },
    "A finished clip of another digit, and one context continued with a clean and a carried state.",
    first=TWICE.context,
)

# %% [markdown] lang="en"
# This is the most changed of the sixty, so do not take it for the usual. An LSTM forgets, and three
# frames of context wash out part of what was left. That makes the fault hard to see: it is a leak,
# not a break. A test finds it at once. *Predict a clip alone, predict it after another one, and
# demand the same result.* With a state that is passed instead of stored there is nothing to forget.
#
# ### Mean or sum
#
# SVG's loss is the squared error plus beta times the KL. The squared error may be a *mean* over
# the $D$ pixels of a frame, as in the official code, or a *sum*, as in others. Both are called MSE.
# Since
#
# $$\sum_i (x_i-\hat x_i)^2 + \beta\,\mathrm{KL}
#   = D\,\Bigl[\tfrac1D\sum_i (x_i-\hat x_i)^2 + \tfrac{\beta}{D}\,\mathrm{KL}\Bigr],$$
#
# the same number beta means $D$ times less beside a sum. Section 6 told you what beta stands for:
# a standard deviation of pixels, $\sigma = \sqrt{\beta D/2}$ beside a mean and $\sqrt{\beta/2}$
# beside a sum. We write it as a share of the distance from black to white, which is one for pixels
# in [0, 1] and two for pixels in [-1, 1]. The published beta is 1e-4.

# %%
from course_lib.methods.vae import pixel_sigma

print("pixel sigma of beta = 1e-4 as a share of black to white")
print(f"{'':>26} {'[0, 1]':>8} {'[-1, 1]':>8}")
for kind, edge, pixels in [
    ("mean", 32, 32 * 32),
    ("mean", 64, 64 * 64),
    ("mean", 64, 3 * 64 * 64),
    ("sum", 64, 1),
]:
    sigma = pixel_sigma(1e-4, pixels)
    about = "any size" if kind == "sum" else f"{edge} x {edge}, {pixels // edge**2} channel(s)"
    print(f"{kind:>4}, {about:>20} {sigma:>8.4f} {sigma / 2:>8.4f}")

# %% [markdown] lang="en"
# One number, and it says anything from "a pixel may be off by most of the scale" to "by less than a
# hundredth of it". Beside a mean, twice the edge gives twice the sigma: the same beta
# pushes harder towards silence in a larger frame. Beside a sum the size does not matter. And the
# range matters too: stretching [0, 1] to [-1, 1] makes every squared error four times as large, so
# beta must grow by four to mean the same.
#
# What would our own beta do if somebody copied it into a code that sums? And the other way round: a
# code that sums needs our beta times $D$; what if that number is put beside a mean? We compare with
# the critical beta of the frame in which the 4 turns, the one that counted in section 6.

# %%
from course_lib.methods.vae import critical_beta

beta, pixels, four = SVG_LP.small.beta, world.size**2, cases["4"]
turned = replace(four, clips=four.clips[:, four.turn_step : four.turn_step + 1])
limit = critical_beta(turned.lambda_max(), pixels)
copies = {"as it is": beta, "mean to sum": beta / pixels, "sum to mean": beta * pixels}
for kind, meant in copies.items():
    share = meant / limit
    word = "z would be ignored" if share >= 1 else "z may speak"
    sigma = pixel_sigma(meant, pixels)
    print(f"{kind}: sigma {sigma:.4f}, {share:.2g} of the critical beta of the 4: {word}")

# %% [markdown] lang="en"
# From a mean to a sum, z becomes far too cheap; from a sum to a mean, far dearer. Neither stops
# with an error. So three things belong beside every beta that you report: mean or sum, the number
# of pixels, and their range. Or report sigma as a share of the scale, which needs none of them.

# %% [markdown] lang="en"
# ## 9. A prior that can leave out the middle
#
# One defect is left. The 2 never goes straight on, but one Gaussian over three neighbouring regions
# cannot skip the middle one. What if the prior were not one bell, but a **mixture** (混合分布) of
# four?
#
# $$p(z_t \mid x_{<t}) = \sum_{k=1}^{4} w_k\, \mathcal{N}(\mu_k, \sigma_k^2),$$
#
# with weights, means and widths from the prior's LSTM. Nothing else changes. The KL to a mixture has
# no closed form, so it is estimated with the one $z$ at hand, $\log q(z) - \log p(z)$. This is how
# such a prior looks in one dimension for "left or right, never straight on":

# %%
from course_lib.nn.gaussian import DiagonalGaussian, GaussianMixture

line = torch.linspace(-3, 3, 301)[:, None]
bell = DiagonalGaussian(torch.zeros(301, 1), torch.full((301, 1), 1.0))
middles = torch.tensor([[-1.5], [1.5]]).expand(301, 2, 1)
pair = GaussianMixture(
    torch.zeros(301, 2), DiagonalGaussian(middles, torch.full((301, 2, 1), -2.0))
)
density = {"one bell": bell.log_prob(line).exp(), "two": pair.log_prob(line).exp()}

# %% [markdown] lang="en"
# The mixture has next to nothing in the middle:

# %%
plots.curves(
    line[:, 0],
    density,
    "One wide Gaussian and a mixture of two narrow ones that leaves out the middle.",
    xlabel="z",
    ylabel="density of the prior",
)

# %% [markdown] lang="en"
# Which of the three priors is calibrated best? All three are trained in the same way and equally
# long ({{svg_short_lp_0.config.steps}} updates, a fraction of the main training), three times each
# with other seeds.

# %%
prior_choice = Choice(
    "1.best_prior",
    "Which prior's samples have the smallest total variation from the truth?",
    ["fixed N(0, I)", "learned Gaussian", "learned mixture"],
)
prior_choice

# %% [markdown] lang="en"
# Every line is one training, judged on held-out digits.

# %%
from course_lib.recipes.svg import SEEDS

kinds = {"fp": "fixed N(0, I)", "lp": "learned Gaussian", "mixture": "learned mixture"}
scores = {}
for kind, name in kinds.items():
    for seed, member in enumerate(SEEDS[kind]):
        stored = json.loads(member.results.read_text(encoding="utf-8"))["metrics"]
        scores[kind, seed] = {k: m["value"] for k, m in stored.items()}
        print(
            f"{name:>16}, seed {seed}: total variation {stored['total_variation']['value']:.3f} "
            f"({stored['total_variation']['low']:.3f} to {stored['total_variation']['high']:.3f}), "
            f"valid {stored['valid']['value']:.3f}"
        )

# %% [markdown] lang="en"
# And by cue, the mean over the seeds:

# %%
floor = scores["lp", 0]["total_variation_floor"]
mean_of = {
    (kind, key): np.mean([scores[kind, seed][key] for seed in range(len(SEEDS[kind]))])
    for kind in kinds
    for key in scores["lp", 0]
}
by_cue = {
    "/".join(str(d) for d in cue.digits): {
        name: mean_of[kind, f"total_variation_{cue.digits[0]}"] for kind, name in kinds.items()
    }
    for cue in CUES
}

# %% [markdown] lang="en"
# The winner over all cues, and where it wins:

# %%
for kind, name in kinds.items():
    total, valid = mean_of[kind, "total_variation"], mean_of[kind, "valid"]
    print(f"{name:>16}: total variation {total:.3f} (floor {floor:.3f}), valid {valid:.3f}")
prior_choice.reveal(
    kinds[min(kinds, key=lambda kind: mean_of[kind, "total_variation"])],
    picture=plots.bars(
        by_cue,
        "Total variation by cue for the fixed, the learned Gaussian and the mixture prior.",
        ylabel="total variation",
    ),
)

# %% [markdown] lang="en"
# The fixed prior does worst, and not because of its shape alone: its N(0, 1) throws dice in *every*
# frame, and the predictor has to ignore most of them. The learned Gaussian repairs that for all cues
# but the last. The mixture repairs the last one: it puts two bells on left and right and none
# between them. In seed 0 its KL follows the entropy of the turn with slope
# {{svg_short_mixture_0.metrics.kl_slope.value:.2f}}; the Gaussian's slope is
# {{svg_short_lp_0.metrics.kl_slope.value:.2f}}. Nothing is paid on top any more.
#
# ### The long training
#
# And with a long training, {{svg_mixture.config.steps}} updates, beside the network that you have
# used in this chapter ({{svg_lp.config.steps}} updates):

# %%
long = {
    name: json.loads((RESULTS / f"{key}.json").read_text(encoding="utf-8"))["metrics"]
    for name, key in {"one Gaussian": "svg_lp", "mixture": "svg_mixture"}.items()
}
for key in ("valid", "valid_reconstructions", "valid_two_events", "total_variation", "kl_slope"):
    print(f"{key:>21}: ", end="")
    print(*(f"{name} {metric[key]['value']:.3f}" for name, metric in long.items()), sep=", ")
print(f"floor of the total variation {long['mixture']['total_variation_floor']['value']:.3f}")

# %% [markdown] lang="en"
# The mixture is calibrated: it comes within a few hundredths of a perfect sampler's total variation,
# its KL follows the entropy nat for nat, and nearly all that it reconstructs it also samples. Where
# it fails, it fails at copying: after two events a digit has been redrawn fourteen times, and its
# shape has suffered. The 2 once more, with both priors. Which sample takes a way that no 2 takes?

# %%
both = np.stack([read_sheet(name)[4] for name in ("svg_lp", "svg_mixture")])
names_of_rows = ("truth", "reconstruction", "a sample", "another", "a third")
Player(
    {name: both[:, k] for k, name in enumerate(names_of_rows)},
    {"prior": list(long)},
    captions=[f"frame {t}: {word}" for t, word in enumerate(when)],
    width=130,
    title="A prior of one bell, and of four",
    alt="A held-out 2 under the Gaussian prior and under the mixture prior.",
)

# %% [markdown] lang="en"
# ### Claim panel
#
# | claim | measured here | label |
# |---|---|---|
# | The learned prior tells when the future is uncertain [Denton and Fergus 2018, section 4] | crossroads, one seed, held-out digits: {{svg_lp.metrics.kl_turn.value:.2f}} nats at the turn (interval {{svg_lp.metrics.kl_turn.low:.2f}} to {{svg_lp.metrics.kl_turn.high:.2f}}), {{svg_lp.metrics.kl_idle_largest.value:.3f}} nats in the largest frame without news | reproduced, and explained |
# | A learned prior samples better than a fixed one [Denton and Fergus 2018, section 4] | crossroads, short trainings, total variation of seeds 0, 1, 2: learned {{svg_short_lp_0.metrics.total_variation.value:.3f}}, {{svg_short_lp_1.metrics.total_variation.value:.3f}}, {{svg_short_lp_2.metrics.total_variation.value:.3f}}; fixed {{svg_short_fp_0.metrics.total_variation.value:.3f}}, {{svg_short_fp_1.metrics.total_variation.value:.3f}}, {{svg_short_fp_2.metrics.total_variation.value:.3f}} | reproduced |
# | Best of a hundred samples beats the deterministic model [Denton and Fergus 2018, section 4] | Stochastic Moving MNIST, one seed: {{moving_svg_lp.metrics.psnr_best_of_100.value:.2f}} dB against {{moving_svg_deterministic.metrics.psnr_deterministic.value:.2f}} dB; a single sample has {{moving_svg_lp.metrics.psnr_best_of_1.value:.2f}} dB | same direction, and the measure favours it |
# | A Gaussian prior cannot leave out the middle, a mixture can (ours) | crossroads, total variation of the 2 and the 8, seed 0: {{svg_short_lp_0.metrics.total_variation_2.value:.3f}} against {{svg_short_mixture_0.metrics.total_variation_2.value:.3f}} | measured, three seeds above |
#
# ## 10. Before you go
#
# **In five lines**
# - A latent is a number that the model may throw dice for; given the number, the next frame is sharp.
# - Training draws it from the posterior, which has seen the frame; testing from the prior, which has
#   not. The KL ties the two.
# - The reparameterised draw, mean plus sigma times noise, lets gradients through.
# - The KL of a frame says when something was decided, and how many nats that was worth.
# - Beta is a pixel variance: too large, and z falls silent; too small, and the prior never learns what
#   the posterior says.
#
# **Easily mistaken**
# - "z is a label of the future." Nobody names it; it is whatever buys the most squared error per nat.
# - "A lower KL is better." At zero the model is chapter 0's.
# - "Good reconstructions mean good samples." They use the posterior, which has seen the film.
# - "Best of a hundred is good, so the odds are right." It measures coverage.
#
# **Quiz**
#
# <details><summary>At test time, which of encoder, decoder, predictor, prior and posterior is not
# used?</summary>The posterior: there is no next frame to look at.</details>
#
# <details><summary>The KL of every frame is zero. What does the model draw?</summary>One clip per
# past, the blur of chapter 0: z tells the predictor nothing.</details>
#
# <details><summary>You change the loss from the mean over pixels to their sum and leave beta as it is.
# What happens to the pixel variance it stands for?</summary>It is divided by the number of pixels:
# z may say far more than before.</details>
#
# <details><summary>Why is a perfect SVG's KL at the turn at least the entropy of the
# turn?</summary>On average over the futures, a posterior that names the turn must differ from a prior
# with the right odds by that entropy.</details>
#
# **Further reading**
# - Kingma and Welling, *Auto-encoding variational Bayes*, 2013, arXiv 1312.6114: section 2.
# - Denton and Fergus, *Stochastic video generation with a learned prior*, 2018, arXiv 1802.07687:
#   section 3.
# - Babaeizadeh et al., *Stochastic variational video prediction*, 2017, arXiv 1710.11252: one latent
#   for a whole clip.
# - Alemi et al., *Fixing a broken ELBO*, 2017, arXiv 1711.00464: rate and distortion of a VAE.
#
# **Where to go on.** Chapter 2 forbids the blur in another way: a critic looks at every clip.
