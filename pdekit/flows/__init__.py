"""Continuous normalising flows: densities carried along by a velocity field."""

from pdekit.flows.cnf import CNF

__all__ = ["CNF"]
