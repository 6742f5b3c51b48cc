"""Weak-form regression: d/dt E[phi] = E[L phi] for test functions phi, in any dimension.

Over an interval between snapshots, the change of a mean of phi is the integral of the mean of L phi, which is linear in
drift and diffusion tensor. The integral is that of a cubic spline through the snapshots. All of it is linear in sample
means, so that the covariance C(theta) of what is left, r(theta), is known, and theta minimises

    r(theta)^T C(theta)^{-1} r(theta),

the generalised method of moments with continuously updated weights: since C moves with theta, the noise in the means of
L phi does not pull the drift toward zero, as it does in a regression.

Source: L. P. Hansen, J. Heaton and A. Yaron, Finite-sample properties of some alternative GMM estimators, J. Bus. Econ.
Stat. 14 (1996) 262.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.linalg import cho_factor, solve_triangular
from scipy.optimize import least_squares
from scipy.stats import chi2
from torch import Tensor

from pdekit.data.snapshots import Snapshots
from pdekit.errors import ConvergenceError
from pdekit.fitting.coefficients import Coefficients
from pdekit.fitting.inference.bijection import Bijection
from pdekit.fitting.snapshots.moments import TestFunctions
from pdekit.symbolic import SymbolicSDE

_MOST_EQUATIONS = 120
_STARTS, _DRAWS, _KEPT = 4, 100, 12
_STARTING_SAMPLES = 300
# Combinations of means that hardly vary have errors of quadrature greater than their noise: this share of every mean's
# variance is added to what is known of it.
_RIDGE = 1e-1
_ABSURD = 1e8
_FAR = 5.0  # standard errors
_SIGNAL = 3.0  # times the noise: what an effect must be to be one


@dataclass(frozen=True, eq=False)
class WeakEstimate:
    """The minimum.

    Args:
        theta: All parameters, (k,).
        covariance: Of theta, (k, k); zero rows where a parameter was held.
        statistic: r^T C^{-1} r, chi-square with `freedom` degrees of freedom if the model holds.
        freedom: Equations less parameters.
        equations: How many equations there are.
        converged: Whether the search ended where it should.
        others: Further parameters to start a search from, for snapshots too far apart for integrals over time: the
            solutions with weights that hold for no drift at all, and the best of random draws.
        vague: Parameters about which the equations say no more than sampling errors would.
    """

    theta: Tensor
    covariance: np.ndarray
    statistic: float
    freedom: float
    equations: int
    converged: bool
    others: tuple[Tensor, ...]
    vague: tuple[str, ...]

    @property
    def p_value(self) -> float:
        """How likely so large a statistic is."""
        return float(chi2.sf(self.statistic, max(self.freedom, 1.0)))


class WeakEquations:
    """r(theta) and C(theta).

    Args:
        model: An SDE.
        data: The snapshots.
        functions: The test functions.
    """

    def __init__(self, model: SymbolicSDE, data: Snapshots, functions: TestFunctions) -> None:
        self.data, self.functions = data, functions
        self._coefficients = Coefficients(model)
        self._states, which = data.pooled()
        self._t = data.times[which][:, None]
        self._values = functions.values(self._states)
        self._bumps = self._values[:, : len(functions.places)]
        self._levels = self._means(self._values)
        times = data.times.numpy()
        k = len(times)
        joined = _joined(k - 1, max(2, _MOST_EQUATIONS // max(functions.count, 1)))
        spline = CubicSpline(times, np.eye(k)).antiderivative()(times)
        self.quadrature = joined @ np.diff(spline, axis=0)  # (I, K)
        self.change = joined @ np.diff(np.eye(k), axis=0)
        self.size = len(joined) * functions.count

    def whitened(self, theta: Tensor) -> np.ndarray:
        """C(theta)^{-1/2} r(theta), (I F,)."""
        rates = self._rates(theta)
        return self._white(self._covariance(rates), self._residual(rates))

    def weighted(self, theta: Tensor, covariance: np.ndarray) -> np.ndarray:
        """The same for a covariance that is given."""
        return self._white(covariance, self._residual(self._rates(theta)))

    def covariance(self, theta: Tensor | None) -> np.ndarray:
        """C(theta), (I F, I F); without theta that of the changes alone."""
        return self._covariance(torch.zeros_like(self._values) if theta is None else self._rates(theta))

    def noise(self, ahead: Tensor, behind: Tensor, covariance: np.ndarray) -> float:
        """E |C^{-1/2} d|^2 for the sampling error d of r(ahead) - r(behind)."""
        difference = self._rates(ahead) - self._rates(behind)
        scale, factor = _factor(covariance)
        both = self._covariance(difference, changes=0.0) / np.outer(scale, scale)
        half = solve_triangular(factor, both, lower=True)
        return float(np.trace(solve_triangular(factor, half.T, lower=True)))

    def _rates(self, theta: Tensor) -> Tensor:
        """L phi at all samples, (N, F)."""
        with torch.no_grad():
            noise = self._coefficients.noise(self._t, self._states, theta)
            drift = self._coefficients.drift(self._t, self._states, theta)
            return self.functions.generated(self._states, drift, 0.5 * noise @ noise.mT, self._bumps)

    def _means(self, values: Tensor) -> np.ndarray:
        return torch.stack([part.mean(0) for part in values.split(list(self.data.counts))]).numpy()

    def _residual(self, rates: Tensor) -> np.ndarray:
        return self.change @ self._levels - self.quadrature @ self._means(rates)

    def _covariance(self, rates: Tensor, changes: float = 1.0) -> np.ndarray:
        f = self.functions.count
        parts, covariances = [], []
        for k, both in enumerate(torch.cat([self._values, rates], -1).split(list(self.data.counts))):
            both = both - both.mean(0)
            covariances.append((both.T @ both / (len(both) * (len(both) - 1))).numpy().reshape(2, f, 2, f))
            parts.append(np.stack([changes * self.change[:, k], -self.quadrature[:, k]]))
        total = np.einsum("kai,kbj,kafbg->ifjg", np.stack(parts), np.stack(parts), np.stack(covariances), optimize=True)
        return total.reshape(self.size, self.size)

    def _white(self, covariance: np.ndarray, residual: np.ndarray) -> np.ndarray:
        scale, factor = _factor(covariance)
        return solve_triangular(factor, residual.reshape(-1) / scale, lower=True)


def _factor(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Deviations s and lower triangular L with C + ridge = s L L^T s."""
    scale = np.sqrt(np.diag(covariance))
    scale = np.where(scale > 0, scale, 1.0)
    correlation = covariance / np.outer(scale, scale) + _RIDGE * np.eye(len(scale))
    return scale, np.tril(cho_factor(correlation, lower=True)[0])


