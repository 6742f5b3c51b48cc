"""The door: `fit`."""

from collections.abc import Mapping
from typing import Any

from pdekit.data import Snapshots, Trajectories
from pdekit.errors import InputError
from pdekit.fitting.filtering import Observation
from pdekit.fitting.inference.maximum import Progress
from pdekit.fitting.kramers_moyal import KramersMoyal
from pdekit.fitting.neural import NeuralSDE
from pdekit.fitting.result import Fit
from pdekit.fitting.snapshots import SnapshotMatching
from pdekit.fitting.sparse import SparseSDE
from pdekit.fitting.ways import by_kernels, by_likelihood, by_matching, by_networks, by_search, by_snapshots
from pdekit.symbolic import SymbolicSDE

_LEARNERS = {
    KramersMoyal: by_kernels,
    SparseSDE: by_search,
    NeuralSDE: by_networks,
    SnapshotMatching: by_matching,
}


def fit(
    model: SymbolicSDE | KramersMoyal | SparseSDE | NeuralSDE | SnapshotMatching,
    data: Trajectories | Snapshots,
    *,
    method: str = "auto",
    observation: Observation | None = None,
    start: Mapping[str, float] | None = None,
    fixed: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fit:
    r"""Fits an SDE to trajectories, or to snapshots of its law.

    A model with named parameters is fitted by maximum likelihood: over trajectories sum_i log p(x_{i+1}, t_{i+1} | x_i,
    t_i; theta), whatever the steps. `KramersMoyal()` and `NeuralSDE()` learn drift and diffusion as functions;
    `SparseSDE()` finds a formula among candidate terms, which is then fitted as if it had been stated.
    `SnapshotMatching()` learns functions from snapshots.

    Args:
        model: The SDE, or the way to find one.
        data: The observations, in a time unit that all rates will be per.
        method: Of a model with parameters. For trajectories the transition density: "auto", "closed-form",
            "fokker-planck", "bridge", "euler", "kessler", "ozaki", "shoji-ozaki" or "ait-sahalia"; with an
            `observation` the filter: "auto", "kalman" or "fokker-planck". For snapshots "auto", "grid" or "weak".
        observation: How readings see the state, if they are noisy or leave states out; needs a model with parameters.
        start: Starting values by name, where the automatic ones don't suit.
        fixed: Parameters to hold at given values.
        seed: Of everything random; recorded.
        progress: Called with (what is being done, a number: the log-likelihood, or the share that is done).

    Returns:
        The fit; `fit.status` says whether it converged.

    Raises:
        InputError: If a name in `start` or `fixed` is not a parameter, a value is outside its bounds, or an option does
            not belong to the model.
        DataError: If the data have another number of states, leave the model's domain, or don't determine it.
        UnsupportedError: If the method can't serve the model.
        ConvergenceError: If no starting point gives the observations a positive density.

    Example:
        >>> import pdekit as pk
        >>> data = pk.Trajectories.from_csv("examples/data/us_tbill.csv", time="date", columns=["rate"])
        >>> fit = pk.fit(pk.models.get("ckls"), data)
        >>> fit.status
        'converged'
    """
    if not isinstance(data, Trajectories | Snapshots):
        raise InputError(
            f"The data must be Trajectories or Snapshots, got {type(data).__name__}; use Trajectories.from_dataframe "
            "or a sister."
        )
    if isinstance(model, SymbolicSDE):
        if isinstance(data, Snapshots):
            _refuse(type(data).__name__, observation=observation)
            return by_snapshots(model, data, method, start, fixed, seed, progress)
        return by_likelihood(model, data, method, observation, start, fixed, seed, progress)
    way: Any = _LEARNERS.get(type(model))
    if way is None:
        raise InputError(
            f"The model must be a SymbolicSDE (pdekit.models holds ready ones), KramersMoyal(), SparseSDE(), "
            f"NeuralSDE() or SnapshotMatching(), got {type(model).__name__}."
        )
    unpaired = isinstance(model, SnapshotMatching)
    if isinstance(data, Snapshots) and not unpaired:
        raise InputError(
            f"{type(model).__name__} needs paired states, which snapshots don't have: state a model with parameters, "
            "or take SnapshotMatching()."
        )
    if unpaired and not isinstance(data, Snapshots):
        raise InputError(
            "SnapshotMatching takes Snapshots, whose laws it matches; for trajectories, which tell more, take "
            "NeuralSDE() or KramersMoyal()."
        )
    chosen = None if method == "auto" else method
    _refuse(type(model).__name__, method=chosen, observation=observation, start=start, fixed=fixed)
    return way(model, data, seed, progress)


def _refuse(what: str, **options: Any) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"`{given[0]}` belongs to a model with named parameters and does not go with {what}.")


__all__ = ["fit"]
