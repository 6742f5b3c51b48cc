"""Rules of linear maps that move, select, sum and copy entries.

Axes are counted from the end, so that one operation serves a value and its coefficients with a leading axis.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy import ndarray
from torch import Tensor

from pdekit.operators.propagation.coefficient import Diagonal, aligned
from pdekit.operators.propagation.jet import Jet, Run, Unsupported
from pdekit.operators.propagation.registry import rule
from pdekit.operators.propagation.series import linear, system_of


def _from_end(dim: int, ndim: int) -> int:
    return dim if dim < 0 else dim - ndim


def _dims(dim: Any, ndim: int) -> Any:
    if dim is None:
        return tuple(range(-ndim, 0))
    if isinstance(dim, int):
        return _from_end(dim, ndim)
    return tuple(_from_end(d, ndim) for d in dim)


def _flat(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else tuple(sizes)


def _resolved(shape: tuple[int, ...], numel: int) -> tuple[int, ...]:
    # A size of -1 would be ambiguous for a coefficient that has directions in front.
    if -1 not in shape:
        return shape
    known = 1
    for n in shape:
        known *= 1 if n == -1 else n
    return tuple(numel // known if n == -1 else n for n in shape)


@rule("reshape", "view")
def reshape(run: Run, x: Jet, *sizes: Any, **kwargs: Any) -> Jet:
    """The same entries in another shape."""
    if len(sizes) == 1 and isinstance(sizes[0], torch.dtype):
        raise Unsupported("view with a dtype")
    shape = _flat(sizes) if sizes else tuple(kwargs["shape"])
    if shape == tuple(x.shape):
        return x
    shape = _resolved(shape, x.value.numel())
    return linear(x, lambda z, lead: z.reshape(*z.shape[:lead], *shape))


@rule("view_as", "reshape_as")
def reshape_as(run: Run, x: Jet, other: Any) -> Jet:
    """The same entries in the shape of another tensor."""
    return reshape(run, x, *other.shape) if run.owns(x) else x.reshape(other.shape)


@rule("flatten")
def flatten(run: Run, x: Jet, start_dim: int = 0, end_dim: int = -1) -> Jet:
    """Several axes made one."""
    start, end = start_dim % max(1, x.ndim), end_dim % max(1, x.ndim)
    return reshape(run, x, *x.shape[:start], x.shape[start : end + 1].numel(), *x.shape[end + 1 :])


@rule("unflatten")
def unflatten(run: Run, x: Jet, dim: int, sizes: Sequence[int]) -> Jet:
    """One axis made several."""
    dim = dim % x.ndim
    return reshape(run, x, *x.shape[:dim], *_resolved(tuple(sizes), x.shape[dim]), *x.shape[dim + 1 :])


@rule("unsqueeze")
def unsqueeze(run: Run, x: Jet, dim: int) -> Jet:
    """A new axis of size 1."""
    dim = dim if dim < 0 else dim - x.ndim - 1
    return linear(x, lambda z, lead: z.unsqueeze(dim), expand=False)


@rule("squeeze")
def squeeze(run: Run, x: Jet, dim: Any = None) -> Jet:
    """Axes of size 1 removed."""
    dims = _dims(dim, x.ndim)
    dims = tuple(d for d in ((dims,) if isinstance(dims, int) else dims) if x.shape[d] == 1)
    return linear(x, lambda z, lead: torch.squeeze(z, dims), expand=False) if dims else x


@rule("transpose", "swapaxes", "swapdims")
def transpose(run: Run, x: Jet, dim0: int, dim1: int) -> Jet:
    """Two axes exchanged."""
    a, b = _from_end(dim0, x.ndim), _from_end(dim1, x.ndim)
    return linear(x, lambda z, lead: z.transpose(a, b), expand=False)


@rule("t")
def t(run: Run, x: Jet) -> Jet:
    """A matrix transposed."""
    return transpose(run, x, -2, -1) if x.ndim > 1 else x


@rule("permute")
def permute(run: Run, x: Jet, *dims: Any, **kwargs: Any) -> Jet:
    """Axes in another order."""
    order = [d % x.ndim for d in (_flat(dims) if dims else kwargs["dims"])]
    return linear(x, lambda z, lead: z.permute(*range(lead), *(d + lead for d in order)), expand=False)


@rule("movedim", "moveaxis")
def movedim(run: Run, x: Jet, source: Any, destination: Any) -> Jet:
    """Axes moved."""
    source, destination = _dims(source, x.ndim), _dims(destination, x.ndim)
    return linear(x, lambda z, lead: z.movedim(source, destination), expand=False)


@rule("expand", "broadcast_to")
def expand(run: Run, x: Jet, *sizes: Any, **kwargs: Any) -> Jet:
    """Axes of size 1 repeated without a copy."""
    shape = _flat(sizes) if sizes else tuple(kwargs["size"])
    value = x.value.expand(*shape)
    coefficients = []
    for k in range(1, run.order + 1):
        c = x.coefficients[k - 1]
        keeps = c is None or (isinstance(c, Diagonal) and value.shape[-1] == x.shape[-1])
        coefficients.append(c if keeps else aligned(x.dense(k), run.lead(k), value.ndim))
    return run.jet(value, coefficients, x.system)


@rule("expand_as")
def expand_as(run: Run, x: Any, other: Any) -> Any:
    """Axes of size 1 repeated to the shape of another tensor."""
    return x.expand(*other.shape)


@rule("broadcast_tensors")
def broadcast_tensors(run: Run, *tensors: Any) -> Any:
    """Tensors expanded to their common shape."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
    shape = torch.broadcast_shapes(*(z.shape for z in given))
    return tuple(z.expand(shape) for z in given)


