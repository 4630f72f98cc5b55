"""What each sub-layer of VPTR lets a place look at: a diagram that the reader steps through.

Source: Ye & Bilodeau 2022 (arXiv 2203.15836; journal 2212.06026, section 3): the block that FAR is
a stack of, and the decoder block of NAR, which PAR shares; the drawing is ours. Nothing is computed
by a network. Drawn are three frames of context and three to predict, with 8 x 8 places in windows
of 4 x 4. Costs are multiply-accumulates per token of width d, as `evaluation.cost` counts them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from jaxtyping import Bool

from course_lib.plots import COLORS, STYLE, Picture
from course_lib.widgets.player import Player
from course_lib.widgets.vptr_sketch import COLOR, HIGH, WIDE, Box, Sketch

Seen = Bool[np.ndarray, "_ 8 8"]
SIDE, WINDOW, LENGTH = 8, 4, 3  # places along edges of map and window; frames of each kind
PLACE = (4, 2)  # the query's row and column: at the edge of its window
DIM = 528  # the published width
PRODUCTS = {  # per token: factor of d^2; factor of d in words and in numbers, without "time"
    "space": (4, "2K^2", 32),
    "convolution": (8, "36", 36),
    "time": (4, "2T", 0),
    "mlp": (8, "", 0),
    "witness": (4, "2L", 20),
    "second": (8, "36", 36),
}


@dataclass(frozen=True)
class Network:
    """One of the three: its boxes from top to bottom, what is said at each step, who is masked."""

    boxes: Mapping[str, tuple[str, str]]  # kind -> name, and what q, k and v are made of
    says: Mapping[str, str]  # kind or another step -> caption
    frames: int  # tokens along time
    query: int  # the query's frame among them
    causal: bool = True
    blank: bool = False  # do the tokens begin as zeros?


_ALIKE = {
    "space": ("local spatial attention", "q, k = LN(x) + place code     v = LN(x)"),
    "convolution": ("convolutional feed-forward", "1 x 1, then 3 x 3 per channel, then 1 x 1"),
    "time": ("temporal attention, causal", "q, k = LN(x) + time code     v = LN(x)"),
    "mlp": ("MLP", "two linear layers, token by token"),
}
_WITNESS = "encoder-decoder attention"
_ASKING = {
    "witness": (_WITNESS, "q = LN(x) + time code     k, v = memories"),
    "second": ("second conv. feed-forward", "as the first, with weights of its own"),
}
_LOCAL = (
    "A place looks at the 16 places of its own window, in its own frame: strokes and edges are "
    "local. That is 16 looks, where joint attention would need one at every place of every frame."
)
_LINKS = (
    "Every place reads its 3 x 3 neighbours with fixed weights, also over the window's edge: only "
    "here do windows hear of each other. No looks, yet twice the products of an attention's "
    "linear layers."
)
_ALONE = (
    "Every token for itself: nobody is looked at, so nothing can leak. The two wide linear layers "
    "cost twice as much as the four of an attention."
)
FAR = Network(
    _ALIKE,
    {
        "tokens": "Five frames come in, each as a map of 8 x 8 tokens: in training they are true "
        "ones. Frame 6 never comes in, for there is nothing left to predict from it.",
        "space": _LOCAL,
        "convolution": _LINKS,
        "time": "A place looks at the same place of its own and of earlier frames, because what "
        "moves comes from the past; the mask hides frame 5, which is the answer. At most T looks.",
        "mlp": _ALONE,
        "block": "One whole block, backwards from its output: time, then neighbours, then their "
        "windows. Half of each map is seen, and still no later frame, for the price of the four.",
        "blocks": "Two blocks see every place of frames 1 to 4: a second convolution reaches the "
        "other windows. Frame 5 stays hidden at any depth, because every layer hides it.",
        "output": "After the last block: LayerNorm, and ReLU, since features are never negative. "
        "What stands at frame 4 is now the prediction of frame 5. No product is needed.",
    },
    frames=5,
    query=3,
)
NAR = Network(
    _ALIKE
    | {
        "space": ("local spatial attention", "q, k = LN(x) + queries + place code     v = LN(x)"),
        "time": ("temporal attention, no mask", "q, k = LN(x) + time code     v = LN(x)"),
    }
    | _ASKING
    | {"witness": (_WITNESS, "q = LN(x) + queries + time code     k, v = memories")},
    {
        "tokens": "An encoder, of blocks like FAR's but without a mask, has made memories of the "
        "context. The future frames begin as zeros; only the queries (pink) tell them apart.",
        "space": "A place looks at the 16 places of its window. Queries go into q and k, not into "
        "v: in the first block v comes from zeros, the same everywhere, so looks bring no news.",
        "convolution": _LINKS,
        "time": "A place looks at the same place of all future frames, earlier and later: frames "
        "made together have to agree, and none of them is known. N looks.",
        "mlp": _ALONE,
        "witness": "A place asks the same place of every context frame: here the queries become "
        "questions and get answers. L looks; memories offer their keys and values once.",
        "second": "The answers spread to the 3 x 3 neighbours, over the windows' edges, for as "
        "much as the first convolution costs.",
        "block": "One whole block, backwards: of the memories 3 x 3 places of each frame, of the "
        "future every place of every frame. Ten frames cost one pass, not ten.",
    },
    frames=LENGTH,
    query=1,
    causal=False,
    blank=True,
)
PAR = Network(
    _ALIKE | _ASKING,
    {
        "tokens": "The tokens are frames 3, 4 and 5, each asking for the frame after it: the last "
        "one known, then those predicted so far. So no queries are needed. Memories are as NAR's.",
        "space": _LOCAL,
        "convolution": _LINKS,
        "time": "A place looks at the same place of its own and of earlier tokens; the mask hides "
        "frame 5, which is the answer. At most N looks; keys and values can be kept.",
        "mlp": _ALONE,
        "witness": "A place asks the same place of every context frame, without a mask: the "
        "context has happened. L looks; memories offer their keys and values once.",
        "second": NAR.says["second"],
        "block": "One whole block, backwards: 3 x 3 places of each memory, every place of frames 3 "
        "and 4, nothing of frame 5. One frame per pass; with what is kept, each pass is short.",
    },
    frames=LENGTH,
    query=1,
)
NETWORKS = {"FAR block": FAR, "NAR decoder block": NAR, "PAR decoder block": PAR}


def vptr_diagram(*, width: int = 800) -> Player:
    """A player with a slider "network" whose time goes through the sub-layers of a block."""
    frames = [
        [_picture(name, step).pixels(width) for step in network.says]
        for name, network in NETWORKS.items()
    ]
    return Player(
        {"a block, and what one query looks at": np.array(frames)},
        {"network": list(NETWORKS)},
        captions=[list(network.says.values()) for network in NETWORKS.values()],
        fps=1,
        width=width,
        title="Who looks at whom?",
        alt="The sub-layers of a VPTR block, one lit at a time; beside them maps of the frames in "
        "which the places are marked that one query looks at.",
    )


def looked_at(network: Network, step: str) -> tuple[Seen, Seen]:
    """Which places of the memories and of the tokens the query's output depends on."""
    memories = np.zeros((LENGTH, SIDE, SIDE), bool)
    tokens = np.zeros((network.frames, SIDE, SIDE), bool)
    tokens[network.query, *PLACE] = True
    asks = "witness" in network.boxes
    whole = _passes(step) or 2 * (step == "output")
    path = [*network.boxes][::-1] * whole if whole else [step]
    for kind in path:
        if kind == "witness":
            memories |= tokens.any(0)
            if not whole:
                tokens = np.zeros_like(tokens)
        elif kind in ("convolution", "second"):
            tokens = _neighbours(tokens)
        elif kind == "space":
            tokens = _windows(tokens)
        elif kind == "time":
            tokens = _times(tokens, causal=network.causal)
        elif kind == "tokens":
            tokens, memories = np.full_like(tokens, not network.blank), memories | asks
    return memories, tokens


