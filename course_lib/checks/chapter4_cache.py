"""Chapter 4: the checker of attention with a cache of what earlier tokens offer."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checks import chapter4_looks as looks
from course_lib.checks.properties import (
    Draw,
    agrees,
    describe,
    explained,
    fresh_generator,
    spares_its_arguments,
)
from course_lib.checks.report import Fault, Property, Verdict, examine

TOKEN = ("query", "key", "value", "cached keys", "cached values")
RETURN = "End with `return output, (keys, values)`. "


def attend_with_cache(function) -> Verdict:
    """Check `function(query, key, value, cache)`: what a new token sees, and the longer cache.

    `query`, `key` and `value` are (B, 1, d); `cache` holds the keys and the values (B, M, d) of the
    tokens before, or is None. The output (B, 1, d) is softmax(q K^T / sqrt(d)) V over old and new.
    """
    large = _draw_tokens(2, 4, 3)
    return examine(
        "attend_with_cache",
        function,
        _look,
        {
            "returns an output and a pair of keys and values": _returns_output_and_cache,
            "begins without a cache": explained(
                _of(
                    0,
                    agrees(
                        lambda q, k, v, keys, values: v,
                        [_draw_tokens(2, 0, 3)],
                        TOKEN,
                        {},
                        "The first token has nobody to look at but itself: its output is its own "
                        "value.",
                    ),
                ),
                "The first token comes with `None` for a cache: its own key and value are all "
                "there is.",
                Exception,
            ),
            "looks at the old tokens and at the new one": _of(
                0,
                agrees(
                    looks.output,
                    [_draw_tokens(1, 1, 2), large],
                    TOKEN,
                    looks.LOOK_MISTAKES,
                    "Append key and value to the cache; scores q K^T / sqrt(d); softmax over all "
                    "M + 1 keys; times the values.",
                ),
            ),
            "returns the cache with the new key and value at its end": _of(
                1,
                agrees(
                    looks.longer,
                    [_draw_tokens(1, 0, 2), _draw_tokens(1, 1, 2), large],
                    TOKEN,
                    looks.CACHE_MISTAKES,
                    "`torch.cat([cache[0], key], dim=1)`, and so with the values.",
                ),
            ),
            "gives, token after token, what causal attention gives at once": _one_after_another(
                agrees(
                    looks.causal,
                    [_draw_sequence],
                    ("queries", "keys", "values"),
                    {},
                    "Each call goes on from the cache that the one before returned, and from "
                    "nothing else.",
                )
            ),
            "leaves the old cache and the other arguments unchanged": _spares_the_cache,
        },
    )


def _look(
    query: Tensor, key: Tensor, value: Tensor, cache: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The library's answer."""
    keys, values = cache or (key[:, :0], value[:, :0])
    keys, values = torch.cat([keys, key], 1), torch.cat([values, value], 1)
    return F.scaled_dot_product_attention(query, keys, values), (keys, values)


def _draw_tokens(batch: int, length: int, dim: int) -> Draw:
    """A new token, and a cache of `length` old ones."""

    def draw() -> tuple[Tensor, ...]:
        generator = fresh_generator()
        token = 1.5 * torch.randn(3, batch, 1, dim, generator=generator)
        cache = 1.5 * torch.randn(2, batch, length, dim, generator=generator)
        return (*token.unbind(), *cache.unbind())

    return draw


def _draw_sequence() -> tuple[Tensor, ...]:
    return torch.randn(3, 2, 5, 3, generator=fresh_generator()).unbind()


def _with_cache(function: Callable) -> Callable:
    """As a function of tensors alone; an empty cache is None."""
    return lambda query, key, value, keys, values: function(
        query, key, value, (keys, values) if keys.shape[1] else None
    )


def _of(place: int, check: Property) -> Property:
    """The same property of the output, or of keys and values as one tensor (2, B, M, d)."""

    def pick(result: tuple) -> Tensor:
        return torch.stack(list(result[1])) if place else result[0]

    return lambda function: check(lambda *inputs: pick(_with_cache(function)(*inputs)))


def _returns_output_and_cache(candidate: Callable) -> Fault | None:
    inputs = _draw_tokens(2, 4, 3)()
    result = _with_cache(candidate)(*inputs)
    hint = _wrong_kind(result)
    wanted = "a tensor of shape (2, 1, 3), and a tuple of two tensors of shape (2, 5, 3)"
    return Fault(describe(inputs, TOKEN), wanted, _kind(result), hint) if hint else None


def _wrong_kind(result: object) -> str | None:
    if isinstance(result, Tensor):
        return RETURN + "The next token needs the longer cache."
    if not isinstance(result, tuple | list) or len(result) != 2:
        return RETURN + "The cache is one thing, a pair."
    output, cache = result
    if not isinstance(output, Tensor) or output.shape != (2, 1, 3):
        return "One new token gets one output, (B, 1, d): keep the axis of length 1."
    pair = isinstance(cache, tuple | list) and len(cache) == 2
    if not pair or any(not isinstance(x, Tensor) or x.ndim != 3 for x in cache):
        return RETURN + "Both have the shape (B, M + 1, d)."
    return None


def _kind(result: object) -> str:
    if isinstance(result, Tensor):
        return f"a tensor of shape {tuple(result.shape)}"
    if isinstance(result, tuple | list):
        return f"({', '.join(_kind(x) for x in result)})"
    return repr(result)


def _one_after_another(check: Property) -> Property:
    def over(function: Callable) -> Callable:
        def run(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            outputs, cache = [], None
            for t in range(queries.shape[1]):
                new = slice(t, t + 1)
                output, cache = function(queries[:, new], keys[:, new], values[:, new], cache)
                outputs.append(output)
            return torch.cat(outputs, 1)

        return run

    return lambda function: check(over(function))


def _spares_the_cache(candidate: Callable) -> Fault | None:
    fault = spares_its_arguments(_draw_tokens(2, 4, 3), TOKEN)(_with_cache(candidate))
    return fault and replace(
        fault,
        hint="Whoever goes on from an old cache, to try another future, must find it as it was. "
        "`torch.cat` makes a new tensor; `*=`, `cache[0][...] =` and operations that end in an "
        "underscore write into the old one.",
    )
