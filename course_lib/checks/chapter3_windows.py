"""Chapter 3: the checkers of windows, taken apart and put together."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.properties import (
    Draw,
    agrees,
    fresh_generator,
    given_plain_numbers,
    passes_gradients,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Verdict, examine
from course_lib.nn import attention

MAP = ("x", "window_size")
WINDOWS = ("windows", "height", "width")
# Row i, column j, window size, height and width of the map -> which of all tokens this pixel is.
Place = Callable[[int, int, int, int, int], int]


def window_partition(function) -> Verdict:
    """Check `function(x, window_size)`: the map's windows, (B, number of windows, K * K, D).

    `x` is (B, H, W, D), channels last; K, the window size, divides H and W. The windows come row by
    row, and so do the pixels of each.
    """
    large = _draw_map(2, 4, 6, 3)
    properties = {
        "returns the windows of each map": returns(
            large,
            (2, 6, 4, 3),
            MAP,
            "One axis for the map in the batch, one for the window, one for the K * K pixels in "
            "it, and the channels last.",
        ),
        "cuts the map 0 1 2 3 / 4 5 6 7 into 0 1 4 5 and 2 3 6 7": agrees(
            lambda x, size: torch.tensor([[0, 1, 4, 5], [2, 3, 6, 7]])[None, :, :, None],
            [_draw_counted_map],
            MAP,
            {},
            "The first window has the first two pixels of each row.",
        ),
        "puts every pixel into its window": agrees(
            _partition,
            [_draw_map(1, 2, 4, 1), large],
            MAP,
            {text: _partition_by(place) for text, place in MISPLACES.items()} | _MIXED_BATCH,
            "Split each axis in two, `x.reshape(B, H // K, K, W // K, K, D)`; bring both numbers "
            "of the window to the front with `permute`; then `reshape`.",
        ),
        "lets gradients through to the map": passes_gradients(_partition, large, MAP, ("x",)),
        "leaves its arguments unchanged": spares_its_arguments(large, MAP),
    }
    return examine("window_partition", function, attention.window_partition, _plain(properties))


def window_merge(function) -> Verdict:
    """Check `function(windows, height, width)`: the map (B, H, W, D) that was taken apart.

    `windows` is (B, number of windows, K * K, D) as `window_partition` gives it.
    """
    large = _draw_windows(2, 4, 6, 3)
    properties = {
        "returns maps": returns(
            large, (2, 4, 6, 3), WINDOWS, "Back to (B, height, width, D), channels last."
        ),
        "makes the map 0 1 2 3 / 4 5 6 7 of 0 1 4 5 and 2 3 6 7": agrees(
            lambda windows, height, width: torch.arange(8).reshape(1, 2, 4, 1),
            [_draw_counted_windows],
            WINDOWS,
            {},
            "The first row of the map has the first two pixels of each window.",
        ),
        "puts every pixel back where it was": agrees(
            _merge,
            [_draw_windows(1, 2, 4, 1), large],
            WINDOWS,
            {text: _merge_by(place) for text, place in MISPLACES.items()},
            "Undo the partition step by step: `windows.reshape(B, H // K, W // K, K, K, D)`; bring "
            "each row's number of the window before its number inside; then `reshape`.",
        ),
        "lets gradients through to the windows": passes_gradients(
            _merge, large, WINDOWS, ("windows",)
        ),
        "leaves its arguments unchanged": spares_its_arguments(large, WINDOWS),
    }
    return examine("window_merge", function, attention.window_merge, _plain(properties))


def _plain(properties: dict) -> dict:
    return {sentence: given_plain_numbers(check) for sentence, check in properties.items()}


def _draw_map(batch: int, height: int, width: int, channels: int) -> Draw:
    """Windows of 2 x 2."""
    return lambda: (
        torch.randn(batch, height, width, channels, generator=fresh_generator()),
        torch.tensor(2),
    )


def _draw_windows(batch: int, height: int, width: int, channels: int) -> Draw:
    shape = (batch, height * width // 4, 4, channels)
    return lambda: (
        torch.randn(shape, generator=fresh_generator()),
        torch.tensor(height),
        torch.tensor(width),
    )


def _draw_counted_map() -> tuple[Tensor, ...]:
    return torch.arange(8.0).reshape(1, 2, 4, 1), torch.tensor(2)


def _draw_counted_windows() -> tuple[Tensor, ...]:
    windows = torch.tensor([[0.0, 1, 4, 5], [2, 3, 6, 7]])[None, :, :, None]
    return windows, torch.tensor(2), torch.tensor(4)


def _place(
    i: int, j: int, size: int, height: int, width: int, *, window_t=False, pixel_t=False
) -> int:
    """By counting: whole windows first, then pixels; `_t`: column by column."""
    (row, inner_row), (column, inner_column) = divmod(i, size), divmod(j, size)
    window = column * (height // size) + row if window_t else row * (width // size) + column
    pixel = inner_column * size + inner_row if pixel_t else inner_row * size + inner_column
    return window * size**2 + pixel


def _tokens(height: int, width: int, size: int, place: Place) -> Tensor:
    """Which token each pixel of the map is, (H * W,)."""
    return torch.tensor(
        [place(i, j, size, height, width) for i in range(height) for j in range(width)]
    )


def _partition(x: Tensor, window_size: Tensor, place: Place = _place) -> Tensor:
    batch, height, width, channels = x.shape
    size = int(window_size)
    pixels = _tokens(height, width, size, place).argsort()  # which pixel each token is
    return x.flatten(1, 2)[:, pixels].reshape(batch, -1, size**2, channels)


def _merge(windows: Tensor, height: Tensor, width: Tensor, place: Place = _place) -> Tensor:
    tokens = _tokens(int(height), int(width), round(windows.shape[2] ** 0.5), place)
    return windows.flatten(1, 2)[:, tokens].unflatten(1, (int(height), int(width)))


def _partition_by(place: Place) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, size: _partition(x, size, place)


def _merge_by(place: Place) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda windows, height, width: _merge(windows, height, width, place)


def _in_a_grid(i: int, j: int, size: int, height: int, width: int) -> int:
    (inner_row, row), (inner_column, column) = divmod(i, height // size), divmod(j, width // size)
    return (row * (width // size) + column) * size**2 + inner_row * size + inner_column


def _in_the_other_map(i: int, j: int, size: int, height: int, width: int) -> int:
    return _place(*divmod(i * width + j, height), size, width, height)


MISPLACES: dict[str, Place] = {
    "You reshaped without `permute`: then a window is K * K neighbours in one long row.": (
        lambda i, j, size, height, width: i * width + j
    ),
    "The pixels of a window go column by column: they go row by row.": (
        lambda *where: _place(*where, pixel_t=True)
    ),
    "The windows go column by column: they go row by row.": (
        lambda *where: _place(*where, window_t=True)
    ),
    "Rows and columns are swapped, of the windows and inside them.": (
        lambda *where: _place(*where, window_t=True, pixel_t=True)
    ),
    "Your windows are grids of distant pixels: split an axis as (H // K, K), not (K, H // K).": (
        _in_a_grid
    ),
    "Height and width are swapped in your `reshape`: a square map would not have shown it.": (
        _in_the_other_map
    ),
}
_MIXED_BATCH = {
    "The maps of the batch are mixed: keep the batch axis in front when you `permute`.": (
        lambda x, size: _partition(x, size).transpose(0, 1).reshape(_partition(x, size).shape)
    ),
}
