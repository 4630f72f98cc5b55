"""Clips as one picture: every frame where it belongs, and back again."""

import numpy as np
import torch

from course_lib.recipes.film import film, read_film


def draw(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_film_comes_back_from_its_picture():
    clips = draw(3, 5, 1, 8, 8)
    picture = film(clips)
    assert picture.mode == "L"
    assert picture.size == (5 * 10, 3 * 10)
    assert torch.allclose(read_film(picture, 5), clips, atol=1 / 127)


def test_a_film_in_colour_has_a_grey_line_around_each_frame():
    clips = draw(2, 3, 3, 4, 4)
    pixels = np.asarray(film(clips)).reshape(2, 6, 3, 6, 3)  # clip, row, frame, column, colour
    assert (pixels[:, [0, -1]] == 128).all()
    assert (pixels[:, :, :, [0, -1]] == 128).all()
    frame = (clips[1, 2].movedim(0, -1) + 1) * 127.5
    assert np.abs(pixels[1, 1:-1, 2, 1:-1] - frame.numpy()).max() <= 0.51
