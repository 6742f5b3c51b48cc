"""Starting values from moments, so that users need none.

The drift by least squares on the increments, the diffusion by the size of what is left, both then polished on the Euler
likelihood. Biased at coarse steps, as every method of moments on increments is, but in the basin of the maximum.
"""

import math
from collections.abc import Callable

import numpy as np
import sympy as sp
import torch
from scipy.optimize import least_squares
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import ConvergenceError, DataError, UnsupportedError
from pdekit.fitting.densities.euler import EulerTransition
from pdekit.fitting.densities.gaussian import GaussianTransition
from pdekit.fitting.densities.local_linear import LocalLinearTransition
from pdekit.fitting.densities.protocol import select_pairs
from pdekit.fitting.inference.bijection import Bijection
from pdekit.fitting.inference.likelihood import NegativeLogLikelihood
from pdekit.fitting.inference.optimise import descend
from pdekit.symbolic import SymbolicSDE

_MOST_PAIRS = 4_000
_CANDIDATES = 128
_DRIFT_STARTS = 8


def starting_values(model: SymbolicSDE, pairs: Pairs, given: dict[str, float], *, seed: int = 0) -> Tensor:
    """Parameters (k,) near the maximum of the likelihood, inside their bounds.

    Args:
        model: The model in any convention.
        pairs: The observations.
        given: Values that are known; they are kept.
        seed: Of the candidates for parameters of the diffusion.

    Raises:
        ConvergenceError: If no candidate gives the observations a density.
    """
    model = model.ito()
    some = select_pairs(pairs, torch.linspace(0, len(pairs) - 1, min(len(pairs), _MOST_PAIRS)).long())
    density = _normal_density(model, some)
    bounds = [model.params[name] for name in model.param_names]
    fixed = np.array([name in given for name in model.param_names])
    theta = np.array([given.get(name, _middle(*b)) for name, b in zip(model.param_names, bounds, strict=True)])
    in_drift = np.array([any(s in f.free_symbols for f in model.drift) for s in model.param_symbols])
    theta = _drift_by_least_squares(model, _spread_out(pairs), theta, in_drift & ~fixed, bounds)
    _check_noise(some)
    theta = _diffusion_by_search(density, some, theta, ~in_drift & ~fixed, bounds, seed)
    return _polish(density, torch.from_numpy(theta), bounds, ~fixed)


def _normal_density(model: SymbolicSDE, pairs: Pairs) -> GaussianTransition:
    """Euler's, or Ozaki's where the noise does not reach every state within an Euler step."""
    try:
        return EulerTransition(model, pairs)
    except UnsupportedError:
        return LocalLinearTransition(model, pairs, curved=False)


def _check_noise(pairs: Pairs) -> None:
    """Raises DataError if a straight line in the state explains the increments to rounding."""
    rates = ((pairs.x1 - pairs.x0) / pairs.dt[:, None]).numpy()
    centered = (pairs.x0 - pairs.x0.mean(0)).numpy()
    design = np.column_stack([np.ones(len(rates)), centered / np.maximum(np.abs(centered).max(0), 1e-300)])
    left = rates - design @ np.linalg.lstsq(design, rates, rcond=None)[0]
    if len(rates) > 2 * design.shape[1] and (np.abs(left).max(0) <= 1e-9 * np.abs(rates).max(0)).any():
        raise DataError(
            "The increments have no noise: a drift alone explains them to rounding, so that there is nothing "
            "stochastic to fit. Is the series computed, interpolated or smoothed?"
        )


def _middle(lower: float, upper: float) -> float:
    if np.isfinite(lower) and np.isfinite(upper):
        return 0.5 * (lower + upper)
    if np.isfinite(lower):
        return lower + 1.0
    return upper - 1.0 if np.isfinite(upper) else 1.0


