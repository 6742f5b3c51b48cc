"""Truncated Taylor series that stand in for a tensor while a function of torch operations runs.

A `Jet` holds a value and the coefficients c_1, ..., c_K of the curve value + c_1 s + ... + c_K s^K. Torch functions
that meet a jet hand over to the rules of this package (`__torch_function__`), which compute the coefficients of the
result. Everything is made of ordinary torch operations: autograd differentiates through it as often as wanted, and
`torch.compile` traces it. A jet is deliberately no tensor: whatever does not know jets fails loudly instead of dropping
derivatives.

With directions, c_1 carries a leading axis with one entry per direction. In a collapsed run (order 2) c_2 is summed
over the directions, so that twice c_2 is a Laplacian: value, Jacobian and Laplacian travel together.

Sources: A. Griewank and A. Walther, Evaluating Derivatives, 2nd ed., 2008, chapter 13; R. Li et al., A computational
framework for neural network-based variational Monte Carlo with forward Laplacian, 2024; F. Dangel et al., Collapsing
Taylor mode automatic differentiation, 2025.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pdekit.operators.propagation.coefficient import Diagonal, Projected, Weighted


class Unsupported(Exception):
    """A function can't be followed by jets; the caller falls back to nested forward mode, which is exact and slower."""


class Conflict(Unsupported):
    """A compressed and an uncompressed path through the function met; the run is repeated without compression."""


Coefficient = Any  # Tensor | Jet | Diagonal | Projected | Weighted | None, the last meaning zero


class Run:
    """What all jets of one pass through a function have in common.

    Args:
        order: K, the number of coefficients.
        directions: Whether coefficients carry a leading axis of directions.
        collapsed: Whether c_2 is summed over directions (order 2 only).
        metric: How two sets of directional derivatives are contracted in a collapsed run: None for sum_r a_r b_r, a
            matrix G of shape (R, R) for sum_rs a_r G_rs b_s, or "pairs": the directions are two halves a and b, and
            sum_r (a_r b'_r + b_r a'_r) / 2 is meant.
        compression: `"never"`, `"auto"` (where it pays), `"always"` or `"required"` (where it pays, and nothing else
            may happen to the state): whether a linear first layer may replace the directions of the input by fewer
            directions of its output.
        level: Depth of nesting: jets whose coefficients are jets have the higher level.
    """

    def __init__(
        self,
        order: int,
        *,
        directions: bool,
        collapsed: bool = False,
        metric: Any = None,
        compression: str = "never",
        level: int = 1,
    ) -> None:
        self.order, self.directions, self.collapsed = order, directions, collapsed
        self.metrics: list[Any] = [metric, None]  # of the input's directions, of the compressed layer's
        self.compression, self.level = compression, level
        self.recording = torch.is_grad_enabled()
        self.shared: dict[str, Any] = {}  # among the passes over parts of one batch
        self.seed: Any = None  # the first coefficient of the state
        self.constant_seed = False  # whether it is one for all rows, by the way it was given
        self.input_map: Any = None  # W of the compressed first layer: (H, directions)
        self.compressed: str | None = None  # what the compression did, in words
        self.probes: Any = None  # (value, H) -> random directions to push behind the layer instead of all H
        self.nested: list[str] = []  # functions without a rule, done by nested forward mode

    def lead(self, k: int) -> int:
        """The number of leading axes of coefficient k: 1 with directions, 0 without or where they are summed."""
        return 1 if self.directions and not (self.collapsed and k == self.order) else 0

    def owns(self, z: Any) -> bool:
        """Whether `z` is a jet of this run; everything else is a constant to it."""
        return isinstance(z, Jet) and z.run is self

    def jet(self, value: Any, coefficients: list[Coefficient], system: int) -> "Jet":
        """A jet of this run."""
        return Jet(self, value, coefficients, system)


