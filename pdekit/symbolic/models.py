"""The catalogue of named models: `pk.models.ckls()`, `pk.models.get("double-well")`.

Each is an ordinary `SymbolicSDE` with its domain, the behavior of its boundaries, example values (`defaults`) and,
where they exist, closed forms (`closed_forms`).
"""

import difflib
from collections.abc import Callable

from pdekit.errors import ModelError
from pdekit.symbolic.model import SymbolicSDE
from pdekit.symbolic.scalar_models import (
    bistable,
    brownian_motion,
    cir,
    ckls,
    cubic_multiplicative,
    double_well,
    geometric_brownian_motion,
    gompertz,
    jacobi,
    logistic,
    ornstein_uhlenbeck,
    radial_ornstein_uhlenbeck,
    sis,
    stochastic_pitchfork,
    stochastic_resonance,
    student,
    vasicek,
)
from pdekit.symbolic.vector_models import (
    damped_oscillator,
    fitzhugh_nagumo,
    heston,
    hopf,
    kramers,
    linear_2d,
    lorenz63,
    lotka_volterra,
    van_der_pol,
)

_MODELS: tuple[Callable[[], SymbolicSDE], ...] = (
    *(brownian_motion, ornstein_uhlenbeck, cir, ckls, geometric_brownian_motion, double_well, bistable),
    *(cubic_multiplicative, logistic, gompertz, jacobi, radial_ornstein_uhlenbeck, student, sis),
    *(stochastic_pitchfork, stochastic_resonance),
    *(kramers, damped_oscillator, linear_2d, hopf, fitzhugh_nagumo, van_der_pol, lotka_volterra, heston, lorenz63),
)
_ALIASES = {"ou": "ornstein_uhlenbeck", "vasicek": "ornstein_uhlenbeck", "gbm": "geometric_brownian_motion"}

__all__ = ["catalogue", "get", "vasicek", *(model.__name__ for model in _MODELS)]  # pyright: ignore


def catalogue() -> dict[str, Callable[[], SymbolicSDE]]:
    """Every named model: its name and the function that builds it.

    Example:
        >>> list(catalogue())[:3]
        ['brownian_motion', 'ornstein_uhlenbeck', 'cir']
    """
    return {model.__name__: model for model in _MODELS}


def get(name: str) -> SymbolicSDE:
    """Builds a model by its name; `-` and `_` and upper and lower case are alike. `ou`, `vasicek`, `gbm` work too.

    Raises:
        ModelError: If there is no such model; the message names those that there are.

    Example:
        >>> get("double-well").drift
        (a*x - b*x**3,)
    """
    models = catalogue()
    key = str(name).strip().lower().replace("-", "_").replace(" ", "_")
    key = _ALIASES.get(key, key)
    if key not in models:
        close = difflib.get_close_matches(key, [*models, *_ALIASES], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ModelError(f"Unknown model {name!r}.{hint} Known models: {', '.join(models)}.")
    return models[key]()
