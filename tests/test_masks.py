import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.evaluation.masks import flicker, grow, iou

SIZES = st.tuples(*(st.integers(1, high) for high in (3, 4, 5, 6)))  # B, T, H, W
FEW = settings(max_examples=30, deadline=None)


def draw_mask(sizes, share, seed):
    b, t, h, w = sizes
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(b, t, 1, h, w, generator=generator) < share


@FEW
@given(SIZES, st.floats(0, 1), st.integers(0, 99))
def test_iou_counts_the_pixels_of_the_whole_clip(sizes, share, seed):
    predicted, truth = draw_mask(sizes, share, seed), draw_mask(sizes, share / 2, seed + 100)
    for one, other, found in zip(predicted, truth, iou(predicted, truth), strict=True):
        both = either = 0
        for p, q in zip(one.flatten().tolist(), other.flatten().tolist(), strict=True):
            both += p and q
            either += p or q
        assert found.item() == pytest.approx(both / either if either else 1.0, rel=1e-6)


def test_iou_of_the_same_mask_is_one_and_of_disjoint_ones_zero():
    mask = draw_mask((2, 3, 4, 4), 0.5, 0)
    assert iou(mask, mask).tolist() == [1, 1]
    assert iou(mask, ~mask).tolist() == [0, 0]


@FEW
@given(SIZES, st.integers(1, 3), st.floats(0, 1), st.integers(0, 99))
def test_flicker_is_the_mean_change_of_pixels_that_are_busy_in_neither_frame(
    sizes, channels, share, seed
):
    b, t, h, w = sizes
    t += 1
    busy = draw_mask((b, t, h, w), share, seed)
    generator = torch.Generator().manual_seed(seed)
    video = torch.rand(b, t, channels, h, w, generator=generator, dtype=torch.float64) * 2 - 1
    grey = (video.numpy() + 1) / 2 * 255
    for clip, taken, found in zip(grey, busy[:, :, 0].numpy(), flicker(video, busy), strict=True):
        changes = [
            abs(clip[k + 1, c, y, x] - clip[k, c, y, x])
            for k in range(t - 1)
            for c in range(channels)
            for y in range(h)
            for x in range(w)
            if not taken[k, y, x] and not taken[k + 1, y, x]
        ]
        assert found.item() == pytest.approx(np.mean(changes) if changes else 0.0, abs=1e-9)


def test_a_still_video_does_not_flicker_and_a_blinking_one_does_by_its_swing():
    idle = torch.zeros(1, 4, 1, 2, 2, dtype=torch.bool)
    still = torch.rand(1, 1, 3, 2, 2).expand(1, 4, 3, 2, 2)
    assert flicker(still, idle).item() == 0
    blinking = torch.tensor([-1.0, 1, -1, 1])[None, :, None, None, None].expand(1, 4, 3, 2, 2)
    assert flicker(blinking, idle).item() == 255
    assert flicker(blinking, ~idle).item() == 0


def test_a_frame_that_is_busy_hides_both_of_its_changes():
    video = torch.zeros(1, 3, 1, 1, 2)
    video[0, 1] = 1  # both pixels flash in the middle
    busy = torch.zeros(1, 3, 1, 1, 2, dtype=torch.bool)
    busy[0, 1, 0, 0, 0] = True
    assert flicker(video, busy).item() == 127.5  # of the other pixel alone
    video[..., 1] = 0
    assert flicker(video, busy).item() == 0


@pytest.mark.parametrize("shape", [(2, 3, 1, 4, 5), (2, 2, 1, 4, 4), (1, 3, 1, 4, 4)])
def test_a_mask_of_another_clip_is_refused(shape):
    with pytest.raises(ValueError, match=r"busy has shape .*; permitted: \(2, 3, 1, 4, 4\)"):
        flicker(torch.zeros(2, 3, 3, 4, 4), torch.zeros(shape, dtype=torch.bool))


def test_a_single_frame_has_no_flicker_to_measure():
    with pytest.raises(ValueError, match="2 frames or more"):
        flicker(torch.zeros(2, 1, 3, 4, 4), torch.zeros(2, 1, 1, 4, 4, dtype=torch.bool))


@FEW
@given(SIZES, st.integers(0, 3), st.integers(0, 99))
def test_growing_reaches_every_pixel_within_the_distance_and_no_other(sizes, pixels, seed):
    mask = draw_mask(sizes, 0.1, seed)
    grown = grow(mask, pixels)
    assert grown.dtype == torch.bool
    for before, after in zip(mask.flatten(0, 2).numpy(), grown.flatten(0, 2).numpy(), strict=True):
        for (y, x), reached in np.ndenumerate(after):
            rows, columns = np.nonzero(before)
            distances = np.maximum(abs(rows - y), abs(columns - x))
            assert reached == (distances <= pixels).any()
