# %% [markdown] lang="en"
# # One past, many futures
#
# You see three frames of a video. What comes next? This course is about machines that answer
# this question. Before we build any of them, this chapter asks what a good answer *is*.
#
# **After this chapter you can**
# - say why one past has many futures, and what a model must therefore output;
# - compute the conditional mean, and explain why squared error asks for it;
# - show that the best prediction under squared error is a clip that can never happen.
#
# **You need** Python, the first steps of PyTorch, and a little probability. **Study time** 45
# minutes. **Computing time** {{build.seconds:.0f}} seconds for all cells, without a GPU.

# %% tags=["setup"] budget_s=15
import torch

from course_lib import plots
from course_lib.checks import chapter0 as check
from course_lib.data.crossroads import BASE, TURNS, Crossroads, turn_probs
from course_lib.data.digits import load_digits
from course_lib.data.video import mosaic, to_panel
from course_lib.widgets.player import Player

# %% [markdown] lang="en"
# ## 1. Where will it go?
#
# Welcome to the **crossroads**, the small world of this course. A handwritten digit walks up a
# road. At the junction it turns left, goes straight on, or turns right. Four grey squares are
# houses; the digit never enters them.
#
# We take one picture of each of five digits. All five arrive at the junction in frame 4.

# %%
world = Crossroads(load_digits("test"), BASE, size=32)
labels = world.digits.labels.tolist()
walkers = [4, 3, 1, 2, 0]
cases = {str(c): world.futures(labels.index(c), arrival=4) for c in walkers}

# %% [markdown] lang="en"
# The first three frames are the **context**: that is what a model gets to see. The other nine are
# the **future**, and there is more than one. From each context we draw a hundred of them.

# %%
generator = torch.Generator().manual_seed(0)
clips = {}
for digit, f in cases.items():
    past = f.context.expand(100, -1, -1, -1, -1)
    clips[digit] = torch.cat([past, f.sample(100, generator=generator)], dim=1)
hundred = torch.stack([mosaic(c, columns=10) for c in clips.values()])
hundred.shape  # digit, frame, channel, height, width

# %% [markdown] lang="en"
# Look at the left panel first. Stop it at frame 2, just before the junction, and decide where the
# digit will go. Then press play. The panel in the middle shows a hundred runs from the *same* three
# frames. The panel on the right averages them, pixel by pixel.

# %%
average = to_panel(torch.stack([c.mean(0) for c in clips.values()]))
single = to_panel(torch.stack([c[0] for c in clips.values()]))
when = ["observed"] * 3 + ["future"] * 9
Player(
    {"one run": single, "a hundred runs": to_panel(hundred), "their average": average},
    {"digit": list(cases)},
    captions=[f"frame {t}: {word}" for t, word in enumerate(when)],
    width={"one run": 160, "a hundred runs": 329, "their average": 160},
    title="One past, many futures",
    alt="A digit walks to a junction; a hundred runs from the same past go different ways.",
)

# %% [markdown] lang="en"
# Move the slider through the digits. The 0 always goes straight on. The 2 never does. The 4 likes
# the left, the 3 likes the right, and the 1 does not care.
#
# Whatever can be read from the context and says something about the future is a **cue**. Here the
# cue is *which digit it is*. Digits that look alike share a cue, so that a reader who takes a 4 for
# a 9 still expects the right thing.

# %%
plots.bars(
    {
        f"{digit}": dict(zip(TURNS, turn_probs(torch.tensor(int(digit))).tolist(), strict=True))
        for digit in cases
    },
    "For each of five digits, the probability to turn left, go straight on, or turn right.",
    ylabel="probability of the turn",
)

# %% [markdown] lang="en"
# These are the true probabilities. No data set of real videos can tell you its own: there you see
# each past once, with the one future that happened. Here the world is simple enough to list every
# future of a context together with its probability. So this course can ask of every model not only
# "does this look good?" but "is this the right *distribution*?"

