"""Series of test arguments, and what nested forward mode says about the function along them."""

import dataclasses
import math

import pytest
import torch
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from pdekit.operators.propagation import Diagonal, Run

DIRECTIONS = 2


@dataclasses.dataclass
class Series:
    """Marks the argument of a test case that depends on the state."""

    value: torch.Tensor


def is_marked(z):
    return isinstance(z, Series)


def mapped(args, function):
    """The arguments with `function` of each marked one, lists and tuples included."""
    if isinstance(args, list | tuple) and not isinstance(args, torch.Size):
        return type(args)(mapped(z, function) for z in args)
    return function(args) if is_marked(args) else args


def marked(args):
    found = []
    mapped(args, found.append)
    return found


def filled(args, values):
    values = iter(values)
    return mapped(args, lambda _: next(values))


class Reference:
    """f(args) along curves, by torch.func.jvp nested as deep as the order."""

    def __init__(self, function, args):
        self.values = [z.value for z in marked(args)]
        self.function = lambda *values: flat(function(*filled(args, values)))

    def output(self):
        return self.function(*self.values)

    def along(self, columns, order):
        """c_1 ... c_order of f along value + c_1 s + ... for one column of coefficients per marked argument."""

        def curve(s):
            points = []
            for value, column in zip(self.values, columns, strict=True):
                terms = (c * s**k for k, c in enumerate(column, start=1) if c is not None)
                points.append(value + sum(terms, torch.zeros_like(value) * s))
            return self.function(*points)

        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no forward derivative
            _, *found = derivatives(curve, order)(torch.zeros((), dtype=self.values[0].dtype))
        return [[c / math.factorial(k) for c in column] for k, column in enumerate(found, start=1)]

    def second(self, a, b):
        """D^2 f[a, b] for one tangent per marked argument."""
        with sdpa_kernel(SDPBackend.MATH):
            inner = lambda *z: jvp(self.function, z, tuple(a))[1]  # noqa: E731
            return jvp(inner, tuple(self.values), tuple(b))[1]


def derivatives(curve, order):
    """s -> [curve(s), curve'(s), ...], each derivative by forward mode of all that comes before it."""
    if order == 0:
        return lambda s: [curve(s)]
    lower = derivatives(curve, order - 1)

    def extended(s):
        values, slopes = jvp(lower, (s,), (torch.ones_like(s),))
        return [*values, slopes[-1]]

    return extended


def flat(result):
    result = result if isinstance(result, list | tuple) else (result,)
    return tuple(z for z in result if z is not None)


def random_coefficient(shape, lead, layout, position=0):
    """A coefficient of a value of `shape` that has fewer entries as the layout says."""
    sizes = list(shape)
    if layout == "shared":  # all rows the same
        sizes = [1] * (len(sizes) - 1) + sizes[-1:] if sizes else []
    elif layout == "rows" and sizes:  # all features the same
        sizes[-1] = 1
    elif layout == "missing" and position % 2 == 0:
        return None
    return torch.randn((*lead, *sizes), dtype=torch.float64)


def random_first(shape, layout, position=0):
    if layout.startswith("diagonal") and shape and shape[-1] >= DIRECTIONS:
        count = DIRECTIONS
        start = shape[-1] - count if layout != "diagonal" else 0
        scales = {"diagonal": None, "diagonal-shared": (count,), "diagonal-rows": (*shape[:-1], count)}[layout]
        return Diagonal(count, start, None if scales is None else torch.randn(scales, dtype=torch.float64))
    return random_coefficient(shape, (DIRECTIONS,), layout, position)


def dense_first(c, value):
    if isinstance(c, Diagonal):
        c = c.dense(value)
    return None if c is None else c.expand(c.shape[0], *value.shape)


