"""SDEs that operators are tried on: by SymPy, and the same as an `SDE` made of torch operations."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from sympy import ImmutableMatrix
from torch import Tensor

from pdekit.sde import SDE, NoiseType
from pdekit.symbolic import Compiled, write_expression
from pdekit.symbolic.oracles import Equation
from pdekit.testing.functions import TIME


@dataclass(frozen=True)
class SymbolicEquation:
    """dX = f dt + G dW, Ito or Stratonovich, with any kind of noise.

    Args:
        equation: The formulas.
        noise_type: What the SDE declares: `"diagonal"` for a diagonal G, or as in `pdekit.SDE`.
        separable: Whether it declares that g_i depends on x_i alone.
    """

    equation: Equation
    noise_type: NoiseType = "general"
    separable: bool = False

    @property
    def dim(self) -> int:
        """The number of states."""
        return len(self.equation.state)

    @cached_property
    def sde(self) -> SDE:
        """The equation as operators and simulators take it."""
        matrix: ImmutableMatrix = self.equation.diffusion
        diagonal = self.noise_type == "diagonal"
        diffusion = [matrix[i, i] for i in range(self.dim)] if diagonal else matrix
        drift = list(self.equation.drift)
        return SDE(
            Coefficient(drift, self.equation),
            Coefficient(diffusion, self.equation),
            dim=self.dim,
            noise_type=self.noise_type,
            noise_dim=matrix.cols,
            sde_type=self.equation.convention,
            separable=self.separable,
        )

    def __repr__(self) -> str:
        listed = [write_expression(f) for f in self.equation.drift]
        rows = [[write_expression(g) for g in self.equation.diffusion.row(i)] for i in range(self.dim)]
        return (
            f"testing.equation(drift={listed}, diffusion={rows}, convention={self.equation.convention!r}, "
            f"noise_type={self.noise_type!r}, separable={self.separable})"
        )


class Coefficient(torch.nn.Module):
    """A coefficient (t, x) -> value; a module, so that what is found out about it is remembered with it."""

    def __init__(self, expressions: Any, equation: Equation) -> None:
        super().__init__()
        self._compiled = Compiled(expressions, equation.state, TIME)

    def forward(self, t: Any, x: Tensor) -> Tensor:
        """Its value at (t, x)."""
        return self._compiled(t, x)


__all__ = ["Coefficient", "SymbolicEquation"]
