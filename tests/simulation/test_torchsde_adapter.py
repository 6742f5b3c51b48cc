import math
from itertools import pairwise

import pytest
import torch
import torchsde

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.sde import SDE
from pdekit.simulation import EulerMaruyama, Milstein, TorchSDE, simulate
from pdekit.simulation.domain import Guard
from pdekit.simulation.equation import Equation
from pdekit.simulation.noise import Increments
from pdekit.simulation.stepping import Grid, march
from pdekit.simulation.torchsde_adapter import _legs

OU = SDE(lambda t, x: -x, lambda t, x: torch.full_like(x, 0.5), dim=1, separable=True)
GBM = SDE(lambda t, x: 0.2 * x, lambda t, x: 0.4 * x, dim=1, separable=True)
WRITTEN = SDE(lambda t, x: 0.12 * x, lambda t, x: 0.4 * x, dim=1, separable=True, sde_type="stratonovich")


@pytest.mark.parametrize(("method", "scheme"), [("euler", EulerMaruyama()), ("milstein", Milstein())])
def test_same_steps_on_the_same_noise(method, scheme):
    n, dt = 64, 2.0**-6  # powers of two: torchsde's accumulated times are exact
    x0 = torch.ones(8, 1, dtype=torch.float64)
    path = torchsde.BrownianInterval(0.0, 1.0, (8, 1), dtype=torch.float64, entropy=1, dt=dt)
    edges = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    with torch.no_grad():
        theirs = torchsde.sdeint(GBM, x0, edges, bm=path, method=method, dt=dt)
        dw = torch.stack([path(a, b) for a, b in pairwise(edges)])
        eq, grid = Equation.of(GBM, x0), Grid.build(edges, dt)
        guard = Guard("raise", eq, GBM.names, x0)
        ours = torch.stack(march(eq, scheme, grid, slice(0, n), x0, Increments(dw, None), guard))
    # 64 steps of a few operations each; the difference quotient of Milstein loses another factor 1/sqrt(dt).
    torch.testing.assert_close(ours, theirs[1:], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("sde", "method"),
    [(GBM, m) for m in ("euler", "milstein", "srk")]
    + [(WRITTEN, m) for m in ("euler", "milstein", "heun", "midpoint", "euler_heun", "log_ode", "reversible_heun")],
)
def test_moments_of_geometric_brownian_motion(sde, method):
    run = simulate(sde, 1.0, [0.0, 0.3, 1.0], paths=4000, scheme=TorchSDE(method), dt=0.05, seed=0)
    log = run.values[-1].log()
    assert run.values.shape == (3, 4000, 1)
    # log X ~ N(.2 - .08, .16) for the Ito equation and its Stratonovich form; four standard errors and the weak error.
    assert log.mean().item() == pytest.approx(0.12, abs=4 * 0.4 / math.sqrt(4000) + 0.01)
    assert log.var().item() == pytest.approx(0.16, rel=4 * math.sqrt(2 / 4000) + 0.05)


def test_general_noise_by_euler():
    g = torch.tensor([[0.2, 0.1, 0.0], [0.0, 0.3, -0.1]], dtype=torch.float64)
    sde = SDE(lambda t, x: 0 * x, lambda t, x: g.expand(len(x), 2, 3), dim=2, noise_dim=3, noise_type="general")
    run = simulate(sde, [0.0, 0.0], [0.0, 1.0], paths=4000, scheme=TorchSDE("euler"), dt=0.1, seed=0)
    torch.testing.assert_close(run.values[-1].T.cov(), g @ g.T, rtol=0, atol=4 * 0.1 / math.sqrt(4000))


