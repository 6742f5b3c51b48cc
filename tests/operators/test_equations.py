"""Operators of SDEs against SymPy, for every kind of noise in both conventions."""

import pytest
import sympy as sp
import torch

from pdekit.operators import (
    fokker_planck_operator,
    fokker_planck_residual,
    generator,
    ito_drift,
    log_fokker_planck_operator,
    probability_current,
    probability_flow,
)
from tests.operators.equations import EQUATIONS, log_density, points, smooth_function
from tests.operators.oracle import X, at, close, torch_function

TIME = 0.6


@pytest.fixture(params=EQUATIONS, ids=lambda equation: equation.name, scope="module")
def equation(request):
    return request.param


@pytest.fixture(params=["ito", "stratonovich"], scope="module")
def convention(request):
    return request.param


@pytest.fixture(scope="module")
def sde(equation, convention):
    return equation.sde(convention)


@pytest.fixture(scope="module")
def x(equation):
    return points(equation.dim)


@pytest.fixture(scope="module")
def log_p(equation):
    return log_density(equation.dim)


@pytest.fixture(scope="module")
def score(equation, log_p):
    return torch_function([sp.diff(log_p, s) for s in X[: equation.dim]])


def test_ito_drift(equation, convention, sde, x):
    close(ito_drift(sde)(TIME, x), at(equation.ito_drift(convention), TIME, x))


def test_generator(equation, convention, sde, x):
    u = smooth_function(equation.dim)
    close(generator(torch_function(u), sde)(TIME, x), at(equation.generator(u, convention), TIME, x))


def test_generator_of_a_vector(equation, convention, sde, x):
    us = [smooth_function(equation.dim), sp.sin(X[0])]
    expected = at([equation.generator(u, convention) for u in us], TIME, x)
    close(generator(torch_function(us), sde)(TIME, x), expected)


def test_fokker_planck_operator(equation, convention, sde, x, log_p):
    p = sp.exp(log_p)
    close(fokker_planck_operator(torch_function(p), sde)(TIME, x), at(equation.fokker_planck(p, convention), TIME, x))


def test_log_form_residual_and_flow(equation, convention, sde, x, log_p, score):
    log_form = at(equation.log_fokker_planck(log_p, convention), TIME, x)
    residual = at(equation.residual(log_p, convention), TIME, x)
    flow = at(equation.flow(log_p, convention), TIME, x)
    for given in (None, score):
        close(log_fokker_planck_operator(torch_function(log_p), sde, score=given)(TIME, x), log_form)
        close(fokker_planck_residual(torch_function(log_p), sde, score=given)(TIME, x), residual)
        close(probability_flow(torch_function(log_p), sde, score=given)(TIME, x), flow)


def test_current(equation, convention, sde, x, log_p):
    p = sp.exp(log_p)
    close(probability_current(torch_function(p), sde)(TIME, x), at(equation.current(p, convention), TIME, x))


def test_a_time_for_each_row(equation, convention, sde, x, log_p):
    times = torch.linspace(0.2, 1.0, len(x), dtype=torch.float64).unsqueeze(-1)
    for operator in (
        fokker_planck_operator(torch_function(sp.exp(log_p)), sde),
        fokker_planck_residual(torch_function(log_p), sde),
        probability_flow(torch_function(log_p), sde),
        ito_drift(sde),
    ):
        rows = torch.stack([operator(float(t), row) for t, row in zip(times, x, strict=True)])
        close(operator(times, x), rows)
