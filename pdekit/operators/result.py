"""What an operator returns with `full_output=True`."""

from dataclasses import dataclass
from typing import Any

from scipy import stats
from torch import Tensor

from pdekit.errors import OperatorError


@dataclass(frozen=True)
class Plan:
    """Which route an operator took, and why.

    Args:
        route: `"hollow"`, `"compressed"`, `"dense"`, `"reverse"`, `"nested forward"`, `"gradient"` or `"hutchinson"`.
        reason: Why this route.
        directions: How many directional derivatives were propagated.
        seed: The seed of random directions; None where the route is exact or the directions were given.
    """

    route: str
    reason: str
    directions: int
    seed: int | None = None

    @property
    def exact(self) -> bool:
        """Whether the value is exact up to rounding."""
        return self.route != "hutchinson"


@dataclass(frozen=True, eq=False)
class OperatorResult:
    """The value of an operator with what came along.

    Args:
        value: The operator applied to the function: a tensor, or a tuple of them for jets.
        output: The function's own value, which costs nothing extra.
        stderr: The standard error of a stochastic value; None if it is exact, or if one sample gave none.
        plan: The route taken and why.
    """

    value: Any
    output: Tensor
    stderr: Tensor | None
    plan: Plan

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """The confidence interval of a stochastic value, by Student's t with samples - 1 degrees of freedom.

        Raises:
            OperatorError: If the value is exact, or rests on one sample.
        """
        if self.stderr is None:
            cause = "one sample gives no standard error; take more" if not self.plan.exact else "the value is exact"
            raise OperatorError(f"There is no confidence interval: {cause}.")
        if not 0 < level < 1:
            raise OperatorError(f"level must be between 0 and 1, got {level}.")
        width = float(stats.t.ppf(0.5 + level / 2, self.plan.directions - 1)) * self.stderr
        return self.value - width, self.value + width

    def __repr__(self) -> str:
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        shapes = ", ".join(str(tuple(v.shape)) for v in values)
        error = (
            "" if self.stderr is None or self.stderr.numel() == 0 else f", stderr up to {float(self.stderr.max()):.3g}"
        )
        return f"OperatorResult({shapes}{error}, route={self.plan.route!r}: {self.plan.reason})"
