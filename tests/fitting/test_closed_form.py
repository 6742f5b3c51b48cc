"""Closed-form transition densities against SciPy's distributions, quadrature and finite differences."""

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from pdekit.data import Pairs
from pdekit.errors import DataError, NumericalError
from pdekit.fitting.closed_form import closed_form, phi1, recognise
from pdekit.symbolic import SymbolicSDE

ANY, POSITIVE = None, (0.0, None)


def model(drift: str, diffusion: str, *, domain: Any = None, convention: str = "ito", **params: Any) -> SymbolicSDE:
    return SymbolicSDE(["x"], [drift], [diffusion], params=params, convention=convention, domain=domain)


def pairs(x0: Any, x1: Any, dt: Any) -> Pairs:
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, dtype=float)) for v in (x0, x1, dt)))
    start, end, step = (torch.tensor(c) for c in columns)
    return Pairs(torch.zeros_like(step), step, start[:, None], end[:, None], torch.zeros(len(step), dtype=torch.int64))


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


OU = model("kappa*(mu - x)", "sigma", kappa=ANY, mu=ANY, sigma=POSITIVE)
CIR = model("kappa*(mu - x)", "sigma*sqrt(x)", kappa=ANY, mu=POSITIVE, sigma=POSITIVE)
AFFINE_CIR = model("a + b*x", "sigma*sqrt(x)", a=ANY, b=ANY, sigma=POSITIVE)
GBM = model("mu*x", "sigma*x", mu=ANY, sigma=POSITIVE)

# --- recognition -------------------------------------------------------------------------------------------------------------------

K3 = {"k": POSITIVE, "m": ANY, "s": POSITIVE}
RECOGNISED: list[tuple[SymbolicSDE, str, Callable[..., tuple[Any, Any, Any, Any]]]] = [
    (model("k*(m - x)", "s", **K3), "OU", lambda k, m, s: (k * m, -k, s**2, 0)),
    (model("k*m - k*x", "sqrt(2*s)", **K3), "OU", lambda k, m, s: (k * m, -k, 2 * s, 0)),
    (model("-x/k", "sqrt(2/k)*s", k=POSITIVE, s=POSITIVE), "OU", lambda k, s: (0, -1 / k, 2 * s**2 / k, 0)),
    (model("exp(k)*(m - x)", "exp(s)", k=ANY, m=ANY, s=ANY), "OU", lambda k, m, s: (
        m * sympy.exp(k), -sympy.exp(k), sympy.exp(2 * s), 0)),
    (model("(x + k)**2 - x**2", "s", k=ANY, s=POSITIVE), "OU", lambda k, s: (k**2, 2 * k, s**2, 0)),
    (model("m", "s", m=ANY, s=POSITIVE), "Brownian motion", lambda m, s: (m, 0, s**2, 0)),
    (model("0", "1"), "Brownian motion", lambda: (0, 0, 1, 0)),
    (model("k*(m - x)", "s", convention="stratonovich", **K3), "OU", lambda k, m, s: (k * m, -k, s**2, 0)),
    (model("k*(m - x)", "s*sqrt(x)", **K3), "CIR", lambda k, m, s: (k * m, -k, s**2, 0)),
    (model("m + k*x", "sqrt(2*s*x)", **K3), "CIR", lambda k, m, s: (m, k, 2 * s, 0)),
    (model("m", "s*x**(1/2)", m=ANY, s=POSITIVE), "CIR", lambda m, s: (m, 0, s**2, 0)),
    (model("k*(m - x)", "s*sqrt(x)", convention="stratonovich", domain=[(0.0, None)], **K3), "CIR", lambda k, m, s: (
        k * m + s**2 / 4, -k, s**2, 0)),
    (model("k*(m - x)", "s*sqrt(x - l)", l=ANY, **K3), "CIR", lambda k, m, s, l: (k * (m - l), -k, s**2, l)),
    (model("k*(m - x)", "s*sqrt(1 - x)", domain=[(None, 1.0)], **K3), "CIR", lambda k, m, s: (k * (m - 1), -k, -(s**2), 1)),
    (model("k*(m - x)", "sqrt(s + k*x)", **K3), "CIR", lambda k, m, s: (k * m + s, -k, k, -s / k)),
    (model("m*x", "s*x", m=ANY, s=POSITIVE, domain=[(0.0, None)]), "GBM", lambda m, s: (0, m, s**2, 0)),
    (model("m*x", "s*x", m=ANY, s=POSITIVE, convention="stratonovich"), "GBM", lambda m, s: (0, m + s**2 / 2, s**2, 0)),
    (model("m*(x - l)", "s*(x - l)", m=ANY, s=POSITIVE, l=ANY), "GBM", lambda m, s, l: (0, m, s**2, l)),
]


