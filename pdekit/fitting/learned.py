"""An SDE whose coefficients were learned: the answer of every way of fitting that does not end in a formula."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from pdekit.errors import InputError
from pdekit.report import Flag
from pdekit.sde import SDE, NoiseType

Box = tuple[tuple[float, float], ...]


class LearnedSDE(ABC):
    """dX = f(t, X) dt + G(t, X) dW, Ito, with functions f and G that have no named parameters.

    It stands where a `SymbolicSDE` stands in a fit: likelihoods, diagnostics, pictures and simulation see the same
    names on both. A subclass states `kind`, under which its files are read back, and the methods below.

    Args:
        state_names: Names of the d states.
        domain: (lower, upper) of each state, infinite where there is no end.
        reach: (lower, upper) of each state among the data: beyond it the coefficients are extrapolated.
        diagonal: Whether G is diagonal.
        autonomous: Whether neither coefficient depends on the time.
        name: Short.
        description: One plain sentence.
    """

    kind: ClassVar[str]
    convention: ClassVar[Literal["ito"]] = "ito"
    boundary: ClassVar[str] = ""
    details: tuple[tuple[str, str], ...] = ()  # names and values that tell how it was learned
    flags: tuple[Flag, ...] = ()  # what to know before using it
    param_names: ClassVar[tuple[str, ...]] = ()
    params: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def __init__(
        self,
        state_names: tuple[str, ...],
        domain: Box,
        reach: Box,
        *,
        diagonal: bool,
        autonomous: bool = True,
        name: str = "",
        description: str = "",
    ) -> None:
        if not len(state_names) == len(domain) == len(reach):
            raise InputError(
                f"Names, domain and reach must each have one entry per state, got {len(state_names)}, {len(domain)} "
                f"and {len(reach)}."
            )
        self.state_names, self.domain, self.reach = tuple(state_names), tuple(domain), tuple(reach)
        self.diagonal, self.autonomous = diagonal, autonomous
        self.name, self.description = name, description

    @property
    def dim(self) -> int:
        """The number of states d."""
        return len(self.state_names)

    @property
    def noise_dim(self) -> int:
        """The number of Brownian motions, d."""
        return self.dim

    @property
    def noise_type(self) -> NoiseType:
        """As in `SDE`."""
        return "diagonal" if self.diagonal else "general"

    def ito(self) -> "LearnedSDE":
        """Itself."""
        return self

    def named(self, theta: Tensor) -> dict[str, float]:
        """No parameters, so nothing: (0,) -> {}."""
        return {}

    def at(self) -> SDE:
        """The equation as solvers take it."""
        diffusion = self.noise
        if self.diagonal:
            diffusion = lambda t, x: self.noise(t, x).diagonal(dim1=-2, dim2=-1)  # noqa: E731
        return SDE(
            drift=self.drift,
            diffusion=diffusion,
            dim=self.dim,
            noise_type=self.noise_type,
            noise_dim=self.noise_dim,
            autonomous=self.autonomous,
            domain=self.domain,
            names=self.state_names,
        )

    @property
    def effective(self) -> float | None:
        """The effective number of parameters; None where that has no meaning or is not known."""
        return None

    @abstractmethod
    def drift(self, t: Any, x: Tensor) -> Tensor:
        """f at states (*batch, d), (*batch, d); differentiable in x. t is a number or (*batch, 1)."""

    @abstractmethod
    def noise(self, t: Any, x: Tensor) -> Tensor:
        """G at states (*batch, d), lower triangular, (*batch, d, d); differentiable in x."""

    def drift_stderr(self, x: Tensor) -> Tensor | None:
        """Pointwise standard errors of f at states (n, d), (n, d); None where they are not known."""
        return None

    def diffusion_stderr(self, x: Tensor) -> Tensor | None:
        """Those of the size of the noise (G G^T)_ii^{1/2}, (n, d)."""
        return None

    @abstractmethod
    def to_record(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """A dictionary that `json.dumps` accepts, and tensors: everything that `from_record` needs."""

    @classmethod
    @abstractmethod
    def from_record(cls, record: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> "LearnedSDE":
        """The model that `to_record` described.

        Raises:
            InputError: If something is missing or damaged.
        """

    def _common_record(self) -> dict[str, Any]:
        """What the constructor takes, for `to_record`; infinite ends are written as None."""
        finite = lambda box: [[v if abs(v) < float("inf") else None for v in ends] for ends in box]  # noqa: E731
        return {
            "kind": self.kind,
            "states": list(self.state_names),
            "domain": finite(self.domain),
            "reach": finite(self.reach),
            "diagonal": self.diagonal,
            "autonomous": self.autonomous,
            "name": self.name,
            "description": self.description,
        }

    @staticmethod
    def _common_arguments(record: Mapping[str, Any]) -> dict[str, Any]:
        """The constructor's arguments from what `_common_record` wrote."""

        def box(value: Any) -> Box:
            ends = (float("-inf"), float("inf"))
            return tuple(
                (ends[0] if low is None else float(low), ends[1] if high is None else float(high))
                for low, high in value
            )

        try:
            return {
                "state_names": tuple(str(name) for name in record["states"]),
                "domain": box(record["domain"]),
                "reach": box(record["reach"]),
                "diagonal": bool(record["diagonal"]),
                "autonomous": bool(record["autonomous"]),
                "name": str(record["name"]),
                "description": str(record["description"]),
            }
        except (KeyError, TypeError, ValueError) as cause:
            raise InputError(f"The record of a learned SDE is incomplete or damaged ({cause}).") from cause

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.state_names)}; {self.noise_type} noise)"


def box_of(states: Tensor) -> Box:
    """The smallest box that holds states (n, d)."""
    low, high = states.amin(0).tolist(), states.amax(0).tolist()
    return tuple(zip(low, high, strict=True))


__all__ = ["Box", "LearnedSDE", "box_of"]
