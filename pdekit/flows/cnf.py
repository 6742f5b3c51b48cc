"""The continuous normalising flow: a base law carried along by a velocity field, with its density."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pdekit.errors import InputError
from pdekit.ode import odeint
from pdekit.ode.control import StepControl
from pdekit.ode.methods import Tsit5
from pdekit.operators import divergence
from pdekit.operators.methods import Exact, Hutchinson

_TIMES = (0.0, 1.0)


class CNF(Distribution):
    """The law of X(t1), where dX/dt = v(t, X) and X(t0) has the base law.

    Along a path d log p / dt = -div v, so that

        log p(t1, x) = log p_base(X(t0)) - integral of div v from t0 to t1,   X(t1) = x.

    It is positive and has the mass of the base, whatever v is, up to the error of the integrator.

    Args:
        field: v(t, x), (*batch, d) -> (*batch, d), row by row; t is a number or (n, 1).
        base: The law at t0, over vectors (d,).
        trace: How div v is computed: a method of `divergence`, a hollow field makes it cheap in any dimension, and
            `Hutchinson` keeps its directions for the whole way back; or a function (t, x) -> (v, div v), where a
            formula is known.
        times: (t0, t1).
        method: Of `odeint`.
        rtol: Of `odeint`.
        atol: Of `odeint`.
        control: Of `odeint`.

    Raises:
        InputError: If base is no law over vectors, or the times are equal.

    Source: R. T. Q. Chen et al., Neural ordinary differential equations, NeurIPS 2018, arXiv 1806.07366; W.
    Grathwohl et al., FFJORD, ICLR 2019, arXiv 1810.01367.

    Example:
        A field that shrinks all distances by e turns a normal law of variance 1 into one of variance 1 / e^2:

        >>> import torch
        >>> base = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
        >>> flow = CNF(lambda t, x: -x, base)
        >>> round(float(flow.log_prob(torch.zeros(2).double())), 4)  # 2 - log(2 pi)
        0.1621
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch asks for it
    has_rsample = True

    def __init__(
        self,
        field: Callable[[Any, Tensor], Tensor],
        base: Distribution,
        trace: Any = Exact(),
        *,
        times: tuple[float, float] = _TIMES,
        method: Any = Tsit5(),
        rtol: float | None = None,
        atol: float | None = None,
        control: Any = StepControl(),
    ) -> None:
        if not isinstance(base, Distribution) or len(base.event_shape) != 1 or base.batch_shape:
            raise InputError(
                "base must be one law over vectors (d,), such as MultivariateNormal(...) or Independent(..., 1), got "
                f"{base!r}."
            )
        t0, t1 = (float(t) for t in times)
        if not (t0 != t1 and math.isfinite(t0) and math.isfinite(t1)):
            raise InputError(f"times must be two different numbers, got {times!r}.")
        self.field, self.base, self.trace, self.times = field, base, trace, (t0, t1)
        self._options = {"method": method, "rtol": rtol, "atol": atol, "control": control}
        self._both = trace if callable(trace) else self._differentiated(divergence(field, trace, full_output=True))
        super().__init__(event_shape=base.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """All of R^d."""
        return constraints.real_vector

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(t1, x) at states (*batch, d), (*batch,).

        Raises:
            InputError: If the shape does not fit.
            NumericalError: If the way back fails, for example because v pushes outwards too fast there.
        """
        dim = self.event_shape[0]
        if not isinstance(value, Tensor):
            raise InputError(f"x must be a tensor of states (*batch, {dim}), got {type(value).__name__}.")
        if value.ndim == 0 or value.shape[-1] != dim:
            raise InputError(f"x must be states (*batch, {dim}), got shape {tuple(value.shape)}.")
        x = value.reshape(-1, dim)
        if not len(x):
            return value.new_zeros(value.shape[:-1])
        state = torch.cat([x, torch.zeros_like(x[:, :1])], -1)
        times = torch.tensor(self.times[::-1], dtype=torch.float64)
        end = odeint(self._augmented, state, times, context=self._directions(x), **self._options).y[-1]
        return (self.base.log_prob(end[:, :dim]) + end[:, dim]).reshape(value.shape[:-1])

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples (*sample_shape, d) that gradients pass through to the field's parameters."""
        start = self.base.rsample(_shape(sample_shape)) if self.base.has_rsample else self._drawn(sample_shape)
        return self.carried(start)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples (*sample_shape, d)."""
        with torch.no_grad():
            return self.carried(self._drawn(sample_shape))

    def carried(self, x: Tensor) -> Tensor:
        """States (*batch, d) at t0 carried to t1."""
        flat = x.reshape(-1, self.event_shape[0])
        if not len(flat):
            return x
        moved = odeint(self.field, flat, torch.tensor(self.times, dtype=torch.float64), **self._options).y[-1]
        return moved.reshape(x.shape)

    def _drawn(self, sample_shape: Any) -> Tensor:
        return self.base.sample(_shape(sample_shape))

    def _directions(self, x: Tensor) -> Tensor | None:
        """Random directions for each state, (n, samples * d), where the trace is estimated from some."""
        return self.trace.draw(x)[0].movedim(0, 1).flatten(1) if isinstance(self.trace, Hutchinson) else None

    def _augmented(self, t: Any, state: Tensor, context: Tensor | None = None) -> Tensor:
        """(v, div v): backwards in time the last entry becomes minus the integral of div v from t0 to t1."""
        both: Any = self._both  # a formula, or the operator
        if context is not None:
            noise = context.unflatten(-1, (-1, self.event_shape[0])).movedim(-2, 0)
            both = self._differentiated(divergence(self.field, replace(self.trace, noise=noise), full_output=True))
        velocity, spread = both(t, state[..., :-1])
        return torch.cat([velocity, spread.unsqueeze(-1)], -1)

    @staticmethod
    def _differentiated(operator: Any) -> Callable[[Any, Tensor], tuple[Tensor, Tensor]]:
        def both(t: Any, x: Tensor) -> tuple[Tensor, Tensor]:
            found: Any = operator(t, x)
            return found.output, found.value

        return both

    def __repr__(self) -> str:
        return f"CNF({type(self.field).__name__}, {self.base!r}, trace={self.trace!r}, times={self.times})"


def _shape(sample_shape: Any) -> torch.Size:
    try:
        shape = torch.Size(sample_shape)
    except TypeError as cause:
        raise InputError(f"sample_shape must be a tuple such as (5,), got {sample_shape!r}.") from cause
    if any(n < 0 for n in shape):
        raise InputError(f"sample_shape must not be negative, got {tuple(shape)}.")
    return shape


__all__ = ["CNF"]
