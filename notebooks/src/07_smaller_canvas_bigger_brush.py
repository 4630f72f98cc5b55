# %% [markdown] lang="en"
# # Smaller canvas, bigger brush
#
# Chapter 6's walks call their network at every step, and at every step it looks at all pixels. Most
# pixels say little. Two ideas of 2021 and 2022 changed that. The first lets diffusion run on a small
# canvas that an autoencoder has made, and enlarges only the result: **latent diffusion**. The second
# replaces the network by a plain transformer that paints with square brush strokes: **DiT**. Nearly all
# large models of pictures and video since then are children of these two.
#
# **After this chapter you can**
# - say what a smaller canvas costs, in which pictures, and who pays;
# - cut a picture into patches and put it together again, and say why a patch is not a word;
# - build adaptive layer norm with its gates, and say why they begin at zero;
# - count the work of a network before you train it, and read a scaling plot without being misled;
# - predict futures in latents, and place every predictor of the course on one board.
#
# **You need** chapters 3, 5 and 6. **Study time** 150 minutes, in two sittings: sections 1 to 3, then 4
# to 6. **Computing time**
# {{build.seconds:.0f}} seconds for all cells, without a GPU.

# %% tags=["setup"] budget_s=15
import numpy as np
import torch

from course_lib import plots
from course_lib.checks import chapter7 as check
from course_lib.data.video import mosaic, to_panel
from course_lib.widgets.course_map import course_map
from course_lib.widgets.player import Player
from course_lib.widgets.prediction import Choice, Slider

torch.set_num_threads(1)  # a second thread gains little, and costs much on a busy machine
course_map()

# %% [markdown] lang="en"
# Two networks continue the same four clips. One walks from noise to a future in pixels, as in chapter 5.
# The other never sees a pixel: it walks among numbers that stand for pixels, a quarter as many, and a
# decoder draws the result.

# %% budget_s=15
from course_lib.data.crossroads import TWICE
from course_lib.recipes import crossroads_diffusion, latent_dit

held_out = crossroads_diffusion.world(TWICE, "test")
clips = held_out.sample(4, generator=torch.Generator().manual_seed(8)).video
context, horizon = clips[:, : TWICE.context], TWICE.horizon
pixel_network = crossroads_diffusion.DIFFUSION_TWICE.load()
latent_network = latent_dit.LATENT_TWICE.load()
dice = torch.Generator().manual_seed(7)
in_pixels = crossroads_diffusion.predictor(pixel_network).predict(context, horizon, generator=dice)
in_latents = latent_dit.predictor(latent_network).predict(context, horizon, generator=dice)

# %% [markdown] lang="en"
# Press play. The first three frames were given, the rest is drawn; both are
# right if each clip is *a* future of its past. Could you tell which half was drawn in the smaller canvas?

# %%
pairs = {"drawn in pixels": in_pixels, "drawn in latents": in_latents}
Player(
    {
        name: to_panel(mosaic(torch.cat([context, drawn.clamp(-1, 1)], 1), columns=2))
        for name, drawn in pairs.items()
    },
    captions=[
        f"frame {i}, {'given' if i <= TWICE.context else 'predicted'}"
        for i in range(1, TWICE.num_frames + 1)
    ],
    title="One past, two canvases",
    alt="Four digits walk to a crossroads and take a turn, drawn by two diffusion models.",
)

# %% [markdown] lang="en"
# ## 1. Does compression distort?
#
# Every network so far looked at every pixel, at every step. **Latent diffusion** (潜在扩散模型) does not
# [Rombach et al. 2022]. It first makes the picture small with an autoencoder, lets diffusion work on the
# small one, and makes the result large again. This section takes the autoencoder alone, and asks what it
# costs: does it distort, how much, where, and who pays?
#
# Its encoder halves height and width once, twice or three times: the **downsampling factor** (降采样因子)
# $f$ is 2, 4 or 8. At each place that is left it keeps $c$ channels. So a picture of 256 x 256 pixels in
# three colours becomes $256/f$ x $256/f$ x $c$ numbers. With $f = 8$ and $c = 4$ that is 32 x 32 x 4, the
# small canvas of Stable Diffusion and of this chapter's DiT. The course has trained five pairs of $f$
# and $c$.

# %%
from course_lib.recipes.compression import fewer, members

for f, c in members():
    side, times = 256 // f, fewer(f, c)
    shape = f"{side} x {side} x {c}"
    print(f"f = {f}, c = {c:>2}: {shape:>13} = {side**2 * c:>6,} numbers, ", end="")
    print(f"{times:>2.0f} times fewer; {4 / times:.2f} of the bits")

# %% [markdown] lang="en"
# Read the two columns apart. 32 x 32 x 4 are 48 times fewer *numbers*. They are not 48 times fewer *bits*: a
# colour of a pixel is one byte, and a number of the latent is a float of four. With $f = 2$ there are
# even more bits than before. Fewer numbers is what the network behind needs, for its work grows with them. It
# is no claim about information.
#
# Two pairs of rows have the same count of numbers, kept in another shape.

# %%
canvas = Choice(
    "7.canvas",
    "32 x 32 x 4 and 64 x 64 x 1 are equally many numbers. Which brings photographs back better?",
    ["32 x 32 x 4", "64 x 64 x 1", "they differ by less than half a decibel of PSNR"],
)
canvas

# %% [markdown] lang="en"
# All five were trained alike, for minutes: {{autoencoder_f4_c4.step:,}} updates on pieces of 32 x 32
# pixels, half of them from the course's worlds, half from five photographs. What you see below was held
# out. An encoder and a decoder are convolutions, so they take 256 x 256 pixels as well. Choose a latent
# and a picture. In the difference black is none, and white is half the range of a pixel or more.
# (MobileNetV2 distance is explained below; it is 0 for equal pictures.)

# %% budget_s=6
from course_lib.widgets.latent_sizes import LatentSizes

LatentSizes()

# %% [markdown] lang="en"
# ### How much
#
# The answer, on everything that was held out. PSNR is ten times the logarithm of the squared range over
# the mean squared error (chapter 0), so higher is better.

# %%
from course_lib.training.member import results_of

swept = {size: results_of(recipe)["metrics"] for size, recipe in members().items()}
kinds = ("crossroads", "scenes", "street", "photos")
of_kinds = {
    f"f {f}, c {c}": {kind: found[f"{kind}_psnr"]["value"] for kind in kinds}
    for (f, c), found in swept.items()
}
square, flat = (swept[size]["photos_psnr"]["value"] for size in ((8, 4), (4, 1)))
canvas.reveal(
    canvas.options[2 if abs(square - flat) < 0.5 else int(square < flat)],
    explanation=f"The two photographs: {square:.1f} dB from 32 x 32 x 4, {flat:.1f} dB from "
    "64 x 64 x 1.",
    picture=plots.bars(of_kinds, "PSNR falls with the count of numbers.", ylabel="PSNR in dB"),
)

# %% [markdown] lang="en"
# Yes, compression distorts, and more with fewer numbers. The published $f = 8$ autoencoder has about a hundred
# times our weights and is no exception: a PSNR of 24.19 dB, against 27.53 dB with $f = 4$ [LDM 2022, table
# of the official code]. Yet its pictures look sharp, and ours look smeared. Why?
#
# Because PSNR does not measure what you see. LDM's autoencoder is trained with a perceptual and an
# adversarial loss besides: it *invents* hair that looks right, and pays for it in PSNR. Ours has learned
# to make squared errors small, and the mean of all hairs is no hair.
#
# So we need a second measure. Show both pictures to a network that has learned to name a thousand things,
# and compare its features place by place, instead of pixels [Zhang et al. 2018]. Their LPIPS is fitted to
# people's judgements. Ours is not: we take MobileNetV2 as it is, and call it **MobileNetV2 distance**, 0 for
# equal pictures. No number of it may stand beside an LPIPS. Is it any good? Here is a control with
# changes that you can judge yourself, on the cat:
#
# | change | PSNR | MobileNetV2 distance |
# |---|---|---|
# | all moved by one pixel | {{compression.metrics.psnr_shift_chelsea.value:.1f}} dB | {{compression.metrics.mobilenet_shift_chelsea.value:.2f}} |
# | each pixel the mean of nine | {{compression.metrics.psnr_blur_chelsea.value:.1f}} dB | {{compression.metrics.mobilenet_blur_chelsea.value:.2f}} |
#
# A picture moved by one pixel is the same picture to you, and a blurred one is not. PSNR puts them the other
# way round, by a wide margin. The features have them right, by a narrow one. Now the five:
#
# | $f$, $c$ | times fewer numbers | PSNR cat, flower | MobileNetV2 distance cat, flower |
# |---|---|---|---|
# | 2, 4 | 3 | {{compression.metrics.psnr_f2_c4_chelsea.value:.1f}} dB, {{compression.metrics.psnr_f2_c4_flower.value:.1f}} dB | {{compression.metrics.mobilenet_f2_c4_chelsea.value:.2f}}, {{compression.metrics.mobilenet_f2_c4_flower.value:.2f}} |
# | 4, 16 | 3 | {{compression.metrics.psnr_f4_c16_chelsea.value:.1f}} dB, {{compression.metrics.psnr_f4_c16_flower.value:.1f}} dB | {{compression.metrics.mobilenet_f4_c16_chelsea.value:.2f}}, {{compression.metrics.mobilenet_f4_c16_flower.value:.2f}} |
# | 4, 4 | 12 | {{compression.metrics.psnr_f4_c4_chelsea.value:.1f}} dB, {{compression.metrics.psnr_f4_c4_flower.value:.1f}} dB | {{compression.metrics.mobilenet_f4_c4_chelsea.value:.2f}}, {{compression.metrics.mobilenet_f4_c4_flower.value:.2f}} |
# | 8, 4 | 48 | {{compression.metrics.psnr_f8_c4_chelsea.value:.1f}} dB, {{compression.metrics.psnr_f8_c4_flower.value:.1f}} dB | {{compression.metrics.mobilenet_f8_c4_chelsea.value:.2f}}, {{compression.metrics.mobilenet_f8_c4_flower.value:.2f}} |
# | 4, 1 | 48 | {{compression.metrics.psnr_f4_c1_chelsea.value:.1f}} dB, {{compression.metrics.psnr_f4_c1_flower.value:.1f}} dB | {{compression.metrics.mobilenet_f4_c1_chelsea.value:.2f}}, {{compression.metrics.mobilenet_f4_c1_flower.value:.2f}} |
#
# Compare the last two rows with the widget: 64 x 64 x 1 keeps whiskers and loses the colour, 32 x 32 x 4 the other way
# round. PSNR prefers the second, the features the first. Equal counts of numbers are not equal pictures.
#
# Two photographs are two photographs: read the table as an example, not as a law.
#
# ### Where
#
# Split a picture into waves, from broad areas to the finest grain, and ask of each how much of its power is
# missing or wrong: 0 means that all of it comes back, 1 is as bad as leaving it out.

# %%
from course_lib.recipes.compression import error_by_frequency
from course_lib.recipes.latent_autoencoder import pictures, read_sheet

photos, lost = pictures()[:2], {}
for (f, c), recipe in members().items():
    frequency, lost[f"f {f}, c {c}"] = error_by_frequency(read_sheet(recipe)[:2], photos)
plots.curves(
    frequency,
    lost,
    "The share that is lost rises with the frequency, earlier for the latents with fewer numbers.",
    xlabel="waves per pixel (one wave in two pixels at the right end)",
    ylabel="share of the power lost",
    levels={"as if left out": 1.0},
    ylim=(0, 1.5),
)

# %% [markdown] lang="en"
# Shapes come back, grain does not: fur, edges, text, a small thing far away. That is where the money is saved.
# For a photograph it is a good bargain, for people hardly miss the grain. It depends on what you need the
# picture for.
#
# What the curve does not show is **colour**. Go back to the widget and choose the frames of the course: greens and
# violets come back as orange, blue or grey, from every one of our latents. That is no law of
# compression. Half of the training frames are grey, five photographs hold few greens and violets, and minutes of
# training went into what made most of the error. An autoencoder, too, is only as good as what it has seen.
#
# ### Who pays
#
# At the crossroads *everything* is a small thing on a plain road. Take true futures of a held-out digit,
# encode them and decode them again, nothing else. Chapter 0's distance D is 0 for the true future and 1 for
# an empty road. A predicted future counts as valid below 0.15.

# %%
for (f, c), found in swept.items():
    D = found["distance"]
    print(f"f = {f}, c = {c:>2}: D {D['value']:.3f} ({D['low']:.3f} to {D['high']:.3f})")

# %% [markdown] lang="en"
# Nothing has been predicted here. This is what the *truth* looks like after a round trip, and a predictor
# that works on these latents pays it on top of its own mistakes. So the course trained a sixth autoencoder,
# with $f = 4$ and $c = 4$, on frames of the crossroads alone. Its D is
# {{crossroads_latents.metrics.distance.value:.3f}}, where the one that it shares with photographs has
# {{autoencoder_f4_c4.metrics.distance.value:.3f}}. Section 5 works in its latents. Here is one future through both.

# %%
from course_lib.recipes.crossroads_latents import CROSSROADS_LATENTS
from course_lib.recipes.latent_autoencoder import AUTOENCODER, crossroads

shared, own = AUTOENCODER.load(), CROSSROADS_LATENTS.load()
future = crossroads("test").futures(11, 4).clips[0]
with torch.no_grad():
    rebuilt = {
        "shared": shared(future.expand(-1, 3, -1, -1))[0].mean(1, keepdim=True),
        "its own": own(future)[0],
    }
plots.film_strip(
    {"truth": future, **{name: clip.clamp(-1, 1) for name, clip in rebuilt.items()}},
    "A digit turns: the truth, rougher from the shared autoencoder, clear from its own.",
    first=4,
)

# %% [markdown] lang="en"
# Same $f$, same $c$, and the road is clean and the strokes are whole in the last row: what an autoencoder keeps
# depends on what it has seen.
#
# ### The bound, and how to find it
#
# It is said that no prediction in latent space can be better than the autoencoder's reconstruction. Is that
# so? A predictor may answer any latent $z$ it likes. The best picture that the decoder has to offer for $x$ is
#
# $$\min_z\;\lVert x - D(z)\rVert ,$$
#
# and the encoder's $z = E(x)$ is only one candidate. Nobody says that it is the best one. So let us search.
# Start at $E(x)$, and go downhill with the decoder fixed. The picture is the cat's eye, 64 x 64 pixels.

# %%
from course_lib.data.photos import load_photos
from course_lib.data.video import to_float
from course_lib.evaluation.frames import psnr
from course_lib.methods.latent import closest_latent

eye = to_float(load_photos("test")[:1, :, 62:126, 52:116])
with torch.no_grad():
    start = shared.encode(eye).mean
    coded = shared.decode(start)
from_encoder = psnr(coded[None], eye[None]).item()
print(f"from the encoder's latent: {from_encoder:.1f} dB")

# %% [markdown] lang="en"
# Predict before you run the search.

# %%
bound = Slider(
    "7.bound",
    "By how much is the PSNR higher from the nearest latent?",
    0,
    8,
    0.1,
    unit="dB",
)
bound

# %% [markdown] lang="en"
# The search takes a hundred steps of Adam on the 1,024 numbers of $z$.

# %% budget_s=8
nearest = closest_latent(shared.decode, eye, start, num_steps=100)
with torch.no_grad():
    found = shared.decode(nearest)
bound.reveal(
    psnr(found[None], eye[None]).item() - from_encoder,
    explanation="The decoder could have said it better. The encoder did not know how to ask.",
    picture=plots.film_strip(
        {"eye": torch.cat([eye, coded, found]).clamp(-1, 1)},
        "The cat's eye, as the encoder's latent and as the nearest latent give it back.",
        titles=["as it is", "encoder's latent", "nearest latent"],
    ),
)

# %% [markdown] lang="en"
# That was one crop. Here are eight, with all five autoencoders.

# %%
plots.bars(
    {
        f"f {f}, c {c}": {
            "encoder's latent": tuple(found["crops_psnr"].values()),
            "nearest latent": tuple(found["closest_psnr"].values()),
        }
        for (f, c), found in swept.items()
    },
    "PSNR of eight crops: from the nearest latent it is higher than from the encoder's.",
    ylabel="PSNR in dB",
)

# %% [markdown] lang="en"
# The true bound lies between "nearest" and perfect: descent may have missed a still better latent. What
# holds for certain is this. No $z$ does better than the minimum, whoever proposes it, and a predictor that
# learns from encoded frames will hardly do better than the encoder. At the crossroads the shared
# autoencoder has a D of {{compression.metrics.distance_encoder.value:.2f}} from its encoder, and
# {{compression.metrics.distance_closest.value:.2f}} from the nearest latents, on the same few futures. **Prediction
# pays it.** With the best network in the world in between, the D of what you see is not 0.
#
# > **A common belief:** "The reconstruction error is the ceiling of latent prediction."
# >
# > The ceiling is the nearest picture that the decoder can make. The encoder's reconstruction is what you
# > get if the latents are predicted without a mistake.

# %% [markdown] lang="en"
# ### Another bargain: bins
#
# Robots that predict their own actions compress, too: many of them cut each component of an action vector
# into $K$ equal **bins** and predict the number of a bin, as if it were a word. That is often mentioned in
# one breath with latents. It is another bargain. Take a velocity in two dimensions, anywhere in a square
# from $-1$ to $1$. A bin is $2/K$ wide, and inside of it the error is uniform, so each axis has the mean
# squared error $(2/K)^2/12$.

# %%
dice = torch.Generator().manual_seed(7)
velocity = 2 * torch.rand(100_000, 2, generator=dice, dtype=torch.float64) - 1
number = lambda x, K, top: ((x / top + 1) / 2 * K).floor().clamp(0, K - 1)  # of a bin, from 0
centre = lambda n, K, top: ((n + 0.5) / K * 2 - 1) * top
binned = lambda x, K, top: centre(number(x, K, top), K, top)
for K in (4, 16, 64, 256):
    measured = (binned(velocity, K, 1.0) - velocity).square().mean()
    print(
        f"{K:>3} bins: {2 * np.log2(K):2.0f} bits for both axes, squared error per axis ",
        end="",
    )
    print(f"{measured:.2e}, by the formula {(2 / K) ** 2 / 12:.2e}")

# %% [markdown] lang="en"
# A bit more, and the error falls to a quarter, for as long as you like. Now bin the latent of the cat's head in the
# same way, number by number, and decode. To compare the two, each error is divided by the variance of what is
# coded.

# %% budget_s=6
head = to_float(load_photos("test")[:1, :, 32:160, 32:160])
bits, errors = range(1, 10), {"velocity": [], "picture, from its binned latent": []}
with torch.no_grad():
    z = shared.encode(head).mean
    for b in bits:
        pairs = ((binned(velocity, 2**b, 1.0), velocity),)
        pairs += ((shared.decode(binned(z, 2**b, z.abs().max())), head),)
        for name, (x_hat, x) in zip(errors, pairs, strict=True):
            errors[name].append(((x_hat - x).square().mean() / x.var()).item())
    floor = ((shared.decode(z) - head).square().mean() / head.var()).item()

# %% [markdown] lang="en"
# The dashed line is the latent without any bins.

