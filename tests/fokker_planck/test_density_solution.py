"""What a solution offers beside its values: marginals, pictures, films, reports and files."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

import pdekit as pk
from pdekit.errors import DataError, InputError, NumericalError, UnsupportedError
from pdekit.fokker_planck.density import Density, Quadrature
from pdekit.fokker_planck.moment_closure import moved_closure, resting_closure
from pdekit.fokker_planck.picture import ceiling, lines
from pdekit.fokker_planck.sides import Domain
from pdekit.fokker_planck.solution import DensitySolution
from pdekit.fokker_planck.tabulated import TabulatedDensity, tabulate

MEAN, COVARIANCE = np.array([0.5, -1.0]), np.array([[1.0, 0.6], [0.6, 0.5]])


class Normal(Density):
    """A normal law with a quadrature of its own, Gauss-Hermite or samples."""

    def __init__(self, mean, covariance, samples=0):
        self.mean, self.covariance, self.samples = np.asarray(mean), np.asarray(covariance), samples
        self.dim = len(self.mean)
        self.error = 1e-12

    def log_values(self, x):
        return multivariate_normal(self.mean, self.covariance).logpdf(x).reshape(len(x))

    def score_values(self, x):
        return -(x - self.mean) @ np.linalg.inv(self.covariance)

    def draw(self, n, rng):
        return rng.multivariate_normal(self.mean, self.covariance, n)

    def quadrature(self):
        if self.samples:
            return Quadrature(
                self.draw(self.samples, np.random.default_rng(1)), np.full(self.samples, 1 / self.samples)
            )
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        z = np.stack(np.meshgrid(*[nodes] * self.dim, indexing="ij"), -1).reshape(-1, self.dim)
        w = np.prod(np.stack(np.meshgrid(*[weights] * self.dim, indexing="ij"), -1), -1).reshape(-1)
        return Quadrature(self.mean + z @ np.linalg.cholesky(self.covariance).T, w / w.sum())


def linear_solution(densities, times, drift=("-x", "-y"), diffusion=("1", "1")):
    problem = pk.FokkerPlanckProblem(pk.SymbolicSDE(["x", "y"], list(drift), list(diffusion)), initial=[0.0, 0.0])
    return DensitySolution(problem, "exact", times, densities)


@pytest.fixture(scope="module")
def well():
    """A density over time on a grid."""
    problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "x - x**3", "0.5"), initial=[1.0])
    return problem.solve([0.5, 2.0], pk.Grid(200))


@pytest.fixture(scope="module")
def ring():
    """A stationary law on a grid."""
    return pk.FokkerPlanckProblem(pk.models.hopf().fix(a=0.5, omega=2.0, sigma=0.5)).stationary(pk.Grid(96))


@pytest.mark.parametrize("state", [0, 1])
def test_a_marginal_of_a_normal_law_is_normal(state):
    found = Normal(MEAN, COVARIANCE).marginal(state)
    x = np.linspace(-3, 3, 13)[:, None] + MEAN[state]
    exact = norm(MEAN[state], np.sqrt(COVARIANCE[state, state])).pdf(x[:, 0])
    assert found.pdf(x).numpy() == pytest.approx(exact, abs=1e-6)
    assert found.states == (state,)


def test_a_marginal_of_two_states_keeps_their_order():
    """Two bumps in the last state, one in the first: no scale makes these two alike."""
    centers = np.array([[0.0, 1.0, -2.0], [0.0, 1.0, 2.0]])
    low, high = (Normal(center, np.diag([1.0, 0.5, 0.5])) for center in centers)
    law = Normal([0.0, 1.0, 0.0], np.diag([1.0, 0.5, 4.5]))  # as wide, for the quadrature
    law.log_values = lambda x: np.logaddexp(low.log_values(x), high.log_values(x)) - np.log(2)
    x = np.array([[2.0, 0.3], [0.0, -1.0], [-1.5, 2.0]])
    exact = norm.pdf(x[:, 1]) * 0.5 * sum(norm(c, np.sqrt(0.5)).pdf(x[:, 0]) for c in (-2, 2))
    assert law.marginal(2, 0).pdf(x).numpy() == pytest.approx(exact, rel=1e-2)
    assert law.marginal(0, 2).pdf(x[:, ::-1].copy()).numpy() == pytest.approx(exact, rel=1e-2)


def test_a_marginal_of_samples_is_a_smoothed_histogram():
    found = Normal(np.zeros(4), np.eye(4), samples=50_000).marginal(3)
    # Scott's bandwidth at 50,000 is 0.115: a bias of 0.7 %; the scatter is about 1.5 %, three times allowed.
    assert found.pdf([[0.0], [1.0]]).numpy() == pytest.approx(norm.pdf([0.0, 1.0]), rel=0.05)
    assert float(found.pdf([[40.0]])) == 0.0


def test_a_marginal_of_a_grid_sums_masses(ring):
    found = ring.at().marginal(1)
    y = np.linspace(-1.2, 1.2, 7)
    x = np.linspace(-3, 3, 2001)
    ring_at = np.exp((0.5 * (x**2 + y[:, None] ** 2) - (x**2 + y[:, None] ** 2) ** 2 / 2) / 0.25)
    r = np.linspace(0, 3, 4001)
    total = 2 * np.pi * np.trapezoid(r * np.exp((0.5 * r**2 - r**4 / 2) / 0.25), r)
    exact = np.trapezoid(ring_at, x, axis=1) / total
    estimate = float(ring.error_estimate[0])
    assert found.pdf(y[:, None]).numpy() == pytest.approx(exact, abs=3 * estimate * exact.max())
    assert ring.at().marginal(0, 1).pdf([[0.3, 0.4]]).numpy() == pytest.approx(ring.pdf([[0.3, 0.4]]).numpy(), rel=1e-3)


@pytest.mark.parametrize("states", [(), (0, 0), (2,), (-1,), (0, 1, 2), (0.0,), (True,)])
def test_marginals_of_other_states_are_refused(states):
    with pytest.raises(InputError, match="one or two different states from 0 to 1"):
        Normal(MEAN, COVARIANCE).marginal(*states)


def test_a_report_of_the_exact_law_finds_no_fault():
    t = 0.7
    law = Normal([0.0, 0.0], np.eye(2) * (1 - np.exp(-2 * t)) / 2)
    row = linear_solution([law], np.array([t])).report().rows[0]
    assert row.mass == pytest.approx(1, abs=1e-12)
    assert row.stein == pytest.approx(0, abs=1e-10)
    assert row.least > 0
    assert row.residual is None
    # The closure is integrated to a relative 1e-9.
    assert row.closure.log_rms == pytest.approx(0, abs=1e-6)
    assert row.closure.relative_l2 == pytest.approx(0, abs=1e-6)
    assert row.isotropic.kl == pytest.approx(0, abs=1e-10)


def test_a_report_measures_a_normal_law_against_another():
    """The closure is N(0, s I) with s = (1 - e^-2t) / 2, the solution is made N(m, C): all distances are formulas."""
    t = 0.7
    s = (1 - np.exp(-2 * t)) / 2
    mean, c = np.array([0.3, 0.1]), np.diag([0.5, 0.2])
    found = linear_solution([Normal(mean, c)], np.array([t])).report().rows[0]
    p, q = multivariate_normal(mean, c), multivariate_normal(np.zeros(2), s * np.eye(2))
    kl = 0.5 * (np.trace(c) / s + mean @ mean / s - 2 + np.log(s**2 / np.linalg.det(c)))
    x = np.stack(np.meshgrid(*[np.linspace(-6, 6, 601)] * 2, indexing="ij"), -1)
    weight = p.pdf(x) / p.pdf(x).sum()
    difference = q.logpdf(x) - p.logpdf(x)
    rms, centred = np.sqrt((weight * difference**2).sum()), np.sqrt((weight * (difference + kl) ** 2).sum())
    l2 = np.sqrt(((q.pdf(x) - p.pdf(x)) ** 2).sum() / (p.pdf(x) ** 2).sum())
    assert found.closure.kl == pytest.approx(kl, rel=1e-6)
    assert found.closure.log_rms == pytest.approx(rms, rel=1e-6)
    assert found.closure.log_rms_centred == pytest.approx(centred, rel=1e-6)
    assert found.closure.relative_l2 == pytest.approx(l2, rel=1e-6)
    # The isotropic law has the mean and the variance 0.35: KL = log(0.35 / sqrt(0.5 0.2)).
    assert found.isotropic.kl == pytest.approx(np.log(0.35 / np.sqrt(0.1)), rel=1e-9)


def test_stein_sees_a_wrong_score():
    law = Normal([0.0, 0.0], np.eye(2))
    law.score_values = lambda x: -1.1 * x
    assert linear_solution([law], None).report().rows[0].stein == pytest.approx(0.1, abs=1e-9)


@pytest.mark.parametrize(("variance", "expected"), [(0.5, 0.0), (0.6, np.sqrt(2) * abs(0.5 / 0.6 - 1) * np.sqrt(2))])
def test_the_residual_of_a_stationary_law(variance, expected):
    """For f = -x, D = 1/2 and N(0, v I): (L* p)/p = (1 - 1/(2 v)) (2 - |x|^2 / v), with rms |1 - 1/(2v)| 2."""
    found = linear_solution([Normal([0.0, 0.0], variance * np.eye(2))], None).report().rows[0]
    # 4000 samples: the relative standard error of an rms is 2 %, four of them allowed.
    assert found.residual == pytest.approx(expected, rel=0.08, abs=1e-8)


def test_a_report_says_what_it_leaves_out(well, ring):
    assert any("d_t p is not known" in note for note in well.report().notes)
    found = ring.report()
    assert found.rows[0].closure is None
    assert any("unstable" in note for note in found.notes)
    assert found.to_dict()["rows"][0]["closure"] is None
    assert "Checks of the density" in repr(found)
    assert "unstable" in repr(found)


def test_stein_is_left_out_beside_a_side():
    problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "0", "1"), [0.4], domain=(0.0, 1.0), boundary="reflecting")
    found = problem.solve([0.05], pk.Grid(64)).report()
    assert found.rows[0].stein is None
    assert any("natural sides" in note for note in found.notes)


def test_closed_moments_follow_the_formulas():
    """dx = -theta x dt + s x dW has closed moments E x and, with D at the mean, dS = -2 theta S + s^2 m^2."""
    theta, s, t = 1.0, 0.5, 0.8
    start = torch.distributions.Normal(torch.tensor(1.0).double(), torch.tensor(0.2).double())
    problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", f"-{theta}*x", f"{s}*x"), start)
    (found,) = moved_closure(problem, np.array([t]))
    assert found.mean[0] == pytest.approx(np.exp(-t), rel=1e-7)
    assert found.covariance[0, 0] == pytest.approx((0.04 + s**2 * t) * np.exp(-2 * t), rel=1e-7)


def test_the_closure_at_rest():
    problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "2*(1 - x)", "0.5"))
    found = resting_closure(problem, np.array([0.2]))
    assert (found.mean[0], found.covariance[0, 0]) == pytest.approx((1.0, 0.0625))
    with pytest.raises(NumericalError, match="unstable"):
        resting_closure(pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "x - x**3", "0.5")), np.array([0.01]))


def test_a_file_gives_the_same_density_again(well, tmp_path):
    well.save(tmp_path / "well.safetensors")
    found = DensitySolution.load(tmp_path / "well.safetensors")
    x = torch.linspace(-1.6, 1.6, 57, dtype=torch.float64)[:, None]
    for t in (0.5, 2.0):
        assert torch.allclose(found.pdf(t, x), well.pdf(t, x), rtol=1e-5, atol=1e-12)
        assert torch.allclose(found.score(t, x), well.score(t, x), rtol=1e-3, atol=1e-2)
        assert torch.allclose(found.current(t, x), well.current(t, x), atol=1e-4)
        assert found.moments(t).mean == pytest.approx(well.moments(t).mean, abs=1e-7)
    assert found.error_estimate == pytest.approx(well.error_estimate)
    assert (found.method, found.notes) == (well.method, {k: str(v) for k, v in well.notes.items()})
    # 20,000 samples, standard deviation below 0.5: five standard errors.
    assert float(found.sample(20_000, 2.0).mean()) == pytest.approx(well.moments(2.0).mean[0], abs=0.018)


def test_a_file_of_two_states(ring, tmp_path):
    ring.save(tmp_path / "ring.safetensors")
    found = DensitySolution.load(tmp_path / "ring.safetensors")
    x = ring.sample(50)
    assert torch.allclose(found.pdf(x), ring.pdf(x), rtol=1e-4)
    assert found.times is None
    assert found.mass == pytest.approx(ring.mass, abs=1e-4)


def test_an_equation_of_functions_comes_again_from_the_user(tmp_path):
    sde = pk.SDE(lambda t, x: -x, lambda t, x: torch.ones_like(x), dim=1, autonomous=True)
    problem = pk.FokkerPlanckProblem(sde, initial=[1.0])
    solution = DensitySolution(problem, "exact", np.array([1.0]), [Normal([0.4], [[0.4]])])
    solution.save(tmp_path / "a")
    with pytest.raises(InputError, match="problem="):
        DensitySolution.load(tmp_path / "a")
    assert float(DensitySolution.load(tmp_path / "a", problem).pdf(1.0, [0.4])) == pytest.approx(norm.pdf(0) / 0.4**0.5)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        DensitySolution.load(tmp_path / "nothing")
    (tmp_path / "text").write_text("text")
    with pytest.raises(DataError, match="not a saved density"):
        DensitySolution.load(tmp_path / "text")
    with pytest.raises(UnsupportedError, match="4 states"):
        tabulate(
            Normal(np.zeros(4), np.eye(4)), Domain.of([(None, None)] * 4, "natural", 4, None, ("a", "b", "c", "d"))
        )


def test_a_table_between_absorbing_sides():
    """p = pi/2 sin(pi x): zero at the sides, with a score without end."""
    domain = Domain.of((0.0, 1.0), "absorbing", 1, None, ("x",))
    x = np.linspace(1e-3, 1 - 1e-3, 100)
    table = TabulatedDensity((x,), np.log(np.pi / 2 * np.sin(np.pi * x)), domain)
    at = np.array([[1e-5], [0.3], [0.99]])
    assert np.exp(table.log_values(at)) == pytest.approx(np.pi / 2 * np.sin(np.pi * at[:, 0]), rel=1e-4)
    assert table.score_values(at)[:, 0] == pytest.approx(np.pi / np.tan(np.pi * at[:, 0]), rel=1e-4)
    assert np.exp(table.log_values(np.array([[-0.1], [0.0]]))).tolist() == [0.0, 0.0]


def test_a_table_towards_a_side_that_is_never_reached():
    """p = x e^-x: in the logarithm of x the table goes on to zero as a power."""
    domain = Domain.of((0.0, None), "natural", 1, None, ("x",))
    x = np.geomspace(1e-3, 40.0, 300)
    table = TabulatedDensity((x,), np.log(x) - x, domain)
    at = np.array([[1e-5], [0.5], [3.0]])
    # In log x the curvature is -0.0017 a little inside of the first node: half of that times 5.1^2 is lost until 1e-5.
    assert np.exp(table.log_values(at)) == pytest.approx(at[:, 0] * np.exp(-at[:, 0]), rel=2.5e-2)
    assert table.score_values(at[1:])[:, 0] == pytest.approx(1 / at[1:, 0] - 1, abs=1e-5)
    assert table.mass == pytest.approx(1.0, abs=2e-6)
    draws = table.draw(20_000, np.random.default_rng(0))[:, 0]
    assert draws.mean() == pytest.approx(2.0, abs=5 * np.sqrt(2 / 20_000))


def test_a_table_on_a_circle():
    domain = Domain.of((0.0, 2 * np.pi), "periodic", 1, None, ("x",))
    x = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    table = TabulatedDensity((x,), np.cos(x) - np.log(2 * np.pi * 1.2660658777520082), domain)
    assert table.mass == pytest.approx(1.0, abs=1e-9)
    assert table.log_values(np.array([[6.25 + 2 * np.pi]])) == pytest.approx(table.log_values(np.array([[6.25]])))
    assert table.score_values(np.array([[1.0 - 2 * np.pi]]))[0, 0] == pytest.approx(-np.sin(1.0), abs=1e-5)


def test_a_picture_in_one_dimension(well):
    (axes,) = well.plot().axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["t = 0.5", "t = 2"]
    x, p = axes.lines[1].get_data()
    assert p == pytest.approx(well.pdf(2.0, x[:, None]).numpy())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "density p(x)")


def test_a_picture_labels_eight_times_at_most():
    laws = [Normal([0.0], [[0.1 * k]]) for k in range(1, 21)]
    problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "0", "1"), initial=[0.0])
    (axes,) = DensitySolution(problem, "exact", np.arange(1.0, 21.0), laws).plot().axes
    assert len(axes.lines) == 8
    assert len(axes.collections) == 0
    laws[0].error = 0.1
    (axes,) = DensitySolution(problem, "exact", np.arange(1.0, 21.0), laws).plot().axes
    assert len(axes.collections) == 1  # a band for the one error that can be seen


def test_a_picture_of_a_ring_shows_its_current(ring):
    figure = ring.plot()
    (arrows,) = [artist for artist in figure.axes[0].get_children() if type(artist).__name__ == "Quiver"]
    # The rotation is anticlockwise.
    assert (arrows.X * arrows.V - arrows.Y * arrows.U).sum() > 0
    assert "probability current" in figure.axes[0].get_title()


def test_a_picture_without_a_current_has_no_arrows():
    figure = linear_solution([Normal([0.0, 0.0], 0.5 * np.eye(2))], None).plot()
    assert not [artist for artist in figure.axes[0].get_children() if type(artist).__name__ == "Quiver"]


def test_a_picture_of_three_states_has_a_map_for_each_pair():
    law = Normal(np.zeros(3), np.eye(3))
    problem = SimpleNamespace(sde=SimpleNamespace(names=("a", "b", "c")), domain=None, t0=0.0)
    figure = DensitySolution(problem, "exact", np.array([1.0]), [law]).plot()
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["p(a, b), t = 1", "p(a, c)", "p(b, c)"]


def test_what_is_in_sight():
    laws = [Normal([0.0, 0.0], np.eye(2)), Normal([5.0, 0.0], np.eye(2))]
    x, y = lines(linear_solution(laws, np.array([1.0, 2.0])), 11)
    assert x[0] < -3 < 8 < x[-1] < 12
    assert y[0] == pytest.approx(-y[-1])
    narrow = np.exp(-0.5 * ((np.linspace(-1, 1, 601) - 0.2) / 0.002) ** 2)
    assert ceiling(narrow) == narrow.max()
    pole = np.linspace(1e-4, 1, 601) ** -0.5
    assert ceiling(pole) < 0.5 * pole.max()


def test_a_film_has_a_frame_for_each_time(well, tmp_path):
    from PIL import Image

    well.animate(tmp_path / "well.gif", fps=4)
    with Image.open(tmp_path / "well.gif") as film:
        assert film.n_frames == 2


def test_films_that_make_no_sense_are_refused(well, ring, tmp_path):
    with pytest.raises(InputError, match="does not move"):
        ring.animate(tmp_path / "a.gif")
    with pytest.raises(InputError, match=r"must name a \.gif"):
        well.animate(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="no folder"):
        well.animate(tmp_path / "b" / "a.gif")
    with pytest.raises(InputError, match="fps"):
        well.animate(tmp_path / "a.gif", fps=0)
    three = DensitySolution(well.problem, "exact", well.times, [Normal(np.zeros(3), np.eye(3))] * 2)
    with pytest.raises(UnsupportedError, match="one or two states"):
        three.animate(tmp_path / "a.gif")


def test_small_questions_have_small_answers():
    problem = pk.FokkerPlanckProblem(
        pk.SymbolicSDE(["x", "y"], ["-x", "-y"], [["1", "0"], ["0", "1"]]), initial=[0.5, 0.0]
    )
    solution = problem.solve([1.0], pk.ClosedForm())
    none = torch.zeros(0, 2, dtype=torch.float64)
    assert solution.current(1.0, none).shape == (0, 2)
    assert solution.marginal(1, t=1.0).pdf([[0.0]]).shape == (1,)
    for call in (lambda: solution.sample(3, 1.0, seed=-1), lambda: solution.expectation(5, 1.0)):
        with pytest.raises(InputError):
            call()
