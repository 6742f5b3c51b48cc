"""Rules of sums and products, of linear layers and convolutions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pdekit.errors import OperatorError
from pdekit.operators.propagation.coefficient import Diagonal, Projected, Weighted
from pdekit.operators.propagation.compression import compressed_layer
from pdekit.operators.propagation.jet import Jet, Run, Unsupported
from pdekit.operators.propagation.registry import rule
from pdekit.operators.propagation.series import add, multiply, scale, system_of
from pdekit.operators.propagation.shapes import batched, filled, promoted


@rule("add")
def add_(run: Run, a: Any, b: Any, *, alpha: Any = 1) -> Jet:
    """a + alpha b."""
    return add(run, *promoted(run, a, b), alpha)


@rule("sub", "subtract")
def subtract(run: Run, a: Any, b: Any, *, alpha: Any = 1) -> Jet:
    """a - alpha b."""
    return add(run, *promoted(run, a, b), -alpha)


@rule("rsub")
def rsub(run: Run, a: Any, b: Any, alpha: Any = 1) -> Any:
    """b - alpha a."""
    return add_(run, torch.neg(a), b) if alpha == 1 else add_(run, a * -alpha, b)


@rule("mul", "multiply")
def mul(run: Run, a: Any, b: Any) -> Jet:
    """a b."""
    a, b = promoted(run, a, b)
    if run.owns(a) and run.owns(b):
        return multiply(run, a, b)
    return scale(run, a, b) if run.owns(a) else scale(run, b, a)


@rule("div", "divide", "true_divide")
def div(run: Run, a: Any, b: Any, *, rounding_mode: Any = None) -> Any:
    """a / b; rounded, it is constant nearly everywhere."""
    if rounding_mode is not None:
        return torch.div(*(z.value if run.owns(z) else z for z in (a, b)), rounding_mode=rounding_mode)
    a, b = promoted(run, a, b)
    if run.owns(b):
        return torch.mul(torch.reciprocal(b), a)
    scaled = scale(run, a, 1.0 / b if isinstance(b, int | float) else torch.reciprocal(b))
    return run.jet(a.value / b, scaled.coefficients, scaled.system)


# In compiled graphs x - a and x / a for a constant tensor a arrive as its reflected methods.


@rule(Tensor.__rsub__)
def reflected_subtract(run: Run, a: Any, b: Any) -> Any:
    """b - a."""
    return subtract(run, b, a)


@rule(Tensor.__rdiv__)  # __rtruediv__ is the same
def reflected_div(run: Run, a: Any, b: Any) -> Any:
    """b / a."""
    return div(run, b, a)


@rule(Tensor.__rpow__)
def reflected_pow(run: Run, a: Any, b: Any) -> Any:
    """b to the power a."""
    return torch.pow(b, a)


@rule(Tensor.__rmod__)
def reflected_remainder(run: Run, a: Any, b: Any) -> Any:
    """The remainder of b over a."""
    return torch.remainder(b, a)


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
def linear_layer(run: Run, x: Any, weight: Any, bias: Any = None) -> Any:
    """x W^T + b; the first one may compress the directions of the input."""
    if run.owns(weight):
        product = torch.matmul(x, weight.transpose(-1, -2))
        return product if bias is None else product + bias
    result = _apply_weight(run, x, weight)
    return result if bias is None else add(run, result, bias)


def _apply_weight(run: Run, x: Jet, weight: Any) -> Jet:
    run.shared["width"] = max(run.shared.get("width", 0), *weight.shape[: 1 if x.system == 0 else 2])
    compressed = compressed_layer(run, x, weight)
    if compressed is not None:
        return compressed
    value = functional.linear(x.value, weight)
    first = x.coefficients[0]
    keeps = isinstance(first, Diagonal) and (run.order == 1 or run.collapsed)
    if isinstance(first, Diagonal):
        images: list[Any] = [Projected(first, weight) if keeps else first.through(weight, x.ndim)]
    else:
        images = [_projected(x, 1, weight)]
    images += [_projected(x, k, weight) for k in range(2, run.order + 1)]
    return run.jet(value, images, x.system)


def _projected(x: Jet, k: int, weight: Any) -> Any:
    c = x.coefficients[k - 1]
    c = c if isinstance(c, Weighted) else filled(x.dense(k), x.shape, -1)
    return None if c is None else Projected(c, weight)


@rule("matmul", "bmm", "mm", "mv")
def matmul(run: Run, a: Any, b: Any) -> Any:
    """The matrix product, with torch's rules for vectors."""
    if a.ndim == 1 and b.ndim == 1:
        return torch.sum(a * b, -1)
    if run.owns(a) and not run.owns(b) and b.ndim == 2:
        return linear_layer(run, a, b.t())
    if run.owns(b) and not run.owns(a) and a.ndim == 2 and b.ndim == 1:
        return linear_layer(run, b, a)
    if a.ndim == 1:
        return torch.matmul(a.unsqueeze(0), b).squeeze(-2)
    if b.ndim == 1:
        return torch.matmul(a, b.unsqueeze(-1)).squeeze(-1)
    return multiply(run, _summable(run, a, -1), _summable(run, b, -2), torch.matmul)


