"""A density of the state that moves smoothly in time, fitted to all snapshots together.

A mixture of normal laws whose weights, means and covariances are cubic splines in time: its logarithm can be
differentiated in time and state exactly, which is what the Fokker-Planck residual asks for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from pdekit.data.snapshots import Snapshots
from pdekit.fitting.snapshots.initial import InitialLaw, fitted_law

_KNOTS = 6  # functions of time, at most
_HELD = 5  # every fifth sample chooses the number of components
_STEPS, _RATE = 400, 0.03
_BETTER = 2e-3  # nats per sample that a larger mixture must gain
_LEAST_FACTOR = -3.5  # log of a component's least deviation, in units of the state's


@dataclass(frozen=True, eq=False)
class MovingDensity:
    """log p(t, x) of a mixture with moving parameters.

    Args:
        family: The mixtures.
        knots: Of the cubic splines in time.
        coefficients: Of the parameters, (functions of time, family.size).
    """

    family: InitialLaw
    knots: np.ndarray
    coefficients: Tensor

    def basis(self, t: Tensor) -> Tensor:
        """The functions of time at t (n,), (n, m), differentiable in t."""
        return _basis(self.knots, t)

    def log_density(self, t: Tensor, x: Tensor) -> Tensor:
        """log p at times (n,) and states (n, d), (n,)."""
        parameters = self.basis(t) @ self.coefficients
        u, log_slope = self.family.to_u(x)
        return _log_mixture(self.family, u, parameters) + log_slope

    def sample(self, t: Tensor, generator: torch.Generator) -> Tensor:
        """One state for each time (n,), (n, d)."""
        log_weights, means, factors = _unpacked(self.family, self.basis(t) @ self.coefficients)
        which = torch.multinomial(log_weights.exp(), 1, generator=generator)[:, 0]
        rows = torch.arange(len(t))
        z = torch.randn(len(t), self.family.dim, 1, generator=generator, dtype=torch.float64)
        u = means[rows, which] + (factors[rows, which] @ z)[..., 0]
        return self.family.from_u(u)


def fitted_density(
    data: Snapshots, components: int | None, seed: int, progress: Callable[[str, float], None]
) -> MovingDensity:
    """The likeliest mixture; the number of components is the one that is best on held-out samples, unless given."""
    states, which = data.pooled()
    t = data.times[which]
    held = torch.arange(len(states)) % _HELD == 0
    knots = _knots(data.times.numpy())
    if components is not None:
        return _fit(knots, t, states, components, seed, progress)
    best, most = 1, -np.inf
    for count in (1, 2, 4, 8):
        found = _fit(knots, t[~held], states[~held], count, seed, progress)
        with torch.no_grad():
            value = float(found.log_density(t[held], states[held]).mean())
        if value < most + _BETTER:
            break
        best, most = count, value
    return _fit(knots, t, states, best, seed, progress)


def _fit(
    knots: np.ndarray, t: Tensor, x: Tensor, count: int, seed: int, progress: Callable[[str, float], None]
) -> MovingDensity:
    dim = x.shape[1]
    family, start = fitted_law(x, ((-np.inf, np.inf),) * dim, seed, count)
    basis = _basis(knots, t)
    u, _ = family.to_u(x)
    coefficients = start.expand(basis.shape[1], -1).clone().requires_grad_()
    optimiser = torch.optim.Adam([coefficients], lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=_STEPS)
    generator = torch.Generator().manual_seed(seed)
    size = min(len(x), 4000)
    for step in range(_STEPS):
        some = torch.randint(len(x), (size,), generator=generator)
        loss = -_log_mixture(family, u[some], basis[some] @ coefficients).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            progress(f"mixture of {count}", -float(loss.detach()))
    return MovingDensity(family, knots, coefficients.detach())


def _unpacked(family: InitialLaw, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log weights (n, c), means (n, c, d) and factors (n, c, d, d) of parameters (n, a)."""
    c, d = family.components, family.dim
    logits, means, entries = parameters.split([c - 1, c * d, c * d * (d + 1) // 2], -1)
    log_weights = torch.cat([torch.zeros_like(parameters[:, :1]), logits], -1).log_softmax(-1)
    rows, columns = torch.tril_indices(d, d)
    entries = entries.unflatten(-1, (c, -1))
    entries = torch.where(rows == columns, entries.clamp_min(_LEAST_FACTOR).exp(), entries)
    place = torch.zeros(len(rows), d, d, dtype=entries.dtype)
    place[torch.arange(len(rows)), rows, columns] = 1.0
    return log_weights, means.unflatten(-1, (c, d)), torch.einsum("nce,eij->ncij", entries, place)


def _log_mixture(family: InitialLaw, u: Tensor, parameters: Tensor) -> Tensor:
    log_weights, means, factors = _unpacked(family, parameters)
    away = u[:, None, :] - means
    solved: list[Tensor] = []  # forward substitution: twice differentiable, and cheap in few dimensions
    for i in range(family.dim):
        known = sum((factors[:, :, i, j] * solved[j] for j in range(i)), torch.zeros_like(away[..., i]))
        solved.append((away[..., i] - known) / factors[:, :, i, i])
    levels = log_weights - factors.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * family.dim * np.log(2 * np.pi)
    return (levels - 0.5 * torch.stack(solved, -1).square().sum(-1)).logsumexp(-1)


def _knots(times: np.ndarray) -> np.ndarray:
    """Clamped knots at quantiles of the snapshots' times: never more functions than snapshots."""
    count = min(len(times), _KNOTS)
    degree = min(3, count - 1)
    inner = np.quantile(times, np.linspace(0, 1, count - degree + 1)[1:-1])
    return np.concatenate([[times[0]] * (degree + 1), inner, [times[-1]] * (degree + 1)])


def _basis(knots: np.ndarray, t: Tensor) -> Tensor:
    degree = int((knots == knots[0]).sum()) - 1
    count = len(knots) - degree - 1
    spline = BSpline(knots, np.eye(count), degree)
    return _Spline.apply(t, spline)  # type: ignore[no-any-return]


class _Spline(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t: Tensor, spline: BSpline) -> Tensor:  # type: ignore[override]
        ctx.slope = torch.from_numpy(spline.derivative()(t.detach().numpy()))
        return torch.from_numpy(spline(t.detach().numpy()))

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return (gradient * ctx.slope).sum(-1), None


__all__ = ["MovingDensity", "fitted_density"]
