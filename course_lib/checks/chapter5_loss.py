"""Chapter 5: the checker of the training loss, and the small network that it asks about noise."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.checks.properties import (
    Draw,
    agrees,
    explained,
    fresh_generator,
    passes_gradients,
    repeats,
    returns,
    spares_its_arguments,
)
from course_lib.checks.report import Property, Verdict, examine

NUM_TIMESTEPS = 8
WEIGHTS = "network.weights"
TRAINING = (WEIGHTS, "x0", "eps", "t", "alphas_cumprod")
ONE_EACH = (
    "If the sizes do not fit: `alphas_cumprod[t]` is (B,), one number per example, and x0 is "
    "(B, ...). Append an axis of length 1 for each of the others: "
    "`reshape(-1, *[1] * (x0.ndim - 1))`."
)


class Guesser(nn.Module):
    """A network whose answer depends on every number that it is shown, and on t."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights  # (W, W)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """(B, ..., W) to the same shape."""
        if not isinstance(t, Tensor) or t.shape != x_t.shape[:1]:
            raise ValueError(
                f"the network got t of shape {tuple(torch.as_tensor(t).shape)} with x_t of shape "
                f"{tuple(x_t.shape)}; permitted: one t for each example, (B,)"
            )
        return (x_t @ self.weights + 0.7 * _each(t, x_t)).sin()


def _each(values: Tensor, x: Tensor) -> Tensor:
    """(B,) with as many axes as x."""
    return values.to(x.dtype).reshape(len(values), *[1] * (x.ndim - 1))


def training_loss(function) -> Verdict:
    """Check `function(network, x0, eps, t, alphas_cumprod)`: L_simple, a number.

    x0 and eps are (B, ...), points (B, 2) as well as pictures; t (B,) differs between examples;
    `alphas_cumprod` is (N,) and float32. `network(x_t, t)` guesses eps.
    """
    pictures = _draw_batch(5, 2, 3, 4)
    points = _draw_batch(4, 2)
    ends = _draw_batch(2, 1, 3, 3, steps=[0, NUM_TIMESTEPS - 1])
    properties = {
        "returns one number": explained(
            explained(
                returns(pictures, (), TRAINING, "One mean over examples and pixels at once."),
                ONE_EACH,
                RuntimeError,
                Warning,
            ),
            "The network wants x_t and t, one t for each example: `network(x_t, t)`.",
            ValueError,
        ),
        "gives the same loss for the same eps": repeats(points, TRAINING, OWN_NOISE),
        "noises each example by its own t, and compares the guess with its noise": agrees(
            _loss, [_draw_batch(1, 1, 1, 2), pictures], TRAINING, MISTAKES, OTHERWISE
        ),
        "holds for points as for pictures": explained(
            agrees(_loss, [points], TRAINING, {PICTURES_ALONE: _of_pictures_alone}, ONE_EACH),
            PICTURES_ALONE,
            RuntimeError,
            Warning,
        ),
        "holds at the first and at the last step": explained(
            agrees(_loss, [ends], TRAINING, {}, TABLE_ENDS), TABLE_ENDS, IndexError
        ),
        "lets gradients through to the network": passes_gradients(
            _loss, pictures, TRAINING, (WEIGHTS,)
        ),
        "leaves its arguments unchanged": spares_its_arguments(pictures, TRAINING),
    }
    return examine(
        "training_loss",
        function,
        _l_simple,
        {sentence: _with_network(check) for sentence, check in properties.items()},
    )


def _l_simple(network: Callable, x0: Tensor, eps: Tensor, t: Tensor, table: Tensor) -> Tensor:
    """The library's answer."""
    alpha_bar = _each(table[t], x0)
    x_t = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
    return (network(x_t, t) - eps).square().mean()


def _with_network(check: Property) -> Property:
    return lambda function: check(lambda weights, *inputs: function(Guesser(weights), *inputs))


def _draw_batch(batch: int, *sizes: int, steps: list[int] | None = None) -> Draw:
    """The steps are all different, with a step of the chain on either side."""

    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        weights = nn.init.orthogonal_(torch.empty(sizes[-1], sizes[-1]), generator=generator)
        x0, eps = torch.randn(2, batch, *sizes, generator=generator)
        inner = 1 + torch.randperm(NUM_TIMESTEPS - 2, generator=generator)[:batch]
        betas = 0.1 + 0.3 * torch.rand(NUM_TIMESTEPS, generator=generator)
        t = inner if steps is None else torch.tensor(steps)
        return weights, x0, eps, t, (1 - betas).cumprod(0)

    return draw


def _loss(weights: Tensor, x0: Tensor, eps: Tensor, t: Tensor, table: Tensor) -> Tensor:
    """Example by example."""
    network, errors = Guesser(weights), []
    for x, e, step in zip(x0, eps, t, strict=True):
        x_t = table[step] ** 0.5 * x + (1 - table[step]) ** 0.5 * e
        errors.append((network(x_t[None], step[None])[0] - e).double().pow(2).flatten())
    return torch.cat(errors).mean()


def _of_pictures_alone(
    weights: Tensor, x0: Tensor, eps: Tensor, t: Tensor, table: Tensor
) -> Tensor:
    """Three new axes, whatever x0 has."""
    a = table[t][:, None, None, None]
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
    return (Guesser(weights)(x_t, t) - eps).double().square().mean()


