"""Scores along paths: exact for normal laws, unbiased for others."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch.distributions import MultivariateNormal, Normal

from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fokker_planck.networks.drift import Drift
from pdekit.fokker_planck.networks.noise import AdditiveNoise
from pdekit.fokker_planck.networks.paths import transient_paths
from pdekit.fokker_planck.networks.pathwise import Snapshot, carried, first_score, follow, steps
from pdekit.fokker_planck.problem import FokkerPlanckProblem
from pdekit.sde import SDE
from pdekit.symbolic.model import SymbolicSDE

WELL = SymbolicSDE("x", "x - x**3", "1")


def followed(problem, times, paths=2000, seed=0):
    drift = Drift.of(problem)
    noise = AdditiveNoise(problem, torch.randn(50, problem.sde.dim).double())
    every = np.array([problem.t0, *times])
    return follow(drift, noise, problem.law, every, paths, torch.Generator().manual_seed(seed))


def normal(mean, covariance):
    return MultivariateNormal(torch.tensor(mean).double(), torch.tensor(covariance).double())


A = np.array([[-1.0, 4.0], [0.0, -2.0]])  # not normal
G = np.array([[1.0, 0.0], [0.6, 0.5]])
LINEAR = SymbolicSDE(["x", "y"], ["-x + 4*y", "-2*y"], [["1", "0"], ["3/5", "1/2"]])
C0 = np.array([[0.5, 0.2], [0.2, 0.3]])


def linear_law(t, start):
    """Mean and covariance of the linear equation, by the matrix exponential of Van Loan."""
    block = scipy.linalg.expm(t * np.block([[A, G @ G.T], [np.zeros((2, 2)), -A.T]]))
    phi = block[:2, :2]
    return phi @ np.array([1.0, -0.5]), phi @ start @ phi.T + block[:2, 2:] @ phi.T


@pytest.mark.parametrize("point", [False, True])
def test_scores_of_normal_laws_leave_nothing_to_chance(point):
    start = [1.0, -0.5] if point else normal([1.0, -0.5], C0.tolist())
    (found,) = followed(FokkerPlanckProblem(LINEAR, initial=start), [1.0])
    mean, covariance = linear_law(1.0, np.zeros((2, 2)) if point else C0)
    exact = -np.linalg.solve(covariance, (found.x.numpy() - mean).T).T
    off = (found.s.numpy() - exact) / np.sqrt(np.diag(np.linalg.inv(covariance)))
    # Of the 28 steps, two gains each, every one scatters by (d / 16384)^1/2 = 0.011, less the later it is forgotten.
    assert np.sqrt(np.mean(off**2)) < 0.07
    assert np.abs(np.cov(found.x.T.numpy()) / covariance - 1).max() < 0.15


def test_steps_are_of_second_order_when_coefficients_depend_on_time():
    """dX = -2 t X dt + (1 + t) dW: the variance of long and short steps against its equation."""
    model = SymbolicSDE("x", "-2*t*x", "1 + t")
    problem = FokkerPlanckProblem(model, initial=Normal(torch.tensor(0.0).double(), torch.tensor(1.0).double()))
    exact = scipy.integrate.solve_ivp(lambda t, c: -4 * t * c + (1 + t) ** 2, (0, 1), [1.0], rtol=1e-10, atol=1e-12).y[
        0, -1
    ]
    errors = []
    for pieces in (1, 2):  # of 8 steps
        found = followed(problem, np.linspace(0, 1, pieces + 1)[1:], seed=1)[-1]
        slope = np.polyfit(found.x[:, 0].numpy(), found.s[:, 0].numpy(), 1)[0]  # -1 / variance
        errors.append(abs(-1 / slope / exact - 1))
    assert errors[0] < 0.03  # h^2 with a small factor, and 0.003 of scatter
    assert errors[1] < 0.01


def test_noise_that_depends_on_time_is_added_to_second_order():
    """dX = exp(3 t) dW in 8 steps of two halves: 0.6 % off at their middles, 19 % at their ends."""
    (found,) = followed(FokkerPlanckProblem(SymbolicSDE("x", "0", "exp(3*t)"), initial=[0.0]), [1.0], paths=40_000)
    exact = np.expm1(6) / 6
    assert float(found.x.var()) == pytest.approx(exact, rel=0.03)  # (2 / 40000)^1/2 = 0.007
    assert (found.s * exact + found.x).std() < 0.1 * exact**0.5


def test_binned_scores_of_a_double_well_are_those_of_a_grid():
    problem = FokkerPlanckProblem(WELL, initial=Normal(0.2, 0.5))
    found = followed(problem, np.linspace(0, 1, 11)[1:], paths=40_000)[-1]
    grid = problem.solve([1.0])
    x, s = found.x[:, 0].numpy(), found.s[:, 0].numpy()
    left = s - grid.score(1.0, found.x).numpy()[:, 0]
    bins = np.digitize(x, np.quantile(x, np.linspace(0, 1, 21)[1:-1]))
    off = [left[bins == k].mean() / (left[bins == k].std() / np.sqrt((bins == k).sum())) for k in range(20)]
    assert np.abs(off).max() < 4
    assert np.mean(np.square(off)) < 2.5
    assert found.stein() < 4


def test_a_point_start_of_a_double_well_is_unbiased_too():
    problem = FokkerPlanckProblem(WELL, initial=[0.5])
    found = followed(problem, np.linspace(0, 0.8, 11)[1:], paths=40_000, seed=2)[-1]
    left = (found.s - problem.solve([0.8]).score(0.8, found.x))[:, 0].numpy()
    for weight in (1.0, found.x[:, 0].numpy(), np.tanh(3 * found.x[:, 0].numpy())):
        products = weight * left
        assert abs(products.mean()) < 4 * products.std() / np.sqrt(len(left))


def test_steins_identity_tells_wrong_scores():
    x = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)).double()
    assert Snapshot(0.0, x, -x).stein() < 4
    assert Snapshot(0.0, x, -1.1 * x).stein() > 8
    assert Snapshot(0.0, x, x.flip(1)).stein() > 8


def test_steps_that_are_too_long_are_told_by_steins_identity():
    """A point start where the drift is flat, and one snapshot: the steps are chosen before the paths get far."""
    problem = FokkerPlanckProblem(WELL, initial=[0.5])
    with pytest.raises(NumericalError, match="miss Stein's identity"):
        transient_paths(problem, np.array([1.0]), 1, 80_000, torch.Generator().manual_seed(0), lambda share: None)


def test_steps_follow_the_greatest_rate():
    drift = Drift.of(FokkerPlanckProblem(SymbolicSDE(["x", "y"], ["-70*x", "-y"], ["1", "1"])))
    x = torch.zeros(1, 2).double()
    assert steps(drift, 0.0, 1.0, x) == 200
    assert steps(drift, 0.0, 1e-3, x) == 8
    with pytest.raises(NumericalError, match="too stiff"):
        steps(drift, 0.0, 1e5, x)


def test_explosions_are_named():
    problem = FokkerPlanckProblem(SymbolicSDE("x", "x**3", "1"), initial=Normal(0.0, 1.0))
    with pytest.raises(NumericalError, match=r"grow beyond every bound|not finite"):
        followed(problem, [5.0])


def test_starts_that_have_no_score_are_refused():
    kinetic = SymbolicSDE(["x", "v"], ["v", "-x"], [["0"], ["1"]])
    with pytest.raises(UnsupportedError, match="noise in every state"):
        followed(FokkerPlanckProblem(kinetic, initial=[1.0, 0.0]), [1.0])
    box = torch.distributions.Uniform(torch.tensor(0.0).double(), torch.tensor(1.0).double())
    law = FokkerPlanckProblem(WELL, initial=box).law
    with pytest.raises(UnsupportedError, match="not smooth"):
        first_score(law, torch.tensor([[0.0], [0.5], [1.0]]).double())


def test_noise_in_some_states_is_enough_for_a_start_with_a_density():
    kinetic = SymbolicSDE(["x", "v"], ["v", "-x"], [["0"], ["1"]])
    problem = FokkerPlanckProblem(kinetic, initial=normal([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]]))
    (found,) = followed(problem, [1.0])
    covariance = np.eye(2) + 0.5 * np.array([[1 - np.sin(2) / 2, np.sin(1) ** 2], [np.sin(1) ** 2, 1 + np.sin(2) / 2]])
    exact = -np.linalg.solve(covariance, found.x.numpy().T).T
    assert np.sqrt(np.mean((found.s.numpy() - exact) ** 2)) < 0.05  # as above


def test_the_score_at_the_start_is_that_of_its_formula():
    law = FokkerPlanckProblem(LINEAR, initial=normal([1.0, -0.5], C0.tolist())).law
    x = law.sample(100, torch.Generator().manual_seed(0))
    s, fresh = first_score(law, x)
    assert not fresh
    exact = -np.linalg.solve(C0, (x.numpy() - [1.0, -0.5]).T).T
    assert np.abs(s.numpy() - exact).max() < 1e-6  # eps / width = 1e-11 and more where |log p| is great


def test_a_flow_without_noise_carries_scores_along():
    """dx/dt = A x makes N(m, C) into N(Phi m, Phi C Phi^T)."""
    problem = FokkerPlanckProblem(LINEAR, initial=normal([1.0, -0.5], C0.tolist()))
    found = carried(Drift.of(problem), problem.law, np.array([0.0, 0.5, 1.0]), 500, torch.Generator(), 100)
    assert [f.t for f in found] == [0.5, 1.0]
    phi = scipy.linalg.expm(A)
    exact = -np.linalg.solve(phi @ C0 @ phi.T, (found[-1].x.numpy() - phi @ [1.0, -0.5]).T).T
    assert np.abs(found[-1].s.numpy() - exact).max() < 1e-3 * np.abs(exact).max()  # Heun, h |A| = 0.025


def test_paths_come_from_the_seed():
    problem = FokkerPlanckProblem(WELL, initial=Normal(0.2, 0.5))
    first, second, other = (followed(problem, [0.5], seed=k)[0] for k in (0, 0, 1))
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.s, second.s)
    assert not torch.equal(first.x, other.x)


def test_a_plain_equation_gives_the_same_paths_as_symbols():
    plain = SDE(lambda t, x: x - x**3, lambda t, x: torch.ones_like(x), dim=1)
    both = [followed(FokkerPlanckProblem(sde, initial=Normal(0.2, 0.5)), [0.5])[0] for sde in (WELL, plain)]
    torch.testing.assert_close(both[0].x, both[1].x)
    torch.testing.assert_close(both[0].s, both[1].s)


def test_snapshots_lie_between_the_times_that_are_asked_for():
    problem = FokkerPlanckProblem(WELL, initial=Normal(0.2, 0.5), t0=1.0)
    paths = transient_paths(problem, np.array([1.49, 2.0]), 4, 1000, torch.Generator(), lambda share: None)
    assert [s.t for s in paths.snapshots] == pytest.approx(
        [1.0, *(1 + 0.25 / 2.0**k for k in (4, 3, 2, 1)), 1.25, 1.49, 1.75, 2.0]
    )
    assert paths.at(1.49).t == 1.49
    assert paths.span == 1.0
    x = paths.snapshots[0].x
    torch.testing.assert_close(paths.snapshots[0].s, -(x - 0.2) / 0.25, rtol=1e-5, atol=1e-5)
    point = FokkerPlanckProblem(WELL, initial=[0.2])
    paths = transient_paths(point, np.array([1.0]), 2, 1000, torch.Generator(), lambda share: None)
    assert [s.t for s in paths.snapshots] == pytest.approx([0.5, 1.0])
