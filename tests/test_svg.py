"""SVG against its loop written out with LSTM cells, and by who may see which frame."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.models.dcgan import DCGANConfig, Decoder, Encoder
from course_lib.models.svg import PUBLISHED, SVG, SVGConfig

TINY = SVGConfig(
    image=DCGANConfig(channels=(4, 6), norm_groups=2, feature_dim=5, hidden_dim=7),
    latent_dim=3,
    predictor_dim=6,
    predictor_layers=2,
    inference_dim=4,
)
VARIANTS = {
    "learned": TINY,
    "fixed": replace(TINY, prior="fixed", residual=False),
    "deterministic": replace(TINY, prior=None, latent_dim=0),
}
MIXTURE = replace(TINY, prior="mixture", num_components=2)
FRAMES, CONTEXT = 6, 3
SHAPE = (FRAMES, 1, 16, 16)


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw_like(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=make_generator(seed))


def randomise(module):
    """Every weight drawn, so that no term hides behind a zero."""
    generator = make_generator()
    module.double().eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, dtype=torch.float64, generator=generator))
    return module


def make(variant="learned"):
    return randomise(SVG(VARIANTS[variant]))


def noise(model, batch=2):
    return draw_like(batch, FRAMES - CONTEXT, model.config.latent_dim, seed=1)


def influence(output, source):
    """Norm of the gradient of `output` for each frame of the clip `source`."""
    (gradient,) = torch.autograd.grad(output.square().sum(), source, retain_graph=True)
    return gradient.flatten(2).norm(dim=2)


# The networks of frames.


def test_the_published_networks_have_the_published_sizes():
    model = SVG(PUBLISHED)
    counts = [sum(w.numel() for w in m.parameters()) for m in (model.encoder, model.decoder)]
    # The layer table by hand: a convolution has in * out * 16 weights and out biases, BatchNorm two
    # numbers per channel; convolutions 1-64-128-256-512-128 and back, skips double what goes in.
    encoder = decoder = 0
    for below, out in ((1, 64), (64, 128), (128, 256), (256, 512), (512, 128)):
        encoder += 16 * below * out + out + 2 * out
    for below, out in ((128, 512), (1024, 256), (512, 128), (256, 64)):
        decoder += 16 * below * out + out + 2 * out
    decoder += 16 * 128 + 1
    assert counts == [encoder, decoder]
    assert [round(count / 1e6, 2) for count in counts] == [3.81, 6.56]
    assert PUBLISHED.image.size == 64
    assert (model.predictor.embed.in_features, model.predictor.embed.out_features) == (138, 256)
    assert (model.predictor.lstm.hidden_size, model.predictor.lstm.num_layers) == (256, 2)
    assert len(model.predictor.to_features) == 2  # Linear and Tanh: nothing residual
    for network in (model.posterior, model.prior):
        assert (network.embed.in_features, network.embed.out_features) == (128, 256)
        assert (network.lstm.hidden_size, network.lstm.num_layers) == (256, 1)
        assert network.to_gaussian.weight.shape == (20, 256)
    h, skips = model.encoder(torch.zeros(2, 1, 64, 64))
    assert h.shape == (2, 128)
    assert [s.shape[1:] for s in skips] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]


@pytest.mark.parametrize(
    ("image", "size"),
    [(DCGANConfig(), 32), (DCGANConfig(patch_size=4), 64), (TINY.image, 16)],
)
def test_every_config_encodes_and_decodes_its_size(image, size):
    h, skips = Encoder(image)(torch.zeros(2, 1, size, size))
    assert image.size == size
    assert h.shape == (2, image.feature_dim)
    assert [s.shape[1] for s in skips] == list(image.channels)
    assert Decoder(image)(h[:, None], skips).shape == (2, 1, 1, size, size)


@pytest.mark.parametrize("groups", [2, None])
def test_the_encoder_is_its_layer_table(groups):
    encoder = randomise(Encoder(replace(TINY.image, norm_groups=groups, patch_size=4)))
    frames = draw_like(2, 1, 32, 32)
    weights = dict(encoder.named_parameters())

    def normalise(x, name):
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        if groups is None:  # untrained, in eval mode: mean 0, variance 1
            shape = (-1, 1, 1)
            return x / (1 + 1e-5) ** 0.5 * scale.view(shape) + shift.view(shape)
        return F.group_norm(x, groups, scale, shift)

    x, expected = frames, []
    for level, stride in enumerate((4, 2)):
        conv = f"blocks.{level}.0"
        x = F.pad(x, (stride // 2,) * 4)
        x = F.conv2d(x, weights[f"{conv}.weight"], weights[f"{conv}.bias"], stride)
        x = normalise(x, f"blocks.{level}.1")
        x = torch.maximum(x, 0.2 * x)
        expected.append(x)
    last = weights["to_features.0.weight"]
    x = torch.einsum("bcij,dcij->bd", x, last) + weights["to_features.0.bias"]
    if groups is None:
        x = normalise(x[..., None, None], "to_features.1")[..., 0, 0]
    h, skips = encoder(frames)
    torch.testing.assert_close(h, torch.tanh(x))
    torch.testing.assert_close(skips, expected)


def test_the_decoder_stacks_each_frame_on_the_skip_of_its_clip():
    decoder = randomise(Decoder(TINY.image))
    g, skips = draw_like(2, 3, 5), [draw_like(2, 4, 8, 8), draw_like(2, 6, 4, 4)]
    weights = dict(decoder.named_parameters())

    def leaky(x):
        return torch.maximum(x, 0.2 * x)

    def normalise(x, name):
        return leaky(F.group_norm(x, 2, weights[f"{name}.weight"], weights[f"{name}.bias"]))

    decoded = decoder(g, skips)
    for clip in range(2):
        for step in range(3):
            x = leaky(weights["hidden.0.weight"] @ g[clip, step] + weights["hidden.0.bias"])
            x = torch.einsum("c,coij->oij", x, weights["from_features.0.weight"])[None]
            x = x + weights["from_features.0.bias"].view(-1, 1, 1)
            x = normalise(x, "from_features.1")
            for level, skip in enumerate(reversed(skips)):
                x = torch.cat([x, skip[clip : clip + 1]], dim=1)
                weight, bias = (weights[f"ups.{level}.conv.{n}"] for n in ("weight", "bias"))
                x = F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
                x = torch.tanh(x) if level else normalise(x, "activations.0.0")
            torch.testing.assert_close(decoded[clip, step], x[0])


# The loop of the paper, with LSTM cells.


class Cells:
    """A network's LSTM as cells with its weights, and the state on this object."""

    def __init__(self, network, batch):
        lstm = network.lstm
        self.cells, self.states = [], []
        for layer in range(lstm.num_layers):
            cell = nn.LSTMCell(lstm.input_size, lstm.hidden_size).double()
            with torch.no_grad():
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(cell, name).copy_(getattr(lstm, f"{name}_l{layer}"))
            self.cells.append(cell)
            self.states.append((torch.zeros(batch, lstm.hidden_size).double(),) * 2)
        self.network = network

    def read(self, x):
        x = x @ self.network.embed.weight.T + self.network.embed.bias
        for layer, cell in enumerate(self.cells):
            self.states[layer] = cell(x, self.states[layer])
            x = self.states[layer][0]
        return x

    def gaussian(self, h):
        head = self.network.to_gaussian
        mean_and_logvar = self.read(h) @ head.weight.T + head.bias
        size = mean_and_logvar.shape[1] // 2
        return mean_and_logvar[:, :size], mean_and_logvar[:, size:]

    def features(self, h, z):
        out, layers = self.read(torch.cat([h, z], 1)), self.network.to_features
        if not self.network.residual:
            return torch.tanh(out @ layers[0].weight.T + layers[0].bias)
        hidden = torch.cat([out, h], 1) @ layers[0].weight.T + layers[0].bias
        return h + hidden.clamp(min=0) @ layers[2].weight.T + layers[2].bias


