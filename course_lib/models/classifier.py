"""A small convolutional network that reads 28 x 28 digits.

It reads what the reader draws, and its features measure how far generated digits are from real
ones (digit-classifier Frechet distance).
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Frames

SIZE = 28  # pixels along an edge
NUM_CLASSES = 10


@dataclass(frozen=True)
class DigitClassifierConfig:
    """The size of a `DigitClassifier`."""

    dims: tuple[int, int, int] = (16, 32, 64)  # channels of the three convolutions
    num_features: int = 64  # of the layer before the last

    def __post_init__(self) -> None:
        if len(self.dims) != 3 or min(self.dims) < 1:
            raise ValueError(f"dims is {self.dims}; permitted: three positive numbers")
        if self.num_features < 1:
            raise ValueError(f"num_features is {self.num_features}; permitted: 1 and more")


class DigitClassifier(nn.Module):
    """Three convolutions, each halving the picture, and two linear layers."""

    def __init__(self, config: DigitClassifierConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        for below, dim in zip((1, *config.dims[:-1]), config.dims, strict=True):
            layers += [nn.Conv2d(below, dim, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        last_size = SIZE // 8
        self.to_features = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(config.dims[-1] * last_size**2, config.num_features),
            nn.ReLU(),
        )
        self.to_logits = nn.Linear(config.num_features, NUM_CLASSES)

    def forward(self, images: Frames) -> Float[Tensor, "B 10"]:
        """Logits of the ten digits; `images` in [-1, 1], -1 is paper.

        Raises:
            ValueError: The images are not (B, 1, 28, 28).
        """
        return self.to_logits(self.features(images))

    def features(self, images: Frames) -> Float[Tensor, "B D"]:
        """What the last hidden layer says of each image, numbers from 0 up.

        Raises:
            ValueError: The images are not (B, 1, 28, 28).
        """
        if tuple(images.shape[1:]) != (1, SIZE, SIZE):
            raise ValueError(
                f"images have shape {tuple(images.shape)}; permitted: (B, 1, {SIZE}, {SIZE})"
            )
        return self.to_features(images)  # (B, D)
