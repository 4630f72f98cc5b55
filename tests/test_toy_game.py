import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from course_lib.data.toy import ring, two_bumps
from course_lib.recipes.toy_game import (
    STABLE,
    UNSTABLE,
    Game,
    GameStep,
    Rules,
    Shift,
    heat_map,
    non_saturating,
    play,
    saturating,
    square,
)

RING = ring()
CENTRE = torch.zeros(1, 2)


def num_modes(moment):
    """Modes with ten samples or more within three standard deviations, one after another."""
    covered = 0
    for mode in RING.means.tolist():
        distances = [math.dist(sample, mode) for sample in moment.samples.tolist()]
        covered += sum(distance <= 0.45 for distance in distances) >= 10
    return covered


def coverages(rules, seed):
    game = Game(2, seed=seed)
    moments = play(RING, game, rules, places=CENTRE, seed=seed, rounds=400, every=20)
    return [num_modes(moment) for moment in moments]


def is_collapsed(counts):
    """Few modes at the end, and few all along the second half, a hop between two aside."""
    return counts[-1] <= 2 and sum(counts[10:]) / 10 < 2


def test_one_move_each_covers_the_ring_and_five_against_one_collapse():
    assert coverages(STABLE, seed=0)[-1] == 8
    assert is_collapsed(coverages(UNSTABLE, seed=0))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_other_seeds_end_alike(seed):
    assert coverages(STABLE, seed)[-1] == 8
    assert is_collapsed(coverages(UNSTABLE, seed))


def test_against_a_generator_that_stands_still_the_discriminator_learns_p_over_p_plus_q():
    data, places = two_bumps(3.0), torch.linspace(-3, 3, 25)[:, None]
    game = Game(1, Shift(1.0))
    rules = Rules(generator_moves=0, batch_size=512, learning_rate=2e-3)
    *_, last = play(data, game, rules, places=places, seed=0, rounds=400, every=100)
    p = data.log_prob(places.double()).exp()
    q = Normal(1.0, 1.0).log_prob(places[:, 0].double()).exp()
    assert (last.logits.sigmoid() - p / (p + q)).abs().max() < 0.1
    assert game.generator.mean.item() == 1
    assert math.isnan(last.generator_loss)
    assert last.generator_gradient == 0


def test_the_game_on_a_line_moves_the_generator_towards_the_data():
    game = Game(1, Shift(-3.0))
    data = two_bumps(0.0)
    *_, last = play(data, game, places=torch.zeros(1, 1), seed=0, rounds=200, every=50)
    assert -3 < game.generator.mean.item() < 3.5
    assert last.samples.mean() > -2.5
    assert last.step == 200


@pytest.mark.parametrize("losses", [non_saturating, saturating])
def test_a_step_reports_the_losses_that_it_was_given(losses):
    game = Game(2)
    with torch.no_grad():
        for network in (game.discriminator, game.generator):
            network[-1].weight.zero_()
            network[-1].bias.zero_()
    first = next(play(RING, game, places=CENTRE, seed=0, rounds=1, losses=losses))
    assert first.discriminator_loss == pytest.approx(2 * math.log(2), abs=1e-6)
    assert abs(first.generator_loss) == pytest.approx(math.log(2), abs=0.02)  # D has moved once
    assert (first.generator_loss < 0) == (losses is saturating)
    assert first.discriminator_gradient > 0


def test_a_seed_repeats_the_game_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    once, again, other = (
        list(play(RING, Game(2, seed=s), places=CENTRE, seed=s, rounds=3)) for s in (4, 4, 5)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(once[2].samples, again[2].samples)
    assert not torch.equal(once[2].samples, other[2].samples)
    assert [moment.step for moment in once] == [1, 2, 3]


def test_r1_holds_the_logits_flat():
    spread = {}
    for r1 in (0.0, 10.0):
        rules = Rules(generator_moves=0, r1=r1)
        places = RING.means.float()
        *_, last = play(RING, Game(2), rules, places=places, seed=0, rounds=60, every=20)
        spread[r1] = last.logits.mean().item()
    assert spread[10.0] < 0.7 * spread[0.0]


def test_places_and_pixels_agree_on_where_up_and_right_are():
    places = square(2.0, 4)
    assert places[0].tolist() == [-1.5, 1.5]
    assert places[3].tolist() == [1.5, 1.5]
    logits = torch.where(places[:, 0] + places[:, 1] > 2.9, 50.0, -50.0)  # the upper right corner
    moment = GameStep(1, torch.tensor([[-1.5, -1.5], [9.0, 0.0]]), logits, 0.0, 0.0, 0.0, 0.0)
    frame = heat_map(moment, torch.tensor([[-1.5, 1.5]]), 2.0, scale=5)
    assert frame.shape == (20, 20, 3)
    assert frame[4, 19].tolist() == [230, 159, 0]
    assert frame[10, 10].tolist() == [86, 180, 233]
    black = np.argwhere((frame == 0).all(-1))
    assert black.min(0).tolist() == [17, 2]
    grey = np.argwhere((frame == 150).all(-1))
    assert grey.max(0).tolist() == [3, 3]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"generator_moves": -1}, "generator_moves is -1; permitted: 0 and more"),
        ({"r1": -0.1}, r"r1 is -0\.1; permitted: 0 and more"),
    ],
)
def test_rules_that_make_no_sense_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        Rules(**arguments)
