"""Chapter 3: a leak test, and the checker that tries the reader's on models of known guilt."""

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn

from course_lib.checks import chapter3_planted as planted
from course_lib.checks.chapter3_planted import Model
from course_lib.checks.properties import fresh_generator
from course_lib.checks.report import Fault, Property, Verdict, examine

LeakTest = Callable[[Model, Tensor], object]


def leaks(function) -> Verdict:
    """Check `function(model, features)`: True if some output depends on a later frame, or False.

    `model` maps features (B, T, D) to outputs (B, T, D): output i may depend on the frames 0 to i.
    It is to be tested as it is, in the mode it is in, and left so.
    """
    hint = cache(partial(_diagnose, function))
    properties: dict[str, Property] = {
        "returns True or False": _returns_a_bool,
        "acquits an honest causal model": _judges(planted.honest, slice(1), False, hint),
        "catches a mask that is shifted by one": _judges(planted.guilty, slice(1), True, hint),
        "catches BatchNorm in train mode": _judges(planted.guilty, slice(1, 2), True, hint),
        "catches a convolution that sees ahead": _judges(planted.guilty, slice(2, 3), True, hint),
        "catches one wrong entry of the mask, wherever it is": _judges(
            planted.holes, slice(None), True, hint
        ),
        "acquits every other honest model": _judges(planted.honest, slice(1, None), False, hint),
        "leaves the model and the features as they were": _spares_its_arguments,
    }
    with torch.random.fork_rng(devices=[]):  # weights and the reader's noise come from it
        torch.default_generator.seed()
        return examine("leaks", function, find_leak, properties)


def find_leak(model: Model, features: Tensor) -> bool:
    """Whether random changes of the frames from t on reach an output before t, for some t."""
    return _compare(model, features)


def _returns_a_bool(candidate: Callable) -> Fault | None:
    name, model = next(iter(planted.honest().items()))
    result = candidate(model, planted.draw_features())
    one = isinstance(result, bool) or (isinstance(result, Tensor) and result.ndim == 0)
    if one and torch.as_tensor(result).dtype == torch.bool:
        return None
    hint = "End with one answer for the whole model: `return True`, `.any()`, or a comparison."
    return Fault(name, "True or False", repr(result), hint)


def _judges(
    draw: Callable[[], dict[str, Model]], which: slice, leaky: bool, hint: Callable[[bool], str]
) -> Property:
    """The property that the test is right about some of these models."""

    def check(candidate: Callable) -> Fault | None:
        for name, model in list(draw().items())[which]:
            if bool(candidate(model, planted.draw_features())) != leaky:
                return Fault(
                    given=f"a model that is {'guilty' if leaky else 'honest'}: {name}",
                    expected=f"{leaky}",
                    observed=f"{not leaky}",
                    hint=hint(leaky),
                )
        return None

    return check


def _spares_its_arguments(candidate: Callable) -> Fault | None:
    for name, model in (planted.honest() | planted.guilty()).items():
        features = planted.draw_features()
        kept, mode = features.clone(), isinstance(model, nn.Module) and model.training
        candidate(model, features)
        if not torch.equal(features, kept):
            hint = "Change a copy: `changed = features.clone()`."
            return Fault(name, "`features` has the same values", "some have changed", hint)
        if isinstance(model, nn.Module) and model.training != mode:
            hint = "Leave `train()` and `eval()` alone: the model is tested in the mode it is in."
            return Fault(name, f"`model.training` is {mode}", f"{not mode}", hint)
    return None


def _verdicts(test: LeakTest) -> list[bool]:
    """What a test says of every model there is."""
    models = planted.honest() | planted.guilty() | planted.holes() | planted.telling()
    return [bool(test(model, planted.draw_features())) for model in models.values()]


