# %% [markdown] lang="en"
# # One past, many futures
#
# You see three frames of a video. What comes next? This course is about machines that answer
# this question. Before we build any of them, this chapter asks what a good answer *is*.
#
# **After this chapter you can**
# - say why one past has many futures, and what a model must therefore output;
# - compute the conditional mean, and explain why squared error asks for it;
# - show that the best prediction under squared error is a clip that can never happen;
# - tell a score that rewards the right distribution from one that does not;
# - explain why maximum likelihood covers every bump and reverse KL picks one.
#
# **You need** Python, the first steps of PyTorch, and a little probability. **Study time** 90
# minutes. **Computing time** {{build.seconds:.0f}} seconds for all cells, without a GPU.

# %% tags=["setup"] budget_s=15
import numpy as np
import torch

from course_lib import plots
from course_lib.checks import chapter0 as check
from course_lib.data.crossroads import BASE, CUES, TURNS, Crossroads, turn_probs
from course_lib.data.digits import load_digits
from course_lib.data.video import mosaic, to_panel
from course_lib.widgets.course_map import course_map
from course_lib.widgets.player import Player
from course_lib.widgets.prediction import Choice, Slider

torch.set_num_threads(1)  # a second thread gains little, and costs much on a busy machine
course_map()

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
# The first three frames are the **context** (上下文帧): that is all a model gets to see. Press play,
# and move the slider to meet the five.

# %%
contexts = torch.stack([case.context for case in cases.values()])
Player(
    {"the past": to_panel(contexts)},
    {"digit": list(cases)},
    captions=["frame 0", "frame 1", "frame 2: the next frames are yours to guess"],
    width=256,
    title="Where will it go?",
    alt="A handwritten digit walks up a road towards a junction; three frames are shown.",
)

# %% [markdown] lang="en"
# Suppose the film goes on. And suppose you could rewind it to frame 2 and let it run again, a
# hundred times. Take the 4. Commit to a number before you read on; a wrong guess teaches more than
# none.

# %%
lefts = Slider("0.lefts", "A hundred runs of the 4: how many turn left?", 0, 100, 5, unit="runs")
lefts

# %% [markdown] lang="en"
# Now we draw the hundred futures, of this digit and of the other four. The cell below is the world
# itself; no model is involved.

# %%
generator = torch.Generator().manual_seed(0)
runs = {digit: case.runs(100, generator=generator) for digit, case in cases.items()}
runs["4"].shape  # run, frame, channel, height, width

# %% [markdown] lang="en"
# We count the runs that are the left turn, pixel by pixel, and compare with your number.

# %%
left_run = torch.cat([cases["4"].context, cases["4"].clips[TURNS.index("left")]])
went_left = sum(torch.equal(run, left_run) for run in runs["4"])
ends = mosaic(runs["4"], columns=10)[[5, 11]]
lefts.reveal(
    went_left,
    picture=plots.contact_sheet(
        ends,
        "A hundred runs of the 4 in frames 5 and 11.",
        columns=2,
        titles=["frame 5", "frame 11"],
    ),
    explanation="Every run starts with the same three frames, and yet they part.",
)

# %% [markdown] lang="en"
# ### All hundred at once
#
# The panel in the middle plays a hundred runs from the same past. The panel on the right averages
# them, pixel by pixel. Play each digit to its end.

# %%
average = to_panel(torch.stack([clips.mean(0) for clips in runs.values()]).flip(0))
single = to_panel(torch.stack([clips[0] for clips in runs.values()]).flip(0))
hundred = to_panel(torch.stack([mosaic(clips, columns=10) for clips in runs.values()]).flip(0))
when = ["observed"] * 3 + ["future"] * 9
Player(
    {"one run": single, "a hundred runs": hundred, "their average": average},
    {"digit": list(cases)[::-1]},
    captions=[f"frame {t}: {word}" for t, word in enumerate(when)],
    width={"one run": 160, "a hundred runs": 329, "their average": 160},
    title="One past, many futures",
    alt="One run, a hundred runs from the same past, and their average, for five digits.",
)

# %% [markdown] lang="en"
# The 0 always goes straight on. The 2 never does. The 4 likes the left, the 3 likes the right, and
# the 1 does not care. Whatever can be read from the context and says something about the future is
# a **cue** (线索). Here the cue is *which digit it is*. Digits that look alike share a cue, so that
# a model that takes a 4 for a 9 still expects the right thing.

# %%
plots.bars(
    {
        digit: dict(zip(TURNS, turn_probs(torch.tensor(int(digit))).tolist(), strict=True))
        for digit in cases
    },
    "For each of five digits, the probability to turn left, go straight on, or turn right.",
    ylabel="probability of the turn",
)

# %% [markdown] lang="en"
# These are the true probabilities. A data set of real videos cannot tell you its own: there you see
# each past once, with the one future that happened. Our world is small enough to list every future
# of a context together with its probability. So this course asks of every model not only "does
# this look good?" but "is this the right *distribution*?"

