"""Whether the fitted transition law has the right shape: PIT values are uniform if it does."""

import numpy as np
from scipy.special import chdtr, kolmogorov, ndtr

from pdekit.fitting.diagnosis.checks import LEVEL, Check, legendre, moment_test, p_text
from pdekit.fitting.diagnosis.residuals import Residuals
from pdekit.fitting.evidence import Evidence
from pdekit.report import Flag

_DEGREE = 4
# A distribution function that is off by less than this changes no conclusion, however sure one is of it.
HARMLESS, GRAVE = 0.02, 0.1

_ACTION = (
    "Look at the PIT histogram: a U shape or a hump means that the noise is too weak or too strong, a slope that the "
    "drift is off. Try a noise that depends on the state, a richer drift, or look for jumps."
)


def check_uniformity(evidence: Evidence, residuals: Residuals) -> Check:
    """A smooth test of the PIT values, with the effect of estimation taken out, and their largest distance to uniform.

    Kolmogorov and Smirnov's p-value is reported beside it; it takes the parameters for known and is therefore too
    large.
    For several states, each standardised component and the squared length are tested, and the worst counts.
    """
    covariance = evidence.covariance.numpy()
    candidates = _uniforms(evidence, residuals)
    results = []
    for label, u in candidates:
        counts = np.full(_DEGREE, len(u))
        test = moment_test(legendre(u, _DEGREE), residuals.own_scores, covariance, counts)
        results.append((test.p_value, distance(u), label, u))
    p_value, effect, label, u = min(results, key=lambda r: (r[0], -r[1]))
    p_value = min(1.0, p_value * len(results))
    name = "PIT uniformity" if residuals.pit is not None else "Normality of residuals"
    statistic = f"max |F_n - u| = {effect:.3f}{label}"
    ks = float(kolmogorov(np.sqrt(len(u)) * effect))
    detail = (
        f"The distribution of the observations within the fitted transition law{label} is off by at most "
        f"{effect:.3f}; smooth test {p_text(p_value)}, Kolmogorov-Smirnov {p_text(ks)} (too large, as parameters were "
        "estimated)."
    )
    if p_value >= LEVEL:
        flag = Flag("ok", "The transition law has the right shape", detail, "", effect)
    elif effect < HARMLESS:
        detail += " With so many observations even a harmless deviation is significant; this one is small."
        flag = Flag("note", "Transition law slightly off", detail, "Nothing, unless tails matter to you.", effect)
    else:
        flag = Flag(
            "serious" if effect > GRAVE else "warning", "Transition law has the wrong shape", detail, _ACTION, effect
        )
    return Check(name, statistic, p_text(p_value), flag)


def _uniforms(evidence: Evidence, residuals: Residuals) -> list[tuple[str, np.ndarray]]:
    """(label, values) that are uniform on (0, 1) if the model holds."""
    if residuals.pit is not None:
        return [("", residuals.pit)]
    columns = residuals.values
    names = [f" ({name})" for name in evidence.residual_names]
    squared = chdtr(columns.shape[1], (columns**2).sum(-1))
    return [*((name, ndtr(columns[:, j])) for j, name in enumerate(names)), (" (squared length)", squared)]


def distance(u: np.ndarray) -> float:
    """max |F_n - u| of values in (0, 1)."""
    ordered, n = np.sort(u), len(u)
    ranks = np.arange(n)
    return float(max(np.max(ordered - ranks / n), np.max((ranks + 1) / n - ordered)))
