import math
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_recipe import LINE, SMALL
from torch import nn

from course_lib.training.ema import EMA
from course_lib.training.loop import (
    Objective,
    State,
    constant,
    train_steps,
    warmup_cosine,
    warmup_linear,
)
from course_lib.training.recipe import Config, Metric


class Scalar(nn.Module):
    """One weight w in float64, whose training can be written down by hand."""

    def __init__(self, start=3.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self, x):
        return self.w * x


def scalar_state(ema_decay=0.0, lr=0.1, **limits):
    model = Scalar()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    loss = lambda model, batch, _step: (model.w - batch["y"]).square().mean()  # noqa: E731
    return State(model, [Objective(loss, optimizer, **limits)], ema_decay=ema_decay)


def draw_targets(generator):
    return {"y": torch.randn(4, generator=generator, dtype=torch.float64)}


def recorded(batches):
    def draw(generator):
        batches.append(draw_targets(generator))
        return batches[-1]

    return draw


def test_updates_rates_and_average_follow_the_recursion_written_by_hand():
    batches = []
    state = scalar_state(ema_decay=0.6)
    schedule = lambda step: 1 / (1 + step)  # noqa: E731
    steps = list(train_steps(state, recorded(batches), seed=5, steps=12, schedule=schedule))

    w, average = 3.0, 3.0
    for n, (step, batch) in enumerate(zip(steps, batches, strict=True)):
        y = batch["y"].numpy()
        rate = 0.1 / (1 + n)
        assert float(step.loss) == pytest.approx(np.mean((w - y) ** 2), rel=1e-12)
        assert step.learning_rate == pytest.approx(rate, rel=1e-12)
        assert step.step == n + 1
        w -= rate * 2 * (w - y.mean())
        kept = min(0.6, (n + 2) / (n + 11))
        average = kept * average + (1 - kept) * w
    assert state.model.w.item() == pytest.approx(w, rel=1e-12)
    assert state.ema.model.w.item() == pytest.approx(average, rel=1e-12)
    assert state.step == 12


def test_what_a_step_draws_depends_on_seed_and_step_alone():
    whole, late, other = [], [], []
    list(train_steps(scalar_state(), recorded(whole), seed=1, steps=6))
    resumed = scalar_state()
    resumed.step = 4
    list(train_steps(resumed, recorded(late), seed=1, steps=6))
    list(train_steps(scalar_state(), recorded(other), seed=2, steps=6))
    assert all(torch.equal(a["y"], b["y"]) for a, b in zip(whole[4:], late, strict=True))
    drawn = {tuple(batch["y"].tolist()) for batch in whole + other}
    assert len(drawn) == 12


def test_between_two_steps_nothing_moves():
    state = scalar_state()
    steps = train_steps(state, draw_targets, seed=0, steps=3)
    assert state.step == 0
    next(steps)
    after_one = state.model.w.item()
    assert state.step == 1
    assert after_one != 3.0
    steps.close()
    assert (state.step, state.model.w.item()) == (1, after_one)


def test_a_finished_training_has_no_further_step():
    state = scalar_state()
    assert len(list(train_steps(state, draw_targets, seed=0, steps=3))) == 3
    assert list(train_steps(state, draw_targets, seed=0, steps=3)) == []


def test_layers_that_draw_by_themselves_resume_and_leave_the_global_generator_alone():
    config = replace(SMALL, model=replace(SMALL.model, dropout=0.5), steps=6)
    before = torch.get_rng_state()
    whole = LINE.start(config)
    losses = [float(step.loss) for step in LINE.train_steps(whole, config)]
    assert torch.equal(torch.get_rng_state(), before)

    parts = LINE.start(config)
    steps = LINE.train_steps(parts, config)
    first = [float(next(steps).loss) for _ in range(3)]
    steps.close()
    torch.rand(7)  # whatever the process drew in between
    rest = [float(step.loss) for step in LINE.train_steps(parts, config)]
    assert first + rest == losses


def test_a_dropout_mask_is_another_one_at_each_step():
    masks = []

    class Dropped(Scalar):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout(0.5)

    def loss(model, _batch, _step):
        mask = model.dropout(torch.ones(64))
        masks.append(tuple(mask.tolist()))
        return model.w * mask.mean()

    model = Dropped()
    state = State(model, [Objective(loss, torch.optim.SGD(model.parameters(), lr=0.1))])
    list(train_steps(state, draw_targets, seed=0, steps=4))
    assert len(set(masks)) == 4


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = Scalar(1.0), Scalar(2.0)