# %%
future = cases["4"]
for turn, prob in zip(future.turns.tolist(), future.probs.tolist(), strict=True):
    print(f"{TURNS[turn]:>8}: probability {prob:.1f}")

# %% [markdown] lang="en"
# ### Your own digit
#
# Draw a digit with mouse or finger, or press a number key to take another one from the shelf. A
# small network reads which digit it is, and the world does the rest: press the button, and your
# handwriting walks to the crossroads.

# %%
from course_lib.data.video import to_float
from course_lib.recipes.classifier import CLASSIFIER
from course_lib.widgets.draw_digit import DrawDigit

reader = CLASSIFIER.load()
pad = DrawDigit(
    lambda images: reader(to_float(images)[:, None]).softmax(-1),
    start=2,
    done="Walk to the crossroads",
)
pad

# %% [markdown] lang="en"
# The next player shows a hundred futures of the digit on the pad, and follows it.

# %%
title = "a hundred runs of your digit"
shelf = Crossroads(pad.digits()).futures(0, arrival=4).runs(100, generator=generator)
walk = Player({title: to_panel(mosaic(shelf, columns=10))}, width=329, title="Your handwriting")
pad.on_done(
    lambda digits: walk.update(
        {title: to_panel(mosaic(Crossroads(digits).futures(0, arrival=4).runs(100), columns=10))}
    )
)
walk

# %% [markdown] lang="en"
# ## 2. Squared error wants the mean
#
# Suppose you may output only *one* clip $f$, and you pay the squared error to the future $x$ that
# happens. What does the best clip show? Commit yourself.

# %%
best = Choice(
    "0.best_clip",
    "The 4 turns left, straight or right. Which single clip has the least expected squared error?",
    ["the likeliest turn", "an empty road", "all three turns at once, faintly", "a random turn"],
)
best

# %% [markdown] lang="en"
# Here is the argument in two lines. Write $m = \mathbb{E}[x]$ for the **conditional mean**
# (条件均值), the average of the futures weighted by their probabilities. For every clip $f$
#
# $$\mathbb{E}\,\lVert f-x\rVert^2 = \lVert f-m\rVert^2 + \mathbb{E}\,\lVert m-x\rVert^2,$$
#
# because in $\lVert (f-m) + (m-x)\rVert^2$ the mixed term is $2\,(f-m)\cdot\mathbb{E}[m-x] = 0$.
# This is Pythagoras: the two errors stand at right angles. You control the first term only, and
# $f = m$ makes it zero. What remains is the **least mean squared error** (MMSE, 最小均方误差): the
# price of not knowing.
#
# Let us check it with four clips that bid for the 4.

# %%
f, p = future.clips.double(), future.probs  # (K, H, 1, S, S), (K,)
m = future.mean().double()
bids = {
    "conditional mean": m,
    "likeliest turn": f[p.argmax()],
    "equal weights": f.mean(0),
    "empty road": future.background.double().expand_as(m),
}

# %% [markdown] lang="en"
# The formula has three terms, and so has the next cell. All are means over pixels and frames.

# %%
costs = {}
for name, bid in bids.items():
    costs[name] = p @ (bid - f).square().flatten(1).mean(1)  # E |f - x|^2
    to_mean = (bid - m).square().mean()  # |f - m|^2
    mmse = p @ (m - f).square().flatten(1).mean(1)  # E |m - x|^2
    print(f"{name:>17}: {costs[name]:.5f} = {to_mean:.5f} + {mmse:.5f}")

# %% [markdown] lang="en"
# The left side equals the right side in every row. Which bid pays least?

# %%
names = {
    "likeliest turn": "the likeliest turn",
    "empty road": "an empty road",
    "conditional mean": "all three turns at once, faintly",
}
best.reveal(
    names[min(costs, key=lambda name: costs[name])],
    explanation="The mean weighs the three turns with their probabilities and shows them all.",
    picture=plots.film_strip(
        {name.replace(" ", "\n"): bid.float() for name, bid in bids.items()},
        "The four bids as film strips; the conditional mean shows three faint digits.",
        first=BASE.context,
    ),
)

# %% [markdown] lang="en"
# **No future looks like the winner.** One digit never becomes three. Yet a model that is trained
# with squared error, and does its job perfectly, outputs this very clip. When people say that a
# video model is *blurry*, this is most of what they see: not bad training, but a good answer to
# the wrong question.
#
# ### Your turn: the conditional mean
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
# *Difficulty: easy, 5 minutes.* The checker calls your function with random clips and tells you
# which properties hold. Where one fails, it shows an input that breaks it. You can run it as often
# as you like.

# %%
verdict = check.conditional_mean(conditional_mean)
verdict

# %% [markdown] lang="en"
# Now the mean is drawn by `verdict.function`: your function if it ran, the library's otherwise. The
# player's caption says whose it is, and how far it is from the exact mean.

