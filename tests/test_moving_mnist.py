"""Moving MNIST against digits pushed by hand, one number at a time."""

import math
import time

import numpy as np
import pytest
import torch

from course_lib.data.digits import Digits, load_digits
from course_lib.data.moving_mnist import MovingMNIST

ROOM = {32: 18, 64: 36}  # pixels from one wall to the other for a digit's corner


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits() -> Digits:
    test = load_digits("test")
    return Digits(test.images[:50], test.labels[:50])


def draw(digits, batch=32, seed=0, **options):
    return MovingMNIST(digits, **options).sample(batch, generator=make_generator(seed))


def bounce_by_hand(x, speed, room, num_frames):
    """One coordinate: whoever would pass a wall stands at it for a frame and turns round."""
    places = [x]
    for _ in range(num_frames - 1):
        x += speed
        if x < 0:
            x, speed = 0.0, abs(speed)
        elif x > room:
            x, speed = float(room), -abs(speed)
        places.append(x)
    return places


def paint_by_hand(images, places, size):
    """Ink in [0, 1] of one frame: digits pasted one by one, the darker ink stays."""
    frame = np.zeros((size, size))
    for image, (x, y) in zip(images, places, strict=True):
        ink = image.astype(float) / 255
        if size == 32:
            ink = (ink[::2, ::2] + ink[1::2, ::2] + ink[::2, 1::2] + ink[1::2, 1::2]) / 4
        left, top = round(x), round(y)
        for row in range(len(ink)):
            for column in range(len(ink)):
                old = frame[top + row, left + column]
                frame[top + row, left + column] = max(old, ink[row, column])
    return frame


@pytest.mark.parametrize("size", [32, 64])
def test_a_deterministic_digit_follows_the_law_of_the_wall(digits, size):
    clips = draw(digits, size=size, num_digits=1)
    walls = 0
    for positions, velocities in zip(clips.positions, clips.velocities, strict=True):
        for axis in range(2):
            start, speed = positions[0, 0, axis].item(), velocities[0, 0, axis].item()
            expected = bounce_by_hand(start, speed, ROOM[size], 20)
            torch.testing.assert_close(positions[:, 0, axis].tolist(), expected)
            walls += sum(place in (0, ROOM[size]) for place in expected)
    assert walls > 32


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("stochastic", [False, True])
def test_a_frame_shows_the_digits_at_their_positions(digits, size, stochastic):
    clips = draw(digits, 2, size=size, stochastic=stochastic, num_digits=2, num_frames=6)
    for b in range(2):
        images = digits.images[clips.index[b]].numpy()
        for t in range(6):
            ink = paint_by_hand(images, clips.positions[b, t].tolist(), size)
            shown = clips.video[b, t, 0].double().numpy()
            np.testing.assert_allclose(shown, 2 * ink - 1, atol=1e-6)


def test_of_two_digits_at_one_place_the_darker_ink_stays(digits):
    world = MovingMNIST(digits)
    index, place = torch.tensor([[3, 4]]), torch.full((1, 1, 2, 2), 10.4, dtype=torch.float64)
    ink = (world.render(index, place)[0, 0, 0, 10:38, 10:38] + 1) / 2
    expected = torch.maximum(digits.images[3], digits.images[4]) / 255
    torch.testing.assert_close(ink, expected)


@pytest.mark.parametrize("stochastic", [False, True])
def test_no_digit_leaves_the_frame(digits, stochastic):
    clips = draw(digits, 200, stochastic=stochastic, size=32, num_frames=60)
    assert clips.positions.min() >= 0
    assert clips.positions.max() <= ROOM[32]
    assert clips.video.min() == -1
    assert clips.video.max() <= 1


@pytest.mark.parametrize("stochastic", [False, True])
def test_every_digit_keeps_its_speed_and_its_velocity_between_walls(digits, stochastic):
    clips = draw(digits, 100, stochastic=stochastic)
    speeds = clips.velocities.norm(dim=-1)  # (B, T, K)
    torch.testing.assert_close(speeds, speeds[:, :1].expand_as(speeds))
    assert ((speeds >= 2) & (speeds <= 5)).all()
    moved = clips.positions.diff(dim=1)
    at_wall = (clips.positions == 0) | (clips.positions == 36)
    assert torch.equal(clips.bounced, at_wall.any(-1))
    free = ~at_wall[:, 1:].any(-1)
    torch.testing.assert_close(moved[free], clips.velocities[:, :-1][free])
    unchanged = (clips.velocities.diff(dim=1) == 0).all(-1)
    assert torch.equal(unchanged, free)


