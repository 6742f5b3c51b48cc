"""Strong orders, by regression on paths that share their noise, against exact solutions where there are any."""

import math

import numpy as np
import pytest
import torch

from pdekit.operators import to_ito
from pdekit.sde import SDE
from pdekit.simulation import EulerMaruyama, Heun, Milstein, StrongOrder15
from pdekit.simulation.domain import Guard
from pdekit.simulation.equation import Equation
from pdekit.simulation.noise import BrownianStream
from pdekit.simulation.stepping import Grid, march

PATHS = 2000
# The rms error over 2000 paths is known within some 3 %; over a factor of 8 in h that moves a slope by about .03, and
# the next order of the error by less than .1 at these steps.
SLACK = 0.15


def errors(sde, scheme, x0, exact, levels, span=1.0, finest=9, paths=PATHS):
    """The rms end error with 2^l steps for l in levels; `exact` maps (noise at the finest level, start) to the end."""
    start = torch.tensor([x0], dtype=torch.float64).expand(paths, -1)
    times = torch.tensor([0.0, span], dtype=torch.float64)
    stream = BrownianStream(3, paths, sde.noise_dim, integrals=True, like=start)
    noise = stream.draw(Grid.build(times, span / 2**finest).lengths)
    target = exact(noise, start)
    found = {}
    for level in range(finest, -1, -1):
        if level in levels:
            end = run(sde, scheme, start, times, span / 2**level, noise)
            found[level] = (end - target).square().mean().sqrt().item()
        if level:
            noise = noise.coarsened(span / 2**level)
    return found


def run(sde, scheme, start, times, dt, noise):
    eq, grid = Equation.of(sde, start), Grid.build(times, dt)
    with torch.no_grad():
        guard = Guard("raise", eq, sde.names, start)
        return march(eq, scheme, grid, slice(0, len(grid.lengths)), start, noise, guard)[-1]


def slope(found):
    return -np.polyfit(list(found), np.log2(list(found.values())), 1)[0]


def sinh_model(convention):
    """X = sinh(U), U = t^2/2 + a(t) W: multiplicative noise, both coefficients depend on time, W(T) gives X(T)."""

    def a(t):
        return 0.6 + 0.3 * torch.sin(2 * t)

    def f(t, x):
        u = torch.asinh(x)
        du = t + 0.6 * torch.cos(2 * t) / a(t) * (u - t**2 / 2)
        ito_term = a(t) ** 2 / 2 * x if convention == "ito" else 0.0
        return torch.cosh(u) * du + ito_term

    def g(t, x):
        return a(t) * torch.sqrt(1 + x**2)

    def exact(noise, start):
        end = torch.tensor(1.0, dtype=torch.float64)
        return torch.sinh(0.5 + a(end) * noise.dw.sum(0))

    return SDE(f, g, dim=1, sde_type=convention, separable=True), exact


def coupled_model():
    """Separable multiplicative noise, every drift depends on every state and on time."""

    def f(t, x):
        u, v = x[..., 0], x[..., 1]
        return torch.stack([u - u**3 + torch.sin(3 * t) * v, torch.cos(u) * v - t * u], -1)

    def g(t, x):
        u, v = x[..., 0], x[..., 1]
        return torch.stack([0.4 * torch.cos(t) * torch.sqrt(1 + u**2), 0.3 + 0.3 * torch.sin(v)], -1)

    return SDE(f, g, dim=2, separable=True)


@pytest.mark.parametrize(
    ("scheme", "order"), [(EulerMaruyama(), 0.5), (Milstein(), 1.0), (StrongOrder15(), 1.5)], ids=lambda s: str(s)
)
def test_strong_order_against_an_exact_solution(scheme, order):
    sde, exact = sinh_model("ito")
    assert slope(errors(sde, scheme, [0.0], exact, (4, 5, 6, 7))) == pytest.approx(order, abs=SLACK)


@pytest.mark.parametrize("scheme", [Heun(), Milstein()], ids=str)
def test_stratonovich_reaches_the_same_solution(scheme):
    sde, exact = sinh_model("stratonovich")
    sde = sde if scheme.convention == "stratonovich" else to_ito(sde)
    assert slope(errors(sde, scheme, [0.0], exact, (4, 5, 6, 7))) == pytest.approx(1.0, abs=SLACK)


@pytest.mark.parametrize(("scheme", "order"), [(Milstein(), 1.0), (StrongOrder15(), 1.5)], ids=lambda s: str(s))
def test_strong_order_with_coupled_drift(scheme, order):
    sde = coupled_model()

    def reference(noise, start):
        times = torch.tensor([0.0, 1.0], dtype=torch.float64)
        end = run(sde, StrongOrder15(), start, times, 2**-11, noise)
        # Milstein is a different method with a different error, at this step 3e-4: the reference is no worse.
        assert (end - run(sde, Milstein(), start, times, 2**-11, noise)).square().mean().sqrt() < 6e-4
        return end

    # Coarser steps show a steeper slope: the fourth stage reaches 1.5 g sqrt(h) away, and its own error fades like h^2.
    found = errors(sde, scheme, [0.5, -0.3], reference, (5, 6, 7, 8), finest=11, paths=200)
    assert slope(found) == pytest.approx(order, abs=SLACK)


def test_euler_has_order_one_for_additive_noise():
    sde = SDE(lambda t, x: torch.sin(x) - t * x, lambda t, x: torch.full_like(x, 0.5), dim=1, separable=True)

    def reference(noise, start):
        return run(sde, StrongOrder15(), start, torch.tensor([0.0, 1.0], dtype=torch.float64), 2**-9, noise)

    assert slope(errors(sde, EulerMaruyama(), [0.3], reference, (3, 4, 5, 6))) == pytest.approx(1.0, abs=SLACK)


def test_milstein_error_for_geometric_brownian_motion_is_the_exact_one():
    mu, sigma, n = 0.3, 0.5, 2**7
    h = 1 / n
    sde = SDE(lambda t, x: mu * x, lambda t, x: sigma * x, dim=1, separable=True)

    def exact(noise, start):
        return start * torch.exp(mu - sigma**2 / 2 + sigma * noise.dw.sum(0))

    # A Milstein step multiplies by R = 1 + mu h + sigma dW + sigma^2 (dW^2 - h)/2, the solution by
    # E = exp((mu - sigma^2/2) h + sigma dW), independently from step to step; the moments are Gaussian integrals.
    common = sigma**2 * h + sigma**4 * h**2 / 2
    rr, re, ee = (1 + mu * h) ** 2 + common, math.exp(mu * h) * (1 + mu * h + common), math.exp((2 * mu + sigma**2) * h)
    expected = math.sqrt(rr**n - 2 * re**n + ee**n)
    # 2000 paths of a lognormal-like error: its rms is known within some 5 %.
    assert errors(sde, Milstein(), [1.0], exact, (7,))[7] == pytest.approx(expected, rel=0.15)
    # Half an order more is a factor of about sqrt(h) = 1/11; measured 1/33.
    assert errors(sde, StrongOrder15(), [1.0], exact, (7,))[7] < expected / 20


def test_milstein_and_euler_agree_exactly_for_additive_noise():
    sde = SDE(lambda t, x: -x, lambda t, x: torch.full_like(x, 0.5), dim=1, separable=True)
    start, times = torch.ones(5, 1, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    noise = BrownianStream(0, 5, 1, integrals=False, like=start).draw(Grid.build(times, 0.1).lengths)
    assert torch.equal(*(run(sde, scheme, start, times, 0.1, noise) for scheme in (EulerMaruyama(), Milstein())))
