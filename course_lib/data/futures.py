"""What is known exactly about a discrete set of possible futures.

One observed context, K clips that may follow it and their probabilities: from these the conditional
mean, the least reachable error, the entropy, the rate-distortion curve and the optimal denoiser
follow by arithmetic. Nothing here is estimated.
"""

from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

# The rate is then right to 1e-6, but for betas within 5 % of a critical one: there to 3e-3.
BLAHUT_ARIMOTO_STEPS = 3000
PREFIX_TOLERANCE = (
    0.01  # more than a round trip through bytes costs, less than any two clips differ
)


@dataclass(frozen=True, eq=False)
class RateDistortion:
    """Points of the rate-distortion curve, one for each weight `betas` of a nat."""

    betas: Float64[Tensor, "P"]
    rate: Float64[Tensor, "P"]  # nats for the whole future
    distortion: Float64[Tensor, "P"]  # squared error, mean over frames and pixels


@dataclass(frozen=True, eq=False)
class Futures:
    """The K possible continuations of one context and their probabilities."""

    context: Float[Tensor, "C_t 1 S S"]  # the observed frames
    clips: Float[Tensor, "K H 1 S S"]  # in [-1, 1]
    probs: Float64[Tensor, "K"]
    turns: Int64[Tensor, "K"]  # index into TURNS
    returns: Bool[Tensor, "K"]
    background: Float[Tensor, "1 S S"]  # the empty map
    turn_step: int  # frames of a clip before the first that shows the turn

    def __len__(self) -> int:
        return len(self.probs)

    def mean(self) -> Float[Tensor, "H 1 S S"]:
        """The conditional mean: the predictor of least squared error."""
        return torch.tensordot(self.probs, self.clips.double(), dims=1).to(self.clips.dtype)

    def mmse(self) -> Float64[Tensor, "H"]:
        """The least reachable squared error of each frame, mean over pixels: the variance."""
        clips = self.clips.double().flatten(2)  # (K, H, pixels)
        mean = torch.tensordot(self.probs, clips, dims=1)
        return self.probs @ (clips - mean).square().mean(-1)

    def entropy(self) -> Float64[Tensor, "H"]:
        """Nats that each frame adds, given all frames before it; they sum to the total entropy."""
        differs = (self.clips[:, None] != self.clips[None, :]).flatten(3).any(-1)  # (K, K, H)
        same = ~differs.cummax(-1).values  # equal up to and with frame h
        prefix_probs = torch.einsum("klh,l->kh", same.double(), self.probs)
        total = -self.probs @ torch.where(prefix_probs > 0, prefix_probs, 1).log()
        return torch.diff(total, prepend=total.new_zeros(1))

    def filter(self, prefix: Float[Tensor, "L 1 S S"]) -> "Futures":
        """What can still happen once `prefix`, the next L frames, has been seen.

        Raises:
            ValueError: `prefix` is longer than a clip or begins no possible future.
        """
        length, horizon = len(prefix), self.clips.shape[1]
        if length > horizon:
            raise ValueError(f"prefix has {length} frames; a future has {horizon}")
        apart = (self.clips[:, :length] - prefix).abs().flatten(1)
        matches = (apart <= PREFIX_TOLERANCE).all(1) & (self.probs > 0)
        if not matches.any():
            raise ValueError(
                f"prefix begins none of the {len(self)} futures: in each of them a pixel is off "
                f"by more than {PREFIX_TOLERANCE}"
            )
        return Futures(
            context=torch.cat([self.context, prefix]),
            clips=self.clips[matches, length:],
            probs=self.probs[matches] / self.probs[matches].sum(),
            turns=self.turns[matches],
            returns=self.returns[matches],
            background=self.background,
            turn_step=max(self.turn_step - length, 0),
        )

    def sample(
        self, num_samples: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "N H 1 S S"]:
        """Futures drawn with their true probabilities."""
        drawn = torch.rand(num_samples, dtype=torch.float64, generator=generator)
        # The last bound is left out: rounding may put it below 1.
        return self.clips[(drawn[:, None] >= self.probs.cumsum(0)[:-1]).sum(1)]

    def runs(
        self, num_samples: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "N T 1 S S"]:
        """Whole clips: the one past, and for each a future drawn with its true probability."""
        past = self.context.expand(num_samples, -1, -1, -1, -1)
        return torch.cat([past, self.sample(num_samples, generator=generator)], 1)

    def lambda_max(self) -> float:
        """The largest eigenvalue of the covariance of the whole future, in squared pixel units."""
        # The K x K matrix of products has the same non-zero eigenvalues as the covariance.
        scale = self.probs.sqrt()
        return torch.linalg.eigvalsh(scale[:, None] * self._products() * scale)[-1].item()

    def posterior(
        self, x_t: Float[Tensor, "*batch H 1 S S"], alpha_bar: float | Float[Tensor, "*batch"]
    ) -> Float64[Tensor, "*batch K"]:
        """P(future | x_t) where x_t = sqrt(alpha_bar) future + sqrt(1 - alpha_bar) eps.

        Raises:
            ValueError: `alpha_bar` is not in [0, 1): at 1 nothing is noisy, use `filter`.
        """
        alpha_bar = torch.as_tensor(alpha_bar, dtype=torch.float64)
        if not ((alpha_bar >= 0) & (alpha_bar < 1)).all():
            raise ValueError(f"alpha_bar is {alpha_bar.tolist()}; values in [0, 1) are allowed")
        clips = self.clips.double().flatten(1)  # (K, pixels)
        overlap = x_t.double().flatten(-4) @ clips.T
        alpha_bar = alpha_bar[..., None]
        # |x_t - sqrt(ab) f|^2 without |x_t|^2, which is the same for every future.
        squares = alpha_bar * clips.square().sum(1) - 2 * alpha_bar.sqrt() * overlap
        return torch.softmax(self.probs.log() - squares / (2 * (1 - alpha_bar)), dim=-1)

    def denoise(
        self, x_t: Float[Tensor, "*batch H 1 S S"], alpha_bar: float | Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch H 1 S S"]:
        """The optimal denoiser: the posterior mean of the clean future given its noisy version.

        Raises:
            ValueError: `alpha_bar` is not in [0, 1).
        """
        weights = self.posterior(x_t, alpha_bar)
        return torch.tensordot(weights, self.clips.double(), dims=1).to(x_t.dtype)

    def rate_distortion(self, betas: Float64[Tensor, "P"]) -> RateDistortion:
        """The best trade of squared error against nats that any model of these futures can reach.

        For each beta it minimises (squared error, mean over a frame's pixels, summed over frames)
        + beta * nats, which is SVG's objective. The reproduction may be any clip, so the points
        of Blahut-Arimoto move to their centroids.

        Raises:
            ValueError: A beta is not positive.
        """
        if not (betas > 0).all():
            raise ValueError(f"betas are {betas.tolist()}; positive values are allowed")
        possible = self.probs > 0
        products, probs = self._products()[possible][:, possible], self.probs[possible]
        frame_size, horizon = self.background.numel(), self.clips.shape[1]
        slopes = 1 / (betas * frame_size)
        rate, distortion = _blahut_arimoto(products, probs, slopes)
        return RateDistortion(betas, rate, distortion / (frame_size * horizon))

    def _products(self) -> Float64[Tensor, "K K"]:
        """Inner products of the clips, with the conditional mean as origin."""
        clips = self.clips.double().flatten(1)
        centred = clips - self.probs @ clips
        return centred @ centred.T


def _blahut_arimoto(
    products: Float64[Tensor, "K K"], probs: Float64[Tensor, "K"], slopes: Float64[Tensor, "P"]
) -> tuple[Float64[Tensor, "P"], Float64[Tensor, "P"]]:
    """(rate, squared error) where rate + slope * squared error is least, for each slope.

    A reproduction point is a mixture of clips; it starts as the mean of one subset of them.
    """
    subsets = torch.tensor(list(product((0.0, 1.0), repeat=len(probs)))[1:], dtype=torch.float64)
    points = (subsets * probs / (subsets @ probs)[:, None]).expand(len(slopes), -1, -1)  # (P, J, K)
    weights = torch.full(points.shape[:2], 1 / len(subsets), dtype=torch.float64)  # (P, J)
    joint = distance = torch.empty(0)
    for _ in range(BLAHUT_ARIMOTO_STEPS):
        mixed = points @ products
        norms = (mixed * points).sum(-1)
        distance = products.diagonal()[:, None] - 2 * mixed.mT + norms[:, None]  # (P, K, J)
        logits = weights.log()[:, None] - slopes[:, None, None] * distance
        joint = probs[:, None] * torch.softmax(logits, dim=-1)
        weights = joint.sum(1).clamp_min(1e-300)  # an abandoned point keeps a finite logarithm
        points = joint.mT / weights[..., None]
    rate = torch.special.xlogy(joint, joint / (probs[:, None] * weights[:, None])).sum((1, 2))
    return rate, (joint * distance).sum((1, 2))
