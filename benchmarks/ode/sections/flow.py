"""Evaluations per integration of a flow that becomes stiff as it learns: the figure of Chen and Duvenaud (2019).

A hollow net with times learns, from noisy slopes, the field

    f_i(t, x) = -lambda_i (x_i - tanh(sum over j of W_ij x_j + cos(t + i)) / 2),        lambda log-spaced in [1, 1e3],

by least squares on slopes in units of lambda_i. At the beginning it moves slowly; what it has learned at the end is as
stiff as f. The nets of each iteration are integrated by every method at the same tolerance.
"""

import math

import torch
from torch import Tensor

from benchmarks.ode import runs
from benchmarks.ode.fields import Relaxation
from benchmarks.results import Row
from benchmarks.runner import Context
from pdekit import ode

TITLE = "Evaluations per integration while a flow learns, rtol 1e-5"
DIM, FASTEST, RTOL, END = 8, 1e3, 1e-5, 1.0
FUNCTIONAL, JACOBI = "AdamsBashforthMoulton Functional", "AdamsBashforthMoulton JacobiNewton"
METHODS = ("Dopri5", FUNCTIONAL, JACOBI, "Kvaerno5 JacobiNewton")
_NOISE, _RATE = 0.05, 0.02


def run(context: Context) -> list[Row]:
    """One row per iteration and method, and where Jacobi-Newton needs the fewest."""
    snapshots = (0, 2) if context.quick else (0, 50, 100, 200, 300, 400)
    samples = 2 if context.quick else 16
    fields = train(snapshots, fastest=10.0 if context.quick else FASTEST)
    y0 = torch.randn(samples, DIM, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rows, table = [], {}
    for iteration, (field, loss) in fields.items():
        right = ode.odeint(field, y0, [0.0, END], method=ode.RadauIIA5(), rtol=1e-9, atol=1e-9).y[-1]
        stiffness = _stiffness(field, right)
        for name in METHODS:
            found = ode.odeint(
                field, y0, [0.0, END], method=runs.method(name), rtol=RTOL, atol=RTOL, raise_on_failure=False
            )
            cost = float(found.counts.equivalents.mean())
            table[iteration, name] = cost if found.success else math.inf
            error = float(((found.y[-1] - right).abs() / (1 + right.abs())).max())
            told = (
                f"error {error:.1e}; {found.counts} in {samples} samples; fastest rate {stiffness:.0f}, loss {loss:.2g}"
            )
            metric = f"iteration {iteration}: {name}"
            if not found.success:
                rows.append(Row(metric, "does not arrive", detail=f"{found.failures[0]}"))
                continue
            rows.append(Row(metric, cost, "f-equivalents per sample", detail=told))
    return [*_verdicts(list(fields), table), *rows]


def train(snapshots: tuple[int, ...], *, fastest: float, rows: int = 128) -> dict[int, tuple[Relaxation, float]]:
    """The net as it stands after each number of iterations, with its loss."""
    generator = torch.Generator().manual_seed(2)
    rates = torch.logspace(0, math.log10(fastest), DIM, dtype=torch.float64)
    weight = torch.randn(DIM, DIM, generator=generator, dtype=torch.float64) / math.sqrt(DIM)
    weight.fill_diagonal_(0.0)
    field, phase = Relaxation(DIM, seed=0), torch.arange(DIM, dtype=torch.float64)
    optimizer = torch.optim.Adam(
        [{"params": field.net.parameters(), "lr": _RATE / 4}, {"params": [field.log_scale], "lr": _RATE}]
    )
    kept = {}
    for iteration in range(max(snapshots) + 1):
        x = 1.5 * torch.randn(rows, DIM, generator=generator, dtype=torch.float64)
        t = END * torch.rand(rows, 1, generator=generator, dtype=torch.float64)
        noise = torch.randn(rows, DIM, generator=generator, dtype=torch.float64)
        target = 0.5 * torch.tanh(x @ weight.T + torch.cos(t + phase)) - x + _NOISE * noise
        loss = (field(t, x) / rates - target).square().mean()
        if iteration in snapshots:
            kept[iteration] = (field.frozen(), float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return kept


def _stiffness(field: Relaxation, x: Tensor) -> float:
    """The largest eigenvalue's magnitude of the Jacobian at the end of the first sample."""
    time = torch.tensor([END], dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda y: field(time, y))(x[0])
    return float(torch.linalg.eigvals(jacobian).abs().max())


def _verdicts(iterations: list[int], table: dict[tuple[int, str], float]) -> list[Row]:
    rows = []
    for other in (FUNCTIONAL, "Dopri5"):
        ratios = {k: table[k, other] / table[k, JACOBI] for k in iterations}
        wins = [str(k) for k in iterations if ratios[k] > 1]
        told = ", ".join(f"{k}: {ratio:.2f}" for k, ratio in ratios.items())
        where = f"fewer at iterations {', '.join(wins)}" if wins else "fewer at none"
        rows.append(
            Row(
                f"evaluations of {other} over those with Jacobi-Newton, last iteration",
                ratios[iterations[-1]],
                detail=f"Jacobi-Newton needs {where}; {told}",
            )
        )
    return rows
