"""Choose the digits that ship with the course from the full MNIST.

    python -m course_lib.recipes.digits FOLDER_WITH_THE_FOUR_IDX_FILES

At the crossroads a digit's class decides its future, so a digit that could pass for one of another
cue would make the "exact" probabilities wrong. Kept is a digit whose cue two classifiers that never
saw it both give at >= .99: a linear one on its 28 x 28 pixels and a small CNN on the 12 x 12 sprite
that a world of 32 pixels shows. The train file is scored in two folds, each by classifiers of the
other; the test file by classifiers of the whole train file.
"""

import argparse
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from course_lib.data.crossroads import CUE_OF_DIGIT, sprites
from course_lib.data.digits import DIGITS_FILE, SPLITS

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
IDX_PREFIX = {"train": "train", "test": "t10k"}
PER_CLASS = {"train": 850, "test": 150}
MIN_CONFIDENCE = 0.99
BATCH_SIZE = 128
LEARNING_RATE = 3e-3


def read_idx(path: Path) -> UInt8[Tensor, "*shape"]:
    """The array of bytes in one IDX file of MNIST.

    Raises:
        ValueError: The file is not the original, by its MD5.
    """
    content = path.read_bytes()
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != MD5[path.name]:
        raise ValueError(f"{path.name} has MD5 {digest}; the original has {MD5[path.name]}")
    num_axes = content[3]
    shape = np.frombuffer(content, ">i4", count=num_axes, offset=4)
    pixels = np.frombuffer(content, np.uint8, offset=4 + 4 * num_axes)
    return torch.from_numpy(pixels.reshape(shape).copy())


def linear(size: int) -> nn.Module:
    """Logistic regression on pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(size**2, 10))


def small_cnn(size: int) -> nn.Module:
    """Two convolutions, two linear layers."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * (size // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def batches(
    num_images: int, epochs: int, *, generator: torch.Generator
) -> Iterator[Int64[Tensor, "B"]]:
    """Indices of shuffled batches, epoch after epoch."""
    for _ in range(epochs):
        yield from torch.randperm(num_images, generator=generator).split(BATCH_SIZE)


def fit(
    network: nn.Module,
    images: Float[Tensor, "N 1 S S"],
    labels: Int64[Tensor, "N"],
    epochs: int,
    *,
    generator: torch.Generator,
) -> nn.Module:
    """Train a classifier with Adam and a rate that falls to zero."""
    for weight in network.parameters():
        if weight.ndim > 1:
            nn.init.kaiming_uniform_(weight, nonlinearity="relu", generator=generator)
        else:
            nn.init.zeros_(weight)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    num_steps = epochs * -(-len(images) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, num_steps)
    for batch in tqdm(batches(len(images), epochs, generator=generator), total=num_steps):
        optimizer.zero_grad()
        F.cross_entropy(network(images[batch]), labels[batch]).backward()
        optimizer.step()
        schedule.step()
    return network


@torch.no_grad()
def cue_confidence(
    network: nn.Module, images: Float[Tensor, "N 1 S S"], labels: Int64[Tensor, "N"]
) -> Float[Tensor, "N"]:
    """The probability that a classifier gives to each image's true cue, its two digits together."""
    probs = torch.cat([network(part).softmax(-1) for part in images.split(2000)])
    same_cue = CUE_OF_DIGIT[labels][:, None] == CUE_OF_DIGIT  # (N, 10)
    return (probs * same_cue).sum(-1)


def confidences(
    make: Callable[[int], nn.Module],
    images: dict[str, Float[Tensor, "_ 1 S S"]],
    labels: dict[str, Int64[Tensor, "_"]],
    epochs: int,
    *,
    generator: torch.Generator,
) -> dict[str, Float[Tensor, "_"]]:
    """Confidence in the true cue of every image, by classifiers that were not trained on it."""
    train, size = images["train"], images["train"].shape[-1]
    # At random: MNIST alternates between two kinds of writers, so odd and even would not do.
    fold = torch.randint(2, (len(train),), generator=generator)
    confidence = torch.empty(len(train))
    for held_out in (0, 1):
        rest, held = fold != held_out, fold == held_out
        network = fit(make(size), train[rest], labels["train"][rest], epochs, generator=generator)
        confidence[held] = cue_confidence(network, train[held], labels["train"][held])
    network = fit(make(size), train, labels["train"], epochs, generator=generator)
    return {"train": confidence, "test": cue_confidence(network, images["test"], labels["test"])}


def choose(
    passed: Bool[Tensor, "N"],
    labels: Int64[Tensor, "N"],
    per_class: int,
    *,
    generator: torch.Generator,
) -> Int64[Tensor, "M"]:
    """Indices of `per_class` digits of every class among those that passed, in shuffled order.

    Raises:
        ValueError: Too few of a class passed.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    shuffled = shuffled[passed[shuffled]]
    chosen = []
    for digit in range(10):
        candidates = shuffled[labels[shuffled] == digit]
        if len(candidates) < per_class:
            raise ValueError(f"{len(candidates)} digits {digit} pass; {per_class} are needed")
        chosen.append(candidates[:per_class])
    chosen = torch.cat(chosen)
    return chosen[torch.randperm(len(chosen), generator=generator)]


def make_digits(folder: Path, seed: int = 0) -> tuple[np.ndarray, ...]:
    """The arrays of the digits file: images, labels, split, source (index in its IDX file)."""
    generator = torch.Generator().manual_seed(seed)
    images = {s: read_idx(folder / f"{IDX_PREFIX[s]}-images-idx3-ubyte") for s in SPLITS}
    labels = {s: read_idx(folder / f"{IDX_PREFIX[s]}-labels-idx1-ubyte").long() for s in SPLITS}
    pixels = {s: x[:, None] / 255 for s, x in images.items()}
    seen = {s: sprites(x, unit=1)[:, None] for s, x in images.items()}
    by_linear = confidences(linear, pixels, labels, 15, generator=generator)
    by_cnn = confidences(small_cnn, seen, labels, 6, generator=generator)

    parts = []
    for number, split in enumerate(SPLITS):
        passed = (by_linear[split] >= MIN_CONFIDENCE) & (by_cnn[split] >= MIN_CONFIDENCE)
        kept = torch.bincount(labels[split][passed], minlength=10).tolist()
        tqdm.write(f"{split}: {(~passed).sum()} of {len(passed)} dropped; kept of 0..9: {kept}")
        source = choose(passed, labels[split], PER_CLASS[split], generator=generator)
        chosen = labels[split][source].byte()
        parts.append((images[split][source], chosen, torch.full_like(chosen, number), source.int()))
    return tuple(torch.cat(column).numpy() for column in zip(*parts, strict=True))


def main() -> None:
    """Make the digits file."""
    parser = argparse.ArgumentParser(description="Choose the course's digits from the full MNIST.")
    parser.add_argument("folder", type=Path, help="holds the four unpacked IDX files")
    parser.add_argument("--out", type=Path, default=DIGITS_FILE)
    arguments = parser.parse_args()
    images, labels, split, source = make_digits(arguments.folder)
    np.savez_compressed(arguments.out, images=images, labels=labels, split=split, source=source)


if __name__ == "__main__":
    main()
