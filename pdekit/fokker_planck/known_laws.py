"""Equations of one state with a known law: geometric Brownian motion and the square-root process.

Both are recognised by what their coefficients are, however they are written. With y = x - c, the distance to the point
where the noise vanishes, mirrored where the process lives below it:

- dy = b y dt + s y dW: log y is a Brownian motion;
- dy = (a + b y) dt + s sqrt(y) dW: y is a scaled noncentral chi-squared variable.
"""

from dataclasses import dataclass

import numpy as np
import sympy
from torch.distributions import LogNormal

from pdekit.errors import InputError, UnsupportedError
from pdekit.fokker_planck.density import Density
from pdekit.fokker_planck.gaussian import GaussianMixture
from pdekit.fokker_planck.law import Distributed, Law, Point, Samples
from pdekit.fokker_planck.log_normal import LogNormalMixture
from pdekit.fokker_planck.square_root import SquareRootLaw
from pdekit.fokker_planck.statement import Statement

_EXACT = 1e-12


@dataclass(frozen=True)
class Family:
    """dx = (a + b (x - c)) dt + g dW with g^2 = s2 (x - c)^power.

    Args:
        power: 1 for the square-root process, 2 for geometric Brownian motion.
        a: The drift at c; zero for power 2.
        b: Its slope.
        s2: The scale of g^2, positive; a square-root process below c is mirrored first.
        center: c.
        side: 1 where y = x - c, -1 where y = c - x; for power 2 the start decides.
    """

    power: int
    a: float
    b: float
    s2: float
    center: float
    side: float = 1.0


def read_family(problem: Statement) -> Family | None:
    """The family of a problem stated with symbols; None if it is in neither."""
    model = problem.model
    if model is None or model.dim != 1 or not model.autonomous:
        return None
    (x,) = model.state
    ito = model.ito()
    drift = _polynomial(ito.drift[0], x, 1)
    square = _polynomial(sympy.Add(*(g**2 for g in ito.diffusion_matrix.flat())), x, 2)
    if drift is None or square is None:
        return None
    (f0, f1), (q0, q1, q2) = drift, square
    if q2 != 0:
        center = -q1 / (2 * q2)
        if sympy.cancel(q1**2 - 4 * q0 * q2) != 0 or sympy.cancel(f0 + f1 * center) != 0:
            return None
        found = Family(2, 0.0, float(f1), float(q2), float(center))
    elif q1 != 0:
        center, side = -q0 / q1, float(sympy.sign(q1))
        found = Family(1, side * float(f0 + f1 * center), float(f1), abs(float(q1)), float(center), side)
        if found.a <= 0:  # it ends at its boundary
            return None
    else:
        return None
    return found if _unconfined(problem, found) else None


def _polynomial(expression: sympy.Expr, x: sympy.Symbol, degree: int) -> list[sympy.Expr] | None:
    """Coefficients of 1, x, ... up to a degree; None if it is no such polynomial."""
    # With decimals, differences that are zero would not cancel.
    exact = sympy.simplify(sympy.nsimplify(expression, rational=True))
    found = sympy.expand(exact).as_poly(x)
    if found is None or found.degree() > degree or found.free_symbols_in_domain:
        return None
    return ([*reversed(found.all_coeffs()), *[sympy.S.Zero] * degree])[: degree + 1]


def _unconfined(problem: Statement, family: Family) -> bool:
    """Whether each finite end is the boundary that the process has anyway, and reflects if it is reached."""
    ends = zip((problem.domain.lower[0], problem.domain.upper[0]), problem.domain.sides[0], strict=True)
    allowed = ("natural",) if family.power == 2 else ("natural", "reflecting")
    return all(
        not np.isfinite(end) or (abs(end - family.center) <= 1e-12 * max(1, abs(end)) and side in allowed)
        for end, side in ends
    )


def moved(law: Law, family: Family, t0: float, times: np.ndarray) -> list[Density]:
    """The law at each of the times.

    Raises:
        UnsupportedError: If the law at the start is not one that stays in a closed form.
        InputError: If a start lies where the process can't be.
    """
    step = _log_normal if family.power == 2 else _square_root
    return [step(law, family, float(t - t0)) for t in times]


def _log_normal(law: Law, family: Family, t: float) -> Density:
    growth, variance = (family.b - family.s2 / 2) * t, family.s2 * t
    if isinstance(law, Distributed) and isinstance(law.distribution, LogNormal) and family.center == 0:
        loc, scale = float(law.distribution.loc), float(law.distribution.scale)
        logs, side, variance = np.array([[loc + growth]]), 1.0, variance + scale**2
    else:
        y = _starts(law, "points, samples and, for a noise that vanishes at zero, LogNormal laws") - family.center
        if (y == 0).any() or len(np.unique(np.sign(y))) > 1:
            raise InputError(
                f"Geometric Brownian motion stays on one side of {family.center:g}, where it can't start; the initial "
                "law has points there, or on both sides."
            )
        side = float(np.sign(y[0]))
        logs = np.log(np.abs(y))[:, None] + growth
    inner = GaussianMixture(np.full(len(logs), 1 / len(logs)), logs, np.array([[[variance]]]))
    return LogNormalMixture(inner, family.center, side, _EXACT)


def _square_root(law: Law, family: Family, t: float) -> Density:
    y = family.side * (_starts(law, "points and samples") - family.center)
    if (y < 0).any():
        raise InputError(f"The square-root process can't start beyond {family.center:g}; the initial law has points.")
    if t == 0:
        raise UnsupportedError("At the start the law is made of points, which have no density: ask for later times.")
    flow = t if family.b == 0 else float(np.expm1(family.b * t) / family.b)
    rate = 2 / (family.s2 * flow)
    shape = 2 * family.a / family.s2 - 1
    return SquareRootLaw(shape, rate, rate * np.exp(family.b * t) * y, family.center, family.side, _EXACT)


def _starts(law: Law, allowed: str) -> np.ndarray:
    if isinstance(law, Point | Samples):
        return np.atleast_1d(law.x).reshape(-1)
    raise UnsupportedError(
        f"ClosedForm() moves {allowed} through this equation, not this initial law. Use Grid(), or give samples of it."
    )


def settled(family: Family) -> SquareRootLaw:
    """The stationary law: a gamma law for a square-root process that is drawn back.

    Raises:
        UnsupportedError: If there is none.
    """
    if family.power == 2 or family.b >= 0:
        name = "Geometric Brownian motion" if family.power == 2 else "A square-root process that is not drawn back"
        raise UnsupportedError(f"{name} has no stationary law. Ask for times with solve().")
    shape = 2 * family.a / family.s2 - 1
    return SquareRootLaw(shape, -2 * family.b / family.s2, np.zeros(1), family.center, family.side, _EXACT)


__all__ = ["Family", "moved", "read_family", "settled"]
