"""The model that flags ask for: one of the catalogue, or the user's own formulas."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pdekit.cli.arguments import Interval
from pdekit.errors import InputError

if TYPE_CHECKING:
    from pdekit.data import Snapshots, Trajectories
    from pdekit.symbolic import SymbolicSDE

_CONVENTIONS = ("ito", "stratonovich")


@dataclass(frozen=True)
class Statement:
    """A model as it was asked for.

    Args:
        name: A model of the catalogue, or None for formulas.
        drift: One formula per state.
        diffusion: One entry per state for diagonal noise; or its row of the matrix, entries separated by semicolons.
        states: Names of the states; by default "x", or "x1", "x2", ...
        bounds: Of parameters, by name.
        convention: "ito" or "stratonovich"; None for the model's own, Ito for formulas.
        domain: One interval per state; empty to take it from the formulas and the data.

    Raises:
        InputError: If parts are missing or contradict one another.
    """

    name: str | None = None
    drift: tuple[str, ...] = ()
    diffusion: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    bounds: tuple[tuple[str, Interval], ...] = ()
    convention: str | None = None
    domain: tuple[Interval, ...] = ()

    def __post_init__(self) -> None:
        if self.convention is not None and self.convention not in _CONVENTIONS:
            raise InputError(f"--convention must be one of {', '.join(_CONVENTIONS)}; got {self.convention!r}.")
        if self.name is None and not (self.drift and self.diffusion):
            raise InputError(
                "A model is needed: --model NAME (see pdekit models), or your own with --drift and --diffusion."
            )
        if self.name is not None:
            own = {"drift": self.drift, "diffusion": self.diffusion, "state": self.states, "domain": self.domain}
            for flag, value in {**own, "convention": self.convention}.items():
                if value:
                    raise InputError(f"--{flag} belongs to a model of your own and can't change --model {self.name}.")
        elif not len(self.drift) == len(self.diffusion) == len(self.state_names):
            counts = (len(self.drift), len(self.diffusion), len(self.state_names))
            raise InputError(
                "One --drift, one --diffusion and one --state per state are needed; got {}, {} and {}.".format(*counts)
            )

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of the states of a user's own model."""
        count = len(self.drift)
        return self.states or (("x",) if count == 1 else tuple(f"x{i + 1}" for i in range(count)))

    def build(self) -> "SymbolicSDE":
        """The model; formulas without a stated domain are on the real line.

        Raises:
            ModelError: If the name or a parameter is unknown.
            ExpressionError: If a formula does not read.
        """
        from pdekit.symbolic import SymbolicSDE, models

        if self.name is not None:
            model = models.get(self.name)
        else:
            options: dict[str, Any] = {"convention": self.convention or "ito", "domain": self.domain or None}
            model = SymbolicSDE(self.state_names, self.drift, _rows(self.diffusion), **options)
        check_names(model, (name for name, _ in self.bounds), "--bounds and --positive")
        return model.with_bounds(**dict(self.bounds)) if self.bounds else model

    def check_columns(self, model: "SymbolicSDE", data: "Trajectories | Snapshots") -> None:
        """Raises an `InputError` if a formula names a column that is not its state: it would be a parameter."""
        taken = [name for name in data.names or () if name in model.params]
        if self.name is None and taken:
            raise InputError(
                f"The formulas name the column {taken[0]!r}, which would be read as an unknown parameter. Write "
                f"the state as {self.state_names[0]!r}, or name it after the column with --state {taken[0]}."
            )

    def suit(self, model: "SymbolicSDE", data: "Trajectories | Snapshots") -> "tuple[SymbolicSDE, tuple[str, ...]]":
        """The model with what its formulas leave open settled to suit the data, and a note on each such choice."""
        from pdekit.cli.domains import suggest_domain
        from pdekit.cli.signs import signless_params
        from pdekit.symbolic import SymbolicSDE

        if self.name is not None or data.dim != model.dim:
            return model, ()
        notes = []
        domain = model.domain if self.domain else suggest_domain(model, data)
        if domain != model.domain:
            shown = ", ".join(describe_interval(n, *d) for n, d in zip(self.state_names, domain, strict=True))
            notes.append(f"The domain is taken to be {shown}, as the formulas suggest; --domain says otherwise.")
        signless = [name for name in signless_params(model) if name not in dict(self.bounds)]
        if signless:
            notes.append(f"The sign of {', '.join(signless)} makes no difference and is taken to be positive.")
        if not notes:
            return model, ()
        params = model.params | dict.fromkeys(signless, (0.0, math.inf))
        options: dict[str, Any] = {"convention": model.convention, "params": params, "domain": domain}
        return SymbolicSDE(self.state_names, self.drift, _rows(self.diffusion), **options), tuple(notes)


def _rows(diffusion: tuple[str, ...]) -> list[Any]:
    rows = [[entry.strip() for entry in row.split(";")] for row in diffusion]
    return [row[0] for row in rows] if all(len(row) == 1 for row in rows) else rows


def check_names(model: "SymbolicSDE", names: Iterable[str], flag: str) -> None:
    """Raises a `ModelError` if a name is not a parameter, naming the flag that it came with."""
    from pdekit.errors import ModelError
    from pdekit.symbolic.parameters import unknown_names

    try:
        unknown_names(model.params, names)
    except ModelError as error:
        raise ModelError(f"{flag}: {error}") from None


def describe_interval(name: str, lower: float, upper: float) -> str:
    """An open interval in signs.

    Example:
        >>> describe_interval("x", 0.0, float("inf")), describe_interval("x", 0.0, 1.0)
        ('x > 0', '0 < x < 1')
    """
    if math.isinf(lower) and math.isinf(upper):
        return f"any {name}"
    if math.isinf(upper):
        return f"{name} > {lower:g}"
    return f"{name} < {upper:g}" if math.isinf(lower) else f"{lower:g} < {name} < {upper:g}"
