"""One page on a fit, for a colleague: what was fitted, how far to trust it, and how to get it again."""

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import sympy as sp

from pdekit.data import Snapshots, Trajectories
from pdekit.data.times import plural
from pdekit.fitting.coefficients import Model
from pdekit.fitting.display.figures import report_figures
from pdekit.fitting.display.snapshot_figures import snapshot_figures
from pdekit.fitting.display.summary import estimate_table, facts
from pdekit.report import Facts, Flag, Formula, Page, Section
from pdekit.symbolic import SymbolicSDE
from pdekit.symbolic.latex import equation

if TYPE_CHECKING:
    from pdekit.fitting.result import Fit

_PACKAGES = ("pdekit", "torch", "numpy", "scipy", "sympy", "matplotlib")
_SOURCES = {
    "fokker-planck": "Lo (1988), Econometric Theory 4 (likelihood through the Fokker-Planck equation)",
    "bridge": "Beskos et al. (2006), J. R. Stat. Soc. B 68 (transition densities from Brownian bridges)",
    "euler": "Florens-Zmirou (1989), Statistics 20 (Euler likelihood)",
}
_KEY_FACTS = (
    "Transitions",
    "Samples",
    "Snapshots",
    "Times",
    "Duration",
    "Step",
    "Log-likelihood",
    "AIC",
    "BIC",
    "Status",
)


def write_report(fit: "Fit", path: str | os.PathLike[str], *, command: str | None = None) -> Path:
    """Writes the page of a fit as one self-contained HTML file, whole or not at all.

    Args:
        fit: The fit.
        path: The file; its folder must exist.
        command: The command line that made the fit, to be shown as the way to repeat it.

    Returns:
        The path written.

    Raises:
        InputError: If the file can't be written.
    """
    return build_page(fit, command=command).write(path)


def build_page(fit: "Fit", *, command: str | None = None) -> Page:
    """The page of a fit.

    Args:
        fit: The fit.
        command: As in `write_report`.
    """
    known = dict(facts(fit))
    return Page(
        title=f"{fit.model.name or 'Your SDE'}, fitted to {', '.join(fit.data.names)}",
        subtitle=_subtitle(fit),
        facts=tuple((name, known[name]) for name in _KEY_FACTS if name in known),
        sections=(
            Section("Summary", (*_equations(fit), estimate_table(fit), *fit.estimate.tables, *_reading(fit))),
            Section("What to know before using it", _findings(fit)),
            Section("Figures", snapshot_figures(fit) if isinstance(fit.data, Snapshots) else report_figures(fit)),
            Section("Diagnostics", (replace(fit.diagnostics().table(), title=""),)),
            Section("Data", (_data(fit.data),)),
            Section("Method", _method(fit)),
            Section("To reproduce this page", _reproduction(fit, command)),
        ),
        footer=f"Made with pdekit {_version('pdekit')} on {date.today().isoformat()}.",
    )


def _subtitle(fit: "Fit") -> str:
    headline = fit.data.describe().splitlines()[0]
    return f"{fit.model.description} {headline[:1].upper()}{headline[1:]}.".strip()


def _equations(fit: "Fit") -> tuple[Formula, ...]:
    if not isinstance(fit.model, SymbolicSDE):
        return ()
    estimates = {name: p.estimate for name, p in fit.params.items()}
    return Formula.from_latex(fit.model.latex()), Formula.from_latex(with_numbers(fit.model, estimates))


def with_numbers(model: SymbolicSDE, values: Mapping[str, float]) -> str:
    r"""The equation in LaTeX with its parameters as decimals of four digits.

    Example:
        >>> import pdekit as pk
        >>> print(with_numbers(pk.models.get("ou"), {"theta": 0.123456, "mu": 1.0, "sigma": 0.5}))
        d X_{t} = \left(0.1235 - 0.1235 X_{t}\right) \, d t + 0.5 \, d W_{t}
    """
    numbers = {symbol: sp.Float(values[symbol.name]) for symbol in model.param_symbols}

    def put_in(expression: sp.Expr) -> sp.Expr:
        result = expression.xreplace(numbers)
        return result.xreplace({number: sp.Float(f"{float(number):.4g}") for number in result.atoms(sp.Float)})

    drift, diffusion = [put_in(f) for f in model.drift], model.diffusion_matrix.applyfunc(put_in)
    return equation(model.state, model.time, drift, diffusion, model.convention)


