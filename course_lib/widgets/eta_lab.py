"""The eta laboratory: one network, and every walk that chapter 6 makes with it.

A player over stored pictures: eta, steps, class and seed are its sliders. Behind a button the
reader's own `ddim_step` walks a cell again, and its pictures take the place of the stored ones.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
import traitlets
from einops import rearrange
from jaxtyping import Float, UInt8
from matplotlib.colors import to_rgb

from course_lib.data.video import mosaic, to_float, to_panel
from course_lib.methods.diffusion import ReverseStep
from course_lib.models.dit import DiT
from course_lib.plots import COLORS
from course_lib.recipes import eta_sheets
from course_lib.recipes.eta_sheets import CLASSES, ETA_SHEETS, ETAS, GRID, KNOB, STEPS, Step
from course_lib.widgets.contact_sheet import Row, contact_sheet
from course_lib.widgets.player import HERE, Player
from course_lib.widgets.reader import script
from course_lib.widgets.sprites import MAX_SIDE, pack

WALK = f"the walk: x_t, and x0_hat below, at t = {', '.join(map(str, eta_sheets.SHOWN))}"
WIDTHS = {
    "x_T": 112,
    "the picture": 176,
    "with eta = 0": 112,
    "difference": 112,
    "all classes and seeds": 212,
    WALK: 492,
}
SLOWEST = 50  # steps that the reader's function is asked for
STORED = "the library's, from the stored sheet"
MORE, LESS = (np.array(to_rgb(COLORS[name])) for name in ("orange", "blue"))

Pictures = UInt8[np.ndarray, "_ steps classes seeds _ _"]


class EtaLab(Player):
    """Sliders for eta, steps, class and seed; a button that lets `step` draw the cell again.

    Args:
        model: the digits' network, for what is drawn again.
        step: the reader's `ddim_step(x_t, eps_hat, noise, alpha_bar, alpha_bar_prev, eta)`.
        whose: whose function it is, for the captions.
    """

    _esm = script("player.js", "eta_lab.js")
    _css = "\n".join((HERE / f).read_text(encoding="utf-8") for f in ("player.css", "eta_lab.css"))

    progress = traitlets.Float(1.0).tag(sync=True)  # of a walk; 1 where none is under way
    note = traitlets.Unicode().tag(sync=True)

    def __init__(self, model: DiT, step: Step = eta_sheets.ddim_step, whose: str = STORED):
        self._model, self._step, self._whose = model, step, whose
        self._stored, self._walks = eta_sheets.stored_final(), eta_sheets.stored_walks()
        self._file = ETA_SHEETS.sheet("walk").read_bytes()
        self._final, self._strips = self._stored, self._walks
        self._drawn_by = np.full(GRID[:2], STORED, dtype=object)
        super().__init__(
            self._all_panels(),
            {
                "eta": KNOB,
                "steps": [str(number) for number in STEPS],
                "class": [str(label) for label in CLASSES],
                "seed": [str(number + 1) for number in range(eta_sheets.NUM_SEEDS)],
            },
            captions=self._captions(),
            start={"eta": KNOB.index("0.4"), "steps": STEPS.index(20)},
            width=WIDTHS,
            title="The eta knob",
            alt="A digit from noise: sliders for eta, the number of steps, the class and the seed.",
        )
        self.on_msg(self._on_message)

    def drawn_by(self, eta: str, steps: int) -> str:
        """Whose step drew a cell, named as on the sliders."""
        return self._drawn_by[KNOB.index(eta), STEPS.index(steps)]

    def redraw(self, eta: int | None = None, steps: int | None = None) -> None:
        """Draw a cell, by default the one that is set, with the reader's function.

        A function that fails is no failure of this one: `note` says what happened.
        """
        places = (
            self.value["eta"] if eta is None else eta,
            self.value["steps"] if steps is None else steps,
        )
        knob, num_steps = KNOB[places[0]], STEPS[places[1]]
        if knob not in ETAS or num_steps > SLOWEST:
            self.note = f"Choose an eta from 0 to 1, and at most {SLOWEST} steps: {knob} with "
            self.note += f"{num_steps} steps stays as it is stored."
            return
        self.note, self.progress = f"Walking {num_steps} steps.", 0.0
        try:
            walked = eta_sheets.cell_steps(self._model, knob, num_steps, self._step)
            cell = eta_sheets.draw_cell(self._counted(walked, num_steps))
        except Exception as error:  # it is the reader's function: whatever it raises is shown
            self.note = f"ddim_step failed: {type(error).__name__}: {error}"
            return
        finally:
            self.progress = 1.0
        self._take(places, cell)

    def _counted(self, steps: Iterator[ReverseStep], total: int) -> Iterator[ReverseStep]:
        for number, step in enumerate(steps, 1):
            yield step
            self.progress = number / total

    def _take(self, places: tuple[int, int], cell: eta_sheets.Cell) -> None:
        """Put a cell in the place of the one that is shown."""
        final, strips = self._final.copy(), self._strips.copy()
        final[places] = cell.final.numpy().reshape(final[places].shape)
        strips[places] = cell.strip.numpy().reshape(strips[places].shape)
        self._final, self._strips = final, strips
        away = np.abs(final[places].astype(int) - self._stored[places]).max()
        self._drawn_by[places] = (
            f"{self._whose}; at most {away} of 255 greys from the stored picture"
        )
        self.update(self._all_panels(), self._captions())
        self.note = f"Drawn again with eta = {KNOB[places[0]]}, {STEPS[places[1]]} steps."

    def _on_message(self, _: object, content: object, __: object) -> None:
        match content:
            case {"redraw": {"eta": int(eta), "steps": int(steps)}}:
                self.redraw(eta, steps)

    def _all_panels(self) -> Mapping[str, np.ndarray]:
        """What the player shows; each with one axis more, for its single frame."""
        final = self._final
        x_T = to_panel(eta_sheets.starts()[: eta_sheets.NUM_SEEDS])
        panels = {
            "x_T": x_T[None, None, None],
            "the picture": final,
            "with eta = 0": final[:1],
            "difference": _difference(final, final[:1]),
            "all classes and seeds": _together(final),
            WALK: self._strips,
        }
        return {name: panels[name][:, :, :, :, None] for name in WIDTHS}

    def _captions(self) -> np.ndarray:
        """A text for each state."""
        away = _distance(self._final, self._final[:1])
        apart = _apart(self._final[0])
        texts = np.empty((*GRID, 1), dtype=object)
        for i, j, k, n in np.ndindex(*GRID):
            texts[i, j, k, n, 0] = (
                f"Distance to eta = 0: {away[i, j, k, n]:.2f} (root mean square over pixels in "
                f"[-1, 1]; two seeds of this class at eta = 0: {apart[j, k]:.2f}).\n"
                f"ddim_step: {self._drawn_by[i, j]}."
            )
        return texts

    def _pack(self, name: str, frames: np.ndarray) -> dict:
        """The stored walks travel as the file they lie in, what differs in sheets behind it."""
        if name != WALK:
            return super()._pack(name, frames)
        height, width = frames.shape[-2:]
        columns, rows = MAX_SIDE // width, MAX_SIDE // height
        stored = self._walks.reshape(-1, height, width)
        flat = frames.reshape(stored.shape)
        index, sheets = np.arange(len(flat)), [self._file]
        changed = (flat != stored).any((1, 2))
        if changed.any():
            redrawn = pack(flat[changed])
            index[changed] = columns * rows + np.array(redrawn.index)
            sheets += redrawn.sheets
        return {
            "height": height,
            "width": width,
            "columns": columns,
            "rows": rows,
            "sheets": sheets,
            "index": index.tolist(),
            "title": name,
            "display": self._widths[name],
        }

    def contact_sheet(self) -> bytes:
        """A PNG: the pictures of the class and seed that are set, over all of eta and steps."""
        kind, seed = self.value["class"], self.value["seed"]
        rows = [
            Row(f"{num_steps} steps", "", list(self._final[:, j, kind, seed]))
            for j, num_steps in enumerate(STEPS)
        ]
        return contact_sheet(
            rows,
            [f"eta = {knob}" if knob in ETAS else knob for knob in KNOB],
            title=f"{self.title}: every picture begins at the same x_T",
            caption=f"Class {CLASSES[kind]}, seed {seed + 1}.",
        )


def _distance(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, "*grid"]:
    """Root mean square difference over pixels in [-1, 1]."""
    return np.sqrt((((first.astype(float) - second) / 127.5) ** 2).mean((-2, -1)))


def _apart(final: UInt8[np.ndarray, "steps classes seeds H W"]) -> Float[np.ndarray, "steps K"]:
    """The mean distance between two seeds."""
    number = final.shape[2]
    pairs = _distance(final[:, :, :, None], final[:, :, None])
    return pairs.sum((-2, -1)) / (number * (number - 1))


def _difference(final: Pictures, base: Pictures) -> UInt8[np.ndarray, "e s c n H W 3"]:
    """Orange where there is more ink than in `base`, blue where there is less, else white."""
    share = (final.astype(np.float32) - base)[..., None] / 255
    colour = np.where(share > 0, MORE, LESS)
    return (255 * (1 - np.abs(share) * (1 - colour))).round().astype(np.uint8)


def _together(final: Pictures) -> UInt8[np.ndarray, "_ _ 1 1 _ _"]:
    """All pictures of a cell as one: a class a row, a seed a column."""
    cells = rearrange(to_float(torch.from_numpy(final)), "e s c n h w -> (c n) (e s) 1 h w")
    tiles = to_panel(mosaic(cells, columns=final.shape[3]))
    return tiles.reshape(*final.shape[:2], 1, 1, *tiles.shape[1:])
