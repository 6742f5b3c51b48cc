"""What every operator must give, by SymPy and from the definitions: no formula here is expanded by hand.

Each function takes and returns SymPy expressions. `torch_function` compiles an expression into the torch function that
an operator is tried on, and `at` evaluates one in 30 digits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import mpmath
import sympy as sp
import torch
from torch import Tensor

from pdekit.sde import SDE

T = sp.Symbol("t", real=True)
X = sp.symbols("x1:4", real=True)
DIGITS = 30


def dimwise(f: Sequence[Any], k: int) -> list[Any]:
    return [sp.diff(f_i, x, k) for f_i, x in zip(f, X, strict=False)]


def divergence(f: Sequence[Any]) -> Any:
    return sum(dimwise(f, 1))


def laplacian(u: Any, d: int) -> Any:
    return sum(sp.diff(u, x, 2) for x in X[:d])


def second_order(u: Any, b: Sequence[Any], c: sp.Matrix, potential: Any = 0) -> Any:
    d = len(b)
    hessian = sum(c[i, j] * sp.diff(u, X[i], X[j]) for i in range(d) for j in range(d))
    return sum(b[i] * sp.diff(u, X[i]) for i in range(d)) + hessian + potential * u


@dataclass(frozen=True)
class Equation:
    """dX = f dt + G dW with G of shape (d, m), by expressions in X[:d] and T."""

    name: str
    f: tuple[Any, ...]
    g: sp.Matrix = field(hash=False)
    noise_type: str = "general"
    separable: bool = False

    @property
    def dim(self) -> int:
        return len(self.f)

    def sde(self, sde_type: str) -> SDE:
        diagonal = self.noise_type == "diagonal"
        g = [self.g[i, i] for i in range(self.dim)] if diagonal else self.g.tolist()
        options: dict[str, Any] = {"noise_type": self.noise_type, "sde_type": sde_type, "separable": self.separable}
        if not diagonal:
            options["noise_dim"] = self.g.shape[1]
        return SDE(torch_function(self.f), torch_function(g), dim=self.dim, **options)

    @lru_cache  # noqa: B019 - a handful of equations, for one test run
    def ito_drift(self, sde_type: str) -> list[Any]:
        if sde_type == "ito":
            return list(self.f)
        d, m = self.g.shape
        correction = [
            sum(self.g[j, k] * sp.diff(self.g[i, k], X[j]) for j in range(d) for k in range(m)) / 2 for i in range(d)
        ]
        return [a + b for a, b in zip(self.f, correction, strict=True)]

    @property
    def tensor(self) -> sp.Matrix:
        return self.g * self.g.T / 2

    def generator(self, u: Any, sde_type: str) -> Any:
        return second_order(u, self.ito_drift(sde_type), self.tensor)

    def fokker_planck(self, p: Any, sde_type: str) -> Any:
        drift, tensor, d = self.ito_drift(sde_type), self.tensor, self.dim
        return -sum(sp.diff(drift[i] * p, X[i]) for i in range(d)) + sum(
            sp.diff(tensor[i, j] * p, X[i], X[j]) for i in range(d) for j in range(d)
        )

    def current(self, p: Any, sde_type: str) -> list[Any]:
        drift, tensor, d = self.ito_drift(sde_type), self.tensor, self.dim
        return [drift[i] * p - sum(sp.diff(tensor[i, j] * p, X[j]) for j in range(d)) for i in range(d)]

    def log_fokker_planck(self, log_p: Any, sde_type: str) -> Any:
        return self.fokker_planck(sp.exp(log_p), sde_type) / sp.exp(log_p)

    def residual(self, log_p: Any, sde_type: str) -> Any:
        return sp.diff(log_p, T) - self.log_fokker_planck(log_p, sde_type)

    def flow(self, log_p: Any, sde_type: str) -> list[Any]:
        return [j / sp.exp(log_p) for j in self.current(sp.exp(log_p), sde_type)]


def at(expressions: Any, t: float, points: Tensor) -> Tensor:
    """Expressions (one, or a list of them) at points (n, d) and a time, rounded to float64: (n,) or (n, k)."""
    single = not isinstance(expressions, list | tuple)
    state = X[: points.shape[-1]]
    with mpmath.workdps(DIGITS):
        compiled = sp.lambdify((T, *state), [expressions] if single else list(expressions), "mpmath", cse=True)
        rows = [[float(v) for v in compiled(mpmath.mpf(t), *map(mpmath.mpf, row))] for row in points.tolist()]
    values = torch.tensor(rows, dtype=torch.float64)
    return values.squeeze(-1) if single else values


def torch_function(expressions: Any) -> Callable[..., Any]:
    """f(t, x) for an expression, a list of them or a matrix as a list of lists; shapes (*batch,), (*batch, k), ..."""
    compiled = sp.lambdify((T, *X), expressions, torch)

    def assembled(z: Any, like: Tensor) -> Any:
        if isinstance(z, list | tuple):
            parts = [assembled(part, like) for part in z]
            return torch.stack(parts, -1 if not isinstance(z[0], list) else -2)
        return z + torch.zeros_like(like)

    def function(t: Any, x: Any) -> Any:
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device) if isinstance(t, float) else t
        t = t.squeeze(-1) if t.ndim else t
        states = torch.unbind(x, -1)
        return assembled(compiled(t, *states, *[0] * (len(X) - len(states))), states[0])

    return function


def close(actual: Tensor, expected: Tensor, eps: float = torch.finfo(torch.float64).eps, terms: float = 500.0) -> None:
    """Equal up to rounding: `terms` eps of the largest value, for sums of some ten products of numbers of order one."""
    actual, expected = actual.detach(), expected.detach()
    scale = 1.0 + float(expected.abs().max())
    torch.testing.assert_close(actual, expected, rtol=0, atol=terms * eps * scale)