def _mean_square(error: Tensor) -> Tensor:
    return error.square().mean()


def _wrong(
    mix: Callable = lambda x0, eps, a: a.sqrt() * x0 + (1 - a).sqrt() * eps,
    target: Callable = lambda x0, eps, x_t, a: eps,
    reduce: Callable = _mean_square,
    noised_by: Callable = lambda t: t,
    told: Callable = lambda t, a: t,
) -> Callable[..., Tensor]:
    """A loss that differs in one thing."""

    def loss(weights: Tensor, x0: Tensor, eps: Tensor, t: Tensor, table: Tensor) -> Tensor:
        level = table[noised_by(t)]
        a = _each(level, x0)
        x_t = mix(x0, eps, a)
        error = Guesser(weights)(x_t, told(t, level)) - target(x0, eps, x_t, a)
        return reduce(error.double())

    return loss


OWN_NOISE = "You drew noise or steps of your own. Both are given: eps and t."
OTHERWISE = (
    "x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps with alpha_bar = `alphas_cumprod[t]`, then "
    "the mean of the squared difference between `network(x_t, t)` and eps."
)
TABLE_ENDS = "t counts from 0 to N - 1, and step t has `alphas_cumprod[t]`, at the ends, too."
PICTURES_ALONE = (
    "`[:, None, None, None]` fits pictures alone; for points (B, 2) it makes more pairs than there "
    "are. Count the axes of x0: `reshape(-1, *[1] * (x0.ndim - 1))`."
)
MISTAKES: dict[str, Callable[..., Tensor]] = {
    "All examples got the level of the first one: each has its own t.": _wrong(
        noised_by=lambda t: t[:1].expand(len(t))
    ),
    "The network was told the first example's t for all: pass the whole t.": _wrong(
        told=lambda t, a: t[:1].expand(len(t))
    ),
    "The network was told alpha_bar: it wants the number of the step, t.": _wrong(
        told=lambda t, a: a
    ),
    "The network was told the t after, one too many: t counts from 0.": _wrong(
        told=lambda t, a: t + 1
    ),
    "The level is that of the step before: step t has `alphas_cumprod[t]`.": _wrong(
        noised_by=lambda t: t - 1
    ),
    "The level is that of the step after: step t has `alphas_cumprod[t]`.": _wrong(
        noised_by=lambda t: t + 1
    ),
    "Both roots are missing in x_t: the factors are sqrt(alpha_bar) and sqrt(1 - alpha_bar).": (
        _wrong(lambda x0, eps, a: a * x0 + (1 - a) * eps)
    ),
    "The root of the noise's share is missing in x_t: sqrt(1 - alpha_bar).": _wrong(
        lambda x0, eps, a: a.sqrt() * x0 + (1 - a) * eps
    ),
    "The root of the picture's share is missing in x_t: sqrt(alpha_bar).": _wrong(
        lambda x0, eps, a: a * x0 + (1 - a).sqrt() * eps
    ),
    "Picture and noise have changed places in x_t: alpha_bar is the picture's share.": _wrong(
        lambda x0, eps, a: (1 - a).sqrt() * x0 + a.sqrt() * eps
    ),
    "You showed the network the clean picture: it is to find noise in x_t.": _wrong(
        lambda x0, eps, a: x0
    ),
    "You showed the network the noise itself: show it x_t.": _wrong(lambda x0, eps, a: eps),
    "Picture and noise were added at full strength: x_t fades the one as the other grows.": _wrong(
        lambda x0, eps, a: x0 + eps
    ),
    "You compared with the clean picture: this network guesses eps.": _wrong(
        target=lambda x0, eps, x_t, a: x0
    ),
    "You compared with x_t: this network guesses eps.": _wrong(target=lambda x0, eps, x_t, a: x_t),
    "You compared with x_t - x0: the target is eps, before it was scaled.": _wrong(
        target=lambda x0, eps, x_t, a: x_t - x0
    ),
    "You compared with the noise as it stands in x_t: the target is eps at full strength.": _wrong(
        target=lambda x0, eps, x_t, a: (1 - a).sqrt() * eps
    ),
    "The sign of the target is wrong: guess minus eps.": _wrong(
        target=lambda x0, eps, x_t, a: -eps
    ),
    "You summed the squares: take their mean.": _wrong(reduce=lambda e: e.square().sum()),
    "You summed over the pixels and averaged over the examples: take one mean over everything.": (
        _wrong(reduce=lambda e: e.square().sum() / len(e))
    ),
    "You averaged over the pixels and summed over the examples: take one mean over everything.": (
        _wrong(reduce=lambda e: e.square().mean() * len(e))
    ),
    "You took absolute values: take squares.": _wrong(reduce=lambda e: e.abs().mean()),
    "You took the square root of the mean: leave it as it is.": _wrong(
        reduce=lambda e: _mean_square(e).sqrt()
    ),
    "You halved the mean: leave it as it is.": _wrong(reduce=lambda e: _mean_square(e) / 2),
    "You squared the mean error: square first, then average.": _wrong(
        reduce=lambda e: e.mean().square()
    ),
}
