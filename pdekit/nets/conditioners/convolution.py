"""Grids: each site sees its neighbours through shared kernels, the further ones through kernels made by the nearer."""

import math
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pdekit.errors import ModelError
from pdekit.nets.activation import check_activation, gain, initialise
from pdekit.nets.conditioners.base import Conditioner
from pdekit.nets.conditioners.checks import check_choice, check_count, counts
from pdekit.nets.conditioners.others import OtherEntries
from pdekit.nets.modulation import Modulation, ModulationKind
from pdekit.nets.pointwise import pointwise

PaddingKind = Literal["circular", "zeros"]
Offset = tuple[int, ...]


@dataclass(frozen=True)
class ConvolutionConditioner:
    """Convolutions without a centre on a grid of one, two or more axes.

    The state is a grid with `channels` values at each site, channel by channel as in images:
    `x.view(*batch, channels, *shape)`. The first stage is linear in the neighbours (and in the site's other channels),
    each further stage has kernels that depend on the state through what is hollow already:

        v^1_s     = network(sum over o != 0 of K_o x_{s+o}, z)
        v^(k+1)_s = network(v^k_s, sum over o != 0 of K_o(v^k_s) x_{s+o}, z),   h_s = W v_s,

    with the offsets o of a `kernel` wide window, spread by the stage's dilation. Every stage looks at the raw state and
    leaves the centre out, so h stays hollow; convolving v itself would bring x_s back from its neighbours. The kernels
    are shared by all sites: on a circular grid shifting x shifts h.

    A site does NOT see the whole grid, only `receptive_field`; with kernel 5 and dilations (1, 2) that is four sites
    each way (and in two dimensions the two windows, not all of the square). More or larger dilations see further.

    Neighbours are gathered, and the centre is not among them. A convolution with its centre set to zero would not do:
    fast algorithms (Winograd, FFT) bring the centre in at rounding level. On small circular grids offsets that lead
    back to the site itself are left out, and of those that lead to the same neighbour one is kept.

    Args:
        shape: The number of sites along each axis; its product times `channels` is d.
        features: The number of features per dimension.
        kernel: The sites along each axis of a window, odd and at least 3.
        dilations: The spacing of each stage's window; its length is the number of stages.
        hidden: The widths of the hidden layers of each stage's network.
        channels: The number of values per site.
        padding: `"circular"` for a periodic grid, `"zeros"` for one that ends.
        activation: See `Activation`.
        modulation: How z enters each stage, see `Modulation`.

    Raises:
        ModelError: If an option is not of this kind, or on `build` if the grid does not have d entries.

    Source: the grid recipe (a centre-free convolution, then state-dependent ones) of R. T. Q. Chen and D. Duvenaud,
    Neural networks with cheap differential operators, NeurIPS 2019; kernels made by a network: B. De Brabandere et al.,
    Dynamic filter networks, NeurIPS 2016.

    Example:
        >>> import torch
        >>> options = ConvolutionConditioner(shape=(8,), kernel=3, dilations=(1, 3))
        >>> options.receptive_field
        ((-3,), (-1,), (1,), (3,))
        >>> options.build(dim=8)(torch.zeros(5, 8)).shape
        torch.Size([5, 8, 8])
    """

    shape: tuple[int, ...]
    features: int = 8
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 2)
    hidden: tuple[int, ...] = (32,)
    channels: int = 1
    padding: PaddingKind = "circular"
    activation: str = "tanh"
    modulation: ModulationKind = "film"

    def __post_init__(self) -> None:
        for name in ("shape", "dilations", "hidden"):
            object.__setattr__(self, name, counts(name, getattr(self, name)))
        check_count("features", self.features)
        check_count("channels", self.channels)
        check_count("kernel", self.kernel, least=3)
        if self.kernel % 2 == 0:
            raise ModelError(
                f"kernel must be odd, so that the window has a centre to leave out, got {self.kernel}; "
                f"try {self.kernel + 1}."
            )
        check_choice("padding", self.padding, get_args(PaddingKind))
        check_activation(self.activation)
        check_choice("modulation", self.modulation, get_args(ModulationKind))

    @property
    def receptive_field(self) -> tuple[Offset, ...]:
        """The offsets from a site to those it sees in any stage, sorted; on a circular grid modulo `shape`."""
        return tuple(sorted({offset for dilation in self.dilations for offset in self.offsets(dilation)}))

    def offsets(self, dilation: int) -> tuple[Offset, ...]:
        """The offsets of a stage: those of the window that lead to another site of the grid, each such site once."""
        reach = range(-(self.kernel // 2), self.kernel // 2 + 1)
        window = [tuple(dilation * step for step in steps) for steps in product(reach, repeat=len(self.shape))]
        if self.padding == "zeros":
            inside = (all(abs(o) < size for o, size in zip(offset, self.shape, strict=True)) for offset in window)
            return tuple(offset for offset, keep in zip(window, inside, strict=True) if keep and any(offset))
        # Nearer offsets come first, so that a neighbour seen both ways round is called by its short way.
        window.sort(key=lambda offset: (sum(o * o for o in offset), offset))
        distinct: dict[Offset, Offset] = {}
        for offset in window:
            distinct.setdefault(tuple(o % size for o, size in zip(offset, self.shape, strict=True)), offset)
        return tuple(sorted(offset for site, offset in distinct.items() if any(site)))

    def build(self, dim: int, conditioning_dim: int = 0) -> "ConvolutionConditionerModule":
        """The module for a state of `dim` entries."""
        check_count("dim", dim)
        if dim != self.channels * math.prod(self.shape):
            raise ModelError(
                f"ConvolutionConditioner has a grid of shape={self.shape} with channels={self.channels}, which is "
                f"{self.channels * math.prod(self.shape)} entries, got dim={dim}; change shape or channels."
            )
        return ConvolutionConditionerModule(self, dim, conditioning_dim)


class ConvolutionConditionerModule(Conditioner):
    """The network that `ConvolutionConditioner` describes."""

    def __init__(self, options: ConvolutionConditioner, dim: int, conditioning_dim: int) -> None:
        super().__init__(dim, options.features, conditioning_dim)
        self.channels = options.channels
        hidden, activation, modulation = options.hidden, options.activation, options.modulation
        self.bias = nn.Parameter(torch.rand(self.channels, hidden[0]) - 0.5)
        # On a tiny grid a window may hold no other site; such a stage does not exist.
        windows = [Neighbours(options, dilation) for dilation in options.dilations if options.offsets(dilation)]
        self.neighbours = nn.ModuleList(windows)
        self.patch = self.siblings = None
        if windows:
            self.patch = initialise(nn.Linear(windows[0].width, self.channels * hidden[0], bias=False))
        if self.channels > 1:
            self.siblings = OtherEntries(self.channels, hidden[0])
        self.scale = max(1, (self.patch is not None) + (self.siblings is not None)) ** -0.5
        self.modulation = Modulation(hidden[0], conditioning_dim, modulation)
        self.network = pointwise(hidden, activation)
        self.stages = nn.ModuleList(DynamicStage(options, window.width, conditioning_dim) for window in windows[1:])
        self.out = initialise(nn.Linear(hidden[-1], options.features), gain(activation))

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Features (*batch, d, features) of x (*batch, d) and z (*batch, conditioning_dim)."""
        values = x.unflatten(-1, (self.channels, -1)).mT  # (*batch, sites, channels)
        patches = [neighbours(values) for neighbours in self.neighbours]
        a = self.bias.expand(*values.shape, -1)
        if self.patch is not None:
            a = a + self.scale * self.patch(patches[0]).unflatten(-1, self.bias.shape)
        if self.siblings is not None:
            a = a + self.scale * self.siblings(values)
        v = self.network(self.modulation(a.flatten(-3, -2), z))
        for stage, patch in zip(self.stages, patches[1:], strict=True):
            v = stage(v, patch.repeat_interleave(self.channels, dim=-2), z)
        return self.out(v).unflatten(-2, values.shape[-2:]).transpose(-3, -2).flatten(-3, -2)

    def visible(self) -> Tensor:
        """Which states each feature vector sees: (d, d), true at (i, j) where h_i depends on x_j."""
        sites = self.dim // self.channels
        seen = torch.zeros(sites, sites + 1, dtype=torch.bool, device=self.bias.device)
        for neighbours in self.neighbours:
            seen = seen.scatter(1, neighbours.get_buffer("index"), True)
        across = torch.ones(self.channels, self.channels, dtype=torch.bool, device=seen.device)
        itself = torch.eye(sites, dtype=torch.bool, device=seen.device)
        other_channel = ~torch.eye(self.channels, dtype=torch.bool, device=seen.device)
        return torch.kron(across, seen[:, :-1]) | torch.kron(other_channel, itself)


class Neighbours(nn.Module):
    """The values at all offsets from each site, (*batch, sites, channels) -> (*batch, sites, offsets * channels).

    Only these values are copied: a number at the site itself has no way into its patch.

    Args:
        options: Those of the conditioner.
        dilation: The spacing of the window.
    """

    index: Tensor

    def __init__(self, options: ConvolutionConditioner, dilation: int) -> None:
        super().__init__()
        offsets, shape = torch.tensor(options.offsets(dilation)), torch.tensor(options.shape)
        site = torch.cartesian_prod(*map(torch.arange, options.shape)).view(-1, 1, len(options.shape))
        target = site + offsets
        if options.padding == "circular":
            target = target.remainder(shape)
        strides = torch.tensor([math.prod(options.shape[axis + 1 :]) for axis in range(len(options.shape))])
        inside = ((target >= 0) & (target < shape)).all(-1)
        # What lies outside is taken from a row of zeros that stands behind the last site.
        self.register_buffer("index", torch.where(inside, (target * strides).sum(-1), len(site)), persistent=False)
        self.width = len(offsets) * options.channels

    def forward(self, values: Tensor) -> Tensor:
        """The patch of each site."""
        padded = pad(values, (0, 0, 0, 1))
        return padded.index_select(-2, self.index.flatten()).unflatten(-2, self.index.shape).flatten(-2)


class DynamicStage(nn.Module):
    """v' = network(A v + B y, z) with y = K(v) patch: the kernels K (features, width) are linear in v.

    Args:
        options: Those of the conditioner.
        width: The length of a patch.
        conditioning_dim: The length of z.
    """

    def __init__(self, options: ConvolutionConditioner, width: int, conditioning_dim: int) -> None:
        super().__init__()
        hidden, weight_gain = options.hidden, gain(options.activation)
        self.kernels = initialise(nn.Linear(hidden[-1], options.features * width), weight_gain / width**0.5)
        self.carry = initialise(nn.Linear(hidden[-1], hidden[0]), weight_gain / 2**0.5)
        self.mix = initialise(nn.Linear(options.features, hidden[0]), 0.5**0.5)
        self.modulation = Modulation(hidden[0], conditioning_dim, options.modulation)
        self.network = pointwise(hidden, options.activation)

    def forward(self, v: Tensor, patch: Tensor, z: Tensor | None) -> Tensor:
        """The new hidden units (*batch, d, hidden[-1]) of the old ones and the patches (*batch, d, width)."""
        kernels = self.kernels(v).unflatten(-1, (-1, patch.shape[-1]))
        y = (kernels @ patch.unsqueeze(-1)).squeeze(-1)
        return self.network(self.modulation(self.carry(v) + self.mix(y), z))


__all__ = ["ConvolutionConditioner", "ConvolutionConditionerModule"]