@rule("repeat")
def repeat(run: Run, x: Jet, *sizes: Any) -> Jet:
    """Copies along axes."""
    counts = _flat(sizes)
    ndim = len(counts)
    padded = reshape(run, x, *(1,) * (ndim - x.ndim), *x.shape)
    return linear(padded, lambda z, lead: z.repeat(*(1,) * lead, *counts))


@rule("tile")
def tile(run: Run, x: Jet, *dims: Any) -> Jet:
    """Copies along axes, fewer counts than axes allowed."""
    counts = _flat(dims)
    return repeat(run, x, *(1,) * max(0, x.ndim - len(counts)), *counts)


@rule("repeat_interleave")
def repeat_interleave(run: Run, x: Jet, repeats: Any, dim: int) -> Jet:
    """Each entry repeated in place."""
    d = _from_end(dim, x.ndim)
    return linear(x, lambda z, lead: torch.repeat_interleave(z, repeats, d))


@rule("flip")
def flip(run: Run, x: Jet, *dims: Any) -> Jet:
    """Axes reversed."""
    dims = _dims(_flat(dims), x.ndim)
    return linear(x, lambda z, lead: torch.flip(z, dims))


@rule("roll")
def roll(run: Run, x: Jet, shifts: Any, dims: Any = None) -> Jet:
    """Entries shifted around an axis."""
    if dims is None:
        raise Unsupported("roll over all axes")
    dims = _dims(dims, x.ndim)
    return linear(x, lambda z, lead: torch.roll(z, shifts, dims))


@rule("narrow")
def narrow(run: Run, x: Jet, dim: int, start: int, length: int) -> Jet:
    """A range of an axis."""
    d = _from_end(dim, x.ndim)
    return linear(x, lambda z, lead: z.narrow(d, start, length))


@rule("select")
def select(run: Run, x: Jet, dim: int, index: int) -> Jet:
    """One entry of an axis."""
    d = _from_end(dim, x.ndim)
    return linear(x, lambda z, lead: z.select(d, index))


@rule("index_select")
def index_select(run: Run, x: Jet, dim: int, index: Any) -> Jet:
    """Entries of an axis."""
    d = _from_end(dim, x.ndim)
    return linear(x, lambda z, lead: torch.index_select(z, d, index))


@rule("gather")
def gather(run: Run, x: Jet, dim: int, index: Any) -> Jet:
    """Entries picked by an index tensor."""
    d = _from_end(dim, x.ndim)
    return linear(x, lambda z, lead: torch.gather(z, d, index.expand(*z.shape[:lead], *index.shape)))


