"""Perceptrons that operators are tried on: torch's own layers and activations, and the formula that they stand for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import sympy
import torch
from sympy import Expr, ImmutableMatrix

from pdekit.testing.functions import SymbolicFunction, matrix_texts


class _Activation(NamedTuple):
    formula: Callable[[Expr], Expr]
    module: Callable[[], torch.nn.Module]


def _sigmoid(z: Expr) -> Expr:
    return 1 / (1 + sympy.exp(-z))


def _softplus(z: Expr) -> Expr:
    return sympy.log(1 + sympy.exp(z))


ACTIVATIONS = {
    "tanh": _Activation(sympy.tanh, torch.nn.Tanh),
    "sigmoid": _Activation(_sigmoid, torch.nn.Sigmoid),
    "silu": _Activation(lambda z: z * _sigmoid(z), torch.nn.SiLU),
    "softplus": _Activation(_softplus, torch.nn.Softplus),
    "gelu": _Activation(lambda z: z * (1 + sympy.erf(z / sympy.sqrt(2))) / 2, torch.nn.GELU),
    "mish": _Activation(lambda z: z * sympy.tanh(_softplus(z)), torch.nn.Mish),
    "logsigmoid": _Activation(lambda z: -_softplus(-z), torch.nn.LogSigmoid),
    "tanhshrink": _Activation(lambda z: z - sympy.tanh(z), torch.nn.Tanhshrink),
}


@dataclass(frozen=True)
class Network(SymbolicFunction):
    """W_L phi(... phi(W_1 x + b_1) ...) + b_L, by `torch.nn.Linear` and a module for phi.

    Args:
        weights: The matrices, first to last.
        biases: As columns.
        activation: A name in `ACTIVATIONS`.
        scalar: Whether the only output is a scalar.
    """

    weights: tuple[ImmutableMatrix, ...]
    biases: tuple[ImmutableMatrix, ...]
    activation: str
    scalar: bool = False

    @property
    def dim(self) -> int:  # type: ignore[override]
        """The number of states."""
        return self.weights[0].cols

    @cached_property
    def outputs(self) -> tuple[Expr, ...]:  # type: ignore[override]
        """The formulas of its outputs."""
        formula = ACTIVATIONS[self.activation].formula
        layer = sympy.Matrix(self.state)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            layer = weight * (layer.applyfunc(formula) if number else layer) + bias
        return tuple(layer.flat())

    @property
    def timed(self) -> bool:
        """A network takes no time."""
        return False

    def module(self) -> torch.nn.Module:
        """See `SymbolicFunction`."""
        layers: list[torch.nn.Module] = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            layer = torch.nn.Linear(weight.cols, weight.rows, dtype=torch.float64)
            with torch.no_grad():
                layer.weight.copy_(torch.tensor(weight.tolist(), dtype=torch.float64))
                layer.bias.copy_(torch.tensor([float(b) for b in bias.flat()], dtype=torch.float64))
            layers += [layer, ACTIVATIONS[self.activation].module()]
        return _Perceptron(layers[:-1], self.scalar)

    def __repr__(self) -> str:
        weights = [matrix_texts(w.tolist()) for w in self.weights]
        biases = matrix_texts([list(b.flat()) for b in self.biases])
        return f"testing.network({weights}, {biases}, {self.activation!r}, scalar={self.scalar})"


class _Perceptron(torch.nn.Module):
    def __init__(self, layers: list[torch.nn.Module], scalar: bool) -> None:
        super().__init__()
        self.layers, self._scalar = torch.nn.Sequential(*layers), scalar

    def forward(self, *arguments: torch.Tensor) -> torch.Tensor:
        y = self.layers(arguments[-1])
        return y.squeeze(-1) if self._scalar else y


__all__ = ["ACTIVATIONS", "Network"]
