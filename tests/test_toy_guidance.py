"""Four numbers with a class: the exact guess, and what guidance on three of them does."""

import pytest
import torch

from course_lib.recipes import toy_guidance as toy


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("label", [0, 1, toy.NO_CLASS])
def test_the_guess_of_the_noise_is_the_slope_of_the_noisy_density(label):
    x = toy.starts(6, generator=seeded(0))
    means = toy.DISTANCE / 2 * torch.tensor([1.0, -1.0]).double()[:, None].expand(-1, 4)
    chosen = means if label == toy.NO_CLASS else means[label : label + 1]
    for level in (50, 500, 950):
        alpha_bar = toy.SCHEDULE.alpha_bar(level)
        points = x.flatten(1).clone().requires_grad_()
        squares = (points[:, None] - alpha_bar.sqrt() * chosen).square().sum(-1)
        variance = alpha_bar * toy.SPREAD**2 + 1 - alpha_bar
        (slope,) = torch.autograd.grad((-squares / (2 * variance)).logsumexp(1).sum(), points)
        answer = toy.network(x, torch.full((6,), level), torch.full((6,), label))
        assert answer.shape == (6, 8, 1, 1)
        torch.testing.assert_close(answer[:, :4].flatten(1), -(1 - alpha_bar).sqrt() * slope)
        assert not answer[:, 4:].any()


def test_each_example_has_its_own_time_and_class():
    x, t = toy.starts(3, generator=seeded(1)), torch.tensor([10, 400, 900])
    label = torch.tensor([1, 0, toy.NO_CLASS])
    together = toy.network(x, t, label)
    for i in range(3):
        one = slice(i, i + 1)
        torch.testing.assert_close(together[one], toy.network(x[one], t[one], label[one]))
    with pytest.raises(ValueError, match=r"label is \[3\]; permitted: 0\.\.2"):
        toy.network(x[:1], t[:1], torch.tensor([3]))


def ends(scale, channels):
    """Means of walks whose first `channels` are guided."""
    label = torch.zeros(300, dtype=torch.int64)

    def answer(x_t, t):
        given, free = toy.network(x_t, t, label), toy.network(x_t, t, label + toy.NO_CLASS)
        return torch.cat([(free + scale * (given - free))[:, :channels], given[:, channels:]], 1)

    return toy.walk(answer, toy.starts(300, generator=seeded(2))).mean(0)


def test_walks_without_guidance_end_at_the_class_and_guidance_pushes_them_outwards():
    plain, pushed = ends(1.0, 4), ends(3.0, 4)
    assert plain.mean().item() == pytest.approx(toy.DISTANCE / 2, abs=0.1)
    assert ((pushed - plain) > 0.3).all()
    assert (pushed - plain).std().item() < 1e-6  # all channels alike


@pytest.mark.parametrize("more", [0.5, 3.0])
def test_three_of_four_channels_push_as_far_as_three_quarters_of_the_scale_and_aslant(more):
    three, quarters = ends(1 + more, 3), ends(1 + 0.75 * more, 4)
    assert three.mean().item() == pytest.approx(quarters.mean().item(), abs=1e-6)
    assert three[3].item() == pytest.approx(ends(1.0, 4)[3].item(), abs=1e-6)
    assert (three[:3] > quarters[:3]).all()
