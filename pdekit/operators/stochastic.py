"""Stochastic estimates with measured standard errors: Hutchinson's, and the choice between them and exact routes."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pdekit.errors import OperatorError
from pdekit.operators.call import Call, check_scalar_or_vector, check_vector, make_call
from pdekit.operators.contract import check_rows
from pdekit.operators.following import Refusal, follow
from pdekit.operators.methods import Hutchinson, Within
from pdekit.operators.nested import directional_jets
from pdekit.operators.propagation import Diagonal, Projected, Run
from pdekit.operators.result import OperatorResult, Plan
from pdekit.operators.second import Spread
from pdekit.operators.tiling import joined, ranges_of_rows
from pdekit.operators.trust import distrust


@dataclass(frozen=True, eq=False)
class Samples:
    """One estimate for each direction: (samples, ...), with the function's output."""

    output: Any
    values: Any
    seed: int | None


def summarised(samples: Samples) -> OperatorResult:
    """Mean and standard error over the directions."""
    n = samples.values.shape[0]
    mean = samples.values.mean(0)
    deviation = samples.values.detach() - mean.detach()
    stderr = torch.sqrt(deviation.square().sum(0) / (n * (n - 1))) if n > 1 else None
    reason = f"mean over {n} random directions" if n > 1 else "one random direction, so no standard error"
    return OperatorResult(mean, samples.output, stderr, Plan("hutchinson", reason, n, samples.seed))


def jacobian_samples(call: Call, method: Hutchinson, *, trace: bool) -> Samples:
    """v * (J v) for each direction, or v . J v with `trace`."""
    if method.bottleneck:
        if not trace:
            raise OperatorError(f"{call.operator}: Hutchinson(bottleneck=True) estimates a trace only.")
        return _bottleneck_samples(call, method)
    noise, seed = method.draw(call.x)
    output, (slopes,) = along(call, noise, 1)
    check_vector(call, output)
    check_rows(call, output)
    products = noise * slopes
    return Samples(output, products.sum(-1) if trace else products, seed)


def _bottleneck_samples(call: Call, method: Hutchinson) -> Samples:
    output, noise, back, seed = _bottleneck(call, method)
    return Samples(output, (noise * back).sum(-1), seed)


def bottleneck_width(f: Callable[..., Any], *arguments: Any, **keywords: Any) -> int:
    """H of f = g(W x), W (H, d): the length of the directions that `Hutchinson(bottleneck=True)` draws there.

    Raises:
        OperatorError: If the first thing that the state meets is no linear layer.
    """
    call = make_call("divergence", f, arguments, keywords)
    return _bottleneck(call, Hutchinson(bottleneck=True, seed=0))[1].shape[-1]


def _bottleneck(call: Call, method: Hutchinson) -> tuple[Any, Tensor, Tensor, int | None]:
    """f, directions v (samples, *batch, H), W (dg/dz) v, and the seed."""
    drawn: list[tuple[Tensor, int | None]] = []

    def probes(like: Any, width: int) -> Tensor:
        drawn.append(method.draw(like, width))
        return drawn[0][0]

    run = Run(1, directions=True, compression="always", level=call.level)
    run.probes = probes
    jet = follow(call, run, [Diagonal(call.dim)])
    if isinstance(jet, Refusal) or run.input_map is None or jet.system == 0:
        cause = jet.reason if isinstance(jet, Refusal) else "the first thing that the state meets is no linear layer"
        raise OperatorError(f"{call.operator}: Hutchinson(bottleneck=True) is not possible: {cause}.")
    check_vector(call, jet)
    check_rows(call, jet.value)
    noise, seed = drawn[0]
    first = jet.coefficients[0]
    if isinstance(first, Projected):  # v . W (V z) without the product with V
        back = functional.linear(first.inner, run.input_map @ first.weight)
    else:
        back = functional.linear(jet.full(1), run.input_map)
    return jet.value, noise, back, seed


def second_order_samples(call: Call, spread: Spread, drift: Any, method: Hutchinson) -> Samples:
    """v . S^T hess u S v (plus b.grad u) for each direction v."""
    if method.bottleneck:
        raise OperatorError(f"{call.operator}: Hutchinson(bottleneck=True) is for the divergence only.")
    width = None if spread.factor is None else spread.factor.shape[-1]
    noise, seed = method.draw(call.x, width)
    if spread.tensor is not None:
        # D^2 u[v, C v] by polarisation, for C of any signature.
        other = torch.einsum("...ij,...j->...i", spread.tensor, noise)
        output, (_, plus) = along(call, noise + other, 2)
        _, (_, minus) = along(call, noise - other, 2)
        values = 0.25 * (plus - minus)
    else:
        if spread.factor is not None:
            noise = torch.einsum("...ij,...j->...i", spread.factor, noise)
        elif spread.diagonal is not None:
            noise = noise * spread.diagonal
        output, (_, values) = along(call, noise, 2)
    check_scalar_or_vector(call, output)
    check_rows(call, output)
    if drift is not None:
        values = values + along(call, drift.unsqueeze(0), 1)[1][0]
    return Samples(output, values, seed)


