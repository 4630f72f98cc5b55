import math

import pytest
import torch

from course_lib.data.crossroads import BASE, TWICE, Crossroads
from course_lib.data.digits import load_digits
from course_lib.data.toy import GaussianMixture
from course_lib.methods import noise
from course_lib.methods.diffusion import (
    EPS,
    POSTERIOR_MEAN,
    X0,
    Denoised,
    V,
    ddpm_steps,
    exact_denoiser,
)
from course_lib.recipes import crossroads_diffusion, digit_diffusion, one_shot
from course_lib.training.recipe import Metric

LINEAR, SHIFTED = noise.linear(), crossroads_diffusion.SCHEDULE
OPEN_DIGIT = 4  # .6, .3, .1


def futures(preset=BASE, digit=OPEN_DIGIT):
    world = Crossroads(load_digits("test"), preset)
    return world.futures(world.digits.labels.tolist().index(digit), arrival=4)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(sigma):
    one, zero = torch.ones(1).double(), torch.zeros(1, 1).double()
    return GaussianMixture(one, zero, sigma * one)


def shortened(count):
    return noise.NoiseSchedule(LINEAR.alphas_cumprod[1000 // count - 1 :: 1000 // count])


@pytest.mark.parametrize("preset", [BASE, TWICE])
@pytest.mark.parametrize("alpha_bar", [0.001, 0.02])
def test_coordinates_lose_nothing_that_tells_futures_apart(preset, alpha_bar):
    known = futures(preset)
    few = one_shot.coordinates(known)
    clips, places = known.clips.double().flatten(1), few.clips.flatten(1)
    assert torch.allclose(torch.cdist(places, places), torch.cdist(clips, clips), atol=1e-9)
    pixels = torch.randn(5, *known.clips.shape[1:], generator=seeded()).double()
    # Which K numbers belong to these pixels: those with the same products with every clip.
    numbers = torch.linalg.solve(places, clips @ pixels.flatten(1).T).T
    found = few.posterior(numbers.reshape(5, -1, 1, 1, 1), alpha_bar)
    assert torch.allclose(found, known.posterior(pixels, alpha_bar), atol=1e-9)


def test_walks_of_the_exact_denoiser_end_in_the_true_shares():
    known, count = futures(), 2000
    walked = one_shot.decisions(known, SHIFTED, num_walks=count, num_steps=60, generator=seeded())
    assert walked.probs.shape == (60, count, 3)
    assert (walked.log_snr.diff() > 0).all()
    assert torch.allclose(walked.probs[0].mean(0), known.probs, atol=1e-3)
    ended = walked.probs[-1].round().mean(0)
    error = (known.probs * (1 - known.probs) / count).sqrt()
    assert ((ended - known.probs).abs() < 4 * error).all()
    assert -7 < walked.decided().median() < -4


def test_a_walk_has_decided_where_it_is_never_unsure_again():
    top = torch.tensor([[0.95, 0.5, 0.5], [0.6, 0.95, 0.6], [0.92, 0.99, 0.7], [1.0, 1.0, 0.8]])
    probs = torch.stack([top, 1 - top], -1).double()
    probs[:, 1] = probs[:, 1].flip(-1)  # the second walk goes the other way
    walked = one_shot.Decisions(torch.tensor([-9.0, -6, -3, 0]).double(), probs)
    assert walked.decided().tolist() == [-3, -6, 0]  # the last one never: its end stands for it
    coin = [-p * math.log(p) - (1 - p) * math.log(1 - p) for p in (0.95, 0.5, 0.5)]
    assert walked.entropy()[0].item() == pytest.approx(sum(coin) / 3, abs=1e-6)
    assert walked.entropy()[-1].item() == pytest.approx(
        -sum(p * math.log(p) for p in (0.8, 0.2)) / 3
    )


def test_the_spread_of_log_odds_is_that_of_posteriors_of_noisy_pixels():
    known, alpha_bar = futures(), LINEAR.alphas_cumprod[-1].item()
    pixels = torch.randn(400, *known.clips.shape[1:], generator=seeded())
    posterior = known.posterior(pixels, alpha_bar).log()
    spread = one_shot.log_odds_spread(known, alpha_bar)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        drawn = (posterior[:, one] - posterior[:, other]).std().item()
        assert spread[one, other].item() == pytest.approx(drawn, rel=4 / math.sqrt(2 * 400))
    assert spread[0, 1].item() == pytest.approx(0.188, abs=1e-3)  # of this digit, 32 pixels


def test_pure_noise_at_the_start_changes_the_turns_only_where_a_chain_ends_readable():
    known = futures()
    kept = {"generator": seeded(), "num_samples": 20_000}
    pure = one_shot.drawn_from_pure_noise(known, SHIFTED.alphas_cumprod[-1].item(), **kept)
    assert torch.allclose(pure, known.probs, atol=1e-4)
    readable = noise.scaled_linear().alphas_cumprod[-1].item()
    found = one_shot.drawn_from_pure_noise(known, readable, **kept)
    pixels = torch.randn(600, *known.clips.shape[1:], generator=seeded(1))
    posterior = known.posterior(pixels, readable)
    error = posterior.std(0) / math.sqrt(600)
    assert ((found - posterior.mean(0)).abs() < 4 * error).all()
    assert found[0] < 0.54


def test_the_exact_jump_from_the_last_step_is_the_mean_of_the_data():
    known = futures()
    x_T = torch.randn(8, *known.clips.shape[1:], generator=seeded())
    for schedule in (LINEAR, SHIFTED):
        jump = exact_denoiser(known.denoise, schedule)(x_T, torch.full((8,), 999)).x0_hat
        assert (jump - known.mean()).square().mean() < 1e-3
    images = digit_diffusion.framed_digits("train")[0][:1000].flatten(1).double()
    all_digits = GaussianMixture(
        torch.full((1000,), 1e-3).double(), images, torch.full((1000,), 1e-3).double()
    )
    x_T = torch.randn(4, 1024, generator=seeded()).double()
    jump = exact_denoiser(all_digits.denoise, LINEAR)(x_T, torch.full((4,), 999)).x0_hat
    assert (jump - images.mean(0)).square().mean() < 1e-3
    assert (images[0] - images.mean(0)).square().mean() > 0.05


def test_branches_leave_the_walk_and_decide_for_themselves():
    known = futures(digit=2)  # left or right, equally likely
    exact, timesteps = exact_denoiser(known.denoise, SHIFTED), [999, 800, 700, 600, 300, 0]
    x_T = torch.randn(2, *known.clips.shape[1:], generator=seeded())
    made = one_shot.branching(
        exact, SHIFTED, x_T, timesteps, every=2, num_dice=4, generator=seeded(3)
    )
    assert [step.t for step in made.steps] == timesteps[::2]
    assert torch.equal(made.steps[0].x_t, x_T)
    assert made.ends.shape == (3, 4, *x_T.shape)
    apart = (made.ends.flatten(3)[..., None, :] - known.clips.flatten(1)).square().mean(-1)
    assert (apart.amin(-1) < 1e-4).all()
    turned = apart.argmin(-1)  # (levels, dice, batch)
    assert len(turned[0].unique()) > 1
    assert (turned[2] == turned[2, :1]).all()  # decided before t = 300


def test_a_branch_from_the_last_step_has_no_dice_left():
    known = futures()
    x_T = torch.randn(1, *known.clips.shape[1:], generator=seeded())
    exact = exact_denoiser(known.denoise, SHIFTED)
    made = one_shot.branching(exact, SHIFTED, x_T, [999, 400], every=1, num_dice=2)
    assert torch.equal(made.ends[1, 0], made.ends[1, 1])
    assert not torch.equal(made.ends[0, 0], made.ends[0, 1])


def test_loss_weights_are_the_closed_forms():
    t = torch.tensor([0, 1, 9, 400, 999])
    alpha_bar = (1 - torch.linspace(1e-4, 0.02, 1000).double()).cumprod(0)
    snr = alpha_bar[t] / (1 - alpha_bar[t])
    before = torch.cat([torch.ones(1).double(), alpha_bar])[t]
    beta = 1 - alpha_bar[t] / before
    expected = {
        EPS: snr,
        X0: torch.ones(5).double(),
        V: 1 + snr,
        POSTERIOR_MEAN: before * beta**2 / (1 - alpha_bar[t]) ** 2,
    }
    for target, weights in expected.items():
        found = one_shot.loss_weight(target, LINEAR, t)
        assert torch.allclose(found, weights, rtol=1e-6), target.name


def test_a_chain_by_the_papers_other_formula_is_the_librarys_walk():
    short = shortened(10)
    exact = exact_denoiser(gaussian(0.5).denoise, short)

    def step(x_t, x0_hat, noise, betas, t):
        alpha_bar = (1 - betas).cumprod(0)[t]
        eps_hat = (x_t - alpha_bar.sqrt() * x0_hat) / (1 - alpha_bar).sqrt()
        mean = (x_t - betas[t] / (1 - alpha_bar).sqrt() * eps_hat) / (1 - betas[t]).sqrt()
        return mean + betas[t].sqrt() * noise * (t > 0)

    x_T = torch.randn(6, 1, generator=seeded()).double()
    mine = list(one_shot.chain(step, exact, short, x_T, generator=seeded(1)))
    library = list(ddpm_steps(exact, short, x_T, generator=seeded(1)))
    assert [t for t, _ in mine] == [step.t_prev for step in library] == [*range(8, -2, -1)]
    for (_, x), walked in zip(mine, library, strict=True):
        assert torch.allclose(x, walked.x_prev, atol=1e-12)


@pytest.mark.parametrize("small_variance", [False, True])
@pytest.mark.parametrize("sigma", [1.0, 1e-6])
def test_the_variance_along_a_walk_is_that_of_its_recursion(sigma, small_variance):
    short, count = shortened(10), 20_000
    found = one_shot.variance_ratio(
        gaussian(sigma), short, small_variance=small_variance, generator=seeded()
    )
    kept = [1.0, *short.alphas_cumprod.tolist()]
    variance, expected = 1.0, []
    for t in range(9, -1, -1):
        after, before = kept[t + 1], kept[t]
        right = after * sigma**2 + 1 - after
        expected.append(variance / right)
        beta = 1 - after / before
        gain = after**0.5 * sigma**2 / right  # of x0_hat
        slope = before**0.5 * beta / (1 - after) * gain
        slope += (1 - beta) ** 0.5 * (1 - before) / (1 - after)
        tilde = beta * (1 - before) / (1 - after)
        variance = slope**2 * variance + (tilde if small_variance else beta)
    expected = torch.tensor(expected[::-1]).double()
    assert torch.allclose(found, expected, rtol=4 * math.sqrt(2 / count))
    if small_variance == (sigma < 1):
        assert torch.allclose(expected, torch.ones(10).double(), atol=1e-4)
    else:
        assert (expected[:3] - 1).abs().min() > 0.15


def test_the_plane_shows_x_t_and_four_targets_where_they_point():
    (axes,) = one_shot.plane_of_targets(LINEAR, 300).axes
    ends = [note.xy for note in axes.texts]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    alpha_bar = LINEAR.alphas_cumprod[300].item()
    places = dict(zip(names, ends, strict=True))
    assert names[1:] == ["eps", "x0", "v", "posterior mean"]
    assert places["$x_t$"] == pytest.approx((alpha_bar**0.5, (1 - alpha_bar) ** 0.5))
    assert places["v"] == pytest.approx((-((1 - alpha_bar) ** 0.5), alpha_bar**0.5))


@pytest.mark.parametrize("clip", [None, 1.0])
def test_clipping_holds_the_samples_or_leaves_them_alone(monkeypatch, clip):
    judged = {}

    def of_samples(images, label):
        judged["images"], judged["label"] = images, label
        return dict.fromkeys(("read", "coverage", "frechet", "read_real"), Metric(0.5, 0.5, 0.5))

    monkeypatch.setattr(one_shot, "of_samples", of_samples)
    monkeypatch.setattr(one_shot, "CLIPPED_SAMPLES", 120)

    def loud(_model, _label):
        return lambda x_t, _t: Denoised(5 * x_t, torch.zeros_like(x_t))

    monkeypatch.setattr(one_shot, "digit_denoiser", loud)
    monkeypatch.setattr(type(digit_diffusion.DIGITS), "load", lambda _recipe: None)
    found = one_shot.clipping(2, clip)
    kind = "free" if clip is None else "clipped"
    assert set(found) == {f"{k}_2_{kind}" for k in ("read", "coverage", "frechet", "outside")}
    assert judged["label"].bincount().tolist() == [12] * 10
    largest = judged["images"].abs().max().item()
    assert largest <= 1.0 if clip else largest > 3.0
    assert found[f"outside_2_{kind}"].value > 0.6
