"""Conditioners: networks whose feature h_i sees every entry of the state but x_i."""

from pdekit.nets.conditioners.base import Conditioner, ConditionerOptions
from pdekit.nets.conditioners.masked import MaskedConditioner, MaskedConditionerModule

__all__ = ["Conditioner", "ConditionerOptions", "MaskedConditioner", "MaskedConditionerModule"]
