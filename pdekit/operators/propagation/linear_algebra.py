"""Rules of inverses, determinants and factors of matrices that depend on the state.

Each is a finite sum in the deviation of the matrix from its value, whose m-th power starts with the m-th coefficient.
(Forward mode of torch 2.13, nested in itself, drops terms of solve, det and slogdet: see pytorch issue 198017.)
"""

from collections import namedtuple
from typing import Any

import torch

from pdekit.operators.propagation.jet import Run, Unsupported
from pdekit.operators.propagation.registry import rule
from pdekit.operators.propagation.series import linear

SignedLogarithm = namedtuple("SignedLogarithm", ["sign", "logabsdet"])


def _split(run: Run, a: Any) -> tuple[Any, Any]:
    """The value of a matrix and its deviation from it, a series that starts with 0."""
    return a.value, run.jet(torch.zeros_like(a.value), a.coefficients, a.system)


def _neumann(run: Run, first: Any, deviation: Any) -> Any:
    """(1 + D)^(-1) first = first - D first + D D first - ..., for a deviation D."""
    total = first
    for _ in range(run.order):
        total = first - torch.matmul(deviation, total)
    return total


def _spread(b: Any, a: Any) -> Any:
    """The right-hand sides b, expanded to the batch of the matrices a."""
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return b if b.shape[:-2] == batch else b.expand(*batch, *b.shape[-2:])


@rule("inv", "inverse")
def inv(run: Run, a: Any) -> Any:
    """The inverse of matrices."""
    value, deviation = _split(run, a)
    inverse = torch.linalg.inv(value)
    return _neumann(run, inverse, torch.matmul(inverse, deviation))


@rule(torch.linalg.solve)
def solve(run: Run, a: Any, b: Any, *, left: bool = True) -> Any:
    """The solution x of a x = b, or of x a = b."""
    if not left:
        return torch.linalg.solve(a.transpose(-1, -2), b.transpose(-1, -2)).transpose(-1, -2)
    if b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1]):
        return torch.linalg.solve(a, b.unsqueeze(-1)).squeeze(-1)
    if not run.owns(a):
        return linear(_spread(b, a), lambda z, lead: torch.linalg.solve(a, z))
    value, deviation = _split(run, a)
    return _neumann(run, torch.linalg.solve(value, b), torch.linalg.solve(value, deviation))


@rule(torch.linalg.solve_triangular)
def solve_triangular(run: Run, a: Any, b: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """The solution x of a x = b, or of x a = b, for a triangular matrix."""
    if not run.owns(a):
        options = {"upper": upper, "left": left, "unitriangular": unitriangular}
        return linear(_spread(b, a), lambda z, lead: torch.linalg.solve_triangular(a, z, **options))
    a = torch.triu(a, int(unitriangular)) if upper else torch.tril(a, -int(unitriangular))
    a = a + torch.eye(a.shape[-1], dtype=a.dtype, device=a.device) if unitriangular else a
    return torch.linalg.solve(a, b, left=left)


@rule("cholesky_solve")
def cholesky_solve(run: Run, b: Any, factor: Any, upper: bool = False) -> Any:
    """The solution x of L L^T x = b."""
    if not run.owns(factor):
        return linear(_spread(b, factor), lambda z, lead: torch.cholesky_solve(z, factor, upper))
    lower = factor.transpose(-1, -2) if upper else factor
    half = torch.linalg.solve_triangular(lower, b, upper=False)
    return torch.linalg.solve_triangular(lower.transpose(-1, -2), half, upper=True)


@rule(torch.linalg.cholesky)
def cholesky(run: Run, a: Any, *, upper: bool = False) -> Any:
    """The factor L of L L^T = a: L_0 (1 + G) with G + G^T + G G^T = L_0^(-1) a L_0^(-T) - 1, G lower triangular."""
    value, deviation = _split(run, a)
    lower = torch.linalg.cholesky(value)
    half = torch.linalg.solve_triangular(lower, deviation, upper=False)
    scaled = torch.linalg.solve_triangular(lower, half.transpose(-1, -2), upper=False)
    g = _lower_half(scaled)
    for _ in range(run.order - 1):
        g = _lower_half(scaled - torch.matmul(g, g.transpose(-1, -2)))
    factor = lower + torch.matmul(lower, g)
    return factor.transpose(-1, -2) if upper else factor


def _lower_half(a: Any) -> Any:
    return torch.tril(a) - 0.5 * torch.diag_embed(torch.diagonal(a, 0, -2, -1))


@rule(torch.linalg.slogdet, torch.slogdet, torch.Tensor.slogdet)
def slogdet(run: Run, a: Any) -> Any:
    """The sign and the logarithm of the determinant: log |det a_0| + tr log(1 + a_0^(-1) (a - a_0))."""
    value, deviation = _split(run, a)
    sign, logarithm = torch.linalg.slogdet(value)
    deviation = torch.linalg.solve(value, deviation)
    power, total = deviation, _trace(deviation)
    for m in range(2, run.order + 1):
        power = torch.matmul(power, deviation)
        total = total + _trace(power) * ((-1.0) ** (m + 1) / m)
    return SignedLogarithm(sign, logarithm + total)


def _trace(a: Any) -> Any:
    return torch.sum(torch.diagonal(a, 0, -2, -1), -1)


@rule("logdet")
def logdet(run: Run, a: Any) -> Any:
    """The logarithm of the determinant."""
    sign, logarithm = torch.linalg.slogdet(a)
    return torch.where(sign > 0, logarithm, float("nan"))


@rule("det")
def det(run: Run, a: Any) -> Any:
    """The determinant."""
    sign, logarithm = torch.linalg.slogdet(a)
    return sign * torch.exp(logarithm)


@rule("cholesky_inverse", "householder_product", torch.linalg.tensorsolve, "logcumsumexp")
def refused(run: Run, *args: Any, **kwargs: Any) -> Any:
    """Refused: nested forward mode of torch is wrong, or inexact, for these."""
    raise Unsupported("a function whose second forward derivative torch gets wrong")


@rule("prod")
def prod(run: Run, x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The product over all entries or an axis; also where one of them is 0."""
    x = x if dtype is None else x.to(dtype)
    if dim is None:
        x, dim = x.reshape(-1), 0
    total, *factors = torch.unbind(x, dim)
    for factor in factors:
        total = total * factor
    return total.unsqueeze(dim) if keepdim else total


@rule("cumprod")
def cumprod(run: Run, x: Any, dim: int, dtype: Any = None) -> Any:
    """Running products; also where an entry is 0."""
    products: list[Any] = []
    for factor in torch.unbind(x if dtype is None else x.to(dtype), dim):
        products.append(products[-1] * factor if products else factor)
    return torch.stack(products, dim)
