"""Dimension-wise derivatives, the Jacobian's diagonal and its trace."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from pdekit.errors import OperatorError
from pdekit.operators.call import Call, check_vector
from pdekit.operators.contract import check_rows
from pdekit.operators.following import Refusal, follow
from pdekit.operators.hollow import hollow_jet, is_hollow
from pdekit.operators.methods import Compressed, Dense, Exact, Hollow
from pdekit.operators.nested import directional_jets
from pdekit.operators.propagation import Conflict, Diagonal, Jet, Projected, Run
from pdekit.operators.result import Plan
from pdekit.operators.tiling import in_tiles, joined
from pdekit.operators.trust import distrust

_TANGENTS = 2**27  # elements of first-order tangents that may be alive at once before directions go in chunks


@dataclass(frozen=True, eq=False)
class DiagonalJet:
    """f and D^k f for k = 1..order, each (*batch, d) (or (*batch, d, channels)), or their sums over d."""

    output: Any
    derivatives: list[Any]
    plan: Plan


def diagonal_jet(call: Call, order: int, method: Exact | Hollow | Compressed | Dense, *, trace: bool) -> DiagonalJet:
    """The derivatives d^k f_i / dx_i^k, or with `trace` (order 1) their sum over i.

    Args:
        call: The call of f.
        order: The highest k.
        method: An exact method.
        trace: Whether only the sum over dimensions is wanted.
    """
    if isinstance(method, Hollow) or (isinstance(method, Exact) and is_hollow(call.function)):
        return _hollow(call, order, method if isinstance(method, Hollow) else Hollow(), trace)
    parts = in_tiles(call, call.dim, lambda keep, shared: _at_once(call.rows(keep), order, method, trace, shared))
    if parts is None:
        return _at_once(call, order, method, trace, {})
    columns = zip(*(p.derivatives for p in parts), strict=True)
    output = joined(call, [p.output for p in parts])
    result = DiagonalJet(output, [joined(call, list(column)) for column in columns], parts[0].plan)
    check_rows(call, output)
    return result


def _at_once(call: Call, order: int, method: Any, trace: bool, shared: dict[str, Any]) -> DiagonalJet:
    result = distrust(call, min(order, 2)) or _series(call, order, method, trace, shared)
    if isinstance(result, Refusal):
        if isinstance(method, Compressed):
            raise OperatorError(f"{call.operator}: Compressed() can't follow this function ({result.reason}).")
        result = _nested(call, order, trace, result.reason)
    check_rows(call, result.output)
    return result


def _hollow(call: Call, order: int, method: Hollow, trace: bool) -> DiagonalJet:
    output, derivatives = hollow_jet(call, order, check=method.check)
    check_vector(call, output, channels=True)
    check_rows(call, output)
    axis = len(call.batch)
    values = [d.sum(axis) for d in derivatives] if trace else derivatives
    return DiagonalJet(output, values, Plan("hollow", "the function is hollow: one series through its transformer", 1))


def _series(call: Call, order: int, method: Any, trace: bool, shared: dict[str, Any]) -> DiagonalJet | Refusal:
    policy = {Exact: "auto", Compressed: "always", Dense: "never"}[type(method)]
    if policy == "always" and order > 1:
        raise OperatorError(
            f"{call.operator}: Compressed() offers first derivatives only; D^k with k > 1 needs each direction alone."
        )
    if policy != "never" and order == 1 and "conflict" not in shared:
        try:
            compressed = _compressed(call, policy, trace, shared)
        except Conflict as conflict:
            shared["conflict"] = conflict
            if policy == "always":
                raise OperatorError(f"{call.operator}: Compressed() is not possible: {conflict}.") from None
            compressed = None
        if compressed is not None:
            return compressed
    return _dense(call, order, method, trace, shared)


def _compressed(call: Call, policy: str, trace: bool, shared: dict[str, Any]) -> DiagonalJet | Refusal | None:
    run = Run(1, directions=True, compression=policy, level=call.level)
    run.shared = shared
    jet = follow(call, run, [Diagonal(call.dim)])
    if isinstance(jet, Refusal):
        return jet
    check_vector(call, jet)
    if run.compressed is None or jet.system == 0:  # what the layer saw may be cut off from the output
        if policy == "always":
            raise OperatorError(
                f"{call.operator}: Compressed() needs a linear layer as the first thing that the state meets; this "
                "function has none. Use Exact() or Dense()."
            )
        return _finished(call, jet, 0, call.dim, trace, _dense_plan(run, call.dim))
    if not trace:
        first = jet.dense(1)
        value = None if first is None else (_expanded(jet, first) * first_layer(run, jet.ndim)).sum(0)
        value = torch.zeros_like(jet.value) if value is None else value
    else:
        value = compressed_trace(run, jet)
    plan = Plan("compressed", run.compressed, run.input_map.shape[0])
    return DiagonalJet(jet.value, [value], plan)


def _expanded(jet: Jet, c: Any) -> Any:
    return c.expand(c.shape[0], *jet.shape)


def first_layer(run: Run, ndim: int) -> Any:
    """W of a compressed first layer, (H, d), as (H, 1, ..., d) with `ndim` axes after the first."""
    return run.input_map.reshape(-1, *(1,) * (ndim - 1), run.input_map.shape[-1])


def compressed_trace(run: Run, jet: Jet) -> Any:
    """tr(J_g W) for the series of f = g(W x) along the unit directions of W's outputs."""
    first = jet.coefficients[0]
    if first is None:
        return torch.zeros_like(jet.value).sum(-1)
    if not isinstance(first, Projected):
        return (_expanded(jet, jet.dense(1)) * first_layer(run, jet.ndim)).sum((0, -1))
    # f = V z with z's derivatives along unit direction a in hand: sum_a W_a . V dz_a = sum_a (V^T W^T)_a . dz_a.
    product = run.input_map @ first.weight
    return _contracted(first.inner, product, jet.shape[:-1])


