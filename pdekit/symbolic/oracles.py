"""What every operator gives for SymPy expressions, from the definitions alone: the truth that numbers are held against.

Nothing here is shared with the code that it certifies: no formula is expanded by hand, no coefficient converted by
`convention.py`, nothing compiled to torch. `evaluate` turns the results into numbers of any precision.

Sums over dimensions are not simplified: terms that cancel stay apart, because code that adds them in floating point is
off by their rounding. `.doit()` adds them up.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import sympy
from sympy import Expr, Function, ImmutableMatrix, MatrixBase, Symbol, exp

from pdekit.errors import ModelError
from pdekit.sde import Convention
from pdekit.symbolic.model import SymbolicSDE

Variables = Sequence[Symbol]


def dimwise_derivative(f: Sequence[Expr], state: Variables, order: int = 1) -> tuple[Expr, ...]:
    """The k-th derivative of each f_i by its own x_i.

    Example:
        >>> x, y = sympy.symbols("x y")
        >>> dimwise_derivative([x**3 * y, x], [x, y], order=2)
        (6*x*y, 0)
    """
    return tuple(sympy.diff(f_i, x_i, order) for f_i, x_i in zip(f, state, strict=True))


def divergence(f: Sequence[Expr], state: Variables) -> Expr:
    """sum_i d f_i / d x_i."""
    return _sum(dimwise_derivative(f, state))


def laplacian(u: Expr, state: Variables) -> Expr:
    """sum_i d^2 u / d x_i^2."""
    return _sum(sympy.diff(u, x, 2) for x in state)


def biharmonic(u: Expr, state: Variables) -> Expr:
    """The Laplacian of the Laplacian, sum_ij d_i^2 d_j^2 u."""
    return _sum(sympy.diff(u, a, 2, b, 2) for a, b in product(state, repeat=2))


def _sum(terms: Iterable[Expr]) -> Expr:
    return sympy.Add(*(term for term in terms if term != 0), evaluate=False)


def second_order(
    u: Expr, state: Variables, *, drift: Sequence[Expr], tensor: MatrixBase, potential: Expr = sympy.S.Zero
) -> Expr:
    """b . grad u + sum_ij C_ij d_i d_j u + c u."""
    first = (b * sympy.diff(u, x) for b, x in zip(drift, state, strict=True))
    second = (tensor[i, j] * sympy.diff(u, a, b) for (i, a), (j, b) in product(enumerate(state), repeat=2))
    return _sum([*first, *second, potential * u])


@dataclass(frozen=True)
class Equation:
    """dX = f dt + G dW with all its parameters fixed: the operators that belong to it.

    Args:
        state: The d state symbols.
        time: The time symbol.
        drift: The d expressions of f.
        diffusion: G, (d, m).
        convention: `"ito"` or `"stratonovich"`.

    Example:
        >>> x, t = sympy.symbols("x t")
        >>> eq = Equation((x,), t, (-x,), sympy.ImmutableMatrix([[x]]), "stratonovich")
        >>> eq.ito_drift()[0].doit()
        -x/2
        >>> sympy.expand(eq.fokker_planck(x**2).doit())
        15*x**2/2
    """

    state: tuple[Symbol, ...]
    time: Symbol
    drift: tuple[Expr, ...]
    diffusion: ImmutableMatrix
    convention: Convention = "ito"

    def __post_init__(self) -> None:
        if len(self.drift) != len(self.state) or self.diffusion.rows != len(self.state):
            raise ModelError(
                f"An equation of {len(self.state)} states needs as many drifts and rows of G; got {len(self.drift)} "
                f"and {self.diffusion.rows}."
            )

    @classmethod
    def of(cls, model: SymbolicSDE) -> "Equation":
        """The equation that a model states; its parameters stay symbols."""
        return cls(model.state, model.time, tuple(model.drift), model.diffusion_matrix, model.convention)

    @property
    def tensor(self) -> MatrixBase:
        """D = G G^T / 2."""
        return self.diffusion * self.diffusion.T / 2

    def ito_drift(self) -> tuple[Expr, ...]:
        """f_i, plus 1/2 sum_jk G_jk d_j G_ik for a Stratonovich equation."""
        if self.convention == "ito":
            return self.drift
        rows, columns = self.diffusion.shape
        correction = [
            [self.diffusion[j, k] * sympy.diff(self.diffusion[i, k], self.state[j]) / 2 for j, k in pairs]
            for i, pairs in ((i, tuple(product(range(rows), range(columns)))) for i in range(rows))
        ]
        return tuple(_sum([f, *terms]) for f, terms in zip(self.drift, correction, strict=True))

    def generator(self, u: Expr) -> Expr:
        """L u = f . grad u + sum_ij D_ij d_i d_j u."""
        return second_order(u, self.state, drift=self.ito_drift(), tensor=self.tensor)

    def fokker_planck(self, p: Expr) -> Expr:
        """L* p = -sum_i d_i (f_i p) + sum_ij d_i d_j (D_ij p)."""
        drift, tensor, state = self.ito_drift(), self.tensor, self.state
        transport = (-sympy.diff(f * p, x) for f, x in zip(drift, state, strict=True))
        spread = (sympy.diff(tensor[i, j] * p, a, b) for (i, a), (j, b) in product(enumerate(state), repeat=2))
        return _sum([*transport, *spread])

    def current(self, p: Expr) -> tuple[Expr, ...]:
        """J_i = f_i p - sum_j d_j (D_ij p)."""
        tensor = self.tensor
        return tuple(
            _sum([f * p, *(-sympy.diff(tensor[i, j] * p, x) for j, x in enumerate(self.state))])
            for i, f in enumerate(self.ito_drift())
        )

    def log_fokker_planck(self, log_p: Expr) -> Expr:
        """(L* p) / p for p = exp(log_p)."""
        return self._over_density(self.fokker_planck, log_p)

    def residual(self, log_p: Expr) -> Expr:
        """d_t log p - (L* p) / p."""
        terms = sympy.Add.make_args(self.log_fokker_planck(log_p))
        return _sum([sympy.diff(log_p, self.time), *(-term for term in terms)])

    def probability_flow(self, log_p: Expr) -> tuple[Expr, ...]:
        """J / p for p = exp(log_p)."""
        return tuple(
            self._over_density(lambda p, i=i: self.current(p)[i], log_p)  # type: ignore[misc]
            for i in range(len(self.state))
        )

    def _over_density(self, operator: Any, log_p: Expr) -> Expr:
        # With an unknown function in the exponent SymPy cancels exp(l) from every term, whose value may underflow;
        # the function itself comes in last, term by term.
        unknown = Function("log_p")(*self.state, self.time)
        parts = (part for term in sympy.Add.make_args(operator(exp(unknown))) for part in sympy.Add.make_args(term))
        ratios = (part / exp(unknown) for part in parts)
        free = (r if not r.has(exp(unknown)) else sympy.expand(r) for r in ratios)
        return _sum(r.subs(unknown, log_p).doit() for ratio in free for r in sympy.Add.make_args(ratio))


__all__ = [
    "Equation",
    "biharmonic",
    "dimwise_derivative",
    "divergence",
    "laplacian",
    "second_order",
]
