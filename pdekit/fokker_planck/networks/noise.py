"""Additive noise: N(t, h) = 2 D(t) h, the covariance of what a time h adds."""

import torch
from torch import Tensor

from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fokker_planck.statement import Statement
from pdekit.operators.convention import to_ito

_SAME = 1e-9
_SINGULAR = 1e-10


def definite(covariance: Tensor) -> bool:
    """Whether matrices (..., d, d) have no direction without variance, whatever the units of the states."""
    size = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    if not bool((size > 0).all()):
        return False
    correlation = covariance / (size[..., :, None] * size[..., None, :])
    return bool(torch.linalg.eigvalsh(correlation).min() > _SINGULAR)


class AdditiveNoise:
    """The noise of an equation whose G does not depend on the state.

    Args:
        problem: Whose noise.
        states: States (n, d) at which G is compared where the equation does not say that it is additive.

    Raises:
        UnsupportedError: If G depends on the state.
    """

    def __init__(self, problem: Statement, states: Tensor) -> None:
        self._sde, self._like = to_ito(problem.sde), states[:1].double()
        if self._sde.noise_type != "additive":
            for t in (problem.t0, problem.t0 + 1.0):
                found = self._sde.diffusion(t, states.double())
                if float((found - found[:1]).abs().max()) > _SAME * float(found.abs().max()):
                    raise UnsupportedError(
                        "Score targets along paths need noise that does not depend on the state, which this equation's "
                        'does. Use Score(targets="implicit"), MonteCarlo(), or a coordinate in which it is additive.'
                    )

    def factor(self, t: float) -> Tensor:
        """G, (d, m), float64."""
        with torch.no_grad():
            g = self._sde.diffusion(t, self._like)[0].double()
        if not bool(torch.isfinite(g).all()):
            raise NumericalError(f"The diffusion is not finite at t = {t:.6g}.")
        return torch.diag(g) if g.ndim == 1 else g

    def tensor(self, t: float) -> Tensor:
        """D = G G^T / 2, (d, d), float64."""
        g = self.factor(t)
        return 0.5 * g @ g.T


__all__ = ["AdditiveNoise", "definite"]
