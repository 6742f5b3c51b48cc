"""Functions of one number: each gives its Taylor coefficients phi, phi', phi''/2!, ... at a tensor of points."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pdekit.operators.propagation.jet import RULES, Jet, Run, Unsupported, key
from pdekit.operators.propagation.registry import register, rule
from pdekit.operators.propagation.series import Tower, compose
from pdekit.operators.propagation.shapes import innermost_value

Expansion = Callable[..., Tower]


def elementwise(*targets: str | Callable[..., Any]) -> Callable[[Expansion], Expansion]:
    """Registers `expansion(x, order, *args, **kwargs)`, which returns order + 1 Taylor coefficients at x."""

    def decorate(expansion: Expansion) -> Expansion:
        def follow(run: Run, x: Jet, *args: Any, **kwargs: Any) -> Jet:
            return compose(run, x, expansion(x.value, run.order, *args, **kwargs))

        register(follow, *targets)
        return expansion

    return decorate


def tower_of(function: Callable[[Any], Any], x: Any, order: int) -> list[Any]:
    """The Taylor coefficients at x of a function of one number that is written with torch operations.

    One series along x + s does the work once for all directions.
    """
    level = x.run.level + 1 if isinstance(x, Jet) else 1
    run = Run(order, directions=False, level=level)
    one: Any = x
    jet = function(run.jet(x, [torch.ones_like(one), *[None] * (order - 1)], 0))
    return [jet.value, *(jet.dense(k) for k in range(1, order + 1))]


def integral(value: Any, slope: Tower) -> list[Any]:
    """The coefficients of a function from its value and the coefficients of its derivative."""
    return [value, *(s if k == 1 else s / k for k, s in enumerate(slope, start=1))]


def _riccati(y: Any, order: int, constant: float, linear: float, quadratic: float) -> list[Any]:
    # The Taylor coefficients of the solution of y' = constant + linear y + quadratic y^2; k + 1 divides into the
    # factors, and every product is added in one pass over memory.
    start = torch.full((), constant, dtype=y.dtype, device=y.device)
    tower = [y]
    for k in range(order):
        last, factor = tower[k], quadratic / (k + 1)
        total = start if k == 0 else torch.zeros_like(start)
        if linear == k + 1:
            total = total + last if k == 0 and constant else last
        elif linear:
            total = total + last * (linear / (k + 1))
        for i in range((k + 1) // 2):
            total = torch.addcmul(total, tower[i], tower[k - i], value=2 * factor)
        if k % 2 == 0:
            total = torch.addcmul(total, tower[k // 2], tower[k // 2], value=factor)
        tower.append(total)
    return tower


def _square(tower: list[Any]) -> Any:
    """The last known coefficient of the square of a series."""
    k = len(tower) - 1
    total: Any = tower[k // 2] * tower[k // 2] if k % 2 == 0 else None
    for i in range((k + 1) // 2):
        term = 2 * (tower[i] * tower[k - i])
        total = term if total is None else total + term
    return total


@elementwise("tanh")
def tanh(x: Any, order: int) -> Tower:
    """y' = 1 - y^2."""
    return _riccati(torch.tanh(x), order, 1.0, 0.0, -1.0)


@elementwise("sigmoid", "expit")
def sigmoid(x: Any, order: int) -> Tower:
    """y' = y - y^2."""
    return _riccati(torch.sigmoid(x), order, 0.0, 1.0, -1.0)


def reflected_sigmoid(x: Any, order: int) -> Tower:
    """sigmoid(-x): y' = y^2 - y."""
    return _riccati(torch.sigmoid(-x), order, 0.0, -1.0, 1.0)


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


@elementwise("sinc")
def sinc(x: Any, order: int) -> Tower:
    """sin(pi x) / (pi x); near 0, where the quotient loses its digits, by its power series."""
    near = torch.abs(x) < 0.25
    z = torch.where(near, torch.ones_like(x), x)
    quotient = tower_of(lambda y: torch.sin(math.pi * y) / (math.pi * y), z, order)
    series = tower_of(_sinc_series, torch.where(near, x, torch.zeros_like(x)), order)
    return [torch.sinc(x), *(torch.where(near, s, q) for s, q in zip(series[1:], quotient[1:], strict=True))]


