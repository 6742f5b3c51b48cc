"""Drift and noise as neural networks, learned from the likelihood of observed transitions."""

from pdekit.fitting.neural.learning import train
from pdekit.fitting.neural.network_sde import NetworkSDE, NeuralHistory
from pdekit.fitting.neural.options import NeuralSDE
from pdekit.fitting.neural.stream import TransitionStream

__all__ = ["NetworkSDE", "NeuralHistory", "NeuralSDE", "TransitionStream", "train"]
