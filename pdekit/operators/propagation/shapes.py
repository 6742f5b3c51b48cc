"""Rules of linear maps that move, select, sum and copy entries.

Axes are counted from the end, so that one operation serves a value and its coefficients with a leading axis.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pdekit.operators.propagation.jet import Diagonal, Jet, Run, Unsupported, aligned
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
    coefficients = [
        None if x.coefficients[k - 1] is None else aligned(x.dense(k), run.lead(k), value.ndim)
        for k in range(1, run.order + 1)
    ]
    return run.jet(value, coefficients, x.system)


@rule("expand_as")
def expand_as(run: Run, x: Any, other: Any) -> Any:
    """Axes of size 1 repeated to the shape of another tensor."""
    return x.expand(*other.shape)


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


@rule("gather", "take_along_dim")
def gather(run: Run, x: Jet, dim: int, index: Any) -> Jet:
    """Entries picked by an index tensor."""
    d = _from_end(dim, x.ndim)

    def pick(z: Any, lead: int) -> Any:
        return torch.gather(z, d, index.expand(*z.shape[:lead], *index.shape))

    return linear(x, pick)


@rule("__getitem__")
def getitem(run: Run, x: Jet, index: Any) -> Jet:
    """Slices, integers, None, Ellipsis, boolean and integer tensors."""
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(p, Jet) for p in parts):
        raise Unsupported("an index that depends on the state")
    if any(isinstance(p, Tensor | list) for p in parts):
        return linear(x, lambda z, lead: torch.vmap(lambda y: y[index])(z) if lead else z[index])
    return linear(x, lambda z, lead: z[(slice(None), *parts)] if lead else z[index])


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


@rule("unbind")
def unbind(run: Run, x: Jet, dim: int = 0) -> tuple[Jet, ...]:
    """The entries of an axis."""
    d = _from_end(dim, x.ndim)
    return _pieces(x, lambda z: torch.unbind(z, d))


@rule("cat", "concat", "concatenate")
def cat(run: Run, tensors: Sequence[Any], dim: int = 0, **kwargs: Any) -> Jet:
    """Tensors side by side; constants among them have coefficients zero."""
    dim = kwargs.get("axis", dim)
    ndim = next(z for z in tensors if run.owns(z)).ndim
    d = _from_end(dim, ndim)
    joined = _cat_with_constants(run, tensors, d)
    return joined if joined is not None else _joined(run, tensors, lambda zs: torch.cat(zs, d), 0)


def _cat_with_constants(run: Run, tensors: Sequence[Any], dim: int) -> Jet | None:
    # cat([t, x]) of the plain state: directions keep moving one feature each, only further to the right.
    owned = [i for i, z in enumerate(tensors) if run.owns(z)]
    jet = tensors[owned[0]]
    first = jet.coefficients[0]
    if dim != -1 or len(owned) != 1 or not isinstance(first, Diagonal):
        return None
    before = sum(z.shape[-1] for z in tensors[: owned[0]])
    after = sum(z.shape[-1] for z in tensors[owned[0] + 1 :])
    value = torch.cat([jet.value if i == owned[0] else z for i, z in enumerate(tensors)], -1)
    coefficients: list[Any] = [Diagonal(first.count, first.start + before, first.scale)]
    for k in range(2, run.order + 1):
        c = jet.full(k)
        coefficients.append(None if c is None else torch.nn.functional.pad(c, (before, after)))
    return run.jet(value, coefficients, jet.system)


@rule("stack")
def stack(run: Run, tensors: Sequence[Any], dim: int = 0) -> Jet:
    """Tensors along a new axis; constants among them have coefficients zero."""
    ndim = next(z for z in tensors if run.owns(z)).ndim
    d = dim if dim < 0 else dim - ndim - 1
    return _joined(run, tensors, lambda zs: torch.stack(zs, d), 1)


@rule("hstack", "vstack", "dstack", "column_stack")
def other_stacks(run: Run, tensors: Sequence[Any]) -> Jet:
    """Rarely used spellings."""
    raise Unsupported("hstack and its relatives; torch.cat is followed")


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
def sum_(run: Run, x: Jet, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Jet:
    """The sum over axes."""
    if dtype is not None and dtype != x.dtype:
        return sum_(run, to(run, x, dtype), dim, keepdim)
    dims = _dims(dim, x.ndim)
    first = x.coefficients[0]
    if isinstance(first, Diagonal) and dims in (-1, (-1,)) and not keepdim:
        return _sum_of_features(run, x, first)
    return linear(x, lambda z, lead: torch.sum(z, dims, keepdim) if x.ndim else z)


def _sum_of_features(run: Run, x: Jet, first: Diagonal) -> Jet:
    value = x.value.sum(-1)
    scale = first.of(torch.ones_like(x.value)) if first.scale is None else first.scale
    scale = scale.expand(*x.shape[:-1], first.count) if value.ndim else scale.expand(first.count)
    coefficients: list[Any] = [scale.movedim(-1, 0)]
    for k in range(2, run.order + 1):
        c = x.full(k)
        coefficients.append(None if c is None else c.sum(-1))
    return run.jet(value, coefficients, x.system)


@rule("mean")
def mean(run: Run, x: Jet, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Jet:
    """The mean over axes."""
    dims = _dims(dim, x.ndim)
    count = 1
    for d in (dims,) if isinstance(dims, int) else dims:
        count *= x.shape[d]
    return sum_(run, x, dim, keepdim, dtype) * (1.0 / count)


@rule("cumsum")
def cumsum(run: Run, x: Jet, dim: int, dtype: Any = None) -> Jet:
    """Running sums."""
    d = _from_end(dim, x.ndim)
    return linear(x, lambda z, lead: torch.cumsum(z, d))


@rule("diagonal")
def diagonal(run: Run, x: Jet, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Jet:
    """A diagonal of two axes."""
    a, b = _from_end(dim1, x.ndim), _from_end(dim2, x.ndim)
    return linear(x, lambda z, lead: torch.diagonal(z, offset, a, b))


@rule("diag_embed")
def diag_embed(run: Run, x: Jet, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Jet:
    """The last axis on the diagonal of a matrix."""
    if (offset, dim1, dim2) != (0, -2, -1):
        raise Unsupported("diag_embed with other axes")
    return linear(x, lambda z, lead: torch.diag_embed(z))


@rule("tril")
def tril(run: Run, x: Jet, diagonal: int = 0) -> Jet:
    """The lower triangle."""
    return linear(x, lambda z, lead: torch.tril(z, diagonal))


@rule("triu")
def triu(run: Run, x: Jet, diagonal: int = 0) -> Jet:
    """The upper triangle."""
    return linear(x, lambda z, lead: torch.triu(z, diagonal))


@rule("where")
def where(run: Run, condition: Any, a: Any, b: Any) -> Any:
    """One of two series, entry by entry; the condition has no derivative."""
    # Not mask * a + (1 - mask) * b: what is not chosen may be infinite.
    chosen = [z for z in (_masked(run, a, condition), _masked(run, b, ~condition)) if z is not None]
    value = torch.where(condition, *(z.value if run.owns(z) else z for z in (a, b)))
    total = chosen[0] if len(chosen) == 1 else chosen[0] + chosen[1]
    return run.jet(value, total.coefficients, total.system)


@rule("maximum", "fmax")
def maximum(run: Run, a: Any, b: Any) -> Any:
    """The larger of two series."""
    return torch.where(torch.ge(a, b), a, b)


@rule("minimum", "fmin")
def minimum(run: Run, a: Any, b: Any) -> Any:
    """The smaller of two series."""
    return torch.where(torch.le(a, b), a, b)


def _masked(run: Run, z: Any, keep: Any) -> Jet | None:
    if not run.owns(z):
        return None
    shape = torch.broadcast_shapes(keep.shape, z.shape)
    wide = expand(run, z, *shape)
    return linear(wide, lambda y, lead: torch.where(keep, y, torch.zeros((), dtype=y.dtype, device=y.device)))


@rule("masked_fill")
def masked_fill(run: Run, x: Any, mask: Any, value: Any) -> Any:
    """Entries replaced by a constant."""
    if run.owns(value) or not run.owns(x):
        raise Unsupported("masked_fill with a value that depends on the state")
    zero_filled = _masked(run, x, ~mask)
    return run.jet(torch.masked_fill(x.value, mask, value), zero_filled.coefficients, x.system)  # type: ignore[union-attr]


@rule("neg", "negative")
def neg(run: Run, x: Jet) -> Jet:
    """-x."""
    return x * -1.0


@rule("clone", "contiguous", "positive")
def same(run: Run, x: Jet, *args: Any, **kwargs: Any) -> Jet:
    """What copies or keeps a tensor keeps a series."""
    return x


@rule("dropout", "alpha_dropout", "feature_dropout", "dropout1d", "dropout2d", "dropout3d")
def dropout(run: Run, x: Jet, p: float = 0.5, training: bool = True, inplace: bool = False) -> Jet:
    """Nothing, in evaluation."""
    if training and p > 0:
        raise Unsupported("dropout in training mode")
    return x


@rule("requires_grad_")
def requires_grad_(run: Run, x: Jet, *args: Any) -> Jet:
    """Refused: the function differentiates by itself, which a series can't follow."""
    raise Unsupported("requires_grad_ inside the function")


