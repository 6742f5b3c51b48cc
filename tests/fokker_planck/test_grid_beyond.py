"""Beyond what a grid covers, and starts that it hardly reaches; what its error estimate says of too few cells."""

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal, Poisson

import pdekit as pk
from pdekit.errors import InputError, NumericalError
from pdekit.fokker_planck import DensitySolution, Grid
from pdekit.fokker_planck.grid.continuation import Continuation
from pdekit.fokker_planck.grid.frame import BoxFrame
from pdekit.fokker_planck.grid.refinement import Refined
from pdekit.fokker_planck.grid.starting import start
from pdekit.fokker_planck.law import read_law
from pdekit.fokker_planck.pilot import pilot_paths
from pdekit.fokker_planck.sides import Domain

OU = pk.SymbolicSDE("x", "-x", "1")


def states(*x):
    return torch.tensor(x, dtype=torch.float64)[:, None]


def exact(start, t=1.0):
    return Normal(start * np.exp(-t), np.sqrt((1 - np.exp(-2 * t)) / 2))


def test_log_p_goes_on_beyond_the_window(tmp_path):
    solution = pk.FokkerPlanckProblem(OU, [0.5]).solve([1.0], Grid(128))
    x, h = states(-60.0, -8.0, 8.0, 100.0), 1e-3
    log_p, score = solution.log_pdf(1.0, x), solution.score(1.0, x)[:, 0]
    assert torch.allclose(log_p, exact(0.5).log_prob(x[:, 0]), rtol=0.05)
    slope = (solution.log_pdf(1.0, x + h) - solution.log_pdf(1.0, x - h)) / (2 * h)
    assert torch.allclose(score, slope, rtol=1e-4)
    solution.save(tmp_path / "ou")
    assert torch.allclose(DensitySolution.load(tmp_path / "ou").log_pdf(1.0, x), log_p, rtol=0.02)


def test_log_p_goes_on_in_coordinates_of_the_state():
    model = pk.SymbolicSDE("x", "x/10", "2*x/5", domain=[(0, None)])
    solution = pk.FokkerPlanckProblem(model, [1.0]).solve([1.0], Grid(128))
    x = states(1e-9, 1e-3, 50.0, 1e4)
    law = torch.distributions.LogNormal(torch.tensor(0.02).double(), torch.tensor(0.4).double())
    assert torch.allclose(solution.log_pdf(1.0, x), law.log_prob(x[:, 0]), rtol=0.1)
    assert solution.pdf(1.0, states(0.0, -1.0)).tolist() == [0.0, 0.0]
    assert solution.score(1.0, states(0.0, -1.0)).abs().max() == 0.0


def test_a_quadratic_goes_on_as_it_is_and_nothing_rises():
    a, ends = np.array([[2.0, 0.9], [0.9, 1.0]]), np.array([[-2.0, 2.0], [-3.0, 1.0]])
    law = lambda y: -0.5 * np.einsum("ni,ij,nj->n", y, a, y)  # noqa: E731
    y = np.array([[5.0, 0.3], [-4.0, 7.0], [0.0, -9.0]])
    found = Continuation(law, ends, np.zeros((2, 2), dtype=bool))(y)
    assert found == pytest.approx(law(y), rel=1e-9)
    up = Continuation(lambda y: np.cosh(y).sum(-1), ends, np.zeros((2, 2), dtype=bool))
    assert up(y) == pytest.approx(np.cosh(np.clip(y, *ends.T)).sum(-1))
    side = Continuation(law, ends, np.array([[True, True], [False, False]]))
    assert side.beyond(y).tolist() == [[0.0, 0.0], [0.0, 6.0], [0.0, -6.0]]


def test_far_starts():
    solution = pk.FokkerPlanckProblem(OU, [10.0]).solve([1.0], Grid(1600))
    x = states(*(3.6788 + 0.6575 * np.linspace(-4, 4, 33)))
    p = exact(10.0).log_prob(x[:, 0]).exp()
    error = float((solution.pdf(1.0, x) - p).norm() / p.norm())
    assert error < float(solution.error_estimate[0]) < 1e-4
    assert solution.mass[0] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.filterwarnings("ignore:The estimated relative error")
