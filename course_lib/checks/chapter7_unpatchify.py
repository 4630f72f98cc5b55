"""Chapter 7: the checker of putting patches together again."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from einops import rearrange
from torch import Tensor

from course_lib.checks.chapter4_models import returns_shape
from course_lib.checks.chapter7_patches import cut, draw_pictures, draw_sizes
from course_lib.checks.properties import (
    Draw,
    agrees,
    explained,
    given_plain_numbers,
    spares_its_arguments,
)
from course_lib.checks.report import Verdict, examine
from course_lib.models import dit

TOKENS = ("tokens", "patch_size")


def unpatchify(function) -> Verdict:
    """Check `function(tokens, patch_size)`: tokens (B, N, p * p * C) to pictures (B, C, S, S).

    The patches are `patchify`'s, of square pictures.
    """
    batch, _, side, _, patch_size = sizes = draw_sizes(square=True)
    return examine(
        "unpatchify",
        function,
        dit.unpatchify,
        {
            "returns square pictures": given_plain_numbers(
                returns_shape(
                    _draw_tokens(2, 1, 2, 2, 3), (2, 1, 6, 6), TOKENS, PASTE_SHAPES, PASTE_SHAPE
                )
            ),
            "puts every pixel back where it was": given_plain_numbers(
                agrees(
                    _pasted,
                    [
                        _draw_tokens(1, 1, 2, 2, 2),
                        _draw_tokens(batch, 1, side, side, patch_size),
                    ],
                    TOKENS,
                    PASTES,
                    "Split the tokens into rows and columns of the grid, (h w), and their numbers "
                    "into (p q C); then bring the axes into the order B, C, h, p, w, q.",
                )
            ),
            "serves pictures of several channels": explained(
                given_plain_numbers(
                    agrees(
                        _pasted,
                        [_draw_tokens(1, 2, 1, 1, 2), _draw_tokens(*sizes)],
                        TOKENS,
                        PASTES | CHANNEL_PASTES,
                        MANY_CHANNELS,
                    )
                ),
                MANY_CHANNELS,
                RuntimeError,
                ValueError,
            ),
            "leaves its arguments unchanged": given_plain_numbers(
                spares_its_arguments(_draw_tokens(2, 1, 2, 2, 3), TOKENS)
            ),
        },
    )


def _draw_tokens(*sizes: int) -> Draw:
    def draw() -> tuple[Tensor, ...]:
        x, patch_size = draw_pictures(*sizes)()
        return cut(x, patch_size), patch_size

    return draw


def _pasted(tokens: Tensor, patch_size: Tensor) -> Tensor:
    """Patch by patch, pixel by pixel."""
    p, (batch, number, length) = int(patch_size), tokens.shape
    side = round(number**0.5)
    x = torch.empty(batch, length // p**2, side * p, side * p)
    for n in range(number):
        for place, pixel in enumerate(tokens[:, n].split(length // p**2, dim=1)):
            x[:, :, n // side * p + place // p, n % side * p + place % p] = pixel
    return x


def _pasted_as(pattern: str, tokens: Tensor, patch_size: Tensor) -> Tensor:
    side, p = round(tokens.shape[1] ** 0.5), int(patch_size)
    return rearrange(tokens, pattern, h=side, w=side, p=p, q=p)


def _reshaped_back(order: str) -> Callable[..., Tensor]:
    def reshape(tokens: Tensor, patch_size: Tensor) -> Tensor:
        p = int(patch_size)
        size = round(tokens.shape[1] ** 0.5) * p
        channels = tokens.shape[2] // p**2
        return rearrange(tokens.flatten(1), f"b ({order}) -> b c i j", i=size, j=size, c=channels)

    return reshape


PASTE_SHAPE = "(B, C, S, S): S is p times the root of the number of tokens."
PASTE_SHAPES: Mapping[str, tuple[int, ...]] = {
    "The channels come last: bring them to dim 1.": (2, 6, 6, 1),
    "The axis of the channels is missing: there may be one channel, it has an axis.": (2, 6, 6),
    "Rows of the grid and rows of a patch have an axis each: join them, and so the columns.": (
        (2, 1, 2, 3, 2, 3)
    ),
}
PASTES: dict[str, Callable[..., Tensor]] = {
    "Rows and columns of the grid are swapped: the second token is the patch to the right of the "
    "first.": partial(_pasted_as, "b (w h) (p q c) -> b c (h p) (w q)"),
    "Rows and columns inside a patch are swapped: its second pixel is to the right of the first.": (
        partial(_pasted_as, "b (h w) (q p c) -> b c (h p) (w q)")
    ),
    "Rows and columns are swapped, in the grid and inside a patch: your picture is transposed.": (
        partial(_pasted_as, "b (w h) (q p c) -> b c (h p) (w q)")
    ),
    "You reshaped without another order of the axes: each token lies along a stripe of the "
    "picture, not in a square.": _reshaped_back("c i j"),
    "You scattered each patch over the picture: the pixels of a patch are neighbours, rows are "
    "(h p) and columns (w q), with the pixels last.": (
        partial(_pasted_as, "b (h w) (p q c) -> b c (p h) (q w)")
    ),
}
CHANNEL_PASTES: dict[str, Callable[..., Tensor]] = {
    "You read a patch's numbers channels first: they are rows, columns, channels.": (
        partial(_pasted_as, "b (h w) (c p q) -> b c (h p) (w q)")
    ),
    "You reshaped without another order of the axes: that the channels come last in memory does "
    "not help, each token still lies along a stripe.": _reshaped_back("i j c"),
}
MANY_CHANNELS = (
    "It works for one channel alone: the number of channels is that of a token's numbers over "
    "p * p, and a pixel's channels stand together."
)
