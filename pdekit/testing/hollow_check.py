"""`check_hollow`: features that don't depend on their own state, to the last bit."""

from typing import Any

import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.testing.comparison import DEFAULT_LIMIT, CheckFailure
from pdekit.testing.options import check_options

_REPLACEMENTS = (0.0, 3.7, -250.0, 1e30, -1e30)


def check_hollow(
    net: Any,
    dim: int,
    *,
    time: float | None = None,
    context: Tensor | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    rows: int = 3,
    limit: float = DEFAULT_LIMIT,
) -> None:
    """Check that a function with `condition` and `transform` is hollow, and puts itself together from them.

    1. Replacing x_i by any of five values up to 1e30 in size leaves every bit of h_i. A zero diagonal of the Jacobian
       would not prove this: sum_j x_j - x_i has one.
    2. f(x) = transform(x, condition(x)).
    3. The diagonal of f's Jacobian is the derivative of `transform` along (1, ..., 1) with h held.
    4. h reaches the output and the state reaches h: every f_i depends on some other state.

    Args:
        net: The function, in the dtype and on the device of the check.
        dim: The number of states d.
        time: The time to call it with; None for f(x).
        context: Its context, (rows, c), if it takes one.
        seed: Seed of the states.
        dtype: Their dtype.
        device: Their device.
        rows: The number of states tried.
        limit: How far derivatives may be off, in units of eps times the largest one.

    Raises:
        CheckFailure: With the entry, the value put in and what moved.
        InputError: If the function has no such methods.

    Example:
        >>> from pdekit.nets import HollowNet
        >>> check_hollow(HollowNet(3, seed=0).double(), 3)
    """
    check_options(dtype=dtype, device=device, limit=limit)
    missing = [name for name in ("condition", "transform") if not callable(getattr(net, name, None))]
    if missing:
        raise InputError(f"A hollow function has the methods condition and transform; {missing[0]} is missing.")
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, dim, generator=generator, dtype=dtype).to(device)
    leading = () if time is None else (torch.tensor(time, dtype=dtype, device=device),)
    keywords = {} if context is None else {"context": context}

    def condition(x: Tensor) -> Tensor:
        return net.condition(*leading, x, **keywords)

    def whole(x: Tensor) -> Tensor:
        return net(*leading, x, **keywords)

    _check_bits(condition, x)
    _check_parts(net, condition, whole, x, limit)
    _check_diagonal(net, condition, whole, x, limit)


def _check_bits(condition: Any, x: Tensor) -> None:
    with torch.no_grad():
        before = condition(x)
        if before.shape[: x.ndim] != x.shape:
            raise CheckFailure(
                "hollow",
                f"h must have shape (*batch, d, features) = {tuple(x.shape)} + features, got {tuple(before.shape)}",
            )
        for i in range(x.shape[-1]):
            for value in _REPLACEMENTS:
                after = condition(torch.cat([x[..., :i], torch.full_like(x[..., :1], value), x[..., i + 1 :]], -1))
                if not torch.equal(before[:, i], after[:, i]):
                    change = float((after[:, i] - before[:, i]).abs().nan_to_num(torch.inf).max())
                    raise CheckFailure("hollow", f"h_{i + 1} moves by {change:.3g} when x_{i + 1} becomes {value:g}")


def _check_parts(net: Any, condition: Any, whole: Any, x: Tensor, limit: float) -> None:
    f, parts = whole(x), net.transform(x, condition(x))
    if f.shape != parts.shape:
        raise CheckFailure(
            "hollow", f"f(x) has shape {tuple(f.shape)}, but transform(x, condition(x)) {tuple(parts.shape)}"
        )
    error = float((f - parts).detach().abs().max())
    if not error <= limit * _unit(f):
        raise CheckFailure("hollow", f"f(x) and transform(x, condition(x)) differ by {error:.3g}")


def _check_diagonal(net: Any, condition: Any, whole: Any, x: Tensor, limit: float) -> None:
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda r: whole(r.unsqueeze(0))[0], row) for row in x])  # type: ignore[misc]
    diagonal = jacobian.diagonal(dim1=1, dim2=-1)  # (rows, d), with channels (rows, channels, d)
    h = condition(x).detach()
    along = torch.func.jvp(lambda z: net.transform(z, h), (x,), (torch.ones_like(x),))[1]
    along = along if jacobian.ndim == 3 else along.movedim(-1, 1)
    error = float((diagonal - along).detach().abs().max())
    if not error <= limit * _unit(along):
        raise CheckFailure(
            "hollow", f"the diagonal of the Jacobian differs from the transformer's derivative by {error:.3g}"
        )
    _check_sight(jacobian)


def _check_sight(jacobian: Tensor) -> None:
    """Every f_i must depend on some other state, at one of the rows at least."""
    d = jacobian.shape[1]
    if d == 1:
        return
    seen = jacobian.abs().reshape(len(jacobian), d, -1, d).sum((0, 2)) > 0
    for i in range(d):
        if not bool(seen[i, torch.arange(d) != i].any()):
            raise CheckFailure("hollow", f"f_{i + 1} depends on no other state: the conditioner is cut off")


def _unit(z: Tensor) -> float:
    return torch.finfo(z.dtype).eps * (1 + float(z.detach().abs().max()))


__all__ = ["check_hollow"]
