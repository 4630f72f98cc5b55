"""The recipes of chapter 0: how nearness to the mean is measured, and what ships."""

import json
from dataclasses import replace

import pytest
import torch

from course_lib import paths
from course_lib.data.crossroads import CUES, TURNS, Crossroads
from course_lib.data.digits import load_digits
from course_lib.evaluation.futures import Protocol, draw_contexts
from course_lib.recipes import chapter0
from course_lib.recipes.chapter0 import LIVE, PREDICTOR, make_exam

EXAM = make_exam(3)


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def shipped_results(name):
    return json.loads((paths.RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def drawn_contexts():
    """(digit, arrival) of the exam's contexts: the certain cue comes first and is left out."""
    world = Crossroads(load_digits("test"))
    generator = make_generator(chapter0.EXAM_SEED)
    return world, draw_contexts(world, Protocol(3, 1), generator=generator)[3:]


def clips_of(number):
    """((probability, clip) of every turn, first step that shows it) of one context."""
    world, contexts = drawn_contexts()
    index, arrival = contexts[number]
    assert torch.equal(world.clip(index, arrival, "left")[:3], EXAM.context[number])
    label = int(world.digits.labels[index])
    probs = next(cue.turn_probs for cue in CUES if label in cue.digits)
    clips = [world.clip(index, arrival, turn)[3:].double() for turn in TURNS]
    return list(zip(probs, clips, strict=True)), arrival + 1 - 3


def excess_by_hand(prediction, number):
    """(|f - m|^2, MMSE) summed over frames after the turn and all pixels."""
    futures, start = clips_of(number)
    mean = sum(p * clip for p, clip in futures)
    least = sum(p * (clip - mean)[start:].square().sum() for p, clip in futures)
    return (prediction.double() - mean)[start:].square().sum(), least


@pytest.fixture(scope="module")
def by_hand():
    """Numerators and denominators of a random prediction for every second context."""
    noise = torch.rand(EXAM.mean.shape, generator=make_generator()) * 2 - 1
    chosen = range(0, len(EXAM.futures), 2)
    return noise, list(chosen), [excess_by_hand(noise[n], n) for n in chosen]


def test_errors_and_least_errors_are_the_sums_written_out(by_hand):
    noise, chosen, expected = by_hand
    pixels = 32 * 32
    errors, least = EXAM.errors(noise, EXAM.mean)[chosen], EXAM.least()[chosen]
    torch.testing.assert_close(
        errors * pixels, torch.stack([e for e, _ in expected]), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(
        least * pixels, torch.stack([v for _, v in expected]), rtol=1e-5, atol=0
    )


def test_the_exam_holds_every_ambiguous_cue_equally_often_and_no_certain_one():
    certain = [n for n, cue in enumerate(CUES) if max(cue.turn_probs) == 1]
    counts = torch.bincount(EXAM.cue, minlength=len(CUES)).tolist()
    assert counts == [0 if n in certain else 3 for n in range(len(CUES))]


def test_the_excess_is_a_ratio_of_sums_and_zero_for_the_mean():
    assert chapter0.measured_excess(EXAM.mean, EXAM).value == 0
    prediction = chapter0.likeliest(EXAM)
    errors, least = EXAM.errors(prediction, EXAM.mean), EXAM.least()
    measured = chapter0.measured_excess(prediction, EXAM)
    assert measured.value == pytest.approx(float(errors.sum()) / float(least.sum()))


def test_frames_before_the_turn_do_not_count():
    prediction = EXAM.mean.clone()
    prediction[~EXAM.after] = 0
    assert chapter0.measured_excess(prediction, EXAM).value == 0
    prediction = EXAM.mean.clone()
    for clip, after in zip(prediction, EXAM.after, strict=True):
        clip[int(after.nonzero()[0])] = 0  # the first frame that shows the turn
    assert (EXAM.errors(prediction, EXAM.mean) > 0).all()


def test_the_untrained_predictors_score_what_their_probabilities_say():
    # Far from the junction the arms do not overlap; there |f - m|^2 / MMSE follows from p alone.
    last = replace(EXAM, after=torch.zeros_like(EXAM.after))
    last.after[:, -1] = True
    energy = torch.tensor(
        [float((f.clips[0, -1] - f.background).double().square().sum()) for f in EXAM.futures]
    ).double()
    probs = torch.stack([f.probs for f in EXAM.futures])
    blind = torch.tensor([cue.turn_probs for cue in CUES]).double().mean(0)
    best = torch.nn.functional.one_hot(probs.argmax(1), 3)
    for predict, weights in (
        (chapter0.likeliest, best),
        (chapter0.empty_road, torch.zeros(3)),
        (chapter0.blind_blur, blind),
    ):
        expected = ((probs - weights).square().sum(1) * energy).sum()
        expected = expected / ((1 - probs.square().sum(1)) * energy).sum()
        measured = chapter0.measured_excess(predict(EXAM), last)
        assert measured.value == pytest.approx(float(expected), rel=1e-4), predict.__name__


def test_an_interval_redraws_within_the_strata():
    strata = torch.tensor([0, 0, 0, 1, 1, 1])
    below = torch.ones(6).double()
    constant = chapter0.ratio(torch.tensor([1.0, 1, 1, 5, 5, 5]).double(), below, strata)
    assert (constant.low, constant.value, constant.high) == (3, 3, 3)
    above = torch.tensor([0.0, 1, 2, 5, 5, 5]).double()
    varied = chapter0.ratio(above, below, strata)
    assert varied == chapter0.ratio(above, below, strata)
    # Three draws of (0, 1, 2): all sums 0..6, so the mean of six moves between 15/6 and 21/6.
    assert 2.5 <= varied.low < 2.8
    assert 3.2 < varied.high <= 3.5


def test_only_a_possible_future_is_valid():
    clips = torch.stack([f.clips[f.probs.argmax()] for f in EXAM.futures])
    assert chapter0.is_valid(clips, EXAM).all()
    for blur in (EXAM.mean, chapter0.empty_road(EXAM), chapter0.blind_blur(EXAM)):
        assert not chapter0.is_valid(blur, EXAM).any()
    straight = torch.stack([f.clips[1] for f in EXAM.futures])
    possible = torch.tensor([f.probs[1] > 0 for f in EXAM.futures])
    assert not possible.all()
    assert torch.equal(chapter0.is_valid(straight, EXAM), possible)


def test_pythagoras_holds_for_a_predictor_that_does_not_know_the_future():
    exam = make_exam(40)
    for prediction in (exam.mean, chapter0.empty_road(exam), chapter0.likeliest(exam)):
        gap = chapter0.pythagoras_gap(prediction, exam)
        assert abs(gap.value) < 4 * (gap.high - gap.value) / 2
        assert 0 < gap.high - gap.low < 1


def test_pythagoras_fails_for_one_who_has_seen_the_future():
    exam = make_exam(40)
    generator = make_generator(chapter0.EXAM_SEED)
    seen = torch.cat([futures.sample(1, generator=generator) for futures in exam.futures])
    gap = chapter0.pythagoras_gap(seen, exam)
    assert gap.value == pytest.approx(-2, abs=0.3)  # 0 - MMSE - |x - m|^2
    assert gap.high < 0


def test_a_batch_continues_train_digits_and_is_equal_for_equal_seeds():
    batch = chapter0.draw(LIVE, make_generator(3))
    assert batch["context"].shape == (LIVE.batch_size, 3, 1, 32, 32)
    assert batch["future"].shape == (LIVE.batch_size, 9, 1, 32, 32)
    again, other = chapter0.draw(LIVE, make_generator(3)), chapter0.draw(LIVE, make_generator(4))
    assert torch.equal(batch["future"], again["future"])
    assert not torch.equal(batch["context"], other["context"])
    of_train_digits = Crossroads(load_digits("train")).sample(8, generator=make_generator(3)).video
    assert torch.equal(torch.cat([batch["context"], batch["future"]], dim=1), of_train_digits)


def test_the_loss_is_the_squared_error_of_the_one_future_that_happened():
    batch = chapter0.draw(replace(LIVE, batch_size=2), make_generator())

    class StandStill(torch.nn.Module):
        def forward(self, context, horizon):
            return context[:, -1:].expand(-1, horizon, -1, -1, -1)

    expected = 0.0
    for clip, last in zip(batch["future"], batch["context"][:, -1], strict=True):
        expected += sum(float((frame - last).square().mean()) for frame in clip) / 18
    assert float(chapter0.squared_error(StandStill(), batch, 0)) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("scale", ["small", "full", "live"])
def test_every_size_predicts_nine_frames(scale):
    config = {"small": PREDICTOR.small, "full": PREDICTOR.full, "live": LIVE}[scale]
    model = PREDICTOR.start(config).model
    with torch.no_grad():
        assert model.predict(EXAM.context[:1], EXAM.horizon).shape == (1, 9, 1, 32, 32)


def test_a_live_training_moves():
    config = replace(LIVE, steps=6, batch_size=4)
    state = PREDICTOR.start(config)
    losses = [float(step.loss) for step in PREDICTOR.train_steps(state, config)]
    assert len(losses) == 6
    assert losses[-1] < losses[0]


def test_the_shipped_predictor_is_near_the_mean_and_what_its_results_say():
    measured = chapter0.evaluate(PREDICTOR.load(), PREDICTOR.small)
    results = shipped_results(PREDICTOR.name)
    for name, metric in measured.items():
        assert metric.value == pytest.approx(results["metrics"][name]["value"], abs=2e-3), name
    assert measured["excess"].value <= 0.15
    assert measured["valid"].value < 0.01
    assert measured["pythagoras_gap"].low <= 0 <= measured["pythagoras_gap"].high
    curve = [point["excess"] for point in results["history"]]
    assert curve[-1] < 0.5 * curve[0]
