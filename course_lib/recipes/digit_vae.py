"""Chapter 1: an autoencoder and a VAE that squeeze a digit into two numbers.

Both are the same network on the same digits. The VAE's pixels are N(x_hat, sigma^2); its sigma is
about the error that two numbers leave, so that the loss is a true bound with an honest sigma. The
autoencoder draws no noise and pays no KL.

What a reader asks of a plane of codes: how well is a digit drawn again, do the digits of a class
lie together, and what comes out at a place that no digit was sent to?
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from PIL import Image
from torch import Tensor

from course_lib.data.video import to_bytes
from course_lib.interfaces import Frames
from course_lib.methods.vae import elbo, pixel_beta, vae_loss
from course_lib.models.digit_vae import DigitVAE, DigitVAEConfig
from course_lib.nn.gaussian import DiagonalGaussian, kl_divergence
from course_lib.recipes.classifier import CLASSIFIER, digits
from course_lib.training.loop import Batch, Objective, warmup_cosine
from course_lib.training.recipe import Config, Metric, Recipe

NUM_PIXELS = 28 * 28
NUM_DRAWS = 4000  # decoded places for the share that reads as a digit
SURE = 0.9  # the classifier's confidence from which a picture reads as a digit
EVALUATION_SEED = 28


@dataclass(frozen=True)
class DigitConfig(Config):
    """The numbers of one training, and whether it is variational."""

    sigma: float | None = None  # standard deviation of a pixel; None: no noise and no KL

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma is not None and not self.sigma > 0:
            raise ValueError(f"sigma is {self.sigma}; permitted: None or above 0")


def draw(config: DigitConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """Digits of the train split and the noise of their codes."""
    images, _ = digits("train")
    chosen = torch.randint(len(images), (config.batch_size,), generator=generator)
    eps = torch.randn(config.batch_size, config.model.latent_dim, generator=generator)
    return {"images": images[chosen], "eps": eps if config.sigma else torch.zeros_like(eps)}


def objectives(model: DigitVAE, config: DigitConfig) -> list[Objective]:
    """Squared error, in a VAE with the KL that belongs to its sigma; AdamW."""
    beta = pixel_beta(config.sigma, NUM_PIXELS) if config.sigma else 0.0

    def loss(model: torch.nn.Module, batch: Batch, _step: int) -> Tensor:
        x_hat, posterior = model(batch["images"], batch["eps"])
        prior = DiagonalGaussian.standard(posterior.mean)
        return vae_loss(x_hat, batch["images"], posterior, prior, beta=beta).mean()

    return [Objective(loss, torch.optim.AdamW(model.parameters(), lr=config.learning_rate))]


@torch.no_grad()
def codes(model: DigitVAE, split: str) -> DiagonalGaussian:
    """The posterior of every digit of a split; an autoencoder's codes are the means."""
    device = next(model.parameters()).device
    parts = [model.encode(part.to(device)) for part in digits(split)[0].split(500)]
    mean, logvar = (torch.cat([getattr(p, name) for p in parts]) for name in ("mean", "logvar"))
    return DiagonalGaussian(mean.cpu(), logvar.cpu())


@torch.no_grad()
def decode(model: DigitVAE, z: Float[Tensor, "N Z"]) -> Frames:
    """The pictures at these places."""
    device = next(model.parameters()).device
    return torch.cat([model.decode(part.to(device)).float().cpu() for part in z.split(500)])


def decode_plane(
    model: DigitVAE, xs: Float[Tensor, "W"], ys: Float[Tensor, "H"]
) -> Float[Tensor, "H W 1 28 28"]:
    """The picture at every (x, y) of a grid; `ys` goes down the rows."""
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    return decode(model, torch.stack([x, y], -1).flatten(0, 1)).unflatten(0, x.shape)


def random_places(
    model: DigitVAE, num: int, *, variational: bool, generator: torch.Generator
) -> Float[Tensor, "N Z"]:
    """Draws of the prior; without one, of the Gaussian that fits the codes of the train digits."""
    z = torch.randn(num, model.config.latent_dim, generator=generator)
    if variational:
        return z
    mean = codes(model, "train").mean
    return mean.mean(0) + z @ torch.linalg.cholesky(mean.T.cov()).T


