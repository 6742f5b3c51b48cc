"""Paths that carry an unbiased value of the score: E[S_t | X_t] = grad log p_t(X_t).

A step is split in Strang's manner into noise, drift and noise, each solved exactly or to third order, so that laws are
right to second order in the step. What becomes of a score S that is right before:

    drift   dx/dt = f, dS/dt = -grad (f . S + div f): the score of the law that the flow carries along;
    noise   y = x + xi, xi ~ N(0, N): both S and -N^-1 xi have the mean grad log p(y), given y, and so has
            S - K (N S + xi) for any matrix K. K = E[S w^T] E[w w^T]^-1, w = N S + xi, has the least scatter; for normal
            laws it is (C + N)^-1, and then nothing is left to chance. It comes from scouts, paths of their own: found
            from the same paths it would not be independent of their noise.

In continuous time, with a rate for K N, these are the equations dS = -grad (f . S + div f) dt - K (2 D S dt + G dW). At
a start without a density S = 0 and K = N^-1.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fokker_planck.law import Law
from pdekit.fokker_planck.networks.drift import Drift
from pdekit.fokker_planck.networks.noise import AdditiveNoise, definite

_STEP = 0.35  # times the greatest rate of the drift
_FEWEST = 8  # steps between two snapshots
_MOST = 200_000
_SCOUTS = 16384
_SINGULAR = 1e-10


@dataclass(frozen=True, eq=False)
class Cloud:
    """Independent paths at one time.

    Args:
        t: When.
        x: States, (n, d).
    """

    t: float
    x: Tensor

    def to(self, device: str) -> Self:
        """The same elsewhere."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "t"}
        return replace(self, **moved)


@dataclass(frozen=True, eq=False)
class Snapshot(Cloud):
    """Paths with scores.

    Args:
        t: When.
        x: States, (n, d).
        s: Unbiased scores, (n, d).
    """

    s: Tensor

    def stein(self) -> float:
        """The greatest entry of |E[S (x - mean)^T] + I|, in standard errors: a step that is too long shows here."""
        away = self.x - self.x.mean(0)
        products = self.s[:, :, None] * away[:, None, :]
        off = products.mean(0) + torch.eye(self.x.shape[1], dtype=self.x.dtype, device=self.x.device)
        return float((off.abs() / (products.std(0) / len(self.x) ** 0.5 + 1e-300)).max())


def follow(
    drift: Drift,
    noise: AdditiveNoise,
    law: Law,
    times: np.ndarray,
    paths: int,
    generator: torch.Generator,
    progress: Callable[[float], None] = lambda share: None,
) -> list[Snapshot]:
    """Paths with scores at all times but the first, which is the start.

    Raises:
        NumericalError: If paths explode, or the drift is so steep that more than 200,000 steps are needed.
        UnsupportedError: If the start has no density and the noise does not reach every state.
    """
    device = generator.device
    scouts = max(_SCOUTS, 40 * drift.dim)
    x = law.sample(scouts + paths, torch.Generator().manual_seed(generator.initial_seed())).to(device)
    s, fresh = first_score(law, x)
    found = []
    for begin, end in pairwise(times):
        count = steps(drift, begin, end, x)
        h = (end - begin) / count
        for k in range(count):
            t = begin + k * h
            x, s = _diffused(noise, t, h / 2, x, s, generator, 0 if fresh else scouts)
            x, s = _carried(drift, t, h, x, s)
            x, s = _diffused(noise, t + h / 2, h / 2, x, s, generator, scouts)
            fresh = False
            _check(x, s, t + h)
        found.append(Snapshot(float(end), x[scouts:], s[scouts:]))
        progress(float((end - times[0]) / (times[-1] - times[0])))
    return found


