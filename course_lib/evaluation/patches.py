"""What the size of a patch costs: tokens, multiply-accumulates, parameters of DiT's sizes.

Source: Peebles & Xie 2022 (arXiv 2212.09748), section 3.2 and table 4. Its Gflops are
multiply-accumulates; its parameters include the fixed table of positions.
"""

from dataclasses import dataclass, replace
from functools import cache

import torch

from course_lib.evaluation.cost import multiply_accumulates
from course_lib.models.dit_variants import (
    ConditionedDiT,
    ConditionedDiTConfig,
    num_parameters,
    published,
)


@dataclass(frozen=True)
class PatchCost:
    """Of one network, and of one picture and step."""

    tokens: int
    macs: int  # multiply-accumulates, those done once among them
    macs_once: int  # done once for a picture, however many tokens it has: time and modulation
    parameters: int


@cache
def published_cost(size: str, patch_size: int) -> PatchCost:
    """Of DiT-`size`/`patch_size` on a latent of 32 x 32 x 4; counted, nothing is computed.

    Raises:
        ValueError: There is no such size, or the patches do not fill the latent.
    """
    config = published(size, patch_size)
    # Blocks are alike: each further one adds what the second adds to the first.
    one, two = (_counted(replace(config, depth=depth)) for depth in (1, 2))
    macs, once, parameters = (
        a + (config.depth - 1) * (b - a) for a, b in zip(one, two, strict=True)
    )
    return PatchCost(config.num_tokens, macs, once, parameters)


def _counted(config: ConditionedDiTConfig) -> tuple[int, int, int]:
    """Multiply-accumulates, those done once, parameters."""
    with torch.device("meta"):
        model = ConditionedDiT(config)
        x, t = torch.zeros(1, 4, config.size, config.size), torch.zeros(1, dtype=torch.int64)
        macs = multiply_accumulates(lambda: model(x, t, t))
    once = sum(
        weight.numel()
        for name, weight in model.named_parameters()
        if weight.ndim == 2 and ("modulation" in name or "embed_time" in name)
    )
    return macs, once, num_parameters(model)
