"""`check_hollow`, `check_rowwise` and `check_gradients`: right functions pass, each fault is caught and named."""

import pytest
import torch
from torch import nn

from pdekit import operators
from pdekit.nets import HollowNet, MaskedConditioner, MLPTransformer
from pdekit.testing import CheckFailure, check_gradients, check_hollow, check_rowwise, hollow

# Hollow functions.


class Hollow(nn.Module):
    """f_i = sin(x_i) + h_i with h_i the sum of the other states, added up without the own one."""

    def condition(self, x):
        others = 1 - torch.eye(x.shape[-1], dtype=x.dtype)
        kept = torch.where(others > 0, x.unsqueeze(-2), 0.0)
        return kept.sum(-1, keepdim=True)

    def transform(self, x, h):
        return torch.sin(x) + torch.sin(h[..., 0])

    def forward(self, x):
        return self.transform(x, self.condition(x))


class Leak(Hollow):
    def condition(self, x):  # the last bit of x_i tells on it
        h = super().condition(x)
        return torch.where((x > 1).unsqueeze(-1), torch.nextafter(h, h + 1), h)


class SumMinusSelf(Hollow):
    def condition(self, x):
        return (x.sum(-1, keepdim=True) - x).unsqueeze(-1)


class CutOff(Hollow):
    def condition(self, x):
        return torch.zeros_like(super().condition(x))


class WithoutTransform(Hollow):
    def forward(self, x):
        return self.condition(x)[..., 0]


class OtherShape(Hollow):
    def forward(self, x):
        return super().forward(x).unsqueeze(-1)


class FlatFeatures(Hollow):
    def condition(self, x):
        return super().condition(x)[..., 0, :]


class DetachedState(Hollow):
    def transform(self, x, h):
        return torch.sin(h[..., 0]) * torch.ones_like(x) + torch.sin(x)

    def forward(self, x):
        return self.transform(x.detach(), self.condition(x))


class NotANumber(Hollow):
    def transform(self, x, h):
        return super().transform(x, h) * torch.nan


class NotANumberInside(Hollow):
    def condition(self, x):
        return super().condition(x) * torch.nan


def test_hollow_functions_pass():
    check_hollow(Hollow(), 3)
    check_hollow(Hollow(), 4, dtype=torch.float32, seed=7, rows=5)
    check_hollow(HollowNet(3, seed=0).double(), 3)
    check_hollow(HollowNet(3, time=True, seed=0).double(), 3, time=0.5)
    check_hollow(HollowNet(3, seed=0), 3, dtype=torch.float32)
    check_hollow(hollow([["x2"], ["x1**2"]], ["sin(x1*h1)", "x2 + h1"]).module(), 2)
    check_hollow(Hollow(), 1)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Leak, r"^hollow: h_1 moves by .*e-1[5-9] when x_1 becomes "),
        (SumMinusSelf, r"^hollow: h_1 moves by .* when x_1 becomes "),
        (WithoutTransform, r"^hollow: f\(x\) and transform\(x, condition\(x\)\) differ by "),
        (OtherShape, r"f\(x\) has shape \(3, 3, 1\), but transform\(x, condition\(x\)\) \(3, 3\)"),
        (FlatFeatures, r"h must have shape \(\*batch, d, features\) = \(3, 3\) \+ features, got \(3, 1\)"),
        (DetachedState, r"the diagonal of the Jacobian differs from the transformer's derivative by "),
        (NotANumber, "differ by nan"),
        (NotANumberInside, r"h_1 moves by .* when x_1 becomes 0"),
    ],
)
def test_functions_that_are_not_hollow(fault, message):
    with pytest.raises(CheckFailure, match=message) as caught:
        check_hollow(fault(), 3)
    assert caught.value.check == "hollow"


def test_a_conditioner_that_is_cut_off():
    for seed, dim in ((0, 2), (1, 7), (4, 3)):
        with pytest.raises(CheckFailure, match="f_1 depends on no other state: the conditioner is cut off"):
            check_hollow(CutOff(), dim, seed=seed)


# Rows.


def test_functions_of_single_rows_pass():
    check_rowwise(torch.sin, 3)
    check_rowwise(lambda x: x.sum(-1), 3)
    check_rowwise(lambda x: x.unsqueeze(-1) * x.unsqueeze(-2), 2)
    check_rowwise(lambda t, x: t * x, 3, time=0.5)
    check_rowwise(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)), 3, dtype=torch.float32)
    check_rowwise(operators.divergence(torch.sin), 3)


def of_few_axes_only(x):
    if x.ndim > 2:
        raise ValueError("too many axes")
    return x.sum(-1)


