"""What every exercise checker shares: the verdict, and the panel that shows it.

A checker asks several properties of the reader's function. A property is a function that takes
the candidate and returns None where it holds, or the `Fault` of the smallest input that breaks it;
`properties.py` has those that many exercises ask.
A checker never raises, so a notebook with empty stubs runs from top to bottom.
"""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from course_lib import progress


@dataclass(frozen=True)
class Fault:
    """What the smallest failing input showed; every field is a text for the reader."""

    given: str
    expected: str
    observed: str
    hint: str
    raised: bool = False


Property = Callable[[Callable], Fault | None]


@dataclass(frozen=True)
class Finding:
    """One property of the reader's function: the sentence, and the fault where it fails."""

    property: str
    fault: Fault | None


@dataclass(frozen=True)
class Verdict:
    """What a checker found. Displayed in a notebook it is a panel; printed it is plain text.

    `function` is the reader's where it ran on the checker's inputs, else the library's: later
    cells and widgets use it, and `whose` says in a caption which one they show.
    """

    exercise: str
    attempted: bool
    findings: tuple[Finding, ...]
    function: Callable
    whose: str

    @property
    def passed(self) -> bool:
        """Whether every property holds."""
        return self.attempted and all(finding.fault is None for finding in self.findings)

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        if not self.attempted:
            return "Not attempted yet: replace the line `raise NotImplementedError`."
        held = sum(finding.fault is None for finding in self.findings)
        if self.passed:
            return f"All {held} properties hold."
        return f"{held} of {len(self.findings)} properties hold."

    def __repr__(self) -> str:
        lines = [f"{self.exercise}: {self.headline}"]
        for finding in self.findings:
            lines.append(f"  {'fail' if finding.fault else 'pass'}  {finding.property}")
            if finding.fault:
                lines += [f"        {label}: {text}" for label, text in _rows(finding.fault)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        color = "#009E73" if self.passed else "#D55E00" if self.attempted else "#888888"
        items = "".join(_finding_html(finding) for finding in self.findings)
        return (
            f'<div role="status" style="border-left:4px solid {color};padding:4px 12px;'
            f'color:var(--jp-content-font-color1,inherit)">'
            f"<b>{html.escape(self.exercise)}</b>: {html.escape(self.headline)}"
            f'<ul style="list-style:none;margin:4px 0 0;padding:0">{items}</ul></div>'
        )


def examine(
    exercise: str,
    candidate: Callable,
    library: Callable,
    properties: Mapping[str, Property],
) -> Verdict:
    """Ask each property of the candidate, record the result, and give the verdict.

    Args:
        exercise: the exercise's name, as in the notebook.
        candidate: the reader's function.
        library: the course's own, used where the reader's cannot run.
        properties: sentence -> property. The first one must only ask whether the candidate runs
            and returns the right kind of thing: where it fails the others are not asked.
    """
    findings: list[Finding] = []
    try:
        for sentence, check in properties.items():
            findings.append(Finding(sentence, _ask(check, candidate)))
            if len(findings) == 1 and findings[0].fault:
                break
    except NotImplementedError:
        findings = []
    attempted = bool(findings)
    shape_ok = attempted and findings[0].fault is None
    runs = shape_ok and not any(finding.fault and finding.fault.raised for finding in findings)
    held = sum(finding.fault is None for finding in findings)
    if runs:
        whose = f"yours, {held} of {len(properties)} properties hold"
    else:
        whose = f"the library's; yours {'does not run' if attempted else 'is not attempted'} yet"
    verdict = Verdict(exercise, attempted, tuple(findings), candidate if runs else library, whose)
    progress.record("check", exercise=exercise, attempted=attempted, passed=verdict.passed)
    return verdict


def _ask(check: Property, candidate: Callable) -> Fault | None:
    try:
        return check(candidate)
    except NotImplementedError:
        raise
    except Exception as error:  # whatever the reader's code raises is a finding, not a crash
        return Fault(
            given="the inputs of this property",
            expected="a result",
            observed=f"{type(error).__name__}: {error}",
            hint="Call your function in a cell of its own to see where this comes from.",
            raised=True,
        )


def _rows(fault: Fault) -> list[tuple[str, str]]:
    return [
        ("given", fault.given),
        ("expected", fault.expected),
        ("observed", fault.observed),
        ("hint", fault.hint),
    ]


def _finding_html(finding: Finding) -> str:
    sentence = html.escape(finding.property)
    if finding.fault is None:
        return f'<li><span style="color:#009E73">✓ pass</span> {sentence}</li>'
    rows = "".join(
        f'<div><span style="opacity:.7">{label}</span> {html.escape(text)}</div>'
        for label, text in _rows(finding.fault)
    )
    return (
        f'<li><span style="color:#D55E00">✗ fail</span> {sentence}'
        f'<div style="margin:2px 0 6px 3.5em">{rows}</div></li>'
    )
