"""What the tests of every chapter ask of its checkers."""

from typing import ClassVar

import torch

BROKEN = {
    "returns nothing": lambda *inputs: None,
    "divides by zero": lambda *inputs: 1 / 0,
    "takes nothing": lambda: 0,
    "returns words": lambda *inputs: ("x", "y", "z"),
}


def hints(verdict):
    return [finding.fault.hint for finding in verdict.findings if finding.fault]


class CheckedChapter:
    """A chapter subclasses it with its answers; pytest asks about each of them."""

    right: ClassVar  # rows of (checker, answer)
    wrong: ClassVar  # checker -> message -> answer

    def pytest_generate_tests(self, metafunc):
        cases = {
            "answer": [(checker, "", answer) for checker, answer in self.right],
            "wrong_answer": [
                (checker, message, answer)
                for checker, answers in self.wrong.items()
                for message, answer in answers.items()
            ],
            "broken": [(c, name, answer) for c in self.wrong for name, answer in BROKEN.items()],
        }
        for name, rows in cases.items():
            if name in metafunc.fixturenames:
                ids = [
                    f"{checker.__name__}-{message or answer.__name__}"
                    for checker, message, answer in rows
                ]
                metafunc.parametrize(("checker", "message", name), rows, ids=ids)
                return
        metafunc.parametrize("checker", list(self.wrong))

    def test_right_answers_pass_whatever_is_drawn(self, checker, message, answer):
        before = torch.random.get_rng_state()
        for _ in range(3):
            verdict = checker(answer)
            assert verdict.passed, repr(verdict)
            assert verdict.function is answer
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_a_wrong_answer_gets_the_message_meant_for_it(self, checker, message, wrong_answer):
        verdict = checker(wrong_answer)
        assert not verdict.passed
        assert any(message in hint for hint in hints(verdict)), repr(verdict)

    def test_a_function_that_cannot_run_is_reported_and_never_used(self, checker, message, broken):
        verdict = checker(broken)
        assert verdict.attempted
        assert not verdict.passed
        assert verdict.function is not broken
        assert "fail" in repr(verdict)

    def test_the_library_answers_for_an_empty_stub_and_passes_itself(self, checker):
        def stub(*inputs):
            raise NotImplementedError

        verdict = checker(stub)
        assert not verdict.attempted
        assert "Not attempted yet" in verdict.headline
        again = checker(verdict.function)
        assert again.passed, repr(again)
