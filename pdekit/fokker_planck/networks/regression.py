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
from pdekit.fokker_planck.networks.noise import AdditiveNoise
from pdekit.fokker_planck.networks.options import LearningMethod
from pdekit.fokker_planck.networks.pathwise import Snapshot
from pdekit.fokker_planck.networks.training import train
from pdekit.nets import MLP, Field, HollowNet, MaskedConditioner

Kind = Literal["potential", "mlp", "hollow"]

_HELD = 0.05  # of the paths, for the loss that is reported
_SINGULAR = 1e-8


def standardised(snapshots: Sequence[Snapshot]) -> Coordinates:
    """Coordinates in which the states of every snapshot have mean zero and covariance one."""
    factors = [torch.linalg.cholesky(torch.cov(s.x.T).reshape(s.x.shape[1], -1)) for s in snapshots]
    return Coordinates(torch.stack([s.x.mean(0) for s in snapshots]), torch.stack(factors))


def noise_scaled(snapshots: Sequence[Snapshot], noise: AdditiveNoise) -> Coordinates:
    """Coordinates in which D is a multiple of one, so that tr(D grad s) needs the diagonal of a Jacobian alone.

    Raises:
        UnsupportedError: If D is singular.
    """
    factors = []
    for s in snapshots:
        d = noise.tensor(s.t).to(s.x)
        if float(torch.linalg.cond(d)) > 1 / _SINGULAR:
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
        target: What is left of the scores in these coordinates, (n, d).
    """

    t: Tensor
    z: Tensor
    target: Tensor


def regressed(
    method: LearningMethod,
    net: Field,
    snapshots: Sequence[Snapshot],
    mixture: MovingMixture,
    coordinates: Coordinates,
    what: str = "the score",
) -> tuple[LearnedScore, str]:
    """The learned score, and what the network did for the mean square of what is left on rows held back."""
    model = LearnedScore(net.to(method.device), Times(np.array([s.t for s in snapshots])), mixture, coordinates)
    seen, held = _split(snapshots, model)

    def loss(generator: torch.Generator) -> Tensor:
        k = torch.randint(len(seen.z), (method.training.batch,), generator=generator, device=seen.z.device)
        return (model.correction(seen.t[k], seen.z[k], graph=True) - seen.target[k]).square().sum(-1).mean()

    train(
        net, loss, method.training, seed=method.seed, what=what, progress=method.progress, key=f"{what}, {method._key}"
    )
    found = torch.cat(
        [model.correction(t, z).detach() for t, z in zip(held.t.split(20_000), held.z.split(20_000), strict=True)]
    )
    model.share = _best_share(found, held.target)
    losses = [float((held.target - k * found).square().sum(-1).mean()) for k in (0.0, model.share)]
    return model, f"{losses[0]:.4g} to {losses[1]:.4g}"


def _split(snapshots: Sequence[Snapshot], model: LearnedScore) -> tuple[Rows, Rows]:
    """Most rows of every snapshot, and the last ones, which are held back."""
    parts = []
    for s in snapshots:
        when = model.times.at(s.t)
        target = ((s.s - model.mixture.at(when).score(s.x)) @ model.coordinates.at(when)[1]).float()
        parts.append((torch.full_like(target[:, :1], when.scaled), model.coordinates.to_z(when, s.x).float(), target))
    held = max(1, int(_HELD * len(snapshots[0].x)))
    seen = zip(*(tuple(a[:-held] for a in part) for part in parts), strict=True)
    last = zip(*(tuple(a[-held:] for a in part) for part in parts), strict=True)
    return Rows(*map(torch.cat, seen)), Rows(*map(torch.cat, last))


def _best_share(found: Tensor, target: Tensor) -> float:
    """How much of a correction rows that had no part in it want: less than all of it where it fits noise."""
    wanted = float((found * target).sum() / found.square().sum().clamp_min(1e-30))
    return min(max(wanted, 0.0), 1.0)


__all__ = ["Kind", "network", "noise_scaled", "regressed", "standardised"]
