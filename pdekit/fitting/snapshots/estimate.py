"""`fit_snapshots`: the parameters of a model from unpaired samples of its law at several times."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pdekit.data.snapshots import Snapshots
from pdekit.errors import DataError, InputError, UnsupportedError
from pdekit.fitting.snapshots.directions import Slopes, described, errors_along, flattest
from pdekit.fitting.snapshots.equilibrium import equal_laws
from pdekit.fitting.snapshots.initial import InitialLaw, fitted_law
from pdekit.fitting.snapshots.search import Found, Progress, Search
from pdekit.fitting.snapshots.weak import WeakEstimate, sizes, weak_regression
from pdekit.report import Flag
from pdekit.symbolic import SymbolicSDE
from pdekit.threads import one_thread

SnapshotMethod = Literal["auto", "grid", "weak"]

_STARTING_SAMPLES = 500  # of each snapshot, for starting values
_SETTLED = 1e-5  # p-value from which on laws are not told apart
_UNKNOWN_SCALE = 0.5  # standard error of the logarithm of a common factor of drift and noise
_UNKNOWN = 0.5  # standard error, in units of the whole drift or noise, of a direction that is not identified
_UNLIKELY = 1e-3
_AT_BOUND = 1e-6  # of the least size that a parameter may have
_LARGEST_SHIFT = {1: 0.05, 2: 0.25}  # standard errors, by dimension


@dataclass(frozen=True, eq=False)
class SnapshotEstimate:
    """What snapshots say about a model's parameters.

    Attributes:
        model: The model as it was stated.
        theta: The parameters, (k,).
        covariance: Their covariance, (k, k), from the observed information of theta and the initial law together, so
            that what is not known of that law is in it; zero rows where a parameter was not estimated.
        sandwich: The robust covariance H^-1 S H^-1.
        loglik: The log-likelihood of all samples, None for weak equations.
        free: Which parameters were estimated.
        at_bound: Names of parameters that the data push onto their bound.
        converged: Whether the search ended where it should.
        method: "grid" or "weak".
        route: How, in words.
        details: Names and values for a table on the method.
        flags: What is doubtful.
        law: The family of the law at the first snapshot, None for weak equations.
        alpha: Its parameters.
        settled: The p-value of the hypothesis that all snapshots have one law.
        shift: What the grid may still cost, in standard errors; None for weak equations.
    """

    model: SymbolicSDE
    theta: Tensor
    covariance: Tensor
    sandwich: Tensor
    loglik: float | None
    free: np.ndarray
    at_bound: tuple[str, ...]
    converged: bool
    method: Literal["grid", "weak"]
    route: str
    details: tuple[tuple[str, str], ...]
    flags: tuple[Flag, ...]
    law: InitialLaw | None
    alpha: Tensor | None
    settled: float
    shift: float | None

    @property
    def stderr(self) -> dict[str, float]:
        """Standard errors by name; zero where a parameter was not estimated."""
        return self.model.named(self.covariance.diagonal().clamp_min(0.0).sqrt())

    @property
    def params(self) -> dict[str, float]:
        """Estimates by name."""
        return self.model.named(self.theta)


def fit_snapshots(
    model: SymbolicSDE,
    data: Snapshots,
    *,
    method: SnapshotMethod = "auto",
    start: Mapping[str, float] | None = None,
    fixed: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SnapshotEstimate:
    """Fits a model to snapshots.

    `"grid"` maximises sum_k sum_i log p(t_k, x_ki; theta, alpha): a law at the first snapshot, a mixture of normal laws
    with parameters alpha, is carried through time by the Fokker-Planck equation on a grid, and theta and alpha are
    estimated together. `"weak"` solves d/dt E[phi] = E[L phi] for test functions phi; it needs snapshots that are
    close in time. `"auto"` takes the grid for one and two states whose coefficients don't depend on time.

    Args:
        model: The SDE.
        data: The snapshots.
        method: "auto", "grid" or "weak".
        start: Starting values by name; others come from weak equations.
        fixed: Parameters to hold at given values.
        seed: Of starting values, test functions and the first guess of the law at the start.
        progress: Called with (what is being done, log-likelihood) after every accepted step.

    Raises:
        InputError: If a name in `start` or `fixed` is not a parameter, or a value is outside its bounds.
        DataError: If data and model don't fit, or the data fix drift and noise only up to a common factor, as they do
            when the law doesn't move.
        UnsupportedError: If the grid can't serve the model.
        ConvergenceError: If no starting values are found.

    Example:
        >>> import torch
        >>> ou = SymbolicSDE("x", "-k*x", "s", params={"k": (0, None), "s": (0, None)})
        >>> g = torch.Generator().manual_seed(0)
        >>> spread = lambda t: (0.5 + 0.5 * torch.exp(torch.tensor(-2 * t))).sqrt()
        >>> law = lambda t: 3 * torch.exp(torch.tensor(-t)) + spread(t) * torch.randn(400, generator=g)
        >>> data = Snapshots([0.0, 0.5, 1.0], [law(0.0), law(0.5), law(1.0)])
        >>> found = fit_snapshots(ou, data)
        >>> abs(found.params["k"] - 1) < 3 * found.stderr["k"]
        True
    """
    fixed = {name: float(value) for name, value in (fixed or {}).items()}
    chosen = _checked(model, data, method, start, fixed)
    ito = model.ito()
    with one_thread(data.n_observations), torch.no_grad():
        settled = equal_laws(data, seed)
        samples = _STARTING_SAMPLES if chosen == "grid" else None
        weak = weak_regression(ito, data, start=start, fixed=fixed, seed=seed, samples=samples)
    free = np.array([name not in fixed for name in model.param_names])
    _refuse_settled(ito, data, weak.theta, free, settled)
    if chosen == "weak":
        found = _from_weak(model, data, weak, free, settled)
    else:
        with one_thread(data.n_observations):
            law, alpha = fitted_law(data.samples[0], ito.domain, seed)
            search = Search(ito, data, law, ~free, progress or (lambda what, value: None))
            others = weak.others if weak.p_value < _UNLIKELY else weak.others[:1]
            starts = [_with(model, theta, start) for theta in (weak.theta, *others)]
            found = _from_grid(model, law, search.best(starts, alpha), settled)
    return _judged(found, ito, data)


def _with(model: SymbolicSDE, theta: Tensor, start: Mapping[str, float] | None) -> Tensor:
    theta = theta.clone()
    for name, value in (start or {}).items():
        theta[model.param_names.index(name)] = value
    return theta


def _checked(
    model: SymbolicSDE,
    data: Snapshots,
    method: SnapshotMethod,
    start: Mapping[str, float] | None,
    fixed: Mapping[str, float],
) -> Literal["grid", "weak"]:
    if not isinstance(model, SymbolicSDE):
        raise InputError(f"The model must be a SymbolicSDE, got {type(model).__name__}.")
    if not isinstance(data, Snapshots):
        raise InputError(f"The data must be Snapshots, got {type(data).__name__}.")
    if method not in get_args(SnapshotMethod):
        raise InputError(f"method must be one of {', '.join(get_args(SnapshotMethod))} for snapshots, got {method!r}.")
    for what, values in (("start", start or {}), ("fixed", fixed)):
        for name, value in values.items():
            if name not in model.params:
                raise InputError(f"`{what}` names {name!r}; the parameters are {', '.join(model.param_names)}.")
            lower, upper = model.params[name]
            if not lower <= value <= upper:
                raise InputError(f"`{what}` sets {name} = {value:g}, outside its bounds ({lower:g}, {upper:g}).")
    if set(fixed) >= set(model.param_names):
        raise InputError("Every parameter is held fixed, so there is nothing to estimate; leave at least one free.")
    if model.dim != data.dim:
        raise DataError(
            f"The model has {model.dim} state(s) ({', '.join(model.state_names)}), the data {data.dim} column(s) "
            f"({', '.join(data.names)}). Choose as many columns as the model has states."
        )
    states, which = data.pooled()
    for i, (lower, upper) in enumerate(model.domain):
        outside = (~((states[:, i] > lower) & (states[:, i] < upper))).nonzero().flatten()
        if len(outside):
            at = float(data.times[which[outside[0]]])
            raise DataError(
                f"{data.names[i]} = {float(states[outside[0], i]):g} at time {at:g} is outside the domain "
                f"({lower:g}, {upper:g}) of {model.name or 'the model'}; {len(outside)} sample(s) are. Choose a model "
                "that allows such values, or transform the data."
            )
    served = model.dim <= 2 and model.autonomous
    if method == "grid" and not served:
        raise UnsupportedError(
            "The grid serves one and two states with coefficients that don't depend on time; use method='weak'."
        )
    return "grid" if method == "grid" or (method == "auto" and served) else "weak"


def _refuse_settled(model: SymbolicSDE, data: Snapshots, theta: Tensor, free: np.ndarray, settled: float) -> None:
    if settled < _SETTLED:
        return
    slopes = Slopes.of(model, data, theta, free)
    if slopes.scaling() is not None:
        raise DataError(
            f"The {len(data.times)} snapshots are hardly told from samples of one law (p = {settled:.2g}): a law that "
            "does not move fixes drift and noise only up to a common factor, how fast everything happens, so "
            f"{', '.join(slopes.names)} are not identified together. Hold a parameter that sets the noise, by "
            "fixed={...}, or observe the process while its law still moves."
        )


def _from_weak(
    model: SymbolicSDE, data: Snapshots, weak: WeakEstimate, free: np.ndarray, settled: float
) -> SnapshotEstimate:
    flags = []
    if weak.p_value < _UNLIKELY:
        flags.append(
            Flag(
                "warning",
                "Weak equations not met",
                "More is left of d/dt E[phi] = E[L phi] than sampling errors explain: the model misses something, or "
                "the snapshots are too far apart for integrals over time.",
                "Take snapshots closer in time, another model, or, in one or two states, method='grid'.",
                weak.p_value,
            )
        )
    if weak.vague:
        told = ", ".join(weak.vague)
        flags.append(
            Flag(
                "serious",
                "Parameters not identified",
                f"What the equations say about {told} is no more than sampling errors would: {told} may not show in "
                "these laws at all, as a probability current along level sets of the density does not, or only "
                "together with other parameters.",
                "Hold one of them by fixed={...}, or take snapshots of laws that start elsewhere.",
            )
        )
    covariance = torch.from_numpy(weak.covariance)
    near = {name: min(abs(float(v) - end) for end in model.params[name]) for name, v in model.named(weak.theta).items()}
    at_bound = tuple(
        n for n, moves in zip(near, free, strict=True) if moves and near[n] < _AT_BOUND * sizes(data).min()
    )
    free = free & np.array([name not in at_bound for name in near])
    details = (
        ("Equations", f"{weak.equations}"),
        ("Chi-square of the equations", f"{weak.statistic:.4g} on {weak.freedom:.1f} degrees of freedom"),
    )
    return SnapshotEstimate(
        model=model,
        theta=weak.theta,
        covariance=covariance,
        sandwich=covariance,
        loglik=None,
        free=free,
        at_bound=at_bound,
        converged=weak.converged,
        method="weak",
        route=f"weak Fokker-Planck equations, {weak.equations} moments",
        details=details,
        flags=tuple(flags),
        law=None,
        alpha=None,
        settled=settled,
        shift=None,
    )


def _from_grid(model: SymbolicSDE, law: InitialLaw, found: Found, settled: float) -> SnapshotEstimate:
    k = len(model.param_names)
    flags = []
    if found.shift > _LARGEST_SHIFT[model.dim]:
        flags.append(
            Flag(
                "warning",
                "The likelihood is not converged",
                f"A finer grid may move the estimate by {found.shift:.2g} standard errors.",
                "Leave out snapshots that are far narrower than the others, or transform the state.",
                found.shift,
            )
        )
    kind = "normal law" if law.components == 1 else f"mixture of {law.components} normal laws"
    details = (
        ("Law at the first snapshot", f"{kind}, estimated along with the parameters"),
        ("Cells", f"{found.cells}, extrapolated" if model.dim == 1 else f"up to {found.cells} along an axis"),
        ("Error bars", "observed information" if model.dim == 1 else "outer product of scores"),
    )
    return SnapshotEstimate(
        model=model,
        theta=found.parameters[:k],
        covariance=torch.from_numpy(found.observed[:k, :k]),
        sandwich=torch.from_numpy(found.sandwich[:k, :k]),
        loglik=found.loglik,
        free=found.free[:k],
        at_bound=tuple(n for n, stuck in zip(model.param_names, found.at_bound[:k], strict=True) if stuck),
        converged=found.converged,
        method="grid",
        route=found.route,
        details=details,
        flags=tuple(flags),
        law=law,
        alpha=found.parameters[k:],
        settled=settled,
        shift=found.shift,
    )


def _judged(found: SnapshotEstimate, model: SymbolicSDE, data: Snapshots) -> SnapshotEstimate:
    """The estimate with what it leaves open among its flags.

    Raises:
        DataError: If drift and noise are known only up to a common factor.
    """
    flags = list(found.flags)
    if not found.converged:
        flags.append(
            Flag(
                "serious",
                "The search did not converge",
                "What is reported is the best point seen, not a maximum.",
                "Give starting values, hold a parameter, or simplify the model; do not use the standard errors.",
            )
        )
    free = found.free
    covariance = found.covariance.numpy()[np.ix_(free, free)]
    if not free.any():
        return replace(found, flags=tuple(flags))
    slopes = Slopes.of(model, data, found.theta, free)
    scaling = slopes.scaling()
    if scaling is not None and np.isfinite(covariance).all():
        error = errors_along(covariance, scaling)
        if error > _UNKNOWN_SCALE:
            raise DataError(
                f"The laws move so little that drift and noise are known only up to a factor (its logarithm has a "
                f"standard error of {error:.2g}): {', '.join(slopes.names)} are not identified together. Hold a "
                "parameter that sets the noise, by fixed={...}, or observe the process while its law still moves."
            )
    error, direction = flattest(slopes, covariance) if np.isfinite(covariance).all() else (math.inf, 1.0 / slopes.units)
    if not error < _UNKNOWN and "Parameters not identified" not in [flag.title for flag in flags]:
        flags.append(
            Flag(
                "serious",
                "Parameters not identified",
                f"{described(slopes, direction, model.dim)}. The standard error in this direction is "
                f"{error:.2g} times the whole drift or noise.",
                "Hold one of them by fixed={...}, or take snapshots of laws that start elsewhere.",
                error,
            )
        )
    if found.settled >= _SETTLED:
        flags.append(
            Flag(
                "note",
                "The law does not move",
                f"The snapshots are hardly told from samples of one law (p = {found.settled:.2g}). What is estimated "
                "rests on the parameters that were held, and on the law having settled.",
                "",
                found.settled,
            )
        )
    return replace(found, flags=tuple(flags))


__all__ = ["SnapshotEstimate", "SnapshotMethod", "fit_snapshots"]
