"""Mixtures that move, and flows that are trained, on the Fokker-Planck residual."""

import warnings

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.fokker_planck import Auto, ClosedForm, DensitySolution, FokkerPlanckProblem, Residual, Score, Training
from pdekit.fokker_planck.networks.mixture import Mixture
from pdekit.fokker_planck.networks.morphing import Morphing
from pdekit.symbolic.model import SymbolicSDE

WELL = SymbolicSDE("x", "x - x**3", "1")
SHEAR = SymbolicSDE(["x", "y"], ["-x + 2*y", "-y"], [["1", "0.3"], ["0", "0.6"]])


def unit(dim):
    return [["1" if i == j else "0" for j in range(dim)] for i in range(dim)]


def two_modes(dim=2):
    means = torch.stack([torch.full((dim,), -2.0), torch.full((dim,), 1.5)]).double()
    parts = MultivariateNormal(means, 0.2 * torch.eye(dim).double().expand(2, dim, dim))
    return MixtureSameFamily(Categorical(torch.tensor([0.3, 0.7]).double()), parts)


def rms(off):
    return float(off.square().mean().sqrt())


def test_rates_are_the_derivative_of_the_mixture_in_time():
    """Against finite differences of log q along the parameters' own motion, for a drift that keeps mixtures."""
    problem = FokkerPlanckProblem(SHEAR, initial=two_modes())
    generator = torch.Generator().manual_seed(0)
    factors = torch.tril(torch.randn(3, 2, 2, generator=generator).double()) + 2 * torch.eye(2).double()
    mixture = Mixture(torch.tensor([0.2, 0.5, 0.3]).double(), torch.randn(3, 2, generator=generator).double(), factors)
    morphing = Morphing(problem.sde, 3, 0)
    flat, h = morphing.flat(mixture), 1e-4
    rates = morphing.rates(torch.tensor(0.0).double(), flat)
    x = mixture.draw(200, generator)
    ahead, back = (morphing.mixture((flat + s * h * rates)[0]).log_values(x) for s in (1, -1))
    exact = FokkerPlanckProblem(
        SHEAR,
        initial=MixtureSameFamily(
            Categorical(mixture.weights), MultivariateNormal(mixture.means, scale_tril=mixture.factors)
        ),
    ).solve([h], ClosedForm())
    first = (exact.log_pdf(h, x) - mixture.log_values(x)) / h
    assert rms((ahead - back) / (2 * h) - first) < 0.02 * rms(first)  # damping, and first order in h


def test_a_mixture_under_a_linear_drift_stays_right():
    problem = FokkerPlanckProblem(SHEAR, initial=two_modes())
    exact = problem.solve([0.3, 1.0], ClosedForm())
    found = problem.solve([0.3, 1.0], Residual())
    for t in (0.3, 1.0):
        x = exact.sample(1000, t)
        assert rms(found.log_pdf(t, x) - exact.log_pdf(t, x)) < 3e-3
        assert found.at(t).error < 0.05
    assert found.notes["components"] == 2


@pytest.mark.parametrize("noise", ["1", "sqrt(1 + x**2/4)"])
def test_a_double_well_is_that_of_a_grid(noise):
    problem = FokkerPlanckProblem(SymbolicSDE("x", "x - x**3", noise), initial=Normal(0.3, 0.4), t0=1.0)
    exact, found = problem.solve([2.0]), problem.solve([2.0], Residual(components=8))
    x = exact.sample(1000, 2.0)
    true = rms(found.log_pdf(2.0, x) - exact.log_pdf(2.0, x))
    assert true < 0.03
    assert found.error_estimate[0] > 0.3 * true
    assert found.mass[0] == 1.0


def test_explicit_time_is_seen():
    moving = FokkerPlanckProblem(SymbolicSDE("x", "-x + 2*t", "1 + t"), initial=Normal(0.0, 0.5), t0=0.5)
    exact, found = moving.solve([1.5], ClosedForm()), moving.solve([1.5], Residual())
    x = exact.sample(500, 1.5)
    assert rms(found.log_pdf(1.5, x) - exact.log_pdf(1.5, x)) < 3e-3
    assert found.error_estimate[0] < 0.05


@pytest.mark.slow
def test_it_comes_to_rest():
    problem = FokkerPlanckProblem(WELL)
    exact, found = problem.stationary(), problem.stationary(Residual(components=6, check=False))
    x = exact.sample(1000)
    assert rms(found.log_pdf(x) - exact.log_pdf(x)) < 0.05