def _contracted(inner: Any, matrix: Any, batch: Any) -> Any:
    """sum_rh inner[r, ..., h] matrix[r, h], as (*batch,)."""
    if isinstance(inner, Diagonal):
        diagonal = inner.of(matrix).diagonal()
        if inner.scale is None:
            return diagonal.sum().expand(batch)
        return (inner.scale * diagonal).sum(-1).expand(batch)
    wide = matrix.reshape(matrix.shape[0], *(1,) * (inner.ndim - 2), matrix.shape[-1])
    return (inner * wide).sum((0, -1)).expand(batch)


def _dense(call: Call, order: int, method: Any, trace: bool, shared: dict[str, Any]) -> DiagonalJet | Refusal:
    chunk = _chunk_size(call, method)
    parts: list[DiagonalJet] = []
    for start in range(0, call.dim, chunk):
        count = min(chunk, call.dim - start)
        run = Run(order, directions=True, level=call.level)
        run.shared = shared
        jet = follow(call, run, [Diagonal(count, start), *[None] * (order - 1)])
        if isinstance(jet, Refusal):
            return jet
        check_vector(call, jet)
        parts.append(_finished(call, jet, start, count, trace, _dense_plan(run, call.dim)))
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(p.derivatives for p in parts), strict=True)
    joined = [sum(column[1:], column[0]) if trace else torch.cat(column, -1) for column in columns]
    return DiagonalJet(parts[0].output, joined, parts[0].plan)


def _chunk_size(call: Call, method: Any) -> int:
    if isinstance(method, Dense) and method.chunk_size is not None:
        return min(method.chunk_size, call.dim)
    return min(call.dim, max(1, _TANGENTS // max(1, call.x.numel())))


def _dense_plan(run: Run, dim: int) -> Plan:
    odd = f"; nested forward mode through {', '.join(run.nested)}" if run.nested else ""
    return Plan("dense", f"one series along each of the {dim} dimensions{odd}", dim)


def _finished(call: Call, jet: Jet, start: int, count: int, trace: bool, plan: Plan) -> DiagonalJet:
    derivatives = []
    for k in range(1, jet.run.order + 1):
        value = _diagonal_of(jet, k, start, count, trace)
        derivatives.append(value if k == 1 else math.factorial(k) * value)
    return DiagonalJet(jet.value, derivatives, plan)


def _diagonal_of(jet: Jet, k: int, start: int, count: int, trace: bool) -> Any:
    """Entry start + r of coefficient k along direction r, as (*batch, count), or the sum over r."""
    c = jet.coefficients[k - 1]
    batch = jet.shape[:-1]
    if c is None:
        zero = torch.zeros_like(jet.value)[..., start : start + count]
        return zero.sum(-1) if trace else zero
    if isinstance(c, Projected):
        rows = c.weight[start : start + count]
        if trace:
            return _contracted(c.inner, rows, batch)
        if isinstance(c.inner, Diagonal):
            picked = c.inner.of(rows).diagonal()
            return (picked if c.inner.scale is None else c.inner.scale * picked).expand(*batch, count)
        wide = rows.reshape(count, *(1,) * (c.inner.ndim - 2), rows.shape[-1])
        return (c.inner * wide).sum(-1).movedim(0, -1).expand(*batch, count)
    if isinstance(c, Diagonal) and (c.start, c.count) == (start, count):
        scale = torch.ones_like(jet.value[..., :1]) if c.scale is None else c.scale
        values = scale.expand(*batch, count)
    else:
        full = jet.full(k)[..., start : start + count]
        values = full.diagonal(dim1=0, dim2=-1)
    return values.sum(-1) if trace else values


def _nested(call: Call, order: int, trace: bool, reason: str) -> DiagonalJet:
    eye = torch.eye(call.dim, dtype=call.x.dtype, device=call.x.device)
    directions = eye.reshape(call.dim, *(1,) * len(call.batch), call.dim).expand(call.dim, *call.x.shape)
    output, derivatives, route = directional_jets(call, directions, order)
    check_vector(call, output)
    values = [d.diagonal(dim1=0, dim2=-1) for d in derivatives]
    values = [v.sum(-1) for v in values] if trace else values
    return DiagonalJet(output, values, Plan(route, f"series can't follow the function ({reason})", call.dim))
