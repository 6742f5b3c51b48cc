"""Simulators: strong order on shared noise, weak order, and moments at coarse output times against closed forms."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit import simulate
from pdekit.sde import SDE
from pdekit.simulation import EulerMaruyama, Heun, Milstein, StrongOrder15, TorchSDE
from pdekit.simulation.domain import Guard
from pdekit.simulation.equation import Equation
from pdekit.simulation.noise import BrownianStream
from pdekit.simulation.stepping import Grid as TimeGrid
from pdekit.simulation.stepping import march
from pdekit.testing.matrix import Progress
from verification.evidence import Finding
from verification.level import Level

TITLE = "Simulators: strong and weak order, moments"
SLACK = 0.15
_FINEST = 9

Exact = Callable[[Any, Tensor], Tensor]  # (noise at the finest level, start) -> the state at time 1


def run(level: Level, device: str, progress: Progress) -> list[Finding]:
    """Schemes on equations with exact solutions."""
    jobs: list[Callable[[], Finding]] = []
    for scheme, order in ((EulerMaruyama(), 0.5), (Milstein(), 1.0), (StrongOrder15(), 1.5), (Heun(), 1.0)):
        jobs.append(lambda scheme=scheme, order=order: _strong(scheme, order, level.paths))
    jobs += [lambda s=s: _weak(s, 50 * level.paths) for s in (EulerMaruyama(), Milstein())]
    jobs.append(lambda: _strong_additive(level.paths))
    own = (EulerMaruyama(), Milstein(), StrongOrder15(), Heun())
    adapted = (TorchSDE("euler"), TorchSDE("milstein"), TorchSDE("srk"), TorchSDE("heun"))
    jobs += [lambda s=s: _moments(s, 10 * level.paths) for s in (*own, *adapted)]
    found = []
    for number, job in enumerate(jobs):
        progress("simulators", number, len(jobs))
        found.append(job())
    return found


def sinh_model(convention: Any) -> tuple[SDE, Exact]:
    """X = sinh(U), U = t^2/2 + a(t) W: multiplicative noise, both coefficients depend on time, W(1) gives X(1)."""

    def a(t: Any) -> Tensor:
        return 0.6 + 0.3 * torch.sin(2 * torch.as_tensor(t))

    def drift(t: Any, x: Tensor) -> Tensor:
        u = torch.asinh(x)
        rise = t + 0.6 * torch.cos(2 * torch.as_tensor(t)) / a(t) * (u - t**2 / 2)
        return torch.cosh(u) * rise + (a(t) ** 2 / 2 * x if convention == "ito" else 0.0)

    def exact(noise: Any, start: Tensor) -> Tensor:
        return torch.sinh(0.5 + a(torch.tensor(1.0, dtype=torch.float64)) * noise.dw.sum(0))

    diffusion = lambda t, x: a(t) * torch.sqrt(1 + x**2)  # noqa: E731
    return SDE(drift, diffusion, dim=1, sde_type=convention, separable=True), exact


def strong_errors(sde: SDE, scheme: Any, x0: float, exact: Exact, levels: tuple[int, ...], paths: int) -> list[float]:
    """The rms error at time 1 with 2^l steps, all on the same Brownian paths."""
    start = torch.full((paths, sde.dim), x0, dtype=torch.float64)
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    stream = BrownianStream(3, paths, sde.noise_dim or sde.dim, integrals=True, like=start)
    noise = stream.draw(TimeGrid.build(times, 2.0**-_FINEST).lengths)
    target, found = exact(noise, start), {}
    for level in range(_FINEST, -1, -1):
        if level in levels:
            end = _end(sde, scheme, start, times, 2.0**-level, noise)
            found[level] = float((end - target).square().mean().sqrt())
        if level:
            noise = noise.coarsened(2.0**-level)
    return [found[level] for level in levels]


def _end(sde: SDE, scheme: Any, start: Tensor, times: Tensor, dt: float, noise: Any) -> Tensor:
    eq, grid = Equation.of(sde, start), TimeGrid.build(times, dt)
    with torch.no_grad():
        guard = Guard("raise", eq, sde.names, start)
        return march(eq, scheme, grid, slice(0, len(grid.lengths)), start, noise, guard)[-1]


def slope(levels: tuple[int, ...], errors: list[float]) -> float:
    """The order: minus the slope of log2 error over the level."""
    return -float(np.polyfit(levels, np.log2(errors), 1)[0])


def _order(subject: str, setting: str, order: float, expected: float, trials: int) -> Finding:
    good = abs(order - expected) <= SLACK
    return Finding(subject, setting, trials, f"order {order:.2f}", f"{expected:g} +- {SLACK:g}", good)


def _strong(scheme: Any, expected: float, paths: int) -> Finding:
    levels = (4, 5, 6, 7)
    sde, exact = sinh_model("stratonovich" if isinstance(scheme, Heun) else "ito")
    order = slope(levels, strong_errors(sde, scheme, 0.0, exact, levels, paths))
    return _order(f"{scheme}", f"strong, separable noise, {sde.sde_type}", order, expected, paths)


def _strong_additive(paths: int) -> Finding:
    levels = (3, 4, 5, 6)
    drift = lambda t, x: torch.sin(x) - t * x  # noqa: E731
    sde = SDE(drift, lambda t, x: torch.full_like(x, 0.5), dim=1, separable=True)
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)

    def reference(noise: Any, start: Tensor) -> Tensor:
        return _end(sde, StrongOrder15(), start, times, 2.0**-_FINEST, noise)

    order = slope(levels, strong_errors(sde, EulerMaruyama(), 0.3, reference, levels, paths))
    return _order(f"{EulerMaruyama()}", "strong, additive noise", order, 1.0, paths)


def _weak(scheme: Any, paths: int) -> Finding:
    """Geometric Brownian motion: the mean of X(1) over paths whose exact end is known takes the noise out."""
    mu, sigma, levels = 1.5, 0.3, (4, 5, 6, 7)
    sde = SDE(lambda t, x: mu * x, lambda t, x: sigma * x, dim=1, separable=True)
    start = torch.ones(paths, 1, dtype=torch.float64)
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    stream = BrownianStream(5, paths, 1, integrals=True, like=start)
    noise = stream.draw(TimeGrid.build(times, 2.0 ** -max(levels)).lengths)
    exact = torch.exp(mu - sigma**2 / 2 + sigma * noise.dw.sum(0))
    found = {}
    for level in range(max(levels), 0, -1):
        if level in levels:
            found[level] = abs(float((_end(sde, scheme, start, times, 2.0**-level, noise) - exact).mean()))
        noise = noise.coarsened(2.0**-level)
    order = slope(levels, [found[k] for k in levels])
    return _order(f"{scheme}", "weak, first moment, multiplicative noise", order, 1.0, paths)


def _moments(scheme: Any, paths: int) -> Finding:
    """Mean and variance of an Ornstein-Uhlenbeck process at two output times, in standard errors."""
    theta, sigma, x0, times = 1.3, 0.7, 2.0, [0.0, 0.5, 1.5]
    convention = "stratonovich" if "heun" in repr(scheme).lower() else "ito"
    noise = lambda t, x: torch.full_like(x, sigma)  # noqa: E731
    sde = SDE(lambda t, x: -theta * x, noise, dim=1, separable=True, sde_type=convention)
    values = simulate(sde, x0, times, paths=paths, scheme=scheme, dt=0.01, seed=1).values[1:, :, 0]
    worst = 0.0
    for t, x in zip(times[1:], values, strict=True):
        mean, variance = x0 * np.exp(-theta * t), sigma**2 / (2 * theta) * (1 - np.exp(-2 * theta * t))
        bias = 0.01 * theta**2 * t * mean / 2  # of the first order schemes
        worst = max(worst, max(0.0, abs(float(x.mean()) - mean) - bias) / np.sqrt(variance / paths))
        off = abs(float(x.var()) - variance) - 0.01 * theta * variance
        worst = max(worst, max(0.0, off) / (variance * np.sqrt(2 / paths)))
    setting, found = "Ornstein-Uhlenbeck, mean and variance", f"{worst:.1f} standard errors"
    return Finding(f"{scheme}", setting, paths, found, "5", bool(worst <= 5))
