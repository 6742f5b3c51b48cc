"""What a solution is worth: identities that densities obey, and Gaussian laws to compare it with."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pdekit.errors import InputError, NumericalError
from pdekit.fokker_planck.density import Density
from pdekit.fokker_planck.equation import at_points
from pdekit.fokker_planck.moment_closure import Gaussian, moved_closure, resting_closure
from pdekit.fokker_planck.statement import Statement
from pdekit.report.content import Table
from pdekit.report.text import render_table

if TYPE_CHECKING:
    from pdekit.fokker_planck.solution import DensitySolution

_SAMPLES = 4000  # where a density is known by samples, or needed at some places only
_STEP = 1e-3  # of a standard deviation: for differences of the velocity
_WIDTH = 96


@dataclass(frozen=True)
class Comparison:
    """How far a normal law q is from the solution p, of mass one.

    Args:
        log_rms: The root mean square of log q - log p under p, nats.
        log_rms_centred: The same, less its mean: q and p up to a factor.
        kl: The integral of p (log p - log q), nats.
        relative_l2: ||q - p|| / ||p||.
    """

    log_rms: float
    log_rms_centred: float
    kl: float
    relative_l2: float


@dataclass(frozen=True)
class Checks:
    """One time.

    Args:
        time: When; None for a stationary law.
        mass: The mass that is left.
        least: The least p where it was looked at; never negative for a density.
        stein: The greatest entry of |E[score (x - mean)^T] + I|, 0 between natural sides, for others None.
        residual: The root mean square of (L* p) / p under p, one over time; of stationary laws only.
        error: The method's own estimate, see `Density`.
        closure: The normal law with closed moments, see `moment_closure`; None if there is none.
        isotropic: The normal law with the solution's mean and, in every direction, its average variance.
    """

    time: float | None
    mass: float
    least: float
    stein: float | None
    residual: float | None
    error: float | None
    closure: Comparison | None
    isotropic: Comparison


@dataclass(frozen=True, repr=False)
class DensityReport:
    """Checks of a solution; print it, or take `to_dict()`.

    Args:
        method: How it was found.
        rows: One for each time.
        notes: What was left out, and why.
    """

    method: str
    rows: tuple[Checks, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text."""
        return {"method": self.method, "rows": [asdict(row) for row in self.rows], "notes": list(self.notes)}

    def __repr__(self) -> str:
        checks = [(_time(r), *map(_number, (r.mass, r.least, r.stein, r.residual, r.error))) for r in self.rows]
        heads = ("time", "mass", "least p", "Stein", "residual", "estimated error")
        tables = [render_table(Table("Checks of the density", heads, tuple(checks)), width=_WIDTH)]
        laws = [(r, name, law) for r in self.rows for name, law in (("closed", r.closure), ("isotropic", r.isotropic))]
        rows = tuple(
            (_time(r), name, *map(_number, (law.log_rms, law.log_rms_centred, law.kl, law.relative_l2)))
            for r, name, law in laws
            if law is not None
        )
        heads = ("time", "moments", "rms log q/p", "centred", "KL(p, q)", "relative L2")
        tables.append(render_table(Table("Normal laws q against the density p", heads, rows), width=_WIDTH))
        return "\n".join([*tables, *self.notes])


def _time(row: Checks) -> str:
    return "stationary" if row.time is None else f"{row.time:.6g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def report(solution: "DensitySolution") -> DensityReport:
    """See `DensitySolution.report`."""
    problem, notes = solution.problem, []
    times = [None] * len(solution.densities) if solution.times is None else solution.times.tolist()
    closures = _closures(solution, notes)
    if solution.times is not None:
        notes.append("The residual is left out: it belongs to stationary laws, here d_t p is not known.")
    if not _falls(problem):
        notes.append("Stein's identity is left out: it is for natural sides.")
    found = zip(times, solution.densities, closures, strict=True)
    rows = tuple(_row(problem, t, density, closure) for t, density, closure in found)
    return DensityReport(solution.method, rows, tuple(notes))


