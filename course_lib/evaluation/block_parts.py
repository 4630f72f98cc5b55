"""Which part of a transformer block's work grows with what, told from its counts alone."""

from collections.abc import Callable

Count = Callable[[int, int, int], int]  # (num_tokens, dim, mlp_ratio) -> multiply-accumulates


def block_parts(count: Count, num_tokens: int, dim: int, mlp_ratio: int) -> dict[str, int]:
    """A block's multiply-accumulates in four parts, which add up to the count.

    The products of attention are what grows with the square of the tokens, the modulation what no
    token adds to, the MLP what grows with its ratio; the projections, attention's linear layers,
    are the rest.

    Raises:
        ValueError: a number below 1.
    """
    if min(num_tokens, dim, mlp_ratio) < 1:
        raise ValueError(f"sizes are {num_tokens}, {dim}, {mlp_ratio}; permitted: 1 and more")
    one, two, three = (count(tokens, dim, mlp_ratio) for tokens in (1, 2, 3))
    of_pairs, of_none = (one - 2 * two + three) // 2, 3 * one - 3 * two + three
    total = count(num_tokens, dim, mlp_ratio)
    products = of_pairs * num_tokens**2
    mlp = mlp_ratio * (count(num_tokens, dim, mlp_ratio + 1) - total)
    return {
        "MLP": mlp,
        "projections": total - mlp - products - of_none,
        "products": products,
        "modulation": of_none,
    }
