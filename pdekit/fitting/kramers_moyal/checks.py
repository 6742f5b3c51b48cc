"""What a Kramers-Moyal fit says about itself: how it was made, and what in the data speaks against it.

From the estimated drift and tensor, mean and covariance of increments over any number of steps can be computed and
compared with the data: noise of the instrument, memory, and steps that are too coarse show there.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from pdekit.data import Trajectories
from pdekit.fitting.kramers_moyal.conditional import Moments
from pdekit.fitting.kramers_moyal.finite_time import Limit, log_cholesky, moments
from pdekit.fitting.kramers_moyal.options import KramersMoyal
from pdekit.fitting.kramers_moyal.smoothing import Smooth
from pdekit.fitting.kramers_moyal.steps import Steps
from pdekit.report import Flag

Details = tuple[tuple[str, str], ...]

# Deviations count from this many standard errors on, which clean data of several states and lags hardly ever reach, ...
_SURE = 4.0
# ... and from these sizes on: of a variance relative to itself, of a correlation, of the drift's change toward dt -> 0.
_LARGE_RATIO, _LARGE_CORRELATION, _LARGE_SHIFT = 0.05, 0.05, 0.3
_LARGE_SHARE, _GRAVE_SHARE = 0.04, 0.2
# A drift of the wrong shape correlates residuals too, but not at lag 1 alone.
_LASTING = 0.35
# Standard error of the drift over its size from which on its shape is not to be seen.
_UNCLEAR = 0.5


@dataclass(frozen=True, eq=False)
class Residuals:
    """Increments less their predicted means, in units of their predicted standard deviations, path after path.

    Attributes:
        values: (N, d).
        spread: Those standard deviations, (N, d), in units of the states.
        path: (N,).
        expected: Correlations between states that the fit itself makes within a step, (d, d).
    """

    values: np.ndarray
    spread: np.ndarray
    path: np.ndarray
    expected: np.ndarray

    def products(self, lag: int) -> np.ndarray:
        """Of residuals `lag` apart on one path, (n, d)."""
        same = self.path[lag:] == self.path[:-lag]
        return (self.values[lag:] * self.values[:-lag])[same]


def findings(
    options: KramersMoyal,
    data: Trajectories,
    found: Moments,
    limit: Limit,
    centre: np.ndarray,
    scale: np.ndarray,
) -> tuple[Details, tuple[Flag, ...]]:
    """Details for a report, and flags."""
    shift = _shift(found, limit)
    details = [*_how(options, data, found, scale), ("limit dt -> 0", _limit_text(options, limit, shift))]
    flags = _coarse(data, found, limit, shift)
    for lag in sorted({1, *options.steps}):
        residuals = _residuals(data, found, limit, lag, centre, scale) if max(map(len, data.times)) > lag + 1 else None
        if residuals is None:
            continue
        if lag == 1:
            more, alarms = _measurement_noise(data, residuals, options.steps[0])
            alarms += _correlated(data, residuals) if options.noise == "diagonal" else []
        else:
            more, alarms = _at_lag(data, residuals, lag)
            alarms = [] if flags else alarms  # the graver finding explains it
        details, flags = details + more, flags + alarms
    edge = _at_edge(options, data, found) if limit.converged else []
    return tuple(details), tuple(flags + _few(data, found) + edge)


def _residuals(
    data: Trajectories, found: Moments, limit: Limit, lag: int, centre: np.ndarray, scale: np.ndarray
) -> Residuals | None:
    """Residuals of all increments over `lag` steps; None where a step is so coarse that nothing can be predicted."""
    steps, design = Steps.of(data, lag, centre, scale), found.design
    noise = log_cholesky(limit.tensor)
    mean, tensor = moments(
        design.interpolant(limit.drift), design.interpolant(noise), found.pull, design.nodes, steps.step
    )
    variance = np.diagonal(tensor, axis1=1, axis2=2)
    if not (np.isfinite(mean).all() and np.isfinite(variance).all() and (variance > 0.0).all()):
        return None
    means, spreads = design.interpolant(mean), design.interpolant(0.5 * np.log(2.0 * variance))
    u = means.within_reach(torch.from_numpy(steps.u))
    root = np.sqrt(steps.dt)[:, None]
    spread = spreads(u).exp().numpy() * root
    values = (steps.du - means(u).numpy() * root**2) / spread
    sizes = np.sqrt(variance)
    within = tensor / (sizes[:, :, None] * sizes[:, None, :])  # what the drift and the noise correlate within a step
    return Residuals(values, spread * scale, steps.path, np.einsum("c,cij->ij", design.share, within))


def _how(options: KramersMoyal, data: Trajectories, found: Moments, scale: np.ndarray) -> list[tuple[str, str]]:
    steps, names = found.steps, data.names
    over = "one step" if steps.lag == 1 else f"{steps.lag} steps, overlapping"
    unit = f"{steps.step[0]:.4g} {data.time_unit}"
    gaps = f"; {steps.left_out:,} over gaps left out" if steps.left_out else ""
    out = [("increments", f"{len(steps):,} over {over} ({unit} on average){gaps}")]
    if options.estimator == "bins":
        per_axis = round(len(found.design.nodes) ** (1.0 / data.dim))
        out.append(
            ("estimator", f"means in {per_axis} bins per state, {int(found.design.supported.sum())} of them with data")
        )
    else:
        for k, name in enumerate(names):
            out.append((f"drift of {name}", _chosen(found.drift, k, names, scale)))
            out.append((f"diffusion of {name}", _chosen(found.tensor, k, names, scale)))
    typical = _effective(found)
    for k, name in enumerate(names):
        number = _weighted_median(typical[:, k], found.design.share)
        size = f"{found.parameters[k]:.1f} effective parameters"
        out.append((f"drift of {name}, precision", f"{size}; typically that of the mean of {number:,.0f} increments"))
    return out


def _effective(found: Moments) -> np.ndarray:
    """How many increments' mean has the standard error of the drift, at each node (C, d)."""
    variance = 2.0 * np.diagonal(found.second, axis1=1, axis2=2) / found.steps.step[0]
    return variance / np.maximum(found.drift.stderr, 1e-300) ** 2


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(weights[order]), 0.5 * weights.sum())])


