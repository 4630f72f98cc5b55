"""Chapter 7: the checker of what one transformer block costs, in multiply-accumulates.

The right count is a sum of five parts, each with a power of its own of tokens, width and ratio.
Differences of counts take the parts out of the sum, so that each is asked by itself.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from course_lib.checks.properties import agrees, fresh_generator
from course_lib.checks.report import Fault, Property, Verdict, examine

SIZES = ("num_tokens", "dim", "mlp_ratio")
Count = Callable[[int, int, int], int]


def block_macs(function) -> Verdict:
    """Check `function(num_tokens, dim, mlp_ratio)`: those of an adaLN-Zero block, one example.

    They are those of the matrix products: queries, keys and values, both products of attention,
    the projection after it, the MLP, and the modulation from the condition.
    """
    return examine(
        "block_macs",
        function,
        lambda num_tokens, dim, mlp_ratio: (
            (4 + 2 * mlp_ratio) * num_tokens * dim**2 + 2 * num_tokens**2 * dim + 6 * dim**2
        ),
        {
            "returns a whole number": _returns_a_count,
            "counts both layers of the MLP": _counts(
                _of_ratio,
                "more where mlp_ratio is one larger",
                lambda n, d, r: 2 * n * d * d,
                MLP,
                MLP_HINT,
            ),
            "counts queries, keys, values and the projection after attention": _counts(
                _of_tokens,
                "times num_tokens, without the MLP",
                lambda n, d, r: 4 * d * d,
                LINEAR,
                LINEAR_HINT,
            ),
            "counts both products of attention, which grow with the square of tokens": _counts(
                _of_pairs,
                "times num_tokens * num_tokens",
                lambda n, d, r: 2 * d,
                ATTENTION,
                ATTENTION_HINT,
            ),
            "counts the modulation, once for an example": _counts(
                _of_no_tokens,
                "that do not depend on num_tokens",
                lambda n, d, r: 6 * d * d,
                MODULATION,
                MODULATION_HINT,
            ),
            "is the sum of all these, and of nothing else": _counts(
                lambda count: count, "in all", _by_products, TOTAL, TOTAL_HINT
            ),
        },
    )


def _returns_a_count(candidate: Callable) -> Fault | None:
    result = candidate(4, 8, 2)
    if isinstance(result, int) and not isinstance(result, bool):
        return None
    return Fault(
        "num_tokens = 4, dim = 8, mlp_ratio = 2",
        "an int",
        repr(result),
        "A count is a whole number: multiply and add whole numbers, `//` in place of `/`.",
    )


def _by_products(num_tokens: int, dim: int, mlp_ratio: int) -> int:
    """Product of matrices after product, (rows, inner) by (inner, columns)."""
    products = [
        *[(num_tokens, dim, dim)] * 3,  # queries, keys, values
        (num_tokens, dim, num_tokens),  # every query by every key
        (num_tokens, num_tokens, dim),  # weights by values
        (num_tokens, dim, dim),  # the projection
        (num_tokens, dim, mlp_ratio * dim),
        (num_tokens, mlp_ratio * dim, dim),
        *[(1, dim, dim)] * 6,  # shift, scale and gate, twice
    ]
    return sum(rows * inner * columns for rows, inner, columns in products)


def _counts(
    taken: Callable[[Count], Count],
    unit: str,
    truth: Count,
    mistakes: dict[str, Count],
    otherwise: str,
) -> Property:
    """The property that what is taken out of the candidate's counts is right."""

    def of_sizes(count: Callable) -> Callable[..., Tensor]:
        return lambda *sizes: torch.tensor(count(*(int(x) for x in sizes)))

    agree = agrees(
        of_sizes(truth),
        [lambda: tuple(map(torch.tensor, (2, 4, 1))), _draw_sizes],
        SIZES,
        {text: of_sizes(wrong) for text, wrong in mistakes.items()},
        otherwise,
    )

    def check(candidate: Callable) -> Fault | None:
        fault = agree(of_sizes(taken(candidate)))
        return fault and replace(fault, expected=f"{fault.expected} {unit}")

    return check


def _draw_sizes() -> tuple[Tensor, ...]:
    """Tokens, width and ratio, of which no two are equal: no power looks like another."""
    generator = fresh_generator()
    drawn = [
        torch.randint(low, high, (), generator=generator)
        for low, high in ((7, 15), (5, 12), (2, 5))
    ]
    return drawn[0], 4 * drawn[1], drawn[2]


def _of_ratio(count: Count) -> Count:
    """What one more of mlp_ratio costs."""
    return lambda n, d, r: count(n, d, r + 1) - count(n, d, r)


def _without_mlp(count: Count) -> Count:
    """The count on the line through ratios 1 and 2, at ratio 0."""
    return lambda n, d, r: 2 * count(n, d, 1) - count(n, d, 2)


