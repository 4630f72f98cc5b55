"""Draw a digit: the reader's handwriting as an MNIST image, for every model of the course.

Whoever cannot draw, or would rather not, takes a shipped digit by its key.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import anywidget
import torch
import traitlets
from jaxtyping import Float64, UInt8
from torch import Tensor

from course_lib.data.digits import Digits, load_digits
from course_lib.widgets.contact_sheet import Row, contact_sheet
from course_lib.widgets.reader import beside, percent, script

HERE = Path(__file__).parent
SIZE, BOX = 28, 20  # pixels of an MNIST image, and of the box its ink is scaled to
PEN = 2.6  # pixels, about the width of MNIST's strokes
HINT = "Draw your own with mouse or finger, or press a key from 0 to 9 for another."
NO_KERNEL = "Run this notebook in JupyterLab to draw your own."

Stroke = Sequence[Sequence[float | int]]  # points (x, y) in 0..1, y downwards
Read = Callable[[Tensor], Tensor]  # images (N, 28, 28), 0..255 -> probabilities (N, 10)


class DrawDigit(anywidget.AnyWidget):
    """A pad with mouse, touch and keys; at first a shipped `start` lies on it.

    Args:
        read: gives the probabilities of the ten digits, as the shipped classifier does.
        start: the digit that lies on the pad before anything is drawn.
        done: what the button says that hands the digit on.

    Raises:
        ValueError: `start` is no digit, or `read` gives other than ten numbers for an image.
    """

    _esm = script("draw_digit.js")
    _css = HERE / "reader.css"

    strokes = traitlets.List().tag(sync=True)
    pixels = traitlets.Bytes().tag(sync=True, echo_update=False)  # what a model sees, 28 x 28
    source = traitlets.Enum(("shipped", "drawn", "blank"), "shipped").tag(sync=True)
    probs = traitlets.List().tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)
    done_label = traitlets.Unicode().tag(sync=True)

    def __init__(self, read: Read, *, start: int = 4, done: str = "Use this digit"):
        self._read = read
        self._shipped, self._num_taken = load_digits("test"), [0] * 10
        self._callbacks: list[Callable[[Digits], object]] = []
        super().__init__(done_label=done)
        self.take(start)
        self.observe(self._on_strokes, "strokes")
        self.on_msg(self._on_message)

    @property
    def image(self) -> UInt8[Tensor, "28 28"]:
        """The digit on the pad, 0 paper and 255 ink; the one before while the pad is blank."""
        return self._image.clone()

    @property
    def label(self) -> int:
        """A shipped digit's own label, a drawn one's as it is read."""
        return self._label

    def digits(self, label: int | None = None) -> Digits:
        """The digit on the pad as `Digits` of length one, with `label` instead of its own."""
        label = self.label if label is None else label
        return Digits(self.image[None], torch.tensor([label]))

    def on_done(self, callback: Callable[[Digits], object]) -> None:
        """Call `callback(digits)` each time the reader hands a digit on."""
        self._callbacks.append(callback)

    def take(self, digit: int) -> None:
        """Lay a shipped digit on the pad, another one each time.

        Raises:
            ValueError: `digit` is not in 0..9.
        """
        if digit not in range(10):
            raise ValueError(f"digit is {digit}; 0..9 are allowed")
        found = (self._shipped.labels == digit).nonzero().flatten()
        image = self._shipped.images[found[self._num_taken[digit] % len(found)]]
        self._num_taken[digit] += 1
        with self.hold_sync():
            self.source = "shipped"  # first, so that the change of strokes means nothing
            self.strokes = []
            self._see(image, digit)
            self.status = f"A {digit} from MNIST. {HINT}"

    def hand_on(self) -> None:
        """Give the digit on the pad to every callback; nothing happens while it is blank."""
        if self.source == "blank":
            return
        self.status = f"Handed on as a {self.label}."
        with self._failures_shown("What takes the digit failed."):
            for callback in self._callbacks:
                callback(self.digits())

    def _see(self, image: Tensor, label: int | None = None) -> None:
        """Take an image as the pad's, and read it."""
        with torch.no_grad():
            probs = self._read(image[None])
        if probs.shape != (1, 10):
            raise ValueError(f"read gave shape {tuple(probs.shape)}; (1, 10) is needed")
        probs = probs[0].double()
        self._image, self._label = image, int(probs.argmax()) if label is None else label
        self.pixels = image.numpy().tobytes()
        self.probs = [round(p, 4) for p in probs.tolist()]

    def _on_strokes(self, change: dict) -> None:
        if not change["new"]:
            if self.source == "drawn":
                self.source, self.status = "blank", f"The pad is empty. {HINT}"
            return
        with self._failures_shown("Reading failed."), self.hold_sync():
            self._see(to_mnist(change["new"]))
            self.source = "drawn"
            self.status = f"Read as {self.label}, with probability {percent(max(self.probs))}."

    @contextmanager
    def _failures_shown(self, sentence: str) -> Iterator[None]:
        """An error in a function that was given to the pad is said where the reader looks."""
        try:
            yield
        except Exception as error:
            self.status = f"{sentence} {type(error).__name__}: {error}"
            raise

    @traitlets.validate("strokes")
    def _check_strokes(self, proposal: dict) -> list:
        for stroke in proposal["value"]:
            for point in stroke:
                if len(point) != 2 or not all(0 <= x <= 1 for x in point):
                    raise ValueError(f"a stroke has the point {point}; (x, y) in 0..1 is needed")
        return [stroke for stroke in proposal["value"] if stroke]

    def _on_message(self, _: object, content: object, __: object) -> None:
        if content == "done":
            self.hand_on()
        elif isinstance(content, dict) and content.get("digit") in range(10):
            self.take(content["digit"])

    def _repr_mimebundle_(self, **kwargs: dict) -> tuple[dict, dict] | None:
        """The live view, and beside it the digit as a picture."""
        picture = contact_sheet(
            [Row("The digit", f"read as {self.label}", [self.image.numpy()])],
            ["what a model sees"],
            title="Draw a digit",
            caption=NO_KERNEL,
        )
        text = f"A pad to draw a digit on, with a {self.label} on it. {NO_KERNEL}"
        return beside(super()._repr_mimebundle_(**kwargs), text, png=picture)