def _chosen(smooth: Smooth, component: int, names: tuple[str, ...], scale: np.ndarray) -> str:
    """The candidates that count, with their weights."""
    parts = []
    for candidate, weight in smooth.chosen(component):
        if candidate.everywhere:
            text = f"one polynomial of degree {candidate.degree}"
        else:
            widths = ", ".join(f"{w * s:.3g}" for w, s in zip(candidate.width, scale, strict=True))
            text = f"local degree {candidate.degree}, bandwidth {widths}"
        parts.append(text if smooth.tried == 1 else f"{text} ({weight:.0%})")
    chosen = "given" if smooth.tried == 1 else f"cross-validated among {smooth.tried}"
    return f"{'; '.join(parts[:3])}{'; ...' if len(parts) > 3 else ''}; {chosen}"


def _shift(found: Moments, limit: Limit) -> tuple[float, float, float]:
    """What going to dt -> 0 changes, averaged over the data: f and D in standard errors, f relative to its size."""
    share, dim = found.design.share[:, None], found.steps.dim
    move = limit.drift - found.first
    moved = np.diagonal(limit.tensor - found.second, axis1=1, axis2=2)
    error = np.maximum(found.tensor.stderr[:, :dim], 1e-300)
    in_errors = lambda a: float(np.sqrt((share * a**2).sum(0)).max())  # noqa: E731
    size = np.sqrt((share * found.first**2).sum(0))
    relative = float((np.sqrt((share * move**2).sum(0)) / np.maximum(size, 1e-300)).max())
    return in_errors(move / np.maximum(found.drift.stderr, 1e-300)), in_errors(moved / error), relative


