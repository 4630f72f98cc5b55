"""Bars of what attention costs: sliders for frames, map and window, precomputed for the player."""

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
WIDTH, HEIGHT, LEFT, RIGHT, BAR = 560, 176, 66, 110, 30  # pixels
LEAST, MOST = 4, 13  # powers of ten at the ends of the axis
BARS = {"windows": "blue", "time": "green", "joint": "orange"}


def cost_player(dim: int) -> Player:
    """The multiply-accumulates of one layer on a logarithmic axis, at every size of the grid."""
    sizes = list(product(FRAMES, MAPS, WINDOWS))
    costs = [attention_cost(*size, dim) for size in sizes]
    shape = (len(FRAMES), len(MAPS), len(WINDOWS))
    frames = np.stack([_draw(cost) for cost in costs]).reshape(*shape, 1, HEIGHT, WIDTH, 3)
    captions = np.array([_say(cost) for cost in costs]).reshape(*shape, 1)
    player = Player(
        {f"multiply-accumulates of a layer with {dim} channels": frames},
        {
            "T, frames": [str(n) for n in FRAMES],
            "h, edge of the map": [str(n) for n in MAPS],
            "K, edge of a window": [str(n) for n in WINDOWS],
        },
        captions=captions,
        width=WIDTH,
        title="Space and time, divided or joint",
        alt="Three bars, the cost of attention in windows, along time, and of all tokens to all "
        "tokens, for several numbers of frames, sizes of the map and sizes of the window.",
    )
    player.value = player.value | {
        "T, frames": FRAMES.index(20),
        "h, edge of the map": MAPS.index(8),
        "K, edge of a window": WINDOWS.index(4),
    }
    return player


def _say(cost: AttentionCost) -> str:
    share = cost.time / cost.divided
    larger = "time" if share > 0.5 else "windows"
    part = f"Of the divided one, {larger} costs the larger part."
    if share == 0.5:
        part = "Windows and time cost the same."
    return f"Joint attention costs {cost.saving:.3g} times as much as windows and time. {part}"


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
        Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size=12
    )
