"""Seven photographs of 256 x 256 pixels in colour, for the price of compression.

Origins and licences stand in data/README.md. They are too few to say anything of photographs in
general: a number measured on the two that are held out is about these two.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from course_lib.data.video import to_float
from course_lib.paths import DATA

PHOTOS_FILE = DATA / "photos.webp"  # side by side, lossless
SIZE = 256  # pixels a side
NAMES = {
    "train": ("astronaut", "china", "coffee", "hubble", "rocket"),
    "test": ("chelsea", "flower"),
}


def load_photos(split: str) -> UInt8[Tensor, "N 3 256 256"]:
    """The photographs of `train` or `test`, in the order of NAMES.

    Raises:
        ValueError: `split` is neither.
    """
    if split not in NAMES:
        raise ValueError(f"split is {split!r}; permitted: {', '.join(NAMES)}")
    first = 0 if split == "train" else len(NAMES["train"])
    return _all_photos()[first : first + len(NAMES[split])].clone()


def draw_crops(
    number: int, size: int, *, split: str = "train", generator: torch.Generator | None = None
) -> Float[Tensor, "{number} 3 {size} {size}"]:
    """Squares from anywhere in the photographs, half of them mirrored, in [-1, 1].

    Raises:
        ValueError: An unknown split, no crops, or crops larger than a photograph.
    """
    photos = load_photos(split)
    if number < 1 or not 1 <= size <= SIZE:
        raise ValueError(f"{number} crops of {size} pixels; permitted: 1 and more of 1..{SIZE}")
    ends = torch.tensor([len(photos), SIZE - size + 1, SIZE - size + 1, 2])
    drawn = (torch.rand(number, 4, generator=generator) * ends).long()
    crops = []
    for photo, top, left, mirrored in drawn.tolist():
        crop = photos[photo, :, top : top + size, left : left + size]
        crops.append(crop.flip(-1) if mirrored else crop)
    return to_float(torch.stack(crops))


@cache
def _all_photos() -> UInt8[Tensor, "N 3 256 256"]:
    with Image.open(PHOTOS_FILE) as picture:
        pixels = torch.from_numpy(np.array(picture.convert("RGB")))
    return pixels.unflatten(1, (-1, SIZE)).permute(1, 3, 0, 2).contiguous()
