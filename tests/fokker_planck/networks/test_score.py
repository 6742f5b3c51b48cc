"""`Score` against grids, Gibbs laws and mixtures that stay mixtures."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from pdekit.errors import InputError, UnsupportedError
from pdekit.fokker_planck import FokkerPlanckProblem, Score, Training
from pdekit.fokker_planck.gaussian import GaussianMixture
from pdekit.fokker_planck.networks import potential_density
from pdekit.sde import SDE
from pdekit.symbolic.model import SymbolicSDE

WELL = SymbolicSDE("x", "x - x**3", "1")
PROBLEM = FokkerPlanckProblem(WELL, initial=Normal(0.2, 0.5))
SHORT = Training(steps=250, batch=512)
SMALL = Score(paths=8000, snapshots=2, components=3, hidden=(16, 16), training=SHORT)
TINY = Score(paths=1000, snapshots=2, components=1, hidden=(8,), training=Training(steps=20, batch=64), check=False)
MEANS = [[-1.5, 0.0], [1.5, 0.5]]
ROOT = np.array([[0.5, 0.0], [0.2, 0.4]])
OU = SymbolicSDE(["x", "y"], ["-x - y", "x - 2*y"], [["1", "0"], ["1/2", "1/2"]])
A, G = np.array([[-1.0, -1.0], [1.0, -2.0]]), np.array([[1.0, 0.0], [0.5, 0.5]])


def two_modes():
    shape = torch.as_tensor(ROOT).expand(2, 2, 2)
    return MixtureSameFamily(
        Categorical(torch.tensor([0.4, 0.6]).double()),
        MultivariateNormal(torch.tensor(MEANS).double(), scale_tril=shape),
    )


def exact_mixture(t):
    """Components of a linear equation stay normal, with moments by the matrix exponential of Van Loan."""
    block = scipy.linalg.expm(t * np.block([[A, G @ G.T], [np.zeros((2, 2)), -A.T]]))
    phi = block[:2, :2]
    covariance = phi @ ROOT @ ROOT.T @ phi.T + block[:2, 2:] @ phi.T
    return GaussianMixture(np.array([0.4, 0.6]), np.array(MEANS) @ phi.T, 0.5 * (covariance + covariance.T)[None])


def by_differences(flow, t, x):
    """div v."""
    steps = 1e-4 * torch.eye(x.shape[1]).double()
    return sum((flow(t, x + step) - flow(t, x - step))[:, i] / 2e-4 for i, step in enumerate(steps))


@pytest.fixture(scope="module", autouse=True)
def _fewer_draws():
    """The mass to 0.1 % or so is enough here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(potential_density, "_MASS", 100_000)
        yield


@pytest.fixture(scope="module")
def well():
    torch.set_num_threads(1)
    return PROBLEM.solve([0.3, 0.6], SMALL), PROBLEM.solve([0.3, 0.6])


@pytest.mark.parametrize("t", [0.3, 0.6])
def test_a_double_well_is_that_of_a_grid(well, t):
    found, grid = well
    x = grid.sample(2000, t, seed=1)
    off = found.log_pdf(t, x) - grid.log_pdf(t, x)
    rms = float(off.square().mean()) ** 0.5
    assert rms < 0.1
    scores = (found.score(t, x) - grid.score(t, x)).square().mean() / grid.score(t, x).square().mean()
    assert float(scores) ** 0.5 < 0.25
    measured = found.at(t).deviation
    assert measured.trusted
    assert abs(measured.rms - rms) < 4 * measured.stderr + 0.03  # 200 states and 16 paths from each
    assert found.at(t).error == measured.relative_l2
    node = torch.linspace(-6, 6, 4001, dtype=torch.float64)[:, None]
    mass = float(torch.trapezoid(found.pdf(t, node), node[:, 0]))
    assert abs(mass - 1) < 5 * found.at(t).unit.stderr
    assert abs(found.mass[0] - 1) < 5 * found.at(0.3).unit.stderr