def fourth_order_samples(call: Call, method: Hutchinson) -> Samples:
    """d^4 u(x + s v)/ds^4 / 3 for Gaussian v, whose mean is the biharmonic: E v_i v_j v_k v_l has three pairings."""
    if method.distribution != "gaussian":
        raise OperatorError(
            f"{call.operator}: fourth moments enter, so the directions must be Gaussian; use "
            'Hutchinson(distribution="gaussian").'
        )
    noise, seed = method.draw(call.x)
    output, derivatives = along(call, noise, 4)
    check_scalar_or_vector(call, output)
    check_rows(call, output)
    return Samples(output, derivatives[3] / 3.0, seed)


def along(call: Call, directions: Tensor, order: int) -> tuple[Any, list[Any]]:
    """The output, and the derivatives of s -> f(x + s v) up to `order` for each direction v, (R, *batch, d)."""
    ranges = ranges_of_rows(call, directions.shape[0])
    if ranges is None:
        return _along(call, directions, order)
    flat = directions.reshape(directions.shape[0], -1, call.dim)
    parts = [_along(call.rows(keep), flat[:, keep], order) for keep in ranges]
    columns = zip(*(derivatives for _, derivatives in parts), strict=True)
    whole = [torch.cat(column, 1) for column in columns]
    shape = (directions.shape[0], *call.batch)
    return joined(call, [output for output, _ in parts]), [d.reshape(*shape, *d.shape[2:]) for d in whole]


def _along(call: Call, directions: Tensor, order: int) -> tuple[Any, list[Any]]:
    run = Run(order, directions=True, level=call.level)
    jet = distrust(call, min(order, 2)) or follow(call, run, [directions, *[None] * (order - 1)])
    if isinstance(jet, Refusal):
        output, derivatives, _ = directional_jets(call, directions, order)
        return output, derivatives
    shape = (directions.shape[0], *jet.shape)
    derivatives = []
    for k in range(1, order + 1):
        c = jet.full(k)
        zero = torch.zeros(shape, dtype=jet.dtype, device=jet.device)
        derivatives.append(zero if c is None else math.factorial(k) * c)
    return jet.value, derivatives


def within(
    method: Within,
    sample: Callable[[Hutchinson], Samples],
    exact: Callable[[], OperatorResult],
    directions: int,
    distribution: str = "rademacher",
) -> OperatorResult:
    """The cheapest route that meets a relative tolerance; see `Within`.

    Args:
        method: The tolerance.
        sample: Hutchinson -> its samples.
        exact: The exact result.
        directions: What the exact route takes.
        distribution: Of the directions.
    """
    if directions <= method.pilot:
        return _because(exact(), f"exact: {directions} directions are no more than a pilot run")
    generator = torch.Generator()
    seed = generator.seed() if method.seed is None else method.seed
    options = Hutchinson(method.pilot, distribution, seed=seed)  # type: ignore[arg-type]
    drawn = sample(options)
    for attempt in range(1, 4):
        result = summarised(drawn)
        n, error, size = drawn.values.shape[0], _rms(result.stderr), _rms(result.value)
        if error <= method.rtol * size:
            reason = f"{n} random directions reach a standard error of {error / max(size, 1e-300):.2g} of the value"
            return OperatorResult(result.value, result.output, result.stderr, Plan("hutchinson", reason, n, seed))
        needed = math.inf if size == 0 else 1.1 * n * (error / (method.rtol * size)) ** 2
        if needed >= directions:
            count = "infinitely many" if math.isinf(needed) else f"about {math.ceil(needed):,}"
            return _because(exact(), f"exact: {count} random directions would be needed, the exact route takes fewer")
        extra = sample(replace(options, samples=math.ceil(needed) - n, seed=seed + attempt))
        drawn = Samples(drawn.output, torch.cat([drawn.values, extra.values]), seed)
    return _because(exact(), "exact: the standard error did not settle")


def _because(result: OperatorResult, reason: str) -> OperatorResult:
    plan = replace(result.plan, reason=f"{reason} ({result.plan.reason})")
    return OperatorResult(result.value, result.output, None, plan)


def _rms(z: Any) -> float:
    return 0.0 if z.numel() == 0 else float(z.detach().double().square().mean().sqrt())
