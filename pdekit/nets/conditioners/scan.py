"""Scan: what lies before and what lies behind a dimension, summarised by linear recurrences at linear cost."""

from dataclasses import dataclass
from math import log
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from pdekit.nets.activation import Activation, check_activation, initialise
from pdekit.nets.conditioners.base import Conditioner
from pdekit.nets.conditioners.checks import check_choice, check_count
from pdekit.nets.conditioners.recurrence import ExclusiveScan, step_table
from pdekit.nets.modulation import Modulation, ModulationKind

# Where no gradient is recorded, work is cut into pieces whose temporaries hold this many numbers: they stay in a core's
# cache and their memory is used again, while fresh memory for every operation costs more than the arithmetic.
PIECE = 2**18
MOST_ROWS = 16  # in a piece of a state too long to be taken whole
NEAREST = 6.0  # a first decay of exp(-6): in effect the neighbour alone
LOG_RATES = (-15.0, 3.0)  # decays between exp(-20) and 1 - 3e-7, whatever training does
SPREAD_OF_BIAS = 0.5


@dataclass(frozen=True)
class ScanConditioner:
    """Features of the states before and behind each dimension, by linear recurrences along the ordered dimensions.

        e_j  = phi(w_j x_j + b_j)                                   in R^width, with weights of its own for each j
        p_j  = a p_{j-1} + e_{j-1},      q_j = a' q_{j+1} + e_{j+1}       decays in (0, 1) for each channel, learned
        h_j  = V phi(r_j * (P p_j + Q q_j) + c_j) + v                        with r_j and c_j of its own for each j

    and with a second layer, which sums products of a state with what lies before it, also

        p'_j = a p'_{j-1} + e_{j-1} tanh(G p_{j-1} + g),        likewise q', and P' p'_j + Q' q'_j in the read-out.

    In any layer p_j has seen x_1, ..., x_{j-1} and q_j has seen x_{j+1}, ..., x_d: the recurrences are exclusive, and
    the read-out acts on each dimension alone. Time-scales start between the next neighbour and twice the whole length.
    Cost and parameters are linear in d. The order of the states matters: near ones are seen sharply, far ones in sums.

    Args:
        features: The number of features per dimension.
        width: The number of channels in each direction.
        hidden: The number of hidden units of the read-out.
        layers: The number of recurrences in each direction.
        activation: phi, see `Activation`.
        modulation: How z enters the embedding and the read-out, see `Modulation`.

    Raises:
        ModelError: If an option is not of this kind.

    Source: linear recurrences in place of recurrent networks: E. Martin and C. Cundy, Parallelizing linear recurrent
    neural nets over sequence length, ICLR 2018.

    Example:
        >>> import torch
        >>> conditioner = ScanConditioner(width=8).build(dim=1000)
        >>> conditioner(torch.zeros(4, 1000)).shape
        torch.Size([4, 1000, 8])
    """

    features: int = 8
    width: int = 16
    hidden: int = 16
    layers: int = 1
    activation: str = "silu"
    modulation: ModulationKind = "film"

    def __post_init__(self) -> None:
        for name in ("features", "width", "hidden", "layers"):
            check_count(name, getattr(self, name))
        check_activation(self.activation)
        check_choice("modulation", self.modulation, get_args(ModulationKind))

    def build(self, dim: int, conditioning_dim: int = 0) -> "ScanConditionerModule":
        """The module for a state of `dim` entries."""
        check_count("dim", dim)
        return ScanConditionerModule(self, dim, conditioning_dim)


class _Weights(NamedTuple):
    """What one call makes of the parameters, once for all its pieces: by layer and direction."""

    scans: list[ExclusiveScan]
    gates: list[tuple[Tensor, ...]]
    gate_biases: list[tuple[Tensor, ...]]
    readouts: list[tuple[Tensor, ...]]


class _Columns(NamedTuple):
    """Some consecutive dimensions with the parameters of their own, (channels, 1, positions)."""

    where: slice
    weight: Tensor
    bias: Tensor
    gain: Tensor
    offset: Tensor


class _Stream(NamedTuple):
    """Entries and states of every layer in one direction, (channels, rows, positions)."""

    entries: list[Tensor]
    states: list[Tensor]


