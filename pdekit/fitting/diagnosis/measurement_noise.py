"""Suspicion of measurement noise.

Noise of standard deviation eps on every reading raises each one-step variance by 2 eps^2, but each reading's error
enters two steps with opposite signs: successive residuals are correlated by -eps^2 / (s_i s_{i-1}) in units of the
one-step standard deviations s. It is the same signature as a structure function
E[(x_{t+h} - x_t)^2] that tends to 2 eps^2 as h -> 0.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtr

from pdekit.fitting.diagnosis.checks import LEVEL, Check, p_text
from pdekit.fitting.diagnosis.ljung_box import lagged_products
from pdekit.fitting.diagnosis.residuals import Residuals
from pdekit.fitting.evidence import Evidence
from pdekit.report import Flag

# A correlation weaker than this moves sigma^2 by less than about two per cent per per cent.
_HARMLESS = -0.02
_GRAVE = -0.1
# A drift of the wrong shape leaves a negative correlation too, but one that goes on at lags 2 and 3.
_LASTING = 0.35


@dataclass(frozen=True)
class NoiseEstimate:
    """Measurement noise of one component.

    Attributes:
        sd: eps, in the units of the component; 0 where the correlation is positive.
        error: Its standard error.
        correlation: Of successive residuals.
        later: The mean correlation at lags 2 and 3, which noise leaves near zero and a wrong drift does not.
        p_value: One-sided, against correlations below zero, with the effect of estimation taken out.
        share: 2 eps^2 over the fitted one-step variance: the part of sigma^2 that is noise of the instrument.
    """

    sd: float
    error: float
    correlation: float
    later: float
    p_value: float
    share: float


def noise_estimate(evidence: Evidence, residuals: Residuals, component: int = 0) -> NoiseEstimate:
    """Estimates eps from the products of successive residuals, by least squares on what noise would make of them.

    An error carried into the next prediction shrinks by exp(f' dt). The fitted slope, weakened by the noise already,
    takes two more such factors off the correlation.
    """
    products, counts = lagged_products(residuals, residuals.values[:, component], 3)
    product, count = products[:, 0], max(int(counts[0]), 1)
    cross = product @ residuals.own_scores
    variance = count - float(cross @ evidence.covariance.numpy() @ cross)
    # With steps as long as the relaxation time estimation takes up most of the variance, and second-order errors count.
    z = float(product.sum()) / np.sqrt(max(variance, 0.5 * count))
    spread, slope = _step(evidence, residuals.positions, component)
    earlier = residuals.previous(1)
    response = np.where(earlier >= 0, slope**3 / (spread * spread[earlier.clip(min=0)]), 0.0)
    weight = max(float(response @ response), 1e-300)
    square = -float(response @ product) / weight
    error = float(np.sqrt((response**2) @ (product - product.mean()) ** 2)) / weight
    sd = float(np.sqrt(max(square, 0.0)))
    share = 2.0 * square * float(np.mean(1.0 / spread**2))
    error = error / (2.0 * sd) if sd > 0.0 else np.inf
    correlation = float(product.sum()) / count
    later = float(products[:, 1:].sum() / max(counts[1:].sum(), 1))
    return NoiseEstimate(sd, error, correlation, later, float(ndtr(z)), share)


def _step(evidence: Evidence, positions: np.ndarray, component: int) -> tuple[np.ndarray, np.ndarray]:
    """The standard deviation of one step and exp(f' dt), at most 1, of the chosen pairs, each (n,)."""
    function, pairs = evidence.coefficients, evidence.pairs
    at = torch.from_numpy(positions)
    t, x, dt = pairs.t[at, None], pairs.x0[at], pairs.dt[at]
    with torch.no_grad():
        noise = function.size(t, x, evidence.theta, component)
        slope = function.drift_slope(t, x, evidence.theta)[:, component]
        exponent = (slope * dt).clamp(-20.0, 0.0)
        # int_0^dt exp(2 f' s) ds, which is dt without a slope.
        time = torch.where(
            exponent.abs() < 1e-6, dt, dt * torch.expm1(2.0 * exponent) / (2.0 * exponent).clamp_max(-1e-12)
        )
    return (noise * time.sqrt()).numpy(), exponent.exp().numpy()


def check_measurement_noise(evidence: Evidence, residuals: Residuals) -> Check:
    """Whether successive residuals are correlated as measurement noise makes them; the worst component counts."""
    dim, name = evidence.model.dim, "Measurement noise"
    estimates = [noise_estimate(evidence, residuals, j) for j in range(dim)]
    worst = min(range(dim), key=lambda j: estimates[j].p_value)
    found, state = estimates[worst], evidence.model.state_names[worst]
    p_value = min(1.0, found.p_value * dim)
    statistic = f"corr(r_i, r_i-1) = {found.correlation:+.3f}"
    lasting = found.later < _LASTING * found.correlation
    if p_value >= LEVEL or found.correlation > _HARMLESS or lasting:
        detail = (
            f"Successive residuals have a correlation of {found.correlation:+.3f}; noise on the readings would make "
            f"it negative at lag 1 alone (lags 2 and 3: {found.later:+.3f})."
        )
        return Check(
            name, statistic, p_text(p_value), Flag("ok", "No sign of measurement noise", detail, "", found.correlation)
        )
    detail = (
        f"Successive residuals of {state} have a correlation of {found.correlation:+.3f}, as noise of standard "
        f"deviation {found.sd:.3g} +- {found.error:.1g} on every reading would make it. It would account for about "
        f"{min(found.share, 1.0):.0%} of the fitted one-step variance, that is of sigma^2."
    )
    action = (
        "Fit a formula with the noise as a parameter: observation=pk.Observation(noise='estimate'), on the command "
        "line --measurement-noise estimate. Or subsample: the share of noise falls in proportion to the step. A drift "
        "that is too simple can look alike: try a richer one."
    )
    severity = "serious" if found.correlation < _GRAVE else "warning"
    return Check(
        name, statistic, p_text(p_value), Flag(severity, "Suspicion of measurement noise", detail, action, found.sd)
    )
