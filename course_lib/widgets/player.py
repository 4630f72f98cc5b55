"""The player: precomputed clips on a grid of settings, drawn by the browser at screen speed.

Every frame is sent once, as lossless sprite sheets. Sliders pick a place in the grid, time runs
through it, and no kernel is asked while they move: it also plays in an exported page.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from course_lib.widgets.contact_sheet import Row, contact_sheet
from course_lib.widgets.reader import beside, script
from course_lib.widgets.sprites import pack

HERE = Path(__file__).parent


class Player(anywidget.AnyWidget):
    """Clips side by side, on a grid of settings that labelled sliders move through.

    `panels` maps a title to bytes (*grid, T, H, W), or (*grid, T, H, W, 3) in colour; the grid has
    one axis per entry of `sliders` (name -> labels of its values), in that order. An axis of size 1
    holds for all values; so does T = 1, a still picture. `captions` is one text or an array of
    texts that broadcasts to (*grid, T). `width` is a panel's width on the screen in pixels, for all
    or by title. `value` holds the index of each slider and of "frame", at first that of `start`;
    Python may set some or all of them, the browser reports them when a control is released.

    Raises:
        ValueError: shapes, labels or numbers that do not fit together.
    """

    _esm = script("player.js")
    _css = HERE / "player.css"

    panels = traitlets.List().tag(sync=True, echo_update=False)
    captions = traitlets.Dict().tag(sync=True, echo_update=False)
    sliders = traitlets.List().tag(sync=True)
    num_frames = traitlets.Int().tag(sync=True)
    value = traitlets.Dict().tag(sync=True)
    fps = traitlets.Int().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        panels: Mapping[str, np.ndarray],
        sliders: Mapping[str, Sequence[str]] | None = None,
        *,
        captions: str | Sequence | np.ndarray = "",
        start: Mapping[str, int] | None = None,
        fps: int = 6,
        width: int | Mapping[str, int] = 224,
        title: str = "",
        alt: str = "",
    ):
        labels = {name: [str(label) for label in row] for name, row in (sliders or {}).items()}
        widths = width if isinstance(width, Mapping) else dict.fromkeys(panels, width)
        _check_controls(labels, fps, {name: widths.get(name) for name in panels})
        num_frames = _common_length(panels, len(labels))
        self._states = (*(len(row) for row in labels.values()), num_frames)
        self._widths = widths
        self._frames: dict[str, np.ndarray] = {}
        about = f"{title or 'Player'}: {', '.join(panels)}; {num_frames} frames"
        super().__init__(
            sliders=[{"name": name, "labels": row} for name, row in labels.items()],
            num_frames=num_frames,
            value={**dict.fromkeys([*labels, "frame"], 0), **(start or {})},
            fps=fps,
            title=title,
            alt=alt or "; ".join([about, *(f"slider {name}" for name in labels)]),
            # One message to the browser: no view can be drawn before its panels are there.
            **self._replace(panels, captions),
        )

    def update(
        self,
        panels: Mapping[str, np.ndarray] | None = None,
        captions: str | Sequence | np.ndarray | None = None,
    ) -> None:
        """Replace the frames of some panels, the captions, or both; sliders stay where they are.

        Raises:
            ValueError: an unknown panel, or shapes other than this player's.
        """
        for name in panels or {}:
            if name not in self._frames:
                raise ValueError(f"no panel {name!r}; this player has {', '.join(self._frames)}")
        with self.hold_sync():
            for trait, content in self._replace(panels or {}, captions).items():
                self.set_trait(trait, content)

    @property
    def num_bytes(self) -> int:
        """Bytes of all sprite sheets: what a page pays for this player."""
        return sum(len(sheet) for panel in self.panels for sheet in panel["sheets"])

    def _replace(self, panels: Mapping[str, np.ndarray], captions: object) -> dict:
        """The traits that change with these contents; nothing changes where one does not fit."""
        for name, frames in panels.items():
            _check_frames(name, frames, self._states)
        texts = None if captions is None else _broadcast_texts(captions, self._states)
        packed = {panel["title"]: panel for panel in self.panels}
        packed |= {name: self._pack(name, frames) for name, frames in panels.items()}
        self._frames |= panels
        if texts is None:
            return {"panels": list(packed.values())}
        self._texts = texts
        distinct, index = np.unique(texts, return_inverse=True)
        sent = {
            "texts": distinct.tolist(),
            "index": index.ravel().tolist(),
            "longest": max(distinct.tolist(), key=len),
        }
        return {"panels": list(packed.values()), "captions": sent}

    def _pack(self, name: str, frames: np.ndarray) -> dict:
        """One panel as the browser takes it: sprite sheets and a tile for each state."""
        axes = len(self._states)
        sprites = pack(frames.reshape(-1, *frames.shape[axes:]))
        index = np.broadcast_to(np.reshape(sprites.index, frames.shape[:axes]), self._states)
        return {
            **sprites.to_dict(),
            "title": name,
            "display": self._widths[name],
            "index": index.ravel().tolist(),
        }

    @traitlets.validate("value")
    def _merge_value(self, proposal: dict) -> dict:
        """What is named changes, the rest stays."""
        allowed = {slider["name"]: len(slider["labels"]) for slider in self.sliders}
        allowed["frame"] = self.num_frames
        for name, index in proposal["value"].items():
            if name not in allowed:
                raise ValueError(f"no slider {name!r}; this player has {', '.join(allowed)}")
            if index not in range(allowed[name]):
                raise ValueError(f"{name} is {index!r}; 0..{allowed[name] - 1} are allowed")
        return {**self.value, **{name: int(k) for name, k in proposal["value"].items()}}

    def _repr_mimebundle_(self, **kwargs: dict) -> tuple[dict, dict] | None:
        """The live view, and beside it a picture for pages where no widget can live."""
        return beside(super()._repr_mimebundle_(**kwargs), self.alt, png=self.contact_sheet())

    def contact_sheet(self) -> bytes:
        """A PNG: the panels in a few settings (rows) at a few times (columns)."""
        wide = max(frames.shape[len(self._states) + 1] for frames in self._frames.values()) > 128
        times = np.unique(np.linspace(0, self.num_frames - 1, 4 if wide else 6).round().astype(int))
        state = tuple(self.value[slider["name"]] for slider in self.sliders)
        return contact_sheet(
            list(self._rows(state, times)),
            [f"frame {t}" for t in times],
            title=self.title,
            caption=str(self._texts[(*state, self.value["frame"])]),
        )

    def _rows(self, state: tuple[int, ...], times: np.ndarray) -> Iterator[Row]:
        """The panels at some values of the first slider, the others as set; at most about six."""
        places = [state]
        if state:
            last = self._states[0] - 1
            some = {0, last // 2, last} if len(self._frames) < 3 else {0, last}
            places = [(k, *state[1:]) for k in sorted(some)]
        for number, place in enumerate(places):
            for name, frames in self._frames.items():
                sizes = frames.shape[: len(place)]
                if number and sizes[0] == 1:
                    continue  # the first slider does not change it
                clip = frames[tuple(min(k, size - 1) for k, size in zip(place, sizes, strict=True))]
                remark = "\n".join(
                    f"{slider['name']}: {slider['labels'][k]}"
                    for slider, k, size in zip(self.sliders, place, sizes, strict=True)
                    if size > 1
                )
                yield Row(name, remark, [clip[min(t, len(clip) - 1)] for t in times])


def _check_controls(
    labels: Mapping[str, Sequence[str]], fps: int, widths: Mapping[str, int | None]
) -> None:
    for name, row in labels.items():
        if name == "frame":
            raise ValueError("a slider is named 'frame'; that name is the time slider's")
        if not row:
            raise ValueError(f"slider {name!r} has 0 labels; at least 1 is needed")
    if not 1 <= fps <= 60:
        raise ValueError(f"fps is {fps}; 1..60 are allowed")
    for name, width in widths.items():
        if width is None or not 16 <= width <= 2048:
            raise ValueError(f"the width of panel {name!r} is {width}; 16..2048 are allowed")


def _common_length(panels: Mapping[str, np.ndarray], axis: int) -> int:
    """The number of frames: that of the longest panel."""
    if not panels:
        raise ValueError("panels is empty; a player needs at least 1")
    for name, frames in panels.items():
        if frames.ndim not in (axis + 3, axis + 4):
            raise ValueError(
                f"panel {name!r} has {frames.ndim} axes; {axis + 3} (one per slider, T, H, W) "
                f"or {axis + 4} (the last one 3, in colour) are needed"
            )
    return max(1, *(frames.shape[axis] for frames in panels.values()))


def _check_frames(name: str, frames: np.ndarray, states: tuple[int, ...]) -> None:
    """Bytes whose leading axes broadcast to the states and whose last ones are a picture."""
    if frames.dtype != np.uint8:
        raise ValueError(f"panel {name!r} holds {frames.dtype}; uint8 is needed")
    axes = len(states)
    grey, colour = frames.ndim == axes + 2, frames.ndim == axes + 3 and frames.shape[-1] == 3
    fits = all(size in (1, full) for size, full in zip(frames.shape, states, strict=False))
    if not (fits and (grey or colour) and frames.size):
        wanted = ", ".join(str(size) for size in states)
        raise ValueError(
            f"panel {name!r} has shape {frames.shape}; ({wanted}, H, W) or ({wanted}, H, W, 3) "
            f"is needed, where any of the first {axes} may be 1 and none is 0"
        )


def _broadcast_texts(captions: object, states: tuple[int, ...]) -> np.ndarray:
    texts = np.asarray(captions, dtype=str)
    try:
        return np.broadcast_to(texts, states)
    except ValueError:
        raise ValueError(
            f"captions have shape {texts.shape}; what broadcasts to {states} is allowed"
        ) from None