def loop_by_hand(model, video, latent_at):
    """Section 3 frame by frame; `latent_at(step, posterior, prior)`; None in `video`: its own."""
    batch, kind = len(video[0]), model.config.prior
    predictor = Cells(model.predictor, batch)
    nothing = torch.zeros(batch, model.config.latent_dim).double()
    posterior = Cells(model.posterior, batch).gaussian if kind else lambda h: (nothing, nothing)
    prior = (
        Cells(model.prior, batch).gaussian if kind == "learned" else lambda h: (nothing, nothing)
    )
    posterior(model.encoder(video[0])[0])
    skips = model.encoder(video[CONTEXT - 1])[1]
    frames, posteriors, priors, last = [], [], [], video[0]
    for t in range(1, len(video)):
        h = model.encoder(last)[0]
        p = prior(h)
        q = posterior(model.encoder(video[t])[0]) if video[t] is not None else None
        if t < CONTEXT:
            predictor.features(h, nothing)
            last = video[t]
            continue
        g = predictor.features(h, latent_at(t - CONTEXT, q, p))
        frames.append(model.decoder(g[:, None], skips)[:, 0])
        posteriors.append(q)
        priors.append(p)
        last = frames[-1] if video[t] is None else video[t]
    return torch.stack(frames, 1), posteriors, priors


