"""Which models are recognised, in which coefficients, and which are left alone."""

from collections.abc import Callable
from typing import Any

import pytest
import sympy

from pdekit.fitting.densities.recognise import recognise
from pdekit.symbolic import SymbolicSDE, models

ANY, POSITIVE = None, (0.0, None)


def model(drift: str, diffusion: str, *, domain: Any = None, convention: Any = "ito", **params: Any) -> SymbolicSDE:
    return SymbolicSDE(["x"], [drift], [diffusion], params=params, convention=convention, domain=domain)


K3 = {"k": POSITIVE, "m": ANY, "s": POSITIVE}
RECOGNISED: list[tuple[SymbolicSDE, str, Callable[..., tuple[Any, Any, Any, Any]]]] = [
    (model("k*(m - x)", "s", **K3), "OU", lambda k, m, s: (k * m, -k, s**2, 0)),
    (model("k*m - k*x", "sqrt(2*s)", **K3), "OU", lambda k, m, s: (k * m, -k, 2 * s, 0)),
    (model("-x/k", "sqrt(2/k)*s", k=POSITIVE, s=POSITIVE), "OU", lambda k, s: (0, -1 / k, 2 * s**2 / k, 0)),
    (
        model("exp(k)*(m - x)", "exp(s)", k=ANY, m=ANY, s=ANY),
        "OU",
        lambda k, m, s: (m * sympy.exp(k), -sympy.exp(k), sympy.exp(2 * s), 0),
    ),
    (model("(x + k)**2 - x**2", "s", k=ANY, s=POSITIVE), "OU", lambda k, s: (k**2, 2 * k, s**2, 0)),
    (model("m", "s", m=ANY, s=POSITIVE), "Brownian motion", lambda m, s: (m, 0, s**2, 0)),
    (model("0", "1"), "Brownian motion", lambda: (0, 0, 1, 0)),
    (model("k*(m - x)", "s", convention="stratonovich", **K3), "OU", lambda k, m, s: (k * m, -k, s**2, 0)),
    (model("k*(m - x)", "s*sqrt(x)", **K3), "CIR", lambda k, m, s: (k * m, -k, s**2, 0)),
    (model("m + k*x", "sqrt(2*s*x)", **K3), "CIR", lambda k, m, s: (m, k, 2 * s, 0)),
    (model("m", "s*x**(1/2)", m=ANY, s=POSITIVE), "CIR", lambda m, s: (m, 0, s**2, 0)),
    (
        model("k*(m - x)", "s*sqrt(x)", convention="stratonovich", domain=[(0.0, None)], **K3),
        "CIR",
        lambda k, m, s: (k * m + s**2 / 4, -k, s**2, 0),
    ),
    (model("k*(m - x)", "s*sqrt(x - l)", l=ANY, **K3), "CIR", lambda k, m, s, l: (k * (m - l), -k, s**2, l)),
    (
        model("k*(m - x)", "s*sqrt(1 - x)", domain=[(None, 1.0)], **K3),
        "CIR",
        lambda k, m, s: (k * (m - 1), -k, -(s**2), 1),
    ),
    (model("k*(m - x)", "sqrt(s + k*x)", **K3), "CIR", lambda k, m, s: (k * m + s, -k, k, -s / k)),
    (model("m*x", "s*x", m=ANY, s=POSITIVE, domain=[(0.0, None)]), "GBM", lambda m, s: (0, m, s**2, 0)),
    (model("m*x", "s*x", m=ANY, s=POSITIVE, convention="stratonovich"), "GBM", lambda m, s: (0, m + s**2 / 2, s**2, 0)),
    (model("m*(x - l)", "s*(x - l)", m=ANY, s=POSITIVE, l=ANY), "GBM", lambda m, s, l: (0, m, s**2, l)),
]


@pytest.mark.parametrize(("sde", "name", "expected"), RECOGNISED)
def test_any_parametrisation_is_recognised(
    sde: SymbolicSDE, name: str, expected: Callable[..., tuple[Any, ...]]
) -> None:
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


@pytest.mark.parametrize("name", models.catalogue())
def test_catalogue(name: str) -> None:
    expected = {
        "brownian_motion": "Brownian motion",
        "ornstein_uhlenbeck": "OU",
        "cir": "CIR",
        "geometric_brownian_motion": "GBM",
    }
    family = recognise(models.get(name))
    assert (family and family.name) == expected.get(name)
