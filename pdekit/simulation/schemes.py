"""Euler-Maruyama, Milstein and Heun."""

from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar

from torch import Tensor

from pdekit.sde import Convention
from pdekit.simulation.equation import Equation


@dataclass(frozen=True)
class EulerMaruyama:
    """x + f h + G dW: strong order 1/2, or 1 if the noise is additive; weak order 1; any noise.

    A Stratonovich equation is converted to Ito first.

    Source: Kloeden and Platen (1992), section 10.2.
    """

    order: ClassVar[float] = 0.5
    integrals: ClassVar[bool] = False
    convention: ClassVar[Convention] = "ito"
    needs_separable: ClassVar[bool] = False

    def step(self, eq: Equation, t: Any, x: Tensor, h: float, dw: Tensor, dz: Tensor | None) -> Tensor:
        """One step; see `Scheme.step`."""
        return eq.euler(x, eq.drift(t, x), h, eq.diffusion(t, x), dw)


@dataclass(frozen=True)
class Milstein:
    """Euler-Maruyama plus g g' (dW^2 - h)/2 per state: strong order 1 for separable noise.

    g g' is the difference quotient (g(x + g sqrt(h)) - g(x)) / sqrt(h), so coefficients need no derivative and a square
    root may vanish at the edge of the domain. A Stratonovich equation is converted to Ito first.

    Source: Kloeden and Platen (1992), section 11.1, (1.3).
    """

    order: ClassVar[float] = 1.0
    integrals: ClassVar[bool] = False
    convention: ClassVar[Convention] = "ito"
    needs_separable: ClassVar[bool] = True

    def step(self, eq: Equation, t: Any, x: Tensor, h: float, dw: Tensor, dz: Tensor | None) -> Tensor:
        """One step; see `Scheme.step`."""
        g = eq.diffusion(t, x)
        slope = eq.diffusion(t, eq.inside(x.add(g, alpha=sqrt(h)))) - g
        moved = eq.euler(x, eq.drift(t, x), h, g, dw)
        return moved.addcmul_(slope, dw.square().sub_(h), value=0.5 / sqrt(h))


@dataclass(frozen=True)
class Heun:
    """Trapezoidal predictor-corrector for Stratonovich equations: strong order 1 for commutative noise, else 1/2.

    Derivative free and for any noise: the equation is never converted. It converges to the Stratonovich solution, so it
    refuses an Ito equation unless its noise is additive.

    Source: W. Rumelin, SIAM J. Numer. Anal. 19 (1982) 604.
    """

    order: ClassVar[float] = 1.0
    integrals: ClassVar[bool] = False
    convention: ClassVar[Convention] = "stratonovich"
    needs_separable: ClassVar[bool] = False

    def step(self, eq: Equation, t: Any, x: Tensor, h: float, dw: Tensor, dz: Tensor | None) -> Tensor:
        """One step; see `Scheme.step`."""
        f, g = eq.drift(t, x), eq.diffusion(t, x)
        end = eq.inside(eq.euler(x, f, h, g, dw))
        f, g = f + eq.drift(t + h, end), g + eq.diffusion(t + h, end)
        return eq.euler(x, f, 0.5 * h, g, 0.5 * dw)
