"""The instrument's pictures: another's step walks as the library does, a cell can be redone."""

from typing import cast

import pytest
import torch

from course_lib.methods import noise
from course_lib.methods.ddim import ddim_steps, uniform_timesteps
from course_lib.methods.diffusion import Denoised
from course_lib.models.dit import DiT
from course_lib.recipes import eta_sheets
from course_lib.recipes.digit_diffusion import DIGITS
from course_lib.recipes.eta_sheets import (
    CLASSES,
    GRID,
    KNOB,
    NUM_SEEDS,
    SHOWN,
    STEPS,
    cell_steps,
    ddim_step,
    draw_cell,
    walk,
)

SCHEDULE = noise.linear(40, 1e-3, 0.2)


def denoise(x_t, t):
    """Of N(0, 1): every picture shrinks; the rest of it is noise."""
    alpha_bar = SCHEDULE.alpha_bar(t)[:, None]
    return Denoised(alpha_bar.sqrt() * x_t, (1 - alpha_bar).sqrt() * x_t)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("num_steps", [1, 7, 40])
def test_with_the_library_s_step_the_walk_is_ddim_s_at_every_step(eta, clip, num_steps):
    x_T = torch.randn(3, 5, dtype=torch.float64, generator=draws(1))
    timesteps = uniform_timesteps(40, num_steps)
    options = {"eta": eta, "clip": clip}
    ours = list(walk(denoise, SCHEDULE, x_T, timesteps, ddim_step, **options, generator=draws()))
    library = list(ddim_steps(denoise, SCHEDULE, x_T, timesteps, **options, generator=draws()))
    assert len(ours) == num_steps
    for one, other in zip(ours, library, strict=True):
        assert (one.t, one.t_prev) == (other.t, other.t_prev)
        for name in ("x_t", "x0_hat", "eps_hat", "x_prev"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name))


def test_a_step_gets_fresh_noise_the_table_s_entries_and_eta():
    calls = []

    def step(x_t, eps_hat, noise, alpha_bar, alpha_bar_prev, eta):
        calls.append((noise, float(alpha_bar), float(alpha_bar_prev), eta))
        return x_t

    x_T = torch.randn(2, 5, generator=draws(1))
    list(walk(denoise, SCHEDULE, x_T, [30, 10, 0], step, eta=0.3, generator=draws()))
    noises, before, after, etas = zip(*calls, strict=True)
    table = SCHEDULE.alphas_cumprod
    assert before == tuple(table[[30, 10, 0]].tolist())
    assert after == (*table[[10, 0]].tolist(), 1.0)
    assert etas == (0.3, 0.3, 0.3)
    again = draws()
    for drawn in noises:
        assert torch.equal(drawn, torch.randn(2, 5, generator=again))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda x_t, *_: x_t[:1], r"from t = 30 gave shape \(1, 5\); permitted: \(2, 5\)"),
        (lambda x_t, *_: x_t / 0, "from t = 30 gave numbers that are not finite"),
    ],
)
def test_a_step_that_gives_no_pictures_is_refused(step, message):
    with pytest.raises(ValueError, match=message):
        list(walk(denoise, SCHEDULE, torch.ones(2, 5), [30, 0], step))


def test_a_seed_has_one_noise_for_all_classes_and_pictures_go_class_by_class():
    starts = eta_sheets.starts().unflatten(0, (len(CLASSES), NUM_SEEDS))
    assert (starts == starts[:1]).all()
    assert len(starts[0].flatten(1).unique(dim=0)) == NUM_SEEDS
    assert eta_sheets.labels().tolist() == [k for k in CLASSES for _ in range(NUM_SEEDS)]


@pytest.mark.parametrize("num_steps", STEPS)
def test_every_walk_comes_by_the_levels_that_are_shown(num_steps):
    assert set(SHOWN) <= set(uniform_timesteps(1000, num_steps))


def test_a_drawn_cell_shows_x_t_above_x0_hat_in_the_order_of_the_walk():
    steps = list(cell_steps(stranger(), "0.4", 10))
    cell = draw_cell(iter(steps))
    shown = [step for step in steps if step.t in SHOWN]
    for column, step in enumerate(shown):
        for row, (pictures, greys) in enumerate([(step.x_t, 8), (step.x0_hat, 32)]):
            tile = cell.strip[:, 33 * row :, 33 * column :][:, :32, :32]
            wanted = (pictures[:, 0].clamp(-1, 1) + 1) * 127.5
            assert (tile - wanted).abs().max() <= 127.5 / (greys - 1) + 0.51
            assert len(tile.unique()) <= greys
    wanted = (steps[-1].x_prev[:, 0].clamp(-1, 1) + 1) * 127.5
    assert (cell.final - wanted).abs().max() <= 0.501


@pytest.mark.parametrize(
    ("place", "step"), [("0.5", None), ("", None), ("σ̂", ddim_step), ("0.3", ddim_step)]
)
def test_a_place_that_is_not_on_the_knob_is_refused(place, step):
    with pytest.raises(ValueError, match=rf"eta is {place}; permitted: 0, 0\.2, .*, 1"):
        cell_steps(stranger(), place, 5, step)


def test_the_distance_of_opposite_pictures_is_2_and_of_equal_ones_0():
    black, white = torch.zeros(1, 3, 3, dtype=torch.uint8), torch.full((1, 3, 3), 255).byte()
    half = torch.cat([black[:, :2], white[:, :1]], 1)
    assert eta_sheets.distance(black, white).item() == 2
    assert eta_sheets.distance(white, white).item() == 0
    assert eta_sheets.distance(black, half).item() == pytest.approx(2 / 3**0.5)


@pytest.mark.parametrize(("place", "num_steps"), [("0", 10), ("0.6", 5), ("σ̂", 10)])
def test_a_stored_cell_is_what_the_shipped_network_draws(place, num_steps):
    where = KNOB.index(place), STEPS.index(num_steps)
    cell = draw_cell(cell_steps(cast(DiT, DIGITS.load()), place, num_steps))
    final = torch.from_numpy(eta_sheets.stored_final()[where]).flatten(0, 1)
    away = (final.int() - cell.final.int()).abs()
    assert away.max() <= 3
    assert away.float().mean() <= 0.1
    strip = torch.from_numpy(eta_sheets.stored_walks()[where]).flatten(0, 1)
    # A grey next to a limit may fall on its other side.
    assert (strip != cell.strip).float().mean() <= 0.01


def test_the_stored_pictures_fill_the_grid_and_differ_where_they_must():
    final = torch.from_numpy(eta_sheets.stored_final())
    assert tuple(final.shape) == (*GRID, 32, 32)
    assert eta_sheets.stored_walks().shape[:4] == GRID
    cells = final.flatten(0, 1).flatten(1)
    assert len(cells.unique(dim=0)) == len(cells)


def stranger():
    """An untrained network."""
    return cast(DiT, DIGITS._build(DIGITS.small)).eval()
