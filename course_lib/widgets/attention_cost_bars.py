"""Bars of what attention costs: sliders for frames, map and window, precomputed for the player."""

import io
from functools import cache
from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from course_lib.evaluation.attention_cost import AttentionCost, attention_cost
from course_lib.plots import COLORS
from course_lib.widgets.player import Player

FRAMES, MAPS, WINDOWS = (2, 5, 10, 20, 40), (8, 16, 32), (2, 4, 8)
WIDTH, HEIGHT, LEFT, RIGHT, BAR = 560, 176, 70, 120, 30  # pixels
LEAST, MOST = 4, 13  # powers of ten at the ends of the axis
PAPER, SHOWN = (20, 8, 4), (5, 20, 40)  # frames, map, window; frames in the still picture
PANEL = "multiply-accumulates of one layer"
AXES = {"T, frames": FRAMES, "h, edge of the map": MAPS, "K, edge of a window": WINDOWS}
BARS = {"windows": "blue", "time": "green", "joint": "orange"}


class AttentionCostBars(Player):
    """The multiply-accumulates of one layer on a logarithmic axis, at every size of the grid."""

    def __init__(self, dim: int):
        sizes = list(product(FRAMES, MAPS, WINDOWS))
        costs = [attention_cost(*size, dim) for size in sizes]
        shape = (len(FRAMES), len(MAPS), len(WINDOWS))
        frames = np.stack([_draw(cost) for cost in costs]).reshape(*shape, 1, HEIGHT, WIDTH, 3)
        super().__init__(
            {PANEL: frames},
            {name: [str(n) for n in values] for name, values in AXES.items()},
            captions=np.array([_say(cost) for cost in costs]).reshape(*shape, 1),
            width=WIDTH,
            title="Space and time, divided or joint",
            alt="Three bars, the cost of attention in windows, along time, and of all tokens to "
            "all tokens, for several numbers of frames, sizes of the map and of the window.",
        )
        start = zip(AXES.items(), PAPER, strict=True)
        self.value = self.value | {name: values.index(n) for (name, values), n in start}

    def contact_sheet(self) -> bytes:
        """A PNG with the paper's map and windows and several numbers of frames."""
        j, k = MAPS.index(PAPER[1]), WINDOWS.index(PAPER[2])
        parts = []
        for i, frame in enumerate(self._frames[PANEL][:, j, k, 0]):
            if FRAMES[i] in SHOWN:
                words = f"{FRAMES[i]} frames of {MAPS[j]} x {MAPS[j]} places, windows of "
                heading = Image.new("RGB", (WIDTH, 26), "white")
                text = f"{words}{WINDOWS[k]} x {WINDOWS[k]}: multiply-accumulates"
                ImageDraw.Draw(heading).text((8, 6), text, fill="#222222", font=_font())
                parts += [np.asarray(heading), frame]
        file = io.BytesIO()
        sheet = Image.fromarray(np.concatenate(parts)).quantize(32, dither=Image.Dither.NONE)
        sheet = sheet.resize((2 * WIDTH, 2 * sheet.height), Image.Resampling.NEAREST)
        sheet.save(file, "PNG", optimize=True)
        return file.getvalue()


def _say(cost: AttentionCost) -> str:
    part = "windows and time cost the same"
    if cost.space != cost.time:
        part = (
            "windows cost more than time"
            if cost.space > cost.time
            else "time costs more than windows"
        )
    return f"Joint attention costs {cost.saving:.3g} times as much as both others; {part}."


def _draw(cost: AttentionCost) -> np.ndarray:
    """Bytes (H, W, 3)."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, size = ImageDraw.Draw(picture), (WIDTH - LEFT - RIGHT) / (MOST - LEAST)
    bottom = HEIGHT - 24
    for power in range(LEAST, MOST + 1):
        x = LEFT + (power - LEAST) * size
        draw.line((x, 4, x, bottom), fill="#e3e3e3")
        if (power - LEAST) % 3 == 2:
            words = {6: "a million", 9: "a billion", 12: "a million million"}[power]
            draw.text((x, bottom + 4), words, fill="#57606a", font=_font(), anchor="ma")
    values = {"windows": cost.space, "time": cost.time, "joint": cost.joint}
    for n, (name, value) in enumerate(values.items()):
        y = 14 + n * (BAR + 16)
        end = LEFT + (np.log10(value) - LEAST) * size
        draw.rectangle((LEFT, y, end, y + BAR), fill=COLORS[BARS[name]])
        draw.text((LEFT - 8, y + BAR / 2), name, fill="#222222", font=_font(), anchor="rm")
        draw.text((end + 6, y + BAR / 2), _short(value), fill="#222222", font=_font(), anchor="lm")
    return np.asarray(picture)


def _short(value: int) -> str:
    """Three digits and a word."""
    for power, word in ((12, "million million"), (9, "billion"), (6, "million"), (3, "thousand")):
        if value >= 10**power:
            return f"{float(f'{value / 10**power:.3g}'):g} {word}"
    return str(value)


@cache
def _font() -> ImageFont.FreeTypeFont:
    # Matplotlib brings it along: the same on every machine.
    return ImageFont.truetype(
        Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size=13
    )
