"""The mask laboratory's Python half: what it sends, what it measures, what it refuses."""

import base64
import io
import statistics
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

from course_lib.evaluation.influence import may_see
from course_lib.models.autoencoder import Autoencoder, AutoencoderConfig
from course_lib.models.vidhrformer import Masks, VidHRFormerConfig
from course_lib.models.vptr import AutoregressiveVPTR, VPTRConfig
from course_lib.models.vptr_decoders import (
    NonAutoregressiveVPTR,
    PartiallyAutoregressiveVPTR,
)
from course_lib.models.vptr_video import VPTR
from course_lib.widgets.mask_lab import MaskLab
from course_lib.widgets.mask_lab_picture import draw_lab

FRAMES = AutoencoderConfig(size=16, dims=(4,), feature_dim=8, num_blocks=1)
BLOCK = VidHRFormerConfig(dim=8, map_size=8, window_size=4, num_heads=2, mlp_ratio=2)
FAR = VPTRConfig(context=4, horizon=4, depth=2, block=BLOCK)
NAR = replace(FAR, depth=1, decoder_depth=2)
T = 4
HOLE = torch.ones(T, T).tril().bool()
HOLE[1, 3] = True
NAMES = [
    "Local spatial attention",
    "Convolution",
    "Temporal attention, causal",
    "Temporal attention, full",
    "Encoder-decoder attention",
    "The whole network",
]


