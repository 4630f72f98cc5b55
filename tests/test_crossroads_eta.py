"""Eta at the crossroads: equal starts, exact walks, and errors that fresh noise repairs."""

import math

import pytest
import torch

from course_lib.data.crossroads import BASE, TWICE
from course_lib.evaluation import futures as judge
from course_lib.methods.diffusion import Denoised
from course_lib.recipes import crossroads_eta as module
from course_lib.recipes.crossroads_diffusion import DIFFUSION, SCHEDULE, predictor, world

FEW = judge.Protocol(contexts_per_cue=1, num_samples=8)
EVEN = torch.full((3,), 1 / 3, dtype=torch.float64)


@pytest.fixture(scope="module")
def futures():
    """Those of a 4: left, straight, right with .6, .3, .1."""
    held_out = world(BASE, "test")
    return held_out.futures(int((held_out.digits.labels == 4).nonzero()[0]), 4)


def test_a_future_in_a_few_numbers_is_judged_as_in_all_its_pixels(futures):
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(5, *futures.clips.shape[1:], generator=generator, dtype=torch.float64)
    for alpha_bar in (1e-4, 3e-3, 0.03):
        clips = futures.clips.double()
        gaps = (x_t[:, None] - math.sqrt(alpha_bar) * clips).flatten(2).square().sum(-1)
        logits = futures.probs.log() - gaps / (2 * (1 - alpha_bar))
        small = module.essence(futures)
        basis = torch.linalg.pinv(clips.flatten(1)) @ small.clips.flatten(1)
        found = small.posterior((x_t.flatten(1) @ basis)[..., None, None, None], alpha_bar)
        torch.testing.assert_close(found, logits.softmax(-1), atol=1e-9, rtol=1e-9)


def test_where_all_is_noise_a_planted_error_is_gone_and_where_little_is_it_stays(futures):
    allowed = 4 * 0.5 / module.PLANTED_SAMPLES**0.5
    for how in module.ETAS.values():
        assert (module.planted(futures, EVEN, 999, **how) - futures.probs).abs().max() < allowed
        assert (module.planted(futures, EVEN, 199, **how) - EVEN).abs().max() < allowed


def test_fresh_noise_repairs_more_of_an_error_than_none(futures):
    left = [
        (module.planted(futures, EVEN, 899, eta=eta) - futures.probs).abs().sum() / 2
        for eta in (0.0, 0.5, 1.0)
    ]
    assert left[0] > left[1] + 0.005 > left[2] + 0.01


@pytest.mark.parametrize("preset", [BASE, TWICE])
def test_the_exact_denoiser_draws_futures_and_no_others(preset):
    for how in (module.ETAS["0"], module.ETAS["hat"]):
        scores = module.score_cell(preset, FEW, module.of_truth, 10, **how)
        assert [score.cue for score in scores] == [0, 1, 2, 3, 4]
        assert all(score.valid == 1 and score.forbidden == 0 for score in scores)


def test_every_eta_starts_from_the_same_noise_in_the_same_contexts():
    seen = {}
    for eta, how in module.ETAS.items():
        starts = seen.setdefault(eta, [])

        def make(futures, starts=starts):
            def denoise(x_t, t):
                if t[0] == SCHEDULE.num_timesteps - 1:
                    starts.append((x_t, futures.context))
                return Denoised(torch.zeros_like(x_t), x_t)

            return denoise

        module.score_cell(BASE, FEW, make, 2, **how)
    assert len({x_t.sum().item() for x_t, _ in seen["0"]}) == 5  # another start in each context
    for eta in module.ETAS:
        for (x_t, context), (first, past) in zip(seen[eta], seen["0"], strict=True):
            assert torch.equal(x_t, first)
            assert torch.equal(context, past)


def test_the_added_noise_is_not_the_start_again():
    seen = []

    def denoise(x_t, t):
        seen.append(x_t.flatten())
        return Denoised(torch.zeros_like(x_t), x_t)

    module.score_cell(BASE, FEW, lambda futures: denoise, 2, eta=1.0)
    for start, after in zip(seen[::2], seen[1::2], strict=True):
        assert abs(torch.corrcoef(torch.stack([start, after]))[0, 1]) < 0.99


def test_the_network_is_asked_as_its_predictor_asks_it(futures):
    model = DIFFUSION._build(DIFFUSION.small).eval()
    x_T = module.start(futures, 2, seed=0)
    context = futures.context.expand(2, -1, -1, -1, -1)
    *_, final = predictor(model, num_steps=3, eta=0.0).steps(context, x_T)
    found = module.walk(module.of_network(model, futures), x_T, 3, 0, eta=0.0)
    torch.testing.assert_close(found, final.x_prev, atol=0.02, rtol=0)


def test_a_gain_compares_context_with_context():
    def scores(values):
        return [
            judge.ContextScore(cue, False, 1.0, 0.0, (), value, 0.1, 0.0, 0.0)
            for cue, value in enumerate(values)
        ]

    gain = module.gain(scores([0.5, 0.2, 0.3]), scores([0.1, 0.2, 0.6]))
    assert gain.value == pytest.approx((0.4 + 0 - 0.3) / 3)
    assert gain.low == pytest.approx(gain.value) == gain.high  # one context a cue cannot be redrawn


def test_a_part_names_all_its_cells_and_the_floor(monkeypatch):
    monkeypatch.setattr(module, "PROTOCOLS", {"base": judge.Protocol(1, 4)})
    found = module.ETA.parts["base_exact_5"]()
    endings = {f"base_exact_{eta}_5" for eta in ("0", "05", "1", "hat")}
    kinds = ("valid", "forbidden", "total_variation")
    assert set(found) == {
        "floor_base",
        *(f"{kind}_{ending}" for kind in kinds for ending in endings),
        *(f"gain_{ending}" for ending in endings - {"base_exact_0_5"}),
    }
    assert found["valid_base_exact_1_5"].value == 1
    none, full = (found[f"total_variation_base_exact_{eta}_5"].value for eta in ("0", "1"))
    assert none != full
    assert found["gain_base_exact_1_5"].value == pytest.approx(none - full)
