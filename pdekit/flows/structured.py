"""Fields with structure built in: without divergence, and Hamiltonian ones."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from pdekit.errors import InputError, ModelError
from pdekit.nets import MLP
from pdekit.nets.conditioners.checks import check_count
from pdekit.nets.field import seeded


class _OfPotentials(nn.Module, ABC):
    """v = sum_m S_m grad psi_m with antisymmetric S_m: div v = sum_m S_m : Hess psi_m = 0."""

    def __init__(self, potentials: nn.Module, dim: int) -> None:
        super().__init__()
        self.potentials, self.dim = potentials, dim

    @abstractmethod
    def matrices(self) -> Tensor:
        """S_m, (M, d, d)."""

    def potential(self, t: Any, x: Tensor) -> Tensor:
        """psi_m at times that are a number or (*batch, 1) and states (*batch, d), (*batch, M)."""
        found = self.potentials(t, x)
        return found if found.ndim == x.ndim else found.unsqueeze(-1)

    def forward(self, t: Any, x: Tensor) -> Tensor:
        """v, (*batch, d)."""
        if x.ndim == 0 or x.shape[-1] != self.dim:
            raise InputError(f"x must be states (*batch, {self.dim}), got shape {tuple(x.shape)}.")
        grad = torch.is_grad_enabled()
        with torch.enable_grad():
            z = x if x.requires_grad and grad else x.detach().requires_grad_()
            psi = self.potential(t, z)
            slopes = [
                torch.autograd.grad(psi[..., m].sum(), z, create_graph=grad, retain_graph=True)[0]
                for m in range(psi.shape[-1])
            ]
        stacked = torch.stack(slopes, -2)
        return torch.einsum("mij,...mj->...i", self.matrices().to(stacked), stacked)

    def with_divergence(self, t: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """v, and its divergence, which is zero: the `trace` of a `CNF`."""
        velocity = self(t, x)
        return velocity, torch.zeros_like(velocity[..., 0])


class DivergenceFreeField(_OfPotentials):
    """v = sum_m (A_m - A_m^T) grad psi_m(t, x): it moves volumes about and keeps their size.

    In two states one potential, the stream function, gives every such field; in d states d (d - 1) / 2 do, for which
    each matrix may be one pair of axes. Fewer are a choice: cheaper, and not all fields.

    Args:
        dim: The number of states d, at least 2.
        potentials: How many, M; by default d (d - 1) / 2, at most 16.
        hidden: Units in each hidden layer of the network psi.
        seed: Fixes the initial parameters, whatever torch's random state.

    Raises:
        ModelError: If a number is none, or d is one.

    Source: J. Richter-Powell, Y. Lipman and R. T. Q. Chen, Neural conservation laws, NeurIPS 2022, arXiv 2210.01741,
    which writes such fields as the divergence of an antisymmetric matrix; here that matrix is sum_m psi_m S_m.

    Example:
        >>> DivergenceFreeField(2, seed=0)(0.0, torch.zeros(5, 2)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self, dim: int, potentials: int | None = None, hidden: tuple[int, ...] = (64, 64), *, seed: int | None = None
    ) -> None:
        check_count("dim", dim, least=2)
        pairs = dim * (dim - 1) // 2
        count = min(pairs, 16) if potentials is None else potentials
        check_count("potentials", count)
        super().__init__(MLP(dim, hidden, out_dim=count, time=True, seed=seed), dim)
        with seeded(None if seed is None else seed + 1):
            if count == pairs:  # one for each pair of axes: every field
                rows, columns = torch.triu_indices(dim, dim, 1)
                halves = torch.zeros(count, dim, dim)
                halves[torch.arange(count), rows, columns] = 1.0
            else:
                halves = torch.randn(count, dim, dim) / dim**0.5
        self.halves = nn.Parameter(halves)

    def matrices(self) -> Tensor:
        """A_m - A_m^T, (M, d, d)."""
        return self.halves - self.halves.mT


class HamiltonianField(_OfPotentials):
    """q' = dH/dp, p' = -dH/dq for a state (q, p): keeps H, where it does not depend on time, and volumes.

    Args:
        dim: The number of states, even: d/2 coordinates and then d/2 momenta.
        hidden: Units in each hidden layer of the network H.
        time: Whether H depends on time.
        hamiltonian: Instead of a network of its own: H(t, x), a module (*batch, d) -> (*batch,).
        seed: Fixes the initial parameters, whatever torch's random state.

    Raises:
        ModelError: If dim is odd.

    Source: S. Greydanus, M. Dzamba and J. Yosinski, Hamiltonian neural networks, NeurIPS 2019, arXiv 1906.01563.

    Example:
        >>> field = HamiltonianField(4, seed=0)
        >>> field.energy(0.0, torch.zeros(3, 4)).shape
        torch.Size([3])
    """

    canonical: Tensor

    def __init__(
        self,
        dim: int,
        hidden: tuple[int, ...] = (64, 64),
        *,
        time: bool = False,
        hamiltonian: nn.Module | None = None,
        seed: int | None = None,
    ) -> None:
        check_count("dim", dim, least=2)
        if dim % 2:
            raise ModelError(f"dim must be even, coordinates and momenta, got {dim}.")
        own = hamiltonian or MLP(dim, hidden, out_dim="scalar", time=time, seed=seed)
        super().__init__(own, dim)
        self.time = time or hamiltonian is not None
        half = torch.eye(dim // 2)
        zero = torch.zeros_like(half)
        self.register_buffer("canonical", torch.cat([torch.cat([zero, half], 1), torch.cat([-half, zero], 1)])[None])

    def matrices(self) -> Tensor:
        """The canonical J, (1, d, d)."""
        return self.canonical

    def potential(self, t: Any, x: Tensor) -> Tensor:
        """H, (*batch, 1)."""
        return self.energy(t, x).unsqueeze(-1)

    def energy(self, t: Any, x: Tensor) -> Tensor:
        """H at times that are a number or (*batch, 1) and states (*batch, d), (*batch,)."""
        return self.potentials(t, x) if self.time else self.potentials(x)


__all__ = ["DivergenceFreeField", "HamiltonianField"]
