"""The drift with the derivatives that carry a score along: f, div f, and grad (f . s + div f)."""

from collections.abc import Callable, Sequence
from typing import Any

import sympy
import torch
from torch import Tensor

from pdekit.errors import NumericalError
from pdekit.fokker_planck.statement import Statement
from pdekit.operators import divergence
from pdekit.operators.convention import to_ito
from pdekit.symbolic.model import SymbolicSDE

_PROBES = 256
_TINY = 1e-12  # of the widest: a state that does not move has no unit


class Drift:
    """A field f(t, x) with derivatives: div f by SymPy where it is given in symbols, otherwise by autograd.

    Args:
        field: f, (t, x) -> (n, d), for a number t.
        names: Of the states, for messages.
        symbols: Functions (t, x) that give div f, (n,), and its gradient, (n, d).
    """

    def __init__(
        self, field: Callable[[float, Tensor], Tensor], names: Sequence[str], symbols: tuple[Any, Any] | None = None
    ) -> None:
        self.dim, self.names = len(names), tuple(names)
        self._f, self._symbols = field, symbols
        self._divergence = divergence(field, full_output=True)

    @classmethod
    def of(cls, problem: Statement) -> "Drift":
        """Ito's drift of a problem."""
        symbols = None if problem.model is None else _compiled(problem.model.ito())
        return cls(to_ito(problem.sde).drift, problem.sde.names, symbols)

    def field(self, t: float, x: Tensor) -> Tensor:
        """f with a graph, (n, d)."""
        return self._f(t, x)

    def value(self, t: float, x: Tensor) -> Tensor:
        """f, (n, d).

        Raises:
            NumericalError: If it is not finite.
        """
        with torch.no_grad():
            return self._finite(self._f(t, x), t, x)

    def with_divergence(self, t: float, x: Tensor) -> tuple[Tensor, Tensor]:
        """f, (n, d), and div f, (n,)."""
        with torch.no_grad():
            if self._symbols is not None:
                return self.value(t, x), self._symbols[0](t, x)
            found = self._divergence(t, x)
        return self._finite(found.output, t, x), found.value

    def with_pull(self, t: float, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """f, (n, d), and grad (f . s + div f) with s held, (n, d)."""
        with torch.enable_grad():
            state = x.detach().requires_grad_()
            if self._symbols is not None:
                f, pull = self._f(t, state), self._symbols[1](t, x)
                total = (f * s).sum()
            else:
                found = self._divergence(t, state)
                f, pull = found.output, torch.zeros_like(x)
                total = (f * s).sum() + found.value.sum()
            if total.requires_grad:
                pull = pull + torch.autograd.grad(total, state)[0]
        return self._finite(f.detach(), t, x), pull

    def stiffness(self, t: float, x: Tensor) -> float:
        """The greatest spectral norm of the Jacobian at some of the states (n, d), one over time.

        Each state is measured in standard deviations of its own, so that units make no difference.
        """
        some = x[torch.linspace(0, len(x) - 1, min(len(x), _PROBES)).long()]
        slopes = []
        with torch.enable_grad():
            state = some.detach().requires_grad_()
            for f in self._f(t, state).unbind(-1):
                slope = torch.autograd.grad(f.sum(), state, retain_graph=True)[0] if f.requires_grad else 0 * state
                slopes.append(slope.detach())
        width = x.std(0) if len(x) > 1 else torch.zeros_like(x[0])
        width = torch.where(width > _TINY * width.max(), width, width.max()) if bool(width.max() > 0) else width + 1
        scaled = self._finite(torch.stack(slopes, 1), t, some) * width / width[:, None]
        return float(torch.linalg.matrix_norm(scaled, 2).max())

    def _finite(self, values: Tensor, t: float, x: Tensor) -> Tensor:
        if not bool(torch.isfinite(values).all()):
            bad = x[~torch.isfinite(values).reshape(len(x), -1).all(-1)][0]
            where = ", ".join(f"{name} = {float(value):.6g}" for name, value in zip(self.names, bad, strict=True))
            raise NumericalError(f"The drift, or its derivative, is not finite at {where}, t = {t:.6g}.")
        return values


def _compiled(model: SymbolicSDE) -> tuple[Any, Any]:
    """div f and its gradient."""
    total = sympy.Add(*(sympy.diff(f, x) for f, x in zip(model.drift, model.state, strict=True)))
    return model.function(total), model.function([sympy.diff(total, x) for x in model.state])


__all__ = ["Drift"]
