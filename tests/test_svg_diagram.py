"""The diagram of SVG: what each stage shows and says, in training and in testing."""

import re

import numpy as np
import pytest
import torch

from course_lib.data.video import to_panel
from course_lib.widgets.svg_diagram import _picture, draw_step, svg_diagram

CONTEXT, STAGES = 2, 5


def clips():
    """Two futures of one past that part in frame 3."""
    happened = torch.linspace(-1, 1, 6)[:, None, None, None].expand(6, 1, 4, 4).clone()
    drawn = happened.clone()
    drawn[3:] = -drawn[3:]
    return happened, drawn


@pytest.fixture(scope="module")
def shown():
    """The pictures (mode, stage, H, W, 3) and the captions (mode, stage)."""
    player = svg_diagram(*clips(), CONTEXT, width=160)
    texts, index = player.captions["texts"], player.captions["index"]
    said = np.array([texts[k] for k in index]).reshape(2, -1)
    return player._frames["a sketch; no network computes here"], said


def test_three_frames_are_predicted_in_five_stages_each(shown):
    pictures, said = shown
    assert pictures.shape == (2, 15, 98, 160, 3)
    assert said.shape == (2, 15)


def test_every_stage_differs_from_the_one_before(shown):
    pictures, said = shown
    for mode in range(2):
        changed = (pictures[mode, 1:] != pictures[mode, :-1]).any(-1).mean((1, 2))
        assert changed.min() > 0.003
        assert (said[mode, 1:] != said[mode, :-1]).all()


def test_training_and_testing_differ_in_every_stage(shown):
    pictures, said = shown
    assert (pictures[0] != pictures[1]).any(-1).mean((1, 2)).min() > 0.02
    differs = (said[0] != said[1]).reshape(-1, STAGES)
    assert differs.all(0).tolist() == [True, True, True, False, True]


def test_captions_name_the_frame_that_is_predicted_and_none_that_comes_later(shown):
    _, said = shown
    for mode in range(2):
        for k, t in enumerate((2, 3, 4)):
            stages = said[mode, k * STAGES : (k + 1) * STAGES]
            numbers = [set(map(int, re.findall(r"\d+", text))) for text in stages]
            assert numbers[0] == {0, t - 1}
            assert set().union(*numbers) == {0, t - 1, t}


def test_only_training_is_told_of_the_target(shown):
    _, said = shown
    assert "q, which has seen the target" in said[0, 2]
    assert "p, which has seen the past" in said[1, 2]


@pytest.mark.parametrize(("stage", "hidden"), [(2, True), (3, False)])
def test_the_future_is_hidden_in_testing_until_it_is_drawn(stage, hidden):
    first, second = (to_panel(clip) for clip in clips())
    pictures = [
        _picture("testing", clip, CONTEXT, 3, stage, event=False).pixels(160)
        for clip in (first, second)
    ]
    assert np.array_equal(pictures[0], pictures[1]) == hidden


def test_the_still_diagram_lights_every_box_and_has_words():
    picture = draw_step(clips()[0], CONTEXT, 3, "training", "All of it.")
    assert picture.alt == "All of it."
    colourful = np.ptp(picture.pixels(240).astype(int), axis=-1) > 80
    assert colourful.mean() > 0.05


@pytest.mark.parametrize("context", [0, 4])
def test_a_context_that_leaves_too_few_frames_is_refused(context):
    happened, _ = clips()
    with pytest.raises(ValueError, match=f"context is {context}; 1..3"):
        svg_diagram(happened, happened, context)


def test_clips_of_different_pasts_are_refused():
    happened, drawn = clips()
    with pytest.raises(ValueError, match="one past is needed"):
        svg_diagram(happened, drawn, 4)
