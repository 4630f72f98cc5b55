"""The ConvLSTM against sums written out by hand, against nn.LSTM, and frame by frame."""

import math

import pytest
import torch
from torch import nn

from course_lib.models.convlstm import ConvLSTM, ConvLSTMCell, ConvLSTMConfig

TINY = ConvLSTMConfig(size=8, patch_size=4, dims=(3, 2))


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw_like(shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=make_generator(seed))


def randomise(module, seed=0):
    """Every weight drawn, peepholes too, so that no term hides behind a zero."""
    generator = make_generator(seed)
    module.double()
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, dtype=torch.float64, generator=generator))
    return module


def tiny_model(config=TINY):
    return randomise(ConvLSTM(config))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def correlate(weight, picture, row, column):
    """One place of a zero-padded convolution, as the sum it is."""
    total, reach = 0.0, weight.shape[-1] // 2
    for channel in range(weight.shape[0]):
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                y, x = row + down, column + right
                if 0 <= y < picture.shape[-2] and 0 <= x < picture.shape[-1]:
                    tap = weight[channel, down + reach, right + reach]
                    total += tap.item() * picture[channel, y, x].item()
    return total


def cell_by_hand(cell, x, hidden, memory):
    """Shi et al., section 3.1, one number at a time."""
    dim, size = hidden.shape[0], hidden.shape[-1]
    new_hidden, new_memory = torch.zeros_like(hidden), torch.zeros_like(memory)
    for d in range(dim):
        for row in range(size):
            for column in range(size):
                place = (d, row, column)
                sums = []
                for gate in range(4):  # input, forget, candidate, output
                    channel = gate * dim + d
                    value = cell.from_hidden.bias[channel].item()
                    value += correlate(cell.from_hidden.weight[channel], hidden, row, column)
                    if x is not None:
                        value += correlate(cell.from_input.weight[channel], x, row, column)
                    sums.append(value)
                old = memory[place].item()
                look_i, look_f, look_o = (cell.peepholes[k][place].item() for k in range(3))
                let_in = sigmoid(sums[0] + look_i * old)
                keep = sigmoid(sums[1] + look_f * old)
                new = keep * old + let_in * math.tanh(sums[2])
                new_memory[place] = new
                new_hidden[place] = sigmoid(sums[3] + look_o * new) * math.tanh(new)
    return new_hidden, new_memory


@pytest.mark.parametrize("in_channels", [0, 2])
def test_a_cell_is_the_paper_s_equations(in_channels):
    config = ConvLSTMConfig(size=3, patch_size=1, input_kernel_size=5)
    cell = randomise(ConvLSTMCell(in_channels, 2, config))
    x = draw_like((2, in_channels, 3, 3)) if in_channels else None
    hidden, memory = draw_like((2, 2, 3, 3), 1), draw_like((2, 2, 3, 3), 2)
    for _ in range(2):  # the second step starts from what the first returned
        expected = [
            cell_by_hand(cell, None if x is None else x[b], hidden[b], memory[b]) for b in range(2)
        ]
        output, (hidden, memory) = cell(x, (hidden, memory))
        torch.testing.assert_close(hidden, torch.stack([h for h, _ in expected]))
        torch.testing.assert_close(memory, torch.stack([c for _, c in expected]))
        torch.testing.assert_close(output, hidden)


@pytest.mark.parity
def test_at_one_place_and_without_peepholes_it_is_torch_s_lstm():
    config = ConvLSTMConfig(size=2, patch_size=2, kernel_size=1, input_kernel_size=1)
    cell = randomise(ConvLSTMCell(4, 5, config))
    reference = nn.LSTM(4, 5, batch_first=True).double()
    with torch.no_grad():
        cell.peepholes.zero_()
        reference.weight_ih_l0.copy_(cell.from_input.weight.flatten(1))
        reference.weight_hh_l0.copy_(cell.from_hidden.weight.flatten(1))
        reference.bias_ih_l0.zero_()
        reference.bias_hh_l0.copy_(cell.from_hidden.bias)
    x = draw_like((3, 6, 4))
    state = (torch.zeros(3, 5, 1, 1).double(), torch.zeros(3, 5, 1, 1).double())
    outputs = []
    for frame in x.unbind(1):
        output, state = cell(frame[..., None, None], state)
        outputs.append(output.flatten(1))
    expected, (hidden, memory) = reference(x)
    torch.testing.assert_close(torch.stack(outputs, 1), expected)
    torch.testing.assert_close(state[0].flatten(1), hidden[0])
    torch.testing.assert_close(state[1].flatten(1), memory[0])


