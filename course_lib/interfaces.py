"""Words for shapes: (B, T, C, H, W) for video and (B, C, H, W) for frames, float32 in [-1, 1]."""

from jaxtyping import Float
from torch import Tensor

Video = Float[Tensor, "B T C H W"]
Frames = Float[Tensor, "B C H W"]
