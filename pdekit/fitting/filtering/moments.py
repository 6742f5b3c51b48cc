r"""How the mean and the covariance of a diffusion move over one step, to second order around the mean.

For x ~ N(m, P) and coefficients expanded about m,

    dm/dt = f + 1/2 f_jk P_jk,    dP/dt = J P + P J^T + Q,    Q = E G G^T = G G^T + 1/2 (G G^T)_jk P_jk,

with J = E df/dx. Over a step these are solved with J frozen (local linearisation): the mean feels f + (second order)
growing linearly as P does, the covariance the noise of the middle of the step. What depends on time grows linearly
about its mean over the step. From an exact state this is the method of Shoji and Ozaki (1998), Stochastic Analysis and
Applications 16; for linear drift and additive noise that don't depend on time it is exact.
"""

import math
from dataclasses import dataclass

import sympy
import torch
from sympy import Expr, Matrix, Symbol
from torch import Tensor

from pdekit.symbolic import SymbolicSDE
from pdekit.symbolic.compiled import Compiled

# Matrices are laid out (d, d, R): operations on tiny matrices run R entries at a time.
_LARGEST = 0.5
_ROUNDING = 1e-17


class MomentStep:
    """Mean and covariance after a step.

    Args:
        model: The SDE in any convention.

    Attributes:
        linear: Whether drift is affine, noise additive and neither depends on time, so that any step is exact.
    """

    def __init__(self, model: SymbolicSDE) -> None:
        self.model = model = model.ito()
        self.dim = model.dim
        self._upper = torch.triu_indices(model.dim, model.dim)
        equations = _Equations(model)
        self.linear = equations.linear
        self._rates = Compiled(equations.outputs, (*model.state, *equations.spread), model.time, model.param_symbols)

    def __call__(
        self, t: Tensor, step: Tensor, mean: Tensor, covariance: Tensor, theta: Tensor, substeps: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Mean (d, R) and covariance (d, d, R) after steps (R,) from times (R,)."""
        part = step / substeps
        for k in range(substeps):
            mean, covariance = self._part(t + k * part, part, mean, covariance, theta)
        return mean, covariance

    def affine(self, steps: Tensor, theta: Tensor) -> "AffineSteps":
        """The maps of a linear, autonomous model over distinct steps (K,), made once."""
        zero = steps.new_zeros(self.dim, len(steps))
        drift, _, jacobian, noise = self.rates(steps, steps, zero, zero.expand(self.dim, -1, -1), theta)
        transition, first, _, spread = _integrals(jacobian, noise, steps)
        return AffineSteps(transition, _apply(first, drift), spread)

    def stationary(self, theta: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean (d,) and covariance (d, d) of a linear model's stationary law, J C + C J^T + Q = 0; None without one."""
        zero = theta.new_zeros(self.dim, 1)
        drift, _, jacobian, noise = self.rates(zero[0], zero[0], zero, zero.expand(self.dim, -1, -1), theta)
        matrix, unit = jacobian[..., 0], torch.eye(self.dim, dtype=theta.dtype)
        if not bool(torch.isfinite(matrix).all()) or float(torch.linalg.eigvals(matrix.detach()).real.max()) >= 0.0:
            return None
        system = torch.kron(matrix, unit) + torch.kron(unit, matrix)
        covariance = torch.linalg.solve(system, -noise[..., 0].reshape(-1)).reshape(self.dim, self.dim)
        return torch.linalg.solve(matrix, -drift[:, 0]), covariance

    def _part(self, t: Tensor, step: Tensor, mean: Tensor, covariance: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        drift, growth, jacobian, noise = self.rates(t + 0.5 * step, step, mean, covariance, theta)
        if not self.model.autonomous:
            first, last = (self.rates(when, step, mean, covariance, theta) for when in (t, t + step))
            noise = (first[3] + 4.0 * noise + last[3]) / 6.0
            forced = (last[0] - first[0]) / step  # the change of f with time alone; Simpson's rule has its mean
            drift = (first[0] + 4.0 * drift + last[0]) / 6.0 - 0.5 * step * forced
            growth = forced if growth is None else growth + forced
        transition, first, second, spread = _integrals(jacobian, noise, step)
        mean = mean + _apply(first, drift)
        if growth is not None:
            mean = mean + _apply(second, growth)
        return mean, spread + product(product(transition, covariance), transition.transpose(0, 1))

    def rates(
        self, t: Tensor, step: Tensor, mean: Tensor, covariance: Tensor, theta: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """E f (d, R), its growth per time (d, R), J (d, d, R) and Q in the middle of the step (d, d, R)."""
        d, upper = self.dim, self._upper
        state = torch.cat([mean, covariance[0] if d == 1 else covariance[upper[0], upper[1]]]).T
        out = self._rates(t[:, None], state, theta).T
        drift, jacobian = out[:d], out[d : d + d * d].reshape(d, d, -1)
        noise = out[d + d * d : d + 2 * d * d].reshape(d, d, -1)
        if self.linear:
            return drift, None, jacobian, noise
        growth, noise_growth = out[d + 2 * d * d : 2 * d + 2 * d * d], out[2 * d + 2 * d * d :].reshape(d, d, -1)
        return drift, growth, jacobian, noise + 0.5 * step * noise_growth


@dataclass(frozen=True, eq=False)
class AffineSteps:
    """x to F x + b + N(0, S): F and S (d, d, K), b (d, K)."""

    transition: Tensor
    shift: Tensor
    spread: Tensor

    def at(self, index: Tensor) -> "AffineSteps":
        """Those of these steps, (R,)."""
        return AffineSteps(self.transition[..., index], self.shift[..., index], self.spread[..., index])

    def advance(self, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (d, R) and covariance (d, d, R) after the step."""
        turned = product(product(self.transition, covariance), self.transition.transpose(0, 1))
        return _apply(self.transition, mean) + self.shift, self.spread + turned


class _Equations:
    """The right-hand sides in symbols: E f, J, Q and, unless the model is linear, the rates of E f and Q."""

    def __init__(self, model: SymbolicSDE) -> None:
        self._x, d = model.state, model.dim
        entries = {(j, k): Symbol(f"_P{j}_{k}", real=True) for j in range(d) for k in range(j, d)}
        self.spread = tuple(entries.values())
        self._covariance = Matrix(d, d, lambda j, k: entries[min(j, k), max(j, k)])
        drift, tensor = Matrix(model.drift), Matrix(model.diffusion_matrix * model.diffusion_matrix.T)
        second = any(self._second(f, j, k) != 0 for f in model.drift for j, k in self._pairs())
        still = model.time not in drift.free_symbols | tensor.free_symbols
        self.linear = still and not second and not (tensor.free_symbols & set(model.state))
        jacobian = drift.jacobian(list(self._x)).applyfunc(self._mean)
        mean_drift, noise = drift.applyfunc(self._mean), tensor.applyfunc(self._mean)
        self.outputs = [*mean_drift, *jacobian, *noise]
        if not self.linear:
            rate = jacobian * self._covariance + self._covariance * jacobian.T + noise
            growth = drift.applyfunc(lambda f: self._trace(f, rate))
            carried = tensor.applyfunc(
                lambda q: (
                    self._trace(q, rate)
                    + sum((sympy.diff(q, x) * f for x, f in zip(self._x, mean_drift, strict=True)), sympy.S.Zero)
                )
            )
            self.outputs += [*growth, *carried]

    def _pairs(self) -> list[tuple[int, int]]:
        return [(j, k) for j in range(len(self._x)) for k in range(len(self._x))]

    def _second(self, f: Expr, j: int, k: int) -> Expr:
        return sympy.diff(f, self._x[j], self._x[k])  # type: ignore[return-value]

    def _trace(self, f: Expr, weights: Matrix) -> Expr:
        """1/2 f_jk W_jk."""
        terms = [self._second(f, j, k) * weights[j, k] for j, k in self._pairs()]
        return sum(terms, sympy.S.Zero) / 2  # type: ignore[return-value]

    def _mean(self, f: Expr) -> Expr:
        """E f to second order."""
        return f + self._trace(f, self._covariance)


def product(a: Tensor, b: Tensor) -> Tensor:
    """The matrix products of (n, k, R) and (k, m, R)."""
    return a * b if a.shape[:2] == (1, 1) == b.shape[:2] else (a[:, :, None] * b[None]).sum(1)


def _apply(a: Tensor, x: Tensor) -> Tensor:
    """The matrix times vector products of (d, d, R) and (d, R)."""
    return a[0] * x if len(x) == 1 else (a * x[None]).sum(1)


def _integrals(jacobian: Tensor, noise: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """exp(J h), int exp(J s) ds, int exp(J (h - s)) s ds and int exp(J s) Q exp(J s)^T ds over a step h, (d, d, R).

    By Taylor series over a step short enough for them to converge fast, doubled as often as it takes.
    """
    scalar = len(jacobian) == 1
    norm = float((jacobian.detach().abs().sum(1) * step).max())
    doublings = max(0, math.ceil(math.log2(norm / _LARGEST))) if 0.0 < norm < math.inf else 0
    h = step * 0.5**doublings
    order = _order(norm / 2**doublings)
    scaled = jacobian * h
    unit = torch.eye(len(jacobian), dtype=step.dtype)[..., None]
    # sum_k (hJ)^k / (k + 2)!, then the sums over (k + 1)! and k!, by Horner's rule.
    inner = (unit * (1.0 / math.factorial(order + 2))).expand_as(scaled)
    for k in range(order - 1, -1, -1):
        inner = product(scaled, inner) + unit * (1.0 / math.factorial(k + 2))
    middle = product(scaled, inner) + unit
    transition = product(scaled, middle) + unit
    first, second = h * middle, h * h * inner
    if scalar:
        spread = noise * first * (0.5 * (transition + 1.0))
    else:
        term = spread = h * noise
        for k in range(2, order + 3):
            turned = product(scaled, term) * (1.0 / k)
            term = turned + turned.transpose(0, 1)
            spread = spread + term
    for _ in range(doublings):
        spread = spread + product(product(transition, spread), transition.transpose(0, 1))
        second = product(transition, second) + second + h * first
        first = first + product(transition, first)
        transition = product(transition, transition)
        h = 2.0 * h
    return transition, first, second, spread


def _order(norm: float) -> int:
    """The terms that bring a Taylor series at this norm to rounding; twice the norm counts, that of Q's operator."""
    size, order = 2.0 * norm, 1
    while size ** (order + 1) / math.factorial(order + 2) > _ROUNDING and order < 30:
        order += 1
    return order


__all__ = ["MomentStep", "product"]
