"""Every rule against nested forward mode of the same torch function, in every kind of run."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, linalg, special
from torch.nn import functional

from pdekit.operators.propagation.jet import RULES, apply, key
from pdekit.operators.propagation.registry import spellings

BATCHES = ((), (3,), (2, 3))
LAYOUTS = ("full", "shared", "rows", "missing", "diagonal", "diagonal-shared", "diagonal-rows")
# Directions that move one feature each never come in pairs.
COLLAPSED = [
    *((layout, None) for layout in LAYOUTS),
    *((layout, "matrix") for layout in ("full", "missing", "diagonal-rows")),
    *((layout, "pairs") for layout in ("shared", "missing")),
]


def real(*shape):
    return 0.8 * torch.randn(shape, dtype=torch.float64)


def positive(*shape):
    return 0.4 + 1.5 * torch.rand(shape, dtype=torch.float64)


def unit(*shape):
    return 1.8 * torch.rand(shape, dtype=torch.float64) - 0.9


def above_one(*shape):
    return 1.2 + torch.rand(shape, dtype=torch.float64)


def spread(*shape):
    """Real numbers with no two alike, for maxima and sorting."""
    n = math.prod(shape)
    return (torch.randperm(n).double() - n / 2 + 0.8 * torch.rand((), dtype=torch.float64)).reshape(shape) / max(1, n)


@dataclasses.dataclass
class Case:
    """Arguments of a torch function: `args(s, batch)`, where s marks the ones that depend on the state."""

    args: Callable
    kwargs: dict = dataclasses.field(default_factory=dict)
    order: int = 4
    batches: tuple = BATCHES
    reference: Callable | None = None
    number_first: bool = False
    deep: bool = True  # whether it is checked in every kind of run


def one(args, **options):
    """A case whose shapes are its own business."""
    return Case(lambda s, b: args(s), batches=((),), **options)


def unary(domain, **options):
    scalar = options | {"deep": False}
    return [Case(lambda s, b: (s(domain(*b, 4)),), **options), one(lambda s: (s(domain()),), **scalar)]


def binary(domain, other=None):
    """A function of two operands: series and constants of more, fewer and other axes, on either side."""
    other = other or domain
    return [
        Case(lambda s, b: (s(domain(*b, 4)), s(other(*b, 4)))),
        Case(lambda s, b: (s(domain(*b, 4)), other(*b, 4)), deep=False),
        Case(lambda s, b: (domain(*b, 4), s(other(*b, 4))), deep=False),
        Case(lambda s, b: (s(domain(*b, 4)), other(4)), deep=False),
        Case(lambda s, b: (other(4), s(domain(*b, 4))), deep=False),
        one(lambda s: (s(domain(3, 4)), other(2, 1, 4))),
        one(lambda s: (domain(2, 3, 4), s(other(4)))),
        one(lambda s: (s(domain(3, 1)), other(4))),
        one(lambda s: (domain(4), s(other(3, 1)))),
        one(lambda s: (s(domain(3, 4)), s(other(2, 1, 4)))),
        one(lambda s: (s(domain(3, 1)), s(other(4)))),
        one(lambda s: (s(domain(3, 4)), other()), deep=False),
        one(lambda s: (s(domain()), other(2)), deep=False),
        one(lambda s: (other(), s(domain())), deep=False),
    ]


def with_number(domain, number):
    return [Case(lambda s, b: (s(domain(*b, 4)), number))]


def number_first(domain, number):
    return [Case(lambda s, b: (number, s(domain(*b, 4))), number_first=True)]


CASES = {}


def case(*targets):
    """Adds cases for names (all their spellings) and functions."""

    def add(cases):
        for target in targets:
            for function in spellings(target) if isinstance(target, str) else [target]:
                CASES.setdefault(function, []).extend(cases)

    return add


# --- functions of one number
case("tanh", "sigmoid", "expit", "exp", "expm1", "exp2", "sin", "cos", "sinh", "cosh")(unary(real))
case("square", "ndtr", "erf", "erfc", "silu", "logsigmoid", "mish", "tanhshrink", "log_ndtr")(unary(real))
case("atan", "arctan", "asinh", "arcsinh", "abs", "absolute", "neg", "negative", "positive", "clone")(unary(real))
case("tan", "asin", "arcsin", "acos", "arccos", "atanh", "arctanh", "deg2rad", "rad2deg", "frac")(unary(unit))
case("log", "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "entr", "sinc")(unary(positive))
case("lgamma", "gammaln", "digamma", "psi")(unary(positive))
case("acosh", "arccosh")(unary(above_one))
case("logit")([*unary(lambda *b: torch.sigmoid(real(*b))), *with_number(lambda *b: torch.sigmoid(4 * real(*b)), 0.2)])
case("gelu")([*unary(real), *unary(real, kwargs={"approximate": "tanh"})])
case("softplus")([*unary(real), *unary(lambda *b: 30 * real(*b), kwargs={"beta": 2.0, "threshold": 5.0})])
case("elu", "celu", "softsign")(unary(real, order=2))
# torch's own derivative of celu has 1/alpha in single precision.
case("celu")(
    unary(
        real,
        order=2,
        kwargs={"alpha": 0.7},
        reference=lambda x, alpha: torch.where(x > 0, x, alpha * torch.expm1(x / alpha)),
    )
)
case("elu")(unary(real, order=1, kwargs={"alpha": 0.7}))
case("selu", "relu", "leaky_relu", "hardtanh", "hardshrink", "softshrink")(unary(real, order=1))
case("relu6", "hardsigmoid", "hardswish")(unary(lambda *b: 4 * real(*b), order=1))
case("leaky_relu")(unary(real, order=1, kwargs={"negative_slope": 0.3}))
case("hardtanh")(unary(real, order=1, kwargs={"min_val": -0.2, "max_val": 0.4}))
case("rrelu")(unary(real, order=1, kwargs={"training": False}))
case("threshold")([Case(lambda s, b: (s(real(*b, 4)), 0.1, -0.7), order=1)])
case("prelu")(
    [
        Case(lambda s, b: (s(real(*b, 4)), real(1)), order=1),
        one(lambda s: (s(real(2, 3, 5)), real(3)), order=1),
        one(lambda s: (s(real(4, 3)), real(3)), order=1),
    ]
)


def gated(x, dim=-1):
    a, b = x.chunk(2, dim)
    return a * torch.sigmoid(b)


case("glu")([Case(lambda s, b: (s(real(*b, 4)),), reference=gated), one(lambda s: (s(real(4, 3)), 0), reference=gated)])
case("clamp", "clip")(
    [
        Case(lambda s, b: (s(real(*b, 4)), -0.3, 0.4)),
        Case(lambda s, b: (s(real(*b, 4)),), {"max": 0.4}),
        Case(lambda s, b: (s(real(*b, 4)),), {"min": 0.4}),
        one(lambda s: (s(real(3, 4)), real(2, 1, 4) - 1, real(4) + 1)),
        one(lambda s: (real(3, 4), s(real(4) - 1), s(real(3, 1) + 1))),
    ]
)
case("clamp_min", "clamp_max")([*with_number(real, 0.1), *binary(spread)])
case("polygamma")([])
case(torch.polygamma, special.polygamma)([one(lambda s: (1, s(positive(3, 4)))), one(lambda s: (0, s(positive(3))))])
case(Tensor.polygamma)([one(lambda s: (s(positive(3, 4)), 2))])
case("pow", Tensor.__pow__)(
    [
        *[c for p in (2, 3, 0.5, -1.5, 1, 0, -2) for c in with_number(positive, p)],
        *with_number(real, 3),
        *number_first(real, 2.5),
        *binary(positive, real),
        one(lambda s: (s(real(3, 4)), torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64))),
        one(lambda s: (s(torch.zeros(3, 4, dtype=torch.float64)), torch.tensor([1, 2, 3, 4]))),
        one(lambda s: (s(torch.zeros(3, 4, dtype=torch.float64)), 3)),
    ]
)
case("float_power")([*with_number(positive, 2), *with_number(positive, 0.5), *binary(positive, real)])

case("tanh", "sum", "mean", "softplus")([one(lambda s: (s(real()),))])

# Reflected methods, as compiled graphs call them: their first argument is to the right of the operator.
case(Tensor.__rsub__)([*binary(real)[:3], *with_number(real, 2.5)])
case(Tensor.__rdiv__)([*binary(positive, real)[:3], *with_number(positive, 2.5)])
case(Tensor.__rmod__)(binary(positive, real)[:3])
case(Tensor.__rpow__)([*binary(real, positive)[:3], *with_number(real, 2.5)])

# --- sums and products
case("add", "sub", "subtract")([*binary(real), *with_number(real, 2.5), *number_first(real, -1)])
case("add", "sub", "subtract")(
    [
        one(lambda s: (s(real(3, 4)), s(real(4))), kwargs={"alpha": -0.5}),
        one(lambda s: (s(real(3, 4)), real(2, 1, 1)), kwargs={"alpha": 2}),
        one(lambda s: (real(2, 3, 4), s(real(4))), kwargs={"alpha": 3.0}),
    ]
)
case(torch.rsub)([*binary(real), *with_number(real, 2.5)])
case(torch.rsub)([one(lambda s: (s(real(3, 4)), real(4)), kwargs={"alpha": 2.5})])
case("mul", "multiply")([*binary(real), *with_number(real, 2.5), *number_first(real, -1)])
case("div", "divide", "true_divide")([*binary(real, positive), *with_number(real, 2.5), *number_first(real, -1)])
case("div", "divide")([one(lambda s: (s(real(3, 4)), 0.3), kwargs={"rounding_mode": "floor"})])
case("remainder", "fmod")([*binary(real, positive), *with_number(real, 0.7)])
case("atan2", "arctan2", "logaddexp", "logaddexp2")(binary(real))
case("hypot")(binary(positive))
case("xlogy")([*binary(real, positive), *with_number(real, 0.7), *number_first(positive, 0.7)])
case("xlog1py")([*binary(real, positive), *with_number(real, 0.7), *number_first(positive, 0.7)])
case("maximum", "minimum", "fmax", "fmin")(binary(spread))
case("addcmul", "addcdiv")(
    [
        Case(lambda s, b: (s(real(*b, 4)), s(positive(*b, 4)), s(positive(*b, 4)))),
        one(lambda s: (s(real(4)), real(3, 4), positive(2, 1, 4)), kwargs={"value": -0.5}),
        one(lambda s: (real(2, 3, 4), s(real(4)), s(positive(3, 1))), kwargs={"value": 2.0}),
    ]
)
case("lerp")(
    [
        Case(lambda s, b: (s(real(*b, 4)), s(real(*b, 4)), 0.3)),
        one(lambda s: (real(3, 4), s(real(4)), s(unit(2, 1, 1)))),
    ]
)
case("matmul", linalg.matmul)(
    [
        Case(lambda s, b: (s(real(*b, 3)), real(3, 4))),
        Case(lambda s, b: (s(real(*b, 2, 3)), s(real(*b, 3, 4)))),
        Case(lambda s, b: (s(real(*b, 2, 3)), s(real(3, 4)))),
        Case(lambda s, b: (real(2, 3), s(real(*b, 3, 4)))),
        Case(lambda s, b: (real(*b, 2, 3), s(real(3)))),
        Case(lambda s, b: (s(real(3)), s(real(*b, 3, 2)))),
        Case(lambda s, b: (s(real(*b, 2, 3)), s(real(3)))),
        one(lambda s: (s(real(3)), s(real(3)))),
        one(lambda s: (s(real(3)), real(3))),
        one(lambda s: (s(real(2, 3)), real(5, 3, 2))),
        one(lambda s: (real(5, 2, 3), s(real(3, 3)))),
    ]
)
case("mm")([one(lambda s: (s(real(2, 3)), real(3, 4))), one(lambda s: (real(2, 3), s(real(3, 4))))])
case("mm")([one(lambda s: (s(real(2, 3)), s(real(3, 4))))])
case("bmm")([one(lambda s: (s(real(5, 2, 3)), s(real(5, 3, 4)))), one(lambda s: (s(real(5, 2, 3)), real(5, 3, 4)))])
case("mv")([one(lambda s: (real(2, 3), s(real(3)))), one(lambda s: (s(real(2, 3)), s(real(3))))])
case("addmm")([one(lambda s: (s(real(4)), s(real(2, 3)), real(3, 4)), kwargs={"beta": 0.5, "alpha": 2.0})])
case("addmm")([one(lambda s: (real(2, 4), s(real(2, 3)), s(real(3, 4))))])
case("baddbmm")([one(lambda s: (real(5, 2, 4), s(real(5, 2, 3)), s(real(5, 3, 4))))])
case("addmv")([one(lambda s: (real(2), real(2, 3), s(real(3))))])
case("dot", "vdot", "inner")([one(lambda s: (s(real(3)), s(real(3)))), one(lambda s: (real(3), s(real(3))))])
case("inner")([one(lambda s: (s(real(2, 3)), s(real(4, 3)))), one(lambda s: (s(real(2, 3)), real(3)))])
case("vecdot")(
    [Case(lambda s, b: (s(real(*b, 3)), real(3))), one(lambda s: (s(real(3, 2)), s(real(3, 2))), kwargs={"dim": 0})]
)
case("outer", "ger")([one(lambda s: (s(real(3)), s(real(2)))), one(lambda s: (s(real(3)), real(2)))])
case("kron")([one(lambda s: (s(real(2, 3)), s(real(3, 2)))), one(lambda s: (real(3), s(real(2))))])
case(torch.cross, Tensor.cross)([one(lambda s: (s(real(2, 3)), real(2, 3)), kwargs={"dim": -1})])
case(linalg.cross)(
    [Case(lambda s, b: (s(real(*b, 3)), s(real(*b, 3)))), one(lambda s: (real(3, 2), s(real(3, 2))), kwargs={"dim": 0})]
)
case(functional.bilinear)(
    [
        Case(lambda s, b: (s(real(*b, 3)), s(real(*b, 2)), real(4, 3, 2), real(4))),
        Case(lambda s, b: (real(*b, 3), s(real(*b, 2)), real(4, 3, 2))),
    ]
)
case(functional.linear)(
    [
        Case(lambda s, b: (s(real(*b, 4)), real(3, 4), real(3))),
        Case(lambda s, b: (s(real(*b, 4)), real(3, 4))),
        Case(lambda s, b: (s(real(*b, 4)), s(real(3, 4)), s(real(3)))),
        Case(lambda s, b: (real(*b, 4), s(real(3, 4)), real(3))),
    ]
)
case("einsum")(
    [
        one(lambda s: ("bi,ij,bj->b", s(real(3, 4)), real(4, 4), s(real(3, 4)))),
        one(lambda s: ("bi,ij->bj", s(real(3, 4)), real(4, 2))),
        one(lambda s: ("...i,...i->...", s(real(2, 3, 4)), s(real(4)))),
        one(lambda s: ("bhqd,bhkd->bhqk", s(real(2, 1, 3, 4)), s(real(2, 1, 3, 4)))),
        one(lambda s: ("ij,jk", real(2, 4), s(real(4, 3)))),
        one(lambda s: ("bi,bj,bk->bijk", s(real(2, 3)), s(real(2, 3)), s(real(2, 3)))),
        one(lambda s: ("bii->b", s(real(2, 3, 3)))),
        one(lambda s: ("i,i->", [s(real(3)), s(real(3))])),
        one(lambda s: ("ba->ab", s(real(2, 3)))),
    ]
)
_IMAGES = {1: (5,), 2: (4, 5), 3: (3, 3, 4)}
for n, size in _IMAGES.items():
    for transposed in ("", "_transpose"):
        kernel = (2, 4) if transposed else (4, 2)
        case(getattr(functional, f"conv{transposed}{n}d"))(
            [
                one(
                    lambda s, n=n, size=size, kernel=kernel: (s(real(3, 2, *size)), real(*kernel, *(2,) * n), real(4)),
                    order=2,
                ),
                one(
                    lambda s, n=n, size=size, kernel=kernel: (s(real(2, *size)), real(*kernel, *(2,) * n)),
                    kwargs={"stride": 2, "padding": 1},
                    order=2,
                ),
            ]
        )
    case(getattr(functional, f"avg_pool{n}d"), getattr(functional, f"adaptive_avg_pool{n}d"))(
        [
            one(lambda s, size=size: (s(real(3, 2, *size)), 2), order=2),
            one(lambda s, size=size: (s(real(2, *size)), 2), order=2),
        ]
    )
case("interpolate")([one(lambda s: (s(real(2, 3, 4)),), kwargs={"scale_factor": 2, "mode": "linear"}, order=2)])
case("pixel_shuffle")([one(lambda s: (s(real(2, 4, 3, 3)), 2), order=2)])
case("pixel_unshuffle")([one(lambda s: (s(real(2, 1, 4, 4)), 2), order=2)])

# --- shapes
case("reshape", Tensor.view)([one(lambda s: (s(real(2, 3, 4)), (6, -1))), one(lambda s: (s(real(2, 3)), (2, 3)))])
case("view_as", "reshape_as")([one(lambda s: (s(real(2, 3)), real(6))), one(lambda s: (real(2, 3), s(real(6))))])
case("flatten")(
    [
        Case(lambda s, b: (s(real(*b, 4)),)),
        one(lambda s: (s(real(2, 3, 4)), 1)),
        one(lambda s: (s(real(2, 3, 4)), 0, -2)),
    ]
)
case("unflatten")([Case(lambda s, b: (s(real(*b, 4)), -1, (2, -1)))])
case("unsqueeze")([Case(lambda s, b, d=d: (s(real(*b, 4)), d)) for d in (0, -1, -2)])
case("squeeze")(
    [
        one(lambda s: (s(real(1, 3, 1)),)),
        one(lambda s: (s(real(3, 1, 4)), 1)),
        one(lambda s: (s(real(3, 1, 1)), (-1, 1))),
    ]
)
case("transpose", "swapaxes", "swapdims")(
    [one(lambda s: (s(real(2, 3, 4)), 0, -1)), one(lambda s: (s(real(2, 3)), 0, 1))]
)
case("t")([one(lambda s: (s(real(2, 3)),)), one(lambda s: (s(real(3)),))])
case("permute")([one(lambda s: (s(real(2, 3, 4)), (2, 0, -2)))])
case("movedim", "moveaxis")(
    [one(lambda s: (s(real(2, 3, 4)), 0, -1)), one(lambda s: (s(real(2, 3, 4)), (0, 1), (-1, 0)))]
)
case("expand", "broadcast_to")([one(lambda s: (s(real(3, 4)), (2, 3, 4))), one(lambda s: (s(real(3, 1)), (2, 3, 4)))])
case("expand_as")([one(lambda s: (s(real(3, 1)), real(3, 4))), one(lambda s: (real(3, 1), s(real(3, 4))))])
case("broadcast_tensors")([one(lambda s: (s(real(3, 1)), s(real(4)), real(2, 1, 1)))])
case("repeat")([one(lambda s: (s(real(3, 4)), (2, 1, 3)))])
case("tile")([one(lambda s: (s(real(3, 4)), (2,))), one(lambda s: (s(real(3)), (2, 2)))])
case("repeat_interleave")(
    [Case(lambda s, b: (s(real(*b, 4)), 2, -1)), one(lambda s: (s(real(2, 3)), torch.tensor([1, 2]), 0))]
)
case("flip")([one(lambda s: (s(real(2, 3)), (0, -1)))])
case("roll")([Case(lambda s, b: (s(real(*b, 4)), 1, -1)), one(lambda s: (s(real(2, 3)), (1, 2), (0, 1)))])
case("narrow")([Case(lambda s, b: (s(real(*b, 4)), -1, 1, 2))])
case("select")([Case(lambda s, b: (s(real(*b, 4)), -1, 1))])
case("index_select")([Case(lambda s, b: (s(real(*b, 4)), -1, torch.tensor([2, 0, 2])))])
case("gather")(
    [
        one(lambda s: (s(real(3, 4)), 1, torch.tensor([[0, 3], [1, 1], [2, 0]]))),
        one(lambda s: (s(real(3, 4)), 0, torch.tensor([[0, 2]]))),
    ]
)
case("take_along_dim")(
    [
        one(lambda s: (s(real(3, 4)), torch.tensor([[0, 3]]), 1)),
        one(lambda s: (s(real(1, 4)), torch.tensor([[0], [1], [3]]), -1)),
        one(lambda s: (s(real(3, 4)), torch.tensor([11, 0]))),
    ]
)
_MASK = torch.tensor([True, False, True])
_INDICES = (
    *(0, -1, None, ..., slice(1, None), [0, 2], _MASK, torch.tensor([2, 0, 0])),
    *((..., 0), (slice(None), 1), (slice(None), None, slice(None, None, 2)), (0, 1), (..., [0, 2]), (None, ..., None)),
    *((torch.tensor([0, 1]), slice(None), torch.tensor([1, 2])), (..., torch.tensor([0, 1]), torch.tensor([1, 2]))),
    *((_MASK, 0), (_MASK, ..., 1), (..., torch.tensor(1)), (slice(None), torch.tensor([[0, 1], [2, 2]]))),
    *((slice(None), torch.eye(3, 4) > 0), (torch.eye(3) > 0, ...), (0, ..., torch.tensor([1])), (_MASK.numpy(), 0)),
    (..., None, torch.tensor([1, 0])),
)
case(Tensor.__getitem__)([one(lambda s, i=i: (s(real(3, 3, 4)), i), order=2) for i in _INDICES])
case("split")([Case(lambda s, b: (s(real(*b, 4)), 3, -1)), Case(lambda s, b: (s(real(*b, 4)), [1, 3], -1))])
case("chunk", "tensor_split")([Case(lambda s, b: (s(real(*b, 4)), 3, -1))])
case("tensor_split")([Case(lambda s, b: (s(real(*b, 4)), (1, 2), -1))])
case("unbind")([Case(lambda s, b: (s(real(*b, 4)), -1)), one(lambda s: (s(real(3, 4)),))])
case("cat", "concat", "concatenate")(
    [
        Case(lambda s, b: ([real(*b, 1), s(real(*b, 4)), real(*b, 2)], -1)),
        Case(lambda s, b: ((s(real(*b, 4)), s(real(*b, 2))), -1)),
        one(lambda s: ([s(real(2, 3)), real(1, 3), s(real(2, 3))],)),
        one(lambda s: ([torch.ones(2, 1, dtype=torch.float32), s(real(2, 3))], -1)),
    ]
)
case("stack")(
    [Case(lambda s, b: ([s(real(*b, 4)), real(*b, 4), s(real(*b, 4))], -1)), one(lambda s: ((real(), s(real())),))]
)
case("hstack")([one(lambda s: ([real(2, 1), s(real(2, 3))],)), one(lambda s: ([s(real(2)), s(real(3)), real()],))])
case("vstack", "row_stack")([one(lambda s: ([real(3), s(real(2, 3))],)), one(lambda s: ([s(real(3)), s(real(3))],))])
case("column_stack")([one(lambda s: ([real(3), s(real(3, 2))],)), one(lambda s: ([s(real(3)), s(real(3))],))])
case("sum", "mean")(
    [
        *unary(real),
        *[
            Case(lambda s, b: (s(real(*b, 4)), -1)),
            Case(lambda s, b: (s(real(*b, 4)), -1, True)),
            Case(lambda s, b: (s(real(*b, 4)), ())),
        ],
        *[
            one(lambda s: (s(real(2, 3, 4)), (0, -1))),
            one(lambda s: (s(real(2, 3, 4)), 1, True)),
            one(lambda s: (s(real()), 0)),
        ],
        one(lambda s: (s(real(2, 3)),), kwargs={"dtype": torch.float64}),
        one(lambda s: (s(real(2, 3)),), kwargs={"axis": 1, "keepdims": True}),
    ]
)
case("cumsum")(
    [Case(lambda s, b: (s(real(*b, 4)), -1)), one(lambda s: (s(real(2, 3)), 0), kwargs={"dtype": torch.float64})]
)
case("diff")([Case(lambda s, b: (s(real(*b, 4)),)), one(lambda s: (s(real(4, 3)), 2, 0))])
case(torch.diagonal, Tensor.diagonal)([one(lambda s: (s(real(2, 3, 4)),)), one(lambda s: (s(real(2, 3, 4)), 1, -1, 1))])
case(linalg.diagonal)(
    [one(lambda s: (s(real(2, 3, 4)),)), one(lambda s: (s(real(2, 3, 4)),), kwargs={"offset": 1, "dim1": 0})]
)
case("diag_embed")([Case(lambda s, b: (s(real(*b, 4)),))])
case("diag")([one(lambda s: (s(real(3)),)), one(lambda s: (s(real(3, 4)),)), one(lambda s: (s(real(3, 4)), 1))])
case("trace")([one(lambda s: (s(real(3, 4)),))])
case("tril", "triu")([one(lambda s: (s(real(2, 3, 4)),)), one(lambda s: (s(real(3, 4)), 1))])
case("pad")(
    [
        Case(lambda s, b: (s(real(*b, 4)), (1, 2))),
        one(lambda s: (s(real(3, 4)), (0, 1, 2, -1)), kwargs={"value": 0.5}),
        *[
            one(lambda s: (s(real(2, 3, 4)), (1, 2)), kwargs={"mode": mode}, order=2)
            for mode in ("reflect", "replicate", "circular")
        ],
        one(lambda s: (s(real(3, 4)), (1, 2)), kwargs={"mode": "circular"}, order=2),
        one(lambda s: (s(real(2, 1, 3, 4)), (1, 2, 1, 0)), kwargs={"mode": "circular"}, order=2),
    ]
)
case(Tensor.contiguous)(unary(real))
case("dropout", "alpha_dropout", "feature_dropout", "dropout1d", "feature_alpha_dropout")(
    [one(lambda s: (s(real(2, 3)), 0.5, False))]
)
case("dropout2d", "dropout3d")([one(lambda s: (s(real(2, 3, 4, 4)), 0.5, False), order=2)])
case(Tensor.to, Tensor.type)(
    [one(lambda s: (s(real(2, 3)), torch.float64)), one(lambda s: (s(real(2, 3)), torch.int64))]
)
case(Tensor.to)([one(lambda s: (real(2, 3), s(real(2))))])
case(Tensor.type_as)([one(lambda s: (s(real(2, 3)), real(1))), one(lambda s: (torch.ones(2), s(real(2))))])
case(Tensor.double)(unary(real))

# --- choices
case(torch.where)(
    [
        Case(lambda s, b: (real(*b, 4) > 0, s(real(*b, 4)), s(real(*b, 4)))),
        Case(lambda s, b: (real(*b, 4) > 0, s(real(*b, 4)), 0.5)),
        Case(lambda s, b: (real(*b, 4) > 0, real(4), s(real(*b, 4)))),
        one(lambda s: (real(2, 1, 4) > 0, s(real(3, 4)), s(real(4)))),
        one(lambda s: (real(3, 1) > 0, s(real(4)), real(2, 1, 1))),
        one(lambda s: (torch.tensor(True), s(real(3, 1)), real(4))),
        one(lambda s: (real(3, 4) > 0, s(real(3, 4)), torch.full((), -math.inf, dtype=torch.float64))),
    ]
)
case(Tensor.where)(
    [one(lambda s: (s(real(3, 4)), real(4) > 0, 0.0)), one(lambda s: (real(3, 4), real(4) > 0, s(real(3, 4))))]
)
case("masked_fill")(
    [
        Case(lambda s, b: (s(real(*b, 4)), real(*b, 4) > 0, -math.inf)),
        one(lambda s: (s(real(3, 4)), real(2, 1, 1) > 0, 1)),
    ]
)
case("masked_fill")([one(lambda s: (real(3, 4), real(4) > 0, s(real())))])
case("amax", "amin")(
    [*unary(spread), *[Case(lambda s, b: (s(spread(*b, 4)), -1)), one(lambda s: (s(spread(2, 3, 4)), (0, 2), True))]]
)
case("max", "min")(
    [
        *unary(spread),
        Case(lambda s, b: (s(spread(*b, 4)), -1)),
        one(lambda s: (s(spread(3, 4)), 0, True)),
        *binary(spread),
    ]
)
case("sort")([Case(lambda s, b: (s(spread(*b, 4)),)), one(lambda s: (s(spread(3, 4)), 0, True))])
case("sort")([one(lambda s: (s(spread(3, 4)),), kwargs={"dim": 0, "descending": True})])
case("topk", "kthvalue")([Case(lambda s, b: (s(spread(*b, 4)), 2)), one(lambda s: (s(spread(3, 4)), 2, 0))])
case("median", "cummax", "cummin")([Case(lambda s, b: (s(spread(*b, 4)), -1))])
case("kthvalue")([one(lambda s: (s(spread(3, 4)), 2, 0), kwargs={"keepdim": True})])
CASES[torch.median] = CASES[Tensor.median] = [
    Case(lambda s, b: (s(spread(*b, 4)), -1)),
    one(lambda s: (s(spread(3, 4)), 0, True)),
]


# --- linear algebra; nested forward mode of torch 2.13 drops terms of solve, det, slogdet: see pytorch issue 198017
def well_conditioned(*shape):
    return 0.3 * real(*shape) + torch.eye(shape[-1], dtype=torch.float64)


def symmetrised(a):
    return a @ a.transpose(-1, -2)


def determinant(a):
    """Laplace's expansion."""
    if a.shape[-1] == 1:
        return a[..., 0, 0]
    minors = [a[..., 1:, [j for j in range(a.shape[-1]) if j != i]] for i in range(a.shape[-1])]
    return sum((-1) ** i * a[..., 0, i] * determinant(m) for i, m in enumerate(minors))


