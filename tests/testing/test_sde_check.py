"""`check_sde`: equations that are what they declare pass, each fault is caught and named."""

import pytest
import torch

from pdekit.sde import SDE
from pdekit.symbolic import SymbolicSDE, models
from pdekit.testing import CheckFailure, check_sde


def drift(t, x):
    return -x


def own(t, x):
    return 1 + x**2


def mixed(t, x):
    return 1 + x.roll(1, -1) ** 2


def matrix(t, x):
    return torch.stack([torch.sin(x), x.roll(1, -1)], -1)


@pytest.mark.parametrize("name", list(models.catalogue()))
def test_models_pass(name):
    model = models.get(name)
    check_sde(model.at(**model.defaults), model=model)


@pytest.mark.parametrize(
    "options",
    [
        {"diffusion": own, "separable": True, "autonomous": True},
        {"diffusion": mixed, "sde_type": "stratonovich"},
        {"diffusion": matrix, "noise_type": "general", "noise_dim": 2, "sde_type": "stratonovich"},
        {"diffusion": lambda t, x: torch.ones(*x.shape, 1).to(x), "noise_type": "additive", "noise_dim": 1},
        {"diffusion": lambda t, x: mixed(t, x).unsqueeze(-1), "noise_type": "scalar"},
        {"diffusion": own, "domain": ((0.0, float("inf")), (float("-inf"), 1.0))},
    ],
)
def test_equations_that_are_what_they_declare(options):
    check_sde(SDE(drift, dim=2, **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drift": lambda t, x: -x.sum(-1), "diffusion": own}, r"^sde: the drift must have shape \(8, 2\), got \(8,\)"),
        ({"diffusion": matrix}, r"the diffusion must have shape \(8, 2\), got \(8, 2, 2\)"),
        ({"diffusion": own, "noise_type": "general"}, r"the diffusion must have shape \(8, 2, 2\), got \(8, 2\)"),
        (
            {"diffusion": matrix, "noise_type": "general", "noise_dim": 3},
            r"the diffusion must have shape \(8, 2, 3\), got \(8, 2, 2\)",
        ),
        ({"drift": lambda t, x: x - x.mean(0), "diffusion": own}, "^rowwise: row 0 of 4 changes"),
        ({"diffusion": lambda t, x: 1 + (x - x.mean(0)) ** 2}, "^rowwise: row 0 of 4 changes"),
        (
            {"diffusion": matrix, "noise_type": "additive", "noise_dim": 2},
            r"^sde: declared additive, but the diffusion changes with the state at \[",
        ),
        ({"diffusion": mixed, "separable": True}, "^sde: declared separable, but g_1 changes with x_2"),
        (
            {"drift": lambda t, x: -t * x, "diffusion": own, "autonomous": True},
            "^sde: declared autonomous, but the drift changes with the time",
        ),
        (
            {"diffusion": lambda t, x: 1 + t * x, "autonomous": True},
            "^sde: declared autonomous, but the diffusion changes with the time",
        ),
    ],
)
def test_equations_that_are_not(options, message):
    with pytest.raises(CheckFailure, match=message):
        check_sde(SDE(options.pop("drift", drift), dim=2, **options))


def test_noise_may_be_declared_more_general_than_it_is():
    check_sde(SDE(drift, lambda t, x: torch.diag_embed(own(t, x)), dim=2, noise_type="general"))


MODEL = SymbolicSDE(["x", "y"], ["-a*x", "x - y"], ["1 + x**2", "b"], params={"a": None, "b": None})
VALUES = {"a": 2.0, "b": 0.5}


def stated(**options):
    parts = {
        "drift": lambda t, x: torch.stack([-2 * x[..., 0], x[..., 0] - x[..., 1]], -1),
        "diffusion": lambda t, x: torch.stack([1 + x[..., 0] ** 2, 0.5 + 0 * x[..., 1]], -1),
    } | options
    return SDE(dim=2, **parts)


def test_formulas_and_code():
    check_sde(stated(), model=MODEL, params=VALUES)
    check_sde(MODEL.at(a=3.0, b=1.0), model=MODEL, params={"a": 3.0, "b": 1.0})
    wrong_drift = stated(drift=lambda t, x: torch.stack([-2 * x[..., 0], x[..., 0] + x[..., 1]], -1))
    wrong_noise = stated(diffusion=lambda t, x: torch.stack([1 + x[..., 0] ** 2, 0.25 + 0 * x[..., 1]], -1))
    with pytest.raises(CheckFailure, match=r"^sde: the drift differs from its formula at x = \[") as caught:
        check_sde(wrong_drift, model=MODEL, params=VALUES)
    assert "expected " in str(caught.value)
    assert "got " in str(caught.value)
    with pytest.raises(CheckFailure, match="the diffusion differs from its formula"):
        check_sde(wrong_noise, model=MODEL, params=VALUES)
    with pytest.raises(CheckFailure, match="the Ito drift differs from its formula"):
        check_sde(stated(sde_type="stratonovich"), model=MODEL, params=VALUES)
    with pytest.raises(CheckFailure, match="the drift differs from its formula"):
        check_sde(MODEL.at(a=3.0, b=0.5), model=MODEL, params=VALUES)


def test_formulas_of_general_noise():
    noise = [["x", "y", "1"], ["0", "x*y", "x"]]
    model = SymbolicSDE(["x", "y"], ["-x", "-y"], noise, convention="stratonovich")
    check_sde(model.at(), model=model)


def test_states_can_be_given():
    inside = SDE(lambda t, x: 1 - x, lambda t, x: torch.sqrt(x), dim=1, domain=((0.0, float("inf")),))
    check_sde(inside, points=torch.tensor([[0.5], [2.0]], dtype=torch.float64))

    def only_far(t, x):
        return torch.where(x > 50, x.roll(1, -1), 1.0)

    sde = SDE(drift, only_far, dim=2, separable=True)
    check_sde(sde)
    with pytest.raises(CheckFailure, match="g_1 changes with x_2"):
        check_sde(sde, points=torch.tensor([[60.0, 70.0]], dtype=torch.float64))


UNIT = ((0.0, 1.0), (0.0, 1.0))


@pytest.mark.parametrize(
    "diffusion", [lambda t, x: 1 + (x - x.mean(0)) ** 2, lambda t, x: x * float("nan")], ids=["mixing", "nan"]
)
def test_rows_are_checked_inside_a_domain(diffusion):
    with pytest.raises(CheckFailure, match="rowwise"):
        check_sde(SDE(lambda t, x: -x, diffusion, dim=2, domain=UNIT))


def test_fewer_noises_than_states():
    model = SymbolicSDE(["x", "y"], ["-x", "-y"], [["1"], ["x"]])
    check_sde(model.at(), model=model)


def test_gradients_that_are_cut_off_are_seen_by_differences():
    cut = SDE(lambda t, x: -x, lambda t, x: x.detach() ** 2 + 1, dim=2, sde_type="stratonovich")
    with pytest.raises(CheckFailure, match="from difference quotients"):
        check_sde(cut)
