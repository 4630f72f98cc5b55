"""Any diffusion model of futures as a predictor of video.

Source: Song, Meng & Ermon 2020 (arXiv 2010.02502) for the walk; conditioning on frames as in MCVD
(Voleti et al. 2022, arXiv 2205.09853): the context stays clean, the whole future is denoised.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from course_lib.interfaces import Video, VideoPredictor
from course_lib.methods.ddim import ddim_steps, last, trailing_timesteps
from course_lib.methods.diffusion import ReverseStep, Target, denoiser, noise_like
from course_lib.methods.noise import NoiseSchedule

VideoNetwork = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_t, t, context) to a target's answer


@dataclass(frozen=True)
class DiffusionPredictor:
    """A network of noisy futures, and how it is walked."""

    network: VideoNetwork
    target: Target
    schedule: NoiseSchedule
    horizon: int  # frames that the network denoises at once
    num_steps: int = 30
    eta: float = 1.0
    clip: float | None = 1.0

    def steps(
        self,
        context: Video,
        x_T: Float[Tensor, "B F C H W"],
        *,
        generator: torch.Generator | None = None,
    ) -> Iterator[ReverseStep]:
        """The walk from `x_T` to a future of each context."""

        def network(x_t: Tensor, t: Tensor) -> Tensor:
            return self.network(x_t, t, context)

        return ddim_steps(
            denoiser(network, self.target, self.schedule),
            self.schedule,
            x_T,
            trailing_timesteps(self.schedule.num_timesteps, self.num_steps),
            eta=self.eta,
            clip=self.clip,
            generator=generator,
        )

    @torch.no_grad()
    def predict(
        self, context: Video, horizon: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "B {horizon} C H W"]:
        """One drawn future of each context.

        Raises:
            ValueError: `horizon` is not the number of frames that the network denoises.
        """
        if horizon != self.horizon:
            raise ValueError(f"horizon is {horizon}; permitted: {self.horizon}")
        empty = context.new_empty(len(context), horizon, *context.shape[2:])
        return last(self.steps(context, noise_like(empty, generator), generator=generator))


def in_blocks(predict: VideoPredictor, longest: int) -> VideoPredictor:
    """A predictor of at most `longest` frames as one of any number: it goes on from its own.

    Each block is predicted from as many frames as the first; frames too many are not asked for.

    Raises:
        ValueError: `longest` is below 1.
    """
    if longest < 1:
        raise ValueError(f"longest is {longest}; permitted: 1 and more")

    def longer(
        context: Video, horizon: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "B {horizon} C H W"]:
        seen = context.shape[1]
        frames = context
        while (left := seen + horizon - frames.shape[1]) > 0:
            block = predict(frames[:, -seen:], min(left, longest), generator=generator)
            frames = torch.cat([frames, block], 1)
        return frames[:, seen:]

    return longer