def test_each_objective_moves_its_own_weights_by_its_own_gradient_only():
    model = Pair()
    objectives = [
        Objective(
            lambda model, _batch, _step: model.left.w * model.right.w,
            torch.optim.SGD(model.left.parameters(), lr=0.1),
        ),
        Objective(
            lambda model, _batch, step: (model.right.w * 5, {"right": model.right.w + step}),
            torch.optim.SGD(model.right.parameters(), lr=0.1),
        ),
    ]
    state = State(model, objectives)
    step = next(train_steps(state, draw_targets, seed=0, steps=2))
    assert model.left.w.item() == pytest.approx(1 - 0.1 * 2)
    assert model.right.w.item() == pytest.approx(2 - 0.1 * 5)
    assert float(step.loss) == pytest.approx(2)
    assert {name: float(value) for name, value in step.parts.items()} == {"right": 2.0}


def game(**right):
    """Two players whose gradients are 3 and (5, 12); the second can be changed."""
    model = nn.ModuleDict({"left": Scalar(1.0), "right": nn.ModuleList([Scalar(2.0), Scalar(0.5)])})

    def left_loss(model, _batch, _step):
        return 3 * model["left"].w, {"seen": model["left"].w}

    def right_loss(model, _batch, _step):
        first, second = model["right"]
        return 5 * first.w + 12 * second.w

    rate = {"lr": 0.01}
    return State(
        model,
        [
            Objective(left_loss, torch.optim.SGD(model["left"].parameters(), **rate), name="left"),
            Objective(right_loss, torch.optim.SGD(model["right"].parameters(), **rate), **right),
        ],
    )


def reported(step):
    return {name: pytest.approx(float(value)) for name, value in step.parts.items()}


def test_a_named_objective_reports_its_loss_and_its_gradients_norm_before_it_is_cut():
    state = game(name="right", max_grad_norm=0.5)
    step = next(train_steps(state, draw_targets, seed=0, steps=1))
    of_left = {"seen": 1.0, "left_loss": 3.0, "left_gradient": 3.0}
    assert reported(step) == {**of_left, "right_loss": 16.0, "right_gradient": 13.0}
    assert float(step.loss) == 3
    assert state.model["right"][1].w.item() == pytest.approx(0.5 - 0.01 * 0.5 * 12 / 13)


def test_an_objective_without_a_name_reports_no_more_than_its_loss_does():
    step = next(train_steps(game(), draw_targets, seed=0, steps=1))
    assert reported(step) == {"seen": 1.0, "left_loss": 3.0, "left_gradient": 3.0}


def test_an_objective_rests_until_its_first_step():
    state = game(name="right", first_step=2)
    weights, names = [], []
    for step in train_steps(state, draw_targets, seed=0, steps=4):
        weights.append((state.model["left"].w.item(), state.model["right"][0].w.item()))
        names.append("right_loss" in step.parts)
    assert names == [False, False, True, True]
    expected = [(0.97, 2.0), (0.94, 2.0), (0.91, 1.95), (0.88, 1.9)]
    for found, pair in zip(weights, expected, strict=True):
        assert found == pytest.approx(pair)


def test_the_loss_of_a_step_is_that_of_the_first_objective_at_work():
    state = game(name="right")
    state.objectives = [replace(state.objectives[0], first_step=1), state.objectives[1]]
    losses = [float(step.loss) for step in train_steps(state, draw_targets, seed=0, steps=2)]
    assert losses == pytest.approx([16, 3])


def test_a_training_in_which_nobody_begins_is_refused():
    late = [replace(objective, first_step=3) for objective in game().objectives]
    with pytest.raises(ValueError, match="first_step is 3; permitted: one at 0"):
        State(Scalar(), late)


def test_a_loss_learns_the_step_counted_from_zero():
    seen = []
    model = Scalar()

    def loss(model, _batch, step):
        seen.append(step)
        return model.w

    state = State(model, [Objective(loss, torch.optim.SGD(model.parameters(), lr=0.1))])
    list(train_steps(state, draw_targets, seed=0, steps=3))
    assert seen == [0, 1, 2]


