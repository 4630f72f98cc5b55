"""Our grid and the paper's twelve as points of one kind."""

import json

import pytest
import torch

from course_lib import paths
from course_lib.evaluation.scaling import noise_floor
from course_lib.models.dit_variants import ConditionedDiT, ConditionedDiTConfig
from course_lib.recipes import dit_scaling
from course_lib.recipes.dit_conditioning import mega_macs
from course_lib.recipes.dit_grid import MEMBERS, UNET


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Results of every training, each with a loss of its own."""
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    for k, recipe in enumerate([*MEMBERS.values(), UNET]):
        metrics = {"loss": 0.1 + k, "mega_macs": 10.0 + k, "parameters": 1e6 * (1 + k)}
        content = {
            "metrics": {n: {"value": v, "low": v, "high": v} for n, v in metrics.items()},
            "history": [
                {"step": step, "loss": loss}
                for step, loss in ((500, 9.0), (1000, 8.0), (1500, 8.0 - k))
            ],
        }
        recipe.results.write_text(json.dumps(content), encoding="utf-8")


def test_each_cell_of_the_grid_is_read_from_its_own_training(made):
    points = {point.name: point for point in dit_scaling.ours()}
    assert list(points) == [f"{dim}/{p}" for dim in (64, 128, 256) for p in (4, 8, 16)]
    assert [p.score for p in points.values()] == pytest.approx([0.1 + k for k in range(9)])
    assert [points[f"64/{p}"].num_tokens for p in (4, 8, 16)] == [64, 16, 4]
    unet = dit_scaling.unet()
    assert (unet.score, unet.mega_macs, unet.mega_parameters) == pytest.approx((9.1, 19, 10))
    assert unet.num_tokens is None


def test_the_late_fall_is_that_of_the_last_third(made):
    falls = list(dit_scaling.late_falls().values())
    assert falls == pytest.approx([k / 8 for k in range(9)])


def test_networks_of_equal_work_cost_about_the_same():
    gflops = [p.mega_macs for p in dit_scaling.paper() if p.name in dit_scaling.EQUAL_WORK["paper"]]
    macs = []
    for name in dit_scaling.EQUAL_WORK["ours"]:
        dim, patch_size = map(int, name.split("/"))
        recipe = MEMBERS[dim, patch_size]
        with torch.device("meta"):
            macs.append(mega_macs(recipe.build(recipe.small.model)))
    for row in (gflops, macs):
        assert len(row) > 2
        assert max(row) < 1.5 * min(row)


@pytest.mark.parametrize(("dim", "floor"), [(4, 0.75), (8, 0.5), (16, 0), (32, 0)])
def test_no_weights_put_the_loss_below_its_floor(dim, floor):
    """Answers of one patch lie in `dim` directions: noise off them is missed by any network."""
    config = ConditionedDiTConfig(
        size=8, patch_size=4, dim=dim, depth=1, num_heads=2, num_classes=3
    )
    model = ConditionedDiT(config)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=draws))
        x = torch.randn(400, 1, 8, 8, generator=draws)
        t = torch.randint(1000, (400,), generator=draws)
        answers = model(x, t, t % 4)[:, 0, :4, :4].flatten(1)
    rank = int(torch.linalg.matrix_rank(answers - answers[0]))
    assert rank == min(dim, 16)
    assert noise_floor(dim, 16) == 1 - rank / 16 == floor


def test_a_floor_needs_a_width():
    with pytest.raises(ValueError, match="dim is 0"):
        noise_floor(0, 16)


def test_no_training_came_below_its_floor():
    """Two of the nine stand on it: what their losses say is their width."""
    near = []
    for network in dit_scaling.ours():
        dim, patch_size = map(int, network.name.split("/"))
        floor = noise_floor(dim, patch_size**2)
        assert network.score > floor
        if floor and network.score < 1.1 * floor:
            near.append(network.name)
    assert near == ["64/16", "128/16"]
