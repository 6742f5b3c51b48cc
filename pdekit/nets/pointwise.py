"""The network between two mixings: it acts on each dimension's features alone, so what is hollow stays hollow."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from pdekit.nets.activation import Activation, gain, initialise


def pointwise(widths: Sequence[int], activation: str) -> nn.Sequential:
    """Activation, then (linear layer, activation) for each further width: pre-activations in, hidden units out.

    Args:
        widths: The number of features that come in and those of every layer; at least one.
        activation: Its name, see `Activation`.

    Returns:
        A module from (..., widths[0]) to (..., widths[-1]) that never mixes along any other axis.

    Example:
        >>> [type(layer).__name__ for layer in pointwise((32, 16), "tanh")]
        ['Activation', 'Linear', 'Activation']
    """
    layers: list[nn.Module] = [Activation(activation)]
    for width_in, width_out in pairwise(widths):
        layers += [initialise(nn.Linear(width_in, width_out), gain(activation)), Activation(activation)]
    return nn.Sequential(*layers)


__all__ = ["pointwise"]
