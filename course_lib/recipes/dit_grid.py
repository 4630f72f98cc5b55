"""Chapter 7: width against patch size, nine DiTs trained alike on digits.

Source: Peebles & Xie 2022 (arXiv 2212.09748), figure 6's question: does compute decide, or do
parameters? One of the nine, 128 wide with patches of 4, is the adaLN-Zero of `dit_conditioning`.
Patches of 4, 8 and 16 of 32 pixels are 64, 16 and 4 tokens: the same factor of 16 as the paper's
256, 64 and 16. Beside them stands one U-Net, trained alike; it knows no classes, so the class
enters as eleven more channels of the picture, all 0 but one.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from course_lib.interfaces import Frames
from course_lib.models.unet import UNet, UNetConfig
from course_lib.recipes.digit_diffusion import NUM_CLASSES
from course_lib.recipes.dit_conditioning import MEMBERS as CONDITIONED
from course_lib.recipes.dit_conditioning import SMALL, recipe


class ClassUNet(nn.Module):
    """A U-Net that is shown the class as channels of the picture."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = UNet(config)

    def forward(self, x: Frames, t: Int64[Tensor, "B"], label: Int64[Tensor, "B"]) -> Frames:
        """The answer for noisy pictures at steps `t`; label NUM_CLASSES is "no class"."""
        shown: Float[Tensor, "B K"] = nn.functional.one_hot(label, NUM_CLASSES + 1).to(x)
        maps = shown[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.unet(torch.cat([x, maps], 1), t)


WIDTHS = (64, 128, 256)
PATCH_SIZES = (4, 8, 16)
SHARED = (128, 4)

MEMBERS = {
    (dim, patch_size): CONDITIONED["adaLN-Zero", 0]
    if (dim, patch_size) == SHARED
    else recipe(
        f"dit_grid_{dim}_{patch_size}",
        f"A DiT on digits, {dim} wide, patches of {patch_size}",
        replace(SMALL.model, dim=dim, patch_size=patch_size),
        every=500,
    )
    for dim in WIDTHS
    for patch_size in PATCH_SIZES
}
UNET = replace(
    recipe("dit_grid_unet", "A U-Net on digits, beside the grid of DiTs", SMALL.model, every=500),
    build=ClassUNet,
)
UNET_CONFIG = UNetConfig(in_channels=1 + NUM_CLASSES + 1, dim=16, multipliers=(1, 2, 4, 4))
UNET = replace(
    UNET,
    small=replace(UNET.small, model=UNET_CONFIG),
    full=replace(UNET.full, model=replace(UNET_CONFIG, dim=128, num_blocks=2)),
)
RECIPES = (*(member for cell, member in MEMBERS.items() if cell != SHARED), UNET)