def by_inverse(a, b, *, left=True):
    if not left:
        return b @ torch.linalg.inv(a)
    vector = b.ndim == 1 or b.shape == a.shape[:-1]
    x = torch.linalg.inv(a) @ (b.unsqueeze(-1) if vector else b)
    return x.squeeze(-1) if vector else x


def triangular(a, b, *, upper, left=True, unitriangular=False):
    a = torch.triu(a) if upper else torch.tril(a)
    if unitriangular:
        a = a - torch.diag_embed(a.diagonal(0, -2, -1)) + torch.eye(a.shape[-1], dtype=a.dtype)
    return by_inverse(a, b, left=left)


case("inv", "inverse")([Case(lambda s, b: (s(well_conditioned(*b, 3, 3)),))])
case("det")([Case(lambda s, b: (s(well_conditioned(*b, 3, 3)),), reference=determinant)])
case("logdet")([one(lambda s: (s(well_conditioned(2, 3, 3)),), reference=lambda a: determinant(a).log())])
case("slogdet")(
    [Case(lambda s, b: (s(real(*b, 3, 3)),), reference=lambda a: (determinant(a).sign(), determinant(a).abs().log()))]
)
case(linalg.solve)(
    [
        Case(lambda s, b: (s(well_conditioned(*b, 3, 3)), s(real(*b, 3, 2))), reference=by_inverse),
        Case(lambda s, b: (well_conditioned(*b, 3, 3), s(real(3))), reference=by_inverse),
        Case(lambda s, b: (s(well_conditioned(*b, 3, 3)), real(*b, 3)), reference=by_inverse),
        one(lambda s: (s(well_conditioned(3, 3)), s(real(2, 3))), kwargs={"left": False}, reference=by_inverse),
        one(lambda s: (well_conditioned(2, 3, 3), s(real(3, 2))), reference=by_inverse),
    ]
)
case(linalg.solve_triangular)(
    [
        one(lambda s: (s(well_conditioned(3, 3)), s(real(2, 3, 1))), kwargs={"upper": True}, reference=triangular),
        one(lambda s: (well_conditioned(2, 3, 3), s(real(3, 2))), kwargs={"upper": False}, reference=triangular),
        one(
            lambda s: (s(real(3, 3)), s(real(2, 3))),
            kwargs={"upper": False, "left": False, "unitriangular": True},
            reference=triangular,
        ),
    ]
)
case("cholesky_solve")(
    [
        one(lambda s: (s(real(3, 2)), well_conditioned(2, 3, 3))),
        one(
            lambda s: (s(real(3, 2)), s(well_conditioned(3, 3)), True),
            reference=lambda b, u, upper: torch.linalg.inv(torch.triu(u).T @ torch.triu(u)) @ b,
        ),
    ]
)
# torch's nested forward derivatives of these are wrong at 0.
case("prod")(
    [
        *[
            Case(lambda s, b: (s(real(*b, 4)), -1)),
            one(lambda s: (s(real(2, 3)),)),
            one(lambda s: (s(real(2, 3)), 0, True)),
        ],
        one(
            lambda s: (s(torch.tensor([0.0, 2.0, 0.0, 1.5], dtype=torch.float64)), 0),
            reference=lambda x, dim: x[0] * x[1] * x[2] * x[3],
        ),
    ]
)
case("cumprod")(
    [
        Case(lambda s, b: (s(real(*b, 4)), -1)),
        one(
            lambda s: (s(torch.tensor([0.0, 2.0, 0.0, 1.5], dtype=torch.float64)), 0),
            reference=lambda x, dim: torch.stack([x[0], x[0] * x[1], x[0] * x[1] * x[2], x[0] * x[1] * x[2] * x[3]]),
        ),
    ]
)

