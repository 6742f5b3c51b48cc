"""Second-order operators b.grad u + tr(C hess u) of a scalar or vector-valued u, in one collapsed pass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pdekit.errors import OperatorError
from pdekit.operators.call import Call, check_scalar_or_vector
from pdekit.operators.contract import check_rows
from pdekit.operators.following import Refusal, follow
from pdekit.operators.methods import Compressed, Dense, Exact
from pdekit.operators.nested import bilinear_sum
from pdekit.operators.propagation import Conflict, Diagonal, Jet, Run, contract
from pdekit.operators.result import Plan
from pdekit.operators.tiling import in_tiles, joined, rows_of
from pdekit.operators.trust import distrust

_TANGENTS = 2**27  # elements of first-order tangents that may be alive at once before directions go in chunks


@dataclass(frozen=True, eq=False)
class Spread:
    """The matrix C of tr(C hess u), in the form that it was given.

    Args:
        diagonal: S = diag(s), C = S S^T: a tensor (*batch, d) or (d,); None with no matrix means the identity.
        factor: S of shape (d, m) or (*batch, d, m), C = S S^T.
        tensor: C itself, symmetric or not, of any signature: (d, d) or (*batch, d, d).
    """

    diagonal: Any = None
    factor: Any = None
    tensor: Any = None

    def rows(self, call: Call, keep: slice) -> "Spread":
        """The same for some rows of a call."""
        return Spread(
            rows_of(call, self.diagonal, keep, 1),
            rows_of(call, self.factor, keep, 2),
            rows_of(call, self.tensor, keep, 2),
        )


@dataclass(frozen=True, eq=False)
class SecondOrder:
    """u, b.grad u + tr(C hess u), and on demand grad u . C grad u (for each component of u)."""

    output: Any
    value: Any
    gradient_square: Callable[[], Any]
    plan: Plan


@dataclass(frozen=True, eq=False)
class Directions:
    """Where a pass starts: the first coefficient of the state, and how directions are contracted."""

    first: Any
    metric: Any
    count: int


def second_order(call: Call, spread: Spread, drift: Any, method: Exact | Compressed | Dense) -> SecondOrder:
    """b.grad u + tr(C hess u) by the cheapest exact route that `method` allows.

    Args:
        call: The call of u.
        spread: C.
        drift: b of shape (*batch, d), or None.
        method: An exact method.
    """

    def tile(keep: slice, shared: dict[str, Any]) -> SecondOrder:
        return _at_once(call.rows(keep), spread.rows(call, keep), rows_of(call, drift, keep, 1), method, shared)

    parts = in_tiles(call, _count(call, spread), tile)
    if parts is None:
        return _at_once(call, spread, drift, method, {})
    output = joined(call, [p.output for p in parts])
    check_rows(call, output)
    return SecondOrder(
        output,
        joined(call, [p.value for p in parts]),
        lambda: joined(call, [p.gradient_square() for p in parts]),
        parts[0].plan,
    )


def _count(call: Call, spread: Spread) -> int:
    return call.dim if spread.factor is None else spread.factor.shape[-1]


def _at_once(
    call: Call, spread: Spread, drift: Any, method: Exact | Compressed | Dense, shared: dict[str, Any]
) -> SecondOrder:
    result: SecondOrder | Refusal | None = distrust(call, 2)
    policy = {Exact: "auto", Compressed: "always", Dense: "never"}[type(method)]
    if result is None and policy != "never" and "conflict" not in shared:
        try:
            result = _whole(call, spread, drift, policy, shared)
        except Conflict as conflict:
            shared["conflict"] = conflict
            if policy == "always":
                raise OperatorError(f"{call.operator}: Compressed() is not possible: {conflict}.") from None
    if result is None:
        result = _chunked(call, spread, drift, method, shared)
    if isinstance(result, Refusal):
        if policy == "always":
            raise OperatorError(f"{call.operator}: Compressed() can't follow this function ({result.reason}).")
        result = _nested(call, spread, drift, result.reason)
    check_rows(call, result.output)
    return result


def _whole(call: Call, spread: Spread, drift: Any, policy: str, shared: dict[str, Any]) -> SecondOrder | Refusal | None:
    start = directions_of(call, spread)
    run = Run(2, directions=True, collapsed=True, metric=start.metric, compression=policy, level=call.level)
    run.shared, run.constant_seed = shared, spread.factor is not None and spread.factor.ndim == 2
    if policy == "auto" and start.count * call.x.numel() > _TANGENTS:
        # Without a layer to compress, all directions at once would not fit: find out before they are formed.
        run.compression = "required"
    jet = follow(call, run, [start.first, None if drift is None else 0.5 * drift])
    if isinstance(jet, Refusal):
        return jet
    if run.compressed is None and policy == "always":
        raise OperatorError(
            f"{call.operator}: Compressed() needs a linear layer as the first thing that the state meets; this "
            "function has none. Use Exact() or Dense()."
        )
    plan = Plan("compressed", run.compressed, run.input_map.shape[-2]) if run.compressed else _dense_plan(run, start)
    return _finished(call, jet, plan)


def _chunked(call: Call, spread: Spread, drift: Any, method: Any, shared: dict[str, Any]) -> SecondOrder | Refusal:
    start = directions_of(call, spread)
    chunk = _chunk_size(call, start, method)
    total: SecondOrder | None = None
    for low in range(0, start.count, chunk):
        run = Run(2, directions=True, collapsed=True, metric=start.metric, level=call.level)
        run.shared = shared
        begin = None if drift is None or low else 0.5 * drift
        jet = follow(call, run, [_part(start.first, low, min(chunk, start.count - low)), begin])
        if isinstance(jet, Refusal):
            return jet
        part = _finished(call, jet, _dense_plan(run, start))
        total = part if total is None else _sum(total, part)
    if total is None:  # no direction at all: a factor of shape (d, 0)
        raise OperatorError(f"{call.operator}: the diffusion factor has no columns.")
    return total


def _chunk_size(call: Call, start: Directions, method: Any) -> int:
    if start.metric is not None:
        return start.count
    if isinstance(method, Dense) and method.chunk_size is not None:
        return min(method.chunk_size, start.count)
    return min(start.count, max(1, _TANGENTS // max(1, call.x.numel())))


def _part(first: Any, low: int, count: int) -> Any:
    if not isinstance(first, Diagonal):
        return first[low : low + count]
    if first.scale is None or (low, count) == (0, first.count):
        return Diagonal(count, first.start + low, first.scale)
    return Diagonal(count, first.start + low, first.scale[..., low : low + count])


def _sum(a: SecondOrder, b: SecondOrder) -> SecondOrder:
    return SecondOrder(a.output, a.value + b.value, lambda: a.gradient_square() + b.gradient_square(), a.plan)


def directions_of(call: Call, spread: Spread) -> Directions:
    """The directions and the metric of a spread."""
    d, ndim = call.dim, call.x.ndim
    if spread.tensor is not None:
        c = 0.5 * (spread.tensor + spread.tensor.transpose(-1, -2))
        if c.ndim == 2 and ndim >= 1:
            return Directions(Diagonal(d), c, d)
        eye = torch.eye(d, dtype=c.dtype, device=c.device).reshape(d, *(1,) * (ndim - 1), d).expand(d, *call.x.shape)
        return Directions(torch.cat([eye, c.movedim(-1, 0)]), "pairs", 2 * d)
    if spread.factor is not None:
        s = spread.factor.movedim(-1, 0)
        first = s.reshape(s.shape[0], *(1,) * (ndim - 1), d) if s.ndim == 2 else s
        return Directions(first, None, s.shape[0])
    if spread.diagonal is not None:
        scale = spread.diagonal
        return Directions(Diagonal(d, 0, scale.reshape(*(1,) * (ndim - scale.ndim), *scale.shape)), None, d)
    return Directions(Diagonal(d), None, d)


def _dense_plan(run: Run, start: Directions) -> Plan:
    odd = f"; nested forward mode through {', '.join(run.nested)}" if run.nested else ""
    return Plan(
        "dense", f"value, {start.count} first derivatives and their collapsed second in one pass{odd}", start.count
    )


def _finished(call: Call, jet: Jet, plan: Plan) -> SecondOrder:
    check_scalar_or_vector(call, jet)
    zero = torch.zeros_like(jet.value)
    second = jet.full(2)
    value = zero if second is None else 2.0 * second
    return SecondOrder(jet.value, value, lambda: _gradient_square(jet, zero), plan)


def _gradient_square(jet: Jet, zero: Any) -> Any:
    c = jet.full(1)
    return zero if c is None else contract(jet.run.metrics[jet.system], c, c)


def _nested(call: Call, spread: Spread, drift: Any, reason: str) -> SecondOrder:
    a, b = _pairs(call, spread)
    output, slopes, value, route = bilinear_sum(call, a, b, drift)
    check_scalar_or_vector(call, output)
    plan = Plan(route, f"series can't follow the function ({reason})", a.shape[0])

    def square() -> Any:
        if spread.tensor is None:
            return (slopes * slopes).sum(0)
        return (slopes * bilinear_sum(call, b, a, None)[1]).sum(0)

    return SecondOrder(output, value, square, plan)


def _pairs(call: Call, spread: Spread) -> tuple[Any, Any]:
    """Directions a_r, b_r of shape (R, *batch, d) with C = sum_r a_r b_r^T."""
    start = directions_of(call, spread)
    shape = (start.count, *call.x.shape)
    first = start.first.dense(call.x) if isinstance(start.first, Diagonal) else start.first
    first = first.expand(shape)
    if isinstance(start.metric, str):
        half = start.count // 2
        return first[:half], first[half:]
    return first, first if start.metric is None else torch.tensordot(start.metric, first, dims=1)
