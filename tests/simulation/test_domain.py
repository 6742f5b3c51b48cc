import math

import pytest
import torch

from pdekit.errors import NumericalError
from pdekit.sde import SDE
from pdekit.simulation import EulerMaruyama, Milstein, StrongOrder15, simulate

INF = math.inf
TIMES = torch.linspace(0, 4, 41, dtype=torch.float64)


def square_root(feller):
    """CIR with mean .3 whose 2 kappa theta / sigma^2 is `feller`."""
    sigma = math.sqrt(2 * 0.3 / feller)
    return SDE(lambda t, x: 0.3 - x, lambda t, x: sigma * x.sqrt(), dim=1, separable=True, domain=((0.0, INF),))


def brownian(*domain):
    return SDE(lambda t, x: 0 * x, lambda t, x: torch.ones_like(x), dim=1, separable=True, domain=(domain,))


@pytest.mark.parametrize("scheme", [EulerMaruyama(), Milstein(), StrongOrder15()], ids=str)
def test_reflection_keeps_the_domain_where_the_noise_is_a_square_root(scheme):
    run = simulate(square_root(0.5), 0.3, TIMES, paths=500, scheme=scheme, dt=0.02, seed=0)
    assert (run.values >= 0).all()
    assert run.touched.any()
    assert "met the boundary (reflect)" in repr(run)


def test_stationary_moments_of_a_square_root_process():
    run = simulate(square_root(2.0), 0.3, [0.0, 8.0], paths=20_000, dt=0.01, seed=0)
    x = run.values[-1]
    # Gamma with mean .3 and variance sigma^2 theta/(2 kappa) = .045; four standard errors (kurtosis 6), and 1 %.
    assert x.mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.045 / 20_000) + 0.003)
    assert x.var().item() == pytest.approx(0.045, rel=4 * math.sqrt(5 / 20_000) + 0.01)


def test_reflected_brownian_motion_has_the_density_of_its_absolute_value():
    run = simulate(brownian(0.0, INF), 0.0, [0.0, 1.0], paths=20_000, dt=1e-3, seed=0)
    x = run.values[-1]
    # |W(1)|, exactly, at any step: mirroring commutes with symmetric increments.
    assert x.mean().item() == pytest.approx(math.sqrt(2 / math.pi), abs=4 * math.sqrt((1 - 2 / math.pi) / 20_000))
    assert x.square().mean().item() == pytest.approx(1, abs=4 * math.sqrt(2 / 20_000))


def test_two_bounds_are_both_kept_even_by_a_step_longer_than_the_domain():
    run = simulate(brownian(0.0, 0.1), 0.05, [0.0, 1.0, 2.0], paths=200, dt=1.0, seed=0)
    assert ((run.values >= 0) & (run.values <= 0.1)).all()


def test_absorbed_paths_stop_at_the_bound():
    run = simulate(brownian(0.0, INF), 0.5, TIMES, paths=4000, dt=2e-3, boundary="absorb", seed=0)
    x = run.values[..., 0]
    stopped = x == 0
    assert torch.equal(stopped[-1], run.touched)
    assert (stopped[1:] | ~stopped[:-1]).all()  # once stopped, for good
    # First passage by the reflection principle, P = 2 Phi(-x0/sqrt(T)); a walk with steps sees the bound .5826 sqrt(dt)
    # farther away (Broadie, Glasserman and Kou 1997).
    exact = math.erfc((0.5 + 0.5826 * math.sqrt(2e-3)) / math.sqrt(2 * 4))
    assert run.touched.double().mean().item() == pytest.approx(exact, abs=4 * math.sqrt(0.25 / 4000))


def test_a_whole_path_stops_when_one_state_is_absorbed():
    sde = SDE(
        lambda t, x: 0 * x,
        lambda t, x: torch.ones_like(x),
        dim=2,
        separable=True,
        domain=((0.0, INF), (-INF, INF)),
    )
    run = simulate(sde, [0.1, 0.0], TIMES, paths=50, dt=0.01, boundary="absorb", seed=0)
    at_bound = (run.values[:-1, :, 0] == 0).unsqueeze(-1)
    assert (~at_bound | (run.values[1:] == run.values[:-1])).all()


def test_raise_names_state_path_and_time():
    with pytest.raises(NumericalError, match=r"x of path \d+ left its domain at t=.* boundary=.reflect"):
        simulate(brownian(0.0, INF), 0.1, TIMES, paths=10, dt=0.01, boundary="raise", seed=0)


@pytest.mark.parametrize("boundary", ["reflect", "absorb"])
@pytest.mark.parametrize("domain", [(0.0, INF), (0.0, 5.0)])
def test_no_rule_hides_an_explosion(boundary, domain):
    bad = SDE(lambda t, x: torch.where(t > 0.5, -INF, 0.0) + 0 * x, lambda t, x: 0 * x, dim=1, domain=(domain,))
    with pytest.raises(NumericalError, match="path 0"):
        simulate(bad, 1.0, [0.0, 1.0], dt=0.1, boundary=boundary, seed=0)


def test_paths_that_stay_inside_are_not_touched():
    run = simulate(square_root(50.0), 0.3, [0.0, 1.0], paths=100, dt=0.01, seed=0)
    assert not run.touched.any()
    assert "boundary" not in repr(run)
