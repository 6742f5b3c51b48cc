"""Neural networks as fields: hollow networks, whose dimension-wise derivatives are cheap, and plain ones."""

from pdekit.nets.activation import Activation
from pdekit.nets.conditioners import (
    AttentionConditioner,
    Conditioner,
    ConditionerOptions,
    ConvolutionConditioner,
    HollowTransformerConditioner,
    MaskedConditioner,
    MaskedConditionerModule,
    PoolingConditioner,
    ScanConditioner,
)
from pdekit.nets.field import Field
from pdekit.nets.hollow import HollowField, HollowNet
from pdekit.nets.modulation import Modulation
from pdekit.nets.plain import MLP, ConcatSquashMLP
from pdekit.nets.transformer import MLPTransformer, MLPTransformerModule

__all__ = [
    "HollowNet",
    "HollowField",
    "MaskedConditioner",
    "AttentionConditioner",
    "ConvolutionConditioner",
    "HollowTransformerConditioner",
    "PoolingConditioner",
    "ScanConditioner",
    "MaskedConditionerModule",
    "MLPTransformer",
    "MLPTransformerModule",
    "Conditioner",
    "ConditionerOptions",
    "MLP",
    "ConcatSquashMLP",
    "Field",
    "Activation",
    "Modulation",
]