def _spread_out(pairs: Pairs) -> Pairs:
    """Increments over fewer, longer steps: the same information on the drift at a fraction of the cost."""
    lag = max(1, len(pairs) // 20_000)
    if lag == 1:
        return pairs
    start = torch.arange(0, len(pairs) - lag, lag)
    start = start[pairs.path[start] == pairs.path[start + lag - 1]]
    elapsed = pairs.t[start + lag - 1] + pairs.dt[start + lag - 1] - pairs.t[start]
    return Pairs(pairs.t[start], elapsed, pairs.x0[start], pairs.x1[start + lag - 1], pairs.path[start])


def _drift_by_least_squares(
    model: SymbolicSDE, pairs: Pairs, theta: np.ndarray, moves: np.ndarray, bounds: list[tuple[float, float]]
) -> np.ndarray:
    """Minimises the increments' misfit |dx - f dt|^2 / dt, each state in units of its own noise."""
    if not moves.any():
        return theta
    rate = (pairs.x1 - pairs.x0) / torch.sqrt(pairs.dt)[:, None]
    noise = rate.std(0)
    noise = torch.where(noise > 0, noise, torch.ones_like(noise))
    chosen = [s for s, m in zip(model.param_symbols, moves, strict=True) if m]
    t, root = pairs.t[:, None], torch.sqrt(pairs.dt)[:, None]
    lower, upper = (np.array([b[i] for b, m in zip(bounds, moves, strict=True) if m]) for i in (0, 1))
    if all(sp.diff(f, a, b) == 0 for f in model.drift for a in chosen for b in chosen):
        columns = model.function(sp.Matrix([[sp.diff(f, s) for s in chosen] for f in model.drift]))
        with torch.no_grad():
            whole = torch.from_numpy(np.where(moves, 0.0, theta))
            rest = model.function(list(model.drift))(t, pairs.x0, whole)
            design = (columns(t, pairs.x0, torch.from_numpy(theta)) * root[..., None] / noise[:, None]).flatten(0, 1)
            target = ((rate - rest * root) / noise).flatten()
        # Columns in their own units: x and x^3 differ by many orders where x is counted in nanometres.
        size = design.norm(dim=0).clamp_min(1e-300)
        solution = np.linalg.lstsq((design / size).numpy(), target.numpy(), rcond=None)[0] / size.numpy()
    else:
        drift = model.function(list(model.drift))

        def misfit(values: np.ndarray) -> np.ndarray:
            theta[moves] = values
            with torch.no_grad():
                residual = (rate - drift(t, pairs.x0, torch.from_numpy(theta)) * root) / noise
            # Squares must stay within double precision, also for a start that is absurd.
            return np.clip(np.nan_to_num(residual.flatten().numpy(), nan=1e100), -1e100, 1e100)

        solution = _best_of_several(misfit, theta[moves], lower, upper, natural_units(pairs))
    theta = theta.copy()
    theta[moves] = _inside(solution, lower, upper)
    return theta


def _best_of_several(
    misfit: Callable[[np.ndarray], np.ndarray],
    first: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    units: np.ndarray,
) -> np.ndarray:
    """The best least-squares solution from the first and a few random starts: a drift may have several basins."""
    generator = np.random.default_rng(0)
    bounds = list(zip(lower, upper, strict=True))
    others = [np.array([_draw(generator, units, *b) for b in bounds]) for _ in range(_DRIFT_STARTS)]
    found = [
        least_squares(misfit, _inside(start, lower, upper), bounds=(lower, upper), x_scale="jac", max_nfev=40)
        for start in (first, *others)
    ]
    return min(found, key=lambda solution: solution.cost).x


def _inside(values: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Brings values back inside their bounds: as far from the bound as they were beyond it, a tenth at least of one."""
    interval = np.isfinite(lower) & np.isfinite(upper)
    width = np.where(interval, upper - lower, 1.0)
    below, above = lower - values, values - upper
    back = np.where(below >= 0, lower + np.where(below > 0, 0.5 * below, 0.1), values)
    back = np.where(above >= 0, upper - np.where(above > 0, 0.5 * above, 0.1), back)
    return np.where(interval, np.clip(back, lower + 0.02 * width, upper - 0.02 * width), back)


def _diffusion_by_search(
    density: GaussianTransition,
    pairs: Pairs,
    theta: np.ndarray,
    moves: np.ndarray,
    bounds: list[tuple[float, float]],
    seed: int,
) -> np.ndarray:
    """The best of random candidates for the parameters that only the diffusion has."""
    generator = np.random.default_rng(seed)
    units = natural_units(pairs)
    candidates = [theta]
    for _ in range(_CANDIDATES if moves.any() else 0):
        candidate = theta.copy()
        for i in np.flatnonzero(moves):
            candidate[i] = _draw(generator, units, *bounds[i])
        candidates.append(candidate)
    with torch.no_grad():
        values = [float(density.log_density(torch.from_numpy(c)).sum()) for c in candidates]
    best = int(np.argmax(np.nan_to_num(values, nan=-np.inf)))
    if not np.isfinite(values[best]):
        raise ConvergenceError(
            "No starting values were found under which the observations are possible: the diffusion is zero or not "
            f"finite at some of them for all {len(candidates)} candidates. Check the model's domain against the data, "
            "or give start={...}."
        )
    return candidates[best]


def natural_units(pairs: Pairs) -> np.ndarray:
    """Sizes that a parameter may have: powers of the state's spread times powers of a rate, and one."""
    spread = float(pairs.x0.std(0).mean().clamp_min(1e-300))
    noise = float((((pairs.x1 - pairs.x0) ** 2).sum(-1) / pairs.dt).mean().sqrt())
    # How fast the noise would fill the spread: the rate of relaxation of a process in equilibrium.
    rate = max((noise / spread) ** 2 / 2.0, 1e-300)
    mean = float(pairs.x0.abs().mean())
    return np.array([noise, noise, noise, 1.0, rate, spread, mean, spread * rate, rate / spread**2, math.sqrt(rate)])


def _draw(generator: np.random.Generator, units: np.ndarray, lower: float, upper: float) -> float:
    if np.isfinite(lower) and np.isfinite(upper):
        return float(generator.uniform(lower, upper))
    magnitude = float(generator.choice(units)) * 10.0 ** generator.uniform(-1.0, 1.0)
    if np.isfinite(lower):
        return lower + magnitude
    return upper - magnitude if np.isfinite(upper) else magnitude * generator.choice([-1.0, 1.0])


def _polish(density: GaussianTransition, theta: Tensor, bounds: list[tuple[float, float]], moves: np.ndarray) -> Tensor:
    if not moves.any():
        return theta
    objective = NegativeLogLikelihood(density, Bijection(bounds), moves, theta)
    start = objective.eta(theta)
    best = descend(objective, start, scale=parameter_scale(theta, bounds)[moves], tolerance=1e-2, max_iterations=60)
    polished = objective.theta(torch.from_numpy(best.point)).detach().numpy()
    lower, upper = (np.array([b[i] for b in bounds]) for i in (0, 1))
    return torch.from_numpy(np.where(moves, _inside(polished, lower, upper), theta.numpy()))


def parameter_scale(theta: Tensor, bounds: list[tuple[float, float]]) -> np.ndarray:
    """The size of a sensible change of each transformed parameter: 1 for logarithms, its own size on an open line."""
    open_line = [not (np.isfinite(lower) or np.isfinite(upper)) for lower, upper in bounds]
    size = np.abs(theta.numpy())
    return np.where(open_line, np.where(size > 0, size, 1.0), 1.0)
