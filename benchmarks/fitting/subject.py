"""The package under test: everything the benchmarks ask of pdekit, in one place, so that its interface may move."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.fitting.truth import Array, Process
from benchmarks.runner import Outcome

if TYPE_CHECKING:
    from pdekit.fitting.densities.choose import Method
    from pdekit.fitting.result import Interval

# Each process of `truth` by its name in pdekit's catalogue, with the catalogue's parameters in the process's order.
_CATALOGUE: dict[str, tuple[str, tuple[str, ...]]] = {
    "ou": ("ornstein_uhlenbeck", ("theta", "mu", "sigma")),
    "cir": ("cir", ("kappa", "theta", "sigma")),
    "double_well": ("double_well", ("a", "b", "sigma")),
}

ICE_ARGUMENTS = [
    *("--time", "Age_BP", "--column", "Ca", "--log", "Ca", "--reverse-time", "--time-unit", "year"),
    *("--drift", "c0 + c1*x + c2*x**2 - c3*x**3", "--diffusion", "sigma", "--positive", "c3,sigma"),
]


def load() -> None:
    """Import what a fit imports, so that a timing after this call is one after import."""
    from pdekit import Trajectories, fit, models  # noqa: F401


def model(process: Process) -> Any:
    """The catalogue's model of a process.

    Raises:
        RuntimeError: If its coefficients are not those of `truth`: the comparison would be between different things.
    """
    import torch

    from pdekit import models

    name, params = _CATALOGUE[process.name]
    found = models.get(name)
    theta = found.theta(dict(zip(params, process.theta, strict=True)))
    x = np.linspace(*process.support, 7)[1:-1]
    both = found.function([found.drift[0], found.diffusion_matrix[0, 0]])(
        0.0, torch.from_numpy(x)[:, None], theta
    ).numpy()
    truth = np.stack([process.drift(x, np.array(process.theta)), process.diffusion(x, np.array(process.theta))], -1)
    if not np.allclose(both, truth, rtol=1e-12):
        raise RuntimeError(f"The catalogue's {name} has other coefficients than the benchmark's {process.name}.")
    return found


def fit_series(
    process: Process,
    dt: float,
    x: Array,
    *,
    route: "Method" = "auto",
    intervals: "tuple[Interval, ...]" = (),
    flags: bool = False,
) -> Outcome:
    """One fit from automatic starting values, as plain numbers.

    Args:
        process: What is fitted.
        dt: Sampling step.
        x: Equidistant observations, (n + 1,).
        route: The likelihood: `"auto"`, `"fokker-planck"`, `"closed-form"` or `"euler"`.
        intervals: Which 95 % intervals to compute: `"wald"`, `"profile"`.
        flags: Whether to run the diagnostics and report their flags.

    Returns:
        estimate, stderr (by parameter; None where there is none), each of `intervals` ([lower, upper] by parameter,
        None for an open end or no interval), loglik, converged, route, seconds (of the fit with standard errors) and,
        if asked for, flags.
    """
    from pdekit import fit

    subject, data = model(process), trajectories([(np.arange(len(x)) * dt, x)])
    begun = time.perf_counter()
    result = fit(subject, data, method=route)
    params = result.params
    seconds = time.perf_counter() - begun
    names = dict(zip(process.params, _CATALOGUE[process.name][1], strict=True))
    outcome: Outcome = {
        "estimate": {ours: params[theirs].estimate for ours, theirs in names.items()},
        "stderr": {ours: params[theirs].stderr for ours, theirs in names.items()},
        "loglik": float(result.loglik),
        "converged": result.status == "converged",
        "route": result.route,
        "seconds": seconds,
    }
    if flags:
        outcome["flags"] = [flag.title for flag in result.flags if flag.severity != "ok"]
    for kind in intervals:
        outcome[kind] = {ours: _ends(result.interval(theirs, kind=kind)) for ours, theirs in names.items()}
    return outcome


def fit_reference(process: Process, dt: float, x: Array, *, closed: bool) -> Outcome:
    """A converged reference: the closed form, or the maximum of the likelihood on four times the cells.

    The latter is found by SciPy in units of standard errors, from the fit on the usual grid.
    """
    if closed:
        return fit_series(process, dt, x, route="closed-form")
    import torch
    from scipy.optimize import minimize

    from pdekit.fitting.densities.grid import LEAST_CELLS, FokkerPlanckTransition, wanted_cells

    usual = fit_series(process, dt, x)
    center = np.array([usual["estimate"][name] for name in process.params])
    scale = np.array([usual["stderr"][name] for name in process.params])
    subject, pairs = model(process), trajectories([(np.arange(len(x)) * dt, x)]).pairs()
    at = torch.from_numpy(center)
    cells = 4 * max(LEAST_CELLS, wanted_cells(subject, pairs, at))
    density = FokkerPlanckTransition.lay(subject, pairs, at, cells=cells)

    def negative(z: Array) -> tuple[float, Array]:
        theta = torch.from_numpy(center + scale * z).requires_grad_()
        value = -density.log_density(theta).sum()
        (gradient,) = torch.autograd.grad(value, theta)
        return float(value.detach()), gradient.numpy() * scale

    best = minimize(negative, np.zeros(len(center)), jac=True, method="BFGS", options={"gtol": 1e-3})
    estimate = dict(zip(process.params, (center + scale * best.x).tolist(), strict=True))
    return {"estimate": estimate, "stderr": usual["stderr"], "route": density.route}


def log_density(process: Process, dt: float, x: Array, *, extrapolate: bool) -> tuple[Array, str]:
    """log p(x[k + 1] | x[k]) at the true parameters by the Fokker-Planck route, (n,), and the route in words."""
    import torch

    from pdekit.fitting.densities.grid import FokkerPlanckTransition

    subject, pairs = model(process), trajectories([(np.arange(len(x)) * dt, x)]).pairs()
    theta = torch.tensor(process.theta, dtype=torch.float64)
    density = FokkerPlanckTransition.lay(subject, pairs, theta, extrapolate=extrapolate)
    with torch.no_grad():
        return density.log_density(theta).numpy(), density.route


def says_short_record(outcome: Outcome) -> bool:
    """Whether the flags of an outcome say that the record is too short."""
    return any("short" in title.lower() for title in outcome["flags"])


def gradient_seconds(process: Process, series: list[tuple[Array, Array]], repeats: int) -> list[float]:
    """Seconds of `repeats` evaluations of the log-likelihood of several paths with its gradient, near the truth."""
    import torch

    from pdekit.fitting.densities.choose import transition_density

    subject, pairs = model(process), trajectories(series).pairs()
    theta = torch.tensor(process.theta, dtype=torch.float64)
    density = transition_density(subject, pairs, theta)
    seconds = []
    for repeat in range(repeats):
        point = (theta * (1 + 0.01 * repeat)).requires_grad_()
        begun = time.perf_counter()
        torch.autograd.grad(density.log_density(point).sum(), point)
        seconds.append(time.perf_counter() - begun)
    return seconds


def trajectories(series: list[tuple[Array, Array]]) -> Any:
    """pdekit's `Trajectories` of (times, values) paths."""
    from pdekit import Trajectories

    if len(series) == 1:
        return Trajectories.from_arrays(*series[0])
    return Trajectories.from_arrays([t for t, _ in series], [x for _, x in series])


