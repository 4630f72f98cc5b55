# %% [markdown] lang="en"
# # One by one or all at once
#
# Chapter 3 said who may look at whom. Now the same blocks predict, in three ways. FAR draws one frame
# after another and feeds each back to itself. NAR draws all frames at once. PAR stands between them.
# What is bought with each, and what is paid?
#
# **After this chapter you can**
# - train a network on true frames, let it run on its own, and say why it drifts;
# - explain how blank frames with learned queries can draw ten frames at once, stage by stage;
# - cache keys and values, and say how much of a published speed-up was a missing cache;
# - predict further than a network was trained for, in windows and in blocks, and say how much overlap
#   a block needs;
# - measure what none of these networks can do: choose between futures.
#
# **You need** chapters 0 and 3. **Study time** 80 minutes. **Computing time**
# {{build.seconds:.0f}} seconds for all cells, without a GPU.

# %% tags=["setup"] budget_s=15
import numpy as np
import torch

from course_lib import plots
from course_lib.checks import chapter4 as check
from course_lib.data.video import mosaic, to_panel
from course_lib.widgets.course_map import course_map
from course_lib.widgets.player import Player
from course_lib.widgets.prediction import Choice, Slider

torch.set_num_threads(1)  # a second thread gains little, and costs much on a busy machine
course_map()

# %% [markdown] lang="en"
# Ten frames of a digit were seen. Ten are to be predicted, and there is one right answer: the digit
# moves straight on, and bounces off the walls. Three networks answer. They were trained on the same
# world, though not for equally long: FAR had {{vptr_far.step:,}} updates, PAR {{vptr_par.step:,}}, NAR
# {{vptr_nar.step:,}}. Press play and watch the shape and the place.

# %%
from course_lib.recipes.vptr import FAR, NAR, PAR
from course_lib.recipes.vptr_exam import make_exam

far, nar, par = FAR.load(), NAR.load(), PAR.load()
exam = make_exam()
first = exam.context[:6]

# %% [markdown] lang="en"
# Six held-out clips. Each network gets the same ten frames, and nothing else.

# %%
answers = {
    "truth": exam.future[:6],
    "FAR: one by one": far.predict(first, 10),
    "PAR: in part": par.predict(first, 10),
    "NAR: all at once": nar.predict(first, 10),
}
Player(
    {name: to_panel(torch.cat([first, future], 1)) for name, future in answers.items()},
    {"clip": range(1, 7)},
    captions=[f"frame {t}: {'seen' if t < 10 else 'predicted'}" for t in range(20)],
    width=176,
    title="Ten frames seen, ten predicted",
    alt="Six clips of a moving digit: the truth, and the predictions of FAR, PAR and NAR.",
)

# %% [markdown] lang="en"
# ## 1. One by one (FAR)
#
# The first network does what you would try first. It reads the frames that there are and predicts the
# next one. Then it takes its own prediction for a frame, and predicts the one after that. A model that
# goes on from what it said itself is **autoregressive** (自回归), and this one is called **fully
# autoregressive** (FAR, 完全自回归) [Ye & Bilodeau 2022].
#
# It is a stack of the blocks of chapter 3, with the causal mask in time, between the two halves of an
# autoencoder that is kept as it is: one half makes features of a frame, the other makes a frame of
# features.
#
# ### Your turn: the loss of teacher forcing
#
# FAR gets $T$ frames of features and returns $T$ predictions. Output $i$ is the prediction of frame
# $i+1$, made from the frames $z_1$ to $z_i$. In training every input is a true frame, whatever the
# model would have predicted: this is **teacher forcing** (教师强制). The loss compares every
# prediction with the frame that comes next:
#
# $$L = \frac{1}{T-1} \sum_{i=1}^{T-1} \operatorname{mean}\bigl(f(z_1, \ldots, z_i) - z_{i+1}\bigr)^2.$$
#
# The causal mask lets you have all $T-1$ predictions from one call of the model. No loop is needed.


