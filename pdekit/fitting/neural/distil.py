"""From learned functions to a formula: the fewest terms that stand for them within their own errors.

The learned drift f replaces the increments: with weights T_m = (observed time per state) the log-likelihood of a drift
sum_k b_k phi_k is, up to a constant, -1/2 sum_m T_m sum_i (f_i - sum_k b_ik phi_k)^2 / (G G^T)_ii, which the data's own
would be if f were their weighted mean. Terms are kept where they gain more than their price, as in `SparseSDE`. The
squared noise is treated likewise. Because a learned function is smoothed, its formula is one to start from:
`pk.fit` of it gives the coefficients that the data make likeliest, with their errors.
"""

import numpy as np
import torch
from sympy import Symbol

from pdekit.errors import InputError
from pdekit.fitting.neural.sampled import SampledSDE
from pdekit.fitting.sparse.library import Library
from pdekit.fitting.sparse.model import Chosen, write_model
from pdekit.fitting.sparse.names import state_names
from pdekit.fitting.sparse.noise import choose_noise
from pdekit.fitting.sparse.options import SparseSDE
from pdekit.fitting.sparse.subsets import Quadratic, best_subset
from pdekit.fitting.sparse.terms import Terms, check_finite, independent
from pdekit.symbolic import SymbolicSDE


def distil(model: SampledSDE, library: Library | None = None) -> SymbolicSDE:
    """The formula of a learned SDE.

    Args:
        model: What was learned.
        library: Candidates for the drift, and for the squared noise; by default as in `SparseSDE`. Correlated noise
            becomes a constant covariance, its mean over the observed states.

    Raises:
        InputError: If `library` is no Library, or no candidate can be a variance.
        ExpressionError: If a candidate does not read as a formula in the states.
        DataError: If a candidate is not finite at an observed state.
    """
    if library is not None and not isinstance(library, Library):
        raise InputError(f"A Library was expected, such as Library.polynomial(3); got {type(library).__name__}.")
    options = SparseSDE(drift=library, diffusion=library)
    names = state_names(model.state_names)
    clock = Symbol("t" if "t" not in names else "time" if "time" not in names else "t_", real=True)
    states = [Symbol(name, real=True) for name in names]
    drift = _usable(model, Terms(options.drift_library(model.dim).bind(names, str(clock)), states, clock), "drift")
    candidates = options.diffusion_library(model.dim) if model.diagonal else Library.polynomial(0)
    noise = _usable(model, Terms(candidates.bind(names, str(clock)), states, clock), "diffusion")
    with torch.no_grad():
        f, g = model.drift(model.times, model.states), model.noise(model.times, model.states)
    tensor = g @ g.mT
    squares = tensor.diagonal(dim1=-2, dim2=-1).numpy()
    coefficients, active = _drift(model, drift, f.numpy(), squares, options)
    empty = np.zeros((len(noise), model.dim))
    if model.diagonal:
        found, present = _noise(model, noise, squares, options)
        chosen = Chosen(coefficients, active, found, present)
    else:
        chosen = Chosen(coefficients, active, empty, empty.astype(bool), tensor.mean(0).numpy())
    formula = write_model(chosen, drift, noise, model.states)
    return SymbolicSDE.from_dict({**formula.model.to_dict(), "defaults": formula.start})


def _usable(model: SampledSDE, terms: Terms, what: str) -> Terms:
    check_finite(terms, model.times, model.states, what)
    return terms.only(independent(terms, model.times, model.states))


def _drift(
    model: SampledSDE, terms: Terms, f: np.ndarray, squares: np.ndarray, options: SparseSDE
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (p, d), and which of them are kept."""
    columns = terms.value(model.times, model.states).numpy()
    n = round(model.weight[1] * len(columns))
    prices = options.prices(len(terms), n)
    coefficients, active = np.zeros((len(terms), model.dim)), np.zeros((len(terms), model.dim), dtype=bool)
    for i in range(model.dim):
        weighted = columns * (model.weight[0] / squares[:, i])[:, None]
        quadratic = Quadratic(weighted.T @ f[:, i], weighted.T @ columns, prices)
        kept = best_subset(quadratic)
        if kept is not None:
            active[:, i], coefficients[:, i] = kept, quadratic.coefficients(kept)
    return coefficients, active


def _noise(model: SampledSDE, terms: Terms, squares: np.ndarray, options: SparseSDE) -> tuple[np.ndarray, np.ndarray]:
    columns = terms.value(model.times, model.states).numpy()
    # Each state stands for several transitions; the price is divided instead of repeating the state.
    prices = options.prices(len(terms), round(model.weight[1] * len(columns))) / model.weight[1]
    choices = [
        choose_noise(columns, squares[:, i], prices, f"squared noise of {name}", seed=0)
        for i, name in enumerate(model.state_names)
    ]
    return np.column_stack([c.coefficients for c in choices]), np.column_stack([c.chosen for c in choices])


__all__ = ["distil"]
