"""A handful of SDEs of every kind of noise, and densities to try operators on, as SymPy expressions."""

import sympy as sp
import torch

from tests.operators.oracle import Equation, T, X

A, B, C = X

EQUATIONS = [
    Equation("additive, d = 1", (-A + T,), sp.Matrix([[sp.Rational(3, 4)]]), "diagonal", separable=True),
    Equation("separable, d = 1", (A - A**3,), sp.Matrix([[sp.sqrt(1 + A**2) * (1 + T)]]), "diagonal", separable=True),
    Equation("separable, d = 2", (B * T, -A * B), sp.diag(sp.sin(A) + T, 1 + B**2), "diagonal", separable=True),
    Equation("diagonal, d = 2", (sp.sin(B), A * B - T * B), sp.diag(1 + A * B, sp.exp(A / 2) + T * B), "diagonal"),
    Equation(
        "diagonal, d = 3", (A * B - C, sp.cos(A) * T, -(C**3)), sp.diag(A * B * C, 2 + sp.sin(A + C), B**2), "diagonal"
    ),
    Equation("degenerate diagonal", (B, -A - B), sp.diag(0, 1 + A**2), "diagonal"),
    Equation("scalar, d = 2", (-A, -B * T), sp.Matrix([B**2, A * B * T]), "scalar"),
    Equation("scalar, d = 3", (-A, C - B, A * T), sp.Matrix([sp.sin(B), A * C, 1 + A**2]), "scalar"),
    Equation("general, m < d", (B, -sp.sin(A) - B), sp.Matrix([0, 1 + A * B / 2]), "general"),
    Equation("general, m = d", (B * T, -A * B), sp.Matrix([[1 + A**2, A * B], [T * B, sp.cos(A)]])),
    Equation("general, m > d", (-A, B**2 - T), sp.Matrix([[A * B, sp.cos(B), T * A], [B**2, A**3, sp.exp(A * B / 3)]])),
    Equation(
        "general, d = 3, m = 2", (B - A, C * T, A * B), sp.Matrix([[A * C, sp.sin(B)], [1, B * T], [C**2 / 2, A + B]])
    ),
    Equation("additive, m > d", (B - A**3, -B), sp.Matrix([[1, T, 2], [T**2, 1, 0]]), "additive"),
]


def log_density(d: int) -> sp.Expr:
    """A log density in d dimensions that is not Gaussian, depends on time, and is not normalised."""
    state = X[:d]
    gaussian = -sum((1 + i) * x**2 for i, x in enumerate(state)) * (1 + T**2) / 4
    return gaussian + sp.sin(state[0] * state[-1] + T) / 3 + T * state[-1] / 5


def smooth_function(d: int) -> sp.Expr:
    """A smooth function of time and d states."""
    state = X[:d]
    return sp.cos(sum(state) + T) + state[0] ** 2 * state[-1] * T + sp.exp(-(state[-1] ** 2))


def points(d: int, n: int = 4) -> torch.Tensor:
    """States of order one, (n, d)."""
    generator = torch.Generator().manual_seed(d)
    return 1.6 * torch.rand(n, d, generator=generator, dtype=torch.float64) - 0.8
