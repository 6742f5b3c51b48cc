"""Coefficients that are not multiplied out: structure that a tensor of directions would lose."""

from typing import Any

import torch
from torch.nn import functional


class Diagonal:
    """The coefficient c_1 whose direction r moves feature `start + r` of the last axis alone, by `scale[..., r]`.

    Args:
        count: The number of directions.
        start: The feature that direction 0 moves.
        scale: How far: (..., count), broadcastable to the value's leading axes; None for 1.
    """

    def __init__(self, count: int, start: int = 0, scale: Any = None) -> None:
        self.count, self.start, self.scale = count, start, scale

    def of(self, z: Any) -> Any:
        """The features of `z` that some direction moves."""
        if self.start == 0 and self.count == z.shape[-1]:
            return z
        return z[..., self.start : self.start + self.count]

    def scaled(self, factor: Any) -> "Diagonal":
        """The same directions, features multiplied by `factor`, whose last axis is the value's or of size 1."""
        factor = factor if factor.shape[-1] == 1 else self.of(factor)
        return Diagonal(self.count, self.start, factor if self.scale is None else factor * self.scale)

    def through(self, weight: Any, ndim: int) -> Any:
        """The image under a linear layer of weight (m, n): (count, ..., m), with `ndim` axes after the first."""
        # Contiguous, because products inherit the layout, and matrix products of strided tensors copy.
        columns = self.of(weight).t().contiguous().reshape(self.count, *(1,) * (ndim - 1), weight.shape[0])
        return (
            columns
            if self.scale is None
            else columns * aligned(self.scale.movedim(-1, 0).contiguous().unsqueeze(-1), 1, ndim)
        )

    def dense(self, like: Any) -> Any:
        """The coefficient as a tensor (count, ..., n) for a value `like`."""
        eye = torch.eye(self.count, dtype=like.dtype, device=like.device)
        eye = functional.pad(eye, (self.start, like.shape[-1] - self.start - self.count))
        eye = eye.reshape(self.count, *(1,) * (like.ndim - 1), like.shape[-1])
        return (
            eye
            if self.scale is None
            else eye * aligned(self.scale.movedim(-1, 0).contiguous().unsqueeze(-1), 1, like.ndim)
        )


class Projected:
    """The coefficient `inner @ weight.T`, multiplied out only if it is asked for: a trace needs no such product.

    Args:
        inner: A coefficient tensor (R, ..., n), a `Diagonal` or a `Weighted`.
        weight: (m, n).
    """

    def __init__(self, inner: Any, weight: Any) -> None:
        self.inner, self.weight = inner, weight
        self._dense: Any = None

    def dense(self, ndim: int) -> Any:
        """The product, for a value of `ndim` axes; kept once computed."""
        if self._dense is None:
            inner, weight = self.inner, self.weight
            if isinstance(inner, Weighted):
                self._dense = inner.through(weight)
            else:
                diagonal = isinstance(inner, Diagonal)
                self._dense = inner.through(weight, ndim) if diagonal else functional.linear(inner, weight)
        return self._dense


class Weighted:
    """The coefficient sum_i tensor_i * row_i, each row shared by all leading axes; a linear layer takes rows into W.

    Without directions, the slope of the state enters a first layer as a row of weights: phi'(a) * w then costs a
    product per element that V (phi'(a) * w) = (V * w) phi'(a) does not need.

    Args:
        terms: Pairs of a tensor (..., n) and a row (n,), or None for a row of ones.
    """

    def __init__(self, terms: list[tuple[Any, Any]]) -> None:
        self.terms = terms

    def times(self, factor: Any) -> "Weighted":
        """The same times a tensor of the value's shape."""
        return Weighted([(tensor * factor, row) for tensor, row in self.terms])

    def through(self, weight: Any) -> Any:
        """The image under a linear layer of weight (m, n)."""
        total: Any = None
        for tensor, row in self.terms:
            image = functional.linear(tensor, weight if row is None else weight * row)
            total = image if total is None else total + image
        return total

    def dense(self) -> Any:
        """The sum as a tensor."""
        total: Any = None
        for tensor, row in self.terms:
            product = tensor if row is None else tensor * row
            total = product if total is None else total + product
        return total


def product(a: Any, b: Any) -> Any:
    """a * b for coefficients or values, None meaning zero; a row times a tensor stays apart, as a `Weighted`."""
    if a is None or b is None:
        return None
    if isinstance(a, Weighted) and isinstance(b, Weighted):
        return a.dense() * b.dense()
    if isinstance(a, Weighted) or isinstance(b, Weighted):
        weighted: Any
        other: Any
        weighted, other = (a, b) if isinstance(a, Weighted) else (b, a)
        tensor = weighted.terms[0][0]
        if _is_row(other, tensor):
            row = other.reshape(-1)
            return Weighted([(t, row if r is None else r * row) for t, r in weighted.terms])
        return weighted.times(other) if other.shape == tensor.shape else weighted.dense() * other
    if _is_row(b, a):
        return Weighted([(a, b.reshape(-1))])
    return Weighted([(b, a.reshape(-1))]) if _is_row(a, b) else a * b


def total(a: Any, b: Any) -> Any:
    """a + b for coefficients, None meaning zero."""
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, Weighted) or isinstance(b, Weighted):
        terms = [*(_terms(a) or ()), *(_terms(b) or ())]
        if len({tuple(t.shape) for t, _ in terms}) == 1:
            return Weighted(terms)
        return _dense(a) + _dense(b)
    return a + b


def _terms(z: Any) -> list[tuple[Any, Any]]:
    return z.terms if isinstance(z, Weighted) else [(z, None)]


def _dense(z: Any) -> Any:
    return z.dense() if isinstance(z, Weighted) else z


def _is_row(row: Any, tensor: Any) -> bool:
    # Of the same number of axes, one entry per feature, and much smaller than what it multiplies.
    return (
        isinstance(row, torch.Tensor)
        and isinstance(tensor, torch.Tensor)
        and row.ndim == tensor.ndim > 1
        and 1 < row.shape[-1] == tensor.shape[-1] == row.numel() < tensor.numel()
    )


def aligned(coefficient: Any, lead: int, ndim: int) -> Any:
    """A coefficient whose axes after the `lead` leading ones are padded with ones in front, to `ndim` of them."""
    missing = ndim + lead - coefficient.ndim
    if missing <= 0:
        return coefficient
    return coefficient.reshape(*coefficient.shape[:lead], *(1,) * missing, *coefficient.shape[lead:])
