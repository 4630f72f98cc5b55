# %% [markdown] lang="en"
# # The adversary
#
# Chapter 1 threw dice. Its loss still compared a drawn clip with *one* true clip, pixel by pixel.
# This chapter lets a second network decide instead: one that learns to tell drawn clips from real
# ones. It also splits a scene in two: a background that cannot move, and a foreground that may.
#
# **After this chapter you can**
# - play the adversarial game in one and two dimensions, and say who stops learning, and when;
# - explain why an adversary forbids blur, and measure where it looks;
# - build a video from two streams and a mask, and say what each stream is unable to do;
# - measure a mask that nobody has labelled: against the truth, against a detector, against chance;
# - tell "each clip looks real" from "all the futures are there".
#
# **You need** chapters 0 and 1. **Study time** 90 minutes. **Computing time**
# {{build.seconds:.0f}} seconds for all cells, without a GPU.

# %% tags=["setup"] budget_s=15
import numpy as np
import torch

from course_lib import plots
from course_lib.checks import chapter2 as check
from course_lib.data.digits import load_digits
from course_lib.data.video import mosaic, to_panel
from course_lib.widgets.course_map import course_map
from course_lib.widgets.player import Player
from course_lib.widgets.prediction import Choice, Slider

torch.set_num_threads(1)  # a second thread gains little, and costs much on a busy machine
course_map()

# %% [markdown] lang="en"
# Nine clips that never happened. The network that drew them was never told what a background is, nor
# that one thing moves and the rest does not. Press play, and look at the four panels.

# %%
from course_lib.recipes.videogan import main_model
from course_lib.recipes.videogan_exam import generate, prior

videogan = main_model()
nine = generate(videogan, prior(videogan, 9))
Player(
    {
        "drawn": to_panel(mosaic(nine.video, columns=3)),
        "foreground": to_panel(mosaic(nine.foreground, columns=3)),
        "mask": to_panel(mosaic(nine.mask * 2 - 1, columns=3)),
        "background": to_panel(mosaic(nine.background[:, None], columns=3)),
    },
    title="Nine samples, taken apart",
    alt="Nine drawn clips, their foregrounds, masks and still backgrounds.",
)

# %% [markdown] lang="en"
# The mask found the moving thing by itself. To see why, we start with the smallest game there is.

# %% [markdown] lang="en"
# ## 1. A game in one and two dimensions
#
# Two networks play against each other. The **generator** (生成器) $G$ turns noise into a point, later
# into a clip. The **discriminator** (判别器) $D$ sees a point and says how likely it is a real one.
# It never sees where the point came from: it has to tell from the point alone. This is a **generative
# adversarial network** (GAN, 生成对抗网络) [Goodfellow et al. 2014].
#
# The discriminator outputs one number, a **logit** (对数几率) $\ell(x)$. A sigmoid makes a probability
# of it, $D(x) = \sigma(\ell(x))$: a logit above zero says "real", one below says "fake". Its loss is
# what a classifier pays for its wrong answers:
#
# $$L_D = -\,\mathbb{E}_{\text{real}}\bigl[\log D(x)\bigr]
#   - \mathbb{E}_{\text{fake}}\bigl[\log\bigl(1 - D(x)\bigr)\bigr].$$
#
# The generator has no data. All it has is the discriminator's opinion of its points, and it wants
# them called real: $L_G = -\,\mathbb{E}_{\text{fake}}[\log D(x)]$.
#
# ### Your turn: both losses


