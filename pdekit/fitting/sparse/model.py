"""From chosen terms to a model with readable parameters."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sympy
import torch
from sympy import Expr, Symbol
from torch import Tensor

from pdekit.errors import PdekitError
from pdekit.fitting.sparse.terms import Terms
from pdekit.symbolic import SymbolicSDE
from pdekit.symbolic.parser import check_name
from pdekit.symbolic.printer import write_expression

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class Formula:
    """A model with starting values.

    Attributes:
        model: The SDE.
        start: A value of every parameter.
        drift_names: The parameter of every candidate of the drift, chosen or not, state by state.
        noise_names: The parameter of every candidate of the squared noise of every state.
    """

    model: SymbolicSDE
    start: dict[str, float]
    drift_names: tuple[tuple[str, ...], ...]
    noise_names: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Chosen:
    """Chosen terms with their coefficients.

    Attributes:
        drift: B, (p, d).
        active: Which of them are in the model, (p, d) bool.
        noise: C, (q, d), of the squared noise; (0, d) for a constant covariance.
        present: Which of them are in the model, (q, d) bool.
        covariance: The constant covariance, (d, d), or None.
    """

    drift: np.ndarray
    active: np.ndarray
    noise: np.ndarray
    present: np.ndarray
    covariance: np.ndarray | None = None


def write_model(chosen: Chosen, drift: Terms, noise: Terms, x: Tensor, *, simplify: bool = True) -> Formula:
    """The model of the chosen terms.

    Coefficients are called f_TERM in the drift, g2_TERM in the squared noise, with the state's name in between where
    there are several. A squared noise of a single term c psi is written g = s sqrt(psi).

    Args:
        chosen: The terms.
        drift: The drift's candidates.
        noise: The squared noise's candidates.
        x: The observed states, (n, d), at which squared noises are positive.
        simplify: Whether squared noises of a single term are written as above.
    """
    states = [str(s) for s in drift.state]
    names = _Names({*states, str(drift.time)})
    drift_names = tuple(names.of_terms("f", s, states, drift.expressions) for s in states)
    noise_names = tuple(names.of_terms("g2", s, states, noise.expressions) for s in states)
    params: dict[str, Bounds] = {}
    start: dict[str, float] = {}
    entries: list[Expr] = []
    for i in range(len(states)):
        kept = np.flatnonzero(chosen.active[:, i]).tolist()
        for k in kept:
            params[drift_names[i][k]], start[drift_names[i][k]] = (None, None), float(chosen.drift[k, i])
        entries.append(sympy.Add(*(Symbol(drift_names[i][k]) * drift.expressions[k] for k in kept)))
    if chosen.covariance is not None:
        diffusion = _triangle(chosen.covariance, states, names, params, start)
    else:
        diffusion = []
        for i, state in enumerate(states):
            one = names.fresh("s" if len(states) == 1 else f"s_{state}") if simplify else ""
            diffusion.append(_root(chosen, noise, i, noise_names[i], one, x, params, start))
    domain = _domain(chosen, drift, noise, x)
    model = SymbolicSDE(states, entries, diffusion, params, time=str(drift.time), domain=domain)
    return Formula(model, start, drift_names, noise_names)


def _root(
    chosen: Chosen,
    noise: Terms,
    i: int,
    names: Sequence[str],
    one: str,
    x: Tensor,
    params: dict[str, Bounds],
    start: dict[str, float],
) -> Expr:
    """g_i as a formula; its parameters are entered into `params` and `start`."""
    kept = np.flatnonzero(chosen.present[:, i]).tolist()
    values = chosen.noise[kept, i]
    if one and len(kept) == 1:
        params[one], start[one] = (0.0, None), float(np.sqrt(abs(values[0])))
        return Symbol(one, positive=True) * sympy.sqrt(float_sign(values[0]) * noise.expressions[kept[0]])
    columns = noise.value(0.0 if noise.autonomous else torch.zeros(len(x), 1).to(x), x)[:, kept]
    # Sums of positive parts cannot become negative while their coefficients are positive.
    sum_of_parts = bool((columns >= 0).all()) and bool((values > 0).all())
    for k, value in zip(kept, values, strict=True):
        params[names[k]] = (0.0, None) if sum_of_parts else (None, None)
        start[names[k]] = float(value)
    return sympy.sqrt(sympy.Add(*(Symbol(names[k], real=True) * noise.expressions[k] for k in kept)))


def float_sign(value: float) -> int:
    """-1 or 1."""
    return -1 if value < 0 else 1


def _triangle(
    covariance: np.ndarray,
    states: Sequence[str],
    names: "_Names",
    params: dict[str, Bounds],
    start: dict[str, float],
) -> list[list[Expr]]:
    """The lower triangular root of a constant covariance; its entries are parameters."""
    root = np.linalg.cholesky(covariance)
    rows: list[list[Expr]] = [[sympy.Integer(0)] * len(states) for _ in states]
    for i, a in enumerate(states):
        for j, b in enumerate(states[: i + 1]):
            name = names.fresh(f"s_{a}" if i == j else f"s_{a}_{b}")
            params[name], start[name] = ((0.0, None) if i == j else (None, None)), float(root[i, j])
            rows[i][j] = Symbol(name)
    return rows


class _Names:
    """Names of parameters that clash with nothing."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = set(taken)

    def fresh(self, wanted: str) -> str:
        """The name, with a number where it is taken."""
        name, number = wanted, 2
        while name in self._taken or not _allowed(name):
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        return name

    def of_terms(self, letter: str, state: str, states: Sequence[str], terms: Sequence[Expr]) -> tuple[str, ...]:
        """One name per term: f_x3 in one state, f_y__x_z for the term x*z of the equation of y."""
        head = letter if len(states) == 1 else f"{letter}_{state}_"
        return tuple(self.fresh(f"{head}_{_slug(term)}") for term in terms)