def _sinc_series(x: Any) -> Any:
    # For |x| < 1/4 the first term left out, (pi x)^20 / 21!, is below 1e-21.
    square, total = -(math.pi**2) * (x * x), 1.0 / math.factorial(19)
    for m in range(8, -1, -1):
        total = total * square + 1.0 / math.factorial(2 * m + 1)
    return total


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


@rule("logit")
def logit(run: Run, x: Jet, eps: Any = None) -> Jet:
    """log(x / (1 - x)), x kept between eps and 1 - eps."""
    value = torch.logit(x.value, eps)
    x = x if eps is None else torch.clamp(x, eps, 1 - eps)  # type: ignore[arg-type]
    above = _logarithm(value, x.value, run.order)
    below = _logarithm(value, 1 - x.value, run.order)
    tower = [above[k] - (-1.0) ** k * below[k] for k in range(1, run.order + 1)]
    return compose(run, x, [value, *tower])


@rule("xlogy")
def xlogy(run: Run, x: Any, y: Any) -> Any:
    """x log(y), 0 where x is 0."""
    return x * torch.log(_without_pole(x, y, 0.0))


@rule("xlog1py")
def xlog1py(run: Run, x: Any, y: Any) -> Any:
    """x log(1 + y), 0 where x is 0."""
    return x * torch.log1p(_without_pole(x, y, -1.0))


@rule("entr")
def entr(run: Run, x: Any) -> Any:
    """-x log(x), 0 at 0."""
    return -torch.xlogy(x, x)


def _without_pole(x: Any, y: Any, pole: float) -> Any:
    # torch's convention: 0 times an infinite logarithm is 0.
    y = y if _is_array(y) else torch.full_like(x.value, y)
    return torch.where((x == 0) & (y == pole), pole + 1.0, y)


def _is_array(z: Any) -> bool:
    return isinstance(z, Tensor | Jet)


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


@rule("pow", Tensor.__pow__)
def pow_(run: Run, x: Any, exponent: Any) -> Any:
    """x^p; an exponent that depends on the state goes through exp and log."""
    if run.owns(exponent):
        return torch.exp(exponent * (torch.log(x) if _is_array(x) else math.log(x)))
    if _is_array(exponent):
        shape = torch.broadcast_shapes(x.shape, exponent.shape)
        x = x if shape == x.shape else x.expand(shape)
        return compose(run, x, _tensor_power(x.value, run.order, exponent))
    if exponent == 0:
        return torch.ones_like(x.value)
    return x if exponent == 1 else compose(run, x, power(x.value, run.order, exponent))


def _tensor_power(x: Any, order: int, exponent: Any) -> Tower:
    tower, binomial = [torch.pow(x, exponent)], torch.ones_like(exponent)
    for k in range(1, order + 1):
        binomial = binomial * (exponent - (k - 1)) / k
        # Where the binomial vanishes at x = 0 the power is infinite: the product is 0 there.
        vanishing = (binomial == 0) & (x == 0)
        tower.append(binomial * torch.pow(torch.where(vanishing, torch.ones_like(x), x), exponent - k))
    return tower


@rule("float_power")
def float_power(run: Run, x: Any, exponent: Any) -> Any:
    """x^p in double precision."""
    base, exponent = (z.to(torch.float64) if _is_array(z) else z for z in (x, exponent))
    return torch.pow(base, exponent)


def _gaussian(x: Any, order: int) -> list[Any]:
    # exp(-x^2 / 2) / sqrt(2 pi): p' = -x p, so (k + 1) p_(k+1) = -(x p_k + p_(k-1)).
    tower = [torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)]
    for k in range(order):
        following = x * tower[k]
        if k:
            following = following + tower[k - 1]
        tower.append(-following / (k + 1))
    return tower


@elementwise("ndtr")
def ndtr(x: Any, order: int) -> Tower:
    """The normal distribution function; its derivative is the density."""
    return integral(torch.special.ndtr(x), _gaussian(x, order - 1))


@elementwise("log_ndtr")
def log_ndtr(x: Any, order: int) -> Tower:
    """log ndtr(x): its derivative h, the density over the distribution function, satisfies h' = -x h - h^2."""
    value = torch.special.log_ndtr(x)
    slope = [torch.exp(-0.5 * x * x - value) / math.sqrt(2 * math.pi)]
    for k in range(order - 1):
        following = x * slope[k] + _square(slope)
        if k:
            following = following + slope[k - 1]
        slope.append(-following / (k + 1))
    return integral(value, slope)


