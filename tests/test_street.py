"""The street's recipe: it draws from training frames alone, and its figures mean what they say."""

import pytest
import torch

from course_lib.data.pedestrians import load_strip
from course_lib.data.video import to_float
from course_lib.models.convlstm import ConvLSTM, ConvLSTMConfig
from course_lib.recipes import street
from course_lib.recipes.street import STREET


def draw(seed):
    return street.draw(STREET.small, torch.Generator().manual_seed(seed))


def test_a_batch_holds_context_and_future_of_the_same_clip():
    batch = draw(0)
    assert batch["context"].shape == (STREET.small.batch_size, 5, 1, 64, 64)
    assert batch["future"].shape == (STREET.small.batch_size, 10, 1, 64, 64)
    # Consecutive frames of a fixed camera are nearly equal; those of two clips are not.
    across = (batch["context"][:, -1] - batch["future"][:, 0]).abs().mean()
    shuffled = (batch["context"][:, -1] - batch["future"].roll(1, 0)[:, 0]).abs().mean()
    assert across < shuffled / 2


def test_equal_seeds_draw_equal_batches_and_different_seeds_do_not():
    assert torch.equal(draw(3)["future"], draw(3)["future"])
    assert not torch.equal(draw(3)["future"], draw(4)["future"])


def test_every_clip_is_cut_from_the_training_frames():
    frames = to_float(load_strip("train"))
    batch = draw(1)
    for clip in batch["context"][:3]:
        first = clip[0]
        found = any(
            bool((frames[..., left : left + 64] == candidate).flatten(1).all(1).any())
            for candidate in (first, first.flip(-1))
            for left in range(frames.shape[-1] - 63)
        )
        assert found


class Repeating(ConvLSTM):
    def __init__(self):
        super().__init__(ConvLSTMConfig(size=8, dims=(1,)))

    def predict(self, context, horizon, *, generator=None):
        return context[:, -1:].expand(-1, horizon, -1, -1, -1)


class Grey(Repeating):
    def predict(self, context, horizon, *, generator=None):
        return torch.zeros(len(context), horizon, 1, 64, 64)


def test_repeating_the_last_frame_has_error_one_and_stays_sharp():
    found = street.evaluate(Repeating(), STREET.small)
    assert found["error_to_repeating"].value == pytest.approx(1)
    assert found["sharpness_last"].value == pytest.approx(1, abs=0.1)


def test_a_grey_picture_has_no_sharpness():
    found = street.evaluate(Grey(), STREET.small)
    assert found["sharpness_first"].value == 0
    assert found["sharpness_last"].high == 0


def test_the_shipped_network_beats_repeating_and_blurs_more_the_further_it_looks():
    found = street.evaluate(STREET.load(), STREET.small)
    assert found["error_to_repeating"].high < 1
    assert found["sharpness_last"].high < found["sharpness_first"].low < 1