def test_after_a_wall_every_inward_direction_is_equally_likely(digits):
    clips = draw(digits, 2000, stochastic=True, num_digits=1, size=32)
    positions, velocities = clips.positions[:, 1:, 0], clips.velocities[:, 1:, 0]
    for axis in range(2):
        for wall, inward in ((0, 1), (18, -1)):
            other = positions[..., 1 - axis]
            here = (positions[..., axis] == wall) & (other > 0) & (other < 18)
            along, away = velocities[..., 1 - axis][here], inward * velocities[..., axis][here]
            assert (away > 0).all()
            assert (along != clips.velocities[:, :-1, 0, 1 - axis][here]).all()
            angles = torch.atan2(along, away)
            assert len(angles) > 500
            standard_error = math.pi / math.sqrt(12 * len(angles))
            assert abs(angles.mean()) < 4 * standard_error
            # The variance of a uniform variable has itself a variance of (pi / 2)^4 4 / 45 / n.
            spread = (math.pi / 2) ** 2 * math.sqrt(4 / 45 / len(angles))
            assert abs(angles.square().mean() - math.pi**2 / 12) < 4 * spread


def test_in_a_corner_a_digit_leaves_both_walls(digits):
    clips = draw(digits, 3000, stochastic=True, size=32)
    at_wall = (clips.positions == 0) | (clips.positions == 18)
    corner = at_wall.all(-1)
    assert corner.sum() > 10
    inward = (9 - clips.positions[corner]).sign()
    assert torch.equal(clips.velocities[corner].sign(), inward)


def test_until_the_first_wall_both_worlds_are_one(digits):
    plain, stochastic = draw(digits, 50), draw(digits, 50, stochastic=True)
    before = plain.bounced.cumsum(1) == 0
    assert torch.equal(before, stochastic.bounced.cumsum(1) == 0)
    assert torch.equal(plain.velocities[before], stochastic.velocities[before])
    assert not torch.equal(plain.velocities, stochastic.velocities)
    assert not before.all()


def test_digits_starts_directions_and_speeds_are_drawn_evenly(digits):
    clips = draw(digits, 4000, size=32, num_frames=1)
    assert set(clips.index.flatten().tolist()) == set(range(50))
    velocity = clips.velocities[:, 0].flatten(0, 1)  # (8000, 2)
    angle = torch.atan2(velocity[:, 1], velocity[:, 0]) / (2 * math.pi) + 0.5
    speed = (velocity.norm(dim=-1) - 1) / 1.5  # 1 to 2.5 pixels of 32
    start = clips.positions[:, 0].flatten(0, 1) / 18
    for share in (angle, speed, start[:, 0], start[:, 1]):
        counts = torch.histc(share, 10, 0, 1)
        assert counts.sum() == 8000
        assert (counts - 800).square().sum() / 800 < 33.7  # chi-square of 9, 1 in 10,000
    for of_two in (clips.velocities[:, 0].norm(dim=-1), *clips.velocities[:, 0].unbind(-1)):
        assert abs(torch.corrcoef(of_two.T)[0, 1]) < 4 / math.sqrt(4000)


def test_equal_seeds_give_equal_bits_and_other_seeds_other_clips(digits):
    first, again, other = (draw(digits, 3, seed, stochastic=True) for seed in (5, 5, 6))
    assert torch.equal(first.video, again.video)
    assert torch.equal(first.positions, again.positions)
    assert not torch.equal(first.video, other.video)


def test_the_global_generator_is_left_alone(digits):
    before = torch.get_rng_state()
    draw(digits, 2, stochastic=True)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("size", "num_digits", "num_frames"), [(32, 1, 20), (64, 2, 7)])
def test_a_batch_has_the_shape_that_was_asked_for(digits, size, num_digits, num_frames):
    clips = draw(digits, 3, size=size, num_digits=num_digits, num_frames=num_frames)
    assert clips.video.shape == (3, num_frames, 1, size, size)
    assert clips.video.dtype == torch.float32
    assert clips.positions.shape == (3, num_frames, num_digits, 2)


def test_three_hundred_clips_a_second(digits):
    seconds = []
    for seed in range(3):
        start = time.perf_counter()
        draw(digits, 100, seed, size=32, stochastic=True)
        seconds.append(time.perf_counter() - start)
    assert 100 / min(seconds) > 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 48}, "size is 48; permitted: 32, 64"),
        ({"num_digits": 0}, "num_digits is 0; permitted: 1 and more"),
        ({"num_frames": 0}, "num_frames is 0; permitted: 1 and more"),
    ],
)
def test_an_impossible_world_is_refused(digits, change, message):
    with pytest.raises(ValueError, match=message):
        MovingMNIST(digits, **change)
