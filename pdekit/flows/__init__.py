"""Flows: densities carried along by a velocity field, or through invertible layers, and what is built with them."""

from pdekit.flows.bijection import Bijection
from pdekit.flows.block import ODEBlock
from pdekit.flows.cnf import CNF
from pdekit.flows.continuous_layer import ContinuousFlow
from pdekit.flows.fitting import FlowFit, fit_flow
from pdekit.flows.images import Images, digits, mnist, omniglot
from pdekit.flows.masked_layers import MaskedFlow
from pdekit.flows.normalizing import NormalizingFlow
from pdekit.flows.picture import density_in_plane
from pdekit.flows.planar import PlanarField
from pdekit.flows.residual_layers import PlanarFlow, SylvesterFlow
from pdekit.flows.structured import DivergenceFreeField, HamiltonianField
from pdekit.flows.toys import TOYS, toy
from pdekit.flows.transport import Passage
from pdekit.flows.vae import VAE
from pdekit.flows.vae_fitting import VAEFit, fit_vae
from pdekit.flows.vae_networks import vae_networks

__all__ = [
    "CNF",
    "TOYS",
    "VAE",
    "Bijection",
    "ContinuousFlow",
    "DivergenceFreeField",
    "FlowFit",
    "HamiltonianField",
    "Images",
    "MaskedFlow",
    "NormalizingFlow",
    "ODEBlock",
    "Passage",
    "PlanarField",
    "PlanarFlow",
    "SylvesterFlow",
    "VAEFit",
    "density_in_plane",
    "digits",
    "fit_flow",
    "fit_vae",
    "mnist",
    "omniglot",
    "toy",
    "vae_networks",
]
