"""`Grid`: the Fokker-Planck equation on grids in one to three dimensions, with an estimate of the error."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.fokker_planck.grid.cut import beyond
from pdekit.fokker_planck.grid.discretisation import Discretisation
from pdekit.fokker_planck.grid.exits import ExitTimes, exit_times, quasi_stationary
from pdekit.fokker_planck.grid.frame import BoxFrame, Frame, LineFrame, heavy
from pdekit.fokker_planck.grid.grid_density import GridDensity
from pdekit.fokker_planck.grid.marching import marched, on_the_way
from pdekit.fokker_planck.grid.progress import Progress, telling
from pdekit.fokker_planck.grid.refinement import Masses, log_ratio, refine
from pdekit.fokker_planck.grid.starting import start
from pdekit.fokker_planck.grid.weights import WEIGHTS, Weights
from pdekit.fokker_planck.grid.window import NeverFaintError, settled
from pdekit.fokker_planck.law import Point
from pdekit.fokker_planck.method import DensityMethod
from pdekit.fokker_planck.pilot import pilot_paths
from pdekit.fokker_planck.solution import DensitySolution
from pdekit.fokker_planck.statement import Statement

_CELLS = {1: 400, 2: 160, 3: 64}
_MOST = {1: 6400, 2: 640, 3: 128}  # as far as grids are refined by themselves
_RTOL = {1: 1e-5, 2: 1e-3, 3: 1e-2}
_COARSEST = 8
_POOR, _WORSE = 0.05, 10.0
_SEEN = 1e-4  # mass that may be missing, or be too much, without a note
_LOST, _COARSELY_LOST = 0.05, 0.5  # without an error; where `cells` is given a warning is enough for a coarse look
_COARSE = (
    "Cells are too wide for where it starts, for the noise, or for the wells. Use Auto() or ClosedForm(), which know "
    "linear equations; Grid() with a narrower window="
)
_BYTES = {1: 200, 2: 500, 3: 1200}  # for each node, rates and work arrays included, by dimension


@dataclass(frozen=True)
class Grid(DensityMethod):
    """Conservative finite volumes, positive and exact at equilibrium along every edge, on three grids, extrapolated.

    Args:
        cells: Along each axis of the finest grid, a number or one for each state; by default 400, 160 and 64 in one,
            two and three dimensions, and twice as many (up to 6400, 640 and 128) until `rtol` is met. Where a grid
            would get more than `unknowns` nodes before, the solution's notes say so.
        rtol: The relative L2 error aimed at where `cells` is not given; by default 1e-5, 1e-3 and 1e-2 in one, two and
            three dimensions.
        levels: On how many grids, each with half the cells of the next: 3 for errors of order 6 and an estimate of the
            error, 1 for a single grid.
        weights: How the rates of two neighbours are chosen: "blended" by default, "square-root" or "chang-cooper". In
            one dimension without explicit time the generator of the likelihood is used (integrals of scale and speed
            density), unless weights are given.
        window: (lower, upper) for each state: what is covered of an unbounded domain. By default a pilot of simulated
            paths and a coarse grid find it.
        steps: Between the start and the last time on the coarsest grid, where coefficients depend on time; twice as
            many on the next.
        memory: The most that may be used, GiB; more cells are refused.
        unknowns: The most nodes to which grids are refined by themselves; by default three states stay at 64 cells.
        progress: Called with what is being done (a grid) and the share of it that is done, from none to one.

    Raises:
        InputError: If an option makes no sense.

    Source: J. S. Chang and G. Cooper, J. Comput. Phys. 6 (1970) 1; J. Fehrenbach and J.-M. Mirebeau, J. Math. Imaging
    Vis. 49 (2014) 123; L. F. Richardson, Phil. Trans. R. Soc. A 210 (1911) 307.

    Example:
        >>> import pdekit as pk
        >>> problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "-x", "sqrt(2)"))
        >>> float(problem.stationary(Grid(cells=64)).error_estimate[0]) < 1e-6
        True
    """

    cells: int | tuple[int, ...] | None = None
    rtol: float | None = None
    levels: int = 3
    weights: Weights | None = None
    window: tuple[tuple[float, float], ...] | None = None
    steps: int = 32
    memory: float = 4.0
    unknowns: int = 500_000
    progress: Progress | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = self.cells if isinstance(self.cells, tuple | list) else () if self.cells is None else (self.cells,)
        if not all(isinstance(n, int) and n >= _COARSEST for n in given):
            raise InputError(f"cells must be whole numbers of at least {_COARSEST}, got {self.cells!r}.")
        if self.levels not in (1, 2, 3):
            raise InputError(f"levels must be 1, 2 or 3, got {self.levels!r}.")
        if self.weights is not None and self.weights not in WEIGHTS:
            raise InputError(f"weights must be one of {', '.join(WEIGHTS)}, got {self.weights!r}.")
        if not (isinstance(self.steps, int) and self.steps >= 1):
            raise InputError(f"steps must be a whole number of at least 1, got {self.steps!r}.")
        if self.rtol is not None and not 0 < self.rtol < 1:
            raise InputError(f"rtol must be a number between 0 and 1, got {self.rtol!r}.")
        if not (isinstance(self.unknowns, int) and self.unknowns >= 1):
            raise InputError(f"unknowns must be a whole number of at least 1, got {self.unknowns!r}.")
        if not self.memory > 0:
            raise InputError(f"memory must be a positive number of GiB, got {self.memory!r}.")

    def solve(self, problem: Statement, times: np.ndarray) -> DensitySolution:
        """See `FokkerPlanckProblem.solve`."""
        cells = self._cells(problem)
        frame, complete = self._frame(problem, times)

        def run(grid: Discretisation, fineness: int) -> list[Masses]:
            return marched(problem, grid, times, self.steps * fineness, telling(self.progress, str(grid)))

        return self._refined(problem, frame, cells, run, times, widen=not complete)

    def stationary(self, problem: Statement) -> DensitySolution:
        """See `FokkerPlanckProblem.stationary`."""
        if not problem.sde.autonomous:
            raise UnsupportedError(
                "A stationary law needs an equation without explicit time: declare SDE(..., autonomous=True) if so."
            )
        if not problem.domain.conserves:
            raise UnsupportedError("With an absorbing side nothing is left in the end: there is no stationary law.")
        cells = self._cells(problem)
        frame, _ = self._frame(problem, None)

        def run(grid: Discretisation, fineness: int) -> list[Masses]:
            tell = telling(self.progress, str(grid))
            found = _stationary(grid)
            tell(1.0)
            return [found]

        return self._refined(problem, frame, cells, run, None, widen=True)

    def exit_times(self, problem: Statement) -> ExitTimes:
        """See `FokkerPlanckProblem.exit_times`."""
        if problem.domain.conserves:
            raise InputError("Exit times need an absorbing side: give domain= and boundary='absorbing' for it.")
        if not problem.sde.autonomous:
            raise UnsupportedError(
                "Exit times need an equation without explicit time: declare SDE(..., autonomous=True) if so."
            )
        cells, (frame, _) = self._cells(problem), self._frame(problem, None)
        if self.window is None:
            try:
                frame = settled(frame, lambda grid, _: [quasi_stationary(grid)], widen=True)
            except NeverFaintError as cause:
                raise NumericalError(
                    f"Paths that have not left {problem.domain} go on spreading: mean exit times are infinite, or "
                    "need a Grid(window=...)."
                ) from cause
        return exit_times(
            [frame.grid(tuple(n // 2**k for n in cells)) for k in reversed(range(self.levels))], problem.domain
        )

    def _cells(self, problem: Statement) -> tuple[int, ...]:
        dim = problem.sde.dim
        if dim > 3:
            raise UnsupportedError(
                f"Grid() solves problems of one to three states, this one has {dim}: {_CELLS[3]} cells along each "
                f"would be {float(_CELLS[3]) ** dim:.1g}. Use Auto(), or ClosedForm(), "
                "Residual(), Score() or MonteCarlo() themselves."
            )
        cells = _CELLS[dim] if self.cells is None else self.cells
        cells = (cells,) * dim if isinstance(cells, int) else tuple(cells)
        if len(cells) != dim:
            raise InputError(f"cells must be a number or {dim} of them, got {self.cells!r}.")
        part = 2 ** (self.levels - 1)
        cells = tuple(part * max(-(-n // part), _COARSEST) for n in cells)
        need = _gibibytes(cells)
        if need > self.memory:
            raise InputError(
                f"A grid of {' x '.join(map(str, cells))} cells needs about {need:.3g} GiB, more than memory="
                f"{self.memory:g}. Use fewer cells, or allow more."
            )
        return cells

    def _frame(self, problem: Statement, times: np.ndarray | None) -> tuple[Frame, bool]:
        """Where paths were, and generously beyond; and whether they saw all there is to see."""
        found = pilot_paths(problem, times)
        states, complete = found.states, found.complete
        line = problem.sde.dim == 1 and problem.sde.autonomous and self.weights is None and not heavy(states[:, 0])
        if line and not {"absorbing", "periodic"} & set(problem.domain.sides[0]):
            frame: Frame = LineFrame.around(problem.sde, problem.domain, states)
        else:
            point = problem.law.x if times is not None and isinstance(problem.law, Point) else None
            frame = BoxFrame.around(problem.sde, problem.domain, states, self.weights or "blended", point)
        if self.window is None:
            return frame, complete
        ends = np.array(self.window, dtype=float).reshape(-1, 2)
        if len(ends) != problem.sde.dim or not (ends[:, 0] < ends[:, 1]).all():
            raise InputError(
                f"window must be (lower, upper) for each of the {problem.sde.dim} states, got {self.window}."
            )
        grid = frame.grid((_COARSEST,) * len(ends))
        moved = np.stack([grid.to_y(ends[:, 0][None])[0], grid.to_y(ends[:, 1][None])[0]], -1)
        return frame.moved(moved), complete

    def _refined(
        self,
        problem: Statement,
        frame: Frame,
        cells: tuple[int, ...],
        run: Callable[[Discretisation, int], list[Masses]],
        times: np.ndarray | None,
        *,
        widen: bool,
    ) -> DensitySolution:
        if self.window is None:
            seen = run if times is None else lambda grid, _: on_the_way(problem, grid, times[-1])
            frame = settled(frame, seen, widen=widen)
        rtol = _RTOL[len(cells)] if self.rtol is None else self.rtol
        coarsest = np.array(cells) // 2 ** (self.levels - 1)
        grids = [frame.grid(tuple(int(n) for n in coarsest * 2**k)) for k in range(self.levels)]
        found = [run(grid, 2**k) for k, grid in enumerate(grids)]
        best, error = _densities(problem, grids, found)
        cut = _cut(problem, grids[-1], found[-1], frame.free, starts=times is not None)
        short = f"{cut:.1g} of the mass lies beyond what is covered" if self.cells is None and cut > rtol else ""
        while self.cells is None and error > max(rtol - cut, cut):
            cells = tuple(2 * n for n in cells)
            bound = self._too_fine(cells)
            if bound:
                short = bound
                break
            grids = [*grids[1:], frame.grid(cells)]
            found = [*found[1:], run(grids[-1], int(cells[0] // coarsest[0]))]
            better, smaller = _densities(problem, grids, found)
            if smaller < error:
                best, error = better, smaller
            elif smaller > _WORSE * error:
                short = "finer grids made it worse: rounding has set in"
                break
        mass = _conserved(problem, best, _LOST if self.cells is None else _COARSELY_LOST)
        off = abs(mass - 1.0) if problem.domain.conserves else 0.0
        error = max(error, off) + cut
        best = [replace(d, error=None if d.error is None else max(d.error, off) + cut) for d in best]
        _warn(error)
        notes = {"grid": f"{frame} in {best[0].grid}"}
        if off > _SEEN:
            notes["mass"] = f"{mass:.6g}"
        if short and error > rtol:
            notes["refinement"] = f"stopped short of rtol={rtol:g}: {short}"
        return DensitySolution(problem, repr(self), times, best, notes)

    def _too_fine(self, cells: tuple[int, ...]) -> str:
        """Why grids are not refined as far as that, or nothing."""
        nodes = int(np.prod([n + 1 for n in cells]))
        if nodes > self.unknowns:
            return f"the next grid would have {nodes} nodes, more than unknowns={self.unknowns}"
        if _gibibytes(cells) > self.memory:
            return f"the next grid would need {_gibibytes(cells):.3g} GiB, more than memory={self.memory:g}"
        most = _MOST[len(cells)]
        return f"grids are not refined beyond {most} cells along an axis" if max(cells) > most else ""


def _gibibytes(cells: tuple[int, ...]) -> float:
    return float(np.prod([n + 1.0 for n in cells])) * _BYTES[len(cells)] / 2**30


def _densities(
    problem: Statement, grids: list[Discretisation], found: list[list[Masses]]
) -> tuple[list[GridDensity], float]:
    """The extrapolated densities, and the largest of their errors."""
    densities = [_density(problem, grids, list(masses)) for masses in zip(*found, strict=True)]
    return densities, max((d.error for d in densities if d.error is not None), default=0.0)


def _cut(problem: Statement, grid: Discretisation, found: list[Masses], free: np.ndarray, *, starts: bool) -> float:
    """The most mass that lay beyond free ends at any of the times, the start included."""
    if not free.any():
        return 0.0
    columns = [masses.columns[:, masses.weights.argmax()] for masses in found]
    if starts:
        begun = start(grid, problem.law)
        columns.append(begun.masses[:, begun.weights.argmax()])
    return max(beyond(column.reshape(grid.shape), free) for column in columns)


def _conserved(problem: Statement, densities: list[GridDensity], most: float) -> float:
    """The mass that is furthest from one.

    Raises:
        NumericalError: If that is further than `most`, and nothing is absorbed.
    """
    masses = [density.mass for density in densities]
    worst = max(masses, key=lambda mass: abs(mass - 1.0))
    if problem.domain.conserves and not abs(worst - 1.0) <= most:
        raise NumericalError(
            f"The density on this grid has a mass of {worst:.4g} instead of one. {_COARSE}, or more cells=."
        )
    return worst


def _warn(error: float) -> None:
    if error > _POOR:
        warnings.warn(
            f"The estimated relative error of this density is {error:.2g}. Use more cells=, a narrower window=, or "
            "look whether the law has features that this grid can't show.",
            stacklevel=5,
        )


def _density(problem: Statement, grids: list[Discretisation], masses: list[Masses]) -> GridDensity:
    ratios = [_combined(grid, mass) for grid, mass in zip(grids, masses, strict=True)]
    fine = grids[-1]
    positive = all(single.positive for single in masses)
    refined = refine(grids, ratios, positive=positive)
    found = GridDensity(fine, refined.log_ratio, problem.domain)
    measure = np.exp(fine.log_weight - fine.log_reference(fine.states, fine.coordinates))  # of a node, in x
    p = found.node_masses / measure
    if not np.isfinite(p).all():
        raise NumericalError(
            "The density on this grid is not finite: from cell to cell it changes by more than numbers can hold. "
            f"{_COARSE}, or more cells=."
        )
    smooth = all(single.smooth for single in masses)
    least = fine.least_error + max(single.least for single in masses)
    error = refined.error(measure * p**2, smooth=smooth, positive=positive, least=least)
    return replace(found, error=error)


def _stationary(grid: Discretisation) -> Masses:
    return Masses(grid.equilibrium()[:, None], np.ones(1), grid.rates(0.0).positive)


def _combined(grid: Discretisation, found: Masses) -> np.ndarray:
    columns = zip(found.weights, found.columns.T, strict=True)
    parts = [w * log_ratio(grid, column, positive=found.positive) for w, column in columns]
    return np.sum(parts, axis=0)


__all__ = ["Grid"]
