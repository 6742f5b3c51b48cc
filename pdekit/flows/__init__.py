"""Continuous normalising flows: densities carried along by a velocity field."""

from pdekit.flows.block import ODEBlock
from pdekit.flows.cnf import CNF
from pdekit.flows.fitting import FlowFit, fit_flow
from pdekit.flows.picture import density_in_plane
from pdekit.flows.planar import PlanarField
from pdekit.flows.structured import DivergenceFreeField, HamiltonianField
from pdekit.flows.toys import TOYS, toy
from pdekit.flows.transport import Passage

__all__ = [
    "CNF",
    "TOYS",
    "DivergenceFreeField",
    "FlowFit",
    "HamiltonianField",
    "ODEBlock",
    "Passage",
    "PlanarField",
    "density_in_plane",
    "fit_flow",
    "toy",
]
