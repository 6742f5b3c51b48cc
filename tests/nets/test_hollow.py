import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradgradcheck
from torch.func import functional_call, jacrev, vmap

from pdekit.errors import ModelError
from pdekit.nets import Conditioner, HollowField, HollowNet, MaskedConditioner, MLPTransformer

SMALL = MaskedConditioner(features=3, hidden=(5,), block=2, rank=2)


class Sum(Conditioner):
    """A conditioner of the user's own."""

    def __init__(self, dim, features=2):
        super().__init__(dim, features)
        self.weight = nn.Parameter(torch.randn(dim, dim, features))
        self.register_buffer("others", 1 - torch.eye(dim).unsqueeze(-1), persistent=False)

    def forward(self, x, z=None):
        return torch.einsum("...j,ijf->...if", torch.tanh(x), self.weight * self.others)


class Product(nn.Module):
    """A transformer of the user's own, with two channels."""

    def forward(self, x, h):
        return x.unsqueeze(-1) * h


def test_f_is_the_transformer_of_the_conditioner():
    net = HollowNet(5, SMALL).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    h = net.condition(x)
    assert h.shape == (4, 5, 3)
    assert torch.equal(h, net.conditioner(x, None))
    assert torch.equal(net(x), net.transform(x, h))
    assert torch.equal(net(x), net.transformer(x, h))


@settings(max_examples=10)
@given(
    dim=st.integers(1, 9),
    hidden=st.lists(st.integers(2, 6), min_size=1, max_size=3),
    layers=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    time=st.booleans(),
    context_dim=st.integers(0, 2),
    modulation=st.sampled_from(["film", "concatenate"]),
    channels=st.integers(1, 2),
)
def test_the_jacobian_is_that_of_the_transformer_plus_a_hollow_one(
    dim, hidden, layers, time, context_dim, modulation, channels
):
    net = HollowNet(
        dim,
        MaskedConditioner(3, tuple(hidden), block=3, rank=2),
        MLPTransformer(tuple(layers)),
        time=time,
        context_dim=context_dim,
        modulation=modulation,
        channels=channels,
    ).double()
    x = torch.randn(dim, dtype=torch.float64)
    leading = (torch.rand((), dtype=torch.float64),) if time else ()
    context = {"context": torch.randn(context_dim, dtype=torch.float64)} if context_dim else {}
    h = net.condition(*leading, x, **context)
    full = jacrev(lambda x: net(*leading, x, **context))(x).reshape(dim, channels, dim)
    through_x = jacrev(lambda x: net.transform(x, h))(x).reshape(dim, channels, dim)
    diagonal = torch.eye(dim, dtype=torch.bool).unsqueeze(1).expand(dim, channels, dim)
    assert torch.equal(full[diagonal], through_x[diagonal])
    assert not through_x[~diagonal].any()
    assert full.all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [0.0, 17.0, 1e30, -1e30])
def test_no_bit_of_h_i_depends_on_x_i(dtype, value):
    net = HollowNet(7, SMALL, time=True, context_dim=1).to(dtype)
    x, c = torch.randn(7, dtype=dtype).expand(7, 7), torch.randn(1, dtype=dtype)
    moved = torch.where(torch.eye(7, dtype=torch.bool), torch.tensor(value, dtype=dtype), x)
    before, after = (net.condition(0.5, y, context=c).diagonal().contiguous() for y in (x, moved))
    bits = {8: torch.int64, 4: torch.int32, 2: torch.int16}[dtype.itemsize]
    assert torch.equal(before.view(bits), after.view(bits))


@pytest.mark.parametrize("dim", [1, 2, 16, 256, 4096])
def test_values_start_at_scale_one(dim):
    nets = 40 if dim < 10 else 8 if dim < 1000 else 1
    with torch.no_grad():
        variances = [HollowNet(dim, time=True)(0.5, torch.randn(64, dim)).var(0).mean() for _ in range(nets)]
    assert 0.4 < torch.stack(variances).mean().sqrt() < 2


def test_time_reaches_f_whatever_the_conditioner():
    for dim, conditioner in ((1, None), (4, Sum(4))):
        net = HollowNet(dim, conditioner, time=True)
        x = torch.randn(5, dim)
        assert not torch.isclose(net(0.0, x), net(1.0, x)).any()


def test_derivatives_to_second_order_reach_the_conditioner():
    net = HollowNet(3, MaskedConditioner(2, (3,), block=2, rank=1), MLPTransformer((2,)), time=True).double()
    names, values = zip(*net.named_parameters(), strict=True)
    leaves = [
        torch.rand(2, 1, dtype=torch.float64, requires_grad=True),
        torch.randn(2, 3, dtype=torch.float64, requires_grad=True),
        *(value.detach().clone().requires_grad_() for value in values),
    ]

    def f(t, x, *values):
        return functional_call(net, dict(zip(names, values, strict=True)), (t, x))

    assert gradgradcheck(f, leaves, fast_mode=True)
    net(0.5, torch.randn(20, 3, dtype=torch.float64)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if not p.grad.any()] == []


