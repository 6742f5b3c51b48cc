"""Functions of one number: each gives its Taylor coefficients phi, phi', phi''/2!, ... at a tensor of points."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from pdekit.errors import OperatorError
from pdekit.operators.propagation.jet import RULES, Jet, Run
from pdekit.operators.propagation.registry import register, rule
from pdekit.operators.propagation.series import Tower, compose

Expansion = Callable[..., Tower]


def elementwise(*names: str) -> Callable[[Expansion], Expansion]:
    """Registers `expansion(x, order, *args, **kwargs)`, which returns order + 1 Taylor coefficients at x."""

    def decorate(expansion: Expansion) -> Expansion:
        def follow(run: Run, x: Jet, *args: Any, **kwargs: Any) -> Jet:
            kwargs.pop("inplace", None)
            return compose(run, x, expansion(x.value, run.order, *args, **kwargs))

        register(follow, *names)
        return expansion

    return decorate


def _riccati(y: Any, order: int, constant: float, linear: float, quadratic: float) -> list[Any]:
    # The Taylor coefficients of the solution of y' = constant + linear y + quadratic y^2.
    tower = [y]
    for k in range(order):
        square: Any = None
        for i in range((k + 1) // 2):
            term = tower[i] * tower[k - i]
            square = term if square is None else square + term
        square = None if square is None else 2 * square
        if k % 2 == 0:
            middle = tower[k // 2] * tower[k // 2]
            square = middle if square is None else square + middle
        slope = quadratic * square
        if linear:
            slope = slope + linear * tower[k]
        if k == 0 and constant:
            slope = slope + constant
        tower.append(slope if k == 0 else slope / (k + 1))
    return tower


@elementwise("tanh")
def tanh(x: Any, order: int) -> Tower:
    """y' = 1 - y^2."""
    return _riccati(torch.tanh(x), order, 1.0, 0.0, -1.0)


@elementwise("sigmoid", "expit")
def sigmoid(x: Any, order: int) -> Tower:
    """y' = y - y^2."""
    return _riccati(torch.sigmoid(x), order, 0.0, 1.0, -1.0)


@elementwise("tan")
def tan(x: Any, order: int) -> Tower:
    """y' = 1 + y^2."""
    return _riccati(torch.tan(x), order, 1.0, 0.0, 1.0)


@elementwise("exp")
def exp(x: Any, order: int) -> Tower:
    """y' = y."""
    y = torch.exp(x)
    return [y, *(y if k == 1 else y / math.factorial(k) for k in range(1, order + 1))]


@elementwise("expm1")
def expm1(x: Any, order: int) -> Tower:
    """exp(x) - 1, its value without cancellation."""
    return [torch.expm1(x), *exp(x, order)[1:]]


@elementwise("exp2")
def exp2(x: Any, order: int) -> Tower:
    """2^x."""
    y = torch.exp2(x)
    return [y, *(y * (math.log(2.0) ** k / math.factorial(k)) for k in range(1, order + 1))]


def _cyclic(values: list[Any], order: int) -> Tower:
    return [values[k % len(values)] / math.factorial(k) if k > 1 else values[k] for k in range(order + 1)]


@elementwise("sin")
def sin(x: Any, order: int) -> Tower:
    """sin, cos, -sin, -cos, ..."""
    s, c = torch.sin(x), torch.cos(x)
    return _cyclic([s, c, -s, -c], order)


@elementwise("cos")
def cos(x: Any, order: int) -> Tower:
    """cos, -sin, -cos, sin, ..."""
    s, c = torch.sin(x), torch.cos(x)
    return _cyclic([c, -s, -c, s], order)


@elementwise("sinh")
def sinh(x: Any, order: int) -> Tower:
    """sinh, cosh, sinh, ..."""
    return _cyclic([torch.sinh(x), torch.cosh(x)], order)


@elementwise("cosh")
def cosh(x: Any, order: int) -> Tower:
    """cosh, sinh, cosh, ..."""
    return _cyclic([torch.cosh(x), torch.sinh(x)], order)


def _logarithm(value: Any, argument: Any, order: int, factor: float = 1.0) -> Tower:
    inverse = torch.reciprocal(argument)
    tower, power = [value], None
    for k in range(1, order + 1):
        power = inverse if power is None else power * inverse
        tower.append(power * (factor * (-1.0) ** (k - 1) / k) if k > 1 or factor != 1.0 else power)
    return tower