def _diagnose(candidate: LeakTest, leaky: bool) -> str:
    said = _verdicts(candidate)
    for text, mistake in MISTAKES.items():
        if said == _verdicts(mistake):
            return text
    if leaky:
        return (
            "Change the frames from t on at random, and compare the outputs before t: do it for "
            "every t."
        )
    return "An output may change with its own frame and those before it: compare earlier outputs."


def _noise(x: Tensor) -> Tensor:
    return x + torch.randn(x.shape, dtype=x.dtype, generator=fresh_generator())


@torch.no_grad()
def _compare(
    model: Model,
    features: Tensor,
    change: Callable[[Tensor], Tensor] = _noise,
    changed: Callable[[int], slice] = lambda t: slice(t, None),
    compared: Callable[[int], slice] = lambda t: slice(t),
    start: int = 1,
) -> bool:
    """Whether a change of some frames reaches some outputs, for some t from `start` on."""
    before = model(features)
    for t in range(start, features.shape[1]):
        other = features.clone()
        other[:, changed(t)] = change(features[:, changed(t)])
        if not torch.allclose(model(other)[:, compared(t)], before[:, compared(t)], atol=1e-6):
            return True
    return False


def _in_mode(training: bool) -> LeakTest:
    def test(model: Model, features: Tensor) -> bool:
        modes = {part: part.training for part in _parts(model)}
        for part in modes:
            part.training = training
        result = _compare(model, features)
        for part, mode in modes.items():
            part.training = mode
        return result

    return test


def _parts(model: Model) -> list[nn.Module]:
    return list(model.modules()) if isinstance(model, nn.Module) else []


def _slope_of_the_sum(model: Model, features: Tensor) -> bool:
    leaf = features.clone().requires_grad_()
    outputs = model(leaf)
    for t in range(1, features.shape[1]):
        (slope,) = torch.autograd.grad(outputs[:, :t].sum(), leaf, retain_graph=True)
        if slope[:, t:].abs().max() > 1e-9:
            return True
    return False


_everything = slice(None)
MISTAKES: dict[str, LeakTest] = {
    "You acquit every model. Does the change reach it? `changed = features` is the same tensor "
    "under another name: it needs `clone()`.": lambda model, features: False,
    "You accuse every model.": lambda model, features: True,
    "True and False are swapped: True means that the future leaks.": (
        lambda model, features: not _compare(model, features)
    ),
    "You shifted or scaled all channels of a frame alike: LayerNorm undoes that, and no leak is "
    "seen. Add random numbers, one for each channel.": partial(_compare, change=lambda x: x + 1),
    "You took the gradient of a sum over the channels: behind a LayerNorm that sum is constant. "
    "Weigh the channels at random, or take one output at a time.": _slope_of_the_sum,
    "You changed the past and compared later outputs: they may change. Change the frames from t "
    "on, and compare the outputs before t.": partial(
        _compare, changed=lambda t: slice(t), compared=lambda t: slice(t, None)
    ),
    "You compared the output of the changed frame, too: output t may depend on frame t. Compare "
    "the outputs before t, `[:, :t]`.": partial(_compare, compared=lambda t: slice(t + 1)),
    "You compared all outputs: those from the changed frame on may change.": partial(
        _compare, compared=lambda t: _everything
    ),
    "You called `eval()`: BatchNorm then takes stored statistics and mixes no frames. Test the "
    "model in the mode it is in.": _in_mode(training=False),
    "You called `train()`: that makes BatchNorm mix frames which it keeps apart in the mode it is "
    "in.": _in_mode(training=True),
    "You changed the last frame alone: a leak may be between two others. Let t take every value.": (
        lambda model, features: _compare(model, features, start=features.shape[1] - 1)
    ),
    "You compared the first output alone: a leak may be in any other. Compare all outputs before "
    "t.": partial(_compare, compared=lambda t: slice(1)),
    "You compared only the output just before the changed frame: a leak may reach back further.": (
        partial(_compare, changed=lambda t: slice(t, t + 1), compared=lambda t: slice(t - 1, t))
    ),
}