@rule("take_along_dim")
def take_along_dim(run: Run, x: Jet, indices: Any, dim: Any = None) -> Jet:
    """The same, with axes of size 1 repeated; without an axis, of the flattened series."""
    if dim is None:
        return gather(run, reshape(run, x, -1), 0, indices.reshape(-1))
    d = _from_end(dim, x.ndim)
    shape = list(torch.broadcast_shapes(*(_without_size(z.shape, d) for z in (x, indices))))
    wide, sizes = list(shape), list(shape)
    wide[d], sizes[d] = x.shape[d], indices.shape[d]
    return gather(run, expand(run, x, *wide), d, indices.expand(sizes))


def _without_size(shape: Sequence[int], dim: int) -> list[int]:
    return [*shape[:dim], 1, *shape[len(shape) + dim + 1 :]]


@rule("__getitem__")
def getitem(run: Run, x: Jet, index: Any) -> Jet:
    """Slices, integers, None, Ellipsis, boolean and integer tensors."""
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(p, Jet) for p in parts) or not run.owns(x):
        raise Unsupported("an index that depends on the state")
    if any(isinstance(p, Tensor | list | ndarray) for p in parts):
        index = _without_ellipsis(parts, x.ndim)
        # Index tensors may move their axes to the front, so directions go last meanwhile.
        return linear(x, lambda z, lead: z.movedim(0, -1)[index].movedim(-1, 0) if lead else z[index])
    return linear(x, lambda z, lead: z[(slice(None), *parts)] if lead else z[index])


def _without_ellipsis(parts: tuple[Any, ...], ndim: int) -> tuple[Any, ...]:
    parts = tuple(p if p is None or isinstance(p, slice | int) or p is ... else torch.as_tensor(p) for p in parts)
    if not any(p is ... for p in parts):
        return parts
    masks = (torch.bool, torch.uint8)
    used = sum(p.ndim if isinstance(p, Tensor) and p.dtype in masks else p is not None and p is not ... for p in parts)
    at = next(i for i, p in enumerate(parts) if p is ...)
    return (*parts[:at], *(slice(None),) * (ndim - used), *parts[at + 1 :])


def _pieces(x: Jet, cut: Callable[[Any], Sequence[Any]]) -> tuple[Jet, ...]:
    value = cut(x.value)
    columns = []
    for k in range(1, x.run.order + 1):
        c = x.full(k)
        columns.append([None] * len(value) if c is None else cut(c))
    return tuple(x.run.jet(v, [c[i] for c in columns], x.system) for i, v in enumerate(value))


@rule("split")
def split(run: Run, x: Jet, split_size_or_sections: Any = None, dim: int = 0, **kwargs: Any) -> tuple[Jet, ...]:
    """Ranges of an axis."""
    sizes = kwargs.get("split_size", split_size_or_sections)
    d = _from_end(dim, x.ndim)
    return _pieces(x, lambda z: torch.split(z, sizes, d))


@rule("chunk")
def chunk(run: Run, x: Jet, chunks: int, dim: int = 0) -> tuple[Jet, ...]:
    """Equal ranges of an axis."""
    d = _from_end(dim, x.ndim)
    return _pieces(x, lambda z: torch.chunk(z, chunks, d))


@rule("tensor_split")
def tensor_split(run: Run, x: Jet, indices_or_sections: Any, dim: int = 0) -> tuple[Jet, ...]:
    """Ranges of an axis, nearly equal or cut at indices."""
    d = _from_end(dim, x.ndim)
    return _pieces(x, lambda z: torch.tensor_split(z, indices_or_sections, d))


@rule("unbind")
def unbind(run: Run, x: Jet, dim: int = 0) -> tuple[Jet, ...]:
    """The entries of an axis."""
    d = _from_end(dim, x.ndim)
    return _pieces(x, lambda z: torch.unbind(z, d))


@rule("cat", "concat", "concatenate")
def cat(run: Run, tensors: Sequence[Any], dim: int = 0) -> Jet:
    """Tensors side by side; constants among them have coefficients zero."""
    ndim = next(z for z in tensors if run.owns(z)).ndim
    d = _from_end(dim, ndim)
    joined = _cat_with_constants(run, tensors, d)
    return joined if joined is not None else _joined(run, tensors, lambda zs: torch.cat(zs, d), 0)