def same_gaussians(ours, by_hand):
    for number, values in enumerate((ours.mean, ours.logvar)):
        torch.testing.assert_close(values, torch.stack([each[number] for each in by_hand], 1))


@pytest.mark.parity
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_training_pass_is_the_paper_s_loop(variant):
    model = make(variant)
    video = draw_like(2, *SHAPE)
    eps = noise(model)
    done = model(video, CONTEXT, eps)
    frames, posteriors, priors = loop_by_hand(
        model,
        video.unbind(1),
        lambda step, q, p: q[0] + torch.exp(q[1] / 2) * eps[:, step],
    )
    torch.testing.assert_close(done.frames, frames)
    same_gaussians(done.posterior, posteriors)
    same_gaussians(done.prior, priors)
    same_gaussians(model.infer(video, CONTEXT), posteriors)


@pytest.mark.parity
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_prediction_is_the_loop_fed_with_its_own_frames_and_the_prior(variant):
    model = make(variant)
    context = draw_like(2, CONTEXT, *SHAPE[1:])
    predicted = model.predict(context, 3, generator=make_generator(7))
    generator = make_generator(7)

    def draw(_step, _q, p):
        eps = torch.randn(p[0].shape, dtype=torch.float64, generator=generator)
        return p[0] + torch.exp(p[1] / 2) * eps

    expected, _, _ = loop_by_hand(model, [*context.unbind(1), None, None, None], draw)
    torch.testing.assert_close(predicted, expected)


def test_given_latents_take_the_place_of_drawn_ones():
    model, z = make(), draw_like(2, 3, 3)
    context = draw_like(2, CONTEXT, *SHAPE[1:])
    expected, _, _ = loop_by_hand(
        model, [*context.unbind(1), None, None, None], lambda step, q, p: z[:, step]
    )
    torch.testing.assert_close(model.predict(context, 3, z=z), expected)


@pytest.mark.parametrize("context", [1, 2, 5])
def test_after_any_number_of_context_frames_both_ways_begin_alike(context):
    model = make()
    video = draw_like(2, *SHAPE)
    done = model(video, context, draw_like(2, FRAMES - context, 3))
    posterior, prior = done.posterior, done.prior
    state = model.observe(video[:, :context])
    torch.testing.assert_close(state.prior.mean, prior.mean[:, 0])
    torch.testing.assert_close(state.prior.logvar, prior.logvar[:, 0])
    drawn = posterior.mean + posterior.sigma * draw_like(2, FRAMES - context, 3)
    frame, _ = model.step(drawn[:, 0], state)
    torch.testing.assert_close(frame, done.frames[:, 0])


# Who sees what.


def test_a_taught_frame_depends_on_its_target_only_through_the_latent():
    model = make()
    video = draw_like(1, *SHAPE).requires_grad_()
    seen = [influence(f, video)[0] for f in model(video, CONTEXT, noise(model, 1)).frames[0]]
    with torch.no_grad():
        model.posterior.to_gaussian.weight.zero_()  # a latent that knows nothing
    blind = [influence(f, video)[0] for f in model(video, CONTEXT, noise(model, 1)).frames[0]]
    for step in range(FRAMES - CONTEXT):
        target = CONTEXT + step
        assert (seen[step][: target + 1] > 0).all()
        assert (seen[step][target + 1 :] == 0).all()
        assert (blind[step][:target] > 0).all()
        assert (blind[step][target:] == 0).all()


def test_the_posterior_has_seen_its_frame_and_the_prior_has_not():
    model = make()
    video = draw_like(1, *SHAPE).requires_grad_()
    done = model(video, CONTEXT, noise(model, 1))
    for step in range(FRAMES - CONTEXT):
        target = CONTEXT + step
        for values in (done.posterior.mean[0, step], done.posterior.logvar[0, step]):
            by_frame = influence(values, video)[0]
            assert (by_frame[: target + 1] > 0).all()
            assert (by_frame[target + 1 :] == 0).all()
        for values in (done.prior.mean[0, step], done.prior.logvar[0, step]):
            by_frame = influence(values, video)[0]
            assert (by_frame[:target] > 0).all()
            assert (by_frame[target:] == 0).all()


