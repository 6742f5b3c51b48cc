"""What each operator must give: what it is applied to, and its truth by SymPy.

A specification is handed to `check_operator` together with the operator that claims to meet it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import sympy
import torch
from sympy import Expr, ImmutableMatrix

from pdekit.errors import InputError
from pdekit.symbolic import oracles, write_expression
from pdekit.symbolic.evaluation import Evaluation, evaluate
from pdekit.testing.equations import Coefficient, SymbolicEquation
from pdekit.testing.functions import TIME, SymbolicFunction, state_symbols

Form = Literal["columns", "layered", "network", "hollow"]
FORMS: tuple[Form, ...] = ("columns", "layered", "network", "hollow")


@dataclass(frozen=True)
class Coefficients:
    """b, C and c of a general second-order operator b . grad u + tr(C hess u) + c u, as formulas.

    Args:
        drift: The d expressions of b.
        factor: S with C = S S^T, (d, m), or None.
        tensor: C itself, symmetric or not, or None.
        potential: c.
    """

    drift: tuple[Expr, ...]
    factor: ImmutableMatrix | None = None
    tensor: ImmutableMatrix | None = None
    potential: Expr = sympy.S.Zero

    @property
    def matrix(self) -> ImmutableMatrix:
        """C."""
        return self.tensor if self.factor is None else self.factor * self.factor.T  # type: ignore[return-value]

    def keywords(self, dtype: torch.dtype, device: Any = "cpu") -> dict[str, Any]:
        """Those of `second_order_operator`: constant matrices as tensors, all else as functions (t, x)."""
        equation = oracles.Equation(state_symbols(len(self.drift)), TIME, self.drift, ImmutableMatrix(self.matrix))
        entries = {"drift": list(self.drift), "factor": self.factor, "tensor": self.tensor, "potential": self.potential}
        given = {name: e for name, e in entries.items() if e is not None}
        constant = {name for name in given if name in ("factor", "tensor") and not given[name].free_symbols}
        return {
            name: torch.tensor(e.tolist(), dtype=torch.float64).to(device, dtype)
            if name in constant
            else Coefficient(e, equation)
            for name, e in given.items()
        }

    def __repr__(self) -> str:
        entries = {
            "drift": [write_expression(b) for b in self.drift],
            "factor": _listed(self.factor),
            "tensor": _listed(self.tensor),
            "potential": write_expression(self.potential),
        }
        return f"testing.coefficients({', '.join(f'{k}={v!r}' for k, v in entries.items() if v is not None)})"


def _listed(matrix: ImmutableMatrix | None) -> list[list[str]] | None:
    return None if matrix is None else [[write_expression(e) for e in matrix.row(i)] for i in range(matrix.rows)]


@dataclass(frozen=True, eq=False)
class Trial:
    """One thing to try an operator on.

    Args:
        function: What it is applied to; None for operators of an equation alone.
        equation: The SDE, for operators that have one.
        coefficients: For the general second-order operator.
        x: Points, (n, d), exact in the dtype that is tried.
        t: The time.
    """

    function: SymbolicFunction | None = None
    equation: SymbolicEquation | None = None
    coefficients: Coefficients | None = None
    x: np.ndarray = field(default_factory=lambda: np.zeros((1, 1)))
    t: float = 0.0

    def __post_init__(self) -> None:
        x = np.atleast_2d(np.asarray(self.x, dtype=np.float64))
        if x.ndim != 2 or x.size == 0 or not np.isfinite(x).all() or not np.isfinite(self.t):
            raise InputError(
                f"A trial needs points x (n, d) and a time of finite numbers, got x={self.x!r}, t={self.t!r}."
            )
        object.__setattr__(self, "x", x)
        for part in (self.function, self.equation):
            if part is not None and part.dim != x.shape[1]:
                raise InputError(f"The points have {x.shape[1]} states, but {part!r} has {part.dim}.")

    @property
    def dim(self) -> int:
        """The number of states."""
        return self.x.shape[1]

    def __repr__(self) -> str:
        given = {"function": self.function, "equation": self.equation, "coefficients": self.coefficients}
        parts = [f"{name}={part!r}" for name, part in given.items() if part is not None]
        return f"testing.Trial({', '.join([*parts, f'x={self.x.tolist()}', f't={self.t!r}'])})"


@dataclass(frozen=True)
class Specification:
    """An operator by its definition.

    Args:
        name: The operator's name.
        truth: Trial -> the expressions of all entries of the result at one point, the last axis of the result fastest.
        shape: Trial -> the shape of the result for one point.
        applies: (operator, trial, torch form of the function) -> a function of the state, or of time and state.
        scalar: Whether it is applied to scalar functions; None if it takes no function.
        equation: Whether it belongs to an equation.
        density: Whether the function is a log density.
        general: Whether it takes coefficients.
        depth: How deep the formulas are that it is tried on.
        timed: Whether results are functions of (t, x) whatever the function takes.
    """

    name: str
    truth: Callable[[Trial], Sequence[Expr]]
    shape: Callable[[Trial], tuple[int, ...]]
    applies: Callable[[Any, Trial, Any], Callable[..., Any]]
    scalar: bool | None = False
    equation: bool = False
    density: bool = False
    general: bool = False
    depth: int = 3
    timed: bool = False

    @property
    def forms(self) -> tuple[Form, ...]:
        """The forms of functions that it makes sense for."""
        if self.scalar is None or self.density:
            return ("columns",)
        return ("columns", "layered", "network") if self.scalar else FORMS

    def evaluate(self, trial: Trial, digits: int = 30) -> Evaluation:
        """The truth at the points of a trial."""
        expressions = list(self.truth(trial))
        points = np.column_stack([trial.x, np.full(len(trial.x), trial.t)])
        return evaluate(expressions, (*state_symbols(trial.dim), TIME), points, digits=digits)

    def result(self, operator: Any, trial: Trial, dtype: torch.dtype, device: Any = "cpu") -> Any:
        """What the operator under test gives for a trial."""
        return self.prepared(operator, trial, dtype, device)(*self.arguments(trial, dtype, device))

    def prepared(self, operator: Any, trial: Trial, dtype: torch.dtype, device: Any = "cpu") -> Callable[..., Any]:
        """The operator applied to the functions of a trial."""
        module = None if trial.function is None else trial.function.module().to(device, dtype)
        if trial.coefficients is not None:
            operator = partial(operator, **trial.coefficients.keywords(dtype, device))
        return self.applies(operator, trial, module)

    def arguments(self, trial: Trial, dtype: torch.dtype, device: Any = "cpu") -> tuple[Any, ...]:
        """(t, x) or (x) of a trial."""
        x = torch.tensor(trial.x, dtype=dtype, device=device)
        takes_time = self.timed or (trial.function is not None and trial.function.timed)
        return (torch.tensor(trial.t, dtype=dtype, device=device), x) if takes_time else (x,)


def _of(trial: Trial) -> tuple[Sequence[Expr], tuple[Any, ...]]:
    if trial.function is None:
        raise InputError("This specification needs a trial with a function.")
    return trial.function.outputs, trial.function.state


def _equation(trial: Trial) -> oracles.Equation:
    if trial.equation is None:
        raise InputError("This specification needs a trial with an equation.")
    return trial.equation.equation


def _plain(operator: Any, trial: Trial, f: Any) -> Callable[..., Any]:
    return operator(f)


def _with_sde(operator: Any, trial: Trial, f: Any) -> Callable[..., Any]:
    return operator(f, trial.equation.sde)  # type: ignore[union-attr]


def _jet(trial: Trial, order: int) -> list[Expr]:
    f, state = _of(trial)
    columns = [oracles.dimwise_derivative(f, state, k) if k else f for k in range(order + 1)]
    return [column[i] for i in range(len(state)) for column in columns]


def _second_order(trial: Trial) -> list[Expr]:
    (u,), state = _of(trial)
    c = trial.coefficients
    if c is None:
        raise InputError("second_order_operator needs a trial with coefficients.")
    return [oracles.second_order(u, state, drift=c.drift, tensor=c.matrix, potential=c.potential)]


_SCALAR: Callable[[Trial], tuple[int, ...]] = lambda trial: ()  # noqa: E731
_VECTOR: Callable[[Trial], tuple[int, ...]] = lambda trial: (trial.dim,)  # noqa: E731

divergence = Specification("divergence", lambda trial: [oracles.divergence(*_of(trial))], _SCALAR, _plain)
jacobian_diagonal = Specification(
    "jacobian_diagonal", lambda trial: oracles.dimwise_derivative(*_of(trial)), _VECTOR, _plain
)
laplacian = Specification(
    "laplacian", lambda trial: [oracles.laplacian(_of(trial)[0][0], _of(trial)[1])], _SCALAR, _plain, scalar=True
)
vector_laplacian = Specification(
    "vector_laplacian",
    lambda trial: [oracles.laplacian(u, _of(trial)[1]) for u in _of(trial)[0]],
    _VECTOR,
    _plain,
)
biharmonic = Specification(
    "biharmonic",
    lambda trial: [oracles.biharmonic(_of(trial)[0][0], _of(trial)[1])],
    _SCALAR,
    _plain,
    scalar=True,
    depth=2,
)
second_order_operator = Specification(
    "second_order_operator",
    _second_order,
    _SCALAR,
    _plain,
    scalar=True,
    general=True,
    depth=2,
    timed=True,
)
generator = Specification(
    "generator",
    lambda trial: [_equation(trial).generator(_of(trial)[0][0])],
    _SCALAR,
    _with_sde,
    scalar=True,
    equation=True,
    depth=2,
    timed=True,
)
fokker_planck_operator = replace(
    generator,
    name="fokker_planck_operator",
    truth=lambda trial: [_equation(trial).fokker_planck(_of(trial)[0][0])],
)
log_fokker_planck_operator = replace(
    generator,
    name="log_fokker_planck_operator",
    truth=lambda trial: [_equation(trial).log_fokker_planck(_of(trial)[0][0])],
    density=True,
)
fokker_planck_residual = replace(
    log_fokker_planck_operator,
    name="fokker_planck_residual",
    truth=lambda trial: [_equation(trial).residual(_of(trial)[0][0])],
)
probability_current = replace(
    generator,
    name="probability_current",
    truth=lambda trial: _equation(trial).current(_of(trial)[0][0]),
    shape=_VECTOR,
)
probability_flow = replace(
    log_fokker_planck_operator,
    name="probability_flow",
    truth=lambda trial: _equation(trial).probability_flow(_of(trial)[0][0]),
    shape=_VECTOR,
)
ito_drift = Specification(
    "ito_drift",
    lambda trial: _equation(trial).ito_drift(),
    _VECTOR,
    lambda operator, trial, f: operator(trial.equation.sde),  # type: ignore[union-attr]
    scalar=None,
    equation=True,
    timed=True,
)


def dimwise_derivative(order: int = 1) -> Specification:
    """(d^k f_i / d x_i^k)_i."""
    _check_order(order)
    return Specification(
        f"dimwise_derivative(order={order})",
        lambda trial: oracles.dimwise_derivative(*_of(trial), order),
        _VECTOR,
        _plain,
        depth=3 if order < 3 else 2,
    )


def dimwise_jet(order: int) -> Specification:
    """f and its dimension-wise derivatives up to an order."""
    _check_order(order)
    return Specification(
        f"dimwise_jet(order={order})",
        partial(_jet, order=order),
        lambda trial: (trial.dim, order + 1),
        _plain,
        depth=3 if order < 3 else 2,
    )


def _check_order(order: Any) -> None:
    if not isinstance(order, int) or order < 1:
        raise InputError(f"The order of a derivative must be an integer from 1, got {order!r}.")


def all_specifications() -> tuple[Specification, ...]:
    """One specification of every operator that pdekit has."""
    return (
        divergence,
        jacobian_diagonal,
        dimwise_derivative(2),
        dimwise_jet(6),
        laplacian,
        vector_laplacian,
        biharmonic,
        second_order_operator,
        generator,
        fokker_planck_operator,
        log_fokker_planck_operator,
        fokker_planck_residual,
        probability_current,
        probability_flow,
        ito_drift,
    )


__all__ = [
    "FORMS",
    "Coefficients",
    "Form",
    "Specification",
    "Trial",
    "all_specifications",
    "biharmonic",
    "dimwise_derivative",
    "dimwise_jet",
    "divergence",
    "fokker_planck_operator",
    "fokker_planck_residual",
    "generator",
    "ito_drift",
    "jacobian_diagonal",
    "laplacian",
    "log_fokker_planck_operator",
    "probability_current",
    "probability_flow",
    "second_order_operator",
    "vector_laplacian",
]