# %% tags=["exercise"]
def losses(real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """L_D and L_G in nats, from the logits of real points (B,) and of fake ones (N,)."""
    # SOLUTION
    softplus = torch.nn.functional.softplus  # log(1 + exp(x)), safe for huge x
    discriminator_loss = softplus(-real).mean() + softplus(fake).mean()
    generator_loss = softplus(-fake).mean()
    return discriminator_loss, generator_loss
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Average over the real points and over the fake ones separately, then add. What does a discriminator
# pay that answers one half to everything?

# %% [markdown] lang="en" tags=["hint"]
# `sigmoid` of a very negative logit is zero, and its logarithm is minus infinity. But
# $-\log\sigma(\ell) = \log(1 + e^{-\ell})$, and PyTorch has `torch.nn.functional.softplus` for
# $\log(1 + e^{x})$.

# %% [markdown] lang="en" tags=["hint"]
# $1 - \sigma(\ell) = \sigma(-\ell)$. So the three terms are softplus of `-real`, of `fake` and of
# `-fake`, each a mean.

# %% [markdown] lang="en"
# *Difficulty: easy, 8 minutes.*

# %%
losses_verdict = check.losses(losses)
losses_verdict

# %% [markdown] lang="en"
# Your losses now drive every game of this section. The first is on a line. The data are a Gaussian
# around zero. The generator is as small as it can be: it adds a number to its noise, so its density
# is a Gaussian of the same width, and learning can only move it. The discriminator is a network with
# two hidden layers. They take turns. **Round** here means one move of each.

# %%
from course_lib.data.toy import two_bumps
from course_lib.methods.gan import optimal_discriminator
from course_lib.recipes.toy_game import Game, Rules, Shift, play

line = torch.linspace(-6, 4, 201)[:, None]
p = two_bumps(0.0).log_prob(line.double()).exp()  # two bumps at one place: one Gaussian
game = Game(1, Shift(-3.0))
moments, means = [], []
rules = Rules(learning_rate=0.02)
opponents = {"seed": 0, "rounds": 400, "every": 25, "losses": losses_verdict.function}
for moment in play(two_bumps(0.0), game, rules, places=line, **opponents):
    moments.append(moment)
    means.append(game.generator.mean.item())
print(f"losses: {losses_verdict.whose}; the generator ends at {means[-1]:.2f}")

# %% [markdown] lang="en"
# What *should* the discriminator say? At a place where the data have density $p(x)$ and the generator
# has density $q(x)$, a point is real with probability
#
# $$D^*(x) = \frac{p(x)}{p(x) + q(x)},$$
#
# if half of all points shown are real. No other answer pays less [Goodfellow et al. 2014,
# proposition 1]. Here both densities are known, so we can draw it beside the learned one.

# %% budget_s=12
frames, captions = [], []
for moment, mean in zip(moments, means, strict=True):
    q = two_bumps(0.0).log_prob(line.double() - mean).exp()
    shown = {
        "p, data": p,
        "q, generator": q,
        "p / (p + q)": optimal_discriminator(p, q),
        "learned D": moment.logits.sigmoid(),
    }
    frame = plots.curves(line[:, 0], shown, "D.", xlabel="x", ylabel="", ylim=(0, 1))
    frames.append(frame.pixels(560))
    nats = f"losses in nats: D {moment.discriminator_loss:.2f}, G {moment.generator_loss:.2f}"
    captions.append(f"after round {moment.step}: {nats}")

# %% [markdown] lang="en"
# Step through the rounds, or press play. The player's speed control gives you slow motion.

# %%
Player(
    {"the game on a line": np.stack(frames)},
    captions=captions,
    width=560,
    fps=4,
    title="A Gaussian follows the discriminator",
    alt="A generator's Gaussian moves onto the data's; the discriminator flattens towards one half.",
)

# %% [markdown] lang="en"
# At the start the discriminator is a step: left of it fake, right of it real. The generator needs no
# more than its slope: it walks uphill. As $q$ moves onto $p$, the learned curve follows $p/(p+q)$
# and sinks to one half where the points are. Then the game is over: nobody can tell, and the
# discriminator pays near $2\ln 2$.
#
# Where is the learned curve worst? At the edges, where neither side sends points: a discriminator
# knows nothing about places that nobody shows it.
#
# *What does this game minimise?* With a perfect discriminator the value of the first GAN's game is
# the **Jensen-Shannon divergence** of $p$ and $q$, up to a factor and a constant [Goodfellow et al.
# 2014, theorem 1]. So a GAN is not maximum likelihood, which was forward KL, and not reverse KL
# either (chapter 0, section 4); and with a discriminator that is still learning it is none of the
# three exactly.

# %% [markdown] lang="en"
# ### A sure opponent is no teacher
#
# The first paper writes *one* loss for both: what the discriminator gains, the generator loses. Such a
# game is **zero-sum** (零和): the two losses add up to a number that the generator cannot change. Its
# generator minimises $\mathbb{E}_{\text{fake}}[\log(1 - D(x))]$, the **saturating** (饱和) loss. The
# loss you wrote, $-\mathbb{E}_{\text{fake}}[\log D(x)]$, is the **non-saturating** one. It also wants
# $D$ to rise, but the sum of both losses does change with the generator: two players, two wishes, no
# zero-sum game.
#
# Why bother? Look at the slope that each loss has in the logit of a fake point:
#
# $$\frac{\partial}{\partial \ell}\log\bigl(1-\sigma(\ell)\bigr) = -\sigma(\ell),\qquad
#   \frac{\partial}{\partial \ell}\bigl[-\log \sigma(\ell)\bigr] = -\bigl(1-\sigma(\ell)\bigr).$$
#
# A discriminator that is sure says $\sigma(\ell) \approx 0$ of a fake. Then the first slope is nearly
# zero and the second is largest. On our line we can see it: put the generator at some distance from the
# data, let the discriminator be *perfect*, and ask how hard each loss pulls at the generator's mean.

# %%
distances = np.linspace(0.25, 8, 32)
noise = torch.randn(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
pulls = {"saturating": [], "non-saturating": []}
for distance in distances:
    fake = noise - distance  # draws of q; the data are N(0, 1)
    logit = ((fake + distance).square() - fake.square()) / 2  # log p - log q, the perfect D's
    pulls["saturating"].append(distance * logit.sigmoid().mean())  # this logit's slope is distance
    pulls["non-saturating"].append(distance * (-logit).sigmoid().mean())
plots.curves(
    distances,
    pulls,
    "The saturating pull rises a little, then dies; the non-saturating pull keeps growing.",
    xlabel="distance of the generator from the data, in standard deviations",
    ylabel="pull towards the data",
)

# %% [markdown] lang="en"
# The farther the generator is, the more it needs help, and the less the saturating loss gives. Its
# teacher is so sure that moving a little makes no difference: "still fake". The non-saturating loss
# listens to the *logit*, which still has a slope when the probability has none left. That is why
# nearly everybody uses it. (An optimiser like Adam, which rescales its gradients, hides part of the
# difference, as long as the gradient is not drowned in noise.)

# %% [markdown] lang="en"
# ### Eight modes in a plane
#
# Now two dimensions, and data that come in lumps: eight small Gaussians on a circle. Each is a **mode**
# (众数, 模式) of the data. Think of them as eight possible futures. Noise from a plane goes into the
# generator, a network like the discriminator.

# %% budget_s=12
from course_lib.data.toy import ring
from course_lib.recipes.toy_game import STABLE, heat_map, square

reach, places = 3.2, square(3.2, 48)
real = ring().sample(300, generator=torch.Generator().manual_seed(1)).float()
watched = {"places": places, "seed": 0, "rounds": 400, "every": 20}
watched["losses"] = losses_verdict.function
stable = list(play(ring(), Game(2), STABLE, **watched))

# %% [markdown] lang="en"
# Black: the generator's points. Grey: real ones. Colour: the discriminator, from blue (surely fake)
# over white (cannot tell) to orange (surely real).

# %%
Player(
    {"one move each": np.stack([heat_map(moment, real, reach) for moment in stable])},
    captions=[f"after round {moment.step}" for moment in stable],
    width=320,
    fps=4,
    title="The ring",
    alt="Black points spread to eight lumps on a ring, over the discriminator's heat map.",
)

# %% [markdown] lang="en"
# Watch the colours chase the points. Where black points crowd, blue appears; where data are left
# alone, orange appears and pulls. Some points remain between the lumps: the noise is one connected
# cloud, and a continuous network cannot tear it.
#
# ### Your turn: count the modes
#
# The eye is good at eight lumps in a plane. Nobody can look at a space of clips like this. So write
# down what you want to know. A mode is **covered** if at least `minimum` samples lie within `radius`
# of it. Count the covered modes (**mode coverage**, 模式覆盖), and, beside it, the share of samples
# that lie within `radius` of any mode.


# %% tags=["exercise"]
def mode_coverage(
    samples: torch.Tensor, modes: torch.Tensor, radius: float, minimum: int
) -> tuple[int, float]:
    """(number of covered modes, share of samples near any mode); samples (N, 2), modes (K, 2)."""
    # SOLUTION
    near = torch.cdist(samples, modes) <= radius  # (N, K)
    num_covered = int((near.sum(0) >= minimum).sum())
    share = near.any(1).double().mean().item()
    return num_covered, share
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# First make a table of all distances, with a row per sample and a column per mode.

# %% [markdown] lang="en" tags=["hint"]
# `torch.cdist(samples, modes)` is that table. Compare it with the radius, and you have a table of
# yes and no. The count sums along its columns, the share looks along its rows.

# %% [markdown] lang="en" tags=["hint"]
# `near.sum(0) >= minimum` has one answer per mode, `near.any(1)` one per sample. Divide by the number
# of samples, not of modes.

# %% [markdown] lang="en"
# *Difficulty: easy, 8 minutes.*

# %%
coverage_verdict = check.mode_coverage(mode_coverage)
coverage_verdict

# %% [markdown] lang="en"
# The radius is three standard deviations of a lump; nearly every real point is inside. We ask for ten
# of five hundred samples.

# %%
centres = ring().means.float()
covered = lambda moment: coverage_verdict.function(moment.samples, centres, 0.45, 10)
number, share = covered(stable[-1])
print(f"one move each: {number} of 8 modes, share near a mode {share:.2f}")
print(
    f"real points:   share near a mode {coverage_verdict.function(real, centres, 0.45, 10)[1]:.2f}"
)

# %% [markdown] lang="en"
# ### Impatience
#
# In the stable game each side makes one move per round. Change one thing: let the generator make *five*
# moves for every move of the discriminator. Same networks, same losses, same learning rates. A stronger
# generator, one might think.

# %%
modes_left = Slider(
    "2.modes",
    "Five moves against one: how many of the eight modes are covered at the end?",
    0,
    8,
    1,
)
modes_left

# %% [markdown] lang="en"
# The cell below plays that game once.

# %% budget_s=15
from course_lib.recipes.toy_game import UNSTABLE

unstable = list(play(ring(), Game(2), UNSTABLE, **watched))
pair = {"one move each": stable, "five against one": unstable}
rounds = [moment.step for moment in stable]
counts = {name: [covered(moment)[0] for moment in moments] for name, moments in pair.items()}

# %% [markdown] lang="en"
# The answer draws how many modes are covered, beside the stable game.

# %%
modes_left.reveal(
    counts["five against one"][-1],
    explanation=f"The curves count modes after every twentieth round ({coverage_verdict.whose}).",
    picture=plots.curves(
        rounds,
        counts,
        "Modes covered over the rounds: one game ends with all eight, the other with one or two.",
        xlabel="round",
        ylabel="modes covered",
        ylim=(0, 8.4),
    ),
)

# %% [markdown] lang="en"
# Suppose you had no such count. You look at a sheet of samples, one by one, and ask of each: is it
# good? This is the share near a mode. Here it is for both games, at the moment when each is at its
# best by that measure, and how many modes a reader of that sheet would be missing.

# %%
for name, moments in pair.items():
    number, share = max(map(covered, moments), key=lambda found: found[1])
    print(f"{name:>16}: share near a mode, at best {share:.2f}; missing {8 - number} modes")

# %% [markdown] lang="en"
# The samples near a mode would pass, one by one, in either game. Now look at the two side by side.

# %% budget_s=8
Player(
    {
        name: np.stack([heat_map(moment, real, reach) for moment in moments])
        for name, moments in pair.items()
    },
    captions=[
        f"after round {step}: {a} and {b} modes"
        for step, a, b in zip(rounds, *counts.values(), strict=True)
    ],
    width=280,
    fps=3,
    title="Two games on the ring",
    alt="One game spreads over eight lumps; in the other they crowd in a place or two and hop.",
)

# %% [markdown] lang="en"
# This is **mode collapse** (模式坍塌). Most of the noise ends in a place or two, the discriminator learns
# that they are fake, and the crowd runs on. A sample that has landed on a mode is a good sample;
# what is wrong is what is *missing*, and no single sample shows what is missing.
#
# Why? Hold the discriminator still and ask for the generator's best answer. It is not the data. It is
# the single point with the highest logit: nothing in the loss asks the samples to differ from each
# other. Only the discriminator, by learning that a crowded place is fake, can spread them, and it needs
# its turn to do so. Five moves against one take the generator towards that single point before it
# gets one.
#
# Two things to take along. First, a curve over time is the way to see it: at one moment a collapsed
# game sits on a mode, at the next it is between two. Second, do the losses tell you?

# %%
print("mean loss of the last ten moments, in nats")
for name, moments in pair.items():
    late = moments[-10:]
    d_loss = np.mean([moment.discriminator_loss for moment in late])
    g_loss = np.mean([moment.generator_loss for moment in late])
    print(f"{name:>16}: discriminator {d_loss:.2f}, generator {g_loss:.2f}")

# %% [markdown] lang="en"
# Two games that could not be more different, and nearly the same losses.
#
# ### What keeps a game stable
#
# On the ring, patience was enough. It is not the only remedy that people try. **R1** [Mescheder et al.
# 2018] adds the squared slope of the logit at real points to $L_D$, times $\gamma/2$: it is a price on
# steep discriminators, and it is zero where the game has been won. The stable game did without it.
#
# The rules are yours to change: import `Rules`, play with `Rules(generator_moves=5, r1=10.0)` or
# with `Rules(betas=(0.9, 0.999))`, which are Adam's usual settings, and draw the curve. One run of one
# seed proves little: take three.

# %% [markdown] lang="en"
# ## 2. Why blur loses
#
# Back to the crossroads. Chapter 0 showed what squared error asks for: the conditional mean, all
# futures at once, each as faint as it is unlikely. A discriminator asks something else: *does such
# a clip occur?* The mean of two different clips never occurs. Its probability is zero, $p = 0$, and
# there the best discriminator of section 1, $p/(p+q)$, is zero too. Squared error rewards the mean;
# an adversary forbids it.
#
# So much for theory. Does a discriminator that was *trained* know it? We ask one from a VideoGAN
# that predicts at the crossroads. Section 5 opens that network; here we need its discriminator and
# its samples. It judges whole clips, three observed frames and nine more, and we show it four kinds
# of them. All begin with the same forty contexts, of digits it has never seen and whose future is
# open.

# %%
from course_lib.recipes.chapter0 import make_exam
from course_lib.recipes.crossroads_critic import four_kinds
from course_lib.recipes.videogan_crossroads import CROSSROADS_GAN

conditional = CROSSROADS_GAN.load()
exam = make_exam(10)
generator = torch.Generator().manual_seed(0)
kinds = four_kinds(conditional, exam, generator=generator)
shown = 21  # of the forty contexts
plots.film_strip(
    {kind.replace(" ", "\n"): clips[shown] for kind, clips in kinds.items()},
    "Four continuations of one context: a true one, the mean, the likeliest and the model's.",
)

# %% [markdown] lang="en"
# Two of the rows can happen. The mean cannot, and look closely at the last one: the model commits
# itself to one arm, but its digit does not keep its shape.

# %%
blur = Choice("2.blur", "Which kind gets the lowest logit on average?", list(kinds))
blur

# %% [markdown] lang="en"
# Below, the forty logits of each kind, sorted. Where a line lies higher, the clips look more real
# to the discriminator.

# %%
with torch.no_grad():
    logits = {kind: conditional.discriminator(clips) for kind, clips in kinds.items()}
blur.reveal(
    min(logits, key=lambda kind: logits[kind].mean().item()),
    picture=plots.curves(
        np.arange(1, 41) / 40,
        {kind: values.sort().values.numpy() for kind, values in logits.items()},
        "Sorted logits of forty clips of each kind, one line per kind.",
        xlabel="share of clips",
        ylabel="logit, sorted",
        levels={"undecided": 0.0},
    ),
)

# %% [markdown] lang="en"
# One number per kind: take any true clip and any clip of the kind. How often does the true one get
# the higher logit? One half would be a coin.

# %%
true = logits["true future"]
for kind, values in logits.items():
    higher = (true[:, None] > values).double().mean()
    print(f"{kind:>16}: mean logit {values.mean():+.2f}, the true one is higher in {higher:.2f}")

# %% [markdown] lang="en"
# The mean is out. No blurred clip reaches the logit of a sharp one, although the generator stopped
# drawing blurs long before this discriminator was finished. It also catches its own opponent, most
# of the time: it has been trained to do just that.
#
# Now compare the first and the third kind. The likeliest future is a clip that happens, and it is
# treated like one. The discriminator asks *whether* a clip can happen, and hardly how often. Keep
# this in mind for section 5.
#
# ### A discriminator in a few seconds
#
# How much does it take to forbid blur alone? We start from nothing: a small new discriminator is
# shown clips that happened, and exact means of the same contexts. It never meets the model.

# %% budget_s=10
from course_lib.recipes.crossroads_critic import learn_to_tell

trained = list(learn_to_tell(50, generator=generator))
critic, paid = trained[-1][0], [loss for _, loss in trained]

# %% [markdown] lang="en"
# At every 0 and 6 the two clips are *equal*, because their future is certain. Nobody can tell them
# apart, and the best answer there, a logit of zero, costs $2\ln 2$. So their share of the digits
# says how low the loss can come, on average over batches.

# %%
from course_lib.data.crossroads import CUE_OF_DIGIT

certain = (CUE_OF_DIGIT[load_digits("train").labels] == 0).double().mean().item()
plots.curves(
    range(1, len(paid) + 1),
    {"the new discriminator": paid},
    "The loss of a new discriminator, in jumps, from a coin's down to near the least possible.",
    xlabel="update",
    ylabel="loss (nats)",
    levels={"a coin": 2 * np.log(2), "the best possible": 2 * np.log(2) * certain},
)

# %% [markdown] lang="en"
# A few dozen updates. (A jump is a step that was too long: we are in a hurry.) What does it say to
# the four kinds?

# %%
with torch.no_grad():
    fresh = {kind: critic(clips) for kind, clips in kinds.items()}
for kind, values in fresh.items():
    higher = (fresh["true future"][:, None] > values).double().mean()
    print(f"{kind:>16}: mean logit {values.mean():+.2f}, the true one is higher in {higher:.2f}")

# %% [markdown] lang="en"
# The mean is forbidden, and nothing else. The model's samples pass, deformed digits and all: nobody
# has told this discriminator about such faults. *A discriminator forbids what it has been shown.*
# That is why the two networks have to learn together.
#
# ### Where does it look?
#
# The gradient of the logit by the pixels says where a small change would count most. White: the
# strongest of the clip; black: none. We average its size over squares of four by four pixels.

# %%
from course_lib.recipes.crossroads_critic import where_it_looks

rows = {}
for kind, name in {"true future": "true", "exact mean": "mean"}.items():
    clip = kinds[kind][shown][None]
    rows[name] = clip[0]
    rows[f"{name}:\nnew one"] = where_it_looks(critic, clip)[0]
    rows[f"{name}:\ntrained"] = where_it_looks(conditional.discriminator, clip)[0]
plots.film_strip(
    rows,
    "A true clip and the mean; below each, where two discriminators react to the pixels.",
    frames=range(1, 12, 2),
)

# %% [markdown] lang="en"
# The new discriminator looks where the ink is bright. On the true clip it follows the digit to the
# end of its arm. On the mean it reacts in the frames in which the digit is still whole, and where
# the copies are faint it hardly does. That is a warning about such maps: a gradient says what a
# *small change* would do, not what gave the clip away. The faint copies are what is wrong with the
# mean, and no small change mends them.
#
# The trained one reacts to places all around the digit as well. Its opponent leaves stray dots and
# frayed edges there.
#
# ### Which one is real?
#
# Now you are the discriminator. One clip is a true future, the other the model's sample. After ten
# rounds you see your score beside those of both networks, on the very pairs that you have seen.

# %%
from course_lib.widgets.which_is_real import WhichIsReal

happened, drawn = kinds["true future"], kinds["model's sample"]
WhichIsReal(
    "2.real",
    to_panel(happened),
    to_panel(drawn),
    judges={
        "its discriminator": (logits["true future"], logits["model's sample"]),
        "the new discriminator": (fresh["true future"], fresh["model's sample"]),
    },
    generator=generator,
)

# %% [markdown] lang="en"
# Not a hard game, for you: after so short a training you see the digit fray. The
# paper's clips of beaches and golf courses were played like this as well. People took them for the
# real ones 18 % of the time, and preferred two streams to one only 53 % of the time [Vondrick,
# Pirsiavash and Torralba 2016]. Sections 3 and 4 ask what two streams are good for, then.

# %% [markdown] lang="en"
# ## 3. Two streams
#
# Most of a video does not move. VideoGAN [Vondrick et al. 2016] builds this into the generator. One
# stream draws a clip, the **foreground** (前景) $f$. The other draws a single picture, the
# **background** (背景) $b$, which is repeated for all frames. A **mask** (掩码) $m$ decides at every
# pixel of every frame which of the two you see. All three come out of one and the same $z$.
#
# We test it where the truth is known: on **scenes**, with one bright shape that walks straight over
# a dark gradient. The networks see the clips. The true masks are for you and me.

# %%
from course_lib.data.scenes import draw_scenes

scenes = draw_scenes(100, split="test", generator=torch.Generator().manual_seed(2))
Player(
    {
        "clip": to_panel(mosaic(scenes.video[:8], columns=4)),
        "true mask": to_panel(mosaic(scenes.mask[:8] * 2.0 - 1, columns=4)),
    },
    width=336,
    title="Scenes",
    alt="Eight clips in which a shape walks over a gradient, and where the shape is.",
)

# %% [markdown] lang="en"
# The paper's GAN starts from noise alone. In the minutes that two cores have, it draws poorly, as
# section 6 shows. So our main model gets help: an encoder reads a whole real clip and gives
# the code $z$ from which the generator must draw that clip again. With the KL of chapter 1 this is a
# **two-stream VAE-GAN**, and we call it so. Squared error, KL, the adversary and a small price on the
# mask are trained together. For a sample we draw $z$ from the Gaussian that fits the codes of real
# clips: the KL pulls them towards $\mathcal{N}(0, I)$, and does not quite bring them there.
#
# The encoder reads a hundred held-out clips, the generator draws them again:

# %%
from course_lib.recipes.videogan_exam import codes

z = codes(videogan, scenes.video)
redrawn = generate(videogan, z)

# %% [markdown] lang="en"
# Move the slider, then step through time.

# %%
Player(
    {
        "held-out clip": to_panel(scenes.video[:12]),
        "drawn again": to_panel(redrawn.video[:12]),
        "foreground": to_panel(redrawn.foreground[:12]),
        "mask": to_panel(redrawn.mask[:12] * 2 - 1),
        "background": to_panel(redrawn.background[:12, None]),
    },
    {"clip": range(1, 13)},
    width=140,
    title="A clip and its streams",
    alt="A held-out clip, the clip drawn again, its foreground, mask and background.",
)

# %% [markdown] lang="en"
# Three things to notice. The background is empty: what the shape covered is filled in. The foreground
# is a mess *outside* the mask, because nobody sees it there. And squares come back rounded: the
# network is small.

# %% [markdown] lang="en"
# ### Your turn: put two streams together
#
# One line of algebra makes a video out of a moving foreground $f$, a still background $b$ and a
# mask $m$:
#
# $$\text{video} = m \odot f + (1-m) \odot b.$$
#
# A pixel of the mask is a share between 0 and 1, not a switch. The foreground has the shape
# (B, T, C, H, W). The background is (B, C, H, W): it has no time axis, so whatever it shows, it
# shows in every frame. The mask is (B, T, 1, H, W), one share for all channels of a pixel.


# %% tags=["exercise"]
def compose(foreground: torch.Tensor, background: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The video (B, T, C, H, W): mask of the foreground, the rest of the still background."""
    # SOLUTION
    still = background[:, None]  # (B, 1, C, H, W)
    return mask * foreground + (1 - mask) * still
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Write down the three shapes below each other. PyTorch aligns them from the right. Which axis is the
# background missing, and at which place?

# %% [markdown] lang="en" tags=["hint"]
# `background[:, None]` has the shape (B, 1, C, H, W). An axis of length 1 is repeated as often as it
# is needed.

# %% [markdown] lang="en" tags=["hint"]
# `mask * foreground + (1 - mask) * background[:, None]`. Without the new axis, clip number t would
# become the background of frame t, and with equal numbers of clips and frames nothing would complain.

# %% [markdown] lang="en"
# *Difficulty: easy, 5 minutes.*

# %%
composed = check.compose(compose)
composed

# %% [markdown] lang="en"
# `composed.function` (yours, if it runs) puts together the clips in which you override the mask.

# %% [markdown] lang="en"
# ### Override the mask
#
# What if you turned the mask by hand? At 0 you see the background, as often as there are frames. At 1
# you see all of the foreground, mess included. In between, the shape is a ghost.

# %%
shares = [None, 0.0, 0.25, 0.5, 0.75, 1.0]
masks = [redrawn.mask if s is None else torch.full_like(redrawn.mask, s) for s in shares]
overridden = [composed.function(redrawn.foreground, redrawn.background, m)[:4] for m in masks]
shown = torch.stack(masks)[:, :4] * 2 - 1
Player(
    {"video": to_panel(torch.stack(overridden)), "mask used": to_panel(shown)},
    {"mask": ["its own", *shares[1:]], "clip": range(1, 5)},
    title="The mask, overridden",
    alt="A clip put together with its own mask, and with constant masks from 0 to 1.",
)

# %% [markdown] lang="en"
# ### Two codes
#
# The streams share one $z$, but nothing forces you to. Give the foreground the code of one clip and
# the background that of another.

# %%
four = z[:4]
swapped = generate(videogan, four.repeat_interleave(4, 0), still=four.repeat(4, 1))
Player(
    {"drawn": to_panel(swapped.video.unflatten(0, (4, 4)))},
    {"code of the foreground": range(1, 5), "code of the background": range(1, 5)},
    title="Who walks, and where",
    alt="The shape of one clip over the background of another.",
)

# %% [markdown] lang="en"
# The two are apart: the second slider changes the floor, and neither the shape's colour nor its walk.
#
# ### Why be unable to move?
#
# A stream that cannot move sounds like a weakness. For a sky, a sea or a wall it is the clever
# choice: a picture that is repeated cannot **flicker**. To see what that is worth, we trained a twin
# with one stream: as many weights, the same losses, the same number of updates. It has to draw the
# still wall eight times, and each time anew.

# %% [markdown] lang="en"
# Guess before you measure: outside of what moves, how many times as much does the twin flicker, when
# both draw held-out clips again?

# %%
guess_flicker = Slider("2.flicker", "One stream flickers … times as much as two", 0, 100, 5)
guess_flicker

# %% [markdown] lang="en"
# ### Your turn: measure what should stand still
#
# Sky, sea and walls do not move. In a generated clip they often do, a little, in every frame: they
# **flicker** (闪烁). To measure it, leave out what may move. `busy` says for each frame where that
# is. When a sprite walks on, it uncovers pixels and covers others, so a pixel counts only if it is
# busy in *neither* of two neighbouring frames.
#
# Of all pixels that count, in all pairs of neighbouring frames of a clip, take the mean absolute
# change. State it in grey levels, 0 to 255: one unit of a pixel in [-1, 1] is 127.5 of them.


# %% tags=["exercise"]
def flicker(video: torch.Tensor, busy: torch.Tensor) -> torch.Tensor:
    """Mean |change| (B,) in grey levels of clips (B, T, C, H, W) where bool busy is False."""
    # SOLUTION
    still = ~(busy[:, 1:] | busy[:, :-1])  # (B, T - 1, 1, H, W)
    change = 127.5 * video.diff(dim=1).abs().mean(2, keepdim=True)
    return (change * still).sum((1, 2, 3, 4)) / still.sum((1, 2, 3, 4))
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# `video[:, 1:] - video[:, :-1]` is the change between neighbours, T - 1 of them. Slice `busy` in the
# same way, twice. Take the absolute value before any mean: up and down must not cancel.

# %% [markdown] lang="en" tags=["hint"]
# `~(busy[:, 1:] | busy[:, :-1])` is True where a pixel is busy in neither frame. It has one channel:
# first average the change over the channels, with `keepdim=True`.

# %% [markdown] lang="en" tags=["hint"]
# Multiply change and still, add up over all dimensions but the first, and divide by the number of
# still pixels, not of all pixels. Do this once for the clip, not once for each pair of frames.

# %% [markdown] lang="en"
# *Difficulty: medium, 10 minutes.*

# %%
flickering = check.flicker(flicker)
flickering

# %% [markdown] lang="en"
# `flickering.function` compares one stream with two.

# %% [markdown] lang="en"
# The recipe measured both on all of its held-out clips, with your definition.

# %%
import json

from course_lib.recipes.videogan_sweep import ONE_STREAM

twin = json.loads(ONE_STREAM.results.read_text(encoding="utf-8"))["metrics"]
guess_flicker.reveal(
    round(1 / twin["ratio_reconstruction"]["value"]),
    explanation="A repeated picture cannot change from frame to frame. What is left of the "
    "flicker of two streams comes from the mask, where it is not quite 0 outside the shape.",
)

# %% [markdown] lang="en"
# Now measure yourself, on four held-out clips that both have drawn again. What moves is known: the
# true mask, grown by a pixel for soft edges. The twin's weights do not ship with the course, but its
# pictures do.

# %%
from course_lib.data.video import to_float
from course_lib.evaluation.masks import grow
from course_lib.recipes.videogan_exam import ROWS, SHOWN_CLIPS, held_out, read_sheet

four = held_out("plain")
two = generate(videogan, codes(videogan, four.video[:SHOWN_CLIPS])).video
one = read_sheet("videogan_one_stream")[:SHOWN_CLIPS, ROWS.index("video")]
drawn = {"two streams": two, "one stream": to_float(torch.from_numpy(one)).movedim(-1, 2)}
busy = grow(four.mask[:SHOWN_CLIPS])
for name, clips in drawn.items():
    values = ", ".join(f"{v:.2f}" for v in flickering.function(clips, busy))
    print(f"{name}: {values} grey levels from frame to frame")

# %% [markdown] lang="en"
# And on samples from noise? There the detector of section 4 says what moves.

# %%
for kind in ("reconstruction", "samples"):
    share = twin[f"ratio_{kind}"]
    print(
        f"{kind}: two streams flicker {share['value']:.3f} times as much as one "
        f"(between {share['low']:.3f} and {share['high']:.3f})"
    )

# %% [markdown] lang="en"
# Look at it. Below the clips you see ten times their change from each frame to the next, around
# grey. With two streams only the shape stands out.

# %%
changes = {f"{name}: change": 10 * clips.diff(dim=1) for name, clips in drawn.items()}
still = {name: torch.cat([c, torch.zeros_like(c[:, :1])], 1) for name, c in changes.items()}
Player(
    {name: to_panel(clips) for name, clips in (drawn | still).items()},
    {"clip": range(1, SHOWN_CLIPS + 1)},
    width=160,
    title="What should stand still",
    alt="The clips of both networks and their amplified change from frame to frame.",
)

# %% [markdown] lang="en"
# And the price? A stream that cannot move is wrong where the camera moves. The authors stabilised all
# of their videos first, by matching landmarks between frames [Vondrick et al. 2016].

# %% [markdown] lang="en"
# ## 4. Who is foreground?
#
# Masks that look right may be lucky. We ask twice: once with a truth, once with a witness.

# %% [markdown] lang="en"
# ### Your turn: measure a mask
#
# How well does a mask fit the true one? The share of right pixels will not do: a sprite is small, and
# an empty mask gets most pixels right. **Intersection over union** (IoU, 交并比) ignores the pixels
# that neither mask claims:
#
# $$\text{IoU} = \frac{|\,\text{predicted} \cap \text{truth}\,|}{|\,\text{predicted} \cup \text{truth}\,|}.$$
#
# Count the pixels of a whole clip at once, all frames together. Two empty masks agree: call that 1.


# %% tags=["exercise"]
def iou(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Intersection over union (B,) of bool masks (B, T, 1, H, W); 1 where both are empty."""
    # SOLUTION
    both = (predicted & truth).sum((1, 2, 3, 4))
    either = (predicted | truth).sum((1, 2, 3, 4))
    return torch.where(either > 0, both / either, 1.0)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# For bool tensors `&` is the intersection and `|` is the union. `.sum` counts what is True.

# %% [markdown] lang="en" tags=["hint"]
# Sum over every dimension but the first, then divide once. The mean of the frames' own IoU is another
# number: a frame in which little is seen would weigh as much as any other.

# %% [markdown] lang="en" tags=["hint"]
# Where both masks are empty you divide 0 by 0, which is nan. `torch.where(either > 0, both / either,
# 1.0)` replaces it.

# %% [markdown] lang="en"
# *Difficulty: easy, 8 minutes.*

# %%
overlapping = check.iou(iou)
overlapping

# %% [markdown] lang="en"
# `overlapping.function` compares the generator's masks with the truth.

# %% [markdown] lang="en"
# ### With a truth
#
# A held-out clip goes through encoder and generator, and its true mask is known. A pixel counts as
# foreground where the generator's mask is above one half. To know what chance would reach, compare
# with the true mask of *another* clip.

# %%
claimed = redrawn.mask > 0.5
scores = overlapping.function(claimed, scenes.mask)
chance = overlapping.function(claimed, scenes.mask.roll(1, 0))
print(f"IoU {scores.mean():.3f}; with another clip's mask {chance.mean():.3f}")

# %% [markdown] lang="en"
# Over all of the recipe's held-out clips: {{videogan.metrics.iou_reconstruction.value:.3f}} (between
# {{videogan.metrics.iou_reconstruction.low:.3f}} and
# {{videogan.metrics.iou_reconstruction.high:.3f}}), by chance
# {{videogan.metrics.iou_chance.value:.3f}}. Here are the three best and the three worst:

# %%
order = scores.argsort(descending=True)
picked = torch.cat([order[:3], order[-3:]])
agreement = torch.cat([claimed, scenes.mask, claimed & scenes.mask], 2)[picked].float() * 2 - 1
Player(
    {
        "clip": to_panel(scenes.video[picked]),
        "drawn again": to_panel(redrawn.video[picked]),
        "red: claimed, green: true": to_panel(agreement),
    },
    {"clip": [f"IoU {s:.2f}" for s in scores[picked]]},
    width=190,
    title="Best and worst masks",
    alt="Clips with the claimed mask in red and the true one in green, white where they agree.",
)

# %% [markdown] lang="en"
# What is lost, is lost at the rim, and of so small a shape much is rim.
#
# ### Why motion is no witness
#
# On videos from the web there is no truth. It is tempting to take what *moves* for it: whatever
# differs from the clip's median over time by more than a tenth of the range. How would a **perfect**
# mask score against that? Take the hard scenes, handwritten digits before textures. Predict first.

# %%
guess_median = Slider(
    "2.median", "The IoU of the true masks against motion, hard scenes", 0, 1, 0.05
)
guess_median

# %% [markdown] lang="en"
# Now compute it, for both kinds of scenes.

# %%
hard = draw_scenes(100, preset="hard", split="test", generator=torch.Generator().manual_seed(2))
perfect = {}
for name, each in {"plain": scenes, "hard": hard}.items():
    away = (each.video - each.video.median(1, keepdim=True).values).abs()
    moving = (away > 0.2).any(2, keepdim=True)
    perfect[name] = float(overlapping.function(each.mask, moving).mean())

# %% [markdown] lang="en"
# The answer:

# %%
guess_median.reveal(
    round(perfect["hard"], 2),
    explanation=f"In the plain scenes perfect masks reach {perfect['plain']:.2f}. Soft edges differ "
    "from the median though they are less than half covered; a stroke that has the colour of what "
    "it hides does not differ; and where a shape stands in half of the frames, the median shows "
    "the shape. A perfect mask is punished for all three.",
)

# %% [markdown] lang="en"
# ### With a witness
#
# A sample from noise has no true mask. So a third network, the **detector** (检测器), was trained on
# true masks of real frames, one frame at a time. It knows nothing of our generator. On held-out
# frames it reaches an IoU of {{scene_detector.metrics.iou.value:.3f}}: the ceiling.

# %%
from course_lib.recipes.scenes import detection_rate, detector, find

samples = generate(videogan, prior(videogan, 100, seed=4))
found = find(detector(), samples.video)
seen = overlapping.function(samples.mask > 0.5, found)
print(f"IoU of {seen.mean():.3f} with what the detector finds")
print(f"it finds a shape in {detection_rate(found).value:.1%} of all frames")

# %% [markdown] lang="en"
# The second number belongs to the first. A generator that draws nothing has an empty mask, the
# detector finds nothing, and the two agree perfectly. In the recipe's samples:
# IoU {{videogan.metrics.iou_samples.value:.3f}}, found in
# {{videogan.metrics.detection.value:.1%}} of the frames. Going on as a pure GAN, without the
# encoder's error ({{videogan_pure.config.steps}} updates): {{videogan_pure.metrics.iou_samples.value:.3f}}, and
# {{videogan_pure.metrics.detection.value:.1%}}.

# %%
pure = read_sheet("videogan_pure")[SHOWN_CLIPS:]
both = {"VAE-GAN": read_sheet("videogan")[SHOWN_CLIPS:], "pure GAN": pure}
Player(
    {row: np.stack([sheet[:, ROWS.index(row)] for sheet in both.values()]) for row in ROWS[1:]},
    {"network": list(both), "sample": range(1, len(pure) + 1)},
    width=150,
    title="Samples before and after",
    alt="Samples of the VAE-GAN and of the same generator after it went on as a pure GAN.",
)

# %% [markdown] lang="en"
# Are they real to *your* eye? Those of the VAE-GAN are in part: shapes split in two, melt together
# or fade. After the pure GAN's updates most of them are what the data are: one shape of one colour that
# walks straight on. Corners are still round.

# %% [markdown] lang="en"
# ### Your turn: put a price on the mask
#
# Nothing so far asks the generator to *use* its background. A mask that is 1 everywhere gives the
# whole picture to the foreground, and the still stream is never seen. So VideoGAN puts a price on
# the foreground, the **mask penalty** (掩码惩罚): the L1 norm of the mask, times a small weight
# lambda [Vondrick et al. 2016].
#
# The values of a mask are never negative, so an L1 norm adds them up. The official code then divides
# by their number, over batch, frames and pixels at once. Write this mean.


# %% tags=["exercise"]
def mask_penalty(mask: torch.Tensor) -> torch.Tensor:
    """The mean of all values of a mask (B, T, 1, H, W) in [0, 1]: a single number."""
    # SOLUTION
    return mask.abs().mean()
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# An empty mask must cost 0, a full one 1, whatever the size of the clip and of the batch.

# %% [markdown] lang="en" tags=["hint"]
# No squares: the derivative of a square is nearly 0 where the value is nearly 0, and a faint mask
# would stay faint instead of vanishing.

# %% [markdown] lang="en" tags=["hint"]
# `mask.mean()` without a dimension averages over all of them. Do not detach anything: the penalty has
# to reach the generator.

# %% [markdown] lang="en"
# *Difficulty: easy, 3 minutes.*

# %%
penalised = check.mask_penalty(mask_penalty)
penalised

# %% [markdown] lang="en"
# `penalised.function` measures how much foreground each network of the penalty sweep uses.

# %% [markdown] lang="en"
# ### The price of a mask
#
# The paper's lambda is 0.1, and its penalty is a mean: the push on one value of the mask is lambda
# divided by the number of all values in the batch, and so very weak [Vondrick et al. 2016]. Five
# trainings went on from the main model, whose lambda is 1, with five prices.

# %%
from course_lib.recipes.videogan_sweep import PENALTIES

prices = {w: json.loads(r.results.read_text(encoding="utf-8")) for w, r in PENALTIES.items()}
priced = {w: read_sheet(r.name)[:SHOWN_CLIPS] for w, r in PENALTIES.items()}
for weight, result in prices.items():
    pixels = torch.from_numpy(priced[weight][:, ROWS.index("mask"), ..., :1]) / 255
    used = penalised.function(pixels.movedim(-1, 2))
    fit, change = (
        result["metrics"][k]["value"] for k in ("iou_reconstruction", "flicker_reconstruction")
    )
    print(f"lambda {weight:5.1f}: mask {used:.4f}, IoU {fit:.3f}, flicker {change:.3f}")
print(f"true masks: {held_out('plain').mask[:SHOWN_CLIPS].float().mean():.4f}")

# %% [markdown] lang="en"
# From 0 to 10 the masks hardly change: a split that has been found stays found. What the price buys
# here is stillness, for the flicker falls. At 100 it is cheaper to leave the shape out: it shrinks,
# and the IoU drops. Slide through the five.

# %%
Player(
    {row: np.stack([p[:, ROWS.index(row)] for p in priced.values()]) for row in ROWS},
    {"lambda": [f"{w:g}" for w in priced], "clip": range(1, SHOWN_CLIPS + 1)},
    width=140,
    title="The penalty sweep",
    alt="Held-out clips drawn again by five networks with different mask penalties, and their parts.",
)

# %% [markdown] lang="en"
# So is the penalty idle? No. It matters while the split is being *found*. One more training had no
# price from its first update on. Compare it with the main training at the same age (its learning rate
# has fallen by then, that of the main training not yet):

# %%
from course_lib.recipes.videogan import VIDEOGAN
from course_lib.recipes.videogan_sweep import NO_PENALTY

for recipe in (VIDEOGAN, NO_PENALTY):
    story = json.loads(recipe.results.read_text(encoding="utf-8"))["history"]
    young = next(point for point in story if point["step"] == NO_PENALTY.small.steps)
    print(f"{recipe.name:>19}: IoU {young['iou_reconstruction']:.2f}, mask {young['mask']:.2f}")

# %% [markdown] lang="en"
# Without a price the foreground paints the background too, in shades of grey of the mask. Section 6
# shows it.
#
# ### On the real street
#
# No gradients, no bright shapes: the campus road of chapter 0. The same network, with a background at
# full resolution, learned from three crops of the fixed camera. The reference is what differs from
# the *training* frames' median. It is no truth either: it misses who wears the colour of the road,
# and it counts shadows.

# %%
street = read_sheet("videogan_street")
Player(
    {row: street[:SHOWN_CLIPS, ROWS.index(row)] for row in ROWS},
    {"clip": range(1, SHOWN_CLIPS + 1)},
    width=140,
    title="Pedestrians, held out",
    alt="Held-out clips of pedestrians, drawn again, with foreground, mask and background.",
)

# %% [markdown] lang="en"
# The background is the empty road: in the last panel nobody walks. People are in the mask, as soft
# blots. Against the median the masks reach an IoU of {{videogan_street.metrics.iou.value:.2f}}
# (between {{videogan_street.metrics.iou.low:.2f}} and {{videogan_street.metrics.iou.high:.2f}}), with
# another clip's median {{videogan_street.metrics.iou_chance.value:.2f}}. So the split is found, and
# the people are not: they cover {{videogan_street.metrics.differs.value:.1%}} of the picture, the
# masks {{videogan_street.metrics.covered.value:.1%}}. It is one scene, a minute of training video and a
# small network; who stands far away is not drawn at all.
#
# ### Where it ends
#
# And the hard scenes, digits before textures? The same network and losses, trained on them:

# %%
fails = read_sheet("videogan_hard")[:2]
Player(
    {row: fails[:, ROWS.index(row)] for row in ("truth", "video", "mask", "background")},
    {"clip": [1, 2]},
    width=150,
    title="Hard scenes, held out",
    alt="Digits before textures, drawn again without the digit, with mask and background.",
)

# %% [markdown] lang="en"
# The texture comes back, the digit does not. The masks reach an IoU of
# {{videogan_hard.metrics.iou_reconstruction.value:.2f}}, and with another clip's truth
# {{videogan_hard.metrics.iou_chance.value:.2f}}: chance. A thin stroke costs little squared error, so
# the code spends its nats on the texture, and an adversary that could insist was not strong enough in
# {{videogan_hard.config.steps}} updates.

# %% [markdown] lang="en"
# ## 5. From noise to prediction
#
# So far a clip came from noise alone. To *predict*, the generator must go on from frames that it is
# given. The conditional (条件) network of the paper reads a frame with convolutions, down to a small
# map of features, and both streams start from that map. This is the network that you have met in
# section 2, in our version:
#
# | | the paper [Vondrick, Pirsiavash and Torralba 2016] | ours, at the crossroads |
# |---|---|---|
# | it is given | one frame | three: in one alone no motion can be seen |
# | $z$ | none: one clip for each frame | {{videogan_crossroads.config.model.latent_dim}} numbers beside the map, so that it *could* draw several |
# | what holds the given frames | L1, weight 10, on the first | the same, on all three |
# | the rest of the clip | the adversary's | first squared error, then the adversary's |
#
# The last line is a concession to the minutes that we have. For its first
# {{videogan_crossroads.config.adversary_from}} updates, of {{videogan_crossroads.config.steps}},
# the network learns alone, like chapter 0's, to carry a digit along. Then the squared error is
# switched off, and the future belongs to the adversary. We follow the excess, the distance from
# the exact mean in units of the MMSE.

# %%
import json

from course_lib.paths import RESULTS

alone, told = (
    json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    for name in ("chapter0_predictor", "videogan_crossroads")
)
history, arrives = told["history"], told["config"]["adversary_from"]
likeliest_costs = alone["metrics"]["excess_likeliest"]["value"]

# %% [markdown] lang="en"
# The diamond marks the update in which the adversary takes over.

# %%
plots.curves(
    [point["step"] for point in history],
    {"conditional VideoGAN": [point["excess"] for point in history]},
    "The excess falls while the network learns alone, and rises when the adversary comes.",
    xlabel="update",
    ylabel="excess over the mean (MMSE)",
    levels={"a true future": 1.0, "the likeliest future": likeliest_costs},
    points={"the adversary comes": (arrives, 0.0)},
)

# %% [markdown] lang="en"
# Alone it heads for the mean, as squared error wants it. Then it turns round and leaves. By squared
# error everything it has gained is lost: a clip that could happen costs more than the mean, which
# is what the dashed lines say. (A true future, drawn with the right odds, has an excess of one:
# chapter 0's rule that it costs twice the MMSE.) Our network ends above both lines: its clips cost
# more than clips that happen. How many of them are valid?

# %%
plots.curves(
    [point["step"] for point in history],
    {
        "valid": [point["valid"] for point in history],
        "total variation": [point["total_variation"] for point in history],
    },
    "The share of valid clips over training stays low; the total variation hardly changes.",
    xlabel="update",
    ylabel="share",
    ylim=(-0.02, 0.6),
    levels={"total variation of a perfect sampler": history[-1]["total_variation_floor"]},
    points={"the adversary comes": (arrives, 0.0)},
)

# %% [markdown] lang="en"
# Few, and after the adversary has come even fewer: at the end a share of
# {{videogan_crossroads.metrics.valid.value:.3f}}. (Alone, it draws the 0 and the 6 right: their
# mean *is* their future.) A valid clip must keep the shape of the digit, and this network lets it
# fray. So we leave the shape aside and ask the easier thing: *which arm* does it draw? The nearest
# possible future says so; the total variation is counted like this too.
#
# ### Eight values of z
#
# Take a 1 or a 7. It turns left, goes straight on or turns right, each as likely as the others. Of
# one such context we draw eight clips, each with its own $z$, and count how many *different*
# futures are among them. A perfect sampler would find nearly all three, on average

# %%
print(f"{3 * (1 - (2 / 3) ** 8):.2f} different futures in eight draws")

# %% [markdown] lang="en"
# And ours?

# %%
futures_drawn = Slider(
    "2.entropy",
    "Eight values of z, three equally likely futures: how many different ones are drawn?",
    1,
    3,
    0.1,
)
futures_drawn

# %% [markdown] lang="en"
# We draw for twenty contexts, five of each pair of digits whose future is open. Beside the eight
# values of $z$ we throw eight true draws, so that both are counted in the same way.

# %%
from course_lib.recipes.crossroads_critic import future_shares

asked = range(0, len(exam.futures), 2)
with torch.no_grad():
    eight = exam.context[asked].repeat_interleave(8, 0)
    clips = conditional.predict(eight, exam.horizon, generator=generator).split(8)
cases = [exam.futures[n] for n in asked]
found = torch.stack([future_shares(c, case) for c, case in zip(clips, cases, strict=True)])
throws = [future_shares(case.sample(8, generator=generator), case) for case in cases]
truth = torch.stack([case.probs for case in cases])

# %% [markdown] lang="en"
# The entropy over $z$, context by context: zero where all eight clips show the same future.

# %%
nats = {"truth": truth, "eight true draws": torch.stack(throws), "eight values of z": found}
ones = exam.cue[asked] == CUE_OF_DIGIT[1]
futures_drawn.reveal(
    (found[ones] > 0).sum(1).double().mean().item(),
    explanation="Below, the entropy over z of each context, beside the truth's.",
    picture=plots.curves(
        range(1, len(cases) + 1),
        {name: torch.special.entr(p).sum(1).numpy() for name, p in nats.items()},
        "Entropy over z of twenty contexts, beside the true entropy and that of eight true draws.",
        xlabel="context: five of 4/9, of 3/5, of 1/7, of 2/8",
        ylabel="entropy (nats)",
    ),
)

# %% [markdown] lang="en"
# With two hundred values of $z$ and ten times as many contexts the recipe measured
# {{videogan_crossroads.metrics.entropy.value:.3f}} nats, where the truth has
# {{videogan_crossroads.metrics.entropy_truth.value:.3f}} nats. See it happen: one digit of each
# pair, three values of $z$.

# %%
from course_lib.recipes.chapter0 import world

crossing = world("test")
labels = crossing.digits.labels.tolist()
five = [crossing.futures(labels.index(digit), arrival=4) for digit in (0, 4, 3, 1, 2)]
past = torch.stack([case.context for case in five])
with torch.no_grad():
    three = [conditional.generate(past, torch.randn(5, 8, generator=generator)) for _ in range(3)]
happens = torch.cat([case.runs(1, generator=generator) for case in five])
apart = (three[0].video - three[1].video).abs().mean() * 127.5
print(f"two values of z: a pixel differs by {apart:.2f} grey levels of 255, on average")

# %% [markdown] lang="en"
# Press play, then change the digit.

# %%
Player(
    {
        "one true future": to_panel(happens),
        **{f"z number {k}": to_panel(c.video) for k, c in enumerate(three, 1)},
        "foreground": to_panel(three[0].foreground),
        "mask": to_panel(2 * three[0].mask - 1),
    },
    {"digit": [0, 4, 3, 1, 2]},
    captions=[f"frame {t}: {'given' if t < 3 else 'predicted'}" for t in range(12)],
    width=110,
    title="Three values of z, one future",
    alt="A true future, three samples of the conditional VideoGAN, its foreground and mask.",
)

# %% [markdown] lang="en"
# Three values of $z$, one clip. The network commits itself: the digit takes one arm, and there is
# no ghost on the others. That is what the adversary has forbidden. But the digit frays on its way,
# the more the longer it walks, and $z$ is ignored.
#
# Look at the mask, too. It has not cut out the digit: it is white on the whole road, and the
# background stream paints nothing but the houses. The conditional network of the paper has no mask
# penalty, and neither has ours. Still, the split is not wrong, for the houses never change.
#
# ### Which one future?
#
# A model that draws one future per context has an exact score. If it always picks the likeliest,
# its total variation is one minus the largest probability. If it picks by the right odds, once for
# each context, it is one minus the sum of their squares.

# %%
from course_lib.data.crossroads import CUES

probs = torch.tensor([cue.turn_probs for cue in CUES]).double()
score = told["metrics"]["total_variation"]
print(f"always the likeliest     {1 - probs.amax(1).mean():.3f}")
print(f"one by the right odds    {1 - probs.square().sum(1).mean():.3f}")
print(f"the conditional VideoGAN {score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})")
print(f"a perfect sampler        {told['metrics']['total_variation_floor']['value']:.3f}")

# %% [markdown] lang="en"
# (All five pairs of digits count, the certain one too. Chapter 1's scores are from the richer
# crossroads, with returns, so do not put them beside these.) The network scores nearly like a
# gambler who knows the odds and always bets on the favourite. Now pool its clips over the contexts
# of a pair:

# %%
for cue in exam.cue.unique():
    rows = exam.cue[asked] == cue
    digits = "/".join(map(str, CUES[int(cue)].digits))
    pooled, odds = (
        ", ".join(f"{p:.2f}" for p in shares[rows].mean(0).tolist()) for shares in (found, truth)
    )
    print(f"{digits}: left, straight, right drawn {pooled}; truth {odds}")

# %% [markdown] lang="en"
# Pooled, the 2 and the 8 look as if both arms had been learned. But you have seen that each single
# context has one future only. What varies from clip to clip is the shape of the digit, never the
# dice. This is why the futures must be counted context by context. *To pick one concrete future is
# not to have the distribution.*
#
# ### Why is z ignored?
#
# The adversary's loss is an average over single clips. Each is asked one thing: do you look
# possible? No term compares two clips of the same context, so none asks that another $z$ give
# another clip. In theory that is no excuse. The discriminator sees past and future together, and a
# *perfect* one would notice that this 4 turns left too often: there $p/(p+q)$ falls below one half,
# and only $q = p$ is at rest. Section 2 showed how far ours is from it. It gives the likeliest
# future nearly the logit of the truth, because frayed digits are much easier to catch than wrong
# odds.
#
# And the first act had taught the network not to listen. Squared error wants one answer, so for it
# $z$ is a disturbance.
#
# What would force several futures? Somebody has to read $z$ back from the clip, so that a $z$ that
# leaves no trace costs something: an encoder, as in section 3's VAE-GAN or in chapter 1's
# posterior.

# %% [markdown] lang="en"
# ## 6. Break it
#
# Each of these trainings changes one thing. All others keep it as it is in the main model, or in the
# pure GAN of section 4. Before you look: what do you expect of each?
#
# | name | what is changed |
# |---|---|
# | no penalty | lambda = 0 from the first update on, {{videogan_no_penalty.config.steps}} updates |
# | KL at once | from random weights, the KL at ten times its weight from the first update on |
# | pure GAN, warm start | the main model's generator goes on without the encoder's error |
# | pure GAN, from scratch | the same game, but both players begin with random weights |
# | runaway discriminator | as before, and the discriminator learns faster, with no price on its slope |
# | zeros | a pure GAN from scratch; the loader never writes the frames, so every real clip is grey |
# | first frame alone | a generator that continues a clip from its first frame; the L1 loss holds this frame only |
# | all frames | meant as its cure: two frames are given, every frame is asked back, no adversary |
#
# The bug with the zeros is real: a public port of VideoGAN does this at its last commit. Its
# training runs to the end, and prints a loss for both players.

# %%
zeros_losses = Choice(
    "2.broken",
    "Every real clip is grey, by a bug. What do the two losses look like at the end?",
    ["the discriminator has won", "nobody can tell real from drawn", "like a game on real clips"],
)
zeros_losses

# %% [markdown] lang="en"
# We load what the trainings have written down.

# %%
from course_lib.recipes.videogan import VIDEOGAN
from course_lib.recipes.videogan_roles import ALL_FRAMES, FIRST_FRAME
from course_lib.recipes.videogan_sweep import KL_AT_ONCE, NO_PENALTY, PURE, RUNAWAY, SCRATCH, ZEROS

broken = {
    "nothing": VIDEOGAN,
    "no penalty": NO_PENALTY,
    "KL at once": KL_AT_ONCE,
    "pure GAN, warm start": PURE,
    "pure GAN, from scratch": SCRATCH,
    "runaway discriminator": RUNAWAY,
    "first frame alone": FIRST_FRAME,
    "all frames": ALL_FRAMES,
    "zeros": ZEROS,
}

# %% [markdown] lang="en"
# For each there are the metrics, the whole history of the training, and a sheet of clips.

# %%
stories = {
    name: json.loads(recipe.results.read_text(encoding="utf-8")) for name, recipe in broken.items()
}
history = {
    name: {key: [point[key] for point in story["history"]] for key in story["history"][0]}
    for name, story in stories.items()
}
measured = {
    name: {key: metric["value"] for key, metric in story["metrics"].items()}
    for name, story in stories.items()
}

# %% [markdown] lang="en"
# And this is what they draw. Slide through the broken ones; the first is the main model. "First
# frame alone" and "all frames" continue held-out clips, the others draw samples from noise.

# %%
ruins = np.stack([read_sheet(recipe.name)[SHOWN_CLIPS:][:4] for recipe in broken.values()])
still = {"background"}  # has no time
Player(
    {
        row: ruins[:, :, ROWS.index(row)][:, :, : 1 if row in still else None]
        for row in ROWS
        if row != "truth"
    },
    {"what is broken": list(broken), "clip": range(1, 5)},
    width=150,
    title="Nine networks, taken apart",
    alt="Video, foreground, mask and background that the main model and eight broken ones draw.",
)

# %% [markdown] lang="en"
# ### Losses that tell nothing
#
# Back to the grey clips. If nobody can tell real from drawn, the discriminator pays $2\ln 2$ and the
# generator $\ln 2$. If the discriminator has won, it pays nothing. We look at the last point of the
# training on zeros, and at the last point of the same GAN trained on real clips.

# %%
ends = {name: stories[name]["history"][-1] for name in ("zeros", "pure GAN, from scratch")}
paid = {name: (end["discriminator_loss"], end["fooling"]) for name, end in ends.items()}
d_loss, g_loss = paid["zeros"]
said = ", ".join(f"{name}: {d:.2f} and {g:.2f}" for name, (d, g) in paid.items())
game = {
    f"{name}: {player}": history[name][key]
    for name in ("zeros", "runaway discriminator")
    for player, key in {"D": "discriminator_loss", "G": "fooling"}.items()
}

# %% [markdown] lang="en"
# The figure also has the runaway discriminator, whose training was as long as that on zeros.

# %%
kind = 0 if d_loss < 0.2 else 1 if d_loss > 1.2 else 2
zeros_losses.reveal(
    zeros_losses.options[kind],
    explanation=f"Losses of discriminator and generator at the end, in nats. {said}.",
    picture=plots.curves(
        history["zeros"]["step"],
        game,
        "Losses of both players, trained on zeros and with a runaway discriminator.",
        xlabel="update",
        ylabel="loss (nats)",
        log=True,
        levels={"2 ln 2": 2 * np.log(2), "ln 2": np.log(2)},
    ),
)

# %% [markdown] lang="en"
# On zeros the clips are grey from end to end, and the losses are no help: at their end they are near
# those of a game that has learned to draw shapes. A faint grid is left in the grey; the discriminator
# sees it, the generator works at it, and both have something to do. The detector is no help either: it
# finds "a shape" in a share of {{videogan_zeros.metrics.detection.value:.2f}} of the frames, because
# it has never seen a picture that is all grey. Its IoU with the masks,
# {{videogan_zeros.metrics.iou_samples.value:.2f}}, gives it away, and so does one look at a batch.
#
# What about the gradients?

# %%
runaway = history["runaway discriminator"]
plots.curves(
    runaway["step"],
    {
        "discriminator": runaway["discriminator_gradient"],
        "generator": runaway["generator_gradient"],
        "discriminator, on zeros": history["zeros"]["discriminator_gradient"],
        "generator, on zeros": history["zeros"]["generator_gradient"],
    },
    "Gradient norms of both players, with a runaway discriminator and on zeros.",
    xlabel="update",
    ylabel="norm of the gradient",
    log=True,
)

# %% [markdown] lang="en"
# Here is a trace of the zeros: the generator's gradient is many times as large as in the other game. The
# runaway discriminator has the harmless norms, and shows in its *loss*: it sinks, and the generator's
# grows. Non-saturating gradients do not vanish, but a discriminator that is far ahead gives directions
# that help nobody; look at its samples above. So no single curve tells all. When you watch a game,
# watch the pictures first, then whether a loss or a norm leaves for good.

# %% [markdown] lang="en"
# ### What the warm start changes
#
# The pure GAN is the paper's own training: no encoder, no squared error. Once it begins with the main
# model's weights, once with random ones. In shorter trials it had never found the split from
# scratch, so that is what we expected. A witness, the detector, looks at a hundred samples after every
# hundred updates.

# %%
pures = {n: history[f"pure GAN, {n}"] for n in ("warm start", "from scratch")}
common = min(len(points["step"]) for points in pures.values())
lines = {
    f"{name}: {key}": points[key][:common]
    for name, points in pures.items()
    for key in ("detection", "iou_samples")
}
plots.curves(
    pures["warm start"]["step"][:common],
    lines,
    "Detection rate and IoU of samples while two pure GANs learn, warm and from scratch.",
    xlabel="update",
    ylabel="share of frames; IoU",
    ylim=(0, 1.02),
)

# %% [markdown] lang="en"
# We were wrong. For several hundred updates the masks have nothing to do with what the detector finds.
# Then the IoU rises, without encoder and without labels. But look at the clips: colours are
# speckled, shapes come and go, and the picture flickers by
# {{videogan_scratch.metrics.flicker_samples.value:.1f}} grey levels, where the warm-started GAN has
# {{videogan_pure.metrics.flicker_samples.value:.2f}} (after {{videogan_pure.config.steps}} updates, not
# {{videogan_scratch.config.steps}}). So the adversary *can* find the split alone; in
# our minutes it does not learn to draw. Detection and IoU by themselves would have told you a
# better story than the pictures do.

# %% [markdown] lang="en"
# ### No penalty, and a KL at full weight
#
# Two changes to the loss of the VAE-GAN. In section 4 the main model went on *without* its penalty, and
# nothing happened. But it had found the split already. Here the penalty is missing from the first
# update on. And the KL, which the main model charges slowly, is ten times as dear from the first update
# on: chapter 1 lets you expect a code that falls silent. Three moments of each training:

# %%
for name in ("nothing", "no penalty", "KL at once"):
    points = {point["step"]: point for point in stories[name]["history"]}
    for step in (200, 400, 800):
        at = points[step]
        print(
            f"{name:>10}, update {step}: KL {at['kl']:4.1f} nats, error {at['error']:.3f}, "
            f"IoU {at['iou_reconstruction']:.2f}, mean of the masks {at['mask']:.2f}"
        )

# %% [markdown] lang="en"
# Without the price the masks spread: the clip is drawn again no worse, but the moving stream draws ground
# as well, and its pixels flicker. That is what the price is for: while the roles are still open it decides
# who draws the ground.
#
# With the dear KL the code is not silent, but short of words: a few nats are left of the many that a clip costs otherwise. They
# are spent on the shape and its walk. What goes is the background: it is much the same for all clips, and
# the shape's colour is often wrong. The code buys what pays most per nat, as in chapter 1.
#
# ### Held by one frame
#
# The paper's conditional network is held to *one* frame of the clip by its L1 loss; the rest is the
# adversary's. And it has no mask penalty. Expect the cheapest way to draw that one frame: put it
# into the still stream, shape and all. The cure that we had in mind: give two frames and ask every
# frame back.

# %%
for name in ("first frame alone", "all frames"):
    value = measured[name]
    print(
        f"{name:>17}: shape found in {value['detection']:.1%} of the clips' frames and in "
        f"{value['detection_background']:.1%} of the still backgrounds"
    )
    print(f"{'':>19}IoU {value['iou']:.3f}, of the first frame {value['iou_first']:.3f}")

# %% [markdown] lang="en"
# Both have the shape in the *background*. A held-out clip, continued by each:

# %%
rows, shown = {}, ("video", "mask", "background")
for name in ("first frame alone", "all frames"):
    clip = torch.from_numpy(read_sheet(broken[name].name)[1]).permute(0, 1, 4, 2, 3) / 127.5 - 1
    rows |= {f"{name}: {part}": clip[ROWS.index(part)] for part in ROWS if part in shown}
plots.film_strip(
    {"truth": clip[0], **rows},
    "A held-out clip continued by two networks, with the parts of each.",
)

# %% [markdown] lang="en"
# Held by one frame, the background is that frame, and the foreground paints whatever it needs over
# the shape. With every frame asked back the *clip* is cured: the shape is in its place. The *roles* are
# not. The background holds a smear along the whole walk, in the shape's colour. The foreground (in the
# player above) is nearly black, and the mask lays it over everything like a shade, except where the shape is: a hole through
# which you see the smear.
#
# That is no stupid solution. Many pairs of streams make the same clip, and nothing in a loss on the video
# says which stream is to be called foreground. The main model has a price on its mask, and a background
# that is drawn too coarsely for a sharp shape. These two networks have neither. But when this one was
# given both, in a trial, the smear stayed, only coarser. Its streams begin with a *map* in which the
# given frames are laid out place by place; the main model's begin with one vector. We have not found
# out whether that is the reason.

# %% [markdown] lang="en"
# ### Noise with another mean
#
# Another port draws its $z$ from $\mathcal{N}(-1, I)$. No training is needed to see what happens if only
# one side does it: our main model's codes were pulled to $\mathcal{N}(0, I)$, and you sample it with
# another mean. Three numbers could tell you: how often the detector finds a shape, how much the backgrounds
# differ from sample to sample, and how much of the picture the mask claims.

# %%
noise_witness = Choice(
    "2.noise",
    "z gets the mean -1 when sampling. Does the detector find a shape less often?",
    ["much less often", "about as often", "in nearly no frame"],
)
noise_witness

# %% [markdown] lang="en"
# The same dice, moved by a constant. Real scenes are in the last line.

# %% budget_s=10
dice = torch.randn(40, videogan.config.latent_dim, generator=torch.Generator().manual_seed(7))
moved = {mean: generate(videogan, dice + mean) for mean in (0.0, -1.0, -2.0)}
rates = {mean: detection_rate(find(detector(), drawn.video)) for mean, drawn in moved.items()}
numbers = {f"mean {m:>4}": (d.background, (d.mask > 0.5).float()) for m, d in moved.items()}
numbers["real"] = scenes.background, scenes.mask.float()
for name, (backgrounds, masks) in numbers.items():
    spread = backgrounds.std(0).mean()
    print(f"{name:>9}: spread of the backgrounds {spread:.3f}, mask {masks.mean():.3f}")

# %% [markdown] lang="en"
# And the detector:

# %%
ratio_found = rates[-1.0].value / rates[0.0].value
noise_witness.reveal(
    noise_witness.options[0 if 0.1 < ratio_found < 0.8 else 1 if ratio_found >= 0.8 else 2],
    explanation="Frames in which a shape is found: "
    + ", ".join(f"mean {mean:g}: {rate.value:.1%}" for mean, rate in rates.items()),
)

# %% [markdown] lang="en"
# The witness is content, even more than before. It was asked whether there is a shape, and there is.
# The other two numbers object: the backgrounds resemble each other, and the masks grow. Look:

# %%
Player(
    {
        f"mean {mean:g}": to_panel(mosaic(drawn.video[:3], columns=3))
        for mean, drawn in moved.items()
    },
    width=215,
    title="The same dice, moved",
    alt="Three samples from noise of mean 0, -1 and -2: darker, with larger shapes, more alike.",
)

# %% [markdown] lang="en"
# ### A constant that both sides share
#
# If training *and* sampling use $\mathcal{N}(-1, I)$, the constant can do no harm, for the first layer
# is linear. With $z' = z - 1$
#
# $$W z + b = W z' + (b + W\mathbf{1}),$$
#
# so the same clips come out if the bias grows by what a code of ones adds. Check it on the main model.
# One trap: our first layers make a map of 4 x 4 places out of $z$, and $W\mathbf{1}$ differs from
# place to place, while PyTorch's bias is one number per channel, shared by all places.

# %%
layers = [videogan.generator.foreground.trunk[0], videogan.generator.background[0]]
ones = [layer.weight.detach().sum(0) for layer in layers]  # W 1: (C, 2, 4, 4) and (C, 4, 4)
shared = [m.mean(tuple(range(1, m.dim())), keepdim=True) for m in ones]
repairs = {"none": [0, 0], "a bias per channel": shared, "a bias per channel and place": ones}
for name, extras in repairs.items():
    hooks = [
        layer.register_forward_hook(lambda _layer, _z, out, extra=extra: out + extra)
        for layer, extra in zip(layers, extras, strict=True)
    ]
    again = generate(videogan, dice - 1).video
    for hook in hooks:
        hook.remove()
    print(f"{name:>28}: {(again - moved[0.0].video).abs().max():.6f}")

# %% [markdown] lang="en"
# (The largest difference of a pixel from the clips of $\mathcal{N}(0, I)$, where black is -1 and
# white 1.) With a bias for each place the clips come back exactly, up to rounding. With a shared bias
# they do not: "the bias absorbs the constant" is exactly true of a fully connected first layer, and
# ours would have to learn other weights as well. Either way, a mean that both sides share is a matter
# of taste, and one that they do not share is a bug, which no loss reports: it comes after the training.

# %% [markdown] lang="en"
# ## 7. What the paper claims, and what we found
#
# One training each, on two cores, with clips of 32 pixels and eight frames; the paper has 64 pixels,
# 32 frames, and videos from the web. So a label speaks of our scenes, not of the paper's.
#
# ### Claim panel
#
# | claim | measured here | label |
# |---|---|---|
# | A network finds out by itself what is foreground [Vondrick, Pirsiavash and Torralba 2016, abstract] | plain scenes: IoU of masks with the truth {{videogan.metrics.iou_reconstruction.value:.2f}} (interval {{videogan.metrics.iou_reconstruction.low:.2f}} to {{videogan.metrics.iou_reconstruction.high:.2f}}; by chance {{videogan.metrics.iou_chance.value:.2f}}), with the detector on samples {{videogan.metrics.iou_samples.value:.2f}} (the detector's own ceiling {{scene_detector.metrics.iou.value:.2f}}; it finds a shape in a share of {{videogan.metrics.detection.value:.2f}} of the frames) | reproduced, with an encoder's help |
# | the same, by an adversary alone, from random weights | share of frames with a shape {{videogan_scratch.metrics.detection.value:.2f}}, IoU {{videogan_scratch.metrics.iou_samples.value:.2f}}; begun from the main model {{videogan_pure.metrics.detection.value:.2f}} and {{videogan_pure.metrics.iou_samples.value:.2f}} | same direction: the split is found, the pictures are poor |
# | People prefer two streams to one, in 53 % of the pairs [Vondrick, Pirsiavash and Torralba 2016, table 1] | nobody was asked. Flicker where nothing moves, two streams over one: {{videogan_one_stream.metrics.ratio_reconstruction.value:.3f}} on clips drawn again (interval {{videogan_one_stream.metrics.ratio_reconstruction.low:.3f}} to {{videogan_one_stream.metrics.ratio_reconstruction.high:.3f}}), {{videogan_one_stream.metrics.ratio_samples.value:.3f}} on samples (to {{videogan_one_stream.metrics.ratio_samples.high:.3f}}) | same direction, another measure; before a still camera the gain is large |
# | People take its clips for the real ones in 18 % of the pairs [Vondrick, Pirsiavash and Torralba 2016, table 1] | nobody was asked; section 2 lets you try at the crossroads | not tested |
# | A price on the mask, 0.1 times its mean, makes the network use its background [Vondrick, Pirsiavash and Torralba 2016, section 2] | the main model going on with 0, 0.1, 1, 10, 100: IoU {{videogan_penalty_0.metrics.iou_reconstruction.value:.2f}}, {{videogan_penalty_1.metrics.iou_reconstruction.value:.2f}}, {{videogan_penalty_2.metrics.iou_reconstruction.value:.2f}}, {{videogan_penalty_3.metrics.iou_reconstruction.value:.2f}}, {{videogan_penalty_4.metrics.iou_reconstruction.value:.2f}}; without it from the first update on {{videogan_no_penalty.metrics.iou_reconstruction.value:.2f}}, after {{videogan_no_penalty.config.steps}} updates | reproduced while the roles are open; later the split stays without a price, and too high a price destroys it |
# | The conditional network draws a plausible future [Vondrick, Pirsiavash and Torralba 2016, section 4] | crossroads: share of valid clips {{videogan_crossroads.metrics.valid.value:.3f}}; entropy over z {{videogan_crossroads.metrics.entropy.value:.3f}} nats where the truth has {{videogan_crossroads.metrics.entropy_truth.value:.3f}} nats | not at this scale; and one future per past, whatever z |
#
# The 53 deserve a second look. If people could not tell the two apart, the number would be 50
# [Vondrick, Pirsiavash and Torralba 2016, table 1]. So the preference that is often quoted as the case for two streams
# is slight. The case that you have measured is another one: a repeated picture *cannot* flicker, and
# masks come for free.
#
# ## 8. Before you go
#
# **In five lines**
# - A discriminator learns what real clips have and drawn ones lack; the mean of two futures is easily
#   told, so an adversary forbids blur.
# - Two streams split the work: one picture that is repeated, one clip that moves, a mask between them.
# - Masks are judged against a truth where there is one, and by a witness where there is none; always
#   beside chance, a ceiling, and the rate at which the witness finds anything.
# - The losses of a game do not say how good the samples are; look at the samples, and count modes.
# - "Each clip looks real" is not "all futures are there": nothing in the loss asks samples to differ.
#
# **Easily mistaken**
# - "A low loss of the generator means good clips." It means that *this* discriminator is fooled now.
# - "The non-saturating game is zero-sum." It is not: the sum of the two losses moves with the generator.
# - "The mask is where something moves." It is where the picture needs the stream that can move. That is
#   often the same.
# - "A GAN with $z$ draws the distribution." It may ignore $z$, or reach a few modes only.
# - "Our main model is the paper's GAN." It is a VAE-GAN: an encoder and a squared error came first.
#
# **Quiz**
#
# <details><summary>The discriminator answers one half to every clip. What does it pay, and what does
# the generator learn from it?</summary>Two times the logarithm of 2, in nats. From a discriminator that
# is flat everywhere the generator learns nothing: there is no slope.</details>
#
# <details><summary>A mask is 1 at every pixel of every frame. What is left of the two
# streams?</summary>One: the clip is the foreground, and the background gets no gradient.</details>
#
# <details><summary>A network reports an IoU of 0.95 between its masks and the detector's on its
# samples. Which number do you ask for before you believe it?</summary>The share of frames in which the
# detector finds a shape at all. Two empty masks agree perfectly.</details>
#
# <details><summary>Why is the published lambda of 0.1 weak, and in which code is it
# strong?</summary>The official code takes the mean over all values of the mask, so each is pushed by
# lambda over their number. A code that takes the sum pushes each by lambda itself.</details>
#
# <details><summary>A conditional GAN at the crossroads draws a sharp left turn for every 1, whatever z.
# Is each clip valid? Is it calibrated? Does its loss object?</summary>Valid: yes. Calibrated: no, a third
# of all 1 turn left. The generator's loss hardly objects: it sees one clip at a time. A discriminator
# can learn over time that left turns of a 1 are drawn too often, if it is given the time.</details>
#
# **Further reading**
# - Goodfellow et al., *Generative adversarial networks*, 2014, arXiv 1406.2661: sections 3 and 4.
# - Vondrick, Pirsiavash and Torralba, *Generating videos with scene dynamics*, 2016, arXiv 1609.02612:
#   sections 2 and 4.
# - Mescheder, Geiger and Nowozin, *Which training methods for GANs do actually converge?*, 2018, arXiv
#   1801.04406: sections 2 and 4, the smallest game that does not converge, and R1.
# - Larsen et al., *Autoencoding beyond pixels using a learned similarity metric*, 2015, arXiv
#   1512.09300: section 2, a VAE whose decoder is a GAN's generator.
# - Tulyakov et al., *MoCoGAN: decomposing motion and content for video generation*, 2017, arXiv
#   1707.04993: section 3, another way to split what stands still from what moves.
#
# **Where to go on.** Neither dice nor critic has a long memory so far. Chapter 3 keeps every frame in
# sight: attention, and a transformer that draws one frame after another.
