"""Chapter 7: the checker of how an adaLN-Zero block begins."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.checks.properties import close, explained, fresh_generator, numbers
from course_lib.checks.report import Fault, Verdict, examine
from course_lib.models.dit import AdaLNZeroBlock, DiTConfig

GATES = (2, 5)  # of shift, scale and gate of attention, then of the MLP
LAST_LAYERS = ("attention.out", "mlp.2")
IN_PLACE = (
    "Writing into a weight needs `torch.no_grad()`, which `nn.init.zeros_(weight)` brings along."
)


def start_as_identity(function) -> Verdict:
    """Check `function(block)`: it changes an `AdaLNZeroBlock` in place and returns nothing.

    Afterwards the modulation's weight and bias are 0, and nothing else has changed: the block is
    the identity, and its gates get a gradient.
    """
    return examine(
        "start_as_identity",
        function,
        _library,
        {
            "changes the block that it is given": explained(_changes_it, IN_PLACE, RuntimeError),
            "makes it the identity": _is_the_identity,
            "lets attention and MLP learn from the first update": _learns,
            "starts all of the modulation at 0": _modulation_is_zero,
            "leaves all other weights as they were": _spares_the_rest,
            "fills the weights that are there, and returns nothing": _keeps_the_weights,
        },
    )


def _library(block: AdaLNZeroBlock) -> None:
    """The library's answer, as in the DiT's own start."""
    nn.init.zeros_(block.modulation.weight)
    nn.init.zeros_(block.modulation.bias)


@dataclass(frozen=True)
class Begun:
    """A block after the candidate, with what it was before."""

    block: AdaLNZeroBlock
    weights: dict[str, nn.Parameter]  # the very ones that it had
    before: dict[str, Tensor]
    result: object
    inputs: tuple[Tensor, Tensor]  # tokens and condition

    @property
    def given(self) -> str:
        """The block as text."""
        tokens = tuple(self.inputs[0].shape)
        return f"an AdaLNZeroBlock with random weights, tokens of shape {tokens}"

    @property
    def changed(self) -> list[str]:
        """The names of the weights that are not what they were."""
        now = dict(self.block.named_parameters())
        kept = [n for n in now if n in self.before and torch.equal(now[n], self.before[n])]
        return [name for name in {**self.before, **now} if name not in kept]

    def zero(self, name: str) -> list[bool]:
        """Of each of the six parts of the modulation's weight or bias, whether it is 0."""
        return [not chunk.any() for chunk in self.block.get_parameter(name).chunk(6)]


def _begin(candidate: Callable) -> Begun:
    generator = fresh_generator()
    heads, width, ratio, batch, number = (
        int(torch.randint(low, low + 3, (), generator=generator)) for low in (1, 1, 2, 2, 3)
    )
    config = DiTConfig(dim=4 * heads * width, num_heads=heads, mlp_ratio=ratio)
    with torch.random.fork_rng(devices=[]):
        block = AdaLNZeroBlock(config)
    for weight in block.parameters():
        nn.init.normal_(weight, std=0.4, generator=generator)
    before = {name: weight.detach().clone() for name, weight in block.named_parameters()}
    inputs = (
        torch.randn(batch, number, config.dim, generator=generator),
        torch.randn(batch, config.dim, generator=generator),
    )
    weights = dict(block.named_parameters())
    return Begun(block, weights, before, candidate(block), inputs)


def _changes_it(candidate: Callable) -> Fault | None:
    begun = _begin(candidate)
    if begun.changed:
        return None
    hint = "Write into the block's weights: `nn.init.zeros_(block....)`."
    if isinstance(begun.result, nn.Module):
        hint = "You made another block: change the one that is given, in place."
    return Fault(begun.given, "other weights in it after the call", "all as they were", hint)


def _is_the_identity(candidate: Callable) -> Fault | None:
    begun = _begin(candidate)
    x, condition = begun.inputs
    with torch.no_grad():
        result = begun.block(x, condition)
    if close(result, x):
        return None
    return Fault(begun.given, f"x itself, {numbers(x)}", numbers(result), _diagnosis(begun))


