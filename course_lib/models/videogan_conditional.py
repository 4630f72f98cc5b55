"""The conditional VideoGAN: from the first frames to a clip that begins with them.

Source: Vondrick et al. 2016 (arXiv 1609.02612), layer table of the official conditional code:
convolutions turn one frame into a 4 x 4 map, from which both streams start.
`ConditionalConfig()` has its sizes. Departures: it may read several frames, from which alone a
motion can be seen, and a noise vector z, repeated over the map; the paper has neither. In the
encoder of the frames every convolution has BatchNorm, of the usual epsilon, and PyTorch's own
initial weights; the official one has N(0, .01), no BatchNorm after the first, epsilon 1e-3.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Video
from course_lib.models.clip_readers import START, Discriminator, check_shape, initialise
from course_lib.models.videogan import Composition, Generator, VideoGANConfig


@dataclass(frozen=True)
class ConditionalConfig(VideoGANConfig):
    """Sizes of the conditional generator and its discriminator."""

    latent_dim: int = 0  # the paper's draws one future for each frame
    foreground_dims: tuple[int, ...] = (1024, 512, 256, 128)
    background_dims: tuple[int, ...] = (1024, 512, 256, 128)
    discriminator_dims: tuple[int, ...] = (128, 256, 512, 1024)
    context: int = 1  # frames that are given
    context_dims: tuple[int, ...] = (128, 256, 512, 1024)

    def __post_init__(self) -> None:
        super().__post_init__()
        if START * 2 ** len(self.context_dims) != self.size:
            raise ValueError(
                f"context_dims has {len(self.context_dims)} levels; permitted: as many as "
                f"discriminator_dims, {len(self.discriminator_dims)}"
            )
        if not 1 <= self.context < self.num_frames:
            raise ValueError(f"context is {self.context}; permitted: 1..{self.num_frames - 1}")


class ConditionalVideoGAN(nn.Module):
    """A generator that continues a clip, and the discriminator that reads the whole of it."""

    def __init__(self, config: ConditionalConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        for before, after in pairwise((config.context * config.channels, *config.context_dims)):
            layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1))
            layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.encoder = nn.Sequential(*layers).apply(initialise)
        in_dim = config.context_dims[-1] + config.latent_dim
        self.generator = Generator(config, in_dim, from_map=True)
        dims, norm = config.discriminator_dims, config.discriminator_norm
        self.discriminator = Discriminator(config.clip, dims, norm=norm)

    def generate(self, context: Video, z: Float[Tensor, "B Z"]) -> Composition:
        """The whole clip, the given frames drawn again included.

        Raises:
            ValueError: Context or z has another shape than the config says.
        """
        c = self.config
        check_shape("context", context, c.context, *c.clip[1:])
        check_shape("z", z, c.latent_dim)
        h = self.encoder(context.flatten(1, 2))  # (B, D, 4, 4)
        noise = z[:, :, None, None].expand(-1, -1, START, START)
        return self.generator(torch.cat([h, noise], 1))

    def predict(
        self, context: Video, horizon: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "B {horizon} C H W"]:
        """One future of each context.

        Raises:
            ValueError: As `generate`, or `horizon` is more than this network draws.
        """
        longest = self.config.num_frames - self.config.context
        if not 1 <= horizon <= longest:
            raise ValueError(f"horizon is {horizon}; permitted: 1..{longest}")
        z = torch.randn(len(context), self.config.latent_dim, generator=generator)
        drawn = self.generate(context, z.to(context)).video
        return drawn[:, self.config.context :][:, :horizon]