@dataclasses.dataclass
class Follower:
    """Compares what rules do with nested forward mode, in each kind of run."""

    function: object
    args: tuple
    call: object = None
    reference: object = None

    def __post_init__(self):
        self.call = self.call or self.function
        self.truth = Reference(self.reference or self.function, self.args)
        self.values = self.truth.values

    def jets(self, run, columns):
        made = [run.jet(v, list(c), 0) for v, c in zip(self.values, columns, strict=True)]
        return flat(self.call(*filled(self.args, made)))

    def curve(self, order, layout="full"):
        run = Run(order, directions=False)
        columns = [
            [random_coefficient(v.shape, (), layout, i + k) for k in range(order)] for i, v in enumerate(self.values)
        ]
        self.compare(run, self.jets(run, columns), self.truth.along(columns, order))

    def directional(self, order, layout="full"):
        run = Run(order, directions=True)
        columns = []
        for i, v in enumerate(self.values):
            first = random_first(v.shape, layout, i)
            columns.append(
                [first, *(random_coefficient(v.shape, (DIRECTIONS,), layout, i + k) for k in range(1, order))]
            )
        dense = [[dense_first(c, v) for c in column] for column, v in zip(columns, self.values, strict=True)]
        each = [
            self.truth.along([[None if c is None else c[r] for c in column] for column in dense], order)
            for r in range(DIRECTIONS)
        ]
        expected = [[torch.stack(parts) for parts in zip(*(e[k] for e in each), strict=True)] for k in range(order)]
        self.compare(run, self.jets(run, columns), expected)

    def collapsed(self, metric, layout="full"):
        count = DIRECTIONS
        metric = symmetric(count) if metric == "matrix" else metric
        run = Run(2, directions=True, collapsed=True, metric=metric)
        columns = []
        for i, v in enumerate(self.values):
            first = random_first(v.shape, layout, i)
            columns.append([first, random_coefficient(v.shape, (), layout, i + 1)])
        dense = [dense_first(c[0], v) for c, v in zip(columns, self.values, strict=True)]
        zeros = [torch.zeros(count, *v.shape, dtype=v.dtype) for v in self.values]
        dense = [z if c is None else c for c, z in zip(dense, zeros, strict=True)]
        weights = weights_of(metric, count)
        slopes = [self.truth.along([[c[r]] for c in dense], 1)[0] for r in range(count)]
        first = [torch.stack(parts) for parts in zip(*slopes, strict=True)]
        second = self.truth.along([[z[0] if c[1] is None else c[1]] for c, z in zip(columns, zeros, strict=True)], 1)[0]
        for r in range(count):
            for s in range(count):
                if weights[r, s]:
                    term = self.truth.second([c[r] for c in dense], [c[s] for c in dense])
                    second = [a + 0.5 * weights[r, s] * b for a, b in zip(second, term, strict=True)]
        self.compare(run, self.jets(run, columns), [first, second])

    def nested(self):
        """A collapsed run of order 2 over another: sum_rq of d^2/ds_r^2 d^2/dt_q^2, as in a biharmonic operator."""
        inner = Run(2, directions=True, collapsed=True, level=1)
        outer = Run(2, directions=True, collapsed=True, level=2)
        first = [torch.randn((DIRECTIONS, *v.shape), dtype=v.dtype) for v in self.values]
        other = [torch.randn((DIRECTIONS, *v.shape), dtype=v.dtype) for v in self.values]
        made = [
            outer.jet(inner.jet(v, [a, None], 0), [b, None], 0)
            for v, a, b in zip(self.values, first, other, strict=True)
        ]
        outputs = flat(self.call(*filled(self.args, made)))
        for i, output in enumerate(outputs):
            expected = self.mixed(first, other, i)
            found = coefficient(coefficient(output, outer, 2), inner, 2)
            close(torch.zeros_like(expected) if found is None else found, expected)

    def mixed(self, first, other, i):
        total = 0
        for r in range(DIRECTIONS):
            for q in range(DIRECTIONS):

                def plane(s, t, r=r, q=q):
                    points = (v + s * a[r] + t * b[q] for v, a, b in zip(self.values, first, other, strict=True))
                    return self.truth.function(*points)[i]

                def twice(t, plane=plane):
                    return derivatives(lambda s: plane(s, t), 2)(torch.zeros_like(t))[2]

                with sdpa_kernel(SDPBackend.MATH):
                    total = total + derivatives(twice, 2)(torch.zeros((), dtype=torch.float64))[2] / 4
        return total

    def compare(self, run, outputs, expected):
        plain = self.truth.output()
        assert len(outputs) == len(plain)
        for i, (output, value) in enumerate(zip(outputs, plain, strict=True)):
            if not run.owns(output):  # a constant
                assert isinstance(output, torch.Tensor)
                close(output, value)
                assert all(not bool(e[i].any()) for e in expected)
                continue
            assert output.shape == value.shape
            assert output.dtype == value.dtype
            close(output.value, value)
            for k in range(1, run.order + 1):
                found, wanted = output.full(k), expected[k - 1][i]
                if found is None:
                    found = torch.zeros_like(wanted)
                assert found.dtype == value.dtype
                c = output.dense(k)
                assert c is None or c.ndim == run.lead(k) + value.ndim
                close(found, wanted)


def coefficient(z, run, k):
    """Coefficient k of a jet of `run`; None for zero and for constants."""
    return z.full(k) if run.owns(z) else None


def symmetric(count):
    g = torch.randn(count, count, dtype=torch.float64)
    return g + g.t()  # of both signs


def weights_of(metric, count):
    if metric is None:
        return torch.eye(count, dtype=torch.float64)
    if isinstance(metric, str):
        return 0.5 * torch.eye(count, dtype=torch.float64).roll(count // 2, 0)
    return metric


def close(found, expected, factor=1e4):
    """Equal up to the rounding of some hundred operations; nested forward mode of order 4 is the less exact side."""
    assert found.shape == expected.shape
    if not expected.is_floating_point():
        assert torch.equal(found, expected)
        return
    finite = torch.isfinite(expected)
    assert torch.equal(torch.isfinite(found), finite)
    scale = 1 + float(expected[finite].abs().max()) if finite.any() else 1.0
    difference = (found - expected)[finite].abs()
    tolerance = factor * torch.finfo(expected.dtype).eps * scale
    assert not difference.numel() or float(difference.max()) <= tolerance, (found, expected)
    assert torch.equal(found[~finite & ~expected.isnan()], expected[~finite & ~expected.isnan()])


@pytest.fixture
def follower():
    """A `Follower` of a function and its arguments."""
    return Follower


@pytest.fixture
def series():
    """Marks an argument as a series."""
    return Series


@pytest.fixture
def equal():
    return close