# %%
plots.curves(
    bits,
    errors,
    "The velocity's error falls on a line without end; the picture's levels off after a few bits.",
    xlabel="bits for each number",
    ylabel="squared error over variance",
    levels={"the latent as it is": floor},
    log=True,
)

# %% [markdown] lang="en"
# Two bargains. Binning an action loses *precision*, known beforehand and as little as you want. The
# autoencoder loses *content*: after a few bits the rest of the error does not depend on bits at all, it is
# what the encoder left out. And look how few bits a latent needs: those floats were mostly air. At 6 bits a
# number, what would an ordinary picture file make of as many bytes?

# %%
import io

from PIL import Image

pixels, stored = Image.fromarray(to_panel(head)[0]), z.numel() * 6 // 8
files = {quality: io.BytesIO() for quality in range(0, 101, 4)}
for quality, file in files.items():
    pixels.save(file, "WEBP", quality=quality)
file = min(files.values(), key=lambda file: abs(len(file.getvalue()) - stored))
webp = to_float(torch.from_numpy(np.array(Image.open(file))).movedim(-1, 0))[None]
with torch.no_grad():
    six = shared.decode(binned(z, 64, z.abs().max()))
found = {"latent": (stored, six), "WebP": (len(file.getvalue()), webp)}
for name, (size, picture) in found.items():
    print(f"{name:>6}: {size:,} bytes, {psnr(picture[None], head[None]).item():.1f} dB")

# %% [markdown] lang="en"
# If you want to store photographs, take a picture file. An autoencoder of this kind is not made to save bits. It
# is made so that the next network has a small canvas on which neighbours mean something.
#
# One more distinction. Our autoencoder is a **variational** one, as in chapter 1: the encoder says a mean and a
# deviation, and $z$ is any real number. It is *continuous*; there is no list to choose from. **Vector
# quantisation** (向量量化, VQ) replaces each vector of the latent by the nearest one of a learned list, and keeps
# its number. That is *discrete*, like bins, and a network behind it predicts numbers with a
# softmax. Both are called "tokens" by some; section 2 takes the word apart.
#
# ### Is the latent N(0, I)?
#
# Chapter 1 drew pictures from its VAE by drawing $z$ from N(0, I), which the KL term had made its latents
# resemble. This autoencoder has a KL term too. Its weight is one millionth, as in [Rombach et al. 2022]. So:

# %%
prior = Choice(
    "7.prior",
    "Draw z from N(0, I) and decode it. What do you see?",
    [
        "new pictures, sharp but strange",
        "new pictures, blurred",
        "coloured noise without anything in it",
        "always the same mean picture",
    ],
)
prior

# %% [markdown] lang="en"
# Encode pieces of everything the course has, and draw as many latents from N(0, I). Some of the draws are
# also stretched to the deviation that real latents have.

# %%
from course_lib.recipes.latent_autoencoder import SHARES, draw_frames

pieces = torch.cat([draw_frames(kind, 40, "test", dice) for kind in SHARES])
with torch.no_grad():
    posterior = shared.encode(pieces)
    latents = posterior.mean
    drawn = torch.randn(6, *latents.shape[1:], generator=dice)
    shown = {
        "encoded": shared.decode(latents[[3, 17, 50, 62, 90, 150]]),
        "N(0, I)": shared.decode(drawn),
        "stretched": shared.decode(latents.mean() + latents.std() * drawn),
    }

# %% [markdown] lang="en"
# Three rows: pieces as they come back, draws from N(0, I), and stretched draws.

# %%
prior.reveal(
    prior.options[2],
    explanation="Places do not know of one another: a latent with the right spread is still noise.",
    picture=plots.film_strip(
        {name: frames.clamp(-1, 1) for name, frames in shown.items()},
        "Encoded pieces come back as pictures; latents drawn from N(0, I) come back as coloured noise.",
        titles=[""] * 6,
    ),
)

# %% [markdown] lang="en"
# There is no prior here that one could draw from. Diffusion, in section 5, *is* the prior: it learns what
# latents look like. How much does the KL term say at all? Count its nats, and compare its share of the loss
# with the other one.

# %%
from course_lib.methods.latent import KL_WEIGHT
from course_lib.recipes.latent_autoencoder import nats

with torch.no_grad():
    squares = (shared.decode(latents) - pieces).square().mean().item()
    kl, sigma = nats(shared, pieces).mean().item(), posterior.sigma.median().item()
numbers, values = latents[0].numel(), pieces[0].numel()
print(f"KL to N(0, I): {kl:,.0f} nats a piece, {kl / numbers:.1f} for each of {numbers} numbers")
print(f"its share of the loss:   {KL_WEIGHT * kl / values:.1e}")
print(f"squared error in the loss: {squares:.1e}")
print(f"deviation of the latents {latents.std():.2f}, the posterior's own {sigma:.4f}")

# %% [markdown] lang="en"
# The KL term is heard only as a whisper. It keeps latents from growing without end, and that is all it
# does. The last line shows what the network made of its freedom: the posterior's own noise is tiny against the
# spread of the latents, so each number of $z$ is all but certain. In chapter 1's words, it has bought as many nats
# as it liked, for next to nothing.
#
# ### Your turn: the scale factor
#
# So the spread of the latents is whatever was convenient. A noise schedule does not like that. Its levels are
# made for data with a standard deviation near 1. The remedy is one number, the **scale factor** (缩放因子): multiply
# every latent by one over the standard deviation of all numbers together, over pictures, channels and places.
# Diffusion works on the scaled ones. Before the decoder you divide again.


# %% tags=["exercise"]
def scale_factor(latents: torch.Tensor) -> float:
    """What latents (B, c, h, w), or (B, T, c, h, w), are to be multiplied by."""
    # SOLUTION
    return 1 / latents.std().item()
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# One number for everything: do not give each channel its own.

# %% [markdown] lang="en" tags=["hint"]
# After the multiplication the standard deviation of all numbers is 1. The mean stays where it is; a deviation
# does not depend on it.

# %% [markdown] lang="en" tags=["hint"]
# `latents.std()` without arguments takes all numbers together. One over that, and `.item()` makes it a plain
# number.

# %% [markdown] lang="en"
# *Difficulty: easy, 3 minutes.*

# %%
scale_verdict = check.scale_factor(scale_factor)
scale_verdict

# %% [markdown] lang="en"
# The latents of those pieces before and after, by your function, and N(0, 1) beside them.

# %%
scale, edges = float(scale_verdict.function(latents)), np.linspace(-12, 12, 97)
middle = (edges[1:] + edges[:-1]) / 2
density = lambda z: np.histogram(z.flatten().numpy(), edges, density=True)[0]
print(f"scale factor {scale:.3f} ({scale_verdict.whose})")
plots.curves(
    middle,
    {
        "latents": density(latents),
        "scaled": density(scale * latents),
        "N(0, 1)": np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi),
    },
    "Before scaling the latents are broader than N(0, 1); after it as broad, of another shape.",
    xlabel="value",
    ylabel="density",
)

# %% [markdown] lang="en"
# The spread is right now, and the shape is still its own. Nothing else was asked for. But everything else
# depends on it. Noise level $t$ is a promise about signal and noise, and the promise supposes the deviation 1.
# With a deviation $s$ the same level has the signal-to-noise ratio
#
# $$\text{SNR}(t) = \frac{\bar\alpha_t\,s^2}{1-\bar\alpha_t}.$$
#
# Here it is for the crossroads' own autoencoder, whose latents section 5 will diffuse.

# %%
from course_lib.methods.noise import scaled_linear

with torch.no_grad():
    small = own.encode(pieces[:40, :1]).mean
scale, s = float(scale_verdict.function(small)), small.std().item()
print(f"deviation {s:.2f}, scale factor {scale:.3f} ({scale_verdict.whose})")

# %% [markdown] lang="en"
# And this is what the schedule's levels mean with the factor and without it.

# %%
schedule, times = scaled_linear(), np.arange(0, 1000, 10)
log_snr = schedule.snr(torch.from_numpy(times)).log().numpy()
plots.curves(
    times,
    {"scaled": log_snr + 2 * np.log(scale * s), "forgotten": log_snr + 2 * np.log(s)},
    "Without the scale factor log SNR is shifted by the same amount at every level.",
    xlabel="t (latent diffusion's own schedule)",
    ylabel="log SNR",
    levels={"as much noise as signal": 0.0},
)

# %% [markdown] lang="en"
# The whole schedule is shifted by twice the logarithm of $s$. What does that look like? Take one frame, add the
# same noise at the same levels with and without the factor, and decode. In the third row the factor was
# used, but nobody divided before the decoder: the other half of the same mistake.

# %%
levels = torch.tensor([0, 200, 400, 600, 800, 999])
a = schedule.alpha_bar(levels).float()[:, None, None, None]
noisy = lambda z: z + (1 / a - 1).sqrt() * eps  # divided by the signal's share, to be decoded
with torch.no_grad():
    one = own.encode(future[2:3]).mean
    eps = torch.randn(one.shape, generator=dice)
    rows = {
        "scaled": own.decode(noisy(scale * one) / scale),
        "forgotten": own.decode(noisy(one)),
        "half forgotten": own.decode(noisy(scale * one)),
    }

# %% [markdown] lang="en"
# Cleaner to the left, noisier to the right.

# %%
plots.film_strip(
    {name: frames.clamp(-1, 1) for name, frames in rows.items()},
    "Scaled, the digit drowns in noise on the way; with the factor forgotten it is there for longer.",
    titles=[f"t = {t}" for t in levels.tolist()],
)

# %% [markdown] lang="en"
# With the factor forgotten the digit is there for longer: most levels are too easy, and few are left for the hard
# part, where the content is decided. At the last level too there is more signal than the schedule
# promises, so the network is never shown pure noise, and yet sampling begins with it. (A deviation below 1 has the
# opposite effect: most levels show nothing.) In the third row even the clean end is wrong, for the decoder gets
# latents of a size that it has never seen.
#
# And which number is it? That of *this* autoencoder, on *this* data. Stable Diffusion's and DiT's is 0.18215;
# people have carried it over to autoencoders it does not belong to. Here are those of the sweep, on frames of the
# crossroads, and then what your function finds for one of them on each kind of piece:

# %%
for (f, c), found in swept.items():
    print(f"f = {f}, c = {c:>2}: scale {found['scale']['value']:.3f}")
of_kind = {
    kind: float(scale_verdict.function(part))
    for kind, part in zip(SHARES, latents.split(40), strict=True)
}
print("f = 4, c =  4, on pieces of", ", ".join(f"{k} {s:.3f}" for k, s in of_kind.items()))

# %% [markdown] lang="en"
# ### Claim panel
#
# One training of each autoencoder; the last decimals would differ in another.
#
# | claim | measured here | label |
# |---|---|---|
# | The less compression, the better the reconstruction: PSNR 27.53 with $f = 4$, 24.19 with $f = 8$ [Rombach et al. 2022, table of the official code] | photographs, $c = 4$: {{autoencoder_f2_c4.metrics.photos_psnr.value:.1f}} dB with $f = 2$, {{autoencoder_f4_c4.metrics.photos_psnr.value:.1f}} dB with 4, {{autoencoder_f8_c4.metrics.photos_psnr.value:.1f}} dB with 8 | same direction, on two photographs |
# | With mild compression, what is lost cannot be perceived [Rombach et al. 2022, section 3.1] | MobileNetV2 distance of the cat at $f = 4$, $c = 4$ {{compression.metrics.mobilenet_f4_c4_chelsea.value:.2f}}, of a cat blurred over nine pixels {{compression.metrics.mobilenet_blur_chelsea.value:.2f}} | not at this scale: no perceptual and no adversarial loss, minutes of training |
# | A KL term of weight one millionth makes no prior | {{autoencoder_f4_c4.metrics.nats.value:,.0f}} nats between a frame's posterior and N(0, I); draws decode to noise | reproduced |
# | No latent predictor beats the encoder's reconstruction (a common belief) | crops, $f = 4$, $c = 4$: encoder {{autoencoder_f4_c4.metrics.crops_psnr.value:.1f}} dB, nearest latent {{autoencoder_f4_c4.metrics.closest_psnr.value:.1f}} dB | wrong as a statement about all $z$; close to right for a predictor that learned from the encoder |

# %% [markdown] lang="en"
# ## 2. Is a patch a token? What differs from ViT?
#
# Section 1 made the canvas smaller. This one looks at the brush. A transformer works on a sequence of
# vectors, and a picture is none. So the picture is cut into squares: a **patch** (图像块) is $p \times p$
# places with all their $C$ channels. Patch by patch, row by row, they make a sequence. Its elements are
# called **tokens** (词元), as the words and syllables of a language model are. Are they words, then?
#
# ### Your turn: cut a picture into patches
#
# `x` is (B, C, H, W). The answer is (B, N, $p \cdot p \cdot C$): N patches, counted row by row from the top
# left. Inside a patch the numbers stand in the order rows, columns, channels: first all channels of its
# first place. H and W are multiples of `patch_size`, and need not be equal.


