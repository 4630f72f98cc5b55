"""Latent space: any method, in a smaller picture that an autoencoder made.

Source: Rombach et al. 2022 (arXiv 2112.10752, LDM), sections 3.1 and 3.2; the scale is the official
code's `scale_by_std`. Departures: no perceptual and no adversarial loss; the squared error instead
of the absolute one, which alone leaves thin strokes dark for long; and the loss is a mean over
pixels where theirs is a sum, KL weight and all.

The weight of the KL is so small that latents are not N(0, I): their spread is whatever was
convenient. Noise schedules suppose a spread near 1, so latents are multiplied with one number,
measured, and divided by it before they are decoded. With another autoencoder it is another number.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from course_lib.interfaces import Frames, Video, VideoPredictor
from course_lib.nn.gaussian import DiagonalGaussian, kl_divergence

KL_WEIGHT = 1e-6
Latents = Float[Tensor, "*batch c h w"]


def autoencoding_loss(
    x_hat: Frames, x: Frames, posterior: DiagonalGaussian, *, kl_weight: float = KL_WEIGHT
) -> Float[Tensor, "B"]:
    """Squared error of each frame, and kl_weight nats of its latent, both for each pixel value."""
    kl = kl_divergence(posterior, DiagonalGaussian.standard(posterior.mean))  # (B, c, h)
    kl_per_value = kl.flatten(1).sum(1) / x[0].numel()
    return (x_hat - x).square().flatten(1).mean(1) + kl_weight * kl_per_value


def measured_scale(latents: Latents) -> float:
    """One over the standard deviation of all numbers together.

    Raises:
        ValueError: All numbers are equal.
    """
    spread = latents.double().std().item()
    if not spread > 0:
        raise ValueError(f"the latents' standard deviation is {spread}; permitted: above 0")
    return 1 / spread


@dataclass(frozen=True)
class LatentSpace:
    """An autoencoder as a change of coordinates, for frames and for whole clips."""

    encoder: Callable[[Frames], Tensor]  # (B, C, H, W) to (B, c, h, w)
    decoder: Callable[[Tensor], Frames]
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale is {self.scale}; permitted: above 0")

    def measured(self, frames: Float[Tensor, "*batch C H W"]) -> "LatentSpace":
        """The same space with the scale that gives these frames' latents a deviation of 1."""
        plain = replace(self, scale=1.0)
        return replace(self, scale=measured_scale(plain.encode(frames)))

    def encode(self, frames: Float[Tensor, "*batch C H W"]) -> Latents:
        """The scaled latent of every frame."""
        return self.scale * _each(self.encoder, frames)

    def decode(self, latents: Latents) -> Float[Tensor, "*batch C H W"]:
        """The frame of every scaled latent."""
        return _each(self.decoder, latents / self.scale)


@dataclass(frozen=True)
class LatentPredictor:
    """A predictor of latents as a predictor of video: encode, predict, decode."""

    predict_latents: VideoPredictor
    space: LatentSpace

    @torch.no_grad()
    def predict(
        self, context: Video, horizon: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "B {horizon} C H W"]:
        """One future of each context; whatever the decoder cannot say is lost."""
        latents = self.space.encode(context)
        return self.space.decode(self.predict_latents(latents, horizon, generator=generator))


def closest_latent(
    decoder: Callable[[Tensor], Frames],
    frames: Frames,
    start: Float[Tensor, "B c h w"],
    *,
    num_steps: int = 200,
    learning_rate: float = 0.02,
) -> Float[Tensor, "B c h w"]:
    """The latent found by descent whose decoding is nearest to each frame, in squared error.

    It bounds from above what no prediction in this space can go below, min over z of |x - D(z)|;
    the encoder's own latent is only one candidate, the start.
    """
    z = start.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=learning_rate)
    best, least = start.detach().clone(), torch.full((len(frames),), torch.inf).to(frames)
    for _ in range(num_steps + 1):
        with torch.enable_grad():
            error = (decoder(z) - frames).square().flatten(1).mean(1)
            (gradient,) = torch.autograd.grad(error.sum(), z)
        closer = error.detach() < least
        best[closer], least[closer] = z.detach()[closer], error.detach()[closer]
        z.grad = gradient
        optimizer.step()
    return best


def _each(change: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    """Map by map, whatever stands before channels, rows and columns."""
    changed = change(maps.reshape(-1, *maps.shape[-3:]))
    return changed.reshape(*maps.shape[:-3], *changed.shape[1:])
