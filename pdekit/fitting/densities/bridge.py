"""The transition density of a one-dimensional SDE over a short step, by a Brownian bridge in Lamperti's coordinate.

With y = int dx / g the noise has unit strength and drift mu = f / g - g' / 2. By Girsanov's theorem

    p(x1, dt | x0) = N(y1 - y0; 0, dt) / g(x1) * exp(int mu dy) * E[exp(-int_0^dt V(Y_s) ds)],   V = (mu^2 + mu') / 2,

Y a Brownian bridge from y0 to y1 (Dacunha-Castelle and Florens-Zmirou 1986; Beskos et al. 2006). The logarithm of the
expectation is -dt V_line - dt^2 V'' / 12 + dt^3 V'^2 / 24 + ...: V averaged along the straight line, the bridge's
width, and the variance of the integral, all derivatives in y.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import sympy as sp
import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import NumericalError
from pdekit.fitting.densities.protocol import select_pairs
from pdekit.symbolic import SymbolicSDE

_LINE = torch.tensor([0.5 - 0.15**0.5, 0.5, 0.5 + 0.15**0.5], dtype=torch.float64)
_LINE_WEIGHTS = torch.tensor([5.0, 8.0, 5.0], dtype=torch.float64) / 18.0
_TAYLOR_ORDER = 4
_TAIL_NODES = 24
_CHUNK = 20_000


@dataclass(frozen=True)
class BridgeExpressions:
    """What the bridge needs of a model, as SymPy expressions in its state.

    Attributes:
        noise: g.
        slope: mu = f / g - g' / 2, the drift in y.
        steepness: d mu / dy.
        potential: V.
        force: dV/dy.
        curvature: d^2 V / dy^2.
        taylor: The coefficients c_k of x(y + s) = x + sum_k c_k s^k, k = 1 ... 4.
        constant_noise: Whether g does not depend on x.
    """

    noise: sp.Expr
    slope: sp.Expr
    steepness: sp.Expr
    potential: sp.Expr
    force: sp.Expr
    curvature: sp.Expr
    taylor: tuple[sp.Expr, ...]
    constant_noise: bool

    @classmethod
    def of(cls, model: SymbolicSDE) -> "BridgeExpressions":
        """Derives them for an autonomous model with one state and one noise."""
        model = model.ito()
        (x,), (f,), g = model.state, model.drift, cast(sp.Expr, model.diffusion_matrix[0, 0])
        along = lambda expression: g * sp.diff(expression, x)  # noqa: E731 - d/dy
        mu = sp.expand(f / g - sp.diff(g, x) / 2)
        steepness = sp.expand(along(mu))
        potential = sp.expand((mu**2 + steepness) / 2)
        force = sp.expand(along(potential))
        taylor: list[sp.Expr] = [g]
        for order in range(2, _TAYLOR_ORDER + 1):
            taylor.append(sp.expand(along(taylor[-1]) / order))
        return cls(g, mu, steepness, potential, force, sp.expand(along(force)), tuple(taylor), x not in g.free_symbols)


class BridgeTransition:
    """log p of short steps, see the module.

    Args:
        model: An autonomous SDE with one state.
        pairs: The observations.
        order: 2, or 1 for the straight line alone (their difference tells whether 2 is enough).
        expressions: The model's `BridgeExpressions`, if they are at hand.
    """

    def __init__(
        self, model: SymbolicSDE, pairs: Pairs, *, order: int = 2, expressions: BridgeExpressions | None = None
    ) -> None:
        self.model, self.pairs, self.order = model, pairs, order
        self.expressions = expressions or BridgeExpressions.of(model)
        self.route = f"Brownian bridge, order {order}"
        e = self.expressions
        self._noise = model.function(e.noise)
        self._line = model.function([e.slope, e.potential])
        self._middle = model.function([e.force, e.curvature])
        self._taylor = model.function(list(e.taylor))
        self._x0, self._x1, self._dt = pairs.x0[:, 0], pairs.x1[:, 0], pairs.dt
        self._between = (self._x0[:, None] + (self._x1 - self._x0)[:, None] * _LINE)[..., None]

    def log_density(self, theta: Tensor) -> Tensor:
        """Log-density of every pair, (n,)."""
        distance = self._distance(theta)
        noise_end = self._noise(0.0, self._x1[:, None], theta).abs()
        return self._log_density_in_y(theta, distance, self._states_on_line(theta, distance)) - torch.log(noise_end)

    def _log_density_in_y(self, theta: Tensor, distance: Tensor, line: Tensor) -> Tensor:
        """log p of y1 = y0 + distance, (n,), given the states x at the nodes of the line between them, (n, 3, 1)."""
        dt = self._dt
        slope, potential = self._line(0.0, line, theta).unbind(-1)
        girsanov = distance * (slope @ _LINE_WEIGHTS) - dt * (potential @ _LINE_WEIGHTS)
        if self.order > 1:
            force, curvature = self._middle(0.0, line[:, 1], theta).unbind(-1)
            width, variance = dt * dt * curvature / 12.0, dt**3 * force * force / 24.0
            # Equal to the terms themselves where they are small, and bounded, or nearly so, where the expansion fails:
            # a likelihood must not grow without end toward parameters for which it is wrong.
            girsanov = girsanov - width / torch.sqrt(1.0 + width * width) + torch.log1p(variance)
        return girsanov - 0.5 * (distance * distance / dt + torch.log(2.0 * torch.pi * dt))

    def _distance(self, theta: Tensor) -> Tensor:
        """y1 - y0, (n,)."""
        if self.expressions.constant_noise:
            return (self._x1 - self._x0) / self._noise(0.0, self._x0[:1, None], theta)
        noise = self._noise(0.0, self._between, theta)
        if not bool((torch.sign(noise.detach()) == torch.sign(noise.detach()[0, 0])).all()):
            raise NumericalError("The diffusion vanishes between two observations, where the bridge can't cross.")
        return (self._x1 - self._x0) * ((1.0 / noise) @ _LINE_WEIGHTS)

    def _states_on_line(self, theta: Tensor, distance: Tensor) -> Tensor:
        """States x at the nodes of the straight line from y0 to y0 + distance, (n, 3, 1)."""
        coefficients = self._taylor(0.0, self._x0[:, None], theta)
        offset = distance[:, None] * _LINE
        x = coefficients[:, None, -1]
        for order in range(_TAYLOR_ORDER - 2, -1, -1):
            x = coefficients[:, None, order] + x * offset
        return (self._x0[:, None] + x * offset)[..., None]

    def cdf(self, theta: Tensor) -> Tensor:
        """P(X_{t+dt} <= x1 | X_t = x0) of every pair, (n,), by quadrature of the density over the shorter tail."""
        with torch.no_grad():
            out = [
                self._cdf(select_pairs(self.pairs, chosen), theta)
                for chosen in torch.arange(len(self._dt)).split(_CHUNK)
            ]
            return torch.cat(out)

    def _cdf(self, pairs: Pairs, theta: Tensor) -> Tensor:
        ends = BridgeTransition(self.model, pairs, order=self.order, expressions=self.expressions)
        root = torch.sqrt(pairs.dt)
        # Standardised so that the law of w is close to a standard normal; the tail beyond eight adds nothing.
        slope = self._line(0.0, pairs.x0, theta)[:, 0] * root
        w1 = ends._distance(theta) / root - slope
        lower = w1 <= 0
        width = torch.where(lower, w1.clamp(min=-8.0) + 9.0, 9.0 - w1.clamp(max=8.0)) * torch.where(lower, -1.0, 1.0)
        nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(_TAIL_NODES))
        w = w1[:, None] + width[:, None] * (0.5 + 0.5 * nodes)
        count = torch.full((len(w),), _TAIL_NODES)
        repeated = Pairs(
            *(getattr(pairs, name).repeat_interleave(count, 0) for name in ("t", "dt", "x0", "x1", "path"))
        )
        tail = BridgeTransition(self.model, repeated, order=self.order, expressions=self.expressions)
        distance = ((w + slope[:, None]) * root[:, None]).flatten()
        density = tail._log_density_in_y(theta, distance, tail._states_on_line(theta, distance)).exp().view_as(w)
        mass = (density @ weights) * 0.5 * width.abs() * root
        increasing = self._noise(0.0, pairs.x0, theta) > 0
        return torch.where(lower == increasing, mass, 1.0 - mass).clamp(0.0, 1.0)
