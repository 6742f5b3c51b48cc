"""Whether Exact() takes the fastest exact route, on a grid of operators, dimensions, nets and batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.func import hessian, jacrev, vmap

from benchmarks.operators import nets, truth
from benchmarks.operators.measure import Measured, Way, duration, measure
from benchmarks.results import Row, at_least
from benchmarks.runner import Context
from pdekit.operators import Compressed, Dense, Exact, Hollow, divergence, laplacian, second_order_operator

TITLE = "Whether Exact() is the fastest exact route, float32"
WITHIN, SHARE = 1.25, 90.0
_CHUNKS = (16, 64)
_REACH = 3.0  # what takes so many times the fastest one's time in a trial can't be the fastest


@dataclass(frozen=True)
class Case:
    """One point of the grid."""

    operator: str
    dim: int
    width: int
    depth: int
    batch: int

    def __str__(self) -> str:
        net = f"width {self.width}, depth {self.depth}" if self.width else "hollow net"
        return f"{self.operator}, d {self.dim}, {net}, batch {self.batch}"


def grid() -> Iterator[Case]:
    """Sixty cases."""
    shapes = ((32, 2), (256, 3), (64, 5))
    for operator, dim, (width, depth), batch in product(
        ("laplacian", "divergence"), (2, 16, 64, 256), shapes, (8, 256)
    ):
        yield Case(operator, dim, width, depth, batch)
    for dim, (width, depth) in product((16, 128), shapes[:2]):
        yield Case("factor", dim, width, depth, 64)
    for dim, batch in product((2, 16, 64, 256), (8, 256)):
        yield Case("hollow divergence", dim, 0, 0, batch)


def run(context: Context) -> list[Row]:
    """One row per case and the share of cases in which Exact() keeps up."""
    cases = list(grid())
    if context.quick:
        cases = [case for case in cases if case.dim == 16 and case.batch <= 64 and case.depth <= 2]
    rows, good = [], 0
    for case in cases:
        with torch.no_grad():
            found = measure(str(case), _ways(case), context, out_of_reach=_REACH)
        rows.append(_row(case, found))
        good += rows[-1].value != "failed" and float(rows[-1].value) <= WITHIN
    share = 100 * good / len(cases)
    return [
        at_least(
            f"cases in which Exact() is within {WITHIN:g} x the fastest", share, SHARE, "%", f"{good} of {len(cases)}"
        ),
        *rows,
    ]


def _row(case: Case, found: dict[str, Measured]) -> Row:
    exact, others = found.pop("exact"), {name: one for name, one in found.items() if one.seconds}
    wrong = [f"{name}: {one.failure}" for name, one in found.items() if one.failure.startswith("wrong")]
    if exact.failure and not exact.failure.startswith("not timed"):
        return Row(str(case), "failed", "", "a right value", False, exact.failure)
    if not exact.seconds:
        return Row(str(case), float("inf"), "x fastest", detail=f"Exact() is {exact.failure}")
    fastest = min(others, key=lambda name: others[name].median) if others else "none"
    ratio = max(1.0, exact.over(others[fastest])) if others else 1.0
    each = ", ".join(f"{name} {duration(one.median)}" for name, one in others.items())
    return Row(str(case), ratio, "x fastest", detail="; ".join([f"Exact() {exact.story()}", each, *wrong]))


def _ways(case: Case) -> dict[str, Way]:
    if case.operator == "hollow divergence":
        return _divergences(nets.hollow(nets.DEFAULT, case.dim), case)
    if case.operator == "divergence":
        return _divergences(nets.mlp(case.dim, case.dim, width=case.width, depth=case.depth), case)
    return _second_orders(case)


def _divergences(net: Any, case: Case) -> dict[str, Way]:
    x = nets.states(case.batch, case.dim)
    right = truth.divergence(truth.double(net), x[: truth.ROWS])
    ways = {
        name: Way(_applied(divergence(net, method), x), right)
        for name, method in _methods(case, hollow=hasattr(net, "condition")).items()
    }
    ways["torch.func"] = Way(lambda: vmap(jacrev(net))(x).diagonal(dim1=-2, dim2=-1).sum(-1), right)
    return ways


def _second_orders(case: Case) -> dict[str, Way]:
    net, x = nets.mlp(case.dim, 1, width=case.width, depth=case.depth), nets.states(case.batch, case.dim)
    u, double, few = nets.scalar(net), nets.scalar(truth.double(net)), x[: truth.ROWS]
    if case.operator == "laplacian":
        operators = {name: laplacian(u, method) for name, method in _methods(case).items()}
        tensor, right = torch.eye(case.dim), truth.laplacian(double, few)
    else:
        factor = torch.randn(case.dim, case.dim // 2, generator=torch.Generator().manual_seed(6))
        operators = {
            name: second_order_operator(u, factor=factor, method=method) for name, method in _methods(case).items()
        }
        tensor = factor @ factor.t()
        right = truth.weighted_hessian(double, few, factor.double() @ factor.double().t())
    ways = {name: Way(_applied(operator, x), right) for name, operator in operators.items()}
    ways["torch.func"] = Way(lambda: (vmap(hessian(u))(x) * tensor).sum((-2, -1)), right)
    return ways


def _methods(case: Case, *, hollow: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"exact": Exact(), "compressed": Compressed(), "dense": Dense()}
    if hollow:
        found["hollow"] = Hollow()
    return found | {f"dense by {chunk}": Dense(chunk_size=chunk) for chunk in _CHUNKS if chunk < case.dim}


def _applied(operator: Callable[..., Tensor], x: Tensor) -> Callable[[], Tensor]:
    return lambda: operator(x)
