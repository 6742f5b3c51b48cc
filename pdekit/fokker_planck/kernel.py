"""Densities estimated from simulated states by Gaussian kernels, with standard errors."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.fokker_planck.density import Density, Moments, Quadrature
from pdekit.fokker_planck.sides import Domain

_PAIRS = 4_000_000  # of states and kernels at a time
_REACH = 7.0  # bandwidths: a kernel is felt so far
_PROBES = 100  # states at which the error is estimated
_BATCHES = 20
_HARDEST = 3
_NARROWER = 8


@dataclass(frozen=True, eq=False)
class KernelDensity(Density):
    """p(x) = (1 / N) sum_i K((x - X_i) / h) over those of N paths that are still there.

    At a side that reflects, or that nothing passes, kernels are mirrored; at an absorbing one they are mirrored with a
    minus, so that p is zero there; round a period they go on.

    Args:
        states: Of the paths that are still there, (n, d).
        batch: To which of 20 independent batches each of them belongs, (n,), in order.
        paths: N.
        domain: Outside of it the density is zero.
        bandwidth: h, in standard deviations of the states; by default Scott's rule, n^(-1 / (d + 4)),
            or less, as long as that makes the estimated error smaller.

    Raises:
        NumericalError: If too few paths are left.
    """

    states: np.ndarray
    batch: np.ndarray
    paths: int
    domain: Domain
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        if len(self.states) < 2 * _BATCHES:
            raise NumericalError(
                f"{len(self.states)} of {self.paths} paths are left, too few to estimate a density from: simulate more "
                "paths=, or ask for earlier times."
            )

    @property
    def dim(self) -> int:  # type: ignore[override]
        """d."""
        return self.states.shape[1]

    @cached_property
    def width(self) -> float:
        """h."""
        return self._chosen[0]

    @cached_property
    def error(self) -> float | None:  # type: ignore[override]
        """The relative L2 error: scatter of the batches, and what a bandwidth sqrt(2) as great changes; see `Density`.

        The bias of a kernel is c h^2, so that sqrt(2) h has twice as much: the change is the bias of h.
        """
        return None if self.dim > _HARDEST else self._chosen[1]

    @cached_property
    def _chosen(self) -> tuple[float, float]:
        """The bandwidth and the error that it gives."""
        if self.bandwidth is not None:
            return self.bandwidth, self._error(self.bandwidth)
        best = len(self.states) ** (-1 / (self.dim + 4))
        least = self._error(best)
        for _ in range(_NARROWER):  # Scott's rule is too wide for separate peaks
            error = self._error(best / np.sqrt(2))
            if error >= least:
                break
            best, least = best / np.sqrt(2), error
        return best, least

    def _error(self, width: float) -> float:
        x = self.states[np.linspace(0, len(self.states) - 1, _PROBES).astype(int)]
        logs, sums, _ = self._sums(x, width)
        wider_logs, wider, _ = self._sums(x, np.sqrt(2) * width)
        values = np.exp(logs) * sums.sum(axis=1)
        bias = np.exp(wider_logs) * wider.sum(axis=1) - values
        squares = (np.exp(logs) * _spread(sums * _BATCHES)) ** 2 + bias**2
        # An integral of g is the mean of g / p over states from p.
        return float(np.sqrt(np.mean(squares / values) / np.mean(values)))

    @cached_property
    def _scale(self) -> np.ndarray:
        """Lower triangular L: kernels have covariance h^2 L L^T. Diagonal where sides mirror them."""
        if self.dim > _HARDEST:
            raise UnsupportedError(
                f"MonteCarlo() estimates densities of one to three states, this one has {self.dim}: its samples, "
                "moments and expectations are there; ClosedForm() gives the density if the equation is linear."
            )
        covariance = np.atleast_2d(np.cov(self.states.T))
        if np.isfinite(self.domain.lower).any() or np.isfinite(self.domain.upper).any():
            covariance = np.diag(np.diag(covariance))
        try:
            return np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError as cause:
            raise NumericalError("The states lie in a plane of fewer dimensions: there is no density.") from cause

    def _images(self, width: float) -> list[tuple[float, Callable[[np.ndarray], np.ndarray], np.ndarray]]:
        """What is summed for a state x: a sign, the image of x, and the signs of d image / d x, (d,)."""
        axes = []
        for i in range(self.dim):
            low, high, sides = self.domain.lower[i], self.domain.upper[i], self.domain.sides[i]
            choices: list[tuple[float, float, float]] = [(1.0, 1.0, 0.0)]  # sign, slope, shift
            if sides[0] == "periodic":
                choices += [(1.0, 1.0, low - high), (1.0, 1.0, high - low)]
            else:
                for end, side in zip((low, high), sides, strict=True):
                    near = np.abs(self.states[:, i] - end).min() <= 2 * _REACH * width * self._scale[i, i]
                    if np.isfinite(end) and near:
                        choices.append((-1.0 if side == "absorbing" else 1.0, -1.0, 2 * end))
            axes.append(choices)
        found = []
        for parts in product(*axes):
            sign = float(np.prod([p[0] for p in parts]))
            slope, shift = np.array([p[1] for p in parts]), np.array([p[2] for p in parts])
            found.append((sign, lambda x, slope=slope, shift=shift: slope * x + shift, slope))
        return found

    def _sums(self, x: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """log c (m,), p of each batch / c, (m, batches), and grad p / c, (m, d): c keeps them in range."""
        scale = self._scale * width
        inverse = np.linalg.inv(scale)
        log_det = np.log(np.diag(scale)).sum() + 0.5 * self.dim * np.log(2 * np.pi) + np.log(self.paths)
        kernels = self.states @ inverse.T
        starts = np.searchsorted(self.batch, np.arange(_BATCHES))
        images = self._images(width)
        logs, sums, slopes = [], [], []
        for part in np.array_split(x, max(1, min(len(x), -(-len(x) * len(kernels) // _PAIRS)))):
            squares, places = [], [image(part) @ inverse.T for _, image, _ in images]
            for z in places:
                square = np.zeros((len(z), len(kernels)))
                for i in range(self.dim):
                    square += (z[:, i, None] - kernels[:, i]) ** 2
                squares.append(square)
            least = np.min([square.min(axis=1) for square in squares], axis=0)
            total, slope_total = np.zeros((len(part), _BATCHES)), np.zeros((len(part), self.dim))
            for (sign, _, slope), z, square in zip(images, places, squares, strict=True):
                k = np.exp(-0.5 * (square - least[:, None]))
                total += sign * _by_batch(k, starts)
                pull = k @ kernels - z * k.sum(axis=1, keepdims=True)
                slope_total += sign * slope * (pull @ inverse)
            logs.append(-0.5 * least - log_det)
            sums.append(total)
            slopes.append(slope_total)
        return np.concatenate(logs), np.concatenate(sums), np.concatenate(slopes)

    def _inside(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States moved into their periods, and which of them are in the domain."""
        moved = x.copy()
        for i in range(self.dim):
            if self.domain.periodic(i):
                low, high = self.domain.lower[i], self.domain.upper[i]
                moved[:, i] = low + np.mod(x[:, i] - low, high - low)
        return moved, np.flatnonzero(self.domain.contains(moved))

    def log_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`."""
        moved, inside = self._inside(x)
        found = np.full(len(x), -np.inf)
        if len(inside):
            logs, sums, _ = self._sums(moved[inside], self.width)
            with np.errstate(divide="ignore"):
                found[inside] = logs + np.log(np.maximum(sums.sum(axis=1), 0.0))
        return found

    def score_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`; zero where the density is."""
        moved, inside = self._inside(x)
        found = np.zeros_like(x)
        if len(inside):
            _, sums, slopes = self._sums(moved[inside], self.width)
            p = sums.sum(axis=1)
            found[inside] = np.where(p[:, None] > 0, slopes / np.where(p > 0, p, 1.0)[:, None], 0.0)
        return found

    def stderr(self, x: Any) -> Tensor:
        """The standard error of p at states (*batch, d), (*batch,), from 20 batches of paths; without the bias.

        It is at least what one path right there would add to p, since no path near is no proof that none gets there.
        """
        return self._at(x, lambda states: self._stderr(states), ())

    def _stderr(self, x: np.ndarray) -> np.ndarray:
        moved, inside = self._inside(x)
        found = np.zeros(len(x))
        if len(inside):
            logs, sums, _ = self._sums(moved[inside], self.width)
            scale = self._scale * self.width
            least = (2 * np.pi) ** (-self.dim / 2) / np.prod(np.diag(scale)) / self.paths
            found[inside] = np.maximum(np.exp(logs) * _spread(sums * _BATCHES), least)
        return found

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Simulated states, drawn with replacement."""
        return self.states[rng.integers(len(self.states), size=n)]

    def quadrature(self) -> Quadrature:
        """See `Density`: the simulated states, with equal weights."""
        return Quadrature(self.states, np.full(len(self.states), 1 / self.paths))

    @property
    def mass(self) -> float:
        """The share of paths that are still there."""
        return len(self.states) / self.paths

    @property
    def mass_stderr(self) -> float:
        """The standard error of the mass."""
        share = self.mass
        return float(np.sqrt(share * (1 - share) / self.paths))

    def moments_stderr(self) -> Moments:
        """The standard errors of mean and covariance, from 20 batches of paths."""
        parts = [self.states[self.batch == k] for k in range(_BATCHES)]
        if min(len(part) for part in parts) < 2:
            raise NumericalError("Too few paths are left in each batch for standard errors: simulate more paths=.")
        means = np.stack([part.mean(0) for part in parts], -1)
        covariances = np.stack([np.cov(part.T).reshape(self.dim, self.dim) for part in parts], -1)
        return Moments(_spread(means), _spread(covariances))

    def expectation_stderr(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """The standard error of `expectation`, from 20 batches of paths."""
        values = function(torch.as_tensor(self.states))
        if not isinstance(values, Tensor) or values.shape[:1] != (len(self.states),):
            raise InputError("The function must take states (n, d) and return a tensor (n, ...).")
        numbers = values.detach().double().cpu().numpy()
        sums = [numbers[self.batch == k].sum(0) for k in range(_BATCHES)]
        return torch.as_tensor(_spread(np.stack(sums, -1) * (_BATCHES / self.paths)))


def batches(paths: int) -> np.ndarray:
    """Which batch each path belongs to, (paths,)."""
    return np.arange(paths) * _BATCHES // paths


def _by_batch(k: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums over the columns of each batch, (m, batches); a batch may be empty."""
    filled = np.flatnonzero(np.diff(np.append(starts, k.shape[1])) > 0)
    found = np.zeros((len(k), len(starts)))
    found[:, filled] = np.add.reduceat(k, starts[filled], axis=1)
    return found


def _spread(parts: np.ndarray) -> np.ndarray:
    """The standard error of the mean over the last axis."""
    return parts.std(axis=-1, ddof=1) / np.sqrt(parts.shape[-1])


__all__ = ["KernelDensity", "batches"]
