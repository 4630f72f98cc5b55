# %% [markdown] lang="en"
# # What may look at what
#
# So far a network that saw a clip saw all of it, and mixed everything with everything. This chapter
# takes that apart. In a transformer every feature *looks* at others, one layer after another, and
# each layer has a rule: who may look at whom. The rules of one network, VPTR
# [Ye & Bilodeau 2022], say what is cheap, what is possible, and whether a prediction is honest.
#
# **After this chapter you can**
# - compute attention by hand, and say what a query, a key, a value and a mask are;
# - say for every layer of VPTR which places in space and time a feature may see, why, and at what cost;
# - draw a causal mask, break it, and see the future leak through the real network;
# - write a leak test that finds a leak where a naive one sees none, and say which norms leak;
# - say what a position code does, and what a network without one cannot know.
#
# **You need** chapter 0. **Study time** 75 minutes. **Computing time** {{build.seconds:.0f}} seconds
# for all cells, without a GPU.

# %% tags=["setup"] budget_s=15
import numpy as np
import torch

from course_lib import plots
from course_lib.checks import chapter3 as check
from course_lib.data.video import to_panel
from course_lib.widgets.course_map import course_map
from course_lib.widgets.player import Player
from course_lib.widgets.prediction import Choice, Slider

torch.set_num_threads(1)  # a second thread gains little, and costs much on a busy machine
course_map()

# %% [markdown] lang="en"
# A digit moves, ten frames have been seen. A trained VPTR predicts the next one. It works on
# *features*: a small network turns every frame into a map of {{vptr_far_8.config.model.block.map_size}}
# by {{vptr_far_8.config.model.block.map_size}} places, and back.
#
# Which places of the past did it look at? Move the slider: the predicted place is marked on the
# left, and on the right is what changes it, frame by frame. Bright: a small change there would
# change the prediction here.

# %% budget_s=10
from course_lib.evaluation.influence import first_blocks, influence
from course_lib.recipes.vptr import FAR_8
from course_lib.recipes.vptr_exam import make_exam

