"""A labelled contact sheet as PNG: what a widget shows where no widget can live."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SCALE = 2  # picture pixels per displayed pixel: sharp on dense screens
MARGIN, GAP, LABEL, STRIP = 12, 6, 150, 640  # displayed pixels
INK, MUTED, PAPER = "#1f2328", "#57606a", "#ffffff"


@dataclass(frozen=True)
class Row:
    """One strip: a title, a remark under it and its frames (H, W) or (H, W, 3) of bytes."""

    title: str
    remark: str
    frames: Sequence[np.ndarray]


@cache
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    # Matplotlib brings DejaVu along: Greek letters on every machine.
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / name, size * SCALE)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Line breaks between words, so that no line is wider than `width` picture pixels."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            if line and font.getlength(f"{line} {word}") > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}".strip()
        lines.append(line)
    return "\n".join(lines)


def _enlarge(frame: np.ndarray, width: int) -> Image.Image:
    """A frame at `width` picture pixels: whole-number squares first, then a smooth last step."""
    height = max(1, round(width * frame.shape[0] / frame.shape[1]))
    factor = -(-width // frame.shape[1])
    squares = frame.repeat(factor, 0).repeat(factor, 1)
    return Image.fromarray(squares).convert("RGB").resize((width, height), Image.Resampling.BOX)


def contact_sheet(
    rows: Sequence[Row], headings: Sequence[str], *, title: str = "", caption: str = ""
) -> bytes:
    """Rows of frames under column headings, on white paper, as PNG."""
    cell = (STRIP * SCALE - (len(headings) - 1) * GAP * SCALE) // max(len(headings), 4)
    left, step = (MARGIN + LABEL) * SCALE, cell + GAP * SCALE
    width = left + step * len(headings) + (MARGIN - GAP) * SCALE
    strips = [[_enlarge(frame, cell) for frame in row.frames] for row in rows]
    text_width = width - 2 * MARGIN * SCALE
    title = _wrap(title, _font(15, bold=True), text_width)
    caption = _wrap(caption, _font(12), text_width)
    top = (MARGIN + 22 * len(title.splitlines()) + 20) * SCALE
    foot = (MARGIN + 17 * len(caption.splitlines())) * SCALE
    heights = [max(strip[0].height, 44 * SCALE) + GAP * SCALE for strip in strips]
    sheet = Image.new("RGB", (width, top + sum(heights) + foot), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN * SCALE, MARGIN * SCALE), title, INK, _font(15, bold=True))
    for k, heading in enumerate(headings):
        place = (left + k * step + cell // 2, top - 6 * SCALE)
        draw.text(place, heading, MUTED, _font(11), anchor="ms")
    y = top
    for row, strip, height in zip(rows, strips, heights, strict=True):
        _label(draw, row, y)
        for k, picture in enumerate(strip):
            sheet.paste(picture, (left + k * step, y))
        y += height
    draw.text((MARGIN * SCALE, y + 4 * SCALE), caption, INK, _font(12))
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def _label(draw: ImageDraw.ImageDraw, row: Row, y: int) -> None:
    """Title and remark of a row, at its left."""
    width = (LABEL - GAP) * SCALE
    title = _wrap(row.title, _font(12, bold=True), width)
    draw.text((MARGIN * SCALE, y), title, INK, _font(12, bold=True))
    below = y + 17 * SCALE * len(title.splitlines())
    draw.text((MARGIN * SCALE, below), _wrap(row.remark, _font(11), width), MUTED, _font(11))
