"""What the columns of a record are: which states of a model, and with how much noise on the readings."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from sympy import MatrixBase
from torch import Tensor

from pdekit.data import Trajectories
from pdekit.errors import DataError, InputError, ModelError, UnsupportedError
from pdekit.symbolic import SymbolicSDE

Level = float | Literal["estimate"]
ESTIMATE = "estimate"


@dataclass(frozen=True)
class Observation:
    """Readings y_k = x_i(t_k) + e_k of some states i, with independent e_k ~ N(0, eps_i^2).

    Args:
        of: The observed states, in the order of the data's columns; None for all of the model's.
        noise: The standard deviation eps of one reading, in the units of the state: None or 0 where readings are
            exact, a number where it is known, `"estimate"` where it is to be found, or a mapping from states to
            these; states left out of it are read exactly.

    Raises:
        InputError: If a level is negative or not finite, a name stands twice, or noise is given for a state that is
            not observed.

    Example:
        >>> Observation(of=["x"], noise="estimate")
        Observation(of=('x',), noise='estimate')
        >>> Observation(noise={"x": 0.05}).noise
        {'x': 0.05}
    """

    of: Sequence[str] | None = None
    noise: Level | Mapping[str, Level | None] | None = None

    def __post_init__(self) -> None:
        if self.of is not None:
            object.__setattr__(self, "of", _names(self.of))
        if isinstance(self.noise, Mapping):
            unobserved = [name for name in self.noise if self.of is not None and name not in self.of]
            if unobserved:
                raise InputError(
                    f"`noise` names {', '.join(map(repr, unobserved))}, but the observed states are "
                    f"{', '.join(self.of or ())}."
                )
            noise: Any = {str(name): _level(value, f" of {name}") for name, value in self.noise.items()}
        else:
            noise = None if self.noise is None else _level(self.noise, "")
        object.__setattr__(self, "noise", noise)

    def states(self, model: SymbolicSDE) -> tuple[str, ...]:
        """The observed states of this model, one per column.

        Raises:
            ModelError: If a name is not one of its states.
        """
        given = () if self.of is None else self.of
        known = model.state_names
        for name in (*given, *(self.noise if isinstance(self.noise, Mapping) else ())):
            if name not in known:
                raise ModelError(
                    f"The observation names the state {name!r}, but this model's states are {', '.join(known)}."
                )
        return tuple(given) if self.of is not None else known

    def levels(self, model: SymbolicSDE) -> dict[str, Level]:
        """The noise of every observed state: a number, 0 where it is read exactly, or `"estimate"`."""
        if isinstance(self.noise, Mapping):
            return {name: self.noise.get(name) or 0.0 for name in self.states(model)}
        return dict.fromkeys(self.states(model), self.noise or 0.0)

    def is_complete(self, model: SymbolicSDE) -> bool:
        """Whether every state is read exactly and in the model's order, so that there is nothing to filter."""
        return self.states(model) == model.state_names and not any(self.levels(model).values())

    def to_record(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` accepts."""
        noise = dict(self.noise) if isinstance(self.noise, Mapping) else self.noise
        return {"of": None if self.of is None else list(self.of), "noise": noise}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Observation":
        """The observation of a dictionary that `to_record` made.

        Raises:
            InputError: If a key is missing or unknown, or an entry is not as it should be.
        """
        if not isinstance(record, Mapping) or set(record) != {"of", "noise"}:
            raise InputError(f"An observation has the keys of and noise, got {record!r}.")
        return cls(record["of"], record["noise"])


def observed_model(model: SymbolicSDE, observation: Observation) -> SymbolicSDE:
    """The model with one more parameter, `noise_<state>` > 0, for every noise level to be estimated.

    They stand in neither drift nor diffusion; `filter_likelihood` reads them by name.

    Raises:
        ModelError: If an observed state is unknown, or a parameter has the name of a noise level already.
        UnsupportedError: If a state is neither observed nor acts on one that is.

    Example:
        >>> import pdekit as pk
        >>> observed_model(pk.models.double_well(), Observation(noise="estimate")).param_names
        ('a', 'b', 'sigma', 'noise_x')
    """
    check_coupling(model, observation)
    added = noise_names(model, observation)
    taken = [name for name in added if name in model.params or name in model.state_names or name == model.time.name]
    if taken:
        raise ModelError(
            f"The model has the name {taken[0]!r} already, which the level of the measurement noise would get; "
            "rename it in the model."
        )
    if not added:
        return model
    diffusion = model.diffusion
    return SymbolicSDE(
        state=model.state_names,
        drift=model.drift,
        diffusion=diffusion.tolist() if isinstance(diffusion, MatrixBase) else list(diffusion),
        params={**model.params, **dict.fromkeys(added, (0.0, None))},
        convention=model.convention,
        time=model.time.name,
        domain=model.domain,
        boundary=model.boundary,
        name=model.name,
        description=model.description,
        closed_forms=model.closed_forms,
        defaults={},
    )


def noise_names(model: SymbolicSDE, observation: Observation) -> tuple[str, ...]:
    """The names of the noise levels to be estimated."""
    return tuple(f"noise_{name}" for name, level in observation.levels(model).items() if level == ESTIMATE)


def noise_levels(model: SymbolicSDE, observation: Observation) -> Callable[[Tensor], Tensor]:
    """theta (k,) of an `observed_model` to eps of every column, (d_obs,), differentiable.

    Raises:
        ModelError: If the model lacks the parameter of a level to be estimated.
    """
    positions, known = [], []
    for name, level in observation.levels(model).items():
        if level == ESTIMATE and f"noise_{name}" not in model.params:
            raise ModelError(
                f"The model has no parameter noise_{name}; build it by observed_model(model, observation)."
            )
        positions.append(model.param_names.index(f"noise_{name}") if level == ESTIMATE else -1)
        known.append(0.0 if level == ESTIMATE else float(level))
    fixed = torch.tensor(known, dtype=torch.float64)
    estimated = torch.tensor([p >= 0 for p in positions])
    index = torch.tensor(positions).clamp_min(0)

    def levels(theta: Tensor) -> Tensor:
        return torch.where(estimated, theta[index], fixed) if bool(estimated.any()) else fixed

    return levels


def check_columns(model: SymbolicSDE, data: Trajectories, observation: Observation) -> None:
    """Raises DataError if the data's columns are not the observed states."""
    states = observation.states(model)
    if data.dim != len(states):
        raise DataError(
            f"{len(states)} observed state(s) ({', '.join(states)}) need as many columns, but the data have {data.dim} "
            f"({', '.join(data.names)}). Choose columns, or say which states they are by Observation(of=[...])."
        )
    if data.names != states and set(data.names) & set(states):
        raise DataError(
            f"The data's columns are {', '.join(data.names)}, the observed states {', '.join(states)}: a name "
            "stands in another place. Order the columns as the states, or give Observation(of=[...]) in the data's "
            "order."
        )


def check_coupling(model: SymbolicSDE, observation: Observation) -> None:
    """Raises UnsupportedError if a state is neither observed nor acts, through drifts, on one that is."""
    observed = set(observation.states(model))
    ito = model.ito()
    jacobian, names = ito.drift_jacobian, model.state_names
    seen, growing = set(observed), True
    while growing:
        found = {
            names[j]
            for i in range(model.dim)
            for j in range(model.dim)
            if names[i] in seen and names[j] not in seen and jacobian[i, j] != 0
        }
        seen |= found
        growing = bool(found)
    lost = [name for name in names if name not in seen]
    if not lost:
        return
    noisy = {s.name for s in ito.diffusion_matrix.free_symbols} & set(lost)
    why = (
        f"only the strength of the noise depends on {', '.join(sorted(noisy))}, which a Gaussian filter can't see"
        if noisy
        else "no drift of an observed state depends on it, directly or through others"
    )
    raise UnsupportedError(
        f"The readings of {', '.join(sorted(observed))} don't determine {', '.join(lost)}: {why}. "
        "Observe it too, or take it out of the model."
    )


def _names(of: Sequence[str]) -> tuple[str, ...]:
    names = (of,) if isinstance(of, str) else tuple(of)
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"`of` must name the observed states, such as ['x'], got {of!r}.")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"`of` names {twice[0]!r} twice.")
    return names


def _level(value: Any, where: str) -> Level:
    if value == ESTIMATE:
        return ESTIMATE
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InputError(f"The noise{where} must be a standard deviation of at least 0, or 'estimate'; got {value!r}.")
    return float(value)


__all__ = ["Observation", "check_columns", "check_coupling", "noise_levels", "noise_names", "observed_model"]