# %%
means = [verdict.function(case.clips, case.probs.float()) for case in cases.values()]
drawn = torch.cat([contexts, torch.stack(means)], dim=1)
exact = torch.cat([contexts, torch.stack([case.mean() for case in cases.values()])], dim=1)
error = (drawn - exact).abs().flatten(1).amax(1).tolist()

# %% [markdown] lang="en"
# Play it beside one run and the library's own mean.

# %%
Player(
    {
        "one run": single[::-1],
        "the mean you drew": to_panel(drawn),
        "the exact mean": to_panel(exact),
    },
    {"digit": list(cases)},
    captions=[[f"drawn by {verdict.whose}; largest difference {e:.4f}"] for e in error],
    width=200,
    title="The clip that squared error asks for",
    alt="One run, the mean drawn by the exercise's function, and the exact mean.",
)

# %% [markdown] lang="en"
# ### A network runs into the mean
#
# So far nothing was learned. Now a small network is trained: a **ConvLSTM** (卷积 LSTM), a
# recurrent network whose memory is a picture [Shi et al. 2015]. It sees three frames and outputs
# nine. In training it meets one past with *one* future at a time, and pays the squared error.
# Nobody tells it the mean, nor that there are many futures.

# %%
from course_lib.recipes.chapter0 import LIVE, PREDICTOR, make_exam, measured_excess, pythagoras_gap

network = PREDICTOR.load()
exam = make_exam(25)  # contexts of held-out digits whose future is open
with torch.no_grad():
    predicted = network.predict(exam.context, exam.horizon)

# %% [markdown] lang="en"
# Here is what it says about a digit it has never seen, above the exact mean.

# %%
picks = [int((exam.cue == cue).nonzero()[0]) for cue in (1, 4)]
strips = {}
for n in picks:
    digit = "digit " + "/".join(str(d) for d in CUES[int(exam.cue[n])].digits)
    strips[f"{digit}\nnetwork"] = predicted[n]
    strips[f"{digit}\nexact mean"] = exam.mean[n]
plots.film_strip(
    strips,
    "The network's predictions for two held-out digits above the exact conditional means.",
    first=BASE.context,
)

# %% [markdown] lang="en"
# The network draws the faint digits, at the right places and nearly with the right weights. Its
# **excess** says how near it is to the mean: $\lVert f-m\rVert^2$ in units of the MMSE, over the
# frames after the turn, on average over contexts. The mean itself has excess 0.

# %%
measured = measured_excess(predicted, exam)
print(f"excess {measured.value:.3f}, 95 % interval {measured.low:.3f} to {measured.high:.3f}")

# %% [markdown] lang="en"
# And Pythagoras? For each context we draw the future that "happens" and compare: the network's
# error minus the MMSE, minus its distance to the mean, must be 0 up to chance.

# %%
gap = pythagoras_gap(predicted, exam)
print(f"gap {gap.value:+.3f} MMSE, two standard errors: {gap.low:+.3f} to {gap.high:+.3f}")

# %% [markdown] lang="en"
# The stored training shows the road to the mean. The dashed lines are predictors that learn
# nothing: the empty road, the likeliest future, and the blur of a model that draws well but does
# not read the digit.

# %%
import json

from course_lib.paths import RESULTS

results = json.loads((RESULTS / "chapter0_predictor.json").read_text(encoding="utf-8"))
history, metrics = results["history"], results["metrics"]
references = ("empty_road", "likeliest", "blind_blur")
plots.curves(
    [point["step"] for point in history],
    {"network": tuple([p[k] for p in history] for k in ("excess", "excess_low", "excess_high"))},
    "The network's excess over the mean falls as training goes on.",
    xlabel="training step",
    ylabel="excess over the mean (MMSE)",
    levels={name.replace("_", " "): metrics[f"excess_{name}"]["value"] for name in references},
)

# %% [markdown] lang="en"
# The likeliest future is beaten first: long before the network draws well, it is "better" than a
# clip that really happens. Below the last line it must have read the cue. On all
# held-out contexts of the recipe the stored network has an excess of
# {{chapter0_predictor.metrics.excess.value:.3f}}. And how many of its clips are futures that can
# happen? A share of {{chapter0_predictor.metrics.valid.value:.3f}}.
#
# Train one yourself. The next cell starts from nothing, with a smaller network and a few hundred
# steps.

# %% budget_s=40
state = PREDICTOR.start(LIVE)
live = {}
for step in PREDICTOR.train_steps(state, LIVE):
    if step.step % 50 == 0:
        with torch.no_grad():
            guess = state.ema.model.predict(exam.context, exam.horizon)
        live[step.step] = measured_excess(guess, exam)

# %% [markdown] lang="en"
# The first steps are the steep ones, and then it gets slow:

# %%
plots.curves(
    list(live),
    {
        "your network": tuple(
            [getattr(e, k) for e in live.values()] for k in ("value", "low", "high")
        )
    },
    "The excess of the network that was trained in this notebook, over its training steps.",
    xlabel="training step",
    ylabel="excess over the mean (MMSE)",
)

