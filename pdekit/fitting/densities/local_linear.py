"""Transition densities that take the drift as linear over a step: Ozaki's, and Shoji and Ozaki's.

With J = df/dx at (t, x0), the noise G held at its value there and D = 1/2 G G^T,

    mean - x0 = J^-1 (e^(J dt) - 1) f + J^-2 (e^(J dt) - 1 - J dt) M,
    covariance = int_0^dt e^(J s) G G^T e^(J^T s) ds,

where M = 0 for Ozaki and M_i = sum_jk D_jk d_j d_k f_i + d_t f_i for Shoji and Ozaki: what Ito's formula adds to the
drift on average while the state moves.

Sources: Ozaki (1992), A bridge between nonlinear time series models and nonlinear stochastic dynamical systems,
Statist. Sinica 2; Shoji and Ozaki (1998), A statistical method of estimation and simulation for systems of stochastic
differential equations, Biometrika 85.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import sympy
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pdekit.data import Pairs
from pdekit.errors import ModelError, UnsupportedError
from pdekit.fitting.densities.closed_form import phi1
from pdekit.fitting.densities.gaussian import GaussianTransition
from pdekit.fitting.densities.linear_flow import linear_flow, product
from pdekit.symbolic import SymbolicSDE
from pdekit.symbolic.compiled import Compiled

_TAYLOR = 18
# Numbers in the matrices that are worked on at once; the rest waits, so that the gradient's memory stays small.
_CHUNK = 200_000


class LocalLinearTransition(GaussianTransition):
    """The normal law of the equation linearised at the start of each step.

    Exact for linear drift with additive noise, in any dimension. A noise that depends on the state is held still during
    a step, which is right to first order in it. Where the noise reaches a state only through the others (a position
    driven by a velocity), the covariance has full rank all the same, and the density exists.

    Args:
        model: The SDE, its drift differentiable once in the state; twice, and once in time, with `curved`.
        pairs: The observations.
        curved: Add the term M of Shoji and Ozaki; without it the density is Ozaki's.

    Raises:
        UnsupportedError: If the drift has no such derivatives.

    Example:
        >>> import pdekit as pk
        >>> data = pk.Trajectories.from_arrays([0.0, 1.0, 2.0], [[1.0, 0.0], [0.9, -0.4], [0.5, -0.4]])
        >>> model = pk.models.damped_oscillator()
        >>> density = LocalLinearTransition(model, data.pairs())
        >>> density.log_density(model.theta({"gamma": 0.5, "omega": 1.0, "T": 0.2})).shape
        torch.Size([2])
    """

    def __init__(self, model: SymbolicSDE, pairs: Pairs, *, curved: bool = True) -> None:
        model = model.ito()
        super().__init__(model, pairs)
        self.curved = curved
        self.route = f"{'Shoji-Ozaki' if curved else 'Ozaki'} (normal, linearised drift)"
        self._parts = _compiled(model, curved)
        if self._parts.constant:
            self._steps, self._step_index = pairs.distinct()

    @property
    def exact(self) -> bool:
        """Whether it is no approximation: linear drift, additive noise, neither dependent on time."""
        return self._parts.constant

    def moments(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n, d) of x1 - x0 and covariance (n, d, d) of every pair."""
        t, dt, x0 = self.pairs.t[:, None], self.pairs.dt, self.pairs.x0
        if self._parts.constant and theta.ndim == 1:
            return self._constant(t, x0, theta)
        if self.model.dim == 1:
            return self._scalar(t, dt, x0, theta)
        rows = max(1, _CHUNK // self.model.dim**2)
        if len(dt) <= rows:
            return self._general(t, dt, x0, theta)
        parts = [
            checkpoint(self._general, *block, theta, use_reentrant=False, preserve_rng_state=False)
            for block in zip(t.split(rows), dt.split(rows), x0.split(rows), strict=True)
        ]
        means, covariances = zip(*parts, strict=True)
        return torch.cat(means), torch.cat(covariances)

    def _general(self, t: Tensor, dt: Tensor, x0: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        drift, jacobian, tensor, curvature = self._parts.at(t, x0, theta)
        if curvature is not None:
            curvature = (curvature * (dt * dt)[:, None]).T[:, None]
        a, s = ((m * dt[:, None, None]).permute(1, 2, 0) for m in (jacobian, tensor))
        mean, covariance = linear_flow(a, (drift * dt[:, None]).T[:, None], s, curvature)
        return mean[:, 0].T, covariance.permute(2, 0, 1)

    def _constant(self, t: Tensor, x0: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Where J and G depend on neither state nor time: one flow for each distinct step."""
        _, jacobian, tensor, _ = self._parts.at(t[:1], x0[:1], theta)
        drift = self._parts.drift(t, x0, theta)
        a, s = (m.permute(1, 2, 0) * self._steps for m in (jacobian, tensor))
        identity = torch.eye(self.model.dim, dtype=x0.dtype)[..., None] * self._steps
        mean, covariance = linear_flow(a, identity, s)
        displacement = product(mean[..., self._step_index], drift.T[:, None])[:, 0].T
        return displacement, covariance.permute(2, 0, 1)[self._step_index]

    def _scalar(self, t: Tensor, dt: Tensor, x0: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        drift, jacobian, tensor, curvature = self._parts.at(t, x0, theta)
        z = jacobian[:, 0] * dt[:, None]
        mean = drift * dt[:, None] * phi1(z)
        if curvature is not None:
            mean = mean + curvature * (dt * dt)[:, None] * phi2(z)
        return mean, (tensor[:, 0] * dt[:, None] * phi1(2.0 * z))[..., None]


def phi2(y: Tensor) -> Tensor:
    """(e^y - 1 - y) / y^2, smooth through y = 0 with all its derivatives.

    Args:
        y: Any shape.

    Returns:
        A tensor of the same shape.

    Example:
        >>> phi2(torch.tensor([0.0, 1.0]))
        tensor([0.5000, 0.7183])
    """
    near = y.abs() < 1
    small, large = torch.where(near, y, 0.0), torch.where(near, 1.0, y)
    series = torch.zeros_like(y)
    for k in range(_TAYLOR, -1, -1):
        series = series * small + 1 / math.factorial(k + 2)
    return torch.where(near, series, (torch.expm1(large) - large) / (large * large))


class _Parts(NamedTuple):
    """What a step needs of a model.

    Attributes:
        drift: f alone.
        all: f, J, G G^T and M, flat.
        dim: d.
        curved: Whether M is among them.
        constant: Whether J and G depend on neither state nor time, and M is zero.
    """

    drift: Compiled
    all: Compiled
    dim: int
    curved: bool
    constant: bool

    def at(self, t: Tensor, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """f (n, d), J (n, d, d), G G^T (n, d, d), and M (n, d) or None where it is zero."""
        d = self.dim
        values = self.all(t, x, theta)
        sizes = [d, d * d, d * d] + [d] * self.curved
        f, j, s, *m = values.split(sizes, -1)
        return f, j.unflatten(-1, (d, d)), s.unflatten(-1, (d, d)), m[0] if m else None


@lru_cache(maxsize=64)
def _compiled(model: SymbolicSDE, curved: bool) -> _Parts:
    f, jacobian, tensor = model.drift, model.drift_jacobian, model.diffusion_tensor
    curvature: list[sympy.Expr] = []
    if curved:
        states = range(model.dim)
        for entry in f:
            second = [
                tensor[j, k] * sympy.diff(entry, model.state[j], model.state[k])
                for j in states
                for k in states
                if tensor[j, k] != 0
            ]
            curvature.append(sympy.simplify(sympy.Add(sympy.diff(entry, model.time), *second)))
        if all(entry == 0 for entry in curvature):
            curvature = []
    moving = {*model.state, model.time}
    constant = not curvature and not (moving & (jacobian.free_symbols | tensor.free_symbols))
    try:
        everything = model.function([*f, *jacobian.flat(), *(2 * tensor).flat(), *curvature])
    except ModelError as error:
        raise UnsupportedError(
            f"A linearised step needs a drift with {2 if curved else 1} derivative(s), which "
            f"{model.name or 'this model'} has not. {error}"
        ) from error
    return _Parts(model.function(list(f)), everything, model.dim, bool(curvature), constant)