# --- composites
case("softmax", "log_softmax", "softmin")([Case(lambda s, b: (s(real(*b, 4)), -1)), one(lambda s: (s(real(3, 4)), 0))])
case("softmax", "log_softmax")([one(lambda s: (s(real(3, 4)), 0), kwargs={"dtype": torch.float64})])
case("logsumexp")([Case(lambda s, b: (s(real(*b, 4)), -1)), one(lambda s: (s(real(2, 3, 4)), (0, 2), True))])


# torch's nested forward derivatives of layer_norm and of what it does by batch_norm are wrong: pytorch issue 198017.
def normalised(x, shape, weight=1.0, bias=0.0, eps=1e-5):
    dims = tuple(range(-len(shape), 0))
    return (x - x.mean(dims, True)) * (x.var(dims, False, True) + eps).rsqrt() * weight + bias


def normalised_images(x, mean, var, weight, bias):
    return normalised(x, x.shape[2:], weight[:, None], bias[:, None])


case(functional.layer_norm)(
    [
        Case(lambda s, b: (s(real(*b, 4)), (4,), real(4), real(4)), reference=normalised),
        one(lambda s: (s(real(2, 3, 4)), (3, 4)), reference=normalised),
    ]
)
case(functional.rms_norm)(
    [Case(lambda s, b: (s(real(*b, 4)), (4,), real(4))), one(lambda s: (s(real(2, 3, 4)), (3, 4)), kwargs={"eps": 0.1})]
)
case(functional.group_norm)([one(lambda s: (s(real(2, 4, 3)), 2, real(4), real(4)))])
case(functional.instance_norm)(
    [
        one(lambda s: (s(real(2, 4, 3)), None, None, real(4), real(4)), reference=normalised_images),
        one(lambda s: (s(real(2, 4, 3)), real(4), positive(4)), kwargs={"use_input_stats": False}),
    ]
)
case(functional.batch_norm)(
    [
        one(lambda s: (s(real(3, 4)), real(4), positive(4), real(4), real(4))),
        one(lambda s: (s(real(3, 4, 2)), real(4), positive(4))),
    ]
)
case("normalize")([one(lambda s: (s(real(3, 4)),)), one(lambda s: (s(real(3, 4)),), kwargs={"p": 3.0, "dim": 0})])
_NORMS = [
    *unary(positive),
    *[Case(lambda s, b, p=p: (s(real(*b, 4)), p, -1)) for p in (1, 2, 3, math.inf, -math.inf)],
    one(lambda s: (s(real(2, 3, 4)), 2, (0, 2), True)),
]
case(linalg.vector_norm, torch.norm, Tensor.norm)(_NORMS)
case(torch.norm, Tensor.norm)([one(lambda s: (s(real(3, 4)),)), one(lambda s: (s(real(3, 4)), 2, None))])
case(linalg.norm)(
    [
        *unary(positive),
        Case(lambda s, b: (s(real(*b, 4)), 3, -1)),
        one(lambda s: (s(real(3, 4)),), kwargs={"dim": (0, 1)}),
    ]
)
case(linalg.norm)([one(lambda s: (s(real(3, 4)), "fro"))])
case("cosine_similarity")(
    [one(lambda s: (s(real(3, 4)), real(4)), kwargs={"dim": -1}), one(lambda s: (s(real(3, 4)), s(real(3, 4))))]
)
case("pairwise_distance")([one(lambda s: (s(real(3, 4)), real(3, 4))), one(lambda s: (s(real(3, 4)), s(real(3, 4))))])
case(torch.cdist)(
    [
        one(lambda s: (s(real(3, 4)), real(2, 4)), reference=lambda a, b: (a[:, None] - b).norm(dim=-1)),
        one(lambda s: (s(real(2, 3)), s(2 + real(4, 3))), reference=lambda a, b: (a[:, None] - b).norm(dim=-1)),
    ]
)
_SPREADS = [
    Case(lambda s, b: (s(real(*b, 4)), -1)),
    one(lambda s: (s(real(3, 4)), False)),
    one(lambda s: (s(real(2, 3, 4)), (0, 2)), kwargs={"correction": 0, "keepdim": True}),
]
case("var", "std", "var_mean", "std_mean")([*_SPREADS, one(lambda s: (s(real(3, 4)),))])
case("mse_loss")([one(lambda s: (s(real(3, 4)), real(3, 4)), kwargs={"reduction": r}) for r in ("none", "sum", "mean")])
case(functional.scaled_dot_product_attention)(
    [
        Case(lambda s, b: tuple(s(real(*b, 3, 2)) for _ in range(3)), order=3),
        one(lambda s: (s(real(2, 3, 4)), real(2, 3, 4), s(real(2, 3, 4)), real(3, 3)), order=3),
        one(lambda s: tuple(s(real(2, 3, 4)) for _ in range(3)), kwargs={"is_causal": True}, order=3),
        one(
            lambda s: (*(s(real(2, 3, 4)) for _ in range(3)), torch.ones(3, 3).tril() > 0),
            kwargs={"scale": 0.7},
            order=3,
        ),
    ]
)


