"""The density that solves a Fokker-Planck problem, at the times that were asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.fokker_planck.density import Density, Moments
from pdekit.fokker_planck.equation import at_points
from pdekit.fokker_planck.statement import Statement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pdekit.fokker_planck.density_report import DensityReport
    from pdekit.fokker_planck.marginal import Marginal

_SAME = 1e-12


@dataclass(frozen=True, eq=False, repr=False)
class DensitySolution:
    """p(t, x): every method that takes a time and a state leaves the time out for a stationary law.

    Args:
        problem: What was solved.
        method: How, as written in code.
        times: When, (k,); None for a stationary law.
        densities: One for each time.
        notes: What the method has to say.
    """

    problem: Statement
    method: str
    times: np.ndarray | None
    densities: Sequence[Density]
    notes: dict[str, Any] = field(default_factory=dict)

    def at(self, t: float | None = None) -> Density:
        """The density at one of the times.

        Raises:
            InputError: If it was not asked for.
        """
        if self.times is None:
            if t is not None:
                raise InputError("A stationary law has no time: leave t out.")
            return self.densities[0]
        if t is None:
            raise InputError(f"Give a time, one of {_listed(self.times)}.")
        when = _number(t)
        near = np.flatnonzero(np.abs(self.times - when) <= _SAME * max(1.0, abs(when)))
        if not len(near):
            raise InputError(f"The density was asked for at {_listed(self.times)}, not at t = {when:g}: solve for it.")
        return self.densities[int(near[0])]

    def pdf(self, *where: Any) -> Tensor:
        """p(t, x) at states x (*batch, d): (*batch,)."""
        density, x = self._split(where)
        return density.pdf(x)

    def log_pdf(self, *where: Any) -> Tensor:
        """log p(t, x), (*batch,)."""
        density, x = self._split(where)
        return density.log_pdf(x)

    def score(self, *where: Any) -> Tensor:
        """grad log p(t, x), (*batch, d)."""
        density, x = self._split(where)
        return density.score(x)

    def current(self, *where: Any) -> Tensor:
        """J = f p - div(D p) with the Ito drift f, (*batch, d)."""
        density, x = self._split(where)
        score, p = density.score(x), density.pdf(x)
        t = self.problem.t0 if self.times is None else float(where[0])
        flat = score.reshape(-1, density.dim).double().cpu().numpy()
        state = np.asarray(torch.as_tensor(x).detach().double().cpu()).reshape(-1, density.dim)
        c = at_points(self.problem.sde, t, state)
        velocity = c.velocity - np.einsum("nij,nj->ni", c.tensor, flat)
        return torch.as_tensor(velocity).reshape(score.shape).to(score) * p.unsqueeze(-1)

    def sample(self, n: int, t: float | None = None, *, seed: int = 0) -> Tensor:
        """Samples (n, d) at a time."""
        return self.at(t).sample(n, seed=seed)

    def marginal(self, *states: int, t: float | None = None) -> "Marginal":
        """The density of one or two of the states at a time, whatever the others are: `marginal(0, 2, t=1.0)`."""
        found = self.at(t).marginal(*states)
        return replace(found, names=tuple(self.problem.sde.names[i] for i in states))

    def moments(self, t: float | None = None) -> Moments:
        """Mean and covariance at a time."""
        return self.at(t).moments()

    def expectation(self, function: Callable[[Tensor], Tensor], t: float | None = None) -> Tensor:
        """The integral of function(x) p(t, x)."""
        return self.at(t).expectation(function)

    @property
    def mass(self) -> np.ndarray:
        """The mass that is left at each time, (k,)."""
        return np.array([density.mass for density in self.densities])

    @property
    def error_estimate(self) -> np.ndarray:
        """The estimated relative L2 error at each time, (k,); NaN where nothing is known."""
        return np.array([np.nan if d.error is None else d.error for d in self.densities])

    def plot(self) -> "Figure":
        """Curves in one dimension, maps in two, maps of pairs in more.

        Returns:
            A Matplotlib figure that belongs to no window; `.savefig(...)` writes it.
        """
        from pdekit.fokker_planck.picture import draw

        return draw(self)

    def animate(self, path: Any, *, fps: float = 8.0) -> None:
        """Write a film as a GIF, one frame for each time: a curve in one dimension, a map in two.

        Args:
            path: Where to, ending in .gif.
            fps: Frames in a second.

        Raises:
            InputError: If there is nothing that moves, or the file can't be written.
            UnsupportedError: In more than two dimensions.
        """
        from pdekit.fokker_planck.animation import film

        film(self, path, fps)

    def report(self) -> "DensityReport":
        """Checks of the solution, and how far it is from Gaussian laws; see `DensityReport`."""
        from pdekit.fokker_planck.density_report import report

        return report(self)

    def save(self, path: Any) -> None:
        """Write a file that `load` reads, in safetensors.

        Mixtures and learned log-densities are kept as they are, all others as tables of log p. The equation is kept if
        it was stated with symbols, the initial law is not.

        Raises:
            UnsupportedError: In more than three dimensions, for what would be a table: no table is small enough.
            InputError: If the file can't be written.
        """
        from pdekit.fokker_planck.density_storage import save_solution

        save_solution(self, path)

    @classmethod
    def load(cls, path: Any, problem: Statement | None = None) -> "DensitySolution":
        """Read what `save` wrote.

        Args:
            path: Where from.
            problem: What was solved; needed if the equation was not stated with symbols.

        Raises:
            InputError: If it can't be read, or there is no equation.
            DataError: If it holds something else.
        """
        from pdekit.fokker_planck.density_storage import load_solution

        kept = load_solution(path, problem)
        return cls(kept.problem, kept.method, kept.times, kept.densities, kept.notes)

    def _split(self, where: tuple[Any, ...]) -> tuple[Density, Any]:
        expected = 1 if self.times is None else 2
        if len(where) != expected:
            form = "x" if expected == 1 else "t, x"
            raise InputError(f"This solution takes ({form}), got {len(where)} arguments.")
        return self.at(None if expected == 1 else where[0]), where[-1]

    def __repr__(self) -> str:
        when = "stationary" if self.times is None else f"t = {_listed(self.times)}"
        worst = self.error_estimate
        error = "" if np.isnan(worst).all() else f", estimated relative error {np.nanmax(worst):.1e}"
        notes = "".join(f", {name} {value}" for name, value in self.notes.items())
        mass = f", mass {self.mass.min():.6g}" if not self.problem.domain.conserves else ""
        return f"DensitySolution({when}, {self.method}{notes}{mass}{error})"


def _number(t: Any) -> float:
    if isinstance(t, torch.Tensor | np.ndarray) and t.ndim == 0:
        t = t.item()
    if isinstance(t, bool) or not isinstance(t, int | float | np.number):
        raise InputError(f"t must be one number, got {t!r}.")
    return float(t)


def _listed(times: np.ndarray) -> str:
    shown = [f"{t:g}" for t in times]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "...", *shown[-2:]])


__all__ = ["DensitySolution"]
