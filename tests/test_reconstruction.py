"""The gradient difference loss against sums by hand, and what it cannot see."""

import pytest
import torch

from course_lib.methods.reconstruction import gradient_difference_loss


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_it_is_a_mean_for_each_direction(alpha):
    prediction, target = draw(2, 1, 3, 4), draw(2, 1, 3, 4, seed=1)
    p, t = prediction.tolist(), target.tolist()
    across, down = [], []
    for b in range(2):
        for y in range(3):
            for x in range(4):
                if x:
                    true = abs(t[b][0][y][x] - t[b][0][y][x - 1])
                    across.append(abs(true - abs(p[b][0][y][x] - p[b][0][y][x - 1])) ** alpha)
                if y:
                    true = abs(t[b][0][y][x] - t[b][0][y - 1][x])
                    down.append(abs(true - abs(p[b][0][y][x] - p[b][0][y - 1][x])) ** alpha)
    expected = sum(across) / len(across) + sum(down) / len(down)
    assert (len(across), len(down)) == (18, 16)
    found = gradient_difference_loss(prediction, target, alpha=alpha)
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_a_blurred_edge_costs_and_a_brighter_or_inverted_picture_does_not():
    sharp = torch.zeros(1, 4, 8)
    sharp[..., 4:] = 1
    blurred = sharp.clone()
    blurred[..., 3:5] = 0.5
    assert gradient_difference_loss(blurred, sharp).item() == pytest.approx(2 / 7)
    assert gradient_difference_loss(sharp + 0.5, sharp).item() == 0
    assert gradient_difference_loss(1 - sharp, sharp).item() == 0


def test_the_size_of_the_frame_does_not_change_it():
    target = draw(1, 8, 8).round()
    repeated = target.repeat_interleave(3, 0)
    found = gradient_difference_loss(torch.zeros_like(repeated), repeated)
    torch.testing.assert_close(found, gradient_difference_loss(torch.zeros_like(target), target))


@pytest.mark.parametrize(
    ("shapes", "alpha", "message"),
    [
        (((2, 4, 4), (1, 4, 4)), 1.0, r"\(2, 4, 4\); permitted: the target's, \(1, 4, 4\)"),
        (((2, 4, 1), (2, 4, 1)), 1.0, "permitted: .* 2 x 2 pixels"),
        (((2, 4, 4), (2, 4, 4)), 0.5, "alpha is 0.5; permitted: 1 and more"),
    ],
)
def test_a_wrong_call_is_told_what_is_permitted(shapes, alpha, message):
    with pytest.raises(ValueError, match=message):
        gradient_difference_loss(draw(*shapes[0]), draw(*shapes[1]), alpha=alpha)
