"""Chapter 7: the checker of cutting pictures into patches."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from einops import rearrange
from torch import Tensor

from course_lib.checks.chapter4_models import returns_shape
from course_lib.checks.properties import (
    Draw,
    agrees,
    explained,
    fresh_generator,
    given_plain_numbers,
    spares_its_arguments,
)
from course_lib.checks.report import Property, Verdict, examine
from course_lib.models import dit

PICTURES = ("x", "patch_size")


def patchify(function) -> Verdict:
    """Check `function(x, patch_size)`: pictures (B, C, H, W) to tokens (B, N, p * p * C).

    Patches are numbered row by row; a patch's numbers are rows, columns, channels.
    """
    square, oblong = draw_sizes(square=True), draw_sizes(square=False)
    return examine(
        "patchify",
        function,
        dit.patchify,
        {
            "returns a token of p * p * C numbers for each patch": given_plain_numbers(
                returns_shape(
                    draw_pictures(2, 3, 2, 2, 3), (2, 4, 27), PICTURES, CUT_SHAPES, CUT_SHAPE
                )
            ),
            "cuts squares, row by row": given_plain_numbers(
                agrees(
                    cut,
                    [draw_pictures(1, 1, 2, 2, 2), draw_pictures(*square)],
                    PICTURES,
                    CUTS,
                    "A patch is a square of the picture. Split both edges, (h p) and (w q), then "
                    "bring the axes into the order B, h, w, p, q, C.",
                )
            ),
            "cuts pictures that are not square": _not_square(
                [draw_pictures(1, 1, 1, 2, 2), draw_pictures(*oblong)]
            ),
            "leaves its arguments unchanged": given_plain_numbers(
                spares_its_arguments(draw_pictures(*oblong), PICTURES)
            ),
        },
    )


def _not_square(draws: list[Draw]) -> Property:
    hint = (
        "It works for square pictures alone: there are H / p rows of patches and W / p columns, "
        "each from its own axis of x."
    )
    agree = agrees(cut, draws, PICTURES, CUTS | OBLONG_CUTS, hint)
    return explained(given_plain_numbers(agree), hint, RuntimeError, ValueError, IndexError)


def draw_sizes(*, square: bool) -> tuple[int, int, int, int, int]:
    """Examples, channels, rows and columns of patches, patch size; no two orders look alike."""
    generator = fresh_generator()
    batch, channels, few, more, patch_size = (
        int(torch.randint(low, low + 2, (), generator=generator)) for low in (2, 2, 2, 4, 2)
    )
    rows, columns = (few, more) if torch.rand((), generator=generator) < 0.5 else (more, few)
    return batch, channels, rows, rows if square else columns, patch_size


def draw_pictures(batch: int, channels: int, rows: int, columns: int, patch_size: int) -> Draw:
    """Pictures of so many rows and columns of patches, and the patch size."""

    def draw() -> tuple[Tensor, ...]:
        shape = (batch, channels, rows * patch_size, columns * patch_size)
        return torch.randn(shape, generator=fresh_generator()), torch.tensor(patch_size)

    return draw


def cut(x: Tensor, patch_size: Tensor) -> Tensor:
    """Number by number."""
    p, (channels, height, width) = int(patch_size), x.shape[1:]
    tokens = []
    for top in range(0, height, p):
        for left in range(0, width, p):
            places = [(top + row, left + column) for row in range(p) for column in range(p)]
            numbers = [x[:, c, i, j] for i, j in places for c in range(channels)]
            tokens.append(torch.stack(numbers, 1))
    return torch.stack(tokens, 1)


def _cut_as(pattern: str, x: Tensor, patch_size: Tensor) -> Tensor:
    return rearrange(x, pattern, p=int(patch_size), q=int(patch_size))


def _edges_swapped(x: Tensor, patch_size: Tensor) -> Tensor:
    """The rows of patches counted along the width."""
    (batch, channels, height, width), p = x.shape, int(patch_size)
    split = x.reshape(batch, channels, width // p, p, height // p, p)
    return rearrange(split, "b c h p w q -> b (h w) (p q c)")


def _reshaped(order: str) -> Callable[..., Tensor]:
    """To tokens without another order of the axes inside a picture."""

    def reshape(x: Tensor, patch_size: Tensor) -> Tensor:
        number = x[0, 0].numel() // int(patch_size) ** 2
        return rearrange(x, f"b c i j -> b ({order})").unflatten(1, (number, -1))

    return reshape


CUT_SHAPE = "One token for each patch: (B, H / p * W / p, p * p * C)."
CUT_SHAPES: Mapping[str, tuple[int, ...]] = {
    "The last two axes are swapped: tokens first, then their numbers, `.mT`. That is what "
    "`F.unfold` gives.": (2, 27, 4),
    "The patches still lie on a grid of rows and columns: join both axes, row by row.": (
        (2, 2, 2, 27)
    ),
    "The channels have an axis of their own: they belong to a patch's numbers, as the last of "
    "them.": (2, 3, 4, 9),
    "Rows, columns and channels of a patch have an axis each: join the three.": (2, 4, 3, 3, 3),
    "A patch's numbers are p * p * C together: you made a token for each channel of a patch.": (
        (2, 12, 9)
    ),
}
STRIPES = (
    "You reshaped without another order of the axes: a token holds numbers that follow each other "
    "in memory, stripes of the picture and no squares."
)
CUTS: dict[str, Callable[..., Tensor]] = {
    "Your patches are numbered by columns first: left to right, then the next row.": (
        partial(_cut_as, "b c (h p) (w q) -> b (w h) (p q c)")
    ),
    "A patch's numbers come channels first: rows, columns, channels, so that those of a pixel "
    "stand together.": partial(_cut_as, "b c (h p) (w q) -> b (h w) (c p q)"),
    "Rows and columns inside a patch are swapped: first row from left to right, then the next.": (
        partial(_cut_as, "b c (h p) (w q) -> b (h w) (q p c)")
    ),
    "Rows and columns are swapped, in the grid and inside a patch: you cut a transposed picture.": (
        partial(_cut_as, "b c (h p) (w q) -> b (w h) (q p c)")
    ),
    "Your patches are scattered pixels: an edge splits into (patches, pixels of a patch), with the "
    "pixels last.": partial(_cut_as, "b c (p h) (q w) -> b (h w) (p q c)"),
    STRIPES: _reshaped("c i j"),
    STRIPES + " That the channels come last does not help.": _reshaped("i j c"),
}
OBLONG_CUTS: dict[str, Callable[..., Tensor]] = {
    "Height and width are mixed up: the rows of patches come from the height, H / p, the columns "
    "from the width, W / p.": _edges_swapped,
}
