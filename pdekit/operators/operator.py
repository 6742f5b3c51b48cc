"""The shape of every operator: a transform that takes a function and returns one of the same arguments."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pdekit.errors import OperatorError
from pdekit.operators.call import Call, make_call
from pdekit.operators.result import OperatorResult, Plan


class Operator:
    """An operator applied to a function; call it with the function's own arguments, the state last.

    Args:
        name: The operator's public name.
        function: The function that it acts on.
        compute: Call -> OperatorResult.
        full_output: Whether a call returns the whole OperatorResult instead of its value.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], compute: Callable[[Call], OperatorResult], full_output: bool
    ) -> None:
        if not callable(function):
            raise OperatorError(f"{name}: expected a function f(x) or f(t, x), got {type(function).__name__}.")
        self.name, self.function, self.full_output = name, function, full_output
        self._compute = compute

    def __call__(self, *args: Any, **context: Any) -> Any:
        """The operator at a state."""
        result = self._compute(make_call(self.name, self.function, args, context))
        return result if self.full_output else result.value

    def __repr__(self) -> str:
        inner = getattr(self.function, "__name__", None) or type(self.function).__name__
        return f"{self.name}({inner})"


def exact_result(value: Any, output: Tensor, plan: Plan) -> OperatorResult:
    """An exact value."""
    return OperatorResult(value, output, None, plan)
