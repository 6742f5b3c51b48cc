"""Whether coefficients keep what the SDE declares: checked once, on a few rows, before any step is taken."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pdekit.errors import ModelError, NumericalError, UnsupportedError
from pdekit.sde import SDE, Field
from pdekit.simulation.equation import Scheme

_ROWS = 3


def check_contract(sde: SDE, t: Any, x0: Tensor) -> None:
    """Refuse an SDE whose coefficients have the wrong shape or dtype, mix rows, or are not finite at the start.

    Args:
        sde: The equation.
        t: The first time.
        x0: The start (paths, d).

    Raises:
        ModelError: If a coefficient returns another shape or dtype than declared, lets one row see another, or additive
            noise depends on the state.
        NumericalError: If a coefficient is infinite or NaN at x0.
    """
    shapes = {
        "drift": (sde.dim,),
        "diffusion": (sde.dim,) if sde.noise_type == "diagonal" else (sde.dim, sde.noise_dim),
    }
    probe = _near(sde, x0[:1].expand(_ROWS, -1))
    for name, field in (("drift", sde.drift), ("diffusion", sde.diffusion)):
        value = _evaluate(name, field, t, probe)
        expected = (_ROWS, *shapes[name])
        if value.shape != expected:
            raise ModelError(
                f"The {name} must map x of shape {tuple(probe.shape)} to shape {expected} for {sde.noise_type} noise "
                f"with {sde.noise_dim} Brownian motions, got {tuple(value.shape)}. Expand a constant with "
                "torch.full_like."
            )
        if value.dtype != x0.dtype:
            raise ModelError(
                f"The {name} returns {value.dtype} for a state of {x0.dtype}; convert its parameters, or x0."
            )
        _check_rows(name, field, t, probe, value)
        _check_finite(name, field(t, x0), sde, t, x0)
    if sde.noise_type == "additive":
        g = sde.diffusion(t, probe)
        if not _close(g, g[:1].expand_as(g)):
            raise ModelError('The noise is declared "additive" but the diffusion depends on x; declare it "general".')


def check_scheme(scheme: Scheme, sde: SDE, t: Any, x0: Tensor) -> None:
    """Refuse a scheme that would converge to something else than the solution of this SDE.

    Raises:
        UnsupportedError: If the scheme needs separable noise, or the other convention, and can't get it.
        ModelError: If the noise is declared separable and isn't.
    """
    name = type(scheme).__name__
    if scheme.convention == "stratonovich" and sde.sde_type == "ito" and sde.noise_type != "additive":
        raise UnsupportedError(
            f"{name} converges to the Stratonovich solution and this SDE is Ito. Use EulerMaruyama(), Milstein() or "
            "StrongOrder15()."
        )
    if not scheme.needs_separable:
        return
    if not sde.separable:
        cause = (
            "declare separable=True if g_i depends on x_i only"
            if sde.noise_type == "diagonal"
            else "the noise is not diagonal"
        )
        raise UnsupportedError(
            f"{name} is right only for separable noise (diagonal, g_i a function of t and x_i alone), and this SDE has "
            f"{sde.noise_type} noise that is not declared separable: {cause}; otherwise use EulerMaruyama()"
            + (", or Heun(), which needs no conversion." if sde.sde_type == "stratonovich" else ".")
        )
    check_separable(sde, t, x0)


def check_separable(sde: SDE, t: Any, x0: Tensor) -> None:
    """Refuse a declaration `separable` that one look at the diffusion contradicts.

    Row i keeps state i at x0 and moves all others: g_i must stay.

    Raises:
        ModelError: If some g_i depends on another state.
    """
    x, moved = _near(sde, x0[:1].expand(2, -1))
    others = moved.repeat(sde.dim, 1)
    others.diagonal().copy_(x)
    g, expected = sde.diffusion(t, others).diagonal(), sde.diffusion(t, x.unsqueeze(0))[0]
    if not _close(g, expected):
        i = int((g - expected).abs().argmax())
        raise ModelError(
            f"The noise is declared separable, but the diffusion of {sde.names[i]} depends on other states. "
            "Declare separable=False and use EulerMaruyama()."
        )


def _near(sde: SDE, x: Tensor) -> Tensor:
    """The rows of `x`, the first as it is and each next one farther away, inside the domain."""
    n, d = x.shape
    # Irrational multiples: no two states move alike, so a difference of states can't hide a dependence.
    weight = (
        torch.arange(n, dtype=x.dtype, device=x.device)[:, None]
        * (2.0 + torch.arange(d, dtype=x.dtype, device=x.device)).sqrt()
    )
    shift = 0.01 * (1 + x.abs()) * weight
    lower, upper = (x.new_tensor(side) for side in zip(*(sde.domain or ()), strict=True))
    # Away from the far bound, and never more than a part of the way to it.
    up, down = (upper - x).clamp(max=1e6), (x - lower).clamp(max=1e6)
    return torch.where(
        up > down,
        x + torch.minimum(shift, up * shift / (1 + shift) / 2),
        x - torch.minimum(shift, down * shift / (1 + shift) / 2),
    )


def _evaluate(name: str, field: Field, t: Any, x: Tensor) -> Tensor:
    try:
        value = field(t, x)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise ModelError(f"The {name} failed at t={float(t):g} on x of shape {tuple(x.shape)}: {error}") from error
    if not isinstance(value, Tensor):
        raise ModelError(f"The {name} must return a tensor, got {type(value).__name__}.")
    return value


def _check_rows(name: str, field: Callable[..., Tensor], t: Any, x: Tensor, batched: Tensor) -> None:
    single = torch.cat([_evaluate(name, field, t, row) for row in x.split(1)])
    if single.shape != batched.shape or not _close(single, batched):
        raise ModelError(
            f"The {name} of one path depends on the other paths in the batch (or on chance): on {len(x)} rows together "
            "it differs from one row at a time. Reduce over the last dimension only, and keep randomness in the noise."
        )


def _check_finite(name: str, value: Tensor, sde: SDE, t: Any, x0: Tensor) -> None:
    bad = ~torch.isfinite(value).flatten(1).all(1)
    if bool(bad.any()):
        path = int(bad.nonzero()[0, 0])
        at = ", ".join(f"{n}={v:g}" for n, v in zip(sde.names, x0[path].tolist(), strict=True))
        raise NumericalError(
            f"The {name} is not finite at the start t={float(t):g}, {at} (path {path}). "
            "Move x0, or restrict the domain."
        )


def _close(a: Tensor, b: Tensor) -> bool:
    # Batched and single-row matrix products round differently; a real dependence on other rows is far larger.
    rtol = 1e-9 if a.dtype == torch.float64 else 1e-4
    scale = torch.maximum(a.abs().max(), b.abs().max())
    return bool(((a - b).abs() <= rtol * scale).all()) or not bool(torch.isfinite(scale))
