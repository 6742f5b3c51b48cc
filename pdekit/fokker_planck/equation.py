"""The coefficients of the Fokker-Planck equation at points, as solvers need them: d_t p = -div(v p - D grad p)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import NumericalError
from pdekit.operators.call import Call, make_call
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
    parts = [_evaluate(sde, t, part) for part in _ranges(x)]
    found = Coefficients(np.concatenate([p.velocity for p in parts]), np.concatenate([p.tensor for p in parts]))
    _check_finite(found.velocity, "drift", sde, t, x)
    _check_finite(found.tensor, "diffusion", sde, t, x)
    return found


@dataclass(frozen=True, eq=False)
class AtTime:
    """An equation at one time, as a function of states (n, d).

    Args:
        sde: The equation.
        t: The time.
    """

    sde: SDE
    t: float

    def __call__(self, x: np.ndarray) -> Coefficients:
        """Both coefficients; see `at_points`."""
        return at_points(self.sde, self.t, x)

    def ito_drift(self, x: np.ndarray) -> np.ndarray:
        """The Ito drift alone, (n, d): v where D does not depend on the state, at a fraction of the cost.

        Raises:
            NumericalError: If it is not finite.
        """
        with torch.no_grad():
            parts = [coefficients(self.sde, _call(self.sde, self.t, part), divergences=0).drift for part in _ranges(x)]
        found = np.concatenate([_numpy(f, (len(f), x.shape[1])) for f in parts])
        _check_finite(found, "drift", self.sde, self.t, x)
        return found


def _ranges(x: np.ndarray) -> list[np.ndarray]:
    return np.array_split(x, max(1, -(-len(x) // _ROWS)))


def _check_finite(values: np.ndarray, what: str, sde: SDE, t: float, x: np.ndarray) -> None:
    if np.isfinite(values).all():
        return
    bad = ~np.isfinite(values).reshape(len(x), -1).all(-1)
    where = ", ".join(f"{name} = {value:.6g}" for name, value in zip(sde.names, x[bad][0], strict=True))
    raise NumericalError(
        f"The {what}, or its derivative, is not finite at {where}, t = {t:.6g}. Give a domain= that leaves this point "
        "out; beside an absorbing side at which the noise vanishes like a root, MonteCarlo() solves it as it is."
    )


def _call(sde: SDE, t: float, x: np.ndarray) -> Call:
    return make_call("FokkerPlanckProblem", sde.drift, (t, torch.as_tensor(x, dtype=torch.float64)), {})


def _evaluate(sde: SDE, t: float, x: np.ndarray) -> Coefficients:
    with torch.no_grad():
        c = coefficients(sde, _call(sde, t, x), divergences=1)
    velocity = c.drift - c.tensor_divergence
    if c.diagonal:
        tensor = torch.diag_embed(0.5 * c.noise**2)
    else:
        tensor = 0.5 * c.noise @ c.noise.transpose(-1, -2)
    return Coefficients(_numpy(velocity, x.shape), _numpy(tensor, (*x.shape, x.shape[1])))


def _numpy(z: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(z.detach().double().expand(shape).cpu().numpy())


__all__ = ["AtTime", "Coefficients", "at_points"]