class ScanConditionerModule(Conditioner):
    """The network that `ScanConditioner` describes.

    Inside, channels come first, (channels, rows, positions): the recurrence, a matrix product along positions, and the
    read-out, one along channels, then both run on contiguous memory.
    """

    centre: Tensor
    scale: Tensor
    steps: Tensor

    def __init__(self, options: ScanConditioner, dim: int, conditioning_dim: int) -> None:
        super().__init__(dim, options.features, conditioning_dim)
        width, hidden, layers, phi = options.width, options.hidden, options.layers, options.activation
        self.embedding_activation, self.activation = Activation(phi), Activation(phi, guarded=False)
        # Weights start alike at all positions: a law that holds everywhere is then found sooner.
        weight = (1 - SPREAD_OF_BIAS**2) ** 0.5 * torch.randn(width, 1)
        self.weight = nn.Parameter(weight.repeat(1, dim))
        self.bias = nn.Parameter(SPREAD_OF_BIAS * torch.randn(width, dim))
        log_rate = torch.linspace(log(NEAREST), -log(2 * dim), width)
        self.log_rate = nn.Parameter(log_rate.repeat(layers, 2, 1))
        self.gate = nn.Parameter(torch.randn(layers - 1, 2, width, width) / width**0.5)
        self.gate_bias = nn.Parameter(torch.randn(layers - 1, 2, width, 1))
        # At either end one direction has seen all there is and the other one nothing: one alone must fill the scale.
        self.readout = nn.Parameter((2 / width / layers) ** 0.5 * torch.randn(layers, 2, hidden, width))
        # Which of the hidden units matter at a position is learned; without, unlike dimensions are told apart poorly.
        self.gain = nn.Parameter(torch.ones(hidden, dim))
        self.offset = nn.Parameter(SPREAD_OF_BIAS * torch.randn(hidden, dim))
        self.out = initialise(
            nn.Linear(hidden, options.features), 1 / float(_moments(self.activation, torch.tensor([[1.75]]))[1])
        )
        self.modulate_embedding = Modulation(width, conditioning_dim, options.modulation)
        self.modulate_readout = Modulation(hidden, conditioning_dim, options.modulation)
        centre, spread = _moments(self.activation, torch.sqrt(weight**2 + SPREAD_OF_BIAS**2))
        self.register_buffer("centre", centre.view(-1, 1, 1))
        # The gates of further layers are tanh(v) with v of variance two, whose spread is about 1 / 1.4.
        gated = torch.tensor([1.0] + [1.4] * (layers - 1)).view(-1, 1, 1, 1)
        self.register_buffer("scale", gated / (spread * _growth(torch.exp(log_rate), dim - 1)))
        self.register_buffer("steps", step_table(), persistent=False)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Features (*batch, d, features) of x (*batch, d) and z (*batch, conditioning_dim)."""
        rows = x.reshape(-1, self.dim)
        count = rows.shape[0]
        if z is not None:
            z = z.reshape(count, z.shape[-1])
        rows_at_once, positions_at_once = self._pieces(count)
        weights, columns = self._weights(), self._columns(positions_at_once)
        parts = [slice(first, first + rows_at_once) for first in range(0, max(1, count), rows_at_once)]
        h = [self._rows(rows[part], None if z is None else z[part], weights, columns) for part in parts]
        return (h[0].contiguous() if len(h) == 1 else torch.cat(h)).view(*x.shape, self.features)

    def _pieces(self, rows: int) -> tuple[int, int]:
        """How many rows and how many positions are worked on at once."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return max(1, rows), self.dim  # every intermediate result is kept, or fused, anyway
        room = max(1, PIECE // max(self.weight.shape[0], self.offset.shape[0]))
        if self.dim <= room:
            return room // self.dim, self.dim
        rows = max(1, min(rows, MOST_ROWS))
        return rows, max(1, room // rows)

    def _weights(self) -> _Weights:
        rates = torch.exp(self.log_rate.clamp(*LOG_RATES)).unbind()
        # States enter every product in units of the spread they started with.
        gates, readouts = self.gate * self.scale[:-1], self.readout * self.scale
        return _Weights(
            [ExclusiveScan(rate, self.steps) for rate in rates],
            gates=_split(gates),
            gate_biases=_split(self.gate_bias),
            readouts=_split(readouts),
        )

    def _columns(self, length: int) -> list[_Columns]:
        columns = [slice(first, first + length) for first in range(0, self.dim, length)]
        own = [p.unsqueeze(1) for p in (self.weight, self.bias, self.gain, self.offset)]
        return [_Columns(where, *(p[..., where] for p in own)) for where in columns]

    def _rows(self, x: Tensor, z: Tensor | None, weights: _Weights, columns: list[_Columns]) -> Tensor:
        """Features (rows, d, features) of a few rows, from column to column with a carry.

        The backward streams need their carries before the first column can be read out, so they run twice; to keep
        what they are inside the columns would cost more, because there would be so much of it.
        """
        nothing: list[Tensor | None] = [None] * len(weights.scans)
        behind = [nothing]
        for column in columns[:0:-1]:
            stream = self._stream(self._embed(x, z, column), weights, True, behind[-1])
            behind.append(_ends(weights, stream, True))
        before, h = nothing, []
        for column in columns:
            e = self._embed(x, z, column)
            forward = self._stream(e, weights, False, before)
            backward = self._stream(e, weights, True, behind.pop())
            if behind:
                before = _ends(weights, forward, False)
            h.append(self._read(forward, backward, weights, column, z))
        return h[0] if len(h) == 1 else torch.cat(h, dim=1)

    def _embed(self, x: Tensor, z: Tensor | None, column: _Columns) -> Tensor:
        a = torch.addcmul(column.bias, x[:, column.where], column.weight)
        return self.embedding_activation(_modulated(self.modulate_embedding, a, z)) - self.centre

    def _stream(self, e: Tensor, weights: _Weights, backward: bool, starts: list[Tensor | None]) -> _Stream:
        stream = _Stream([e], [weights.scans[0](e, backward, starts[0])])
        for layer, scan in enumerate(weights.scans[1:]):
            seen = stream.states[-1].reshape(e.shape[0], -1)
            gate = torch.addmm(weights.gate_biases[layer][backward], weights.gates[layer][backward], seen)
            # What x_j adds depends on what came before it: e_j itself enters every layer anew.
            stream.entries.append(e * torch.tanh(gate).view(e.shape))
            stream.states.append(scan(stream.entries[-1], backward, starts[layer + 1]))
        return stream

    def _read(
        self, forward: _Stream, backward: _Stream, weights: _Weights, column: _Columns, z: Tensor | None
    ) -> Tensor:
        _, rows, length = forward.states[0].shape
        states = [s.reshape(s.shape[0], -1) for pair in zip(forward.states, backward.states, strict=True) for s in pair]
        matrices = [matrix for pair in weights.readouts for matrix in pair]
        a = matrices[0] @ states[0]
        for matrix, s in zip(matrices[1:], states[1:], strict=True):
            a = torch.addmm(a, matrix, s)
        a = torch.addcmul(column.offset, a.view(a.shape[0], rows, length), column.gain)
        a = self.activation(_modulated(self.modulate_readout, a, z))
        h = torch.addmm(self.out.bias.unsqueeze(1), self.out.weight, a.reshape(a.shape[0], -1))
        return h.view(self.features, rows, length).permute(1, 2, 0)


def _split(weights: Tensor) -> list[tuple[Tensor, ...]]:
    """By layer and direction."""
    return [pair.unbind() for pair in weights.unbind()]


def _ends(weights: _Weights, stream: _Stream, backward: bool) -> list[Tensor | None]:
    return [scan.end(e, s, backward) for scan, e, s in zip(weights.scans, *stream, strict=True)]


def _modulated(modulation: Modulation, a: Tensor, z: Tensor | None) -> Tensor:
    return modulation(a.permute(1, 2, 0), z).permute(2, 0, 1) if modulation.conditioning_dim else a


def _growth(rate: Tensor, count: int) -> Tensor:
    """The standard deviation of the sum over k < count of a^k e_k for independent e_k of variance one."""
    return torch.sqrt(torch.expm1(-2 * max(1, count) * rate) / torch.expm1(-2 * rate))


def _moments(activation: nn.Module, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of activation(scale * n), n ~ N(0, 1), for scales (channels, 1).

    Sums over thousands of positions must be centred: a mean grows with their number, a spread with its root.
    """
    quantiles = torch.special.ndtri((torch.arange(1000) + 0.5) / 1000)
    with torch.no_grad():
        values = activation(scale * quantiles)
    return values.mean(1), values.std(1)


__all__ = ["ScanConditioner", "ScanConditionerModule"]