# %%
future = cases["4"]
for turn, prob in zip(future.turns.tolist(), future.probs.tolist(), strict=True):
    print(f"{TURNS[turn]:>8}: probability {prob:.1f}")

# %% [markdown] lang="en"
# ## 2. Squared error asks for the mean
#
# Suppose you may output only *one* clip $f$, and you pay the squared error to the future $x$ that
# happens. Which clip should you choose? Write $m = \mathbb{E}[x]$ for the **conditional mean**
# (条件均值), the average of the futures weighed with their probabilities. For every clip $f$
#
# $$\mathbb{E}\,\lVert f-x\rVert^2 = \lVert f-m\rVert^2 + \mathbb{E}\,\lVert m-x\rVert^2,$$
#
# because in $\lVert (f-m) + (m-x)\rVert^2$ the mixed term is $2\,(f-m)\cdot\mathbb{E}[m-x] = 0$.
# This is Pythagoras: the two errors stand at right angles. You control the first term only, and
# $f = m$ makes it zero. What remains is the **least mean squared error** (MMSE), the price of not
# knowing.

# %% [markdown] lang="en"
# Let us check it. Three clips bid against the mean for the digit 4: the likeliest future, the empty
# road, and the mean of the three turns with *equal* weights.

# %%
f, p = future.clips.double(), future.probs  # (K, H, 1, S, S), (K,)
m = future.mean().double()
bids = {
    "conditional mean": m,
    "likeliest future": f[p.argmax()],
    "equal weights": f.mean(0),
    "empty road": future.background.double().expand_as(m),
}

# %% [markdown] lang="en"
# The formula has three terms, and so has the next cell: the expected error on the left, the two
# terms on the right. All are means over pixels and frames.

# %%
for name, bid in bids.items():
    expected = p @ (bid - f).square().flatten(1).mean(1)  # E |f - x|^2
    to_mean = (bid - m).square().mean()  # |f - m|^2
    mmse = p @ (m - f).square().flatten(1).mean(1)  # E |m - x|^2
    print(f"{name:>17}: {expected:.5f} = {to_mean:.5f} + {mmse:.5f}")

# %% [markdown] lang="en"
# The left side equals the right side in every row, and the mean pays least. Now look at the winner.

# %%
plots.film_strip(
    {name.replace(" ", "\n"): bid.float() for name, bid in bids.items()},
    "The four bids as film strips: the mean shows three faint digits at once.",
    first=BASE.context,
)

# %% [markdown] lang="en"
# The mean shows three faint digits that walk away from each other. **No future looks like this.**
# One digit never becomes three. Yet a model that is trained with squared error, and does its job
# perfectly, outputs this very clip. When people say that a video model is *blurry*, this is most of
# what they see: not bad training, but a good answer to the wrong question.

# %% [markdown] lang="en"
# ## 3. What honesty costs
#
# Now give up on the best single clip and do what nature does: draw a future $y$ with the true
# probabilities. That model is perfect, since its clips cannot be told from real ones. What does it
# pay? The sample $y$ and the true future $x$ are independent and both have mean $m$, so
#
# $$\mathbb{E}\,\lVert y-x\rVert^2
#   = \mathbb{E}\,\lVert y-m\rVert^2 + \mathbb{E}\,\lVert m-x\rVert^2 = 2\cdot\mathrm{MMSE}.$$

# %%
for digit, case in cases.items():
    x, q = case.clips.double().flatten(1), case.probs
    sampled = q @ torch.cdist(x, x).square() @ q / x.shape[1]  # E |y - x|^2
    mmse = case.mmse().mean()
    print(f"digit {digit}: sampler {sampled:.5f}, MMSE {mmse:.5f}")

# %% [markdown] lang="en"
# Exactly twice the MMSE, whatever the cue (the 0 has one future only, so both are zero). The
# squared error prefers the blur to a perfect sampler, always and by the same factor. A score that
# ranks a clip that never happens above clips that happen is not the score we want. Chapter by
# chapter we will look for better ones.

