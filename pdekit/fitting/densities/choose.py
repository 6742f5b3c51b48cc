"""Which transition density serves which pairs."""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import InputError, UnsupportedError
from pdekit.fitting.coefficients import Model
from pdekit.fitting.densities.ait_sahalia import AitSahaliaTransition
from pdekit.fitting.densities.bridge import BridgeExpressions, BridgeTransition
from pdekit.fitting.densities.choose_several import choose_several
from pdekit.fitting.densities.closed_form import closed_form
from pdekit.fitting.densities.cubature import CubatureTransition
from pdekit.fitting.densities.euler import EulerTransition
from pdekit.fitting.densities.grid import MOST_CELLS, FokkerPlanckTransition, wanted_cells
from pdekit.fitting.densities.kessler import KesslerTransition
from pdekit.fitting.densities.local_linear import LocalLinearTransition
from pdekit.fitting.densities.plane import PlaneTransition
from pdekit.fitting.densities.protocol import MixedTransition, TransitionDensity, select_pairs
from pdekit.fitting.learned import LearnedSDE
from pdekit.fokker_planck.coordinate import LampertiCoordinate
from pdekit.symbolic import SymbolicSDE

Method = Literal[
    "auto", "closed-form", "fokker-planck", "bridge", "euler", "kessler", "ozaki", "shoji-ozaki", "ait-sahalia"
]

# Densities that need neither a grid nor parameters to be laid out for.
EXPANSIONS: dict[str, Callable[[SymbolicSDE, Pairs], TransitionDensity]] = {
    "euler": EulerTransition,
    "kessler": KesslerTransition,
    "ozaki": partial(LocalLinearTransition, curved=False),
    "shoji-ozaki": LocalLinearTransition,
    "ait-sahalia": AitSahaliaTransition,
}
# A grid of this size costs less than deriving the bridge; above it short steps are worth a kernel of their own.
_CHEAP_CELLS = 240
# Where the bridge was measured to be right: dt |mu'| small, singular boundaries at least four one-step deviations away.
_SHORT = 0.2
_CLEARANCE = 4.0


def transition_density(
    model: Model, pairs: Pairs, theta: Tensor, method: Method = "auto", *, free: Tensor | None = None
) -> TransitionDensity:
    """The density of these pairs under `model`, good for parameters near `theta`.

    `"auto"` takes a closed form where the model has one; for one state the Fokker-Planck grid, with the bridge for
    steps so short that the grid would need many cells; for several states, or coefficients that depend on time, what
    `choose_several` finds by a check, seeded, so that the same arguments give the same density. A learned SDE, which
    has no formulas, is served by the grid or by a normal law with integrated moments; its
    theta is empty, (0,).

    Args:
        model: The SDE.
        pairs: The observations.
        theta: All parameters, (k,).
        method: See above.
        free: Which parameters are estimated, (k,) bool, by default all: those are what `"auto"` must not move.

    Raises:
        InputError: If the method is unknown.
        UnsupportedError: If the method can't serve the model.
    """
    if method not in get_args(Method):
        raise InputError(f"method must be one of {', '.join(get_args(Method))}; got {method!r}.")
    scalar = model.dim == 1 and model.autonomous and model.noise_dim == 1
    if not isinstance(model, SymbolicSDE):
        return _learned(model, pairs, theta, method, scalar)
    if method in ("auto", "closed-form"):
        exact = closed_form(model, pairs)
        if exact is not None:
            return exact
        if method == "closed-form":
            raise UnsupportedError(
                f"No closed-form transition density is known for {model.name or 'this model'}; use method='auto'."
            )
    if method in EXPANSIONS:
        return EXPANSIONS[method](model, pairs)
    if method == "auto" and not scalar:
        return choose_several(model, pairs, theta, free=free)[0]
    if method == "fokker-planck" and model.dim == 2 and model.autonomous:
        return PlaneTransition.lay(model, pairs, theta)
    if not scalar:
        raise UnsupportedError(f"method={method!r} needs one state, one noise and no dependence on time; use 'euler'.")
    if method == "bridge":
        return _bridge_alone(model, pairs, theta)
    if method == "fokker-planck" or wanted_cells(model, pairs, theta) <= _CHEAP_CELLS:
        return FokkerPlanckTransition.lay(model, pairs, theta)
    return _short_steps_by_bridge(model, pairs, theta)


