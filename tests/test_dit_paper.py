"""The paper's figures are those of the networks in the library, and agree with each other."""

from dataclasses import replace

import pytest
import torch

from course_lib.data.dit_paper import CONDITIONINGS, NAMED, TWELVE, XL2_FIDS, PaperDiT
from course_lib.evaluation.cost import multiply_accumulates
from course_lib.models.dit_variants import (
    PATCH_SIZES,
    SIZES,
    ConditionedDiT,
    num_parameters,
    published,
)


def counted(config):
    """Gflops and millions of parameters: blocks are alike, so two short networks tell of all."""
    short = []
    for depth in (1, 2):
        with torch.device("meta"):
            model = ConditionedDiT(replace(config, depth=depth))
            x, t = torch.zeros(1, 4, config.size, config.size), torch.zeros(1, dtype=torch.int64)
            macs = multiply_accumulates(lambda model=model, x=x, t=t: model(x, t, t))
        short.append((macs / 1e9, num_parameters(model) / 1e6))
    return tuple(one + (config.depth - 1) * (two - one) for one, two in zip(*short, strict=True))


@pytest.mark.parametrize("point", TWELVE, ids=lambda point: point.name)
def test_a_network_of_the_library_costs_what_the_table_says(point: PaperDiT):
    gflops, millions = counted(published(point.size, point.patch_size))
    assert gflops == pytest.approx(point.gflops, rel=0.01)
    assert millions == pytest.approx(point.mega_parameters, rel=0.01)


@pytest.mark.parametrize("name", CONDITIONINGS)
def test_a_conditioning_of_the_library_costs_what_the_table_says(name):
    gflops, millions, _ = CONDITIONINGS[name]
    assert counted(published("XL", 2, conditioning=name)) == (
        pytest.approx(gflops, rel=0.01),
        pytest.approx(millions, rel=0.01),
    )


def test_the_twelve_are_every_size_with_every_patch_once():
    assert {(point.size, point.patch_size) for point in TWELVE} == {
        (size, patch_size) for size in SIZES for patch_size in PATCH_SIZES
    }
    assert len(TWELVE) == len(NAMED) == 12
    assert [NAMED[f"S/{p}"].num_tokens for p in PATCH_SIZES] == [16, 64, 256]


def test_the_same_network_has_the_same_figures_wherever_it_stands():
    xl = NAMED["XL/2"]
    assert CONDITIONINGS["adaLN-Zero"] == (xl.gflops, xl.mega_parameters, xl.fid)
    assert XL2_FIDS[400, 1.0] == xl.fid
