import json
import re

import pytest

from course_lib import plots, progress
from course_lib.widgets.prediction import Choice, Slider

OPTIONS = ["left", "straight", "right"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    return tmp_path


def ask_number(**changes):
    scale = {"low": 0, "high": 100, "step": 5, "unit": "%"} | changes
    return Slider("0.turn", "How often does a 4 turn left?", **scale)


def ask_choice():
    return Choice("0.arm", "Which arm?", OPTIONS)


def everything_sent(widget):
    """All that a page receives: what is stored in the notebook, and the widget's state."""
    data, _ = widget._repr_mimebundle_()
    state = {k: v for k, v in widget.get_state().items() if k not in ("_esm", "_css", "layout")}
    return json.dumps(data["text/plain"] + data["text/html"]) + json.dumps(state)


def press(widget, content):
    """What the browser does: a message from the page."""
    widget._handle_custom_msg(content, [])


def test_nothing_of_the_answer_leaves_python_before_a_prediction():
    number = ask_number().reveal(61.7, explanation="Because the cue says so.")
    choice = ask_choice().reveal("straight", distribution={"straight": 0.617})
    for reveal in (number, choice):
        sent = everything_sent(reveal)
        assert "commit a prediction" in sent
        assert not re.search("61[.]7|617|62|straight|Because", sent), sent
    assert progress.events("reveal") == []


def test_a_committed_number_unfolds_an_answer_that_was_already_waiting():
    question = ask_number()
    reveal = question.reveal(61.7, explanation="Because.\n\nIndeed.")
    press(question, {"commit": 40})
    assert "You predicted 40 %, measured: 61.7 %." in reveal.answer
    assert "You are 21.7 percentage points too low." in reveal.answer
    assert "<p>Because.</p><p>Indeed.</p>" in reveal.answer
    assert question.status == "You predict 40 %."
    (event,) = progress.events("prediction")
    assert (event["chapter"], event["id"], event["value"]) == (0, "turn", 40)
    (event,) = progress.events("reveal")
    assert event["error"] == pytest.approx(-21.7)


def test_the_marks_of_a_number_line_stand_where_the_numbers_are():
    question = ask_number()
    reveal = question.reveal(75)
    question.commit(25)
    tips = [float(x) for x in re.findall(r'd="M([\d.]+) 60 L', reveal.answer)]
    low, high = (float(x) for x in re.findall(r'd="M([\d.]+) 54 V', reveal.answer))
    assert tips == pytest.approx([low + (high - low) / 4, low + 3 * (high - low) / 4], abs=0.1)


def test_an_answer_beyond_the_scale_still_fits_on_the_line():
    question = ask_number()
    reveal = question.reveal(150)
    question.commit(0)
    width = float(re.search(r'width="(\d+)"', reveal.answer)[1])
    places = [float(x) for x in re.findall(r'd="M([\d.]+) ', reveal.answer)]
    assert 0 < min(places) < max(places) < width
    assert "150 percentage points too low" in reveal.answer


@pytest.mark.parametrize(
    ("measured", "sentence"),
    [
        (3.01, "measured: 3.01 dB. You are 0.49 dB too high."),
        (4, "measured: 4 dB. You are 0.5 dB too low."),
        (3.501, "measured: 3.5 dB. That is right."),
    ],
)
def test_an_error_is_said_in_the_unit_of_the_scale(measured, sentence):
    question = Slider("0.cost", "What does it cost?", 0, 6, 0.5, unit="dB")
    reveal = question.reveal(measured)
    question.commit(3.5)
    assert f"You predicted 3.5 dB, {sentence}" in reveal.answer


def test_a_choice_is_right_or_wrong_and_shows_the_distribution():
    question = ask_choice()
    reveal = question.reveal("left", distribution={"left": 0.6, "straight": 0.3, "right": 0.1})
    question.commit("right")
    assert "You predicted “right”, which is not it. Measured: “left”." in reveal.answer
    assert re.findall(r"(\d+) %</td>", reveal.answer) == ["60", "30", "10"]
    question.commit("left")
    assert "You predicted “left”: right." in reveal.answer
    assert [event["correct"] for event in progress.events("reveal")] == [False, True]


def test_show_me_anyway_unfolds_and_the_later_prediction_is_told_that_it_does_not_count():
    question = ask_number()
    reveal = question.reveal(60)
    press(reveal, "show")
    assert "You look without a prediction. Measured: 60 %." in reveal.answer
    assert "you:" not in reveal.answer
    question.commit(60)
    assert "the course map does not count it" in question.status
    assert [event["predicted"] for event in progress.events("reveal")] == [None, 60]
    question.commit(70)
    assert "the course map does not count it" in question.status


def test_another_day_shows_the_earlier_prediction_and_the_answer_beside_it():
    first = ask_number()
    first.reveal(60)
    first.commit(40)
    second = ask_number()
    day = progress.events("prediction")[0]["time"][:10]
    assert second.value == 40
    assert second.status == f"You predicted 40 % on {day}."
    assert "measured: 60 %" in everything_sent(second.reveal(60))
    assert len(progress.events("reveal")) == 1  # nothing new was revealed
    second.commit(55)
    assert [event["value"] for event in second.history()] == [40, 55]
    assert "counts the one you made before you saw the answer" in second.status
    third = ask_number()
    assert (third.value, third.status) == (55, f"You predicted 55 % on {day}.")


def test_the_answer_unfolds_whichever_of_the_two_cells_ran_again():
    old, _ = ask_number(), ask_number()
    old.reveal(60)
    reveal = old.reveal(60)
    ask_number().commit(40)  # the question's cell ran again after the answer's
    assert "You predicted 40 %" in reveal.answer


def test_what_the_record_holds_of_an_older_question_is_not_shown_as_a_prediction():
    progress.record("prediction", chapter=0, id="turn", value=41)
    progress.record("prediction", chapter=0, id="turn", value="left")
    progress.record("prediction", chapter=0, id="turn")
    assert ask_number().value is None


def test_texts_are_shown_as_they_are_written():
    question = Choice("0.arm", "Is a < b & c?", ["<b>yes</b>", "no"])
    reveal = question.reveal("<b>yes</b>", explanation="a < b")
    question.commit("<b>yes</b>")
    data, _ = question._repr_mimebundle_()
    assert "Is a &lt; b &amp; c?" in data["text/html"]
    assert "&lt;b&gt;yes" in reveal.answer
    assert "<b>yes" not in reveal.answer
    assert "a &lt; b" in reveal.answer


def test_a_picture_stands_below_the_answer_with_its_alternative_text():
    picture = plots.bars({"a": {"p": 0.5}}, 'bars of "p"', ylabel="p")
    question = ask_number()
    reveal = question.reveal(60, picture=picture)
    assert "img" not in everything_sent(reveal)
    question.commit(40)
    assert 'src="data:image/png;base64,' in reveal.answer
    assert 'alt="bars of &quot;p&quot;"' in reveal.answer


def test_a_reader_whose_disk_is_full_still_gets_the_answer(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no space left")

    question = ask_number()
    reveal = question.reveal(60)
    monkeypatch.setattr(progress, "record", refuse)
    question.commit(40)
    assert question.status == "You predict 40 %. It could not be stored: no space left."
    assert "measured: 60 %" in reveal.answer


def test_a_page_sends_nothing_but_permitted_answers():
    question = ask_number()
    for content in ({"commit": 41}, {"commit": "left"}, {"commit": True}, {}, "show"):
        press(question, content)
    assert question.value is None
    assert progress.events("prediction") == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Slider("turn", "How?", 0, 1, 1), "key is 'turn'; the chapter's number, a dot"),
        (lambda: Slider("0.turn", " ", 0, 1, 1), "question is ' '"),
        (lambda: ask_number(low=100), "low < high, step > 0 is needed"),
        (lambda: ask_number(step=0), "low < high, step > 0 is needed"),
        (lambda: ask_number(step=7), "not 1..1000 whole steps of 7"),
        (lambda: ask_number(step=0.001), "not 1..1000 whole steps"),
        (lambda: ask_number().reveal(float("nan")), "measured is nan; a finite number is needed"),
        (lambda: ask_number().commit(41), "41; permitted: 0 % to 100 % in steps of 5"),
        (lambda: Choice("0.arm", "Which?", ["left", "left"]), "at least 2, all different"),
        (lambda: ask_choice().commit("back"), "'back'; permitted: left / straight / right"),
        (lambda: ask_choice().reveal("back"), "'back'; permitted: left / straight / right"),
        (lambda: ask_choice().reveal("left", distribution={"left": 60}), "in 0..1 are allowed"),
    ],
)
def test_what_makes_no_question_is_named(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        wrong()
