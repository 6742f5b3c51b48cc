"""Flows: densities carried along by a velocity field, or through invertible layers, and what is built with them."""

from pdekit.flows.bijection import Bijection
from pdekit.flows.block import ODEBlock
from pdekit.flows.classifiers import CLASSIFIERS, ConvolutionField, ResidualBlock, image_classifier
from pdekit.flows.classifying import ClassifierFit, fit_classifier
from pdekit.flows.cnf import CNF
from pdekit.flows.continuous_layer import ContinuousFlow
from pdekit.flows.encoders import vae_networks
from pdekit.flows.fitting import FlowFit, fit_flow
from pdekit.flows.images import Images, digits, mnist, omniglot
from pdekit.flows.latent import LatentODE, SeriesRNN
from pdekit.flows.masked_layers import MaskedFlow
from pdekit.flows.normalizing import NormalizingFlow
from pdekit.flows.picture import density_in_plane
from pdekit.flows.planar import PlanarField
from pdekit.flows.posteriors import POSTERIORS, vae_with
from pdekit.flows.residual_layers import PlanarFlow, SylvesterFlow
from pdekit.flows.series import spirals
from pdekit.flows.structured import DivergenceFreeField, HamiltonianField
from pdekit.flows.tables import TABLES, Table, tabular
from pdekit.flows.toys import TOYS, toy
from pdekit.flows.transport import Passage
from pdekit.flows.vae import VAE
from pdekit.flows.vae_fitting import VAEFit, fit_vae

__all__ = [
    "CLASSIFIERS",
    "CNF",
    "POSTERIORS",
    "TABLES",
    "TOYS",
    "VAE",
    "Bijection",
    "ClassifierFit",
    "ContinuousFlow",
    "ConvolutionField",
    "DivergenceFreeField",
    "FlowFit",
    "HamiltonianField",
    "Images",
    "LatentODE",
    "MaskedFlow",
    "NormalizingFlow",
    "ODEBlock",
    "Passage",
    "PlanarField",
    "PlanarFlow",
    "ResidualBlock",
    "SeriesRNN",
    "SylvesterFlow",
    "Table",
    "VAEFit",
    "density_in_plane",
    "digits",
    "fit_classifier",
    "fit_flow",
    "fit_vae",
    "image_classifier",
    "mnist",
    "omniglot",
    "spirals",
    "tabular",
    "toy",
    "vae_networks",
    "vae_with",
]
