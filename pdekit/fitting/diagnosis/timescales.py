"""Whether the record is long enough, and dense enough, for the process that was found in it."""

from pdekit.data.times import plural
from pdekit.fitting.diagnosis.checks import Check, percent
from pdekit.fitting.diagnosis.relaxation import Relaxation
from pdekit.fitting.evidence import Evidence
from pdekit.report import Flag

# For an OU process the relative error of the rate is sqrt(2 tau / T). At T / tau = 50 (.20) the estimate is biased by
# .4 standard errors and Wald intervals cover 93 %; since the rate is also overestimated there, the warning begins
# earlier.
# The number of relaxation times alone would condemn bistable records, whose drift is learned within the wells.
_WARNING, _SERIOUS = 0.16, 0.28
# Learned coefficients are found state by state, with bands that widen by themselves where there are few data, and their
# slowest rate, often that of hops between wells, is none of their parameters.
_LEARNED_WARNING, _LEARNED_SERIOUS = 0.28, 0.45
# With that many relaxation times an uncertain rate has another cause, such as too long a step.
_AMPLE = 300.0
# With fewer than this the data have not shown what the process does in the long run, whatever they fix within a well.
_FEW = 10.0
_SPARSE = 3.0

_PROFILES = "Prefer profile intervals to estimate +- 1.96 standard errors. "  # where there are parameters
_SHORT_ACTION = (
    "Distrust the drift before the noise, and record for longer: sampling more often does not help the drift."
)


def check_record_length(evidence: Evidence, found: Relaxation | None) -> Check:
    """The record's length in relaxation times, and how well it fixes the relaxation rate."""
    name, unit = "Record length", plural(evidence.data.time_unit)
    duration = float(evidence.pairs.dt.sum())
    if found is None and not evidence.model.autonomous:
        detail = "Drift or noise depend on the time, so that there is no stationary law and no relaxation to it."
        action = "Judge the length of the record by the standard errors."
        return Check(name, "no relaxation time", "", Flag("note", "No stationary law", detail, action))
    if found is None:
        detail = (
            "The fitted process settles to no stationary law (or its memory could not be measured), so that there is "
            "no relaxation time to compare the record with."
        )
        action = (
            "Expect the drift's intervals to be wide, and forecasts to drift apart; check them by simulating from "
            "the fit."
        )
        return Check(name, "no relaxation time", "", Flag("note", "No stationary law", detail, action))
    times = duration / found.time
    text = f"The record lasts {duration:.4g} {unit}, {times:.3g} relaxation times of {found.time:.3g} {unit}"
    error = found.uncertainty
    some, much = (_WARNING, _SERIOUS) if evidence.model.param_names else (_LEARNED_WARNING, _LEARNED_SERIOUS)
    statistic, limit = f"T/tau = {times:.3g}, rate +- {percent(error)}", f"<= {some:.0%}"
    severity = "ok" if error <= some or times > _AMPLE else "warning" if error <= much else "serious"
    severity = "warning" if severity == "ok" and times < _FEW else severity
    detail = f"{text}; the relaxation rate is known to {percent(error)}."
    if severity == "ok":
        return Check(name, statistic, limit, Flag("ok", "The record is long enough", detail, "", times))
    action = (_PROFILES if evidence.model.param_names else "") + _SHORT_ACTION
    detail += (
        " In so short a record estimates of the drift are biased toward faster return, and their intervals cover too "
        "little."
    )
    return Check(name, statistic, limit, Flag(severity, "Record too short", detail, action, times))


def check_sampling(evidence: Evidence, found: Relaxation | None) -> Check | None:
    """The step in relaxation times: nearly independent observations tell f / g^2 only. None if the time is unknown."""
    if found is None or evidence.model.dim > 1:
        return None
    unit, step = plural(evidence.data.time_unit), float(evidence.pairs.dt.median())
    ratio = step / found.time
    statistic, limit = f"dt/tau = {ratio:.3g}", f"<= {_SPARSE:g}"
    detail = f"The typical step, {step:.3g} {unit}, is {ratio:.3g} relaxation times of {found.time:.3g} {unit}."
    if ratio <= _SPARSE:
        return Check(
            "Sampling step", statistic, limit, Flag("ok", "Observations follow the dynamics", detail, "", ratio)
        )
    detail += (
        " Successive observations are nearly independent: they fix the stationary law, that is the ratio of drift to "
        "squared noise, but hardly how fast either is."
    )
    action = "Sample more often, or hold one time scale (such as the noise strength) at a value known from elsewhere."
    return Check(
        "Sampling step", statistic, limit, Flag("warning", "Observations too far apart", detail, action, ratio)
    )
