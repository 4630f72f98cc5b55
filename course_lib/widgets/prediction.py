"""Predict, run, reveal: the reader commits to an answer before the measured one is shown.

`Choice` and `Slider` ask, and `Curve` in its own module; their `reveal` stays folded until a
prediction is committed. Both are kept in the reader's record, so a later day shows the earlier one.
"""

import html
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anywidget
import traitlets

from course_lib.plots import Picture
from course_lib.widgets.reader import beside, events_of, keep, script, split_key
from course_lib.widgets.reveal import UNPREDICTED, Judgement, Reveal, number_line, option_bars

HERE = Path(__file__).parent
NO_KERNEL = "Run this notebook in JupyterLab to commit a prediction."
MAX_STEPS = 1000
Number = int | float  # what JSON and a reader call a number
Answer = str | Number | dict  # of a choice, a slider, a drawn curve

_latest: dict[str, Reveal] = {}  # key -> the reveal that ran last: either cell may run again


class Prediction(anywidget.AnyWidget):
    """A question, a control and a button; `Choice`, `Slider` and `Curve` are the kinds.

    `key` is the chapter's number and a name of its own, "0.turn". `value` is what was committed
    last, also on an earlier day, and None before.
    """

    _esm = script("prediction.js")
    _css = HERE / "reader.css"

    question = traitlets.Unicode().tag(sync=True)
    value = traitlets.Any(None).tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)
    permitted: str  # the answers that may be given, in words

    def __init__(self, key: str, question: str, **traits: object):
        self.key, self._place = key, split_key(key)
        if not question.strip():
            raise ValueError(f"question is {question!r}; ask something")
        super().__init__(question=question, **traits)
        earlier = [event for event in self.history() if self._permits(event.get("value"))]
        if earlier:
            self.value = earlier[-1]["value"]
            day = str(earlier[-1].get("time", ""))[:10]
            self.status = f"You predicted {self.label(earlier[-1]['value'])} on {day}."
        self.on_msg(self._on_message)

    def history(self) -> list[dict]:
        """Every prediction made here so far, oldest first."""
        return events_of("prediction", self._place)

    def commit(self, value: Answer) -> None:
        """Keep a prediction in the reader's record and unfold the answer.

        Raises:
            ValueError: `value` is not one of the answers.
        """
        if not self._permits(value):
            raise ValueError(f"the prediction is {value!r}; permitted: {self.permitted}")
        note = keep("prediction", **self._place, value=value) or self._note()
        self.value = value
        self.status = f"You predict {self.label(value)}. {note}".strip()
        if self.key in _latest:
            _latest[self.key].show(value)

    def _note(self) -> str:
        """What to say where the reader has seen the answer before."""
        seen = events_of("reveal", self._place)
        if not seen:
            return ""
        if seen[0].get("predicted") is None:
            return "You had seen the answer, so the course map does not count it."
        return "The course map counts the one you made before you saw the answer."

    def _fold(
        self, judge: Callable[..., Judgement], explanation: str, picture: Picture | None
    ) -> Reveal:
        """The reveal of this prediction, unfolded at once where there is one."""
        reveal = _latest[self.key] = Reveal(self._place, judge, explanation, picture)
        if self.value is not None:
            reveal.show(self.value)
        return reveal

    def _on_message(self, _: object, content: object, __: object) -> None:
        if isinstance(content, dict) and self._permits(content.get("commit")):
            self.commit(content["commit"])

    @abstractmethod
    def label(self, value: Answer) -> str:
        """A value as the reader sees it."""

    @abstractmethod
    def _permits(self, value: object) -> bool: ...

    def _repr_mimebundle_(self, **kwargs: dict) -> tuple[dict, dict] | None:
        """The live view, and beside it the question for pages where no widget can live."""
        parts = [self.question, f"({self.permitted})", self.status or NO_KERNEL]
        body = "<br>".join(map(html.escape, parts))
        return beside(super()._repr_mimebundle_(**kwargs), " ".join(parts), html=f"<p>{body}</p>")


