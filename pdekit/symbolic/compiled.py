"""Turns SymPy expressions into one vectorised torch function.

The expressions become a short list of torch operations in which each common subexpression is computed once; calling
the function runs down that list. There is no code generation. Three choices make it as fast as torch written by hand:
numbers stay Python floats, so that the dtype follows the state; factors and terms that depend on parameters alone are
collected first, so that they cost one scalar operation and not one per row; whole powers become products.
"""

from collections.abc import Sequence
from typing import Any

import sympy
import torch
from sympy import Expr, Symbol
from torch import Tensor

from pdekit.errors import InputError, ModelError
from pdekit.symbolic.lowering import Lowering, allocate
from pdekit.symbolic.operations import check_supported

__all__ = ["Compiled"]


class Compiled:
    """Expressions in a state, a time and parameters as one torch function `(t, x, theta)`.

    Args:
        expressions: One expression (values of shape (*batch,)), a list of n (shape (*batch, n)) or an n x m matrix
            (shape (*batch, n, m)).
        state: The d state symbols, the columns of `x`.
        time: The time symbol.
        params: The k parameter symbols, the columns of `theta`.

    Calling it takes `t`, a number, a 0-d tensor or (*batch, 1) (anything when the expressions don't contain it); `x` of
    shape (*batch, d); and `theta` of shape (k,) or (*batch, k), which may be left out when k = 0. The result has the
    dtype and device of `x`, and autograd reaches `x`, `t` and `theta`.

    Raises:
        ModelError: When built, if an expression has unknown symbols or functions.
        InputError: When called, if a shape or dtype does not fit.

    Example:
        >>> import sympy, torch
        >>> x, k, t = sympy.symbols("x k t", real=True)
        >>> f = Compiled([k * x**2], state=[x], time=t, params=[k])
        >>> f(0.0, torch.tensor([[1.0], [2.0]]), torch.tensor([10.0]))
        tensor([[10.],
                [40.]])
    """

    def __init__(self, expressions: Any, state: Sequence[Symbol], time: Symbol, params: Sequence[Symbol] = ()):
        if isinstance(expressions, sympy.MatrixBase):
            self.shape: tuple[int, ...] = expressions.shape
            outputs = list(expressions.flat())
        elif isinstance(expressions, Sequence):
            self.shape, outputs = (len(expressions),), list(expressions)
        else:
            self.shape, outputs = (), [expressions]
        # strict: numbers and SymPy objects only; text never gets this far and would be refused.
        outputs = [sympy.sympify(e, strict=True) for e in outputs]
        self.state, self.time, self.params = tuple(state), time, tuple(params)
        self._check_symbols(outputs)
        builder = Lowering(self.state, time, self.params)
        results = builder.outputs(outputs)
        self.uses_time = any(time in e.free_symbols for e in outputs)
        self.uses_params = any(e.free_symbols & set(self.params) for e in outputs)
        self._template, self._program, self._results = allocate(builder, results)

    def _check_symbols(self, outputs: Sequence[Expr]) -> None:
        known = {*self.state, self.time, *self.params}
        for expression in outputs:
            check_supported(expression)
            if unknown := expression.free_symbols - known:
                names = ", ".join(sorted(map(str, unknown)))
                raise ModelError(
                    f"{expression} contains {names}, which is neither state, time nor parameter of the model."
                )

    @property
    def operations(self) -> int:
        """The number of torch operations that one call runs."""
        return len(self._program)

    def __repr__(self) -> str:
        arguments = ", ".join(map(str, (*self.state, self.time, *self.params)))
        return f"Compiled({arguments}: shape (*batch, {', '.join(map(str, self.shape))}), {self.operations} operations)"

    def __call__(self, t: Any, x: Tensor, theta: Tensor | None = None) -> Tensor:
        """The values at `x`; the class states the shapes."""
        dim = len(self.state)
        if not _like_tensor(x) or not x.dtype.is_floating_point:
            raise InputError(
                f"x must be a floating-point tensor, got {x.dtype if _like_tensor(x) else type(x).__name__}."
            )
        if x.ndim == 0 or x.shape[-1] != dim:
            raise InputError(f"x must have shape (*batch, {dim}) with one column per state, got {tuple(x.shape)}.")
        batch = x.shape[:-1]
        registers = self._template.copy()
        registers[:dim] = x.unbind(-1)
        if self.uses_time:
            registers[dim] = time = self._time(t, x)
            if time.ndim:
                batch = torch.broadcast_shapes(batch, time.shape)
        if self.uses_params:
            theta = self._theta(theta, x)
            registers[dim + 1 : dim + 1 + len(self.params)] = theta.unbind(-1)
            if theta.ndim > 1:
                batch = torch.broadcast_shapes(batch, theta.shape[:-1])
        for function, target, sources in self._program:
            registers[target] = function(*[registers[source] for source in sources])
        return self._assemble([registers[i] for i in self._results], batch, x)

    def _time(self, t: Any, x: Tensor) -> Tensor:
        if not _like_tensor(t):
            if t is None:
                raise InputError(f"The expressions depend on the time {self.time}, but t is None.")
            return torch.full((), float(t), dtype=x.dtype, device=x.device)
        if t.ndim and t.shape[-1] != 1:
            raise InputError(
                f"t must be a number or have shape (*batch, 1), got {tuple(t.shape)}: a bare vector of times is "
                "ambiguous. Write t.unsqueeze(-1) for one time per row."
            )
        return (t[..., 0] if t.ndim else t).to(x)

    def _theta(self, theta: Tensor | None, x: Tensor) -> Tensor:
        count = len(self.params)
        if theta is None or not isinstance(theta, Tensor):
            if theta is None:
                raise InputError(
                    f"theta is missing: expected the parameters {', '.join(map(str, self.params))}, in this order."
                )
            theta = torch.as_tensor(theta, dtype=x.dtype, device=x.device)
        if theta.ndim == 0 or theta.shape[-1] != count:
            names = ", ".join(map(str, self.params))
            raise InputError(
                f"theta must have shape ({count},) or (*batch, {count}) for {names}; got {tuple(theta.shape)}."
            )
        return theta.to(x)

    def _assemble(self, values: list[Any], batch: torch.Size, x: Tensor) -> Tensor:
        columns = []
        for value in values:
            if not _like_tensor(value):
                value = torch.full((), value, dtype=x.dtype, device=x.device)
            columns.append(value if value.shape == batch else value.expand(batch))
        if not self.shape:
            return columns[0]
        if len(columns) == 1:
            return columns[0].reshape(*batch, *self.shape)
        if not columns:
            return x.new_zeros((*batch, *self.shape))
        stacked = torch.stack(columns, dim=-1)
        return stacked if len(self.shape) == 1 else stacked.reshape(*batch, *self.shape)


def _like_tensor(z: Any) -> bool:
    # Tensors, and what stands in for them when torch functions are traced: Taylor series, for one.
    return isinstance(z, Tensor) or (hasattr(type(z), "__torch_function__") and hasattr(z, "dtype"))
