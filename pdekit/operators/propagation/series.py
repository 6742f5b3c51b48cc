"""The arithmetic of truncated series: linear maps, sums, products and compositions, with or without directions."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pdekit.operators.propagation.coefficient import Diagonal, Projected, Weighted, aligned, product, total
from pdekit.operators.propagation.jet import Coefficient, Conflict, Jet, Run

Tower = Sequence[Any]  # phi, phi', phi''/2!, ..., phi^(K)/K! at the value; None where one is zero


def linear(jet: Jet, operation: Callable[[Any, int], Any], *, expand: bool = True) -> Jet:
    """The image of a jet under a linear map.

    Args:
        jet: The argument.
        operation: (z, lead) -> the map applied to z, whose first `lead` axes are not the map's business.
        expand: Whether coefficients must have the value's full shape; False where size-1 axes may stay.
    """
    value = operation(jet.value, 0)
    coefficients: list[Coefficient] = []
    for k in range(1, jet.run.order + 1):
        c = jet.full(k) if expand else jet.dense(k)
        coefficients.append(None if c is None else operation(c, jet.run.lead(k)))
    return jet.run.jet(value, coefficients, jet.system)


def system_of(run: Run, jets: Sequence[Jet]) -> int:
    """The system of directions that jets share.

    Raises:
        Conflict: If they differ: one went through a compressed first layer, the other did not.
    """
    systems = {jet.system for jet in jets if any(c is not None for c in jet.coefficients)}
    if len(systems) > 1:
        raise Conflict("the state reaches the output through a linear first layer and around it")
    return systems.pop() if systems else jets[0].system


def add(run: Run, a: Any, b: Any, factor: Any = 1) -> Jet:
    """a + factor * b, where either may be a constant of the run."""
    owned = [z for z in (a, b) if run.owns(z)]
    value = torch.add(_value(run, a), _value(run, b), alpha=factor) if factor != 1 else _value(run, a) + _value(run, b)
    if len(owned) == 1:
        sign = 1 if run.owns(a) else factor
        return run.jet(value, [_shifted(owned[0], k, value, sign) for k in range(1, run.order + 1)], owned[0].system)
    system = system_of(run, owned)
    coefficients: list[Coefficient] = []
    for k in range(1, run.order + 1):
        lead, left, right = run.lead(k), _lazy(a, k, value), _lazy(b, k, value)
        if right is not None and not isinstance(right, Weighted):
            right = aligned(right, lead, value.ndim)
        if right is not None and factor != 1:
            right = factor * (right.dense() if isinstance(right, Weighted) else right)
        if left is not None and not isinstance(left, Weighted):
            left = aligned(left, lead, value.ndim)
        coefficients.append(total(left, right))
    return run.jet(value, coefficients, system)


def _lazy(jet: Jet, k: int, value: Any) -> Any:
    """Coefficient k, a `Weighted` left as it is where it has the shape of the value."""
    c = jet.coefficients[k - 1]
    return c if isinstance(c, Weighted) and jet.shape == value.shape else jet.dense(k)


def _shifted(jet: Jet, k: int, value: Any, sign: Any) -> Coefficient:
    # A constant was added: the coefficients stay what they are, unless broadcasting gave the value more axes.
    c = jet.coefficients[k - 1]
    if isinstance(c, Diagonal):
        if value.shape[-1] == jet.shape[-1]:
            return c if sign == 1 else c.scaled(torch.full((1,), sign, dtype=value.dtype, device=value.device))
        c = c.dense(jet.value)
    elif isinstance(c, Projected | Weighted):
        if value.shape == jet.shape and sign == 1:
            return c
        c = jet.dense(k)
    if c is None:
        return None
    c = aligned(c, run_lead(jet, k), value.ndim)
    return c if sign == 1 else sign * c


def run_lead(jet: Jet, k: int) -> int:
    """The leading axes of coefficient k of a jet."""
    return jet.run.lead(k)


def scale(run: Run, jet: Jet, factor: Any) -> Jet:
    """`jet` times a constant (number or tensor)."""
    value = jet.value * factor
    coefficients: list[Coefficient] = []
    for k in range(1, run.order + 1):
        c = jet.coefficients[k - 1]
        if isinstance(c, Diagonal) and value.shape[-1] == jet.shape[-1] and value.ndim == jet.ndim:
            tensor = torch.as_tensor(factor, dtype=value.dtype, device=value.device) if _is_number(factor) else factor
            coefficients.append(c.scaled(tensor if tensor.ndim else tensor.reshape(1)))
            continue
        c = jet.dense(k)
        if c is None:
            coefficients.append(None)
        else:
            coefficients.append(aligned(c, run.lead(k), value.ndim) * factor)
    return run.jet(value, coefficients, jet.system)


def multiply(run: Run, a: Any, b: Any, operation: Callable[[Any, Any], Any] = torch.mul) -> Jet:
    """A bilinear `operation` of two series by Leibniz' rule.

    Args:
        run: The pass.
        a: A jet or a constant.
        b: A jet or a constant.
        operation: Bilinear and broadcasting over leading axes, like `torch.mul` or `torch.matmul`.
    """
    value = operation(_value(run, a), _value(run, b))
    system = system_of(run, [z for z in (a, b) if run.owns(z)])
    if operation is torch.mul and run.owns(a) and run.owns(b):
        product = _multiply_diagonals(run, a, b, value, system)
        if product is not None:
            return product
    ndim = max(_ndim(a), _ndim(b))
    if operation is torch.mul and not run.directions and _same_shape(run, a, b):
        return run.jet(value, _leibniz(run, a, b), system)
    coefficients: list[Coefficient] = []
    for n in range(1, run.order + 1):
        summed: Any = None
        for i in range(n + 1):
            left, right = _part(run, a, i, ndim), _part(run, b, n - i, ndim)
            if left is None or right is None:
                continue
            if run.collapsed and n == 2 and i == 1:
                term = contract(run.metrics[system], left, right, operation)
            else:
                term = operation(left, right)
            summed = term if summed is None else summed + term
        coefficients.append(summed)
    return run.jet(value, coefficients, system)


def _same_shape(run: Run, a: Any, b: Any) -> bool:
    return run.owns(a) and run.owns(b) and a.shape == b.shape


def _leibniz(run: Run, a: Jet, b: Jet) -> list[Coefficient]:
    """The coefficients of a * b along one direction; rows of weights stay apart."""
    left = [a.value, *(_lazy(a, k, a.value) for k in range(1, run.order + 1))]
    right = [b.value, *(_lazy(b, k, b.value) for k in range(1, run.order + 1))]
    coefficients: list[Coefficient] = []
    for n in range(1, run.order + 1):
        summed: Any = None
        for i in range(n + 1):
            summed = total(summed, product(left[i], right[n - i]))
        coefficients.append(summed)
    return coefficients


def _multiply_diagonals(run: Run, a: Jet, b: Jet, value: Any, system: int) -> Jet | None:
    # x * x and the like, while each direction still moves a single feature: no Jacobian is formed.
    left, right = a.coefficients[0], b.coefficients[0]
    if not (isinstance(left, Diagonal) and isinstance(right, Diagonal) and run.order <= 1 + run.collapsed):
        return None
    if (left.start, left.count, a.shape) != (right.start, right.count, b.shape):
        return None
    first = _diagonal_sum(left.scaled(b.value), right.scaled(a.value))
    if not run.collapsed:
        return run.jet(value, [first], system)
    second = contract_diagonals(run.metrics[system], left, right, value)
    for z, c in ((a.value, b.dense(2)), (b.value, a.dense(2))):
        second = second if c is None else second + z * c
    return run.jet(value, [first, second], system)


def _diagonal_sum(left: Diagonal, right: Diagonal) -> Diagonal:
    return Diagonal(left.count, left.start, left.scale + right.scale)


def compose(run: Run, jet: Jet, tower: Tower) -> Jet:
    """phi of a jet, from the Taylor coefficients of phi at its value (Faa di Bruno).

    Args:
        run: The pass.
        jet: The argument.
        tower: phi, phi', phi''/2, ... up to the order of the run, at the value.
    """
    first = jet.coefficients[0]
    if isinstance(first, Diagonal) and run.order <= 1 + run.collapsed:
        return _compose_diagonal(run, jet, first, tower)
    if run.collapsed:
        c = [jet.dense(1), jet.dense(2)]
        second = _times(tower[1], c[1])
        if c[0] is not None and tower[2] is not None:
            second = _plus(second, tower[2] * contract(run.metrics[jet.system], c[0], c[0]))
        return run.jet(tower[0], [_times(tower[1], c[0]), second], jet.system)
    if run.directions:
        c = [jet.dense(k) for k in range(1, run.order + 1)]
    else:
        c = [_lazy(jet, k, tower[0]) for k in range(1, run.order + 1)]
    result = [product(tower[1], ck) for ck in c]
    power = c  # coefficients 1..K of (c_1 s + ...)^m, for m = 1
    for m in range(2, run.order + 1):
        power = _power_series_product(power, c)
        for n in range(m - 1, run.order):
            result[n] = total(result[n], product(tower[m], power[n]))
    return run.jet(tower[0], result, jet.system)


def _compose_diagonal(run: Run, jet: Jet, first: Diagonal, tower: Tower) -> Jet:
    slope = torch.zeros_like(jet.value) if tower[1] is None else tower[1]
    coefficients: list[Coefficient] = [first.scaled(slope)]
    if run.collapsed:
        second = _times(tower[1], jet.dense(2))
        if tower[2] is not None:
            second = _plus(second, tower[2] * contract_diagonals(run.metrics[jet.system], first, first, jet.value))
        coefficients.append(second)
    return run.jet(tower[0], coefficients, jet.system)


def _power_series_product(p: Sequence[Any], c: Sequence[Any]) -> list[Any]:
    result: list[Any] = [None] * len(c)
    for (i, left), (j, right) in itertools.product(enumerate(p), enumerate(c)):
        if i + j + 1 < len(c):
            result[i + j + 1] = total(result[i + j + 1], product(left, right))
    return result


def contract(metric: Any, a: Any, b: Any, operation: Callable[[Any, Any], Any] = torch.mul) -> Any:
    """sum_rs G_rs operation(a_r, b_s) over the leading axes of directions; see `Run` for the forms of the metric G."""
    if metric is None:
        return operation(a, b).sum(0)
    if isinstance(metric, str):
        half = a.shape[0] // 2
        forth = operation(a[:half], b[half:]).sum(0)
        back = forth if a is b and operation is torch.mul else operation(a[half:], b[:half]).sum(0)
        return 0.5 * (forth + back)
    weighted = torch.matmul(metric, a.reshape(a.shape[0], -1)).reshape(-1, *a.shape[1:])
    return operation(weighted, b).sum(0)


def contract_diagonals(metric: Any, a: Diagonal, b: Diagonal, like: Any) -> Any:
    """The same for two `Diagonal`s that move the same features: one product per feature, zero elsewhere."""
    if isinstance(metric, str):
        raise Conflict("paired directions don't move one feature each")
    weight = _times_or(a.scale, b.scale)
    if weight is None:
        weight = torch.ones(a.count, dtype=like.dtype, device=like.device)
    if metric is not None:
        weight = weight * metric.diagonal()
    after = like.shape[-1] - a.start - a.count
    if a.start or after:
        weight = torch.nn.functional.pad(weight.expand(*weight.shape[:-1], a.count), (a.start, after))
    return aligned(weight, 0, like.ndim)


def _value(run: Run, z: Any) -> Any:
    return z.value if run.owns(z) else z


def _is_number(z: Any) -> bool:
    return isinstance(z, int | float)


def _ndim(z: Any) -> int:
    return 0 if _is_number(z) else z.ndim


def _part(run: Run, z: Any, i: int, ndim: int) -> Any:
    if not run.owns(z):
        return z if i == 0 else None
    if i == 0:
        return z.value
    c = z.dense(i)
    return None if c is None else aligned(c, run.lead(i), ndim)


def _times_or(a: Any, b: Any) -> Any:
    # None is one.
    return b if a is None else a if b is None else a * b


def _times(a: Any, b: Any) -> Any:
    return None if a is None or b is None else a * b


def _plus(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b
