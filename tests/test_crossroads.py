import os
import subprocess
import sys
import time
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch

from course_lib.data import crossroads
from course_lib.data.crossroads import BASE, LONG, TURNS, TWICE, Crossroads
from course_lib.data.digits import Digits, load_digits

# Typed from the description of the world, not taken from the code that it judges.
# label: P(left, straight, right), P(comes back | left, straight, right)
TABLE = {
    **dict.fromkeys((0, 6), ((0, 1, 0), (None, 0.5, None))),
    **dict.fromkeys((4, 9), ((0.6, 0.3, 0.1), (0.5, 0, 1))),
    **dict.fromkeys((3, 5), ((0.1, 0.3, 0.6), (0.25, 0.25, 0.25))),
    **dict.fromkeys((1, 7), ((1 / 3, 1 / 3, 1 / 3), (0, 0, 0))),
    **dict.fromkeys((2, 8), ((0.5, 0, 0.5), (0.5, None, 0.5))),
}
CLOCK = {  # frames, context, arrivals, speed
    "base": (12, 3, (3, 4, 5), 2),
    "twice": (17, 3, (3, 4, 5), 2),
    "long": (21, 5, (6, 7, 8, 9, 10), 1),
}
PRESETS = [BASE, TWICE, LONG]


@pytest.fixture(scope="module")
def digits() -> Digits:
    test = load_digits("test")
    return Digits(test.images[:200], test.labels[:200])


def resize_by_overlap(image: np.ndarray, side: int) -> np.ndarray:
    """Every output pixel is the mean of the 20 x 20 box over its area, in rational numbers."""
    step = Fraction(20, side)
    overlap = np.zeros((side, 20))
    for out in range(side):
        for source in range(20):
            shared = min((out + 1) * step, source + 1) - max(out * step, source)
            overlap[out, source] = max(Fraction(0), shared) / step
    return overlap @ (image[4:24, 4:24] / 255.0) @ overlap.T


def walk(preset, arrival: int, turn: str, returns: bool) -> list[tuple[int, int]]:
    """The centres that a walker visits who takes one step of the speed per frame."""
    num_frames, _, _, speed = CLOCK[preset.name]
    x, y = 16, 16 + speed * arrival
    step_x, step_y = {"left": (-1, 0), "straight": (0, -1), "right": (1, 0)}[turn]
    visited, state = [], "approach"
    for _ in range(num_frames):
        visited.append((x, y))
        if state == "approach" and y == 16:
            state = "out"
        if state == "out" and abs(x - 16) + abs(y - 16) == 10:
            state = "back" if returns else "parked"
        if state == "back" and (x, y) == (16, 16):
            state = "parked"
        if state == "approach":
            y -= speed
        elif state != "parked":
            direction = 1 if state == "out" else -1
            x, y = x + direction * step_x * speed, y + direction * step_y * speed
    return visited


def draw(image: np.ndarray, centres: list[tuple[int, int]], size: int) -> np.ndarray:
    """The clip, pixel by pixel from the description."""
    unit = size // 32
    sprite = resize_by_overlap(image, 12 * unit)
    frames = np.zeros((len(centres), 1, size, size))
    for corner_y in (0, 23):
        for corner_x in (0, 23):
            rows = slice(corner_y * unit, (corner_y + 9) * unit)
            frames[:, :, rows, corner_x * unit : (corner_x + 9) * unit] = 0.25
    for frame, (x, y) in zip(frames, centres, strict=True):
        top, left = (y - 6) * unit, (x - 6) * unit
        part = frame[0, top : top + 12 * unit, left : left + 12 * unit]
        np.maximum(part, sprite, out=part)
    return frames * 2 - 1


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.name)
def test_every_clip_is_the_one_that_a_literal_walker_draws(digits, preset, size):
    world = Crossroads(digits, preset, size)
    index = 0
    for arrival in CLOCK[preset.name][2]:
        for turn in TURNS:
            for returns in (False, True)[: 1 + (preset.name == "twice")]:
                centres = walk(preset, arrival, turn, returns)
                truth = draw(digits.images[index].numpy(), centres, size)
                clip = world.clip(index, arrival, turn, returns)
                assert clip.dtype == torch.float32
                assert np.abs(clip.numpy() - truth).max() < 1e-6
                index += 1


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.name)
def test_the_clock_of_each_preset_is_as_described(preset):
    num_frames, context, arrivals, speed = CLOCK[preset.name]
    assert (preset.num_frames, preset.context, preset.speed) == (num_frames, context, speed)
    assert preset.arrivals == arrivals
    assert preset.horizon == {"base": 9, "twice": 14, "long": 16}[preset.name]
    assert preset.returns == (preset.name == "twice")


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.name)
def test_the_first_frames_that_differ_are_tau1_and_tau2(digits, preset):
    world = Crossroads(digits, preset)

    def first_difference(a, b):
        return int((a != b).flatten(1).any(1).nonzero()[0])

    for arrival in preset.arrivals:
        assert preset.tau1(arrival) == arrival + 1
        for one, other in (("left", "straight"), ("straight", "right"), ("right", "left")):
            pair = (world.clip(3, arrival, turn) for turn in (one, other))
            assert first_difference(*pair) == arrival + 1
        if preset.returns:
            assert preset.tau2(arrival) == arrival + 6
            for turn in TURNS:
                pair = (world.clip(3, arrival, turn, returns) for returns in (False, True))
                assert first_difference(*pair) == arrival + 6


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.name)
def test_the_arrival_can_be_read_from_the_first_frame(digits, preset):
    world = Crossroads(digits, preset)
    firsts = {world.clip(3, j, "left")[0].numpy().tobytes() for j in preset.arrivals}
    assert len(firsts) == len(preset.arrivals)