def network(kind, config):
    model = VPTR(Autoencoder(FRAMES), kind(config)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.transformer.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def far():
    return network(AutoregressiveVPTR, FAR)


@pytest.fixture(scope="module")
def nar():
    return network(NonAutoregressiveVPTR, NAR)


@pytest.fixture(scope="module")
def clip():
    generator = torch.Generator().manual_seed(1)
    return torch.rand((1, T, 1, 16, 16), generator=generator) * 2 - 1


@pytest.fixture
def lab(far, nar, clip):
    return MaskLab(far, clip, nar=nar)


def heat_of(lab):
    return np.frombuffer(lab.answer["heat"], np.float32).reshape(T, 8, 8)


def test_the_list_has_every_layer_and_nar_s_only_with_nar(lab, far, clip):
    assert [layer["name"] for layer in lab.scene["layers"]] == NAMES
    alone = MaskLab(far, clip)
    assert [layer["name"] for layer in alone.scene["layers"]] == NAMES[:4] + NAMES[5:]


def test_it_begins_with_the_whole_network_under_the_reader_s_mask(lab):
    assert NAMES[lab.value["layer"]] == "The whole network"
    assert lab.value["mask"] == HOLE.tril().tolist()
    assert lab.answer["for"] == lab.value
    assert lab.answer["verdict"] == "No leak: no output depends on a later frame."


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_depends_on_what_it_may_see_and_on_nothing_else(lab, name):
    """The whole grid of queries would take minutes: each column of a diagonal, in every block."""
    maps = set()
    lab.ask(name)
    for block in (1, 2):
        for k in range(8):
            lab.ask(name, block=block, query=(k % T, k, (3 * k + block) % 8))
            allowed, heat = lab.may_see(), heat_of(lab)
            assert allowed.any()
            assert np.isfinite(heat).all()
            assert (heat[~allowed] == 0).all()
            assert (heat[allowed] > 0).all()
            maps.add(heat.tobytes())
    assert len(maps) == 16, "every query has a map of its own"


@pytest.mark.parametrize("block", [1, 2])
def test_a_layer_alone_gives_what_it_gives_inside_the_network(far, nar, clip, block):
    clip = clip[:, :3]  # fewer than either network's context
    lab = MaskLab(far, clip, nar=nar)
    own, decoder = far.transformer.blocks[block - 1], nar.transformer.decoder[block - 1]
    parts = dict(zip(NAMES, (own.space, own.convolution, own.time), strict=False))
    parts["Encoder-decoder attention"] = decoder.witness
    heard = {}
    hooks = [
        part.register_forward_hook(lambda *args, name=name: heard.setdefault(name, args[-1]))
        for name, part in parts.items()
    ]
    for model in (far, nar):
        model.transformer(model.autoencoder.encode(clip))
    for hook in hooks:
        hook.remove()
    for layer in lab.layers:
        if layer.name in heard:
            causal = HOLE[:3, :3].tril()
            mask = torch.ones_like(causal) if layer.asks_context else causal
            function, features = layer.ask(block, mask)
            alone, inside = function(features).movedim(2, -1), heard[layer.name][:, :3]
            torch.testing.assert_close(alone, inside)


def test_the_still_picture_crosses_out_what_is_heard_against_the_rules(lab, clip):
    allowed, heat = lab.may_see(), heat_of(lab).copy()
    asked = (lab.value, lab.answer, lab.layers[-1])

    def num_crosses():
        picture = draw_lab(np.zeros((T, 16, 16, 3)), allowed, heat, *asked)
        lines = [line for axes in picture.findobj(Axes) for line in axes.lines]
        return sum(line.get_marker() == "x" for line in lines)

    assert num_crosses() == 0
    heat[3, 2, 5] = heat[3, 4, 1] = 1
    assert num_crosses() == 2


def test_the_whole_grid_is_what_the_library_s_rules_say(lab):
    """Two ways to compose: the laboratory's tables and powers, and `may_see` layer by layer."""
    everywhere = list(np.ndindex(T, 8, 8))
    for mask, block, places in (
        (HOLE, 2, everywhere),
        (HOLE, 1, everywhere[::5]),
        (HOLE.T, 2, everywhere[::5]),
        (torch.zeros_like(HOLE), 2, everywhere[::5]),
        (torch.ones_like(HOLE), 1, everywhere[::5]),
    ):
        for t, y, x in places:
            asked = {"query": [int(t), int(y), int(x)], "block": block, "mask": mask.tolist()}
            rules = {"num_blocks": block, "masks": Masks(temporal=mask)}
            expected = may_see((t, y, x), T, FAR, **rules).numpy()
            assert (lab.may_see(lab.value | asked) == expected).all()


def test_single_layers_may_see_their_own_kind_alone(lab):
    sizes = []
    for name in NAMES:
        lab.ask(name, block=1, query=(2, 3, 0))
        sizes.append(int(lab.may_see().sum()))
    assert sizes == [16, 6, 3, T, T, 3 * 32]


def test_a_nar_of_another_map_size_is_asked_on_its_own_map(far, clip):
    small = replace(NAR, block=replace(BLOCK, map_size=4, window_size=4))
    nar = VPTR(Autoencoder(replace(FRAMES, dims=(4, 4))), NonAutoregressiveVPTR(small)).eval()
    lab = MaskLab(far, clip, nar=nar)
    lab.ask(query=(1, 6, 3))
    lab.ask("Encoder-decoder attention")
    assert lab.value["query"] == [1, 3, 1]
    assert lab.may_see().shape == (T, 4, 4)
    assert lab.may_see()[:, 3, 1].all()
    assert lab.may_see().sum() == T
    heat = np.frombuffer(lab.answer["heat"], np.float32).reshape(T, 4, 4)
    assert ((heat > 0) == lab.may_see()).all()
    assert lab._repr_mimebundle_() is not None
    with pytest.raises(ValueError, match="permitted: 4 x 4 x 4"):
        lab.ask("Encoder-decoder attention", query=(0, 4, 0))
    lab.ask()
    assert lab.value["query"] == [1, 6, 2]


def test_the_browser_gets_the_same_tables(lab):
    for layer, sent in zip(lab.layers, lab.scene["layers"], strict=True):
        bits = np.unpackbits(np.frombuffer(sent["tables"], np.uint8))
        assert bits.size == sent["blocks"] * 64 * 64  # no padding
        np.testing.assert_array_equal(bits.reshape(layer.tables.shape), layer.tables)


def test_one_hole_leaks_more_than_itself(lab):
    """Frame 3 tells frame 1 of frame 2 as well; frame 2 hears of frame 3 from frame 1."""
    lab.ask(mask=HOLE)
    assert lab.answer["leaks"] == [[1, 2], [1, 3], [2, 3]]
    assert lab.answer["verdict"] == (
        "The output of frame 1 depends on frame 2 (2 more such pairs): the future leaks."
    )
    lab.ask(block=1)
    assert lab.answer["leaks"] == [[1, 3]]
    lab.ask(mask=HOLE.tril())
    assert lab.answer["leaks"] == []


def test_an_answer_changes_with_layer_block_query_and_mask(lab):
    seen = [lab.answer["heat"]]
    for question in (
        {"query": (1, 2, 3)},
        {"block": 1},
        {"mask": HOLE},
        {"layer": "Convolution"},
        {"layer": "Temporal attention, full"},
    ):
        lab.ask(**question)
        assert lab.answer["for"] == lab.value
        seen.append(lab.answer["heat"])
    assert len(set(seen)) == len(seen)


def test_layers_bring_their_masks_and_the_context_s_is_left_behind(lab):
    lab.ask("Temporal attention, full")
    assert np.all(lab.value["mask"])
    assert "In FAR that is a fault" in lab.answer["verdict"]
    lab.ask()
    assert np.all(lab.value["mask"]), "the whole network keeps the mask"
    lab.ask("Temporal attention, causal")
    assert lab.value["mask"] == HOLE.tril().tolist()
    lab.ask("Encoder-decoder attention")
    assert np.all(lab.value["mask"])
    assert lab.answer["verdict"] == "No leak: all that can be asked here is past."
    assert lab.answer["leaks"] == []
    lab.ask()
    assert lab.value["mask"] == HOLE.tril().tolist()


def test_the_reader_s_mask_drives_it_even_where_it_is_wrong(far, clip):
    transposed = lambda n: torch.ones(n, n).triu().bool()  # noqa: E731
    lab = MaskLab(far, clip, causal_mask=transposed, whose="yours")
    assert lab.value["mask"] == transposed(T).tolist()
    assert "the future leaks" in lab.answer["verdict"]
    assert lab.scene["whose"] == "yours"


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (lambda n: torch.zeros(n, n), "float32 (4, 4)"),
        (lambda n: torch.ones(n).bool(), "bool (4,)"),
    ],
)
def test_what_is_no_mask_is_replaced_and_said(far, clip, function, given):
    lab = MaskLab(far, clip, causal_mask=function)
    assert lab.value["mask"] == HOLE.tril().tolist()
    assert lab.scene["note"] == f"It gave {given} in place of bool (4, 4): this is the library's."


