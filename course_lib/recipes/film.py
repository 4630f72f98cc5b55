"""Clips as one picture, the form in which sheets show them."""

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from course_lib.data.video import to_panel


def film(clips: Float[Tensor, "N T C H W"]) -> Image.Image:
    """One clip a row, one frame a column, a grey line around each; grey or in colour."""
    framed = F.pad(clips, (1, 1, 1, 1), value=0.0)
    whole = rearrange(framed, "n t c h w -> 1 c (n h) (t w)")
    return Image.fromarray(np.ascontiguousarray(to_panel(whole)[0]))


def read_film(image: Image.Image, num_frames: int) -> Float[Tensor, "N T 1 S S"]:
    """The clips of a grey `film`, whose frames are squares."""
    pixels = torch.from_numpy(np.asarray(image.convert("L"), dtype=np.float32)) / 127.5 - 1
    side = pixels.shape[1] // num_frames
    rows = pixels.unflatten(0, (-1, side)).unflatten(2, (num_frames, side)).transpose(1, 2)
    return rows[:, :, None, 1:-1, 1:-1].contiguous()
