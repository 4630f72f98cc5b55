import hashlib

import numpy as np
import pytest
import torch

from course_lib.data import pedestrians
from course_lib.data.pedestrians import cut_clip, load_pedestrians, load_strip, median_background
from course_lib.paths import DATA
from course_lib.recipes.pedestrians import decode, shrink


def test_the_splits_are_the_first_600_and_the_last_195_frames_of_one_recording():
    train, test = load_strip("train"), load_strip("test")
    assert train.shape == (600, 1, 64, 192)
    assert test.shape == (195, 1, 64, 192)
    # In the file each frame is stored as a change from the one before, also across the split.
    with np.load(DATA / "pedestrians.npz") as stored:
        change = stored["changes"][600].astype(np.int8).astype(int)
    step = test[0, 0].int() - train[-1, 0].int()
    assert torch.equal(step, torch.from_numpy(2 * change).int())


def test_neighbouring_frames_look_alike_and_far_ones_less_so():
    frames = load_strip("train").float()
    near = (frames[1:100] - frames[:99]).abs().mean()
    far = (frames[400:499] - frames[:99]).abs().mean()
    assert near < 6
    assert far > near + 1


def test_clips_hold_walking_people_in_minus_one_to_one():
    for split, least in (("train", 70), ("test", 20)):
        clips = load_pedestrians(split)
        assert clips.shape[1:] == (20, 1, 64, 64)
        assert len(clips) >= least
        assert -1 <= clips.min() < -0.8
        assert 0.8 < clips.max() <= 1
        moves = (clips[:, 1:] - clips[:, :-1]).abs().amax((1, 2, 3, 4))
        assert (moves > 0.4).all()


def test_no_two_clips_of_a_split_show_the_same_frame():
    clips = load_pedestrians("test")
    frames = [frame.numpy().tobytes() for frame in clips.flatten(0, 1)]
    assert len(set(frames)) == len(frames)


def test_no_test_clip_is_made_of_training_frames():
    train, test = load_pedestrians("train"), load_pedestrians("test")
    nearest = torch.cdist(test[:, 0].flatten(1), train.flatten(0, 1).flatten(1)).min()
    assert nearest > 0


def test_a_clip_is_the_window_asked_for():
    strip = load_strip("test")
    clip = cut_clip(strip, start=5, left=70, num_frames=3)
    assert clip.shape == (3, 1, 64, 64)
    assert clip[1, 0, 10, 4].item() == pytest.approx(strip[6, 0, 10, 74].item() / 127.5 - 1)


def test_a_caller_cannot_spoil_the_frames_of_the_next():
    load_strip("test").zero_()
    assert load_strip("test").any()


def test_the_median_background_forgets_whoever_walks_through():
    frames = torch.full((9, 1, 4, 4), 100, dtype=torch.uint8)
    frames[2, :, 1] = 0
    frames[3, :, 2] = 0
    assert (median_background(frames) == 100).all()


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: load_strip("valid"), "'valid'; permitted: train, test"),
        (lambda: load_pedestrians("test", 196), "196; test allows 1..195"),
        (lambda: load_pedestrians("test", 0), "0; test allows 1..195"),
        (lambda: cut_clip(load_strip("test"), 176, 0), "176; 20 frames allow 0..175"),
        (lambda: cut_clip(load_strip("test"), 0, 129), "129; permitted: 0..128"),
        (lambda: cut_clip(load_strip("test"), -1, 0), "-1; 20 frames allow 0..175"),
        (lambda: cut_clip(load_strip("test"), 0, 0, 300), "300; these frames allow 1..195"),
    ],
)
def test_errors_name_what_was_given_and_what_is_permitted(call, named):
    with pytest.raises(ValueError, match=named.replace(".", r"\.")):
        call()


def test_shrinking_averages_nine_pixels_of_the_right_place():
    frame = np.zeros((576, 768, 3), np.uint8)
    frame[3 * 46 : 3 * 46 + 3, 3 * 56 : 3 * 56 + 3] = 180  # one full pixel at the strip's corner
    frame[3 * 50, 3 * 60] = 180  # a ninth of a pixel
    strip = shrink(frame)
    assert strip.shape == (64, 192)
    assert strip[0, 0] == 90
    assert strip[4, 4] == 10
    assert np.count_nonzero(strip) == 2


def test_another_video_is_refused_by_its_hash(tmp_path):
    other = tmp_path / "other.avi"
    other.write_bytes(b"not the film")
    with pytest.raises(ValueError, match=hashlib.sha256(b"not the film").hexdigest()):
        next(decode(other))


def test_the_file_is_small_and_named_with_its_hash():
    content = pedestrians.PEDESTRIANS_FILE.read_bytes()
    assert len(content) <= 2.5e6
    rows = (DATA / "README.md").read_text(encoding="utf-8").splitlines()
    [row] = [row for row in rows if row.startswith("| `pedestrians.npz`")]
    assert hashlib.sha256(content).hexdigest() in row
