"""The classics of at most three equations: Prothero-Robinson, van der Pol and the Oregonator."""

import math

import torch
from torch import Tensor, nn

from verification.stiff.problem import Published, StiffProblem

BARI = "F. Mazzia and C. Magherini, Test Set for Initial Value Problem Solvers, release 2.4, University of Bari, 2008"


class ProtheroRobinson(nn.Module):
    """y' = -lambda (y - cos t) - sin t; y(0) = 1 gives y = cos t whatever lambda is."""

    def __init__(self, stiffness: float) -> None:
        super().__init__()
        self.stiffness = stiffness

    def forward(self, t: Tensor | float, x: Tensor) -> Tensor:
        """The rate of change, (*batch, 1)."""
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        return -self.stiffness * (x - t.cos()) - t.sin()


class VanDerPol(nn.Module):
    """y1' = y2, y2' = mu (1 - y1^2) y2 - y1."""

    def __init__(self, mu: float) -> None:
        super().__init__()
        self.mu = mu

    def forward(self, t: Tensor | float, x: Tensor) -> Tensor:
        """The rates of change, (*batch, 2)."""
        y1, y2 = x.unbind(-1)
        return torch.stack([y2, self.mu * (1 - y1**2) * y2 - y1], -1)


class Oregonator(nn.Module):
    """y1' = s (y2 + y1 (1 - q y1 - y2)), y2' = (y3 - (1 + y1) y2) / s, y3' = w (y1 - y3)."""

    s, q, w = 77.27, 8.375e-6, 0.161

    def forward(self, t: Tensor | float, x: Tensor) -> Tensor:
        """The rates of change, (*batch, 3)."""
        y1, y2, y3 = x.unbind(-1)
        first = self.s * (y2 + y1 * (1 - self.q * y1 - y2))
        return torch.stack([first, (y3 - (1 + y1) * y2) / self.s, self.w * (y1 - y3)], -1)


def prothero_robinson() -> StiffProblem:
    """lambda = 1e6: the linear problem on which the order of Runge-Kutta methods is reduced."""
    return StiffProblem(
        name="prothero_robinson",
        field=ProtheroRobinson(1e6),
        y0=torch.ones(1, dtype=torch.float64),
        start=0.0,
        end=10.0,
        solution=lambda t: torch.tensor([math.cos(t)], dtype=torch.float64),
        note="order reduction",
        source="A. Prothero and A. Robinson, Math. Comp. 28 (1974) 145-162",
    )


def van_der_pol() -> StiffProblem:
    """mu = 1000: slow arcs, and jumps within 1e-3 of time between them."""
    return StiffProblem(
        name="van_der_pol",
        field=VanDerPol(1e3),
        y0=torch.tensor([2.0, 0.0], dtype=torch.float64),
        start=0.0,
        end=2000.0,
        atol_factor=1e-3,  # y2 is about 1e-3 on the slow arcs
        published=Published(2000.0, (0, 1), (0.1706167732170469e1, -0.8928097010248125e-3)),
        note="two jumps, on which the step falls by a factor of 1e6",
        source=f"E. Hairer and G. Wanner, Solving Ordinary Differential Equations II, Springer, 1996, IV.10; {BARI}",
    )


def oregonator() -> StiffProblem:
    """The Belousov-Zhabotinsky reaction in three variables that range over five decades."""
    return StiffProblem(
        name="oregonator",
        field=Oregonator(),
        y0=torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
        start=0.0,
        end=360.0,
        atol_factor=1e-6,
        published=Published(360.0, (0, 1, 2), (0.1000814870318523e1, 0.1228178521549917e4, 0.1320554942846706e3)),
        note="a small error in the phase of a jump is a large one in the state",
        source=f"R. J. Field and R. M. Noyes, J. Chem. Phys. 60 (1974) 1877-1884; {BARI}",
    )


__all__ = ["Oregonator", "ProtheroRobinson", "VanDerPol", "oregonator", "prothero_robinson", "van_der_pol"]
