"""Classifier-free guidance: ask for more of what the class adds to the answer.

Source: Ho & Salimans 2022 (arXiv 2207.12598), section 3.2: (1 + w) conditional - w unconditional.
Here `guidance_scale` is their 1 + w, so that 1 is no guidance, 0 ignores the class, and above 1 the
answer moves on past that of the class, away from that of no class.

Guidance stands outside of any network: it joins two denoisers, which may share one network.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from course_lib.methods.diffusion import Denoised, Denoiser


def guide(
    eps_conditional: Float[Tensor, "*shape"],
    eps_unconditional: Float[Tensor, "*shape"],
    guidance_scale: float,
) -> Float[Tensor, "*shape"]:
    """The line from the answer without a class through that with it, followed `guidance_scale` far.

    It serves x0_hat as well, which is a straight line of eps_hat.
    """
    return torch.lerp(eps_unconditional, eps_conditional, guidance_scale)


def guided(conditional: Denoiser, unconditional: Denoiser, guidance_scale: float) -> Denoiser:
    """Two denoisers as one; both are asked at each step, so a walk takes twice as long.

    At scale 1 it is `conditional` itself.

    Raises:
        ValueError: guidance_scale is below 0.
    """
    if not guidance_scale >= 0:
        raise ValueError(f"guidance_scale is {guidance_scale}; permitted: 0 and more")
    if guidance_scale == 1:
        return conditional

    def denoise(x_t: Tensor, t: Tensor) -> Denoised:
        with_class, without = conditional(x_t, t), unconditional(x_t, t)
        return Denoised(
            guide(with_class.x0_hat, without.x0_hat, guidance_scale),
            guide(with_class.eps_hat, without.eps_hat, guidance_scale),
        )

    return denoise
