"""Costs: counted by hand, those that the course quotes of VPTR, and a clock that can be read."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.evaluation import cost
from course_lib.evaluation.cost import multiply_accumulates, seconds
from course_lib.models.vptr import PUBLISHED_FAR, PUBLISHED_NAR, AutoregressiveVPTR, Rollout
from course_lib.models.vptr_decoders import NonAutoregressiveVPTR, PartiallyAutoregressiveVPTR


def test_a_linear_layer_costs_a_product_for_each_weight_and_row():
    layer = nn.Linear(5, 7)
    assert multiply_accumulates(lambda: layer(torch.zeros(2, 3, 5))) == 2 * 3 * 5 * 7


@pytest.mark.parametrize(("groups", "stride", "places"), [(1, 1, 30), (2, 1, 30), (4, 2, 9)])
def test_a_convolution_costs_its_taps_for_every_place_and_output_channel(groups, stride, places):
    layer = nn.Conv2d(4, 8, 3, stride, padding=1, groups=groups)
    taps = 9 * 4 // groups
    assert multiply_accumulates(lambda: layer(torch.zeros(2, 4, 5, 6))) == 2 * places * 8 * taps


@pytest.mark.parametrize("mask", [None, torch.ones(5, 5, dtype=torch.bool).tril()])
def test_attention_costs_scores_and_mixtures_of_all_pairs_masked_or_not(mask):
    x = torch.zeros(2, 3, 5, 8)  # clips, heads, tokens, channels of a head
    count = multiply_accumulates(lambda: F.scaled_dot_product_attention(x, x, x, mask))
    assert count == 2 * 3 * (5 * 5 * 8 + 5 * 5 * 8)


def test_what_goes_element_by_element_is_free():
    norm = nn.LayerNorm(8)
    assert multiply_accumulates(lambda: F.gelu(norm(torch.zeros(4, 8))).softmax(-1)) == 0


def test_nothing_is_computed_on_the_meta_device_and_the_count_is_the_same():
    with torch.device("meta"):
        layer, x = nn.Linear(10**6, 10**6), torch.zeros(1, 10**6)
    assert multiply_accumulates(lambda: layer(x)) == 10**12


def test_views_of_weights_are_counted_and_no_gradients_are_kept():
    weight, asked = nn.Parameter(torch.zeros(1, 4)), []

    def call():
        asked.append(torch.is_grad_enabled())
        return nn.Linear(4, 6)(weight.expand(3, -1))

    assert multiply_accumulates(call) == 3 * 4 * 6
    assert asked == [False]


def ten_frames(model, context, rollout):
    """As many calls as ten frames need, recursion in latents."""
    features, state = model.begin(context, rollout)
    known = features.shape[1]
    while known < 10:
        features, state = model.proceed(features, state)
        known += features.shape[1]


def test_most_of_the_published_speed_up_is_a_missing_cache():
    """The published depths, 12 and 4 + 8, are multiples of these; blocks are all that costs."""
    with torch.device("meta"):
        context = torch.zeros(1, 10, 528, 8, 8)
        short = replace(PUBLISHED_NAR, depth=1, decoder_depth=2)
        nar, par = (
            kind(short).eval() for kind in (NonAutoregressiveVPTR, PartiallyAutoregressiveVPTR)
        )
        far = AutoregressiveVPTR(replace(PUBLISHED_FAR, depth=1)).eval()
        all_at_once = 4 * multiply_accumulates(lambda: nar(context))
        cached, recomputed = (
            12 * multiply_accumulates(lambda r=r: ten_frames(far, context, r))
            for r in (Rollout(), Rollout(cached=False))
        )
        partly = 4 * multiply_accumulates(lambda: ten_frames(par, context, Rollout()))
    assert cached / all_at_once == pytest.approx(1.42, abs=0.005)
    assert recomputed / all_at_once == pytest.approx(10.88, abs=0.005)
    assert partly / all_at_once == pytest.approx(1.00, abs=0.005)


def test_the_median_of_the_later_calls_is_the_time(monkeypatch):
    clock = iter([0.0, 7.0, 10.0, 11.0, 20.0, 22.0])  # three calls of 7, 1 and 2 seconds
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    calls = []
    assert seconds(lambda: calls.append(torch.is_grad_enabled()), repeats=3) == 2.0
    assert calls == [False] * 4


def test_no_repeats_are_refused():
    with pytest.raises(ValueError, match="repeats is 0; permitted: 1 and more"):
        seconds(lambda: None, repeats=0)
