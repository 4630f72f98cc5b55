import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions

from course_lib.nn.gaussian import DiagonalGaussian, GaussianMixture, kl_divergence

NUMBER = st.floats(-4, 4)


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(*shape, seed=0, dtype=torch.float64):
    mean, logvar = torch.randn(2, *shape, dtype=dtype, generator=make_generator(seed))
    return DiagonalGaussian(mean, logvar)


def theirs(q):
    """The same Gaussian in torch's words, its deviation as the root of its variance."""
    deviation = torch.sqrt(torch.exp(q.logvar))
    return distributions.Independent(distributions.Normal(q.mean, deviation), 1)


def on_a_line(mean, variance):
    """A Gaussian of one coordinate, given by its variance."""
    return DiagonalGaussian(
        torch.tensor([mean], dtype=torch.float64),
        torch.tensor([math.log(variance)], dtype=torch.float64),
    )


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3), (2, 4, 1)])
def test_density_entropy_and_kl_are_those_of_torch_distributions(shape):
    q, p = gaussian(*shape), gaussian(*shape, seed=1)
    z = 2 * gaussian(*shape, seed=2).mean
    torch.testing.assert_close(q.log_prob(z), theirs(q).log_prob(z))
    torch.testing.assert_close(q.entropy(), theirs(q).entropy())
    expected = distributions.kl_divergence(theirs(q), theirs(p))
    torch.testing.assert_close(kl_divergence(q, p), expected)
    assert kl_divergence(q, p).shape == shape[:-1]


def test_known_numbers_by_hand():
    wide, unit = on_a_line(3.0, 4.0), on_a_line(0.0, 1.0)
    assert wide.sigma.item() == pytest.approx(2)
    assert wide.log_prob(torch.tensor([5.0]).double()).item() == pytest.approx(
        math.log(math.exp(-0.5) / (2 * math.sqrt(2 * math.pi)))
    )
    assert kl_divergence(wide, unit).item() == pytest.approx((4 + 9 - 1) / 2 - math.log(2))
    assert kl_divergence(unit, wide).item() == pytest.approx((1 / 4 + 9 / 4 - 1) / 2 + math.log(2))


def test_kl_is_the_mean_log_ratio_over_draws_of_the_first():
    q, p = gaussian(2, 3), gaussian(2, 3, seed=1)
    num = 40_000
    z = theirs(q).mean + theirs(q).stddev * torch.randn(
        num, 2, 3, dtype=torch.float64, generator=make_generator(2)
    )
    ratios = theirs(q).log_prob(z) - theirs(p).log_prob(z)  # (N, 2)
    error = ratios.std(0) / math.sqrt(num)
    assert ((ratios.mean(0) - kl_divergence(q, p)).abs() < 4 * error).all()
    assert ((ratios.mean(0) - kl_divergence(p, q)).abs() > 4 * error).all()


def test_draws_have_the_mean_and_variance_they_should_have():
    q, num = gaussian(1, 4), 40_000
    many = DiagonalGaussian(q.mean.expand(num, 4), q.logvar.expand(num, 4))
    scores = (many.sample(generator=make_generator(1)) - q.mean) / q.logvar.exp().sqrt()
    assert (scores.mean(0).abs() < 4 / math.sqrt(num)).all()
    assert ((scores.square().mean(0) - 1).abs() < 4 * math.sqrt(2 / num)).all()
    correlations = scores.T @ scores / num - torch.eye(4)
    assert (correlations.fill_diagonal_(0).abs() < 4 / math.sqrt(num)).all()


def test_a_draw_moves_with_the_mean_and_widens_with_the_deviation():
    q = gaussian(5, 2)
    q.mean.requires_grad_()
    q.logvar.requires_grad_()
    z = q.sample(generator=make_generator(1))
    by_mean, by_logvar = torch.autograd.grad(z.sum(), (q.mean, q.logvar))
    torch.testing.assert_close(by_mean, torch.ones(5, 2).double())
    torch.testing.assert_close(by_logvar, 0.5 * (z - q.mean).detach())  # d sigma / d logvar
    assert (by_logvar != 0).all()


@pytest.mark.parametrize("name", ["mean", "logvar"])
def test_kl_sends_a_gradient_to_both_gaussians(name):
    q, p = gaussian(2, 3), gaussian(2, 3, seed=1)
    weights = [getattr(q, name).requires_grad_(), getattr(p, name).requires_grad_()]
    for gradient in torch.autograd.grad(kl_divergence(q, p).sum(), weights):
        assert (gradient != 0).all()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), min_size=1, max_size=4))
