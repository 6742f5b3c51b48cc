"""Mixtures of normal laws that move so that the Fokker-Planck residual is as small as it can be.

With rates b, a and symmetric B for each component, its weight grows by d log w = b - sum_j w_j b_j, its mean moves by
dm = L a, and its covariance C = L L^T by dC = 2 L B L^T. With z = L^-1 (x - m) and the shares r of the components,

    d_t log q = sum_j r_j (b_j + a_j . z_j + z_j^T B_j z_j - tr B_j) - sum_j w_j b_j,

which is linear in the rates. At every time they are the least squares of d_t log q - (L* q) / q under q itself. Where
the true law stays such a mixture, as under a linear drift, next to nothing is left.

Source: W. Anderson and M. Farazmand, Fisher information and shape-morphing modes for solving the Fokker-Planck equation
in higher dimensions, Applied Mathematics and Computation 467 (2024), arXiv 2306.03749; J. Bruna, B. Peherstorfer and E.
Vanden-Eijnden, J. Comput. Phys. 496 (2024) 112588.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import NumericalError, PdekitError
from pdekit.fokker_planck.networks.mixture import Mixture, MovingMixture
from pdekit.ode import StepControl, odeint
from pdekit.operators import log_fokker_planck_operator
from pdekit.sde import SDE

_ROWS = 10  # for each rate of a component
_FEWEST = 256
_DAMPING = 1e-4  # of the least squares: rates that change next to nothing stay small
_RTOL, _ATOL = 1e-4, 1e-6


class Morphing:
    """The rates of a mixture's parameters.

    Args:
        sde: The equation.
        count: Components.
        seed: Of the points at which the residual is looked at, which move with the components.
    """

    def __init__(self, sde: SDE, count: int, seed: int) -> None:
        self.sde, self.count, self.dim = sde, count, sde.dim
        self._rows, self._columns = torch.tril_indices(self.dim, self.dim, -1)
        rates = 1 + self.dim + self.dim * (self.dim + 1) // 2
        self._z = _standard(max(_FEWEST, _ROWS * rates), self.dim, seed)

    def flat(self, mixture: Mixture) -> Tensor:
        """The parameters in a row, (1, p)."""
        return torch.cat([mixture.weights.log(), mixture.means.reshape(-1), mixture.factors.reshape(-1)])[None]

    def mixture(self, flat: Tensor) -> Mixture:
        """The mixture of parameters (p,)."""
        logits, means, factors = flat.split([self.count, self.count * self.dim, self.count * self.dim**2])
        return Mixture(
            logits.softmax(0), means.reshape(self.count, -1), factors.reshape(self.count, self.dim, self.dim)
        )

    def rates(self, t: Tensor, flat: Tensor) -> Tensor:
        """d_t of the parameters (1, p)."""
        mixture = self.mixture(flat[0])
        found = self._solved(*self._system(float(t), mixture)).reshape(self.count, -1)
        found = found / mixture.weights.sqrt()[:, None]
        grown, moved, turned = found.split([1, self.dim, found.shape[1] - 1 - self.dim], 1)
        means = (mixture.factors @ moved[..., None])[..., 0]
        factors = mixture.factors @ self._lower(turned)
        logits = grown[:, 0] - (mixture.weights * grown[:, 0]).sum()
        return torch.cat([logits, means.reshape(-1), factors.reshape(-1)])[None]

    def residual(self, t: float, mixture: Mixture) -> float:
        """The root mean square of what the best rates leave, one over time."""
        matrix, right = self._system(t, mixture)
        return float((matrix @ self._solved(matrix, right) - right).norm())

    def _system(self, t: float, mixture: Mixture) -> tuple[Tensor, Tensor]:
        """The least squares: rows are points, weighted by their part of q, columns are rates times sqrt(w)."""
        x = mixture.means[:, None] + self._z @ mixture.factors.mT
        weight = (mixture.weights[:, None] / len(self._z)).expand(x.shape[:2]).reshape(-1).sqrt()
        x = x.reshape(-1, self.dim)
        operator = log_fokker_planck_operator(lambda t, x: mixture.log_values(x), self.sde)
        right = operator(torch.tensor(t, dtype=x.dtype), x).detach()
        shares, z = mixture.shares(x), mixture.standard(x)
        column = torch.cat(
            [
                torch.ones_like(z[..., :1]),
                z,
                (z.square() - 1) / 2**0.5,
                z[..., self._rows] * z[..., self._columns],
            ],
            -1,
        )
        matrix = shares[..., None] * column
        matrix[..., 0] -= mixture.weights
        matrix = matrix / mixture.weights.sqrt()[:, None]
        return matrix.flatten(1) * weight[:, None], right * weight

    @staticmethod
    def _solved(matrix: Tensor, right: Tensor) -> Tensor:
        gram = matrix.T @ matrix
        damped = gram + _DAMPING * torch.eye(len(gram), dtype=gram.dtype)
        return torch.linalg.solve(damped, matrix.T @ right)

    def _lower(self, turned: Tensor) -> Tensor:
        """The lower triangular M with M + M^T = 2 B."""
        diagonal, below = turned[:, : self.dim], turned[:, self.dim :]
        found = torch.diag_embed(diagonal / 2**0.5)
        found[:, self._rows, self._columns] = below
        return found


def _standard(n: int, dim: int, seed: int) -> Tensor:
    """Points of the standard normal law, with their mirror images."""
    half = torch.randn((n + 1) // 2, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([half, -half])


def morphed(
    morphing: Morphing,
    start: Mixture,
    times: np.ndarray,
    most: int,
    progress: Callable[[float], None] = lambda share: None,
) -> MovingMixture:
    """The mixture at all times, of which the first is the start, in no more than so many steps.

    Raises:
        NumericalError: If it breaks down on the way.
    """
    span = times[-1] - times[0]

    def field(t: Tensor, y: Tensor) -> Tensor:
        progress(float((t.reshape(-1)[0] - times[0]) / span))
        return morphing.rates(t.reshape(-1)[0], y)

    try:
        with torch.no_grad():
            run = odeint(
                field,
                morphing.flat(start),
                torch.as_tensor(times),
                rtol=_RTOL,
                atol=_ATOL,
                control=StepControl(max_steps=most),
            )
    except (PdekitError, RuntimeError) as cause:
        raise NumericalError(
            f"The mixture broke down on its way: {str(cause).rstrip('.')}. Take fewer components, or Score()."
        ) from cause
    return MovingMixture(tuple(morphing.mixture(y[0]) for y in run.y))


__all__ = ["Morphing", "morphed"]