@pytest.mark.parametrize("x", [30.0, 50.0])
def test_mass_that_comes_from_nowhere_is_refused(x):
    with pytest.raises(NumericalError, match=r"ClosedForm\(\).*window="):
        pk.FokkerPlanckProblem(OU, [x]).solve([1.0], Grid(128))


@pytest.mark.parametrize("law", [Bernoulli(0.5), Poisson(3.0)])
def test_laws_with_atoms_are_refused(law):
    with pytest.raises(InputError, match=f"{type(law).__name__} has atoms"):
        pk.FokkerPlanckProblem(OU, law).solve([1.0])


def test_a_start_narrower_than_cells_is_not_drawn_from():
    """Twenty thousand samples would miss the mean by 1.4e-4."""
    law = read_law(Normal(torch.tensor(0.5).double(), torch.tensor(0.02).double()), 1)
    domain = Domain.of(None, "natural", 1, [(None, None)], ("x",))
    grid = BoxFrame.around(OU.at(), domain, np.linspace(-2, 2, 101)[:, None], "blended").grid((16,))
    begun = start(grid, law)
    assert begun.masses[:, 0] @ grid.states[:, 0] == pytest.approx(0.5, abs=1e-9)
    assert begun.least == 0.0


@pytest.mark.filterwarnings("ignore:The estimated relative error")
@pytest.mark.parametrize("cells", [128, 256])
def test_the_estimate_covers_peaks_as_narrow_as_cells(cells):
    """A drift that contracts from a wide start to a narrow peak: corrections alone would say far too little."""
    law = Normal(torch.tensor(1.0).double(), torch.tensor(0.6).double())
    problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "-3*x", "1/20"), law)
    solution = problem.solve([1.0], Grid(cells, weights="blended"))
    mean, sd = np.exp(-3.0), np.sqrt(0.36 * np.exp(-6) + 0.0025 * (1 - np.exp(-6)) / 6)
    x = torch.linspace(mean - 6 * sd, mean + 6 * sd, 401, dtype=torch.float64)[:, None]
    p = Normal(mean, sd).log_prob(x[:, 0]).exp()
    assert float((solution.pdf(1.0, x) - p).norm() / p.norm()) < float(solution.error_estimate[0])


def refined(deviation, gain=4.0):
    """Three grids of a normal law in cells; each halving of them changes log u by a quarter of what the last did."""
    x = np.arange(-40.0, 41.0)
    u, bend = -0.5 * (x / deviation) ** 2, 0.03 * np.cos(x)
    levels = (u + bend * gain**2, u + bend * gain, u + bend)
    return Refined(u, (levels[2] - levels[1]) / 3, 0.01 * bend, levels, x.shape), np.exp(2 * u)


def test_narrow_peaks_and_halvings_that_do_not_help_are_seen():
    wide, weights = refined(6.0)
    trusted = wide.error(weights, smooth=True, positive=True, least=0.0)
    narrow, weights = refined(1.5)
    assert narrow.error(weights, smooth=True, positive=True, least=0.0) > 3 * trusted
    stalled, weights = refined(6.0, gain=1.5)
    last, before = stalled._changes(weights)
    assert last > 0.5 * before
    quick, weights = refined(6.0)
    last, before = quick._changes(weights)
    assert last < 0.4 * before


def test_late_times_take_no_longer_than_settling():
    problem = pk.FokkerPlanckProblem(OU, [0.5], t0=1.0)
    assert not pilot_paths(problem, np.array([1e4])).complete
    assert problem.solve([1e4], Grid(64)).moments(1e4).covariance[0, 0] == pytest.approx(0.5, abs=1e-4)


def test_late_times_find_wells_that_no_path_has_found():
    """Out of one of two wells within a time of 1e6, at a rate of about 1e-4: paths that settle in it don't get out."""
    problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "x - x**3", "1/4"), [-1.0])
    assert problem.solve([1e6], Grid(128)).moments(1e6).mean[0] == pytest.approx(0.0, abs=1e-4)