def _reading(fit: "Fit") -> list[str]:
    """What the estimates say, in sentences."""
    out = []
    if fit.status != "converged":
        out.append(
            "The search for the maximum of the likelihood did not converge. The numbers above are where it stopped, "
            "not estimates."
        )
    if sentence := _parameter_sentence(fit):
        out.append(sentence)
    time = fit.diagnostics().relaxation_time
    if time is not None and time > 0:
        out.append(
            f"The fitted process forgets its past within about {time:.3g} {plural(fit.data.time_unit)}, so the record "
            f"holds about {_rounded(fit.data.duration / time)} independent stretches. How well the drift is known "
            "depends on that number, and not on how many observations there are; how well the noise is known, "
            "on the observations."
        )
    return out


def _rounded(count: float) -> str:
    return f"{float(f'{count:.2g}'):,.0f}" if count >= 10 else f"{count:.1f}"


def _parameter_sentence(fit: "Fit") -> str:
    sharp = [p.name for p in fit.params.values() if p.stderr is not None and abs(p.estimate) > 1.96 * p.stderr]
    vague = [p.name for p in fit.params.values() if p.stderr is not None and abs(p.estimate) <= 1.96 * p.stderr]
    parts = []
    if sharp:
        parts.append(f"the data tell {_list(sharp)} from zero at the 5 % level")
    if vague:
        parts.append(f"{'but they do not tell' if sharp else 'the data do not tell'} {_list(vague)} from zero")
    for status, words in (("held", "held at the given value"), ("at bound", "pushed by the data onto a bound")):
        names = [p.name for p in fit.params.values() if p.status == status]
        if names:
            parts.append(f"{_list(names)} {'was' if len(names) == 1 else 'were'} {words}")
    sentence = "; ".join(parts).replace("; but", ", but")
    return f"{sentence[:1].upper()}{sentence[1:]}." if sentence else ""


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _findings(fit: "Fit") -> tuple[Flag, ...]:
    return fit.flags or (Flag("ok", "Nothing to report", "No check raised a flag."),)


def _data(data: Trajectories | Snapshots) -> Facts:
    """What `describe` says, line by line: the record, the steps, the range of each state (or all laws), the notes."""
    lines = data.describe().splitlines()
    if isinstance(data, Snapshots):
        table = lines[1 : 2 + len(data.times)]
        notes = (("Notes", "\n".join(data.notes)),) if data.notes else ()
        return Facts((("Record", lines[0]), ("Means and deviations", "\n".join(table)), *notes))
    items = [("Record", lines[0]), ("Steps", lines[1])]
    items += [(name, line.removeprefix(f"{name}: ")) for name, line in zip(data.names or (), lines[2:], strict=False)]
    items += [("Notes", "\n".join(data.notes))] if data.notes else []
    return Facts(tuple(items))


def _method(fit: "Fit") -> tuple[str | Facts, ...]:
    items = [
        *fit.estimate.details,
        ("Convention", "Ito" if fit.model.convention == "ito" else "Stratonovich, converted to Ito for the likelihood"),
        ("Domain", "; ".join(_domain(fit.model))),
    ]
    if fit.model.boundary:
        items.append(("Boundary", fit.model.boundary))
    return (fit.estimate.explanation, Facts(tuple(items)), *_sources(fit))


def _sources(fit: "Fit") -> list[str]:
    route = fit.route.lower()
    found = [source for word, source in _SOURCES.items() if word in route]
    if fit.params:
        found += ["White (1982), Econometrica 50 (sandwich covariance)"]
    if fit.model.dim == 1:
        found += ["Rosenblatt (1952), Ann. Math. Stat. 23 (PIT)"]
    return [f"Sources: {'; '.join(found)}."] if found else []


def _domain(model: Model) -> list[str]:
    return [f"{low:g} < {name} < {high:g}" for name, (low, high) in zip(model.state_names, model.domain, strict=True)]


def _reproduction(fit: "Fit", command: str | None) -> tuple[Facts, ...]:
    steps = [("Command", command)] if command else []
    steps += [
        ("Model", repr(fit.model)),
        ("Method asked for", fit.method),
        ("Seed", str(fit.seed)),
        ("Data, SHA-256", f"{data_digest(fit.data)} (times and values of each path, float64, little-endian)"),
    ]
    versions = [(name, _version(name)) for name in _PACKAGES]
    machine = [("python", platform.python_version()), ("platform", platform.platform())]
    return Facts(tuple(steps), title="Inputs"), Facts((*versions, *machine), title="Software")


def data_digest(data: Trajectories | Snapshots) -> str:
    """SHA-256 of the numbers that were fitted: for each path its times, then its values row by row, as float64."""
    digest = hashlib.sha256()
    parts = data.samples if isinstance(data, Snapshots) else data.values
    for t, x in zip(data.times, parts, strict=True):
        digest.update(t.contiguous().numpy().astype("<f8").tobytes())
        digest.update(x.contiguous().numpy().astype("<f8").tobytes())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
