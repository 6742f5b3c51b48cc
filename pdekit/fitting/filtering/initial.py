"""What is known of the state at the first reading of a path."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.fitting.coefficients import Coefficients
from pdekit.symbolic import SymbolicSDE

_MOST = 2000
_PATHS = 10  # from so many on, their first readings tell what the law of observed states at the start is
LEAST = 1e-3  # of the spread of first readings: what the states' own is at least


@dataclass(frozen=True, eq=False)
class InitialLaw:
    """The law of the state given the first reading of a path: normal.

    Observed states have the law that the first readings of many paths show, less their noise, and a flat one where
    there are few paths. Unobserved ones follow the observed ones by linear regression: that of the stationary law where
    the model is linear and has one, else that of the states over the record. The first reading is conditioned on, not
    counted; of long paths the choice touches the first few terms only.

    Attributes:
        hidden: Positions of the unobserved states.
        mean: Their mean, (h,).
        covariance: Their covariance given the observed ones, (h, h).
        slope: Of their regression on the observed ones, (h, o).
        center: Mean of the observed states, (o,).
        spread: Variance of first readings, (o,); None where there are few paths.
    """

    hidden: tuple[int, ...]
    mean: Tensor
    covariance: Tensor
    slope: Tensor
    center: Tensor
    spread: Tensor | None

    @classmethod
    def rough(cls, model: SymbolicSDE, pairs: Pairs, columns: list[int], theta: Tensor) -> "InitialLaw":
        """From the rates at which observed states change: hidden states h for which f(y, h) comes nearest to them.

        What the observed drifts don't determine directly gets a mean of 0 and a standard deviation of 1, or what the
        others have where that is more. `observed` makes it better.
        """
        hidden = tuple(i for i in range(model.dim) if i not in columns)
        center, spread = first_readings(pairs)
        slope = torch.zeros(len(hidden), len(columns), dtype=torch.float64)
        if not hidden:
            none = torch.zeros(0, dtype=torch.float64)
            return cls((), none, torch.zeros(0, 0, dtype=torch.float64), slope, center, spread)
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
        size = finite.std(0) if len(finite) > 1 else torch.zeros(len(hidden), dtype=torch.float64)
        direct = size > 0
        least = torch.where(direct, size, size.amax().clamp_min(1.0))
        mean = finite.mean(0) if len(finite) else torch.zeros_like(size)
        return cls(hidden, torch.where(direct, mean, 0.0), torch.diag(least.square()), slope, center, spread)

    def observed(self, means: Tensor, covariances: Tensor, columns: list[int]) -> "InitialLaw":
        """The same with the regression that a filtered record shows, from (n, d) and (n, d, d)."""
        return self.regressed(means.mean(0), torch.atleast_2d(torch.cov(means.T)) + covariances.mean(0), columns)

    def regressed(self, mean: Tensor, covariance: Tensor, columns: list[int]) -> "InitialLaw":
        """The same with the regression of hidden on observed states in a normal law (d,), (d, d)."""
        inside = torch.as_tensor(list(self.hidden))
        outside = torch.as_tensor(columns)
        both = covariance[inside][:, outside]
        slope = torch.linalg.solve(covariance[outside][:, outside], both.T).T
        left = covariance[inside][:, inside] - slope @ both.T
        center = self.center if self.spread is not None else mean[outside]
        shifted = mean[inside] + slope @ (center - mean[outside])
        return replace(self, mean=shifted, covariance=left, slope=slope, center=center)

    def at(self, reading: Tensor, variance: Tensor, columns: list[int]) -> tuple[Tensor, Tensor]:
        """Mean (d, R) and covariance (d, d, R) given readings (d_obs, R) with noise variances (d_obs,)."""
        dim, rows = len(columns) + len(self.hidden), reading.shape[-1]
        order = [*columns, *self.hidden]
        back = [order.index(i) for i in range(dim)]
        center, seen, known = self.center[:, None], reading, variance
        if self.spread is not None:
            own = torch.maximum(self.spread - variance, LEAST * self.spread)
            trust = own / (own + variance)
            seen, known = center + trust[:, None] * (reading - center), trust * variance
        across = self.slope * known
        mean = torch.cat([seen, self.mean[:, None] + self.slope @ (seen - center)])[back]
        rest = self.covariance + across @ self.slope.T
        whole = torch.cat([torch.cat([torch.diag(known), across.T], 1), torch.cat([across, rest], 1)])
        return mean, whole[back][:, back][..., None].expand(-1, -1, rows)


def first_readings(pairs: Pairs) -> tuple[Tensor, Tensor | None]:
    """Mean and variance of the first readings of all paths, (o,); the record's mean and None where paths are few."""
    change = torch.ones(len(pairs), dtype=torch.bool)
    change[1:] = pairs.path[1:] != pairs.path[:-1]
    first = pairs.x0[change]
    if len(first) < _PATHS:
        return pairs.x0.mean(0), None
    return first.mean(0), first.var(0).clamp_min(1e-300)


__all__ = ["LEAST", "InitialLaw", "first_readings"]