def _limit_text(options: KramersMoyal, limit: Limit, shift: tuple[float, float, float]) -> str:
    if options.extrapolate is False:
        return "not taken: these are the moments of finite steps"
    moves = f"changes the drift by {shift[0]:.2g} and the diffusion by {shift[1]:.2g} standard errors"
    if not limit.converged:
        return f"not reached: the moments of finite steps are missed by {limit.residual:.1%}; what was done {moves}"
    return f"second-order correction for the finite step; {moves}"


def _coarse(data: Trajectories, found: Moments, limit: Limit, shift: tuple[float, float, float]) -> list[Flag]:
    step = f"{found.steps.step[0]:.3g} {data.time_unit}"
    action = (
        "Sample more finely, or fit a formula with pk.fit(SymbolicSDE, data): its Fokker-Planck likelihood is right at "
        "any step in one dimension."
    )
    if not limit.converged:
        detail = (
            f"No drift and diffusion were found whose increments over the step of {step} have the means and variances "
            f"that were observed; they are missed by {limit.residual:.0%}. The system moves far within a step."
        )
        return [Flag("serious", "Step too coarse for conditional moments", detail, action, limit.residual)]
    if shift[2] > _LARGE_SHIFT:
        detail = (
            f"Going from the step of {step} to the limit dt -> 0 changes the drift by {shift[2]:.0%}. The correction "
            "is of second order; what it leaves is not in the standard errors."
        )
        return [Flag("warning", "Estimates change with the step: it is coarse", detail, action, shift[2])]
    return []


def _measurement_noise(data: Trajectories, residuals: Residuals, used: int) -> tuple[list[tuple[str, str]], list[Flag]]:
    """Noise eps on each reading adds 2 eps^2 to second moments at every lag, and correlates successive increments."""
    near, later = residuals.products(1), residuals.products(2)
    if len(near) < 10:
        return [], []
    details, flags = [], []
    for k, name in enumerate(data.names):
        correlation, error = near[:, k].mean(), near[:, k].std() / math.sqrt(len(near))
        same = residuals.path[1:] == residuals.path[:-1]
        product = near[:, k] * (residuals.spread[1:, k] * residuals.spread[:-1, k])[same]
        square, uncertain = -product.mean(), product.std() / math.sqrt(len(product))
        eps = math.sqrt(max(square, 0.0))
        second = float((residuals.values[:, k] * residuals.spread[:, k]).var())
        share = 2.0 * square / (second + (used - 1) * max(second - 2.0 * square, 0.0))  # over the lag of the estimates
        intercept = f"intercept 2 eps^2 = {2.0 * square:.2g} +- {2.0 * uncertain:.1g}"
        details.append((f"second moment of {name} against the lag", intercept))
        lasting = len(later) > 0 and later[:, k].mean() < _LASTING * correlation
        if correlation > -_SURE * error or share < _LARGE_SHARE or lasting:
            continue
        detail = (
            f"Successive increments of {name} are correlated by {correlation:+.3f} beyond what the drift explains. "
            f"Noise of standard deviation eps = {eps:.3g} on each reading does that; it makes up about "
            f"{min(share, 1.0):.0%} of sigma^2 as estimated."
        )
        action = (
            "Use longer lags, such as KramersMoyal(lags=(5, 10)): the share of the noise falls in proportion. Or fit a "
            "formula with the noise as a parameter: observation=pk.Observation(noise='estimate'), on the command line "
            "--measurement-noise estimate."
        )
        severity = "serious" if share > _GRAVE_SHARE else "warning"
        flags.append(Flag(severity, "Suspicion of measurement noise", detail, action, eps))
    return details, flags