def resolved(density: TransitionDensity, method: str) -> str:
    """The method by which the very density is found again: the one that was chosen, where a check chose it."""
    if method != "auto":
        return method
    if isinstance(density, LocalLinearTransition):
        return "shoji-ozaki" if density.curved else "ozaki"
    if isinstance(density, KesslerTransition):
        return "kessler"
    return "euler" if isinstance(density, EulerTransition) else method


def _learned(model: LearnedSDE, pairs: Pairs, theta: Tensor, method: Method, scalar: bool) -> TransitionDensity:
    if method not in ("auto", "euler", "fokker-planck"):
        raise UnsupportedError(
            f"method={method!r} needs formulas; a learned SDE takes 'auto', 'fokker-planck', 'euler'."
        )
    if method == "euler":
        return EulerTransition(model, pairs)
    if method == "fokker-planck" and not scalar:
        raise UnsupportedError("method='fokker-planck' needs one state and no dependence on time; use 'auto'.")
    # Two grids resolve twice as short a step as one. What is shorter is normal, nearly, and too much for any grid.
    if method == "auto" and not (scalar and wanted_cells(model, pairs, theta) <= 2 * MOST_CELLS):
        return CubatureTransition(model, pairs)
    return FokkerPlanckTransition.lay(model, pairs, theta, extrapolate=True)


def _bridge_alone(model: SymbolicSDE, pairs: Pairs, theta: Tensor) -> TransitionDensity:
    expressions = BridgeExpressions.of(model)
    far = int((~_is_short(model, pairs, theta, expressions)).sum())
    if far:
        raise UnsupportedError(
            f"The bridge does not hold for {far} of {len(pairs)} steps: they are too long for it (dt |mu'| above "
            f"{_SHORT:g}) or too near a boundary. Use method='auto', which takes the Fokker-Planck grid for those."
        )
    return BridgeTransition(model, pairs, expressions=expressions)


def _short_steps_by_bridge(model: SymbolicSDE, pairs: Pairs, theta: Tensor) -> TransitionDensity:
    expressions = BridgeExpressions.of(model)
    short = _is_short(model, pairs, theta, expressions)
    if bool(short.all()):
        return BridgeTransition(model, pairs, expressions=expressions)
    if not bool(short.any()):
        return FokkerPlanckTransition.lay(model, pairs, theta)
    near, far = short.nonzero().flatten(), (~short).nonzero().flatten()
    return MixedTransition(
        [
            (near, BridgeTransition(model, select_pairs(pairs, near), expressions=expressions)),
            (far, FokkerPlanckTransition.lay(model, select_pairs(pairs, far), theta)),
        ]
    )


def _is_short(model: SymbolicSDE, pairs: Pairs, theta: Tensor, expressions: BridgeExpressions) -> Tensor:
    """Which steps the bridge may serve, (n,) bool."""
    with torch.no_grad():
        steepness = model.function(expressions.steepness)
        noise = model.function(expressions.noise)
        bend = torch.maximum(steepness(0.0, pairs.x0, theta).abs(), steepness(0.0, pairs.x1, theta).abs())
        ends = torch.stack([pairs.x0[:, 0], pairs.x1[:, 0]])
        clearance = _CLEARANCE * torch.sqrt(pairs.dt)
        coordinate = LampertiCoordinate(
            lambda x: noise(0.0, x[:, None], theta),
            model.domain[0],
            (float(ends.min()), float(ends.max())),
            float(clearance.max()),
        )
        y = coordinate.to_y(ends.flatten()).view_as(ends)
        short = bend * pairs.dt <= _SHORT
        if coordinate.lower is not None:
            short &= y.amin(0) - coordinate.lower >= clearance
        if coordinate.upper is not None:
            short &= coordinate.upper - y.amax(0) >= clearance
        return short