# %% [markdown] lang="en"
# What has it learned by then? Compare with the mean it is heading for.

# %%
plots.film_strip(
    {"your\nnetwork": guess[picks[0]], "exact\nmean": exam.mean[picks[0]]},
    "The live network's prediction above the exact mean: a haze instead of three faint digits.",
    first=BASE.context,
)

# %% [markdown] lang="en"
# It knows the houses and the road, it carries a blob of ink up to the junction, and beyond it
# spreads a haze over all the arms. Shape and weights come later, in the long flat part of the
# stored network's curve.
#
# ### Which one is real?
#
# Ten rounds: one clip is a true future, the other is what the *stored* network predicts, the one
# that is nearly optimal in squared error. Press play, then choose.

# %%
from course_lib.widgets.which_is_real import WhichIsReal

happened = torch.cat([f.sample(1, generator=generator) for f in exam.futures])
WhichIsReal(
    "0.real",
    to_panel(torch.cat([exam.context, happened], dim=1)),
    to_panel(torch.cat([exam.context, predicted], dim=1)),
    generator=generator,
)

# %% [markdown] lang="en"
# Hard to get wrong, is it not? In chapter 2 this game becomes a training method: a network plays
# your part, and the model learns to make it lose.
#
# ### The same blur on a real street
#
# Nobody knows the mean of a real street's futures. But the same network, trained in the same way on
# real pedestrians, must pay the same price. It sees half a second of film and predicts one second:
# ten frames. Here is a clip from the part of the film that was kept out of training.

# %%
from course_lib.recipes.street import CONTEXT, STREET, predict

street_context, street_truth, street_guess = predict(STREET.load())
plots.film_strip(
    {"truth": street_truth[8], "network": street_guess[8]},
    "Pedestrians: the true frames, and the network's, which lose the people's outlines.",
    frames=[0, 2, 4, 6, 8, 9],
    first=CONTEXT,
)

# %% [markdown] lang="en"
# How much of the picture's detail is left? **Sharpness** (清晰度) is the mean length of the pixel
# gradient; we divide by the truth's.

# %%
from course_lib.evaluation.frames import mse, sharpness

detail = sharpness(street_guess).mean(0) / sharpness(street_truth).mean(0)
plots.curves(
    range(CONTEXT, CONTEXT + len(detail)),
    {"network": detail.numpy()},
    "The sharpness of the predicted frames, relative to the true ones, falls with every frame.",
    xlabel="frame",
    ylabel="sharpness / truth's",
    levels={"truth": 1.0},
)

# %% [markdown] lang="en"
# The further ahead, the less certain where everyone will be, and the less is drawn. (Not all of the
# blur is uncertainty. The kerb and the signs stand still, and this small network blurs them too:
# that is a weakness of its own, and it is there from the first frame on. What grows from frame to
# frame is the rest.) And the squared error? It is lower than that of the clip that repeats the last
# frame seen, which is perfectly sharp:

# %%
repeated = street_context[:, -1:].expand_as(street_truth)
print(f"network {mse(street_guess, street_truth).mean():.4f}")
print(f"last frame repeated {mse(repeated, street_truth).mean():.4f}")

# %% [markdown] lang="en"
# ### When does the error come?
#
# The MMSE of each frame says *when* the future becomes uncertain.

# %%
plots.curves(
    range(BASE.context, BASE.num_frames),
    {f"digit {digit}": case.mmse().numpy() for digit, case in cases.items()},
    "The least reachable squared error per frame: zero until the turn, then it rises.",
    xlabel="frame",
    ylabel="MMSE (pixels in [-1, 1])",
)

# %% [markdown] lang="en"
# Up to frame 4 the digit walks straight and nothing is open. Frame 5 is the first to show the turn,
# and the error grows until the arms have separated. Another number says how much *news* a frame
# brings, given all frames before it: its **entropy** (熵).

# %%
for digit, case in cases.items():
    news = " ".join(f"{nats:.2f}" for nats in case.entropy().tolist())
    print(f"digit {digit}: entropy of frames 3 to 11 in nats: {news}")

# %% [markdown] lang="en"
# Frame 5 carries all the news; the later frames only follow from it. A good model makes *one*
# decision, at the right moment, and then stands by it. In chapter 1 a latent variable will have to
# speak up in exactly this frame.
#
# ### Break it: hide the cue
#
# What if a model cannot read the digit? Then it knows the probabilities of the turns only on
# average over all digits. We build the best prediction of such a **cue-blind** model, and measure
# its excess for each digit by itself. *What do you expect for the 4, and what for the 2?*

# %%
from course_lib.evaluation.futures import excess

