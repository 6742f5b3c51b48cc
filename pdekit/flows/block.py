"""A layer of a network whose depth is time: the solution of an ODE, with gradients."""

from typing import Any

import torch
from torch import Tensor, nn

from pdekit.errors import InputError
from pdekit.flows.transport import Transport, check_times
from pdekit.nets.conditioners.checks import check_count
from pdekit.ode.control import StepControl
from pdekit.ode.gradients import Discrete
from pdekit.ode.methods import Tsit5


class ODEBlock(nn.Module):
    """x -> y(t1), where dy/dt = f(t, y), y(t0) = (x, 0, ..., 0).

    A flow of the plane can't tear it: what lies inside a circle stays inside. With zeros appended there is room to pass
    by (Dupont, Doucet and Teh 2019).

    Args:
        field: f(t, y), a module, (*batch, d + augment) -> the same.
        augment: How many zeros are appended to x; of images how many empty channels.
        shape: Of a state, where it is no vector, such as (channels, height, width): f is then given (n, *shape).
        times: (t0, t1).
        method, rtol, atol, control: Of `odeint`.
        gradient: Of `odeint`: `Discrete()` differentiates the steps, `Backsolve()` solves the adjoint equation in
            memory that does not grow with their number, `Discrete(checkpoint=True)` makes each step again.

    Attributes:
        evaluations: Evaluations of f for each state at the last call, on average; NaN before.

    Raises:
        InputError: If an option makes no sense.

    Source: R. T. Q. Chen et al., Neural ordinary differential equations, NeurIPS 2018, arXiv 1806.07366; E. Dupont, A.
    Doucet and Y. W. Teh, Augmented neural ODEs, NeurIPS 2019, arXiv 1904.01681.

    Example:
        >>> from pdekit.nets import MLP
        >>> block = ODEBlock(MLP(5, (16,), time=True, seed=0), augment=2)
        >>> block(torch.zeros(10, 3)).shape
        torch.Size([10, 5])
    """

    def __init__(
        self,
        field: nn.Module,
        augment: int = 0,
        *,
        shape: tuple[int, ...] | None = None,
        times: tuple[Any, Any] = (0.0, 1.0),
        method: Any = Tsit5(),
        rtol: float | None = None,
        atol: float | None = None,
        control: Any = StepControl(),
        gradient: Any = Discrete(),
    ) -> None:
        super().__init__()
        if not isinstance(field, nn.Module):
            raise InputError(f"The field of a block must be a module, so that it is trained, got {field!r}.")
        check_count("augment", augment, least=0)
        for size in shape or ():
            check_count("shape", size)
        self.field, self.augment, self.evaluations = field, augment, float("nan")
        # End times that are trained.
        self.ends = nn.ParameterList(t for t in times if isinstance(t, nn.Parameter))
        self.shape = None if shape is None else tuple(shape)
        inner = field if shape is None else _Shaped(field, (shape[0] + augment, *shape[1:]))
        # Not a part of this module: its parameters are the field's, which is one.
        self._transport = Transport(inner, None, check_times(times), method, rtol, atol, control, gradient)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "field" and "_transport" in self.__dict__:
            raise InputError("The field of a layer stays the one that it was built with: build another layer.")
        super().__setattr__(name, value)

    def extra_repr(self) -> str:
        """How it is solved."""
        told = ", ".join(f"{name}={value!r}" for name, value in self._transport.options().items() if name != "trace")
        return f"augment={self.augment}, shape={self.shape}, {told}"

    def forward(self, x: Tensor) -> Tensor:
        """States (*batch, d) to (*batch, d + augment); with a shape (*batch, c, ...) to (*batch, c + augment, ...).

        Raises:
            InputError: If states have another shape.
            NumericalError: If the solution fails.
        """
        shape = (x.shape[-1],) if self.shape is None else self.shape
        if tuple(x.shape[-len(shape) :]) != shape:
            raise InputError(f"x must be states (*batch, {', '.join(map(str, shape))}), got shape {tuple(x.shape)}.")
        states = x.reshape(-1, *shape)
        start = torch.cat([states, states.new_zeros(len(states), self.augment, *shape[1:])], 1)
        end, counts = self._transport.carried(start.flatten(1), None)
        self.evaluations = float(counts.f.mean()) if len(counts.f) else 0.0
        return end.reshape(*x.shape[: x.ndim - len(shape)], *start.shape[1:])


class _Shaped(nn.Module):
    """A field of states with a shape, as integrators see it: of vectors."""

    def __init__(self, field: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.field, self.shape = field, shape

    def forward(self, t: Any, y: Tensor) -> Tensor:
        return self.field(t, y.unflatten(-1, self.shape)).flatten(1)


__all__ = ["ODEBlock"]