def _of_pairs(count: Count) -> Count:
    """The factor of num_tokens squared."""
    return lambda n, d, r: (count(1, d, r) - 2 * count(2, d, r) + count(3, d, r)) // 2


def _of_no_tokens(count: Count) -> Count:
    """The count on the parabola through 1, 2 and 3 tokens, at no token."""
    return lambda n, d, r: 3 * count(1, d, r) - 3 * count(2, d, r) + count(3, d, r)


def _of_tokens(count: Count) -> Count:
    """The factor of num_tokens, without the MLP's part of it."""
    rest = _without_mlp(count)
    return lambda n, d, r: rest(1, d, r) - _of_pairs(rest)(n, d, r) - _of_no_tokens(rest)(n, d, r)


TWICE = (
    "You counted two operations for each multiply-accumulate: the product and the sum are one. "
    "The DiT paper's Gflops are these, too."
)
MLP_HINT = (
    "The MLP goes from dim to mlp_ratio * dim numbers and back, for each token: both layers "
    "have dim * mlp_ratio * dim weights."
)
MLP: dict[str, Count] = {
    TWICE: lambda n, d, r: 4 * n * d * d,
    "You counted one layer of the MLP: it goes to mlp_ratio * dim numbers and back.": (
        lambda n, d, r: n * d * d
    ),
    "You forgot the MLP: two layers, from dim to mlp_ratio * dim numbers and back.": (
        lambda n, d, r: 0
    ),
    "You counted the MLP once: every token goes through it.": lambda n, d, r: 2 * d * d,
    "The hidden width is mlp_ratio * dim, not its square.": (
        lambda n, d, r: 2 * n * d * d * (2 * r + 1)
    ),
}
LINEAR_HINT = (
    "Each token goes through four products of dim by dim: queries, keys, values and the projection "
    "after attention."
)
LINEAR: dict[str, Count] = {
    TWICE: lambda n, d, r: 8 * d * d,
    "You forgot the projection after attention, dim by dim for each token.": (
        lambda n, d, r: 3 * d * d
    ),
    "You counted one of queries, keys and values: each is a product of dim by dim.": (
        lambda n, d, r: 2 * d * d
    ),
    "You forgot queries, keys and values: three products of dim by dim for each token.": (
        lambda n, d, r: d * d
    ),
    "You forgot the layers of attention: queries, keys, values and the projection, dim by dim for "
    "each token.": lambda n, d, r: 0,
    "You counted the modulation for each token: the condition is one vector for an example, and "
    "so are its six vectors.": lambda n, d, r: 10 * d * d,
    "Attention's products grow with the square of num_tokens: every token meets every token.": (
        lambda n, d, r: 4 * d * d + 2 * d
    ),
    "Attention's products have num_tokens twice and dim once: num_tokens * num_tokens * dim.": (
        lambda n, d, r: 6 * d * d
    ),
}
ATTENTION_HINT = (
    "Each pair of tokens costs dim twice: queries by keys, and weights by values. The heads share "
    "dim, so their number does not matter."
)
ATTENTION: dict[str, Count] = {
    TWICE: lambda n, d, r: 4 * d,
    "You forgot one of attention's two products: queries by keys, and weights by values.": (
        lambda n, d, r: d
    ),
    "Nothing grows with the square of num_tokens: attention's two products are missing, or hold "
    "num_tokens once. Every token meets every token.": lambda n, d, r: 0,
    "Attention's products have dim once: num_tokens * num_tokens * dim.": (
        lambda n, d, r: 2 * d * d
    ),
}
MODULATION_HINT = (
    "One layer from the condition, dim numbers, to 6 * dim: shift, scale and gate for attention "
    "and for the MLP. It does not depend on num_tokens."
)
MODULATION: dict[str, Count] = {
    TWICE: lambda n, d, r: 12 * d * d,
    "Without tokens your count is 0: you forgot the modulation, or counted it for each token. It "
    "goes from the condition to 6 * dim numbers, once for an example.": lambda n, d, r: 0,
    "You counted three of six vectors: attention and MLP each have shift, scale and gate.": (
        lambda n, d, r: 3 * d * d
    ),
    "You counted shifts and scales alone: each branch has a gate, too.": lambda n, d, r: 4 * d * d,
    "You counted the modulation's outputs: each of the 6 * dim is a sum of dim products.": (
        lambda n, d, r: 6 * d
    ),
}
TOTAL_HINT = (
    "The parts that fail above, or something beside them: norms, softmax, biases and additions are "
    "not counted."
)
TOTAL: dict[str, Count] = {
    TWICE: lambda n, d, r: 2 * _by_products(n, d, r),
    "You counted biases: a multiply-accumulate is a product and its sum.": lambda n, d, r: (
        _by_products(n, d, r) + n * (5 + r) * d + 6 * d
    ),
}
