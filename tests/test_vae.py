import inspect
import math

import numpy as np
import pytest
import torch
from torch import distributions

from course_lib.methods.vae import (
    critical_beta,
    elbo,
    log_likelihood,
    pixel_beta,
    pixel_sigma,
    reparameterised_gradients,
    score_function_gradients,
    vae_loss,
)
from course_lib.nn.gaussian import DiagonalGaussian

SIGMA = 0.7  # of the linear model's pixels
W = torch.tensor([[1.0], [-0.5], [2.0]], dtype=torch.float64)  # three pixels, one latent
X = torch.tensor([0.3, -1.2, 0.8], dtype=torch.float64)


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=make_generator(seed))


def gaussian(*shape, seed=0):
    return DiagonalGaussian(draw(*shape, seed=seed), draw(*shape, seed=seed + 100))


def frames(pixels):
    """Vectors of pixels as frames of one row."""
    return pixels[..., None, None, :]


def exact_posterior(x, w=W, sigma=SIGMA):
    """Bayes for x = w z + noise, z ~ N(0, 1): precisions add."""
    precision = 1 + w[:, 0].dot(w[:, 0]) / sigma**2
    mean = (x @ w)[..., 0] / sigma**2 / precision
    logvar = -precision.log().expand(mean.shape)
    return DiagonalGaussian(mean[..., None], logvar[..., None])


def log_evidence(x):
    """Log p(x), the integral over z done by hand: x is Gaussian with covariance W W' + sigma^2."""
    covariance = W @ W.T + SIGMA**2 * torch.eye(3, dtype=torch.float64)
    return distributions.MultivariateNormal(torch.zeros(3).double(), covariance).log_prob(x)


def bound_at(z, posterior):
    """The bound from single values of z (N, 1): log p(x|z) + log p(z) - log q(z|x)."""
    many = DiagonalGaussian(posterior.mean.expand_as(z), posterior.logvar.expand_as(z))
    likelihood = log_likelihood(frames(z @ W.T), frames(X.expand(len(z), 3)), sigma=SIGMA)
    return likelihood + DiagonalGaussian.standard(z).log_prob(z) - many.log_prob(z)


def average_bound(posterior, num=40):
    """The bound averaged over the posterior without noise: Gauss-Hermite quadrature."""
    nodes, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(num))
    weights = weights / math.sqrt(2 * math.pi)
    z = posterior.mean + (posterior.logvar / 2).exp() * nodes[:, None]
    many = DiagonalGaussian(posterior.mean.expand_as(z), posterior.logvar.expand_as(z))
    prior, x = DiagonalGaussian.standard(z), frames(X.expand(num, 3))
    return (weights * elbo(frames(z @ W.T), x, many, prior, sigma=SIGMA)).sum()


def test_with_the_exact_posterior_the_bound_is_the_evidence_at_every_z():
    z = torch.linspace(-6, 6, 25, dtype=torch.float64)[:, None]
    bounds = bound_at(z, exact_posterior(X))
    torch.testing.assert_close(bounds, log_evidence(X).expand(25))


def test_with_another_posterior_the_bound_depends_on_z():
    z = torch.linspace(-6, 6, 25, dtype=torch.float64)[:, None]
    exact = exact_posterior(X)
    for other in (
        DiagonalGaussian(exact.mean + 0.1, exact.logvar),
        DiagonalGaussian(exact.mean, exact.logvar + 0.1),
    ):
        assert bound_at(z, other).std() > 0.01


def test_the_elbo_is_the_evidence_less_the_kl_to_the_exact_posterior():
    exact = exact_posterior(X)
    torch.testing.assert_close(average_bound(exact), log_evidence(X))
    for shift, widen in ((0.3, 0.0), (0.0, 0.5), (0.0, -0.5), (-0.2, 0.4)):
        other = DiagonalGaussian(exact.mean + shift, exact.logvar + widen)
        q, p = (distributions.Normal(g.mean, torch.exp(g.logvar).sqrt()) for g in (other, exact))
        gap = distributions.kl_divergence(q, p).squeeze()
        assert gap > 0.01
        torch.testing.assert_close(average_bound(other), log_evidence(X) - gap)


