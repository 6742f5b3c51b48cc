"""Public operators of an SDE: generator, Fokker-Planck operator and residual, probability current and flow."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from pdekit.errors import OperatorError
from pdekit.operators.call import Call, check_vector
from pdekit.operators.coefficients import Coefficients, coefficients
from pdekit.operators.convention import check_sde
from pdekit.operators.diagonal import diagonal_jet
from pdekit.operators.gradient import gradient, time_derivative
from pdekit.operators.methods import Compressed, Dense, Exact, Hollow, Hutchinson, Method, Within, check_method
from pdekit.operators.operator import Operator, exact_result
from pdekit.operators.result import OperatorResult, Plan
from pdekit.operators.second import second_order
from pdekit.operators.second_order import apply_second_order
from pdekit.operators.stochastic import along
from pdekit.sde import SDE

_EXACT = (Exact, Compressed, Dense)
_OF_SCORE = (Exact, Hollow, Dense)
_ANY = (Exact, Compressed, Dense, Hutchinson, Within)
Score = Callable[..., Any] | None


def generator(u: Callable[..., Any], sde: SDE, method: Method = Exact(), *, full_output: bool = False) -> Operator:
    """The generator L u = F.grad u + tr(D hess u) of an SDE, the Kolmogorov backward operator; D = G G^T / 2.

    A Stratonovich SDE is converted to Ito first: F is its Ito drift.

    Args:
        u: u(x) or u(t, x), (*batch, d) -> (*batch,) or (*batch, k).
        sde: The equation.
        method: Any method of `laplacian`.
        full_output: Whether calls return an `OperatorResult`.

    Returns:
        A function (t, x) -> what u returns.

    Source: B. Oksendal, Stochastic Differential Equations, 6th ed., section 7.3.

    Example:
        The generator of geometric Brownian motion on u = x^2 is (2 mu + sigma^2) x^2:

        >>> import torch
        >>> from pdekit.sde import SDE
        >>> sde = SDE(lambda t, x: 0.5 * x, lambda t, x: 2.0 * x, dim=1)
        >>> round(float(generator(lambda x: (x**2).sum(-1), sde)(0.0, torch.tensor([3.0]))), 4)
        45.0
    """
    check_method(method, "generator", _ANY)

    def compute(call: Call) -> OperatorResult:
        c = coefficients(sde, call, divergences=0)
        return apply_second_order(_timed(call), c.spread, c.drift, method)

    return _EquationOperator("generator", u, sde, compute, full_output)


def fokker_planck_operator(
    p: Callable[..., Any], sde: SDE, method: Method = Exact(), *, full_output: bool = False
) -> Operator:
    """The Fokker-Planck operator L* p = -div(F p) + sum_ij d_i d_j (D_ij p), the Kolmogorov forward operator.

    Args:
        p: The density p(x) or p(t, x), (*batch, d) -> (*batch,); it need not be normalised.
        sde: The equation, Ito or Stratonovich.
        method: Any method of `laplacian`; it concerns p, the coefficients are always exact.
        full_output: Whether calls return an `OperatorResult`.

    Returns:
        A function (t, x) -> (*batch,).

    Source: H. Risken, The Fokker-Planck Equation, 2nd ed., section 4.7.

    Example:
        The stationary density of dX = -X dt + sqrt(2) dW:

        >>> import torch
        >>> from pdekit.sde import SDE
        >>> sde = SDE(lambda t, x: -x, lambda t, x: torch.full_like(x, 2.0**0.5), dim=1)
        >>> p = lambda x: torch.exp(-0.5 * (x**2).sum(-1))
        >>> float(fokker_planck_operator(p, sde)(0.0, torch.tensor([0.7]).double()).abs()) < 1e-12
        True
    """
    check_method(method, "fokker_planck_operator", _ANY)

    def compute(call: Call) -> OperatorResult:
        c = coefficients(sde, call, divergences=2)
        drift = 2 * c.tensor_divergence - c.drift
        return apply_second_order(_timed(call, scalar=True), c.spread, drift, method, c.source)

    return _EquationOperator("fokker_planck_operator", p, sde, compute, full_output)


def log_fokker_planck_operator(
    log_p: Callable[..., Any], sde: SDE, method: Method = Exact(), *, score: Score = None, full_output: bool = False
) -> Operator:
    """(L* p) / p in terms of l = log p.

    It is

        sum_ij D_ij (d_i d_j l + d_i l d_j l) + (2 div D - F).grad l + sum_ij d_i d_j D_ij - div F.

    Args:
        log_p: l(x) or l(t, x), (*batch, d) -> (*batch,), up to a constant.
        sde: The equation, Ito or Stratonovich.
        method: `Exact()`, `Compressed()` or `Dense()` for log_p; `Exact()`, `Hollow()` or `Dense()` for a score.
        score: grad l as a field s(x) or s(t, x), (*batch, d) -> (*batch, d), if there is one: then log_p is not
            differentiated in x, and a hollow score with diagonal noise makes the cost independent of d.
        full_output: Whether calls return an `OperatorResult`, whose `output` is log p (the score if that was given).

    Returns:
        A function (t, x) -> (*batch,).

    Source: R. T. Q. Chen and D. Duvenaud, Neural networks with cheap differential operators, NeurIPS 2019, section 5.
    """
    name = "log_fokker_planck_operator"
    return _EquationOperator(name, log_p, sde, _log_form(name, sde, method, score), full_output)


def fokker_planck_residual(
    log_p: Callable[..., Any], sde: SDE, method: Method = Exact(), *, score: Score = None, full_output: bool = False
) -> Operator:
    """The residual d_t log p - (L* p) / p, zero where log p solves the Fokker-Planck equation.

    Args:
        log_p: l(t, x), (*batch, d) -> (*batch,), normalised or not.
        sde: The equation, Ito or Stratonovich.
        method: See `log_fokker_planck_operator`.
        score: grad l as a field of its own; see `log_fokker_planck_operator`.
        full_output: Whether calls return an `OperatorResult`.

    Returns:
        A function (t, x) -> (*batch,); t is a number, a scalar tensor or (*batch, 1).

    Raises:
        OperatorError: If log_p does not take a time.

    Example:
        Brownian motion from a Gaussian of variance 1:

        >>> import torch
        >>> from pdekit.sde import SDE
        >>> sde = SDE(lambda t, x: 0 * x, lambda t, x: torch.ones_like(x), dim=1)
        >>> log_p = lambda t, x: -0.5 * (x**2).sum(-1) / (1 + t) - 0.5 * torch.log(torch.as_tensor(1 + t))
        >>> residual = fokker_planck_residual(log_p, sde)
        >>> float(residual(torch.tensor(0.5).double(), torch.tensor([0.3]).double()).abs()) < 1e-12
        True
    """
    if not takes_time(log_p):
        raise OperatorError(
            "fokker_planck_residual: log_p must take a time, log_p(t, x); for a stationary density use "
            "log_fokker_planck_operator, which is zero there."
        )
    name = "fokker_planck_residual"
    spatial = _log_form(name, sde, method, score)

    def compute(call: Call) -> OperatorResult:
        result = spatial(call)
        rate = time_derivative(call)
        return OperatorResult(rate - result.value, result.output, None, result.plan)

    return _EquationOperator(name, log_p, sde, compute, full_output)


def probability_current(p: Callable[..., Any], sde: SDE, *, full_output: bool = False) -> Operator:
    """The probability current J = F p - div(D p), so that L* p = -div J.

    Args:
        p: The density p(x) or p(t, x), (*batch, d) -> (*batch,).
        sde: The equation, Ito or Stratonovich.
        full_output: Whether calls return an `OperatorResult`, whose `output` is p.

    Returns:
        A function (t, x) -> (*batch, d).
    """

    def compute(call: Call) -> OperatorResult:
        c = coefficients(sde, call, divergences=1)
        value, slope = gradient(_timed(call))
        current = (c.drift - c.tensor_divergence) * value.unsqueeze(-1) - c.diffused(slope)
        return exact_result(current, value, Plan("gradient", "one gradient of the density", 1))

    return _EquationOperator("probability_current", p, sde, compute, full_output)


def probability_flow(
    log_p: Callable[..., Any], sde: SDE, *, score: Score = None, full_output: bool = False
) -> Operator:
    """The velocity J / p = F - div D - D grad log p of the deterministic flow with the same densities.

    Args:
        log_p: l(x) or l(t, x), (*batch, d) -> (*batch,), up to a constant; not evaluated if `score` is given.
        sde: The equation, Ito or Stratonovich.
        score: grad l as a field s(x) or s(t, x).
        full_output: Whether calls return an `OperatorResult`, whose `output` is log p (the score if that was given).

    Returns:
        A function (t, x) -> (*batch, d).

    Source: Y. Song et al., Score-based generative modeling through stochastic differential equations, ICLR 2021.
    """
    _check_score(score, "probability_flow")

    def compute(call: Call) -> OperatorResult:
        c = coefficients(sde, call, divergences=1)
        if score is None:
            value, slope = gradient(_timed(call))
        else:
            value = slope = _timed(call.on(score)).at(call.x)
            check_vector(call, slope, what="score")
        plan = Plan("gradient", "one gradient of log p" if score is None else "the score was given", 1)
        return exact_result(c.drift - c.tensor_divergence - c.diffused(slope), value, plan)

    return _EquationOperator("probability_flow", log_p, sde, compute, full_output)


class _EquationOperator(Operator):
    """An operator of an SDE: called with (t, x) whatever its function takes."""

    time = True

    def __init__(
        self, name: str, function: Any, sde: Any, compute: Callable[[Call], OperatorResult], full: bool
    ) -> None:
        check_sde(sde, name)

        def checked(call: Call) -> OperatorResult:
            if len(call.leading) != 1:
                raise OperatorError(
                    f"{name}: an operator of an SDE is called with a time and a state, (t, x); got "
                    f"{len(call.leading) + 1} positional arguments."
                )
            return compute(call)

        super().__init__(name, function, checked, full)


def takes_time(function: Callable[..., Any]) -> bool:
    """Whether a function is f(t, x) rather than f(x): by its attribute `time`, else by its positional parameters."""
    declared = getattr(function, "time", None)
    if isinstance(declared, bool):
        return declared
    if isinstance(function, Operator):
        return takes_time(function.function)
    function = getattr(function, "_orig_mod", function)  # of a compiled module
    inspected = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = inspect.signature(inspected).parameters.values()
    except (TypeError, ValueError):
        return True
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return True
    positional = [
        p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    return len(positional) > 1


def _timed(call: Call, *, scalar: bool = False) -> Call:
    """The call as its function wants it: without the time if it takes none."""
    return replace(call, leading=call.leading if takes_time(call.function) else (), scalar=scalar)


def _log_form(operator: str, sde: SDE, method: Method, score: Score) -> Callable[[Call], OperatorResult]:
    """(L* p) / p of the function of a call, from log p or from its score."""
    check_method(method, operator, _EXACT if score is None else _OF_SCORE)
    _check_score(score, operator)

    def compute(call: Call) -> OperatorResult:
        c = coefficients(sde, call, divergences=2)
        if score is not None:
            return _from_score(call, score, c, method)
        u, drift = _timed(call, scalar=True), 2 * c.tensor_divergence - c.drift
        result = second_order(u, c.spread, drift, method)  # type: ignore[arg-type]
        return exact_result(result.value + result.gradient_square() + c.source, result.output, result.plan)

    return compute


def _check_score(score: Any, operator: str) -> None:
    if score is not None and not callable(score):
        raise OperatorError(f"{operator}: score is a function s(x) or s(t, x), got {type(score).__name__}.")


def _from_score(call: Call, score: Callable[..., Any], c: Coefficients, method: Any) -> OperatorResult:
    field = _timed(call.on(score))
    if c.diagonal:
        jet = diagonal_jet(field, 1, method, trace=False)
        s, plan = jet.output, jet.plan
        spread = (0.5 * c.noise * c.noise * jet.derivatives[0]).sum(-1)
    elif isinstance(method, Hollow):
        raise OperatorError(
            f"{call.operator}: Hollow() gives the diagonal of the score's Jacobian, which is enough for diagonal noise "
            f"only; this SDE has {c.noise.shape[-1]} columns of noise. Use Exact()."
        )
    else:
        s, (slopes,) = along(field, c.noise.movedim(-1, 0), 1)  # J_s G_k
        check_vector(call, s, what="score")
        spread = 0.5 * (slopes * c.noise.movedim(-1, 0)).sum((0, -1))
        plan = Plan("dense", f"the score along {c.noise.shape[-1]} columns of G", c.noise.shape[-1])
    value = spread + ((c.diffused(s) + 2 * c.tensor_divergence - c.drift) * s).sum(-1) + c.source
    return exact_result(value, s, plan)