# %% [markdown] lang="en"
# ## 4. Your turn: the conditional mean
#
# Write the function that turns futures and probabilities into the mean. It will then draw the
# player below.


# %% tags=["exercise"]
def conditional_mean(futures: torch.Tensor, probs: torch.Tensor) -> torch.Tensor:
    """The mean of clips (K, H, 1, S, S) under probabilities (K,): one clip (H, 1, S, S)."""
    # SOLUTION
    return torch.einsum("k,khcij->hcij", probs, futures)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Each future has one number, its probability. What do you do with that number and all the pixels
# of its clip?

# %% [markdown] lang="en" tags=["hint"]
# `probs` has shape (K,) and `futures` has shape (K, H, 1, S, S). Give `probs` four more dimensions
# of size one, so that the two can be multiplied.

# %% [markdown] lang="en" tags=["hint"]
# Multiply, then add up over dimension 0. `torch.einsum` does both in one line.

# %% [markdown] lang="en"
# The checker calls your function with random clips and tells you which properties hold. Where one
# fails it shows the smallest input that breaks it. You can run it as often as you like.

# %%
verdict = check.conditional_mean(conditional_mean)
verdict

# %% [markdown] lang="en"
# Now the player draws with `verdict.function`: your function if it ran, the library's otherwise.
# The caption says whose it is.

# %%
means = [verdict.function(case.clips, case.probs.float()) for case in cases.values()]
drawn = torch.stack([torch.cat([c.context, m]) for c, m in zip(cases.values(), means, strict=True)])
exact = torch.stack([torch.cat([c.context, c.mean()]) for c in cases.values()])
error = (drawn - exact).abs().flatten(1).amax(1).tolist()

# %% [markdown] lang="en"
# Beside it stands the library's exact mean. If they differ, the caption says by how much.

# %%
captions = [[f"drawn by {verdict.whose}; largest difference {e:.4f}"] for e in error]
Player(
    {"one run": single, "the mean you drew": to_panel(drawn), "the exact mean": to_panel(exact)},
    {"digit": list(cases)},
    captions=captions,
    title="The clip that squared error asks for",
    alt="One run, the mean drawn by the exercise's function, and the exact mean.",
)

# %% [markdown] lang="en"
# ## 5. When does the error come?
#
# The MMSE of each frame says *when* the future becomes uncertain, and the **entropy** (熵) of each
# frame says how much news it brings, given all frames before it.

# %%
steps = range(BASE.context, BASE.num_frames)
plots.curves(
    steps,
    {f"digit {digit}": case.mmse().numpy() for digit, case in cases.items()},
    "The least reachable squared error per frame: zero until the turn, then it rises.",
    xlabel="frame",
    ylabel="MMSE (pixels in [-1, 1])",
)

# %% [markdown] lang="en"
# Up to frame 4 the digit walks straight and nothing is open. Frame 5 is the first to show the turn.
# From there on the error grows until the arms have separated. The news, however, comes all at once:

# %%
for digit, case in cases.items():
    news = " ".join(f"{nats:.2f}" for nats in case.entropy().tolist())
    print(f"digit {digit}: entropy of frames 3 to 11 in nats: {news}")

# %% [markdown] lang="en"
# Frame 5 carries everything; the later frames only follow from it. A good model must make *one*
# decision, at the right moment, and then stand by it. Keep this picture in mind: in chapter 1 a
# latent variable will have to speak up in exactly this frame.
#
# ## Summary
#
# - One past has many futures; a model should output a distribution, not a clip.
# - At the crossroads this distribution is known exactly, so models can be judged by it.
# - Squared error asks for the conditional mean: a clip that never happens.
# - A perfect sampler pays exactly twice the least squared error, so the error ranks it below blur.
# - The uncertainty enters at one moment, the turn; what follows is only its consequence.
#
# **Easily mistaken.** "Blur means that the network is too small." No: the best possible network,
# trained with squared error, draws the mean. "With more context the blur goes away." Only if the
# context holds a better cue: nothing in frames 0 to 2 says where *this* 4 will turn.