def test_the_skips_are_those_of_the_last_context_frame():
    model = make()
    with torch.no_grad():
        for weight in model.encoder.to_features.parameters():
            weight.zero_()  # features that know nothing: only the skips are left
    video = draw_like(2, *SHAPE).requires_grad_()
    context = video[:, :CONTEXT]
    for frames in (
        model(video, CONTEXT, noise(model)).frames,
        model.predict(context, 3, generator=make_generator()),
    ):
        for step in range(3):
            by_frame = influence(frames[:, step], video)
            others = [t for t in range(FRAMES) if t != CONTEXT - 1]
            assert (by_frame[:, CONTEXT - 1] > 0).all()
            assert (by_frame[:, others] == 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_prediction_depends_on_all_its_latents_so_far_and_on_the_whole_context(variant):
    model = make(variant)
    context = draw_like(1, CONTEXT, *SHAPE[1:]).requires_grad_()
    z = draw_like(1, 4, model.config.latent_dim).requires_grad_()
    frames = model.predict(context, 4, z=z)
    for step, frame in enumerate(frames[0]):
        assert (influence(frame, context) > 0).all()
        if model.config.prior:
            (gradient,) = torch.autograd.grad(frame.square().sum(), z, retain_graph=True)
            by_latent = gradient[0].norm(dim=1)
            assert (by_latent[: step + 1] > 0).all()
            assert (by_latent[step + 1 :] == 0).all()


def test_the_clips_of_a_batch_do_not_see_each_other():
    model = make()
    video = draw_like(3, *SHAPE).requires_grad_()
    for frames in (
        model(video, CONTEXT, noise(model, 3)).frames,
        model.predict(video[:, :CONTEXT], 3, generator=make_generator()),
    ):
        by_clip = influence(frames[1], video).sum(1)
        assert by_clip[1] > 0
        assert (by_clip[[0, 2]] == 0).all()


# Chance and state.


@pytest.mark.parametrize("variant", VARIANTS)
def test_equal_generators_give_equal_futures_whatever_came_between(variant):
    model = make(variant)
    context = draw_like(2, CONTEXT, *SHAPE[1:])
    first = model.predict(context, 3, generator=make_generator())
    model.predict(draw_like(5, 2, *SHAPE[1:], seed=1), 2)
    model(draw_like(2, *SHAPE, seed=2), CONTEXT, noise(model))
    again = model.predict(context, 3, generator=make_generator())
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    other = model.predict(context, 3, generator=make_generator(1))
    same = (other == first).flatten(2).all(2)
    assert same.all() if variant == "deterministic" else not same.any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_the_given_generator_is_drawn_from(variant):
    model, generator = make(variant), make_generator()
    before = generator.get_state(), torch.get_rng_state()
    model.predict(draw_like(1, CONTEXT, *SHAPE[1:]), 2, generator=generator)
    assert torch.equal(torch.get_rng_state(), before[1])
    assert torch.equal(generator.get_state(), before[0]) == (variant == "deterministic")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_is_used(variant):
    model = make(variant)
    done = model(draw_like(2, *SHAPE), CONTEXT, noise(model))
    parts = (done.frames, done.prior.mean, done.prior.logvar)
    sum(part.square().sum() for part in parts).backward()
    unused = [n for n, w in model.named_parameters() if w.grad is None or not w.grad.abs().sum()]
    assert unused == []


def test_frames_stay_between_black_and_white():
    frames = make().predict(100 * draw_like(2, CONTEXT, *SHAPE[1:]), 3, generator=make_generator())
    assert frames.abs().max() <= 1
    assert frames.min() < 0 < frames.max()


def test_it_learns_one_batch_by_heart():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = SVG(replace(TINY, image=replace(TINY.image, feature_dim=32), predictor_dim=32))
    generator = make_generator()
    video = torch.rand(2, *SHAPE, generator=generator) * 2 - 1
    video = F.interpolate(video.flatten(0, 1)[..., ::4, ::4], scale_factor=4).unflatten(0, (2, -1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(150):
        eps = torch.randn(2, FRAMES - CONTEXT, 3, generator=generator)
        loss = (model(video, CONTEXT, eps).frames - video[:, CONTEXT:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


# What is refused.


@pytest.mark.parametrize(
    ("shape", "context", "message"),
    [
        ((1, 6, 1, 16, 8), 3, r"\(1, 6, 1, 16, 8\); permitted: \(B, T, \*\(1, 16, 16\)\)"),
        ((1, 6, 3, 16, 16), 3, r"\(1, 6, 3, 16, 16\); permitted"),
        ((1, *SHAPE), 0, r"context is 0; permitted for this clip: 1\.\.5"),
        ((1, *SHAPE), 6, r"context is 6; permitted for this clip: 1\.\.5"),
        ((1, *SHAPE), 2, r"eps has shape \(1, 3, 3\); permitted: \(1, 4, 3\)"),
    ],
)
def test_a_wrong_training_pass_is_told_what_is_permitted(shape, context, message):
    with pytest.raises(ValueError, match=message):
        make()(torch.zeros(shape).double(), context, torch.zeros(1, 3, 3).double())


@pytest.mark.parametrize(
    ("num_frames", "horizon", "z", "message"),
    [
        (0, 2, None, r"\(1, 0, 1, 16, 16\); permitted: .* T >= 1"),
        (2, 0, None, "horizon is 0; permitted: 1 and more"),
        (2, 2, (1, 2, 1), r"z has shape \(1, 2, 1\); permitted: \(1, 2, 3\)"),
    ],
)
def test_a_wrong_prediction_is_told_what_is_permitted(num_frames, horizon, z, message):
    latents = None if z is None else torch.zeros(z).double()
    with pytest.raises(ValueError, match=message):
        make().predict(torch.zeros(1, num_frames, 1, 16, 16).double(), horizon, z=latents)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_dim": 0}, "latent_dim is 0; permitted with prior 'learned': 1 and more"),
        ({"latent_dim": -1}, "latent_dim is -1; permitted"),
        ({"prior": None}, "latent_dim is 4; permitted with prior None: 0"),
    ],
)
def test_an_impossible_config_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SVGConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 3}, "patch_size is 3; permitted: even, 2 and more"),
        ({"patch_size": 0}, "patch_size is 0; permitted"),
        ({"channels": ()}, r"channels is \(\); permitted: one multiple of 8 or more"),
        ({"channels": (8, 12)}, r"channels is \(8, 12\); permitted: one multiple of 8"),
    ],
)
def test_an_impossible_image_config_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        DCGANConfig(**change)


