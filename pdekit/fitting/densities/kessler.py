"""The transition density of Kessler: a normal law whose moments are expanded in the step.

With the generator L u = d_t u + f . grad u + tr(D hess u), E[u(X_dt)] = sum_k dt^k / k! (L^k u)(x0) + .... For u = x
that is the mean. For the covariance one does not need products x_i x_j, in which everything of lower order cancels:
with the carre du champ Gamma(u, v) = L(u v) - u L v - v L u = 2 grad u . D grad v, the coefficients

    c_k(i, j) = L^k (x_i x_j) - sum_l binom(k, l) L^l x_i L^(k-l) x_j

of Cov[X_i, X_j] = sum_k dt^k / k! c_k(i, j) obey c_0 = 0 and

    c_k(i, j) = L c_(k-1)(i, j) + sum_l binom(k-1, l) Gamma(L^l x_i, L^(k-1-l) x_j).

Source: Kessler (1997), Estimation of an ergodic diffusion from discrete observations, Scand. J. Statist. 24.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import sympy
import torch
from sympy import Expr
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import InputError, ModelError, UnsupportedError
from pdekit.fitting.densities.euler import states_without_noise
from pdekit.fitting.densities.gaussian import GaussianTransition
from pdekit.symbolic import SymbolicSDE
from pdekit.symbolic.compiled import Compiled

_ORDERS = (1, 2, 3)
# A position driven by a velocity spreads like dt^3, which no shorter expansion sees.
_DEGENERATE = 3


class KesslerTransition(GaussianTransition):
    """The normal law with the moments of the Ito-Taylor expansion up to dt^J.

    Order 1 is Euler's density. Where the truncated covariance is not positive definite, as at steps that are long
    against the system's own times, the density is -inf.

    Args:
        model: The SDE, in any dimension, its coefficients differentiable in state and time 2 (J - 1) times.
        pairs: The observations.
        order: J, 1, 2 or 3.

    Raises:
        InputError: If the order is another one.
        UnsupportedError: If a coefficient has no such derivatives, or the noise does not reach every state within
            `order`.

    Example:
        >>> import pdekit as pk
        >>> data = pk.Trajectories.from_arrays([0.0, 0.1, 0.2], [[1.0], [0.9], [0.9]])
        >>> model = pk.SymbolicSDE("x", "-k*x", "s")
        >>> density = KesslerTransition(model, data.pairs())
        >>> displacement, variance = density.moments(model.theta({"k": 1.0, "s": 0.5}))
        >>> round(displacement[0].item(), 6), round(variance[0].item(), 6)   # -.1 + .005; .25 (.1 - .01)
        (-0.095, 0.0225)
    """

    def __init__(self, model: SymbolicSDE, pairs: Pairs, *, order: int = 2) -> None:
        model = model.ito()
        super().__init__(model, pairs)
        if order not in _ORDERS:
            raise InputError(f"The order of Kessler's expansion must be 1, 2 or 3, got {order!r}.")
        quiet = states_without_noise(model)
        if quiet and order < _DEGENERATE:
            raise UnsupportedError(
                f"Kessler's density of order {order} is singular: the noise does not reach {', '.join(quiet)} "
                "directly. Take method='shoji-ozaki', in which the noise spreads during a step."
            )
        self.order = order
        self.route = f"Kessler (normal, moments to dt^{order})"
        self._mean, self._covariance = _compiled(model, order)

    def moments(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n, d) of x1 - x0 and covariance (n, d, d) of every pair."""
        t, dt, x0, dim = self.pairs.t[:, None], self.pairs.dt, self.pairs.x0, self.model.dim
        mean = _polynomial(self._mean(t, x0, theta).unflatten(-1, (self.order, dim)), dt)
        lower = _polynomial(self._covariance(t, x0, theta).unflatten(-1, (self.order, dim * (dim + 1) // 2)), dt)
        return mean, lower[:, _lower_triangle(dim)]


def _polynomial(coefficients: Tensor, dt: Tensor) -> Tensor:
    """sum_k dt^k / k! c_k for k = 1 ... J: (n, J, m) to (n, m)."""
    powers = torch.stack([dt**k / math.factorial(k) for k in range(1, coefficients.shape[1] + 1)], -1)
    return (coefficients * powers[..., None]).sum(1)


def _lower_triangle(dim: int) -> Tensor:
    """Where entry (i, j) of a symmetric matrix is among those with j <= i, row after row: (d, d)."""
    rows, columns = torch.tril_indices(dim, dim)
    position = torch.zeros(dim, dim, dtype=torch.long)
    position[rows, columns] = position[columns, rows] = torch.arange(len(rows))
    return position


@dataclass(frozen=True)
class Generator:
    """L u = d_t u + f . grad u + tr(D hess u) of an Ito equation, on SymPy expressions."""

    model: SymbolicSDE

    def __call__(self, u: Expr) -> Expr:
        """L u."""
        model = self.model
        slopes = [sympy.diff(u, x) for x in model.state]
        terms = [sympy.diff(u, model.time), *(f * slope for f, slope in zip(model.drift, slopes, strict=True))]
        tensor = model.diffusion_tensor
        for i, slope in enumerate(slopes):
            for j, x in enumerate(model.state):
                if tensor[i, j] != 0:
                    terms.append(tensor[i, j] * sympy.diff(slope, x))
        return sympy.expand(sympy.Add(*terms))

    def gamma(self, u: Expr, v: Expr) -> Expr:
        """The carre du champ 2 grad u . D grad v."""
        left, right = ([sympy.diff(w, x) for x in self.model.state] for w in (u, v))
        tensor, dims = self.model.diffusion_tensor, range(self.model.dim)
        return sympy.expand(sympy.Add(*(2 * left[i] * tensor[i, j] * right[j] for i in dims for j in dims)))


def moment_coefficients(model: SymbolicSDE, order: int) -> tuple[list[list[Expr]], list[list[Expr]]]:
    """The coefficients of dt^k / k! for k = 1 ... J in the moments of x1 given x0.

    Args:
        model: The SDE; a Stratonovich model is converted.
        order: J.

    Returns:
        Those of the mean of x1 - x0, J lists of d; and those of the covariance's lower triangle, row after row.

    Example:
        >>> import pdekit as pk
        >>> moment_coefficients(pk.SymbolicSDE("x", "-k*x", "s"), 2)
        ([[-k*x], [k**2*x]], [[s**2], [-2*k*s**2]])
    """
    model = model.ito()
    generator = Generator(model)
    means: list[list[Expr]] = [list(model.state)]
    for _ in range(order):
        means.append([generator(u) for u in means[-1]])
    entries = [(i, j) for i in range(model.dim) for j in range(i + 1)]
    covariances: list[list[Expr]] = [[sympy.S.Zero] * len(entries)]
    for k in range(1, order + 1):
        covariances.append(
            [
                generator(last)
                + sympy.Add(
                    *(math.comb(k - 1, m) * generator.gamma(means[m][i], means[k - 1 - m][j]) for m in range(k))
                )
                for (i, j), last in zip(entries, covariances[-1], strict=True)
            ]
        )
    return means[1:], covariances[1:]


@lru_cache(maxsize=64)
def _compiled(model: SymbolicSDE, order: int) -> tuple[Compiled, Compiled]:
    means, covariances = moment_coefficients(model, order)
    try:
        return tuple(model.function([e for row in rows for e in row]) for rows in (means, covariances))  # pyright: ignore
    except ModelError as error:
        raise UnsupportedError(
            f"Kessler's density of order {order} needs drift and noise with {2 * order - 2} derivatives, which "
            f"{model.name or 'this model'} has not. {error}"
        ) from error