def _cat_with_constants(run: Run, tensors: Sequence[Any], dim: int) -> Jet | None:
    """cat([t, x]): directions keep moving one feature each, only further to the right, and shared axes stay shared."""
    owned = [i for i, z in enumerate(tensors) if run.owns(z)]
    jet = tensors[owned[0]]
    if dim != -1 or len(owned) != 1:
        return None
    before = sum(z.shape[-1] for z in tensors[: owned[0]])
    after = sum(z.shape[-1] for z in tensors[owned[0] + 1 :])
    value = torch.cat([jet.value if i == owned[0] else z for i, z in enumerate(tensors)], -1)
    if value.dtype != jet.dtype:
        return None
    coefficients: list[Any] = []
    for k in range(1, run.order + 1):
        c = jet.coefficients[k - 1]
        if isinstance(c, Diagonal):
            coefficients.append(Diagonal(c.count, c.start + before, c.scale))
        else:
            c = filled(jet.dense(k), jet.shape, -1)
            coefficients.append(None if c is None else torch.nn.functional.pad(c, (before, after)))
    return run.jet(value, coefficients, jet.system)


def filled(c: Any, shape: Sequence[int], axis: int) -> Any:
    """A coefficient whose axis of size 1 stands for all entries, with all entries: before a sum over that axis."""
    if c is None or c.shape[axis] == shape[axis]:
        return c
    return c.expand(*c.shape[:axis], shape[axis], *(c.shape[axis + 1 :] if axis + 1 else ()))


@rule("stack")
def stack(run: Run, tensors: Sequence[Any], dim: int = 0) -> Jet:
    """Tensors along a new axis; constants among them have coefficients zero."""
    ndim = next(z for z in tensors if run.owns(z)).ndim
    d = dim if dim < 0 else dim - ndim - 1
    return _joined(run, tensors, lambda zs: torch.stack(zs, d), 1)


@rule("hstack")
def hstack(run: Run, tensors: Sequence[Any]) -> Any:
    """Tensors side by side along the second axis, vectors along their only one."""
    tensors = [z.reshape(1) if z.ndim == 0 else z for z in tensors]
    return torch.cat(tensors, 0 if tensors[0].ndim == 1 else 1)


@rule("vstack", "row_stack")
def vstack(run: Run, tensors: Sequence[Any]) -> Any:
    """Tensors along the first axis, vectors as rows."""
    return torch.cat([z.reshape(1, -1) if z.ndim < 2 else z for z in tensors], 0)


@rule("column_stack")
def column_stack(run: Run, tensors: Sequence[Any]) -> Any:
    """Tensors along the second axis, vectors as columns."""
    return torch.cat([z.reshape(-1, 1) if z.ndim < 2 else z for z in tensors], 1)


def _joined(run: Run, tensors: Sequence[Any], join: Callable[[list[Any]], Any], new_axes: int) -> Jet:
    value = join([z.value if run.owns(z) else z for z in tensors])
    owned = [z for z in tensors if run.owns(z)]
    system = system_of(run, owned)
    coefficients: list[Any] = []
    for k in range(1, run.order + 1):
        parts = [z.full(k) if run.owns(z) else None for z in tensors]
        present = [p for p in parts if p is not None]
        if not present:
            coefficients.append(None)
            continue
        lead = present[0].shape[: run.lead(k)]
        filled = [_zeros(p, z, lead, present[0]) for p, z in zip(parts, tensors, strict=True)]
        coefficients.append(join(filled))
    return run.jet(value, coefficients, system)


def _zeros(part: Any, like: Any, lead: Sequence[int], reference: Any) -> Any:
    if part is not None:
        return part
    return torch.zeros((*lead, *like.shape), dtype=reference.dtype, device=reference.device)


