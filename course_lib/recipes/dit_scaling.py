"""Chapter 7: the paper's twelve networks and our grid as points of one kind.

Ours: 1,500 updates on digits, the loss on held-out digits; each is one training from one seed.
"""

import json

from course_lib.data.dit_paper import TWELVE
from course_lib.evaluation.scaling import Network
from course_lib.recipes.digit_diffusion import SIZE
from course_lib.recipes.dit_conditioning import MEMBERS as CONDITIONED
from course_lib.recipes.dit_conditioning import SEEDS
from course_lib.recipes.dit_grid import MEMBERS, UNET
from course_lib.training.recipe import Recipe

UNET_NAME = "U-Net"
EQUAL_WORK = {  # networks that cost about the same, in the paper and here
    "paper": ("S/2", "B/4", "L/8", "XL/8"),
    "ours": ("64/4", "128/8", "256/16"),
}


def paper() -> tuple[Network, ...]:
    """The twelve, scored by FID."""
    return tuple(
        Network(
            name=point.name,
            size=point.size,
            patch=f"patch {point.patch_size}",
            mega_parameters=float(point.mega_parameters),
            mega_macs=1000 * point.gflops,
            score=point.fid,
            num_tokens=point.num_tokens,
        )
        for point in TWELVE
    )


def measured(recipe: Recipe) -> dict[str, float]:
    """The values of a training's metrics."""
    found = json.loads(recipe.results.read_text(encoding="utf-8"))["metrics"]
    return {name: metric["value"] for name, metric in found.items()}


def ours() -> tuple[Network, ...]:
    """The nine, scored by the loss on held-out digits."""
    return tuple(
        _network(
            recipe,
            f"{dim}/{patch_size}",
            f"{dim} wide",
            f"patch {patch_size}",
            num_tokens=(SIZE // patch_size) ** 2,
        )
        for (dim, patch_size), recipe in MEMBERS.items()
    )


def unet() -> Network:
    """The U-Net trained beside them; it has no tokens."""
    return _network(UNET, UNET_NAME, UNET_NAME, UNET_NAME)


def _network(
    recipe: Recipe, name: str, size: str, patch: str, num_tokens: int | None = None
) -> Network:
    found = measured(recipe)
    return Network(
        name, size, patch, found["parameters"] / 1e6, found["mega_macs"], found["loss"], num_tokens
    )


def losses_of_seeds() -> tuple[float, ...]:
    """What one cell of the grid, 128 wide with patches of 4, reaches from each seed."""
    return tuple(measured(CONDITIONED["adaLN-Zero", seed])["loss"] for seed in range(SEEDS))


def late_falls() -> dict[str, float]:
    """Which share of each loss is lost in the last third of its training: what is not finished."""
    falls = {}
    for (dim, patch_size), recipe in MEMBERS.items():
        history = json.loads(recipe.results.read_text(encoding="utf-8"))["history"]
        late = [row["loss"] for row in history if 3 * row["step"] >= 2 * recipe.small.steps]
        falls[f"{dim}/{patch_size}"] = 1 - late[-1] / late[0]
    return falls
