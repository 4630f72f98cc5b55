"""The mask laboratory: who may look at whom, and what the trained network makes of it.

The reader picks a layer and a query, and edits the temporal mask by hand. What the query may see is
worked out in the browser, at once. What the network does under that mask is measured here by
gradients, and sent back: where it looks, and whether an output depends on a later frame.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import anywidget
import numpy as np
import torch
import traitlets
from torch import Tensor

from course_lib.data.video import to_panel
from course_lib.evaluation.influence import frame_influence, influence
from course_lib.interfaces import Video
from course_lib.models.vptr import AutoregressiveVPTR
from course_lib.models.vptr_decoders import NonAutoregressiveVPTR
from course_lib.models.vptr_video import VPTR
from course_lib.nn import attention
from course_lib.widgets.mask_lab_layers import (
    AGAIN,
    along_time,
    layer_of_nar,
    layers_of_far,
)
from course_lib.widgets.mask_lab_picture import draw_lab
from course_lib.widgets.reader import beside, script

HERE = Path(__file__).parent
NUM_PROBES = 2  # directions of the output that are asked: what is 0 for one is 0 for all
WHOLE = "The whole network"
KEPT = 64  # measured tables that are remembered


Network = TypeVar("Network", AutoregressiveVPTR, NonAutoregressiveVPTR)


class MaskLab(anywidget.AnyWidget):
    """Frames of a clip above maps of their features; a query, a mask, and what is seen.

    Args:
        far: FAR, trained or not.
        clip: one clip, as many frames of it as the maps shall be; six or eight are quick.
        causal_mask: the reader's `causal_mask(num_frames)`; one that gives no bools of the right
            shape is replaced by the library's, and the widget says so.
        nar: NAR, for the encoder-decoder attention; without it that layer is not in the list.
        whose: whose `causal_mask` it is, for the button.

    Raises:
        ValueError: There is not exactly one clip, it is too long for a network, or a network is
                another one.
    """

    _esm = script("mask_lab.js")
    _css = "\n".join(
        (HERE / file).read_text(encoding="utf-8") for file in ("reader.css", "mask_lab.css")
    )

    scene = traitlets.Dict().tag(sync=True, echo_update=False)
    value = traitlets.Dict().tag(sync=True)  # layer, block, query, mask
    answer = traitlets.Dict().tag(sync=True, echo_update=False)

    def __init__(
        self,
        far: VPTR,
        clip: Video,
        causal_mask: Callable[[int], Tensor] = attention.causal_mask,
        *,
        nar: VPTR | None = None,
        whose: str = "your causal_mask",
    ):
        if len(clip) != 1 or clip.shape[1] < 2:
            raise ValueError(f"the clip has shape {tuple(clip.shape)}; permitted: (1, T, C, H, W)")
        with torch.no_grad():
            self.layers = layers_of_far(
                _network(far, AutoregressiveVPTR), far.autoencoder.encode(clip)
            )
            if nar is not None:
                decoder = _network(nar, NonAutoregressiveVPTR)
                self.layers.insert(-1, layer_of_nar(decoder, nar.autoencoder.encode(clip)))
        self._frames = to_panel(clip)[0]
        self._measured: dict[tuple, Tensor] = {}
        length, side = clip.shape[1], far.transformer.config.block.map_size
        presets, note = self._presets(causal_mask, length)
        start = {
            "layer": len(self.layers) - 1,
            "block": far.transformer.config.depth,
            "query": [length // 2, *_brightest(self._frames[length // 2], side)],
            "mask": presets["causal"],
        }
        scene = self._scene(far.transformer.config.block.window_size)
        scene |= {"presets": presets, "whose": whose, "note": note}
        super().__init__(scene=scene, value=start)
        self._answer()
        self.observe(lambda _: self._answer(), "value")

    def may_see(self, value: dict | None = None) -> np.ndarray:
        """Bool (T, h, w): what the query may see, by default the one that is chosen."""
        value = self.value if value is None else value
        layer = self.layers[value["layer"]]
        frame, row, column = value["query"]
        side = layer.side
        mask = np.array(value["mask"], dtype=bool)
        frames = along_time(layer.time, mask, value["block"])[frame]
        places = layer.tables[value["block"] - 1][row * side + column]
        return (frames[:, None] & places).reshape(-1, side, side)

    def measure(self, value: dict) -> tuple[Tensor, Tensor]:
        """The influence (T, h, w) on the query, and of each frame (T, T) on each output frame."""
        layer = self.layers[value["layer"]]
        mask = torch.tensor(value["mask"], dtype=torch.bool)
        function, features = layer.ask(value["block"], mask)
        draw = partial(torch.Generator().manual_seed, 0)
        frame, row, column = value["query"]
        seen = influence(
            function, features, (frame, row, column), num_probes=NUM_PROBES, generator=draw()
        )
        # It does not depend on the query, and costs more than all the rest.
        key = (value["layer"], value["block"], str(value["mask"]))
        if key not in self._measured:
            if len(self._measured) >= KEPT:
                self._measured.clear()
            self._measured[key] = frame_influence(function, features, generator=draw())
        return seen, self._measured[key]

    def _answer(self) -> None:
        """Measure what is asked, and say it."""
        start, value = time.perf_counter(), dict(self.value)
        seen, frames = self.measure(value)
        leaks = self._leaks(value, frames)
        self.answer = {
            "for": value,
            "heat": seen.detach().float().numpy().tobytes(),
            "frames": [[float(f"{x:.3g}") for x in row] for row in frames.tolist()],
            "leaks": leaks,
            "verdict": self._verdict(value, leaks),
            "ms": round(1000 * (time.perf_counter() - start), 1),
        }

    def _leaks(self, value: dict, frames: Tensor) -> list[list[int]]:
        """(output, later frame) for every output that depends on a later frame."""
        if self.layers[value["layer"]].asks_context:
            return []
        return (frames > 0).triu(1).nonzero().tolist()

    def _verdict(self, value: dict, leaks: list[list[int]]) -> str:
        layer = self.layers[value["layer"]]
        if layer.asks_context:
            return "No leak: all that can be asked here is past."
        if not leaks:
            return "No leak: no output depends on a later frame."
        (i, j), more = leaks[0], len(leaks) - 1
        others = f" ({more} more such pair{'s' * (more > 1)})" if more else ""
        sentence = f"The output of frame {i} depends on frame {j}{others}: the future leaks."
        if layer.time == AGAIN:
            return sentence
        return f"{sentence} In FAR that is a fault; in NAR's encoder, where all is past, it is not."

    def _presets(self, function: Callable, length: int) -> tuple[dict[str, list], str]:
        """Masks as lists of lists, and what is to be said about the reader's."""
        library, note = attention.causal_mask(length), ""
        found = torch.as_tensor(function(length))
        if found.shape != library.shape or found.dtype != torch.bool:
            kind = f"{found.dtype} {tuple(found.shape)}".removeprefix("torch.")
            note = f"It gave {kind} in place of bool {tuple(library.shape)}: this is the library's."
            found = library
        return {
            "causal": found.tolist(),
            "full": torch.ones_like(library).tolist(),
            "none": torch.zeros_like(library).tolist(),
        }, note

    def _scene(self, window: int) -> dict:
        """All that stays: the frames, and what the layers let a place see of the map."""
        length, height, width = self._frames.shape[:3]
        return {
            "length": length,
            "window": window,
            "frame": [height, width],
            "frames": self._frames.tobytes(),
            "layers": [
                {
                    "name": layer.name,
                    "note": layer.note,
                    "time": layer.time,
                    "preset": layer.preset,
                    "context": layer.asks_context,
                    "side": layer.side,
                    "blocks": len(layer.tables),
                    "tables": np.packbits(layer.tables).tobytes(),
                }
                for layer in self.layers
            ],
        }

    @traitlets.validate("value")
    def _check_value(self, proposal: dict) -> dict:
        value, length = dict(proposal["value"]), self.scene["length"]
        if not 0 <= value["layer"] < len(self.layers):
            raise ValueError(f"layer is {value['layer']}; permitted: 0..{len(self.layers) - 1}")
        layer = self.layers[value["layer"]]
        blocks, side = len(layer.tables), layer.side
        if not 1 <= value["block"] <= blocks:
            raise ValueError(f"block is {value['block']}; permitted: 1..{blocks}")
        limits = zip(value["query"], (length, side, side), strict=True)
        if any(not 0 <= k < size for k, size in limits):
            raise ValueError(f"query is {value['query']}; permitted: {length} x {side} x {side}")
        if np.shape(value["mask"]) != (length, length):
            raise ValueError(f"the mask has shape {np.shape(value['mask'])}; permitted: a square")
        return value

    def ask(
        self,
        layer: str = WHOLE,
        *,
        block: int | None = None,
        query: tuple[int, int, int] | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Set the laboratory to a question; what is None stays, the block goes to the last.

        Raises:
            ValueError: There is no such layer, block or place, or the mask has another shape.
        """
        names = [each.name for each in self.layers]
        if layer not in names:
            raise ValueError(f"layer is {layer!r}; permitted: {', '.join(map(repr, names))}")
        number = names.index(layer)
        new: dict = {"layer": number, "block": block or len(self.layers[number].tables)}
        before = self.layers[self.value["layer"]]
        preset = self.layers[number].preset or ("causal" if before.asks_context else "")
        if preset:
            new["mask"] = self.scene["presets"][preset]
        frame, *place = self.value["query"]
        now = self.layers[number].side
        moved = [frame, *(k * now // before.side for k in place)]
        new["query"] = moved if query is None else list(query)
        if mask is not None:
            new["mask"] = mask.tolist()
        self.value = self.value | new

    def contact_sheet(self) -> bytes:
        """A PNG of what is asked and what was found."""
        heat = np.frombuffer(self.answer["heat"], np.float32).reshape(self.may_see().shape)
        layer = self.layers[self.value["layer"]]
        return draw_lab(self._frames, self.may_see(), heat, self.value, self.answer, layer).png()

    def _repr_mimebundle_(self, **kwargs: dict) -> tuple[dict, dict] | None:
        """The live view, and beside it the laboratory as a picture."""
        layer = self.layers[self.value["layer"]]
        text = f"The mask laboratory, {layer.name.lower()}. {self.answer['verdict']}"
        return beside(super()._repr_mimebundle_(**kwargs), text, png=self.contact_sheet())


def _brightest(frame: np.ndarray, side: int) -> tuple[int, int]:
    """The place of a frame (H, W) or (H, W, 3) with the most ink: something to look at."""
    height, width = frame.shape[:2]
    places = frame.reshape(side, height // side, side, width // side, -1).mean((1, 3, 4))
    row, column = divmod(int(places.argmax()), side)
    return row, column


def _network(model: VPTR, kind: type[Network]) -> Network:
    if not isinstance(model.transformer, kind):
        raise ValueError(f"{type(model.transformer).__name__} given; permitted: {kind.__name__}")
    return model.transformer
