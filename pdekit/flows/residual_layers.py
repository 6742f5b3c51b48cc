"""Planar and Sylvester flows: layers x + A tanh(B x + b) of low rank, whose volume change is a formula."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pdekit.errors import InputError
from pdekit.flows.bijection import Amortised, Bijection, solved
from pdekit.nets.conditioners.checks import check_count
from pdekit.nets.field import seeded

_LEAST = 1e-4  # by which layers stay away from being singular


class PlanarFlow(Bijection):
    """K layers y = x + u tanh(w . x + b), with u corrected so that w . u > -1 and each can be inverted.

    Args:
        dim: d.
        layers: K.
        context_dim: The length of the context that u, w, b are made from by a linear map; 0 for parameters.
        seed: Fixes the initial parameters, whatever torch's random state.

    Raises:
        ModelError: If a number is none.
        InputError: If it is called with other shapes.

    Source: D. J. Rezende and S. Mohamed, Variational inference with normalizing flows, ICML 2015, arXiv 1505.05770.

    Example:
        >>> flow = PlanarFlow(2, layers=4, seed=0)
        >>> y, log_det = flow(torch.zeros(5, 2))
        >>> torch.testing.assert_close(flow.inverse(y), torch.zeros(5, 2))
    """

    def __init__(self, dim: int, layers: int = 8, context_dim: int = 0, *, seed: int | None = None) -> None:
        super().__init__(dim, context_dim)
        check_count("layers", layers)
        self.layers = layers
        with seeded(seed):
            self.made = Amortised(context_dim, layers * (2 * dim + 1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y (*batch, d) and log |det dy/dx| (*batch,)."""
        y, given = self.read(x, context)
        total = y.new_zeros(len(y))
        for u, w, b, s in self._layers(given):
            value = torch.tanh((w * y).sum(-1) + b)
            y = y + u * value[:, None]
            # 1 + w . u (1 - tanh^2), without the difference that cancels where w . u is near -1.
            total = total + torch.log(value * value + s * (1 - value * value))
        return y.reshape(x.shape), total.reshape(x.shape[:-1])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """x (*batch, d): in each layer w . x is the root of an increasing function."""
        x, given = self.read(y, context)
        for u, w, b, s in reversed(self._layers(given)):
            v = solved(s - 1, torch.ones_like(b), b, (w * x).sum(-1))
            x = x - u * torch.tanh(v + b)[:, None]
        return x.reshape(y.shape)

    def _layers(self, context: Tensor | None) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """u, w (n, d), b and s = 1 + w . u > 0 (n,) of each layer."""
        flat = self.made(context).unflatten(-1, (self.layers, 2 * self.dim + 1))
        u, w, b = flat.split([self.dim, self.dim, 1], -1)
        along = (w * u).sum(-1, True)
        s = softplus(along) + _LEAST
        u = u + (s - 1 - along) * w / (w.square().sum(-1, True) + 1e-12)
        return [(u[:, k], w[:, k], b[:, k, 0], s[:, k, 0]) for k in range(self.layers)]


class SylvesterFlow(Bijection):
    """K layers y = x + Q R1 tanh(R2 Q^T x + b), Q with M orthonormal columns, R1 and R2 upper triangular.

    With M = 1 they are planar layers; the volume change costs M.

    Args:
        dim: d.
        layers: K.
        rank: M, at most d; by default 8, or d if that is less.
        context_dim: The length of the context that Q, R1, R2, b are made from by a linear map; 0 for parameters.
        seed: Fixes the initial parameters, whatever torch's random state.

    Raises:
        ModelError: If a number is none.
        InputError: If it is called with other shapes, or rank > dim.

    Source: R. van den Berg, L. Hasenclever, J. M. Tomczak and M. Welling, Sylvester normalizing flows for variational
    inference, UAI 2018, arXiv 1803.05649; here columns are made orthonormal by a QR decomposition.

    Example:
        >>> flow = SylvesterFlow(6, layers=2, rank=3, context_dim=4, seed=0)
        >>> x, context = torch.randn(5, 6).double(), torch.randn(5, 4).double()
        >>> y, log_det = flow.double()(x, context)
        >>> torch.testing.assert_close(flow.inverse(y, context), x)
    """

    def __init__(
        self, dim: int, layers: int = 4, rank: int | None = None, context_dim: int = 0, *, seed: int | None = None
    ) -> None:
        super().__init__(dim, context_dim)
        check_count("layers", layers)
        rank = min(8, dim) if rank is None else rank
        check_count("rank", rank)
        if rank > dim:
            raise InputError(f"rank must be at most dim = {dim}, got {rank}.")
        self.layers, self.rank = layers, rank
        self._sizes = [dim * rank, rank * rank, rank * rank, rank]
        with seeded(seed):
            self.made = Amortised(context_dim, layers * sum(self._sizes))
            # Columns must not be near one another, where a QR decomposition has no derivative.
            self.directions = torch.nn.Parameter(torch.linalg.qr(torch.randn(layers, dim, rank))[0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y (*batch, d) and log |det dy/dx| (*batch,)."""
        y, given = self.read(x, context)
        total = y.new_zeros(len(y))
        for q, r1, r2, b in self._layers(given):
            value = torch.tanh(_times(r2, _times(q.mT, y)) + b)
            y = y + _times(q, _times(r1, value))
            slopes = _diagonal(r1) * _diagonal(r2) * (1 - value * value)
            total = total + torch.log1p(slopes).sum(-1)
        return y.reshape(x.shape), total.reshape(x.shape[:-1])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """x (*batch, d): Q^T x is found from its last entry to its first, each the root of an increasing function."""
        x, given = self.read(y, context)
        for q, r1, r2, b in reversed(self._layers(given)):
            target = _times(q.mT, x)
            v: list[Tensor] = []  # entries i + 1 and after, then their tanh
            values: list[Tensor] = []
            for i in reversed(range(self.rank)):
                shift = b[:, i] + sum((r2[:, i, i + 1 + k] * entry for k, entry in enumerate(v)), x.new_zeros(()))
                rest = target[:, i] - sum(
                    (r1[:, i, i + 1 + k] * entry for k, entry in enumerate(values)), x.new_zeros(())
                )
                root = solved(r1[:, i, i], r2[:, i, i], shift, rest)
                v.insert(0, root)
                values.insert(0, torch.tanh(r2[:, i, i] * root + shift))
            x = x - _times(q, _times(r1, torch.stack(values, -1)))
        return x.reshape(y.shape)

    def _layers(self, context: Tensor | None) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Q (n, d, M), R1, R2 (n, M, M) and b (n, M) of each layer."""
        flat = self.made(context).unflatten(-1, (self.layers, -1))
        raw, r1, r2, b = flat.split(self._sizes, -1)
        q = torch.linalg.qr(self.directions + raw.unflatten(-1, (self.dim, self.rank)))[0]
        first, second = (_triangular(r.unflatten(-1, (self.rank, self.rank))) for r in (r1, r2))
        return [(q[:, k], first[:, k], second[:, k], b[:, k]) for k in range(self.layers)]


def _triangular(r: Tensor) -> Tensor:
    """Upper triangular, with a diagonal within (-1, 1), in single precision too."""
    return r.triu(1) + torch.diag_embed((1 - _LEAST) * torch.tanh(r.diagonal(dim1=-2, dim2=-1)))


def _diagonal(r: Tensor) -> Tensor:
    return r.diagonal(dim1=-2, dim2=-1)


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix @ x[..., None])[..., 0]


__all__ = ["PlanarFlow", "SylvesterFlow"]