def _attention(s, heads=2, width=4, **kwargs):
    return (
        *(s(real(3, 2, width)) for _ in range(3)),
        width,
        heads,
        real(3 * width, width),
        real(3 * width),
        None,
        None,
        False,
        0.0,
        real(width, width),
        real(width),
    )


_PADDING = torch.tensor([[False, False, True], [False, False, False]])
case(functional.multi_head_attention_forward)(
    [
        one(_attention, order=2),
        one(
            _attention, kwargs={"attn_mask": torch.ones(3, 3, dtype=torch.bool).triu(1), "need_weights": False}, order=2
        ),
        one(_attention, kwargs={"key_padding_mask": _PADDING, "average_attn_weights": False}, order=2),
        one(_attention, kwargs={"attn_mask": torch.eye(3, dtype=torch.float64).expand(4, 3, 3)}, order=2),
    ]
)


def cell(gates):
    return lambda s: (s(real(2, 3)), s(real(2, 5)), real(gates * 5, 3), real(gates * 5, 5), *(real(gates * 5),) * 2)


case(torch.rnn_tanh_cell)([one(cell(1))])
case(torch.rnn_relu_cell)([one(cell(1), order=1)])
case(torch.gru_cell)([one(cell(3))])
case(torch.lstm_cell)([one(lambda s: (s(real(2, 3)), (s(real(2, 5)), real(2, 5)), real(20, 3), real(20, 5)))])

