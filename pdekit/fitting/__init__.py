"""From trajectories to a fitted SDE: transition densities, maximum likelihood, error bars and diagnostics."""

from pdekit.fitting.estimation import fit
from pdekit.fitting.result import Fit, Parameter

__all__ = ["Fit", "Parameter", "fit"]
