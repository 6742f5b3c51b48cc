"""Flows that are trained for a stated time: pdekit's and zuko's on the same samples."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.runner import Outcome

BATCH, JUDGED = 256, 10_000
_KINETIC = 0.05  # without it a training learns to profit from the error of its four steps
_PART = 2000
_ZUKOS_RATE = 1e-2  # better by hand than 2e-3 and 5e-3 on two laws, and than 2e-2 on another
_LOOSE = 1e-3  # of zuko's trainings: three times as many steps as with its defaults, and better figures
TOLERANCE = 1e-7


def base(dtype: torch.dtype = torch.float32) -> Any:
    """The standard normal law in the plane."""
    return torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2, dtype=dtype), 1.0), 1)


def held_out(name: str, seed: int) -> Tensor:
    """Fresh samples that no training sees."""
    from pdekit.flows import toy

    return torch.from_numpy(toy(name, JUDGED, seed=2**40 + seed)).float()


def ours(name: str, seed: int, seconds: float, trace: Any = None, tolerance: float = TOLERANCE) -> tuple[Any, Outcome]:
    """A hollow flow trained with four Runge-Kutta steps in single precision, judged in double, and how it went."""
    import pdekit as pk
    from pdekit.flows import CNF, fit_flow, toy

    # In the plane it is the transformer, a function of (t, x_i, x_j), that needs the layers.
    conditioner = pk.nets.MaskedConditioner(hidden=(16,), activation="tanh")
    transformer = pk.nets.MLPTransformer(hidden=(32, 32, 32), activation="tanh")
    field = pk.nets.HollowNet(2, conditioner, transformer, time=True, seed=seed)
    flow = CNF(field, base(), trace or pk.Exact(), method=pk.ode.RK4(), control=pk.ode.Fixed(0.25))
    training = pk.Training(steps=10**6, batch=BATCH, rate=5e-3, seconds=seconds)
    fit = fit_flow(flow, lambda n, s: toy(name, n, seed=s), training, kinetic=_KINETIC, seed=seed)
    judged = CNF(copy.deepcopy(field).double(), base(torch.float64), rtol=tolerance, atol=tolerance)
    passage, values = [], []
    with torch.no_grad():
        for part in held_out(name, seed).double().split(_PART):
            passage.append(judged.passage(part))
            values.append(-(judged.base.log_prob(passage[-1].start) + passage[-1].log_volume))
    nll = torch.cat(values)
    outcome = {
        "nll": float(nll.mean()),
        "stderr": float(nll.std() / len(nll) ** 0.5),
        "evaluations": float(np.mean([p.evaluations for p in passage])),
        "off": max(p.reconstruction_error for p in passage),
        "parameters": field.size(),
        "seconds": fit.history.seconds,
        "steps": int(fit.history.steps[-1]),
    }
    return judged, outcome


def zukos(name: str, seed: int, seconds: float) -> Outcome:
    """zuko's CNF with 64, 64, 64 units, trained in the same loop with a loose tolerance, judged by its own."""
    import zuko

    import pdekit as pk
    from pdekit.flows import toy
    from pdekit.training import train

    torch.manual_seed(seed)
    flow: Any = zuko.flows.CNF(2, 0, hidden_features=(64, 64, 64))
    own = {option: getattr(flow.transform, option) for option in ("atol", "rtol")}
    _set(flow.transform, atol=_LOOSE, rtol=_LOOSE)

    def loss(generator: torch.Generator, share: float) -> Tensor:
        return -flow().log_prob(torch.from_numpy(toy(name, BATCH, seed=int(generator.initial_seed()))).float()).mean()

    training = pk.Training(steps=10**6, batch=BATCH, rate=_ZUKOS_RATE, seconds=seconds)
    history = train(flow, loss, training, seed=seed, what="zuko's CNF")
    _set(flow.transform, **own)
    with torch.no_grad():
        nll = torch.cat([-flow().log_prob(part) for part in held_out(name, seed).split(_PART)])
    parameters = sum(p.numel() for p in flow.parameters())
    return {"nll": float(nll.mean()), "steps": int(history.steps[-1]), "parameters": parameters}


def _set(thing: Any, **values: float) -> None:
    for name, value in values.items():
        setattr(thing, name, value)


__all__ = ["BATCH", "JUDGED", "TOLERANCE", "base", "held_out", "ours", "zukos"]