@elementwise("log")
def log(x: Any, order: int) -> Tower:
    """(-1)^(k-1) / (k x^k)."""
    return _logarithm(torch.log(x), x, order)


@elementwise("log1p")
def log1p(x: Any, order: int) -> Tower:
    """log(1 + x)."""
    return _logarithm(torch.log1p(x), 1 + x, order)


@elementwise("log2")
def log2(x: Any, order: int) -> Tower:
    """The logarithm to base 2."""
    return _logarithm(torch.log2(x), x, order, 1 / math.log(2.0))


@elementwise("log10")
def log10(x: Any, order: int) -> Tower:
    """The logarithm to base 10."""
    return _logarithm(torch.log10(x), x, order, 1 / math.log(10.0))


def power(x: Any, order: int, exponent: float, value: Any = None) -> Tower:
    """binomial(p, k) x^(p - k); a whole exponent p has no terms beyond k = p, also at x = 0."""
    tower = [torch.pow(x, exponent) if value is None else value]
    binomial = 1.0
    for k in range(1, order + 1):
        binomial *= (exponent - k + 1) / k
        remaining = exponent - k
        if binomial == 0.0:
            tower.append(None)
        elif remaining == 0:
            tower.append(torch.full_like(x, binomial))
        else:
            tower.append(binomial * (x if remaining == 1 else torch.pow(x, remaining)))
    return tower


@elementwise("sqrt")
def sqrt(x: Any, order: int) -> Tower:
    """x^(1/2)."""
    return power(x, order, 0.5, torch.sqrt(x))


@elementwise("rsqrt")
def rsqrt(x: Any, order: int) -> Tower:
    """x^(-1/2)."""
    return power(x, order, -0.5, torch.rsqrt(x))


@elementwise("square")
def square(x: Any, order: int) -> Tower:
    """x^2."""
    return power(x, order, 2, x * x)


@elementwise("reciprocal")
def reciprocal(x: Any, order: int) -> Tower:
    """(-1)^k / x^(k + 1)."""
    y = torch.reciprocal(x)
    tower = [y]
    for _ in range(order):
        tower.append(-tower[-1] * y)
    return tower


def _gaussian(x: Any, order: int) -> list[Any]:
    # exp(-x^2 / 2) / sqrt(2 pi): p' = -x p, so (k + 1) p_(k+1) = -(x p_k + p_(k-1)).
    tower = [torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)]
    for k in range(order):
        following = x * tower[k]
        if k:
            following = following + tower[k - 1]
        tower.append(-following / (k + 1))
    return tower


def _normal_cdf(x: Any, order: int) -> list[Any]:
    density = _gaussian(x, max(0, order - 1))
    return [torch.special.ndtr(x), *(density[k - 1] / k for k in range(1, order + 1))]


@elementwise("ndtr")
def ndtr(x: Any, order: int) -> Tower:
    """The normal distribution function; its derivative is the density."""
    return _normal_cdf(x, order)


@elementwise("erf")
def erf(x: Any, order: int) -> Tower:
    """2 ndtr(sqrt(2) x) - 1, with a value that keeps its digits near 0."""
    root = math.sqrt(2.0)
    tower = _normal_cdf(root * x, order)
    return [torch.erf(x), *(tower[k] * (2 * root**k) for k in range(1, order + 1))]


@elementwise("erfc")
def erfc(x: Any, order: int) -> Tower:
    """1 - erf(x)."""
    return [torch.erfc(x), *(-t for t in erf(x, order)[1:])]


def _times_x(x: Any, tower: Tower, value: Any) -> Tower:
    # x phi(x): the k-th coefficient is x phi_k + phi_(k-1).
    return [value, *(x * tower[k] + tower[k - 1] for k in range(1, len(tower)))]


@elementwise("silu")
def silu(x: Any, order: int) -> Tower:
    """x sigmoid(x)."""
    return _times_x(x, sigmoid(x, order), functional.silu(x))


@elementwise("softplus")
def softplus(x: Any, order: int, beta: float = 1.0, threshold: float = 20.0) -> Tower:
    """log(1 + exp(beta x)) / beta; the slope is sigmoid(beta x)."""
    slope = sigmoid(beta * x, max(0, order - 1))
    value = functional.softplus(x, beta, threshold)
    return [value, *(slope[k - 1] * (beta ** (k - 1) / k) for k in range(1, order + 1))]


