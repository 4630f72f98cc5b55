"""The sliders that choose what stands below a network's score."""

from dataclasses import replace

import numpy as np
import pytest
from test_player import frame_on_screen

from course_lib.evaluation.scaling import Network
from course_lib.widgets.scaling_plane import (
    AXES,
    BROUGHT_OUT,
    PANEL,
    ScalingPanel,
    ScalingPlane,
    correlation,
)

SCORES = {("small", "patch 8"): 9.0, ("small", "patch 4"): 5.0, ("large", "patch 8"): 7.0}
SCORES[("large", "patch 4")] = 2.0
NETWORKS = [
    Network(
        name=f"{size}/{patch[-1]}",
        size=size,
        patch=patch,
        mega_parameters=10.0 if size == "small" else 40.0,
        mega_macs=(10.0 if size == "small" else 40.0) * (16 if patch == "patch 8" else 64),
        score=score,
        num_tokens=16 if patch == "patch 8" else 64,
    )
    for (size, patch), score in SCORES.items()
]
ALONE = Network("U-Net", "U-Net", "U-Net", 20.0, 700.0, 4.0)
BLACK, ORANGE = (0x22, 0x22, 0x22), (0xD5, 0x5E, 0)


@pytest.fixture(scope="module")
def player():
    equal = ("small/4", "large/8")
    return ScalingPlane(
        {
            "theirs": ScalingPanel(NETWORKS, "FID", equal),
            "ours": ScalingPanel([*NETWORKS, ALONE], "loss", equal, log=True),
        },
        "points",
    )


def text(player, axis):
    place = np.ravel_multi_index((axis, 0, 0), (len(AXES), len(BROUGHT_OUT), 1))
    return player.captions["texts"][player.captions["index"][place]]


def near(pixels, colour):
    return int((np.abs(pixels.astype(int) - colour).max(-1) < 30).sum())


def test_every_choice_shows_another_picture(player):
    assert len(set(player.panels[0]["index"])) == len(AXES) * len(BROUGHT_OUT)
    picked = {s["name"]: s["labels"][player.value[s["name"]]] for s in player.sliders}
    assert picked == {"x axis": "log multiply-accumulates", "lines": "each size"}


def test_captions_hold_the_correlation_of_each_panel(player):
    """Log tokens -1 -1 1 1 and scores 9 7 5 2: -9 over the root of 4 times 26.75."""
    assert f"theirs, FID: {-9 / (4 * 26.75) ** 0.5:+.2f} (" in text(player, 2)
    logs = np.log10([9, 7, 5, 2]) - np.log10([9, 7, 5, 2]).mean()
    expected = -(logs[:2].sum() - logs[2:].sum()) / (4 * (logs @ logs)) ** 0.5
    assert f"ours, log loss: {expected:+.2f} (" in text(player, 2)
    assert "log" not in text(player, 3).split("theirs")[0]


def test_a_network_without_tokens_counts_in_no_correlation():
    without = ScalingPanel(NETWORKS, "loss", ())
    for axis in AXES:
        assert correlation(replace(without, networks=[*NETWORKS, ALONE]), axis) == correlation(
            without, axis
        )


def test_a_network_without_tokens_is_drawn_everywhere_but_above_tokens(player):
    height, width = player._frames[PANEL].shape[-3:-1]
    inside = (slice(height // 4, 4 * height // 5), slice(width // 2 + 50, None))
    seen = [near(frame_on_screen(player, PANEL, k, 0, 0)[inside], BLACK) for k in range(4)]
    assert min(seen[0], seen[1], seen[3]) > 40
    assert seen[2] < 5


def test_equal_work_leaves_colour_to_those_alone(player):
    colours = [near(frame_on_screen(player, PANEL, 1, k, 0), ORANGE) for k in range(3)]
    assert colours[0] > colours[1] > colours[2] > 40  # lines, points, one point of two


def test_it_is_small(player):
    assert player.num_bytes < 160_000
    assert len(player.contact_sheet()) < 60_000


def test_without_points_there_is_nothing_to_draw():
    with pytest.raises(ValueError, match="panels is empty"):
        ScalingPlane({}, "points")
    with pytest.raises(ValueError, match="4 or more"):
        ScalingPlane({"few": ScalingPanel(NETWORKS[:3], "FID", ())}, "points")
