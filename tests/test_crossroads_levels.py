"""Walks that stop elsewhere: the placement, the exact ends, and when a turn is settled."""

from dataclasses import replace

import pytest
import torch

from course_lib.data.crossroads import BASE
from course_lib.evaluation import futures as judge
from course_lib.methods import noise
from course_lib.methods.diffusion import Denoised
from course_lib.recipes import crossroads_levels as levels
from course_lib.recipes.crossroads_diffusion import SCHEDULE, world


@pytest.fixture(scope="module")
def four():
    held_out = world(BASE, "test")
    return held_out.futures(held_out.digits.labels.tolist().index(4), arrival=4)


def log_snr(schedule, t):
    bar = (1 - schedule.betas).prod() if t is None else schedule.alphas_cumprod[t]
    return (bar / (1 - bar)).log().item()


def test_its_own_schedule_stops_where_it_always_does():
    assert levels.placed(SCHEDULE, 5) == [999, 799, 599, 399, 199]
    assert levels.placed(SCHEDULE, 1000) == list(range(999, -1, -1))


@pytest.mark.parametrize("other", [noise.cosine(), noise.linear()])
@pytest.mark.parametrize("num_steps", [1, 5, 40])
def test_a_walk_stops_at_the_other_schedules_levels(other, num_steps):
    found = levels.placed(other, num_steps)
    stops = [(i * 1000) // num_steps - 1 for i in range(num_steps, 0, -1)]
    assert len(found) == num_steps
    for t, stop in zip(found, stops, strict=True):
        wanted = log_snr(other, stop)
        if not 6 > wanted > -12:  # beyond the ends of our schedule, or where its steps are wide
            continue
        neighbours = [log_snr(SCHEDULE, s) for s in (t + 1, t - 1) if 0 <= s < 1000]
        off = abs(log_snr(SCHEDULE, t) - wanted)
        assert all(off <= abs(level - wanted) for level in neighbours)


def test_stops_stay_apart_where_the_schedule_ends():
    found = levels.placed(noise.linear(), 500)
    assert len(found) == 500
    assert all(a > b for a, b in zip(found, [*found[1:], -1], strict=True))


def test_many_steps_of_the_exact_denoiser_end_in_the_true_shares(four):
    generator = torch.Generator().manual_seed(0)
    ends = levels.ends_of_exact_walks(
        four, levels.placed(SCHEDULE, 80), num_walks=4000, generator=generator
    )
    assert torch.allclose(ends, four.probs, atol=0.03)


def test_one_jump_ends_in_the_likeliest_future_always(four):
    ends = levels.ends_of_exact_walks(four, [999], num_walks=50)
    assert ends.tolist() == [1, 0, 0]


def test_few_steps_by_the_plain_cosine_favour_the_likeliest(four):
    generator = torch.Generator().manual_seed(0)
    hurried, patient = (
        levels.ends_of_exact_walks(four, levels.placed(schedule, 5), generator=generator)[0]
        for schedule in (noise.cosine(), SCHEDULE)
    )
    assert hurried > 0.85
    assert patient < 0.75


def test_the_exact_denoiser_is_judged_faultless():
    scores = levels.judged(levels.of_truth, levels.placed(SCHEDULE, 12), judge.Protocol(1, 6))
    assert [score.cue for score in scores] == [1, 2]
    assert all(score.valid == 1 for score in scores)


def test_the_likeliest_turn_is_left_for_a_four_and_right_for_a_three():
    always = levels.judged(levels.of_truth, [999], judge.Protocol(1, 3))  # one jump to the mean
    assert [score.frequencies for score in always] == [(1, 0, 0), (0, 0, 1)]
    assert [levels.likeliest(score) for score in always] == [1, 1]


def follows(futures, script):
    """A denoiser that names one future after another, whatever it is shown."""
    calls = iter(script)

    def denoise(x_t, t):
        x0_hat = futures.clips[next(calls)].expand(len(x_t), -1, -1, -1, -1)
        return Denoised(x0_hat, torch.zeros_like(x_t))

    return lambda _: denoise


@pytest.mark.parametrize(
    ("script", "there"),
    [
        ([0, 0, 1, 1], [False, False, True, True]),
        ([1, 0, 1, 1], [False, False, True, True]),
        ([2, 2, 2, 2], [True, True, True, True]),
    ],
)
def test_a_walk_is_settled_from_where_its_guess_stays(four, script, there):
    found = levels.settled(follows(four, script), [four], num_walks=3, num_steps=4)
    assert found.there.tolist() == [[here] * 3 for here in there]
    assert (found.log_snr.diff() > 0).all()
    assert found.levels().tolist() == [found.log_snr[there.index(True)].item()] * 3


def test_walks_that_end_in_the_likeliest_turn_do_not_count(four):
    found = levels.settled(follows(four, [1, 1, 0]), [four], num_walks=3, num_steps=3)
    assert found.there.shape == (3, 0)


def test_the_likeliest_turn_is_found_wherever_it_stands(four):
    turned = replace(four, probs=four.probs.flip(0))
    found = levels.settled(follows(turned, [0, 0, 0]), [turned], num_walks=2, num_steps=3)
    assert found.there.shape == (3, 2)


def test_contexts_of_a_protocol_are_the_same_each_time_and_have_unequal_turns():
    first, second = (list(levels.contexts(judge.Protocol(2, 2))) for _ in range(2))
    assert [cue for cue, _ in first] == [1, 1, 2, 2]
    assert all(torch.equal(a.clips, b.clips) for (_, a), (_, b) in zip(first, second, strict=True))
    assert all(sorted(futures.probs.tolist()) == [0.1, 0.3, 0.6] for _, futures in first)