average_probs = turn_probs(torch.arange(10)).mean(0)
for digit in ("4", "3", "1", "2"):
    arms = world.futures(labels.index(int(digit)), arrival=4, include_impossible=True)
    blind = torch.einsum("k,khcij->hcij", average_probs.float(), arms.clips)
    likeliest = arms.clips[arms.probs.argmax()]
    print(
        f"digit {digit}: cue-blind {excess(blind, arms):.2f}, likeliest {excess(likeliest, arms):.2f}"
    )

# %% [markdown] lang="en"
# Hiding the cue costs little for the 1, whose turns are nearly equally likely anyway, and most
# for the 2, to which a cue-blind model gives a straight walk that never happens. So a small squared
# error alone does not prove that a model has read the cue: the excess does.
#
# ## 3. What should a score reward?
#
# Give up on the best single clip and do what nature does: draw a future $y$ with the true
# probabilities. That model is perfect; nobody can tell its clips from real ones. How does squared
# error rate it?

# %%
price = Slider(
    "0.price", "A perfect sampler pays how many times the MMSE?", 0.5, 4, 0.1, unit="times"
)
price

# %% [markdown] lang="en"
# The sample $y$ and the true future $x$ are independent, and both have the mean $m$. So Pythagoras
# works again:
#
# $$\mathbb{E}\,\lVert y-x\rVert^2
#   = \mathbb{E}\,\lVert y-m\rVert^2 + \mathbb{E}\,\lVert m-x\rVert^2.$$

# %%
x, q = future.clips.double().flatten(1), future.probs
sampled = q @ torch.cdist(x, x).square() @ q / x.shape[1]  # E |y - x|^2
ratio = (sampled / future.mmse().mean()).item()
price.reveal(
    round(ratio, 6),
    explanation="Both terms on the right are the MMSE. It does not depend on the cue, nor on the world.",
)

# %% [markdown] lang="en"
# Squared error prefers the blur to a perfect sampler, always and by the same factor. And a model
# that confidently takes a *wrong* turn? Among $K$ equally likely futures it pays $2/(1-1/K)$
# times the MMSE. The 2 has two such futures and the 1 has three:

# %%
for digit in ("2", "1"):
    x = cases[digit].clips.double().flatten(1)
    K = len(x)
    wrong = torch.cdist(x, x).square().sum() / (K * (K - 1)) / x.shape[1]  # over pairs y != x
    print(f"K = {K}: {wrong / cases[digit].mmse().mean():.3f}, formula {2 / (1 - 1 / K):.3f}")

# %% [markdown] lang="en"
# ### Your turn: PSNR
#
# Papers rarely print the squared error. They print the **peak signal-to-noise ratio**
# (PSNR, 峰值信噪比),
#
# $$\mathrm{PSNR} = 10\,\log_{10}\frac{R^2}{\mathrm{MSE}},$$
#
# in decibels, where $R$ is the range of a pixel: largest minus smallest possible value. Ours lie
# in $[-1, 1]$.