far, exam = FAR_8.load(), make_exam()
clip = exam.context[3]  # (10, 1, 32, 32)
features = far.autoencoder.encode(clip[None])  # (1, 10, 48, 8, 8)
x, y = ((exam.corner[3, 0] + 7) // 4).tolist()  # the place where the digit will be
places = [(y, x), ((y + 4) % 8, (x + 4) % 8)]
maps = [influence(first_blocks(far.transformer), features, (9, *place)) for place in places]
strength = torch.stack([(m / m.max()).sqrt() for m in maps])  # (2, 10, 8, 8)

# %% [markdown] lang="en"
# `strength` holds, for two places of the prediction, what every place of the ten frames does to
# it. The picture paints it over the frames that were seen.

# %%
orange = torch.tensor([0.9, 0.5, 0.0])[:, None, None]
glow = strength[:, :, None].repeat_interleave(4, -1).repeat_interleave(4, -2)
over = (clip + 1) / 2 * (1 - glow) + orange * glow  # (2, 10, 3, 32, 32)
predicted = far.predict(clip[None], 1)[0].expand(2, 1, 3, -1, -1).clone()
for n, (y, x) in enumerate(places):
    predicted[n, 0, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = 2 * orange - 1
Player(
    {"seen, and looked at": to_panel(2 * over - 1), "predicted": to_panel(predicted)},
    {"the orange place is": ["on the digit", "far from it"]},
    title="What does the orange place of the prediction depend on?",
    alt="Ten frames of a moving digit with an orange glow where the prediction looks; beside them "
    "the predicted frame with one place marked.",
)

# %% [markdown] lang="en"
# Some of that glow is there because the network learned to look. But what is *dark* may be dark for
# another reason: a rule forbids the look. This chapter is about the rules.

# %% [markdown] lang="en"
# ## 1. Attention on four tokens, windows on a map
#
# A **token** (词元) is a vector that stands for something: here, for one place of one frame.
# **Attention** (注意力) lets tokens learn from each other. Every token asks with a **query** (查询) $q$.
# Every token offers a **key** (键) $k$, which says what it has, and a **value** (值) $v$, which is what
# you get if you look. Where query and key fit, the look counts much:
#
# $$w_{ij} = \frac{\exp(q_i \cdot k_j / \sqrt{d})}{\sum_{m} \exp(q_i \cdot k_m / \sqrt{d})}, \qquad
#   \text{output}_i = \sum_j w_{ij}\, v_j .$$
#
# Here $d$ is how many numbers a query has [Vaswani et al. 2017, section 3.2.1]. The **weights** (权重)
# of a query are positive and sum to 1, so its output is an average of values.
#
# A **mask** (掩码) says who may look at whom at all. It is a table of True and False, with a row for each
# query and a column for each key. (Chapter 2's mask was a picture. This one is a permit.) What is
# forbidden gets the score $-\infty$, and so the weight 0.
#
# Here are four tokens that a pencil can handle: four numbers to a query and to a key, one to a value.

# %%
queries = torch.tensor([[[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0.0]]])
keys = torch.tensor([[[0, 0, 2, 0], [2, 0, 0, 0], [0, 0, 0, 2], [2, 2, 0, 0.0]]]) * np.log(2)
values = torch.tensor([[[8.0], [4.0], [0.0], [6.0]]])  # (B, M, E) = (1, 4, 1)
products = queries @ keys.mT / np.log(2)
print("q . k in units of ln 2, a row for each query:", *products[0].int().tolist(), sep="\n")

# %% [markdown] lang="en"
# Take the last row, query 3. Divide by $\sqrt{d} = 2$ and take exponentials: 0, 2, 0, 4 times $\ln 2$
# become 1, 2, 1, 4. Their sum is 8. So the weights are one, two, one and four eighths, and the output
# is $(1 \cdot 8 + 2 \cdot 4 + 1 \cdot 0 + 4 \cdot 6)/8 = 5$.
#
# Now you, with a pencil: query 2 may look at the tokens 0, 1 and 2, and not at token 3. What does it
# get? The picture behind the exercise tells.
#
# ### Your turn: attention


# %% tags=["exercise"]
def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Outputs (B, N, E) of queries (B, N, d), keys (B, M, d), values (B, M, E).

    mask is bool (N, M), True: may look; a query that may look nowhere gets zeros.
    """
    # SOLUTION
    scores = q @ k.mT / q.shape[-1] ** 0.5  # (B, N, M)
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    return weights.masked_fill(~mask, 0.0) @ v  # nan where a query may look nowhere
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Make the table of scores first: one row for each query, one column for each key. `k.mT` swaps the
# last two axes of `k`. Then the mask, then the softmax, then the values.

# %% [markdown] lang="en" tags=["hint"]
# `scores.masked_fill(~mask, -torch.inf)` fills where its first argument is True, hence the `~`. The
# softmax runs over the keys, the last axis. A row in which everything is $-\infty$ becomes nan.

# %% [markdown] lang="en" tags=["hint"]
# `weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)`, then
# `weights.masked_fill(~mask, 0.0) @ v`: the second fill turns the nan of a blindfolded query into 0.

# %% [markdown] lang="en"
# *Difficulty: easy, 10 minutes.*

# %%
attending = check.attention(attention)
attending

# %% [markdown] lang="en"
# A trick shows the weights of any attention: give each token a value of its own, a 1 at its own place
# and 0 elsewhere. Then the output *is* the weights. Below are the four tokens twice. In the second
# table the mask is causal: each token may look at itself and at those before it. Section 2 lets you
# write that mask.

# %%
from course_lib.nn import attention as library
from course_lib.widgets.heat_maps import heat_maps

permits = {"all": torch.ones(4, 4, dtype=torch.bool), "causal": library.causal_mask(4)}
panels, texts = {}, {}
for name, permit in permits.items():
    weights = attending.function(queries, keys, torch.eye(4)[None], permit)[0]
    output = attending.function(queries, keys, values, permit)[0]
    panels |= {f"weights: {name}": weights.numpy(), f"output: {name}": np.full((4, 1), np.nan)}
    texts[f"weights: {name}"] = [[f"{w:.3f}" if w else "" for w in row] for row in weights]
    texts[f"output: {name}"] = [[f"{row[0]:.2f}"] for row in output]
alt = "Two tables of 4 x 4 weights with their outputs; in the second the upper right is empty."
heat_maps(panels, alt, texts=texts, xlabel="key, value", ylabel="query")

# %% [markdown] lang="en"
# Row 2 on the right is your exercise with the pencil. Row 1 has a query of zeros: it asks for nothing in
# particular, and gets the plain average of what it may see. Row 0 on the right may see itself alone;
# whatever it asks, its weight is 1.
#
# ### Break it: leave out the division
#
# Why divide by $\sqrt{d}$? If the numbers in $q$ and $k$ have variance 1, then $q \cdot k$ has variance
# $d$: long vectors have large products. In the paper a head has 66 numbers (528 channels, 8 heads) and
# a query of a window looks at 16 keys [Ye & Bilodeau 2022]. If all looks counted the same, each
# weight would be one sixteenth.

# %%
scale_guess = Slider(
    "3.scale",
    "Random queries and 16 random keys of 66 numbers, no division: the largest weight, on average?",
    0,
    100,
    5,
    unit="%",
)
scale_guess

# %% [markdown] lang="en"
# Two thousand random queries for each length, with and without the division:

# %%
generator, largest = torch.Generator().manual_seed(0), {"divided by √d": [], "not divided": []}
lengths = [1, 2, 4, 8, 16, 33, 66, 132, 264, 528]
for d in lengths:
    q = torch.randn(2000, 1, d, generator=generator)
    scores = (q @ torch.randn(2000, 16, d, generator=generator).mT)[:, 0]
    largest["divided by √d"].append((scores / d**0.5).softmax(-1).amax(-1).mean().item())
    largest["not divided"].append(scores.softmax(-1).amax(-1).mean().item())
alt = "Largest weight by length: flat near a quarter if divided, rising towards 1 if not."
picture = plots.curves(
    lengths, largest, alt, xlabel="d, numbers in a query", ylabel="largest of 16 weights"
)
scale_guess.reveal(100 * largest["not divided"][lengths.index(66)], picture=picture)

# %% [markdown] lang="en"
# Without the division an untrained network has made up its mind: each query looks at one key and ignores
# the rest. Worse, it can hardly change it. The slope of a weight in its own score is $w(1 - w)$, which
# is nearly 0 when $w$ is near 0 or 1.

# %% [markdown] lang="en"
# ### Windows on a map
#
# The autoencoder turns each frame into a **map of features** (特征图): a few places along each edge, with a
# vector at each. Each place of each frame is a token. How many are there, and how many looks would it
# take if every token looked at every token?

# %%
with torch.no_grad():
    known = far.autoencoder.encode(exam.context[:1, :6])  # (B, T, D, h, w)
block = far.transformer.config.block
frames, side, tokens = known.shape[1], block.map_size, known[0, :, 0].numel()
print(f"{frames} frames of {side} x {side} places, {block.dim} numbers each: {tokens} tokens")
print(f"everybody looks at everybody: {tokens**2} looks")
print(f"at the places of its own window:  {tokens * block.window_size**2}")
print(f"at its own place in all frames:   {tokens * frames}")

# %% [markdown] lang="en"
# So VPTR splits the work [Ye & Bilodeau 2022, section 3.3]. First *space*: each frame's map is cut into
# **windows** (窗口) that do not overlap, and a token looks at the tokens of its own window. Then *time*: a
# token looks at its own place in other frames. The first needs a tool that cuts maps into windows, and
# one that glues them together.
#
# ### Your turn: cut a map into windows
#
# A window of size $K$ has $K \times K$ tokens. The windows come row by row, and so do the tokens of each:
# with $K = 2$, the map `0 1 2 3 / 4 5 6 7` becomes `0 1 4 5` and `2 3 6 7`.


# %% tags=["exercise"]
def window_partition(x: torch.Tensor, window_size: int) -> torch.Tensor:
    """The windows (B, number of windows, K * K, D) of maps (B, H, W, D); K divides H and W."""
    # SOLUTION
    batch, height, width, dim = x.shape
    k = window_size
    grid = x.reshape(batch, height // k, k, width // k, k, dim)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(batch, -1, k * k, dim)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# A row number is two numbers: which window, and which row inside it. Likewise a column. `reshape` can
# split one axis into two without moving anything.

# %% [markdown] lang="en" tags=["hint"]
# After `x.reshape(B, H // K, K, W // K, K, D)` the axes are: clip, window's row, row inside, window's
# column, column inside, channel. You want both numbers of the window before both numbers inside.

# %% [markdown] lang="en" tags=["hint"]
# `.permute(0, 1, 3, 2, 4, 5)` does that. Then `.reshape(B, -1, K * K, D)`.

# %% [markdown] lang="en"
# *Difficulty: medium, 10 minutes.*

# %%
parted = check.window_partition(window_partition)
parted

# %% [markdown] lang="en"
# And back again.
#
# ### Your turn: glue the windows together


# %% tags=["exercise"]
def window_merge(windows: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The maps (B, H, W, D) of which window_partition made (B, number of windows, K * K, D)."""
    # SOLUTION
    batch, _, size, dim = windows.shape
    k = round(size**0.5)
    grid = windows.reshape(batch, height // k, width // k, k, k, dim)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(batch, height, width, dim)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Undo the steps of the partition in the opposite order. The window size is not given, but the third axis
# has $K^2$ tokens.

# %% [markdown] lang="en" tags=["hint"]
# `windows.reshape(B, H // K, W // K, K, K, D)`: window's row, window's column, row inside, column inside.

# %% [markdown] lang="en" tags=["hint"]
# The same `permute(0, 1, 3, 2, 4, 5)` swaps the middle axes back. Then `.reshape(B, H, W, D)`.

# %% [markdown] lang="en"
# *Difficulty: easy, 5 minutes.*

# %%
merged = check.window_merge(window_merge)
merged

# %% [markdown] lang="en"
# Both of your functions draw the next picture. On the left every place has its number and the shade of
# its window. On the right are the windows as attention sees them: one row each.

# %%
places = torch.arange(float(side**2)).reshape(1, side, side, 1)
windows = parted.function(places, block.window_size)  # (1, W, K * K, 1)
shades = torch.arange(1.0, windows.shape[1] + 1)[None, :, None, None].expand_as(windows)
panels = {
    "the map": merged.function(shades, side, side)[0, ..., 0].numpy(),
    "its windows, a row each": shades[0, ..., 0].numpy(),
}
texts = dict(zip(panels, (places[0, ..., 0], windows[0, ..., 0]), strict=True))
texts = {title: [[f"{n:.0f}" for n in row] for row in table] for title, table in texts.items()}
alt = "A map with numbered places, shaded by window, and the windows as rows of numbers."
heat_maps(panels, alt, texts=texts)

# %% [markdown] lang="en"
# Read the first row: places far apart in one's counting are neighbours on the map. On pixels you see at
# once whether the two tools fit: cut a frame into sixteen windows, shuffle them, glue.

# %%
frame = exam.context[0, :1].movedim(1, -1)  # (1, 32, 32, 1), channels last
size = frame.shape[1]
pieces = parted.function(frame, size // 4)
order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
glued = [merged.function(some, size, size)[0] for some in (pieces[:, order], pieces)]
plots.contact_sheet(
    torch.stack([frame[0], *glued]).movedim(-1, 1),
    "A frame with a digit; its sixteen windows shuffled; glued in order, the frame again.",
    columns=5,
    titles=["a frame", "windows shuffled", "windows in order"],
)

# %% [markdown] lang="en"
# ### Windows alone never talk
#
# A window is a room with a closed door: what happens in the next one is not heard. And along time a
# token looks at its own place only. So a digit that walks from one window into another would vanish
# here and appear there, and nobody could know why.
#
# The door is a **convolution** (卷积). Each block has a small network after its windows, the
# **convolutional feed-forward** (卷积前馈), with a filter of 3 x 3 places that takes no notice of
# windows. It reaches one place far.
#
# How far do the blocks hear together? We ask the real network, by gradients. The **influence** (影响)
# of an input place on an output place is how much the output changes with a small change of the input:
# the size of the gradient. It is exactly 0 if no path leads from one to the other.
#
# The query is the place where four windows meet, in the last frame. We measure after one block, two blocks,
# and so on: once as the network is, and once with the convolutional feed-forward of every block
# silenced. It then adds nothing, so that windows and time are all there is.

# %%
alone_guess = Slider(
    "3.alone",
    "All blocks, but no convolution: on how many of the 64 places of its own frame does that "
    "place depend?",
    0,
    64,
    4,
    unit="places",
)
alone_guess

# %% [markdown] lang="en"
# `first_blocks` runs some blocks of FAR, `influence` takes the gradients.

# %%
from course_lib.evaluation.influence import first_blocks, influence, without_convolution

edge = block.window_size - 1
query, depths = (frames - 1, edge, edge), range(1, far.transformer.config.depth + 1)
dice = lambda: torch.Generator().manual_seed(0)
ask = lambda run: influence(run, known, query, num_probes=2, generator=dice())
measure = lambda: torch.stack([ask(first_blocks(far.transformer, n)) for n in depths])
with_doors = measure()  # (blocks, T, h, w)
with without_convolution(far.transformer):
    windows_alone = measure()
heard, alone = [(maps[:, -1] > 0).sum((1, 2)).tolist() for maps in (with_doors, windows_alone)]

# %% [markdown] lang="en"
# The answer counts places whose influence is not 0.

# %%
alone_guess.reveal(
    alone[-1],
    explanation=f"After 1, 2, ... blocks: {alone}. As the network is: {heard}. Attention in the "
    "window stays in the window, attention along time stays at its place. Whatever one "
    "stacks of these two, no step ever crosses the border.",
)

# %% [markdown] lang="en"
# Now the maps. Dark brown is the strongest influence there is, light yellow a ten-thousandth of it or
# less; grey is exactly none. The blue frame is the query. Time runs through the observed frames.

# %%
from course_lib.widgets.heat_maps import tiles

ways = {"as it is": with_doors, "windows and time alone": windows_alone}
drawn = {n: tiles(m.numpy(), every=block.window_size, mark=query[1:]) for n, m in ways.items()}
count = zip(*((maps > 0).sum((-2, -1)).tolist() for maps in ways.values()), strict=True)
say = "frame {}: {} of {} places have influence, with windows and time alone {}"
captions = [
    [say.format(t, a, side**2, b) for t, (a, b) in enumerate(zip(*row, strict=True))]
    for row in count
]

# %% [markdown] lang="en"
# Move the slider to more blocks, then step through the frames.

# %%
Player(
    drawn,
    {"blocks": list(depths)},
    captions=captions,
    width=220,
    fps=3,
    title="What influences the marked place of the last frame?",
    alt="Heat maps of influence; with windows alone, three quarters of each map stay grey.",
)

# %% [markdown] lang="en"
# With windows alone three quarters of the map stay grey, however many blocks you stack. With the
# convolution this place hears all four windows after a single block: the filter reaches one place into
# each, and these places have just heard from all the others of their window. A corner has a longer way;
# section 2 lets you find out how long.
#
# Look at the earlier frames too. They are coloured wherever the last frame is: space, then time. What
# happens at *other* places of earlier frames arrives by the same two steps, and no attention between
# distant places of distant frames was ever computed.

# %% [markdown] lang="en"
# ### The blocks, step by step
#
# The paper draws two blocks: (a) that of FAR, which predicts one frame at a time, and (b) the decoder of
# NAR, which predicts all of them at once [Ye & Bilodeau 2022]. Here they are again, with
# a third, PAR, that stands between. Step through each, and read who may look at whom. FAR is what this
# chapter needs; the other two are chapter 4.

# %% budget_s=15
from course_lib.widgets.vptr_diagram import vptr_diagram

vptr_diagram()

# %% [markdown] lang="en"
# Four layers, four answers to one question. Windows: "who stands near me, now?" Convolution: "who stands
# next to me, whatever the window?" Time: "what was here before?" The last layer, a small network for
# each token alone, asks nobody.

# %% [markdown] lang="en"
# ## 2. The mask laboratory
#
# Section 1 was about space. Now time comes in. VPTR's first network is **FAR**, fully autoregressive
# (全自回归): its output number $i$ is the prediction of frame $i + 1$. In training all frames of a clip
# go in at once, and all predictions come out at once. So frame $i + 1$ lies on the table while it is
# being predicted. If output $i$ may look at it, there is nothing left to predict: the network copies.
#
# What prevents that is one mask, in the attention along time. The **causal mask** (因果掩码) lets each
# frame look at itself and at what came before, at nothing else.
#
# ### Your turn: the causal mask


# %% tags=["exercise"]
def causal_mask(num_frames: int) -> torch.Tensor:
    """Bool (T, T): True in row i, column j, where frame i may look at frame j."""
    # SOLUTION
    frames = torch.arange(num_frames)
    return frames[None] <= frames[:, None]
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Write the table for three frames on paper. Row 0 has one True, row 2 has three.

# %% [markdown] lang="en" tags=["hint"]
# A comparison of a column of numbers with a row of numbers gives a table. `x[:, None]` is a column,
# `x[None]` a row.

# %% [markdown] lang="en" tags=["hint"]
# `frames = torch.arange(num_frames)`. The key's number stands in the row `frames[None]`, the query's
# in the column `frames[:, None]`. The key must not be later than the query.

# %% [markdown] lang="en"
# *Difficulty: easy, 5 minutes.*

# %%
masked = check.causal_mask(causal_mask)
masked

# %% [markdown] lang="en"
# Your mask now drives a laboratory. Two predictions first. You know the rules of all layers: windows,
# a convolution that reads the neighbours, attention along time. A block has each of them once, in this
# order, and FAR is a stack of blocks. How far does the stack see?

# %%
corner_guess = Slider(
    "3.corner",
    "A query in the upper left corner of the last frame: after how many blocks may it see "
    "every place of every frame?",
    1,
    8,
    1,
)
corner_guess

# %% [markdown] lang="en"
# And one about time. There are six frames, 0 to 5. You open a *single* cell of the mask: row 1,
# column 5. In every block, frame 1 may now also look at frame 5.

# %%
hole_guess = Slider(
    "3.hole",
    "How many of the six outputs then depend on a frame later than their own?",
    0,
    6,
    1,
)
hole_guess

# %% [markdown] lang="en"
# Here is the laboratory. Above are six frames of a clip, below them the maps of their features. Click a
# place: it becomes the **query**, the white ring. Blue lines enclose what the rules let it see. The
# colours inside are measured: the gradient of the network's output at the query, taken at every place
# of the input. What is hatched is forbidden, and there the gradient must be zero. Not small: zero.
#
# Below left is the mask. Click its cells. Below right is what comes of it: which output frame depends
# on which input frame, measured in the same way. An exclamation mark is a leak.

# %% budget_s=12
from course_lib.evaluation.influence import first_blocks, frame_influence, influence
from course_lib.models.vidhrformer import Masks
from course_lib.recipes.vptr import NAR
from course_lib.widgets.mask_lab import MaskLab

six = exam.context[:1, :6]
whose = f"causal_mask ({masked.whose})"
lab = MaskLab(far, six, masked.function, nar=NAR.load(), whose=whose)
lab

# %% [markdown] lang="en"
# Go through the layers from the top of the list, and click in a corner, at the border of a window, and
# in the middle. Then take the whole network and try these:
#
# - Step back from all blocks to one. Which queries lose sight of the far corner, and which do not?
# - Press "nobody". Every output still depends on its own frame. Attention is not the only way: beside
#   each layer runs the residual path, which no mask can close.
# - Open the cell in row 1, column 5, and look at the table on the right. Then do the same after one
#   block only.
# - "Temporal attention, full" is what NAR's encoder does, because its frames are all past. Nothing is
#   wrong with a full mask; what is wrong is to predict a frame that one has looked at.
#
# Now the answers. We ask the trained network itself, and count the places whose gradient is not zero.

# %%
model, codes = far.transformer, far.autoencoder.encode(six)
ask = lambda blocks, place: influence(first_blocks(model, blocks), codes, (5, *place)) > 0
counts = [int(ask(blocks, (0, 0)).sum()) for blocks in range(1, model.config.depth + 1)]
beside = int(ask(1, (3, 3)).sum())
corner_guess.reveal(
    counts.index(codes[0, :, 0].numel()) + 1,
    explanation=f"Block by block the corner depends on {counts} places. Backwards from the "
    "corner, the convolution reads one row and one column more, all of them in the corner's own "
    "window: after one block it knows its window, in all frames. In the second block the "
    "convolution reaches over the border.\n\nThe place in row 3, column 3 touches three borders "
    f"at once. After a single block it depends on {beside} places.",
)

# %% [markdown] lang="en"
# Then the hole in the mask. `frame_influence` gives a table like the one at the lower right of the
# laboratory; above its diagonal is the future. We ask three times: with the hole in every block, in the
# first block alone, and in the last block alone.

# %%
from course_lib.nn.attention import causal_mask as true_mask

hole = true_mask(6)
hole[1, 5] = True
closed, opened = Masks(temporal=true_mask(6)), Masks(temporal=hole)
rest = [closed] * (model.config.depth - 1)
stacks = {"every": opened, "first": [opened, *rest], "last": [*rest, opened]}
future = {
    name: (frame_influence(first_blocks(model, masks=masks), codes) > 0).triu(1)
    for name, masks in stacks.items()
}

# %% [markdown] lang="en"
# `future` holds, for each of the three, which output depends on which later frame.

# %%
pairs = {name: list(map(tuple, table.nonzero().tolist())) for name, table in future.items()}
hole_guess.reveal(
    int(future["every"].any(1).sum()),
    explanation="Frame 1 hears of frame 5. From the next block on, the frames 2, 3 and 4 look at "
    "frame 1, as they may, and hear of frame 5 from it. Only frame 0 looks at nobody who knows, "
    "and frame 5 has no future here.\n\n"
    f"The hole in the first block alone, as (output, later frame): {pairs['first']}. Frame 5 has "
    "not looked at anybody yet: frame 1 learns one secret, and the others learn it from frame 1."
    f"\n\nThe hole in the last block alone: {pairs['last']}. Frame 5 has looked at all its past "
    "and tells frame 1 everything; but no block is left in which frame 1 could pass it on.",
)

# %% [markdown] lang="en"
# A mask is a rule for one look. A network looks many times, and passes on what it was told. That is why
# a leak is tested on the whole network, from its inputs to its outputs, and not by reading masks.
#
# ### What the rules save
#
# Why all these rules? Let every token look at every token, in all frames at once, and no layer would
# have to pass anything on. Count the pairs. With $T$ frames of $h \times h$ places there are
# $T h^2$ tokens, and **joint** attention (联合注意力) compares all with all. VPTR's **divided** attention
# (分离注意力) compares each with the $K \times K$ places of its window, then with the $T$ frames at its
# own place:
#
# $$\underbrace{2D\,(T h^2)^2}_{\text{joint}} \qquad\text{against}\qquad
#   \underbrace{2D\,T h^2 \cdot K^2}_{\text{windows}} + \underbrace{2D\,T h^2 \cdot T}_{\text{time}}.$$
#
# $D$ is the number of channels. Each pair costs $2D$ multiply-accumulates: one product for the score,
# one to mix the value in.

# %%
from course_lib.evaluation.attention_cost import attention_cost

paper = attention_cost(num_frames=20, map_size=8, window_size=4, dim=528)
for name in ("space", "time", "divided", "joint"):
    print(f"{name:8} {getattr(paper, name) / 1e6:8.0f} million multiply-accumulates a layer")
print(f"joint / divided: {paper.saving:.1f}")

# %% [markdown] lang="en"
# That was the paper's own size: ten frames and ten more, 8 x 8 places, windows of 4 x 4, 528 channels
# [Ye & Bilodeau 2022]. Now change it. Before you move a slider, say which of the three bars will grow
# fastest, and which will stay where it is.

# %% budget_s=12
from course_lib.widgets.attention_cost_bars import AttentionCostBars

AttentionCostBars(dim=528)

# %% [markdown] lang="en"
# The number of frames $T$ enters the joint cost squared, and the time bar squared too, but without the
# map: one place looks at its own past only. The edge of the map enters the joint cost to the fourth
# power. The window moves nothing but its own bar.
#
# So, for every layer of VPTR, who may look at whom, why, and for how much:
#
# | layer | a place may see | why | pairs |
# |---|---|---|---|
# | local spatial attention | its window, in its own frame | shapes are local | $T h^2 K^2$ |
# | convolution | its neighbours, in its own frame | else windows never meet | no pairs: $9$ weights a place |
# | temporal attention, causal | its own place, now and before | the next frame is being predicted | $T^2 h^2$ |
# | temporal attention, full | its own place, in all frames | all of them are past, or none is known | $T^2 h^2$ |
# | encoder-decoder attention | its own place, in the context | the future asks the past | $N T h^2$ |
#
# ($N$ is the number of predicted frames.) What is saved is paid in steps: two places that are far
# apart in space and time never meet in one layer, only by way of others, block after block.

# %% [markdown] lang="en"
# ## 3. Position codes
#
# Attention has a blind spot: it sees *what* its tokens are, and not *where* they stand. Take query 3 of
# section 1, which may look at all four tokens. Shuffle the tokens, keys together with their values:

# %%
permit = torch.ones(4, 4, dtype=torch.bool)
for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
    output = attending.function(queries, keys[:, order], values[:, order], permit)
    print(f"tokens in the order {order}: query 3 gets {output[0, 3].item():.4f}")

# %% [markdown] lang="en"
# A sum does not care in which order its terms come. If the tokens are frames of a video, this is bad:
# a digit that walks to the right and one that walks to the left show the same frames.
#
# The cure is to write into each token where it stands. A **position code** (位置编码) is a vector for
# each position. It is added to the tokens before queries and keys are made of them. VPTR takes
# sines and cosines of ever longer waves [Vaswani et al. 2017, section 3.5]. For position $p$, counted
# from 1, and $d$ numbers:
#
# $$c_{p,\,2i} = \sin\frac{p}{10000^{2i/d}}, \qquad c_{p,\,2i+1} = \cos\frac{p}{10000^{2i/d}},
#   \qquad i = 0, \dots, \tfrac{d}{2} - 1 .$$
#
# ### Your turn: the code


# %% tags=["exercise"]
def sincos_1d(length: int, dim: int) -> torch.Tensor:
    """Codes (T, D) of the positions 1 to length: sine, cosine, sine, cosine of longer waves."""
    # SOLUTION
    positions = torch.arange(1, length + 1)[:, None]  # (T, 1)
    angles = positions / 10000 ** (torch.arange(0, dim, 2) / dim)  # (T, D / 2)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Make a table of all angles first: a row for each position, a column for each $i$. Only then take sines
# and cosines.

# %% [markdown] lang="en" tags=["hint"]
# `torch.arange(0, dim, 2)` is $2i$ for all $i$. A column of positions divided by a row of
# $10000^{2i/d}$ is the table.

# %% [markdown] lang="en" tags=["hint"]
# Sines and cosines take turns: `torch.stack([angles.sin(), angles.cos()], -1).flatten(1)`.

# %% [markdown] lang="en"
# *Difficulty: easy, 8 minutes.*

# %%
coded = check.sincos_1d(sincos_1d)
coded

# %% [markdown] lang="en"
# Your codes, for as many frames as FAR can look at. Orange is above 0, blue below. Each row is the code
# of one frame (frame 0 has position 1): read it like the hands of many clocks, the fastest on the left.

# %%
config = far.transformer.config
codes = coded.function(config.window, config.block.dim)
alt = "A row of numbers for each frame; quick waves on the left, almost constant columns on the right."
heat_maps({"": codes.numpy()}, alt, xlabel="number in the code", ylabel="frame")

# %% [markdown] lang="en"
# What does a query learn from such a key? Attention compares by products. For two codes every sine and
# cosine pair gives $\sin a \sin b + \cos a \cos b = \cos(a - b)$, so the product of two codes
# depends on *how far apart* the frames are, and not on when they happen.

# %%
products = codes @ codes.T
rates = 10000 ** (-torch.arange(0, config.block.dim, 2) / config.block.dim)
print(f"sum of the cosines, three frames apart: {(3 * rates).cos().sum():.4f}")
for a, b in ((0, 3), (5, 8), (12, 15)):
    print(f"product of the codes of frames {a} and {b}: {products[a, b]:.4f}")
asking = {f"from frame {t}": products[t].numpy() for t in (0, 6, 12)}
alt = "Three equal hills of products, each with its top at the frame that asks."
plots.curves(range(config.window), asking, alt, xlabel="frame", ylabel="product of the codes")

# %% [markdown] lang="en"
# The same hill, moved. (In the network learned weights stand between code and product. They can sharpen
# this and look, say, for "the frame before".)
#
# ### Take the codes away
#
# Now the real network. We erase its time codes, and give it the observed frames twice: in order, and with
# all frames but the last one shuffled. The last stays last, so the question stays the same: what comes
# after it? The codes were the only numbers that said which frame was when.

# %%
order_guess = Choice(
    "3.order",
    "FAR without time codes, earlier frames shuffled. Does its last prediction change?",
    ["not at all", "less than a quarter as much as with codes", "more than that"],
)
order_guess

# %% [markdown] lang="en"
# We measure six networks: with codes and without, with the causal mask and with one that lets
# every frame look at all, with one block and with all of them. The number is the size of the change
# over the size of the prediction.

# %%
import copy

from course_lib.models.vidhrformer import Masks

blind = copy.deepcopy(far.transformer)
blind.time_code.zero_()
with torch.no_grad():
    seen = far.autoencoder.encode(exam.context[:4])  # (B, T, D, h, w)
last = seen.shape[1] - 1
shuffled = [*torch.randperm(last, generator=torch.Generator().manual_seed(0)).tolist(), last]
masks = {"causal": library.causal_mask(last + 1), "all": torch.ones(last + 1, last + 1).bool()}
nets = {"codes, causal": (far.transformer, "causal")}
nets |= {"no codes, causal": (blind, "causal"), "no codes, all see all": (blind, "all")}

# %% [markdown] lang="en"
# For each network: run both orders, compare the last output.

# %%
changes = {"1 block": {}, f"{config.depth} blocks": {}}
for found, n in zip(changes.values(), (1, config.depth), strict=True):
    for name, (net, mask) in nets.items():
        run = first_blocks(net, n, masks=Masks(temporal=masks[mask]))
        with torch.no_grad():
            straight, mixed = run(seen[:2])[:, last], run(seen[:2, shuffled])[:, last]
        found[name] = ((straight - mixed).norm() / straight.norm()).item()
print("order of the frames:", shuffled)

# %% [markdown] lang="en"
# So what about the whole network, without codes and as causal as it is?

# %%
with_codes, without, blindfold = changes[f"{config.depth} blocks"].values()
share = without / with_codes
order_guess.reveal(
    order_guess.options[0 if share < 0.01 else 1 if share < 0.25 else 2],
    explanation=f"It changes {share:.2f} times as much as with codes. After one block it changes by "
    f"{changes['1 block']['no codes, causal']:.0e}, which is rounding: the last frame averages over "
    "the same set. But a causal mask is a clock of its own. Frame 5 sees five frames and itself, "
    "frame 0 sees only itself. So shuffling changes what earlier frames have become after the first "
    "block, and the next block reads it. Only if every frame may look at all is the order truly "
    f"lost (a change of {blindfold:.0e}).",
    picture=plots.bars(changes, "Bars of the change by network.", ylabel="relative change"),
)

# %% [markdown] lang="en"
# If you expected "not at all", you are in good company: this is why one measures. It is known from language: causal transformers without any code still learn where a
# word stands [Haviv et al. 2022]. Why have codes at all, then? The mask tells the order in a roundabout
# way, through what earlier tokens have become. A code says it directly, already in the first block.
#
# What is the order good for? A digit that walks backwards is as good a digit as any, so turn the film round.
# We hold back the first observed frame, and show the others in order and reversed. In order, the truth is
# the next frame; reversed, it is the one held back.

# %%
clips = exam.context[4:12]
films = {"in order": clips[:, 1:], "reversed": clips[:, 1:].flip(1)}
truths = {"in order": exam.future[4:12, 0], "reversed": clips[:, 0]}
drawn = {name: {"the last frame again": film[:, -1]} for name, film in films.items()}
for name, film in films.items():
    with torch.no_grad():
        encoded = far.autoencoder.encode(film)
        for how, net in {"codes": far.transformer, "no codes": blind}.items():
            drawn[name][how] = far.autoencoder.decode(net(encoded)[:, -1:])[:, 0]

# %% [markdown] lang="en"
# How wrong is each picture, and how far is the centre of its ink from the true digit's?

# %%
axis = torch.arange(float(clips.shape[-1]))
ink = lambda frames: ((frames[:, 0] + 1) / 2 - 0.1).clamp(0)  # (B, H, W), without a faint haze
centre = lambda frames: torch.stack(
    [(ink(frames).sum(d) @ axis) / ink(frames).sum((1, 2)) for d in (1, 2)], 1
)
for name, pictures in drawn.items():
    for how, picture in pictures.items():
        error = (picture - truths[name]).square().mean() / 4  # pixels in [0, 1]
        missed = (centre(picture) - centre(truths[name])).norm(dim=1).mean()
        print(f"{name}, {how:>20}: squared error {error:.4f}, centre off by {missed:.2f} pixels")

# %% [markdown] lang="en"
# One of these clips:

# %%
titles = ["shown last", "truth: next", "predicted", "without codes"]
rows = [[p["the last frame again"], truths[n], p["codes"], p["no codes"]] for n, p in drawn.items()]
alt = "Last frame, truth and two blurred predictions; above in order, below reversed."
images = torch.stack([image[0] for row in rows for image in row])
plots.contact_sheet(
    images, alt, columns=4, titles=[*titles, *("reversed: " + title for title in titles)]
)

# %% [markdown] lang="en"
# Look at the centres. With its codes FAR misses by half of what the digit moves, or less, forwards and
# backwards; it is a small network with a short training, and its digits are blurred. Without codes it is
# little better placed than the last frame again. (The squared error flatters it: a blurred digit
# near the right place costs less than a sharp one beside it.)
#
# One caution. This network was trained with codes, and then they were taken away. How well one could
# do that has *learned* without them, by the clock of the mask alone, this test does not say.

# %% [markdown] lang="en"
# ### To queries and keys, not to values
#
# Look closely at VPTR's attention: the code is added to what queries and keys are made of, and *not* to what
# values are made of [Ye & Bilodeau 2022, official code]. The first Transformer added it to everything, once,
# at the bottom [Vaswani et al. 2017]. Does it matter? Give the network a film in which nothing happens: one
# frame, ten times.

# %%
still_guess = Choice(
    "3.still",
    "Ten equal frames. FAR predicts the next one after each of them. Do its predictions differ?",
    ["all ten are equal", "they differ, and settle down", "they differ more and more"],
)
still_guess

# %% [markdown] lang="en"
# For comparison we build what VPTR did not: a network with the same weights, in which the code goes
# into the values as well. (It was not trained like that. The question is what it *can* do, not how
# well.)

# %%
everywhere = copy.deepcopy(far.transformer)
for each in everywhere.blocks:
    attend = each.time.attention
    tokens_of = lambda x, code: x.permute(0, 2, 3, 1, 4).flatten(0, 2) + code
    each.time.remember = lambda x, code, attend=attend, tokens_of=tokens_of: attend.remember(
        tokens_of(x, code), tokens_of(x, code)
    )
still = seen[:1, :1].expand_as(seen[:1])
pair = {"codes in queries and keys": far.transformer, "codes in values, too": everywhere}
with torch.no_grad():
    outputs = {name: first_blocks(net)(still) for name, net in pair.items()}
drift = {name: (o - o[:, :1]).norm(dim=2).mean((0, 2, 3)) for name, o in outputs.items()}
size = {name: o.norm(dim=2).mean() for name, o in outputs.items()}
drift = {name: (d / size[name]).numpy() for name, d in drift.items()}

# %% [markdown] lang="en"
# How far is each output from the first one?

# %%
steady = drift["codes in queries and keys"].max()
still_guess.reveal(
    still_guess.options[0 if steady < 1e-4 else 1],
    explanation=f"With codes in queries and keys the largest distance is {steady:.0e}, which is "
    "rounding. Attention averages values. The values of equal frames are equal, and an average of "
    "equal things is that thing, whatever the weights. So codes that act on weights alone cannot "
    "make a difference where there is none.",
    picture=plots.curves(
        range(last + 1),
        drift,
        "Distance from the first output by frame: zero in one network, growing in the other.",
        xlabel="frame",
        ylabel="distance from the first output",
    ),
)

# %% [markdown] lang="en"
# That is the reason to keep the code out of the values: *when* decides where one looks, and what one finds
# there is only *what*. A world that stands still, stays still, by construction.
#
# It has a price. This network cannot count the seconds of a still film: "the light turns green after five
# frames" is a sentence it cannot learn, until something moves.

# %% [markdown] lang="en"
# ## 4. Leaks
#
# FAR is trained on all frames of a clip in one call: from frame $i$ and those before it, output $i$ has to
# predict frame $i + 1$. That frame is in the same tensor, one step further. If any layer lets output
# $i$ see it, the network need not predict: it can copy. The loss looks splendid, and at test time,
# when the future is not in the tensor, all is lost. Such a way from later frames to earlier outputs is a
# **leak** (泄漏).
#
# A mask that looks right on paper is no proof. You need a test.
#
# ### Your turn: a leak test
#
# Your test gets a model, as it is, and features (B, T, D), a vector for each frame. Output $i$ may
# depend on the frames 0 to $i$. Change later frames, and see whether earlier outputs move. The
# checker has planted three leaks, and honest models as well: who accuses everybody is no use either.


# %% tags=["exercise"]
def leaks(model, features: torch.Tensor) -> bool:
    """Whether some output of model depends on a later frame; features, outputs: (B, T, D)."""
    # SOLUTION
    with torch.no_grad():
        before = model(features)
        for t in range(1, features.shape[1]):
            changed = features.clone()
            changed[:, t:] += torch.randn_like(changed[:, t:])
            if not torch.allclose(model(changed)[:, :t], before[:, :t], atol=1e-6):
                return True
    return False
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Run the model twice: on the features, and on a copy in which the frames from $t$ on are different.
# Which outputs must be equal? Do it for every $t$.

# %% [markdown] lang="en" tags=["hint"]
# `changed = features.clone()`, or you change the features themselves. Compare `[:, :t]` of both outputs
# with `torch.allclose`. Leave `train()` and `eval()` alone.

# %% [markdown] lang="en" tags=["hint"]
# How to change a frame matters: `changed[:, t:] += torch.randn_like(changed[:, t:])`. The same number
# on all channels would not do. Why, the next pages show.

# %% [markdown] lang="en"
# *Difficulty: medium, 15 minutes.*

# %%
leaking = check.leaks(leaks)
leaking

# %% [markdown] lang="en"
# Now five suspects of full size, with maps of features. Three are FAR itself: as it was trained; with a
# mask that is shifted by one; with a single wrong entry in its mask. The other two are untrained, for
# who may look does not depend on what was learned: their convolutions have another norm, and we come to
# that.

# %%
from dataclasses import replace

from course_lib.models.vptr import AutoregressiveVPTR

films = seen[:, :8].double()  # (B, T, D, h, w); rounding should not be mistaken for a leak
torch.manual_seed(0)  # of the untrained weights
build = lambda norm: AutoregressiveVPTR(
    replace(config, depth=2, block=replace(config.block, norm=norm))
).double()
nets = {norm: build(norm).requires_grad_(False) for norm in ("layer", "frame", "batch")}
honest, shifted, holed = (
    copy.deepcopy(far.transformer).double().requires_grad_(False) for _ in range(3)
)

# %% [markdown] lang="en"
# A hook gives two of the copies another mask at each call, cut to the number of frames.

# %%
shift, hole = torch.ones(8, 8).tril(1).bool(), library.causal_mask(8)
hole[1, 3] = True
for net, mask in ((shifted, shift), (holed, hole)):
    cut = lambda frames, mask=mask: Masks(temporal=mask[:frames, :frames])
    net.register_forward_pre_hook(
        lambda _, args, _kwargs, cut=cut: (args, {"masks": cut(args[0].shape[1])}), with_kwargs=True
    )
suspects = {"FAR as trained": honest, "its mask shifted by one": shifted}
suspects |= {"a hole in its mask": holed, "BatchNorm, in training": nets["batch"].train()}
suspects |= {"BatchNorm, in evaluation": copy.deepcopy(nets["batch"]).eval()}

# %% [markdown] lang="en"
# Your test expects one vector for each frame, so a frame's map is laid flat.

# %%
shape, few = config.feature_shape, films[:1, :4].flatten(2)
for name, net in suspects.items():
    flat = torch.nn.Sequential(torch.nn.Unflatten(2, shape), net, torch.nn.Flatten(2))
    print(f"{name:>24}: {'leaks' if leaking.function(flat, few) else 'no leak found'}")

# %% [markdown] lang="en"
# ### How not to test
#
# A colleague has a shorter idea: add 1 to all channels of one frame, and see whether earlier outputs
# move. It looks reasonable. To see what happens, follow one vector through a **LayerNorm** (层归一化): it
# subtracts the vector's mean and divides by its standard deviation.

# %%
norm = torch.nn.LayerNorm(4, elementwise_affine=False)
vector = torch.tensor([2.0, 6.0, 2.0, 6.0])
for name, x in {"x": vector, "x + 1": vector + 1, "x + 10": vector + 10}.items():
    print(f"{name:>6}: {x.tolist()} becomes {[round(v, 3) for v in norm(x).tolist()]}")

# %% [markdown] lang="en"
# Every layer of a block begins with such a norm, so none of them notices the shift. The shift itself
# travels on along the residual path, past all blocks. At the end stands one more LayerNorm.

# %%
shift_guess = Choice(
    "3.shift",
    "FAR with its mask shifted by one: a gross leak. Frame 5 gets 1 added everywhere. The test sees",
    ["a clear change of output 4", "a small change of output 4", "rounding errors, nothing else"],
)
shift_guess

# %% [markdown] lang="en"
# Against it, the same frame exchanged for that of another clip.

# %%
t, (other, moved) = 5, (films.clone(), films.clone())
other[0, t], moved[0, t] = films[1, t], films[0, t] + 1
change = lambda run, to: (run(to[:1]) - run(films[:1])).abs().amax((0, 2, 3, 4))[None]
felt = {
    "honest mask, another frame": change(honest, other),
    "shifted mask, another frame": change(shifted, other),
    "shifted mask, the same frame + 1": change(shifted, moved),
}
texts = {name: [[f"{v:.1g}" for v in row[0]]] for name, row in felt.items()}

# %% [markdown] lang="en"
# How much does each output change when frame 5 changes?

# %%
tables = {name: row.numpy() for name, row in felt.items()}
constant = felt["shifted mask, the same frame + 1"][0, t - 1].item()
shift_guess.reveal(
    shift_guess.options[2 if constant < 1e-9 else 0],
    explanation="Largest change of each output, from left to right the outputs 0, 1, 2, ...; grey is "
    "exactly 0. The constant moves no output, not even those that may move: this test would "
    "acquit every leak there is.",
    picture=heat_maps(tables, "Three rows of changes.", texts=texts, columns=1, log=True),
)

# %% [markdown] lang="en"
# A test that cannot fail has not been passed. Three habits follow.
#
# - *Change at random*, each channel by another number.
# - *Keep a positive control*: a model of which you know that it leaks. The test must catch it.
# - *Look at what may move as well*. If nothing moves anywhere, the change did not get through.
#
# (The gradient of a plain *sum* of channels falls into the same trap: behind a LayerNorm that sum is
# constant. That is why section 1 took random directions.)
#
# The row in the middle has a second lesson. Output 4 sees frame 5 through the shifted mask. But outputs 3, 2
# and 1 change too: in the second block output 3 looks at token 4, which by then has seen frame 5. *A leak of
# one step grows by one step with every block.*

# %% [markdown] lang="en"
# ### Break it: BatchNorm
#
# The convolution works frame by frame, and no mask is needed there. But it has norms. **BatchNorm**
# (批归一化) subtracts a mean and divides by a standard deviation, too. Only it takes them for each channel over
# *everything in the batch*: all places, all frames, all clips. In evaluation it uses averages that it
# has stored. In training it uses those of the batch at hand, and the future is in the batch.

# %%
batch_guess = Slider(
    "3.batch",
    "BatchNorm in train mode, one clip, frame 5 exchanged: how much do earlier outputs change, "
    "in % of output 5's change?",
    0,
    100,
    5,
    unit="%",
)
batch_guess

# %% [markdown] lang="en"
# We exchange frame 5 of the first clip and watch the size of the change at every frame, in
# train mode, with each of the three norms.

# %%
moves = lambda net, n: (net(other[:n]) - net(films[:n])).norm(dim=2).mean((2, 3))  # (n, T)
by_norm = {name: moves(net.train(), 1)[0] for name, net in nets.items()}
leak = by_norm["batch"]
batch_guess.reveal(
    100 * (leak[:t].mean() / leak[t]).item(),
    picture=plots.curves(
        range(8),
        {f'norm="{name}"': row.numpy() for name, row in by_norm.items()},
        "Change by frame: BatchNorm's is above zero from frame 0 on, the others' from frame 5 on.",
        xlabel="frame",
        ylabel="change of the output",
    ),
)

# %% [markdown] lang="en"
# And with more clips in the batch, or in evaluation?

# %%
for n in (1, 2, 4):
    row = moves(nets["batch"].train(), n)
    beside = f", outputs of other clips {row[1:].mean():.3f}" if n > 1 else ""
    print(f"{n} in a batch: outputs before frame {t} change by {row[0, :t].mean():.3f}{beside}")
row = moves(nets["batch"].eval(), 2)
print(f"in evaluation: before {row[0, :t].max():.3f}, other clips {row[1:].max():.3f}")

# %% [markdown] lang="en"
# The leak is thinned by a larger batch, for one frame then has a smaller share in the mean. It does not
# go away, and it reaches the *other clips* as well: in training, no prediction is a function of its own
# clip alone. In evaluation there is nothing to see. So a leak test has to be run *in the mode in which
# you train*; `eval()` before the test, out of habit, would have acquitted this network.
#
# ### LayerNorm, but over what?
#
# So FAR has LayerNorm in its convolutions. There are two ways to write it. Ours (`norm="layer"`)
# normalises the channels of each place by themselves. The official code normalises each *frame* as a whole,
# over channels, height and width (`norm="frame"`) [Ye & Bilodeau 2022, official code]. Both know one frame only. But
# all places of a frame share a mean.
#
# To see the norm's part alone, we keep one block and reduce the 3 x 3 kernel of its convolution to its
# centre: it no longer reaches any neighbour. The query is the upper left corner of frame 2.

# %%
frame_guess = Choice(
    "3.frame",
    'One block, no neighbours, norm="frame". On what does the corner of frame 2 depend?',
    ["its window, frames 0 to 2", "whole maps, frames 0 to 2", "whole maps, all frames"],
)
frame_guess

# %% [markdown] lang="en"
# Influence once more, on five frames, with each norm in train mode:

# %%
five, maps, reached = films[:1, :5], {}, {}
for name, net in nets.items():
    lone = copy.deepcopy(net).train().requires_grad_(False)
    kernel = lone.blocks[0].convolution.layers[3].weight  # (channels, 1, 3, 3)
    kernel *= torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    found = influence(first_blocks(lone, 1), five, (2, 0, 0), num_probes=2, generator=dice())
    maps |= {f'"{name}", frame {i}': found[i].numpy() for i in (1, 2, 3)}
    reached[name] = (found > 0).sum((1, 2)).tolist()

# %% [markdown] lang="en"
# A row for each norm; the frame before, the query's own, and the one after. Grey is exactly nothing.

# %%
alt = "Influence maps: one window, no later frame; whole frames, no later one; whole frames, all."
_, own, later = reached["frame"][1:4]
frame_guess.reveal(
    frame_guess.options[2 if later else 1 if own == side**2 else 0],
    explanation=f"Places with influence in each of the five frames: {reached}.",
    picture=heat_maps(maps, alt, log=True, columns=3, every=block.window_size, mark=(0, 0)),
)

# %% [markdown] lang="en"
# With `"frame"` the doors of all windows stand open a crack: the mean of a frame carries a little of every
# place to every other, at once. It is honest about time, for no norm of one frame knows another. So in
# the published FAR the convolution is *not* the only way between windows. In this chapter's network it is.
#
# | norm in the convolutions | takes its mean from | windows hear each other | the future leaks |
# |---|---|---|---|
# | `"layer"`, ours | one place | no | no |
# | `"frame"`, published FAR | all places of one frame | yes | no |
# | `"batch"`, training | all places, frames, clips | yes | yes |
# | `"batch"`, evaluation | stored | no | no |
#
# Who needs which? FAR must not see ahead, so it needs one of the first two; so does the decoder of PAR.
# NAR's encoder reads frames that have all happened: there is nothing to hide, and the published one has
# BatchNorm. (Its clips still hear of each other in training.)
#
# How much would such a leak spoil a real training? That we have not tried: here you have seen *that*
# it leaks, not what it costs.

# %% [markdown] lang="en"
# ## 5. What the paper claims, and what we found
#
# "Efficient" is a word to be weighed. VPTR takes attention apart, space in windows first and then time,
# because attention among all tokens of all frames would be too dear [Ye & Bilodeau 2022, abstract].
# How dear? We count multiply-accumulates, one for each product that is added to a sum, at the paper's size:
# 20 frames, 8 x 8 places, windows of 4 x 4, 528 channels. First the products of attention itself, queries
# with keys and weights with values, as in section 2. Then the whole layers: each also makes queries, keys, values and
# outputs, with four matrices of 528 x 528. Maps larger than the paper's stand below it.

# %%
from course_lib.evaluation.attention_cost import attention_cost

dim, length = 528, 20
for size in (8, 16, 32):
    cost = attention_cost(length, size, 4, dim)
    matrices = 4 * dim**2 * length * size**2  # of one layer
    apart, joint = 2 * matrices + cost.divided, matrices + cost.joint
    print(
        f"{size:>2} x {size:<2} places: products of attention {cost.saving:5.1f} times fewer; whole "
        f"layers {joint / apart:4.1f} times ({apart / 1e9:.1f}, not {joint / 1e9:.1f} billion)"
    )

# %% [markdown] lang="en"
# Both numbers are true, and the difference is worth knowing. On 8 x 8 places most of the work is in the
# matrices, and two layers apart need them twice. So the products fall sharply, and the layer hardly gets
# cheaper. Taken apart pays where maps are large.
#
# The other numbers of the panel, gathered from the cells above:

# %%
print(f"where windows meet, places heard after 1, 2, ... blocks: {heard}")
print(f"the same, with windows and time alone:                   {alone}")
own = {name: counts[2] for name, counts in reached.items()}
print(f"one block, no neighbours: places of its own frame by norm: {own}")
before = {name: round((row[:t].mean() / row[t]).item(), 3) for name, row in by_norm.items()}
print(f"change before the exchanged frame, over the change at it: {before}")
print(
    f"shuffled past: {', '.join(f'{k} {v:.3f}' for k, v in changes[f'{config.depth} blocks'].items())}"
)

# %% [markdown] lang="en"
# ### Claim panel
#
# The labels speak of this chapter's networks. What is said of a rule (who may look) holds for any weights. What
# is said of quality would need trainings, and chapter 4 has those.
#
# | claim | measured here | label |
# |---|---|---|
# | Space and time taken apart make attention cheaper [Ye & Bilodeau 2022, abstract] | counted above, at the paper's size: products of attention and whole layers | reproduced for the products; the whole layer gains next to nothing on 8 x 8 places, and much on large maps |
# | The convolution lets windows exchange what they know [Ye & Bilodeau 2022, section 3.3] | places heard where windows meet, with the convolution and alone | reproduced; but with the published norm the windows hear each other without it, too |
# | FAR needs LayerNorm where NAR may have BatchNorm [Ye & Bilodeau 2022] | change before the exchanged frame | reproduced: BatchNorm leaks in training. That the leak spoils a prediction is not tested here |
# | A causal mask keeps the future out of FAR [Ye & Bilodeau 2022] | your leak test on FAR; the row of zeros under the honest mask | reproduced, exactly |
# | Relative position codes are a little better than sines and cosines: PSNR 26.96 against 26.92 dB on KTH [Ye & Bilodeau 2022, journal version, ablation] | nothing was trained with them (`relative_bias=True` is there to try) | not tested |
# | "Without position codes a transformer cannot know the order" (often heard) | shuffled past, without codes | true if all may see all; false under a causal mask, from the second block on [Haviv et al. 2022] |
#
# ## 6. Before you go
#
# **In five lines**
# - Attention is an average of values; queries and keys decide the weights, and a mask decides whom one may
#   look at in the first place.
# - VPTR looks three times: around itself in a window, next door by convolution, back in time at its own place.
#   Stacked, these reach everything that has happened.
# - A position code says when; in queries and keys alone it moves the looks, and never what is found.
# - A rule is what the layers allow; influence is what the network does. Where the rule says no, the
#   influence is exactly 0.
# - Leaks come through masks, norms and convolutions. Test with random changes, a positive control, and
#   in the mode in which you train.
#
# **Easily mistaken**
# - "Attention weights show what an output depends on." They show one layer's looks. What a looked-at token has
#   heard before is not in them; influence has it.
# - "The mask is causal, so the network is." A norm or a convolution may be the leak.
# - "No codes, no order." The causal mask is a clock.
# - "LayerNorm is LayerNorm." It depends on what it is taken over: a place, or a frame.
# - "The test found no leak, so there is none." First show that the test can find one.
#
# **Quiz**
#
# <details><summary>All scores of a query are equal. What does it get, and does a larger d change
# it?</summary>The plain average of the values that it may see. Dividing equal scores by anything leaves
# them equal.</details>
#
# <details><summary>A map of 16 x 16 places, windows of 4 x 4, the convolutions silenced, a hundred blocks. How many
# places of its own frame does a token hear?</summary>16, its own window. Attention along time stays at
# its place, so nothing ever crosses.</details>
#
# <details><summary>A mask lets every frame see one frame too far. The network has six blocks. How many frames
# ahead does the leak reach?</summary>Six: one more with every block.</details>
#
# <details><summary>Your leak test adds 1 to one channel of a frame, and not to all. Does LayerNorm hide
# it?</summary>No. The vector changes its shape, not only its mean. Only a change that is equal on all channels
# is taken away entirely.</details>
#
# <details><summary>A network with BatchNorm passes the leak test after `eval()`. May you train it to predict
# frame by frame?</summary>The test says nothing about training, where the statistics of the batch hold
# the future. Test it in train mode.</details>
#
# <details><summary>FAR watches a traffic light that is red for ten equal frames. Can it know that the light will
# turn green after the tenth?</summary>No. Equal frames give equal values, and codes in queries
# and keys alone cannot tell the tenth from the third.</details>
#
# **Further reading**
# - Vaswani et al., *Attention is all you need*, 2017, arXiv 1706.03762: sections 3.2 and 3.5.
# - Ye and Bilodeau, *VPTR: efficient transformers for video prediction*, 2022, arXiv 2203.15836; and the longer
#   *Video prediction by efficient transformers*, arXiv 2212.06026: section 3.
# - Liu et al., *Swin transformer*, 2021, arXiv 2103.14030: section 3.2, windows that are shifted instead of
#   a convolution between them.
# - Yuan et al., *HRFormer*, 2021, arXiv 2110.09408: the block with windows and a convolution.
# - Haviv et al., *Transformer language models without positional encodings still learn positional
#   information*, 2022, arXiv 2203.16634: the mask as a clock.
#
# **Where to go on.** You know who may look at whom. Chapter 4 asks what follows: frames predicted one by one
# (FAR), all at once (NAR), or in between (PAR), and what each of them pays.
