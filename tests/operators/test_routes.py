"""Every route gives what brute force gives, in values and in gradients with respect to states and parameters."""

import pytest
import torch

from pdekit.errors import OperatorError
from pdekit.operators import (
    Compressed,
    Dense,
    Exact,
    Hollow,
    biharmonic,
    dimwise_derivative,
    dimwise_jet,
    divergence,
    fokker_planck_operator,
    generator,
    jacobian_diagonal,
    laplacian,
    log_fokker_planck_operator,
    second_order_operator,
)
from pdekit.sde import SDE
from tests.operators import fields
from tests.operators.fields import SPELLINGS, Field, mlp
from tests.operators.oracle import close

D = 4


@pytest.fixture
def x():
    return torch.randn(5, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def jacobian(f, x):
    """By reverse mode, output by output: (n, d, d)."""
    x = x.detach().requires_grad_()
    rows = [torch.autograd.grad(f(x)[:, i].sum(), x, create_graph=True)[0] for i in range(x.shape[-1])]
    return torch.stack(rows, 1)


def hessian(u, x):
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(u(x).sum(), x, create_graph=True)
    return torch.stack([torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)[0] for i in range(x.shape[-1])], 1)


def dimwise(f, x, k):
    """d^k f_i / dx_i^k, one dimension at a time."""
    columns = []
    for i in range(x.shape[-1]):
        y = x.detach().requires_grad_()
        value = f(y)[:, i]
        for _ in range(k):
            value = torch.autograd.grad(value.sum(), y, create_graph=True)[0][:, i]
        columns.append(value)
    return torch.stack(columns, -1)


def gradients(value, module, x):
    """The gradients of a sum over a value with respect to all parameters and the state."""
    weights = torch.linspace(1.0, 2.0, value.numel(), dtype=value.dtype).reshape(value.shape)
    inputs = [*module.parameters(), x] if x.requires_grad else list(module.parameters())
    options = {"allow_unused": True, "materialize_grads": True, "retain_graph": True}
    return torch.autograd.grad((value * weights).sum(), inputs, **options)


VECTOR_ROUTES = [
    *((Exact(), 3, "compressed"), (Compressed(), 3, "compressed"), (Dense(), 3, "dense"), (Dense(1), 3, "dense")),
    *((Exact(), 16, "dense"), (Compressed(), 16, "compressed"), (Dense(3), 16, "dense")),
]


@pytest.mark.parametrize(("method", "width", "route"), VECTOR_ROUTES)
def test_first_order(method, width, route, x):
    net = mlp(D, width, D)
    expected = jacobian(net, x).diagonal(dim1=1, dim2=2)
    result = divergence(net, method=method, full_output=True)(x)
    close(result.value, expected.sum(-1))
    close(result.output, net(x))
    assert result.plan.route == route
    close(jacobian_diagonal(net, method=method)(x), expected)
    for ours, brute in zip(gradients(result.value, net, x), gradients(expected.sum(-1), net, x), strict=True):
        close(ours, brute)


@pytest.mark.parametrize(("method", "width", "route"), VECTOR_ROUTES)
def test_second_order(method, width, route, x):
    # A collapsed pass gains from compression only with fewer directions than dimensions.
    net = mlp(D, width, 1)
    u = lambda x: net(x).squeeze(-1)  # noqa: E731
    hess = hessian(u, x)
    result = laplacian(u, method=method, full_output=True)(x)
    trace = hess.diagonal(dim1=1, dim2=2).sum(-1)
    close(result.value, trace)
    assert result.plan.route == route
    for ours, brute in zip(gradients(result.value, net, x), gradients(trace, net, x), strict=True):
        close(ours, brute)
    tensor = torch.randn(D, D, dtype=torch.float64)
    weighted = (hess * 0.5 * (tensor + tensor.mT)).sum((1, 2))
    close(second_order_operator(u, tensor=tensor, method=method)(x), weighted)
    per_row = tensor * (1 + x[:, :1, None])
    weighted = (hess * 0.5 * (per_row + per_row.mT)).sum((1, 2))
    close(second_order_operator(u, tensor=lambda y: tensor * (1 + y[:, :1, None]), method=method)(x), weighted)


@pytest.mark.parametrize("method", [Exact(), Dense(), Dense(2)])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_functions_that_series_cannot_follow(method, spelling, x):
    f, u = Field(D, spelling), Field(D, spelling, scalar=True)
    plain, plain_u = Field(D, "plain"), Field(D, "plain", scalar=True)
    route = SPELLINGS[spelling]
    for operator, function, same in (
        (divergence, f, plain),
        (laplacian, u, plain_u),
        (biharmonic, u, plain_u),
        (laplacian, f, plain),
    ):
        result = operator(function, method=method, full_output=True)(x)
        close(result.value, operator(same)(x))
        assert result.plan.route == route
        brute = gradients(operator(same)(x), same, x)
        for ours, exact in zip(gradients(result.value, function, x), brute, strict=True):
            close(ours, exact)
    for ours, exact in zip(dimwise_jet(f, order=4, method=method)(x), dimwise_jet(plain, order=4)(x), strict=True):
        close(ours, exact)