def test_the_same_seed_gives_the_same_paths():
    a, b, c = (
        simulate(OU, 1.0, [0, 1, 2.5], paths=3, scheme=TorchSDE("srk"), dt=0.1, seed=s).values for s in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_legs_join_at_times_nobody_asked_for(monkeypatch):
    monkeypatch.setattr("pdekit.simulation.torchsde_adapter._LEG", 7)
    still = SDE(lambda t, x: torch.ones_like(x), lambda t, x: 0 * x, dim=1)
    times = [0.0, 0.5, 1.0, 1.7, 4.0]
    run = simulate(still, 0.0, times, scheme=TorchSDE("euler"), dt=0.1, seed=0)
    torch.testing.assert_close(run.values.flatten(), torch.tensor(times, dtype=torch.float64))
    assert run.values.shape == (5, 1, 1)


def test_long_paths_are_cut_before_torchsde_exhausts_the_stack():
    # A single call fails somewhere above 10,000 steps.
    legs = list(_legs(Grid.build(torch.tensor([0.0, 50.0], dtype=torch.float64), 1e-3)))
    assert max(leg.steps for leg in legs) < 2000
    assert sum(leg.steps for leg in legs) == 50_000
    assert sum(leg.outputs for leg in legs) == 1


def test_progress_is_reported_per_leg(monkeypatch):
    monkeypatch.setattr("pdekit.simulation.torchsde_adapter._LEG", 4)
    calls = []
    options = {"scheme": TorchSDE("euler"), "dt": 0.1, "seed": 0, "progress": lambda *call: calls.append(call)}
    simulate(OU, 1.0, [0.0, 1.0], **options)
    assert calls == [(4, 10), (8, 10), (10, 10)]


@pytest.mark.parametrize("adjoint", [False, True])
def test_gradients_of_geometric_brownian_motion(adjoint):
    mu = torch.tensor(0.12, dtype=torch.float64, requires_grad=True)
    x0 = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    sde = SDE(lambda t, x: mu * x, lambda t, x: 0.4 * x, dim=1, separable=True, sde_type="stratonovich")
    scheme = TorchSDE("midpoint", adjoint=adjoint, parameters=(mu,) if adjoint else ())
    end = simulate(sde, x0, [0.0, 0.5, 1.0], scheme=scheme, dt=1e-2, seed=0).values[-1].sum()
    d_mu, d_x0 = torch.autograd.grad(end, (mu, x0))
    # X = x0 exp(mu T + .4 W): dX/dmu = X, dX/dx0 = X/x0, up to the strong error of the scheme.
    assert d_mu.item() == pytest.approx(end.item(), rel=5e-3)
    assert d_x0.item() == pytest.approx(end.item(), rel=5e-3)


def test_refusals_say_what_to_use():
    coupled = SDE(lambda t, x: -x, lambda t, x: 0.1 * x.flip(-1), dim=2)
    scalar = SDE(lambda t, x: -x, lambda t, x: x.unsqueeze(-1), dim=2, noise_type="scalar")
    bounded = SDE(lambda t, x: 1 - x, lambda t, x: x.sqrt(), dim=1, separable=True, domain=((0.0, math.inf),))

    def run(sde, method, **options):
        simulate(sde, [1.0] * sde.dim, [0.0, 1.0], scheme=TorchSDE(method), seed=0, **({"dt": 0.1} | options))

    for sde, method in ((coupled, "milstein"), (coupled, "srk"), (scalar, "milstein")):
        with pytest.raises(UnsupportedError, match=r"separable.*TorchSDE\(\"euler\"\)"):
            run(sde, method)
    with pytest.raises(UnsupportedError, match="Stratonovich"):
        run(GBM, "heun")
    with pytest.raises(UnsupportedError, match="can't reflect"):
        run(bounded, "euler")
    with pytest.raises(NumericalError, match="smaller dt"):
        run(bounded, "euler", boundary="raise", dt=0.5, paths=200)
    with pytest.raises(InputError, match="pass dt"):
        run(GBM, "euler", dt=None)


def test_options_are_checked_when_built():
    with pytest.raises(InputError, match="method must be"):
        TorchSDE("rk4")
    with pytest.raises(InputError, match="adjoint=True"):
        TorchSDE("euler", parameters=(torch.zeros(1),))