def _allowed(name: str) -> bool:
    try:
        return check_name(name, "parameter") == name
    except PdekitError:
        return False


def _slug(term: Expr) -> str:
    """Letters, digits and underscores that remind of a term: x**3 -> x3, x*y -> x_y, sin(2*x) -> sin_2_x."""
    text = write_expression(term).replace("**", "").replace("-", "m")
    return re.sub(r"\W+", "_", text).strip("_")[:40] or "term"


def _domain(chosen: Chosen, drift: Terms, noise: Terms, x: Tensor) -> list[Bounds] | None:
    """x_i > 0 (or < 0) where the data lie on one side of zero and the coefficients end there."""
    middle = x.median(0).values[None]
    ends: list[Bounds] = []
    for i in range(x.shape[1]):
        side = 1.0 if bool((x[:, i] > 0).all()) else -1.0 if bool((x[:, i] < 0).all()) else 0.0
        ends.append((None, None))
        if side:
            at = middle.repeat(2, 1)
            at[0, i], at[1, i] = 0.0, -1e-3 * middle[0, i]
            if _ends(chosen, drift, noise, i, at, middle):
                ends[-1] = (0.0, None) if side > 0 else (None, 0.0)
    return ends if any(e != (None, None) for e in ends) else None


def _ends(chosen: Chosen, drift: Terms, noise: Terms, i: int, at: Tensor, middle: Tensor) -> bool:
    """Whether at x_i = 0 or beyond a term of the model is not finite, or the squared noise of x_i not positive."""
    time = torch.zeros(len(at), 1).to(at)
    used = chosen.active.any(1)
    if not bool(torch.isfinite(drift.value(time, at)[:, torch.from_numpy(used)]).all()):
        return True
    if chosen.covariance is not None:
        return False
    columns = torch.from_numpy(chosen.present.any(1))
    values, usual = noise.value(time, at)[:, columns], noise.value(time[:1], middle)[:, columns]
    own = torch.from_numpy(np.where(chosen.present, chosen.noise, 0.0)[:, i])[columns]
    variance, typical = values @ own, usual @ own
    return not bool(torch.isfinite(values).all()) or bool((variance <= 1e-9 * typical).any())


__all__ = ["Chosen", "Formula", "write_model"]
