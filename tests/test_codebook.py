"""A codebook and the best linear code, against definitions that share no code with them."""

import pytest
import torch

from course_lib.methods import codebook
from course_lib.methods.codebook import fit_codebook, nearest_code, principal_axes


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dice():
    return torch.Generator().manual_seed(0)


def test_the_nearest_code_is_at_the_least_distance_also_beyond_one_chunk(monkeypatch):
    monkeypatch.setattr(codebook, "CHUNK", 7)
    vectors, codes = draw(30, 3), draw(5, 3, seed=1)
    distances = [[float((v - c).norm()) for c in codes] for v in vectors]
    assert nearest_code(vectors, codes).tolist() == [d.index(min(d)) for d in distances]


def test_clusters_that_lie_apart_become_codes():
    centres = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    vectors = (centres[:, None] + 0.1 * draw(3, 40, 2)).flatten(0, 1)
    means = vectors.view(3, 40, 2).mean(1)
    best = min(
        (fit_codebook(vectors, 3, num_steps=9, generator=torch.Generator().manual_seed(n)))
        .sub(means[:, None])
        .norm(dim=-1)
        .min(1)
        .values.max()
        for n in range(5)
    )
    assert best < 1e-5  # k-means may stop in a worse place; one of five beginnings does not


def test_rounds_lower_the_error_and_as_many_codes_as_vectors_leave_none():
    vectors = draw(200, 4)
    errors = []
    for rounds in range(5):
        codes = fit_codebook(vectors, 8, num_steps=rounds, generator=dice())
        errors.append(float((vectors - codes[nearest_code(vectors, codes)]).square().sum()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.9 * errors[0]
    codes = fit_codebook(vectors, 200, generator=dice())
    assert torch.equal(codes[nearest_code(vectors, codes)], vectors)


def test_a_code_that_nobody_is_nearest_to_stays_a_number():
    vectors = torch.ones(6, 2)
    assert torch.equal(fit_codebook(vectors, 3, generator=dice()), torch.ones(3, 2))


def test_the_same_generator_gives_the_same_codes():
    vectors = draw(50, 2)
    assert torch.equal(*(fit_codebook(vectors, 4, generator=dice()) for _ in range(2)))
    other = fit_codebook(vectors, 4, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(other, fit_codebook(vectors, 4, generator=dice()))


@pytest.mark.parametrize("arguments", [(0, 1), (6, 1), (2, -1)])
def test_impossible_numbers_are_refused(arguments):
    with pytest.raises(ValueError, match=r"permitted: 1\.\.5 codes"):
        fit_codebook(draw(5, 2), arguments[0], num_steps=arguments[1])


def test_principal_axes_lose_what_the_smallest_singular_values_hold():
    vectors = draw(60, 5).double() @ draw(5, 5, seed=1).double() + 3
    mean, axes = principal_axes(vectors)
    torch.testing.assert_close(axes.T @ axes, torch.eye(5).double())
    values = torch.linalg.svdvals(vectors - vectors.mean(0))
    for d in range(6):
        rebuilt = mean + (vectors - mean) @ axes[:, :d] @ axes[:, :d].T
        lost = (vectors - rebuilt).square().sum()
        torch.testing.assert_close(lost, values[d:].square().sum(), atol=1e-9, rtol=1e-9)