def _joined(intervals: int, most: int) -> np.ndarray:
    """Sums of consecutive intervals where there are too many, (I, K - 1)."""
    kept = min(intervals, most)
    return np.array([[float(i * kept // intervals == j) for i in range(intervals)] for j in range(kept)])


def weak_regression(
    model: SymbolicSDE,
    data: Snapshots,
    *,
    start: Mapping[str, float] | None = None,
    fixed: Mapping[str, float] | None = None,
    seed: int = 0,
    samples: int | None = None,
) -> WeakEstimate:
    """The parameters that the weak equations give.

    Raises:
        ConvergenceError: If no starting point makes sense of the data.
    """
    fixed = dict(fixed or {})
    names = model.param_names
    free = np.array([name not in fixed for name in names])
    bounds = [model.params[name] for name in names]
    bijection = Bijection([b for b, f in zip(bounds, free, strict=True) if f])
    theta = torch.tensor([fixed.get(name, 0.0) for name in names], dtype=torch.float64)
    positions = torch.from_numpy(np.flatnonzero(free))

    def full(eta: np.ndarray) -> Tensor:
        return theta.index_put((positions,), bijection.forward(torch.from_numpy(np.asarray(eta, dtype=float))))

    functions = TestFunctions.placed(data, seed)
    given = {name: value for name, value in (start or {}).items() if name not in fixed}
    etas = _starts(model, data, functions, bijection, full, free, given, seed)
    equations = WeakEquations(model, _thinned(data, samples) if samples else data, functions)
    found = _two_step(equations, full, etas[0])
    vague = _vague(equations, full, found.x, free, model.param_names)
    moving = least_squares(
        _finite(lambda e: equations.whitened(full(e)), equations.size), found.x, x_scale="jac", max_nfev=20
    )
    # The criterion is also small where C is large, at absurd parameters; there the fixed weights are believed.
    if (
        not vague
        and np.isfinite(moving.x).all()
        and np.square(found.jac @ (moving.x - found.x)).sum() < _FAR**2 * len(found.x)
    ):
        found = moving
    slope = bijection.slope(torch.from_numpy(found.x)).numpy()
    # What the whitened residual's covariance is without the ridge: nearly the identity.
    scale, factor = _factor(true := equations.covariance(full(found.x)))
    half = solve_triangular(factor, true / np.outer(scale, scale), lower=True)
    left = solve_triangular(factor, half.T, lower=True)
    inverse = np.linalg.pinv(found.jac.T @ found.jac, hermitian=True)
    covariance = np.zeros((len(names), len(names)))
    spread = inverse @ found.jac.T @ left @ found.jac @ inverse
    covariance[np.ix_(free, free)] = spread * np.outer(slope, slope)
    mean, square = np.trace(left), float((left**2).sum())
    return WeakEstimate(
        theta=full(found.x),
        covariance=covariance,
        # Satterthwaite's chi-square with the mean and the variance of a weighted sum of squares.
        statistic=2.0 * float(found.cost) * mean / square,
        freedom=mean**2 / square - float(free.sum()),
        equations=equations.size,
        converged=bool(found.status > 0),
        others=tuple(full(e) for e in etas),
        vague=vague,
    )


def _vague(
    equations: WeakEquations,
    full: Callable[[np.ndarray], Tensor],
    eta: np.ndarray,
    free: np.ndarray,
    names: tuple[str, ...] | list[str],
) -> tuple[str, ...]:
    """Parameters whose effect on the residual is hardly more than the sampling error of that effect.

    Means of L phi have errors; where the true effect of a parameter is none, these look like one, and the more so the
    farther away from the truth one is: such a parameter runs off with a small error bar.
    """
    covariance = equations.covariance(full(eta))
    columns, noises = [], []
    for i in range(len(eta)):
        step = np.zeros(len(eta))
        step[i] = 1e-4
        ahead, behind = full(eta + step), full(eta - step)
        columns.append(equations.weighted(ahead, covariance) - equations.weighted(behind, covariance))
        noises.append(equations.noise(ahead, behind, covariance))
    matrix = np.stack(columns, -1)
    found = []
    for i, name in enumerate(n for n, moves in zip(names, free, strict=True) if moves):
        others = np.delete(matrix, i, 1)
        own = matrix[:, i]
        if others.shape[1]:
            own = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
        if not own @ own > _SIGNAL * noises[i]:
            found.append(name)
    return tuple(found)


def _two_step(equations: WeakEquations, full: Callable[[np.ndarray], Tensor], eta: np.ndarray) -> Any:
    """Least squares with the weights of a first estimate, twice."""
    found: Any = None
    for _ in range(2):
        covariance = equations.covariance(full(eta))
        misfit = _finite(lambda e, c=covariance: equations.weighted(full(e), c), equations.size)
        found = least_squares(misfit, eta, x_scale="jac", max_nfev=20)
        eta = found.x
    return found


def _finite(function: Callable[[np.ndarray], np.ndarray], size: int) -> Callable[[np.ndarray], np.ndarray]:
    def bounded(eta: np.ndarray) -> np.ndarray:
        try:
            with np.errstate(all="ignore"):  # coefficients may be absurd far from any solution
                values = function(eta)
        except (np.linalg.LinAlgError, ValueError):  # not positive definite, not finite
            return np.full(size, _ABSURD)
        return np.clip(np.nan_to_num(values, nan=_ABSURD, posinf=_ABSURD, neginf=-_ABSURD), -_ABSURD, _ABSURD)

    return bounded


def _thinned(data: Snapshots, most: int) -> Snapshots:
    parts = (x[torch.linspace(0, len(x) - 1, min(len(x), most)).long()] for x in data.samples)
    return Snapshots(data.times, tuple(parts), data.names)


def _starts(
    model: SymbolicSDE,
    data: Snapshots,
    functions: TestFunctions,
    bijection: Bijection,
    full: Callable[[np.ndarray], Tensor],
    free: np.ndarray,
    given: dict[str, float],
    seed: int,
) -> list[np.ndarray]:
    """Least-squares solutions with fixed weights on part of the samples, the best first; then the best draws."""
    equations = WeakEquations(model, _thinned(data, _STARTING_SAMPLES), functions)
    covariance = equations.covariance(None)
    misfit = _finite(lambda eta: equations.weighted(full(eta), covariance), equations.size)
    names = [name for name, f in zip(model.param_names, free, strict=True) if f]
    rng = np.random.default_rng(seed)
    units = sizes(data)
    trials = []
    for _ in range(_DRAWS):
        values = [given.get(name, _draw(rng, units, *b)) for name, b in zip(names, bijection.bounds, strict=True)]
        eta = bijection.inverse(torch.tensor(values, dtype=torch.float64)).numpy()
        trials.append((float(np.square(misfit(eta)).sum()), eta))
        if len(given) == len(names):
            break
    trials.sort(key=lambda trial: trial[0])
    if not trials[0][0] < _ABSURD:
        raise ConvergenceError(
            "No starting values were found under which drift and diffusion are finite at all samples. Check the "
            "model's domain against the data, or give start={...}."
        )
    found = [least_squares(misfit, eta, x_scale="jac", max_nfev=20) for _, eta in trials[:_STARTS]]
    found.sort(key=lambda solution: solution.cost)
    return [solution.x for solution in found] + [eta for _, eta in trials[:_KEPT]]


def sizes(data: Snapshots) -> np.ndarray:
    """Sizes that a parameter may have: powers of the states' spread times powers of a rate, and one."""
    states, _ = data.pooled()
    spread = float(states.std(0).mean())
    rate = 1.0 / data.duration
    noise = spread * rate**0.5
    return np.array([1.0, spread, rate, spread * rate, noise, noise**2, rate / spread**2, float(states.abs().mean())])


def _draw(rng: np.random.Generator, units: np.ndarray, lower: float, upper: float) -> float:
    if np.isfinite(lower) and np.isfinite(upper):
        return float(rng.uniform(lower, upper))
    size = float(rng.choice(units)) * 10.0 ** rng.uniform(-1.0, 1.0)
    if np.isfinite(lower):
        return lower + size
    return upper - size if np.isfinite(upper) else size * float(rng.choice([-1.0, 1.0]))


__all__ = ["WeakEquations", "WeakEstimate", "sizes", "weak_regression"]
