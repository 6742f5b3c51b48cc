"""The summary table of a fit, for terminals, reports and spreadsheets."""

import math
from typing import TYPE_CHECKING

from scipy.special import ndtr

from pdekit.data.times import plural
from pdekit.report import Facts, Flag, Table, render_facts, render_flags, render_table

if TYPE_CHECKING:
    from pandas import DataFrame

    from pdekit.fitting.result import Fit, Parameter


def facts(fit: "Fit") -> tuple[tuple[str, str], ...]:
    """Name and value of everything a summary states beside the parameters."""
    return (
        ("Model", fit.model.name or "user's own"),
        ("Log-likelihood", f"{fit.loglik:.2f}"),
        ("Convention", "Ito" if fit.model.convention == "ito" else "Stratonovich"),
        ("AIC", f"{fit.aic:.2f}"),
        ("Transitions", str(fit.n)),
        ("BIC", f"{fit.bic:.2f}"),
        ("Paths", str(fit.data.n_paths)),
        ("Duration", f"{fit.data.duration:.6g} {plural(fit.data.time_unit)}"),
        ("Step", steps(fit)),
        ("Status", fit.status),
        ("Likelihood", fit.route),
        ("Seed", str(fit.seed)),
    )


def steps(fit: "Fit") -> str:
    """The steps between observations and their unit, such as ".25 year"."""
    dt = fit.pairs.dt
    least, median, most = float(dt.min()), float(dt.median()), float(dt.max())
    unit = plural(fit.data.time_unit)
    if most - least <= 1e-6 * most:
        return f"{median:.5g} {unit}"
    return f"{least:.4g} to {most:.4g} {unit} (median {median:.4g})"


def parameter_table(fit: "Fit", *, level: float = 0.95) -> Table:
    """Estimate, standard errors, z, p-value and interval of every parameter, as text."""
    rows = tuple(_row(p, level) for p in fit.params.values())
    percent = f"{100 * level:g} %"
    tail = 100 * (1 - level) / 2
    columns = ("Parameter", "Estimate", "Std. error", "Robust s.e.", "z", f"[{tail:g} %", f"{100 - tail:g} %]")
    note = (
        f"Rates are per {fit.data.time_unit}. {percent} Wald intervals from the observed information; the "
        "robust standard error is the sandwich's, and a large difference between the two says that the model is wrong "
        "somewhere."
    )
    return Table("Parameters", columns, rows, note)


def _row(parameter: "Parameter", level: float) -> tuple[str, ...]:
    interval = parameter.wald(level)
    if parameter.stderr is None or interval is None:
        return (parameter.name, _number(parameter.estimate), parameter.status, "", "", "", "")
    # Enough digits to see the standard error in the estimate, also of a mean of a million known to a hundredth.
    digits = max(5, 3 + math.ceil(math.log10(max(abs(parameter.estimate) / parameter.stderr, 1.0))))
    return (
        parameter.name,
        _number(parameter.estimate, digits),
        _number(parameter.stderr),
        _number(parameter.robust_stderr),
        f"{parameter.estimate / parameter.stderr:.2f}",
        _number(interval[0], digits),
        _number(interval[1], digits),
    )


def _number(value: float | None, digits: int = 5) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def summary_text(fit: "Fit", *, width: int = 90, flags: tuple[Flag, ...] | None = None) -> str:
    """The facts, the parameter table and the flags as plain text."""
    shown = fit.flags if flags is None else flags
    parts = [
        render_facts(
            Facts(facts(fit), title="Maximum-likelihood fit of a stochastic differential equation"), width=width
        ),
        render_table(parameter_table(fit), width=width),
        render_flags(shown, width=width),
    ]
    return "\n".join(part.rstrip() for part in parts if part) + "\n"


def parameter_frame(fit: "Fit", *, level: float = 0.95) -> "DataFrame":
    """One row per parameter: estimate, standard errors, Wald interval, bounds and status."""
    import pandas as pd

    rows = []
    for p in fit.params.values():
        lower, upper = p.wald(level) or (None, None)
        robust_lower, robust_upper = p.wald(level, robust=True) or (None, None)
        rows.append(
            {
                "parameter": p.name,
                "estimate": p.estimate,
                "stderr": p.stderr,
                "robust_stderr": p.robust_stderr,
                f"lower_{100 * level:g}": lower,
                f"upper_{100 * level:g}": upper,
                f"robust_lower_{100 * level:g}": robust_lower,
                f"robust_upper_{100 * level:g}": robust_upper,
                "z": None if p.stderr is None else p.estimate / p.stderr,
                "p_value": None if p.stderr is None else float(2 * ndtr(-abs(p.estimate / p.stderr))),
                "status": p.status,
            }
        )
    return pd.DataFrame(rows).set_index("parameter")
