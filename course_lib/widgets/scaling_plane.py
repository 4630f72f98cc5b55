"""Networks as points: a slider for what stands on the x axis, another for what is brought out."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, zip_longest
from statistics import median

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from course_lib.evaluation.scaling import Correlation, Network, pearson
from course_lib.plots import COLORS, STYLE, WIDTH, Picture
from course_lib.widgets.player import Player

PANEL = "score above cost"
AXES: dict[str, tuple[str, Callable[[Network], float | None]]] = {
    "log parameters": ("millions of parameters", lambda n: n.mega_parameters),
    "log multiply-accumulates": ("millions of multiply-accumulates", lambda n: n.mega_macs),
    "log tokens": ("tokens", lambda n: None if n.num_tokens is None else float(n.num_tokens)),
    "multiply-accumulates": ("millions of multiply-accumulates", lambda n: n.mega_macs),
}
BROUGHT_OUT = ("each size", "each patch", "equal work")
SIZE_COLORS = ("blue", "orange", "green", "pink")
MARKERS = "so^"
TICKS = (0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1)  # of a logarithmic score
ALONE = "D"  # a network that shares neither size nor patch with another
PIXELS, HEIGHT = 720, 3.7  # of a picture's width; inches
COLOURS = 48  # of a frame: more do not pack, fewer turn green blue


@dataclass(frozen=True)
class ScalingPanel:
    """Networks with a common score."""

    networks: Sequence[Network]
    ylabel: str
    equal_work: Sequence[str]  # names of those that cost about the same
    log: bool = False  # the score's logarithm is drawn and correlated


class ScalingPlane(Player):
    """Panels, title -> ScalingPanel, side by side over a common choice of x.

    Correlations are those of the networks that have tokens.

    Raises:
        ValueError: no panel, or fewer than four networks with tokens in one.
    """

    def __init__(self, panels: Mapping[str, ScalingPanel], alt: str):
        if not panels:
            raise ValueError("panels is empty; permitted: one and more")
        states = list(product(AXES, BROUGHT_OUT))
        texts = [_say(panels, axis) for axis, _ in states]
        frames = [_draw(panels, *state, alt) for state in states]
        shape = (len(AXES), len(BROUGHT_OUT), 1)
        super().__init__(
            {PANEL: np.stack(frames).reshape(*shape, *frames[0].shape)},
            {"x axis": list(AXES), "lines": list(BROUGHT_OUT)},
            captions=np.array(texts).reshape(shape),
            start={"x axis": 1},
            width=PIXELS,
            title="What goes with a good score?",
            alt=alt,
        )

    def contact_sheet(self) -> bytes:
        """A PNG: three choices of x below each other, lines as set."""
        lines = self.value["lines"]
        sheet = np.concatenate([self._frames[PANEL][k, lines, 0] for k in (1, 0, 2)])
        file = io.BytesIO()
        colours = Image.fromarray(sheet).quantize(COLOURS, dither=Image.Dither.NONE)
        colours.save(file, "PNG", optimize=True)
        return file.getvalue()


def correlation(panel: ScalingPanel, axis: str) -> Correlation:
    """Of a panel's score with an entry of AXES, over the networks that have tokens."""
    known = _with_tokens(panel.networks)
    x = np.array([AXES[axis][1](network) for network in known], dtype=float)
    score = np.array([network.score for network in known])
    return pearson(
        np.log10(x) if axis.startswith("log") else x, np.log10(score) if panel.log else score
    )


def _say(panels: Mapping[str, ScalingPanel], axis: str) -> str:
    parts = []
    for title, panel in panels.items():
        found, score = correlation(panel, axis), f"{'log ' * panel.log}{panel.ylabel}"
        interval = f"{found.low:+.2f} to {found.high:+.2f}"
        parts.append(f"{title}, {score}: {found.value:+.2f} ({interval})")
    return f"Correlation with {axis}. " + "; ".join(parts)


def _draw(panels: Mapping[str, ScalingPanel], axis: str, brought_out: str, alt: str) -> np.ndarray:
    """Bytes (H, W, 3)."""
    with mpl.rc_context(STYLE):
        picture = Picture(WIDTH, HEIGHT, alt)
        picture.set_layout_engine(None)  # to fit the layout would take longer than to draw it
        row = picture.subplots(1, len(panels), squeeze=False)[0]
        picture.subplots_adjust(0.085, 0.14, 0.985, 0.8, wspace=0.22)
        for axes, (title, panel) in zip(row, panels.items(), strict=True):
            _draw_panel(axes, panel, axis, brought_out)
            axes.set_title(title, pad=32)
        pixels = Image.fromarray(picture.pixels(PIXELS))
    return np.asarray(
        pixels.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).convert(
            "RGB"
        )
    )


