"""The reference solution against closed forms, and `check_transition` on right and wrong densities."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import ncx2

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.sde import SDE
from pdekit.testing import CheckFailure, check_transition, reference_transition

DTS = np.array([0.4, 0.2, 0.1])
OU = SDE(lambda t, x: -x, lambda t, x: torch.full_like(x, 0.5), dim=1)
ROOT = SDE(lambda t, x: 2 * (1 - x), lambda t, x: 0.5 * torch.sqrt(x), dim=1)  # square-root noise, as CIR


def normal(x, mean, variance):
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def ou_density(x, x0, dt):
    return normal(x, x0 * np.exp(-dt), 0.125 * (1 - np.exp(-2 * dt)))


def root_density(x, x0, dt):
    # dX = k (m - X) dt + s sqrt(X) dW: 2 c X is noncentral chi squared, c = 2k / (s^2 (1 - exp(-k dt))).
    k, m, s = 2.0, 1.0, 0.5
    c = 2 * k / (s**2 * (1 - np.exp(-k * dt)))
    return 2 * c * ncx2.pdf(2 * c * x, 4 * k * m / s**2, 2 * c * x0 * np.exp(-k * dt))


def distances(found, density, x0):
    exact = np.array([density(found.x, x0, dt) for dt in DTS])
    return found.integral(np.abs(found.density - exact))


@pytest.mark.parametrize(
    ("sde", "density", "x0", "ends"),
    [(OU, ou_density, 0.3, (-2.5, 2.5)), (ROOT, root_density, 0.8, (0.05, 3.0))],
    ids=["Ornstein-Uhlenbeck", "square root"],
)
def test_the_reference_against_closed_forms(sde, density, x0, ends):
    found = {cells: reference_transition(sde, x0, DTS, *ends, cells=cells) for cells in (60, 120)}
    coarse, fine = (distances(found[cells], density, x0) for cells in (60, 120))
    assert (fine < 1e-5).all()
    for cells, off in ((60, coarse), (120, fine)):
        assert (off <= 4 * found[cells].error + 1e-9).all()
        assert (found[cells].error <= 10 * off + 1e-9).all()
        assert found[cells].integral(found[cells].density) == pytest.approx([1, 1, 1], abs=1e-4)
    assert np.log2(coarse / fine) == pytest.approx([4, 4, 4], abs=0.5)  # order four in the width of cells


def test_the_reference_of_a_stratonovich_equation():
    # dX = X o dW is the exponential of a Wiener process.
    sde = SDE(lambda t, x: 0 * x, lambda t, x: 0.3 * x, dim=1, sde_type="stratonovich")
    found = reference_transition(sde, 1.0, DTS, 0.2, 4.0)
    exact = np.array([normal(np.log(found.x), 0.0, 0.09 * dt) / found.x for dt in DTS])
    assert (found.integral(np.abs(found.density - exact)) < 1e-5).all()


def test_the_grid_of_the_reference():
    found = reference_transition(OU, 0.3, DTS, -2.5, 2.5, cells=50)
    assert found.density.shape == (3, len(found.x))
    assert found.error.shape == (3,)
    assert np.abs(found.x - 0.3).min() < 1e-12
    width = np.diff(found.x)
    assert width == pytest.approx(np.full(len(width), width[0]))
    assert width[0] <= 0.1  # fewer cells would not resolve the shortest time
    assert found.x[0] >= -2.5 - 1e-12
    assert found.x[-1] <= 2.5 + 1e-12


def test_what_has_no_reference():
    with pytest.raises(UnsupportedError, match="for one state, this equation has 2"):
        reference_transition(SDE(lambda t, x: -x, lambda t, x: x, dim=2), 0.0, DTS, -1, 1)
    for x0 in (-1.0, 1.0, 5.0, math.nan):
        with pytest.raises(InputError, match="must lie between -1 and 1"):
            reference_transition(OU, x0, DTS, -1, 1)
    with pytest.raises(NumericalError, match="noise vanishes, between -1 and 1"):
        reference_transition(SDE(lambda t, x: -x, lambda t, x: x, dim=1), 0.5, DTS, -1, 1)
    with pytest.raises(NumericalError, match="not finite"):
        reference_transition(SDE(lambda t, x: torch.log(x), lambda t, x: 1 + 0 * x, dim=1), 0.5, DTS, -1, 1)


# Densities that claim to be of the equation.


def test_what_the_reference_refuses():
    timed = SDE(lambda t, x: -t * x, lambda t, x: 0.5 + 0 * x, dim=1)
    with pytest.raises(UnsupportedError, match="don't depend on time"):
        reference_transition(timed, 0.3, DTS, -2.5, 2.5)
    with pytest.raises(InputError, match="move the ends further out"):
        reference_transition(SDE(lambda t, x: 0 * x, lambda t, x: 1 + 0 * x, dim=1), 0.5, np.array([0.5]), 0, 1)


def gaussian(mean, variance, shift=0.0):
    def log_density(x0, x1, dt):
        m, v = mean(x0[:, 0], dt), variance(x0[:, 0], dt)
        return -((x1[:, 0] - m) ** 2) / (2 * v) - 0.5 * torch.log(2 * math.pi * v) + shift

    return log_density


def ou_mean(x0, dt):
    return x0 * torch.exp(-dt)


def ou_variance(x0, dt):
    return 0.125 * (1 - torch.exp(-2 * dt))


EXACT = gaussian(ou_mean, ou_variance)
EULER = gaussian(lambda x0, dt: x0 - x0 * dt, lambda x0, dt: 0.25 * dt)
ENDS = {"lower": -2.5, "upper": 2.5}


def test_exact_densities_pass():
    found = check_transition(EXACT, OU, 0.3, tolerance=1e-6, **ENDS)
    assert (found.distance < 2e-6).all()
    assert found.mass == pytest.approx([1] * 4, abs=1e-9)
    assert found.dts.tolist() == [0.2, 0.1, 0.05, 0.025]
    assert (found.reference_error < 1e-6).all()


def test_orders_of_euler():
    found = check_transition(EULER, OU, 0.3, order=1, **ENDS)
    assert found.order == pytest.approx(1, abs=0.15)
    noise = SDE(lambda t, x: -x, lambda t, x: 0.3 + 0.2 * torch.sin(3 * x), dim=1)
    euler = gaussian(lambda x0, dt: x0 - x0 * dt, lambda x0, dt: (0.3 + 0.2 * torch.sin(3 * x0)) ** 2 * dt)
    assert check_transition(euler, noise, 0.3, order=0.5, dts=(0.04, 0.02, 0.01), **ENDS).order < 0.65


@pytest.mark.parametrize(
    ("log_density", "options", "message"),
    [
        (
            gaussian(ou_mean, ou_variance, 0.1),
            {"tolerance": 0.05},
            r"^transition: the mass at dt = .* is 1\.10517",
        ),
        (gaussian(ou_mean, ou_variance, 1e-4), {"tolerance": 1e-5}, r"the mass at dt = .* is 1\.0001, not 1"),
        (
            gaussian(ou_mean, lambda x0, dt: 1.1 * ou_variance(x0, dt)),
            {"tolerance": 1e-4},
            r"the L1 distance to the Fokker-Planck solution at dt = .* is 0\.0\d+, allowed 0\.0001",
        ),
        (EULER, {"tolerance": 1e-3}, "the L1 distance to the Fokker-Planck solution at dt = 0.2 is"),
        (
            EULER,
            {"order": 2},
            r"the L1 distance shrinks like dt\^(0\.9|1\.0)\d*, expected dt\^2 \(.* at 0.2, .* at 0.025",
        ),
        (gaussian(ou_mean, lambda x0, dt: 0.2 * dt), {"order": 1}, r"expected dt\^1"),
        (lambda x0, x1, dt: EXACT(x0, x1, dt) * torch.nan, {"tolerance": 1e-3}, "log p is NaN at x1 = .*, dt = 0.2"),
        (
            lambda x0, x1, dt: EXACT(x0, x1, dt).unsqueeze(-1),
            {"tolerance": 1e-3},
            "log p must have shape .* at dt = 0.2",
        ),
    ],
)
def test_wrong_densities(log_density, options, message):
    with pytest.raises(CheckFailure, match=message) as caught:
        check_transition(log_density, OU, 0.3, **ENDS, **options)
    assert caught.value.check == "transition"


def test_the_mass_that_is_allowed():
    heavy = gaussian(ou_mean, ou_variance, 0.015)
    check_transition(heavy, OU, 0.3, tolerance=0.05, **ENDS)
    with pytest.raises(CheckFailure, match="the mass"):
        check_transition(heavy, OU, 0.3, tolerance=0.05, mass_tolerance=0.01, **ENDS)


def test_starts_and_equations_that_are_refused():
    with pytest.raises(InputError, match="must lie between"):
        check_transition(EXACT, OU, 3.0, tolerance=1e-3, **ENDS)
    with pytest.raises(UnsupportedError, match="for one state"):
        check_transition(EXACT, SDE(lambda t, x: -x, lambda t, x: 1 + 0 * x, dim=2), 0.3, tolerance=1e-3, **ENDS)


def test_something_must_be_expected():
    with pytest.raises(InputError, match="order= of the L1 distance in dt, or tolerance="):
        check_transition(EXACT, OU, 0.3, **ENDS)


@pytest.mark.parametrize("drift", [0.0, -0.6, 2.0])
def test_a_wrong_drift_hides_in_the_order_but_not_in_the_mean(drift):
    sde = SDE(lambda t, x: 0.6 * x, lambda t, x: 0.3 * x, dim=1)
    options = {"lower": 0.1, "upper": 6.0, "dts": (0.2, 0.1, 0.05, 0.025), "order": 0.5}

    def euler(mu):
        return gaussian(lambda x0, dt: x0 * (1 + mu * dt), lambda x0, dt: 0.09 * x0**2 * dt)

    check_transition(euler(0.6), sde, 1.0, **options)
    with pytest.raises(CheckFailure, match=r"is the drift right|shrinks like"):
        check_transition(euler(drift), sde, 1.0, **options)


def test_unlikely_starts_are_refused():
    with pytest.raises(NumericalError, match="so unlikely that rounding grows"):
        reference_transition(SDE(lambda t, x: -x, lambda t, x: 0.5 + 0 * x, dim=1), 4.0, DTS, -2.5, 5.5)
