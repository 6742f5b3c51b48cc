"""The transition density of one Euler step: any dimension, any noise of full rank, right to first order in dt."""

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import UnsupportedError
from pdekit.fitting.coefficients import Coefficients, Model
from pdekit.fitting.densities.gaussian import GaussianTransition
from pdekit.symbolic import SymbolicSDE


class EulerTransition(GaussianTransition):
    r"""The Gaussian law with mean x0 + f(t, x0) dt and covariance G G^T dt.

    Args:
        model: The SDE, of formulas or learned; a Stratonovich model is converted.
        pairs: The observations.

    Raises:
        UnsupportedError: If G G^T is singular, so that one step has no density (a position driven by a velocity).
    """

    route = "Euler (one Gaussian step)"

    def __init__(self, model: Model, pairs: Pairs) -> None:
        super().__init__(model, pairs)
        self._diagonal = model.noise_type == "diagonal"
        quiet = states_without_noise(self.model) if isinstance(self.model, SymbolicSDE) else []
        if quiet:
            raise UnsupportedError(
                f"One Euler step has no density: the noise does not reach {', '.join(quiet)} directly, so that its "
                "covariance is singular. Take method='shoji-ozaki', in which the noise spreads during a step; or give "
                "every state noise of its own."
            )
        coefficients = Coefficients(model)
        self._drift, self._noise = coefficients.drift, coefficients.noise

    def moments(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n, d) of x1 - x0 and covariance (n, d, d) of every pair."""
        t, dt, x0 = self.pairs.t[:, None], self.pairs.dt[:, None], self.pairs.x0
        noise = self._noise(t, x0, theta)
        return self._drift(t, x0, theta) * dt, noise @ noise.transpose(-1, -2) * dt[..., None]

    def log_density_at(self, theta: Tensor, x1: Tensor) -> Tensor:
        """The same with other end states x1, (n, d)."""
        if not self._diagonal:
            return super().log_density_at(theta, x1)
        t, dt, x0 = self.pairs.t[:, None], self.pairs.dt[:, None], self.pairs.x0
        miss = x1 - x0 - self._drift(t, x0, theta) * dt
        noise = self._noise(t, x0, theta).diagonal(dim1=-2, dim2=-1)
        variance = noise * noise * dt
        return -0.5 * (miss * miss / variance + torch.log(2.0 * torch.pi * variance)).sum(-1)


def states_without_noise(model: SymbolicSDE) -> list[str]:
    """Names of states whose row of G vanishes; or all of them where G G^T is singular otherwise."""
    matrix = model.diffusion_matrix
    names = [str(s) for s in model.state]
    quiet = [name for i, name in enumerate(names) if all(entry == 0 for entry in matrix.row(i))]
    return quiet or (names if matrix.shape[1] < matrix.shape[0] else [])
