"""A kit to prove operators, nets, densities and SDEs: SymPy states the truth, Hypothesis looks for where it fails.

Needs Hypothesis: `pip install pdekit[testing]`. Start with `check_operator`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pdekit.testing.comparison import DEFAULT_LIMIT, CheckFailure, Comparison
from pdekit.testing.density_check import DensityReport, check_density
from pdekit.testing.gradient_check import check_gradients
from pdekit.testing.hollow_check import check_hollow
from pdekit.testing.operator_check import check_operator
from pdekit.testing.reference import ReferenceTransition, reference_transition
from pdekit.testing.row_check import check_rowwise
from pdekit.testing.sde_check import check_sde
from pdekit.testing.specifications import (
    Specification,
    Trial,
    biharmonic,
    dimwise_derivative,
    dimwise_jet,
    divergence,
    fokker_planck_operator,
    fokker_planck_residual,
    generator,
    ito_drift,
    jacobian_diagonal,
    laplacian,
    log_fokker_planck_operator,
    probability_current,
    probability_flow,
    second_order_operator,
    vector_laplacian,
)
from pdekit.testing.stating import coefficients, equation, hollow, layered, network, scalar, vector
from pdekit.testing.transition_check import TransitionReport, check_transition

if TYPE_CHECKING:
    from pdekit.testing import strategies

__all__ = [
    "check_operator",
    "check_hollow",
    "check_rowwise",
    "check_gradients",
    "check_density",
    "check_transition",
    "check_sde",
    "CheckFailure",
    "Comparison",
    "DEFAULT_LIMIT",
    "DensityReport",
    "TransitionReport",
    "ReferenceTransition",
    "reference_transition",
    "strategies",
    "Specification",
    "Trial",
    "vector",
    "scalar",
    "layered",
    "network",
    "hollow",
    "equation",
    "coefficients",
    "divergence",
    "jacobian_diagonal",
    "dimwise_derivative",
    "dimwise_jet",
    "laplacian",
    "vector_laplacian",
    "biharmonic",
    "second_order_operator",
    "generator",
    "fokker_planck_operator",
    "log_fokker_planck_operator",
    "fokker_planck_residual",
    "probability_current",
    "probability_flow",
    "ito_drift",
]


def __getattr__(name: str) -> Any:
    """The strategies, which need Hypothesis, are imported when they are asked for."""
    if name == "strategies":
        return import_module("pdekit.testing.strategies")
    raise AttributeError(f"module 'pdekit.testing' has no attribute {name!r}")
