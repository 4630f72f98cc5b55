"""Sprite sheets: the distinct frames of a clip, side by side in a few lossless pictures."""

import io
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

MAX_SIDE = 4096  # pixels; every browser, phones too, decodes and draws a picture of this side


@dataclass(frozen=True)
class Sprites:
    """What the browser needs to draw frame `k`: tile `index[k]`, counted along rows and sheets."""

    height: int  # pixels of one tile
    width: int
    columns: int  # tiles in a full row of a sheet
    rows: int  # tiles in a full column of a sheet
    sheets: list[bytes]  # lossless WebP
    index: list[int]  # one tile number per frame

    def to_dict(self) -> dict:
        """The same as a plain dictionary, as a synchronised trait wants it."""
        return asdict(self)


def pack(frames: np.ndarray) -> Sprites:
    """Bytes (N, H, W) or (N, H, W, 3), N > 0, as sprite sheets; equal frames share a tile.

    Raises:
        ValueError: a frame is larger than a sheet may be.
    """
    height, width = frames.shape[1:3]
    if max(height, width) > MAX_SIDE:
        raise ValueError(f"a frame has {height} x {width} pixels; up to {MAX_SIDE} are allowed")
    tile_of: dict[bytes, int] = {}
    index = [tile_of.setdefault(frame.tobytes(), len(tile_of)) for frame in frames]
    tiles = frames[np.unique(index, return_index=True)[1]]
    columns, rows = MAX_SIDE // width, MAX_SIDE // height
    pages = [
        tiles[start : start + columns * rows] for start in range(0, len(tiles), columns * rows)
    ]
    return Sprites(height, width, columns, rows, [_sheet(page, columns) for page in pages], index)


def _sheet(tiles: np.ndarray, columns: int) -> bytes:
    """One page of tiles as WebP; the last row is filled up with black."""
    num_columns = min(columns, len(tiles))
    num_rows = -(-len(tiles) // num_columns)
    missing = num_rows * num_columns - len(tiles)
    tiles = np.concatenate([tiles, np.zeros((missing, *tiles.shape[1:]), np.uint8)])
    height, width, *colour = tiles.shape[1:]
    grid = tiles.reshape(num_rows, num_columns, height, width, *colour).swapaxes(1, 2)
    picture = grid.reshape(num_rows * height, num_columns * width, *colour)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", lossless=True, quality=50)
    return file.getvalue()
