import math

import numpy as np
import pytest
import torch
from matplotlib.quiver import Quiver

from course_lib.data.toy import GaussianMixture, ring
from course_lib.methods.diffusion import EPS, Denoised, ddpm_steps, denoiser
from course_lib.recipes.toy_diffusion import (
    BATCH_SIZE,
    REACH,
    SCHEDULE,
    PlaneNetwork,
    dots,
    field,
    learn,
)

RING = ring()
CENTRES = [[2 * math.cos(k * math.pi / 4), 2 * math.sin(k * math.pi / 4)] for k in range(8)]


def l_simple(network, x0, eps, t, alphas_cumprod):
    share = alphas_cumprod[t][:, None]
    return (network(share**0.5 * x0 + (1 - share) ** 0.5 * eps, t) - eps).pow(2).mean()


def share_near_a_lump(points):
    return (torch.cdist(points, torch.tensor(CENTRES)).amin(1) <= 0.45).float().mean()


def test_a_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = PlaneNetwork(seed=1), PlaneNetwork(seed=1), PlaneNetwork(seed=2)
    assert torch.equal(torch.rand(3), expected)
    for first, again, unlike in zip(
        one.parameters(), same.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(first, again)
        assert not torch.equal(first, unlike)


def test_each_point_is_answered_by_its_own_place_and_time():
    network, x = PlaneNetwork(), torch.tensor([[0.3, -1.0], [0.3, -1.0], [-1.0, 0.3]])
    answer = network(x, torch.tensor([3, 4, 3]))
    assert answer.shape == (3, 2)
    torch.testing.assert_close(network(x[2:], torch.tensor([3])), answer[2:])
    assert (answer[0] - answer[1]).abs().max() > 1e-4
    assert (answer[0] - answer[2]).abs().max() > 1e-2


def test_the_loss_gets_points_noise_times_and_the_table():
    seen = []

    def watched(network, x0, eps, t, table):
        seen.append((x0, eps, t, table, l_simple(network, x0, eps, t, table)))
        return seen[-1][-1]

    moments = list(learn(RING, watched, table=SCHEDULE.alphas, updates=6, every=3))
    assert [moment.step for moment in moments] == [3, 6]
    x0, eps, t, table, _ = (torch.stack(column) for column in zip(*seen, strict=True))
    assert x0.shape == eps.shape == (6, BATCH_SIZE, 2)
    assert share_near_a_lump(x0.flatten(0, 1)) > 0.95
    assert eps.mean().abs() < 0.1
    assert eps.std() == pytest.approx(1, abs=0.1)
    assert 0 <= t.min() < 20
    assert 980 < t.max() <= 999
    assert torch.equal(table[-1], SCHEDULE.alphas.float())
    losses = [row[-1].item() for row in seen]
    assert [moment.loss for moment in moments] == pytest.approx(
        [sum(losses[:3]) / 3, sum(losses[3:]) / 3]
    )


def test_a_seed_repeats_the_training_and_a_moment_keeps_its_own_network():
    runs = [list(learn(RING, l_simple, seed=3, updates=4, every=2)) for _ in range(2)]
    x, t = torch.ones(1, 2), torch.tensor([500])
    first, second = ([moment.network(x, t) for moment in run] for run in runs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def test_a_short_training_comes_near_the_best_guess_where_there_is_much_noise():
    *_, moment = learn(RING, l_simple, updates=200)
    generator = torch.Generator().manual_seed(0)
    t = torch.full((500,), 500)
    share = SCHEDULE.alphas_cumprod[500].item()
    x0 = RING.sample(500, generator=generator)
    x_t = share**0.5 * x0 + (1 - share) ** 0.5 * torch.randn(500, 2, generator=generator)
    # The noise of each lump's points, weighted by how likely x_t came from there.
    centres = torch.tensor(CENTRES, dtype=torch.float64)
    spread = share * 0.15**2 + 1 - share
    apart = x_t[:, None] - share**0.5 * centres
    weights = (-apart.pow(2).sum(-1) / (2 * spread)).softmax(1)[..., None]
    best = (1 - share) ** 0.5 / spread * (weights * apart).sum(1)
    with torch.no_grad():
        error = (moment.network(x_t.float(), t) - best).pow(2).mean()
    assert error < 0.02 * best.pow(2).mean()


@pytest.mark.slow
def test_trained_well_it_draws_the_ring_and_with_the_wrong_table_it_flies_apart():
    x_T = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    ends = {}
    for name, table, updates in (
        ("right", SCHEDULE.alphas_cumprod, 2000),
        ("wrong", SCHEDULE.alphas, 1000),
    ):
        *_, moment = learn(RING, l_simple, table=table, updates=updates)
        with torch.no_grad():
            walk = ddpm_steps(
                denoiser(moment.network, EPS, SCHEDULE),
                SCHEDULE,
                x_T,
                generator=torch.Generator().manual_seed(1),
            )
            *_, last = walk
        ends[name] = last.x_prev
    assert share_near_a_lump(ends["right"]) > 0.85
    nearest = torch.cdist(ends["right"], torch.tensor(CENTRES)).argmin(1)
    assert nearest.bincount(minlength=8).min() >= 15
    assert (ends["wrong"].abs() > REACH).any(1).float().mean() > 0.6


def test_points_are_drawn_where_they_are_above_the_real_ones():
    points = torch.tensor([[1.65, 1.65], [0.05, -2.95]])
    frame = dots(points, torch.tensor([[1.65, 1.65], [-1.65, 1.65]]), size=64)
    black, grey = (np.argwhere((frame == shade).all(-1)) for shade in (0, 175))
    assert {tuple(place) for place in black} == {
        *((15 + y, 48 + x) for y in (0, 1) for x in (0, 1)),
        *((61 + y, 32 + x) for y in (0, 1) for x in (0, 1)),
    }
    assert {tuple(place) for place in grey} == {(15 + y, 15 + x) for y in (0, 1) for x in (0, 1)}


def test_points_beyond_the_picture_are_left_out():
    wild = torch.tensor([[9.0, 0.0], [0.0, -1e9], [math.inf, 0.0], [math.nan, 0.0], [-3.4, 1.0]])
    assert (dots(wild, torch.zeros(1, 2)) == 0).sum() == 0


def test_arrows_go_against_the_guess_and_shades_lie_where_the_data_are():
    one = GaussianMixture(torch.ones(1), torch.tensor([[2.0, -1.0]]), torch.tensor([0.1]))

    def outwards(x_t, t):
        assert (t == 20).all()
        return Denoised(x_t, 10 * (x_t - torch.tensor([0.1, 0.2])))

    picture = field({"a": outwards}, one, [20], "one row, one column")
    (axes,) = picture.axes
    (quiver,) = (drawn for drawn in axes.collections if isinstance(drawn, Quiver))
    places = quiver.get_offsets()
    arrows = np.stack([quiver.U, quiver.V], 1)
    towards = np.array([0.1, 0.2]) - places
    lengths = np.linalg.norm(arrows, axis=1)
    far = np.linalg.norm(towards, axis=1)
    np.testing.assert_allclose((arrows * towards).sum(1), lengths * far, rtol=1e-4)
    np.testing.assert_allclose(lengths, np.minimum(10 * far, 2), rtol=1e-4)
    darkest = np.asarray(axes.collections[0].get_paths()[-1].vertices)
    kept = SCHEDULE.alphas_cumprod[20].item() ** 0.5
    np.testing.assert_allclose(darkest.mean(0), [2 * kept, -kept], atol=0.1)
    assert axes.get_title(loc="center") == "t = 20"