def to_mnist(strokes: Sequence[Stroke]) -> UInt8[Tensor, "28 28"]:
    """Strokes as MNIST has its digits: ink in a 20 x 20 box, its centre of mass in the middle.

    The lines are scaled before the pen is put to them, so that small and large writing look alike.

    Raises:
        ValueError: there is no point.
    """
    points = torch.tensor([list(point) for stroke in strokes for point in stroke]).double()
    if not len(points):
        raise ValueError("strokes hold 0 points; at least 1 is needed")
    low, high = points.min(0).values, points.max(0).values
    extent = (high - low).max().item()
    scale = (BOX - PEN) / extent if extent else 1.0
    middle = (low + high) / 2

    def place(stroke: Stroke) -> Float64[Tensor, "P 2"]:
        return (torch.tensor([list(point) for point in stroke]).double() - middle) * scale

    segments = _segments([place(stroke) for stroke in strokes if stroke])
    ink = _draw(segments + SIZE / 2)
    at = torch.arange(SIZE).double() + 0.5 - SIZE / 2
    mass = torch.stack([ink.sum(0) @ at, ink.sum(1) @ at]) / ink.sum()
    # The box has a margin of four pixels on each side; no shift pushes ink beyond it.
    margin = (SIZE - BOX) / 2
    ink = _draw(segments + SIZE / 2 - mass.clamp(-margin, margin))
    return (ink * 255).round().to(torch.uint8)


def _segments(strokes: list[Tensor]) -> Float64[Tensor, "S 2 2"]:
    """All straight pieces; a single point is a piece of length 0."""
    pieces = []
    for stroke in strokes:
        pieces += [torch.stack(ends) for ends in pairwise(stroke)] or [stroke[[0, 0]]]
    return torch.stack(pieces)


def _draw(segments: Float64[Tensor, "S 2 2"]) -> Float64[Tensor, "28 28"]:
    """Ink in 0..1: a round pen along the segments; its edge is one pixel wide."""
    at = torch.arange(SIZE).double() + 0.5
    pixels = torch.cartesian_prod(at, at).flip(-1)[:, None]  # (784, 1, 2), as (x, y)
    start, along = segments[:, 0], segments[:, 1] - segments[:, 0]
    length = along.square().sum(-1).clamp_min(1e-12)
    part = (((pixels - start) * along).sum(-1) / length).clamp(0, 1)
    nearest = start + part[..., None] * along
    distance = (pixels - nearest).square().sum(-1).sqrt().amin(1)
    return (PEN / 2 + 0.5 - distance).clamp(0, 1).view(SIZE, SIZE)
