"""Butcher tableaus that check what they claim when they are built, and find their own continuous extension."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pdekit.errors import NumericalError
from pdekit.ode.trees import conditions, order_of

_TOLERANCE = 1e-13
_DEGREES = 5  # the largest degree of a continuous extension


@dataclass(frozen=True, eq=False)
class Tableau:
    """A Runge-Kutta method whose last stage is the new value: y1 = Y_s, K_s = f(t + h, y1).

    The first stage is explicit, so that K_1 is the K_s of the step before. The diagonal is zero (explicit) or, from the
    second stage on, a constant gamma (singly diagonally implicit).

    Args:
        name: For messages.
        a: (s, s), lower triangular; the last row holds the weights b of the new value.
        embedded: The weights of the value to compare with, (s,).
        order: The order of y1.
        embedded_order: The order of the other.

    Raises:
        NumericalError: If the coefficients do not have that form or these orders.

    Example:
        >>> heun = Tableau("Heun", np.array([[0, 0], [1, 0]]), np.array([0.5, 0.5]), order=1, embedded_order=2)
        >>> heun.stages, heun.gamma, heun.order_of_extension
        (2, 0.0, 1)
    """

    name: str
    a: np.ndarray
    embedded: np.ndarray
    order: int
    embedded_order: int

    def __post_init__(self) -> None:
        a = np.asarray(self.a, dtype=float)
        object.__setattr__(self, "a", a)
        object.__setattr__(self, "embedded", np.asarray(self.embedded, dtype=float))
        gamma = np.diag(a)[1:]
        if np.triu(a, 1).any() or a[0].any() or (gamma != gamma[0]).any():
            raise NumericalError(f"{self.name}: a must be lower triangular, its first row 0, its diagonal constant.")
        for what, weights, claimed in (("method", self.b, self.order), ("other", self.embedded, self.embedded_order)):
            found = order_of(a, weights, most=claimed + 1, tolerance=_TOLERANCE)
            if found != claimed:
                raise NumericalError(f"{self.name}: the order of the {what} is {found}, not {claimed}.")

    @property
    def stages(self) -> int:
        """s."""
        return len(self.a)

    @property
    def b(self) -> np.ndarray:
        """The weights of the new value."""
        return self.a[-1]

    @property
    def c(self) -> np.ndarray:
        """The nodes: the row sums of a."""
        return self.a.sum(1)

    @property
    def gamma(self) -> float:
        """The diagonal of the implicit stages; 0 for explicit methods."""
        return float(self.a[-1, -1])

    @property
    def error_order(self) -> int:
        """The power of h that the estimate of the error goes with."""
        return min(self.order, self.embedded_order) + 1

    @property
    def error_weights(self) -> np.ndarray:
        """b - embedded: h times the sum of these times K estimates the local error."""
        return self.b - self.embedded

    @cached_property
    def predictors(self) -> np.ndarray:
        """For each stage the weights with which the K before it predict its own, (s, s).

        The least-squares solution of sum_j w_j c_j^k = c_i^k for k = 0, 1, 2, as far as there are different nodes.
        """
        found = np.zeros_like(self.a)
        for i in range(1, self.stages):
            nodes = self.c[:i]
            powers = np.arange(min(3, len(np.unique(nodes.round(12)))))
            found[i, :i] = np.linalg.pinv(nodes ** powers[:, None]) @ self.c[i] ** powers
        return found

    @cached_property
    def extension(self) -> np.ndarray:
        """B with y(t + theta h) = y + h sum_i sum_k B[i, k-1] theta^k K_i, (s, degree).

        The smallest coefficients that satisfy the order conditions sum_i b_i(theta) Phi_i(t) = theta^|t| / gamma(t) and
        join both ends with the right slopes.
        """
        return self._extension[0]

    @property
    def order_of_extension(self) -> int:
        """The order of the value between the ends of a step."""
        return self._extension[1]

    @cached_property
    def _extension(self) -> tuple[np.ndarray, int]:
        for order in range(self.order, 0, -1):
            for degree in range(2, _DEGREES + 1):
                found = self._extension_of(order, degree)
                if found is not None:
                    return found, order
        raise NumericalError(f"{self.name}: no continuous extension was found.")

    def _extension_of(self, order: int, degree: int) -> np.ndarray | None:
        rows, right, orders = conditions(self.a, order)
        stages, powers = self.stages, np.arange(1, degree + 1)
        at_order = [np.kron(row, p == powers) for row in rows for p in powers]
        wanted = [value * (p == o) for value, o in zip(right, orders, strict=True) for p in powers]
        each = np.eye(stages)
        ends = [np.kron(e, powers**0) for e in each]
        slopes = [np.kron(e, powers == 1) for e in each] + [np.kron(e, powers) for e in each]
        system = np.array([*at_order, *ends, *slopes], dtype=float)
        values = np.array([*wanted, *self.b, *each[0], *each[-1]])
        solution = np.linalg.lstsq(system, values, rcond=1e-10)[0]
        if np.abs(system @ solution - values).max() > 1e-11:
            return None
        return solution.reshape(stages, degree)


__all__ = ["Tableau"]