def _neighbours(seen: Seen) -> Seen:
    padded = np.pad(seen, ((0, 0), (1, 1), (1, 1)))
    squares = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    return np.asarray(squares.any((-1, -2)))


def _windows(seen: Seen) -> Seen:
    count = SIDE // WINDOW
    tiles = seen.reshape(-1, count, WINDOW, count, WINDOW).any((2, 4))
    return np.kron(tiles, np.ones((1, WINDOW, WINDOW), bool))


def _times(seen: Seen, *, causal: bool) -> Seen:
    ever = np.maximum.accumulate(seen[::-1])[::-1] if causal else seen.any(0, keepdims=True)
    return np.broadcast_to(ever, seen.shape)


def products(network: Network, step: str, dim: int = DIM) -> int:
    """Multiply-accumulates per token, with as many frames as the paper's Moving MNIST has."""
    kinds = [step] if step in network.boxes else list(network.boxes) * _passes(step)
    looked = 10 if "witness" in network.boxes else 19  # frames along time
    return sum(
        PRODUCTS[kind][0] * dim**2 + (2 * looked if kind == "time" else PRODUCTS[kind][2]) * dim
        for kind in kinds
    )


def _passes(step: str) -> int:
    """Through how many whole blocks a step looks."""
    return {"block": 1, "blocks": 2}.get(step, 0)


def _price(network: Network, step: str) -> str:
    if step not in network.boxes and not _passes(step):
        return ""
    square, linear, _ = PRODUCTS.get(step, (0, "", 0))
    formula = f"${square}d^2" + (f" + {linear}d$" if linear else "$") if square else "all of them"
    return f"{formula}:  {products(network, step) / 1e6:.2f} million at d = {DIM}"


def _picture(name: str, step: str) -> Picture:
    network = NETWORKS[name]
    memories, tokens = looked_at(network, step)
    boxes = [Box(kind, *words, COLOR[kind]) for kind, words in network.boxes.items()]
    asks, begins = "witness" in network.boxes, step == "tokens"
    color = COLOR.get(step, COLORS["sky"])
    with mpl.rc_context(STYLE):
        picture = Picture(WIDE / 20, HIGH / 20, f"{name}: {step}.")
        picture.set_layout_engine("none")
        sketch = Sketch(picture.add_axes((0, 0, 1, 1)))
        sketch.block(name, boxes, step, blank=network.blank)
        given = "tokens: frames, to predict the next"
        if asks:
            shade = COLORS["green"] if begins else color
            sketch.row(0, memories, "memories of frames", 1, shade)
            words, first = ("blank frames", LENGTH + 1) if network.blank else (given, LENGTH)
            sketch.row(1, tokens, words, first, color, blank=network.blank)
        else:
            sketch.row(0, tokens[:LENGTH], given, 1, color)
            sketch.row(1, tokens[LENGTH:], "", LENGTH + 1, color, missing=1)
        if not begins:
            frame = network.query - (0 if asks else LENGTH)
            sketch.query(1, frame, PLACE, predicts=step == "output")
            count, total = memories.sum() + tokens.sum(), memories.size * asks + tokens.size
            sketch.costs(int(count), total, _price(network, step), color)
    return picture