def test_kl_is_never_negative_and_zero_only_between_equals(rows):
    numbers = torch.tensor(rows, dtype=torch.float64).T
    q, p = DiagonalGaussian(*numbers[:2]), DiagonalGaussian(*numbers[2:])
    assert kl_divergence(q, q).item() == 0
    kl = kl_divergence(q, p).item()
    assert kl >= -1e-12
    if (numbers[:2] - numbers[2:]).abs().max() > 1e-3:
        assert kl > 0


def test_almost_equal_variances_keep_their_digits_in_float32():
    nudge = torch.full((1, 1), 1e-3)
    q, p = DiagonalGaussian(torch.zeros(1, 1), nudge), DiagonalGaussian.standard(nudge)
    assert kl_divergence(q, p).item() == pytest.approx(1e-6 / 4, rel=0.01)


def test_the_standard_gaussian_looks_like_what_it_is_given():
    like = torch.full((2, 5, 3), 7.0, dtype=torch.float64)
    standard = DiagonalGaussian.standard(like)
    assert standard.mean.dtype == standard.logvar.dtype == torch.float64
    assert standard.sample(generator=make_generator()).dtype == torch.float64
    z = gaussian(2, 5, 3).mean
    expected = -(z.square().sum(-1) + 3 * math.log(2 * math.pi)) / 2
    torch.testing.assert_close(standard.log_prob(z), expected)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 4))
def test_equal_generators_give_equal_bits_and_the_global_one_is_left_alone(seed, batch, dim):
    q = gaussian(batch, dim)
    before = torch.get_rng_state()
    first = q.sample(generator=make_generator(seed))
    assert torch.equal(first, q.sample(generator=make_generator(seed)))
    assert not torch.equal(first, q.sample(generator=make_generator(seed + 1)))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_the_global_one_is_used():
    q = gaussian(2, 3)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)
        drawn = q.sample()
    assert torch.equal(drawn, q.sample(generator=make_generator(5)))


def test_a_mean_and_a_logvar_that_do_not_match_are_both_named():
    # The tests' type checker would speak first: ask as a reader without it would.
    init = inspect.unwrap(DiagonalGaussian.__init__)
    with pytest.raises(ValueError, match=r"logvar has shape \(2, 1\); permitted: \(2, 3\)"):
        init(gaussian(1), torch.zeros(2, 3), torch.zeros(2, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gaussian(2, 3).log_prob(torch.zeros(2, 1).double()),
            r"z has shape \(2, 1\); permitted: \(2, 3\)",
        ),
        (
            lambda: gaussian(2, 3).log_prob(torch.zeros(5, 2, 3).double()),
            r"z has shape \(5, 2, 3\); permitted: \(2, 3\)",
        ),
        (
            lambda: kl_divergence(gaussian(2, 3), gaussian(1, 3)),
            r"p has shape \(1, 3\); permitted: \(2, 3\)",
        ),
    ],
)
def test_shapes_that_do_not_match_are_both_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def mixture(*shape, seed=3):
    """A mixture of the last dimension but one of `shape`."""
    logits = torch.randn(shape[:-1], dtype=torch.float64, generator=make_generator(seed))
    return GaussianMixture(logits, gaussian(*shape, seed=seed))


@pytest.mark.parity
def test_the_density_and_mean_of_a_mixture_are_those_of_torch_distributions():
    p = mixture(2, 3, 4, 5)
    same = distributions.MixtureSameFamily(
        distributions.Categorical(logits=p.logits), theirs(p.components)
    )
    z = torch.randn(2, 3, 5, dtype=torch.float64, generator=make_generator(9))
    torch.testing.assert_close(p.log_prob(z), same.log_prob(z))
    torch.testing.assert_close(p.mean, same.mean)


def test_draws_of_a_mixture_have_its_moments_and_repeat_with_their_generator():
    p = mixture(1, 4, 2)[torch.zeros(40_000, dtype=torch.long)]
    z = p.sample(generator=make_generator())
    assert torch.equal(z, p.sample(generator=make_generator()))
    assert not torch.equal(z, p.sample(generator=make_generator(1)))
    weights = p.logits[0].softmax(0)[:, None]
    mean = (weights * p.components.mean[0]).sum(0)
    second = (weights * (p.components.mean[0] ** 2 + p.components.logvar[0].exp())).sum(0)
    for drawn, exact in ((z, mean), (z**2, second)):
        error = drawn.std(0) / len(z) ** 0.5
        assert ((drawn.mean(0) - exact).abs() < 4 * error).all()


def test_a_place_of_the_batch_keeps_its_own_mixture():
    p = mixture(2, 3, 4, 5)
    z = torch.randn(2, 3, 5, dtype=torch.float64, generator=make_generator(9))
    torch.testing.assert_close(p[:, 1:].log_prob(z[:, 1:]), p.log_prob(z)[:, 1:])
    q = gaussian(2, 3, 5)
    torch.testing.assert_close(q[:, 1:].log_prob(z[:, 1:]), q.log_prob(z)[:, 1:])
