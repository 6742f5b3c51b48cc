"""Conditioners: networks whose feature h_i sees every entry of the state but x_i."""

from pdekit.nets.conditioners.attention import AttentionConditioner, AttentionConditionerModule
from pdekit.nets.conditioners.base import Conditioner, ConditionerOptions
from pdekit.nets.conditioners.convolution import ConvolutionConditioner, ConvolutionConditionerModule
from pdekit.nets.conditioners.masked import MaskedConditioner, MaskedConditionerModule
from pdekit.nets.conditioners.pooling import PoolingConditioner, PoolingConditionerModule
from pdekit.nets.conditioners.scan import ScanConditioner, ScanConditionerModule
from pdekit.nets.conditioners.two_stream import HollowTransformerConditioner, HollowTransformerConditionerModule

__all__ = [
    "AttentionConditioner",
    "AttentionConditionerModule",
    "Conditioner",
    "ConditionerOptions",
    "ConvolutionConditioner",
    "ConvolutionConditionerModule",
    "HollowTransformerConditioner",
    "HollowTransformerConditionerModule",
    "MaskedConditioner",
    "MaskedConditionerModule",
    "PoolingConditioner",
    "PoolingConditionerModule",
    "ScanConditioner",
    "ScanConditionerModule",
]
