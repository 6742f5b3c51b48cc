"""Batches of samples of different stiffness: answers independent of the batch, and evaluations beside torchode."""

import numpy as np
import torch
from torch import Tensor

from benchmarks.ode import peers, runs
from benchmarks.ode.fields import VanDerPol
from benchmarks.ode.limit import TooLong, time_limit
from benchmarks.results import Row, at_most, skipped
from benchmarks.runner import Context
from pdekit import ode

TITLE = "Batches of van der Pol oscillators with mu of their own, float64"
CHANGE, SHARE = 1e-12, 0.5
ERROR = 1e-4  # max over samples of max |err| / (1 + |y|), at which costs are compared
OURS, THEIRS = ("Tsit5", "Dopri5", "Kvaerno5"), ("Tsit5", "Dopri5")
RTOLS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


def run(context: Context) -> list[Row]:
    """First what a sample owes to its batch, then row evaluations at equal error."""
    return [*_changes(context), *_evaluations(context)]


def _changes(context: Context) -> list[Row]:
    samples, end, alone = (8, 1.0, 2) if context.quick else (1024, 5.0, 8)
    y0, mu = _oscillators(samples, 1e-1, 1e2)
    rows = []
    for name in ("Kvaerno5", "Tsit5"):
        together = _ours(name, y0, mu, end, 1e-6)
        which = np.linspace(0, samples - 1, alone).astype(int)
        single = [_ours(name, y0[i : i + 1], mu[i : i + 1], end, 1e-6) for i in which]
        found = torch.cat([one.y[-1] for one in single])
        change = float(((together.y[-1][which] - found).abs() / (1 + found.abs())).max())
        counts = np.concatenate([one.counts.equivalents for one in single])
        same = bool((counts == together.counts.equivalents[which]).all())
        told = f"{alone} samples alone, mu 0.1 to 100, t to {end:g}; counts {'equal' if same else 'differ'}"
        rows.append(at_most(f"{name}: change between a batch of 1 and of {samples}", change, CHANGE, detail=told))
    return rows


def _evaluations(context: Context) -> list[Row]:
    samples, end, rtols = (4, 1.0, (1e-3, 1e-6)) if context.quick else (64, 20.0, RTOLS)
    y0, mu = _oscillators(samples, 1.0, 1e2)
    right = _ours("Dopri5", y0, mu, end, 1e-12).y[-1]
    limit = None if context.full else runs.LIMIT
    rows, ours = [], {}
    label = f"row evaluations, {samples} samples, mu 1 to 100, error {ERROR:g}"
    for name in OURS:
        points = []
        for rtol in rtols:
            found = _ours(name, y0, mu, end, rtol)
            points.append((_error(found.y[-1], right), float(found.counts.equivalents.sum())))
        ours[name] = runs.at_equal_error(points, ERROR)
        rows.append(Row(f"{label}: {name}", ours[name], detail=_told(rtols, points)))
    best = min((name for name in OURS if ours[name] > 0), key=lambda name: ours[name], default=OURS[0])
    if peers.package("torchode") is None:
        return [*rows, skipped(f"{label}: torchode", peers.missing("torchode"))]
    theirs = {}
    for name in THEIRS:
        points = _torchode(name, y0, mu, end, rtols, right, limit)
        theirs[name] = runs.at_equal_error(points, ERROR)
        rows.append(Row(f"{label}: torchode {name}", theirs[name], detail=_told(rtols, points)))
    least = min((cost for cost in theirs.values() if cost > 0), default=float("nan"))
    told = f"{best} {ours[best]:,.0f}, torchode {least:,.0f}, each the best of what is declared"
    return [at_most(f"{label}: ours over torchode's", ours[best] / least, SHARE, detail=told), *rows]


def _oscillators(samples: int, low: float, high: float) -> tuple[Tensor, Tensor]:
    mu = torch.logspace(np.log10(low), np.log10(high), samples, dtype=torch.float64).unsqueeze(-1)
    mu = mu[torch.randperm(samples, generator=torch.Generator().manual_seed(0))]
    return torch.tensor([[2.0, 0.0]], dtype=torch.float64).repeat(samples, 1), mu


def _ours(name: str, y0: Tensor, mu: Tensor, end: float, rtol: float) -> ode.Solution:
    return ode.odeint(VanDerPol(), y0, [0.0, end], method=runs.method(name), rtol=rtol, atol=rtol, context=mu)


def _torchode(
    name: str, y0: Tensor, mu: Tensor, end: float, rtols: tuple[float, ...], right: Tensor, limit: float | None
) -> list[tuple[float, float]]:
    """Each call evaluates all rows, those that have arrived too."""
    field, points = VanDerPol(), []
    for rtol in rtols:
        spent = [0]

        def f(t: Tensor, y: Tensor, spent: list[int] = spent) -> Tensor:
            spent[0] += len(y)
            return field(t, y, context=mu)

        try:
            with time_limit(limit), torch.no_grad():
                found = peers.torchode_solver(f, name, rtol, rtol)(y0, 0.0, end)
        except TooLong:
            break
        points.append((_error(found, right), float(spent[0])))
    return points


def _error(y: Tensor, right: Tensor) -> float:
    return float(((y - right).abs() / (1 + right.abs())).max())


def _told(rtols: tuple[float, ...], points: list[tuple[float, float]]) -> str:
    each = [f"rtol {r:g}: {cost:,.0f}, error {error:.1e}" for r, (error, cost) in zip(rtols, points, strict=False)]
    return "; ".join(each)