@pytest.mark.parametrize(("sde", "name", "expected"), RECOGNISED)
def test_any_parametrisation_is_recognised(sde: SymbolicSDE, name: str, expected: Callable[..., tuple[Any, ...]]) -> None:
    family = recognise(sde)
    assert family is not None
    assert family.name == name
    symbols = {str(p): p for p in sde.param_symbols}
    for found, wanted in zip((family.a, family.b, family.s2, family.shift), expected(**symbols), strict=True):
        assert sympy.simplify(found - wanted) == 0


def test_several_noises_of_one_state_add_up() -> None:
    family = recognise(SymbolicSDE(["x"], ["-x"], [["r", "s"]], params={"r": POSITIVE, "s": POSITIVE}))
    assert family is not None
    assert family.s2 == sum(p**2 for p in sympy.symbols("r s", real=True, positive=True))


@pytest.mark.parametrize(
    "sde",
    [
        model("a*(b - x)", "s*x**g", a=ANY, b=ANY, s=POSITIVE, g=POSITIVE),  # CKLS
        model("a*x - b*x**3", "s", a=ANY, b=ANY, s=POSITIVE),  # double well
        model("a*x*(1 - x/b)", "s*x", a=ANY, b=POSITIVE, s=POSITIVE),  # logistic
        model("k*(m - x)", "s*sqrt(x*(1 - x))", **K3),  # Jacobi
        model("k*(m - x)", "s*sqrt(1 + x**2)", **K3),
        model("k*(m - x)", "s*x", **K3),  # the noise vanishes where the drift does not
        model("k*(cos(t) - x)", "s", k=POSITIVE, s=POSITIVE),
        model("-x", "s*exp(-t)", s=POSITIVE),
        model("k*x", "s*sqrt(x)", k=ANY, s=POSITIVE),  # absorbed at 0
        model("k*(m - x)", "s", domain=[(0.0, None)], **K3),  # OU that reflects at 0
        model("k*(m - x)", "s*sqrt(x)", domain=[(0.0, 2.0)], **K3),
        model("m*x", "s*x", domain=[(1.0, None)], m=ANY, s=POSITIVE),
        model("-x", "0"),
        SymbolicSDE(["x", "y"], ["-x", "-y"], ["1", "1"]),
    ],
)
def test_other_models_are_left_alone(sde: SymbolicSDE) -> None:
    assert recognise(sde) is None


def test_no_closed_form() -> None:
    assert closed_form(model("x - x**3", "s", s=POSITIVE), pairs(0.0, 1.0, 0.1)) is None


# --- against other distributions ---------------------------------------------------------------------------------------------------

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


def check(sde: SymbolicSDE, theta: tuple[float, ...], x0: float, x1: float, dt: float, reference: Any, rtol: float) -> None:
    density = closed_form(sde, pairs(x0, x1, dt))
    assert density is not None
    expected = reference.logpdf(x1)
    assert density.log_density(tensor(*theta)).item() == pytest.approx(expected, rel=rtol, abs=rtol)
    assert density.cdf(tensor(*theta)).item() == pytest.approx(reference.cdf(x1), rel=rtol, abs=rtol)


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
def test_cir_against_noncentral_chi_square(kappa: float, mu: float, sigma: float, x0: float, dt: float, score: float) -> None:
    reference = reference_cir(kappa, mu, sigma, x0, dt)
    x1 = x0 * math.exp(score * sigma * math.sqrt(dt / x0))
    check(CIR, (kappa, mu, sigma), x0, x1, dt, reference, 1e-8)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-3, 3.0), levels, st.floats(0.02, 0.5), levels, st.floats(-5, 0), st.floats(-3, 3))
def test_cir_at_small_noise_and_fine_steps(
    kappa: float, mu: float, sigma: float, x0: float, log_dt: float, score: float
) -> None:
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
    density = closed_form(CIR, pairs(x0, x1, dt))
    assert density is not None
    # u and v reach 1e8, and their rounding, eps times the size of their square roots' distance, times that distance, is what is left.
    assert density.log_density(tensor(kappa, mu, sigma)).item() == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_cir_with_growing_drift_against_noncentral_chi_square() -> None:
    a, b, sigma, x0, x1, dt = 0.3, 0.7, 0.8, 0.4, 0.9, 0.5
    check(AFFINE_CIR, (a, b, sigma), x0, x1, dt, reference_cir(-b, -a / b, sigma, x0, dt), 1e-10)