def test_too_few_components_are_told():
    """A mixture of one component has no way to be right, and the measure says so."""
    problem = FokkerPlanckProblem(WELL, initial=Normal(0.0, 0.3))
    exact = problem.solve([3.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = problem.solve([3.0], Residual(components=1))
    x = exact.sample(1000, 3.0)
    true = rms(found.log_pdf(3.0, x) - exact.log_pdf(3.0, x))
    assert true > 0.2
    assert not found.error_estimate[0] < 0.5 * true


def test_a_flow_that_is_not_trained_warns():
    pytest.importorskip("zuko")
    problem = FokkerPlanckProblem(WELL, initial=Normal(-0.5, 0.3))
    method = Residual(family="flow", paths=1000, snapshots=3, hidden=(8,), training=Training(steps=5, batch=32))
    with pytest.warns(UserWarning, match="relative error of this density"):
        found = problem.solve([2.0], method)
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)[:, None]
    assert float(torch.trapezoid(found.pdf(2.0, x), x[:, 0])) == pytest.approx(1.0, abs=0.02)
    slope = (found.log_pdf(2.0, x + 1e-5) - found.log_pdf(2.0, x - 1e-5)) / 2e-5
    torch.testing.assert_close(found.score(2.0, x)[:, 0], slope, rtol=1e-5, atol=1e-5)
    assert found.sample(7, 2.0).shape == (7, 1)


@pytest.mark.slow
def test_a_trained_flow_comes_near():
    pytest.importorskip("zuko")
    problem = FokkerPlanckProblem(SymbolicSDE("x", "-x", "1"), initial=Normal(0.5, 0.5))
    exact = problem.solve([0.5], ClosedForm())
    method = Residual(family="flow", paths=2000, snapshots=5, hidden=(16,), training=Training(steps=800, batch=256))
    found, x = problem.solve([0.5], method), exact.sample(500, 0.5)
    assert rms(found.log_pdf(0.5, x) - exact.log_pdf(0.5, x)) < 0.1


def test_what_it_cannot_do_is_refused():
    with pytest.raises(UnsupportedError, match=r"this start is a point.*Score\(\)"):
        FokkerPlanckProblem(WELL, initial=[0.5]).solve([1.0], Residual())
    with pytest.raises(UnsupportedError, match="finds no stationary laws"):
        FokkerPlanckProblem(WELL).stationary(Residual(family="flow"))
    with pytest.raises(UnsupportedError, match="needs the density at the start"):
        FokkerPlanckProblem(WELL, initial=[[0.1], [0.5]]).solve([1.0], Residual(family="flow"))
    with pytest.raises(NumericalError, match="broke down"):
        FokkerPlanckProblem(WELL, initial=Normal(0.0, 0.3)).solve([3.0], Residual(components=4, most=2))
    for bad in ({"family": "spline"}, {"most": 0}, {"components": 0}, {"hidden": ()}, {"progress": 5}, {"device": "x"}):
        with pytest.raises(InputError, match=next(iter(bad))):
            Residual(**bad)


@pytest.mark.parametrize(("targets", "limit"), [("implicit", 0.12), ("denoising", 0.4)])  # the last scatter widely
def test_other_targets_find_a_double_well_with_noise_that_depends_on_the_state(targets, limit):
    problem = FokkerPlanckProblem(SymbolicSDE("x", "x - x**3", "sqrt(1 + x**2/4)"), initial=Normal(0.0, 0.5))
    exact = problem.solve([1.0])
    method = Score(
        targets=targets, paths=8000, snapshots=3, components=3, hidden=(16,), training=Training(steps=300, batch=512)
    )
    found, x = problem.solve([1.0], method), exact.sample(1000, 1.0)
    true = rms(found.log_pdf(1.0, x) - exact.log_pdf(1.0, x))
    assert true < limit
    assert found.error_estimate[0] > 0.5 * true


def test_auto_takes_the_first_that_will_do():
    linear = FokkerPlanckProblem(SHEAR, initial=two_modes()).solve([0.5], Auto())
    assert linear.method == "ClosedForm()"
    well = FokkerPlanckProblem(WELL, initial=[0.5]).solve([0.5], Auto())
    assert well.method.startswith("Grid(")
    assert "ClosedForm() knows" in well.notes["not taken"]
    names, force = ["a", "b", "c", "d"], ["-a - a**3/20", "-b + a/2", "-c", "-d"]
    start = MultivariateNormal(torch.zeros(4).double(), 0.5 * torch.eye(4).double())
    four = FokkerPlanckProblem(SymbolicSDE(names, force, unit(4)), initial=start).solve([0.3], Auto())
    assert four.method.startswith("Residual(")
    assert four.error_estimate[0] < 0.05


def test_learned_densities_are_kept_in_files(tmp_path):
    names, force = ["a", "b", "c", "d"], ["a - a**3", "-b + a/2", "-c", "-d"]
    start = MultivariateNormal(torch.zeros(4).double(), 0.5 * torch.eye(4).double())
    problem = FokkerPlanckProblem(SymbolicSDE(names, force, unit(4)), initial=start)
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double()
    small = Score(paths=1000, snapshots=2, components=2, hidden=(8,), training=Training(steps=20), check=False)
    for method in (small, Residual(components=2, check=False)):
        found = problem.solve([0.1, 0.2], method)
        found.save(tmp_path / "kept.safetensors")
        again = DensitySolution.load(tmp_path / "kept.safetensors")
        for t in (0.1, 0.2):
            torch.testing.assert_close(again.log_pdf(t, x), found.log_pdf(t, x))
            torch.testing.assert_close(again.score(t, x), found.score(t, x))
        np.testing.assert_allclose(again.moments(0.2).mean, found.moments(0.2).mean)
        assert again.mass == pytest.approx(found.mass)
