"""The transition density of a one-dimensional SDE as an expansion in the step, derived for any model: Ait-Sahalia's.

With y = int_x0^x du / g the noise has unit strength, the drift is mu = f / g - g' / 2 and V = (mu^2 + dmu/dy) / 2. Then

    log p = -log(2 pi dt) / 2 - log g(x) - y^2 / (2 dt) + C_0(y) + C_1(y) dt + ... + C_K(y) dt^K / K!,

C_0 = int_0^y mu, and Kolmogorov's equation gives, order by order in dt,

    C_k + y C_k' / k = C_(k-1)'' / 2 + sum_(i + j = k - 1) binom(k-1, i) C_i' C_j' / 2,   i, j >= 1,   k >= 2,

and -V on the right for k = 1. No integral is needed in closed form: the C_k are Taylor polynomials in y of order
2 (K - k), which over a step reach as far as the first C that is left out, and their coefficients follow from the
derivatives of V at x0, which SymPy takes (d/dy is g d/dx). y and C_0 are integrals between x0 and x that Gauss's
quadrature takes to an order beyond that of the expansion, so that they hold for large moves as well.

Sources: Ait-Sahalia (2002), Maximum likelihood estimation of discretely sampled diffusions, Econometrica 70; and, for
polynomials in place of integrals, (2008), Closed-form likelihood expansions for multivariate diffusions, Ann. Statist.
36.
"""

import math
from functools import lru_cache
from typing import NamedTuple, cast

import numpy as np
import sympy
import torch
from sympy import Expr
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import InputError, ModelError, UnsupportedError
from pdekit.fitting.densities.protocol import select_pairs
from pdekit.symbolic import SymbolicSDE
from pdekit.symbolic.compiled import Compiled

_ORDERS = (1, 2, 3)
_TAIL = 8.0
_TAIL_NODES = 32
_CHUNK = 5_000


