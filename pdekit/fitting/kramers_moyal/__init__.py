"""Kramers-Moyal estimates: drift and diffusion tensor as functions of the state, without a formula."""

from pdekit.fitting.kramers_moyal.estimation import estimate
from pdekit.fitting.kramers_moyal.model import KernelSDE
from pdekit.fitting.kramers_moyal.options import KramersMoyal

__all__ = ["KernelSDE", "KramersMoyal", "estimate"]
