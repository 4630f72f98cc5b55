"""Chapter 7: the checker of guidance for a network that guesses a variance, too."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.chapter4_models import returns_shape
from course_lib.checks.chapter7_guesser import Guesser, draw_question, with_guesser
from course_lib.checks.properties import agrees, explained
from course_lib.checks.report import Fault, Property, Verdict, examine

ASKED = ("network.weights", "x_t", "t", "label", "no_class", "guidance_scale")
CHANNELS = 4  # as the latents of the paper


def guided(function) -> Verdict:
    """Check `function(network, x_t, t, label, no_class, guidance_scale)`: answers (B, 2C, H, W).

    `network(x, t, label)` answers (B, 2C, H, W), the guessed noise in the first C channels. That is
    guided, 1 is no guidance; the rest is the answer's with the class. One call for a doubled batch
    or two are both right.
    """
    large = draw_question(3, CHANNELS)
    return examine(
        "guided",
        function,
        _library,
        {
            "returns an answer of the network's shape": explained(
                _with_network(returns_shape(large, (3, 8, 2, 3), ASKED, SHAPES, SHAPE)),
                "The network wants as many times and labels as pictures, and labels that are whole "
                "numbers from 0 to no_class. A doubled batch doubles all three.",
                ValueError,
            ),
            "guides the noise of all four channels, and nothing else": _with_network(
                agrees(
                    with_guesser(_one_by_one),
                    [draw_question(1, CHANNELS), large],
                    ASKED,
                    MISTAKES,
                    "Noise: without class + guidance_scale * (with class - without). The other "
                    "channels: those of the answer with the class.",
                )
            ),
            "serves any number of channels": _with_network(
                agrees(
                    with_guesser(_one_by_one),
                    [draw_question(1, 1), draw_question(2, 2), draw_question(3, 5)],
                    ASKED,
                    MISTAKES,
                    "The number of channels is that of x_t, and half of the answer's: "
                    "`answer.chunk(2, 1)`.",
                )
            ),
            "is the answer with the class at 1, and has the noise without it at 0": _with_network(
                agrees(
                    with_guesser(_ends),
                    [draw_question(2, CHANNELS, scale=1.0), draw_question(2, CHANNELS, scale=0.0)],
                    ASKED,
                    {},
                    "A guidance_scale of 1 is no guidance, the answer with the class as it is. At "
                    "0 the noise does not know the class.",
                )
            ),
            "leaves its arguments unchanged": _spares,
        },
    )


def _with_network(check: Property) -> Property:
    """The same property of a function that is given a network."""
    return lambda function: check(with_guesser(function))


def _library(
    network: Callable, x_t: Tensor, t: Tensor, label: Tensor, no_class: int, guidance_scale: float
) -> Tensor:
    """The library's answer."""
    noise, variance = network(x_t, t, label).chunk(2, 1)
    without = network(x_t, t, torch.full_like(label, no_class)).chunk(2, 1)[0]
    return torch.cat([torch.lerp(without, noise, guidance_scale), variance], 1)


def _one_by_one(
    network: Guesser, x_t: Tensor, t: Tensor, label: Tensor, no_class: int, scale: float
) -> Tensor:
    """Example by example, channel by channel, with weights of sum 1."""
    rows, channels = [], x_t.shape[1]
    for i in range(len(x_t)):
        one = x_t[i : i + 1], t[i : i + 1]
        given = network(*one, label[i : i + 1])[0].double()
        free = network(*one, torch.tensor([no_class]))[0].double()
        mixed = [scale * given[c] + (1 - scale) * free[c] for c in range(channels)]
        rows.append(torch.stack([*mixed, *given[channels:]]))
    return torch.stack(rows)


def _ends(network: Guesser, x_t: Tensor, t: Tensor, label: Tensor, no_class: int, scale: float):
    """The answers at 1 and at 0, as the network gave them."""
    answer = network(x_t, t, label)
    if scale == 0:
        channels = x_t.shape[1]
        answer[:, :channels] = network(x_t, t, 0 * label + no_class)[:, :channels]
    return answer


def _spares(candidate: Callable) -> Fault | None:
    weights, x_t, t, label, no_class, scale = draw_question(2, CHANNELS)()
    kept = [value.clone() for value in (x_t, t, label)]
    candidate(Guesser(weights, int(no_class)), x_t, t, label, int(no_class), float(scale))
    for name, now, before in zip(("x_t", "t", "label"), (x_t, t, label), kept, strict=True):
        if not torch.equal(now, before):
            return Fault(
                given="any arguments",
                expected=f"`{name}` has the same values after the call",
                observed="some of them have changed",
                hint="`label[:] = no_class` writes into the argument: make another tensor, "
                "`torch.full_like(label, no_class)`.",
            )
    return None


