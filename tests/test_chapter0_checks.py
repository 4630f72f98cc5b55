"""Every checker is checked: right answers pass, wrong ones get the message meant for them."""

import math
import re

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
    "Sum over dimension 0 only": lambda futures, probs: by_loop(futures, probs).mean(0),
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
    assert re.fullmatch(
        r"futures = \[-?0\.\d+, -?0\.\d+\], probs = \[0\.\d+, 0\.\d+\]", fault.given
    )


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


def psnr_right(prediction, truth):
    return 20 * torch.log10(2 / torch.sqrt(torch.nn.functional.mse_loss(prediction, truth)))


def mse(prediction, truth):
    return ((prediction - truth) ** 2).mean()


def score_right(samples, truth):
    n = len(samples)
    near = sum((x - truth).norm() for x in samples) / n
    pairs = sum((samples[i] - samples[j]).norm() for i in range(n) for j in range(i))
    return near - pairs / (n * (n - 1))


def pairs_mean(samples):
    return torch.pdist(samples).mean()


def near_mean(samples, truth):
    return (samples - truth).norm(dim=1).mean()


def kl_right(p, q, dx):
    inside = p > 0
    return (p[inside] * (p[inside] / q[inside]).log()).sum() * dx


RIGHT = [
    (check.psnr, psnr_right),
    (check.psnr, lambda x, y: 10 * torch.log10(4 / mse(x, y))),
    (check.energy_score, score_right),
    (check.energy_score, lambda x, y: near_mean(x, y) - pairs_mean(x) / 2),
    (check.forward_kl, kl_right),
    (check.forward_kl, lambda p, q, dx: (torch.xlogy(p, p) - p * q.log()).sum() * dx),
]


@pytest.mark.parametrize(("checker", "answer"), RIGHT)
def test_right_answers_of_every_exercise_pass(checker, answer):
    verdict = checker(answer)
    assert verdict.passed, repr(verdict)
    assert verdict.function is answer


WRONG_ELSEWHERE = [
    (check.psnr, "Your range is 1", lambda x, y: -10 * torch.log10(mse(x, y))),
    (check.psnr, "forgot to square the range", lambda x, y: 10 * torch.log10(2 / mse(x, y))),
    (check.psnr, "range is 255", lambda x, y: 10 * torch.log10(255**2 / mse(x, y))),
    (check.psnr, "natural logarithm", lambda x, y: 10 * torch.log(4 / mse(x, y))),
    (check.psnr, "factor 20", lambda x, y: 20 * torch.log10(4 / mse(x, y))),
    (check.psnr, "factor 10 is missing", lambda x, y: torch.log10(4 / mse(x, y))),
    (check.psnr, "sign is wrong", lambda x, y: 10 * torch.log10(mse(x, y) / 4)),
    (
        check.psnr,
        "averaged the PSNR of the frames",
        lambda x, y: (10 * torch.log10(4 / (x - y).pow(2).flatten(1).mean(1))).mean(),
    ),
    (
        check.psnr,
        "summed the squared error",
        lambda x, y: 10 * torch.log10(4 / (x - y).pow(2).sum()),
    ),
    (
        check.psnr,
        "over all pixels and frames at once",
        lambda x, y: 10 * torch.log10(4 / (x - y) ** 2),
    ),
    (
        check.psnr,
        "Do not add a small number",
        lambda x, y: 10 * torch.log10(4 / (mse(x, y) + 1e-8)),
    ),
    (check.energy_score, "half is missing", lambda x, y: near_mean(x, y) - pairs_mean(x)),
    (
        check.energy_score,
        "join a sample with itself",
        lambda x, y: near_mean(x, y) - (x[:, None] - x).norm(dim=-1).mean() / 2,
    ),
    (check.energy_score, "only took the distance", near_mean),
    (check.energy_score, "added the distance", lambda x, y: near_mean(x, y) + pairs_mean(x) / 2),
    (
        check.energy_score,
        "squared the distances",
        lambda x, y: (x - y).pow(2).sum(1).mean() - torch.pdist(x).pow(2).mean() / 2,
    ),
    (check.energy_score, "Average over all samples", lambda x, y: (x - y).norm(dim=1)),
    (check.forward_kl, "the reverse", lambda p, q, dx: kl_right(q, p, dx)),
    (check.forward_kl, "forgot the step", lambda p, q, dx: kl_right(p, q, 1)),
    (check.forward_kl, "log2", lambda p, q, dx: (p * (p / q).log2()).sum() * dx),
    (check.forward_kl, "sign is wrong", lambda p, q, dx: (p * (q / p).log()).sum() * dx),
    (check.forward_kl, "cross-entropy", lambda p, q, dx: -(p * q.log()).sum() * dx),
    (check.forward_kl, "averaged over the grid", lambda p, q, dx: (p * (p / q).log()).mean() * dx),
    (check.forward_kl, "0 * -inf is nan", lambda p, q, dx: (p * (p / q).log()).sum() * dx),
]


@pytest.mark.parametrize(("checker", "message", "answer"), WRONG_ELSEWHERE)
def test_wrong_answers_of_every_exercise_get_their_message(checker, message, answer):
    verdict = checker(answer)
    assert not verdict.passed
    assert any(message in hint for hint in hints(verdict)), repr(verdict)


def test_a_score_that_prefers_the_middle_is_caught_where_samples_are_spread():
    verdict = check.energy_score(near_mean)
    held = [finding.property for finding in verdict.findings if not finding.fault]
    assert "is the mean distance where all samples are the same" in held


def test_halving_the_error_is_asked_for_by_itself():
    verdict = check.psnr(lambda x, y: 20 * torch.log10(4 / mse(x, y)))
    failed = [finding.property for finding in verdict.findings if finding.fault]
    assert "gains 20 log10(2) where the error is halved" in failed
    assert math.isinf(float(check.psnr(psnr_right).function(torch.ones(2), torch.ones(2))))
