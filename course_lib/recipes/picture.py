"""The moving picture at the top of the README: `python -m course_lib.recipes.picture`."""

import torch
from einops import repeat
from PIL import Image, ImageDraw, ImageFont

from course_lib.data.crossroads import Crossroads
from course_lib.data.digits import load_digits
from course_lib.data.video import mosaic, to_panel
from course_lib.paths import DATA

FILE = DATA / "crossroads.gif"
TITLES = ("three frames, and then?", "a hundred true futures", "what squared error draws")
PANEL, GAP, TOP = 320, 20, 34  # pixels


def draw() -> list[Image.Image]:
    """One picture per frame: a run, a hundred runs from the same past, and their exact mean."""
    world = Crossroads(load_digits("test"))
    future = world.futures(world.digits.labels.tolist().index(4), arrival=4)
    runs = future.runs(100, generator=torch.Generator().manual_seed(0))
    mean = torch.cat([future.context, future.mean()])
    panels = [enlarge(runs[0]), to_panel(mosaic(runs, columns=10)), enlarge(mean)]
    font = ImageFont.load_default(size=18)
    width = sum(panel.shape[2] + GAP for panel in panels) + GAP
    frames = []
    for t in range(len(mean)):
        frame = Image.new("L", (width, panels[1].shape[1] + TOP + GAP), 255)
        pen = ImageDraw.Draw(frame)
        left = GAP
        for title, panel in zip(TITLES, panels, strict=True):
            pen.text((left, 8), title, font=font, fill=40)
            frame.paste(Image.fromarray(panel[t]), (left, TOP))
            left += panel.shape[2] + GAP
        frames.append(frame)
    return frames


def enlarge(clip: torch.Tensor):
    """A clip (T, 1, S, S) at the size of a panel, every pixel a square."""
    times = PANEL // clip.shape[-1]
    return repeat(to_panel(clip), "t h w -> t (h a) (w b)", a=times, b=times)


if __name__ == "__main__":
    first, *rest = draw()
    pauses = [250] * len(rest) + [1500]  # milliseconds a frame is shown
    pauses[2] = 1000  # before the junction
    first.save(FILE, save_all=True, append_images=rest, duration=pauses, loop=0, optimize=True)
