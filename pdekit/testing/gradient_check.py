"""`check_gradients`: first and second derivatives of whatever an operator gives, in the state and in parameters."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from pdekit.errors import InputError
from pdekit.testing.comparison import CheckFailure

_MOST = 64  # numbers whose derivatives are checked one by one


def check_gradients(
    operator: Callable[[Any], Callable[..., Any]],
    module: nn.Module,
    x: Tensor,
    *,
    time: float | None = None,
    second: bool = True,
) -> None:
    """Check the gradients of an operator applied to a module, in the module's parameters and in the state.

    Central differences in float64 are the truth (`torch.autograd.gradcheck`, and `gradgradcheck` for the second order),
    along each coordinate of small modules, along a random direction where there are more than 64 numbers. Difference
    quotients allow 1e-5 + 1e-3 of the derivative: a cut graph, a missing factor or term is seen, a small error is not.

    Args:
        operator: f -> g, with g(x) or g(t, x) differentiable.
        module: The function f, in float64.
        x: A state, (*batch, d), in float64.
        time: The time to call it with; None for f(x).
        second: Whether second derivatives are checked as well.

    Raises:
        InputError: If state or parameters are not float64.
        CheckFailure: If a gradient is missing, cut off or wrong.

    Example:
        >>> from pdekit import operators
        >>> layer = nn.Linear(2, 2).double()
        >>> check_gradients(lambda f: operators.divergence(f), layer, torch.randn(3, 2, dtype=torch.float64))
    """
    wrong = {z.dtype for z in (x, *module.parameters())} - {torch.float64}
    if wrong:
        raise InputError(f"check_gradients takes difference quotients and needs float64 throughout, got {wrong.pop()}.")
    names = [name for name, p in module.named_parameters() if p.requires_grad]
    parameters = [module.get_parameter(name).detach().clone().requires_grad_() for name in names]
    state = x.detach().clone().requires_grad_()
    leading = () if time is None else (torch.tensor(time, dtype=x.dtype, device=x.device),)

    def value(state: Tensor, *parameters: Tensor) -> Tensor:
        own = dict(zip(names, parameters, strict=True))

        def function(*arguments: Any) -> Any:
            return functional_call(module, own, arguments)

        for method in ("condition", "transform"):
            if hasattr(module, method):
                setattr(function, method, _part(module, method, own))
        result = operator(function)(*leading, state)
        return torch.stack(list(result), -1) if isinstance(result, tuple | list) else result

    try:
        result = value(state, *parameters)
    except Exception as cause:
        raise CheckFailure("gradients", f"the operator raised {type(cause).__name__}: {cause}") from cause
    if not result.requires_grad:
        raise CheckFailure(
            "gradients", "for autograd the result depends neither on the state nor on parameters: detached?"
        )
    numbers = sum(z.numel() for z in (state, *parameters))
    checks = [("first", gradcheck), *([("second", gradgradcheck)] if second else [])]
    for order, check in checks:
        try:
            check(value, (state, *parameters), check_batched_grad=False, fast_mode=numbers > _MOST)
        except Exception as cause:
            raise CheckFailure("gradients", f"{order} derivatives are wrong: {cause}") from cause


class _Renamed(nn.Module):
    """A method of a module as the forward of another, so that `functional_call` reaches it."""

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module, self._method = module, method

    def forward(self, *arguments: Any) -> Any:
        return getattr(self.module, self._method)(*arguments)


def _part(module: nn.Module, method: str, own: dict[str, Tensor]) -> Callable[..., Any]:
    renamed = _Renamed(module, method)
    prefixed = {f"module.{name}": p for name, p in own.items()}
    return lambda *arguments: functional_call(renamed, prefixed, arguments)


__all__ = ["check_gradients"]
