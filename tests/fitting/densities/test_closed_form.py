"""Closed-form transition densities against SciPy's distributions, mpmath, quadrature and finite differences."""

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from pdekit.data import Pairs
from pdekit.errors import DataError, NumericalError
from pdekit.fitting.densities.closed_form import ClosedForm, closed_form, phi1
from pdekit.symbolic import SymbolicSDE

ANY, POSITIVE = None, (0.0, None)


def model(drift: str, diffusion: str, *, domain: Any = None, convention: Any = "ito", **params: Any) -> SymbolicSDE:
    return SymbolicSDE(["x"], [drift], [diffusion], params=params, convention=convention, domain=domain)


def pairs(x0: Any, x1: Any, dt: Any) -> Pairs:
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, dtype=float)) for v in (x0, x1, dt)))
    start, end, step = (torch.tensor(c) for c in columns)
    return Pairs(torch.zeros_like(step), step, start[:, None], end[:, None], torch.zeros(len(step), dtype=torch.int64))


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def bind(sde: SymbolicSDE, data: Pairs) -> ClosedForm:
    density = closed_form(sde, data)
    assert density is not None
    return density


OU = model("kappa*(mu - x)", "sigma", kappa=ANY, mu=ANY, sigma=POSITIVE)
CIR = model("kappa*(mu - x)", "sigma*sqrt(x)", kappa=ANY, mu=POSITIVE, sigma=POSITIVE)
AFFINE_CIR = model("a + b*x", "sigma*sqrt(x)", a=ANY, b=ANY, sigma=POSITIVE)
GBM = model("mu*x", "sigma*x", mu=ANY, sigma=POSITIVE)


def test_no_closed_form() -> None:
    assert closed_form(model("x - x**3", "s", s=POSITIVE), pairs(0.0, 1.0, 0.1)) is None


# --- against other distributions -------------------------------------------------------------------------

rates = st.floats(-1.0, 5.0).filter(lambda k: abs(k) > 1e-3)  # the textbook formulas used here cancel at 0
levels = st.floats(0.05, 3.0)
noises = st.floats(0.05, 2.0)
steps = st.floats(1e-3, 2.0)


def reference_ou(kappa: float, mu: float, sigma: float, x0: float, dt: float) -> Any:
    variance = sigma**2 * -math.expm1(-2 * kappa * dt) / (2 * kappa)
    return stats.norm(mu + (x0 - mu) * math.exp(-kappa * dt), math.sqrt(variance))


def reference_gbm(mu: float, sigma: float, x0: float, dt: float) -> Any:
    return stats.lognorm(sigma * math.sqrt(dt), scale=x0 * math.exp((mu - sigma**2 / 2) * dt))


def reference_cir(kappa: float, mu: float, sigma: float, x0: float, dt: float) -> Any:
    scale = sigma**2 * -math.expm1(-kappa * dt) / (4 * kappa)
    return stats.ncx2(4 * kappa * mu / sigma**2, x0 * math.exp(-kappa * dt) / scale, scale=scale)


def check(
    sde: SymbolicSDE, theta: tuple[float, ...], x0: float, x1: float, dt: float, reference: Any, rtol: float
) -> None:
    density = bind(sde, pairs(x0, x1, dt))
    expected = reference.logpdf(x1)
    assert density.log_density(tensor(*theta)).item() == pytest.approx(expected, rel=rtol, abs=rtol)
    # At large noncentrality the distribution function is a saddlepoint formula with an error of 2.1e-7.
    at_fine_steps = 2.2e-7 if density.family.name == "CIR" else rtol
    assert density.cdf(tensor(*theta)).item() == pytest.approx(reference.cdf(x1), abs=at_fine_steps)


# Both sides lose a few digits where exp(-k dt) cancels against 1: k dt > 1e-6 leaves 1e-10.
@settings(max_examples=60, deadline=None)
@given(rates, st.floats(-2, 2), noises, st.floats(-2, 2), steps, st.floats(0.001, 0.999))
def test_ou_against_normal(kappa: float, mu: float, sigma: float, x0: float, dt: float, level: float) -> None:
    reference = reference_ou(kappa, mu, sigma, x0, dt)
    check(OU, (kappa, mu, sigma), x0, float(reference.ppf(level)), dt, reference, 1e-9)


