"""The plane Ornstein-Uhlenbeck problem on grids, beside fplanck and py-pde."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributions import MultivariateNormal

import pdekit as pk
from benchmarks.environment import one_thread
from benchmarks.fokker_planck import peer_worker
from benchmarks.fokker_planck.laws import M0, S0, A, distance, law, tensor
from benchmarks.results import Row, skipped
from benchmarks.runner import Context, Outcome

TITLE = "2-D Ornstein-Uhlenbeck, drift not diagonal, D = I, t = 1: relative L2 error beside peers, one thread"
CELLS = (40, 80, 160)
PEERS = {"fplanck": ("fplanck", "fplanck"), "pde": ("py-pde", "py-pde")}  # by module: distribution, label
_END, _HALF, _TIMEOUT = 1.0, 6.0, 600


def run(context: Context) -> list[Row]:
    """Each with 40^2 and 80^2 cells, in a full run 160^2 too. Times are without imports, with compilation."""
    torch.set_num_threads(1)
    exact = law(A, np.eye(2), M0, S0, _END)
    counts = CELLS[:1] if context.quick else CELLS if context.full else CELLS[:2]
    rows = [_row(f"pdekit, {cells}^2", _ours(cells), exact, "") for cells in counts]
    for name, (distribution, label) in PEERS.items():
        version, why = _version(context.peers_python, name, distribution)
        if version is None:
            rows.append(skipped(label, f"{why}; name an interpreter that has it by --peers-python"))
            continue
        note = f"version {version}, "
        rows += [_row(f"{label}, {cells}^2", _peer(name, cells, context), exact, note) for cells in counts]
    return rows


def _row(metric: str, outcome: Outcome, exact: MultivariateNormal, note: str) -> Row:
    if "error" in outcome:
        return Row(metric, "failed", detail=f"{note}{outcome['error']}")
    x = torch.stack(torch.meshgrid(tensor(outcome["x"]), tensor(outcome["y"]), indexing="ij"), -1)
    p = tensor(outcome["p"])
    detail = f"{note}{outcome['seconds']:.2f} s, least p {float(p.min()):.1e}"
    return Row(metric, distance(p, exact.log_prob(x).exp()), detail=detail)


def _ours(cells: int) -> Outcome:
    a = tensor(A)
    sde = pk.SDE(
        lambda t, x: x @ a.T,
        lambda t, x: torch.full_like(x, 2**0.5),
        dim=2,
        noise_type="diagonal",
        autonomous=True,
    )
    problem = pk.FokkerPlanckProblem(sde, MultivariateNormal(tensor(M0), tensor(S0)))
    problem.solve(_END, pk.Grid(20))  # imports
    begun = time.perf_counter()
    solution = problem.solve(_END, pk.Grid(cells))
    x = np.linspace(-_HALF, _HALF, 2 * cells + 1)[1::2]
    p = solution.pdf(_END, torch.stack(torch.meshgrid(tensor(x), tensor(x), indexing="ij"), -1))
    return {"seconds": time.perf_counter() - begun, "x": x, "y": x, "p": p.numpy()}


def _peer(name: str, cells: int, context: Context) -> Outcome:
    """In a process of its own: a crash or a hang of a peer costs one row."""
    task: dict[str, Any] = {"a": A.tolist(), "mean": M0.tolist(), "covariance": S0.tolist()}
    task |= {"time": _END, "extent": [-_HALF, _HALF], "cells": cells}
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "task.json", Path(folder) / "out.npz"
        given.write_text(json.dumps(task))
        command = [context.peers_python, str(Path(peer_worker.__file__)), name, str(given), str(found)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT, env=os.environ | one_thread(), cwd=folder
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no result within {_TIMEOUT} s"}
        if done.returncode:
            return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
        with np.load(found) as file:
            return json.loads(done.stdout.splitlines()[-1]) | dict(file)


def _version(python: str, module: str, distribution: str) -> tuple[str | None, str]:
    """The version of a peer that can be imported, or why it can't."""
    code = "import sys, importlib; importlib.import_module(sys.argv[1]); from importlib.metadata import version; "
    try:
        done = subprocess.run(
            [python, "-c", f"{code}print(version(sys.argv[2]))", module, distribution], capture_output=True, text=True
        )
    except OSError as cause:
        return None, str(cause)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["it can't be imported"])[-1]
    return done.stdout.split()[-1], ""
