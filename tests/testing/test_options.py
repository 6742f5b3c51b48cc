"""What makes no sense is refused as such, and not blamed on what is checked."""

import math

import numpy as np
import pytest
import torch

from pdekit import SDE, testing
from pdekit.errors import InputError
from pdekit.testing import Trial, check_density, check_operator, check_rowwise, check_sde, check_transition, strategies
from pdekit.testing.checking import for_all

NOISE = [["x1*x2", 0], [0, "x2"]]
TRIAL = Trial(testing.vector("x1"), x=[[0.5]])


def draw(strategy):
    for_all(strategy, lambda example: None, examples=1, seed=0)


OU = SDE(lambda t, x: -x, lambda t, x: 1 + 0 * x, dim=1)


@pytest.mark.parametrize(
    ("keywords", "matrix", "message"),
    [
        ({"convention": "itô"}, NOISE, "convention must be among ito, stratonovich"),
        ({"noise_type": "diag"}, NOISE, "noise_type must be among"),
        ({"noise_type": "additive"}, NOISE, "Additive noise"),
        ({"noise_type": "diagonal"}, [["x1", 1], [0, 1]], "Diagonal noise"),
        ({"noise_type": "diagonal"}, [["x1"], ["x2"]], "Diagonal noise"),
        ({"noise_type": "scalar"}, NOISE, "one column"),
        ({"noise_type": "diagonal", "separable": True}, NOISE, "entry of x1"),
        ({"separable": True}, NOISE, "diagonal noise"),
        ({}, [["x1"]], "as many drifts and rows"),
    ],
)
def test_equations_that_contradict_themselves(keywords, matrix, message):
    with pytest.raises(InputError, match=message):
        testing.equation(["x1", "x2"], matrix, **keywords)


@pytest.mark.parametrize(
    "build",
    [
        lambda: testing.vector(),
        lambda: testing.vector("x1", dim=2),
        lambda: testing.scalar("1", 0),
        lambda: testing.coefficients(["x1"]),
        lambda: testing.coefficients(["x1"], factor=[["1"]], tensor=[["1"]]),
        lambda: testing.dimwise_derivative(0),
        lambda: testing.dimwise_jet(1.5),
        lambda: Trial(testing.vector("x1"), x=[[math.nan]]),
        lambda: Trial(testing.vector("x1"), x=np.zeros((0, 1))),
        lambda: Trial(testing.vector("x1"), x=np.zeros((2, 2, 1))),
        lambda: Trial(testing.vector("x1"), x=[[1.0]], t=math.inf),
        lambda: draw(strategies.equations(2, noise=("levy",))),
        lambda: draw(strategies.equations(2, conventions=("backward",))),
        lambda: strategies.functions(2, scalar=True, form="hollow"),
    ],
)
def test_statements_that_make_no_sense(build):
    with pytest.raises(InputError):
        build()


@pytest.mark.parametrize(
    "keywords",
    [
        {"dtype": "float64"},
        {"dtype": torch.int64},
        {"device": "tpu"},
        {"device": "meta"},
        {"limit": math.nan},
        {"limit": 0.0},
        {"forms": ("square",), "trial": None},
        {"examples": 0, "trial": None},
    ],
)
def test_options_of_check_operator(keywords):
    with pytest.raises(InputError):
        check_operator(lambda f: f, testing.divergence, **{"trial": TRIAL, **keywords})


@pytest.mark.parametrize("specification", [testing.dimwise_derivative, "divergence"])
def test_what_is_no_specification(specification):
    with pytest.raises(InputError, match="is a specification"):
        check_operator(lambda f: f, specification)


@pytest.mark.parametrize(
    "keywords",
    [
        {"mean": [0.0, 1.0]},
        {"covariance": [1.0]},
        {"lower": 0.0},
        {"points": torch.zeros(3, dtype=torch.float64)},
        {"points": torch.zeros(3, 1)},
        {"sde": SDE(lambda t, x: -x, lambda t, x: 1 + 0 * x, dim=2)},
    ],
)
def test_shapes_of_check_density(keywords):
    normal = torch.distributions.Normal(torch.tensor(0.0).double(), 1.0)
    with pytest.raises(InputError):
        check_density(lambda x: normal.log_prob(x[..., 0]), 1, **keywords)


def test_options_of_the_other_checks():
    with pytest.raises(InputError, match="floating-point dtype"):
        check_rowwise(torch.sin, 2, dtype="float32")
    with pytest.raises(InputError, match="float64 states"):
        check_sde(OU, points=torch.zeros(3, 2, dtype=torch.float64))
    for dts in ((), (0.1, -0.1), (0.1,)):
        with pytest.raises(InputError, match="dt"):
            check_transition(lambda x0, x1, dt: dt, OU, 0.0, lower=-3, upper=3, dts=dts, order=1)


def test_a_coefficient_in_single_precision_is_named():
    sde = SDE(lambda t, x: -x.float(), lambda t, x: 1 + 0 * x, dim=1)
    with pytest.raises(testing.CheckFailure, match="drift must have the state's dtype"):
        check_sde(sde)


def test_a_nan_in_a_transition_density_is_placed():
    with pytest.raises(testing.CheckFailure, match="NaN at x1"):
        check_transition(lambda x0, x1, dt: dt * math.nan, OU, 0.0, lower=-3, upper=3, tolerance=1e-3)
