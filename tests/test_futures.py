import dataclasses
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from test_crossroads import TABLE

from course_lib.data.crossroads import BASE, LONG, TWICE, Crossroads
from course_lib.data.digits import Digits, load_digits
from course_lib.data.futures import Futures
from course_lib.evaluation import futures as judging
from course_lib.evaluation.futures import FULL, QUICK, Protocol, judge

PER_CUE = 6
AMBIGUOUS = {"base": (1, 2, 3, 4), "twice": (0, 1, 2, 3, 4)}
CUES = [(0, 6), (4, 9), (3, 5), (1, 7), (2, 8)]


def worlds_of(preset) -> Crossroads:
    test = load_digits("test")
    chosen = [
        n for cue in CUES for n in [n for n in range(200) if int(test.labels[n]) in cue][:PER_CUE]
    ]
    return Crossroads(Digits(test.images[chosen], test.labels[chosen]), preset)


@pytest.fixture(scope="module")
def base() -> Crossroads:
    return worlds_of(BASE)


@pytest.fixture(scope="module")
def twice() -> Crossroads:
    return worlds_of(TWICE)


class Knowing:
    """A predictor that recognises its context and answers by a rule on the true futures."""

    def __init__(self, world: Crossroads, rule: Callable):
        self.rule = rule
        self.known = {}
        for index in range(len(world.digits)):
            for arrival in world.preset.arrivals:
                futures = world.futures(index, arrival, include_impossible=True)
                self.known[futures.context.numpy().tobytes()] = futures

    def __call__(self, context, horizon, *, generator=None):
        futures = self.known[context[0].numpy().tobytes()]
        assert horizon == futures.clips.shape[1]
        return self.rule(futures, len(context), generator)


def repeat(clip: torch.Tensor, num: int) -> torch.Tensor:
    return clip.expand(num, *clip.shape)


def perfect(futures, num, generator):
    return futures.sample(num, generator=generator)


def likeliest(futures, num, generator):
    return repeat(futures.clips[futures.probs.argmax()], num)


def mean(futures, num, generator):
    return repeat(futures.mean(), num)


def fading(futures, num, generator):
    """A true future whose digit is gone at the end."""
    left = torch.linspace(1, 0, futures.clips.shape[1])[:, None, None, None]
    return futures.background + left * (perfect(futures, num, generator) - futures.background)


