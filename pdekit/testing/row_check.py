"""`check_rowwise`: rows of a batch don't see one another, whatever the shape of the batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pdekit.testing.comparison import DEFAULT_LIMIT, CheckFailure
from pdekit.testing.options import check_options

_SHAPES = ((1,), (), (4,), (2, 3), (1, 1), (0,), (3, 0))


def check_rowwise(
    function: Callable[..., Any],
    dim: int,
    *,
    time: float | None = None,
    draw: Callable[..., Tensor] = torch.randn,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    limit: float = DEFAULT_LIMIT,
) -> None:
    """Check that f(x) acts on each row by itself, for every shape of batch, and on tensors of any layout.

    A batched call is compared with calls of single rows, with the same rows in another order, with another last row,
    and with the same values in a tensor that is not contiguous. Rows may differ by `limit` times the rounding of the
    largest value: batched matrix products add up in another order.

    Args:
        function: f(x) or f(t, x), (*batch, d) -> (*batch, ...); fields, operators applied to fields, densities.
        dim: The number of states d.
        time: The time to call it with; None for f(x).
        draw: (*shape, generator=, dtype=) -> states of that shape, where not all states make sense.
        seed: Seed of the states.
        dtype: Their dtype.
        device: Their device.
        limit: How much rows may differ, in units of eps times the largest value.

    Raises:
        CheckFailure: If rows see one another, or a shape of batch gives another shape of result.

    Example:
        >>> check_rowwise(torch.sin, 3)
        >>> check_rowwise(lambda x: x - x.mean(0), 3)
        Traceback (most recent call last):
        pdekit.testing.comparison.CheckFailure: rowwise: row 0 of 4 changes from ...
        ...
    """
    check_options(dtype=dtype, device=device, limit=limit)
    generator = torch.Generator().manual_seed(seed)

    def call(x: Tensor) -> Tensor:
        x = x.to(device)
        leading = () if time is None else (torch.tensor(time, dtype=dtype, device=x.device),)
        try:
            result = function(*leading, x)
        except Exception as cause:
            shape = tuple(x.shape)
            raise CheckFailure("rowwise", f"a state of shape {shape} raises {type(cause).__name__}: {cause}") from cause
        result = torch.stack(list(result), -1) if isinstance(result, tuple | list) else result
        if not isinstance(result, Tensor) or not result.is_floating_point():
            came = result.dtype if isinstance(result, Tensor) else type(result).__name__
            raise CheckFailure("rowwise", f"expected a floating-point tensor, got {came}")
        return result

    def drawn(*batch: int) -> Tensor:
        return draw(*batch, dim, generator=generator, dtype=dtype)

    rows, other = drawn(4), drawn(1)
    whole = call(rows)
    if whole.shape[:1] != rows.shape[:1]:
        raise CheckFailure("rowwise", f"a batch (4, {dim}) must give a result (4, ...), got {tuple(whole.shape)}")
    for i in range(len(rows)):
        _same(whole[i], call(rows[i]), f"row {i} of 4", "called by itself", limit)
    order = torch.tensor([2, 0, 3, 1])
    reordered = call(rows[order])
    changed = call(torch.cat([rows[:3], other]))
    for i in range(len(rows)):
        _same(whole[order[i]], reordered[i], f"row {int(order[i])} of 4", "with the rows in another order", limit)
        if i < 3:
            _same(whole[i], changed[i], f"row {i} of 4", "with another last row", limit)
    spread = torch.stack([rows, rows], -1)[..., 0]
    for i in range(len(rows)):
        _same(whole[i], call(spread)[i], f"row {i} of 4", "in a tensor that is not contiguous", limit)
    _check_shapes(call, drawn, dim, tuple(whole.shape[1:]), limit)


def _check_shapes(
    call: Callable[[Tensor], Tensor], drawn: Callable[..., Tensor], dim: int, tail: tuple[int, ...], limit: float
) -> None:
    for batch in _SHAPES:
        x = drawn(*batch)
        result = call(x)
        if tuple(result.shape) != (*batch, *tail):
            raise CheckFailure(
                "rowwise", f"a state of shape {(*batch, dim)} must give {(*batch, *tail)}, got {tuple(result.shape)}"
            )
        for i in range(x[..., 0].numel()):
            row = call(x.reshape(-1, dim)[i])
            _same(row, result.reshape(-1, *tail)[i], f"row {i} of a batch {batch}", "in its batch", limit)


def _same(expected: Tensor, got: Tensor, what: str, how: str, limit: float) -> None:
    if expected.shape != got.shape:
        raise CheckFailure("rowwise", f"{what} has shape {tuple(expected.shape)}, {how} {tuple(got.shape)}")
    if expected.numel() == 0:
        return
    if bool(torch.isnan(expected).any()):
        raise CheckFailure("rowwise", f"{what} is NaN: if not every state makes sense, say by draw= which do")
    error = float((expected - got).detach().abs().max())
    unit = torch.finfo(expected.dtype).eps * (1 + float(expected.detach().abs().max()))
    if not error <= limit * unit:
        raise CheckFailure(
            "rowwise",
            f"{what} changes from {expected.detach().tolist()} to {got.detach().tolist()} {how}",
            units=error / unit,
        )


__all__ = ["check_rowwise"]