def _diagnosis(begun: Begun) -> str:
    """What is wrong with the modulation."""
    weight, bias = begun.zero("modulation.weight"), begun.zero("modulation.bias")
    both = [w and b for w, b in zip(weight, bias, strict=True)]
    gates = [both[gate] for gate in GATES]
    bias_of_gates = [begun.block.modulation.bias.chunk(6)[gate] for gate in GATES]
    if all(weight[gate] for gate in GATES) and all((b == 1).all() for b in bias_of_gates):
        return "Your gates begin at 1: x + 1 * branch is no identity, x + 0 * branch is."
    if all(weight):
        return "You zeroed the weight of the modulation alone: its bias is added to the gates."
    if all(bias):
        return "You zeroed the bias of the modulation alone: its weight makes gates, too."
    if any(gates) and not all(gates):
        return "One of two gates is 0: attention has one, and the MLP another, parts 2 and 5 of 6."
    if all(gates):
        return (
            "You zeroed the gates alone. That is the identity, too, but attention and MLP then "
            "begin behind a random shift and scale: adaLN-Zero starts all six at 0."
        )
    if all(both[part] for part in range(6) if part not in GATES):
        return "You zeroed shift and scale, not the gates: a branch is left out by its gate alone."
    if {f"{layer}.weight" for layer in LAST_LAYERS} & set(begun.changed):
        return (
            "You zeroed the last layers of attention and MLP in place of the modulation. Other "
            "networks begin so; adaLN-Zero starts the gates at 0, and the layers as any others."
        )
    return (
        "Each branch is multiplied with its gate, and gates come from `block.modulation`: a gate "
        "is 0 for every condition where both weight and bias are."
    )


def _learns(candidate: Callable) -> Fault | None:
    begun = _begin(candidate)
    weights = dict(begun.block.named_parameters())
    frozen = [name for name, weight in weights.items() if not weight.requires_grad]
    if frozen:
        return Fault(
            begun.given,
            "weights that get gradients",
            f"`requires_grad` is off for {', '.join(frozen)}",
            "A weight that starts at 0 still learns: leave `requires_grad` alone.",
        )
    result = begun.block(*begun.inputs)
    wanted = torch.randn(result.shape, generator=fresh_generator())
    slopes = torch.autograd.grad((result * wanted).sum(), list(weights.values()))
    slope = dict(zip(weights, slopes, strict=True))
    for place, branch in enumerate(("attention", "mlp")):
        own = [g for name, g in slope.items() if name.startswith(branch)]
        own += slope["modulation.weight"].chunk(2)[place], slope["modulation.bias"].chunk(2)[place]
        if not any(g.any() for g in own):
            return Fault(
                begun.given,
                f"a gradient for some weight of {branch}'s branch or for its gate",
                "0 for all of them",
                "The branch is 0 and its gate is 0. The gradient of each is a product with the "
                "other, so both are 0 and nothing ever learns. Zero the modulation alone, "
                "and leave attention and MLP random.",
            )
    return None


def _modulation_is_zero(candidate: Callable) -> Fault | None:
    begun = _begin(candidate)
    if all(begun.zero("modulation.weight")) and all(begun.zero("modulation.bias")):
        return None
    parts = ("shift", "scale", "gate") * 2
    left = [
        f"{name}'s {part} {1 + place // 3}"
        for name in ("weight", "bias")
        for place, (part, zero) in enumerate(
            zip(parts, begun.zero(f"modulation.{name}"), strict=True)
        )
        if not zero
    ]
    return Fault(
        begun.given,
        "all weights and biases of `block.modulation` are 0",
        f"not 0: {', '.join(left)}",
        _diagnosis(begun),
    )


def _spares_the_rest(candidate: Callable) -> Fault | None:
    begun = _begin(candidate)
    others = [name for name in begun.changed if not name.startswith("modulation.")]
    if not others:
        return None
    hint = "Attention and MLP begin as they were drawn: change `block.modulation` alone."
    if all(name.startswith(LAST_LAYERS) for name in others):
        hint = (
            "The last layers of attention and MLP stay random: a gate of 0 is enough, and gets its "
            "gradient through them."
        )
    return Fault(begun.given, "new values in `modulation` alone", f"in {', '.join(others)}", hint)


def _keeps_the_weights(candidate: Callable) -> Fault | None:
    begun = _begin(candidate)
    now = dict(begun.block.named_parameters())
    replaced = [name for name, weight in begun.weights.items() if now.get(name) is not weight]
    if replaced:
        return Fault(
            begun.given,
            "the same weights, with other numbers in them",
            f"others in place of {', '.join(replaced)}",
            "You made a new layer or a new weight. An optimiser that knows the old one would never "
            "change it: fill what is there, `nn.init.zeros_`.",
        )
    if begun.result is None:
        return None
    return Fault(
        begun.given,
        "None",
        f"a {type(begun.result).__name__}",
        "Return nothing: who calls it has the block, and sees that it changed.",
    )