@rule("sum")
def sum_(run: Run, x: Jet, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The sum over axes."""
    if dtype is not None and dtype != x.dtype:
        return torch.sum(to(run, x, dtype), dim, keepdim)
    if x.ndim == 0:
        return x
    dims = _reduced(dim, x.ndim)
    first = x.coefficients[0]
    if isinstance(first, Diagonal) and dims == (-1,):
        return _sum_of_features(run, x, first, keepdim)
    return linear(x, lambda z, lead: torch.sum(z, dims, keepdim))


def _reduced(dim: Any, ndim: int) -> tuple[int, ...]:
    # No axis means all of them, also as an empty tuple.
    dims = _dims(None if dim is None or dim == () or dim == [] else dim, ndim)
    return (dims,) if isinstance(dims, int) else dims


def _sum_of_features(run: Run, x: Jet, first: Diagonal, keepdim: bool) -> Jet:
    value = x.value.sum(-1, keepdim)
    scale = first.of(torch.ones_like(x.value)) if first.scale is None else first.scale
    slope = scale.expand(*x.shape[:-1], first.count).movedim(-1, 0)
    coefficients: list[Any] = [slope.unsqueeze(-1) if keepdim else slope]
    for k in range(2, run.order + 1):
        c = x.full(k)
        coefficients.append(None if c is None else c.sum(-1, keepdim))
    return run.jet(value, coefficients, x.system)


@rule("mean")
def mean(run: Run, x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The mean over axes."""
    total = torch.sum(x, dim, keepdim, dtype=dtype)
    return total / math.prod([x.shape[d] for d in _reduced(dim, x.ndim)]) if x.ndim else total


@rule("cumsum")
def cumsum(run: Run, x: Any, dim: int, dtype: Any = None) -> Jet:
    """Running sums."""
    x, d = x if dtype is None else x.to(dtype), _from_end(dim, x.ndim)
    return linear(x, lambda z, lead: torch.cumsum(z, d))


@rule("diff")
def diff(run: Run, x: Jet, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Jet:
    """Differences of neighbours."""
    if prepend is not None or append is not None:
        raise Unsupported("diff with entries put around the series")
    d = _from_end(dim, x.ndim)
    return linear(x, lambda z, lead: torch.diff(z, n, d))


@rule(torch.diagonal, Tensor.diagonal)
def diagonal(run: Run, x: Jet, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Jet:
    """A diagonal of two axes."""
    a, b = _from_end(dim1, x.ndim), _from_end(dim2, x.ndim)
    return linear(x, lambda z, lead: torch.diagonal(z, offset, a, b))


@rule(torch.linalg.diagonal)
def linalg_diagonal(run: Run, x: Jet, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Jet:
    """A diagonal of two axes, by default the last."""
    return diagonal(run, x, offset, dim1, dim2)


@rule("trace")
def trace(run: Run, x: Any) -> Any:
    """The sum of a matrix's diagonal."""
    return torch.sum(torch.diagonal(x), -1)


@rule("diag_embed")
def diag_embed(run: Run, x: Jet, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Jet:
    """The last axis on the diagonal of a matrix."""
    if (offset, dim1, dim2) != (0, -2, -1):
        raise Unsupported("diag_embed with other axes")
    return linear(x, lambda z, lead: torch.diag_embed(z))


@rule("diag")
def diag(run: Run, x: Any, diagonal: int = 0) -> Any:
    """A matrix's diagonal, or the matrix of a diagonal."""
    if x.ndim == 2:
        return torch.diagonal(x, diagonal)
    return torch.diag_embed(x) if diagonal == 0 else diag_embed(run, x, diagonal)


@rule("tril")
def tril(run: Run, x: Jet, diagonal: int = 0) -> Jet:
    """The lower triangle."""
    return linear(x, lambda z, lead: torch.tril(z, diagonal))


@rule("triu")
def triu(run: Run, x: Jet, diagonal: int = 0) -> Jet:
    """The upper triangle."""
    return linear(x, lambda z, lead: torch.triu(z, diagonal))


@rule("neg", "negative")
def neg(run: Run, x: Any) -> Any:
    """-x."""
    return x * -1.0


@rule("clone", "contiguous", "positive")
def same(run: Run, x: Jet, *args: Any, **kwargs: Any) -> Jet:
    """What copies or keeps a tensor keeps a series."""
    return x


@rule("dropout", "alpha_dropout", "feature_dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout")
def dropout(run: Run, x: Jet, p: float = 0.5, training: bool = True) -> Jet:
    """Nothing, in evaluation."""
    if training and p > 0:
        raise Unsupported("dropout in training mode")
    return x


@rule("requires_grad_")
def requires_grad_(run: Run, x: Jet, *args: Any) -> Jet:
    """Refused: the function differentiates by itself, which a series can't follow."""
    raise Unsupported("requires_grad_ inside the function")


@rule("to", "type_as")
def to(run: Run, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Another dtype or device."""
    args = tuple(z.value if run.owns(z) else z for z in args)
    if not run.owns(x):
        return x.to(*args, **kwargs)
    value = x.value.to(*args, **kwargs)
    if value is x.value or not value.is_floating_point():
        return x if value is x.value else value
    return linear(x.plain(), lambda z, lead: z.to(*args, **kwargs), expand=False)


@rule("type")
def type_(run: Run, x: Any, dtype: Any = None) -> Any:
    """Another dtype, or the name of the present one."""
    if isinstance(dtype, str):
        raise Unsupported("a dtype given by its name")
    return x.value.type() if dtype is None else to(run, x, dtype)


def _as_dtype(name: str, dtype: torch.dtype) -> None:
    rule(name)(lambda run, x: to(run, x, dtype))


_as_dtype("float", torch.float32)
_as_dtype("double", torch.float64)
_as_dtype("half", torch.float16)
_as_dtype("bfloat16", torch.bfloat16)


def promoted(run: Run, a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands in the dtype in which torch would compute with them; numbers stay what they are."""
    if not (isinstance(a, Tensor | Jet) and isinstance(b, Tensor | Jet)) or a.dtype == b.dtype:
        return a, b
    dtype = _result_type(innermost_value(a), innermost_value(b))
    return a.to(dtype), b.to(dtype)


def _result_type(a: Tensor, b: Tensor) -> torch.dtype:
    if torch.compiler.is_compiling():  # which can't trace torch.result_type, but knows the dtype of a sum
        return (a.new_empty([1] * a.ndim) + b.new_empty([1] * b.ndim)).dtype
    return torch.result_type(a, b)


def innermost_value(x: Any) -> Any:
    """The value without any derivatives, for shifts that cancel, and for choices."""
    while isinstance(x, Jet):
        x = x.value
    return x


@rule("pad")
def pad(run: Run, x: Jet, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Jet:
    """Entries added at the ends of the last axes."""
    if mode != "constant":
        return batched(run, x, lambda z: torch.nn.functional.pad(z, pad, mode), len(pad) // 2)
    filled = torch.nn.functional.pad(x.value, pad, mode, value)
    zeros = linear(x, lambda z, lead: torch.nn.functional.pad(z, pad))
    return run.jet(filled, zeros.coefficients, x.system)


def batched(run: Run, x: Jet, operation: Callable[[Any], Any], spatial: int | None) -> Jet:
    """The image under a linear map of (batch, channels, *spatial) that knows no more axes.

    Args:
        run: The pass.
        x: The argument, with or without the axis of the batch.
        operation: The map.
        spatial: The number of spatial axes; None if the batch is always there.
    """
    if not run.owns(x):
        raise Unsupported("a kernel that depends on the state")
    unbatched = spatial is not None and x.ndim == spatial + 1

    def fold(z: Any, lead: int) -> Any:
        if lead == 0 or unbatched:
            return operation(z)
        return operation(z.flatten(0, 1)).unflatten(0, z.shape[:2])

    return linear(x, fold)


def _image_map(spatial: int | None, *names: str) -> None:
    for name in names:
        function = getattr(torch.nn.functional, name)

        def follow(run: Run, x: Any, *args: Any, _function: Any = function, **kwargs: Any) -> Any:
            return batched(run, x, lambda z: _function(z, *args, **kwargs), spatial)

        rule(function)(follow)


_image_map(1, "avg_pool1d", "adaptive_avg_pool1d")
_image_map(2, "avg_pool2d", "adaptive_avg_pool2d")
_image_map(3, "avg_pool3d", "adaptive_avg_pool3d")
_image_map(None, "interpolate", "pixel_shuffle", "pixel_unshuffle")
