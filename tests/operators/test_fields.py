"""Operators on scalar and vector fields against SymPy, in one to three dimensions."""

import pytest
import sympy as sp
import torch

from pdekit.operators import (
    Dense,
    biharmonic,
    dimwise_derivative,
    dimwise_jet,
    divergence,
    jacobian_diagonal,
    laplacian,
    second_order_operator,
)
from tests.operators import oracle
from tests.operators.equations import points, smooth_function
from tests.operators.oracle import T, X, at, close, torch_function

TIME = 0.6
DIMS = [1, 2, 3]


def vector_field(d):
    return [sp.sin(X[i] * X[(i + 1) % d]) + T * X[i] ** 5 + sp.exp(X[i] * X[0] / 2) for i in range(d)]


@pytest.mark.parametrize("d", DIMS)
def test_dimwise_derivatives_of_any_order(d):
    f, x = vector_field(d), points(d)
    expected = [at(oracle.dimwise(f, k) if k else f, TIME, x) for k in range(6)]
    for actual, exact in zip(dimwise_jet(torch_function(f), order=5)(TIME, x), expected, strict=True):
        close(actual, exact)
    for k in range(1, 6):
        close(dimwise_derivative(torch_function(f), order=k)(TIME, x), expected[k])
    close(jacobian_diagonal(torch_function(f))(TIME, x), expected[1])


@pytest.mark.parametrize("d", DIMS)
def test_divergence_gives_the_field_for_free(d):
    f, x = vector_field(d), points(d)
    result = divergence(torch_function(f), full_output=True)(TIME, x)
    close(result.value, at(oracle.divergence(f), TIME, x))
    close(result.output, at(f, TIME, x))
    assert result.stderr is None
    assert result.plan.exact


@pytest.mark.parametrize("d", DIMS)
def test_laplacian_and_biharmonic_of_scalars_and_vectors(d):
    u, x = smooth_function(d), points(d)
    exact = oracle.laplacian(u, d)
    close(laplacian(torch_function(u))(TIME, x), at(exact, TIME, x))
    close(biharmonic(torch_function(u))(TIME, x), at(oracle.laplacian(exact, d), TIME, x))
    result = laplacian(torch_function([u, u**2]), full_output=True)(TIME, x)
    close(result.value, at([exact, oracle.laplacian(u**2, d)], TIME, x))
    close(result.output, at([u, u**2], TIME, x))


COEFFICIENTS = {
    "indefinite tensor": sp.Matrix([[1, 3, 0], [3, -2, 1], [0, 1, 0]]),
    "tensor without symmetry": sp.Matrix([[1, 4, 0], [-2, 0, 1], [3, 1, -1]]),
    "tensor of the state": sp.Matrix([[X[0], 1, T], [1, -1, X[0] ** 2], [T, X[0] ** 2, sp.sin(X[0])]]),
}


@pytest.mark.parametrize("name", COEFFICIENTS)
@pytest.mark.parametrize("d", DIMS)
def test_any_second_order_operator(name, d):
    c, u, x = COEFFICIENTS[name][:d, :d], smooth_function(d), points(d)
    b = [sp.cos(X[i]) - T for i in range(d)]
    potential = X[0] ** 2 - 1
    u_torch, tensor = torch_function(u), torch_function(c.tolist())
    if not c.free_symbols:
        tensor = torch.tensor(c.tolist(), dtype=torch.float64)
    operator = second_order_operator(
        u_torch, drift=torch_function(b), tensor=tensor, potential=torch_function(potential), full_output=True
    )
    result = operator(TIME, x)
    close(result.value, at(oracle.second_order(u, b, c, potential), TIME, x))
    close(result.output, at(u, TIME, x))


@pytest.mark.parametrize("columns", [1, 2, 4])
@pytest.mark.parametrize("varies", [False, True])
def test_diffusion_by_its_factor(columns, varies):
    x = points(3)
    s = sp.Matrix(3, columns, lambda i, k: sp.Rational(i + 1, k + 2) - k + (X[(i + k) % 3] * T if varies else 0))
    u = smooth_function(3)
    factor = torch_function(s.tolist()) if varies else torch.tensor(s.tolist(), dtype=torch.float64)
    for method in (Dense(), Dense(chunk_size=1)):
        operator = second_order_operator(torch_function(u), factor=factor, method=method)
        close(operator(TIME, x), at(oracle.second_order(u, [0, 0, 0], s * s.T), TIME, x))


def test_potential_of_a_vector_and_first_order_alone():
    x = points(2)
    us, b = [smooth_function(2), X[0] * X[1]], [X[1], -X[0]]
    operator = second_order_operator(torch_function(us), drift=torch_function(b), potential=torch_function(X[0]))
    expected = [oracle.second_order(u, b, sp.zeros(2, 2), X[0]) for u in us]
    close(operator(TIME, x), at(expected, TIME, x))
