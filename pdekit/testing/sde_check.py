"""`check_sde`: an SDE is what it declares, and its formulas say what its code computes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import jacrev

from pdekit import operators
from pdekit.errors import InputError
from pdekit.sde import SDE
from pdekit.symbolic.evaluation import evaluate
from pdekit.symbolic.model import SymbolicSDE
from pdekit.symbolic.oracles import Equation
from pdekit.testing import plain
from pdekit.testing.comparison import DEFAULT_LIMIT, CheckFailure, compare
from pdekit.testing.options import check_options
from pdekit.testing.row_check import check_rowwise

_TIMES = (0.25, 1.5)
_STEP, _DIFFERENCES = 1e-5, 1e-5  # of difference quotients: step, and the error allowed


def check_sde(
    sde: SDE,
    *,
    model: SymbolicSDE | None = None,
    params: dict[str, float] | None = None,
    points: Tensor | None = None,
    seed: int = 0,
    limit: float = DEFAULT_LIMIT,
) -> None:
    """Check an SDE: shapes, rows, what it declares about its noise, its Ito drift, and its formulas.

    1. Drift and diffusion have the declared shapes and act on each row by itself, for every shape of batch.
    2. Noise declared additive does not depend on the state; a separable g_i depends on x_i alone; autonomous
       coefficients don't depend on the time.
    3. `pdekit.ito_drift` of it is f_i + 1/2 sum_jk G_jk d_j G_ik, by plain forward mode and by difference quotients.
    4. If a model is given: coefficients and Ito drift are those of its formulas, in thirty digits.

    Args:
        sde: The equation, with coefficients made of torch operations.
        model: The formulas that it was made from.
        params: The values of the model's parameters; by default its example values.
        points: States (n, d) in float64; by default drawn inside the domain.
        seed: Seed of the states.
        limit: How far values may be off, in units of eps sum|terms|.

    Raises:
        CheckFailure: With what was declared and what was found.

    Example:
        >>> from pdekit import models
        >>> model = models.double_well()
        >>> check_sde(model.at(**model.defaults), model=model)
        >>> wrong = SDE(lambda t, x: -x, lambda t, x: 1 + 0 * x.flip(-1) + x.roll(1, -1) ** 2, dim=2, separable=True)
        >>> check_sde(wrong)
        Traceback (most recent call last):
        pdekit.testing.comparison.CheckFailure: sde: declared separable, but g_1 changes with x_2
    """
    check_options(limit=limit)
    x = _points(sde, seed) if points is None else points
    if x.dtype != torch.float64 or x.ndim != 2 or x.shape[1] != sde.dim or len(x) == 0:
        raise InputError(f"points must be float64 states (n, {sde.dim}), got {x.dtype} {tuple(x.shape)}.")
    for part in (sde.drift, sde.diffusion):
        value = part(torch.tensor(_TIMES[0], dtype=torch.float64), x)
        expected = x.shape if part is sde.drift or sde.noise_type == "diagonal" else (*x.shape, sde.noise_dim)
        name = "drift" if part is sde.drift else "diffusion"
        if tuple(value.shape) != tuple(expected):
            raise CheckFailure("sde", f"the {name} must have shape {tuple(expected)}, got {tuple(value.shape)}")
        if value.dtype != x.dtype:
            raise CheckFailure("sde", f"the {name} must have the state's dtype {x.dtype}, got {value.dtype}")
        check_rowwise(lambda t, x, part=part: part(t, x), sde.dim, time=_TIMES[0], draw=_inside(sde))  # type: ignore[misc]
    for state in x:
        _check_declared(sde, state)
    _check_ito_drift(sde, x, limit)
    if model is not None:
        _check_formulas(sde, model, dict(params or model.defaults), x, limit)


def _points(sde: SDE, seed: int) -> Tensor:
    return _inside(sde)(8, sde.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _inside(sde: SDE) -> Any:
    """Draws states inside the domain, not too near its ends."""
    bounds = []
    for low, high in sde.domain:
        low = -2.0 if np.isinf(low) and np.isinf(high) else high - 4.0 if np.isinf(low) else low
        bounds.append((low, low + 4.0 if np.isinf(high) else high))
    low, high = (torch.tensor(side, dtype=torch.float64) for side in zip(*bounds, strict=True))

    def draw(*shape: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        uniform = torch.rand(*shape, generator=generator, dtype=dtype)
        return low.to(dtype) + (high - low).to(dtype) * (0.05 + 0.9 * uniform)

    return draw


def _check_declared(sde: SDE, x: Tensor) -> None:
    t = torch.tensor(_TIMES[0], dtype=torch.float64)
    slopes = jacrev(lambda z: sde.diffusion(t, z))(x)
    if sde.noise_type == "additive" and bool((slopes != 0).any()):
        raise CheckFailure("sde", f"declared additive, but the diffusion changes with the state at {x.tolist()}")
    if sde.separable:
        off = slopes * (1 - torch.eye(sde.dim, dtype=torch.float64))
        if bool((off != 0).any()):
            i, j = (int(k) for k in (off != 0).nonzero()[0])
            raise CheckFailure("sde", f"declared separable, but g_{i + 1} changes with x_{j + 1}")
    if sde.autonomous:
        for name in ("drift", "diffusion"):
            a, b = (getattr(sde, name)(torch.tensor(s, dtype=torch.float64), x) for s in _TIMES)
            if not torch.equal(a, b):
                raise CheckFailure("sde", f"declared autonomous, but the {name} changes with the time")


def _check_ito_drift(sde: SDE, x: Tensor, limit: float) -> None:
    t = torch.tensor(_TIMES[0], dtype=torch.float64)
    expected = torch.stack([plain.ito_drift(sde, t, row) for row in x])
    got = operators.ito_drift(sde)(t, x)
    unit = torch.finfo(x.dtype).eps * (1 + float(expected.abs().max()))
    error = float((got - expected).detach().abs().max())
    if not error <= limit * unit:
        raise CheckFailure("sde", f"the Ito drift is off by {error:.3g}", units=error / unit)
    rough = torch.stack([_ito_drift_by_differences(sde, t, row) for row in x])
    error = float((got - rough).detach().abs().max() / (1 + rough.abs().max()))
    if not error <= _DIFFERENCES:
        raise CheckFailure(
            "sde",
            f"the Ito drift is off by {error:.3g} from difference quotients: are gradients of the diffusion cut off "
            "by detach() or numpy?",
        )


def _ito_drift_by_differences(sde: SDE, t: Tensor, x: Tensor) -> Tensor:
    """The same without autograd, which a detached coefficient deceives."""
    drift = sde.drift(t, x).detach()
    if sde.sde_type == "ito":
        return drift
    with torch.no_grad():
        noise = plain.noise_matrix(sde, t, x)
        for k in range(noise.shape[1]):
            step = _STEP * noise[:, k]
            ahead, behind = (plain.noise_matrix(sde, t, z)[:, k] for z in (x + step, x - step))
            drift = drift + (ahead - behind) / (4 * _STEP)
    return drift


def _check_formulas(sde: SDE, model: SymbolicSDE, params: dict[str, float], x: Tensor, limit: float) -> None:
    equation = Equation.of(model)
    entries = model.diffusion_matrix
    diagonal = sde.noise_type == "diagonal"
    matrix = [entries[i, i] for i in range(model.dim)] if diagonal else list(entries.flat())
    t = torch.tensor(_TIMES[0], dtype=torch.float64)
    symbols = (*model.state, model.time, *model.param_symbols)
    fixed = [float(t), *(float(params[name]) for name in model.param_names)]
    rows = np.column_stack([x.numpy(), np.tile(fixed, (len(x), 1))])
    parts: dict[str, tuple[Any, list[Any]]] = {
        "drift": (sde.drift, list(model.drift)),
        "diffusion": (sde.diffusion, matrix),
        "Ito drift": (operators.ito_drift(sde), list(equation.ito_drift())),
        "Ito drift of the model's Ito form": (model.ito().at(**params).drift, list(equation.ito_drift())),
    }
    for name, (function, formulas) in parts.items():
        got = function(t, x)
        found = compare(got, evaluate(formulas, symbols, rows), torch.float64, tuple(got.shape))
        if not found.within(limit):
            raise CheckFailure(
                "sde",
                f"the {name} differs from its formula at x = {x[found.row].tolist()}\n  {found}",
                units=found.units,
            )


__all__ = ["check_sde"]