@pytest.mark.parametrize("shape", [(2, 1, 3, 4), (2, 3, 2, 4, 2)])
def test_the_log_likelihood_is_a_normal_density_at_every_pixel(shape):
    x_hat, x = draw(*shape), draw(*shape, seed=1)
    by_torch = distributions.Normal(x_hat, 0.3).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(log_likelihood(x_hat, x, sigma=0.3), by_torch)


def test_every_frame_has_its_own_loss_and_its_own_kl():
    x_hat, x = draw(2, 3, 1, 4, 5), draw(2, 3, 1, 4, 5, seed=1)
    q, p = gaussian(2, 3, 4, seed=2), gaussian(2, 3, 4, seed=3)
    loss = vae_loss(x_hat, x, q, p, beta=0.25)
    bound = elbo(x_hat, x, q, p, sigma=0.5)
    assert loss.shape == bound.shape == (2, 3)
    for b in range(2):
        for t in range(3):
            squares = [
                (x_hat[b, t, 0, i, j] - x[b, t, 0, i, j]).item() ** 2
                for i in range(4)
                for j in range(5)
            ]
            kl = 0.0
            for k in range(4):
                m, v = q.mean[b, t, k].item(), math.exp(q.logvar[b, t, k].item())
                m_p, v_p = p.mean[b, t, k].item(), math.exp(p.logvar[b, t, k].item())
                kl += math.log(v_p / v) / 2 + (v + (m - m_p) ** 2) / (2 * v_p) - 1 / 2
            assert loss[b, t].item() == pytest.approx(sum(squares) / 20 + 0.25 * kl)
            density = -sum(squares) / (2 * 0.25) - 20 * math.log(0.5 * math.sqrt(2 * math.pi))
            assert bound[b, t].item() == pytest.approx(density - kl)


@pytest.mark.parametrize(("shape", "beta"), [((1, 4, 4), 0.02), ((3, 2, 5), 0.3), ((1, 1, 1), 2.0)])
def test_svg_s_loss_is_the_negative_elbo_up_to_a_factor_and_a_constant(shape, beta):
    num_pixels = math.prod(shape)
    x_hat, x = draw(50, *shape), draw(50, *shape, seed=1)
    q, p = gaussian(50, 3, seed=2), gaussian(50, 3, seed=3)
    loss = vae_loss(x_hat, x, q, p, beta=beta)
    bound = elbo(x_hat, x, q, p, sigma=pixel_sigma(beta, num_pixels))
    constants = loss / beta + bound
    torch.testing.assert_close(constants, constants[:1].expand(50))
    # Written out once more, so that the constant is the Gaussian's and not an accident.
    variance = beta * num_pixels / 2
    assert constants[0].item() == pytest.approx(-num_pixels / 2 * math.log(2 * math.pi * variance))


def test_svg_s_published_beta_stands_for_a_pixel_sigma_of_almost_a_half():
    assert pixel_sigma(1e-4, 64 * 64) == pytest.approx(0.4525, abs=1e-4)


def test_a_beta_beside_summed_squares_is_a_beta_beside_their_mean_times_the_pixels():
    assert pixel_sigma(0.3, 1) == pytest.approx(pixel_sigma(0.3 / 1024, 1024))


@pytest.mark.parametrize("beta", [1e-4, 0.3, 7.0])
@pytest.mark.parametrize("num_pixels", [1, 1024])
def test_beta_and_sigma_are_each_other_s_inverse(beta, num_pixels):
    assert pixel_beta(pixel_sigma(beta, num_pixels), num_pixels) == pytest.approx(beta)


