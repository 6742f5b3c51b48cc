"""Minimisation of a smooth function of few variables whose gradient is exact and whose domain has holes.

A quasi-Newton (BFGS) descent started from a differenced Hessian, then Newton steps. A trial point where the function is
not finite (a likelihood of impossible parameters) shortens the step; library line searches give up there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Within a hundredth of a standard error (decrement 1e-4 / 2) a likelihood's Hessian stays as it is.
_STILL = 1e-4
_MOST_HESSIANS = 8

Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended.

    Attributes:
        point: The best point, (k,).
        value: The function there.
        gradient: Its gradient there, (k,).
        hessian: Central differences of the exact gradient there, (k, k).
        decrement: g^T H^{-1} g / 2, the drop that one more Newton step promises; infinite if H is not positive
            definite.
        evaluations: How often the function and its gradient were evaluated.
        converged: Whether the decrement is below the tolerance.
    """

    point: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    decrement: float
    evaluations: int
    converged: bool


@dataclass(frozen=True)
class Descent:
    """Where a quasi-Newton descent came to rest.

    Attributes:
        point: The point, (k,).
        value: The function there.
        gradient: Its gradient there, (k,).
        inverse: An approximation to the inverse Hessian, (k, k).
        evaluations: How often the function and its gradient were evaluated.
    """

    point: np.ndarray
    value: float
    gradient: np.ndarray
    inverse: np.ndarray
    evaluations: int


def minimise(
    objective: Objective, start: np.ndarray, *, scale: np.ndarray | None = None, tolerance: float = 1e-8
) -> Minimum:
    """Minimises `objective` from `start`: `descend`, then `finish`.

    Args:
        objective: Returns (value, gradient); a value that is not finite marks a point outside the domain.
        start: Starting point, (k,); the objective must be finite there.
        scale: The size of a sensible change of each variable, (k,); 1 by default.
        tolerance: Stop when another Newton step would lower the value by less than this.
    """
    return finish(objective, descend(objective, start, scale=scale), scale=scale, tolerance=tolerance)


def descend(
    objective: Objective,
    start: np.ndarray,
    *,
    scale: np.ndarray | None = None,
    inverse: np.ndarray | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 200,
    callback: Callable[[float], None] | None = None,
) -> Descent:
    """Quasi-Newton (BFGS) descent until the next step promises less than `tolerance`.

    Args:
        objective: As in `minimise`.
        start: As in `minimise`.
        scale: As in `minimise`.
        inverse: The inverse Hessian to begin with, (k, k); by default from forward differences of the gradient.
        tolerance: Stop when g^T H^{-1} g / 2 is below this.
        max_iterations: Most steps.
        callback: Called with the value after every accepted step.
    """
    counted = _Counter(objective)
    point = np.array(start, dtype=float)
    size = _size(point, scale)
    value, gradient = counted(point)
    if inverse is None:
        inverse = _inverse_or_descent(_forward_hessian(counted, point, gradient, size), point, size)
    for _ in range(max_iterations):
        direction = -inverse @ gradient
        if -0.5 * float(gradient @ direction) < tolerance:
            break
        step = _line_search(counted, point, value, gradient, direction, size)
        if step is None:
            break
        move, new_value, new_gradient = step
        inverse = _bfgs_update(inverse, move, new_gradient - gradient)
        point, value, gradient = point + move, new_value, new_gradient
        if callback:
            callback(value)
    return Descent(point, value, gradient, inverse, counted.count)


def finish(
    objective: Objective, descent: Descent, *, scale: np.ndarray | None = None, tolerance: float = 1e-8
) -> Minimum:
    """Newton steps from where a descent came to rest; the Hessian of the last one is reported."""
    counted = _Counter(objective, descent.evaluations)
    point, value, gradient, inverse = descent.point, descent.value, descent.gradient, descent.inverse
    size = _size(point, scale)
    for _ in range(_MOST_HESSIANS):
        hessian = central_hessian(counted, point, difference_steps(inverse, point, size))
        inverse = _inverse_or_descent(hessian, point, size)
        first = decrement = newton_decrement(hessian, gradient)
        while decrement >= tolerance:
            step = _line_search(counted, point, value, gradient, -inverse @ gradient, size)
            if step is None:
                # At the rounding of a sum of many terms nothing descends any more; that is convergence too.
                converged = decrement < max(tolerance, 1e-9 * abs(value))
                return Minimum(point, value, gradient, hessian, decrement, counted.count, converged)
            move, value, gradient = step
            point = point + move
            decrement, previous = newton_decrement(hessian, gradient), decrement
            if not decrement < 0.1 * previous:
                break
        # With so small a first step the Hessian has not changed; otherwise it is made anew where the result is.
        if decrement < tolerance and first < _STILL:
            return Minimum(point, value, gradient, hessian, decrement, counted.count, True)
    return Minimum(point, value, gradient, hessian, decrement, counted.count, decrement < tolerance)