# --- constants
_OF_ONE = (
    "sign sgn floor ceil round trunc fix isnan isinf isfinite isposinf isneginf signbit detach zeros_like ones_like"
)
case(*_OF_ONE.split(), "logical_not", "argsort", "nonzero", "count_nonzero", "any", "all", "argmax", "argmin")(
    unary(real)
)
_OF_TWO = "eq ne lt le gt ge not_equal less less_equal greater greater_equal isclose logical_and logical_or logical_xor"
case(*_OF_TWO.split())([one(lambda s: (real(3), s(real(3))), deep=False), *binary(real)[3:5]])
# torch has no forward derivative of these, not even zero.
case("heaviside")([one(lambda s: (s(real(3)), real(3)), reference=lambda x, y: (x > 0).double())])
case(Tensor.__rfloordiv__)([one(lambda s: (s(positive(3)), real(3)), reference=lambda x, y: (y / x).floor())])
case(Tensor.__eq__, Tensor.__ne__)([one(lambda s: (real(3), s(real(3))))])
case("floor_divide", Tensor.__floordiv__)(
    [one(lambda s: (s(real(3, 4)), positive(4)), reference=lambda x, y: (x / y).floor())]
)
case("full_like")([one(lambda s: (s(real(3)), 2.0))])
case("new_zeros", "new_ones")([one(lambda s: (s(real(3)), (2, 3)))])
case("new_full")([one(lambda s: (s(real(3)), (2, 3), 2.0))])
case("long", "int", "short", "char", "byte", "bool")([])
case(Tensor.long, Tensor.int, Tensor.short, Tensor.char, Tensor.bool, Tensor.byte)(
    [one(lambda s: (s(1 + 4 * positive(3)),))]
)
case("bucketize")([one(lambda s: (s(real(3)), torch.tensor([0.0, 1.0], dtype=torch.float64)))])
case("searchsorted")([one(lambda s: (torch.tensor([0.0, 1.0], dtype=torch.float64), s(real(3))))])
case(Tensor.new_tensor)([one(lambda s: (s(real(3)), [1.0, 2.0]))])