def expected_loss(w, eigenvalues, sigma, beta):
    """SVG's loss of the linear model, averaged exactly over data and latent.

    The loss is quadratic in both, so two points a direction stand for each distribution.
    """
    num = len(eigenvalues)
    x = torch.cat([sign * torch.diag((num * eigenvalues).sqrt()) for sign in (1, -1)])
    q = exact_posterior(x, w, sigma)
    losses = [
        vae_loss(frames(z @ w.T), frames(x), q, DiagonalGaussian.standard(q.mean), beta=beta)
        for z in (q.mean + q.sigma, q.mean - q.sigma)
    ]
    return torch.stack(losses).mean().item()


@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.98, 1.02, 1.1, 2.0])
def test_a_linear_decoder_uses_z_below_the_critical_beta_and_not_above(ratio):
    eigenvalues = torch.tensor([0.2, 1.7, 0.6, 0.1], dtype=torch.float64)
    beta = ratio * critical_beta(1.7, 4)
    sigma = math.sqrt(beta * 4 / 2)
    ignoring = expected_loss(torch.zeros(4, 1).double(), eigenvalues, sigma, beta)
    gains = []
    for direction in torch.eye(4, dtype=torch.float64):
        for length in (0.05, 0.1, 0.3, 1.0):
            w = length * direction[:, None]
            gains.append(ignoring - expected_loss(w, eigenvalues, sigma, beta))
    assert (max(gains) > 0) == (ratio < 1)


def quadratic(z):
    return (z - 1).square().sum(-1) + z[..., 0] * z[..., 1]


def quadratic_gradients(mean, logvar):
    """E[f] is f(mean) + the sum of the variances, so its gradients are plain."""
    by_mean = 2 * (mean - 1) + mean[[1, 0]]
    return by_mean, logvar.exp()


ESTIMATORS = [reparameterised_gradients, score_function_gradients]


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_both_estimators_have_the_closed_form_as_their_mean(estimate):
    num = 40_000
    mean, logvar = torch.tensor([0.5, -1.5]).double(), torch.tensor([0.4, -0.8]).double()
    q = DiagonalGaussian(mean.expand(num, 2), logvar.expand(num, 2))
    estimates = estimate(quadratic, q, generator=make_generator())
    for found, expected in zip(estimates, quadratic_gradients(mean, logvar), strict=True):
        error = found.std(0) / math.sqrt(num)
        assert ((found.mean(0) - expected).abs() < 4 * error).all()
        assert (error < 0.1).all()


def test_an_estimate_from_one_draw_is_the_formula_at_that_draw():
    q = gaussian(5, 2)
    z = q.sample(generator=make_generator(3))
    eps = (z - q.mean) / q.logvar.exp().sqrt()
    slope = 2 * (z - 1) + z.flip(-1)
    by_mean, by_logvar = reparameterised_gradients(quadratic, q, generator=make_generator(3))
    torch.testing.assert_close(by_mean, slope)
    torch.testing.assert_close(by_logvar, slope * (z - q.mean) / 2)
    by_mean, by_logvar = score_function_gradients(quadratic, q, generator=make_generator(3))
    value = quadratic(z)[:, None]
    torch.testing.assert_close(by_mean, value * eps / q.logvar.exp().sqrt())
    torch.testing.assert_close(by_logvar, value * (eps.square() - 1) / 2)


def test_the_score_function_varies_more():
    q = DiagonalGaussian(torch.full((2000, 2), 2.0), torch.zeros(2000, 2))
    calm, wild = (e(quadratic, q, generator=make_generator()) for e in ESTIMATORS)
    for through, around in zip(calm, wild, strict=True):
        assert (around.var(0) > 3 * through.var(0)).all()


