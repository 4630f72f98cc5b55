"""The scoreboard: references that score what they must, equal contexts, blocks, costs."""

import json
from dataclasses import replace

import pytest
import torch

from course_lib import paths
from course_lib.data.crossroads import TWICE
from course_lib.evaluation import futures as judge
from course_lib.recipes import scoreboard as module
from course_lib.recipes.crossroads_diffusion import world
from course_lib.recipes.scoreboard import CONTESTANTS, Contestant, score

FEW = judge.Protocol(contexts_per_cue=2, num_samples=40)
REFERENCES = [name for name, each in CONTESTANTS.items() if each.knows is not None]


@pytest.fixture(scope="module")
def judged():
    """Every reference, judged."""
    held_out = world(TWICE, "test")
    return {name: score(CONTESTANTS[name], held_out, FEW) for name in REFERENCES}


def test_true_futures_are_valid_and_score_at_every_floor(judged):
    found, excess = judged["truth"]
    assert found.valid.mean == 1
    assert found.forbidden.mean == 0
    assert found.total_variation.mean == pytest.approx(found.total_variation_floor, abs=0.04)
    assert found.energy_score.mean == pytest.approx(found.energy_score_floor, rel=0.1)
    assert excess.value == pytest.approx(1 / FEW.num_samples, rel=0.6)


def test_the_exact_mean_has_no_excess_and_is_never_a_future(judged):
    found, excess = judged["mean"]
    assert excess.value == pytest.approx(0, abs=1e-9)
    assert found.valid.mean == found.forbidden.mean == 0
    assert found.energy_score.mean > found.energy_score_floor


def test_the_likeliest_future_is_always_valid_and_farther_from_the_mean_than_the_mmse_is_not(
    judged,
):
    found, excess = judged["likeliest"]
    assert found.valid.mean == 1
    assert found.forbidden.mean == 0
    assert excess.value > 0
    # One future takes all draws: what is missing is the chance of the others.
    held_out = world(TWICE, "test")
    others = [1 - f.probs.max().item() for f, _ in module.contexts(held_out, FEW)]
    assert found.total_variation.mean == pytest.approx(sum(others) / len(others))


def test_neither_a_still_digit_nor_an_empty_road_is_a_future(judged):
    for name in ("copy_last", "empty_road"):
        found, excess = judged[name]
        assert found.valid.mean == 0
        assert excess.value > 0.5


def test_the_excess_is_that_of_chapter_0_which_divides_sums_over_contexts(judged):
    above, below = torch.zeros(2, dtype=torch.float64)
    for futures, _ in module.contexts(world(TWICE, "test"), FEW):
        after = slice(futures.turn_step, None)
        gap = (futures.background - futures.mean())[after].double().square().mean((1, 2, 3))
        above, below = above + gap.sum(), below + futures.mmse()[after].sum()
    assert judged["empty_road"][1].value == pytest.approx((above / below).item())


def test_every_predictor_sees_the_same_contexts_and_only_the_context():
    asked = []

    def still(context, horizon, *, generator=None):
        asked.append(context)
        torch.rand(len(asked), generator=generator)  # draws another number each time
        return context[:, -1:].expand(-1, horizon, -1, -1, -1)

    protocol = judge.Protocol(1, 3)
    learned = Contestant("still", "nothing", load=lambda: still)
    once = replace(learned, draws=False)
    first, _ = score(learned, world(TWICE, "test"), protocol)
    second, _ = score(once, world(TWICE, "test"), protocol)
    assert [len(context) for context in asked] == [3] * 5 + [1] * 5
    for many, one in zip(asked[:5], asked[5:], strict=True):
        assert many.shape[1] == TWICE.context
        assert torch.equal(many[:1], one)
    assert (
        first.scores
        == second.scores
        == score(CONTESTANTS["copy_last"], *[world(TWICE, "test"), protocol])[0].scores
    )


def test_one_with_nothing_to_predict_with_is_refused():
    with pytest.raises(ValueError, match="nobody has nothing to predict with"):
        score(Contestant("nobody", "nothing"), world(TWICE, "test"), judge.Protocol(1, 2))


