"""Running a function on a series: what may go wrong on the way, and what is then known about the function."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pdekit.errors import OperatorError
from pdekit.operators.call import Call
from pdekit.operators.propagation import Conflict, Jet, Run, Unsupported


@dataclass(frozen=True)
class Refusal:
    """Why series could not follow a function."""

    reason: str


def follow(call: Call, run: Run, coefficients: list[Any]) -> Jet | Refusal:
    """The series of the function's output along a series of the state.

    Args:
        call: The call; its state is the constant term.
        run: The pass.
        coefficients: c_1, ..., c_K of the state.

    Raises:
        OperatorError: If the function asks for derivatives that do not exist, or returns no tensor.
        Conflict: If compression met its limits.
    """
    run.seed = coefficients[0]
    try:
        output = call.at(run.jet(call.x, coefficients, 0))
    except (OperatorError, Conflict):
        raise
    except Unsupported as cause:
        return Refusal(str(cause))
    except Exception as cause:
        return Refusal(f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"[:200])
    if run.owns(output):
        return output
    if isinstance(output, Tensor | Jet):  # a constant
        return run.jet(output, [None] * run.order, 0)
    raise OperatorError(f"{call.operator}: the function must return one tensor, got {type(output).__name__}.")
