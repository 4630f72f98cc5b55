import numpy as np
import pytest
import torch

from course_lib.data import video


def test_every_byte_survives_the_way_there_and_back():
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(video.to_bytes(video.to_float(pixels)), pixels)


def test_the_ends_of_the_range_are_minus_one_and_one():
    ends = video.to_float(torch.tensor([0, 255], dtype=torch.uint8))
    assert ends.tolist() == [-1.0, 1.0]
    assert ends.dtype == torch.float32


def test_values_outside_the_range_are_clipped_for_display():
    assert video.to_bytes(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_a_panel_is_grey_or_colour_with_the_channel_last():
    clip = torch.rand(2, 4, 3, 5, 6) * 2 - 1
    assert video.to_panel(clip).shape == (2, 4, 5, 6, 3)
    assert np.array_equal(video.to_panel(clip)[1, 2, ..., 0], video.to_bytes(clip[1, 2, 0]).numpy())
    assert video.to_panel(clip[:, :, :1]).shape == (2, 4, 5, 6)


def test_a_mosaic_keeps_every_tile_in_its_place():
    clips = torch.rand(6, 4, 1, 5, 7)
    tiles = video.mosaic(clips, columns=3)
    assert tiles.shape == (4, 1, 11, 23)
    assert (tiles[..., 5, :] == 0).all()
    assert (tiles[..., 7] == 0).all()
    for n in range(6):
        row, column = divmod(n, 3)
        tile = tiles[..., row * 6 : row * 6 + 5, column * 8 : column * 8 + 7]
        assert torch.equal(tile, clips[n])


def test_tiles_that_fill_no_rectangle_are_refused():
    with pytest.raises(ValueError, match="7 clips do not fill rows of columns = 3"):
        video.mosaic(torch.rand(7, 1, 1, 2, 2), columns=3)


def test_a_split_loses_no_frame():
    clip = torch.rand(2, 5, 1, 3, 3)
    context, future = video.split(clip, 2)
    assert torch.equal(torch.cat([context, future], 1), clip)
    assert context.shape[1] == 2


@pytest.mark.parametrize("context", [0, 5, -1])
def test_a_split_that_leaves_a_side_empty_is_refused(context):
    with pytest.raises(
        ValueError, match=rf"context is {context}; a clip of 5 frames allows 1\.\.4"
    ):
        video.split(torch.rand(2, 5, 1, 3, 3), context)
