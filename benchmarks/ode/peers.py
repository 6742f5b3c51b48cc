"""The peers: CVODE by scikit-sundae, torchdiffeq, torchode, and diffrax on fields rewritten for JAX."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.ode.fields import Pendulum, Perceptron
from benchmarks.ode.runs import judged, pieces, timed
from benchmarks.runner import Outcome
from pdekit.operators import jacobian_diagonal
from verification.stiff import StiffProblem
from verification.stiff.classics import Oregonator, ProtheroRobinson, VanDerPol
from verification.stiff.kinetics import E5
from verification.stiff.mass_action import MassAction

LINEAR = ("dense", "diagonal", "GMRES", "GMRES with the exact diagonal")  # CVODE's linear solvers


def package(name: str) -> ModuleType | None:
    """A peer, if it can be imported."""
    try:
        return import_module(name)
    except ImportError:
        return None


def missing(name: str) -> str:
    """Why a peer was not measured."""
    return f"{name} can't be imported; it comes with the extra [bench]"


def cvode(problem: StiffProblem, linear: str, rtol: float, limit: float | None = None) -> Outcome:
    """A problem of the stiff set by CVODE's BDF, an outcome as of `runs.integrate`.

    Calls are counted in the callbacks: CVODE's own count leaves out the differences that GMRES takes. Jacobians are
    exact; the Jacobian-vector products of GMRES are differences, one evaluation each, as is its default.
    """
    module = import_module("sksundae.cvode")
    spent = {"f": 0, "diagonal": 0, "jvp": 0}

    def field(t: float, y: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return problem.field(float(t), torch.from_numpy(y.copy())).numpy()

    def slope(t: float, y: np.ndarray, out: np.ndarray) -> None:
        spent["f"] += 1
        out[:] = field(t, y)

    def dense(t: float, y: np.ndarray, _: np.ndarray, out: np.ndarray) -> None:
        spent["jvp"] += problem.dim
        with torch.no_grad():
            state = torch.from_numpy(y.copy())
            out[:] = torch.func.jacfwd(lambda x: problem.field(float(t), x))(state).numpy()

    exact = jacobian_diagonal(problem.field)

    def diagonal(t: float, y: np.ndarray) -> np.ndarray:
        spent["diagonal"] += 1
        with torch.no_grad():
            return exact(torch.tensor(float(t), dtype=torch.float64), torch.from_numpy(y.copy())).numpy()

    def only_diagonal(t: float, y: np.ndarray, _: np.ndarray, out: np.ndarray) -> None:
        np.fill_diagonal(out, diagonal(t, y))

    kept: dict[str, np.ndarray] = {}

    def prepare(t: float, y: np.ndarray, _: np.ndarray, known: int, new: list[int], gamma: float) -> None:
        new[0] = int(not known)
        if not known:
            kept["diagonal"] = diagonal(t, y)

    def precondition(
        t: float, y: Any, slope: Any, r: np.ndarray, z: np.ndarray, gamma: float, accuracy: float, side: int
    ) -> None:
        z[:] = r / (1 - gamma * kept["diagonal"])

    options: dict[str, dict[str, Any]] = {
        "dense": {"linsolver": "dense", "jacfn": dense},
        "diagonal": {"linsolver": "band", "lband": 0, "uband": 0, "jacfn": only_diagonal},
        "GMRES": {"linsolver": "gmres"},
        "GMRES with the exact diagonal": {
            "linsolver": "gmres",
            "precond": module.CVODEPrecond(prepare, precondition),
        },
    }

    def run() -> Tensor:
        y = problem.y0.numpy()
        for start, end in pieces(problem):
            solver = module.CVODE(
                slope, rtol=rtol, atol=problem.atol(rtol), max_num_steps=10_000_000, **options[linear]
            )
            found = solver.solve(np.array([start, (start + end) / 2, end]), y)
            y = found.y[-1].copy()
            if not found.success:
                y[:] = np.nan
        return torch.from_numpy(y)

    outcome = timed(run, lambda: spent, limit, lambda end: judged(problem, end, rtol))
    arrived = "success" if outcome["finite"] else "failed"
    return outcome | {"rtol": rtol, "status": outcome.get("status") or arrived}


def torchode_solver(
    f: Callable[[Tensor, Tensor], Tensor], name: str, rtol: float, atol: float
) -> Callable[[Tensor, float, float], Tensor]:
    """From states (n, d), start and end to the states at the end, by torchode; `f` takes times (n,)."""
    module = import_module("torchode")
    term = module.ODETerm(f, with_stats=False)
    control = module.PIDController(atol, rtol, 0.2, 0.5, 0.0, term=term)
    solver = module.AutoDiffAdjoint(getattr(module, name)(term=term), control)

    def solve(y: Tensor, start: float, end: float) -> Tensor:
        times = (torch.full((len(y),), time, dtype=y.dtype) for time in (start, end))
        found = solver.solve(module.InitialValueProblem(y, *times))
        return torch.where((found.status == 0).unsqueeze(-1), found.ys[:, -1], torch.nan)

    return solve


def torchdiffeq_solver(
    f: Callable[[Any, Tensor], Tensor], name: str, rtol: float, atol: float
) -> Callable[[Tensor, float, float], Tensor]:
    """From states (n, d), start and end to the states at the end, by torchdiffeq."""
    odeint = import_module("torchdiffeq").odeint

    def solve(y: Tensor, start: float, end: float) -> Tensor:
        return odeint(f, y, torch.tensor([start, end], dtype=y.dtype), method=name, rtol=rtol, atol=atol)[-1]

    return solve


def diffrax_counts(problem: StiffProblem, rtol: float, *, max_steps: int = 100_000) -> Outcome | None:
    """Accepted and rejected steps of diffrax's Kvaerno5; None where the field was not rewritten for JAX."""
    import jax

    field = jax_field(problem.field)
    if field is None or problem.breaks:
        return None
    with jax.enable_x64(True):
        diffrax = import_module("diffrax")
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: field(t, y)),
            diffrax.Kvaerno5(),
            problem.start,
            problem.end,
            None,
            jax.numpy.asarray(problem.y0.numpy()),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=problem.atol(rtol)),
            max_steps=max_steps,
            throw=False,
        )
        end = torch.from_numpy(np.array(found.ys[-1]))
        arrived = bool(found.result == diffrax.RESULTS.successful)
    return judged(problem, end, rtol) | {
        "status": "success" if arrived else "failed",
        "accepted": int(found.stats["num_accepted_steps"]),
        "rejected": int(found.stats["num_rejected_steps"]),
    }


