"""The diagram of VPTR: it shows what the library's blocks do, and every step differs."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from course_lib.evaluation.cost import multiply_accumulates
from course_lib.models.vidhrformer import (
    DecoderBlock,
    Masks,
    VidHRFormerBlock,
    VidHRFormerConfig,
)
from course_lib.nn.attention import causal_mask
from course_lib.widgets.vptr_diagram import (
    LENGTH,
    NETWORKS,
    PLACE,
    looked_at,
    products,
    vptr_diagram,
)

CONFIG = VidHRFormerConfig(dim=8, map_size=8, window_size=4, num_heads=2)
FAR, NAR, PAR = NETWORKS.values()
STEPS = [(name, step) for name, network in NETWORKS.items() for step in network.says]


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def make(kind, seed) -> Any:
    """A block whose weights are all drawn, so that nothing is 0 by chance."""
    block = kind(CONFIG)
    with torch.no_grad():
        for number, weight in enumerate(block.parameters()):
            weight.copy_(0.3 * draw(*weight.shape, seed=seed + number))
    return block.double().eval()


def layers(network):
    """Each step of a network as a function of tokens and memories, made of the library's parts."""
    asks = "witness" in network.boxes
    first, second = (make(DecoderBlock if asks else VidHRFormerBlock, s) for s in (100, 200))
    own = first.own if asks else first
    code = draw(network.frames, 8, seed=3)
    mask = causal_mask(network.frames) if network.causal else None

    def run(block, x, memories):
        masks = Masks(temporal=mask)
        if not asks:
            return block(x, code, masks=masks)[0]
        return block(x, code, block.witness.remember(memories, code), masks=masks)[0]

    found = {
        "space": lambda x, m: own.space(x),
        "convolution": lambda x, m: own.convolution(x),
        "time": lambda x, m: own.time(x, code, own.time.remember(x, code), mask=mask),
        "mlp": lambda x, m: own.mlp(x),
        "block": lambda x, m: run(first, x, m),
        "blocks": lambda x, m: run(second, run(first, x, m), m),
        "output": lambda x, m: run(second, run(first, x, m), m),
    }
    if asks:
        found["witness"] = lambda x, m: first.witness(x, code, first.witness.remember(m, code))
        found["second"] = lambda x, m: first.convolution(x)
    return found


def influence(function, frames):
    """Which memories and tokens change the query's output, by gradient."""
    memories, x = draw(1, LENGTH, 8, 8, 8, seed=1), draw(1, len(frames), 8, 8, 8, seed=2)
    both = memories.requires_grad_(), x.requires_grad_()
    output = function(x, memories)[0, frames.index("query"), *PLACE]
    slopes = torch.autograd.grad((output * draw(8, seed=4)).sum(), both, allow_unused=True)
    return [
        np.zeros((len(part[0]), 8, 8), bool) if s is None else (s[0].abs().amax(-1) > 0).numpy()
        for part, s in zip(both, slopes, strict=True)
    ]


@pytest.mark.parametrize(("name", "step"), [pair for pair in STEPS if pair[1] != "tokens"])
def test_the_marked_places_are_those_that_the_library_lets_the_query_depend_on(name, step):
    network = NETWORKS[name]
    frames = ["query" if t == network.query else "" for t in range(network.frames)]
    memories, tokens = looked_at(network, step)
    touched, own = influence(layers(network)[step], frames)
    assert np.array_equal(memories, touched)
    if step != "witness":  # where the query itself depends on its own place, and looks elsewhere
        assert np.array_equal(tokens, own)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_costs_are_those_that_are_counted(name):
    network = NETWORKS[name]
    asks = "witness" in network.boxes
    with torch.device("meta"):
        block: Any = (DecoderBlock if asks else VidHRFormerBlock)(CONFIG)
        own = block.own if asks else block
        frames = 10 if asks else 19
        x, code = torch.zeros(1, frames, 8, 8, 8), torch.zeros(frames, 8)
        calls = {
            "space": lambda: own.space(x),
            "convolution": lambda: own.convolution(x),
            "time": lambda: own.time(x, code, own.time.remember(x, code)),
            "mlp": lambda: own.mlp(x),
            "block": lambda: block(x, code),
        }
        if asks:
            ask = block.witness
            calls["witness"] = lambda: ask(x, code, ask.remember(x, code))
            calls["second"] = lambda: block.convolution(x)
            calls["block"] = lambda: block(x, code, ask.remember(x, code))
        for step, call in calls.items():
            tokens = frames * 8 * 8
            assert multiply_accumulates(call) == tokens * products(network, step, dim=8)


@cache
def shown():
    """The pictures (network, step, H, W, 3) and the captions (network, step)."""
    player = vptr_diagram(width=240)
    texts, index = player.captions["texts"], player.captions["index"]
    (pictures,) = player._frames.values()
    return pictures, np.array([texts[k] for k in index]).reshape(len(NETWORKS), -1)


def test_every_network_has_eight_steps():
    pictures, said = shown()
    assert pictures.shape[:2] == (3, 8)
    assert pictures.shape[3:] == (240, 3)
    assert said.shape == (3, 8)


def test_every_step_differs_from_the_one_before_in_picture_and_words():
    pictures, said = shown()
    changed = (pictures[:, 1:] != pictures[:, :-1]).any(-1).mean((2, 3))
    assert changed.min() > 0.001
    assert (said[:, 1:] != said[:, :-1]).all()


def test_the_networks_differ_at_every_step():
    pictures, _ = shown()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (pictures[one] != pictures[other]).any(-1).mean((1, 2)).min() > 0.005


def test_steps_and_boxes_have_one_order():
    for network in NETWORKS.values():
        steps = [step for step in network.says if step in network.boxes]
        assert steps == list(network.boxes)


def test_captions_fit_on_two_lines():
    _, said = shown()
    assert max(map(len, said.ravel())) < 230