@pytest.mark.parametrize("time", [False, True])
def test_compiles_as_one_graph(time):
    net = HollowNet(5, SMALL, time=time, context_dim=1)
    x, c = torch.randn(3, 5), torch.randn(3, 1)
    leading = (torch.tensor(0.5),) if time else ()
    torch._dynamo.reset()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*leading, x, context=c), net(*leading, x, context=c))


@pytest.mark.parametrize("batch", [(), (4,), (2, 3), (0,)])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_batch_shape(batch, channels):
    net = HollowNet(5, SMALL, channels=channels)
    shape = (*batch, 5) if channels == 1 else (*batch, 5, channels)
    assert net(torch.zeros(*batch, 5)).shape == shape


def test_rows_do_not_see_each_other():
    net = HollowNet(5, SMALL, time=True).double()
    x = torch.randn(6, 5, dtype=torch.float64)
    torch.testing.assert_close(vmap(lambda x: net(0.5, x))(x), net(0.5, x))


@pytest.mark.parametrize("transformer", [MLPTransformer((4,)), Product()])
def test_fields_share_one_conditioner(transformer):
    net = HollowNet(5, Sum(5), transformer, channels=2, time=True)
    x = torch.randn(4, 5)
    fields = net.fields()
    whole = net(0.5, x)
    for k, field in enumerate(fields):
        assert isinstance(field, HollowField)
        torch.testing.assert_close(field(0.5, x), whole[..., k])
        torch.testing.assert_close(field.transform(x, field.condition(0.5, x)), whole[..., k])
        assert {id(p) for p in field.parameters()} == {id(p) for p in net.parameters()}
    fields[0](0.5, x).sum().backward()
    assert net.conditioner.weight.grad.any()


def test_a_single_channel_is_a_field_too():
    net = HollowNet(5, SMALL)
    (field,) = net.fields()
    x = torch.randn(4, 5)
    assert torch.equal(field(x), net(x))
    (field,) = HollowNet(5, SMALL, Square()).fields()
    assert field(x).shape == (4, 5)


class Square(nn.Module):
    def forward(self, x, h):
        return (x * h.sum(-1)).square()


def test_modules_of_the_users_own():
    conditioner = Sum(5)
    net = HollowNet(5, conditioner, Square())
    x = torch.randn(4, 5)
    torch.testing.assert_close(net(x), (x * conditioner(x).sum(-1)).square())
    assert net.features == 2


class Wrong(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.features = features

    def forward(self, x, z):
        return x.unsqueeze(-1)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"conditioner": nn.Linear(3, 3)}, "the conditioner's attribute features must be an integer.*got None"),
        ({"conditioner": Wrong(0)}, "the conditioner's attribute features must be an integer of at least 1, got 0"),
        ({"conditioner": SMALL.build(4)}, "built for dim=4, this network has dim=3"),
        ({"conditioner": SMALL.build(3, 2)}, "built for conditioning_dim=2, this network has conditioning_dim=0"),
        ({"conditioner": MaskedConditioner}, r"conditioner must be options such as MaskedConditioner\(\)"),
        ({"conditioner": "masked"}, "conditioner must be options .* got 'masked'"),
        ({"transformer": 32}, r"transformer must be MLPTransformer\(...\), .* got 32"),
        ({"transformer": MLPTransformer}, "transformer must be MLPTransformer"),
        ({"channels": 0}, "channels must be an integer of at least 1"),
        ({"modulation": "gate", "time": True}, "modulation must be one of"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, message):
    with pytest.raises(ModelError, match=message):
        HollowNet(3, **parts)


def test_a_conditioner_that_returns_another_shape_is_refused():
    with pytest.raises(ModelError, match=r"must return \(\*batch, d, features\) = \(4, 3, 2\), got \(4, 3, 1\)"):
        HollowNet(3, Wrong(2))(torch.zeros(4, 3))


def test_it_is_shown_by_its_architecture():
    net = HollowNet(3, SMALL, time=True, channels=2)
    lines = repr(net).splitlines()
    assert lines[0] == (f"HollowNet(dim=3, time=True, context_dim=0, channels=2), {net.size():,} parameters, d_h = 3")
    assert lines[1].startswith("  conditioner: MaskedConditioner(features=3, hidden=(5,), block=2, rank=2, ")
    assert lines[2] == "  modulation: film"
    assert lines[3] == "  transformer: MLPTransformer(hidden=(16,), activation='sigmoid', gated=True)"
    own = repr(HollowNet(3, Sum(3), Square()))
    assert "conditioner: Sum, a module of your own" in own
    assert "modulation: none" in own