# These return no tensor, or no values, and are tested by name below.
TOLD = (
    *("allclose", "equal", "size", "dim", "numel", "is_floating_point"),
    *("is_complex", "get_device", "element_size", "stride", "is_contiguous"),
    *("ndimension", "nelement", "is_signed", "is_same_size"),
)
UNWRITTEN = ("empty_like", "new_empty")
CONVERSIONS = {"float": torch.float32, "half": torch.float16, "bfloat16": torch.bfloat16}
REFUSED = ("requires_grad_", "is_nonzero", "cholesky_inverse", "householder_product", "tensorsolve", "logcumsumexp")

HOMES = {"torch": torch, "Tensor": Tensor, "functional": functional, "special": special, "linalg": linalg}


def label(function):
    for home, module in HOMES.items():
        for name in dir(module):
            if getattr(module, name, None) is function:
                return f"{home}.{name}"
    return str(function)


LABELS = {function: label(function) for function in CASES}


def as_called(function):
    """The function as a series meets it: a method through the series, anything else by its torch function."""
    home, _, name = LABELS[function].partition(".")
    if home != "Tensor":
        return function
    private = name.startswith("__")

    def call(first, *args, **kwargs):
        if isinstance(first, Tensor):
            return function(first, *args, **kwargs)
        return apply(function, (first, *args), dict(kwargs)) if private else getattr(first, name)(*args, **kwargs)

    return call


