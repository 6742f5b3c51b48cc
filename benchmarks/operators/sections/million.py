"""The exact Laplacian of a perceptron in a million dimensions, against a plain float64 formula."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.operators import nets
from benchmarks.operators.measure import Way, measure
from benchmarks.operators.rows import over_forward
from benchmarks.results import Row, at_most
from benchmarks.runner import Context
from pdekit.operators import laplacian

TITLE = "Exact Laplacian in a million dimensions, float32"
FORWARD_LIMIT, ERROR_LIMIT, GRADIENT_LIMIT = 5.0, 1e-5, 1e-3
_WIDTH, _DEPTH = 128, 4
_POINTS = 2  # states at which the reference is computed
_COLUMNS = 50_000  # of the first layer that are converted to float64 at a time

Array = NDArray[Any]


def run(context: Context) -> list[Row]:
    """Batch 64 and batch 1 in time; value and gradient in the parameters against the reference."""
    dim, batch = (300, 4) if context.quick else (1_000_000, 64)
    net, x = nets.mlp(dim, 1, width=_WIDTH, depth=_DEPTH), nets.states(batch, dim)
    u = nets.scalar(net)
    operator = laplacian(u, full_output=True)
    reference = Reference(net, x[:_POINTS])
    right = reference.laplacian()
    rows = []
    for count, limit, admitted in ((batch, FORWARD_LIMIT, ERROR_LIMIT), (1, None, 10 * ERROR_LIMIT)):
        few = x[:count]
        ways = {
            "forward": Way(lambda few=few: u(few)),
            "exact": Way(lambda few=few: operator(few), right[:count], lambda result: result.value, admitted),
        }
        with torch.no_grad():
            plan = operator(few).plan
            found = measure(f"million, batch {count}", ways, context)
        told = (f"{plan.route}: {plan.reason}", f"forward {found['forward'].story()}", nets.describe(net))
        metric = f"d {dim:,}, batch {count}: value and Laplacian"
        rows.append(over_forward(metric, found["exact"], found["forward"], limit, *told))
        error = found["exact"].error
        if limit is not None and error is not None:
            rows.append(at_most(f"d {dim:,}: relative error at {_POINTS} points", error, ERROR_LIMIT))
    return [*rows, _gradient(net, x[:_POINTS], operator, reference, dim, context)]


class Reference:
    """The Laplacian of a tanh perceptron, in NumPy and float64.

    With z = W x + b and G = W W^T of the first layer (by rows of W, a block of columns at a time), a hidden quantity q
    with gradient J in z and Laplacian L in x passes a linear layer as (A q + a, A J, A L) and tanh as
    (t, s J, s L - 2 t s diag(J G J^T)) with t = tanh q and s = 1 - t^2.
    """

    def __init__(self, net: nn.Sequential, x: Tensor) -> None:
        first, *rest = [layer for layer in net if isinstance(layer, nn.Linear)]
        self.first, self.x = first.weight.detach().numpy(), x.numpy().astype(np.float64)
        self.rest = [(layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()) for layer in rest]
        self.z = np.tile(first.bias.detach().double().numpy(), (len(x), 1))
        self.gram = np.zeros((len(self.first), len(self.first)))
        for start in range(0, x.shape[1], _COLUMNS):
            block = self.first[:, start : start + _COLUMNS].astype(np.float64)
            self.z += self.x[:, start : start + _COLUMNS] @ block.T
            self.gram += block @ block.T

    def laplacian(self, z: Array | None = None, gram: Array | None = None, rest: Any = None) -> Array:
        """One value per state; what is given replaces the net's own, and may be complex."""
        gram, rest = self.gram if gram is None else gram, self.rest if rest is None else rest
        return np.array([_laplacian(row, gram, rest) for row in (self.z if z is None else z)])

    def slope(self, layer: int, a: int, b: int) -> float:
        """Derivative of the mean Laplacian in W_ab of a layer, by a complex step: exact to rounding."""
        h, z, gram = 1e-30, self.z.astype(complex), self.gram.astype(complex)
        rest = [(weight.astype(complex), bias) for weight, bias in self.rest]
        if layer:
            rest[layer - 1][0][a, b] += 1j * h
        else:
            column = self.first[:, b].astype(np.float64)
            z[:, a] += 1j * h * self.x[:, b]
            gram[a] += 1j * h * column
            gram[:, a] += 1j * h * column
        return float(np.imag(self.laplacian(z, gram, rest)).mean() / h)


def _laplacian(q: Array, gram: Array, rest: Any) -> Any:
    jacobian, second = np.eye(len(q)), np.zeros(len(q))
    for weight, bias in rest:
        t = np.tanh(q)
        s = 1 - t**2
        square = np.einsum("ka,ab,kb->k", jacobian, gram, jacobian, optimize=True)
        q, jacobian, second = t, s[:, None] * jacobian, s * second - 2 * t * s * square
        q, jacobian, second = weight @ q + bias, weight @ jacobian, weight @ second
    return second[0]


def _gradient(net: nn.Sequential, x: Tensor, operator: Any, reference: Reference, dim: int, context: Context) -> Row:
    """The mean Laplacian's gradient in all parameters: finite, and right in some entries of three layers."""
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    first, later = ((0, 0), (3, dim // 2), (_WIDTH - 1, dim - 1)), ((0, 0), (3, 5), (_WIDTH - 1, 2))
    spots = {0: first, 1: later, len(linear) - 2: later}
    right = {
        number: [reference.slope(number, *spot) for spot in chosen] for number, chosen in spots.items()
    }  # each layer is compared on its own scale
    scale = {number: max(abs(slope) for slope in slopes) for number, slopes in right.items()}

    def backward() -> None:
        net.zero_grad()
        operator(x).value.mean().backward()

    def entries(_: None) -> Array:
        gradients: list[Any] = [layer.weight.grad for layer in linear]
        if any(g is None or not bool(torch.isfinite(g).all()) for g in gradients):
            raise FloatingPointError("a gradient is missing or not finite")
        return np.array([[float(gradients[n][spot]) / scale[n] for spot in spots[n]] for n in spots])

    slopes = np.array([[slope / scale[number] for slope in right[number]] for number in spots])
    ways = {"forward": Way(lambda: net(x)), "gradient": Way(backward, slopes, entries, GRADIENT_LIMIT)}
    found = measure("million, gradient", ways, context)
    metric = f"d {dim:,}, batch {len(x)}: Laplacian with gradient in the parameters"
    layers = f"error in entries of layers {', '.join(str(number + 1) for number in spots)}"
    return over_forward(metric, found["gradient"], found["forward"], None, layers)
