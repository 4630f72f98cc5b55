"""Chapter 2: the two-stream VAE-GAN on scenes, its continuation as a pure GAN, and a sweep.

Source: Vondrick et al. 2016 (arXiv 1609.02612). The pure GAN is theirs. From scratch it draws
poorly after minutes, so the main model has a whole-clip encoder: the code of a real clip must draw
that clip again (squared and absolute error, KL to N(0, I)), while the discriminator judges
reconstructions and, later, samples. It is named a two-stream VAE-GAN, for that is what it is.

Measured on held-out clips and on samples, with the detector of `scenes.py`:

    iou_reconstruction      mask above .5 of encoder -> generator against the true mask
    iou_chance              the same against the true mask of another clip
    iou_samples, detection  mask of samples against the detector's; frames where it finds a sprite
    flicker_reconstruction, flicker_samples   outside what moves, grey levels 0..255

A VAE-GAN's samples are drawn from the Gaussian that fits the codes of real clips: they are not
quite where N(0, I) is, of which the discriminator saw samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.data.scenes import draw_scenes
from course_lib.methods.gan import generator_loss, mask_penalty
from course_lib.models.videogan import Composition, VideoGAN, VideoGANConfig
from course_lib.nn.gaussian import DiagonalGaussian, kl_divergence
from course_lib.recipes.adversary import GANTraining, flat_then_linear, objectives
from course_lib.recipes.videogan_exam import evaluate, monitor, sheet
from course_lib.training.loop import Batch, Objective
from course_lib.training.recipe import Recipe


@dataclass(frozen=True)
class SceneGAN(GANTraining):
    """A training on scenes; with `reconstruction` 0 it is a pure GAN."""

    preset: str = "plain"
    reconstruction: float = 30.0  # weight of the encoder's error in redrawing a clip
    kl: float = 0.01  # weight of a nat of the code, reached in `kl_ramp` updates
    kl_ramp: int = 800
    prior_from: int = 600  # updates until samples of N(0, I) are judged beside reconstructions
    mask_weight: float = 1.0  # lambda of the mask penalty, which is a mean


def players(model: VideoGAN, config: SceneGAN) -> list[Objective]:
    """The discriminator, and the generator with its encoder."""
    drawing = [model.generator] if model.encoder is None else [model.generator, model.encoder]
    return objectives(
        config,
        model.discriminator,
        drawing,
        lambda *args: play(*args)[0].video,
        drawing_loss,
        draws_alone=bool(config.reconstruction),
    )


def play(
    config: SceneGAN, model: Any, batch: Batch, step: int
) -> tuple[Composition, DiagonalGaussian | None]:
    """What the generator draws in this update: reconstructions first, then samples."""
    if not config.reconstruction:
        return model.generate(batch["z"]), None
    posterior = model.encode(batch["video"])
    z = posterior.mean + posterior.sigma * batch["eps"]
    if step >= config.prior_from:
        z = torch.cat([z, batch["z"]])
    return model.generate(z), posterior


def drawing_loss(
    config: SceneGAN, model: Any, batch: Batch, step: int
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """The generator's: to be taken for real, a small mask, and a VAE-GAN's redrawn clips."""
    drawn, posterior = play(config, model, batch, step)
    loss, parts = drawn.video.new_zeros(()), {}
    if step >= config.adversary_from:
        loss = parts["fooling"] = generator_loss(model.discriminator(drawn.video))
    if drawn.mask is not None:
        parts["mask"] = mask_penalty(drawn.mask)
        loss = loss + config.mask_weight * parts["mask"]
    if posterior is not None:
        video = batch["video"]
        rebuilt = drawn.video[: len(video)]
        parts["error"] = F.mse_loss(rebuilt, video)
        parts["kl"] = kl_divergence(posterior, DiagonalGaussian.standard(posterior.mean)).mean()
        ramp = min(1.0, (step + 1) / config.kl_ramp)
        redrawn = parts["error"] + 0.3 * F.l1_loss(rebuilt, video)
        loss = loss + config.reconstruction * redrawn + ramp * config.kl * parts["kl"]
    return loss, parts


def draw(config: SceneGAN, generator: torch.Generator) -> dict[str, Tensor]:
    """Real clips, the noise of their codes, and codes of the prior, half as many in a VAE-GAN."""
    num, dim = config.batch_size, config.model.latent_dim
    video = draw_scenes(num, preset=config.preset, generator=generator).video
    num_samples = num // 2 if config.reconstruction else num
    return {
        "video": video,
        "eps": torch.randn(num, dim, generator=generator),
        "z": torch.randn(num_samples, dim, generator=generator),
    }


def recipe(name: str, sentence: str, small: SceneGAN, **changes: Any) -> Recipe:
    """A recipe on scenes; all but the main one are members of a sweep."""
    return Recipe(
        **{
            "name": name,
            "sentence": sentence,
            "data": f"{small.preset} scenes",
            "small": small,
            "full": replace(small, steps=10 * small.steps, batch_size=64),
            "build": VideoGAN,
            "objectives": players,
            "draw": draw,
            "evaluate": evaluate,
            "sheet": sheet,
            "criterion": "detection",
            "higher_is_better": True,
            "ships_weights": False,
            "schedule": flat_then_linear,
            "monitor": monitor,
            **changes,
        }
    )


SMALL = SceneGAN(
    model=VideoGANConfig(
        size=32,
        num_frames=8,
        latent_dim=48,
        foreground_dims=(96, 48, 24),
        background_dims=(96,),
        background_upsample=4,
        mask_bias=-2.0,
        discriminator_dims=(16, 32, 64),
        discriminator_norm=False,
        encoder_dims=(16, 32, 64),
    ),
    steps=2400,
    batch_size=16,
    learning_rate=5e-4,
    ema_decay=0.995,
    every=200,
    discriminator_rate=2e-4,
    r1=1.0,
)
VIDEOGAN = recipe(
    "videogan",
    "The two-stream VAE-GAN on plain scenes",
    SMALL,
    criterion="iou_reconstruction",
    ships_weights=True,
)


def main_model() -> VideoGAN:
    """The shipped two-stream VAE-GAN."""
    model = VideoGAN(VIDEOGAN.small.model)
    model.load_state_dict(VIDEOGAN.load().state_dict())
    return model.eval()


RECIPES = (VIDEOGAN,)
