"""The transition density of coefficients without formulas: a normal law whose moments are integrated over the step.

    m' = E f(X),   C' = E[(X - m) f(X)^T] + E[f(X) (X - m)^T] + E[G G^T](X),   X ~ N(m, C),

with expectations over m and the 2 d points m +- sqrt(c) C^{1/2} e_j, c = max(d, 3), of weights 1 - d/c and 1/(2 c):
exact for polynomials of degree three, and of degree four along each of up to three axes (Julier and Uhlmann 2004, Proc.
IEEE 92; beyond three states Arasaratnam and Haykin 2009, IEEE Trans. Automat. Control 54; for continuous time Sarkka
2007, ibid. 52). No derivatives of the coefficients are needed. The law is normal, which is right to the order of dt^2.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.fitting.coefficients import Coefficients, Model
from pdekit.fitting.densities.gaussian import GaussianTransition, log_normal
from pdekit.fitting.densities.protocol import select_pairs

Rates = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_MOST_PARTS = 64
_LEAST_SPREAD = 3
# Runge and Kutta: how far ahead the next slope is taken, and the weight of this one.
_STAGES = ((0.5, 1 / 6), (0.5, 1 / 3), (1.0, 1 / 3), (0.0, 1 / 6))
_SAMPLE, _LONGEST = 500, 50
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
        The mean (n, d) and the covariance (n, d, d) of the state at t + dt; NaN where a part was too long for it.

    Example:
        >>> rates = lambda t, x: (-x, torch.ones(*x.shape, 1).to(x))
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
    """Where a step overshoots, so that the covariance has no root, the answer is NaN."""
    d = mean.shape[-1]
    c = max(d, _LEAST_SPREAD)
    offsets = covariance_root(covariance).mT * c**0.5  # (n, d directions, d)
    offsets = torch.cat([offsets, -offsets] + [torch.zeros_like(offsets[:, :1])] * (c > d), 1)
    weights = offsets.new_full((offsets.shape[1],), 0.5 / c)
    weights[2 * d :] = 1.0 - d / c
    f, tensor = rates(t.repeat_interleave(len(weights), 0), (mean[:, None] + offsets).flatten(0, 1))
    f = f.view(offsets.shape)
    across = (offsets * weights[:, None]).mT @ f
    return weights @ f, across + across.mT + torch.einsum("p,npij->nij", weights, tensor.view(*offsets.shape, d))


def covariance_root(covariance: Tensor) -> Tensor:
    """L with C = L L^T; NaN where C is not positive definite. A covariance of zero, that of an exact state, has one."""
    root, info = torch.linalg.cholesky_ex(covariance)
    return torch.where((info == 0)[:, None, None], root, torch.nan)


class CubatureTransition(GaussianTransition):
    """The normal law with integrated moments, in any dimension.

    Long steps are integrated in more parts than short ones. Where even the most parts run off, the law is that of one
    Euler step.

    Args:
        model: The SDE; it has no parameters.
        pairs: The observations.
        part: The longest part of a step; by default halved until all of some 500 transitions, the longest among them,
            can be integrated and their densities move by less than 1e-4 nat.
    """

    def __init__(self, model: Model, pairs: Pairs, *, part: float | None = None) -> None:
        super().__init__(model, pairs)
        self._coefficients = Coefficients(self.model)
        longest = float(pairs.dt.max())
        self.part = self._enough(longest) if part is None else part
        most = _parts(pairs.dt, self.part).max()
        self.route = (
            f"normal, moments integrated in {'one part' if most == 1 else f'up to {int(most)} parts'} of a step"
        )

    def moments(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n, d) of x1 - x0 and covariance (n, d, d) of every pair."""
        mean, covariance, _ = self._sound_moments(theta)
        return mean, covariance

    def _sound_moments(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same, and which pairs could be integrated, (n,)."""
        counts = _parts(self.pairs.dt, self.part)
        rows = max(1, _AT_ONCE // (32 * self.model.dim**3))
        mean = torch.empty_like(self.pairs.x0)
        covariance = mean.new_empty(*mean.shape, self.model.dim)
        sound = torch.empty(len(mean), dtype=torch.bool)
        for substeps in counts.unique().tolist():
            for some in (counts == substeps).nonzero()[:, 0].split(rows):
                mean[some], covariance[some], sound[some] = self._of(theta, some, int(substeps))
        return mean, covariance, sound

    def _of(self, theta: Tensor, some: Tensor, substeps: int) -> tuple[Tensor, Tensor, Tensor]:
        def rates(when: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            g = self._coefficients.noise(when, x, theta)
            return self._coefficients.drift(when, x, theta), g @ g.mT

        t, x0, dt = self.pairs.t[some, None], self.pairs.x0[some], self.pairs.dt[some, None]
        mean, covariance = normal_moments(rates, t, x0, dt, substeps)
        sound = torch.isfinite(mean).all(-1) & (torch.linalg.cholesky_ex(torch.nan_to_num(covariance))[1] == 0)
        if bool(sound.all()):
            return mean - x0, covariance, sound
        f, s = rates(t, x0)
        return (
            torch.where(sound[:, None], mean - x0, f * dt),
            torch.where(sound[:, None, None], covariance, s * dt[..., None]),
            sound,
        )

    def _enough(self, longest: float) -> float:
        """The longest part that suffices for some of the transitions."""
        theta, n = self.pairs.x0.new_zeros(0), len(self.pairs)
        evenly = torch.linspace(0, n - 1, min(n, _SAMPLE)).long()
        sample = select_pairs(self.pairs, torch.cat([evenly, self.pairs.dt.topk(min(n, _LONGEST)).indices]).unique())
        shortest = float(sample.dt.min()) / _MOST_PARTS
        part, before = longest, None
        while True:
            with torch.no_grad():
                trial = CubatureTransition(self.model, sample, part=part)
                mean, covariance, sound = trial._sound_moments(theta)
                own = log_normal(sample.x1 - sample.x0 - mean, covariance)
            if before is not None and bool(sound.all()):
                moved = float((own - before).square().mean().sqrt())
                if moved < _AGREED:  # which infinities never are
                    return part
            if part < shortest:
                return part
            part, before = 0.5 * part, own


def _parts(dt: Tensor, part: float) -> Tensor:
    """Into how many parts each step goes, powers of two, (n,)."""
    wanted = torch.log2(dt / part - 1e-9).ceil().clamp_min(0.0)
    return (2.0**wanted).clamp_max(_MOST_PARTS).long()


__all__ = ["CubatureTransition", "covariance_root", "normal_moments"]
