"""Drift and noise of a model as functions of the state and the parameters, whether they are formulas or learned."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pdekit.fitting.learned import LearnedSDE
from pdekit.symbolic import SymbolicSDE

Model = SymbolicSDE | LearnedSDE
Function = Callable[[Any, Tensor, Tensor], Tensor]


class Coefficients:
    """The Ito drift f(t, x, theta) and the noise G(t, x, theta) of a model.

    Args:
        model: The SDE; a Stratonovich model is converted.

    Attributes:
        drift: States (n, d) and parameters (k,) or (n, k) to (n, d).
        noise: The same to (n, d, m).

    Example:
        >>> import pdekit as pk
        >>> both = Coefficients(pk.SymbolicSDE("x", "-k*x", "s*x", convention="stratonovich").fix(s=2.0))
        >>> both.drift(0.0, torch.ones(1, 1), torch.tensor([5.0]))
        tensor([[-3.]])
    """

    def __init__(self, model: Model) -> None:
        self.model = model.ito()
        if isinstance(self.model, SymbolicSDE):
            self.drift: Function = self.model.function(list(self.model.drift))
            self.noise: Function = self.model.function(self.model.diffusion_matrix)
        else:
            learned = self.model
            self.drift = lambda t, x, theta: learned.drift(t, x)
            self.noise = lambda t, x, theta: learned.noise(t, x)

    def drift_slope(self, t: Any, x: Tensor, theta: Tensor) -> Tensor:
        """d f_i / d x_i, (n, d), without gradient."""
        with torch.enable_grad():
            at = x.detach().clone().requires_grad_()
            f = self.drift(t, at, theta.detach())
            if not f.requires_grad:
                return torch.zeros_like(x)
            columns = [
                torch.autograd.grad(f[:, i].sum(), at, retain_graph=True, allow_unused=True)[0]
                for i in range(f.shape[1])
            ]
        return torch.stack([x.new_zeros(len(x)) if c is None else c[:, i] for i, c in enumerate(columns)], -1)

    def size(self, t: Any, x: Tensor, theta: Tensor, component: int) -> Tensor:
        """(G G^T)_ii^{1/2}, (n,)."""
        return self.noise(t, x, theta)[:, component, :].square().sum(-1).clamp_min(_TINY).sqrt()

    def scalar(self, theta: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """x (n,) -> f and g, each (n,), of a model with one state and one noise at the time 0."""

        def coefficients(x: Tensor) -> tuple[Tensor, Tensor]:
            state = x[:, None]
            return self.drift(0.0, state, theta)[:, 0], self.noise(0.0, state, theta)[:, 0, 0]

        return coefficients


# Below any square of a coefficient in double precision; keeps the root's gradient finite where a noise is absent.
_TINY = 1e-300

__all__ = ["Coefficients", "Model"]
