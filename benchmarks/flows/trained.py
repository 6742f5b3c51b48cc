"""Flows that are trained for a stated time: pdekit's and zuko's on the same samples."""

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.runner import Outcome

BATCH, JUDGED = 512, 10_000
_PART = 2000


def base() -> Any:
    """The standard normal law in the plane."""
    return torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1)


def held_out(name: str, seed: int) -> Tensor:
    """Fresh samples that no training sees."""
    from pdekit.flows import toy

    return torch.from_numpy(toy(name, JUDGED, seed=2**40 + seed)).float()


def ours(name: str, seed: int, seconds: float, trace: Any = None) -> tuple[Any, Outcome]:
    """A hollow flow trained with four Runge-Kutta steps and the exact trace; the flow to judge with, and how it went."""
    import pdekit as pk
    from pdekit.flows import CNF, fit_flow, toy

    field = pk.nets.HollowNet(2, time=True, seed=seed)
    flow = CNF(field, base(), trace or pk.Exact(), method=pk.ode.RK4(), control=pk.ode.Fixed(0.25))
    training = pk.Training(steps=10**6, batch=BATCH, rate=5e-3, seconds=seconds)
    x = held_out(name, seed)
    begun = time.perf_counter()
    fit = fit_flow(flow, lambda n, s: toy(name, n, seed=s), training, seed=seed, judge={"rtol": 1e-6, "atol": 1e-6})
    spent = time.perf_counter() - begun
    passage, values = [], []
    with torch.no_grad():
        for part in x.split(_PART):
            passage.append(fit.flow.passage(part))
            values.append(-(fit.flow.base.log_prob(passage[-1].start) + passage[-1].log_volume))
    nll = torch.cat(values)
    outcome = {
        "nll": float(nll.mean()),
        "stderr": float(nll.std() / len(nll) ** 0.5),
        "evaluations": float(np.mean([p.evaluations for p in passage])),
        "off": max(p.reconstruction_error for p in passage),
        "parameters": field.size(),
        "seconds": fit.history.seconds,
        "with_judging": spent,
    }
    return fit.flow, outcome


def zukos(name: str, seed: int, seconds: float) -> Outcome:
    """zuko's CNF with its defaults and 64, 64, 64 units, trained by Adam with the same falling rate."""
    import zuko

    from pdekit.flows import toy

    torch.manual_seed(seed)
    flow: Any = zuko.flows.CNF(2, 0, hidden_features=(64, 64, 64))
    optimiser = torch.optim.Adam(flow.parameters(), 2e-3)
    begun, steps = time.perf_counter(), 0
    while (share := (time.perf_counter() - begun) / seconds) < 1.0:
        optimiser.param_groups[0]["lr"] = 2e-3 * min(1.0, (steps + 1) / 100) * 0.5 * (1 + np.cos(np.pi * share))
        x = torch.from_numpy(toy(name, BATCH, seed=10**6 * seed + steps)).float()
        loss = -flow().log_prob(x).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
    with torch.no_grad():
        nll = torch.cat([-flow().log_prob(part) for part in held_out(name, seed).split(_PART)])
    parameters = sum(p.numel() for p in flow.parameters())
    return {"nll": float(nll.mean()), "steps": steps, "parameters": parameters}


__all__ = ["BATCH", "JUDGED", "base", "held_out", "ours", "zukos"]
