"""Chapter 7, section 1: what five autoencoders lose, measured on the sheets that are shown.

Names of metrics end in a member of the sweep, f4_c4, and mostly in a picture: chelsea and flower,
the two held-out photographs, or frames, 64 held-out frames of the course as one picture.

    psnr                  of the whole picture, in dB
    mobilenet             MobileNetV2 distance (evaluation/mobilenet); its weights do not ship
    psnr_shift, ...       a control that needs no network: photographs moved by one pixel, or
    mobilenet_blur, ...   or blurred over 3 x 3 pixels
    distance_encoder      D of rebuilt futures at the crossroads, and of the nearest futures that
    distance_closest      descent finds from there: with the autoencoder that ships
"""

from collections.abc import Callable
from functools import cache, partial
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from course_lib.data.photos import NAMES, load_photos
from course_lib.data.video import to_float
from course_lib.evaluation import futures as judge
from course_lib.evaluation.frames import psnr
from course_lib.evaluation.mobilenet import load_mobilenet, mobilenet_distance
from course_lib.interfaces import Frames
from course_lib.methods.latent import closest_latent
from course_lib.models.autoencoder_kl import AutoencoderKL
from course_lib.recipes import latent_autoencoder as autoencoders
from course_lib.recipes.latent_autoencoder import AUTOENCODER, EXAM_SEED, pictures, read_sheet
from course_lib.training.member import MemberMeasurement
from course_lib.training.recipe import Metric, Recipe

PICTURES = (*NAMES["test"], "frames")
DESCENT_STEPS = 60  # to the nearest future
BANDS = 32  # of spatial frequency


def short(recipe: Recipe) -> str:
    """f4_c4, as its metrics end."""
    return recipe.name.removeprefix("autoencoder_")


@cache
def members() -> dict[tuple[int, int], Recipe]:
    """The sweep by (f, channels), those with the most numbers first."""
    made = {}
    for recipe in autoencoders.RECIPES:
        config = recipe.small.model
        made[config.factor, config.latent_channels] = recipe
    return dict(sorted(made.items(), key=lambda item: fewer(*item[0])))


def fewer(factor: int, channels: int) -> float:
    """How many times fewer numbers the latent of a picture in colour has."""
    return 3 * factor**2 / channels


def exactly(values: Float[Tensor, "N"], names: list[str]) -> dict[str, Metric]:
    """One picture each: nothing to average, so no interval."""
    return {name: Metric(*[value] * 3) for name, value in zip(names, values.tolist(), strict=True)}


def compare(found: Frames, wanted: Frames, names: list[str]) -> dict[str, Metric]:
    """PSNR and MobileNetV2 distance of each pair; `names` is how the metrics end."""
    apart = mobilenet_distance(load_mobilenet(), found, wanted)
    return {
        **exactly(psnr(found[:, None], wanted[:, None])[:, 0], [f"psnr_{n}" for n in names]),
        **exactly(apart, [f"mobilenet_{n}" for n in names]),
    }


def of_member(recipe: Recipe) -> dict[str, Metric]:
    """The pictures of one sheet."""
    names = [f"{short(recipe)}_{picture}" for picture in PICTURES]
    return compare(read_sheet(recipe), pictures(), names)


def shift(photos: Frames) -> Frames:
    """One pixel to the right; the column that comes in is the first one again."""
    return torch.cat([photos[..., :1], photos[..., :-1]], -1)


def blur(photos: Frames) -> Frames:
    """Every pixel the mean of nine."""
    return F.avg_pool2d(F.pad(photos, (1, 1, 1, 1), mode="replicate"), 3, 1)


CHANGES: dict[str, Callable[[Frames], Frames]] = {"shift": shift, "blur": blur}


def control() -> dict[str, Metric]:
    """What the two measures say of changes that everybody can judge."""
    photos, metrics = to_float(load_photos("test")), {}
    for change, make in CHANGES.items():
        names = [f"{change}_{picture}" for picture in NAMES["test"]]
        metrics |= compare(make(photos), photos, names)
    return metrics


def nearest_futures() -> dict[str, Metric]:
    """D of futures as the encoder codes them, and as near as descent comes to them."""
    model = cast(AutoencoderKL, AUTOENCODER.load())
    space = autoencoders.grey_space(model)
    held_out = autoencoders.crossroads("test")
    protocol = judge.Protocol(contexts_per_cue=1, num_samples=1)
    generator, found = torch.Generator().manual_seed(EXAM_SEED), {"encoder": [], "closest": []}
    for index, arrival in judge.draw_contexts(held_out, protocol, generator=generator):
        futures = held_out.futures(index, arrival, include_impossible=True)
        frames, places = futures.clips.flatten(0, 1).unique(dim=0, return_inverse=True)
        z = space.encode(frames)
        closest = closest_latent(space.decode, frames, z, num_steps=DESCENT_STEPS)
        for name, latents in (("encoder", z), ("closest", closest)):
            clips = space.decode(latents)[places].view_as(futures.clips)
            found[name].append(judge.distances(clips, futures)[0].diagonal().mean())
    return {
        f"distance_{name}": Metric.of_mean(torch.stack(values)) for name, values in found.items()
    }


def error_by_frequency(
    found: Frames, wanted: Frames
) -> tuple[Float[Tensor, "bands"], Float[Tensor, "bands"]]:
    """Spatial frequencies in cycles per pixel, and of each the error's power over the picture's.

    0: all of it comes back. 1: as if it had been left out.
    """
    size = wanted.shape[-1]
    power = [
        torch.fft.fft2(x.double()).abs().square().sum((0, 1)) for x in (found - wanted, wanted)
    ]
    along = torch.fft.fftfreq(size, dtype=torch.float64)
    frequency = torch.hypot(along[:, None], along)
    band = (frequency * 2 * BANDS).long()  # up to half a cycle per pixel; beyond are corners only
    sums = [
        torch.zeros(int(band.max()) + 1).double().index_add(0, band.flatten(), p.flatten())
        for p in power
    ]
    centres = (torch.arange(BANDS) + 0.5) / (2 * BANDS)
    return centres, (sums[0] / sums[1])[:BANDS].float()


COMPRESSION = MemberMeasurement(
    name="compression",
    sentence="What five autoencoders lose of photographs and frames",
    networks=autoencoders.RECIPES,
    config={"descent_steps": DESCENT_STEPS},
    parts={
        "control": control,
        "nearest": nearest_futures,
        **{short(recipe): partial(of_member, recipe) for recipe in autoencoders.RECIPES},
    },
    asks={
        "control": (),
        "nearest": (AUTOENCODER,),
        **{short(recipe): (recipe,) for recipe in autoencoders.RECIPES},
    },
)
RECIPES = (COMPRESSION,)
