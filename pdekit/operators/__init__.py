"""Differential operators on any callable: transforms that take a function and return one of the same arguments."""

from pdekit.operators.convention import ito_drift, to_ito
from pdekit.operators.equations import (
    fokker_planck_operator,
    fokker_planck_residual,
    generator,
    log_fokker_planck_operator,
    probability_current,
    probability_flow,
)
from pdekit.operators.first_order import dimwise_derivative, dimwise_jet, divergence, jacobian_diagonal
from pdekit.operators.methods import Compressed, Dense, Exact, Hollow, Hutchinson, Within
from pdekit.operators.result import OperatorResult, Plan
from pdekit.operators.second_order import biharmonic, laplacian, second_order_operator

__all__ = [
    "Compressed",
    "Dense",
    "Exact",
    "Hollow",
    "Hutchinson",
    "OperatorResult",
    "Plan",
    "Within",
    "biharmonic",
    "dimwise_derivative",
    "dimwise_jet",
    "divergence",
    "fokker_planck_operator",
    "fokker_planck_residual",
    "generator",
    "ito_drift",
    "jacobian_diagonal",
    "laplacian",
    "log_fokker_planck_operator",
    "probability_current",
    "probability_flow",
    "second_order_operator",
    "to_ito",
]
