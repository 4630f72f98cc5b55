"""What every chapter's tests ask of its checkers."""

import torch

BROKEN = {
    "returns nothing": lambda *inputs: None,
    "divides by zero": lambda *inputs: 1 / 0,
    "takes nothing": lambda: 0,
    "returns words": lambda *inputs: ("x", "y", "z"),
}


def hints(verdict):
    return [finding.fault.hint for finding in verdict.findings if finding.fault]


def assert_passes_whatever_is_drawn(checker, answer):
    before = torch.random.get_rng_state()
    for _ in range(3):
        verdict = checker(answer)
        assert verdict.passed, repr(verdict)
        assert verdict.function is answer
    assert torch.equal(torch.random.get_rng_state(), before)


def assert_gets_the_message(checker, wrong, message):
    verdict = checker(wrong)
    assert not verdict.passed
    assert any(message in hint for hint in hints(verdict)), repr(verdict)


def assert_library_answers_for_an_empty_stub(checker):
    def stub(*inputs):
        raise NotImplementedError

    verdict = checker(stub)
    assert not verdict.attempted
    assert "Not attempted yet" in verdict.headline
    assert checker(verdict.function).passed


def assert_reported_and_never_used(checker, broken):
    verdict = checker(broken)
    assert verdict.attempted
    assert not verdict.passed
    assert verdict.function is not broken
    assert "fail" in repr(verdict)
