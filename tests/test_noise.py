import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.methods.noise import NoiseSchedule, add_noise, cosine, linear, scaled_linear

SCHEDULES = {
    "linear": linear(),
    "scaled linear": scaled_linear(),
    "cosine": cosine(),
    "cosine, shifted": cosine(shift=-4.0),
}
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_the_tables_of_ddpm_and_stable_diffusion_end_where_they_are_known_to():
    assert linear().alphas_cumprod[-1].item() == pytest.approx(4.04e-5, rel=2e-3)
    assert scaled_linear().alphas_cumprod[-1].item() == pytest.approx(4.66e-3, rel=2e-3)


def test_the_betas_of_the_linear_schedule_are_a_line_and_their_product_is_kept():
    schedule, left = linear(50, 0.001, 0.2), 1.0
    for i in range(50):
        beta = 0.001 + (0.2 - 0.001) * i / 49
        left *= 1 - beta
        assert schedule.alphas_cumprod[i].item() == pytest.approx(left, rel=1e-12)
        assert schedule.betas[i].item() == pytest.approx(beta, rel=1e-10)
    ends = linear().betas[[0, -1]].tolist()
    assert ends == pytest.approx([1e-4, 0.02], rel=1e-9)


def test_the_betas_of_the_scaled_linear_schedule_are_the_squares_of_a_line():
    roots = [math.sqrt(beta) for beta in scaled_linear(5, 0.01, 0.09).betas.tolist()]
    assert roots == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3])


def test_the_cosine_schedule_is_that_of_the_paper():
    def curve(time):
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    schedule = cosine(40)
    before = 1.0
    for i in range(40):
        alpha_bar = curve((i + 1) / 40) / curve(0)
        beta = min(1 - alpha_bar / before, 0.999)
        assert schedule.betas[i].item() == pytest.approx(beta, rel=1e-9)
        before = alpha_bar
    assert schedule.betas[-1].item() == pytest.approx(0.999)


def test_a_shift_moves_every_log_snr():
    plain, moved = cosine(100).snr(torch.arange(99)), cosine(100, shift=-4.0).snr(torch.arange(99))
    torch.testing.assert_close(moved.log(), plain.log() - 4)


@each_schedule
def test_step_by_step_one_arrives_where_one_stroke_does(schedule):
    signal, variance = 1.0, 0.0
    for t, (alpha, beta) in enumerate(zip(schedule.alphas, schedule.betas, strict=True)):
        signal, variance = math.sqrt(alpha) * signal, alpha.item() * variance + beta.item()
        assert signal**2 == pytest.approx(schedule.alpha_bar(t).item(), rel=1e-10)
        assert variance == pytest.approx(1 - schedule.alpha_bar(t).item(), rel=1e-9)


@given(
    num=st.integers(1, 1200),
    make=st.sampled_from([linear, scaled_linear, cosine]),
    shift=st.floats(-8, 8),
)
@settings(deadline=None, max_examples=30)
def test_a_chain_of_any_length_loses_signal_at_each_step_and_never_all(num, make, shift):
    schedule = make(num, shift=shift) if make is cosine else make(num)
    table = [1.0, *schedule.alphas_cumprod.tolist()]
    assert all(a > b > 0 for a, b in itertools.pairwise(table))
    assert schedule.num_timesteps == num
    assert schedule.alphas_cumprod.dtype == torch.float64


def test_steps_are_looked_up_in_any_shape_and_minus_one_is_clean():
    schedule = NoiseSchedule(torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64))
    assert schedule.alpha_bar(-1).item() == 1
    assert schedule.alpha_bar(2).item() == 0.1
    assert schedule.alpha_bar(torch.tensor([[2, -1], [0, 1]])).tolist() == [[0.1, 1], [0.9, 0.5]]
    assert schedule.snr(torch.tensor([1, 0])).tolist() == pytest.approx([1, 9])
    assert schedule.alphas.tolist() == pytest.approx([0.9, 5 / 9, 0.2])


@pytest.mark.parametrize("t", [-2, 3, torch.tensor([0, 3]), torch.tensor([-2, 1])])
def test_a_step_outside_the_chain_is_refused(t):
    schedule = NoiseSchedule(torch.tensor([0.9, 0.5, 0.1]))
    with pytest.raises(ValueError, match=r"t lies in .*; permitted: -1\.\.2"):
        schedule.alpha_bar(t)


@pytest.mark.parametrize(
    "table", [[], [0.5, 0.5], [0.5, 0.6], [1.0, 0.5], [0.5, 0.0], [0.5, -0.1], [0.9, math.nan]]
)
def test_a_table_that_does_not_fall_between_one_and_zero_is_refused(table):
    with pytest.raises(ValueError, match=r"alphas_cumprod has .* falling at each step"):
        NoiseSchedule(torch.tensor(table))


def test_betas_of_a_picture_that_is_wholly_lost_are_refused():
    with pytest.raises(ValueError, match="within"):
        NoiseSchedule.from_betas(torch.tensor([0.5, 1.0]))


def test_each_example_is_as_noisy_as_it_is_told():
    x0, eps = numbers(3, 2, 4), numbers(3, 2, 4, seed=1)
    levels = [0.99, 0.4, 0.01]
    x_t = add_noise(x0, eps, torch.tensor(levels, dtype=torch.float64))
    for i, level in enumerate(levels):
        alone = math.sqrt(level) * x0[i] + math.sqrt(1 - level) * eps[i]
        torch.testing.assert_close(x_t[i], alone)
        same = add_noise(x0, eps, torch.tensor(level, dtype=torch.float64))
        torch.testing.assert_close(same[i], alone)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_a_trace_of_noise_survives_single_precision_pictures(batch):
    x0, eps = torch.zeros(2, 3), torch.ones(2, 3)
    alpha_bar = torch.full(batch, 1 - 1e-9, dtype=torch.float64)
    x_t = add_noise(x0, eps, alpha_bar)
    assert x_t.dtype == torch.float32
    torch.testing.assert_close(x_t, torch.full((2, 3), 1e-9**0.5))