@pytest.mark.parametrize("name", ["convlstm", "svg_lp", "videogan", "far", "nar"])
def test_the_networks_of_older_chapters_reach_the_horizon(name):
    contestant = CONTESTANTS[name]
    futures, _ = next(module.contexts(world(TWICE, "test"), judge.Protocol(1, 1)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        clips = contestant.predict(futures, 2, generator)
    assert clips.shape == (2, TWICE.horizon, 1, 32, 32)
    assert clips.isfinite().all()
    assert torch.equal(clips[0], clips[1]) == (name in ("convlstm", "far", "nar"))


def test_a_part_names_its_predictor_and_the_truth_brings_the_floors():
    assert set(module.part("empty_road", judge.Protocol(2, 2))) == {
        f"{key}_empty_road" for key in (*module.JUDGED, "excess")
    }
    floors = {"floor_total_variation", "floor_energy_score", "floor_excess"}
    found = module.part("truth", judge.Protocol(2, 2))
    assert floors <= set(found)
    assert found["floor_excess"].value == 0.5


def test_costs_are_those_of_networks_and_grow_with_the_number_of_calls(monkeypatch):
    weight = torch.ones(32, 32)

    def looped(times):
        def predict(context, horizon, *, generator=None):
            del generator
            frame = context[:, -1:]
            for _ in range(times):
                frame = frame @ weight
            return frame.expand(-1, horizon, -1, -1, -1)

        return Contestant("", "twice", load=lambda: predict)

    fakes = {"truth": CONTESTANTS["truth"], "once": looped(1), "thrice": looped(3)}
    monkeypatch.setattr(module, "CONTESTANTS", fakes)
    monkeypatch.setattr(module.cost, "seconds", lambda call, repeats: float(len(call())))
    found = module.costs(many=2)
    assert set(found) == {
        f"{k}_{n}" for k in ("mega_macs", "ms_one", "ms_many") for n in ("once", "thrice")
    }
    assert found["mega_macs_once"].value == pytest.approx(32**3 / 1e6)
    assert found["mega_macs_thrice"].value == pytest.approx(3 * 32**3 / 1e6)
    assert found["ms_one_once"].value == 1000  # a second for each clip, says the clock above
    assert found["ms_many_once"].value == 1000


def still_first(context, horizon, *, generator=None):
    """The first frame again and again."""
    return context[:, :1].expand(-1, horizon, -1, -1, -1)


def test_the_answers_are_read_as_they_were_drawn(tmp_path, monkeypatch):
    grey = Contestant("grey", "base", load=lambda: still_first)
    monkeypatch.setattr(module, "CONTESTANTS", {"truth": CONTESTANTS["truth"], "grey": grey})
    monkeypatch.setattr(paths, "SHEETS", tmp_path)
    module.answers().save(module.SCOREBOARD.sheet("answers"), lossless=True)
    found = module.read_answers()
    assert list(found) == ["a true future", "grey"]
    held_out = world(TWICE, "test")
    futures = held_out.futures(int((held_out.digits.labels == 4).nonzero()[0]), 4)
    true = torch.cat([futures.context, futures.clips[0]])
    torch.testing.assert_close(found["a true future"], true, atol=0.005, rtol=0)
    first = futures.context[0].expand(TWICE.horizon, -1, -1, -1)
    torch.testing.assert_close(found["grey"][TWICE.context :], first, atol=0.005, rtol=0)


def test_the_results_are_read_row_by_row(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    one = {"value": 0.5, "low": 0.25, "high": 1.0}
    found = {"valid_mean": one, "floor_excess": one, "ms_one_nar": one}
    (tmp_path / "scoreboard.json").write_text(json.dumps({"metrics": found}))
    rows = module.read()
    assert list(rows) == ["floor", *CONTESTANTS]
    assert rows["mean"] == {"valid": (0.5, 0.25, 1.0)}
    assert rows["floor"] == {"excess": (0.5, 0.25, 1.0)}
    assert rows["nar"] == {"ms_one": (0.5, 0.25, 1.0)}


def test_notes_say_of_each_network_where_it_was_trained():
    notes = module.SCOREBOARD.notes["trained_on"]
    for name, contestant in CONTESTANTS.items():
        for recipe in contestant.networks[:1]:
            assert f"crossroads {notes[name]}" in recipe.data
    assert {notes[name] for name in REFERENCES} == {"nothing"}
