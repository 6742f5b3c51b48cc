"""What is known of the state at the first reading of a path."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.fitting.coefficients import Coefficients
from pdekit.symbolic import SymbolicSDE

_MOST = 2000


@dataclass(frozen=True, eq=False)
class InitialLaw:
    """The law of the state given the first reading of a path: normal.

    Observed states are the reading with the variance of its noise, as after a diffuse prior. Unobserved ones are
    independent of it and have the mean and the covariance that they have over the record. Since likelihoods are
    conditional on the first reading, this choice touches the first few terms of each path only.

    Attributes:
        hidden: Positions of the unobserved states.
        mean: Their mean, (h,).
        covariance: Their covariance, (h, h).
    """

    hidden: tuple[int, ...]
    mean: Tensor
    covariance: Tensor

    @classmethod
    def rough(cls, model: SymbolicSDE, pairs: Pairs, columns: list[int], theta: Tensor) -> "InitialLaw":
        """From the rates at which observed states change: hidden states h for which f(y, h) comes nearest to them.

        What the observed drifts don't determine directly gets a mean of 0 and a standard deviation of 1, or what the
        others have where that is more. `observed` makes it better.
        """
        hidden = tuple(i for i in range(model.dim) if i not in columns)
        if not hidden:
            return cls((), torch.zeros(0, dtype=torch.float64), torch.zeros(0, 0, dtype=torch.float64))
        some = torch.linspace(0, len(pairs) - 1, min(len(pairs), _MOST)).long()
        state = torch.zeros(len(some), model.dim, dtype=torch.float64)
        state[:, columns] = 0.5 * (pairs.x0 + pairs.x1)[some]
        rate = ((pairs.x1 - pairs.x0) / pairs.dt[:, None])[some]
        with torch.no_grad():
            functions, t = Coefficients(model), pairs.t[some, None]
            jacobian = model.ito().function(model.ito().drift_jacobian)(t, state, theta)
            response = jacobian[:, columns][:, :, list(hidden)]
            miss = rate - functions.drift(t, state, theta)[:, columns]
            solved = (torch.linalg.pinv(response) @ miss[..., None])[..., 0]
        finite = solved[torch.isfinite(solved).all(-1)]
        spread = finite.std(0) if len(finite) > 1 else torch.zeros(len(hidden), dtype=torch.float64)
        direct = spread > 0
        least = torch.where(direct, spread, spread.amax().clamp_min(1.0))
        mean = finite.mean(0) if len(finite) else torch.zeros_like(spread)
        return cls(hidden, torch.where(direct, mean, 0.0), torch.diag(least.square()))

    def observed(self, means: Tensor, covariances: Tensor) -> "InitialLaw":
        """The same with the mean and covariance over a filtered record, from (n, d) and (n, d, d)."""
        index = list(self.hidden)
        means, inside = means[:, index], covariances[:, index][:, :, index].mean(0)
        return InitialLaw(self.hidden, means.mean(0), torch.atleast_2d(torch.cov(means.T)) + inside)

    def at(self, reading: Tensor, variance: Tensor, columns: list[int]) -> tuple[Tensor, Tensor]:
        """Mean (d, R) and covariance (d, d, R) given readings (d_obs, R) with noise variances (d_obs,)."""
        dim, rows = len(columns) + len(self.hidden), reading.shape[-1]
        order = [*columns, *self.hidden]
        back = [order.index(i) for i in range(dim)]
        mean = torch.cat([reading, self.mean[:, None].expand(-1, rows)])[back]
        covariance = torch.block_diag(torch.diag(variance), self.covariance)[back][:, back]
        return mean, covariance[..., None].expand(-1, -1, rows)


__all__ = ["InitialLaw"]
