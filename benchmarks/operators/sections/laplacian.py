"""Laplacians and their kin on one perceptron: pdekit beside torch-jet, folx and torch.func."""

from typing import Any

import torch
from torch import Tensor
from torch.func import hessian, vmap

from benchmarks.operators import nets, peers, truth
from benchmarks.operators.measure import Measured, Way, measure
from benchmarks.operators.rows import faster, over, over_forward, peer
from benchmarks.results import Row, skipped
from benchmarks.runner import Context
from pdekit.operators import biharmonic, laplacian, second_order_operator

TITLE = "Laplacian of a scalar tanh perceptron, float32"
NEVER_SLOWER, COMPRESSED_GAIN, FACTOR_LIMIT = 1.0, 10.0, 1.2


def run(context: Context) -> list[Row]:
    """Three hidden layers of 256 at batch 256; a narrow net at d = 1024; factors; the biharmonic operator."""
    batch, width = (8, 16) if context.quick else (256, 256)
    rows = []
    for dim in (4,) if context.quick else (16, 64, 256):
        rows += _beside_peers(f"d {dim}", dim, width, batch, context, gain=NEVER_SLOWER)
        rows += _factors(dim, width, batch, context)
    dim, width, batch = (32, 8, 8) if context.quick else (1024, 128, 64)
    rows += _beside_peers(f"d {dim}, width {width}, batch {batch}", dim, width, batch, context, gain=COMPRESSED_GAIN)
    for dim in (2,) if context.quick else (2, 4, 8):
        rows += _biharmonic(dim, 16 if context.quick else 256, 8 if context.quick else 64, context)
    return rows


def _beside_peers(label: str, dim: int, width: int, batch: int, context: Context, gain: float) -> list[Row]:
    """`gain`: how many times faster than torch-jet pdekit should be; compiled, it is never slower than jitted folx."""
    net, x = nets.mlp(dim, 1, width=width), nets.states(batch, dim)
    u, few = nets.scalar(net), x[: truth.ROWS]
    right = truth.laplacian(nets.scalar(truth.double(net)), few)
    operator = laplacian(u, full_output=True)
    ways = {
        "forward": Way(lambda: u(x)),
        "pdekit": Way(lambda: operator(x), right, lambda result: result.value),
        "compiled": Way(_compiled(u, x, context), right),
        "torch.func": Way(lambda: vmap(hessian(u))(x).diagonal(dim1=-2, dim2=-1).sum(-1), right),
    }
    if peers.torch_jet():
        ways["torch-jet"] = Way(peers.jet_laplacian(net, x), right)
    if peers.folx():
        ways["folx"] = Way(peers.folx_laplacian(net, x), right)
    with torch.no_grad():
        plan = operator(x).plan
        found = measure(f"laplacian {label}", ways, context)
    ours, forward = found["pdekit"], found["forward"]
    told = (f"{plan.route}: {plan.reason}", f"forward {forward.story()}", nets.describe(net))
    rows = [
        over_forward(f"{label}: pdekit", ours, forward, None, *told),
        peer(f"{label}: vmap(hessian)", found["torch.func"], forward, "x forward"),
    ]
    theirs = found.get("torch-jet")
    rows += _against(label, "torch-jet", theirs, ours, forward, gain, peers.torch_jet_version, peers.JET_MISSING)
    rows.append(over_forward(f"{label}: pdekit, compiled", found["compiled"], forward))
    theirs = found.get("folx")
    rows += _against(label, "folx", theirs, ours, forward, None, lambda: "jitted, same weights", peers.FOLX_MISSING)
    if theirs is not None and not theirs.failure:
        compiled = f"{label}: pdekit, compiled, against folx, jitted"
        rows.append(faster(compiled, found["compiled"], theirs, "times faster", NEVER_SLOWER))
    return rows


def _compiled(u: Any, x: Tensor, context: Context) -> Any:
    backend = "aot_eager" if context.quick else "inductor"
    operator = torch.compile(laplacian(u), fullgraph=True, backend=backend)
    return lambda: operator(x)


def _against(
    label: str,
    name: str,
    theirs: Measured | None,
    ours: Measured,
    forward: Measured,
    limit: float | None,
    version: Any,
    missing: str,
) -> list[Row]:
    if theirs is None:
        return [skipped(f"{label}: {name}", missing)]
    row = peer(f"{label}: {name}", theirs, forward, "x forward", version())
    if theirs.failure:
        return [row]
    return [row, faster(f"{label}: pdekit against {name}", ours, theirs, "times faster", limit)]


def _factors(dim: int, width: int, batch: int, context: Context) -> list[Row]:
    """tr(S S^T hess u) for a square and for a narrow factor, against the Laplacian."""
    net, x = nets.mlp(dim, 1, width=width), nets.states(batch, dim)
    u, double, few = nets.scalar(net), nets.scalar(truth.double(net)), x[: truth.ROWS]
    plain = laplacian(u)
    ways = {"laplacian": Way(lambda: plain(x), truth.laplacian(double, few))}
    for columns in (dim, max(1, dim // 4)):
        factor = torch.randn(dim, columns, generator=torch.Generator().manual_seed(5)) / dim**0.5
        operator = second_order_operator(u, factor=factor)
        right = truth.weighted_hessian(double, few, factor.double() @ factor.double().t())
        ways[f"factor {dim} x {columns}"] = Way(lambda operator=operator: operator(x), right)
    with torch.no_grad():
        found = measure(f"factors d {dim}", ways, context)
    base = found.pop("laplacian")
    return [
        over(f"d {dim}: tr(S S^T hess u), {name}", one, base, "x laplacian", FACTOR_LIMIT)
        for name, one in found.items()
    ]


def _biharmonic(dim: int, width: int, batch: int, context: Context) -> list[Row]:
    net, x = nets.mlp(dim, 1, width=width), nets.states(batch, dim)
    u = nets.scalar(net)
    right = truth.biharmonic(nets.scalar(truth.double(net)), x[: truth.ROWS])
    operator, limit = biharmonic(u), 1e-3  # fourth derivatives in float32
    ways = {"forward": Way(lambda: u(x)), "pdekit": Way(lambda: operator(x), right, limit=limit)}
    if peers.torch_jet():
        ways["torch-jet"] = Way(peers.jet_bilaplacian(net, x), right, limit=limit)
    if peers.folx():
        ways["folx, nested"] = Way(peers.folx_laplacian(net, x, times=2), right, limit=limit)
    ways["torch.func, nested Hessians"] = Way(lambda: vmap(_bilaplacian(u))(x), right, limit=limit)
    with torch.no_grad():
        found = measure(f"biharmonic d {dim}", ways, context)
    forward, ours = found.pop("forward"), found.pop("pdekit")
    label = f"biharmonic d {dim}, batch {batch}"
    return [
        over_forward(f"{label}: pdekit", ours, forward, None, f"forward {forward.story()}"),
        *(peer(f"{label}: {name}", one, forward, "x forward") for name, one in found.items()),
    ]


def _bilaplacian(u: Any) -> Any:
    def inner(row: Tensor) -> Tensor:
        return hessian(u)(row).diagonal().sum()

    return lambda row: hessian(inner)(row).diagonal().sum()