def _size(point: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    return np.ones_like(point) if scale is None else np.asarray(scale, dtype=float)


class _Counter:
    def __init__(self, objective: Objective, count: int = 0) -> None:
        self._objective, self.count = objective, count

    def __call__(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        self.count += 1
        return self._objective(point)


def difference_steps(inverse: np.ndarray, point: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Steps of a fiftieth of a standard error, within what the variable's own size allows, (k,)."""
    spread = np.sqrt(np.maximum(np.diag(inverse), 0.0))
    return np.clip(0.02 * spread, 1e-7 * np.maximum(size, np.abs(point)), 1e-2 * np.maximum(size, np.abs(point)))


def central_hessian(objective: Objective, point: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The Hessian by central differences of the exact gradient, (k, k); NaN where a neighbour is outside."""
    columns = []
    for i in range(len(point)):
        ahead, behind = point.copy(), point.copy()
        ahead[i] += steps[i]
        behind[i] -= steps[i]
        columns.append((objective(ahead)[1] - objective(behind)[1]) / (ahead[i] - behind[i]))
    hessian = np.stack(columns)
    return 0.5 * (hessian + hessian.T)


def newton_decrement(hessian: np.ndarray, gradient: np.ndarray) -> float:
    """g^T H^{-1} g / 2, infinite where H is not positive definite."""
    try:
        factor = np.linalg.cholesky(hessian)
    except np.linalg.LinAlgError:
        return float("inf")
    return 0.5 * float(np.sum(np.linalg.solve(factor, gradient) ** 2))


def _forward_hessian(objective: Objective, point: np.ndarray, gradient: np.ndarray, size: np.ndarray) -> np.ndarray:
    columns = []
    for i in range(len(point)):
        ahead = point.copy()
        ahead[i] += 1e-4 * max(size[i], abs(point[i]))
        columns.append((objective(ahead)[1] - gradient) / (ahead[i] - point[i]))
    hessian = np.stack(columns)
    return 0.5 * (hessian + hessian.T)


def _inverse_or_descent(hessian: np.ndarray, point: np.ndarray, size: np.ndarray) -> np.ndarray:
    """H^{-1} if H is positive definite; otherwise with the eigenvalues' absolute values, so that it points downhill.

    A variable is not taken to be less certain than a million times its own size.
    """
    own = np.maximum(size, np.abs(point))
    if not np.isfinite(hessian).all():
        return np.diag(own**2)
    scale = np.maximum(np.sqrt(np.abs(np.diag(hessian))), 1e-6 / own)
    values, vectors = np.linalg.eigh(hessian / np.outer(scale, scale))
    values = np.maximum(np.abs(values), max(1e-8 * np.abs(values).max(), 1e-8))
    return (vectors / values) @ vectors.T / np.outer(scale, scale)


def _line_search(
    objective: Objective, point: np.ndarray, value: float, gradient: np.ndarray, direction: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray] | None:
    """Backtracks along `direction` until the value drops (Armijo); None where it never does."""
    slope = float(gradient @ direction)
    if not np.isfinite(slope) or slope >= 0.0:
        return None
    # No transformed parameter should change by more than e^3 in one step.
    length = min(1.0, 3.0 / max(1e-300, float(np.abs(direction / np.maximum(size, np.abs(point))).max())))
    for _ in range(40):
        new_value, new_gradient = objective(point + length * direction)
        if np.isfinite(new_value) and np.isfinite(new_gradient).all() and new_value <= value + 1e-4 * length * slope:
            return length * direction, new_value, new_gradient
        if np.isfinite(new_value) and abs(length * slope) < 1e-13 * max(1.0, abs(value)):
            return None
        curvature = 2.0 * (new_value - value - length * slope) if np.isfinite(new_value) else np.inf
        parabola = -slope * length * length / curvature if curvature > 0 and np.isfinite(curvature) else 0.0
        length = float(np.clip(parabola, 0.1 * length, 0.5 * length))
    return None


def _bfgs_update(inverse: np.ndarray, move: np.ndarray, change: np.ndarray) -> np.ndarray:
    curvature = float(move @ change)
    # In units in which the variables are alike, so that it does not matter in which they are measured.
    unit = np.sqrt(np.maximum(np.diag(inverse), 1e-300))
    if curvature <= 1e-10 * float(np.linalg.norm(move / unit) * np.linalg.norm(change * unit)):
        return inverse
    outer = np.eye(len(move)) - np.outer(move, change) / curvature
    return outer @ inverse @ outer.T + np.outer(move, move) / curvature