def variants():
    for function, cases in CASES.items():
        for i, c in enumerate(cases):
            if not (c.number_first and LABELS[function].startswith("Tensor.")):
                yield pytest.param(function, c, id=f"{LABELS[function]}-{i}")


def deep(order=1):
    """One spelling of each case; the others share its rule."""
    seen, found = set(), []
    for p in variants():
        function, c = p.values
        rule = (id(RULES.get(key(function), function)), id(c))
        if c.deep and c.order >= order and rule not in seen:
            seen.add(rule)
            found.append(p)
    # One in twenty-four by default; all of them with `-m slow`, as the verification does.
    return [p if i % 24 == 0 else pytest.param(*p.values, id=p.id, marks=pytest.mark.slow) for i, p in enumerate(found)]


def follow(follower, series, function, c, batch):
    def plain(*args):
        return function(*args, **c.kwargs)

    called = as_called(function)
    reference = c.reference and (lambda *args: c.reference(*args, **c.kwargs))
    return follower(plain, c.args(series, batch), lambda *args: called(*args, **c.kwargs), reference)


def test_every_rule_has_a_case():
    others = {f for name in (*TOLD, *UNWRITTEN, *CONVERSIONS, *REFUSED) for f in spellings(name)}
    others.add(torch.linalg.cholesky)  # which has a test of its own
    known = {key(f) for f in (*others, *(f for f, cases in CASES.items() if cases))}
    missing = [f if isinstance(f, str) else label(f) for f in RULES if f not in known]
    assert not missing