def _summable(run: Run, z: Any, axis: int) -> Any:
    if not run.owns(z):
        return z
    return run.jet(z.value, [filled(z.dense(k), z.shape, axis) for k in range(1, run.order + 1)], z.system)


@rule(Tensor.matmul)
def matmul_method(run: Run, a: Any, b: Any) -> Any:
    """The matrix product as a method; how `tensor @ series` arrives, and in a compiled graph `series @ tensor` too."""
    if torch.compiler.is_compiling() and not run.owns(a):
        raise OperatorError(
            "In a compiled graph torch exchanges the operands of x @ W where x depends on the state. Write "
            "torch.matmul(x, W) or torch.nn.functional.linear(x, W.t()) instead, or call the operator without "
            "torch.compile."
        )
    return matmul(run, a, b)


@rule("addmm", "baddbmm", "addmv")
def addmm(run: Run, x: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta x + alpha a @ b."""
    product = torch.matmul(a, b)
    return beta * x + (product if alpha == 1 else alpha * product)


@rule("dot", "inner", "vdot")
def dot(run: Run, a: Any, b: Any) -> Any:
    """The inner product of vectors; of the last axes of more."""
    if a.ndim > 1 and b.ndim > 1:
        rows = torch.matmul(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]).transpose(0, 1))
        return rows.reshape(*a.shape[:-1], *b.shape[:-1])
    return torch.sum(a * b, -1)


@rule("vecdot")
def vecdot(run: Run, a: Any, b: Any, *, dim: int = -1) -> Any:
    """Inner products along an axis."""
    return torch.sum(a * b, dim)


@rule("outer", "ger")
def outer(run: Run, a: Any, b: Any) -> Any:
    """The outer product of two vectors."""
    return a.unsqueeze(-1) * b.unsqueeze(0)


@rule("kron")
def kron(run: Run, a: Any, b: Any) -> Any:
    """The Kronecker product of vectors or matrices."""
    if a.ndim != b.ndim or a.ndim > 2:
        raise Unsupported("kron of other shapes than two vectors or two matrices")
    if a.ndim == 2:
        return (a[:, None, :, None] * b[None, :, None, :]).reshape(a.shape[0] * b.shape[0], a.shape[1] * b.shape[1])
    return (a.unsqueeze(-1) * b).reshape(-1)


@rule(torch.linalg.cross)
def cross(run: Run, a: Any, b: Any, *, dim: int = -1) -> Any:
    """The cross product of vectors in space."""
    a1, a2, a3 = torch.unbind(a, dim)
    b1, b2, b3 = torch.unbind(b, dim)
    return torch.stack([a2 * b3 - a3 * b2, a3 * b1 - a1 * b3, a1 * b2 - a2 * b1], dim)


@rule(torch.cross, torch.Tensor.cross)
def old_cross(run: Run, a: Any, b: Any, dim: Any = None) -> Any:
    """The same over the first axis of size 3."""
    return torch.linalg.cross(a, b, dim=list(a.shape).index(3) if dim is None else dim)


@rule(functional.bilinear)
def bilinear(run: Run, a: Any, b: Any, weight: Any, bias: Any = None) -> Any:
    """sum_ij a_i W_kij b_j + bias_k."""
    product = torch.einsum("...i,kij,...j->...k", a, weight, b)
    return product if bias is None else product + bias


def _convolution(function: Any, spatial: int) -> None:
    @rule(function)
    def follow(run: Run, x: Any, weight: Any, bias: Any = None, *args: Any, **kwargs: Any) -> Any:
        if run.owns(weight):
            raise Unsupported("a convolution kernel that depends on the state")
        image = batched(run, x, lambda z: function(z, weight, None, *args, **kwargs), spatial)
        return image if bias is None else image + bias.reshape(-1, *(1,) * spatial)


_convolution(functional.conv1d, 1)
_convolution(functional.conv2d, 2)
_convolution(functional.conv3d, 3)
_convolution(functional.conv_transpose1d, 1)
_convolution(functional.conv_transpose2d, 2)
_convolution(functional.conv_transpose3d, 3)


@rule("einsum")
def einsum(run: Run, equation: Any, *operands: Any) -> Any:
    """Einstein sums of series and constants."""
    if not isinstance(equation, str):
        raise Unsupported("einsum with lists of axes")
    tensors: Sequence[Any] = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    product = _Einsum(equation, tensors)
    owned = [i for i, z in enumerate(tensors) if run.owns(z)]
    value = product({i: tensors[i].value for i in owned}, set(), keep=False)
    system = system_of(run, [tensors[i] for i in owned])
    coefficients: list[Any] = []
    for n in range(1, run.order + 1):
        terms = [_einsum_term(run, product, dict(zip(owned, ks, strict=True)), system) for ks in _splits(n, len(owned))]
        coefficients.append(_total([term for term in terms if term is not None]))
    return run.jet(value, coefficients, system)


def _einsum_term(run: Run, product: "_Einsum", orders: dict[int, int], system: int) -> Any:
    """The term of Leibniz' rule with coefficient orders[i] of operand i, or None for zero."""
    parts = {i: product.tensors[i].value if k == 0 else product.coefficient(i, k) for i, k in orders.items()}
    if any(p is None for p in parts.values()):
        return None
    first = [i for i, k in orders.items() if k and run.lead(k)]
    if not (run.collapsed and len(first) == 2):
        return product(parts, set(first), keep=True)
    parts[first[0]] = weighed(run.metrics[system], parts[first[0]])
    return product(parts, set(first), keep=False)


class _Einsum:
    """An Einstein sum whose operands may carry a leading axis of directions."""

    def __init__(self, equation: str, tensors: Sequence[Any]) -> None:
        left, arrow, right = equation.replace(" ", "").partition("->")
        self.terms, self.tensors = left.split(","), tensors
        letters = sorted(set(left) - set(",."))
        self.right = right if arrow else "..." * ("." in left) + "".join(c for c in letters if left.count(c) == 1)
        self.direction = next(letter for letter in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if letter not in equation)

    def coefficient(self, i: int, k: int) -> Any:
        """Coefficient k of operand i; axes of size 1 may stay where nothing is summed and no diagonal taken."""
        term, jet = self.terms[i], self.tensors[i]
        if "." in term or len(set(term)) < len(term):
            return jet.full(k)
        c = jet.dense(k)
        for axis, letter in enumerate(term, start=-len(term)):
            c = c if letter in self.right else filled(c, jet.shape, axis)
        return c

    def __call__(self, parts: dict[int, Any], directed: set[int], *, keep: bool) -> Any:
        """The sum with `parts` in place of operands, where those in `directed` have directions in front.

        Args:
            parts: Replacements by position.
            directed: The positions with directions.
            keep: Whether the result has directions as well; else they are summed.
        """
        # Products run from left to right: whatever makes them small comes first.
        order = sorted(range(len(self.terms)), key=lambda i: (i in directed) == keep)
        spelled = ",".join(self.direction * (i in directed) + self.terms[i] for i in order)
        out = self.direction * (keep and bool(directed)) + self.right
        return torch.einsum(f"{spelled}->{out}", *(parts.get(i, self.tensors[i]) for i in order))


def weighed(metric: Any, a: Any) -> Any:
    """b with sum_s op(b_s, c_s) = sum_rs G_rs op(a_r, c_s); see `Run` for the forms of the metric G."""
    if metric is None:
        return a
    if isinstance(metric, str):
        return 0.5 * torch.roll(a, a.shape[0] // 2, 0)
    return torch.matmul(metric, a.reshape(a.shape[0], -1)).reshape(a.shape)


def _splits(n: int, count: int) -> list[tuple[int, ...]]:
    if count == 1:
        return [(n,)]
    return [(k, *rest) for k in range(n + 1) for rest in _splits(n - k, count - 1)]


def _total(terms: list[Any]) -> Any:
    return sum(terms[1:], terms[0]) if terms else None