class Jet:
    """A truncated Taylor series; see the module.

    Args:
        run: The pass it belongs to.
        value: c_0, of the function's own shape.
        coefficients: c_1 to c_K, Taylor normalised (c_k is the k-th derivative over k!); each broadcastable to the
            value's shape after the leading axis of directions.
        system: 0 for directions of the input, 1 for those of a compressed first layer.
    """

    def __init__(self, run: Run, value: Any, coefficients: list[Coefficient], system: int = 0) -> None:
        self.run, self.value, self.coefficients, self.system = run, value, coefficients, system

    @classmethod
    def __torch_function__(cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Applies the rule of a torch function."""
        return apply(func, args, kwargs or {})

    def dense(self, k: int) -> Any:
        """Coefficient k as a tensor with the value's number of axes after the lead, or None for zero."""
        c = self.coefficients[k - 1]
        if isinstance(c, Projected):
            return c.dense(self.ndim)
        if isinstance(c, Weighted):
            return c.dense()
        if isinstance(c, Diagonal):
            if self.run.compression == "required":
                raise Conflict("all directions of the state would be needed at once")
            return c.dense(self.value)
        return c

    def full(self, k: int) -> Any:
        """Coefficient k expanded to the value's whole shape, or None."""
        c = self.dense(k)
        if c is None:
            return None
        lead = self.run.lead(k)
        return c if c.shape[lead:] == self.shape else c.expand(*c.shape[:lead], *self.shape)

    def plain(self) -> "Jet":
        """The same jet with ordinary coefficients only."""
        return self.run.jet(self.value, [self.dense(k) for k in range(1, self.run.order + 1)], self.system)

    # What a tensor would tell about itself.
    @property
    def shape(self) -> torch.Size:
        """The shape of the value."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """The number of axes of the value."""
        return self.value.ndim

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the value."""
        return self.value.dtype

    @property
    def device(self) -> torch.device:
        """The device of the value."""
        return self.value.device

    def __getattr__(self, name: str) -> Any:
        if name in _ATTRIBUTES:
            return getattr(self.value, name)
        if name in ("T", "mT", "H", "mH"):
            return self.transpose(-1, -2)
        method = None if name.startswith("__") else getattr(Tensor, name, None)
        if method is None or not callable(method):
            raise AttributeError(f"a Taylor series has no attribute {name!r}")
        return _Method(method, self)

    def __repr__(self) -> str:
        return f"Jet(order={self.run.order}, shape={tuple(self.shape)}, dtype={self.dtype})"

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return iter(torch.unbind(self, 0))  # type: ignore[arg-type]

    def __getitem__(self, index: Any) -> Any:
        return apply(Tensor.__getitem__, (self, index), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        raise Unsupported("assignment to parts of a tensor")

    def __bool__(self) -> bool:
        raise Unsupported("Python control flow on values of the state")

    __float__ = __int__ = __index__ = __complex__ = __bool__

    def __array__(self, *args: Any) -> Any:
        raise Unsupported("conversion to NumPy")


class _Method:
    """A tensor method bound to a jet."""

    def __init__(self, method: Callable[..., Any], jet: Jet) -> None:
        self.method, self.jet = method, jet

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return apply(self.method, (self.jet, *args), kwargs)


_ATTRIBUTES = {
    *("layout", "is_cuda", "is_cpu", "is_mps", "is_nested", "is_sparse", "is_quantized", "is_leaf", "requires_grad"),
    *("itemsize", "nbytes", "is_meta", "is_xpu", "names"),
}


def _operator(function: Callable[..., Any]) -> Any:
    return lambda self, other: function(self, other)


def _reflected(function: Callable[..., Any]) -> Any:
    return lambda self, other: function(other, self)


def _power(base: Any, exponent: Any) -> Any:
    return torch.pow(base, exponent)


def _subtract(a: Any, b: Any) -> Any:
    # torch.sub(number, x) is refused by torch; the sum is not.
    return torch.add(torch.neg(b), a) if isinstance(a, int | float) else torch.sub(a, b)


def _divide(a: Any, b: Any) -> Any:
    return torch.mul(torch.reciprocal(b), a) if isinstance(a, int | float) else torch.div(a, b)


for _name, _function in {
    "add": torch.add,
    "mul": torch.mul,
    "sub": _subtract,
    "truediv": _divide,
    "pow": _power,
    "matmul": torch.matmul,
}.items():
    setattr(Jet, f"__{_name}__", _operator(_function))
    setattr(Jet, f"__r{_name}__", _reflected(_function))
Jet.__radd__ = Jet.__add__  # type: ignore[attr-defined]
Jet.__rmul__ = Jet.__mul__  # type: ignore[attr-defined]
for _name, _function in {
    "gt": torch.gt,
    "lt": torch.lt,
    "ge": torch.ge,
    "le": torch.le,
    "eq": torch.eq,
    "ne": torch.ne,
    "mod": torch.remainder,
}.items():
    setattr(Jet, f"__{_name}__", _operator(_function))
Jet.__hash__ = object.__hash__  # type: ignore[method-assign]
Jet.__neg__ = lambda self: torch.neg(self)  # type: ignore[attr-defined]
Jet.__pos__ = lambda self: self  # type: ignore[attr-defined]
Jet.__abs__ = lambda self: torch.abs(self)  # type: ignore[attr-defined]


Rule = Callable[..., Any]
RULES: dict[Any, Rule] = {}  # key of a torch function -> rule(run, *args, **kwargs); filled by the modules of rules
OTHERWISE: list[Rule] = []  # the rule for functions without one: rule(run, function, args, kwargs)


_REMADE = frozenset(f"__{name}__" for name in ("pow", "rpow", "rsub", "rdiv", "rmod", "floordiv", "rfloordiv"))


def key(function: Callable[..., Any]) -> Any:
    """What a torch function is known by: itself, or its name if it is an operator of tensors written in Python.

    Compiled graphs make those anew, so that they equal nothing.
    """
    name = getattr(function, "__name__", None)
    return name if name in _REMADE else function


def apply(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Applies the rule of a torch function for the innermost run among its arguments."""
    run = _innermost(args, kwargs)
    if run.recording and not torch.is_grad_enabled():
        # What autograd would see as a constant, or differentiate by a backward of its own, must not be followed.
        raise Unsupported("a custom autograd function or a no_grad block")
    rule = RULES.get(key(function))
    if rule is None:
        return OTHERWISE[0](run, function, args, kwargs)
    return rule(run, *args, **kwargs)


def jets_in(args: Any) -> Iterator[Jet]:
    """The jets among arguments, lists and tuples of them included."""
    for z in args:
        if isinstance(z, Jet):
            yield z
        elif isinstance(z, list | tuple):
            yield from jets_in(z)


def _innermost(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
    run: Run | None = None
    for jet in [*jets_in(args), *jets_in(kwargs.values())]:
        if run is None or jet.run.level > run.level:
            run = jet.run
        elif jet.run.level == run.level and jet.run is not run:
            raise Unsupported("operators nested over arguments that don't depend on one another")
    if run is None:
        raise Unsupported("a Taylor series where none was expected")
    return run
