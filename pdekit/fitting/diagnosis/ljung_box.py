"""Whether residuals are independent in time: Ljung and Box's test, with the effect of estimation taken out."""

import numpy as np
from scipy.special import ndtr

from pdekit.fitting.diagnosis.checks import LEVEL, Check, legendre, moment_test, p_text
from pdekit.fitting.diagnosis.residuals import Residuals
from pdekit.fitting.evidence import Evidence
from pdekit.report import Flag

_MOST_LAGS = 10
HARMLESS, GRAVE = 0.03, 0.2

_ACTIONS = {
    "residuals": (
        "The state does not hold all that matters for its future. Suspect measurement noise (negative at lag 1), a "
        "second, hidden variable such as a velocity (positive), or a drift that is too simple; a coarser subsample "
        "shows which survives."
    ),
    "squared residuals": (
        "Quiet and violent stretches follow one another. Let the noise depend on the state, or think of a hidden "
        "variable that drives it (stochastic volatility)."
    ),
}


def check_autocorrelation(evidence: Evidence, residuals: Residuals) -> list[Check]:
    """The first autocorrelations, within paths, of the residuals and of their squares; the worst component counts."""
    r = residuals.values
    return [
        _check(evidence, residuals, r, "residuals"),
        _check(evidence, residuals, _sizes(r), "squared residuals"),
    ]


def _sizes(r: np.ndarray) -> np.ndarray:
    """A bounded, increasing function of r^2 with mean 0 and variance 1, (n, d)."""
    # Products of the squares themselves have such heavy tails that one clean record in twenty would be accused.
    return legendre(ndtr(r).ravel(), 2)[:, 1].reshape(r.shape)


def _check(evidence: Evidence, residuals: Residuals, values: np.ndarray, what: str) -> Check:
    n, dim = values.shape
    lags = max(1, min(_MOST_LAGS, n // 10))
    results = []
    for j, state in enumerate(evidence.residual_names):
        products, counts = lagged_products(residuals, values[:, j], lags)
        test = moment_test(products, residuals.own_scores, evidence.covariance.numpy(), counts)
        correlations = products.sum(0) / np.maximum(counts, 1)
        lag = int(np.abs(correlations).argmax())
        results.append((test.p_value, test, float(correlations[lag]), lag + 1, state))
    p_value, test, correlation, lag, state = min(results, key=lambda r: r[0])
    p_value = min(1.0, p_value * dim)
    where = f" of {state}" if dim > 1 else ""
    name = f"Ljung-Box, {what}"
    statistic = f"Q({test.dof}) = {test.statistic:.3g}{where}"
    detail = (
        f"The {what}{where} have an autocorrelation of up to {correlation:.3f} (lag {lag}); Ljung-Box "
        f"{p_text(p_value)}."
    )
    if p_value >= LEVEL:
        flag = Flag("ok", f"No autocorrelation in the {what}", detail, "", correlation)
    elif abs(correlation) < HARMLESS:
        flag = Flag(
            "note",
            f"Slight autocorrelation in the {what}",
            detail,
            "Nothing: it is significant but small.",
            correlation,
        )
    else:
        severity = "serious" if abs(correlation) > GRAVE else "warning"
        sandwich = what == "squared residuals" and evidence.model.param_names
        action = _ACTIONS[what] + (" Otherwise prefer the robust standard errors." if sandwich else "")
        flag = Flag(severity, f"Autocorrelation in the {what}", detail, action, correlation)
    return Check(name, statistic, p_text(p_value), flag)


def lagged_products(residuals: Residuals, values: np.ndarray, lags: int) -> tuple[np.ndarray, np.ndarray]:
    """v_i v_{i-l}, l = 1 ... lags, within paths, 0 where there is none earlier, (n, lags); and their counts (lags,)."""
    products, counts = [], []
    for lag in range(1, lags + 1):
        earlier = residuals.previous(lag)
        valid = earlier >= 0
        products.append(np.where(valid, values * values[earlier.clip(min=0)], 0.0))
        counts.append(valid.sum())
    return np.stack(products, -1), np.array(counts)
