"""Random hollow fields: rates over four decades, every state coupled with every other."""

import math

import torch
from torch import Tensor

from verification.stiff.polynomial import PolynomialField, coefficients
from verification.stiff.problem import StiffProblem

COUPLINGS = (0.3, 0.8, 1.5)


class RandomHollow(PolynomialField):
    """f_i = -lambda_i (x_i - c tanh(sum_(j != i) W_ij x_j + b_i cos(omega_i t + phi_i))).

    lambda is log-spaced in [1, 1e4]; W is Gaussian of variance 1/d with zero diagonal, so its spectral radius is about
    1 (the circular law); b is normal, omega uniform in [1/2, 2], phi uniform in [0, 2 pi].

    Args:
        dim: The number of states d.
        coupling: c. The larger, the less the diagonal of the Jacobian says about the rest.
        seed: Fixes W, b, omega and phi.
    """

    rates: Tensor
    weight: Tensor
    amplitude: Tensor
    frequency: Tensor
    phase: Tensor

    def __init__(self, dim: int, coupling: float, *, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.coupling = coupling
        weight = torch.randn(dim, dim, generator=generator, dtype=torch.float64) / math.sqrt(dim)
        self.register_buffer("weight", weight.fill_diagonal_(0.0))
        self.register_buffer("amplitude", torch.randn(dim, generator=generator, dtype=torch.float64))
        uniform = torch.rand(2, dim, generator=generator, dtype=torch.float64)
        self.register_buffer("frequency", 0.5 + 1.5 * uniform[0])
        self.register_buffer("phase", 2 * math.pi * uniform[1])
        self.register_buffer("rates", torch.logspace(0, 4, dim, dtype=torch.float64))

    def condition(self, t: Tensor | float, x: Tensor) -> Tensor:
        """(lambda c tanh(...), -lambda), (*batch, d, 2)."""
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        drive = self.amplitude.to(x) * (self.frequency.to(x) * t + self.phase.to(x)).cos()
        target = self.coupling * (x @ self.weight.to(x).T + drive).tanh()
        rates = self.rates.to(x)
        return coefficients(x, [rates * target, -rates])


def random_hollow(coupling: float) -> StiffProblem:
    """200 states; the spectral radius of Jacobi's iteration grows with the coupling."""
    y0 = torch.randn(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return StiffProblem(
        name=f"hollow_{coupling}",
        field=RandomHollow(200, coupling, seed=0),
        y0=y0,
        start=0.0,
        end=10.0,
        note=f"coupling {coupling}, no band, no sparsity",
        source="Made for this set; the form is that of R. T. Q. Chen and D. Duvenaud, NeurIPS 2019, arXiv 1912.03579",
    )


__all__ = ["COUPLINGS", "RandomHollow", "random_hollow"]
