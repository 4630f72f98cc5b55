"""The conditionings picture by picture: signs, pairs, and that the same steps are meant."""

from dataclasses import replace

import pytest
import torch
from test_dit_recipes import TINY, make

from course_lib.recipes import dit_pairs as pairs
from course_lib.recipes.dit_conditioning import MEMBERS, held_out_losses

DIGITS = 1500


@pytest.fixture
def planted(monkeypatch):
    """Losses that differ by conditioning, seed and step as written here."""

    def losses(conditioning, seed):
        first = torch.linspace(0, 1, DIGITS).repeat(2, 1)
        late = (pairs.steps() >= 750).float()
        return first + (conditioning == "in-context") * (0.3 + 0.1 * seed + late) + 0.01 * seed

    monkeypatch.setattr(pairs, "losses", losses)


def test_a_difference_is_the_other_less_the_baseline_of_the_same_seed(planted):
    found = pairs.against_baseline("in-context", 2)
    quarters = [found[f"minus_in_context_2_quarter_{k}"].value for k in (1, 2, 3, 4)]
    assert quarters == pytest.approx([0.5, 0.5, 0.5, 1.5], abs=1e-4)
    assert found["minus_in_context_2"].value == pytest.approx(0.75, abs=0.03)
    assert found["minus_in_context_2"].low < found["minus_in_context_2"].value


def test_seeds_are_compared_within_a_conditioning_and_over_all_of_them(planted):
    found = pairs.between_seeds("adaLN-Zero", 0, 2)["seeds_adaln_zero_02"]
    assert found.value == pytest.approx(0.02, abs=1e-5)
    over = pairs.over_seeds("in-context")["over_seeds_in_context"]
    middle = 0.4 + (pairs.steps() >= 750).float().mean().item()
    assert over.value == pytest.approx(middle, abs=1e-4)
    # .1 is the standard deviation over three seeds
    assert over.high - over.value == pytest.approx(4.303 * 0.1 / 3**0.5, abs=1e-3)


def test_the_steps_are_those_of_the_exam():
    seen = []

    class Spy(torch.nn.Linear):
        def forward(self, x, t, label):
            seen.append(t)
            return torch.zeros_like(x)

    held_out_losses(Spy(1, 1))
    assert torch.equal(torch.cat(seen).float(), pairs.steps().flatten())


def test_what_a_network_loses_without_the_class_is_above_zero(monkeypatch):
    """Told a class it guesses zero, told none it guesses ten."""
    model = make(TINY)

    def guess(x, t, label):
        del t
        return 10.0 * (label == pairs.NUM_CLASSES)[:, None, None, None] + 0 * x

    monkeypatch.setattr(model, "forward", guess)
    assert (pairs.hidden(model) > 50).all()


def test_a_network_that_is_deaf_loses_nothing_when_the_class_is_hidden():
    model = make(replace(TINY, conditioning="in-context"))
    assert pairs.hidden(model).abs().max() == 0
    with torch.no_grad():
        for block in model.blocks:
            block.mlp[2].weight.mul_(3)
        model.final.to_patches.weight.normal_()
        assert pairs.hidden(model).abs().max() > 0


@torch.no_grad()
def test_what_a_block_adds_is_measured_on_the_tokens_of_the_picture_alone():
    assert pairs.added(make()) == [0, 0]
    model = make(replace(TINY, conditioning="in-context"))

    class Doubling(torch.nn.Module):
        def forward(self, x):
            return torch.cat([3 * x[:, :4], 50 * x[:, 4:]], 1)  # 4 patches, then time and class

    model.blocks[1] = Doubling()
    assert pairs.added(model)[1] == pytest.approx(2, abs=1e-5)


def test_every_part_asks_networks_that_there_are():
    assert {*pairs.PAIRS.parts} == {*pairs.PAIRS.asks}
    assert "minus_adaln_zero_0" not in pairs.PAIRS.parts
    assert pairs.PAIRS.asks["minus_in_context_1"] == (
        MEMBERS["in-context", 1],
        MEMBERS["adaLN-Zero", 1],
    )
    assert len(pairs.PAIRS.asks["over_seeds"]) == 6
