"""Moving MNIST and Stochastic Moving MNIST, made from the course's own digits.

Source: Srivastava et al. 2015 (arXiv 1502.04681), section 4: digits of 28 pixels in frames of 64,
directions drawn uniformly, digits overlap by maximum. Denton & Fergus 2018 (arXiv 1802.07687),
section 4: at a wall the direction is drawn anew. Departures: speeds of 2 to 5 pixels are our
choice, and a digit keeps its speed for the whole clip, also where the direction is drawn anew.

Both worlds have the same wall: a digit that would pass it stops at it for one frame, and leaves
with a new velocity. Positions are real numbers; a digit is drawn at the nearest pixel.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import avg_pool2d

from course_lib.data.digits import Digits

SIDES = {32: 14, 64: 28}  # pixels of a frame's edge: pixels of a digit's edge
SPEEDS = (2 / 64, 5 / 64)  # frame edges per frame, lowest and highest


@dataclass(frozen=True, eq=False)
class MovingClips:
    """A batch of clips, and where its K digits are; the two coordinates are (x, y), y downwards."""

    video: Float[Tensor, "B T 1 S S"]
    index: Int64[Tensor, "B K"]  # into the world's digits
    positions: Float64[Tensor, "B T K 2"]  # pixels, of a digit's upper left corner
    velocities: Float64[Tensor, "B T K 2"]  # pixels per frame, with which it leaves this frame
    bounced: Bool[Tensor, "B T K"]  # is this the frame in which it stops at a wall?


class MovingMNIST:
    """Digits that move straight on and bounce, by reflection or, if `stochastic`, anywhere.

    Raises:
        ValueError: An argument is not permitted.
    """

    def __init__(
        self,
        digits: Digits,
        *,
        stochastic: bool = False,
        num_digits: int = 2,
        num_frames: int = 20,
        size: int = 64,
    ) -> None:
        if size not in SIDES:
            raise ValueError(f"size is {size}; permitted: {', '.join(map(str, SIDES))}")
        for name, number in {"num_digits": num_digits, "num_frames": num_frames}.items():
            if number < 1:
                raise ValueError(f"{name} is {number}; permitted: 1 and more")
        self.digits = digits
        self.stochastic = stochastic
        self.num_digits = num_digits
        self.num_frames = num_frames
        self.size = size
        self.room = size - SIDES[size]  # pixels, the largest coordinate of a digit's corner

    def sample(self, batch: int, *, generator: torch.Generator | None = None) -> MovingClips:
        """Clips drawn from the world; until the first wall, both worlds draw the same ones."""
        each = (batch, self.num_digits)
        index = torch.randint(len(self.digits), each, generator=generator)
        start = self.room * torch.rand(*each, 2, dtype=torch.float64, generator=generator)
        low, high = SPEEDS
        share = torch.rand(*each, 1, dtype=torch.float64, generator=generator)
        speed = self.size * (low + (high - low) * share)  # (B, K, 1)
        turns = torch.rand(self.num_frames, *each, dtype=torch.float64, generator=generator)
        angles = 2 * math.pi * turns
        directions = torch.stack([angles.cos(), angles.sin()], -1)  # (T, B, K, 2)
        positions, velocities, bounced = self._move(start, speed * directions)
        return MovingClips(self.render(index, positions), index, positions, velocities, bounced)

    def render(
        self, index: Int64[Tensor, "B K"], positions: Float64[Tensor, "B T K 2"]
    ) -> Float[Tensor, "B T 1 S S"]:
        """The clips of given digits at given positions."""
        side = SIDES[self.size]
        images = self.digits.images[index].float() / 255  # (B, K, 28, 28)
        ink = avg_pool2d(images, 28 // side)  # (B, K, side, side)
        columns, rows = (positions.round().long()[..., None] + torch.arange(side)).unbind(3)
        batch, frames = positions.shape[:2]
        clip = torch.arange(batch)[:, None, None, None]
        frame = torch.arange(frames)[:, None, None]
        canvas = torch.zeros(batch, frames, self.size, self.size)
        for k in range(index.shape[1]):
            places = (clip, frame, rows[:, :, k, :, None], columns[:, :, k, None, :])
            canvas[places] = torch.maximum(canvas[places], ink[:, None, k])
        return 2 * canvas[:, :, None] - 1

    def _move(
        self, position: Float64[Tensor, "B K 2"], drawn: Float64[Tensor, "T B K 2"]
    ) -> tuple[Float64[Tensor, "B T K 2"], Float64[Tensor, "B T K 2"], Bool[Tensor, "B T K"]]:
        """Positions, velocities and bounces, from the velocities that each frame would draw."""
        velocity = drawn[0]
        path = [(position, velocity, torch.zeros(velocity.shape[:2], dtype=torch.bool))]
        for redrawn in drawn[1:]:
            target = position + velocity
            position = target.clamp(0, self.room)
            inward = (position - target).sign()  # per coordinate: 0 where no wall was in the way
            bounces = (inward != 0).any(-1)
            if self.stochastic:
                velocity = torch.where(bounces[..., None], redrawn, velocity)
            # Reflection; of a direction from the whole circle it makes one from the inner half.
            velocity = torch.where(inward != 0, inward * velocity.abs(), velocity)
            path.append((position, velocity, bounces))
        positions, velocities, bounced = (
            torch.stack(steps, 1) for steps in zip(*path, strict=True)
        )
        return positions, velocities, bounced
