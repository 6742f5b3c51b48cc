"""Public operators of second and fourth order on scalar and vector-valued functions."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pdekit.errors import OperatorError
from pdekit.operators.call import Call
from pdekit.operators.methods import Compressed, Dense, Exact, Hutchinson, Method, Within, check_method
from pdekit.operators.operator import Operator, exact_result
from pdekit.operators.result import OperatorResult, Plan
from pdekit.operators.second import Spread, second_order
from pdekit.operators.stochastic import Samples, fourth_order_samples, second_order_samples, summarised, within

_METHODS = (Exact, Compressed, Dense, Hutchinson, Within)
Coefficients = Tensor | Callable[..., Tensor] | None


def laplacian(u: Callable[..., Any], method: Method = Exact(), *, full_output: bool = False) -> Operator:
    """The Laplacian sum_i d^2 u / dx_i^2 of a scalar function, or of each component of a vector-valued one.

    Args:
        u: u(x) or u(t, x), (*batch, d) -> (*batch,) or (*batch, k).
        method: `Exact()`, `Compressed()`, `Dense()`, `Hutchinson()` or `Within()`.
        full_output: Whether calls return an `OperatorResult` with u itself and the plan.

    Returns:
        A function of the same arguments that returns what u returns.

    Raises:
        OperatorError: If the method, the function or the state does not fit, or an activation has no second derivative.

    Source: R. Li et al., A computational framework for neural network-based variational Monte Carlo with forward
    Laplacian, 2024.

    Example:
        >>> import torch
        >>> laplacian(lambda x: (x**2).sum(-1))(torch.zeros(2, 3))
        tensor([6., 6.])
    """
    check_method(method, "laplacian", _METHODS)
    return Operator("laplacian", u, lambda call: apply_second_order(call, Spread(), None, method), full_output)


def second_order_operator(
    u: Callable[..., Any],
    *,
    drift: Coefficients = None,
    factor: Coefficients = None,
    tensor: Coefficients = None,
    potential: Coefficients = None,
    method: Method = Exact(),
    full_output: bool = False,
) -> Operator:
    """b.grad u + tr(C hess u) + c u in one pass, for C = S S^T given by a factor S, or any C.

    Each coefficient is a tensor or a function of the same arguments as u.

    Args:
        u: u(x) or u(t, x), (*batch, d) -> (*batch,) or (*batch, k).
        drift: b, (d,) or (*batch, d); None for none.
        factor: S, (d, m) or (*batch, d, m), so that C = S S^T.
        tensor: C itself, (d, d) or (*batch, d, d), indefinite too; only its symmetric part matters.
        potential: c, a number, () or (*batch,).
        method: `Exact()`, `Compressed()`, `Dense()`, `Hutchinson()` or `Within()`.
        full_output: Whether calls return an `OperatorResult`.

    Returns:
        A function of the same arguments that returns what u returns. Without factor and tensor there is no term of
        second order.

    Raises:
        OperatorError: If both factor and tensor are given, or a shape does not fit.

    Example:
        The heat operator with decay, u'' - u / 2:

        >>> import torch
        >>> u = lambda x: torch.sin(x).sum(-1)
        >>> operator = second_order_operator(u, factor=torch.eye(1), potential=torch.tensor(-0.5))
        >>> bool(torch.allclose(operator(torch.ones(1)), -1.5 * torch.sin(torch.ones(()))))
        True
    """
    check_method(method, "second_order_operator", _METHODS)
    if factor is not None and tensor is not None:
        raise OperatorError("second_order_operator: give the diffusion by its factor S or as the tensor C, not both.")

    def compute(call: Call) -> OperatorResult:
        b = coefficient(call, drift, "drift", ((call.dim,), (*call.batch, call.dim)))
        c = coefficient(call, potential, "potential", ((), tuple(call.batch)))
        spread = _spread(call, factor, tensor)
        b = None if b is None else b.expand(call.x.shape)
        return apply_second_order(call, spread, b, method, c)

    return Operator("second_order_operator", u, compute, full_output)


def biharmonic(u: Callable[..., Any], method: Method = Exact(), *, full_output: bool = False) -> Operator:
    """The biharmonic operator sum_ij d^4 u / dx_i^2 dx_j^2, the Laplacian of the Laplacian.

    Args:
        u: u(x) or u(t, x), (*batch, d) -> (*batch,) or (*batch, k).
        method: `Exact()`, `Compressed()`, `Dense()` or `Hutchinson(distribution="gaussian")`.
        full_output: Whether calls return an `OperatorResult`.

    Returns:
        A function of the same arguments that returns what u returns. Exact values take of the order of R^2 directions,
        R being d or the width of a narrower linear first layer.

    Raises:
        OperatorError: If the method, the function or the state does not fit.

    Example:
        >>> import torch
        >>> biharmonic(lambda x: (x**4).sum(-1))(torch.ones(3))
        tensor(72.)
    """
    check_method(method, "biharmonic", (Exact, Compressed, Dense, Hutchinson))

    def compute(call: Call) -> OperatorResult:
        if isinstance(method, Hutchinson):
            return summarised(fourth_order_samples(call, method))
        outer = second_order(call.on(laplacian(call.function, method)), Spread(), None, method)  # type: ignore[arg-type]
        plan = Plan(outer.plan.route, f"the Laplacian of the Laplacian: {outer.plan.reason}", outer.plan.directions**2)
        return exact_result(outer.value, call.at(call.x), plan)

    return Operator("biharmonic", u, compute, full_output)


def apply_second_order(call: Call, spread: Spread, drift: Any, method: Method, potential: Any = None) -> OperatorResult:
    """b.grad u + tr(C hess u) + c u by any method; a tolerance is on the whole of it."""

    def completed(value: Any, output: Any) -> Any:
        if potential is None:
            return value
        wide = potential.unsqueeze(-1) if potential.ndim and output.ndim > len(call.batch) else potential
        return value + wide * output

    def exact(how: Any) -> OperatorResult:
        result = second_order(call, spread, drift, how)
        return exact_result(completed(result.value, result.output), result.output, result.plan)

    def sample(options: Hutchinson) -> Samples:
        drawn = second_order_samples(call, spread, drift, options)
        return replace(drawn, values=completed(drawn.values, drawn.output))

    if isinstance(method, Hutchinson):
        return summarised(sample(method))
    if isinstance(method, Within):
        directions = call.dim if spread.factor is None else spread.factor.shape[-1]
        return within(method, sample, lambda: exact(Exact()), directions)
    return exact(method)


def _spread(call: Call, factor: Coefficients, tensor: Coefficients) -> Spread:
    d, batch = call.dim, tuple(call.batch)
    if factor is not None:
        s = _evaluated(call, factor)
        if s.shape[-2:-1] != (d,) or s.shape[:-2] not in ((), batch):
            raise _wrong_shape(call, "factor", ((d, "m"), (*batch, d, "m")), s)
        return Spread(factor=s)
    if tensor is not None:
        return Spread(tensor=coefficient(call, tensor, "tensor", ((d, d), (*batch, d, d))))
    return Spread(diagonal=torch.zeros(d, dtype=call.x.dtype, device=call.x.device))


def coefficient(call: Call, given: Any, name: str, shapes: tuple[tuple[int, ...], ...]) -> Any:
    """A coefficient evaluated at the call, of one of the shapes.

    Raises:
        OperatorError: With the shapes expected and got.
    """
    if given is None:
        return None
    value = _evaluated(call, given)
    if tuple(value.shape) not in shapes:
        raise _wrong_shape(call, name, shapes, value)
    return value


def _evaluated(call: Call, given: Any) -> Any:
    if callable(given):
        return given(*call.leading, call.x, **call.context)
    if isinstance(given, int | float):
        return torch.tensor(given, dtype=call.x.dtype, device=call.x.device)
    return given.to(dtype=call.x.dtype, device=call.x.device)


def _wrong_shape(call: Call, name: str, shapes: Any, value: Any) -> OperatorError:
    expected = " or ".join(str(tuple(s)) for s in dict.fromkeys(tuple(s) for s in shapes))
    return OperatorError(
        f"{call.operator}: the {name} must have shape {expected} for a state of shape {tuple(call.x.shape)}, got "
        f"{tuple(value.shape)}."
    )
