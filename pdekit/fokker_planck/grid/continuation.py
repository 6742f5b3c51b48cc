"""How a log-density goes on beyond what is covered: as it was going a little before, and never upwards."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_INSET = 0.05  # of the width: how far inside of a cut log q is what it would be without
_STEP = 0.2  # of that: for differences

LogDensity = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Continuation:
    """log q beyond cuts, as a polynomial of the second degree.

    At a cut no mass gets through, which bends a density there: slope and curvature are those a little inside. The
    curvature is set to zero in directions in which it is positive, and the slope on the way out where that leads
    upwards.

    Args:
        log_q: The logarithm of the density with respect to y (n, d), within the ends.
        ends: (d, 2).
        reached: Which of them are sides of the domain rather than cuts, (d, 2).
    """

    log_q: LogDensity
    ends: np.ndarray
    reached: np.ndarray

    def beyond(self, y: np.ndarray) -> np.ndarray:
        """How far y (n, d) lies beyond cuts, (n, d)."""
        low, high = np.where(self.reached, [-np.inf, np.inf], self.ends).T
        return y - np.clip(y, low, high)

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """log q at y (n, d) beyond cuts, (n,)."""
        outward = self.beyond(y)
        end, along = y - outward, np.sign(outward)
        inset = _INSET * np.ptp(self.ends, axis=1)
        inner = end - along * inset
        slope, curvature = self._derivatives(inner, np.abs(along), _STEP * inset)
        values, vectors = np.linalg.eigh(curvature)
        curvature = np.einsum("nij,nj,nkj->nik", vectors, np.minimum(values, 0.0), vectors)
        at_end = slope + np.einsum("nij,nj->ni", curvature, end - inner)
        rise = np.maximum((at_end * outward).sum(-1, keepdims=True), 0.0)
        slope = slope - rise * outward / np.square(outward).sum(-1, keepdims=True)

        def polynomial(move: np.ndarray) -> np.ndarray:
            return (slope * move).sum(-1) + 0.5 * np.einsum("ni,nij,nj->n", move, curvature, move)

        return self.log_q(end) + polynomial(y - inner) - polynomial(end - inner)

    def _derivatives(self, y: np.ndarray, along: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and second derivatives at y (n, d), zero in directions that don't count."""
        steps = np.diag(step)
        middle, slope, curvature = self.log_q(y), np.zeros_like(y), np.zeros((*y.shape, y.shape[1]))
        at = lambda move: self.log_q(y + along * move)  # noqa: E731
        for i, a in enumerate(steps):
            up, down = at(a), at(-a)
            slope[:, i] = (up - down) / (2 * step[i])
            curvature[:, i, i] = (up + down - 2 * middle) / step[i] ** 2
            for j, b in enumerate(steps[:i]):
                mixed = (at(a + b) - at(a - b) - at(b - a) + at(-a - b)) / (4 * step[i] * step[j])
                curvature[:, i, j] = curvature[:, j, i] = mixed * along[:, i] * along[:, j]
        return slope, curvature


__all__ = ["Continuation"]
