"""The Bessel functions against mpmath, which sums the same functions to any precision."""

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdekit.errors import InputError
from pdekit.fitting.densities.bessel import _DEBYE_LENGTHS, debye_polynomial, debye_start, log_clifford, log_ive

DPS = 40


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def exact(nu: float, z: float) -> mpmath.mpf:
    return mpmath.log(mpmath.besseli(nu, z)) - z


def close(value: float, truth: mpmath.mpf, tolerance: float) -> bool:
    return abs(truth - value) <= tolerance * max(1, abs(truth))


# Orders and arguments on logarithmic scales, so that every regime is drawn.
orders = st.one_of(st.floats(-0.99, 3), st.floats(0, 2.7).map(lambda e: 10**e))
arguments = st.floats(-12, 7).map(lambda e: 10**e)


@settings(max_examples=200, deadline=None)
@given(orders, arguments)
def test_values_agree_with_mpmath(nu: float, z: float) -> None:
    with mpmath.workdps(DPS):
        truth = exact(nu, z)
        smooth = truth - nu * mpmath.log(mpmath.mpf(z) / 2)
    # A few roundings of the largest term, which is of the size of the result or below 1: 1e-14 is 45 eps.
    assert close(log_ive(number(nu), number(z)).item(), truth, 1e-14)
    assert close(log_clifford(number(nu), number(z)).item(), smooth, 1e-14)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, math.pi / 2 + 0.03), st.sampled_from(_DEBYE_LENGTHS), st.floats(-1e-3, 1e-3))
def test_values_agree_on_both_sides_of_every_regime(angle: float, length: int, offset: float) -> None:
    w = debye_start(length) * (1 + offset)
    nu, z = max(w * math.cos(angle), -0.99), w * math.sin(angle) + 1e-9
    with mpmath.workdps(DPS):
        truth = exact(nu, z)
    assert close(log_ive(number(nu), number(z)).item(), truth, 1e-14)


@pytest.mark.parametrize("nu", [-0.95, -0.5, 0.0, 0.3, 2.0, 45.0, 300.0])
@pytest.mark.parametrize("z", [1e-6, 0.7, 20.0, 27.0, 31.0, 150.0, 4e4])
def test_derivatives_agree_with_mpmath(nu: float, z: float) -> None:
    n, x = number(nu).requires_grad_(), number(z).requires_grad_()
    dn, dx = torch.autograd.grad(log_ive(n, x), (n, x), create_graph=True)
    dnn, dnx = torch.autograd.grad(dn, (n, x), retain_graph=True)
    (dxx,) = torch.autograd.grad(dx, x)
    with mpmath.workdps(DPS):
        for value, order in ((dn, (1, 0)), (dx, (0, 1)), (dnx, (1, 1)), (dxx, (0, 2))):
            assert close(value.item(), mpmath.diff(exact, (nu, z), order), 2e-13), order
        # In the power series it contains torch's trigamma, whose own error is a few 1e-9.
        assert close(dnn.item(), mpmath.diff(exact, (nu, z), (2, 0)), 1e-8)


def test_rows_of_all_regimes_in_one_call_equal_single_calls() -> None:
    z = torch.tensor([[1e-8, 3.0, 27.0], [28.0, 400.0, 1e6]], dtype=torch.float64)
    for nu in (number(0.4), torch.linspace(-0.9, 60, 6, dtype=torch.float64).reshape(2, 3)):
        rows = nu.expand_as(z)
        single = [log_ive(rows[i, j], z[i, j]) for i in range(2) for j in range(3)]
        # Vector and scalar kernels may round differently.
        torch.testing.assert_close(log_ive(nu, z), torch.stack(single).reshape(2, 3), rtol=1e-15, atol=1e-15)
        grad = torch.autograd.functional.jacobian(lambda n, z=z: log_ive(n, z).sum(), nu)
        assert bool(torch.isfinite(grad).all())


def test_zero_argument() -> None:
    orders = torch.tensor([-0.5, 0.0, 2.0], dtype=torch.float64)
    zeros = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert log_ive(orders, zeros).tolist() == [math.inf, 0.0, -math.inf]
    smooth = log_clifford(orders, zeros)
    torch.testing.assert_close(smooth.detach(), -torch.lgamma(orders + 1))
    (slope,) = torch.autograd.grad(smooth.sum(), zeros)
    assert slope.tolist() == [-1.0, -1.0, -1.0]  # of the factor e^-z; the function itself is flat


def test_debye_polynomials() -> None:
    # U_2(p) = (81 p^2 - 462 p^4 + 385 p^6) / 1152, DLMF 10.41.10
    assert [int(1152 * c) for c in debye_polynomial(2)] == [81, -462, 385]
    # u_k(0) are the coefficients of the expansion of I_0, prod (2j-1)^2 / (k! 8^k), DLMF 10.40.1
    for k in range(1, max(_DEBYE_LENGTHS)):
        top = math.prod((2 * j - 1) ** 2 for j in range(1, k + 1))
        assert debye_polynomial(k)[0] * math.factorial(k) * 8**k == top


@pytest.mark.parametrize(("nu", "z"), [(-1.0, 1.0), (math.nan, 1.0), (0.0, -1.0), (0.0, math.nan)])
def test_bad_arguments_are_refused(nu: float, z: float) -> None:
    with pytest.raises(InputError, match="must be"):
        log_ive(number(nu), number(z))
