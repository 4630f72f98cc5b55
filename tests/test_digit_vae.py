"""The VAE of digits: its network, the two recipes, and what ships."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import distributions

from course_lib import paths
from course_lib.models.digit_vae import DigitVAE, DigitVAEConfig
from course_lib.nn.gaussian import DiagonalGaussian
from course_lib.recipes import digit_vae as recipe
from course_lib.training.loop import train_steps
from course_lib.training.recipe import Metric

TINY = DigitVAEConfig(latent_dim=3, channels=(2, 3, 4), hidden_dim=5)


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=make_generator(seed))


def tiny_model(config=TINY):
    generator, model = make_generator(), DigitVAE(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=generator))
    return model


def by_hand(model, images, eps):
    """Pictures from z = mean + exp(logvar / 2) eps, the halves of the encoder's output."""
    out = model.to_gaussian(images)
    z = out[:, :3] + (0.5 * out[:, 3:]).exp() * eps
    return model.from_latent(z), out[:, :3], out[:, 3:]


def test_a_call_draws_from_the_posterior_and_decodes():
    model, images, eps = tiny_model(), draw(4, 1, 28, 28), draw(4, 3, seed=1)
    x_hat, posterior = model(images, eps)
    expected, mean, logvar = by_hand(model, images, eps)
    assert x_hat.shape == images.shape
    assert x_hat.abs().max() <= 1
    torch.testing.assert_close(x_hat, expected)
    torch.testing.assert_close(posterior.mean, mean)
    torch.testing.assert_close(posterior.logvar, logvar)


def test_without_noise_it_is_an_autoencoder_that_never_reads_the_variance():
    model, images = tiny_model(), draw(4, 1, 28, 28)
    x_hat, posterior = model(images, torch.zeros(4, 3))
    torch.testing.assert_close(x_hat, model.decode(posterior.mean))
    x_hat.square().sum().backward()
    gradient = model.to_gaussian[-1].weight.grad
    assert (gradient[3:] == 0).all()
    assert (gradient[:3] != 0).any()


def test_each_picture_depends_on_its_own_image_and_code_alone():
    model = tiny_model()
    images, eps = draw(3, 1, 28, 28).requires_grad_(), draw(3, 3, seed=1).requires_grad_()
    model(images, eps)[0][1].square().sum().backward()
    for influence in (images.grad.abs().amax((1, 2, 3)), eps.grad.abs().amax(1)):
        assert (influence[[0, 2]] == 0).all()
        assert influence[1] > 0


@pytest.mark.parametrize("shape", [(2, 1, 28, 27), (2, 3, 28, 28), (2, 1, 32, 32)])
def test_pictures_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match=r"permitted: \(B, 1, 28, 28\)"):
        tiny_model().encode(torch.zeros(shape))


def test_noise_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"eps has shape \(2, 4\); permitted: \(2, 3\)"):
        tiny_model()(torch.zeros(2, 1, 28, 28), torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": (4, 0, 4)}, r"channels is \(4, 0, 4\); permitted: three positive"),
        ({"hidden_dim": 0}, "hidden_dim is 0; permitted: 1 and more"),
        ({"latent_dim": 0}, "latent_dim is 0; permitted: 1 and more"),
    ],
)
def test_an_impossible_config_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        DigitVAEConfig(**change)


def test_an_impossible_sigma_is_refused():
    with pytest.raises(ValueError, match=r"sigma is 0.0; permitted: None or above 0"):
        replace(recipe.VAE_CONFIG, sigma=0.0)


def test_a_batch_of_the_vae_has_noise_and_one_of_the_autoencoder_has_none():
    variational = recipe.draw(recipe.VAE_CONFIG, make_generator())
    plain = recipe.draw(recipe.PLAIN_CONFIG, make_generator())
    assert torch.equal(variational["images"], plain["images"])
    assert plain["eps"].abs().max() == 0
    assert variational["eps"].shape == (128, 2)
    assert 0.8 < variational["eps"].std() < 1.2
    train = {image.numpy().tobytes() for image in recipe.digits("train")[0]}
    assert all(image.numpy().tobytes() in train for image in plain["images"])


def loss_of(config, model, batch):
    objective = recipe.objectives(model, config)[0]
    return objective.loss(model, batch, 0)


def test_the_vaes_loss_is_the_negative_elbo_up_to_a_factor_and_a_constant():
    model, config = tiny_model(), replace(recipe.VAE_CONFIG, model=TINY, sigma=0.7)
    batches = [{"images": draw(4, 1, 28, 28, seed=s), "eps": draw(4, 3, seed=s)} for s in (1, 2)]
    negative = []
    for batch in batches:
        x_hat, mean, logvar = by_hand(model, batch["images"], batch["eps"])
        pixels = distributions.Normal(x_hat, 0.7).log_prob(batch["images"]).sum((1, 2, 3))
        q, p = distributions.Normal(mean, (logvar / 2).exp()), distributions.Normal(0.0, 1.0)
        negative.append(distributions.kl_divergence(q, p).sum(1).mean() - pixels.mean())
    losses = [loss_of(config, model, batch) for batch in batches]
    factor = 2 * 0.7**2 / 784
    torch.testing.assert_close(losses[0] - losses[1], factor * (negative[0] - negative[1]))


def test_the_autoencoders_loss_is_the_mean_squared_error():
    model, images = tiny_model(), draw(4, 1, 28, 28)
    batch = {"images": images, "eps": torch.zeros(4, 3)}
    config = replace(recipe.PLAIN_CONFIG, model=TINY)
    expected = ((by_hand(model, images, batch["eps"])[0] - images) ** 2).mean()
    torch.testing.assert_close(loss_of(config, model, batch), expected)