def _at_lag(data: Trajectories, residuals: Residuals, lag: int) -> tuple[list[tuple[str, str]], list[Flag]]:
    """Whether the second moments over several steps are those that the fit predicts: 1 in units of these."""
    squares = residuals.values**2
    # Overlapping squares repeat one another; and standardised ones have a variance of their own.
    error = squares.std(0) / math.sqrt(len(squares)) * math.sqrt((2.0 * lag**2 + 1.0) / (3.0 * lag))
    ratio = squares.mean(0)
    text = ", ".join(f"{name} {r:.3f} +- {e:.1g}" for name, r, e in zip(data.names, ratio, error, strict=True))
    details = [(f"second moment over {lag} steps, observed / predicted", text)]
    excess = np.abs(ratio - 1.0) - _SURE * error
    worst = int(np.argmax(excess))
    if excess[worst] <= 0.0 or abs(ratio[worst] - 1.0) < _LARGE_RATIO:
        return details, []
    direction = "larger" if ratio[worst] > 1.0 else "smaller"
    why = (
        "memory: a velocity or a slow variable that was not observed" if ratio[worst] > 1.0 else "noise on the readings"
    )
    detail = (
        f"Over {lag} steps the second moment of {data.names[worst]} is {abs(ratio[worst] - 1.0):.0%} {direction} than "
        f"the fit predicts from shorter ones. A step that is too coarse does that, or {why}."
    )
    action = (
        f"Compare with KramersMoyal(lags=({lag}, {2 * lag})), and trust lags from which on estimates no longer change."
    )
    return details, [Flag("warning", "Estimates change with the step", detail, action, float(ratio[worst]))]


def _correlated(data: Trajectories, residuals: Residuals) -> list[Flag]:
    """Whether diagonal noise leaves residuals of different states correlated."""
    r, flags = residuals.values, []
    for i in range(data.dim):
        for j in range(i):
            correlation = float(np.corrcoef(r[:, i], r[:, j])[0, 1] - residuals.expected[i, j])
            if abs(correlation) > max(_SURE / math.sqrt(len(r)), _LARGE_CORRELATION):
                names = f"{data.names[j]} and {data.names[i]}"
                detail = f"The noises of {names} are correlated by {correlation:+.2f}; diagonal noise leaves that out."
                flags.append(
                    Flag("warning", "Noise is not diagonal", detail, 'Use KramersMoyal(noise="full").', correlation)
                )
    return flags


def _few(data: Trajectories, found: Moments) -> list[Flag]:
    """Whether the drift can be told from its errors."""
    share = found.design.share[:, None]
    size = np.sqrt((share * found.first**2).sum(0))
    error = np.sqrt((share * found.drift.stderr**2).sum(0))
    ratio = error / np.maximum(size, 1e-300)
    worst = int(np.argmax(ratio))
    if ratio[worst] < _UNCLEAR:
        return []
    detail = (
        f"The standard error of the drift of {data.names[worst]} is on average {ratio[worst]:.0%} of the drift itself. "
        f"It falls with the observed time ({data.duration:.4g} {data.time_unit}), not with finer steps."
    )
    action = "Observe for longer, or fit a formula with fewer parameters."
    return [Flag("warning", "Few data for the drift", detail, action, float(ratio[worst]))]


def _at_edge(options: KramersMoyal, data: Trajectories, found: Moments) -> list[Flag]:
    """Whether the finest bandwidth was preferred, so that a finer one might be better still."""
    if options.estimator == "bins" or options.widths is not None:
        return []
    finest = found.drift.finest
    names = [
        name
        for k, name in enumerate(data.names)
        if any(smooth.chosen(k)[0][0].width[0] == finest for smooth in (found.drift, found.tensor))
    ]
    if not names:
        return []
    detail = f"Cross-validation prefers the smallest bandwidth that it tries for {', '.join(names)}."
    action = "Give a smaller bandwidth=, or transform the state so that its data are more evenly spread."
    return [Flag("note", "There may be finer structure", detail, action, finest)]


__all__ = ["findings"]
