"""A photograph in patches of three sizes, and what each size costs the published DiTs."""

from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from course_lib.data.video import to_bytes
from course_lib.evaluation.patches import PatchCost, published_cost
from course_lib.models.dit_variants import PATCH_SIZES, SIZES
from course_lib.plots import COLORS
from course_lib.widgets.contact_sheet import Row, contact_sheet
from course_lib.widgets.player import Player

FACTOR = 8  # pixels of the photograph for one place of the latent
EDGE = 256  # pixels of both panels
GAP = 3  # white between patches, pixels
BASE, TALLEST = 226, 176  # pixels: where bars stand, and the height of the tallest
LEAST, MOST = 0.7, 400.0  # times S/8 at the ends of the logarithmic axis
NETWORK, PATCH = "network", "patch size p"
CUT, COST = "the photograph in patches", "cost, times that of S/8"


class PatchSizes(Player):
    """Sliders for the network and the patch size; the patches are cut by the reader's function.

    Raises:
        ValueError: The photograph is not (3, 256, 256).
    """

    def __init__(
        self,
        photo: Float[Tensor, "3 H W"],
        patchify: Callable[[Tensor, int], Tensor],
        whose: str = "",
    ):
        if tuple(photo.shape) != (3, EDGE, EDGE):
            raise ValueError(f"the photograph is {tuple(photo.shape)}; permitted: (3, 256, 256)")
        cut = np.stack([cut_up(photo, patchify, FACTOR * p) for p in PATCH_SIZES])
        costs = {key: published_cost(*key) for key in product(SIZES, PATCH_SIZES)}
        first = costs["S", 8]
        shape = (len(SIZES), len(PATCH_SIZES), 1)
        bars = np.stack([draw_bars(cost, first) for cost in costs.values()])
        says = [_say(*key, cost) for key, cost in costs.items()]
        drawn_by = f"\npatchify: {whose}" if whose else ""
        super().__init__(
            {CUT: cut[None, :, None], COST: bars.reshape(*shape, EDGE, EDGE, 3)},
            {NETWORK: list(SIZES), PATCH: [str(p) for p in PATCH_SIZES]},
            captions=np.array([f"{said}{drawn_by}" for said in says]).reshape(shape),
            start={NETWORK: len(SIZES) - 1},
            width=EDGE,
            title="Patches and their price",
            alt="A photograph cut into patches that cover 64, 32 or 16 pixels, and three bars: "
            "tokens, multiply-accumulates and parameters of DiT-S, B, L and XL.",
        )

    def contact_sheet(self) -> bytes:
        """A PNG: the patch sizes side by side, at the network that is set."""
        network = self.value[NETWORK]
        rows = [
            # Half as sharp: photographs make heavy pages.
            Row(CUT, "", [frame[::2, ::2] for frame in self._frames[CUT][0, :, 0]]),
            Row(COST, f"network: {list(SIZES)[network]}", list(self._frames[COST][network, :, 0])),
        ]
        headings = [f"p = {p}" for p in PATCH_SIZES]
        said = [str(text).splitlines() for text in self._texts[network, :, 0]]
        text = "\n".join([*(lines[0] for lines in said), *said[0][1:]])  # whose function, once
        return contact_sheet(rows, headings, title=self.title, caption=text)


def cut_up(
    photo: Float[Tensor, "3 H W"], patchify: Callable[[Tensor, int], Tensor], edge: int
) -> UInt8[np.ndarray, "H W 3"]:
    """The tokens of a photograph drawn as tiles, row by row, with white between them."""
    tokens = patchify(photo[None], edge)
    tiles = to_bytes(rearrange(tokens[0], "n (p q c) -> n p q c", p=edge, q=edge))
    tiles[:, -GAP:] = tiles[:, :, -GAP:] = 255
    side = EDGE // edge
    return rearrange(tiles, "(h w) p q c -> (h p) (w q) c", h=side).numpy()


def draw_bars(cost: PatchCost, first: PatchCost) -> UInt8[np.ndarray, "H W 3"]:
    """Tokens, multiply-accumulates and parameters as multiples of those of `first`."""
    picture = Image.new("RGB", (EDGE, EDGE), "white")
    draw = ImageDraw.Draw(picture)
    for multiple in (1.0, 10.0, 100.0):
        y = BASE - _height(multiple)
        draw.line((0, y, EDGE, y), fill="#d0d0d0")
        draw.text((1, y - 1), f"x{multiple:g}", fill="#57606a", font=_font(12), anchor="lb")
    bars = {
        "tokens": (cost.tokens / first.tokens, str(cost.tokens), "blue"),
        "mult.-acc.": (cost.macs / first.macs, f"{cost.macs / 1e9:.3g} G", "orange"),
        "parameters": (
            cost.parameters / first.parameters,
            f"{cost.parameters / 1e6:.0f} M",
            "green",
        ),
    }
    for n, (name, (multiple, words, color)) in enumerate(bars.items()):
        left, top = 38 + 73 * n, BASE - _height(multiple)
        draw.rectangle((left, top, left + 58, BASE), fill=COLORS[color])
        place = (left + 29, top - 3)
        draw.text(
            place,
            words,
            fill="#222222",
            font=_font(16),
            anchor="mb",
            stroke_width=2,
            stroke_fill="white",
        )
        draw.text((left + 29, BASE + 5), name, fill="#222222", font=_font(12), anchor="ma")
    return np.asarray(picture)


def _height(multiple: float) -> float:
    return TALLEST * float(np.log(multiple / LEAST) / np.log(MOST / LEAST))


def _say(size: str, patch_size: int, cost: PatchCost) -> str:
    edge = FACTOR * patch_size
    return (
        f"DiT-{size}/{patch_size}: {cost.tokens} tokens, each for {edge} x {edge} pixels; "
        f"{cost.macs / 1e9:.2f} G multiply-accumulates, {cost.parameters / 1e6:.1f} M parameters"
    )


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib brings it along: the same on every machine.
    return ImageFont.truetype(
        Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size=size
    )
