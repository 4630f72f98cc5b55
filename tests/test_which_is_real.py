import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import progress
from course_lib.widgets.which_is_real import WhichIsReal, wilson_interval


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))


def clips(first, count=12):
    """Clip n shows nothing but the value first + n, so that a page tells which one it shows."""
    values = np.arange(first, first + count, dtype=np.uint8)
    return np.broadcast_to(values[:, None, None, None], (count, 3, 4, 5)).copy()


def start(seed=0, rounds=10, **changes):
    generator = torch.Generator().manual_seed(seed)
    return WhichIsReal("0.game", clips(0), clips(100), rounds, generator=generator, **changes)


def shown(game):
    """The values that the page is given, left and right, read back from the pictures."""
    pictures = [Image.open(io.BytesIO(clip["sheets"][0])).convert("L") for clip in game.clips]
    return tuple(int(np.asarray(picture)[0, 0]) for picture in pictures)


def play(game, always=None):
    """A whole game of a reader who knows, or always picks one side; what was shown in it."""
    seen = []
    for _ in range(game.rounds):
        pair = shown(game)
        seen.append(pair)
        truth = "left" if pair[0] < 100 else "right"
        game._handle_custom_msg({"pick": always or truth}, [])
        assert game.answer == truth
        if len(seen) < game.rounds:
            game._handle_custom_msg("next", [])
    assert game.over
    return seen


def test_who_knows_the_real_clips_tells_all_apart_and_no_clip_comes_twice():
    game = start()
    seen = play(game)
    real = [min(pair) for pair in seen]
    fake = [max(pair) for pair in seen]
    assert game.right == len(set(real)) == len(set(fake)) == 10
    assert max(real) < 100 <= min(fake)
    assert "Correct: the " in game.said
    (event,) = progress.events("which_is_real")
    assert (event["chapter"], event["id"], event["right"], event["rounds"]) == (0, "game", 10, 10)


def test_the_real_clip_is_left_as_often_as_right():
    sides = [pair[0] < 100 for seed in range(30) for pair in play(start(seed))]
    assert abs(np.mean(sides) - 0.5) < 4 * 0.5 / np.sqrt(len(sides))


def test_always_the_same_side_is_a_guess_and_the_game_says_so():
    game = start(others={"discriminator": 0.93})
    play(game, always="left")
    assert 2 <= game.right <= 8
    assert "so you may have guessed" in game.said
    table = dict(re.findall(r"<tr><td[^>]*>(.*?)</td>.*?</span> (\d+) %", game.said))
    assert table == {"you": f"{10 * game.right}", "discriminator": "93", "guessing": "50"}


def test_a_judge_is_counted_on_the_pairs_that_the_reader_saw():
    """Real clip n has the score n, generated clip 100 + n has 11 - n: higher for about half."""
    ramp = np.arange(12.0)
    game = start(judges={"knows": (ramp, ramp - 100), "half": (ramp, ramp[::-1])}, rounds=5)
    seen = play(game)
    points = {1: 1.0, 0: 0.5, -1: 0.0}
    half = [points[int(np.sign(min(pair) - (111 - max(pair))))] for pair in seen]
    (event,) = progress.events("which_is_real")
    assert event["others"] == {"knows": 1.0, "half": pytest.approx(sum(half) / 5)}
    assert f"{100 * sum(half) / 5:.0f} %" in game.said


def test_the_answer_is_not_on_the_page_before_the_pick():
    for seed in range(5):
        game = start(seed)
        state = game.get_state()
        assert state["answer"] == ""
        left, right = ({k: v for k, v in c.items() if k != "sheets"} for c in state["clips"])
        assert left == right
        said, data = state["said"], game._repr_mimebundle_()[0]
        for text in (said, data["text/plain"], state["alt"]):
            assert not re.search("(left|right|one) (one|clip)? ?is real[.:]", text), text


def test_a_second_pick_or_an_early_next_changes_nothing():
    game = start()
    before = shown(game)
    game.go_on()
    assert shown(game) == before
    game.pick("left")
    right = game.right
    for side in ("left", "right"):
        game.pick(side)
    assert game.right == right
    assert f"Score: {right} of 1." in game.said


def test_after_the_last_round_a_new_game_begins():
    game = start()
    first = play(game)
    game.go_on()
    assert (game.right, game.over, game.answer) == (0, False, "")
    assert "Round 1 of 10." in game.said
    assert play(game) != first
    assert len(progress.events("which_is_real")) == 2


def test_the_same_generator_gives_the_same_game_and_the_global_one_is_left_alone():
    state = torch.get_rng_state()
    assert play(start(7)) == play(start(7)) != play(start(8))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("right", "rounds"), [(0, 10), (5, 10), (8, 10), (10, 10), (1, 3)])
def test_the_interval_ends_where_the_share_is_196_standard_errors_away(right, rounds):
    grid = np.linspace(0, 1, 1_000_001)
    inside = np.abs(right / rounds - grid) <= 1.96 * np.sqrt(grid * (1 - grid) / rounds)
    inside |= np.isclose(grid, right / rounds)
    assert wilson_interval(right, rounds) == pytest.approx(
        (grid[inside].min(), grid[inside].max()), abs=2e-6
    )


def test_a_page_without_a_kernel_shows_the_pair():
    data, metadata = start()._repr_mimebundle_()
    assert "Run this notebook in JupyterLab to play." in metadata["image/png"]["alt"]
    assert len(data["image/png"]) > 1000


def test_clips_may_have_colours():
    colour = np.zeros((2, 3, 4, 5, 3), np.uint8)
    game = WhichIsReal("0.game", colour, colour, 2)
    assert len(game.clips) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"key": "game"}, "key is 'game'"),
        ({"real": clips(0).astype(float)}, "real is float64 of shape (12, 3, 4, 5); uint8"),
        ({"fake": clips(0)[0]}, "fake is uint8 of shape (3, 4, 5)"),
        ({"fake": clips(0)[:, :2]}, "real clips are (3, 4, 5), fake ones (2, 4, 5)"),
        ({"fake": clips(0, 9)}, "rounds is 10; 1..9, as many as fake has clips"),
        ({"rounds": 0}, "rounds is 0; 1..12"),
        ({"fps": 0}, "fps is 0; 1..60"),
        ({"others": {"network": 93}}, "the share of 'network' is 93; 0..1"),
        ({"judges": {"network": ([1.0], [0.0] * 12)}}, "'network' gives scores of shape (1,); 12"),
        ({"judges": {"network": ([0.0] * 12, [np.nan] * 12)}}, "12 finite ones are needed"),
    ],
)
def test_what_makes_no_game_is_named(wrong, message):
    given = {"key": "0.game", "real": clips(0), "fake": clips(100)} | wrong
    with pytest.raises(ValueError, match=re.escape(message)):
        WhichIsReal(**given)


def test_a_side_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="side is 'up'; left or right"):
        start().pick("up")
