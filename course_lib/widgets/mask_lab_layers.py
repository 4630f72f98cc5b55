"""What the mask laboratory can ask: single layers of trained networks, and the whole of FAR.

A layer says what it may see in two parts that do not touch each other: a table of places in a frame
and a way of looking along time. What it does see is measured by gradients through the network.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.evaluation.influence import (
    first_blocks,
    through_convolution,
    through_windows,
)
from course_lib.models.vidhrformer import DecoderBlock, Masks, VidHRFormerBlock
from course_lib.models.vptr import AutoregressiveVPTR, Features, VPTRConfig
from course_lib.models.vptr_decoders import NonAutoregressiveVPTR

Asked = tuple[Callable[[Tensor], Tensor], Features]  # a function, and what it is a function of
OWN, ONCE, AGAIN = "own frame", "one look", "a look in every block"


@dataclass(frozen=True, eq=False)
class Layer:
    """One entry of the laboratory's list."""

    name: str
    note: str
    time: str  # OWN, ONCE or AGAIN
    tables: np.ndarray  # bool (blocks, h*w, h*w): after so many, which places a place may see
    ask: Callable[[int, Tensor], Asked]  # number of the block, from 1, and mask
    preset: str = ""  # "causal", "full", or nothing: the mask stays as it is
    asks_context: bool = False  # the queries are predicted frames, the mask is another one

    @property
    def side(self) -> int:
        """Places along an edge of its map; networks may differ."""
        return math.isqrt(self.tables.shape[1])


def layers_of_far(model: AutoregressiveVPTR, features: Features) -> list[Layer]:
    """Each layer of FAR alone, with what it is given when the network reads this clip."""
    given = _inputs(model, features, _parts(model.blocks))
    place, window, near, composed = spatial_tables(model.config)
    every = lambda table: np.stack([table] * model.config.depth)  # noqa: E731

    def through(name: str) -> Callable[[int, Tensor], Asked]:
        def ask(number: int, mask: Tensor) -> Asked:
            del mask  # nothing but attention in time has one
            layer = getattr(model.blocks[number - 1], name)
            return _last(layer), _first(given[number - 1][name][0])

        return ask

    def ask_time(number: int, mask: Tensor) -> Asked:
        layer = cast(VidHRFormerBlock, model.blocks[number - 1]).time
        x, code = given[number - 1]["time"][:2]
        look = lambda x: layer(x, code, layer.remember(x, code), mask=mask)  # noqa: E731
        return _last(look), _first(x)

    def ask_all(number: int, mask: Tensor) -> Asked:
        return first_blocks(model, number, masks=Masks(temporal=mask)), features

    size = model.config.block.window_size
    return [
        Layer(
            "Local spatial attention",
            f"A place looks at the {size} x {size} places of its own window, in its own frame.",
            OWN,
            every(window),
            through("space"),
        ),
        Layer(
            "Convolution",
            "A 3 x 3 convolution reads the neighbours, also across the border of a window.",
            OWN,
            every(near),
            through("convolution"),
        ),
        Layer(
            "Temporal attention, causal",
            "A place looks at the same place of other frames. FAR's mask is causal.",
            ONCE,
            every(place),
            ask_time,
            "causal",
        ),
        Layer(
            "Temporal attention, full",
            "The same layer without a mask, as in NAR's encoder. Measured is FAR's, asked so.",
            ONCE,
            every(place),
            ask_time,
            "full",
        ),
        Layer(
            "The whole network",
            "All layers of FAR's first blocks, one after the other, with their residual paths.",
            AGAIN,
            composed,
            ask_all,
        ),
    ]


def layer_of_nar(model: NonAutoregressiveVPTR, features: Features) -> Layer:
    """The encoder-decoder attention alone; as many predicted frames ask as there are in the clip.

    Raises:
        ValueError: There are more frames than NAR predicts.
    """
    length = features.shape[1]
    if length > model.config.horizon:
        raise ValueError(f"the clip has {length} frames; NAR predicts {model.config.horizon}")
    given = _inputs(model, features, _parts(model.decoder))
    x = _inputs(model, features, [{"norm": model.encoder_norm}])[0]["norm"][0]
    memory = model.encoder_norm(x).detach()
    code = model.time_code[model.config.context - length : model.config.context]
    place = spatial_tables(model.config)[0]

    def ask(number: int, mask: Tensor) -> Asked:
        layer = cast(DecoderBlock, model.decoder[number - 1]).witness
        asking, when = given[number - 1]["witness"][:2]

        def look(memory: Tensor) -> Tensor:
            seen = layer.remember(memory, code)
            return layer(asking[:, :length], when[:length], seen, mask=mask)

        return _last(look), _first(memory)

    return Layer(
        "Encoder-decoder attention",
        "A place of a predicted frame looks at the same place of the context. Measured in NAR's "
        f"decoder, on maps of {model.config.block.map_size} x {model.config.block.map_size}.",
        ONCE,
        np.stack([place] * model.config.decoder_depth),
        ask,
        "full",
        asks_context=True,
    )


def spatial_tables(
    config: VPTRConfig,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bool (h*w, h*w), query by seen: the place itself, its window, its neighbours.

    Last, (depth, h*w, h*w): all that FAR's first blocks let it see of the map.
    """
    side, window = config.block.map_size, config.block.window_size
    whole = config.block.norm == "frame"
    place = torch.eye(side**2, dtype=torch.bool).unflatten(1, (side, side))  # each as a frame
    near = through_convolution(place, whole_frame=whole)
    reach, composed = place, []
    for _ in range(config.depth):
        reach = reach | through_convolution(reach, whole_frame=whole)
        reach = reach | through_windows(reach, window)
        composed.append(reach)
    found = place, through_windows(place, window), near
    flat = [table.flatten(1).numpy() for table in found]
    return flat[0], flat[1], flat[2], torch.stack(composed).flatten(2).numpy()


def along_time(way: str, mask: np.ndarray, num_blocks: int) -> np.ndarray:
    """Bool (queries, frames): which frames a layer may see under this mask."""
    if way == OWN:
        return np.eye(len(mask), dtype=bool)
    if way == ONCE:
        return mask
    step = mask | np.eye(len(mask), dtype=bool)  # beside the attention runs a residual path
    return np.linalg.matrix_power(step.astype(int), num_blocks) > 0


def _parts(blocks: nn.ModuleList) -> list[dict[str, nn.Module]]:
    """The layers of each block that look at other places."""
    parts = []
    for block in blocks:
        own = cast(VidHRFormerBlock, block.own if isinstance(block, DecoderBlock) else block)
        layers = {"space": own.space, "convolution": own.convolution, "time": own.time}
        parts.append(layers | ({"witness": block.witness} if block is not own else {}))
    return parts


@torch.no_grad()
def _inputs(model: nn.Module, features: Features, parts: list[dict[str, nn.Module]]) -> list[dict]:
    """What each of these layers is given when the network reads these features."""
    given: list[dict] = [{} for _ in parts]
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, args, name=name, kept=kept: kept.setdefault(name, args)
        )
        for kept, layers in zip(given, parts, strict=True)
        for name, layer in layers.items()
    ]
    try:
        model(features)
    finally:
        for hook in hooks:
            hook.remove()
    return given


def _last(layer: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A layer whose channels are last, as a function of features, whose channels are not."""
    return lambda features: layer(features.movedim(2, -1)).movedim(-1, 2)


def _first(x: Tensor) -> Features:
    return x.movedim(-1, 2)