# %% tags=["exercise"]
def psnr(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """PSNR in dB of a clip (H, 1, S, S) with pixels in [-1, 1]: one number."""
    # SOLUTION
    mse = (prediction - truth).square().mean()
    return 10 * torch.log10(4 / mse)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# What is the largest difference that two pixels in $[-1, 1]$ can have?

# %% [markdown] lang="en" tags=["hint"]
# Take the mean of the squared error over *all* pixels and frames first, the logarithm last.

# %% [markdown] lang="en" tags=["hint"]
# The range is 2, so its square, 4, stands above the MSE.

# %% [markdown] lang="en"
# *Difficulty: easy, 5 minutes.*

# %%
psnr_verdict = check.psnr(psnr)
psnr_verdict

# %% [markdown] lang="en"
# With it (yours, if it runs) we score bids for the 4. For each we average the squared error over
# the possible futures, as if the test set were large, and then take the PSNR.

# %%
likely = future.clips[future.probs.argmax()]
scores = {
    "conditional mean": m.float(),
    "likeliest turn": likely,
    "equal weights": f.mean(0).float(),
}
for name, bid in scores.items():
    errors = torch.stack([(bid - clip).square().mean() for clip in future.clips]).double()
    root = (future.probs @ errors).sqrt().float()
    shown = psnr_verdict.function(root.expand(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
    print(f"{name:>17}: {shown:.2f} dB")
perfect = psnr_verdict.function(sampled.sqrt().float().expand(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
print(f"{'perfect sampler':>17}: {perfect:.2f} dB")

# %% [markdown] lang="en"
# A factor of two is three decibels: that is what the perfect sampler loses against the blur.
#
# ### Break it: forget the range
#
# A public table of video predictors on Moving MNIST lists a squared error of 32.15, summed over the
# 64 x 64 pixels of a frame with range 1, beside the PSNR below [OpenSTL model zoo, SimVP, 2023].
# Do the two agree?

# %%
printed = 37.97  # dB, as the table says
from_its_error = 10 * torch.log10(torch.tensor(1 / (32.15 / 64**2)))
print(f"printed {printed} dB, from its own squared error {from_its_error:.2f} dB")

# %% [markdown] lang="en"
# They do not. (The mean of many PSNRs is larger than the PSNR of the mean error, but not by so
# much.) Whoever compares PSNR across papers should check the range first.
#
# ### The eye and the error
#
# One more prediction. Back to the real street. We damage a frame in two ways: once we move the whole picture by one pixel, once we blur it a little.

# %%
from course_lib.data.pedestrians import load_pedestrians

photos = load_pedestrians("test")[:, 0]  # the first frame of each clip: (N, 1, 64, 64)
crop = photos[..., 2:-2, 3:-3]
moved = photos[..., 2:-2, 2:-4]
blurred = torch.nn.functional.avg_pool2d(photos, 5, stride=1)[..., 1:-1]

# %% [markdown] lang="en"
# The blur replaces every pixel by the mean of its 5 x 5 neighbours.

# %%
larger = Choice(
    "0.eye",
    "Which copy has the larger squared error to the original?",
    ["moved by one pixel", "blurred"],
)
larger

# %% [markdown] lang="en"
# Your answer first, then the measurement and the pictures.

# %%
errors = {
    "moved by one pixel": (moved - crop).square().mean().item(),
    "blurred": (blurred - crop).square().mean().item(),
}
trio = torch.stack([crop[8], moved[8], blurred[8]])
larger.reveal(
    max(errors, key=lambda name: errors[name]),
    explanation=", ".join(f"{name}: {value:.4f}" for name, value in errors.items()),
    picture=plots.contact_sheet(
        trio, "A street, the same moved by a pixel, and blurred.", titles=["original", *errors]
    ),
)

# %% [markdown] lang="en"
# You hardly see the shift: every person is as sharp as before. The blur you see at once, and it
# takes away what tells a person from a shadow. Squared error compares pixel with pixel and does not
# know that a picture which moved is still the same picture.

# %% [markdown] lang="en"
# ### A score for a whole distribution
#
# A score that judges a *distribution* by the one future that happened is called **proper**
# (恰当评分) if no model can expect a better score than the true distribution. The **energy score**
# is one. For samples $X, X'$ of a model and the future $y$ that happened, it is
#
# $$\mathbb{E}\,\lvert X - y\rvert - \tfrac12\,\mathbb{E}\,\lvert X - X'\rvert$$
#
# and small is good. The first term pulls the samples towards the truth. The second rewards spread:
# without it, all samples would gather in the middle.


# %% tags=["exercise"]
def energy_score(samples: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The energy score of samples (N, D) for a truth (D,), over pairs of different samples."""
    # SOLUTION
    near = (samples - truth).norm(dim=1).mean()
    return near - torch.pdist(samples).mean() / 2
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Start with the mean Euclidean distance of the samples to the truth.

# %% [markdown] lang="en" tags=["hint"]
# `torch.pdist(samples)` lists the distances of all pairs of different samples, each pair once.

# %% [markdown] lang="en" tags=["hint"]
# Subtract half of the mean of these distances.

# %% [markdown] lang="en"
# *Difficulty: medium, 10 minutes.*

# %%
energy_verdict = check.energy_score(energy_score)
energy_verdict

# %% [markdown] lang="en"
# Four models compete, each with fifty samples for the 4. The **cue-blind sampler** draws each turn
# equally often: the right turns with the wrong frequencies.

# %%
equal = torch.full((3,), 1 / 3)
blind_draws = future.clips[torch.multinomial(equal, 50, replacement=True, generator=generator)]
models = {
    "perfect sampler": future.sample(50, generator=generator),
    "cue-blind sampler": blind_draws,
    "likeliest turn": likely.expand(50, -1, -1, -1, -1),
    "conditional mean": future.mean().expand(50, -1, -1, -1, -1),
}

# %% [markdown] lang="en"
# Beside the energy score stands **best of K**: the squared error of the best of the fifty samples.
# Many papers report it for models that sample.

# %%
print(f"{'':>18} energy score   best of 50")
for name, samples in models.items():
    flat, truths = samples.flatten(1), future.clips.flatten(1)
    energy = torch.stack([energy_verdict.function(flat, y) for y in truths]).double()
    best_of = torch.stack([(flat - y).square().mean(1).min() for y in truths]).double()
    print(f"{name:>18} {future.probs @ energy:12.3f} {future.probs @ best_of:12.5f}")

# %% [markdown] lang="en"
# Best of fifty cannot tell the perfect sampler from the cue-blind one: both hit every turn at least
# once, and nobody asks how often. It measures **coverage** (覆盖), not calibration. The energy
# score puts the perfect sampler first. (Scores of fifty samples fluctuate; run the cell again and
# watch.) The mean, best in squared error, comes behind both samplers.
#
# ## 4. Maximum likelihood is minimum forward KL
#
# A model with parameters $\theta$ is a distribution $p_\theta$. How do we choose it? The oldest
# recipe is **maximum likelihood** (最大似然): make the data as probable as possible.
#
# $$\mathrm{KL}(p_\text{data}\,\Vert\,p_\theta)
#   = \mathbb{E}_{p_\text{data}}[\log p_\text{data}] - \mathbb{E}_{p_\text{data}}[\log p_\theta].$$
#
# The first term does not know $\theta$. So whoever maximises the likelihood, the second term,
# minimises the **forward KL divergence** (前向 KL 散度) from the data to the model. Turn the two
# around, and you have the **reverse KL**: a different question with a different answer.
#
# ### Your turn: forward KL


# %% tags=["exercise"]
def forward_kl(p: torch.Tensor, q: torch.Tensor, dx: torch.Tensor) -> torch.Tensor:
    """KL(p || q) in nats of two densities (G,) on a grid of step dx; 0 log 0 counts as 0."""
    # SOLUTION
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum() * dx
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Average $\log p - \log q$ under $p$. An average under a density is an integral, and an integral is
# a sum times `dx`.

# %% [markdown] lang="en" tags=["hint"]
# Where `p` is 0, `p * p.log()` is `nan`. What should it be?

# %% [markdown] lang="en" tags=["hint"]
# `torch.xlogy(a, b)` is `a * log(b)`, and 0 where `a` is 0.

# %% [markdown] lang="en"
# *Difficulty: medium, 10 minutes.*

# %%
kl_verdict = check.forward_kl(forward_kl)
kl_verdict

# %% [markdown] lang="en"
# Now two bumps. Think of them as the left and the right turn, squeezed onto a line. The model is
# *one* Gaussian; it cannot have two bumps. Which compromise does each criterion choose? *Decide
# for yourself before you press play.*

# %%
from course_lib.data.toy import two_bumps
from course_lib.methods.likelihood import fit_by_likelihood, fit_forward_kl, fit_reverse_kl

grid = torch.linspace(-9, 9, 721, dtype=torch.float64)
distances = torch.arange(0, 9, dtype=torch.float64)
weights = [0.5, 0.6, 0.7]

# %% [markdown] lang="en"
# For each distance and weight we fit by likelihood (to samples), by forward KL and by reverse KL
# (to the density itself), and draw the three.

# %% budget_s=15
fits = {}
for weight in weights:
    for distance in distances.tolist():
        bumps = two_bumps(distance, left_weight=weight)
        log_p = bumps.log_prob(grid[:, None])
        fits[weight, distance] = {
            "likelihood": fit_by_likelihood(bumps.sample(20_000, generator=generator)[:, 0]),
            "forward KL": fit_forward_kl(log_p, grid),
            "reverse KL": fit_reverse_kl(log_p, grid)[0],
        }

# %% [markdown] lang="en"
# The player's time is the distance of the bumps. Its caption gives the forward KL of two of the
# fits, computed by `forward_kl` (yours, if it runs).

# %% budget_s=15
pictures, captions, dx = [], [], grid[1] - grid[0]
for (weight, distance), three in fits.items():
    density = two_bumps(distance, left_weight=weight).log_prob(grid[:, None]).exp()
    lines = {"two bumps": density}
    for name, fit in three.items():
        lines[name] = torch.distributions.Normal(fit.mean, fit.sd).log_prob(grid).exp()
    picture = plots.curves(grid, lines, "Fits.", xlabel="x", ylabel="density", ylim=(0, 0.45))
    pictures.append(picture.pixels(560))
    paid = [kl_verdict.function(density, lines[n], dx) for n in ("forward KL", "reverse KL")]
    captions.append(
        f"distance {distance:.0f}; forward KL in nats: {paid[0]:.3f} of the forward fit, "
        f"{paid[1]:.3f} of the reverse fit"
    )

# %% [markdown] lang="en"
# Play it, then repeat with a heavier left bump.

# %%
Player(
    {
        "one Gaussian for two bumps": np.stack(pictures).reshape(
            3, len(distances), *pictures[0].shape
        )
    },
    {"weight of the left bump": weights},
    captions=np.array(captions).reshape(3, -1),
    width=560,
    fps=2,
    title="Covering and picking",
    alt="Two bumps move apart; likelihood and forward KL cover both, reverse KL picks one.",
)

# %% [markdown] lang="en"
# Likelihood and forward KL agree, up to the noise of the samples, so that one curve hides the other:
# they are the same criterion. Both **cover**: the Gaussian stretches over both bumps and puts much
# of its mass *between* them, where there is no data. Reverse KL **picks**: beyond a certain distance it takes one bump and
# ignores the other.
#
# Squared error is a special case of likelihood. With a Gaussian of fixed width,
#
# $$-\log \mathcal{N}(x;\,f,\,\sigma^2 I) = \frac{\lVert x-f\rVert^2}{2\sigma^2} + \text{const},$$
#
# so minimising the squared error *is* maximising a likelihood, for a model that can only say "one
# clip, plus noise of a known size". The blur of section 2 is forward KL covering all the turns with
# one bump. Give the model a richer $p_\theta$, and likelihood no longer wants a blur.
#
# **What generation means.** Given a condition $c$ (a text, a picture, past frames), choose the
# model distribution $p_\theta(y \mid c)$ nearest to the data's, then *sample* from it. Every
# chapter of this course fills in three blanks: which $p_\theta$, nearest in which sense, and
# sampled how.
#
# **What is not the same.** These names are often mixed up with likelihood:
# - the **ELBO** (evidence lower bound) of a VAE is a *lower bound* on the log-likelihood; the gap
#   is another KL divergence (chapter 1);
# - the **Jensen-Shannon divergence** is what the first GAN's game measures if its discriminator is
#   perfect; it is neither forward nor reverse KL (chapter 2);
# - the **simplified loss** of diffusion models is a bound like the ELBO with its terms re-weighted:
#   better pictures, worse likelihood (chapter 5).

# %% [markdown] lang="en"
# ### Claim panel
#
# | claim | measured here | label |
# |---|---|---|
# | Squared error gives "inherently blurry predictions" [Mathieu et al. 2015, abstract] | crossroads, one seed: excess over the exact mean {{chapter0_predictor.metrics.excess.value:.3f}} (interval {{chapter0_predictor.metrics.excess.low:.3f}} to {{chapter0_predictor.metrics.excess.high:.3f}}), share of valid clips {{chapter0_predictor.metrics.valid.value:.3f}} | reproduced, and explained |
# | the same, on real video | street, one seed: sharpness falls from {{street_predictor.metrics.sharpness_first.value:.2f}} of the truth's in the first frame to {{street_predictor.metrics.sharpness_last.value:.2f}} in the last, while the error is {{street_predictor.metrics.error_to_repeating.value:.2f}} of repeating the last frame | same direction; part of the blur is the small network's own |
#
# ## 5. The map
#
# Everything that follows is a way to output more than one clip, or to make a better choice of one.
#
# | family | how it answers "many futures" | what it pays |
# |---|---|---|
# | squared error (this chapter) | it does not: one clip, the mean | blur |
# | latent variables: VAE, SVG (chapter 1) | a random variable $z$ per frame decides | a bound instead of the likelihood; $z$ may be ignored |
# | adversaries: GAN, VideoGAN (chapter 2) | a critic forbids what never happens | no promise of *all* futures; delicate training |
# | attention, one frame at a time or all at once: VPTR (chapters 3, 4) | it does not by itself, but it carries motion and appearance far | drift, or blur |
# | denoising: DDPM, DDIM, latent diffusion (chapters 5 to 7) | many small decisions, from noise to clip | many steps per sample |
#
# The map fills as the chapters come. Each row will be judged at the crossroads: valid, forbidden,
# calibrated.

# %% [markdown] lang="en"
# ## 6. Before you go
#
# **In five lines**
# - One past has many futures; a model should output a distribution, not a clip.
# - At the crossroads this distribution is known exactly, so models can be judged by it.
# - Squared error asks for the conditional mean: a clip that never happens.
# - A perfect sampler pays exactly twice the least squared error, so squared error and PSNR rank it
#   below the blur; a proper score does not.
# - Maximum likelihood is minimum forward KL: it covers. Squared error is its one-bump case.
#
# **Easily mistaken**
# - "Blur means that the network is too small." The best possible network draws the mean.
# - "With more frames of context the blur goes away." Only if they hold a better cue: nothing in
#   frames 0 to 2 says where *this* 4 will turn.
# - "Best of K shows that the model knows the probabilities." It shows that it covers.
#
# **Quiz**
#
# <details><summary>A model scores a higher PSNR than the perfect sampler. Is it better?</summary>
# Not necessarily: the conditional mean scores three decibels more and shows a clip that never
# happens.</details>
#
# <details><summary>At which frame does the entropy of the 4's future drop to zero, once the frame
# has been seen?</summary>Frame 5, the first after the junction. Then nothing is open any more.</details>
#
# <details><summary>Two equally likely turns, far apart. Where does the Gaussian of maximum likelihood
# have its peak?</summary>Halfway between them, where no future is.</details>
#
# <details><summary>A sampler turns left in each of a thousand runs of the 4. Are its clips
# valid? Is it calibrated?</summary>Each clip is a possible future, so they are valid. It is not
# calibrated: the 4 also goes straight and right.</details>
#
# **Further reading**
# - Mathieu, Couprie and LeCun, *Deep multi-scale video prediction beyond mean square error*, 2015,
#   arXiv 1511.05440: the introduction, on blur.
# - Gneiting and Raftery, *Strictly proper scoring rules, prediction, and estimation*, Journal of
#   the American Statistical Association, 2007: section 4.3, the energy score.
# - Bishop, *Pattern Recognition and Machine Learning*, 2006: section 10.1, the two directions of KL.
# - Shi et al., *Convolutional LSTM network*, 2015, arXiv 1506.04214: the network of section 2.
#
# **Where to go on.** Chapter 1 gives the model a dice to throw.
