"""The sliders that show what attention costs."""

import numpy as np
import pytest
from test_player import frame_on_screen

from course_lib.widgets.attention_cost_bars import FRAMES, MAPS, PANEL, WINDOWS, AttentionCostBars


@pytest.fixture(scope="module")
def player():
    return AttentionCostBars(48)


def widths(pixels):
    """Pixels of blue, green and orange in the row through each bar's upper part."""
    colours = {"blue": (0, 0x72, 0xB2), "green": (0, 0x9E, 0x73), "orange": (0xD5, 0x5E, 0)}
    return [
        int((pixels == colour).all(-1).sum(1).max()) for colour in map(np.array, colours.values())
    ]


def test_every_size_of_the_grid_has_bars_as_long_as_the_logarithms_say(player):
    for a, b in np.ndindex(len(FRAMES), len(MAPS)):
        c = (a + b) % len(WINDOWS)
        pixels = frame_on_screen(player, PANEL, a, b, c, 0)
        tokens = FRAMES[a] * MAPS[b] ** 2
        costs = [96 * tokens * n for n in (WINDOWS[c] ** 2, FRAMES[a], tokens)]
        expected = [(np.log10(cost) - 4) / 9 * (560 - 70 - 120) for cost in costs]
        np.testing.assert_allclose(widths(pixels), expected, atol=1.6)
    assert len(set(player.panels[0]["index"])) == len(FRAMES) * len(MAPS) * len(WINDOWS)


def test_it_begins_at_the_paper_s_size(player):
    picked = {s["name"]: s["labels"][player.value[s["name"]]] for s in player.sliders}
    assert list(picked.values()) == ["20", "8", "4"]
    texts = [player.captions["texts"][k] for k in player.captions["index"]]
    place = np.ravel_multi_index((3, 0, 1), (len(FRAMES), len(MAPS), len(WINDOWS)))
    assert texts[place].startswith("Joint attention costs 35.6 times as much")
    assert texts[place].endswith("time costs more than windows.")


def test_it_is_small(player):
    assert player.num_bytes < 80_000
    assert len(player.contact_sheet()) < 90_000
