"""The latent pad: a cross on a plane of latents, and beside it what the model makes of that place.

It is a player whose grid is walked with a cross instead of two sliders: the frames are computed
once, sent once, and no kernel is asked while the cross moves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import traitlets

from course_lib.widgets.pad_picture import PALETTE, Axis, are_signs, draw_pad
from course_lib.widgets.player import HERE, Player
from course_lib.widgets.reader import script

PANEL = "at the cross"  # the title of a panel that was given without one
Frames = np.ndarray | Mapping[str, np.ndarray]


class LatentPad(Player):
    """Frames or clips on a plane of latents; a cross, dragged or moved by keys, picks one.

    Args:
        frames: bytes (len(ys), len(xs), T, H, W), or (..., 3) in colour; T = 1 for stills. Several
            panels, title -> frames, share the cross.
        xs: the first latent coordinate of the grid, increasing to the right.
        ys: the second one, increasing upwards.
        labels: the names of the two coordinates.
        captions: one text, (len(ys), len(xs)) of them, or (len(ys), len(xs), T).
        regions: integers (len(ys), len(xs)), drawn as areas of colour, such as the future that a
            latent leads to; `region_names` says what they mean.
        points: (N, 2) floats drawn as dots, such as codes or samples of the prior. `point_classes`,
            N integers, colours them; `point_names` says what they mean, and names of one character
            are drawn instead of the dots.

    Raises:
        ValueError: shapes, names or numbers that do not fit together.
    """

    _esm = script("player.js", "latent_pad.js")
    _css = "\n".join(
        (HERE / f).read_text(encoding="utf-8") for f in ("player.css", "latent_pad.css")
    )

    pad = traitlets.Dict().tag(sync=True, echo_update=False)

    def __init__(
        self,
        frames: Frames,
        xs: Sequence[float | int] | np.ndarray,
        ys: Sequence[float | int] | np.ndarray,
        *,
        labels: tuple[str, str] = ("z1", "z2"),
        captions: str | Sequence | np.ndarray = "",
        regions: np.ndarray | None = None,
        region_names: Sequence[str] = (),
        points: np.ndarray | None = None,
        point_classes: np.ndarray | None = None,
        point_names: Sequence[str] = (),
        fps: int = 6,
        width: int = 224,
        title: str = "",
        alt: str = "",
    ):
        if len(set(labels)) != 2:
            raise ValueError(f"labels are {labels}; two different names are needed")
        self._x, self._y = Axis.of(labels[0], xs), Axis.of(labels[1], ys)
        self._names = {"regions": list(region_names), "points": list(point_names)}
        self._drawn = self._draw_on(regions, points, point_classes)
        panels = _panels(frames)
        super().__init__(
            panels,
            {axis.name: [f"{value:.3g}" for value in axis.values] for axis in (self._y, self._x)},
            captions=_with_time(captions),
            fps=fps,
            width=width,
            title=title,
            alt=alt or f"{title or 'Latent pad'}: {', '.join(panels)} over {' and '.join(labels)}",
        )
        self.value = {axis.name: len(axis.values) // 2 for axis in (self._x, self._y)}

    def update(
        self,
        panels: Frames | None = None,
        captions: str | Sequence | np.ndarray | None = None,
        *,
        regions: np.ndarray | None = None,
        points: np.ndarray | None = None,
        point_classes: np.ndarray | None = None,
    ) -> None:
        """Replace frames, captions, regions or points; what is None and the cross stay.

        Raises:
            ValueError: an unknown panel, or shapes other than this pad's.
        """
        drawn = self._drawn | self._draw_on(regions, points, point_classes)
        captions = None if captions is None else _with_time(captions)
        with self.hold_sync():
            super().update(None if panels is None else _panels(panels), captions)
            self._drawn = drawn
            self.pad = self._default_pad()

    @traitlets.default("pad")
    def _default_pad(self) -> dict:  # sent with the first message, like the panels
        axes = {"x": asdict(self._x), "y": asdict(self._y)}
        return axes | self._drawn | {"names": self._names, "palette": PALETTE}

    def _draw_on(
        self,
        regions: np.ndarray | None,
        points: np.ndarray | None,
        classes: np.ndarray | None,
    ) -> dict:
        """What is drawn on the pad as the browser takes it; only what is given."""
        drawn = {}
        if regions is not None:
            _check_regions(regions, (len(self._y.values), len(self._x.values)))
            _check_classes("regions", regions, self._names["regions"])
            drawn["regions"] = regions.tolist()
        if points is not None:
            if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
                raise ValueError(f"points have shape {points.shape}; (N, 2), finite, is needed")
            drawn |= {"points": points.astype(float).round(4).tolist(), "classes": None}
        if classes is not None:
            if points is None or classes.shape != (len(points),):
                raise ValueError(
                    f"point_classes have shape {classes.shape}; one for each of points is needed"
                )
            _check_classes("point_classes", classes, self._names["points"])
            drawn["classes"] = classes.tolist()
        return drawn

    def contact_sheet(self) -> bytes:
        """A PNG: the pad's regions and points, and the frames over the same plane."""
        clips = {name: frames[:, :, -1] for name, frames in self._frames.items()}
        when = ": last frame" if self.num_frames > 1 else ""
        tiles = {f"{name}{when}": frames for name, frames in clips.items()}
        return draw_pad(self.pad, tiles, self._x, self._y, title=self.title, alt=self.alt).png()


def _panels(frames: Frames) -> Mapping[str, np.ndarray]:
    panels = frames if isinstance(frames, Mapping) else {PANEL: frames}
    for name, clips in panels.items():
        if 1 in clips.shape[:2]:
            raise ValueError(
                f"panel {name!r} has shape {clips.shape}; (len(ys), len(xs), T, H, W) is needed"
            )
    return panels


def _with_time(captions: str | Sequence | np.ndarray) -> np.ndarray:
    """A caption for each place holds for all its frames."""
    texts = np.asarray(captions, dtype=str)
    return texts[..., None] if texts.ndim == 2 else texts


def _check_regions(regions: np.ndarray, shape: tuple[int, int]) -> None:
    if regions.shape != shape:
        raise ValueError(f"regions have shape {regions.shape}; {shape} is needed")


def _check_classes(what: str, classes: np.ndarray, names: Sequence[str]) -> None:
    """Integers that all have a name, and names that can be told apart on the pad."""
    if not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(f"{what} hold {classes.dtype}; integers are needed")
    outside = [k for k in np.unique(classes).tolist() if not 0 <= k < len(names)]
    if outside:
        raise ValueError(f"{what} hold {outside[0]}; there are {len(names)} names")
    if len(names) > len(PALETTE) and (what == "regions" or not are_signs(names)):
        raise ValueError(f"{what} have {len(names)} names; up to {len(PALETTE)} colours differ")