def _closures(solution: "DensitySolution", notes: list[str]) -> list[Gaussian] | list[None]:
    problem = solution.problem
    try:
        if solution.times is None:
            return [resting_closure(problem, solution.moments().mean)]
        return moved_closure(problem, solution.times)
    except (InputError, NumericalError, np.linalg.LinAlgError) as cause:
        notes.append(f"The normal law with closed moments is left out: {str(cause).rstrip('.')}.")
        return [None] * len(solution.densities)


def _falls(problem: Statement) -> bool:
    """Whether p falls to zero at all sides, and smoothly, as the quadrature of the score needs it."""
    return all(side == "natural" for sides in problem.domain.sides for side in sides)


def _row(problem: Statement, time: float | None, density: Density, closure: Gaussian | None) -> Checks:
    x, share = _points(density)
    log_p = density.log_values(x)
    mass = density.mass
    moments = density.moments()
    variance = float(np.trace(moments.covariance)) / density.dim
    isotropic = Gaussian(moments.mean, variance * np.eye(density.dim))
    against = lambda law: _compared(law, x, share, log_p - np.log(mass))  # noqa: E731
    return Checks(
        time,
        mass,
        float(np.exp(log_p.min())),
        _stein(density, x, share, moments.mean) if _falls(problem) else None,
        _residual(problem, density, np.sqrt(np.diag(moments.covariance))) if time is None else None,
        density.error,
        None if closure is None else against(closure),
        against(isotropic),
    )


def _points(density: Density) -> tuple[np.ndarray, np.ndarray]:
    """States and shares of the mass; of many samples, some."""
    found = density.quadrature()
    x, weights = found.states, found.weights
    if len(x) > _SAMPLES and np.ptp(weights) <= 1e-12 * weights.max():
        rows = np.linspace(0, len(x) - 1, _SAMPLES).astype(int)
        x, weights = x[rows], weights[rows]
    there = weights > 0
    return x[there], weights[there] / weights[there].sum()


def _stein(density: Density, x: np.ndarray, share: np.ndarray, mean: np.ndarray) -> float:
    product = (density.score_values(x) * share[:, None]).T @ (x - mean)
    return float(np.abs(product + np.eye(density.dim)).max())


def _residual(problem: Statement, density: Density, spread: np.ndarray) -> float:
    """By central differences of the velocity w = J / p: (L* p) / p = -div w - w . score."""
    x = density.draw(_SAMPLES, np.random.default_rng(0))
    velocity: Callable[[np.ndarray], np.ndarray] = lambda z: _velocity(problem, density, z)  # noqa: E731
    found = (velocity(x) * density.score_values(x)).sum(-1)
    for i, width in enumerate(spread):
        step = np.zeros(density.dim)
        step[i] = _STEP * width
        found += (velocity(x + step)[:, i] - velocity(x - step)[:, i]) / (2 * step[i])
    return float(np.sqrt(np.mean(found**2)))


def _velocity(problem: Statement, density: Density, x: np.ndarray) -> np.ndarray:
    c = at_points(problem.sde, problem.t0, x)
    return c.velocity - np.einsum("nij,nj->ni", c.tensor, density.score_values(x))


def _compared(law: Gaussian, x: np.ndarray, share: np.ndarray, log_p: np.ndarray) -> Comparison:
    log_q = law.log_values(x)
    difference = log_q - log_p
    mean = float(share @ difference)
    square = float(share @ np.exp(log_p))  # the integral of p^2
    distance = law.squared - 2 * float(share @ np.exp(log_q)) + square
    if np.ptp(share) == 0:  # samples: by their scatter the small difference could be negative
        distance = float(share @ (np.expm1(difference) ** 2 * np.exp(log_p)))
    rms = float(np.sqrt(share @ difference**2))
    centred = float(np.sqrt(share @ (difference - mean) ** 2))
    return Comparison(rms, centred, -mean, float(np.sqrt(max(distance, 0.0) / square)))


__all__ = ["Checks", "Comparison", "DensityReport", "report"]
