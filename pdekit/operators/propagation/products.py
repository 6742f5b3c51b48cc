"""Rules of sums and products, of linear layers and convolutions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from pdekit.operators.propagation.compression import compressed_layer
from pdekit.operators.propagation.jet import Diagonal, Jet, Projected, Run, Unsupported
from pdekit.operators.propagation.registry import rule
from pdekit.operators.propagation.series import add, contract, multiply, scale, system_of
from pdekit.operators.propagation.shapes import batched


@rule("add", "__add__", "__radd__", "__iadd__")
def add_(run: Run, a: Any, b: Any, *, alpha: Any = 1) -> Jet:
    """a + alpha b."""
    return add(run, a, b, alpha)


@rule("sub", "subtract", "__sub__", "__isub__")
def subtract(run: Run, a: Any, b: Any, *, alpha: Any = 1) -> Jet:
    """a - alpha b."""
    return add(run, a, b, -alpha)


@rule("__rsub__")
def reflected_subtract(run: Run, a: Any, b: Any) -> Jet:
    """b - a."""
    return add(run, torch.neg(a), b)


@rule("mul", "multiply", "__mul__", "__rmul__", "__imul__")
def mul(run: Run, a: Any, b: Any) -> Jet:
    """a b."""
    if run.owns(a) and run.owns(b):
        return multiply(run, a, b)
    return scale(run, a, b) if run.owns(a) else scale(run, b, a)


@rule("div", "divide", "true_divide", "__truediv__", "__div__", "__itruediv__")
def div(run: Run, a: Any, b: Any, *, rounding_mode: Any = None) -> Any:
    """a / b."""
    if rounding_mode is not None:
        raise Unsupported("division with rounding")
    if run.owns(b):
        return torch.mul(torch.reciprocal(b), a)
    return scale(run, a, 1.0 / b if isinstance(b, int | float) else torch.reciprocal(b))


@rule("__rtruediv__", "__rdiv__")
def reflected_div(run: Run, a: Any, b: Any) -> Any:
    """b / a."""
    return torch.div(b, a)


@rule("addcmul")
def addcmul(run: Run, x: Any, a: Any, b: Any, *, value: Any = 1) -> Any:
    """x + value a b."""
    return x + (a * b if value == 1 else a * b * value)


@rule("addcdiv")
def addcdiv(run: Run, x: Any, a: Any, b: Any, *, value: Any = 1) -> Any:
    """x + value a / b."""
    return x + (a / b) * value


@rule("lerp")
def lerp(run: Run, a: Any, b: Any, weight: Any) -> Any:
    """a + weight (b - a)."""
    return a + weight * (b - a)


@rule("linear")
def linear_layer(run: Run, x: Any, weight: Any, bias: Any = None) -> Jet:
    """x W^T + b; the first one may compress the directions of the input."""
    if run.owns(weight):
        product = torch.matmul(x, weight.transpose(-1, -2))
        return product if bias is None else product + bias
    result = _apply_weight(run, x, weight)
    return result if bias is None else add(run, result, bias)


def _apply_weight(run: Run, x: Jet, weight: Any) -> Jet:
    compressed = compressed_layer(run, x, weight)
    if compressed is not None:
        return compressed
    value = functional.linear(x.value, weight)
    first = x.coefficients[0]
    keeps = isinstance(first, Diagonal) and (run.order == 1 or run.collapsed)
    if isinstance(first, Diagonal):
        images: list[Any] = [Projected(first, weight) if keeps else first.through(weight, x.ndim)]
    else:
        images = [_projected(x.dense(1), weight)]
    images += [_projected(x.dense(k), weight) for k in range(2, run.order + 1)]
    return run.jet(value, images, x.system)


def _projected(c: Any, weight: Any) -> Any:
    return None if c is None else Projected(c, weight)


@rule("matmul", "__matmul__", "bmm", "mm")
def matmul(run: Run, a: Any, b: Any) -> Any:
    """The matrix product, with torch's rules for vectors."""
    if a.ndim == 1 and b.ndim == 1:
        return torch.sum(a * b, -1)
    if run.owns(a) and not run.owns(b) and b.ndim == 2:
        return linear_layer(run, a, b.t())
    if a.ndim == 1:
        return torch.matmul(a.unsqueeze(0), b).squeeze(-2)
    if b.ndim == 1:
        return torch.matmul(a, b.unsqueeze(-1)).squeeze(-1)
    return multiply(run, a, b, torch.matmul)