def test_the_kl_to_a_gaussian_is_exact_and_to_a_mixture_estimated_from_the_drawn_latent():
    video = draw_like(2, *SHAPE)
    for config in (TINY, MIXTURE):
        model = randomise(SVG(config))
        eps = noise(model)
        passed = model(video, CONTEXT, eps)
        z = passed.posterior.mean + (passed.posterior.logvar / 2).exp() * eps
        torch.testing.assert_close(passed.z, z)
        estimate = passed.posterior.log_prob(z) - passed.prior.log_prob(z)
        if config is MIXTURE:
            torch.testing.assert_close(passed.kl(), estimate)
        else:
            normal = torch.distributions.Normal
            q, p = (normal(g.mean, (g.logvar / 2).exp()) for g in (passed.posterior, passed.prior))
            exact = torch.distributions.kl_divergence(q, p).sum(-1)
            torch.testing.assert_close(passed.kl(), exact)
            assert not torch.allclose(passed.kl(), estimate)


def test_predictor_and_prior_look_at_what_is_fed_and_the_posterior_at_the_truth():
    model, video = make(), draw_like(1, *SHAPE).requires_grad_()
    fed = draw_like(1, *SHAPE, seed=5).requires_grad_()
    passed = model(video, CONTEXT, noise(model, 1), fed)
    for output, reads_video, reads_fed in (
        (passed.posterior.mean, True, False),
        (passed.prior.mean, False, True),
    ):
        by_video, by_fed = torch.autograd.grad(
            output.square().sum(), (video, fed), retain_graph=True, materialize_grads=True
        )
        assert (by_video.abs().sum() > 0) == reads_video
        assert (by_fed.abs().sum() > 0) == reads_fed
    assert influence(passed.frames[:, 0], fed)[0, CONTEXT - 1] > 0
    equal = model(video, CONTEXT, noise(model, 1), video)
    torch.testing.assert_close(equal.frames, model(video, CONTEXT, noise(model, 1)).frames)


def test_a_mixture_prior_reads_the_past_and_its_draws_are_what_is_predicted():
    model, video = randomise(SVG(MIXTURE)), draw_like(1, *SHAPE).requires_grad_()
    passed = model(video, CONTEXT, noise(model, 1))
    assert torch.equal(
        influence(passed.prior.logits[:, 0], video)[0] > 0, torch.arange(6) < CONTEXT
    )
    context, generator = draw_like(2, CONTEXT, *SHAPE[1:]), make_generator(7)
    state, frames = model.observe(context), []
    for _ in range(3):
        frame, state = model.step(state.prior.sample(generator=generator), state)
        frames.append(frame)
    predicted = model.predict(context, 3, generator=make_generator(7))
    torch.testing.assert_close(predicted, torch.stack(frames, 1))