def _draw_panel(axes: Axes, panel: ScalingPanel, axis: str, brought_out: str) -> None:
    label, value = AXES[axis]
    known = [(network, x) for network in panel.networks if (x := value(network)) is not None]
    sizes, patches = _sizes(panel.networks), _patches(panel.networks)
    for shared in {"each size": sizes, "each patch": patches}.get(brought_out, []):
        chain = [(x, n.score) for n, x in known if shared in (n.size, n.patch)]
        color = COLORS[SIZE_COLORS[sizes.index(shared)]] if shared in sizes else "#888888"
        axes.plot(*zip(*chain, strict=True), color=color, lw=1.3)
    for network, x in known:
        alone = network.num_tokens is None
        marker = ALONE if alone else MARKERS[patches.index(network.patch)]
        color = COLORS["black" if alone else SIZE_COLORS[sizes.index(network.size)]]
        told = brought_out == "equal work" and network.name in panel.equal_work
        if brought_out == "equal work" and not (told or alone):
            color = "#cccccc"
        axes.plot(x, network.score, marker, color=color, ms=6)
        if told or alone:
            low = told and _has_a_twin(network, panel)
            axes.annotate(
                network.name,
                (x, network.score),
                (6, -12 if low else 4),
                textcoords="offset points",
                fontsize=9,
            )
    axes.set(xlabel=label, ylabel=panel.ylabel)
    _set_scales(axes, known, axis, log=panel.log)
    _add_legend(axes, sizes, patches)


def _has_a_twin(network: Network, panel: ScalingPanel) -> bool:
    """Whether one that is named before it stands in the same place, where its name would be."""
    before = panel.equal_work[: panel.equal_work.index(network.name)]
    scores = [other.score for other in panel.networks if other.name in before]
    return any(abs(score / network.score - 1) < 0.05 for score in scores)


def _set_scales(
    axes: Axes, known: Sequence[tuple[Network, float]], axis: str, *, log: bool
) -> None:
    """Plain numbers at the ticks: at each size or patch where x is one of them."""
    if axis.startswith("log"):
        axes.set_xscale("log")
    if log:
        axes.set_yscale("log")
    shared = {"log parameters": "size", "log tokens": "patch"}.get(axis)
    if shared:
        row: dict[str, list[float]] = {}
        for network, x in known:
            if network.num_tokens is not None:
                row.setdefault(getattr(network, shared), []).append(x)
        ticks = [median(values) for values in row.values()]
        axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    if log:
        low, high = axes.get_ylim()
        ticks = [tick for tick in TICKS if low <= tick <= high]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()  # dozens of strokes that say nothing, and cost half of the drawing


def _add_legend(axes: Axes, sizes: Sequence[str], patches: Sequence[str]) -> None:
    """Two rows above: a colour for each size, a mark for each patch."""
    for size, patch in zip_longest(sizes, patches):
        if size:
            color = COLORS[SIZE_COLORS[sizes.index(size)]]
            axes.plot([], [], color=color, lw=3, label=size)
        if patch:
            marker = MARKERS[patches.index(patch)]
            axes.plot([], [], marker, color="#888888", ms=6, label=patch)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 0.99),
        ncols=max(len(sizes), len(patches)),
        fontsize=8.5,
        handlelength=1.1,
        columnspacing=1.2,
        labelspacing=0.2,
        borderpad=0.1,
    )


def _with_tokens(networks: Sequence[Network]) -> list[Network]:
    return [network for network in networks if network.num_tokens is not None]


def _sizes(networks: Sequence[Network]) -> list[str]:
    return list(dict.fromkeys(network.size for network in _with_tokens(networks)))


def _patches(networks: Sequence[Network]) -> list[str]:
    """The largest patch, which makes the fewest tokens, first."""
    by_tokens = sorted(_with_tokens(networks), key=lambda network: network.num_tokens or 0)
    return list(dict.fromkeys(network.patch for network in by_tokens))
