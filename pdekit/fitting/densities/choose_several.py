"""Which density serves several states, or coefficients that depend on time: found by a check at the data's steps."""

from collections.abc import Callable

from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fitting.densities.euler import EulerTransition
from pdekit.fitting.densities.gaussian import GaussianTransition
from pdekit.fitting.densities.kessler import KesslerTransition
from pdekit.fitting.densities.local_linear import LocalLinearTransition
from pdekit.fitting.densities.step_bias import FineSteps, StepBias
from pdekit.symbolic import SymbolicSDE

NEGLIGIBLE = 0.2  # standard errors
_HUGE = 1000.0

# From cheap to dear.
_CANDIDATES: dict[str, Callable[[SymbolicSDE, Pairs], GaussianTransition]] = {
    "Euler": EulerTransition,
    "Shoji-Ozaki": LocalLinearTransition,
    "Kessler": KesslerTransition,
}


def choose_several(
    model: SymbolicSDE, pairs: Pairs, theta: Tensor, seed: int = 0, free: Tensor | None = None
) -> tuple[GaussianTransition, str]:
    """The cheapest density whose bias at these steps is negligible, otherwise the least biased one.

    Args:
        model: The SDE.
        pairs: The observations.
        theta: Parameters near the estimate, (k,), at which the check is made; see `FineSteps`.
        seed: Of the check's simulation. The same arguments give the same answer.
        free: Which parameters are estimated, (k,) bool; by default all.

    Returns:
        The density, whose `route` ends with the reason, and the reason.

    Raises:
        UnsupportedError: If no density can serve the model.

    Example:
        >>> import pdekit as pk
        >>> model = pk.models.linear_2d()
        >>> data = pk.Trajectories.from_arrays([0.0, 1.0, 2.0], [[0.0, 0.0], [0.3, -0.2], [0.1, 0.2]])
        >>> density, reason = choose_several(model, data.pairs(), model.theta(model.defaults))
        >>> reason
        'exact for this model'
    """
    linear = _built(LocalLinearTransition, model, pairs)
    if isinstance(linear, LocalLinearTransition) and linear.exact:
        return _because(linear, "exact for this model")
    able = {name: build for name, build in _CANDIDATES.items() if _built(build, model, pairs) is not None}
    if not able:
        raise UnsupportedError(
            f"No transition density serves {model.name or 'this model'}: the noise does not reach every state, or the "
            "drift has no derivatives. Give every state noise of its own."
        )
    if len(able) == 1 or (free is not None and not bool(free.any())):
        # Kessler's covariance may fail to be positive: it is not taken unseen.
        name = "Shoji-Ozaki" if "Shoji-Ozaki" in able else next(iter(able))
        why = f"{name} alone has a density for this model" if len(able) == 1 else "nothing is estimated"
        return _because(able[name](model, pairs), why)
    try:
        steps = FineSteps(model, pairs, theta, seed, free)
    except NumericalError as error:
        name = "Shoji-Ozaki" if "Shoji-Ozaki" in able else next(iter(able))
        return _because(able[name](model, pairs), f"its bias could not be checked: {error}")
    found: dict[str, StepBias] = {}
    for name, build in able.items():
        bias = _bias(steps, build(model, steps.pairs))
        if bias is None:
            continue
        found[name] = bias
        if bias.size <= NEGLIGIBLE + 2.0 * bias.noise:
            break
    if not found:
        name = next(iter(able))
        return _because(
            able[name](model, pairs), "no density is positive at steps as long as these; sample more finely"
        )
    best = min(found, key=lambda name: found[name].size) if _none_is_good(found) else list(found)[-1]
    return _because(able[best](model, pairs), _reason(best, found))


def _built(
    build: Callable[[SymbolicSDE, Pairs], GaussianTransition], model: SymbolicSDE, pairs: Pairs
) -> GaussianTransition | None:
    try:
        return build(model, pairs)
    except UnsupportedError:
        return None


def _bias(steps: FineSteps, density: GaussianTransition) -> StepBias | None:
    try:
        return steps.bias(density)
    except NumericalError:
        return None


def _none_is_good(found: dict[str, StepBias]) -> bool:
    last = list(found.values())[-1]
    return last.size > NEGLIGIBLE + 2.0 * last.noise


def _reason(best: str, found: dict[str, StepBias]) -> str:
    """In words: what it costs, and what the cheaper ones would."""
    own = found[best]
    text = f"off by {_size(own)} standard errors at most, in {own.parameter}"
    others = [f"{name} by {_size(bias)}" for name, bias in found.items() if name != best]
    return f"{text}; {', '.join(others)}" if others else text


def _size(bias: StepBias) -> str:
    return f"more than {_HUGE:g}" if not bias.size <= _HUGE else f"{bias.size:.2g}"


def _because(density: GaussianTransition, reason: str) -> tuple[GaussianTransition, str]:
    density.route = f"{density.route}: {reason}"
    return density, reason