@settings(max_examples=60, deadline=None)
@given(st.floats(-2, 2), noises, levels, steps, st.floats(0.001, 0.999))
def test_gbm_against_lognormal(mu: float, sigma: float, x0: float, dt: float, level: float) -> None:
    reference = reference_gbm(mu, sigma, x0, dt)
    check(GBM, (mu, sigma), x0, float(reference.ppf(level)), dt, reference, 1e-9)


# SciPy's density is -inf at many degrees of freedom, where its Bessel function underflows; mpmath covers those below.
@settings(max_examples=60, deadline=None)
@given(st.floats(1e-3, 3.0), levels, st.floats(0.4, 2.0), levels, st.floats(0.02, 2.0), st.floats(-2, 3))
def test_cir_against_noncentral_chi_square(
    kappa: float, mu: float, sigma: float, x0: float, dt: float, score: float
) -> None:
    reference = reference_cir(kappa, mu, sigma, x0, dt)
    x1 = x0 * math.exp(score * sigma * math.sqrt(dt / x0))
    check(CIR, (kappa, mu, sigma), x0, x1, dt, reference, 1e-8)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-3, 3.0), levels, st.floats(0.02, 0.5), levels, st.floats(-5, 0), st.floats(-3, 3))
def test_cir_at_small_noise_and_fine_steps(
    kappa: float, mu: float, sigma: float, x0: float, log_dt: float, score: float
) -> None:
    # Of higher order mpmath's series takes seconds to minutes where neither it nor the asymptotic one converges fast.
    assume(2 * kappa * mu / sigma**2 <= 1000)
    dt = 10**log_dt
    x1 = mu + (x0 - mu) * math.exp(-kappa * dt)
    x1 *= math.exp(score * sigma * math.sqrt(dt / max(x0, x1)))
    with mpmath.workdps(40):
        k, s2, start, end, step = map(mpmath.mpf, (kappa, sigma**2, x0, x1, dt))
        decay = mpmath.exp(-k * step)
        c = 2 * k / (s2 * (1 - decay))
        u, v, q = c * start * decay, c * end, 2 * k * mpmath.mpf(mu) / s2 - 1
        bessel = mpmath.besseli(q, 2 * mpmath.sqrt(u * v), maxterms=10**6)
        expected = float(mpmath.log(c) - u - v + q / 2 * mpmath.log(v / u) + mpmath.log(bessel))
    density = bind(CIR, pairs(x0, x1, dt))
    # u and v reach 1e8; what is left is the rounding of their roots, eps 1e4, times the distance of the roots, about 3,
    # and that of nu log v, nu being up to 1e3.
    assert density.log_density(tensor(kappa, mu, sigma)).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_cir_with_growing_drift_against_noncentral_chi_square() -> None:
    a, b, sigma, x0, x1, dt = 0.3, 0.7, 0.8, 0.4, 0.9, 0.5
    check(AFFINE_CIR, (a, b, sigma), x0, x1, dt, reference_cir(-b, -a / b, sigma, x0, dt), 1e-10)