def test_shifted_and_mirrored_models_are_the_plain_ones_in_other_coordinates() -> None:
    theta, x0, x1, dt = tensor(1.5, 0.4, 0.6), np.array([0.2, 0.9]), np.array([0.5, 0.3]), 0.3
    plain = closed_form(CIR, pairs(x0, x1, dt))
    shifted = closed_form(
        model("kappa*(mu + l - x)", "sigma*sqrt(x - l)", kappa=ANY, mu=POSITIVE, sigma=POSITIVE, l=ANY), pairs(x0 - 2, x1 - 2, dt)
    )
    mirrored = closed_form(
        model("kappa*(1 - mu - x)", "sigma*sqrt(1 - x)", kappa=ANY, mu=POSITIVE, sigma=POSITIVE), pairs(1 - x0, 1 - x1, dt)
    )
    assert plain is not None
    assert shifted is not None
    assert mirrored is not None
    with_shift = torch.cat([theta, tensor(-2.0)])
    torch.testing.assert_close(shifted.log_density(with_shift), plain.log_density(theta), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mirrored.log_density(theta), plain.log_density(theta), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(shifted.cdf(with_shift), plain.cdf(theta), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mirrored.cdf(theta), 1 - plain.cdf(theta), rtol=1e-12, atol=1e-12)


def test_gbm_below_its_shift() -> None:
    theta, dt = tensor(0.1, 0.4), 0.5
    below = closed_form(GBM, pairs(-1.0, -1.3, dt))
    above = closed_form(GBM, pairs(1.0, 1.3, dt))
    assert below is not None
    assert above is not None
    torch.testing.assert_close(below.log_density(theta), above.log_density(theta), rtol=1e-14, atol=0)
    torch.testing.assert_close(below.cdf(theta), 1 - above.cdf(theta), rtol=1e-14, atol=0)


# --- laws that need no other distribution ------------------------------------------------------------------------------------------

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


@case
def test_mass_and_distribution_function(sde: SymbolicSDE, theta: tuple[float, ...], x0: float, x1: float, lower: float) -> None:
    dt = 0.4

    def pdf(x: float) -> float:
        density = closed_form(sde, pairs(x0, x, dt))
        assert density is not None
        return math.exp(density.log_density(tensor(*theta)).item())

    density = closed_form(sde, pairs(x0, x1, dt))
    assert density is not None
    # x = lower + y^4 takes the integrable singularity out of a density that is infinite at its boundary.
    start = lower if math.isfinite(lower) else x0 - 6.0
    below, above = (
        quad(lambda y: pdf(start + y**4) * 4 * y**3 if y > 0 else 0.0, *((end - start) ** 0.25 for end in ends), epsabs=1e-10)[0]
        for ends in ((start, x1), (x1, x1 + 12.0))
    )
    assert below + above == pytest.approx(1.0, abs=1e-8)
    assert density.cdf(tensor(*theta)).item() == pytest.approx(below, abs=1e-8)


@case
def test_gradient_and_hessian(sde: SymbolicSDE, theta: tuple[float, ...], x0: float, x1: float, lower: float) -> None:
    del lower
    density = closed_form(sde, pairs([x0, x1, x1], [x1, x1 * 1.1, x1 * 0.9], [0.4, 0.4, 0.01]))
    assert density is not None
    at = tensor(*theta).requires_grad_()
    # Central differences with step 1e-6 have an error of about 1e-9 times the size of the function and its third derivative.
    assert torch.autograd.gradcheck(density.log_density, (at,), rtol=1e-5, atol=1e-6)
    assert torch.autograd.gradgradcheck(density.log_density, (at,), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["Brownian motion as b = 0", "CIR, b = 0"])
def test_smooth_through_zero_slope(name: str) -> None:
    sde, theta, x0, x1, _ = CASES[name]
    density = closed_form(sde, pairs([x0, x1], [x1, x0], [0.4, 0.1]))
    assert density is not None
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


# --- what cannot be ----------------------------------------------------------------------------------------------------------------


def gradient(density: Any, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    theta = theta.requires_grad_()
    value = density.log_density(theta)
    return value.detach(), torch.autograd.grad(value[torch.isfinite(value)].sum() + 0 * theta.sum(), theta)[0]


@pytest.mark.parametrize(
    ("sde", "theta"), [(OU, (1.0, 0.3, 0.0)), (CIR, (1.0, 0.3, 0.0)), (CIR, (-1.0, 0.3, 0.5)), (GBM, (1.0, 0.0))]
)
def test_impossible_parameters(sde: SymbolicSDE, theta: tuple[float, ...]) -> None:
    density = closed_form(sde, pairs([0.5, 0.6], [0.6, 0.4], 0.1))
    assert density is not None
    value, slope = gradient(density, tensor(*theta))
    assert value.tolist() == [-math.inf, -math.inf]
    assert slope.tolist() == [0.0] * len(theta)
    with pytest.raises(NumericalError, match="No distribution function"):
        density.cdf(tensor(*theta))


@pytest.mark.parametrize(
    "sde",
    [
        model("m - x", "s*sqrt(x - l)", m=ANY, s=POSITIVE, l=ANY),
        model("m*(x - l)", "s*(x - l)", m=ANY, s=POSITIVE, l=ANY),
    ],
)
def test_boundary_that_moves_past_observations(sde: SymbolicSDE) -> None:
    density = closed_form(sde, pairs([0.5, 2.0], [2.0, 1.8], 0.1))
    assert density is not None
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
