"""The planar flow in continuous time: a sum of M units, each gated, with parameters that move with time."""

from typing import Any

import torch
from torch import Tensor, nn

from pdekit.errors import InputError
from pdekit.nets.conditioners.checks import check_count
from pdekit.nets.field import seeded


class PlanarField(nn.Module):
    r"""v(t, x) = 1/M sum_n s_n(t) u_n(t) tanh(w_n(t) . x + b_n(t)), with gates s_n(t) in (0, 1).

    Its divergence is a formula that costs M d: 1/M sum_n s_n (u_n . w_n) (1 - tanh^2); give `CNF` the trace
    `field.with_divergence`.

    Args:
        dim: The number of states d.
        width: M.
        hidden: Units of the network that makes w, b, u and s from t; 0 for parameters that don't depend on time.
        seed: Fixes the initial parameters, whatever torch's random state.

    Raises:
        ModelError: If a number is none.

    Source: R. T. Q. Chen et al., Neural ordinary differential equations, NeurIPS 2018, arXiv 1806.07366, section 4.

    Example:
        >>> field = PlanarField(2, width=8, seed=0)
        >>> velocity, spread = field.with_divergence(0.5, torch.zeros(3, 2))
        >>> velocity.shape, spread.shape
        (torch.Size([3, 2]), torch.Size([3]))
    """

    def __init__(self, dim: int, width: int = 32, hidden: int = 32, *, seed: int | None = None) -> None:
        super().__init__()
        for name, value, least in (("dim", dim, 1), ("width", width, 1), ("hidden", hidden, 0)):
            check_count(name, value, least=least)
        self.dim, self.width = dim, width
        size = width * (2 * dim + 2)
        with seeded(seed):
            if hidden:
                self.made = nn.Sequential(
                    nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, size)
                )
            else:
                self.made = None
                self.constant = nn.Parameter(torch.randn(size))

    def parameters_at(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """w, u (k, M, d), b and s (k, M) at times (k, 1)."""
        m, d = self.width, self.dim
        flat = self.constant.expand(len(t), -1) if self.made is None else self.made(t)
        w, u, b, gate = flat.split([m * d, m * d, m, m], -1)
        return w.unflatten(-1, (m, d)), u.unflatten(-1, (m, d)), b, torch.sigmoid(gate)

    def forward(self, t: Any, x: Tensor) -> Tensor:
        """v at times that are a number or (*batch, 1) and states (*batch, d), (*batch, d)."""
        return self.with_divergence(t, x)[0]

    def with_divergence(self, t: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """v (*batch, d) and div v (*batch,)."""
        if x.ndim == 0 or x.shape[-1] != self.dim:
            raise InputError(f"x must be states (*batch, {self.dim}), got shape {tuple(x.shape)}.")
        flat = x.reshape(-1, self.dim)
        times = torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1, 1)
        w, u, b, gate = self.parameters_at(times)  # one set for all, or one for each state
        value = torch.tanh((flat[:, None] * w).sum(-1) + b)
        gated = gate * value / self.width
        slope = gate * (1.0 - value * value) / self.width
        velocity = (gated[..., None] * u).sum(-2)
        return velocity.reshape(x.shape), (slope * (u * w).sum(-1)).sum(-1).reshape(x.shape[:-1])


__all__ = ["PlanarField"]
