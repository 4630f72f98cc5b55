import json
import math
import re
from itertools import pairwise

import pytest

from course_lib import progress
from course_lib.widgets.curve import Curve

NAMES = ["eta = 0", "eta = 1"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))


def ask(**changes):
    axes = {"low": 1, "high": 1000, "xlabel": "steps", "ylabel": "distance", "log": True} | changes
    places = axes.pop("places", [10, 50, 100])
    return Curve("6.steps", "How far?", places, axes.pop("names", NAMES), **axes)


def draw(question, *levels):
    """An answer the page could send: the heights at these levels, a row for each curve."""
    heights = question.plane["heights"]
    lines = [[heights[level] for level in row] for row in levels]
    return dict(zip(question.plane["names"], lines, strict=True))


def sent(widget):
    data, _ = widget._repr_mimebundle_()
    state = {k: v for k, v in widget.get_state().items() if k not in ("_esm", "_css", "layout")}
    return json.dumps(data["text/plain"] + data["text/html"]) + json.dumps(state)


def test_heights_are_equal_steps_of_the_axis_between_its_ends():
    logarithmic, plain = ask().plane["heights"], ask(low=2, high=8, log=False).plane["heights"]
    assert (logarithmic[0], logarithmic[20], logarithmic[-1]) == (1, 10, 1000)
    assert all(a < b for a, b in pairwise(logarithmic))
    assert plain == pytest.approx([2 + n / 10 for n in range(61)])


def test_nothing_of_the_curves_leaves_python_before_a_prediction():
    reveal = ask().reveal({"eta = 0": [37.7] * 3, "eta = 1": [41.9] * 3}, explanation="Because.")
    assert "commit a prediction" in sent(reveal)
    assert not re.search("37[.]7|41[.]9|Because|svg", sent(reveal))


def test_the_error_on_a_logarithmic_axis_is_the_mean_factor():
    question = ask()
    reveal = question.reveal({"eta = 0": [100, 100, 100], "eta = 1": [1000, 1000, 400]})
    answer = draw(question, [20, 40, 60], [40, 40, 40])  # 10, 100, 1000 and 100, 100, 100
    question._handle_custom_msg({"commit": answer}, [])
    (event,) = progress.events("reveal")
    # factors 10, 1, 10 and 10, 10, 4
    assert event["factor"] == pytest.approx((10**4 * 4) ** (1 / 6))
    assert "off by a factor of 5.8 on average" in reveal.answer
    # lower, equal, higher where the truth is lower at all three
    assert "order of the curves is right at 1 of 3 places" in reveal.answer
    assert question.status == "You predict eta = 0: 10, 100, 1000; eta = 1: 100, 100, 100."


def test_the_error_on_a_plain_axis_is_the_mean_difference_and_one_curve_has_no_order():
    question = ask(low=0, high=6, log=False, names=["valid"])
    reveal = question.reveal({"valid": [1.5, 2.0, 0.0]})
    question.commit(draw(question, [10, 20, 30]))
    (event,) = progress.events("reveal")
    assert event["error"] == pytest.approx((0.5 + 0 + 3) / 3)
    assert "Your points are off by 1.17 on average." in reveal.answer
    assert "order" not in reveal.answer


def test_a_height_is_drawn_where_its_tick_is_and_the_interval_around_the_curve():
    question = ask()
    flat, wide = [100.0] * 3, ([10.0] * 3, [1.0] * 3, [100.0] * 3)
    reveal = question.reveal({"eta = 1": flat, "eta = 0": wide})
    question.commit(draw(question, [60] * 3, [0] * 3))
    ticks = {
        float(label): float(y) - 4
        for y, label in re.findall(r'y="([\d.]+)" text-anchor="end">([\d.]+)<', reveal.answer)
    }
    assert set(ticks) == {1, 10, 100, 1000}
    assert ticks[1000] < ticks[100] < ticks[1]  # pixels count downwards
    heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', reveal.answer)]
    assert heights == pytest.approx([ticks[10]] * 3 + [ticks[100]] * 3, abs=0.11)
    bars = re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", reveal.answer)
    spans = {tuple(round(float(y)) for y in bar) for bar in bars}
    pairs = [(1000, 10), (1, 100), (1, 100), (100, 100)]  # errors and intervals of both curves
    assert spans == {tuple(round(ticks[h]) for h in pair) for pair in pairs}


def test_a_measured_point_beyond_the_axis_widens_it():
    question = ask(names=["a"])
    reveal = question.reveal({"a": [10, 10, 1e5]})
    question.commit(draw(question, [0, 0, 0]))
    assert ">100000<" in reveal.answer
    assert all(float(y) >= 0 for y in re.findall(r'cy="(-?[\d.]+)"', reveal.answer))


def test_without_a_prediction_only_what_was_measured_is_drawn():
    question = ask()
    reveal = question.reveal({name: [10, 10, 10] for name in NAMES})
    reveal._handle_custom_msg("show", [])
    assert "You look without a prediction." in reveal.answer
    assert "dash" not in reveal.answer
    assert progress.events("reveal")[0]["predicted"] is None


def test_another_day_shows_the_earlier_curves_and_a_second_run_adds_nothing():
    first = ask()
    first.reveal({name: [10, 10, 10] for name in NAMES})
    first.commit(draw(first, [1, 2, 3], [4, 5, 6]))
    second = ask()
    assert second.value == first.value
    assert "You predicted eta = 0: 1.12, 1.26, 1.41; eta = 1: " in second.status
    second.reveal({name: [10, 10, 10] for name in NAMES})
    assert len(progress.events("reveal")) == 1


def test_a_page_sends_nothing_but_heights_of_the_plane():
    question = ask()
    good = draw(question, [1, 2, 3], [4, 5, 6])
    for wrong in (
        {"eta = 0": good["eta = 0"]},
        good | {"eta = 1": good["eta = 1"][:2]},
        good | {"eta = 1": [1.0, 10.0, 1.0001]},
        good | {"eta = 1": [True, 10.0, 10.0]},
        good | {"eta = 1": "123"},
        [1, 2, 3],
    ):
        question._handle_custom_msg({"commit": wrong}, [])
    assert question.value is None
    assert progress.events("prediction") == []


def test_texts_are_shown_as_they_are_written():
    question = ask(names=["a<b", "c&d"], xlabel="<i>x")
    reveal = question.reveal({"a<b": [1, 1, 1], "c&d": [1, 1, 1]})
    question.commit(draw(question, [0, 0, 0], [0, 0, 0]))
    for page in (reveal.answer, question.plane["frame"]):
        assert "<i>" not in page
        assert "a<b" not in page


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: ask(places=[10]), "at least 2, all different"),
        (lambda: ask(places=[10, 10]), "at least 2, all different"),
        (lambda: ask(names=[]), "1..4, all different"),
        (lambda: ask(names=["a", "a"]), "1..4, all different"),
        (lambda: ask(low=0), "above 0 where log"),
        (lambda: ask(low=2000), "low < high is needed"),
        (lambda: ask(high=math.inf), "low < high is needed"),
        (lambda: ask().reveal({"eta = 0": [1, 1, 1]}), "permitted: ['eta = 0', 'eta = 1']"),
        (lambda: ask().reveal({name: [1, 1] for name in NAMES}), "3 finite numbers above 0"),
        (lambda: ask().reveal({name: [1, 1, 0] for name in NAMES}), "3 finite numbers above 0"),
        (lambda: ask().commit({"eta = 0": [1, 1, 1]}), "permitted: distance from 1 to 1000"),
    ],
)
def test_what_makes_no_question_is_named(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        wrong()