def test_a_digit_never_covers_a_house():
    ink = Digits(torch.full((1, 28, 28), 255, dtype=torch.uint8), torch.tensor([0]))
    world = Crossroads(ink, TWICE)
    houses = world.map > -1
    assert houses.sum() == 4 * 9 * 9
    for arrival in TWICE.arrivals:
        for turn in TURNS:
            clip = world.clip(0, arrival, turn, True)
            assert (clip[:, houses] == -0.5).all()
            assert ((clip == 1).flatten(1).sum(1) == 12 * 12).all()


@pytest.mark.parametrize("size", [64, 96, 128])
def test_every_size_shows_the_same_world(digits, size):
    small = Crossroads(digits, TWICE).clip(5, 4, "right", True)
    large = Crossroads(digits, TWICE, size).clip(5, 4, "right", True)
    shrunk = torch.nn.functional.avg_pool2d(large, size // 32)
    torch.testing.assert_close(shrunk, small, rtol=0, atol=1e-6)


def test_the_cue_table_is_as_described():
    labels = torch.arange(10)
    turns, returns = crossroads.turn_probs(labels), crossroads.return_probs(labels)
    for label, (turn_truth, return_truth) in TABLE.items():
        assert turns[label].tolist() == pytest.approx(turn_truth)
        for turn in range(3):
            assert returns[label, turn].item() == (return_truth[turn] or 0)
    assert turns.sum(1).tolist() == pytest.approx([1] * 10)


def test_a_sample_holds_the_clip_that_its_decisions_describe(digits):
    for preset in PRESETS:
        world = Crossroads(digits, preset, 32)
        clips = world.sample(20, generator=torch.Generator().manual_seed(3))
        assert clips.video.shape == (20, preset.num_frames, 1, 32, 32)
        for n in range(20):
            clip = world.clip(
                int(clips.index[n]),
                int(clips.arrival[n]),
                TURNS[clips.turn[n]],
                bool(clips.returned[n]),
            )
            assert torch.equal(clips.video[n], clip)
        assert torch.equal(clips.label, digits.labels[clips.index])


def near(count: float, num: int, p: float) -> bool:
    """Within four standard errors of a binomial."""
    return abs(count - num * p) <= 4 * (num * p * (1 - p)) ** 0.5


def test_samples_follow_the_described_probabilities(digits):
    world = Crossroads(digits, TWICE)
    world.render = lambda index, *_: torch.zeros(len(index), 1, 1, 1, 1)  # decisions only
    num = 60_000
    clips = world.sample(num, generator=torch.Generator().manual_seed(0))
    decided = zip(clips.label.tolist(), clips.turn.tolist(), clips.returned.tolist(), strict=True)
    counts = Counter(decided)
    for label, (turn_truth, return_truth) in TABLE.items():
        of_label = sum(n for (c, _, _), n in counts.items() if c == label)
        assert near(of_label, num, (digits.labels == label).double().mean().item())
        for turn in range(3):
            took = [counts[label, turn, back] for back in (False, True)]
            assert near(sum(took), of_label, turn_truth[turn])
            assert near(took[1], sum(took), return_truth[turn] or 0)
    for arrival in (3, 4, 5):
        together = (clips.arrival == arrival) & (clips.turn == 0)
        assert near(together.sum().item(), int((clips.turn == 0).sum()), 1 / 3)
    assert len(clips.index.unique()) == len(digits)


def test_the_largest_random_number_is_still_a_turn(digits, monkeypatch):
    # The sum .6 + .3 + .1 is below 1 in binary, and so is the largest number drawn.
    largest = np.nextafter(1, 0)
    monkeypatch.setattr(
        torch, "rand", lambda *size, **_: torch.full(size, largest, dtype=torch.float64)
    )
    world = Crossroads(digits, TWICE)
    clips = world.sample(200, generator=torch.Generator().manual_seed(0))
    for label, turn in zip(clips.label.tolist(), clips.turn.tolist(), strict=True):
        assert turn < 3
        assert TABLE[label][0][turn] > 0
    for index in range(20):
        futures = world.futures(index, 3)
        assert torch.equal(futures.sample(1)[0], futures.clips[-1])


def test_nobody_comes_back_where_the_preset_forbids_it(digits):
    clips = Crossroads(digits, BASE).sample(500, generator=torch.Generator().manual_seed(0))
    assert not clips.returned.any()


def test_equal_seeds_give_equal_bits_in_every_process_and_with_every_thread_count():
    program = (
        "import hashlib, torch\n"
        "from course_lib.data.crossroads import TWICE, Crossroads\n"
        "from course_lib.data.digits import load_digits\n"
        "world = Crossroads(load_digits('train'), TWICE, 64)\n"
        "clips = world.sample(8, generator=torch.Generator().manual_seed(5))\n"
        "print(hashlib.sha256(clips.video.numpy().tobytes()).hexdigest())\n"
    )
    digests = set()
    for threads in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(run.stdout)
    assert len(digests) == 1


def test_the_seed_decides_and_the_global_generator_is_left_alone(digits):
    world = Crossroads(digits)
    before = torch.get_rng_state()
    clips = [world.sample(8, generator=torch.Generator().manual_seed(s)).video for s in (0, 0, 1)]
    assert torch.equal(clips[0], clips[1])
    assert not torch.equal(clips[0], clips[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_one_core_draws_a_thousand_clips_a_second(digits):
    world, generator = Crossroads(digits), torch.Generator().manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.process_time()
    for _ in range(10):
        world.sample(50, generator=generator)
    seconds = time.process_time() - start
    torch.set_num_threads(threads)
    assert 500 / seconds >= 1000


def test_a_drawn_digit_can_walk():
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 6:22, 13:15] = 255
    world = Crossroads(Digits(image, torch.tensor([1])), TWICE)
    assert len(world.futures(0, 3)) == 3
    assert world.sample(4, generator=torch.Generator().manual_seed(0)).video.shape[0] == 4


@pytest.mark.parametrize("size", [0, 16, 48, -32])
def test_a_size_that_does_not_fit_the_grid_is_refused(digits, size):
    with pytest.raises(ValueError, match=f"size is {size}; positive multiples of 32"):
        Crossroads(digits, BASE, size)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((200, 3, "left"), r"index is 200; 0\.\.199"),
        ((-1, 3, "left"), r"index is -1; 0\.\.199"),
        ((0, 6, "left"), r"arrival is 6; \(3, 4, 5\)"),
        ((0, 3, "back"), r"turn is 'back'; 'left', 'straight', 'right'"),
        ((0, 3, "left", True), "returns is True; nobody comes back in preset 'base'"),
    ],
)
def test_a_clip_that_this_world_does_not_have_is_refused(digits, arguments, message):
    with pytest.raises(ValueError, match=message):
        Crossroads(digits, BASE).clip(*arguments)


@pytest.mark.parametrize(("index", "arrival"), [(200, 3), (0, 2)])
def test_futures_of_a_context_that_this_world_does_not_have_are_refused(digits, index, arrival):
    with pytest.raises(ValueError, match=r"index is 200|arrival is 2; \(3, 4, 5\)"):
        Crossroads(digits, TWICE).futures(index, arrival)