def without_empty(x):
    return x[..., 0] if x.numel() else torch.zeros(1, dtype=x.dtype)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda x: x - x.mean(0), r"row 0 of 4 changes from .* called by itself"),
        (lambda x: x / (1 + x.norm()), r"row 0 of 4 changes from "),
        (lambda x: x.cumsum(0) if x.ndim > 1 else x, r"row 1 of 4 changes from .* called by itself"),
        (lambda x: x + torch.arange(len(x)).unsqueeze(-1) if x.shape[0] == 4 else x, "row 1 of 4 changes from"),
        (lambda x: x.sum(), r"a batch \(4, 3\) must give a result \(4, ...\), got \(\)"),
        (of_few_axes_only, r"a state of shape \(2, 3, 3\) raises ValueError: too many axes"),
        (without_empty, r"a state of shape \(0, 3\) must give \(0,\), got \(1,\)"),
        (lambda x: x * (torch.nan if x.ndim == 3 else 1), r"row 0 of a batch \(2, 3\) changes from .* to \[nan"),
        (lambda x: x * torch.nan, "row 0 of 4 is NaN: if not every state makes sense"),
        (lambda x: x.reshape(-1, 3) * 1, r"row 0 of 4 has shape \(3,\), called by itself \(1, 3\)"),
        (lambda x: x if x.is_contiguous() else x + 1, "in a tensor that is not contiguous"),
    ],
)
def test_functions_whose_rows_see_one_another(fault, message):
    with pytest.raises(CheckFailure, match=message) as caught:
        check_rowwise(fault, 3)
    assert caught.value.check == "rowwise"


def test_a_row_that_depends_on_the_order():
    def first_is_special(x):  # right for single rows, for the rows as they stand, but not in another order
        if x.ndim == 2 and len(x) == 4 and x[0, 0] != known[0, 0]:
            return x + 1
        return x

    known = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.raises(CheckFailure, match="with the rows in another order"):
        check_rowwise(first_is_special, 3)

    def last_is_special(x):
        return x + 1 if x.ndim == 2 and len(x) == 4 and x[0, 0] == known[0, 0] and x[3, 0] != known[3, 0] else x

    with pytest.raises(CheckFailure, match=r"row 0 of 4 changes from .* with another last row"):
        check_rowwise(last_is_special, 3)


def test_the_limit_on_rows():
    def by_size(x):  # as products of matrices do
        return x * (1 + 40 * torch.finfo(x.dtype).eps) if x.ndim == 1 else x

    check_rowwise(by_size, 2)
    with pytest.raises(CheckFailure, match="called by itself") as caught:
        check_rowwise(by_size, 2, limit=1)
    assert 1 < caught.value.units < 100


# Gradients.


def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()


def small_hollow_net():
    return HollowNet(2, MaskedConditioner(features=2, hidden=(3,)), MLPTransformer(hidden=(2,)), seed=0).double()


STATE = torch.tensor([[0.3, -0.2], [0.5, 0.1]], dtype=torch.float64)


def test_right_gradients_pass():
    check_gradients(operators.divergence, net(), STATE)
    check_gradients(lambda f: operators.dimwise_jet(f, order=2), net(), STATE, second=False)
    check_gradients(operators.divergence, small_hollow_net(), STATE[:1], second=False)
    check_gradients(lambda f: lambda t, x: t * f(x), net(), STATE, time=0.5)


def detached_parameter(f):
    def apply(x):
        return f(x) * f(x.detach() * 0).detach()

    return apply


def detached_state(f):
    return lambda x: f(x.detach())


def detached(f):
    return lambda x: f(x).detach()


def raising(f):
    raise KeyError("nothing here")


class SecondIsWrong(torch.autograd.Function):
    """x^2, whose derivative 2x is taken to be constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * 2 * x.detach()


class FirstIsWrong(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * x


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (detached_parameter, "^gradients: first derivatives are wrong: Jacobian mismatch"),
        (detached_state, "^gradients: first derivatives are wrong: Jacobian mismatch"),
        (detached, "depends neither on the state nor on parameters: detached"),
        (raising, "the operator raised KeyError: 'nothing here'"),
        (lambda f: lambda x: FirstIsWrong.apply(f(x)), "first derivatives are wrong"),
        (lambda f: lambda x: SecondIsWrong.apply(f(x)), "second derivatives are wrong"),
    ],
)
def test_wrong_gradients(operator, message):
    with pytest.raises(CheckFailure, match=message) as caught:
        check_gradients(operator, net(), STATE)
    assert caught.value.check == "gradients"


def test_second_derivatives_only_where_asked_for():
    check_gradients(lambda f: lambda x: SecondIsWrong.apply(f(x)), net(), STATE, second=False)


def test_parts_of_a_hollow_net_are_checked_as_well():
    def cut(f):
        return lambda x: f.transform(x, f.condition(x).detach())

    module = small_hollow_net()
    check_gradients(lambda f: lambda x: f.transform(x, f.condition(x)), module, STATE[:1], second=False)
    with pytest.raises(CheckFailure, match="first derivatives are wrong"):
        check_gradients(cut, module, STATE[:1], second=False)


def test_the_module_is_left_alone():
    module = net()
    before = [p.clone() for p in module.parameters()]
    check_gradients(operators.divergence, module, STATE, second=False)
    for p, q in zip(module.parameters(), before, strict=True):
        assert torch.equal(p, q)
        assert p.grad is None
    assert not STATE.requires_grad
