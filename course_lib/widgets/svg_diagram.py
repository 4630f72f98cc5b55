"""Who sees which frame in SVG: a diagram that the reader steps through, training and testing.

Source: Denton & Fergus 2018 (arXiv 1802.07687), section 3. Nothing is computed here: the frames are
given, the curves are sketches of what a well-trained SVG does. The skips are left out.
"""

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from torch import Tensor

from course_lib.data.video import to_panel
from course_lib.plots import STYLE, Picture
from course_lib.widgets.player import Player
from course_lib.widgets.svg_sketch import HIGH, WIDE, Sketch

Clip = Float[Tensor, "T C H W"]
NUM_STEPS = 3  # predicted frames
STAGES = {  # what is said of each stage; {t} is the target's number, {p} the last frame's
    "training": (
        "The encoder reads frame {p}. The prior LSTM has now seen frames 0 to {p}, and says which "
        "z it expects.",
        "The encoder reads the target, frame {t}. The posterior LSTM has seen frames 0 to {t}: it "
        "knows what happens.",
        "z is drawn from the posterior q, which has seen the target.",
        "The predictor takes frame {p} and z, and the decoder draws frame {t}.",
        "The loss: squared error to the target, plus beta times KL(q || p). Then the true "
        "frame {t} becomes the last frame.",
    ),
    "testing": (
        "The encoder reads the last frame, {p}. The prior LSTM has now seen frames 0 to {p}, and "
        "says which z it expects.",
        "Frame {t} has not happened yet. There is no target, so the posterior cannot be asked.",
        "z is drawn from the prior p, which has seen the past only.",
        "The predictor takes frame {p} and z, and the decoder draws frame {t}.",
        "The predicted frame {t} is fed back: it becomes the last frame, and the next step "
        "knows no other.",
    ),
}


def svg_diagram(happened: Clip, drawn: Clip, context: int, *, width: int = 800) -> Player:
    """A player with a slider "mode" whose time goes through three predicted frames.

    Args:
        happened: the clip that training sees, with values in [-1, 1].
        drawn: another future of the same past, which testing draws.
        context: frames that both have in common and that testing is given.
        width: of the diagram on the screen, in pixels.

    Raises:
        ValueError: the clips differ in shape or in their context, or are too short.
    """
    if happened.shape != drawn.shape or not happened[:context].equal(drawn[:context]):
        raise ValueError("the clips have different shapes or contexts; one past is needed")
    if not 1 <= context <= len(happened) - NUM_STEPS:
        raise ValueError(f"context is {context}; 1..{len(happened) - NUM_STEPS} are allowed")
    clips = {"training": to_panel(happened), "testing": to_panel(drawn)}
    apart = (happened != drawn).flatten(1).any(1).nonzero().flatten().tolist()
    event = apart[0] if apart else -1  # the first frame that z has to decide
    places = [(context + k, stage) for k in range(NUM_STEPS) for stage in range(5)]
    frames = [
        [_picture(mode, clip, context, t, stage, t == event).pixels(width) for t, stage in places]
        for mode, clip in clips.items()
    ]
    return Player(
        {"a sketch; no network computes here": np.array(frames)},
        {"mode": list(clips)},
        captions=[[STAGES[m][s].format(t=t, p=t - 1) for t, s in places] for m in clips],
        fps=1,
        width=width,
        title="Who sees which frame?",
        alt="One step of SVG as boxes and arrows. In training z comes from the posterior, which "
        "has seen the target; in testing from the prior, and the predicted frame is fed back.",
    )


def draw_step(clip: Clip, context: int, t: int, mode: str, alt: str) -> Picture:
    """One step with all its boxes lit: the diagram for a page where nothing moves."""
    return _picture(mode, to_panel(clip), context, t, 5, True, alt)


def _picture(
    mode: str, clip: np.ndarray, context: int, t: int, stage: int, event: bool, alt: str = "A step."
) -> Picture:
    with mpl.rc_context(STYLE):
        picture = Picture(WIDE / 20, HIGH / 20, alt)
        picture.set_layout_engine("none")
        axes = picture.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDE), ylim=(0, HIGH))
        axes.set_axis_off()
        sketch = Sketch(axes, stage, context, training=mode == "training")
        sketch.strip(clip[: context + NUM_STEPS], t, mode)
        sketch.inference(clip, t)
        sketch.latent(event)
        sketch.generation(clip, t)
        sketch.ending(t)
    return picture
