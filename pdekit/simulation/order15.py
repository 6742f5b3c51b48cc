"""A strong order 1.5 Runge-Kutta scheme for separable noise."""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from pdekit.sde import Convention
from pdekit.simulation.equation import Equation


@dataclass(frozen=True)
class _Tableau:
    """Coefficients of a stochastic Runge-Kutta method with 2 drift and 4 diffusion stages, in Rossler's symbols.

    Construction checks Rossler's conditions for strong order 1.5 (his theorem 5.1).
    """

    alpha: tuple[float, ...]
    beta1: tuple[float, ...]
    beta2: tuple[float, ...]
    beta3: tuple[float, ...]
    beta4: tuple[float, ...]
    a0: float
    b0: float
    a1: tuple[float, ...]
    b1: tuple[tuple[float, ...], ...]

    @cached_property
    def mix(self) -> list[list[float]]:
        """The weight of z, z^2 - 1, I_10/h^(3/2) and z (z^2 - 1) in each diffusion stage."""
        b1, b2, b3, b4 = (np.array(b) for b in (self.beta1, self.beta2, self.beta3, self.beta4))
        return np.stack([b1 - b4 / 3, b2 / 2, b3, b4 / 6], axis=1).tolist()

    def __post_init__(self) -> None:
        beta = np.array([self.beta1, self.beta2, self.beta3, self.beta4])
        a1, b1 = np.array(self.a1), np.array(self.b1)
        reach = b1.sum(1)
        conditions = {
            "alpha e": (sum(self.alpha), 1.0),
            "alpha A0 e": (self.alpha[1] * self.a0, 0.5),
            "alpha B0 e": (self.alpha[1] * self.b0, 1.0),
            "alpha (B0 e)^2": (self.alpha[1] * self.b0**2, 1.5),
            "beta e": (beta.sum(1), [1, 0, 0, 0]),
            "beta A1 e": (beta @ a1, [1, 0, -1, 0]),
            "beta B1 e": (beta @ reach, [0, 1, 0, 0]),
            "beta (B1 e)^2": (beta @ reach**2, [1, 0, -1, 2]),
            "beta B1 B1 e": (beta @ b1 @ reach, [0, 0, 0, 1]),
        }
        for name, (value, target) in conditions.items():
            if not np.allclose(value, target, rtol=0, atol=1e-14):
                raise ValueError(f"The tableau violates the order condition on {name}: {value}, expected {target}.")


# Rossler's SRI1W1. Its third and fourth drift stages have weight zero and sit at x: they are the first stage.
_SRI1W1 = _Tableau(
    alpha=(1 / 3, 2 / 3),
    beta1=(-1.0, 4 / 3, 2 / 3, 0.0),
    beta2=(-1.0, 4 / 3, -1 / 3, 0.0),
    beta3=(2.0, -4 / 3, -2 / 3, 0.0),
    beta4=(-2.0, 5 / 3, -2 / 3, 1.0),
    a0=3 / 4,
    b0=3 / 2,
    a1=(0.0, 1 / 4, 1.0, 1 / 4),
    b1=((0.0, 0.0, 0.0, 0.0), (0.5, 0.0, 0.0, 0.0), (-1.0, 0.0, 0.0, 0.0), (-5.0, 3.0, 0.5, 0.0)),
)


@dataclass(frozen=True)
class StrongOrder15:
    """Rossler's SRI1W1: strong order 1.5 for separable noise, any coupling in the drift and time dependence.

    Derivative free: 2 drift and 4 diffusion evaluations a step. A Stratonovich equation is converted to Ito first.
    The scheme assumes smooth coefficients: near the edge of a domain where g vanishes like a square root, `Milstein`
    is as accurate and cheaper.

    Source: A. Rossler, SIAM J. Numer. Anal. 48 (2010) 922, table 5.2.
    """

    order: ClassVar[float] = 1.5
    integrals: ClassVar[bool] = True
    convention: ClassVar[Convention] = "ito"
    needs_separable: ClassVar[bool] = True

    def step(self, eq: Equation, t: Any, x: Tensor, h: float, dw: Tensor, dz: Tensor | None) -> Tensor:
        """One step; see `Scheme.step`."""
        assert dz is not None  # the stream draws it because `integrals` is set
        c, root = _SRI1W1, sqrt(h)
        f = eq.drift(t, x)
        g = [eq.diffusion(t, x)]
        stage = x.add(f, alpha=c.a0 * h).addcmul_(g[0], dz, value=c.b0 / h)
        moved = x.add(f, alpha=c.alpha[0] * h).add_(eq.drift(t + c.a0 * h, eq.inside(stage)), alpha=c.alpha[1] * h)
        for a, row in zip(c.a1[1:], c.b1[1:], strict=True):
            stage = x.add(f, alpha=a * h)
            for b, known in zip(row, g, strict=False):
                if b:
                    stage.add_(known, alpha=b * root)
            g.append(eq.diffusion(t + a * h, eq.inside(stage)))
        for known, weight in zip(g, _weights(c, h, dw, dz), strict=True):
            moved.addcmul_(known, weight, value=root)
        return moved


def _weights(c: _Tableau, h: float, dw: Tensor, dz: Tensor) -> list[Tensor]:
    """(beta1 I_1 + beta2 I_11/sqrt(h) + beta3 I_10/h + beta4 I_111/h) / sqrt(h) for each diffusion stage."""
    # With z = dW/sqrt(h): I_11 = h (z^2 - 1)/2 and I_111 = h^(3/2) (z (z^2 - 1) - 2 z)/6.
    z = dw / sqrt(h)
    hermite = z.square().sub_(1)
    integrals = (z, hermite, dz / h**1.5, z * hermite)
    return [_combination(row, integrals) for row in c.mix]


def _combination(row: list[float], terms: tuple[Tensor, ...]) -> Tensor:
    # Not a matrix product: a small one spread over busy cores takes longer than all the rest of the step.
    total = terms[0] * row[0]
    for coefficient, term in zip(row[1:], terms[1:], strict=True):
        if coefficient:
            total.add_(term, alpha=coefficient)
    return total
