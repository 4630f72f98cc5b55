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
MARGIN, GAP = 12 * SCALE, 6 * SCALE
LABEL, STRIP = 150 * SCALE, 640 * SCALE  # widths of the row titles and of the frames
LINE = 17 * SCALE
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


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines no wider than `width`, broken between words."""
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
    return lines


def _enlarge(frame: np.ndarray, width: int) -> Image.Image:
    """A frame at `width` picture pixels: whole-number squares first, then a smooth last step."""
    height = max(1, round(width * frame.shape[0] / frame.shape[1]))
    factor = -(-width // frame.shape[1])
    squares = frame.repeat(factor, 0).repeat(factor, 1)
    return Image.fromarray(squares).convert("RGB").resize((width, height), Image.Resampling.BOX)


def _strip(row: Row, cell: int, width: int) -> Image.Image:
    """A row on paper: title and remark at the left, frames beside them."""
    pictures = [_enlarge(frame, cell) for frame in row.frames]
    bold, plain = _font(12, bold=True), _font(11)
    texts = [(line, INK, bold) for line in _wrap(row.title, bold, LABEL - GAP)]
    texts += [(line, MUTED, plain) for line in _wrap(row.remark, plain, LABEL - GAP)]
    height = max(pictures[0].height, LINE * len(texts))
    strip = Image.new("RGB", (width, height + GAP), PAPER)
    draw = ImageDraw.Draw(strip)
    for k, (line, ink, font) in enumerate(texts):
        draw.text((MARGIN, k * LINE), line, ink, font)
    for k, picture in enumerate(pictures):
        strip.paste(picture, (MARGIN + LABEL + k * (cell + GAP), 0))
    return strip


def _text(lines: Sequence[str], font: ImageFont.FreeTypeFont, width: int) -> Image.Image:
    """Lines of text across the sheet."""
    paper = Image.new("RGB", (width, (LINE + GAP) * len(lines)), PAPER)
    draw = ImageDraw.Draw(paper)
    for k, line in enumerate(lines):
        draw.text((MARGIN, k * (LINE + GAP)), line, INK, font)
    return paper


def contact_sheet(
    rows: Sequence[Row], headings: Sequence[str], *, title: str = "", caption: str = ""
) -> bytes:
    """Rows of frames under column headings, on white paper, as PNG."""
    # Few columns do not grow beyond a quarter of the strip.
    cell = (STRIP - (len(headings) - 1) * GAP) // max(len(headings), 4)
    width = 2 * MARGIN + LABEL + len(headings) * (cell + GAP) - GAP
    head = Image.new("RGB", (width, LINE + GAP), PAPER)
    for k, heading in enumerate(headings):
        middle = MARGIN + LABEL + k * (cell + GAP) + cell // 2
        ImageDraw.Draw(head).text((middle, LINE), heading, MUTED, _font(11), anchor="ms")
    above, below = _font(15, bold=True), _font(12)
    parts = [
        _text(_wrap(title, above, width - 2 * MARGIN), above, width),
        head,
        *(_strip(row, cell, width) for row in rows),
        _text(_wrap(caption, below, width - 2 * MARGIN), below, width),
    ]
    sheet = Image.new("RGB", (width, sum(part.height for part in parts) + 2 * MARGIN), PAPER)
    y = MARGIN
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height
    file = io.BytesIO()
    # 64 colours show these small pictures as well as all do, in a third of the bytes.
    sheet.quantize(64, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def screen_width(sheet: bytes) -> int:
    """How wide a sheet is meant to be shown, in pixels of the page."""
    return int.from_bytes(sheet[16:20], "big") // SCALE  # PNG keeps its width there