@elementwise("logsigmoid")
def logsigmoid(x: Any, order: int) -> Tower:
    """-softplus(-x)."""
    tower = softplus(-x, order)
    return [functional.logsigmoid(x), *((-1.0) ** (k + 1) * tower[k] for k in range(1, order + 1))]


@elementwise("atan", "arctan")
def atan(x: Any, order: int) -> Tower:
    """(1 + x^2) y' = 1."""
    inverse = torch.reciprocal(1 + x * x)
    tower = [torch.atan(x)]
    for k in range(order):  # (k+1) y_(k+1) = ([k = 0] - 2 x k y_k - (k-1) y_(k-1)) / (1 + x^2)
        if k == 0:
            tower.append(inverse)
            continue
        right = 2.0 * k * x * tower[k]
        if k > 1:
            right = right + (k - 1) * tower[k - 1]
        tower.append(-right * inverse / (k + 1))
    return tower


@elementwise("lgamma", "gammaln")
def lgamma(x: Any, order: int) -> Tower:
    """The logarithm of the gamma function; its derivatives are polygamma functions."""
    return [torch.lgamma(x), *(torch.polygamma(k - 1, x) / math.factorial(k) for k in range(1, order + 1))]


@elementwise("abs", "absolute")
def absolute(x: Any, order: int) -> Tower:
    """|x|: the sign as slope, and no curvature away from 0."""
    return [torch.abs(x), torch.sign(x), *([None] * (order - 1))]


@elementwise("clamp", "clip")
def clamp(x: Any, order: int, min: Any = None, max: Any = None) -> Tower:  # noqa: A002 - torch's own names
    """x between its bounds; slope 1 inside, 0 outside."""
    value = torch.clamp(x, min, max)
    return [value, (value == x).to(value.dtype), *([None] * (order - 1))]


@elementwise("elu")
def elu(x: Any, order: int, alpha: float = 1.0) -> Tower:
    """x above 0, alpha (exp(x) - 1) below."""
    if order > 1 and alpha != 1.0:
        _refuse("elu with alpha != 1")
    return _exponential_below(x, order, alpha, 1.0, functional.elu(x, alpha))


@elementwise("selu")
def selu(x: Any, order: int) -> Tower:
    """The self-normalising ELU: a kink at 0."""
    if order > 1:
        _refuse("selu")
    return _exponential_below(x, order, 1.6732632423543772, 1.0507009873554805, functional.selu(x))


def _exponential_below(x: Any, order: int, alpha: float, factor: float, value: Any) -> Tower:
    positive = x > 0
    below = torch.exp(torch.clamp(x, max=0.0)) * (alpha * factor)
    tower = [value, torch.where(positive, torch.full_like(below, factor), below)]
    for k in range(2, order + 1):
        tower.append(torch.where(positive, torch.zeros_like(below), below / math.factorial(k)))
    return tower


# Piecewise linear activations: a second derivative would be 0 nearly everywhere and hide the kinks.


def _kinked(name: str, slope: Callable[..., Any]) -> None:
    function = getattr(functional, name, None) or getattr(torch, name)

    def follow(run: Run, x: Jet, *args: Any, **kwargs: Any) -> Jet:
        if run.order > 1:
            _refuse(name)
        return compose(run, x, [function(x.value, *args, **kwargs), slope(x.value, *args, **kwargs)])

    register(follow, name)


def _refuse(name: str) -> None:
    raise OperatorError(
        f"The activation {name} has no second derivative (a kink), so an operator of second order is not defined for "
        "this function. Use a smooth activation: tanh, silu, gelu, softplus, mish, sin."
    )


