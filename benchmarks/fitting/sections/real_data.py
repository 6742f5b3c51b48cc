"""Two real series through the command line as they are: US 10-year rates with CKLS, and Greenland calcium, bistable."""

import csv
import tempfile
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from benchmarks.fitting import subject
from benchmarks.fitting.densities import ckls_euler_log_density
from benchmarks.fitting.truth import Array
from benchmarks.results import Row, skipped
from benchmarks.runner import Context, Outcome

TITLE = "Real series through the command line"
RATES, ICE = "us_treasury_10y.csv", "ngrip_10yr.csv"
_RATE_STEP = 1 / 252
_PUBLISHED = {
    "sigma": (0.5586, 5e-5),
    "gamma": (0.3378, 5e-5),
    "log-likelihood": (20275.7, 0.05),
}  # Euler: value, rounding
_SHOJI_OZAKI = 20275.05  # published, and within 1 of it
_WITHIN = 0.25  # standard errors: what Euler and an exact likelihood may differ by at a step of one day


def run(context: Context) -> list[Row]:
    """Both series; each is skipped, with the reason, where its file is absent."""
    rows = []
    for file, measure in ((RATES, _rates), (ICE, _ice)):
        path = context.data / file
        rows += measure(path) if path.is_file() else [skipped(file, f"no file {file} in the folder given by --data")]
    return rows


def euler_ckls(x: Array, dt: float) -> dict[str, float]:
    """Euler maximum likelihood of CKLS: for each gamma the drift is a weighted regression and sigma follows."""
    before, step = x[:-1], np.diff(x)
    design = np.stack([np.ones_like(before), before], axis=1) * dt

    def profile(gamma: float) -> tuple[float, float]:
        scale = before**gamma * np.sqrt(dt)
        coefficients = np.linalg.lstsq(design / scale[:, None], step / scale, rcond=None)[0]
        residual = (step - design @ coefficients) / scale
        sigma = float(np.sqrt(np.mean(residual**2)))
        alpha, beta = coefficients
        theta = (-beta, -alpha / beta, sigma, gamma)
        return float(ckls_euler_log_density(theta, dt, x).sum()), sigma

    best = minimize(
        lambda gamma: -profile(float(gamma[0]))[0] / len(x),
        [0.5],
        method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-14},
    )
    gamma = float(best.x[0])
    loglik, sigma = profile(gamma)
    return {"sigma": sigma, "gamma": gamma, "log-likelihood": loglik}


def _rates(path: Path) -> list[Row]:
    with path.open() as file:
        x = np.array([float(row["Rate"]) for row in csv.DictReader(file)])
    euler = euler_ckls(x, _RATE_STEP)
    rows = [
        Row(
            f"{RATES}: Euler {name} (own reference)",
            euler[name],
            "",
            f"{value:g}",
            bool(abs(euler[name] - value) <= rounding),
        )
        for name, (value, rounding) in _PUBLISHED.items()
    ]
    for method in ("euler", "shoji-ozaki", "auto"):
        outcome = _command(
            path, ["--time", "Date", "--column", "Rate", "--model", "ckls", "--fixed-dt", "1/252"], method
        )
        label = f"{RATES}: pdekit fit, {method}"
        if "error" in outcome:
            rows.append(Row(label, "failed", "", "exit status 0", False, outcome["error"]))
            continue
        for name in ("sigma", "gamma"):
            shift = abs(outcome["estimate"][name] - euler[name]) / outcome["stderr"][name]
            limit = 0.01 if method == "euler" else _WITHIN
            detail = f"{shift:.3f} standard errors ({outcome['stderr'][name]:.4f}) from Euler's; {outcome['route']}"
            target = f"within {limit:g} standard errors of {euler[name]:.4f}"
            rows.append(Row(f"{label}: {name}", outcome["estimate"][name], "", target, bool(shift <= limit), detail))
        difference = outcome["loglik"] - euler["log-likelihood"]
        reached, target = None, ""
        if method == "euler":
            reached, target = abs(difference) <= 0.05, f"{euler['log-likelihood']:.1f}"
        elif method == "shoji-ozaki":
            reached, target = abs(outcome["loglik"] - _SHOJI_OZAKI) <= 1, f"within 1 of {_SHOJI_OZAKI}"
        rows.append(
            Row(
                f"{label}: log-likelihood",
                outcome["loglik"],
                "",
                target,
                reached,
                f"{difference:+.2f} from Euler's; {_story(outcome)}",
            )
        )
    return rows


def _ice(path: Path) -> list[Row]:
    outcome = _command(path, subject.ICE_ARGUMENTS, "auto")
    label = f"{ICE}: log Ca, cubic drift"
    if "error" in outcome:
        return [Row(label, "failed", "", "exit status 0", False, outcome["error"])]
    c0, c1, c2, c3 = (outcome["estimate"][name] for name in ("c0", "c1", "c2", "c3"))
    roots = np.roots([-c3, c2, c1, c0])
    real = np.sort(roots[np.abs(roots.imag) < 1e-9].real)
    return [
        Row(label, outcome["loglik"], "", "converges", bool(outcome["converged"]), _story(outcome)),
        Row(
            f"{ICE}: equilibria of the fitted drift",
            float(len(real)),
            "",
            detail=", ".join(f"{root:.2f}" for root in real),
        ),
    ]


def _command(path: Path, arguments: list[str], method: str) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        return subject.command_line_fit([str(path), *arguments], method, Path(folder) / "fit")


def _story(outcome: Outcome) -> str:
    flags = ", ".join(outcome["flags"]) or "none"
    return f"{outcome['route']}; {outcome['seconds']:.1f} s with start-up and report; flags: {flags}"
