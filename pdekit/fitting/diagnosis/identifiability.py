"""Whether the data determine every parameter, and whether the search for them ended well."""

from collections.abc import Sequence

import numpy as np

from pdekit.fitting.diagnosis.checks import Check, percent
from pdekit.fitting.evidence import Evidence
from pdekit.report import Flag

# Correlations of +-.998 between two estimates. By itself harmless: rates far from zero make alpha and beta of alpha
# + beta x so.
_CONDITION = 1e3
_SINGULAR = 1e10
_VAGUE = 0.5
_LARGEST_SHIFT = 0.05


def check_directions(evidence: Evidence) -> Check:
    """The condition number of the estimate's correlation matrix, and the flat direction in words."""
    name = "Parameters told apart"
    names, theta, covariance = _free(evidence)
    if not names:
        return Check(name, "no free parameter", "", Flag("ok", "Nothing was estimated", "Every parameter was held."))
    errors = np.sqrt(np.diag(covariance).clip(min=0.0))
    if not np.isfinite(covariance).all() or not (errors > 0.0).all():
        detail = (
            "The curvature of the likelihood at the estimate is not positive: some combination of parameters is not "
            "determined."
        )
        action = "Hold a parameter at a known value, or drop a term of the model; standard errors mean nothing here."
        return Check(name, "not positive", "", Flag("serious", "Parameters not identified", detail, action))
    correlation = covariance / np.outer(errors, errors)
    values, vectors = np.linalg.eigh(correlation)
    condition = float(values[-1] / max(values[0], 1e-300))
    statistic, limit = f"condition {condition:.3g}", f"<= {_CONDITION:g}"
    if condition <= _CONDITION:
        detail = f"The correlation matrix of the estimates has condition number {condition:.3g}."
        return Check(name, statistic, limit, Flag("ok", "Parameters can be told apart", detail, "", condition))
    # The combination that the data fix best: its members have large errors only because they move together.
    direction = vectors[:, 0]
    involved = [i for i in np.argsort(-np.abs(direction)) if abs(direction[i]) > 0.2]
    vague = [i for i in involved if errors[i] > _VAGUE * abs(theta[i])]
    told = " and ".join(names[i] for i in sorted(involved))
    first, second = (involved + involved)[:2]
    detail = (
        f"{told} can hardly be told apart: the data fix one combination of them {np.sqrt(condition):.0f} times better "
        f"than another (correlation of {names[first]} and {names[second]}: {correlation[first, second]:+.4f})."
    )
    if not vague and condition < _SINGULAR:
        action = "Report them together, or center the state."
        return Check(name, statistic, limit, Flag("note", "Parameters strongly correlated", detail, action, condition))
    action = (
        f"Hold one of {told} at a value known from elsewhere, or use a model with fewer terms; read profile "
        "intervals, not Wald's."
    )
    severity = "serious" if condition > _SINGULAR else "warning"
    return Check(name, statistic, limit, Flag(severity, "Parameters can't be told apart", detail, action, condition))


def check_precision(evidence: Evidence) -> Check:
    """The largest relative standard error of a parameter that can't be negative."""
    name = "Relative standard errors"
    names, theta, covariance = _free(evidence)
    errors = np.sqrt(np.nan_to_num(np.diag(covariance), nan=np.inf).clip(min=0.0)) if names else np.zeros(0)
    relative = {
        n: float(e / max(abs(v), 1e-300))
        for n, v, e in zip(names, theta, errors, strict=True)
        if evidence.model.params[n][0] >= 0.0
    }
    if not relative:
        return Check(
            name, "no positive parameter", "", Flag("ok", "No positive parameter", "Nothing to compare with zero.")
        )
    worst = max(relative, key=lambda n: relative[n])
    size = relative[worst]
    statistic, limit = f"{percent(size)} ({worst})", "<= 100%"
    if size <= 1.0:
        detail = f"The least certain positive parameter, {worst}, has a standard error of {percent(size)} of itself."
        return Check(name, statistic, limit, Flag("ok", "Positive parameters differ from zero", detail, "", size))
    detail = f"The standard error of {worst} is {percent(size)} its value: the data hardly tell it from zero."
    action = f"Fit without the term that {worst} multiplies and compare AIC; if you keep it, use its profile interval."
    return Check(name, statistic, limit, Flag("warning", f"{worst} is hardly determined", detail, action, size))


def _free(evidence: Evidence) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, values and covariance of the parameters that were estimated."""
    covariance = evidence.covariance.numpy()
    free = np.flatnonzero(np.diag(covariance) != 0.0)
    names = [evidence.model.param_names[i] for i in free]
    return names, evidence.theta.numpy()[free], covariance[np.ix_(free, free)]


def check_search(
    evidence: Evidence, *, shift: Sequence[float] | np.ndarray | None, at_bound: Sequence[str], converged: bool
) -> list[Check]:
    """Convergence, parameters at a bound, and the discretisation error left in the estimate."""
    checks = [check_converged(converged)]
    if at_bound:
        told = ", ".join(
            f"{name} = {evidence.theta[evidence.model.param_names.index(name)].item():.4g}" for name in at_bound
        )
        detail = (
            f"The likelihood still rises toward the bound of {told}; the other errors are given that it stays there."
        )
        action = (
            "If the bound is physical, drop the parameter; if it was a guess, widen it and fit again. It has no "
            "standard error."
        )
        checks.append(Check("Parameter bounds", told, "", Flag("warning", "Parameter at its bound", detail, action)))
    if shift is not None and np.size(shift):
        size = float(np.abs(np.asarray(shift, dtype=float)).max())
        checks.append(_shift(size))
    return checks


def check_converged(converged: bool) -> Check:
    """Whether the search for the estimate ended where it should."""
    if converged:
        return Check(
            "Convergence",
            "reached",
            "",
            Flag("ok", "The search converged", "The likelihood has a maximum at the estimate."),
        )
    detail = (
        "No point was found at which the likelihood is at its maximum within rounding; what is reported is the best "
        "one seen."
    )
    action = "Give starting values, hold a parameter, or simplify the model; do not use the standard errors."
    return Check("Convergence", "not reached", "", Flag("serious", "The search did not converge", detail, action))


def _shift(size: float) -> Check:
    name, statistic, limit = "Discretisation", f"{size:.2g} se", f"<= {_LARGEST_SHIFT:g} se"
    detail = f"Refining the grid of the likelihood would move the estimate by at most {size:.2g} standard errors."
    if size <= _LARGEST_SHIFT:
        return Check(name, statistic, limit, Flag("ok", "The likelihood is converged", detail, "", size))
    if not np.isfinite(size):
        detail = "How far refining the grid of the likelihood would move the estimate is not known."
    action = "Try another method=, or a transformed state (such as its logarithm) in which the noise varies less."
    return Check(name, statistic, limit, Flag("warning", "The likelihood is not converged", detail, action, size))
