"""SVG, stochastic video generation: every next frame comes with a random latent z.

Source: Denton & Fergus 2018 (arXiv 1802.07687), section 3, and the authors' code (edenton/svg).
Step t predicts x_t from x_{t-1} and z_t:

    h_{t-1} = encoder(x_{t-1})
    z_t ~ posterior(h_0 .. h_t) in training, ~ prior(h_0 .. h_{t-1}) or N(0, I) afterwards
    x_hat_t = decoder(predictor(h_{t-1}, z_t), skips)

Departures. Inside the context z = 0 and nothing is predicted; the code draws z from the posterior
there, in testing too, and counts the loss. The skips are those of the last context frame, as the
paper says; the code takes the one before it (edenton/svg, issue 1). The posterior reads the first
frame too, as the paper writes; the code begins with the second. BatchNorm sees all frames of the
batch together, not one time step. Weights begin as torch draws them, not as N(0, .02). A mixture
prior is ours.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Frames, Video
from course_lib.models.dcgan import DCGANConfig, Decoder, Encoder, Skips
from course_lib.nn.gaussian import DiagonalGaussian, GaussianMixture, kl_divergence

Latent = DiagonalGaussian | GaussianMixture
LSTMState = tuple[Float[Tensor, "_ B _"], Float[Tensor, "_ B _"]] | None  # None: zeros


@dataclass(frozen=True)
class SVGConfig:
    """The size of an `SVG`, and which of its variants it is; without arguments a small SVG-LP."""

    image: DCGANConfig = field(default_factory=DCGANConfig)  # encoder and decoder
    prior: Literal["learned", "fixed", "mixture"] | None = "learned"  # None: deterministic
    latent_dim: int = 4  # of z; 0 without a prior
    num_components: int = 4  # Gaussians in a mixture prior
    predictor_dim: int = 128  # of the frame predictor's LSTM
    predictor_layers: int = 1
    inference_dim: int = 64  # of the LSTMs of posterior and prior
    residual: bool = True  # predict what changes in h, not h anew

    def __post_init__(self) -> None:
        if self.prior not in ("learned", "fixed", "mixture", None):
            raise ValueError(
                f"prior is {self.prior!r}; permitted: 'learned', 'fixed', 'mixture', None"
            )
        if self.latent_dim < 0 or (self.latent_dim > 0) != (self.prior is not None):
            permitted = "0" if self.prior is None else "1 and more"
            raise ValueError(
                f"latent_dim is {self.latent_dim}; permitted with prior {self.prior!r}: {permitted}"
            )


# The paper's networks for Stochastic Moving MNIST; its SVG-FP has a fixed prior instead.
PUBLISHED = SVGConfig(
    image=DCGANConfig(channels=(64, 128, 256, 512), norm_groups=None, hidden_dim=None),
    latent_dim=10,
    predictor_dim=256,
    predictor_layers=2,
    inference_dim=256,
    residual=False,
)


@dataclass(frozen=True, eq=False)
class SVGState:
    """All that is known between two frames; `step` takes one and returns the next."""

    features: Float[Tensor, "B D"]  # h of the last frame
    skips: Skips  # of the last context frame
    prior: Latent  # of the next z, (B, Z)
    predictor_state: LSTMState
    prior_state: LSTMState


@dataclass(frozen=True, eq=False)
class SVGPass:
    """What teacher forcing gives for the F frames after the context: all that the loss needs."""

    frames: Float[Tensor, "B F 1 S S"]
    posterior: DiagonalGaussian  # of z at each of these frames, (B, F, Z)
    prior: Latent  # likewise
    z: Float[Tensor, "B F Z"]  # drawn from the posterior

    def kl(self) -> Float[Tensor, "B F"]:
        """KL(posterior || prior) of each frame in nats; for a mixture, estimated from the one z."""
        if isinstance(self.prior, DiagonalGaussian):
            return kl_divergence(self.posterior, self.prior)
        return self.posterior.log_prob(self.z) - self.prior.log_prob(self.z)


class FramePredictor(nn.Module):
    """Features of one frame and the latent of the next to the features of the next."""

    def __init__(self, config: SVGConfig) -> None:
        super().__init__()
        dim, hidden = config.image.feature_dim, config.predictor_dim
        self.embed = nn.Linear(dim + config.latent_dim, hidden)
        self.lstm = nn.LSTM(hidden, hidden, config.predictor_layers, batch_first=True)
        self.residual = config.residual
        self.to_features = (
            nn.Sequential(nn.Linear(hidden + dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
            if config.residual
            else nn.Sequential(nn.Linear(hidden, dim), nn.Tanh())
        )

    def forward(
        self, h: Float[Tensor, "B T D"], z: Float[Tensor, "B T Z"], state: LSTMState = None
    ) -> tuple[Float[Tensor, "B T D"], LSTMState]:
        """Predicted features g of the frame after each h, and the state after the last."""
        out, state = self.lstm(self.embed(torch.cat([h, z], -1)), state)
        if self.residual:
            return h + self.to_features(torch.cat([out, h], -1)), state
        return self.to_features(out), state


class GaussianLSTM(nn.Module):
    """What the frames so far say about a latent: the posterior network, or the prior network."""

    def __init__(self, config: SVGConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(config.image.feature_dim, config.inference_dim)
        self.lstm = nn.LSTM(config.inference_dim, config.inference_dim, batch_first=True)
        self.to_gaussian = nn.Linear(config.inference_dim, 2 * config.latent_dim)

    def forward(
        self, h: Float[Tensor, "B T D"], state: LSTMState = None
    ) -> tuple[DiagonalGaussian, LSTMState]:
        """A Gaussian after each frame, (B, T, Z), and the state after the last."""
        out, state = self.lstm(self.embed(h), state)
        return DiagonalGaussian(*self.to_gaussian(out).chunk(2, -1)), state


class MixtureLSTM(nn.Module):
    """The prior network where one Gaussian is too few: a mixture after each frame."""

    def __init__(self, config: SVGConfig) -> None:
        super().__init__()
        dim, num = config.inference_dim, config.num_components
        self.embed = nn.Linear(config.image.feature_dim, dim)
        self.lstm = nn.LSTM(dim, dim, batch_first=True)
        self.to_logits = nn.Linear(dim, num)
        self.to_components = nn.Linear(dim, 2 * num * config.latent_dim)
        nn.init.normal_(self.to_components.bias)  # components that begin equal stay equal
        self.num_components = num

    def forward(
        self, h: Float[Tensor, "B T D"], state: LSTMState = None
    ) -> tuple[GaussianMixture, LSTMState]:
        """A mixture after each frame, (B, T, Z), and the state after the last."""
        out, state = self.lstm(self.embed(h), state)
        components = self.to_components(out).unflatten(-1, (self.num_components, -1))
        gaussians = DiagonalGaussian(*components.chunk(2, -1))  # (B, T, K, Z)
        return GaussianMixture(self.to_logits(out), gaussians), state


class SVG(nn.Module):
    """SVG-LP, SVG-FP or, without latent, deterministic. Called, it is the training pass."""

    def __init__(self, config: SVGConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.image)
        self.decoder = Decoder(config.image)
        self.predictor = FramePredictor(config)
        self.posterior = GaussianLSTM(config) if config.prior else None
        priors = {"learned": GaussianLSTM, "mixture": MixtureLSTM}
        self.prior = priors[config.prior](config) if config.prior in priors else None

    def forward(
        self, video: Video, context: int, eps: Float[Tensor, "B F Z"], fed: Video | None = None
    ) -> SVGPass:
        """Every frame after the first `context` ones from the true frames before it.

        `eps` is standard normal noise: z = mean + sigma eps, of the posterior. Predictor and prior
        look at `fed` instead, where it is given (the model's own frames); the posterior never does.

        Raises:
            ValueError: The clip, the context or the noise has another shape than the config says.
        """
        posterior, h, skips = self._infer(video, context)
        if eps.shape != posterior.mean.shape:
            raise ValueError(
                f"eps has shape {tuple(eps.shape)}; permitted: {tuple(posterior.mean.shape)}"
            )
        if fed is not None:
            h, _ = self._encode(fed, context)
        prior = DiagonalGaussian.standard(posterior.mean)
        if self.prior is not None:
            prior = self.prior(h[:, :-1])[0][:, context - 1 :]
        z = posterior.mean + posterior.sigma * eps  # (B, F, Z), section 3: reparameterised
        g, _ = self.predictor(h[:, :-1], F.pad(z, (0, 0, context - 1, 0)))  # (B, T-1, D)
        return SVGPass(self.decoder(g[:, context - 1 :], skips), posterior, prior, z)

    def infer(self, video: Video, context: int) -> DiagonalGaussian:
        """The posterior of z at each frame after the context, (B, F, Z); it has seen that frame."""
        return self._infer(video, context)[0]

    def predict(
        self,
        context: Video,
        horizon: int,
        *,
        generator: torch.Generator | None = None,
        z: Float[Tensor, "B {horizon} Z"] | None = None,
    ) -> Float[Tensor, "B {horizon} C H W"]:
        """One future of each context; its latents are drawn from the prior, or given as `z`.

        Raises:
            ValueError: A shape is not the config's, or no frame is asked for.
        """
        if horizon < 1:
            raise ValueError(f"horizon is {horizon}; permitted: 1 and more")
        expected = (len(context), horizon, self.config.latent_dim)
        if z is not None and z.shape != expected:
            raise ValueError(f"z has shape {tuple(z.shape)}; permitted: {expected}")
        state = self.observe(context)
        frames = []
        for step in range(horizon):
            drawn = state.prior.sample(generator=generator) if z is None else z[:, step]
            frame, state = self.step(drawn, state)
            frames.append(frame)
        return torch.stack(frames, dim=1)  # (B, H, 1, S, S)

    def observe(self, context: Video) -> SVGState:
        """What is known after the context.

        Raises:
            ValueError: The frames have another shape than the config says, or there are none.
        """
        h, skips = self._encode(context, context.shape[1])
        predictor_state = None
        if h.shape[1] > 1:
            no_latent = h.new_zeros(len(h), h.shape[1] - 1, self.config.latent_dim)
            _, predictor_state = self.predictor(h[:, :-1], no_latent)
        return self._await_latent(h, skips, predictor_state, None)

    def step(self, z: Float[Tensor, "B Z"], state: SVGState) -> tuple[Frames, SVGState]:
        """The next frame, given its latent, and what is known when it has been looked at."""
        h = state.features[:, None]  # (B, 1, D)
        g, predictor_state = self.predictor(h, z[:, None], state.predictor_state)
        frame = self.decoder(g, state.skips)[:, 0]  # (B, 1, S, S)
        h = self.encoder(frame)[0][:, None]  # (B, 1, D)
        return frame, self._await_latent(h, state.skips, predictor_state, state.prior_state)

    def _await_latent(
        self,
        h: Float[Tensor, "B T D"],
        skips: Skips,
        predictor_state: LSTMState,
        prior_state: LSTMState,
    ) -> SVGState:
        """The state after features that the prior has not read yet."""
        prior = DiagonalGaussian.standard(h.new_zeros(len(h), 1, self.config.latent_dim))
        if self.prior is not None:
            prior, prior_state = self.prior(h, prior_state)
        return SVGState(h[:, -1], skips, prior[:, -1], predictor_state, prior_state)

    def _infer(
        self, video: Video, context: int
    ) -> tuple[DiagonalGaussian, Float[Tensor, "B T D"], Skips]:
        if not 0 < context < video.shape[1]:
            last = video.shape[1] - 1
            raise ValueError(f"context is {context}; permitted for this clip: 1..{last}")
        h, skips = self._encode(video, context)
        if self.posterior is None:  # the Gaussian of no dimensions
            return DiagonalGaussian.standard(h.new_zeros(len(h), h.shape[1] - context, 0)), h, skips
        return self.posterior(h)[0][:, context:], h, skips

    def _encode(self, video: Video, context: int) -> tuple[Float[Tensor, "B T D"], Skips]:
        """Features of every frame, skips of the last context frame."""
        expected = (1, self.config.image.size, self.config.image.size)
        if tuple(video.shape[2:]) != expected or not video.shape[1]:
            raise ValueError(
                f"the clip has shape {tuple(video.shape)}; permitted: (B, T, *{expected}), T >= 1"
            )
        shape = video.shape[:2]
        h, skips = self.encoder(video.flatten(0, 1))
        return h.unflatten(0, shape), [s.unflatten(0, shape)[:, context - 1] for s in skips]