@elementwise("erf")
def erf(x: Any, order: int) -> Tower:
    """2 ndtr(sqrt(2) x) - 1, with a value that keeps its digits near 0."""
    root = math.sqrt(2.0)
    density = _gaussian(root * x, order - 1)
    return integral(torch.erf(x), [p * (2 * root ** (k + 1)) for k, p in enumerate(density)])


@elementwise("erfc")
def erfc(x: Any, order: int) -> Tower:
    """1 - erf(x)."""
    return [torch.erfc(x), *(-t for t in erf(x, order)[1:])]


def _inverse_function(value: Any, x: Any, order: int, constant: float, quadratic: float, exponent: float) -> Tower:
    """The coefficients of y with y' = p = (constant + quadratic x^2)^exponent; q p' = exponent q' p for the base q."""
    q = constant + quadratic * (x * x)
    slope = [torch.rsqrt(q) if exponent == -0.5 else torch.reciprocal(q)]
    inverse = torch.reciprocal(q)
    for k in range(order - 1):  # (k+1) q p_(k+1) = (s - k) q_1 p_k + (2 s - k + 1) q_2 p_(k-1)
        following = (2 * quadratic * (exponent - k)) * (x * slope[k])
        if k:
            following = following + (quadratic * (2 * exponent - k + 1)) * slope[k - 1]
        slope.append(following * inverse / (k + 1))
    return integral(value, slope)


@elementwise("atan", "arctan")
def atan(x: Any, order: int) -> Tower:
    """y' = 1 / (1 + x^2)."""
    return _inverse_function(torch.atan(x), x, order, 1.0, 1.0, -1.0)


@elementwise("atanh", "arctanh")
def atanh(x: Any, order: int) -> Tower:
    """y' = 1 / (1 - x^2)."""
    return _inverse_function(torch.atanh(x), x, order, 1.0, -1.0, -1.0)


@elementwise("asin", "arcsin")
def asin(x: Any, order: int) -> Tower:
    """y' = (1 - x^2)^(-1/2)."""
    return _inverse_function(torch.asin(x), x, order, 1.0, -1.0, -0.5)


@elementwise("acos", "arccos")
def acos(x: Any, order: int) -> Tower:
    """pi/2 - asin(x)."""
    return [torch.acos(x), *(-t for t in asin(x, order)[1:])]


@elementwise("asinh", "arcsinh")
def asinh(x: Any, order: int) -> Tower:
    """y' = (1 + x^2)^(-1/2)."""
    return _inverse_function(torch.asinh(x), x, order, 1.0, 1.0, -0.5)


@elementwise("acosh", "arccosh")
def acosh(x: Any, order: int) -> Tower:
    """y' = (x^2 - 1)^(-1/2)."""
    return _inverse_function(torch.acosh(x), x, order, -1.0, 1.0, -0.5)


@rule("atan2", "arctan2")
def atan2(run: Run, y: Any, x: Any) -> Any:
    """The angle of (x, y); its change is the angle of the series seen from its value, which never leaves 0."""
    y0, x0 = (z.value if run.owns(z) else z for z in (y, x))
    turned = torch.atan((y * x0 - x * y0) / (x * x0 + y * y0))
    return run.jet(torch.atan2(y0, x0), turned.coefficients, turned.system)  # type: ignore[union-attr]


@elementwise("lgamma", "gammaln")
def lgamma(x: Any, order: int) -> Tower:
    """The logarithm of the gamma function; its derivatives are polygamma functions."""
    return [torch.lgamma(x), *(torch.polygamma(k - 1, x) / math.factorial(k) for k in range(1, order + 1))]


def _polygamma(x: Any, order: int, n: int) -> Tower:
    return [torch.polygamma(n + k, x) / math.factorial(k) for k in range(order + 1)]


@elementwise("digamma", "psi")
def digamma(x: Any, order: int) -> Tower:
    """The derivative of lgamma."""
    return _polygamma(x, order, 0)


@rule("polygamma")
def polygamma(run: Run, n: Any, x: Any) -> Jet:
    """The derivatives of digamma, whose number n comes second in the method of a tensor."""
    n, x = (x, n) if run.owns(n) else (n, x)
    return compose(run, x, _polygamma(x.value, run.order, n))


