"""The transition density of coefficients without formulas: a normal law whose moments are integrated over the step.

    m' = E f(X),   C' = E[(X - m) f(X)^T] + E[f(X) (X - m)^T] + E[G G^T](X),   X ~ N(m, C),

with expectations over the 2 d points m +- sqrt(d) C^{1/2} e_j, exact for cubic f and G G^T (Arasaratnam and Haykin
2009, IEEE Trans. Automat. Control 54; Sarkka 2007, ibid. 52). No derivatives of the coefficients are needed.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.fitting.coefficients import Coefficients, Model
from pdekit.fitting.densities.gaussian import GaussianTransition
from pdekit.fitting.densities.protocol import select_pairs

Rates = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

MOST_SUBSTEPS = 16
# Runge and Kutta: how far ahead the next slope is taken, and the weight of this one.
_STAGES = ((0.5, 1 / 6), (0.5, 1 / 3), (1.0, 1 / 3), (0.0, 1 / 6))
_SAMPLE = 500
_AGREED = 1e-4  # nats for each transition, root mean square
_AT_ONCE = 20_000_000  # numbers that are worked on at once


def normal_moments(rates: Rates, t: Tensor, x0: Tensor, dt: Tensor, substeps: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance after steps from exact states, by the classical Runge-Kutta rule.

    Args:
        rates: Times (n, 1) and states (n, d) to f (n, d) and G G^T (n, d, d).
        t: Times (n, 1).
        x0: States (n, d).
        dt: Steps (n, 1).
        substeps: Into how many parts a step is divided; the error is of fourth order in a part.

    Returns:
        The mean (n, d) and the covariance (n, d, d) of the state at t + dt.

    Example:
        >>> rates = lambda t, x: (-x, torch.ones(*x.shape, 1))
        >>> mean, covariance = normal_moments(rates, *torch.tensor([[[0.0]], [[1.0]], [[0.1]]]).double(), 1)
        >>> f"{float(mean):.4f} {float(covariance):.4f}"  # exactly .9048 and .0906
        '0.9048 0.0906'
    """
    h, mean = dt / substeps, x0
    covariance = x0.new_zeros(*x0.shape, x0.shape[-1])
    for k in range(substeps):
        now = t + k * h
        moved, spread = torch.zeros_like(mean), torch.zeros_like(covariance)
        f, s = rates(now, mean) if not k else _slopes(rates, now, mean, covariance)
        for share, weight in _STAGES:
            moved, spread = moved + weight * f, spread + weight * s
            if share:
                part = share * h
                f, s = _slopes(rates, now + part, mean + part * f, covariance + part[..., None] * s)
        mean, covariance = mean + h * moved, covariance + h[..., None] * spread
    return mean, covariance


def _slopes(rates: Rates, t: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    d = mean.shape[-1]
    root = torch.linalg.cholesky_ex(covariance)[0].mT * d**0.5  # (n, d directions, d)
    offsets = torch.cat([root, -root], 1)
    f, tensor = rates(t.repeat_interleave(2 * d, 0), (mean[:, None] + offsets).flatten(0, 1))
    f = f.view(offsets.shape)
    across = offsets.mT @ f / (2 * d)
    return f.mean(1), across + across.mT + tensor.view(*offsets.shape, d).mean(1)


class CubatureTransition(GaussianTransition):
    """The normal law with integrated moments, right to the order of dt^2 in any dimension.

    Where the integration runs off (a step far too long), the law is that of one Euler step.

    Args:
        model: The SDE, of formulas or learned.
        pairs: The observations.
        substeps: Of each step; by default doubled until the densities of 500 transitions move by less than 1e-4 nat.
    """

    def __init__(self, model: Model, pairs: Pairs, *, substeps: int | None = None) -> None:
        super().__init__(model, pairs)
        self._coefficients = Coefficients(self.model)
        self.substeps = substeps or self._enough()
        self.route = f"normal, moments integrated in {self.substeps} part{'s' * (self.substeps > 1)} of a step"

    def moments(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n, d) of x1 - x0 and covariance (n, d, d) of every pair."""
        rows = max(1, _AT_ONCE // (2 * self.model.dim**3 * 16))
        parts = zip(*(v.split(rows) for v in (self.pairs.t, self.pairs.x0, self.pairs.dt)), strict=True)
        means, covariances = zip(*(self._moments(theta, *part) for part in parts), strict=True)
        return torch.cat(means), torch.cat(covariances)

    def _moments(self, theta: Tensor, t: Tensor, x0: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
        def rates(when: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            g = self._coefficients.noise(when, x, theta)
            return self._coefficients.drift(when, x, theta), g @ g.mT

        t, dt = t[:, None], dt[:, None]
        mean, covariance = normal_moments(rates, t, x0, dt, self.substeps)
        sound = torch.isfinite(mean).all(-1) & torch.isfinite(covariance).all(-1).all(-1)
        sound &= torch.linalg.cholesky_ex(torch.nan_to_num(covariance.detach()))[1] == 0
        if bool(sound.all()):
            return mean - x0, covariance
        f, s = rates(t, x0)
        return (
            torch.where(sound[:, None], mean - x0, f * dt),
            torch.where(sound[:, None, None], covariance, s * dt[..., None]),
        )

    def _enough(self) -> int:
        """The substeps that suffice for some of the transitions; a learned SDE has no parameters, (0,)."""
        theta = self.pairs.x0.new_zeros(0)
        some = torch.linspace(0, len(self.pairs) - 1, min(len(self.pairs), _SAMPLE)).long()
        sample = select_pairs(self.pairs, some)
        substeps, before = 1, None
        while True:
            with torch.no_grad():
                own = CubatureTransition(self.model, sample, substeps=substeps).log_density(theta)
            if before is not None and float((own - before).nan_to_num().square().mean().sqrt()) < _AGREED:
                return substeps // 2
            if substeps >= MOST_SUBSTEPS:
                return substeps
            substeps, before = 2 * substeps, own


__all__ = ["MOST_SUBSTEPS", "CubatureTransition", "normal_moments"]
