"""Nested spheres: what no flow of their own space can separate, and one with a dimension more can."""

from functools import partial

import numpy as np
import torch

from benchmarks.results import Row, at_least, at_most
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Nested spheres in the plane: an inner disc against the ring around it"
_STEPS = 600
_STATES, _PART = 100_000, 10_000
_CIRCLE = 1.25  # in the middle of the ring


def run(context: Context) -> list[Row]:
    """Held-out states that a linear map of the flow's end gets wrong, with and without zeros appended.

    A flow of the plane deforms the half-plane of the linear map into a set that reaches infinity; if it holds the disc,
    it crosses the ring, and every circle within it. So a plain flow leaves a channel of wrong states, however narrow,
    up to the error of the solver; it is looked for on a circle.
    """
    seeds = range(context.count(1, full=3))
    tasks = [{"augment": augment, "seed": seed} for augment in (0, 1) for seed in seeds]
    outcomes = run_tasks(context, "flow_spheres", partial(train, steps=20 if context.quick else _STEPS), tasks)
    rows = []
    for augment in (0, 1):
        mine = [o for t, o in zip(tasks, outcomes, strict=True) if t["augment"] == augment]
        failed = [o["error"] for o in mine if "error" in o]
        name = "augmented ODE" if augment else "plain ODE"
        if failed:
            rows.append(Row(f"{name}: wrong states", "failed", "", "runs", False, failed[0]))
            continue
        loss, evaluations = (float(np.mean([o[k] for o in mine])) for k in ("loss", "evaluations"))
        told = f"; cross-entropy {loss:.3g}; {evaluations:.0f} evaluations at rtol 1e-4"
        wrong, ring = ([o[key] for o in mine] for key in ("wrong", "wrong on the circle"))
        told = f"of {_STATES:,}, by seed: {wrong}{told}"
        metric = f"{name}: wrong held-out states"
        rows.append(at_most(metric, max(wrong), 0, detail=told) if augment else Row(metric, min(wrong), detail=told))
        told = f"of {_STATES:,}, by seed: {ring}"
        metric = f"{name}: wrong states at radius {_CIRCLE:g}"
        rows.append(
            at_most(metric, max(ring), 0, detail=told) if augment else at_least(metric, min(ring), 1, detail=told)
        )
    return rows


def spheres(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Half of the states within a radius of .5, half between 1 and 1.5, and which is which."""
    rng = np.random.default_rng(seed)
    inner = rng.random(n) < 0.5
    square = np.where(inner, 0.25 * rng.random(n), 1 + 1.25 * rng.random(n))
    angle = 2 * np.pi * rng.random(n)
    x = np.sqrt(square)[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    return torch.from_numpy(x).float(), torch.from_numpy(inner).float()


def train(task: Task, steps: int) -> Outcome:
    """One training by Adam."""
    import pdekit as pk
    from pdekit.flows import ODEBlock

    augment, seed = task["augment"], task["seed"]
    field = pk.nets.MLP(2 + augment, (32, 32), "tanh", time=True, seed=seed)
    block = ODEBlock(field, augment, rtol=1e-4, atol=1e-4, method=pk.ode.RK4(), control=pk.ode.Fixed(0.125))
    torch.manual_seed(seed)
    net = torch.nn.Sequential(block, torch.nn.Linear(2 + augment, 1))
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    for step in range(steps):
        x, inner = spheres(256, 10**6 * (seed + 1) + step)
        optimiser.zero_grad()
        entropy(net(x)[:, 0], inner).backward()
        optimiser.step()
        schedule.step()
    judged = ODEBlock(field, augment, rtol=1e-4, atol=1e-4)
    x, inner = spheres(_STATES, seed)
    angle = torch.arange(_STATES) * (2 * np.pi / _STATES)
    circle = _CIRCLE * torch.stack([angle.cos(), angle.sin()], -1)
    with torch.no_grad():
        found, ring = (
            torch.cat([net[1](judged(part))[:, 0] for part in states.split(_PART)]) for states in (x, circle)
        )
    return {
        "wrong": int(((found > 0) != inner.bool()).sum()),
        "wrong on the circle": int((ring > 0).sum()),
        "loss": float(entropy(found, inner)),
        "evaluations": judged.evaluations,
    }
