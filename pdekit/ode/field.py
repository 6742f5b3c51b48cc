"""The right-hand side as integrators call it: some samples of a flat batch, counted and checked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from dataclasses import field as fresh
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from pdekit.ode.counting import Counts, Rows
from pdekit.ode.sparsity import Sparsity
from pdekit.operators import jacobian_diagonal


@dataclass(frozen=True, eq=False)
class Field:
    """dy/dt = f(t, y) for the samples `rows` of a batch.

    Args:
        function: f(t, y) or f(t, y, context=...), y (*batch, d).
        counts: Where evaluations are counted.
        rows: Which samples of the whole batch.
        single: Whether there is one sample without an axis for the batch.
        context: One row per sample, or None.
        has_graph: Whether its values are known to have a graph, because of parameters that want gradients.
        diagonal_of: The Jacobian's diagonal (t, y) -> (*batch, d) in closed form, or None for the operator layer's.
        sparsity: What is known of the Jacobian's zeros, shared by all parts of the batch.
    """

    function: Callable[..., Any]
    counts: Counts
    rows: Rows
    single: bool = False
    context: Tensor | None = None
    diagonal_of: Callable[..., Tensor] | None = None
    has_graph: bool = False
    sparsity: Sparsity = fresh(default_factory=Sparsity)

    def take(self, keep: np.ndarray) -> "Field":
        """The field for some of these samples."""
        context = None if self.context is None else self.context[torch.as_tensor(keep, device=self.context.device)]
        return replace(self, rows=self.rows[keep], context=context)

    def __call__(self, t: np.ndarray | Tensor, y: Tensor) -> Tensor:
        """f at times (n,), which may have a graph, and states (n, d)."""
        self.counts.f[self.rows] += 1
        return self._uncounted(t)(y)

    def _uncounted(self, t: np.ndarray | Tensor) -> Callable[[Tensor], Tensor]:
        """f at fixed times, of states (n, d)."""
        keywords = {} if self.context is None else {"context": self.context}
        if not self.single:
            return lambda y: self.function(self._time(t, y), y, **keywords)
        keywords = {name: value[0] for name, value in keywords.items()}
        return lambda y: _as_row(self.function(self._time(t, y), y[0], **keywords))

    def _time(self, t: Any, y: Tensor) -> Tensor:
        time = torch.as_tensor(t, dtype=y.dtype, device=y.device)
        return time[0] if self.single else time.unsqueeze(-1)

    def evaluate_other(self, function: Callable[..., Tensor], t: Any, y: Tensor) -> Tensor:
        """Another function of time and state, with arguments as f gets them: (n, ...)."""
        time = self._time(t, y)
        return function(time, y[0]).unsqueeze(0) if self.single else function(time, y)

    def diagonal(self, t: np.ndarray, y: Tensor) -> Tensor:
        """(df_i / dy_i)_i, (n, d), by the operator layer: exact."""
        keywords = {} if self.context is None else {"context": self.context}
        if self.single:
            keywords, y = {name: value[0] for name, value in keywords.items()}, y[0]
        time = self._time(t, y)
        if self.diagonal_of is not None:
            value, directions = self.diagonal_of(time, y, **keywords), 1
        else:
            found = jacobian_diagonal(self.function, full_output=True)(time, y, **keywords)
            value, directions = found.value, 1 if found.plan.route == "hollow" else found.plan.directions
        if directions == 1:
            self.counts.diagonal[self.rows] += 1
        else:
            self.counts.jvp[self.rows] += directions
        return value.unsqueeze(0) if self.single else value

    def product(self, t: np.ndarray, y: Tensor) -> Callable[[Tensor], Tensor]:
        """v -> J v, (n, d).

        J v is the derivative along v of u -> J^T u, which is recorded once: each product then costs about one
        evaluation, several times less than forward mode, whose rules for some operations are written in Python.
        """
        f = self._uncounted(t)
        with unseen(), torch.enable_grad():
            state = y.detach().requires_grad_()
            value = f(state)
            u = torch.zeros_like(value, requires_grad=True)
            pulled = _recorded(value, state, u)

        def times(v: Tensor) -> Tensor:
            self.counts.jvp[self.rows] += 1
            if pulled is None:
                return torch.func.jvp(f, (y,), (v,))[1]
            if not pulled.requires_grad:
                return torch.zeros_like(v)
            return torch.autograd.grad(pulled, u, v, retain_graph=True)[0]

        return times

    def transposed_product(self, t: np.ndarray, y: Tensor) -> Callable[[Tensor], Tensor]:
        """v -> J^T v, (n, d)."""
        with torch.enable_grad():
            state = y.detach().requires_grad_()
            value = self._uncounted(t)(state)

        def times(v: Tensor) -> Tensor:
            self.counts.vjp[self.rows] += 1
            if not value.requires_grad:
                return torch.zeros_like(v)
            found = torch.autograd.grad(value, state, v, retain_graph=True, allow_unused=True)[0]
            return torch.zeros_like(v) if found is None else found

        return times

    def jacobian(self, t: np.ndarray, y: Tensor) -> Tensor:
        """J, (n, d, d)."""
        f = self._uncounted(t)

        def products(vectors: Tensor) -> Tensor:
            self.counts.jvp[self.rows] += len(vectors)
            try:
                return torch.func.vmap(lambda e: torch.func.jvp(f, (y,), (e.expand_as(y),))[1])(vectors)
            except RuntimeError:  # what f does can't be vectorised, such as a decision by the state: one by one
                self.counts.jvp[self.rows] -= len(vectors)
                product = self.product(t, y)
                return torch.stack([product(e.expand_as(y)) for e in vectors])

        found = self.sparsity.compressed(products, y) if self.sparsity.products else None
        if found is None:
            found = products(torch.eye(y.shape[1], dtype=y.dtype, device=y.device)).movedim(0, -1)
            self.sparsity.learn(found.detach())
        return found


def _as_row(value: Any) -> Any:
    """With an axis for the batch; what is no tensor stays as it is, to be refused."""
    return value.unsqueeze(0) if isinstance(value, Tensor) else value


def _recorded(value: Tensor, state: Tensor, u: Tensor) -> Tensor | None:
    """J^T u as a function of u; None where f can't be differentiated twice."""
    if not value.requires_grad:
        return torch.zeros_like(state)
    try:
        found = torch.autograd.grad(value, state, u, create_graph=True, allow_unused=True)[0]
    except RuntimeError:
        return None
    return torch.zeros_like(state) if found is None else found


@contextmanager
def unseen() -> Iterator[None]:
    """What is recorded within stays out of a checkpoint around it: made again, it need not be the same."""
    with saved_tensors_hooks(lambda z: z, lambda z: z):
        yield


class Autonomous(torch.nn.Module):
    """f(y) as f(t, y), with `condition` and `transform` if f has them; see `autonomous`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        if callable(getattr(function, "condition", None)) and callable(getattr(function, "transform", None)):
            self.condition = lambda t, y, **context: function.condition(y, **context)  # type: ignore[attr-defined]
            self.transform = function.transform  # type: ignore[attr-defined]

    def forward(self, t: Any, y: Tensor, **context: Tensor) -> Tensor:
        """f(y)."""
        return self.function(y, **context)


def autonomous(function: Callable[..., Any]) -> Autonomous:
    """A field f(y) without a time as integrators take it, f(t, y); a hollow function stays one.

    Example:
        >>> autonomous(torch.sin)(0.0, torch.zeros(2))
        tensor([0., 0.])
    """
    return Autonomous(function)


__all__ = ["Autonomous", "Field", "autonomous", "unseen"]