Mix = Callable[[Tensor, Tensor, float], Tensor]  # answers with and without class, and the scale


def _mixed(
    mix: Mix,
    relabel: Callable[[Tensor, int], Tensor] = lambda label, no_class: 0 * label + no_class,
) -> Callable[..., Tensor]:
    """A mistake in what is done with both answers, or in the labels of the second."""

    def wrong(network, x_t, t, label, no_class, scale):
        other = relabel(label, no_class)
        return mix(network(x_t, t, label).double(), network(x_t, t, other).double(), scale)

    return with_guesser(wrong)


def _joined(
    given: Tensor,
    free: Tensor,
    scale: float,
    *,
    guided_channels: slice | None = None,
    rest: Tensor | None = None,
) -> Tensor:
    """`rest` with the first half, or other channels, on the line from `free` to `given`."""
    joined = (given if rest is None else rest).clone()
    where = slice(given.shape[1] // 2) if guided_channels is None else guided_channels
    joined[:, where] = (free + scale * (given - free))[:, where]
    return joined


def _first_alone(label: Tensor, no_class: int) -> Tensor:
    return torch.cat([torch.full_like(label[:1], no_class), label[1:]])


SHAPE = "As many channels as the network's answer: C of noise, then C that you pass on."
SHAPES = {
    "The channels of the variance are missing: pass on those of the answer with the class.": (
        (3, 4, 2, 3)
    ),
    "You returned both halves of a doubled batch: one answer for each picture.": (6, 8, 2, 3),
    "You returned both halves of a doubled batch, and no variance: one answer for each picture, "
    "C channels of noise and C of variance.": (6, 4, 2, 3),
    "You passed on all of the network's channels after the noise: of its answer the second half.": (
        (3, 12, 2, 3)
    ),
}
MISTAKES: dict[str, Callable[..., Tensor]] = {
    "You guided the first three channels alone. The official code does, a remnant of pictures in "
    "colour: latents have four channels, guide every channel of the noise.": _mixed(
        lambda given, free, s: _joined(given, free, s, guided_channels=slice(3))
    ),
    "You guided the first three channels alone, and pass on the rest without the class.": _mixed(
        lambda given, free, s: _joined(given, free, s, guided_channels=slice(3), rest=free)
    ),
    "You guided the channels of the variance, too: they are those of the answer with the "
    "class.": _mixed(lambda given, free, s: _joined(given, free, s, guided_channels=slice(None))),
    "The channels of the variance are those of the answer without the class: pass on those with "
    "it.": _mixed(lambda given, free, s: _joined(given, free, s, rest=free)),
    "You guided the variance in place of the noise: the noise is in the first channels.": _mixed(
        lambda given, free, s: _joined(
            given, free, s, guided_channels=slice(given.shape[1] // 2, None)
        )
    ),
    "Noise and variance are swapped in your answer: the noise comes first.": _mixed(
        lambda given, free, s: _joined(given, free, s).roll(given.shape[1] // 2, 1)
    ),
    "The answers with and without the class are swapped: guidance leads away from that without.": (
        _mixed(lambda given, free, s: _joined(free, given, s, rest=given))
    ),
    "The answers with and without the class are swapped, in the noise and in the variance.": (
        _mixed(lambda given, free, s: _joined(free, given, s))
    ),
    "Your scale is off by one: that is the guidance paper's w, which is 0 without guidance. Here 1 "
    "is no guidance.": _mixed(lambda given, free, s: _joined(given, free, 1 + s)),
    "Your scale is one too small: the whole difference is multiplied with guidance_scale.": (
        _mixed(lambda given, free, s: _joined(given, free, s - 1))
    ),
    "The starting point is missing: add the scaled difference to the noise without the class.": (
        _mixed(
            lambda given, free, s: _joined(s * (given - free), s * (given - free), 1.0, rest=given)
        )
    ),
    "There is no guidance in it: that is the answer with the class.": (
        _mixed(lambda given, free, s: given)
    ),
    "There is no class in it: that is the answer without one.": _mixed(lambda given, free, s: free),
    "Label 0 is a class like any other: the label for none is `no_class`.": _mixed(
        _joined, lambda label, no_class: 0 * label
    ),
    "You replaced the label of the first picture alone: no picture has a class in the second "
    "answer.": _mixed(_joined, _first_alone),
    "You asked for the class no_class - 1: the label for none is `no_class` itself.": _mixed(
        _joined, lambda label, no_class: 0 * label + no_class - 1
    ),
}
