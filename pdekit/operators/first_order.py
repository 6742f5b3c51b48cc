"""Public operators on vector fields: dimension-wise derivatives, the Jacobian's diagonal, the divergence."""

from collections.abc import Callable
from typing import Any

from pdekit.errors import OperatorError
from pdekit.operators.call import Call
from pdekit.operators.diagonal import diagonal_jet
from pdekit.operators.hollow import is_hollow
from pdekit.operators.methods import Compressed, Dense, Exact, Hollow, Hutchinson, Method, Within, check_method
from pdekit.operators.operator import Operator, exact_result
from pdekit.operators.result import OperatorResult
from pdekit.operators.stochastic import jacobian_samples, summarised, within

_EXACT = (Exact, Hollow, Compressed, Dense)
_DIAGONAL = (Exact, Hollow, Compressed, Dense, Hutchinson)
_TRACE = (Exact, Hollow, Compressed, Dense, Hutchinson, Within)


def dimwise_derivative(
    f: Callable[..., Any], order: int = 1, method: Method = Exact(), *, full_output: bool = False
) -> Operator:
    """The dimension-wise derivative (d^k f_i / dx_i^k)_i of a vector field.

    Args:
        f: f(x) or f(t, x) with the state last, (*batch, d) -> (*batch, d); hollow functions may return channels,
            (*batch, d, channels).
        order: k, at least 1.
        method: `Exact()`, `Hollow()`, `Compressed()`, `Dense()`; `Hutchinson()` for order 1.
        full_output: Whether calls return an `OperatorResult` with the field's own value and the plan.

    Returns:
        A function of the same arguments that returns (*batch, d).

    Raises:
        OperatorError: If the order, the method, the function or the state does not fit.

    Source: R. T. Q. Chen and D. Duvenaud, Neural networks with cheap differential operators, NeurIPS 2019.

    Example:
        >>> import torch
        >>> dimwise_derivative(lambda x: x**3, order=2)(torch.tensor([1.0, 2.0]))
        tensor([ 6., 12.])
    """
    _check_order(order)
    check_method(method, "dimwise_derivative", _DIAGONAL)
    if isinstance(method, Hutchinson) and order > 1:
        raise OperatorError("dimwise_derivative: Hutchinson() estimates first derivatives only.")

    def compute(call: Call) -> OperatorResult:
        if isinstance(method, Hutchinson):
            return summarised(jacobian_samples(call, method, trace=False))
        jet = diagonal_jet(call, order, method, trace=False)  # type: ignore[arg-type]
        return exact_result(jet.derivatives[-1], jet.output, jet.plan)

    return Operator("dimwise_derivative", f, compute, full_output)


def dimwise_jet(f: Callable[..., Any], order: int, method: Method = Exact(), *, full_output: bool = False) -> Operator:
    """f and all its dimension-wise derivatives up to an order, in one pass.

    Args:
        f: f(x) or f(t, x), (*batch, d) -> (*batch, d).
        order: K, at least 1.
        method: `Exact()`, `Hollow()` or `Dense()`.
        full_output: Whether calls return an `OperatorResult`.

    Returns:
        A function of the same arguments that returns a tuple of K + 1 tensors (*batch, d): f, D f, ..., D^K f.

    Raises:
        OperatorError: If the order, the method, the function or the state does not fit.

    Example:
        >>> import torch
        >>> [d.tolist() for d in dimwise_jet(lambda x: x**3, order=3)(torch.tensor([2.0]))]
        [[8.0], [12.0], [12.0], [6.0]]
    """
    _check_order(order)
    check_method(method, "dimwise_jet", _EXACT)

    def compute(call: Call) -> OperatorResult:
        jet = diagonal_jet(call, order, method, trace=False)  # type: ignore[arg-type]
        return exact_result((jet.output, *jet.derivatives), jet.output, jet.plan)

    return Operator("dimwise_jet", f, compute, full_output)


def jacobian_diagonal(f: Callable[..., Any], method: Method = Exact(), *, full_output: bool = False) -> Operator:
    """The diagonal (df_i / dx_i)_i of the Jacobian: the dimension-wise derivative of order 1.

    Args:
        f: f(x) or f(t, x), (*batch, d) -> (*batch, d).
        method: Any method but `Within()`.
        full_output: Whether calls return an `OperatorResult`.

    Returns:
        A function of the same arguments that returns (*batch, d).

    Example:
        >>> import torch
        >>> jacobian_diagonal(lambda x: x * x.sum(-1, keepdim=True))(torch.tensor([1.0, 2.0]))
        tensor([4., 5.])
    """
    operator = dimwise_derivative(f, 1, method, full_output=full_output)
    operator.name = "jacobian_diagonal"
    return operator


def divergence(f: Callable[..., Any], method: Method = Exact(), *, full_output: bool = False) -> Operator:
    """The divergence sum_i df_i / dx_i of a vector field, the trace of its Jacobian.

    Args:
        f: f(x) or f(t, x), (*batch, d) -> (*batch, d).
        method: How; `Hutchinson()` is stochastic, `Within()` may be.
        full_output: Whether calls return an `OperatorResult` with the field's own value, the standard error and the
            plan.

    Returns:
        A function of the same arguments that returns (*batch,).

    Raises:
        OperatorError: If the method, the function or the state does not fit.

    Example:
        >>> import torch
        >>> divergence(lambda x: x**2)(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([ 6., 14.])
    """
    check_method(method, "divergence", _TRACE)

    def exact(call: Call, how: Any) -> OperatorResult:
        jet = diagonal_jet(call, 1, how, trace=True)
        return exact_result(jet.derivatives[0], jet.output, jet.plan)

    def compute(call: Call) -> OperatorResult:
        if isinstance(method, Hutchinson):
            return summarised(jacobian_samples(call, method, trace=True))
        if isinstance(method, Within):
            directions = 1 if is_hollow(f) else call.dim
            sample = lambda options: jacobian_samples(call, options, trace=True)  # noqa: E731
            return within(method, sample, lambda: exact(call, Exact()), directions)
        return exact(call, method)

    return Operator("divergence", f, compute, full_output)


def _check_order(order: Any) -> None:
    if not isinstance(order, int) or isinstance(order, bool) or order < 1:
        raise OperatorError(f"The order of a dimension-wise derivative is a whole number, at least 1; got {order!r}.")
