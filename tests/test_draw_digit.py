import math
import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from course_lib.data.digits import load_digits
from course_lib.data.video import to_float
from course_lib.recipes.classifier import CLASSIFIER
from course_lib.widgets.draw_digit import PEN, DrawDigit, to_mnist

ONE = [[(0.5, 0.1), (0.5, 0.9)]]
FOUR = [[(0.6, 0.1), (0.2, 0.6), (0.85, 0.6)], [(0.6, 0.1), (0.6, 0.95)]]
SEVEN = [[(0.2, 0.15), (0.8, 0.15), (0.4, 0.9)]]
ZERO = [[(0.5 + 0.25 * math.sin(a / 10), 0.5 - 0.35 * math.cos(a / 10)) for a in range(64)]]
DRAWN = {1: ONE, 4: FOUR, 7: SEVEN, 0: ZERO}
CORNER = [[(0.1, 0.1), (0.1, 0.9), (0.9, 0.9)]]


def moved(strokes, scale, x, y):
    return [[(scale * a + x, scale * b + y) for a, b in stroke] for stroke in strokes]


def read_as(digit):
    """A reader that says the same digit of everything."""

    def read(images):
        assert images.shape == (1, 28, 28)
        assert images.dtype == torch.uint8
        return 0.04 + 0.6 * torch.eye(10)[[digit]]

    return read


def centre_of_mass(image):
    """(x, y) of the ink, in pixels from the upper left edge."""
    ink = image.double().numpy()
    rows, columns = np.mgrid[0:28, 0:28] + 0.5
    return (ink * columns).sum() / ink.sum(), (ink * rows).sum() / ink.sum()


def ink_box(image):
    rows, columns = np.nonzero(image.numpy() > 127)
    return np.ptp(columns) + 1, np.ptp(rows) + 1


@pytest.mark.parametrize("label", DRAWN)
def test_a_drawn_digit_fills_the_box_and_its_centre_of_mass_is_in_the_middle(label):
    image = to_mnist(DRAWN[label])
    assert image.dtype == torch.uint8
    assert image.shape == (28, 28)
    assert max(ink_box(image)) == 20
    assert centre_of_mass(image) == pytest.approx((14, 14), abs=0.05)


def test_a_heavy_corner_keeps_all_its_ink_on_the_paper():
    image = to_mnist(CORNER)
    assert ink_box(image) == (20, 20)
    assert centre_of_mass(image)[0] < 14 < centre_of_mass(image)[1]
    wall = [[(x, 0.1), (x, 0.9)] for x in (0.1, 0.15, 0.2, 0.25)]
    assert ink_box(to_mnist([*wall, [(0.1, 0.5), (0.9, 0.5)]])) == (20, 20)


@pytest.mark.parametrize(("scale", "x", "y"), [(0.1, 0.0, 0.9), (0.5, 0.5, 0.0), (1.0, 0.05, 0.0)])
def test_small_and_large_writing_anywhere_on_the_pad_look_alike(scale, x, y):
    apart = to_mnist(moved(FOUR, scale, x, y)).int() - to_mnist(FOUR).int()
    assert apart.abs().max() <= 1


def test_a_line_has_the_ink_of_a_round_pen():
    ink = to_mnist(ONE).double().sum() / 255
    assert ink == pytest.approx(PEN * (20 - PEN) + math.pi * (PEN / 2) ** 2, rel=0.03)


def test_a_dot_is_round_and_in_the_middle():
    image = to_mnist([[(0.9, 0.1)]])
    assert torch.equal(image, image.T)
    assert torch.equal(image, image.flip(0))
    assert image[13:15, 13:15].eq(255).all()
    assert image.double().sum() / 255 == pytest.approx(math.pi * (PEN / 2) ** 2, rel=0.15)


def test_strokes_are_where_pillow_draws_them():
    scale, side = 32, 28 * 32
    points = np.array([point for stroke in FOUR for point in stroke])
    middle, extent = (points.min(0) + points.max(0)) / 2, np.ptp(points, axis=0).max()
    paper = Image.new("L", (side, side))
    pen, draw = PEN * scale, ImageDraw.Draw(paper)
    for stroke in FOUR:
        at = [
            tuple((np.array(p) - middle) * (20 - PEN) / extent * scale + side / 2) for p in stroke
        ]
        draw.line(at, fill=255, width=round(pen))
        for x, y in at:
            draw.ellipse([x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2], fill=255)
    expected = np.asarray(paper, float) / 255
    rows, columns = np.mgrid[0:side, 0:side] + 0.5
    shift = [round(side / 2 - (expected * grid).sum() / expected.sum()) for grid in (rows, columns)]
    expected = np.roll(expected, shift, (0, 1)).reshape(28, scale, 28, scale).mean((1, 3))
    observed = to_mnist(FOUR).numpy() / 255
    assert np.abs(observed - expected).max() < 0.25  # the edge is a ramp there, an area here
    assert np.abs(observed - expected).mean() < 0.01