def _leaky(x: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    return torch.where(x > 0, torch.ones_like(x), torch.full_like(x, negative_slope))


def _between(x: Any, low: float, high: float) -> Any:
    return ((x > low) & (x < high)).to(x.dtype)


_kinked("relu", lambda x, inplace=False: (x > 0).to(x.dtype))
_kinked("leaky_relu", _leaky)
_kinked("relu6", lambda x, inplace=False: _between(x, 0.0, 6.0))
_kinked("hardtanh", lambda x, min_val=-1.0, max_val=1.0, inplace=False: _between(x, min_val, max_val))
_kinked("hardsigmoid", lambda x, inplace=False: _between(x, -3.0, 3.0) / 6)
_kinked("hardshrink", lambda x, lambd=0.5: (torch.abs(x) > lambd).to(x.dtype))
_kinked("softshrink", lambda x, lambd=0.5: (torch.abs(x) > lambd).to(x.dtype))
_kinked("hardswish", lambda x, inplace=False: torch.where(x >= 3, torch.ones_like(x), _between(x, -3, 3) * (2 * x + 3) / 6))
_kinked("threshold", lambda x, threshold, value, inplace=False: (x > threshold).to(x.dtype))


@rule("prelu")
def prelu(run: Run, x: Any, weight: Any) -> Any:
    """x above 0, weight * x below, one weight in all or one per channel."""
    if run.order > 1:
        _refuse("prelu")
    if weight.numel() > 1:
        weight = weight.reshape(-1, *(1,) * (x.ndim - 2))
    return torch.where(x > 0, x, weight * x)


@rule("mish")
def mish(run: Run, x: Any, inplace: bool = False) -> Any:
    """x tanh(softplus(x))."""
    return x * torch.tanh(functional.softplus(x))


@rule("softsign")
def softsign(run: Run, x: Any) -> Any:
    """x / (1 + |x|): twice differentiable away from 0 only, once at it."""
    if run.order > 1:
        _refuse("softsign")
    return x / (1 + torch.abs(x))


@rule("gelu")
def gelu(run: Run, x: Any, approximate: str = "none") -> Any:
    """x ndtr(x), or its approximation by tanh."""
    if approximate == "tanh":
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    tower = _times_x(x.value, _normal_cdf(x.value, run.order), functional.gelu(x.value))
    return compose(run, x, tower)


@rule("glu")
def glu(run: Run, x: Any, dim: int = -1) -> Any:
    """The first half times the sigmoid of the second."""
    a, b = torch.chunk(x, 2, dim)
    return a * torch.sigmoid(b)


@rule("pow")
def pow_(run: Run, x: Any, exponent: Any) -> Any:
    """x^p; an exponent that depends on the state goes through exp and log."""
    if run.owns(exponent):
        return torch.exp(exponent * (torch.log(x) if not isinstance(x, int | float) else math.log(x)))
    if isinstance(exponent, int | float):
        if exponent == 0:
            return torch.ones_like(x.value)
        if exponent == 1:
            return x
        return compose(run, x, power(x.value, run.order, exponent))
    return compose(run, x, _tensor_power(x.value, run.order, exponent))


def _tensor_power(x: Any, order: int, exponent: Any) -> Tower:
    tower, binomial = [torch.pow(x, exponent)], torch.ones_like(exponent)
    for k in range(1, order + 1):
        binomial = binomial * (exponent - (k - 1)) / k
        # Where the binomial vanishes the power may be infinite (x = 0): the product is 0 there.
        safe = torch.where(binomial == 0, torch.zeros_like(exponent), exponent - k)
        tower.append(binomial * torch.pow(x, safe))
    return tower


@rule("float_power")
def float_power(run: Run, x: Any, exponent: Any) -> Any:
    """x^p; the dtype of torch's float_power is float64."""
    return torch.pow(x.to(torch.float64) if run.owns(x) else x, exponent)


@rule("rsub")
def rsub(run: Run, a: Any, b: Any, alpha: Any = 1) -> Any:
    """b - alpha a."""
    return torch.add(torch.neg(a) * alpha, b)


# Constants: what has derivative zero almost everywhere, or none at all, is computed on the value.
_CONSTANT = (
    *("sign", "sgn", "floor", "ceil", "round", "trunc", "fix", "heaviside"),
    *("eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "isfinite", "isclose", "allclose", "equal"),
    *("argmax", "argmin", "argsort", "detach", "logical_and", "logical_or", "logical_not", "signbit"),
    *("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"),
    *("new_tensor", "size", "dim", "numel", "is_floating_point", "is_complex", "get_device", "element_size"),
    *("stride", "is_contiguous", "ndimension", "nelement", "any", "all", "is_signed"),
)


def _on_value(function: Callable[..., Any]) -> Callable[..., Any]:
    def follow(run: Run, *args: Any, **kwargs: Any) -> Any:
        plain = [z.value if run.owns(z) else z for z in args]
        return function(*plain, **{key: z.value if run.owns(z) else z for key, z in kwargs.items()})

    return follow


for _name in _CONSTANT:
    for _home in (torch, torch.Tensor):
        _function = getattr(_home, _name, None)
        if callable(_function):
            RULES[_function] = _on_value(_function)
