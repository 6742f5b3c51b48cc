"""A network fitted to unbiased scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import UnsupportedError
from pdekit.fokker_planck.networks.between import Times
from pdekit.fokker_planck.networks.learned import Coordinates, LearnedScore
from pdekit.fokker_planck.networks.mixture import MovingMixture
from pdekit.fokker_planck.networks.noise import AdditiveNoise, definite
from pdekit.fokker_planck.networks.options import LearningMethod
from pdekit.fokker_planck.networks.pathwise import Cloud, Snapshot
from pdekit.nets import MLP, Field, HollowNet, MaskedConditioner
from pdekit.training import train

Kind = Literal["potential", "mlp", "hollow"]

HELD = 0.05  # of the paths, for the loss that is reported
_ROWS = 20_000


def standardised(snapshots: Sequence[Cloud]) -> Coordinates:
    """Coordinates in which the states of every snapshot have mean zero and covariance one."""
    factors = [torch.linalg.cholesky(torch.cov(s.x.T).reshape(s.x.shape[1], -1)) for s in snapshots]
    return Coordinates(torch.stack([s.x.mean(0) for s in snapshots]), torch.stack(factors))


def noise_scaled(snapshots: Sequence[Cloud], noise: AdditiveNoise) -> Coordinates:
    """Coordinates in which D is a multiple of one, so that tr(D grad s) needs the diagonal of a Jacobian alone.

    Raises:
        UnsupportedError: If D is singular.
    """
    factors = []
    for s in snapshots:
        d = noise.tensor(s.t).to(s.x)
        if not definite(d):
            raise UnsupportedError("Hollow networks need noise in every state, here D is singular: use Score().")
        factor = torch.linalg.cholesky(d)
        spread = torch.linalg.solve_triangular(factor, (s.x - s.x.mean(0)).T, upper=False).std()
        factors.append(factor * spread)
    return Coordinates(torch.stack([s.x.mean(0) for s in snapshots]), torch.stack(factors))


def network(kind: Kind, dim: int, hidden: tuple[int, ...], time: bool, seed: int) -> Field:
    """A network whose values are zero at first, or small if it is hollow."""
    if kind == "hollow":
        hollow = HollowNet(dim, MaskedConditioner(hidden=hidden), time=time, seed=seed)
        with torch.no_grad():
            for name, parameter in hollow.transformer.named_parameters():
                if name.startswith(("readout", "direct")):
                    parameter.zero_()
        return hollow
    net = MLP(dim, hidden, "silu", "scalar" if kind == "potential" else None, time=time, seed=seed)
    for parameter in net.layers[-1].parameters():
        torch.nn.init.zeros_(parameter)
    return net


@dataclass(frozen=True, eq=False)
class Rows:
    """What the network is fitted to.

    Args:
        t: Scaled times, (n, 1).
        z: Standardised states, (n, d).
        target: What is left of the scores in these coordinates; without scores, minus the mixture's own, (n, d).
    """

    t: Tensor
    z: Tensor
    target: Tensor


def regressed(
    method: LearningMethod,
    net: Field,
    snapshots: Sequence[Cloud],
    mixture: MovingMixture,
    coordinates: Coordinates,
    what: str = "the score",
) -> tuple[LearnedScore, str]:
    """The learned score, and what the network did for the loss on rows held back.

    With scores S at the states the loss is E|c - target|^2. Without them it is Hyvarinen's, E[|c|^2 - 2 c . target +
    2 div c], target = -grad log q: its least value belongs to the same c.

    Source: A. Hyvarinen, JMLR 6 (2005) 695-709.
    """
    model = LearnedScore(net.to(method.device), Times(np.array([s.t for s in snapshots])), mixture, coordinates)
    seen, held = _split(snapshots, model)
    implicit = not isinstance(snapshots[0], Snapshot)

    def loss(generator: torch.Generator, share: float) -> Tensor:
        k = torch.randint(len(seen.z), (method.training.batch,), generator=generator, device=seen.z.device)
        t, z, target = seen.t[k], seen.z[k], seen.target[k]
        c = model.correction(t, z, graph=True)
        if implicit:
            return (c * (c - 2 * target)).sum(-1).mean() + 2 * model.spread(t, z).mean()
        return (c - target).square().sum(-1).mean()

    key = f"{what}, {method._key}, {_told(snapshots[-1])}"
    train(net, loss, method.training, seed=method.seed, what=what, progress=method.progress, key=key)
    size, gain = _held(model, held, implicit)
    # Less than all of the correction is wanted where it fits noise.
    model.share = min(max(gain / max(size, 1e-30), 0.0), 1.0)
    base = 0.0 if implicit else float(held.target.square().sum(-1).mean())
    return model, f"{base:.4g} to {base + model.share**2 * size - 2 * model.share * gain:.4g}"


def _told(last: Cloud) -> str:
    """What tells one problem's paths from another's: in few digits, as more depend on the machine."""
    return f"t={last.t:.6g}, mean={last.x.mean(0).norm():.4g}, spread={last.x.std(0).norm():.4g}"


def _split(snapshots: Sequence[Cloud], model: LearnedScore) -> tuple[Rows, Rows]:
    """Most rows of every snapshot, and the last ones, which are held back."""
    parts = []
    for s in snapshots:
        when = model.times.at(s.t)
        score = s.s if isinstance(s, Snapshot) else torch.zeros_like(s.x)
        target = ((score - model.mixture.at(when).score(s.x)) @ model.coordinates.at(when)[1]).float()
        parts.append((torch.full_like(target[:, :1], when.scaled), model.coordinates.to_z(when, s.x).float(), target))
    held = max(1, int(HELD * len(snapshots[0].x)))
    seen = zip(*(tuple(a[:-held] for a in part) for part in parts), strict=True)
    last = zip(*(tuple(a[-held:] for a in part) for part in parts), strict=True)
    return Rows(*map(torch.cat, seen)), Rows(*map(torch.cat, last))


def _held(model: LearnedScore, rows: Rows, implicit: bool) -> tuple[float, float]:
    """E|c|^2, and E[c . target], or E[c . target - div c], of rows that had no part in the training."""
    size, gain = 0.0, 0.0
    for t, z, target in zip(rows.t.split(_ROWS), rows.z.split(_ROWS), rows.target.split(_ROWS), strict=True):
        c = model.correction(t, z).detach()
        size += float(c.square().sum())
        gain += float((c * target).sum()) - (float(model.spread(t, z).detach().sum()) if implicit else 0.0)
    return size / len(rows.z), gain / len(rows.z)


__all__ = ["HELD", "Kind", "network", "noise_scaled", "regressed", "standardised"]