def diffrax_solver(field: Any) -> Callable[[float], Callable[[Tensor, float, float], Tensor]]:
    """From a tolerance to a solver by diffrax's Tsit5: one jitted call, in which each sample has steps of its own."""
    import jax

    diffrax, f = import_module("diffrax"), jax_field(field)
    assert f is not None
    term = diffrax.ODETerm(lambda t, y, args: f(t, y))

    def one(y: Any, start: Any, end: Any, tolerance: Any) -> Any:
        control = diffrax.PIDController(rtol=tolerance, atol=tolerance)
        found = diffrax.diffeqsolve(
            term, diffrax.Tsit5(), start, end, None, y, stepsize_controller=control, max_steps=100_000
        )
        return found.ys[-1]

    compiled = jax.jit(jax.vmap(one, (0, None, None, None)))

    def solver(tolerance: float) -> Callable[[Tensor, float, float], Tensor]:
        def solve(y: Tensor, start: float, end: float) -> Tensor:
            with jax.enable_x64(True):
                return torch.from_numpy(np.array(compiled(jax.numpy.asarray(y.numpy()), start, end, tolerance)))

        return solve

    return solver


def jax_field(field: Any) -> Callable[[Any, Any], Any] | None:
    """The same field written in JAX, for a single state; None if it was not rewritten. Call it with 64 bits enabled."""
    import jax.numpy as jnp

    if isinstance(field, MassAction):
        rates, stoichiometry = field.rates.numpy(), field.stoichiometry.numpy()
        first, second = field.reactants.numpy()

        def kinetics(t: Any, x: Any) -> Any:
            factors = jnp.concatenate([x, jnp.ones_like(x[:1])])
            return (jnp.asarray(rates) * factors[first] * factors[second]) @ jnp.asarray(stoichiometry)

        return kinetics
    if isinstance(field, VanDerPol):
        return lambda t, x: jnp.stack([x[1], field.mu * (1 - x[0] ** 2) * x[1] - x[0]])
    if isinstance(field, ProtheroRobinson):
        return lambda t, x: -field.stiffness * (x - jnp.cos(t)) - jnp.sin(t)
    if isinstance(field, Oregonator):
        return lambda t, x: jnp.stack(
            [
                field.s * (x[1] + x[0] * (1 - field.q * x[0] - x[1])),
                (x[2] - (1 + x[0]) * x[1]) / field.s,
                field.w * (x[0] - x[2]),
            ]
        )
    if isinstance(field, E5):

        def pyrolysis(t: Any, x: Any) -> Any:
            first, second = field.A * x[0], field.B * x[0] * x[2]
            f2, f4 = first - field.M * field.C * x[1] * x[2], second - field.C * x[3]
            return jnp.stack([-first - second, f2, f2 - f4, f4])

        return pyrolysis
    if isinstance(field, Pendulum):
        return lambda t, x: jnp.stack([x[1], -jnp.sin(x[0]) - 0.1 * x[1]])
    if isinstance(field, Perceptron):
        linear = [layer for layer in field.net if isinstance(layer, torch.nn.Linear)]
        weights = [(layer.weight.numpy(), layer.bias.numpy()) for layer in linear]

        def perceptron(t: Any, x: Any) -> Any:
            *hidden, (last, bias) = [(jnp.asarray(w), jnp.asarray(b)) for w, b in weights]
            value = x
            for weight, shift in hidden:
                value = jnp.tanh(weight @ value + shift)
            return 5 * (last @ value + bias) - x

        return perceptron
    return None


__all__ = [
    "LINEAR",
    "cvode",
    "diffrax_counts",
    "diffrax_solver",
    "jax_field",
    "missing",
    "package",
    "torchdiffeq_solver",
    "torchode_solver",
]
