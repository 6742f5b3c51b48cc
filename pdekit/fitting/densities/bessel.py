"""The logarithm of the modified Bessel function I_nu(z), differentiable in the order and in the argument.

Two expansions share the quarter plane nu > -1, z >= 0, divided by w = sqrt(nu^2 + z^2):

- small w: the power series I_nu(z) = (z/2)^nu / Gamma(nu+1) * sum_k (z^2/4)^k / (k! (nu+1)_k), all terms positive;
- large w: Debye's expansion I_nu(z) ~ e^(w - nu asinh(nu/z)) / sqrt(2 pi w) * sum_k U_k(p) / nu^k with p = nu / w.
  Each U_k is p^k times a polynomial u_k in p^2, so that U_k(p) / nu^k = u_k(p^2) / w^k is regular at nu = 0. It also
  holds for -1 < nu < 0, where I_nu and I_-nu differ by a multiple of K_nu, a relative e^(-2w).

Both are plain torch operations, each on its own rows only, so autograd gives every derivative and no branch that was
not taken can leak a NaN. Where to divide and how many terms to sum follow from the expansions themselves.

Source: NIST Digital Library of Mathematical Functions, sections 10.25, 10.27, 10.41.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache

import torch
from torch import Tensor

from pdekit.errors import InputError

_ROUNDING = 2.0**-54
# Numbers of Debye terms. The longest sum sets where the power series ends; the shorter ones save time on rows with
# larger w, which are nearly all rows of a finely sampled record.
_DEBYE_LENGTHS = (16, 8, 4)


def log_ive(nu: Tensor, z: Tensor) -> Tensor:
    """The logarithm of the exponentially scaled modified Bessel function, log(I_nu(z) e^-z).

    Args:
        nu: Orders, nu > -1, of a shape that broadcasts to that of `z`.
        z: Arguments, z >= 0. At z = 0 the value is -inf for nu > 0, 0 for nu = 0 and +inf for nu < 0.

    Returns:
        A tensor of the shape of `z`, differentiable any number of times in both. In float64 the value and the first
        derivatives are right to about 1e-14, absolute or relative; second derivatives in `nu` to 1e-8.

    Raises:
        InputError: If an order is not above -1, or an argument is negative or not a number.

    Example:
        >>> import torch
        >>> z = torch.tensor([0.5, 40.0], dtype=torch.float64)
        >>> half = torch.tensor(0.5, dtype=torch.float64)
        >>> exact = torch.log(torch.sqrt(2 / (torch.pi * z)) * torch.sinh(z)) - z       # I_1/2 is elementary
        >>> bool((log_ive(half, z) - exact).abs().max() < 1e-13)
        True
    """
    return _by_regime(
        nu,
        z,
        lambda nu, z: _log_series(nu, z) + torch.xlogy(nu, z / 2),
        lambda nu, z, w, length: _log_debye(nu, z, w, length) - nu * torch.asinh(nu / z),
    )


def log_clifford(nu: Tensor, z: Tensor) -> Tensor:
    """The logarithm of I_nu(z) e^-z without its power law at zero, log(I_nu(z) (z/2)^-nu e^-z).

    This is the Bessel-Clifford function sum_k (z^2/4)^k / (k! Gamma(nu+k+1)), scaled. It is smooth through z = 0, which
    the transition density of a square-root process needs where the process starts on its boundary.

    Args:
        nu: Orders, nu > -1, of a shape that broadcasts to that of `z`.
        z: Arguments, z >= 0.

    Returns:
        A tensor of the shape of `z`, differentiable any number of times in both.

    Raises:
        InputError: If an order is not above -1, or an argument is negative or not a number.

    Example:
        >>> import torch
        >>> log_clifford(torch.tensor(2.0), torch.zeros(1)).exp()       # 1 / Gamma(3)
        tensor([0.5000])
    """
    return _by_regime(
        nu,
        z,
        _log_series,
        lambda nu, z, w, length: _log_debye(nu, z, w, length) - nu * torch.log((nu + w) / 2),
    )


def _by_regime(
    nu: Tensor,
    z: Tensor,
    series: Callable[[Tensor, Tensor], Tensor],
    debye: Callable[[Tensor, Tensor, Tensor, int], Tensor],
) -> Tensor:
    """Evaluate each row by the shortest expansion that is exact to rounding there."""
    if not bool((nu > -1).all()):
        raise InputError(f"The order nu must be above -1, got {nu.detach().min().item()}.")
    if not bool((z >= 0).all()):
        raise InputError(f"The argument z must be zero or positive, got {z.detach().min().item()}.")
    w = torch.sqrt(nu.detach() ** 2 + z.detach() ** 2)
    edges = torch.tensor([debye_start(length) for length in _DEBYE_LENGTHS], dtype=w.dtype, device=w.device)
    regime = torch.bucketize(w, edges, right=True)
    result = torch.empty_like(z)
    for kind in regime.unique().tolist():
        rows = regime == kind
        whole = bool(rows.all())
        nu_rows = nu if whole or nu.dim() == 0 else nu.expand_as(z)[rows]
        z_rows = z if whole else z[rows]
        if kind == 0:
            value = series(nu_rows, z_rows)
        else:
            value = debye(nu_rows, z_rows, torch.sqrt(nu_rows**2 + z_rows**2), _DEBYE_LENGTHS[kind - 1])
        if whole:
            return value
        result = result.masked_scatter(rows, value)
    return result


def _log_series(nu: Tensor, z: Tensor) -> Tensor:
    """log(I_nu(z) (z/2)^-nu) - z by the power series, nested so that no term is formed that could overflow."""
    quarter = z * z / 4
    total = torch.ones_like(z)
    for k in range(_series_length(), 0, -1):
        total = 1 + total * quarter / (k * (nu + k))
    return torch.log(total) - torch.lgamma(nu + 1) - z


def _log_debye(nu: Tensor, z: Tensor, w: Tensor, length: int) -> Tensor:
    """log(I_nu(z) e^(nu asinh(nu/z))) - z by Debye's expansion with `length` terms."""
    reciprocal = 1 / w
    square = (nu * reciprocal) ** 2
    tail = torch.zeros_like(w)
    for k in range(length - 1, 0, -1):
        tail = (tail + _horner(debye_polynomial(k), square)) * reciprocal
    # w - z, written so that it does not cancel where z is much larger than nu.
    return nu**2 / (w + z) - 0.5 * torch.log(2 * math.pi * w) + torch.log1p(tail)


