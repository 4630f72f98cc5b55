"""Chapter 7: autoencoders that make frames smaller, by 2, 4 or 8, into 1, 4 or 16 channels.

Source: Rombach et al. 2022 (arXiv 2112.10752), section 3.1 and table 8's question, at the size of
two CPU cores: squared error and a KL of weight 1e-6, without perceptual and adversarial loss.
Half of each batch are frames of the course, half crops of photographs; one network serves both.

Measured on what is held out, means instead of draws of the posterior:

    *_psnr            of the reconstruction: crossroads, scenes, street, photos (whole, 256 pixels)
    crops_psnr        of crops of the held-out photographs, as the encoder codes them
    closest_psnr      of the same crops from the nearest latent that descent finds
    distance          D of rebuilt futures at the crossroads to the true ones (evaluation/futures)
    separation        squared distance of two futures in scaled latents: what noise has to hide
    scale             one over the latents' deviation, on frames of the crossroads
    nats              KL of a crossroads frame's posterior to N(0, I)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from course_lib import paths
from course_lib.data.crossroads import BASE, Crossroads
from course_lib.data.digits import load_digits
from course_lib.data.pedestrians import load_strip
from course_lib.data.photos import draw_crops, load_photos
from course_lib.data.scenes import draw_scenes
from course_lib.data.video import to_float
from course_lib.evaluation import futures as judge
from course_lib.evaluation.frames import psnr
from course_lib.interfaces import Frames
from course_lib.methods.latent import (
    KL_WEIGHT,
    LatentSpace,
    autoencoding_loss,
    closest_latent,
)
from course_lib.models.autoencoder_kl import PUBLISHED, AutoencoderKL, AutoencoderKLConfig
from course_lib.nn.gaussian import DiagonalGaussian, kl_divergence
from course_lib.recipes.film import film
from course_lib.training.loop import Batch, Objective, warmup_cosine
from course_lib.training.recipe import Config, Metric, Recipe

SIZE = 32  # pixels of what is trained on
EXAM_SEED = 20267
EXAMINED = 100  # frames, or contexts
CROPS, CROP = 8, 64  # held-out crops for the nearest latent, and their pixels
SHARES = {"crossroads": 4, "scenes": 2, "street": 2, "photos": 8}  # of 16 frames


@dataclass(frozen=True)
class AutoencoderTraining(Config):
    """The numbers of one training."""

    kl_weight: float = KL_WEIGHT


@cache
def crossroads(split: str) -> Crossroads:
    """The world at 32 pixels with the digits of one split."""
    return Crossroads(load_digits(split), BASE)


def draw_frames(
    kind: str, number: int, split: str, generator: torch.Generator
) -> Float[Tensor, "{number} 3 32 32"]:
    """Frames of one kind; grey ones in three equal channels."""
    if kind == "photos":
        return draw_crops(number, SIZE, split=split, generator=generator)
    if kind == "crossroads":
        video = crossroads(split).sample(number, generator=generator).video
    elif kind == "scenes":
        halves = (("plain", number - number // 2), ("hard", number // 2))
        clips = [
            draw_scenes(many, preset=preset, split=split, num_frames=2, generator=generator).video
            for preset, many in halves
            if many
        ]
        video = torch.cat(clips)
    else:
        return draw_street(number, split, generator)
    chosen = torch.randint(video.shape[1], (number,), generator=generator)
    return video[torch.arange(number), chosen].expand(-1, 3, -1, -1)


def draw_street(number: int, split: str, generator: torch.Generator) -> Frames:
    """Crops of the pedestrians' road."""
    strip = load_strip(split)
    ends = torch.tensor([len(strip), strip.shape[2] - SIZE + 1, strip.shape[3] - SIZE + 1])
    places = (torch.rand(number, 3, generator=generator) * ends).long().tolist()
    crops = [strip[n, :, top : top + SIZE, left : left + SIZE] for n, top, left in places]
    return to_float(torch.stack(crops)).expand(-1, 3, -1, -1)


