"""Simulating SDEs: own vectorised schemes, and torchsde behind one adapter."""

from pdekit.simulation.equation import Scheme
from pdekit.simulation.order15 import StrongOrder15
from pdekit.simulation.result import Simulation
from pdekit.simulation.schemes import EulerMaruyama, Heun, Milstein
from pdekit.simulation.simulator import simulate
from pdekit.simulation.torchsde_adapter import TorchSDE

__all__ = [
    "simulate",
    "Simulation",
    "Scheme",
    "EulerMaruyama",
    "Milstein",
    "StrongOrder15",
    "Heun",
    "TorchSDE",
]
