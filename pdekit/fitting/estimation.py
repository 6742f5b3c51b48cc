"""The door: `fit`."""

from collections.abc import Mapping

from pdekit.data import Trajectories
from pdekit.errors import DataError, InputError
from pdekit.fitting.densities.choose import Method
from pdekit.fitting.inference.maximum import Progress, maximise
from pdekit.fitting.inference.threads import one_thread
from pdekit.fitting.inference.uncertainty import covariances
from pdekit.fitting.maximum_likelihood import MaximumLikelihood
from pdekit.fitting.result import Fit
from pdekit.symbolic import SymbolicSDE


def fit(
    model: SymbolicSDE,
    data: Trajectories,
    *,
    method: Method = "auto",
    start: Mapping[str, float] | None = None,
    fixed: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fit:
    r"""Fits a model to trajectories by maximum likelihood.

    Maximises sum_i log p(x_{i+1}, t_{i+1} | x_i, t_i; theta) over the transitions of all paths, whatever their steps.

    Args:
        model: The SDE.
        data: The observations, in a time unit that all rates will be per.
        method: The transition density: "auto", "closed-form", "fokker-planck", "bridge" or "euler".
        start: Starting values by name, where the automatic ones don't suit.
        fixed: Parameters to hold at given values.
        seed: Of the search for starting values and the diagnostics; recorded.
        progress: Called with (what is being done, log-likelihood) after every accepted step.

    Returns:
        The fit; `fit.status` says whether it converged.

    Raises:
        InputError: If a name in `start` or `fixed` is not a parameter, or a value is outside its bounds.
        DataError: If the data have another number of states, or leave the model's domain.
        UnsupportedError: If the method can't serve the model.
        ConvergenceError: If no starting point gives the observations a positive density.

    Example:
        >>> import pdekit as pk
        >>> data = pk.Trajectories.from_csv("examples/data/us_tbill.csv", time="date", columns=["rate"])
        >>> fit = pk.fit(pk.models.get("ckls"), data)
        >>> fit.status
        'converged'
    """
    if not isinstance(model, SymbolicSDE):
        raise InputError(
            f"The model must be a SymbolicSDE, got {type(model).__name__}; pdekit.models holds ready ones."
        )
    if not isinstance(data, Trajectories):
        raise InputError(
            f"The data must be Trajectories, got {type(data).__name__}; use Trajectories.from_dataframe or a sister."
        )
    _check_values(model, start, "start")
    _check_values(model, fixed, "fixed")
    check_domain(model, data)
    estimated = len(set(model.param_names) - set(fixed or {}))
    if data.n_observations - data.n_paths <= estimated:
        raise DataError(
            f"{data.n_observations - data.n_paths} transition(s) can't determine {estimated} parameters. "
            "Take a longer record, or hold parameters by fixed={...}."
        )
    if set(fixed or {}) >= set(model.param_names):
        raise InputError("Every parameter is held fixed, so there is nothing to estimate; leave at least one free.")
    with one_thread(len(data.pairs())):
        maximum = maximise(model, data.pairs(), method=method, start=start, fixed=fixed, seed=seed, progress=progress)
        estimate = MaximumLikelihood(model, maximum, covariances(maximum), method)
    return Fit(model, data, estimate, method, seed)


def _check_values(model: SymbolicSDE, values: Mapping[str, float] | None, what: str) -> None:
    for name, value in (values or {}).items():
        if name not in model.params:
            raise InputError(
                f"`{what}` names {name!r}, but this model's parameters are {', '.join(model.param_names)}."
            )
        lower, upper = model.params[name]
        if not lower <= value <= upper:
            raise InputError(f"`{what}` sets {name} = {value:g}, outside its bounds ({lower:g}, {upper:g}).")


def check_domain(model: SymbolicSDE, data: Trajectories) -> None:
    """Raises DataError if the data don't fit the model's states or leave its domain."""
    if model.dim != data.dim:
        raise DataError(
            f"The model has {model.dim} state(s) ({', '.join(model.state_names)}), the data {data.dim} column(s) "
            f"({', '.join(data.names)}). Choose as many columns as the model has states."
        )
    for label, times, values in zip(data.ids, data.times, data.values, strict=True):
        for i, (lower, upper) in enumerate(model.domain):
            outside = (~((values[:, i] > lower) & (values[:, i] < upper))).nonzero().flatten()
            if len(outside):
                row = int(outside[0])
                where = f" of path {label}" if data.n_paths > 1 else ""
                raise DataError(
                    f"{data.names[i]} = {float(values[row, i]):g} at time {float(times[row]):g} "
                    f"(observation {row + 1}{where}) is outside the domain ({lower:g}, {upper:g}) "
                    f"of {model.name or 'the model'}; {len(outside)} observation(s) are. "
                    "Choose a model that allows such values, or transform or shift the data."
                )