def ghosting(futures, num, generator):
    """A true turn with a paler digit walking along another arm."""
    other = futures.clips[(futures.probs.argmax() + len(futures) // 3) % len(futures)]
    ghost = futures.background + 0.6 * (other - futures.background)
    return torch.maximum(likeliest(futures, num, generator), ghost)


def arm_changing(futures, num, generator):
    """The digit jumps to another arm four frames after the junction."""
    clip = likeliest(futures, 1, generator)[0].clone()
    other = futures.clips[(futures.probs.argmax() + len(futures) // 3) % len(futures)]
    jump = futures.turn_step + 4
    clip[jump:] = other[jump:]
    return repeat(clip, num)


def marginal(preset) -> torch.Tensor:
    """P(outcome) when the cue is not looked at, all cues equally likely."""
    total = torch.zeros(3, 2, dtype=torch.float64)
    for cue in CUES:
        turns, returns = TABLE[cue[0]]
        for turn in range(3):
            back = (returns[turn] or 0) if preset.returns else 0
            total[turn] += turns[turn] * torch.tensor([1 - back, back]) / 5
    return total[:, : 1 + preset.returns].flatten()


def cue_blind(preset):
    def rule(futures, num, generator):
        return dataclasses.replace(futures, probs=marginal(preset)).sample(num, generator=generator)

    return rule


def judged(world, rule, num_samples=20, seed=0) -> judging.Judgement:
    protocol = Protocol(PER_CUE, num_samples)
    generator = torch.Generator().manual_seed(seed)
    return judge(Knowing(world, rule), world, protocol, generator=generator)


# What each kind of model gets.


@pytest.mark.parametrize("name", ["base", "twice"])
def test_a_perfect_sampler_is_valid_never_forbidden_and_at_the_floor(name, request):
    found = judged(request.getfixturevalue(name), perfect, num_samples=100)
    assert found.valid.mean == 1
    assert found.forbidden.mean == 0
    variations = torch.tensor([s.total_variation for s in found.scores]).double()
    error = variations.std() / len(variations) ** 0.5
    assert abs(found.total_variation.mean - found.total_variation_floor) < 4 * error
    scores = torch.tensor([s.energy_score - s.energy_score_floor for s in found.scores]).double()
    assert abs(scores.mean()) < 4 * scores.std() / len(scores) ** 0.5


@pytest.mark.parametrize(("preset", "floor"), [(BASE, 0.028), (TWICE, 0.044)])
def test_the_floor_of_the_full_protocol_is_as_described(preset, floor):
    assert (FULL.contexts_per_cue, FULL.num_samples) == (50, 200)
    world = worlds_of(preset)
    floors = [
        judging.perfect_total_variation(world.futures(PER_CUE * cue, 4).probs, FULL.num_samples)
        for cue in range(5)
    ]
    assert sum(floors) / 5 == pytest.approx(floor, abs=5e-4)


def test_the_quick_protocol_judges_a_hundred_contexts_by_fifty_samples():
    assert (5 * QUICK.contexts_per_cue, QUICK.num_samples) == (100, 50)


def test_a_cue_blind_sampler_is_a_third_away_and_does_what_is_forbidden(base):
    found = judged(base, cue_blind(BASE), num_samples=200)
    assert found.total_variation.mean == pytest.approx(0.33, abs=0.02)
    # Forbidden: all but straight for 0 and 6, straight for 2 and 8.
    chance = marginal(BASE)
    forbidden = (1 - chance[1] + chance[1]).item() / 2
    assert found.forbidden.mean == pytest.approx(forbidden, abs=0.05)
    assert found.valid.mean == pytest.approx(1 - 2 / 5 * forbidden, abs=0.03)


@pytest.mark.parametrize("name", ["base", "twice"])
def test_always_the_likeliest_is_valid_but_not_calibrated(name, request):
    world = request.getfixturevalue(name)
    found = judged(world, likeliest)
    assert (found.valid.mean, found.forbidden.mean) == (1, 0)
    missed = [1 - world.futures(PER_CUE * cue, 4).probs.max().item() for cue in range(5)]
    assert found.total_variation.mean == pytest.approx(sum(missed) / 5)
    assert found.energy_score.mean > found.energy_score_floor * 1.2


@pytest.mark.parametrize("rule", [mean, ghosting, arm_changing], ids=lambda r: r.__name__)
@pytest.mark.parametrize("name", ["base", "twice"])
def test_mean_ghost_and_change_of_arm_are_invalid_for_every_ambiguous_cue(rule, name, request):
    for score in judged(request.getfixturevalue(name), rule, num_samples=2).scores:
        if score.cue in AMBIGUOUS[name]:
            assert score.valid == 0


@pytest.mark.parametrize("name", ["base", "twice"])
def test_a_clip_that_fades_is_invalid_for_every_cue(name, request):
    assert judged(request.getfixturevalue(name), fading, num_samples=3).valid.mean == 0


def test_the_mean_of_a_certain_future_is_that_future(base):
    scores = judged(base, mean, num_samples=2).scores
    assert [s.valid for s in scores if s.cue == 0] == [1] * PER_CUE


# Distances.


def brute_distances(sample, clip, background, turn_step):
    """D over the frames from the turn on, and in the worst of all frames, in plain numpy."""
    sample, clip, background = (x.double().numpy() for x in (sample, clip, background))
    wrong = [((x - f) ** 2).sum() for x, f in zip(sample, clip, strict=True)]
    there = [((f - background) ** 2).sum() for f in clip]
    whole = sum(wrong[turn_step:]) / sum(there[turn_step:])
    return whole, max(w / t for w, t in zip(wrong, there, strict=True))


@pytest.mark.parametrize("arrival", [3, 5])
def test_distances_are_those_of_the_definition(twice, arrival):
    futures = twice.futures(PER_CUE, arrival, include_impossible=True)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, *futures.clips.shape[1:], generator=generator)
    samples = futures.clips[[0, 3, 4]] * 0.7 + 0.2 * noise
    whole, worst = judging.distances(samples, futures)
    for n in range(3):
        for k in range(6):
            truth = brute_distances(
                samples[n], futures.clips[k], futures.background, arrival + 1 - 3
            )
            assert (whole[n, k].item(), worst[n, k].item()) == pytest.approx(truth, rel=1e-4)


@pytest.mark.parametrize("preset", [BASE, TWICE, LONG], ids=lambda p: p.name)
def test_the_landmarks_of_distance_are_as_described(preset):
    world = worlds_of(preset)
    for index in range(0, len(world.digits), 2):
        futures = world.futures(index, preset.arrivals[-1], include_impossible=True)
        empty = futures.background.expand_as(futures.clips[0])
        whole, _ = judging.distances(torch.cat([futures.clips, empty[None]]), futures)
        between = whole[:-1] + 9 * torch.eye(len(futures))
        possible = futures.probs > 0
        assert whole[:-1].diagonal().max() < 1e-6
        torch.testing.assert_close(whole[-1], torch.ones(len(futures)))
        assert between.min() > 4 * judging.VALID_DISTANCE  # so no clip is valid for two
        assert between[possible][:, possible].min() > 0.68
        parked = torch.tensor([n for n in range(len(futures)) if not futures.returns[n]])
        other_arms = between[parked][:, parked]
        assert other_arms.min() > 1.1
        assert other_arms[other_arms < 9].max() < 2.1
        if possible.sum() > 1:
            to_mean, _ = judging.distances(futures.mean()[None], futures)
            assert to_mean[:, possible].min() > 0.175


@pytest.mark.parametrize(
    ("early", "late", "last", "is_valid"),
    [
        (0.0, 0.0, 0.0, True),
        (0.0, 0.14, 0.14, True),
        (0.0, 0.16, 0.16, False),  # D
        (0.0, 0.05, 0.38, True),
        (0.0, 0.05, 0.42, False),  # one frame
        (0.38, 0.14, 0.14, True),  # D counts from the turn on
        (0.42, 0.0, 0.0, False),  # a frame before the turn
    ],
)
def test_valid_is_a_limit_on_the_whole_and_on_every_single_frame(
    twice, early, late, last, is_valid
):
    futures = twice.futures(PER_CUE, 5, include_impossible=True)
    clip = futures.clips[0]
    error = torch.full((14, 1, 1, 1), late)
    error[:3], error[-1] = early, last
    sample = clip + error.sqrt() * (clip - futures.background)  # D = error in every frame
    score = judging.score_context(repeat(sample, 2), futures, cue=1)
    assert score.valid == is_valid


# Counting.


def test_frequencies_and_rates_count_what_the_samples_show(twice):
    futures = twice.futures(0, 4, include_impossible=True)  # a 0 or 6: straight, may come back
    clips = futures.clips
    broken = 0.5 * clips[2] + 0.5 * futures.background
    samples = torch.stack([clips[2], clips[2], clips[3], clips[0], broken])
    score = judging.score_context(samples, futures, cue=0)
    assert score.frequencies == pytest.approx((0.2, 0, 0.6, 0.2, 0, 0))
    assert score.valid == pytest.approx(0.6)
    assert score.forbidden == pytest.approx(0.2)
    assert score.total_variation == pytest.approx((0.2 + 0.1 + 0.3) / 2)
    assert score.can_be_forbidden


def test_forbidden_is_stated_over_the_cues_that_can_produce_it(base):
    def first_arm(futures, num, generator):
        return repeat(futures.clips[0], num)  # left: impossible for 0 and 6 alone

    found = judged(base, first_arm, num_samples=2)
    assert {s.cue for s in found.scores if s.can_be_forbidden} == {0, 4}
    assert found.forbidden.mean == 0.5
    assert found.valid.mean == 0.8


def test_three_and_five_can_do_everything_in_twice(twice):
    found = judged(twice, likeliest, num_samples=2)
    assert {s.cue for s in found.scores if not s.can_be_forbidden} == {2}


@pytest.mark.parametrize("probs", [[0.6, 0.3, 0.1], [0.5, 0.5], [1 / 3] * 3, [0.25, 0.75], [1.0]])
@pytest.mark.parametrize("num", [1, 7, 20])
def test_the_floor_is_the_sum_over_all_outcomes_of_the_draw(probs, num):
    deviation = 0.0
    for p in probs:
        for hits in range(num + 1):
            chance = math.comb(num, hits) * p**hits * (1 - p) ** (num - hits)
            deviation += chance * abs(hits / num - p) / 2
    found = judging.perfect_total_variation(torch.tensor(probs, dtype=torch.float64), num)
    assert found == pytest.approx(deviation, rel=1e-9)


# The energy score.


def tiny_futures(probs) -> Futures:
    clips = torch.rand(len(probs), 2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    zeros = torch.zeros(len(probs))
    probs = torch.tensor(probs, dtype=torch.float64)
    return Futures(clips[0, :1], clips, probs, zeros.long(), zeros.bool(), clips[0, 0] * 0, 0)


def test_the_energy_score_is_its_definition_over_all_pairs():
    futures = tiny_futures([0.5, 0.3, 0.2])
    samples = torch.rand(5, 2, 1, 3, 3, generator=torch.Generator().manual_seed(1))

    def rms(a, b):
        return math.sqrt(float(np.mean((a.double().numpy() - b.double().numpy()) ** 2)))

    known = list(zip([0.5, 0.3, 0.2], futures.clips, strict=True))
    to_truth = sum(p * rms(x, f) / 5 for x in samples for p, f in known)
    pairs = [rms(samples[i], samples[j]) for i in range(5) for j in range(5) if i != j]
    truth = to_truth - sum(pairs) / 20 / 2
    assert judging.energy_score(samples, futures) == pytest.approx(truth, rel=1e-9)
    floor = sum(p * q * rms(f, g) / 2 for p, f in known for q, g in known)
    assert judging.perfect_energy_score(futures) == pytest.approx(floor, rel=1e-9)


def test_no_other_frequencies_score_better_in_expectation_than_the_true_ones():
    truth = tiny_futures([0.5, 0.3, 0.2])
    many = 400
    best = judging.perfect_energy_score(truth)
    for wrong in ([1.0, 0.0, 0.0], [0.3, 0.3, 0.4], [0.34, 0.33, 0.33], [0.6, 0.4, 0.0]):
        counts = torch.tensor([round(w * many) for w in wrong])
        samples = truth.clips.repeat_interleave(counts, 0)
        assert judging.energy_score(samples, truth) > best
    alike = truth.clips.repeat_interleave(torch.tensor([200, 120, 80]), 0)
    # A deck in the exact proportions has a little too much spread: 1 / (N - 1).
    assert judging.energy_score(alike, truth) == pytest.approx(best * (1 - 1 / (many - 1)))


def test_the_energy_score_of_one_sample_is_refused():
    futures = tiny_futures([0.5, 0.5])
    with pytest.raises(ValueError, match="1 sample; the energy score needs at least 2"):
        judging.energy_score(futures.clips[:1], futures)


# Deterministic predictors.


def test_excess_is_zero_for_the_mean_and_as_described_for_the_likeliest(base):
    for index in range(PER_CUE, 3 * PER_CUE):  # .6 .3 .1
        futures = base.futures(index, 4)
        assert judging.excess(futures.mean(), futures) == pytest.approx(0, abs=1e-10)
        guess = futures.clips[futures.probs.argmax()]
        assert 0.4 < judging.excess(guess, futures) < 0.53
        start = futures.turn_step
        mean = sum(p * f.double() for p, f in zip(futures.probs, futures.clips, strict=True))
        least = sum(
            p * (f.double() - mean)[start:].square().sum()
            for p, f in zip(futures.probs, futures.clips, strict=True)
        )
        truth = (guess.double() - mean)[start:].square().sum() / least
        assert judging.excess(guess, futures) == pytest.approx(truth.item(), rel=1e-5)
        assert 0.9 < judging.excess(futures.background.expand_as(guess), futures) < 1.3


def test_excess_counts_no_frame_before_the_turn(base):
    futures = base.futures(PER_CUE, 5)
    guess = futures.mean().clone()
    guess[: futures.turn_step] = 0
    assert judging.excess(guess, futures) == pytest.approx(0, abs=1e-10)


def test_excess_over_nothing_is_refused(base):
    futures = base.futures(0, 4)
    with pytest.raises(ValueError, match="excess needs an ambiguous future"):
        judging.excess(futures.mean(), futures)


# Intervals.


def test_the_bootstrap_interval_of_a_normal_mean_is_its_textbook_width():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).double() + 3
    found = judging.bootstrap(values, torch.zeros(400, dtype=torch.int64))
    half = 1.96 * values.std().item() / 20
    assert found.mean == pytest.approx(values.mean().item())
    assert found.mean - found.low == pytest.approx(half, rel=0.1)
    assert found.high - found.mean == pytest.approx(half, rel=0.1)


def test_contexts_are_redrawn_within_their_cue():
    cues = torch.arange(3).repeat_interleave(10)
    found = judging.bootstrap(cues.double(), cues)
    assert (found.low, found.mean, found.high) == (1, 1, 1)


def test_intervals_surround_their_means(twice):
    found = judged(twice, cue_blind(TWICE), num_samples=10)
    for name in ("valid", "forbidden", "total_variation", "energy_score"):
        estimate = getattr(found, name)
        assert estimate.low < estimate.mean < estimate.high


# The protocol.


def test_contexts_are_equally_many_of_each_cue_and_no_digit_comes_twice(twice):
    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return judging.draw_contexts(twice, Protocol(4, 1), generator=generator)

    contexts = drawn(0)
    assert [index // PER_CUE for index, _ in contexts] == [c for c in range(5) for _ in range(4)]
    assert len({index for index, _ in contexts}) == 20
    assert {arrival for _, arrival in contexts} == {3, 4, 5}
    assert contexts == drawn(0) != drawn(1)
    assert {index for seed in range(12) for index, _ in drawn(seed)} == set(range(5 * PER_CUE))


def test_too_few_digits_of_a_cue_are_named(twice):
    with pytest.raises(ValueError, match=r"6 digits of cue \(0, 6\); the protocol needs 7"):
        judging.draw_contexts(twice, Protocol(7, 1))


def test_equal_seeds_judge_equally_and_leave_the_global_generator_alone(base):
    before = torch.get_rng_state()
    assert judged(base, perfect, 5, seed=3) == judged(base, perfect, 5, seed=3)
    assert judged(base, perfect, 5, seed=3) != judged(base, perfect, 5, seed=4)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_judgement_is_ready_for_json(base):
    found = judged(base, perfect, 3)
    stored = json.loads(json.dumps(dataclasses.asdict(found)))
    assert stored["valid"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert len(stored["scores"]) == 5 * PER_CUE


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x[:, :-1], r"shape \(3, 8, 1, 32, 32\); \(3, 9, 1, 32, 32\) was asked"),
        (lambda x: x[:2], r"shape \(2, 9, 1, 32, 32\); \(3, 9, 1, 32, 32\) was asked"),
        (lambda x: x * math.nan, "NaN or infinite"),
    ],
)
def test_a_prediction_that_cannot_be_judged_is_refused(base, spoil, message):
    with pytest.raises(ValueError, match=message):
        judged(base, lambda *arguments: spoil(perfect(*arguments)), 3)