def test_a_gradient_longer_than_the_limit_is_cut_to_it():
    state = scalar_state(lr=1.0, max_grad_norm=0.25)
    next(train_steps(state, draw_targets, seed=0, steps=1))
    assert state.model.w.item() == pytest.approx(2.75, rel=1e-5)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (constant, {0: 1, 9: 1}),
        (warmup_cosine(100), {0: 1, 50: 0.5, 25: 0.5 + math.sqrt(0.125), 100: 0}),
        (warmup_cosine(110, warmup=10), {0: 0.1, 4: 0.5, 9: 1, 10: 1, 60: 0.5}),
        (warmup_linear(100), {0: 1, 50: 0.5, 75: 0.25, 99: 0.01}),
        (warmup_linear(110, warmup=10), {0: 0.1, 9: 1, 10: 1, 60: 0.5}),
    ],
)
def test_schedules_have_their_known_values(schedule, expected):
    found = {step: schedule(step) for step in expected}
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_average_keeps_its_own_weights_copies_buffers_and_never_trains():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = EMA(model, decay=0.9)
    start = ema.model[0].weight.clone()
    with torch.no_grad():
        model[0].weight += 1
        model[1].running_mean += 5
        model[1].num_batches_tracked += 3
    assert torch.equal(ema.model[0].weight, start)
    ema.update(model, 1)
    # After one update the average keeps 2/11 of the start.
    torch.testing.assert_close(ema.model[0].weight, start + 9 / 11)
    assert torch.equal(ema.model[1].running_mean, model[1].running_mean)
    assert int(ema.model[1].num_batches_tracked) == 3
    ema.update(model, 10_000)
    torch.testing.assert_close(ema.model[0].weight, start + 1 - 0.9 * 2 / 11)
    assert not ema.model.training
    assert not any(weight.requires_grad for weight in ema.model.parameters())


def test_the_small_training_learns():
    config = replace(SMALL, steps=200, batch_size=32, learning_rate=0.03)
    state = LINE.start(config)
    losses = [float(step.loss) for step in LINE.train_steps(state, config)]
    assert np.mean(losses[-20:]) < 0.25 * np.mean(losses[:20])


def test_an_untrained_state_depends_on_the_seed_alone():
    before = torch.get_rng_state()
    first, again = LINE.start(SMALL), LINE.start(SMALL)
    other = LINE.start(replace(SMALL, seed=1))
    weights = [state.model.layers[0].weight for state in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_processes_that_cannot_share_a_batch_are_told_so():
    fabric = types.SimpleNamespace(global_rank=0, world_size=3)
    steps = train_steps(scalar_state(), draw_targets, seed=0, steps=1, fabric=fabric)
    with pytest.raises(ValueError, match=r"y has 4 rows, which 3 processes"):
        next(steps)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: next(train_steps(scalar_state(), draw_targets, seed=0, steps=0)), "steps is 0"),
        (lambda: warmup_cosine(10, warmup=10), r"warmup is 10; permitted for 10 steps: 0\.\.9"),
        (lambda: warmup_linear(0), "warmup is 0"),
        (lambda: EMA(Scalar(), decay=1.0), r"decay is 1\.0; permitted: 0 <= decay < 1"),
        (lambda: replace(SMALL, steps=0), "steps is 0"),
        (lambda: replace(SMALL, batch_size=-1), "batch_size is -1"),
        (lambda: replace(SMALL, every=0), "every is 0"),
        (lambda: replace(SMALL, learning_rate=0.0), r"learning_rate is 0\.0"),
        (lambda: replace(SMALL, ema_decay=1.5), r"ema_decay is 1\.5"),
        (lambda: Metric(1.0, 2.0, 3.0), r"value is 1\.0; permitted: between low 2\.0"),
        (lambda: Metric(math.nan, 0.0, 1.0), "value is nan"),
    ],
)
def test_a_bad_argument_is_named_with_what_is_permitted(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_mean_comes_with_its_standard_errors():
    metric = Metric.of_mean(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert metric.value == 3
    half = 1.96 * math.sqrt(14 / 3 / 4)
    assert (metric.low, metric.high) == pytest.approx((3 - half, 3 + half))


def test_a_mean_of_many_values_is_taken_in_double_precision():
    values = torch.full((3_000_000,), 0.1)
    assert Metric.of_mean(values).value == pytest.approx(values[0].item(), rel=1e-12)


def test_a_config_is_described_as_json_gives_it_back():
    config = Config(model=(1, 2), steps=1, batch_size=1, learning_rate=1.0)
    assert config.described()["model"] == [1, 2]