def predict_by_hand(model, context, horizon):
    """The encoder-forecaster with patches cut and set by indexing, layer by layer."""
    p, places = model.config.patch_size, model.config.num_places
    dims = model.config.dims
    states = [(torch.zeros(d, places, places).double(),) * 2 for d in dims]
    for frame in context:
        x = torch.zeros(p * p, places, places).double()
        for channel in range(p * p):
            x[channel] = frame[0, channel // p :: p, channel % p :: p]
        for number, layer in enumerate(model.encoder):
            states[number] = cell_by_hand(layer, x, *states[number])
            x = states[number][0]
    frames = []
    for _ in range(horizon):
        x = None
        for number, layer in enumerate(model.forecaster):
            states[number] = cell_by_hand(layer, x, *states[number])
            x = states[number][0]
        stacked = torch.cat([hidden for hidden, _ in states])
        weight = model.to_patches.weight[:, :, 0, 0]
        patches = torch.einsum("cd,dyx->cyx", weight, stacked)
        patches += model.to_patches.bias[:, None, None]
        frame = torch.zeros(1, model.config.size, model.config.size).double()
        for channel in range(p * p):
            frame[0, channel // p :: p, channel % p :: p] = patches[channel]
        frames.append(frame)
    return torch.stack(frames)


def test_the_forecast_is_the_one_unrolled_by_hand():
    model = tiny_model()
    context = draw_like((2, 3, 1, 8, 8))
    with torch.no_grad():
        prediction = model.predict(context, 2)
        expected = torch.stack([predict_by_hand(model, clip, 2) for clip in context])
    torch.testing.assert_close(prediction, expected)


def test_equal_calls_give_equal_forecasts_whatever_came_between():
    model = tiny_model().eval()
    context = draw_like((2, 3, 1, 8, 8))
    first = model.predict(context, 4)
    model.predict(draw_like((5, 2, 1, 8, 8), 1), 3)
    torch.testing.assert_close(model.predict(context, 4), first, rtol=0, atol=0)


def test_nothing_is_drawn():
    generator, model = make_generator(), tiny_model()
    before = generator.get_state(), torch.get_rng_state()
    model.predict(draw_like((1, 3, 1, 8, 8)), 2, generator=generator)
    assert torch.equal(generator.get_state(), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_longer_forecast_begins_with_the_shorter_one():
    model, context = tiny_model(), draw_like((1, 3, 1, 8, 8))
    torch.testing.assert_close(model.predict(context, 5)[:, :2], model.predict(context, 2))


def test_the_clips_of_a_batch_do_not_see_each_other():
    model = tiny_model()
    context = draw_like((3, 3, 1, 8, 8)).requires_grad_()
    model.predict(context, 2)[1].square().sum().backward()
    influence = context.grad.flatten(1).norm(dim=1)
    assert influence[1] > 0
    assert (influence[[0, 2]] == 0).all()


def test_every_predicted_frame_depends_on_every_frame_of_the_context():
    model = tiny_model()
    context = draw_like((1, 3, 1, 8, 8)).requires_grad_()
    prediction = model.predict(context, 4)
    for frame in prediction[0]:
        (gradient,) = torch.autograd.grad(frame.square().sum(), context, retain_graph=True)
        assert (gradient[0].flatten(1).norm(dim=1) > 1e-12).all()


def test_every_weight_is_used():
    model = tiny_model()
    model(draw_like((1, 3, 1, 8, 8)), 3).square().sum().backward()
    unused = [n for n, w in model.named_parameters() if w.grad is None or not w.grad.abs().sum()]
    assert unused == []


def test_it_learns_one_batch_by_heart():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = ConvLSTM(ConvLSTMConfig(size=4, patch_size=2, dims=(16,)))
    video = torch.rand(2, 4, 1, 4, 4, generator=make_generator()) * 2 - 1
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    losses = []
    for _ in range(80):
        loss = (model(video[:, :2], 2) - video[:, 2:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(
    ("shape", "horizon", "message"),
    [
        ((1, 3, 1, 8, 4), 2, r"\(1, 3, 1, 8, 4\); permitted: \(B, T, \*\(1, 8, 8\)\)"),
        ((1, 3, 3, 8, 8), 2, r"\(1, 3, 3, 8, 8\); permitted"),
        ((1, 0, 1, 8, 8), 2, r"\(1, 0, 1, 8, 8\); permitted.* T >= 1"),
        ((1, 3, 1, 8, 8), 0, "horizon is 0; permitted: 1 and more"),
    ],
)
def test_a_wrong_call_is_told_what_is_permitted(shape, horizon, message):
    with pytest.raises(ValueError, match=message):
        tiny_model().predict(torch.zeros(shape).double(), horizon)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 5}, "patch_size is 5; permitted: a divisor of size, 32"),
        ({"patch_size": 0}, "patch_size is 0"),
        ({"dims": ()}, r"dims is \(\); permitted"),
        ({"dims": (4, 0)}, r"dims is \(4, 0\); permitted"),
        ({"kernel_size": 4}, "^kernel_size is 4; permitted: odd"),
        ({"input_kernel_size": -1}, "input_kernel_size is -1; permitted: odd"),
    ],
)
def test_an_impossible_config_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ConvLSTMConfig(**change)
