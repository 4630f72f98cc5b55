"""Influence by gradients against the layers' rules, and what attention costs."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from course_lib.evaluation.attention_cost import attention_cost
from course_lib.evaluation.influence import (
    first_blocks,
    frame_influence,
    influence,
    may_see,
    one_place,
    through_convolution,
    through_time,
    through_windows,
    without_convolution,
)
from course_lib.models.vidhrformer import Masks, VidHRFormerConfig
from course_lib.models.vptr import AutoregressiveVPTR, VPTRConfig
from course_lib.nn.attention import MultiHeadAttention

BLOCK = VidHRFormerConfig(dim=8, map_size=8, window_size=4, num_heads=2, mlp_ratio=2)
FAR = VPTRConfig(context=3, horizon=3, depth=2, block=BLOCK)
T = 5
QUERIES = ((0, 0, 0), (2, 3, 7), (4, 4, 1))


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def probes():
    return torch.Generator().manual_seed(7)


def make(config=FAR):
    """Every weight drawn; the last bias is above 0, so that the relu silences no place."""
    model = AutoregressiveVPTR(config)
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.copy_(0.4 * draw(*weight.shape, seed=100 + number))
        model.norm.bias.add_(0.5)
    return model.double().eval()


def with_norm(norm, config=FAR):
    return replace(config, block=replace(config.block, norm=norm))


CLIP = draw(1, T, 8, 8, 8, seed=3).relu()
OPEN = torch.ones(T, T, dtype=torch.bool)
AHEAD = OPEN.tril(1)
HOLES = torch.tensor([[(3 * i + 2 * j) % 4 != 0 for j in range(T)] for i in range(T)])
NEXT = torch.tensor([[j - i in (0, 1) for j in range(16)] for i in range(16)])


def is_exact(function, allowed, query, clip=CLIP):
    """Whether the influence is exactly 0 where forbidden and above 0 where allowed."""
    found = influence(function, clip, query, generator=probes())
    return bool((found[~allowed] == 0).all() and (found[allowed] > 1e-14).all())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm", ["layer", "frame"])
@pytest.mark.parametrize("num_blocks", [1, 2])
def test_far_depends_on_all_that_its_layers_allow_and_on_nothing_else(norm, num_blocks, training):
    config = with_norm(norm)
    model = make(config).train(training)
    for query in QUERIES:
        allowed = may_see(query, T, config, num_blocks=num_blocks)
        assert is_exact(first_blocks(model, num_blocks), allowed, query)


@pytest.mark.parametrize(
    "masks",
    [
        Masks(temporal=OPEN),
        Masks(temporal=AHEAD),
        Masks(temporal=HOLES),
        Masks(temporal=torch.zeros_like(OPEN)),
        Masks(spatial=torch.eye(16, dtype=torch.bool)),
        Masks(spatial=NEXT, temporal=HOLES),
        [Masks(), Masks(temporal=AHEAD)],
        [Masks(temporal=HOLES), Masks(spatial=NEXT)],
    ],
)
def test_any_other_mask_is_composed_as_exactly(masks):
    model = make()
    for query in QUERIES:
        allowed = may_see(query, T, FAR, masks=masks)
        assert is_exact(first_blocks(model, masks=masks), allowed, query)


def test_all_blocks_are_the_network_itself_but_for_the_relu():
    model = make()
    torch.testing.assert_close(first_blocks(model)(CLIP).relu(), model(CLIP))
    given = Masks(temporal=HOLES)
    torch.testing.assert_close(
        first_blocks(model, masks=[given] * 2)(CLIP).relu(), model(CLIP, masks=given)
    )
    assert (first_blocks(model, 1)(CLIP) - first_blocks(model)(CLIP)).abs().max() > 0.1


def test_windows_alone_never_hear_of_each_other():
    model = make()
    with without_convolution(model):
        for query in QUERIES:
            allowed = may_see(query, T, FAR, convolution=False)
            assert allowed.sum() == 16 * (query[0] + 1)
            assert is_exact(model, allowed, query)
    assert not is_exact(model, allowed, QUERIES[-1]), "afterwards the convolution is heard again"


def test_a_corner_sees_the_whole_map_after_two_blocks_and_a_place_beside_the_border_after_one():
    last = T - 1
    corner, middle = (last, 0, 0), (last, 3, 3)
    assert may_see(corner, T, FAR, num_blocks=1).sum() == 16 * T
    assert may_see(corner, T, FAR).all()
    assert may_see(middle, T, FAR, num_blocks=1).all()


def reached(query, config, norm_of_frames, masks=None):
    """The rule as a walk from place to place, forward from each input: (t, y, x) by (t, y, x)."""
    size, window = config.block.map_size, config.block.window_size
    places = [(t, y, x) for t in range(T) for y in range(size) for x in range(size)]

    def next_places(place):
        t, y, x = place
        same = {p for p in places if p[0] == t}
        window_of = {
            p for p in same if p[1] // window == y // window and p[2] // window == x // window
        }
        heard = same if norm_of_frames else set()
        for _, b, a in window_of:
            heard |= {p for p in same if abs(p[1] - b) < 2 and abs(p[2] - a) < 2}
        return {(later, b, a) for _, b, a in heard for later in range(t, T)}

    sources = {place: {place} for place in places}
    for _ in range(config.depth):
        steps = {place: next_places(place) for place in places}
        sources = {p: set().union(*(steps[q] for q in q_set)) for p, q_set in sources.items()}
    return {place for place, heard in sources.items() if query in heard}


@pytest.mark.parametrize("norm", ["layer", "frame"])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_walk_from_place_to_place_says_the_same(depth, norm):
    small = VidHRFormerConfig(dim=8, map_size=6, window_size=2, num_heads=2, norm=norm)
    config = replace(FAR, depth=depth, block=small)
    for query in ((0, 0, 0), (3, 2, 5)):
        expected = torch.zeros(T, 6, 6, dtype=torch.bool)
        for place in reached(query, config, norm == "frame"):
            expected[place] = True
        assert torch.equal(may_see(query, T, config), expected)


@pytest.mark.parametrize("query", QUERIES)
def test_batch_norm_is_causal_in_evaluation_and_lets_all_see_all_in_training(query):
    config = with_norm("batch")
    model = make(config)
    assert is_exact(model, may_see(query, T, config), query)
    assert torch.equal(may_see(query, T, config), may_see(query, T, FAR))
    allowed = may_see(query, T, config, training=True)
    assert allowed.all()
    assert is_exact(model.train(), allowed, query)


def test_batch_norm_in_training_lets_another_clip_in_and_the_other_norms_never_do():
    for norm, training, leaks in (
        ("batch", True, True),
        ("batch", False, False),
        ("layer", True, False),
        ("frame", True, False),
    ):
        model = make(with_norm(norm)).train(training)
        other = influence(
            lambda x, model=model: model(torch.cat([CLIP, x])), CLIP + 1, (1, 2, 2), num_probes=1
        )
        assert bool((other > 0).any()) == leaks


@pytest.mark.parametrize("query", [(0, 0, 0), (2, 3, 7), (3, 4, 1)])
def test_planted_leaks_and_planted_blindness_are_caught(query):
    """Networks of one block that see more than the rules say, and such as see less."""
    model = make()
    honest, allowed = first_blocks(model, 1), may_see(query, T, FAR, num_blocks=1)
    assert is_exact(honest, allowed, query)
    planted = {
        "the mean of all frames": lambda x: honest(x) + 1e-6 * x.mean(1, keepdim=True),
        "one frame ahead": first_blocks(model, 1, masks=Masks(temporal=AHEAD)),
        "columns rolled": lambda x: honest(x.roll(1, -1)),
        "its own frame hidden": lambda x: honest(x.index_fill(1, torch.tensor(query[0]), 0)),
        "no convolution": lambda x: honest(x) * 0 + x,
    }
    for name, function in planted.items():
        assert not is_exact(function, allowed, query), name


def test_the_influence_is_the_norm_of_the_jacobian_between_two_places():
    weight = draw(2, 8, 8, seed=5)
    clip = draw(1, 2, 8, 4, 4)
    function = lambda x: torch.einsum("btdhw,tde->behw", x, weight)[:, None]  # noqa: E731
    found = influence(function, clip, (0, 1, 2), num_probes=4000, generator=probes())
    expected = torch.zeros(2, 4, 4, dtype=torch.float64)
    expected[:, 1, 2] = weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)


def test_the_sum_of_the_channels_would_cancel_behind_a_layer_norm():
    clip = draw(1, 2, 8, 4, 4)
    norm = lambda x: F.layer_norm(x.movedim(2, -1), (8,)).movedim(-1, 2)  # noqa: E731
    x = clip.clone().requires_grad_()
    (slope,) = torch.autograd.grad(norm(x)[0, 1, :, 2, 3].sum(), x)
    assert slope.abs().max() < 1e-12
    assert influence(norm, clip, (1, 2, 3), num_probes=1)[1, 2, 3] > 0.1


def test_frames_depend_on_frames_as_the_masks_say():
    model = make()
    for masks, expected in (
        (Masks(), OPEN.tril()),
        (Masks(temporal=AHEAD), OPEN.tril(2)),  # two blocks look two frames ahead
        (Masks(temporal=OPEN), OPEN),
        ([Masks(), Masks(temporal=AHEAD)], AHEAD),
    ):
        found = frame_influence(first_blocks(model, masks=masks), CLIP, generator=probes())
        assert torch.equal(found > 0, expected)
        assert (found[expected] > 1e-6).all()


def test_single_layers_see_what_their_definition_says():
    place = one_place((1, 3, 4), 3, 8)
    ys, xs = torch.arange(8)[:, None], torch.arange(8)
    expected = torch.zeros(3, 8, 8, dtype=torch.bool)
    expected[1] = (ys < 4) & (xs >= 4)
    assert torch.equal(through_windows(place, 4), expected)
    expected[1] = ((ys - 3).abs() < 2) & ((xs - 4).abs() < 2)
    assert torch.equal(through_convolution(place), expected)
    expected[1] = True
    assert torch.equal(through_convolution(place, whole_frame=True), expected)
    assert through_time(place, None)[:, 3, 4].all()
    context = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0]]).bool()
    found = through_time(place, context)
    assert found.shape == (4, 8, 8)
    assert found[:, 3, 4].tolist() == [True, False, False, True]
    assert found.sum() == 2


def test_one_seed_gives_one_map_and_the_global_generator_stays():
    model = make()
    before = torch.get_rng_state()
    maps = [influence(model, CLIP, (1, 2, 3), generator=probes()) for _ in range(2)]
    assert torch.equal(*maps)
    assert torch.equal(before, torch.get_rng_state())
    assert not CLIP.requires_grad


class _Pairs:
    """Counts what every attention of a network multiplies: pairs, times width, times two."""

    def __init__(self, model):
        self.counted = {"space": 0, "time": 0}
        for name, module in model.named_modules():
            if isinstance(module, MultiHeadAttention):
                axis = name.split(".")[-2]
                module.register_forward_pre_hook(lambda _, args, axis=axis: self.count(axis, *args))

    def count(self, axis, query, memory):
        pairs = query.shape[:-1].numel() * len(memory)
        self.counted[axis] += 2 * pairs * query.shape[-1]


@pytest.mark.parametrize(("num_frames", "window"), [(1, 2), (3, 4), (5, 4), (5, 8)])
def test_the_cost_is_what_the_network_multiplies(num_frames, window):
    config = replace(FAR, depth=3, block=replace(BLOCK, window_size=window))
    model = AutoregressiveVPTR(config)
    pairs = _Pairs(model)
    model(CLIP[:, :num_frames].float())
    cost = attention_cost(num_frames, 8, window, 8)
    assert pairs.counted == {"space": 3 * cost.space, "time": 3 * cost.time}


def test_joint_attention_costs_what_its_two_products_cost():
    q = torch.empty(3 * 16, 8, device="meta")
    with FlopCounterMode(display=False) as counter:
        (q @ q.T) @ q
    assert attention_cost(3, 4, 2, 8).joint == counter.get_total_flops() / 2


def test_at_the_papers_size_taking_space_and_time_apart_saves_36_times():
    """20 frames, 8 x 8 places, windows of 4 x 4: 46 thousand D against 1.64 million D, doubled."""
    cost = attention_cost(20, 8, 4, 528)
    assert cost.space == 2 * 20480 * 528
    assert cost.time == 2 * 25600 * 528
    assert cost.divided == cost.space + cost.time
    assert cost.joint == 2 * 1638400 * 528
    assert cost.saving == pytest.approx(35.6, abs=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: may_see((5, 0, 0), T, FAR), r"query is \(5, 0, 0\).*\(5, 8, 8\)"),
        (lambda: may_see((0, 0, -1), T, FAR), r"query is \(0, 0, -1\)"),
        (lambda: may_see((0, 0, 0), T, FAR, num_blocks=3), r"num_blocks is 3; permitted: 1\.\.2"),
        (lambda: may_see((0, 0, 0), T, FAR, masks=[Masks()]), "1 masks; permitted: one, or 2"),
        (lambda: first_blocks(make(), 0), "num_blocks is 0"),
        (lambda: influence(make(), CLIP, (0, 8, 0)), r"query is \(0, 8, 0\)"),
        (lambda: influence(make(), CLIP, (0, 0, 0), num_probes=0), "num_probes is 0"),
        (lambda: attention_cost(2, 8, 3, 8), "window_size is 3; permitted: a divisor of 8"),
        (lambda: attention_cost(0, 8, 4, 8), "num_frames is 0; permitted: 1 and more"),
    ],
)
def test_a_wrong_call_is_told_what_is_permitted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