def _horner(coefficients: tuple[Fraction, ...], x: Tensor) -> Tensor:
    first, *others = (torch.tensor(float(c), dtype=x.dtype, device=x.device) for c in reversed(coefficients))
    value = first
    for c in others:
        value = torch.addcmul(c, value, x)
    return value


@cache
def debye_polynomial(k: int) -> tuple[Fraction, ...]:
    """The polynomial u_k with U_k(p) = p^k u_k(p^2), U_k being the k-th coefficient of Debye's expansion.

    U_(k+1)(p) = 1/2 p^2 (1 - p^2) U_k'(p) + 1/8 int_0^p (1 - 5 t^2) U_k(t) dt, with U_0 = 1.

    Args:
        k: The index, 0 or more.

    Returns:
        The k + 1 exact coefficients of u_k, constant first.

    Example:
        >>> debye_polynomial(1)
        (Fraction(1, 8), Fraction(-5, 24))
    """
    if k == 0:
        return (Fraction(1),)
    result = [Fraction(0)] * (k + 1)
    for j, c in enumerate(debye_polynomial(k - 1)):
        power = k - 1 + 2 * j
        result[j] += c * (Fraction(power, 2) + Fraction(1, 8 * (power + 1)))
        result[j + 1] -= c * (Fraction(power, 2) + Fraction(5, 8 * (power + 3)))
    return tuple(result)


@cache
def debye_start(length: int) -> float:
    """The w from which Debye's first neglected term, at most max |u_length(p^2)| / w^length, is below rounding.

    Args:
        length: How many terms are summed.

    Example:
        >>> debye_start(16) < debye_start(8)
        True
    """
    points = [Fraction(i, 64) for i in range(65)]
    largest = max(abs(sum(c * s**j for j, c in enumerate(debye_polynomial(length)))) for s in points)
    return (float(largest) / _ROUNDING) ** (1 / length)


@cache
def _series_length() -> int:
    """How many terms the power series needs on its whole regime; nu = -1 is the slowest order."""
    quarter = debye_start(_DEBYE_LENGTHS[0]) ** 2 / 4
    term, total, k = 1.0, 1.0, 1
    while term > _ROUNDING * total or k * k < quarter:
        term *= quarter / (k * max(k - 1, 1))
        total += term
        k += 1
    return k
