"""The continuous normalising flow: a base law carried along by a velocity field, with its density."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pdekit.errors import InputError
from pdekit.flows.transport import Passage, Transport, check_times
from pdekit.ode.control import StepControl
from pdekit.ode.gradients import Discrete
from pdekit.ode.methods import Tsit5
from pdekit.operators.methods import Exact, Hutchinson, Method


class CNF(Distribution):
    """The law of X(t1), where dX/dt = v(t, X) and X(t0) has the base law.

    Along a path d log p / dt = -div v, so that

        log p(t1, x) = log p_base(X(t0)) - integral of div v from t0 to t1,   X(t1) = x.

    It is positive and has the mass of the base, whatever v is, up to the error of the integrator. Every state is
    integrated with steps of its own, so that its density does not depend on the batch that it comes in. Flows are
    chained by giving one as the base of the next.

    Args:
        field: v(t, x), (*batch, d) -> (*batch, d), row by row; t is a number or (n, 1). With a context it is called as
            v(t, x, context=c).
        base: The law at t0, over vectors (d,).
        trace: How div v is computed: a method of `divergence`, a hollow field makes it cheap in any dimension, and
            `Hutchinson` keeps its directions for the whole way back; or a function (t, x) -> (v, div v), where a
            formula is known. Train with one and evaluate with another by `changed`.
        times: (t0, t1), numbers; or tensors of shape (), which gradients reach: an end time can be trained.
        context: What v is told besides, (*batch, c): one law for each row, as `given` makes them.
        method: Of `odeint`.
        rtol: Of `odeint`.
        atol: Of `odeint`.
        control: Of `odeint`.
        gradient: Of `odeint`.

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
        field: Callable[..., Tensor],
        base: Distribution,
        trace: Any = Exact(),
        *,
        times: tuple[Any, Any] = (0.0, 1.0),
        context: Tensor | None = None,
        method: Any = Tsit5(),
        rtol: float | None = None,
        atol: float | None = None,
        control: Any = StepControl(),
        gradient: Any = Discrete(),
    ) -> None:
        if not callable(field) or isinstance(field, type):
            raise InputError(f"field must be a function or a network v(t, x), got {field!r}.")
        if isinstance(trace, type) or not (callable(trace) or isinstance(trace, Method)):
            raise InputError(f"trace must be a method such as Exact(), or a function (t, x), got {trace!r}.")
        if not isinstance(base, Distribution) or len(base.event_shape) != 1 or base.batch_shape:
            raise InputError(
                "base must be one law over vectors (d,), such as MultivariateNormal(...) or Independent(..., 1), got "
                f"{base!r}."
            )
        if context is not None and not (isinstance(context, Tensor) and context.ndim):
            raise InputError(f"context must be a tensor (*batch, c), got {type(context).__name__}.")
        self.base, self.context = base, context
        self._transport = Transport(field, trace, check_times(times), method, rtol, atol, control, gradient)
        batch = torch.Size() if context is None else context.shape[:-1]
        super().__init__(batch_shape=batch, event_shape=base.event_shape, validate_args=False)

    @property
    def field(self) -> Callable[..., Tensor]:
        """v."""
        return self._transport.field

    @property
    def trace(self) -> Any:
        """How div v is computed."""
        return self._transport.trace

    @property
    def times(self) -> tuple[Any, Any]:
        """(t0, t1)."""
        return self._transport.times

    @property
    def support(self) -> Any:
        """All of R^d."""
        return constraints.real_vector

    def given(self, context: Tensor | None) -> "CNF":
        """The laws given contexts (*batch, c), with batch_shape (*batch)."""
        return self.changed(context=context)

    def changed(self, **options: Any) -> "CNF":
        """The same flow with other options: `trace`, `times`, `context`, `method`, `rtol`, `atol`, `control`, ...

        Example:
            >>> base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1)
            >>> flow = CNF(lambda t, x: -x, base, Hutchinson())
            >>> flow.changed(trace=Exact(), rtol=1e-7).trace
            Exact()
        """
        now = {"field": self.field, **self.options()}
        unknown = set(options) - {*now, "base", "context"}
        if unknown:
            raise InputError(f"A flow has no option {sorted(unknown)[0]!r}; known are {', '.join(now)}.")
        if "field" in options and "trace" not in options and getattr(self.trace, "__self__", None) is self.field:
            raise InputError("The trace is a formula of the old field: give trace= along with field=.")
        return CNF(**{**now, "base": self.base, "context": self.context, **options})

    def options(self) -> dict[str, Any]:
        """How it is solved: `trace`, `times`, `method`, `rtol`, `atol`, `control`, `gradient`."""
        return self._transport.options()

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(t1, x) at states (*shape, *batch, d), (*shape, *batch).

        Raises:
            InputError: If the shape does not fit.
            NumericalError: If the way back fails, for example because v pushes outwards too fast there.
        """
        x, context, shape = self._flat(value)
        if not len(x):
            return x.new_zeros(shape)
        found = self._transport.passage(x, context)
        return (self.base.log_prob(found.start) + found.log_volume).reshape(shape)

    def passage(self, value: Tensor, *, kinetic: bool = False, jacobian: Hutchinson | None = None) -> Passage:
        """The way back from states (*shape, *batch, d) in full: starts, change of volume, costs, penalties.

        Args:
            value: The states at t1; in the answer they are flat, (n, d).
            kinetic: Integrate |v|^2 as well, whose mean over the data is the cost of transport.
            jacobian: Integrate an estimate of |dv/dx|_F^2 as well, from these directions.

        Returns:
            See `Passage`; the density is `base.log_prob(p.start) + p.log_volume`.

        Source of the penalties: C. Finlay, J.-H. Jacobsen, L. Nurbekyan and A. Oberman, How to train your neural ODE,
        ICML 2020, arXiv 2002.02798.

        Example:
            >>> base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2).double(), 1.0), 1)
            >>> p = CNF(lambda t, x: 0 * x + 2, base).passage(torch.zeros(3, 2).double(), kinetic=True)
            >>> round(float(p.kinetic.mean()), 6)  # |(2, 2)|^2
            8.0
        """
        if jacobian is not None and not isinstance(jacobian, Hutchinson):
            raise InputError(f"jacobian must be directions such as Hutchinson(seed=0), got {jacobian!r}.")
        x, context, _ = self._flat(value)
        return self._transport.passage(x, context, kinetic=kinetic, jacobian=jacobian)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples (*sample_shape, *batch, d) that gradients pass through to the field's parameters."""
        shape = read_shape(sample_shape) + self.batch_shape
        return self.carried(self.base.rsample(shape) if self.base.has_rsample else self.base.sample(shape))

    def rsample_and_log_prob(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """Samples as of `rsample` and their log p, (*sample_shape, *batch), from one solve.

        Example:
            >>> base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2).double(), 1.0), 1)
            >>> flow = CNF(lambda t, x: -x, base)
            >>> x, log_p = flow.rsample_and_log_prob((3,))
            >>> torch.testing.assert_close(log_p, flow.log_prob(x), rtol=1e-4, atol=1e-4)
        """
        shape = read_shape(sample_shape) + self.batch_shape
        if not shape.numel():
            none = self.base.sample(shape)
            return none, none.new_zeros(shape)
        if isinstance(self.base, CNF):
            start, log_p = self.base.rsample_and_log_prob(shape)
        else:
            start = self.base.rsample(shape) if self.base.has_rsample else self.base.sample(shape)
            log_p = self.base.log_prob(start)
        flat, context, _ = self._flat(start)
        found = self._transport.passage(flat, context, back=False)
        return found.end.reshape(start.shape), log_p + found.log_volume.reshape(shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples (*sample_shape, *batch, d)."""
        with torch.no_grad():
            return self.carried(self.base.sample(read_shape(sample_shape) + self.batch_shape))

    def carried(self, x: Tensor) -> Tensor:
        """States (*shape, *batch, d) at t0 carried to t1."""
        flat, context, shape = self._flat(x)
        return self._transport.carried(flat, context)[0].reshape(*shape, -1) if len(flat) else x

    def _flat(self, value: Any) -> tuple[Tensor, Tensor | None, torch.Size]:
        """States (n, d), their contexts (n, c), and the shape that they had."""
        dim = self.event_shape[0]
        if not isinstance(value, Tensor) or not value.is_floating_point():
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"x must be a floating-point tensor of states (*batch, {dim}), got {got}.")
        if value.ndim == 0 or value.shape[-1] != dim:
            raise InputError(f"x must be states (*batch, {dim}), got shape {tuple(value.shape)}.")
        if self.context is None:
            return value.reshape(-1, dim), None, value.shape[:-1]
        try:
            shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        except RuntimeError as cause:
            raise InputError(
                f"x of shape {tuple(value.shape)} does not go with contexts {tuple(self.context.shape)}: (*shape, "
                f"{', '.join(map(str, self.batch_shape))}, {dim}) was expected."
            ) from cause
        context = self.context.to(value).expand(*shape, -1).reshape(-1, self.context.shape[-1])
        return value.expand(*shape, dim).reshape(-1, dim), context, shape

    def __repr__(self) -> str:
        told = "" if self.context is None else f", context={tuple(self.context.shape)}"
        return f"CNF({type(self.field).__name__}, {self.base!r}, trace={self.trace!r}, times={self.times}{told})"


def read_shape(sample_shape: Any) -> torch.Size:
    """A shape of samples as torch has it.

    Raises:
        InputError: If it is none.
    """
    try:
        shape = torch.Size(sample_shape)
    except TypeError as cause:
        raise InputError(f"sample_shape must be a tuple such as (5,), got {sample_shape!r}.") from cause
    if any(n < 0 for n in shape):
        raise InputError(f"sample_shape must not be negative, got {tuple(shape)}.")
    return shape


__all__ = ["CNF", "read_shape"]
