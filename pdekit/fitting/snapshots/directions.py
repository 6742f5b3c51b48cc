"""Which changes of the parameters the laws of snapshots can't show, in plain words."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.data.snapshots import Snapshots
from pdekit.fitting.coefficients import Coefficients
from pdekit.symbolic import SymbolicSDE

_SAMPLES = 400
_STEP = 1e-5
_ALIKE = 1e-4  # of the coefficients' size: what is left of them outside of the span
_INVOLVED = 0.3


@dataclass(frozen=True, eq=False)
class Slopes:
    """How drift and diffusion tensor change with the free parameters, at samples spread over the data.

    Args:
        names: Of the free parameters.
        drift: f, (n d,), in units of its root mean square.
        tensor: D, likewise, (n d d,).
        by_drift: df/dtheta_j in the same units, (n d, k).
        by_tensor: dD/dtheta_j likewise, (n d d, k).
    """

    names: tuple[str, ...]
    drift: np.ndarray
    tensor: np.ndarray
    by_drift: np.ndarray
    by_tensor: np.ndarray

    @classmethod
    def of(cls, model: SymbolicSDE, data: Snapshots, theta: Tensor, free: np.ndarray) -> "Slopes":
        """By central differences."""
        coefficients = Coefficients(model)
        states, which = data.pooled()
        some = torch.linspace(0, len(states) - 1, min(len(states), _SAMPLES)).long()
        x, t = states[some], data.times[which[some]][:, None]

        def both(at: Tensor) -> tuple[np.ndarray, np.ndarray]:
            with torch.no_grad():
                noise = coefficients.noise(t, x, at)
                return coefficients.drift(t, x, at).reshape(-1).numpy(), (0.5 * noise @ noise.mT).reshape(-1).numpy()

        f, d = both(theta)
        sizes = [max(float(_rms(part)), 1e-300) for part in (f, d)]
        columns: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for i in np.flatnonzero(free).tolist():
            step = _STEP * max(abs(float(theta[i])), 1e-3)
            lower, upper = model.params[model.param_names[i]]
            ahead, behind = theta.clone(), theta.clone()
            ahead[i], behind[i] = min(float(theta[i]) + step, upper), max(float(theta[i]) - step, lower)
            for column, up, down, size in zip(columns, both(ahead), both(behind), sizes, strict=True):
                column.append((up - down) / float(ahead[i] - behind[i]) / size)
        names = tuple(name for name, moves in zip(model.param_names, free, strict=True) if moves)
        return cls(names, f / sizes[0], d / sizes[1], np.stack(columns[0], -1), np.stack(columns[1], -1))

    @property
    def units(self) -> np.ndarray:
        """The change of each parameter that changes drift or tensor by all of their size, (k,)."""
        most = [_rms(part) for part in (self.by_drift, self.by_tensor)]
        return 1.0 / np.maximum(np.maximum(*most), 1e-300)

    def scaling(self) -> np.ndarray | None:
        """The change of parameters (k,) that multiplies f and D by one factor (d log factor = 1); None if none does."""
        matrix = np.concatenate([self.by_drift, self.by_tensor]) * self.units
        right = np.concatenate([self.drift, self.tensor])
        v = np.linalg.lstsq(matrix, right, rcond=1e-10)[0]
        left = np.sqrt(np.square(matrix @ v - right).mean())
        return v * self.units if left < _ALIKE else None


def _rms(values: np.ndarray) -> np.ndarray:
    """The root mean square of columns, of values whose squares may overflow."""
    most = np.maximum(np.abs(values).max(0), 1e-300)
    return most * np.sqrt(np.square(values / most).mean(0))


def errors_along(covariance: np.ndarray, direction: np.ndarray) -> float:
    """The standard error of a step along a direction with all else held, (v^T C^-1 v)^{-1/2}."""
    size = np.sqrt(np.diag(covariance).clip(min=1e-300))
    precision = np.linalg.pinv(covariance / np.outer(size, size), hermitian=True, rcond=1e-13)
    scaled = direction / size
    return float(1.0 / np.sqrt(max(float(scaled @ precision @ scaled), 1e-300)))


def flattest(slopes: Slopes, covariance: np.ndarray) -> tuple[float, np.ndarray]:
    """The greatest standard error of a step of unit length, in units of `Slopes.units`, and its direction (k,)."""
    units = slopes.units
    values, vectors = np.linalg.eigh(covariance / np.outer(units, units))
    return float(np.sqrt(max(values[-1], 0.0))), vectors[:, -1] * units


def described(slopes: Slopes, direction: np.ndarray, dim: int) -> str:
    """What such a change of parameters is."""
    shares = direction / slopes.units
    shares = shares / np.abs(shares).max()
    involved = [name for name, share in zip(slopes.names, shares, strict=True) if abs(share) > _INVOLVED]
    told = " and ".join(involved)
    if len(involved) > 2:
        told = ", ".join(involved[:-1]) + " and " + involved[-1]
    scaling = slopes.scaling()
    if scaling is not None:
        aligned = np.abs(np.dot(shares, scaling / slopes.units)) / (
            np.linalg.norm(shares) * np.linalg.norm(scaling / slopes.units)
        )
        if aligned > 0.9:
            return f"{told} enter together as one common factor of drift and noise: how fast everything happens"
    by_tensor = np.sqrt(np.square(slopes.by_tensor @ direction).mean())
    by_drift = np.sqrt(np.square(slopes.by_drift @ direction).mean())
    if dim > 1 and by_tensor < 1e-2 * by_drift:
        return (
            f"Changes of {told} move the drift along level sets of the density only: a probability current that "
            f"goes round and "
            "leaves every law as it is"
        )
    if len(involved) == 1:
        return f"Changes of {told} hardly show in the laws at these times"
    return f"{told} can be changed together so that the laws at these times stay the same"


__all__ = ["Slopes", "described", "errors_along", "flattest"]
