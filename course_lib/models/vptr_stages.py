"""What each sub-layer of NAR's or PAR's decoder adds to its tokens, for those who want to watch.

The tokens that a decoder begins with, plus all of these, are what its last norm is given.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from course_lib.models.vidhrformer import DecoderBlock, Tokens
from course_lib.models.vptr_decoders import EncoderDecoder

STAGES = ("space", "convolution", "time", "mlp", "witness", "second")


def sublayers(block: DecoderBlock) -> dict[str, nn.Module]:
    """The six, in the order in which they run."""
    own = block.own
    six = own.space, own.convolution, own.time, own.mlp, block.witness, block.convolution
    return dict(zip(STAGES, six, strict=True))


@contextmanager
def watch_stages(transformer: EncoderDecoder) -> Iterator[dict[tuple[int, str], Tokens]]:
    """While the block runs, what each sub-layer added last, by (block, stage), in order.

    Without dropout: in training the sums would not hold.
    """
    added: dict[tuple[int, str], Tokens] = {}

    def note(key: tuple[int, str], _module: nn.Module, _given: Any, output: Tensor) -> None:
        added.pop(key, None)  # a second call begins a new order
        added[key] = output.detach()

    hooks = [
        module.register_forward_hook(partial(note, (number, stage)))
        for number, block in enumerate(cast(Iterable[DecoderBlock], transformer.decoder))
        for stage, module in sublayers(block).items()
    ]
    try:
        yield added
    finally:
        for hook in hooks:
            hook.remove()
