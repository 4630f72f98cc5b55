"""Chapter 7: width against patch size, nine DiTs trained alike on digits.

Source: Peebles & Xie 2022 (arXiv 2212.09748), figure 6's question: does compute decide, or do
parameters? One of the nine, 128 wide with patches of 4, is the adaLN-Zero of `dit_conditioning`.
Patches of 4, 8 and 16 of 32 pixels are 64, 16 and 4 tokens: the same factor of 16 as the paper's
256, 64 and 16.
"""

from dataclasses import replace

from course_lib.recipes.dit_conditioning import MEMBERS as CONDITIONED
from course_lib.recipes.dit_conditioning import SMALL, recipe

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
RECIPES = tuple(member for cell, member in MEMBERS.items() if cell != SHARED)