# %% tags=["exercise"]
def teacher_forced_loss(model: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Mean squared error of all next frames, from features (B, T, D, h, w): a single number."""
    # SOLUTION
    predicted = model(features[:, :-1])  # (B, T - 1, D, h, w)
    return (predicted - features[:, 1:]).square().mean()
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Write the frames 1 2 3 4 in a row, and below each input the frame that its output predicts. Which
# input has no target? Which frame is nobody's target?

# %% [markdown] lang="en" tags=["hint"]
# `features[:, :-1]` are all frames but the last, `features[:, 1:]` all frames but the first. One goes
# into the model, the other is what comes next.

# %% [markdown] lang="en" tags=["hint"]
# Subtract `features[:, 1:]` from `model(features[:, :-1])`, square, and take one mean over
# everything. Detach nothing: the gradient has to reach the model.

# %% [markdown] lang="en"
# *Difficulty: easy, 6 minutes.*

# %%
forced = check.teacher_forced_loss(teacher_forced_loss)
forced

# %% [markdown] lang="en"
# `forced.function` (yours, if it runs) measures how well FAR knows the next frame when every frame
# before it is true.

# %% [markdown] lang="en"
# Twelve held-out clips, and two models to grade: our FAR, and one that says "the next frame is this
# one again", a function that returns its input. Both losses are divided by the variance of the
# features.

# %%
few = make_exam(num_clips=12)
clips = torch.cat([few.context, few.future], 1)
with torch.no_grad():
    features = far.autoencoder.encode(clips)
    for name, model in {"FAR": far.transformer, "this one again": lambda z: z}.items():
        loss = forced.function(model, features) / features.var()
        print(f"{name:>14}: {loss:.3f}")
print(f"teacher_forced_loss: {forced.whose}")

# %% [markdown] lang="en"
# (FAR was trained with more than this loss: most of its loss is the squared error of the *decoded*
# frames.)
#
# ### Your turn: let it go on by itself
#
# At test time there is no teacher. The model predicts one frame, takes it for true, predicts the
# next from it, and so on. This is a **rollout** (自回归展开). What is fed back is the *last* output
# alone: the others are predictions of frames that are known already.
#
# $$\hat z_{t+1} = f(\ldots, z_{t-1}, z_t)_{\text{last}}, \qquad \text{then } \hat z_{t+1} \text{ is
# appended to what the model sees.}$$
#
# The model has been trained with so many frames and no more. When there are more than `window`, the
# oldest are dropped: a **sliding window** (滑动窗口).


# %% tags=["exercise"]
def rollout(
    model: torch.nn.Module, context: torch.Tensor, horizon: int, window: int
) -> torch.Tensor:
    """The `horizon` frames (B, horizon, D, h, w) after a context (B, T, D, h, w), one by one."""
    # SOLUTION
    known, start = context, context.shape[1]
    for _ in range(horizon):
        outputs = model(known[:, -window:])
        known = torch.cat([known, outputs[:, -1:]], dim=1)
    return known[:, start:]
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# A loop of `horizon` steps. Each step needs three things: what the model is shown, what it says of the
# next frame, and what is known afterwards.

# %% [markdown] lang="en" tags=["hint"]
# `outputs[:, -1:]` is the last output with its time axis, (B, 1, D, h, w). `torch.cat([...], dim=1)`
# puts it behind what is known. `known[:, -window:]` are the newest frames, all of them while there are
# fewer than `window`.

# %% [markdown] lang="en" tags=["hint"]
# Begin with `known = context`. In each step: `outputs = model(known[:, -window:])`, then `known =
# torch.cat([known, outputs[:, -1:]], dim=1)`. At the end leave out the context:
# `known[:, context.shape[1]:]`.

# %% [markdown] lang="en"
# *Difficulty: medium, 10 minutes.*

# %%
rolled = check.rollout(rollout)
rolled

# %% [markdown] lang="en"
# `rolled.function` predicts the frames whose drift you see next.

# %% [markdown] lang="en"
# Before you see them: the digit moves straight on and bounces at the walls, so nothing in these clips
# is left to chance. Teacher forcing and your rollout begin alike: at step 1 nothing has been fed back,
# and their errors are equal. What about step 10?

# %%
drift = Slider(
    "4.drift",
    "At step 10 the rollout's error is how many times the error of teacher forcing?",
    1,
    15,
    0.5,
)
drift

# %% [markdown] lang="en"
# Encode the context, roll out, decode. The next cell does this. Beside it FAR predicts each of the ten
# frames from all true frames before it.

# %% budget_s=10
from course_lib.recipes.vptr_exam import errors

config, steps = far.transformer.config, range(1, 11)
with torch.no_grad():
    own = rolled.function(far.transformer, features[:, : config.context], 10, config.window)
    guided = far.transformer(features[:, :-1])[:, config.context - 1 :]
    drawn = {"teacher forcing": far.autoencoder.decode(guided)}
    drawn["your rollout"] = far.autoencoder.decode(own)
error = {name: errors(frames, few) for name, frames in drawn.items()}  # (clips, steps) each

# %% [markdown] lang="en"
# The answer draws the error of each step, a mean over the twelve clips.

# %%
mean = {name: values.mean(0) for name, values in error.items()}
picture = plots.curves(
    steps,
    mean,
    "Both errors begin alike; with a teacher it stays, in the rollout it grows several times as large.",
    xlabel="step",
    ylabel="squared error",
    ylim=(0, None),
)
drift.reveal(
    float(mean["your rollout"][-1] / mean["teacher forcing"][-1]),
    explanation=f"Errors: mean over pixels in [0, 1] and over clips ({rolled.whose}).",
    picture=picture,
)

# %% [markdown] lang="en"
# Now look at them. The slider picks a clip, the caption says its error.

# %%
Player(
    {"truth": to_panel(few.future)} | {name: to_panel(x) for name, x in drawn.items()},
    {"clip": range(1, len(clips) + 1)},
    captions=[
        [f"step {n}: error {a:.4f} with a teacher, {b:.4f} without" for n, (a, b) in pairs]
        for pairs in (
            enumerate(zip(*two, strict=True), 1) for two in zip(*error.values(), strict=True)
        )
    ],
    fps=3,
    width=170,
    title="With a teacher and without",
    alt="The true ten frames, FAR's prediction of each from true frames, and your rollout.",
)

# %% [markdown] lang="en"
# With a teacher each frame is a fresh start, and the error stays where it was. Without one, a small
# mistake in a frame is an input of the next, and digits dissolve: this is **drift** (漂移). Training
# never showed the network a frame with its own mistakes in it, and so never asked it to mend them. That
# gap between training and use is called **exposure bias** (曝光偏差).

# %% [markdown] lang="en"
# ### What is fed back?
#
# Your rollout feeds predicted *features* back as they are. This is **recursion in latents** (RIL). The
# other way makes a frame of them first, encodes that frame, and feeds its features: **recursion in
# pixels** (RIP). It costs a decoder and an encoder at every step. What can it gain? The network learned
# from features of frames. A predicted map need not be the features of any frame. Is it?

# %%
with torch.no_grad():
    again = far.autoencoder.encode(far.autoencoder.decode(own))
    ideal = far.autoencoder.encode(far.autoencoder.decode(features))
moved = (again - own).square().mean((0, 2, 3, 4)) / features.var()
print("how far decoding and encoding move features, over their variance")
print(f"of true frames: {(ideal - features).square().mean() / features.var():.3f}")
print("predicted, at steps 1, 5, 10: " + ", ".join(f"{moved[k - 1]:.3f}" for k in (1, 5, 10)))

# %% [markdown] lang="en"
# RIP takes the map back to what a frame can have, at every step. In the paper this decides: on Moving
# MNIST the squared error of FAR is 107.2 with RIP and 138.2 with RIL, summed over pixels [Ye & Bilodeau
# 2022, journal]. But their loss looks at decoded frames alone, and ours at features as well.

# %%
recursion = Choice(
    "4.recursion",
    "Over the ten steps, which recursion has the lower error with our FAR?",
    ["pixels (RIP)", "latents (RIL)", "no difference: their intervals overlap"],
)
recursion

# %% [markdown] lang="en"
# The recipe has measured both on all of its held-out clips. The mean image in the picture is the best
# that can be drawn without looking at the context: its error is one.

# %%
import json

measured = json.loads(FAR.results.read_text(encoding="utf-8"))["metrics"]
rip, ril = (measured[f"{prefix}over_mean_image"] for prefix in ("", "latents_"))
apart = 0 if rip["high"] < ril["low"] else 1 if ril["high"] < rip["low"] else 2
explanation = (
    f"Error of all ten steps over the mean image's: {rip['value']:.3f} with pixels "
    f"({rip['low']:.3f} to {rip['high']:.3f}), {ril['value']:.3f} with latents "
    f"({ril['low']:.3f} to {ril['high']:.3f})."
)

# %% [markdown] lang="en"
# The answer draws them step by step.

# %%
at = lambda prefix, end: [measured[f"{prefix}over_mean_image_step_{k:02d}"][end] for k in steps]
picture = plots.curves(
    steps,
    {
        name: tuple(at(prefix, end) for end in ("value", "low", "high"))
        for name, prefix in {"pixels (RIP)": "", "latents (RIL)": "latents_"}.items()
    },
    "Error over the mean image's at each step, with both recursions and their intervals.",
    xlabel="step",
    ylabel="error / mean image's error",
    levels={"the mean image": 1.0},
)
recursion.reveal(recursion.options[apart], explanation=explanation, picture=picture)

# %% [markdown] lang="en"
# One clip both ways:

# %% budget_s=8
strips = {"truth": few.future[-1], "pixels (RIP)": far.predict(few.context[-1:], 10)[0].detach()}
strips["latents (RIL)"] = drawn["your rollout"][-1]
plots.film_strip(
    strips, "A digit's next ten frames: the truth, FAR with RIP and FAR with RIL.", first=1
)

# %% [markdown] lang="en"
# Neither is good at the end. With RIL the shape dissolves into blotches that no digit has; decoding and
# encoding takes some of them away before they are fed back. From here on FAR uses RIP.
#
# ### What is left to guess
#
# So a prediction with a teacher is better than one without. Is that all skill? In these clips, yes:
# nothing in them is left to chance. At the crossroads it is not. There the turn is drawn, and a model
# that *sees* the turn has less to guess.
#
# Take a digit whose three turns have the chances .6, .3 and .1. All of its futures are known, so the
# least error of every frame is known, too: it is the variance of what is still possible. Predict all
# frames from the context alone, and you are in the **open loop** (开环). Its floor is `mmse()`, as in
# chapter 0. Predict a frame from all true frames before it, and you may first strike out every future
# that does not fit: `filter(seen).mmse()[0]`.

# %%
floor = Slider(
    "4.floor",
    "True frames before each frame are known. From the turn on there are at least six frames: "
    "in how many of all frames is something left to guess?",
    0,
    6,
    1,
)
floor

# %% [markdown] lang="en"
# Everything in the next cell is exact: a sum over three futures, weighted with their chances. Nothing
# has been trained.

# %%
from course_lib.recipes.chapter0 import make_exam as make_crossings
from course_lib.recipes.vptr_crossroads import FAR as FAR_CROSSROADS

futures = next(f for f in make_crossings(1).futures if f.probs.max().item() == 0.6)
horizon = futures.clips.shape[1]
least = [
    [futures.filter(clip[:step]).mmse()[0] / 4 for step in range(horizon)]  # pixels in [0, 1]
    for clip in futures.clips
]
floors = {
    "open loop": futures.mmse() / 4,
    "true frames before": futures.probs @ torch.tensor(least, dtype=torch.float64),
}

# %% [markdown] lang="en"
# The answer draws both floors.

# %%
picture = plots.curves(
    range(1, horizon + 1),
    floors,
    "Two exact floors: the open loop's rises after the turn and stays, the other is one spike.",
    xlabel="step",
    ylabel="least squared error",
)
floor.reveal(
    int((floors["true frames before"] > 1e-9).sum()),
    explanation="It is the frame that shows the turn. Before it nothing is open, and once a frame "
    "has shown the turn, one future is left.",
    picture=picture,
)

# %% [markdown] lang="en"
# And a trained network? Another FAR, a smaller one, learned the crossroads. Its errors of both kinds stand
# beside both floors, means over contexts whose turn is open.

# %%
found = json.loads(FAR_CROSSROADS.results.read_text(encoding="utf-8"))["metrics"]
kinds = {"open": "open loop", "teacher": "true frames before"}
plots.curves(
    range(6),
    {
        f"{name}: {what}": [found[f"{kind}_{what}_step_{step}"]["value"] for step in range(6)]
        for kind, name in kinds.items()
        for what in ("error", "floor")
    },
    "Errors of FAR above their floors, in the open loop and with true frames before each frame.",
    xlabel="frames after the one that shows the turn",
    ylabel="squared error",
    ylim=(0, 0.045),
)

# %% [markdown] lang="en"
# The distance between the two floors has nothing to do with the network. It is the price of not having
# seen the turn. So never compare a loss under teacher forcing with an error in the open loop: they
# answer different questions. Here is the same network, asked both, when the least likely turn happens.

# %% budget_s=8
from course_lib.recipes import vptr_crossroads

at_crossroads, past = FAR_CROSSROADS.load(), futures.context
turn = futures.clips[futures.probs.argmin()]
rows = {"truth": turn, "exact mean": futures.mean()}
with torch.no_grad():
    rows["open loop"] = vptr_crossroads.predict(at_crossroads, past[None], horizon)[0]
    whole = torch.cat([past, turn])[None]
    rows["true frames\nbefore"] = vptr_crossroads.teacher_forced(at_crossroads, whole, len(past))[0]
plots.film_strip(
    rows,
    "An unlikely turn, the exact mean, FAR in the open loop and FAR with true frames before.",
    first=1,
)

# %% [markdown] lang="en"
# ### Break it: a window of one frame
#
# Your rollout takes a `window`. What if FAR may see the last frame alone, or the last two? Training
# has asked that of it: the first output of every clip was made from a single frame.

# %% budget_s=8
looks = {"1 frame": 1, "2 frames": 2, "all": config.window}
with torch.no_grad():
    narrow = {"truth": few.future[0]}
    for name, window in looks.items():
        z = rolled.function(far.transformer, features[:1, : config.context], 10, window)
        narrow[name] = far.autoencoder.decode(z)[0]
plots.film_strip(
    narrow,
    "The truth, and FAR's rollouts when it sees one frame, two frames or all of them.",
    first=1,
)

# %% [markdown] lang="en"
# A single frame shows where the digit is and not where it goes: velocity takes two frames. Asked from
# one, the network spreads the ink over the places that are possible, and each next frame is asked from
# that. Two frames show a direction. But from step 3 on both of them are predictions: the sharp frames of
# the context have left the window, and the shape is soon forgotten.

# %% [markdown] lang="en"
# ## 2. A newsroom: blank queries that become questions (NAR)
#
# FAR cannot draw frame 12 before it has drawn frame 11. The second network does not wait. It is
# **non-autoregressive** (NAR, 非自回归): all future frames come out of one pass, and none of them is
# ever fed back [Ye & Bilodeau 2022].
#
# Its first half, the **encoder**, reads the context. It has the blocks of chapter 3 without a mask in
# time: the past may look at all of the past. What comes out are the **memories** (记忆) of the context.
#
# Its second half, the **decoder**, has to begin with something. It begins with blank frames: zeros.
# Zeros cannot ask anything. So every place of every future frame also has a learned vector, its
# **frame query** (帧查询). The queries are parameters: the same for every clip.
#
# The authors' picture of this is a newsroom. Ten trainees are to write about ten moments that nobody in
# the room has seen. Each has an empty page, and a vague assignment: a query.
#
# | sub-layer of the decoder | in the newsroom |
# |---|---|
# | local spatial attention | the trainee *organises the notes* of one page |
# | convolution | and *links* each note to those beside it |
# | temporal attention | the trainees *agree* who asks what |
# | MLP | each note is thought over by itself |
# | encoder-decoder attention | they *interview the witness*: the memories |
# | second convolution | and link the answers |
#
# Then the next block begins, with pages that are no longer empty.

# %%
asking = nar.transformer
length, side = asking.config.context, asking.config.block.map_size
with torch.no_grad():
    memories = asking.encode(nar.autoencoder.encode(exam.context[:1]))
places, heads, frames, head_dim = memories[0].keys.shape
print(f"a frame has {side} x {side} places, windows are {asking.config.block.window_size} wide")
print(f"{len(memories)} blocks ask; each has {frames} keys per place and head ({heads} heads)")
print("queries:", tuple(asking.frame_queries.shape), "one for each frame, row and column")
print(f"their standard deviation: 0.020 at first, {asking.frame_queries.std():.3f} after training")

# %% [markdown] lang="en"
# In this network a frame is one window: every place sees the whole page at once.

# %% [markdown] lang="en"
# ### Your turn: ask the witness
#
# The blank frames of NAR have questions, and the context's frames have seen what happened. A question
# is put to one place: the feature at row $y$, column $x$ of a future frame asks row $y$, column $x$ of
# every context frame, and nobody else. This is **encoder-decoder attention** (编码器-解码器注意力).
#
# There are $N$ future frames with queries and $L$ context frames with keys and values. At every place
# by itself,
#
# $$\text{answer}_n = \sum_{l=1}^{L} w_{nl}\, v_l, \qquad
#   w_{n\cdot} = \operatorname{softmax}\!\left(\frac{q_n \cdot k_l}{\sqrt{d}}\right)_{l = 1 \ldots L}.$$
#
# There is no mask: all of the context is past.


# %% tags=["exercise"]
def ask_the_witness(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
    """Answers (B, N, h, w, d) to queries of that shape, from keys and values (B, L, h, w, d)."""
    # SOLUTION
    scale = queries.shape[-1] ** -0.5
    scores = scale * torch.einsum("bnyxd,blyxd->bnlyx", queries, keys)
    weights = scores.softmax(dim=2)  # over the L frames of the context
    return torch.einsum("bnlyx,blyxd->bnyxd", weights, values)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# A place never meets another place. So treat every place as if it were a clip of its own: B times h
# times w of them, each with N questions and L memories.

# %% [markdown] lang="en" tags=["hint"]
# With `einsum` the places keep their letters throughout: scores are `"bnyxd,blyxd->bnlyx"`. Time has
# two letters, for N and L are two numbers. Which axis of the scores sums to one after the softmax?

# %% [markdown] lang="en" tags=["hint"]
# Divide the scores by the root of d, take `softmax(dim=2)`, and mix the values with
# `"bnlyx,blyxd->bnyxd"`. Or, without letters: `movedim(1, 3)` of all three, attention over the last two
# axes, and `movedim(3, 1)` of the result.

# %% [markdown] lang="en"
# *Difficulty: medium, 10 minutes.*

# %%
asked = check.ask_the_witness(ask_the_witness)
asked


# %% [markdown] lang="en"
# Now let your function conduct the interviews of the trained network. We listen at the door of each
# decoder block, and take down its queries and the keys of its memories. Beside that `watch_attention`
# keeps the weights of every attention, and `watch_stages` what every sub-layer adds.

# %%
from course_lib.models.vptr_stages import STAGES, watch_stages
from course_lib.nn.attention import watch_attention

calls = []
interviews = [block.witness.attention for block in asking.decoder]
hooks = [a.register_forward_pre_hook(lambda _, given: calls.append(given)) for a in interviews]
with torch.no_grad(), watch_attention(asking) as looks, watch_stages(asking) as added:
    predicted = nar.autoencoder.decode(asking(nar.autoencoder.encode(exam.context[:1])))
for hook in hooks:
    hook.remove()

# %% [markdown] lang="en"
# How do you see whom a question reaches? Give the witness values that say nothing but "I am frame
# $l$": a one in column $l$, zeros elsewhere. The answer then holds the weights themselves.

# %%
from einops import rearrange

asked_of = []  # for each block: heads, future frames, rows, columns, context frames
for attention, (query, memory) in zip(interviews, calls, strict=True):
    q = rearrange(attention.to_queries(query), "(y x) n (a d) -> a 1 n y x d", y=side, a=heads)
    k = rearrange(memory.keys, "(y x) a l d -> a 1 l y x d", y=side)
    names = torch.zeros_like(k)
    names[..., :length] = torch.eye(length)[:, None, None]
    answers = [asked.function(*three) for three in zip(q, k, names, strict=True)]
    asked_of.append(torch.cat(answers)[..., :length].detach())
witness = rearrange(torch.stack(asked_of), "k a n y x l -> k (y x) n a l")

# %% [markdown] lang="en"
# Are these the network's own weights? The other looks are at hand already.

# %%
numbers = range(len(interviews))
own = torch.stack([looks[f"decoder.{k}.witness.attention"][0] for k in numbers]).transpose(2, 3)
print(f"ask_the_witness: {asked.whose}")
print(f"largest difference to the network's weights: {(witness - own).abs().max():.0e}")
notes = torch.stack([looks[f"decoder.{k}.own.space.attention"][0] for k in numbers])
notes = notes.mean(2).transpose(1, 2).unflatten(-1, (side, side))  # block, place, frame, map
agreed = torch.stack([looks[f"decoder.{k}.own.time.attention"][0] for k in numbers])
agreed = agreed.transpose(2, 3)  # block, place, frame, head, frame looked at

# %% [markdown] lang="en"
# A convolution has no weights to watch. There you measure **influence** (影响), as in chapter 3: how
# much does a place of its output move when a place of its input does? That is a gradient.

# %%
probe = torch.randn(asking.config.block.dim, generator=torch.Generator().manual_seed(0))
links = []  # for each block and place: a map
for k, block in enumerate(asking.decoder):
    x = sum(list(added.values())[: len(STAGES) * k + 1]).requires_grad_()  # what stands there
    linked = block.own.convolution(block.own.norms[1](x))[0, 0] @ probe  # of the first frame
    slopes = [torch.autograd.grad(place, x, retain_graph=True)[0] for place in linked.flatten()]
    links.append(torch.stack(slopes)[:, 0, 0].norm(dim=-1))

# %% [markdown] lang="en"
# In the drawn frames we put a white edge around the pixels of the place that we look at.

# %%
drawn = torch.from_numpy(to_panel(predicted)).expand(places, -1, -1, -1).clone()
patch = drawn.shape[-1] // side
for p, here in enumerate(drawn):
    rows, columns = (slice(patch * n, patch * (n + 1)) for n in divmod(p, side))
    here[:, rows, columns][:, [0, -1]] = 255
    here[:, rows, columns][:, :, [0, -1]] = 255
most = witness.mean(3).max(-1)  # of the heads' mean: the largest weight, and whose it is
weight, asked_frame = (m.flatten() for m in most)
said = [
    f"asks most: context frame {f + 1}, {w:.2f}" for w, f in zip(weight, asked_frame, strict=True)
]
scaled = lambda maps: (maps / maps.amax((-2, -1), keepdim=True))[..., None]
glow = lambda maps: (scaled(maps) * torch.tensor([255, 180, 60])).byte().numpy()

# %% [markdown] lang="en"
# Five pictures. The drawn frame. The page: which notes the place looks at (a mean of the heads), and
# which ones the convolution links to it. Then, with a row for each head, the colleagues (the ten
# future frames) and the witness (the ten frames of the context, the oldest at the left). Bright is the
# most; a map that is bright all over looks at all alike. Play goes through the future frames; the
# sliders choose the block and the place (row by row).

# %% budget_s=8
panels = {
    "drawn": drawn.numpy()[None],
    "notes: space": glow(notes),
    "links: convolution": glow(torch.stack(links))[:, :, None],
    "colleagues: time": glow(agreed),
    "witness": glow(witness),
}
whom = Player(
    panels,
    {"block": [k + 1 for k in numbers], "place": range(1, places + 1)},
    captions=np.reshape(said, most.values.shape),
    width={name: 190 if name in ("colleagues: time", "witness") else 112 for name in panels},
    title="Whom one place looks at, sub-layer by sub-layer",
    alt="Maps of attention and influence for a place of a future frame in the decoder's blocks.",
)

# %% [markdown] lang="en"
# It begins at the place where the most ink falls.

# %%
ink = predicted[0, :, 0].unflatten(-1, (side, patch)).unflatten(-3, (side, patch)).mean((0, 2, 4))
whom.value = {"place": int(ink.argmax()), "block": len(asking.decoder) - 1}
whom

# %% [markdown] lang="en"
# The convolution reaches three places by three, whatever the block. The looks are free, and each block
# has its own. Go to the last block, and compare frame 11 with frame 20: do they ask the witness about
# the same moments? Do the heads? And what has become of the looks at the page since the first block?
#
# One caution: a memory is no frame. Before anybody asks, the encoder's blocks have let each context
# frame look at all the others. Who asks "frame 10" asks what the encoder has made of it.

# %% [markdown] lang="en"
# ### Nobody has anything to say yet
#
# In the first block the pages are empty. In the temporal attention each future frame knows its own
# time: the position code is in its queries and keys. But *values* are made of what stands on the
# pages. What do ten trainees with empty pages agree upon?

# %%
agree = Choice(
    "4.agree",
    "First block, after the temporal attention: how different are the ten blank frames by now?",
    ["as different as their queries", "a little", "not at all"],
)
agree

# %% [markdown] lang="en"
# Eight clips go through the network. Of what each sub-layer *adds* we take the size, the spread between
# the ten frames of a clip, and the spread between the clips, each a root mean square.

# %%
with torch.no_grad(), watch_stages(asking) as eight:
    asking(nar.autoencoder.encode(exam.context[:8]))
rms = lambda x: x.square().mean().sqrt().item()
spread = lambda x, axis: rms(x - x.mean(axis, keepdim=True))
parts = [
    {"size": rms(x), "between frames": spread(x, 1), "between clips": spread(x, 0)}
    for x in eight.values()
]
until_time = sum(list(eight.values())[: STAGES.index("time") + 1])  # zeros, and what was added
apart, whole = spread(until_time, 1), rms(until_time)

# %% [markdown] lang="en"
# The answer draws them for the six sub-layers of the first block.

# %%
agree.reveal(
    agree.options[2 if apart < 1e-4 * whole else 1],
    explanation=f"What stands on the pages has the size {whole:.1f}; between the ten frames it "
    f"spreads by {apart:.0e}, which is rounding. The picture has what each sub-layer adds.",
    picture=plots.bars(
        dict(zip(STAGES, parts[: len(STAGES)], strict=True)),
        "In block 1 nothing differs between frames or clips before the encoder-decoder attention.",
        ylabel="root mean square",
    ),
)

# %% [markdown] lang="en"
# Queries go into $q$ and $k$ alone: they decide *who* looks at whom, and say nothing themselves. The
# values come from zeros. (What is added is not zero: norms and linear layers have biases, and the
# convolution feels the border of the map. But it is the same for every frame and every clip.) Any
# mixture of equal values is that value. So in the first block the looks at the page and at the
# colleagues are idle. The first thing that tells one frame from another is the *interview*: there the
# query asks, and the values are somebody else's. That is how a blank query becomes a question. From
# the second block on there is something on the pages, and agreeing can begin:

# %%
for k in numbers:
    block = dict(zip(STAGES, parts[len(STAGES) * k :], strict=False))
    shares = [f"{stage} {part['between frames']:.2f}" for stage, part in block.items()]
    print(f"block {k + 1}, spread between frames of what is added: {', '.join(shares)}")

# %% [markdown] lang="en"
# ### If it stopped here
#
# Each sub-layer adds to what stands on the pages. Stop at any of them, hand the pages to the last norm
# and the autoencoder's decoder, and look. The network was never trained to stop early, so these are no
# predictions; they show what can be read off the pages so far.

# %%
from course_lib.models.vptr import to_features

steps = torch.stack([x[0] for x in added.values()])  # sub-layers, frames, rows, columns, channels
with torch.no_grad():
    pages = nar.autoencoder.decode(to_features(asking.norm(steps.cumsum(0))))
news = (steps - steps.mean(1, keepdim=True)).norm(dim=-1)  # what it adds to one frame, not to all
news = news.repeat_interleave(patch, 2).repeat_interleave(patch, 3)[:, :, None]
most_news = news.flatten(1).amax(1).unflatten(0, (-1, len(STAGES))).amax(1)  # of each block
news = 2 * news / most_news.repeat_interleave(len(STAGES))[:, None, None, None, None] - 1

# %% [markdown] lang="en"
# Each picture of the player holds the ten future frames, in two rows.

# %%
stopped = {"if it stopped here": pages, "what tells frames apart": news}
stopped = {
    name: to_panel(mosaic(x.transpose(0, 1), columns=5).unflatten(0, (-1, len(STAGES))))
    for name, x in stopped.items()
}
stopped["truth"] = to_panel(mosaic(exam.future[0][:, None], columns=5))[None]

# %% [markdown] lang="en"
# Play goes through the sub-layers of a block, the slider through the blocks. The picture in the middle
# is bright where a sub-layer adds something to one frame and not to the others, on one scale within a
# block.

# %%
named = [
    f"{stage}: adds {p['size']:.2f}" for stage, p in zip(STAGES * len(numbers), parts, strict=True)
]
Player(
    stopped,
    {"block": [k + 1 for k in numbers]},
    captions=np.reshape(named, (-1, len(STAGES))),
    fps=1,
    width=250,
    title="From blank pages to ten frames",
    alt="Ten future frames, decoded after every sub-layer, what tells them apart, and the truth.",
)

# %% [markdown] lang="en"
# ### Break it: trainees without assignments
#
# The queries are what lets the ten frames ask different things. Or are they? Give all ten frames the
# query of the first.

# %%
queries = Choice(
    "4.queries",
    "All ten frames get the query of the first. What becomes of the ten frames?",
    ["ten copies of one frame", "ten different frames, worse", "ten different frames, as good"],
)
queries

# %% [markdown] lang="en"
# A second thing can tell the frames apart: the position code of their time, in the temporal attention
# and in the interview. So we break that as well, and both.

# %% budget_s=10
from copy import deepcopy

broken = {name: deepcopy(nar) for name in ("as trained", "zero", "one for all", "no time", "both")}
with torch.no_grad():
    broken["zero"].transformer.frame_queries.zero_()
    for name in ("one for all", "both"):
        broken[name].transformer.frame_queries.copy_(asking.frame_queries[:1])
    for name in ("no time", "both"):
        broken[name].transformer.time_code[length:] = 0
    ten = {name: model.predict(exam.context[:8], 10) for name, model in broken.items()}
off = {name: (x - exam.future[:8]).square().mean().item() / 4 for name, x in ten.items()}
moved = {name: x.diff(dim=1).square().mean().item() / 4 for name, x in ten.items()}
for name in ten:
    print(f"{name:>12}: error {off[name]:.4f}, change from frame to frame {moved[name]:.4f}")

# %% [markdown] lang="en"
# Both numbers are mean squares, pixels in [0, 1]. The answer shows one of the clips.

# %% budget_s=8
cost = {name: error / off["as trained"] for name, error in off.items()}
worse, missed = cost["one for all"], "code" if cost["no time"] > cost["one for all"] else "query"
copies = moved["one for all"] < 0.01 * moved["as trained"]
queries.reveal(
    queries.options[0 if copies else 1 if worse > 1.05 else 2],
    explanation=f"The error is {worse:.2f} times that of the network as it was trained; with zero "
    f"queries {cost['zero']:.2f} times, without the time code {cost['no time']:.2f} times, with "
    f"neither {cost['both']:.2f} times. In this network it is the {missed} that is missed more.",
    picture=plots.film_strip(
        {"truth": exam.future[0]} | {name: x[0] for name, x in ten.items()},
        "Ten frames as trained, with zero queries, one query for all, no time code, and neither.",
        first=length + 1,
    ),
)

# %% [markdown] lang="en"
# The last row needs no measuring. Equal blank pages with equal queries and equal codes get equal
# answers, so nothing is left that could tell the ten frames apart: ten copies. With either of the
# two, frames can differ. Whether one alone asks the right thing at the right moment, the errors say:
# a learned query and a fixed code of the time do partly the same work, and training decides how they
# share it.

# %% [markdown] lang="en"
# ## 3. In part (PAR), and what each costs
#
# Between the two stands the **partially autoregressive** network (PAR, 部分自回归). It has NAR's encoder,
# which reads the context once. Its decoder has no blank frames and no learned queries. It is fed the
# last frame of the context, predicts the next, is fed that one, and so on: one by one, as FAR. Its
# frames look at each other under a causal mask, and each of them asks the context's memories, as in
# NAR [Ye & Bilodeau 2022, journal, section 3.5]. (The authors' code has FAR and NAR alone. This is our
# reading of their text.)
#
# | | FAR | PAR | NAR |
# |---|---|---|---|
# | the context is read | with every frame, or once with a cache | once | once |
# | a future frame may look at | all frames before it | memories, and future frames before it | memories, and all future frames |
# | what is fed back | every frame | every frame | nothing |
# | calls for ten frames | ten | ten | one |
#
# ### Your turn: do not compute the past again
#
# With every new frame your rollout computes all the old ones again. It need not. Under a causal mask
# an old frame never looks at a new one, so what it offers to others does not change: its key and its
# value, in every layer. Keep them, and a new token needs its own query, key and value alone. This is a
# **cache** (键值缓存) of keys and values.
#
# One new token comes in. Append its key and its value to those of the $M$ tokens before. Then let its
# query look at all $M+1$, itself among them:
#
# $$\text{output} = \operatorname{softmax}\!\left(\frac{q\,K^\top}{\sqrt{d}}\right) V.$$
#
# Nobody has to be masked: whatever is in the cache has happened already.


# %% tags=["exercise"]
def attend_with_cache(query, key, value, cache):
    """Output (B, 1, d) and longer cache, from a token (B, 1, d) and a pair (B, M, d), or None."""
    # SOLUTION
    if cache is None:
        keys, values = key, value
    else:
        keys = torch.cat([cache[0], key], dim=1)  # (B, M + 1, d)
        values = torch.cat([cache[1], value], dim=1)
    scores = query @ keys.mT / query.shape[-1] ** 0.5  # (B, 1, M + 1)
    return scores.softmax(-1) @ values, (keys, values)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Two steps, in this order: first make the cache longer, then look. The other way round the new token
# does not see itself. And the first token of all comes with `cache = None`.

# %% [markdown] lang="en" tags=["hint"]
# `torch.cat([cache[0], key], dim=1)` has the shape (B, M + 1, d), and leaves the old cache as it was.
# `query @ keys.mT` gives the scores, (B, 1, M + 1): divide them by the root of d, `query.shape[-1]`.

# %% [markdown] lang="en" tags=["hint"]
# `scores.softmax(-1) @ values` is the output. Return both things: `return output, (keys, values)`.

# %% [markdown] lang="en"
# *Difficulty: medium, 10 minutes.*

# %%
remembered = check.attend_with_cache(attend_with_cache)
remembered

# %% [markdown] lang="en"
# `remembered.function` decodes token by token below, beside the attention that computes all again.

# %% [markdown] lang="en"
# Try it on the trained network: queries, keys and values of FAR's first attention in time, at one place
# of one clip, frame after frame. Beside it stands causal attention over all frames at once.

# %%
import torch.nn.functional as F

attention = far.transformer.blocks[0].time.attention
with torch.no_grad():
    features = far.autoencoder.encode(torch.cat([exam.context, exam.future], 1)[:1])
    tokens = features[:, :, :, 1, 1]  # (1, frames, channels)
    makers = attention.to_queries, attention.to_keys, attention.to_values
    qkv = [make(tokens) for make in makers]
    cache, outputs = None, []
    for new in zip(*(x.split(1, dim=1) for x in qkv), strict=True):
        output, cache = remembered.function(*new, cache)
        outputs.append(output)
    whole = F.scaled_dot_product_attention(*qkv, is_causal=True)
print(f"largest difference {(torch.cat(outputs, 1) - whole).abs().max():.1e} ({remembered.whose})")

# %% [markdown] lang="en"
# The same numbers. Now count **multiply-accumulates** (乘加运算): one product and its sum. What does the
# next frame cost, with your cache, and without?

# %% budget_s=8
from course_lib.evaluation.cost import multiply_accumulates

numbers, alone = range(2, 21, 3), [x[:, :1] for x in qkv]
costs = {"all again": [], "your cache": []}
for n in numbers:
    some = [x[:, :n] for x in qkv]
    again = lambda x=some: F.scaled_dot_product_attention(*x, is_causal=True)
    longer = lambda x=some: remembered.function(*alone, (x[1][:, 1:], x[2][:, 1:]))
    costs["all again"].append(multiply_accumulates(again))
    costs["your cache"].append(multiply_accumulates(longer))

# %% [markdown] lang="en"
# Mind the scale: each line of the grid is ten times the one below it.

# %%
plots.curves(
    numbers,
    costs,
    "The cost of the next frame: it grows with the square of the frames, with a cache in proportion.",
    xlabel="frames known, the new one among them",
    ylabel="multiply-accumulates",
    log=True,
)

# %% [markdown] lang="en"
# That is attention alone. Everything else in a block costs the same for every token, and without a
# cache all old tokens go through all blocks again, for every new frame.
#
# ### How much of a speed-up is a missing cache?
#
# The paper reports that NAR is 12.75 times as fast as FAR [Ye & Bilodeau 2022, journal]. Its code keeps
# no keys and values: FAR computes the whole past again for every frame. What if it did keep them? We
# can count it at the published size without running it: on torch's meta device tensors have shapes and
# no numbers.

# %%
cached_far = Slider(
    "4.cache",
    "At the paper's size, ten frames from ten: FAR with kept keys and values and RIP needs "
    "how many times NAR's multiply-accumulates, autoencoder included?",
    0.5,
    13,
    0.5,
)
cached_far

# %% [markdown] lang="en"
# To be quick we build FAR with one of its twelve blocks, and NAR and PAR with a quarter of theirs. All
# blocks of a stack cost the same, so what they cost is multiplied by twelve or by four.

# %%
from dataclasses import replace

from course_lib.models.autoencoder import PUBLISHED, Autoencoder
from course_lib.models.vptr import PUBLISHED_FAR, PUBLISHED_NAR, AutoregressiveVPTR, Rollout
from course_lib.models.vptr_decoders import NonAutoregressiveVPTR, PartiallyAutoregressiveVPTR
from course_lib.models.vptr_video import VPTR

one_of_12 = replace(PUBLISHED_FAR, depth=1)
one_of_4 = replace(PUBLISHED_NAR, depth=1, decoder_depth=2)
slices = {
    "NAR": (NonAutoregressiveVPTR, one_of_4, 4),
    "PAR": (PartiallyAutoregressiveVPTR, one_of_4, 4),
    "FAR": (AutoregressiveVPTR, one_of_12, 12),
}

# %% [markdown] lang="en"
# RIP costs nine encodings more than RIL: those of the predicted frames that are fed back.

# %% budget_s=15
giga = {}
with torch.device("meta"):
    frames, coder = torch.zeros(1, 10, 1, 64, 64), Autoencoder(PUBLISHED)
    in_and_out = multiply_accumulates(lambda: coder(frames)) / 1e9
    encoding = multiply_accumulates(lambda: coder.encode(frames[:, :1])) / 1e9
    for name, (kind, thin, times) in slices.items():
        giant = VPTR(coder, kind(thin))
        for kept in [True] if name == "NAR" else [False, True]:
            ril = Rollout(cached=kept, through_pixels=False)
            whole = multiply_accumulates(lambda g=giant, r=ril: g.predict(frames, 10, rollout=r))
            total = in_and_out + times * (whole / 1e9 - in_and_out)
            row = name if name == "NAR" else f"{name}, {'cached' if kept else 'all again'}"
            giga[row] = {"RIL": total, "RIP": total + 9 * encoding * (name != "NAR")}

# %% [markdown] lang="en"
# The answer draws all rows.

# %%
picture = plots.bars(
    giga,
    "Multiply-accumulates at the published size: FAR that computes all again stands far above.",
    ylabel="billions of multiply-accumulates",
)
ratio = giga["FAR, cached"]["RIP"] / giga["NAR"]["RIP"]
cached_far.reveal(
    ratio,
    explanation=f"FAR that computes all again needs "
    f"{giga['FAR, all again']['RIP'] / giga['NAR']['RIP']:.2f} times NAR's. With RIL and a cache it "
    f"is {giga['FAR, cached']['RIL'] / giga['NAR']['RIL']:.2f}.",
    picture=picture,
)

# %% [markdown] lang="en"
# The paper counts 197 billion operations for NAR, 664 for PAR and 1,400 for FAR [Ye & Bilodeau 2022,
# journal]. Compare, with two operations for each multiply-accumulate:

# %%
printed = {"NAR": 197, "PAR, all again": 664, "FAR, all again": 1400}
for row, published in printed.items():
    here = 2 * giga[row]["RIP"]
    print(
        f"{row:>14}: here {here:6.0f} billion, {here / (2 * giga['NAR']['RIP']):4.1f} times NAR's; "
        f"paper {published:5} billion, {published / printed['NAR']:3.1f} times"
    )

# %% [markdown] lang="en"
# The paper's own counts are near those of networks that compute all again. So most of the work that
# NAR saves is work that FAR need not do. What is left of the 12.75 [Ye & Bilodeau 2022, journal] is not
# work but waiting: ten calls must come one after the other, and a small call keeps a processor less
# busy than a large one.
#
# Now our own networks, on this machine, one clip at a time. Seconds are medians.

# %% budget_s=10
from course_lib.evaluation.cost import seconds
from course_lib.recipes.vptr import CONVLSTM

convlstm, one = CONVLSTM.load(), exam.context[:1]
rows = {
    f"{name}, {again}, {where}": (model, {"rollout": Rollout(where == "RIP", again == "cached")})
    for name, model in {"FAR": far, "PAR": par}.items()
    for again in ("all again", "cached")
    for where in (("RIP", "RIL") if name == "FAR" else ("RIP",))
}
rows |= {"NAR": (nar, {}), "ConvLSTM": (convlstm, {})}

# %% [markdown] lang="en"
# The four rows of FAR give the same frames in pairs: a cache changes what is paid, not what is said.

# %% budget_s=20
work, time = {}, {}
for row, (model, how) in rows.items():
    call = lambda m=model, h=how: m.predict(one, 10, **h)
    work[row], time[row] = multiply_accumulates(call), seconds(call, repeats=3)
for row in rows:
    print(
        f"{row:>20}: {work[row] / 1e6:5.0f} million, {work[row] / work['NAR']:4.1f} times NAR's; "
        f"{1000 * time[row]:4.0f} ms, {time[row] / time['NAR']:4.1f} times"
    )
with torch.no_grad():
    apart = [far.predict(one, 10, rollout=Rollout(cached=kept)) for kept in (False, True)]
print(f"FAR, cached or not: frames differ by {(apart[0] - apart[1]).abs().max():.0e}")

# %% [markdown] lang="en"
# ### Who draws best?
#
# One often reads that predicting frame by frame gives better frames, and that all at once is the quick
# and dirty way. Our exam: held-out digits, ten frames after ten, errors as a share of the mean image's
# error. A ConvLSTM as in chapter 0, trained on the same clips, takes part.

# %%
best = Choice(
    "4.best", "Which of them has the lowest error at step 10?", ["FAR", "PAR", "NAR", "ConvLSTM"]
)
best

# %% [markdown] lang="en"
# The recipes have measured it. Two opponents that learned nothing stand beside them: the mean image,
# which is the best constant there is, and black.

# %%
recipes, steps = {"FAR": FAR, "PAR": PAR, "NAR": NAR, "ConvLSTM": CONVLSTM}, range(1, 11)
results = {n: json.loads(r.results.read_text(encoding="utf-8")) for n, r in recipes.items()}
table = {name: result["metrics"] for name, result in results.items()}
at = lambda name, what: [table[name][f"{what}_step_{k:02d}"]["value"] for k in steps]
lines = {name: at(name, "over_mean_image") for name in table}
black = table["FAR"]["black_over_mean_image"]["value"]

# %% [markdown] lang="en"
# The answer draws the lines.

# %%
picture = plots.curves(
    steps,
    lines,
    "Error over the mean image's at every step, of four networks and of black frames.",
    xlabel="step",
    ylabel="error / mean image's error",
    ylim=(0, 2.3),
    levels={"mean image": 1.0, "black": black},
)
best.reveal(min(table, key=lambda name: lines[name][-1]), picture=picture)

# %% [markdown] lang="en"
# Where a line is above one, a still picture would have been the better prediction. A good first step
# and a good last step are two different things.
#
# Papers like to compare with the last frame, shown again and again. It is a weak opponent. Wherever the
# digit was and is no longer, it pays for ink that should not be there, and where the digit is now, for
# ink that is missing. Black pays the second bill alone, and beats it at every step. The mean image is the
# one to beat.
#
# A squared error likes a blur. So ask the classifier of chapter 0, too: does it read the right digit,
# at the place where the digit truly is?

# %%
from course_lib.recipes.vptr_exam import is_read

plots.curves(
    steps,
    {name: at(name, "read") for name in table} | {"black": at("FAR", "black_read")},
    "The share of digits that are read at their true place, at each step, for each network.",
    xlabel="step",
    ylabel="share of digits read",
    ylim=(0, 1.03),
    levels={"true frames": is_read(exam.future, exam).double().mean().item()},
)

# %% [markdown] lang="en"
# ### Do the frames belong together?
#
# NAR never sees one of its frames finished before it draws the next. Does its digit change shape from
# frame to frame? Take two neighbouring frames, shift the first by up to four pixels in each direction,
# and find the shift after which they differ least. What still differs, over the squared ink of the
# first, is how **unsteady** the pair is: 0 where one shape moves by whole pixels, as the true ones do.

# %% budget_s=8
from course_lib.recipes.vptr_exam import unsteadiness

some = exam.context[:16]
with torch.no_grad():
    predicted = {"truth": exam.future[:16]}
    for name, model in {"FAR": far, "PAR": par, "NAR": nar, "ConvLSTM": convlstm}.items():
        predicted[name] = model.predict(some, 10)
plots.curves(
    range(1, 10),
    {name: unsteadiness(clips).mean(0) for name, clips in predicted.items()},
    "What a shift cannot explain between neighbouring frames, for each network and the truth.",
    xlabel="step of the first frame of the pair",
    ylabel="unsteadiness",
)

# %% [markdown] lang="en"
# Read it beside the pictures, never alone: whoever draws nothing, or the same blur ten times, is
# perfectly steady.

# %%
Player(
    {name: to_panel(clips[:12]) for name, clips in predicted.items()},
    {"clip": range(1, 13)},
    captions=[f"step {step}" for step in steps],
    fps=3,
    width=140,
    title="Ten frames, four networks",
    alt="Twelve held-out clips: the truth, and what FAR, PAR, NAR and the ConvLSTM predict.",
)

# %% [markdown] lang="en"
# All in one table, over all clips of the exam.

# %%
ahead = [min(("FAR", "PAR", "NAR"), key=lambda name: lines[name][k]) for k in range(10)]
print("lowest error of FAR, PAR and NAR, step by step:", ", ".join(ahead))
print("           error/mean image  step 1  step 10  read at step 10  unsteady")
entries = {name: (found, "") for name, found in table.items()}
entries |= {"last frame": (table["FAR"], "copy_last_"), "black": (table["FAR"], "black_")}
for name, (found, prefix) in entries.items():
    ends = ("over_mean_image", "over_mean_image_step_01", "over_mean_image_step_10")
    whole, first, last, read, shaky = (
        found[prefix + what]["value"] for what in (*ends, "read_step_10", "unsteady")
    )
    print(f"{name:>10}  {whole:15.2f}  {first:6.2f}  {last:7.2f}  {read:15.2f}  {shaky:8.2f}")

# %% [markdown] lang="en"
# And the paper, at its size:
#
# | ten frames after ten, two digits | squared error, summed | SSIM (higher is better) | LPIPS (lower is better) |
# |---|---|---|---|
# | NAR | 63.6 | .882 | 107.5 |
# | PAR | 93.2 | .859 | 138.4 |
# | FAR | 107.2 | .844 | 157.8 |
#
# [Ye & Bilodeau 2022, journal, tables 1 to 4; LPIPS times a thousand.] NAR leads in all three. On
# the two other data sets of the paper it leads in all but one column: of people who walk and wave, FAR
# and PAR have the better LPIPS, 79.6 and 84.8 against 86.1. And the first few steps belong to the
# one-by-one networks there, too [Ye & Bilodeau 2022, journal, figure 7]. So "autoregressive is better
# per frame" is right about the first frames, and about those alone. Compare the first line of our table.

# %% [markdown] lang="en"
# ### Control
#
# Speed and error are not all. What can you *do* with a prediction while it is being made?
#
# **Stop early.** You ask for ten frames, and after three you have seen enough. FAR makes nothing ahead.

# %%
stop = Slider(
    "4.stop",
    "FAR with a cache stops after three of ten frames. What share of the work has it done?",
    0,
    1,
    0.05,
)
stop

# %% [markdown] lang="en"
# The answer counts multiply-accumulates of our networks.

# %%
shares = {}
for row in ("FAR, all again, RIP", "FAR, cached, RIP", "PAR, cached, RIP", "NAR"):
    model, how = rows[row]
    shares[row] = multiply_accumulates(lambda m=model, h=how: m.predict(one, 3, **h)) / work[row]
stop.reveal(
    round(shares["FAR, cached, RIP"], 2),
    explanation="The context has to be read before the first frame. Without a cache the share is "
    f"{shares['FAR, all again, RIP']:.2f}: later frames cost more. PAR, cached: "
    f"{shares['PAR, cached, RIP']:.2f}. NAR: {shares['NAR']:.2f}, for it has no first frame "
    "before its last.",
)

# %% [markdown] lang="en"
# **Edit a frame, and branch.** A 7 moves. After four predicted frames you step in: in the fifth you put
# a 2 where the 7 should be. FAR's state after four frames holds all that it needs: you feed it your
# frame in place of its own, and it goes on. It can do both, from the same state.

# %%
from itertools import islice

from course_lib.recipes.vptr_exam import world

drawer = world("test")
sample = drawer.sample(1, generator=torch.Generator().manual_seed(7))
past, future = sample.video[:, :10], sample.video[:, 10:]
two = (drawer.digits.labels == 2).nonzero()[:1]
edited = [drawer.render(two, sample.positions[:, 14:15])]
with torch.no_grad():
    state = list(islice(far.stream(past), 5))[-1].state  # it knows four predicted frames
    for _ in range(5):
        z, state = far.transformer.proceed(far.autoencoder.encode(edited[-1]), state)
        edited.append(far.autoencoder.decode(z))

# %% [markdown] lang="en"
# NAR has drawn frames six to ten together with the fifth. Whatever you paint into the fifth, they are
# there already. It can be asked again: your frame becomes the last of a new context, and all is
# computed anew, with ten frames of which five are wanted.

# %%
with torch.no_grad():
    plain, at_once = far.predict(past, 10), nar.predict(past, 10)
    put_in = [at_once[:, :4], edited[0]]
    again = nar.predict(torch.cat([past, *put_in], 1), 5)
strips = {"truth": [future], "FAR": [plain], "FAR, edited": [plain[:, :4], *edited]}
strips["NAR, edited"] = [*put_in, at_once[:, 5:]]
strips["NAR, asked\nagain"] = [*put_in, again]
plots.film_strip(
    {name: torch.cat(clips, 1)[0] for name, clips in strips.items()},
    "Another digit is put into the fifth predicted frame; how FAR and NAR go on.",
    frames=range(3, 10),
    first=1,
)

# %% [markdown] lang="en"
# FAR takes the 2 and walks on with it. In the fourth row NAR's later frames are what they were. In the
# fifth they have changed, at the price of a whole new prediction. In short:
#
# | | FAR | PAR | NAR |
# |---|---|---|---|
# | stop early | yes | yes | no: all frames come at once |
# | branch from a frame | yes, the past is kept | yes, the past is kept | only by a new call |
# | edit a frame midway | what follows answers to it | what follows answers to it | only by a new call, and only at its end |
#
# ### Break it: forget to forget
#
# A cache must hold what was seen, and nothing else. Here is a mistake that is easily made: you put your
# frame in, but do not take FAR's own fifth frame *out*. The kept keys and values now tell of two fifth
# frames, and your frame comes at the time of the sixth.

# %%
with torch.no_grad():
    stale = list(islice(far.stream(past), 6))[-1].state  # has been fed its own fifth frame, too
    broken = [edited[0]]
    for _ in range(5):
        z, stale = far.transformer.proceed(far.autoencoder.encode(broken[-1]), stale)
        broken.append(far.autoencoder.decode(z))
plots.film_strip(
    {"right": torch.cat(edited, 1)[0], "stale cache": torch.cat(broken, 1)[0]},
    "The edited clip with the right state, and with a state that still holds the old fifth frame.",
    first=5,
)

# %% [markdown] lang="en"
# No error, no warning, frames that look no worse: and the digit walks off in another direction. For the
# network the digit was at one place twice, once as a 7 and once as a 2, and in this world a digit that
# stands still for a frame is one that has met a wall. Whoever keeps a cache has to keep it true.

# %% [markdown] lang="en"
# ## 4. Longer than trained
#
# Our networks learned from clips of twenty frames. You want to see forty more. Nothing stops you: feed
# the predictions back, and go on. But two questions come up that training never had to answer. What is
# forgotten, and what is the next prediction made from?
#
# ### A window that slides
#
# FAR has codes for as many positions as it had frames to read in training, and no more. This is its
# **window** (窗口). When it is full, the oldest frame has to go.

# %%
config, longer = far.transformer.config, make_exam(horizon=40, num_clips=6)
film = torch.cat([longer.context, longer.future], 1)  # (B, 50, 1, S, S)
window = config.window
print(f"FAR reads at most {window} frames; NAR at most {nar.transformer.config.context}")

# %% [markdown] lang="en"
# In section 3 you kept the keys and values of old frames, and it made no difference but to the time.
# So, when the window is full, forget the oldest frame's keys and values, keep all the others, and add
# those of the new frame. The other way: drop the oldest frame, renumber the rest from one, and compute
# everything again. Are the two still the same?

# %%
slid = Choice(
    "4.slid",
    "A cache without its oldest frame, or all computed again: is the next frame the same?",
    [
        "yes, up to rounding",
        "no: kept keys and values have looked at the dropped frame",
        "no: positions have moved",
        "no, for both reasons",
    ],
)
slid

# %% [markdown] lang="en"
# You need no new code for a cache that slides: it is a *mask*. Each frame looks at itself and at the
# frames before it, as far as the window reaches: a band along the diagonal. One call of the network
# under this mask gives what such a cache would give. It needs codes for later positions, which
# training never used. They are sines and cosines, so a wider copy of the network has them.

# %%
from course_lib.models.vidhrformer import Masks

length = window + 6
wide = AutoregressiveVPTR(replace(config, horizon=length - config.context + 1)).eval()
wide.load_state_dict(far.transformer.state_dict())  # codes of time are computed, not learned
age = torch.arange(length)[:, None] - torch.arange(length)  # query's frame minus key's frame
band = Masks(temporal=(age >= 0) & (age < window))

# %% [markdown] lang="en"
# Three predictions of the frame after each window. "Cached": the band. "Computed again": the network
# as it was trained, shown the newest frames. And one between the two, to tell the reasons apart: the
# dropped frames are hidden from *everybody*, as if they had never been, but the rest keep their numbers.

# %% budget_s=12
drawn = {"computed again": [], "numbers kept": []}
with torch.no_grad():
    seen = far.autoencoder.encode(film[:, :length])
    for end in range(window, length + 1):
        mask = (age[:end, :end] >= 0) & (torch.arange(end) >= end - window)
        drawn["computed again"] += [far.transformer(seen[:, end - window : end])[:, -1:]]
        hidden = wide(seen[:, :end], masks=Masks(temporal=mask))[:, -1:]
        drawn["numbers kept"] += [hidden]
    sliding = {name: torch.cat(frames, 1) for name, frames in drawn.items()}
    sliding["cached"] = wide(seen, masks=band)[:, window - 1 :]

# %% [markdown] lang="en"
# Distances between them, as squared differences over the features' variance. All frames that are read
# are true ones, so nothing drifts here.

# %%
pairs = {
    "both": ("cached", "computed again"),
    "memory of dropped frames alone": ("cached", "numbers kept"),
    "positions alone": ("numbers kept", "computed again"),
}
apart = {
    name: (sliding[a] - sliding[b]).square().mean((0, 2, 3, 4)) / seen.var()
    for name, (a, b) in pairs.items()
}

# %% [markdown] lang="en"
# At zero frames past the window nothing has been dropped yet, and all three must agree. The answer draws
# both reasons from the first dropped frame on, on a logarithmic axis.

# %%
memory, positions = (apart[name][-1].item() for name in list(pairs)[1:])
picture = plots.curves(
    range(1, length - window + 1),
    {name: apart[name][1:] for name in list(pairs)[1:]},
    "Two differences that grow with the frames past the window; positions weigh far more.",
    xlabel="frames past the window",
    ylabel="squared difference / variance",
    log=True,
)
slid.reveal(
    slid.options[(memory > 1e-6) + 2 * (positions > 1e-6)],
    explanation=f"Largest difference inside the window {apart['both'][0]:.1e}, at the end of the "
    f"figure: memory {memory:.4f}, positions {positions:.4f}.",
    picture=picture,
)

# %% [markdown] lang="en"
# In the first layer a key comes from its own frame alone. In the second it comes from what that frame
# *saw*, and it saw the frame that was dropped. So a cache remembers more than the window, through the
# others. That line is low, and above zero. Nearly all of the difference comes from the codes: they say
# "frame 20" and "frame 21", words that the network has never met.
#
# Which one is right? Only one is *defined*: computing again is the function that was trained, asked
# about a window like those it was trained on. The sliding cache is another function, which nobody has
# trained. So `AutoregressiveVPTR.proceed` keeps its cache inside the window, and past it computes
# everything again, for every frame: dear, but the thing that was learned. What does it matter here?

# %%
with torch.no_grad():
    truth = film[:, window : length + 1]
    for name in ("computed again", "cached"):
        wrong = (far.autoencoder.decode(sliding[name]) - truth).square().mean((0, 2, 3, 4)) / 4
        print(f"{name:>14}: error of the next frame {wrong[0]:.4f} in the window, ", end="")
        print(f"{wrong[1:].mean():.4f} past it")

# %% [markdown] lang="en"
# (Errors: mean over pixels in [0, 1], as everywhere in this chapter.) In the window both agree. Past it,
# the network goes on as before if all is computed again, and the sliding cache pays for being a
# function that nobody has trained.
#
# ### Your turn: predict in blocks
#
# NAR predicts all its frames at once and then it is done. To go further, give it its own predictions
# as the next context. Two numbers decide how. Of each prediction you keep the first `block` frames.
# And each prediction is made from the last `overlap` frames of all that is known by then, true or
# predicted. The first one, too, sees no more of the context than its last `overlap` frames.
#
# A model of ten frames with `block = 10` hands over rarely; with `block = 1` it hands over after every
# frame. The horizon need not be a multiple of the block: cut what is too long.


# %% tags=["exercise"]
def predict_in_blocks(
    model: torch.nn.Module, context: torch.Tensor, horizon: int, block: int, overlap: int
) -> torch.Tensor:
    """The `horizon` frames (B, horizon, D, h, w) after a context (B, T, D, h, w), in blocks."""
    # SOLUTION
    known, start = context, context.shape[1]
    while known.shape[1] < start + horizon:
        predicted = model(known[:, -overlap:])  # (B, N, D, h, w)
        known = torch.cat([known, predicted[:, :block]], dim=1)
    return known[:, start : start + horizon]
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# It is your rollout with three changes: the model returns the frames that follow, not one output for
# each input; you keep several of them; and the last step may bring more than you need.

# %% [markdown] lang="en" tags=["hint"]
# Keep one tensor of all that is known, the context in front. `known[:, -overlap:]` is what the model
# sees, `predicted[:, :block]` is what you append. A block may be shorter than the overlap: then the
# model sees frames of the block before it, or of the context, and one tensor makes that come out right.

# %% [markdown] lang="en" tags=["hint"]
# `while known.shape[1] < start + horizon:` predict and append. Then
# `known[:, start : start + horizon]`, where `start = context.shape[1]`.

# %% [markdown] lang="en"
# *Difficulty: medium, 10 minutes.*

# %%
in_blocks = check.predict_in_blocks(predict_in_blocks)
in_blocks

# %% [markdown] lang="en"
# `in_blocks.function` runs the trained NAR far past its horizon.

# %% [markdown] lang="en"
# Is that what the library does? Feed six contexts, go forty frames far, in blocks of five that are
# predicted from the last ten frames, and compare pixels. Features are fed back as they are.

# %% budget_s=8
with torch.no_grad():
    known = nar.autoencoder.encode(longer.context)
    mine = nar.autoencoder.decode(in_blocks.function(nar.transformer, known, 40, 5, 10))
    rollout = Rollout(through_pixels=False, block=5, overlap=10)
    theirs = nar.predict(longer.context, 40, rollout=rollout)
print(f"largest difference of a pixel: {(mine - theirs).abs().max():.6f} ({in_blocks.whose})")

# %% [markdown] lang="en"
# Now vary the overlap. Blocks of five stay blocks of five, but each is predicted from the last ten
# frames, from five, two, or only one. (In every tenth of its updates our NAR saw a shorter context, so
# these questions are not new to it.)

# %% budget_s=12
with torch.no_grad():
    ahead = {
        n: nar.autoencoder.decode(in_blocks.function(nar.transformer, known, 40, 5, n))
        for n in (1, 2, 5)
    }
    ahead[10] = mine
    level = (longer.mean_image - longer.future).square().mean((0, 2, 3, 4)).cumsum(0)
    wrong = {
        f"overlap {n}": (x - longer.future).square().mean((0, 2, 3, 4)).cumsum(0) / level
        for n, x in ahead.items()
    }

# %% [markdown] lang="en"
# Each point of the figure is the error of all frames up to there, divided by that of the mean image:
# below one, the network knows more than where digits like to be.

# %%
plots.curves(
    range(1, 41),
    wrong,
    "The error up to each horizon, for blocks of five predicted from 1, 2, 5 or 10 frames.",
    xlabel="horizon (frames)",
    ylabel="error / mean image's error",
    levels={"the mean image": 1.0},
)

# %% [markdown] lang="en"
# One frame shows a place and no velocity. Whoever is asked from one can only spread the ink over all
# directions, and the next block is then asked from such a frame. Two frames show a velocity, but only to
# the nearest pixel, and a digit here moves by fractions of one. So five or ten frames know more than two,
# if they are clean. A network's own frames are not.
#
# And the block? Keep one frame of each prediction, and you keep the nearest, which is the easiest to know.
# Keep all ten, and the network is fed its own frames less often.

# %%
best_block = Choice(
    "4.block",
    "Forty frames, ten frames of overlap: blocks of how many frames have the least error?",
    ["1", "5", "10"],
)
best_block

# %% [markdown] lang="en"
# The recipe measured all nine settings on forty-eight held-out clips, now with every block decoded and
# encoded again, and FAR with its sliding window beside them.

# %%
from course_lib.recipes.vptr_long import BLOCKS, read_long_film

of = {r: json.loads(r.results.read_text(encoding="utf-8"))["metrics"] for r in (NAR, FAR)}
long_run = {
    name: [of[r][f"{key}_step_{step:02d}"]["value"] for step in range(1, 41)]
    for name, key, r in [*((n, n, NAR) for n in BLOCKS), ("FAR", "long", FAR)]
}
shown = {f"blocks of {b}": long_run[f"block_{b:02d}_overlap_10"] for b in (1, 5, 10)}
shown["FAR, sliding window"] = long_run["FAR"]

# %% [markdown] lang="en"
# The answer draws the error of each frame, not of all up to it.

# %%
best_block.reveal(
    min(best_block.options, key=lambda b: np.mean(shown[f"blocks of {b}"])),
    explanation="Means over forty frames: "
    + ", ".join(f"{name} {np.mean(values):.2f}" for name, values in shown.items()),
    picture=plots.curves(
        range(1, 41),
        shown,
        "Error of each frame up to forty, for blocks of 1, 5 and 10 and for FAR.",
        xlabel="frames ahead",
        ylabel="error / mean image's error",
        levels={"the mean image": 1.0, "a black frame": of[FAR]["black_over_mean_image"]["value"]},
    ),
)

# %% [markdown] lang="en"
# A **hand-over** is where a prediction becomes the context of the next one, and it costs ink. The network's
# frames are fainter and rounder than a digit. What is predicted from faint frames is fainter again, until
# nothing is left. A black frame has the height of the second dashed line, on the exam's ten steps.
#
# Where a line lies above one, the network had better draw the mean image. There the digit may have gone, or
# be at a wrong place. The number cannot tell these apart, so look.
#
# ### All settings at once
#
# Three held-out clips, forty frames, and every overlap with every block. Time is the horizon: stop where
# you like. Besides the clips you see the error grow, one bar for each frame, a mean over all clips that
# were measured. The line is the mean image's error, and the top is twice as much.

# %%
sizes = (1, 5, 10)
names = [f"block_{block:02d}_overlap_{overlap:02d}" for overlap in sizes for block in sizes]
height, steps = np.arange(48)[::-1, None] / 24, np.arange(40)
graphs, captions = [], []
for name in names:
    bars = (height < np.array(long_run[name])) & (steps <= steps[:, None, None])  # (40, 48, 40)
    pixels = np.where(bars, 70, np.where(np.abs(height - 1) < 0.02, 150, 240))
    graphs.append(pixels.astype(np.uint8).repeat(2, 2))
    far_ahead = zip(steps + 1, long_run[name], long_run["FAR"], strict=True)
    captions += [f"{n} ahead: NAR {a:.2f}, FAR {b:.2f}, mean image 1" for n, a, b in far_ahead]

# %% [markdown] lang="en"
# The numbers in the caption are shares of the mean image's error.

# %%
ours, sliding_far = read_long_film(NAR), read_long_film(FAR)
player = Player(
    {
        "truth": to_panel(ours["truth"])[None, None],
        "NAR in blocks": np.stack([to_panel(ours[n]) for n in names]).reshape(3, 3, 3, 40, 32, 32),
        "FAR, sliding window": to_panel(sliding_far["pixels"])[None, None],
        "NAR's error": np.stack(graphs).reshape(3, 3, 1, 40, 48, 80),
    },
    {"overlap": sizes, "block": sizes, "clip": range(1, 4)},
    captions=np.reshape(captions, (3, 3, 1, 40)),
    width=170,
    title="Forty frames ahead",
    alt="A clip far past the horizon: the truth, NAR in blocks, FAR, and NAR's error as bars.",
)

# %% [markdown] lang="en"
# It begins with an overlap of ten frames and blocks of ten.

# %%
player.value = {"overlap": 2, "block": 2}
player

# %% [markdown] lang="en"
# Try one frame of overlap with blocks of one: at every single frame the direction is forgotten, and some
# ink is lost. Then ten
# frames with blocks of ten, and find the hand-overs: at frames 11, 21 and 31 a block begins that was
# predicted from predictions alone.
#
# FAR's digits lose their shape, shrink and go out, long before the end. What has gone does not come back:
# after frames without a digit, the best prediction is a frame without a digit.
#
# ### One frame cannot tell out from back
#
# How much overlap is enough? On Moving MNIST you can only measure it. At the crossroads you can know it.
# In the world `twice` a digit that has turned may come back. Look at a single frame with the digit on
# an arm: is it on its way out, or back? Nobody can say.
#
# We take all stretches of a digit's clips, each with its probability: five frames that may be seen, and
# five to be predicted. Only the last $k$ of the five are shown. Then the best prediction is the mean over
# all stretches with the same last $k$ frames, and its error is exact. No network can do better.

# %%
enough = Choice(
    "4.overlap",
    "How many frames must the overlap have for the best prediction to be as good as from five?",
    ["1", "2", "3", "4"],
)
enough

# %% [markdown] lang="en"
# Sums over all stretches of five held-out digits, one of each cue. No network yet:

# %%
from course_lib.recipes.vptr_blocks import NAR as NAR_TWICE
from course_lib.recipes.vptr_blocks import exam_windows

stretches = list(exam_windows(NAR_TWICE.small, 1))
exact = {
    f"{k} seen": torch.stack([each.error(each.mean_after(k)) for each in stretches]).mean(0)
    for k in range(1, 6)
}
means = [values.mean().item() for values in exact.values()]
others = torch.stack(list(exact.values())[1:])
lines = {"1 seen": exact["1 seen"], "2, 3, 4 or 5 seen": (others.mean(0), *others.aminmax(dim=0))}

# %% [markdown] lang="en"
# The answer draws the least error of each of the five predicted frames.

# %%
smallest = next(k for k, value in enumerate(means, start=1) if value <= means[-1] * 1.001)
enough.reveal(
    str(smallest),
    explanation="Least error, mean over the five frames: "
    + ", ".join(f"{name} {value:.5f}" for name, value in zip(exact, means, strict=True)),
    picture=plots.curves(
        range(1, 6),
        lines,
        "The least error of five frames: larger from one frame; from two to five it is one line.",
        xlabel="step",
        ylabel="least squared error",
        ylim=(0, None),
    ),
)

# %% [markdown] lang="en"
# Two frames show a velocity, and a third adds nothing: in this world all that matters about the past is
# where the digit is and which way it goes. What remains after two frames is what the digit has not yet
# decided: whether it will come back, and at the junction, where to turn.
#
# Now a network that was trained for this: five frames at once, from a context of one to five. Here is
# one doubtful frame. The same last frame belongs to a digit on its way out and to one on its way
# back. Frames that are not shown to the predictor are grey.

# %%
four = stretches[1]  # of a 4 or a 9: chances of a return are even on the left arm
gap = (four.mean_after(1) - four.mean_after(5)).square().flatten(1).mean(1)
back = int((gap > 0.05).nonzero()[1])  # on its way back; a single frame says: probably out
same = (four.context[:, -1] == four.context[back, -1]).flatten(1).all(1)
out = int((same & (gap < gap[back])).nonzero()[0])
shares = four.probs[same & (gap < gap[back])].sum() / four.probs[same].sum()
print(f"{shares:.2f} of all stretches with this last frame are on their way out")

# %% [markdown] lang="en"
# The network gets its five frames through your function.

# %%
twice = NAR_TWICE.load()
unseen = torch.zeros_like(four.context[back])
rows = {"out": torch.cat([four.context[out], four.future[out]])}
rows["back"] = torch.cat([four.context[back], four.future[back]])
with torch.no_grad():
    codes = twice.autoencoder.encode(four.context[back : back + 1])
    for k in (1, 2):
        past = torch.cat([unseen[k:], four.context[back, -k:]])
        rows[f"exact mean,\n{k} seen"] = torch.cat([past, four.mean_after(k)[back]])
        ahead = twice.autoencoder.decode(in_blocks.function(twice.transformer, codes, 5, 5, k))
        rows[f"network,\n{k} seen"] = torch.cat([past, ahead[0]])

# %% [markdown] lang="en"
# Five frames to look at, then five that are predicted (from number 6 on).

# %%
plots.film_strip(
    rows,
    "Two stretches that share frame 5; the exact means and the network's answers for 1 and 2 seen.",
    first=1,
)

# %% [markdown] lang="en"
# After one frame the exact mean shows both: a digit that goes on, and a fainter one that comes back. After
# two frames a single one is left. (A sharp digit in a mean means that all stretches agree on it.) The
# network's rows can be no better than the exact ones above them: what is not in its input, no training
# brings back.
#
# The recipe's measurement, over all stretches of twenty held-out digits:

# %%
judged = json.loads(NAR_TWICE.results.read_text(encoding="utf-8"))["metrics"]
plots.bars(
    {
        f"{k} frame{'s' * (k > 1)} of overlap": {
            "least possible": judged[f"bayes_overlap_{k}"]["value"],
            "NAR": judged[f"error_overlap_{k}"]["value"],
        }
        for k in (1, 2, 5)
    },
    "Least possible and measured error for an overlap of 1, 2 and 5 frames.",
    ylabel="squared error",
)

# %% [markdown] lang="en"
# The first bar of each pair is a limit that no network can pass. What stands above it is the network's
# own. More overlap is no cure for the second, and more training is none for the first.
#
# A rule to take along: the overlap must show everything that the future depends on. For a place and a
# velocity that is two frames. For what happened long ago, such as a digit that was seen before it went
# behind a house, no overlap of a few frames is enough.

# %% [markdown] lang="en"
# ## 5. One answer for many futures
#
# On Moving MNIST there is one future, so one answer is enough. At the crossroads there may be three.
# What do the networks of this chapter do there? Ask any of them twice: no dice are thrown anywhere, so
# the second clip is the first. Such a model is **deterministic** (确定性的).
#
# But FAR draws one frame after the other, and is fed what it has said. So could it not decide at the turn,
# and then keep to it? Chapter 0 has a test: a clip is **valid** if it shows one of its possible futures,
# from the first frame to the last. We take a FAR that learned the crossroads, and a hundred contexts of
# held-out digits whose turn is open.

# %%
decides = Slider("4.valid", "How many of FAR's hundred clips are valid?", 0, 100, 5)
decides

# %% [markdown] lang="en"
# The recipe counted them. Below are forty of the contexts, and the distance of FAR's clips from four
# that need no network.

# %% budget_s=8
from course_lib.recipes import chapter0, vptr_crossroads

crossing, crossings = vptr_crossroads.FAR.load(), chapter0.make_exam(10)
with torch.no_grad():
    answer = vptr_crossroads.predict(crossing, crossings.context, crossings.horizon)
rivals = {
    "exact mean": crossings.mean,
    "likeliest turn": chapter0.likeliest(crossings),
    "mean over all digits": chapter0.blind_blur(crossings),
    "empty road": chapter0.empty_road(crossings),
}
distance = {name: crossings.errors(answer, clips).mean().item() for name, clips in rivals.items()}

# %% [markdown] lang="en"
# Distances are squared and count the frames after the turn.

# %%
at_turns = json.loads(vptr_crossroads.FAR.results.read_text(encoding="utf-8"))["metrics"]
row = int((crossings.cue == 1).nonzero()[0])  # a 4 or a 9
decides.reveal(
    100 * at_turns["valid"]["value"],
    explanation="Squared distance from the "
    + ", from the ".join(f"{name} {value:.4f}" for name, value in distance.items()),
    picture=plots.film_strip(
        {"FAR": answer[row], **{name: clips[row] for name, clips in list(rivals.items())[:2]}},
        "FAR's continuation of a 4 or 9, the exact mean of its futures, and the likeliest of them.",
        first=1,
    ),
)

# %% [markdown] lang="en"
# A mean of several futures is never valid, for it is too far from each of them. And the frame that shows
# the turn *is* a mean: its loss was a squared error (chapter 0), so all arms lie in it at once, faint. But
# look at the frames that follow. Does the mean stay? Count which arm FAR's last frame is nearest to, and
# whether it is nearer to that arm than to the exact mean.

# %%
off = lambda clips: (clips - answer[:, -1]).square().mean((-3, -2, -1))  # (..., N)
ends = off(torch.stack([futures.clips[:, -1] for futures in crossings.futures], 1))  # (3, N)
mixed = off(crossings.mean[:, -1])  # (N,)
for cue, kind in zip(crossings.cue.unique(), ("4 or 9", "3 or 5", "1 or 7", "2 or 8"), strict=True):
    rows = crossings.cue == cue
    arms = ends[:, rows].argmin(0).bincount(minlength=3).tolist()
    closer = int((ends.amin(0) < mixed)[rows].sum())
    odds = ", ".join(f"{p:.2f}" for p in crossings.futures[int(rows.nonzero()[0])].probs)
    print(
        f"{kind}: chances {odds}; nearest arm {arms}; nearer to it than to the mean {closer} of 10"
    )

# %% [markdown] lang="en"
# (Left, straight, right.) The mean does not stay. It is fed back, and it is like no frame that FAR met in
# training, for there all digits were whole. So FAR takes the blend for what weighs most in it, and goes on
# there. Where one arm is likelier than the others, it is nearly always that one. Where they are equally
# likely it goes one way or the other, or stays in between, as the digit's shape will have it.
#
# Is that a decision? There are no dice: the same past gives the same clip each time, the chances are not in
# it, and the other futures never happen. A clip that is always the likeliest is no sample.
#
# How far from the exact mean, then? **Excess** (chapter 0) is the squared distance from it, divided by
# the least error that is possible. Zero is the mean itself.
#
# | | excess | interval |
# |---|---|---|
# | FAR, through pixels | {{far_crossroads.metrics.excess.value:.3f}} | {{far_crossroads.metrics.excess.low:.3f}} to {{far_crossroads.metrics.excess.high:.3f}} |
# | FAR, through latents | {{far_crossroads.metrics.excess_latents.value:.3f}} | {{far_crossroads.metrics.excess_latents.low:.3f}} to {{far_crossroads.metrics.excess_latents.high:.3f}} |
# | the ConvLSTM of chapter 0 | {{chapter0_predictor.metrics.excess.value:.3f}} | {{chapter0_predictor.metrics.excess.low:.3f}} to {{chapter0_predictor.metrics.excess.high:.3f}} |
# | mean over all digits | {{chapter0_predictor.metrics.excess_blind_blur.value:.3f}} | {{chapter0_predictor.metrics.excess_blind_blur.low:.3f}} to {{chapter0_predictor.metrics.excess_blind_blur.high:.3f}} |
# | the likeliest turn | {{chapter0_predictor.metrics.excess_likeliest.value:.3f}} | {{chapter0_predictor.metrics.excess_likeliest.low:.3f}} to {{chapter0_predictor.metrics.excess_likeliest.high:.3f}} |
# | an empty road | {{chapter0_predictor.metrics.excess_empty_road.value:.3f}} | {{chapter0_predictor.metrics.excess_empty_road.low:.3f}} to {{chapter0_predictor.metrics.excess_empty_road.high:.3f}} |

# %% [markdown] lang="en"
# All four kinds of open turns, and the three arms with their chances (an arm of chance 0 is shown, too):

# %%
from course_lib.data.crossroads import TURNS

shown = [int((crossings.cue == cue).nonzero()[0]) for cue in crossings.cue.unique()]
odds = [
    ", ".join(f"{p:.2f} {name}" for p, name in zip(f.probs, TURNS, strict=True))
    for f in (crossings.futures[row] for row in shown)
]
arms = torch.stack([mosaic(crossings.futures[row].clips, columns=3) for row in shown])

# %% [markdown] lang="en"
# The slider picks the digit.

# %%
Player(
    {
        "FAR": to_panel(answer[shown]),
        "exact mean": to_panel(crossings.mean[shown]),
        "left, straight, right": to_panel(arms),
    },
    {"digit": ["4 or 9", "3 or 5", "1 or 7", "2 or 8"]},
    captions=[[text] for text in odds],
    width={"FAR": 130, "exact mean": 130, "left, straight, right": 396},
    title="One clip, three futures",
    alt="FAR's clip beside the exact mean and the three arms, for four kinds of digits.",
)

# %% [markdown] lang="en"
# And your own handwriting? Draw a digit and send it there.

# %%
from course_lib.data.video import to_float
from course_lib.recipes.classifier import CLASSIFIER
from course_lib.widgets.draw_digit import DrawDigit

reader = CLASSIFIER.load()
pad = DrawDigit(
    lambda images: reader(to_float(images)[:, None]).softmax(-1),
    start=4,
    done="Walk to the crossroads",
)
pad

# %% [markdown] lang="en"
# Left what FAR makes of the digit on the pad, right the exact mean of its futures. Three frames are
# seen, then nine are predicted.

# %%
from course_lib.data.crossroads import Crossroads

title = "FAR and the exact mean"
draw = lambda f: torch.stack([vptr_crossroads.predict(crossing, f.context[None], 9)[0], f.mean()])
both = lambda f: torch.cat([f.context.expand(2, -1, -1, -1, -1), draw(f)], 1)
panel = lambda digits: to_panel(mosaic(both(Crossroads(digits).futures(0, arrival=4)), columns=2))
walk = Player({title: panel(pad.digits())}, width=329, title="Your handwriting")
pad.on_done(lambda digits: walk.update({title: panel(digits)}))
walk

# %% [markdown] lang="en"
# ### What would a stochastic one need?
#
# **Dice.** Something that differs from call to call: a random number among the inputs. Suppose you add
# it, and leave the loss as it is. What does the loss make of it? For every clip $f$ that is drawn without
# a look at the true future $x$, chapter 0 showed
# $\mathbb{E}\lVert f-x\rVert^2 = \lVert f-m\rVert^2 + \mathbb{E}\lVert m-x\rVert^2$. So a perfect
# sampler, which draws a true future with its true chance, pays the second term *twice*.

# %%
least, mean = crossings.least().mean().item(), crossings.mean
chances = torch.stack([futures.probs for futures in crossings.futures])  # (N, 3)
arms = torch.stack([futures.clips for futures in crossings.futures])  # (N, 3, H, 1, S, S)
away = torch.stack([crossings.errors(arms[:, k], mean) for k in range(3)], 1)
sampled = (chances * away).sum(1).mean().item()  # |f - m|^2 of a sampled f, on average

# %% [markdown] lang="en"
# Whoever draws something else than the mean pays for the distance from it, on top of the least error.

# %%
extra = {
    "the exact mean": 0.0,
    "FAR": distance["exact mean"],
    "the likeliest turn": crossings.errors(rivals["likeliest turn"], mean).mean().item(),
    "a perfect sampler": sampled,
}
for name, value in extra.items():
    print(f"{name:>18} pays {1 + value / least:.2f} times the least possible error")

# %% [markdown] lang="en"
# The loss would teach the network to ignore its dice. So it also needs **another loss**:
# - *a hint that must be paid for*: a posterior that has seen the future sets the latent, and a KL makes
#   the prior able to guess it (chapter 1);
# - *a judge of the clip*: an adversary knows no true clip to compare with, only whether such clips occur
#   (chapter 2). Remember that it did not ask for all futures;
# - *many small steps*: a network that removes noise is trained with a squared error, too, and yet its
#   samples are sharp. That is chapter 5.
#
# And **in the right place**. Users of VPTR asked its author whether to exchange the autoencoder for a VAE,
# to get many futures. His answer: make the predictor in the middle generative instead [Ye, issue 19 of
# the official code]. You can see why. A VAE of *frames* throws dice over how a frame looks. What is open
# here is where the digit goes, and the transformer alone has a say in that.

# %% [markdown] lang="en"
# ## 6. Break it: a norm that knows the future
#
# Two break-its are behind you: the cache that was not emptied, and the missing query code. A third one
# hides in a layer that nobody suspects. FAR's convolutions normalise with **LayerNorm**, every place by itself
# (in the official code, every frame).
# **BatchNorm** (批归一化) is what convolutions usually have, and what NAR's encoder has in the official code.
# In training it subtracts the mean of the batch and divides by its deviation, and the batch are all
# frames of all clips. So the first frame is normalised with numbers in which the last one takes part.
#
# Chapter 3 measured this as an influence. Here is what it does to a *loss*. Our world is a lamp, red or
# green. At every frame a fair coin decides which. Of three frames FAR reads two, and is asked for the
# second and the third. Nothing can be predicted about a coin: the best honest answer is the mean of red
# and green, and its error is known. Two tiny FARs learn it. They differ in the norm alone.

# %%
from course_lib.evaluation.influence import first_blocks
from course_lib.models.vidhrformer import VidHRFormerConfig
from course_lib.models.vptr import VPTRConfig

lamps = torch.randn(2, 16, 1, 1, generator=torch.Generator().manual_seed(0))
honest = (lamps[0] - lamps[1]).square().mean().item() / 4  # of who always says the mean
clips = lamps[torch.cartesian_prod(*[torch.arange(2)] * 3)]  # all eight, equally likely
torch.manual_seed(0)
tiny = {}
for norm in ("layer", "batch"):
    block = VidHRFormerConfig(dim=16, map_size=1, window_size=1, num_heads=2, norm=norm)
    tiny[norm] = AutoregressiveVPTR(VPTRConfig(context=2, horizon=1, depth=1, block=block))

# %% [markdown] lang="en"
# What will the training error be, if the best honest error counts as 100?

# %%
leak = Slider("4.leak", "Where does the training error end with BatchNorm?", 0, 200, 10)
leak

# %% [markdown] lang="en"
# Your loss of section 1 trains both, on all eight clips at every update. BatchNorm gets them one by one:
# a batch of one clip. LayerNorm would not notice, so it gets all at once. (FAR's last ReLU is left out, so
# that the mean is within easy reach.)

# %% budget_s=15
paid = {norm: [] for norm in tiny}
for (norm, model), size in zip(tiny.items(), (8, 1), strict=True):
    run, optimizer = first_blocks(model), torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(80):
        losses = [forced.function(run, batch) for batch in clips.split(size)]
        loss = torch.stack(losses).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        paid[norm].append(100 * loss.item() / honest)

# %% [markdown] lang="en"
# The answer draws both.

# %%
leak.reveal(
    round(paid["batch"][-1]),
    explanation=f"With LayerNorm it ends at {paid['layer'][-1]:.0f} ({forced.whose}).",
    picture=plots.curves(
        range(1, 81),
        {"LayerNorm": paid["layer"], "BatchNorm": paid["batch"]},
        "The error with LayerNorm sinks to the honest best; with BatchNorm it goes on below it.",
        xlabel="update",
        ylabel="training error",
        levels={"the best honest error": 100.0},
        ylim=(0, 200),
    ),
)

# %% [markdown] lang="en"
# A fair coin was predicted better than a fair coin can be. That is no skill. A training error *below
# what is possible* is the surest sign of a leak, if you know what is possible. And here is the bill: the
# same networks in evaluation mode, where BatchNorm uses means that it has kept and no longer looks at
# the clip.

# %%
with torch.no_grad():
    for norm, model in tiny.items():
        used = forced.function(first_blocks(model.eval()), clips).item()
        print(f"{norm:>6}: {100 * used / honest:.0f} in evaluation mode")

# %% [markdown] lang="en"
# How can a norm tell? Two frames are read. If they are equal, the mean of the batch *is* the first frame.
# If not, it lies between the two. So the first frame, after the norm, says whether the second is
# another one, and the network has learned to ask. Without the hint its answers are worse than the mean.
# (The third frame is in nobody's statistics, so no more than half of the error can be saved this way. And
# where many clips share their statistics, the hint is fainter. It does not go away.)
#
# NAR may keep its BatchNorm, as far as the future is concerned: it reads the context alone, and all of
# that is past. FAR and PAR may not.

# %% [markdown] lang="en"
# ## 7. What the paper claims, and what we found
#
# One training of each network, minutes on two cores, one digit, frames of 32 pixels. The paper has two
# digits and 64 pixels, and networks about a hundred times as large. Errors are shares of the mean image's
# error, over held-out clips; intervals are for clips drawn again, not for trainings run again.
#
# The third claim needs two numbers of section 3 once more, NAR's speed against FAR's:

# %%
for row in ("FAR, all again", "FAR, cached"):
    print(
        f"{row:>14}, RIP: {giga[row]['RIP'] / giga['NAR']['RIP']:.2f} times NAR's "
        f"multiply-accumulates at the published size; "
        f"{time[f'{row}, RIP'] / time['NAR']:.1f} times its seconds, ours on this machine"
    )

# %% [markdown] lang="en"
# ### Claim panel
#
# | claim | measured here | label |
# |---|---|---|
# | Over the whole horizon NAR is best, then PAR, then FAR [Ye & Bilodeau 2022, journal, Moving MNIST] | ten steps: NAR {{vptr_nar.metrics.over_mean_image.value:.2f}} (interval {{vptr_nar.metrics.over_mean_image.low:.2f}} to {{vptr_nar.metrics.over_mean_image.high:.2f}}), PAR {{vptr_par.metrics.over_mean_image.value:.2f}} ({{vptr_par.metrics.over_mean_image.low:.2f}} to {{vptr_par.metrics.over_mean_image.high:.2f}}), FAR {{vptr_far.metrics.over_mean_image.value:.2f}} ({{vptr_far.metrics.over_mean_image.low:.2f}} to {{vptr_far.metrics.over_mean_image.high:.2f}}) | reproduced for NAR, whose interval lies apart; PAR's and FAR's touch, and FAR had the fewest updates |
# | In the first steps the autoregressive ones are ahead [Ye & Bilodeau 2022, journal, figure 7] | step 1: FAR {{vptr_far.metrics.over_mean_image_step_01.value:.2f}}, PAR {{vptr_par.metrics.over_mean_image_step_01.value:.2f}}, NAR {{vptr_nar.metrics.over_mean_image_step_01.value:.2f}}; step 10: {{vptr_far.metrics.over_mean_image_step_10.value:.2f}}, {{vptr_par.metrics.over_mean_image_step_10.value:.2f}}, {{vptr_nar.metrics.over_mean_image_step_10.value:.2f}} | reproduced: FAR and PAR are ahead at step 1, NAR at step 10 |
# | NAR is 12.75 times as fast as FAR [Ye & Bilodeau 2022, journal] | the lines above | same direction, and about seven times, if FAR computes all again; most of that is a missing cache |
# | Recursion through pixels is better than through latents [Ye & Bilodeau 2022, journal] | FAR: pixels {{vptr_far.metrics.over_mean_image.value:.2f}}, latents {{vptr_far.metrics.latents_over_mean_image.value:.2f}} ({{vptr_far.metrics.latents_over_mean_image.low:.2f}} to {{vptr_far.metrics.latents_over_mean_image.high:.2f}}); PAR: pixels {{vptr_par.metrics.over_mean_image.value:.2f}}, latents {{vptr_par.metrics.latents_over_mean_image.value:.2f}} ({{vptr_par.metrics.latents_over_mean_image.low:.2f}} to {{vptr_par.metrics.latents_over_mean_image.high:.2f}}) | reproduced for both: the intervals lie apart |
# | What is predicted can be recognised (ours) | digits read at their true place at step 10: NAR {{vptr_nar.metrics.read_step_10.value:.2f}}, PAR {{vptr_par.metrics.read_step_10.value:.2f}}, FAR {{vptr_far.metrics.read_step_10.value:.2f}}, ConvLSTM {{moving_convlstm.metrics.read_step_10.value:.2f}}; black frames {{vptr_far.metrics.black_read_step_10.value:.2f}} | not at this scale: a few digits, not most |
# | A block needs two frames of overlap where digits may come back, and one is too few (ours) | least possible error for one, two, five: {{nar_twice.metrics.bayes_overlap_1.value:.4f}}, {{nar_twice.metrics.bayes_overlap_2.value:.4f}}, {{nar_twice.metrics.bayes_overlap_5.value:.4f}}; NAR: {{nar_twice.metrics.error_overlap_1.value:.4f}}, {{nar_twice.metrics.error_overlap_2.value:.4f}}, {{nar_twice.metrics.error_overlap_5.value:.4f}} | exact for the limit; what NAR has above it is its own |
#
# ## 8. Before you go
#
# **In five lines**
# - FAR predicts one frame after the other and feeds it back: good at first, then it inherits its own
#   mistakes. Training with true frames never shows it one.
# - NAR draws all frames at once: learned questions ask the context's memories; nothing is fed back.
# - A cache of keys and values makes FAR and PAR cheap inside the trained window, without another result.
#   Past the window it is another function, and everything has to be computed again.
# - Past the horizon NAR goes on in blocks: the block says how often it hands over, and the overlap must be
#   long enough to show whatever the future depends on.
# - All of them answer with one clip. Where the future is open, a frame predicted at once is the mean; fed
#   back, it ends on one arm, always the same.
#
# **Easily mistaken**
# - "Autoregressive is better per frame." For which frame? Section 3's curves tell, ours and the paper's.
# - "NAR is many times as fast." As FAR without a cache. Ask which FAR was timed.
# - "The loss under teacher forcing says how well it predicts." It says how well it predicts *one* frame,
#   and at a turn it has seen the turn.
# - "More context never hurts." More than the window was never trained.
# - "One frame after the other means that it can choose." It goes one way, and always the same one:
#   nothing throws dice.
#
# **Quiz**
#
# <details><summary>NAR gets no future frame and its targets begin as zeros. What tells frame 3 from frame
# 7?</summary>The learned query of each frame and the code of its time. Without them all frames would be
# equal (section 2).</details>
#
# <details><summary>You slide a cache past the window, and its keys could be given new positions. Would that be
# the same as computing again?</summary>No. From the second layer on, the kept keys and values have been computed
# from frames that saw the dropped one.</details>
#
# <details><summary>The digits of a world move with constant acceleration. How many frames of overlap does
# a block need?</summary>Three: place, velocity and acceleration.</details>
#
# <details><summary>A colleague trains FAR with BatchNorm. The training error is wonderful, and
# predictions are poor. She blames exposure bias. How do you find out?</summary>Measure teacher forcing in
# evaluation mode. Exposure bias begins when predictions are fed back; a leak is gone as soon as the
# statistics are no longer those of the clip.</details>
#
# <details><summary>At the crossroads, why is FAR's error with true frames before each frame below the
# least error of the open loop? Does it cheat?</summary>No. After the turn it has seen the turn. The two
# have different floors.</details>
#
# **Further reading**
# - Ye and Bilodeau, *Video prediction by efficient transformers*, 2022, arXiv 2212.06026: sections 3.3
#   to 3.6, and the ablations.
# - Ye and Bilodeau, *VPTR: efficient transformers for video prediction*, 2022, arXiv 2203.15836: FAR and
#   NAR in six pages.
# - Vaswani et al., *Attention is all you need*, 2017, arXiv 1706.03762: section 3, masks in a decoder.
# - Bengio et al., *Scheduled sampling for sequence prediction with recurrent neural networks*, 2015, arXiv
#   1506.03099: feeding a network its own predictions while it learns.
#
# **Where to go on.** Sharp frames and one future, or many futures: so far we had to choose. Chapter 5
# learns to remove noise, step by step. It is trained with a squared error, as here, and its samples are
# neither blurred nor all alike.