class Carrier(Protocol):
    """A velocity that carries states and scores along."""

    def with_pull(self, t: float, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """v, (n, d), and grad (v . s + div v) with s held, (n, d)."""
        ...


def carried(
    velocity: Carrier, law: Law, times: np.ndarray, count: int, generator: torch.Generator, steps_between: int
) -> list[Snapshot]:
    """Particles and their scores along a flow without noise, at all times but the first, which is the start.

    Raises:
        NumericalError: If they grow beyond every bound.
    """
    x = law.sample(count, torch.Generator().manual_seed(generator.initial_seed())).to(generator.device)
    s, found = first_score(law, x)[0], []
    for begin, end in pairwise(times):
        h = (end - begin) / steps_between
        for k in range(steps_between):
            x, s = _carried(velocity, begin + k * h, h, x, s)
            _check(x, s, begin + (k + 1) * h)
        found.append(Snapshot(float(end), x, s))
    return found


def first_score(law: Law, x: Tensor) -> tuple[Tensor, bool]:
    """Scores of the law at the start by central differences of log p; zeros if it has no density."""
    states = x.cpu().numpy()
    if not law.has_density:
        return torch.zeros_like(x), True
    width = 1e-4 * (states.std(0) + 1e-12)
    s = np.empty_like(states)
    for i, step in enumerate(width):
        moved = np.zeros(states.shape[1])
        moved[i] = step
        s[:, i] = (law.log_density(states + moved) - law.log_density(states - moved)) / (2 * step)  # type: ignore[operator]
    if not np.isfinite(s).all():
        raise UnsupportedError(
            "The initial density is not smooth where it has mass, so that it has no score: start from a smooth one, or "
            "from samples."
        )
    return torch.as_tensor(s).to(x), False


def steps(drift: Drift, begin: float, end: float, x: Tensor) -> int:
    """How many steps the drift needs between two times, from states (n, d)."""
    count = int(max(_FEWEST, np.ceil((end - begin) * drift.stiffness(begin, x) / _STEP)))
    if count > _MOST:
        raise NumericalError(
            f"From t = {begin:.6g} to {end:.6g} the drift needs {count:,} steps: it is too stiff for paths. Use Grid() "
            "in up to three dimensions."
        )
    return count


def _carried(velocity: Carrier, t: float, h: float, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Heun's method."""
    f, pull = velocity.with_pull(t, x, s)
    ahead, pulled = velocity.with_pull(t + h, x + h * f, s - h * pull)
    return x + h / 2 * (f + ahead), s - h / 2 * (pull + pulled)


def _diffused(
    noise: AdditiveNoise, t: float, h: float, x: Tensor, s: Tensor, generator: torch.Generator, scouts: int
) -> tuple[Tensor, Tensor]:
    g = noise.factor(t + h / 2).to(x) * h**0.5  # midpoint rule: second order where G depends on the time
    z = torch.randn(len(x), g.shape[1], generator=generator, dtype=x.dtype, device=x.device)
    xi, n = z @ g.T, g @ g.T
    if not scouts:
        if not definite(n):
            raise UnsupportedError(
                "A start without a density needs noise in every state: start from a narrow normal law around it, or "
                "use Grid() in up to three dimensions."
            )
        return x + xi, -torch.linalg.solve(n, xi.T).T
    w = s @ n + xi
    half = scouts // 2
    first, second = _gain(w[:half], s[:half]), _gain(w[half:scouts], s[half:scouts])
    found = s - w @ (0.5 * (first + second))
    found[:half], found[half:scouts] = s[:half] - w[:half] @ second, s[half:scouts] - w[half:scouts] @ first
    return x + xi, found


def _gain(w: Tensor, s: Tensor) -> Tensor:
    """K^T; directions without noise get none."""
    size = w.square().sum(0).sqrt().clamp_min(1e-300)
    u = w / size
    return torch.linalg.pinv(u.T @ u, rcond=_SINGULAR, hermitian=True) @ (u.T @ s) / size[:, None]


def _check(x: Tensor, s: Tensor, t: float) -> None:
    for values, what in ((x, "Paths"), (s, "Scores along paths")):
        if not bool(torch.isfinite(values).all()):
            raise NumericalError(f"{what} grow beyond every bound at t = {t:.6g}: the drift pushes outwards too fast.")


__all__ = ["Cloud", "Snapshot", "carried", "first_score", "follow", "steps"]
