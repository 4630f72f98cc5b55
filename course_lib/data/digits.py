"""The MNIST digits that ship with the course: 8,500 to train on and 1,500 held out.

How they were chosen stands in `course_lib/recipes/digits.py`, their origin and licence in
`data/README.md`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from course_lib.paths import DATA

DIGITS_FILE = DATA / "mnist.npz"
SPLITS = ("train", "test")  # in the file, 0 and 1: from MNIST's train file, from its test file


@dataclass(frozen=True, eq=False)
class Digits:
    """Images of digits with their labels; a single drawn digit is a `Digits` of length one.

    Raises:
        ValueError: The images are not (N, 28, 28) bytes, or not every image has a label 0..9.
    """

    images: UInt8[Tensor, "N 28 28"]  # 0 is paper, 255 is ink
    labels: Int64[Tensor, "N"]

    def __post_init__(self):
        shape = tuple(self.images.shape)
        if len(shape) != 3 or shape[0] < 1 or shape[1:] != (28, 28):
            raise ValueError(f"images have shape {shape}; (N, 28, 28) with N >= 1 is needed")
        if self.images.dtype != torch.uint8:
            raise ValueError(f"images are {self.images.dtype}; torch.uint8 (0..255) is needed")
        if tuple(self.labels.shape) != shape[:1]:
            raise ValueError(f"labels have shape {tuple(self.labels.shape)}; {shape[:1]} is needed")
        if self.labels.dtype != torch.int64 or self.labels.min() < 0 or self.labels.max() > 9:
            raise ValueError(
                f"labels are {self.labels.dtype} in {self.labels.min()}..{self.labels.max()}; "
                f"torch.int64 in 0..9 is needed"
            )

    def __len__(self) -> int:
        return len(self.labels)


def load_digits(split: str) -> Digits:
    """The digits of one split, "train" (850 of each class) or "test" (150), in shuffled order.

    Raises:
        ValueError: `split` is neither.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; 'train' and 'test' are allowed")
    with np.load(DIGITS_FILE) as file:
        chosen = file["split"] == SPLITS.index(split)
        images, labels = file["images"][chosen], file["labels"][chosen]
    return Digits(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))
