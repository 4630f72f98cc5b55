"""Pictures into noise and back: an oracle with a closed form, and what is written down."""

import json
import math
from itertools import pairwise
from typing import cast

import pytest
import torch

from course_lib.data.digits import load_digits
from course_lib.methods.noise import linear
from course_lib.models.dit import DiT
from course_lib.recipes import eta_inversion
from course_lib.recipes.digit_diffusion import DIGITS, SCHEDULE, framed_digits
from course_lib.recipes.eta_inversion import ETA_INVERSION, round_trip


def test_of_a_standard_normal_every_move_upwards_stretches_by_a_known_factor():
    """With sqrt(alpha_bar) = cos(a) the best guess of the noise is sin(a) x."""
    table = linear(20, 1e-3, 0.3).alphas_cumprod
    angle = [0.0, *(math.acos(math.sqrt(a)) for a in table.tolist())]
    x0, timesteps = torch.randn(3, 1, 4, 4, dtype=torch.float64), [1, 4, 11, 19]
    asked = []

    def eps_network(x, t):
        asked.append(t)
        return math.sin(angle[t + 1]) * x

    found = eta_inversion.invert(x0, eps_network, timesteps, table)
    # The clean picture is asked about as if at step 0.
    factor = math.cos(angle[2]) + math.sin(angle[2]) * math.sin(angle[1])
    for t, after in pairwise(timesteps):
        factor *= math.cos(angle[after + 1] - angle[t + 1])
    torch.testing.assert_close(found, factor * x0)
    assert asked == [0, 1, 4, 11]


def test_the_way_up_is_the_given_one_and_the_way_down_is_ddim_s():
    model = stranger()
    x0, label = (part[:2] for part in framed_digits("test"))
    got = {}

    def invert(pictures, eps_network, timesteps, table):
        got.update(timesteps=timesteps, table=table, guess=eps_network(pictures, 3))
        return 7 * torch.ones_like(pictures)

    x_T, back = round_trip(model, x0, label, 5, invert)
    assert got["timesteps"] == [0, 200, 400, 600, 800]
    assert torch.equal(got["table"], SCHEDULE.alphas_cumprod)
    angle = {-1: 0.0, **dict(enumerate(SCHEDULE.alphas_cumprod.sqrt().acos().tolist()))}
    torch.testing.assert_close(got["guess"], math.sin(angle[3]) * x0)
    assert torch.equal(x_T, torch.full_like(x0, 7))
    walked = pairwise([800, 600, 400, 200, 0, -1])
    factor = math.prod(math.cos(angle[t] - angle[t_prev]) for t, t_prev in walked)
    torch.testing.assert_close(back, torch.full_like(x0, 7 * factor))


def test_the_way_down_with_chance_depends_on_the_generator():
    model = stranger()
    x0, label = (part[:2] for part in framed_digits("test"))
    one, other, again = (
        round_trip(model, x0, label, 5, eta=1.0, generator=torch.Generator().manual_seed(seed))[1]
        for seed in (0, 1, 0)
    )
    assert torch.equal(one, again)
    assert (one - other).abs().min() > 0


def test_a_pad_s_digit_is_framed_as_the_network_s_digits_are():
    shipped = load_digits("test").images[:3]
    assert torch.equal(eta_inversion.frame(shipped), framed_digits("test")[0][:3])


def test_a_picture_of_the_wrong_shade_has_the_square_of_its_distance():
    half = torch.zeros(3, 1, 2, 2)
    assert eta_inversion.squared_error(half, half - 1).value == 0.25


@pytest.mark.parametrize("part", ["mean_image", "steps_10"])
def test_the_shipped_network_gives_the_errors_that_were_written_down(part):
    written = json.loads(ETA_INVERSION.results.read_text(encoding="utf-8"))["metrics"]
    for name, metric in ETA_INVERSION.parts[part]().items():
        assert metric.value == pytest.approx(written[name]["value"], rel=0.01)


def stranger():
    """An untrained network: it answers v = 0, as if digits were standard normal noise."""
    return cast(DiT, DIGITS._build(DIGITS.small)).eval()
