"""First-layer compression: behind a linear first layer, d directions of the input become at most H of its output.

For u(x) = g(W x + b) with W of shape (H, d) and any symmetric C,

    tr(C hess u) = tr(W C W^T hess g),

so that directions of R^H weighted by the Gram matrix W C W^T do the work of d directions of R^d. Likewise the trace of
the Jacobian of f = g(W x) is sum_a (W dg/dz)_aa. A factor L of the Gram matrix, L L^T = W C W^T, gives the directions
where it is well conditioned; elsewhere the Gram matrix stays as the metric of the H unit directions, which costs one
product more per layer and needs no inverse, also not in its derivatives.
"""

from typing import Any

import torch
from torch.nn import functional

from pdekit.operators.propagation.coefficient import Diagonal, aligned
from pdekit.operators.propagation.jet import Conflict, Jet, Run

# Below this ratio of pivots the derivative of the Cholesky factor would lose digits; the metric route does not.
_WELL_CONDITIONED = {torch.float64: 1e-6, torch.float32: 1e-2}


def compressed_layer(run: Run, x: Jet, weight: Any) -> Jet | None:
    """The image of the untouched state under a linear layer, with the directions of its output; None if not wanted.

    Args:
        run: The pass; `compression` decides, and what was done is written there.
        x: The argument of the layer.
        weight: W, of shape (H, n).

    Raises:
        Conflict: If another layer was compressed before: two first layers look at the state.
    """
    if run.compression == "never" or x.system != 0 or (run.order > 1 and not run.collapsed):
        return None
    count = _untouched(run, x)
    if count == 0:
        return None
    width = weight.shape[0]
    if run.compression != "always" and width > _affordable(run, count):
        if run.compression == "required":
            raise Conflict("the first layer is wider than the state")
        return None
    if run.input_map is not None:
        raise Conflict("two linear layers see the state directly")
    directions = _directions(x, weight)
    run.input_map = directions
    value = functional.linear(x.value, weight)
    run.compressed = f"{count} directions of the state became {width} of the first linear layer"
    if not run.collapsed:
        first = Diagonal(width) if run.probes is None else run.probes(value, width)
        return run.jet(value, [first], 1)
    second = None if x.coefficients[1] is None else functional.linear(x.dense(2), weight)
    return run.jet(value, [_shared_gram_directions(run, x, directions, weight), second], 1)


def _shared_gram_directions(run: Run, x: Jet, directions: Any, weight: Any) -> Any:
    # The Gram matrix of a wide first layer costs more than a forward of a few rows: parts of one batch share it, where
    # the directions are known to be those of every row. In a part of one row, any directions look shared.
    first = x.coefficients[0]
    constant = first.scale is None if isinstance(first, Diagonal) else first is run.seed and run.constant_seed
    if not constant:
        return _gram_directions(run, directions, x.ndim)
    known = run.shared.get("gram")
    if known is None or known[0] is not weight:
        first = _gram_directions(run, directions, x.ndim)
        run.shared["gram"] = (weight, first, run.metrics[1])
        return first
    _, first, run.metrics[1] = known
    return first


def _affordable(run: Run, count: int) -> float:
    # Unit directions of the layer's output spare the second layer its product with the Jacobian, which in a first-order
    # run pays somewhat beyond H = d; a collapsed run pushes dense directions and gains only with fewer of them.
    return count - 1 if run.collapsed else 1.25 * count


def _untouched(run: Run, x: Jet) -> int:
    """How many directions reach the layer through the state itself, or 0 if they went through something else before."""
    first = x.coefficients[0]
    if isinstance(first, Diagonal):
        per_row = isinstance(first.scale, torch.Tensor) and first.scale.shape[:-1].numel() != 1
        return 0 if isinstance(first.scale, Jet) or (per_row and not run.collapsed) else first.count
    if not isinstance(first, torch.Tensor):
        return 0
    shared = first.shape[1:-1].numel() == 1
    return first.shape[0] if shared or (run.collapsed and first is run.seed) else 0


def _directions(x: Jet, weight: Any) -> Any:
    """W S for the directions S of the state: (H, R) if all rows share them, else (*batch, H, R)."""
    first = x.coefficients[0]
    if isinstance(first, Diagonal):
        if first.scale is None:
            return first.of(weight)
        shared = first.scale.shape[:-1].numel() == 1
        if shared:
            return first.of(weight) * first.scale.reshape(1, -1)
        return first.of(weight) * aligned(first.scale, 0, x.ndim).unsqueeze(-2)
    if first.shape[1:-1].numel() == 1:
        return functional.linear(first.reshape(first.shape[0], first.shape[-1]), weight).t()
    return functional.linear(first, weight).movedim(0, -1)


def _gram_directions(run: Run, directions: Any, ndim: int) -> Any:
    width, metric = directions.shape[-2], run.metrics[0]
    shared = directions.ndim == 2
    if metric is None:
        gram = directions @ directions.transpose(-1, -2)
        factor = _factor(gram)
        if factor is not None:
            return (
                factor.t().contiguous().reshape(width, *(1,) * (ndim - 1), width)
                if shared
                else factor.movedim(-1, 0).contiguous()
            )
    elif isinstance(metric, str):
        half = directions.shape[-1] // 2
        forth = directions[..., :half] @ directions[..., half:].transpose(-1, -2)
        gram = 0.5 * (forth + forth.transpose(-1, -2))
    else:
        gram = directions @ metric @ directions.transpose(-1, -2)
    if shared:
        run.metrics[1] = gram
        return Diagonal(width)
    run.metrics[1] = "pairs"
    unit = torch.eye(width, dtype=gram.dtype, device=gram.device).expand(gram.shape)
    return torch.cat([unit.movedim(-1, 0), gram.movedim(-1, 0)])


def _factor(gram: Any) -> Any:
    # What follows looks at values, which a compiled graph can't.
    if torch.compiler.is_compiling() or not isinstance(gram, torch.Tensor) or gram.numel() == 0:
        return None
    factor, failed = torch.linalg.cholesky_ex(gram)
    if bool(failed.any()):
        return None
    pivots = factor.detach().diagonal(dim1=-2, dim2=-1)
    ratio = float((pivots.amin(-1) / pivots.amax(-1)).min() ** 2)
    return factor if ratio > _WELL_CONDITIONED.get(gram.dtype, 1.0) else None
