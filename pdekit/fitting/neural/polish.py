"""One state and long steps: the weights that the Fokker-Planck likelihood of all transitions makes likeliest.

The members' weights under normal moments are the start. In coordinates in which their posterior is standard normal the
likelihood is close to a quadratic with unit curvature, so that few steps of L-BFGS reach its maximum; its curvature
there is measured along the directions that the data determine and gives the posterior.
"""

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import PdekitError
from pdekit.fitting.densities.grid import FokkerPlanckTransition
from pdekit.fitting.learned import Box, LearnedSDE
from pdekit.fitting.neural.heads import Found
from pdekit.fitting.neural.member import Member
from pdekit.fitting.neural.ridge import Posterior
from pdekit.fitting.neural.survey import Survey
from pdekit.fitting.neural.transitions import Rows, Source

_MOST_TRANSITIONS = 200_000
_MOST_ITERATIONS = 60
# Directions of which the data know less than this share are left to the ridge.
_DETERMINED = 0.05
_DIFFERENCE = 0.05
_NONE = torch.zeros(0, dtype=torch.float64)


def can_polish(member: Member, seen: Survey, substeps: int) -> bool:
    """Whether the likelihood exists and differs from that of Euler steps."""
    return member.dim == 1 and not member.time and substeps > 0 and seen.n <= _MOST_TRANSITIONS


def polish(member: Member, found: Found, source: Source) -> Found:
    """Maximise the penalised Fokker-Planck likelihood over drift and noise weights.

    Args:
        member: Of one state; changed in place.
        found: What normal moments say of its weights; returned as it is where the grid can't serve them.
        source: The transitions.
    """
    rows = Rows.joined([source.piece(k) for k in range(len(source.counts))])
    pairs = Pairs(rows.t[:, 0], rows.dt[:, 0], rows.x0, rows.x1, torch.zeros(len(rows), dtype=torch.int64))
    reach = (float(member.unit_low[0]), float(member.unit_high[0]))
    model = _Alone(member, reach)
    try:
        density = FokkerPlanckTransition.lay(model, pairs, _NONE)
    except PdekitError:
        return found
    parts = (found.drift, found.noise)
    roots = [torch.linalg.cholesky(_symmetric(p.covariance[0])) for p in parts]
    centres = [p.mean[0] for p in parts]
    sizes = [len(c) for c in centres]

    def weights(xi: Tensor) -> list[Tensor]:
        return [c + r @ v for c, r, v in zip(centres, roots, xi.split(sizes), strict=True)]

    def penalised(xi: Tensor, *, ridge: bool = True) -> Tensor:
        drift, noise = weights(xi)
        model.drift_head, model.noise_head = drift, noise
        value = -density.log_density(_NONE).sum()
        if ridge:
            value = value + 0.5 * ((parts[0].precision[0] * drift**2).sum() + (parts[1].precision[0] * noise**2).sum())
        return value

    def gradient(xi: np.ndarray, *, ridge: bool = True) -> tuple[float, np.ndarray]:
        at = torch.from_numpy(xi).requires_grad_()
        try:
            value = penalised(at, ridge=ridge)
            (slope,) = torch.autograd.grad(value, at)
        except PdekitError:
            return np.inf, np.zeros_like(xi)
        return float(value.detach()), slope.numpy()

    start = np.zeros(sum(sizes))
    best = minimize(gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": _MOST_ITERATIONS, "ftol": 1e-9})
    if not np.isfinite(best.fun) or best.fun > gradient(start)[0]:
        return found
    covariance = _covariance(lambda xi: gradient(xi, ridge=False)[1], best.x, parts, roots)
    with torch.no_grad():
        drift, noise = weights(torch.from_numpy(best.x))
        member.drift_head.copy_(drift[None])
        member.noise_head.copy_(noise[None])
    blocks = [covariance[: sizes[0], : sizes[0]], covariance[sizes[0] :, sizes[0] :]]
    known = []
    for part, root, block, mean in zip(parts, roots, blocks, (drift, noise), strict=True):
        spread = root @ block @ root.T
        effective = (1.0 - part.precision[0] * spread.diagonal()).sum()
        known.append(Posterior(mean[None], spread[None], part.precision, part.evidence, effective[None]))
    return Found(*known)


def _covariance(slope, at: np.ndarray, parts: tuple[Posterior, Posterior], roots: list[Tensor]) -> Tensor:
    """The inverse curvature in the standard coordinates, (P, P)."""
    ridges = torch.block_diag(*(r.T @ torch.diag(p.precision[0]) @ r for p, r in zip(parts, roots, strict=True)))
    p = len(ridges)
    shares, directions = torch.linalg.eigh(torch.eye(p, dtype=torch.float64) - _symmetric(ridges))
    chosen = directions[:, shares > _DETERMINED].numpy()
    columns = [(slope(at + _DIFFERENCE * v) - slope(at - _DIFFERENCE * v)) / (2.0 * _DIFFERENCE) for v in chosen.T]
    inner = torch.from_numpy(chosen.T @ np.stack(columns, -1))
    values, vectors = torch.linalg.eigh(_symmetric(inner))
    chosen = torch.from_numpy(chosen)
    information = chosen @ (vectors * values.clamp_min(0.0)) @ vectors.T @ chosen.T
    return torch.linalg.inv(information + _symmetric(ridges) + 1e-9 * torch.eye(p, dtype=torch.float64))


def _symmetric(matrix: Tensor) -> Tensor:
    return 0.5 * (matrix + matrix.T)


class _Alone(LearnedSDE):
    """A member whose weights are tensors that carry gradients."""

    kind = "member"

    def __init__(self, member: Member, reach: tuple[float, float]) -> None:
        infinite: Box = ((float("-inf"), float("inf")),)
        super().__init__(("x",), infinite, (reach,), diagonal=True)
        self.member = member
        self.drift_head, self.noise_head = member.drift_head.detach()[0], member.noise_head.detach()[0]

    def _at(self, x: Tensor) -> tuple[Tensor, Tensor]:
        member = self.member
        inside = torch.minimum(torch.maximum(x, member.unit_low), member.unit_high)
        with torch.no_grad():
            b = member.basis(0.0, inside)[:, 0]
        f = member.drift_scale * (b @ self.drift_head)[:, None]
        log_noise = member.unit_noise.log() + (b[:, : len(self.noise_head)] @ self.noise_head)[:, None]
        return f - (member.drift_scale / member.unit_scale) * (x - inside), log_noise.exp()

    def drift(self, t: object, x: Tensor) -> Tensor:
        """f, (n, 1)."""
        return self._at(x)[0]

    def noise(self, t: object, x: Tensor) -> Tensor:
        """G, (n, 1, 1)."""
        return self._at(x)[1][..., None]

    def to_record(self) -> tuple[dict, dict]:
        """None: it is never kept."""
        raise NotImplementedError

    @classmethod
    def from_record(cls, record: object, arrays: object) -> "_Alone":
        """None."""
        raise NotImplementedError


__all__ = ["can_polish", "polish"]
