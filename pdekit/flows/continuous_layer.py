"""A continuous flow as a layer among discrete ones: where samples go, and how volumes change on the way."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.flows.bijection import Bijection
from pdekit.flows.transport import Transport, check_times
from pdekit.ode.control import StepControl
from pdekit.ode.gradients import Discrete
from pdekit.ode.methods import Tsit5
from pdekit.operators.methods import Exact, Hutchinson


class ContinuousFlow(Bijection):
    """x -> X(t1), where dX/dt = v(t, X) and X(t0) = x, with minus the integral of div v as log |det dx/dX|.

    As the posterior of a variational autoencoder v is told a context; FFJORD with `trace=Hutchinson()`, whose
    directions stay the same for a solve, Hollow-CNF with a `HollowNet` and the exact trace.

    Args:
        field: v(t, x), or v(t, x, context=c) if it has `context_dim`, a network such as `HollowNet` or
            `ConcatSquashMLP`.
        trace: As for `CNF`.
        times: (t0, t1).
        method, rtol, atol, control, gradient: Of `odeint`.

    Attributes:
        evaluations: Evaluations of v for each state at the last call, on average; NaN before.

    Raises:
        InputError: If the field is no network with `dim`, or it is called with other shapes.

    Example:
        >>> from pdekit.nets import HollowNet
        >>> layer = ContinuousFlow(HollowNet(3, time=True, context_dim=2, seed=0))
        >>> y, log_det = layer(torch.zeros(5, 3), torch.ones(5, 2))
        >>> y.shape, log_det.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(
        self,
        field: torch.nn.Module,
        trace: Any = Exact(),
        *,
        times: tuple[Any, Any] = (0.0, 1.0),
        method: Any = Tsit5(),
        rtol: float | None = None,
        atol: float | None = None,
        control: Any = StepControl(),
        gradient: Any = Discrete(),
    ) -> None:
        dim = getattr(field, "dim", None)
        if not isinstance(field, torch.nn.Module) or not isinstance(dim, int):
            raise InputError(f"field must be a network with `dim`, such as HollowNet(3, time=True), got {field!r}.")
        super().__init__(dim, int(getattr(field, "context_dim", 0)))
        self.field, self.evaluations = field, float("nan")
        # End times that are trained.
        self.ends = torch.nn.ParameterList(t for t in times if isinstance(t, torch.nn.Parameter))
        self.transport = Transport(field, trace, check_times(times), method, rtol, atol, control, gradient)

    def changed(self, **options: Any) -> "ContinuousFlow":
        """The same layer, with the same network, with other options: `trace`, `rtol`, `control`, ..."""
        return ContinuousFlow(**{"field": self.field, **self.transport.options(), **options})

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "field" and "transport" in self.__dict__:
            raise InputError("The field of a layer stays the one that it was built with: build another layer.")
        super().__setattr__(name, value)

    def extra_repr(self) -> str:
        """How it is solved."""
        return ", ".join(f"{name}={value!r}" for name, value in self.transport.options().items())

    def with_directions(self, seed: int) -> "ContinuousFlow":
        """Itself, or, where the trace is an estimate, the same with directions that this number fixes."""
        trace = self.transport.trace
        return self.changed(trace=replace(trace, seed=seed)) if isinstance(trace, Hutchinson) else self

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y (*batch, d) and log |det dy/dx| (*batch,)."""
        flat, given = self.read(x, context)
        found = self.transport.passage(flat, given, back=False)
        self.evaluations = found.evaluations
        return found.end.reshape(x.shape), -found.log_volume.reshape(x.shape[:-1])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """x (*batch, d)."""
        flat, given = self.read(y, context)
        return self.transport.carried(flat, given, back=True)[0].reshape(y.shape)


__all__ = ["ContinuousFlow"]
