import pytest
import torch

from course_lib.data.crossroads import BASE, Crossroads
from course_lib.data.digits import Digits, load_digits
from course_lib.evaluation.futures import score_context
from course_lib.interfaces import VideoPredictor
from course_lib.methods.ddim import ddim_steps, last, trailing_timesteps
from course_lib.methods.diffusion import EPS, X0, denoiser
from course_lib.methods.noise import cosine, linear
from course_lib.methods.predictor import DiffusionPredictor, in_blocks

SCHEDULE = cosine(shift=-4.0)
SHORT = linear(40, 0.002, 0.4)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def drift(x_t, t, context):
    """A made-up network whose answer hangs on picture, step and context."""
    steps = (t.float() / 40).reshape(-1, 1, 1, 1, 1)
    return torch.tanh(x_t.flip(-1) + context.mean(1, keepdim=True) - steps)


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Digit n is a digit of class n."""
    test = load_digits("test")
    first = [int((test.labels == label).nonzero()[0]) for label in range(10)]
    return Digits(test.images[first], test.labels[first])


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("label", [1, 2])  # a cue of three futures, and one that forbids a turn
def test_with_the_exact_denoiser_the_futures_are_valid_and_come_as_often_as_they_should(
    digits, label, eta
):
    world, num = Crossroads(digits, BASE), 100
    futures = world.futures(label, BASE.arrivals[0], include_impossible=True)

    def exact(x_t, t, context):
        assert context.shape[1] == BASE.context
        return futures.denoise(x_t, SCHEDULE.alphas_cumprod[t])

    made = DiffusionPredictor(exact, X0, SCHEDULE, BASE.horizon, num_steps=12, eta=eta)
    context = futures.context.expand(num, -1, -1, -1, -1)
    score = score_context(made.predict(context, BASE.horizon, generator=seeded(0)), futures, cue=0)
    assert score.valid == 1
    assert score.forbidden == 0
    spread = (futures.probs * (1 - futures.probs) / num).sqrt()  # of each frequency
    assert (torch.tensor(score.frequencies) - futures.probs).abs().le(4 * spread + 1e-9).all()
    assert score.total_variation <= score.total_variation_floor + 0.05


def test_a_prediction_is_the_clipped_walk_over_trailing_steps_from_drawn_noise():
    context = torch.randn(2, 3, 1, 4, 4, generator=seeded(0))
    made = DiffusionPredictor(drift, EPS, SHORT, 5, num_steps=6, eta=0.5)
    drawn = seeded(1)
    x_T = torch.randn(2, 5, 1, 4, 4, generator=drawn)
    walk = ddim_steps(
        denoiser(lambda x_t, t: drift(x_t, t, context), EPS, SHORT),
        SHORT,
        x_T,
        trailing_timesteps(40, 6),
        eta=0.5,
        clip=1.0,
        generator=drawn,
    )
    found = made.predict(context, 5, generator=seeded(1))
    assert torch.equal(found, last(walk))
    assert found.abs().max() <= 1
    steps = list(made.steps(context, x_T, generator=seeded(2)))
    assert [step.t for step in steps] == [39, 32, 25, 19, 12, 5]
    assert steps[0].x_t is x_T
    free = DiffusionPredictor(drift, EPS, SHORT, 5, num_steps=6, clip=None)
    assert next(free.steps(4 * context, 4 * x_T)).x0_hat.abs().max() > 1


def test_each_example_is_predicted_from_its_own_context():
    context = torch.randn(3, 2, 1, 4, 4, generator=seeded(0))
    made = DiffusionPredictor(drift, EPS, SHORT, 4, num_steps=5, eta=0.0)
    changed = context.clone()
    changed[1] += 0.5
    before, after = (made.predict(c, 4, generator=seeded(1)) for c in (context, changed))
    differs = (before != after).flatten(1).any(1)
    assert differs.tolist() == [False, True, False]


def test_a_seed_gives_the_same_future_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    context = torch.zeros(2, 3, 1, 4, 4)
    predict: VideoPredictor = DiffusionPredictor(drift, EPS, SHORT, 5, num_steps=4).predict
    found = [predict(context, 5, generator=seeded(seed)) for seed in (3, 3, 4)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_another_horizon_than_the_networks_is_refused():
    made = DiffusionPredictor(drift, EPS, SHORT, 5)
    with pytest.raises(ValueError, match="horizon is 4; permitted: 5"):
        made.predict(torch.zeros(1, 3, 1, 4, 4), 4)


@pytest.mark.parametrize("horizon", [1, 3, 4, 10])
def test_blocks_go_on_from_their_own_last_frames(horizon):
    asked = []

    def sums(context, horizon, *, generator=None):
        """Each frame is the sum of the two before it."""
        asked.append((context.shape[1], horizon))
        frames = list(context.unbind(1))
        for _ in range(horizon):
            frames.append(frames[-1] + frames[-2])
        return torch.stack(frames[context.shape[1] :], 1)

    context = torch.tensor([1.0, 1.0]).reshape(1, 2, 1, 1, 1)
    found = in_blocks(sums, 3)(context, horizon)
    assert found.flatten().tolist() == [2, 3, 5, 8, 13, 21, 34, 55, 89, 144][:horizon]
    whole, rest = divmod(horizon, 3)
    assert asked == [(2, 3)] * whole + [(2, rest)] * (rest > 0)


def test_blocks_draw_on_from_one_generator():
    def drawn(context, horizon, *, generator=None):
        return torch.randn(len(context), horizon, *context.shape[2:], generator=generator)

    frames = in_blocks(drawn, 2)(torch.zeros(1, 3, 1, 1, 1), 6, generator=seeded(0)).flatten()
    assert len(set(frames.tolist())) == 6
    with pytest.raises(ValueError, match="longest is 0; permitted: 1 and more"):
        in_blocks(drawn, 0)
