"""Functions without a rule, what series refuse, and the edges of what they follow."""

import math

import numpy as np
import pytest
import torch
from torch import special
from torch.func import jacrev
from torch.nn import functional

from pdekit.operators import divergence, laplacian
from pdekit.operators.propagation import Diagonal, Run, Unsupported
from pdekit.operators.propagation.jet import RULES

FLOAT = torch.float64
KINDS = ("curve", "directions", "collapsed", "matrix", "pairs", "diagonal")


def real(*shape):
    return 0.8 * torch.randn(shape, dtype=FLOAT)


def check(followed, kind):
    """One kind of run."""
    if kind == "curve":
        followed.curve(3)
    elif kind == "directions":
        followed.directional(2, "missing")
    elif kind == "diagonal":
        followed.collapsed(None, "diagonal-rows")
    else:
        followed.collapsed(None if kind == "collapsed" else kind, "full")


WITHOUT_RULE = {
    "i0e": (special.i0e, (real,)),
    "erfinv": (torch.erfinv, (lambda *b: torch.tanh(real(*b)),)),
    "erfcx": (special.erfcx, (real,)),
    "nan_to_num": (torch.nan_to_num, (real,)),
    "rot90": (lambda x: torch.rot90(x, 1, (0, 1)), (real,)),
    "matrix_exp": (lambda x: torch.linalg.matrix_exp(x[:, :3]), (real,)),
    "scatter_add": (lambda x, y: torch.scatter_add(x, 1, torch.zeros(3, 2, dtype=torch.int64), y), (real, real)),
    "addr": (lambda x, y: torch.addr(x, y[:, 0], x[0]), (real, real)),
    "max_pool": (lambda x: functional.max_pool1d(x, 2), (real,)),
    "keywords": (lambda x, y: torch.copysign(input=x.exp(), other=y), (real, real)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WITHOUT_RULE)
def test_functions_without_a_rule(follower, series, name, kind):
    function, domains = WITHOUT_RULE[name]
    check(follower(function, tuple(series(d(3, 4)) for d in domains)), kind)


def test_functions_without_a_rule_are_recorded():
    run = Run(1, directions=False)
    special.i0e(run.jet(real(3), [real(3)], 0))
    assert special.i0e not in RULES
    assert run.nested == ["special_i0e"]


def test_nothing_moves_along_any_direction(follower, series):
    run = Run(2, directions=True, collapsed=True)
    drift = real(3)
    x = real(3)
    result = special.i0e(run.jet(x, [None, drift], 0))
    assert result.full(1) is None
    torch.testing.assert_close(result.full(2), torch.func.jvp(special.i0e, (x,), (drift,))[1])
    run = Run(2, directions=True)
    assert special.i0e(run.jet(x, [None, None], 0)).coefficients == [None, None]


EDGES = {
    "softmax of masked entries": lambda x: torch.softmax(x.masked_fill(x > 0.3, -math.inf), -1),
    "softmax of added -inf": lambda x: torch.softmax(x + torch.tensor([0.0, -math.inf, 0.0, 0.0], dtype=FLOAT), -1),
    "log_softmax of masked entries": lambda x: torch.log_softmax(x.masked_fill(x > 0.3, -math.inf), -1).exp(),
    "logsumexp of masked entries": lambda x: torch.logsumexp(x.masked_fill(x > 0.3, -math.inf), -1),
    "logaddexp with -inf": lambda x: torch.logaddexp(x, torch.tensor([0.0, -math.inf, 1.0, -math.inf], dtype=FLOAT)),
    "logarithm where defined": lambda x: torch.where(x > 0, torch.log(x), torch.sin(x)),
    "square root where defined": lambda x: torch.where(x > 0, torch.sqrt(x), 0.0).sum(-1),
    "mask of bools": lambda x: x * (x > 0),
    "mask of bools, summed": lambda x: (x * (x > 0)).sum(-1, keepdim=True) * x,
    "integers": lambda x: (x * torch.arange(4)).sum(-1) / torch.tensor(3) + torch.arange(3),
    "divided by integers": lambda x: x / torch.arange(1, 5) + x / torch.tensor([3], dtype=torch.int32),
    "single precision constants": lambda x: (x + torch.tensor([0.1])) * torch.tensor([0.1, 0.2, 0.3, 0.4]),
    "single precision divisor": lambda x: x / torch.tensor([0.1, 0.2, 0.3, 0.4]) - torch.tensor(0.1) / (2 + x),
    "float32 array to the left": lambda x: torch.tensor([[0.1], [0.2], [0.3]]) - x,
    "counts": lambda x: x.sum(-1) / (x > 0).sum(-1).clamp(min=1),
    "small": lambda x: torch.log(1e-100 * (2 + x)) + (1e-100 * (2 + x)) ** 0.5 * 1e50,
    "reflected": lambda x: (2 - x) * (1 + x) / (3 - x) + 2 / (2 + x) - (-x) + (+x) + 1.5**x + abs(x) - 2 * x,
    "NumPy scalars": lambda x: x * np.float64(2.0) + x / np.sqrt(2.0) - x ** np.int64(3) + x ** np.float64(2.0),
    "modulo": lambda x: x % 0.3 + (2 + x) % (1.1 + 0.1 * torch.sin(x)),
    "quadratic form": lambda x: (x @ QUADRATIC * x).sum(-1),
    "quadratic form of columns": lambda x: (x.unsqueeze(-2) @ QUADRATIC @ x.unsqueeze(-1)).squeeze(-1).squeeze(-1),
    "matrix to the left": lambda x: (QUADRATIC @ x.unsqueeze(-1)).squeeze(-1) + (QUADRATIC @ x.mT).mT,
    "one row": lambda x: QUADRATIC @ x[0] + x[1] @ QUADRATIC @ x[2],
    "norms": lambda x: x / (1 + x.norm(dim=-1, keepdim=True)) + (x**2).sum(-1, keepdim=True).sqrt(),
    "columns": lambda x: torch.stack([x[:, 0] * x[:, 1], x[..., 2].sin(), x.T[3]], -1),
    "unpacked": lambda x: sum(a * b for a, b in zip(x.unbind(-1), list(x.T), strict=True)),
    "keywords": lambda x: torch.sum(torch.softmax(input=x, dim=-1), axis=0, keepdims=True) + torch.mul(x, other=x),
    "where by method": lambda x: x.where(x > 0, 0.1 * x) + QUADRATIC[:3].where(x > 0, x),
    "clamped by series": lambda x: x.clamp(min=0.5 * x.sin() - 1, max=torch.tensor(0.2)),
    "ends of a polynomial": lambda x: (x - x.detach()) ** 3 + (x - x.detach()) ** 2 + (x - x.detach()) ** 1,
    "sizes": lambda x: x.reshape(-1, x.shape[-1])[: len(x)] * x.size(-1) + x.new_ones(x.shape) * x.dim() + x.numel(),
    "steps": lambda x: x.round() * x + torch.floor(x) + x.sign() * x + x.long() * x + x.detach() * x,
    "maxima": lambda x: x.max() * x.amax(-1, keepdim=True) + x.max(-1, True).values - torch.maximum(x, x.sin() - 0.1),
}
QUADRATIC = torch.tensor([[2.0, 1, 0, 3], [0, 1, 5, 2], [1, 0, 0, 1], [4, 0, 1, 0]], dtype=FLOAT)


@pytest.mark.parametrize("name", EDGES)
def test_edges(follower, series, name):
    torch.manual_seed(3)
    x = series(real(3, 4))
    for kind in KINDS:
        check(follower(EDGES[name], (x,)), kind)


def test_sinc_near_zero():
    # Its own second derivative by torch has lost all digits there: sinc'' = -pi^2/3 + pi^4 x^2 / 10 - ...
    for x in (0.0, 1e-12, 1e-6, -1e-3):
        run = Run(2, directions=False)
        at = torch.tensor(x, dtype=FLOAT)
        result = torch.sinc(run.jet(at, [torch.ones_like(at), None], 0))
        slope = -(math.pi**2) * x / 3 + math.pi**4 * x**3 / 30
        half = -(math.pi**2) / 6 + math.pi**4 * x**2 / 20 - math.pi**6 * x**4 / 336
        assert abs(float(result.dense(1)) - slope) <= 1e-14  # the next term is 1e-14 at 1e-3
        assert abs(float(result.dense(2)) - half) <= 1e-14


def in_place(x):
    y = 2 * x
    y.add_(x)
    return y


def assigned(x):
    y = torch.zeros(x.shape, dtype=x.dtype)
    y[..., 0] = x[..., 1] ** 2
    return y


def added_to_a_view(x):
    y = torch.zeros(x.shape, dtype=x.dtype)
    view = y[..., 0]
    view += x[..., 0] ** 2
    return y


def written_out(x):
    y = torch.empty(x.shape, dtype=x.dtype)
    torch.sin(x, out=y)
    return y


def copied(x):
    return torch.empty(x.shape, dtype=x.dtype).copy_(x**2)


def filled(x):
    y = x.clone()
    y[..., 0] = 0.0
    return y * x


class Straight(torch.autograd.Function):
    """A step whose declared derivative is that of the identity."""

    @staticmethod
    def forward(ctx, x):
        return torch.round(x) * x

    @staticmethod
    def backward(ctx, gradient):
        return 3 * gradient


def without_gradient(x):
    with torch.no_grad():
        length = x.norm(dim=-1, keepdim=True)
    return x * length


REFUSED = {
    "in-place method": in_place,
    "assignment": assigned,
    "augmented assignment to a view": added_to_a_view,
    "copy into a tensor": copied,
    "assignment to the state": filled,
    "in-place activation": lambda x: functional.silu(2 * x, inplace=True),
    "in-place function": lambda x: torch.relu_(2 * x) + x**2,
    "custom autograd function": lambda x: Straight.apply(x) * x,
    "block without gradients": without_gradient,
    "requires_grad_": lambda x: torch.autograd.grad((x**3).sum(), x, create_graph=True)[0],
    "data": lambda x: x.data * x,
    "dropout of all but nothing": lambda x: functional.dropout(x**2, 1e-300, training=True),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_left_to_autograd(name):
    function, x = REFUSED[name], real(3, 4).requires_grad_()
    result = divergence(function, full_output=True)(x)
    assert result.plan.route not in ("dense", "compressed")
    expected = torch.stack([torch.autograd.functional.jacobian(function, row).trace() for row in x.detach()])
    torch.testing.assert_close(result.value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        *(in_place, assigned, added_to_a_view, written_out, copied, filled, without_gradient),
        *(lambda x: x if x.sum() else 2 * x, lambda x: x * float(x.sum()), lambda x: x * int(x.sum())),
        *(lambda x: x * x.sum().item(), lambda x: x.tolist(), lambda x: x.numpy(), lambda x: np.sin(x)),
        *(lambda x: np.asarray(x), lambda x: math.sin(x[0, 0]), lambda x: list(range(3))[x[0, 0]]),
        *(lambda x: torch.is_nonzero(x[0, 0]), lambda x: x.requires_grad_(), lambda x: x.backward()),
        *(lambda x: functional.silu(x, inplace=True), lambda x: functional.dropout(x, 0.5, True)),
        *(lambda x: torch.add(x, x, out=torch.empty(3, 4)), lambda x: torch.cat([x, x], out=torch.empty(6, 4))),
        *(lambda x: functional.normalize(x, out=torch.empty(3, 4)), lambda x: torch.rand(4)[x]),
        *(lambda x: x.norm(p="nuc"), lambda x: torch.linalg.norm(x, 2)),
        *(lambda x: torch.linalg.vector_norm(x, 0), lambda x: torch.median(x), lambda x: torch.logcumsumexp(x, 0)),
        *(lambda x: torch.conv1d(torch.rand(1, 3, 4, dtype=FLOAT), x.unsqueeze(-1)), lambda x: torch.fft.rfft(x)),
        *(lambda x: functional.rrelu(x, training=True), lambda x: x.view(torch.int64), lambda x: x.diff(prepend=x)),
    ],
)
def test_refused_by_series(function):
    x = Run(1, directions=True).jet(real(3, 4), [Diagonal(4)], 0)
    with pytest.raises((Unsupported, NotImplementedError)):
        function(x)


def test_a_tensor_made_of_series_is_refused():
    run = Run(1, directions=True)
    x = run.jet(real(4), [Diagonal(4)], 0)
    for make in (torch.tensor, torch.as_tensor, torch.stack, np.array, torch.asarray):
        with pytest.raises((Unsupported, TypeError, IndexError, RuntimeError, ValueError)):
            torch.as_tensor(make([[x[0], x[1]]]))


def test_constants_of_series():
    x = real(3, 4)
    run = Run(1, directions=True)
    jet = run.jet(x, [Diagonal(4)], 0)
    assert jet.size() == x.shape
    assert (jet.dim(), jet.ndimension(), jet.numel(), jet.nelement(), len(jet)) == (2, 2, 12, 12, 3)
    assert (jet.stride(), jet.is_contiguous(), jet.element_size()) == ((4, 1), True, 8)
    assert (jet.is_floating_point(), jet.is_complex(), jet.is_signed(), jet.get_device()) == (True, False, True, -1)
    assert jet.allclose(x)
    assert jet.equal(x)
    assert jet.is_same_size(x)
    assert torch.allclose(x, jet)
    assert torch.empty_like(jet).shape == jet.new_empty((3, 4)).shape == x.shape
    assert type(jet.type()) is str
    for name, dtype in (("float", torch.float32), ("half", torch.float16), ("bfloat16", torch.bfloat16)):
        converted = getattr(jet, name)()
        assert converted.dtype == converted.dense(1).dtype == dtype
        torch.testing.assert_close(converted.value, x.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtypes_are_kept(dtype):
    x = real(3, 4).to(dtype)
    for function in (
        lambda x: torch.tanh(x).sum(-1),
        lambda x: functional.gelu(x) * 2 + 1 / (3 + x),
        lambda x: torch.softmax(x, -1) * torch.tensor(0.5, dtype=FLOAT),
        lambda x: x.clamp(-0.5, 0.5) * (x > 0) + x ** torch.tensor(2.0, dtype=FLOAT),
        lambda x: functional.softplus(x) + functional.elu(x) + torch.where(x > 0, x, 0.1),
    ):
        for run, c in (
            (Run(2, directions=True), [Diagonal(4), None]),
            (Run(2, directions=True, collapsed=True), [Diagonal(4), x]),
        ):
            result = function(run.jet(x, c, 0))
            assert result.dtype == dtype
            assert {z.dtype for z in (result.value, result.dense(1), result.dense(2))} == {dtype}


def test_a_wider_constant_widens_the_series():
    x = real(3, 4).float()
    run = Run(2, directions=True, collapsed=True)
    jet = run.jet(x, [Diagonal(4), None], 0)
    wide = real(4)
    for result in (jet * wide, jet + wide, wide - jet, jet / wide, wide / (3 + jet), torch.where(wide > 0, jet, wide)):
        square = (result * result).sum(-1)
        assert square.dtype == square.dense(1).dtype == square.dense(2).dtype == FLOAT
    image = (jet + wide) @ real(4, 2)
    assert image.dense(1).dtype == FLOAT


def test_no_intermediate_is_larger_than_the_jacobian_needs():
    """Starts that move one feature each stay so where the function lets them."""
    n, d = 7, 5
    x = real(n, d)
    run = Run(2, directions=True, collapsed=True)
    jet = run.jet(x, [Diagonal(d), None], 0)
    t = real(n, 1)
    for followed in (
        *(
            torch.sin(jet),
            jet * 2 + 1,
            jet * x - x,
            (jet - x) / 3,
            1 / (4 + jet),
            jet**2 * jet,
            -jet,
            jet * torch.rand(d),
        ),
        *(torch.cat([t, jet], -1), jet.clamp(-1, 1), torch.where(x > 0, jet, 0.1 * jet), torch.maximum(jet, t)),
        *(jet.expand(3, n, d), functional.gelu(jet) * jet, jet * (x > 0), jet.masked_fill(x > 0, 0.0), abs(jet)),
        *(torch.nn.functional.mish(jet), torch.xlogy(jet + 9, jet + 9), jet % 2.0, torch.cat([jet, t], -1)),
    ):
        assert isinstance(followed.coefficients[0], Diagonal)
    for summed in ((jet**2).sum(-1), jet.mean(-1), jet.norm(dim=-1), (jet**2).mean(-1, keepdim=True)):
        assert summed.dense(1).shape == (d, *summed.shape)
        assert summed.dense(2) is None or summed.dense(2).shape == summed.shape


def test_rounding_of_the_value():
    # The value that comes with the series is the function's own, to the last bit, where a rule has one value to give.
    x = real(50, 3)
    for function in (torch.tanh, functional.gelu, lambda x: x / 3, lambda x: x.mean(-1), lambda x: x / torch.tensor(7)):
        run = Run(2, directions=True, collapsed=True)
        assert torch.equal(function(run.jet(x, [Diagonal(3), None], 0)).value, function(x))


def test_series_agree_with_autograd_of_parameters():
    # Second derivatives of the state, differentiated in a parameter.
    weight = real(4, 4).requires_grad_()
    u = lambda x: torch.logsumexp(torch.tanh(x @ weight) * x, -1)  # noqa: E731
    x = real(3, 4)
    (found,) = torch.autograd.grad(laplacian(u)(x).sum(), weight)
    hessians = torch.stack([jacrev(jacrev(lambda row: u(row[None])[0]))(row) for row in x])
    (expected,) = torch.autograd.grad(hessians.diagonal(dim1=-2, dim2=-1).sum(), weight)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
