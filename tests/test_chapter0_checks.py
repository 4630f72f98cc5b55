"""Every checker is checked: right answers pass, wrong ones get the message meant for them."""

import pytest
import torch

from course_lib.checks import chapter0 as check


@pytest.fixture(autouse=True)
def reader(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    return tmp_path


def hints(verdict):
    return [finding.fault.hint for finding in verdict.findings if finding.fault]


def by_loop(futures, probs):
    total = torch.zeros_like(futures[0])
    for k in range(len(probs)):
        total += futures[k] * probs[k]
    return total


def by_matrix_product(futures, probs):
    return (probs @ futures.flatten(1)).reshape(futures.shape[1:])


@pytest.mark.parametrize("answer", [by_loop, by_matrix_product])
def test_right_answers_pass_and_become_the_function(answer):
    verdict = check.conditional_mean(answer)
    assert verdict.passed
    assert verdict.function is answer
    assert verdict.whose == "yours, 5 of 5 properties hold"
    assert "All 5 properties hold" in repr(verdict)


WRONG = {
    "same weight": lambda futures, probs: sum(futures) / len(futures),
    "likeliest": lambda futures, probs: futures[
        int(max(range(len(probs)), key=lambda k: probs[k]))
    ],
    "median": lambda futures, probs: futures.sort(0).values[len(futures) // 2],
    "already sum to one": lambda futures, probs: by_loop(futures, probs) / futures.shape[0],
    "without weights": lambda futures, probs: torch.stack(list(futures)).sum(0),
    "squared probabilities": lambda futures, probs: by_loop(futures, probs**2 / (probs**2).sum()),
    "softmax": lambda futures, probs: by_loop(futures, probs.exp() / probs.exp().sum()),
    "over nothing else": lambda futures, probs: by_loop(futures, probs).mean(0),
    "write into their argument": lambda futures, probs: futures.mul_(
        probs[:, None, None, None, None]
    ).sum(0),
    "Multiply each future": lambda futures, probs: by_loop(futures, probs) * 0.9,
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_answer_gets_the_message_meant_for_it(message):
    verdict = check.conditional_mean(WRONG[message])
    assert not verdict.passed
    assert any(message in hint for hint in hints(verdict))


def test_a_wrong_mean_is_caught_by_its_error_too():
    verdict = check.conditional_mean(WRONG["same weight"])
    failed = [finding.property for finding in verdict.findings if finding.fault]
    assert "no other clip has a smaller expected squared error" in failed


def test_the_smallest_failing_input_is_shown():
    verdict = check.conditional_mean(WRONG["same weight"])
    fault = verdict.findings[1].fault
    assert fault.given.startswith("2 futures of 1x1x1x1 pixels, probabilities [")
    assert "pixels [" in fault.given


def test_an_empty_stub_is_not_attempted_and_the_library_takes_over():
    def stub(futures, probs):
        raise NotImplementedError

    verdict = check.conditional_mean(stub)
    assert not verdict.attempted
    assert not verdict.passed
    assert verdict.function is not stub
    assert "Not attempted yet" in verdict.headline
    assert "is not attempted yet" in verdict.whose


@pytest.mark.parametrize(
    "broken",
    [lambda futures, probs: None, lambda futures, probs: 1 / 0, lambda futures: futures[0]],
    ids=["returns nothing", "divides by zero", "takes one argument"],
)
def test_a_function_that_cannot_run_is_reported_and_never_used(broken):
    verdict = check.conditional_mean(broken)
    assert verdict.attempted
    assert not verdict.passed
    assert verdict.function is not broken
    assert "does not run yet" in verdict.whose


def test_a_function_that_only_sometimes_runs_is_not_used():
    def only_small(futures, probs):
        if futures.shape[0] != 3:
            raise IndexError("three futures only")
        return by_loop(futures, probs)

    verdict = check.conditional_mean(only_small)
    assert verdict.function is not only_small
    assert "IndexError: three futures only" in repr(verdict)


def test_the_panel_escapes_what_the_readers_code_says():
    def mean(futures, probs):
        raise ValueError("<script>")

    panel = check.conditional_mean(mean)._repr_html_()
    assert "&lt;script&gt;" in panel
    assert "<script>" not in panel


def test_every_check_is_recorded(reader):
    check.conditional_mean(by_loop)
    lines = (reader / "progress.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    assert '"exercise": "conditional_mean"' in lines[0]
    assert '"passed": true' in lines[0]


def test_checking_leaves_the_global_random_numbers_alone():
    before = torch.random.get_rng_state()
    check.conditional_mean(by_loop)
    assert torch.equal(torch.random.get_rng_state(), before)