@rule("to", "type_as", "type")
def to(run: Run, x: Jet, *args: Any, **kwargs: Any) -> Jet:
    """Another dtype or device."""
    args = tuple(z.value if isinstance(z, Jet) else z for z in args)
    if x.value.to(*args, **kwargs) is x.value:
        return x
    if not run.owns(x):
        raise Unsupported("conversion to the dtype of the state")
    return linear(x.plain(), lambda z, lead: z.to(*args, **kwargs), expand=False)


@rule("float")
def float_(run: Run, x: Jet) -> Jet:
    """In single precision."""
    return to(run, x, torch.float32)


@rule("double")
def double(run: Run, x: Jet) -> Jet:
    """In double precision."""
    return to(run, x, torch.float64)


@rule("half")
def half(run: Run, x: Jet) -> Jet:
    """In half precision."""
    return to(run, x, torch.float16)


@rule("bfloat16")
def bfloat16(run: Run, x: Jet) -> Jet:
    """In bfloat16."""
    return to(run, x, torch.bfloat16)


@rule("pad")
def pad(run: Run, x: Jet, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Jet:
    """Entries added at the ends of the last axes."""
    if mode != "constant":
        return batched(run, x, lambda z: torch.nn.functional.pad(z, pad, mode), len(pad) // 2)
    filled = torch.nn.functional.pad(x.value, pad, mode, value)
    zeros = linear(x, lambda z, lead: torch.nn.functional.pad(z, pad))
    return run.jet(filled, zeros.coefficients, x.system)


def batched_linear(names: Sequence[str], spatial: int | None) -> None:
    """Registers linear functions of images whose first axes must be (batch, channels)."""
    for name in names:

        def follow(run: Run, x: Any, *args: Any, _name: str = name, **kwargs: Any) -> Any:
            function = getattr(torch.nn.functional, _name)
            return batched(run, x, lambda z: function(z, *args, **kwargs), spatial)

        rule(name)(follow)


def batched(run: Run, x: Jet, operation: Callable[[Any], Any], spatial: int | None) -> Jet:
    # Such functions take (batch, channels, *spatial); directions are folded into the batch.
    if not run.owns(x):
        raise Unsupported("a kernel that depends on the state")
    unbatched = spatial is not None and x.ndim == spatial + 1

    def fold(z: Any, lead: int) -> Any:
        if lead == 0:
            return operation(z)
        if unbatched:
            return operation(z)
        image = operation(z.flatten(0, 1))
        return image.unflatten(0, z.shape[:2])

    return linear(x, fold)


batched_linear(("avg_pool1d", "adaptive_avg_pool1d"), 1)
batched_linear(("avg_pool2d", "adaptive_avg_pool2d"), 2)
batched_linear(("avg_pool3d", "adaptive_avg_pool3d"), 3)
batched_linear(("interpolate", "pixel_shuffle", "pixel_unshuffle"), None)
