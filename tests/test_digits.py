import hashlib
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.data.digits import DIGITS_FILE, Digits, load_digits
from course_lib.paths import DATA
from course_lib.recipes import digits as recipe

CUE = [0, 3, 4, 2, 1, 2, 0, 3, 4, 1]  # of the digits 0..9


def some_images(num: int) -> torch.Tensor:
    return torch.zeros(num, 28, 28, dtype=torch.uint8)


@pytest.mark.parametrize(("split", "per_class"), [("train", 850), ("test", 150)])
def test_each_split_holds_equally_many_of_every_class(split, per_class):
    digits = load_digits(split)
    assert len(digits) == 10 * per_class
    assert digits.images.shape == (10 * per_class, 28, 28)
    assert torch.bincount(digits.labels).tolist() == [per_class] * 10


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_digits_are_not_sorted_by_class(split):
    labels = load_digits(split).labels
    for part in labels[:1000].split(100):
        assert len(part.unique()) >= 9
    assert 0.05 < (labels[1:] == labels[:-1]).double().mean() < 0.15


def test_no_digit_is_in_both_splits_or_twice_in_one():
    seen = [{i.numpy().tobytes() for i in load_digits(s).images} for s in ("train", "test")]
    assert [len(s) for s in seen] == [8500, 1500]
    assert not seen[0] & seen[1]


def test_sources_are_indices_into_the_file_that_the_split_names():
    with np.load(DIGITS_FILE) as file:
        source, split = file["source"], file["split"]
    for number, (chosen, size) in enumerate([(8500, 60000), (1500, 10000)]):
        indices = source[split == number]
        assert len(set(indices.tolist())) == chosen
        assert indices.min() >= 0
        assert size * 0.99 < indices.max() < size


def test_the_cue_of_a_held_out_digit_can_be_read_by_a_linear_classifier():
    train, test = load_digits("train"), load_digits("test")
    cue = torch.tensor(CUE)
    generator = torch.Generator().manual_seed(0)
    weight = torch.zeros(785, 10, requires_grad=True)

    def inputs(digits):
        pixels = digits.images.flatten(1) / 255
        return torch.cat([pixels, torch.ones(len(pixels), 1)], 1)

    x, optimizer = inputs(train), torch.optim.Adam([weight], 0.01)
    for _ in range(8):
        for batch in torch.randperm(len(x), generator=generator).split(250):
            optimizer.zero_grad()
            F.cross_entropy(x[batch] @ weight, train.labels[batch]).backward()
            optimizer.step()
    read = cue[(inputs(test) @ weight).argmax(1)]
    assert (read == cue[test.labels]).double().mean() > 0.995  # .94 among all digits of MNIST


def test_an_unknown_split_is_named_beside_those_that_exist():
    with pytest.raises(ValueError, match=r"'valid'.*'train'.*'test'"):
        load_digits("valid")


def test_one_drawn_digit_is_enough():
    assert len(Digits(some_images(1), torch.tensor([7]))) == 1


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (some_images(2)[:, :20], torch.tensor([1, 2]), r"\(2, 20, 28\).*\(N, 28, 28\)"),
        (some_images(0), torch.zeros(0, dtype=torch.int64), r"\(0, 28, 28\).*N >= 1"),
        (some_images(2).float(), torch.tensor([1, 2]), r"float32.*uint8"),
        (some_images(2), torch.tensor([1]), r"\(1,\).*\(2,\)"),
        (some_images(2), torch.tensor([1, 10]), r"1\.\.10.*0\.\.9"),
        (some_images(2), torch.tensor([-1, 3]), r"-1\.\.3.*0\.\.9"),
        (some_images(2), torch.tensor([1.0, 2.0]), r"float32.*int64"),
    ],
)
def test_what_is_no_set_of_digits_is_refused(images, labels, message):
    # Past the shape checks that only tests have: a reader's notebook has these messages alone.
    with pytest.raises(ValueError, match=message):
        Digits.__post_init__(SimpleNamespace(images=images, labels=labels))


def test_the_readme_names_the_file_with_its_hash():
    digest = hashlib.sha256(DIGITS_FILE.read_bytes()).hexdigest()
    rows = (DATA / "README.md").read_text(encoding="utf-8").splitlines()
    row = next(line for line in rows if line.startswith(f"| `{DIGITS_FILE.name}` |"))
    assert re.findall(r"[0-9a-f]{64}", row) == [digest]


def test_an_idx_file_is_read_by_its_header(tmp_path, monkeypatch):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3]) + bytes(range(6)))
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(recipe.MD5, path.name, digest)
    assert recipe.read_idx(path).tolist() == [[[0, 1, 2]], [[3, 4, 5]]]


def test_an_idx_file_that_is_not_the_original_is_refused(tmp_path):
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"train-labels.*MD5.*a25bea736e30d166cdddb491f175f624"):
        recipe.read_idx(path)


def test_confidence_in_a_cue_adds_the_probabilities_of_its_two_digits():
    logits = torch.arange(10.0)
    probs = (logits.exp() / logits.exp().sum()).tolist()

    class Constant(nn.Module):
        def forward(self, x):
            return logits.expand(len(x), 10)

    confidence = recipe.cue_confidence(
        Constant(), torch.zeros(10, 1, 28, 28), torch.arange(10)
    ).tolist()
    partner = [6, 7, 8, 5, 9, 3, 0, 1, 2, 4]
    for digit in range(10):
        assert confidence[digit] == pytest.approx(probs[digit] + probs[partner[digit]])


def test_no_digit_is_scored_by_a_classifier_that_was_trained_on_it():
    # Noise with meaningless labels can be learned by heart and not be guessed.
    generator = torch.Generator().manual_seed(0)
    images = {"train": torch.rand(80, 1, 16, 16, generator=generator)}
    labels = {"train": torch.randint(10, (80,), generator=generator)}
    images["test"], labels["test"] = images["train"], labels["train"]
    found = recipe.confidences(recipe.linear, images, labels, 400, generator=generator)
    assert found["train"].mean() < 0.35  # chance is .2
    assert found["test"].mean() > 0.6  # the same images, here scored by those that know them


def test_chosen_digits_are_balanced_passed_and_shuffled():
    labels = torch.arange(10).repeat_interleave(40)
    passed = torch.arange(400) % 2 == 0
    chosen = recipe.choose(passed, labels, 15, generator=torch.Generator().manual_seed(1))
    assert torch.bincount(labels[chosen]).tolist() == [15] * 10
    assert passed[chosen].all()
    assert len(chosen.unique()) == 150
    assert (labels[chosen][1:] == labels[chosen][:-1]).double().mean() < 0.3


def test_too_few_passing_digits_are_named():
    passed = torch.ones(20, dtype=torch.bool)
    with pytest.raises(ValueError, match="2 digits 0 pass; 3 are needed"):
        recipe.choose(passed, torch.arange(20) % 10, 3, generator=torch.Generator().manual_seed(0))
