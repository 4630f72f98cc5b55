"""The latent DiT: what it starts as, what it sees, that it is a network of futures like others."""

from dataclasses import replace

import pytest
import torch

from course_lib.methods import noise
from course_lib.methods.diffusion import X0
from course_lib.methods.predictor import DiffusionPredictor
from course_lib.models.latent_dit import LatentDiT, LatentDiTConfig

TINY = LatentDiTConfig(
    context=2, horizon=3, channels=2, size=4, patch_size=2, dim=16, depth=2, num_heads=2
)
T = torch.tensor([3, 700])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(config=TINY, *, trained=True, mean=None):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = LatentDiT(config, mean)
        if trained:
            with torch.no_grad():
                for weight in model.parameters():
                    weight.add_(0.2 * torch.randn_like(weight))
    return model


def test_before_training_it_answers_the_mean():
    mean = draw(3, 2, 4, 4)
    answer = make(trained=False, mean=mean)(draw(2, 3, 2, 4, 4), T, draw(2, 2, 2, 4, 4))
    assert torch.equal(answer, mean.expand(2, -1, -1, -1, -1))
    at_zero = make(trained=False)(draw(2, 3, 2, 4, 4), T, draw(2, 2, 2, 4, 4))
    assert (at_zero == 0).all()


def test_every_place_of_the_answer_hears_of_every_number_it_is_given():
    model = make()
    x_t, context = (draw(1, n, 2, 4, 4, seed=n).requires_grad_() for n in (3, 2))
    answer = model(x_t, T[:1], context)
    assert answer.shape == x_t.shape
    for place in range(0, answer.numel(), 7):
        found = torch.autograd.grad(answer.flatten()[place], (x_t, context), retain_graph=True)
        assert all((gradient != 0).all() for gradient in found)


def test_times_and_contexts_stay_with_their_example():
    model, x_t, context = make(), draw(2, 3, 2, 4, 4), draw(2, 2, 2, 4, 4, seed=1)
    whole = model(x_t, T, context)
    for i in range(2):
        alone = model(x_t[i : i + 1], T[i : i + 1], context[i : i + 1])
        torch.testing.assert_close(alone[0], whole[i])
    assert not torch.allclose(model(x_t, T.flip(0), context), whole)


def test_past_and_future_of_one_place_are_not_confounded():
    """Future and past change places: as tokens alone they could not be told apart."""
    model = make(replace(TINY, horizon=2))
    first, second = draw(1, 2, 2, 4, 4), draw(1, 2, 2, 4, 4, seed=1)
    apart = model(first, T[:1], second) - model(second, T[:1], first)
    assert apart.abs().max() > 0.01


def test_every_weight_is_used():
    model = make()
    model(draw(2, 3, 2, 4, 4), T, draw(2, 2, 2, 4, 4)).square().sum().backward()
    unused = [n for n, w in model.named_parameters() if w.grad is None or not w.grad.abs().sum()]
    assert unused == []


def test_it_learns_a_future_that_only_the_context_tells():
    """The future is the last frame, twice; what is noisy says nothing at the last step."""
    model = make(replace(TINY, horizon=2), trained=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    context = draw(16, 2, 2, 4, 4)
    future, t = context[:, -1:].expand(-1, 2, -1, -1, -1), torch.full((16,), 999)
    for step in range(150):
        error = (model(draw(16, 2, 2, 4, 4, seed=step), t, context) - future).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert error.item() < 0.6  # the mean of all futures costs 1


def test_it_walks_as_any_network_of_futures():
    predictor = DiffusionPredictor(make(), X0, noise.cosine(20), 3, num_steps=4, clip=None)
    context = draw(2, 2, 2, 4, 4)
    drawn = [
        predictor.predict(context, 3, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert drawn[0].shape == (2, 3, 2, 4, 4)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replace(TINY, horizon=0), "horizon is 0; permitted: 1 and more"),
        (lambda: make(replace(TINY, patch_size=3)), "patch_size is 3; permitted: what divides 4"),
        (
            lambda: make()(draw(2, 3, 2, 4, 4), T, draw(2, 3, 2, 4, 4)),
            "permitted: 2 and 3 frames of 2 channels",
        ),
    ],
)
def test_a_wrong_call_is_told_what_is_permitted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