@cache
def reader() -> torch.nn.Module:
    """The network that reads digits."""
    return CLASSIFIER.load()


@torch.no_grad()
def confidence(images: Frames) -> Float[Tensor, "N"]:
    """The probability that the reader gives to the class it reads."""
    return torch.cat([reader()(part).softmax(-1).amax(-1) for part in images.split(500)])


def share_read(images: Frames) -> Metric:
    """The share of pictures that the reader is sure of."""
    sure = confidence(images) >= SURE
    return Metric.of_share(int(sure.sum()), len(sure))


def separation(model: DigitVAE) -> Metric:
    """The share of held-out digits whose nearest train digit in the plane is of their class."""
    distances = torch.cdist(codes(model, "test").mean, codes(model, "train").mean)
    same = digits("train")[1][distances.argmin(1)] == digits("test")[1]
    return Metric.of_share(int(same.sum()), len(same))


def evaluate(model: DigitVAE, config: DigitConfig) -> dict[str, Metric]:
    """What the chapter says about the plane, on held-out digits and random places."""
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    images, _ = digits("test")
    posterior = codes(model, "test")
    z = posterior.sample(generator=generator) if config.sigma else posterior.mean
    x_hat = decode(model, z)
    places = random_places(model, NUM_DRAWS, variational=bool(config.sigma), generator=generator)
    measured = {
        "error": Metric.of_mean((x_hat - images).square().mean((1, 2, 3))),
        "separation": separation(model),
        "read_random": share_read(decode(model, places)),
        "read_redrawn": share_read(x_hat),
        "read_real": share_read(images),
    }
    if config.sigma:
        prior = DiagonalGaussian.standard(posterior.mean)
        measured["kl"] = Metric.of_mean(kl_divergence(posterior, prior))
        measured["elbo"] = Metric.of_mean(elbo(x_hat, images, posterior, prior, sigma=config.sigma))
    return measured


def monitor(model: DigitVAE, config: DigitConfig) -> dict[str, float]:
    """One point of the history."""
    return {name: metric.value for name, metric in evaluate(model, config).items()}


def corners(model: DigitVAE, config: DigitConfig) -> Float64[Tensor, "2 Z"]:
    """Lower and upper end of each axis: 2.5 of the prior's, or the middle 96 % of the codes."""
    if config.sigma:
        return torch.tensor([[-2.5], [2.5]]).double().expand(2, model.config.latent_dim)
    return codes(model, "train").mean.double().quantile(torch.tensor([0.02, 0.98]).double(), dim=0)


def sheet(model: DigitVAE, config: DigitConfig) -> Image.Image:
    """The plane of the first two coordinates, decoded on a grid."""
    (left, bottom), (right, top) = corners(model, config)[:, :2].tolist()
    plane = decode_plane(model, torch.linspace(left, right, 20), torch.linspace(top, bottom, 20))
    framed = F.pad(plane[:, :, 0], (1, 1, 1, 1), value=0.0)  # (H, W, 30, 30)
    pixels = to_bytes(framed.transpose(1, 2).flatten(2).flatten(0, 1)).numpy()
    return Image.fromarray(np.ascontiguousarray(pixels), "L")


VAE_CONFIG = DigitConfig(
    model=DigitVAEConfig(),
    steps=2400,
    batch_size=128,
    learning_rate=5e-3,
    ema_decay=0.998,
    every=600,
    sigma=0.4,
)

VAE = Recipe(
    name="digit_vae",
    sentence="A VAE that squeezes digits into two numbers: a latent plane to walk through",
    data="MNIST selection, train split",
    small=VAE_CONFIG,
    full=VAE_CONFIG,
    build=DigitVAE,
    objectives=objectives,
    draw=draw,
    evaluate=evaluate,
    sheet=sheet,
    criterion="elbo",
    higher_is_better=True,
    schedule=lambda config: warmup_cosine(config.steps, min(50, config.steps // 10)),
    monitor=monitor,
)
PLAIN_CONFIG = replace(VAE_CONFIG, sigma=None)
AUTOENCODER = replace(
    VAE,
    name="digit_autoencoder",
    sentence="The same network without noise and KL, whose plane has holes",
    small=PLAIN_CONFIG,
    full=PLAIN_CONFIG,
    criterion="error",
    higher_is_better=False,
)

RECIPES = (AUTOENCODER, VAE)
