"""What a call costs: multiply-accumulates, which no machine changes, and seconds on this one.

Only matrix products and convolutions are counted, those of attention (queries with keys, weights
with values) among them; norms, softmax and what else goes element by element are not. What a mask
forbids is computed all the same, and counted. Papers that say FLOPs may mean one per
multiply-accumulate, or two.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class _Counter(TorchDispatchMode):
    """Torch's own formulas, without FlopCounterMode's hooks: those fail on views of parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0  # two for each multiply-accumulate: the product and the sum

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=output)
        return output


def multiply_accumulates(function: Callable[[], object]) -> int:
    """Of one call without gradients, also of one on the meta device, where nothing is computed."""
    # No formula knows the CPU's flash attention: as matrix products it is seen.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _Counter() as counter:
        function()
    return counter.total // 2


def seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """The median of some calls without gradients, after one that is not timed.

    Raises:
        ValueError: repeats is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; permitted: 1 and more")
    times = []
    with torch.no_grad():
        function()  # the first call also pays for memory and for choosing kernels
        for _ in range(repeats):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return median(times)
