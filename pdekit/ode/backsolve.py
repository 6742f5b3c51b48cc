"""The adjoint of the Neural ODE paper: the state is integrated backwards along with its adjoint.

a' = -a^T df/dy and g' = -a^T df/dp backwards in time, dL/dy added to a at every observation time, where the state is
set to the value known. Memory does not grow with the number of steps. Backwards in time a stiff problem is unstable:
the state found there differs from the one that was there, and so do gradients.

Source: R. T. Q. Chen, Y. Rubanova, J. Bettencourt and D. Duvenaud, Neural ordinary differential equations, NeurIPS
2018.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from pdekit.errors import InputError
from pdekit.ode.field import Field
from pdekit.ode.leaves import leaves

_TRUSTED = 1e3  # units of the tolerance by which the state found backwards may be off


@dataclass(frozen=True, eq=False)
class Backsolve:
    """Gradients by integrating backwards: constant memory; first order only.

    Warns where the state found backwards is not the one that was there: then the problem is stiff or chaotic, and
    `Discrete(checkpoint=True)` is the remedy.

    Args:
        parameters: All tensors besides y0 that gradients are wanted for; by default those of f, if it is a module.
        method: For the way back; by default `Tsit5()`.
        rtol: For the way back; by default as for the way there.
        atol: Likewise.
    """

    parameters: Iterable[Tensor] | None = None
    method: Any = None
    rtol: float | None = None
    atol: float | None = None

    def __post_init__(self) -> None:
        if self.parameters is not None:
            named = (self.parameters,) if isinstance(self.parameters, Tensor) else tuple(self.parameters)
            if not all(isinstance(p, Tensor) and p.is_floating_point() for p in named):
                raise InputError(f"Backsolve(parameters=[...]) names tensors, got {named!r}.")
            object.__setattr__(self, "parameters", named)
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if value is not None and not (isinstance(value, int | float | np.floating) and 0 < value < 1):
                raise InputError(f"{name} of the way back must be a number between 0 and 1, got {value!r}.")

    def wanted(self, f: Any, slope: Tensor) -> tuple[Tensor, ...]:
        """The parameters.

        Raises:
            InputError: If f has some that were not named.
        """
        if self.parameters is not None:
            check_named(slope, self.parameters)
            return tuple(self.parameters)
        named = tuple(p for p in f.parameters() if p.requires_grad) if isinstance(f, torch.nn.Module) else ()
        check_named(slope, named)
        return named


def check_named(value: Tensor, named: Iterable[Tensor]) -> None:
    """Refuses gradients that would be missing: `value` may depend on the tensors named, and on no others.

    Raises:
        InputError: If it depends on another tensor that wants gradients.
    """
    for leaf in leaves(value, named):
        raise InputError(
            f"f depends on a tensor of shape {tuple(leaf.shape)} that wants gradients and was not named: "
            "Backsolve(parameters=[...]) names all of them besides y0; Discrete() finds them itself."
        )


Integrate = Callable[[Callable[..., Tensor], Tensor, list[float]], Tensor]  # f, y, [start, end] -> y at the end


def with_adjoint(
    states: Tensor,
    y0: Tensor,
    times: np.ndarray,
    field: Field,
    parameters: tuple[Tensor, ...],
    integrate: Integrate,
    unit: Callable[[Tensor], Tensor],
) -> Tensor:
    """States (k, samples, d) that were computed without a graph, with gradients by the adjoint.

    Args:
        states: At the times.
        y0: At the first of them, with its graph.
        times: (k,).
        field: f for all samples.
        parameters: See `Backsolve`.
        integrate: Integrates a single system.
        unit: y -> atol + rtol |y|.
    """
    return _Adjoint.apply(states, y0, times, field, integrate, unit, *parameters)  # type: ignore[return-value]


class _Adjoint(Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, y0: Tensor, times: Any, field: Any, integrate: Any, unit: Any, *p: Tensor
    ) -> Any:
        ctx.save_for_backward(states, *p)
        ctx.times, ctx.field, ctx.integrate, ctx.unit = times, field, integrate, unit
        return states.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        states, *parameters = ctx.saved_tensors
        adjoint, worst = grads[0][-1].clone(), 0.0
        sums = [torch.zeros_like(p) for p in parameters]
        packed = _Packed(ctx.field, states[0].shape, parameters)
        for i in range(len(states) - 1, 0, -1):
            start = packed.pack(states[i], adjoint, sums)
            end = ctx.integrate(packed.slope, start, [float(ctx.times[i]), float(ctx.times[i - 1])])
            y, adjoint, sums = packed.unpack(end)
            worst = max(worst, float(((y - states[i - 1]).abs() / ctx.unit(states[i - 1])).max()))
            adjoint = adjoint + grads[0][i - 1]
        if not worst <= _TRUSTED:
            warnings.warn(
                f"The state found backwards in time is off by {worst:.2g} times the tolerance: these gradients can't "
                "be trusted. Use gradient=Discrete(checkpoint=True).",
                stacklevel=2,
            )
        return (None, adjoint, None, None, None, None, *sums)


class _Packed:
    """State, adjoint and sums as one vector."""

    def __init__(self, field: Field, shape: torch.Size, parameters: list[Tensor]) -> None:
        self._field, self._shape, self._parameters = field, shape, parameters
        self._sizes = [shape.numel(), shape.numel(), *(p.numel() for p in parameters)]

    def pack(self, y: Tensor, adjoint: Tensor, sums: list[Tensor]) -> Tensor:
        return torch.cat([z.reshape(-1).to(y.dtype) for z in (y, adjoint, *sums)])

    def unpack(self, z: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        y, adjoint, *sums = z.split(self._sizes)
        shaped = [s.reshape(p.shape) for s, p in zip(sums, self._parameters, strict=True)]
        return y.reshape(self._shape), adjoint.reshape(self._shape), shaped

    def slope(self, t: Tensor, z: Tensor) -> Tensor:
        y, adjoint, _ = self.unpack(z)
        with torch.enable_grad():
            state = y.detach().requires_grad_()
            value = self._field(np.full(len(y), float(t)), state)
            check_named(value, [state, *self._parameters])
            wanted = [p for p in self._parameters if p.requires_grad]
            found = (
                torch.autograd.grad(value, [state, *wanted], -adjoint, allow_unused=True, materialize_grads=True)
                if value.requires_grad
                else [torch.zeros_like(x) for x in (state, *wanted)]
            )
        given = iter(found[1:])
        sums = [next(given) if p.requires_grad else torch.zeros_like(p) for p in self._parameters]
        return self.pack(value.detach(), found[0], sums)


__all__ = ["Backsolve", "with_adjoint"]
