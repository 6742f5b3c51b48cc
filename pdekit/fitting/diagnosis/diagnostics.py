"""The door to the diagnostics of a fit: `diagnose`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pdekit.fitting.diagnosis.boundary import check_boundary
from pdekit.fitting.diagnosis.chapman_kolmogorov import check_chapman_kolmogorov
from pdekit.fitting.diagnosis.checks import Check
from pdekit.fitting.diagnosis.euler_bias import check_euler_step
from pdekit.fitting.diagnosis.identifiability import check_converged, check_directions, check_precision, check_search
from pdekit.fitting.diagnosis.ljung_box import check_autocorrelation
from pdekit.fitting.diagnosis.measurement_noise import check_measurement_noise
from pdekit.fitting.diagnosis.outliers import check_outliers
from pdekit.fitting.diagnosis.relaxation import relaxation
from pdekit.fitting.diagnosis.residuals import Residuals
from pdekit.fitting.diagnosis.timescales import check_record_length, check_sampling
from pdekit.fitting.diagnosis.uniformity import check_uniformity
from pdekit.fitting.evidence import Evidence
from pdekit.report import Flag, Table, render_flags, render_table


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """Everything that was checked about a fit.

    Attributes:
        checks: One per line of the table, in order.
        positions: Which pairs the residuals belong to, (n,): all, or contiguous blocks of a long record.
        pit: P(X <= x1 | x0) of these pairs, (n,), uniform on (0, 1) if the model holds; None for several states.
        residuals: Standard normal if the model holds, (n,); for several states see `Residuals`, (n, d).
        relaxation_time: Of the fitted process, in the data's time unit; None if it has no stationary law.
    """

    checks: tuple[Check, ...]
    positions: np.ndarray
    pit: np.ndarray | None
    residuals: np.ndarray
    relaxation_time: float | None

    @property
    def flags(self) -> tuple[Flag, ...]:
        """The findings in plain language, in the order of the checks, those in order included."""
        return tuple(check.flag for check in self.checks)

    @property
    def ok(self) -> bool:
        """Whether nothing calls for a warning."""
        return not any(flag.severity in ("warning", "serious") for flag in self.flags)

    def table(self) -> Table:
        """Check, statistic, limit and verdict, one line each."""
        rows = tuple((c.name, c.statistic, c.limit, c.flag.severity) for c in self.checks)
        note = "p-values allow for estimated parameters; warnings begin at p < 0.001 and an effect that matters."
        return Table("Diagnostics", ("check", "statistic", "p / limit", "verdict"), rows, note)

    def __repr__(self) -> str:
        findings = [flag for flag in self.flags if flag.severity != "ok"]
        return "\n".join(part for part in (render_table(self.table()), render_flags(findings)) if part)


def diagnose_unpaired(remarks: Sequence[Flag], *, converged: bool | None) -> Diagnostics:
    """What can be said without transitions: whether the search converged, and what the estimate remarks.

    Args:
        remarks: As in `diagnose`.
        converged: As in `diagnose`; None of learned coefficients, of which no maximum is looked for.
    """
    checks = [Check("Estimate", flag.number, "", flag) for flag in remarks]
    if converged is not None:
        checks = [check_converged(converged), *checks]
    return Diagnostics(tuple(checks), np.zeros(0, dtype=np.int64), None, np.zeros(0), None)


def diagnose(
    evidence: Evidence,
    *,
    shift: Sequence[float] | np.ndarray | None = None,
    at_bound: Sequence[str] = (),
    converged: bool = True,
    remarks: Sequence[Flag] = (),
) -> Diagnostics:
    """Checks a fit: search, transition law, independence, Markov property, noise, step, length of record, boundaries.

    Args:
        evidence: The model, the data and the maximum of the likelihood.
        shift: The discretisation error left in each free parameter, in standard errors.
        at_bound: Names of parameters that ended at their bound.
        converged: Whether the search did.
        remarks: What the way of fitting has to say, to be listed with the rest.

    Returns:
        One finding per check, each with its number and what to do about it. Of a record longer than 10,000 steps the
        residuals are computed on twenty blocks of it, spread evenly.
    """
    said = [Check("Estimate", flag.number, "", flag) for flag in remarks]
    search = said
    if evidence.model.param_names:
        found_by = check_search(evidence, shift=shift, at_bound=at_bound, converged=converged)
        search = [*found_by, *said, check_directions(evidence), check_precision(evidence)]
    if not bool(torch.isfinite(evidence.covariance).all()):
        # Without a covariance the parameters count as known, which makes the tests timid but not wrong.
        evidence = replace(evidence, covariance=torch.zeros_like(evidence.covariance))
    residuals = Residuals.of(evidence)
    found = relaxation(evidence, residuals.scores)
    # Readings that a filter explains are no Markov process, and their noise is a part of the model.
    of_states: list[Check | None] = []
    if not hasattr(evidence.density, "states"):
        of_states = [
            *check_chapman_kolmogorov(evidence, residuals, found),
            check_measurement_noise(evidence, residuals),
            check_euler_step(evidence),
        ]
    found_out: list[Check | None] = [
        *search,
        check_uniformity(evidence, residuals),
        check_outliers(evidence, residuals),
        *check_autocorrelation(evidence, residuals),
        *of_states,
        check_sampling(evidence, found),
        check_record_length(evidence, found),
        *check_boundary(evidence.of_states),
    ]
    told = {flag.title for flag in remarks}  # a finding that the way of fitting has told already is told once
    checks = [c for c in found_out if c is not None and (c in said or c.flag.title not in told)]
    values = residuals.values[:, 0] if residuals.values.shape[1] == 1 else residuals.values
    return Diagnostics(
        checks=tuple(checks),
        positions=residuals.positions,
        pit=residuals.pit,
        residuals=values,
        relaxation_time=None if found is None else found.time,
    )
