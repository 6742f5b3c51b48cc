"""Single steps that the fitted model can't explain."""

import numpy as np
from scipy.special import ndtr

from pdekit.fitting.densities.grid import FokkerPlanckTransition
from pdekit.fitting.densities.protocol import MixedTransition, TransitionDensity
from pdekit.fitting.diagnosis.checks import LEVEL, Check, p_text
from pdekit.fitting.diagnosis.residuals import Residuals
from pdekit.fitting.evidence import Evidence
from pdekit.report import Flag

_RESOLVED = 7.5
_LISTED = 3


def check_outliers(evidence: Evidence, residuals: Residuals) -> Check:
    """The largest residual against the largest that so many standard normal numbers would have."""
    name = "Outliers"
    sizes = np.abs(residuals.values).max(-1)
    tails = 2.0 * ndtr(-sizes) * residuals.values.size
    p_value, worst = float(min(1.0, tails.min())), float(sizes.max())
    lost = unreachable(evidence.density)
    statistic = f"max |r| = {worst:.1f}"
    if p_value >= LEVEL and not lost:
        detail = f"The largest of {residuals.values.size} residuals is {worst:.1f} standard deviations."
        return Check(name, statistic, p_text(p_value), Flag("ok", "No outliers", detail, "", worst))
    count = int((tails < LEVEL).sum())
    listed = "; ".join(
        _place(evidence, residuals, i) for i in np.argsort(-sizes, kind="stable")[:_LISTED] if tails[i] < LEVEL
    )
    detail = (
        f"{count} {'step is' if count == 1 else 'steps are'} larger than the fitted model explains, up to "
        f"{_size_text(worst)} standard deviations: {listed}."
        if count
        else ""
    )
    if lost:
        detail += (
            f" {lost} steps are so unlikely that their density can't be computed; they were given that of one Euler "
            "step."
        )
    action = (
        "Look at these rows. Remove errors of the instrument; if they are real, the process jumps, or its noise "
        "grows with the state."
    )
    severity = "serious" if lost else "warning"
    return Check(name, statistic, p_text(p_value), Flag(severity, "Outliers", detail.strip(), action, float(count)))


def _size_text(size: float) -> str:
    """A size in standard deviations; a distribution function within 1e-15 of 0 or 1 tells no more than "over 8"."""
    return f"{size:.1f}" if size < _RESOLVED else f">{_RESOLVED:g}"


def unreachable(density: TransitionDensity) -> int:
    """How many pairs had a density below double precision."""
    if isinstance(density, MixedTransition):
        return sum(unreachable(part) for _, part in density.parts)
    return density.unreachable if isinstance(density, FokkerPlanckTransition) else 0


def _place(evidence: Evidence, residuals: Residuals, i: int) -> str:
    """Where the step of residual i is: its time, its row in its path, the path if there are several."""
    at = int(residuals.positions[i])
    pairs, data = evidence.pairs, evidence.data
    path = int(pairs.path[at])
    row = at - int((pairs.path < path).sum()) + 1
    owner = f" of path {data.ids[path]}" if data.n_paths > 1 else ""
    r = residuals.values[i]
    size = r[np.abs(r).argmax()]
    signed = ("-" if size < 0 else "+") + _size_text(abs(size))
    return f"t = {float(pairs.t[at]):.6g}, observation {row} to {row + 1}{owner} ({signed} sd)"
