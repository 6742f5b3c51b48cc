"""The ways from data to a fit, one function for each."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pdekit.data import Snapshots, Trajectories
from pdekit.errors import DataError, InputError
from pdekit.fitting.densities.protocol import TransitionDensity
from pdekit.fitting.filtering import (
    Observation,
    check_columns,
    filter_likelihood,
    observed_model,
    starting_values_observed,
)
from pdekit.fitting.inference.maximum import Progress, maximise
from pdekit.fitting.inference.uncertainty import covariances
from pdekit.fitting.kramers_moyal import KramersMoyal, estimate
from pdekit.fitting.learned import LearnedSDE
from pdekit.fitting.learned_estimate import LearnedEstimate
from pdekit.fitting.maximum_likelihood import MaximumLikelihood
from pdekit.fitting.neural import NeuralSDE, train
from pdekit.fitting.result import Fit
from pdekit.fitting.snapshot_likelihood import SnapshotLikelihood
from pdekit.fitting.snapshots import SnapshotMatching, fit_snapshots, match
from pdekit.fitting.sparse import SparseSDE, search
from pdekit.symbolic import SymbolicSDE
from pdekit.threads import one_thread

Values = Mapping[str, float] | None


def by_likelihood(
    model: SymbolicSDE,
    data: Trajectories,
    method: str,
    observation: Observation | None,
    start: Values,
    fixed: Values,
    seed: int,
    progress: Progress | None,
) -> Fit:
    """Maximum likelihood of a model with parameters, through a filter if the readings are noisy or partial."""
    options: dict[str, Any] = {}
    if observation is not None:
        check_columns(model, data, observation)
        model = observed_model(model, observation)
    check_values(model, start, "start")
    check_values(model, fixed, "fixed")
    if observation is None:
        check_domain(model, data)
    _check_count(model, data, fixed)
    pairs = data.pairs()
    with one_thread(len(pairs)):
        if observation is not None and not observation.is_complete(model):
            given = {**(start or {}), **(fixed or {})}
            options["first"] = starting_values_observed(model, pairs, observation, given, seed=seed)

            def lay(theta: Tensor) -> TransitionDensity:
                return filter_likelihood(model, pairs, observation, theta, method)  # type: ignore[arg-type]

            options["lay"] = lay
        else:
            observation, options["method"] = None, method
        maximum = maximise(model, pairs, start=start, fixed=fixed, seed=seed, progress=progress, **options)
        found = MaximumLikelihood(model, maximum, covariances(maximum), method, observation)
    return Fit(model, data, found, method, seed)


def by_search(options: SparseSDE, data: Trajectories, seed: int, progress: Progress | None) -> Fit:
    """A formula found among candidate terms, then fitted as if it had been stated."""
    found = search(options, data, seed=seed, progress=progress)
    pairs = data.pairs()
    with one_thread(len(pairs)):
        maximum = maximise(found.model, pairs, method=found.method, start=found.start, seed=seed, progress=progress)
        estimated = MaximumLikelihood(found.model, maximum, covariances(maximum), found.method, search=found)
    return Fit(found.model, data, estimated, "sparse", seed)


def by_kernels(options: KramersMoyal, data: Trajectories, seed: int, progress: Progress | None) -> Fit:
    """Conditional moments of the increments as functions of the state."""
    model = estimate(options, data, seed=seed, progress=progress)
    text = (
        "Kramers-Moyal coefficients: drift and diffusion tensor are conditional moments of the increments, estimated "
        "as functions of the state by local polynomials or in bins, and brought from the step of the data to dt -> 0. "
        "The likelihood is that of the learned equation, for comparison with other fits."
    )
    return _learned(model, data, text, "kramers-moyal", seed)


def by_networks(options: NeuralSDE, data: Trajectories, seed: int, progress: Progress | None) -> Fit:
    """Drift and noise as networks, trained on the likelihood of transitions."""
    text = (
        "Neural SDE: the weights of the last layer, which drift and log noise are linear in, are found exactly, with a "
        "ridge chosen by marginal likelihood; the network beneath is trained on the likelihood of transitions, and "
        "kept only where it predicts held-out blocks of time better. Bands combine the spread within and between the "
        "members of an ensemble; they do not cover what the network can't represent."
    )
    return _learned(train(options, data, seed=seed, progress=progress), data, text, "neural", seed)


def _learned(model: LearnedSDE, data: Trajectories, text: str, method: str, seed: int) -> Fit:
    found = LearnedEstimate(model, data.pairs(), text, model.details, model.flags, model.effective)
    return Fit(model, data, found, method, seed)


def check_values(model: SymbolicSDE, values: Values, what: str) -> None:
    """Raises InputError if a name is no parameter, or a value is outside its bounds."""
    for name, value in (values or {}).items():
        if name not in model.params:
            raise InputError(
                f"`{what}` names {name!r}, but this model's parameters are {', '.join(model.param_names)}."
            )
        lower, upper = model.params[name]
        if not lower <= value <= upper:
            raise InputError(f"`{what}` sets {name} = {value:g}, outside its bounds ({lower:g}, {upper:g}).")


def _check_count(model: SymbolicSDE, data: Trajectories, fixed: Values) -> None:
    estimated = len(set(model.param_names) - set(fixed or {}))
    if data.n_observations - data.n_paths <= estimated:
        raise DataError(
            f"{data.n_observations - data.n_paths} transition(s) can't determine {estimated} parameters. "
            "Take a longer record, or hold parameters by fixed={...}."
        )
    if set(fixed or {}) >= set(model.param_names):
        raise InputError("Every parameter is held fixed, so there is nothing to estimate; leave at least one free.")


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


def by_snapshots(
    model: SymbolicSDE,
    data: Snapshots,
    method: str,
    start: Values,
    fixed: Values,
    seed: int,
    progress: Progress | None,
) -> Fit:
    """The law of a model with parameters against unpaired samples."""
    check_values(model, start, "start")
    check_values(model, fixed, "fixed")
    found = fit_snapshots(model, data, method=method, start=start, fixed=fixed, seed=seed, progress=progress)  # type: ignore[arg-type]
    return Fit(model, data, SnapshotLikelihood(found), method, seed)


def by_matching(options: SnapshotMatching, data: Snapshots, seed: int, progress: Progress | None) -> Fit:
    """Drift and noise as networks whose Fokker-Planck residual under a density of the snapshots vanishes."""
    text = (
        "Matching: a mixture of normal laws that moves smoothly in time is fitted to all samples; then networks for "
        "drift and noise are trained until the residual of the Fokker-Planck equation, in logarithmic form and with "
        "exact derivatives, vanishes under it. Of the drifts with these laws, one with a small mean square is taken."
    )
    found = match(options, data, seed=seed, progress=progress)
    return Fit(
        found.model, data, LearnedEstimate(found.model, None, text, found.details, found.flags), "matching", seed
    )