class AitSahaliaTransition:
    """log p of every pair by the expansion of order K, see the module.

    Accurate for steps that are short against the system's own times, and away from boundaries where g vanishes. It is
    not normalised: its mass differs from 1 by terms of the order that is left out. Moves between which g vanishes have
    density 0.

    Args:
        model: An autonomous SDE with one state and one noise, its coefficients differentiable 2 K times.
        pairs: The observations.
        order: K, 1, 2 or 3.

    Raises:
        InputError: If the order is another one.
        UnsupportedError: If the model has several states or noises, depends on time, or lacks derivatives.

    Example:
        >>> import pdekit as pk
        >>> data = pk.Trajectories.from_arrays([0.0, 0.1, 0.2], [[1.0], [1.1], [1.0]])
        >>> model = pk.models.cir()
        >>> density = AitSahaliaTransition(model, data.pairs())
        >>> density.log_density(model.theta({"kappa": 1.0, "theta": 1.0, "sigma": 0.5})).shape
        torch.Size([2])
    """

    def __init__(self, model: SymbolicSDE, pairs: Pairs, *, order: int = 2) -> None:
        if order not in _ORDERS:
            raise InputError(f"The order of Ait-Sahalia's expansion must be 1, 2 or 3, got {order!r}.")
        if model.dim != 1 or model.noise_dim != 1 or not model.autonomous:
            raise UnsupportedError(
                "Ait-Sahalia's expansion needs one state, one noise and coefficients that don't depend on time; "
                "use method='shoji-ozaki' or 'kessler'."
            )
        self.model, self.pairs, self.order = model.ito(), pairs, order
        self.route = f"Ait-Sahalia (expansion to dt^{order})"
        self._compiled = _compiled(self.model, order)
        self._nodes, self._weights = _legendre(order + 2)

    def log_density(self, theta: Tensor) -> Tensor:
        """Log-density of every pair, (n,)."""
        return self.log_density_at(theta, self.pairs.x1)

    def log_density_at(self, theta: Tensor, x1: Tensor) -> Tensor:
        """The same with other end states x1, (n, 1)."""
        return self._evaluate(theta, self.pairs, x1)[:, 0]

    def _evaluate(self, theta: Tensor, pairs: Pairs, x1: Tensor) -> Tensor:
        """log p from every x0 to each of several ends (n, m), (n, m)."""
        dt, order = pairs.dt[:, None], self.order
        y, c0, noise, crossed = self._along(theta, pairs.x0, x1)
        density = c0 - torch.log(noise.abs()) - 0.5 * (y * y / dt + torch.log(2.0 * torch.pi * dt))
        potential = self._compiled.potential(0.0, pairs.x0, theta)
        for k, coefficients in enumerate(_series(list(potential.unbind(-1)), order), start=1):
            density = density + _horner(coefficients, y) * (dt**k / math.factorial(k))
        return torch.where(crossed, -torch.inf, density)

    def _along(self, theta: Tensor, x0: Tensor, x1: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """y and C_0 at the ends, g there, and whether g changes its sign on the way: (n, m) each."""
        way = x1 - x0
        between = x0[..., None] + way[..., None] * self._nodes
        states = torch.cat([between, x1[..., None]], -1)
        g, mu = self._compiled.coefficients(0.0, states[..., None], theta).unbind(-1)
        sign = torch.sign(g.detach())
        crossed = (sign != sign[..., -1:]).any(-1)
        g = torch.where(crossed[..., None], 1.0, g)
        inner = 1.0 / g[..., :-1]
        return way * (inner @ self._weights), way * ((mu[..., :-1] * inner) @ self._weights), g[..., -1], crossed

    def cdf(self, theta: Tensor) -> Tensor:
        """P(X_{t+dt} <= x1 | X_t = x0) of every pair, (n,): the share of the mass, by quadrature, below x1."""
        with torch.no_grad():
            blocks = torch.arange(len(self.pairs)).split(_CHUNK)
            return torch.cat([self._cdf(select_pairs(self.pairs, block), theta) for block in blocks])

    def _cdf(self, pairs: Pairs, theta: Tensor) -> Tensor:
        lower, upper = self.model.domain[0]
        x0, x1 = pairs.x0, pairs.x1
        g = self._compiled.coefficients(0.0, x0, theta)[:, :1]
        center = x0 + self._compiled.drift(0.0, x0, theta)[:, None] * pairs.dt[:, None]
        reach = _TAIL * g.abs() * torch.sqrt(pairs.dt)[:, None]
        least = torch.minimum(center - reach, x1).clamp_min(lower)
        greatest = torch.maximum(center + reach, x1).clamp_max(upper)
        nodes, weights = _legendre(_TAIL_NODES)
        below, above = (
            (self._evaluate(theta, pairs, end + (x1 - end) * nodes).exp() @ weights) * (x1 - end).abs()[:, 0]
            for end in (least, greatest)
        )
        return below / (below + above)


def _series(potential: list[Tensor], order: int) -> list[list[Tensor]]:
    """The Taylor coefficients in y of C_1 ... C_K from those of V."""
    series: list[list[Tensor]] = []
    for k in range(1, order + 1):
        right = [-v for v in potential] if k == 1 else _right_side(series, 2 * (order - k) + 1)
        series.append([c / (1.0 + n / k) for n, c in enumerate(right)])
    return series


def _right_side(series: list[list[Tensor]], count: int) -> list[Tensor]:
    """Of the equation for the C that follows C_1 ... C_(k-1): `count` Taylor coefficients."""
    k, last = len(series) + 1, series[-1]
    right = [0.5 * (n + 2) * (n + 1) * last[n + 2] for n in range(count)]
    slopes = [[(n + 1) * c for n, c in enumerate(terms[1:])] for terms in series]
    for i in range(1, k - 1):
        first, second = slopes[i - 1], slopes[k - 2 - i]
        for n in range(count):
            for m in range(n + 1):
                right[n] = right[n] + 0.5 * math.comb(k - 1, i) * first[m] * second[n - m]
    return right


def _horner(coefficients: list[Tensor], at: Tensor) -> Tensor:
    value = coefficients[-1][:, None]
    for c in reversed(coefficients[:-1]):
        value = torch.addcmul(c[:, None], value, at)
    return value


def _legendre(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss's quadrature on (0, 1)."""
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(count))
    return 0.5 + 0.5 * nodes, 0.5 * weights


class _Compiled(NamedTuple):
    """What the expansion needs of a model: V's Taylor coefficients in y; g and mu; f."""

    potential: Compiled
    coefficients: Compiled
    drift: Compiled


def potential_in_y(model: SymbolicSDE, order: int) -> list[Expr]:
    """The Taylor coefficients of V in y at x0, as expressions in the state: 2 K - 1 of them.

    Args:
        model: An autonomous SDE with one state and one noise; a Stratonovich model is converted.
        order: K.

    Example:
        >>> import pdekit as pk
        >>> potential_in_y(pk.SymbolicSDE("x", "-x", "1"), 2)
        [x**2/2 - 1/2, x, 1/2]
    """
    model = model.ito()
    along = lambda u: sympy.expand(model.diffusion_matrix[0, 0] * sympy.diff(u, model.state[0]))  # noqa: E731 - d/dy
    mu = _slope(model)
    potential = [sympy.expand((mu**2 + along(mu)) / 2)]
    for n in range(1, 2 * order - 1):
        potential.append(along(potential[-1] / n))
    return potential


def _slope(model: SymbolicSDE) -> Expr:
    """mu, the drift in y of an Ito model."""
    g = cast(Expr, model.diffusion_matrix[0, 0])
    return sympy.expand(model.drift[0] / g - sympy.diff(g, model.state[0]) / 2)


@lru_cache(maxsize=64)
def _compiled(model: SymbolicSDE, order: int) -> _Compiled:
    try:
        return _Compiled(
            model.function(potential_in_y(model, order)),
            model.function([model.diffusion_matrix[0, 0], _slope(model)]),
            model.function(model.drift[0]),
        )
    except ModelError as error:
        raise UnsupportedError(
            f"Ait-Sahalia's expansion of order {order} needs drift and noise with {2 * order} derivatives, which "
            f"{model.name or 'this model'} has not. {error}"
        ) from error
