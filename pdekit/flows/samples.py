"""Samples that a flow is trained with, in batches, and those that it is judged by."""

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import DataError, InputError

Given = tuple[Tensor, Tensor | None]  # samples, and what the flow is told of each

_FEWEST = 10
_JUDGED = 10_000  # fresh samples, where data come from a sampler


def read_samples(
    data: Any,
    context: Tensor | None,
    batch: int,
    held_out: Any,
    dim: int,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Callable[[torch.Generator], Given], Given]:
    """Batches from a generator, and what the flow is judged by: samples and their contexts, or None.

    Args:
        data: Samples (n, dim), or a function of (how many, seed).
        context: Of each sample, (n, c).
        batch: Rows of a batch.
        held_out: The share to judge by; or samples (m, dim), with a context (samples, contexts (m, c)).
        dim: Entries of a sample.
        seed: Of what is held out.
        dtype: Of the network.
        device: Of the network.

    Raises:
        InputError: If something does not fit together.
        DataError: If there are too few samples, or some are not finite.
    """
    if callable(data):
        if context is not None:
            raise InputError("A sampler makes no contexts; give samples (n, d) along with context= (n, c).")
        if not isinstance(held_out, int | float):
            raise InputError("A sampler makes fresh samples to judge by: leave out held_out=.")
        _check_sampler(data)

        def made(count: int, number: int) -> Tensor:
            return _checked(data(count, number), dim).to(device, dtype)

        def fresh(generator: torch.Generator) -> tuple[Tensor, None]:
            return made(batch, int(generator.initial_seed())), None

        return fresh, (made(_JUDGED, 2**62 + seed), None)

    def placed(rows: Any, told: Any, name: str = "data") -> Given:
        x = _checked(rows, dim, name).to(device, dtype)
        return x, None if told is None else _checked_context(told, len(x)).to(device, dtype)

    if isinstance(held_out, int | float):
        kept, out = _parted(*placed(data, context), float(held_out), seed)
    else:
        kept = placed(data, context)
        if (context is not None) != isinstance(held_out, tuple) or (context is not None and len(held_out) != 2):
            raise InputError("held_out must be a share or samples; (samples, contexts) where there is a context.")
        rows, told = held_out if isinstance(held_out, tuple) else (held_out, None)
        out = placed(rows, told, "held_out")
        _check_counts(len(kept[0]), len(out[0]))

    def drawn(generator: torch.Generator) -> Given:
        x, given = kept
        some = torch.randint(len(x), (min(batch, len(x)),), generator=generator, device=device)
        return x[some], None if given is None else given[some]

    return drawn, out


def _parted(x: Tensor, given: Tensor | None, share: float, seed: int) -> tuple[Given, Given]:
    """Samples to train with and to judge by, chosen by the seed."""
    if not 0.0 < share < 1.0:
        raise InputError(f"held_out must be a share between 0 and 1, or samples, got {share!r}.")
    count = round(share * len(x))
    _check_counts(len(x) - count, count)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    kept, out = ((x[rows], None if given is None else given[rows]) for rows in (order[count:], order[:count]))
    return kept, out


def _check_counts(kept: int, out: int) -> None:
    if min(kept, out) < _FEWEST:
        raise DataError(
            f"Of {kept + out} samples {out} would be held out; at least {_FEWEST} are needed on either side."
        )


def _checked_context(context: Any, count: int) -> Tensor:
    found = torch.as_tensor(context)
    if found.ndim != 2 or len(found) != count:
        raise InputError(
            f"context must have a row for each of {count} samples, ({count}, c), got shape {tuple(found.shape)}."
        )
    if not bool(torch.isfinite(found).all()):
        raise DataError("Some contexts are not finite; leave these samples out.")
    return found


def _check_sampler(data: Callable[..., Any]) -> None:
    try:
        inspect.signature(data).bind(1, 0)
    except TypeError as cause:
        raise InputError(
            f"A sampler is called with (how many, seed), such as lambda n, seed: toy(name, n, seed=seed): {cause}."
        ) from cause
    except ValueError:  # some that are written in C tell no signature
        return


def _checked(data: Any, dim: int, name: str = "data") -> Tensor:
    try:
        x = torch.as_tensor(data if isinstance(data, Tensor) else np.asarray(data))
    except (TypeError, ValueError, RuntimeError) as cause:
        raise InputError(f"{name} must be samples (n, {dim}) as an array, got {type(data).__name__}.") from cause
    if x.ndim != 2 or x.shape[1] != dim or not x.is_floating_point():
        raise InputError(f"{name} must be floating-point numbers (n, {dim}), got {x.dtype} of shape {tuple(x.shape)}.")
    bad = int((~torch.isfinite(x)).any(1).sum())
    if bad:
        raise DataError(f"{bad} of {len(x)} samples in {name} are not finite; leave them out.")
    return x


def digest(data: Any, context: Tensor | None) -> str:
    """What tells samples from others in a checkpoint; of a sampler nothing is known."""
    if callable(data):
        return "a sampler"
    total = hashlib.blake2b(digest_size=16)
    for part in (data, *([] if context is None else [context])):
        array = part.detach().cpu().numpy() if isinstance(part, Tensor) else np.asarray(part)
        total.update(np.ascontiguousarray(array).tobytes())
    return f"{len(data)} samples, digest {total.hexdigest()}"


__all__ = ["digest", "read_samples"]