def test_shifted_and_mirrored_models_are_the_plain_ones_in_other_coordinates() -> None:
    theta, x0, x1, dt = tensor(1.5, 0.4, 0.6), np.array([0.2, 0.9]), np.array([0.5, 0.3]), 0.3
    plain = bind(CIR, pairs(x0, x1, dt))
    shifted = bind(
        model("kappa*(mu + l - x)", "sigma*sqrt(x - l)", kappa=ANY, mu=POSITIVE, sigma=POSITIVE, l=ANY),
        pairs(x0 - 2, x1 - 2, dt),
    )
    mirrored = bind(
        model("kappa*(1 - mu - x)", "sigma*sqrt(1 - x)", kappa=ANY, mu=POSITIVE, sigma=POSITIVE),
        pairs(1 - x0, 1 - x1, dt),
    )
    with_shift = torch.cat([theta, tensor(-2.0)])
    torch.testing.assert_close(shifted.log_density(with_shift), plain.log_density(theta), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mirrored.log_density(theta), plain.log_density(theta), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(shifted.cdf(with_shift), plain.cdf(theta), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mirrored.cdf(theta), 1 - plain.cdf(theta), rtol=1e-12, atol=1e-12)


def test_gbm_below_its_shift() -> None:
    theta, dt = tensor(0.1, 0.4), 0.5
    below = bind(GBM, pairs(-1.0, -1.3, dt))
    above = bind(GBM, pairs(1.0, 1.3, dt))
    torch.testing.assert_close(below.log_density(theta), above.log_density(theta), rtol=1e-14, atol=0)
    torch.testing.assert_close(below.cdf(theta), 1 - above.cdf(theta), rtol=1e-14, atol=0)


# --- laws that need no other distribution ----------------------------------------------------------------

CASES = {
    "OU": (OU, (0.8, 0.3, 0.5), 0.1, 0.6, -math.inf),
    "OU, explosive": (OU, (-0.8, 0.3, 0.5), 0.1, 0.6, -math.inf),
    "Brownian motion as b = 0": (OU, (0.0, 0.3, 0.5), 0.1, 0.6, -math.inf),
    "GBM": (GBM, (0.2, 0.4), 1.5, 1.2, 0.0),
    "CIR": (CIR, (3.0, 0.3, 0.2), 0.25, 0.31, 0.0),
    "CIR, Feller violated": (CIR, (0.5, 0.3, 0.8), 0.1, 0.2, 0.0),
    "CIR from the boundary": (CIR, (0.5, 0.3, 0.8), 0.0, 0.2, 0.0),
    "CIR, b = 0": (AFFINE_CIR, (0.4, 0.0, 0.9), 0.5, 0.7, 0.0),
    "CIR, b > 0": (AFFINE_CIR, (0.4, 0.6, 0.9), 0.5, 0.7, 0.0),
}
case = pytest.mark.parametrize(("sde", "theta", "x0", "x1", "lower"), CASES.values(), ids=CASES.keys())


def gauss_legendre(function: Callable[[np.ndarray], np.ndarray], lower: float, upper: float) -> float:
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(lower, upper, 101)
    half = (edges[1] - edges[0]) / 2
    points = (edges[:-1, None] + half * (1 + nodes)).ravel()
    return float(half * (function(points) * np.tile(weights, 100)).sum())


@case
def test_mass_and_distribution_function(
    sde: SymbolicSDE, theta: tuple[float, ...], x0: float, x1: float, lower: float
) -> None:
    dt, t = 0.4, tensor(*theta)
    # x = lower + y^4 takes the integrable singularity out of a density that is infinite at its boundary.
    start = lower if math.isfinite(lower) else x0 - 6.0
    below, above = (
        gauss_legendre(
            lambda y: bind(sde, pairs(x0, start + y**4, dt)).log_density(t).exp().numpy() * 4 * y**3,
            *((end - start) ** 0.25 for end in ends),
        )
        for ends in ((start, x1), (x1, x1 + 12.0))
    )
    # Beyond 12, about 20 standard deviations, there is nothing; near the boundary the integrand keeps a broken power.
    assert below + above == pytest.approx(1.0, abs=1e-9)
    assert bind(sde, pairs(x0, x1, dt)).cdf(t).item() == pytest.approx(below, abs=1e-9)


@case
def test_gradient_and_hessian(sde: SymbolicSDE, theta: tuple[float, ...], x0: float, x1: float, lower: float) -> None:
    del lower
    density = bind(sde, pairs([x0, x1, x1], [x1, x1 * 1.1, x1 * 0.9], [0.4, 0.4, 0.01]))
    at = tensor(*theta).requires_grad_()
    # Central differences with step 1e-6 are right to about 1e-9 times the sizes of the value and the third derivative.
    assert torch.autograd.gradcheck(density.log_density, (at,), rtol=1e-5, atol=1e-6)
    assert torch.autograd.gradgradcheck(density.log_density, (at,), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["Brownian motion as b = 0", "CIR, b = 0"])
def test_smooth_through_zero_slope(name: str) -> None:
    sde, theta, x0, x1, _ = CASES[name]
    density = bind(sde, pairs([x0, x1], [x1, x0], [0.4, 0.1]))
    slope = 0 if name.startswith("Brownian") else 1

    def derivatives(b: float) -> list[torch.Tensor]:
        at = tensor(*(b if i == slope else v for i, v in enumerate(theta)))

        def total(theta: torch.Tensor) -> torch.Tensor:
            return density.log_density(theta).sum()

        return [total(at), torch.autograd.functional.jacobian(total, at), torch.autograd.functional.hessian(total, at)]

    for b in (1e-9, -1e-9):
        # A change of 1e-9 in b moves each by about 1e-9 times its next derivative.
        for near, at_zero in zip(derivatives(b), derivatives(0.0), strict=True):
            torch.testing.assert_close(near, at_zero, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("y", [-40.0, -1.0001, -0.9999, -0.3, -1e-9, 0.0, 1e-12, 0.5, 0.9999, 1.0, 3.0])
def test_phi1_and_its_derivatives(y: float) -> None:
    value = phi1(at := tensor(y).requires_grad_())
    with mpmath.workdps(40):

        def exact(z: mpmath.mpf) -> mpmath.mpf:
            return mpmath.hyp1f1(1, 2, z)

        for order in range(4):
            # The direct formula starts at |y| = 1, where each derivative loses less than one digit.
            assert value.item() == pytest.approx(float(mpmath.diff(exact, y, order)), rel=1e-13)
            (value,) = torch.autograd.grad(value, at, create_graph=True)


# --- what cannot be --------------------------------------------------------------------------------------


def gradient(density: Any, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    theta = theta.requires_grad_()
    value = density.log_density(theta)
    return value.detach(), torch.autograd.grad(value[torch.isfinite(value)].sum() + 0 * theta.sum(), theta)[0]


@pytest.mark.parametrize(
    ("sde", "theta"), [(OU, (1.0, 0.3, 0.0)), (CIR, (1.0, 0.3, 0.0)), (CIR, (-1.0, 0.3, 0.5)), (GBM, (1.0, 0.0))]
)
def test_impossible_parameters(sde: SymbolicSDE, theta: tuple[float, ...]) -> None:
    density = bind(sde, pairs([0.5, 0.6], [0.6, 0.4], 0.1))
    value, slope = gradient(density, tensor(*theta))
    assert value.tolist() == [-math.inf, -math.inf]
    assert slope.tolist() == [0.0] * len(theta)
    with pytest.raises(NumericalError, match="No distribution function"):
        density.cdf(tensor(*theta))


@pytest.mark.parametrize(("sde", "theta"), [(OU, (-1e4, 0.3, 0.5)), (AFFINE_CIR, (0.3, 1e4, 0.5))])
def test_overflowing_growth(sde: SymbolicSDE, theta: tuple[float, ...]) -> None:
    density = bind(sde, pairs(0.5, 0.6, 0.1))
    with pytest.raises(NumericalError, match=r"exp\(1000\) in one step"):
        density.log_density(tensor(*theta))


@pytest.mark.parametrize(("sde", "theta"), [(OU, (1e5, 0.3, 0.5)), (CIR, (1e5, 0.3, 90.0))])
def test_a_step_much_longer_than_the_memory_gives_the_stationary_law(
    sde: SymbolicSDE, theta: tuple[float, ...]
) -> None:
    near, far = (gradient(bind(sde, pairs(x0, 0.4, 1.0)), tensor(*theta)) for x0 in (0.1, 5.0))
    for one, other in zip(near, far, strict=True):
        assert bool(torch.isfinite(one).all())
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "sde",
    [
        model("m - x", "s*sqrt(x - l)", m=ANY, s=POSITIVE, l=ANY),
        model("m*(x - l)", "s*(x - l)", m=ANY, s=POSITIVE, l=ANY),
    ],
)
def test_boundary_that_moves_past_observations(sde: SymbolicSDE) -> None:
    density = bind(sde, pairs([0.5, 2.0], [2.0, 1.8], 0.1))
    theta = tensor(3.0, 0.5, 1.0)
    value, slope = gradient(density, theta)
    assert value[0].item() == -math.inf
    assert bool(torch.isfinite(value[1]))
    assert bool(torch.isfinite(slope).all())
    with pytest.raises(NumericalError):
        density.cdf(theta)


@pytest.mark.parametrize(
    ("sde", "x0", "x1"), [(CIR, 0.1, -0.1), (CIR, -0.1, 0.1), (CIR, 0.1, 0.0), (GBM, 1.0, -1.0), (GBM, 0.0, 1.0)]
)
def test_observations_outside_the_range_are_refused(sde: SymbolicSDE, x0: float, x1: float) -> None:
    with pytest.raises(DataError, match=r"never goes from .* at time 0\.1 of path 0"):
        closed_form(sde, pairs([0.5, x0], [0.6, x1], 0.1))
