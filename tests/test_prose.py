"""Each rule of the house for a chapter's source, broken once and kept once."""

from pathlib import Path

import pytest

from course_lib.cli import prose
from course_lib.cli.source import edition, read

TINY = Path(__file__).parent / "chapters" / "00_tiny.py"
TITLE = "# %% [markdown]\n# # Title\n# A sentence.\n\n"


def faults(tmp_path, text):
    path = tmp_path / "00_case.py"
    path.write_text(text, encoding="utf-8")
    return prose.faults(read(path))


def markdown(text):
    return "# %% [markdown]\n" + "".join(f"# {line}\n" for line in text.split("\n")) + "\n"


def test_the_tiny_chapter_keeps_all_rules():
    assert prose.faults(read(TINY)) == []


@pytest.mark.parametrize(
    "text",
    [
        "It is 30% worse.",
        "It is 30 % worse.",
        "It is $30\\%$ worse.",
        "It costs 3.01 dB.",
        "It costs $3.01$ dB.",
        "It holds 1.1 nats, and",
        "It holds 1 nat.",
        "$0.7\\,\\text{nats}$ remain.",
        "A frame takes 17 ms.",
        "A frame takes 17\u202fms.",
        "Ten of 20 percent.",
        "误差为 3 毫秒。",
        "高出 3 分贝。",
        "| 12 % | a table |",
        "Song [Song 2021] measured it. Here it is 4 %.",
    ],
)
def test_a_bare_number_in_the_prose_is_refused(tmp_path, text):
    (fault,) = faults(tmp_path, TITLE + markdown(text))
    assert fault.startswith("cell 2, line 5: has the bare number")


@pytest.mark.parametrize(
    "text",
    [
        "It is {{table.S10:.0f}} % worse, {{table.S10:.1f}} dB.",
        "It is {{table.S10}} %.",
        "They report 4.67 dB [Song 2021, table 1].",
        "They report 4.67 dB (arXiv:2010.02502).",
        "They report 4.67 dB in [their paper](https://arxiv.org/abs/2010.02502).",
        "> We obtain 12 % on all sets.",
        "Python writes `10 % 3`.",
        "```python\nx = 10 % ms\n```\nThat is all.",
        '<img src="a.png" width="50%" alt="a road">',
        "It has 3 frames, 12 clips and 4 msgs; in 1989 it was 3 metres.",
        "At 64 pixels.\nMs Lovelace.",
    ],
)
def test_a_number_with_its_source_is_accepted(tmp_path, text):
    assert faults(tmp_path, TITLE + markdown(text)) == []


LONG = "\n".join(f"x{n} = {n}" for n in range(16))
HINTS = "".join(f'# %% [markdown] tags=["hint"]\n# {n}\n\n' for n in "abc")
EXERCISE = (
    '# %% tags=["exercise"]\ndef f():\n    # SOLUTION\n    return 1\n    # END SOLUTION\n\n\n'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TITLE + "# %%\nwarnings.filterwarnings('ignore')\n", "uses warnings.filterwarnings"),
        (TITLE + "# %%\nsys.path.append('..')\n", "uses sys.path"),
        (TITLE + "# %%\ndef f(): ...\n", "defines f; what has a name lives in course_lib"),
        (TITLE + "# %%\nif x:\n    class A: ...\n", "defines A;"),
        (TITLE + f"# %%\n{LONG}\n", "has 16 lines, at most 15"),
        (TITLE + "# %%\nx = = 1\n", "is not Python: invalid syntax, in its line 1"),
        (TITLE + "# %%\n\n# %%\nx\n", "is empty; delete it"),
        (TITLE + "# %%\nx\n\n# %%\ny\n", "cell 3, line 8: follows code without a sentence"),
        (TITLE + "# %%\nx\n\n# %% [markdown]\n# ## Next\n\n# %%\ny\n", "follows code without"),
        (TITLE + markdown("It is simply so."), "says 'simply'"),
        (TITLE + markdown("Well done \U0001f389"), "holds the emoji '\U0001f389'"),
        (TITLE + markdown("Done \u2705"), "holds the emoji"),
        (TITLE + markdown("# Another"), "cell 2, line 5: is a second title"),
        (markdown("Text without a title."), "there is no title; begin with '# '"),
        (markdown("## Too low\nx"), "is '##' below ''"),
        (TITLE + markdown("### Too low\nx"), "is '###' below '#'"),
        ("# %% [raw]\n# x\n", "is of type raw; permitted: code, markdown"),
        (TITLE + '# %% budget="3"\nx\n', "has the key 'budget'; permitted: lang, tags, budget_s"),
        (TITLE + '# %% budget_s="3"\nx\n', "has budget_s='3'; permitted: seconds above 0"),
        (TITLE + "# %% budget_s=0\nx\n", "has budget_s=0;"),
        (
            TITLE + '# %% tags=["exercice"]\nx\n',
            "has tags=['exercice']; permitted: a list of setup",
        ),
        (TITLE + '# %% [markdown] lang="fr"\n# x\n', "has lang='fr'; permitted: en, zh"),
        (TITLE + '# %% lang="en"\nx\n', "is code with a language"),
        (TITLE + '# %% tags=["hint"]\nx\n', "is code; an exercise is code and a hint is markdown"),
        (TITLE + '# %% [markdown] tags=["exercise"]\n# x\n', "is markdown; an exercise is code"),
        (TITLE + EXERCISE, "cell 2, line 5: has 0 hints behind it; write 3"),
        (TITLE + EXERCISE.replace(' tags=["exercise"]', "") + HINTS, "has a SOLUTION mark"),
    ],
)
def test_a_broken_rule_is_named_with_what_to_do(tmp_path, text, message):
    assert message in "\n".join(faults(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        TITLE + '# %% tags=["setup"]\nimport os\n\n# %%\n%matplotlib inline\nx\n',
        TITLE + "# %%\nx\n\n# %% [markdown]\n# ## Next\n# A sentence.\n\n# %%\ny\n",
        TITLE + EXERCISE + HINTS + "# %%\nf\n",
        TITLE + "# %%\n" + LONG.rsplit("\n", 1)[0] + "\n",
        TITLE + markdown("## A\nx\n\n### B\ny\n\n## C\nz"),
        TITLE + markdown("```\n# no heading\n```\nText."),
        TITLE + "# %%\ntry:\n    x\nexcept OSError as error:\n    y\n",
    ],
)
def test_a_kept_rule_is_accepted(tmp_path, text):
    assert faults(tmp_path, text) == []