def test_the_score_function_needs_no_slope():
    num = 40_000
    q = DiagonalGaussian(torch.zeros(num, 1).double(), torch.zeros(num, 1).double())
    by_mean, _ = score_function_gradients(
        lambda z: (z[:, 0] > 0).double(), q, generator=make_generator()
    )
    # P(z > 0) grows with the mean as fast as the density at zero is high.
    error = by_mean.std().item() / math.sqrt(num)
    assert abs(by_mean.mean().item() - 1 / math.sqrt(2 * math.pi)) < 4 * error


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_estimating_leaves_weights_and_the_global_generator_alone(estimate):
    weight = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
    before = torch.get_rng_state()
    estimate(quadratic, DiagonalGaussian(2 * weight, weight), generator=make_generator())
    assert weight.grad is None
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loss_sends_gradients_to_pixels_posterior_and_prior():
    x_hat, x = draw(2, 3, 1, 2, 2).requires_grad_(), draw(2, 3, 1, 2, 2, seed=1)
    q, p = gaussian(2, 3, 4, seed=2), gaussian(2, 3, 4, seed=3)
    weights = [x_hat, *(t.requires_grad_() for t in (q.mean, q.logvar, p.mean, p.logvar))]
    loss = vae_loss(x_hat, x, q, p, beta=0.1).sum()
    assert all((g != 0).all() for g in torch.autograd.grad(loss, weights))


FRAME, CLIP = torch.zeros(2, 1, 4, 4), torch.zeros(2, 3, 1, 4, 4)


def standard(*shape):
    return DiagonalGaussian.standard(torch.zeros(shape))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            # The tests' type checker would speak first: ask as a reader without it would.
            lambda: inspect.unwrap(log_likelihood)(FRAME, FRAME[:1], sigma=1.0),
            r"x has shape \(1, 1, 4, 4\); permitted: \(2, 1, 4, 4\)",
        ),
        (
            lambda: inspect.unwrap(vae_loss)(
                CLIP, CLIP[:, :1], standard(2, 3, 5), standard(2, 3, 5), beta=1.0
            ),
            r"x has shape \(2, 1, 1, 4, 4\); permitted: \(2, 3, 1, 4, 4\)",
        ),
        (
            lambda: vae_loss(CLIP, CLIP, standard(3, 5), standard(3, 5), beta=1.0),
            r"posterior has shape \(3, 5\); permitted: \(\*\(2, 3\), Z\)",
        ),
        (
            lambda: elbo(CLIP, CLIP, standard(2, 1, 5), standard(2, 1, 5), sigma=1.0),
            r"posterior has shape \(2, 1, 5\); permitted: \(\*\(2, 3\), Z\)",
        ),
        (
            lambda: vae_loss(FRAME, FRAME, standard(2, 5), standard(2, 1), beta=1.0),
            r"p has shape \(2, 1\); permitted: \(2, 5\)",
        ),
        (
            lambda: vae_loss(FRAME, FRAME, standard(2, 5), standard(2, 5), beta=-0.1),
            "beta is -0.1; permitted: 0 and more",
        ),
        (lambda: log_likelihood(FRAME, FRAME, sigma=0.0), "sigma is 0.0; permitted: above 0"),
        (lambda: pixel_sigma(0.0, 4), "beta is 0.0; permitted: above 0"),
        (lambda: pixel_sigma(1.0, 0), "num_pixels is 0; permitted: above 0"),
        (lambda: pixel_beta(-1.0, 4), "sigma is -1.0; permitted: above 0"),
        (lambda: pixel_beta(1.0, 0), "num_pixels is 0; permitted: above 0"),
        (lambda: critical_beta(math.nan, 4), "lambda_max is nan; permitted: above 0"),
        (lambda: critical_beta(1.0, -1), "num_pixels is -1; permitted: above 0"),
        *(
            (
                lambda e=e: e(lambda z: z.sum(-1, keepdim=True), standard(2, 3)),
                r"f returned shape \(2, 1\); permitted: \(2,\)",
            )
            for e in ESTIMATORS
        ),
    ],
)
def test_a_wrong_call_is_told_what_is_permitted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
