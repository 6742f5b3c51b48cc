"""`Flow`: near the truth for linear equations, and honest where its rounds move apart."""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.fokker_planck import Flow, FokkerPlanckProblem, Training
from pdekit.fokker_planck.law import read_law
from pdekit.fokker_planck.networks.flow_density import Start
from pdekit.symbolic.model import SymbolicSDE

SHORT = Training(steps=150, batch=512)
OU = FokkerPlanckProblem(SymbolicSDE("x", "-x", "1"), initial=Normal(1.0, 0.3))


def small(**options):
    return Flow(**({"paths": 4000, "snapshots": 4, "components": 1, "hidden": (8,), "training": SHORT} | options))


@pytest.mark.parametrize(("kind", "rounds"), [("hollow", 1), ("mlp", 1), ("mlp", 0)])
def test_a_linear_equation_is_nearly_exact(kind, rounds):
    t = 0.6
    found = OU.solve([t], small(network=kind, rounds=rounds, paths=10_000, snapshots=8))
    exact = Normal(torch.tensor(np.exp(-t)), torch.tensor(0.5 + (0.09 - 0.5) * np.exp(-2 * t)).sqrt())
    x = exact.sample((500, 1))
    off = found.log_pdf(t, x) - exact.log_prob(x[:, 0])
    assert float(off.square().mean()) ** 0.5 < 0.05  # 10,000 paths: their variance is known to 0.014
    assert float((found.score(t, x) + (x - exact.loc) / exact.variance).square().mean()) ** 0.5 < 0.1
    node = torch.linspace(-3, 4, 300, dtype=torch.float64)[:, None]
    assert float(torch.trapezoid(found.pdf(t, node), node[:, 0])) == pytest.approx(1, abs=1e-4)
    y = found.sample(2000, t, seed=1)
    assert abs(float(y.mean()) - np.exp(-t)) < 4 * 0.6 / 2000**0.5
    assert torch.equal(y, found.sample(2000, t, seed=1))
    assert found.mass[0] == 1.0
    assert ("score off its own flow's by" in repr(found)) is (rounds > 0)
    assert found.pdf(t, torch.zeros(0, 1)).shape == (0,)


def test_the_mismatch_that_is_told_is_small_for_a_linear_equation():
    notes = OU.solve([0.6], small(rounds=2, network="mlp")).notes
    before, *_, after = (float(m) for m in notes["score off its own flow's by"].split(" then "))
    assert len(notes["score off its own flow's by"].split(" then ")) == 3
    assert before < 0.05
    assert after < 0.05


def test_the_seed_decides_everything():
    x = torch.linspace(-1, 2, 5, dtype=torch.float64)[:, None]
    first, second, other = (
        OU.solve(
            [0.3], small(paths=1000, snapshots=2, network="mlp", training=Training(steps=20, batch=64), seed=k)
        ).log_pdf(0.3, x)
        for k in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.slow
def test_a_flow_that_cannot_be_followed_back_says_so():
    """A ring that contracts by e^-12 or so in the time that is asked for."""
    force = ["6*(x - x*(x**2 + y**2))", "6*(y - y*(x**2 + y**2))"]
    ring = SymbolicSDE(["x", "y"], force, [["0.5", "0"], ["0", "0.5"]])
    start = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    method = small(paths=1000, network="mlp", snapshots=2, training=Training(steps=20, batch=64))
    with pytest.raises(
        NumericalError, match=r"Followed back.*Use Score|Flow\(\) diverged|not where simulated paths are"
    ):
        FokkerPlanckProblem(ring, initial=start).solve([1.0], method).log_pdf(
            1.0, torch.tensor([[0.5, 0.5], [1.5, 0.0]])
        )


def test_what_a_flow_cannot_do_is_refused():
    point = FokkerPlanckProblem(OU.model, initial=[0.5])
    with pytest.raises(UnsupportedError, match=r"this start has none.*Score\(\)"):
        point.solve([1.0], small())
    with pytest.raises(UnsupportedError, match="finds no stationary laws"):
        OU.stationary(small())
    with pytest.raises(UnsupportedError, match="states without ends"):
        FokkerPlanckProblem(OU.model, initial=[0.5], domain=(0, 1), boundary="reflecting").solve([1.0], small())
    with pytest.raises(InputError, match="after the start"):
        OU.solve([0.0, 1.0], small())


@pytest.mark.parametrize("bad", [{"network": "potential"}, {"rounds": -1}, {"rounds": 1.5}, {"paths": 10}])
def test_options_that_make_no_sense_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Flow(**bad)


def test_the_start_is_a_distribution():
    start = Start(read_law(MultivariateNormal(torch.ones(2).double(), torch.eye(2).double()), 2))
    x = start.sample((3, 4))
    assert x.shape == (3, 4, 2)
    assert start.sample().shape == (2,)
    exact = -0.5 * (x.reshape(-1, 2) - 1).square().sum(-1) - np.log(2 * np.pi)
    torch.testing.assert_close(start.log_prob(x.reshape(-1, 2)), exact)
