"""The rules a chapter's source keeps, from which `build` refuses to depart."""

import ast
import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from course_lib.cli.source import LANGUAGES, Cell, stub_and_solution

TAGS = ("setup", "exercise", "hint", "nbval-check-output")
MAX_LINES = 15
NUM_HINTS = 3
NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

# A number, perhaps closed by mathematics or a thin space, then a unit.
UNIT = re.compile(
    r"\d(?:[\d.,\s~${}]|\\[,;: ]|\\(?:text|mathrm|,)|&nbsp;|\u202f)*"
    r"(?:\\?[%％]|(?:dB|nats?|ms|percent|per cent)\b|分贝|毫秒|奈特)"
)
# In the same sentence: arXiv, a DOI, or brackets with a year as in [Song 2021, section 4].
CITATION = re.compile(r"arxiv|doi\.org|\[[^\]]*\b(?:19|20)\d\d\b[^\]]*\]", re.I)
NOT_PROSE = re.compile(r"^```.*?^```|`[^`\n]*`|<[^>]*>|^>.*?$", re.S | re.M)
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u26ff\u2705\u2728\u274c\u2753-\u2757\ufe0f]")
BANNED = re.compile(r"warnings\.(?:filterwarnings|simplefilter)|sys\.path")
HEADING = re.compile(r"^(#{1,6}) .*$", re.M)


def faults(cells: list[Cell]) -> list[str]:
    """Every departure from the rules, each with its cell and line and what to do."""
    found = [f"{cell.place}: {fault}" for cell in cells for fault in _cell_faults(cell)]
    if found:  # the order of the cells means little while their marks are wrong
        return found
    languages = [lang for lang in LANGUAGES if any(cell.lang == lang for cell in cells)]
    for language in languages or LANGUAGES[:1]:
        shown = [cell for cell in cells if cell.lang in (None, language)]
        found += _order_faults(shown)
    return list(dict.fromkeys(found))


def _cell_faults(cell: Cell) -> Iterator[str]:
    if marks := list(_mark_faults(cell.kind, **cell.metadata)):
        yield from marks
        return
    if not cell.text.strip():
        yield "is empty; delete it"
    if match := EMOJI.search(cell.text):
        yield f"holds the emoji {match[0]!r}; write a word"
    if re.search(r"\bsimply\b", cell.text, re.I):
        yield "says 'simply'; leave the word out"
    yield from _code_faults(cell) if cell.kind == "code" else _number_faults(cell.text)


def _mark_faults(
    kind: str, *, tags: Any = (), lang: Any = None, budget_s: Any = 1, **others: Any
) -> Iterator[str]:
    """What is wrong with the line that begins a cell; nothing of it has been judged before."""
    if kind not in ("code", "markdown"):
        yield f"is of type {kind}; permitted: code, markdown"
    for key in others:
        yield f"has the key {key!r}; permitted: lang, tags, budget_s"
    if set(tags) - set(TAGS):
        yield f"has tags={tags!r}; permitted: a list of {', '.join(TAGS)}"
    if lang not in (None, *LANGUAGES):
        yield f"has lang={lang!r}; permitted: {', '.join(LANGUAGES)}"
    if lang and kind == "code":
        yield "is code with a language; every edition shares the code, remove lang"
    if not isinstance(budget_s, int | float) or budget_s <= 0:
        yield f"has budget_s={budget_s!r}; permitted: seconds above 0"
    if ("hint" if kind == "code" else "exercise") in tags:
        yield f"is {kind}; an exercise is code and a hint is markdown"


def _code_faults(cell: Cell) -> Iterator[str]:
    text = cell.text
    if match := BANNED.search(text):
        yield f"uses {match[0]}; mend its reason in course_lib"
    if "exercise" in cell.tags:
        text = stub_and_solution(cell)[1]
    elif "SOLUTION" in text:
        yield 'has a SOLUTION mark; give the cell tags=["exercise"]'
    if (length := len(text.split("\n"))) > MAX_LINES:
        yield f"has {length} lines, at most {MAX_LINES}; split it or move it into course_lib"
    try:
        tree = ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", text, flags=re.M))  # magics
    except SyntaxError as error:
        yield f"is not Python: {error.msg}, in its line {error.lineno}"
        return
    names = [node.name for node in ast.walk(tree) if isinstance(node, NAMED)]
    if names and "exercise" not in cell.tags:
        yield f"defines {', '.join(names)}; what has a name lives in course_lib"


def _number_faults(text: str) -> Iterator[str]:
    prose = NOT_PROSE.sub(" ", re.sub(r"\{\{.*?\}\}", "value", text, flags=re.S))
    for sentence in re.split(r"(?<=[.!?])\s|[。！？]|\n\s*\n", prose):
        match = UNIT.search(sentence)
        if match and not CITATION.search(sentence):
            yield (
                f"has the bare number {match[0]!r}; fill it from data/results with "
                "{{table.key}}, or cite its source in the sentence"
            )


def _order_faults(shown: list[Cell]) -> Iterator[str]:
    yield from _heading_faults(shown)
    said, apart = True, True
    for cell in shown:
        if cell.kind == "markdown":
            said = said or bool(HEADING.sub("", cell.text).strip())
            continue
        if not (said or apart or "setup" in cell.tags):
            yield f"{cell.place}: follows code without a sentence between; say what comes"
        said, apart = False, "setup" in cell.tags
    for index, cell in enumerate(shown):
        hints = list(takewhile(lambda cell: "hint" in cell.tags, shown[index + 1 :]))
        if "exercise" in cell.tags and len(hints) != NUM_HINTS:
            yield f"{cell.place}: has {len(hints)} hints behind it; write {NUM_HINTS}"


def _heading_faults(shown: list[Cell]) -> Iterator[str]:
    last = 0
    for cell in shown:
        if cell.kind == "code":
            continue
        for match in HEADING.finditer(NOT_PROSE.sub("", cell.text)):
            level = len(match[1])
            if level == 1 and last:
                yield f"{cell.place}: is a second title; a chapter has one '# ' heading, at its top"
            elif level > last + 1:
                yield f"{cell.place}: is '{match[1]}' below '{'#' * last}'; step down by one level"
            last = level
    if not last:
        yield "there is no title; begin with '# '"
