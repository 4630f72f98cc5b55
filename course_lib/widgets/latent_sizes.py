"""Pictures as five autoencoders give them back, beside what is lost: the stored sheets."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from course_lib.data.video import to_bytes, to_panel
from course_lib.evaluation.frames import psnr
from course_lib.recipes.compression import COMPRESSION, PICTURES, fewer, members, short
from course_lib.recipes.latent_autoencoder import pictures, read_sheet
from course_lib.training.member import results_of
from course_lib.widgets.contact_sheet import Row, contact_sheet
from course_lib.widgets.player import Player

NAMES = dict(zip(PICTURES, ("cat", "flower", "64 frames of the course"), strict=True))
LATENT, PICTURE = "f, channels", "picture"
SEEN, BACK, LOST = "as it is", "as it comes back", "difference"
EDGE = 256  # pixels of each picture
EYE = np.s_[70:118, 60:108]  # of the cat: what the contact sheet shows


class LatentSizes(Player):
    """Sliders for the autoencoder, from most numbers to fewest, and for the picture."""

    def __init__(self) -> None:
        originals = pictures()
        found = torch.stack([read_sheet(recipe) for recipe in members().values()])  # (5, 3, 3, ...)
        metrics = results_of(COMPRESSION)["metrics"]
        says = [
            [
                _say(*size, back, wanted, metrics[f"mobilenet_{short(recipe)}_{picture}"]["value"])
                for picture, back, wanted in zip(PICTURES, backs, originals, strict=True)
            ]
            for (size, recipe), backs in zip(members().items(), found, strict=True)
        ]
        super().__init__(
            {
                SEEN: to_panel(originals[None, :, None]),
                BACK: to_panel(found[:, :, None]),
                LOST: difference(found, originals)[:, :, None],
            },
            {LATENT: [f"{f}, {c}" for f, c in members()], PICTURE: list(NAMES.values())},
            captions=np.array(says)[:, :, None],
            start={LATENT: list(members()).index((8, 4))},
            width=EDGE,
            title="What comes back",
            alt="Pictures of 256 pixels, as five autoencoders give them back, and the difference: "
            "edges and hair are lost first.",
        )

    def contact_sheet(self) -> bytes:
        """A PNG: one eye of the cat, as it is and from each autoencoder."""
        seen, backs = self._frames[SEEN][0, 0, 0], self._frames[BACK][:, 0, 0]
        losts = self._frames[LOST][:, 0, 0]
        nothing = np.zeros_like(losts[0])
        rows = [
            Row("48 of 256 pixels", "", [picture[EYE] for picture in (seen, *backs)]),
            Row(LOST, "black: none", [picture[EYE] for picture in (nothing, *losts)]),
        ]
        headings = [SEEN, *(f"f {f}, c {c}" for f, c in members())]
        text = "\n".join(str(said).replace("\n", "; ") for said in self._texts[:, 0, 0])
        return contact_sheet(rows, headings, title=self.title, caption=text)


def difference(
    found: Float[Tensor, "*members N 3 H W"], originals: Float[Tensor, "N 3 H W"]
) -> UInt8[np.ndarray, "*members N H W"]:
    """Absolute difference, mean over the colours; half the range of a pixel or more is white."""
    return to_bytes(2 * (found - originals).abs().mean(-3) - 1).numpy()


def _say(
    factor: int,
    channels: int,
    found: Float[Tensor, "3 H W"],
    wanted: Float[Tensor, "3 H W"],
    apart: float,
) -> str:
    side = EDGE // factor
    close = psnr(found[None, None], wanted[None, None]).item()
    return (
        f"f {factor}, c {channels}: {side} x {side} x {channels} numbers, "
        f"{fewer(factor, channels):.0f} times fewer\n"
        f"PSNR {close:.1f} dB, MobileNetV2 distance {apart:.2f}"
    )
