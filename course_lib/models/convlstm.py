"""ConvLSTM: an LSTM whose state is a picture, and the encoder-forecaster made of it.

Source: Shi et al. 2015 (arXiv 1506.04214), section 3. Kept from the paper: gates with peepholes
W_c that have a weight for every place of the state, frames cut into patches, layers whose states
the encoder hands to the forecaster, a forecaster that is fed no frames, and one 1 x 1 convolution
over the hidden states of all its layers. Departure: the output is linear, because pixels are
in [-1, 1] and the loss is the squared error; the paper ends in a sigmoid and a cross-entropy.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.interfaces import Video

State = tuple[Float[Tensor, "B _ N N"], Float[Tensor, "B _ N N"]]  # hidden, cell


@dataclass(frozen=True)
class ConvLSTMConfig:
    """The size of a `ConvLSTM`."""

    size: int = 32  # pixels along an edge of a frame
    patch_size: int = 4  # pixels along an edge of a patch; a patch becomes one place of the state
    dims: tuple[int, ...] = (64, 64)  # channels of each layer's state, bottom to top
    kernel_size: int = 3  # places, odd; of the convolutions from state to state
    input_kernel_size: int = 3  # places, odd; of the convolutions from input to state

    def __post_init__(self) -> None:
        if self.patch_size < 1 or self.size < 1 or self.size % self.patch_size:
            raise ValueError(
                f"patch_size is {self.patch_size}; permitted: a divisor of size, {self.size}"
            )
        if not self.dims or min(self.dims) < 1:
            raise ValueError(f"dims is {self.dims}; permitted: one positive number or more")
        for name in ("kernel_size", "input_kernel_size"):
            if getattr(self, name) < 1 or getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} is {getattr(self, name)}; permitted: odd, 1 and more")

    @property
    def num_places(self) -> int:
        """Places along an edge of the state."""
        return self.size // self.patch_size


class ConvLSTMCell(nn.Module):
    """One layer: `hidden, state = cell(x, state)`. Without input channels it runs on its own.

    The four sums of a convolution stand in the order input gate, forget gate, candidate, output
    gate, as in torch's LSTM.
    """

    def __init__(self, in_channels: int, dim: int, config: ConvLSTMConfig) -> None:
        super().__init__()
        reach, input_reach = config.kernel_size // 2, config.input_kernel_size // 2
        self.from_input = (
            nn.Conv2d(
                in_channels, 4 * dim, config.input_kernel_size, padding=input_reach, bias=False
            )
            if in_channels
            else None
        )
        self.from_hidden = nn.Conv2d(dim, 4 * dim, config.kernel_size, padding=reach)
        self.peepholes = nn.Parameter(torch.zeros(3, dim, config.num_places, config.num_places))
        self._initialise(dim)

    @torch.no_grad()
    def _initialise(self, dim: int) -> None:
        """So that what is in the state neither fades nor grows while it is passed on."""
        for gate, rows in enumerate(self.from_hidden.weight.split(dim)):
            # The half-open gates halve the candidate twice: about 2 makes up for it.
            nn.init.orthogonal_(rows, gain=2 if gate == 2 else 1)
        # The forget and output gates begin rather open.
        biases = torch.tensor([0.0, 1.0, 0.0, 1.0]).repeat_interleave(dim)
        self.from_hidden.bias = nn.Parameter(biases)

    def forward(
        self, x: Float[Tensor, "B C N N"] | None, state: State
    ) -> tuple[Float[Tensor, "B D N N"], State]:
        """The next hidden state and the next (hidden, cell)."""
        hidden, cell = state
        w_ci, w_cf, w_co = self.peepholes
        sums = self.from_hidden(hidden)  # (B, 4D, N, N)
        if x is not None and self.from_input is not None:
            sums = sums + self.from_input(x)
        i, f, g, o = sums.chunk(4, dim=1)  # (B, D, N, N) each
        i = torch.sigmoid(i + w_ci * cell)  # Shi et al. section 3.1: i_t
        f = torch.sigmoid(f + w_cf * cell)  # f_t
        cell = f * cell + i * torch.tanh(g)  # C_t
        o = torch.sigmoid(o + w_co * cell)  # o_t looks at the new cell
        hidden = o * torch.tanh(cell)  # H_t
        return hidden, (hidden, cell)


class ConvLSTM(nn.Module):
    """Reads the context frame by frame, then unrolls the future from the states alone."""

    def __init__(self, config: ConvLSTMConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.patch_size**2
        self.encoder = nn.ModuleList(
            ConvLSTMCell(below, dim, config)
            for below, dim in zip((channels, *config.dims[:-1]), config.dims, strict=True)
        )
        self.forecaster = nn.ModuleList(
            ConvLSTMCell(below, dim, config)
            for below, dim in zip((0, *config.dims[:-1]), config.dims, strict=True)
        )
        self.to_patches = nn.Conv2d(sum(config.dims), channels, 1)

    def predict(
        self, context: Video, horizon: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "B {horizon} C H W"]:
        """The `horizon` frames after `context`, unclipped; nothing is drawn from `generator`.

        Raises:
            ValueError: The frames have another shape than the config says, or none is asked for.
        """
        del generator
        expected = (1, self.config.size, self.config.size)
        if tuple(context.shape[2:]) != expected or not context.shape[1]:
            raise ValueError(
                f"context has shape {tuple(context.shape)}; permitted: (B, T, *{expected}), T >= 1"
            )
        if horizon < 1:
            raise ValueError(f"horizon is {horizon}; permitted: 1 and more")
        states = self.encode(context)
        frames = []
        for _ in range(horizon):
            hiddens, states = step(self.forecaster, None, states)
            patches = self.to_patches(torch.cat(hiddens, dim=1))  # (B, P*P, N, N)
            frames.append(F.pixel_shuffle(patches, self.config.patch_size))
        return torch.stack(frames, dim=1)  # (B, H, 1, S, S)

    forward = predict

    def encode(self, context: Video) -> list[State]:
        """The layers' states after the context; they begin at zero, total ignorance."""
        places = self.config.num_places
        zeros = [context.new_zeros(len(context), dim, places, places) for dim in self.config.dims]
        states = [(zero, zero) for zero in zeros]
        for frame in context.unbind(dim=1):
            patches = F.pixel_unshuffle(frame, self.config.patch_size)  # (B, P*P, N, N)
            _, states = step(self.encoder, patches, states)
        return states


def step(
    layers: nn.ModuleList, x: Float[Tensor, "B C N N"] | None, states: list[State]
) -> tuple[list[Float[Tensor, "B _ N N"]], list[State]]:
    """One time step through all layers: every layer's hidden state, and the new states."""
    hiddens, new_states = [], []
    for layer, state in zip(layers, states, strict=True):
        x, state = layer(x, state)
        hiddens.append(x)
        new_states.append(state)
    return hiddens, new_states
