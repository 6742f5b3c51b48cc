"""The coefficients of the Fokker-Planck equation at points, as solvers need them: d_t p = -div(v p - D grad p)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import NumericalError
from pdekit.operators.call import make_call
from pdekit.operators.coefficients import coefficients
from pdekit.sde import SDE

_ROWS = 200_000  # evaluated at a time


@dataclass(frozen=True, eq=False)
class Coefficients:
    """At n points.

    Args:
        velocity: v = f - div D with the Ito drift f, (n, d).
        tensor: D = G G^T / 2, (n, d, d).
    """

    velocity: np.ndarray
    tensor: np.ndarray


def at_points(sde: SDE, t: float, x: np.ndarray) -> Coefficients:
    """The coefficients of an equation at states (n, d).

    Raises:
        NumericalError: If one is not finite.
    """
    if not len(x):
        return Coefficients(np.zeros(x.shape), np.zeros((*x.shape, x.shape[1])))
    parts = [_evaluate(sde, t, part) for part in np.array_split(x, max(1, -(-len(x) // _ROWS)))]
    found = Coefficients(np.concatenate([p.velocity for p in parts]), np.concatenate([p.tensor for p in parts]))
    for values, what in ((found.velocity, "drift"), (found.tensor, "diffusion")):
        bad = ~np.isfinite(values).reshape(len(x), -1).all(-1)
        if bad.any():
            where = ", ".join(f"{name} = {value:.6g}" for name, value in zip(sde.names, x[bad][0], strict=True))
            raise NumericalError(
                f"The {what}, or its derivative, is not finite at {where}, t = {t:.6g}. Give a domain= that leaves "
                "this point out."
            )
    return found


def _evaluate(sde: SDE, t: float, x: np.ndarray) -> Coefficients:
    state = torch.as_tensor(x, dtype=torch.float64)
    with torch.no_grad():
        call = make_call("FokkerPlanckProblem", sde.drift, (t, state), {})
        c = coefficients(sde, call, divergences=1)
    velocity = c.drift - c.tensor_divergence
    if c.diagonal:
        tensor = torch.diag_embed(0.5 * c.noise**2)
    else:
        tensor = 0.5 * c.noise @ c.noise.transpose(-1, -2)
    return Coefficients(_numpy(velocity, x.shape), _numpy(tensor, (*x.shape, x.shape[1])))


def _numpy(z: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(z.detach().double().expand(shape).cpu().numpy())


__all__ = ["Coefficients", "at_points"]