def simulate(process: Process, paths: int, steps: int, dt: float, seed: int) -> Any:
    """Euler in float64 from the origin, every step kept: values (steps + 1, paths, 1)."""
    import torch

    from pdekit import simulate as run
    from pdekit.simulation import EulerMaruyama

    times = torch.arange(steps + 1, dtype=torch.float64) * dt
    return run(_callable(process), 0.0, times, paths=paths, seed=seed, scheme=EulerMaruyama(), dt=dt).values


def simulate_torchsde(process: Process, paths: int, steps: int, dt: float, seed: int) -> Any:
    """The same with torchsde's Euler, on the same callables."""
    import torch
    import torchsde

    torch.manual_seed(seed)
    x0, times = torch.zeros(paths, 1, dtype=torch.float64), torch.arange(steps + 1, dtype=torch.float64) * dt
    with torch.no_grad():
        return torchsde.sdeint(_callable(process), x0, times, method="euler", dt=dt)


def command_line_fit(arguments: list[str], method: str, out: Path) -> Outcome:
    """Run `pdekit fit ARGUMENTS --method METHOD --out OUT --json` and read what it printed."""
    command = [
        str(Path(sys.executable).with_name("pdekit")),
        "fit",
        *arguments,
        "--method",
        method,
        "--out",
        str(out),
        "--json",
    ]
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})
    seconds = time.perf_counter() - begun
    if done.returncode:
        return {"error": f"exit {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}"}
    missing = [name for name in ("model.json", "params.csv", "report.html") if not (out / name).is_file()]
    if missing:
        return {"error": f"not left in the output folder: {', '.join(missing)}"}
    printed = json.loads(done.stdout)
    return {
        "estimate": {name: entry["estimate"] for name, entry in printed["params"].items()},
        "stderr": {name: entry["stderr"] for name, entry in printed["params"].items()},
        "loglik": float(printed["loglik"]),
        "converged": printed["status"] == "converged",
        "flags": [flag["title"] for flag in printed["flags"] if flag["severity"] != "ok"],
        "route": printed["route"],
        "seconds": seconds,
    }


def _callable(process: Process) -> Any:
    """Drift and diffusion as plain torch callables at the true parameters."""
    import torch

    from pdekit import SDE

    p = process.theta
    drifts = {"ou": lambda t, x: p[0] * (p[1] - x), "double_well": lambda t, x: p[0] * x - p[1] * x**3}
    return SDE(
        drift=drifts[process.name],
        diffusion=lambda t, x: torch.full_like(x, p[2]),
        dim=1,
        separable=True,
        autonomous=True,
    )


def _ends(interval: tuple[float, float] | None) -> list[float | None] | None:
    return None if interval is None else [float(end) if np.isfinite(end) else None for end in interval]