@pytest.mark.parametrize(("function", "c"), list(variants()))
def test_every_spelling(follower, series, function, c):
    follow(follower, series, function, c, c.batches[-1]).curve(1)


@pytest.mark.parametrize(("function", "c"), deep())
def test_curves(follower, series, function, c):
    for batch in c.batches:
        follow(follower, series, function, c, batch).curve(c.order if batch == c.batches[-1] else 1)


@pytest.mark.parametrize(("function", "c"), deep())
def test_directions(follower, series, function, c):
    for layout in LAYOUTS:
        order = min(3, c.order) if layout in ("shared", "missing") else 1
        follow(follower, series, function, c, c.batches[-1]).directional(order, layout)


@pytest.mark.parametrize(("function", "c"), deep(order=2))
def test_collapsed(follower, series, function, c):
    for layout, metric in COLLAPSED:
        follow(follower, series, function, c, c.batches[-1]).collapsed(metric, layout)


@pytest.mark.parametrize(("function", "c"), deep(order=2))
def test_series_of_series(follower, series, function, c):
    follow(follower, series, function, c, c.batches[0]).nested()


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky(follower, series, upper):
    # Of matrices that are symmetric along the whole curve.
    def factor(a):
        return torch.linalg.cholesky(symmetrised(a), upper=upper)

    argument = (series(well_conditioned(2, 3, 3)),)
    follower(factor, argument).curve(4)
    follower(factor, argument).collapsed("matrix")
    follower(factor, argument).nested()
