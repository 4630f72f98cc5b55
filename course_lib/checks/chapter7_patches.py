"""Chapter 7: the checkers of cutting pictures into patches and of putting them together again."""

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

PICTURES, TOKENS = ("x", "patch_size"), ("tokens", "patch_size")


def patchify(function) -> Verdict:
    """Check `function(x, patch_size)`: pictures (B, C, H, W) to tokens (B, N, p * p * C).

    Patches are numbered row by row; a patch's numbers are rows, columns, channels.
    """
    square, oblong = _draw_sizes(square=True), _draw_sizes(square=False)
    return examine(
        "patchify",
        function,
        dit.patchify,
        {
            "returns a token of p * p * C numbers for each patch": given_plain_numbers(
                returns_shape(
                    _draw_pictures(2, 3, 2, 2, 3), (2, 4, 27), PICTURES, CUT_SHAPES, CUT_SHAPE
                )
            ),
            "cuts squares, row by row": given_plain_numbers(
                agrees(
                    _cut,
                    [_draw_pictures(1, 1, 2, 2, 2), _draw_pictures(*square)],
                    PICTURES,
                    CUTS,
                    "A patch is a square of the picture. Split both edges, (h p) and (w q), then "
                    "bring the axes into the order B, h, w, p, q, C.",
                )
            ),
            "cuts pictures that are not square": _not_square(
                [_draw_pictures(1, 1, 1, 2, 2), _draw_pictures(*oblong)]
            ),
            "leaves its arguments unchanged": given_plain_numbers(
                spares_its_arguments(_draw_pictures(*oblong), PICTURES)
            ),
        },
    )


def unpatchify(function) -> Verdict:
    """Check `function(tokens, patch_size)`: tokens (B, N, p * p * C) to pictures (B, C, S, S).

    The patches are `patchify`'s, of square pictures.
    """
    batch, _, side, _, patch_size = sizes = _draw_sizes(square=True)
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


def _not_square(draws: list[Draw]) -> Property:
    hint = (
        "It works for square pictures alone: there are H / p rows of patches and W / p columns, "
        "each from its own axis of x."
    )
    agree = agrees(_cut, draws, PICTURES, CUTS | OBLONG_CUTS, hint)
    return explained(given_plain_numbers(agree), hint, RuntimeError, ValueError, IndexError)


def _draw_sizes(*, square: bool) -> tuple[int, int, int, int, int]:
    """Examples, channels, rows and columns of patches, patch size; no two orders look alike."""
    generator = fresh_generator()
    batch, channels, few, more, patch_size = (
        int(torch.randint(low, low + 2, (), generator=generator)) for low in (2, 2, 2, 4, 2)
    )
    rows, columns = (few, more) if torch.rand((), generator=generator) < 0.5 else (more, few)
    return batch, channels, rows, rows if square else columns, patch_size


def _draw_pictures(batch: int, channels: int, rows: int, columns: int, patch_size: int) -> Draw:
    def draw() -> tuple[Tensor, ...]:
        shape = (batch, channels, rows * patch_size, columns * patch_size)
        return torch.randn(shape, generator=fresh_generator()), torch.tensor(patch_size)

    return draw


def _draw_tokens(*sizes: int) -> Draw:
    def draw() -> tuple[Tensor, ...]:
        x, patch_size = _draw_pictures(*sizes)()
        return _cut(x, patch_size), patch_size

    return draw


def _cut(x: Tensor, patch_size: Tensor) -> Tensor:
    """Number by number."""
    p, (channels, height, width) = int(patch_size), x.shape[1:]
    tokens = []
    for top in range(0, height, p):
        for left in range(0, width, p):
            places = [(top + row, left + column) for row in range(p) for column in range(p)]
            numbers = [x[:, c, i, j] for i, j in places for c in range(channels)]
            tokens.append(torch.stack(numbers, 1))
    return torch.stack(tokens, 1)


def _pasted(tokens: Tensor, patch_size: Tensor) -> Tensor:
    """Patch by patch, pixel by pixel."""
    p, (batch, number, length) = int(patch_size), tokens.shape
    side = round(number**0.5)
    x = torch.empty(batch, length // p**2, side * p, side * p)
    for n in range(number):
        for place, pixel in enumerate(tokens[:, n].split(length // p**2, dim=1)):
            x[:, :, n // side * p + place // p, n % side * p + place % p] = pixel
    return x


def _cut_as(pattern: str, x: Tensor, patch_size: Tensor) -> Tensor:
    return rearrange(x, pattern, p=int(patch_size), q=int(patch_size))


def _pasted_as(pattern: str, tokens: Tensor, patch_size: Tensor) -> Tensor:
    side, p = round(tokens.shape[1] ** 0.5), int(patch_size)
    return rearrange(tokens, pattern, h=side, w=side, p=p, q=p)


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


def _reshaped_back(order: str) -> Callable[..., Tensor]:
    def reshape(tokens: Tensor, patch_size: Tensor) -> Tensor:
        p = int(patch_size)
        size = round(tokens.shape[1] ** 0.5) * p
        channels = tokens.shape[2] // p**2
        return rearrange(tokens.flatten(1), f"b ({order}) -> b c i j", i=size, j=size, c=channels)

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