def draw(
    shares: Mapping[str, int], config: AutoencoderTraining, generator: torch.Generator
) -> dict[str, Tensor]:
    """Frames of every kind in their shares, and the noise of their latents."""
    whole = sum(shares.values())
    frames = torch.cat(
        [
            draw_frames(kind, max(config.batch_size * share // whole, 1), "train", generator)
            for kind, share in shares.items()
        ]
    )[:, : config.model.channels]
    c, side = config.model.latent_channels, SIZE // config.model.factor
    eps = torch.randn(len(frames), c, side, side, generator=generator)
    return {"frames": frames, "eps": eps}


def objectives(model: AutoencoderKL, config: AutoencoderTraining) -> list[Objective]:
    """The loss of the method; Adam."""

    def loss(model: torch.nn.Module, batch: Batch, _step: int) -> Tensor:
        rebuilt, posterior = model(batch["frames"], batch["eps"])
        each = autoencoding_loss(rebuilt, batch["frames"], posterior, kl_weight=config.kl_weight)
        return each.mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    return [Objective(loss, optimizer, max_grad_norm=1.0)]


def grey_space(model: AutoencoderKL) -> LatentSpace:
    """Grey frames as latents, of colour networks too; the scale is measured on training clips."""
    clips = crossroads("train").sample(EXAMINED, generator=torch.Generator().manual_seed(EXAM_SEED))
    device = next(model.parameters()).device

    def encode(frames: Frames) -> Tensor:
        return model.encode(frames.expand(-1, model.config.channels, -1, -1)).mean

    def decode(z: Tensor) -> Frames:
        return model.decode(z).mean(1, keepdim=True).clamp(-1, 1)

    with torch.no_grad():
        return LatentSpace(encode, decode).measured(clips.video.to(device))


@torch.no_grad()
def rebuilt(model: AutoencoderKL, frames: Frames) -> Frames:
    """As they come back from the posterior's mean, on the CPU."""
    device = next(model.parameters()).device
    parts = [model(part.to(device))[0].float().cpu() for part in frames.split(20)]
    return torch.cat(parts).clamp(-1, 1)


@torch.no_grad()
def nats(model: AutoencoderKL, frames: Frames) -> Float[Tensor, "B"]:
    """KL of each frame's posterior to N(0, I), over the whole latent."""
    posterior = model.encode(frames.to(next(model.parameters()).device))
    kl = kl_divergence(posterior, DiagonalGaussian.standard(posterior.mean))  # (B, c, h)
    return kl.flatten(1).sum(1).float().cpu()


def of_frames(found: Frames, frames: Frames) -> Metric:
    """PSNR of each frame, averaged."""
    return Metric.of_mean(psnr(found[:, None], frames[:, None])[:, 0])


def at_crossroads(model: AutoencoderKL) -> dict[str, Metric]:
    """What its latents cost a future, and how far two futures are apart in them."""
    held_out, space = crossroads("test"), grey_space(model)
    protocol = judge.Protocol(contexts_per_cue=EXAMINED // 5, num_samples=1)
    generator = torch.Generator().manual_seed(EXAM_SEED)
    distances, separations = [], []
    device = next(model.parameters()).device
    with torch.no_grad():
        for index, arrival in judge.draw_contexts(held_out, protocol, generator=generator):
            futures = held_out.futures(index, arrival, include_impossible=True)
            z = space.encode(futures.clips.to(device))
            whole, _ = judge.distances(space.decode(z).float().cpu(), futures)
            distances.append(whole.diagonal().mean())
            separations.append((z[0] - z[2]).square().sum().cpu())  # left and right
    return {
        "distance": Metric.of_mean(torch.stack(distances)),
        "separation": Metric.of_mean(torch.stack(separations)),
        "scale": Metric(space.scale, space.scale, space.scale),
    }


def evaluate(model: AutoencoderKL, _config: AutoencoderTraining) -> dict[str, Metric]:
    """Everything the module's docstring names."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    metrics = {}
    for kind in ("crossroads", "scenes", "street"):
        frames = draw_frames(kind, EXAMINED, "test", generator)
        metrics[f"{kind}_psnr"] = of_frames(rebuilt(model, frames), frames)
        if kind == "crossroads":
            metrics["nats"] = Metric.of_mean(nats(model, frames))
    photos = to_float(load_photos("test"))
    metrics["photos_psnr"] = of_frames(rebuilt(model, photos), photos)
    crops = draw_crops(CROPS, CROP, split="test", generator=generator)
    metrics["crops_psnr"] = of_frames(rebuilt(model, crops), crops)
    device = next(model.parameters()).device
    with torch.no_grad():
        start = model.encode(crops.to(device)).mean
        z = closest_latent(model.decode, crops.to(device), start, num_steps=150)
        nearest = model.decode(z).float().cpu().clamp(-1, 1)
    metrics["closest_psnr"] = of_frames(nearest, crops)
    return metrics | at_crossroads(model)


def monitor(model: AutoencoderKL, _config: AutoencoderTraining) -> dict[str, float]:
    """One point of the history."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    return {
        f"{kind}_psnr": of_frames(rebuilt(model, frames), frames).value
        for kind in ("crossroads", "photos")
        for frames in [draw_frames(kind, 40, "test", generator)]
    }


def pictures() -> Float[Tensor, "3 3 256 256"]:
    """What a sheet rebuilds: the two held-out photographs, and 64 held-out frames of the course."""
    generator = torch.Generator().manual_seed(EXAM_SEED)
    frames = torch.cat(
        [draw_frames(kind, 64 // 4, "test", generator) for kind in ("crossroads", "street")]
        + [draw_frames("scenes", 64 // 2, "test", generator)]
    )
    return torch.cat([to_float(load_photos("test")), as_mosaic(frames)])


def as_mosaic(frames: Float[Tensor, "64 3 32 32"]) -> Float[Tensor, "1 3 256 256"]:
    """Eight rows of eight."""
    return rearrange(frames, "(a b) c h w -> 1 c (a h) (b w)", a=8)


def sheet(model: AutoencoderKL, _config: AutoencoderTraining) -> Image.Image:
    """`pictures` as they come back; the frames one by one, each from a latent of its own."""
    originals = pictures()
    frames = rearrange(originals[2:], "1 c (a h) (b w) -> (a b) c h w", h=SIZE, w=SIZE)
    found = [rebuilt(model, originals[:2]), as_mosaic(rebuilt(model, frames))]
    return film(torch.cat(found)[None])


def read_sheet(recipe: Recipe) -> Float[Tensor, "3 3 256 256"]:
    """The stored sheet: what the recipe's network makes of `pictures`."""
    with Image.open(paths.SHEETS / f"{recipe.name}.webp") as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB")))
    framed = rearrange(pixels, "h (n w) c -> n c h w", n=3)
    return to_float(framed[..., 1:-1, 1:-1].contiguous())


SMALL = AutoencoderTraining(
    model=AutoencoderKLConfig(),
    steps=1000,
    batch_size=32,
    learning_rate=2e-3,
    ema_decay=0.99,
    every=250,
    precision="bf16-mixed",
)


def recipe(dims: tuple[int, ...], latent_channels: int, *, ships_weights: bool = False) -> Recipe:
    """A member of the sweep."""
    # One group: with few channels each, norms lose the colours, which are what channels differ in.
    model = AutoencoderKLConfig(dims=dims, latent_channels=latent_channels, num_groups=1)
    wide = tuple(4 * dim for dim in dims)
    return Recipe(
        name=f"autoencoder_f{model.factor}_c{latent_channels}",
        sentence=f"Frames {model.factor} times smaller, {latent_channels} channels",
        data="frames of crossroads, scenes, street; crops of photographs; 32 pixels, train splits",
        small=replace(SMALL, model=model),
        full=replace(
            SMALL,
            model=replace(model, dims=wide, num_blocks=PUBLISHED.num_blocks, num_groups=32),
            steps=20_000,
            batch_size=256,
            learning_rate=3e-4,
            ema_decay=0.999,
            every=5000,
            precision=None,
        ),
        build=AutoencoderKL,
        objectives=objectives,
        draw=partial(draw, SHARES),
        evaluate=evaluate,
        sheet=sheet,
        exact_sheet=True,
        criterion="photos_psnr",
        higher_is_better=True,
        ships_weights=ships_weights,
        schedule=lambda config: warmup_cosine(config.steps, min(50, config.steps // 10)),
        monitor=monitor,
    )


F2, F4, F8 = (16, 32), (16, 32, 64), (16, 32, 64, 64)
AUTOENCODER = recipe(F4, 4, ships_weights=True)
RECIPES = (recipe(F2, 4), AUTOENCODER, recipe(F8, 4), recipe(F4, 1), recipe(F4, 16))
