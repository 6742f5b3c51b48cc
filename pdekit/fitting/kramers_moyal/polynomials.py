"""Monomials of several variables, and weighted least squares on them."""

from functools import cache

import numpy as np

# Relative to the diagonal: makes the system solvable where a polynomial is not determined, and no difference elsewhere.
_RIDGE = 1e-10


@cache
def exponents(dim: int, degree: int) -> tuple[tuple[int, ...], ...]:
    """The exponents of all monomials of total degree up to `degree`, the lowest first.

    Example:
        >>> exponents(2, 1)
        ((0, 0), (0, 1), (1, 0))
    """
    if dim == 0:
        return ((),)
    found = [(k, *rest) for k in range(degree + 1) for rest in exponents(dim - 1, degree - k)]
    return tuple(sorted(found, key=lambda powers: (sum(powers), powers)))


def monomials(x: np.ndarray, degree: int) -> np.ndarray:
    """Their values at points (n, d), (n, p)."""
    powers = np.array(exponents(x.shape[1], degree))
    out = np.ones((len(x), len(powers)))
    for j in range(x.shape[1]):
        table = x[:, j, None] ** np.arange(degree + 1)
        out *= table[:, powers[:, j]]
    return out


@cache
def product_index(dim: int, degree: int) -> np.ndarray:
    """Where the product of monomials a and b stands among those of degree up to `2 degree`, (p, p)."""
    position = {powers: k for k, powers in enumerate(exponents(dim, 2 * degree))}
    basis = exponents(dim, degree)
    add = lambda a, b: tuple(i + j for i, j in zip(a, b, strict=True))  # noqa: E731
    return np.array([[position[add(a, b)] for b in basis] for a in basis])


def solve_normal(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solves symmetric positive systems (..., p, p) for (..., p, k), scaled to a unit diagonal first."""
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(matrix, axis1=-2, axis2=-1), 1e-300))
    scaled = matrix * scale[..., :, None] * scale[..., None, :]
    scaled = scaled + _RIDGE * np.eye(matrix.shape[-1])
    return scale[..., :, None] * np.linalg.solve(scaled, scale[..., :, None] * right)


__all__ = ["exponents", "monomials", "product_index", "solve_normal"]