def test_a_few_digits_are_learned_by_heart():
    state = recipe.AUTOENCODER.start(replace(recipe.PLAIN_CONFIG, learning_rate=1e-2))
    batch = {"images": recipe.digits("train")[0][:4], "eps": torch.zeros(4, 2)}
    losses = [float(step.loss) for step in train_steps(state, lambda _: batch, seed=0, steps=150)]
    assert losses[-1] < 0.1 * losses[0]


def test_the_plane_has_a_column_for_every_x_and_a_row_for_every_y():
    model = tiny_model(replace(TINY, latent_dim=2))
    xs, ys = torch.tensor([-1.0, 0.5, 2.0]), torch.tensor([1.5, -0.3])
    plane = recipe.decode_plane(model, xs, ys)
    assert plane.shape == (2, 3, 1, 28, 28)
    for row, y in enumerate(ys.tolist()):
        for column, x in enumerate(xs.tolist()):
            expected = model.decode(torch.tensor([[x, y]]))[0]
            torch.testing.assert_close(plane[row, column], expected)


def test_random_places_are_the_prior_or_the_gaussian_that_fits_the_codes():
    model = tiny_model()
    prior = recipe.random_places(model, 20000, variational=True, generator=make_generator())
    fitted = recipe.random_places(model, 20000, variational=False, generator=make_generator())
    codes = model.to_gaussian(recipe.digits("train")[0])[:, :3].detach()
    for places, mean, cov in (
        (prior, torch.zeros(3), torch.eye(3)),
        (fitted, codes.mean(0), torch.cov(codes.T)),
    ):
        # In units of the Gaussian itself: mean 0, covariance I, within 4 standard errors.
        whitened = torch.linalg.solve_triangular(
            torch.linalg.cholesky(cov), (places - mean).T, upper=False
        )
        assert whitened.mean(1).abs().max() < 4 / math.sqrt(20000)
        assert (whitened.cov() - torch.eye(3)).abs().max() < 4 * math.sqrt(2 / 20000)


def test_digits_that_lie_beside_their_own_class_are_separated(monkeypatch):
    places = {"train": torch.tensor([[0.0], [1], [5]]), "test": torch.tensor([[0.1], [4], [0.4]])}
    labels = {"train": torch.tensor([0, 1, 1]), "test": torch.tensor([0, 1, 1])}
    monkeypatch.setattr(recipe, "digits", lambda split: (places[split], labels[split]))
    monkeypatch.setattr(
        recipe, "codes", lambda _, split: DiagonalGaussian(places[split], places[split])
    )
    assert recipe.separation(tiny_model()).value == pytest.approx(2 / 3)


def test_a_vae_is_measured_on_draws_of_its_codes_and_an_autoencoder_on_their_means(monkeypatch):
    num, nothing = 2000, Metric(0.0, 0.0, 0.0)
    wide = DiagonalGaussian(torch.zeros(num, 2), torch.full((num, 2), math.log(4)))
    paper = torch.zeros(num, 1, 28, 28), torch.zeros(num, dtype=torch.int64)
    monkeypatch.setattr(recipe, "codes", lambda *_: wide)
    monkeypatch.setattr(recipe, "decode", lambda _, z: z[:, :1, None, None].expand(-1, 1, 28, 28))
    monkeypatch.setattr(recipe, "digits", lambda _: paper)
    for name in ("separation", "share_read"):
        monkeypatch.setattr(recipe, name, lambda *_, **__: nothing)
    monkeypatch.setattr(recipe, "random_places", lambda *_, **__: wide.mean)
    drawn = recipe.evaluate(tiny_model(), recipe.VAE_CONFIG)["error"].value
    assert abs(drawn - 4) < 4 * math.sqrt(2 * 4**2 / num)  # four standard errors of a mean of z^2
    assert recipe.evaluate(tiny_model(), recipe.PLAIN_CONFIG)["error"].value == 0


def test_a_picture_is_read_where_the_classifier_is_sure():
    real = recipe.digits("test")[0][:200]
    between = (real + real.flip(0)) / 2
    assert recipe.share_read(real).value > 0.97
    assert recipe.share_read(between).value < recipe.share_read(real).value - 0.2
    logits = recipe.reader()(real).detach().double()
    expected = logits.exp().amax(1) / logits.exp().sum(1)
    torch.testing.assert_close(recipe.confidence(real).double(), expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module", params=recipe.RECIPES, ids=lambda r: r.name)
def shipped(request):
    stored = paths.RESULTS / f"{request.param.name}.json"
    return request.param, request.param.load(), json.loads(stored.read_text(encoding="utf-8"))


def test_what_ships_is_as_good_as_its_results_say(shipped):
    trained, model, results = shipped
    assert trained.path.stat().st_size < 128_000
    measured = recipe.evaluate(model, trained.small)
    assert {*measured} == {*results["metrics"]}
    for name, metric in measured.items():
        assert metric.value == pytest.approx(results["metrics"][name]["value"], rel=0.01), name


def test_the_codes_of_the_vae_lie_nearer_to_the_prior_than_those_of_the_autoencoder():
    vae, plain = (r.load() for r in (recipe.VAE, recipe.AUTOENCODER))
    z = recipe.codes(vae, "test").sample(generator=make_generator())
    far = recipe.codes(plain, "test").mean
    assert z.std(0).max() < 2.5
    assert far.std(0).min() > 5
    assert recipe.codes(vae, "test").sigma.mean() < 0.1
