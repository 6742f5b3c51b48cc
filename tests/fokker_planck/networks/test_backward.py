"""The measured deviation against densities that are off by what is known."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch.distributions import Normal

from pdekit.fokker_planck.networks.backward import Deviation, deviation
from pdekit.fokker_planck.problem import FokkerPlanckProblem
from pdekit.symbolic.model import SymbolicSDE

WELL = FokkerPlanckProblem(SymbolicSDE("x", "x - x**3", "1"))
OU = FokkerPlanckProblem(SymbolicSDE("x", "-x", "1"), initial=Normal(1.0, 0.3))
KINETIC = FokkerPlanckProblem(SymbolicSDE(["x", "v"], ["v", "-x - v"], [["0"], ["sqrt(2)"]]))
Z = quad(lambda x: np.exp(x**2 - x**4 / 2), -5, 5)[0]


def measured(problem, log_p, start, x, span=1.0, steps=100, seed=0, claimed=None):
    claimed = log_p(torch.tensor(span).double(), x) if claimed is None else claimed
    generator = torch.Generator().manual_seed(seed)
    return deviation(problem, lambda near: log_p, start, np.linspace(0, span, steps + 1), x, claimed, generator)


def well(t, x):
    return x[..., 0] ** 2 - x[..., 0] ** 4 / 2 - np.log(Z) + 0 * t


def ou(t, x):
    """From N(1, 0.09)."""
    mean, variance = torch.exp(-t), 0.5 + (0.09 - 0.5) * torch.exp(-2 * t)
    return -0.5 * (x[..., 0] - mean) ** 2 / variance - 0.5 * torch.log(2 * np.pi * variance)


def drawn(n=200):
    return WELL.stationary().sample(n, seed=0)


def ou_drawn(n=200):
    z = torch.randn(n, 1, generator=torch.Generator().manual_seed(0)).double()
    return np.exp(-1) + (0.5 - 0.41 * np.exp(-2)) ** 0.5 * z


def test_weights_are_one_where_the_density_is_right():
    kinetic = lambda t, z: -0.5 * z.square().sum(-1) - np.log(2 * np.pi) + 0 * t  # noqa: E731
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).double()
    for found in (
        measured(WELL, well, lambda x: well(0.0, x), drawn(50), steps=30),
        measured(OU, ou, lambda x: ou(torch.tensor(0.0).double(), x), ou_drawn(50), steps=30),
        measured(KINETIC, kinetic, lambda x: kinetic(0.0, x), z, steps=30),
    ):
        assert found.rms < 1e-8
        assert found.scatter < 1e-12
        assert found.trusted


def test_a_constant_that_is_missing_is_told():
    found = measured(
        OU, lambda t, x: ou(t, x) + 0.2, lambda x: ou(torch.tensor(0.0).double(), x), ou_drawn(50), steps=20
    )
    assert found.rms == pytest.approx(0.2, abs=1e-8)
    assert found.mean == pytest.approx(0.2, abs=1e-8)


def test_a_constant_that_changes_in_time_is_no_deviation():
    """l need not be normalised: what is compared is the density that is claimed."""
    drifting = lambda t, x: ou(t, x) + 0.5 * t  # noqa: E731
    x = ou_drawn(50)
    claimed = ou(torch.tensor(1.0).double(), x)
    start = lambda x: ou(torch.tensor(0.0).double(), x)  # noqa: E731
    assert measured(OU, drifting, start, x, steps=20, claimed=claimed).rms < 1e-8


@pytest.mark.parametrize(("size", "wave"), [(0.05, 1.0), (0.1, 2.0)])
def test_a_known_perturbation_is_measured(size, wave):
    bump = lambda x: size * torch.cos(wave * x[..., 0])  # noqa: E731
    mass = quad(lambda x: np.exp(x**2 - x**4 / 2 + size * np.cos(wave * x)) / Z, -5, 5)[0]
    off = lambda t, x: well(t, x) + bump(x) - np.log(mass)  # noqa: E731
    x = drawn()
    true = (bump(x) - np.log(mass)).numpy()
    found = measured(WELL, off, lambda x: well(0.0, x), x)
    assert abs(found.rms - np.sqrt(np.mean(true**2))) < 3 * found.stderr + 1e-3
    assert abs(found.mean - true.mean()) < 0.2 * np.sqrt(np.mean(true**2))
    assert found.stderr < 0.1 * found.rms


def test_a_wrong_width_under_way_is_measured():
    """A normal law that is too wide by 5 % at all times but the first: log p off by (z^2 - 1) 0.05 or so."""
    wide = lambda t, x: ou(t, x / (1 + 0.05 * t) + torch.exp(-t) * (1 - 1 / (1 + 0.05 * t))) - torch.log(1 + 0.05 * t)  # noqa: E731
    x = ou_drawn(400)
    one = torch.tensor(1.0).double()
    true = float((wide(one, x) - ou(one, x)).square().mean()) ** 0.5
    found = measured(OU, wide, lambda x: ou(0 * one, x), x, steps=50)
    assert true > 0.05
    assert abs(found.rms - true) < 3 * found.stderr + 0.05 * true


def test_what_can_be_trusted():
    good = Deviation(rms=0.1, stderr=0.01, mean=0.0, scatter=0.5)
    assert good.trusted
    assert good.relative_l2 == pytest.approx(np.expm1(0.12))
    assert good.text == "0.1 +- 0.01 nats"
    for bad in (Deviation(0.1, 0.01, 0.0, 10.0), Deviation(np.nan, np.nan, np.nan, np.nan)):
        assert not bad.trusted
        assert bad.text == "an unknown amount"


def test_a_density_that_is_far_off_is_not_trusted():
    """Three times too narrow: the paths that run backwards get lost."""
    found = measured(WELL, lambda t, x: 3 * well(t, x), lambda x: well(0.0, x), drawn(50), span=4.0)
    assert not found.trusted or found.rms > 0.5
