"""The summary table of a fit, for terminals, reports and spreadsheets."""

import math
from typing import TYPE_CHECKING

import torch
from scipy.special import ndtr

from pdekit.data import Snapshots
from pdekit.data.times import plural
from pdekit.fitting.coefficients import Coefficients
from pdekit.fitting.learned import LearnedSDE
from pdekit.report import Facts, Flag, Table, render_facts, render_flags, render_table

if TYPE_CHECKING:
    from pandas import DataFrame

    from pdekit.fitting.result import Fit, Parameter

_LEVELS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)


def facts(fit: "Fit") -> tuple[tuple[str, str], ...]:
    """Name and value of everything a summary states beside the parameters."""
    if isinstance(fit.data, Snapshots):
        size = (("Samples", f"{fit.n:,}"), ("Snapshots", str(len(fit.data.times))))
        between = f"{float(fit.data.times[0]):.6g} to {float(fit.data.times[-1]):.6g} {plural(fit.data.time_unit)}"
        step = (("Times", between),)
    else:
        size = (("Transitions", str(fit.n)), ("Paths", str(fit.data.n_paths)))
        duration = f"{fit.data.duration:.6g} {plural(fit.data.time_unit)}"
        step = (("Duration", duration), ("Step", steps(fit)))
    return (
        ("Model", fit.model.name or "user's own"),
        ("Log-likelihood", _criterion(fit.loglik)),
        ("Convention", "Ito" if fit.model.convention == "ito" else "Stratonovich"),
        ("AIC", _criterion(fit.aic)),
        size[0],
        ("BIC", _criterion(fit.bic)),
        size[1],
        *step,
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


def _criterion(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.2f}"


def estimate_table(fit: "Fit") -> Table:
    """The parameters; where there are none, the learned coefficients at some states."""
    return parameter_table(fit) if fit.params else coefficient_table(fit)


def coefficient_frame(fit: "Fit") -> "DataFrame":
    """Drift and noise of each state along its own quantiles, the other states at their medians, as numbers."""
    import pandas as pd

    if isinstance(fit.data, Snapshots):
        data, states = fit.data, fit.data.pooled()[0]
        time = 0.5 * float(data.times[0] + data.times[-1])
    else:
        data = fit.evidence.of_states.data
        states = torch.cat(list(data.values))
        time = 0.5 * float(fit.pairs.t.min() + fit.pairs.t.max())
    middle, rows = states.median(0).values, []
    both = Coefficients(fit.model)
    learned = fit.model if isinstance(fit.model, LearnedSDE) else None
    for i, name in enumerate(data.names):
        x = middle.repeat(len(_LEVELS), 1)
        x[:, i] = torch.quantile(states[:: max(1, len(states) // 100_000), i], torch.tensor(_LEVELS, dtype=x.dtype))
        with torch.no_grad():
            f, g = both.drift(time, x, fit.theta)[:, i], both.size(time, x, fit.theta, i)
            errors = [None, None] if learned is None else [learned.drift_stderr(x), learned.diffusion_stderr(x)]
        known = [[None] * len(x) if e is None else e[:, i].tolist() for e in errors]
        columns = zip(_LEVELS, x[:, i].tolist(), f.tolist(), known[0], g.tolist(), known[1], strict=True)
        rows += [(name, *row) for row in columns]
    names = ["state", "quantile", "at", "drift", "drift_stderr", "diffusion", "diffusion_stderr"]
    return pd.DataFrame(rows, columns=names).set_index("state")


def coefficient_table(fit: "Fit") -> Table:
    """The same as text."""
    rows, before = [], ""
    for name, level, at, f, f_error, g, g_error in coefficient_frame(fit).reset_index().itertuples(index=False):
        errors = ["" if e is None or math.isnan(e) else _number(e, 3) for e in (f_error, g_error)]
        told = ("" if name == before else name, f"{100 * level:g} %", _number(at), _number(f))
        rows.append((*told, errors[0], _number(g), errors[1]))
        before = name
    others = "; the other states are at their medians" if fit.model.dim > 1 else ""
    note = f"At quantiles of the states{others}. Rates are per {fit.data.time_unit}."
    columns = ("State", "Quantile", "at", "Drift", "s.e.", "Diffusion g", "s.e.")
    if not any(row[4] or row[6] for row in rows):
        shown = (0, 1, 2, 3, 5)
        return Table(
            "Coefficients", tuple(columns[i] for i in shown), tuple(tuple(r[i] for i in shown) for r in rows), note
        )
    return Table("Coefficients", columns, tuple(rows), f"{note} Standard errors are pointwise.")


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
        render_facts(Facts(facts(fit), title=fit.estimate.title), width=width),
        render_table(estimate_table(fit), width=width),
        *(render_table(table, width=width) for table in fit.estimate.tables),
        render_flags(shown, width=width),
    ]
    return "\n".join(part.rstrip() for part in parts if part) + "\n"


def parameter_frame(fit: "Fit", *, level: float = 0.95) -> "DataFrame":
    """One row per parameter: estimate, standard errors, Wald interval, bounds and status.

    Without parameters, the learned coefficients at some states.
    """
    import pandas as pd

    if not fit.params:
        return coefficient_frame(fit)

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