def test_each_language_is_judged_by_itself(tmp_path):
    text = TITLE + '# %%\nx\n\n# %% [markdown] lang="zh"\n# 一句话。\n\n# %%\ny\n'
    assert faults(tmp_path, text.replace('lang="zh"', "")) == []
    (fault,) = faults(tmp_path, text + '\n# %% [markdown] lang="en"\n# A sentence.\n')
    assert fault.startswith("cell 4, line 11: follows code without a sentence")


@pytest.mark.parametrize(
    "body",
    [
        "def f():\n    return 1\n",
        "def f():\n    # SOLUTION\n    return 1\n",
        "def f():\n    return 1\n    # END SOLUTION\n",
        "# SOLUTION\nx = 1\n# END SOLUTION\n",
        "def f():\n    # SOLUTION\n    # SOLUTION\n    return 1\n    # END SOLUTION\n",
        "def f():\n    # SOLUTION here\n    return 1\n    # END SOLUTION\n",
    ],
)
def test_solution_marks_that_would_leak_or_break_are_refused(tmp_path, body):
    with pytest.raises(ValueError, match="cell 2, line 5: an exercise holds '# SOLUTION'"):
        faults(tmp_path, TITLE + f'# %% tags=["exercise"]\n{body}\n{HINTS}')


def test_two_blocks_of_one_exercise_are_both_stubs(tmp_path):
    body = "def f(x):\n    if x:\n        # SOLUTION\n        return 1\n        # END SOLUTION\n"
    body += "    y = 2\n    # SOLUTION\n    return y\n    # END SOLUTION\n"
    path = tmp_path / "00_case.py"
    path.write_text(TITLE + f'# %% tags=["exercise"]\n{body}\n{HINTS}')
    stub = edition(read(path))[1].text
    assert stub.split("\n") == [
        "def f(x):",
        "    if x:",
        "        raise NotImplementedError",
        "    y = 2",
        "    raise NotImplementedError",
    ]


def test_a_hint_far_from_an_exercise_is_refused(tmp_path):
    path = tmp_path / "00_case.py"
    path.write_text(TITLE + '# %% [markdown] tags=["hint"]\n# a\n')
    with pytest.raises(ValueError, match="cell 2, line 5: a hint stands right after its exercise"):
        edition(read(path))


def test_a_marker_inside_a_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="lines begin with '# %%' but there are 2 cells"):
        faults(tmp_path, TITLE + '# %%\nx = """\n# %% not a cell\n"""\n')


def test_tags_that_are_no_list_are_named(tmp_path):
    with pytest.raises(ValueError, match="'setup' is not of type 'array'; write tags="):
        faults(tmp_path, TITLE + '# %% tags="setup"\nx\n')


def test_a_source_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "00_case.py"
    path.write_bytes(TITLE.encode() + "# %%\nx = '你好'\n".encode("gbk"))
    with pytest.raises(ValueError, match=r"00_case\.py is not UTF-8"):
        read(path)