def test_the_score_is_the_gradient_of_the_log_density(well):
    density = well[0].at(0.6)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    doubled = density.doubled()
    slope = (doubled.log_at(x + 1e-5) - doubled.log_at(x - 1e-5)) / 2e-5
    torch.testing.assert_close(doubled.score_at(x)[:, 0], slope, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(density.score(x)[:, 0], slope, rtol=1e-3, atol=1e-3)  # a network in single precision
    free = doubled.log_density(0.6)(torch.tensor(0.6, dtype=torch.float64), x)
    torch.testing.assert_close(free, doubled.log_at(x), rtol=1e-9, atol=1e-9)


def test_samples_moments_and_words(well):
    found, grid = well
    x = found.sample(5000, 0.6, seed=3)
    assert x.shape == (5000, 1)
    assert len(torch.unique(x)) == 5000
    assert found.sample(9000, 0.6).shape == (9000, 1)
    assert torch.equal(x, found.sample(5000, 0.6, seed=3))
    off = found.moments(0.6).mean - grid.moments(0.6).mean
    assert abs(off[0]) < 4 * (0.8 / 8000) ** 0.5
    assert found.moments(0.6).covariance == pytest.approx(grid.moments(0.6).covariance, rel=0.06)
    square = found.expectation(lambda x: x[:, 0] ** 2, 0.6)
    assert float(square) == pytest.approx(float(grid.expectation(lambda x: x[:, 0] ** 2, 0.6)), rel=0.06)
    assert "mixture of" in repr(found)
    assert "log p off by" in repr(found)
    assert "Score(paths=8000" in repr(found)
    row = found.report().rows[1]
    assert row.time == 0.6
    assert row.stein < 0.1
    assert np.isfinite(found.error_estimate).all()


def test_empty_batches_and_shapes(well):
    found = well[0]
    assert found.pdf(0.3, torch.zeros(0, 1)).shape == (0,)
    assert found.score(0.3, torch.zeros(2, 3, 1)).shape == (2, 3, 1)
    assert found.log_pdf(0.3, torch.zeros(1)).dtype == torch.float32


def test_a_stationary_double_well_is_gibbs():
    found = FokkerPlanckProblem(WELL).stationary(
        Score(paths=2500, snapshots=4, components=3, hidden=(16, 16), training=SHORT, check=False)
    )
    exact = FokkerPlanckProblem(WELL).stationary()
    x = exact.sample(2000, seed=1)
    assert float((found.log_pdf(x) - exact.log_pdf(x)).square().mean()) ** 0.5 < 0.1
    assert found.times is None
    assert np.isnan(found.error_estimate).all()


def test_a_law_that_spreads_fast_is_followed_from_its_start():
    """dX = 3 X dt + dW / 5: twenty times as wide in the end; between few snapshots nothing is extrapolated."""
    problem = FokkerPlanckProblem(SymbolicSDE("x", "3*x", "1/5"), initial=Normal(0.0, 0.05))
    method = Score(paths=4000, snapshots=2, components=1, hidden=(8,), training=SHORT)
    found = problem.solve([1.0], method)
    variance = 0.0025 * np.exp(6) + 0.04 * np.expm1(6) / 6
    x = variance**0.5 * torch.randn(500, 1).double()
    exact = -0.5 * x[:, 0] ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
    assert float((found.log_pdf(1.0, x) - exact).square().mean()) ** 0.5 < 0.1
    assert found.at(1.0).deviation.trusted
    assert found.at(1.0).deviation.rms < 0.15


def test_a_point_start_becomes_a_density():
    problem = FokkerPlanckProblem(WELL, initial=[0.5])
    found = problem.solve([0.5], SMALL)
    grid = problem.solve([0.5])
    x = grid.sample(2000, 0.5, seed=1)
    assert float((found.log_pdf(0.5, x) - grid.log_pdf(0.5, x)).square().mean()) ** 0.5 < 0.1
    assert found.at(0.5).deviation is None


@pytest.mark.slow
def test_a_turning_ring_is_gibbs():
    """Rotation along level sets changes nothing: p ~ exp((r^2 - r^4 / 2) / 0.49)."""
    force = ["x - x*(x**2 + y**2) - y", "y - y*(x**2 + y**2) + x"]
    ring = FokkerPlanckProblem(SymbolicSDE(["x", "y"], force, [["0.7", "0"], ["0", "0.7"]]))
    options = Training(steps=400, batch=512)
    found = ring.stationary(
        Score(paths=4000, snapshots=4, components=6, hidden=(32, 32), training=options, check=False)
    )
    r, x = torch.linspace(0, 4, 4001, dtype=torch.float64), found.sample(2000)
    level = lambda s: (s**2 - s**4 / 2) / 0.49  # noqa: E731
    norm = torch.log(2 * np.pi * torch.trapezoid(r * level(r).exp(), r))
    off = found.log_pdf(x) - (level(x.norm(dim=-1)) - norm)
    assert float(off.square().mean()) ** 0.5 < 0.15
    assert abs(found.mass[0] - 1) < 5 * found.at().unit.stderr


@pytest.mark.parametrize("kind", ["mlp", "hollow"])
def test_a_mixture_is_carried_by_the_probability_flow(kind):
    problem = FokkerPlanckProblem(OU, initial=two_modes())
    method = Score(paths=6000, snapshots=4, components=2, hidden=(8,), training=SHORT, network=kind)
    found, exact = problem.solve([0.6], method), exact_mixture(0.6)
    x = exact.draw(300, np.random.default_rng(0))
    off = found.log_pdf(0.6, x).numpy() - exact.log_values(x)
    assert np.sqrt(np.mean(off**2)) < 0.08
    scores = found.score(0.6, x).numpy() - exact.score_values(x)
    assert np.sqrt(np.mean(scores**2) / np.mean(exact.score_values(x) ** 2)) < 0.1
    y = found.sample(4000, 0.6, seed=1)
    assert np.abs(y.mean(0).numpy() - exact.moments().mean).max() < 4 * 1.2 / 4000**0.5
    assert np.abs(np.cov(y.T) / exact.moments().covariance - 1).max() < 0.2
    assert found.mass[0] == 1.0
    flow, state = found.at(0.6).flow, torch.as_tensor(x[:5])
    velocity, spread = flow.with_divergence(0.4, state)
    torch.testing.assert_close(velocity, flow(0.4, state))
    torch.testing.assert_close(spread, by_differences(flow, 0.4, state), rtol=1e-5, atol=1e-5)


def test_the_divergence_is_right_where_noise_turns_in_time():
    """Between snapshots coordinates are interpolated, in which D is then no multiple of one."""
    turning = SymbolicSDE(["x", "y"], ["-x - y", "x - 2*y"], [["1 + 2*t", "0"], ["t", "1"]])
    method = Score(paths=1000, snapshots=3, components=1, hidden=(8,), training=TINY.training, network="hollow")
    start = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    flow = FokkerPlanckProblem(turning, initial=start).solve([1.0], method).at(1.0).flow
    flow.model.share = 1.0
    x = torch.randn(4, 2).double()
    with torch.no_grad():
        for parameter in flow.model.net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    for t in (0.1, 0.5, 1.0):
        torch.testing.assert_close(flow.with_divergence(t, x)[1], by_differences(flow, t, x), rtol=1e-5, atol=1e-5)


def test_the_seed_decides_everything():
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    torch.manual_seed(1)
    first = PROBLEM.solve([0.5], TINY).log_pdf(0.5, x)
    torch.manual_seed(2)
    assert torch.equal(first, PROBLEM.solve([0.5], TINY).log_pdf(0.5, x))
    other = Score(paths=1000, snapshots=2, components=1, hidden=(8,), training=TINY.training, check=False, seed=1)
    assert not torch.equal(first, PROBLEM.solve([0.5], other).log_pdf(0.5, x))


def test_a_checkpoint_is_used_again_and_refused_for_something_else(tmp_path):
    kept = Training(steps=20, batch=64, checkpoint=tmp_path / "kept")
    method = Score(paths=1000, snapshots=2, components=1, hidden=(8,), training=kept, check=False)
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    first = PROBLEM.solve([0.5], method).log_pdf(0.5, x)
    assert (tmp_path / "kept").exists()
    assert torch.equal(first, PROBLEM.solve([0.5], method).log_pdf(0.5, x))
    assert torch.equal(first, PROBLEM.solve([0.5], TINY).log_pdf(0.5, x))
    wider = Score(paths=1000, snapshots=2, components=1, hidden=(9,), training=kept, check=False)
    with pytest.raises(InputError, match="something else"):
        PROBLEM.solve([0.5], wider)
    with pytest.raises(InputError, match="something else"):
        FokkerPlanckProblem(WELL, initial=Normal(0.4, 0.5)).solve([0.5], method)


def test_progress_is_told():
    told = []
    method = Score(
        paths=1000, snapshots=2, components=1, hidden=(8,), training=Training(steps=20, batch=64),
        progress=lambda what, share: told.append((what, share)),
    )  # fmt: skip
    PROBLEM.solve([0.2], method)
    assert told[0][0] == "simulating"
    assert any(what.startswith("the score, loss") for what, _ in told)
    assert told[-1][0] == "measuring the error"
    assert all(0 <= share <= 1 for _, share in told)


@pytest.mark.parametrize(
    "bad",
    [
        {"paths": 999},
        {"paths": 1e5},
        {"snapshots": 0},
        {"components": 0},
        {"components": True},
        {"seed": -1},
        {"seed": 1.0},
        {"training": 100},
        {"network": "transformer"},
        {"device": "nowhere"},
    ],
)
def test_options_that_make_no_sense_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Score(**bad)


def test_what_networks_cannot_do_is_refused():
    sided = FokkerPlanckProblem(WELL, initial=[0.5], domain=(0, 1), boundary="reflecting")
    with pytest.raises(UnsupportedError, match="states without ends"):
        sided.solve([1.0], TINY)
    moving = FokkerPlanckProblem(SymbolicSDE("x", "-x + sin(t)", "1"), initial=Normal(0.0, 1.0))
    with pytest.raises(UnsupportedError, match="without explicit time"):
        moving.stationary(TINY)
    with pytest.raises(InputError, match="after the start"):
        PROBLEM.solve([0.0, 1.0], TINY)
    for kind in ("mlp", "hollow"):
        field = Score(paths=1000, network=kind)
        with pytest.raises(UnsupportedError, match="this start has none"):
            FokkerPlanckProblem(WELL, initial=[0.5]).solve([1.0], field)
        with pytest.raises(UnsupportedError, match="no flow that leads to it"):
            FokkerPlanckProblem(WELL).stationary(field)


def test_noise_that_is_singular_is_refused_for_hollow_networks():
    kinetic = SymbolicSDE(["x", "v"], ["v", "-x - v"], [["0"], ["1"]])
    start = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    with pytest.raises(UnsupportedError, match="D is singular"):
        FokkerPlanckProblem(kinetic, initial=start).solve([1.0], Score(paths=1000, network="hollow", components=1))


def test_a_plain_equation_with_a_start_in_single_precision():
    plain = SDE(lambda t, x: -x, lambda t, x: torch.ones_like(x), dim=2)
    start = MultivariateNormal(torch.zeros(2), torch.eye(2))
    found = FokkerPlanckProblem(plain, initial=start).solve([0.5], TINY)
    variance = 0.5 + 0.5 * np.exp(-1)
    x = torch.zeros(1, 2).double()
    assert float(found.log_pdf(0.5, x)) == pytest.approx(-np.log(2 * np.pi * variance), abs=0.15)
