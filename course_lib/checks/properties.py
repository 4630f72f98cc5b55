"""The properties that many exercises ask, and how they show the arguments that break them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from course_lib.checks.report import Fault, Property

Draw = Callable[[], tuple[Tensor, ...]]  # fresh random arguments at every call


def returns(
    draw: Draw, shape: tuple[int, ...], names: tuple[str, ...], hint: str, *, boolean: bool = False
) -> Property:
    """The property to ask first: the candidate runs, and gives a tensor of this shape."""

    def check(candidate: Callable) -> Fault | None:
        inputs = draw()
        result = candidate(*inputs)
        observed = repr(result)
        if isinstance(result, Tensor):
            right = result.dtype == torch.bool if boolean else result.is_floating_point()
            if result.shape == shape and right:
                return None
            observed = f"a {result.dtype} tensor of shape {tuple(result.shape)}"
        wanted = f"a {torch.bool if boolean else torch.float32} tensor of shape {shape}"
        return Fault(describe(inputs, names), wanted, observed, hint)

    return check


def returns_pair(
    draw: Draw, names: tuple[str, ...], hint: str, kinds: tuple[type, ...] = (Tensor,)
) -> Property:
    """The property to ask first of a function with two results: each is a single number."""

    def check(candidate: Callable) -> Fault | None:
        inputs = draw()
        result = candidate(*inputs)
        parts = result if isinstance(result, tuple) else ()
        if [isinstance(x, kinds) and torch.as_tensor(x).ndim == 0 for x in parts] == [True, True]:
            return None
        wanted = "tensors of no dimensions" if kinds == (Tensor,) else "numbers"
        return Fault(describe(inputs, names), f"a tuple of two {wanted}", repr(result), hint)

    return check


def part(place: int, check: Property) -> Property:
    """The same property, asked of one of the numbers that a function returns."""
    return lambda function: check(lambda *inputs: torch.as_tensor(function(*inputs)[place]))


def both(check: Property) -> Property:
    """The same property, asked of the two numbers that a function returns as one tensor (2,)."""
    return lambda function: check(
        lambda *inputs: torch.stack([torch.as_tensor(x).double() for x in function(*inputs)])
    )


def given_plain_numbers(check: Property) -> Property:
    """The same property of a function that takes a number for each tensor of no dimensions."""
    return lambda function: check(
        lambda *inputs: function(*(x.item() if x.ndim == 0 else x for x in inputs))
    )


def agrees(
    truth: Callable[..., Tensor],
    draws: Sequence[Draw],
    names: tuple[str, ...],
    mistakes: Mapping[str, Callable[..., Tensor]],
    otherwise: str,
) -> Property:
    """The property that the candidate equals `truth` on fresh draws, the smallest first.

    Where it does not, the hint is the message of the mistake (message -> a function that makes
    it) whose result is the candidate's on most of five draws of the last and largest kind, if on
    any: one draw may round a mistake away, or make two mistakes alike. Else it is `otherwise`.
    """

    def check(candidate: Callable) -> Fault | None:
        for draw in draws:
            inputs = draw()
            result, expected = candidate(*_copies(inputs)), truth(*inputs)
            if not close(result, expected):
                break
        else:
            return None
        hits = Counter({otherwise: 0})
        for large in (draws[-1]() for _ in range(5)):
            outcome = candidate(*_copies(large))
            hits.update(m for m, mistake in mistakes.items() if close(outcome, mistake(*large)))
        return Fault(describe(inputs, names), *_shown(expected, result), hits.most_common(1)[0][0])

    return check


def _shown(expected: Tensor, result: object) -> tuple[str, str]:
    """Both as text; of many numbers those from the first on that differs."""
    if not isinstance(result, Tensor):
        return numbers(expected), repr(result)
    if result.shape != expected.shape or expected.numel() <= 4 or expected.dtype == torch.bool:
        return numbers(expected), numbers(result)
    equal = torch.isclose(result.double(), expected.double(), atol=1e-5)
    first = int(equal.int().flatten().argmin())
    place = [int(i) for i in torch.unravel_index(torch.tensor(first), expected.shape)]
    where = f"from {place} on " if first else ""
    return where + numbers(expected.flatten()[first:]), where + numbers(result.flatten()[first:])


def repeats(draw: Draw, names: tuple[str, ...], hint: str) -> Property:
    """The property that equal arguments give equal results: the candidate draws nothing itself."""

    def check(candidate: Callable) -> Fault | None:
        inputs = draw()
        first, second = (candidate(*_copies(inputs)) for _ in range(2))
        if torch.equal(first, second):
            return None
        return Fault(
            given=describe(inputs, names) + ", twice",
            expected=f"the same result twice, {numbers(first)}",
            observed=f"then {numbers(second)}",
            hint=hint,
        )

    return check


def spares_its_arguments(draw: Draw, names: tuple[str, ...]) -> Property:
    """The property that the candidate does not write into its arguments."""

    def check(candidate: Callable) -> Fault | None:
        inputs = draw()
        kept = _copies(inputs)
        candidate(*inputs)
        for name, now, before in zip(names, inputs, kept, strict=True):
            if not torch.equal(now, before):
                return Fault(
                    given="any arguments",
                    expected=f"`{name}` has the same values after the call",
                    observed="some of them have changed",
                    hint="`*=` and operations that end in an underscore write into their argument.",
                )
        return None

    return check


def passes_gradients(
    truth: Callable[..., Tensor], draw: Draw, names: tuple[str, ...], through: Sequence[str]
) -> Property:
    """The property that the sum of the result has the right derivatives by the named arguments."""

    def check(candidate: Callable) -> Fault | None:
        inputs = draw()
        places = [names.index(name) for name in through]
        expected, reached = (_slopes(run, inputs, places) for run in (truth, candidate))
        for name, slope, right in zip(through, reached, expected, strict=True):
            if not close(slope, right):
                return Fault(
                    given=describe(inputs, names),
                    expected=f"the derivative of the sum of your result by `{name}` is "
                    f"{numbers(right)}",
                    observed=numbers(slope),
                    hint=f"The gradient of `{name}` is cut or wrong. `detach`, `no_grad`, `.data`, "
                    "`torch.tensor(...)`, `torch.normal` and comparisons cut it.",
                )
        return None

    return check


def _slopes(run: Callable, inputs: tuple[Tensor, ...], places: Sequence[int]) -> Sequence[Tensor]:
    values = list(_copies(inputs))
    leaves = [values[place].requires_grad_() for place in places]
    result = run(*values)
    if not result.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return torch.autograd.grad(result.sum(), leaves, materialize_grads=True)


def explained(check: Property, hint: str, *errors: type[Exception]) -> Property:
    """The same property, with a hint for the candidate that raises such an error."""

    def asked(candidate: Callable) -> Fault | None:
        try:
            return check(candidate)
        except NotImplementedError:
            raise
        except errors as error:
            observed = f"{type(error).__name__}: {error}"
            return Fault("the inputs of this property", "a result", observed, hint, raised=True)

    return asked


def describe(inputs: tuple[Tensor, ...], names: tuple[str, ...]) -> str:
    """Arguments as text: the values of small tensors, the shape of large ones."""
    return ", ".join(
        f"{name} = {numbers(value)}"
        if value.numel() <= 4
        else f"{name} of shape {tuple(value.shape)}"
        for name, value in zip(names, inputs, strict=True)
    )


def _copies(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.clone() for value in inputs)


def close(result: object, truth: Tensor) -> bool:
    """Whether a result is a tensor of the right shape and equal to the truth within 1e-5."""
    return (
        isinstance(result, Tensor)
        and result.shape == truth.shape
        and torch.allclose(result.double(), truth.double(), atol=1e-5)
    )


def fresh_generator() -> torch.Generator:
    """A generator with a new seed at every call; the global one is left alone."""
    generator = torch.Generator()
    generator.seed()
    return generator


def numbers(values: Tensor) -> str:
    """The first four values of a tensor as text; a mask (N, M) row by row, x where it is True."""
    if values.dtype == torch.bool and values.ndim == 2:
        return " / ".join("".join("x" if look else "." for look in row) for row in values.tolist())
    first = values.flatten()[:4].tolist()
    shown = ", ".join(f"{x:.3f}" if isinstance(x, float) else str(x) for x in first)
    if values.ndim == 0:
        return shown
    return f"[{shown}{', ...' if values.numel() > 4 else ''}]"
