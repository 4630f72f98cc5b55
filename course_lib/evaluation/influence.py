"""What an output depends on: measured by gradients, and what the layers' rules allow.

Who may look at whom is a rule; what a network makes of it is a fact. `may_see` composes the rules
of FAR's layers, `influence` measures the network. Where the first forbids, the second is 0, not
nearly 0; where the first allows and the second is 0, something is broken or the network never
looks there.

A block reads windows, then convolution, then time; from an output back to the inputs it is time
first. Beside every layer runs a residual path: a place always sees itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from course_lib.models.vidhrformer import AS_PUBLISHED, ConvFFN, Masks
from course_lib.models.vptr import AutoregressiveVPTR, Features, VPTRConfig, add_causal, to_tokens
from course_lib.nn.attention import Mask, window_merge, window_partition

Query = tuple[int, int, int]  # frame, row, column
Reach = Bool[Tensor, "T h w"]


def influence(
    function: Callable[[Tensor], Tensor],
    features: Float[Tensor, "1 T D h w"],
    query: Query,
    *,
    num_probes: int = 4,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "T h w"]:
    """How strongly the output of `function` at one place depends on each place of the input.

    Root mean square, over random directions v of the output's channels, of the norm of v's
    gradient: with many probes the Frobenius norm of the Jacobian between the two places. It is
    exactly 0 where nothing flows, and no path that exists cancels, for v is random; in the plain
    sum of the channels all of them cancel behind a LayerNorm.

    Raises:
        ValueError: The query is no place of the output, or there is no probe.
    """
    if num_probes < 1:
        raise ValueError(f"num_probes is {num_probes}; permitted: 1 and more")
    features = features.detach().requires_grad_()
    output = function(features)[0].movedim(1, -1)  # (T, h, w, D)
    _check_query(query, tuple(output.shape[:3]))
    seen = output[query]  # (D,)
    shape, like = (num_probes, len(seen)), {"dtype": seen.dtype, "device": seen.device}
    squares = torch.zeros_like(features[0, :, 0])  # (T, h, w)
    for probe in torch.randn(shape, generator=generator, **like):
        (slope,) = torch.autograd.grad(seen, features, probe, retain_graph=True)
        squares += slope[0].square().sum(1)
    return (squares / num_probes).sqrt()


def frame_influence(
    function: Callable[[Tensor], Tensor],
    features: Float[Tensor, "1 T D h w"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "N T"]:
    """How strongly each output frame depends on each input frame: norms of one random gradient.

    FAR leaks its future where column j > row i is not 0.
    """
    features = features.detach().requires_grad_()
    output = function(features)[0]
    rows = []
    for frame in output:
        probe = torch.randn(frame.shape, generator=generator, dtype=frame.dtype)
        (slope,) = torch.autograd.grad(frame, features, probe.to(frame), retain_graph=True)
        rows.append(slope[0].flatten(1).norm(dim=1))
    return torch.stack(rows)


def first_blocks(
    model: AutoregressiveVPTR,
    num_blocks: int | None = None,
    *,
    masks: Masks | Sequence[Masks] = AS_PUBLISHED,
) -> Callable[[Features], Features]:
    """FAR after some of its blocks, as a function of its features; one mask for all, or for each.

    Without the last ReLU, which would hide what a silent place depends on.

    Raises:
        ValueError: The network has fewer blocks, or there are not as many masks.
    """
    each = _for_blocks(masks, num_blocks, model.config)

    def run(features: Features) -> Features:
        length, x = features.shape[1], to_tokens(features)
        for block, chosen in zip(model.blocks, each, strict=False):
            chosen = add_causal(chosen, 0, length, features.device)
            x, _ = block(x, model.time_code[:length], masks=chosen)
        return model.norm(x).movedim(-1, 2)  # (B, T, D, h, w)

    return run


@contextmanager
def without_convolution(model: nn.Module) -> Iterator[None]:
    """While the block runs, the convolutional feed-forward of every block adds nothing."""
    hooks = [
        module.register_forward_hook(_silence)
        for module in model.modules()
        if isinstance(module, ConvFFN)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _silence(_: nn.Module, __: tuple[Tensor], output: Tensor) -> Tensor:
    return torch.zeros_like(output)


def may_see(
    query: Query,
    num_frames: int,
    config: VPTRConfig,
    *,
    num_blocks: int | None = None,
    masks: Masks | Sequence[Masks] = AS_PUBLISHED,
    convolution: bool = True,
    training: bool = False,
) -> Reach:
    """The input places that FAR's layers allow an output to depend on.

    BatchNorm is as causal as "layer" in evaluation; in training it lets all see all.

    Raises:
        ValueError: The query is no place of these frames, or the blocks or masks do not fit.
    """
    size, norm = config.block.map_size, config.block.norm
    reach = one_place(query, num_frames, size)
    if norm == "batch" and training and convolution:
        return torch.ones_like(reach)
    each = _for_blocks(masks, num_blocks, config)
    for chosen in reversed(each):
        chosen = add_causal(chosen, 0, num_frames, reach.device)
        reach = reach | through_time(reach, chosen.temporal)
        if convolution:
            reach = reach | through_convolution(reach, whole_frame=norm == "frame")
        reach = reach | through_windows(reach, config.block.window_size, chosen.spatial)
    return reach


def one_place(query: Query, num_frames: int, map_size: int) -> Reach:
    """Only the query itself.

    Raises:
        ValueError: It is no place of these frames.
    """
    _check_query(query, (num_frames, map_size, map_size))
    reach = torch.zeros(num_frames, map_size, map_size, dtype=torch.bool)
    reach[query] = True
    return reach


def through_time(reach: Reach, mask: Mask) -> Bool[Tensor, "_ h w"]:
    """What these places look at along time, place by place; None: all frames, as many as asking.

    A decoder's mask is predicted frames x context frames: then other frames are looked at.
    """
    if mask is None:
        mask = torch.ones(len(reach), len(reach), dtype=torch.bool)
    return torch.einsum("thw,ts->shw", reach.float(), mask.float()) > 0


def through_convolution(reach: Reach, *, whole_frame: bool = False) -> Reach:
    """What a 3 x 3 convolution reads to make these places, or a norm of whole frames."""
    if whole_frame:
        return reach.any(2, keepdim=True).any(1, keepdim=True).expand_as(reach)
    return F.max_pool2d(reach.float()[None], 3, stride=1, padding=1)[0] > 0


def through_windows(reach: Reach, window_size: int, mask: Mask = None) -> Reach:
    """What these places look at inside their own windows.

    Raises:
        ValueError: The windows do not fill the map.
    """
    windows = window_partition(reach.float()[..., None], window_size)[..., 0]  # (T, W, K*K)
    looks = torch.ones(window_size**2, window_size**2) if mask is None else mask.float()
    return window_merge((windows @ looks)[..., None], *reach.shape[1:])[..., 0] > 0


def _for_blocks(
    masks: Masks | Sequence[Masks], num_blocks: int | None, config: VPTRConfig
) -> list[Masks]:
    """One `Masks` for each of the first blocks."""
    most = config.depth if num_blocks is None else num_blocks
    if not 1 <= most <= config.depth:
        raise ValueError(f"num_blocks is {most}; permitted: 1..{config.depth}")
    if isinstance(masks, Masks):
        return [masks] * most
    if len(masks) != most:
        raise ValueError(f"there are {len(masks)} masks; permitted: one, or {most}")
    return list(masks)


def _check_query(query: Query, shape: tuple[int, ...]) -> None:
    if any(not 0 <= k < size for k, size in zip(query, shape, strict=True)):
        raise ValueError(f"the query is {query}; permitted: a place (t, y, x) of {shape}")