# %% tags=["exercise"]
def patchify(x: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Pictures (B, C, H, W) as tokens (B, N, p * p * C)."""
    # SOLUTION
    b, c, height, width = x.shape
    p = patch_size
    cut = x.reshape(b, c, height // p, p, width // p, p)  # (B, C, h, p, w, q)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(b, -1, p * p * c)  # (B, h w, p q C)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# No number is computed: it is a reshape, a change of the order of axes, and a reshape. Into which two
# axes does the height fall?

# %% [markdown] lang="en" tags=["hint"]
# The height is $h$ rows of patches times $p$ rows in each, in this order; the width likewise. So first
# `x.reshape(b, c, h, p, w, p)`. Which two of these six axes count the patches?

# %% [markdown] lang="en" tags=["hint"]
# The order at the end is B, then $h, w$, which become N, then $p, p, C$, which become the numbers of one
# token: `.permute(0, 2, 4, 3, 5, 1)`, and a last reshape.

# %% [markdown] lang="en"
# *Difficulty: easy, 8 minutes.*

# %%
cut = check.patchify(patchify)
cut

# %% [markdown] lang="en"
# `cut.function` cuts from here on. A digit of 32 x 32 in patches of 4 x 4 is a sequence of 64 tokens of 16
# numbers each. At the right, each column is a token. (The pale lines are no part of the picture.)

# %%
from course_lib.recipes.digit_diffusion import DIGITS, SCHEDULE, digit_denoiser, framed_digits
from course_lib.widgets.heat_maps import heat_maps

images, labels = (part[:6] for part in framed_digits("test"))
tokens = cut.function(images, 4)  # (6, 64, 16)
squares = mosaic(tokens[0].reshape(64, 1, 1, 4, 4), columns=8)[0, 0]
squares[4::5] = squares[:, 4::5] = -0.6  # the lines between the patches, paler
print(f"{tuple(images.shape)} becomes {tuple(tokens.shape)} (patchify: {cut.whose})")
panels = {"patches of the picture": squares, "tokens, one in a column": tokens[0].T}
heat_maps(
    {name: (panel.numpy() + 1) / 2 for name, panel in panels.items()},
    "A digit cut into 8 x 8 patches, and the same numbers as a table of 64 columns.",
    height=3.1,
)

# %% [markdown] lang="en"
# ### A reshape, or a convolution
#
# Each token then goes through one and the same linear layer, from $p \cdot p \cdot C$ numbers to the width
# of the transformer, $d$. The official code of DiT has no reshape. It has a convolution whose kernel is
# as wide as its stride [Peebles & Xie 2022, code], a **strided convolution** (跨步卷积). Give both the same
# weights: a filter of the convolution is a row of the linear layer, put back into the shape of a patch.

# %%
from einops import rearrange
from torch import nn

picture = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(0))  # like a latent
linear = nn.Linear(2 * 2 * 4, 128)
convolution = nn.Conv2d(4, 128, kernel_size=2, stride=2)
with torch.no_grad():
    filters = rearrange(linear.weight, "d (p q c) -> d c p q", p=2, q=2)
    convolution.weight.copy_(filters)
    convolution.bias.copy_(linear.bias)
    cut_first = linear(cut.function(picture, 2))  # (2, 256, 128)
    in_one = rearrange(convolution(picture), "b d h w -> b (h w) d")
difference = (cut_first - in_one).abs().max()
print(f"{tuple(in_one.shape)} both ways; the largest difference is {difference:.1e}")

# %% [markdown] lang="en"
# The same function, up to rounding. So "patch embedding" is a matrix product, position by position, and
# nothing else. Nothing overlaps, nothing is chosen from a list, nothing is rounded.
#
# ### Your turn: put it together again
#
# The last layer of a DiT gives the numbers of each patch. The answer has to be a picture again, so you need
# the inverse, for square pictures: tokens (B, N, $p \cdot p \cdot C$) to (B, C, S, S). $C$ follows from the
# shapes. It may be another than at the input.


# %% tags=["exercise"]
def unpatchify(tokens: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Tokens (B, N, p * p * C) as square pictures (B, C, S, S)."""
    # SOLUTION
    b, num_tokens, length = tokens.shape
    p, side = patch_size, round(num_tokens**0.5)
    cut = tokens.reshape(b, side, side, p, p, length // p**2)  # (B, h, w, p, q, C)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(b, -1, side * p, side * p)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# The same three moves, backwards: split both long axes, order the six axes, join them by pairs. The first
# reshape has to name the axes in the order in which they *are*, not in the order you would like.

# %% [markdown] lang="en" tags=["hint"]
# N is $h \cdot w$ with $h = w$; a token is $p \cdot p \cdot C$, channels last. So
# `tokens.reshape(b, side, side, p, p, -1)`. The rows of the picture are $h$ and $p$, in this order.

# %% [markdown] lang="en" tags=["hint"]
# `.permute(0, 5, 1, 3, 2, 4)` gives B, C, $h, p, w, q$. Then
# `.reshape(b, -1, side * patch_size, side * patch_size)`.

# %% [markdown] lang="en"
# *Difficulty: easy, 8 minutes.*

# %%
paste = check.unpatchify(unpatchify)
paste

# %% [markdown] lang="en"
# Cut, and paste: nothing may be lost.

# %%
for name, x in {"digits": images, "a latent": picture}.items():
    for p in (2, 4, 8):
        back = paste.function(cut.function(x, p), p)
        print(f"{name}, patches of {p}: largest difference {(back - x).abs().max():g}")
print(f"patchify: {cut.whose}; unpatchify: {paste.whose}")

# %% [markdown] lang="en"
# ### Break it
#
# Three slips, all with the right shapes at both ends:
#
# - *channels first*: a token is read as channels, rows, columns;
# - *inside*: rows and columns inside each patch are swapped;
# - *outside*: rows and columns of the grid of patches are swapped.

# %%
grey = Choice(
    "7.grey",
    "You test your unpatchify on grey digits: cut, paste, compare. Which slip passes the test?",
    ["channels first", "inside", "outside", "none of them"],
)
grey

# %% [markdown] lang="en"
# A photograph, made small: 64 pixels, patches of 8. The last column swaps inside *and* outside.

# %%
import torch.nn.functional as F

from course_lib.data.photos import load_photos
from course_lib.data.video import to_float

photos = to_float(load_photos("test"))  # (2, 3, 256, 256), in no training
orders = {
    "right": "b (h w) (p q c) -> b c (h p) (w q)",
    "channels first": "b (h w) (c p q) -> b c (h p) (w q)",
    "inside": "b (h w) (q p c) -> b c (h p) (w q)",
    "outside": "b (w h) (p q c) -> b c (h p) (w q)",
    "both": "b (w h) (q p c) -> b c (h p) (w q)",
}

# %% [markdown] lang="en"
# Each pattern of `einops` reads the tokens in another order.

# %%
pasted = {}
for number, photo in zip(("cat", "flower"), F.avg_pool2d(photos, 4)[:, None], strict=True):
    cuts = cut.function(photo, 8)
    read = [rearrange(cuts, order, h=8, w=8, p=8, q=8) for order in orders.values()]
    pasted[number] = torch.cat(read)
wrong = {}
for name, order in orders.items():
    back = rearrange(cut.function(images, 4), order, h=8, w=8, p=4, q=4)
    wrong[name] = (back - images).abs().max().item()
grey.reveal(
    "channels first",
    explanation="Largest difference on grey digits: "
    + ", ".join(f"{name} {wrong[name]:.2g}" for name in list(orders)[1:]),
    picture=plots.film_strip(pasted, "Two photographs pasted in five orders.", titles=[*orders]),
)

# %% [markdown] lang="en"
# With one channel there is no order of channels, so a test on digits finds nothing. The slip waits for the
# first picture with four channels. How to recognise each:
#
# - *channels first*: the large shapes are there, but the colours are gone, and a fine weave covers every
#   patch;
# - *inside*: every patch is at its place and turned over its diagonal, so lines break at the edges of
#   patches;
# - *outside*: every patch is right, and stands on the other side of the diagonal;
# - *both*: a sharp, faultless picture, lying on its side. Only a picture whose up and down you know tells
#   you.
#
# Would a network mind? Not if *both* ends have the same slip from the first update on: a linear layer
# does not care in which order its inputs come. It minds when the order changes between training and use,
# as with weights from somebody else's code.
#
# ### Words, or vectors?
#
# Now the question of the section. In a language model a token is a **symbol**: one of K entries of a
# fixed list, the vocabulary (词表). Vectors of *patches* can be turned into symbols, too. One keeps a
# **codebook** (码本) of K vectors, and writes down for each patch the number of the nearest. This is
# **vector quantisation** (向量量化, VQ). The oldest way to find a good codebook is k-means (k 均值): every code
# becomes the mean of the patches that are nearest to it, again and again.
#
# Beside it the continuous way: $d$ numbers for each patch, by a linear layer, and the best linear way back,
# least squares. The best such layer is known in closed form; it keeps the $d$ principal axes (主成分). Both
# learn from five photographs and are judged on two others.

# %% budget_s=8
from course_lib.methods.codebook import fit_codebook, nearest_code, principal_axes

train, test = (
    cut.function(to_float(load_photos(part)), 4).flatten(0, 1) for part in ("train", "test")
)
rebuilt = {}
for K in (16, 64, 256, 1024):
    codes = fit_codebook(train, K, generator=torch.Generator().manual_seed(0))
    chosen = nearest_code(test, codes)
    rebuilt[f"{K} codes"] = codes[chosen]
mean, axes = principal_axes(train)
for d in (1, 2, 4, 8, 16, 32, 48):
    name, chosen_axes = f"{d} numbers" if d > 1 else "1 number", axes[:, :d]
    rebuilt[name] = mean + (test - mean) @ chosen_axes @ chosen_axes.T
errors = {name: (x - test).square().mean().sqrt().item() for name, x in rebuilt.items()}

# %% [markdown] lang="en"
# How often does a patch come twice?

# %%
print(f"{len(test)} patches of {test.shape[1]} numbers: {len(test.unique(dim=0))} are different")
print(f"with {K} codes: {len(chosen.unique())} are different")

# %% [markdown] lang="en"
# Not one of them comes twice. If patches are words, then each is said once, and never again. The codebook
# makes a language of them, and pays:

# %%
bits = {f"{K} codes": np.log2(K) for K in (16, 64, 256, 1024)}
bits |= {"1 number": 32} | {f"{d} numbers": 32 * d for d in (2, 4, 8, 16, 32, 48)}
print("     code of a patch | bits | error, in grey levels of 255")
for name, error in errors.items():
    print(f"{name:>20} | {bits[name]:4.0f} | {127.5 * error:9.3f}")

# %% [markdown] lang="en"
# The error is a root mean square over all pixels of both photographs. A number counts as 32 bits, as a
# float takes. Now look at it, close up.

# %%
names = ["16 codes", "1024 codes", "1 number", "2 numbers", "8 numbers", "48 numbers"]
cat = [paste.function(rebuilt[name][:4096][None], 4)[0] for name in names]
plots.film_strip(
    {"a cat's eye": torch.stack(cat)[..., 70:166, 60:156]},
    "Few codes: spots of wrong colour. Few numbers: flat squares. 48 numbers: no loss.",
    titles=names,
)

# %% [markdown] lang="en"
# Read the table with care, for the two are different bargains.
#
# - **The codebook is cheap.** A handful of bits for a whole patch. But 64 times as many codes lower the
#   error only slowly, and what no code was made for comes out in another colour. (Five photographs are
#   few. Real codebooks are trained on millions, and on the features of an encoder in place of raw
#   pixels.)
# - **The numbers are exact in the end.** One number is little more than the brightness, and worse than 16
#   codes. Each further one removes what it can, and at $d = p \cdot p \cdot C = 48$ nothing is left but
#   rounding.
#
# A DiT stands at the far end of the second list. Its width is never less than the numbers of a patch, so
# its embedding *can* be undone. Is it, after training? Take the digit network of chapter 5, and undo its
# first layer by least squares:

# %%
digits = DIGITS.load()
embed = digits.embed_patches
with torch.no_grad():
    embedded = embed(tokens)  # (6, 64, 128)
    back = (embedded - embed.bias) @ torch.linalg.pinv(embed.weight).T
    half = embed((tokens[0] + tokens[1]) / 2) - (embedded[0] + embedded[1]) / 2
print(f"{tokens.shape[2]} numbers in, {embedded.shape[2]} out, rank", end=" ")
print(torch.linalg.matrix_rank(embed.weight).item())
print(f"undone: largest difference {(back - tokens).abs().max():.1e}")
print(f"halfway between two patches: off the halfway token by {half.abs().max():.1e}")

# %% [markdown] lang="en"
# Undone without a loss. The last line says why diffusion needs it so: halfway between two tokens lies a
# token, and a patch with a little noise has a token nearby. Noise can be added and taken away in small
# portions. What would half of word 17 and half of word 802 be?
#
# > **A common belief:** "A patch is a visual word."
# >
# > *An image is worth 16x16 words* is the title of the ViT paper [Dosovitskiy et al. 2021], and it has
# > stuck. But a patch is looked up in no list. It is a vector of numbers, and any vector is allowed.
# > Between the two ends of the transformer there are vectors in both cases, so one word serves for both:
# > **a token of DiT is an element of a sequence, not a symbol of a vocabulary.** Words differ at the
# > ends. They come in through a table with K rows, and leave as K probabilities, trained with
# > cross-entropy (交叉熵). A DiT's tokens come in through a matrix and leave through a matrix, as numbers,
# > trained with squared error. Models that do draw pictures from a vocabulary exist: they need a codebook
# > first, and live with its error.
#
# ### What does a smaller patch cost?
#
# The cut is free, but what comes after it is not. Count in **multiply-accumulates** (乘加运算): one product and
# one sum. The papers' "Gflops" of DiT are billions of these, the products of attention among them
# [Peebles & Xie 2022, table 4, counted again in this course]. A latent of 32 x 32 in patches of 4 is 64
# tokens; in patches of 2 it is 256. All else stays: the same blocks, the same width.

# %%
halving = Slider(
    "7.halving",
    "DiT-XL goes from patches of 4 to patches of 2. How many times as many multiply-accumulates?",
    1,
    16,
    0.5,
)
halving

# %% [markdown] lang="en"
# The networks are built without memory for weights, and one call of each is counted. Nothing is computed.

# %%
from course_lib.evaluation.patches import published_cost
from course_lib.models.dit_variants import PATCH_SIZES, SIZES

costs = {size: {p: published_cost(size, p) for p in PATCH_SIZES} for size in SIZES}
work = {size: by[2].macs / by[4].macs for size, by in costs.items()}
weights = costs["XL"][2].parameters / costs["XL"][4].parameters
others = ", ".join(f"{size} {ratio:.2f}" for size, ratio in work.items())
halving.reveal(
    work["XL"],
    explanation=f"All four: {others}. Parameters: {weights:.4f} times as many.",
)

# %% [markdown] lang="en"
# Most layers do the same work for every token, so four times the tokens is four times the work. The
# products inside attention go with the *square* of the tokens, sixteen times. In a wide network they are
# a small part of the whole, so XL stays closer to 4 than S. And no weight knows how many tokens there
# are: the first and the last matrix change their size a little, nothing else does.
#
# Try all twelve. The pieces are cut by `cut.function`. A picture of 256 pixels stands behind the latent,
# so a patch of 2 is 16 pixels wide.

# %% budget_s=5
from course_lib.widgets.patch_sizes import PatchSizes

PatchSizes(photos[1], cut.function, cut.whose)

# %% [markdown] lang="en"
# Two sliders, two ways to spend. The network's size buys parameters *and* work; the patch buys work
# alone. Section 4 asks which of the two helps.
#
# The paper says that halving $p$ will *at least* quadruple the work [Peebles & Xie 2022, section 3.2].
# Look closer, at the step from 8 to 4, too, and at what is done once for a picture, however many tokens
# it has: coding the time, and the shifts, scales and gates of section 3.

# %%
print("           whole network | without what is done once | parameters")
for size, by in costs.items():
    for big, small in ((8, 4), (4, 2)):
        a, b = by[big], by[small]
        inner = (b.macs - b.macs_once) / (a.macs - a.macs_once)
        print(f"{size:>2}, {big} to {small}: {b.macs / a.macs:12.3f} | ", end="")
        print(f"{inner:25.3f} | {b.parameters / a.parameters:9.4f}")

# %% [markdown] lang="en"
# ### Claim panel
#
# | claim | measured here | label |
# |---|---|---|
# | Halving the patch size quadruples the tokens and at least quadruples the work [Peebles & Xie 2022, section 3.2] | the two columns above, for all four sizes | reproduced from 4 to 2; from 8 to 4 a little less than four times, since a share of the work is done once. Without that share at least four times everywhere |
# | It changes the number of parameters hardly at all [Peebles & Xie 2022, section 3.2] | the last column | reproduced, counted exactly |
# | Patches are treated like the words of a language model [Dosovitskiy et al. 2021, section 1] | inside the transformer yes; at its ends a matrix, no list: the digit network's embedding was undone | true of the sequence, not of a vocabulary |
#
# ### ViT and DiT, row by row
#
# The vision transformer, **ViT** (视觉 Transformer), cuts a picture up to say what is on it. DiT keeps its
# blocks and changes nearly everything around them:
#
# | | ViT [Dosovitskiy et al. 2021, section 3.1] | DiT [Peebles & Xie 2022, section 3.2] |
# |---|---|---|
# | 1. it sees | the pixels of a clean picture | a noisy latent, its time, a class |
# | 2. it adds | a **class token** (分类词元) in front | nothing |
# | 3. positions | a learned table | a fixed table, sines and cosines of row and column |
# | 4. blocks | pre-norm: norm, attention, norm, MLP | the same, with adaLN-Zero |
# | 5. its head | reads the class token: K scores | reads each token: the numbers of its patch |
# | 6. it answers | a list of scores | a picture exactly as large as what it saw |
#
# Now each row by itself. **Row 1.** At the top a photograph, as a ViT gets it. Below, its latent from
# section 1's autoencoder, four numbers at each place, and the same with noise, as a DiT gets it.

# %% budget_s=5
from course_lib.methods.latent import LatentSpace
from course_lib.methods.noise import add_noise
from course_lib.recipes.latent_autoencoder import AUTOENCODER

network = AUTOENCODER.load()
photo = photos[1:, :, 64:192, 64:192]  # (1, 3, 128, 128)
space = LatentSpace(lambda x: network.encode(x).mean, network.decode)
with torch.no_grad():
    z = space.measured(photo).encode(photo)  # (1, 4, 32, 32)
noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
z_t = add_noise(z, noise, SCHEDULE.alpha_bar(torch.tensor([300])).float())
print(f"pixels {tuple(photo.shape[1:])}, latent {tuple(z.shape[1:])}")

# %% [markdown] lang="en"
# In the top row stand the photograph's red, green and blue, and their mean; below, the latent's channels
# 1 to 4, from black at -2 to white at 2.

# %%
colours = F.avg_pool2d(photo, 2)[0, :, None]  # (3, 1, 64, 64), smaller for the page
plots.film_strip(
    {
        "ViT sees": torch.cat([colours, colours.mean(0, keepdim=True)]),
        "latent": z[0, :, None] / 2,
        "DiT sees": z_t[0, :, None] / 2,
    },
    "The channels of a photograph, of its latent, and of the noisy latent.",
    titles=["red; 1", "green; 2", "blue; 3", "mean; 4"],
)

# %% [markdown] lang="en"
# **Rows 2, 5 and 6.** A ViT of the size of our digit network, untrained, for rows 2, 5 and 6 are matters of
# shape. Follow a batch of six digits through both.

# %%
from course_lib.models.vit import ViT

torch.manual_seed(0)
vit, t = ViT(digits.config), torch.full((6,), 300)
with torch.no_grad():
    inside = {"ViT": vit.embed(images), "DiT": digits.embed(images, t, labels)[0]}
    answers = {"ViT": vit(images), "DiT": digits(images, t, labels)}
    seen = vit.transform(inside["ViT"])
    from_one = vit.head(seen[:, 0])  # the class token, and no other
for name, sequence in inside.items():
    print(f"{name}: {tuple(images.shape)} in, {tuple(sequence.shape)} inside, ", end="")
    print(f"{tuple(answers[name].shape)} out")
off = (from_one - answers["ViT"]).abs().max()
print(f"ViT's scores, from the class token alone: off by {off:.1e}")

# %% [markdown] lang="en"
# One token more in the ViT, and its scores are read from that one alone. In the DiT every patch must come
# out again, so every token has to answer. Its head works on each token by itself: give it one token
# without the others, and that patch of the answer stays the same.

# %%
from course_lib.models.dit_variants import PlainBlock, published

x = torch.randn(6, 64, 128, generator=torch.Generator().manual_seed(1))
condition = torch.randn(6, 128, generator=torch.Generator().manual_seed(2))
with torch.no_grad():
    whole, single = digits.final(x, condition), digits.final(x[:, 20:21], condition)
print(f"head: {tuple(x.shape)} to {tuple(whole.shape)}, 16 numbers for each patch of 4 x 4")
print(f"token 20 alone: off by {(single - whole[:, 20:21]).abs().max():.1e}")
print("pasted:", tuple(paste.function(whole, 4).shape), f"(unpatchify: {paste.whose})")
large = published("XL", 2)
print(f"DiT-XL/2 sees {large.in_channels} x {large.size} x {large.size} numbers,", end=" ")
print(f"and answers {large.out_channels} x {large.size} x {large.size}")

# %% [markdown] lang="en"
# (The published DiTs answer with twice as many channels as they see, for the noise and for the variance,
# of which section 5 speaks. Rows and columns stay.)
#
# **Row 3.** A transformer has no up and no left: to attention, a sequence is a heap. The position of a
# patch is added to its token. A ViT learns a vector for each place. DiT takes sines and cosines as
# chapter 3 did, but of two numbers: one half of the vector codes the column, the other one the row. How
# similar are the codes of two places? Below, the cosine of three of them with all 64, after the mean of
# all codes is taken away. Orange is more alike than the average, blue less:

# %%
table = digits.positions  # (64, 128)
trained = [name for name, _ in digits.named_parameters() if "position" in name]
print(f"trained tables of positions: DiT {len(trained)}, ViT", end=" ")
print(len([name for name, _ in vit.named_parameters() if "position" in name]))
unit = F.normalize(table - table.mean(0), dim=1)
places = {"row 0, column 0": 0, "row 3, column 4": 28, "row 7, column 2": 58}
heat_maps(
    {name: (unit @ unit[n]).reshape(8, 8).numpy() for name, n in places.items()},
    "Each place is most similar to itself, then to its neighbours in its row and column.",
)

# %% [markdown] lang="en"
# Each place is most like itself, then like its neighbours, and the likeness reaches further along its own
# row and column than on the slant. Nearness is written into the codes before anything is trained. What is
# it good for? Cut a noisy digit, shuffle the patches, and let the network guess.

# %%
shuffle = Choice(
    "7.shuffle",
    "The table of positions is set to zero, and the patches of the noisy picture are shuffled. What "
    "does the network answer?",
    [
        "the same answer as without shuffling",
        "the same patches of the answer, shuffled alike",
        "something else altogether",
    ],
)
shuffle

# %% [markdown] lang="en"
# Both ways to compare: with the trained network's table, and with zeros in its place.

# %%
noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
x_t = add_noise(images, noise, SCHEDULE.alpha_bar(t).float())
order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
shuffled = paste.function(cut.function(x_t, 4)[:, order], 4)
off, guesses, kept = {}, {"noisy": x_t}, table.clone()
with torch.no_grad():
    for name, positions in {"with table": kept, "without": 0 * kept}.items():
        digits.positions.copy_(positions)
        alike = cut.function(digits(x_t, t, labels), 4)[:, order]
        off[name] = (cut.function(digits(shuffled, t, labels), 4) - alike).abs().max()
        guesses[name] = digit_denoiser(digits, labels)(x_t, t).x0_hat.clamp(-1, 1)
    digits.positions.copy_(kept)

# %% [markdown] lang="en"
# The answer, and what the network makes of the digits in their right order, with its table and without.

# %%
shuffle.reveal(
    shuffle.options[1],
    explanation="Largest difference to the shuffled answer: without the table "
    f"{off['without']:.1e}, with it {off['with table']:.1f}.",
    picture=plots.film_strip(
        guesses, "Noisy digits, guessed with and without the table.", titles=labels.tolist()
    ),
)

# %% [markdown] lang="en"
# Without the table the network is *equivariant* (等变): shuffle what goes in, and what comes out is
# shuffled alike. A stroke above and a stroke below are then one and the same, and the guess is gone: this
# network was trained with the table, and all it knows rests on it. In a ViT's *scores* the order would
# vanish altogether, since the class token only sums up what it sees.
#
# **Row 4.** Last the blocks. Both are fresh here, as they are before training.

# %%
import inspect

from course_lib.models.dit import DiT

torch.manual_seed(0)
fresh, plain = DiT(digits.config).blocks[0], PlainBlock(digits.config)
late = torch.full((6,), 900)
with torch.no_grad():
    print(f"fresh plain block moves a token by up to {(plain(x) - x).abs().max():.2f}")
    print(f"fresh adaLN-Zero block by {(fresh(x, condition) - x).abs().max():.2f}")
    early, later = (digits(x_t, step, labels) for step in (t, late))
    print(f"trained DiT, t 300 or 900: answers differ by up to {(early - later).abs().max():.2f}")
for name, block in {"plain block": plain, "adaLN-Zero block": fresh}.items():
    print(f"{name} takes {', '.join(inspect.signature(block.forward).parameters)}")

# %% [markdown] lang="en"
# A plain block has no ear for time or class: what it should know has to stand among its tokens. DiT's
# block listens to a second input, and before training it does nothing at all, exactly. Why that is
# wanted, and how a norm can carry a message, is the next section.

# %% [markdown] lang="en"
# ## 3. What is adaptive layer norm?
#
# A DiT sees patches. Two more things it has to be told: the step $t$, for a guess of the noise depends on
# how much there is, and the class. Where does one tell a transformer such things? Peebles and Xie tried
# four ways [2022, section 3.2]:
#
# - **in-context** (上下文条件): time and class become two more tokens in the row, and are dropped after the
#   last block;
# - **cross-attention** (交叉注意力): each block has a second attention, in which the patches look at time
#   and class;
# - **adaptive layer norm** (自适应层归一化), **adaLN**: time and class are added up to *one* vector, and that
#   vector turns two knobs of every layer norm;
# - **adaLN-Zero**: the same with a third knob, a gate, and all three begin at 0.
#
# We have trained small networks of all four on digits, with equally many updates and the same noise. The
# answer comes later in this section. Your guess comes now.

# %%
best_way = Choice(
    "7.conditioning",
    "Four networks, 1,500 updates each, the same digits and the same noise. Which one guesses the "
    "noise of new digits best?",
    [
        "in-context",
        "cross-attention",
        "adaLN",
        "adaLN-Zero",
        "all alike: another seed changes more",
    ],
)
best_way

# %% [markdown] lang="en"
# ### A layer norm, by hand
#
# A **layer norm** (层归一化) looks at one token at a time. It takes away the mean of its numbers and divides
# by their standard deviation. Here is a token of four numbers.

# %%
import torch.nn.functional as F

token = torch.tensor([1.0, 2.0, 3.0, 6.0])
middle, spread = token.mean(), token.std(correction=0)
print(f"mean {middle:.2f}, standard deviation {spread:.2f}")
shown = {
    "by hand": (token - middle) / spread,
    "torch": F.layer_norm(token, (4,)),
    "torch, of 10 x + 5": F.layer_norm(10 * token + 5, (4,)),
}
for name, numbers in shown.items():
    print(f"{name:>18}: {numbers.numpy().round(3)}")

# %% [markdown] lang="en"
# All three lines agree. In the last one the token was ten times as large and moved by 5, and the norm has
# forgotten both. It keeps the *pattern* of a token, and throws away its level and its size. That is its
# purpose: whatever piles up in a deep network, attention and MLP always get numbers of the same size.
#
# A vision transformer then gives each channel a level and a size back: a learned factor and a learned
# offset, the norm's own **affine** (仿射) part. These are the same for every picture. A DiT removes them.

# %%
from torch import nn

from course_lib.models.dit import plain_norm

for name, norm in {"a ViT's norm": nn.LayerNorm(128), "a DiT's norm": plain_norm(128)}.items():
    print(f"{name}, 128 channels: {sum(w.numel() for w in norm.parameters())} numbers of its own")

# %% [markdown] lang="en"
# In their place come numbers that *depend on the condition*. Let $c$ be one vector for time and class. Then
#
# $$(\text{shift}, \text{scale}) = W\,\mathrm{SiLU}(c) + b, \qquad
# \mathrm{adaLN}(x, c) = \mathrm{LN}(x)\,(1 + \text{scale}) + \text{shift},$$
#
# a shift and a scale for each channel. The 1 is there so that a scale of 0 changes nothing.
#
# ### Your turn: modulate
#
# Write the second half. `x` holds tokens (B, N, D) that are already normalised. `shift` and `scale` are
# (B, D): one row for each picture, used by all N tokens of it.


# %% tags=["exercise"]
def modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Normalised tokens times (1 + scale) plus shift, with one shift and one scale for all tokens of an example."""
    # SOLUTION
    return x * (1 + scale[:, None]) + shift[:, None]
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# One line. Write the formula first, then compare the shapes: (B, N, D) and (B, D). Which axis is missing?

# %% [markdown] lang="en" tags=["hint"]
# The tokens' axis is the middle one. `scale[:, None]` has the shape (B, 1, D), and a 1 is stretched to N.
# With as many pictures as tokens, `x * scale` runs without an error, and does something else.

# %% [markdown] lang="en" tags=["hint"]
# `x * (1 + scale[:, None]) + shift[:, None]`.

# %% [markdown] lang="en"
# *Difficulty: easy, 4 minutes.*

# %%
modulate_verdict = check.modulate(modulate)
modulate_verdict

# %% [markdown] lang="en"
# What does it do to a picture? Sixty tokens of eight numbers, normalised, and two conditions. You see the
# first two numbers of each token; two tokens are coloured.

# %%
from course_lib.widgets.conditionings import clouds

dice = torch.Generator().manual_seed(4)
cloud = F.layer_norm(torch.randn(1, 60, 8, generator=dice), (8,))
panels = {"normalised": cloud[0, :, :2]}
for name in ("condition A", "condition B"):
    shift, scale = 0.9 * torch.randn(2, 1, 8, generator=dice)
    panels[name] = modulate_verdict.function(cloud, shift, scale)[0, :, :2]
print(f"modulate: {modulate_verdict.whose}")
clouds(
    panels,
    "A cloud of tokens, and the same cloud moved and stretched as a whole by two conditions.",
)

# %% [markdown] lang="en"
# The cloud moves and stretches *as a whole*. Each condition is one function, and every token of the picture
# gets the same one. Keep that in mind: it is why adaLN is cheap, and what it cannot do.
#
# ### The gate
#
# A block of a transformer adds to its tokens what attention finds, then what the MLP finds: $x + f(x)$, a
# **residual connection** (残差连接). AdaLN-Zero puts a third knob there, a **gate** (门控), again one number for
# each channel:
#
# $$x \leftarrow x + \text{gate}_1 \cdot \mathrm{Attention}(\mathrm{adaLN}_1(x, c)), \qquad
# x \leftarrow x + \text{gate}_2 \cdot \mathrm{MLP}(\mathrm{adaLN}_2(x, c)).$$
#
# So a linear layer of the block, its **modulation**, makes six vectors out of $c$. Here is a whole block by
# hand, with your `modulate`, beside the library's.

# %%
from course_lib.models.dit import AdaLNZeroBlock, DiTConfig

torch.manual_seed(0)
block, x, c = AdaLNZeroBlock(DiTConfig(dim=64)), torch.randn(2, 16, 64), torch.randn(2, 64)
with torch.no_grad():
    shift1, scale1, gate1, shift2, scale2, gate2 = block.modulation(F.silu(c)).chunk(6, -1)
    seen = modulate_verdict.function(block.norm1(x), shift1, scale1)
    middle = x + gate1[:, None] * block.attention(seen)
    seen = modulate_verdict.function(block.norm2(middle), shift2, scale2)
    by_hand = middle + gate2[:, None] * block.mlp(seen)
    print(f"six vectors of shape {tuple(gate1.shape)} out of c {tuple(c.shape)}")
    print(f"difference to the library's block: {(by_hand - block(x, c)).abs().max():.1e}")

# %% [markdown] lang="en"
# ### Why zero
#
# The modulation of this block was random. In a DiT both its weight and its bias begin at 0, and so do all six
# vectors, for every $c$. With the gates at 0, a block adds nothing: it is the **identity** (恒等映射). The
# last layer begins at 0, too.

# %%
from course_lib.recipes.dit_start import untrained

network = untrained(dim=128, patch_size=4)
x = torch.randn(8, 1, 32, 32, generator=dice)
t, label = torch.arange(0, 800, 100), torch.arange(8)
with torch.no_grad():
    tokens, conditions = network.embed(x, t, label)
    changed = (network.blocks[0](tokens, sum(conditions)) - tokens).abs().max()
    answer = network(x, t, label)
print(f"largest change of a token by the first block: {changed}")
print(f"largest number in the network's answer: {answer.abs().max()}")

# %% [markdown] lang="en"
# Both are 0, not nearly 0. An untrained DiT says "there is no noise" to every picture. The noise has variance
# 1, so its squared error is 1, the same for every seed.
#
# What would another start do? Stack 28 blocks, as many as DiT-XL has, and send tokens of size 1 through them,
# with a condition of ordinary size. Four starts: adaLN-Zero's; a modulation that is random like any other
# layer; the gates at 1; and adaLN, which has no gates.

# %%
deep = lambda **how: untrained(depth=28, **how).blocks
stacks = {"adaLN-Zero": deep(), "random modulation": deep(), "gates at 1": deep()}
stacks["adaLN, no gates"] = deep(conditioning="adaLN")
c = torch.randn(4, 64, generator=dice)  # a condition of ordinary size, for four pictures
for block in stacks["random modulation"]:
    nn.init.xavier_uniform_(block.modulation.weight)
for block in stacks["gates at 1"]:
    block.modulation.bias.data.view(6, -1)[[2, 5]] = 1.0

# %% [markdown] lang="en"
# After each block: the size of the tokens (root mean square). At the end: how much they still resemble the
# tokens that went in, as the cosine between the two.

# %%
start, sizes = torch.randn(4, 64, 64, generator=dice), {}
for name, blocks in stacks.items():
    x, sizes[name] = start, [start.square().mean().sqrt()]
    with torch.no_grad():
        for block in blocks:
            x = block(x, c)
            sizes[name].append(x.square().mean().sqrt())
    print(f"{name:>18}: cosine {torch.cosine_similarity(x.flatten(), start.flatten(), dim=0):.2f}")
plots.curves(
    range(29),
    sizes,
    "Through 28 untrained blocks tokens keep their size with adaLN-Zero, and grow without gates.",
    xlabel="blocks passed",
    ylabel="size of the tokens",
)

# %% [markdown] lang="en"
# With gates at 1, or without gates, every block adds something random, and the tokens grow. What is worse: at the end
# little is left of the picture that went in. Most of what the last layer gets is the blocks' own chatter, and training
# has to undo it first. A network that guesses noise needs its noisy input to the very end, for most of the answer is
# in it. With adaLN-Zero it arrives untouched.
#
# The orange line says something else: gates have to be *small*, and exactly 0 is only the smallest. Now look at the
# condition that a real DiT begins with. Its time and its class are coded by very small random numbers.

# %%
with torch.no_grad():
    embedded = untrained().embed(torch.zeros(4, 1, 32, 32), torch.arange(0, 1000, 250), label[:4])
    x, whisper = start, sum(embedded[1])  # time and class
    for block in stacks["random modulation"]:
        x = block(x, whisper)
alike = torch.cosine_similarity(x.flatten(), start.flatten(), dim=0)
print(f"size of the condition: {c.square().mean().sqrt():.2f} above, ", end="")
print(f"{whisper.square().mean().sqrt():.3f} in an untrained DiT")
print(
    f"random modulation, DiT's condition: size {x.square().mean().sqrt():.3f}, cosine {alike:.4f}"
)

# %% [markdown] lang="en"
# The condition of an untrained DiT is a whisper. A random modulation, biases at 0, makes gates close to 0 of it as
# well. So do not expect wonders of the exact zero; expect them of gates that begin closed.
#
# ### A closed gate that learns
#
# If a gate is 0, is everything behind it cut off? Write a block as $x + g \cdot f(x)$, and let $\delta$ be the
# gradient that arrives from above. Then
#
# $$\frac{\partial L}{\partial g} = \delta \cdot f(x), \qquad
# \frac{\partial L}{\partial (\text{weights of } f)} = g \cdot \delta \cdot \frac{\partial f}{\partial
# (\text{weights of } f)}.$$
#
# With $g = 0$ the second is 0: attention and MLP learn nothing yet. The first is not, as long as $f(x)$ is not
# 0. So the gates learn first, and once they are open a crack, the rest follows.
#
# ### Your turn: begin as the identity
#
# `block` is an `AdaLNZeroBlock` whose weights are all random. Change it in place, so that it is the identity for
# every condition, and yet learns from the first update. Its modulation is the linear layer
# `block.modulation`. Attention and MLP have to stay as they are. Why?


# %% tags=["exercise"]
def start_as_identity(block: torch.nn.Module) -> None:
    """Let an AdaLNZeroBlock begin as the identity, with everything that it needs to learn."""
    # SOLUTION
    torch.nn.init.zeros_(block.modulation.weight)
    torch.nn.init.zeros_(block.modulation.bias)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# What a block adds is a product. Which are its two factors? One of them has to be 0. What if both were? Read the two
# gradients above again.

# %% [markdown] lang="en" tags=["hint"]
# The six vectors are `modulation(F.silu(c))`. They are 0 for *every* condition if the weight is 0 and the bias
# is 0.

# %% [markdown] lang="en" tags=["hint"]
# `torch.nn.init.zeros_(block.modulation.weight)`, the same for `.bias`, and nothing else. It writes in place.

# %% [markdown] lang="en"
# *Difficulty: medium, 5 minutes.*

# %%
identity_verdict = check.start_as_identity(start_as_identity)
identity_verdict

# %% [markdown] lang="en"
# Now it begins a small DiT, and we watch the first updates on digits: how long is the gradient of each part? The
# modulations are random before your function gets them.

# %% budget_s=8
from course_lib.recipes.dit_start import PARTS, first_updates

network = untrained()
for block in network.blocks:
    nn.init.xavier_uniform_(block.modulation.weight)
    identity_verdict.function(block)
yours = list(first_updates(network, 60))
print(f"start_as_identity: {identity_verdict.whose}")
print(" " * 16 + "".join(f"{f'update {n}':>10}" for n in (1, 2, 3, 4)))
for part in PARTS:
    lengths = [update.gradients[part] for update in yours[:4]]
    print(f"{part:>15}:" + "".join(f"{size:>10.0e}" if size else f"{0:>10}" for size in lengths))

# %% [markdown] lang="en"
# The gradient comes in three waves. In update 1 it stops at the last layer, which is 0. In update 2 that layer
# passes it on. It runs through all blocks as through open doors, for they are the identity, and reaches the patch
# embedding and the gates. From update 3 on, the gates are open a crack and everything learns: attention and MLP,
# shift and scale, and at last the vectors of time and class. Only exact zeros are printed as 0.
#
# ### Break it: two zeros
#
# A careful colleague wants to be safe twice: the modulation begins at 0, *and* the last layer of attention and of
# MLP does. Each of the two alone makes a block the identity, and lets it learn. Both together? Decide before you run it.

# %% budget_s=8
dead = untrained()
for block in dead.blocks:
    for layer in (block.attention.out, block.mlp[2]):
        nn.init.zeros_(layer.weight)
before = [weight.detach().clone() for weight in dead.blocks.parameters()]
twice = list(first_updates(dead, 60))
pairs = zip(dead.blocks.parameters(), before, strict=True)
moved = max((now - then).abs().max().item() for now, then in pairs)
print(f"largest change of any weight of any block in 60 updates: {moved}")
for name, run in {"your start": yours, "two zeros": twice}.items():
    print(f"{name:>10}: loss of the first update {run[0].loss:.2f}, ", end="")
    print(f"mean of the last ten {sum(update.loss for update in run[-10:]) / 10:.2f}")

# %% [markdown] lang="en"
# Here are the gates of both, after each update.

# %%
plots.curves(
    range(1, 61),
    {
        "your start": [update.gates for update in yours],
        "two zeros": [update.gates for update in twice],
    },
    "Gates rise within twenty updates and fall again; with two zeros they stay at 0.",
    xlabel="update",
    ylabel="mean size of the gates",
    ylim=(-0.01, None),
)

# %% [markdown] lang="en"
# Nothing in the blocks has moved, and nothing ever will: $\partial L / \partial g = \delta \cdot 0$, and the other
# gradient is $0 \cdot \delta$. No update leads out of this. There is no error message, and the loss does not
# give it away either. It falls as with your start, because the patch embedding and the last layer learn, and sixty
# updates are mostly theirs. What you have looks like a network that trains, and is a network without blocks.
#
# ### Gates over a whole training
#
# The blue line goes up and comes down again. These were 60 updates of a small network. The trained ones have twice as
# many channels, patches half as large, a learning rate that begins low, and 1,500 updates. Draw the mean size of all
# their gates.

# %%
from course_lib.widgets.curve import Curve

gates = Curve(
    "7.gates",
    "The gates begin at 0. How large are they on the way, as a mean over all blocks, classes and "
    "steps?",
    (150, 300, 600, 900, 1500),
    ["adaLN-Zero"],
    0,
    0.5,
    xlabel="updates",
    ylabel="mean size of the gates",
)
gates

# %% [markdown] lang="en"
# The histories of three trainings have them, block by block, every 150 updates.

# %%
from course_lib.recipes.dit_conditioning import MEMBERS
from course_lib.training.member import results_of

runs = {cell: results_of(recipe) for cell, recipe in MEMBERS.items()}
history = [runs["adaLN-Zero", seed]["history"] for seed in range(3)]
updates = [row["step"] for row in history[0]]
sizes = torch.tensor([[[row[f"gate_{k}"] for k in range(4)] for row in rows] for rows in history])
sizes = torch.cat([torch.zeros(3, 1, 4), sizes], 1)  # (seeds, points, blocks), from the start on
ends = lambda x: (x.mean(0), x.amin(0), x.amax(0))  # over the seeds

# %% [markdown] lang="en"
# The answer draws your curve, and below it the gates of each block: the mean of three seeds, in a band from the smallest
# to the largest of them.

# %%
asked = [1 + updates.index(int(place)) for place in gates.places]
gates.reveal(
    {"adaLN-Zero": tuple(edge[asked].tolist() for edge in ends(sizes.mean(2)))},
    explanation="The intervals go from the smallest to the largest of three seeds.",
    picture=plots.curves(
        [0, *updates],
        {f"block {k + 1}": ends(sizes[:, :, k]) for k in range(4)},
        "Gates of four blocks over a training: up from 0, down by a third to a half, then level.",
        xlabel="updates",
        ylabel="mean size of the gates",
        ylim=(0, None),
    ),
)

# %% [markdown] lang="en"
# The gates open wide at once, close again by a third to a half, and stay there. They do not grow to 1. A small gate is no
# small contribution: attention and MLP learn, too, and what counts is the product. At the end of training
# (seed 0) what a block adds is, beside the tokens that it gets,
# {{dit_pairs.metrics.share_adaln_zero_0_block_0.value:.2f}} times as large in the first block, then
# {{dit_pairs.metrics.share_adaln_zero_0_block_1.value:.2f}},
# {{dit_pairs.metrics.share_adaln_zero_0_block_2.value:.2f}} and
# {{dit_pairs.metrics.share_adaln_zero_0_block_3.value:.2f}}. So "zero" is where the gates begin, and they have
# left it for good after a few updates.
#
# ### The four, on one plot
#
# Now the comparison. All networks have the same width, depth, patches, data, noise and number of updates.
# In-context and adaLN-Zero were trained from three seeds, a thin line and a dot each. The losses are measured on
# held-out digits, with the same noise for all. The paper's figures are FIDs of DiT-XL/2 on ImageNet after 400,000
# updates [Peebles and Xie 2022, table 4]. In each panel, less is better.

# %%
from course_lib.data import dit_paper
from course_lib.recipes.dit_conditioning import CONDITIONINGS
from course_lib.widgets.conditionings import compared

of_way = {way: [runs[c] for c in runs if c[0] == way] for way in reversed(CONDITIONINGS)}
finals = {
    way: [tuple(run["metrics"]["loss"].values()) for run in members]
    for way, members in of_way.items()
}
ours = {way: np.mean([loss[0] for loss in losses]) for way, losses in finals.items()}

# %% [markdown] lang="en"
# The dots' intervals are over held-out digits.

# %%
best_way.reveal(
    min(ours, key=ours.__getitem__),
    explanation="Held-out losses, means over the seeds that there are: "
    + ", ".join(f"{way} {loss:.4f}" for way, loss in ours.items()),
    picture=compared(
        updates,
        {w: [[row["loss"] for row in run["history"]] for run in of_way[w]] for w in of_way},
        finals,
        {way: dit_paper.CONDITIONINGS[way][2] for way in of_way},
        "Held-out loss over updates and at the end for four conditionings, and the paper's FID.",
    ),
)

# %% [markdown] lang="en"
# AdaLN-Zero is ahead from the first point to the last. The order of the other three depends on where you stop: adaLN is
# the last of all at 600 updates, and the second at 1,500.
#
# What do they cost? Multiply-accumulates and parameters, ours in millions, the paper's in
# billions and millions.

# %%
print(f"{'':>16} {'ours: loss':>10} {'mult-acc':>9} {'weights':>8}", end="")
print(f" | {'paper: FID':>10} {'mult-acc':>9} {'weights':>8}")
for way, several in of_way.items():
    counted = [several[0]["metrics"][key]["value"] for key in ("mega_macs", "parameters")]
    billions, millions, fid = dit_paper.CONDITIONINGS[way]
    print(f"{way:>16} {ours[way]:>10.4f} {counted[0]:>9.1f} {counted[1] / 1e6:>8.2f}", end="")
    print(f" | {fid:>10.2f} {billions:>9.2f} {millions:>8}")

# %% [markdown] lang="en"
# AdaLN-Zero costs next to nothing in multiplications, for its modulation runs once for each picture, not for each
# token. It does cost parameters: a large linear layer in every block. So the comparison is fair in updates and
# nearly fair in multiply-accumulates, and it is not fair in parameters: the winner has the most, in the paper, too.
#
# ### More than luck?
#
# Look at the dots of the middle panel again. Their intervals overlap. Does that mean that nothing was found? No:
# such an interval is mostly about the *digits* and their noise levels, for some are hard for every network. All networks
# saw the same digits with the same noise at the same steps, so compare them in **pairs** (配对比较): subtract digit by
# digit, and ask how sure the mean of the differences is.

# %%
from course_lib.recipes.dit_pairs import PAIRS

paired = results_of(PAIRS)["metrics"]
at = lambda key: tuple(paired[key].values())
to_zero = {f"in-context, seed {k}": at(f"minus_in_context_{k}") for k in range(3)}
to_zero["adaLN, seed 0"] = at("minus_adaln_0")
to_zero["cross-attention, seed 0"] = at("minus_cross_attention_0")
ways = {"adaLN-Zero": "adaln_zero", "in-context": "in_context"}
seeds = {
    f"{way}, seed {pair[1]} less {pair[0]}": at(f"seeds_{name}_{pair}")
    for way, name in ways.items()
    for pair in ("01", "02", "12")
}

# %% [markdown] lang="en"
# Above, each network less adaLN-Zero of the same seed. Below, one network less *itself* with another seed: nothing
# but the random numbers at its start and the order of its digits is different.

# %%
from course_lib.widgets.conditionings import differences

differences(
    {"less adaLN-Zero": to_zero, "less another seed": seeds},
    "Differences of held-out loss in pairs: to adaLN-Zero, and between seeds of one conditioning.",
    xlabel="difference of held-out loss",
)

# %% [markdown] lang="en"
# Paired, the intervals are narrow, and here lies a trap. A pair of *networks* can be told apart with certainty even
# if they differ in nothing but the seed: seed 1 of adaLN-Zero is worse than its two sisters, and neither interval holds
# 0. "Significant over digits" only says that these two networks differ. Whether two *conditionings* differ is a question about seeds. Over
# three seeds, in-context less adaLN-Zero is {{dit_pairs.metrics.over_seeds_in_context.value:.4f}}, with an interval of
# {{dit_pairs.metrics.over_seeds_in_context.low:.4f}} to {{dit_pairs.metrics.over_seeds_in_context.high:.4f}}. For
# adaLN and cross-attention we have a single seed each; read their differences beside the lower half of the figure.
#
# Where does the difference come from? In the quarter of the steps with the least noise, in-context is behind by
# {{dit_pairs.metrics.minus_in_context_0_quarter_1.value:.4f}}, in the quarter with the most by
# {{dit_pairs.metrics.minus_in_context_0_quarter_4.value:.4f}} (seed 0). And what do the networks make of the class? If
# we tell them "no class", the loss rises by {{dit_pairs.metrics.hidden_adaln_zero_0.value:.5f}} for adaLN-Zero and by
# {{dit_pairs.metrics.hidden_in_context_0.value:.5f}} for in-context, a hundredth of the loss and less. So early this is
# hardly a comparison of how a *class* is told. The samples are not legible yet: the classifier reads a share of
# {{dit_adaln_zero_0.metrics.read.value:.2f}} as asked (adaLN-Zero, seed 0), and guessing would give .10. That is why no
# FID of ours stands beside the paper's.

# %% [markdown] lang="en"
# ### What can each of them carry?
#
# You often read that one of these makes a network "multimodal" (多模态). None does. A condition of any kind has to
# become vectors of the network's width first, and whoever makes these vectors does the multimodal part. A
# class, an action, a frame:

# %%
from course_lib.models.dit import patchify

torch.manual_seed(1)
frame, action = torch.randn(1, 1, 32, 32), torch.tensor([[0.3, -0.7]])
made = {
    "a class, out of a table": nn.Embedding(11, 64)(torch.tensor([3]))[:, None],
    "an action, two numbers": nn.Linear(2, 64)(action)[:, None],
    "a frame, in patches": nn.Linear(64, 64)(patchify(frame, 8)),
}
for name, vectors in made.items():
    print(f"{name:>24}: {tuple(vectors.shape)}")

# %% [markdown] lang="en"
# The conditionings differ in what they do with the result. Attention takes a *sequence* of any length. AdaLN takes
# *one* vector; several have to be added up. What is lost in a sum? Take the codes of five frames, each with the code
# of its place in time, and exchange the first two frames.

# %%
from course_lib.models.dit_variants import CrossAttentionBlock, PlainBlock

torch.manual_seed(2)
config, draw = DiTConfig(dim=64), lambda n: torch.randn(1, n, 64, dtype=torch.float64)
adaln, cross = AdaLNZeroBlock(config).double(), CrossAttentionBlock(config).double()
plain, patches = PlainBlock(config).double(), draw(16)
answers = {
    "adaLN-Zero": lambda seen: adaln(patches, seen.sum(1)),
    "cross-attention": lambda seen: cross(patches, seen),
    "in-context": lambda seen: plain(torch.cat([patches, seen], 1))[:, :16],
}

# %% [markdown] lang="en"
# By how much does a block's answer change, at most, when the two frames are exchanged?

# %%
frames, places, order = draw(5), draw(5), [1, 0, 2, 3, 4]
with torch.no_grad():
    for name, answer in answers.items():
        without = answer(frames) - answer(frames[:, order])
        with_places = answer(frames + places) - answer(frames[:, order] + places)
        print(f"{name:>16}: without places {without.abs().max():.3f}, ", end="")
        print(f"with places {with_places.abs().max():.3f}")

# %% [markdown] lang="en"
# Without places nobody sees the exchange: attention, too, takes its tokens as a heap. With places, attention does,
# and adaLN cannot, whatever code is added: the sum is the same. It carries a vector, and the others carry a sequence.
#
# The second difference is *where* a condition works. Give two patches the same numbers, and try a hundred conditions.

# %%
patches[:, 7] = patches[:, 3]
conditions, gap = [draw(5) for _ in range(100)], dict.fromkeys(answers, 0.0)
with torch.no_grad():
    for name, answer in answers.items():
        after = [answer(seen) for seen in conditions]
        gap[name] = max((x[:, 7] - x[:, 3]).abs().max().item() for x in after)
print("largest difference:", ", ".join(f"{name} {value:.0e}" for name, value in gap.items()))

# %% [markdown] lang="en"
# With adaLN two equal patches stay equal, whatever the condition: one function for all. But with the others, too!
# A patch has no place but the code that was added to it at the start, and nothing in a block can make a difference of
# two equal things. So look at *different* patches: what does a condition bring to each of them?

# %%
with torch.no_grad():
    shift = adaln.modulation(F.silu(conditions[0].sum(1)))[:, None, :64]
    brought = {
        "adaLN's shift": shift.expand(-1, 16, -1),
        "cross-attention": cross.cross_attention(cross.norm2(patches), conditions[0]),
    }
for name, what in brought.items():
    spread = what.std(1).mean() / what.square().mean().sqrt()
    print(f"{name:>16}: varies over the patches by {spread:.2f} of its size")

# %% [markdown] lang="en"
# AdaLN brings every patch the same. In cross-attention each patch asks with its own query, so what the condition
# brings depends on who asks: a word, or a frame, can speak to *some* patches. The same holds in context.
#
# And the price? One block of DiT-XL/2 with 256 patches, and 2, 5 or 50 condition tokens:

# %%
from functools import partial

from course_lib.evaluation.cost import multiply_accumulates
from course_lib.models.dit_variants import published

config, cost = published("XL", 2), lambda call: f"{multiply_accumulates(call) / 1e9:.3f}"
with torch.device("meta"):  # shapes without numbers: only the products are counted
    adaln, cross, plain = AdaLNZeroBlock(config), CrossAttentionBlock(config), PlainBlock(config)
    for number in (2, 5, 50):
        x, seen = torch.zeros(1, 256, config.dim), torch.zeros(1, number, config.dim)
        in_context = cost(partial(plain, torch.cat([x, seen], 1)))
        print(f"{number:>2} condition tokens, billions: in-context {in_context}, ", end="")
        print(f"cross-attention {cost(partial(cross, x, seen))}, ", end="")
        print(f"adaLN-Zero {cost(partial(adaln, x, seen.sum(1)))}")

# %% [markdown] lang="en"
# With two tokens in-context costs hardly more than adaLN-Zero. With fifty it has overtaken cross-attention: every
# token of the condition goes through every layer, where in cross-attention it is only looked at. AdaLN-Zero does not
# care, because it has added them up.
#
# ### And a video model?
#
# The past is a sequence of pictures with places, so adaLN cannot carry it. The time $t$ is a single number that
# concerns all tokens alike, and adaLN is made for that. Our two video networks do both. Chapter 5's stacks the past
# on channels, the latent one of section 5 puts it in context.

# %%
from course_lib.models.dit import VideoDiT, VideoDiTConfig
from course_lib.models.latent_dit import LatentDiT, LatentDiTConfig

pixel, latent = (
    VideoDiT(VideoDiTConfig()),
    LatentDiT(LatentDiTConfig(dim=160, depth=5, num_heads=5)),
)
t = torch.zeros(1, dtype=torch.int64)
stacked, told = pixel.dit.embed(torch.zeros(1, 3 + 9, 32, 32), t, None)
future, _ = latent.dit.embed(torch.zeros(1, 9 * 4, 8, 8), t, None)
past = latent.embed_context(patchify(torch.zeros(1, 3 * 4, 8, 8), 2))
print(
    f"past on channels: 3 + 9 frames in {tuple(stacked.shape)}; t {tuple(told[0].shape)}, by adaLN"
)
print(f"past in context: future {tuple(future.shape)} and past {tuple(past.shape)} in one row")

# %% [markdown] lang="en"
# On channels the past is nearly free: the number of tokens is the future's, and each token gets what *its own place* has
# shown. In context the past doubles the tokens, and every place can look at every place of the past. Both are common
# in video prediction, and both tell $t$ by adaLN.
#
# ### Claim panel
#
# | claim | measured here | label |
# |---|---|---|
# | AdaLN-Zero is far better than in-context: FID 19.47 against 35.24 [Peebles and Xie 2022, table 4] | held-out loss, seeds 0, 1, 2: adaLN-Zero {{dit_adaln_zero_0.metrics.loss.value:.4f}}, {{dit_adaln_zero_1.metrics.loss.value:.4f}}, {{dit_adaln_zero_2.metrics.loss.value:.4f}}; in-context {{dit_in_context_0.metrics.loss.value:.4f}}, {{dit_in_context_1.metrics.loss.value:.4f}}, {{dit_in_context_2.metrics.loss.value:.4f}}; difference over seeds {{dit_pairs.metrics.over_seeds_in_context.value:.4f}} ({{dit_pairs.metrics.over_seeds_in_context.low:.4f}} to {{dit_pairs.metrics.over_seeds_in_context.high:.4f}}) | same direction, in every seed; by the loss, for our samples are too young for a FID |
# | Beginning as the identity matters: adaLN-Zero is better than adaLN, 19.47 against 25.21 [Peebles and Xie 2022, section 3.2] | one seed: adaLN's loss is higher by {{dit_pairs.metrics.minus_adaln_0.value:.4f}} ({{dit_pairs.metrics.minus_adaln_0.low:.4f}} to {{dit_pairs.metrics.minus_adaln_0.high:.4f}} over digits). The two differ in more than the start: adaLN has no gates, and {{dit_adaln_0.metrics.parameters.value:,.0f}} parameters against {{dit_adaln_zero_0.metrics.parameters.value:,.0f}} | same direction; the gap is several times what a seed changes, but gates and zero come together, so the start alone is not shown |
# | Cross-attention stands between in-context and adaLN, at the highest cost [Peebles and Xie 2022, table 4] | one seed: loss {{dit_cross_attention_0.metrics.loss.value:.4f}}, {{dit_cross_attention_0.metrics.mega_macs.value:.1f}} million multiply-accumulates against {{dit_in_context_0.metrics.mega_macs.value:.1f}} and {{dit_adaln_0.metrics.mega_macs.value:.1f}} | the cost: reproduced; the order: not at this scale. Ours is level with in-context: so early the networks hardly use the class, and both can bring the time |
# | The gates begin at 0 and open in training (ours) | mean of block 1 at the end, seeds 0, 1, 2: {{dit_adaln_zero_0.metrics.gate_0.value:.2f}}, {{dit_adaln_zero_1.metrics.gate_0.value:.2f}}, {{dit_adaln_zero_2.metrics.gate_0.value:.2f}} | measured |

# %% [markdown] lang="en"
# ## 4. Does compute matter more than parameters?
#
# Parameters are what a network *stores*, compute is what it *does* for one picture. For years networks were
# compared by the first. The DiT paper compares them by the second, and says: the more work, the better the
# pictures, and it matters little whether the work comes from a larger network or from smaller patches
# [Peebles & Xie 2022, section 5]. Its evidence is twelve networks, four sizes from S to XL with patches of 8,
# 4 and 2. Each was trained for 400,000 updates and judged by its FID: the lower, the better.
#
# One pair of the twelve first. DiT-XL/8 has twenty times the parameters of DiT-S/2, *and* it does more work for
# each picture. But its patches are large, so it has 16 tokens where S/2 has 256.

# %%
starved = Choice(
    "7.starved",
    "XL/8: more parameters and more work. S/2: smaller patches. Which one has the better FID?",
    ["XL/8, clearly", "XL/8, by a little", "both alike", "S/2, by a little", "S/2, clearly"],
)
starved

# %% [markdown] lang="en"
# The figures are the paper's own [Peebles & Xie 2022, table 4].

# %%
from course_lib.data import dit_paper

xl8, s2 = dit_paper.NAMED["XL/8"], dit_paper.NAMED["S/2"]
starved.reveal(
    "S/2, clearly",
    explanation=f"XL/8: {xl8.mega_parameters} million parameters, {xl8.gflops:.2f} Gflops, "
    f"{xl8.num_tokens} tokens, FID {xl8.fid:.1f}. "
    f"S/2: {s2.mega_parameters} million, {s2.gflops:.2f} Gflops, {s2.num_tokens} tokens, "
    f"FID {s2.fid:.1f}.",
)

# %% [markdown] lang="en"
# More of both, and far worse. So "compute decides" cannot be the whole story. Before the rest of it is told,
# let us be sure that we know what is counted.
#
# ### What is a Gflop?
#
# One multiply-accumulate is a product and the sum that it is added to. Some papers call that one operation, others
# two, and nearly all write "FLOPs". Section 2 claimed that DiT's Gflops are billions of multiply-accumulates, with
# the products inside attention among them. Check it: the middle columns count the networks of this course's
# library, built without memory for their weights.

# %% budget_s=6
from course_lib.evaluation.patches import published_cost

print(f"{'':>6} {'printed':>8} {'counted':>8} {'off by':>7} {'as two':>8} | million parameters")
for point in dit_paper.TWELVE:
    cost = published_cost(point.size, point.patch_size)
    gigas, millions = cost.macs / 1e9, cost.parameters / 1e6
    print(f"{point.name:>6} {point.gflops:>8.2f} {gigas:>8.3f}", end=" ")
    print(f"{gigas / point.gflops - 1:>+7.1%} {2 * gigas:>8.1f} |", end=" ")
    print(f"{point.mega_parameters} printed, {millions:.2f} counted")

# %% [markdown] lang="en"
# All twelve agree; the first is off by the rounding of a small number. Two operations for each
# multiply-accumulate would be off by a factor of two: readers who count that way have asked the authors where
# the other half went [DiT's repository, issue 67]. And the parameters include the fixed table of positions. No figure of this
# kind means anything without its convention.
#
# ### Where does the work go?
#
# "Attention is quadratic in the tokens" is what everybody knows about transformers. Commit to a number before you
# count.

# %%
quadratic = Slider(
    "7.quadratic",
    "A block of DiT-XL/2: 256 tokens, 1152 wide. Which share of its work grows with the square of "
    "the tokens?",
    0,
    100,
    1,
    unit="%",
)
quadratic

# %% [markdown] lang="en"
# ### Your turn: what a block costs
#
# Count the multiply-accumulates of one block of section 3 for one picture: $N$ tokens of $D$ numbers, an MLP
# with a hidden layer of `mlp_ratio` times $D$. A product of a matrix ($a \times b$) with a matrix ($b \times c$)
# costs $a \cdot b \cdot c$. In the block stand, one after the other,
#
# - **modulation**: one linear layer from the condition, $D$ numbers, to six vectors of $D$;
# - **attention**: a linear layer from each token to query, key and value; every query times every key;
#   the weights times the values; a linear layer on the result;
# - **MLP**: a linear layer up, a linear layer down.
#
# Heads share the width among them, so their number does not matter. Norms, softmax, biases and sums are
# not counted.


# %% tags=["exercise"]
def block_macs(num_tokens: int, dim: int, mlp_ratio: int) -> int:
    """Multiply-accumulates of one adaLN-Zero block for one example."""
    # SOLUTION
    modulation = 6 * dim**2  # once for an example
    layers = 4 * num_tokens * dim**2  # query, key, value, and the one after attention
    products = 2 * num_tokens**2 * dim  # queries by keys, weights by values
    mlp = 2 * mlp_ratio * num_tokens * dim**2
    return modulation + layers + products + mlp
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# A linear layer from $D$ to $E$ numbers costs $D \cdot E$ for each vector that goes through it. How many vectors
# go through the modulation, and how many through the MLP?

# %% [markdown] lang="en" tags=["hint"]
# Queries times keys: a table of $N \times N$ numbers, each a sum of $D$ products over all heads together. Weights
# times values costs the same.

# %% [markdown] lang="en" tags=["hint"]
# Four parts: $6 D^2$ for the modulation, $4 N D^2$ for the four linear layers of attention, $2 N^2 D$ for its two
# products, and $2 r N D^2$ for the MLP, with $r$ = `mlp_ratio`.

# %% [markdown] lang="en"
# *Difficulty: easy, 8 minutes.*

# %%
work = check.block_macs(block_macs)
work

# %% [markdown] lang="en"
# `work.function` does the counting from here on. It returns one number; the parts are told apart by asking it
# several times. What grows with the square of the tokens is attention's products, what no token adds to is the
# modulation, what grows with the ratio is the MLP. The rest are attention's four linear layers, its
# **projections** (投影).

# %%
from course_lib.evaluation.block_parts import block_parts

shares = {}
for size, dim in {"XL/2": 1152, "S/2": 384}.items():
    part = block_parts(work.function, 256, dim, 4)
    shares[size] = part["products"] / sum(part.values())
quadratic.reveal(
    round(100 * shares["XL/2"], 1),
    explanation=f"In the narrower S/2 it is {shares['S/2']:.1%}. Counted by a function: "
    f"{work.whose}.",
)

# %% [markdown] lang="en"
# With the tokens of a picture, the famous quadratic term is small change. Most of the work is linear layers,
# which see one token at a time. That is why halving the patch costs about four times, not sixteen. When does
# the square take over? Here is a block of XL with ever more tokens.

# %%
tokens = (4, 16, 64, 256, 1024, 4096, 16384)
parts = {n: block_parts(work.function, n, 1152, 4) for n in tokens}
plots.bars(
    {
        f"{n:,}\ntokens": {name: 100 * macs / sum(part.values()) for name, macs in part.items()}
        for n, part in parts.items()
    },
    "Shares of a block's work, for 4 to 16,384 tokens. The MLP has most of it until, in the last "
    "group, the products of attention have.",
    ylabel="% of a block's work",
)

# %% [markdown] lang="en"
# With four tokens even the modulation shows. Attention's products become half of the bill where
# $2 N^2 D = 12 N D^2$, so at $N = 6 D$. A picture of 256 pixels is 256 tokens, one of 1024 pixels is 4,096, and 64 frames
# of 256 pixels that all look at each other are 16,384.
# So video gets there. That is what chapter 4's attention in windows and along time is for, and a smaller canvas too.
#
# ### Our grid
#
# Now the same experiment in small: nine networks on digits of 32 x 32 pixels, 64, 128 and 256 wide, with patches
# of 16, 8 and 4, which makes 4, 16 and 64 tokens. Names are width / patch. Everything else is equal: four blocks,
# {{dit_adaln_zero_0.config.steps:,}} updates, learning rate, data, order of the data. 128/4 is section 3's
# adaLN-Zero. After so short a training samples cannot be read, so the score is the loss on held-out digits.
#
# Three of the nine do about the same work for a picture.

# %%
from course_lib.recipes import dit_scaling

grid = {network.name: network for network in dit_scaling.ours()}
for name in dit_scaling.EQUAL_WORK["ours"]:
    one = grid[name]
    print(f"{name:>7}: {one.num_tokens:>2} tokens, {one.mega_parameters:.2f} million", end=" ")
    print(f"parameters, {one.mega_macs:.1f} million multiply-accumulates")

# %% [markdown] lang="en"
# The first has the most tokens, the last the most parameters.

# %%
equal_work = Choice(
    "7.equal_work",
    "Three networks, the same work for a picture. Which one guesses the noise of new digits best?",
    ["64/4: many tokens", "128/8: some of both", "256/16: many parameters", "all about alike"],
)
equal_work

# %% [markdown] lang="en"
# Measured on the same digits, at the same levels, with the same noise.

# %%
losses = {name: grid[name].score for name in dit_scaling.EQUAL_WORK["ours"]}
best = min(losses, key=losses.__getitem__)
equal_work.reveal(
    next(option for option in equal_work.options if option.startswith(best)),
    explanation="Held-out losses: " + ", ".join(f"{n} {x:.4f}" for n, x in losses.items()),
)

# %% [markdown] lang="en"
# Here is everything: on the left the paper's twelve, on the right our nine and a U-Net, of which more later. The
# first slider chooses what stands on the x axis, the second what is joined by lines, or brings out the networks
# that do about the same work. Try to find an axis on which all points lie on *one* curve.

# %% budget_s=8
from course_lib.widgets.scaling_plane import ScalingPanel, ScalingPlane

equal = dit_scaling.EQUAL_WORK
panels = {
    "the paper": ScalingPanel(dit_scaling.paper(), "FID", equal["paper"]),
    "our grid": ScalingPanel(
        (*dit_scaling.ours(), dit_scaling.unet()), "loss", equal["ours"], log=True
    ),
}
ScalingPlane(
    panels,
    "FID of twelve networks and loss of ours above work, parameters and tokens: each line of one "
    "size falls steeply with the work, and larger sizes begin further right.",
)

# %% [markdown] lang="en"
# On the left:
# - **parameters**: each size is a vertical line. Equal parameters, and nearly everything can happen.
# - **log multiply-accumulates**: nearly one curve. S/2 and B/4 do the same work in different ways and *tie*, 68.40
#   and 68.38 [Peebles & Xie 2022, table 4]. But choose "equal work": L/8 and XL/8 stand far above the two.
# - **multiply-accumulates** without the logarithm: no straight line at all. The paper's correlation is that of FID
#   with the *logarithm*.
#
# ### Correlations, and how sure they are
#
# Pearson's correlation of twelve points is a rough number, of nine a rougher one. The intervals are Fisher's: they say
# how far a correlation of so few points strays by chance. Nobody drew our points by chance, we chose them,
# so take the intervals as a warning, not as a test.

# %%
from course_lib.widgets.scaling_plane import AXES, correlation

print(f"{'':>26} {'the paper, FID':>24} {'our grid, log loss':>24}")
for axis in AXES:
    row = [correlation(panel, axis) for panel in panels.values()]
    texts = [f"{r.value:+.2f} ({r.low:+.2f} to {r.high:+.2f})" for r in row]
    print(f"{axis:>26} {texts[0]:>24} {texts[1]:>24}")

# %% [markdown] lang="en"
# (Of our loss we take the logarithm, too: it runs from a few hundredths to three quarters, and the largest two
# would decide everything.)
#
# The paper's famous figure is there. It says that work and FID go together. Does it say that work is the *cause*,
# and that it is all the same what the work is spent on? Look at what work is made of. Fit $\log$ work by $\log$
# parameters and $\log$ tokens.

# %%
from course_lib.evaluation.scaling import left_out_error, regress

twelve = dit_scaling.paper()
fid = [n.score for n in twelve]
log_size, log_work, log_tokens = (
    [float(np.log10(getattr(n, name))) for n in twelve]
    for name in ("mega_parameters", "mega_macs", "num_tokens")
)
made_of = regress(log_work, log_size, log_tokens)
slopes = [f"{slope:.3f}" for slope in made_of.slopes]
print(f"log work = {slopes[0]} log parameters + {slopes[1]} log tokens + a constant")
print(f"explained: {made_of.r_squared:.4f} of the variance")

# %% [markdown] lang="en"
# In a DiT, **work goes like parameters times tokens**. You have counted why: two thirds of a block's weights are used
# once for each token, the modulation's third once for the picture, and the products are small change. So "FID
# depends on the work" is a bold claim in disguise: a factor of ten is worth the same, whether you buy ten times
# the parameters or ten times the tokens. Set the two free and ask the twelve points.

# %%
fits = {"log work": (log_work,), "log parameters, log tokens": (log_size, log_tokens)}
for name, predictors in fits.items():
    fit = regress(fid, *predictors)
    slopes = " and ".join(f"{slope:.0f}" for slope in fit.slopes)
    print(f"FID by {name}: slopes {slopes}")
    print(f"   explained {fit.r_squared:.3f}", end=", ")
    print(f"a network left out is missed by {left_out_error(fid, *predictors):.1f}")

# %% [markdown] lang="en"
# A second predictor always explains more of the points that it was fitted to. So look at the other figure: each network
# is guessed from the eleven others, and there the second predictor could lose. It does not. Ten times the tokens go with
# about twice the gain in FID that ten times the parameters go with. (Inside this range: 16 to 256
# tokens, one recipe, 400,000 updates. And smaller patches are more than more tokens: each token has fewer numbers
# to answer for.)
#
# So the paper's own points say something sharper than "compute": **spend compute on tokens**. That is the idea
# behind the p in DiT-XL/2, and a latent canvas is what makes it affordable.
#
# ### What our grid can say, and what it cannot
#
# Two of our nine points are special. A patch of 16 x 16 pixels is 256 numbers of noise to guess. 64/16 has to write
# them with a last layer that is 64 wide.

# %%
from course_lib.evaluation.scaling import noise_floor

for name, network in grid.items():
    dim, patch_size = map(int, name.split("/"))
    floor = noise_floor(dim, patch_size**2)
    print(f"{name:>7}: {patch_size**2:>3} numbers by {dim:>3}", end=" ")
    print(f"channels, floor {floor:.2f}, loss {network.score:.4f}")

# %% [markdown] lang="en"
# White noise fills all directions of a patch alike. A linear layer from $D$ channels reaches $D$ of them and misses the
# rest, so no training brings the loss below $1 - D / p^2$. 64/16 and 128/16 stand close above that floor, and no
# longer training would help. Their losses say nothing about tokens or compute: they are a **bottleneck** (瓶颈).
# 64/8 and 256/16 have as many channels as numbers: no floor, and no room to spare. The paper's networks have none of
# this: its largest patch holds 256 numbers, its narrowest network is 384 wide. (Networks that name the *clean*
# picture need not pass the noise on, and can have huge patches [Li & He 2025, arXiv 2511.13720].)
#
# Leave the two points on the floor out, and see what remains.

# %%
from dataclasses import replace

free = [n for n in grid.values() if n.name not in ("64/16", "128/16")]
without = replace(panels["our grid"], networks=free)
for axis in list(AXES)[:3]:
    nine, seven = (correlation(panel, axis) for panel in (panels["our grid"], without))
    print(f"{axis:>24}: nine {nine.value:+.2f} ({nine.low:+.2f} to {nine.high:+.2f})", end=", ")
    print(f"seven {seven.value:+.2f} ({seven.low:+.2f} to {seven.high:+.2f})")

# %% [markdown] lang="en"
# The order is the paper's: work goes best with the score, then tokens, then parameters. But read the intervals. That
# parameters alone say little, and that work says something, both survive. Whether work or tokens say more, seven
# points cannot tell; the intervals lie on top of each other. Does a second predictor help here, as it did above?

# %%
scores = [float(np.log10(n.score)) for n in free]
ours_size, ours_work, ours_tokens = (
    [float(np.log10(getattr(n, name))) for n in free]
    for name in ("mega_parameters", "mega_macs", "num_tokens")
)
both = {"log work": (ours_work,), "log parameters, log tokens": (ours_size, ours_tokens)}
for name, predictors in both.items():
    fit, missed = regress(scores, *predictors), left_out_error(scores, *predictors)
    slopes = " and ".join(f"{slope:.2f}" for slope in fit.slopes)
    print(f"log loss by {name}: slopes {slopes}, explained {fit.r_squared:.2f}", end=", ")
    print(f"a network left out is missed by {missed:.3f}")

# %% [markdown] lang="en"
# The slope of the tokens is the steeper one again. But a network that was left out is guessed about as badly either
# way. Our grid points in the paper's direction, and proves nothing by itself. What it does show are its pairs. Each
# point is one training from one seed, so ask first what a seed changes: 128/4 was trained from three.

# %%
seeds = dit_scaling.losses_of_seeds()
print("128/4 from three seeds:", ", ".join(f"{loss:.4f}" for loss in seeds))
for many, few in (("64/4", "128/8"), ("128/4", "256/8")):
    print(f"about equal work: {many} {grid[many].score:.4f}, {few} {grid[few].score:.4f}", end=", ")
    print(f"{grid[few].score - grid[many].score:+.4f} for fewer tokens")
falls = dit_scaling.late_falls()
print("last third of training:", ", ".join(f"{n} {-fall:+.0%}" for n, fall in falls.items()))

# %% [markdown] lang="en"
# The three seeds are nearly one point, so the differences within the pairs are no luck of the seed. Here the network
# with more tokens is ahead, with a quarter of the parameters. S/2 and B/4 *tie* in the paper. On digits, after so few
# updates, tokens are worth more than that. 64/4 even keeps up with 256/8
# ({{dit_grid_64_4.metrics.loss.value:.4f}} and {{dit_grid_256_8.metrics.loss.value:.4f}}), which does more than three
# times its work: our own XL/8 and S/2.
#
# And the last line is a warning. The losses off the floor are still falling at the end, by different shares, and all
# widths had the same learning rate. What we compare is how far each network comes in
# {{dit_adaln_zero_0.config.steps:,}} updates, not where it ends. A wide network may be the better one later.
#
# ### Is a transformer more scalable than a U-Net?
#
# The paper's title says *scalable*, and its introduction that the U-Net's bias is not crucial [Peebles & Xie 2022,
# sections 1 and 6]. Three things speak against reading this as "transformers beat U-Nets".

# %%
xl2 = dit_paper.NAMED["XL/2"]
print(f"Gflops: DiT-XL/2 {xl2.gflops:.0f},", end=" ")
print(", ".join(f"{name} {gflops:.0f}" for name, gflops in dit_paper.U_NETS.items()))
print("after 400,000 updates, without guidance:")
for other, dit in {"U-DiT-S": "S/2", "U-DiT-B": "XL/2", "U-DiT-L": "XL/2"}.items():
    gflops, fid_of_other = dit_paper.U_DITS[other]
    one = dit_paper.NAMED[dit]
    print(f"{other:>9}: {gflops:6.2f} Gflops, FID {fid_of_other:5.2f}", end="  against  ")
    print(f"DiT-{dit}: {one.gflops:6.2f} Gflops, FID {one.fid:5.2f}")

# %% [markdown] lang="en"
# - **It is cheaper than which U-Net?** Than ADM's, which work on pixels. Latent diffusion's own U-Net, LDM-4, does
#   *less* work than DiT-XL/2.
# - **The U-Net's shape still pays.** U-DiT is a transformer with a U-Net's shape: its tokens become fewer towards
#   the middle, and skip connections lead across [Tian et al. 2024]. At the work of S/2 its FID is less than half, and
#   with a fifth of the work of XL/2 it is ahead of it. (Its blocks were improved in other ways, too.)
# - **Nobody drew the other curve.** "Scales better" compares two *slopes*. The paper has twelve DiTs, and of U-Nets
#   single points, trained otherwise.
#
# What does our own single point say? Same digits, same updates, same noise; the U-Net has the class as extra channels.
# Its work lies between that of 128/4 and 256/4. Put a straight line between these two, log loss over log work, and
# read off what a DiT of the U-Net's work might reach.

# %%
unet = dit_scaling.unet()
ends = [grid["128/4"], grid["256/4"]]
line = np.interp(
    np.log10(unet.mega_macs),
    [np.log10(n.mega_macs) for n in ends],
    [np.log10(n.score) for n in ends],
)
for n in sorted([*ends, unet], key=lambda network: network.mega_macs):
    print(f"{n.name:>6}: {n.mega_macs:6.1f} million multiply-accumulates,", end=" ")
    print(f"{n.mega_parameters:.2f} million parameters, loss {n.score:.4f}")
print(f"a DiT of the U-Net's work, on the line: {10**line:.4f};", end=" ")
print("the U-Net is", "ahead" if unet.score < 10**line else "behind")

# %% [markdown] lang="en"
# Far ahead: with less than half the work of 256/4 the U-Net's loss is less than two
# thirds of it. That is a result, and no law. It is one U-Net, on 32 pixels, after few updates. It has skip connections at full resolution and so no bottleneck, and its convolutions know from the start that neighbours belong
# together, which is worth most when training is short. How fast it gains with more work is the question, and one
# point has no slope.
#
# ### And 2.27?
#
# The figure that everybody quotes for DiT is an FID of 2.27. It belongs to the same network as the 19.47 of the
# plane.

# %%
for (thousands, scale), value in dit_paper.XL2_FIDS.items():
    guided = "no guidance" if scale == 1 else f"guidance {scale}"
    print(f"DiT-XL/2, {thousands:>5} thousand updates, {guided:>13}: FID {value:5.2f}")

# %% [markdown] lang="en"
# From 19.47 to 9.62 by training seventeen times as long, and from there to 2.27 by guidance, with the same weights.
# Guidance calls the network twice for each step, so it doubles the work of a picture, and FID likes what it does.
# Compare unguided figures with unguided ones.
#
# If calling twice helps, does calling *often*? A small network with many steps can do more work in all than a large one
# with few. The paper tried [Peebles & Xie 2022, section 5, figure 10].

# %%
for (name, steps), value in dit_paper.SAMPLING.items():
    tera = dit_paper.NAMED[name].gflops * steps / 1000
    print(f"DiT-{name:>4}, {steps:>4} steps: {tera:5.1f} Tflops for a picture, FID-10K {value}")

# %% [markdown] lang="en"
# Five times the work, and worse. Steps integrate what the network has learned; they do not make it know more. (FIDs
# of 10,000 pictures are higher than those of 50,000: these two belong to each other only.)
#
# ### Claim panel
#
# | claim | measured here | label |
# |---|---|---|
# | Work decides: FID and $\log$ Gflops correlate with -0.93 [Peebles & Xie 2022, section 5] | the paper's twelve points, above: the same figure; parameters and tokens apart explain more, and miss a network left out by less | reproduced as a correlation, and no law: XL/8 does more work than S/2 and is far worse |
# | The same on our grid (ours) | correlations of nine and of seven networks above: work before tokens before parameters; two networks are bottlenecks | same direction: the intervals of seven points cannot tell work from tokens |
# | At equal work it does not matter how it is spent [Peebles & Xie 2022, section 5, S/2 and B/4] | 64/4 {{dit_grid_64_4.metrics.loss.value:.4f}}, 128/8 {{dit_grid_128_8.metrics.loss.value:.4f}}, 256/16 {{dit_grid_256_16.metrics.loss.value:.4f}} | not at this scale: more tokens are better at equal work. In the paper, too, L/8 and XL/8 are worse than S/2 |
# | Transformers scale better than U-Nets (a common reading) | U-Net at {{dit_grid_unet.metrics.mega_macs.value:.1f}} million multiply-accumulates {{dit_grid_unet.metrics.loss.value:.4f}} ({{dit_grid_unet.metrics.loss.low:.4f}} to {{dit_grid_unet.metrics.loss.high:.4f}}); 128/4 at {{dit_adaln_zero_0.metrics.mega_macs.value:.1f}} {{dit_adaln_zero_0.metrics.loss.value:.4f}}, 256/4 at {{dit_grid_256_4.metrics.mega_macs.value:.1f}} {{dit_grid_256_4.metrics.loss.value:.4f}} | our one U-Net is far ahead of the grid; whether it *scales* is not decided, for scaling is a slope and this is a point |
#
# All our points: {{dit_adaln_zero_0.config.steps:,}} updates on digits, one seed each.

# %% [markdown] lang="en"
# ## 5. Latent diffusion, end to end
#
# All parts are on the table: an autoencoder that makes frames small (section 1), a transformer that works on
# patches (section 2), adaptive layer norm that tells it the time (section 3), and a price that you can count
# (section 4). **Latent diffusion** (潜在扩散模型) puts them in a row [Rombach et al. 2022, section 3]: encode
# what is seen, draw the future *in latents* by diffusion, decode it. Diffusion itself does not change.
# Schedule, loss and walk are those of chapter 5.
#
# The autoencoder of this section knows the crossroads alone: four times smaller along each edge, four
# channels, {{crossroads_latents.step:,}} updates. (Section 1's serves photographs as well, and blurs the
# digits' strokes.)
#
# ### Stage one: encode

# %% budget_s=3
from course_lib.data.crossroads import BASE
from course_lib.recipes.crossroads_diffusion import world
from course_lib.recipes.crossroads_latents import latent_space

space, held_out = latent_space(), world(BASE, "test")
labels = held_out.digits.labels.tolist()
cases = {str(d): held_out.futures(labels.index(d), arrival=4) for d in (4, 3, 2)}
clip = torch.cat([cases["4"].context, cases["4"].clips[0]])
with torch.no_grad():
    z = space.encode(clip)
    back = space.decode(z)
print(f"a frame has {clip[0].numel():,} numbers, its latent {z[0].numel()}")
print(f"scale {space.scale:.2f}: this clip's scaled latents have a deviation of {z.std():.2f}")
error = (back - clip).square().mean().sqrt()
print(f"the frames that come back are off by {error:.3f}, root mean square")

# %% [markdown] lang="en"
# A 4 on its way, its latent's four channels (grey is 0), and what the decoder makes of them:

# %%
rows = {"frame": clip}
rows |= {f"channel {c + 1}": (z[:, c : c + 1] / 3).clamp(-1, 1) for c in range(4)}
plots.film_strip(
    rows | {"decoded": back},
    "Frames of a clip, the four channels of their latents at 8 x 8 places, and the decoded frames.",
    frames=range(0, 12, 2),
)

# %% [markdown] lang="en"
# Each channel is a coarse map of the same street. In some of them the digit is a dark smudge of a few places, in
# others a handful of specks; all of it moves with the digit, and which 4 it is stands in the values. Nobody told
# the autoencoder to leave the street where it is: convolutions do. That is why patches and positions still mean
# something here.
#
# ### Stage two: diffuse
#
# The network is a DiT that reads the three past latents as tokens beside the tokens of the noisy future
# (in-context, section 3), and is told the time by adaLN-Zero. It is walked by chapter 5's
# `DiffusionPredictor`. One argument differs: `clip=None`. Pixels end at 1 and -1, latents end nowhere.

# %% budget_s=3
from course_lib.methods.diffusion import X0
from course_lib.methods.predictor import DiffusionPredictor
from course_lib.recipes import crossroads_diffusion
from course_lib.recipes.latent_dit import LATENT

latent_net, schedule, four = LATENT.load(), crossroads_diffusion.SCHEDULE, cases["4"]
how = {"num_steps": 20, "clip": None}
walker = DiffusionPredictor(latent_net, X0, schedule, BASE.horizon, **how)
rng = torch.Generator().manual_seed(0)
x_T = torch.randn(2, BASE.horizon, 4, 8, 8, generator=rng)
with torch.no_grad():
    past = space.encode(four.context.expand(2, -1, -1, -1, -1))
    steps = list(walker.steps(past, x_T, generator=rng))
print(f"{len(steps)} steps; x_t has {x_T[0].numel():,} numbers, a future {four.clips[0].numel():,}")

# %% [markdown] lang="en"
# ### Stage three: decode
#
# In use only the last latent is decoded. But nothing keeps us from decoding on the way: $\hat x_0$ is a guess
# of the clean latent, and the decoder turns it into a guess of the clean frames.

# %% budget_s=4
chosen = lambda name: torch.stack([getattr(s, name)[:, [2, 5, 8]] for s in steps], 2)
x_t, guess = chosen("x_t"), chosen("x0_hat")  # (start, frame, step, channel, row, column)
with torch.no_grad():
    panels = {
        "x_t: first channel": (x_t[:, :, :, :1] / 3).clamp(-1, 1),
        "x_t, decoded": space.decode(x_t),
        "x0_hat: first channel": (guess[:, :, :, :1] / 3).clamp(-1, 1),
        "x0_hat, decoded": space.decode(guess),
    }

# %% [markdown] lang="en"
# Press play, or step. (Greys are rounded to 9 shades.)

# %%
tiles = lambda starts: np.array([to_panel(mosaic(three, columns=3)) for three in starts])
Player(
    {name: tiles((4 * starts).round() / 4) for name, starts in panels.items()},
    {"start": range(1, 3)},
    captions=[[f"t = {s.t}: future frames 3, 6 and 9" for s in steps]],
    width=300,
    fps=4,
    title="A walk in latents",
    alt="Along the walk: a channel of x_t, x_t decoded, a channel of x0_hat, and x0_hat decoded.",
)

# %% [markdown] lang="en"
# Look at "x_t, decoded" in the first steps. The walk begins at noise from $\mathcal N(0, I)$, and what the
# decoder makes of such noise is a tangle of strokes, no frame of any street. The autoencoder's KL weight is too
# small to make its latents normal (section 1). The *diffusion model* is the prior: its walk ends at latents that
# the decoder knows.
#
# And $\hat x_0$ begins near the mean of the latents. In pixels that was a ghost on three arms (chapter 5). The
# decoder is no straight line: a mean of latents does not become a mean of frames, but pieces of strokes.
#
# ### The future at the crossroads
#
# Three digits of chapter 5, six draws for each, twenty steps per draw.

# %% budget_s=6
from course_lib.recipes import latent_dit

drawer, rng = latent_dit.predictor(latent_net), torch.Generator().manual_seed(6)
contexts = torch.stack([case.context for case in cases.values()]).repeat_interleave(6, 0)
drawn = drawer.predict(contexts, BASE.horizon, generator=rng).unflatten(0, (3, 6))
true = torch.stack([case.sample(6, generator=rng) for case in cases.values()])
seen = contexts.unflatten(0, (3, 6))
clips = {"six draws of the latent DiT": drawn, "six true futures": true}

# %% [markdown] lang="en"
# The slider picks the digit.

# %%
films = lambda six: [to_panel((8 * mosaic(one, columns=3)).round() / 8) for one in six]
Player(
    {name: np.array(films(torch.cat([seen, six], 2))) for name, six in clips.items()},
    {"digit": list(cases)},
    captions=[[f"frame {n}: {'seen' if n < 3 else 'predicted'}" for n in range(12)]],
    width=240,
    title="One past, six futures, drawn in latents",
    alt="Six futures drawn by the latent DiT beside six true ones, for three digits.",
)

# %% [markdown] lang="en"
# The 4 should mostly go left, the 3 right, and the 2 never straight on. Compare the strokes as
# well as the turns: every stroke has been through the decoder.
#
# And your own digit?

# %%
from course_lib.data.video import to_float
from course_lib.recipes.classifier import CLASSIFIER
from course_lib.widgets.draw_digit import DrawDigit

reader = CLASSIFIER.load()
pad = DrawDigit(
    lambda images: reader(to_float(images)[:, None]).softmax(-1),
    start=9,
    done="Walk in latents",
)
pad

# %% [markdown] lang="en"
# Six futures of the digit on the pad. (They take a second or two.)

# %% budget_s=3
from course_lib.data.crossroads import Crossroads

title = "six draws for your digit"
ask = lambda digits: Crossroads(digits).futures(0, arrival=4).context.expand(6, -1, -1, -1, -1)
film = lambda seen: torch.cat([seen, drawer.predict(seen, BASE.horizon)], 1)
panel = lambda digits: films(film(ask(digits))[None])[0]
walk = Player({title: panel(pad.digits())}, width=240, title="Your handwriting, in latents")
pad.on_done(lambda digits: walk.update({title: panel(digits)}))
walk

# %% [markdown] lang="en"
# ### Break it: forget the scale
#
# Latents are multiplied by the **scale factor** (缩放因子) on the way in, and divided by it on the way out.
# Each is one line of code, in two different places, often in two different files. Forget one, or the other,
# or both. The trained network stays as it is.

# %% budget_s=5
from dataclasses import replace

from course_lib.evaluation.futures import distances
from course_lib.methods.latent import LatentPredictor

spaces = {
    "as trained": space,
    "forgotten in encode": replace(space, encoder=lambda f: space.encoder(f) / space.scale),
    "forgotten in decode": replace(space, decoder=lambda z: space.decoder(z * space.scale)),
    "forgotten in both": replace(space, scale=1.0),
}

# %% [markdown] lang="en"
# Six draws with each, all from the same noise:

# %% budget_s=5
six = four.context.expand(6, -1, -1, -1, -1)
broken = {}
for name, other in spaces.items():
    dice = torch.Generator().manual_seed(1)
    broken[name] = LatentPredictor(walker.predict, other).predict(six, 9, generator=dice)

# %% [markdown] lang="en"
# The first draw of each, and the distance D to the nearest future (chapter 0: below .15 is a future, an empty
# road has 1), mean over six draws:

# %%
for name, six_draws in broken.items():
    nearest = distances(six_draws, four)[0].amin(1)
    print(f"{name:>20}: D = {nearest.mean():.2f}, from {nearest.min():.2f} to {nearest.max():.2f}")
plots.film_strip(
    {name: torch.cat([four.context, six_draws[0]]) for name, six_draws in broken.items()},
    "One draw with the right scale, and with the scale forgotten in encode, in decode, in both.",
    frames=range(1, 12, 2),
)

# %% [markdown] lang="en"
# In **encode**: the past arrives with numbers larger than any that the network has seen. In **decode**: the walk
# ends well, and its latents reach the decoder too small, all of them nearer to 0 than real ones. In **both**,
# both. No error message in any case: shapes and types are right.
#
# And if you forget it in *training*, too, on both sides alike? Then nothing looks broken. The latents'
# variance is no longer 1, and that moves every level of the schedule: signal over noise becomes larger by the
# variance, everywhere. It is as if you had chosen another schedule without knowing it.

# %%
shift = -2 * np.log(space.scale)
print(f"unscaled variance {1 / space.scale**2:.1f}: log SNR moves by {shift:+.1f} at every step")
print(f"our schedule was moved on purpose, from the plain cosine, by {-4.0:+.1f} (chapter 5)")

# %% [markdown] lang="en"
# The number belongs to *one* autoencoder. Rombach et al. measure it on the first batch; later code carries a
# constant from file to file, 0.18215 [Rombach et al. 2022, official code]. Train another autoencoder, and
# measure it again.
#
# ### Pixels against latents, at equal compute
#
# Two pairs of networks: chapter 5's in pixels, this chapter's in latents, at `base` and at `twice`. Same
# schedule, same loss, same data, same number of steps in a walk. The number of updates was chosen so that
# each pair has had the same number of multiply-accumulates in its training.

# %%
import json

from course_lib.recipes.crossroads_diffusion import DIFFUSION, DIFFUSION_TWICE
from course_lib.recipes.latent_dit import LATENT_TWICE
from course_lib.recipes.scoreboard import SCOREBOARD

of = lambda recipe: json.loads(recipe.results.read_text(encoding="utf-8"))["metrics"]
counted = {key: metric["value"] for key, metric in of(SCOREBOARD).items()}
pairs = {"base, pixels": DIFFUSION, "base, latents": LATENT}
pairs |= {"twice, pixels": DIFFUSION_TWICE, "twice, latents": LATENT_TWICE}
for name, recipe in pairs.items():
    small, total = recipe.small, counted[f"train_{recipe.name}"]
    each = total * 1e6 / 3 / small.steps / small.batch_size
    print(f"{name:>14}: {small.steps:>6,} updates of {small.batch_size} clips, ", end="")
    print(f"{each:.0f} million a clip: {total:.1f} million million")

# %% [markdown] lang="en"
# (A backward pass is counted as two forward passes. Left out is the autoencoder's own training, and that of
# `base`, with which both networks of `twice` begin.) Who draws more valid futures?

# %%
canvas = Choice(
    "7.pixels",
    "Valid draws at base, equal compute in training. The latent DiT's share is ...",
    [
        "more than .02 higher than the pixel network's",
        "the same within .02",
        "more than .02 lower than the pixel network's",
    ],
)
canvas

# %% [markdown] lang="en"
# The bars are errors, so low is good. Intervals are for contexts drawn again.

# %%
three = lambda metric: np.array([metric[end] for end in ("value", "low", "high")])
errors = {
    "not valid": lambda m: 1 - three(m["valid"])[[0, 2, 1]],
    "forbidden": lambda m: three(m["forbidden"]),
    "total variation\nabove its floor": lambda m: (
        three(m["total_variation"]) - m["total_variation_floor"]["value"]
    ),
}
measured = {name: of(recipe) for name, recipe in pairs.items()}
bars = {
    kind: {name: tuple(error(m)) for name, m in measured.items()} for kind, error in errors.items()
}

# %% [markdown] lang="en"
# Both worlds, both canvases:

# %%
gap = measured["base, latents"]["valid"]["value"] - measured["base, pixels"]["valid"]["value"]
canvas.reveal(
    canvas.options[0 if gap > 0.02 else 2 if gap < -0.02 else 1],
    explanation="Valid: "
    + ", ".join(f"{name} {m['valid']['value']:.3f}" for name, m in measured.items())
    + ".",
    picture=plots.bars(
        bars,
        "Not valid, forbidden, total variation above its floor: pixels and latents, both worlds.",
        ylabel="share of draws, distance",
    ),
)

# %% [markdown] lang="en"
# | | valid | forbidden | total variation | floor |
# |---|---|---|---|---|
# | base, pixels | {{crossroads_diffusion.metrics.valid.value:.3f}} ({{crossroads_diffusion.metrics.valid.low:.3f}} to {{crossroads_diffusion.metrics.valid.high:.3f}}) | {{crossroads_diffusion.metrics.forbidden.value:.3f}} ({{crossroads_diffusion.metrics.forbidden.low:.3f}} to {{crossroads_diffusion.metrics.forbidden.high:.3f}}) | {{crossroads_diffusion.metrics.total_variation.value:.3f}} ({{crossroads_diffusion.metrics.total_variation.low:.3f}} to {{crossroads_diffusion.metrics.total_variation.high:.3f}}) | {{crossroads_diffusion.metrics.total_variation_floor.value:.3f}} |
# | base, latents | {{latent_dit.metrics.valid.value:.3f}} ({{latent_dit.metrics.valid.low:.3f}} to {{latent_dit.metrics.valid.high:.3f}}) | {{latent_dit.metrics.forbidden.value:.3f}} ({{latent_dit.metrics.forbidden.low:.3f}} to {{latent_dit.metrics.forbidden.high:.3f}}) | {{latent_dit.metrics.total_variation.value:.3f}} ({{latent_dit.metrics.total_variation.low:.3f}} to {{latent_dit.metrics.total_variation.high:.3f}}) | {{latent_dit.metrics.total_variation_floor.value:.3f}} |
# | twice, pixels | {{crossroads_diffusion_twice.metrics.valid.value:.3f}} ({{crossroads_diffusion_twice.metrics.valid.low:.3f}} to {{crossroads_diffusion_twice.metrics.valid.high:.3f}}) | {{crossroads_diffusion_twice.metrics.forbidden.value:.3f}} ({{crossroads_diffusion_twice.metrics.forbidden.low:.3f}} to {{crossroads_diffusion_twice.metrics.forbidden.high:.3f}}) | {{crossroads_diffusion_twice.metrics.total_variation.value:.3f}} ({{crossroads_diffusion_twice.metrics.total_variation.low:.3f}} to {{crossroads_diffusion_twice.metrics.total_variation.high:.3f}}) | {{crossroads_diffusion_twice.metrics.total_variation_floor.value:.3f}} |
# | twice, latents | {{latent_dit_twice.metrics.valid.value:.3f}} ({{latent_dit_twice.metrics.valid.low:.3f}} to {{latent_dit_twice.metrics.valid.high:.3f}}) | {{latent_dit_twice.metrics.forbidden.value:.3f}} ({{latent_dit_twice.metrics.forbidden.low:.3f}} to {{latent_dit_twice.metrics.forbidden.high:.3f}}) | {{latent_dit_twice.metrics.total_variation.value:.3f}} ({{latent_dit_twice.metrics.total_variation.low:.3f}} to {{latent_dit_twice.metrics.total_variation.high:.3f}}) | {{latent_dit_twice.metrics.total_variation_floor.value:.3f}} |
#
# These rest on {{crossroads_diffusion.config.protocol.contexts_per_cue}} contexts of each cue,
# {{crossroads_diffusion.config.protocol.num_samples}} draws each, and one training per row. Where intervals
# overlap, there is nothing to explain.
#
# At `base` the latents win: nearly all draws are valid, hardly one is forbidden, and the shares of the turns
# are closer to the truth. One reading of it: the pixel network spends much of its training on strokes. In latents
# strokes are the decoder's business, and the DiT has only to say which digit is where. At `twice` latents lead in
# forbidden draws and in total variation, but only {{latent_dit_twice.metrics.valid.value:.3f}} of the draws are
# valid, and the intervals of valid overlap. There each network had few updates of its own
# ({{latent_dit_twice.step:,}} in latents), and its loss was still falling.
#
# The autoencoder sets a bound that no training of the DiT can pass. Its rebuilt *true* futures lie at D =
# {{crossroads_latents.metrics.distance.value:.3f}} from themselves, and a draw has to stay within .15. So here
# little is lost to it. With section 1's autoencoder, D was
# {{autoencoder_f4_c4.metrics.distance.value:.2f}}.
#
# And drawing? The walks have the same number of steps, and a call of the latent network costs less.

# %%
cheaper = Slider(
    "7.cheaper",
    "A drawn clip of twice: multiply-accumulates in latents over those in pixels",
    0,
    2,
    0.05,
)
cheaper

# %% [markdown] lang="en"
# All that a draw needs is counted: the past encoded, twenty calls of the network, the future decoded.

# %%
from course_lib.recipes import canvases

sizes, draw = canvases.SIZES, lambda canvas, size: counted[f"draw_{canvas}_{size}"]
pixels = np.array([draw("pixels", size) for size in sizes])
walked = np.array([draw("latents", size) for size in sizes]) / pixels
coded = np.array([draw("autoencoder", size) for size in sizes]) / pixels
print(f"one clip of 32 x 32 pixels, in pixels: {pixels[0]:,.0f} million multiply-accumulates")

# %% [markdown] lang="en"
# The answer draws the same networks for larger frames as well. (There nothing was trained: multiply-accumulates
# can be counted without.)

# %%
cheaper.reveal(
    (walked + coded)[0].item(),
    explanation=f"Of these {walked[0]:.2f} for the walk, {coded[0]:.2f} for the autoencoder. "
    f"With frames of {sizes[-1]} pixels it would be {(walked + coded)[-1]:.2f}.",
    picture=plots.curves(
        sizes,
        {"walk and autoencoder": walked + coded, "walk": walked, "autoencoder": coded},
        "Cost in latents over cost in pixels: above 1 at 32 pixels, below from 64 on.",
        xlabel="frame size, pixels",
        ylabel="cost over that in pixels",
        levels={"in pixels": 1.0},
        ylim=(0, 1.8),
    ),
)

# %% [markdown] lang="en"
# At 32 pixels the smaller canvas is *not* cheaper. The walk is, but each of the fourteen frames goes through the
# decoder once, and on a canvas that small, the decoder costs nearly as much as all twenty steps. It grows with
# the number of pixels alone, and it runs once. The walk's attention grows faster, and runs at every step. So the
# balance turns as frames grow: it is about even at twice the size, and from there on latents win. Measured on one
# thread, a clip of `twice` takes {{scoreboard.metrics.ms_many_latent_dit.value:.0f}} ms in latents and
# {{scoreboard.metrics.ms_many_diffusion.value:.0f}} ms in pixels.
#
# Read the figure with care. Part of the gain is not the latent's but the patch's: a latent token stands for 8 x 8
# pixels, a pixel token for 4 x 4. A pixel network with larger patches would be as short of tokens. What the
# autoencoder adds is that so large a patch can still be drawn with sharp strokes.

# %% [markdown] lang="en"
# ### Your turn: guidance with four channels
#
# Latents bring an old exercise back in a new shape. The published DiT draws pictures of a class, and its
# answer has twice as many channels as $x_t$: first the guess of the noise, then numbers from which the
# sampler takes a variance (chapter 5). **Guidance** (chapter 6) belongs to the noise alone, to all of its
# channels:
#
# $$\tilde\epsilon = \epsilon_\varnothing + s\,(\epsilon_y - \epsilon_\varnothing), \qquad s = 1 \text{ is no
# guidance.}$$
#
# `network(x, t, label)` answers (B, 2C, H, W). The class $\varnothing$ is the number `no_class`. Return an answer
# of the same shape: guided noise in front, behind it the variance channels of the answer *with* the class,
# unchanged.


# %% tags=["exercise"]
def guided(network, x_t, t, label, no_class, guidance_scale):
    """The network's answer with its noise guided; x_t is (B, C, H, W), t and label are (B,)."""
    # SOLUTION
    noise, variance = network(x_t, t, label).chunk(2, dim=1)
    nothing = torch.full_like(label, no_class)
    without = network(x_t, t, nothing).chunk(2, dim=1)[0]
    return torch.cat([without + guidance_scale * (noise - without), variance], dim=1)
    # END SOLUTION


# %% [markdown] lang="en" tags=["hint"]
# Ask the network twice, once with `label` and once with `no_class` for every example. (Or once, with a batch
# of twice the length.)

# %% [markdown] lang="en" tags=["hint"]
# `answer.chunk(2, dim=1)` splits noise from variance, however many channels there are. `torch.full_like(label,
# no_class)` is the other label.

# %% [markdown] lang="en" tags=["hint"]
# `torch.cat([without + guidance_scale * (noise - without), variance], dim=1)`, where `noise` and `variance`
# come from the answer with the class.

# %% [markdown] lang="en"
# *Difficulty: easy, 8 minutes.*

# %%
guided_verdict = check.guided(guided)
guided_verdict

# %% [markdown] lang="en"
# ### Break it: three of four
#
# The published code guides the *first three* channels and leaves the fourth as the class said it. That line
# came from a model of pictures, which have three channels, and nobody noticed that latents have four; its
# author calls it unintended, and keeps it so that the published numbers can be repeated [Peebles and Xie 2022,
# official code, issue 12]. What does it do?
#
# Our digits have no such network, so here is a toy whose best answer is known: latents of four numbers, two
# classes at either side of the origin, the difference between them equally large in all four channels.
# `guided_verdict.function` walks it. The push is what guidance adds to the noise of the class.

# %%
from course_lib.recipes import toy_guidance as toy

x_T = toy.starts(300, generator=torch.Generator().manual_seed(0))
x_T = x_T - x_T.mean(0)  # so that chance favours no channel
label = torch.zeros(300, dtype=torch.int64)
four_of = lambda x, t, s: guided_verdict.function(toy.network, x, t, label, toy.NO_CLASS, s)
three_of = lambda x, t, s: torch.cat([four_of(x, t, s)[:, :3], toy.network(x, t, label)[:, 3:]], 1)
t = torch.full((300,), 600)
plain = toy.network(x_T, t, label)[:, :4].flatten(1)
pushes = {n: f(x_T, t, 4.0)[:, :4].flatten(1) - plain for n, f in (("4", four_of), ("3", three_of))}
cosine = torch.cosine_similarity(pushes["4"], pushes["3"]).mean()
along = ((pushes["3"] * pushes["4"]).sum(1) / pushes["4"].square().sum(1)).mean()
print(f"guidance: {guided_verdict.whose}")
print(f"between the two pushes: {cosine.arccos().rad2deg():.0f} degrees")
print(f"of the right push, three channels keep {along:.2f} along its direction")

# %% [markdown] lang="en"
# The fourth channel gets no push, so the direction is off, and along the right direction a quarter is
# missing. A scale of $1 + x$ on three channels should therefore do about what $1 + \tfrac34 x$ does on all
# four, as the paper's appendix notes. Walk with both, and look where the walks end, channel by channel.

# %% budget_s=3
scales, ends = np.linspace(1, 5, 9), {"all four": [], "three: 1 to 3": [], "three: channel 4": []}
ends |= {"all four, with 1 + 3x/4": []}
for s in scales.tolist():
    mean = lambda answer, s=s: toy.walk(lambda x, t: answer(x, t, s), x_T, num_steps=20).mean(0)
    three_channels, less = mean(three_of), mean(four_of, 1 + 0.75 * (s - 1))
    ends["all four"].append(mean(four_of).mean())
    ends["three: 1 to 3"].append(three_channels[:3].mean())
    ends["three: channel 4"].append(three_channels[3])
    ends["all four, with 1 + 3x/4"].append(less.mean())
gap = abs((3 * ends["three: 1 to 3"][-1] + ends["three: channel 4"][-1]) / 4 - less.mean())
print(f"scale {s:g}: three of four and 1 + 3x/4 differ by {gap:.4f} in the mean of all channels")

# %% [markdown] lang="en"
# Scales from 1 to 5; the dashed line is the class itself:

# %%
plots.curves(
    scales,
    ends,
    "Where walks end: with three guided channels the fourth stays, the others go too far.",
    xlabel="guidance scale 1 + x",
    ylabel="mean of the channel at the end",
    levels={"mean of the class": toy.DISTANCE / 2},
)

# %% [markdown] lang="en"
# With three channels guided, the fourth stays at the mean of the class whatever the scale, and the other three
# run ahead of the line that has all four. Their average is that of $1 + \tfrac34 x$: in this toy exactly, because
# the classes differ along one direction in which all channels have equal shares. A real latent's channels have
# no equal shares, so there it holds roughly. The paper's own pair is FID 2.27 with three channels and 2.20 with
# four [Peebles and Xie 2022, appendix A]: the mistake cost little, and it had to be found by reading the code.

# %% [markdown] lang="en"
# ### The scoreboard
#
# The last step of this chapter puts every predictor so far on one board: at the crossroads `twice`, three frames
# seen, fourteen asked for, the same {{scoreboard.config.contexts}} contexts of
# held-out digits, {{scoreboard.config.num_samples}} draws of each.
#
# - **valid**, **forbidden**, **total variation**, **energy score**: as in chapters 0 and 1.
# - **excess**: chapter 0's, of the *mean* of a predictor's draws: its squared distance from the exact mean,
#   over the least reachable error, both summed over the contexts. The exact mean has 0. A perfect sampler has one
#   over the number of draws, {{scoreboard.metrics.floor_excess.value:.2f}}, for its mean still scatters.
# - **macs** and **milliseconds**: multiply-accumulates of a clip, and the time for one of
#   {{scoreboard.config.num_samples}} clips that are drawn together, all networks one after the other on one
#   thread.
#
# Not everybody was trained here. ConvLSTM, VideoGAN and FAR know only `base`, where nobody comes back and a
# clip ends after twelve frames. They go on as they can: ConvLSTM and FAR frame by frame past their last, VideoGAN
# from its own last three frames. The board marks them by colour. NAR was trained on `twice`, in blocks of five, and
# goes on from its own five.
#
# Some are missing. SVG with a mixture ships no weights (chapter 1 has its numbers), and the networks of chapters 0
# to 4 that were trained on Moving MNIST or on the street have never seen a crossroads.

# %%
top = Choice(
    "7.top",
    "Which network comes closest to the true frequencies (total variation)?",
    ["SVG-LP", "VideoGAN", "NAR in blocks", "pixel diffusion", "latent DiT"],
)
top

# %% [markdown] lang="en"
# References that need no training stand among them. One of them is no predictor: "true futures" throws the true
# dice. Whoever is as good as it cannot be told from the truth with so many draws.

# %%
from course_lib.recipes import scoreboard
from course_lib.widgets.board import board, ranked, table

scores = scoreboard.read()
names = ["svg_lp", "videogan", "nar", "diffusion", "latent_dit"]
best = min(names, key=lambda name: scores[name]["total_variation"][0])
order = [scoreboard.CONTESTANTS[name].title for name in ranked(scores) if name in names]
top.reveal(
    top.options[names.index(best)],
    explanation="From the least total variation up: " + ", ".join(order) + ".",
    picture=board(scores, "Every predictor: valid, forbidden, total variation, excess, energy."),
)

# %% [markdown] lang="en"
# (The contexts are other and fewer ones than in the table above, so the shares are not quite the same. The three that
# throw dice all do better on these. On one board all have the same.)
#
# Read the board by columns, and see how each number alone can be won by the wrong predictor.
#
# - **excess** is won by the exact mean, which is *never* a future: its valid share is
#   {{scoreboard.metrics.valid_mean.value:.0f}}. Ranking by squared error ranks ghosts first.
# - **valid** is won by "likeliest future", which shows one clip whatever the dice say. Its total variation is
#   {{scoreboard.metrics.total_variation_likeliest.value:.2f}}.
# - **forbidden** is 0 for whoever draws nothing at all, the empty road included.
# - **total variation** counts the nearest future of each draw, valid or not. A smudge can have the right
#   frequencies.
# - **energy score** is proper: in expectation only the true distribution reaches the floor. But it is one
#   number, and it does not say *what* is wrong.
#
# Why do so many score so low? Look at one answer of each network, for a 4 that has .6, .3 and .1 for its turns and
# may come back:

# %%
plots.film_strip(
    scoreboard.read_answers(),
    "One future of a 4 by each network, beside a true one, over fourteen predicted frames.",
    frames=range(2, 17, 2),
)

# %% [markdown] lang="en"
# ConvLSTM draws its ghost on three arms, as it was taught. FAR feeds each frame back: what leads takes all, one arm
# here, and towards the end the strokes wear away. NAR draws a blur, goes on from the blur, and has lost the digit by
# its second block. VideoGAN's digit is out of shape from the start. Its second block begins from a digit that
# stands still, which no context of its training did, and little of it is left.
#
# A predictor with one answer (ConvLSTM, FAR, NAR, and VideoGAN, which answers every z alike) cannot have a small
# total variation, however good the answer is. ConvLSTM's valid share,
# {{scoreboard.metrics.valid_convlstm.value:.2f}}, comes from a single cue: the 0 and the 6 go straight on, and if
# they do not return, a network that has never seen a return is right.
#
# All numbers of the board, sorted by total variation. A star marks training on `base`; macs are in millions.

# %%
print(table(scores))

# %% [markdown] lang="en"
# The three that throw dice are SVG-LP, pixel diffusion and the latent DiT: valid
# {{scoreboard.metrics.valid_svg_lp.value:.2f}}, {{scoreboard.metrics.valid_diffusion.value:.2f}} and
# {{scoreboard.metrics.valid_latent_dit.value:.2f}}, at {{scoreboard.metrics.mega_macs_svg_lp.value:,.0f}},
# {{scoreboard.metrics.mega_macs_diffusion.value:,.0f}} and {{scoreboard.metrics.mega_macs_latent_dit.value:,.0f}}
# million multiply-accumulates a clip. SVG-LP throws one small die per frame, in one pass; diffusion throws large
# ones over and over for the whole clip. And they were not trained alike: SVG-LP had
# {{svg_lp.step:,}} updates on `twice`, the diffusion networks {{crossroads_diffusion_twice.step:,}} and
# {{latent_dit_twice.step:,}} after what they had learned at `base`. The board says what these networks do, not
# what their families can.
#
# ### Claim panel
#
# | claim | measured here | label |
# |---|---|---|
# | Diffusion in latents is cheaper at equal quality [Rombach et al. 2022, abstract] | training compute equal, base: valid {{latent_dit.metrics.valid.value:.3f}} in latents ({{latent_dit.metrics.valid.low:.3f}} to {{latent_dit.metrics.valid.high:.3f}}), {{crossroads_diffusion.metrics.valid.value:.3f}} in pixels ({{crossroads_diffusion.metrics.valid.low:.3f}} to {{crossroads_diffusion.metrics.valid.high:.3f}}); a drawn clip of twice: {{scoreboard.metrics.mega_macs_latent_dit.value:,.0f}} million multiply-accumulates against {{scoreboard.metrics.mega_macs_diffusion.value:,.0f}} | in training the same direction: better at equal compute. Not at this scale as to drawing: at 32 pixels the decoder costs what the walk saves; counted for larger frames, it turns |
# | The latent needs a scale near 1 [Rombach et al. 2022, official code] | forgotten after training, D leaves the range of futures (above); a training without it was not tried | same direction |
# | A scale of 1 + x on three of four channels acts about like 1 + 3x/4 on all [Peebles and Xie 2022, appendix A] | toy with known answers: equal in the mean of all channels; the fourth channel gets no push | reproduced, and explained |
# | DiT-XL/2 reaches FID 2.27 on ImageNet at 256 pixels [Peebles and Xie 2022, table 2] | nothing comparable; by the paper's own table it is 9.62 without guidance | not tested; read which of the two a figure is before you compare |

# %% [markdown] lang="en"
# ## 6. Before you go
#
# **In five lines**
# - An autoencoder makes the canvas small once, and every step of every walk is cheaper for it. What its
#   decoder cannot draw, no predictor in its latents can show.
# - The KL term of weight $10^{-6}$ is no prior. The latents have whatever spread was convenient, and one
#   measured number, the scale factor, brings it to where a noise schedule expects it.
# - A patch is a piece of a picture under a linear map: continuous, without a vocabulary, and exactly
#   invertible as long as the vector is long enough. Halve its edge, and there are four times as many.
# - Adaptive layer norm tells all tokens one vector by shift, scale and gate. Gates that begin at zero make
#   the untrained network the identity. What has a place or an order needs tokens.
# - Work, counted in multiply-accumulates, says more about a network than its parameters do, if patches may
#   change. It is a strong correlate and no law: the number of tokens counts by itself.
#
# **Easily mistaken**
# - "32 x 32 x 4 instead of 256 x 256 x 3 is a compression by 48." It is 48 times fewer *numbers*. A pixel
#   was eight bits, a latent number is a float.
# - "The latent of a KL autoencoder is N(0, I)." Decode a draw of N(0, I) and look (section 1).
# - "0.18215 is *the* scale factor." It belongs to one autoencoder. Yours has another; measure it.
# - "A patch is a visual word." There is no dictionary. Two patches are never "the same token".
# - "adaLN-Zero has fewer parameters, as it is only a norm." It has more: each block has a linear layer of
#   its own for six vectors.
# - "Gflops are twice the multiply-accumulates." In some papers. DiT's Gflops *are* multiply-accumulates.
# - "DiT reached an FID of 2.27." With guidance. Without, 9.62 [Peebles & Xie 2023, table 2].
# - "Latent diffusion is a kind of diffusion." It is a change of coordinates around any method.
#
# **Quiz**
#
# <details><summary>You halve the patch edge of a DiT. What happens to its parameters, its tokens, its
# work?</summary>The parameters hardly change: only the first and last layers know the patch. Tokens are
# four times as many. The work grows about four times: attention's products grow sixteen times, but they are
# a small part, and a share is done once for a picture.</details>
#
# <details><summary>Your latent diffusion draws grey fog. Trained and sampled without an error message.
# Where do you look first?</summary>At the scale factor: is it the one of *this* autoencoder, multiplied
# after encoding and divided out before decoding, both times? Then at clipping: latents have no limits
# of -1 and 1.</details>
#
# <details><summary>You set the last linear layer of every block to zero, to be very safe, on top of gates
# that are zero. Why does nothing learn?</summary>A gate's gradient is what its branch says: zero. The
# branch's gradient passes through the gate: zero. Each waits for the other.</details>
#
# <details><summary>A colleague wants to tell a video DiT the five past frames by adaLN. What do you
# say?</summary>adaLN has one vector for all tokens: it can say *that* something happened, hardly *where*.
# Past frames have places. Put them on channels or among the tokens, and leave the time to adaLN.</details>
#
# <details><summary>A table shows XL/8 with more Gflops than S/2 and a far worse FID. Does that refute
# "compute matters"?</summary>It refutes "compute alone decides". XL/8 spends its work on width with sixteen
# tokens; S/2 has 256. Among networks of equal tokens the larger one wins.</details>
#
# <details><summary>A latent predictor reaches the autoencoder's own reconstruction error at the crossroads.
# Is there anything left to gain?</summary>Yes: a better decoder, and a better latent. The encoder's latent is
# not the best one for its decoder (section 1). For this autoencoder and its encoder's latents, no.</details>
#
# **Further reading**
# - Rombach et al., *High-resolution image synthesis with latent diffusion models*, 2022, arXiv 2112.10752:
#   sections 3.1 and 4.1, appendix G.
# - Peebles and Xie, *Scalable diffusion models with transformers*, 2023, arXiv 2212.09748: section 3.2 and
#   figure 3; table 4; section 5.
# - Dosovitskiy et al., *An image is worth 16 x 16 words*, 2020, arXiv 2010.11929: section 3.1, whose title is
#   the misconception above.
# - van den Oord et al., *Neural discrete representation learning*, 2017, arXiv 1711.00937: a latent that
#   *is* made of symbols.
# - Perez et al., *FiLM: visual reasoning with a general conditioning layer*, 2018, arXiv 1709.07871: shift
#   and scale from a condition, before DiT.
# - Tian et al., *U-DiTs: downsample tokens in U-shaped diffusion transformers*, 2024, arXiv 2405.02730: the
#   U-Net's shape is not obsolete.
#
# **Where to go on.** Every chapter so far has drawn all frames of a short future. Longer videos need
# diffusion that goes on from its own frames, and walks that are straighter than these need fewer steps:
# video diffusion and flow matching come next, and then all families on one benchmark.