def test_frames_arrive_as_bytes_and_all_is_small(lab, clip):
    grey = ((clip + 1) * 127.5).round().to(torch.uint8)
    assert lab.scene["frame"] == [16, 16]
    colours = len(lab.scene["frames"]) // grey.numel()
    found = np.frombuffer(lab.scene["frames"], np.uint8).reshape(T, 16, 16, colours)
    assert np.abs(found - grey[0, :, 0, :, :, None].numpy().astype(int)).max() <= 1
    tables = sum(len(layer["tables"]) for layer in lab.scene["layers"])
    assert tables + len(lab.scene["frames"]) < 12_000
    assert len(lab.answer["heat"]) == 4 * T * 64


def test_tables_of_frames_are_remembered_while_only_the_query_moves(lab, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "course_lib.widgets.mask_lab.frame_influence",
        lambda *args, **kwargs: calls.append(1) or torch.eye(T),
    )
    lab.ask(query=(0, 0, 0))
    assert calls == []
    lab.ask(mask=HOLE)
    lab.ask(query=(3, 0, 0))
    assert calls == [1]


def test_at_the_chapter_s_size_the_network_answers_within_300_ms():
    """Seconds of this process, which no neighbour on the machine makes longer."""
    frames = Autoencoder(replace(FRAMES, size=32, dims=(4, 4), feature_dim=48))
    block = replace(BLOCK, dim=48, num_heads=4, mlp_ratio=4)
    model = AutoregressiveVPTR(VPTRConfig(depth=4, block=block))
    lab = MaskLab(VPTR(frames, model).eval(), torch.zeros(1, 6, 1, 32, 32))
    times = []
    for k in range(5):
        start = time.process_time()
        lab.ask(mask=torch.ones(6, 6).tril(k - 2).bool())
        times.append(time.process_time() - start)
    assert statistics.median(times) < 0.3


def test_the_still_picture_is_opaque_and_changes_with_the_question(lab):
    data, metadata = lab._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.mode in ("P", "RGB")
    assert "transparency" not in picture.info
    assert "No leak" in metadata["image/png"]["alt"]
    assert len(data["image/png"]) < 60_000
    before = lab.contact_sheet()
    lab.ask(mask=HOLE)
    assert lab.contact_sheet() != before
    lab.ask("Encoder-decoder attention")
    assert lab.contact_sheet() != before


def test_a_planted_leak_is_flagged(lab):
    """A last layer that blends in the mean of all frames: forbidden, and not 0."""
    whole = lab.layers[-1]
    honest = whole.ask

    def leaking(block, mask):
        function, features = honest(block, mask)
        return lambda x: function(x) + 1e-5 * x.mean(1, keepdim=True), features

    lab.layers[-1] = replace(whole, ask=leaking)
    lab.ask(query=(0, 2, 2), block=1)
    assert (heat_of(lab)[~lab.may_see()] > 0).any()
    assert len(lab.answer["leaks"]) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": 6}, r"layer is 6; permitted: 0\.\.5"),
        ({"block": 3}, r"block is 3; permitted: 1\.\.2"),
        ({"query": [0, 8, 0]}, r"query is \[0, 8, 0\]; permitted: 4 x 8 x 8"),
        ({"mask": [[True]]}, r"the mask has shape \(1, 1\)"),
    ],
)
def test_what_no_browser_should_send_is_refused(lab, change, message):
    before = dict(lab.value)
    with pytest.raises(ValueError, match=message):
        lab.value = lab.value | change
    assert lab.value == before


def test_a_wrong_call_is_told_what_is_permitted(lab, far, nar, clip):
    for call, message in (
        (lambda: lab.ask("Attention"), "layer is 'Attention'; permitted: 'Local"),
        (lambda: MaskLab(far, clip[:, :1]), r"\(1, 1, 1, 16, 16\); permitted"),
        (lambda: MaskLab(far, clip.expand(2, -1, -1, -1, -1)), r"\(2, 4, .* permitted"),
        (lambda: MaskLab(nar, clip), "NonAutoregressiveVPTR given; permitted: Autoreg"),
        (lambda: MaskLab(far, clip, nar=far), "permitted: NonAuto"),
        (
            lambda: MaskLab(network(PartiallyAutoregressiveVPTR, NAR), clip),
            "permitted: AutoregressiveVPTR",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