def shaky(strokes, generator):
    """The same digit by another hand: slanted, stretched, trembling."""
    change = 0.7 * (torch.eye(2) + 0.15 * torch.randn(2, 2, generator=generator))
    moved = []
    for stroke in strokes:
        tremor = 0.012 * torch.randn(len(stroke), 2, generator=generator)
        points = (torch.tensor(stroke) - 0.5) @ change.T + 0.5 + tremor
        moved.append(points.clamp(0, 1).tolist())
    return moved


def test_the_shipped_classifier_reads_what_shaky_hands_draw():
    classifier, generator = CLASSIFIER.load(), torch.Generator().manual_seed(0)
    labels = [label for label in DRAWN for _ in range(20)]
    images = torch.stack([to_mnist(shaky(DRAWN[label], generator)) for label in labels])
    with torch.no_grad():
        read = classifier(to_float(images)[:, None]).argmax(1)
    assert (read == torch.tensor(labels)).double().mean() > 0.95


def test_strokes_without_a_point_are_named():
    for nothing in ([], [[]]):
        with pytest.raises(ValueError, match="strokes hold 0 points"):
            to_mnist(nothing)


def test_before_anything_is_drawn_a_shipped_digit_lies_on_the_pad():
    pad, digits = DrawDigit(read_as(7)), load_digits("test")
    (match,) = (digits.images == pad.image).flatten(1).all(1).nonzero()
    assert digits.labels[match] == pad.label == 4
    assert pad.pixels == pad.image.numpy().tobytes()
    assert pad.status.startswith("A 4 from MNIST.")


def test_a_key_takes_another_shipped_digit_each_time():
    pad = DrawDigit(read_as(7))
    pad._handle_custom_msg({"digit": 7}, [])
    first = pad.image
    pad._handle_custom_msg({"digit": 7}, [])
    assert pad.label == pad.digits().labels.item() == 7
    assert not torch.equal(pad.image, first)


def test_strokes_are_read_and_handed_on_as_digits():
    pad, got = DrawDigit(read_as(7)), []
    pad.on_done(got.append)
    pad.strokes = SEVEN
    assert pad.status == "Read as 7, with probability 64 %."
    assert got == []
    pad._handle_custom_msg("done", [])
    (digits,) = got
    assert digits.labels.tolist() == [7]
    assert torch.equal(digits.images[0], to_mnist(SEVEN))
    assert pad.digits(1).labels.tolist() == [1]


def test_the_pad_reads_with_the_given_classifier():
    pad = DrawDigit(read_as(3))
    assert pad.label == 4  # a shipped digit is what it is
    pad.strokes = SEVEN
    assert pad.label == 3
    assert pad.status == "Read as 3, with probability 64 %."


def test_a_cleared_pad_keeps_the_digit_but_hands_nothing_on():
    pad, got = DrawDigit(read_as(7)), []
    pad.on_done(got.append)
    pad.strokes = SEVEN
    pad.strokes = []
    pad.hand_on()
    assert got == []
    assert pad.source == "blank"
    assert torch.equal(pad.image, to_mnist(SEVEN))
    pad.take(2)
    pad.hand_on()
    assert [digits.labels.item() for digits in got] == [2]


def test_taking_a_shipped_digit_leaves_no_strokes_behind():
    pad = DrawDigit(read_as(7))
    pad.strokes = SEVEN
    pad.take(2)
    assert (pad.strokes, pad.source, pad.label) == ([], "shipped", 2)


def test_what_fails_with_the_digit_is_said_on_the_pad():
    def refuse(digits):
        raise ValueError("no 4, please")

    pad = DrawDigit(read_as(7))
    pad.on_done(refuse)
    with pytest.raises(ValueError, match="no 4"):
        pad.hand_on()
    assert pad.status == "What takes the digit failed. ValueError: no 4, please"

    def read(images):
        return refuse(images) if torch.equal(images[0], to_mnist(SEVEN)) else read_as(4)(images)

    pad = DrawDigit(read)
    with pytest.raises(ValueError, match="no 4"):
        pad.strokes = SEVEN
    assert pad.status == "Reading failed. ValueError: no 4, please"


def test_a_page_without_a_kernel_shows_the_digit():
    data, metadata = DrawDigit(read_as(7))._repr_mimebundle_()
    assert "with a 4 on it" in metadata["image/png"]["alt"]
    assert len(data["image/png"]) > 1000


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=re.escape("digit is 10; 0..9 are allowed")):
        DrawDigit(read_as(7), start=10)
    with pytest.raises(ValueError, match=re.escape("read gave shape (10,); (1, 10) is needed")):
        DrawDigit(lambda images: torch.ones(10) / 10)
    pad = DrawDigit(read_as(7))
    for wrong in ([[(0.5, 1.5)]], [[(0.5,)]]):
        with pytest.raises(ValueError, match=re.escape("(x, y) in 0..1 is needed")):
            pad.strokes = wrong