class Choice(Prediction):
    """A prediction that is one of several options.

    Raises:
        ValueError: a malformed key, an empty question, or fewer than two distinct options.
    """

    options = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, key: str, question: str, options: Sequence[str]):
        if len(options) < 2 or len(set(options)) < len(options):
            raise ValueError(f"options are {list(options)}; at least 2, all different, are needed")
        self.permitted = " / ".join(options)
        super().__init__(key, question, options=list(options))

    def reveal(
        self,
        measured: str,
        *,
        distribution: Mapping[str, Number] | None = None,
        explanation: str = "",
        picture: Picture | None = None,
    ) -> Reveal:
        """The measured answer beside the prediction, folded until there is one.

        `distribution` (option -> probability) is drawn as bars. `explanation` stands below as plain
        text, where an empty line begins a paragraph, then `picture`.

        Raises:
            ValueError: an unknown option, or a probability outside 0..1.
        """
        probs = dict(distribution or {})
        for option in (measured, *probs):
            if not self._permits(option):
                raise ValueError(f"the option is {option!r}; permitted: {self.permitted}")
        if not all(0 <= probability <= 1 for probability in probs.values()):
            raise ValueError(f"the distribution is {probs}; probabilities in 0..1 are allowed")

        def judge(value: str | None) -> Judgement:
            correct = None if value is None else value == measured
            said = UNPREDICTED if value is None else f"You predicted {self.label(value)}"
            said += "" if correct is None else ": right." if correct else ", which is not it."
            marks = {"your prediction": value or "", "measured": measured}
            return Judgement(
                f"{said} Measured: {self.label(measured)}.",
                option_bars(self.options, probs, marks),
                {"predicted": value, "measured": measured, "correct": correct},
            )

        return self._fold(judge, explanation, picture)

    def label(self, value: Answer) -> str:  # noqa: D102
        return f"“{value}”"

    def _permits(self, value: object) -> bool:
        return value in self.options


class Slider(Prediction):
    """A prediction that is a number from `low` to `high` in steps, with a unit.

    Raises:
        ValueError: a malformed key, an empty question, or numbers that make no scale.
    """

    scale = traitlets.Dict().tag(sync=True)

    def __init__(
        self, key: str, question: str, low: Number, high: Number, step: Number, *, unit: str = ""
    ):
        if not (math.isfinite(low) and math.isfinite(high) and low < high and step > 0):
            raise ValueError(f"low {low}, high {high}, step {step}; low < high, step > 0 is needed")
        num_steps = round((high - low) / step)
        if not 1 <= num_steps <= MAX_STEPS or not math.isclose(low + num_steps * step, high):
            raise ValueError(
                f"from {low} to {high} is not 1..{MAX_STEPS} whole steps of {step}; choose another"
            )
        self.unit, self._decimals = unit, max(0, -math.floor(math.log10(step) + 1e-9))
        ticks = [round(low + n * step, 10) for n in range(num_steps + 1)]
        scale = {"low": low, "high": high, "step": step, "start": ticks[num_steps // 2]}
        self.permitted = f"{self.label(low)} to {self.label(high)} in steps of {_plain(step)}"
        super().__init__(key, question, scale=scale | {"labels": [self.label(x) for x in ticks]})

    def reveal(
        self, measured: Number, *, explanation: str = "", picture: Picture | None = None
    ) -> Reveal:
        """The measured number beside the prediction, folded until there is one.

        `measured` is in the slider's unit and may lie outside its range. `explanation` stands below
        as plain text, where an empty line begins a paragraph, then `picture`.

        Raises:
            ValueError: `measured` is not a finite number.
        """
        measured = float(measured)
        if not math.isfinite(measured):
            raise ValueError(f"measured is {measured}; a finite number is needed")

        def judge(value: Number | None) -> Judgement:
            marks = {} if value is None else {"you": (value, self.label(value))}
            marks["measured"] = (measured, self._truth(measured))
            ends = [(end, self.label(end)) for end in (self.scale["low"], self.scale["high"])]
            fields = {"predicted": value, "measured": measured, "unit": self.unit}
            if value is not None:
                fields["error"] = value - measured
            return Judgement(self._sentence(value, measured), number_line(ends, marks), fields)

        return self._fold(judge, explanation, picture)

    def _sentence(self, value: Number | None, measured: Number) -> str:
        truth = self._truth(measured)
        if value is None:
            return f"{UNPREDICTED} Measured: {truth}."
        said = f"You predicted {self.label(value)}, measured: {truth}."
        error = round(value - measured, self._decimals + 1)
        if error == 0:
            return f"{said} That is right."
        unit = " percentage points" if self.unit == "%" else self._unit
        return f"{said} You are {_plain(abs(error))}{unit} too {'high' if error > 0 else 'low'}."

    def label(self, value: Answer) -> str:  # noqa: D102
        return f"{value:.{self._decimals}f}{self._unit}"

    def _truth(self, measured: Number) -> str:
        """The measured value, one decimal finer than the slider."""
        return f"{_plain(round(measured, self._decimals + 1))}{self._unit}"

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def _permits(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        steps = (value - self.scale["low"]) / self.scale["step"]
        within = self.scale["low"] <= value <= self.scale["high"]
        return within and math.isclose(steps, round(steps), abs_tol=1e-6)


def _plain(number: Number) -> str:
    """A rounded number without zeros that say nothing: 60, 3.01."""
    return f"{number:.10f}".rstrip("0").rstrip(".")
