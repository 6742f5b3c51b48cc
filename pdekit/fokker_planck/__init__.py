"""Fokker-Planck problems, their solvers, and the one-dimensional generator behind the likelihood."""

from pdekit.fokker_planck.auto import Auto
from pdekit.fokker_planck.closed_form import ClosedForm
from pdekit.fokker_planck.coordinate import LampertiCoordinate
from pdekit.fokker_planck.density import Density, Moments, Quadrature
from pdekit.fokker_planck.density_report import DensityReport
from pdekit.fokker_planck.generator import Chain, FiniteVolumeGrid
from pdekit.fokker_planck.grid.solver import Grid
from pdekit.fokker_planck.marginal import Marginal
from pdekit.fokker_planck.method import DensityMethod
from pdekit.fokker_planck.monte_carlo import MonteCarlo
from pdekit.fokker_planck.networks.flow import Flow
from pdekit.fokker_planck.networks.residual import Residual
from pdekit.fokker_planck.networks.score import Score
from pdekit.fokker_planck.problem import FokkerPlanckProblem
from pdekit.fokker_planck.proof import Proof
from pdekit.fokker_planck.solution import DensitySolution
from pdekit.fokker_planck.tabulated import TabulatedDensity
from pdekit.fokker_planck.transition import GridTransition
from pdekit.training import Training

__all__ = [
    "Auto",
    "Chain",
    "ClosedForm",
    "Density",
    "DensityMethod",
    "DensityReport",
    "DensitySolution",
    "FiniteVolumeGrid",
    "Flow",
    "FokkerPlanckProblem",
    "Grid",
    "GridTransition",
    "LampertiCoordinate",
    "Marginal",
    "Moments",
    "MonteCarlo",
    "Proof",
    "Quadrature",
    "Residual",
    "Score",
    "TabulatedDensity",
    "Training",
]
