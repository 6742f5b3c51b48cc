"""Stochastic differential equations and Fokker-Planck problems in PyTorch.

This file is the public map. A name is imported from the module that defines it when it is first used, so that
`import pdekit` itself loads neither PyTorch nor SymPy and changes no global state.

Example:
    >>> import pdekit as pk
    >>> pk.models.ckls().state
    (r,)
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pdekit import errors, flows, nets, ode, operators, simulation, testing
    from pdekit.data import Snapshots, Trajectories
    from pdekit.fitting import (
        Comparison,
        Fit,
        KramersMoyal,
        Library,
        NeuralSDE,
        Observation,
        SnapshotMatching,
        SparseSDE,
        TransitionStream,
        compare,
        fit,
    )
    from pdekit.fokker_planck import (
        Auto,
        ClosedForm,
        Flow,
        FokkerPlanckProblem,
        Grid,
        MonteCarlo,
        Residual,
        Score,
        Training,
    )
    from pdekit.ode import odeint
    from pdekit.operators import (
        Compressed,
        Dense,
        Exact,
        Hollow,
        Hutchinson,
        OperatorResult,
        Within,
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
    )
    from pdekit.sde import SDE
    from pdekit.simulation import Simulation, simulate
    from pdekit.symbolic import SymbolicSDE, models

__version__ = _version("pdekit")

__all__ = [
    "SDE",
    "SymbolicSDE",
    "models",
    "Trajectories",
    "Snapshots",
    "fit",
    "Fit",
    "Observation",
    "KramersMoyal",
    "SparseSDE",
    "Library",
    "NeuralSDE",
    "SnapshotMatching",
    "TransitionStream",
    "compare",
    "Comparison",
    "simulate",
    "Simulation",
    "simulation",
    "odeint",
    "ode",
    "ito_drift",
    "dimwise_derivative",
    "dimwise_jet",
    "jacobian_diagonal",
    "divergence",
    "laplacian",
    "biharmonic",
    "second_order_operator",
    "generator",
    "fokker_planck_operator",
    "log_fokker_planck_operator",
    "fokker_planck_residual",
    "probability_current",
    "probability_flow",
    "Exact",
    "Hollow",
    "Compressed",
    "Dense",
    "Hutchinson",
    "Within",
    "OperatorResult",
    "operators",
    "FokkerPlanckProblem",
    "Auto",
    "Grid",
    "ClosedForm",
    "MonteCarlo",
    "Score",
    "Residual",
    "Flow",
    "Training",
    "flows",
    "nets",
    "testing",
    "errors",
]

# Where each name lives: a module that defines it, or, for a module, itself.
_HOME = {
    "SDE": "pdekit.sde",
    "SymbolicSDE": "pdekit.symbolic",
    "models": "pdekit.symbolic.models",
    "Trajectories": "pdekit.data",
    "Snapshots": "pdekit.data",
    "fit": "pdekit.fitting",
    "Fit": "pdekit.fitting",
    "Observation": "pdekit.fitting",
    "KramersMoyal": "pdekit.fitting",
    "SparseSDE": "pdekit.fitting",
    "Library": "pdekit.fitting",
    "NeuralSDE": "pdekit.fitting",
    "SnapshotMatching": "pdekit.fitting",
    "TransitionStream": "pdekit.fitting",
    "compare": "pdekit.fitting",
    "Comparison": "pdekit.fitting",
    "simulate": "pdekit.simulation",
    "Simulation": "pdekit.simulation",
    "simulation": "pdekit.simulation",
    "odeint": "pdekit.ode",
    "ode": "pdekit.ode",
    "ito_drift": "pdekit.operators",
    "dimwise_derivative": "pdekit.operators",
    "dimwise_jet": "pdekit.operators",
    "jacobian_diagonal": "pdekit.operators",
    "divergence": "pdekit.operators",
    "laplacian": "pdekit.operators",
    "biharmonic": "pdekit.operators",
    "second_order_operator": "pdekit.operators",
    "generator": "pdekit.operators",
    "fokker_planck_operator": "pdekit.operators",
    "log_fokker_planck_operator": "pdekit.operators",
    "fokker_planck_residual": "pdekit.operators",
    "probability_current": "pdekit.operators",
    "probability_flow": "pdekit.operators",
    "Exact": "pdekit.operators",
    "Hollow": "pdekit.operators",
    "Compressed": "pdekit.operators",
    "Dense": "pdekit.operators",
    "Hutchinson": "pdekit.operators",
    "Within": "pdekit.operators",
    "OperatorResult": "pdekit.operators",
    "operators": "pdekit.operators",
    "FokkerPlanckProblem": "pdekit.fokker_planck",
    "Auto": "pdekit.fokker_planck",
    "Grid": "pdekit.fokker_planck",
    "ClosedForm": "pdekit.fokker_planck",
    "MonteCarlo": "pdekit.fokker_planck",
    "Score": "pdekit.fokker_planck",
    "Residual": "pdekit.fokker_planck",
    "Flow": "pdekit.fokker_planck",
    "Training": "pdekit.fokker_planck",
    "flows": "pdekit.flows",
    "nets": "pdekit.nets",
    "testing": "pdekit.testing",
    "errors": "pdekit.errors",
}


def __getattr__(name: str) -> Any:
    """Imports a public name on first use (PEP 562) and keeps it."""
    if name not in _HOME:
        raise AttributeError(f"module 'pdekit' has no attribute {name!r}; its public names are {', '.join(__all__)}")
    home = import_module(_HOME[name])
    value = home if home.__name__.endswith(f".{name}") else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted([*__all__, "__version__"])
