"""What attention costs when space and time are taken apart, and when they are not.

Multiply-accumulates of the scores and of the mixing of values, of one layer and one clip. The
projections to queries, keys, values and outputs are left out: they are the same for all.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class AttentionCost:
    """Multiply-accumulates of one layer."""

    space: int  # attention in windows
    time: int  # attention along time, place by place
    joint: int  # of all tokens to all tokens

    @property
    def divided(self) -> int:
        """Space and time, one after the other."""
        return self.space + self.time

    @property
    def saving(self) -> float:
        """How many times cheaper the divided one is."""
        return self.joint / self.divided


def attention_cost(num_frames: int, map_size: int, window_size: int, dim: int) -> AttentionCost:
    """Of T frames of h x h tokens in windows of K x K; every pair costs 2 D.

    Raises:
        ValueError: A size is below 1, or the windows do not fill the map.
    """
    sizes = {"num_frames": num_frames, "map_size": map_size, "dim": dim}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; permitted: 1 and more")
    if window_size < 1 or map_size % window_size:
        raise ValueError(f"window_size is {window_size}; permitted: a divisor of {map_size}")
    tokens = num_frames * map_size**2
    return AttentionCost(
        space=2 * dim * tokens * window_size**2,
        time=2 * dim * tokens * num_frames,
        joint=2 * dim * tokens**2,
    )