def test_what_autograd_is_told_is_what_counts(x):
    straight = lambda x: fields.StraightThrough.apply(x) * x  # noqa: E731
    expected = (1 + x) * x + torch.round(x)
    stopped = lambda x: torch.sin(x).detach() * x  # noqa: E731

    def blocked(x):
        with torch.no_grad():
            sine = torch.sin(x)
        return sine * x

    for quiet in (False, True):
        with torch.set_grad_enabled(not quiet):
            close(jacobian_diagonal(straight)(x), expected)
            close(jacobian_diagonal(stopped)(x), torch.sin(x))
            close(jacobian_diagonal(blocked)(x), torch.sin(x))
            close(laplacian(lambda x: (blocked(x) * x).sum(-1))(x), 2 * torch.sin(x).sum(-1))


def test_compressed_says_why_it_is_not_possible(x):
    two_ways = mlp(D, 3, D)
    with pytest.raises(OperatorError, match=r"Compressed\(\) is not possible"):
        divergence(lambda x: two_ways(x) + x, method=Compressed())(x)
    with pytest.raises(OperatorError, match="linear layer"):
        divergence(torch.sin, method=Compressed())(x)
    with pytest.raises(OperatorError, match="can't follow"):
        divergence(Field(D, "in_place"), method=Compressed())(x)
    with pytest.raises(OperatorError, match="first derivatives only"):
        dimwise_derivative(two_ways, order=2, method=Compressed())(x)
    # Exact() goes round it.
    close(divergence(lambda x: two_ways(x) + x)(x), divergence(two_ways)(x) + D)


class TestHollow:
    @pytest.fixture(params=[0, 2], ids=["one channel", "two channels"])
    def field(self, request):
        return fields.Hollow(D, request.param).double()

    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_agrees_with_brute_force(self, field, x, k):
        result = dimwise_derivative(field, order=k, full_output=True)(x)
        assert result.plan.route == "hollow"
        pick = (lambda c: lambda x: field(x)[..., c]) if field.channels else (lambda c: field)
        for c in range(max(1, field.channels)):
            expected = dimwise(pick(c), x, k)
            actual = result.value[..., c] if field.channels else result.value
            close(actual, expected)
            # A conditioner detached from the graph would show here: its weights enter through h alone.
            for ours, brute in zip(gradients(actual, field, x), gradients(expected, field, x), strict=True):
                close(ours, brute)

    def test_gradient_reaches_the_state_through_the_conditioner(self, field, x):
        y = x.clone().requires_grad_()
        (ours,) = torch.autograd.grad(dimwise_derivative(field)(y).sum(), y)
        if not field.channels:
            z = x.clone().requires_grad_()
            off_diagonal = torch.autograd.grad(Dense_diagonal(field, z).sum(), z)[0]
            close(ours, off_diagonal)
        assert bool((ours != 0).all())

    def test_divergence_and_every_method(self, x):
        field = fields.Hollow(D).double()
        expected = jacobian(field, x).diagonal(dim1=1, dim2=2).sum(-1)
        for method, route in ((Exact(), "hollow"), (Hollow(), "hollow"), (Dense(), "dense"), (Dense(1), "dense")):
            result = divergence(field, method=method, full_output=True)(x)
            close(result.value, expected)
            assert result.plan.route == route
        jets = dimwise_jet(field, order=4, method=Hollow())(x)
        for ours, dense in zip(jets, dimwise_jet(field, order=4, method=Dense())(x), strict=True):
            close(ours, dense)

    def test_hollow_score(self, x):
        score = fields.TimedHollow(D).double()
        sde = SDE(lambda t, x: -x, lambda t, x: 1 + 0.1 * x.roll(1, -1) ** 2, dim=D)
        times = torch.linspace(0.1, 1.0, len(x), dtype=torch.float64).unsqueeze(-1)
        for t in (0.3, times):
            operator = lambda method: log_fokker_planck_operator(len, sde, score=score, method=method)(t, x)  # noqa: B023, E731
            close(operator(Exact()), operator(Dense()))
            close(operator(Hollow()), operator(Dense()))
        general = SDE(lambda t, x: -x, lambda t, x: torch.diag_embed(x), dim=D, noise_type="general")
        with pytest.raises(OperatorError, match="diagonal noise only"):
            log_fokker_planck_operator(len, general, score=score, method=Hollow())(0.3, x)


def Dense_diagonal(field, x):
    return jacobian_diagonal(field, method=Dense())(x)


def test_diffusion_written_in_place(x):
    def matrix(t, x):
        g = torch.zeros(*x.shape, 2, dtype=x.dtype)
        for i in range(D):
            g[..., i, 0] = torch.sin(x[..., i - 1])
            g[..., i, 1] = 1 + x[..., i] * t
        return g

    def followed(t, x):
        return torch.stack([torch.sin(x.roll(1, -1)), 1 + x * t], -1)

    p = lambda x: torch.exp(-(x**2).sum(-1))  # noqa: E731
    for convention in ("ito", "stratonovich"):
        one, two = (
            SDE(lambda t, x: -x, g, dim=D, noise_type="general", noise_dim=2, sde_type=convention)
            for g in (matrix, followed)
        )
        for operator in (generator, fokker_planck_operator):
            close(operator(p, one)(0.4, x), operator(p, two)(0.4, x))