@rule("__rmatmul__")
def reflected_matmul(run: Run, a: Any, b: Any) -> Any:
    """b @ a."""
    return torch.matmul(b, a)


@rule("mv")
def mv(run: Run, a: Any, b: Any) -> Any:
    """A matrix times a vector."""
    return torch.matmul(a, b)


@rule("addmm", "baddbmm", "addmv")
def addmm(run: Run, x: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta x + alpha a @ b."""
    product = torch.matmul(a, b)
    return beta * x + (product if alpha == 1 else alpha * product)


@rule("dot", "inner", "vdot")
def dot(run: Run, a: Any, b: Any) -> Any:
    """The inner product of two vectors."""
    if a.ndim != 1 or b.ndim != 1:
        raise Unsupported("inner products of matrices")
    return torch.sum(a * b, -1)


@rule("vecdot")
def vecdot(run: Run, a: Any, b: Any, *, dim: int = -1) -> Any:
    """Inner products along an axis."""
    return torch.sum(a * b, dim)


@rule("outer", "ger")
def outer(run: Run, a: Any, b: Any) -> Any:
    """The outer product of two vectors."""
    return a.unsqueeze(-1) * b.unsqueeze(0)


@rule("bilinear")
def bilinear(run: Run, a: Any, b: Any, weight: Any, bias: Any = None) -> Any:
    """sum_ij a_i W_kij b_j + bias_k."""
    left = torch.matmul(a, weight.permute(1, 0, 2).flatten(1)).unflatten(-1, (weight.shape[0], weight.shape[2]))
    product = torch.sum(left * b.unsqueeze(-2), -1)
    return product if bias is None else product + bias


def _convolution(name: str, spatial: int) -> None:
    def follow(run: Run, x: Any, weight: Any, bias: Any = None, *args: Any, **kwargs: Any) -> Any:
        if run.owns(weight):
            raise Unsupported("a convolution kernel that depends on the state")
        function = getattr(functional, name)
        image = batched(run, x, lambda z: function(z, weight, None, *args, **kwargs), spatial)
        return image if bias is None else add(run, image, bias.reshape(-1, *(1,) * spatial))

    for home in (torch, functional):
        if hasattr(home, name):
            rule(name)(follow)


for _name, _spatial in (
    *(("conv1d", 1), ("conv2d", 2), ("conv3d", 3)),
    *(("conv_transpose1d", 1), ("conv_transpose2d", 2), ("conv_transpose3d", 3)),
):
    _convolution(_name, _spatial)


@rule("einsum")
def einsum(run: Run, equation: str, *operands: Any) -> Any:
    """Einstein sums of one or two series and any constants."""
    tensors: Sequence[Any] = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    owned = [i for i, z in enumerate(tensors) if run.owns(z)]
    if "->" not in equation or "." in equation or len(owned) > 2:
        raise Unsupported("einsum without ->, with ..., or of three series")
    left, right = equation.replace(" ", "").split("->")
    terms = left.split(",")
    extra = next(letter for letter in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if letter not in equation)

    def evaluate(parts: dict[int, Any], leads: dict[int, int], keep: bool) -> Any:
        spelled = ",".join((extra if leads.get(i) else "") + term for i, term in enumerate(terms))
        out = (extra if keep and any(leads.values()) else "") + right
        return torch.einsum(f"{spelled}->{out}", *(parts.get(i, z) for i, z in enumerate(tensors)))

    values = {i: tensors[i].value for i in owned}
    value = evaluate(values, {}, True)
    system = system_of(run, [tensors[i] for i in owned])
    coefficients: list[Any] = []
    for n in range(1, run.order + 1):
        total: Any = None
        for split in _splits(n, len(owned)):
            parts = {i: tensors[i].full(k) if k else values[i] for i, k in zip(owned, split, strict=True)}
            if any(p is None for p in parts.values()):
                continue
            leads = {i: run.lead(k) if k else 0 for i, k in zip(owned, split, strict=True)}
            collapse = run.collapsed and n == 2 and split == (1, 1)
            if collapse:
                i, j = owned
                term = contract(run.metrics[system], parts[i], parts[j], lambda a, b: evaluate({i: a, j: b}, leads, True))
            else:
                term = evaluate(parts, leads, True)
            total = term if total is None else total + term
        coefficients.append(total)
    return run.jet(value, coefficients, system)


def _splits(n: int, count: int) -> list[tuple[int, ...]]:
    return [(n,)] if count == 1 else [(k, n - k) for k in range(n + 1)]