@elementwise("abs", "absolute")
def absolute(x: Any, order: int) -> Tower:
    """|x|: the sign as slope, and no curvature away from 0."""
    return [torch.abs(x), torch.sign(x), *([None] * (order - 1))]


@rule("clamp", "clip")
def clamp(run: Run, x: Any, min: Any = None, max: Any = None) -> Any:
    """x between its bounds; slope 1 inside, 0 outside."""
    if not run.owns(x) or _is_array(min) or _is_array(max):
        x = x if min is None else torch.maximum(x, min) if _is_array(min) else torch.clamp(x, min=min)
        return x if max is None else torch.minimum(x, max) if _is_array(max) else torch.clamp(x, max=max)
    value = torch.clamp(x.value, min, max)
    return compose(run, x, [value, (value == x.value).to(value.dtype), *([None] * (run.order - 1))])


@rule("clamp_min")
def clamp_min(run: Run, x: Any, min: Any) -> Any:
    """The larger of x and a bound."""
    return torch.clamp(x, min=min)


@rule("clamp_max")
def clamp_max(run: Run, x: Any, max: Any) -> Any:
    """The smaller of x and a bound."""
    return torch.clamp(x, max=max)


@rule("remainder")
def remainder(run: Run, x: Any, y: Any) -> Any:
    """x - floor(x / y) y."""
    return _modulo(run, torch.remainder, torch.floor, x, y)


@rule("fmod")
def fmod(run: Run, x: Any, y: Any) -> Any:
    """x - trunc(x / y) y."""
    return _modulo(run, torch.fmod, torch.trunc, x, y)


@rule("frac")
def frac(run: Run, x: Any) -> Any:
    """The part of x after the point."""
    return _modulo(run, torch.fmod, torch.trunc, x, 1)


def _modulo(run: Run, function: Any, whole: Any, x: Any, y: Any) -> Any:
    x0, y0 = (z.value if run.owns(z) else z for z in (x, y))
    moved = x - whole(x0 / y0) * y
    return run.jet(function(x0, y0), moved.coefficients, moved.system)


@rule("deg2rad")
def deg2rad(run: Run, x: Any) -> Any:
    """Degrees to radians."""
    return x * (math.pi / 180)


@rule("rad2deg")
def rad2deg(run: Run, x: Any) -> Any:
    """Radians to degrees."""
    return x * (180 / math.pi)


# Constants: what has derivative zero almost everywhere, or none at all, is computed on the value.
_CONSTANT = (
    *("sign", "sgn", "floor", "ceil", "round", "trunc", "fix", "heaviside", "floor_divide"),
    *(Tensor.__floordiv__, Tensor.__rfloordiv__, Tensor.__eq__, Tensor.__ne__),
    *("eq", "ne", "lt", "le", "gt", "ge", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    *("isnan", "isinf", "isfinite", "isposinf", "isneginf", "isclose", "allclose", "equal", "signbit"),
    *("logical_and", "logical_or", "logical_not", "logical_xor", "any", "all", "count_nonzero", "nonzero"),
    *("argmax", "argmin", "argsort", "bucketize", "searchsorted", "detach"),
    *("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"),
    *("new_tensor", "size", "dim", "numel", "is_floating_point", "is_complex", "get_device", "element_size"),
    *("stride", "is_contiguous", "ndimension", "nelement", "is_signed", "is_same_size"),
    *("long", "int", "short", "char", "byte", "bool"),
)


def _on_value(function: Callable[..., Any]) -> Callable[..., Any]:
    def follow(run: Run, *args: Any, **kwargs: Any) -> Any:
        return function(*map(innermost_value, args), **{key: innermost_value(z) for key, z in kwargs.items()})

    return follow


for _target in _CONSTANT:
    for _home in (torch, Tensor, torch.special):
        _function = getattr(_home, _target, None) if isinstance(_target, str) else _target
        if callable(_function):  # torch.int is a dtype
            RULES[key(_function)] = _on_value(_function)


@rule("is_nonzero")
def is_nonzero(run: Run, x: Any) -> Any:
    """Refused, like any other branch on a value."""
    raise Unsupported("Python control flow on values of the state")
